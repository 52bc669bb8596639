from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trepid.data.lock import RunLock
from trepid.errors import ConfigError, DataError
from trepid.reference.base import FailureReason
from trepid.runs.ledger import Ledger, read_ledger
from trepid.runs.ledger_events import (
    Doubt,
    Doubted,
    Failure,
    Label,
    Reason,
    Request,
    Resume,
    Start,
    Stop,
    StopReason,
    Walks,
)

REQUEST = Request(label=1, step=40, reason=Reason.UNCERTAINTY, forces_uncertainty=0.3, threshold=0.2)
LABEL = Label(label=1, file="labels/label-0001.extxyz", seconds=0.25, attempt=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(REQUEST)
    ledger.append(LABEL)
    ledger.close()
    return tmp_path / "ledger.jsonl"


def test_lines_are_plain_json(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["seq"], line["event"]) for line in lines] == [(0, "request"), (1, "label")]
    assert lines[0]["forces_uncertainty"] == 0.3
    assert lines[0]["time"].endswith("+00:00")


def test_events_are_read_back(path: Path) -> None:
    assert [entry.event for entry in read_ledger(path)] == [REQUEST, LABEL]
    ledger = Ledger(path)
    ledger.append(Stop(reason=StopReason.FINISHED, step=50, round=None, n_labels=1))
    ledger.close()
    assert [entry.seq for entry in read_ledger(path)] == [0, 1, 2]
    assert list(ledger.all(Label)) == [LABEL]
    assert isinstance(ledger.last, Stop)


def test_a_last_line_cut_anywhere_is_dropped(path: Path) -> None:
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for end in range(first, len(data)):
        path.write_bytes(data[:end])
        assert [entry.event for entry in read_ledger(path)] == [REQUEST]
        ledger = Ledger(path)
        assert bool(ledger.recovered) == (end > first)
        ledger.append(LABEL)
        ledger.close()
        assert [entry.event for entry in read_ledger(path)] == [REQUEST, LABEL]


def test_a_last_line_of_zeros_is_dropped(path: Path) -> None:
    # A power cut may keep the length of a file and lose its content.
    with path.open("ab") as file:
        file.write(b"\0" * 80 + b"\n")
    ledger = Ledger(path)
    assert "dropped a damaged last line (81 bytes)" in ledger.recovered
    ledger.close()
    assert len(read_ledger(path)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [b"{}", *lines], "line 1: not a ledger entry"),
        (lambda lines: [lines[0], b"garbage", *lines[1:]], "line 2: not a ledger entry"),
        (lambda lines: lines[1:], "line 1: numbered 1, not 0; lines are missing"),
        (lambda lines: [lines[0].replace(b'"request"', b'"dance"'), lines[1]], "'dance' is unknown to this version"),
        (lambda lines: [lines[0].replace(b'"label"', b'"lable"'), lines[1]], "lable"),
    ],
)
def test_damage_elsewhere_is_an_error(path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(change(lines)) + b"\n")
    with pytest.raises(DataError, match=message) as caught:
        read_ledger(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        Ledger(path)


def test_missing_ledger(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no ledger here"):
        read_ledger(tmp_path / "ledger.jsonl")


def test_not_finite_numbers_do_not_reach_the_file(path: Path) -> None:
    ledger = Ledger(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append(
            Request(label=2, step=1, reason=Reason.UNCERTAINTY, forces_uncertainty=float("nan"), threshold=0.1)
        )
    ledger.close()
    assert len(read_ledger(path)) == 2


def test_one_process_per_directory(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with pytest.raises(DataError, match="in use by another trepid process"):
        RunLock(tmp_path)
    lock.release()
    RunLock(tmp_path).release()


def test_entries_are_on_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (synced.append(os.fstat(number).st_size), real(number))[1])
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(REQUEST)
    assert synced[-1] == (tmp_path / "ledger.jsonl").stat().st_size > 0
    ledger.close()


def test_enums_are_read_back_as_enums(path: Path) -> None:
    ledger = Ledger(path)
    events = [Failure(2, 1, FailureReason.CRASHED, "m"), Doubted(2, 1, Doubt.SIGN, "m")]
    for event in events:
        ledger.append(event)
    ledger.close()
    assert [entry.event for entry in read_ledger(path)][2:] == events
    assert [line["reason"] for line in map(json.loads, path.read_text().splitlines()[2:])] == ["crashed", "sign"]


START_1 = {"event": "start", "n_atoms": 8, "formula": "Cu8", "structure_sha256": "0", "reference": {"engine": "emt"}}


def of_format_1(path: Path, *events: dict[str, object]) -> Path:
    with path.open("w") as file:
        for seq, event in enumerate([START_1, *events]):
            file.write(json.dumps({"seq": seq, "time": "2026-01-01T00:00:00+00:00", **event}) + "\n")
    return path


def test_a_run_on_the_fly_of_format_1_is_read(tmp_path: Path) -> None:
    path = of_format_1(
        tmp_path / "ledger.jsonl",
        {
            "event": "request",
            "label": 1,
            "step": 40,
            "reason": "uncertainty",
            "forces_uncertainty": 0.3,
            "threshold": 0.2,
        },
        {"event": "resume", "step": 50, "n_labels": 1, "reused": "", "changed": []},
        {"event": "stop", "reason": "finished", "step": 90, "n_labels": 1, "message": ""},
    )
    start, request, resume, stop = (entry.event for entry in read_ledger(path))
    assert isinstance(start, Start)
    assert start.format == 1
    assert request == Request(1, 40, Reason.UNCERTAINTY, 0.3, 0.2)
    assert resume == Resume(step=50, round=None, n_labels=1, reused="", changed=[])
    assert stop == Stop(StopReason.FINISHED, step=90, round=None, n_labels=1)


def test_a_run_in_rounds_of_format_1_is_read_with_the_meanings_of_today(tmp_path: Path) -> None:
    path = of_format_1(
        tmp_path / "ledger.jsonl",
        {"event": "round", "round": 0, "n_labels": 0},
        # In the unit of the measure of the campaign, whatever that was: it is not in eV/A, so it is not kept.
        {
            "event": "request",
            "label": 1,
            "step": 40,
            "reason": "uncertainty",
            "forces_uncertainty": 0.005,
            "threshold": None,
        },
        {
            "event": "walks",
            "round": 1,
            "n_walks": 3,
            "n_candidates": 9,
            "time_ps": 2.0,
            "untrusted": 1,
            "left_reality": 2,
            "seconds": 1.0,
        },
        {"event": "stop", "reason": "finished", "step": 2, "n_labels": 1, "message": ""},
    )
    _, _, request, walks, stop = (entry.event for entry in read_ledger(path))
    assert isinstance(request, Request)
    assert request.forces_uncertainty is None
    assert isinstance(walks, Walks)
    assert (walks.untrusted, walks.unstable) == (1, 2)
    assert stop == Stop(StopReason.FINISHED, step=None, round=2, n_labels=1)


def test_a_run_of_format_1_is_not_continued(tmp_path: Path) -> None:
    path = of_format_1(tmp_path / "ledger.jsonl")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"format 1, .* cannot continue it .* give another output.directory"):
        Ledger(path)
    assert path.read_bytes() == before
