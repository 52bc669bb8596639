"""The difference of two energy surfaces, reference minus model, learned from the labels of an audit.

Both surfaces are sums over atoms and their neighbours, and so is their difference, which is the smaller the better the model is.
A model that is a Bayesian force field learns the labels itself: what it knows already, and how well, is the prior, so that a frame
far from all labels has the model's own energy, with its own error bar. Of any other model a Bayesian force field learns the
difference from the same labels (delta learning: R. Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015)), and takes over
to a frame what other frames show of the same neighbourhoods. What they leave of the labels, since their cutoffs are finite and
their terms few, goes to a process in all coordinates (`trepid.audit.correction`), which knows nothing of atoms. Both errors count
in the bar.
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
from trepid.potentials.base import Potential, Uncertainty
from trepid.potentials.bayesian import BayesianForceField

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import FloatArray
    from trepid.audit.event_class import LabelledPoint
    from trepid.audit.model import AuditedModel

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
    model : AuditedModel, optional
        One that knows how uncertain it is everywhere, and can learn the labels itself, says more than any other: the difference
        is then what they change in it.
    """

    def __init__(self, points: Sequence[LabelledPoint], origin: Atoms, *, model: AuditedModel | None = None) -> None:
        self._origin = origin
        frames = [point.wanted.atoms for point in points]
        energies = np.array([point.energy - point.wanted.prediction.energy for point in points])
        forces = np.array([point.forces - point.wanted.prediction.forces for point in points])
        self._learned = (None if model is None else _conditioned(points, model)) or _trained(frames, energies, forces)
        if self._learned is not None:
            learned = [self._learned(frame) for frame in frames]
            energies = energies - np.array([energy for energy, _ in learned])
            forces = forces - np.array([force for _, force in learned])
        places = np.array([coordinates(frame, origin) for frame in frames])
        self._rest = DifferenceProcess(places, energies, forces.reshape(len(frames), -1))

    def __call__(self, atoms: Atoms) -> tuple[float, FloatArray]:
        """Energy, eV, and forces, (n_atoms, 3), eV/A."""
        energy, forces = self._rest(coordinates(atoms, self._origin))
        forces = forces.reshape(-1, 3)
        if self._learned is None:
            return energy, forces
        learned = self._learned(atoms)
        return energy + learned[0], forces + learned[1]

    def std(self, atoms: Atoms, other: Atoms) -> float:
        """One standard deviation of the difference at one frame minus that at the other, eV."""
        rest = self._rest.std(coordinates(atoms, self._origin), coordinates(other, self._origin))
        learned = 0.0 if self._learned is None else self._learned.std(atoms, other)
        return float(np.hypot(rest, learned))


class _Learned:
    """The difference as a potential has learned it.

    Parameters
    ----------
    potential : Potential
    model : Calculator, optional
        What the difference is counted from, where the potential gives the whole surface.
    """

    def __init__(self, potential: Potential, model: Calculator | None = None) -> None:
        self._potential, self._model = potential, model
        self._calculator = potential.calculator(uncertainty=Uncertainty.NONE)

    def __call__(self, atoms: Atoms) -> tuple[float, FloatArray]:
        energy, forces = energy_and_forces(self._calculator, atoms)
        if self._model is None:
            return energy, forces
        without, forces_without = energy_and_forces(self._model, atoms)
        return energy - without, forces - forces_without

    def std(self, atoms: Atoms, other: Atoms) -> float:
        return self._potential.energy_difference_uncertainty(atoms, other)


def _conditioned(points: Sequence[LabelledPoint], model: AuditedModel) -> _Learned | None:
    """What the labels change in the model; None where it cannot learn them by itself."""
    try:
        with_labels = model.conditioned([point.wanted.atoms for point in points], [point.labels for point in points])
    except TrepidError as error:
        logger.warning("the model cannot learn the labels: %s", error)
        return None
    return None if with_labels is None else _Learned(with_labels, model.calculator())


def energy_and_forces(calculator: Calculator, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy, eV, and forces, (n_atoms, 3), eV/A, of a frame, whatever its constraints."""
    frame = atoms.copy()
    frame.set_constraint()
    frame.calc = calculator
    return float(frame.get_potential_energy()), frame.get_forces()


def _trained(frames: Sequence[Atoms], energies: FloatArray, forces: FloatArray) -> _Learned | None:
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
        return _Learned(field.fit(labelled))
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
