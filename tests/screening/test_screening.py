from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.optimize import minimize_scalar

from kills import Killed, kill_at
from rounds_fakes import content
from screening_fakes import outcome, screening
from trepid.config.screening import ScreeningSettings, load_screening
from trepid.data.frames import read_frames
from trepid.data.lock import RunLock
from trepid.errors import ConfigError, DataError, MachineError
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import Ledger, read_ledger
from trepid.screening import material as material_module
from trepid.screening.directory import ScreeningDirectory, files_of
from trepid.screening.entries import KINDS, Advanced, ScreeningEnd, Turn
from trepid.screening.record import FailureCode, MaterialRecord, Status
from trepid.screening.run import ScreeningResult, screen

FE = {"name": "Fe", "prototype": "bcc", "a": 2.87}
"""EMT does not know iron."""
NAMES = ("Cu", "Ag", "Fe")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ScreeningResult:
    """A screening of two metals, and of one that its reference cannot compute."""
    return screen(screening(tmp_path_factory.mktemp("screening"), materials=[FE]))


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a screening of copper, one round, that nothing interrupted."""
    return screen(one_metal(tmp_path_factory.mktemp("single"))).directory


def one_metal(folder: Path, rounds: int = 1) -> ScreeningSettings:
    return screening(folder, names=("Cu",), rounds={"max_rounds": rounds})


def test_every_material_ends_and_a_failing_one_keeps_its_reason_and_stops_no_other(finished: ScreeningResult) -> None:
    assert finished.reason is ScreeningEnd.DONE
    cu, ag, fe = finished.records
    assert (cu.status, ag.status) == (Status.EXHAUSTED, Status.EXHAUSTED)
    assert (fe.status, fe.failure) == (Status.FAILED, FailureCode.RELAXATION)
    assert "Fe" in fe.message
    for record in (cu, ag):
        assert len(record.rounds) == 2
        assert record.sigma_a is not None
        assert record.one_shot is not None
        assert record.spacegroup == "Fm-3m (225)"
        assert record.n_imaginary == 0
        assert record.n_labels == record.rounds[-1].n_labels - record.n_relaxation


def test_a_later_round_labels_frames_although_the_model_errs_by_more_on_its_own(tmp_path: Path) -> None:
    """A model that misses its training frames by more than any walk is uncertain would never be checked."""
    (cu,) = screen(screening(tmp_path, names=("Cu",), acquisition={"floor_noise": 1e6})).records
    first, second = cu.rounds
    assert second.n_labels == first.n_labels + 1


def test_the_crystal_is_relaxed_to_the_lattice_constant_of_the_reference(finished: ScreeningResult) -> None:
    def energy(a: float) -> float:
        atoms = bulk("Cu", "fcc", a=a).repeat(2)
        atoms.calc = EMT()
        return float(atoms.get_potential_energy())

    best = minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-6}).x
    relaxed = read_frames(files_of(finished.directory, "Cu").structure, require=())[0]
    assert (4 * relaxed.cell.volume) ** (1 / 3) == pytest.approx(best, abs=2e-3)


def test_a_finished_screening_computes_nothing_when_it_is_started_again(finished: ScreeningResult) -> None:
    before = outcome(finished.directory, NAMES)
    again = screen(screening(finished.directory.parent, materials=[FE]))
    assert again.reason is ScreeningEnd.DONE
    assert outcome(finished.directory, NAMES) == before


@pytest.mark.parametrize(
    ("owner", "method", "count", "after"),
    [
        (LabelStore, "write", 2, True),  # in a relaxation, before its entry
        pytest.param(LabelStore, "write", 6, False, marks=pytest.mark.slow),  # in a campaign
        (MaterialRecord, "write", 1, True),  # a record that the ledger does not know
        pytest.param(MaterialRecord, "write", 1, False, marks=pytest.mark.slow),
    ],
)
def test_a_killed_screening_equals_an_uninterrupted_one(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, count: int, after: bool
) -> None:
    settings = one_metal(tmp_path)
    undo = kill_at(monkeypatch, owner, method, count, after=after)
    with pytest.raises(Killed):
        screen(settings)
    undo()
    known = {path: content(path) for path in (tmp_path / "out").glob("materials/*/*/labels/label-*.extxyz")}
    assert screen(settings).reason is ScreeningEnd.DONE
    assert outcome(tmp_path / "out", ("Cu",)) == outcome(single, ("Cu",))
    assert all(content(path) == value for path, value in known.items())


def test_a_moved_directory_goes_on_where_it_was(single: Path, tmp_path: Path) -> None:
    shutil.copytree(single, tmp_path / "out")
    (longer,) = screen(one_metal(tmp_path, rounds=2)).records
    assert len(longer.rounds) == 2
    _, labels = outcome(single, ("Cu",))
    _, more = outcome(tmp_path / "out", ("Cu",))
    assert {name: more[name] for name in labels} == labels
    assert len(more) == len(labels) + 1


def test_a_second_command_on_a_directory_is_refused(finished: ScreeningResult) -> None:
    lock = RunLock(finished.directory)
    try:
        with pytest.raises(DataError, match="in use by another trepid process"):
            screen(screening(finished.directory.parent, materials=[FE]))
    finally:
        lock.release()


def test_a_ledger_with_a_broken_tail_is_mended_and_the_table_stays(finished: ScreeningResult, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "out")
    ledger = tmp_path / "out" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    last = max(k for k, line in enumerate(lines) if json.loads(line)["event"] == Advanced.event)
    ledger.write_bytes(b"".join(lines[:last]) + lines[last][:40])
    told: list[str] = []
    assert screen(screening(tmp_path, materials=[FE]), tell=told.append).reason is ScreeningEnd.DONE
    assert any("dropped" in line for line in told)
    assert outcome(tmp_path / "out", NAMES) == outcome(finished.directory, NAMES)


def test_a_full_disk_ends_the_screening_and_is_no_fault_of_a_material(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LabelStore.write
    written = [0]

    def full(self: LabelStore, frame: object) -> None:
        written[0] += 1
        if written[0] == 5:
            raise MachineError("cannot write: No space left on device")
        real(self, frame)  # type: ignore[arg-type]

    settings = one_metal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "write", full)
        with pytest.raises(MachineError):
            screen(settings)
    assert not files_of(tmp_path / "out", "Cu").record.exists()
    assert screen(settings).reason is ScreeningEnd.DONE
    assert outcome(tmp_path / "out", ("Cu",)) == outcome(single, ("Cu",))


@pytest.mark.slow
def test_a_hanging_reference_costs_its_material_and_no_other(tmp_path: Path) -> None:
    hanging = {"engine": "ase", "calculator": "screening_fakes:Hanging", "timeout_s": 60.0}
    rounds = {"max_rounds": 1, "retries": 0}
    result = screen(screening(tmp_path, reference=hanging, rounds=rounds))
    cu, ag = result.records
    assert cu.status is Status.EXHAUSTED
    assert (ag.status, ag.failure) == (Status.FAILED, FailureCode.RELAXATION)
    assert "timeout" in ag.message


def test_a_defect_is_kept_with_its_traceback_and_tried_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by mistake")

    settings = one_metal(tmp_path)
    monkeypatch.setattr(material_module, "unit_cell", broken)
    (record,) = screen(settings).records
    assert record.failure is FailureCode.DEFECT
    log = files_of(tmp_path / "out", "Cu").log
    assert log.read_text().count("ZeroDivisionError: by mistake") == 1
    assert screen(settings).records[0].status is Status.FAILED
    assert log.read_text().count("ZeroDivisionError: by mistake") == 1
    (again,) = screen(settings, retry=True).records
    assert again.failure is FailureCode.DEFECT
    assert log.read_text().count("ZeroDivisionError: by mistake") == 2


def test_a_material_whose_force_constants_failed_starts_afresh_when_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    licence = tmp_path / "licence"
    monkeypatch.setenv("TREPID_TEST_LICENCE", str(licence))
    calculator = {"engine": "ase", "calculator": "screening_fakes:Licensed"}
    settings = screening(tmp_path, names=("Cu",), relax=None, reference=calculator, rounds={"max_rounds": 1})
    (record,) = screen(settings).records
    assert (record.status, record.failure) == (Status.FAILED, FailureCode.LABELS)
    assert "failed: crashed: screening_fakes:Licensed: failed: no licence" in record.message
    licence.touch()
    (again,) = screen(settings, retry=True).records
    assert again.status is Status.EXHAUSTED
    assert (files_of(tmp_path / "out", "Cu").directory / "run.failed-1").is_dir()


def test_turns_are_noted_before_they_begin_and_every_material_has_its_first_round_first(
    finished: ScreeningResult,
) -> None:
    entries = [entry.event for entry in read_ledger(finished.directory / "ledger.jsonl", kinds=KINDS)]
    turns = [event for event in entries if isinstance(event, Turn)]
    assert [turn.materials for turn in turns[:2]] == [["Cu", "Ag"], ["Fe"]]
    assert all(risk is None for turn in turns[:2] for risk in turn.risks)
    assert len(turns) == 3
    assert all(risk is not None and risk > 0 for risk in turns[2].risks)
    for turn in turns:
        done = [event for event in entries if isinstance(event, Advanced) and event.turn == turn.turn]
        assert all(entries.index(turn) < entries.index(event) for event in done)
        assert sorted(event.material for event in done) == sorted(turn.materials)


def test_labels_cannot_be_mixed_with_those_of_other_settings(finished: ScreeningResult) -> None:
    with pytest.raises(ConfigError, match=r"another walkers\.temperatures_K: \[200\.0\], not \[300\.0\]"):
        screen(screening(finished.directory.parent, materials=[FE], walkers={"temperatures_K": [300]}))
    with pytest.raises(ConfigError, match="another a: 2.87, not 2.9"):
        screen(screening(finished.directory.parent, materials=[{**FE, "a": 2.9}]))
    with pytest.raises(ConfigError, match="Fe, which the list has no more"):
        screen(screening(finished.directory.parent))


def test_a_key_that_an_earlier_version_did_not_have_is_its_default(finished: ScreeningResult, tmp_path: Path) -> None:
    settings = load_screening(finished.directory / "screening.yaml", require_files=False)
    shutil.copytree(finished.directory, tmp_path / "earlier")
    file = tmp_path / "earlier" / "screening.yaml"
    known = yaml.safe_load(file.read_text())
    del known["rounds"]["stop"]["barrier_eV"]
    file.write_text(yaml.safe_dump(known))
    assert ScreeningDirectory(file.parent).compare_screening(settings) == []


def test_a_screening_of_structures_as_they_are_goes_on(tmp_path: Path) -> None:
    settings = screening(tmp_path, names=("Cu",), relax=None)
    home = ScreeningDirectory(tmp_path / "out")
    home.settings.write_text(settings.to_yaml())
    assert load_screening(home.settings, require_files=False).relax is None
    assert home.compare_screening(settings) == []
    with pytest.raises(ConfigError, match="another relax: None, not"):
        home.compare_screening(screening(tmp_path, names=("Cu",)))


def test_a_record_reads_back_as_it_was_written(finished: ScreeningResult, tmp_path: Path) -> None:
    for record in finished.records:
        record.write(tmp_path / "record.json")
        assert MaterialRecord.read(tmp_path / "record.json") == record
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(DataError, match="not the record of a material"):
        MaterialRecord.read(tmp_path / "record.json")


def test_coverage_counts_the_components_of_the_frames_chosen_by_uncertainty(finished: ScreeningResult) -> None:
    for record in finished.records[:2]:
        assert record.coverage.n_components == 3 * record.n_atoms * record.coverage.n_frames
        store = LabelStore(files_of(finished.directory, record.name).run / "labels")
        inside = 0
        for label in store.read_all():
            if label.origin.reason.value == "uncertainty":
                assert label.prediction is not None
                assert label.noise is not None
                error = np.abs(label.prediction.forces - label.forces)
                bar = np.hypot(label.prediction.forces_uncertainty, label.noise.forces)
                inside += int((error <= 1.959964 * bar).sum())
        # The noise grows with large forces, so that a bar is never below this one.
        assert inside <= record.coverage.inside <= record.coverage.n_components


def test_a_ledger_of_a_screening_is_none_of_a_campaign(finished: ScreeningResult) -> None:
    with pytest.raises(DataError, match="unknown"):
        read_ledger(finished.directory / "ledger.jsonl")
    with pytest.raises(DataError, match="unknown"):
        Ledger(finished.directory / "ledger.jsonl")
