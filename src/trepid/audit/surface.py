"""Model plus the difference that labels show: an estimate of the reference's surface around an event.

Ends and band are relaxed on it, which gives the reference's barrier with its bar, whether the states exist there, and what to
label next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.optimize import FIRE

from trepid.audit.band import Band, find_band
from trepid.audit.correction import coordinates
from trepid.audit.difference import CorrectedCalculator, LearnedDifference
from trepid.audit.event_class import AuditSettings, LabelledPoint, Role
from trepid.audit.judgement import Criteria, Estimate, State
from trepid.audit.states import Motion, RelaxedState, holding, settle

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import FloatArray, IntArray
    from trepid.audit.model import AuditedModel
    from trepid.events.sites import Sites

BAD_BAND_EV_PER_A = 0.15
"""A band with a larger force is no path: nothing is labelled on it."""
SETTLED_EV = 0.002
"""A stationary point whose energy is expected to change by less is not labelled again."""
SAME_PLACE_A = 0.05
"""A frame whose atoms are all nearer than this to those of a label is not labelled to tell what lies between."""
DESCENT_A = 0.6
"""Longest way of an atom from the labelled frames to the next one on a descent."""
DESCENT_BAR_EV = 0.3
"""A descent ends where the difference is known less well than this: from there model plus difference may lead anywhere."""
LEAST_DESCENT_A = 0.2
"""Shortest way of an atom to a frame on a descent: a label there tells more than the one before."""
DESCENT_LABELS = 2
"""Labels on a descent before a state counts as absent."""
CHANGE_SHARE = 0.5
"""Part of an expected change of energy that counts as uncertain, one standard deviation."""
STIFFNESS_EV_PER_A2 = 5.0
"""Force constant of an atom by which the forces of the reference at a label tell how far its stationary point may be below:
sum |F|^2 / 2k. A typical one: the model's own may be what is wrong."""
RELAXED_EV = 0.002
"""What relaxing two states to a largest force leaves of their energy difference, one standard deviation."""
_THERMAL = (Role.BEFORE, Role.DURING, Role.AFTER)


@dataclass(frozen=True, eq=False)
class Course:
    """An event on the model: its two ends and the band between them."""

    motion: Motion
    start: RelaxedState
    end: RelaxedState
    band: Band


@dataclass(frozen=True, eq=False)
class Found:
    """What model plus difference says."""

    band: Band
    barrier: Estimate | None
    end_energy: Estimate
    start: State
    end: State
    relaxed_start: RelaxedState
    relaxed_end: RelaxedState
    lost: bool = False
    """Whether the end relaxes to a place that no label is near, which is a hole of the sum as often as a state."""


@dataclass(frozen=True)
class Missing:
    """Why the reference's barrier has no estimate.

    Attributes
    ----------
    reason : str
    labels_needed : int or None
        Labels more that are expected to give one; None where that cannot be known.
    """

    reason: str
    labels_needed: int | None


