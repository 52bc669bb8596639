"""The ledger: every decision of a campaign, one JSON object per line, append-only.

A line is on disk before anything relies on it. A kill can truncate the last line; opening drops it and reports it. The
keys of a line are the fields of its event (`ledger_events`), next to "seq" (0, 1, 2, ...), "time" (UTC, ISO 8601), "event" and
"sum", a check sum of this line and all before it: a line that was changed or left out is an error.

Format 2. Ledgers of format 1 (no "format" in the entry `start`) are converted on reading: there, `step` of the entries
`stop` and `resume` counted rounds in mode rounds, and `forces_uncertainty` of a request was in the unit of the measure of
the campaign; such values become `round` and null. A run of format 1 can be read (status, report, plan) but not continued.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, get_type_hints

from trepid.data.atomic import fsync_folder, set_aside, write_text_atomic
from trepid.errors import ConfigError, DataError, cannot_write
from trepid.reference.base import FailureReason
from trepid.runs.checksums import LineSum
from trepid.runs.field_types import checked
from trepid.runs.ledger_events import (
    EVENTS,
    FORMAT,
    Doubted,
    Event,
    Failure,
    Label,
    Request,
    Resume,
    Round,
    SomeEvent,
    Start,
    Stop,
    Walks,
)

ACCEPT = "accept what is there: trepid learn --accept-changes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: its number, when it was written (UTC, ISO 8601), and what happened."""

    seq: int
    time: str
    event: Event

    def to_json(self) -> str:
        """The line, without check sum and line end."""
        record = {"seq": self.seq, "time": self.time, "event": self.event.event} | dataclasses.asdict(self.event)
        return json.dumps(record, allow_nan=False)


def read_ledger(path: str | Path, *, kinds: Mapping[str, type[Event]] = EVENTS) -> list[Entry]:
    """Read a ledger without changing it; a truncated last line is left out, format 1 is converted.

    `kinds` are the events that it may hold.

    Raises
    ------
    DataError
        It is missing, a line was changed, or one other than the last is damaged or of an unknown kind.
    """
    return _parse(Path(path), kinds).entries


def wall_time_s(entries: Iterable[Entry]) -> float:
    """Time between the first and the last entry of every start, summed over the starts, s."""
    total, latest = 0.0, None
    for entry in entries:
        now = datetime.fromisoformat(entry.time)
        if latest is not None and not isinstance(entry.event, Resume):
            total += (now - latest).total_seconds()
        latest = now
    return total


def events_of(entries: Iterable[Entry], kind: type[SomeEvent]) -> tuple[SomeEvent, ...]:
    """Events of one kind, in order."""
    return tuple(entry.event for entry in entries if isinstance(entry.event, kind))


