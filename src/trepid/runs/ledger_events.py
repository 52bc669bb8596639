"""The events of a ledger: what a campaign decided, as frozen dataclasses whose field names are the keys of the file.

`ledger` writes and reads them. Each key has one meaning and one unit in both modes: `step` is a number of MD steps, `round` a
number of rounds (null on the fly), `stage` a stage of a campaign on the fly, `forces_uncertainty` and `threshold` are in eV/A.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar

from trepid.reference.base import FailureReason

FORMAT = 2
"""Of the file; see `ledger`."""


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
    """A step of the relaxation of a crystal."""
    GIVEN = "given"
    """A frame given to `trepid label`."""


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

    def told(self, *, rounds: bool) -> str:
        """The end in words, the same everywhere: in the log, `status`, `plan` and the report."""
        if self is StopReason.FINISHED:
            return f"finished: all {'rounds' if rounds else 'stages'} were run"
        return _ENDS[self]


_ENDS: Mapping[StopReason, str] = {
    StopReason.CONVERGED: "finished: converged",
    StopReason.HOURS: "stopped: the time budget is used up",
    StopReason.LABELS: "stopped: the labelling budget is used up; with a larger max_labels 'trepid learn' goes on",
    StopReason.NO_CALLS: "finished: no frame needed a label for a long time",
    StopReason.FAILURES: "stopped: labels failed",
    StopReason.GUARD: "stopped: MD became unstable repeatedly",
    StopReason.INTERRUPTED: "interrupted; the same command resumes it",
}


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

    @property
    def text(self) -> str:
        """Reason and message."""
        return f"{self.reason}: {self.message}"


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
class FirstLook(Event):
    """The crystal as given, by the first model; what it means is in `first_look`.

    Attributes
    ----------
    n_labels : int
        Of the model.
    pressure_GPa, pressure_bar_GPa : float or None
        None without three periodic directions, or without a bar.
    largest_force, force_bar : float or None
        Of an atom of the crystal at rest, and the standard deviation of a component there, eV/A; None where not finite.
    lowest_THz : float or None
        Lowest frequency of the supercell, negative where imaginary; None where it was not computed.
    n_imaginary, n_modes : int
    n_draws, n_draws_imaginary : int
        Draws of the model, and those of them that have imaginary modes.
    """

    event: ClassVar[str] = "first_look"
    n_labels: int
    pressure_GPa: float | None
    pressure_bar_GPa: float | None
    largest_force: float | None
    force_bar: float | None
    lowest_THz: float | None = None
    n_imaginary: int = 0
    n_modes: int = 0
    n_draws: int = 0
    n_draws_imaginary: int = 0


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
        FirstLook,
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
