"""One frame on its way to a label: asked for, attempted, doubted, accepted or given up. The one record of it all.

Whoever computes (this process, workers, a cluster) asks a `LabelCase` what is due and hands it every answer. The case
keeps files and ledger so that each step is on the disk before the next one relies on it; it may be cut off anywhere,
and a new case for the same request takes up what it finds.

What happens to an answer
-------------------------
an error              an entry `failure`; another attempt, as often as `retries` says
a label beyond doubt  its file, then an entry `label`
a label in doubt      kept as suspect, with an entry `doubt`; it is computed once more, whatever `retries` says. Where the
                      second agrees with it, it is accepted: the truth surprised the model. Otherwise the first is
                      rejected (an entry `failure`, reason `corrupted`), and the second is looked at like any other. A
                      doubt that no truth can raise (`Doubt.believable`) is not lifted by a second label of the kind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from trepid.runs.checkpoint import Pending
from trepid.campaign.label_check import Doubt, LabelChecker, Suspicion, prediction_of, settles
from trepid.runs.label_files import Before, LabelStore, attach_prediction, bare_copy
from trepid.runs.ledger import Doubted, Event, Failure, Label, Ledger, Request, Stop, StopReason
from trepid.data.frames import labels_of
from trepid.reference.base import FailureReason, LabelError

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)


class LabelCase:
    """The case of one request.

    Parameters
    ----------
    request : Pending
    atoms : Atoms
        The frame; not changed.
    before : callable
        Gives what is stored with the label; called once at most, before the reference is asked for the first time.
    store : LabelStore
    ledger : Ledger
    retries : int
        Further attempts at a label that failed.
    checker : LabelChecker or None
        Looks labels over; None trusts them.

    Attributes
    ----------
    labelled : Atoms or None
        The labelled frame as its file has it, once there is one.
    """

    def __init__(
        self,
        request: Pending,
        atoms: Atoms,
        before: Callable[[], Before],
        *,
        store: LabelStore,
        ledger: Ledger,
        retries: int,
        checker: LabelChecker | None = None,
    ) -> None:
        self.request, self.frame = request, bare_copy(atoms)
        self.labelled: Atoms | None = None
        self._make_before = before
        self._before: Before | None = None
        self._store, self._ledger, self._retries, self._checker = store, ledger, retries, checker
        if request.label not in (event.label for event in ledger.all(Request)):
            ledger.append(
                Request(
                    label=request.label,
                    step=request.step,
                    reason=request.reason.value,
                    forces_uncertainty=request.forces_uncertainty,
                    threshold=request.threshold,
                )
            )
        self._attempts, self._suspect_attempt = self._count()
        if store.path(request.label).exists():
            self._adopt()

    @property
    def due(self) -> bool:
        """Whether the reference is to be asked (once more)."""
        if self.labelled is not None:
            return False
        if self._attempts <= self._retries:
            return True
        # A label in doubt has a right to a second one, but not to a third for that.
        return self._attempts == self._suspect_attempt == self._retries + 1

    def prepare(self) -> None:
        """Take down what the model says, before the reference is asked."""
        if self._before is None:
            self._before = self._make_before()

    def fail(self, error: LabelError) -> None:
        """An attempt ended in an error."""
        self._attempts += 1
        # The frame first, then the entry: once the ledger says that the last attempt failed, nobody comes back to it.
        self._store.write_failed(self.request.label, self.frame, error)
        self._note_failure(self._attempts, error.reason, str(error))
        if not self.due:
            self._drop_suspect("it could not be computed a second time")

    def answer(self, labelled: Atoms, *, seconds: float) -> None:
        """An attempt gave a label.

        Parameters
        ----------
        labelled : Atoms
            The frame with labels under the keys of the store.
        seconds : float
            What the reference took.
        """
        self._attempts += 1
        label, attempt = self.request.label, self._attempts
        self.prepare()
        assert self._before is not None
        told = self._before
        labelled = labelled.copy()
        labelled.info.update(
            {
                "label_index": label,
                "step": self.request.step,
                "time_fs": told.time_fs,
                "stage": told.stage,
                "target_temperature_K": told.target_temperature_K,
                "reason": self.request.reason.value,
                "label_seconds": seconds,
                "label_attempt": attempt,
                **told.details,
            }
        )
        attach_prediction(labelled, told)
        suspicion = None if self._checker is None else self._checker.doubt(labelled)
        first = self._store.read_suspect(label)
        if first is not None and self._confirms(first, labelled):
            doubts = [Doubt(first.info["doubt"])] + ([] if suspicion is None else [suspicion.doubt])
            if all(doubt.believable for doubt in doubts):
                labelled.info["label_confirmed"] = doubts[0].value
                self._accept(labelled)
                logger.info("label %d: %s; a second one agrees: accepted", label, first.info["doubt_message"])
            else:
                twice = f"{first.info['doubt_message']}; twice the same: examine the reference"
                self._reject(first, twice)
                self._reject(labelled, twice)
        elif suspicion is None:
            self._accept(labelled)
        else:
            if first is not None:
                self._reject(first, _differs(first))
            self.doubt(labelled, suspicion)

    def doubt(self, labelled: Atoms, suspicion: Suspicion) -> None:
        """Put a label aside until it has been computed once more; it may have been accepted before."""
        label, attempt = self.request.label, int(labelled.info["label_attempt"])
        suspect = labelled.copy()
        suspect.info.update({"doubt": suspicion.doubt.value, "doubt_message": suspicion.message})
        self._store.write_suspect(label, suspect)
        self._store.path(label).unlink(missing_ok=True)
        self.labelled, self._suspect_attempt = None, attempt
        if not any(event.label == label and event.attempt == attempt for event in self._ledger.all(Doubted)):
            self._ledger.append(Doubted(label, attempt, suspicion.doubt.value, suspicion.message))
        logger.warning("label %d in doubt, to be computed once more: %s", label, suspicion.message)
        if not self.due:
            self._drop_suspect("it was in doubt before")

    # ------------------------------------------------------------------ steps

    def _adopt(self) -> None:
        """Take over a label whose file exists, and part with one in doubt that it confirmed or replaces."""
        self.labelled = self._store.read(self.request.label)
        self._note_label()
        first = self._store.read_suspect(self.request.label)
        if first is not None and "label_confirmed" not in self.labelled.info:
            self._reject(first, _differs(first))
        self._store.suspect_path(self.request.label).unlink(missing_ok=True)

    def _accept(self, labelled: Atoms) -> None:
        label = self.request.label
        self._store.write(label, labelled)
        self._store.failed_path(label).unlink(missing_ok=True)
        self._adopt()

    def _note_label(self) -> None:
        """The entry `label`, unless it is there."""
        assert self.labelled is not None
        label, attempt = self.request.label, int(self.labelled.info["label_attempt"])
        if any(event.label == label and event.attempt == attempt for event in self._ledger.all(Label)):
            return
        path = self._store.path(label)
        seconds = round(float(self.labelled.info["label_seconds"]), 3)
        self._ledger.append(Label(label, f"{self._store.directory.name}/{path.name}", seconds, attempt))

    def _reject(self, labelled: Atoms, message: str) -> None:
        label, attempt = self.request.label, int(labelled.info["label_attempt"])
        self._store.write_corrupted(label, attempt, labelled)
        if self.labelled is None:
            self._store.write_failed(label, self.frame, LabelError(FailureReason.CORRUPTED, message))
        self._note_failure(attempt, FailureReason.CORRUPTED, message)
        self._store.suspect_path(label).unlink(missing_ok=True)
        self._suspect_attempt = 0

    def _drop_suspect(self, why: str) -> None:
        """Give a label in doubt up that will not be computed again."""
        first = self._store.read_suspect(self.request.label)
        if first is not None:
            self._reject(first, f"{first.info['doubt_message']}; {why}")

    def _note_failure(self, attempt: int, reason: FailureReason, message: str) -> None:
        message = " ".join(message.split())
        failure = Failure(self.request.label, attempt, reason.value, message)
        if reason is not FailureReason.CORRUPTED or failure not in self._ledger.all(Failure):
            self._ledger.append(failure)
        logger.warning("label %d, attempt %d of %d: %s", self.request.label, attempt, self._retries + 1, message)

    def _confirms(self, first: Atoms, second: Atoms) -> bool:
        keys, noise = self._store.keys, prediction_of(second)[1]
        return settles(labels_of(first, keys), labels_of(second, keys), noise)

    def _count(self) -> tuple[int, int]:
        """Attempts made, and which of them is in doubt (0: none).

        A campaign that was stopped for its failures and started again tries anew.
        """
        made = 0
        for event in self._ledger.events():
            if stopped_for_failures(event):
                made = 0
            elif isinstance(event, (Failure, Doubted)) and event.label == self.request.label:
                made = max(made, event.attempt)
        suspect = self._store.read_suspect(self.request.label)
        return made, 0 if suspect is None else int(suspect.info["label_attempt"])


def _differs(first: Atoms) -> str:
    return f"{first.info['doubt_message']}; a second one differs from it"


def failures_in_row(ledger: Ledger, retries: int) -> int:
    """Labels that failed for good since the last one that did not, or since the campaign was stopped for that."""
    done: set[int] = set()
    failed: set[int] = set()
    for event in ledger.events():
        if isinstance(event, Label):
            done.add(event.label)
            failed.clear()
        elif stopped_for_failures(event):
            failed.clear()
        elif isinstance(event, Doubted):
            done.discard(event.label)
        elif isinstance(event, Failure) and event.attempt > retries and event.label not in done:
            failed.add(event.label)
    return len(failed)


def stopped_for_failures(event: Event) -> bool:
    """Whether the campaign ended here because labels failed."""
    return isinstance(event, Stop) and event.reason == StopReason.FAILURES.value
