r"""Maximum of evidence times prior over the hyperparameters: a quasi-Newton search that counts in nats.

The search runs in the logarithms x of the hyperparameters, within their ranges. Its model of the logarithm s(x) of
evidence times prior around the present point is g^T p - p^T H p / 2, with the exact gradient g and a curvature H that
every step improves (Broyden, Fletcher, Goldfarb and Shanno; Nocedal and Wright, Numerical Optimization, 2nd ed., section
6.1, damped as in section 18.3). The step p is the maximum of this model within the ranges, and its value there is the
gain that another step promises: the search ends when that is below a tolerance, whatever the number of labels.

The curvature is kept with the model. After a new label the same expression tells, for one gradient, what a search would
gain (`expected_gain`), and the next search begins with it: it then takes a few evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.optimize import lsq_linear

from trepid.errors import NumericsError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.posterior import Bounds, Posterior, hyperparameter, with_hyperparameters
from trepid.potentials.bayesian.statistics import LabelKind, SeenStatistics, SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters

TOLERANCE_NATS = 1e-3
"""The search ends when another step promises less."""
FIRST_PRIOR_WEIGHT = 10.0
"""Weight of the hyperparameters' prior in the first optimisation, before any label has been left out."""
FIRST_CURVATURE = 100.0
"""Second derivative along a hyperparameter of the prior before anything is known. Small sets have several maxima: on
stanene, searches with 30 and 100 end a nat apart."""
LARGEST_STEP = 1.0
"""Of the logarithm of a hyperparameter."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Negative second derivatives of log(evidence x prior) in the logarithms of the hyperparameters, as a search left them.

    Attributes
    ----------
    names : tuple of str
        Hyperparameters, in the order of rows and columns.
    matrix : (n, n) array
        Positive definite; nats. Rows and columns of a noise are divided by the square root of its number of labels, with
        which they grow.
    """

    names: tuple[str, ...]
    matrix: FloatArray


@dataclass(frozen=True, eq=False)
class Maximum:
    """Where a search ended.

    Attributes
    ----------
    posterior : Posterior
    curvature : Curvature
    n_evaluations : int
        Of the evidence and its gradient.
    """

    posterior: Posterior
    curvature: Curvature
    n_evaluations: int


@dataclass(frozen=True, eq=False)
class _Point:
    """Value, gradient and posterior of the objective at x; no posterior where it is out of floating-point range."""

    x: FloatArray
    value: float
    gradient: FloatArray
    posterior: Posterior | None


class _Objective:
    """log(evidence x prior) of the hyperparameters that have labels, in their logarithms."""

    def __init__(
        self,
        basis: Basis,
        start: Hyperparameters,
        statistics: SufficientStatistics,
        *,
        bounds: Bounds | None,
        prior_weight: float,
    ) -> None:
        limits = bounds or Bounds()
        self.prior_weight = prior_weight
        self.basis, self.start, self.statistics = basis, start, statistics
        self.seen = SeenStatistics.of(statistics)
        counts = {kind: statistics.kinds[kind].count for kind in LabelKind if kind in statistics.kinds}
        noises = {f"noise_{kind.value}": count for kind, count in counts.items() if count > 0}
        prior = [parameter.name for parameter in basis.layout.parameters]
        self.names = (*prior, *noises)
        self.parameters = [limits.parameters[name] for name in self.names]
        self.box = np.log([limits.of(name) for name in self.names])
        self.scale = np.sqrt([1.0] * len(prior) + [float(count) for count in noises.values()])
        self.n_evaluations = 0

    def at(self, x: FloatArray) -> _Point:
        """Evaluate at the point of the ranges next to x."""
        x = np.clip(x, self.box[:, 0], self.box[:, 1])
        values = np.exp(x)
        self.n_evaluations += 1
        try:
            hyper = with_hyperparameters(self.start, self.names, values)
            posterior = Posterior(self.basis, hyper, self.statistics, seen=self.seen)
            slopes = posterior.log_evidence_gradient()
        except NumericsError:  # out of floating-point range: the step is shortened
            return _Point(x, -np.inf, np.zeros(len(x)), None)
        value, gradient = posterior.log_evidence, np.array([slopes[name] for name in self.names])
        for k, (parameter, each) in enumerate(zip(self.parameters, values, strict=True)):
            value += self.prior_weight * parameter.log_prior(each)
            gradient[k] += self.prior_weight * parameter.log_prior_slope(each)
        return _Point(x, value, gradient, posterior)

    def first(self) -> _Point:
        """The point of the hyperparameters to start from.

        Raises
        ------
        NumericsError
            Its evidence is not finite.
        """
        point = self.at(np.log([hyperparameter(self.start, name) for name in self.names]))
        if point.posterior is None:
            raise NumericsError(
                "the evidence is not finite at the hyperparameters that the search starts from; check the labels"
            )
        return point

    def curvature(self, known: Curvature | None) -> FloatArray:
        """What is known of another search over the same hyperparameters, else a first guess."""
        if known is not None and known.names == self.names:
            return np.asarray(known.matrix * np.outer(self.scale, self.scale))
        # Of a noise s alone, n log s + r^2 / (2 s^2): 2 n at its maximum.
        return np.diag(np.where(self.scale > 1, 2 * self.scale**2, FIRST_CURVATURE))

    def step(self, point: _Point, curvature: FloatArray) -> tuple[FloatArray, float]:
        """Maximum of the quadratic model within the ranges and LARGEST_STEP, and its gain."""
        low = np.maximum(self.box[:, 0] - point.x, -LARGEST_STEP)
        high = np.minimum(self.box[:, 1] - point.x, LARGEST_STEP)
        root = cholesky(curvature)
        target = solve_triangular(root, point.gradient, trans="T")
        step = lsq_linear(root, target, bounds=(low, high), method="bvls", max_iter=100).x
        return step, float(point.gradient @ step - 0.5 * step @ curvature @ step)


