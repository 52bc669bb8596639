"""Calibration: predicted standard deviations against the errors found. Pure functions on arrays.

Vocabulary
----------
error          prediction minus label
std            the standard deviation predicted for that error: sqrt(uncertainty^2 + noise^2) where errors are taken
               against labels, since a label scatters around the best model by its noise
z              error / std; of a calibrated model it is drawn from N(0, 1)
level          probability of a central interval of the normal distribution, 0 < level < 1
coverage       fraction of errors inside that interval; of a calibrated model it equals the level
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import rankdata

from trepid.arrays import FloatArray


def interval_half_width(level: float) -> float:
    """Half width, in standard deviations, of the central interval that holds `level` of a normal distribution.

    Raises
    ------
    ValueError
        Where `level` is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return float(ndtri(0.5 * (1.0 + level)))


def z_scores(errors: ArrayLike, stds: ArrayLike) -> FloatArray:
    """Errors in units of the standard deviation predicted for them, flattened.

    Raises
    ------
    ValueError
        Where the shapes differ, a value is not finite or a standard deviation is not positive.
    """
    e = np.asarray(errors, dtype=np.float64)
    s = np.asarray(stds, dtype=np.float64)
    if e.shape != s.shape:
        raise ValueError(f"errors have shape {e.shape}, stds {s.shape}: they must agree")
    if not (np.isfinite(e).all() and np.isfinite(s).all()):
        raise ValueError("errors and stds must be finite")
    if s.size and s.min() <= 0.0:
        raise ValueError(f"stds must be positive; the smallest is {s.min()}")
    return np.asarray(e / s, dtype=np.float64).ravel()


def coverage(errors: ArrayLike, stds: ArrayLike, level: float = 0.95) -> float:
    """Fraction of the errors inside the central interval of probability `level`; 0 to 1.

    Raises
    ------
    ValueError
        As `z_scores`; also where there is no error to count.
    """
    z = _some(z_scores(errors, stds))
    return float(np.mean(np.abs(z) <= interval_half_width(level)))


def calibration_scale(errors: ArrayLike, stds: ArrayLike) -> float:
    """Factor by which `stds` would have to be multiplied to fit the errors best.

    The maximum-likelihood value for normal errors, sqrt(<z^2>): above 1 the model is overconfident, below 1 underconfident.
    """
    z = _some(z_scores(errors, stds))
    return float(np.sqrt(np.mean(z * z)))


@dataclass(frozen=True)
class ReliabilityCurve:
    """Observed coverage against the nominal level.

    Attributes
    ----------
    expected : (n,) array
        Levels, ascending, 0 and 1 excluded.
    observed : (n,) array
        Fraction of the errors inside the interval of each level.
    """

    expected: FloatArray
    observed: FloatArray


def reliability_curve(errors: ArrayLike, stds: ArrayLike, levels: Sequence[float] | None = None) -> ReliabilityCurve:
    """Coverage at many levels at once; by default at 0.025, 0.05, ..., 0.975."""
    asked = np.linspace(0.025, 0.975, 39) if levels is None else np.sort(np.asarray(levels, dtype=np.float64))
    z = np.sort(np.abs(_some(z_scores(errors, stds))))
    half_widths = np.array([interval_half_width(float(level)) for level in asked])
    observed = np.searchsorted(z, half_widths, side="right") / z.size
    return ReliabilityCurve(expected=asked, observed=np.asarray(observed, dtype=np.float64))


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Rank correlation of two series of equal length, -1 to 1; ties share their mean rank.

    None where it is not defined: fewer than two points, or one series constant.
    """
    x = np.asarray(a, dtype=np.float64).ravel()
    y = np.asarray(b, dtype=np.float64).ravel()
    if x.shape != y.shape:
        raise ValueError(f"series have {x.size} and {y.size} points: they must agree")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("both series must be finite")
    if x.size < 2 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


@dataclass(frozen=True)
class Calibration:
    """How well a set of standard deviations predicts the size of a set of errors.

    Attributes
    ----------
    n : int
        Number of errors.
    coverage_68, coverage_95 : float
        Fraction inside the central 68 % and 95 % intervals.
    scale : float
        Factor that would fit the standard deviations to the errors; see `calibration_scale`.
    """

    n: int
    coverage_68: float
    coverage_95: float
    scale: float


def calibration(errors: ArrayLike, stds: ArrayLike) -> Calibration:
    """Calibration of one set of errors."""
    return Calibration(
        n=int(np.size(errors)),
        coverage_68=coverage(errors, stds, 0.68),
        coverage_95=coverage(errors, stds, 0.95),
        scale=calibration_scale(errors, stds),
    )


def _some(z: FloatArray) -> FloatArray:
    if z.size == 0:
        raise ValueError("there is no error to compare the stds with")
    return z
