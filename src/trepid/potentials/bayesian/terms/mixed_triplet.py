r"""Mixed triplets: triplet energies from channels that mix the species, in place of those of `triplet`.

.. math::

    e_i = \sum_l \sum_{k \le k'} c_{l,kk'} \sum_m a_{k,lm}(i)\, a_{k',lm}(i), \qquad
    a_{k,lm} = \sqrt{w_{lm}} \sum_{sn} V_{k,sn} A_{lm,sn},

one set of coefficients per species of the centre, with the channels V of `RadialChannels`, A and w of native/model.h. The prior
variance of a coefficient is

.. math::

    s_3^2\, \lambda_l\, \mu_{kk'}, \qquad \mu_{kk} = 1, \; \mu_{k \ne k'} = 2 .

V_k V_k^T summed over all K = n_species n_radial channels is the prior M_3 (x) 1 of the radial functions, so that with one species
and all channels this is the Gaussian process of `triplet` at the length scale of the channels; fewer channels keep its largest
part (Willatt, Musil and Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), on the same compression of species in
kernels). The number of coefficients, (l_max + 1) K (K + 1) / 2 per species, does not grow with the cube of the species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.kernels import angular_eigenvalues
from trepid.potentials.bayesian.terms.base import BasisSettings, Factor, Term
from trepid.potentials.bayesian.terms.triplet import TripletHyperparameters, TripletTerm


@dataclass(frozen=True, kw_only=True)
class MixedTripletTables:
    """Tables of the mixed triplets; empty without them.

    Attributes
    ----------
    triplet_channel_radial : (channels, n_species * padded_radial) array
        V, padded with zeros.
    mixed_triplet : (n_species, l_max + 1, channels, channels) array
        Symmetric matrices D_l of every centre species, eV.
    mixed_triplet_live : the same and (rank,), float32
        Of the live directions.
    """

    triplet_channel_radial: FloatArray
    mixed_triplet: FloatArray
    mixed_triplet_live: NDArray[np.float32]


class MixedTripletTerm(Term[TripletHyperparameters, MixedTripletTables]):
    """One block of coefficients per centre species and degree: [species][l][k <= k'].

    The hyperparameters are those of `TripletTerm`, but for the length scale, which the channels have fixed.
    """

    parameters: ClassVar = tuple(p for p in TripletTerm.parameters if p.name != "triplet_length")

    def __init__(self, settings: BasisSettings, start: int) -> None:
        super().__init__(settings, start)
        n = 0 if settings.triplet_channels is None else settings.triplet_channels.n
        self._first, self._second = np.triu_indices(n)

    @property
    def size(self) -> int:
        """Number of species times (l_max + 1) K (K + 1) / 2."""
        return self.settings.n_species * (self.settings.l_max + 1) * len(self._first)

    def prior_factors(self, hyper: TripletHyperparameters) -> list[Factor]:
        """Independent coefficients: a diagonal factor for every species and degree."""
        return [
            Factor(columns, np.diag(np.sqrt(self._variance(eigenvalue, hyper))), is_diagonal=True)
            for columns, eigenvalue in self._blocks(hyper.angular_length)
        ]

    def gradient_blocks(self) -> list[slice]:
        """The degrees of every species."""
        return [columns for columns, _ in self._blocks(1.0)]

    def evidence_slopes(self, hyper: TripletHyperparameters, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Slopes in log s_3 and log l_theta."""
        step = 1e-4
        longer, shorter = (
            angular_eigenvalues(self.settings.l_max, hyper.angular_length * np.exp(sign * step)) for sign in (1, -1)
        )
        slopes = (longer - shorter) / (2 * step)
        amplitude = angular = 0.0
        for k, ((_, eigenvalue), block) in enumerate(zip(self._blocks(hyper.angular_length), blocks, strict=True)):
            along = float(np.diagonal(block) @ self._variance(1.0, hyper))
            amplitude += 2 * eigenvalue * along
            angular += slopes[k % (self.settings.l_max + 1)] * along
        return amplitude, angular

    def tables(self, coefficients: FloatArray, live: FloatArray) -> MixedTripletTables:
        """Symmetric matrices over channels."""
        s = self.settings
        if s.triplet_channels is None:
            return MixedTripletTables(
                triplet_channel_radial=np.zeros(0),
                mixed_triplet=np.zeros(0),
                mixed_triplet_live=np.zeros((0, live.shape[1]), np.float32),
            )
        return MixedTripletTables(
            triplet_channel_radial=s.triplet_channels.padded(s.padded_radial, rows=s.triplet_channels.n),
            mixed_triplet=self._expand(coefficients),
            mixed_triplet_live=self._expand(live).astype(np.float32),
        )

    def direction(self, tables: MixedTripletTables, r: int) -> MixedTripletTables:
        """Direction r in double precision."""
        return MixedTripletTables(
            triplet_channel_radial=tables.triplet_channel_radial,
            mixed_triplet=np.ascontiguousarray(tables.mixed_triplet_live[..., r], dtype=np.float64),
            mixed_triplet_live=np.ascontiguousarray(tables.mixed_triplet_live[..., :0]),
        )

    def _blocks(self, angular_length: float) -> list[tuple[slice, float]]:
        """Columns of every species and degree, with the eigenvalue lambda_l."""
        if not len(self._first):
            return []
        eigenvalues = angular_eigenvalues(self.settings.l_max, angular_length)
        starts = range(self.start, self.start + self.size, len(self._first))
        return [
            (slice(first, first + len(self._first)), float(eigenvalues[k % len(eigenvalues)]))
            for k, first in enumerate(starts)
        ]

    def _variance(self, eigenvalue: float, hyper: TripletHyperparameters) -> FloatArray:
        """Prior variance of the coefficients of one degree."""
        return hyper.triplet_amplitude**2 * eigenvalue * np.where(self._first == self._second, 1.0, 2.0)

    def _expand(self, coefficients: FloatArray) -> FloatArray:
        """Raw coefficients (raw, ...) as symmetric matrices; trailing axes are carried along."""
        s, extra = self.settings, coefficients.shape[1:]
        assert s.triplet_channels is not None
        n = s.triplet_channels.n
        table = np.zeros((s.n_species, s.l_max + 1, n, n, *extra))
        values = coefficients[self.columns].reshape(s.n_species, s.l_max + 1, len(self._first), *extra)
        table[:, :, self._first, self._second] += values / 2
        table[:, :, self._second, self._first] += values / 2
        return table
