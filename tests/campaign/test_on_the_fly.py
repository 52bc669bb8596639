from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from campaign_fakes import (
    LoggedReference,
    SpringPotential,
    assert_same_run,
    calls,
    campaign,
    crystal,
    springs,
)
from comparison import frame_hash
from kills import Killed, kill_at
from trepid.campaign.learn import learn
from trepid.campaign.on_the_fly import OnTheFly
from trepid.campaign.result import CampaignResult
from trepid.campaign.training import PotentialFactory, Trainer
from trepid.config.learning import GAIN_NATS
from trepid.data.frames import LabelKeys, labels_of
from trepid.dynamics.ase_engine import ASEDriver
from trepid.dynamics.progress import PlainProgress
from trepid.dynamics.record import Recorder
from trepid.errors import ConfigError, DataError, NumericsError
from trepid.labelling.case import LabelCase
from trepid.runs.intervals import Announced
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Failure, Label, Request, Resume, Rewind, Stage, StopReason, Train
from trepid.runs.reading import read_run


def run(folder: Path, double: LoggedReference | None = None, **sections: dict[str, object]) -> CampaignResult:
    return learn(
        campaign(folder, **sections),
        reference=double or LoggedReference(folder / "calls.jsonl"),
        potentials=springs(crystal()),
    )


def events(folder: Path, kind: type) -> list:  # type: ignore[type-arg]
    return [entry.event for entry in read_ledger(folder / "run" / "ledger.jsonl") if isinstance(entry.event, kind)]


