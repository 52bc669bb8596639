"""What is known about a material of a screening: read off its campaign, written as record.json after every turn.

Vocabulary
----------
naive model    the model of round 0, trained on the initial frames alone; the walks of round 1 run on it
known          sigma^A and event rates are inside their tolerances, and every class that is shown is genuine
exhausted      the material has its own maximum of rounds or labels, and something is still open
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.acquisition.calibration import interval_half_width
from trepid.acquisition.conformal import running_coverage
from trepid.anharmonicity.measure import measure_anharmonicity
from trepid.anharmonicity.phonopy_objects import quiet_phonopy
from trepid.anharmonicity.sampling import sampled_from
from trepid.campaign.start import read_harmonic
from trepid.config.rounds import HarmonicStart, PropertyStop, StartSettings
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import read_frames
from trepid.errors import DataError
from trepid.quantities import Z_95
from trepid.runs.intervals import scored_labels
from trepid.runs.label_files import LabelledFrame, compare_before_training
from trepid.runs.ledger_events import Reason, StopReason
from trepid.runs.properties import GENUINE, HALLUCINATED, latest_verdicts, property_status
from trepid.runs.reading import RunRecord, read_run
from trepid.runs.round_files import RoundFiles, RoundRecord, Selection, SigmaA

if TYPE_CHECKING:
    from trepid.screening.relaxation import Relaxed


NOT_HARMONIC = 1.0
"""sigma^A above which harmonic forces say less of a walk than none at all: it has left its crystal, or that is no minimum."""


class Status(str, Enum):
    """Where a material stands."""

    WAITING = "waiting"
    OPEN = "open"
    KNOWN = "known"
    EXHAUSTED = "exhausted"
    FAILED = "failed"

    def __str__(self) -> str:
        return str(self.value)


class FailureCode(str, Enum):
    """Why a material was given up."""

    STRUCTURE = "structure"
    """The structure cannot be built, or no simulation can start from it."""
    SETTINGS = "settings"
    """A setting does not go with this material."""
    RELAXATION = "relaxation"
    """The relaxation did not converge, or the reference failed in it."""
    LABELS = "labels"
    """Too many labels failed."""
    NUMERICS = "numerics"
    """Imaginary modes where they are refused, a singular fit."""
    UNSTABLE = "unstable"
    """Walks became unphysical at once, in every round."""
    CRASHED = "crashed"
    """The worker process of this material died repeatedly."""
    DEFECT = "defect"
    """An error that trepid does not expect; the traceback is in the material's log."""

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Bars:
    """sigma^A with both of its bars, one standard deviation each.

    Attributes
    ----------
    value : float
    frames : float or None
        From the finite number of frames.
    model : float or None
        From the model's own uncertainty.
    """

    value: float
    frames: float | None
    model: float | None

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of both together; None where one bar is missing."""
        if self.frames is None or self.model is None:
            return None
        return Z_95 * math.hypot(self.frames, self.model)


@dataclass(frozen=True)
class RoundFigures:
    """A round in figures, for the dashboard and for comparisons of budgets.

    Attributes
    ----------
    round : int
    n_labels : int
        After the round, those of the relaxation included.
    sigma_a : Bars or None
        Of its walks at the lowest temperature, on the model before the round.
    open_classes : int
        Classes that are not known to be genuine, or hallucinated and gone, after the round.
    events : int
        Events in its walks.
    known : bool
        Every property is known after the round.
    """

    round: int
    n_labels: int
    sigma_a: Bars | None
    open_classes: int
    events: int
    known: bool


@dataclass(frozen=True)
class ClassFigures:
    """An event class of a material.

    Attributes
    ----------
    name : str
    verdict : str
        The latest one; "not judged" where there is none.
    reason : str
    model_barrier_eV, model_bar_eV, reference_barrier_eV, reference_bar_eV : float or None
        With 95 % bars.
    n_seen : int
        Events in all walks.
    naive : str
        About the naive model: its verdict where its walks show the class; "overlooked" where they do not, the reference makes
        the class possible and the naive model puts it out of reach; "" otherwise.
    """

    name: str
    verdict: str
    reason: str
    model_barrier_eV: float | None
    model_bar_eV: float | None
    reference_barrier_eV: float | None
    reference_bar_eV: float | None
    n_seen: int
    naive: str


@dataclass(frozen=True)
class Coverage:
    """Force components inside their 95 % bars, on frames that were labelled after the bars had been announced.

    Attributes
    ----------
    n_frames, n_components : int
    inside : int
        With the bars as the model announces them.
    corrected : float or None
        Share inside with the running factors of earlier labels; None without any.
    """

    n_frames: int
    n_components: int
    inside: int
    corrected: float | None = None

    @property
    def share(self) -> float | None:
        """Share inside; None without frames."""
        return self.inside / self.n_components if self.n_components else None


@dataclass(frozen=True)
class MaterialRecord:
    """Everything that the table of a screening shows of a material.

    Attributes
    ----------
    name, formula : str
    status : Status
    turn : int
        The last turn that it took part in; 0 before.
    failure : FailureCode or None
    message : str
        Why it failed, or what is missing.
    spacegroup : str
        Of the relaxed crystal.
    n_atoms : int
        Of the supercell.
    supercell : tuple
        Its matrix.
    volume_ratio : float or None
        Relaxed over given volume.
    frequency_min_THz : float or None
        Lowest at the wave vectors of the supercell; imaginary ones negative.
    n_imaginary : int
    held_below_THz : float or None
        Modes softer than this were sampled at this frequency in the harmonic frames (`start.largest_rms`); None where none was.
    residual_force_eV_per_A : float or None
    temperature_K : float or None
        Of sigma^A: the lowest of the walks.
    one_shot : Bars or None
        sigma^A of the harmonic frames, by the reference.
    sigma_a : Bars or None
        Of the walks.
    n_labels, n_relaxation, n_failed : int
        Labels of the campaign, evaluations of the relaxation, frames without a label.
    time_ps : float
        Molecular dynamics on the model.
    forces_mae_meV_per_A, forces_rms_meV_per_A : float or None
        Error on the labels of the last round before training, and size of these forces.
    coverage : Coverage
    classes : tuple of ClassFigures
    rounds : tuple of RoundFigures
    seconds : float
        Wall time of relaxation and campaign, s.
    """

    name: str
    formula: str
    status: Status
    turn: int = 0
    failure: FailureCode | None = None
    message: str = ""
    spacegroup: str = ""
    n_atoms: int = 0
    supercell: tuple[tuple[int, ...], ...] = ()
    volume_ratio: float | None = None
    frequency_min_THz: float | None = None
    n_imaginary: int = 0
    residual_force_eV_per_A: float | None = None
    temperature_K: float | None = None
    one_shot: Bars | None = None
    sigma_a: Bars | None = None
    n_labels: int = 0
    n_relaxation: int = 0
    n_failed: int = 0
    time_ps: float = 0.0
    forces_mae_meV_per_A: float | None = None
    forces_rms_meV_per_A: float | None = None
    coverage: Coverage = Coverage(0, 0, 0)
    classes: tuple[ClassFigures, ...] = ()
    rounds: tuple[RoundFigures, ...] = ()
    seconds: float = 0.0
    held_below_THz: float | None = None

    @property
    def n_computations(self) -> int:
        """Reference computations: labels and evaluations of the relaxation."""
        return self.n_labels + self.n_relaxation + self.n_failed

    @property
    def done(self) -> bool:
        """Whether it gets no further round."""
        return self.status in (Status.KNOWN, Status.EXHAUSTED, Status.FAILED)

    @property
    def open_classes(self) -> int:
        """Classes that are not settled."""
        return self.rounds[-1].open_classes if self.rounds else 0

    @property
    def naive_fault(self) -> tuple[str, ...]:
        """What the naive model does wrong, by audit: overlooked, miscaptured, hallucinated."""
        return tuple(sorted({c.naive for c in self.classes} & {"overlooked", "miscaptured", HALLUCINATED}))

    def without_times(self) -> MaterialRecord:
        """The same without wall times, which differ between two runs."""
        return replace(self, seconds=0.0)

    def write(self, path: Path) -> None:
        """Write record.json atomically."""
        write_text_atomic(path, json.dumps(asdict(self), allow_nan=False, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> MaterialRecord:
        """Read record.json; DataError if it is damaged."""
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not the record of a material ({' '.join(str(error).split())})") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MaterialRecord:
        """From what `asdict` made."""
        values = dict(data)
        values["status"] = Status(values["status"])
        values["failure"] = None if values["failure"] is None else FailureCode(values["failure"])
        values["supercell"] = tuple(tuple(row) for row in values["supercell"])
        for name in ("one_shot", "sigma_a"):
            values[name] = _bars(values[name])
        values["coverage"] = Coverage(**values["coverage"])
        values["classes"] = tuple(ClassFigures(**each) for each in values["classes"])
        values["rounds"] = tuple(
            RoundFigures(**{**each, "sigma_a": _bars(each["sigma_a"])}) for each in values["rounds"]
        )
        return cls(**values)


def _bars(value: Mapping[str, Any] | None) -> Bars | None:
    return None if value is None else Bars(**value)


def record_of_run(
    base: MaterialRecord, run: Path, relaxed: Relaxed | None, start: StartSettings, stop: PropertyStop
) -> MaterialRecord:
    """Fill in what the campaign of a material has come to; its status is open or known.

    Parameters
    ----------
    base : MaterialRecord
        With name, formula, turn and cell.
    run : Path
        Run directory of the campaign.
    relaxed : Relaxed or None
    start : StartSettings
        How the initial frames were drawn.
    stop : PropertyStop
        When its properties count as known.
    """
    found = read_run(run)
    n_relaxation = 0 if relaxed is None else relaxed.n_labels
    walked = [record for record in found.rounds if record.sigma_a]
    last = walked[-1].sigma_a[0] if walked else None
    status = property_status(found.rounds, found.selections, stop, audited=True)
    converged = found.stop is not None and found.stop.reason is StopReason.CONVERGED
    new = next((record.new for record in reversed(found.rounds) if record.new is not None), None)
    record = replace(
        base,
        status=Status.KNOWN if status.met or converged else Status.OPEN,
        message="; ".join(_lost(last) + (() if status.met else status.missing)),
        temperature_K=None if last is None else last.temperature_K,
        sigma_a=None if last is None else Bars(last.value, last.error, last.model_error),
        n_labels=len(found.labels),
        n_relaxation=n_relaxation,
        n_failed=sum(each.n_failed for each in found.rounds),
        time_ps=sum(each.time_ps for each in found.rounds),
        forces_mae_meV_per_A=None if new is None else 1000 * new.forces_mae,
        forces_rms_meV_per_A=None if new is None else 1000 * new.forces_rms,
        coverage=coverage_of(found),
        classes=class_figures(found),
        rounds=tuple(_figures(found, k, n_relaxation, stop) for k in range(1, len(found.rounds))),
        seconds=round((0.0 if relaxed is None else relaxed.seconds) + found.wall_time_s, 1),
    )
    return _with_phonons(record, found, run, start)


def _lost(found: SigmaA | None) -> tuple[str, ...]:
    """A remark where the walks have nothing to do with the harmonic crystal."""
    if found is None or found.value <= NOT_HARMONIC:
        return ()
    return (
        f"sigma^A {found.value:.2f}, above {NOT_HARMONIC:g}: the walks have left the crystal of the force constants",
    )


def _with_phonons(record: MaterialRecord, found: RunRecord, run: Path, start: StartSettings) -> MaterialRecord:
    """Frequencies, and the one-shot sigma^A of the harmonic frames; nothing where the start was not harmonic."""
    files = RoundFiles(run, 0)
    crystal = run / "rounds" / "crystal.extxyz"
    if not files.harmonic.exists() or not crystal.exists():
        return record
    with quiet_phonopy():
        harmonic = read_harmonic(files.harmonic, read_frames(crystal, require=())[0])
    frequencies = harmonic.frequencies_THz
    held = 0.0
    if isinstance(start, HarmonicStart):
        held = sampled_from(harmonic, start.temperature_K, start.largest_rms, imaginary=start.imaginary)
    record = replace(
        record,
        frequency_min_THz=float(frequencies.min()),
        n_imaginary=harmonic.modes.n_imaginary,
        held_below_THz=held or None,
        residual_force_eV_per_A=_residual_force(found),
    )
    frames = [label for label in found.labels if label.origin.reason is Reason.INITIAL]
    if len(frames) < 2:
        return record
    measured = measure_anharmonicity(
        [label.forces for label in frames],
        [harmonic.forces(label.atoms, check_order=False) for label in frames],
        crystal_symbols(frames[0]),
        correlated=False,
    )
    return replace(record, one_shot=Bars(measured.sigma_a, measured.error.error, None))


def _residual_force(found: RunRecord) -> float | None:
    """Largest force on an atom of the crystal at rest, eV/A: the first label of a harmonic start."""
    rest = next((label for label in found.labels if label.origin.reason is Reason.HARMONIC), None)
    return None if rest is None else float(np.linalg.norm(rest.forces, axis=1).max())


def crystal_symbols(frame: LabelledFrame) -> list[str]:
    """Symbols of the atoms of a frame."""
    return list(frame.atoms.get_chemical_symbols())


def coverage_of(found: RunRecord) -> Coverage:
    """Of the frames that were chosen by uncertainty; those of audits are left out, which ask for the worst places of a path."""
    labels = [label for label in found.predicted if label.origin.reason is Reason.UNCERTAINTY]
    compared = compare_before_training(labels)
    stds = None if compared is None else compared.forces_std
    if compared is None or stds is None or not (stds > 0).all():
        return Coverage(0, 0, 0)
    inside = np.abs(compared.forces_error) <= interval_half_width(0.95) * stds
    running = running_coverage(scored_labels(labels, {}))
    return Coverage(
        len(labels), int(inside.size), int(inside.sum()), None if running is None else float(running.corrected)
    )


def _figures(found: RunRecord, k: int, n_relaxation: int, stop: PropertyStop) -> RoundFigures:
    """Of round k, from 1."""
    record, before = found.rounds[k], found.rounds[: k + 1]
    selections = [selection for selection in found.selections if selection.round <= record.round]
    value = record.sigma_a[0] if record.sigma_a else None
    own = next((s for s in selections if s.round == record.round), None)
    return RoundFigures(
        round=record.round,
        n_labels=record.n_labels + n_relaxation,
        sigma_a=None if value is None else Bars(value.value, value.error, value.model_error),
        open_classes=open_classes(before, selections),
        events=0 if own is None else sum(event.count for event in own.events),
        known=property_status(before, selections, stop, audited=True).met,
    )


def open_classes(records: tuple[RoundRecord, ...], selections: list[Selection]) -> int:
    """Classes that are neither genuine, nor hallucinated and not shown any more."""
    latest = latest_verdicts(records)
    shown = {event.event_class for selection in selections for event in selection.events}
    now = {event.event_class for s in selections if s.round == records[-1].round for event in s.events}
    settled = {
        name
        for name, verdict in latest.items()
        if verdict.verdict == GENUINE or (verdict.verdict == HALLUCINATED and name not in now)
    }
    return len((shown | set(latest)) - settled)


def class_figures(found: RunRecord) -> tuple[ClassFigures, ...]:
    """Every event class of a campaign, by name."""
    latest = latest_verdicts(found.rounds)
    seen: dict[str, int] = {}
    naive_shown: set[str] = set()
    for selection in found.selections:
        for event in selection.events:
            seen[event.event_class] = seen.get(event.event_class, 0) + event.count
            if selection.round == 1:
                naive_shown.add(event.event_class)
    naive = {v.event_class: v.verdict for record in found.rounds[1:2] for v in record.verdicts}
    overlooked = {v.event_class for record in found.rounds for v in record.verdicts if v.overlooked_by == 0}
    figures = []
    for name in sorted(seen.keys() | latest.keys()):
        verdict = latest.get(name)
        figures.append(
            ClassFigures(
                name=name,
                verdict="not judged" if verdict is None else verdict.verdict,
                reason="" if verdict is None else verdict.reason,
                model_barrier_eV=None if verdict is None else verdict.model_barrier_eV,
                model_bar_eV=None if verdict is None else verdict.model_bar_eV,
                reference_barrier_eV=None if verdict is None else verdict.reference_barrier_eV,
                reference_bar_eV=None if verdict is None else verdict.reference_bar_eV,
                n_seen=seen.get(name, 0),
                naive=naive.get(name, "") if name in naive_shown else "overlooked" if name in overlooked else "",
            )
        )
    return tuple(figures)
