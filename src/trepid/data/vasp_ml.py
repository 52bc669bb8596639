"""ML_AB and ML_ABN, the training data of VASP's machine-learned force fields.

A header, then one section for every configuration: titles, each over a line of dashes, and the values below them. Units are
A, eV, eV/A and kbar; the sign of the stress is that of a pressure, positive where the cell wants to grow, so that it changes.
Format: VASP wiki, page ML_AB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms, units

from trepid.arrays import FloatArray
from trepid.errors import DataError

_BEGIN = re.compile(r"^\s*Configuration num\.\s+(\d+)")
_RULE = re.compile(r"^\s*([-=*])\1{9,}\s*$")
_VOIGT = (0, 1, 2, 4, 5, 3)
"""xx yy zz xy yz zx into xx yy zz yz xz xy."""


def looks_like_ml_ab(head: bytes) -> bool:
    """Whether a file is an ML_AB file, by its first lines."""
    return bool(re.match(rb"\s*\d+\.\d+\s+Version[\s\S]{0,200}The number of configurations", head))


def read_ml_ab(file: TextIO, path: str | Path) -> tuple[list[Atoms], int]:
    """Frames of an open file with the labels `energy`, `forces` and `stress`, and the number that the file announces.

    Raises
    ------
    DataError
        A configuration is incomplete or not readable; the last one of a file that is cut off is left out.
    """
    blocks: list[list[str]] = []
    announced = 0
    previous: list[str] = []
    for line in file:
        if _BEGIN.match(line):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
        elif line.strip() and not _RULE.match(line):
            if previous and "number of configurations" in previous[-1]:
                announced = _count(line, path)
            previous.append(line)
    frames = []
    for number, block in enumerate(blocks):
        try:
            frames.append(_frame(_sections(block)))
        except (KeyError, ValueError, IndexError) as error:
            if number == len(blocks) - 1 and number + 1 <= announced:
                break  # cut off
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}: frame {number} (counted from 0): not readable as ML_AB: {reason}") from error
    return frames, max(announced, len(blocks))


def _count(line: str, path: str | Path) -> int:
    try:
        return int(line.split()[0])
    except ValueError as error:
        raise DataError(f"{path}: the number of configurations is {line.strip()[:40]!r}") from error


def _sections(block: list[str]) -> dict[str, list[list[str]]]:
    """Rows of words below each title."""
    sections: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    lines = [line.strip() for line in block[1:]]
    for k, line in enumerate(lines):
        if not line or _RULE.match(line):
            continue
        if k + 1 < len(lines) and _RULE.match(lines[k + 1]) and lines[k + 1].startswith("-") and _is_title(line):
            rows = sections.setdefault(line, [])
        else:
            rows.append(line.split())
    return sections


def _is_title(line: str) -> bool:
    return not re.match(r"^[-+.\d]", line)


def _frame(sections: dict[str, list[list[str]]]) -> Atoms:
    symbols: list[str] = []
    for name, count, *_ in sections["Atom types and atom numbers"]:
        symbols += [name] * int(count)
    n_atoms = int(sections["The number of atoms"][0][0])
    if len(symbols) != n_atoms:
        raise ValueError(f"{len(symbols)} atoms by type, {n_atoms} in all")
    atoms = Atoms(
        symbols,
        positions=_table(sections["Atomic positions (ang.)"], n_atoms),
        cell=_table(sections["Primitive lattice vectors (ang.)"], 3),
        pbc=True,
    )
    atoms.info["energy"] = float(sections["Total energy (eV)"][0][0])
    atoms.arrays["forces"] = _table(sections["Forces (eV ang.^-1)"], n_atoms)
    components = np.concatenate([_table(sections["XX YY ZZ"], 1)[0], _table(sections["XY YZ ZX"], 1)[0]])
    atoms.info["stress"] = -0.1 * units.GPa * components[list(_VOIGT)]
    return atoms


def _table(rows: list[list[str]], n_rows: int) -> FloatArray:
    """Three numbers a row."""
    if len(rows) < n_rows:
        raise ValueError(f"{len(rows)} of {n_rows} rows")
    return np.array([[float(word) for word in row[:3]] for row in rows[:n_rows]], dtype=np.float64).reshape(n_rows, 3)
