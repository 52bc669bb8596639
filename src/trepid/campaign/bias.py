"""Potentials with a push towards what they do not know, for walkers; the push is `trepid.acquisition.bias`.

A committee is pushed to where its members disagree, a Bayesian force field along its live directions. The push is part of
the dynamics alone: what a walker notes of a frame, energies, forces and their uncertainty, is what the potential itself says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from trepid.acquisition.bias import directions_of_ensemble, uncertainty_bias
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Noise, Potential, Prediction, Uncertainty
from trepid.potentials.bayesian.biased import BiasedCalculator
from trepid.potentials.bayesian.force_field import BayesianForceField

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms


def biased(prediction: Prediction, *, strength: float, largest_eV: float) -> tuple[float, FloatArray]:
    """Energy (eV) and forces (n_atoms, 3) (eV/A) of the biased committee.

    Raises
    ------
    ConfigError
        The prediction carries no members.
    """
    if prediction.energy_ensemble is None or prediction.forces_ensemble is None:
        raise ConfigError("walkers.bias needs a Bayesian force field or a committee: this potential gives no members")
    energies, forces = directions_of_ensemble(prediction.energy_ensemble, prediction.forces_ensemble)
    energy, push = uncertainty_bias(energies, forces, strength=strength, largest_eV=largest_eV)
    return prediction.energy + energy, prediction.forces + push


def biased_potential(potential: Potential, crystal: Atoms, *, strength: float, largest_eV: float) -> Potential:
    """The potential with the push: what biased walkers walk on.

    Parameters
    ----------
    potential : Potential
        A Bayesian force field, or one whose predictions carry its members.
    crystal : Atoms
        Where the walk begins; the uncertainty of a Bayesian force field is taken relative to its energy.
    strength : float
        eV of bias per eV of uncertainty.
    largest_eV : float
        Largest bias, eV.
    """
    if isinstance(potential, BayesianForceField):
        return BiasedForceField(potential, crystal, strength=strength, largest_eV=largest_eV)
    return BiasedPotential(potential, strength=strength, largest_eV=largest_eV)


class BiasedPotential(Potential):
    """What biased walkers walk on: the committee with the push in energy and forces. It cannot be trained or saved.

    Parameters
    ----------
    unbiased : Potential
        Whose predictions carry its members.
    strength : float
        eV of bias per eV of spread.
    largest_eV : float
        Largest bias, eV.
    """

    def __init__(self, unbiased: Potential, *, strength: float, largest_eV: float) -> None:
        self.unbiased = unbiased
        self.species = unbiased.species
        self.strength, self.largest_eV = strength, largest_eV

    @property
    def n_frames(self) -> int:
        """That of the potential."""
        return self.unbiased.n_frames

    @property
    def noise(self) -> Noise:
        """That of the potential."""
        return self.unbiased.noise

    def fit(self, frames: Sequence[Atoms]) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the one without bias")

    def update(self, frames: Sequence[Atoms]) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the one without bias")

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Biased energy and forces; the uncertainty is that of the potential without bias."""
        told = self.unbiased.predict(atoms, uncertainty=Uncertainty.EXACT)
        energy, forces = self._with_push(atoms, told)
        return Prediction(
            energy,
            forces,
            energy_uncertainty=told.energy_uncertainty,
            forces_uncertainty=told.forces_uncertainty,
        )

    def energy_difference_uncertainty(
        self, atoms: Atoms, other: Atoms, *, predictions: tuple[Prediction, Prediction] | None = None
    ) -> float:
        """That of the potential without bias; `predictions` of the biased one do not tell it."""
        return self.unbiased.energy_difference_uncertainty(atoms, other)

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        """ASE calculator of energy and forces, the push included."""
        return _BiasedCalculator(self)

    def save(self, path: str | Path) -> None:
        """Not for a biased potential."""
        raise ConfigError("a biased potential has no file; save the one without bias")

    def _with_push(self, atoms: Atoms, told: Prediction) -> tuple[float, FloatArray]:
        return biased(told, strength=self.strength, largest_eV=self.largest_eV)


class BiasedForceField(BiasedPotential):
    """The Bayesian force field with the push along its live directions.

    Parameters
    ----------
    unbiased : BayesianForceField
        With live directions, else ConfigError.
    crystal : Atoms
        Frame whose energy is taken as known.
    strength : float
        eV of bias per eV of uncertainty.
    largest_eV : float
        Largest bias, eV.
    """

    def __init__(self, unbiased: BayesianForceField, crystal: Atoms, *, strength: float, largest_eV: float) -> None:
        super().__init__(unbiased, strength=strength, largest_eV=largest_eV)
        self._calculator = BiasedCalculator(unbiased, crystal, strength=strength, largest_eV=largest_eV)

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> BiasedCalculator:
        """ASE calculator of energy and forces, the push included."""
        return self._calculator

    def _with_push(self, atoms: Atoms, told: Prediction) -> tuple[float, FloatArray]:
        self._calculator.calculate(atoms)
        results: dict[str, Any] = self._calculator.results
        return float(results["energy"]), np.asarray(results["forces"])


class _BiasedCalculator(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, potential: BiasedPotential) -> None:
        super().__init__()
        self._potential = potential

    def calculate(
        self, atoms: Any = None, properties: Sequence[str] = ("energy",), system_changes: Sequence[str] = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        prediction = self._potential.predict(self.atoms)
        self.results = {"energy": prediction.energy, "forces": prediction.forces}
