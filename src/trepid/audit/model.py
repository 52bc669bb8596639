"""The model that is audited: a potential of trepid, or any method that gives energies and forces, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ase.calculators.calculator import Calculator

from trepid.data.frames import Labels
from trepid.potentials.base import Potential, Prediction, Uncertainty
from trepid.reference.as_calculator import ReferenceCalculator
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms


class AuditedModel(ABC):
    """What an audit needs of a model."""

    @abstractmethod
    def calculator(self) -> Calculator:
        """ASE calculator of energy and forces, without uncertainty."""

    @abstractmethod
    def predict(self, atoms: Atoms) -> Prediction:
        """Energy and forces of a frame, with uncertainty where the model has one."""

    @abstractmethod
    def describe(self) -> Mapping[str, str | float | int]:
        """What it is, for the certificate."""

    def difference_std(self, atoms: Atoms, other: Atoms) -> float | None:
        """One standard deviation of E(atoms) - E(other), eV; None where the model announces none."""
        return None

    def conditioned(self, frames: Sequence[Atoms], labels: Sequence[Labels]) -> Potential | None:
        """The model as it would be with these labels, by its own posterior; None where it has none."""
        return None

    def close(self) -> None:  # noqa: B027 most hold nothing
        """End the processes that the model has started."""


class PotentialModel(AuditedModel):
    """A potential of trepid: a Bayesian force field or a committee.

    Parameters
    ----------
    potential : Potential
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential

    def calculator(self) -> Calculator:
        """ASE calculator of the mean."""
        return self.potential.calculator(uncertainty=Uncertainty.NONE)

    def predict(self, atoms: Atoms) -> Prediction:
        """The exact prediction."""
        return self.potential.predict(atoms, uncertainty=Uncertainty.EXACT)

    def describe(self) -> Mapping[str, str | float | int]:
        """Kind, species and number of training frames."""
        return {
            "kind": type(self.potential).__name__,
            "species": " ".join(self.potential.species),
            "n_frames": self.potential.n_frames,
        }

    def difference_std(self, atoms: Atoms, other: Atoms) -> float | None:
        """Of the posterior, or the spread of the members."""
        return self.potential.energy_difference_uncertainty(atoms, other)

    def conditioned(self, frames: Sequence[Atoms], labels: Sequence[Labels]) -> Potential | None:
        """Of a Bayesian force field."""
        return self.potential.conditioned(frames, labels)

    def close(self) -> None:
        """End the processes of the members."""
        self.potential.close()


class EngineModel(AuditedModel):
    """Any method that labels frames: an ASE calculator by name and parameters, a potential of LAMMPS, tight binding.

    Parameters
    ----------
    engine : Reference
    """

    def __init__(self, engine: Reference) -> None:
        self.engine = engine

    def calculator(self) -> Calculator:
        """ASE calculator that asks the engine, however large its forces are where the model is wrong."""
        return ReferenceCalculator(self.engine, labels=False)

    def predict(self, atoms: Atoms) -> Prediction:
        """Energy and forces, without uncertainty."""
        labels = self.engine.evaluate(atoms)
        assert labels.energy is not None
        assert labels.forces is not None
        return Prediction(energy=labels.energy, forces=labels.forces, stress=labels.stress)

    def describe(self) -> Mapping[str, str | float | int]:
        """Engine, version and parameters."""
        return self.engine.describe()

    def close(self) -> None:
        """End the process of the engine."""
        self.engine.close()
