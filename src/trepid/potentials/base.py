"""What every potential offers: a prediction with its uncertainty, and learning from labelled frames.

Vocabulary
----------
label        an energy (eV), force components (eV/A) or stress (eV/A^3, Voigt xx yy zz yz xz xy, tension positive,
             as in ASE)
uncertainty  one standard deviation, epistemic: of the model, without the noise of the labels
noise        one standard deviation of a label around the best model of this form
frame        one configuration of atoms, an `ase.Atoms`
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

FloatArray = NDArray[np.float64]


class Uncertainty(str, Enum):
    """How much a potential should compute about what it does not know."""

    EXACT = "exact"
    """The full posterior (or the full committee)."""
    LIVE = "live"
    """A cheap lower bound of the force uncertainty, fit for every step of a long simulation."""
    NONE = "none"
    """Mean only."""


@dataclass(frozen=True)
class Prediction:
    """Energy, forces and stress of one frame with one standard deviation each.

    Attributes
    ----------
    energy : float
        Potential energy, eV.
    forces : (n_atoms, 3) array
        eV/A.
    stress : (6,) array or None
        Voigt xx yy zz yz xz xy, eV/A^3, tension positive. None where the frame has no volume.
    energy_uncertainty : float or None
        eV. None where it was not asked for (see `Uncertainty`).
    forces_uncertainty : (n_atoms, 3) array or None
        eV/A.
    stress_uncertainty : (6,) array or None
        eV/A^3.
    atom_energies : (n_atoms,) array or None
        Share of every atom in the energy, eV; they add up to `energy`. None where the potential has no such shares.
    energy_ensemble : (n_members,) array or None
        Energies of the members of a committee, eV; None for other potentials, as below.
    forces_ensemble : (n_members, n_atoms, 3) array or None
        eV/A.
    stress_ensemble : (n_members, 6) array or None
        eV/A^3.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    energy_uncertainty: float | None = None
    forces_uncertainty: FloatArray | None = None
    stress_uncertainty: FloatArray | None = None
    atom_energies: FloatArray | None = None
    energy_ensemble: FloatArray | None = None
    forces_ensemble: FloatArray | None = None
    stress_ensemble: FloatArray | None = None

    @property
    def atom_uncertainty(self) -> FloatArray:
        """Force uncertainty of every atom, (n_atoms,), eV/A: the Euclidean norm over x, y and z."""
        if self.forces_uncertainty is None:
            raise ValueError("this prediction was made without uncertainty")
        return np.asarray(np.linalg.norm(self.forces_uncertainty, axis=1), dtype=np.float64)

    @property
    def frame_uncertainty(self) -> float:
        """Force uncertainty of the frame, eV/A: the maximum over its atoms."""
        return float(self.atom_uncertainty.max())


@dataclass(frozen=True)
class Noise:
    """One standard deviation of each label kind around the model.

    Attributes
    ----------
    energy : float
        eV per square root of an atom: an energy label of n atoms scatters by `energy * sqrt(n)`.
    forces : float
        eV/A per component.
    stress : float
        eV/A^3 per component.
    large_force : float
        eV/A. Models describe violent configurations less well: the noise on an atom with force F is `forces * sqrt(1 +
        |F|^2 / large_force^2)`, and energy and stress of a frame follow its largest force. Infinite for a noise that is
        the same everywhere.
    """

    energy: float
    forces: float
    stress: float
    large_force: float = math.inf

    def multiplier(self, forces: FloatArray) -> FloatArray:
        """sqrt(1 + |F|^2 / large_force^2) of every atom, (n_atoms,), for forces (n_atoms, 3) in eV/A."""
        return np.sqrt(1 + (np.linalg.norm(forces, axis=1) / self.large_force) ** 2)

    def of_forces(self, forces: FloatArray) -> FloatArray:
        """Noise of a force component on every atom, (n_atoms,), eV/A."""
        return self.forces * self.multiplier(forces)

    def of_energy(self, forces: FloatArray) -> float:
        """Noise of the energy of a frame with these forces (n_atoms, 3), eV."""
        return float(self.energy * np.sqrt(len(forces)) * self.multiplier(forces).max())

    def of_stress(self, forces: FloatArray) -> float:
        """Noise of a stress component of a frame with these forces, eV/A^3."""
        return float(self.stress * self.multiplier(forces).max())


class Potential(ABC):
    """A potential that learns from labelled frames and says how sure it is."""

    species: tuple[str, ...]

    @property
    @abstractmethod
    def n_frames(self) -> int:
        """Number of labelled frames the potential was trained on."""

    @property
    @abstractmethod
    def noise(self) -> Noise:
        """Noise of the labels as inferred from them."""

    @abstractmethod
    def fit(self, frames: Sequence[Atoms]) -> Potential:
        """Train from nothing on `frames`, hyperparameters included."""

    @abstractmethod
    def update(self, frames: Sequence[Atoms]) -> Potential:
        """Add `frames` to what is known; hyperparameters stay."""

    @abstractmethod
    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Predict one frame."""

    def energy_difference_uncertainty(
        self, atoms: Atoms, other: Atoms, *, predictions: tuple[Prediction, Prediction] | None = None
    ) -> float:
        """One standard deviation (epistemic) of E(atoms) - E(other), eV.

        Of members, the spread (n - 1 in the denominator) of their differences. Of a potential without members that of E(atoms),
        as if the other energy were known; 0 where it has none.

        Parameters
        ----------
        atoms, other : Atoms
        predictions : pair of Prediction, optional
            The exact ones of the two frames, where they are at hand.
        """
        here, there = predictions or (self.predict(frame, uncertainty=Uncertainty.EXACT) for frame in (atoms, other))
        if here.energy_ensemble is not None and there.energy_ensemble is not None:
            return float(np.std(here.energy_ensemble - there.energy_ensemble, ddof=1))
        return here.energy_uncertainty or 0.0

    @abstractmethod
    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        """ASE calculator; its results carry `forces_uncertainty` unless uncertainty is 'none'."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write one file, atomically."""
