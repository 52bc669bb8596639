"""Models in the file formats of other programs.

`FORMATS` lists them. To add one: a module with a `FORMAT`, an `ExportFormat` of `trepid.export.contract`, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from trepid.errors import ConfigError

if TYPE_CHECKING:
    from trepid.export.contract import ExportFormat


@dataclass(frozen=True)
class FormatEntry:
    """A format that can be chosen by name; its module is imported when it is used.

    Attributes
    ----------
    summary : str
        Whose format it is, for help texts.
    module : str
        Module with the `FORMAT`.
    """

    summary: str
    module: str


FORMATS: Mapping[str, FormatEntry] = {
    "uf3": FormatEntry("potential file of LAMMPS' pair_style uf3", "trepid.export.uf3_format"),
    "metatomic": FormatEntry(
        "TorchScript model of metatomic, for i-PI, ASE and others", "trepid.export.metatomic_format"
    ),
}
"""Formats by the names that `trepid export --format` takes; the first is the default."""


def export_format(name: str) -> ExportFormat:
    """The format of this name.

    Raises
    ------
    ConfigError
        There is none.
    """
    if name not in FORMATS:
        close = get_close_matches(name, FORMATS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"export format is {name!r}; known are {', '.join(FORMATS)}{hint}")
    found: ExportFormat = import_module(FORMATS[name].module).FORMAT
    return found
