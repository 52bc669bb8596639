"""The engine ASE beyond the contract of engines: the canonical ensemble in closed form, any calculator, given velocities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from springs import SiteSprings
from trepid.choices import Barostat, Thermostat
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.driver import MDParameters
from trepid.errors import ConfigError

ALL = list(Thermostat)


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.calc = EMT()
    return atoms


def on_springs() -> Atoms:
    """Springs to the sites of a crystal of two masses that may move as a whole."""
    atoms = bulk("CuAu", "rocksalt", a=4.8, cubic=True)
    sites = atoms.get_positions()

    def displacements(atoms: Atoms) -> np.ndarray:
        u = atoms.positions - sites
        return u - u.mean(axis=0)

    atoms.calc = SiteSprings(displacements, stiffness=3.0)
    return atoms


def driver(thermostat: Thermostat, atoms: Atoms, *, seed: int = 1, **more: Any) -> ASEDriver:
    settings = {"temperature_K": 400.0, "timestep_fs": 3.0, "relaxation_time_fs": 30.0} | more
    return ASEDriver(atoms, MDParameters(thermostat=thermostat, **settings), rng=np.random.default_rng(seed))


@pytest.mark.parametrize("thermostat", ALL)
def test_a_calculator_of_ase_resumes_bit_by_bit(thermostat: Thermostat) -> None:
    whole, cut = driver(thermostat, copper()), driver(thermostat, copper())
    for d in (whole, cut):
        d.step(27)
        d.forget_neighbors()
    resumed = driver(thermostat, copper(), seed=99)
    resumed.set_state(cut.get_state())
    for d in (whole, resumed):
        d.step(30)
    assert np.array_equal(resumed.atoms.positions, whole.atoms.positions)
    assert np.array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())


@pytest.mark.parametrize("barostat", list(Barostat))
def test_barostats_conserve_their_energy(barostat: Barostat) -> None:
    d = driver(
        Thermostat.NOSE_HOOVER,
        copper(),
        timestep_fs=1.0,
        pressure_GPa=2.0,
        barostat=barostat,
        pressure_time_fs=100.0,
    )
    conserved, work, momenta = [], [], []
    for _ in range(40):
        d.step(3)
        conserved.append(d._dynamics.get_conserved_energy())
        work.append(2.0 * units.GPa * d.atoms.get_volume())
        momenta.append(np.abs(d.atoms.get_momenta().sum(axis=0)).max())
    assert np.ptp(work) > 0.05
    assert np.ptp(conserved) < 0.03 * np.ptp(work)
    assert max(momenta) < 1e-8
    lengths, angles = d.atoms.cell.lengths() / copper().cell.lengths(), d.atoms.cell.angles()
    assert (np.ptp(lengths) < 1e-9) == (barostat is Barostat.ISOTROPIC)
    assert (np.abs(angles - 90).max() > 1e-3) == (barostat is Barostat.FULL)


@pytest.mark.parametrize("thermostat", ALL)
def test_centre_of_mass_rests_to_rounding(thermostat: Thermostat) -> None:
    d = driver(thermostat, on_springs())
    start = d.atoms.get_center_of_mass()
    d.step(200)
    assert np.abs(d.atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert np.abs(d.atoms.get_center_of_mass() - start).max() < 1e-9


def test_potential_energy_of_langevin_is_canonical() -> None:
    d = driver(Thermostat.LANGEVIN, on_springs(), timestep_fs=2.0)
    d.step(500)
    energies = []
    for _ in range(2000):
        d.step(6)
        energies.append(d.atoms.get_potential_energy())
    # 24 springs less the three that moving as a whole leaves slack: 21 halves of kT.
    assert np.mean(energies) == pytest.approx(21 / 2 * units.kB * 400.0, rel=0.04)


def test_velocities_may_be_kept() -> None:
    atoms, parameters = copper(), MDParameters(300.0, 1.0, Thermostat.NVE)
    rng = np.random.default_rng(0)
    momenta = rng.normal(size=(8, 3))
    atoms.set_momenta(momenta)
    d = ASEDriver(atoms, parameters, rng=rng, keep_velocities=True)
    assert np.allclose(d.atoms.get_momenta(), momenta - momenta.mean(axis=0))
    with pytest.raises(ConfigError, match="no velocities to keep"):
        ASEDriver(copper(), parameters, rng=rng, keep_velocities=True)
