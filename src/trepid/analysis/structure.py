"""Radial distribution functions and coordination numbers, partial by pairs of species, in one pass over a trajectory.

g_ab(r) is the density of atoms b at distance r from an atom a, over their mean density. The coordination number is the number of
atoms b within the first minimum of g_ab. Distances include periodic images, so r may exceed half of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from vesin import NeighborList

from trepid.analysis.averages import Average, average
from trepid.arrays import FloatArray, IntArray
from trepid.errors import ConfigError

DEFAULT_CUTOFF_A, DEFAULT_BIN_A = 8.0, 0.05
MOST_FRAMES = 1000
"""Frames that are counted; of a longer trajectory every second one, then every fourth, and so on."""
_SMOOTH_A = 0.15
"""Width of the window in which a minimum is looked for."""


@dataclass(frozen=True, eq=False)
class PartialRDF:
    """A partial radial distribution function.

    Attributes
    ----------
    pair : (str, str)
        Species a and b.
    r_A : (n_bins,) array
        Centres of the bins.
    g, g_error : (n_bins,) arrays
        Mean over frames, and one standard deviation from blocks; nan for few frames.
    first_peak_A : float or None
        Position of the first peak; None where there is none within the cutoff.
    first_minimum_A : float or None
        Of the minimum behind it; None where the cutoff comes first.
    coordination : Average or None
        Atoms b around an atom a within the first minimum.
    """

    pair: tuple[str, str]
    r_A: FloatArray
    g: FloatArray
    g_error: FloatArray
    first_peak_A: float | None
    first_minimum_A: float | None
    coordination: Average | None


class PairCounter:
    """Counts distances frame by frame.

    Parameters
    ----------
    symbols : sequence of str
    cutoff_A, bin_A : float
        Largest distance and width of the bins, A.

    Raises
    ------
    ConfigError
        A cutoff or width that is not positive, or fewer than ten bins.
    """

    def __init__(
        self, symbols: Sequence[str], *, cutoff_A: float = DEFAULT_CUTOFF_A, bin_A: float = DEFAULT_BIN_A
    ) -> None:
        if not (bin_A > 0 and cutoff_A >= 10 * bin_A):
            raise ConfigError(
                f"a radial distribution function needs ten bins or more: cutoff {cutoff_A:g} A, bins of {bin_A:g} A"
            )
        self.species = sorted(set(symbols))
        self.index: IntArray = np.array([self.species.index(symbol) for symbol in symbols], dtype=np.int64)
        self.counts = np.bincount(self.index, minlength=len(self.species))
        self.edges = np.arange(round(cutoff_A / bin_A) + 1) * bin_A
        self._search = NeighborList(cutoff=float(self.edges[-1]), full_list=True, n_threads=1)
        self._frames: list[FloatArray] = []
        self._volumes: list[float] = []
        self._stride, self._seen = 1, 0

    def add(self, positions: FloatArray, cell: FloatArray) -> None:
        """Count a frame, or skip it where a long trajectory has enough: positions (n_atoms, 3) and periodic cell (3, 3), A."""
        self._seen += 1
        if (self._seen - 1) % self._stride:
            return
        i, j, distances = self._search.compute(positions, cell, True, quantities="ijd")
        n, bins = len(self.species), len(self.edges) - 1
        place = np.minimum((distances / self.edges[-1] * bins).astype(np.int64), bins - 1)
        kind = self.index[i] * n + self.index[j]
        counted = np.bincount(kind * bins + place, minlength=n * n * bins).reshape(n, n, bins)
        self._frames.append(counted.astype(np.float64))
        self._volumes.append(float(abs(np.linalg.det(cell))))
        if len(self._frames) > MOST_FRAMES:
            self._frames, self._volumes = self._frames[::2], self._volumes[::2]
            self._stride *= 2

    @property
    def n_frames(self) -> int:
        """Frames counted."""
        return len(self._frames)

    def result(self) -> tuple[PartialRDF, ...]:
        """The partial functions of all pairs of species."""
        if not self._frames:
            return ()
        counted, volumes = np.array(self._frames), np.array(self._volumes)
        shells = 4 / 3 * np.pi * np.diff(self.edges**3)
        found = []
        for a, b in combinations_with_replacement(range(len(self.species)), 2):
            # An atom is no neighbour of itself, but its images are.
            pairs = self.counts[a] * self.counts[b]
            g = counted[:, a, b] * volumes[:, None] / (pairs * shells)
            found.append(self._partial((a, b), g, counted[:, a, b] / self.counts[a]))
        return tuple(found)

    def _partial(self, kind: tuple[int, int], g: FloatArray, around: FloatArray) -> PartialRDF:
        mean = g.mean(axis=0)
        r = 0.5 * (self.edges[1:] + self.edges[:-1])
        peak, minimum = first_shell(r, mean)
        coordination = None
        if minimum is not None:
            coordination = average(around[:, self.edges[1:] <= minimum + 1e-9].sum(axis=1))
        return PartialRDF(
            pair=(self.species[kind[0]], self.species[kind[1]]),
            r_A=r,
            g=mean,
            g_error=_bin_errors(g),
            first_peak_A=peak,
            first_minimum_A=minimum,
            coordination=coordination,
        )


def first_shell(r: FloatArray, g: FloatArray) -> tuple[float | None, float | None]:
    """Positions of the first peak of g(r) and of the minimum behind it, A; None where there is none.

    The peak is the largest value of the first stretch above 1; the minimum is the middle of the lowest values of the smoothed
    function up to its next rise above 1.
    """
    width = max(1, round(_SMOOTH_A / (r[1] - r[0])))
    smooth = np.convolve(np.pad(g, width // 2, mode="edge"), np.ones(width) / width, mode="valid")[: len(g)]
    above = np.flatnonzero(smooth > 1.0)
    if not above.size:
        return None, None
    start = int(above[0])
    below = np.flatnonzero(smooth[start:] < 1.0)
    if not below.size:
        return float(r[start + int(g[start:].argmax())]), None
    end = start + int(below[0])
    peak = float(r[start + int(g[start:end].argmax())])
    again = np.flatnonzero(smooth[end:] > 1.0)
    if not again.size:
        return peak, None
    gap = smooth[end : end + int(again[0])]
    lowest = np.flatnonzero(gap <= gap.min() + 1e-12)
    return peak, float(r[end + int(lowest[(len(lowest) - 1) // 2])])


def _bin_errors(g: FloatArray, n_blocks: int = 8) -> FloatArray:
    """Standard deviation of the mean over eight blocks; nan for fewer than two frames a block."""
    if len(g) < 2 * n_blocks:
        return np.full(g.shape[1], np.nan)
    blocks = np.array([block.mean(axis=0) for block in np.array_split(g, n_blocks)])
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(n_blocks))
