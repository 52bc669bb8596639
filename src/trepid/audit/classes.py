"""The audit of one event class: the model's path, a few labels on it, the reference's barrier from both, and the verdict.

Usage, from anything that can label frames::

    audit = audit_class(seen, model, label, crystal=crystal, sites=sites, criteria=criteria)
    audit.judgement.verdict, audit.judgement.reason, audit.labels

`label` gets the frames that are wanted, as many as can be computed side by side, and answers with their labels; it does not
have to know anything about the audit. What the model announces for a frame comes with it, before the label.

Steps
-----
1. Both ends are relaxed on the model, and a climbing-image band is found between them (`trepid.audit.states`, `.band`).
2. The ends and the highest image are labelled.
3. Model plus the difference that the labels show (`trepid.audit.correction`) is an estimate of the reference's surface: ends
   and band are relaxed on it, which gives the reference's barrier and its bar.
4. While the verdict is open, the stationary point whose energy is least certain is labelled where that surface has it. Where
   the end is no minimum of that surface, the reference is followed down from it, to see whether the state exists at all.
5. With what is left of the budget, the frames before, during and after the event are labelled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase.optimize import FIRE

from trepid.audit.band import Band, BandSettings, find_band, interpolated, read_band, write_band
from trepid.audit.correction import CorrectedCalculator, DifferenceProcess, coordinates
from trepid.audit.judgement import Criteria, Estimate, Judgement, State, Verdict, judge, judge_probe
from trepid.audit.model import AuditedModel
from trepid.audit.states import (
    Motion,
    Relaxation,
    RelaxedState,
    aligned,
    end_state,
    held_end,
    settle,
    start_state,
)
from trepid.data.frames import Labels
from trepid.errors import TrepidError
from trepid.potentials.base import Prediction

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from trepid.arrays import FloatArray
    from trepid.events.sites import Sites

logger = logging.getLogger(__name__)

LEAST_LABELS = 3
"""Both ends and the highest image."""
BAD_BAND_EV_PER_A = 0.15
"""A band with a larger force is no path: nothing is labelled on it."""
SETTLED_EV = 0.002
"""A stationary point whose energy is expected to change by less is not labelled again."""
SAME_PLACE_A = 0.05
"""A frame whose atoms are all nearer than this to those of a label is not labelled to tell what lies between."""
DESCENT_A = 0.6
"""Longest way of an atom from the labelled frames to the next one on a descent."""
DESCENT_LABELS = 2
"""Labels on a descent before a state counts as absent."""
CHANGE_SHARE = 0.5
"""Part of an expected change of energy that counts as uncertain, one standard deviation."""
STIFFNESS_EV_PER_A2 = 5.0
"""Force constant of an atom by which the forces of the reference at a label tell how far its stationary point may be below:
sum |F|^2 / 2k. A typical one: the model's own may be what is wrong."""


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


_MISSING = "whether the end state is a minimum of the reference is not known yet, and so no barrier"
_THERMAL = (Role.BEFORE, Role.DURING, Role.AFTER)


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
    """

    number: int
    labels: Labels | None
    problem: str = ""


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
    """

    name: str
    motion: Motion
    frames: tuple[tuple[Role, Atoms], ...] = ()
    n_seen: int = 1


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


def audit_class(
    seen: SeenClass,
    model: AuditedModel,
    label: LabelSource,
    *,
    crystal: Atoms,
    sites: Sites,
    criteria: Criteria,
    settings: AuditSettings = AuditSettings(),
    files: ClassFiles | None = None,
    tell: Callable[[str], None] = logger.info,
    interrupted: Callable[[], None] | None = None,
) -> EventClassAudit:
    """Audit one event class.

    Parameters
    ----------
    seen : SeenClass
        With `n_seen` 0 it is judged as a probe: possible or not, and overlooked by the model or not.
    model : AuditedModel
    label : LabelSource
    crystal : Atoms
        Reference crystal; all states are in its cell.
    sites : Sites
        Of the crystal.
    criteria : Criteria
    settings : AuditSettings
    files : ClassFiles, optional
        Where the band is kept.
    tell : callable
        Gets a line about each step.
    interrupted : callable, optional
        Called now and then; raises to end the audit.
    """
    return _ClassAudit(
        seen, model, label, crystal, sites, criteria, settings, files, tell, interrupted or (lambda: None)
    ).run()


