"""Cubic B-splines in distance, and the Gaussian-process prior of one radial function carried over to their coefficients.

Vocabulary
----------
spline grid   `n` cells between r_min and the cutoff; the n-th spline is centred at r_min + h (n - 1), the three
              splines that would reach beyond the cutoff are left out, so value, slope and curvature vanish there

A function f ~ GP(0, k_r) is represented by the spline that agrees with it at the knots: its coefficients solve T c =
f(x), T the tridiagonal matrix (1/6, 4/6, 1/6) of the B-splines at the knots. So Cov(c) = M = T^-1 k_r(x, x) T^-T, and
the kernel B(r)^T M B(r') of the spline tends to k_r with the fourth power of the grid step.

The same splines are defined in native/model.h and evaluated by native/basis.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_banded

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.kernels import radial_kernel


def spline_values(r: ArrayLike, *, r_min: float, cutoff: float, n: int) -> tuple[FloatArray, FloatArray]:
    """Values and slopes (1/A) of all n splines at distances r (shape (m,), A); two arrays (m, n)."""
    step = (cutoff - r_min) / n
    t = (np.asarray(r, dtype=np.float64) - r_min) / step
    inside = np.maximum(t, 0.0)
    x = inside[:, None] - (np.arange(n) - 1)
    outer, inner = np.maximum(2 - np.abs(x), 0), np.maximum(1 - np.abs(x), 0)
    slope = -np.sign(x) * (outer**2 / 2 - 2 * inner**2)
    value = (outer**3 - 4 * inner**3) / 6 + (t - inside)[:, None] * slope
    return value, slope / step


def spline_covariance(*, r_min: float, cutoff: float, n: int, length: float) -> FloatArray:
    """M, the prior covariance (n, n) of the coefficients of one radial function of unit amplitude; `length` in A."""
    x = _knots(r_min, cutoff, n)
    return _interpolate(radial_kernel(x, x, length=length, cutoff=cutoff))


def spline_covariance_derivative(*, r_min: float, cutoff: float, n: int, length: float) -> FloatArray:
    """Derivative of M with respect to log(length), (n, n)."""
    x = _knots(r_min, cutoff, n)
    distance = (x[:, None] - x[None, :]) / length
    return _interpolate(radial_kernel(x, x, length=length, cutoff=cutoff) * distance**2)


def eigen_root(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, largest first, and eigenvectors (columns) of a positive semidefinite matrix, without its null space."""
    values, vectors = np.linalg.eigh(covariance)
    keep = values > 1e-14 * values[-1]
    return values[keep][::-1], vectors[:, keep][:, ::-1]


def _knots(r_min: float, cutoff: float, n: int) -> FloatArray:
    return np.asarray(r_min + (cutoff - r_min) / n * (np.arange(n) - 1), dtype=np.float64)


def _interpolate(kernel: FloatArray) -> FloatArray:
    n = len(kernel)
    bands = np.array([np.full(n, 1 / 6), np.full(n, 4 / 6), np.full(n, 1 / 6)])
    half = solve_banded((1, 1), bands, kernel)
    full = solve_banded((1, 1), bands, half.T)
    return np.asarray((full + full.T) / 2)
