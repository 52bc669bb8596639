r"""Energies of neighbourhoods from the shares of single atoms, made independent of how a model happens to share. Pure functions.

Vocabulary
----------
share            energy of an atom as the model gives it, eV; shares add up to the potential energy
neighbourhood    the atoms around one atom, with weights that fall smoothly from 1 inside `inner` to 0 at `outer`
transfer         energy moved along a bond from one atom to the other; it leaves the sum as it is

Only the sum of the shares is learnt; how it is shared is the model's whim. What one atom owns in one model its neighbour owns in
another, with slopes that cancel in the sum but not at the rim of a neighbourhood: CuI by three models of the same accuracy has
neighbourhood energies that scatter by 4.6, 9.9 and 13.7 kT, where harmonic atoms would by 3.8 kT.

A transfer between unlike atoms, E_i' = E_i + sum_j t(r_ij), with t of the other sign for the partner, undoes this. t is a
spline per pair of groups; its coefficients minimise the scatter of the neighbourhood energies over an equilibrium trajectory
(linear least squares). The same three models then give 3.2 to 3.6 kT, and the
same cost of an event of up to 1 eV within 0.01 eV (two of them compared).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline
from scipy.linalg import lstsq
from scipy.sparse import csr_matrix

from trepid.arrays import FloatArray, IndexArray
from trepid.errors import ConfigError, DataError

KNOT_SPACING = 0.5
"""Of the splines of a transfer, A."""
RIDGE = 1e-6
"""Penalty on the square of a coefficient per point of the fit, features being of order 1: nothing moves where no bond shows it."""


@dataclass(frozen=True)
class Pairs:
    """Atoms i and their neighbours j within a radius, every pair in both directions.

    Attributes
    ----------
    first, second : (n_pairs,) array of int
    distances : (n_pairs,) array
        A.
    n_atoms : int
    """

    first: IndexArray
    second: IndexArray
    distances: FloatArray
    n_atoms: int


@dataclass(frozen=True)
class Neighbourhood:
    """Weights of the atoms around an atom: 1 up to `inner`, then a quintic step with two continuous derivatives to 0.

    Attributes
    ----------
    inner, outer : float
        A; 0 <= inner < outer. Good values: a little beyond the nearest neighbours, and twice that.

    Raises
    ------
    ConfigError
        The radii are not in order.
    """

    inner: float = 3.0
    outer: float = 6.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.inner < self.outer < np.inf:
            raise ConfigError(
                f"the radii of a neighbourhood are {self.inner} and {self.outer} A; 0 <= inner < outer is needed"
            )

    def weight(self, distances: ArrayLike) -> FloatArray:
        """Weights, 0 to 1, at distances in A."""
        r = np.asarray(distances, dtype=np.float64)
        t = np.clip((r - self.inner) / (self.outer - self.inner), 0.0, 1.0)
        return np.asarray(1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2), dtype=np.float64)

    def pairs(self, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike) -> Pairs:
        """Pairs within `outer` under the minimum image.

        Parameters
        ----------
        positions : (n_atoms, 3) array
            A.
        cell : (3, 3) array
            Rows are cell vectors, A.
        pbc : (3,) array of bool or bool

        Raises
        ------
        ConfigError
            The outer radius exceeds half the width of the cell, so that a neighbourhood would hold an event and its image.
        DataError
            Positions are not finite, or not of shape (n_atoms, 3).
        """
        points = np.ascontiguousarray(positions, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise DataError(f"positions of shape {points.shape}: finite numbers of shape (n_atoms, 3) are needed")
        periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), 3).copy()
        box = np.ascontiguousarray(complete_cell(np.asarray(cell, dtype=np.float64)))
        widths = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
        narrowest = float(np.min(widths[periodic], initial=np.inf))
        if 2.0 * self.outer > narrowest:
            raise ConfigError(
                f"the outer radius of a neighbourhood is {self.outer} A, the cell {narrowest:.2f} A wide: "
                "at most half of that"
            )
        from vesin import NeighborList

        search = NeighborList(cutoff=self.outer, full_list=True, n_threads=1)
        first, second, distances = search.compute(points, box, periodic, quantities="ijd")
        return Pairs(first.astype(np.intp), second.astype(np.intp), distances, len(points))

    def sums(self, values: ArrayLike, pairs: Pairs) -> FloatArray:
        """sum_j w(r_ij) x_j around every atom, itself included, for values (n_atoms, ...); the same shape."""
        x = np.asarray(values, dtype=np.float64)
        if x.shape[:1] != (pairs.n_atoms,) or not np.isfinite(x).all():
            raise DataError(
                f"values of shape {x.shape} for {pairs.n_atoms} atoms: one finite number per atom is needed"
            )
        weights = csr_matrix(
            (self.weight(pairs.distances), (pairs.first, pairs.second)), shape=(pairs.n_atoms, pairs.n_atoms)
        )
        return np.asarray(x + weights @ x, dtype=np.float64)


@dataclass(frozen=True)
class EnergyTransfer:
    """Energy moved along bonds between atoms of different groups.

    Attributes
    ----------
    n_groups : int
    outer : float
        Bonds are shorter than this, A.
    coefficients : (n_columns,) array
        eV; splines of the pair of groups (0, 1), then (0, 2), ...
    """

    n_groups: int
    outer: float
    coefficients: FloatArray

    def moved(self, pairs: Pairs, groups: IndexArray) -> FloatArray:
        """What every atom receives, (n_atoms,), eV; adds up to zero."""
        if not self.coefficients.size:
            return np.zeros(pairs.n_atoms)
        return transfer_features(pairs, groups, n_groups=self.n_groups, outer=self.outer) @ self.coefficients


def transfer_features(pairs: Pairs, groups: IndexArray, *, n_groups: int, outer: float) -> FloatArray:
    """What every atom receives per unit of every coefficient, (n_atoms, n_columns); every column adds up to zero."""
    centres = np.arange(outer - 2 * KNOT_SPACING, KNOT_SPACING, -KNOT_SPACING)
    bump = BSpline.basis_element([-2.0, -1.0, 0.0, 1.0, 2.0], extrapolate=False)
    columns = []
    for a, b in combinations(range(n_groups), 2):
        sign = np.where(groups[pairs.first] == a, 1.0, -1.0)
        joined = (groups[pairs.first] == a) & (groups[pairs.second] == b)
        joined |= (groups[pairs.first] == b) & (groups[pairs.second] == a)
        first, r, sign = pairs.first[joined], pairs.distances[joined], sign[joined]
        for centre in centres:
            values = sign * np.nan_to_num(bump((r - centre) / KNOT_SPACING))
            columns.append(np.bincount(first, weights=values, minlength=pairs.n_atoms))
    return np.array(columns, dtype=np.float64).reshape(len(columns), pairs.n_atoms).T


def fit_transfer(sums: FloatArray, features: FloatArray) -> FloatArray:
    """Coefficients c that minimise the squares of sums + features @ c, with a small ridge.

    Parameters
    ----------
    sums : (m,) array
        Neighbourhood energies, eV.
    features : (m, n_columns) array
        Neighbourhood sums of `transfer_features`.
    """
    if not features.shape[1]:
        return np.zeros(0)
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += RIDGE * len(features)
    return np.asarray(lstsq(gram, -features.T @ sums)[0], dtype=np.float64)
