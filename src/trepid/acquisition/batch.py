r"""Which of the candidates to label together: pure functions, seeded.

Vocabulary
----------
candidate    a frame that may be labelled, numbered 0, 1, ... in the order of the trajectory
rows         R, (n_labels, p): feature rows of a candidate whose products are the predictive (epistemic) covariance:
             R_a R_b^T is the covariance between the force components of candidates a and b, (eV/A)^2. The space of p
             dimensions is common to all candidates: coefficients of a Bayesian force field, or members of a committee
gain         log det(1 + R Sigma R^T / noise^2), nats: twice the information that labels of these components would bring,
             Sigma the covariance (1 at first) left by what was already chosen
weight       factor of the gain of a candidate, such as its viability

Labels do not enter: the information of a label for a linear model depends on its configuration, not on its value. The gain
of a set is submodular, so greedy choice reaches at least 1 - 1/e of the best set's gain (Krause, Singh and Guestrin, JMLR 9,
235 (2008)), and gains only fall as others are chosen, so most need not be recomputed (lazy evaluation, Minoux 1978).

**Weights.** The score is weight times gain: the expected gain where the weight is the probability that the frame is ever met
in the simulation the model is for, which is P_E. Uncertainty is in the gain already, in units that add up, so P_U does not
have to be in the weight; P_U P_E confines the choice to what stands out from the equilibrium trajectory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from trepid.acquisition.choices import BatchRule, Strategy
from trepid.arrays import FloatArray, IndexArray
from trepid.errors import ConfigError, DataError, NumericsError


def bernoulli(probabilities: ArrayLike, n: int, *, seed: int) -> IndexArray:
    """Accept candidates one after the other with their probabilities until n are accepted: the published selection.

    Parameters
    ----------
    probabilities : (n_candidates,) array
        P_U P_E of every candidate, 0 to 1, in the order of the trajectory.
    n : int
        Most to accept.
    seed : int

    Returns
    -------
    (<= n,) array
        Ascending indices.

    Raises
    ------
    DataError
        A value is not a probability.
    ConfigError
        n is negative.
    """
    p = np.asarray(probabilities, dtype=np.float64).ravel()
    _check_n(n)
    if not ((p >= 0.0) & (p <= 1.0)).all():  # also refuses NaN
        raise DataError("acceptance probabilities must lie between 0 and 1")
    accepted = np.flatnonzero(np.random.default_rng(seed).random(p.size) < p)
    return accepted[:n]


def random_selection(n_candidates: int, n: int, *, seed: int) -> IndexArray:
    """Choose n candidates at random, each with the same chance: the control of every other choice. Ascending indices."""
    _check_n(n)
    chosen = np.random.default_rng(seed).permutation(n_candidates)[:n]
    return np.sort(chosen).astype(np.intp)


@dataclass(frozen=True)
class Batch:
    """Candidates in the order of choice.

    Attributes
    ----------
    indices : (n,) array of int
        Those given as `first`, then the others by falling score.
    gains : (n,) array
        What each adds to what precedes it, nats, not weighted.
    """

    indices: IndexArray
    gains: FloatArray


def greedy_batch(
    rows: Sequence[ArrayLike],
    n: int,
    *,
    noise: float | Sequence[ArrayLike],
    weights: ArrayLike | None = None,
    first: Sequence[int] = (),
    min_score: float = 0.0,
) -> Batch:
    """Choose the frame of largest weight x gain, update the covariance as if it were labelled, and repeat.

    A copy of a chosen frame keeps little gain, so near-copies from one trajectory do not fill the batch. Cost: one product of
    (n_labels, p) matrices per candidate whose score is still in the running, and the Gram matrix of every candidate once. Ten
    of 200 candidates with p = 1400 take 1 s on one core when the rows are thinned to the 16 most uncertain atoms of each
    (`n_atoms` of `BayesianForceField.information_rows`), 16 s with all 64.

    Parameters
    ----------
    rows : sequence of (n_labels, p) arrays
        See the vocabulary; the same p for all.
    n : int
        Size of the batch, `first` included.
    noise : float or sequence of (n_labels,) arrays
        Noise of the labels in the unit of the rows, eV/A: one for all, or one for every row.
    weights : (n_candidates,) array, optional
        Not negative; a candidate of weight 0 is never chosen. Default 1.
    first : sequence of int
        Candidates in the batch in any case; they come first, whatever their weight.
    min_score : float
        Stop where no weight x gain is above it.

    Raises
    ------
    DataError
        Rows that differ in width or are not finite, weights or noises out of range, an index out of range or twice.
    ConfigError
        n is negative or less than the length of `first`.
    NumericsError
        The covariance of the chosen rows is not positive definite.
    """
    _check_n(n)
    matrices = [np.asarray(r, dtype=np.float64) for r in rows]
    count = len(matrices)
    if len({m.shape[1:] for m in matrices}) > 1 or any(m.ndim != 2 for m in matrices):
        raise DataError(f"rows have shapes {sorted({m.shape for m in matrices})}: (n_labels, p) with one p is needed")
    worth = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if worth.shape != (count,) or not (np.isfinite(worth).all() and (worth >= 0.0).all()):
        raise DataError(f"weights must be {count} finite numbers, none negative")
    forced = [int(k) for k in first]
    if len(set(forced)) < len(forced) or any(not 0 <= k < count for k in forced):
        raise DataError(f"first names candidates {forced}; each must be one of 0..{count - 1}, once")
    if len(forced) > n:
        raise ConfigError(f"{len(forced)} candidates must be labelled, but the batch holds {n}; make it larger")
    state = _Conditioned(matrices, _noises(noise, matrices))
    gains = [state.choose(k) for k in forced]
    chosen = list(forced)
    taken = set(forced)
    # Infinite scores stand for gains not computed yet; ties go to the earlier candidate.
    queue = [(-np.inf, k, -1) for k in range(count) if k not in taken and worth[k] > 0.0]
    heapq.heapify(queue)
    while queue and len(chosen) < n:
        score, k, known_at = heapq.heappop(queue)
        if known_at == len(chosen):
            if -score <= min_score:
                break
            gains.append(state.choose(k))
            chosen.append(k)
        else:
            heapq.heappush(queue, (-float(worth[k]) * state.gain(k), k, len(chosen)))
    return Batch(indices=np.array(chosen, dtype=np.intp), gains=np.array(gains, dtype=np.float64))


class _Conditioned:
    """Covariances of candidates given the labels chosen so far, rows in units of their noise.

    With S the chosen rows and 1 + S S^T = L L^T, candidate k keeps T_k = L^-1 S R_k^T and has the covariance
    R_k R_k^T - T_k^T T_k. A newly chosen block appends rows to L and to every T_k; candidates are brought up to date only when
    they are needed.
    """

    def __init__(self, rows: list[FloatArray], noises: list[FloatArray]) -> None:
        self._rows, self._noises = rows, noises
        self._covariance: dict[int, FloatArray] = {}
        self._projected: dict[int, list[FloatArray]] = {}
        self._blocks: list[tuple[int, FloatArray]] = []  # candidate and the factor of its diagonal block of L

    def _update(self, k: int) -> None:
        rows, noise = self._rows[k], self._noises[k]
        if k not in self._covariance:
            if not np.isfinite(rows).all():
                raise DataError(f"the rows of candidate {k} (counted from 0) are not finite")
            self._covariance[k] = rows @ rows.T / np.outer(noise, noise)
            self._projected[k] = []
        mine = self._projected[k]
        for other, factor in self._blocks[len(mine) :]:
            cross = self._rows[other] @ rows.T / np.outer(self._noises[other], noise)
            for theirs, own in zip(self._projected[other], mine, strict=False):
                cross -= theirs.T @ own
            block = solve_triangular(factor, cross, lower=True, check_finite=False)
            self._covariance[k] = self._covariance[k] - block.T @ block
            mine.append(block)

    def _factor(self, k: int) -> FloatArray:
        self._update(k)
        precision = self._covariance[k].copy()
        precision[np.diag_indices_from(precision)] += 1.0
        try:
            return cholesky(precision, lower=True, check_finite=False)
        except LinAlgError as error:
            raise NumericsError(
                f"the covariance of candidate {k} is not positive definite in double precision: the noise is too small "
                "beside the uncertainty; give the noise of the labels"
            ) from error

    def gain(self, k: int) -> float:
        """Gain of labelling k now, nats; round-off below zero cut away."""
        return max(0.0, 2.0 * float(np.log(np.diagonal(self._factor(k))).sum()))

    def choose(self, k: int) -> float:
        """Add k to the chosen; returns its gain."""
        gain, factor = self.gain(k), self._factor(k)
        self._blocks.append((k, factor))
        return gain


def rows_from_ensemble(forces_ensemble: ArrayLike, *, n_atoms: int | None = None) -> FloatArray:
    """Rows of one candidate from the forces of a committee: deviations from the mean, over sqrt(n_members - 1).

    R R^T is the sample covariance (ddof=1) of the forces across members, and so between candidates, as long as the members are
    the same and in the same order. The rank is n_members - 1: after as many well-chosen frames the gains of a small committee
    fall to almost zero; `localised` keeps distant candidates apart.

    Parameters
    ----------
    forces_ensemble : (n_members, n_atoms, 3) array
        eV/A.
    n_atoms : int, optional
        Keep only the atoms with the largest force uncertainty, in the order of the frame.

    Returns
    -------
    (3 n_atoms, n_members) array
        eV/A.

    Raises
    ------
    DataError
        Fewer than two members, or another shape.
    ConfigError
        n_atoms is less than 1.
    """
    forces = np.asarray(forces_ensemble, dtype=np.float64)
    if forces.ndim != 3 or forces.shape[2] != 3 or len(forces) < 2:
        raise DataError(f"member forces have shape {forces.shape}: (n_members >= 2, n_atoms, 3) is needed")
    deviations = (forces - forces.mean(axis=0)) / np.sqrt(len(forces) - 1)
    kept = most_uncertain_atoms((deviations**2).sum(axis=(0, 2)), n_atoms)
    return np.ascontiguousarray(deviations[:, kept].reshape(len(forces), -1).T)


def most_uncertain_atoms(variances: ArrayLike, n_atoms: int | None) -> IndexArray:
    """Ascending indices of the n_atoms atoms of largest variance (n,); all of them where n_atoms is None.

    Raises
    ------
    ConfigError
        n_atoms is less than 1.
    """
    values = np.asarray(variances, dtype=np.float64)
    if n_atoms is None:
        return np.arange(len(values))
    if n_atoms < 1:
        raise ConfigError(f"rows of {n_atoms} atoms: at least 1 is needed")
    return np.sort(np.argsort(-values, kind="stable")[:n_atoms])


def localised(rows: ArrayLike, embedding: ArrayLike) -> FloatArray:
    """Rows whose covariance with another candidate is damped by how unlike the two are.

    Every row is multiplied with the unit vector e that describes its candidate, so that R_a R_b^T becomes
    (R_a R_b^T) (e_a . e_b): covariance localisation, known from ensemble Kalman filters. The covariance within a candidate stays,
    the rank grows to (n_members - 1) x d, and a label carries less information about candidates that resemble its frame less.

    Parameters
    ----------
    rows : (n_labels, p) array
    embedding : (d,) array
        Describes the candidate; it is normalised. See `similarity_embedding`.

    Returns
    -------
    (n_labels, p d) array

    Raises
    ------
    DataError
        The embedding is zero or not finite.
    """
    vector = np.asarray(embedding, dtype=np.float64).ravel()
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0.0):
        raise DataError("the embedding of a candidate must be finite and not zero")
    return np.asarray(np.kron(np.asarray(rows, dtype=np.float64), vector[None, :] / length), dtype=np.float64)


def similarity_embedding(descriptors: ArrayLike, *, length: float, n_features: int = 64, seed: int = 0) -> FloatArray:
    """Vectors whose products approximate exp(-|a - b|^2 / (2 length^2)) of any descriptors of the candidates.

    Random Fourier features (Rahimi and Recht, NIPS 2007), error about 1 / sqrt(n_features).

    Parameters
    ----------
    descriptors : (n_candidates, d) array
        What tells candidates apart, such as displacements from the sites of the crystal.
    length : float
        Distance in that space over which candidates become unlike.

    Returns
    -------
    (n_candidates, 2 n_features) array
        Unit vectors.

    Raises
    ------
    ConfigError
        The length is not positive.
    """
    if not length > 0.0:
        raise ConfigError(f"the length of the similarity is {length}; it must be positive")
    x = np.asarray(descriptors, dtype=np.float64)
    waves = np.random.default_rng(seed).standard_normal((x.shape[1], n_features)) / length
    both = np.hstack([np.cos(x @ waves), np.sin(x @ waves)])
    return np.asarray(both / np.sqrt(n_features), dtype=np.float64)


def evenly_spaced(temperatures_K: ArrayLike, hottest_K: float, n: int) -> IndexArray:
    """At most n candidates of the hottest trajectories, evenly spaced in their order; none where that one gave none.

    Parameters
    ----------
    temperatures_K : (n_candidates,) array
        Target temperature of the trajectory of every candidate, K.
    hottest_K : float
        Highest target temperature of all trajectories.
    n : int

    Returns
    -------
    (<= n,) array
        Ascending indices.
    """
    _check_n(n)
    hot = np.flatnonzero(np.asarray(temperatures_K, dtype=np.float64) == hottest_K)
    if not hot.size:
        return hot
    return np.unique(hot[np.linspace(0, len(hot) - 1, min(n, len(hot))).round().astype(np.intp)])


# ---------------------------------------------------------------------- the choices

MOST_FOR_GAIN = 200
"""Candidates whose information gain is compared at most, those of largest P U first."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates of a round, beside frames that are labelled in any case.

    Attributes
    ----------
    probabilities : (n_candidates,) array
        P of every candidate, 0 to 1.
    uncertainties : (n_candidates,) array
        U of every candidate.
    sufficient : (m,) array of int
        Ascending indices of the candidates whose P is large enough for a label.
    n_forced : int
        Frames that are labelled in any case.
    n : int
        Size of the batch, forced frames included.
    rows : callable
        Feature rows of the forced frames, then of these candidates; see the vocabulary.
    noise : float
        Of force labels, eV/A.
    seed : int
    """

    probabilities: FloatArray
    uncertainties: FloatArray
    sufficient: IndexArray
    n_forced: int
    n: int
    rows: Callable[[IndexArray], Sequence[ArrayLike]]
    noise: float
    seed: int


@dataclass(frozen=True, eq=False)
class Chosen:
    """The choice from a pool.

    Attributes
    ----------
    indices : tuple of int
        Candidates in the order of choice, without the forced frames.
    gains : tuple of float or None
        Information gain of every frame, forced ones first, nats; None where it was not computed.
    """

    indices: tuple[int, ...]
    gains: tuple[float | None, ...]


def _by_gain(pool: Pool) -> Chosen:
    p = pool.probabilities
    order = np.argsort(-(p * pool.uncertainties)[pool.sufficient], kind="stable")
    compared = np.sort(pool.sufficient[order[:MOST_FOR_GAIN]])
    rows = pool.rows(compared) if pool.n_forced + len(compared) else []
    batch = greedy_batch(
        rows,
        max(pool.n, pool.n_forced),
        noise=max(pool.noise, np.finfo(float).eps),
        weights=np.concatenate([np.ones(pool.n_forced), p[compared]]),
        first=range(pool.n_forced),
    )
    return Chosen(
        indices=tuple(int(compared[k - pool.n_forced]) for k in batch.indices[pool.n_forced :]),
        gains=tuple(batch.gains.tolist()),
    )


def _by_chance(pool: Pool) -> Chosen:
    accepted = bernoulli(pool.probabilities[pool.sufficient], max(pool.n - pool.n_forced, 0), seed=pool.seed)
    chosen = pool.sufficient[accepted]
    return Chosen(indices=tuple(chosen.tolist()), gains=(None,) * (pool.n_forced + len(chosen)))


BATCHES: Mapping[BatchRule, Callable[[Pool], Chosen]] = {
    BatchRule.GREEDY: _by_gain,
    BatchRule.BERNOULLI: _by_chance,
}


@dataclass(frozen=True, eq=False)
class ControlPool:
    """Candidates of a round for a strategy that uses no uncertainty.

    Attributes
    ----------
    temperatures_K : (n_candidates,) array
        Target temperature of the trajectory of every candidate, K.
    hottest_K : float
        Highest target temperature of all trajectories of the round.
    n : int
        Most to choose.
    seed : int
    """

    temperatures_K: FloatArray
    hottest_K: float
    n: int
    seed: int


CONTROLS: Mapping[Strategy, Callable[[ControlPool], IndexArray]] = {
    Strategy.RANDOM: lambda pool: random_selection(len(pool.temperatures_K), pool.n, seed=pool.seed),
    Strategy.HOT: lambda pool: evenly_spaced(pool.temperatures_K, pool.hottest_K, pool.n),
}
"""Strategies that use no uncertainty: ascending indices of candidates."""


def _check_n(n: int) -> None:
    if n < 0:
        raise ConfigError(f"a batch of {n} frames: the number must not be negative")


def _noises(noise: float | Sequence[ArrayLike], rows: list[FloatArray]) -> list[FloatArray]:
    if isinstance(noise, (int, float)):  # numpy's float64 is a float
        noises = [np.full(len(r), float(noise)) for r in rows]
    else:
        noises = [np.asarray(each, dtype=np.float64) for each in noise]
    if len(noises) != len(rows) or any(s.shape != r.shape[:1] for s, r in zip(noises, rows, strict=False)):
        raise DataError("noise must be one number, or one array per candidate with one number per row")
    if any(not (np.isfinite(s).all() and (s > 0.0).all()) for s in noises):
        raise DataError("the noise of every label must be positive and finite")
    return noises
