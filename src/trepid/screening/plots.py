"""Figures of the dashboard of a screening."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from trepid.arrays import FloatArray
from trepid.report.axes import key, log_scale, whole_numbers
from trepid.report.style import ACCENT, INK, MUTED, SERIES, new_figure
from trepid.screening.record import MaterialRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 8
"""Materials that a figure names: the most anharmonic ones, those whose bars cover least."""


def sigma_against_bar(records: Sequence[MaterialRecord], tolerance: float) -> Figure | None:
    """sigma^A of every material over the half width of its 95 % interval."""
    known = [(record, record.sigma_a) for record in records if record.sigma_a is not None]
    points = [(r, v.value, v.half_width) for r, v in known if v.half_width is not None]
    if not points:
        return None
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    half = np.array([p[2] for p in points])
    value = np.array([p[1] for p in points])
    events = np.array([bool(p[0].classes) for p in points])
    axes.axvspan(half.min() * 0.6, tolerance, color=SERIES[2], alpha=0.08, linewidth=0)
    for mask, colour, label in ((~events, SERIES[0], "no events"), (events, ACCENT, "events in the walks")):
        if mask.any():
            axes.scatter(half[mask], value[mask], s=16, color=colour, label=label, linewidth=0)
    named = sorted(points, key=lambda p: -p[1])[:_NAMED]
    heights = np.exp(-_apart([-math.log(p[1]) for p in named], 0.12))
    for (record, _, width), height in zip(named, heights, strict=True):
        axes.annotate(
            record.name, (width, height), xytext=(5, -2.5), textcoords="offset points", fontsize=7.5, color=MUTED
        )
    log_scale(axes, x=True, y=True)  # the few whose crystal is lost are far above all others
    axes.set_xlim(half.min() * 0.6, half.max() * 2.2)
    axes.set_xlabel(r"half width of the 95 % interval of $\sigma^A$ (1)")
    axes.set_ylabel(r"$\sigma^A$ (1)")
    key(axes)
    return figure


def _apart(places: Sequence[float] | FloatArray, least: float) -> FloatArray:
    """Ascending places of names, (n,), moved up where they would be nearer to one another than this."""
    found: list[float] = []
    for place in places:
        found.append(max(float(place), found[-1] + least) if found else float(place))
    return np.array(found)


def coverage_of_materials(records: Sequence[MaterialRecord]) -> Figure | None:
    """Share of force components inside their 95 % bars, sorted, one point per material."""
    covered = sorted((r.coverage.inside / r.coverage.n_components, r.name) for r in records if r.coverage.n_components)
    if not covered:
        return None
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    shares = 100 * np.array([share for share, _ in covered])
    axes.axhspan(90, 99, color=SERIES[2], alpha=0.10, linewidth=0)
    axes.axhline(95, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.scatter(np.arange(1, len(shares) + 1), shares, s=14, color=SERIES[0], linewidth=0)
    lowest = min(80.0, float(shares.min()) - 3)
    low = shares[:_NAMED][shares[:_NAMED] < 90]
    for k, height in enumerate(_apart(low, 0.045 * (101 - lowest))):
        name = covered[k][1]
        axes.annotate(name, (k + 1, height), xytext=(14, -3), textcoords="offset points", fontsize=7.5, color=MUTED)
        axes.plot([k + 1.6, k + 1 + 0.03 * len(shares)], [shares[k], height], color=MUTED, linewidth=0.5)
    whole_numbers(axes.xaxis)
    axes.set_xlabel("materials, sorted (number)")
    axes.set_ylabel("inside the 95 % bars (%)")
    axes.set_ylim(lowest, 101)
    return figure


def spending(times_h: Sequence[float], computations: Sequence[int], done: Sequence[int]) -> Figure | None:
    """Reference computations, and materials that are done, over the wall time."""
    if len(times_h) < 2:
        return None
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    axes.step(times_h, computations, where="post", color=INK)
    axes.set_xlabel("wall time (h)")
    axes.set_ylabel("reference computations (number)")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.step(times_h, done, where="post", color=ACCENT)
    right.set_ylabel("materials done (number)", color=ACCENT)
    right.set_ylim(0, max(1.0, 1.05 * max(done)))
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.grid(False)
    right.spines["right"].set_visible(True)
    return figure


def labels_against_sigma(records: Sequence[MaterialRecord]) -> Figure | None:
    """Where the labels went: labels of every material over its sigma^A."""
    points = [(r.sigma_a.value, r.n_computations, len(r.rounds)) for r in records if r.sigma_a is not None]
    if not points:
        return None
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    value, labels, rounds = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    for k in sorted(set(rounds.tolist())):
        mask = rounds == k
        colour = SERIES[int(k - 1) % len(SERIES)]
        axes.scatter(
            value[mask], labels[mask], s=15, color=colour, linewidth=0, label=f"{k:.0f} round{'s' if k > 1 else ''}"
        )
    whole_numbers(axes.yaxis)
    axes.set_xlabel(r"$\sigma^A$ (1)")
    axes.set_ylabel("reference computations (number)")
    key(axes)
    return figure
