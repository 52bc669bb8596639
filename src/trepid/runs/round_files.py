"""The files of rounds: one folder per round, one file per step, complete or absent.

rounds/00/   selected.extxyz   the initial frames, with the numbers of their labels
             model.trepid      trained on them
             phonopy.yaml      force constants, where they are needed
             round.json        figures (`RoundRecord`); a round whose record exists is complete
rounds/01/   walk-00.npz, walk-00.extxyz, ...   one walk each (`trepid.runs.walk_files`)
             selected.extxyz   the frames selected for labelling
             selection.json    their P_U, P_E and gains (`Selection`); written after them
             audit/01/         an event class that is judged: paths of the model, verdict.json (`ClassVerdict`)
             model.trepid, round.json
labels/      one file per label (`trepid.runs.label_files`), numbered through all rounds
model.trepid the model of the last complete round
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trepid.acquisition.calibration import Calibration
from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.data.json_file import read_json_object
from trepid.errors import DataError
from trepid.evaluation import Evaluation
from trepid.runs.ledger_events import Reason
from trepid.runs.walk_files import WalkSummary

ALL = "all"
"""Name under which the calibration of all species together is stored."""


class RoundFiles:
    """Paths of one round.

    Parameters
    ----------
    run : Path
        Run directory; the folder of the round is made when missing, leftovers of an interrupted write are removed.
    number : int
    """

    def __init__(self, run: Path, number: int) -> None:
        self.number = number
        self.path = run / "rounds" / f"{number:02d}"
        self.selected, self.selection = self.path / "selected.extxyz", self.path / "selection.json"
        self.model, self.record = self.path / "model.trepid", self.path / "round.json"
        self.harmonic = self.path / "phonopy.yaml"
        self.audits = self.path / "audit"

    def open(self) -> RoundFiles:
        """Make the folder, and remove the temporary files of a killed process from it."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.path)
        return self

    def walk(self, walker: int) -> Path:
        """File of a walk; its candidates lie beside it as .extxyz."""
        return self.path / f"walk-{walker:02d}.npz"

    def walks(self) -> list[Path]:
        """Files of the walks that are complete, in order."""
        return sorted(self.path.glob("walk-*.npz"))


@dataclass(frozen=True)
class UncertaintyStatistics:
    """Statistics of the uncertainty in the equilibrium walks of a round, in the unit of the measure of the campaign.

    Attributes
    ----------
    mean, std : float
        Over the checks of the walks at the lowest temperature, those without bias.
    n_looks : int
        Number of these checks.
    half : float
        Where P_U is one half.
    floor : float
        Below it P_U is zero: the noise of the labels.
    """

    mean: float
    std: float
    n_looks: int
    half: float
    floor: float


@dataclass(frozen=True)
class Pick:
    """A frame selected for labelling.

    Attributes
    ----------
    label : int
        Number of the label.
    reason : Reason
    walker, step : int
        Where it comes from.
    time_fs, temperature_K : float
        MD time, and target temperature of the walk.
    uncertainty : float or None
        In the unit of the measure of the campaign, before training.
    forces_uncertainty : float or None
        Largest force uncertainty of an atom, eV/A, before training; None where the frame was not predicted.
    p_uncertainty, p_viability : float or None
        P_U and P_E; None where they were not used.
    gain : float or None
        Information gained by this frame when it was selected, nats.
    event_class : str
        Class of the event it belongs to, or path of the probe; empty otherwise.
    note : str
        Which frame of the event it is, after the class: "class | before".
    way_bar_eV : float or None
        Of a probe: the largest half width of the 95 % interval of the energies on its path within the horizon, before training.
    """

    label: int
    reason: Reason
    walker: int
    step: int
    time_fs: float
    temperature_K: float
    uncertainty: float | None = None
    forces_uncertainty: float | None = None
    p_uncertainty: float | None = None
    p_viability: float | None = None
    gain: float | None = None
    event_class: str = ""
    note: str = ""
    way_bar_eV: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Pick:
        """Read an entry of selection.json; those of format 1 name the class in `note` only."""
        event_class = values.get("event_class", str(values.get("note", "")).split(" | ")[0])
        return cls(**{**values, "reason": Reason(values["reason"]), "event_class": event_class})


