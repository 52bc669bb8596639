"""Which events are of one sort, how often they happen, and when a time series jumps: numbers about events.

Vocabulary
----------
event class  what is left of an event when time, place and the numbers of the atoms are taken away; equal for events that
             a translation of the crystal maps onto each other, and for most that any symmetry does
rate         events per time; events that do not know of each other are Poisson distributed
jump         a change of the level of a noisy series that lasts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from trepid.arrays import FloatArray
from trepid.events.detection import Event, EventKind
from trepid.events.sites import Sites

_MAD_TO_STD = 1.4826
"""Standard deviation of a normal distribution in median absolute deviations."""


@dataclass(frozen=True, order=True)
class Step:
    """What one atom does in an event of a class: its species, the kinds of the two sites and their distance, A."""

    species: str
    from_kind: str
    to_kind: str
    distance_A: float

    def __str__(self) -> str:
        return f"{self.species}: {self.from_kind} -> {self.to_kind}, {self.distance_A:.2f} A"


@dataclass(frozen=True, order=True)
class EventClass:
    """Kind of event and the steps of its atoms, sorted; hashable, sortable, and readable as text."""

    kind: EventKind
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.kind.value} {'; '.join(str(step) for step in self.steps)}"


def event_class(event: Event, sites: Sites) -> EventClass:
    """The class of an event: kind, and per atom the species, the kinds of its sites and their distance.

    Distances are the one of the crystal, not the ones that happened, and the same for all pairs of sites that differ
    by less than about 0.2 A (`Sites.shell`).
    """
    steps = [
        Step(species, sites.kinds[origin], sites.kinds[target], round(sites.shell(origin, target), 2))
        for species, origin, target in zip(event.species, event.from_sites, event.to_sites, strict=True)
    ]
    return EventClass(event.kind, tuple(sorted(steps)))


class Rate(NamedTuple):
    """Events per ps with the ends of an interval."""

    rate_per_ps: float
    low_per_ps: float
    high_per_ps: float


def event_rate(n: int, time_ps: float, *, level: float = 0.68) -> Rate:
    r"""Rate of a Poisson process from `n` events in `time_ps`, with its exact central interval.

    The ends are the rates at which n events or more, n or fewer, have the probability (1 - level) / 2: F. Garwood,
    Biometrika 28, 437 (1936), :math:`\chi^2_{\alpha/2}(2n) / 2t` and :math:`\chi^2_{1-\alpha/2}(2n + 2) / 2t`. The
    interval holds the true rate with probability `level` or more.

    Raises
    ------
    ValueError
        `n` is negative, `time_ps` not positive, or `level` not between 0 and 1.
    """
    if n < 0:
        raise ValueError(f"the number of events must be 0 or more, not {n}")
    if not (0.0 < time_ps < np.inf):
        raise ValueError(f"the time must be positive, not {time_ps} ps")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    tail = 0.5 * (1.0 - level)
    low = 0.0 if n == 0 else float(chi2.ppf(tail, 2 * n)) / (2 * time_ps)
    return Rate(n / time_ps, low, float(chi2.ppf(1.0 - tail, 2 * n + 2)) / (2 * time_ps))


@dataclass(frozen=True)
class Jump:
    """A lasting change of level.

    Attributes
    ----------
    index : int
        First value on the new level.
    before, after : float
        Medians of the windows on both sides.
    score : float
        The change in standard deviations of a value around its level.
    """

    index: int
    before: float
    after: float
    score: float


def jumps(series: ArrayLike, *, window: int, threshold: float = 3.0, least: float = 0.0) -> list[Jump]:
    """Lasting jumps of a series, such as sigma^A of every frame: a second sign of an event, without any site.

    At every point the median of `window` values before is compared with the median of as many after. A peak shorter
    than half a window moves neither; a drift counts only if it gains `threshold` deviations within a window.

    Parameters
    ----------
    series : (n,) array-like
        At equal distances in time, finite.
    window : int
        Longer than the memory of the series, shorter than what is to be called lasting.
    threshold : float
        Least change in standard deviations of a value around its level, estimated robustly (median absolute
        deviation): that of both windows or the median over all windows, whichever is larger. Values remember their
        neighbours, so the scatter expected of medians of independent values would be too small a measure.
    least : float
        Least change in the unit of the series.

    Returns
    -------
    list of Jump
        At least a window apart; of neighbouring candidates the one with the largest change.

    Raises
    ------
    ValueError
        The series is not one-dimensional and finite, or the window is shorter than 4.
    """
    y = np.asarray(series, dtype=np.float64)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise ValueError("the series must be one-dimensional and finite")
    if window < 4:
        raise ValueError(f"the window must hold 4 values or more, not {window}")
    if len(y) < 2 * window:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(y, window)
    middle = np.median(windows, axis=1)
    scatter = _MAD_TO_STD * np.median(np.abs(windows - middle[:, None]), axis=1)
    before, after = middle[:-window], middle[window:]
    change = after - before
    noise = np.maximum(np.sqrt(0.5 * (scatter[:-window] ** 2 + scatter[window:] ** 2)), np.median(scatter))
    found = np.abs(change) > np.maximum(threshold * noise, least)
    jumps_found: list[Jump] = []
    taken: list[int] = []
    for k in np.argsort(-np.abs(change), kind="stable"):
        if found[k] and all(abs(k - other) >= window for other in taken):
            taken.append(int(k))
            score = float(np.inf if noise[k] == 0.0 else abs(change[k]) / noise[k])
            jumps_found.append(Jump(_edge(y, int(k), window), float(before[k]), float(after[k]), score))
    return sorted(jumps_found, key=lambda jump: jump.index)


def _edge(y: FloatArray, first: int, window: int) -> int:
    """Where between `first` and `first + 2 window` two constant levels fit best, by least absolute deviations."""
    piece = y[first : first + 2 * window]
    costs = [
        np.abs(piece[:k] - np.median(piece[:k])).sum() + np.abs(piece[k:] - np.median(piece[k:])).sum()
        for k in range(2, len(piece) - 1)
    ]
    return first + 2 + int(np.argmin(costs))