def trace(folder: Path) -> list[dict[str, str]]:
    with (folder / "run" / "trace.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    result = run(folder)
    assert result.reason is StopReason.FINISHED
    return folder


# ---------------------------------------------------------------------- files of a run


def test_the_ledger_has_every_decision(finished: Path) -> None:
    requests, labels, trainings = events(finished, Request), events(finished, Label), events(finished, Train)
    assert [event.label for event in requests] == [event.label for event in labels] == list(range(1, len(labels) + 1))
    assert [event.reason for event in requests[:3]] == ["initial"] * 3
    called = requests[3:]
    assert len(called) >= 3
    assert all(event.reason == "uncertainty" and event.forces_uncertainty > event.threshold for event in called)
    assert [event.n_labels for event in trainings] == list(range(3, len(labels) + 1))
    assert [event.n_labels for event in trainings if event.optimized] == [3, 5]
    assert [(event.stage, event.step) for event in events(finished, Stage)] == [(0, 0), (1, 200)]


def test_label_files_hold_label_and_earlier_prediction(finished: Path) -> None:
    first, later = (read(finished / "run" / "labels" / f"label-000{k}.extxyz") for k in (1, 4))
    assert "predicted_energy" not in first.info
    assert first.info["reason"] == "initial"
    request = events(finished, Request)[3]
    assert (later.info["label_index"], later.info["step"], later.info["reason"]) == (4, request.step, "uncertainty")
    assert later.info["time_fs"] == 2.0 * request.step
    per_atom = np.linalg.norm(later.arrays["forces_uncertainty"], axis=1)
    assert per_atom.max() == pytest.approx(request.forces_uncertainty)
    assert later.arrays["predicted_forces"].shape == (8, 3)
    for key in ("predicted_energy", "energy_uncertainty", "noise_energy", "noise_forces", "target_temperature_K"):
        assert np.isfinite(later.info[key])
    labels = labels_of(later, LabelKeys())
    assert np.abs(labels.forces - later.arrays["predicted_forces"]).max() > 1e-3  # made before training, not after


def test_the_ledger_holds_the_factors_of_the_announced_intervals(finished: Path) -> None:
    record = read_run(finished / "run")
    by_number = {label.number: label for label in record.labels}
    called = [request for request in record.requests if request.reason == "uncertainty"]
    for request in called:
        label = by_number[request.label]
        earlier = [frame for frame in record.scored() if frame.batch < request.label]
        given = Announced.of(earlier, label.origin, label.atoms.get_chemical_symbols())
        assert request.stratum == given.stratum == f"stage {label.origin.stage + 1}"
        assert request.interval_factors == {name: factor.as_dict() for name, factor in given.factors.items()}
    bases = [{factor["basis"] for factor in request.interval_factors.values()} for request in called]
    assert bases[:2] == [{"none"}, {"none"}]
    assert {"none"} not in bases[2:]
    assert all(not request.interval_factors for request in record.requests[:3])


def test_trace_has_one_row_per_check(finished: Path) -> None:
    rows = trace(finished)
    assert [int(row["step"]) for row in rows] == list(range(10, 401, 10))
    assert {row["stage"] for row in rows} == {"0", "1"}
    assert float(rows[-1]["target_temperature_K"]) == 600.0
    n_labels = [int(row["n_labels"]) for row in rows]
    assert n_labels == sorted(n_labels)
    assert n_labels[0] == 3


def test_trajectory_holds_prediction_under_ase_names(finished: Path) -> None:
    frames = read(finished / "run" / "trajectory.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == list(range(20, 401, 20))
    assert frames[0].get_forces().shape == (8, 3)
    assert np.isfinite(frames[0].get_potential_energy())
    assert "forces_uncertainty" in frames[0].arrays
    assert np.abs(frames[0].get_momenta()).max() > 0


def test_settings_and_versions_are_kept(finished: Path) -> None:
    assert "threshold_eV_per_A: 0.03" in (finished / "run" / "campaign.yaml").read_text()
    versions = json.loads((finished / "run" / "versions.json").read_text())
    assert {"python", "ase", "numpy"} <= versions.keys()


def test_result_has_the_number_of_labels(tmp_path: Path) -> None:
    result = run(tmp_path, dynamics={"stages": [{"temperature_K": 300, "duration_ps": 0.04}]})
    assert result.exit_code == 0
    assert result.n_labels == len(list((tmp_path / "run" / "labels").iterdir()))
    assert f"{result.n_labels} labels used in 0.040 ps" in result.summary()


def test_live_uncertainty_is_compared_with_the_threshold(tmp_path: Path) -> None:
    result = run(tmp_path, learning={"uncertainty": "live"})
    assert result.n_labels > 3
    # What is kept for the report is exact all the same.
    assert "energy_uncertainty" in read(tmp_path / "run" / "labels" / "label-0004.extxyz").info


# ---------------------------------------------------------------------- ends


def test_budget_stops_when_one_label_more_is_needed(tmp_path: Path) -> None:
    result = run(tmp_path, learning={"max_labels": 4})
    assert (result.reason, result.n_labels, result.exit_code) == (StopReason.LABELS, 4, 0)
    assert run(tmp_path, learning={"max_labels": 4}).reason is StopReason.LABELS  # nothing to do: no resume entry
    assert not events(tmp_path, Resume)
    more = run(tmp_path, learning={"max_labels": 6})
    assert more.n_labels > 4
    assert events(tmp_path, Resume)[0].changed == ["learning.max_labels: 4 -> 6"]


def test_a_raised_budget_gives_the_run_that_had_it_from_the_start(tmp_path: Path, finished: Path) -> None:
    run(tmp_path, learning={"max_labels": 4})
    run(tmp_path, learning={"max_labels": None})
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))


def test_last_stage_ends_early_without_calls(tmp_path: Path) -> None:
    result = run(tmp_path, learning={"threshold_eV_per_A": 50.0, "stop_after_ps_without_call": 0.1})
    assert result.reason is StopReason.NO_CALLS
    assert result.n_steps == 200 + 50


def test_a_finished_campaign_stays_finished_and_a_longer_one_continues(finished: Path, tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "run" / "ledger.jsonl").read_bytes()
    assert run(tmp_path).reason is StopReason.FINISHED
    assert (tmp_path / "run" / "ledger.jsonl").read_bytes() == before
    stages = [
        {"temperature_K": 300, "duration_ps": 0.4},
        {"temperature_K": [300, 600], "duration_ps": 0.4},
        {"temperature_K": 600, "duration_ps": 0.1},
    ]
    assert run(tmp_path, dynamics={"stages": stages}).n_steps == 450


def test_another_threshold_for_a_complete_run_is_answered_with_what_it_needs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    lines: list[str] = []
    result = learn(
        campaign(tmp_path, learning={"threshold_eV_per_A": 0.02}),
        reference=LoggedReference(tmp_path / "calls.jsonl"),
        potentials=springs(crystal()),
        progress=PlainProgress(lines.append),
    )
    assert result.exit_code == 0
    assert any(
        "are complete, and changed settings act on later steps only: make the last stage" in line for line in lines
    )