@dataclass(frozen=True)
class EventCount:
    """Events of one class in the walks of a round at one temperature.

    Attributes
    ----------
    event_class : str
        As `trepid.events` names it.
    kind : str
    temperature_K : float
    count : int
        In the walks without bias; 0 for a class that only biased ones show.
    time_ps : float
        Simulated time in which they were counted: of the walks without bias.
    onsets_ps : tuple of float
        When they began, in the time of these walks one after the other.
    """

    event_class: str
    kind: str
    temperature_K: float
    count: int
    time_ps: float
    onsets_ps: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EventCount:
        """Read an entry of selection.json; older ones have no onsets."""
        return cls(**{**values, "onsets_ps": tuple(values.get("onsets_ps", ()))})


@dataclass(frozen=True)
class Selection:
    """The selection of a round, and why.

    Attributes
    ----------
    round : int
    statistics : UncertaintyStatistics or None
        None for `random` and `hot`.
    uncertainty, p_uncertainty, p_viability : tuple of float
        Of all candidates, walk by walk.
    temperature_K : tuple of float
        Target temperature of the walk of every candidate.
    n_worthy : int
        Candidates of sufficient P_U P_E.
    picks : tuple of Pick
    events : tuple of EventCount
    new_classes : tuple of str
        Event classes that were found in no earlier round.
    """

    round: int
    statistics: UncertaintyStatistics | None
    uncertainty: tuple[float, ...]
    p_uncertainty: tuple[float, ...]
    p_viability: tuple[float, ...]
    temperature_K: tuple[float, ...]
    n_worthy: int
    picks: tuple[Pick, ...]
    events: tuple[EventCount, ...] = ()
    new_classes: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        _write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Selection:
        """Read the file; DataError if it is damaged."""
        data = read_json_object(path)
        try:
            statistics = data["statistics"]
            data["statistics"] = None if statistics is None else UncertaintyStatistics(**statistics)
            data["picks"] = tuple(Pick.from_dict(pick) for pick in data["picks"])
            data["events"] = tuple(EventCount.from_dict(event) for event in data["events"])
            for name in ("uncertainty", "p_uncertainty", "p_viability", "temperature_K", "new_classes"):
                data[name] = tuple(data[name])
            return cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the selection of a round ({error})") from error


@dataclass(frozen=True)
class Calibrated:
    """Calibration on the labels of a round, predicted before they were trained on, of one species or of all.

    Attributes
    ----------
    before : Calibration
        Of the uncertainties as predicted.
    factor : float or None
        Mean of the conformal factors in force (`trepid.acquisition.conformal`), which rest on the labels of earlier rounds;
        None where these are fewer than two.
    after : Calibration or None
        Of the uncertainties times these factors.
    """

    before: Calibration
    factor: float | None = None
    after: Calibration | None = None


@dataclass(frozen=True)
class SigmaA:
    """sigma^A of the walks at one temperature, on the model of the walks.

    Attributes
    ----------
    temperature_K : float
    value : float
    error : float or None
        One standard deviation from the finite number of frames, by blocking.
    model_error : float or None
        One standard deviation over posterior samples or members, at fixed frames; None where it was not wanted, or the model
        has none.
    """

    temperature_K: float
    value: float
    error: float | None
    model_error: float | None = None


