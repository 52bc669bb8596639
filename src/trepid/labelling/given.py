"""Labels for frames that the user gives: frames of a trajectory, of an earlier campaign, or made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.data.arrays import structure_digest
from trepid.labelling.case import LabelCase, LabelRequest
from trepid.labelling.folder import Inputs, bind
from trepid.labelling.labeller import Labeller
from trepid.runs.label_files import LabelStore, Origin
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Reason, Stop, StopReason

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.reference.base import Reference

KIND = "labels of frames"


@dataclass(frozen=True)
class GivenLabels:
    """The result.

    Attributes
    ----------
    files : tuple of Path
        One labelled frame each.
    failed : tuple of int
        Numbers of the frames that have no label, from 1.
    n_new : int
        Labels that this call computed.
    seconds : float
        Time of the reference for all labels, s.
    """

    files: tuple[Path, ...]
    failed: tuple[int, ...]
    n_new: int
    seconds: float


def label_given(
    frames: Sequence[Atoms],
    reference: Reference,
    executor: Executor,
    directory: Path,
    *,
    retries: int,
    interrupted: Callable[[], bool],
    tell: Callable[[str], None] | None = None,
) -> GivenLabels:
    """Label frames into a folder, or go on there.

    Parameters
    ----------
    frames : sequence of Atoms
        Their labels are not used; a `config_type` is kept.
    reference : Reference
        Picklable, unless the executor computes in this process.
    executor : Executor
    directory : Path
        Of a `trepid.labelling.folder.label_folder`.
    retries : int
        Further attempts at a label that failed.
    interrupted : callable
        True once a signal has come.
    tell : callable, optional
        Gets progress in lines.

    Raises
    ------
    ConfigError
        The folder holds something else, or the reference does not support such frames.
    Interrupted
        A signal came; the labels so far are on disk.
    """
    digest = hashlib.sha256("".join(structure_digest(frame) for frame in frames).encode()).hexdigest()
    inputs = Inputs(digest, dict(reference.describe()), {"n_frames": len(frames)})
    new: list[int] = []

    def told(case: LabelCase) -> None:
        if tell is not None:
            tell(f"frame {case.number} has no label: see {store.failed_path(case.number)}")

    bind(directory, inputs, kind=KIND)
    with closing(Ledger(directory / "ledger.jsonl")) as ledger:
        store = LabelStore(directory / "labels")
        labeller = Labeller(reference, executor, store, ledger, retries, interrupted, tell)
        origin = Origin(Reason.GIVEN, 0, 0.0, 0.0)
        requests = [LabelRequest(k, frame, origin) for k, frame in enumerate(frames, start=1)]
        found = labeller.label(requests, on_label=lambda label: new.append(label.number), on_failure=told)
        labelled = [label for label in found if label is not None]
        if len(labelled) < len(found):  # the next call tries those again
            ledger.append(Stop(StopReason.FAILURES, None, None, len(labelled), "frames without a label"))
        return GivenLabels(
            files=tuple(store.path(label.number) for label in labelled),
            failed=tuple(k for k, label in enumerate(found, start=1) if label is None),
            n_new=len(new),
            seconds=sum(label.seconds for label in labelled),
        )
