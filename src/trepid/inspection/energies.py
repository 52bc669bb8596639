"""Energies that the forces contradict in some frames only: several zeros of energy, and single wrong ones.

The residual of a frame is label minus prediction of a quick fit, per atom. Two methods, or two sets of pseudopotentials, shift it
by a constant: residuals then fall into groups, and frames that are alike are in different ones. Groups that the structures
explain (another volume, another composition) are no such sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trepid.arrays import FloatArray, IntArray
from trepid.data.checks import Finding, Level, numbers_of
from trepid.data.frames import Labels
from trepid.inspection.likeness import Likeness, explained
from trepid.inspection.outliers import WEIGHT, Outlier
from trepid.inspection.quick_fit import QuickFit

FEWEST = 5
"""Frames with energies; fewer are not judged."""
SPREADS = 12.0
"""Of the deviations from similar frames, for an outlier."""
PART = 0.5
"""An outlier is off by this part of the spread of the predicted energies ..."""
LEAST = 0.01
"""... and this, eV per atom."""
UNLIKELY_PER_ATOM = 10.0
"""eV: more than any cohesive energy, which a fit to forces may miss where a structure is like no other."""
MIXED = 0.5
"""Groups are zeros of energy where neighbours are in both of them this often, in units of what chance would give."""
GAP_PART = 0.3
"""Of the spread of the predicted energies: smaller gaps separate no groups."""
FEW, FEW_SHARE, FEW_TIMES = 4, 0.2, 3.0
"""A small group must be apart by this times what its predicted energies differ from the others: it may be extreme frames."""
SMALLEST = 0.08
"""Share of the frames in the smallest group."""
SEPARATION = 7.0
"""Of the centres of neighbouring groups, in units of the standard deviation within groups; 3.5 in a uniform distribution."""
MOST_PLACES = 12


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of the energies that are known.

    Attributes
    ----------
    position : (n,) array of int
        Among the frames of the fit.
    value : (n,) array
        eV per atom.
    nearest : (n, k) array of int
        Positions among these.
    """

    position: IntArray
    value: FloatArray
    nearest: IntArray

    @classmethod
    def of(cls, labels: Sequence[Labels], fit: QuickFit, likeness: Likeness, *, robust: bool) -> Residuals | None:
        """None where there are too few; `robust`: a few wrong energies do not matter, but many shifted ones do."""
        energies = np.array([np.nan if labels[k].energy is None else labels[k].energy for k in fit.frames], dtype=float)
        position = np.flatnonzero(np.isfinite(energies))
        if len(position) < FEWEST or len(position) < len(energies) // 2:
            return None
        counts = fit.counts[position]
        rest = energies[position] - fit.energies[position]
        value = (rest - explained(fit.design[position], rest, robust=robust)) / counts.sum(axis=1)
        index = np.full(len(energies), -1)
        index[position] = np.arange(len(position))
        nearest = index[likeness.nearest[position]]
        # A neighbour without an energy is replaced by another that has one.
        nearest = np.where(nearest < 0, np.where(nearest >= 0, nearest, 0).max(axis=1)[:, None], nearest)
        return cls(position, value, nearest)


def energy_groups(residuals: Residuals, fit: QuickFit, likeness: Likeness) -> list[Finding]:
    """Several zeros of energy."""
    r = residuals.value
    order = np.argsort(r)
    least = max(GAP_PART * _spread(likeness.energies), LEAST)
    cuts = [
        cut
        for cut in _cuts(r[order])
        if r[order][cut + 1] - r[order][cut] > least and _is_mixed(residuals, likeness, order, cut)
    ]
    if not cuts:
        return []
    groups = np.split(order, [cut + 1 for cut in cuts])
    centres = [float(np.median(r[group])) for group in groups]
    apart = ", ".join(f"{b - a:.3f}" for a, b in pairwise(centres))
    smallest = min(groups, key=len)
    numbers = sorted(int(fit.frames[residuals.position[k]]) for k in smallest)
    return [
        Finding(
            Level.WARNING,
            None,
            f"energies fall into {len(groups)} groups of {', '.join(str(len(group)) for group in groups)} frames, {apart} "
            f"eV/atom apart, which the forces do not explain: another method or zero of energy? (one group: frames "
            f"{numbers_of(numbers)})",
        )
    ]


