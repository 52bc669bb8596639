"""Hyperparameters and error bars of a training set: search, leaving frames out, and the weight of the labels, in turn.

The prior of the hyperparameters is weighted by the square of the uncertainty scale of the left-out labels
(`evidence.optimize_hyperparameters`); the search is repeated where leaving frames out with the new hyperparameters changes that
scale much. With quadruplets the labels then weigh less (`leave_one_out.noise_factor`), and the frames are left out once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from trepid.data import LabelKeys, labels_of
from trepid.data.placeholders import held_components
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.evidence import FIRST_PRIOR_WEIGHT, Curvature, optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.leave_one_out import (
    LeftOut,
    error_bars,
    joined,
    leave_frame_out,
    noise_factor,
    predict_labels,
)
from trepid.potentials.bayesian.neighbors import SkinNeighbors
from trepid.potentials.bayesian.neighbour_share import with_neighbours
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, LabelRows, SufficientStatistics, merged_rows
from trepid.potentials.bayesian.terms import Hyperparameters

WEIGHT_CHANGE = 2.0
"""The optimisation is repeated when the left-out labels change the weight by this factor or more."""
MOST_ROUNDS = 3
"""Optimisations of one call at most."""


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """Errors and posterior variances of the labels of frames, under posteriors that were not trained on them.

    Attributes
    ----------
    features : FeatureBuilder
    keys : LabelKeys
    reference_energies : (n_species,) array
        eV.
    noise : Noise
        Its `large_force` weights the labels.
    """

    features: FeatureBuilder
    keys: LabelKeys
    reference_energies: FloatArray
    noise: Noise

    def left_out(self, posterior: Posterior, frames: Sequence[Atoms]) -> dict[LabelKind, LeftOut]:
        """Labels of training frames of this posterior, each predicted without its frame; none for a single frame."""
        if len(frames) < 2:
            return {}
        left_out = (leave_frame_out(posterior, self._rows(atoms)) for atoms in frames)
        return joined(*(self._shared(labels, atoms) for labels, atoms in zip(left_out, frames, strict=True)))

    def predicted(self, posterior: Posterior, frames: Sequence[Atoms]) -> dict[LabelKind, LeftOut]:
        """Labels of new frames."""
        predicted = (predict_labels(posterior, self._rows(atoms)) for atoms in frames)
        return joined(*(self._shared(labels, atoms) for labels, atoms in zip(predicted, frames, strict=True)))

    def with_neighbours(self, variance: FloatArray, atoms: Atoms) -> FloatArray:
        """Variances (n_atoms, 3) of the forces with the share of the atoms around (`neighbour_share`)."""
        reach = self.features.basis.triplet_cutoff
        neighbours = SkinNeighbors(reach, skin=0.0).update(atoms, self.features.index(atoms))
        return with_neighbours(variance, neighbours, reach=reach)

    def _shared(self, labels: dict[LabelKind, LeftOut], atoms: Atoms) -> dict[LabelKind, LeftOut]:
        """The labels of one frame, the variances of its forces with the share of the atoms around."""
        forces = labels.get(LabelKind.FORCES)
        if forces is None:
            return labels
        free = ~held_components(atoms, np.asarray(labels_of(atoms, self.keys).forces))
        variance = np.full(free.shape, forces.variance.mean())  # what is held has none of its own
        variance[free] = forces.variance
        return {**labels, LabelKind.FORCES: replace(forces, variance=self.with_neighbours(variance, atoms)[free])}

    def _rows(self, atoms: Atoms) -> list[LabelRows]:
        return merged_rows(
            self.features.label_rows(
                atoms, keys=self.keys, reference_energies=self.reference_energies, noise=self.noise
            )
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """Where a training came to.

    Attributes
    ----------
    posterior : Posterior
        Of `hyper`, its noises times `noise_factor`.
    hyper : Hyperparameters
        Of maximum evidence times prior.
    noise_factor : float
    curvature : Curvature
        Of the evidence there.
    left_out : dict of LabelKind to LeftOut
        Labels of the training frames under posteriors without their frame.
    """

    posterior: Posterior
    hyper: Hyperparameters
    noise_factor: float
    curvature: Curvature
    left_out: dict[LabelKind, LeftOut]


def train(
    basis: Basis,
    start: Hyperparameters,
    statistics: SufficientStatistics,
    frames: Sequence[Atoms],
    errors: FrameErrors,
    *,
    prior_weight: float = FIRST_PRIOR_WEIGHT,
    curvature: Curvature | None = None,
    max_iterations: int = 60,
) -> Trained:
    """Hyperparameters, posterior and left-out labels of a training set.

    Parameters
    ----------
    basis : Basis
    start : Hyperparameters
        Where the search starts.
    statistics : SufficientStatistics
    frames : sequence of Atoms
        All training frames.
    errors : FrameErrors
    prior_weight : float
        Of the first search.
    curvature : Curvature, optional
        Of an earlier search.
    max_iterations : int
        Of each search.

    Raises
    ------
    NumericsError
        The evidence is not finite at `start`.
    """
    hyper, weight = start, prior_weight
    for _ in range(MOST_ROUNDS):
        found = optimize_hyperparameters(
            basis, hyper, statistics, prior_weight=weight, curvature=curvature, max_iterations=max_iterations
        )
        posterior, curvature = found.posterior, found.curvature
        hyper = posterior.hyper
        left_out = errors.left_out(posterior, frames)
        scale = error_bars(left_out, hyper.noise)[LabelKind.FORCES].scale
        used, weight = weight, scale**2
        if max(used / weight, weight / used) < WEIGHT_CHANGE:
            break
    factor = noise_factor(basis, scale)
    if factor > 1:
        posterior = Posterior(basis, hyper.with_noise_times(factor), statistics)
        left_out = errors.left_out(posterior, frames)
    return Trained(posterior, hyper, factor, found.curvature, left_out)
