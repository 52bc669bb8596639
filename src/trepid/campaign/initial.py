"""The frames a campaign starts from: the crystal, displaced and strained at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.build import make_supercell

from trepid.campaign.labels import bare_copy
from trepid.data.frames import read_structure

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.config import StructureSettings


def build_crystal(structure: StructureSettings) -> Atoms:
    """Read the structure and repeat it; without calculator, constraints and anything else the file may carry.

    Raises
    ------
    DataError
        The file is unreadable or holds no structure.
    """
    atoms = bare_copy(read_structure(structure.file))
    supercell = np.array(structure.supercell)
    if supercell.ndim == 2:
        return make_supercell(atoms, supercell)
    return atoms.repeat(structure.supercell)


def initial_frames(crystal: Atoms, n: int, *, displacement_A: float, strain: float, seed: int) -> list[Atoms]:
    """Displaced copies of a crystal, every second one strained too; the same seed gives the same frames.

    Parameters
    ----------
    crystal : Atoms
        Not changed.
    n : int
        Number of frames.
    displacement_A : float
        Standard deviation of every coordinate's displacement, A.
    strain : float
        Largest component of the symmetric strain of frames 2, 4, ...; along directions without periodicity there is
        none.
    seed : int
        Non-negative.

    Returns
    -------
    list of Atoms
    """
    rng = np.random.default_rng([seed, 0])
    periodic = np.asarray(crystal.pbc, dtype=float)
    frames = []
    for k in range(n):
        frame = crystal.copy()
        components = rng.uniform(-strain, strain, size=(3, 3))
        shift = rng.normal(scale=displacement_A, size=(len(frame), 3))
        if k % 2 == 1 and crystal.cell.rank == 3:
            # Strain acts on Cartesian directions; a sheet or a wire is expected to lie along them, as ASE builds it.
            symmetric = 0.5 * (components + components.T) * np.outer(periodic, periodic)
            frame.set_cell(np.array(frame.cell) @ (np.eye(3) + symmetric), scale_atoms=True)
        frame.positions += shift
        frames.append(frame)
    return frames
