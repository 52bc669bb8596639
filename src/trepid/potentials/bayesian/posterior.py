r"""Posterior of the coefficients and evidence of the hyperparameters, exact and from sufficient statistics alone.

With the prior factor U (C = U U^T), G = sum_kind G_kind / noise_kind^2 and b likewise,

.. math::

    A &= 1 + U^T G U = L L^T, \qquad
    w = U A^{-1} U^T b, \qquad
    \Sigma = S S^T,\; S = U L^{-T} \\
    \log p(y) &= -\tfrac12 \sum_\mathrm{kind} [n \log 2\pi\sigma^2 + y^T y / \sigma^2] + \tfrac12 w^T b - \tfrac12
    \log |A|

(Rasmussen and Williams, Gaussian Processes for Machine Learning, eqs. 2.11, 2.43, 5.9, in the weight-space view.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

from trepid.errors import ConfigError, NumericsError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms import TERMS, Hyperparameters
from trepid.potentials.bayesian.terms.base import Factor, Parameter

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
        parameters = [*(parameter for term in TERMS for parameter in term.parameters), *NOISES]
        self._ranges = {parameter.name: (parameter.low, parameter.high) for parameter in parameters}
        for name in ranges:
            if name not in self._ranges:
                raise ConfigError(f"{name!r} is no hyperparameter of the search: {', '.join(self._ranges)}")
        self._ranges |= ranges
        self.parameters = {parameter.name: parameter for parameter in parameters}

    def hit(self, hyper: Hyperparameters, *, kinds: Iterable[LabelKind]) -> list[str]:
        """Hyperparameters on a bound of their range (within 1 %), as 'name = value (bound low..high)'."""
        names = [parameter.name for term in TERMS for parameter in term.parameters]
        names += [f"noise_{kind.value}" for kind in kinds]
        found = []
        for name in names:
            (low, high), value = self.of(name), _get(hyper, name)
            if value <= 1.01 * low or value >= high / 1.01:
                found.append(f"{name} = {value:.3g} (range {low:g} to {high:g})")
        return found

    def of(self, name: str) -> tuple[float, float]:
        """Range of one hyperparameter."""
        return self._ranges[name]


def to_whitened(rows: FloatArray, factors: list[Factor]) -> FloatArray:
    """Rows @ U for rows (m, raw); U is block-diagonal."""
    return np.hstack([rows[:, f.columns] @ f.u for f in factors])


def from_whitened(columns: FloatArray, factors: list[Factor], size: int) -> FloatArray:
    """U @ columns for columns (whitened, ...); returns (size, ...)."""
    out = np.zeros((size, *columns.shape[1:]))
    start = 0
    for f in factors:
        stop = start + f.u.shape[1]
        out[f.columns] = f.u @ columns[start:stop]
        start = stop
    return out


class Posterior:
    """Gaussian posterior of the raw coefficients for given hyperparameters.

    Attributes
    ----------
    mean : (raw,) array
        Posterior mean of the coefficients.
    log_evidence : float
        Logarithm of the probability of all labels.

    Raises
    ------
    NumericsError
        The posterior precision is not positive definite in double precision.
    """

    def __init__(self, basis: Basis, hyper: Hyperparameters, statistics: SufficientStatistics) -> None:
        self.basis, self.hyper, self.statistics = basis, hyper, statistics
        self.factors = basis.layout.prior_factors(hyper)
        size = basis.layout.size
        self._gram = np.zeros((size, size))
        self._projection = np.zeros(size)
        evidence = 0.0
        for kind, s in sorted(
            statistics.kinds.items()
        ):  # the sum must not depend on the order in which kinds were added
            precision = kind.noise(hyper.noise) ** -2
            self._gram += precision * s.gram
            self._projection += precision * s.projection
            evidence -= 0.5 * (s.count * np.log(2 * np.pi / precision) + precision * s.squared) + s.log_multiplier
        self._half = to_whitened(self._gram, self.factors)  # G U
        precision_matrix = to_whitened(np.ascontiguousarray(self._half.T), self.factors)
        precision_matrix[np.diag_indices_from(precision_matrix)] += 1.0
        if not np.isfinite(precision_matrix).all():
            raise NumericsError(
                "the statistics of the training set are not finite; check the labels for NaN or overflow"
            )
        norm = float(np.abs(precision_matrix).sum(axis=0).max())
        try:
            self.cholesky = cholesky(precision_matrix, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError as error:
            noise = ", ".join(f"{f.name} {getattr(hyper.noise, f.name):.3g}" for f in fields(Noise))
            raise NumericsError(
                "the posterior precision is not positive definite in double precision "
                f"(noise: {noise}); larger noises are needed"
            ) from error
        # Beyond this the evidence is round-off, which the search for its maximum would find.
        if lapack.dpocon(self.cholesky, norm, uplo="L")[0] < LEAST_RECIPROCAL_CONDITION:
            raise NumericsError(
                "the posterior precision is too badly conditioned for double precision; larger noises or smaller "
                "amplitudes are needed"
            )
        projected = to_whitened(self._projection[None, :], self.factors)[0]
        whitened = cho_solve((self.cholesky, True), projected, check_finite=False)
        self.mean = from_whitened(whitened, self.factors, size)
        self.log_evidence = float(evidence + 0.5 * projected @ whitened - np.log(np.diagonal(self.cholesky)).sum())

    def __repr__(self) -> str:
        return (
            f"<Posterior of {len(self.mean)} coefficients in {self.n_directions} directions from "
            f"{self.statistics.n_frames} frames: log evidence {self.log_evidence:.1f}>"
        )

    @property
    def n_directions(self) -> int:
        """Directions of coefficient space that the prior factors keep."""
        return len(self.cholesky)

    def standard_deviation(self, rows: FloatArray) -> FloatArray:
        """One standard deviation (m,) of the labels with feature rows (m, raw): sqrt(phi A^-1 phi^T)."""
        return np.sqrt(np.einsum("ij,ij->j", *(2 * [self.rotated(rows)])))

    def covariance(self, rows: FloatArray) -> FloatArray:
        """Covariance (m, m) of the labels with feature rows (m, raw)."""
        rotated = self.rotated(rows)
        return rotated.T @ rotated

    def rotated(self, rows: FloatArray) -> FloatArray:
        """L^-1 U^T rows^T, (n_directions, m): its products between columns are posterior covariances of the labels."""
        whitened = to_whitened(rows, self.factors)
        return solve_triangular(self.cholesky, whitened.T, lower=True, check_finite=False, overwrite_b=True)

    def spread(self, directions: FloatArray) -> FloatArray:
        """S @ directions: coefficient vectors (raw, n) from directions (n_directions, n) in whitened space."""
        solved = solve_triangular(self.cholesky, directions, lower=True, trans="T", check_finite=False)
        return from_whitened(solved, self.factors, self.basis.layout.size)

    def sample(self, n: int, rng: np.random.Generator, *, scale: float = 1.0) -> FloatArray:
        """Draw n coefficient vectors (n, raw) from the posterior, its standard deviations multiplied by `scale`."""
        return self.mean + scale * self.spread(rng.standard_normal((self.n_directions, n))).T

    def _raw_covariance(self) -> FloatArray:
        """Sigma (raw, raw)."""
        inverse, info = lapack.dpotri(self.cholesky, lower=1)
        if info != 0:
            raise NumericsError(f"the inverse of the posterior precision failed (LAPACK dpotri returned {info})")
        upper = np.triu_indices(len(inverse), 1)
        inverse[upper] = inverse.T[upper]  # dpotri fills the lower triangle only
        size = self.basis.layout.size
        half = from_whitened(inverse, self.factors, size)
        return from_whitened(np.ascontiguousarray(half.T), self.factors, size)

    def log_evidence_gradient(self) -> dict[str, float]:
        """Slopes d log p(y) / d log(theta); noises are named noise_energy, noise_forces, noise_stress."""
        hyper, mean = self.hyper, self.mean
        residual = self._projection - self._gram @ mean
        rotated = solve_triangular(self.cholesky, self._half.T, lower=True, check_finite=False)  # L^-1 U^T G
        blocks = []
        for columns in self.basis.layout.gradient_blocks():
            v, r = residual[columns], rotated[:, columns]
            blocks.append(0.5 * (np.outer(v, v) - self._gram[columns, columns] + r.T @ r))
        gradient = self.basis.layout.evidence_slopes(hyper, blocks)
        covariance = self._raw_covariance()
        for kind, s in self.statistics.kinds.items():
            precision = kind.noise(hyper.noise) ** -2
            misfit = s.squared - 2 * s.projection @ mean + mean @ s.gram @ mean
            trace = np.vdot(s.gram, covariance)
            gradient[f"noise_{kind.value}"] = float(-s.count + precision * (misfit + trace))
        return gradient


def optimize_hyperparameters(
    basis: Basis,
    start: Hyperparameters,
    statistics: SufficientStatistics,
    *,
    bounds: Bounds | None = None,
    max_iterations: int = 60,
    tolerance: float = 1e-5,
) -> Posterior:
    """Maximise evidence times prior over amplitudes, length scales and noises, from `start`; gives the best posterior.

    L-BFGS-B in the logarithms of the hyperparameters. Only the statistics are used: an evaluation costs a few products of
    matrices of the size of the coefficients, independent of the number of frames. Noises of kinds without labels stay.

    Raises
    ------
    NumericsError
        No hyperparameters in the allowed range give a finite evidence.
    """
    limits = bounds or Bounds()
    seen = [kind for kind in LabelKind if kind in statistics.kinds and statistics.kinds[kind].count > 0]
    names = [parameter.name for term in TERMS for parameter in term.parameters]
    names += [f"noise_{kind.value}" for kind in seen]
    box = np.log([limits.of(name) for name in names])
    total = sum(statistics.kinds[kind].count for kind in seen)
    searched = [limits.parameters[name] for name in names]
    best: list[tuple[float, Posterior]] = []

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        try:
            posterior = Posterior(basis, _with(start, names, np.exp(x)), statistics)
            gradient = posterior.log_evidence_gradient()
        except NumericsError:  # out of floating-point range; a worse value shortens the step of the line search
            return 1e6, np.zeros(len(x))
        values = np.exp(x)
        log_prior = sum(p.log_prior(value) for p, value in zip(searched, values, strict=True))
        slopes = np.array([p.log_prior_slope(value) for p, value in zip(searched, values, strict=True)])
        score = posterior.log_evidence + log_prior
        if not best or score > best[0][0]:
            best[:] = [(score, posterior)]
        return -score / total, -(np.array([gradient[name] for name in names]) + slopes) / total

    x0 = np.clip(np.log([_get(start, name) for name in names]), box[:, 0], box[:, 1])
    minimize(
        objective,
        x0,
        jac=True,
        method="L-BFGS-B",
        bounds=box,
        options={"maxiter": max_iterations, "ftol": tolerance, "gtol": 1e-5, "maxcor": 20},
    )
    if not best:
        raise NumericsError("no hyperparameters in the allowed range give a finite evidence; check the labels")
    return best[0][1]


def _get(hyper: Hyperparameters, name: str) -> float:
    kind = name.removeprefix("noise_")
    return float(getattr(hyper.noise, kind) if kind != name else getattr(hyper, name))


def _with(hyper: Hyperparameters, names: list[str], values: FloatArray) -> Hyperparameters:
    kernel: dict[str, Any] = {}
    noise: dict[str, float] = {}
    for name, value in zip(names, map(float, values), strict=True):
        kind = name.removeprefix("noise_")
        (kernel if kind == name else noise)[kind] = value
    return replace(hyper.with_noise(**noise), **kernel)
