"""A campaign in rounds that is cut off anywhere, and started again, is the one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rounds_fakes
import trepid.data.atomic
import trepid.runs.ledger
from campaign_fakes import LoggedReference, calls, crystal, springs
from kills import Killed
from rounds_fakes import assert_same_rounds, entries_without_times, rounds_campaign
from trepid.campaign.learn import learn
from trepid.dynamics.ase_engine import ASEDriver
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.runs.ledger import Ledger, read_ledger
from trepid.runs.ledger_events import Resume, StopReason

SHORT: dict[str, Any] = {
    "walkers": {"temperatures_K": [300, 500], "duration_ps": 0.4},
    "acquisition": {"labels_per_round": 2},
    "rounds": {"max_rounds": 2},
}
SPRINGS: dict[str, Any] = {
    **SHORT,
    "acquisition": {"labels_per_round": 2, "batch": "bernoulli", "viability": "none"},
    "start": {"n": 2},
}


class Countdown:
    """Raises Killed at the `last`-th call; without a last, it only counts."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.calls = last, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise Killed


def start(folder: Path, sections: dict[str, Any], *, cheap: bool) -> StopReason:
    folder.mkdir(exist_ok=True)
    return learn(
        rounds_campaign(folder, **sections),
        reference=LoggedReference(folder / "calls.jsonl"),
        potentials=springs(crystal()) if cheap else None,
    ).reason


def armed(monkeypatch: pytest.MonkeyPatch, where: str, countdown: Countdown) -> None:
    """Let the countdown run before or after every file that appears, or every line of the ledger."""
    replace, append = os.replace, Ledger.append

    def replacing(source: Any, target: Any) -> None:
        if where == "before a file":
            countdown()
        replace(source, target)
        if where == "after a file":
            countdown()

    def appending(self: Ledger, event: Any) -> Any:
        if where == "before an entry":
            countdown()
        entry = append(self, event)
        if where == "after an entry":
            countdown()
        return entry

    monkeypatch.setattr(trepid.data.atomic.os, "replace", replacing)
    monkeypatch.setattr(Ledger, "append", appending)


PLACES = ("before a file", "after a file", "before an entry", "after an entry")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "springs"
    assert start(folder, SPRINGS, cheap=True) is StopReason.FINISHED
    return folder


@pytest.fixture(scope="module")
def whole_bayesian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bayesian"
    assert start(folder, SHORT, cheap=False) is StopReason.FINISHED
    return folder


def sweep(tmp_path: Path, whole: Path, where: str, sections: dict[str, Any], every: int, *, cheap: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        counting = Countdown()
        armed(patch, where, counting)
        start(tmp_path / "count", sections, cheap=cheap)
    assert counting.calls > 20
    for last in range(1, counting.calls + 1, every):
        folder = tmp_path / f"killed-{last}"
        with pytest.MonkeyPatch.context() as patch:
            armed(patch, where, Countdown(last))
            with pytest.raises(Killed):
                start(folder, sections, cheap=cheap)
        assert start(folder, sections, cheap=cheap) is StopReason.FINISHED
        assert_same_rounds(folder / "run", whole / "run")
        # No label is computed twice, but for the one whose file had not appeared.
        assert len(calls(folder)) <= len(calls(whole)) + 1
        ledger = read_ledger(folder / "run" / "ledger.jsonl")
        assert isinstance(ledger[-1].event, trepid.runs.ledger.Stop)


@pytest.mark.parametrize("where", PLACES)
def test_kill_between_any_two_writes(tmp_path: Path, whole: Path, where: str) -> None:
    sweep(tmp_path, whole, where, SPRINGS, 37, cheap=True)


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
def test_kill_between_every_two_writes(tmp_path: Path, whole: Path, where: str) -> None:
    sweep(tmp_path, whole, where, SPRINGS, 1, cheap=True)


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES[:2])
def test_the_same_with_a_bayesian_force_field(tmp_path: Path, whole_bayesian: Path, where: str) -> None:
    sweep(tmp_path, whole_bayesian, where, SHORT, 2, cheap=False)


