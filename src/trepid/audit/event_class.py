"""An event class under audit: what is asked of the reference, what came of it, and what is known at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trepid.audit.band import Band, BandSettings
from trepid.audit.judgement import Criteria, Estimate, Judgement, State, Verdict
from trepid.audit.states import Motion, Relaxation
from trepid.data.frames import Labels
from trepid.potentials.base import Prediction
from trepid.reference.base import FailureReason

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import FloatArray


class Role(str, Enum):
    """Why a frame of an audit is labelled."""

    START = "start"
    END = "end"
    SADDLE = "saddle"
    IMAGE = "image"
    DESCENT = "descent"
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, eq=False)
class Wanted:
    """A frame to be labelled, with what the model announces for it.

    Attributes
    ----------
    role : Role
    atoms : Atoms
    prediction : Prediction
        Of the model.
    energy_eV : float
        Of the model, above the relaxed start of the event.
    bar_eV : float or None
        Its standard deviation; None where the model announces none.
    """

    role: Role
    atoms: Atoms
    prediction: Prediction
    energy_eV: float
    bar_eV: float | None


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a frame.

    Attributes
    ----------
    number : int
        Of the label.
    labels : Labels or None
        None where the reference failed.
    problem : str
        Why it failed.
    reason : FailureReason or None
        The same, as a code.
    atoms : Atoms or None
        The frame that the labels are of, where it is not exactly the one that was asked for: a label of nearly the same frame
        was there.
    """

    number: int
    labels: Labels | None
    problem: str = ""
    atoms: Atoms | None = None
    reason: FailureReason | None = None


class LabelSource(Protocol):
    """Labels frames; keeps them, and never computes one twice."""

    def __call__(self, wanted: Sequence[Wanted]) -> list[Answer]:
        """Answers in the order of the frames."""
        ...


@dataclass(frozen=True, eq=False)
class LabelledPoint:
    """A labelled frame of an audit: announced by the model, and given by the reference.

    Attributes
    ----------
    wanted : Wanted
    number : int
        Of the label.
    labels : Labels
    """

    wanted: Wanted
    number: int
    labels: Labels

    @property
    def energy(self) -> float:
        """Of the reference, eV, total."""
        assert self.labels.energy is not None
        return self.labels.energy

    @property
    def forces(self) -> FloatArray:
        """Of the reference, (n_atoms, 3), eV/A."""
        assert self.labels.forces is not None
        return self.labels.forces

    @property
    def force_error(self) -> float:
        """Root mean square error of a force component, eV/A."""
        return float(np.sqrt(np.mean((self.wanted.prediction.forces - self.forces) ** 2)))


@dataclass(frozen=True, eq=False)
class SeenClass:
    """An event class of a trajectory, by one event of it.

    Attributes
    ----------
    name : str
    motion : Motion
    frames : tuple of (Role, Atoms)
        Frames before, during and after it, in the trajectory's own cell.
    n_seen : int
        Events of this class in the trajectory; 0 for a probe.
    n_later : int
        Of a probe: events in the trajectory of another, later model.
    """

    name: str
    motion: Motion
    frames: tuple[tuple[Role, Atoms], ...] = ()
    n_seen: int = 1
    n_later: int = 0


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit may cost and how it looks for paths.

    Attributes
    ----------
    labels_per_class : int
        3 or more.
    frames_per_class : int
        Frames of the trajectory among them, at most.
    relaxation : Relaxation
    band : BandSettings
    """

    labels_per_class: int = 8
    frames_per_class: int = 3
    relaxation: Relaxation = field(default_factory=Relaxation)
    band: BandSettings = field(default_factory=BandSettings)


@dataclass(frozen=True, eq=False)
class EventClassAudit:
    """What is known about an event class.

    Attributes
    ----------
    seen : SeenClass
    criteria : Criteria
    judgement : Judgement
    model_barrier : float or None
        eV; None where the model has no path.
    model_bar : float or None
        Its standard deviation as the model announced it before any label.
    model_end : float or None
        Energy of the end above the start, of the model, eV.
    reference_barrier, reference_end : Estimate or None
    start, end : State
        Of the ends in the reference.
    band : Band or None
        Of the model.
    corrected : Band or None
        On model plus difference.
    points : tuple of LabelledPoint
    problems : tuple of str
        Labels that failed, a band that did not converge.
    """

    seen: SeenClass
    criteria: Criteria
    judgement: Judgement
    model_barrier: float | None = None
    model_bar: float | None = None
    model_end: float | None = None
    reference_barrier: Estimate | None = None
    reference_end: Estimate | None = None
    start: State = State.UNKNOWN
    end: State = State.UNKNOWN
    band: Band | None = None
    corrected: Band | None = None
    points: tuple[LabelledPoint, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Of the judgement."""
        return self.judgement.verdict


@dataclass(frozen=True)
class ClassFiles:
    """Files of one event class; a stage that is on disk is not computed again."""

    directory: Path

    @property
    def path(self) -> Path:
        """The model's band."""
        return self.directory / "path.extxyz"

    @property
    def held(self) -> Path:
        """The model's band to an end that is held, where the other one does not lead to a lasting state."""
        return self.directory / "path.held.extxyz"

    @property
    def restart(self) -> Path:
        """The model's band under way."""
        return self.directory / "path.restart.extxyz"
