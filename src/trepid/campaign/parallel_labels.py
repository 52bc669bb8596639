"""Many labels at once, through an executor: on this machine, or wherever its workers are.

The workers only compute. Files and ledger are kept by this process alone, answer by answer as they come
(`label_case`), so that the record is the same as that of one label after the other, but for the order of its entries.
A worker keeps its reference between tasks.
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

from trepid.runs.checkpoint import Pending
from trepid.campaign.label_case import LabelCase
from trepid.campaign.label_check import LabelChecker
from trepid.runs.label_files import Before, LabelStore
from trepid.campaign.labels import LabelInterrupted, doubt_start
from trepid.runs.ledger import Ledger
from trepid.data.frames import LabelKeys
from trepid.errors import ConfigError
from trepid.execution import TaskCrashed
from trepid.reference.base import FailureReason, LabelError, Reference

if TYPE_CHECKING:
    from ase import Atoms

GLANCE_S = 0.5
"""How often a signal is looked for while labels are awaited, s."""


@dataclass(frozen=True)
class LabelTask:
    """What a worker is told.

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
    """What a worker says: a labelled frame or an error, and the seconds it took."""

    labelled: Atoms | None
    error: LabelError | ConfigError | None
    seconds: float


@dataclass(frozen=True)
class LabelRequest:
    """A label to be asked for: see `Labeller.obtain`."""

    pending: Pending
    atoms: Atoms
    before: Callable[[], Before]


class _Kept(threading.local):
    """The reference of this worker: engines take time to start.

    Of this thread: with the threads of Parsl several workers share a process, and no engine answers two at a time.
    """

    digest: bytes = b""
    reference: Reference | None = None


_kept = _Kept()


def compute_label(task: LabelTask) -> LabelAnswer:
    """Label one frame: what a worker does."""
    digest = hashlib.sha256(task.reference).digest()
    if _kept.reference is None or _kept.digest != digest:
        if _kept.reference is not None:
            _kept.reference.close()
        _kept.reference, _kept.digest = pickle.loads(task.reference), digest
    began = time.perf_counter()
    try:
        labelled = _kept.reference.label(task.atoms, keys=task.keys)
    except (LabelError, ConfigError) as error:
        return LabelAnswer(None, error, time.perf_counter() - began)
    return LabelAnswer(labelled, None, time.perf_counter() - began)


def label_batch(
    requests: Sequence[LabelRequest],
    reference: Reference,
    executor: Executor,
    *,
    store: LabelStore,
    ledger: Ledger,
    retries: int,
    checker: LabelChecker | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    on_label: Callable[[Atoms], None] | None = None,
) -> list[Atoms | None]:
    """Label frames, as many at a time as the executor computes.

    What exists already is adopted, so that after a kill the same call goes on where it was: a label is on the disk as
    soon as this process has it. An error of the reference is a failed attempt, and so is a worker that dies again and
    again.

    Parameters
    ----------
    requests : sequence of LabelRequest
    reference : Reference
        Picklable; not used in this process unless the executor computes here.
    executor : Executor
        See `trepid.execution`.
    store : LabelStore
    ledger : Ledger
    retries : int
        Further attempts at a label that failed.
    checker : LabelChecker or None
        Looks labels over, against what was known before this batch, so that the order in which they come does not
        matter; None trusts them. With its crystal, labels without a prediction are looked over together at the end.
    interrupted : callable
        True once a signal has come: labels being computed are awaited, no others are begun.
    on_label : callable or None
        Gets every labelled frame that is new, as it comes.

    Returns
    -------
    list of (Atoms or None)
        Labelled frames in the order of the requests; None for those that failed for good.

    Raises
    ------
    LabelInterrupted
        A signal came and labels are missing; the next start asks for them.
    ConfigError
        The reference cannot label such frames at all.
    """
    cases = [
        LabelCase(
            request.pending,
            request.atoms,
            request.before,
            store=store,
            ledger=ledger,
            retries=retries,
            checker=checker,
        )
        for request in requests
    ]
    batch = _Batch(pickle.dumps(reference), executor, store.keys, interrupted, on_label)
    due = [case for case in cases if case.due]
    while True:
        batch.run(due)
        due = [] if checker is None else doubt_start(cases, checker)
        if not due:
            break
    return [case.labelled for case in cases]


class _Batch:
    """Tasks under way."""

    def __init__(
        self,
        reference: bytes,
        executor: Executor,
        keys: LabelKeys,
        interrupted: Callable[[], bool],
        on_label: Callable[[Atoms], None] | None,
    ) -> None:
        self._reference, self._executor, self._keys = reference, executor, keys
        self._interrupted, self._on_label = interrupted, on_label

    def run(self, cases: Sequence[LabelCase]) -> None:
        """Compute until no case is due."""
        waiting, under_way, stop = deque(cases), dict[Future[LabelAnswer], LabelCase](), False
        while waiting or under_way:
            stop = stop or self._interrupted()
            if stop:
                waiting.clear()
                for future in [future for future in under_way if future.cancel()]:
                    del under_way[future]
            # No further one while an answer is there that is not on the disk yet: an executor may compute right here.
            while waiting and not any(future.done() for future in under_way):
                self._submit(waiting.popleft(), under_way)
            done, _ = wait(under_way, timeout=GLANCE_S, return_when=FIRST_COMPLETED)
            for future in done:
                case = under_way.pop(future)
                self._receive(case, future)
                if case.due:
                    waiting.append(case)
        if any(case.due for case in cases):
            raise LabelInterrupted

    def _submit(self, case: LabelCase, under_way: dict[Future[LabelAnswer], LabelCase]) -> None:
        case.prepare()
        under_way[self._executor.submit(compute_label, LabelTask(self._reference, case.frame, self._keys))] = case

    def _receive(self, case: LabelCase, future: Future[LabelAnswer]) -> None:
        try:
            answer = future.result()
        except TaskCrashed as error:
            answer = LabelAnswer(None, LabelError(FailureReason.CRASHED, str(error)), 0.0)
        if isinstance(answer.error, ConfigError):
            raise answer.error
        if answer.error is not None:
            if not self._interrupted():  # it may be the doing of the signal, and does not count
                case.fail(answer.error)
            return
        assert answer.labelled is not None
        case.answer(answer.labelled, seconds=answer.seconds)
        if case.labelled is not None and self._on_label is not None:
            self._on_label(case.labelled)
