"""A screening: turn after turn, the materials of largest risk get one more round of their campaign, until all are known.

Exact resume
------------
Which materials a turn has follows from the records of all materials before it (`trepid.screening.budget`), and what a round of a
material gives from its settings and seed. A turn is noted before it begins. After a kill the same command runs the materials of the
last turn that have no record of it; their campaigns adopt every label on disk. So an interrupted screening equals an uninterrupted
one in labels and table, whatever the number of workers; only a budget of hours depends on the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from trepid.config.screening import ScreeningSettings
from trepid.data.progress_file import ProgressFile
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.errors import DataError, ExitCode
from trepid.execution import TaskCrashed, make_executor
from trepid.quantities import duration
from trepid.runs.checksums import text_sha256
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Resume
from trepid.runs.round_files import RoundFiles
from trepid.runs.versions import versions_now
from trepid.screening.budget import Choice, next_turn, room_of
from trepid.screening.directory import ScreeningDirectory, read_records
from trepid.screening.effort import effort_of
from trepid.screening.entries import KINDS, Advanced, Begun, Ended, ScreeningEnd, Settled, Turn
from trepid.screening.material import MaterialFiles, MaterialJob, advance, failed, release_reference
from trepid.screening.record import FailureCode, MaterialRecord, Status

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""Interval at which signals are looked at while materials are computed, s."""


@dataclass(frozen=True, eq=False)
class ScreeningResult:
    """What a call of `screen` came to.

    Attributes
    ----------
    reason : ScreeningEnd
    message : str
    records : tuple of MaterialRecord
        Of all materials, in the order of the list.
    turns : int
    directory : Path
    """

    reason: ScreeningEnd
    message: str
    records: tuple[MaterialRecord, ...]
    turns: int
    directory: Path

    @property
    def exit_code(self) -> int:
        """0, or 130 where a signal came."""
        return ExitCode.INTERRUPTED if self.reason is ScreeningEnd.INTERRUPTED else ExitCode.DONE

    def summary(self) -> str:
        """One line of text."""
        counts = {status: sum(record.status is status for record in self.records) for status in Status}
        parts = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        spent = sum(record.n_computations for record in self.records)
        ends = {
            ScreeningEnd.DONE: "done",
            ScreeningEnd.LABELS: "stopped: the budget of labels is used up",
            ScreeningEnd.HOURS: "stopped: the budget of hours is used up",
            ScreeningEnd.INTERRUPTED: "interrupted: the same command resumes",
        }
        detail = f" ({self.message})" if self.message else ""
        return f"{ends[self.reason]}{detail}; {len(self.records)} materials: {parts}; {spent} reference computations"


def screen(
    settings: ScreeningSettings,
    *,
    retry: bool = False,
    tell: Callable[[str], None] = logger.info,
    after_turn: Callable[[Path, Sequence[MaterialRecord]], None] | None = None,
) -> ScreeningResult:
    """Run a screening, or continue the one in its output directory.

    Parameters
    ----------
    settings : ScreeningSettings
    retry : bool
        Try failed materials again, from what they have on disk.
    tell : callable
        Gets progress in lines.
    after_turn : callable, optional
        Gets the directory and all records after every turn, and at the end: writes the dashboard.

    Raises
    ------
    ConfigError
        The directory holds something else, or a screening with other settings.
    DataError
        A record or the ledger is damaged, or another process uses the directory.
    MachineError
        The disk is full or broken; with room again the same command continues.
    """
    with ExitStack() as closing:
        home = ScreeningDirectory(settings.output.directory)
        closing.callback(home.release)
        ledger = Ledger(home.ledger, kinds=KINDS)
        closing.callback(ledger.close)
        _claim(home, ledger, settings, tell)
        interrupt = closing.enter_context(Interruptible())
        progress = closing.enter_context(ProgressFile(home.path, job="screen", unit="materials"))
        closing.callback(release_reference)  # of this process; workers end with their executor
        return _Screening(settings, home, ledger, interrupt, tell, after_turn, progress).run(retry=retry)


