"""The events of a simulation for the report: a table of their classes and a figure over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trepid.events.classes import EventClass, Rate, event_class, event_rate
from trepid.report.style import MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trepid.events.detection import Event
    from trepid.events.sites import Sites

HEADER = ("event", "count", "first (ps)", "per ns", "68 % interval (per ns)", "duration (fs)", "longest path (Å)")
"""Column headings of `EventRow.cells`."""


@dataclass(frozen=True)
class EventRow:
    """One class of events.

    Attributes
    ----------
    kind : EventClass
    count : int
    first_ps : float
        Time at which the first one began.
    rate : Rate
        Per ps, with its interval.
    duration_fs : float
        Median from leaving the old site to reaching the new one.
    farthest_A : float
        Longest path of an atom in any of them.
    """

    kind: EventClass
    count: int
    first_ps: float
    rate: Rate
    duration_fs: float
    farthest_A: float

    @property
    def cells(self) -> tuple[str, ...]:
        """Text of the row, one cell per column of `HEADER`."""
        rate = self.rate
        return (
            str(self.kind).replace("->", "→"),
            str(self.count),
            f"{self.first_ps:.3g}",
            f"{1000 * rate.rate_per_ps:.3g}",
            f"{1000 * rate.low_per_ps:.3g} – {1000 * rate.high_per_ps:.3g}",
            f"{self.duration_fs:.0f}",
            f"{self.farthest_A:.2f}",
        )


def event_rows(events: Sequence[Event], sites: Sites, *, time_ps: float, level: float = 0.68) -> list[EventRow]:
    """Table of event classes, the most frequent first.

    Parameters
    ----------
    events : sequence of Event
    sites : Sites
    time_ps : float
        Simulated time in which they were found, summed over trajectories.
    level : float
        Probability of the interval of the rate; its column heading in `HEADER` says 68 %.
    """
    classes: dict[EventClass, list[Event]] = {}
    for event in events:
        classes.setdefault(event_class(event, sites), []).append(event)
    rows = [
        EventRow(
            kind=kind,
            count=len(members),
            first_ps=min(event.start_fs for event in members) / 1000.0,
            rate=event_rate(len(members), time_ps, level=level),
            duration_fs=float(np.median([event.end_fs - event.start_fs for event in members])),
            farthest_A=max(event.distance_A for event in members),
        )
        for kind, members in classes.items()
    ]
    return sorted(rows, key=lambda row: (-row.count, row.first_ps, row.kind))


def events_over_time(
    events: Sequence[Event], sites: Sites, *, time_ps: float, width: float = 9.6, most: int = 6
) -> Figure | None:
    """Running number of events of every class over time: the slope is the rate; None without events.

    Parameters
    ----------
    events : sequence of Event
        Of one trajectory.
    sites : Sites
    time_ps : float
        Length of the trajectory.
    width : float
        Inches.
    most : int
        Curves shown; rarer classes are counted together in a last one.
    """
    rows = event_rows(events, sites, time_ps=time_ps)
    if not rows:
        return None
    rank = {row.kind: min(k, most) for k, row in enumerate(rows)}
    times: dict[int, list[float]] = {}
    for event in events:
        times.setdefault(rank[event_class(event, sites)], []).append(event.end_fs / 1000.0)
    figure = new_figure(width, 3.0 + 0.2 * len(times))
    axes = figure.add_subplot()
    for k, moments in sorted(times.items()):
        name = str(rows[k].kind).replace("->", "→") if k < most else f"{len(rows) - most} rarer classes"
        colour = SERIES[k % len(SERIES)] if k < most else MUTED
        t = np.sort(moments)
        number = np.arange(1, t.size + 1, dtype=np.float64)
        axes.step(np.r_[0.0, t, time_ps], np.r_[0.0, number, number[-1]], where="post", color=colour, linewidth=1.6)
        # One dot per event while they can be distinguished.
        axes.plot(t, number, linestyle="", color=colour, marker="o" if t.size <= 200 else "", markersize=3.6)
        axes.plot([], [], color=colour, linewidth=1.6, label=f"{name}  ({t.size})")
    axes.set_xlim(0.0, time_ps)
    axes.set_ylim(0.0, None)
    axes.grid(axis="x", visible=False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel("MD time (ps)")
    axes.set_ylabel("events so far")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=1 if width < 7 else 2)
    return figure
