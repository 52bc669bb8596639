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
3. Model plus the difference that the labels show (`trepid.audit.difference`) is an estimate of the reference's surface: ends
   and band are relaxed on it, which gives the reference's barrier and its bar.
4. While the verdict is open, the stationary point whose energy is least certain is labelled where that surface has it. Where
   the end is no minimum of that surface, the reference is followed down from it, to see whether the state exists at all.
5. With what is left of the budget, the frames before, during and after the event are labelled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trepid.audit.band import Band, find_band, interpolated, read_band, write_band
from trepid.audit.event_class import (
    Answer,
    AuditSettings,
    ClassFiles,
    EventClassAudit,
    LabelledPoint,
    LabelSource,
    Role,
    SeenClass,
    Wanted,
)
from trepid.audit.judgement import Criteria, Estimate, Judgement, State, Verdict, judge, judge_probe
from trepid.audit.model import AuditedModel
from trepid.audit.states import aligned, end_state, held_end, start_state
from trepid.audit.surface import BAD_BAND_EV_PER_A, CorrectedSurface, Course, Found
from trepid.data.atomic import set_aside
from trepid.errors import DataError, TrepidError
from trepid.reference.base import FailureReason

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from trepid.events.sites import Sites

logger = logging.getLogger(__name__)


def audit_class(
    seen: SeenClass,
    model: AuditedModel,
    label: LabelSource,
    *,
    crystal: Atoms,
    sites: Sites,
    criteria: Criteria,
    settings: AuditSettings | None = None,
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
    settings : AuditSettings, optional
    files : ClassFiles, optional
        Where the band is kept.
    tell : callable
        Gets a line about each step.
    interrupted : callable, optional
        Called now and then; raises to end the audit.
    """
    return _ClassAudit(
        seen,
        model,
        label,
        crystal,
        sites,
        criteria,
        settings or AuditSettings(),
        files,
        tell,
        interrupted or (lambda: None),
    ).run()


def model_path(
    seen: SeenClass,
    model: AuditedModel,
    *,
    crystal: Atoms,
    sites: Sites,
    criteria: Criteria,
    settings: AuditSettings | None = None,
    interrupted: Callable[[], None] | None = None,
) -> EventClassAudit:
    """What a model makes of an event class, without a label: its barrier, or why there is none.

    Parameters
    ----------
    seen, model, crystal, sites, criteria, settings, interrupted
        As of `audit_class`.
    """

    def none(wanted: Sequence[Wanted]) -> list[Answer]:
        raise AssertionError("the path of a model needs no label")

    settings, interrupted = settings or AuditSettings(), interrupted or (lambda: None)
    return _ClassAudit(
        seen, model, none, crystal, sites, criteria, settings, None, logger.debug, interrupted
    ).on_model()


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
    refused: dict[Role, str] = field(default_factory=dict)
    asked: int = 0

    def run(self) -> EventClassAudit:
        audit = self.on_model()
        if audit.band is None:
            return audit
        audit = self._with_labels(audit)
        self._label_frames()
        return replace(audit, points=tuple(self.points), problems=tuple(self.problems))

    # ------------------------------------------------------------------ the model

    def on_model(self) -> EventClassAudit:
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
            if not self.end.held and band.back < self.criteria.tolerance:
                # A state that is left again faster than the factor resolves is none: what counts is the cost of getting there.
                self.end = held_end(self.start, motion, self.sites, calculator, self.settings.relaxation)
                band = self._band(calculator, held=True)
        except TrepidError as error:
            return _undecided(nothing, f"the path cannot be computed on the model: {error}")
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
            try:
                return read_band(path)
            except DataError as error:
                self.tell(f"{' '.join(str(error).split())}; now {set_aside(path).name}, and the path is sought again")
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
        if (absent := self._refused(audit)) is not None:
            return absent
        if not any(point.wanted.role is Role.START for point in self.points):
            return _undecided(audit, f"the start could not be labelled: {self._last_problem()}")
        if len(self.points) < 2:
            return _undecided(audit, f"neither end nor saddle could be labelled: {self._last_problem()}")
        self.surface = CorrectedSurface(
            self.model,
            Course(self.seen.motion, self.start, self.end, self.band),
            sites=self.sites,
            criteria=self.criteria,
            settings=self.settings,
            interrupted=self.interrupted,
        )
        while True:
            self.interrupted()
            try:
                found = self.surface.renew(self.points)
            except TrepidError as error:
                # Model plus difference can fall without end where both are far from their data.
                reason = f"model plus difference cannot be relaxed with {len(self.points)} labels: {error}"
                self.problems.append(reason)
                self.tell(f"{self.seen.name}: {reason}")
                return _undecided(audit, reason)
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
            if following is None:
                reason = f"{judgement.reason}; no further label is expected to change that"
                return replace(audit, judgement=replace(judgement, reason=reason, labels_needed=None))
            n_problems = len(self.problems)
            if not self._label([following]):
                new = self.problems[n_problems:]
                why = new[-1] if new else "the frame that would tell more is labelled already"
                reason = f"{judgement.reason}; {why}"
                return replace(audit, judgement=replace(judgement, reason=reason, labels_needed=None))

    def _refused(self, audit: EventClassAudit) -> EventClassAudit | None:
        """The verdict where atoms of the model's start or end collide in the reference; None where no label was refused for it.

        The reference is not to blame: it has labelled another state of the same atoms.
        """
        for role in (Role.START, Role.END):
            if role not in self.refused or not self.points:
                continue
            why = f"the {role} state of the model is none of the reference: {self.refused[role]}"
            self.tell(f"{self.seen.name}: {why}")
            start, end = (State.ABSENT if role is r else State.UNKNOWN for r in (Role.START, Role.END))
            assert audit.model_barrier is not None
            if self.seen.n_seen:
                judgement = judge(audit.model_barrier, None, self.criteria, start=start, end=end)
            else:
                judgement = judge_probe(audit.model_barrier, None, self.criteria, end=State.ABSENT)
            said = replace(judgement, reason=f"{judgement.reason}; {why}")
            return replace(audit, judgement=said, start=start, end=end)
        return None

    def _judge(self, audit: EventClassAudit, found: Found) -> Judgement:
        assert audit.model_barrier is not None
        assert audit.model_end is not None
        place = Estimate(found.end_energy.value - audit.model_end, found.end_energy.std)
        missing = self.surface.missing(found)
        least = found.end_energy if found.end in (State.EXISTS, State.HELD) else None
        if self.seen.n_seen:
            return judge(
                audit.model_barrier,
                found.barrier,
                self.criteria,
                start=found.start,
                end=found.end,
                least=least,
                place=place,
                missing=missing.reason,
                missing_labels=missing.labels_needed,
            )
        return judge_probe(
            audit.model_barrier,
            found.barrier,
            self.criteria,
            end=found.end,
            least=least,
            place=place,
            missing=missing.reason,
            missing_labels=missing.labels_needed,
        )

    def _label(self, frames: Sequence[tuple[Role, Atoms]]) -> bool:
        """Label frames; whether at least one label came that this class did not have."""
        wanted = self._all_wanted(frames)
        self.asked += len(wanted)
        came = False
        for asked, answer in zip(wanted, self.label(wanted), strict=True):
            if answer.labels is None:
                self.problems.append(f"label {answer.number} ({asked.role}) failed: {answer.problem}")
                if answer.reason is FailureReason.EXTREME_FORCE:
                    self.refused[asked.role] = answer.problem
            elif not any(point.number == answer.number for point in self.points):
                want = asked if answer.atoms is None else self._wanted(asked.role, answer.atoms)
                self.points.append(LabelledPoint(want, answer.number, answer.labels))
                came = True
        return came

    def _all_wanted(self, frames: Sequence[tuple[Role, Atoms]]) -> list[Wanted]:
        """With what the model announces; a frame for which it gives nothing is noted, and costs no label."""
        wanted = []
        for role, atoms in frames:
            try:
                wanted.append(self._wanted(role, atoms))
            except TrepidError as error:
                self.problems.append(f"the model gives no energy of a frame ({role}): {error}")
        return wanted

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