class Ledger:
    """The ledger of a campaign that this process runs.

    Parameters
    ----------
    path : Path
        Created when missing. A truncated last line is removed.
    accept_changes : bool
        Leave out lines that are damaged and take those that were changed, instead of raising DataError; the file is then
        written anew, and what it was is kept as *.damaged.
    kinds : mapping of str to type of Event
        Events that it may hold, by their names.

    Attributes
    ----------
    recovered : str
        Message about what was removed on opening; empty if nothing.

    Raises
    ------
    ConfigError
        The run has another format: it can be read, but not continued.
    DataError
        The file cannot be written, or is damaged.
    """

    def __init__(self, path: Path, *, accept_changes: bool = False, kinds: Mapping[str, type[Event]] = EVENTS) -> None:
        self.path = path
        self.recovered = ""
        self._entries: list[Entry] = []
        self._sum = LineSum()
        created = not path.exists()
        if not created:
            parsed = _parse(path, kinds, lenient=accept_changes)
            self._entries, intact, version = parsed.entries, parsed.intact, parsed.version
            if version != FORMAT:
                raise ConfigError(
                    f"{path.parent} holds a run of format {version}, written by another version of trepid; this one writes "
                    f"format {FORMAT} and cannot continue it ('trepid status', 'report' and 'plan' read it): give another "
                    "output.directory"
                )
            if parsed.problems:
                self._write_anew(parsed.problems)
            elif parsed.rest:
                os.truncate(path, intact)
                what = "a damaged" if parsed.rest.endswith(b"\n") else "an unfinished"
                self.recovered = f"{path.name}: dropped {what} last line ({len(parsed.rest)} bytes)"
                logger.warning("%s", self.recovered)
            if not parsed.problems:
                self._sum = parsed.sum
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 closed by `close`
            if created:
                fsync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, event: Event) -> Entry:
        """Add an event; it is on the disk when this returns.

        Raises
        ------
        MachineError
            It cannot be written: the disk is full or broken.
        """
        entry = Entry(len(self._entries), datetime.now(timezone.utc).isoformat(timespec="milliseconds"), event)
        rest = memoryview((self._sum.sealed(entry.to_json()) + "\n").encode("utf-8"))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:  # what a full disk leaves of the line is dropped by the next start
            raise cannot_write(self.path, error) from error
        self._entries.append(entry)
        return entry

    def _write_anew(self, problems: Sequence[str]) -> None:
        """Write the entries that are left, numbered and with new check sums."""
        kept = set_aside(self.path)
        self._entries = [dataclasses.replace(entry, seq=k) for k, entry in enumerate(self._entries)]
        write_text_atomic(self.path, "".join(self._sum.sealed(entry.to_json()) + "\n" for entry in self._entries))
        self.recovered = (
            f"{self.path.name}: {problems[0]}{f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''}; accepted, and "
            f"what it was is now {kept.name}"
        )
        logger.warning("%s", self.recovered)

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries, in order."""
        return tuple(self._entries)

    def events(self) -> Iterator[Event]:
        """All events, in order."""
        return (entry.event for entry in self._entries)

    def all(self, kind: type[SomeEvent]) -> tuple[SomeEvent, ...]:
        """Events of one kind, in order."""
        return events_of(self._entries, kind)

    @property
    def wall_time_s(self) -> float:
        """Wall time of all starts together, s; see `wall_time_s`."""
        return wall_time_s(self._entries)

    @property
    def last(self) -> Event | None:
        """The last event; None in an empty ledger."""
        return self._entries[-1].event if self._entries else None

    def close(self) -> None:
        """Close the file; it may be closed twice."""
        self._file.close()


@dataclass(frozen=True)
class _Parsed:
    """A ledger as read: `intact` bytes hold the entries, `rest` is a last line that is damaged or truncated."""

    entries: list[Entry]
    version: int
    intact: int
    rest: bytes
    sum: LineSum
    problems: list[str]


def _parse(path: Path, kinds: Mapping[str, type[Event]], *, lenient: bool = False) -> _Parsed:
    """Read a ledger; `lenient` lists problems instead of raising DataError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no ledger here; give the directory of a learning run") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    entries: list[Entry] = []
    problems: list[str] = []
    sums = LineSum()
    hints = {name: get_type_hints(kind) for name, kind in kinds.items()}
    intact, version, in_rounds = 0, FORMAT, False
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1]):  # what follows the last line end is empty, or truncated
        problem = ""
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise TypeError(f"a {type(record).__name__}")
            record.pop("sum", None)
            if record["event"] == Start.event:
                version = int(record.get("format", 1))
            in_rounds = in_rounds or record["event"] == Round.event
            entry = _entry(record if version == FORMAT else _upgraded(record, in_rounds=in_rounds), kinds, hints)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # A power cut can leave a last line whose length reached the disk and whose content did not.
            if number == len(lines) - 2 and not lines[-1] and not isinstance(error, RecursionError):
                break
            problem = f"not a ledger entry ({' '.join(str(error).split())})"
        else:
            fits = sums.fits(line)
            if entry.seq != number and not lenient:
                problem = f"numbered {entry.seq}, not {number}; lines are missing"
            elif not fits:
                problem = (
                    f"changed since it was written (its check sum does not fit); put it back as it was, or {ACCEPT}"
                )
            if lenient or not problem:
                entries.append(entry)
        if problem:
            problems.append(f"line {number + 1}: {problem}")
            if not lenient:
                raise DataError(f"{path}, {problems[0]}")
        intact += len(line) + 1
    return _Parsed(entries, version, intact, data[intact:], sums, problems)


def _upgraded(record: dict[str, Any], *, in_rounds: bool) -> dict[str, Any]:
    """A record of format 1 with the keys of this format.

    In mode rounds the entry `round` stands before everything whose keys had another meaning there.
    """
    record, name = dict(record), record["event"]
    if name == Start.event:
        record["format"] = 1
    elif name in (Resume.event, Stop.event):
        count = record["step"]
        record["step"], record["round"] = (None, count) if in_rounds else (count, None)
    elif name == Request.event and in_rounds:
        record["forces_uncertainty"] = None
    elif name == Walks.event:
        record["unstable"] = record.pop("left_reality")
    return record


def _entry(record: dict[str, Any], kinds: Mapping[str, type[Event]], hints: Mapping[str, dict[str, Any]]) -> Entry:
    record = dict(record)
    seq, when, name = record.pop("seq"), record.pop("time"), record.pop("event")
    if name not in kinds:
        raise ValueError(f"event {name!r} is unknown to this version of trepid")
    if not isinstance(when, str):
        raise TypeError(f"time is {when!r}")
    datetime.fromisoformat(when)
    values = {field: checked(field, hints[name].get(field, Any), value) for field, value in record.items()}
    return Entry(checked("seq", int, seq), when, kinds[name](**values))


def believed_labels(events: Iterable[Event]) -> list[int]:
    """Numbers of the labels that were doubted and accepted, because a second computation gave the same."""
    doubted: dict[int, set[int]] = {}
    done: dict[int, int] = {}
    for event in events:
        if isinstance(event, Doubted):
            doubted.setdefault(event.label, set()).add(event.attempt)
        elif isinstance(event, Failure) and event.reason is FailureReason.CORRUPTED:
            doubted.get(event.label, set()).discard(event.attempt)
        elif isinstance(event, Label):
            done[event.label] = event.attempt
    return sorted(k for k, attempts in doubted.items() if any(attempt < done.get(k, 0) for attempt in attempts))
