"""What the first model of a campaign says of the crystal as given: pressure, forces, imaginary modes of the supercell.

A structure from a database has the lattice constant of an experiment or of another method, and a method can have another
structure than the one given, in a small cell above all. The campaign runs all the same; without a word, the user would see it
after hours, in the trajectory. `trepid.runs.first_look` puts the figures into words.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.ensemble import ensemble_of
from trepid.anharmonicity.finite_displacements import DisplacedCrystal
from trepid.anharmonicity.phonopy_objects import quiet_phonopy
from trepid.potentials.base import Potential, Uncertainty
from trepid.runs.crystal_at_rest import pressure_of
from trepid.runs.ledger_events import FirstLook

if TYPE_CHECKING:
    from ase import Atoms

N_DRAWS = 4
MOST_ATOMS, LONGEST_S = 200, 20.0
"""Larger supercells are not searched for imaginary modes, nor those for which that would take longer: networks without symmetry."""
SYMMETRY_A = 1e-3


def look_at(potential: Potential, crystal: Atoms, *, seed: int) -> FirstLook:
    """Look at a crystal: a few predictions, and the displacements that its force constants need, for the mean and each draw."""
    at_rest = potential.predict(crystal)
    pressure = pressure_of(potential, crystal, at_rest)
    sure = at_rest.forces_uncertainty
    look = FirstLook(
        n_labels=potential.n_frames,
        pressure_GPa=None if pressure is None else pressure.value_GPa,
        pressure_bar_GPa=None if pressure is None else pressure.bar_GPa,
        largest_force=_finite(float(np.linalg.norm(at_rest.forces, axis=1).max())),
        force_bar=_finite(float(np.hypot(0.0 if sure is None else sure.max(), potential.noise.forces))),
    )
    if len(crystal) > MOST_ATOMS or crystal.cell.rank < 3:
        return look
    with quiet_phonopy():
        displaced = DisplacedCrystal(crystal, (1, 1, 1), symprec=SYMMETRY_A)
    began = time.perf_counter()
    potential.predict(crystal, uncertainty=Uncertainty.NONE)
    expected_s = (time.perf_counter() - began) * len(displaced.phonon.dataset["first_atoms"])
    if expected_s > LONGEST_S:
        return look
    drawn = ensemble_of(potential, N_DRAWS, seed)[:N_DRAWS] if N_DRAWS * expected_s < LONGEST_S else []
    modes = [displaced.reference(displaced.force_constants(source)[0]).modes for source in (potential, *drawn)]
    return replace(
        look,
        lowest_THz=float(modes[0].frequencies_THz.min()),
        n_imaginary=int(modes[0].n_imaginary),
        n_modes=len(modes[0].omega2),
        n_draws=len(modes) - 1,
        n_draws_imaginary=sum(own.n_imaginary > 0 for own in modes[1:]),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
