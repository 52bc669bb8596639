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
    suffix : str
        Usual ending of its files.
    """

    summary: str
    module: str
    suffix: str


FORMATS: Mapping[str, FormatEntry] = {
    "uf3": FormatEntry("potential file of LAMMPS' pair_style uf3", "trepid.export.uf3_format", ".uf3"),
    "metatomic": FormatEntry(
        "TorchScript model of metatomic, for i-PI, ASE and others", "trepid.export.metatomic_format", ".pt"
    ),
}
"""Formats by the names that `trepid export --format` takes; the first is the default."""


_FOREIGN = {
    ".trepid": "a model of trepid",
    ".yace": "of pair_style pace",
    ".ace": "of pair_style pace",
    ".snapcoeff": "of pair_style snap",
    ".snapparam": "of pair_style snap",
    ".mtp": "of MLIP",
    ".pth": "of NequIP and DeePMD",
    ".pb": "of DeePMD",
    ".nn": "of n2p2",
    ".model": "of MACE",
    ".sw": "of pair_style sw",
    ".tersoff": "of pair_style tersoff",
}
"""Endings of files that no format here writes, and whose files they are."""


def require_suffix(name: str, suffix: str) -> None:
    """Refuse a file whose ending is that of another format; endings that no program claims are for the user to choose.

    Raises
    ------
    ConfigError
        It says which ending and format are right.
    """
    right = FORMATS[name].suffix
    given = suffix.lower()
    other = next((known for known, entry in FORMATS.items() if known != name and entry.suffix == given), None)
    if other is not None:
        raise ConfigError(
            f"{given} is the ending of {other}, and the format is {name}: name the file *{right}, or --format {other}"
        )
    if given in _FOREIGN:
        known = ", ".join(f"{format_name} (*{entry.suffix})" for format_name, entry in FORMATS.items())
        raise ConfigError(
            f"files *{given} are {_FOREIGN[given]}, which trepid export does not write: name the file *{right} for the format "
            f"{name}; formats are {known}"
        )


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