# ---------------------------------------------------------------------- failures


def test_failed_attempts_are_retried_and_recorded(tmp_path: Path) -> None:
    result = run(tmp_path, LoggedReference(fail=[1]))
    assert result.reason is StopReason.FINISHED
    (failure,) = events(tmp_path, Failure)
    assert (failure.label, failure.attempt, failure.reason) == (2, 1, "not_converged")
    assert failure.message == "logged-emt: no convergence after 3 cycles"
    assert {event.label: event.attempt for event in events(tmp_path, Label)}[2] == 2
    assert not list((tmp_path / "run" / "labels").glob("*failed*"))


def test_a_frame_that_fails_for_good_is_kept_and_never_trained_on(tmp_path: Path) -> None:
    result = run(tmp_path, LoggedReference(fail=[3, 4]))
    assert result.reason is StopReason.FINISHED
    frame = read(tmp_path / "run" / "labels" / "label-0004.failed.extxyz")
    assert frame.info["failure_reason"] == "not_converged"
    assert "REF_forces" not in frame.arrays
    assert not (tmp_path / "run" / "labels" / "label-0004.extxyz").exists()
    assert 4 not in [event.label for event in events(tmp_path, Label)]
    (rewind,) = events(tmp_path, Rewind)
    assert (rewind.to, rewind.message) == ("last trusted frame", "label 4 failed")
    assert events(tmp_path, Train)[-1].n_labels == result.n_labels


def test_too_many_failures_stop_and_a_new_start_retries(tmp_path: Path) -> None:
    result = run(tmp_path, LoggedReference(tmp_path / "calls.jsonl", fail=range(3, 100)))
    assert (result.reason, result.exit_code) == (StopReason.FAILURES, 5)
    assert "3 labels in a row failed" in result.message
    assert result.n_labels == 3
    again = run(tmp_path)
    assert again.reason is StopReason.FINISHED
    assert again.n_labels > 3


def test_failure_policy_stop(tmp_path: Path) -> None:
    result = run(tmp_path, LoggedReference(fail=[3, 4]), learning={"on_failure": "stop"})
    assert (result.reason, result.n_labels) == (StopReason.FAILURES, 3)


def test_no_initial_label_at_all(tmp_path: Path) -> None:
    result = run(tmp_path, LoggedReference(fail=range(100)), learning={"max_consecutive_failures": 9})
    assert result.reason is StopReason.FAILURES
    assert "none of the initial frames could be labelled; the last one failed: " in result.message


def test_initial_failure_leaves_a_smaller_first_fit(tmp_path: Path) -> None:
    # Label 1 fails, and again after the others.
    run(tmp_path, LoggedReference(fail=[0, 3]))
    assert events(tmp_path, Train)[0].n_labels == 2


# ---------------------------------------------------------------------- unstable MD


def test_labels_with_strong_forces_are_trained_on_and_md_restarts(tmp_path: Path) -> None:
    class StrongForce(LoggedReference):
        def _compute(self, atoms):  # type: ignore[no-untyped-def]
            labels = super()._compute(atoms)
            if self.calls == 4:
                labels.forces[0] = [0, 0, 16.0]
            return labels

    result = run(tmp_path, StrongForce(), learning={"check_labels": False})
    assert result.reason is StopReason.FINISHED
    (rewind,) = events(tmp_path, Rewind)
    assert (rewind.to, rewind.message) == ("last trusted frame", "force 16.0 eV/A of label 4 is over the limit")
    # The next steps are all checked, and the label is kept and trained on.
    after = [int(row["step"]) for row in trace(tmp_path) if int(row["step"]) > rewind.step]
    assert after[:20] == list(range(rewind.step + 1, rewind.step + 21))
    assert [event.n_labels for event in events(tmp_path, Train)][:2] == [3, 4]


def test_md_that_is_unstable_repeatedly_is_stopped(tmp_path: Path) -> None:
    result = run(tmp_path, learning={"max_force_eV_per_A": 0.2, "max_rewinds": 3, "threshold_eV_per_A": 50.0})
    assert (result.reason, result.exit_code) == (StopReason.GUARD, 4)
    assert "eV/A is over 0.2 eV/A" in result.message
    assert [event.to for event in events(tmp_path, Rewind)][-3:] == ["last trusted frame", "crystal", "crystal"]
    more = run(tmp_path, learning={"max_force_eV_per_A": 15.0, "threshold_eV_per_A": 50.0})
    assert more.reason is StopReason.FINISHED
    # No unphysical frame was labelled.
    assert result.n_labels == 3


