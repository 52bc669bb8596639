"""Parts of the report: headlines, sections, pictures, tables; and the drawing of pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.data.atomic import write_bytes_atomic, write_text_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from matplotlib.figure import Figure

    from trepid.runs.ledger import Failure, Rewind


@dataclass(frozen=True)
class Headline:
    """One value of the summary on top: a number, its unit and its meaning."""

    value: str
    unit: str
    text: str


@dataclass(frozen=True)
class Picture:
    """One figure of the page. `narrow` is the version for narrow screens, where the wide one would be too small."""

    svg: str
    caption: str
    narrow: str | None = None


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


_FOLDER: ContextVar[Path | None] = ContextVar("folder of the figures", default=None)


@contextmanager
def figure_files(folder: Path | None) -> Iterator[None]:
    """Write every figure that is drawn inside the block also as NAME.png and NAME.pdf, and its numbers as NAME.csv.

    Parameters
    ----------
    folder : Path or None
        Made where it is missing; None: nothing is written.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    token = _FOLDER.set(folder)
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
    kinds: tuple[tuple[str, dict[str, None]], ...] = (("png", {"Software": None}), ("pdf", {"CreationDate": None}))
    for kind, metadata in kinds:
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
    from trepid.report.style import house_style, to_svg

    pictures = []
    for name, module, function, caption in wanted:
        with house_style(name):
            figure = function(import_module(module))
            if figure is not None:
                pictures.append(Picture(to_svg(figure, name), caption))
                folder = _FOLDER.get()
                if folder is not None:
                    _write(figure, folder, name)
    return tuple(pictures)


def now() -> str:
    """Date and time of a page."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def render_page(
    *,
    title: str,
    subtitle: str,
    headlines: Sequence[Headline],
    sections: Sequence[Section],
    footer: str,
    grade: str = "",
    sentences: Sequence[str] = (),
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
        The summary on top.
    sections : sequence of Section
    footer : str
    grade : str
        Class of the box below the summary: good, fair, poor, or none.
    sentences : sequence of str
        In that box, the first one in bold; no box without any.
    failures, rewinds : sequences
        Of a learning run.
    settings : str
        Shown on request.
    versions : mapping of str to str, optional
        Likewise.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("trepid.report") / "template.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        subtitle=subtitle,
        headlines=headlines,
        grade=grade,
        sentences=sentences,
        sections=sections,
        failures=failures,
        rewinds=rewinds,
        settings=settings,
        versions=versions or {},
        footer=footer,
    )
