"""Neighbour lists with a skin: vesin finds the pairs, the C++ core keeps explicit images and follows the atoms."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from vesin import NeighborList

from trepid import _native
from trepid.data.geometry import require_together
from trepid.errors import DataError

SKIN = 0.5
"""Default skin, A."""
CLOSEST = 1e-3
"""Distance, A, below which two atoms coincide: their bond has no defined direction."""


class SkinNeighbors:
    """Neighbour list of one moving system, rebuilt only when an atom may have crossed the skin.

    Parameters
    ----------
    cutoff : float
        Longest distance that must be in the list, A.
    skin : float
        Extra reach, A. 0 builds a list for one configuration only.
    """

    def __init__(self, cutoff: float, *, skin: float = SKIN) -> None:
        self.cutoff = cutoff
        self.skin = skin
        self.n_builds = 0
        self._list: _native.Neighbours | None = None
        self._identity: tuple[bytes, bytes] | None = None

    def reset(self) -> None:
        """Discard the list: the next call builds it from the positions alone, independent of earlier calls."""
        self._list = None

    def update(self, atoms: Atoms, species: NDArray[np.int32]) -> _native.Neighbours:
        """Neighbours of `atoms`; `species` (n_atoms,) are indices into the model's species.

        Raises
        ------
        DataError
            Positions or cell are not finite, atoms coincide or have flown apart, or a periodic direction has no cell vector.
        """
        positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
        raw_cell = np.asarray(atoms.cell[:], dtype=np.float64)
        identity = (species.tobytes(), atoms.pbc.tobytes())
        cell = raw_cell if atoms.cell.rank == 3 else complete_cell(raw_cell)
        cell = np.ascontiguousarray(cell, dtype=np.float64)
        if self._list is not None and self._identity == identity and self._list.move(positions, cell):
            return self._list
        if not np.isfinite(positions).all():
            atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            raise DataError(f"the position of atom {atom} is {positions[atom]}: positions must be finite numbers (A)")
        if not np.isfinite(cell).all():
            raise DataError(f"the cell is {raw_cell.tolist()}: cell vectors must be finite numbers (A)")
        lengths = np.linalg.norm(raw_cell, axis=1)
        for axis in range(3):
            if atoms.pbc[axis] and lengths[axis] < 1e-6:
                raise DataError(f"the structure is periodic along cell vector {axis}, which is zero")
        if abs(np.linalg.det(cell)) < 1e-6:
            raise DataError(f"the cell {raw_cell.tolist()} has no volume")
        require_together(atoms, "the structure")
        search = NeighborList(cutoff=self.cutoff + self.skin, full_list=True, n_threads=1)
        pairs, shifts, distances = search.compute(positions, cell, atoms.pbc, quantities="PSd")
        if len(distances) and distances.min() < CLOSEST:
            i, j = pairs[np.argmin(distances)]
            raise DataError(f"atoms {i} and {j} (counted from 0) are {distances.min():.2g} A apart: they coincide")
        self._list = _native.Neighbours(
            positions,
            cell,
            species,
            np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1, 2),
            np.ascontiguousarray(shifts, dtype=np.int32).reshape(-1, 3),
            self.cutoff,
            self.skin,
        )
        self._identity = identity
        self.n_builds += 1
        return self._list
