"""Learning in rounds: walks explore on the model, a batch of frames is selected and labelled, the model is trained again.

The loop
--------
Round 0 labels the initial frames and trains the first model. Each further round

1. walks: molecular dynamics on the model of the round before, at all temperatures (`walks`);
2. selects: candidates by uncertainty and viability, and the frames of new classes of events (`selection`, `events`);
3. labels them; those that fail are left out;
4. judges event classes, where `rounds.audit` is set, with labels on their paths (`audits`);
5. calibrates: predictions made before training against the new labels (`assess`);
6. trains, tests on the user's test frames, and writes the record of the round.

The campaign ends when no candidate was selected for some rounds, when the tolerances are met, when
sigma^A and event rates are known (`trepid.runs.properties`), or when a budget is used up.

Exact resume
------------
A step is a pure function of the settings, the seed and the files of earlier steps, and its file is complete or absent
(`trepid.runs.round_files`). After an interruption of any kind the same command uses the files that exist and makes the
rest: on one machine, with one thread, the resumed campaign equals an uninterrupted one to the last bit, but for times.
Budgets, tolerances and workers may be changed in between; nothing else may.
"""

from __future__ import annotations

import filecmp
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.choices import Strategy, Viability
from trepid.acquisition.viability import Horizon
from trepid.campaign.assess import finish_round, verdict
from trepid.campaign.audits import judge_classes
from trepid.campaign.context import End
from trepid.campaign.events import events_seen
from trepid.campaign.probes import probe_frames
from trepid.campaign.repair import sound_rounds
from trepid.campaign.result import CampaignResult
from trepid.campaign.round_context import RoundContext
from trepid.campaign.round_labels import label_frames, label_start
from trepid.campaign.selection import EventFrame, RoundInput, select
from trepid.campaign.start import user_frames
from trepid.campaign.walks import make_walks
from trepid.data.atomic import write_bytes_atomic
from trepid.data.frames import bare_copy, read_frames, write_frames
from trepid.execution import make_executor
from trepid.potentials.base import Potential, Uncertainty
from trepid.runs.ledger_events import Label, Reason, Request, Resume, Round, RoundEnd, Selected, Stop, StopReason
from trepid.runs.properties import property_status
from trepid.runs.round_files import RoundFiles, RoundRecord, Selection
from trepid.runs.walk_files import Walk

if TYPE_CHECKING:
    from ase import Atoms

_ENDED = (StopReason.FINISHED, StopReason.LABELS, StopReason.CONVERGED, StopReason.HOURS)


