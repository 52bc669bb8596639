"""A trajectory as displacements of the atoms of one supercell: checked, in the order and orientation of the crystal.

Vocabulary
----------
crystal     what the user gives: relaxed, in any cell that the trajectory repeats
supercell   the crystal at rest in the cell of the trajectory, its atom i the atom i of the trajectory
away        an atom nearer to another site than to its own, by half the distance to the next one: it has left its site, and modes of
            the crystal do not describe it any more
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from trepid.anharmonicity.matching import nearest_distances
from trepid.arrays import FloatArray, IntArray
from trepid.data.trajectory import Chunk, Trajectory
from trepid.errors import DataError
from trepid.events.alignment import AlignedCrystal, align_crystal

SAME_CELL = 2e-4
"""Strains within this of each other along the three axes are one isotropic strain; a cell that changes by more has a barostat."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """The crystal in the cell of a trajectory.

    Attributes
    ----------
    unitcell, supercell : Atoms
        At rest; the supercell in the order of the trajectory.
    matrix : (3, 3) array of int
        Its rows give the vectors of the supercell in those of the unit cell.
    rotation : (3, 3) array
        Takes vectors of the trajectory into the orientation of the crystal: `vectors @ rotation`.
    cell : (3, 3) array
        Of the trajectory, in its own orientation.
    strain : float
        Largest strain of the trajectory's cell against that of the crystal.
    remarks : tuple of str
    """

    unitcell: Atoms
    supercell: Atoms
    matrix: IntArray
    rotation: FloatArray
    cell: FloatArray
    strain: float
    remarks: tuple[str, ...]

    def displacements(self, chunk: Chunk, *, name: str) -> FloatArray:
        """Displacements from the sites in the orientation of the crystal, (n_frames, n_atoms, 3), A; the drift is in them.

        Raises
        ------
        DataError
            The cell of a frame is another one.
        """
        changed = np.abs(chunk.cells - self.cell).max(axis=(1, 2)) > SAME_CELL * float(np.abs(self.cell).max())
        if changed.any():
            frame = chunk.first + int(np.flatnonzero(changed)[0])
            raise DataError(
                f"{name}: frame {frame} (counted from 0) has another cell than the first: a barostat moves it. Give a trajectory "
                "at constant volume"
            )
        fractional = chunk.positions @ np.linalg.inv(self.cell)
        u = fractional - self.supercell.cell.scaled_positions(self.supercell.positions)
        u -= np.rint(u)
        return np.asarray(u @ self.supercell.cell.array)


def lattice_of(trajectory: Trajectory, crystal: Atoms) -> Lattice:
    """Find the supercell of a trajectory.

    Raises
    ------
    DataError
        The elements are not known, the cell is no multiple of that of the crystal, or the atoms are not near its sites.
    """
    if trajectory.symbols is None:
        raise DataError(
            f"{trajectory.name}: numbers of types and no elements: name them with --species, one for each type"
        )
    aligned = align_crystal(
        crystal, trajectory.symbols, trajectory.first.positions, trajectory.first.cell, name=trajectory.name
    )
    if trajectory.first.cell is None:
        trajectory.named(trajectory.symbols, aligned.atoms.cell.array)
    cell = np.array(trajectory.first.cell)
    strained, strain = _strain(aligned, cell)
    supercell = aligned.atoms.copy()
    supercell.set_cell(supercell.cell.array @ strained, scale_atoms=True)
    unitcell = crystal.copy()
    unitcell.calc = None
    unitcell.set_constraint()
    unitcell.set_cell(unitcell.cell.array @ strained, scale_atoms=True)
    supercell.positions += _translation(supercell, unitcell, trajectory.first.positions @ np.linalg.inv(cell))
    return Lattice(unitcell, supercell, aligned.matrix, aligned.rotation, cell, strain, aligned.remarks)


def _translation(supercell: Atoms, unitcell: Atoms, fractional: FloatArray) -> FloatArray:
    """The translation of the lattice, A, that brings the sites nearest to their atoms.

    Which of its translations the matching of atoms and sites finds is a matter of chance. One by half of the supercell, as in two
    repetitions, would leave the nearest image of every displacement undecided.
    """
    u = fractional - supercell.cell.scaled_positions(supercell.positions)
    others = u - u[0]
    others -= np.rint(others)
    common = (u[0] + others.mean(axis=0)) @ supercell.cell.array
    return np.asarray(np.rint(common @ np.linalg.inv(unitcell.cell.array)) @ unitcell.cell.array)


def _strain(aligned: AlignedCrystal, cell: FloatArray) -> tuple[FloatArray, float]:
    """Map of the crystal's vectors on those of the trajectory: isotropic where it is that within `SAME_CELL`."""
    exact = np.linalg.inv(aligned.atoms.cell.array) @ cell @ aligned.rotation
    factor = float(np.trace(exact)) / 3.0
    largest = float(np.abs(exact - np.eye(3)).max())
    if np.abs(exact - factor * np.eye(3)).max() <= SAME_CELL:
        return factor * np.eye(3), largest
    return np.asarray(exact), largest


class AwayCount:
    """Counts frames in which an atom is away from its site, drift removed."""

    def __init__(self, supercell: Atoms) -> None:
        self.reach = 0.5 * nearest_distances(supercell)
        self.weights = supercell.get_masses() / supercell.get_masses().sum()
        self.symbols = supercell.get_chemical_symbols()
        self.n_frames = 0
        self.n_away = 0
        self.first: tuple[int, int] | None = None

    def add(self, u: FloatArray, first: int) -> None:
        """Count displacements (n_frames, n_atoms, 3) whose first frame has this number."""
        moved = u - np.einsum("tix,i->tx", u, self.weights)[:, None]
        far = np.linalg.norm(moved, axis=2) > self.reach
        self.n_frames += len(u)
        frames = np.flatnonzero(far.any(axis=1))
        self.n_away += len(frames)
        if frames.size and self.first is None:
            self.first = first + int(frames[0]), int(np.flatnonzero(far[frames[0]])[0])

    @property
    def share(self) -> float:
        """Part of the frames in which an atom is away."""
        return self.n_away / max(self.n_frames, 1)

    def line(self, name: str) -> str:
        """What to say of it."""
        assert self.first is not None
        frame, atom = self.first
        return (
            f"{name}: {self.n_away} of {self.n_frames} frames have atoms that left their sites (the first is {self.symbols[atom]} "
            f"{atom} in frame {frame}, counted from 0)"
        )


def thinned(
    frames: Iterator[tuple[FloatArray, FloatArray | None]], most: int
) -> list[tuple[FloatArray, FloatArray | None]]:
    """Evenly spaced items of a stream whose length is not known, between half of `most` and `most` of them."""
    kept: list[tuple[FloatArray, FloatArray | None]] = []
    stride = 1
    for number, item in enumerate(frames):
        if number % stride:
            continue
        kept.append(item)
        if len(kept) > most:
            kept, stride = kept[::2], 2 * stride
    return kept
