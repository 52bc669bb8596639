"""Averages over a trajectory, each with the error bar that its correlation time demands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trepid.anharmonicity.blocking import block_error
from trepid.arrays import FloatArray
from trepid.errors import DataError

MIN_FRAMES = 16
"""Fewer frames give no bar: they cannot tell how fast the series forgets."""


@dataclass(frozen=True)
class Average:
    """A figure from a trajectory.

    Attributes
    ----------
    value : float
    error : float
        One standard deviation; nan where there are too few frames.
    converged : bool
        Whether the trajectory is long enough for its correlation time; if not, `error` is a lower bound.
    """

    value: float
    error: float
    converged: bool

    def __str__(self) -> str:
        if not self.error > 0:  # nan too
            return f"{self.value:.6g}"
        digits = max(0, 1 - math.floor(math.log10(self.error)))
        least = "" if self.converged else "at least "
        return f"{self.value:.{digits}f} ± {least}{self.error:.{digits}f}"

    def as_dict(self) -> dict[str, float | bool | None]:
        """Plain types, for JSON; what is not known is None."""
        known = {name: x if math.isfinite(x) else None for name, x in (("value", self.value), ("error", self.error))}
        return {**known, "converged": self.converged}


def average(values: ArrayLike, statistic: Callable[[FloatArray], float] | None = None) -> Average:
    """A function of means over frames, with its error (`trepid.anharmonicity.blocking`).

    Parameters
    ----------
    values : (n_frames,) or (n_frames, n_columns) array-like
        In the order of time.
    statistic : callable, optional
        Of the means (n_columns,), a number. The mean of the first column if absent.

    Raises
    ------
    DataError
        No values, or values that are not finite.
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[:, None] if series.ndim == 1 else series
    if not len(series) or not np.isfinite(series).all():
        raise DataError("an average needs finite values; a column of the trajectory has none")
    mean = series.mean(axis=0)
    value = float(mean[0]) if statistic is None else statistic(mean)
    if len(series) < MIN_FRAMES:
        return Average(value, math.nan, False)
    # Round-off of a constant is no fluctuation.
    if np.ptp(series, axis=0).max() <= 1e-12 * np.abs(series).max():
        return Average(value, 0.0, True)
    error = block_error(series, statistic)
    return Average(value, error.error, error.converged)
