"""Asking the reference for labels, one after the other; `parallel_labels` asks for many at once.

The files are in `label_store`, what becomes of an answer in `label_case`, whether one is believed in `label_check`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trepid.runs.checkpoint import Pending
from trepid.campaign.label_case import LabelCase, failures_in_row
from trepid.campaign.label_check import LabelChecker
from trepid.runs.label_files import Before, LabelStore, attach_prediction, bare_copy
from trepid.runs.ledger import Ledger
from trepid.reference.base import LabelError, Reference

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Before", "LabelInterrupted", "LabelStore", "Labeller", "attach_prediction", "bare_copy", "doubt_start"]


class LabelInterrupted(Exception):  # noqa: N818 not an error: the run ends as asked
    """A label was given up because the run is to end."""


class Labeller:
    """Asks the reference, and lets the ledger know.

    Parameters
    ----------
    reference : Reference
    store : LabelStore
    ledger : Ledger
    retries : int
        Further attempts at a label that failed.
    interrupted : callable
        True once a signal has come: a failure after that may be its doing, and does not count.
    checker : callable or None
        Gives what looks the next label over; None trusts every label.
    """

    def __init__(
        self,
        reference: Reference,
        store: LabelStore,
        ledger: Ledger,
        *,
        retries: int,
        interrupted: Callable[[], bool] = lambda: False,
        checker: Callable[[], LabelChecker] | None = None,
    ) -> None:
        self.reference, self.store, self.ledger = reference, store, ledger
        self.retries = retries
        self._interrupted, self._checker = interrupted, checker

    def obtain(self, request: Pending, atoms: Atoms, before: Callable[[], Before]) -> Atoms | None:
        """Give the label of `atoms`: adopted from its file where that exists, asked for where it does not.

        Every step is on the disk before the next one relies on it, and every step already made is left out, so that
        this may be cut off anywhere and called again.

        Parameters
        ----------
        request : Pending
        atoms : Atoms
            The frame; not changed.
        before : callable
            Gives what is stored with the label; called only when the reference is asked.

        Returns
        -------
        Atoms or None
            The labelled frame as its file has it; None when it failed for good.

        Raises
        ------
        LabelInterrupted
            An attempt failed after a signal had come; the next start asks again.
        """
        return self.settle(self.case(request, atoms, before))

    def settle(self, case: LabelCase) -> Atoms | None:
        """Ask until nothing is due; see `obtain`."""
        while case.due:
            case.prepare()
            began = time.perf_counter()
            try:
                labelled = self.reference.label(case.frame, keys=self.store.keys)
            except LabelError as error:
                if self._interrupted():
                    raise LabelInterrupted from error
                case.fail(error)
            else:
                case.answer(labelled, seconds=time.perf_counter() - began)
        return case.labelled

    def case(self, request: Pending, atoms: Atoms, before: Callable[[], Before]) -> LabelCase:
        """The case of one request."""
        return LabelCase(
            request,
            atoms,
            before,
            store=self.store,
            ledger=self.ledger,
            retries=self.retries,
            checker=None if self._checker is None else self._checker(),
        )

    def failures_in_row(self) -> int:
        """Labels that failed for good since the last one that did not, or since the campaign was stopped for that."""
        return failures_in_row(self.ledger, self.retries)


def doubt_start(cases: Sequence[LabelCase], checker: LabelChecker) -> list[LabelCase]:
    """Look over the labels a campaign starts from, all together; gives the cases to be computed once more.

    Parameters
    ----------
    cases : sequence of LabelCase
        All that have been computed.
    checker : LabelChecker
        With the crystal.
    """
    known = [(case, case.labelled) for case in cases if case.labelled is not None]
    doubts = checker.start([labelled for _, labelled in known])
    for (case, labelled), suspicion in zip(known, doubts, strict=True):
        if suspicion is not None:
            case.doubt(labelled, suspicion)
    return [case for case in cases if case.due]
