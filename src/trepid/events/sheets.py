r"""The shape and the motion of a sheet of atoms, as pure functions of positions and cell.

A sheet is periodic along the first two cell vectors, which lie in the plane; the third stands on it. Heights are
positions along z. The fluctuation spectrum of a sheet of N atoms and area A is

.. math::

    S(q) = A\, |h_q|^2, \qquad h_q = \frac{1}{N} \sum_i z_i e^{-i q \cdot r_i},

which of a free elastic membrane without tension is :math:`k_B T / \kappa q^4` (D. R. Nelson, T. Piran and S. Weinberg,
Statistical Mechanics of Membranes and Surfaces, chapter 6), so its bending rigidity can be read off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError

A2_PER_PS_IN_CM2_PER_S = 1e-4
"""One A^2/ps in cm^2/s, the unit of diffusion coefficients in the literature."""


@dataclass(frozen=True)
class HeightField:
    """Mean height of the atoms over every cell of a regular grid.

    Attributes
    ----------
    heights_A : (n_a, n_b) array
        Relative to the mean of all atoms; NaN where no atom is above the grid cell.
    thickness_A : (n_a, n_b) array
        Highest minus lowest atom above the grid cell; NaN where there is none.
    counts : (n_a, n_b) array of int
        Atoms above the grid cell.
    """

    heights_A: FloatArray
    thickness_A: FloatArray
    counts: IntArray

    def __repr__(self) -> str:
        rows, columns = self.counts.shape
        return f"HeightField({rows} x {columns} grid cells, {100 * self.empty_fraction:.1f} % empty)"

    @property
    def empty_fraction(self) -> float:
        """Share of the grid without any atom."""
        return float((self.counts == 0).mean())


@dataclass(frozen=True)
class HeightSpectrum:
    """Fluctuations of the height over wave vectors, each of a pair q, -q once.

    Attributes
    ----------
    q_per_A : (n,) array
        Lengths of the wave vectors with the factor 2 pi, ascending, 1/A.
    intensity_A4 : (n,) array
        S(q), A^4.
    """

    q_per_A: FloatArray
    intensity_A4: FloatArray

    def __repr__(self) -> str:
        q = self.q_per_A
        span = f", {q.min():.3g} to {q.max():.3g} 1/A" if len(q) else ""
        return f"HeightSpectrum({len(q)} wave vectors{span})"


def height_field(positions: ArrayLike, cell: ArrayLike, *, spacing_A: float = 6.0) -> HeightField:
    """Height of a sheet on a grid of cells about `spacing_A` wide.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A; wrapped or not.
    cell : (3, 3) or (3,) array-like
        Cell vectors in rows, or the edges of a rectangular cell, A.
    spacing_A : float

    Raises
    ------
    DataError
        The cell is not that of a sheet, or the arrays do not go together.
    """
    r, plane = _sheet(positions, cell)
    shape = np.maximum(1, np.rint(np.linalg.norm(plane, axis=1) / spacing_A).astype(int))
    fractional = r[:, :2] @ np.linalg.inv(plane) % 1.0
    # A coordinate of -1e-17 wraps to 1.0 in floating point, which belongs to the last grid cell.
    index = np.minimum((fractional * shape).astype(int), shape - 1)
    flat = index[:, 0] * shape[1] + index[:, 1]
    z = r[:, 2] - r[:, 2].mean()
    counts = np.bincount(flat, minlength=shape.prod())
    highest, lowest = np.full(shape.prod(), -np.inf), np.full(shape.prod(), np.inf)
    np.maximum.at(highest, flat, z)
    np.minimum.at(lowest, flat, z)
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.bincount(flat, weights=z, minlength=shape.prod()) / counts
    thickness = np.where(counts > 0, highest - lowest, np.nan)
    return HeightField(heights.reshape(shape), thickness.reshape(shape), counts.reshape(shape).astype(np.int64))


def height_spectrum(positions: ArrayLike, cell: ArrayLike, *, q_max_per_A: float) -> HeightSpectrum:
    """Fluctuation spectrum of the height, from the atoms themselves, without a grid.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A; the heights must not be wrapped.
    cell : (3, 3) or (3,) array-like
        As in `height_field`.
    q_max_per_A : float
        Longest wave vector, 1/A.

    Raises
    ------
    DataError
        The cell is not that of a sheet, or holds no wave vector this short.
    """
    r, plane = _sheet(positions, cell)
    reciprocal = 2 * np.pi * np.linalg.inv(plane).T
    # |q| <= q_max bounds the integer m_k = q.a_k / 2 pi by |a_k| q_max / 2 pi.
    most = np.floor(np.linalg.norm(plane, axis=1) * q_max_per_A / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1).reshape(-1, 2)
    half = grid[(grid[:, 0] > 0) | ((grid[:, 0] == 0) & (grid[:, 1] > 0))]
    q = half @ reciprocal
    length = np.linalg.norm(q, axis=1)
    kept = length <= q_max_per_A
    if not kept.any():
        raise DataError(f"the sheet has no wave vector up to {q_max_per_A:g}/A; raise q_max_per_A")
    q, length = q[kept], length[kept]
    z = r[:, 2] - r[:, 2].mean()
    amplitudes = np.exp(-1j * (q @ r[:, :2].T)) @ z / len(z)
    order = np.argsort(length, kind="stable")
    area = abs(np.linalg.det(plane))
    return HeightSpectrum(length[order], (area * np.abs(amplitudes) ** 2)[order])


def coordination_numbers(positions: ArrayLike, cell: ArrayLike, *, cutoff_A: float) -> IntArray:
    """Neighbours of every atom within `cutoff_A`, (n_atoms,), for a sheet periodic in the plane only.

    Raises
    ------
    DataError
        As in `height_field`.
    """
    r, plane = _sheet(positions, cell)
    (first,) = _neighbours(r, plane, cutoff_A, "i")
    return np.bincount(first, minlength=len(r)).astype(np.int64)


def overlapped_atoms(
    positions: ArrayLike,
    cell: ArrayLike,
    *,
    lateral_A: float = 2.7,
    vertical_A: tuple[float, float] = (2.2, 6.0),
) -> NDArray[np.bool_]:
    """Atoms that have another one above or below them: the members of a bilayer, or of anything thicker.

    The defaults go with stanene, whose hexagons leave no point of the plane farther than 2.7 A from an atom and whose
    buckling is 0.84 A; a wall steeper than about 50 degrees counts as overlapped too.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A.
    cell : (3, 3) or (3,) array-like
        As in `height_field`.
    lateral_A : float
        Largest distance in the plane.
    vertical_A : (float, float)
        Least and largest difference in height.

    Returns
    -------
    (n_atoms,) array of bool
    """
    r, plane = _sheet(positions, cell)
    low, high = vertical_A
    first, vectors = _neighbours(r, plane, float(np.hypot(lateral_A, high)), "iD")
    above = (np.hypot(vectors[:, 0], vectors[:, 1]) <= lateral_A) & (np.abs(vectors[:, 2]) >= low)
    above &= np.abs(vectors[:, 2]) <= high
    overlapped = np.zeros(len(r), dtype=bool)
    overlapped[first[above]] = True
    return overlapped


def column_spans(positions: ArrayLike, cell: ArrayLike, *, lateral_A: float = 2.7, reach_A: float = 8.0) -> FloatArray:
    """Vertical span of the atoms in a column around every atom: highest minus lowest, A.

    The buckling of a flat sheet of stanene is the span of its columns; two layers span the distance between them, and
    dense matter 2 `reach_A` at most.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A.
    cell : (3, 3) or (3,) array-like
        As in `height_field`.
    lateral_A : float
        Radius of the column.
    reach_A : float
        Atoms farther above or below do not count.

    Returns
    -------
    (n_atoms,) array
    """
    r, plane = _sheet(positions, cell)
    first, vectors = _neighbours(r, plane, float(np.hypot(lateral_A, reach_A)), "iD")
    inside = (np.hypot(vectors[:, 0], vectors[:, 1]) <= lateral_A) & (np.abs(vectors[:, 2]) <= reach_A)
    highest, lowest = np.zeros(len(r)), np.zeros(len(r))
    np.maximum.at(highest, first[inside], vectors[inside, 2])
    np.minimum.at(lowest, first[inside], vectors[inside, 2])
    return highest - lowest


def mean_square_displacement(trajectory: ArrayLike, lags: ArrayLike) -> FloatArray:
    """Mean square displacement over atoms and time origins, without the drift of the whole.

    Parameters
    ----------
    trajectory : (n_frames, n_atoms, n_dimensions) array-like
        Unwrapped positions at equal distances in time, A. Give two dimensions for the motion in the plane.
    lags : (n_lags,) array-like of int
        Distances in frames, each from 0 to n_frames - 1.

    Returns
    -------
    (n_lags,) array
        A^2, summed over the dimensions given.

    Raises
    ------
    DataError
        The trajectory has another shape, or a lag is out of range.
    """
    r = np.asarray(trajectory, dtype=np.float64)
    if r.ndim != 3:
        raise DataError(f"the trajectory has shape {r.shape}; (n_frames, n_atoms, n_dimensions) is expected")
    steps = np.atleast_1d(np.asarray(lags))
    if not np.issubdtype(steps.dtype, np.integer) or steps.min() < 0 or steps.max() >= len(r):
        raise DataError(f"lags must be whole numbers from 0 to {len(r) - 1}, the trajectory has {len(r)} frames")
    r = r - r.mean(axis=1, keepdims=True)
    return np.array([np.mean(np.sum((r[lag:] - r[: len(r) - lag]) ** 2, axis=2)) for lag in steps])


def diffusion_coefficient(times_ps: ArrayLike, msd_A2: ArrayLike, *, n_dimensions: int) -> float:
    """Slope of the mean square displacement over 2 n_dimensions, in A^2/ps, by least squares with a free offset.

    Give the diffusive part only; `A2_PER_PS_IN_CM2_PER_S` turns the result into cm^2/s.

    Raises
    ------
    DataError
        Fewer than two times, or arrays of different lengths.
    """
    t, msd = np.asarray(times_ps, dtype=np.float64), np.asarray(msd_A2, dtype=np.float64)
    if t.shape != msd.shape or t.ndim != 1 or len(t) < 2:
        raise DataError(f"a diffusion coefficient needs two or more times with one value each, not {len(t)}")
    slope, _ = np.polyfit(t, msd, 1)
    return float(slope / (2 * n_dimensions))


def _sheet(positions: ArrayLike, cell: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Positions (n, 3) and the two in-plane cell vectors (2, 2), checked."""
    r, vectors = np.asarray(positions, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    if vectors.shape == (3,):
        vectors = np.diag(vectors)
    if r.ndim != 2 or r.shape[1] != 3 or len(r) == 0:
        raise DataError(f"positions have shape {r.shape}; (n_atoms, 3) is expected")
    if vectors.shape != (3, 3):
        raise DataError(f"the cell has shape {vectors.shape}; (3, 3) or (3,) is expected")
    if np.abs(vectors[:2, 2]).max() > 1e-8 or abs(np.linalg.det(vectors[:2, :2])) < 1e-12:
        raise DataError("the first two cell vectors of a sheet must span the x-y plane")
    if not np.isfinite(r).all():
        raise DataError("positions are not finite")
    return r, vectors[:2, :2]


def _neighbours(r: FloatArray, plane: FloatArray, cutoff_A: float, quantities: str) -> list[NDArray[np.generic]]:
    """Full list of pairs of a sheet with open space above and below."""
    box = np.eye(3)
    box[:2, :2] = plane
    # The height of the box is not used along an axis without periodicity; it only must not vanish.
    box[2, 2] = float(np.ptp(r[:, 2])) + 2 * cutoff_A
    pairs = NeighborList(cutoff=cutoff_A, full_list=True)
    return pairs.compute(r, box=box, periodic=[True, True, False], quantities=quantities)