class CorrectedSurface:
    """Model plus difference, with its ends and its band; renewed after every label.

    Parameters
    ----------
    model : AuditedModel
    course : Course
        Of the event, on the model.
    sites : Sites
        Of the crystal.
    criteria : Criteria
    settings : AuditSettings
    interrupted : callable
        Called now and then; raises to end the audit.
    """

    def __init__(
        self,
        model: AuditedModel,
        course: Course,
        *,
        sites: Sites,
        criteria: Criteria,
        settings: AuditSettings,
        interrupted: Callable[[], None],
    ) -> None:
        self._model, self._course, self._sites, self._settings = model, course, sites, settings
        self._z, self._interrupted = criteria.z, interrupted
        self._origin = course.start.bare()
        self._images = [image.copy() for image in course.band.images]
        self._held = sorted({*course.start.held, *course.end.held})

    def renew(self, points: Sequence[LabelledPoint]) -> Found:
        """Fit the difference to the labels, and relax ends and band."""
        course, motion = self._course, self._course.motion
        self._points = [point for point in points if point.wanted.role not in _THERMAL]
        self._places = np.array([self._at(point.wanted.atoms) for point in self._points])
        self._difference = LearnedDifference(self._points, self._origin, model=self._model)
        self._calculator = CorrectedCalculator(self._model.calculator(), self._difference)
        start = self._settled(course.start, motion.before)
        end = self._settled(course.end, motion.after)
        lost = end.stays and self._unknown(end.bare())
        known = end.stays and not lost
        band_end = end.bare() if known else course.end.bare()
        images = _between(self._images, start.bare(), band_end)
        band = find_band(
            images,
            self._calculator,
            replace(self._settings.band, max_steps=self._settings.band.max_steps // 2),
            climb_at_once=True,
            interrupted=self._interrupted,
        )
        if band.converged or band.max_force < BAD_BAND_EV_PER_A:
            self._images = [image.copy() for image in band.images]
        top = band.images[band.top]
        first, last = start.bare(), band.images[-1]
        path = known and (band.converged or band.max_force < BAD_BAND_EV_PER_A)
        return Found(
            band=band,
            barrier=Estimate(band.barrier, self._bar_of_barrier(band, top, first)) if path else None,
            end_energy=Estimate(float(band.energies[-1] - band.energies[0]), self._bar(last, first)),
            start=State.HELD if start.held else State.EXISTS if start.stays else State.UNKNOWN,
            end=State.UNKNOWN if lost else self._end(end, band),
            relaxed_start=start,
            relaxed_end=end,
            lost=lost,
        )

    def _settled(self, state: RelaxedState, assigned: IntArray) -> RelaxedState:
        """An end of the model, relaxed on model plus difference."""
        return settle(
            state.bare(),
            self._calculator,
            self._sites,
            assigned,
            self._course.motion.atoms,
            held=state.held,
            relaxation=self._settings.relaxation,
        )

    def following(self, found: Found) -> tuple[Role, Atoms] | None:
        """The frame to be labelled next; None where no label is expected to change anything."""
        if found.end is State.UNKNOWN and not found.relaxed_end.stays:
            return Role.DESCENT, self._on_descent()
        if found.lost:
            return Role.END, self._on_descent()
        for role, image in self._unsettled(found):
            if self._nearest(image)[1] > SAME_PLACE_A:
                return role, image
        z = self._z
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
        role, frame = frames[best]
        return (role, self._within_reach(frame)) if scores[best] > SETTLED_EV else None

    def missing(self, found: Found) -> Missing:
        """Why there is no barrier of the reference, where there is none."""
        n = sum(point.wanted.role is Role.DESCENT for point in self._points)
        if found.lost:
            return Missing(
                "from the end state model plus difference leads to a place that no label is near, so that the barrier of the "
                "reference is not known",
                None,
            )
        if found.relaxed_end.stays:
            return Missing(
                f"the path in the reference is {found.band.convergence()}, so that its barrier is not known", None
            )
        open_text = "whether the end state is a minimum of the reference is not known yet, and so no barrier"
        if n < DESCENT_LABELS:
            return Missing(
                f"{open_text}; {DESCENT_LABELS} labels on the way down from it tell, {n} of them are there",
                DESCENT_LABELS - n,
            )
        return Missing(
            f"{open_text}: the energies of the {n} labels on the way down from it do not fall throughout", None
        )

    def _unknown(self, atoms: Atoms) -> bool:
        """Whether a frame is far from all labels, and its energy is not known."""
        return self._nearest(atoms)[1] > DESCENT_A and self._open(atoms) > DESCENT_BAR_EV

    def _within_reach(self, atoms: Atoms) -> Atoms:
        """The frame, or one on the straight way to it from the nearest label: what lies far in the unknown is not asked for.

        Model plus difference has holes there, in which all atoms are displaced by several A. A label in a hole costs as much as
        another, and says nothing about the way.
        """
        if not self._unknown(atoms):
            return atoms
        k, way = self._nearest(atoms)
        nearer = self._labelled(k)
        shift = (self._at(atoms) - self._places[k]).reshape(-1, 3)
        nearer.positions += DESCENT_A / way * shift
        return nearer

    def _unsettled(self, found: Found) -> list[tuple[Role, Atoms]]:
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
        point = self._points[k]
        frame = self._labelled(k)
        change = CHANGE_SHARE * (self._energy(frame) - self._energy(atoms))
        forces = point.forces.copy()
        for constraint in holding(self._held, len(forces)):
            constraint.adjust_forces(frame, forces)
        below = float(np.sum(forces**2)) / (2 * STIFFNESS_EV_PER_A2)
        return float(np.linalg.norm([self._difference.std(atoms, frame), change, below]))

    def _labelled(self, k: int) -> Atoms:
        """A labelled frame, in the images of its atoms nearest to the origin."""
        frame = self._origin.copy()
        frame.positions = self._origin.positions + self._places[k].reshape(-1, 3)
        return frame

    def _std_from(self, k: int, atoms: Atoms) -> float:
        """How well the difference is known against a labelled frame, eV."""
        return self._difference.std(atoms, self._labelled(k))

    def _bar(self, atoms: Atoms, other: Atoms) -> float:
        """Standard deviation of the reference's energy difference of two frames, eV."""
        return float(np.linalg.norm([self._open(atoms), self._open(other), RELAXED_EV]))

    def _bar_of_barrier(self, band: Band, top: Atoms, first: Atoms) -> float:
        """Standard deviation of the barrier, eV: of its highest image, or wider where another image may be above that one."""
        z = self._z
        highest = float(band.energies[band.top])
        above = max(
            float(energy) + z * self._open(image) - highest
            for image, energy in zip(band.images, band.energies, strict=True)
        )
        return max(self._bar(top, first), above / z)

    def _end(self, end: RelaxedState, band: Band) -> State:
        if end.held and self._course.end.stays:
            return State.HELD
        # Of atoms that the model holds on top of each other, the reference is followed down, as of an end that is no minimum.
        z = self._z
        if end.stays and not end.held:
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
        """The first frame on the way down from the end that is far from all labels or badly known, or the last one."""
        frame = self._course.end.bare()
        frame.calc = self._calculator
        minimiser = FIRE(frame, logfile=None, maxstep=0.05)
        for _ in minimiser.irun(fmax=self._settings.relaxation.fmax_eV_per_A, steps=300):
            k, way = self._nearest(frame)
            if way > DESCENT_A or (way > LEAST_DESCENT_A and self._std_from(k, frame) > DESCENT_BAR_EV):
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