def optimize_hyperparameters(
    basis: Basis,
    start: Hyperparameters,
    statistics: SufficientStatistics,
    *,
    bounds: Bounds | None = None,
    prior_weight: float = 1.0,
    curvature: Curvature | None = None,
    max_iterations: int = 60,
    tolerance: float = TOLERANCE_NATS,
) -> Maximum:
    """Maximise evidence times prior over amplitudes, length scales and noises, from `start`.

    Only the statistics are used: an evaluation costs a few products of matrices of the size of the seen coefficients,
    independent of the number of frames. Noises of kinds without labels stay.

    Parameters
    ----------
    basis : Basis
    start : Hyperparameters
    statistics : SufficientStatistics
    bounds : Bounds, optional
    prior_weight : float
        The objective is log p(y) + prior_weight * log p(theta). A weight of tau^2 (`leave_one_out`) takes every label for
        1 / tau^2 of one: what the evidence calls noise is then mostly misfit of the functional form, which the labels of a
        frame share, so that the evidence of so many independent labels is too sure.
    curvature : Curvature, optional
        Of an earlier search.
    max_iterations : int
    tolerance : float
        Nats: the search ends when another step promises less, or the last one gave less.

    Raises
    ------
    NumericsError
        The evidence is not finite at `start`.
    """
    objective = _Objective(basis, start, statistics, bounds=bounds, prior_weight=prior_weight)
    point, matrix = objective.first(), objective.curvature(curvature)
    for _ in range(max_iterations):
        step, gain = objective.step(point, matrix)
        if gain < tolerance:
            break
        ahead = _line_search(objective, point, step)
        if ahead is None:  # within rounding of the maximum
            break
        matrix = _updated(matrix, ahead.x - point.x, point.gradient - ahead.gradient)
        gained, point = ahead.value - point.value, ahead
        if gained < tolerance:
            break
    assert point.posterior is not None
    normal = matrix / np.outer(objective.scale, objective.scale)
    return Maximum(point.posterior, Curvature(objective.names, normal), objective.n_evaluations)


def expected_gain(
    basis: Basis,
    hyper: Hyperparameters,
    statistics: SufficientStatistics,
    *,
    prior_weight: float = 1.0,
    curvature: Curvature | None = None,
) -> float:
    """What a search from `hyper` promises to add to log(evidence x prior), nats, for one evaluation.

    Raises
    ------
    NumericsError
        The evidence is not finite there.
    """
    objective = _Objective(basis, hyper, statistics, bounds=None, prior_weight=prior_weight)
    return objective.step(objective.first(), objective.curvature(curvature))[1]


def _line_search(objective: _Objective, point: _Point, step: FloatArray) -> _Point | None:
    """A point along the step that is higher by a share of what the slope promises (Armijo); None if there is none."""
    slope, share = float(point.gradient @ step), 1.0
    while share > 1e-4:
        ahead = objective.at(point.x + share * step)
        if ahead.posterior is not None and ahead.value >= point.value + 1e-4 * share * slope:
            return ahead
        # The maximum of the parabola through both values and the slope, neither too far nor too near.
        fall = share * slope - (ahead.value - point.value)
        share *= min(max(0.5 * share * slope / fall, 0.1), 0.5)
    return None


def _updated(curvature: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """The curvature after a step along which the negative gradient changed by `change`; stays positive definite."""
    along = curvature @ step
    expected = float(step @ along)
    measured = float(step @ change)
    if measured < 0.2 * expected:  # flat or convex along the step
        weight = 0.8 * expected / (expected - measured)
        change = weight * change + (1 - weight) * along
        measured = float(step @ change)
    new = curvature + np.outer(change, change) / measured - np.outer(along, along) / expected
    try:
        cholesky(new)
    except LinAlgError:  # rounding; the old one serves
        return curvature
    return new
