r"""Triplet energies: a function f_3(r_1, r_2, theta) for every centre species and every two neighbour species.

.. math::

    k_3(t, t') = s_3^2\, k_r(r_1, r_1'; \ell_3)\, k_r(r_2, r_2'; \ell_3)\, k_\theta(\theta, \theta'; \ell_\theta)

symmetrised in the two neighbours when they are of one species. The basis is B_n(r_1) B_n'(r_2) P_l(cos theta). The prior
covariance of the coefficients of one Legendre degree is s_3^2 lambda_l M_3 (x) M_3, symmetrised in n and n' when both
neighbours are of one species (`splines`, `kernels`). The core evaluates the sum through atomic densities
(native/model.h), at a cost that is linear in the number of neighbours. The number of coefficients grows with the cube of the
species: from three species on `mixed_triplet` takes the place of this term, which then has no coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.kernels import angular_eigenvalues
from trepid.potentials.bayesian.splines import eigen_root, spline_covariance, spline_covariance_derivative
from trepid.potentials.bayesian.terms.base import RELATIVE_VARIANCE, BasisSettings, Factor, Parameter, Term


@dataclass(frozen=True)
class TripletHyperparameters:
    """Prior of the triplet energies.

    Attributes
    ----------
    triplet_amplitude : float
        s_3, eV.
    triplet_length : float
        l_3, A.
    angular_length : float
        l_theta, dimensionless (radians for small angles).
    """

    triplet_amplitude: float = 0.3
    triplet_length: float = 1.0
    angular_length: float = 0.7


@dataclass(frozen=True, kw_only=True)
class TripletTables:
    """Tables of the triplet energies.

    Attributes
    ----------
    triplet : (n_species, l_max + 1, n_channels, n_channels) array
        C_l of every centre species, eV; symmetric over channels (species, n), n padded with zeros.
    triplet_live : (n_species, l_max + 1, n_channels, n_channels, rank) float32 array
        The same for the live directions.
    Both are empty with mixed triplets.
    """

    triplet: FloatArray
    triplet_live: NDArray[np.float32]


@dataclass(frozen=True)
class TripletBlock:
    """Raw coefficients of one triplet energy: [l_max + 1][p]; p over (n, n'), with n <= n' when a == b."""

    centre: int
    a: int
    b: int
    start: int
    n_products: int
    n_degrees: int

    @property
    def columns(self) -> slice:
        """Their indices."""
        return slice(self.start, self.start + self.n_products * self.n_degrees)

    def degree(self, degree: int) -> slice:
        """Indices of the coefficients of one Legendre degree."""
        first = self.start + degree * self.n_products
        return slice(first, first + self.n_products)

    def products(self, n_radial: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Radial indices n and n' of every p."""
        if self.a == self.b:
            return np.triu_indices(n_radial)
        n, m = np.divmod(np.arange(n_radial**2), n_radial)
        return n, m


class TripletTerm(Term[TripletHyperparameters, TripletTables]):
    """One block per centre species and pair of neighbour species.

    Attributes
    ----------
    blocks : list of TripletBlock
        In the order of the raw coefficients.
    """

    parameters: ClassVar = (
        Parameter("triplet_amplitude", 1e-3, 1e2, mode=0.5, log_std=1.0),
        Parameter("triplet_length", 0.4, 4.0, mode=1.0, log_std=0.35),
        Parameter("angular_length", 0.2, 3.0, mode=0.7, log_std=0.35),
    )

    def __init__(self, settings: BasisSettings, start: int) -> None:
        super().__init__(settings, start)
        k = settings.n_radial
        self.blocks: list[TripletBlock] = []
        for centre in range(settings.n_species if settings.triplet_channels is None else 0):
            for a, b in combinations_with_replacement(range(settings.n_species), 2):
                n_products = k * (k + 1) // 2 if a == b else k * k
                self.blocks.append(TripletBlock(centre, a, b, start, n_products, settings.l_max + 1))
                start = self.blocks[-1].columns.stop

    @property
    def size(self) -> int:
        """(l_max + 1) n_radial (n_radial + 1) / 2 for a block with equal neighbours, (l_max + 1) n_radial^2 for others."""
        return self.blocks[-1].columns.stop - self.start if self.blocks else 0

    def prior_factors(self, hyper: TripletHyperparameters) -> list[Factor]:
        """One factor of s_3^2 lambda_l M_3 (x) M_3 per block and degree."""
        values, vectors = eigen_root(self._covariance(hyper))
        eigenvalues = angular_eigenvalues(self.settings.l_max, hyper.angular_length)
        largest = values[0] ** 2 * eigenvalues.max()
        products = {
            same: _product_factor(next(t for t in self.blocks if (t.a == t.b) == same), values, vectors)
            for same in {t.a == t.b for t in self.blocks}
        }
        factors = []
        for block in self.blocks:
            columns, variance = products[block.a == block.b]
            for degree, eigenvalue in enumerate(eigenvalues):
                keep = variance * eigenvalue > RELATIVE_VARIANCE * largest
                u = hyper.triplet_amplitude * np.sqrt(eigenvalue) * columns[:, keep]
                factors.append(Factor(block.degree(degree), u))
        return factors

    def gradient_blocks(self) -> list[slice]:
        """The degrees of each block, one after the other."""
        return [block.degree(degree) for block in self.blocks for degree in range(block.n_degrees)]

    def evidence_slopes(self, hyper: TripletHyperparameters, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Slopes in log s_3, log l_3 and log l_theta."""
        s, remaining = self.settings, iter(blocks)
        m = self._covariance(hyper)
        dm = spline_covariance_derivative(
            r_min=s.r_min, cutoff=s.triplet_cutoff, n=s.n_radial, length=hyper.triplet_length
        )
        eigenvalues = angular_eigenvalues(s.l_max, hyper.angular_length)
        step = 1e-4
        slopes = (
            angular_eigenvalues(s.l_max, hyper.angular_length * np.exp(step))
            - angular_eigenvalues(s.l_max, hyper.angular_length * np.exp(-step))
        ) / (2 * step)
        variance = hyper.triplet_amplitude**2
        amplitude = length = angular = 0.0
        for block in self.blocks:
            indices = block.products(s.n_radial)
            product, dproduct = _kron(block, indices, m, m), 2 * _kron(block, indices, m, dm)
            for eigenvalue, slope in zip(eigenvalues, slopes, strict=True):
                x = next(remaining)
                along, turned = variance * float(np.sum(x * product)), variance * float(np.sum(x * dproduct))
                amplitude += 2 * eigenvalue * along
                length += eigenvalue * turned
                angular += slope * along
        return amplitude, length, angular

    def tables(self, coefficients: FloatArray, live: FloatArray) -> TripletTables:
        """Full symmetric matrices over channels."""
        if not self.blocks:
            return TripletTables(triplet=np.zeros(0), triplet_live=np.zeros((0, live.shape[1]), np.float32))
        return TripletTables(triplet=self._expand(coefficients), triplet_live=self._expand(live).astype(np.float32))

    def direction(self, tables: TripletTables, r: int) -> TripletTables:
        """Direction r in double precision."""
        return TripletTables(
            triplet=np.ascontiguousarray(tables.triplet_live[..., r], dtype=np.float64),
            triplet_live=np.ascontiguousarray(tables.triplet_live[..., :0]),
        )

    def _covariance(self, hyper: TripletHyperparameters) -> FloatArray:
        s = self.settings
        return spline_covariance(r_min=s.r_min, cutoff=s.triplet_cutoff, n=s.n_radial, length=hyper.triplet_length)

    def _expand(self, coefficients: FloatArray) -> FloatArray:
        """Raw coefficients (raw, ...) as full tables; trailing axes are carried along."""
        s, extra = self.settings, coefficients.shape[1:]
        padded = s.padded_radial
        table = np.zeros((s.n_species, s.l_max + 1, s.n_species * padded, s.n_species * padded, *extra))
        for t in self.blocks:
            n, m = t.products(s.n_radial)
            values = coefficients[t.columns].reshape(t.n_degrees, t.n_products, *extra)
            table[t.centre][:, t.a * padded + n, t.b * padded + m] = values
            table[t.centre][:, t.b * padded + m, t.a * padded + n] = values
        return table


def _product_factor(block: TripletBlock, values: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Columns of U for M (x) M (symmetrised when a == b) and their variances; (n_products, columns), (columns,)."""
    n, m = block.products(len(vectors))
    i, j = np.triu_indices(len(values)) if block.a == block.b else np.indices((len(values),) * 2).reshape(2, -1)
    columns = vectors[n][:, i] * vectors[m][:, j]
    if block.a == block.b:
        columns = np.where(i == j, columns, (columns + vectors[n][:, j] * vectors[m][:, i]) / np.sqrt(2))
    variance = values[i] * values[j]
    return columns * np.sqrt(variance), variance


def _kron(
    block: TripletBlock, indices: tuple[NDArray[np.intp], NDArray[np.intp]], a: FloatArray, b: FloatArray
) -> FloatArray:
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
