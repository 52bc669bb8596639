r"""The covariance functions of the Gaussian-process priors, of which the terms of the force field are made.

.. math::

    k_r(r, r')   &= g(r)\, g(r') \exp[-(r - r')^2 / 2 \ell^2] \\
    k_\theta     &= \sum_l \lambda_l P_l(\cos\theta) P_l(\cos\theta')
                  = e^{-(1 - \cos\theta \cos\theta') / \ell_\theta^2}\, I_0(\sin\theta \sin\theta' / \ell_\theta^2)

g is the envelope that takes value, slope and curvature to zero at the cutoff. The angular kernel is the von
Mises-Fisher kernel exp[-(1 - n.n') / l^2] of the unit sphere averaged over the azimuth; the Legendre polynomials are
its eigenfunctions with eigenvalues lambda_l = (2 l + 1) exp(-1/l^2) i_l(1/l^2), i_l the modified spherical Bessel
function (Funk-Hecke theorem).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ive

from trepid.potentials.base import FloatArray


def envelope(r: ArrayLike, cutoff: float) -> FloatArray:
    """g(r) = (1 - r^2 / cutoff^2)^3 inside the cutoff, 0 outside: value, slope and curvature vanish at the cutoff."""
    x = np.asarray(r, dtype=np.float64) / cutoff
    return np.where(x < 1, np.maximum(1 - x * x, 0) ** 3, 0.0)


def envelope_derivative(r: ArrayLike, cutoff: float) -> FloatArray:
    """dg/dr, 1/A."""
    x = np.asarray(r, dtype=np.float64) / cutoff
    return np.where(x < 1, -6 * x * np.maximum(1 - x * x, 0) ** 2 / cutoff, 0.0)


def radial_kernel(r: ArrayLike, other: ArrayLike, *, length: float, cutoff: float) -> FloatArray:
    """k_r between every distance of `r` (shape (n,)) and of `other` (shape (m,)), A; returns (n, m), dimensionless."""
    a, b = np.asarray(r, dtype=np.float64)[:, None], np.asarray(other, dtype=np.float64)[None, :]
    return envelope(a, cutoff) * envelope(b, cutoff) * np.exp(-0.5 * ((a - b) / length) ** 2)


def angular_eigenvalues(l_max: int, length: float) -> FloatArray:
    """lambda_l for l = 0 .. l_max (Funk-Hecke); they sum to one over all l. Returns (l_max + 1,)."""
    kappa = 1.0 / length**2
    order = np.arange(l_max + 1)
    # exp(-kappa) i_l(kappa) through the exponentially scaled Bessel function, which does not overflow at small lengths.
    return np.asarray((2 * order + 1) * np.sqrt(np.pi / (2 * kappa)) * ive(order + 0.5, kappa), dtype=np.float64)
