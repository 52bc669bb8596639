"""Parts of the report: headlines, sections, pictures, tables; and the drawing of pictures."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.data.atomic import write_bytes_atomic, write_text_atomic
from trepid.report.citation import citation

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from markupsafe import Markup
    from matplotlib.figure import Figure

    from trepid.runs.ledger_events import Failure, Rewind


@dataclass(frozen=True)
class Headline:
    """One value of the summary on top: a number, its unit and its meaning."""

    value: str
    unit: str
    text: str


@dataclass(frozen=True)
class Link:
    """A file that belongs to a figure: its address, and the name under which a browser saves it (empty: it opens it)."""

    text: str
    address: str
    save_as: str = ""


@dataclass(frozen=True)
class Picture:
    """One figure of the page, with its files.

    `narrow` is the version for narrow screens, where the wide one would be too small.
    """

    svg: str
    caption: str
    narrow: str | None = None
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of text under a head, all of one length."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading, a short text, pictures and a table; `wide` puts every picture on a row by itself.

    `html` stands below the text as it is: the caller escapes what comes from users.
    """

    title: str
    text: str
    pictures: tuple[Picture, ...]
    wide: bool = False
    table: Table | None = None
    html: str = ""


FIGURES = "figures"
"""Folder of the figures of a page, beside it."""
WIDE_INCHES, NARROW_INCHES = 9.6, 4.6
"""Widths of time series on desks and on phones."""
_KINDS: tuple[tuple[str, dict[str, None]], ...] = (("png", {"Software": None}), ("pdf", {"CreationDate": None}))


@dataclass(frozen=True)
class _Folder:
    """Where figures are written, and the way there from the page."""

    path: Path
    prefix: str


_FOLDER: ContextVar[_Folder | None] = ContextVar("folder of the figures", default=None)


@contextmanager
def figure_files(folder: Path | None, *, page: Path | None = None) -> Iterator[None]:
    """Write every figure that is drawn inside the block also as NAME.png and NAME.pdf, and its numbers as NAME.csv.

    Parameters
    ----------
    folder : Path or None
        Made where it is missing; None: nothing is written.
    page : Path, optional
        The page that links to them; by default one beside the folder.
    """
    wanted = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        start = folder.parent if page is None else page.parent
        wanted = _Folder(folder, Path(os.path.relpath(folder, start)).as_posix())
    token = _FOLDER.set(wanted)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _write(figure: Figure, folder: Path, name: str) -> None:
    from trepid.report.style import numbers_of, on_paper

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("axes", "series", "x", "y"), *numbers_of(figure)])
    write_text_atomic(folder / f"{name}.csv", text.getvalue())
    on_paper(figure)
    for kind, metadata in _KINDS:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
        write_bytes_atomic(folder / f"{name}.{kind}", buffer.getvalue())


def draw(*wanted: tuple[str, str, Callable[[ModuleType], Figure | None], str]) -> tuple[Picture, ...]:
    """Draw figures in the style of the page; figures without data are left out.

    Parameters
    ----------
    *wanted : tuples of (name, module, function, caption)
        The function gets the module, which is imported only here: matplotlib is slow to import.
    """
    drawn = (_draw(name, module, function, caption) for name, module, function, caption in wanted)
    return tuple(picture for picture in drawn if picture is not None)


def draw_series(*wanted: tuple[str, str, Callable[[ModuleType, float], Figure | None], str]) -> tuple[Picture, ...]:
    """As `draw`, for functions that also take a width in inches: once for desks, once for phones."""
    pictures = []
    for name, module, function, caption in wanted:
        desk = _draw(name, module, partial(_of_width, function, WIDE_INCHES), caption)
        if desk is not None:
            phone = _draw(f"{name}-narrow", module, partial(_of_width, function, NARROW_INCHES), caption, files=False)
            assert phone is not None
            pictures.append(replace(desk, narrow=phone.svg))
    return tuple(pictures)


def _of_width(function: Callable[[ModuleType, float], Figure | None], width: float, plots: ModuleType) -> Figure | None:
    return function(plots, width)


def _draw(
    name: str, module: str, function: Callable[[ModuleType], Figure | None], caption: str, *, files: bool = True
) -> Picture | None:
    from trepid.report.style import house_style, to_svg

    with house_style(name):
        figure = function(import_module(module))
        if figure is None:
            return None
        svg, folder = to_svg(figure, name), _FOLDER.get()
        if folder is None or not files:
            return Picture(svg, caption)
        _write(figure, folder.path, name)
        links = (Link(kind.upper(), f"{folder.prefix}/{name}.{kind}") for kind in ("png", "pdf", "csv"))
        return Picture(svg, caption, links=tuple(links))


def now() -> str:
    """Date and time of a page."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def whole(text: str) -> Markup:
    """HTML of a text in which numbers with exponent, values with their bar, units and options of the command line stay on one line.

    Browsers break lines at hyphens and slashes: after that of 9.53e-05 or (meV/Å), and after both of --temperature.
    """
    from markupsafe import Markup, escape

    return Markup(_WHOLE.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


_WHOLE = re.compile(
    r"[\d.]+e-\d+|[^\s;&]+ ± [^\s;&]+|(?<![\w-])--?[a-z][a-z-]*(?: \d[\d.:]*)*|\([^\s();&]+/[^\s();&]+\)"
)


def render_page(
    *,
    title: str,
    subtitle: str,
    headlines: Sequence[Headline],
    sections: Sequence[Section],
    footer: str,
    grade: str = "",
    sentences: Sequence[str] = (),
    advice: str = "",
    failures: Sequence[Failure] = (),
    rewinds: Sequence[Rewind] = (),
    settings: str = "",
    versions: Mapping[str, str] | None = None,
) -> str:
    """HTML of a page as text: one self-contained file.

    Parameters
    ----------
    title, subtitle : str
    headlines : sequence of Headline
        The summary, below the verdict.
    sections : sequence of Section
    footer : str
    grade : str
        Class of the box of the verdict, on top: good, fair, poor, or none.
    sentences : sequence of str
        In that box, the first one in bold; no box without any.
    advice : str
        What to do next, at its end.
    failures, rewinds : sequences
        Of a learning run.
    settings : str
        Shown on request.
    versions : mapping of str to str, optional
        Likewise.

    Every page ends with what to cite.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["whole"] = whole
    template = environment.from_string((files("trepid.report") / "template.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        subtitle=subtitle,
        headlines=headlines,
        grade=grade,
        sentences=sentences,
        advice=advice,
        sections=sections,
        citation=citation(),
        failures=failures,
        rewinds=rewinds,
        settings=settings,
        versions=versions or {},
        footer=footer,
    )
