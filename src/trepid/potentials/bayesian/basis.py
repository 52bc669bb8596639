"""The finite basis of the Bayesian force field: cubic B-splines in distance, Legendre polynomials in angle.

Vocabulary
----------
raw coefficient   one number that multiplies one feature; the order is fixed by `Layout`
feature           the derivative of a label with respect to a raw coefficient
spline grid       `n` cells between r_min and the cutoff; the n-th spline is centred at r_min + h (n - 1), the three
                  splines that would reach beyond the cutoff are left out, so value, slope and curvature vanish there

The same definitions stand in native/model.h and native/features.h, which evaluate them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import ArrayLike

from trepid import _native
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray

# Where the spline grids start, as a fraction of the smallest sum of two covalent radii: closer than any thermal
# approach, so that the straight continuation below it meets only the repulsive prior.
GRID_START = 0.6
# Closest distance of two atoms that is still worth asking the model about, as a fraction of the sum of covalent radii.
PLAUSIBLE_CONTACT = 0.8


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


@dataclass(frozen=True)
class Basis:
    """Species, cutoffs and sizes of the basis.

    Attributes
    ----------
    species : tuple of str
        Chemical symbols, sorted by atomic number.
    pair_cutoff, triplet_cutoff : float
        A.
    n_pair, n_radial : int
        Splines of a pair energy; radial splines of a three-body density.
    l_max : int
        Highest Legendre degree, 0 to 8.
    r_min : float
        Start of the spline grids, A.
    """

    species: tuple[str, ...]
    pair_cutoff: float
    triplet_cutoff: float
    n_pair: int
    n_radial: int
    l_max: int
    r_min: float

    @classmethod
    def create(
        cls,
        species: Sequence[str],
        *,
        pair_cutoff: float = 6.0,
        triplet_cutoff: float = 5.0,
        n_pair: int = 20,
        n_radial: int = 8,
        l_max: int = 4,
        r_min: float | None = None,
    ) -> Basis:
        """Check the settings and fill in the start of the grids from the covalent radii.

        Raises
        ------
        ConfigError
            An unknown element, no or repeated species, a cutoff or size out of range.
        """
        if not species:
            raise ConfigError("species is empty: name at least one element, for example ['Cu', 'I']")
        for symbol in species:
            if symbol not in atomic_numbers or symbol == "X":
                raise ConfigError(f"species: {symbol!r} is not a chemical element")
        if len(set(species)) != len(species):
            raise ConfigError(f"species: {list(species)} names an element twice")
        ordered = tuple(sorted(species, key=lambda s: atomic_numbers[s]))
        if r_min is None:
            r_min = round(GRID_START * 2 * min(float(covalent_radii[atomic_numbers[s]]) for s in ordered), 2)
        if not (np.isfinite(r_min) and r_min > 0):
            raise ConfigError(f"r_min is {r_min} A; it must be positive")
        for name, cutoff in (("pair_cutoff", pair_cutoff), ("triplet_cutoff", triplet_cutoff)):
            if not (np.isfinite(cutoff) and r_min + 0.5 <= cutoff <= 20):
                raise ConfigError(f"{name} is {cutoff} A; it must lie between {r_min + 0.5:.2f} and 20 A")
        for name, value, low, high in (
            ("n_pair", n_pair, 4, 200),
            ("n_radial", n_radial, 4, 64),
            ("l_max", l_max, 0, _native.max_degree),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must lie between {low} and {high}")
        return cls(ordered, float(pair_cutoff), float(triplet_cutoff), int(n_pair), int(n_radial), int(l_max), r_min)

    @property
    def cutoff(self) -> float:
        """The longer of both cutoffs, A."""
        return max(self.pair_cutoff, self.triplet_cutoff)

    @cached_property
    def layout(self) -> Layout:
        """Where each raw coefficient stands."""
        return Layout(self)

    def plausible_contact(self, a: str, b: str) -> float:
        """Closest distance of elements a and b that is worth asking about, A."""
        radii = covalent_radii[[atomic_numbers[a], atomic_numbers[b]]]
        return max(PLAUSIBLE_CONTACT * float(radii.sum()), self.r_min)


@dataclass(frozen=True)
class PairBlock:
    """Raw coefficients of one pair energy: splines [n_pair] from `start` on."""

    a: int
    b: int
    start: int
    size: int

    @property
    def columns(self) -> slice:
        """Where they stand."""
        return slice(self.start, self.start + self.size)


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
        """Where they stand."""
        return slice(self.start, self.start + self.n_products * self.n_degrees)

    def degree(self, degree: int) -> slice:
        """Where the coefficients of one Legendre degree stand."""
        first = self.start + degree * self.n_products
        return slice(first, first + self.n_products)

    def products(self, n_radial: int) -> tuple[np.ndarray, np.ndarray]:
        """Radial indices n and n' of every p."""
        if self.a == self.b:
            return np.triu_indices(n_radial)
        n, m = np.divmod(np.arange(n_radial**2), n_radial)
        return n, m


class Layout:
    """Order of the raw coefficients: offsets per species, pair blocks, triplet blocks."""

    def __init__(self, basis: Basis) -> None:
        n_species, k = len(basis.species), basis.n_radial
        self.n_offsets = n_species
        self.pairs: list[PairBlock] = []
        self.triplets: list[TripletBlock] = []
        start = n_species
        for a, b in combinations_with_replacement(range(n_species), 2):
            self.pairs.append(PairBlock(a, b, start, basis.n_pair))
            start += basis.n_pair
        for centre in range(n_species):
            for a, b in combinations_with_replacement(range(n_species), 2):
                block = TripletBlock(centre, a, b, start, k * (k + 1) // 2 if a == b else k * k, basis.l_max + 1)
                self.triplets.append(block)
                start = block.columns.stop
        self.size = start
