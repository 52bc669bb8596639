"""Arrays of a checkpoint in one atomic file, and the digest that tells one structure from another."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.data.atomic import write_bytes_atomic
from trepid.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file atomically."""
    buffer = BytesIO()
    keywords: dict[str, Any] = dict(arrays)
    np.savez(buffer, **keywords)
    write_bytes_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an npz file written by `save_arrays`.

    Raises
    ------
    DataError
        It is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({' '.join(str(error).split()) or type(error).__name__})") from error


def structure_digest(atoms: Atoms) -> str:
    """SHA-256 of elements, positions, cell and periodicity."""
    digest = hashlib.sha256()
    for array in (
        atoms.numbers.astype("<i8"),
        atoms.positions.astype("<f8"),
        np.array(atoms.cell, dtype="<f8"),
        atoms.pbc.astype("<i8"),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
