"""Bonds of a frame up to a cutoff."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from vesin import NeighborList

Bonds = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Centre, neighbour, vector (m, 3) from the first to the second, distance; both ways, ordered by centre."""


def bonds_of(atoms: Atoms, cutoff: float) -> Bonds:
    """Bonds of a frame, any periodicity; `cutoff` in A."""
    cell = atoms.cell[:] if atoms.cell.rank == 3 else complete_cell(atoms.cell[:])
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, vectors, distances = search.compute(atoms.positions, cell, atoms.pbc, quantities="ijDd")
    order = np.argsort(i, kind="stable")
    return i[order].astype(np.intp), j[order].astype(np.intp), vectors[order], distances[order]
