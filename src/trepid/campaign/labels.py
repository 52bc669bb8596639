"""The labels of a campaign: one file each, complete or absent, and the asking that fills them.

labels/label-0001.extxyz, ... hold one labelled frame each, with what the model said about it before it was trained on
it; labels/label-0001.failed.extxyz holds a frame that could not be labelled, with the reason. A number is used once.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.campaign.checkpoint import Pending
from trepid.campaign.ledger import Event, Failure, Label, Ledger, Request, Stop, StopReason
from trepid.data.atomic import remove_stale_temporaries
from trepid.data.frames import LabelKeys, read_frames, write_frames
from trepid.potentials.base import Noise, Prediction
from trepid.reference.base import LabelError, Reference

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

_LABEL_FILE = re.compile(r"^label-(\d{4,})\.extxyz$")


class LabelStore:
    """The folder of the label files.

    Parameters
    ----------
    directory : Path
        Made when missing; leftovers of an interrupted write are removed.
    keys : LabelKeys
        Names of the labels in the files.
    """

    def __init__(self, directory: Path, *, keys: LabelKeys = LabelKeys()) -> None:  # noqa: B008 (frozen)
        self.directory = directory
        self.keys = keys
        directory.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(directory)

    def path(self, label: int) -> Path:
        """File of a label."""
        return self.directory / f"label-{label:04d}.extxyz"

    def failed_path(self, label: int) -> Path:
        """File of a frame that could not be labelled."""
        return self.directory / f"label-{label:04d}.failed.extxyz"

    def numbers(self) -> list[int]:
        """Numbers of the labels that exist, rising."""
        return sorted(
            int(match[1]) for entry in self.directory.iterdir() if (match := _LABEL_FILE.match(entry.name)) is not None
        )

    def read(self, label: int) -> Atoms:
        """Read a labelled frame; DataError if it is damaged."""
        return read_frames(self.path(label), keys=self.keys)[0]

    def write(self, label: int, atoms: Atoms) -> None:
        """Write a labelled frame atomically."""
        write_frames(self.path(label), atoms)

    def write_failed(self, label: int, atoms: Atoms, error: LabelError) -> None:
        """Write a frame that could not be labelled, with the reason and the message."""
        failed = bare_copy(atoms)
        failed.info.update(
            {
                "label_index": label,
                "failure_reason": error.reason.value,
                "failure_message": " ".join(str(error).split()),
            }
        )
        write_frames(self.failed_path(label), failed)


@dataclass(frozen=True)
class Before:
    """What the model said about a frame before it was trained on it, and where the frame comes from.

    Attributes
    ----------
    time_fs : float
        MD time, fs.
    stage : int
        From 0.
    target_temperature_K : float
        K.
    prediction : Prediction or None
        None where there was no model yet.
    noise : Noise or None
        Noise of the model.
    """

    time_fs: float
    stage: int
    target_temperature_K: float
    prediction: Prediction | None = None
    noise: Noise | None = None


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
    """

    def __init__(
        self,
        reference: Reference,
        store: LabelStore,
        ledger: Ledger,
        *,
        retries: int,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.reference, self.store, self.ledger = reference, store, ledger
        self.retries = retries
        self._interrupted = interrupted

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
        if request.label not in (event.label for event in self.ledger.all(Request)):
            self.ledger.append(
                Request(
                    label=request.label,
                    step=request.step,
                    reason=request.reason.value,
                    forces_uncertainty=request.forces_uncertainty,
                    threshold=request.threshold,
                )
            )
        if not self.store.path(request.label).exists():
            attempts = range(self._attempts_made(request.label) + 1, self.retries + 2)
            if not any(self._attempt(request, atoms, before, attempt) for attempt in attempts):
                return None
        labelled = self.store.read(request.label)
        if request.label not in (event.label for event in self.ledger.all(Label)):
            self.ledger.append(
                Label(
                    label=request.label,
                    file=f"{self.store.directory.name}/{self.store.path(request.label).name}",
                    seconds=round(float(labelled.info["label_seconds"]), 3),
                    attempt=int(labelled.info["label_attempt"]),
                )
            )
        return labelled

    def failures_in_row(self) -> int:
        """Labels that failed for good since the last one that did not, or since the campaign was stopped for that."""
        in_row = 0
        for event in self.ledger.events():
            if isinstance(event, Label) or _stopped_for_failures(event):
                in_row = 0
            elif isinstance(event, Failure) and event.attempt > self.retries:
                in_row += 1
        return in_row

    def _attempts_made(self, label: int) -> int:
        """Attempts that failed; a campaign that was stopped for its failures and started again tries anew."""
        made = 0
        for event in self.ledger.events():
            if _stopped_for_failures(event):
                made = 0
            elif isinstance(event, Failure) and event.label == label:
                made += 1
        return made

    def _attempt(self, request: Pending, atoms: Atoms, before: Callable[[], Before], attempt: int) -> bool:
        """Ask once; True if the label is on the disk."""
        told = before()
        began = time.perf_counter()
        try:
            labelled = self.reference.label(bare_copy(atoms), keys=self.store.keys)
        except LabelError as error:
            if self._interrupted():
                raise LabelInterrupted from error
            # The frame first, then the entry: once the ledger says that the last attempt failed, nobody comes back to
            # it.
            self.store.write_failed(request.label, atoms, error)
            message = " ".join(str(error).split())
            self.ledger.append(Failure(request.label, attempt, error.reason.value, message))
            logger.warning("label %d, attempt %d of %d: %s", request.label, attempt, self.retries + 1, message)
            return False
        seconds = time.perf_counter() - began
        labelled.info.update(
            {
                "label_index": request.label,
                "step": request.step,
                "time_fs": told.time_fs,
                "stage": told.stage,
                "target_temperature_K": told.target_temperature_K,
                "reason": request.reason.value,
                "label_seconds": seconds,
                "label_attempt": attempt,
            }
        )
        attach_prediction(labelled, told)
        self.store.write(request.label, labelled)
        self.store.failed_path(request.label).unlink(missing_ok=True)
        return True


class LabelInterrupted(Exception):  # noqa: N818 not an error: the run ends as asked
    """A label was given up because the run is to end."""


def _stopped_for_failures(event: Event) -> bool:
    return isinstance(event, Stop) and event.reason == StopReason.FAILURES.value


def bare_copy(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and periodicity, and nothing else."""
    copy = atoms.copy()
    copy.calc = None
    copy.set_constraint()
    copy.info = {}
    for name in [name for name in copy.arrays if name not in ("numbers", "positions")]:
        del copy.arrays[name]
    return copy


def attach_prediction(atoms: Atoms, before: Before) -> None:
    """Store in a labelled frame what the model said about it: eV and eV/A."""
    if before.prediction is not None:
        atoms.info["predicted_energy"] = float(before.prediction.energy)
        atoms.arrays["predicted_forces"] = np.asarray(before.prediction.forces, dtype=np.float64)
        if before.prediction.energy_uncertainty is not None:
            atoms.info["energy_uncertainty"] = float(before.prediction.energy_uncertainty)
        if before.prediction.forces_uncertainty is not None:
            atoms.arrays["forces_uncertainty"] = np.asarray(before.prediction.forces_uncertainty, dtype=np.float64)
    if before.noise is not None:
        atoms.info["noise_energy"] = float(before.noise.energy)
        atoms.info["noise_forces"] = float(before.noise.forces)
        if np.isfinite(before.noise.large_force):
            atoms.info["noise_large_force"] = float(before.noise.large_force)