def test_an_error_of_the_potential_restarts_md(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = ASEDriver.step, [0]

    def step(self: ASEDriver, n: int = 1) -> None:
        steps[0] += 1
        if steps[0] == 5:
            self.atoms.positions[0] = np.nan
            raise NumericsError("positions are not finite")
        real(self, n)

    monkeypatch.setattr(ASEDriver, "step", step)
    result = run(tmp_path)
    assert result.reason is StopReason.FINISHED
    assert "the simulation became unstable" in events(tmp_path, Rewind)[0].message


def test_positions_that_are_not_finite_restart_md(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = ASEDriver.step, [0]

    def step(self: ASEDriver, n: int = 1) -> None:
        real(self, n)
        steps[0] += 1
        if steps[0] == 5:
            self.atoms.positions[0] = np.nan

    monkeypatch.setattr(ASEDriver, "step", step)
    assert run(tmp_path).reason is StopReason.FINISHED
    assert events(tmp_path, Rewind)[0].message == "positions are not finite"


# ---------------------------------------------------------------------- exact resume


PLACES = [
    (LoggedReference, "_compute", 2, False),
    (LabelStore, "write", 3, True),
    (LabelCase, "answer", 3, True),
    (Trainer, "train", 1, False),
    (Trainer, "_note", 1, False),
    (OnTheFly, "_save_state", 1, False),
    (OnTheFly, "_save_state", 1, True),
    (ASEDriver, "step", 7, True),
    (Recorder, "row", 13, True),
    (OnTheFly, "_request_label", 1, False),
    (OnTheFly, "_request_label", 1, True),
    (LoggedReference, "_compute", 4, False),
    (LabelCase, "_note_label", 4, False),
    (LabelCase, "answer", 4, True),
    (Trainer, "_note", 2, False),
    (Trainer, "_note", 3, True),
    (OnTheFly, "_label_pending", 2, True),
    (ASEDriver, "step", 38, False),
]


@pytest.mark.parametrize(("owner", "name", "count", "after"), PLACES)
def test_resumed_campaign_equals_uninterrupted_one(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, count: int, after: bool
) -> None:
    undo = kill_at(monkeypatch, owner, name, count, after=after)
    with pytest.raises(Killed):
        run(tmp_path)
    undo()
    assert run(tmp_path).reason is StopReason.FINISHED
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))
    labels = [event.label for event in events(tmp_path, Label)]
    assert labels == [event.label for event in events(finished, Label)]
    assert [event.n_labels for event in events(tmp_path, Train)] == [
        event.n_labels for event in events(finished, Train)
    ]


@pytest.mark.parametrize("thermostat", ["bussi", "nose-hoover", "nve"])
def test_resume_is_exact_with_every_thermostat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thermostat: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    dynamics: dict[str, object] = {"thermostat": thermostat}
    run(whole, dynamics=dynamics)
    undo = kill_at(monkeypatch, ASEDriver, "step", 31, after=True)
    with pytest.raises(Killed):
        run(cut, dynamics=dynamics)
    undo()
    run(cut, dynamics=dynamics)
    assert_same_run(whole, cut)


def test_rewinds_are_resumed_too(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()

    def start(folder: Path) -> CampaignResult:
        # A process fails at the same frames whenever it starts: failures are tied to the frame, not to the call.
        reference = FailsFor(calls(finished)[3], folder / "calls.jsonl")
        return run(folder, reference, learning={"retries": 0, "max_consecutive_failures": 50, "max_rewinds": 50})

    start(whole)
    assert [event.message for event in events(whole, Rewind)] == ["label 4 failed"]
    undo = kill_at(monkeypatch, OnTheFly, "_restart", 1, after=False)
    with pytest.raises(Killed):
        start(cut)
    undo()
    undo = kill_at(monkeypatch, ASEDriver, "restart_from", 1, after=True)
    with pytest.raises(Killed):
        start(cut)
    undo()
    start(cut)
    assert_same_run(whole, cut)
    assert [(e.rewind, e.step) for e in events(cut, Rewind)] == [(e.rewind, e.step) for e in events(whole, Rewind)]


class FailsFor(LoggedReference):
    """Fails for one frame, by its hash: here the first that MD has to have labelled."""

    def __init__(self, frame: str, log: Path) -> None:
        super().__init__(log)
        self.frame = frame

    def _compute(self, atoms):  # type: ignore[no-untyped-def]
        self.fail = {self.calls} if frame_hash(atoms) == self.frame else set()
        return super()._compute(atoms)


def test_a_removed_model_is_trained_anew_from_the_labels(tmp_path: Path, finished: Path) -> None:
    run(tmp_path, learning={"max_labels": 5})
    (tmp_path / "run" / "model.trepid").unlink()
    run(tmp_path, learning={"max_labels": None})
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))


