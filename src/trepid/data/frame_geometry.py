"""The checks of the geometry of a frame that the readers make before anything is computed from it.

They refuse what no crystal or molecule is, in particular what would make a list of neighbours endless: cells with vectors or
heights far below the distance of two atoms, more atoms than a volume can hold, atoms that have flown apart.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from trepid.data.geometry import SHORTEST_PERIOD, require_together
from trepid.data.limits import impossible_geometry
from trepid.errors import DataError

SMALLEST_HEIGHT_A = 0.02
"""Height of a cell over its other vectors; below 1 A only in cells that are skewed beyond use."""
SMALLEST_VOLUME_PER_ATOM_A3 = 0.1
"""Hydrogen at the pressure of the centre of Jupiter has about 1 A^3."""


def check_geometry(atoms: Atoms, where: str) -> None:
    """Refuse a frame that is no geometry.

    Parameters
    ----------
    atoms : Atoms
    where : str
        How an error names the frame.

    Raises
    ------
    DataError
        No atoms; positions or cell that are not finite or absurd; a periodic direction without a cell vector; vectors that
        lie in one plane.
    """
    if len(atoms) == 0:
        raise DataError(f"{where}: no atoms")
    finite = np.isfinite(atoms.positions).all(axis=1)
    if not finite.all():
        atom = int(np.argmin(finite))
        raise DataError(f"{where}: the position of atom {atom} (counted from 0) is {atoms.positions[atom].tolist()}")
    cell = atoms.cell.array
    if not np.isfinite(cell).all():
        raise DataError(f"{where}: the cell is not finite: {cell.tolist()}")
    impossible = impossible_geometry(atoms)
    if impossible:
        raise DataError(f"{where}: {impossible}")
    for axis in range(3):
        if atoms.pbc[axis] and not cell[axis].any():
            raise DataError(f"{where}: periodic along cell vector {'abc'[axis]}, but that vector is zero")
    vectors = cell[atoms.pbc]
    # Relative to a box of these edges, so that only the shape of the cell matters.
    directions = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    if len(vectors) > 1 and np.prod(np.linalg.svd(directions, compute_uv=False)) < 1e-6:
        place = "plane" if len(vectors) == 3 else "line"
        raise DataError(f"{where}: periodic, but the cell vectors lie in one {place}: {cell.tolist()}")


def check_extent(atoms: Atoms, where: str) -> None:
    """Refuse a frame, of which `check_geometry` has said that it is a geometry, whose sizes are impossible.

    Raises
    ------
    DataError
        Atoms far apart; a periodic cell that is too short, too flat or too small
        for its atoms.
    """
    cell, lengths = atoms.cell.array, atoms.cell.lengths()
    require_together(atoms, where)
    for axis in range(3):
        if atoms.pbc[axis] and lengths[axis] < SHORTEST_PERIOD:
            raise DataError(
                f"{where}: periodic along cell vector {'abc'[axis]} of {lengths[axis]:.3g} A; every atom would be its own "
                f"neighbour within {SHORTEST_PERIOD:g} A"
            )
    vectors = cell[atoms.pbc]
    if len(vectors) < 2:
        return
    height = float((1 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)).min())
    if height < SMALLEST_HEIGHT_A:
        raise DataError(
            f"{where}: the cell is {height:.3g} A high over its other vectors: {cell.tolist()}; give the same lattice with "
            "shorter vectors"
        )
    volume = float(abs(atoms.cell.volume))
    if len(vectors) == 3 and volume / len(atoms) < SMALLEST_VOLUME_PER_ATOM_A3:
        raise DataError(
            f"{where}: {len(atoms)} atoms in a periodic cell of {volume:.3g} A^3: no atoms are that dense; is the cell in A?"
        )
