"""The labels of an audit: through the executor, on disk before anything relies on them, none computed twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic

from trepid.audit.event_class import Answer, Wanted
from trepid.data.frames import bare_copy, read_frames
from trepid.labelling.case import LabelRequest, latest_failure
from trepid.labelling.check import LabelChecker
from trepid.labelling.labeller import Labeller
from trepid.runs.label_files import LABEL_PATTERN, LabelledFrame, Origin, PriorPrediction
from trepid.runs.ledger_events import Reason, Request

if TYPE_CHECKING:
    from ase import Atoms

SAME_FRAME_A = 0.01
"""A frame whose atoms are all nearer than this to those of a labelled one is not labelled again: the labelled one is answered.
Relaxations of one state that began in two places agree to 0.001 A."""


@dataclass(eq=False)
class AuditLabels:
    """Labels frames of one event class; the source that `audit_class` asks.

    Attributes
    ----------
    labeller : Labeller
    number : int
        Of the class, for the label files.
    temperature_K : float
    checker : LabelChecker or None
        Checks new labels; None accepts all of them.
    """

    labeller: Labeller
    number: int
    temperature_K: float
    checker: LabelChecker | None = None

    def __call__(self, wanted: Sequence[Wanted]) -> list[Answer]:
        """Label what is not labelled yet."""
        numbers = [self._number_of(want.atoms) for want in wanted]
        taken = {number for number in numbers if number is not None}
        requests = []
        for k, want in enumerate(wanted):
            twin = next((j for j in range(k) if same_frame(wanted[j].atoms, want.atoms)), None)
            number = numbers[k] if twin is None else numbers[twin]
            if number is None:
                number = self._free(taken)
                taken.add(number)
            numbers[k] = number
            if twin is None:
                requests.append(self._request(number, want))
        labelled = self.labeller.label(requests, checker=self.checker)
        found = dict(zip([request.number for request in requests], labelled, strict=True))
        return [self._answer(number, found[number]) for number in numbers if number is not None]

    def _request(self, number: int, want: Wanted) -> LabelRequest:
        uncertainty = want.prediction.forces_uncertainty
        return LabelRequest(
            number,
            want.atoms,
            Origin(Reason.AUDIT, 0, 0.0, self.temperature_K, round=self.number),
            lambda: PriorPrediction(want.prediction),
            forces_uncertainty=None if uncertainty is None else want.prediction.frame_uncertainty,
        )

    def _answer(self, number: int, frame: LabelledFrame | None) -> Answer:
        if frame is not None:
            return Answer(number, frame.labels, atoms=bare_copy(frame.atoms))
        failure = latest_failure(self.labeller.ledger, number)
        if failure is None:
            return Answer(number, None, "no label came")
        return Answer(number, None, failure.message, reason=failure.reason)

    def _number_of(self, atoms: Atoms) -> int | None:
        """Of the label, computed or failed, that a frame has already: the nearest one."""
        store = self.labeller.store
        nearest, found = SAME_FRAME_A, None
        for event in self.labeller.ledger.all(Request):
            for path in (store.path(event.label), store.failed_path(event.label)):
                if path.exists():
                    distance = largest_distance(read_frames(path, require=())[0], atoms)
                    if distance <= nearest:
                        nearest, found = distance, event.label
        return found

    def _free(self, taken: set[int]) -> int:
        """The lowest number without a label and without a failure: after a kill, one that was asked for and never came."""
        store = self.labeller.store
        number = 1
        while number in taken or store.path(number).exists() or store.failed_path(number).exists():
            number += 1
        return number


def same_frame(first: Atoms, second: Atoms) -> bool:
    """Whether two frames are of the same atoms in the same cell, up to `SAME_FRAME_A`."""
    return largest_distance(first, second) <= SAME_FRAME_A


def largest_distance(first: Atoms, second: Atoms) -> float:
    """The longest way of an atom from one frame to the other, A; infinite for other atoms or another cell."""
    if len(first) != len(second) or not np.array_equal(first.numbers, second.numbers):
        return math.inf
    if not np.allclose(first.cell.array, second.cell.array, atol=1e-8):
        return math.inf
    way = find_mic(second.positions - first.positions, first.cell, first.pbc)[0]
    return float(np.linalg.norm(way, axis=1).max())


def label_file(number: int) -> str:
    """Name of the file of a label, from the run directory."""
    return f"labels/{LABEL_PATTERN.format(number)}"