def test_interrupt_ends_after_the_step_and_resumes_exactly(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = ASEDriver.step, [0]

    def step(self: ASEDriver, n: int = 1) -> None:
        steps[0] += 1
        if steps[0] == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, n)

    monkeypatch.setattr(ASEDriver, "step", step)
    result = run(tmp_path)
    assert (result.reason, result.exit_code) == (StopReason.INTERRUPTED, 130)
    assert "the same command resumes" in result.summary()
    assert run(tmp_path).reason is StopReason.FINISHED
    assert_same_run(tmp_path, finished)


def test_a_label_that_fails_after_a_signal_does_not_count(tmp_path: Path, finished: Path) -> None:
    class Interrupted(LoggedReference):
        def _compute(self, atoms):  # type: ignore[no-untyped-def]
            if self.calls == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super()._compute(atoms)

    result = run(tmp_path, Interrupted(fail=[3]))
    assert result.reason is StopReason.INTERRUPTED
    assert not events(tmp_path, Failure)
    run(tmp_path)
    assert_same_run(tmp_path, finished)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    class Twice(LoggedReference):
        def _compute(self, atoms):  # type: ignore[no-untyped-def]
            if self.calls == 3:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return super()._compute(atoms)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Twice())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---------------------------------------------------------------------- rejected settings and files


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"dynamics": {"timestep_fs": 1.0}}, "another dynamics.timestep_fs: 2.0, not 1.0"),
        ({"learning": {"initial_frames": 4}}, "another learning.initial_frames: 3, not 4"),
        ({"potential": {"l_max": 2}}, "another potential.l_max: 4, not 2"),
        ({"reference": {"calculator": "lj"}}, "another reference.calculator: emt, not lj"),
        ({"structure": {"supercell": [1, 1, 2]}}, "another structure"),
        (
            {"dynamics": {"stages": [{"temperature_K": 310, "duration_ps": 0.4}]}},
            "has begun 2 of its stages, which must stay",
        ),
    ],
)
def test_other_settings_are_refused_and_nothing_is_written(
    finished: Path, sections: dict[str, dict[str, object]], message: str
) -> None:
    def contents() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in (finished / "run").rglob("*") if p.is_file() and p.name != ".lock"}

    before = contents()
    with pytest.raises(ConfigError, match=message) as caught:
        run(finished, **sections)
    assert "\n" not in str(caught.value)
    assert contents() == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"holds files \(thesis.tex"):
        run(tmp_path)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_damaged_state_and_model_are_set_aside_and_all_labels_are_used_again(tmp_path: Path, damage: str) -> None:
    run(tmp_path, learning={"max_labels": 4})
    folder = tmp_path / "run"
    for name in ("state.npz", "model.trepid"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other": b"something else"}[damage])
    labels = {path.name: path.read_bytes() for path in (folder / "labels").iterdir()}
    trace, n_calls = (folder / "trace.csv").read_bytes(), len(calls(tmp_path))
    result = run(tmp_path, learning={"max_labels": 5})
    assert result.reason in (StopReason.LABELS, StopReason.FINISHED)
    for name in ("state.npz.damaged", "model.trepid.damaged", "trace.csv.old", "trajectory.extxyz.old"):
        assert (folder / name).exists(), name
    assert (folder / "trace.csv.old").read_bytes() == trace
    assert {name: (folder / "labels" / name).read_bytes() for name in labels} == labels
    assert len(calls(tmp_path)) - n_calls == result.n_labels - len(labels)


def test_a_damaged_model_of_a_finished_run_is_trained_anew(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run" / "model.trepid").write_bytes(b"half")
    assert run(tmp_path).reason is StopReason.FINISHED
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))


