"""Learning on the fly with the engine LAMMPS."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from campaign_fakes import LoggedReference, assert_same_run, calls, campaign
from kills import Killed, kill_at
from trepid.campaign.learn import learn
from trepid.campaign.on_the_fly import OnTheFly
from trepid.campaign.result import CampaignResult
from trepid.data import read_frames
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.driver import MDDriver
from trepid.dynamics.lammps_engine import LammpsDriver
from trepid.errors import ConfigError
from trepid.labelling.case import LabelCase
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Request, Rewind, StopReason

pytestmark = pytest.mark.usefixtures("installation")


def run(folder: Path, *, thermostat: str = "langevin", engine: str = "lammps", **dynamics: object) -> CampaignResult:
    settings = campaign(
        folder,
        potential={"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2},
        structure={"file": str(folder / "cu.extxyz"), "supercell": [2, 1, 1]},
        learning={"threshold_eV_per_A": 0.012},
        dynamics={"engine": engine, "thermostat": thermostat, **dynamics},
    )
    return learn(settings, reference=LoggedReference(folder / "calls.jsonl"))


def events(folder: Path, kind: type) -> list:  # type: ignore[type-arg]
    return [entry.event for entry in read_ledger(folder / "run" / "ledger.jsonl") if isinstance(entry.event, kind)]


@pytest.fixture(scope="module")
def finished(installation: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert run(folder).reason is StopReason.FINISHED
    return folder


def test_untrusted_frames_are_labelled_and_md_continues(finished: Path) -> None:
    requests = [event for event in events(finished, Request) if event.reason == "uncertainty"]
    assert len(requests) >= 2
    assert all(event.forces_uncertainty > event.threshold == 0.012 for event in requests)
    with (finished / "run" / "trace.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)
    temperatures = np.array([float(row["temperature_K"]) for row in rows])
    # Velocities were kept over the labels: never cold, as they would be after a start at rest.
    assert 50 < temperatures.min() < temperatures.max() < 1500
    assert "engine: lammps" in (finished / "run" / "campaign.yaml").read_text()


@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        (LabelCase, "answer", 4),
        (LammpsDriver, "step", 23),
        (OnTheFly, "_label_pending", 1),
        (OnTheFly, "_save_state", 3),
    ],
)
def test_resume_is_exact(tmp_path: Path, finished: Path, owner: type, name: str, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, owner, name, count, after=True)
        with pytest.raises(Killed):
            run(tmp_path)
    assert run(tmp_path).reason is StopReason.FINISHED
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))


@pytest.mark.parametrize("thermostat", ["bussi", "nose-hoover", "nve"])
def test_resume_is_exact_with_every_thermostat(tmp_path: Path, thermostat: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    run(whole, thermostat=thermostat)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, LammpsDriver, "step", 31, after=True)
        with pytest.raises(Killed):
            run(cut, thermostat=thermostat)
    run(cut, thermostat=thermostat)
    assert_same_run(whole, cut)


@pytest.mark.parametrize(("engine", "driver"), [("ase", ASEDriver), ("lammps", LammpsDriver)])
def test_a_stage_at_a_pressure_learns_other_cells_and_resumes_exactly(
    tmp_path: Path, engine: str, driver: type[MDDriver]
) -> None:
    stages = [
        {"temperature_K": 300, "duration_ps": 0.2},
        {"temperature_K": 300, "duration_ps": 0.4, "pressure_GPa": 3.0},
        {"temperature_K": [300, 500], "duration_ps": 0.2, "pressure_GPa": 0.0},
    ]
    dynamics = {"thermostat": "nose-hoover", "engine": engine, "stages": stages, "pressure_time_fs": 200.0}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    run(whole, **dynamics)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, driver, "step", 25, after=True)
        with pytest.raises(Killed):
            run(cut, **dynamics)  # type: ignore[arg-type]
    run(cut, **dynamics)  # type: ignore[arg-type]
    assert_same_run(whole, cut)
    with (whole / "run" / "trace.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    volumes = {stage: [row["volume_A3"] for row in rows if row["stage"] == stage] for stage in (0, 1, 2)}
    assert np.ptp(volumes[0]) < 1e-6 < 1e-3 * volumes[0][0] < np.ptp(volumes[1])
    cells = [frame.cell.volume for frame in labels_of_run(whole)]
    assert len({round(volume, 3) for volume in cells}) > 3
    assert min(volumes[1]) < volumes[0][0]


def labels_of_run(folder: Path) -> list[Atoms]:
    return [read_frames(path)[0] for path in sorted((folder / "run" / "labels").glob("label-*.extxyz"))]


def test_an_unstable_run_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = LammpsDriver.step, [0]

    def step(self: LammpsDriver, n: int = 1) -> None:
        steps[0] += 1
        if steps[0] == 5:
            self._end()  # type: ignore[attr-defined]  # as after an error of LAMMPS
        real(self, n)

    monkeypatch.setattr(LammpsDriver, "step", step)
    assert run(tmp_path).reason is StopReason.FINISHED
    assert "LAMMPS has stopped" in events(tmp_path, Rewind)[0].message


def test_another_engine_may_not_take_over(finished: Path) -> None:
    with pytest.raises(ConfigError, match=r"dynamics\.engine"):
        run(finished, engine="ase")
