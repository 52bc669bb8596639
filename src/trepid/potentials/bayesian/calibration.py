r"""Factors on the error bars from labels that the model was not trained on: bars corrected, nothing trained again.

The bars of the training, sqrt((s_0 m)^2 + tau^2 v) (`leave_one_out`), hold for frames like the training set. Labels of other
frames say by how much they are too narrow or too wide there: the factor of a kind of label is the conformal factor

.. math::

    f = \Big(1 + \frac{0.06}{K}\Big) \frac{s_{(k)}}{z}, \qquad s_i = |r_i| / \sigma_i, \qquad
    k = \lceil 0.95\, (n + 1) \rceil

of `trepid.acquisition.conformal`, over all n labels of the kind in the K frames. Noise and scale of the bar are both multiplied
by it, so that predicted errors, uncertainties, live directions and draws all follow. Mean and evidence do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trepid.acquisition.conformal import FEWEST_FRAMES, frames_factor
from trepid.errors import DataError
from trepid.potentials.bayesian.leave_one_out import FEWEST_LABELS, ErrorBar, LeftOut
from trepid.potentials.bayesian.statistics import LabelKind

LEAST_FACTOR = 1e-3
"""No model is that much better than it says: labels that give a smaller factor are its own predictions."""


@dataclass(frozen=True)
class Calibration:
    """Factors on the error bars of the training.

    Attributes
    ----------
    factors : mapping of LabelKind to float
        One for every kind; above 1: the bars of the training were too narrow.
    n_frames : int
        Labelled frames they rest on, each structure once.
    n_labels : mapping of LabelKind to int
        Labels of each kind that the frames have; kinds with fewer than 30 take the factor of the forces.
    """

    factors: Mapping[LabelKind, float]
    n_frames: int
    n_labels: Mapping[LabelKind, int]

    @classmethod
    def of(
        cls, labels: Mapping[LabelKind, LeftOut], bars: Mapping[LabelKind, ErrorBar], *, n_frames: int
    ) -> Calibration:
        """From labels that were predicted by a model which was not trained on them.

        Parameters
        ----------
        labels : mapping of LabelKind to LeftOut
        bars : mapping of LabelKind to ErrorBar
            Of the training.
        n_frames : int

        Raises
        ------
        DataError
            Fewer than two frames, no force labels, or labels that equal the predictions.
        """
        forces = labels.get(LabelKind.FORCES, LeftOut.empty())
        if n_frames < FEWEST_FRAMES or not len(forces):
            raise DataError(
                f"{n_frames} new frames with {len(forces)} force labels: a factor needs {FEWEST_FRAMES} frames with forces"
            )
        own = _factor(forces, bars[LabelKind.FORCES], n_frames)
        factors = dict.fromkeys(LabelKind, own)
        for kind, known in labels.items():
            if len(known) >= FEWEST_LABELS:
                factors[kind] = _factor(known, bars[kind], n_frames)
        for kind, factor in factors.items():
            if not factor > LEAST_FACTOR:
                raise DataError(
                    f"the {kind.value} labels are those of the model itself, to {factor:.1g} of its bars: labels of the "
                    "reference are needed"
                )
        return cls(factors, n_frames, {kind: len(known) for kind, known in labels.items()})

    def corrected(self, bars: Mapping[LabelKind, ErrorBar]) -> dict[LabelKind, ErrorBar]:
        """The bars of the training times the factors."""
        return {
            kind: ErrorBar(noise=self.factors[kind] * bar.noise, scale=self.factors[kind] * bar.scale)
            for kind, bar in bars.items()
        }

    def as_settings(self) -> dict[str, Any]:
        """Plain types for the header of a model file."""
        return {
            "factors": {kind.value: factor for kind, factor in self.factors.items()},
            "n_frames": self.n_frames,
            "n_labels": {kind.value: n for kind, n in self.n_labels.items()},
        }

    @classmethod
    def from_settings(cls, entry: Mapping[str, Any] | None) -> Calibration | None:
        """What `as_settings` gave; None without an entry. ValueError where it is damaged."""
        if entry is None:
            return None
        factors = {LabelKind(name): float(value) for name, value in entry["factors"].items()}
        if set(factors) != set(LabelKind) or not all(0 < factor < np.inf for factor in factors.values()):
            raise ValueError(f"the factors of its error bars are {entry['factors']}")
        counts = {LabelKind(name): int(n) for name, n in entry["n_labels"].items()}
        return cls(factors, int(entry["n_frames"]), counts)


def _factor(labels: LeftOut, bar: ErrorBar, n_frames: int) -> float:
    return frames_factor(np.abs(labels.residual) / bar.std(labels.variance, labels.multiplier), n_frames)