@dataclass(eq=False)
class _ClassAudit:
    seen: SeenClass
    model: AuditedModel
    label: LabelSource
    crystal: Atoms
    sites: Sites
    criteria: Criteria
    settings: AuditSettings
    files: ClassFiles | None
    tell: Callable[[str], None]
    interrupted: Callable[[], None]
    points: list[LabelledPoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    asked: int = 0

    def run(self) -> EventClassAudit:
        audit = self._on_model()
        if audit.band is None:
            return audit
        audit = self._with_labels(audit)
        self._label_frames()
        return replace(audit, points=tuple(self.points), problems=tuple(self.problems))

    # ------------------------------------------------------------------ the model

    def _on_model(self) -> EventClassAudit:
        """Ends and band of the model, with the bar that it announces."""
        nothing = EventClassAudit(self.seen, self.criteria, Judgement(Verdict.UNDECIDED, ""))
        motion, calculator = self.seen.motion, self.model.calculator()
        try:
            self.start = start_state(self.crystal, motion, self.sites, calculator, self.settings.relaxation)
        except TrepidError as error:
            return _undecided(nothing, f"the start cannot be relaxed on the model: {error}")
        if not (self.start.stays and self.start.converged):
            what = (
                "does not converge" if self.start.stays else "is no minimum of the model: its atoms leave their sites"
            )
            return _undecided(nothing, f"the state before the event {what}")
        self.interrupted()
        try:
            self.end = end_state(self.start, motion, self.sites, calculator, self.settings.relaxation)
            band = self._band(calculator)
        except TrepidError as error:
            return _undecided(nothing, f"the path cannot be computed on the model: {error}")
        if not self.end.held and band.back < self.criteria.tolerance:
            # A state that is left again faster than the factor resolves is none: what counts is the cost of getting there.
            self.end = held_end(self.start, motion, self.sites, calculator, self.settings.relaxation)
            band = self._band(calculator, held=True)
        self.top = band.top if band.top > 0 else len(band.images) - 1
        self.band = band
        saddle = band.images[self.top]
        bar = self.model.difference_std(saddle, self.start.bare())
        found = replace(
            nothing,
            band=band,
            model_barrier=band.barrier,
            model_bar=bar,
            model_end=float(band.energies[-1] - band.energies[0]),
        )
        self.tell(
            f"{self.seen.name}: barrier of the model {band.barrier:.3f} eV"
            f"{'' if bar is None else f', announced to +- {self.criteria.z * bar:.3f} eV'}; path {band.convergence()}"
        )
        if not band.converged:
            line = f"the path of the model is {band.convergence()}"
            self.problems.append(line)
            if band.max_force > BAD_BAND_EV_PER_A:
                return replace(_undecided(found, f"{line}: no label is spent on it"), band=None, problems=(line,))
        return found

    def _band(self, calculator: Calculator, *, held: bool = False) -> Band:
        path = None if self.files is None else self.files.held if held else self.files.path
        if path is not None and path.exists():
            return read_band(path)
        restart = None
        if self.files is not None:
            self.files.directory.mkdir(parents=True, exist_ok=True)
            restart = self.files.restart
        images = interpolated(self.start.bare(), self.end.bare(), self.settings.band.n_images)
        band = find_band(
            images,
            calculator,
            self.settings.band,
            restart=restart,
            interrupted=self.interrupted,
        )
        if self.files is not None and path is not None:
            write_band(path, band)
            self.files.restart.unlink(missing_ok=True)
        return band

    # ------------------------------------------------------------------ the reference

    def _with_labels(self, audit: EventClassAudit) -> EventClassAudit:
        first = [(Role.START, self.start.bare()), (Role.END, self.end.bare())]
        if 0 < self.top < len(self.band.images) - 1:
            first.append((Role.SADDLE, self.band.images[self.top]))
        self._label(first)
        if not any(point.wanted.role is Role.START for point in self.points):
            return _undecided(audit, f"the start could not be labelled: {self._last_problem()}")
        if len(self.points) < 2:
            return _undecided(audit, f"neither end nor saddle could be labelled: {self._last_problem()}")
        self.surface = _Surface(self)
        while True:
            self.interrupted()
            found = self.surface.renew()
            judgement = self._judge(audit, found)
            audit = replace(
                audit,
                judgement=judgement,
                reference_barrier=found.barrier,
                reference_end=found.end_energy,
                start=found.start,
                end=found.end,
                corrected=found.band,
            )
            self.tell(f"{self.seen.name}: {len(self.points)} labels, {judgement.verdict}: {judgement.reason}")
            if judgement.verdict is not Verdict.UNDECIDED or self.asked >= self.settings.labels_per_class:
                return audit
            following = self.surface.following(found)
            if following is None or not self._label([following]):
                return audit

    def _judge(self, audit: EventClassAudit, found: _Found) -> Judgement:
        assert audit.model_barrier is not None
        least = found.end_energy if found.end in (State.EXISTS, State.HELD) else None
        if self.seen.n_seen:
            return judge(
                audit.model_barrier,
                found.barrier,
                self.criteria,
                start=found.start,
                end=found.end,
                least=least,
                missing=_MISSING,
            )
        return judge_probe(
            audit.model_barrier, found.barrier, self.criteria, end=found.end, least=least, missing=_MISSING
        )

    def _label(self, frames: Sequence[tuple[Role, Atoms]]) -> bool:
        """Label frames; whether at least one label came."""
        wanted = [self._wanted(role, atoms) for role, atoms in frames]
        self.asked += len(wanted)
        came = False
        for want, answer in zip(wanted, self.label(wanted), strict=True):
            if answer.labels is None:
                self.problems.append(f"label {answer.number} ({want.role}) failed: {answer.problem}")
            else:
                self.points.append(LabelledPoint(want, answer.number, answer.labels))
                came = True
        return came

    def _wanted(self, role: Role, atoms: Atoms) -> Wanted:
        prediction = self.model.predict(atoms)
        start = self.start.bare()
        return Wanted(
            role,
            atoms,
            prediction,
            prediction.energy - self.start.energy,
            0.0 if role is Role.START else self.model.difference_std(atoms, start),
        )

    def _label_frames(self) -> None:
        """Frames of the trajectory, with what is left of the budget."""
        left = min(self.settings.labels_per_class - self.asked, self.settings.frames_per_class)
        order = (Role.DURING, Role.AFTER, Role.BEFORE)
        ranked = sorted(self.seen.frames, key=lambda frame: order.index(frame[0]))[: max(left, 0)]
        frames = [
            (role, aligned(atoms, self.start.bare(), self.sites, self.seen.motion.atoms)) for role, atoms in ranked
        ]
        if frames:
            self._label(frames)

    def _last_problem(self) -> str:
        return self.problems[-1] if self.problems else "no label came"


def _undecided(audit: EventClassAudit, reason: str) -> EventClassAudit:
    return replace(audit, judgement=Judgement(Verdict.UNDECIDED, reason), problems=(*audit.problems, reason))


@dataclass(frozen=True, eq=False)
class _Found:
    """What model plus difference says."""

    band: Band
    barrier: Estimate | None
    end_energy: Estimate
    start: State
    end: State
    relaxed_start: RelaxedState
    relaxed_end: RelaxedState


class _Surface:
    """Model plus difference, with its ends and its band; renewed after every label."""

    def __init__(self, audit: _ClassAudit) -> None:
        self._audit = audit
        self._model = audit.model.calculator()
        self._origin = audit.start.bare()
        self._images = [image.copy() for image in audit.band.images]
        self._held = {*audit.start.held, *audit.end.held}

    def renew(self) -> _Found:
        """Fit the difference to the labels, and relax ends and band."""
        audit = self._audit
        self._points = [point for point in audit.points if point.wanted.role not in _THERMAL]
        self._places = np.array([self._at(point.wanted.atoms) for point in self._points])
        self._process = DifferenceProcess(
            self._places,
            np.array([point.energy - point.wanted.prediction.energy for point in self._points]),
            np.array([(point.forces - point.wanted.prediction.forces).ravel() for point in self._points]),
        )
        self._calculator = CorrectedCalculator(self._model, self._process, self._origin)
        motion, settings = audit.seen.motion, audit.settings
        start = settle(
            audit.start.bare(),
            self._calculator,
            audit.sites,
            motion.before,
            motion.atoms,
            held=audit.start.held,
            relaxation=settings.relaxation,
        )
        end = settle(
            audit.end.bare(),
            self._calculator,
            audit.sites,
            motion.after,
            motion.atoms,
            held=audit.end.held,
            relaxation=settings.relaxation,
        )
        band_end = end.bare() if end.stays else audit.end.bare()
        images = _between(self._images, start.bare(), band_end)
        band = find_band(
            images,
            self._calculator,
            replace(settings.band, max_steps=settings.band.max_steps // 2),
            climb_at_once=True,
            interrupted=audit.interrupted,
        )
        if band.converged or band.max_force < BAD_BAND_EV_PER_A:
            self._images = [image.copy() for image in band.images]
        top = band.images[band.top]
        first, last = start.bare(), band.images[-1]
        path = end.stays and (band.converged or band.max_force < BAD_BAND_EV_PER_A)
        return _Found(
            band=band,
            barrier=Estimate(band.barrier, self._bar(top, first)) if path else None,
            end_energy=Estimate(float(band.energies[-1] - band.energies[0]), self._bar(last, first)),
            start=State.HELD if start.held else State.EXISTS if start.stays else State.UNKNOWN,
            end=self._end(end, band),
            relaxed_start=start,
            relaxed_end=end,
        )

    def following(self, found: _Found) -> tuple[Role, Atoms] | None:
        """The frame to be labelled next; None where no label is expected to change anything."""
        if found.end is State.UNKNOWN and not found.relaxed_end.stays:
            return Role.DESCENT, self._on_descent()
        for role, image in self._unsettled(found):
            if self._nearest(image)[1] > SAME_PLACE_A:
                return role, image
        z = self._audit.criteria.z
        top = found.band.top
        frames = [(Role.START, found.relaxed_start.bare()), (Role.SADDLE, found.band.images[top])]
        if found.relaxed_end.stays:
            frames.append((Role.END, found.relaxed_end.bare()))
        scores = [self._open(frame) for _, frame in frames]
        # An image whose energy may be above the highest one.
        highest = float(found.band.energies[top])
        for image, energy in zip(found.band.images[1:-1], found.band.energies[1:-1], strict=True):
            above = float(energy) + z * self._open(image) - highest
            if above > z * scores[1] and above > SETTLED_EV:
                frames.append((Role.IMAGE, image))
                scores.append(self._open(image))
        best = int(np.argmax(scores))
        return frames[best] if scores[best] > SETTLED_EV else None

    def _unsettled(self, found: _Found) -> list[tuple[Role, Atoms]]:
        """Of an end that is stationary and highest: the image before it, which tells whether there is a barrier back."""
        if found.end is State.UNKNOWN and found.relaxed_end.stays and found.band.back <= 0.0:
            return [(Role.IMAGE, found.band.images[-2])]
        return []

    def _at(self, atoms: Atoms) -> FloatArray:
        return coordinates(atoms, self._origin)

    def _nearest(self, atoms: Atoms) -> tuple[int, float]:
        """Number of the nearest labelled frame, and the longest way of an atom from there, A."""
        gaps = (self._places - self._at(atoms)).reshape(len(self._places), -1, 3)
        k = int(np.argmin(np.sum(gaps**2, axis=(1, 2))))
        return k, float(np.linalg.norm(gaps[k], axis=1).max())

    def _energy(self, atoms: Atoms) -> float:
        frame = atoms.copy()
        frame.set_constraint()
        frame.calc = self._calculator
        return float(frame.get_potential_energy())

    def _open(self, atoms: Atoms) -> float:
        """How uncertain the energy of a stationary point is, against the nearest label, eV.

        What the process says, a part of the change that is expected from there, and what the forces of the reference there allow.
        """
        k = self._nearest(atoms)[0]
        place, point = self._places[k], self._points[k]
        frame = self._origin.copy()
        frame.positions = self._origin.positions + place.reshape(-1, 3)
        change = CHANGE_SHARE * (self._energy(frame) - self._energy(atoms))
        forces = np.delete(point.forces, list(self._held), axis=0)
        below = float(np.sum(forces**2)) / (2 * STIFFNESS_EV_PER_A2)
        return float(np.linalg.norm([self._process.std(self._at(atoms), place), change, below]))

    def _bar(self, atoms: Atoms, other: Atoms) -> float:
        """Standard deviation of the reference's energy difference of two frames, eV."""
        return float(np.hypot(self._open(atoms), self._open(other)))

    def _end(self, end: RelaxedState, band: Band) -> State:
        if end.held:
            return State.HELD
        z = self._audit.criteria.z
        if end.stays:
            if end.converged and band.back > z * self._open(end.bare()):
                return State.EXISTS
            last, before = band.images[-1], band.images[-2]
            falls = float(band.energies[-1] - band.energies[-2])
            # Stationary, and yet the highest point of the way: a saddle point, or a shoulder.
            downhill = band.top == len(band.images) - 1 and falls > z * self._bar(last, before)
            return State.ABSENT if downhill and falls > SETTLED_EV else State.UNKNOWN
        down = [point for point in self._points if point.wanted.role is Role.DESCENT]
        if len(down) < DESCENT_LABELS:
            return State.UNKNOWN
        ends = [point.energy for point in self._points if point.wanted.role is Role.END]
        energies = ends[:1] + [point.energy for point in down]
        return State.ABSENT if all(np.diff(energies) < 0) else State.UNKNOWN

    def _on_descent(self) -> Atoms:
        """The first frame on the way down from the end that is far from all labels, or the last one."""
        frame = self._audit.end.bare()
        frame.calc = self._calculator
        minimiser = FIRE(frame, logfile=None, maxstep=0.05)
        for _ in minimiser.irun(fmax=self._audit.settings.relaxation.fmax_eV_per_A, steps=300):
            if self._nearest(frame)[1] > DESCENT_A:
                break
        frame.calc = None
        return frame


def _between(images: Sequence[Atoms], start: Atoms, end: Atoms) -> list[Atoms]:
    """A band moved on to new ends: every image by its share of their ways."""
    moved = []
    shifts = start.positions - images[0].positions, end.positions - images[-1].positions
    for part, image in zip(np.linspace(0.0, 1.0, len(images)), images, strict=True):
        frame = image.copy()
        frame.positions += (1 - part) * shifts[0] + part * shifts[1]
        moved.append(frame)
    return moved
