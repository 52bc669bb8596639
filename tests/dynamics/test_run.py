from __future__ import annotations

import csv
import filecmp
import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read

from campaign_fakes import LoggedReference, SpringPotential, crystal
from kills import Killed, kill_at
from trepid.campaign.start import initial_frames
from trepid.choices import Barostat, GuardAction, Thermostat
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.progress import PlainProgress
from trepid.dynamics.run import run_md
from trepid.dynamics.settings import MDEnd, MDSettings
from trepid.errors import ConfigError, UntrustedError
from trepid.potentials.base import Uncertainty
from trepid.potentials.bayesian import BayesianForceField

FILES = ("trace.csv", "trajectory.extxyz")
SETTINGS = MDSettings(
    temperature_K=300.0,
    duration_ps=0.5,
    timestep_fs=2.0,
    sample_every=25,
    checkpoint_every=40,
    threshold_eV_per_A=0.05,
    seed=4,
)


@pytest.fixture(scope="module")
def potential() -> SpringPotential:
    frames = initial_frames(crystal(), 3, displacement_A=0.05, strain=0.0, seed=0)
    return SpringPotential(crystal()).fit([LoggedReference().label(frame) for frame in frames])


@pytest.fixture(scope="module")
def finished(potential: SpringPotential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("md") / "run"
    result = run_md(potential, crystal(), SETTINGS, directory=folder)
    assert result.end is MDEnd.FINISHED
    return folder


def trace(folder: Path) -> list[dict[str, str]]:
    with (folder / "trace.csv").open() as file:
        return list(csv.DictReader(file))


def same(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in set(names) - {"progress.json"}:  # of times
        assert filecmp.cmp(one / name, other / name, shallow=False), name


def test_files_of_a_run(finished: Path) -> None:
    assert [int(row["step"]) for row in trace(finished)] == list(range(0, 251, 10))
    frames = read(finished / "trajectory.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == list(range(0, 251, 25))
    assert "forces_uncertainty" in frames[-1].arrays
    assert json.loads((finished / "settings.json").read_text())["thermostat"] == "langevin"


def test_result_counts_the_checks(potential: SpringPotential, tmp_path: Path) -> None:
    atoms = crystal()
    result = run_md(potential, atoms, SETTINGS, directory=tmp_path / "run")
    assert np.array_equal(atoms.positions, crystal().positions)
    assert (result.n_steps, result.time_ps, result.n_checks, result.threshold) == (250, 0.5, 26, 0.05)
    rows = trace(tmp_path / "run")
    largest = max(float(row["forces_uncertainty_max_eV_per_A"]) for row in rows)
    assert result.largest_uncertainty == pytest.approx(largest)
    outside = sum(float(row["forces_uncertainty_max_eV_per_A"]) > 0.05 for row in rows)
    assert result.n_untrusted == outside > 0
    assert result.temperature_K == pytest.approx(np.mean([float(row["temperature_K"]) for row in rows]))
    assert (tmp_path / "run" / "untrusted.extxyz").exists()


def test_threshold_defaults_to_the_noise_of_the_model(potential: SpringPotential, tmp_path: Path) -> None:
    result = run_md(potential, crystal(), replace(SETTINGS, threshold_eV_per_A=None), directory=tmp_path / "run")
    assert result.threshold == pytest.approx(4 * potential.noise.forces)


def test_guard_stops_the_run_and_keeps_the_frame(potential: SpringPotential, tmp_path: Path) -> None:
    stop = replace(SETTINGS, guard=GuardAction.STOP, threshold_eV_per_A=0.01)
    with pytest.raises(UntrustedError, match=r"Cu atom \d has a force uncertainty of .*untrusted.extxyz"):
        run_md(potential, crystal(), stop, directory=tmp_path / "run")
    (frame,) = read(tmp_path / "run" / "untrusted.extxyz", ":")
    last = trace(tmp_path / "run")[-1]
    assert int(last["step"]) == frame.info["step"]
    assert float(last["forces_uncertainty_max_eV_per_A"]) > 0.01


@pytest.mark.parametrize("thermostat", list(Thermostat))
@pytest.mark.parametrize("count", [1, 9, 16, 40])
def test_resumed_run_equals_uninterrupted_one(
    potential: SpringPotential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thermostat: Thermostat, count: int
) -> None:
    settings = replace(SETTINGS, thermostat=thermostat, temperature_K=(200.0, 400.0))
    real, made = ASEDriver.step, [0]

    def step(self: ASEDriver, n: int = 1) -> None:
        made[0] += 1
        if made[0] == count:
            raise Killed
        real(self, n)

    run_md(potential, crystal(), settings, directory=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(ASEDriver, "step", step)
        try:
            run_md(potential, crystal(), settings, directory=tmp_path / "cut")
        except Killed:
            assert made[0] == count
    run_md(potential, crystal(), settings, directory=tmp_path / "cut")
    same(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture(scope="module")
def copper() -> BayesianForceField:
    frames = initial_frames(crystal(), 6, displacement_A=0.1, strain=0.03, seed=0)
    model = BayesianForceField(["Cu"], pair_cutoff=4.0, triplet_cutoff=3.2, n_pair=8, n_radial=4, l_max=2, n_threads=1)
    return model.fit([LoggedReference().label(frame) for frame in frames])


PRESSED = replace(
    SETTINGS, thermostat=Thermostat.NOSE_HOOVER, pressure_GPa=2.0, pressure_time_fs=150.0, threshold_eV_per_A=10.0
)


@pytest.mark.parametrize("barostat", list(Barostat))
def test_a_run_at_a_pressure_resumes_exactly(
    copper: BayesianForceField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, barostat: Barostat
) -> None:
    settings = replace(PRESSED, barostat=barostat, temperature_K=(200.0, 400.0))
    run_md(copper, crystal(), settings, directory=tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_at(patch, ASEDriver, "step", 16, after=True)
        with pytest.raises(Killed):
            run_md(copper, crystal(), settings, directory=tmp_path / "cut")
    run_md(copper, crystal(), settings, directory=tmp_path / "cut")
    same(tmp_path / "whole", tmp_path / "cut")
    rows = trace(tmp_path / "whole")
    assert float(rows[-1]["volume_A3"]) != pytest.approx(float(rows[0]["volume_A3"]), rel=1e-3)
    last = read(tmp_path / "whole" / "trajectory.extxyz", "-1")
    assert last.cell.volume == pytest.approx(float(rows[-1]["volume_A3"]))
    stress = last.get_stress()[:3].sum() / 3 / units.GPa
    kinetic = 2 / 3 * last.get_kinetic_energy() / last.cell.volume / units.GPa
    assert float(rows[-1]["pressure_GPa"]) == pytest.approx(kinetic - stress, rel=1e-5)


def test_a_simulation_that_overflows_says_so_in_one_sentence(copper: BayesianForceField, tmp_path: Path) -> None:
    """Without warnings of numpy on the way, and without numbers that are none."""
    torn = replace(PRESSED, pressure_GPa=1e9, check_every=1000, sample_every=1000, duration_ps=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(UntrustedError, match="became unstable: positions are not finite"):
            run_md(copper, crystal(), torn, directory=tmp_path / "run")


def test_a_cell_that_comes_apart_is_unstable(copper: BayesianForceField, tmp_path: Path) -> None:
    torn = replace(PRESSED, pressure_GPa=-40.0, duration_ps=2.0)
    with pytest.raises(UntrustedError, match=r"became unstable: the volume is \S+ times that at the start"):
        run_md(copper, crystal(), torn, directory=tmp_path / "run")


def test_a_run_is_not_continued_at_another_pressure(copper: BayesianForceField, tmp_path: Path) -> None:
    run_md(copper, crystal(), PRESSED, directory=tmp_path / "run")
    held = replace(PRESSED, pressure_GPa=None)
    with pytest.raises(ConfigError, match=r"holds another run: its pressure_GPa is 2\.0, not None"):
        run_md(copper, crystal(), held, directory=tmp_path / "run")


def test_runs_of_before_barostats_continue(potential: SpringPotential, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    described = json.loads((folder / "settings.json").read_text())
    for name in ("pressure_GPa", "barostat", "pressure_time_fs"):
        del described[name]
    (folder / "settings.json").write_text(json.dumps(described))
    columns = [line.split(",")[:9] for line in (folder / "trace.csv").read_text().splitlines()]
    (folder / "trace.csv").write_text("\n".join(",".join(row) for row in columns) + "\n")
    longer = replace(SETTINGS, duration_ps=0.6)
    assert run_md(potential, crystal(), longer, directory=folder).n_steps == 300
    assert next(int(row["step"]) for row in trace(folder)) > 0


def test_signal_ends_the_run_after_the_step(
    potential: SpringPotential, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = ASEDriver.step, [0]

    def step(self: ASEDriver, n: int = 1) -> None:
        made[0] += 1
        if made[0] == 9:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, n)

    monkeypatch.setattr(ASEDriver, "step", step)
    first = run_md(potential, crystal(), SETTINGS, directory=tmp_path / "run")
    assert first.end is MDEnd.INTERRUPTED
    assert first.n_steps < 250
    assert run_md(potential, crystal(), SETTINGS, directory=tmp_path / "run").end is MDEnd.FINISHED
    same(tmp_path / "run", finished)


def test_finished_run_may_be_made_longer(potential: SpringPotential, tmp_path: Path) -> None:
    run_md(potential, crystal(), SETTINGS, directory=tmp_path / "run")
    longer = run_md(potential, crystal(), replace(SETTINGS, duration_ps=0.6), directory=tmp_path / "run")
    assert longer.n_steps == 300
    assert [int(row["step"]) for row in trace(tmp_path / "run")] == list(range(0, 301, 10))
    again = run_md(potential, crystal(), replace(SETTINGS, duration_ps=0.6), directory=tmp_path / "run")
    assert again.end is MDEnd.FINISHED
    assert len(trace(tmp_path / "run")) == 31


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"temperature_K": 400.0}, "temperature_K is 300.0, not 400.0"),
        ({"duration_ps": 0.3}, "duration_ps is 0.5, not 0.3"),
        ({"seed": 5}, "seed is 4, not 5"),
    ],
)
def test_other_settings_are_refused(
    potential: SpringPotential, finished: Path, change: dict[str, float], key: str
) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(ConfigError, match=f"holds another run: its {key}; give another directory"):
        run_md(potential, crystal(), replace(SETTINGS, **change), directory=finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_other_structure_model_and_folder_are_refused(
    potential: SpringPotential, finished: Path, tmp_path: Path
) -> None:
    other = crystal()
    other.positions[0] += 0.01
    with pytest.raises(ConfigError, match="structure_sha256"):
        run_md(potential, other, SETTINGS, directory=finished)
    model = tmp_path / "model.npz"
    potential.save(model)
    with pytest.raises(ConfigError, match="model_sha256"):
        run_md(potential, crystal(), SETTINGS, directory=finished, model_file=model)
    with pytest.raises(ConfigError, match="not empty and holds no MD run"):
        run_md(potential, crystal(), SETTINGS, directory=tmp_path)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(
    potential: SpringPotential, tmp_path: Path, damage: str
) -> None:
    folder, told = tmp_path / "run", []
    run_md(potential, crystal(), SETTINGS, directory=folder)
    state, before = folder / "state.npz", {name: (folder / name).read_bytes() for name in FILES}
    whole = state.read_bytes()
    middle = len(whole) // 2
    state.write_bytes(
        {
            "cut": whole[:500],
            "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "other": b"PK\x03\x04 something else",
        }[damage]
    )
    run_md(potential, crystal(), SETTINGS, directory=folder, progress=PlainProgress(told.append))
    assert "state.npz: damaged" in told[0]
    assert "starts anew" in told[0]
    assert (folder / "state.npz.damaged").exists()
    for name in FILES:  # what the run had is kept, and the new one repeats it
        assert (folder / f"{name}.old").read_bytes() == before[name] == (folder / name).read_bytes()


def test_a_record_that_lost_its_end_is_set_aside_and_the_run_continues(
    potential: SpringPotential, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    run_md(potential, crystal(), SETTINGS, directory=folder)
    (folder / "trace.csv").write_text("step\n")
    run_md(potential, crystal(), SETTINGS, directory=folder)
    assert "trace.csv lacks" in caplog.text
    assert (folder / "trace.csv.damaged").read_text() == "step\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_K": -1.0}, "temperature_K must be above 0 K, not -1"),
        ({"temperature_K": (300.0, 0.0)}, "temperature_K must be above 0 K, not 0"),
        ({"duration_ps": float("nan")}, "duration_ps must be a positive time, not nan"),
        ({"duration_ps": 1e-4}, "duration_ps 0.0001 is shorter than one step"),
        ({"check_every": 0}, "check_every must be 1 step or more, not 0"),
        ({"uncertainty": Uncertainty.NONE}, "the guard needs an uncertainty"),
    ],
)
def test_bad_settings(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SETTINGS, **change)


def test_progress_and_resume_are_shown(potential: SpringPotential, tmp_path: Path) -> None:
    lines: list[str] = []
    tell: Callable[[], PlainProgress] = lambda: PlainProgress(lines.append, interval_s=0.0)  # noqa: E731
    run_md(potential, crystal(), SETTINGS, directory=tmp_path / "run", progress=tell())
    assert "step 250/250" in lines[-1]
    run_md(potential, crystal(), replace(SETTINGS, duration_ps=0.6), directory=tmp_path / "run", progress=tell())
    assert "resuming at 0.500 ps (step 250)" in lines
