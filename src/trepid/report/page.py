"""Parts of the report: headlines, sections, pictures, tables; and the drawing of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from matplotlib.figure import Figure


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
    """A heading, a short text, pictures and a table; `wide` puts every picture on a row by itself."""

    title: str
    text: str
    pictures: tuple[Picture, ...]
    wide: bool = False
    table: Table | None = None


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
    return tuple(pictures)
