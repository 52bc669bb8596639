"""Supercells that keep the point group of a crystal, as small as its width allows.

Every superlattice of index n has one matrix in Hermite normal form, so going through these finds all of them, the body- and
face-centred ones of a cubic lattice among them. One is kept when each rotation of the crystal maps it onto itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import IntArray
from trepid.config.screening import CellSettings
from trepid.data.supercells import symmetry_dataset
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

SYMMETRY_A = 1e-3
"""Atoms within this distance of a symmetric position are on it, A."""


def choose_supercell(unit: Atoms, settings: CellSettings, *, where: str = "the crystal") -> IntArray:
    """Supercell matrix, (3, 3), whose rows are the new cell vectors in those of the unit cell.

    Parameters
    ----------
    unit : Atoms
        Primitive cell, three cell vectors.
    settings : CellSettings
    where : str
        How errors name it.

    Returns
    -------
    (3, 3) array of int
        Of the superlattices in the range of sizes that keep the point group: the smallest with the wanted width, or the widest,
        the smaller one of two of the same width. Its vectors are as short as possible.

    Raises
    ------
    ConfigError
        The unit cell alone is larger than `most_atoms`.
    """
    n_unit = len(unit)
    if n_unit > settings.most_atoms:
        raise ConfigError(
            f"{where}: the primitive cell has {n_unit} atoms, and cell.most_atoms is {settings.most_atoms}; raise it, or give a "
            "supercell for this material"
        )
    rotations = rotations_of(unit)
    least = -(-settings.least_atoms // n_unit)
    most = max(least, settings.most_atoms // n_unit)
    best: tuple[float, IntArray] | None = None
    for index in range(least, most + 1):
        found = [_reduced(unit, matrix) for matrix in hermite_matrices(index) if keeps(matrix, rotations)]
        if not found:
            continue
        widths = [width_A(unit, matrix) for matrix in found]
        widest = int(np.argmax(np.round(widths, 6)))
        if best is None or widths[widest] > best[0] + 1e-6:
            best = widths[widest], found[widest]
        if best[0] >= settings.least_width_A:
            break
    if best is None:  # an odd range without a symmetric superlattice
        found = [_reduced(unit, matrix) for matrix in hermite_matrices(most)]
        return max(found, key=lambda matrix: width_A(unit, matrix))
    return best[1]


def rotations_of(unit: Atoms) -> IntArray:
    """Rotations of the space group in fractional coordinates, (n, 3, 3)."""
    found = symmetry_dataset(unit, unit.cell.array, tolerance_A=SYMMETRY_A)
    if found is None:
        return np.eye(3, dtype=np.int64)[None]
    return np.unique(np.asarray(found.rotations, dtype=np.int64), axis=0)


def hermite_matrices(index: int) -> Iterator[IntArray]:
    """All superlattices of an index, one matrix each, in Hermite normal form (rows, lower triangular)."""
    for a in _divisors(index):
        for b in _divisors(index // a):
            c = index // (a * b)
            for i in range(a):
                for j in range(a):
                    for k in range(b):
                        yield np.array([[a, 0, 0], [i, b, 0], [j, k, c]], dtype=np.int64)


def keeps(matrix: IntArray, rotations: IntArray) -> bool:
    """Whether every rotation maps the superlattice onto itself."""
    images = matrix @ rotations.transpose(0, 2, 1) @ np.linalg.inv(matrix)
    return bool(np.abs(images - np.rint(images)).max() < 1e-6)


def n_cells(matrix: IntArray) -> int:
    """Cells in the supercell of a matrix."""
    return round(abs(float(np.linalg.det(matrix))))


def width_A(unit: Atoms, matrix: IntArray) -> float:
    """Smallest distance between an atom and its image in the supercell, A."""
    from ase.geometry import minkowski_reduce

    cell, _ = minkowski_reduce(matrix @ unit.cell.array)
    return float(np.linalg.norm(cell, axis=1).min())


def _reduced(unit: Atoms, matrix: IntArray) -> IntArray:
    """The same superlattice with short vectors, right-handed as the unit cell."""
    from ase.geometry import minkowski_reduce

    _, operation = minkowski_reduce(matrix @ unit.cell.array)
    reduced = np.rint(operation).astype(np.int64) @ matrix
    return reduced if np.linalg.det(reduced) > 0 else -reduced


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
