"""What cannot be a label or a geometry at all, whatever the method: absolute limits, in one place.

energy     2e6 eV per atom: the total energy of the heaviest atom, all electrons counted, is 1.5e6 eV
force      1e5 eV/A: two protons 0.012 A apart, a tenth of what any collision of atoms comes to
stress     1e3 eV/A^3, 160 TPa: the pressure inside Jupiter is 5 TPa
position   1e7 A, a millimetre: differences of larger numbers lose the eighth decimal, and with it the forces
"""

from __future__ import annotations

import numpy as np
from ase import Atoms

from trepid.arrays import FloatArray

LARGEST_ENERGY_PER_ATOM = 2e6
LARGEST_FORCE = 1e5
LARGEST_STRESS = 1e3
FARTHEST = 1e7


def impossible_energy(energy: float, n_atoms: int) -> str:
    """Why it cannot be the energy (eV) of a frame; empty where it can."""
    if abs(energy) <= LARGEST_ENERGY_PER_ATOM * max(n_atoms, 1):
        return ""
    return (
        f"an energy of {energy:.3g} eV for {n_atoms} atoms is impossible: no atom has more than "
        f"{LARGEST_ENERGY_PER_ATOM:.0e} eV"
    )


def impossible_forces(forces: FloatArray) -> str:
    """Why they cannot be forces (n_atoms, 3), eV/A; empty where they can."""
    largest = np.abs(forces).max(axis=1, initial=0.0)
    if not len(largest) or largest.max() <= LARGEST_FORCE:
        return ""
    atom = int(np.argmax(largest))
    return (
        f"a force of {largest[atom]:.3g} eV/A on atom {atom} (counted from 0) is impossible: above {LARGEST_FORCE:g} eV/A "
        "nuclei would touch"
    )


def impossible_stress(stress: FloatArray) -> str:
    """Why it cannot be a stress (6,), eV/A^3; empty where it can."""
    largest = float(np.abs(stress).max(initial=0.0))
    if largest <= LARGEST_STRESS:
        return ""
    return f"a stress of {largest:.3g} eV/A^3 is impossible (limit {LARGEST_STRESS:g} eV/A^3): is it in another unit?"


def impossible_geometry(atoms: Atoms) -> str:
    """Why the numbers cannot be positions and cell, A; empty where they can. They must be finite."""
    largest = np.abs(atoms.positions).max(axis=1, initial=0.0)
    if len(largest) and largest.max() > FARTHEST:
        atom = int(np.argmax(largest))
        return f"atom {atom} (counted from 0) is at {atoms.positions[atom].tolist()}: positions beyond {FARTHEST:.0e} A"
    longest = float(np.abs(atoms.cell.array).max())
    return "" if longest <= FARTHEST else f"a cell vector of {longest:.3g} A is longer than {FARTHEST:.0e} A"
