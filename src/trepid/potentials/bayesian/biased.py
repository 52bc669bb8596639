"""Molecular dynamics pushed towards what a Bayesian force field does not know.

The gradient of the exact energy variance is costly. The live directions are a root of the posterior covariance and each of them
is a potential: energies and forces along them give the live energy variance and its gradient by R + 1 evaluations of the model
(R = 16), still linear in the number of atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from trepid.acquisition.bias import uncertainty_bias
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.neighbors import SKIN
from trepid.potentials.bayesian.spline_potential import SplinePotential


class BiasedCalculator(Calculator):
    """ASE calculator: the model's mean plus the bias of `trepid.acquisition.bias`, as the model is now.

    `results` holds energy and forces with the bias, and beside them unbiased_energy, bias_energy and energy_uncertainty (live,
    relative to the reference frame), eV. No stress: walk at a fixed cell.

    Parameters
    ----------
    model : BayesianForceField
        With live directions.
    reference : Atoms
        Frame whose energy is taken as known, such as the crystal; same atoms in the same order.
    strength : float
        eV of bias per eV of uncertainty.
    largest_eV : float
        Bound of the bias.

    Raises
    ------
    ConfigError
        The model has no live directions, or a setting is out of range.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(
        self, model: BayesianForceField, reference: Atoms, *, strength: float = 1.0, largest_eV: float = 1.0
    ) -> None:
        super().__init__()
        mean = model.mean
        if mean.tables.rank == 0:
            raise ConfigError("live_rank of the model is 0: a bias towards its uncertainty needs live directions")
        if not (strength > 0.0 and largest_eV > 0.0):
            raise ConfigError(f"strength is {strength}, largest_eV {largest_eV}: both must be positive")
        self._mean, self._strength, self._largest = mean, strength, largest_eV
        self._directions = [_direction(mean, r) for r in range(mean.tables.rank)]
        self._neighbors = mean.neighbors(skin=SKIN)
        self._numbers = reference.numbers.copy()
        self._reference = np.array([d.evaluate(reference).energy for d in self._directions])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results` for `atoms`."""
        super().calculate(atoms, properties, system_changes)
        if not np.array_equal(self.atoms.numbers, self._numbers):
            raise DataError("the biased walk has other atoms than its reference frame")
        mean = self._mean.evaluate(self.atoms, self._neighbors)
        energies, forces = self._along_directions(self.atoms)
        bias, push = uncertainty_bias(energies, forces, strength=self._strength, largest_eV=self._largest)
        self.results = {
            "energy": mean.energy + bias,
            "free_energy": mean.energy + bias,
            "forces": mean.forces + push,
            "unbiased_energy": mean.energy,
            "bias_energy": bias,
            "energy_uncertainty": float(np.linalg.norm(energies)),
        }

    def _along_directions(self, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
        predictions = [d.evaluate(atoms, self._neighbors) for d in self._directions]
        energies = np.array([p.energy for p in predictions]) - self._reference
        return energies, np.array([p.forces for p in predictions])


def _direction(mean: SplinePotential, r: int) -> SplinePotential:
    """Live direction r as a potential of its own: no offsets, no repulsion."""
    return SplinePotential(mean.basis, mean.basis.layout.direction(mean.tables, r), n_threads=mean.n_threads)
