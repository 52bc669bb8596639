"""Labelling frames through an executor: on the fly a batch of one, in rounds many at a time.

The workers only compute. This process alone writes files and ledger, result by result (`case`), so that the record
is the same as for one label after the other, but for the order of its entries. A worker keeps its reference between tasks.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.frames import LabelKeys
from trepid.data.progress_file import NO_FILE, ProgressFile
from trepid.dynamics.interrupt import Interrupted
from trepid.errors import ConfigError
from trepid.execution import InlineExecutor, TaskCrashed
from trepid.labelling.case import LabelCase, LabelRequest, failures_in_row
from trepid.labelling.check import LabelChecker
from trepid.quantities import duration
from trepid.reference.base import FailureReason, LabelError, Reference
from trepid.runs.label_files import LabelledFrame, LabelStore
from trepid.runs.ledger import Ledger

if TYPE_CHECKING:
    from ase import Atoms

COST_POWER = 2.5
"""Time of a label over its number of atoms: between the second and third power in practice, of DFT and tight binding alike."""
LATEST = 5
"""Labels that the estimate of the next one rests on."""
POLL_S = 0.5
"""Interval at which signals are checked while labels are computed, s."""


@dataclass(frozen=True)
class LabelTask:
    """The input of a worker.

    Attributes
    ----------
    reference : bytes
        The pickled reference.
    atoms : Atoms
        The frame.
    keys : LabelKeys
        Names of the labels.
    """

    reference: bytes
    atoms: Atoms
    keys: LabelKeys


@dataclass(frozen=True)
class LabelAnswer:
    """The result of a worker: a labelled frame or an error, and the seconds it took."""

    labelled: Atoms | None
    error: LabelError | ConfigError | None
    seconds: float


class _Kept(threading.local):
    """The reference of this worker: engines take time to start.

    One per thread: with the threads of Parsl several workers share a process, and an engine computes one frame at a time.
    """

    digest: bytes = b""
    reference: Reference | None = None


_kept = _Kept()


def compute_label(task: LabelTask) -> LabelAnswer:
    """Label one frame in a worker."""
    digest = hashlib.sha256(task.reference).digest()
    if _kept.reference is None or _kept.digest != digest:
        if _kept.reference is not None:
            _kept.reference.close()
        _kept.reference, _kept.digest = pickle.loads(task.reference), digest
    return compute_here(_kept.reference, task.atoms, task.keys)


def compute_here(reference: Reference, atoms: Atoms, keys: LabelKeys) -> LabelAnswer:
    """Label one frame in this process."""
    began = time.perf_counter()
    try:
        labelled = reference.label(atoms, keys=keys)
    except (LabelError, ConfigError) as error:
        return LabelAnswer(None, error, time.perf_counter() - began)
    return LabelAnswer(labelled, None, time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class Labeller:
    """Labels frames, and writes files and ledger.

    Attributes
    ----------
    reference : Reference
        Picklable, unless the executor computes in this process.
    executor : Executor
        See `trepid.execution`.
    store : LabelStore
    ledger : Ledger
    retries : int
        Further attempts at a label that failed.
    interrupted : callable
        True once a signal has come: labels being computed are awaited, no others are started.
    tell : callable, optional
        Gets one line before each label: which frame, its size, and how long it will take by the labels so far.
    progress : ProgressFile
        Gets the stage "labels".
    """

    reference: Reference
    executor: Executor
    store: LabelStore
    ledger: Ledger
    retries: int
    interrupted: Callable[[], bool]
    tell: Callable[[str], None] | None = None
    progress: ProgressFile = NO_FILE

    def label(
        self,
        requests: Sequence[LabelRequest],
        *,
        checker: LabelChecker | None = None,
        on_label: Callable[[LabelledFrame], None] | None = None,
        on_failure: Callable[[LabelCase], None] | None = None,
    ) -> list[LabelledFrame | None]:
        """Label frames, as many at a time as the executor computes.

        Existing labels are adopted, so that after a kill the same call continues: a label is on disk as soon as this process
        has it. An error of the reference is a failed attempt, and so is the repeated death of a worker.

        Parameters
        ----------
        requests : sequence of LabelRequest
        checker : LabelChecker or None
            Checks labels against those accepted before this batch, so that their order does not matter; None accepts
            them. With its crystal, labels without a prediction are checked together at the end.
        on_label : callable, optional
            Gets every new labelled frame as it comes.
        on_failure : callable, optional
            Gets every case that failed for good as it fails; it may raise to end the batch.

        Returns
        -------
        list of (LabelledFrame or None)
            In the order of the requests; None for those that failed for good.

        Raises
        ------
        Interrupted
            A signal came and labels are missing; the next start computes them.
        ConfigError
            The reference does not support such frames.
        """
        cases = [
            LabelCase(request, store=self.store, ledger=self.ledger, retries=self.retries, checker=checker)
            for request in requests
        ]
        batch = _Batch(self, on_label, on_failure, [request.number for request in requests])
        due = [case for case in cases if case.due]
        while due:
            with self.progress.stage("labels", total=len(due)):
                batch.run(due)
            due = [] if checker is None else doubt_start(cases, checker)
        return [case.labelled for case in cases]

    def failures_in_row(self) -> int:
        """Labels that failed for good since the last success, or since the campaign stopped for failures."""
        return failures_in_row(self.ledger, self.retries)


class _Batch:
    """Tasks being computed."""

    def __init__(
        self,
        labeller: Labeller,
        on_label: Callable[[LabelledFrame], None] | None,
        on_failure: Callable[[LabelCase], None] | None,
        numbers: Sequence[int],
    ) -> None:
        self._tell, self._numbers, self._store = labeller.tell, list(numbers), labeller.store
        self._executor, self._keys, self._interrupted = labeller.executor, labeller.store.keys, labeller.interrupted
        self._on_label, self._on_failure = on_label, on_failure
        self._reference, self._progress = labeller.reference, labeller.progress
        # A worker gets its own copy of the reference; in this process there is no need for one.
        self._here = isinstance(labeller.executor, InlineExecutor)
        self._pickled: bytes | None = None

    def run(self, cases: Sequence[LabelCase]) -> None:
        """Compute until no case is due."""
        waiting, running, stop = deque(cases), dict[Future[LabelAnswer], LabelCase](), False
        while waiting or running:
            stop = stop or self._interrupted()
            if stop:
                waiting.clear()
                for future in [future for future in running if future.cancel()]:
                    del running[future]
            # None is started while a result is not on disk yet: an executor may compute in this process.
            while waiting and not any(future.done() for future in running):
                self._submit(waiting.popleft(), running)
            done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                case = running.pop(future)
                self._receive(case, future)
                if case.due:
                    waiting.append(case)
            if done:
                self._progress.done(sum(not case.due for case in cases))
        if any(case.due for case in cases):
            raise Interrupted

    def _submit(self, case: LabelCase, running: dict[Future[LabelAnswer], LabelCase]) -> None:
        case.prepare()
        if self._tell is not None:
            self._tell(self._announcement(case))
        if self._here:
            future = self._executor.submit(compute_here, self._reference, case.frame, self._keys)
        else:
            self._pickled = self._pickled or pickle.dumps(self._reference)
            future = self._executor.submit(compute_label, LabelTask(self._pickled, case.frame, self._keys))
        running[future] = case

    def _announcement(self, case: LabelCase) -> str:
        n = len(self._numbers)
        which = f"{self._numbers.index(case.number) + 1} of {n}" if n > 1 else f"{case.number}"
        again = ", again" if case.tried else ""
        seconds = expected_seconds([self._store.read(k) for k in self._store.numbers()[-LATEST:]], len(case.frame))
        time = "no label timed yet" if seconds is None else f"about {duration(seconds)}"
        return f"labelling frame {which}{again}, {len(case.frame)} atoms, {time}"

    def _receive(self, case: LabelCase, future: Future[LabelAnswer]) -> None:
        try:
            answer = future.result()
        except TaskCrashed as error:
            answer = LabelAnswer(None, LabelError(FailureReason.CRASHED, str(error)), 0.0)
        if isinstance(answer.error, ConfigError):
            raise answer.error
        if answer.error is not None:
            if self._interrupted():  # the signal may have caused it: it does not count as an attempt
                return
            case.fail(answer.error)
        else:
            assert answer.labelled is not None
            case.answer(answer.labelled, seconds=answer.seconds)
        if case.labelled is not None and self._on_label is not None:
            self._on_label(case.labelled)
        if case.failed and self._on_failure is not None:
            self._on_failure(case)


def expected_seconds(labels: Sequence[LabelledFrame], n_atoms: int) -> float | None:
    """Time of a label of `n_atoms` by the latest labels of a campaign, s; None where there is none.

    Of another size it is scaled by the ratio of the numbers of atoms to the power `COST_POWER`.
    """
    latest = [label for label in labels if label.seconds > 0]
    if not latest:
        return None
    return float(np.median([label.seconds * (n_atoms / len(label.atoms)) ** COST_POWER for label in latest]))


def doubt_start(cases: Sequence[LabelCase], checker: LabelChecker) -> list[LabelCase]:
    """Check the initial labels of a campaign together; gives the cases to be computed once more.

    Parameters
    ----------
    cases : sequence of LabelCase
        All that have been computed.
    checker : LabelChecker
        With the crystal.
    """
    labelled_cases = [(case, case.labelled) for case in cases if case.labelled is not None]
    doubts = checker.start([labelled for _, labelled in labelled_cases])
    for (case, labelled), suspicion in zip(labelled_cases, doubts, strict=True):
        if suspicion is not None:
            case.doubt(labelled, suspicion)
    return [case for case in cases if case.due]
