"""Frames with labels and predictions that a report shows: what they are, their errors, and the atom with the largest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.labels import LabelKeys, Labels, labels_of
from trepid.data.placeholders import held_components
from trepid.evaluation import Comparison, Evaluation, collect, summarise, with_prediction
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty
from trepid.runs.ledger_events import Reason

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import FloatArray
    from trepid.runs.reading import RunRecord

CONTROLS = {Reason.RANDOM: "drawn at random", Reason.HOT: "evenly from the hottest trajectories"}
"""Reasons of labels that are not chosen by uncertainty, in words."""


@dataclass(frozen=True)
class WorstAtom:
    """The atom with the largest force error of a set: its frame, its number (from 0), its two forces (3,) in eV/A."""

    frame: int
    atom: int
    label: FloatArray
    predicted: FloatArray

    @property
    def error(self) -> float:
        """Norm of the difference, eV/A."""
        return float(np.linalg.norm(self.predicted - self.label))


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Labelled frames of one kind with predictions of a model that was not trained on them.

    Attributes
    ----------
    name : str
    chosen : bool
        Whether they were selected for their uncertainty, which makes their errors larger than on an average frame.
    frames : tuple of Atoms
    titles : tuple of str
        Names of the frames.
    labels : tuple of Labels
    predictions : tuple of Prediction
    noises : tuple of Noise or None
        Of the model at the time of each prediction.
    numbers : tuple of int or None
        Of the labels, where they are those of the run.
    """

    name: str
    chosen: bool
    frames: tuple[Atoms, ...]
    titles: tuple[str, ...]
    labels: tuple[Labels, ...]
    predictions: tuple[Prediction, ...]
    noises: tuple[Noise | None, ...]
    numbers: tuple[int, ...] | None = None

    @classmethod
    def predicted(
        cls, name: str, frames: Sequence[Atoms], potential: Potential, *, keys: LabelKeys | None = None
    ) -> FrameSet:
        """Predict labelled frames that were not chosen by uncertainty.

        Raises
        ------
        DataError
            A frame has no force labels, or an element that the potential does not know.
        """
        used = LabelKeys() if keys is None else keys
        return cls(
            name=name,
            chosen=False,
            frames=tuple(frames),
            titles=tuple(f"frame {k} of {name}" for k in range(1, len(frames) + 1)),
            labels=tuple(
                labels_of(atoms, used, where=f"{name}, frame {k}", require=("forces",))
                for k, atoms in enumerate(frames)
            ),
            predictions=tuple(potential.predict(atoms, uncertainty=Uncertainty.EXACT) for atoms in frames),
            noises=(potential.noise,) * len(frames),
        )

    @cached_property
    def comparison(self) -> Comparison:
        """Predictions beside labels."""
        return collect(self.frames, self.labels, self.predictions, self.noises)

    @cached_property
    def figures(self) -> Evaluation:
        """Errors and calibration."""
        return summarise(self.comparison)

    @property
    def slug(self) -> str:
        """Its name for files and identifiers."""
        return "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in self.name.lower()).split())

    def worst(self) -> WorstAtom:
        """The atom with the largest force error; atoms that are held, whose labels are zero by definition, do not count."""
        found: list[WorstAtom] = []
        for k, (atoms, label, prediction) in enumerate(zip(self.frames, self.labels, self.predictions, strict=True)):
            assert label.forces is not None
            errors = np.linalg.norm(prediction.forces - label.forces, axis=1)
            errors[held_components(atoms, label.forces).any(axis=1)] = -1.0
            atom = int(np.argmax(errors))
            found.append(WorstAtom(k, atom, label.forces[atom], prediction.forces[atom]))
        return max(found, key=lambda one: one.error)

    def written(self, k: int) -> Atoms:
        """Frame k with labels, predictions, bars, and `force_error` (eV/A) of every atom, for a file of extended XYZ."""
        label, prediction = self.labels[k], self.predictions[k]
        assert label.forces is not None
        frame = with_prediction(self.frames[k], prediction, self.noises[k])
        frame.arrays["force_error"] = np.linalg.norm(prediction.forces - label.forces, axis=1)
        return frame


def sets_of_run(record: RunRecord) -> list[FrameSet]:
    """The labels of a run that were predicted before training on them: those chosen by uncertainty, then its controls."""
    groups: dict[Reason | None, list[int]] = {}
    for k, label in enumerate(record.predicted):
        reason = label.origin.reason
        groups.setdefault(reason if reason in CONTROLS else None, []).append(k)
    sets = []
    for kind, members in sorted(groups.items(), key=lambda item: item[0] is not None):
        labels = [record.predicted[k] for k in members]
        name = "asked for, before training" if kind is None else f"{CONTROLS[kind]}, before training"
        sets.append(
            FrameSet(
                name=name,
                chosen=kind is None,
                frames=tuple(label.atoms for label in labels),
                titles=tuple(f"label {label.number}" for label in labels),
                labels=tuple(label.labels for label in labels),
                predictions=tuple(label.prediction for label in labels if label.prediction is not None),
                noises=tuple(label.noise for label in labels),
                numbers=tuple(label.number for label in labels),
            )
        )
    return sets
