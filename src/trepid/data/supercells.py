"""Supercells for a campaign: a size that a reference can pay for, and a shape that keeps the symmetry of the crystal.

Axes that the space group maps onto one another are repeated equally often, so that a cubic crystal gets a cubic cell.
Repetitions are even where the size allows it: the modes at the boundary of the Brillouin zone, where perovskites tilt and
lattices dimerise, fit into an even cell only. Where the given cell is a primitive one of a centred lattice, multiples of the
conventional cell are candidates too; they are 3x3 matrices.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trepid.arrays import FloatArray
from trepid.choices import NARROW_A
from trepid.data.geometry import atoms_far_apart, box_of
from trepid.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from spglib import SpglibDataset

Matrix: TypeAlias = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

ATOMS_WANTED = 64
"""Number of atoms aimed at: few enough for cheap labels, enough for small finite-size effects."""
MOST_ATOMS = 216
"""Three cells of eight atoms along every direction. Larger ones are suggested only where a single cell of the crystal is larger."""
LEAST_WIDTH_A = 8.0
"""Distance between an atom and its periodic image aimed at, A; narrower cells are possible where they are much cheaper."""
VACUUM_A = 6.0
"""A gap between layers of atoms that is wider than this is vacuum, A; the gaps of layered crystals are 3 to 4 A."""
SYMMETRY_A = 0.01
"""Atoms within this distance of a symmetric position are on it, A: files have four digits or so."""
_MOST_REPEATS = 12
# Weights of the score: a natural logarithm of the cost is worth as much as ...
_NARROW = 4.0  # ... a quarter of the width that is missing,
_SMALL = 0.8  # ... 1.25 logarithms of atoms too few,
_ODD = 0.75  # ... an odd number of repetitions of a group of axes
_SINGLE = 0.2  # (a single one counts less: there is nothing to halve),
_OBLONG = 0.5  # ... or a cell 7 times as long as wide.


@dataclass(frozen=True)
class Supercell:
    """A supercell of a crystal.

    Attributes
    ----------
    matrix : 3 rows of 3 int
        Rows are the new cell vectors in units of the given ones.
    repeats : (int, int, int)
        Repetitions of the axes of `cell`.
    cell : str
        Whose axes are repeated: "given" or "conventional".
    n_atoms : int
    width_A : float
        Smallest distance between two opposite periodic faces, A; infinite without periodicity.
    """

    matrix: Matrix
    repeats: tuple[int, int, int]
    cell: str
    n_atoms: int
    width_A: float

    @property
    def setting(self) -> list[int] | list[list[int]]:
        """Value of `structure.supercell`: three repetitions where they suffice, or the matrix."""
        return list(self.repeats) if self.cell == "given" else [list(row) for row in self.matrix]

    def __str__(self) -> str:
        counts = " x ".join(map(str, self.repeats))
        whose = "" if self.cell == "given" else " conventional cells"
        return f"{counts}{whose}, {self.n_atoms} atoms"


@dataclass(frozen=True)
class _Base:
    """Axes that may be repeated, and the groups of equivalent ones."""

    name: str
    matrix: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]


def suggested_supercells(atoms: Atoms) -> list[Supercell]:
    """Supercells of a crystal, the best one first; it is followed by the next smaller and the next larger one.

    Directions without periodicity, or with vacuum, are not repeated.

    Parameters
    ----------
    atoms : ase.Atoms
        A sound structure (see `trepid.data.geometry.require_start`).
    """
    vacuum = vacuum_A(atoms)
    a, b, c = (bool(atoms.pbc[k]) and vacuum[k] <= VACUUM_A for k in range(3))
    repeated = a, b, c
    if not any(repeated):
        return [_supercell(atoms, _Base("given", np.eye(3, dtype=np.int64), ()), (1, 1, 1), repeated)]
    found = [
        _supercell(atoms, base, repeats, repeated)
        for base in _bases(atoms, repeated)
        for repeats in _repetitions(base, repeated, len(atoms) * round(abs(np.linalg.det(base.matrix))))
    ]
    scored = sorted(found, key=lambda cell: (_score(cell, atoms, repeated), cell.n_atoms))
    best = scored[0]
    smaller = next((cell for cell in scored if cell.n_atoms < 0.75 * best.n_atoms), None)
    more = [cell for cell in scored if cell.n_atoms > 1.3 * best.n_atoms]
    # Of a narrow cell the larger one is for methods without k points: one that is wide enough for them, where there is one.
    wide = [cell for cell in more if cell.width_A >= NARROW_A] if best.width_A < NARROW_A else more
    larger = next(iter(wide or more), None)
    return [cell for cell in (best, smaller, larger) if cell is not None]


def repeated_supercell(atoms: Atoms, repeats: tuple[int, int, int]) -> Supercell:
    """The supercell of these repetitions of the given cell.

    Raises
    ------
    DataError
        A number below 1, or above 1 along a direction that is not periodic.
    """
    if min(repeats) < 1:
        raise DataError(f"supercell {' '.join(map(str, repeats))}: give three numbers of 1 or more")
    for k in range(3):
        if repeats[k] > 1 and not atoms.pbc[k]:
            raise DataError(f"supercell {' '.join(map(str, repeats))}: nothing repeats along {'abc'[k]}; give 1 there")
    return _supercell(atoms, _Base("given", np.eye(3, dtype=np.int64), ()), repeats, _periodic(atoms))


def width_A(atoms: Atoms) -> float:
    """Smallest distance between two opposite periodic faces, A; infinite without periodicity."""
    return min(_widths(box_of(atoms), _periodic(atoms)), default=math.inf)


def periodicity(atoms: Atoms) -> str:
    """Along which cell vectors a structure is periodic, in words."""
    axes = "".join(name for name, flag in zip("abc", _periodic(atoms), strict=True) if flag)
    return f"periodic along {axes}" if axes else "not periodic"


def vacuum_A(atoms: Atoms) -> tuple[float, float, float]:
    """Widest gap between atoms along the normal of each pair of faces, A, over the periodic boundary where there is one.

    Along a direction without periodicity it is 0: there is nothing between an atom and an image.
    """
    box = box_of(atoms)
    normals = np.linalg.inv(box).T
    heights = 1.0 / np.linalg.norm(normals, axis=1)
    fractions = np.asarray(atoms.positions) @ np.linalg.inv(box)
    gaps = [0.0, 0.0, 0.0]
    for k in range(3):
        if atoms.pbc[k]:
            sorted_fractions = np.sort(fractions[:, k] % 1.0)
            steps = np.diff(np.append(sorted_fractions, sorted_fractions[0] + 1.0))
            # One atom has its own image one period away: that is the lattice, unless the period is longer than any bond.
            gaps[k] = float(steps.max() * heights[k])
    return gaps[0], gaps[1], gaps[2]


def structure_warnings(atoms: Atoms, file: Path) -> list[str]:
    """What looks wrong about a structure: no periodicity at all, vacuum along a periodic direction, or lengths in another unit.

    Parameters
    ----------
    atoms : ase.Atoms
        A sound structure.
    file : Path
        Where it comes from.
    """
    far = atoms_far_apart(atoms)
    lengths = [f"{file}: {far}"] if far else []
    if not atoms.pbc.any():
        return [
            *lengths,
            f"{file}: no periodicity: the atoms are a molecule or cluster in empty space. Of a crystal give a file with its cell: "
            'CIF, POSCAR, or extxyz with Lattice="..." and pbc="T T T"',
        ]
    gaps = vacuum_A(atoms)
    empty = [k for k in range(3) if gaps[k] > VACUUM_A]
    if not empty:
        return lengths
    where = ", ".join(f"{gaps[k]:.1f} A along {'abc'[k]}" for k in empty)
    kind = ("a slab or sheet", "a wire", "a molecule in a box")[len(empty) - 1 + int(3 - atoms.pbc.sum())]
    command = f"trepid init {file} --slab -o {slab_campaign(file)}"
    return [
        *lengths,
        f"{file}: vacuum of {where}, and the file is periodic there: is it {kind}? '{command}' writes "
        f"{slab_name(file)}, which is not periodic there: stress, strain and supercell are right then",
    ]


def wide_repeats(atoms: Atoms, reach_A: float, *, repeat: tuple[int, int, int] = (1, 1, 1)) -> tuple[int, int, int]:
    """Repetitions of a structure in a cell at least twice as wide as atoms interact over; 1 along directions without periodicity.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure, repeated `repeat` times already.
    reach_A : float
        A.
    repeat : three ints
    """
    a, b, c = (
        math.ceil(2 * reach_A / (width / n) - 1e-9) if counts else n
        for width, n, counts in zip(_widths(box_of(atoms), (True, True, True)), repeat, atoms.pbc, strict=True)
    )
    return a, b, c


def narrow_cell(atoms: Atoms, repeat: tuple[int, int, int], reach_A: float) -> str:
    """What to say of a cell narrower than twice the distance over which atoms interact; empty for a wider one.

    Parameters
    ----------
    atoms : ase.Atoms
        The cell of the simulation.
    repeat : three ints
        Repetitions of the given structure in it.
    reach_A : float
        A.
    """
    narrowest = width_A(atoms)
    if narrowest >= 2 * reach_A:
        return ""
    wanted = " ".join(map(str, wide_repeats(atoms, reach_A, repeat=repeat)))
    return (
        f"the cell is {narrowest:.1f} A wide, less than twice the {reach_A:g} A over which atoms interact: an atom meets its "
        f"own images, which move with it; a cell that is wide enough: --repeat {wanted}"
    )


def slab_name(file: Path) -> str:
    """Name of the file of a structure without periodicity along its vacuum."""
    return f"{file.stem or file.name}_slab.extxyz"


def slab_campaign(file: Path) -> str:
    """Name of a campaign file for it, which is not that of the campaign of the periodic structure."""
    return f"{file.stem or file.name}_slab.yaml"


def without_vacuum_periodicity(atoms: Atoms) -> Atoms:
    """A copy that is not periodic along directions with vacuum; DataError where there is none."""
    gaps = vacuum_A(atoms)
    empty = [k for k in range(3) if gaps[k] > VACUUM_A]
    if not empty:
        raise DataError(
            f"--slab: the widest gap between layers is {max(gaps):.1f} A along a periodic direction, and vacuum is wider than "
            f"{VACUUM_A:g} A; leave --slab out"
        )
    copy = atoms.copy()
    copy.pbc = [bool(atoms.pbc[k]) and k not in empty for k in range(3)]
    return copy


def _bases(atoms: Atoms, repeated: tuple[bool, bool, bool]) -> list[_Base]:
    """The given axes, and the conventional ones where they span a multiple of the given cell."""
    found = symmetry_dataset(atoms, padded_box(atoms), tolerance_A=SYMMETRY_A)
    identity = np.eye(3, dtype=np.int64)
    if found is None:  # spglib finds no symmetry at all, not even the identity
        return [_Base("given", identity, tuple((k,) for k in range(3) if repeated[k]))]
    rotations = np.asarray(found.rotations, dtype=np.int64)
    bases = [_Base("given", identity, _equivalent_axes(rotations, identity, repeated))]
    if all(repeated):
        conventional = np.linalg.inv(np.asarray(found.transformation_matrix)).T
        whole = np.rint(conventional).astype(np.int64)
        if np.abs(conventional - whole).max() < 1e-3 and round(abs(np.linalg.det(whole))) > 1:
            whole = whole if np.linalg.det(whole) > 0 else -whole
            bases.append(_Base("conventional", whole, _equivalent_axes(rotations, whole, repeated)))
    return bases


def symmetry_dataset(atoms: Atoms, box: FloatArray, *, tolerance_A: float) -> SpglibDataset | None:
    """What spglib says of the atoms in a box, (3, 3), A; None where it finds no symmetry at all."""
    import spglib
    from spglib.error import SpglibError

    fractions = np.asarray(atoms.positions) @ np.linalg.inv(box)
    cell = (box.tolist(), fractions.tolist(), atoms.numbers.tolist())
    try:
        return spglib.get_symmetry_dataset(cell, symprec=tolerance_A)
    except SpglibError:
        # Raised for coinciding atoms instead of None, once another package has set `spglib.error.OLD_ERROR_HANDLING`.
        return None


def padded_box(atoms: Atoms) -> FloatArray:
    """Cell for the search for symmetry, (3, 3), A; without periodicity the vector is long enough to hold the atoms."""
    box = box_of(atoms).copy()
    for k in range(3):
        if not atoms.pbc[k]:
            direction = box[k] / np.linalg.norm(box[k])
            reach = np.ptp(np.asarray(atoms.positions) @ direction)
            box[k] = direction * (reach + 3 * VACUUM_A)
    return box


def _equivalent_axes(
    rotations: NDArray[np.int64], base: NDArray[np.int64], repeated: tuple[bool, bool, bool]
) -> tuple[tuple[int, ...], ...]:
    """Groups of axes that rotations map onto one another, or onto the negative of one another.

    Parameters
    ----------
    rotations : (n, 3, 3) array of int
        Act on fractional coordinates of the given cell.
    base : (3, 3) array of int
        Rows are the axes in units of the given ones.
    """
    inverse = np.linalg.inv(base)
    group = [0, 1, 2]
    for rotation in rotations:
        images = base @ rotation.T @ inverse  # row i: the image of axis i
        for i, j in itertools.permutations(range(3), 2):
            target = np.eye(3)[j]
            if np.allclose(images[i], target, atol=1e-6) or np.allclose(images[i], -target, atol=1e-6):
                group = [group[i] if label == group[j] else label for label in group]
    members = {label: tuple(k for k in range(3) if group[k] == label and repeated[k]) for label in group}
    return tuple(axes for axes in members.values() if axes)


def _repetitions(base: _Base, repeated: tuple[bool, bool, bool], n_atoms: int) -> list[tuple[int, int, int]]:
    """Repetitions, equal within a group, of cells of `n_atoms` that stay below `MOST_ATOMS`; always the single cell."""
    most = max(1, MOST_ATOMS // n_atoms)
    found = []
    for counts in itertools.product(range(1, min(most, _MOST_REPEATS) + 1), repeat=len(base.groups)):
        repeats = [1, 1, 1]
        for axes, count in zip(base.groups, counts, strict=True):
            for axis in axes:
                repeats[axis] = count
        if math.prod(repeats) <= most:
            found.append((repeats[0], repeats[1], repeats[2]))
    return found


def _supercell(
    atoms: Atoms, base: _Base, repeats: tuple[int, int, int], repeated: tuple[bool, bool, bool]
) -> Supercell:
    matrix = np.diag(repeats) @ base.matrix
    a, b, c = (tuple(int(x) for x in row) for row in matrix)
    widths = _widths(matrix @ box_of(atoms), repeated)
    return Supercell(
        matrix=(a, b, c),  # type: ignore[arg-type]  # three rows of three
        repeats=repeats,
        cell=base.name,
        n_atoms=len(atoms) * round(abs(np.linalg.det(matrix))),
        width_A=min(widths, default=math.inf),
    )


def _periodic(atoms: Atoms) -> tuple[bool, bool, bool]:
    a, b, c = (bool(flag) for flag in atoms.pbc)
    return a, b, c


def _widths(box: FloatArray, repeated: tuple[bool, bool, bool]) -> list[float]:
    """Distances between opposite faces of a cell, (3, 3), A, along the repeated directions, A."""
    widths = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    return [float(width) for width, counts in zip(widths, repeated, strict=True) if counts]


def _score(cell: Supercell, atoms: Atoms, repeated: tuple[bool, bool, bool]) -> float:
    """How much is wrong with a supercell; see the weights above."""
    widths = _widths(np.array(cell.matrix) @ box_of(atoms), repeated)
    size = math.log(cell.n_atoms / ATOMS_WANTED)
    counts = {(repeat, k) for k, repeat in enumerate(cell.repeats) if repeated[k]}
    odd = max((_SINGLE if n == 1 else _ODD if n % 2 else 0.0 for n, _ in counts), default=0.0)
    return (
        (size if size > 0 else -_SMALL * size)
        + _NARROW * max(0.0, 1.0 - min(widths) / LEAST_WIDTH_A)
        + odd
        + _OBLONG * math.log(max(widths) / min(widths))
    )
