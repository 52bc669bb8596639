"""The figures of a campaign in rounds, one function each: data in, matplotlib figure out; None without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from trepid.acquisition.choices import UncertaintyMeasure
from trepid.acquisition.uncertainty import MEASURES
from trepid.report.axes import dots, key, log_scale, whole_numbers
from trepid.report.plots import SQUARE
from trepid.report.style import ACCENT, INK, MUTED, SERIES, new_figure
from trepid.runs.round_files import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.runs.round_files import RoundRecord, Selection

FloatArray = NDArray[np.float64]

REASON_COLOURS = {"uncertainty": ACCENT, "event": SERIES[1], "probe": SERIES[4], "random": SERIES[2], "hot": SERIES[3]}
"""Colour of a selected frame by the reason of its selection."""
LEAST = 1e-8
"""Smaller values are drawn here, so that logarithmic axes stay readable."""


def learning_curve(records: Sequence[RoundRecord], *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Force error over the number of labels: on new labels before training, on the test frames after it."""
    new = [(_labels_before(records, k), 1000 * r.new.forces_mae) for k, r in enumerate(records) if r.new is not None]
    test = [(r.n_labels, 1000 * r.test.forces_mae) for r in records if r.test is not None]
    if not new and not test:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    for points, colour, name in ((new, SERIES[0], "new labels, before training"), (test, SERIES[1], "test frames")):
        if points:
            x, y = np.array(points).T
            axes.plot(x, y, color=colour, marker="o", markersize=5, markeredgewidth=0, label=name)
    axes.set_ylim(bottom=0)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, np.floor(low)), max(high, np.ceil(high)))
    whole_numbers(axes.xaxis)
    axes.set_xlabel("training labels (number)")
    axes.set_ylabel("mean force error (meV/Å)")
    key(axes)
    return figure


