"""Axes of the figures: logarithmic axes that can be read at any length, and keys above the data instead of on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullLocator

from trepid.report.style import MUTED

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

FEWEST_TICKS, MOST_TICKS = 3, 8
"""Values that are written along an axis."""
_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
"""Ticks of a decade, from few to many."""
_INCH_PER_LETTER, _HANDLE_INCHES = 0.068, 0.42


class LogTicks(Locator):
    """Ticks of a logarithmic axis: powers of ten where they suffice, more of a decade on short axes, even steps on the shortest."""

    def __call__(self) -> Sequence[float]:
        """Ticks of the present view."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Ticks between two values."""
        low, high = sorted((vmin, vmax))
        if not (0.0 < low < high and math.isfinite(high)):
            return []
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for steps in _STEPS:
            ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
            if len(ticks) >= FEWEST_TICKS:
                return ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
        even = np.asarray(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
        return [float(tick) for tick in even if low <= tick <= high]


def log_scale(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Make axes logarithmic, with `LogTicks`, written as 0.1, 1, 10."""
    if x:
        axes.set_xscale("log")
    if y:
        axes.set_yscale("log")
    for axis in [*([axes.xaxis] if x else []), *([axes.yaxis] if y else [])]:
        axis.set_major_locator(LogTicks())
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def whole_numbers(axis: Axis, *, ticks: int = 7) -> None:
    """Ticks at whole numbers only, also where the axis shows a single one."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=1))


def key(axes: Axes, text: str = "", *, handles: Sequence[Artist] | None = None) -> None:
    """Legend above the axes, where no data are, with a remark in the line above it.

    Parameters
    ----------
    axes : Axes
    text : str
        One or more lines.
    handles : sequence of Artist, optional
        Default: everything in the axes that has a label.
    """
    entries = list(axes.get_legend_handles_labels()[0] if handles is None else handles)
    if not entries and not text:
        return
    if not entries:
        axes.set_title(text, fontsize=8.5, color=MUTED, pad=6)
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    width = figure.get_size_inches()[0] * min(axes.get_position().width * 1.12, 0.86)
    longest = max(len(str(entry.get_label())) for entry in entries)
    columns = int(width // (_HANDLE_INCHES + _INCH_PER_LETTER * longest))
    legend = axes.legend(
        handles=entries,
        title=text or None,
        title_fontsize=8.5,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        borderaxespad=0.2,
        ncols=min(len(entries), max(1, columns)),
        columnspacing=1.0,
    )
    legend.get_title().set_color(MUTED)


def dots(colours: Mapping[str, str]) -> list[Line2D]:
    """Handles of coloured dots, one per name."""
    return [
        Line2D([], [], linestyle="", marker="o", markersize=5.5, markeredgewidth=0, color=colour, label=name)
        for name, colour in colours.items()
    ]
