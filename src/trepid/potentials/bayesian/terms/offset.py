"""Energy offsets: one energy per atom of each species, added to the reference energies.

The reference energies are a least-squares fit to the energy labels and belong to the prior mean; the offsets are what the
posterior changes about them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.base import Factor, Term


@dataclass(frozen=True)
class OffsetHyperparameters:
    """Prior of the offsets. It is a setting: the evidence is not maximised over it.

    Attributes
    ----------
    offset_amplitude : float
        eV: prior standard deviation of the energy offset per atom of a species, around the least-squares reference
        energies.
    """

    offset_amplitude: float = 1.0


@dataclass(frozen=True, kw_only=True)
class OffsetTables:
    """Tables of the offsets.

    Attributes
    ----------
    offset : (n_species,) array
        Energy per atom of each species, eV.
    """

    offset: FloatArray


class OffsetTerm(Term[OffsetHyperparameters, OffsetTables]):
    """One raw coefficient per species."""

    @property
    def size(self) -> int:
        """Number of species."""
        return self.settings.n_species

    def prior_factors(self, hyper: OffsetHyperparameters) -> list[Factor]:
        """Independent offsets of one amplitude."""
        return [Factor(self.columns, hyper.offset_amplitude * np.eye(self.size))]

    def tables(self, coefficients: FloatArray, live: FloatArray) -> OffsetTables:
        """The coefficients as they are; the core needs no live offsets, which exert no forces."""
        return OffsetTables(offset=coefficients[self.columns].copy())

    def direction(self, tables: OffsetTables, r: int) -> OffsetTables:
        """No offsets: they cancel between frames of the same atoms."""
        return OffsetTables(offset=np.zeros_like(tables.offset))
