"""How many labels are still needed? Fits with error bars, or the result that the data do not support one. Pure functions.

Calls of a walker
-----------------
Untrusted frames, and so calls for labels, become rarer along a trajectory. The number of calls up to the time t is modelled as a
Poisson process whose mean grows as t^beta (the power-law process of reliability growth; L. H. Crow, 1975; beta < 1: the
calls die down). With n calls at t_i in the time T, the maximum-likelihood exponent is n / sum ln(T / t_i), and
2 n beta / beta_ML is distributed as chi^2 with 2 n degrees of freedom.

Learning curve
--------------
The force error on frames not yet trained on is modelled as a n^-b + c, n the number of labels, c >= 0 the limit of this
form of model, or of the choice of frames. Fitted to the logarithms; the error bars are a parametric bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

LEVEL = 0.90
"""Probability of every interval here."""
FEWEST_POINTS = 5
"""Of a learning curve."""
LEAST_SPAN = 1.5
"""Between the largest and the smallest number of labels of a learning curve."""
FEWEST_CALLS = 3
"""From which on the exponent of the calls is fitted; with fewer, anything from 0.1 to 1 is as likely."""
FURTHEST = 1e5
"""Labels beyond which a forecast is called infinite."""
_FLOORS = np.linspace(0.0, 0.95, 20)


@dataclass(frozen=True)
class Interval:
    """A forecast: the median, and the ends of the central interval of probability 0.9 (`high` may be infinite)."""

    expected: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: FloatArray) -> Interval:
        """Quantiles of draws; those that are infinite count."""
        low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf")
        return cls(float(middle), float(low), float(high))

    def scaled(self, factor: float) -> Interval:
        """All three times a factor."""
        return Interval(self.expected * factor, self.low * factor, self.high * factor)

    def capped(self, most: float) -> Interval:
        """None of the three above `most`."""
        return Interval(min(self.expected, most), min(self.low, most), min(self.high, most))


@dataclass(frozen=True)
class CannotTell:
    """The data do not support a forecast; `reason` says why, in one line."""

    reason: str


def forecast_calls(
    call_times: ArrayLike, elapsed: float, ahead: float, *, seed: int = 0, draws: int = 4000
) -> Interval | CannotTell:
    """Calls still to come.

    Parameters
    ----------
    call_times : (n,) array
        Times of the calls so far, in the same unit as the next two, from the beginning of the stage; 0 < t <= elapsed.
    elapsed : float
        Simulated time so far.
    ahead : float
        Time still to be simulated under the same conditions.
    seed : int
    draws : int

    Returns
    -------
    Interval or CannotTell
        Number of calls.

    Raises
    ------
    ValueError
        A time is out of range.
    """
    times = np.asarray(call_times, dtype=np.float64)
    if ahead < 0 or elapsed < 0 or (times.size and not (times.min() > 0 and times.max() <= elapsed * (1 + 1e-9))):
        raise ValueError("call times must lie between 0 and the time elapsed")
    if ahead == 0:
        return Interval(0.0, 0.0, 0.0)
    if elapsed == 0:
        return CannotTell("no time has been simulated under these conditions yet")
    rng = np.random.default_rng(seed)
    n = times.size
    if n < FEWEST_CALLS:
        beta = rng.uniform(0.1, 1.0, size=draws)
    else:
        logs = float(np.log(elapsed / times).sum())
        # All calls at the very end: no decay is visible. The exponent is limited to values that allow an extrapolation.
        likeliest = n / max(logs, n / 3.0)
        beta = np.minimum(likeliest * rng.chisquare(2 * n, size=draws) / (2 * n), 3.0)
    mean_so_far = rng.gamma(n + 0.5, size=draws)  # Jeffreys' prior of a Poisson mean
    to_come = mean_so_far * np.expm1(beta * np.log1p(ahead / elapsed))
    return Interval.of(rng.poisson(np.minimum(to_come, 1e9)).astype(np.float64))


@dataclass(frozen=True)
class LearningCurve:
    """error = a n^-b + c, with its uncertainty.

    Attributes
    ----------
    a, b, c : float
        The best fit; c and a in the unit of the errors.
    draws : (n_draws, 3) array
        a, b, c of the bootstrap.
    n_points : int
    """

    a: float
    b: float
    c: float
    draws: FloatArray
    n_points: int

    def labels_for(self, target: float) -> Interval:
        """Number of labels, all included, at which the error is down to `target`; infinite where it never is."""
        a, b, c = self.draws.T
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            needed = np.exp((np.log(a) - np.log(target - c)) / b)
        needed = np.where((c < target) & (b > 0) & (needed <= FURTHEST), needed, np.inf)
        return Interval.of(np.maximum(needed, 1.0))


def fit_learning_curve(
    n_labels: ArrayLike, errors: ArrayLike, *, seed: int = 0, draws: int = 400
) -> LearningCurve | CannotTell:
    """Fit a learning curve.

    Parameters
    ----------
    n_labels : (k,) array
        Labels the model was trained on when it made each error.
    errors : (k,) array
        Positive.
    seed : int
    draws : int
        Of the bootstrap.

    Returns
    -------
    LearningCurve or CannotTell
        The latter where there are too few points, they span too little, or their scatter hides any decrease.
    """
    n, e = np.asarray(n_labels, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    usable = np.isfinite(e) & (e > 0) & (n > 0)
    n, e = n[usable], e[usable]
    if n.size < FEWEST_POINTS:
        return CannotTell(f"{n.size} errors on new labels so far, {FEWEST_POINTS} are needed")
    if n.max() < LEAST_SPAN * n.min():
        return CannotTell(
            f"the errors so far are those at {n.min():g} to {n.max():g} labels; a trend shows from a factor of "
            f"{LEAST_SPAN:g} on"
        )
    x, y = np.log(n), np.log(e)
    slope, scatter = _slope(x, y)
    error_of_slope = scatter / np.sqrt(((x - x.mean()) ** 2).sum())
    if slope + 1.645 * error_of_slope >= 0:
        return CannotTell(
            "the error on new labels does not fall with their number yet "
            f"(exponent {-slope:.2f} +- {error_of_slope:.2f})"
        )
    best = _fit(x, y[None, :])[0]
    fitted = np.log(best[0] * n ** -best[1] + best[2])
    rng = np.random.default_rng(seed)
    freedom = max(n.size - 3, 1)
    spread = np.sqrt(((y - fitted) ** 2).sum() / freedom * freedom / rng.chisquare(freedom, size=draws))
    samples = _fit(x, fitted + spread[:, None] * rng.normal(size=(draws, n.size)))
    return LearningCurve(float(best[0]), float(best[1]), float(best[2]), draws=samples, n_points=int(n.size))


def _slope(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Slope of a straight line, and the scatter of the points around it."""
    dx = x - x.mean()
    slope = float((dx * y).sum() / (dx * dx).sum())
    left = y - y.mean() - slope * dx
    return slope, float(np.sqrt((left * left).sum() / max(x.size - 2, 1)))


def _fit(x: FloatArray, y: FloatArray) -> FloatArray:
    """Least squares in log space, (k, 3) rows a, b, c for rows of y: a line for each floor of a grid, the best kept."""
    dx = x - x.mean()
    smallest = np.exp(y.min(axis=1))
    best = np.full((len(y), 3), np.nan)
    least = np.full(len(y), np.inf)
    for share in _FLOORS:
        c = share * smallest
        z = np.log(np.exp(y) - c[:, None])
        b = -(z * dx).sum(axis=1) / (dx * dx).sum()
        a = np.exp(z.mean(axis=1) + b * x.mean())
        left = y - np.log(a[:, None] * np.exp(-b[:, None] * x) + c[:, None])
        squares = (left * left).sum(axis=1)
        better = squares < least
        least[better] = squares[better]
        best[better] = np.column_stack([a, b, c])[better]
    return best
