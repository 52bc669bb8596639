"""A crystal at rest on a model: energies and stresses of any force source, and relaxation at fixed or free cell."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from trepid.anharmonicity.force_source import ForceSource, Predictor
from trepid.data.geometry import stress_within
from trepid.errors import ConfigError, NumericsError
from trepid.potentials.base import Uncertainty
from trepid.reference.as_calculator import ReferenceCalculator
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms

RELAXED_eV_per_A = 1e-3
"""Largest force on an atom of a relaxed crystal."""
MOST_STEPS = 500


def calculator_of(source: ForceSource) -> Any:
    """ASE calculator of a potential, one of its draws, a reference; an ASE calculator as it is."""
    if isinstance(source, Reference):
        return ReferenceCalculator(source)
    return PredictorCalculator(source) if isinstance(source, Predictor) else source


class PredictorCalculator(Calculator):
    """Energies, forces and stresses of a potential or one of its draws, without uncertainties."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, source: Predictor) -> None:
        super().__init__()
        self.source = source

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Compute one frame."""
        super().calculate(atoms, properties, system_changes)
        found = self.source.predict(self.atoms, uncertainty=Uncertainty.NONE)
        self.results = {"energy": float(found.energy), "forces": np.array(found.forces)}
        if found.stress is not None:
            self.results["stress"] = np.array(found.stress)


class _Flat(Calculator):
    """A calculator whose stress has only the components within the periodic directions: no force on a length of empty space."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Compute one frame."""
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": self.inner.get_potential_energy(self.atoms),
            "forces": self.inner.get_forces(self.atoms),
        }
        if "stress" in properties:
            self.results["stress"] = stress_within(self.inner.get_stress(self.atoms), self.atoms)


def energy_of(source: ForceSource, crystal: Atoms) -> float:
    """Energy of a crystal, eV."""
    atoms = crystal.copy()
    atoms.calc = calculator_of(source)
    return float(atoms.get_potential_energy())


def relaxed(source: ForceSource, crystal: Atoms, *, cell: bool, symprec: float = 1e-4) -> Atoms:
    """The crystal relaxed on a source with its symmetry kept, until no force exceeds `RELAXED_eV_per_A`.

    Parameters
    ----------
    source : Potential, one of its draws, Reference or ASE calculator
    crystal : Atoms
        Left as it is.
    cell : bool
        Relax the cell vectors too, along the directions in which the crystal is periodic: the empty space beside a sheet stays.
    symprec : float
        Tolerance within which the symmetry is found, A.

    Raises
    ------
    ConfigError
        The cell is to be relaxed on a source without stress.
    NumericsError
        The relaxation did not converge.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = crystal.copy()
    atoms.set_constraint(FixSymmetry(atoms, symprec=symprec))
    atoms.calc = calculator_of(source) if all(atoms.pbc) else _Flat(calculator_of(source))
    try:
        with warnings.catch_warnings():
            # scipy's estimate for the logarithm of a strain near zero: rounding, which the next step sees.
            warnings.filterwarnings("ignore", message="logm result may be inaccurate")
            converged = BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None, maxstep=0.05).run(
                fmax=RELAXED_eV_per_A, steps=MOST_STEPS
            )
    except PropertyNotImplementedError as error:
        raise ConfigError(
            f"the cell cannot be relaxed: {error}; give a crystal relaxed with the reference ('trepid relax')"
        ) from error
    if not converged:
        raise NumericsError(
            f"the crystal did not relax within {MOST_STEPS} steps to forces below {RELAXED_eV_per_A:g} eV/A; start from a "
            "crystal relaxed with the reference ('trepid relax')"
        )
    atoms.calc = None
    atoms.set_constraint()
    return atoms
