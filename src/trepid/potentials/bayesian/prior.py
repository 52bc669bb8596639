r"""The Gaussian-process prior, carried over to the spline coefficients.

A function f ~ GP(0, k_r) is represented by the spline that agrees with it at the knots: its coefficients solve T c =
f(x), T the tridiagonal matrix (1/6, 4/6, 1/6) of the B-splines at the knots. So Cov(c) = M = T^-1 k_r(x, x) T^-T, and
the spline's own kernel
B(r)^T M B(r') tends to k_r with the fourth power of the grid step.

The prior covariance C of all raw coefficients is block-diagonal: one block per pair energy, s_2^2 M_2; one per triplet
energy and Legendre degree, s_3^2 lambda_l M_3 (x) M_3, symmetrised in n and n' when both neighbours are of one species.
Each block is kept as a factor U with C = U U^T; directions whose prior variance is negligible are left out
(`RELATIVE_VARIANCE`), which is what makes the posterior small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis, TripletBlock
from trepid.potentials.bayesian.kernels import Hyperparameters, angular_eigenvalues, radial_kernel

# Prior directions with less than this share of their block's largest variance are dropped: a hundred-thousandth in
# amplitude.
RELATIVE_VARIANCE = 1e-10


@dataclass(frozen=True)
class Factor:
    """Prior factor U (raw, whitened) of the raw coefficients `columns`; covariance U U^T."""

    columns: slice
    u: FloatArray


def spline_covariance(basis: Basis, *, n: int, cutoff: float, length: float) -> FloatArray:
    """M, the prior covariance (n, n) of the coefficients of one radial function."""
    x = _knots(basis, n, cutoff)
    return _interpolate(radial_kernel(x, x, length=length, cutoff=cutoff))


def spline_covariance_derivative(basis: Basis, *, n: int, cutoff: float, length: float) -> FloatArray:
    """Derivative of M with respect to log(length), (n, n)."""
    x = _knots(basis, n, cutoff)
    distance = (x[:, None] - x[None, :]) / length
    return _interpolate(radial_kernel(x, x, length=length, cutoff=cutoff) * distance**2)


def _knots(basis: Basis, n: int, cutoff: float) -> FloatArray:
    return np.asarray(basis.r_min + (cutoff - basis.r_min) / n * (np.arange(n) - 1), dtype=np.float64)


def _interpolate(kernel: FloatArray) -> FloatArray:
    n = len(kernel)
    bands = np.array([np.full(n, 1 / 6), np.full(n, 4 / 6), np.full(n, 1 / 6)])
    half = solve_banded((1, 1), bands, kernel)
    full = solve_banded((1, 1), bands, half.T)
    return np.asarray((full + full.T) / 2)


def _root(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, largest first, and eigenvectors of a positive semidefinite matrix, without its null space."""
    values, vectors = np.linalg.eigh(covariance)
    keep = values > 1e-14 * values[-1]
    return values[keep][::-1], vectors[:, keep][:, ::-1]


