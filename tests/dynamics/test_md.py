from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from trepid.choices import Thermostat
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.driver import MDParameters, MDState
from trepid.errors import ConfigError, DataError


class Springs(EMT):
    """Springs to the sites of a crystal that may move as a whole; exactly solvable without the quartic term."""

    implemented_properties = ("energy", "forces")

    def __init__(self, sites: np.ndarray, stiffness: float = 3.0, quartic: float = 0.0) -> None:
        super().__init__()
        self.sites, self.stiffness, self.quartic = sites, stiffness, quartic

    def calculate(self, atoms=None, properties=None, system_changes=None) -> None:  # type: ignore[no-untyped-def]
        shift = atoms.positions - self.sites
        shift -= shift.mean(axis=0)
        pull = -self.stiffness * shift - self.quartic * shift**3
        self.atoms = atoms.copy()
        self.results = {
            "energy": (0.5 * self.stiffness * shift**2 + 0.25 * self.quartic * shift**4).sum(),
            "forces": pull - pull.mean(axis=0),
        }


def system(calculator: str = "emt") -> Atoms:
    atoms = bulk("CuAu", "rocksalt", a=4.8, cubic=True) if calculator != "emt" else bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.calc = (
        EMT() if calculator == "emt" else Springs(atoms.get_positions(), quartic=0 if calculator == "springs" else 50)
    )
    return atoms


def driver(thermostat: str, *, seed: int = 1, calculator: str = "emt", temperature_K: float = 400.0, **more: float):  # type: ignore[no-untyped-def]
    parameters = MDParameters(temperature_K, more.pop("timestep_fs", 3.0), thermostat=Thermostat(thermostat), **more)
    return ASEDriver(system(calculator), parameters, rng=np.random.default_rng(seed))


def at_300_K(thermostat: Thermostat = Thermostat.LANGEVIN) -> MDParameters:
    return MDParameters(300.0, 1.0, thermostat=thermostat)


ALL = [kind.value for kind in Thermostat]


@pytest.mark.parametrize("thermostat", ALL)
def test_resumed_run_equals_uninterrupted_one_bit_by_bit(thermostat: str) -> None:
    whole, cut = driver(thermostat), driver(thermostat)
    for d in (whole, cut):
        d.step(20)
        d.set_temperature(500.0)
        d.step(7)
        d.forget_neighbors()
    stored = cut.get_state().to_arrays()
    stored["md_random"] = np.array(json.dumps(json.loads(str(stored["md_random"]))))
    resumed = driver(thermostat, seed=99)
    resumed.set_state(MDState.from_arrays(stored))
    for d in (whole, resumed):
        d.step(30)
        d.set_temperature(450.0)
        d.step(10)
    assert resumed.n_steps == whole.n_steps == 67
    assert np.array_equal(resumed.atoms.positions, whole.atoms.positions)
    assert np.array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())
    after, other = resumed.get_state(), whole.get_state()
    assert after.random == other.random
    assert all(np.array_equal(after.thermostat[name], other.thermostat[name]) for name in other.thermostat)


def test_another_random_state_changes_the_run() -> None:
    # The test above must be able to fail: with another state of the random numbers the runs part.
    first, second = driver("langevin", seed=1), driver("langevin", seed=2)
    second.atoms.set_momenta(first.atoms.get_momenta())
    first.step(5)
    second.step(5)
    assert not np.array_equal(first.atoms.positions, second.atoms.positions)


