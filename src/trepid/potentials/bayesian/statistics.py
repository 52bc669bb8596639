r"""Sufficient statistics: all that training keeps of the data.

For labels y with feature rows phi and noise sigma, the posterior and the evidence depend on the data only through
G = sum phi^T phi, b = sum phi^T y, sum y^2 and the count, per label kind. They add up over frames, processes and
machines. Their size does not grow with the number of frames.

A label can carry a noise multiplier m (its noise is m sigma): row and label are divided by m, and sum log m is kept for
the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid.data import LabelKeys, labels_of
from trepid.data.placeholders import held_components
from trepid.potentials.base import FloatArray, Noise

FULL_SHARE = 0.9
"""Share of the features that are not zero from which on zeros are added too."""


class LabelKind(str, Enum):
    """Kind of a label: the quantity that it is a value of."""

    ENERGY = "energy"
    FORCES = "forces"
    STRESS = "stress"

    def noise(self, noise: Noise) -> float:
        """The noise of this kind."""
        return float(getattr(noise, self.value))


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Feature rows and residuals of the labels of one kind in one frame.

    Attributes
    ----------
    kind : LabelKind
    rows : (m, raw) array
    residuals : (m,) array
        After the prior mean, in the unit of the label.
    multipliers : (m,) array
        Of the noise with which they are fitted: with the weight of their frame.
    weight : float
        Of the frame (`trepid.data.noise_factors`).
    """

    kind: LabelKind
    rows: FloatArray
    residuals: FloatArray
    multipliers: FloatArray
    weight: float = 1.0

    @property
    def own_multipliers(self) -> FloatArray:
        """Multipliers (m,) of the noise that the labels are expected to have: without the weight."""
        return self.multipliers * math.sqrt(self.weight)


def merged_rows(parts: Iterable[LabelRows]) -> list[LabelRows]:
    """One entry per kind: chunks of the same kind joined, in their order."""
    by_kind: dict[LabelKind, list[LabelRows]] = {}
    for part in parts:
        by_kind.setdefault(part.kind, []).append(part)
    return [
        LabelRows(
            kind,
            np.concatenate([part.rows for part in chunks]),
            np.concatenate([part.residuals for part in chunks]),
            np.concatenate([part.multipliers for part in chunks]),
            chunks[0].weight,
        )
        for kind, chunks in by_kind.items()
    ]


@dataclass
class KindStatistics:
    """Statistics of one label kind.

    Attributes
    ----------
    gram : (n, n) array
        sum phi^T phi / m^2.
    projection : (n,) array
        sum phi^T y / m^2.
    squared : float
        sum y^2 / m^2.
    count : int
        Number of labels.
    log_multiplier : float
        sum log m.
    """

    gram: FloatArray
    projection: FloatArray
    squared: float = 0.0
    count: int = 0
    log_multiplier: float = 0.0

    def __repr__(self) -> str:
        return f"<KindStatistics of {self.count} labels for {len(self.projection)} coefficients>"

    @classmethod
    def empty(cls, size: int) -> KindStatistics:
        """Statistics of no label for `size` raw coefficients."""
        return cls(np.zeros((size, size)), np.zeros(size))

    def add(self, rows: FloatArray, labels: FloatArray, multipliers: FloatArray | float = 1.0) -> None:
        """Add labels (m,) with feature rows (m, size) and noise multipliers (m,)."""
        scale = np.broadcast_to(np.asarray(multipliers, dtype=np.float64), labels.shape)
        weighted, target = rows / scale[:, None], labels / scale
        self.projection += weighted.T @ target
        # The features of no label in these rows are zero: half of them and more in a crystal. Few are not worth the copies.
        reached = np.flatnonzero(rows.any(axis=0))
        if len(reached) > FULL_SHARE * len(self.gram):
            self.gram += weighted.T @ weighted
        else:
            own = weighted[:, reached]
            self.gram[np.ix_(reached, reached)] += own.T @ own
        self.squared += float(target @ target)
        self.count += len(labels)
        self.log_multiplier += float(np.log(scale).sum())

    def merge(self, other: KindStatistics) -> None:
        """Add the statistics of other labels."""
        self.gram += other.gram
        self.projection += other.projection
        self.squared += other.squared
        self.count += other.count
        self.log_multiplier += other.log_multiplier


@dataclass
class SufficientStatistics:
    """Statistics of energies, forces and stresses of a set of frames."""

    size: int
    n_frames: int = 0
    kinds: dict[LabelKind, KindStatistics] = field(default_factory=dict)

    def __repr__(self) -> str:
        counts = ", ".join(f"{s.count} {kind.value}" for kind, s in sorted(self.kinds.items()) if s.count)
        return f"<SufficientStatistics of {self.n_frames} frames for {self.size} coefficients: {counts or 'no'} labels>"

    def kind(self, kind: LabelKind) -> KindStatistics:
        """Statistics of a kind, empty where no label of this kind was added."""
        if kind not in self.kinds:
            self.kinds[kind] = KindStatistics.empty(self.size)
        return self.kinds[kind]

    def merge(self, other: SufficientStatistics) -> None:
        """Add the statistics of other frames, of the same basis and reference energies."""
        if other.size != self.size:
            raise ValueError(f"statistics of {other.size} coefficients cannot be added to those of {self.size}")
        for kind, statistics in other.kinds.items():
            self.kind(kind).merge(statistics)
        self.n_frames += other.n_frames


@dataclass(frozen=True, eq=False)
class SeenStatistics:
    """Statistics of the seen coefficients: those with a feature that is not zero in every label.

    Nothing is lost: rows and columns of the others are zero.

    Attributes
    ----------
    indices : (n,) array
        Of the seen coefficients among all, rising.
    kinds : dict of LabelKind to KindStatistics
        Of the seen coefficients alone, in the order of `indices`.
    """

    indices: NDArray[np.intp]
    kinds: dict[LabelKind, KindStatistics]

    @classmethod
    def of(cls, statistics: SufficientStatistics) -> SeenStatistics:
        """Leave out the rows and columns that are zero."""
        seen = np.zeros(statistics.size, dtype=bool)
        for s in statistics.kinds.values():
            seen |= np.diagonal(s.gram) != 0.0  # NaN counts as seen: the posterior refuses it
        indices = np.flatnonzero(seen)
        rows = np.ix_(indices, indices)
        # Copies (those of indexed arrays are): the statistics grow in place, while a posterior keeps those it was made from.
        kinds = {
            kind: replace(s, gram=s.gram.copy() if seen.all() else s.gram[rows], projection=s.projection[indices])
            for kind, s in statistics.kinds.items()
        }
        return cls(indices, kinds)


@dataclass(frozen=True)
class ForceSum:
    """Sum of |F|^2 over the atoms of the training frames, (eV/A)^2, and their number."""

    squared: float = 0.0
    n_atoms: int = 0

    def with_more(self, frames: Sequence[Atoms], keys: LabelKeys) -> ForceSum:
        """The sum with the labelled forces of other frames."""
        forces = []
        for atoms in frames:
            own = labels_of(atoms, keys).forces
            if own is not None:
                forces.append(own[~held_components(atoms, own).all(axis=1)])
        return ForceSum(
            self.squared + sum(float((f**2).sum()) for f in forces), self.n_atoms + sum(len(f) for f in forces)
        )

    @property
    def rms(self) -> float:
        """Root mean square norm, eV/A; NaN without forces."""
        return float(np.sqrt(self.squared / self.n_atoms)) if self.n_atoms else float("nan")
