"""One frame on its way to a label: attempts, checks, acceptance or failure; files and ledger entries of all of them.

The caller, wherever the label is computed, checks `LabelCase.due` and passes every result to the case. The case
writes files and ledger so that each step is on disk before the next one relies on it; it can be interrupted anywhere, and
a new case for the same request continues from the files.

What happens to a result
------------------------
an error                 an entry `failure`; another attempt, as often as `retries` allows
a consistent label       its file, then an entry `label`
a suspicious label       stored as suspect, with an entry `doubt`; it is computed once more, whatever `retries` says. If
                         the second label agrees with it, it is accepted: the model was wrong. Otherwise the first is
                         rejected (an entry `failure`, reason `corrupted`), and the second is checked like any other. A
                         doubt that no correct label can raise (`Doubt.believable`) remains after a second such label.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trepid.data.frames import bare_copy
from trepid.data.noise_factors import with_type_of
from trepid.labelling.check import LabelChecker, Suspicion, agree
from trepid.reference.base import FailureReason, LabelError
from trepid.runs.checksums import file_sha256
from trepid.runs.intervals import Announced
from trepid.runs.label_files import LabelledFrame, LabelStore, Origin, PriorPrediction, Suspect
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Doubted, Event, Failure, Label, Request, Stop, StopReason

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelRequest:
    """A frame to be labelled.

    Attributes
    ----------
    number : int
        Of the label.
    atoms : Atoms
        The frame; not changed.
    origin : Origin
    before : callable
        Gives the prediction that is stored with the label; called at most once, before the reference is.
    forces_uncertainty, threshold : float or None
        eV/A; see the entry `request` of the ledger.
    announced : Announced or None
        With which factors its intervals are announced; None where no model predicts the frame.
    """

    number: int
    atoms: Atoms
    origin: Origin
    before: Callable[[], PriorPrediction] = PriorPrediction
    forces_uncertainty: float | None = None
    threshold: float | None = None
    announced: Announced | None = None


class LabelCase:
    """The state of one request.

    Parameters
    ----------
    request : LabelRequest
    store : LabelStore
    ledger : Ledger
    retries : int
        Further attempts at a label that failed.
    checker : LabelChecker or None
        Checks labels; None accepts all of them.

    Attributes
    ----------
    labelled : LabelledFrame or None
        As its file has it, once there is one.
    """

    def __init__(
        self,
        request: LabelRequest,
        *,
        store: LabelStore,
        ledger: Ledger,
        retries: int,
        checker: LabelChecker | None = None,
    ) -> None:
        self.request, self.number = request, request.number
        self.frame = with_type_of(request.atoms, bare_copy(request.atoms))
        self.labelled: LabelledFrame | None = None
        self._before: PriorPrediction | None = None
        self._store, self._ledger, self._retries, self._checker = store, ledger, retries, checker
        if request.number not in (event.label for event in ledger.all(Request)):
            ledger.append(
                Request(
                    label=request.number,
                    step=request.origin.step,
                    reason=request.origin.reason,
                    forces_uncertainty=request.forces_uncertainty,
                    threshold=request.threshold,
                    **_entries(request.announced),
                )
            )
        self._attempts, self._suspect_attempt = self._count()
        if store.path(request.number).exists():
            self._adopt()

    @property
    def due(self) -> bool:
        """Whether the reference has to compute it (once more)."""
        if self.labelled is not None:
            return False
        if self._attempts <= self._retries:
            return True
        # A suspicious label is recomputed once even if the retries are used up.
        return self._attempts == self._suspect_attempt == self._retries + 1

    @property
    def tried(self) -> bool:
        """Whether the reference has computed it before, without a label that was accepted."""
        return self._attempts > 0

    @property
    def failed(self) -> bool:
        """Whether it has failed for good."""
        return self.labelled is None and not self.due

    def prepare(self) -> None:
        """Predict the frame, before the reference computes it."""
        if self._before is None:
            self._before = self.request.before()

    def fail(self, error: LabelError) -> None:
        """An attempt ended in an error."""
        self._attempts += 1
        # The frame first, then the entry: after the entry of the last attempt it is not retried.
        self._store.write_failed(self.number, self.frame, error)
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
            Time of the reference, s.
        """
        self._attempts += 1
        self.prepare()
        assert self._before is not None
        second = LabelledFrame(
            number=self.number,
            atoms=labelled,
            keys=self._store.keys,
            origin=self.request.origin,
            seconds=seconds,
            attempt=self._attempts,
            before=self._before,
        )
        suspicion = None if self._checker is None else self._checker.doubt(second)
        first = self._store.read_suspect(self.number)
        if first is not None and agree(first.frame.labels, second.labels, second.noise):
            doubts = [first.doubt] + ([] if suspicion is None else [suspicion.doubt])
            if all(doubt.believable for doubt in doubts):
                self._accept(replace(second, confirmed=first.doubt))
                logger.info("label %d: %s; a second one agrees: accepted", self.number, first.message)
            else:
                twice = f"{first.message}; twice the same: check the setup of the reference"
                self._reject(first.frame, twice)
                self._reject(second, twice)
        elif suspicion is None:
            self._accept(second)
        else:
            if first is not None:
                self._reject(first.frame, _differs(first))
            self.doubt(second, suspicion)

    def doubt(self, frame: LabelledFrame, suspicion: Suspicion) -> None:
        """Set a label aside until it has been computed once more; it may have been accepted before."""
        self._store.write_suspect(Suspect(frame, suspicion.doubt, suspicion.message))
        self._store.path(self.number).unlink(missing_ok=True)
        self.labelled, self._suspect_attempt = None, frame.attempt
        if not any(e.label == self.number and e.attempt == frame.attempt for e in self._ledger.all(Doubted)):
            self._ledger.append(Doubted(self.number, frame.attempt, suspicion.doubt, suspicion.message))
        logger.warning("label %d is suspicious and will be computed once more: %s", self.number, suspicion.message)
        if not self.due:
            self._drop_suspect("it was suspicious before")

    # ------------------------------------------------------------------ steps

    def _adopt(self) -> None:
        """Take over a label whose file exists, and remove the suspect that it confirms or replaces."""
        self.labelled = self._store.read(self.number)
        self._note_label(self.labelled)
        first = self._store.read_suspect(self.number)
        if first is not None and self.labelled.confirmed is None:
            self._reject(first.frame, _differs(first))
        self._store.suspect_path(self.number).unlink(missing_ok=True)

    def _accept(self, frame: LabelledFrame) -> None:
        self._store.write(frame)
        self._store.failed_path(self.number).unlink(missing_ok=True)
        self._adopt()

    def _note_label(self, frame: LabelledFrame) -> None:
        """The entry `label`, unless it exists."""
        if any(event.label == self.number and event.attempt == frame.attempt for event in self._ledger.all(Label)):
            return
        file = f"{self._store.directory.name}/{self._store.path(self.number).name}"
        digest = file_sha256(self._store.path(self.number))
        self._ledger.append(Label(self.number, file, round(frame.seconds, 3), frame.attempt, digest))

    def _reject(self, frame: LabelledFrame, message: str) -> None:
        self._store.write_corrupted(frame)
        if self.labelled is None:
            self._store.write_failed(self.number, self.frame, LabelError(FailureReason.CORRUPTED, message))
        self._note_failure(frame.attempt, FailureReason.CORRUPTED, message)
        self._store.suspect_path(self.number).unlink(missing_ok=True)
        self._suspect_attempt = 0

    def _drop_suspect(self, why: str) -> None:
        """Reject a suspicious label that will not be computed again."""
        first = self._store.read_suspect(self.number)
        if first is not None:
            self._reject(first.frame, f"{first.message}; {why}")

    def _note_failure(self, attempt: int, reason: FailureReason, message: str) -> None:
        message = " ".join(message.split())
        failure = Failure(self.number, attempt, reason, message)
        if reason is not FailureReason.CORRUPTED or failure not in self._ledger.all(Failure):
            self._ledger.append(failure)
        logger.warning("label %d, attempt %d of %d: %s", self.number, attempt, self._retries + 1, message)

    def _count(self) -> tuple[int, int]:
        """Attempts made, and which of them gave a suspicious label (0: none).

        A campaign that stopped because labels failed and was started again tries anew.
        """
        made = 0
        for event in self._ledger.events():
            if stopped_for_failures(event):
                made = 0
            elif isinstance(event, (Failure, Doubted)) and event.label == self.number:
                made = max(made, event.attempt)
        suspect = self._store.read_suspect(self.number)
        return made, 0 if suspect is None else suspect.frame.attempt


def _entries(announced: Announced | None) -> dict[str, Any]:
    """What the entry `request` holds of the announced intervals."""
    if announced is None:
        return {}
    factors = {name: factor.as_dict() for name, factor in announced.factors.items()}
    return {"stratum": announced.stratum, "interval_factors": factors}


def _differs(first: Suspect) -> str:
    return f"{first.message}; a second one differs from it"


def failures_in_row(ledger: Ledger, retries: int) -> int:
    """Labels that failed for good since the last success, or since the campaign stopped for failures."""
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


def latest_failure(ledger: Ledger, number: int | None = None) -> Failure | None:
    """The latest failed attempt, at a label or at any; None where there is none."""
    return next((event for event in reversed(ledger.all(Failure)) if number in (None, event.label)), None)


def none_labelled(ledger: Ledger) -> str:
    """That no initial frame has a label, and why the last one has none."""
    failure = latest_failure(ledger)
    why = "" if failure is None else f"; the last one failed: {failure.text}"
    return f"none of the initial frames could be labelled{why}"


def stopped_for_failures(event: Event) -> bool:
    """Whether the campaign ended here because labels failed."""
    return isinstance(event, Stop) and event.reason is StopReason.FAILURES
