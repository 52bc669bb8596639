"""Error bars of averages over frames that are correlated in time.

Vocabulary
----------
block       frames next to each other, treated as one observation; long blocks forget each other, short ones do not
jackknife   the statistic is computed again with one block left out at a time; the spread is its error, also where the
            statistic is not a mean but a function of means, such as a ratio
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from trepid.arrays import FloatArray
from trepid.errors import DataError

MIN_BLOCKS = 8
"""Fewer blocks do not give an error worth the name: it would itself be uncertain by more than a quarter."""
CLEARLY_LARGER = 1.5
"""Ratio from which on the error of eight long blocks counts: it is itself uncertain by a quarter."""


@dataclass(frozen=True)
class BlockError:
    """Statistical error of a figure.

    Attributes
    ----------
    error : float
        One standard deviation; nan where there is one frame only.
    block_length : int
        Frames in a block.
    n_blocks : int
    converged : bool
        Whether the blocks were long enough to be independent. Where not, the series is too short for its correlation
        time and `error` is a lower bound.
    """

    error: float
    block_length: int
    n_blocks: int
    converged: bool


def block_error(
    values: ArrayLike,
    statistic: Callable[[FloatArray], float] | None = None,
    *,
    block_length: int | None = None,
) -> BlockError:
    """Error of a function of means over frames, by the jackknife over blocks.

    The block length is the shortest power of two B with B^3 > 2 n (e(B) / e(1))^4, e the error found with it: past it a
    longer block loses more to noise than it gains (U. Wolff, Comput. Phys. Commun. 156, 143 (2004); R. M. Lee et al.,
    Phys. Rev. E 83, 066706 (2011)). An oscillation, as of a cell on its barostat or of a mode, cancels within such a block and
    hides what wanders slowly: eight blocks that fill the series are looked at too, and count where their error is clearly larger.

    Parameters
    ----------
    values : (n_frames,) or (n_frames, n_columns) array-like
        In the order of time.
    statistic : callable, optional
        Of the means (n_columns,), a number. The mean of the first column if absent.
    block_length : int, optional
        Frames in a block; found as above if absent. 1 for independent frames.

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
        return BlockError(_jackknife(series, function, block_length), block_length, n // block_length, n > 1)
    if n == 1:
        return BlockError(math.nan, 1, 1, False)
    lengths = [1]
    while n // (2 * lengths[-1]) >= MIN_BLOCKS:
        lengths.append(2 * lengths[-1])
    errors = [_jackknife(series, function, length) for length in lengths]
    for length, error in zip(lengths, errors, strict=True):
        ratio = error / errors[0] if errors[0] > 0 else 1.0
        if length**3 > 2 * n * ratio**4:
            return _slower(series, function, BlockError(error, length, n // length, True))
    largest = int(np.argmax(errors))
    return _slower(series, function, BlockError(errors[largest], lengths[largest], n // lengths[largest], False))


def _slower(series: FloatArray, statistic: Callable[[FloatArray], float], found: BlockError) -> BlockError:
    """The error of the longest blocks where it is clearly larger than the one found."""
    length = len(series) // MIN_BLOCKS
    if length <= found.block_length:
        return found
    error = _jackknife(series, statistic, length)
    return BlockError(error, length, MIN_BLOCKS, found.converged) if error > CLEARLY_LARGER * found.error else found


def _first(mean: FloatArray) -> float:
    return float(mean[0])


def _jackknife(series: FloatArray, statistic: Callable[[FloatArray], float], length: int) -> float:
    """Error from blocks of this many frames; frames at the beginning that fill no block are left out."""
    n_blocks = len(series) // length
    if n_blocks < 2:
        return math.nan
    blocks = series[len(series) - n_blocks * length :].reshape(n_blocks, length, -1).mean(axis=1)
    without = (blocks.sum(axis=0) - blocks) / (n_blocks - 1)
    figures = np.array([statistic(mean) for mean in without])
    return float(np.sqrt((n_blocks - 1) * np.mean((figures - figures.mean()) ** 2)))
