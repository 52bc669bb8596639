from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import campaign_fakes
from campaign_fakes import LoggedReference, assert_same_run, calls, kill_campaign
from comparison import frame_hash
from trepid.campaign.learn import learn
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Label, Request, Resume, Stop


def labelled(folder: Path) -> set[str]:
    """Frames whose label is on the disk."""
    store = folder / "run" / "labels"
    return (
        {frame_hash(LabelStore(store).read(k).atoms) for k in LabelStore(store).numbers()} if store.exists() else set()
    )


def start(folder: Path, kind: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, campaign_fakes.__file__, str(folder), kind],
            stdout=output,
            stderr=output,
            env=environment,
        )


def wait_until_it_works(folder: Path, process: subprocess.Popen[bytes], n_entries: int) -> None:
    """Wait for the first new entry of the ledger, so that the imports are not killed."""
    ledger = folder / "run" / "ledger.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if ledger.exists() and ledger.read_bytes().count(b"\n") > n_entries:
            return
        time.sleep(0.002)
    assert process.poll() is not None, "the process did not begin within a minute"


@pytest.mark.parametrize(
    ("kind", "longest_s", "kills"),
    [
        ("springs", 0.5, 4),
        pytest.param("bayesian", 0.8, 20, marks=pytest.mark.slow),
        # Shorter than half a second: twenty kills must fit into the run.
        pytest.param("springs", 0.25, 20, marks=pytest.mark.slow),
    ],
)
def test_kill_at_random_moments_loses_no_label_and_computes_none_twice(
    tmp_path: Path, kind: str, longest_s: float, kills: int
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    rng = random.Random(20)
    unstored: Counter[str] = Counter()
    n_kills = 0
    while n_kills < kills:
        stored = labelled(killed)
        ledger = killed / "run" / "ledger.jsonl"
        n_entries = len(read_ledger(ledger)) if ledger.exists() else 0
        n_started, n_ended = (len(calls(killed, what)) for what in ("start", "end"))
        process = start(killed, kind)
        wait_until_it_works(killed, process, n_entries)
        time.sleep(rng.uniform(0.0, longest_s))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (killed / "output.txt").read_text()[-2000:]
        n_kills += 1
        # Readable at once, and no label that was on the disk before this start was computed again.
        read_ledger(ledger)
        assert not stored & set(calls(killed, "start")[n_started:])
        assert stored <= labelled(killed)
        # A frame whose calculation ended, but whose label had not reached the disk yet, is rightly computed again.
        unstored.update(set(calls(killed)[n_ended:]) - labelled(killed))

    assert start(killed, kind).wait(timeout=300) == 0, (killed / "output.txt").read_text()[-2000:]

    events = [entry.event for entry in read_ledger(killed / "run" / "ledger.jsonl")]
    labels = [event.label for event in events if isinstance(event, Label)]
    assert labels == list(range(1, len(labels) + 1))
    assert len(labels) >= 15
    assert [event.label for event in events if isinstance(event, Request)] == labels
    assert sum(isinstance(event, Resume) for event in events) >= kills - 1
    assert isinstance(events[-1], Stop)

    done = Counter(calls(killed))
    assert set(done) == labelled(killed)
    assert len(done) == len(labels)
    assert {frame: count for frame, count in done.items() if count != 1 + unstored[frame]} == {}
    assert sum(unstored.values()) <= max(kills // 4, 2)  # the moment between the two is short
    started = Counter(calls(killed, "start"))
    assert sum(started.values()) - sum(done.values()) <= kills

    settings, potentials = kill_campaign(whole, kind)
    result = learn(settings, reference=LoggedReference(), potentials=potentials)
    assert result.n_labels == len(labels)
    assert_same_run(killed, whole)