@pytest.mark.parametrize("thermostat", ALL)
def test_centre_of_mass_rests(thermostat: str) -> None:
    d = driver(thermostat, calculator="springs")
    start = d.atoms.get_center_of_mass()
    d.step(200)
    assert np.abs(d.atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert np.abs(d.atoms.get_center_of_mass() - start).max() < 1e-9


@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_target_temperature_is_reached_with_the_right_degrees_of_freedom(thermostat: str) -> None:
    # 8 atoms: counting 3 N instead of 3 N - 3 degrees of freedom would show as 14 % in the mean. Two masses tell
    # whether the noise is centred by mass; anharmonic springs let the thermostats that act on the whole mix the modes.
    d = driver(thermostat, calculator="anharmonic", relaxation_time_fs=30.0, temperature_K=200.0)
    d.step(500)
    d.set_temperature(300.0)
    d.step(300)
    samples = []
    for _ in range(2000):
        d.step(5)
        samples.append(d.temperature_K)
    assert np.mean(samples) == pytest.approx(300.0, rel=0.04)
    assert np.std(samples) == pytest.approx(300.0 * np.sqrt(2 / 21), rel=0.15)


def test_potential_energy_of_langevin_is_canonical() -> None:
    d = driver("langevin", calculator="springs", relaxation_time_fs=30.0, timestep_fs=2.0)
    d.step(500)
    energies = []
    for _ in range(2000):
        d.step(6)
        energies.append(d.atoms.get_potential_energy())
    # 24 springs less the three that moving as a whole leaves slack: 21 halves of kT.
    assert np.mean(energies) == pytest.approx(21 / 2 * units.kB * 400.0, rel=0.04)


def test_nve_conserves_energy_and_ignores_the_target() -> None:
    d = driver("nve", timestep_fs=1.0)
    start = d.atoms.get_potential_energy() + d.kinetic_energy_eV
    d.step(100)
    d.set_temperature(900.0)
    d.step(100)
    assert d.target_temperature_K == 900.0
    assert d.atoms.get_potential_energy() + d.kinetic_energy_eV == pytest.approx(start, abs=2e-3)


def test_velocities_are_drawn_at_the_temperature() -> None:
    temperatures = [driver("nve", seed=seed, calculator="springs").temperature_K for seed in range(300)]
    assert np.mean(temperatures) == pytest.approx(400.0, rel=0.05)
    assert np.std(temperatures) == pytest.approx(400.0 * np.sqrt(2 / 21), rel=0.2)


def test_velocities_may_be_kept() -> None:
    atoms = system()
    rng = np.random.default_rng(0)
    momenta = rng.normal(size=(8, 3))
    atoms.set_momenta(momenta)
    d = ASEDriver(atoms, at_300_K(Thermostat.NVE), rng=rng, keep_velocities=True)
    assert np.allclose(d.atoms.get_momenta(), momenta - momenta.mean(axis=0))
    with pytest.raises(ConfigError, match="no velocities to keep"):
        ASEDriver(system(), at_300_K(), rng=rng, keep_velocities=True)


@pytest.mark.parametrize("thermostat", ALL)
def test_restart_from_places_atoms_and_continues(thermostat: str) -> None:
    d = driver(thermostat)
    home = d.atoms.get_positions()
    d.step(20)
    d.atoms.positions[0, 0] = np.nan
    d.restart_from(home, 250.0)
    assert np.array_equal(d.atoms.positions, home)
    assert d.n_steps == 20
    assert d.target_temperature_K == 250.0
    d.step(20)
    assert np.isfinite(d.atoms.positions).all()
    assert 20 < d.temperature_K < 1000


def test_time_counts_steps() -> None:
    d = driver("langevin")
    d.step(4)
    assert (d.n_steps, d.time_fs) == (4, 12.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_K": -5.0}, "temperature_K must be above 0 K, not -5.0"),
        ({"temperature_K": float("nan")}, "temperature_K must be above 0 K"),
        ({"timestep_fs": 0.0}, "timestep_fs must be a positive time in fs, not 0.0"),
        ({"relaxation_time_fs": -1.0}, "relaxation_time_fs must be a positive time"),
    ],
)
def test_bad_settings(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        driver("langevin", **change)


def test_constraints_and_single_atoms_are_refused() -> None:
    atoms = system()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="constraints \\(FixAtoms\\)"):
        ASEDriver(atoms, at_300_K(), rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="two atoms or more"):
        ASEDriver(Atoms("Cu"), at_300_K(), rng=np.random.default_rng(0))


def test_states_of_other_runs_are_refused() -> None:
    state = driver("langevin").get_state()
    other = ASEDriver(bulk("Cu", cubic=True), at_300_K(), rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="8 atoms, the structure 4"):
        other.set_state(state)
    with pytest.raises(DataError, match="another thermostat"):
        driver("nose-hoover").set_state(state)
    different = ASEDriver(system(), at_300_K(), rng=np.random.Generator(np.random.MT19937(0)))
    with pytest.raises(DataError, match="random numbers of kind PCG64"):
        different.set_state(state)
