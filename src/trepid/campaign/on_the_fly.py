"""Learning on the fly: one MD trajectory on the model; frames whose force uncertainty exceeds the threshold are labelled.

The loop
--------
1. A few displaced and strained copies of the crystal are labelled, and the model is fitted to them.
2. MD runs through the stages of the campaign. Every `check_every` steps the force uncertainty of the frame is compared
   with the threshold. At or below it the frame is trusted, and MD continues. Above it the state is saved with a request,
   the request enters the ledger, the frame is labelled, the model is trained on it, and MD continues from the same
   positions and velocities.
3. A frame is unphysical when something in it is not finite, it is hotter than `max_temperature_factor` times the target,
   a force exceeds `max_force_eV_per_A`, or two atoms have fused (`trepid.dynamics.sanity`). If the model predicts so, the
   frame is not labelled: the label would cost a calculation and improve the model little. If the label has so large a
   force, it is kept. In both cases, and where a label failed, MD restarts with new velocities: from the last trusted
   frame, and if that happens again before 20 trusted checks, from the crystal. Then every step is checked for a while, so that the
   next untrusted frame is found early. After `max_rewinds` restarts in a row the campaign stops.

Exact resume
------------
Checkpoints lie at fixed steps and at every request, and the neighbour list is built anew at each, so what follows a
checkpoint depends on nothing but the checkpoint, the model and the labels. After a kill the same command continues from
the last one: a label whose file exists is adopted, a request without a file is computed, the model is trained on labels
that it lacks, and trace and trajectory are truncated. On one machine the resumed campaign equals an uninterrupted one to
the last bit, with one thread (OMP_NUM_THREADS=1): threaded linear algebra may round differently from call to call.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.conformal import ScoredFrame
from trepid.campaign.context import CampaignContext, CampaignEnded, End
from trepid.campaign.repair import load_or_create, usable_checkpoint
from trepid.campaign.result import CampaignResult
from trepid.campaign.start import initial_frames
from trepid.config import Campaign
from trepid.dynamics.driver import MDDriver, MDParameters
from trepid.dynamics.engine import start_driver
from trepid.dynamics.loop import Check, MDLoop, Policy, Schedule
from trepid.dynamics.record import Recorder
from trepid.dynamics.sanity import SanityLimits
from trepid.errors import TrepidError
from trepid.labelling.case import LabelCase, LabelRequest, none_labelled
from trepid.labelling.check import LabelChecker, LabelHistory
from trepid.potentials.base import Potential, Prediction, Uncertainty
from trepid.quantities import duration, force, share
from trepid.runs.checkpoint import Pending, WalkerState, load_checkpoint, save_checkpoint
from trepid.runs.intervals import Announced, score_of
from trepid.runs.label_files import LabelledFrame, Origin, PriorPrediction
from trepid.runs.ledger_events import Label, Reason, Request, Resume, Rewind, Stage, Stop, StopReason

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

CALM_CHECKS = 20
"""Trusted checks after which a further restart counts as the first."""
CAREFUL_CHECKS = 2
"""After a restart, every step is checked for this many times `check_every` steps."""

_ENDED = (StopReason.FINISHED, StopReason.LABELS, StopReason.NO_CALLS)


class OnTheFly(Policy[End]):
    """A campaign on the fly. Entry point `run`; methods below in call order."""

    driver: MDDriver
    recorder: Recorder
    loop: MDLoop[End]
    state: WalkerState

    def __init__(self, context: CampaignContext[Campaign]) -> None:
        self.context, self.campaign, self.crystal = context, context.campaign, context.crystal
        self.settings, self.dynamics = self.campaign.learning, self.campaign.dynamics
        self.directory, self.ledger, self.view = context.directory, context.ledger, context.view
        self.labeller = context.labeller(retries=self.settings.retries)
        self.labels = context.store.read_all()
        model = self.directory.model
        complete = model.exists()
        self.potential: Potential = load_or_create(context.potentials, model, self.view.message)
        self._repaired = complete and not model.exists()
        self.limits = SanityLimits(
            self.settings.max_temperature_factor, self.settings.max_force_eV_per_A, self.settings.min_distance_factor
        )
        self._stages_entered = {event.stage for event in self.ledger.all(Stage)}
        self._stopped_by_guard = False
        self._moving = False
        self._scores: dict[int, ScoredFrame | None] = {}
        self._prediction: Prediction | None = None
        """Exact prediction of the present frame, where there is one."""

    # ------------------------------------------------------------------ start and end

    def run(self) -> CampaignResult:
        """Start or resume, label the initial frames, run MD to an end."""
        last = self._begin()
        if last is not None:
            return replace(self._result(last.reason, last.message, last.step or 0), already_ended=True)
        try:
            reason, message = self.context.until_end(self._learn)
            step = self.driver.n_steps if self._moving else 0
            self.ledger.append(Stop(reason=reason, step=step, round=None, n_labels=len(self.labels), message=message))
            return self._result(reason, message, step)
        finally:
            if self._moving:
                self.recorder.close()
                self.driver.close()

    def _learn(self) -> End:
        self._label_initial_frames()
        return self._run_md()

    def _begin(self) -> Stop | None:
        """Claim the run directory; gives the last entry of a campaign that has nothing left to do."""
        changed = self.context.claim()
        if changed is None:
            return None
        checkpoint = usable_checkpoint(self.directory, self.view.message)
        finished = self.context.finished(changed, _ENDED)
        if finished is not None and not self._repaired:
            return finished
        last = self.ledger.last
        self._stopped_by_guard = isinstance(last, Stop) and last.reason is StopReason.GUARD
        step = 0 if checkpoint is None else checkpoint.md.step
        time_ps = step * self.dynamics.timestep_fs / 1000
        reused = f"{len(self.labels)} labels, model of {self.potential.n_frames} labels, MD at {time_ps:.3f} ps"
        self.context.resume(Resume(step=step, round=None, n_labels=len(self.labels), reused=reused, changed=changed))
        if changed and step >= self.dynamics.n_steps:
            self.view.message(
                f"the {time_ps:g} ps of dynamics.stages are complete, and changed settings act on later steps only: make the last "
                "stage longer, or add one"
            )
        return None

    def _result(self, reason: StopReason, message: str, step: int) -> CampaignResult:
        seconds = [event.seconds for event in self.ledger.all(Label)]
        return CampaignResult(
            reason=reason,
            message=message,
            n_labels=len(self.labels),
            n_steps=step,
            time_ps=step * self.dynamics.timestep_fs / 1000,
            seconds_per_label=float(np.mean(seconds)) if seconds else float("nan"),
            directory=self.directory.path,
            model_file=self.directory.model,
            reader=self.context.potentials.load,
        )

    # ------------------------------------------------------------------ initial frames

    def _label_initial_frames(self) -> None:
        """Label the initial frames, unless MD has begun or the model is trained."""
        if self.potential.n_frames > 0 or self.directory.state.exists():
            return
        s = self.settings
        frames = initial_frames(
            self.crystal,
            s.initial_frames,
            displacement_A=s.initial_displacement_A,
            strain=s.initial_strain,
            seed=self.campaign.seed,
        )
        origin = Origin(
            reason=Reason.INITIAL,
            step=0,
            time_fs=0.0,
            target_temperature_K=self.dynamics.temperature_at(0),
            stage=0,
        )
        self.labeller.label(
            [LabelRequest(number, frame, origin) for number, frame in enumerate(frames, start=1)],
            # Without a model, labels can be compared with the other ones only.
            checker=self._checker(),
            on_label=lambda label: self.view.message(
                f"label {label.number}: initial frame {label.number} of {len(frames)}, {duration(label.seconds)}"
            ),
            on_failure=self._failed,
        )
        self.labels = self.context.store.read_all()
        if not self.labels:
            raise CampaignEnded(StopReason.FAILURES, none_labelled(self.context.ledger))

    def _checker(self) -> LabelChecker | None:
        """Checks the next label against those so far."""
        if not self.settings.check_labels:
            return None
        return LabelChecker(LabelHistory.of(self.labels), crystal=self.crystal)

    def _failed(self, case: LabelCase) -> None:
        """End the campaign where too many labels have failed for good."""
        in_row = self.labeller.failures_in_row()
        if self.settings.on_failure == "stop":
            raise CampaignEnded(StopReason.FAILURES, "a label failed and on_failure is stop")
        if in_row >= self.settings.max_consecutive_failures:
            raise CampaignEnded(StopReason.FAILURES, f"{in_row} labels in a row failed")

    # ------------------------------------------------------------------ MD

    def _run_md(self) -> End:
        """MD through all stages."""
        checkpoint = load_checkpoint(self.directory.state)
        self._catch_up(checkpoint)
        if checkpoint is None:
            self.context.look_at_crystal(self.potential)
        dynamics, output = self.dynamics, self.campaign.output
        parameters = MDParameters(
            temperature_K=dynamics.temperature_at(0),
            timestep_fs=dynamics.timestep_fs,
            thermostat=dynamics.thermostat,
            relaxation_time_fs=dynamics.relaxation_time_fs,
            engine=dynamics.engine,
            pressure_GPa=dynamics.pressure_at(0),
            barostat=dynamics.barostat,
            pressure_time_fs=dynamics.pressure_time_fs,
        )
        rng = np.random.default_rng([self.campaign.seed, 1])
        self.driver = start_driver(self.crystal, self.potential, parameters, rng=rng)
        if checkpoint is not None:
            self.driver.set_state(checkpoint.md)
            self.recorder = Recorder(self.directory.path, keep=checkpoint.lengths)
        else:
            self.recorder = Recorder(self.directory.path)
        self._moving = True
        self.loop = MDLoop(
            self.driver,
            self.potential,
            program=dynamics,
            schedule=Schedule(
                self.settings.check_every,
                output.sample_every,
                output.checkpoint_every,
                tuple(np.cumsum(dynamics.stage_steps).tolist()),
            ),
            limits=self.limits,
            uncertainty=Uncertainty(self.settings.uncertainty),
            recorder=self.recorder,
        )
        if checkpoint is None:
            self.state = WalkerState(
                md=self.driver.get_state(), anchor=self.crystal.get_positions(), anchor_cell=self.crystal.cell.array
            )
            self._enter_stage()
            self._save_state()
        else:
            # A campaign that stopped as unstable and is started again may restart as often as a new one.
            self.state = replace(checkpoint, rewinds_in_row=0) if self._stopped_by_guard else checkpoint
        return self.loop.run(self)

    def _catch_up(self, checkpoint: WalkerState | None) -> None:
        """After a kill: adopt the pending label if its file exists, then train on labels that the model lacks."""
        pending = None if checkpoint is None else checkpoint.pending
        if pending is not None and self.context.store.path(pending.label).exists():
            self.labeller.label([self._request(pending, self.crystal)])
            self.labels = self.context.store.read_all()
        self._train()

    def _train(self) -> None:
        """Train the model on labels that it lacks."""
        self.potential = self.context.trainer.catch_up(
            self.potential,
            self.labels,
            self.directory.model,
            n_initial=sum(label.origin.reason is Reason.INITIAL for label in self.labels),
            optimize_at=None if self.settings.optimize_at is None else frozenset(self.settings.optimize_at),
        )

    def ready(self, step: int) -> End | None:
        """Label a pending frame; end after a signal, at the last step, or after a long time without labels."""
        if self.state.pending is not None:
            end = self._label_pending(self.state.pending)
            if end is not None:
                return end
        if self.context.interrupted():
            return StopReason.INTERRUPTED, ""
        if step >= self.dynamics.n_steps:
            return StopReason.FINISHED, ""
        if self._without_label_for_long():
            return StopReason.NO_CALLS, ""
        self._enter_stage()
        return None

    def check_every(self, step: int) -> int | None:
        """Every step after a restart."""
        return 1 if step < self.state.careful_until else None

    def physical(self, check: Check) -> End | None:
        """Trust the frame, or request a label."""
        threshold = self.settings.threshold(self.potential.typical_force_error, self.potential.typical_force)
        uncertainty = check.prediction.frame_uncertainty
        self.view.update(
            self.loop.progress(
                check, threshold=threshold, n_labels=len(self.labels), max_labels=self.settings.max_labels
            )
        )
        if uncertainty > threshold:
            return self._request_label(check, uncertainty, threshold)
        self.state = replace(self.state, anchor=check.atoms.get_positions(), anchor_cell=check.atoms.cell.array.copy())
        if self.state.rewinds_in_row and check.step >= self.state.calm_after:
            self.state = replace(self.state, rewinds_in_row=0)
        return None

    def unstable(self, problem: str, *, check: Check | None, cause: TrepidError | None) -> End | None:
        """Restart from the last trusted frame."""
        return self._restart(problem)

    def checkpoint(self, step: int) -> None:
        """Save the state, unless that was just done."""
        if self.state.pending is None and self.state.md.step != step:
            self._save_state()

    def _request_label(self, check: Check, uncertainty: float, threshold: float) -> End | None:
        """Save the state with a request, unless the budget is used up."""
        s = self.settings
        if s.max_labels is not None and len(self.labels) >= s.max_labels:
            return (
                StopReason.LABELS,
                f"a frame asked for label {s.max_labels + 1}: {force(uncertainty)} above the threshold of {force(threshold)}",
            )
        used = [event.label for event in self.ledger.all(Request)] + self.context.store.numbers()
        label = max(used, default=0) + 1
        pending = Pending(label, check.step, Reason.UNCERTAINTY, uncertainty, threshold)
        self.state = replace(self.state, pending=pending)
        self._prediction = check.prediction if self.loop.uncertainty is Uncertainty.EXACT else None
        self._save_state()
        return None

    def _label_pending(self, pending: Pending) -> End | None:
        """Label the pending frame, train on it, and clear the request."""
        driver = self.driver
        labelled = self.labeller.label(
            [self._request(pending, driver.atoms)],
            checker=self._checker(),
            on_failure=self._failed,
        )[0]
        self._prediction = None
        if labelled is None:
            return self._restart(f"label {pending.label} failed")
        new = pending.label not in (label.number for label in self.labels)
        if new:
            self.labels.append(labelled)
        self._train()
        if new:
            self._show(labelled, pending)
        self.loop.potential = self.potential
        driver.set_potential(self.potential)
        self.state = replace(
            self.state,
            pending=None,
            last_call_step=pending.step,
            anchor=driver.atoms.get_positions(),
            anchor_cell=driver.atoms.cell.array.copy(),
        )
        largest = float(np.linalg.norm(labelled.forces, axis=1).max())
        if largest > self.limits.max_force_eV_per_A:
            return self._restart(f"force {largest:.1f} eV/A of label {pending.label} is over the limit")
        return None

    def _request(self, pending: Pending, moving: Atoms) -> LabelRequest:
        """The pending frame as a request."""
        atoms = self.crystal.copy()
        atoms.set_cell(moving.cell)
        atoms.set_positions(moving.positions)
        origin = Origin(
            reason=pending.reason,
            step=pending.step,
            time_fs=pending.step * self.dynamics.timestep_fs,
            target_temperature_K=self.dynamics.temperature_at(pending.step),
            stage=self.dynamics.stage_at(pending.step),
        )

        def before() -> PriorPrediction:
            prediction = self._prediction or self.potential.predict(atoms, uncertainty=Uncertainty.EXACT)
            return PriorPrediction(prediction, self.potential.noise)

        announced = Announced.of(self._scored_before(pending.label), origin, atoms.get_chemical_symbols())
        return LabelRequest(
            pending.label, atoms, origin, before, pending.forces_uncertainty, pending.threshold, announced
        )

    def _scored_before(self, number: int) -> list[ScoredFrame]:
        """Scores of the labels with smaller numbers."""
        for label in self.labels:
            if label.number not in self._scores:
                self._scores[label.number] = score_of(label)
        scores = [self._scores[label.number] for label in self.labels if label.number < number]
        return [frame for frame in scores if frame is not None]

    def _show(self, label: LabelledFrame, pending: Pending) -> None:
        error, forces = self.potential.typical_force_error, self.potential.typical_force / np.sqrt(3)
        part = f", {share(error / forces)} of the rms force" if np.isfinite(forces) and forces > 0 else ""
        uncertainty, threshold = pending.forces_uncertainty or 0.0, pending.threshold or 0.0
        now = self.settings.threshold(error, self.potential.typical_force)
        self.view.message(
            f"label {label.number} at {label.origin.time_fs / 1000:.3f} ps: uncertainty {force(uncertainty)} above "
            f"{force(threshold)}, {duration(label.seconds)}; typical force error now {force(error)}{part}, threshold "
            f"{force(now)}{self.settings.threshold_words(error, self.potential.typical_force)}"
        )

    def _restart(self, problem: str) -> End | None:
        """Restart with new velocities from the last trusted frame, or from the crystal."""
        state, step = self.state, self.driver.n_steps
        in_row = state.rewinds_in_row + 1
        if in_row > self.settings.max_rewinds:
            return StopReason.GUARD, problem
        # If the trajectory started from the last trusted frame becomes unstable at once, that frame is not trusted either.
        to = "last trusted frame" if in_row == 1 else "crystal"
        positions = state.anchor if in_row == 1 else self.crystal.get_positions()
        cell = state.anchor_cell if in_row == 1 else self.crystal.cell.array
        self.driver.restart_from(positions, self.dynamics.temperature_at(step), cell=cell)
        self.state = replace(
            state,
            pending=None,
            anchor=positions.copy(),
            anchor_cell=None if cell is None else cell.copy(),
            n_rewinds=state.n_rewinds + 1,
            rewinds_in_row=in_row,
            careful_until=step + CAREFUL_CHECKS * self.settings.check_every,
            calm_after=step + CALM_CHECKS * self.settings.check_every,
        )
        # A run that is killed before the checkpoint repeats this restart: the entry is not written twice.
        if len(self.ledger.all(Rewind)) < self.state.n_rewinds:
            self.ledger.append(Rewind(rewind=self.state.n_rewinds, step=step, to=to, message=problem))
        self.view.message(f"{self.driver.time_fs / 1000:.3f} ps: {problem}; back to the {to}")
        self._save_state()
        return None

    # ------------------------------------------------------------------ bookkeeping

    def _enter_stage(self) -> None:
        stage = self.dynamics.stage_at(self.driver.n_steps)
        if stage not in self._stages_entered:
            self._stages_entered.add(stage)
            self.ledger.append(Stage(stage=stage, step=self.driver.n_steps))
            target = self.dynamics.stages[stage].temperature_K
            text = f"{target[0]:g} to {target[1]:g} K" if isinstance(target, tuple) else f"{target:g} K"
            pressure = self.dynamics.stages[stage].pressure_GPa
            text += "" if pressure is None else f", {pressure:g} GPa"
            self.view.message(f"stage {stage + 1} of {len(self.dynamics.stages)}: {text}")

    def _without_label_for_long(self) -> bool:
        """Whether the last stage has run without a label for as long as `stop_after_ps_without_call`."""
        limit = self.settings.stop_after_ps_without_call
        step, n_stages = self.driver.n_steps, len(self.dynamics.stages)
        if limit is None or self.dynamics.stage_at(step) < n_stages - 1:
            return False
        begin = self.dynamics.n_steps - self.dynamics.stage_steps[-1]
        return (step - max(self.state.last_call_step, begin)) * self.dynamics.timestep_fs >= limit * 1000

    def _save_state(self) -> None:
        self.state = replace(self.state, md=self.driver.get_state(), lengths=self.recorder.sync())
        save_checkpoint(self.directory.state, self.state)
        # The resumed run starts with a fresh neighbour list; so must this one, or the two differ in the last bit.
        self.driver.forget_neighbors()
