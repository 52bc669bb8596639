"""Neighbour lists with a skin: vesin finds the pairs, the C++ core keeps explicit images and follows the atoms."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from vesin import NeighborList

from trepid import _native
from trepid.data.geometry import box_of, completed_cell, require_apart

SKIN = 0.5
"""Default skin, A."""


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
            Positions or cell are not finite, atoms coincide, or a periodic direction has no cell vector.
        """
        positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
        identity = (species.tobytes(), atoms.pbc.tobytes())
        if self._list is not None and self._identity == identity and self._list.move(positions, box_of(atoms)):
            return self._list
        cell = completed_cell(atoms)
        search = NeighborList(cutoff=self.cutoff + self.skin, full_list=True, n_threads=1)
        pairs, shifts, distances = search.compute(positions, cell, atoms.pbc, quantities="PSd")
        if len(distances):
            closest = int(np.argmin(distances))
            require_apart(int(pairs[closest][0]), int(pairs[closest][1]), float(distances[closest]))
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
