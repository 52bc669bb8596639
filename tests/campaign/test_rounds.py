from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from campaign_fakes import LoggedReference, calls, crystal, springs
from rounds_fakes import assert_same_rounds, entries_without_times, rounds_campaign
from trepid.acquisition.conformal import factor_of
from trepid.campaign.learn import learn
from trepid.campaign.result import CampaignResult
from trepid.data.frames import Labels, read_frames
from trepid.errors import ConfigError, DataError
from trepid.potentials import load_potential
from trepid.reference.base import LabelError
from trepid.runs.intervals import Announced
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import (
    Doubted,
    Failure,
    Label,
    Reason,
    Resume,
    Round,
    RoundEnd,
    Selected,
    StopReason,
    Train,
    Walks,
)
from trepid.runs.reading import read_run
from trepid.runs.round_files import RoundRecord, Selection, complete_rounds

CHEAP = {"batch": "bernoulli", "viability": "none", "events": False}


def run(folder: Path, reference: LoggedReference | None = None, **sections: object) -> CampaignResult:
    return learn(rounds_campaign(folder, **sections), reference=reference or LoggedReference(folder / "calls.jsonl"))


def run_springs(folder: Path, reference: LoggedReference | None = None, **sections: object) -> CampaignResult:
    """With the stand-in potential: a campaign of a tenth of a second."""
    sections["acquisition"] = {**CHEAP, **sections.get("acquisition", {})}  # type: ignore[dict-item]
    return learn(
        rounds_campaign(folder, **sections),
        reference=reference or LoggedReference(folder / "calls.jsonl"),
        potentials=springs(crystal()),
    )


