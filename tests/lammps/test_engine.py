"""LAMMPS behind the driver interface: the same dynamics as ASE, and states that continue to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from ase import Atoms

from lammps_inputs import Model
from trepid.choices import Engine, Thermostat
from trepid.dynamics.driver import MDDriver, MDParameters, MDState
from trepid.dynamics.engine import start_driver
from trepid.dynamics.lammps_engine import LammpsDriver
from trepid.errors import ConfigError, DataError, NumericsError

ALL = [kind.value for kind in Thermostat]
pytestmark = pytest.mark.usefixtures("installation")


class Drivers:
    """Makes drivers and closes them."""

    def __init__(self, model: Model, crystal: Atoms) -> None:
        self.model, self.crystal = model, crystal
        self.made: list[MDDriver] = []

    def __call__(self, thermostat: str, *, engine: str = "lammps", seed: int = 1, **change: object) -> MDDriver:
        settings = {"temperature_K": 400.0, "timestep_fs": 1.0, "relaxation_time_fs": 50.0} | change
        atoms = settings.pop("atoms", self.crystal)
        rng = np.random.default_rng(seed)
        parameters = MDParameters(thermostat=Thermostat(thermostat), engine=Engine(engine), **settings)  # type: ignore[arg-type]
        driver = start_driver(atoms, self.model.field, parameters, rng=rng)  # type: ignore[arg-type]
        self.made.append(driver)
        return driver


@pytest.fixture
def drivers(silicon: Model, silicon_crystal: Atoms) -> Iterator[Drivers]:
    make = Drivers(silicon, silicon_crystal)
    yield make
    for driver in make.made:
        driver.close()


@pytest.fixture(params=["cubic", "triclinic"])
def crystal(request: pytest.FixtureRequest, silicon_crystal: Atoms) -> Atoms:
    atoms = silicon_crystal.copy()
    if request.param == "triclinic":
        atoms.set_cell(
            atoms.cell[:] @ np.array([[1.0, 0.03, 0.02], [-0.04, 1.01, 0.0], [0.03, -0.02, 0.98]]), scale_atoms=True
        )
    return atoms


@pytest.mark.parametrize("thermostat", ALL)
def test_resumed_run_equals_uninterrupted_one_bit_by_bit(drivers: Drivers, crystal: Atoms, thermostat: str) -> None:
    whole, cut = drivers(thermostat, atoms=crystal), drivers(thermostat, atoms=crystal)
    states = []
    for d in (whole, cut):
        d.step(20)
        d.set_temperature(500.0)
        d.step(7)
        states.append(d.get_state())
        d.forget_neighbors()
    stored = states[1].to_arrays()
    stored["md_random"] = np.array(json.dumps(json.loads(str(stored["md_random"]))))
    resumed = drivers(thermostat, seed=99, atoms=crystal)
    resumed.set_state(MDState.from_arrays(stored))
    assert np.array_equal(resumed.atoms.positions, whole.atoms.positions)
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
    assert not np.array_equal(whole.atoms.positions, states[0].positions)


@pytest.mark.parametrize("thermostat", ["langevin", "bussi"])
def test_the_noise_is_that_of_the_seed(drivers: Drivers, thermostat: str) -> None:
    first, second = drivers(thermostat, seed=1), drivers(thermostat, seed=2)
    same = drivers(thermostat, seed=1)
    second.atoms.set_momenta(first.atoms.get_momenta())
    for d in (first, second, same):
        d.step(20)
    assert np.array_equal(first.atoms.positions, same.atoms.positions)
    assert not np.array_equal(first.atoms.positions, second.atoms.positions)


def test_nve_moves_atoms_as_ase_does(drivers: Drivers, crystal: Atoms) -> None:
    ase, lammps = drivers("nve", engine="ase", atoms=crystal), drivers("nve", atoms=crystal)
    assert np.allclose(ase.atoms.get_momenta(), lammps.atoms.get_momenta())
    for d in (ase, lammps):
        d.step(60)
        d.step(40)
    moved = np.abs(ase.atoms.positions - crystal.positions).max()
    # The two convert masses and velocities with constants that differ by 1e-7.
    assert np.abs(ase.atoms.positions - lammps.atoms.positions).max() < 1e-4 * moved
    assert ase.temperature_K == pytest.approx(lammps.temperature_K, rel=1e-4)
    assert ase.time_fs == lammps.time_fs == 100.0


def test_chunks_change_nothing(drivers: Drivers) -> None:
    whole, chunks = drivers("nose-hoover"), drivers("nose-hoover")
    whole.step(50)
    for n in (1, 9, 10, 30):
        chunks.step(n)
    assert np.array_equal(whole.atoms.positions, chunks.atoms.positions)


def test_positions_stay_unwrapped(drivers: Drivers, silicon_crystal: Atoms) -> None:
    atoms = silicon_crystal.copy()
    atoms.positions += 3 * atoms.cell[0] - atoms.cell[2]
    d = drivers("nve", atoms=atoms)
    d.step(10)
    d.get_state()
    d.forget_neighbors()
    d.step(10)
    assert np.abs(d.atoms.positions - atoms.positions).max() < 1.0


@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_target_temperature_is_reached(drivers: Drivers, thermostat: str) -> None:
    d = drivers(thermostat, temperature_K=100.0)
    d.step(200)
    d.set_temperature(300.0)
    d.step(400)
    samples = []
    for _ in range(400):
        d.step(10)
        samples.append(d.temperature_K)
    assert np.mean(samples) == pytest.approx(300.0, rel=0.05)
    if thermostat == "langevin":  # the others mix the nearly harmonic modes of so small a crystal slowly
        assert np.std(samples) == pytest.approx(300.0 * np.sqrt(2 / (3 * 64 - 3)), rel=0.25)


@pytest.mark.parametrize("thermostat", ALL)
def test_centre_of_mass_rests(drivers: Drivers, thermostat: str) -> None:
    d = drivers(thermostat)
    d.step(200)
    assert np.abs(d.atoms.get_momenta().sum(axis=0)).max() < 1e-8


@pytest.mark.parametrize("thermostat", ALL)
def test_restart_after_an_unstable_run(drivers: Drivers, silicon_crystal: Atoms, thermostat: str) -> None:
    d = drivers(thermostat)
    d.step(20)
    nan = d.atoms.get_positions()
    nan[0, 0] = np.nan
    with pytest.raises(NumericsError, match="a position is not finite"):
        d.restart_from(nan, 400.0)
    d.restart_from(silicon_crystal.positions, 250.0)
    assert np.array_equal(d.atoms.positions, silicon_crystal.positions)
    assert (d.n_steps, d.target_temperature_K) == (20, 250.0)
    d.step(20)
    assert np.isfinite(d.atoms.positions).all()
    assert 20 < d.temperature_K < 1000


def test_an_error_of_lammps_is_one_line(drivers: Drivers) -> None:
    d = drivers("nve")
    # An atom of extreme velocity leaves the box between two updates of the neighbour list.
    momenta = d.atoms.get_momenta()
    momenta[0] = 1e9
    d.atoms.set_momenta(momenta)
    assert isinstance(d, LammpsDriver)
    d._atoms_replaced()
    with pytest.raises(NumericsError, match=r"^LAMMPS: [A-Z][^\n]*$"):
        d.step(50)
    with pytest.raises(NumericsError, match="LAMMPS has stopped"):
        d.step(1)


def test_another_potential_in_the_middle(drivers: Drivers, silicon: Model, silicon_crystal: Atoms) -> None:
    d, other = drivers("nve"), drivers("nve")
    sample = silicon.field.sample(1, seed=3)[0]
    changed = type(silicon.field).load(silicon.file)
    changed._mean = sample
    for run in (d, other):
        run.step(10)
        run.get_state()
        run.forget_neighbors()
    before = d.atoms.get_positions()
    d.set_potential(silicon.field)
    d.step(20)
    other.step(20)
    assert np.array_equal(d.atoms.positions, other.atoms.positions)
    assert not np.array_equal(d.atoms.positions, before)


def test_a_slab_in_vacuum(drivers: Drivers, silicon_crystal: Atoms) -> None:
    slab = silicon_crystal.copy()
    slab.pbc = (True, True, False)
    d = drivers("langevin", atoms=slab)
    d.step(20)
    d.get_state()
    d.forget_neighbors()
    d.step(20)
    assert np.abs(d.atoms.positions - slab.positions).max() < 1.0


def test_states_of_other_runs_are_refused(drivers: Drivers) -> None:
    state = drivers("langevin").get_state()
    with pytest.raises(DataError, match="another thermostat"):
        drivers("bussi").set_state(state)
    with pytest.raises(DataError, match="another thermostat"):
        drivers("langevin", engine="ase").set_state(state)
    broken = MDState(**{**vars(state), "thermostat": {"lammps_langevin": np.zeros(40, dtype=np.uint8)}})
    with pytest.raises(DataError, match="cannot be read by this LAMMPS"):
        drivers("langevin").set_state(broken)


def test_settings_out_of_range(silicon: Model, silicon_crystal: Atoms) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="temperature_K must be above 0 K"):
        LammpsDriver(silicon_crystal.copy(), silicon.field, MDParameters(-1.0, 1.0), rng=rng)
    other = silicon_crystal.copy()
    other.symbols[0] = "Ge"
    with pytest.raises(NumericsError, match=r"element Ge is unknown .* which knows Si"):
        LammpsDriver(other, silicon.field, MDParameters(300.0, 1.0), rng=rng)