def _cuts(rising: FloatArray) -> list[int]:
    """Last members of the groups but the highest, for two or three groups that are far apart against the spread within."""
    n = len(rising)
    smallest = max(2, int(np.ceil(SMALLEST * n)))
    sums = np.concatenate([[0.0], np.cumsum(rising)])
    squares = np.concatenate([[0.0], np.cumsum((rising - rising.mean()) ** 2)])
    means = np.concatenate([[0.0], np.cumsum(rising - rising.mean())])

    def scatter(first: int, last: int) -> float:
        """Sum of squared deviations of rising[first:last]."""
        return float(squares[last] - squares[first] - (means[last] - means[first]) ** 2 / (last - first))

    # Wide gaps are the only places for a cut.
    places = 1 + np.argsort(np.diff(rising))[::-1][:MOST_PLACES]
    ends = [(int(a),) for a in places] + [(int(a), int(b)) for a in places for b in places if a < b]
    best: tuple[float, list[int]] = (SEPARATION, [])
    for own in ends:
        edges = [0, *own, n]
        if min(np.diff(edges)) < smallest:
            continue
        within = np.sqrt(sum(scatter(a, b) for a, b in pairwise(edges)) / n)
        centres = [(sums[b] - sums[a]) / (b - a) for a, b in pairwise(edges)]
        apart = float(min(np.diff(centres))) / max(float(within), 1e-12)
        if apart > best[0]:
            best = (apart, [cut - 1 for cut in own])
    return best[1]


def _is_mixed(residuals: Residuals, likeness: Likeness, order: IntArray, cut: int) -> bool:
    """Whether frames that are alike lie on both sides of the cut, by more than the fit may be wrong about them."""
    high = np.zeros(len(order), dtype=bool)
    high[order[cut + 1 :]] = True
    minority = high if high.sum() <= (~high).sum() else ~high
    size = int(minority.sum())
    own = likeness.energies[residuals.position]
    gap = residuals.value[order[cut + 1]] - residuals.value[order[cut]]
    few = size < FEW or size < FEW_SHARE * len(order)
    unlike = float(np.median(np.abs(own[minority] - np.median(own))))
    if gap < (FEW_TIMES if few else 1.0) * unlike or (few and likeness.alone[residuals.position[minority]].any()):
        return False
    k = max(1, min(residuals.nearest.shape[1], size - 1))
    crossing = float((~minority[residuals.nearest[minority][:, :k]]).mean())
    return crossing >= MIXED * (len(order) - size) / (len(order) - 1)


def energy_outliers(residuals: Residuals, fit: QuickFit, likeness: Likeness) -> list[Outlier]:
    """Frames whose energy is far from what it is in similar frames."""
    r = residuals.value
    deviation = r - np.median(r[residuals.nearest], axis=1)
    usual = 1.4826 * float(np.median(np.abs(deviation)))
    own = likeness.energies[residuals.position]
    unlike = np.abs(own - np.median(own[residuals.nearest], axis=1))
    limit = np.maximum(
        max(SPREADS * usual, 6 * float(np.quantile(np.abs(deviation), 0.75)), PART * _spread(likeness.energies), LEAST),
        unlike,
    )
    # Two or three frames of a kind, such as molecules beside a crystal, agree with each other.
    closest = np.abs(r[:, None] - r[residuals.nearest[:, :2]]).min(axis=1)
    limit = np.where(likeness.alone[residuals.position], np.maximum(limit, UNLIKELY_PER_ATOM), limit)
    return [
        Outlier(
            "energy",
            Finding(
                Level.WARNING,
                int(fit.frames[residuals.position[k]]),
                f"energy is {deviation[k]:+.3f} eV/atom from what the forces and similar frames demand (usual "
                f"{usual:.2g}): another method, or not converged?",
            ),
            WEIGHT * float(abs(deviation[k]) / max(usual, 1e-12)),
        )
        for k in np.flatnonzero((np.abs(deviation) > limit) & (closest > limit))
    ]


def _spread(values: FloatArray) -> float:
    """Standard deviation, whatever a few are."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
