r"""The kernels of `trepid.potentials.bayesian.kernels` with their derivatives, as the exact GP needs them.

A *jet* of a one-dimensional kernel k(x, x') holds k, dk/dx', dk/dx and d2k/dx dx' between two sets of points, as an
array of shape (2, 2, n, m): the first index is the order of the derivative in x, the second the order in x'.

The angular kernel is written in c = cos(theta), with kappa = 1 / l_theta^2, s^2 = 1 - c^2, z = kappa s s' and
w(z) = I_1(z) / z, which is even and entire in z, so that nothing is singular at theta = 0 or pi:

.. math::

    k &= e^{-\kappa (1 - c c')} I_0(z) \\
    \partial_c k &= e^{-\kappa (1 - c c')} [\kappa c' I_0 - \kappa^2 c s'^2 w] \\
    \partial_c \partial_{c'} k &= e^{-\kappa (1 - c c')}
        [(\kappa + 2 \kappa^2 c c') I_0 - \kappa^3 w (c'^2 s^2 + c^2 s'^2)]

They follow from k = e^{...} F(z^2), F(q) = I_0(sqrt q), F' = I_1 / 2z, F'' = I_2 / 4z^2 and I_2 = I_0 - 2 I_1 / z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import i0e, i1e

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.kernels import envelope, envelope_derivative
from trepid.potentials.bayesian.terms import Hyperparameters


def radial_jet(r: ArrayLike, other: ArrayLike, *, length: float, cutoff: float) -> FloatArray:
    """Jet of k_r between distances `r` (n,) and `other` (m,), A; returns (2, 2, n, m), per A for each derivative."""
    a, b = np.asarray(r, dtype=np.float64)[:, None], np.asarray(other, dtype=np.float64)[None, :]
    g, dg = envelope(a, cutoff), envelope_derivative(a, cutoff)
    h, dh = envelope(b, cutoff), envelope_derivative(b, cutoff)
    x = (a - b) / length
    gauss = np.exp(-0.5 * x * x)
    slope = x * gauss / length  # d gauss / d other = - d gauss / d r
    jet = np.empty((2, 2, *gauss.shape))
    jet[0, 0] = g * h * gauss
    jet[1, 0] = h * (dg * gauss - g * slope)
    jet[0, 1] = g * (dh * gauss + h * slope)
    jet[1, 1] = dh * (dg * gauss - g * slope) + h * (dg * slope + g * (1 - x * x) * gauss / length**2)
    return jet


def angular_jet(c: ArrayLike, other: ArrayLike, *, length: float) -> FloatArray:
    """Jet of k_theta in the cosines `c` (n,) and `other` (m,), each within [-1, 1]; returns (2, 2, n, m)."""
    a, b = np.asarray(c, dtype=np.float64)[:, None], np.asarray(other, dtype=np.float64)[None, :]
    kappa = 1.0 / length**2
    a2, b2 = 1 - a * a, 1 - b * b
    z = kappa * np.sqrt(a2) * np.sqrt(b2)
    # The exponentially scaled Bessel functions e^-z I_n(z) keep small lengths from overflowing:
    # the exponent that is left, -kappa (1 - cos(theta - theta')), is never positive.
    scale = np.exp(z - kappa * (1 - a * b))
    bessel = scale * i0e(z)
    ratio = scale * np.divide(i1e(z), z, out=np.full_like(z, 0.5), where=z > 1e-12)
    jet = np.empty((2, 2, *z.shape))
    jet[0, 0] = bessel
    jet[1, 0] = kappa * b * bessel - kappa**2 * (a * b2) * ratio
    jet[0, 1] = kappa * a * bessel - kappa**2 * (a2 * b) * ratio
    jet[1, 1] = (kappa + 2 * kappa**2 * a * b) * bessel - kappa**3 * (b * b * a2 + a * a * b2) * ratio
    return jet


def pair_covariance(r: FloatArray, other: FloatArray, hyperparameters: Hyperparameters, cutoff: float) -> FloatArray:
    """Prior covariance of a pair function and its slope between two sets of pairs.

    Parameters
    ----------
    r, other : (n, 1) and (m, 1) arrays
        Distances, A.
    hyperparameters : Hyperparameters
    cutoff : float
        Pair cutoff, A.

    Returns
    -------
    (2, n, 2, m) array
        Indices: (f, df/dr) of the first pair, first pair, (f, df/dr) of the second, second pair; eV and A.
    """
    jet = radial_jet(r[:, 0], other[:, 0], length=hyperparameters.pair_length, cutoff=cutoff)
    return np.ascontiguousarray(hyperparameters.pair_amplitude**2 * jet.transpose(0, 2, 1, 3))


def triplet_covariance(
    t: FloatArray, other: FloatArray, hyperparameters: Hyperparameters, cutoff: float, *, symmetric: bool
) -> FloatArray:
    """Prior covariance of a triplet function and its gradient between two sets of triplets.

    Parameters
    ----------
    t, other : (n, 3) and (m, 3) arrays
        Triplets (r1, r2, cos theta), A.
    hyperparameters : Hyperparameters
    cutoff : float
        Triplet cutoff, A.
    symmetric : bool
        True where the two neighbours are of one species: the function is symmetric in r1 and r2.

    Returns
    -------
    (4, n, 4, m) array
        Indices: (f, df/dr1, df/dr2, df/dcos) of the first triplet, first triplet, the same of the second.
    """
    length = hyperparameters.triplet_length
    radial = _radial_products(
        radial_jet(t[:, 0], other[:, 0], length=length, cutoff=cutoff),
        radial_jet(t[:, 1], other[:, 1], length=length, cutoff=cutoff),
    )
    if symmetric:
        exchanged = _radial_products(
            radial_jet(t[:, 0], other[:, 1], length=length, cutoff=cutoff),
            radial_jet(t[:, 1], other[:, 0], length=length, cutoff=cutoff),
        )
        # The derivative in r1' now acts on what was written as the second neighbour of the other triplet.
        radial += exchanged[:, [0, 2, 1]]
        radial *= 0.5

    angular = hyperparameters.triplet_amplitude**2 * angular_jet(
        t[:, 2], other[:, 2], length=hyperparameters.angular_length
    )
    result = np.empty((4, len(t), 4, len(other)))
    for p in range(3):
        for q in range(3):
            np.multiply(radial[p, q], angular[0, 0], out=result[p, :, q])
        np.multiply(radial[p, 0], angular[0, 1], out=result[p, :, 3])
        np.multiply(radial[0, p], angular[1, 0], out=result[3, :, p])
    np.multiply(radial[0, 0], angular[1, 1], out=result[3, :, 3])
    return result


def _radial_products(first: FloatArray, second: FloatArray) -> FloatArray:
    """(1, d/dr1, d/dr2) x (1, d/dr1', d/dr2') of k_r(r1, r1') k_r(r2, r2') from the two jets: (3, 3, n, m)."""
    orders = ((0, 0), (1, 0), (0, 1))
    products = np.empty((3, 3, *first.shape[2:]))
    for p, (a, b) in enumerate(orders):
        for q, (c, d) in enumerate(orders):
            np.multiply(first[a, c], second[b, d], out=products[p, q])
    return products
