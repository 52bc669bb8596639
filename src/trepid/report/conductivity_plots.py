"""Figures of the page of a thermal conductivity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.report.axes import key, log_scale
from trepid.report.style import ACCENT, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trepid.transport.conductivity import ConductivityResult, SizeResult

SHOWN = 2.5
"""The picture ends at so many cut-offs."""
POINTS = 600


def integral(size: SizeResult) -> Figure:
    """The running integral with its error, and the cut-off."""
    found = size.integral
    figure = new_figure(7.6, 3.4)
    axes = figure.add_subplot()
    n = min(len(found.times), max(8, round(SHOWN * found.cutoff)))
    kept = np.unique(np.linspace(1, n - 1, min(n - 1, POINTS)).round().astype(int))
    t, mean, error = found.times[kept], found.mean[kept], found.error[kept]
    axes.fill_between(t, mean - error, mean + error, color=SERIES[0], alpha=0.22, linewidth=0)
    axes.plot(t, mean, color=SERIES[0], label="integral")
    axes.axvline(found.cutoff_ps, color=MUTED, linestyle="--", linewidth=1.0)
    low, high = found.estimate.interval()
    axes.errorbar(
        [found.cutoff_ps],
        [found.estimate.value],
        yerr=[[found.estimate.value - low], [high - found.estimate.value]],
        color=ACCENT,
        marker="o",
        markersize=4.5,
        capsize=3,
        linewidth=1.2,
        label="result, 95 %",
    )
    axes.set_xlim(0, t[-1])
    axes.set_ylim(bottom=min(0.0, float((mean - error).min())))
    axes.set_xlabel("upper limit (ps)")
    axes.set_ylabel("thermal conductivity (W/(m K))")
    key(axes)
    return figure


def sizes(result: ConductivityResult) -> Figure:
    """Conductivity of every supercell."""
    figure = new_figure(5.2, 3.0)
    axes = figure.add_subplot()
    x = [size.n_atoms for size in result.sizes]
    y = np.array([size.kappa.value for size in result.sizes])
    bounds = np.array([size.kappa.interval() for size in result.sizes])
    axes.errorbar(
        x,
        y,
        yerr=[y - bounds[:, 0], bounds[:, 1] - y],
        color=SERIES[0],
        marker="o",
        markersize=4.5,
        capsize=3,
        linewidth=1.2,
    )
    log_scale(axes, x=True)
    axes.set_xticks(x, [str(n) for n in x])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("atoms (number)")
    axes.set_ylabel("thermal conductivity (W/(m K))")
    return figure
