"""The ledger: every decision of a campaign, one JSON object per line, only ever appended to.

A line is on the disk before what it announces is relied upon. A kill may tear the last line; opening drops that piece,
says so, and goes on. The events are frozen dataclasses: their field names are the keys of the file, next to "seq" (0,
1, 2, ...), "time" (UTC, ISO 8601) and "event".
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

from trepid.data.atomic import fsync_folder
from trepid.errors import DataError

logger = logging.getLogger(__name__)


class Reason(str, Enum):
    """Why a label was asked for."""

    INITIAL = "initial"
    """One of the displaced and strained crystals the campaign starts from."""
    UNCERTAINTY = "uncertainty"
    """The force uncertainty of the frame exceeded the threshold; in rounds, it was chosen for its uncertainty."""
    EVENT = "event"
    """Rounds: a frame of an event of a class not labelled before."""
    PROBE = "probe"
    """Rounds: an image on the way of an atom to an empty site, of which the model is unsure."""
    RANDOM = "random"
    """Rounds: drawn at random, the control."""
    HOT = "hot"
    """Rounds: one of the equidistant frames of the hottest walks, the other control."""
    HARMONIC = "harmonic"
    """Rounds: a finite displacement behind the force constants of the start."""


class StopReason(str, Enum):
    """Why a campaign ended."""

    FINISHED = "finished"
    """All stages, or rounds, were run."""
    CONVERGED = "converged"
    """Rounds: nothing was worth a label for as many rounds as asked, or the tolerances are met."""
    HOURS = "hours"
    """Rounds: the budget of wall time is spent."""
    LABELS = "labels"
    """One label more was needed than the budget allows."""
    NO_CALLS = "no_calls"
    """The last stage went on without a label for as long as the settings ask."""
    FAILURES = "failures"
    """Too many labels failed."""
    GUARD = "guard"
    """MD left reality again and again."""
    INTERRUPTED = "interrupted"
    """A signal asked for it; the same command resumes."""


@dataclass(frozen=True)
class Event:
    """One entry of the ledger; the subclasses say what happened."""

    event: ClassVar[str]


@dataclass(frozen=True)
class Start(Event):
    """A new campaign: what it starts from and who labels."""

    event: ClassVar[str] = "start"
    n_atoms: int
    formula: str
    structure_sha256: str
    reference: dict[str, Any]


@dataclass(frozen=True)
class Resume(Event):
    """The campaign goes on; `reused` says what was found, `changed` which settings are new."""

    event: ClassVar[str] = "resume"
    step: int
    n_labels: int
    reused: str
    changed: list[str]


@dataclass(frozen=True)
class Request(Event):
    """A label is asked for; uncertainty and threshold (eV/A) are null for initial frames."""

    event: ClassVar[str] = "request"
    label: int
    step: int
    reason: str
    forces_uncertainty: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Label(Event):
    """A label is on the disk; `seconds` is what the reference took."""

    event: ClassVar[str] = "label"
    label: int
    file: str
    seconds: float
    attempt: int


@dataclass(frozen=True)
class Failure(Event):
    """An attempt at a label failed; `reason` is a `trepid.reference.FailureReason`."""

    event: ClassVar[str] = "failure"
    label: int
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True)
class Doubted(Event):
    """A label came and is mistrusted, for a `trepid.campaign.label_check.Doubt`; it is computed once more."""

    event: ClassVar[str] = "doubt"
    label: int
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True)
class Train(Event):
    """The model was trained. Noises in eV per sqrt atom, eV/A, eV/A^3; null where the potential has no such figure."""

    event: ClassVar[str] = "train"
    n_labels: int
    optimized: bool
    noise_energy: float | None
    noise_forces: float | None
    noise_stress: float | None
    log_evidence: float | None
    seconds: float
    hyperparameters: dict[str, Any]


@dataclass(frozen=True)
class Stage(Event):
    """The MD enters a stage (counted from 0) at a step."""

    event: ClassVar[str] = "stage"
    stage: int
    step: int


@dataclass(frozen=True)
class Rewind(Event):
    """MD had left reality at `step` and goes back `to` the last trusted frame or the crystal, with fresh velocities."""

    event: ClassVar[str] = "rewind"
    rewind: int
    step: int
    to: str
    message: str


@dataclass(frozen=True)
class Round(Event):
    """Rounds: a round begins; round 0 labels the frames the campaign starts from."""

    event: ClassVar[str] = "round"
    round: int
    n_labels: int


@dataclass(frozen=True)
class Walks(Event):
    """Rounds: the walks of a round are done; `untrusted` and `left_reality` of them ended before their time."""

    event: ClassVar[str] = "walks"
    round: int
    n_walks: int
    n_candidates: int
    time_ps: float
    untrusted: int
    left_reality: int
    seconds: float


@dataclass(frozen=True)
class Selected(Event):
    """Rounds: frames were chosen; uncertainties by the measure of the campaign, null where it was not asked."""

    event: ClassVar[str] = "selection"
    round: int
    n_candidates: int
    n_worthy: int
    n_selected: int
    n_events: int
    mean_uncertainty: float | None
    half_uncertainty: float | None
    seconds: float


@dataclass(frozen=True)
class RoundEnd(Event):
    """Rounds: a round is complete. Force errors in eV/A: on its labels before training, on the test frames after."""

    event: ClassVar[str] = "round_end"
    round: int
    n_labels: int
    n_failed: int
    forces_mae_new: float | None
    forces_mae_test: float | None
    seconds: float


@dataclass(frozen=True)
class Stop(Event):
    """The campaign ended; `reason` is a StopReason."""

    event: ClassVar[str] = "stop"
    reason: str
    step: int
    n_labels: int
    message: str = ""


EVENTS: Mapping[str, type[Event]] = {
    kind.event: kind
    for kind in (
        Start,
        Resume,
        Request,
        Label,
        Failure,
        Doubted,
        Train,
        Stage,
        Rewind,
        Round,
        Walks,
        Selected,
        RoundEnd,
        Stop,
    )
}

SomeEvent = TypeVar("SomeEvent", bound=Event)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: its number, when it was written (UTC, ISO 8601), and what happened."""

    seq: int
    time: str
    event: Event

    def to_json(self) -> str:
        """The line, without its end."""
        record = {"seq": self.seq, "time": self.time, "event": self.event.event} | dataclasses.asdict(self.event)
        return json.dumps(record, allow_nan=False)


