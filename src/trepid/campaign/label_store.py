"""The label files of a campaign: complete or absent, one frame each.

labels/label-0001.extxyz              a labelled frame, with what the model said about it before it was trained on it
labels/label-0001.suspect.extxyz      a label in doubt, until it has been computed a second time
labels/label-0001.corrupted-1.extxyz  a label that was not confirmed, by the number of the attempt; never trained on
labels/label-0001.failed.extxyz       a frame that could not be labelled, with the reason

A number is used once. Whatever comes from the reference is on the disk before anything else is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.atomic import remove_stale_temporaries
from trepid.data.frames import LabelKeys, read_frames, write_frames
from trepid.potentials.base import Noise, Prediction
from trepid.reference.base import LabelError

if TYPE_CHECKING:
    from ase import Atoms

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

    def suspect_path(self, label: int) -> Path:
        """File of a label in doubt."""
        return self.directory / f"label-{label:04d}.suspect.extxyz"

    def corrupted_path(self, label: int, attempt: int) -> Path:
        """File of a label that was rejected."""
        return self.directory / f"label-{label:04d}.corrupted-{attempt}.extxyz"

    def numbers(self) -> list[int]:
        """Numbers of the labels that exist, rising."""
        return sorted(
            int(match[1]) for entry in self.directory.iterdir() if (match := _LABEL_FILE.match(entry.name)) is not None
        )

    def read(self, label: int) -> Atoms:
        """Read a labelled frame; DataError if it is damaged."""
        return read_frames(self.path(label), keys=self.keys)[0]

    def read_suspect(self, label: int) -> Atoms | None:
        """Read a label in doubt; None where there is none."""
        path = self.suspect_path(label)
        return read_frames(path, keys=self.keys)[0] if path.exists() else None

    def write(self, label: int, atoms: Atoms) -> None:
        """Write a labelled frame atomically."""
        write_frames(self.path(label), atoms)

    def write_suspect(self, label: int, atoms: Atoms) -> None:
        """Write a label in doubt."""
        write_frames(self.suspect_path(label), atoms)

    def write_corrupted(self, label: int, attempt: int, atoms: Atoms) -> None:
        """Write a label that was rejected."""
        write_frames(self.corrupted_path(label, attempt), atoms)

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
    details : mapping
        More to be stored in the `info` of the labelled frame, such as {"round": 2, "walker": 0}.
    """

    time_fs: float
    stage: int
    target_temperature_K: float
    prediction: Prediction | None = None
    noise: Noise | None = None
    details: Mapping[str, int | float | str] = field(default_factory=dict)


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