@dataclass(frozen=True)
class ClassVerdict:
    """The judgement of an event class in a round (`trepid.audit`), on the model of its walks.

    Attributes
    ----------
    event_class : str
    verdict, reason : str
    model_barrier_eV, model_bar_eV : float or None
        Of the model, with its 95 % bar as announced before the labels.
    reference_barrier_eV, reference_bar_eV : float or None
        Of the reference.
    rate_factor, rate_factor_low, rate_factor_high : float or None
        Rate of the model over that of the reference, with its 95 % bar.
    temperature_K : float
        Of the rates.
    ways : int
        Equivalent events that the crystal allows.
    labels : tuple of int
        Numbers of the labels it rests on, those of earlier rounds among them.
    displaced : tuple of (int, int)
        Atoms that were not on their own site before the event, and their sites.
    atoms, targets : tuple of int
        Atoms of the event, and the sites they go to.
    reach : float
        Part of the way that they go, 1 but for an excursion.
    overlooked_by : int or None
        The round whose model, the first of the campaign or that of the walks before, did not show the class and put it out of
        reach, by the reference's barrier.
    """

    event_class: str
    verdict: str
    reason: str
    model_barrier_eV: float | None
    model_bar_eV: float | None
    reference_barrier_eV: float | None
    reference_bar_eV: float | None
    rate_factor: float | None
    rate_factor_low: float | None
    rate_factor_high: float | None
    temperature_K: float
    ways: int
    labels: tuple[int, ...]
    displaced: tuple[tuple[int, int], ...]
    atoms: tuple[int, ...]
    targets: tuple[int, ...]
    reach: float = 1.0
    overlooked_by: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassVerdict:
        """Read an entry of round.json, or a verdict.json."""
        lists = {name: tuple(values[name]) for name in ("labels", "atoms", "targets")}
        return cls(**{**values, **lists, "displaced": tuple((int(a), int(s)) for a, s in values["displaced"])})

    def write(self, path: Path) -> None:
        """Write a verdict.json atomically."""
        _write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> ClassVerdict:
        """Read a verdict.json; DataError if it is damaged."""
        data = read_json_object(path)
        try:
            return cls.from_dict(data)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the verdict of an event class ({error})") from error


@dataclass(frozen=True)
class RoundRecord:
    """Figures of a complete round.

    Attributes
    ----------
    round : int
    labels : tuple of int
        Numbers of the labels made in it.
    n_failed : int
        Frames that could not be labelled.
    n_corrupted : int
        Labels that were rejected as corrupted.
    n_labels : int
        Labels after the round.
    next_label : int
        Number of the first label of the next round.
    walks : tuple of WalkSummary
    new : Evaluation or None
        The model before the round, on the labels of the round.
    test : Evaluation or None
        The model after the round, on the test frames.
    calibration : mapping of str to Calibrated
        By species; all of them under "all". Empty without predictions.
    sigma_a : tuple of SigmaA
    n_worthy : int
        Candidates of sufficient P_U P_E.
    new_classes : tuple of str
        Event classes found for the first time.
    noise_forces : float
        Of the model after the round, eV/A.
    verdicts : tuple of ClassVerdict
        Of the event classes judged in it.
    """

    round: int
    labels: tuple[int, ...]
    n_failed: int
    n_corrupted: int
    n_labels: int
    next_label: int
    walks: tuple[WalkSummary, ...]
    new: Evaluation | None
    test: Evaluation | None
    calibration: dict[str, Calibrated]
    sigma_a: tuple[SigmaA, ...]
    n_worthy: int
    new_classes: tuple[str, ...]
    noise_forces: float
    verdicts: tuple[ClassVerdict, ...] = ()

    @property
    def time_ps(self) -> float:
        """Simulated time of its walks, ps."""
        return sum(walk.time_ps for walk in self.walks)

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        _write_json(path, {**asdict(self), "walks": [walk.as_dict() for walk in self.walks]})

    @classmethod
    def read(cls, path: Path) -> RoundRecord:
        """Read the file; DataError if it is damaged."""
        data = read_json_object(path)
        try:
            data["walks"] = tuple(WalkSummary.from_dict(walk) for walk in data["walks"])
            for name in ("new", "test"):
                data[name] = None if data[name] is None else Evaluation(**data[name])
            data["verdicts"] = tuple(ClassVerdict.from_dict(value) for value in data.get("verdicts", ()))
            data["sigma_a"] = tuple(SigmaA(**value) for value in data["sigma_a"])
            data["calibration"] = {
                name: Calibrated(
                    before=Calibration(**value["before"]),
                    factor=value["factor"],
                    after=None if value["after"] is None else Calibration(**value["after"]),
                )
                for name, value in data["calibration"].items()
            }
            data["labels"], data["new_classes"] = tuple(data["labels"]), tuple(data["new_classes"])
            return cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the record of a round ({error})") from error


def complete_rounds(run: Path) -> list[RoundRecord]:
    """Records of the rounds that are complete, in order."""
    records: list[RoundRecord] = []
    while (path := RoundFiles(run, len(records)).record).exists():
        records.append(RoundRecord.read(path))
    return records


def _write_json(path: Path, data: dict[str, Any]) -> None:
    write_text_atomic(path, json.dumps(data, allow_nan=False, indent=1) + "\n")
