"""sigma^A for the report and for `trepid anharmonicity`: time series and values of single atoms."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trepid.report import style
from trepid.report.style import ACCENT, BAND, INK, MUTED, RULE, envelope, house_style, new_figure, note, to_svg

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trepid.anharmonicity.measure import Anharmonicity
    from trepid.report.page import Section

WIDE, NARROW, HEIGHT = 9.6, 4.6, 3.0
"""Inches: width on a wide screen, width on a narrow screen, height."""
_ON_PAPER = {INK: "#1d2126", MUTED: "#6b7078", RULE: "#e3e0d9", BAND: "#f1eee7", ACCENT: "#c4452b"}
"""Colours of the page in light mode, for pictures outside a page."""


def anharmonicity_section(
    result: Anharmonicity,
    *,
    title: str = "Anharmonicity",
    marked: ArrayLike | None = None,
    name: str = "sigma-a",
) -> Section:
    """Section of the report: values, time series, and single atoms.

    Parameters
    ----------
    result : Anharmonicity
        As `trepid.anharmonicity.measure_anharmonicity` gives it.
    title : str
    marked : (n_frames,) array-like of bool, optional
        Frames to shade, such as those with an event.
    name : str
        Name of the pictures, different for every section of a page.
    """
    from trepid.report.page import Picture, Section

    with house_style(name):
        wide = to_svg(sigma_a_series(result, width=WIDE, marked=marked), f"{name}-wide")
        narrow = to_svg(sigma_a_series(result, width=NARROW, marked=marked), f"{name}-narrow")
        atoms = to_svg(sigma_a_atoms(result, width=WIDE), f"{name}-atoms")
        atoms_narrow = to_svg(sigma_a_atoms(result, width=NARROW), f"{name}-atoms-narrow")
    shaded = "" if marked is None else " Shaded: frames with an event."
    return Section(
        title,
        "σA is the rms of the anharmonic part of the forces over the rms of the forces: 0 for a harmonic crystal, 1 where "
        f"the harmonic forces explain nothing. {sigma_a_in_words(result)}.",
        (
            Picture(
                wide,
                f"σA of every frame, for all atoms and by species; dashed: over all frames.{shaded}",
                narrow,
            ),
            Picture(
                atoms,
                "σA of every atom over all frames. An atom far above the others of its species has left its site.",
                atoms_narrow,
            ),
        ),
        wide=True,
    )


def sigma_a_in_words(result: Anharmonicity) -> str:
    """The figures with one standard deviation each: over all atoms, and by species."""
    parts = [
        f"{species} {_with_error(value, result.per_species_error[species].error)}"
        for species, value in result.per_species.items()
    ]
    frames = f"{result.n_frames} frame" + ("s" if result.n_frames > 1 else "")
    text = f"Over {frames} it is {_with_error(result.sigma_a, result.error.error)} ({', '.join(parts)})"
    if result.n_frames > 1 and not result.error.converged:
        text += "; the error bar is a lower bound, since the frames are too few or too close in time"
    return text


def sigma_a_series(result: Anharmonicity, *, width: float = WIDE, marked: ArrayLike | None = None) -> Figure:
    """sigma^A over time (or over the number of the frame), for all atoms and by species."""
    figure = new_figure(width, HEIGHT)
    axes = figure.add_subplot()
    known = result.times_ps is not None
    x = np.asarray(result.times_ps) if known else np.arange(result.n_frames, dtype=np.float64)
    if marked is not None:
        _shade(axes, x, np.asarray(marked, dtype=bool))
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


def sigma_a_atoms(result: Anharmonicity, *, width: float = WIDE) -> Figure:
    """sigma^A of every atom over all frames, by species."""
    figure = new_figure(width, HEIGHT)
    axes = figure.add_subplot()
    symbols = np.array(result.symbols)
    for species, colour in style.species_colours(result.symbols).items():
        atoms = np.flatnonzero(symbols == species)
        axes.plot(
            atoms,
            result.per_atom[atoms],
            linestyle="",
            marker="o",
            markersize=4.0,
            markeredgewidth=0,
            color=colour,
            label=species,
        )
    axes.axhline(result.sigma_a, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_ylim(0, None)
    axes.set_xlabel("atom, counted from 0")
    axes.set_ylabel("σA")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, columnspacing=1.2, handletextpad=0.1)
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


def _with_error(value: float, error: float) -> str:
    """A value with as many digits as its error supports."""
    if not np.isfinite(error):
        return f"{value:.3f}"
    digits = int(np.clip(1 - np.floor(np.log10(error)), 2, 6)) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _shade(axes: Axes, x: NDArray[np.float64], marked: NDArray[np.bool_]) -> None:
    """Bands behind the runs of frames that are marked."""
    if marked.shape != x.shape:
        raise ValueError(f"{marked.size} marks for {x.size} frames")
    half = 0.5 * float(np.median(np.diff(x))) if x.size > 1 else 0.5
    edges = np.flatnonzero(np.diff(np.r_[0, marked.astype(int), 0]))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        axes.axvspan(x[first] - half, x[after - 1] + half, color=BAND, linewidth=0, zorder=0)


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
