"""Frames that the PBE campaign starts from: sheets of 8 atoms, from flat to dense, made from a seed.

    python start.py          # writes sheet.extxyz and start.extxyz, without labels; frames.extxyz begins with them, labelled

All have 8 atoms and a height of 12 A, so that one k-point grid and one number of bands serve all. The contraction of a
sheet leads from three neighbours over a dumbbell and a denser sheet to two close-packed layers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

HEIGHT_A = 12.0
"""Of the cell: sheets see no image of themselves within the range of the model."""
LATTICE_A, BUCKLING_A = 4.67, 0.85
HERE = Path(__file__).parent


def sheet(lattice_A: float = LATTICE_A, buckling_A: float = BUCKLING_A, *, cells: int = 2) -> Atoms:
    """`cells` x `cells` cells of a buckled honeycomb, two atoms each (8 in all by default), in the middle of the cell."""
    a = lattice_A
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, HEIGHT_A]]
    scaled = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]]
    unit = Atoms("Sn2", scaled_positions=scaled, cell=cell, pbc=True)
    unit.positions[:, 2] = HEIGHT_A / 2 + np.array([-buckling_A / 2, buckling_A / 2])
    return unit.repeat((cells, cells, 1))


def displaced(atoms: Atoms, amplitude_A: float, rng: np.random.Generator) -> Atoms:
    """A copy with a normal displacement of every coordinate."""
    moved = atoms.copy()
    moved.positions += rng.normal(scale=amplitude_A, size=(len(moved), 3))
    return moved


def rippled(height_A: float) -> Atoms:
    """A sheet with one wave along its first vector."""
    atoms = sheet()
    atoms.positions[:, 2] += height_A * np.sin(2 * np.pi * atoms.get_scaled_positions()[:, 0])
    return atoms


def dumbbell() -> Atoms:
    """A sheet in which one atom sits on top of a neighbour: a defect that starts a second layer."""
    atoms = sheet(4.5)
    atoms.positions[0] = atoms.positions[1] + [0.3, 0.2, 2.8]
    return atoms


def packed(edge_A: float, thickness_A: float, rng: np.random.Generator) -> Atoms:
    """Eight atoms at random in a layer, no two nearer than 2.75 A."""
    atoms = sheet(edge_A / 2)
    placed = Atoms(cell=atoms.cell, pbc=True)
    while len(placed) < len(atoms):
        trial = rng.uniform(size=3) @ np.array(atoms.cell)
        trial[2] = HEIGHT_A / 2 + rng.uniform(-thickness_A / 2, thickness_A / 2)
        placed.append("Sn")
        placed.positions[-1] = trial
        if len(placed) > 1 and placed.get_distances(-1, range(len(placed) - 1), mic=True).min() < 2.75:
            del placed[-1]
    return placed


def start_frames(seed: int = 1) -> list[Atoms]:
    """The frames, from calm to dense; `name` in info says what each is."""
    rng = np.random.default_rng(seed)
    made = [
        ("sheet, displaced by 0.05 A", displaced(sheet(), 0.05, rng)),
        ("sheet, displaced by 0.12 A", displaced(sheet(), 0.12, rng)),
        ("sheet, displaced by 0.22 A", displaced(sheet(), 0.22, rng)),
        ("compressed by 4 %", displaced(sheet(4.5, 0.95), 0.12, rng)),
        ("stretched by 4 %", displaced(sheet(4.85, 0.7), 0.12, rng)),
        ("planar", displaced(sheet(4.75, 0.1), 0.05, rng)),
        ("rippled", displaced(rippled(0.6), 0.08, rng)),
        ("compressed by 12 %", displaced(sheet(4.1, 1.3), 0.1, rng)),
        ("compressed by 20 %", displaced(sheet(3.75, 1.9), 0.12, rng)),
        ("two close-packed layers", displaced(sheet(3.3, 2.8), 0.15, rng)),
        ("dumbbell", displaced(dumbbell(), 0.05, rng)),
        ("random layer", packed(7.2, 5.5, rng)),
    ]
    for name, frame in made:
        frame.info["name"] = name
    return [frame for _, frame in made]


if __name__ == "__main__":
    write(HERE / "sheet.extxyz", sheet())
    write(HERE / "start.extxyz", start_frames())
