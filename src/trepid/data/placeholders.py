"""Labels that were never computed: zeros of held atoms, of kinds that a code left out, and numbers that repeat.

Vocabulary
----------
placeholder   a number where a label belongs, which is not the result of the reference for this frame
held          fixed by a constraint of the file; ASE sets the forces of held atoms to zero
asymmetry     sum of unit vectors to the neighbours, weighted by distance: zero where symmetry makes the force zero
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from trepid.arrays import FloatArray

SYMMETRIC = 1e-3
"""Asymmetry below which a force can be zero by symmetry: displacements of 0.01 A have a few times that."""
REACH = 1.6
"""Of the neighbours, in sums of covalent radii."""
EXPECTED_BY_ROUNDING = 0.01
"""Zeros are placeholders where rounded forces would have fewer of them than this."""
FEWEST_EQUAL = 3
"""Equal energies that are no coincidence."""


def held_components(atoms: Atoms, forces: FloatArray) -> NDArray[np.bool_]:
    """Force components (n_atoms, 3) that a constraint of the frame holds and that are exactly zero: no labels."""
    held = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            held[constraint.index] = True
        elif isinstance(constraint, FixCartesian):
            held[constraint.index] |= np.asarray(constraint.mask, dtype=bool)
    return np.asarray(held & (forces == 0.0))


def asymmetry(atoms: Atoms) -> FloatArray:
    """Components (n_atoms, 3) of the asymmetry; see the vocabulary."""
    first, distance, vector = neighbor_list("idD", atoms, REACH * covalent_radii[atoms.numbers])
    radii = covalent_radii[atoms.numbers]
    reach = REACH * 2 * float(radii.max(initial=1.0))
    weights = np.maximum(1 - distance / reach, 0.0) ** 2
    total = np.zeros((len(atoms), 3))
    kept = distance > 1e-6
    np.add.at(total, first[kept], (weights[kept] / distance[kept])[:, None] * vector[kept])
    return total


def displaced(atoms: Atoms) -> bool:
    """Whether some force cannot be zero by symmetry."""
    return bool(np.abs(asymmetry(atoms)).max(initial=0.0) > SYMMETRIC)


def zeroed_atoms(atoms: Atoms, forces: FloatArray) -> NDArray[np.intp]:
    """Atoms whose forces are exactly zero though symmetry does not demand it, while others have forces."""
    zero = ~forces.any(axis=1)
    if not zero.any() or zero.all():
        return np.empty(0, dtype=np.intp)
    asymmetric = np.abs(asymmetry(atoms)).max(axis=1) > SYMMETRIC
    found = np.flatnonzero(zero & asymmetric)
    sizes = np.abs(forces[forces != 0])
    # Rounded to multiples of q, a component of rms size s is zero with a probability of about 0.4 q / s.
    chance = min(1.0, 0.4 * float(sizes.min()) / float(np.sqrt(np.mean(sizes**2))))
    return found if len(forces) * chance**3 < EXPECTED_BY_ROUNDING else np.empty(0, dtype=np.intp)


def repeated(arrays: Sequence[FloatArray | None]) -> Iterator[tuple[int, int]]:
    """Pairs (first, later) of frames with the same array, digit for digit, that is not zero."""
    seen: dict[bytes, int] = {}
    for k, array in enumerate(arrays):
        if array is None or not array.any():
            continue
        first = seen.setdefault(array.tobytes(), k)
        if first != k:
            yield first, k


def constant_energies(energies: Sequence[float | None], groups: Sequence[object]) -> Iterator[tuple[float, list[int]]]:
    """Energies that all frames of one group (composition) share to the last digit, with the frames."""
    members: dict[object, list[int]] = defaultdict(list)
    for k, (energy, group) in enumerate(zip(energies, groups, strict=True)):
        if energy is not None:
            members[group].append(k)
    for own in members.values():
        values = {energies[k] for k in own}
        if len(own) >= FEWEST_EQUAL and len(values) == 1:
            (value,) = values
            if value is not None:
                yield value, own
