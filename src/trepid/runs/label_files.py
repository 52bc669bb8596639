"""The label files of a run: complete or absent, one labelled frame each, with what the model had predicted for it.

labels/label-0001.extxyz              a labelled frame (`LabelledFrame`)
labels/label-0001.suspect.extxyz      a suspicious label, until it has been computed a second time
labels/label-0001.corrupted-1.extxyz  a rejected label, by the number of the attempt; never trained on
labels/label-0001.failed.extxyz       a frame that could not be labelled, with the reason

A number is used once. A label is on disk before anything else is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.atomic import remove_stale_temporaries
from trepid.data.frames import LabelKeys, Labels, bare_copy, labels_of, read_frames, write_frames
from trepid.evaluation import Comparison, collect
from trepid.potentials.base import Noise, Prediction
from trepid.reference.base import LabelError
from trepid.runs.ledger_events import Doubt, Reason

if TYPE_CHECKING:
    from ase import Atoms

LABEL_PATTERN = "label-{:04d}.extxyz"
"""Name of a label file, by its number."""
INPUTS_FILE = "inputs.json"
"""What the labels of a folder without a run are of (`trepid.labelling.folder`); such a folder is known by it."""
_LABEL_FILE = re.compile(r"^label-(\d{4,})\.extxyz$")


@dataclass(frozen=True)
class Origin:
    """Where a labelled frame comes from.

    Attributes
    ----------
    reason : Reason
        Why it was labelled.
    step : int
        MD step of its trajectory; 0 for initial frames.
    time_fs : float
        MD time, fs.
    target_temperature_K : float
        Of the thermostat, K; 0 for frames without MD.
    stage : int or None
        On the fly: stage of the campaign, from 0.
    round : int or None
        In rounds: the round that labelled it, from 0.
    """

    reason: Reason
    step: int
    time_fs: float
    target_temperature_K: float
    stage: int | None = None
    round: int | None = None


@dataclass(frozen=True, eq=False)
class PriorPrediction:
    """What the model predicted for a frame before it was trained on it.

    Attributes
    ----------
    prediction : Prediction or None
        Energy, forces and their uncertainties; None where there was no model.
    noise : Noise or None
        Of the model at that time.
    """

    prediction: Prediction | None = None
    noise: Noise | None = None


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A labelled frame of a run.

    Attributes
    ----------
    number : int
        Of the label, from 1.
    atoms : Atoms
        The frame with its labels, as a potential is trained on it.
    keys : LabelKeys
        Where `atoms` carries its labels.
    origin : Origin
    seconds : float
        Time of the reference, s.
    attempt : int
        From 1; 0 for labels that the user gave.
    before : PriorPrediction
    confirmed : Doubt or None
        Set where the label was suspicious and a second one agreed with it.
    """

    number: int
    atoms: Atoms
    keys: LabelKeys
    origin: Origin
    seconds: float
    attempt: int
    before: PriorPrediction = PriorPrediction()
    confirmed: Doubt | None = None

    @property
    def prediction(self) -> Prediction | None:
        """What the model predicted before it was trained on this frame."""
        return self.before.prediction

    @property
    def noise(self) -> Noise | None:
        """Noise of the model at that time."""
        return self.before.noise

    @property
    def time_ps(self) -> float:
        """MD time, ps."""
        return self.origin.time_fs / 1000.0

    @property
    def labels(self) -> Labels:
        """The labels: energy (eV), forces (eV/A), stress (eV/A^3)."""
        return labels_of(self.atoms, self.keys, where=f"label {self.number}")

    @property
    def forces(self) -> np.ndarray:
        """Labelled forces, (n_atoms, 3), eV/A."""
        return np.asarray(self.atoms.arrays[self.keys.forces], dtype=np.float64)

    def to_atoms(self) -> Atoms:
        """The frame as its file holds it; see `from_atoms`."""
        atoms, origin = self.atoms.copy(), self.origin
        atoms.info.update({"label_index": self.number, "step": origin.step, "time_fs": origin.time_fs})
        if origin.stage is not None:
            atoms.info["stage"] = origin.stage
        if origin.round is not None:
            atoms.info["round"] = origin.round
        atoms.info.update(
            {
                "target_temperature_K": origin.target_temperature_K,
                "reason": origin.reason.value,
                "label_seconds": self.seconds,
                "label_attempt": self.attempt,
            }
        )
        _attach(atoms, self.before)
        if self.confirmed is not None:
            atoms.info["label_confirmed"] = self.confirmed.value
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, keys: LabelKeys, *, number: int | None = None) -> LabelledFrame:
        """Read what `to_atoms` made.

        Parameters
        ----------
        atoms : Atoms
        keys : LabelKeys
        number : int, optional
            Of the label, where the frame does not carry it.

        Raises
        ------
        KeyError, ValueError
            An entry is missing or has another form.
        """
        info = atoms.info
        stage, in_round = info.get("stage"), info.get("round")
        return cls(
            number=int(info["label_index"] if number is None else info.get("label_index", number)),
            atoms=atoms,
            keys=keys,
            origin=Origin(
                reason=Reason(info.get("reason", Reason.INITIAL.value)),
                step=int(info.get("step", 0)),
                time_fs=float(info.get("time_fs", 0.0)),
                target_temperature_K=float(info.get("target_temperature_K", 0.0)),
                stage=None if stage is None else int(stage),
                round=None if in_round is None else int(in_round),
            ),
            seconds=float(info.get("label_seconds", 0.0)),
            attempt=int(info.get("label_attempt", 1)),
            before=_attached(atoms),
            confirmed=Doubt(info["label_confirmed"]) if "label_confirmed" in info else None,
        )


