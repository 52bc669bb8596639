"""Where the example begins: sheets of stanene in rectangular cells, small ones to label and a large one to simulate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

LATTICE_CONSTANT_A = 4.65
"""Of GFN1-xTB, as is the buckling."""
BUCKLING_A = 0.84
VACUUM_CELL_A = 30.0
"""Height of the small cells, all the same so that a stress has one meaning in all labels."""


@dataclass(frozen=True)
class Cells:
    """Repetitions of the rectangular four-atom cell (4.65 x 8.05 A) along x and y."""

    x: int
    y: int

    @property
    def n_atoms(self) -> int:
        """Atoms of the sheet."""
        return 4 * self.x * self.y


def sheet(cells: Cells, *, height_A: float = VACUUM_CELL_A) -> Atoms:
    """Flat buckled honeycomb in the middle of its cell, periodic in the plane."""
    a, b, h = LATTICE_CONSTANT_A, LATTICE_CONSTANT_A * np.sqrt(3), BUCKLING_A / 2
    positions = [[0, 0, -h], [0, b / 3, h], [a / 2, b / 2, -h], [a / 2, 5 * b / 6, h]]
    unit = Atoms("Sn4", positions=positions, cell=[a, b, height_A], pbc=[True, True, False])
    atoms = unit.repeat((cells.x, cells.y, 1))
    atoms.positions[:, 2] += height_A / 2
    return atoms


def sheet_with_overlap(cells: Cells) -> Atoms:
    """A sheet under a half of a second one, two free edges and all: a model of a fold of the large sheet."""
    lower = sheet(cells)
    upper = sheet(Cells(cells.x, cells.y // 2))
    lower.positions[:, 2] -= 1.6
    upper.positions += [LATTICE_CONSTANT_A / 2, 0.0, 1.6]
    upper.set_cell(lower.cell)
    return lower + upper
