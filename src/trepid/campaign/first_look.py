"""What the first model of a campaign says of the crystal as given: pressure, forces, imaginary modes of the supercell.

A structure from a database has the lattice constant of an experiment or of another method, and a method can have another
structure than the one given, in a small cell above all. The campaign runs all the same; without a word, the user would see it
after hours, in the trajectory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from trepid.anharmonicity.ensemble import ensemble_of
from trepid.anharmonicity.finite_displacements import DisplacedCrystal
from trepid.campaign.start import quiet_phonopy
from trepid.potentials.base import Potential, Uncertainty
from trepid.quantities import force
from trepid.reference.tblite import NARROW_A

if TYPE_CHECKING:
    from ase import Atoms

LARGE_PRESSURE_GPa = 1.0
"""Beyond this and two of its bars, a pressure is worth a word: 0.3 to 1 % in the lattice constant of usual crystals."""
LARGE_FORCE_eV_per_A = 0.1
"""Beyond this and two bars, the atoms are not where the reference has them."""
FAR_GPa = 10.0
"""Beyond this the method, in this cell, is not one for the crystal."""
_FAR = (
    f". That much means that the supercell is too narrow for a reference with one k point (tblite: {NARROW_A:g} A or more), or "
    "that the method is wrong for this crystal"
)
N_DRAWS = 4
MOST_ATOMS, LONGEST_S = 200, 20.0
"""Larger supercells are not searched for imaginary modes, nor those for which that would take longer: networks without symmetry."""
SYMMETRY_A = 1e-3


@dataclass(frozen=True)
class FirstLook:
    """The crystal as given, by a model.

    Attributes
    ----------
    pressure_GPa, pressure_bar_GPa : float or None
        None without three periodic directions.
    largest_force, force_bar : float
        Of an atom of the crystal at rest, and the standard deviation of a component there, eV/A.
    lowest_THz : float or None
        Lowest frequency of the supercell, negative where imaginary; None where it was not computed.
    n_imaginary, n_modes : int
    n_draws, n_draws_imaginary : int
        Draws of the model, and those of them that have imaginary modes.
    """

    pressure_GPa: float | None
    pressure_bar_GPa: float | None
    largest_force: float
    force_bar: float
    lowest_THz: float | None = None
    n_imaginary: int = 0
    n_modes: int = 0
    n_draws: int = 0
    n_draws_imaginary: int = 0

    @classmethod
    def of(cls, potential: Potential, crystal: Atoms, *, seed: int) -> FirstLook:
        """Look at a crystal: a few predictions, and the displacements that its force constants need, for the mean and each draw."""
        at_rest = potential.predict(crystal)
        pressure = bar = None
        if all(crystal.pbc) and at_rest.stress is not None and at_rest.stress_uncertainty is not None:
            pressure = -float(at_rest.stress[:3].mean()) / GPa
            bar = float(np.hypot(at_rest.stress_uncertainty[:3].mean(), potential.noise.stress)) / GPa
        largest = float(np.linalg.norm(at_rest.forces, axis=1).max())
        sure = at_rest.forces_uncertainty
        force_bar = float(np.hypot(0.0 if sure is None else sure.max(), potential.noise.forces))
        if len(crystal) > MOST_ATOMS or crystal.cell.rank < 3:
            return cls(pressure, bar, largest, force_bar)
        with quiet_phonopy():
            displaced = DisplacedCrystal(crystal, (1, 1, 1), symprec=SYMMETRY_A)
        began = time.perf_counter()
        potential.predict(crystal, uncertainty=Uncertainty.NONE)
        expected_s = (time.perf_counter() - began) * len(displaced.phonon.dataset["first_atoms"])
        if expected_s > LONGEST_S:
            return cls(pressure, bar, largest, force_bar)
        drawn = ensemble_of(potential, N_DRAWS, seed)[:N_DRAWS] if N_DRAWS * expected_s < LONGEST_S else []
        modes = [displaced.reference(displaced.force_constants(source)[0]).modes for source in (potential, *drawn)]
        return cls(
            pressure,
            bar,
            largest,
            force_bar,
            lowest_THz=float(modes[0].frequencies_THz.min()),
            n_imaginary=modes[0].n_imaginary,
            n_modes=len(modes[0].omega2),
            n_draws=len(modes) - 1,
            n_draws_imaginary=sum(own.n_imaginary > 0 for own in modes[1:]),
        )

    def lines(self, engine: str, n_labels: int) -> list[str]:
        """What it means for the run, a line for each matter; none where the crystal is at rest and stable.

        Parameters
        ----------
        engine : str
            Of the reference.
        n_labels : int
            Of the model.
        """
        found, told = [], f"by the model of {n_labels} labels"
        p, bar = self.pressure_GPa, self.pressure_bar_GPa
        if p is not None and bar is not None and abs(p) > max(LARGE_PRESSURE_GPa, 2 * bar):
            far = _FAR if abs(p) > FAR_GPa else ""
            found.append(
                f"pressure of the crystal as given {told}: {p:.1f} +- {bar:.1g} GPa: with {engine} its lattice constant is "
                f"{'smaller' if p < 0 else 'larger'} than yours{far}. The run keeps yours; to change it give a structure relaxed "
                "with this reference, or on the fly let it go: pressure_GPa: 0 in a stage, with thermostat: nose-hoover in dynamics"
            )
        if self.largest_force > max(LARGE_FORCE_eV_per_A, 2 * self.force_bar):
            found.append(
                f"forces on the crystal at rest {told}: up to {force(self.largest_force)}: its atoms are not where {engine} has "
                "them; a structure relaxed with this reference starts better"
            )
        if self.n_imaginary and self.lowest_THz is not None:
            sure = f" (in {self.n_draws_imaginary} of {self.n_draws} draws of it)" if self.n_draws else ""
            found.append(
                f"{self.n_imaginary} of {self.n_modes} modes of this supercell are imaginary {told}{sure}, down to "
                f"{abs(self.lowest_THz):.2f}i THz: for {engine} the given structure is no minimum of the energy, and at low "
                "temperature the run will leave it. If the crystal is stable in nature, take a larger supercell (methods without "
                f"k points need {NARROW_A:g} A or more), another method, or an engine close to DFT (sevennet, chgnet, gpaw: trepid "
                "doctor); phases that heat stabilises, such as cubic perovskites, have such modes rightly"
            )
        return found