@dataclass(frozen=True, eq=False)
class Suspect:
    """A suspicious label: the labelled frame, why it is suspicious, and what was measured, in one line."""

    frame: LabelledFrame
    doubt: Doubt
    message: str


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
        return self.directory / LABEL_PATTERN.format(label)

    def failed_path(self, label: int) -> Path:
        """File of a frame that could not be labelled."""
        return self.directory / f"label-{label:04d}.failed.extxyz"

    def suspect_path(self, label: int) -> Path:
        """File of a suspicious label."""
        return self.directory / f"label-{label:04d}.suspect.extxyz"

    def corrupted_path(self, label: int, attempt: int) -> Path:
        """File of a rejected label."""
        return self.directory / f"label-{label:04d}.corrupted-{attempt}.extxyz"

    def numbers(self) -> list[int]:
        """Numbers of the labels that exist, rising."""
        return label_numbers(self.directory)

    def read(self, label: int) -> LabelledFrame:
        """Read a labelled frame; DataError if it is damaged."""
        return read_label(self.path(label), self.keys)

    def read_all(self) -> list[LabelledFrame]:
        """All labelled frames, in the order of their numbers."""
        return [self.read(label) for label in self.numbers()]

    def read_suspect(self, label: int) -> Suspect | None:
        """Read a suspicious label; None where there is none."""
        path = self.suspect_path(label)
        if not path.exists():
            return None
        frame = read_label(path, self.keys)
        info = frame.atoms.info
        return Suspect(frame, Doubt(info["doubt"]), str(info["doubt_message"]))

    def write(self, frame: LabelledFrame) -> None:
        """Write a labelled frame atomically."""
        write_frames(self.path(frame.number), frame.to_atoms())

    def write_suspect(self, suspect: Suspect) -> None:
        """Write a suspicious label."""
        atoms = suspect.frame.to_atoms()
        atoms.info.update({"doubt": suspect.doubt.value, "doubt_message": suspect.message})
        write_frames(self.suspect_path(suspect.frame.number), atoms)

    def write_corrupted(self, frame: LabelledFrame) -> None:
        """Write a rejected label."""
        write_frames(self.corrupted_path(frame.number, frame.attempt), frame.to_atoms())

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


