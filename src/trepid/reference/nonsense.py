"""Labels that no method gives for a frame, however often it repeats them: such a reference is wrong, not the model."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from trepid.data.duplicates import copies
from trepid.data.frames import Labels
from trepid.data.limits import impossible_energy, impossible_stress
from trepid.data.placeholders import displaced

LARGEST_FORCE = 1e3
"""eV/A. Files may hold more (`trepid.data.limits`); a campaign labels frames of molecular dynamics at some thousand K, where
atoms meet with a few eV. 1e3 eV/A is the force between bare protons 0.12 A apart."""
EQUALLY_LARGE = 1e-2
"""Equivalent displacements have equal energies, and forces that are equally large."""
CHANCE = 100
"""Steps of single precision by which the energies of two frames may differ and still come out equal: a sum of as many energies
of atoms is rounded in each of them."""


def extreme_force(labels: Labels) -> str:
    """Which force is larger than any that molecular dynamics reaches; empty where none is."""
    assert labels.forces is not None
    largest = np.linalg.norm(labels.forces, axis=1)
    atom = int(np.argmax(largest))
    if largest[atom] <= LARGEST_FORCE:
        return ""
    return (
        f"a force of {largest[atom]:.3g} eV/A on atom {atom} (counted from 0) is no force of a frame that molecular "
        f"dynamics reaches; the limit is {LARGEST_FORCE:g} eV/A"
    )


def nonsense(atoms: Atoms, labels: Labels) -> str:
    """Why this cannot be the label of a frame; empty where it can. Energy and forces must be there, and finite."""
    assert labels.energy is not None
    assert labels.forces is not None
    wrong = impossible_energy(labels.energy, len(atoms))
    if wrong:
        return wrong
    if labels.stress is not None and (wrong := impossible_stress(labels.stress)):
        return wrong
    if not labels.forces.any() and displaced(atoms):
        return "all forces are exactly zero, though the atoms are displaced from symmetric sites"
    return ""


def repetition(atoms: Atoms, labels: Labels, before: tuple[Atoms, Labels]) -> str:
    """Why these are the numbers of the frame before and not of this one; empty where they are not."""
    earlier, last = before
    assert labels.forces is not None
    if last.forces is None or last.forces.shape != labels.forces.shape or copies([earlier, atoms]):
        return ""
    if labels.forces.any() and np.array_equal(labels.forces, last.forces):
        return "the forces are those of the frame before, digit for digit, though the atoms have moved"
    sizes = [float(np.linalg.norm(forces)) for forces in (last.forces, labels.forces)]
    if (
        labels.energy == last.energy
        and abs(sizes[0] - sizes[1]) > EQUALLY_LARGE * max(sizes)
        and not _within_single_precision(earlier, atoms, last, labels)
    ):
        return f"the energy is that of the frame before, to the last digit ({labels.energy} eV), with other forces"
    return ""


def _within_single_precision(earlier: Atoms, atoms: Atoms, last: Labels, labels: Labels) -> bool:
    """Whether two energies of single precision can be equal by chance: by the forces they differ by less than it can tell.

    Networks compute in single precision, and the energies of small displacements then take few values. By the forces the
    energies differ by -(F1 + F2) . (r2 - r1) / 2, up to the third order.
    """
    assert labels.energy is not None
    assert labels.forces is not None
    assert last.forces is not None
    n = len(atoms)
    # Of the cell or of an atom, as programs multiply.
    steps = [k * float(np.spacing(np.float32(abs(labels.energy) / k))) for k in (1, n) if _is_single(labels.energy / k)]
    if not steps or not np.array_equal(earlier.cell.array, atoms.cell.array):
        return False
    moved = find_mic(atoms.positions - earlier.positions, atoms.cell, atoms.pbc)[0]
    expected = -0.5 * float(np.sum((last.forces + labels.forces) * moved))
    return abs(expected) <= CHANCE * max(steps)


def _is_single(number: float) -> bool:
    return float(np.float32(number)) == number