def _claim(home: ScreeningDirectory, ledger: Ledger, settings: ScreeningSettings, tell: Callable[[str], None]) -> None:
    """Write settings and first entry of a new screening, or check that the existing one can go on with these."""
    if ledger.recovered:
        tell(ledger.recovered)
    text = settings.to_yaml()
    if not ledger.all(Begun):
        if (home.path / "materials").is_dir():
            raise DataError(f"{home.ledger}: has lost its beginning, and there are materials; put it back")
        home.write(text, versions_now(settings.reference))
        described = settings.reference.to_file_json()
        ledger.append(Begun(len(settings.materials), described, text_sha256(text)))
        return
    changed = home.compare_screening(settings)
    if changed:
        ledger.append(Settled(text_sha256(text), changed))
    home.write(text, versions_now(settings.reference))
    records = read_records(home.path, settings)
    n = sum(record.n_computations for record in records)
    ready = sum(record.status is not Status.WAITING for record in records)
    reused = f"{ready} of {len(records)} materials begun, {n} reference computations"
    ledger.append(Resume(step=None, round=None, n_labels=n, reused=reused, changed=changed))
    tell(f"resuming: {reused}" + (f"; changed: {'; '.join(changed)}" if changed else ""))


@dataclass(eq=False)
class _Screening:
    settings: ScreeningSettings
    home: ScreeningDirectory
    ledger: Ledger
    interrupt: Interruptible
    tell: Callable[[str], None]
    after_turn: Callable[[Path, Sequence[MaterialRecord]], None] | None
    progress: ProgressFile

    def run(self, *, retry: bool) -> ScreeningResult:
        self.records = {record.name: record for record in read_records(self.home.path, self.settings)}
        if retry:
            self._retry()
        self._reopen()
        try:
            with make_executor(self.settings.execution, directory=self.home.path) as executor:
                reason, message = self._turns(executor)
        except Interrupted:
            reason, message = ScreeningEnd.INTERRUPTED, ""
            self.progress.interrupted()
        self.progress.whole(self._n_done, len(self.records))
        self._show()
        self.ledger.append(Ended(reason, self._turn, self._spent, message))
        return ScreeningResult(reason, message, tuple(self.records.values()), self._turn, self.home.path)

    @property
    def _turn(self) -> int:
        """Number of the latest turn; 0 before the first."""
        return max((event.turn for event in self.ledger.all(Turn)), default=0)

    @property
    def _n_done(self) -> int:
        return sum(record.done for record in self.records.values())

    @property
    def _spent(self) -> int:
        return sum(record.n_computations for record in self.records.values())

    def _retry(self) -> None:
        names = [record.name for record in self.records.values() if record.status is Status.FAILED]
        for name in names:
            self.tell(f"{name}: tried again (it had failed: {self.records[name].message})")
            files = self.home.files_of(name)
            files.record.unlink(missing_ok=True)
            # A campaign that ended before its first model counts its failed labels as final: it starts afresh.
            if files.run.exists() and not RoundFiles(files.run, 0).record.exists():
                files.run.rename(
                    next(p for k in count(1) if not (p := files.run.with_name(f"run.failed-{k}")).exists())
                )
            self.records[name] = MaterialRecord(name, self.records[name].formula, Status.WAITING)
        if names:
            digest = text_sha256(self.settings.to_yaml())
            self.ledger.append(Settled(digest, [f"tried again: {', '.join(names)}"]))

    def _reopen(self) -> None:
        """Materials that a larger maximum of rounds or labels opens again."""
        limit = self.settings.rounds.max_labels
        for name, record in self.records.items():
            room = len(record.rounds) < self.settings.rounds.max_rounds and (limit is None or record.n_labels < limit)
            if record.status is Status.EXHAUSTED and room:
                self.records[name] = replace(record, status=Status.OPEN)

    def _turns(self, executor: Executor) -> tuple[ScreeningEnd, str]:
        unfinished = self._unfinished()
        while True:
            if unfinished:
                self._run_turn(executor, self._turn, unfinished)
                unfinished = []
                continue
            end = self._end()
            if end is not None:
                return end
            if self.interrupt.requested:
                raise Interrupted
            choices = self._choose()
            turn = self._turn + 1
            risks = [choice.risk if choice.risk < float("inf") else None for choice in choices]
            self.ledger.append(Turn(turn, [choice.name for choice in choices], risks, self._spent))
            self._run_turn(executor, turn, [choice.name for choice in choices])

    def _unfinished(self) -> list[str]:
        """Materials of the last turn that have no record of it, or none in the ledger."""
        turns = self.ledger.all(Turn)
        if not turns:
            return []
        done = {event.material for event in self.ledger.all(Advanced) if event.turn == turns[-1].turn}
        return [name for name in turns[-1].materials if name in self.records and name not in done]

    def _choose(self) -> list[Choice]:
        stop = self.settings.rounds.stop
        assert stop is not None
        audit = self.settings.rounds.audit
        judged = 0 if audit is None else audit.labels_per_class * audit.classes_per_round
        return next_turn(
            list(self.records.values()),
            self.settings.budget,
            tolerance=stop.sigma_a,
            grant=self.settings.acquisition.labels_per_round + judged,
            turn=self._turn + 1,
            seed=self.settings.seed,
        )

    def _end(self) -> tuple[ScreeningEnd, str] | None:
        if all(record.done for record in self.records.values()):
            return ScreeningEnd.DONE, ""
        hours, limit = self.ledger.wall_time_s / 3600, self.settings.budget.max_hours
        if limit is not None and hours >= limit:
            return ScreeningEnd.HOURS, f"{hours:.2f} of {limit:g} h"
        if not self._choose():
            left = room_of(list(self.records.values()), self.settings.budget)
            return ScreeningEnd.LABELS, f"{left} of {self.settings.budget.max_labels} left, fewer than a round may take"
        return None

    def _run_turn(self, executor: Executor, turn: int, names: Sequence[str]) -> None:
        """Give these materials their round; every one is noted as it comes."""
        self.progress.whole(self._n_done, len(self.records))
        self.tell(
            f"turn {turn}: {', '.join(names)} ({self._n_done} of {len(self.records)} materials done, {self._spent} reference "
            f"computations, {duration(self.ledger.wall_time_s)})"
        )
        running: dict[Future[MaterialRecord], str] = {}
        with self.progress.stage(f"turn {turn}", total=len(names)):
            for name in names:
                if self.interrupt.requested:
                    raise Interrupted
                running[executor.submit(advance, self._job(turn, name))] = name
                self._collect(running, turn, timeout_s=0.0)
            while running:
                self._collect(running, turn, timeout_s=POLL_S)
                self.progress.done(len(names) - len(running))
                if self.interrupt.requested:
                    raise Interrupted
        self._show()

    def _job(self, turn: int, name: str) -> MaterialJob:
        rounds = len(self.records[name].rounds)
        # A record of this turn that is not in the ledger yet has its round already.
        if self.records[name].turn < turn:
            rounds += 1
        stop = self.settings.rounds.stop
        assert stop is not None
        effort = effort_of(self.records[name].rounds, tolerance=stop.sigma_a, longest=self.settings.budget.longest_walk)
        return MaterialJob(self.settings, name, self.home.files_of(name).directory, turn, rounds, effort)

    def _collect(self, running: dict[Future[MaterialRecord], str], turn: int, *, timeout_s: float) -> None:
        done, _ = wait(running, timeout=timeout_s, return_when=FIRST_COMPLETED)
        for future in done:
            name = running.pop(future)
            try:
                record = future.result()
            except TaskCrashed as error:
                record = self._crashed(name, turn, error)
            self.records[name] = record
            self.ledger.append(
                Advanced(
                    turn,
                    name,
                    record.status.value,
                    record.n_computations,
                    record.seconds,
                    None if record.failure is None else record.failure.value,
                    record.message,
                )
            )
            self.tell(line_of(record))

    def _crashed(self, name: str, turn: int, error: TaskCrashed) -> MaterialRecord:
        files: MaterialFiles = self.home.files_of(name)
        record = failed(replace(self.records[name], turn=turn), FailureCode.CRASHED, str(error))
        record.write(files.record)
        return record

    def _show(self) -> None:
        if self.after_turn is not None:
            self.after_turn(self.home.path, list(self.records.values()))


def line_of(record: MaterialRecord) -> str:
    """A material in one line."""
    if record.status is Status.FAILED:
        return f"{record.name}: failed ({record.failure}): {record.message}"
    value, n = record.sigma_a, len(record.rounds)
    half = None if value is None else value.half_width
    sigma = "no sigma^A yet" if value is None else f"sigma^A {value.value:.3f}" + (f" +- {half:.3f}" if half else "")
    events = f", {len(record.classes)} event classes, {record.open_classes} open" if record.classes else ", no events"
    return (
        f"{record.name}: {record.status}; {sigma}{events}; {record.n_labels} labels, {n} round{'' if n == 1 else 's'}"
    )
