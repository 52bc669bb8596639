"""Equation of state of a crystal at 0 K: energies over volume, with bars that come from the uncertainty of the model.

The third-order Birch-Murnaghan equation (F. Birch, Phys. Rev. 71, 809 (1947)) is fitted to energies of the crystal, all its vectors
scaled by one factor and its atoms relaxed. Equally plausible force fields give the same curve each in their way; the scatter of
their volumes and moduli is the bar. Zero-point motion is not included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.eos import EquationOfState as Fit
from ase.optimize import FIRE2

from trepid.analysis.averages import Average
from trepid.anharmonicity.force_source import Predictor
from trepid.arrays import FloatArray
from trepid.errors import ConfigError, NumericsError
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

N_SAMPLES = 24
_MOST_STEPS = 300
_MOST_RANGES = 4
"""Where the energy is lowest at an end of the range, the range is moved there; so often at most."""


@dataclass(frozen=True, eq=False)
class EquationOfState:
    """Energy over volume of a crystal.

    Attributes
    ----------
    volumes_A3, energies_eV : (n,) arrays
    volume_A3, lattice_factor, bulk_modulus_GPa, bulk_modulus_derivative : Average
        At the lowest energy; `lattice_factor` scales the lattice vectors of the crystal that was given. The bars are of the model
        (one standard deviation); nan for a potential without samples. They are lower bounds (not `converged`) where the energy of
        some samples has no minimum in the range of volumes.
    relaxed : bool
        Whether the atoms were relaxed at every volume.
    """

    volumes_A3: FloatArray
    energies_eV: FloatArray
    volume_A3: Average
    lattice_factor: Average
    bulk_modulus_GPa: Average
    bulk_modulus_derivative: Average
    relaxed: bool

    def as_dict(self) -> dict[str, object]:
        """Plain types, for JSON."""
        figures = {name: value.as_dict() for name, value in vars(self).items() if isinstance(value, Average)}
        return {
            "volumes_A3": self.volumes_A3.tolist(),
            "energies_eV": self.energies_eV.tolist(),
            **figures,
            "relaxed": self.relaxed,
        }


def equation_of_state(
    potential: Potential,
    crystal: Atoms,
    *,
    strain: float = 0.06,
    n_points: int = 11,
    relax: bool = True,
    n_samples: int = N_SAMPLES,
    fmax_eV_per_A: float = 1e-3,
    seed: int = 0,
) -> EquationOfState:
    """Equation of state of a crystal on a potential.

    Parameters
    ----------
    potential : Potential
    crystal : Atoms
        Periodic in all directions, near its equilibrium volume: where that lies beyond the range, the range moves.
    strain : float
        Largest relative change of the volume, up and down.
    n_points : int
    relax : bool
        Relax the atoms at every volume.
    n_samples : int
        Force fields drawn for the bars.
    fmax_eV_per_A : float
        Largest force after relaxation, eV/A.
    seed : int
        Of the samples.

    Raises
    ------
    ConfigError
        A crystal that is not periodic, a strain outside 0 to 0.3, or fewer than five points.
    NumericsError
        The energies have no minimum in this range of volumes, or the atoms do not relax.
    """
    if not crystal.pbc.all():
        raise ConfigError("an equation of state needs a crystal that is periodic in all three directions")
    if not 0 < strain <= 0.3 or n_points < 5:
        raise ConfigError(f"give a strain between 0 and 0.3 and five points or more, not {strain:g} and {n_points}")
    centre = 1.0
    for _ in range(_MOST_RANGES):
        frames = []
        for factor in centre * np.linspace(1 - strain, 1 + strain, n_points):
            atoms = crystal.copy()
            atoms.set_cell(crystal.cell * factor ** (1 / 3), scale_atoms=True)
            frames.append(_relaxed(atoms, potential, fmax_eV_per_A) if relax else atoms)
        volumes = np.array([atoms.cell.volume for atoms in frames])
        energies = np.array([potential.predict(atoms, uncertainty=Uncertainty.NONE).energy for atoms in frames])
        lowest = int(energies.argmin())
        if 0 < lowest < n_points - 1:
            break
        centre *= volumes[lowest] / volumes[n_points // 2]
    mean = _fit(volumes, energies)
    # Relaxed atoms feel no force, so the samples may be taken at the same positions.
    curves = [
        np.array([sample.predict(atoms, uncertainty=Uncertainty.NONE).energy for atoms in frames])
        for sample in potential.sample(n_samples, seed)
        if isinstance(sample, Predictor)
    ]
    samples = np.array([_fit(volumes, curve) for curve in curves if 0 < int(curve.argmin()) < n_points - 1])
    errors = samples.std(axis=0, ddof=1) if len(samples) > 1 else np.full(3, np.nan)
    whole = len(samples) == len(curves)
    volume, modulus, derivative = (Average(float(v), float(e), whole) for v, e in zip(mean, errors, strict=True))
    factor = (mean[0] / crystal.cell.volume) ** (1 / 3)
    return EquationOfState(
        volumes_A3=volumes,
        energies_eV=energies,
        volume_A3=volume,
        lattice_factor=Average(float(factor), float(factor * errors[0] / mean[0] / 3), whole),
        bulk_modulus_GPa=modulus,
        bulk_modulus_derivative=derivative,
        relaxed=relax,
    )


def _relaxed(atoms: Atoms, potential: Potential, fmax: float) -> Atoms:
    atoms.calc = potential.calculator(uncertainty=Uncertainty.NONE)
    converged = FIRE2(atoms, logfile=None).run(fmax=fmax, steps=_MOST_STEPS)
    if not converged:
        raise NumericsError(
            f"the atoms do not relax to {fmax:g} eV/A in {_MOST_STEPS} steps at {atoms.cell.volume:.4g} A^3; give relax=False"
        )
    atoms.calc = None
    return atoms


def _fit(volumes: FloatArray, energies: FloatArray) -> FloatArray:
    """Volume (A^3), bulk modulus (GPa) and its derivative at the lowest energy."""
    if not 0 < int(energies.argmin()) < len(energies) - 1:
        raise NumericsError(
            f"the energy falls up to the end of the range of volumes, {volumes.min():.4g} to {volumes.max():.4g} A^3: give a "
            "crystal with relaxed vectors; if there is none, the model does not know the crystal at other volumes"
        )
    fit = Fit(volumes, energies, eos="birchmurnaghan")
    try:
        volume, _, modulus = fit.fit(warn=False)
    except (RuntimeError, ValueError) as error:
        raise NumericsError(f"the Birch-Murnaghan equation does not fit the energies ({error})") from error
    return np.array([volume, modulus / units.GPa, fit.eos_parameters[2]])