def inside_a_walk(patch: pytest.MonkeyPatch, countdown: Countdown) -> None:
    step = ASEDriver.step

    def stepping(self: ASEDriver, n: int = 1) -> None:
        countdown()
        step(self, n)

    patch.setattr(ASEDriver, "step", stepping)


def inside_a_training(patch: pytest.MonkeyPatch, countdown: Countdown) -> None:
    save = BayesianForceField.save

    def saving(self: BayesianForceField, path: Any) -> None:
        countdown()
        save(self, path)

    patch.setattr(BayesianForceField, "save", saving)


def inside_a_label(patch: pytest.MonkeyPatch, countdown: Countdown) -> None:
    compute = LoggedReference._compute

    def computing(self: LoggedReference, atoms: Any) -> Any:
        labels = compute(self, atoms)
        countdown()
        return labels

    patch.setattr(LoggedReference, "_compute", computing)


@pytest.mark.parametrize(
    ("arm", "last"),
    [(inside_a_walk, 60), (inside_a_training, 2), (inside_a_label, 5)],
)
def test_kill_inside_a_step_of_a_round(
    tmp_path: Path, whole_bayesian: Path, arm: Callable[[pytest.MonkeyPatch, Countdown], None], last: int
) -> None:
    folder = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        arm(patch, Countdown(last))
        with pytest.raises(Killed):
            start(folder, SHORT, cheap=False)
    start(folder, SHORT, cheap=False)
    assert_same_rounds(folder / "run", whole_bayesian / "run")
    assert sum(isinstance(entry.event, Resume) for entry in read_ledger(folder / "run" / "ledger.jsonl")) == 1


def test_kill_after_kill(tmp_path: Path, whole: Path) -> None:
    folder, n_kills_so_far = tmp_path / "often", 0
    while True:
        try:
            with pytest.MonkeyPatch.context() as patch:
                armed(patch, "after an entry", Countdown(4))
                start(folder, SPRINGS, cheap=True)
            break
        except Killed:
            n_kills_so_far += 1
            assert n_kills_so_far < 60
    assert n_kills_so_far > 5
    assert_same_rounds(folder / "run", whole / "run")


def test_a_signal_ends_it_and_the_next_start_continues(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "signal"
    with pytest.MonkeyPatch.context() as patch:
        step, n = ASEDriver.step, Countdown()

        def stepping(self: ASEDriver, steps: int = 1) -> None:
            n()
            if n.calls == 20:
                os.kill(os.getpid(), signal.SIGINT)
            step(self, steps)

        patch.setattr(ASEDriver, "step", stepping)
        assert start(folder, SPRINGS, cheap=True) is StopReason.INTERRUPTED
    assert start(folder, SPRINGS, cheap=True) is StopReason.FINISHED
    assert_same_rounds(folder / "run", whole / "run")


def test_the_ledger_of_a_resumed_campaign_is_the_same(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "resumed"
    with pytest.MonkeyPatch.context() as patch:
        armed(patch, "after an entry", Countdown(12))
        with pytest.raises(Killed):
            start(folder, SPRINGS, cheap=True)
    start(folder, SPRINGS, cheap=True)
    entries = [entry for entry in entries_without_times(folder / "run") if entry["event"] != "resume"]
    assert entries == entries_without_times(whole / "run")


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    killed, untouched = tmp_path / "killed", tmp_path / "untouched"
    for folder in (killed, untouched):
        folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, rounds_fakes.__file__]
    assert subprocess.run([*command, str(untouched)], env=environment, check=False, timeout=300).returncode == 0
    rng, n_kills = random.Random(7), 0
    while True:
        ledger = killed / "run" / "ledger.jsonl"
        n_entries = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
        process = subprocess.Popen([*command, str(killed)], env=environment, stdout=subprocess.DEVNULL)
        # The imports are not to be killed.
        while process.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") > n_entries):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 2.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_kills += 1
        assert n_kills < 40
    assert process.returncode == 0
    assert_same_rounds(killed / "run", untouched / "run")
