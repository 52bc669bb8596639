"""The settings of the basis: checked, with the start of the spline grids filled in from the elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from trepid import _native
from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A
from trepid.errors import ConfigError
from trepid.potentials.bayesian.terms import Layout
from trepid.potentials.bayesian.terms.base import BasisSettings
from trepid.potentials.bayesian.terms.charges import Charges

GRID_START = 0.6
"""Where the spline grids start, as a fraction of the smallest sum of two covalent radii: closer than any thermal approach,
so that the straight continuation below it meets only the repulsive prior."""
PLAUSIBLE_CONTACT = 0.8
"""Closest distance of two atoms in a configuration that may occur, as a fraction of the sum of covalent radii."""


@dataclass(frozen=True)
class Basis(BasisSettings):
    """The finite basis of a force field: its settings, and the terms they make."""

    @classmethod
    def create(
        cls,
        species: Sequence[str],
        *,
        pair_cutoff: float = PAIR_CUTOFF_A,
        triplet_cutoff: float = TRIPLET_CUTOFF_A,
        n_pair: int = 20,
        n_radial: int = 8,
        l_max: int = 4,
        r_min: float | None = None,
        charges: Mapping[str, float] | None = None,
    ) -> Basis:
        """Check the settings and fill in the start of the grids from the covalent radii.

        `charges`: formal charges of all species, e; None: no charges.

        Raises
        ------
        ConfigError
            An unknown element, no or repeated species, a cutoff or size out of range, or as `Charges.of`.
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
        return cls(
            ordered,
            float(pair_cutoff),
            float(triplet_cutoff),
            int(n_pair),
            int(n_radial),
            int(l_max),
            r_min,
            charges=None if charges is None else Charges.of(charges, ordered, pair_cutoff=float(pair_cutoff)),
        )

    @property
    def cutoff(self) -> float:
        """The longer of both cutoffs, A."""
        return max(self.pair_cutoff, self.triplet_cutoff)

    @cached_property
    def layout(self) -> Layout:
        """The terms of this basis, with the order of all raw coefficients."""
        return Layout(self)

    def plausible_contact(self, a: str, b: str) -> float:
        """Closest distance of elements a and b in a configuration that may occur, A."""
        radii = covalent_radii[[atomic_numbers[a], atomic_numbers[b]]]
        return max(PLAUSIBLE_CONTACT * float(radii.sum()), self.r_min)