def _product_factor(block: TripletBlock, values: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Columns of U for M (x) M (symmetrised when a == b) and their variances; (n_products, columns), (columns,)."""
    n, m = block.products(len(vectors))
    i, j = np.triu_indices(len(values)) if block.a == block.b else np.indices((len(values),) * 2).reshape(2, -1)
    columns = vectors[n][:, i] * vectors[m][:, j]
    if block.a == block.b:
        columns = np.where(i == j, columns, (columns + vectors[n][:, j] * vectors[m][:, i]) / np.sqrt(2))
    variance = values[i] * values[j]
    return columns * np.sqrt(variance), variance


def prior_factors(basis: Basis, hyper: Hyperparameters) -> list[Factor]:
    """The factors of all blocks, in the order of the raw coefficients."""
    layout = basis.layout
    factors = [Factor(slice(0, layout.n_offsets), hyper.offset_amplitude * np.eye(layout.n_offsets))]
    values, vectors = _root(
        spline_covariance(basis, n=basis.n_pair, cutoff=basis.pair_cutoff, length=hyper.pair_length)
    )
    keep = values > RELATIVE_VARIANCE * values[0]
    pair = hyper.pair_amplitude * vectors[:, keep] * np.sqrt(values[keep])
    factors += [Factor(block.columns, pair) for block in layout.pairs]
    values, vectors = _root(
        spline_covariance(basis, n=basis.n_radial, cutoff=basis.triplet_cutoff, length=hyper.triplet_length)
    )
    eigenvalues = angular_eigenvalues(basis.l_max, hyper.angular_length)
    largest = values[0] ** 2 * eigenvalues.max()
    products = {
        same: _product_factor(next(t for t in layout.triplets if (t.a == t.b) == same), values, vectors)
        for same in {t.a == t.b for t in layout.triplets}
    }
    for block in layout.triplets:
        columns, variance = products[block.a == block.b]
        for degree, eigenvalue in enumerate(eigenvalues):
            keep = variance * eigenvalue > RELATIVE_VARIANCE * largest
            u = hyper.triplet_amplitude * np.sqrt(eigenvalue) * columns[:, keep]
            factors.append(Factor(block.degree(degree), u))
    return factors


@dataclass(frozen=True)
class PriorGradient:
    """Contracts dC/d(log hyperparameter) with a symmetric matrix X of which only the diagonal blocks are needed."""

    basis: Basis
    hyper: Hyperparameters

    def contract(self, x_block: dict[tuple[int, int], FloatArray]) -> dict[str, float]:
        """Sum X * dC/d(log theta) for every theta of the kernel.

        Parameters
        ----------
        x_block : dict
            X restricted to the columns (start, stop) of each pair block and of each degree of each triplet block.
        """
        basis, hyper, layout = self.basis, self.hyper, self.basis.layout
        gradient = dict.fromkeys(
            ("pair_amplitude", "pair_length", "triplet_amplitude", "triplet_length", "angular_length"), 0.0
        )
        n, cutoff, length = basis.n_pair, basis.pair_cutoff, hyper.pair_length
        m2 = spline_covariance(basis, n=n, cutoff=cutoff, length=length)
        dm2 = spline_covariance_derivative(basis, n=n, cutoff=cutoff, length=length)
        for pair in layout.pairs:
            x = x_block[_key(pair.columns)]
            gradient["pair_amplitude"] += 2 * hyper.pair_amplitude**2 * float(np.sum(x * m2))
            gradient["pair_length"] += hyper.pair_amplitude**2 * float(np.sum(x * dm2))
        n, cutoff, length = basis.n_radial, basis.triplet_cutoff, hyper.triplet_length
        m3 = spline_covariance(basis, n=n, cutoff=cutoff, length=length)
        dm3 = spline_covariance_derivative(basis, n=n, cutoff=cutoff, length=length)
        eigenvalues = angular_eigenvalues(basis.l_max, hyper.angular_length)
        step = 1e-4
        slopes = (
            angular_eigenvalues(basis.l_max, hyper.angular_length * np.exp(step))
            - angular_eigenvalues(basis.l_max, hyper.angular_length * np.exp(-step))
        ) / (2 * step)
        amplitude = hyper.triplet_amplitude**2
        for block in layout.triplets:
            indices = block.products(basis.n_radial)
            product, dproduct = _kron(block, indices, m3, m3), 2 * _kron(block, indices, m3, dm3)
            for degree, (eigenvalue, slope) in enumerate(zip(eigenvalues, slopes, strict=True)):
                x = x_block[_key(block.degree(degree))]
                along, turned = amplitude * float(np.sum(x * product)), amplitude * float(np.sum(x * dproduct))
                gradient["triplet_amplitude"] += 2 * eigenvalue * along
                gradient["triplet_length"] += eigenvalue * turned
                gradient["angular_length"] += slope * along
        return gradient


def _key(columns: slice) -> tuple[int, int]:
    return columns.start, columns.stop


def gradient_blocks(basis: Basis) -> list[slice]:
    """Diagonal blocks that `PriorGradient.contract` asks for."""
    layout = basis.layout
    blocks = [b.columns for b in layout.pairs]
    return blocks + [t.degree(degree) for t in layout.triplets for degree in range(basis.l_max + 1)]


def _kron(block: TripletBlock, indices: tuple[NDArray, NDArray], a: FloatArray, b: FloatArray) -> FloatArray:
    """The symmetric part of a (x) b between the products of a block, (n_products, n_products).

    Exact for the sum over both orders of a and b, which is all that a derivative of M (x) M needs: a different
    neighbour species keeps (a (x) b + b (x) a) / 2, equal species symmetrise over n <-> n' as well.
    """
    n, m = indices
    direct = (a[np.ix_(n, n)] * b[np.ix_(m, m)] + b[np.ix_(n, n)] * a[np.ix_(m, m)]) / 2
    if block.a != block.b:
        return np.asarray(direct)
    crossed = (a[np.ix_(n, m)] * b[np.ix_(m, n)] + b[np.ix_(n, m)] * a[np.ix_(m, n)]) / 2
    return np.asarray((direct + crossed) / 2)
