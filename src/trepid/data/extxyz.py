"""Text of one frame in extended XYZ, exact.

The writer of ASE rounds to eight decimals, too few for an exact resume: a model trained on frames read from a file must
equal the model trained on the frames themselves. Here every float is written with the shortest digits that reproduce
it. The format is the one that ASE reads; values that its reader would convert to another type, such as the string
"1.5", are written in its JSON form.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import PROPERTY_NAME_MAP, SPECIAL_3_3_KEYS, key_val_str_to_dict
from ase.spacegroup.spacegroup import Spacegroup
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from trepid.errors import DataError

logger = logging.getLogger(__name__)

_RESERVED_INFO = ("Lattice", "Properties", "pbc")
_RESERVED_COLUMNS = ("species", "pos", "Z", "move_mask", "symbols")
_WIDTH = 23
"""Of a float column: sign, 17 digits, point, exponent. Wider numbers widen the column, nothing is truncated."""


def format_frame(atoms: Atoms, *, where: str = "frame") -> str:
    """Text of one frame, with its `info`, `arrays`, cell, periodicity and, as `move_mask`, its constraints.

    Raises
    ------
    DataError
        The frame is empty, or something in it cannot be stored and given back; the message says what.
    """
    if len(atoms) == 0:
        raise DataError(f"{where}: cannot write a frame without atoms")
    names, kinds, columns = ["species"], ["S:1"], [[f"{symbol:<2}" for symbol in atoms.symbols]]
    arrays = {
        "positions": atoms.positions,
        **{k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")},
    }
    for name, array in arrays.items():
        kind, cells = _columns(name, np.asarray(array), where)
        names.append(PROPERTY_NAME_MAP.get(name, name))
        kinds.append(f"{kind}:{len(cells)}")
        columns.extend(cells)
    mask = _move_mask(atoms, where)
    if mask is not None:
        names.append("move_mask")
        kinds.append(f"L:{mask.shape[1]}")
        columns.extend([["T" if free else "F" for free in column] for column in mask.T])

    parts = []
    if atoms.cell.array.any():
        parts.append(f'Lattice="{" ".join(map(repr, atoms.cell.array.ravel().tolist()))}"')
    parts.append("Properties=" + ":".join(f"{name}:{kind}" for name, kind in zip(names, kinds, strict=True)))
    parts.append(f'pbc="{" ".join("T" if periodic else "F" for periodic in atoms.pbc)}"')
    parts.extend(_entry(key, value, where) for key, value in atoms.info.items())
    rows = (" ".join(row) for row in zip(*columns, strict=True))
    return f"{len(atoms)}\n{' '.join(parts)}\n" + "\n".join(rows) + "\n"


def _columns(name: str, array: NDArray[Any], where: str) -> tuple[str, list[list[str]]]:
    """Type letter and text of the columns of one per-atom array."""
    if name in _RESERVED_COLUMNS or not name or any(c.isspace() or c in ":=\"'\\[]{}" for c in name):
        raise DataError(f"{where}: an array named {name!r} cannot be stored in extended XYZ; rename it")
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(
            f"{where}: array {name!r} has shape {array.shape}; extended XYZ stores (n_atoms,) and (n_atoms, k)"
        )
    table = array.reshape(len(array), -1).T
    if array.dtype.kind == "f":
        return "R", [[f"{value!r:>{_WIDTH}}" for value in column] for column in table.astype(np.float64).tolist()]
    if array.dtype.kind in "iu":
        if np.abs(array.astype(np.float64)).max() >= 2**31:
            raise DataError(f"{where}: array {name!r} has integers beyond 32 bit, which readers of extended XYZ refuse")
        return "I", [[f"{value:8d}" for value in column] for column in table.tolist()]
    if array.dtype.kind == "b":
        return "L", [["T" if value else "F" for value in column] for column in table.tolist()]
    texts = table.tolist()
    if not all(
        isinstance(value, str) and value and value.isprintable() and " " not in value
        for column in texts
        for value in column
    ):
        raise DataError(
            f"{where}: array {name!r} of type {array.dtype} cannot be stored; numbers, booleans and words without "
            "spaces can"
        )
    return "S", texts


def _move_mask(atoms: Atoms, where: str) -> NDArray[np.bool_] | None:
    """Free coordinates, (n_atoms, 1) or (n_atoms, 3); None if all are free."""
    free = np.ones((len(atoms), 3), dtype=bool)
    by_component = False
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
        elif isinstance(constraint, FixCartesian):
            by_component = True
            free[constraint.index] &= ~np.asarray(constraint.mask, dtype=bool)
        else:
            logger.warning(
                "%s: extended XYZ cannot store the constraint %s; it is left out", where, type(constraint).__name__
            )
    if free.all():
        return None
    return free if by_component else free[:, :1]


def _entry(key: object, value: object, where: str) -> str:
    """One `key=value` of the comment line."""
    if not isinstance(key, str) or not key or not key.isprintable():
        raise DataError(f"{where}: info key {key!r} cannot be stored in extended XYZ: keys are printable strings")
    if key in _RESERVED_INFO:
        raise DataError(f"{where}: info key {key!r} is reserved by extended XYZ; rename it")
    return f"{_quoted(key)}={_quoted(_value(key, value, where))}"


def _value(key: str, value: object, where: str) -> str:
    """Text of an info value, before quoting."""
    if isinstance(value, Spacegroup):
        value = value.symbol  # as ASE writes it: what its cif reader leaves in info
    if key in SPECIAL_3_3_KEYS:
        return _tensor(key, value, where)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str) and _reads_back(value):
        return value
    # A vector of one would be read as a number, one of booleans as a list: JSON keeps their type.
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size > 1 and value.dtype.kind in "fi":
        return " ".join(map(repr, value.tolist()))
    try:
        return "_JSON " + json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: info {key!r} of type {type(value).__name__} cannot be stored in extended XYZ: {error}"
        ) from error


def _tensor(key: str, value: object, where: str) -> str:
    """A value under a key that readers take for a 3x3 tensor."""
    tensor = np.asarray(value)
    if tensor.shape == (6,) and tensor.dtype.kind in "fi":
        tensor = voigt_6_to_full_3x3_stress(tensor)
    if tensor.size != 9 or tensor.dtype.kind not in "fi":
        raise DataError(
            f"{where}: info {key!r} has shape {tensor.shape}; under this key extended XYZ stores 3x3 tensors only"
        )
    return " ".join(map(repr, tensor.reshape(3, 3).ravel(order="F").tolist()))


def _reads_back(text: str) -> bool:
    """Whether the reader of ASE gives this string back, rather than a number, a boolean or an error."""
    if not text.isprintable():
        return False
    try:
        return key_val_str_to_dict(f"x={_quoted(text)}") == {"x": text}
    except ValueError:  # an array comes back, or broken JSON
        return False


def _quoted(text: str) -> str:
    """Quote where the reader would otherwise split; it takes the character after a backslash verbatim."""
    if text and all(c.isalnum() or c in "_.+-:/" for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(value: object) -> object:
    """Types that `json` does not support: numpy inside lists and dictionaries."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a plain value")