def read_ledger(path: str | Path) -> list[Entry]:
    """Read a ledger without changing it; a torn last line is left out.

    Raises
    ------
    DataError
        It is missing, or a line other than the last is damaged or of an unknown kind.
    """
    return _parse(Path(path))[0]


class Ledger:
    """The ledger of a campaign that this process runs.

    Parameters
    ----------
    path : Path
        Created when missing. A torn last line is cut off.

    Attributes
    ----------
    recovered : str
        What was cut off on opening, in words; empty if nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recovered = ""
        self._entries: list[Entry] = []
        created = not path.exists()
        if not created:
            self._entries, intact = _parse(path)
            size = path.stat().st_size
            if intact < size:
                os.truncate(path, intact)
                self.recovered = f"{path.name}: dropped an unfinished last line ({size - intact} bytes)"
                logger.warning("%s", self.recovered)
        try:
            self._file: IO[str] = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 closed by `close`
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}") from error
        if created:
            fsync_folder(path.parent)

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, event: Event) -> Entry:
        """Add an event; it is on the disk when this returns.

        Raises
        ------
        DataError
            It cannot be written (a full disk).
        """
        entry = Entry(len(self._entries), datetime.now(timezone.utc).isoformat(timespec="milliseconds"), event)
        line = entry.to_json() + "\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:  # what a full disk leaves of the line is dropped by the next start
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error
        self._entries.append(entry)
        return entry

    def events(self) -> Iterator[Event]:
        """All events, in order."""
        return (entry.event for entry in self._entries)

    def all(self, kind: type[SomeEvent]) -> Iterator[SomeEvent]:
        """Events of one kind, in order."""
        return (entry.event for entry in self._entries if isinstance(entry.event, kind))

    @property
    def wall_time_s(self) -> float:
        """Time between the first and the last entry of every start, summed over the starts, s."""
        total, began, latest = 0.0, None, None
        for entry in self._entries:
            now = datetime.fromisoformat(entry.time)
            if began is None or isinstance(entry.event, Resume):
                total += (latest - began).total_seconds() if began is not None and latest is not None else 0.0
                began = now
            latest = now
        return total + ((latest - began).total_seconds() if began is not None and latest is not None else 0.0)

    @property
    def last(self) -> Event | None:
        """The last event; None in an empty ledger."""
        return self._entries[-1].event if self._entries else None

    def close(self) -> None:
        """Close the file; it may be closed twice."""
        self._file.close()


class RunLock:
    """Keeps a second process out of a run directory; the operating system lifts it when this one ends, however it ends.

    Raises
    ------
    DataError
        Another process holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._file = open(directory / ".lock", "a")  # noqa: SIM115 held open for as long as the lock
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise DataError(f"{directory} is in use by another trepid process; wait for it or stop it") from None

    def release(self) -> None:
        """Let others in."""
        self._file.close()


def _parse(path: Path) -> tuple[list[Entry], int]:
    """Entries of a ledger and the number of bytes they take: less than the file has when its last line is torn."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no ledger here; give the directory of a learning run") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    entries: list[Entry] = []
    intact = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1]):  # what follows the last line end is empty, or torn
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            # A power cut can leave a last line whose length reached the disk and whose content did not.
            if number == len(lines) - 2 and not lines[-1]:
                break
            raise DataError(
                f"{path}, line {number + 1}: not a ledger entry ({' '.join(str(error).split())})"
            ) from error
        if entries[-1].seq != number:
            raise DataError(f"{path}, line {number + 1}: numbered {entries[-1].seq}, not {number}; lines are missing")
        intact += len(line) + 1
    return entries, intact


def _entry(record: dict[str, Any]) -> Entry:
    record = dict(record)
    seq, when, name = record.pop("seq"), record.pop("time"), record.pop("event")
    if name not in EVENTS:
        raise ValueError(f"event {name!r} is unknown to this version of trepid")
    return Entry(int(seq), str(when), EVENTS[name](**record))
