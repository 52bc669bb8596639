"""Style of the figures: one palette, one type size, and SVG that follows the light or dark mode of the page.

Text, axes and grids are vectors in the colours of the page: matplotlib draws them in placeholder colours, which
`to_svg` replaces by CSS variables. Scatter plots are embedded as pictures, so that the size of a file is independent of
the number of atoms; their colours suit light and dark pages and colour-blind readers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

INK = "#010203"
"""Placeholder of the text colour of the page."""
MUTED = "#010204"
"""Placeholder of its secondary text: tick labels, reference lines."""
RULE = "#010205"
"""Placeholder of its hairlines: grids, axes."""
BAND = "#010206"
"""Placeholder of a barely visible filling: every second stage."""
ACCENT = "#010207"
"""Placeholder of the accent colour: label requests."""
_PLACEHOLDERS = {INK: "--ink", MUTED: "--muted", RULE: "--rule", BAND: "--band", ACCENT: "--accent"}

_ON_PAPER = {INK: "#1d2126", MUTED: "#6b7078", RULE: "#e3e0d9", BAND: "#f1eee7", ACCENT: "#c4452b"}
"""Colours of the page in light mode, for pictures that no page colours."""

SERIES = ("#3d7cc9", "#e08a2e", "#2aa07f", "#c168ad", "#8f7ae0", "#a58a1f", "#4fb0d8", "#d1605e")
"""Colours of species and curves, in this order; distinct under the common colour-vision deficiencies."""

_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": RULE,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.handletextpad": 0.5,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
}


@contextmanager
def house_style(name: str) -> Iterator[None]:
    """Draw in the style of the report; `name` seeds the identifiers in the SVG, so equal input gives equal bytes."""
    import matplotlib

    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of this size in inches, without any window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def to_svg(figure: Figure, name: str) -> str:
    """Turn a figure into an SVG element for a page: page colours, identifiers unique to `name`, no fixed size."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=220, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for colour, variable in _PLACEHOLDERS.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()


def on_paper(figure: Figure) -> None:
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


def numbers_of(figure: Figure) -> list[tuple[str, str, str, str]]:
    """What the curves, points and bars of a figure show, as rows of text: axes, series, x, y.

    The axes are named by their labels and the series by their legend; where a part has no name, it has a number.
    """
    from matplotlib.container import BarContainer

    rows: list[tuple[str, str, str, str]] = []
    for number, axes in enumerate(figure.axes, 1):
        name = " against ".join(part for part in (axes.get_ylabel(), axes.get_xlabel()) if part).replace("\n", " ")
        series = [(str(line.get_label()), np.asarray(line.get_xydata(), dtype=np.float64)) for line in axes.lines]
        for marks in axes.collections:
            offsets = np.asarray(np.ma.getdata(marks.get_offsets()), dtype=np.float64)
            if len(offsets) > 1:
                series.append((str(marks.get_label()), offsets))
        for bars in axes.containers:
            boxes = [patch.get_bbox() for patch in bars.patches] if isinstance(bars, BarContainer) else []
            if boxes:
                series.append(("bars", np.array([((box.x0 + box.x1) / 2, box.y1) for box in boxes])))
        for place, (label, points) in enumerate(series, 1):
            shown = str(place) if label.startswith("_") else label
            rows += [(name or str(number), shown, f"{x:.8g}", f"{y:.8g}") for x, y in points]
    return rows


def species_colours(symbols: Sequence[str]) -> dict[str, str]:
    """Colour of every species, by alphabetical order, so that a species has one colour in all figures."""
    return {name: SERIES[k % len(SERIES)] for k, name in enumerate(sorted(set(symbols)))}


def direct_legend(axes: Axes, colours: dict[str, str], *, loc: str = "lower right") -> None:
    """Legend of coloured dots for species."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5.5, markeredgewidth=0, color=colour, label=name)
        for name, colour in colours.items()
    ]
    axes.legend(handles=handles, loc=loc, handletextpad=0.1)


def note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97, ha: str = "left", va: str = "top") -> None:
    """Short remark inside the axes, in axes coordinates."""
    axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, fontsize=8.5, color=MUTED, linespacing=1.45)


def envelope(x: FloatArray, y: FloatArray, points: int = 1400) -> tuple[FloatArray, FloatArray]:
    """Thin out a long series to about `points` points, keeping the minimum and maximum of every stretch.

    A peak of one step, which is what matters in an uncertainty trace, is kept.
    """
    n = len(x)
    if n <= points:
        return x, y
    stretch = int(np.ceil(2 * n / points))
    kept: set[int] = {0, n - 1}
    for start in range(0, n, stretch):
        piece = y[start : start + stretch]
        kept.add(start + int(np.argmin(piece)))
        kept.add(start + int(np.argmax(piece)))
    order = np.array(sorted(kept))
    return x[order], y[order]
