"""The ledger: every decision of a campaign, one JSON object per line, append-only.

A line is on disk before anything relies on it. A kill can truncate the last line; opening drops it and reports it. The
events are frozen dataclasses: their field names are the keys of the file, next to "seq" (0, 1, 2, ...), "time" (UTC,
ISO 8601), "event" and "sum", a check sum of this line and all before it: a line that was changed or left out is an error.
Each key has one meaning and one unit in both modes: `step` is a number of MD steps, `round` a number of rounds (null on
the fly), `stage` a stage of a campaign on the fly, `forces_uncertainty` and `threshold` are in eV/A.

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
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from trepid.data.atomic import fsync_folder, set_aside, write_text_atomic
from trepid.errors import ConfigError, DataError, cannot_write
from trepid.reference.base import FailureReason
from trepid.runs.checksums import LineSum
from trepid.runs.field_types import checked

FORMAT = 2
ACCEPT = "accept what is there: trepid learn --accept-changes"

logger = logging.getLogger(__name__)


class Named(str, Enum):
    """An enum that is written as its value."""

    def __str__(self) -> str:
        return str(self.value)


class Reason(Named):
    """Why a frame is labelled."""

    INITIAL = "initial"
    """One of the displaced and strained crystals the campaign starts from."""
    UNCERTAINTY = "uncertainty"
    """The force uncertainty of the frame exceeds the threshold; in rounds, selected by uncertainty."""
    EVENT = "event"
    """Rounds: a frame of an event whose class has no label yet."""
    PROBE = "probe"
    """Rounds: an image on the path of an atom to an empty site, with a force uncertainty above the noise."""
    RANDOM = "random"
    """Rounds: drawn at random, the control."""
    HOT = "hot"
    """Rounds: one of the equidistant frames of the hottest walks, the other control."""
    HARMONIC = "harmonic"
    """Rounds: a finite displacement for the force constants of the start."""
    AUDIT = "audit"
    """Audit: a state or an image of an event, or a frame with one."""
    RELAXATION = "relaxation"
    """Screening: a step of the relaxation of a crystal."""


class StopReason(Named):
    """Why a campaign ended."""

    FINISHED = "finished"
    """All stages, or rounds, were run."""
    CONVERGED = "converged"
    """Rounds: no candidate was selected for `rounds.patience` rounds, or the tolerances are met."""
    HOURS = "hours"
    """Rounds: the budget of wall time is spent."""
    LABELS = "labels"
    """The labelling budget is used up."""
    NO_CALLS = "no_calls"
    """No frame of the last stage needed a label for `learning.stop_after_ps_without_call`."""
    FAILURES = "failures"
    """Too many labels failed."""
    GUARD = "guard"
    """MD became unstable repeatedly."""
    INTERRUPTED = "interrupted"
    """SIGINT or SIGTERM; the same command resumes."""


class Doubt(Named):
    """Why a label is computed a second time; see `trepid.labelling.check`."""

    NET_FORCE = "net_force"
    """The forces do not add up to zero."""
    SIGN = "sign"
    """The forces are the predicted ones with the other sign."""
    FACTOR = "factor"
    """The forces are the predicted ones times the ratio of two units."""
    ORDER = "order"
    """The forces are the predicted ones with the atoms permuted."""
    FORCES = "forces"
    """The forces differ from the predicted ones by more than the error bar allows."""
    ENERGY = "energy"
    """The energy differs from the predicted one by more than the error bar allows, or is far from that of similar frames."""
    STIFFNESS = "stiffness"
    """The restoring forces on displaced atoms are unlike those in the other initial frames."""

    @property
    def believable(self) -> bool:
        """Whether a second label that agrees with the first is accepted."""
        return self not in (Doubt.SIGN, Doubt.FACTOR, Doubt.ORDER)


@dataclass(frozen=True)
class Event:
    """One entry of the ledger; each subclass is one kind of entry."""

    event: ClassVar[str]


@dataclass(frozen=True)
class Start(Event):
    """A new campaign: its structure and its reference. `format` is that of the run, the SHA-256 that of campaign.yaml."""

    event: ClassVar[str] = "start"
    n_atoms: int
    formula: str
    structure_sha256: str
    reference: dict[str, Any]
    format: int = FORMAT
    settings_sha256: str | None = None


@dataclass(frozen=True)
class SettingsUsed(Event):
    """campaign.yaml is about to be replaced by one with this SHA-256."""

    event: ClassVar[str] = "settings"
    sha256: str


@dataclass(frozen=True)
class Accepted(Event):
    """The user accepted files that were changed or lost.

    `files` names them; `labels` has the SHA-256 of those label files by number, null for one that is gone.
    """

    event: ClassVar[str] = "accepted"
    files: list[str]
    labels: dict[str, str | None]


@dataclass(frozen=True)
class Resume(Event):
    """The campaign is resumed; `reused`: what was found; `changed`: settings that differ.

    `step` is the MD step of the checkpoint (null in rounds), `round` the number of complete rounds (null on the fly).
    """

    event: ClassVar[str] = "resume"
    step: int | None
    round: int | None
    n_labels: int
    reused: str
    changed: list[str]


@dataclass(frozen=True)
class Request(Event):
    """A frame is to be labelled: MD step of its trajectory, and why.

    `forces_uncertainty` is the largest force uncertainty of an atom in it, eV/A; null where the model did not predict the
    frame before it was selected. `threshold` (eV/A) is null but on the fly. `stratum` and `interval_factors` (by species:
    "factor", "n_frames", "basis") are those of the announced intervals (`trepid.acquisition.conformal`).
    """

    event: ClassVar[str] = "request"
    label: int
    step: int
    reason: Reason
    forces_uncertainty: float | None = None
    threshold: float | None = None
    stratum: str | None = None
    interval_factors: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Label(Event):
    """A label is on disk; `seconds` is the time of the reference, the SHA-256 that of the file."""

    event: ClassVar[str] = "label"
    label: int
    file: str
    seconds: float
    attempt: int
    sha256: str | None = None


@dataclass(frozen=True)
class Failure(Event):
    """An attempt at a label failed."""

    event: ClassVar[str] = "failure"
    label: int
    attempt: int
    reason: FailureReason
    message: str


@dataclass(frozen=True)
class Doubted(Event):
    """A label is suspicious; it is computed once more."""

    event: ClassVar[str] = "doubt"
    label: int
    attempt: int
    reason: Doubt
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
    """MD became unstable at `step` and restarts from the last trusted frame or the crystal (`to`), with new velocities."""

    event: ClassVar[str] = "rewind"
    rewind: int
    step: int
    to: str
    message: str


@dataclass(frozen=True)
class Round(Event):
    """Rounds: a round begins; round 0 labels the initial frames."""

    event: ClassVar[str] = "round"
    round: int
    n_labels: int


@dataclass(frozen=True)
class Walks(Event):
    """Rounds: the walks of a round are done; `untrusted` and `unstable` of them ended early."""

    event: ClassVar[str] = "walks"
    round: int
    n_walks: int
    n_candidates: int
    time_ps: float
    untrusted: int
    unstable: int
    seconds: float


@dataclass(frozen=True)
class Selected(Event):
    """Rounds: frames were selected. Uncertainties in the unit of the measure of the campaign; null for random and hot."""

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
    """The campaign ended, at this MD step (null in rounds) or after so many complete rounds (null on the fly)."""

    event: ClassVar[str] = "stop"
    reason: StopReason
    step: int | None
    round: int | None
    n_labels: int
    message: str = ""


@dataclass(frozen=True)
class Judged(Event):
    """Audit: an event class is judged, after so many labels of it. `number` counts classes from 1, `probe` those not seen."""

    event: ClassVar[str] = "judged"
    number: int
    name: str
    probe: bool
    verdict: str
    message: str
    n_labels: int


EVENTS: Mapping[str, type[Event]] = {
    kind.event: kind
    for kind in (
        Start,
        SettingsUsed,
        Accepted,
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
        Judged,
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
