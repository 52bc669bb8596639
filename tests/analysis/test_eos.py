"""The equation of state of a model against the one of its labels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState as Fit

from trepid.analysis.eos import equation_of_state
from trepid.data.frames import Labels, attach_labels
from trepid.errors import ConfigError, NumericsError
from trepid.potentials.bayesian import BayesianForceField


def labelled(atoms: Atoms) -> Atoms:
    calculator = EMT()
    energy, forces = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
    return attach_labels(atoms, Labels(energy=energy, forces=forces, stress=calculator.get_stress(atoms)))


@pytest.fixture(scope="module")
def copper() -> BayesianForceField:
    rng, crystal, frames = np.random.default_rng(0), bulk("Cu", cubic=True), []
    for factor in np.linspace(0.97, 1.03, 8):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * factor, scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        frames.append(labelled(atoms))
    model = BayesianForceField(
        ["Cu"], pair_cutoff=4.5, triplet_cutoff=3.5, n_pair=10, n_radial=4, l_max=2, n_channels=0
    )
    return model.fit(frames)


def test_it_is_that_of_the_labels_within_its_bars(copper: BayesianForceField) -> None:
    crystal = bulk("Cu", cubic=True)
    found = equation_of_state(copper, crystal, n_points=9)
    volumes, energies = [], []
    for volume in found.volumes_A3:
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * (volume / crystal.cell.volume) ** (1 / 3), scale_atoms=True)
        volumes.append(volume)
        energies.append(EMT().get_potential_energy(atoms))
    volume, _, modulus = Fit(volumes, energies, eos="birchmurnaghan").fit()
    assert found.volume_A3.value == pytest.approx(volume, rel=5e-3)
    assert found.bulk_modulus_GPa.value == pytest.approx(modulus / units.GPa, rel=0.1)
    assert 0 < found.volume_A3.error < 0.02 * volume
    assert abs(found.volume_A3.value - volume) < 5 * found.volume_A3.error
    assert found.lattice_factor.value == pytest.approx((found.volume_A3.value / crystal.cell.volume) ** (1 / 3))


def test_ranges_without_a_minimum_are_refused(copper: BayesianForceField) -> None:
    wide = bulk("Cu", a=4.4, cubic=True)
    with pytest.raises(NumericsError, match="the energy falls up to the end of the range of volumes"):
        equation_of_state(copper, wide, strain=0.03, n_points=5, relax=False)
    with pytest.raises(ConfigError, match="five points or more"):
        equation_of_state(copper, wide, n_points=3)
    slab = wide.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(ConfigError, match="periodic in all three directions"):
        equation_of_state(copper, slab)
