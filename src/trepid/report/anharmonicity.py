"""sigma^A over time as a picture, for `trepid anharmonicity`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from trepid.report import style
from trepid.report.style import INK, MUTED, envelope, house_style, new_figure, note

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from trepid.anharmonicity.measure import Anharmonicity

WIDTH, HEIGHT = 9.6, 3.0
"""Inches."""


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
    axes.set_xlabel("MD time (ps)" if known else "frame (number)")
    axes.set_ylabel("σA (1)")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.2)
    return figure


def sigma_a_of_atoms(result: Anharmonicity) -> Figure:
    """sigma^A of every atom, by species."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    symbols, values = np.array(result.symbols), np.asarray(result.per_atom)
    for species, colour in style.species_colours(result.symbols).items():
        (atoms,) = np.nonzero(symbols == species)
        axes.plot(atoms, values[atoms], color=colour, linestyle="", marker="o", markersize=3.6, label=species)
    axes.set_ylim(0, None)
    axes.set_xlabel("atom (number)")
    axes.set_ylabel("σA (1)")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.2)
    return figure


def write_figures(result: Anharmonicity, folder: Path) -> None:
    """Write the time series and the values of the atoms into a folder, as PNG, PDF and CSV."""
    from trepid.report.page import draw, figure_files

    module = "trepid.report.anharmonicity"
    with figure_files(folder):
        draw(
            ("sigma-a", module, lambda plots: plots.sigma_a_series(result), ""),
            ("sigma-a-atoms", module, lambda plots: plots.sigma_a_of_atoms(result), ""),
        )


def write_png(result: Anharmonicity, path: Path, *, title: str = "") -> None:
    """Write the time series as a picture on white paper, atomically."""
    from trepid.data.atomic import write_bytes_atomic

    with house_style("sigma-a"):
        figure = sigma_a_series(result)
        if title:
            note(figure.axes[0], title, x=1.0, y=1.03, ha="right", va="bottom")
        style.on_paper(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    write_bytes_atomic(path, buffer.getvalue())
