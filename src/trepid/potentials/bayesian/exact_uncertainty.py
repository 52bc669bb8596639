"""What the full posterior says of a frame: exact uncertainties, and force features for the choice of frames.

Standard deviations are those of the posterior times the scale of their kind of label (`leave_one_out`); those of the forces have
the share of the atoms around (`neighbour_share`), those of energies what the training compositions leave open (`compositions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from trepid.acquisition.batch import most_uncertain_atoms
from trepid.potentials.base import FloatArray, Prediction
from trepid.potentials.bayesian.compositions import Compositions
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.leave_one_out import ErrorBar
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind
from trepid.potentials.bayesian.training import FrameErrors


@dataclass(frozen=True, eq=False)
class ExactUncertainty:
    """The posterior of a force field and what scales it.

    Attributes
    ----------
    posterior : Posterior
    errors : FrameErrors
        With the features of the posterior's basis.
    bars : mapping of LabelKind to ErrorBar
    compositions : Compositions
    """

    posterior: Posterior
    errors: FrameErrors
    bars: Mapping[LabelKind, ErrorBar]
    compositions: Compositions

    @property
    def _features(self) -> FeatureBuilder:
        return self.errors.features

    def complete(self, atoms: Atoms, prediction: Prediction) -> Prediction:
        """The prediction with exact uncertainties (one standard deviation) of energy, forces and stress."""
        rows = self._features.frame_rows(atoms)
        variance = np.empty((len(atoms), 3))
        for chunk, force_rows in self._features.force_rows(atoms):
            variance[chunk] = self.posterior.standard_deviation(force_rows).reshape(-1, 3) ** 2
        forces = np.sqrt(self.errors.with_neighbours(variance, atoms))
        stress = None if rows.stress is None else self.posterior.standard_deviation(rows.stress)
        return replace(
            prediction,
            energy_uncertainty=self._of_energy(rows.energy, self._features.composition(atoms)),
            forces_uncertainty=self.bars[LabelKind.FORCES].scale * forces,
            stress_uncertainty=None if stress is None else self.bars[LabelKind.STRESS].scale * stress,
        )

    def of_energy_difference(self, atoms: Atoms, other: Atoms) -> float:
        """One standard deviation of E(atoms) - E(other), eV; what both frames share cancels."""
        rows = self._features.frame_rows(atoms).energy - self._features.frame_rows(other).energy
        return self._of_energy(rows, self._features.composition(atoms) - self._features.composition(other))

    def _of_energy(self, rows: FloatArray, composition: FloatArray) -> float:
        return math.hypot(
            self.bars[LabelKind.ENERGY].scale * self.posterior.standard_deviation(rows)[0],
            self.compositions.uncertainty(composition),
        )

    def information_rows(self, atoms: Atoms, n_atoms: int | None) -> FloatArray:
        """See `BayesianForceField.information_rows`."""
        variances = np.empty(len(atoms))
        kept: list[tuple[int, FloatArray]] = []
        for chunk, force_rows in self._features.force_rows(atoms):
            rows = self.posterior.rotated(force_rows).T.reshape(-1, 3, self.posterior.n_directions)
            variances[chunk] = np.einsum("icp,icp->i", rows, rows)
            kept.extend(enumerate(rows, start=chunk.start))
            if n_atoms is not None:  # atoms dropped in an earlier chunk cannot be among the largest of all
                best = set(most_uncertain_atoms(variances[: chunk.stop], n_atoms))
                kept = [(i, r.copy()) for i, r in kept if i in best]
        return np.concatenate([r for _, r in kept])
