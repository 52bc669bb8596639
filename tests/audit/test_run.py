"""An audit as a run: killed anywhere it continues with the same labels and verdicts; damage and other inputs are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from audit_fakes import CalculatorModel, ChangedEMT, CollidingEMT, CountingEMT, copper
from kills import Killed, kill_at
from trepid.audit import AuditSettings, Role, Wanted
from trepid.audit.band import BandSettings
from trepid.audit.certificate import Inputs, read_certificate, summary
from trepid.audit.labels import AuditLabels, same_frame
from trepid.audit.run import AuditResult, AuditTask, plan_audit, run_audit
from trepid.audit.states import Relaxation
from trepid.errors import ConfigError, DataError
from trepid.events.analysis import EventAnalysis, analyse_events
from trepid.execution import InlineExecutor
from trepid.labelling.labeller import Labeller
from trepid.report.audit import write_audit_page
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import Ledger, read_ledger
from trepid.runs.ledger_events import Judged, Label, Start, Stop

SETTINGS = AuditSettings(
    labels_per_class=5,
    frames_per_class=1,
    relaxation=Relaxation(0.03),
    band=BandSettings(n_images=3, fmax_eV_per_A=0.06),
)
TASK = AuditTask(temperature_K=900.0, most_classes=1, probes=False, settings=SETTINGS)
INPUTS = Inputs({"file": "t.extxyz", "n_frames": 61, "duration_ps": 1.2}, {"kind": "EMT"}, {}, {"formula": "Cu31"})


def trajectory() -> list[Atoms]:
    """A neighbour of the vacancy goes there within 200 fs and stays; everything else vibrates a little."""
    crystal, sites = copper()
    rng = np.random.default_rng(0)
    way = sites.positions[31] - crystal.positions[0]
    way -= crystal.cell.array.T @ np.rint(np.linalg.solve(crystal.cell.array.T, way))
    frames = []
    for k in range(61):
        frame = crystal.copy()
        frame.positions[0] += np.clip((k - 25) / 10, 0.0, 1.0) * way
        frame.positions += 0.03 * rng.normal(size=(31, 3))
        frame.info["time_fs"] = 20.0 * k
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def analysis() -> EventAnalysis:
    return analyse_events(trajectory(), copper()[0])


def audited(
    analysis: EventAnalysis, folder: Path, *, factor: float = 0.75, task: AuditTask = TASK, **changes: Any
) -> tuple[AuditResult, CountingEMT]:
    reference = CountingEMT()
    arguments: dict[str, Any] = {"inputs": INPUTS} | changes
    model = CalculatorModel(ChangedEMT(factor))
    return run_audit(analysis, model, reference, task, folder, **arguments), reference


def without_times(facts: dict[str, Any]) -> dict[str, Any]:
    """A certificate without what differs between two runs: label files hold the time that they took."""
    copy = json.loads(json.dumps(facts))
    for entry in copy["classes"]:
        for label in entry["labels"]:
            del label["sha256"]
    return copy


@pytest.fixture(scope="module")
def whole(analysis: EventAnalysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditResult, CountingEMT, Path]:
    folder = tmp_path_factory.mktemp("audit") / "run"
    result, reference = audited(analysis, folder)
    return result, reference, folder


def test_the_certificate_says_what_was_found(whole: tuple[AuditResult, CountingEMT, Path]) -> None:
    result, reference, folder = whole
    facts = json.loads((folder / "certificate.json").read_text())
    assert facts == json.loads(json.dumps(result.facts))
    (entry,) = facts["classes"]
    assert entry["verdict"] == "miscaptured"
    assert facts["verdicts"] == {"miscaptured": 1}
    assert facts["n_labels"] == len(reference.frames) == len(entry["labels"])
    for label in entry["labels"]:
        assert label["error_eV"] == pytest.approx(label["model_eV"] - label["reference_eV"])
        frame = LabelStore(folder / "labels").read(label["number"])
        again = frame.atoms.copy()
        again.calc = EMT()
        np.testing.assert_allclose(frame.forces, again.get_forces(), atol=1e-10)
        assert frame.prediction is not None
        assert frame.prediction.energy == pytest.approx(0.75 * frame.labels.energy)
    assert "miscaptured" in dict(summary(facts))
    kinds = [type(entry.event) for entry in read_ledger(folder / "ledger.jsonl")]
    assert kinds[0] is Start
    assert kinds[-1] is Stop
    assert Judged in kinds


def test_certificates_of_earlier_versions_are_read_and_make_a_page(
    whole: tuple[AuditResult, CountingEMT, Path], tmp_path: Path
) -> None:
    facts = json.loads((whole[2] / "certificate.json").read_text())
    facts["format"] = 1
    for entry in facts["classes"]:
        del entry["n_seen_later"]
        for label in entry["labels"]:
            del label["path_A"]
    (tmp_path / "certificate.json").write_text(json.dumps(facts))
    read = read_certificate(tmp_path / "certificate.json")
    assert [label["path_A"] for entry in read["classes"] for label in entry["labels"]] == [None] * facts["n_labels"]
    page = write_audit_page(tmp_path).read_text()
    assert "miscaptured" in page


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda facts: facts | {"format": 99}, "format 99, written by trepid .*reads formats 1 to"),
        (lambda facts: {k: v for k, v in facts.items() if k != "classes"}, "damaged one .*'classes'"),
        (lambda facts: [facts], "damaged one"),
        (lambda facts: facts | {"classes": [{"number": 1}]}, "damaged one .*'labels'"),
    ],
)
def test_a_certificate_that_cannot_be_read_says_what_to_do(
    whole: tuple[AuditResult, CountingEMT, Path], tmp_path: Path, damage: Callable[[Any], Any], text: str
) -> None:
    facts = json.loads((whole[2] / "certificate.json").read_text())
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(damage(facts)))
    with pytest.raises(DataError, match=text) as raised:
        write_audit_page(tmp_path)
    assert str(path) in str(raised.value)
    path.unlink()
    with pytest.raises(DataError, match="no certificate"):
        write_audit_page(tmp_path)


@pytest.mark.parametrize(
    ("owner", "name", "count", "after"),
    [
        (CountingEMT, "_compute", 2, True),
        (Ledger, "append", 2, False),
        (LabelStore, "write", 2, True),
        (LabelStore, "write", 4, False),
    ],
)
def test_a_killed_audit_resumes_and_computes_no_label_twice(
    whole: tuple[AuditResult, CountingEMT, Path],
    analysis: EventAnalysis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    count: int,
    after: bool,
) -> None:
    undo = kill_at(monkeypatch, owner, name, count, after=after)
    with pytest.raises(Killed):
        audited(analysis, tmp_path / "run")
    undo()
    done = LabelStore(tmp_path / "run" / "labels").numbers()
    result, reference = audited(analysis, tmp_path / "run")
    assert without_times(result.facts) == without_times(whole[0].facts)
    assert len(reference.frames) == len(whole[1].frames) - len(done)
    labels = [e.event.label for e in read_ledger(tmp_path / "run" / "ledger.jsonl") if isinstance(e.event, Label)]
    assert sorted(labels) == sorted(set(labels))
    assert not any(same_frame(a, b) for k, a in enumerate(reference.frames) for b in reference.frames[:k])


def test_a_finished_audit_computes_nothing_again(
    whole: tuple[AuditResult, CountingEMT, Path], analysis: EventAnalysis
) -> None:
    result, reference = audited(analysis, whole[2])
    assert not reference.frames
    assert without_times(result.facts) == without_times(whole[0].facts)


def test_an_end_state_with_colliding_atoms_is_judged_and_nothing_is_lost(
    analysis: EventAnalysis, tmp_path: Path
) -> None:
    """The reference refuses the label, also the second time; the verdict says so, and a resumed audit asks for nothing."""
    hole = copper()[1].positions[31]
    first = CollidingEMT(hole)
    result = run_audit(
        analysis, CalculatorModel(ChangedEMT(0.75)), first, TASK, tmp_path / "run", inputs=INPUTS, tell=lambda _: None
    )
    (audit,) = result.classes
    assert str(audit.verdict) == "hallucinated"
    assert "2.9e+03 eV/A" in audit.judgement.reason
    assert result.facts["n_labels"] == len(LabelStore(tmp_path / "run" / "labels").numbers()) == len(audit.points)
    assert result.facts["n_failed_labels"] >= 1
    assert "2.9e+03" in write_audit_page(tmp_path / "run").read_text()
    again = CollidingEMT(hole)
    resumed = run_audit(
        analysis, CalculatorModel(ChangedEMT(0.75)), again, TASK, tmp_path / "run", inputs=INPUTS, tell=lambda _: None
    )
    assert not again.frames
    assert without_times(resumed.facts) == without_times(result.facts)


def test_another_model_or_temperature_in_the_same_directory_is_refused(
    whole: tuple[AuditResult, CountingEMT, Path], analysis: EventAnalysis
) -> None:
    other = Inputs(INPUTS.trajectory, {"kind": "another"}, {}, INPUTS.crystal)
    with pytest.raises(ConfigError, match="another inputs|another model"):
        audited(analysis, whole[2], inputs=other)
    with pytest.raises(ConfigError, match="another temperature_K: 900.0, not 300.0"):
        audited(analysis, whole[2], task=AuditTask(temperature_K=300.0, settings=SETTINGS))


def test_a_changed_label_is_refused(analysis: EventAnalysis, tmp_path: Path) -> None:
    audited(analysis, tmp_path / "run")
    path = tmp_path / "run" / "labels" / "label-0002.extxyz"
    path.write_text(path.read_text().replace("REF_energy=", "REF_energy=1"))
    with pytest.raises(DataError, match=r"label-0002.extxyz: was changed"):
        audited(analysis, tmp_path / "run")


def test_a_directory_of_something_else_is_refused(analysis: EventAnalysis, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files"):
        audited(analysis, tmp_path)


def test_the_plan_is_the_most_it_costs(analysis: EventAnalysis) -> None:
    plan = plan_audit(analysis, AuditTask(temperature_K=900.0, settings=SETTINGS))
    assert plan.most_labels == 5 * (len(plan.classes) + len(plan.probes))
    assert plan.classes[0].seen.n_seen == 1
    assert plan.classes[0].ways >= 1


def test_a_damaged_path_is_sought_again(whole: tuple[AuditResult, CountingEMT, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole[2], folder)
    path = folder / "classes" / "01" / "path.extxyz"
    path.write_text(path.read_text().replace("band_converged", "band_konverged"))
    told: list[str] = []
    result, reference = audited(analyse_events(trajectory(), copper()[0]), folder, tell=told.append)
    assert not reference.frames
    assert any("path.extxyz.damaged" in line for line in told)
    assert without_times(result.facts) == without_times(whole[0].facts)


def test_classes_that_a_later_trajectory_alone_shows_are_probes_of_the_model(
    analysis: EventAnalysis, tmp_path: Path
) -> None:
    """A model that makes the hop cost 2.3 eV does not show it; a later one does."""
    quiet = analyse_events(trajectory()[:24], copper()[0])
    assert not quiet.classes
    plan = plan_audit(quiet, TASK, later=analysis)
    assert [candidate.seen.n_later for candidate in plan.probes] == [1]
    result, reference = audited(quiet, tmp_path / "run", factor=3.0, later=analysis)
    (entry,) = result.facts["probes"]
    assert entry["n_seen_later"] == 1
    assert entry["verdict"] == "overlooked"
    assert entry["model_barrier_eV"] > entry["horizon_eV"] > entry["reference_barrier_eV"]
    assert 2 <= len(reference.frames) <= 5
    assert not plan_audit(analysis, TASK, later=analysis).probes


def test_trajectories_of_other_crystals_are_not_compared(analysis: EventAnalysis) -> None:
    crystal, _ = copper()
    turned = crystal[[*range(1, 31), 0]]
    other = analyse_events([turned.copy() for _ in range(25)], turned, interval_fs=20.0)
    with pytest.raises(DataError, match="in the same order and crystal"):
        plan_audit(analysis, TASK, later=other)


def test_a_frame_that_is_nearly_a_labelled_one_is_not_labelled_again(
    whole: tuple[AuditResult, CountingEMT, Path], tmp_path: Path
) -> None:
    """Two relaxations of one state end 0.001 A apart: the second gets the label of the first, of the first one's frame."""
    labels, reference = source(whole[2], tmp_path)
    frame = labels.labeller.store.read(1).atoms.copy()
    moved = frame.copy()
    moved.positions[3] += [0.006, 0.0, -0.005]
    (answer,) = labels([wanted(moved)])
    assert answer.number == 1
    assert answer.atoms is not None
    np.testing.assert_array_equal(answer.atoms.positions, frame.positions)
    assert not reference.frames
    moved.positions[3] += [0.02, 0.0, 0.0]
    (answer,) = labels([wanted(moved)])
    assert answer.number == len(whole[1].frames) + 1
    assert len(reference.frames) == 1


def source(folder: Path, copy: Path) -> tuple[AuditLabels, CountingEMT]:
    """The labels of an audit, in a copy of its directory."""
    shutil.copytree(folder / "labels", copy / "labels")
    shutil.copy(folder / "ledger.jsonl", copy)
    reference = CountingEMT()
    labeller = Labeller(
        reference, InlineExecutor(), LabelStore(copy / "labels"), Ledger(copy / "ledger.jsonl"), 0, lambda: False
    )
    return AuditLabels(labeller, 1, 900.0), reference


def wanted(atoms: Atoms) -> Wanted:
    return Wanted(Role.END, atoms, CalculatorModel(EMT()).predict(atoms), 0.0, None)
