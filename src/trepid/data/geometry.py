"""Is a structure one that can be computed? The same checks, in the same words, for every potential, engine and campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from ase.geometry import complete_cell
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from vesin import NeighborList

from trepid.arrays import FloatArray, IndexArray
from trepid.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

CLOSEST = 1e-3
"""Distance, A, below which two atoms coincide: their bond has no defined direction."""
MIN_DISTANCE_FACTOR = 0.5
"""Default shortest distance of two atoms, over the sum of their covalent radii."""
SHORTEST_PERIOD = 0.3
"""Shortest period, A: no crystal repeats so closely, and a neighbour list would hold each atom many times."""
WIDEST = 1e4
"""Largest extent, A, along a direction that is not periodic: a grid of cells over more does not fit into memory."""
FAR = 1.5
"""Shortest distance of two atoms over the sum of their covalent radii: in crystals it is 0.8 to 1.2. Lengths in Bohr that are read
as A give 1.6 to 2.2."""
NOBLE_GASES = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})
"""Their atoms are not bonded: 1.5 to 2.7 in their crystals."""
_SEARCH = 0.5
"""Reach of the search for coinciding atoms, A: far above `CLOSEST`, and short enough to list almost no pairs."""


def box_of(atoms: Atoms) -> FloatArray:
    """Cell (3, 3), A, unchecked, with unit normals along which nothing repeats."""
    raw = atoms.cell[:]
    return np.ascontiguousarray(raw if atoms.cell.rank == 3 else complete_cell(raw), dtype=np.float64)


def stress_within(stress: FloatArray, atoms: Atoms) -> FloatArray:
    """Components of a stress, (6,), within the periodic directions of a structure: none acts on a length of empty space."""
    if all(atoms.pbc):
        return stress
    # Projector on the span of the periodic cell vectors.
    vectors = np.array(atoms.cell)[atoms.pbc]
    within = np.linalg.pinv(vectors) @ vectors
    return np.asarray(full_3x3_to_voigt_6_stress(within @ voigt_6_to_full_3x3_stress(stress) @ within))


def completed_cell(atoms: Atoms) -> FloatArray:
    """Cell (3, 3), A, with unit normals along which nothing repeats; positions and cell are finite, and it has a volume.

    Raises
    ------
    DataError
        Positions or cell are not finite, the structure is periodic along a vector that is zero or depends on the others, or the
        atoms have flown apart.
    """
    positions = np.asarray(atoms.positions, dtype=np.float64)
    raw = np.asarray(atoms.cell[:], dtype=np.float64)
    if not np.isfinite(positions).all():
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise DataError(f"the position of atom {atom} is {positions[atom]}: positions must be finite numbers (A)")
    if not np.isfinite(raw).all():
        raise DataError(f"the cell is {raw.tolist()}: cell vectors must be finite numbers (A)")
    lengths = np.linalg.norm(raw, axis=1)
    for axis in range(3):
        if atoms.pbc[axis] and lengths[axis] < 1e-6:
            raise DataError(f"the structure is periodic along cell vector {axis}, which is zero")
        if atoms.pbc[axis] and lengths[axis] < SHORTEST_PERIOD:
            raise DataError(
                f"the structure is periodic along cell vector {axis}, which is {lengths[axis]:.2g} A long: shorter than any bond"
            )
    cell = box_of(atoms)
    if abs(np.linalg.det(cell)) < 1e-6:
        raise DataError(f"the cell {raw.tolist()} has no volume")
    require_together(atoms, "the structure")
    return cell


def flown_apart(atoms: Atoms) -> str:
    """Over what length the atoms are spread along a direction that is not periodic, where no list of neighbours spans it."""
    if atoms.pbc.all() or len(atoms) == 0:
        return ""
    vectors = atoms.cell.array[atoms.pbc]
    across = atoms.positions - atoms.positions @ np.linalg.pinv(vectors) @ vectors if len(vectors) else atoms.positions
    width = float(np.ptp(across, axis=0).max())
    if width <= WIDEST:
        return ""
    return f"the atoms have flown apart, over {width:.3g} A along a direction that is not periodic"


def require_together(atoms: Atoms, where: str) -> None:
    """Raise DataError, which begins with `where`, where the atoms have flown apart."""
    apart = flown_apart(atoms)
    if apart:
        raise DataError(f"{where}: {apart} (at most {WIDEST:g} A)")


def require_apart(first: int, second: int, distance: float) -> None:
    """Raise DataError where two atoms, the closest ones, coincide."""
    if distance < CLOSEST:
        a, b = sorted((int(first), int(second)))
        raise DataError(f"atoms {a} and {b} (counted from 0) are {distance:.2g} A apart: they coincide")


def require_sound(atoms: Atoms) -> None:
    """Check positions, cell and distances of a structure.

    Raises
    ------
    DataError
        See `completed_cell`; or two atoms coincide.
    """
    if len(atoms) == 0:
        raise DataError("the structure has no atoms")
    cell = completed_cell(atoms)
    search = NeighborList(cutoff=_SEARCH, full_list=False, n_threads=1)
    i, j, d = search.compute(points=atoms.positions, box=cell, periodic=atoms.pbc.tolist(), quantities="ijd")
    if len(d):
        closest = int(np.argmin(d))
        require_apart(int(i[closest]), int(j[closest]), float(d[closest]))


def close_pairs(atoms: Atoms, *, factor: float) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Atoms i and j (n,) and distances (n,), A, of the pairs closer than `factor` times the sum of their covalent radii.

    The atoms must not have flown apart (`flown_apart`).
    """
    radii = factor * covalent_radii[atoms.numbers]
    neighbors = NeighborList(cutoff=2 * float(radii.max()), full_list=False, n_threads=1)
    box = box_of(atoms)
    i, j, d = neighbors.compute(points=atoms.positions, box=box, periodic=atoms.pbc.tolist(), quantities="ijd")
    i, j = i.astype(np.intp), j.astype(np.intp)
    close = d < radii[i] + radii[j]
    return i[close], j[close], d[close]


