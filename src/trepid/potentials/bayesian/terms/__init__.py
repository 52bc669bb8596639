"""The list of the terms of the Bayesian force field, and the classes composed from all of them.

`terms/base.py` defines a term and describes how to add one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.terms.base import BasisSettings, Factor, Parameter, Term
from trepid.potentials.bayesian.terms.coulomb import CoulombHyperparameters, CoulombTables, CoulombTerm
from trepid.potentials.bayesian.terms.mixed_triplet import MixedTripletTables, MixedTripletTerm
from trepid.potentials.bayesian.terms.offset import OffsetHyperparameters, OffsetTables, OffsetTerm
from trepid.potentials.bayesian.terms.pair import PairHyperparameters, PairTables, PairTerm
from trepid.potentials.bayesian.terms.quadruplet import QuadrupletHyperparameters, QuadrupletTables, QuadrupletTerm
from trepid.potentials.bayesian.terms.triplet import TripletHyperparameters, TripletTables, TripletTerm

TERMS: tuple[type[Term[Any, Any]], ...] = (
    OffsetTerm,
    PairTerm,
    TripletTerm,
    MixedTripletTerm,
    QuadrupletTerm,
    CoulombTerm,
)
"""In the order of the raw coefficients, which native/features.h shares up to the last: the Coulomb feature is `ewald`."""

PARAMETERS: tuple[Parameter, ...] = tuple({p.name: p for term in TERMS for p in term.parameters}.values())
"""Hyperparameters of all terms, each once: full and mixed triplets share theirs."""

TermT = TypeVar("TermT", bound=Term[Any, Any])

LARGE_FORCE = 1.0
"""Force (eV/A) above which labels lose weight. Of 0.2, 0.5, 1 and 4 eV/A it gave the highest evidence on CuI
(GFN1-xTB, crystal frames and on-the-fly frames up to 600 K) and on silicon (SNAP, 300 and 1000 K)."""

START_NOISE = Noise(energy=2e-3, forces=0.02, stress=3e-4, large_force=LARGE_FORCE)
"""Start of the optimisation of the noises."""


# Fields are inherited from the last base to the first: pairs, triplets, offsets, quadruplets, charges.
@dataclass(frozen=True)
class Hyperparameters(
    CoulombHyperparameters,
    QuadrupletHyperparameters,
    OffsetHyperparameters,
    TripletHyperparameters,
    PairHyperparameters,
):
    """Amplitudes and length scales of the prior, and the noise of each label kind.

    Attributes
    ----------
    pair_amplitude, pair_length, triplet_amplitude, triplet_length, angular_length, offset_amplitude : float
        Of the prior: amplitudes in eV, lengths in A, the angular length in radians; documented with their terms.
    quadruplet_amplitude, quadruplet_angular_length : float
        In eV/A and radians.
    coulomb_amplitude : float
        Of the square of the common factor of the charges, dimensionless.
    noise : Noise
        Noise of energy (eV per sqrt atom), forces (eV/A) and stress (eV/A^3) labels; its `large_force` is a setting,
        which is not optimised, because the statistics are weighted with it.

    Raises
    ------
    ConfigError
        A value is not a positive number.
    """

    noise: Noise = START_NOISE

    def __post_init__(self) -> None:
        values = [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "noise"]
        values += [(f"noise.{f.name}", getattr(self.noise, f.name)) for f in fields(self.noise)]
        for name, value in values:
            if not (value > 0 and (np.isfinite(value) or name == "noise.large_force")):
                raise ConfigError(f"hyperparameter {name} must be a positive number, not {value}")

    def with_noise(self, **changes: float) -> Hyperparameters:
        """Return a copy with other noises: energy, forces or stress."""
        return replace(self, noise=replace(self.noise, **changes))

    def with_noise_times(self, factor: float) -> Hyperparameters:
        """Return a copy with all noises times `factor`."""
        n = self.noise
        return self.with_noise(energy=factor * n.energy, forces=factor * n.forces, stress=factor * n.stress)


@dataclass(frozen=True, kw_only=True)
class Tables(OffsetTables, PairTables, TripletTables, MixedTripletTables, QuadrupletTables, CoulombTables):
    """Coefficients as native/model.h lays them out: the tables of all terms, each documented with its term.

    Attributes
    ----------
    zbl : (n_species, n_species, 4) array
        Prefactor (eV A), inverse screening length (1/A), inner and outer radius (A) of the repulsion.
    """

    zbl: FloatArray

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"<Tables: {shapes}>"

    @property
    def rank(self) -> int:
        """Number of live directions."""
        return int(self.pair_live.shape[-1])

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays by their names, which are those of the model file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def native(self) -> dict[str, Any]:
        """Those of the C++ core: all but the charges."""
        charges = {f.name for f in fields(CoulombTables)}
        return {name: array for name, array in self.arrays.items() if name not in charges}


class Layout:
    """The terms for one basis, one after the other: order, prior and tables of all raw coefficients.

    Parameters
    ----------
    settings : BasisSettings

    Attributes
    ----------
    terms : list of Term
        In the order of the raw coefficients.
    size : int
        Number of raw coefficients.
    """

    def __init__(self, settings: BasisSettings) -> None:
        self.terms: list[Term[Any, Any]] = []
        self.size = 0
        for kind in TERMS:
            self.terms.append(kind(settings, self.size))
            self.size += self.terms[-1].size

    def term(self, kind: type[TermT]) -> TermT:
        """The term of one class."""
        return next(term for term in self.terms if isinstance(term, kind))

    def prior_factors(self, hyper: Hyperparameters) -> list[Factor]:
        """The prior factors of all blocks, in the order of the raw coefficients: the prior is block-diagonal."""
        return [factor for term in self.terms for factor in term.prior_factors(hyper)]

    @property
    def parameters(self) -> list[Parameter]:
        """Hyperparameters of the terms that have coefficients."""
        return [parameter for term in self.terms if term.size for parameter in term.parameters]

    def gradient_blocks(self) -> list[slice]:
        """Diagonal blocks of X that `evidence_slopes` needs."""
        return [columns for term in self.terms for columns in term.gradient_blocks()]

    def evidence_slopes(self, hyper: Hyperparameters, blocks: Sequence[FloatArray]) -> dict[str, float]:
        """Sum of X * dC/d(log theta) for every theta of the prior, C the prior covariance, by the name of theta.

        Parameters
        ----------
        hyper : Hyperparameters
        blocks : sequence of arrays
            The symmetric matrix X (raw, raw), restricted to each of `gradient_blocks`.
        """
        slopes: dict[str, float] = {}
        first = 0
        for term in self.terms:
            last = first + len(term.gradient_blocks())
            # Full and mixed triplets share hyperparameters; only one of them has coefficients.
            for parameter, slope in zip(term.parameters, term.evidence_slopes(hyper, blocks[first:last]), strict=True):
                slopes[parameter.name] = slopes.get(parameter.name, 0.0) + slope
            first = last
        return slopes

    def tables(self, coefficients: FloatArray, live: FloatArray, *, zbl: FloatArray) -> Tables:
        """Tables of a coefficient vector (raw,) with live directions (raw, rank) and the repulsion `zbl`."""
        return _joined([term.tables(coefficients, live) for term in self.terms], zbl)

    def direction(self, tables: Tables, r: int) -> Tables:
        """Live direction r as a potential of its own: no offsets, no repulsion, no live directions."""
        return _joined([term.direction(tables, r) for term in self.terms], np.zeros_like(tables.zbl))


def _joined(parts: Sequence[Any], zbl: FloatArray) -> Tables:
    """The tables of all terms (each the dataclass of its term) as one."""
    return Tables(zbl=zbl, **{f.name: getattr(part, f.name) for part in parts for f in fields(part)})
