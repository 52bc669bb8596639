r"""Quadruplet energies: three neighbours of a centre, through rotational invariants of three channel densities.

.. math::

    q_i = \sum_{f} c_f\, [B_f(i) - B_f^0], \qquad
    B_f = \sum_{m_1 m_2 m_3} W^{l_1 l_2 l_3}_{m_1 m_2 m_3}\, a_{k_1 l_1 m_1} a_{k_2 l_2 m_2} a_{k_3 l_3 m_3}

with one f for every unordered set of three factors (l, k), the densities a of `Channels`, the couplings W of `couplings`, and
B^0 the value of a single atom. The prior variance of c_f is

.. math::

    (s_4 u)^2\, \mu_f\, \lambda_{l_1} \lambda_{l_2} \lambda_{l_3} / \lambda_0^3,

mu_f the number of distinct orders of the factors: the Gaussian process with the kernel s_4^2 k_r k_r k_r times the angular
kernels of three neighbours, averaged over rotations; the next order after triplets. u makes s_4 a force (`Channels.scale`).
Without channels the term has no coefficients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trepid import _native
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.couplings import degree_triples
from trepid.potentials.bayesian.kernels import angular_eigenvalues
from trepid.potentials.bayesian.terms.base import BasisSettings, Factor, Parameter, Term


@dataclass(frozen=True)
class QuadrupletHyperparameters:
    """Prior of the quadruplet energies.

    Attributes
    ----------
    quadruplet_amplitude : float
        s_4, eV/A: root mean square force of the prior on training atoms, up to the share of the degrees.
    quadruplet_angular_length : float
        Angular length of the factors lambda_l, dimensionless.
    """

    quadruplet_amplitude: float = 0.1
    quadruplet_angular_length: float = 0.8


@dataclass(frozen=True, kw_only=True)
class QuadrupletTables:
    """Tables of the quadruplets; empty without them.

    Attributes
    ----------
    channel_radial : (channels, n_species * padded_radial) array
        V, padded with zeros; channels padded to the number the core is compiled for.
    channel_centre : (n_species, channels) array
    quadruplet : (n_species, degree triples, channels, channels, channels) array
        Coefficients of the ordered products, eV.
    quadruplet_live : the same and (rank,), float32
        Of the live directions.
    """

    channel_radial: FloatArray
    channel_centre: FloatArray
    quadruplet: FloatArray
    quadruplet_live: NDArray[np.float32]

    @classmethod
    def empty(cls, *, rank: int) -> QuadrupletTables:
        """Without quadruplets."""
        nothing = np.zeros(0)
        return cls(
            channel_radial=nothing,
            channel_centre=nothing,
            quadruplet=nothing,
            quadruplet_live=np.zeros((0, rank), np.float32),
        )


@dataclass(frozen=True)
class Product:
    """One invariant of a centre species: its degree triple, channels, and distinct orders of its factors (l, k)."""

    triple: int
    channels: tuple[int, int, int]
    orders: int
    places: tuple[tuple[int, int, int], ...]
    """Channels of the table entries that hold it: its distinct orders among equal degrees."""


class QuadrupletTerm(Term[QuadrupletHyperparameters, QuadrupletTables]):
    """One block of coefficients per centre species.

    Attributes
    ----------
    products : list of Product
        In the order of the raw coefficients of one species.
    """

    parameters: ClassVar = (
        Parameter("quadruplet_amplitude", 1e-4, 1e2, mode=0.1, log_std=1.0),
        Parameter("quadruplet_angular_length", 0.2, 3.0, mode=0.8, log_std=0.35),
    )

    def __init__(self, settings: BasisSettings, start: int) -> None:
        super().__init__(settings, start)
        self.triples = degree_triples(settings.l_max)
        self.products = _products(settings.l_max, 0 if settings.channels is None else settings.channels.n)

    @property
    def size(self) -> int:
        """Number of species times 200 with three channels and degrees up to 4."""
        return self.settings.n_species * len(self.products)

    def prior_factors(self, hyper: QuadrupletHyperparameters) -> list[Factor]:
        """Independent coefficients: one diagonal factor for every species."""
        deviation = np.sqrt(self._variance(hyper.quadruplet_amplitude, hyper.quadruplet_angular_length))
        return [Factor(columns, np.diag(deviation), is_diagonal=True) for columns in self._of_species()]

    def gradient_blocks(self) -> list[slice]:
        """One per species."""
        return self._of_species()

    def evidence_slopes(self, hyper: QuadrupletHyperparameters, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Slopes in log s_4 and log of the angular length."""
        amplitude, length, step = hyper.quadruplet_amplitude, hyper.quadruplet_angular_length, 1e-4
        x = sum((np.diagonal(block) for block in blocks), np.zeros(len(self.products)))
        longer, shorter = (self._variance(amplitude, length * np.exp(sign * step)) for sign in (1, -1))
        return 2 * float(x @ self._variance(amplitude, length)), float(x @ (longer - shorter)) / (2 * step)

    def tables(self, coefficients: FloatArray, live: FloatArray) -> QuadrupletTables:
        """Dense tables over ordered channels."""
        s = self.settings
        if s.channels is None:
            return QuadrupletTables.empty(rank=live.shape[1])
        most = _native.quadruplet_channels
        centre = np.zeros((s.n_species, most))
        centre[:, : s.channels.n] = s.channels.centre_array
        return QuadrupletTables(
            channel_radial=s.channels.padded(s.padded_radial, rows=most),
            channel_centre=centre,
            quadruplet=self._expand(coefficients),
            quadruplet_live=self._expand(live).astype(np.float32),
        )

    def direction(self, tables: QuadrupletTables, r: int) -> QuadrupletTables:
        """Direction r in double precision."""
        return QuadrupletTables(
            channel_radial=tables.channel_radial,
            channel_centre=tables.channel_centre,
            quadruplet=np.ascontiguousarray(tables.quadruplet_live[..., r], dtype=np.float64),
            quadruplet_live=np.ascontiguousarray(tables.quadruplet_live[..., :0]),
        )

    def _of_species(self) -> list[slice]:
        n = len(self.products)
        first = (self.start + s * n for s in range(self.settings.n_species if n else 0))
        return [slice(start, start + n) for start in first]

    def _variance(self, amplitude: float, length: float) -> FloatArray:
        """Prior variance of the coefficients of one species."""
        channels = self.settings.channels
        if channels is None:
            return np.zeros(0)
        eigenvalues = angular_eigenvalues(self.settings.l_max, length)
        share = eigenvalues / eigenvalues[0]
        weights = [
            p.orders * np.prod([share[degree] for degree in self.triples[p.triple].degrees]) for p in self.products
        ]
        return (amplitude * channels.scale) ** 2 * np.array(weights)

    def _expand(self, coefficients: FloatArray) -> FloatArray:
        """Raw coefficients (raw, ...) as tables; trailing axes are carried along."""
        most, extra = _native.quadruplet_channels, coefficients.shape[1:]
        table = np.zeros((self.settings.n_species, len(self.triples), most, most, most, *extra))
        for species, columns in enumerate(self._of_species()):
            for product, value in zip(self.products, coefficients[columns], strict=True):
                for place in product.places:
                    table[(species, product.triple, *place)] = value / len(product.places)
        return table


def n_products(l_max: int, n_channels: int) -> int:
    """Number of invariants of one centre species."""
    return len(_products(l_max, n_channels))


def _products(l_max: int, n: int) -> list[Product]:
    return [
        _product(t, triple.degrees, (k1, k2, k3))
        for t, triple in enumerate(degree_triples(l_max))
        for k1 in range(n)
        for k2 in range(k1 if triple.degrees[0] == triple.degrees[1] else 0, n)
        for k3 in range(k2 if triple.degrees[1] == triple.degrees[2] else 0, n)
    ]


def _product(triple: int, degrees: tuple[int, int, int], channels: tuple[int, int, int]) -> Product:
    factors = list(zip(degrees, channels, strict=True))
    orders = factorial(3)
    for repeats in Counter(factors).values():
        orders //= factorial(repeats)
    places = {
        tuple(k for _, k in order) for order in permutations(factors) if tuple(degree for degree, _ in order) == degrees
    }
    return Product(triple, channels, orders, tuple(sorted(places)))  # type: ignore[arg-type]
