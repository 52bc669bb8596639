"""Reads a learning run from disk, for the report, `trepid status` and `trepid plan`.

Reading never writes, and the run need not have ended: one that is under way, killed, or has a single label is read as far
as it got.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trepid.acquisition.conformal import Factor, ScoredFrame, factors_of
from trepid.config import AnyCampaign, DisplacedStart, RoundsCampaign, load_campaign
from trepid.data.frames import LabelKeys
from trepid.data.lock import Holder, holder_of
from trepid.data.supercells import width_A
from trepid.dynamics.record import LATER_COLUMNS, TRACE_COLUMNS
from trepid.errors import DataError
from trepid.evaluation import Comparison
from trepid.potentials.base import FloatArray
from trepid.quantities import share
from trepid.runs.directory import RunPaths
from trepid.runs.first_look import CrystalFinding, cell_is_free, crystal_findings
from trepid.runs.integrity import changes
from trepid.runs.intervals import event_classes, scored_labels
from trepid.runs.label_files import (
    INPUTS_FILE,
    LABEL_PATTERN,
    LabelledFrame,
    compare_before_training,
    label_numbers,
    read_labels,
)
from trepid.runs.ledger import Entry, events_of, read_ledger, wall_time_s
from trepid.runs.ledger_events import (
    Failure,
    FirstLook,
    Label,
    Reason,
    Request,
    Rewind,
    Selected,
    SomeEvent,
    Start,
    Stop,
    Train,
    Walks,
)
from trepid.runs.round_files import RoundFiles, RoundRecord, Selection, complete_rounds

_INITIAL = (Reason.INITIAL, Reason.HARMONIC)
STRAIN_SEEN = 1e-4
"""Smaller strains are those of rounding in a file."""


@dataclass(frozen=True)
class RunState:
    """Whether a run lives.

    Attributes
    ----------
    running : bool
        A process works on it.
    text : str
        State in words, with what to do.
    holder : Holder or None
        That process.
    """

    running: bool
    text: str
    holder: Holder | None = None


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything a learning run has on disk.

    Attributes
    ----------
    paths : RunPaths
    settings_text : str
        campaign.yaml as used; empty where the run has none.
    campaign : Campaign or RoundsCampaign or None
        The same, parsed.
    versions : mapping
        Names to versions.
    entries : tuple of Entry
        The ledger.
    labels : tuple of LabelledFrame
        In the order of their numbers.
    trace : mapping of str to (n_checks,) array
        Columns of trace.csv by name; empty arrays in rounds.
    rounds : tuple of RoundRecord
        Complete rounds; empty on the fly.
    selections : tuple of Selection
        What those rounds selected.
    changes : tuple of str
        Files that were changed or lost since the run wrote them.
    """

    paths: RunPaths
    settings_text: str
    campaign: AnyCampaign | None
    versions: Mapping[str, Any]
    entries: tuple[Entry, ...]
    labels: tuple[LabelledFrame, ...]
    trace: Mapping[str, FloatArray]
    rounds: tuple[RoundRecord, ...] = ()
    selections: tuple[Selection, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.paths.path

    @property
    def mode(self) -> str:
        """'rounds' or 'on-the-fly'."""
        return "on-the-fly" if self.campaign is None else self.campaign.mode

    def events(self, kind: type[SomeEvent]) -> tuple[SomeEvent, ...]:
        """Events of one kind, in order."""
        return events_of(self.entries, kind)

    @property
    def stop(self) -> Stop | None:
        """How it ended; None while it is under way or after a kill."""
        last = self.entries[-1].event if self.entries else None
        return last if isinstance(last, Stop) else None

    def state(self) -> RunState:
        """Whether a process works on it now, and how it ended if none does."""
        holder = holder_of(self.directory)
        if holder is not None:
            told = str(holder)
            return RunState(True, f"running ({told})" if told else "running", holder)
        if self.stop is None:
            return RunState(False, "killed, or ended by an error; the same command resumes it")
        detail = f" ({self.stop.message})" if self.stop.message else ""
        return RunState(False, self.stop.reason.told(rounds=self.mode == "rounds") + detail)

    @property
    def reference(self) -> Mapping[str, Any]:
        """Description of the reference; empty before the first entry."""
        started = self.events(Start)
        return started[0].reference if started else {}

    @property
    def first_look(self) -> FirstLook | None:
        """The crystal as given, by the first model; None before it, and in runs of earlier versions."""
        return next(iter(self.events(FirstLook)), None)

    @property
    def crystal_findings(self) -> list[CrystalFinding]:
        """What that look found wrong, without what the run itself mends."""
        if self.first_look is None:
            return []
        engine = "the reference" if self.campaign is None else self.campaign.reference.engine
        width = width_A(self.labels[0].atoms) if self.labels else 0.0
        found = crystal_findings(self.first_look, engine, free_cell=cell_is_free(self.campaign), width_A=width)
        return [finding for finding in found if not finding.mended]

    @property
    def attempts(self) -> tuple[Label, ...]:
        """Labels as the ledger has them."""
        return self.events(Label)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Frames that were to be labelled."""
        return self.events(Request)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """Trainings of the model."""
        return self.events(Train)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Attempts at labels that failed."""
        return self.events(Failure)

    @property
    def rewinds(self) -> tuple[Rewind, ...]:
        """Restarts of unstable MD."""
        return self.events(Rewind)

    @property
    def time_ps(self) -> float:
        """Simulated time, ps; in rounds, of all walks together."""
        if walks := self.events(Walks):
            return sum(event.time_ps for event in walks)
        time = self.trace["time_fs"]
        return float(time[-1]) / 1000.0 if time.size else 0.0

    @property
    def wall_time_s(self) -> float:
        """Wall time of all starts together, s."""
        return wall_time_s(self.entries)

    @property
    def seconds_labelling(self) -> float:
        """Wall time of the reference, s; failed attempts are not counted."""
        return sum(label.seconds for label in self.attempts)

    @property
    def seconds_training(self) -> float:
        """Wall time of training, s."""
        return sum(training.seconds for training in self.trainings)

    @property
    def seconds_walking(self) -> float:
        """Wall time of the walks of a campaign in rounds, s."""
        return sum(event.seconds for event in self.events(Walks))

    @property
    def seconds_selecting(self) -> float:
        """Wall time of its selections, s."""
        return sum(event.seconds for event in self.events(Selected))

    @property
    def seconds_accounted(self) -> float:
        """Sum of all these times, s."""
        return self.seconds_labelling + self.seconds_training + self.seconds_walking + self.seconds_selecting

    @property
    def target_temperatures_K(self) -> FloatArray:
        """Target temperatures of the MD, K."""
        if self.rounds:
            return np.array([walk.temperature_K for record in self.rounds for walk in record.walks])
        target = self.trace["target_temperature_K"]
        return target[np.isfinite(target)]

    @property
    def predicted(self) -> tuple[LabelledFrame, ...]:
        """Labels whose frame the model had predicted before it was trained on it."""
        return tuple(label for label in self.labels if label.prediction is not None)

    @property
    def called(self) -> tuple[LabelledFrame, ...]:
        """Labels beyond the initial frames."""
        return tuple(label for label in self.labels if label.origin.reason not in _INITIAL)

    def label_file(self, label: LabelledFrame) -> Path:
        """The file of a label."""
        return self.paths.labels / LABEL_PATTERN.format(label.number)

    def kind_of(self, label: LabelledFrame) -> str:
        """Where a label comes from, in a few words: "initial, strained by up to 4 %", "asked for at 1.25 ps"."""
        origin = label.origin
        if origin.reason is Reason.INITIAL:
            first = self.labels[0]
            if not self._starts_displaced or first.number != 1:  # the first of them has the cell of the crystal
                return "initial"
            strain = _strain(first.atoms.cell.array, label.atoms.cell.array)
            return "initial, displaced" if strain < STRAIN_SEEN else f"initial, strained by up to {share(strain)}"
        if origin.round is not None:
            return f"{origin.reason.value}, round {origin.round}"
        if origin.reason is Reason.UNCERTAINTY:
            return f"asked for at {label.time_ps:.4g} ps"
        return origin.reason.value

    @property
    def _starts_displaced(self) -> bool:
        """Whether the initial frames are displaced and strained copies of the crystal."""
        campaign = self.campaign
        if isinstance(campaign, RoundsCampaign):
            return isinstance(campaign.start, DisplacedStart)
        return campaign is not None

    def comparison(self) -> Comparison | None:
        """Predictions made before training beside the labels; None where there is none yet."""
        return compare_before_training(self.labels)

    def factors_now(self) -> dict[str, Factor]:
        """Conformal factors by species in the stratum of the latest label; empty before the first that was predicted."""
        frames = self.scored()
        return factors_of(frames, frames[-1].strata, list(frames[-1].scores)) if frames else {}

    def scored(self) -> list[ScoredFrame]:
        """Scores of the labels that were predicted, from which the conformal factors follow."""
        return scored_labels(self.labels, event_classes(self.selections))


def _run_around(file: Path) -> str:
    """The run that a file belongs to, or words for one."""
    folders = [folder for folder in file.parents if RunPaths(folder).begun]
    return f"the run that it belongs to, {folders[0]}" if folders else "the directory of a learning run, such as run"


def read_run(directory: str | Path, *, keys: LabelKeys = LabelKeys()) -> RunRecord:  # noqa: B008 (frozen)
    """Read a run directory.

    Raises
    ------
    DataError
        The directory is missing, is not a run, or a file in it is damaged.
    ConfigError
        Its campaign.yaml is damaged.
    """
    paths = RunPaths(Path(directory))
    if paths.path.is_file():
        raise DataError(f"{paths.path}: a file; give {_run_around(paths.path)}")
    if not paths.path.is_dir():
        raise DataError(f"{paths.path}: no such directory; give the output directory of a learning run")
    if not paths.begun:
        raise DataError(
            f"{paths.path}: not a learning run (no {paths.ledger.name} in it); give the run directory of a campaign, such as run"
        )
    if not paths.settings.exists() and (paths.path / INPUTS_FILE).is_file():
        n = len(label_numbers(paths.labels))
        raise DataError(
            f"{paths.path}: a folder of 'trepid label' or 'trepid relax' with {n} label{'s' * (n != 1)}, not a learning run; the "
            "command that made it says what is missing, and goes on"
        )
    entries = read_ledger(paths.ledger)
    rounds = complete_rounds(paths.path)
    # The structure may have moved since; what is shown needs none of the files that the settings name.
    campaign = load_campaign(paths.settings, require_files=False) if paths.settings.is_file() else None
    labels = read_labels(paths.labels, keys)
    if isinstance(campaign, RoundsCampaign):
        labels = [_of_a_round(label) for label in labels]
    return RunRecord(
        paths=paths,
        settings_text=_text(paths.settings) if paths.settings.is_file() else "",
        campaign=campaign,
        versions=_read_json(paths.versions),
        entries=tuple(entries),
        labels=tuple(labels),
        trace=_read_trace(paths.trace),
        rounds=tuple(rounds),
        changes=tuple(str(change) for change in changes(paths, entries)),
        selections=tuple(Selection.read(RoundFiles(paths.path, record.round).selection) for record in rounds[1:]),
    )


def _strain(cell: FloatArray, other: FloatArray) -> float:
    """Largest component of the strain from one cell to another, both (3, 3), A; 0 where they are not cells of a crystal."""
    if cell.shape != other.shape or np.linalg.matrix_rank(cell) < 3:
        return 0.0
    gradient = np.linalg.solve(cell, other)
    return float(np.abs((gradient + gradient.T) / 2 - np.eye(3)).max())


def _of_a_round(label: LabelledFrame) -> LabelledFrame:
    """Label files of format 1 hold the round as `stage`."""
    origin = label.origin
    return label if origin.stage is None else replace(label, origin=replace(origin, stage=None, round=origin.stage))


def _read_trace(path: Path) -> dict[str, FloatArray]:
    if not path.is_file():
        return {name: np.empty(0) for name in TRACE_COLUMNS}
    # What follows the last line end was being written when the run was read, or killed.
    reader = csv.DictReader(_text(path).rpartition("\n")[0].splitlines())
    columns = [name for name in TRACE_COLUMNS if name not in LATER_COLUMNS or name in (reader.fieldnames or ())]
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: column {missing[0]} is missing")
    try:
        rows = [[float(row[name]) for name in columns] for row in reader]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, line {reader.line_num}: not {len(columns)} numbers") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(columns))
    absent = {name: np.full(len(table), np.nan) for name in TRACE_COLUMNS if name not in columns}
    return {name: table[:, k] for k, name in enumerate(columns)} | absent


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a mapping")
    return content


def _text(path: Path) -> str:
    """A text file; DataError where it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}, byte {error.start})") from error