def coverage_by_round(records: Sequence[RoundRecord], *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """Coverage of the 68 % and 95 % intervals on the new labels of every round, as predicted and corrected."""
    known = [record for record in records if ALL in record.calibration]
    if not known:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    rounds = np.array([record.round for record in known])
    for level, colour in ((68, SERIES[0]), (95, SERIES[1])):
        axes.axhline(level, color=colour, linewidth=0.9, dashes=(4, 3))
        before = [100 * getattr(record.calibration[ALL].before, f"coverage_{level}") for record in known]
        axes.plot(rounds, before, color=colour, marker="o", markersize=5, markeredgewidth=0, label=f"{level} %")
        scaled = [(r.round, r.calibration[ALL].after) for r in known]
        after = [(number, 100 * getattr(value, f"coverage_{level}")) for number, value in scaled if value is not None]
        if after:
            x, y = np.array(after).T
            axes.plot(x, y, color=colour, marker="o", markersize=6, markerfacecolor="none", linestyle=":")
    axes.set_ylim(0, 104)
    _round_axis(axes)
    axes.set_ylabel("force components inside (%)")
    key(axes, "Filled: as predicted; open: corrected by labels of earlier rounds")
    return figure


def uncertainty_by_round(
    selections: Sequence[Selection], *, measure: UncertaintyMeasure, size: tuple[float, float] = SQUARE
) -> Figure | None:
    """Uncertainty of the candidates of every round, the value at which P_U is one half, and the selected frames."""
    known = [selection for selection in selections if selection.uncertainty]
    if not known:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    rng = np.random.default_rng(0)
    for selection in known:
        values = np.array(selection.uncertainty)
        x = selection.round + rng.uniform(-0.28, 0.28, size=values.size)
        _draw_candidates(axes, x, values, alpha=0.35)
        if selection.statistics is not None:
            half = selection.statistics.half
            axes.plot([selection.round - 0.36, selection.round + 0.36], [half, half], color=INK, linewidth=1.2)
        for pick in selection.picks:
            if pick.uncertainty is not None:
                colour = REASON_COLOURS.get(pick.reason, ACCENT)
                axes.plot(selection.round, pick.uncertainty, marker="D", markersize=4, markeredgewidth=0, color=colour)
    if min(min(selection.uncertainty) for selection in known) > 0:
        log_scale(axes, y=True)
    _round_axis(axes)
    unit = MEASURES[measure].unit
    axes.set_ylabel(f"uncertainty of a candidate ({unit.replace('eV/A', 'eV/Å')})")
    key(axes, handles=_reasons(known))
    return figure


def _draw_candidates(axes: Axes, x: FloatArray, y: FloatArray, *, alpha: float, label: str | None = None) -> None:
    """Small dots, as one picture: there are thousands."""
    axes.plot(
        x,
        y,
        linestyle="",
        marker="o",
        markersize=2.6,
        markeredgewidth=0,
        color=MUTED,
        alpha=alpha,
        rasterized=True,
        label=label,
    )


def why_chosen(selections: Sequence[Selection], *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """P_E of the candidates against their uncertainty over the value where P_U is 1/2; selected frames are marked."""
    known = [selection for selection in selections if selection.statistics is not None and selection.uncertainty]
    if not known:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    halves = {selection.round: selection.statistics.half for selection in known if selection.statistics is not None}
    shown = [(each, halves[each.round]) for each in known if halves[each.round] > 0]
    if not shown:
        return None
    ratio = np.concatenate([np.array(each.uncertainty) / half for each, half in shown])
    accessible = np.concatenate([np.array(each.p_viability) for each, _ in shown])
    _draw_candidates(axes, np.maximum(ratio, LEAST), np.maximum(accessible, LEAST), alpha=0.5, label="_candidates")
    for each, half in shown:
        for pick in each.picks:
            if pick.uncertainty is not None and pick.p_viability is not None:
                axes.plot(
                    max(pick.uncertainty / half, LEAST),
                    max(pick.p_viability, LEAST),
                    marker="D",
                    markersize=4.5,
                    markeredgewidth=0,
                    color=REASON_COLOURS.get(pick.reason, ACCENT),
                )
    axes.axvline(1.0, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    log_scale(axes, x=True, y=True)
    axes.set_ylim(0.5 * min(0.5, float(np.maximum(accessible, LEAST).min())), 1.6)
    axes.set_xlabel("uncertainty / value where $P_U$ is 1/2 (1)")
    axes.set_ylabel("$P_E$, energetically accessible (1)")
    key(axes, handles=_reasons(known))
    return figure


def sigma_a_by_round(records: Sequence[RoundRecord], *, size: tuple[float, float] = SQUARE) -> Figure | None:
    """sigma^A of the trajectories by temperature, with the model they ran on."""
    temperatures = sorted({value.temperature_K for record in records for value in record.sigma_a})
    if not temperatures:
        return None
    figure = new_figure(*size)
    axes = figure.add_subplot()
    for colour, temperature in zip(SERIES * (1 + len(temperatures) // len(SERIES)), temperatures, strict=False):
        points = [
            (record.round, value.value, value.error or 0.0)
            for record in records
            for value in record.sigma_a
            if value.temperature_K == temperature
        ]
        x, y, bars = np.array(points).T
        axes.errorbar(
            x,
            y,
            yerr=bars,
            color=colour,
            marker="o",
            markersize=5,
            markeredgewidth=0,
            elinewidth=1.0,
            label=f"{temperature:g} K",
        )
    axes.set_ylim(bottom=0)
    _round_axis(axes)
    axes.set_ylabel(r"$\sigma^A$ of the model (1)")
    key(axes)
    return figure


def _reasons(selections: Sequence[Selection]) -> list[Line2D]:
    """Handles of the reasons for which frames were selected."""
    reasons = sorted({pick.reason.value for selection in selections for pick in selection.picks})
    handles = dots({reason: REASON_COLOURS.get(reason, ACCENT) for reason in reasons})
    for handle in handles:
        handle.set_marker("D")
    return handles


def _labels_before(records: Sequence[RoundRecord], k: int) -> int:
    return records[k - 1].n_labels if k else 0


def _round_axis(axes: Axes) -> None:
    whole_numbers(axes.xaxis)
    axes.set_xlabel("round (number)")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 1.5))
