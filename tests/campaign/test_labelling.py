"""Labels through an executor: the same record as one by one, with failures, corrupted labels, killed workers and interruptions."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from comparison import frame_hash
from kills import Killed, kill_at
from label_fakes import Unreliable, number_of, numbered
from trepid.config import ExecutionSettings
from trepid.data.frames import LabelKeys, read_frames
from trepid.dynamics.interrupt import Interrupted
from trepid.errors import ConfigError
from trepid.execution import InlineExecutor, LocalExecutor, make_executor
from trepid.labelling.case import LabelCase, LabelRequest, failures_in_row
from trepid.labelling.check import LabelChecker, LabelHistory
from trepid.labelling.labeller import Labeller, LabelTask, _kept, compute_label
from trepid.potentials.base import Noise, Prediction
from trepid.reference import IsolatedReference, Reference, make_reference
from trepid.runs.label_files import LabelledFrame, LabelStore, Origin, PriorPrediction
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Doubt, Doubted, Failure, Label, Reason, Request, SomeEvent

NOISE = Noise(energy=1e-3, forces=0.01, stress=1e-3)


class Desk:
    """A folder with a store and a ledger, and what a campaign does with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "calls").mkdir(parents=True, exist_ok=True)
        self.store, self.ledger = LabelStore(folder / "labels"), Ledger(folder / "ledger.jsonl")

    def reference(self, plan: dict[tuple[int, int], str] | None = None, *, delay_s: float = 0.0) -> Unreliable:
        return Unreliable(self.folder / "calls", plan, delay_s=delay_s)

    def labeller(
        self,
        reference: Reference,
        executor: Executor,
        *,
        retries: int = 1,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Labeller:
        return Labeller(reference, executor, self.store, self.ledger, retries, interrupted)

    def batch(
        self,
        frames: Sequence[Atoms],
        reference: Reference,
        executor: Executor,
        *,
        retries: int = 1,
        interrupted: Callable[[], bool] = lambda: False,
        on_label: Callable[[LabelledFrame], None] | None = None,
    ) -> list[LabelledFrame | None]:
        requests = [request(k, atoms) for k, atoms in enumerate(frames, start=1)]
        labeller = self.labeller(reference, executor, retries=retries, interrupted=interrupted)
        return labeller.label(requests, checker=LabelChecker(LabelHistory()), on_label=on_label)

    def events(self, kind: type[SomeEvent]) -> list[SomeEvent]:
        return list(self.ledger.all(kind))

    def calls(self, atoms: Atoms) -> int:
        return len(list((self.folder / "calls").glob(f"{frame_hash(atoms)}.*")))


def correct(atoms: Atoms) -> tuple[float, np.ndarray]:
    calculator = EMT()
    calculator.calculate(atoms.copy())
    return float(calculator.results["free_energy"]), np.array(calculator.results["forces"])


def before(atoms: Atoms) -> PriorPrediction:
    """Prediction of a model whose errors agree with its error bars."""
    energy, forces = correct(atoms)
    error = np.random.default_rng(number_of(atoms)).normal(scale=0.02, size=forces.shape)
    prediction = Prediction(
        energy + 0.002, forces + error, energy_uncertainty=0.002, forces_uncertainty=np.full(forces.shape, 0.02)
    )
    return PriorPrediction(prediction, NOISE)


def request(label: int, atoms: Atoms) -> LabelRequest:
    origin = Origin(Reason.UNCERTAINTY, 7, 10.0, 300.0, round=2)
    return LabelRequest(label, atoms, origin, lambda: before(atoms), forces_uncertainty=0.2, threshold=0.1)


def some_frames(n: int) -> list[Atoms]:
    crystal = bulk("Cu", cubic=True) * (2, 1, 1)
    frames = []
    for k in range(n):
        atoms = crystal.copy()
        atoms.rattle(0.1, seed=k)
        frames.append(numbered(atoms, k))
    return frames


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with LocalExecutor(2) as executor:
        yield executor


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_many_at_once_are_the_same_as_one_by_one(tmp_path: Path, workers: Executor) -> None:
    frames = some_frames(6)
    plan = {(1, 0): "fail", (3, -1): "fail", (4, 0): "sign"}
    parallel, serial, inline = (Desk(tmp_path / name) for name in ("parallel", "serial", "inline"))
    found = parallel.batch(frames, parallel.reference(plan), workers)
    here = inline.batch(frames, inline.reference(plan), InlineExecutor())
    labeller = serial.labeller(serial.reference(plan), InlineExecutor())
    one_by_one = [
        labeller.label([request(k, atoms)], checker=LabelChecker(LabelHistory()))[0]
        for k, atoms in enumerate(frames, start=1)
    ]
    assert [atoms is None for atoms in found] == [k == 3 for k in range(6)]
    for others in (one_by_one, here):
        for first, second in zip(found, others, strict=True):
            assert (first is None) == (second is None)
            if first is None or second is None:
                continue
            mine, theirs = first.to_atoms(), second.to_atoms()
            assert mine.info.keys() == theirs.info.keys()
            assert mine.info["round"] == 2
            for key in mine.info.keys() - {"label_seconds"}:
                assert np.array_equal(mine.info[key], theirs.info[key]), key
            for key in mine.arrays:
                np.testing.assert_array_equal(mine.arrays[key], theirs.arrays[key])
    for other in (serial, inline):
        assert sorted(p.name for p in parallel.store.directory.iterdir()) == sorted(
            p.name for p in other.store.directory.iterdir()
        )
        for kind in (Request, Failure, Doubted):
            key = lambda event: (event.label, getattr(event, "attempt", 0))  # noqa: E731
            assert sorted(parallel.events(kind), key=key) == sorted(other.events(kind), key=key)
        assert sorted((e.label, e.attempt, e.file) for e in parallel.events(Label)) == sorted(
            (e.label, e.attempt, e.file) for e in other.events(Label)
        )
    assert {failures_in_row(other.ledger, 1) for other in (parallel, serial, inline)} <= {0, 1}  # by the order of ends


def test_five_percent_fail_and_five_percent_are_corrupted(desk: Desk, workers: Executor) -> None:
    frames = some_frames(100)
    rng = np.random.default_rng(7)
    chosen = [int(k) for k in rng.choice(100, size=10, replace=False)]
    corruptions = ["sign", "order", "unit", "noise", "huge"]
    plan = {(k, 0): "fail" for k in chosen[:5]} | {(k, 0): how for k, how in zip(chosen[5:], corruptions, strict=True)}
    found = desk.batch(frames, desk.reference(plan), workers)
    # Every frame has its label in the end, and it is the right one.
    for atoms, labelled in zip(frames, found, strict=True):
        assert labelled is not None
        energy, forces = correct(atoms)
        labels = labelled.labels
        assert labels.energy == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(labels.forces, forces, atol=1e-9)
    failures = desk.events(Failure)
    assert sorted(e.label - 1 for e in failures if e.reason == "not_converged") == sorted(chosen[:5])
    assert sorted(e.label - 1 for e in failures if e.reason == "corrupted") == sorted(chosen[5:])
    assert sorted(e.label - 1 for e in desk.events(Doubted)) == sorted(chosen[5:])
    assert {e.label for e in desk.events(Label)} == set(range(1, 101))
    assert failures_in_row(desk.ledger, 1) == 0
    # Only those were computed twice; what was rejected is kept, and is no label.
    assert [desk.calls(atoms) for atoms in frames] == [2 if k in chosen else 1 for k in range(100)]
    kept = sorted(desk.store.directory.glob("*.corrupted-1.extxyz"))
    assert [int(path.name[6:10]) - 1 for path in kept] == sorted(chosen[5:])
    assert desk.store.numbers() == list(range(1, 101))
    assert not list(desk.store.directory.glob("*.suspect.extxyz"))


def test_an_outlier_that_is_reproduced_is_accepted(desk: Desk, workers: Executor) -> None:
    frames = some_frames(3)
    labelled = desk.batch(frames, desk.reference({(0, -1): "axes"}), workers)[0]
    assert labelled is not None
    assert labelled.confirmed is Doubt.FORCES
    assert [e.label for e in desk.events(Doubted)] == [1]
    assert desk.events(Failure) == []
    assert desk.calls(frames[0]) == 2
    assert read_frames(desk.store.path(1))[0].info["label_attempt"] == 2


@pytest.mark.parametrize("how", ["sign", "unit"])
def test_a_doubt_that_no_correct_label_can_raise_is_rejected_twice(desk: Desk, how: str) -> None:
    frames = some_frames(2)
    found = desk.batch(frames, desk.reference({(0, -1): how}), InlineExecutor())
    assert found[0] is None
    assert found[1] is not None
    rejected = [e for e in desk.events(Failure) if e.reason == "corrupted"]
    assert [e.attempt for e in rejected] == [1, 2]
    assert all("twice the same: check the setup of the reference" in e.message for e in rejected)
    failed = read_frames(desk.store.failed_path(1), require=())[0]
    assert failed.info["failure_reason"] == "corrupted"
    assert desk.store.numbers() == [2]
    assert [desk.calls(atoms) for atoms in frames] == [2, 1]


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_corrupted_labels_that_differ_are_rejected_and_retries_are_limited(desk: Desk, retries: int) -> None:
    frames = some_frames(1)
    plan = {(0, 0): "noise", (0, 1): "sign", (0, 2): "huge", (0, 3): "unit", (0, 4): "noise"}
    (found,) = desk.batch(frames, desk.reference(plan), InlineExecutor(), retries=retries)
    assert found is None
    assert desk.calls(frames[0]) == retries + 2
    assert len([e for e in desk.events(Failure) if e.reason == "corrupted"]) == retries + 2
    assert desk.store.numbers() == []
    assert failures_in_row(desk.ledger, retries) == 1
    # It is not retried.
    (found,) = desk.batch(frames, desk.reference(plan), InlineExecutor(), retries=retries)
    assert found is None
    assert desk.calls(frames[0]) == retries + 2


def test_a_suspicious_label_is_recomputed_once_without_retries(desk: Desk) -> None:
    frames = some_frames(1)
    (found,) = desk.batch(frames, desk.reference({(0, 0): "noise"}), InlineExecutor(), retries=0)
    assert found is not None
    assert failures_in_row(desk.ledger, 0) == 0
    assert [e.attempt for e in desk.events(Label)] == [2]


def test_a_worker_that_dies_is_a_failed_label_at_worst(desk: Desk) -> None:
    frames = some_frames(4)
    plan = {(1, 0): "kill", (2, -1): "kill"}
    with LocalExecutor(2, max_deaths=2) as executor:
        found = desk.batch(frames, desk.reference(plan), executor, retries=0)
    assert [atoms is None for atoms in found] == [False, False, True, False]
    (failure,) = desk.events(Failure)
    assert failure.reason == "crashed"
    assert "its worker process died 2 times" in failure.message


def test_a_frame_that_cannot_be_labelled_at_all_is_an_error(desk: Desk, workers: Executor) -> None:
    with pytest.raises(ConfigError, match="cannot do this element"):
        desk.batch(some_frames(2), desk.reference({(1, -1): "config"}), workers)


def test_an_interrupted_batch_keeps_complete_labels(desk: Desk) -> None:
    frames = some_frames(12)
    labelled: list[LabelledFrame] = []
    with LocalExecutor(2) as executor:
        with pytest.raises(Interrupted):
            desk.batch(
                frames,
                desk.reference(delay_s=0.3),
                executor,
                interrupted=lambda: len(labelled) >= 3,
                on_label=labelled.append,
            )
        kept = desk.store.numbers()
        # Those under way were awaited; how many they are depends on the machine, but the last never began.
        assert 3 <= len(kept) < len(frames)
        assert sorted(e.label for e in desk.events(Label)) == kept
        found = desk.batch(frames, desk.reference(), executor)
    assert all(atoms is not None for atoms in found)
    assert [desk.calls(atoms) for atoms in frames] == [1] * 12
    assert len(desk.events(Request)) == 12


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (LabelStore, "write"),
        (LabelCase, "_note_label"),
        (LabelStore, "write_suspect"),
        (LabelCase, "_reject"),
        (LabelCase, "_note_failure"),
        (LabelCase, "answer"),
        (LabelCase, "fail"),
        (LabelStore, "write_corrupted"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_moment_loses_no_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, count: int, after: bool
) -> None:
    frames = some_frames(5)
    plan = {(1, 0): "sign", (2, 0): "fail", (2, 1): "fail", (3, -1): "axes", (4, 0): "noise"}
    desk = Desk(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, count, after=after)
        with pytest.raises(Killed):
            desk.batch(frames, desk.reference(plan), InlineExecutor(), retries=2)
    on_disk = {number: desk.store.path(number).read_bytes() for number in desk.store.numbers()}
    desk.ledger.close()

    again = Desk(tmp_path)
    found = again.batch(frames, again.reference(plan), InlineExecutor(), retries=2)
    assert again.store.numbers() == [1, 2, 3, 4, 5]
    for number, content in on_disk.items():
        assert again.store.path(number).read_bytes() == content
    assert sorted({e.label for e in again.events(Label)}) == [1, 2, 3, 4, 5]
    assert len(again.events(Label)) == 5
    for k, labelled in enumerate(found):
        assert labelled is not None
        if k != 3:
            np.testing.assert_allclose(labelled.forces, correct(frames[k])[1], atol=1e-9)
    assert found[3] is not None
    assert found[3].confirmed is Doubt.FORCES
    assert not list(again.store.directory.glob("*.suspect.extxyz"))


def test_initial_labels_are_compared_with_each_other(desk: Desk, workers: Executor) -> None:
    frames = some_frames(5)
    crystal = bulk("Cu", cubic=True) * (2, 1, 1)
    origin = Origin(Reason.INITIAL, 0, 0.0, 300.0, round=0)
    labeller = desk.labeller(desk.reference({(0, 0): "sign", (3, 0): "order"}), workers)
    found = labeller.label(
        [LabelRequest(k, atoms, origin) for k, atoms in enumerate(frames, start=1)],
        checker=LabelChecker(LabelHistory(), crystal=crystal),
    )
    for atoms, labelled in zip(frames, found, strict=True):
        assert labelled is not None
        np.testing.assert_allclose(labelled.forces, correct(atoms)[1], atol=1e-9)
    assert sorted(e.label for e in desk.events(Doubted)) == [1, 4]
    assert {e.reason for e in desk.events(Doubted)} == {"stiffness"}
    assert desk.store.numbers() == [1, 2, 3, 4, 5]


def test_where_all_initial_labels_drive_the_atoms_away_one_is_computed_again(desk: Desk, workers: Executor) -> None:
    frames = some_frames(4)
    origin = Origin(Reason.INITIAL, 0, 0.0, 300.0, round=0)
    always = {(k, attempt): "sign" for k in range(4) for attempt in range(3)}
    found = desk.labeller(desk.reference(always), workers).label(
        [LabelRequest(k, atoms, origin) for k, atoms in enumerate(frames, start=1)],
        checker=LabelChecker(LabelHistory(), crystal=bulk("Cu", cubic=True) * (2, 1, 1)),
    )
    assert [e.label for e in desk.events(Doubted)] == [1]
    assert [labelled.confirmed for labelled in found if labelled is not None] == [Doubt.STIFFNESS, None, None, None]


def test_a_worker_keeps_its_reference(tmp_path: Path) -> None:
    frames = some_frames(3)
    first, second = (pickle.dumps(Unreliable(tmp_path, {(9, 9): name})) for name in ("sign", "order"))
    for reference in (first, first, second):
        for atoms in frames:
            assert compute_label(LabelTask(reference, atoms, LabelKeys())).labelled is not None
    kept = _kept.reference
    assert kept is not None
    compute_label(LabelTask(second, frames[0], LabelKeys()))
    assert _kept.reference is kept
    compute_label(LabelTask(first, frames[0], LabelKeys()))
    assert _kept.reference is not kept


def test_threads_as_workers_have_separate_references(desk: Desk) -> None:
    """Parsl's thread executor: one engine, its process and its pipes must not serve two of them at a time."""
    frames = some_frames(12)
    reference = IsolatedReference(make_reference("ase", calculator="emt"), timeout_s=120.0)
    with ThreadPoolExecutor(3) as threads:
        found = desk.batch(frames, reference, threads)
    for atoms, labelled in zip(frames, found, strict=True):
        assert labelled is not None
        np.testing.assert_allclose(labelled.forces, correct(atoms)[1], atol=1e-9)
    assert not desk.events(Failure)
    assert not desk.events(Doubted)


PARSL = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

executor = HighThroughputExecutor(
    address="127.0.0.1",
    max_workers_per_node=2,
    heartbeat_period=1,
    heartbeat_threshold=4,
    provider=LocalProvider(init_blocks=1, max_blocks=1),
)
config = Config(executors=[executor], strategy="none")
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("parsl") is None, reason="Parsl is an optional extra")
def test_a_worker_of_parsl_killed_in_mid_label(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    (desk.folder / "config.py").write_text(PARSL)
    frames = some_frames(5)
    plan = {(1, 0): "kill", (3, 0): "sign", (4, 0): "fail"}
    with make_executor(ExecutionSettings(parsl=desk.folder / "config.py"), directory=desk.folder) as executor:
        found = desk.batch(frames, desk.reference(plan), executor)
    for atoms, labelled in zip(frames, found, strict=True):
        assert labelled is not None
        np.testing.assert_allclose(labelled.forces, correct(atoms)[1], atol=1e-9)
    assert [desk.calls(atoms) for atoms in frames] == [1, 2, 1, 2, 2]
    assert sorted(e.reason for e in desk.events(Failure)) == ["corrupted", "not_converged"]


def test_a_batch_may_be_ended_by_a_failure(desk: Desk) -> None:
    class Ended(Exception):  # noqa: N818
        pass

    def end(case: LabelCase) -> None:
        raise Ended(str(case.number))

    frames = some_frames(5)
    labeller = desk.labeller(desk.reference({(1, -1): "fail"}), InlineExecutor(), retries=0)
    with pytest.raises(Ended, match="2"):
        labeller.label([request(k, atoms) for k, atoms in enumerate(frames, start=1)], on_failure=end)
    assert desk.store.numbers() == [1]
    assert [desk.calls(atoms) for atoms in frames] == [1, 1, 0, 0, 0]
