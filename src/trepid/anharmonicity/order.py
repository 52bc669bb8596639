"""Order of the atoms in the frames of a trajectory, frame by frame.

A harmonic reference compares every atom with the site of its number. A file whose atoms change their order from frame to
frame (a parallel program that writes atoms as they come, frames of several runs) gives displacements of half the crystal
instead. An order that changes is a jump between two frames: atoms that wander, in a melt or on a mobile sublattice, move
on from where they were in the frame before. So a frame is put in order only where most atoms of a species are nearer to
another site than to their own, and most were elsewhere in the frame before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic

from trepid.anharmonicity.harmonic import PERMUTED, HarmonicReference
from trepid.anharmonicity.matching import match_atoms, require_same_cell
from trepid.arrays import FloatArray
from trepid.data.formula import formula_of
from trepid.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


MOST_AWAY = 0.25
"""A frame in which more than this part of the atoms has no site of its own nearby is a melt, which has no order."""
MOST_MATCHES, DRIFT_A = 5, 0.05
"""Sites are matched again with the drift that the last match gives, until it changes by less."""


@dataclass(frozen=True)
class OrderedFrames:
    """Frames in the order of a harmonic reference.

    Attributes
    ----------
    frames : list of Atoms
    reordered : tuple of int
        Places of the frames that came in another order.
    exchanged : tuple of (int, tuple of int)
        Places of frames in which a few atoms, named by their numbers, stand on each other's sites and did not in the frame
        before: an event of the crystal, or two lines of the file exchanged. They are left as they are.
    melted : tuple of int
        Places of the frames that have neither the order of the one before nor a site for every atom; left as they are too.
    """

    frames: list[Atoms]
    reordered: tuple[int, ...]
    exchanged: tuple[tuple[int, tuple[int, ...]], ...]
    melted: tuple[int, ...]

    def remarks(self) -> list[str]:
        """What to say of them, one line each."""
        lines = []
        if self.reordered:
            lines.append(
                f"{len(self.reordered)} of {len(self.frames)} frames have their atoms in another order and were brought into "
                f"that of the crystal: frames {_first(self.reordered)}"
            )
        if self.melted:
            lines.append(
                f"frames {_first(self.melted)}: most atoms are elsewhere than in the frame before, and not near a site: has the "
                "crystal melted?"
            )
        for frame, atoms in self.exchanged[:8]:
            lines.append(
                f"frame {frame}: atoms {_first(atoms)} (counted from 0) have "
                "changed places since the frame before; if that is no event of the crystal, the order of the file differs there"
            )
        return lines


def _first(numbers: Sequence[int], most: int = 8) -> str:
    return ", ".join(map(str, numbers[:most])) + (", ..." if len(numbers) > most else "")


def in_order(reference: HarmonicReference, frames: Sequence[Atoms], *, where: str = "frame {}") -> OrderedFrames:
    """Bring every frame into the order of a reference.

    Parameters
    ----------
    reference : HarmonicReference
        In the order of the first frame.
    frames : sequence of Atoms
        Of one supercell; those in order are returned as they are.
    where : str
        How an error names a frame, with a place for its number.

    Raises
    ------
    DataError
        A frame of another supercell, or of other atoms.
    """
    result: list[Atoms] = []
    reordered, exchanged, melted = [], [], []
    before: FloatArray | None = None
    for number, frame in enumerate(frames):
        name = where.format(number)
        require_same_cell(frame, reference.supercell, where=name)
        if sorted(frame.numbers) != sorted(reference.supercell.numbers):
            raise DataError(
                f"{name} has the atoms {formula_of(frame)}, the harmonic reference {formula_of(reference.supercell)}"
            )
        ordered = frame
        if _permuted(reference, frame, before):
            found = _in_place(reference, frame, before, name)
            if found is None:
                melted.append(number)
            else:
                ordered = found
                reordered.append(number)
        elif before is not None and (swapped := _swapped(reference, frame, before)):
            exchanged.append((number, swapped))
        before = ordered.positions
        result.append(ordered)
    return OrderedFrames(result, tuple(reordered), tuple(exchanged), tuple(melted))


def _permuted(reference: HarmonicReference, frame: Atoms, before: FloatArray | None) -> bool:
    """Whether the atoms of a frame are in another order than those of the frame before; of the first one, than the sites."""
    numbers = reference.supercell.numbers
    if (frame.numbers != numbers).any():
        return True
    away = reference.away(frame.positions)
    if before is None:
        return bool(away.mean() > PERMUTED)
    if not away.any():
        return False
    jumped = away & _jumped(reference, frame.positions, before)
    return any(jumped[numbers == number].mean() > PERMUTED for number in np.unique(numbers))


def _jumped(reference: HarmonicReference, positions: FloatArray, before: FloatArray) -> np.ndarray:
    """Which atoms are nearer to another place of the frame before than to their own, by half the distance of sites."""
    step = np.asarray(find_mic(positions - before, reference.supercell.cell, reference.supercell.pbc)[0])
    # Most atoms may have jumped: the shift of the whole is that of the middle atom.
    step = np.asarray(find_mic(step - np.median(step, axis=0), reference.supercell.cell, reference.supercell.pbc)[0])
    return np.asarray(np.linalg.norm(step, axis=1) > 0.5 * reference.neighbour_distance)


def _in_place(reference: HarmonicReference, frame: Atoms, before: FloatArray | None, where: str) -> Atoms | None:
    """The frame with its atoms in the order of the sites; None where most have no site near, as in a melt."""
    cell, pbc = reference.supercell.cell, reference.supercell.pbc
    shift = np.zeros(3)
    if before is not None:  # the drift so far, up to cell vectors
        shift = (before - reference.supercell.positions - reference.displacements_of(before))[0]
    for _ in range(MOST_MATCHES):
        shifted = reference.supercell.copy()
        shifted.positions += shift
        sites = match_atoms(frame, shifted, tolerance_A=math.inf, where=where, names="the harmonic reference")
        order = np.argsort(sites)
        off = np.asarray(find_mic(frame.positions[order] - shifted.positions, cell, pbc)[0]).mean(axis=0)
        shift = shift + off
        if np.linalg.norm(off) < DRIFT_A:
            break
    free = frame.copy()
    free.calc = None
    free.set_constraint()
    ordered = free[order]
    return ordered if reference.away(ordered.positions).mean() <= MOST_AWAY else None


def _swapped(reference: HarmonicReference, frame: Atoms, before: FloatArray) -> tuple[int, ...]:
    """Atoms that have jumped onto the sites of each other since the frame before."""
    away = np.flatnonzero(reference.away(frame.positions) & _jumped(reference, frame.positions, before))
    if len(away) < 2:
        return ()
    cell, pbc = reference.supercell.cell, reference.supercell.pbc
    places = reference.supercell.positions[away] + reference.displacements_of(frame.positions)[away]
    sites = reference.supercell.positions[away]
    vectors = (places[:, None] - sites[None]).reshape(-1, 3)
    distances = np.asarray(find_mic(vectors, cell, pbc)[1]).reshape(len(away), len(away))
    distances[reference.supercell.numbers[away][:, None] != reference.supercell.numbers[away][None]] = np.inf
    nearest = distances.argmin(axis=1)
    on_site = distances.min(axis=1) < 0.5 * reference.neighbour_distance[away]
    closed = on_site & np.isin(np.arange(len(away)), nearest[on_site])
    return tuple(int(atom) for atom in away[closed])
