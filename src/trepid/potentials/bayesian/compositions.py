r"""Energies of species that the energy labels cannot tell apart.

Frames of one stoichiometry determine one sum of energies per atom, and nothing about how it splits between the species: the
energy of a crystal with a vacancy is then unknown by the energy of an atom, whatever the forces say. With the compositions
n_k (atoms of each species) of the frames with an energy label,

.. math::

    G = \sum_k n_k n_k^T, \qquad n_\perp = P n, \qquad u = \epsilon\, |n_\perp|

P projects a composition on the null space of G, and epsilon, the root mean square of the reference energies, is the scale of
what an atom may add. u joins the energy uncertainty in quadrature. Forces and stresses do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from trepid.data import LabelKeys, labels_of
from trepid.data.noise_factors import fitted_factors
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.features import FeatureBuilder, naming_frame

NULL = 1e-10
"""Eigenvalues of G below this share of the largest are zero."""
NEGLIGIBLE = 1e-6
"""Atoms: less than this outside the compositions of the labels is rounding."""


@dataclass(frozen=True, eq=False)
class Compositions:
    """Which compositions the energy labels determine.

    Attributes
    ----------
    undetermined : (n_species, n) array
        Orthonormal compositions that no energy label tells anything about.
    scale : float
        epsilon, eV per atom.
    """

    undetermined: FloatArray
    scale: float

    @classmethod
    def of(cls, gram: FloatArray, reference_energies: FloatArray) -> Compositions:
        """From G (n_species, n_species) and the reference energies (n_species,), eV per atom."""
        values, vectors = np.linalg.eigh(gram)
        return cls(vectors[:, values <= NULL * max(values[-1], 0.0)], float(np.sqrt(np.mean(reference_energies**2))))

    def outside(self, composition: FloatArray) -> float:
        """Norm of the undetermined part of a composition (n_species,), or of a difference of two, in atoms."""
        norm = float(np.linalg.norm(composition @ self.undetermined))
        return norm if norm > NEGLIGIBLE else 0.0

    def uncertainty(self, composition: FloatArray) -> float:
        """What the undetermined part adds to the energy uncertainty in quadrature, eV."""
        return self.scale * self.outside(composition)


def least_squares_energies(
    features: FeatureBuilder, frames: Sequence[Atoms], chosen: Sequence[int], keys: LabelKeys
) -> FloatArray:
    """Energy per atom of each species, by least squares of minimum norm over the energy labels, eV; zero without any.

    The `chosen` of the frames count, with their noise factors and weights (`trepid.data.noise_factors`); an error
    names the number of the frame.
    """
    counts, energies = [], []
    for k in chosen:
        with naming_frame(k):
            energy = labels_of(frames[k], keys).energy
            if energy is not None:
                factor = fitted_factors(frames[k]).energy
                counts.append(features.composition(frames[k]) / factor)
                energies.append(energy / factor)
    if not energies:
        return np.zeros(len(features.basis.species))
    return np.asarray(np.linalg.lstsq(counts, energies, rcond=None)[0])
