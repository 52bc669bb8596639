"""Error bars of averages over frames that are correlated in time.

Vocabulary
----------
jackknife     the statistic is computed again with one frame left out at a time; what each frame adds to it is a series whose mean
              is the statistic and whose error is its error, also where the statistic is not a mean but a function of means
waves         cosines of 1, 2, ... half periods over the whole series. Their squared amplitudes are the slow end of its spectrum,
              and the spectrum at frequency zero over the length is the variance of the mean
slow process  what wanders over times that are not short against the series: its spectrum still rises at the first waves. An
              oscillation, as of a cell on its barostat, lies far above these waves and does not hide it

The squared amplitudes of the first waves are those of a flat spectrum (frames that forget each other soon), or of one with a slow
process of unknown correlation time and strength in it, for which they are known (an Ornstein-Uhlenbeck process). Each says by
Student's t how far the mean may be off; they count by their likelihood. The bar is that 95 % interval over 1.96, so that it is as
much wider as the few waves demand. The waves as estimators: E. Lazarus et al., J. Bus. Econ. Stat. 36, 541 (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import dct
from scipy.optimize import brentq
from scipy.special import logsumexp, stdtr, stdtrit

from trepid.arrays import FloatArray
from trepid.errors import DataError

MOST_WAVES = 32
"""Waves that are looked at."""
FEWEST_WAVES = 8
"""Also of a series so short that they are more than half of those that it has."""
FEWEST_FRAMES = 16
"""A shorter series cannot tell its correlation time."""
MOST_VALUES = 4096
"""A longer series is first averaged over neighbours."""
NO_SLOW_PROCESS = 0.9
"""Probability, before the series is looked at, that it has no slow process. Chosen on made series: bars of independent frames are
then a tenth wider than they had to be, and those of a process that forgets in a tenth of the series still cover."""
TIMES = tuple(float(x) for x in np.geomspace(0.02, 1.0, 8))
"""Correlation times of the slow process, lengths of the series; a shorter one is flat in the first waves."""
STRENGTHS = (3.0, 10.0, 30.0, 100.0, 1000.0)
"""Its spectrum at frequency zero over that of the rest."""
NOT_SHORT = 0.1
"""Correlation time, lengths of the series, from which on the bar is a lower bound."""
DOMINANT = 2.0
"""Factor on the variance of the mean from which on a slow process counts."""
_Z = 1.959964


@dataclass(frozen=True)
class BlockError:
    """Statistical error of a figure.

    Attributes
    ----------
    error : float
        One standard deviation; nan where there is one frame only. 1.96 of it to both sides are the 95 % interval.
    converged : bool
        Whether the series is long against its correlation time. Where not, `error` is a lower bound: what wanders over times
        as long as the series cannot be seen in it.
    """

    error: float
    converged: bool


def block_error(
    values: ArrayLike,
    statistic: Callable[[FloatArray], float] | None = None,
    *,
    block_length: int | None = None,
) -> BlockError:
    """Error of a function of means over frames, which may be correlated over times that are not short against the series.

    Parameters
    ----------
    values : (n_frames,) or (n_frames, n_columns) array-like
        In the order of time.
    statistic : callable, optional
        Of the means (n_columns,), a number. The mean of the first column if absent.
    block_length : int, optional
        Blocks of this many frames are independent: the error is that of the jackknife over them. 1 for independent frames.

    Raises
    ------
    DataError
        No values, values that are not finite, or a block length that leaves fewer than two blocks of more than one
        frame.
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[:, None] if series.ndim == 1 else series
    if series.ndim != 2 or len(series) == 0 or not np.isfinite(series).all():
        raise DataError(f"an error bar needs finite values, one row per frame; the array has shape {series.shape}")
    function = statistic if statistic is not None else _first
    n = len(series)
    if block_length is not None:
        if not 1 <= block_length <= max(1, n // 2):
            raise DataError(f"block length {block_length}: from 1 to half of the {n} frames is possible")
        alone = _contributions(series, function, block_length)
        return BlockError(float(alone.std(ddof=1) / np.sqrt(len(alone))) if n > 1 else math.nan, n > 1)
    if n == 1:
        return BlockError(math.nan, False)
    added = _contributions(series, function, math.ceil(n / MOST_VALUES))
    if not np.isfinite(added).all():
        return BlockError(math.nan, False)
    error, slow = _error_of_mean(added)
    return BlockError(error, n >= FEWEST_FRAMES and not slow)


def _first(mean: FloatArray) -> float:
    return float(mean[0])


def _contributions(series: FloatArray, statistic: Callable[[FloatArray], float], length: int) -> FloatArray:
    """What every block of this many frames adds to the figure; frames at the beginning that fill no block are left out."""
    n_blocks = len(series) // length
    blocks = series[len(series) - n_blocks * length :].reshape(n_blocks, length, -1).mean(axis=1)
    if n_blocks < 2:
        return np.array([statistic(mean) for mean in blocks])
    without = (blocks.sum(axis=0) - blocks) / (n_blocks - 1)
    figures = np.array([statistic(mean) for mean in without])
    return np.asarray(n_blocks * statistic(blocks.mean(axis=0)) - (n_blocks - 1) * figures)


def _error_of_mean(series: FloatArray) -> tuple[float, bool]:
    """Error of the mean of a series (n,), and whether a slow process that its length does not resolve makes the most of it."""
    n = len(series)
    n_waves = min(MOST_WAVES, max(n // 2, min(n - 1, FEWEST_WAVES)))
    power = dct(series - series.mean(), type=2, norm="ortho")[1 : n_waves + 1] ** 2
    if not power.any():
        return 0.0, False
    known = _spectra(n_waves)
    levels = (power / known.waves).mean(axis=1)
    log_weights = known.log_prior - 0.5 * np.log(known.waves).sum(axis=1) - 0.5 * n_waves * np.log(levels)
    weights = np.exp(log_weights - logsumexp(log_weights))
    scales = np.sqrt(levels * known.mean / n)

    def outside(bound: float) -> float:
        return float(weights @ stdtr(n_waves, -bound / scales)) - 0.025

    largest = -float(stdtrit(n_waves, 0.02)) * float(scales.max())
    bound = brentq(outside, 0.0, largest, rtol=1e-6)
    return float(bound) / _Z, bool(weights[known.unresolved].sum() > 0.5)


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Shapes of the spectrum that are thought possible.

    Attributes
    ----------
    waves : (n_shapes, n_waves) array
        Mean squared amplitudes of the waves; 1 for what forgets at once.
    mean : (n_shapes,) array
        Variance of the mean times the number of frames, in the same unit.
    log_prior : (n_shapes,) array
    unresolved : (n_shapes,) array of bool
        Whether a slow process makes the most of the variance of the mean and is not short against the series.
    """

    waves: FloatArray
    mean: FloatArray
    log_prior: FloatArray
    unresolved: np.ndarray


@lru_cache(maxsize=64)
def _spectra(n_waves: int) -> _Spectra:
    waves, mean = [np.ones(n_waves)], [1.0]
    log_prior, unresolved = [math.log(NO_SLOW_PROCESS)], [False]
    share = math.log((1.0 - NO_SLOW_PROCESS) / (len(TIMES) * len(STRENGTHS)))
    for time in TIMES:
        of_waves, of_mean = _slow_process(time, n_waves)
        for strength in STRENGTHS:
            waves.append(1.0 + strength * of_waves)
            mean.append(1.0 + strength * of_mean)
            log_prior.append(share)
            unresolved.append(time >= NOT_SHORT and mean[-1] > DOMINANT)
    return _Spectra(np.array(waves), np.array(mean), np.array(log_prior), np.array(unresolved))


def _slow_process(time: float, n_waves: int) -> tuple[FloatArray, float]:
    """Mean squared amplitudes of the waves, and variance of the mean times the length; of a process of this correlation time.

    Over a series of length 1, in units of its spectrum at frequency zero, 2 time: the double integrals of exp(-|s - t| / time)
    with 2 cos(pi k s) cos(pi k t), and with 1.
    """
    rate, k = 1.0 / time, np.arange(1, n_waves + 1)
    square = rate**2 / (rate**2 + (np.pi * k) ** 2)
    ends = 2.0 * time * square**2 * (1.0 - (-1.0) ** k * math.exp(-rate))
    return np.asarray(square - ends), 1.0 - time * (1.0 - math.exp(-rate))
