"""Learning in rounds: walkers explore on the model, a batch is chosen and labelled, the model is trained again.

The loop
--------
Round 0 labels the frames the campaign starts from and trains the first model. Every further round

1. walks: molecular dynamics on the model of the round before, at all temperatures (`walkers`);
2. selects: the candidates worth a label, and the frames of new classes of events (`selection`, `round_events`);
3. labels them; those that fail are left out;
4. calibrates: what the model had said of the new labels, against them (`assess`);
5. trains, tests on the user's test frames, and writes the record of the round.

It ends when nothing is worth a label for some rounds, when the tolerances are met, or when a budget is spent.

Exact resume
------------
A stage is a pure function of the settings, the seed and the files of earlier stages, and its file is complete or absent
(`round_files`). After an interruption of any kind the same command reuses what is there and makes the rest: on one
machine, with one thread, the resumed campaign equals an uninterrupted one to the last bit, but for times. Budgets,
tolerances and workers may be changed on the way; nothing else may.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.uncertainty import UncertaintyMeasure
from trepid.campaign.assess import (
    calibrate,
    compare_before_training,
    sigma_a_of_walks,
    typical_force,
)
from trepid.campaign.checkpoint import Pending
from trepid.campaign.initial import build_crystal
from trepid.campaign.labels import Before, LabelInterrupted, Labeller, LabelStore, bare_copy
from trepid.campaign.learner import PotentialFactory, training_event
from trepid.campaign.ledger import (
    Label,
    Ledger,
    Reason,
    Resume,
    Round,
    RoundEnd,
    Selected,
    Start,
    Stop,
    StopReason,
    Train,
    Walks,
)
from trepid.campaign.result import CampaignResult
from trepid.campaign.round_events import events_seen
from trepid.campaign.round_files import Pick, RoundFiles, RoundRecord, Selection, SigmaA, complete_rounds
from trepid.campaign.round_potential import round_potentials, teach
from trepid.campaign.round_start import (
    RememberedReference,
    harmonic_reference_of,
    has_labels,
    has_phonopy,
    read_harmonic,
    start_frames,
)
from trepid.campaign.rundir import RunDirectory
from trepid.campaign.selection import EventsSeen, RoundInput, select
from trepid.campaign.walkers import (
    Keep,
    Walk,
    WalkEnd,
    WalkInterrupted,
    WalkJob,
    WalkResult,
    WalkSummary,
    read_summary,
    read_walk,
    run_walk,
)
from trepid.config import HarmonicStart, RoundsCampaign
from trepid.data.atomic import write_bytes_atomic
from trepid.data.frames import LabelKeys, read_frames, write_frames
from trepid.dynamics.arrays import structure_digest
from trepid.dynamics.interrupt import Interruptible
from trepid.dynamics.progress import ProgressView, SilentProgress
from trepid.errors import ConfigError
from trepid.evaluation import evaluate, summarise
from trepid.execution import InlineExecutor, make_executor
from trepid.potentials.base import Potential, Uncertainty
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""How often a campaign that waits for its workers looks whether it is to end, s."""

_ENDED = (StopReason.FINISHED, StopReason.LABELS, StopReason.CONVERGED, StopReason.HOURS)


