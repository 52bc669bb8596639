"""The engine LAMMPS beyond the contract of engines in `tests/dynamics`: the dynamics of ASE, errors of LAMMPS."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from ase import Atoms

from lammps_inputs import Model
from trepid.choices import Engine, Thermostat
from trepid.dynamics.driver import MDDriver, MDParameters, MDState
from trepid.dynamics.engine import start_driver
from trepid.dynamics.lammps_engine import LammpsDriver
from trepid.errors import DataError, NumericsError

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


@pytest.mark.parametrize("thermostat", ALL)
def test_goes_on_after_positions_that_are_not_finite(drivers: Drivers, silicon_crystal: Atoms, thermostat: str) -> None:
    d = drivers(thermostat)
    d.step(20)
    nan = d.atoms.get_positions()
    nan[0, 0] = np.nan
    with pytest.raises(NumericsError, match="a position is not finite"):
        d.restart_from(nan, 400.0)
    d.restart_from(silicon_crystal.positions, 250.0)
    assert (d.n_steps, d.target_temperature_K) == (20, 250.0)
    d.step(20)
    assert np.isfinite(d.atoms.positions).all()


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


def test_states_of_other_runs_are_refused(drivers: Drivers) -> None:
    state = drivers("langevin").get_state()
    with pytest.raises(DataError, match="another thermostat"):
        drivers("bussi").set_state(state)
    with pytest.raises(DataError, match="another thermostat"):
        drivers("langevin", engine="ase").set_state(state)
    broken = MDState(**{**vars(state), "thermostat": {"lammps_langevin": np.zeros(40, dtype=np.uint8)}})
    with pytest.raises(DataError, match="cannot be read by this LAMMPS"):
        drivers("langevin").set_state(broken)


def test_elements_without_a_model_are_refused(drivers: Drivers, silicon_crystal: Atoms) -> None:
    foreign = silicon_crystal.copy()
    foreign.symbols[0] = "Ge"
    with pytest.raises(NumericsError, match=r"element Ge is unknown .* which knows Si"):
        drivers("langevin", atoms=foreign)
