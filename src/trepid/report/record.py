"""What a learning run left on disk, read back for the report and for `trepid status`.

Reading never writes and never needs the run to have ended: a run still going on, killed, or with one label only is
shown as far as it got.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trepid.campaign.ledger import (
    Entry,
    Failure,
    Label,
    Reason,
    Request,
    Rewind,
    Selected,
    SomeEvent,
    Stop,
    Train,
    Walks,
    read_ledger,
)
from trepid.campaign.round_files import RoundFiles, RoundRecord, Selection, complete_rounds
from trepid.data.frames import LabelKeys, Labels, labels_of, read_frames
from trepid.dynamics.record import TRACE_COLUMNS
from trepid.errors import DataError
from trepid.evaluation import Comparison, collect
from trepid.potentials.base import Noise, Prediction

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LabelRecord:
    """One labelled frame of a run.

    Attributes
    ----------
    index : int
        Number of the label, from 1.
    time_ps : float
        MD time at which it was asked for.
    stage : int
        Stage of the campaign, from 0.
    reason : str
        Why it was asked for, as in the ledger.
    atoms : ase.Atoms
        The frame.
    labels : Labels
        What the reference said.
    prediction : Prediction or None
        What the model had said before it was trained on this frame; None for frames from before there was a model.
    noise : Noise or None
        The noise the model had inferred then.
    """

    index: int
    time_ps: float
    stage: int
    reason: str
    atoms: Atoms
    labels: Labels
    prediction: Prediction | None
    noise: Noise | None


@dataclass(frozen=True)
class RunRecord:
    """Everything the report shows.

    Attributes
    ----------
    directory : Path
        The run directory.
    settings_text : str
        campaign.yaml as used; empty where the run has none.
    settings : mapping
        The same, parsed.
    versions : mapping
        Names to versions.
    labels : tuple of LabelRecord
        In the order they were made.
    attempts, requests, trainings, failures, rewinds : tuples
        Events of the ledger, in order.
    trace : mapping of str to (n_checks,) array
        Columns of trace.csv by name.
    stop : Stop or None
        How it ended; None while the run is going on or after a kill.
    rounds : tuple of RoundRecord
        Complete rounds; empty for a run on the fly.
    selections : tuple of Selection
        What those rounds chose.
    walking, selecting : tuples
        Events of the ledger about walks and choices.
    """

    directory: Path
    settings_text: str
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    labels: tuple[LabelRecord, ...]
    attempts: tuple[Label, ...]
    requests: tuple[Request, ...]
    trainings: tuple[Train, ...]
    failures: tuple[Failure, ...]
    rewinds: tuple[Rewind, ...]
    trace: Mapping[str, FloatArray]
    stop: Stop | None
    rounds: tuple[RoundRecord, ...] = ()
    selections: tuple[Selection, ...] = ()
    walking: tuple[Walks, ...] = ()
    selecting: tuple[Selected, ...] = ()

    @property
    def time_ps(self) -> float:
        """MD time reached, ps; in rounds, of all walks together."""
        if self.walking:
            return sum(event.time_ps for event in self.walking)
        time = self.trace["time_fs"]
        return float(time[-1]) / 1000.0 if time.size else 0.0

    @property
    def seconds_labelling(self) -> float:
        """Wall time spent in the reference, s; failed attempts are not counted."""
        return sum(label.seconds for label in self.attempts)

    @property
    def seconds_training(self) -> float:
        """Wall time spent in training, s."""
        return sum(training.seconds for training in self.trainings)

    @property
    def seconds_walking(self) -> float:
        """Wall time of the walks of a campaign in rounds, s."""
        return sum(event.seconds for event in self.walking)

    @property
    def seconds_selecting(self) -> float:
        """Wall time of its choices, s."""
        return sum(event.seconds for event in self.selecting)

    @property
    def seconds_accounted(self) -> float:
        """Sum of all these times, s."""
        return self.seconds_labelling + self.seconds_training + self.seconds_walking + self.seconds_selecting

    @property
    def target_temperatures_K(self) -> FloatArray:
        """Temperatures that the MD was held at, K."""
        if self.rounds:
            return np.array([walk.temperature_K for record in self.rounds for walk in record.walks])
        target = self.trace["target_temperature_K"]
        return target[np.isfinite(target)]

    @property
    def predicted(self) -> tuple[LabelRecord, ...]:
        """Labels whose frame the model had predicted before it was trained on it."""
        return tuple(label for label in self.labels if label.prediction is not None)

    @property
    def called(self) -> tuple[LabelRecord, ...]:
        """Labels asked for in the course of the MD, without the frames the run started from."""
        first = (Reason.INITIAL.value, Reason.HARMONIC.value)
        return tuple(label for label in self.labels if label.reason not in first)

    def comparison(self) -> Comparison | None:
        """Predictions made before training beside the labels; None where there is none yet."""
        known = self.predicted
        if not known:
            return None
        return collect(
            [label.atoms for label in known],
            [label.labels for label in known],
            [label.prediction for label in known if label.prediction is not None],
            [label.noise for label in known],
        )


def read_run(directory: str | Path, *, keys: LabelKeys | None = None) -> RunRecord:
    """Read a run directory.

    Raises
    ------
    DataError
        The directory is missing, is not a run, or a file in it is damaged.
    """
    run = Path(directory)
    if not run.is_dir():
        raise DataError(f"{run}: no such directory; give the output directory of a learning run")
    ledger = run / "ledger.jsonl"
    if not ledger.is_file():
        raise DataError(f"{run}: not a learning run (no ledger.jsonl in it)")
    entries = read_ledger(ledger)
    settings_text = _text(run / "campaign.yaml")
    last = entries[-1].event if entries else None
    rounds = complete_rounds(run)
    return RunRecord(
        directory=run,
        settings_text=settings_text,
        settings=_parse_yaml(settings_text, run / "campaign.yaml"),
        versions=_read_json(run / "versions.json"),
        labels=_read_labels(run / "labels", LabelKeys() if keys is None else keys),
        attempts=_events(entries, Label),
        requests=_events(entries, Request),
        trainings=_events(entries, Train),
        failures=_events(entries, Failure),
        rewinds=_events(entries, Rewind),
        trace=_read_trace(run / "trace.csv"),
        stop=last if isinstance(last, Stop) else None,
        rounds=tuple(rounds),
        selections=tuple(Selection.read(RoundFiles(run, record.round).selection) for record in rounds[1:]),
        walking=_events(entries, Walks),
        selecting=_events(entries, Selected),
    )


def _events(entries: Sequence[Entry], kind: type[SomeEvent]) -> tuple[SomeEvent, ...]:
    return tuple(entry.event for entry in entries if isinstance(entry.event, kind))


def _read_labels(directory: Path, keys: LabelKeys) -> tuple[LabelRecord, ...]:
    # Frames that could not be labelled lie beside them, as label-0001.failed.extxyz.
    paths = sorted(path for path in directory.glob("label-*.extxyz") if path.stem.count(".") == 0)
    return tuple(_label(path, keys) for path in paths)


def _label(path: Path, keys: LabelKeys) -> LabelRecord:
    atoms = read_frames(path, keys=keys)[0]
    info, arrays = atoms.info, atoms.arrays
    prediction = noise = None
    if "predicted_energy" in info and "predicted_forces" in arrays:
        uncertainty = info.get("energy_uncertainty")
        prediction = Prediction(
            energy=float(info["predicted_energy"]),
            forces=np.asarray(arrays["predicted_forces"], dtype=np.float64),
            energy_uncertainty=None if uncertainty is None else float(uncertainty),
            forces_uncertainty=_optional(arrays.get("forces_uncertainty")),
        )
        if "noise_forces" in info:
            large = float(info.get("noise_large_force", np.inf))
            noise = Noise(float(info.get("noise_energy", 0.0)), float(info["noise_forces"]), 0.0, large)
    return LabelRecord(
        index=int(info.get("label_index", int(path.stem.rsplit("-", 1)[1]))),
        time_ps=float(info.get("time_fs", 0.0)) / 1000.0,
        stage=int(info.get("stage", 0)),
        reason=str(info.get("reason", "")),
        atoms=atoms,
        labels=labels_of(atoms, keys, where=str(path)),
        prediction=prediction,
        noise=noise,
    )


def _optional(array: Any) -> FloatArray | None:
    return None if array is None else np.asarray(array, dtype=np.float64)


def _read_trace(path: Path) -> dict[str, FloatArray]:
    if not path.is_file():
        return {name: np.empty(0) for name in TRACE_COLUMNS}
    # What follows the last line end was being written when the run was read, or killed.
    text, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in TRACE_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: column {missing[0]} is missing")
    try:
        rows = [[float(row[name]) for name in TRACE_COLUMNS] for row in reader]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, line {reader.line_num}: not {len(TRACE_COLUMNS)} numbers") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, len(TRACE_COLUMNS))
    return {name: table[:, k] for k, name in enumerate(TRACE_COLUMNS)}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error.msg}, line {error.lineno})") from error
    return dict(content)


def _parse_yaml(text: str, path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML") from error
    return dict(content or {})
