"""Extended XYZ, frame by frame, without losing any.

The reader of ASE stops silently at the first empty line, accepts a last frame that is truncated inside a number, and takes
header keys only in the case that it writes itself: `lattice` or `PBC` would be notes. Here every line of the file belongs to
a frame, and what is no frame is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict, read_xyz

from trepid.data.findings import Finding, Level
from trepid.errors import DataError

EXTXYZ_SUFFIXES = (".extxyz", ".xyz")
_HEADER_KEYS = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
_COLUMNS = {"species": "species", "symbols": "species", "pos": "pos", "positions": "pos", "z": "Z", "numbers": "Z"}
"""Columns that a frame cannot do without, in any case, and the names that ASE reads."""
MOST_COLUMNS = 100_000
"""Of one property: the parser makes room for all of them before it looks at the rows."""
_TRUE, _FALSE = ("t", "true", ".true.", "1"), ("f", "false", ".false.", "0")
_TENSORS = re.compile(r"(?<![\w])(stress|virial)(?=\s*=)")
"""Keys under which ASE demands nine components; six are a tensor in Voigt order."""
_PERIODIC_BY_NAME = re.compile(r"lattice|cell|box|pbc|periodic", re.IGNORECASE)
_ATOM = re.compile(rb"^\s*[A-Za-z]{1,2}\d*(\s+[-+]?[\d.]+([eEdD][-+]?\d+)?){3}")


def looks_like_extxyz(head: bytes) -> bool:
    """Whether a file without a telling name is extended or plain XYZ, by its first lines."""
    lines = head.lstrip().split(b"\n", 3)
    if len(lines) < 3 or not lines[0].strip().isdigit():
        return False
    header = lines[1].lower()
    return b"properties=" in header or b"lattice=" in header or bool(_ATOM.match(lines[2]))


def read_extxyz(file: TextIO, path: str | Path) -> Iterator[tuple[Atoms, list[Finding]]]:
    """Every frame of an open file with what was found while reading it.

    Raises
    ------
    DataError
        A line is no part of a frame, the file is cut off, or a frame cannot be parsed.
    """
    for number, (text, findings) in enumerate(_chunks(file, path)):
        where = f"{path}: frame {number} (counted from 0)"
        atoms = _parsed(text, where)
        if atoms.cell.rank == 0 and not atoms.pbc.any():
            names = sorted(name for name in atoms.info if isinstance(name, str) and _PERIODIC_BY_NAME.search(name))
            if names:
                findings.append(
                    Finding(
                        Level.WARNING,
                        number,
                        f"no Lattice in the header, so no cell and no periodicity; {', '.join(names)} there is not read: "
                        'write Lattice="ax ay az bx by bz cx cy cz"',
                    )
                )
        yield atoms, findings


def _chunks(file: TextIO, path: str | Path) -> Iterator[tuple[str, list[Finding]]]:
    """Text of every frame."""
    n_lines = n_frames = 0
    while line := file.readline():
        n_lines += 1
        if not line.strip():
            continue
        try:
            n_atoms = int(line)
        except ValueError:
            raise DataError(
                f"{path}: line {n_lines}: expected the number of atoms of frame {n_frames} (counted from 0), "
                f"found {line.strip()[:40]!r}"
            ) from None
        if n_atoms < 1:
            raise DataError(f"{path}: frame {n_frames} (counted from 0) has {n_atoms} atoms")
        body: list[str] = []
        while len(body) <= n_atoms and (row := file.readline()):  # never more rows than the file has
            body.append(row)
        if len(body) <= n_atoms:
            raise DataError(
                f"{path}: frame {n_frames} (counted from 0) has {max(0, len(body) - 1)} of {n_atoms} atoms: the file is cut "
                "off"
            )
        findings = []
        if not body[-1].endswith("\n"):
            findings.append(
                Finding(
                    Level.WARNING,
                    n_frames,
                    "the last line of the file does not end with a line break; the file may be cut off in its last number",
                )
            )
        n_lines += n_atoms + 1
        n_frames += 1
        yield "".join([line, *body]), findings


def _parsed(text: str, where: str) -> Atoms:
    """One frame from its text."""
    try:
        return next(read_xyz(StringIO(text), index=0, properties_parser=parse_header))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except KeyError as error:
        raise DataError(f"{where}: not readable as extended XYZ: {error} is not an element") from error
    except Exception as error:  # the parser raises almost anything on malformed text
        message = " ".join(str(error).split())[:200]
        name = type(error).__name__
        raise DataError(f"{where}: not readable as extended XYZ: {name}{': ' if message else ''}{message}") from error


def parse_header(line: str) -> dict[str, Any]:
    """Header of a frame as `read_xyz` expects it, with its own keys in any case."""
    try:
        info = key_val_str_to_dict(line)
    except ValueError:
        info = {
            key.removeprefix("\x00"): _tensor(key, value)
            for key, value in key_val_str_to_dict(_TENSORS.sub("\x00\\1", line)).items()
        }
    for key in list(info):
        name = _HEADER_KEYS.get(key.lower())
        if name is None or name == key:
            continue
        if name in info:
            raise DataError(f"the header holds both {key!r} and {name!r}; leave one of them")
        info[name] = info.pop(key)
    if "Lattice" in info:
        info["Lattice"] = _lattice(info["Lattice"])
    if "pbc" in info:
        info["pbc"] = _periodic(info["pbc"])
    if "Properties" in info:
        info["Properties"] = _columns(info["Properties"])
    return info


def _tensor(key: str, value: object) -> object:
    """What stands under `stress` or `virial`: six or nine numbers; anything else as it is."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if key.startswith("\x00") and isinstance(value, np.ndarray) and value.shape == (9,):
        return value.reshape((3, 3), order="F")
    return value


def _lattice(value: object) -> Any:
    """Cell vectors as columns."""
    array = np.asarray(value)
    if array.size != 9 or array.dtype.kind not in "fi":
        raise DataError(f"Lattice is {str(value)[:60]!r}; nine numbers are expected, ax ay az bx by bz cx cy cz")
    return array if array.shape == (3, 3) else array.reshape((3, 3), order="F")


def _periodic(value: Any) -> list[bool]:
    """Three booleans."""
    words = [word.lower() for word in (value.split() if isinstance(value, str) else np.ravel(value).astype(str))]
    if len(words) == 1:
        words = words * 3
    if len(words) != 3 or not set(words) <= {*_TRUE, *_FALSE}:
        raise DataError(f'pbc is {str(value)[:40]!r}; three of T and F are expected, as in pbc="T T F"')
    return [word in _TRUE for word in words]


def _columns(value: object) -> str:
    """The column description with the names of ASE."""
    fields = str(value).split(":")
    fields[::3] = [_COLUMNS.get(name.lower(), name) for name in fields[::3]]
    names = fields[::3]
    for name, n in zip(names, fields[2::3], strict=False):
        if not re.fullmatch(r"\d{1,9}", n.strip()) or not 1 <= int(n) <= MOST_COLUMNS:
            raise DataError(f"Properties gives {name} {n[:40]} columns; a number from 1 to {MOST_COLUMNS} is expected")
    for needed in (("species", "Z"), ("pos",)):
        if not set(needed) & set(names):
            raise DataError(f"Properties names no column {' or '.join(map(repr, needed))}; it has {', '.join(names)}")
    return ":".join(fields)
