"""A potential with a push towards what a committee disagrees about, for walkers; the push is `trepid.acquisition.bias`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes

from trepid.acquisition.bias import directions_of_ensemble, uncertainty_bias
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Noise, Potential, Prediction, Uncertainty

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
        raise ConfigError("walkers.bias needs a committee: this potential gives no members")
    energies, forces = directions_of_ensemble(prediction.energy_ensemble, prediction.forces_ensemble)
    energy, push = uncertainty_bias(energies, forces, strength=strength, largest_eV=largest_eV)
    return prediction.energy + energy, prediction.forces + push


class BiasedPotential(Potential):
    """What biased walkers walk on: the committee with the push in energy and forces. It cannot be trained or saved.

    Parameters
    ----------
    committee : Potential
        Whose predictions carry its members.
    strength : float
        eV of bias per eV of spread.
    largest_eV : float
        Largest bias, eV.
    """

    def __init__(self, committee: Potential, *, strength: float, largest_eV: float) -> None:
        self.committee = committee
        self.species = committee.species
        self.strength, self.largest_eV = strength, largest_eV

    @property
    def n_frames(self) -> int:
        """That of the committee."""
        return self.committee.n_frames

    @property
    def noise(self) -> Noise:
        """That of the committee."""
        return self.committee.noise

    def fit(self, frames: Sequence[Atoms]) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the committee")

    def update(self, frames: Sequence[Atoms]) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the committee")

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Biased energy and forces; the uncertainty is that of the committee without bias."""
        told = self.committee.predict(atoms, uncertainty=Uncertainty.EXACT)
        energy, forces = biased(told, strength=self.strength, largest_eV=self.largest_eV)
        return Prediction(
            energy,
            forces,
            energy_uncertainty=told.energy_uncertainty,
            forces_uncertainty=told.forces_uncertainty,
        )

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        """ASE calculator of energy and forces, the push included."""
        return _BiasedCalculator(self)

    def save(self, path: str | Path) -> None:
        """Not for a biased potential."""
        raise ConfigError("a biased potential has no file; save the committee")


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
