"""`trepid md --engine lammps`: an input file that LAMMPS runs by itself, watched and resumed."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from lammps_inputs import Model, read_dump, run
from trepid.choices import Barostat, Engine, GuardAction, Thermostat
from trepid.cli.main import run as trepid
from trepid.data import read_frames
from trepid.data.trajectory import open_trajectory
from trepid.dynamics import lammps_run
from trepid.dynamics.record import CELL_COLUMNS
from trepid.dynamics.run import run_md
from trepid.dynamics.settings import MDEnd, MDResult, MDSettings
from trepid.errors import ConfigError, DataError, NumericsError, UntrustedError
from trepid.lammps.installation import Installation
from trepid.potentials.base import Uncertainty

pytestmark = pytest.mark.usefixtures("installation")
Run = Callable[..., MDResult]
FILES = ("trace.csv", "trajectory.lammpstrj", "untrusted.lammpstrj")


def settings(**change: object) -> MDSettings:
    base = {
        "engine": Engine.LAMMPS,
        "temperature_K": 600.0,
        "duration_ps": 0.2,
        "relaxation_time_fs": 50.0,
        "sample_every": 50,
        "checkpoint_every": 50,
    }
    return MDSettings(**(base | change))  # type: ignore[arg-type]


@pytest.fixture
def md(silicon: Model, silicon_crystal: Atoms, tmp_path: Path) -> Run:
    def go(name: str = "md", *, ranks: int = 1, atoms: Atoms = silicon_crystal, **change: object) -> MDResult:
        return run_md(
            silicon.field, atoms, settings(**change), directory=tmp_path / name, model_file=silicon.file, ranks=ranks
        )

    return go


def trace(folder: Path) -> list[dict[str, float]]:
    with (folder / "trace.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_it_is_the_run_that_ase_makes(md: Run, tmp_path: Path) -> None:
    common = {"thermostat": Thermostat.NVE, "duration_ps": 0.1}
    result = md("lammps", **common)
    md("ase", engine=Engine.ASE, **common)
    rows, expected = trace(tmp_path / "lammps"), trace(tmp_path / "ase")
    assert list(rows[0]) == list(expected[0])
    assert len(rows) == len(expected) == 11
    for row, other in zip(rows, expected, strict=True):
        for name in ("step", "time_fs", "stage", "target_temperature_K", "n_labels"):
            assert row[name] == other[name]
        for name in (
            "temperature_K",
            "potential_energy_eV",
            "total_energy_eV",
            "pressure_GPa",
            "volume_A3",
            *CELL_COLUMNS,
        ):
            assert row[name] == pytest.approx(other[name], rel=1e-5)
        assert row["forces_uncertainty_max_eV_per_A"] == pytest.approx(
            other["forces_uncertainty_max_eV_per_A"], rel=1e-3, abs=1e-5
        )
    assert (result.end, result.n_steps, result.n_checks) == (MDEnd.FINISHED, 100, 11)
    assert result.largest_uncertainty == max(row["forces_uncertainty_max_eV_per_A"] for row in rows)
    assert result.temperature_K == pytest.approx(np.mean([row["temperature_K"] for row in rows]))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("thermostat", [Thermostat.NOSE_HOOVER, Thermostat.BUSSI, Thermostat.NVE])
def test_resume_is_exact(md: Run, tmp_path: Path, thermostat: Thermostat, ranks: int) -> None:
    common = {"thermostat": thermostat, "ranks": ranks, "threshold_eV_per_A": 0.003}
    whole = md("whole", **common)
    md("cut", **common)
    # As a kill between the checkpoints at 150 and 200 leaves it.
    (tmp_path / "cut" / "checkpoint.200.restart").unlink()
    assert (tmp_path / "cut" / "checkpoint.150.restart").exists()
    resumed = md("cut", **common)
    for name in FILES:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert resumed.n_untrusted == whole.n_untrusted > 0
    assert resumed.n_checks == whole.n_checks == 21


@pytest.mark.parametrize("barostat", list(Barostat))
def test_resume_at_a_pressure_is_exact(md: Run, tmp_path: Path, barostat: Barostat) -> None:
    common = {
        "thermostat": Thermostat.NOSE_HOOVER,
        "pressure_GPa": 5.0,
        "pressure_time_fs": 100.0,
        "barostat": barostat,
        "threshold_eV_per_A": 0.003,
    }
    md("whole", **common)
    md("cut", **common)
    (tmp_path / "cut" / "checkpoint.200.restart").unlink()
    md("cut", **common)
    rows, resumed = trace(tmp_path / "whole"), trace(tmp_path / "cut")
    if barostat is Barostat.FULL:  # LAMMPS rounds the positions in a tilted box when it reads them
        columns = [name for name in rows[0] if name != "forces_uncertainty_max_eV_per_A"]
        np.testing.assert_allclose(
            *([[row[name] for name in columns] for row in run] for run in (rows, resumed)), rtol=1e-6
        )
    else:
        for name in FILES:
            assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert rows[-1]["volume_A3"] < 0.99 * rows[0]["volume_A3"]
    last = read_frames_of(tmp_path / "whole" / "trajectory.lammpstrj")[-1]
    assert np.allclose(last.cell.cellpar(), [rows[-1][name] for name in CELL_COLUMNS], rtol=1e-6)
    assert {round(rows[-1][name] - 90, 3) == 0 for name in CELL_COLUMNS[3:]} == {barostat is not Barostat.FULL}


def read_frames_of(dump: Path) -> list[Atoms]:
    with open_trajectory(dump, interval_fs=50.0) as trajectory:
        return [Atoms(cell=cell) for chunk in trajectory.chunks() for cell in chunk.cells]


def test_a_cell_that_comes_apart_is_unstable(md: Run) -> None:
    with pytest.raises(UntrustedError, match=r"became unstable: the volume is \S+ times that at the start"):
        md(thermostat=Thermostat.NOSE_HOOVER, pressure_GPa=-25.0, duration_ps=2.0)


def test_langevin_resumes_with_other_noise(md: Run, tmp_path: Path) -> None:
    md("whole")
    md("cut")
    (tmp_path / "cut" / "checkpoint.200.restart").unlink()
    md("cut")
    first, second = trace(tmp_path / "whole"), trace(tmp_path / "cut")
    assert [row["step"] for row in first] == [row["step"] for row in second] == list(range(0, 201, 10))
    assert first[:16] == second[:16]
    assert first[16:] != second[16:]
    assert [step for step, _ in read_dump(tmp_path / "cut" / "trajectory.lammpstrj")] == [0, 50, 100, 150, 200]


def test_a_finished_run_is_not_run_again_but_may_be_made_longer(md: Run, tmp_path: Path) -> None:
    first = md()
    before = (tmp_path / "md" / "trace.csv").read_bytes()
    again = md()
    assert (again.n_steps, again.n_checks) == (first.n_steps, first.n_checks) == (200, 21)
    assert (tmp_path / "md" / "trace.csv").read_bytes() == before
    assert md(duration_ps=0.3).n_steps == 300
    assert [row["step"] for row in trace(tmp_path / "md")] == list(range(0, 301, 10))


def test_an_interrupt_ends_lammps_and_the_same_call_continues(
    md: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Requested(lammps_run.Interruptible):
        @property
        def requested(self) -> bool:  # type: ignore[override]
            return any((tmp_path / "md").glob("checkpoint.*"))

        @requested.setter
        def requested(self, value: bool) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(lammps_run, "Interruptible", Requested)
        patch.setattr(lammps_run, "POLL_S", 0.02)
        cut = md(duration_ps=60.0)
    assert cut.end is MDEnd.INTERRUPTED
    assert 0 < cut.n_steps < 60000
    reached = max(int(path.name.split(".")[1]) for path in (tmp_path / "md").glob("checkpoint.*"))
    result = lammps_run._Watch(tmp_path / "md", settings(duration_ps=60.0), 1.0, lammps_run.SilentProgress())
    assert result.rewind() == reached
    assert result.step < reached


def test_guard_stops_with_the_reason(md: Run, tmp_path: Path) -> None:
    message = r"^step \d+ \(.* ps\): Si atom \d+ has a force uncertainty of .* above the threshold of 10\.0 meV/A \("
    with pytest.raises(UntrustedError, match=message) as caught:
        md(threshold_eV_per_A=0.01, guard=GuardAction.STOP, temperature_K=1500.0)
    rows = trace(tmp_path / "md")
    assert rows[-1]["step"] < 200
    assert all(row["forces_uncertainty_max_eV_per_A"] <= 0.01 for row in rows[:-1])
    [(step, atoms)] = read_dump(tmp_path / "md" / "stopped.lammpstrj")
    assert step == rows[-1]["step"]
    worst = atoms[atoms[:, -1].argmax()]
    assert f"Si atom {worst[0] - 1:.0f} has" in str(caught.value)
    assert worst[-1] == pytest.approx(rows[-1]["forces_uncertainty_max_eV_per_A"], rel=1e-4)
    assert (tmp_path / "md" / "stopped.restart").stat().st_size > 0
    # The advice names a file that can be labelled.
    file = re.search(r"trepid label CAMPAIGN (\S+) -o new", str(caught.value))
    assert file is not None
    (frame,) = read_frames(Path(file[1]), require=())
    assert len(frame) == len(atoms)
    assert set(frame.symbols) == {"Si"}


def test_squeezed_and_heated_it_halts_before_anything_is_not_finite(
    md: Run, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    squeezed = silicon_crystal.copy()
    squeezed.set_cell(squeezed.cell[:] * 0.7 ** (1 / 3), scale_atoms=True)
    with pytest.raises(UntrustedError, match=r"force uncertainty of .* stopped"):
        md(atoms=squeezed, temperature_K=3000.0, guard=GuardAction.STOP, check_every=1, duration_ps=5.0)
    assert all(np.isfinite(list(row.values())).all() for row in trace(tmp_path / "md"))


def test_guard_warns_once_per_excursion(md: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = md(threshold_eV_per_A=0.012, temperature_K=900.0)
    outside = [row["forces_uncertainty_max_eV_per_A"] > 0.012 for row in trace(tmp_path / "md")]
    starts = sum(now and not before for before, now in zip([False, *outside], outside, strict=False))
    assert len([record for record in caplog.records if "force uncertainty" in record.message]) == starts > 0
    assert result.n_untrusted == sum(outside)
    text = (tmp_path / "md" / "untrusted.lammpstrj").read_text()
    assert text.count("ITEM: TIMESTEP") == sum(outside)


def test_a_run_far_too_hot_is_unstable(md: Run) -> None:
    # Steps of 20 fs: the lightest mode of silicon has a period of 60.
    with pytest.raises((UntrustedError, NumericsError), match="became unstable|LAMMPS stopped after step"):
        md(timestep_fs=20.0, duration_ps=20.0, check_every=1, threshold_eV_per_A=1e6, thermostat=Thermostat.NVE)


def test_errors_of_lammps_come_through(md: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    md(duration_ps=0.05)
    write = lammps_run.write_input

    def broken(folder: Path, *others: Any, **named: Any) -> None:
        write(folder, *others, **named)
        with (folder / lammps_run.INPUT_FILE).open("a") as file:
            file.write("no_such_command\n")

    monkeypatch.setattr(lammps_run, "write_input", broken)
    with pytest.raises(NumericsError, match=r"^LAMMPS stopped after step [0-9]+: [^\n]* \(log in "):
        md(duration_ps=0.1)


def test_a_damaged_restart_is_set_aside(md: Run, tmp_path: Path) -> None:
    md(duration_ps=0.05)
    restart = tmp_path / "md" / "checkpoint.50.restart"
    restart.write_bytes(b"not a restart file")
    assert md(duration_ps=0.1).n_steps == 100
    assert (tmp_path / "md" / f"{restart.name}.damaged").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uncertainty": Uncertainty.EXACT}, "LAMMPS computes the live uncertainty, not the exact one"),
        ({"sample_every": 15}, "sample_every \\(15\\) to be a multiple of check_every \\(10\\)"),
        ({"ranks": 0}, "0 MPI processes: give 1 or more"),
        ({"ranks": 2, "engine": Engine.ASE}, "only the engine lammps runs on several"),
    ],
)
def test_settings_that_lammps_does_not_support(md: Run, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        md(**change)


def test_an_unknown_element_is_named_before_anything_is_written(
    md: Run, tmp_path: Path, silicon_crystal: Atoms
) -> None:
    other = silicon_crystal.copy()
    other.symbols[3] = "Ge"
    with pytest.raises(DataError, match="element Ge is unknown to this model, which describes Si"):
        md(atoms=other)
    assert not (tmp_path / "md").exists()


def test_another_engine_may_not_take_over(md: Run) -> None:
    md(duration_ps=0.02)
    with pytest.raises(ConfigError, match="its engine is lammps, not ase"):
        md(duration_ps=0.02, engine=Engine.ASE)


def test_command_line(
    silicon: Model, silicon_crystal: Atoms, installation: Installation, tmp_path: Path, capsys
) -> None:
    write(tmp_path / "si.extxyz", silicon_crystal)
    common = ["md", str(silicon.file), str(tmp_path / "si.extxyz"), "--temperature", "300:600", "--steps", "50"]
    assert trepid([*common, "--engine", "lammps", "--mpi", "2", "-o", str(tmp_path / "md"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["end"], facts["n_steps"], facts["n_checks"]) == ("finished", 50, 6)
    assert "on 2 procs for 50 steps" in (tmp_path / "md" / "log.lammps").read_text()

    # The input alone runs without trepid, with the plugin that `lmp` finds.
    folder = tmp_path / "alone"
    assert trepid([*common, "--engine", "lammps", "--input-only", "-o", str(folder)]) == 0
    assert not (folder / "trace.csv").exists()
    assert run(installation, folder)[0] == 0
    assert [row["step"] for row in trace(folder)] == [0, 10, 20, 30, 40, 50]

    capsys.readouterr()
    assert trepid([*common, "--mpi", "2", "-o", str(tmp_path / "no")]) == 2
    assert "--mpi is for LAMMPS: give --engine lammps too" in capsys.readouterr().err
    stop = ["--engine", "lammps", "--guard", "stop", "--threshold", "1e-4", "-o", str(tmp_path / "stop")]
    assert trepid([*common, *stop]) == 4
    assert "has a force uncertainty" in capsys.readouterr().err
