r"""Pair energies: one function f_2 of the distance for every two species, in cubic B-splines.

.. math::

    k_2(r, r') = s_2^2\, k_r(r, r'; \ell_2)

The prior covariance of the spline coefficients of one pair energy is s_2^2 M_2 (`splines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.splines import eigen_root, spline_covariance, spline_covariance_derivative
from trepid.potentials.bayesian.terms.base import RELATIVE_VARIANCE, BasisSettings, Factor, Parameter, Term


@dataclass(frozen=True)
class PairHyperparameters:
    """Prior of the pair energies.

    Attributes
    ----------
    pair_amplitude : float
        s_2, eV: standard deviation of a pair energy well inside the cutoff.
    pair_length : float
        l_2, A.
    """

    pair_amplitude: float = 3.0
    pair_length: float = 0.7


@dataclass(frozen=True, kw_only=True)
class PairTables:
    """Tables of the pair energies.

    Attributes
    ----------
    pair : (n_species, n_species, n_pair + 3) array
        Spline coefficients, eV; the last three are zero.
    pair_live : (n_species, n_species, n_pair + 3, rank) float32 array
        The same for the live directions.
    """

    pair: FloatArray
    pair_live: NDArray[np.float32]


@dataclass(frozen=True)
class PairBlock:
    """Raw coefficients of the pair energy of species a <= b: splines [n_pair] from `start` on."""

    a: int
    b: int
    start: int
    size: int

    @property
    def columns(self) -> slice:
        """Their indices."""
        return slice(self.start, self.start + self.size)


class PairTerm(Term[PairHyperparameters, PairTables]):
    """One block per pair of species.

    Attributes
    ----------
    blocks : list of PairBlock
        In the order of the raw coefficients.
    """

    parameters: ClassVar = (
        Parameter("pair_amplitude", 1e-2, 1e3, mode=1.0, log_std=1.0),
        Parameter("pair_length", 0.25, 4.0, mode=1.0, log_std=0.2),
    )

    def __init__(self, settings: BasisSettings, start: int) -> None:
        super().__init__(settings, start)
        n = settings.n_pair
        pairs = combinations_with_replacement(range(settings.n_species), 2)
        self.blocks = [PairBlock(a, b, start + k * n, n) for k, (a, b) in enumerate(pairs)]

    @property
    def size(self) -> int:
        """n_pair for each pair of species."""
        return len(self.blocks) * self.settings.n_pair

    def prior_factors(self, hyper: PairHyperparameters) -> list[Factor]:
        """The same factor of s_2^2 M_2 for every pair energy."""
        values, vectors = eigen_root(self._covariance(hyper))
        keep = values > RELATIVE_VARIANCE * values[0]
        u = hyper.pair_amplitude * vectors[:, keep] * np.sqrt(values[keep])
        return [Factor(block.columns, u) for block in self.blocks]

    def gradient_blocks(self) -> list[slice]:
        """The block of each pair energy."""
        return [block.columns for block in self.blocks]

    def evidence_slopes(self, hyper: PairHyperparameters, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Slopes in log s_2 and log l_2."""
        s, amplitude, length = self.settings, 0.0, 0.0
        m = self._covariance(hyper)
        dm = spline_covariance_derivative(r_min=s.r_min, cutoff=s.pair_cutoff, n=s.n_pair, length=hyper.pair_length)
        for x in blocks:
            amplitude += 2 * hyper.pair_amplitude**2 * float(np.sum(x * m))
            length += hyper.pair_amplitude**2 * float(np.sum(x * dm))
        return amplitude, length

    def tables(self, coefficients: FloatArray, live: FloatArray) -> PairTables:
        """Splines of every ordered pair of species."""
        return PairTables(pair=self._expand(coefficients), pair_live=self._expand(live).astype(np.float32))

    def direction(self, tables: PairTables, r: int) -> PairTables:
        """Direction r in double precision."""
        return PairTables(
            pair=np.ascontiguousarray(tables.pair_live[..., r], dtype=np.float64),
            pair_live=np.ascontiguousarray(tables.pair_live[..., :0]),
        )

    def _covariance(self, hyper: PairHyperparameters) -> FloatArray:
        s = self.settings
        return spline_covariance(r_min=s.r_min, cutoff=s.pair_cutoff, n=s.n_pair, length=hyper.pair_length)

    def _expand(self, coefficients: FloatArray) -> FloatArray:
        """Raw coefficients (raw, ...) as full tables; trailing axes are carried along."""
        n_species, n_pair = self.settings.n_species, self.settings.n_pair
        table = np.zeros((n_species, n_species, n_pair + 3, *coefficients.shape[1:]))
        for block in self.blocks:
            table[block.a, block.b, :n_pair] = table[block.b, block.a, :n_pair] = coefficients[block.columns]
        return table
