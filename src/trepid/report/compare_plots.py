"""Pictures of a comparison: values against temperature, one run against another, bands on top of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.report.axes import dots, key, log_scale
from trepid.report.style import MUTED, RULE, SERIES, new_figure
from trepid.runs.outcomes import Compared, Kind, Outcome, Property

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMES = 8
"""Rows of the picture with one row per property."""


def values_picture(rows: Sequence[Compared], names: Sequence[str], *, log: bool) -> Figure | None:
    """Value and interval of every run, one row per property; those that differ most first."""
    rows = sorted(rows, key=lambda row: -_distance(row))[:MOST_NAMES]
    if not rows:
        return None
    figure = new_figure(9.2, 1.1 + 0.42 * len(rows) + 0.12 * len(names))
    axes = figure.subplots()
    for k, row in enumerate(rows):
        for j, found in enumerate(row.found):
            if found is None or (log and found.value <= 0):
                continue
            y = k + 0.18 * (j - 0.5 * (len(names) - 1))
            axes.errorbar(found.value, y, xerr=_bars(found), fmt="o", markersize=5, color=SERIES[j % len(SERIES)])
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if log:
        log_scale(axes, x=True)
    units = {row.unit for row in rows if row.unit}
    axes.set_xlabel(f"{rows[0].kind.value} ({', '.join(sorted(units)) or '1'})")
    axes.grid(False, axis="y")
    _legend(axes, names)
    return figure


def modes_picture(rows: Sequence[Compared], names: Sequence[str]) -> Figure | None:
    """Lifetimes of the later runs against those of the first, with the line of no change."""
    pairs = [row for row in rows if row.found[0] is not None and any(one is not None for one in row.found[1:])]
    if not pairs:
        return None
    figure = new_figure(6.4, 5.0)
    axes = figure.subplots()
    for j in range(1, len(names)):
        both = [(row.found[0], row.found[j]) for row in pairs if row.found[j] is not None]
        x, y = (np.array([one[k].value for one in both]) for k in (0, 1))  # type: ignore[union-attr]
        xerr, yerr = (np.hstack([_bars(one[k]) for one in both]) for k in (0, 1))  # type: ignore[arg-type]
        axes.errorbar(x, y, xerr=xerr, yerr=yerr, fmt="o", markersize=4, color=SERIES[j % len(SERIES)], elinewidth=0.8)
    limits = axes.get_xlim()
    ends = [max(min(limits[0], axes.get_ylim()[0]), 1e-3), max(limits[1], axes.get_ylim()[1])]
    axes.plot(ends, ends, color=MUTED, linewidth=1.0)
    log_scale(axes, x=True, y=True)
    axes.set_xlabel(f"lifetime in {names[0]} (ps)")
    axes.set_ylabel("lifetime in the others (ps)")
    _legend(axes, names, first=1)
    return figure


def bands_picture(outcomes: Sequence[Outcome]) -> Figure | None:
    """Bands of all runs that have the same path, on top of each other."""
    with_bands = [(k, outcome.bands) for k, outcome in enumerate(outcomes) if outcome.bands is not None]
    if len(with_bands) < 2:
        return None
    reference = with_bands[0][1]
    assert reference is not None
    figure = new_figure(9.2, 4.4)
    axes = figure.subplots()
    ticks, names = [0.0], [reference.ends[0][0]]
    for j, (k, bands) in enumerate(with_bands):
        assert bands is not None
        if bands.ends != reference.ends:
            continue
        start = 0.0
        for segment, distances in enumerate(bands.distances):
            length = reference.distances[segment][-1] - reference.distances[segment][0]
            own = np.array(distances)
            x = start + (own - own[0]) / max(own[-1] - own[0], 1e-12) * length
            value, bar = np.array(bands.frequencies[segment]), bands.bars[segment]
            for branch in range(value.shape[1]):
                axes.plot(x, value[:, branch], color=SERIES[k % len(SERIES)], linewidth=1.1)
                if bar is not None:
                    width = np.array(bar)[:, branch]
                    axes.fill_between(
                        x,
                        value[:, branch] - width,
                        value[:, branch] + width,
                        color=SERIES[k % len(SERIES)],
                        alpha=0.2,
                        linewidth=0,
                    )
            start += length
            if j == 0:
                ticks.append(start)
                following = reference.ends[segment + 1][0] if segment + 1 < len(reference.ends) else ""
                last = reference.ends[segment][1]
                names.append(last if following in ("", last) else f"{last}|{following}")
    axes.set_xticks(ticks, names)
    for tick in ticks:
        axes.axvline(tick, color=RULE, linewidth=0.8)
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylabel("frequency (THz)")
    axes.grid(False, axis="x")
    _legend(axes, [outcome.name for outcome in outcomes])
    return figure


def _bars(found: Property) -> np.ndarray:
    """Lengths of an error bar, (2, 1)."""
    if found.low is None or found.high is None:
        return np.zeros((2, 1))
    return np.array([[max(found.value - found.low, 0.0)], [max(found.high - found.value, 0.0)]])


def _distance(row: Compared) -> float:
    change = row.change
    if change is None:
        return 0.0
    if row.kind in (Kind.RATE, Kind.LIFETIME, Kind.KAPPA):
        return abs(np.log(change)) if change > 0 else 0.0
    first = row.found[0]
    assert first is not None
    return abs(change) / max(abs(first.value), 1e-9)


def _label(row: Compared) -> str:
    return row.name if row.temperature_K is None else f"{row.name}, {row.temperature_K:g} K"


def _legend(axes: Axes, names: Sequence[str], *, first: int = 0) -> None:
    key(axes, handles=dots({name: SERIES[k % len(SERIES)] for k, name in enumerate(names) if k >= first}))
