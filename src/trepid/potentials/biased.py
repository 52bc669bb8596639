r"""Dynamics with a bias towards uncertain configurations: the bias as a pure function, a biased potential, its calculator.

Vocabulary
----------
directions    r = 1..R, independent ways in which the energy may be wrong, e_r in eV with forces F_r = -grad e_r in eV/A:
              the members of a committee about their mean, or the live directions of a Bayesian force field
U             energy uncertainty sqrt(sum_r e_r^2), eV; of a Bayesian force field relative to a reference frame
bias          - largest tanh(strength U / largest), eV: `strength` times U at first, never more than `largest`

The gradient of the exact energy variance of a Gaussian process is costly. The live directions are a low-rank root of its
covariance and each of them is a potential: their energies and forces give the live variance of the energy and its gradient by
R + 1 evaluations of the model (R = 16), linear in the number of atoms.

As in uncertainty-driven dynamics (Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023)) the bias is bounded: an unbounded one
drives the atoms into unphysical configurations, where every model is most uncertain. The trajectory does not sample the
canonical ensemble: use it to find candidates for labels, not for averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray, Noise, Potential, Prediction, Uncertainty

SMALLEST_EV = 1e-3
"""U below which the bias is quadratic in it: U itself has a cusp at zero, where forces would jump."""


def uncertainty_bias(
    energies: ArrayLike, forces: ArrayLike, *, strength: float, largest_eV: float
) -> tuple[float, FloatArray]:
    """Bias energy (eV) and bias forces (n_atoms, 3) in eV/A, to be added to those of the model.

    Parameters
    ----------
    energies : (R,) array
        e_r, eV.
    forces : (R, n_atoms, 3) array
        F_r, eV/A.
    strength : float
        eV of bias per eV of uncertainty; positive.
    largest_eV : float
        Bound of the bias, positive.

    Raises
    ------
    ConfigError
        A setting is not positive.
    DataError
        Shapes that do not fit.
    """
    _check(strength, largest_eV)
    e = np.asarray(energies, dtype=np.float64)
    f = np.asarray(forces, dtype=np.float64)
    if e.ndim != 1 or f.shape[:1] != e.shape or f.shape[2:] != (3,):
        raise DataError(f"energies have shape {e.shape}, forces {f.shape}: (R,) and (R, n_atoms, 3) are needed")
    rounded = float(np.sqrt(e @ e + SMALLEST_EV**2))
    x = strength * (rounded - SMALLEST_EV) / largest_eV
    slope = strength / np.cosh(min(x, 300.0)) ** 2 / rounded
    return -largest_eV * float(np.tanh(x)), -slope * np.tensordot(e, f, axes=1)


def _check(strength: float, largest_eV: float) -> None:
    if not (strength > 0.0 and largest_eV > 0.0):
        raise ConfigError(f"strength is {strength}, largest_eV {largest_eV}: both must be positive")


@dataclass(frozen=True)
class BiasedFrame:
    """One frame with its bias.

    Attributes
    ----------
    unbiased : Prediction
        Of the potential itself.
    energy : float
        Bias energy, eV; never positive.
    forces : (n_atoms, 3) array
        Bias forces, eV/A.
    energy_uncertainty : float
        U, eV.
    """

    unbiased: Prediction
    energy: float
    forces: FloatArray
    energy_uncertainty: float


class Bias:
    """The bias of one potential, as the potential is now.

    Parameters
    ----------
    potential : Potential
        The bias follows its `bias_directions`.
    reference : Atoms
        Frame whose energy is taken as certain, such as the crystal; same atoms in the same order.
    strength : float
        eV of bias per eV of uncertainty.
    largest_eV : float
        Bound of the bias.

    Raises
    ------
    ConfigError
        A setting is not positive, or a Bayesian force field has no live directions.
    """

    def __init__(self, potential: Potential, reference: Atoms, *, strength: float, largest_eV: float) -> None:
        self.directions = potential.bias_directions(reference)
        _check(strength, largest_eV)
        self.strength, self.largest_eV = strength, largest_eV

    def at(self, atoms: Atoms, *, uncertainty: Uncertainty = Uncertainty.NONE) -> BiasedFrame:
        """Prediction and bias of one frame; `uncertainty` is that of the prediction.

        Raises
        ------
        ConfigError
            The potential has neither live directions nor members.
        DataError
            Other atoms than those of the reference frame.
        """
        found = self.directions.at(atoms, uncertainty=uncertainty)
        energy, forces = uncertainty_bias(
            found.energies, found.forces, strength=self.strength, largest_eV=self.largest_eV
        )
        return BiasedFrame(found.prediction, energy, forces, float(np.linalg.norm(found.energies)))


class BiasedCalculator(Calculator):
    """ASE calculator of energy and forces with a bias.

    `results` holds energy, free_energy and forces, the bias included, and beside them unbiased_energy, bias_energy and
    energy_uncertainty (U), eV. There is no stress: run at a fixed cell. Parameters and errors are those of `Bias`.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(
        self, potential: Potential, reference: Atoms, *, strength: float = 1.0, largest_eV: float = 1.0
    ) -> None:
        super().__init__()
        self.bias = Bias(potential, reference, strength=strength, largest_eV=largest_eV)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results` for `atoms`."""
        super().calculate(atoms, properties, system_changes)
        frame = self.bias.at(self.atoms)
        energy = frame.unbiased.energy + frame.energy
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": frame.unbiased.forces + frame.forces,
            "unbiased_energy": frame.unbiased.energy,
            "bias_energy": frame.energy,
            "energy_uncertainty": frame.energy_uncertainty,
        }


class BiasedPotential(Potential):
    """A potential with a bias in energy and forces, for trajectories that search candidates. It cannot be trained or saved.

    Parameters
    ----------
    unbiased : Potential
        A Bayesian force field with live directions, or a potential whose predictions carry its members.
    reference : Atoms
        Frame whose energy is taken as certain, such as the crystal; same atoms in the same order.
    strength : float
        eV of bias per eV of uncertainty.
    largest_eV : float
        Bound of the bias.

    Raises
    ------
    ConfigError
        A setting is not positive, or a Bayesian force field has no live directions.
    """

    def __init__(self, unbiased: Potential, reference: Atoms, *, strength: float, largest_eV: float) -> None:
        self.unbiased = unbiased
        self.species = unbiased.species
        self._calculator = BiasedCalculator(unbiased, reference, strength=strength, largest_eV=largest_eV)

    def __repr__(self) -> str:
        bias = self._calculator.bias
        return f"<BiasedPotential of {self.unbiased!r}: strength {bias.strength:g}, at most {bias.largest_eV:g} eV>"

    @property
    def n_frames(self) -> int:
        """That of the unbiased potential."""
        return self.unbiased.n_frames

    @property
    def noise(self) -> Noise:
        """That of the unbiased potential."""
        return self.unbiased.noise

    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the one without bias")

    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Not for a biased potential."""
        raise ConfigError("a biased potential is not trained; train the one without bias")

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Biased energy and forces; the uncertainty is the exact one of the unbiased potential, whatever is wanted."""
        frame = self._calculator.bias.at(atoms, uncertainty=Uncertainty.EXACT)
        return Prediction(
            frame.unbiased.energy + frame.energy,
            frame.unbiased.forces + frame.forces,
            energy_uncertainty=frame.unbiased.energy_uncertainty,
            forces_uncertainty=frame.unbiased.forces_uncertainty,
        )

    def energy_difference_uncertainty(
        self, atoms: Atoms, other: Atoms, *, predictions: tuple[Prediction, Prediction] | None = None
    ) -> float:
        """That of the unbiased potential; `predictions` of the biased one do not contain it."""
        return self.unbiased.energy_difference_uncertainty(atoms, other)

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> BiasedCalculator:
        """ASE calculator of energy and forces, the bias included."""
        return self._calculator

    def save(self, path: str | Path) -> None:
        """Not for a biased potential."""
        raise ConfigError("a biased potential has no file; save the one without bias")
