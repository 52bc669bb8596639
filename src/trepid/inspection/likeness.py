"""Which frames are alike: nearest neighbours by what a quick fit says about them.

What a quick fit gets wrong depends on the structure: it may be off by 0.1 eV per atom for compressed cells, and by nothing for the
others. A label is therefore judged by those of the frames that are most like its own.

Attributes of a frame are energy per atom, volume per atom, pressure, anisotropy of the stress, rms and largest force (all
predicted), and composition, each in units of its spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid.arrays import FloatArray, IntArray
from trepid.inspection.quick_fit import QuickFit

N_NEAREST = 5
ALONE = 3.0
"""A frame farther from its nearest than this times the median is like no other."""
LARGEST_SAMPLE = 2000
"""Frames among which neighbours are looked for."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """Neighbours of every frame of a quick fit.

    Attributes
    ----------
    nearest : (n, k) array of int
        Positions among the frames of the fit, nearest first.
    alone : (n,) array of bool
        Frames like no other.
    energies : (n,) array
        Predicted, eV per atom, without the part that the composition explains.
    """

    nearest: IntArray
    alone: NDArray[np.bool_]
    energies: FloatArray

    @classmethod
    def of(cls, frames: Sequence[Atoms], fit: QuickFit) -> Likeness:
        """Compare all frames of a fit."""
        sizes = fit.counts.sum(axis=1)
        energies = (fit.energies - explained(fit.design, fit.energies)) / sizes
        volumes = np.array([abs(frames[k].cell.volume) for k in fit.frames]) / sizes
        stresses = np.nan_to_num(fit.stresses)
        attributes = np.column_stack(
            [
                energies,
                volumes,
                stresses[:, :3].mean(axis=1),
                stresses[:, :3].std(axis=1),
                [np.sqrt(np.mean(f**2)) for f in fit.forces],
                [np.abs(f).max() for f in fit.forces],
                *(fit.counts / sizes[:, None]).T[:-1],
            ]
        )
        spread = attributes.std(axis=0)
        varying = spread > 1e-9 * np.abs(attributes).max(axis=0, initial=1e-300)
        points = attributes[:, varying] / spread[varying]
        n = len(points)
        k = min(N_NEAREST, n - 1)
        nearest = np.empty((n, k), dtype=np.int64)
        distance = np.empty(n)
        for first in range(0, n, LARGEST_SAMPLE):
            own = slice(first, first + LARGEST_SAMPLE)
            squared = (points[own] ** 2).sum(axis=1)[:, None] + (points**2).sum(axis=1) - 2 * points[own] @ points.T
            squared[np.arange(len(squared)), np.arange(first, first + len(squared))] = np.inf
            nearest[own] = np.argsort(squared, axis=1, kind="stable")[:, :k]
            distance[own] = np.sqrt(np.maximum(squared.min(axis=1), 0.0))
        return cls(nearest, distance > ALONE * float(np.median(distance)), energies)


def explained(design: FloatArray, energies: FloatArray, *, robust: bool = True) -> FloatArray:
    """The part of energies (n,) that is linear in the columns of `design` (n, m); `robust`: whatever a few of them are."""
    counts = design / np.maximum(np.abs(design).max(axis=0), 1e-300)
    weights = np.ones(len(energies))
    for _ in range(8 if robust else 1):  # least absolute deviations by reweighting
        per_atom = np.linalg.lstsq(counts * weights[:, None], energies * weights, rcond=None)[0]
        rest = np.abs(energies - counts @ per_atom)
        weights = 1 / np.sqrt(np.maximum(rest, 1e-6 * max(float(np.median(rest)), 1e-9)))
    return np.asarray(counts @ per_atom)
