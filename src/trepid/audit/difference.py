"""The difference of two energy surfaces, reference minus model, learned from the labels of an audit.

Both surfaces are sums over atoms and their neighbours, and so is their difference, which is the smaller the better the model is:
a Bayesian force field learns it from the same labels (delta learning: R. Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087
(2015)), and takes over to a frame what other frames show of the same neighbourhoods. What it leaves of the labels, since its cutoff
is finite or its terms are few, goes to a process in all coordinates (`trepid.audit.correction`), which knows nothing of atoms. Both
errors count in the bar.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from trepid.arrays import rms
from trepid.audit.correction import FORCE_NOISE_EV_PER_A, DifferenceProcess, coordinates
from trepid.data.frames import LabelKeys
from trepid.errors import TrepidError
from trepid.potentials.base import Uncertainty
from trepid.potentials.bayesian import BayesianForceField

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import FloatArray
    from trepid.audit.event_class import LabelledPoint

logger = logging.getLogger(__name__)

N_PAIR, N_RADIAL, L_MAX = 12, 6, 3
"""Sizes of the force field: a few labels tell no more, and it is fitted after every label."""
_KEYS = LabelKeys()


class LearnedDifference:
    """Energy and forces of the difference, and how well they are known.

    Parameters
    ----------
    points : sequence of LabelledPoint
        One or more.
    origin : Atoms
        Coordinates of the process are displacements from it, by the nearest image.
    """

    def __init__(self, points: Sequence[LabelledPoint], origin: Atoms) -> None:
        self._origin = origin
        frames = [point.wanted.atoms for point in points]
        energies = np.array([point.energy - point.wanted.prediction.energy for point in points])
        forces = np.array([point.forces - point.wanted.prediction.forces for point in points])
        self._field = _trained(frames, energies, forces)
        if self._field is not None:
            self._calculator = self._field.calculator(uncertainty=Uncertainty.NONE)
            learned = [energy_and_forces(self._calculator, frame) for frame in frames]
            energies = energies - np.array([energy for energy, _ in learned])
            forces = forces - np.array([force for _, force in learned])
        places = np.array([coordinates(frame, origin) for frame in frames])
        self._rest = DifferenceProcess(places, energies, forces.reshape(len(frames), -1))

    def __call__(self, atoms: Atoms) -> tuple[float, FloatArray]:
        """Energy, eV, and forces, (n_atoms, 3), eV/A."""
        energy, forces = self._rest(coordinates(atoms, self._origin))
        forces = forces.reshape(-1, 3)
        if self._field is None:
            return energy, forces
        learned = energy_and_forces(self._calculator, atoms)
        return energy + learned[0], forces + learned[1]

    def std(self, atoms: Atoms, other: Atoms) -> float:
        """One standard deviation of the difference at one frame minus that at the other, eV."""
        rest = self._rest.std(coordinates(atoms, self._origin), coordinates(other, self._origin))
        learned = 0.0 if self._field is None else self._field.energy_difference_uncertainty(atoms, other)
        return float(np.hypot(rest, learned))


def energy_and_forces(calculator: Calculator, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy, eV, and forces, (n_atoms, 3), eV/A, of a frame, whatever its constraints."""
    frame = atoms.copy()
    frame.set_constraint()
    frame.calc = calculator
    return float(frame.get_potential_energy()), frame.get_forces()


def _trained(frames: Sequence[Atoms], energies: FloatArray, forces: FloatArray) -> BayesianForceField | None:
    """A force field of the difference; None where it has nothing to learn, or cannot."""
    if rms(forces) < FORCE_NOISE_EV_PER_A:
        return None
    labelled = []
    for frame, energy, force in zip(frames, energies, forces, strict=True):
        copy = frame.copy()
        copy.calc = None
        copy.set_constraint()
        copy.info = {_KEYS.energy: float(energy)}
        copy.arrays[_KEYS.forces] = force
        labelled.append(copy)
    field = BayesianForceField(
        sorted(set(frames[0].get_chemical_symbols())),
        n_pair=N_PAIR,
        n_radial=N_RADIAL,
        l_max=L_MAX,
        n_channels=0,
        live_rank=0,
    )
    try:
        return field.fit(labelled)
    except TrepidError as error:
        logger.warning("no force field of the difference between reference and model: %s", error)
        return None


class CorrectedCalculator(Calculator):
    """A model plus the difference that labels show.

    Parameters
    ----------
    model : Calculator
    difference : LearnedDifference
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, model: Calculator, difference: LearnedDifference) -> None:
        super().__init__()
        self._model, self._difference = model, difference

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = energy_and_forces(self._model, self.atoms)
        more, more_forces = self._difference(self.atoms)
        energy += more
        self.results = {"energy": energy, "free_energy": energy, "forces": forces + more_forces}
