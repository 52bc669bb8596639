"""The contract of a term of the force field, and what terms are made from.

The energy of the Bayesian force field is a sum of terms, each linear in coefficients of its own: energy offsets, pairs,
triplets. Everything that belongs to one term alone is in one file of this folder; the rest of the package (posterior,
evidence, live directions, model file) uses only the interface `Term` and iterates over the terms of the list `TERMS`
(terms/__init__.py).

Vocabulary
----------
raw coefficient   one number that multiplies one feature
feature           the derivative of a label with respect to a raw coefficient
block             raw coefficients of one function, such as the pair energy of two species
prior factor      U with prior covariance C = U U^T of the coefficients it covers
table             coefficients in the order in which the C++ core reads them
live direction    one column of a low-rank root of the posterior covariance: coefficients like any others

How to add a term
-----------------
1. A file in this folder with a subclass of `Term`, the dataclass of its hyperparameters and the dataclass of its tables.
2. Three names in `terms/__init__.py`: the term in `TERMS`, the two dataclasses among the bases of `Hyperparameters` and
   `Tables`.
3. In C++: its feature rows (native/features.h, in the order of its blocks here), its tables (native/model.h), their
   evaluation (native/kernel.h, native/kernel_live.h), the arguments of both classes (native/module.cpp, _native.pyi), and
   the reading of the model file (native/model_file.h, native/lammps/pair_trepid.cpp).
4. Sizes or cutoffs of its own are fields of `BasisSettings`, checked in `Basis.create`, offered by `BayesianForceField` and
   written and read by `model_file`. They reach the C++ core by their names.

State that a term fixes at the first fit and keeps from then on, such as channels chosen from the training frames, belongs
into `BasisSettings` too, and so into the model file: the statistics are sums over feature rows, so that changed features
need another basis and new statistics. The channels of mixed triplets and of quadruplets are such state:
`BayesianForceField.fit` replaces the basis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from trepid import _native
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.channels import Channels, RadialChannels
from trepid.potentials.bayesian.terms.charges import Charges

RELATIVE_VARIANCE = 1e-13
"""Prior directions with less than this share of the largest variance of their block are dropped. With 1e-10 the evidence
jumps by a few thousandths of a nat where one of them comes or goes, and a search can get stuck there."""

HyperparametersT = TypeVar("HyperparametersT")
TablesT = TypeVar("TablesT")


@dataclass(frozen=True)
class BasisSettings:
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
    channels : Channels or None
        Of the quadruplets; None: no quadruplets.
    triplet_channels : RadialChannels or None
        Of mixed triplets; None: full triplets.
    charges : Charges or None
        Of the Coulomb energy; None: no charges.
    """

    species: tuple[str, ...]
    pair_cutoff: float
    triplet_cutoff: float
    n_pair: int
    n_radial: int
    l_max: int
    r_min: float
    channels: Channels | None = None
    triplet_channels: RadialChannels | None = None
    charges: Charges | None = None

    @property
    def n_species(self) -> int:
        """Number of species."""
        return len(self.species)

    @property
    def padded_radial(self) -> int:
        """Channels of one species in the tables of the C++ core: n_radial, filled up to whole vectors."""
        return -(-self.n_radial // _native.channel_block) * _native.channel_block

    @property
    def native(self) -> dict[str, Any]:
        """The settings as keyword arguments of the classes of the C++ core."""
        others = ("species", "channels", "triplet_channels", "charges")
        numbers = {f.name: getattr(self, f.name) for f in fields(BasisSettings) if f.name not in others}
        return {"n_species": self.n_species, **numbers}

    @property
    def native_channels(self) -> dict[str, Any]:
        """The channels as keyword arguments of the feature rows."""
        c, t = self.channels, self.triplet_channels
        return {
            "n_triplet_channels": 0 if t is None else t.n,
            "triplet_channel_radial": np.zeros(0) if t is None else np.array(t.radial),
            "n_channels": 0 if c is None else c.n,
            "channel_radial": np.zeros(0) if c is None else np.array(c.radial),
            "channel_centre": np.zeros(0) if c is None else np.array(c.centre),
        }


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter that is found by maximum evidence times its prior, in its logarithm.

    Attributes
    ----------
    name : str
        The field of `Hyperparameters`.
    low, high : float
        Range in which it is searched, in its unit.
    mode : float or None
        Centre of a normal prior of the logarithm, in the unit of the hyperparameter; None: flat within the range.
    log_std : float
        Standard deviation of that prior, in the logarithm.
    """

    name: str
    low: float
    high: float
    mode: float | None = None
    log_std: float = 1.0

    def log_prior(self, value: float) -> float:
        """Logarithm of the prior density of log(value), up to a constant."""
        return 0.0 if self.mode is None else -0.5 * (math.log(value / self.mode) / self.log_std) ** 2

    def log_prior_slope(self, value: float) -> float:
        """Derivative of `log_prior` with respect to log(value)."""
        return 0.0 if self.mode is None else -math.log(value / self.mode) / self.log_std**2


@dataclass(frozen=True)
class Factor:
    """Prior factor U (raw, whitened) of the raw coefficients `columns`; covariance U U^T.

    `is_diagonal` says that U is a diagonal matrix, so that products with it are cheap.
    """

    columns: slice
    u: FloatArray
    is_diagonal: bool = False

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal of U."""
        return np.diagonal(self.u)


class Term(ABC, Generic[HyperparametersT, TablesT]):
    """One term of the energy, for one basis.

    All slices count from the first raw coefficient of the whole force field. Methods get the hyperparameters and tables of
    the whole force field, of which a term reads its own fields.

    Attributes
    ----------
    parameters : tuple of Parameter
        Hyperparameters found by maximum evidence.

    Parameters
    ----------
    settings : BasisSettings
    start : int
        Number of raw coefficients before the first of this term.
    """

    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def __init__(self, settings: BasisSettings, start: int) -> None:
        self.settings, self.start = settings, start

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of raw coefficients."""

    @property
    def columns(self) -> slice:
        """Indices of the raw coefficients."""
        return slice(self.start, self.start + self.size)

    @abstractmethod
    def prior_factors(self, hyper: HyperparametersT) -> list[Factor]:
        """Prior factors of all blocks, in the order of the raw coefficients, which they cover without gap."""

    def gradient_blocks(self) -> list[slice]:
        """Diagonal blocks of X (raw, raw) that `evidence_slopes` needs."""
        return []

    def evidence_slopes(self, hyper: HyperparametersT, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Sum of X * dC/d(log theta) for every theta of `parameters`, C the prior covariance.

        Parameters
        ----------
        hyper : Hyperparameters
        blocks : sequence of arrays
            The symmetric matrix X, restricted to each of `gradient_blocks`.
        """
        return ()

    @abstractmethod
    def tables(self, coefficients: FloatArray, live: FloatArray) -> TablesT:
        """Tables of a coefficient vector (raw,) of the whole force field with live directions (raw, rank)."""

    @abstractmethod
    def direction(self, tables: TablesT, r: int) -> TablesT:
        """Tables of live direction r as a potential of its own, which has no live directions."""
