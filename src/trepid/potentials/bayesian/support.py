r"""Support of the training data: whether the neighbourhood of an atom is like those of the training atoms.

The error bar of a Gaussian process says how well its form is determined, not whether the truth follows that form where no
training neighbourhood has been. Beside it stands therefore a distance that does not depend on the labels. The neighbourhood of
an atom is described by the norms of its densities (`native/support.h`),

.. math::

    p_{la} = \Big[\sum_m w_{lm} A_{lm,a}^2\Big]^{1/2},

one for every degree l and radial channel a, which MD computes anyway: l = 0 counts distances per species, l > 0 holds angles.
Of every species of centre the training atoms give mean and covariance of p. The raw distance of an atom is the Mahalanobis
distance per component, with the covariance widened by `WIDENING` of its diagonal and `SMALLEST` squared. The own distance of an
atom is its raw distance divided by the threshold of its species. A force is a sum of derivatives of the energies of the atoms
around, too; so the support distance is the larger of the own distance and the mean of the own distances around, divided by a
threshold of its own:

.. math::

    D_i = \max\Big( d_i, \; \frac{1}{t} \sum_j w_{ij} d_j \Big/ \sum_j w_{ij} \Big), \qquad w_{ij} = (1 - r_{ij} / R)^2

with the triplet cutoff R. **Above 1 an atom is outside.** A threshold is `MARGIN` times the `QUANTILE` of the training atoms, each
measured without its frame; at most `CAP` times their median, so that a few odd frames, which learning picks, do not make
everything else look inside.

All of it follows from sums over atoms and the distances of left-out atoms: `update` adds to them. The numbers below were
chosen on four truths of `benchmarks/strata.py` (group choose).

Vocabulary
----------
powers          p of one atom, (n_powers,), in the order (degree, species, radial function)
raw distance    Mahalanobis distance per component, before the threshold
own distance    d_i: raw distance over the threshold of the species
around          weighted mean of the own distances of the neighbours
left out        measured by the statistics without the frame of the atom, or before it was added
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.base import BasisSettings

WIDENING = 1e-2
"""Share of every variance that is added to it: few atoms do not determine a covariance of many components."""
SMALLEST = 1e-3
"""Standard deviation added to every component, in atoms: a component that never varied."""
QUANTILE, MARGIN, CAP = 0.99, 1.3, 4.0
LEAST_THRESHOLD = 1e-3
"""Training atoms that are all alike, such as atoms without neighbours, have distances of zero; only their like is then inside."""
FEWEST = 20
"""Left-out atoms of a species that determine its threshold; with fewer, that of all species counts."""


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """The atoms of one frame.

    Attributes
    ----------
    powers : (n_atoms, n_powers) array
    species : (n_atoms,) array
    around : callable
        Values (n_atoms,) -> weighted mean over the neighbours of each atom, (n_atoms,).
    """

    powers: FloatArray
    species: NDArray[np.int32]
    around: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class SupportTables:
    """What an evaluation needs, in the layout of native/model.h; empty arrays where there is no support data.

    Attributes
    ----------
    centre : (n_species, n_padded) array
    whitening : (n_species, n_padded, n_padded) array
        Support distance = norm of (powers - centre) @ whitening, lower triangles removed.
    offset : (n_species,) array
        Added to the square; infinite for a species without training atoms.
    around : (1,) array
        Threshold of the mean around an atom.
    """

    centre: FloatArray
    whitening: FloatArray
    offset: FloatArray
    around: FloatArray

    @classmethod
    def empty(cls) -> SupportTables:
        """Of a model without support data."""
        return cls(np.empty(0), np.empty(0), np.empty(0), np.empty(0))

    def __bool__(self) -> bool:
        return self.centre.size > 0

    @property
    def arrays(self) -> dict[str, Any]:
        """Of the own distance, by the names of the arguments of the C++ core."""
        return {
            "support_centre": self.centre,
            "support_whitening": self.whitening,
            "support_offset": self.offset,
        }


@dataclass(frozen=True, eq=False)
class Support:
    """Statistics of the neighbourhoods of the training data.

    Attributes
    ----------
    counts : (n_species,) array
        Training atoms.
    sums : (n_species, n_powers) array
    products : (n_species, n_powers, n_powers) array
        Sums of p and p p^T.
    raw : (n,) array
        Raw distances of left-out atoms.
    raw_species : (n,) array
        Their species.
    around : (n,) array
        Mean of the own distances around them.
    """

    counts: FloatArray
    sums: FloatArray
    products: FloatArray
    raw: FloatArray
    raw_species: NDArray[np.int32]
    around: FloatArray

    def __post_init__(self) -> None:
        n_species, n_powers = self.sums.shape
        shapes = (n_species,), (n_species, n_powers, n_powers)
        lengths = {self.raw.shape, self.raw_species.shape, self.around.shape}
        if (self.counts.shape, self.products.shape) != shapes or len(lengths) > 1:
            raise ValueError("the statistics of the support differ in size")

    @classmethod
    def empty(cls, n_species: int, n_powers: int) -> Support:
        """Of no frame."""
        return cls(
            counts=np.zeros(n_species),
            sums=np.zeros((n_species, n_powers)),
            products=np.zeros((n_species, n_powers, n_powers)),
            raw=np.zeros(0),
            raw_species=np.zeros(0, dtype=np.int32),
            around=np.zeros(0),
        )

    def __bool__(self) -> bool:
        """Whether there is a threshold: left-out atoms of two frames or more."""
        return self.raw.size > 0

    @classmethod
    def of(cls, frames: Sequence[Neighbourhoods], *, n_species: int) -> Support:
        """Of training frames, each left out in turn; without thresholds for fewer than two."""
        whole = cls.empty(n_species, frames[0].powers.shape[1])
        for frame in frames:
            whole = whole._added(frame, +1)
        if len(frames) < 2:
            return whole
        raw = [whole._added(frame, -1).raw_distances(frame) for frame in frames]
        return whole._with_raw(raw, frames)

    def updated(self, frames: Sequence[Neighbourhoods]) -> Support:
        """With new frames, each measured before all of them were added."""
        if not self.counts.any():
            return type(self).of(frames, n_species=len(self.counts)) if frames else self
        raw, whole = [self.raw_distances(frame) for frame in frames], self
        for frame in frames:
            whole = whole._added(frame, +1)
        return whole._with_raw(raw, frames)

    def _added(self, frame: Neighbourhoods, sign: int) -> Support:
        counts, sums, products = self.counts.copy(), self.sums.copy(), self.products.copy()
        for s in range(len(counts)):
            own = frame.powers[frame.species == s]
            counts[s] += sign * len(own)
            sums[s] += sign * own.sum(axis=0)
            products[s] += sign * (own.T @ own)
        return replace(self, counts=counts, sums=sums, products=products)

    def _with_raw(self, raw: Sequence[FloatArray], frames: Sequence[Neighbourhoods]) -> Support:
        """With more left-out atoms; those of a species that the others lack have an infinite distance and do not count."""
        found = replace(
            self,
            raw=np.concatenate([self.raw, *raw]),
            raw_species=np.concatenate([self.raw_species, *(frame.species for frame in frames)]),
            around=np.concatenate([self.around, *(np.zeros(len(r)) for r in raw)]),
        )._finite()
        if not found:
            return found
        own = [r / found._thresholds[frame.species] for r, frame in zip(raw, frames, strict=True)]
        around = np.concatenate([self.around, *(f.around(d) for f, d in zip(frames, own, strict=True))])
        kept = np.isfinite(np.concatenate([self.raw, *raw]))
        return replace(found, around=around[kept])._finite()

    def _finite(self) -> Support:
        """Without the left-out atoms whose distances are infinite."""
        seen = np.isfinite(self.raw) & np.isfinite(self.around)
        return replace(self, raw=self.raw[seen], raw_species=self.raw_species[seen], around=self.around[seen])

    @property
    def _thresholds(self) -> FloatArray:
        return np.array([self.threshold(s) for s in range(len(self.counts))])

    def raw_distances(self, frame: Neighbourhoods) -> FloatArray:
        """Raw distance of every atom, (n_atoms,); infinite for a species without training atoms."""
        out = np.full(len(frame.powers), np.inf)
        for s in np.flatnonzero(self.counts > 0.5):
            own = frame.species == s
            if own.any():
                mean, root = self._gaussian(int(s))
                z = solve_triangular(root, (frame.powers[own] - mean).T, lower=True, check_finite=False)
                out[own] = np.sqrt(np.mean(z**2, axis=0))
        return out

    def _gaussian(self, s: int) -> tuple[FloatArray, FloatArray]:
        """Mean and lower Cholesky factor of the widened covariance of one species."""
        mean = self.sums[s] / self.counts[s]
        covariance = self.products[s] / self.counts[s] - np.outer(mean, mean)
        variance = np.maximum(np.diagonal(covariance), 0)
        covariance[np.diag_indices_from(covariance)] = (1 + WIDENING) * variance + SMALLEST**2
        return mean, np.asarray(cholesky(covariance, lower=True, check_finite=False))

    def threshold(self, s: int) -> float:
        """Raw distance at which an atom of species s is outside."""
        raw = self.raw[self.raw_species == s]
        if len(raw) < FEWEST:
            raw = self.raw
        return _threshold(raw)

    @property
    def around_threshold(self) -> float:
        """Mean of the own distances around an atom at which it is outside."""
        return _threshold(self.around)

    def distances(self, frame: Neighbourhoods) -> FloatArray:
        """Support distance of every atom, (n_atoms,): what the C++ core computes from the tables."""
        own = self.raw_distances(frame) / self._thresholds[frame.species]
        return np.maximum(own, frame.around(own) / self.around_threshold)

    def tables(self, settings: BasisSettings) -> SupportTables:
        """Tables for the C++ core; empty ones where there is no threshold."""
        if not self:
            return SupportTables.empty()
        n_species, n_powers = self.sums.shape
        n_padded = n_powers // settings.n_radial * settings.padded_radial
        place = padded_places(settings)
        centre, whitening = np.zeros((n_species, n_padded)), np.zeros((n_species, n_padded, n_padded))
        offset = np.full(n_species, np.inf)
        for s in np.flatnonzero(self.counts > 0.5):
            mean, root = self._gaussian(int(s))
            inverse = solve_triangular(root, np.eye(n_powers), lower=True, check_finite=False)
            centre[s, place] = mean
            whitening[s][np.ix_(place, place)] = inverse.T / (np.sqrt(n_powers) * self.threshold(int(s)))
            offset[s] = 0.0
        return SupportTables(centre, whitening, offset, np.array([self.around_threshold]))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """By their names in the model file."""
        return {
            "counts": self.counts,
            "sums": self.sums,
            "products": self.products,
            "raw": self.raw,
            "raw_species": self.raw_species,
            "around": self.around,
        }


def _threshold(distances: FloatArray) -> float:
    return float(max(min(MARGIN * np.quantile(distances, QUANTILE), CAP * np.median(distances)), LEAST_THRESHOLD))


def size_of_powers(settings: BasisSettings) -> int:
    """Number of powers of an atom."""
    return (settings.l_max + 1) * len(settings.species) * settings.n_radial


def padded_places(settings: BasisSettings) -> NDArray[np.intp]:
    """Where the powers stand among those with padded channels."""
    group, radial = np.divmod(np.arange(size_of_powers(settings)), settings.n_radial)
    return np.asarray(group * settings.padded_radial + radial)