def test_a_removed_label_is_reported(tmp_path: Path) -> None:
    run(tmp_path, learning={"max_labels": 4})
    (tmp_path / "run" / "labels" / "label-0002.extxyz").unlink()
    with pytest.raises(DataError, match=r"label-0002\.extxyz: is missing; put it back"):
        run(tmp_path, learning={"max_labels": 5})


def test_reference_rejects_before_anything_is_written(tmp_path: Path) -> None:
    class Choosy(LoggedReference):
        def _check(self, atoms) -> None:  # type: ignore[no-untyped-def]
            raise ConfigError("choosy: 8 atoms are not enough")

    with pytest.raises(ConfigError, match="8 atoms are not enough"):
        run(tmp_path, Choosy())
    assert not (tmp_path / "run").exists()


def test_progress_is_shown(tmp_path: Path) -> None:
    lines: list[str] = []
    learn(
        campaign(tmp_path),
        reference=LoggedReference(),
        potentials=springs(crystal()),
        progress=PlainProgress(lines.append, interval_s=0.0),
    )
    text = "\n".join(lines)
    assert "label 1: initial frame 1 of 3" in text
    assert "stage 2 of 2: 300 to 600 K" in text
    assert "above 30.0 meV/A" in text
    assert "steps/s" in text


def test_a_labelled_frame_is_predicted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted: list[str] = []
    real = SpringPotential.predict

    def predict(self, atoms, *, uncertainty="exact"):  # type: ignore[no-untyped-def]
        predicted.append(frame_hash(atoms))
        return real(self, atoms, uncertainty=uncertainty)

    monkeypatch.setattr(SpringPotential, "predict", predict)
    run(tmp_path)
    labelled = calls(tmp_path)[3:]
    assert len(labelled) >= 3
    assert [predicted.count(frame) for frame in labelled] == [1] * len(labelled)


def test_fused_atoms_restart_md(tmp_path: Path) -> None:
    # Neighbours in copper are 2.55 A apart, 0.97 of the sum of their covalent radii.
    result = run(tmp_path, learning={"min_distance_factor": 0.9, "max_rewinds": 2, "threshold_eV_per_A": 50.0})
    assert result.reason is StopReason.GUARD
    assert "have fused" in result.message
    assert result.n_labels == 3


def test_neighbour_lists_start_fresh_at_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"checkpoints": 0, "resets": 0}
    real, forget = OnTheFly._save_state, ASEDriver.forget_neighbors

    def checkpoint(self: OnTheFly) -> None:
        counts["checkpoints"] += 1
        real(self)

    def reset(self: ASEDriver) -> None:
        counts["resets"] += 1
        forget(self)

    monkeypatch.setattr(OnTheFly, "_save_state", checkpoint)
    monkeypatch.setattr(ASEDriver, "forget_neighbors", reset)
    run(tmp_path)
    assert counts["checkpoints"] == counts["resets"] > 8


def test_without_a_list_hyperparameters_are_optimised_where_that_promises_enough(tmp_path: Path) -> None:
    class Promising(SpringPotential):
        def expected_gain(self) -> float:
            return GAIN_NATS + (0.1 if self.n_frames in (4, 6) else -0.1)

    factory = PotentialFactory(create=lambda: Promising(crystal()), load=lambda path: Promising.load(path, crystal()))
    settings = campaign(tmp_path, learning={"optimize_at": None})
    assert learn(settings, reference=LoggedReference(), potentials=factory).n_labels >= 6
    assert [event.n_labels for event in events(tmp_path, Train) if event.optimized] == [3, 4, 6]


def test_a_potential_without_hyperparameters_is_accepted(tmp_path: Path) -> None:
    class Plain(SpringPotential):
        tunable = False

        def fit(self, frames, *, executor=None):  # type: ignore[no-untyped-def]
            return self.update(frames)

        def optimize(self, frames=None):  # type: ignore[no-untyped-def]
            return self

    factory = PotentialFactory(create=lambda: Plain(crystal()), load=lambda path: Plain.load(path, crystal()))
    result = learn(campaign(tmp_path), reference=LoggedReference(), potentials=factory)
    assert result.reason is StopReason.FINISHED
    assert [event.optimized for event in events(tmp_path, Train)][1:] == [False] * (result.n_labels - 3)
