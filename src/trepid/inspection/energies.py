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
GAP_SPREADS = 6.0
"""A gap is this times the spread within the groups beside it."""


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
    def of(cls, labels: Sequence[Labels], fit: QuickFit, likeness: Likeness) -> Residuals | None:
        """None where there are too few."""
        energies = np.array([np.nan if labels[k].energy is None else labels[k].energy for k in fit.frames], dtype=float)
        position = np.flatnonzero(np.isfinite(energies))
        if len(position) < FEWEST or len(position) < len(energies) // 2:
            return None
        counts = fit.counts[position]
        rest = energies[position] - fit.energies[position]
        value = (rest - explained(counts, rest)) / counts.sum(axis=1)
        index = np.full(len(energies), -1)
        index[position] = np.arange(len(position))
        nearest = index[likeness.nearest[position]]
        # A neighbour without an energy is replaced by the nearest that has one.
        nearest = np.where(nearest < 0, np.where(nearest >= 0, nearest, 0).max(axis=1)[:, None], nearest)
        return cls(position, value, nearest)


def energy_groups(residuals: Residuals, fit: QuickFit, likeness: Likeness) -> list[Finding]:
    """Several zeros of energy."""
    r = residuals.value
    order = np.argsort(r)
    gaps = np.diff(r[order])
    least = max(GAP_PART * _spread(likeness.energies), LEAST)
    cuts = [
        cut
        for cut in np.flatnonzero(gaps > least)
        if _is_cut(r[order], int(cut)) and _is_mixed(residuals, likeness, order, int(cut))
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


def _is_cut(rising: FloatArray, cut: int) -> bool:
    """Whether a gap is wide against the spread on either side, with two frames or more on each."""
    below, above = rising[: cut + 1], rising[cut + 1 :]
    if min(len(below), len(above)) < 2:
        return False
    gap = above[0] - below[-1]
    # The nearest group on either side: beyond another gap of this kind begins the next one.
    inside = [np.diff(part)[np.diff(part) < 0.5 * gap] for part in (below, above)]
    typical = max(float(np.median(part)) if len(part) else 0.0 for part in inside)
    return gap > GAP_SPREADS * typical


def _is_mixed(residuals: Residuals, likeness: Likeness, order: IntArray, cut: int) -> bool:
    """Whether frames that are alike lie on both sides of the cut, by more than the fit may be wrong about them."""
    high = np.zeros(len(order), dtype=bool)
    high[order[cut + 1 :]] = True
    minority = high if high.sum() <= (~high).sum() else ~high
    size = int(minority.sum())
    own = likeness.energies[residuals.position]
    gap = residuals.value[order[cut + 1]] - residuals.value[order[cut]]
    if gap < float(np.median(np.abs(own[minority] - np.median(own)))):
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
