r"""The share of an atom's error bar that comes from the atoms around it.

The posterior of pairs and triplets knows which of their functions are uncertain. Where an environment is unusual, the misfit
of the functional form itself spreads further: the force on an atom is a sum of derivatives of the energies of its
neighbours, each of which depends on the whole environment of that neighbour. Next to atoms with a large posterior variance the
errors are therefore larger than the posterior says, and at such atoms they are smaller than it says. So the variance of a
force component becomes

.. math::

    v_{ic}' = v_{ic} + \alpha^2 \Big( \sum_j w_{ij} s_j \Big/ \sum_j w_{ij} \Big)^2, \qquad
    s_j = \Big( \tfrac13 \sum_c v_{jc} \Big)^{1/2}, \qquad w_{ij} = (1 - r_{ij} / R)^2

with the triplet cutoff R and alpha = 0.5. On frames like the training set, where all atoms are about equally uncertain,
this widens the posterior part of the bar by an eighth. alpha was chosen on hot and defective frames of four classical
potentials (docs/measured.md), which the error bars of any other model do not see.

native/nearby.h has the same sum for the C++ core and the LAMMPS pair style.
"""

from __future__ import annotations

import numpy as np

from trepid import _native
from trepid.potentials.base import FloatArray

SHARE = _native.neighbour_share
"""alpha."""


def with_neighbours(variance: FloatArray, neighbours: _native.Neighbours, *, reach: float) -> FloatArray:
    """Variances of force components with the share of the atoms around.

    Parameters
    ----------
    variance : (n_atoms, 3) array
        Of the posterior, (eV/A)^2.
    neighbours : Neighbours
        Of these atoms, at least to `reach`.
    reach : float
        R, A.

    Returns
    -------
    (n_atoms, 3) array
    """
    around = neighbours.nearby_mean(np.sqrt(variance.mean(axis=1)), reach)
    return np.asarray(variance + (SHARE * around)[:, None] ** 2)