def learn_in_rounds(
    campaign: RoundsCampaign,
    *,
    reference: Reference | None = None,
    potentials: PotentialFactory | None = None,
    progress: ProgressView | None = None,
) -> CampaignResult:
    """Run a campaign in rounds, or go on with the one in its output directory.

    Parameters
    ----------
    campaign : RoundsCampaign
    reference : Reference or None
        Who labels; None makes the one that the settings name.
    potentials : PotentialFactory or None
        Where the potential comes from; None takes the one that the settings name. With more than one worker its `load`
        must be picklable.
    progress : ProgressView or None

    Returns
    -------
    CampaignResult

    Raises
    ------
    ConfigError
        The system cannot be labelled by this reference, a setting does not go with the potential, or the output
        directory holds a run that does not go with these settings.
    DataError
        A file cannot be read, or another process uses the run directory.
    """
    crystal = build_crystal(campaign.structure)
    with ExitStack() as closing:
        if reference is None:
            from trepid.reference import make_reference

            reference = make_reference(
                campaign.reference.engine,
                directory=campaign.output.directory / "reference",
                **campaign.reference.arguments(),
            )
            closing.callback(reference.close)
        reference.check(crystal)
        potentials = potentials or round_potentials(campaign, crystal)
        potentials.create()  # settings out of range show here, before anything is written
        directory = RunDirectory(campaign.output.directory)
        closing.callback(directory.release)
        ledger = Ledger(directory.ledger)
        closing.callback(ledger.close)
        return _Rounds(campaign, crystal, reference, potentials, directory, ledger, progress or SilentProgress()).run()


class _Interrupted(Exception):  # noqa: N818 not an error: the campaign ends as asked
    """The campaign is to end."""


class _Ended(Exception):  # noqa: N818 not an error
    """The campaign ends in the middle of a round."""

    def __init__(self, reason: StopReason, message: str) -> None:
        self.reason, self.message = reason, message


