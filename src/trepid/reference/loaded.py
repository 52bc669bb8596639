"""What stays loaded between labels, and the test that its labels do not depend on the frames before.

A neural network takes seconds to be read from disk and milliseconds to be evaluated. It can be kept, but a label must depend
on the frame alone: a calculator that starts from the density of the last frame cannot. So the first frame of every
composition is computed twice, with another frame in between, before its label is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from trepid.data.formula import formula_of
from trepid.data.frames import Labels
from trepid.errors import ConfigError

ROUND_OFF_ENERGY = 1e-6
"""Largest difference of two energies of a frame, in parts of the energy, or eV where that is below 1 eV. Single precision
resolves 6e-8."""
ROUND_OFF_FORCES = 1e-5
"""Of forces, in parts of the largest one, or eV/A where that is below 1 eV/A. Networks in single precision repeat theirs to the
last digit on a processor and to some 1e-6 on a GPU; GFN1-xTB from the last density gives others by 3e-4 eV/A."""
ROUND_OFF_STRESS = 1e-6
"""Of stresses, eV/A^3: 0.16 MPa."""
_BETWEEN_A = 0.02
"""How far the atoms of the frame in between are displaced, A."""
_SEED = 20_260_101


class LoadedEngine:
    """Labels from something that stays loaded, whose memory of earlier frames is tested once per composition.

    Parameters
    ----------
    name : str
        Of the reference, for messages.
    compute : callable
        Labels of a frame, with what is loaded. Its errors pass through.
    remedy : str
        What to do where the labels depend on the frames before.
    """

    def __init__(self, name: str, compute: Callable[[Atoms], Labels], *, remedy: str) -> None:
        self._name, self._compute, self._remedy = name, compute, remedy
        self._tested: set[tuple[bytes, bytes]] = set()
        self._before: tuple[Atoms, Labels] | None = None

    def labels(self, atoms: Atoms) -> Labels:
        """Labels of a frame.

        The first one of a composition is computed twice: with a frame of an earlier composition in between, whose labels
        must be those of before, or else with a copy of it whose atoms are slightly displaced.

        Raises
        ------
        ConfigError
            Two labels of one frame differ by more than round-off.
        """
        composition = (atoms.numbers.tobytes(), np.asarray(atoms.pbc).tobytes())
        labels = self._compute(atoms.copy())
        if not complete(labels):
            return labels  # the reference refuses them; the test waits for a label
        if composition not in self._tested:
            if self._before is None:
                self._compute(_displaced(atoms))
            else:
                frame, earlier = self._before
                self._compare(frame, earlier, self._compute(frame.copy()))
            # The second result is the one to use: compiled networks change their last digits once, as they warm up.
            first, labels = labels, self._compute(atoms.copy())
            self._compare(atoms, first, labels)
            self._tested.add(composition)
        self._before = (atoms, labels)
        return labels

    def _compare(self, atoms: Atoms, first: Labels, second: Labels) -> None:
        told = difference(first, second)
        if told:
            raise ConfigError(
                f"{self._name}: two labels of one frame of {formula_of(atoms)} differ, with another frame between "
                f"them: {told}. Labels must not depend on the frames before; {self._remedy}"
            )


def complete(labels: Labels) -> bool:
    """Whether there are energy and forces, and all numbers are finite."""
    parts = (labels.energy, labels.forces, labels.stress)
    there = labels.energy is not None and labels.forces is not None
    return there and all(np.isfinite(part).all() for part in parts if part is not None)


def difference(first: Labels, second: Labels) -> str:
    """How two labels of one frame differ by more than round-off, in a few words; empty where they do not."""
    if first.kinds != second.kinds:
        return f"{', '.join(first.kinds)} and then {', '.join(second.kinds)}"
    if first.energy is not None and second.energy is not None:
        energy = abs(first.energy - second.energy)
        if not energy <= ROUND_OFF_ENERGY * max(1.0, abs(first.energy)):
            return f"energies by {energy:.2g} eV"
    if first.forces is not None and second.forces is not None:
        if first.forces.shape != second.forces.shape:
            return f"forces of shape {first.forces.shape} and then {second.forces.shape}"
        forces = float(np.abs(first.forces - second.forces).max(initial=0.0))
        if not forces <= ROUND_OFF_FORCES * max(1.0, float(np.abs(first.forces).max(initial=0.0))):
            return f"forces by {forces:.2g} eV/A"
    if first.stress is not None and second.stress is not None:
        stress = float(np.abs(first.stress - second.stress).max())
        if not stress <= ROUND_OFF_STRESS:
            return f"stresses by {stress:.2g} eV/A^3"
    return ""


def _displaced(atoms: Atoms) -> Atoms:
    """A copy with displaced atoms, always the same for one frame."""
    copy = atoms.copy()
    copy.positions += np.random.default_rng(_SEED).normal(0.0, _BETWEEN_A, copy.positions.shape)
    return copy
