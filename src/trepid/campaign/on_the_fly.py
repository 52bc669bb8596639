"""Learning on the fly: one walker that runs MD on the model and asks the reference where the model does not know.

The loop
--------
1. A few displaced and strained copies of the crystal are labelled, and the model is fitted to them.
2. MD goes through the stages of the campaign. Every `check_every` steps the force uncertainty of the frame is looked
at. At or below
   the threshold the frame is trusted: MD goes on. Above it the walker is checkpointed, the request enters the ledger,
   the frame is labelled, the model learns it, and MD goes on from the same positions with the same velocities.
3. A frame has left reality when something in it is not finite, it is hotter than `max_temperature_factor` times the
target, or a
   force exceeds `max_force_eV_per_A`. If the model says so, nothing is asked: the label would cost a calculation and
   teach little. If the label says so, or could not be computed, it is kept. In each of these cases MD goes back with
   fresh velocities: to the last trusted frame, and if that happens again before a calm stretch (20 looks), to the
   crystal. It then looks at every step for a while, to meet the edge of what the model knows before it is crossed.
   After `max_rewinds` times in a row the campaign stops.

Exact resume
------------
Checkpoints lie at fixed steps and at every request, and the neighbour list starts fresh at each, so what follows a
checkpoint depends on nothing but the checkpoint, the model and the labels. After a kill the same command goes on from
the last one: a label whose file exists is adopted, a request without a file is computed, a model behind its labels is
brought up to them, and trace and trajectory are cut back. On one machine the resumed campaign equals an uninterrupted
one to the last bit, with one thread (OMP_NUM_THREADS=1): threaded linear algebra may round differently from call to call.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from trepid.runs.checkpoint import Pending, WalkerState, load_checkpoint, save_checkpoint
from trepid.campaign.initial import initial_frames
from trepid.campaign.label_check import LabelChecker, LabelHistory
from trepid.campaign.labels import Before, LabelInterrupted, Labeller, LabelStore, doubt_start
from trepid.campaign.learner import Learner, PotentialFactory
from trepid.runs.ledger import Label, Reason, Request, Rewind, Stage, Stop, StopReason
from trepid.campaign.opening import OpenCampaign, open_campaign
from trepid.campaign.result import CampaignResult
from trepid.config import Campaign
from trepid.data.frames import LabelKeys
from trepid.dynamics.engine import start_driver
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.md import MDDriver
from trepid.dynamics.progress import Progress, ProgressView, Speedometer
from trepid.dynamics.record import Recorder, TraceRow
from trepid.errors import TrepidError
from trepid.potentials.base import Prediction, Uncertainty
from trepid.reference.base import Reference

logger = logging.getLogger(__name__)

CALM_LOOKS = 20
"""Trusted looks after which a further excursion counts as the first."""
CAREFUL_LOOKS = 2
"""After going back, every step is looked at for this many times `check_every` steps."""

_ENDED = (StopReason.FINISHED, StopReason.LABELS, StopReason.NO_CALLS)


def learn(
    campaign: Campaign,
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
) -> CampaignResult:
    """Run a campaign on the fly, or go on with the one in its output directory.

    Parameters
    ----------
    campaign : Campaign
    reference : Reference or None
        Who labels; None makes the one that the settings name.
    potentials : PotentialFactory or None
        Where the potential comes from; None takes the Bayesian force field with the campaign's settings.
    progress : ProgressView or None

    Returns
    -------
    CampaignResult

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference, or the output directory holds a run that does not go with these
        settings.
    DataError
        The structure or a file of the run cannot be read, or another process uses the run directory.
    ModelFileError
        The model file of the run is damaged; removing it makes the next start train it anew from the labels.
    """
    with open_campaign(campaign, reference=reference, potentials=potentials, progress=progress) as opened:
        return _OnTheFly(opened).run()


class _OnTheFly:
    """The loop. `run` is the story; the rest are its sentences."""

    def __init__(self, opened: OpenCampaign[Campaign]) -> None:
        self.opened, self.campaign, self.crystal = opened, opened.campaign, opened.crystal
        self.settings, self.dynamics = self.campaign.learning, self.campaign.dynamics
        self.directory, self.ledger, self.view = opened.directory, opened.ledger, opened.view
        self.interrupt = Interruptible()
        self.keys = LabelKeys()
        self.store = LabelStore(self.directory.labels, keys=self.keys)
        self.labeller = Labeller(
            opened.reference,
            self.store,
            self.ledger,
            retries=self.settings.retries,
            interrupted=lambda: self.interrupt.requested,
            checker=self._checker if self.settings.check_labels else None,
        )
        self.learner = Learner(
            opened.potentials, self.directory.model, self.ledger, optimize_at=self.settings.optimize_at
        )
        self.frames = [self.store.read(number) for number in self.store.numbers()]
        self.speed = Speedometer()
        self._stages_entered = {event.stage for event in self.ledger.all(Stage)}
        self._stopped_by_guard = False
        self.driver: MDDriver
        self.recorder: Recorder
        self.state: WalkerState

    # ------------------------------------------------------------------ start and end

    def run(self) -> CampaignResult:
        """Start or resume, label the first frames, walk to an end."""
        try:
            ended = self._begin()
            if ended is not None:
                return ended
            with self.interrupt:
                try:
                    reason, message = self._label_initial_frames() or self._walk()
                except LabelInterrupted:
                    reason, message = StopReason.INTERRUPTED, "a label was given up"
            step = self._step
            self.ledger.append(Stop(reason=reason.value, step=step, n_labels=len(self.frames), message=message))
            return self._result(reason, message, step)
        finally:
            if hasattr(self, "recorder"):
                self.recorder.close()
            if hasattr(self, "driver"):
                self.driver.close()

    @property
    def _step(self) -> int:
        return self.driver.n_steps if hasattr(self, "driver") else 0

    def _begin(self) -> CampaignResult | None:
        """Write who starts what into the ledger; gives the result of a campaign that has nothing left to do."""
        changed = self.opened.claim()
        if changed is None:
            return None
        last = self.ledger.last
        if isinstance(last, Stop) and StopReason(last.reason) in _ENDED and not changed:
            return self._result(StopReason(last.reason), last.message, last.step)
        self._stopped_by_guard = isinstance(last, Stop) and last.reason == StopReason.GUARD.value
        checkpoint = load_checkpoint(self.directory.state)
        step = 0 if checkpoint is None else checkpoint.md.step
        known = self.learner.potential.n_frames
        time_ps = step * self.dynamics.timestep_fs / 1000
        reused = f"{len(self.frames)} labels, model of {known} labels, MD at {time_ps:.3f} ps"
        self.opened.resume(step=step, n_labels=len(self.frames), reused=reused, changed=changed)
        return None

    def _result(self, reason: StopReason, message: str, step: int) -> CampaignResult:
        seconds = [event.seconds for event in self.ledger.all(Label)]
        return CampaignResult(
            reason=reason,
            message=message,
            n_labels=len(self.frames),
            n_steps=step,
            time_ps=step * self.dynamics.timestep_fs / 1000,
            seconds_per_label=float(np.mean(seconds)) if seconds else float("nan"),
            directory=self.directory.path,
            model_file=self.directory.model,
        )

    # ------------------------------------------------------------------ labels and training

    def _label_initial_frames(self) -> tuple[StopReason, str] | None:
        """Label the frames the campaign starts from and fit the model; gives a reason if it has to end here."""
        if self.learner.potential.n_frames > 0 or self.directory.state.exists():
            return None
        s = self.settings
        frames = initial_frames(
            self.crystal,
            s.initial_frames,
            displacement_A=s.initial_displacement_A,
            strain=s.initial_strain,
            seed=self.campaign.seed,
        )
        before = Before(time_fs=0.0, stage=0, target_temperature_K=self.dynamics.temperature_at(0))
        cases = []
        for number, frame in enumerate(frames, start=1):
            if self.interrupt.requested:
                return StopReason.INTERRUPTED, ""
            fresh = not self.store.path(number).exists()
            case = self.labeller.case(Pending(number, 0, Reason.INITIAL), frame, lambda: before)
            cases.append(case)
            labelled = self.labeller.settle(case)
            if labelled is None:
                stop = self._stop_for_failures()
                if stop is not None:
                    return stop
            elif fresh:
                self.frames.append(labelled)
                self.view.message(
                    f"label {number}: initial frame {number} of {len(frames)}, {labelled.info['label_seconds']:.2f} s"
                )
        # Without a model there is nothing to hold a label against but the other ones.
        while s.check_labels and (doubtful := doubt_start(cases, self._checker())):
            for case in doubtful:
                if self.labeller.settle(case) is None and (stop := self._stop_for_failures()) is not None:
                    return stop
            self.frames = [self.store.read(number) for number in self.store.numbers()]
        if not self.frames:
            return StopReason.FAILURES, "none of the initial frames could be labelled"
        return None

    def _checker(self) -> LabelChecker:
        """Holds the next label against those so far."""
        return LabelChecker(LabelHistory.of(self.frames, self.keys), crystal=self.crystal, keys=self.keys)

    def _stop_for_failures(self) -> tuple[StopReason, str] | None:
        """Whether a label that failed for good ends the campaign."""
        in_row = self.labeller.failures_in_row()
        if self.settings.on_failure == "stop":
            return StopReason.FAILURES, "a label failed and on_failure is stop"
        if in_row >= self.settings.max_consecutive_failures:
            return StopReason.FAILURES, f"{in_row} labels in a row failed"
        return None

    def _train(self) -> None:
        """Bring the model to the labels."""
        n_initial = sum(frame.info["reason"] == Reason.INITIAL.value for frame in self.frames)
        self.learner.train(self.frames, n_initial=n_initial)

    def _catch_up(self, checkpoint: WalkerState | None) -> None:
        """After a kill: adopt the pending label if its file exists, then train on whatever the model does not know."""
        pending = None if checkpoint is None else checkpoint.pending
        if pending is not None and self.store.path(pending.label).exists():
            self.labeller.obtain(pending, self.crystal, self._before)
        self._train()

    def _before(self) -> Before:
        """What the model says about the present frame."""
        step = self.driver.n_steps
        return Before(
            time_fs=self.driver.time_fs,
            stage=self.dynamics.stage_at(step),
            target_temperature_K=self.dynamics.temperature_at(step),
            prediction=self.learner.potential.predict(self.driver.atoms, uncertainty=Uncertainty.EXACT),
            noise=self.learner.potential.noise,
        )

    # ------------------------------------------------------------------ the walk

    def _walk(self) -> tuple[StopReason, str]:
        """MD through all stages."""
        self._put_walker_in_place()
        while True:
            if self.state.pending is not None:
                stop = self._answer(self.state.pending)
                if stop is not None:
                    return stop
            if self.interrupt.requested:
                # No checkpoint here: those lie at fixed steps, so that the resumed run repeats an uninterrupted one.
                return StopReason.INTERRUPTED, ""
            if self.driver.n_steps >= self.dynamics.n_steps:
                return StopReason.FINISHED, ""
            if self._calm_for_long():
                return StopReason.NO_CALLS, ""
            stop = self._advance()
            if stop is not None:
                return stop

    def _put_walker_in_place(self) -> None:
        """Driver, records and state: from the checkpoint, or anew."""
        checkpoint = load_checkpoint(self.directory.state)
        self._catch_up(checkpoint)
        self.driver = start_driver(
            self.dynamics.engine,
            self.crystal,
            self.learner.potential,
            temperature_K=self.dynamics.temperature_at(0),
            timestep_fs=self.dynamics.timestep_fs,
            rng=np.random.default_rng([self.campaign.seed, 1]),
            thermostat=self.dynamics.thermostat,
            relaxation_time_fs=self.dynamics.relaxation_time_fs,
        )
        if checkpoint is None:
            self.recorder = Recorder(self.directory.path)
            self.state = WalkerState(md=self.driver.get_state(), anchor=self.crystal.get_positions())
            self._enter_stage()
            self._checkpoint()
            return
        self.driver.set_state(checkpoint.md)
        self.recorder = Recorder(self.directory.path, keep=checkpoint.lengths)
        self.state = checkpoint
        if self._stopped_by_guard:  # whoever starts it again wants it tried again
            self.state = replace(self.state, rewinds_in_row=0)

    def _advance(self) -> tuple[StopReason, str] | None:
        """Step to where something is due, and do it."""
        dynamics, output, step = self.dynamics, self.campaign.output, self.driver.n_steps
        self._enter_stage()
        stage_end = sum(dynamics.stage_steps[: dynamics.stage_at(step) + 1])
        check_every = 1 if step < self.state.careful_until else self.settings.check_every
        due = min(
            stage_end,
            *((step // every + 1) * every for every in (check_every, output.sample_every, output.checkpoint_every)),
        )
        self.driver.set_temperature(dynamics.temperature_at(step))
        self.speed.start()
        try:
            self.driver.step(due - step)
        except TrepidError as error:
            # The potential or the engine refuses a frame: MD has come apart within these few steps.
            return self._go_back(f"the dynamics came apart: {error}")
        finally:
            self.speed.stop(self.driver.n_steps - step)
        look = due % check_every == 0 or due == stage_end
        sample = due % output.sample_every == 0
        if look or sample:
            stop = self._look(look=look, sample=sample)
            if stop is not None:
                return stop
        if due % output.checkpoint_every == 0 and self.state.pending is None and self.state.md.step != due:
            self._checkpoint()
        return None

    def _look(self, *, look: bool, sample: bool) -> tuple[StopReason, str] | None:
        """Predict the present frame; record it, and go on, ask or go back."""
        driver, step = self.driver, self.driver.n_steps
        if not np.isfinite(driver.atoms.positions).all():
            return self._go_back("positions are not finite")
        prediction = self.learner.potential.predict(driver.atoms, uncertainty=self.settings.uncertainty)
        if sample:
            self.recorder.frame(driver.atoms, prediction, step=step, time_fs=driver.time_fs)
        if not look:
            return None
        uncertainty, threshold = prediction.frame_uncertainty, self._threshold
        self._record(prediction, uncertainty, threshold)
        problem = self._left_reality(prediction)
        if problem:
            return self._go_back(problem)
        if uncertainty > threshold:
            return self._ask(uncertainty, threshold)
        self.state = replace(self.state, anchor=driver.atoms.get_positions())
        if self.state.rewinds_in_row and step >= self.state.calm_after:
            self.state = replace(self.state, rewinds_in_row=0)
        return None

    @property
    def _threshold(self) -> float:
        return self.settings.threshold(self.learner.potential.noise.forces)

    def _left_reality(self, prediction: Prediction) -> str:
        """Why the present frame is not one to ask about; empty if it is."""
        s, driver = self.settings, self.driver
        target = self.dynamics.temperature_at(driver.n_steps)
        if not (np.isfinite(prediction.forces).all() and np.isfinite(prediction.frame_uncertainty)):
            return "forces are not finite"
        if driver.temperature_K > s.max_temperature_factor * target:
            return f"temperature {driver.temperature_K:.0f} K is over {s.max_temperature_factor:g} times the target"
        largest = float(np.linalg.norm(prediction.forces, axis=1).max())
        if largest > s.max_force_eV_per_A:
            return f"predicted force {largest:.1f} eV/A is over {s.max_force_eV_per_A:g} eV/A"
        return ""

    def _ask(self, uncertainty: float, threshold: float) -> tuple[StopReason, str] | None:
        """Checkpoint the walker with a request, unless the budget is spent."""
        s = self.settings
        if s.max_labels is not None and len(self.frames) >= s.max_labels:
            return (
                StopReason.LABELS,
                f"uncertainty {uncertainty:.3g} above {threshold:.3g} eV/A at {s.max_labels} labels",
            )
        label = max((event.label for event in self.ledger.all(Request)), default=0) + 1
        pending = Pending(label, self.driver.n_steps, Reason.UNCERTAINTY, uncertainty, threshold)
        self.state = replace(self.state, pending=pending)
        self._checkpoint()
        return None

    def _answer(self, pending: Pending) -> tuple[StopReason, str] | None:
        """Label the pending frame, learn it, and clear it."""
        known = len(self.frames)
        labelled = self.labeller.obtain(pending, self.driver.atoms, self._before)
        if labelled is None:
            stop = self._stop_for_failures()
            return stop if stop is not None else self._go_back(f"label {pending.label} failed")
        if pending.label not in (frame.info["label_index"] for frame in self.frames):
            self.frames.append(labelled)
        self._train()
        driver = self.driver
        driver.set_potential(self.learner.potential)
        self.state = replace(self.state, pending=None, last_call_step=pending.step, anchor=driver.atoms.get_positions())
        if len(self.frames) > known:
            self.view.message(
                f"label {pending.label} at {driver.time_fs / 1000:.3f} ps: uncertainty "
                f"{pending.forces_uncertainty:.3f} above {pending.threshold:.3f} eV/A, "
                f"{labelled.info['label_seconds']:.2f} s; force noise now "
                f"{self.learner.potential.noise.forces:.3f} eV/A"
            )
        largest = float(np.linalg.norm(labelled.arrays[self.keys.forces], axis=1).max())
        if largest > self.settings.max_force_eV_per_A:
            return self._go_back(f"force {largest:.1f} eV/A of label {pending.label} is over the limit")
        return None

    def _go_back(self, problem: str) -> tuple[StopReason, str] | None:
        """Leave a frame that has left reality: to the last trusted one, or to the crystal, with fresh velocities."""
        state, step = self.state, self.driver.n_steps
        in_row = state.rewinds_in_row + 1
        if in_row > self.settings.max_rewinds:
            return StopReason.GUARD, problem
        # After an excursion right out of the anchor, the anchor is in doubt too.
        to = "last trusted frame" if in_row == 1 else "crystal"
        positions = state.anchor if in_row == 1 else self.crystal.get_positions()
        self.driver.restart_from(positions, self.dynamics.temperature_at(step))
        self.state = replace(
            state,
            pending=None,
            anchor=positions.copy(),
            n_rewinds=state.n_rewinds + 1,
            rewinds_in_row=in_row,
            careful_until=step + CAREFUL_LOOKS * self.settings.check_every,
            calm_after=step + CALM_LOOKS * self.settings.check_every,
        )
        # A run that is killed before the checkpoint comes here again: the entry is not written twice.
        if sum(1 for _ in self.ledger.all(Rewind)) < self.state.n_rewinds:
            self.ledger.append(Rewind(rewind=self.state.n_rewinds, step=step, to=to, message=problem))
        self.view.message(f"{self.driver.time_fs / 1000:.3f} ps: {problem}; back to the {to}")
        self._checkpoint()
        return None

    # ------------------------------------------------------------------ bookkeeping

    def _enter_stage(self) -> None:
        stage = self.dynamics.stage_at(self.driver.n_steps)
        if stage not in self._stages_entered:
            self._stages_entered.add(stage)
            self.ledger.append(Stage(stage=stage, step=self.driver.n_steps))
            target = self.dynamics.stages[stage].temperature_K
            text = f"{target[0]:g} to {target[1]:g} K" if isinstance(target, tuple) else f"{target:g} K"
            self.view.message(f"stage {stage + 1} of {len(self.dynamics.stages)}: {text}")

    def _calm_for_long(self) -> bool:
        """Whether the last stage has gone on without a label for as long as the settings ask."""
        limit = self.settings.stop_after_ps_without_call
        step, n_stages = self.driver.n_steps, len(self.dynamics.stages)
        if limit is None or self.dynamics.stage_at(step) < n_stages - 1:
            return False
        begin = self.dynamics.n_steps - self.dynamics.stage_steps[-1]
        return (step - max(self.state.last_call_step, begin)) * self.dynamics.timestep_fs >= limit * 1000

    def _record(self, prediction: Prediction, uncertainty: float, threshold: float) -> None:
        """A row of the trace, and the progress bar."""
        driver, step, dynamics = self.driver, self.driver.n_steps, self.dynamics
        temperature = driver.temperature_K
        self.recorder.row(
            TraceRow(
                step=step,
                time_fs=driver.time_fs,
                stage=dynamics.stage_at(step),
                target_temperature_K=dynamics.temperature_at(step),
                temperature_K=temperature,
                potential_energy_eV=prediction.energy,
                total_energy_eV=prediction.energy + driver.kinetic_energy_eV,
                forces_uncertainty_max_eV_per_A=uncertainty,
                n_labels=len(self.frames),
            )
        )
        self.view.update(
            Progress(
                step=step,
                n_steps=dynamics.n_steps,
                time_ps=driver.time_fs / 1000,
                temperature_K=temperature,
                forces_uncertainty=uncertainty,
                threshold=threshold,
                steps_per_second=self.speed.steps_per_second,
                timestep_fs=dynamics.timestep_fs,
                n_labels=len(self.frames),
                max_labels=self.settings.max_labels,
            )
        )

    def _checkpoint(self) -> None:
        self.state = replace(self.state, md=self.driver.get_state(), lengths=self.recorder.sync())
        save_checkpoint(self.directory.state, self.state)
        # The resumed run starts with a fresh neighbour list; so must this one, or the two differ in the last bit.
        self.driver.forget_neighbors()
