r"""The fixed short-range repulsion E_prior: the universal screened nuclear repulsion of Ziegler, Biersack and Littmark.

.. math::

    V(r) = \frac{e^2}{4 \pi \epsilon_0} \frac{Z_i Z_j}{r}\, \phi(r / a)\, S(r), \qquad
    a = \frac{0.46850\,\mathrm{Å}}{Z_i^{0.23} + Z_j^{0.23}}

It keeps atoms apart at distances that no training frame reaches. The switch S falls from one to zero between `r_inner`
and `r_outer` with value, slope and curvature continuous, well inside the shortest bonds, so that the Gaussian process
alone describes the range of distances in the training frames.

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, Pergamon (1985).
"""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import ArrayLike

from trepid.errors import ConfigError, DataError
from trepid.potentials.base import FloatArray

COULOMB = 14.399645
"""e^2 / (4 pi epsilon_0), eV A."""
SCREENING_LENGTH = 0.46850
"""A: the numerator of the screening length a."""
SCREENING_EXPONENT = 0.23
SCREENING_WEIGHTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
SCREENING_DECAYS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
"""phi(x) = sum_k weight_k exp(-decay_k x)."""
OUTER_FRACTION = 0.8
"""r_outer over the sum of the covalent radii: shorter than any bond of a crystal."""
INNER_FRACTION = 0.5
"""r_inner over r_outer."""


def zbl_range(species_a: str, species_b: str) -> tuple[float, float]:
    """Return (r_inner, r_outer), A: the full repulsion acts below r_inner, none beyond r_outer.

    Parameters
    ----------
    species_a, species_b : str
        Chemical symbols.

    Raises
    ------
    ConfigError
        When one of them is not a chemical symbol.
    """
    for symbol in (species_a, species_b):
        if symbol not in atomic_numbers:
            raise ConfigError(f"{symbol!r} is not a chemical symbol: write it as in the periodic table, e.g. 'Cu'")
    outer = _outer_radius(np.asarray(atomic_numbers[species_a]), np.asarray(atomic_numbers[species_b]))
    return float(INNER_FRACTION * outer), float(outer)


def zbl_energy(r: ArrayLike, z_i: ArrayLike, z_j: ArrayLike) -> FloatArray:
    """Switched repulsion of pairs of nuclei.

    Parameters
    ----------
    r : array_like
        Distances, A; positive.
    z_i, z_j : array_like of int
        Atomic numbers of the two atoms; broadcast against `r`.

    Returns
    -------
    array
        eV, of the broadcast shape.

    Raises
    ------
    DataError
        When a distance is not positive.
    """
    return _value_and_slope(r, z_i, z_j)[0]


def zbl_derivative(r: ArrayLike, z_i: ArrayLike, z_j: ArrayLike) -> FloatArray:
    """Derivative of `zbl_energy` with respect to the distance, eV/A; parameters, shape and errors as there."""
    return _value_and_slope(r, z_i, z_j)[1]


def _outer_radius(z_i: np.ndarray, z_j: np.ndarray) -> FloatArray:
    return OUTER_FRACTION * (covalent_radii[z_i] + covalent_radii[z_j])


def _value_and_slope(r: ArrayLike, z_i: ArrayLike, z_j: ArrayLike) -> tuple[FloatArray, FloatArray]:
    z_i, z_j = np.asarray(z_i), np.asarray(z_j)
    r, z_i, z_j = np.broadcast_arrays(np.asarray(r, dtype=np.float64), z_i, z_j)
    wrong = ~(r > 0)  # NaN included
    if wrong.any():
        raise DataError(f"two atoms are {r[wrong][0]:g} A apart: distances must be positive")

    a = SCREENING_LENGTH / (z_i**SCREENING_EXPONENT + z_j**SCREENING_EXPONENT)
    terms = SCREENING_WEIGHTS * np.exp(-SCREENING_DECAYS * (r / a)[..., None])
    screening, screening_slope = terms.sum(-1), -(terms * SCREENING_DECAYS).sum(-1) / a
    coulomb = COULOMB * (z_i * z_j) / r
    bare, bare_slope = coulomb * screening, coulomb * (screening_slope - screening / r)

    outer = _outer_radius(z_i, z_j)
    width = (1 - INNER_FRACTION) * outer
    x = np.clip((outer - r) / width, 0.0, 1.0)
    switch, switch_slope = x**3 * (x * (6 * x - 15) + 10), -30 * (x * (1 - x)) ** 2 / width
    return bare * switch, bare_slope * switch + bare * switch_slope
