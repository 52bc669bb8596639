r"""Posterior of the coefficients and evidence of the hyperparameters, exact and from sufficient statistics alone.

With the prior factor U (C = U U^T), G = sum_kind G_kind / noise_kind^2 and b likewise,

.. math::

    A &= 1 + U^T G U = L L^T, \qquad
    w = U A^{-1} U^T b, \qquad
    \Sigma = S S^T,\; S = U L^{-T} \\
    \log p(y) &= -\tfrac12 \sum_\mathrm{kind} [n \log 2\pi\sigma^2 + y^T y / \sigma^2] + \tfrac12 w^T b - \tfrac12
    \log |A|

(Rasmussen and Williams, Gaussian Processes for Machine Learning, eqs. 2.11, 2.43, 5.9, in the weight-space view.) The
directions of whitened space are turned so that A is the unit matrix but for those that the labels see (`whitening`), which
come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError

from trepid.errors import ConfigError, NumericsError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.lower_factor import LowerFactor
from trepid.potentials.bayesian.statistics import LabelKind, SeenStatistics, SufficientStatistics
from trepid.potentials.bayesian.terms import PARAMETERS, Hyperparameters
from trepid.potentials.bayesian.terms.base import Factor, Parameter
from trepid.potentials.bayesian.terms.coulomb import CoulombTerm
from trepid.potentials.bayesian.whitening import (
    from_whitened,
    seen_factors,
    seen_within,
    to_whitened,
    turned_factors,
)

NOISES = (
    Parameter("noise_energy", 1e-5, 1.0),
    Parameter("noise_forces", 1e-4, 5.0),
    Parameter("noise_stress", 1e-6, 0.1),
)
"""The noises of `Hyperparameters.noise` as they are named in gradients and bounds."""


LEAST_RECIPROCAL_CONDITION = float(np.finfo(np.float64).eps)
"""Of the posterior precision, in the 1-norm: below it a solution has no digit left."""


class Bounds:
    """Range (low, high) in which each hyperparameter is searched, in its unit.

    Parameters
    ----------
    **ranges : (float, float)
        Ranges other than those of the terms and of `NOISES`, by the name of the hyperparameter.

    Raises
    ------
    ConfigError
        A name of no hyperparameter that is found by maximum evidence.
    """

    def __init__(self, **ranges: tuple[float, float]) -> None:
        parameters = [*PARAMETERS, *NOISES]
        self._ranges = {parameter.name: (parameter.low, parameter.high) for parameter in parameters}
        for name in ranges:
            if name not in self._ranges:
                raise ConfigError(f"{name!r} is no hyperparameter of the search: {', '.join(self._ranges)}")
        self._ranges |= ranges
        self.parameters = {parameter.name: parameter for parameter in parameters}

    def hit(self, hyper: Hyperparameters, *, kinds: Iterable[LabelKind]) -> list[str]:
        """Hyperparameters `on_bound`, as 'name = value (range low to high)'."""
        names = [parameter.name for parameter in PARAMETERS]
        names += [f"noise_{kind.value}" for kind in kinds]
        found = []
        for name in names:
            (low, high), value = self.of(name), hyperparameter(hyper, name)
            if self.on_bound(name, value):
                found.append(f"{name} = {value:.3g} (range {low:g} to {high:g})")
        return found

    def on_bound(self, name: str, value: float) -> bool:
        """Whether a hyperparameter is within 1 % of an end of its range."""
        low, high = self.of(name)
        return value <= 1.01 * low or value >= high / 1.01

    def of(self, name: str) -> tuple[float, float]:
        """Range of one hyperparameter."""
        return self._ranges[name]


class Posterior:
    """Gaussian posterior of the raw coefficients for given hyperparameters.

    Evidence and gradient need the seen coefficients alone (`whitening`); what predictions need of the others is computed
    at the first of them.

    Parameters
    ----------
    basis : Basis
    hyper : Hyperparameters
    statistics : SufficientStatistics
        Of all training frames.
    seen : SeenStatistics, optional
        Those of `statistics`, where they are known already.

    Attributes
    ----------
    log_evidence : float
        Logarithm of the probability of all labels.

    Raises
    ------
    NumericsError
        The posterior precision is not positive definite in double precision.
    """

    def __init__(
        self,
        basis: Basis,
        hyper: Hyperparameters,
        statistics: SufficientStatistics,
        *,
        seen: SeenStatistics | None = None,
    ) -> None:
        self.basis, self.hyper, self.statistics = basis, hyper, statistics
        self.factors = basis.layout.prior_factors(hyper)
        self._seen = seen or SeenStatistics.of(statistics)
        self._seen_factors = seen_factors(self.factors, self._seen.indices)
        size = len(self._seen.indices)
        self._gram, scaled = np.zeros((size, size)), np.empty((size, size))
        self._projection = np.zeros(size)
        evidence = 0.0
        # In this order: the sum must not depend on the order in which kinds were added.
        for kind, s in sorted(self._seen.kinds.items()):
            precision = kind.noise(hyper.noise) ** -2
            self._gram += np.multiply(s.gram, precision, out=scaled)
            self._projection += precision * s.projection
            evidence -= 0.5 * (s.count * np.log(2 * np.pi / precision) + precision * s.squared) + s.log_multiplier
        self._half = to_whitened(self._gram, self._seen_factors)  # G T
        precision_matrix = to_whitened(np.ascontiguousarray(self._half.T), self._seen_factors)
        precision_matrix[np.diag_indices_from(precision_matrix)] += 1.0
        norm = float(np.abs(precision_matrix).sum(axis=0).max(initial=0.0))
        if not np.isfinite(norm):
            raise NumericsError(
                "the statistics of the training set are not finite; check the labels for NaN or overflow"
            )
        try:
            self._cholesky = LowerFactor(precision_matrix)
        except LinAlgError as error:
            noise = ", ".join(f"{f.name} {getattr(hyper.noise, f.name):.3g}" for f in fields(Noise))
            raise NumericsError(
                "the posterior precision is not positive definite in double precision "
                f"(noise: {noise}); larger noises are needed"
            ) from error
        # Beyond this the evidence is round-off, which the search for its maximum would find.
        if norm > 0 and self._cholesky.reciprocal_condition(norm) < LEAST_RECIPROCAL_CONDITION:
            raise NumericsError(
                "the posterior precision is too badly conditioned for double precision; larger noises or smaller "
                "amplitudes are needed"
            )
        projected = to_whitened(self._projection[None, :], self._seen_factors)[0]
        self._whitened_mean = self._cholesky.solve(projected)
        self.log_evidence = float(
            evidence + 0.5 * projected @ self._whitened_mean - 0.5 * self._cholesky.log_determinant()
        )

    def __repr__(self) -> str:
        return (
            f"<Posterior of {self.basis.layout.size} coefficients in {self.n_directions} directions "
            f"({self.n_seen} seen) from {self.statistics.n_frames} frames: log evidence {self.log_evidence:.1f}>"
        )

    @property
    def n_directions(self) -> int:
        """Directions of coefficient space that the prior factors keep."""
        return sum(f.u.shape[1] for f in self.factors)

    @property
    def n_seen(self) -> int:
        """Those of them that the labels depend on."""
        return len(self._cholesky)

    @cached_property
    def charge_direction(self) -> FloatArray | None:
        """The one direction (n_directions,) in which the coefficient of the charges changes; None without charges."""
        column = self.basis.layout.term(CoulombTerm).columns
        if column.start == column.stop:
            return None
        unit = np.zeros((1, self.basis.layout.size))
        unit[0, column] = 1.0
        return self.rotated(unit)[:, 0]

    @cached_property
    def mean(self) -> FloatArray:
        """Posterior mean (raw,) of the coefficients.

        Where it has a negative coefficient of the charges, whose square that is, the maximum of the posterior without negative
        ones: the mean for a coefficient of zero.
        """
        mean = from_whitened(self._whitened_mean, self._turned[0], self.basis.layout.size)
        column = self.basis.layout.term(CoulombTerm).columns
        if (mean[column] < 0).any():
            assert self.charge_direction is not None
            along = self.spread(self.charge_direction[:, None])[:, 0]  # covariance of all coefficients with this one
            mean = mean - along * (mean[column] / along[column])
            mean[column] = 0.0  # but for rounding
        return mean

    def standard_deviation(self, rows: FloatArray) -> FloatArray:
        """One standard deviation (m,) of the labels with feature rows (m, raw): sqrt(phi A^-1 phi^T)."""
        return np.sqrt(np.einsum("ij,ij->j", *(2 * [self.rotated(rows)])))

    def covariance(self, rows: FloatArray) -> FloatArray:
        """Covariance (m, m) of the labels with feature rows (m, raw)."""
        rotated = self.rotated(rows)
        return rotated.T @ rotated

    def rotated(self, rows: FloatArray) -> FloatArray:
        """S^T rows^T, (n_directions, m): its products between columns are posterior covariances of the labels."""
        seen, rest = (to_whitened(rows, factors).T for factors in self._turned)
        solved = self._cholesky.solve_lower(seen, overwrite=True)
        return np.concatenate([solved, rest])

    def rotated_labels(self, rows: FloatArray) -> FloatArray:
        """`rotated` of training labels, (n_seen, m), without the directions that they do not depend on."""
        seen = to_whitened(rows[:, self._seen.indices], self._seen_factors).T
        return self._cholesky.solve_lower(seen, overwrite=True)

    def spread(self, directions: FloatArray) -> FloatArray:
        """S @ directions: coefficient vectors (raw, n) from directions (n_directions, n) in whitened space."""
        n, size = len(self._cholesky), self.basis.layout.size
        solved = self._cholesky.solve_lower(directions[:n], transposed=True)
        reached, rest = self._turned
        return from_whitened(solved, reached, size) + from_whitened(directions[n:], rest, size)

    def sample(self, n: int, rng: np.random.Generator, *, scale: float = 1.0) -> FloatArray:
        """Draw n coefficient vectors (n, raw) from the posterior, its standard deviations multiplied by `scale`."""
        return self.mean + scale * self.spread(rng.standard_normal((self.n_directions, n))).T

    def log_evidence_gradient(self) -> dict[str, float]:
        """Slopes d log p(y) / d log(theta); noises are named noise_energy, noise_forces, noise_stress."""
        mean = from_whitened(self._whitened_mean, self._seen_factors, len(self._gram))
        residual = self._projection - self._gram @ mean
        inverse = self._cholesky.inverse()  # its lower triangle
        gradient = self.basis.layout.evidence_slopes(self.hyper, self._gradient_blocks(residual, inverse))
        covariance = self._seen_covariance(inverse)
        for kind, s in self._seen.kinds.items():
            precision = kind.noise(self.hyper.noise) ** -2
            misfit = s.squared - 2 * s.projection @ mean + mean @ s.gram @ mean
            trace = np.vdot(s.gram, covariance)
            gradient[f"noise_{kind.value}"] = float(-s.count + precision * (misfit + trace))
        return gradient

    def _gradient_blocks(self, residual: FloatArray, inverse: FloatArray) -> list[FloatArray]:
        r"""X = (v v^T - G + G Sigma G) / 2 of the seen coefficients on every block of the layout, v the residual.

        With a diagonal factor T of a block, G - G Sigma G = T^-1 (1 - A^-1) T^-1 there: of such blocks, with which mixed
        triplets and quadruplets are all made, only the diagonal counts. The others take L^-1 T^T G.
        """
        diagonal: dict[int, tuple[FloatArray, FloatArray]] = {}
        start = 0
        for whole, factor in zip(self.factors, self._seen_factors, strict=True):
            stop = start + factor.u.shape[1]
            if factor.is_diagonal:
                diagonal[whole.columns.start] = np.diagonal(inverse)[start:stop], factor.diagonal
            start = stop
        places = [
            (columns, *seen_within(self._seen.indices, columns)) for columns in self.basis.layout.gradient_blocks()
        ]
        dense = np.zeros(len(self._gram), dtype=bool)
        for columns, own, _ in places:
            dense[own] = columns.start not in diagonal
        where = np.cumsum(dense) - 1
        half = self._half.T if dense.all() else self._half.T[:, dense]
        rotated = self._cholesky.solve_lower(half)  # L^-1 T^T G
        blocks = []
        for columns, own, rows in places:
            v = residual[own]
            block = np.zeros(2 * [columns.stop - columns.start])  # zero where no label depends on the coefficients
            if columns.start in diagonal:
                variance, u = diagonal[columns.start]
                block[rows, rows] = 0.5 * (v**2 - (1 - variance) / u**2)
            elif len(rows):
                r = rotated[:, where[own.start] : where[own.stop - 1] + 1]
                block[np.ix_(rows, rows)] = 0.5 * (np.outer(v, v) - self._gram[own, own] + r.T @ r)
            blocks.append(block)
        return blocks

    def _seen_covariance(self, inverse: FloatArray) -> FloatArray:
        """Sigma between the seen coefficients, from the lower triangle of A^-1, which it completes."""
        upper = np.triu_indices(len(inverse), 1)
        inverse[upper] = inverse.T[upper]  # only the lower triangle is filled
        half = from_whitened(inverse, self._seen_factors, len(self._gram))
        return from_whitened(np.ascontiguousarray(half.T), self._seen_factors, len(self._gram))

    @cached_property
    def _turned(self) -> tuple[list[Factor], list[Factor]]:
        """Factors of the seen directions, and of the others."""
        return turned_factors(self.factors, self._seen.indices)


def hyperparameter(hyper: Hyperparameters, name: str) -> float:
    """A hyperparameter by its name in gradients and bounds."""
    kind = name.removeprefix("noise_")
    return float(getattr(hyper.noise, kind) if kind != name else getattr(hyper, name))


def with_hyperparameters(hyper: Hyperparameters, names: Sequence[str], values: FloatArray) -> Hyperparameters:
    """A copy with other values (n,) of the hyperparameters of these names."""
    kernel: dict[str, Any] = {}
    noise: dict[str, float] = {}
    for name, value in zip(names, map(float, values), strict=True):
        kind = name.removeprefix("noise_")
        (kernel if kind == name else noise)[kind] = value
    return replace(hyper.with_noise(**noise), **kernel)
