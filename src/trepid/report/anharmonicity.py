"""sigma^A over time as a picture, for `trepid anharmonicity`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from trepid.report import style
from trepid.report.style import ACCENT, BAND, INK, MUTED, RULE, envelope, house_style, new_figure, note

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from trepid.anharmonicity.measure import Anharmonicity

WIDTH, HEIGHT = 9.6, 3.0
"""Inches."""
_ON_PAPER = {INK: "#1d2126", MUTED: "#6b7078", RULE: "#e3e0d9", BAND: "#f1eee7", ACCENT: "#c4452b"}
"""Colours of the page in light mode, for pictures that no page colours."""


def sigma_a_series(result: Anharmonicity) -> Figure:
    """sigma^A over time (or over the number of the frame), for all atoms and by species."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    known = result.times_ps is not None
    x = np.asarray(result.times_ps) if known else np.arange(result.n_frames, dtype=np.float64)
    series = [
        (species, result.per_frame_species[species], colour)
        for species, colour in style.species_colours(result.symbols).items()
    ]
    if len(series) == 1:
        series = []
    for label, y, colour in [*series, ("all atoms", result.per_frame, INK)]:
        if known and result.n_frames > 1:
            axes.plot(*envelope(x, y), color=colour, linewidth=1.0, label=label)
        else:
            axes.plot(x, y, color=colour, linestyle="", marker="o", markersize=3.6, markeredgewidth=0, label=label)
    axes.axhline(result.sigma_a, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_ylim(0, None)
    axes.set_xlabel("MD time (ps)" if known else "frame")
    axes.set_ylabel("σA")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.2)
    return figure


def write_png(result: Anharmonicity, path: Path, *, title: str = "") -> None:
    """Write the time series as a picture on white paper, atomically."""
    from trepid.data.atomic import write_bytes_atomic

    with house_style("sigma-a"):
        figure = sigma_a_series(result)
        if title:
            note(figure.axes[0], title, x=1.0, y=1.03, ha="right", va="bottom")
        _on_paper(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    write_bytes_atomic(path, buffer.getvalue())


def _on_paper(figure: Figure) -> None:
    """Replace the placeholders of the page's colours by those of its light mode, in every part of a figure."""
    from matplotlib.colors import to_hex

    figure.draw_without_rendering()
    for artist in figure.findobj():
        for kind in ("color", "facecolor", "edgecolor"):
            get, put = getattr(artist, f"get_{kind}", None), getattr(artist, f"set_{kind}", None)
            if get is None or put is None:
                continue
            value = get()
            if isinstance(value, np.ndarray) and value.ndim == 2:
                value = value[0] if len(value) == 1 else None
            if value is not None and (colour := _ON_PAPER.get(to_hex(value))) is not None:
                put(colour)