class Rounds:
    """A campaign in rounds. Entry point `run`; methods below in call order."""

    def __init__(self, context: RoundContext) -> None:
        self.context, self.campaign, self.ledger = context, context.campaign, context.ledger
        test_file = context.campaign.rounds.test_frames
        self.test_frames: list[Atoms] = []
        if test_file is not None:
            self.test_frames = user_frames(test_file, keys=context.keys, require=("forces",), say=context.view.message)

    # ------------------------------------------------------------------ start and end

    def run(self) -> CampaignResult:
        """Start or resume, and run rounds until the campaign ends."""
        context = self.context
        last = self._begin()
        if last is not None:
            return replace(self._result(last.reason, last.message), already_ended=True)
        try:
            reason, message = context.until_end(self._learn)
        finally:
            context.unload()
        self.ledger.append(
            Stop(reason=reason, step=None, round=len(context.records), n_labels=self._n_labels, message=message)
        )
        return self._result(reason, message)

    @property
    def _n_labels(self) -> int:
        """Labels on disk, also those of a round that is not complete."""
        return len(self.context.store.numbers())

    def _begin(self) -> Stop | None:
        """Claim the run directory; gives the last entry of a campaign that has nothing left to do."""
        context = self.context
        changed = context.claim()
        if changed is None:
            return None
        told: list[str] = []
        n_initial = len({e.label for e in self.ledger.all(Request) if e.reason is Reason.INITIAL})
        context.records = sound_rounds(
            context.directory, context.crystal, context.potentials, told.append, n_initial=n_initial
        )
        for message in told:
            context.view.message(message)
        finished = context.finished(changed, _ENDED)
        if finished is not None and not told and self._latest_model() is None:
            return finished
        n, reused = len(context.records), f"{len(context.records)} complete rounds, {self._n_labels} labels"
        context.resume(Resume(step=None, round=n, n_labels=self._n_labels, reused=reused, changed=changed))
        return None

    def _result(self, reason: StopReason, message: str) -> CampaignResult:
        seconds = [event.seconds for event in self.ledger.all(Label) if event.attempt > 0]
        walks = [walk for record in self.context.records for walk in record.walks]
        return CampaignResult(
            reason=reason,
            message=message,
            n_labels=self._n_labels,
            n_steps=sum(walk.n_steps for walk in walks),
            time_ps=sum(walk.time_ps for walk in walks),
            seconds_per_label=float(np.mean(seconds)) if seconds else float("nan"),
            directory=self.context.directory.path,
            model_file=self.context.directory.model,
            reader=self.context.potentials.load,
            n_rounds=max(len(self.context.records) - 1, 0),
        )

    # ------------------------------------------------------------------ rounds

    def _learn(self) -> End:
        # On an exception, the executor drops tasks that have not begun and ends its workers.
        with make_executor(self.campaign.execution, directory=self.context.directory.path) as self.context.executor:
            return self._rounds()

    def _rounds(self) -> End:
        """Run rounds until one of the criteria for the end is met."""
        context = self.context
        self._settle()
        while True:
            selections = context.selections_before(len(context.records))
            settings = self.campaign.rounds
            context.progress.whole(max(len(context.records) - 1, 0), settings.max_rounds)
            stop = verdict(context.records, settings, hours=self.ledger.wall_time_s / 3600, selections=selections)
            if stop is not None:
                return stop
            if settings.stop is not None and len(context.records) > 1:
                audited = settings.audit is not None
                status = property_status(context.records, selections, settings.stop, audited=audited)
                context.view.message(f"round {len(context.records) - 1}: {status.line()}")
            context.stop_if_interrupted()
            files = context.files(len(context.records)).open()
            context.note_once(Round(round=files.number, n_labels=context.n_labels))
            began = time.perf_counter()
            record = self._first_round(files) if files.number == 0 else self._round(files)
            record.write(files.record)
            context.records.append(record)
            self._settle(time.perf_counter() - began)
            context.view.message(_line(record))

    def _settle(self, seconds: float = 0.0) -> None:
        """After a round, or a kill right after it: copy its model to model.trepid, and write the entry `round_end`."""
        context = self.context
        if not context.records:
            return
        record = context.records[-1]
        end = RoundEnd(
            round=record.round,
            n_labels=record.n_labels,
            n_failed=record.n_failed,
            forces_mae_new=None if record.new is None else record.new.forces_mae,
            forces_mae_test=None if record.test is None else record.test.forces_mae,
            seconds=round(seconds, 3),
        )
        model = self._latest_model()
        if model is not None:
            write_bytes_atomic(context.directory.model, model.read_bytes())
        if context.note_once(end) is False and model is not None:
            context.view.message(f"{context.directory.model}: missing or damaged; copied again from {model}")

    def _latest_model(self) -> Path | None:
        """Model of the last complete round that trained one; None where model.trepid is that one already."""
        context, copied = self.context, self.context.directory.model
        if not any(context.files(record.round).model.exists() for record in context.records):
            return None
        latest = context.model_before(len(context.records))
        return None if copied.exists() and filecmp.cmp(latest, copied, shallow=False) else latest

    def _first_round(self, files: RoundFiles) -> RoundRecord:
        """Label the initial frames, and train the first model."""
        picks, labelled = label_start(self.context, files)
        record = finish_round(self.context, files, picks, labelled, test_frames=self.test_frames)
        if files.model.exists():
            self.context.look_at_crystal(self.context.loaded(files.model))
        return record

    def _round(self, files: RoundFiles) -> RoundRecord:
        """Walk, select, label, and train."""
        context = self.context
        potential = context.loaded(context.model_before(files.number))
        walks = make_walks(context, files, potential)
        selection, frames = self._select(files, potential, walks)
        labelled = label_frames(context, files.number, selection.picks, frames, potential)
        first_label = max([context.next_label, *(pick.label + 1 for pick in selection.picks)])
        judged = judge_classes(context, files, potential, walks, first_label=first_label)
        return finish_round(
            context,
            files,
            selection.picks,
            labelled,
            walks=walks,
            selection=selection,
            judged=judged,
            test_frames=self.test_frames,
        )

    def _select(self, files: RoundFiles, potential: Potential, walks: Sequence[Walk]) -> tuple[Selection, list[Atoms]]:
        """Select the frames of a round, unless that is done."""
        context, began = self.context, time.perf_counter()
        if not files.selection.exists():
            context.stop_if_interrupted()
            acquisition, max_labels = self.campaign.acquisition, self.campaign.rounds.max_labels
            n = acquisition.labels_per_round
            given = RoundInput(
                round=files.number,
                walks=walks,
                crystal=context.crystal,
                potential=potential,
                n=n if max_labels is None else min(n, max_labels - context.n_labels),
                first_label=context.next_label,
                seed=self.campaign.seed,
                equilibrate_ps=self.campaign.walkers.equilibrate_ps,
            )
            earlier = context.selections_before(files.number)
            # Classes that are judged are labelled there.
            audited = self.campaign.rounds.audit is not None
            label = acquisition.events and acquisition.kind is Strategy.UNCERTAINTY and not audited
            quench = label and acquisition.event_quench
            events = events_seen(
                walks,
                context.crystal,
                earlier,
                n_images=acquisition.event_images,
                label=label,
                quencher=potential.calculator(uncertainty=Uncertainty.NONE) if quench else None,
            )
            if acquisition.kind is Strategy.UNCERTAINTY and acquisition.probes:
                events = replace(events, frames=(*events.frames, *self._probes(potential, given.n)))
            selection, frames = select(acquisition, given, events=events)
            if frames:
                write_frames(files.selected, [bare_copy(frame) for frame in frames])
            selection.write(files.selection)
        # Read back, so that a resumed campaign continues from the same numbers.
        selection = Selection.read(files.selection)
        statistics = selection.statistics
        fresh = context.note_once(
            Selected(
                round=selection.round,
                n_candidates=len(selection.uncertainty),
                n_worthy=selection.n_worthy,
                n_selected=len(selection.picks),
                n_events=sum(event.count for event in selection.events),
                mean_uncertainty=None if statistics is None else statistics.mean,
                half_uncertainty=None if statistics is None else statistics.half,
                seconds=round(time.perf_counter() - began, 3),
            )
        )
        if fresh:
            context.view.message(_selection_line(selection))
        return selection, read_frames(files.selected, require=()) if selection.picks else []

    def _probes(self, potential: Potential, n: int) -> list[EventFrame]:
        """Images on the paths of atoms to empty sites."""
        acquisition, walkers = self.campaign.acquisition, self.campaign.walkers
        hottest, stop = max(walkers.temperatures_K), self.campaign.rounds.stop
        return probe_frames(
            potential,
            self.context.crystal,
            min(acquisition.probes, n),
            horizon=None if acquisition.viability is Viability.NONE else Horizon(hottest, acquisition.horizon_ns),
            floor_eV_per_A=acquisition.floor_noise * potential.typical_force_error,
            max_force_eV_per_A=walkers.max_force_eV_per_A,
            bar_eV=math.inf if stop is None else stop.barrier_eV,
        )


def _selection_line(selection: Selection) -> str:
    new = f", {len(selection.new_classes)} new event classes" if selection.new_classes else ""
    return (
        f"round {selection.round}: {len(selection.picks)} frames selected of {len(selection.uncertainty)} candidates, "
        f"{selection.n_worthy} of them with sufficient P_U P_E{new}"
    )


def _line(record: RoundRecord) -> str:
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