class _Rounds:
    """The loop. `run` is the story; the rest are its sentences."""

    def __init__(
        self,
        campaign: RoundsCampaign,
        crystal: Atoms,
        reference: Reference,
        potentials: PotentialFactory,
        directory: RunDirectory,
        ledger: Ledger,
        view: ProgressView,
    ) -> None:
        self.campaign, self.settings = campaign, campaign.rounds
        self.crystal, self.reference, self.potentials = crystal, reference, potentials
        self.directory, self.ledger, self.view = directory, ledger, view
        self.interrupt = Interruptible()
        self.keys = LabelKeys()
        self.store = LabelStore(directory.labels, keys=self.keys)
        self.labeller = Labeller(
            reference,
            self.store,
            ledger,
            retries=self.settings.retries,
            interrupted=lambda: self.interrupt.requested,
        )
        self.records = complete_rounds(directory.path)
        self.test_frames = (
            read_frames(self.settings.test_frames, keys=self.keys) if self.settings.test_frames is not None else []
        )
        self.executor: Executor

    # ------------------------------------------------------------------ start and end

    def run(self) -> CampaignResult:
        """Start or resume, and make rounds to an end."""
        ended = self._begin()
        if ended is not None:
            return ended
        with self.interrupt:
            try:
                # Left by an exception, the executor drops what it has not begun and ends its workers.
                with make_executor(self.campaign.execution, directory=self.directory.path) as self.executor:
                    reason, message = self._rounds()
            except (_Interrupted, LabelInterrupted, WalkInterrupted):
                reason, message = StopReason.INTERRUPTED, ""
            except _Ended as end:
                reason, message = end.reason, end.message
        self.ledger.append(
            Stop(reason=reason.value, step=len(self.records), n_labels=len(self.store.numbers()), message=message)
        )
        return self._result(reason, message)

    def _begin(self) -> CampaignResult | None:
        """Write who starts what into the ledger; gives the result of a campaign that has nothing left to do."""
        digest = structure_digest(self.crystal)
        started = next(self.ledger.all(Start), None)
        if started is not None and started.structure_sha256 != digest:
            raise ConfigError(
                f"structure: {self.directory.path} holds a run of another structure ({started.formula}, "
                f"{started.n_atoms} atoms); give that one back, or another output.directory"
            )
        changed = self.directory.claim(self.campaign, n_stages_entered=0)
        if self.ledger.recovered:
            self.view.message(self.ledger.recovered)
        if started is None:
            self.ledger.append(
                Start(
                    n_atoms=len(self.crystal),
                    formula=self.crystal.get_chemical_formula(),
                    structure_sha256=digest,
                    reference=dict(self.reference.describe()),
                )
            )
            return None
        last = self.ledger.last
        if isinstance(last, Stop) and StopReason(last.reason) in _ENDED and not changed:
            return self._result(StopReason(last.reason), last.message)
        reused = f"{len(self.records)} complete rounds, {len(self.store.numbers())} labels"
        self.ledger.append(
            Resume(step=len(self.records), n_labels=len(self.store.numbers()), reused=reused, changed=changed)
        )
        self.view.message(f"resuming: {reused}" + (f"; changed: {'; '.join(changed)}" if changed else ""))
        return None

    def _result(self, reason: StopReason, message: str) -> CampaignResult:
        seconds = [event.seconds for event in self.ledger.all(Label) if event.seconds > 0]
        walks = [walk for record in self.records for walk in record.walks]
        return CampaignResult(
            reason=reason,
            message=message,
            n_labels=len(self.store.numbers()),
            n_steps=sum(walk.n_steps for walk in walks),
            time_ps=sum(walk.time_ps for walk in walks),
            seconds_per_label=float(np.mean(seconds)) if seconds else float("nan"),
            directory=self.directory.path,
            model_file=self.directory.model,
            n_rounds=max(len(self.records) - 1, 0),
        )

    def _rounds(self) -> tuple[StopReason, str]:
        """Round after round."""
        while True:
            stop = self._verdict()
            if stop is not None:
                return stop
            self._stop_if_asked()
            files = RoundFiles(self.directory.path, len(self.records)).open()
            if files.number not in {event.round for event in self.ledger.all(Round)}:
                self.ledger.append(Round(round=files.number, n_labels=self._n_labels))
            began = time.perf_counter()
            record = self._first_round(files) if files.number == 0 else self._round(files)
            record.write(files.record)
            self.records.append(record)
            self._publish(files)
            self.ledger.append(
                RoundEnd(
                    round=record.round,
                    n_labels=record.n_labels,
                    n_failed=record.n_failed,
                    forces_mae_new=None if record.new is None else record.new.forces_mae,
                    forces_mae_test=None if record.test is None else record.test.forces_mae,
                    seconds=round(time.perf_counter() - began, 3),
                )
            )
            self.view.message(_story(record))

    def _verdict(self) -> tuple[StopReason, str] | None:
        """Whether the rounds so far are enough; a function of their records and of the time spent."""
        s, records = self.settings, self.records
        if not records:
            return None
        if s.max_labels is not None and self._n_labels >= s.max_labels:
            return StopReason.LABELS, f"{self._n_labels} of {s.max_labels} labels"
        quiet = [record.n_worthy == 0 and not record.labels for record in records[1:]]
        if len(quiet) >= s.patience and all(quiet[-s.patience :]):
            return StopReason.CONVERGED, f"nothing was worth a label in {s.patience} rounds in a row"
        if self._tolerances_met():
            return StopReason.CONVERGED, "the tolerances are met"
        if len(records) > s.max_rounds:
            return StopReason.FINISHED, f"{s.max_rounds} rounds"
        hours = self.ledger.wall_time_s / 3600
        if s.max_hours is not None and hours >= s.max_hours:
            return StopReason.HOURS, f"{hours:.2f} of {s.max_hours:g} h"
        return None

    def _tolerances_met(self) -> bool:
        """Whether the last round asks for nothing more: small errors on new labels, no new event class, steady sigma^A."""
        tolerance = self.settings.force_error_tolerance_meV_per_A
        if tolerance is None or len(self.records) < 3:
            return False
        last, before = self.records[-1], self.records[-2]
        if last.new is None or last.new_classes or 1000 * last.new.forces_mae > tolerance:
            return False
        earlier = {value.temperature_K: value.value for value in before.sigma_a}
        return all(
            abs(value.value - earlier.get(value.temperature_K, np.inf)) <= self.settings.sigma_a_tolerance
            for value in last.sigma_a
        )

    @property
    def _n_labels(self) -> int:
        return self.records[-1].n_labels if self.records else 0

    def _stop_if_asked(self) -> None:
        if self.interrupt.requested:
            raise _Interrupted

    def _publish(self, files: RoundFiles) -> None:
        """Make the model of the round the one of the campaign."""
        if files.model.exists():
            write_bytes_atomic(self.directory.model, files.model.read_bytes())

    # ------------------------------------------------------------------ rounds

    def _first_round(self, files: RoundFiles) -> RoundRecord:
        """Label the frames to start from, and train the first model."""
        if not files.selected.exists():
            self._select_start(files)
        frames = read_frames(files.selected, require=(), keys=self.keys)
        picks = [
            Pick(
                label=int(frame.info["label_index"]),
                reason=Reason.INITIAL.value,
                walker=0,
                step=0,
                time_fs=0.0,
                temperature_K=0.0,
            )
            for frame in frames
        ]
        for pick, frame in zip(picks, frames, strict=True):
            if has_labels(frame, self.keys):
                self._adopt(pick, frame)
        labelled = self._label(files.number, picks, frames, None)
        # The displaced crystals behind the force constants are labels like any other.
        first = [self.store.read(number) for number in self.store.numbers() if number < picks[0].label]
        if not first and not labelled:
            raise _Ended(StopReason.FAILURES, "none of the frames to start from could be labelled")
        return self._finish(files, picks, [*first, *labelled], walks=(), selection=None)

    def _select_start(self, files: RoundFiles) -> None:
        frames = start_frames(self.campaign, self.crystal, lambda: self._harmonic_start(files))
        first = max(self.store.numbers(), default=0) + 1
        for number, frame in enumerate(frames, start=first):
            frame.info["label_index"] = number
        write_frames(files.selected, frames)

    def _harmonic_start(self, files: RoundFiles) -> HarmonicReference:
        """Force constants of the start: the user's, or from displaced crystals that become the first labels."""
        start = self.campaign.start
        assert isinstance(start, HarmonicStart)
        if not files.harmonic.exists():
            if start.force_constants is not None:
                harmonic = read_harmonic(start.force_constants, self.crystal)
            else:
                source = RememberedReference(self.reference, self._label_displaced)
                self._n_displaced = 0
                harmonic = harmonic_reference_of(self.campaign, source, displacement_A=start.displacement_A)
            harmonic.write_phonopy(files.harmonic)
        return read_harmonic(files.harmonic, self.crystal)

    def _label_displaced(self, atoms: Atoms) -> Atoms | None:
        self._stop_if_asked()
        self._n_displaced += 1
        before = Before(time_fs=0.0, stage=0, target_temperature_K=0.0)
        return self.labeller.obtain(Pending(self._n_displaced, 0, Reason.HARMONIC), atoms, lambda: before)

    def _adopt(self, pick: Pick, frame: Atoms) -> None:
        """Make a frame that the user has labelled a label of the campaign."""
        if self.store.path(pick.label).exists():
            return
        labelled = frame.copy()
        labelled.info.update(
            {"label_index": pick.label, "step": 0, "time_fs": 0.0, "stage": 0, "target_temperature_K": 0.0}
        )
        labelled.info.update({"reason": pick.reason, "label_seconds": 0.0, "label_attempt": 0})
        self.store.write(pick.label, labelled)

    def _round(self, files: RoundFiles) -> RoundRecord:
        """Walk, select, label, and learn."""
        potential = self.potentials.load(self._model_before(files.number))
        try:
            walks = self._walk(files, potential)
            selection, frames = self._select(files, potential, walks)
            labelled = self._label(files.number, selection.picks, frames, potential)
        finally:
            getattr(potential, "close", lambda: None)()
        return self._finish(files, selection.picks, labelled, walks=walks, selection=selection)

    def _model_before(self, number: int) -> Path:
        """Model of the latest round before `number` that trained one."""
        return next(
            model
            for earlier in range(number - 1, -1, -1)
            if (model := RoundFiles(self.directory.path, earlier).model).exists()
        )

    # ------------------------------------------------------------------ walks

    def _walk(self, files: RoundFiles, potential: Potential) -> list[Walk]:
        """Make the walks of a round that are not there yet."""
        began = time.perf_counter()
        jobs = self._jobs(files, potential)
        missing = [job for job in jobs if not job.output.exists()]
        if isinstance(self.executor, InlineExecutor):
            for job in missing:
                self._tell_walk(files.number, run_walk(job, lambda: self.interrupt.requested).summary)
        else:
            self._gather([self.executor.submit(run_walk, job) for job in missing], files.number)
        summaries = [read_summary(job.output) for job in jobs]
        if files.number not in {event.round for event in self.ledger.all(Walks)}:
            ends = [summary.end for summary in summaries]
            self.ledger.append(
                Walks(
                    round=files.number,
                    n_walks=len(jobs),
                    n_candidates=sum(summary.n_candidates for summary in summaries),
                    time_ps=sum(summary.time_ps for summary in summaries),
                    untrusted=ends.count(WalkEnd.UNTRUSTED.value),
                    left_reality=ends.count(WalkEnd.LEFT_REALITY.value),
                    seconds=round(time.perf_counter() - began, 3),
                )
            )
        return [read_walk(job.output) for job in jobs]

    def _gather(self, futures: Sequence[Future[WalkResult]], number: int) -> None:
        """Wait for walks in other processes, looking now and then whether the campaign is to end."""
        open_futures = set(futures)
        while open_futures:
            done, open_futures = wait(open_futures, timeout=POLL_S)
            for future in done:
                self._tell_walk(number, future.result().summary)
            self._stop_if_asked()

    def _tell_walk(self, number: int, summary: WalkSummary) -> None:
        why = f" ({summary.message})" if summary.message else ""
        self.view.message(
            f"round {number}: walk {summary.walker} at {summary.temperature_K:g} K, {summary.time_ps:.2f} ps, "
            f"{summary.n_candidates} candidates{why}"
        )

    def _jobs(self, files: RoundFiles, potential: Potential) -> list[WalkJob]:
        w, acquisition = self.campaign.walkers, self.campaign.acquisition
        crystal_file = self.directory.path / "rounds" / "crystal.extxyz"
        if not crystal_file.exists():
            write_frames(crystal_file, self.crystal)
        known = [self.store.read(number) for number in self.store.numbers() if number < self.records[-1].next_label]
        untrusted = w.untrusted_fraction * typical_force(known, self.keys)
        n_members = getattr(potential, "n_members", None)
        measure_sigma = acquisition.kind == "uncertainty" and acquisition.measure == "sigma_a"
        model = self._model_before(files.number)
        keep = Keep.MOST_UNCERTAIN if acquisition.kind == "uncertainty" else Keep.FIRST
        return [
            WalkJob(
                model_file=model,
                crystal_file=crystal_file,
                output=files.walk(walker),
                round=files.number,
                walker=walker,
                temperature_K=w.temperatures_K[walker // w.per_temperature],
                seed=(self.campaign.seed, 2, files.number, walker),
                n_steps=w.n_steps,
                check_every=w.check_every,
                timestep_fs=w.timestep_fs,
                relaxation_time_fs=w.relaxation_time_fs,
                thermostat=w.thermostat,
                engine=w.engine,
                max_candidates=w.max_candidates,
                keep=keep,
                measure=UncertaintyMeasure(acquisition.measure if acquisition.kind == "uncertainty" else "force_max"),
                untrusted_eV_per_A=untrusted,
                untrusted_steps=round(1000 * w.untrusted_ps / w.timestep_fs),
                max_force_eV_per_A=w.max_force_eV_per_A,
                max_temperature_factor=w.max_temperature_factor,
                min_distance_factor=w.min_distance_factor,
                member=walker % n_members if n_members is not None and w.on == "member" else None,
                bias=None if w.bias is None else (w.bias.strength, w.bias.largest_eV),
                force_constants=self._harmonic_file(files, potential) if measure_sigma else None,
                load=self.potentials.load,
            )
            for walker in range(w.n_walkers)
        ]

    def _harmonic_file(self, files: RoundFiles, potential: Potential) -> Path:
        """Force constants for sigma^A: of the start where it has some, else of the model that is walked on."""
        start = RoundFiles(self.directory.path, 0).harmonic
        if start.exists():
            return start
        if not files.harmonic.exists():
            harmonic_reference_of(self.campaign, potential, displacement_A=0.01).write_phonopy(files.harmonic)
        return files.harmonic

    # ------------------------------------------------------------------ selection and labels

    def _select(self, files: RoundFiles, potential: Potential, walks: Sequence[Walk]) -> tuple[Selection, list[Atoms]]:
        if not files.selection.exists():
            self._stop_if_asked()
            began = time.perf_counter()
            acquisition, s = self.campaign.acquisition, self.settings
            n = acquisition.labels_per_round
            if s.max_labels is not None:
                n = min(n, s.max_labels - self._n_labels)
            given = RoundInput(
                round=files.number,
                walks=walks,
                crystal=self.crystal,
                potential=potential,
                n=n,
                first_label=self.records[-1].next_label,
                seed=self.campaign.seed,
                equilibrate_ps=self.campaign.walkers.equilibrate_ps,
            )
            selection, frames = select(acquisition, given, events=self._events(files.number, walks))
            if frames:
                write_frames(files.selected, [bare_copy(frame) for frame in frames])
            selection.write(files.selection)
            self._note_selection(selection, time.perf_counter() - began)
        selection = Selection.read(files.selection)
        self._note_selection(selection, 0.0)
        return selection, read_frames(files.selected, require=()) if selection.picks else []

    def _events(self, number: int, walks: Sequence[Walk]) -> EventsSeen:
        acquisition = self.campaign.acquisition
        earlier = [Selection.read(RoundFiles(self.directory.path, k).selection) for k in range(1, number)]
        return events_seen(walks, self.crystal, earlier, n_images=acquisition.event_images)

    def _note_selection(self, selection: Selection, seconds: float) -> None:
        if selection.round in {event.round for event in self.ledger.all(Selected)}:
            return
        statistics = selection.statistics
        self.ledger.append(
            Selected(
                round=selection.round,
                n_candidates=len(selection.uncertainty),
                n_worthy=selection.n_worthy,
                n_selected=len(selection.picks),
                n_events=sum(event.count for event in selection.events),
                mean_uncertainty=None if statistics is None else statistics.mean,
                half_uncertainty=None if statistics is None else statistics.half,
                seconds=round(seconds, 3),
            )
        )
        self.view.message(
            f"round {selection.round}: {len(selection.picks)} of {len(selection.uncertainty)} candidates chosen, "
            f"{selection.n_worthy} worth a label"
            + (f", {len(selection.new_classes)} new event classes" if selection.new_classes else "")
        )

    def _label(
        self, number: int, picks: Sequence[Pick], frames: Sequence[Atoms], potential: Potential | None
    ) -> list[Atoms]:
        """Label the frames of a round; those that failed are left out."""
        labelled, failed = [], 0
        for pick, frame in zip(picks, frames, strict=True):
            self._stop_if_asked()
            request = Pending(pick.label, pick.step, Reason(pick.reason), pick.uncertainty)
            atoms = self.labeller.obtain(
                request, frame, lambda pick=pick, frame=frame: _before(number, pick, frame, potential)
            )
            if atoms is not None:
                labelled.append(atoms)
                continue
            failed += 1
            if self.settings.on_failure == "stop":
                raise _Ended(StopReason.FAILURES, "a label failed and on_failure is stop")
        if picks and failed > self.settings.max_failed_fraction * len(picks):
            raise _Ended(StopReason.FAILURES, f"{failed} of {len(picks)} labels of round {number} failed")
        return labelled

    # ------------------------------------------------------------------ training and record

    def _finish(
        self,
        files: RoundFiles,
        picks: Sequence[Pick],
        labelled: Sequence[Atoms],
        *,
        walks: Sequence[Walk],
        selection: Selection | None,
    ) -> RoundRecord:
        """Train on what is new, and draw up the record."""
        comparison = compare_before_training(labelled, self.keys)
        if labelled and not files.model.exists():
            self._stop_if_asked()
            self._train(files, labelled)
        known = self._n_labels + len(labelled)
        model = files.model if files.model.exists() else self._model_before(files.number)
        potential = self.potentials.load(model)
        try:
            if known not in {event.n_labels for event in self.ledger.all(Train)}:
                self.ledger.append(training_event(potential, optimized=False, seconds=0.0))
            noise = float(potential.noise.forces)
            test = None if not self.test_frames else evaluate(potential, self.test_frames, keys=self.keys)
        finally:
            getattr(potential, "close", lambda: None)()
        return RoundRecord(
            round=files.number,
            labels=tuple(int(frame.info["label_index"]) for frame in labelled),
            n_failed=sum(not self.store.path(pick.label).exists() for pick in picks),
            n_doubtful=0,
            n_labels=known,
            next_label=max(
                (pick.label for pick in picks), default=self.records[-1].next_label - 1 if self.records else 0
            )
            + 1,
            walks=tuple(walk.summary for walk in walks),
            new=None if comparison is None else summarise(comparison),
            test=test,
            calibration=calibrate(comparison, self.records),
            sigma_a=self._sigma_a(files, walks),
            n_worthy=0 if selection is None else selection.n_worthy,
            new_classes=() if selection is None else selection.new_classes,
            noise_forces=noise if np.isfinite(noise) else 0.0,
        )

    def _train(self, files: RoundFiles, labelled: Sequence[Atoms]) -> None:
        began = time.perf_counter()
        fresh = files.number == 0
        potential = self.potentials.create() if fresh else self.potentials.load(self._model_before(files.number))
        try:
            optimized = teach(potential, labelled, fresh=fresh, executor=self.executor)
            potential.save(files.model)
            self.ledger.append(training_event(potential, optimized=optimized, seconds=time.perf_counter() - began))
        finally:
            getattr(potential, "close", lambda: None)()

    def _sigma_a(self, files: RoundFiles, walks: Sequence[Walk]) -> tuple[SigmaA, ...]:
        if not walks or not has_phonopy():
            return ()
        potential = self.potentials.load(self._model_before(files.number))
        try:
            harmonic = read_harmonic(self._harmonic_file(files, potential), self.crystal)
        finally:
            getattr(potential, "close", lambda: None)()
        return sigma_a_of_walks(walks, harmonic, equilibrate_ps=self.campaign.walkers.equilibrate_ps)


def _before(number: int, pick: Pick, frame: Atoms, potential: Potential | None) -> Before:
    """What the model says about a frame before it learns it."""
    return Before(
        time_fs=pick.time_fs,
        stage=number,
        target_temperature_K=pick.temperature_K,
        prediction=None if potential is None else potential.predict(frame, uncertainty=Uncertainty.EXACT),
        noise=None if potential is None else potential.noise,
    )


def _story(record: RoundRecord) -> str:
    """A round in one line."""
    parts = [f"round {record.round}: {len(record.labels)} labels ({record.n_labels} in all)"]
    if record.n_failed:
        parts.append(f"{record.n_failed} failed")
    if record.new is not None:
        parts.append(f"force MAE on them before training {1000 * record.new.forces_mae:.1f} meV/A")
    if record.test is not None:
        parts.append(f"on the test frames after it {1000 * record.test.forces_mae:.1f} meV/A")
    parts += [f"sigma^A {value.value:.3f} at {value.temperature_K:g} K" for value in record.sigma_a]
    return ", ".join(parts)
