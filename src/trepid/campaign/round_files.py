"""What the rounds of a campaign leave on the disk: one folder per round, one file per stage, complete or absent.

rounds/00/   selected.extxyz   the frames the campaign starts from, with the numbers of their labels
             model.trepid      trained on them
             phonopy.yaml      force constants, where they are asked for
             round.json        figures (`RoundRecord`); a round whose record exists is complete
rounds/01/   walk-00.npz, walk-00.extxyz, ...   one walk each (`trepid.campaign.walkers`)
             selected.extxyz   the frames chosen for a label
             selection.json    why those (`Selection`); written after them
             model.trepid, round.json
labels/      one file per label (`trepid.campaign.labels`), numbered through all rounds
model.trepid the model of the last complete round
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trepid.acquisition.calibration import Calibration
from trepid.campaign.walkers import WalkSummary
from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.errors import DataError
from trepid.evaluation import Evaluation


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

    def open(self) -> RoundFiles:
        """Make the folder, and clear what a killed process left half-written in it."""
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
    """What the uncertainty is in the equilibrium walk of a round, by the measure of the campaign.

    Attributes
    ----------
    mean, std : float
        Over the looks of the walks at the lowest temperature, those without bias.
    n_looks : int
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
    """A frame chosen for a label.

    Attributes
    ----------
    label : int
        Number of the label.
    reason : str
        A Reason of the ledger.
    walker, step : int
        Where it comes from.
    time_fs, temperature_K : float
        MD time, and target temperature of the walk.
    uncertainty : float or None
        By the measure of the campaign, before training.
    p_uncertainty, p_viability : float or None
        P_U and P_E; None where they had no say.
    gain : float or None
        Information gained by this frame when it was chosen, nats.
    note : str
        The class of an event, and which of its frames this is.
    """

    label: int
    reason: str
    walker: int
    step: int
    time_fs: float
    temperature_K: float
    uncertainty: float | None = None
    p_uncertainty: float | None = None
    p_viability: float | None = None
    gain: float | None = None
    note: str = ""


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
    """

    event_class: str
    kind: str
    temperature_K: float
    count: int
    time_ps: float


@dataclass(frozen=True)
class Selection:
    """What a round chose for a label, and why.

    Attributes
    ----------
    round : int
    statistics : UncertaintyStatistics or None
        None for choices that do not ask the model.
    uncertainty, p_uncertainty, p_viability : tuple of float
        Of all candidates, walk by walk.
    temperature_K : tuple of float
        Target temperature of the walk of every candidate.
    n_worthy : int
        Candidates worth a label.
    picks : tuple of Pick
    events : tuple of EventCount
    new_classes : tuple of str
        Event classes that no earlier round has seen.
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
        data = _read_json(path)
        try:
            statistics = data["statistics"]
            data["statistics"] = None if statistics is None else UncertaintyStatistics(**statistics)
            data["picks"] = tuple(Pick(**pick) for pick in data["picks"])
            data["events"] = tuple(EventCount(**event) for event in data["events"])
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
        As the model announced its errors.
    factor : float or None
        What the round before would have multiplied the announced errors with; None where there is no earlier one.
    after : Calibration or None
        With that factor.
    """

    before: Calibration
    factor: float | None = None
    after: Calibration | None = None


@dataclass(frozen=True)
class SigmaA:
    """sigma^A of the walks at one temperature, on the model that was walked on.

    Attributes
    ----------
    temperature_K : float
    value : float
    error : float or None
        One standard deviation, by blocking.
    """

    temperature_K: float
    value: float
    error: float | None


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
        Answers of the reference that were rejected as corrupted.
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
        Candidates worth a label.
    new_classes : tuple of str
        Event classes seen for the first time.
    noise_forces : float
        Of the model after the round, eV/A.
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
        data = _read_json(path)
        try:
            data["walks"] = tuple(WalkSummary(**walk) for walk in data["walks"])
            for name in ("new", "test"):
                data[name] = None if data[name] is None else Evaluation(**data[name])
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())})") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: holds a {type(data).__name__}, not a record")
    return data
