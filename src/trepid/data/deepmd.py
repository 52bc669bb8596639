"""DeePMD data: a folder with `type.raw`, `type_map.raw` and sets of numpy arrays, or the `.raw` tables they are made from.

One folder is one composition in one order. Arrays have one row per frame: `coord` (3 n), `box` (9), `energy` (1), `force`
(3 n), `virial` (9); units are A, eV, eV/A and eV. A file `nopbc` says that nothing repeats.
Format: documentation of DeePMD-kit, "System".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from trepid.arrays import FloatArray
from trepid.data.source import require_regular
from trepid.errors import DataError

TYPES = "type.raw"


def is_deepmd(folder: Path) -> bool:
    """Whether a folder is one system of DeePMD data."""
    return folder.is_dir() and (folder / TYPES).is_file()


def read_deepmd(folder: Path) -> list[Atoms]:
    """Frames of a folder, with the labels `energy`, `forces` and `virial` where they are there.

    Raises
    ------
    DataError
        Types, names or coordinates are missing, or an array has another size.
    """
    symbols = _symbols(folder)
    n_atoms = len(symbols)
    periodic = not (folder / "nopbc").exists()
    sets = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.startswith("set."))
    frames: list[Atoms] = []
    for part in sets or [folder]:
        positions = _rows(part, "coord", 3 * n_atoms)
        if positions is None:
            raise DataError(f"{part}: coord.{'npy' if sets else 'raw'} is missing; it holds the positions")
        n_frames = len(positions)
        boxes = _rows(part, "box", 9, n_frames)
        if periodic and boxes is None:
            raise DataError(f"{part}: the box is missing; an empty file {folder / 'nopbc'} says that nothing repeats")
        energies, forces, virials = (
            _rows(part, name, width, n_frames) for name, width in (("energy", 1), ("force", 3 * n_atoms), ("virial", 9))
        )
        for k in range(n_frames):
            atoms = Atoms(
                symbols,
                positions=positions[k].reshape(n_atoms, 3),
                cell=None if boxes is None else boxes[k].reshape(3, 3),
                pbc=periodic,
            )
            if energies is not None:
                atoms.info["energy"] = float(energies[k, 0])
            if forces is not None:
                atoms.arrays["forces"] = forces[k].reshape(n_atoms, 3).copy()
            if virials is not None and periodic:  # nothing repeats: there is no stress
                atoms.info["virial"] = virials[k].reshape(3, 3).copy()
            frames.append(atoms)
    return frames


def _symbols(folder: Path) -> list[str]:
    words = require_regular(folder / TYPES).read_text(encoding="utf-8").split()
    try:
        types = [int(word) for word in words]
    except ValueError as error:
        raise DataError(f"{folder / TYPES}: {error}; numbers of types are expected") from error
    names_file = folder / "type_map.raw"
    if not names_file.is_file():
        raise DataError(
            f"{folder}: type_map.raw is missing: the elements of types 0 to {max(types, default=0)}, one a line, in the order "
            "of the training input"
        )
    names = names_file.read_text(encoding="utf-8").split()
    unknown = [name for name in names if name not in atomic_numbers]
    if unknown:
        raise DataError(f"{names_file}: {unknown[0]!r} is not a chemical element")
    if not types or not all(0 <= kind < len(names) for kind in types):
        raise DataError(f"{folder / TYPES}: types from 0 to {len(names) - 1} are expected, as many as type_map.raw has")
    return [names[kind] for kind in types]


def _rows(part: Path, name: str, width: int, n_frames: int | None = None) -> FloatArray | None:
    """One array, (n_frames, width); None where it is not there."""
    binary, text = part / f"{name}.npy", part / f"{name}.raw"
    if not binary.exists() and not text.exists():
        return None
    file = require_regular(binary if binary.exists() else text)
    try:
        array = np.load(file, allow_pickle=False) if binary.exists() else np.loadtxt(file, ndmin=2)
    except (ValueError, EOFError) as error:
        raise DataError(f"{file}: not readable: {error}") from error
    array = np.asarray(array, dtype=np.float64)
    if width == 1:
        array = array.reshape(-1, 1)
    if array.ndim < 2 or array[:1].size != width or (n_frames is not None and len(array) != n_frames):
        expected = f"({'n_frames' if n_frames is None else n_frames}, {width})"
        raise DataError(f"{file}: shape {array.shape}; {expected} is expected")
    return np.asarray(array.reshape(len(array), width))