def atoms_far_apart(atoms: Atoms, *, isolated: bool = True) -> str:
    """What to ask of a structure in which no two atoms are as close as bonded ones; an empty string where some are.

    Parameters
    ----------
    atoms : ase.Atoms
    isolated : bool
        Whether an atom without any neighbour may be meant, as in a box of its own.
    """
    if NOBLE_GASES.intersection(atoms.get_chemical_symbols()) or len(close_pairs(atoms, factor=FAR)[2]):
        return ""
    i, j, d = close_pairs(atoms, factor=2 * FAR)
    if len(d) == 0:
        if isolated:
            return ""
        return f"no two atoms are within {2 * FAR:g} times the sum of their covalent radii: are the lengths of the file in A?"
    radii = covalent_radii[atoms.numbers]
    nearest = int(np.argmin(d / (radii[i] + radii[j])))
    a, b = int(i[nearest]), int(j[nearest])
    symbols, ratio = atoms.get_chemical_symbols(), d[nearest] / (radii[a] + radii[b])
    return (
        f"the nearest atoms, {symbols[a]} and {symbols[b]}, are {d[nearest]:.2f} A apart, {ratio:.2g} times the sum of their "
        "covalent radii: are the lengths of the file in A, not in Bohr (0.529 A)?"
    )


def fused_atoms(atoms: Atoms, *, factor: float) -> str:
    """Two atoms closer than `factor` times the sum of their covalent radii, named; an empty string if there are none.

    Atoms that have flown apart are told in the same way: no neighbours can be looked for.
    """
    apart = flown_apart(atoms)
    if apart:
        return apart
    i, j, d = close_pairs(atoms, factor=factor)
    if len(d) == 0:
        return ""
    worst = int(np.argmin(d))
    symbols = atoms.get_chemical_symbols()
    a, b = sorted((int(i[worst]), int(j[worst])))
    return f"atoms {a} ({symbols[a]}) and {b} ({symbols[b]}) have fused: {d[worst]:.2f} A apart"


def require_start(atoms: Atoms, *, factor: float = MIN_DISTANCE_FACTOR) -> None:
    """Check that a simulation can start from a structure.

    Parameters
    ----------
    atoms : ase.Atoms
    factor : float
        Shortest distance of two atoms, over the sum of their covalent radii.

    Raises
    ------
    DataError
        See `require_sound`; or two atoms are closer than that.
    """
    require_sound(atoms)
    fused = fused_atoms(atoms, factor=factor)
    if fused:
        raise DataError(f"{fused}; no simulation can start from there")
