"""The plan of a campaign: before it begins, from a run on the fly, from a run in rounds whose truth is known."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from campaign_fakes import LoggedReference, campaign, crystal, springs
from trepid.campaign.learn import learn
from trepid.cli.main import run as trepid
from trepid.data.frames import write_frames
from trepid.errors import ConfigError, DataError
from trepid.labelling.labeller import COST_POWER
from trepid.report.forecast import CannotTell, Interval, LearningCurve
from trepid.report.plan import EXPECTED, measured_label_time, plan_campaign
from trepid.runs.directory import RunPaths
from trepid.runs.ledger import Entry
from trepid.runs.ledger_events import Event, Failure, Label, Request, RoundEnd, Stage, Start, Stop, Train, Walks

ROUNDS = """\
structure: cu.extxyz
mode: rounds
reference: {engine: ase, calculator: emt}
start: {kind: displaced, n: 6}
walkers: {temperatures_K: [300], duration_ps: 4.0}
acquisition: {labels_per_round: 10}
rounds: {max_rounds: 12, max_labels: 100, force_error_tolerance_meV_per_A: 12}
execution: {workers: 4}
output: {directory: run}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the fly, with a budget that is not spent."""
    folder = tmp_path_factory.mktemp("finished")
    settings = campaign(folder, learning={"max_labels": 60, "check_labels": False})
    learn(settings, reference=LoggedReference(), potentials=springs(crystal()))
    return folder


def test_a_given_time_that_is_not_used_is_told(finished: Path) -> None:
    plan = plan_campaign(finished / "run", label_seconds=3600.0)
    assert plan.label_time is not None
    assert plan.label_time.seconds.expected < 3600
    assert any("the given time of a label, 3600 s, is not used" in note for note in plan.notes)
    assert not any("is not used" in note for note in plan_campaign(finished / "run").notes)


def test_the_time_of_a_label_is_scaled_to_the_atoms_of_an_audit(finished: Path) -> None:
    run = RunPaths(finished / "run")
    n = len(crystal())
    same, twice = (measured_label_time(run, n_atoms=size) for size in (n, 2 * n))
    assert same is not None
    assert twice is not None
    assert "scaled" not in same.source
    assert twice.seconds.expected == pytest.approx(2**COST_POWER * same.seconds.expected)
    assert twice.source.endswith(f"for {n} atoms, scaled to {2 * n}")


def cut(source: Path, target: Path, n_lines: int) -> Path:
    """The run as it was after so many entries of its ledger."""
    (target / "labels").mkdir(parents=True)
    lines = (source / "run" / "ledger.jsonl").read_text().splitlines()[:n_lines]
    (target / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    events = [json.loads(line) for line in lines]
    done = {event["label"] for event in events if event["event"] == "label"}
    for path in (source / "run" / "labels").iterdir():
        if int(path.stem[6:10]) in done:
            (target / "labels" / path.name).write_bytes(path.read_bytes())
    step = max(event.get("step", 0) for event in events)
    rows = (source / "run" / "trace.csv").read_text().splitlines()
    kept = [rows[0], *(row for row in rows[1:] if int(row.split(",")[0]) <= step)]
    (target / "trace.csv").write_text("\n".join(kept) + "\n")
    (target / "campaign.yaml").write_text((source / "run" / "campaign.yaml").read_text())
    return target


def rounds_run(folder: Path, n_rounds: int, *, errors: list[float] | None = None, failures: int = 0) -> Path:
    """A ledger of rounds of 8 labels of 90 s: errors 0.2 n^-0.7 eV/A unless given."""
    folder.mkdir(exist_ok=True)
    bulk("Cu", cubic=True).write(folder / "cu.extxyz")
    (folder / "campaign.yaml").write_text(ROUNDS)
    run = folder / "run"
    (run / "labels").mkdir(parents=True)
    (run / "campaign.yaml").write_text(ROUNDS)
    events: list[Event] = [Start(4, "Cu4", "0", {"engine": "emt"})]
    n = 0
    rng = np.random.default_rng(0)
    for number in range(n_rounds + 1):
        known, chosen = n, 6 if number == 0 else 8
        if number:
            events.append(Walks(number, 1, 20, 1.0, 0, 0, 120.0))
        mae = None if number == 0 else (0.2 * known**-0.7 if errors is None else errors[number - 1])
        for _ in range(chosen):
            n += 1
            events += [Request(n, 0, "initial" if number == 0 else "uncertainty"), Label(n, f"{n}", 90.0, 1)]
            atoms = bulk("Cu", cubic=True)
            atoms.info.update({"REF_energy": 0.0, "stage": number})
            atoms.arrays["REF_forces"] = np.zeros((4, 3))
            if mae is not None:
                atoms.info["predicted_energy"] = 0.0
                atoms.arrays["predicted_forces"] = mae * rng.choice([-1.0, 1.0], size=(4, 3))
            write_frames(run / "labels" / f"label-{n:04d}.extxyz", atoms)
        events += [Failure(n, 1, "crashed", "x")] * (failures if number == 1 else 0)
        events.append(Train(n, False, None, None, None, None, 60.0, {}))
        events.append(RoundEnd(number, n, 0, mae, None, 900.0))
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    entries = [Entry(k, (began + timedelta(seconds=100 * k)).isoformat(), event) for k, event in enumerate(events)]
    (run / "ledger.jsonl").write_text("".join(entry.to_json() + "\n" for entry in entries))
    return folder / "campaign.yaml"


def test_before_a_campaign_expectations_are_called_so(tmp_path: Path) -> None:
    bulk("Cu", cubic=True).write(tmp_path / "cu.extxyz")
    file = tmp_path / "campaign.yaml"
    file.write_text(ROUNDS)
    plan = plan_campaign(file, label_seconds=3600.0, cores=8)
    expected = EXPECTED["rounds, bayesian"].capped(100)
    assert plan.labels_to_end == expected
    assert plan.workers == 4
    assert plan.core_hours == expected.scaled(8.0)
    assert plan.label_hours == expected.scaled(1 / 4)
    assert isinstance(plan.labels_to_target, CannotTell)
    assert any("nothing is measured yet" in note for note in plan.notes)
    bare = plan_campaign(file)
    assert bare.core_hours is None
    assert bare.days is None
    assert any("--label-seconds, or --measure" in note for note in bare.notes)


def test_on_the_fly_the_truth_is_in_the_interval(finished: Path, tmp_path: Path) -> None:
    lines = (finished / "run" / "ledger.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    total = sum(event["event"] == "label" for event in events)
    whole = plan_campaign(finished / "run")
    assert whole.n_labels == total
    assert whole.labels_to_end == Interval(0.0, 0.0, 0.0)
    assert whole.state.endswith("; finished: all stages were run")
    inside, told = 0, 0
    for n_lines in range(8, len(lines), 3):
        plan = plan_campaign(cut(finished, tmp_path / str(n_lines), n_lines), workers=7)
        assert plan.workers == 1  # the walker waits for each
        if isinstance(plan.labels_to_end, CannotTell):
            continue
        told += 1
        left = total - plan.n_labels
        inside += plan.labels_to_end.low <= left <= plan.labels_to_end.high
        assert plan.labels_to_end.high <= 60 - plan.n_labels
        assert plan.label_time is not None
        assert plan.label_time.source == "measured in this run"
    assert told >= 3
    assert inside / told >= 0.7


def test_on_the_fly_it_says_when_it_cannot_tell(finished: Path, tmp_path: Path) -> None:
    early = plan_campaign(cut(finished, tmp_path / "early", 5), target_eV_per_A=0.01)
    assert isinstance(early.labels_to_end, CannotTell)
    assert early.labels_to_end.reason == "molecular dynamics has not begun"
    assert isinstance(early.labels_to_target, CannotTell)
    assert "0 errors on new labels so far" in early.labels_to_target.reason
    assert early.core_hours is None


def test_rounds_follow_their_learning_curve(tmp_path: Path) -> None:
    plan = plan_campaign(rounds_run(tmp_path, 6), target_eV_per_A=None)
    assert isinstance(plan.curve, LearningCurve)
    assert plan.curve.b == pytest.approx(0.7, rel=1e-3)
    assert plan.target_eV_per_A == 0.012  # the one of the campaign
    needed = (0.2 / 0.012) ** (1 / 0.7) - plan.n_labels if plan.n_labels else np.nan
    assert isinstance(plan.labels_to_target, Interval)
    assert plan.labels_to_target.expected == pytest.approx(max(needed, 0.0), abs=1.0)
    assert plan.labels_to_end == Interval(46.0, 0.0, 46.0)  # 6 rounds of 8, 100 labels at most, 54 used
    hours = 90 / 3600
    assert plan.label_time is not None
    assert plan.label_time.seconds.expected == 90.0
    assert plan.core_hours is not None
    assert plan.core_hours.expected == pytest.approx(plan.labels_to_target.expected * hours)
    # 6 rounds left at 120 s of walks and a bit more than 60 s of training each
    assert plan.other_hours == pytest.approx(6 * (120 + 70) / 3600)


def test_failed_attempts_cost_too(tmp_path: Path) -> None:
    plan = plan_campaign(rounds_run(tmp_path, 2, failures=11), target_eV_per_A=0.001)
    assert plan.label_time is not None
    assert plan.label_time.attempts == pytest.approx(33 / 22)
    assert isinstance(plan.labels_to_target, CannotTell)


def test_with_few_rounds_single_labels_speak(tmp_path: Path) -> None:
    plan = plan_campaign(rounds_run(tmp_path, 3), target_eV_per_A=0.02)
    assert isinstance(plan.curve, LearningCurve)
    assert plan.curve.n_points == 24
    assert plan.curve.b == pytest.approx(0.7, rel=0.05)


@pytest.mark.parametrize(
    ("errors", "target", "reason"),
    [
        ([0.02, 0.03, 0.02, 0.025, 0.03, 0.02, 0.024], 0.01, "does not fall with their number yet"),
        ([0.1, 0.06, 0.051, 0.0505, 0.05, 0.0501, 0.05], 0.01, "levels off at|falls too slowly"),
    ],
)
def test_rounds_that_do_not_support_a_forecast(tmp_path: Path, errors: list[float], target: float, reason: str) -> None:
    plan = plan_campaign(rounds_run(tmp_path, 7, errors=errors), target_eV_per_A=target)
    assert isinstance(plan.labels_to_target, CannotTell)
    assert any(part in plan.labels_to_target.reason for part in reason.split("|"))
    assert plan.labels == plan.labels_to_end


def test_a_rest_beyond_the_budget_is_noted(tmp_path: Path) -> None:
    plan = plan_campaign(rounds_run(tmp_path, 6), target_eV_per_A=0.005)
    assert isinstance(plan.labels_to_target, Interval)
    assert plan.labels_to_target.expected > 46
    assert "the target is expected beyond the budget of 100 labels" in plan.notes


def test_what_is_no_campaign_is_told(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match="no such campaign file"):
        plan_campaign(tmp_path)
    with pytest.raises(ConfigError, match="no such campaign file"):
        plan_campaign(tmp_path / "nothing.yaml")
    rounds_run(tmp_path, 1)
    (tmp_path / "run" / "ledger.jsonl").unlink()
    assert plan_campaign(tmp_path / "campaign.yaml").state == "not begun"
    with pytest.raises(DataError, match="not a learning run"):
        plan_campaign(tmp_path)


def test_stop_and_stage_are_read(tmp_path: Path, finished: Path) -> None:
    entries = [json.loads(line)["event"] for line in (finished / "run" / "ledger.jsonl").read_text().splitlines()]
    assert {Stage.event, Stop.event} <= set(entries)


def test_the_command(tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trepid(["plan", str(finished / "run"), "--target", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["labels_to_end"] == {"expected": 0.0, "low": 0.0, "high": 0.0}
    assert facts["target_meV_per_A"] == 5.0
    assert {"core_hours", "days", "label_hours", "seconds_per_label", "notes"} <= facts.keys()

    file = rounds_run(tmp_path, 6)
    assert trepid(["plan", str(file), "--cores", "2"]) == 0
    out = capsys.readouterr().out
    assert "rounds, 6 of 12 rounds" in out
    assert "54 of at most 100" in out
    assert "90 s (90 to 90), measured in this run" in out
    assert "to 12 meV/A" in out
    assert "4 labels at a time" in out

    assert trepid(["plan", str(file), "--target", "0.01"]) == 0
    assert "cannot tell yet" in capsys.readouterr().out
    (tmp_path / "run" / "ledger.jsonl").unlink()
    assert trepid(["plan", str(file), "--measure"]) == 0
    out = capsys.readouterr().out
    assert "measured on one displaced crystal" in out
    assert "nothing is measured yet" in out
    assert trepid(["plan", str(tmp_path / "nowhere.yaml")]) == 2