def events(folder: Path, kind: type) -> list:  # type: ignore[type-arg]
    return [entry.event for entry in read_ledger(folder / "run" / "ledger.jsonl") if isinstance(entry.event, kind)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    assert run(folder).reason is StopReason.FINISHED
    return folder


# ---------------------------------------------------------------------- the loop


def test_a_campaign_writes_one_file_per_step_and_its_ledger_entries(finished: Path) -> None:
    rounds = finished / "run" / "rounds"
    assert {path.name for path in (rounds / "00").iterdir()} == {"selected.extxyz", "model.trepid", "round.json"}
    for number in ("01", "02"):
        names = {path.name for path in (rounds / number).iterdir()}
        assert names >= {"walk-00.npz", "walk-00.extxyz", "walk-01.npz", "selection.json", "selected.extxyz"}
        assert names >= {"model.trepid", "round.json"}
    assert [event.round for event in events(finished, Round)] == [0, 1, 2]
    assert [event.round for event in events(finished, Walks)] == [1, 2]
    assert [event.round for event in events(finished, Selected)] == [1, 2]
    assert [event.round for event in events(finished, RoundEnd)] == [0, 1, 2]
    records = complete_rounds(finished / "run")
    trained = [event.n_labels for event in events(finished, Train)]
    assert trained == [record.n_labels for record in records]
    assert load_potential(finished / "run" / "model.trepid").n_frames == records[-1].n_labels


def test_labels_carry_the_prediction_made_before_training(finished: Path) -> None:
    records = complete_rounds(finished / "run")
    assert records[0].new is None
    for record in records[1:]:
        model = load_potential(finished / "run" / "rounds" / f"{record.round - 1:02d}" / "model.trepid")
        for number in record.labels:
            frame = read_frames(finished / "run" / "labels" / f"label-{number:04d}.extxyz")[0]
            prediction = model.predict(frame)
            assert frame.info["reason"] == Reason.UNCERTAINTY.value
            np.testing.assert_allclose(frame.arrays["predicted_forces"], prediction.forces, atol=1e-9)
            np.testing.assert_allclose(frame.arrays["forces_uncertainty"], prediction.forces_uncertainty, rtol=1e-6)


def test_the_record_follows_from_the_labels(finished: Path) -> None:
    record = complete_rounds(finished / "run")[1]
    frames = [read_frames(finished / "run" / "labels" / f"label-{k:04d}.extxyz")[0] for k in record.labels]
    errors = np.concatenate([f.arrays["predicted_forces"] - f.arrays["REF_forces"] for f in frames])
    assert record.new is not None
    assert record.new.forces_mae == pytest.approx(np.abs(errors).mean())
    std = np.concatenate([f.arrays["forces_uncertainty"] for f in frames])
    scatter = [
        f.info["noise_forces"]
        * np.sqrt(1 + (f.arrays["predicted_forces"] ** 2).sum(axis=1) / f.info.get("noise_large_force", np.inf) ** 2)
        for f in frames
    ]
    z = errors / np.hypot(std, np.concatenate(scatter)[:, None])
    assert record.calibration["all"].before.scale == pytest.approx(np.sqrt((z**2).mean()))
    assert record.calibration["all"].before.coverage_68 == pytest.approx((np.abs(z) < 0.9945).mean(), abs=0.02)
    assert record.calibration["all"].factor is None
    assert record.calibration["Cu"] == record.calibration["all"]
    # The factor of the next round is the conformal quantile of this one's scores, at the same temperatures.
    later = complete_rounds(finished / "run")[2].calibration["all"]
    scored = [frame for frame in read_run(finished / "run").scored() if frame.batch < 2]
    strata = [frame.strata for frame in read_run(finished / "run").scored() if frame.batch == 2]
    assert later.factor == pytest.approx(np.mean([factor_of(scored, each, "Cu").value for each in strata]))


def test_the_ledger_holds_the_factors_of_the_announced_intervals(finished: Path) -> None:
    run = read_run(finished / "run")
    rounds = {label.number: label.origin.round for label in run.labels}
    for request in run.requests:
        number = rounds[request.label]
        if number == 0:
            assert (request.stratum, request.interval_factors) == (None, {})
            continue
        label = next(label for label in run.labels if label.number == request.label)
        before = [frame for frame in run.scored() if frame.batch < number]
        given = Announced.of(before, label.origin, label.atoms.get_chemical_symbols())
        assert request.stratum == given.stratum
        assert request.interval_factors == {name: factor.as_dict() for name, factor in given.factors.items()}
        assert (request.interval_factors["Cu"]["basis"] == "none") is (number == 1)


def test_selected_frames_are_sufficient_and_training_lowers_their_uncertainty(finished: Path) -> None:
    selection = Selection.read(finished / "run" / "rounds" / "01" / "selection.json")
    assert selection.statistics is not None
    assert len(selection.picks) == 3
    for pick in selection.picks:
        assert pick.uncertainty is not None
        assert pick.p_uncertainty is not None
        assert pick.p_viability is not None
        assert pick.uncertainty >= selection.statistics.floor
        assert pick.p_uncertainty * pick.p_viability >= 0.05
    gains = [pick.gain for pick in selection.picks]
    assert gains == sorted(gains, reverse=True)  # type: ignore[type-var]
    after = load_potential(finished / "run" / "rounds" / "01" / "model.trepid")
    for pick in selection.picks:
        frame = read(finished / "run" / "labels" / f"label-{pick.label:04d}.extxyz")
        assert pick.uncertainty is not None
        assert after.predict(frame).frame_uncertainty < pick.uncertainty


def test_a_campaign_that_has_ended_does_nothing_more(finished: Path) -> None:
    ledger = (finished / "run" / "ledger.jsonl").read_bytes()
    result = run(finished)
    assert result.reason is StopReason.FINISHED
    assert result.n_rounds == 2
    assert (finished / "run" / "ledger.jsonl").read_bytes() == ledger


def test_a_raised_budget_gives_the_campaign_that_had_it_from_the_start(tmp_path: Path, finished: Path) -> None:
    assert run(tmp_path, rounds={"max_rounds": 1}).n_rounds == 1
    assert run(tmp_path, rounds={"max_rounds": 2}).n_rounds == 2
    assert events(tmp_path, Resume)[0].changed == ["rounds.max_rounds: 1 -> 2"]
    assert_same_rounds(tmp_path / "run", finished / "run")


@pytest.mark.parametrize(
    ("sections", "key"),
    [({"walkers": {"timestep_fs": 2.0}}, "walkers.timestep_fs"), ({"acquisition": {"labels_per_round": 9}}, "acquisi")],
)
def test_settings_that_the_rounds_depend_on_may_not_change(
    finished: Path, sections: dict[str, object], key: str
) -> None:
    with pytest.raises(ConfigError, match=f"holds a run with another {key}"):
        run(finished, **sections)


def test_another_seed_gives_another_campaign_the_same_seed_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_springs(tmp_path / name)
    assert_same_rounds(tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert entries_without_times(tmp_path / "a" / "run") == entries_without_times(tmp_path / "b" / "run")
    first, second = (
        read_frames(tmp_path / "a" / "run" / "rounds" / f"0{k}" / "walk-00.extxyz", require=()) for k in (1, 2)
    )
    assert not np.allclose(first[0].positions, second[0].positions, atol=1e-3)


def test_two_workers_make_the_same_campaign_as_one(tmp_path: Path, finished: Path) -> None:
    run(tmp_path, execution={"workers": 2})
    assert_same_rounds(tmp_path / "run", finished / "run")


# ---------------------------------------------------------------------- budgets and ends


def test_the_budget_of_labels_is_kept(tmp_path: Path) -> None:
    result = run_springs(tmp_path, rounds={"max_rounds": 5, "max_labels": 5})
    assert result.reason is StopReason.LABELS
    assert result.n_labels == 5
    assert result.exit_code == 0
    assert len(calls(tmp_path)) == 5


def test_the_budget_of_hours_counts_all_starts(tmp_path: Path) -> None:
    result = run_springs(tmp_path, rounds={"max_rounds": 50, "max_hours": 1e-6})
    assert result.reason is StopReason.HOURS
    assert result.n_rounds == 0
    more = run_springs(tmp_path, rounds={"max_rounds": 50, "max_hours": 2e-6})
    assert more.reason is StopReason.HOURS
    assert more.n_rounds == 0


def test_it_has_converged_when_no_candidate_is_eligible(tmp_path: Path) -> None:
    result = run_springs(tmp_path, acquisition={"floor_noise": 1e6}, rounds={"max_rounds": 9, "patience": 2})
    assert result.reason is StopReason.CONVERGED
    assert result.n_rounds == 2
    assert result.n_labels == 3
    assert not (tmp_path / "run" / "rounds" / "01" / "model.trepid").exists()


# ---------------------------------------------------------------------- controls


def test_random_and_hot_do_not_use_the_model(tmp_path: Path) -> None:
    for kind in ("random", "hot"):
        folder = tmp_path / kind
        folder.mkdir()
        run_springs(folder, acquisition={"kind": kind}, rounds={"max_rounds": 1})
        selection = Selection.read(folder / "run" / "rounds" / "01" / "selection.json")
        assert selection.statistics is None
        assert [pick.reason for pick in selection.picks] == [kind] * 3
        if kind == "hot":
            assert {pick.temperature_K for pick in selection.picks} == {500.0}
            steps = np.diff([pick.step for pick in selection.picks])
            assert np.ptp(steps) <= 8


# ---------------------------------------------------------------------- failures


def test_labels_that_fail_are_left_out(tmp_path: Path) -> None:
    result = run_springs(tmp_path, LoggedReference(fail=[4, 6]), rounds={"retries": 1})
    assert result.reason is StopReason.FINISHED
    record = complete_rounds(tmp_path / "run")[1]
    assert record.n_failed == 1
    assert len(record.labels) == 2
    assert (tmp_path / "run" / "labels" / "label-0005.failed.extxyz").exists()
    assert record.next_label == 7
    assert [event.attempt for event in events(tmp_path, Failure)] == [1, 2]


def test_too_many_failures_end_the_campaign_and_the_next_start_retries(tmp_path: Path) -> None:
    result = run_springs(tmp_path, LoggedReference(fail=range(3, 99)), rounds={"retries": 0})
    assert result.reason is StopReason.FAILURES
    assert result.exit_code == LabelError.exit_code
    assert run_springs(tmp_path, rounds={"retries": 0}).reason is StopReason.FINISHED
    assert complete_rounds(tmp_path / "run")[1].n_failed == 0


def test_on_failure_stop_ends_at_the_first_failure(tmp_path: Path) -> None:
    result = run_springs(tmp_path, LoggedReference(fail=[4]), rounds={"retries": 0, "on_failure": "stop"})
    assert result.reason is StopReason.FAILURES
    assert "on_failure is stop" in result.message


class CorruptingReference(LoggedReference):
    """Some frames get forces of the wrong sign, at the first call only."""

    def _compute(self, atoms):  # type: ignore[no-untyped-def]
        call = self.calls
        labels = super()._compute(atoms)
        wrong = call in self.corrupt
        return Labels(energy=labels.energy, forces=-labels.forces if wrong else labels.forces, stress=labels.stress)

    corrupt = (4, 8)


def test_corrupted_labels_are_rejected(tmp_path: Path) -> None:
    result = run(tmp_path, CorruptingReference())
    assert result.reason is StopReason.FINISHED
    assert sum(record.n_corrupted for record in complete_rounds(tmp_path / "run")) == 2
    assert events(tmp_path, Doubted)
    correct = LoggedReference()
    for path in sorted((tmp_path / "run" / "labels").glob("label-????.extxyz")):
        frame = read_frames(path)[0]
        np.testing.assert_allclose(frame.arrays["REF_forces"], correct.label(frame).arrays["REF_forces"], atol=1e-8)


# ---------------------------------------------------------------------- starts


def test_start_from_labelled_frames_of_the_user_costs_no_label(tmp_path: Path) -> None:
    frames = []
    for k in range(6):
        atoms = crystal()
        atoms.rattle(0.05, seed=k)
        frames.append(LoggedReference().label(atoms))
    del frames[4].info["REF_energy"]
    write(tmp_path / "mine.extxyz", frames)
    reference = LoggedReference(tmp_path / "calls.jsonl")
    start = {"kind": "frames", "file": str(tmp_path / "mine.extxyz")}
    result = run_springs(tmp_path, reference, start=start, rounds={"max_rounds": 1})
    assert result.n_labels == 9
    assert len(calls(tmp_path)) == 4
    assert [event.seconds > 0 for event in events(tmp_path, Label)[:6]].count(False) >= 5
    kept = read_frames(tmp_path / "run" / "labels" / "label-0001.extxyz")[0]
    np.testing.assert_array_equal(
        kept.arrays["REF_forces"], read_frames(tmp_path / "mine.extxyz", index="0")[0].arrays["REF_forces"]
    )


def test_start_from_a_harmonic_sample_labels_the_displaced_crystals_too(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    (tmp_path / "run").parent.mkdir(exist_ok=True)
    result = run_springs(tmp_path, start={"kind": "harmonic", "n": 4, "temperature_K": 150}, rounds={"max_rounds": 1})
    assert result.reason is StopReason.FINISHED
    reasons = [read(path).info["reason"] for path in sorted((tmp_path / "run" / "labels").glob("label-????.extxyz"))]
    n_displaced = reasons.count(Reason.HARMONIC.value)
    assert 1 <= n_displaced <= 4
    assert reasons[: n_displaced + 4] == [Reason.HARMONIC.value] * n_displaced + [Reason.INITIAL.value] * 4
    record = complete_rounds(tmp_path / "run")[0]
    assert record.n_labels == n_displaced + 4
    assert (tmp_path / "run" / "rounds" / "00" / "phonopy.yaml").exists()
    # Thermal displacements of a harmonic crystal: sqrt(3 kT / k) within the scatter of four frames of eight atoms.
    sites = crystal()
    samples = [read(tmp_path / "run" / "labels" / f"label-{n_displaced + k:04d}.extxyz") for k in (1, 2, 3, 4)]
    rms = np.sqrt(np.mean([(frame.positions - sites.positions) ** 2 for frame in samples]))
    assert 0.02 < rms < 0.15


def test_frames_of_other_elements_are_refused(tmp_path: Path) -> None:
    other = crystal()
    other.symbols[0] = "Au"
    write(tmp_path / "mine.extxyz", other)
    with pytest.raises(DataError, match="frame 0 .* contains Au"):
        run_springs(tmp_path, start={"kind": "frames", "file": str(tmp_path / "mine.extxyz")})


# ---------------------------------------------------------------------- files


def test_records_and_selections_come_back_as_they_were(finished: Path, tmp_path: Path) -> None:
    for record in complete_rounds(finished / "run"):
        record.write(tmp_path / "round.json")
        assert RoundRecord.read(tmp_path / "round.json") == record
    selection = Selection.read(finished / "run" / "rounds" / "02" / "selection.json")
    selection.write(tmp_path / "selection.json")
    assert Selection.read(tmp_path / "selection.json") == selection


@pytest.mark.parametrize("damage", ["{", "[]", '{"round": 1}'])
def test_damaged_files_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "round.json"
    path.write_text(damage)
    with pytest.raises(DataError, match=r"round\.json"):
        RoundRecord.read(path)
    with pytest.raises(DataError, match=r"round\.json"):
        Selection.read(path)


def test_test_frames_are_never_trained_on(tmp_path: Path) -> None:
    frames = []
    for k in range(3):
        atoms = crystal()
        atoms.rattle(0.08, seed=50 + k)
        frames.append(LoggedReference().label(atoms))
    write(tmp_path / "test.extxyz", frames)
    run_springs(tmp_path, rounds={"max_rounds": 1, "test_frames": str(tmp_path / "test.extxyz")})
    for record in complete_rounds(tmp_path / "run"):
        assert record.test is not None
        assert record.test.n_frames == 3
    assert len(calls(tmp_path)) == 6


def test_it_ends_on_properties_whatever_the_force_error(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    walkers = {"temperatures_K": [200], "duration_ps": 0.8}
    acquisition = {"least_probability": 0.0, "labels_per_round": 2}
    sections = {"walkers": walkers, "acquisition": acquisition}
    for name in ("loose", "tight"):
        (tmp_path / name).mkdir()
    # Absent events are known to be rarer than this after two walks of 0.8 ps.
    loose = {"stop": {"sigma_a": 0.5, "rare_per_100_ps": 400.0}, "max_rounds": 4}
    result = run(tmp_path / "loose", **sections, rounds=loose)
    assert result.reason is StopReason.CONVERGED
    assert "the properties are known: sigma^A" in result.message
    records = complete_rounds(tmp_path / "loose" / "run")
    assert len(records) == 3
    for record in records[1:]:
        assert record.sigma_a[0].model_error is not None
        assert 0.0 < record.sigma_a[0].model_error < 0.3
        assert record.labels
    tight = {"stop": {"sigma_a": 1e-6, "rare_per_100_ps": 400.0}, "max_rounds": 2}
    assert run(tmp_path / "tight", **sections, rounds=tight).reason is StopReason.FINISHED