def label_numbers(directory: Path) -> list[int]:
    """Numbers of the labels in a folder, rising; failed, suspicious and rejected ones are left out."""
    if not directory.is_dir():
        return []
    return sorted(int(match[1]) for entry in directory.iterdir() if (match := _LABEL_FILE.match(entry.name)))


def read_label(path: Path, keys: LabelKeys) -> LabelledFrame:
    """Read a label file; DataError if it is damaged."""
    number = int(path.name.split(".")[0].removeprefix("label-"))
    return LabelledFrame.from_atoms(read_frames(path, keys=keys)[0], keys, number=number)


def read_labels(directory: Path, keys: LabelKeys) -> list[LabelledFrame]:
    """All labelled frames in a folder, in the order of their numbers, without changing anything."""
    return [read_label(directory / LABEL_PATTERN.format(number), keys) for number in label_numbers(directory)]


def compare_before_training(labels: Sequence[LabelledFrame]) -> Comparison | None:
    """Predictions made before training beside the labels; None where no frame was predicted."""
    predicted = [(label, label.prediction) for label in labels if label.prediction is not None]
    if not predicted:
        return None
    return collect(
        [label.atoms for label, _ in predicted],
        [label.labels for label, _ in predicted],
        [prediction for _, prediction in predicted],
        [label.noise for label, _ in predicted],
    )


def _attach(atoms: Atoms, before: PriorPrediction) -> None:
    """Store a prediction in a frame: eV, eV/A and eV/A^3."""
    prediction, noise = before.prediction, before.noise
    if prediction is not None:
        atoms.info["predicted_energy"] = float(prediction.energy)
        atoms.arrays["predicted_forces"] = np.asarray(prediction.forces, dtype=np.float64)
        if prediction.energy_uncertainty is not None:
            atoms.info["energy_uncertainty"] = float(prediction.energy_uncertainty)
        if prediction.forces_uncertainty is not None:
            atoms.arrays["forces_uncertainty"] = np.asarray(prediction.forces_uncertainty, dtype=np.float64)
        if prediction.stress is not None:
            atoms.info["predicted_stress"] = np.asarray(prediction.stress, dtype=np.float64)
        if prediction.stress_uncertainty is not None:
            atoms.info["stress_uncertainty"] = np.asarray(prediction.stress_uncertainty, dtype=np.float64)
    if noise is not None:
        atoms.info["noise_energy"] = float(noise.energy)
        atoms.info["noise_forces"] = float(noise.forces)
        atoms.info["noise_stress"] = float(noise.stress)
        if np.isfinite(noise.large_force):
            atoms.info["noise_large_force"] = float(noise.large_force)


def _attached(atoms: Atoms) -> PriorPrediction:
    """Read what `_attach` stored."""
    info, arrays = atoms.info, atoms.arrays
    if "predicted_energy" not in info or "predicted_forces" not in arrays:
        return PriorPrediction()
    uncertainty, stds = info.get("energy_uncertainty"), arrays.get("forces_uncertainty")
    prediction = Prediction(
        energy=float(info["predicted_energy"]),
        forces=np.asarray(arrays["predicted_forces"], dtype=np.float64),
        stress=_six(info.get("predicted_stress")),
        energy_uncertainty=None if uncertainty is None else float(uncertainty),
        forces_uncertainty=None if stds is None else np.asarray(stds, dtype=np.float64),
        stress_uncertainty=_six(info.get("stress_uncertainty")),
    )
    if "noise_forces" not in info:
        return PriorPrediction(prediction)
    large, stress = float(info.get("noise_large_force", np.inf)), float(info.get("noise_stress", 0.0))
    return PriorPrediction(
        prediction, Noise(float(info.get("noise_energy", 0.0)), float(info["noise_forces"]), stress, large)
    )


def _six(value: object) -> np.ndarray | None:
    """The six components of a stress; None where there are none (labels of earlier versions)."""
    return None if value is None else np.asarray(value, dtype=np.float64)
