"""Which atom of one supercell is which of another: by position, whatever the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


CELL_TOLERANCE = 1e-3
"""Cells are the same when their vectors differ by this part of the longest one at most."""


def same_cell(first: FloatArray, second: FloatArray) -> bool:
    """Whether two cells (3, 3) are the same up to `CELL_TOLERANCE`."""
    scale = float(np.linalg.norm(first, axis=1).max())
    return bool(np.abs(np.asarray(first) - np.asarray(second)).max() <= CELL_TOLERANCE * scale)


def require_same_cell(atoms: Atoms, reference: Atoms, *, where: str = "the frame") -> None:
    """Raise DataError where the cells differ."""
    ours, theirs = np.array(reference.cell), np.array(atoms.cell)
    if not same_cell(ours, theirs):
        raise DataError(
            f"{where} has the cell {np.round(theirs, 4).tolist()} A, the harmonic reference {np.round(ours, 4).tolist()} "
            "A; they must be the same supercell (a harmonic reference belongs to one volume)"
        )


def match_atoms(
    atoms: Atoms, sites: Atoms, *, tolerance_A: float, where: str = "the structure", names: str = "the supercell"
) -> IntArray:
    """Index into `sites` of the site of every atom, (n_atoms,).

    Within a species atoms and sites are paired so that the squared distances (minimum image) add up to the least.

    Parameters
    ----------
    atoms, sites : Atoms
        Of the same cell.
    tolerance_A : float
        Largest distance of an atom from its site, A.
    where, names : str
        How errors call the two.

    Raises
    ------
    DataError
        Other cells, other numbers of atoms, or an atom without a site; the message names the atom.
    """
    require_same_cell(atoms, sites, where=where)
    if len(atoms) != len(sites):
        raise DataError(f"{where} has {len(atoms)} atoms, {names} has {len(sites)}")
    result = np.full(len(atoms), -1, dtype=np.int64)
    for number in np.unique(atoms.numbers):
        ours, theirs = (np.flatnonzero(a.numbers == number) for a in (atoms, sites))
        if len(ours) != len(theirs):
            symbol = atoms.symbols[int(ours[0])]
            raise DataError(f"{where} has {len(ours)} {symbol}, {names} has {len(theirs)}")
        distances = _distances(atoms.positions[ours], sites.positions[theirs], atoms)
        rows, columns = linear_sum_assignment(distances**2)
        far = np.flatnonzero(distances[rows, columns] > tolerance_A)
        if far.size:
            k = int(rows[far[np.argmax(distances[rows[far], columns[far]])]])
            atom = int(ours[k])
            raise DataError(
                f"{where}: atom {atom} ({atoms.symbols[atom]}, counted from 0) at {np.round(atoms.positions[atom], 3).tolist()} "
                f"A has no partner in {names} within {tolerance_A:g} A (the next one free is {distances[k, columns[k]]:.2f} A "
                "away)"
            )
        result[ours[rows]] = theirs[columns]
    return result


def nearest_distances(atoms: Atoms) -> FloatArray:
    """Distance of every atom from the next one, its own images included, (n_atoms,), A."""
    from ase.neighborlist import neighbor_list

    cutoff = 1.5 * float(abs(atoms.cell.volume) / len(atoms)) ** (1 / 3)
    nearest = np.full(len(atoms), np.inf)
    while not np.isfinite(nearest).all():
        first, distance = neighbor_list("id", atoms, cutoff)
        np.minimum.at(nearest, first, distance)
        cutoff *= 1.5
    return nearest


def _distances(first: FloatArray, second: FloatArray, atoms: Atoms) -> FloatArray:
    """Minimum-image distances between all of two sets, (n_first, n_second)."""
    from ase.geometry import find_mic

    vectors = (first[:, None] - second[None]).reshape(-1, 3)
    return np.asarray(find_mic(vectors, atoms.cell, atoms.pbc)[1]).reshape(len(first), len(second))
