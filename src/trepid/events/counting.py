"""How often events of a class happen, with an interval that holds also where they come in bursts.

Vocabulary
----------
onset        the time at which an event begins
burst        onsets close to each other: one event makes the next more likely, as near a disorder transition
dispersion   variance of the number of onsets in a stretch of time over its mean; 1 for independent events, more for bursts

Independent events are Poisson distributed and have an exact interval (`trepid.events.classes.event_rate`). Whether they are
independent is tested: given their number, independent onsets are uniform in time. Where they are not, bursts are taken to be
independent of each other, which divides the number of observations by the dispersion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm, t

from trepid.arrays import FloatArray
from trepid.events.classes import Rate, event_rate

SIGNIFICANT = 0.05
"""Bursts are taken to be there where independent onsets are so seldom so close to each other."""
MIN_BLOCKS = 8
"""Fewer blocks do not give a variance worth the name."""
_BINS = 1024
_DRAWS, _FEW_DRAWS, _MANY_ONSETS = 399, 199, 1000


@dataclass(frozen=True)
class ClassRate:
    """Rate of a class of events.

    Attributes
    ----------
    n : int
        Onsets.
    time_ps : float
        Observed.
    level : float
        Probability that the interval is to hold.
    poisson : Rate
        With the exact interval of independent events.
    blocks : Rate or None
        With the interval from the dispersion over blocks; None where the onsets show no bursts.
    dispersion : float or None
        Over the blocks; None as above.
    p_value : float or None
        Probability that independent onsets come as close to each other as these; None below three onsets.
    """

    n: int
    time_ps: float
    level: float
    poisson: Rate
    blocks: Rate | None
    dispersion: float | None
    p_value: float | None

    @property
    def used(self) -> Rate:
        """The rate with the interval that counts."""
        return self.poisson if self.blocks is None else self.blocks

    @property
    def method(self) -> str:
        """Which interval counts: "Poisson" or "blocks"."""
        return "Poisson" if self.blocks is None else "blocks"


def class_rate(onsets_ps: ArrayLike, time_ps: float, *, level: float = 0.95, seed: int = 0) -> ClassRate:
    """Rate of a class from its onsets.

    Parameters
    ----------
    onsets_ps : (n,) array-like
        From the beginning of the observation on, ps.
    time_ps : float
        Length of the observation.
    level : float
        Of the interval.
    seed : int
        Of the random onsets that the observed ones are compared with.

    Raises
    ------
    ValueError
        As `event_rate`, or an onset lies outside of the observation.
    """
    onsets = np.sort(np.asarray(onsets_ps, dtype=np.float64))
    n = len(onsets)
    poisson = event_rate(n, time_ps, level=level)
    if n and not (onsets[0] >= 0.0 and onsets[-1] <= time_ps * (1 + 1e-9)):
        raise ValueError(f"onsets from {onsets[0]} to {onsets[-1]} ps lie outside of the {time_ps} ps observed")
    p_value = burst_p_value(onsets / time_ps, seed=seed)
    if p_value is None or p_value >= SIGNIFICANT:
        return ClassRate(n, time_ps, level, poisson, None, None, p_value)
    dispersion, n_blocks = _dispersion(onsets / time_ps)
    if dispersion <= 1.0:
        return ClassRate(n, time_ps, level, poisson, None, None, p_value)
    tail = 0.5 * (1.0 - level)
    # The variance is known from few blocks: the interval widens as Student's widens the normal one.
    widened = dispersion * float(t.ppf(1.0 - tail, n_blocks - 1) / norm.ppf(1.0 - tail)) ** 2
    bursts = n / widened
    low = widened * float(chi2.ppf(tail, 2 * bursts)) / (2 * time_ps)
    high = widened * float(chi2.ppf(1.0 - tail, 2 * bursts + 2)) / (2 * time_ps)
    return ClassRate(n, time_ps, level, poisson, Rate(n / time_ps, low, high), dispersion, p_value)


def burst_p_value(onsets: ArrayLike, *, seed: int = 0) -> float | None:
    """Probability that independent onsets come as close to each other as these; None for fewer than three.

    Parameters
    ----------
    onsets : (n,) array-like
        In units of the time observed, 0 to 1.
    seed : int

    Notes
    -----
    The statistic is the number of pairs of onsets closer than a half, a quarter, ... of the time observed. For each of these
    distances its rank among sets of uniform onsets is a p-value; the least of them, ranked in the same way, is the result. Being
    a comparison with draws of the null hypothesis it is exact for any number of onsets (Besag and Clifford, Biometrika 76, 633
    (1989)).
    """
    times = np.sort(np.asarray(onsets, dtype=np.float64))
    n = len(times)
    if n < 3:
        return None
    draws = _DRAWS if n <= _MANY_ONSETS else _FEW_DRAWS
    rng = np.random.default_rng(seed)
    widths = np.power(0.5, np.arange(1, min(14, 3 + math.ceil(2 * math.log2(n))), dtype=np.float64))
    sets = np.concatenate([times[None], np.sort(rng.random((draws, n)), axis=1)])
    pairs = np.stack([_close_pairs(sets, float(width)) for width in widths], axis=1)
    # Share of all sets, itself included, with as many close pairs or more.
    ascending = np.sort(pairs, axis=0)
    more = np.stack(
        [len(pairs) - np.searchsorted(ascending[:, k], pairs[:, k], side="left") for k in range(len(widths))], axis=1
    )
    least = more.min(axis=1)
    return float((least <= least[0]).sum() / len(pairs))


def _close_pairs(sets: FloatArray, width: float) -> FloatArray:
    """Number of pairs closer than `width` in every set (n_sets, n) of ascending times from 0 to 1."""
    n_sets, n = sets.shape
    # One search for all sets: they are laid end to end, farther apart than any width.
    line = (sets + 2.0 * np.arange(n_sets)[:, None]).ravel()
    ends = np.searchsorted(line, line + width, side="left") - np.arange(1, len(line) + 1)
    return np.asarray(ends.reshape(n_sets, n).sum(axis=1), dtype=np.float64)


def _dispersion(times: FloatArray) -> tuple[float, int]:
    """The largest dispersion over blocks of growing length, and the number of these blocks."""
    counts = np.histogram(times, bins=_BINS, range=(0.0, 1.0))[0]
    best, n_best = 0.0, _BINS
    while len(counts) >= MIN_BLOCKS:
        value = float(counts.var(ddof=1) / counts.mean())
        if value > best:
            best, n_best = value, len(counts)
        counts = counts.reshape(-1, 2).sum(axis=1)
    return best, n_best


@dataclass(frozen=True)
class WaitingTimes:
    """Times between one onset of a class and the next.

    Attributes
    ----------
    waits_ps : tuple of float
        In order. The waits before the first and after the last onset are not among them: their length is not known.
    """

    waits_ps: tuple[float, ...]

    @classmethod
    def of(cls, onsets_ps: ArrayLike) -> WaitingTimes:
        """Between these onsets."""
        return cls(tuple(float(x) for x in np.diff(np.sort(np.asarray(onsets_ps, dtype=np.float64)))))

    @property
    def mean_ps(self) -> float | None:
        """None without waits."""
        return float(np.mean(self.waits_ps)) if self.waits_ps else None

    @property
    def median_ps(self) -> float | None:
        """None without waits."""
        return float(np.median(self.waits_ps)) if self.waits_ps else None

    @property
    def variation(self) -> float | None:
        """Standard deviation over mean: 1 for independent events, more for bursts; None below two waits."""
        if len(self.waits_ps) < 2 or not self.mean_ps:
            return None
        return float(np.std(self.waits_ps, ddof=1)) / self.mean_ps
