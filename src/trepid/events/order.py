r"""What the atoms of a sheet have become: sheet, bilayer, or dense matter with the order of a crystal or none.

Order is measured by Steinhardt's bond-orientational order parameters, averaged over an atom and its neighbours,

.. math::

    \bar q_l = \sqrt{\frac{4\pi}{2l+1} \sum_m |\bar q_{lm}|^2}, \qquad
    \bar q_{lm}(i) = \frac{1}{N+1} \sum_{k \in \{i\} \cup N(i)} q_{lm}(k),

with the normalised third-order invariant :math:`\bar w_6` beside them (P. J. Steinhardt, D. R. Nelson and M. Ronchetti, Phys.
Rev. B 28, 784 (1983); averages: W. Lechner and C. Dellago, J. Chem. Phys. 129, 114707 (2008)). freud computes them
(V. Ramasubramani et al., Comput. Phys. Commun. 254, 107275 (2020)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from trepid.arrays import FloatArray, IntArray
from trepid.errors import ConfigError, DataError
from trepid.events.sheets import column_spans

N_NEIGHBOURS = 12
"""Nearest neighbours that count. With 12 the averages tell a liquid from bcc, close packing and beta-tin by q8 alone."""
CRYSTAL_Q8 = 0.155
"""Least averaged q8 of a crystal. Packed liquids have 0.09 to 0.15 (5 to 95 %), bcc, fcc, hcp and beta-tin 0.155 or more up to a
displacement of a tenth of the neighbour distance per coordinate."""
PACKED_Q6 = 0.26
"""Least averaged q6 of bcc and of close packing; beta-tin and diamond displaced by 0.15 A or more are below."""
TETRAHEDRAL_Q4 = 0.12
"""Least averaged q4 of beta-tin and diamond among what is not packed."""
PACKED_W6 = -0.03
"""Least averaged w6 of packed crystals: -0.013 for fcc, 0.013 for bcc, -0.05 for beta-tin."""
FIRST_REACH_A = 5.0
"""Largest first guess of the distance within which the neighbours are."""
SHEET_SPAN_A, BILAYER_SPAN_A = 2.2, 5.0
"""Vertical span of the atoms in a narrow column: below the first a sheet, below the second two layers, from there three or more."""


class Structure(Enum):
    """What an atom is part of."""

    SHEET = "sheet"
    """Nothing above or below it."""
    BILAYER = "bilayer"
    """Two layers, or a fold."""
    BCC = "bcc"
    """Dense matter with the order of bcc."""
    CLOSE_PACKED = "close-packed"
    """Dense matter with the order of fcc or hcp."""
    TETRAHEDRAL = "tetrahedral"
    """Dense matter with the order of beta-tin or of diamond."""
    DISORDERED = "disordered"
    """Dense matter without any of these: a liquid, a glass, or a surface too rough to tell. Diffusion tells which."""


@dataclass(frozen=True)
class BondOrder:
    """Averaged bond-orientational order parameters of every atom, (n_atoms,) each.

    Attributes
    ----------
    q4, q6, q8 : (n_atoms,) array
        0 to 1.
    w6 : (n_atoms,) array
        Normalised; positive for bcc, negative for fcc and hcp.
    """

    q4: FloatArray
    q6: FloatArray
    q8: FloatArray
    w6: FloatArray

    def __repr__(self) -> str:
        means = f"q4 {self.q4.mean():.2f}, q6 {self.q6.mean():.2f}, q8 {self.q8.mean():.2f}"
        return f"BondOrder({len(self.q6)} atoms, on average {means})"


def bond_order(positions: ArrayLike, cell: ArrayLike, *, n_neighbours: int = N_NEIGHBOURS) -> BondOrder:
    """Averaged order parameters of all atoms with their nearest neighbours, in a periodic cell.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A; wrapped or not.
    cell : (3, 3) or (3,) array-like
        Cell vectors in rows, or the edges of a rectangular cell, A. A sheet needs open space above and below.
    n_neighbours : int

    Raises
    ------
    DataError
        Arrays of other shapes, or fewer atoms than neighbours.
    ConfigError
        freud is not installed.
    """
    r, vectors = np.asarray(positions, dtype=np.float64), np.asarray(cell, dtype=np.float64)
    if vectors.shape == (3,):
        vectors = np.diag(vectors)
    if r.ndim != 2 or r.shape[1] != 3 or not np.isfinite(r).all():
        raise DataError(f"positions have shape {r.shape}; finite ones of shape (n_atoms, 3) are expected")
    if vectors.shape != (3, 3) or abs(np.linalg.det(vectors)) < 1e-12:
        raise DataError(f"the cell is {vectors.tolist()}; three independent vectors are expected")
    if len(r) <= n_neighbours:
        raise DataError(f"{len(r)} atoms have no {n_neighbours} neighbours each; repeat the cell")
    try:
        freud = import_module("freud")
    except ImportError:
        raise ConfigError("order parameters need freud, which is not installed: pip install 'trepid[order]'") from None
    turned, box = _lower_triangular(r, vectors)
    first, second, bonds = _nearest(turned, box, n_neighbours)
    # freud takes the nearest image of a neighbour, which is the right one within half the heights of the cell.
    reach, height = (
        float(np.linalg.norm(bonds, axis=1).max()),
        float(1 / np.linalg.norm(np.linalg.inv(box), axis=0).max()),
    )
    if reach > height / 2:
        raise DataError(f"a neighbour is {reach:.1f} A away, and the cell is {height:.1f} A high; repeat the cell")
    system = (freud.box.Box.from_matrix(box.T), turned)
    nearest = freud.locality.NeighborList.from_arrays(len(r), len(r), first, second, bonds)
    q4, q6, q8 = (
        np.asarray(freud.order.Steinhardt(degree, average=True).compute(system, nearest).particle_order, np.float64)
        for degree in (4, 6, 8)
    )
    third = freud.order.Steinhardt(6, average=True, wl=True, wl_normalize=True).compute(system, nearest)
    return BondOrder(q4, q6, q8, np.asarray(third.particle_order, dtype=np.float64))


def structures(positions: ArrayLike, cell: ArrayLike) -> NDArray[np.object_]:
    """The structure that every atom of a sheet, or of what became of it, belongs to.

    Sheet, bilayer or dense is a matter of the vertical span of the atoms in a column around an atom
    (`trepid.events.sheets.column_spans`); order is asked of dense matter only. A steep wall of a ripple counts as a
    bilayer. Thresholds are the constants of this module, set on ideal lattices with displaced atoms and on packed spheres.

    Parameters
    ----------
    positions : (n_atoms, 3) array-like
        A.
    cell : (3, 3) or (3,) array-like
        The first two vectors in the plane, the third on it.

    Returns
    -------
    (n_atoms,) array of `Structure`

    Raises
    ------
    DataError, ConfigError
        As `bond_order`.
    """
    spans = column_spans(positions, cell)
    found = np.full(len(spans), Structure.SHEET, dtype=object)
    found[spans >= SHEET_SPAN_A] = Structure.BILAYER
    dense = spans >= BILAYER_SPAN_A
    if dense.any():
        order = bond_order(positions, cell)
        found[dense] = _orders(order)[dense]
    return found


def _orders(order: BondOrder) -> NDArray[np.object_]:
    """Structure of dense matter from its order parameters."""
    found = np.full(len(order.q6), Structure.DISORDERED, dtype=object)
    crystal = order.q8 >= CRYSTAL_Q8
    packed = crystal & (order.q6 >= PACKED_Q6) & (order.w6 > PACKED_W6)
    found[crystal & ~packed & (order.q4 >= TETRAHEDRAL_Q4)] = Structure.TETRAHEDRAL
    found[packed & (order.w6 > 0)] = Structure.BCC
    found[packed & (order.w6 <= 0)] = Structure.CLOSE_PACKED
    return found


def fractions(found: NDArray[np.object_]) -> Mapping[Structure, float]:
    """Share of the atoms in every structure; the shares add up to 1."""
    return {structure: float(np.mean(found == structure)) for structure in Structure}


def _lower_triangular(r: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same atoms turned so that the first vector is along x and the second in the x-y plane, as freud asks."""
    # The rows of the cell are L Q with L lower triangular: turning by the transpose of Q leaves L.
    upper = np.linalg.qr(vectors.T, mode="r")
    lower = (upper * np.sign(np.diag(upper))[:, None]).T
    scaled = r @ np.linalg.inv(vectors)
    return (scaled - np.floor(scaled)) @ lower, lower


def _nearest(r: FloatArray, vectors: FloatArray, n: int) -> tuple[IntArray, IntArray, FloatArray]:
    """The n nearest neighbours of every atom in a periodic cell: centres, neighbours and bonds, (n n_atoms,) each."""
    # A sphere that holds n atoms at the mean density is a first guess; open space makes it too small.
    cutoff = 1.3 * (3 * (n + 1) * abs(float(np.linalg.det(vectors))) / (4 * np.pi * len(r))) ** (1 / 3)
    cutoff = min(cutoff, FIRST_REACH_A)
    while True:
        pairs = NeighborList(cutoff=cutoff, full_list=True)
        first, second, bonds = pairs.compute(r, box=vectors, periodic=True, quantities="ijD")
        if np.bincount(first, minlength=len(r)).min() >= n:
            break
        cutoff *= 1.3
    order = np.lexsort((np.linalg.norm(bonds, axis=1), first))
    first, second, bonds = first[order], second[order], bonds[order]
    starts = np.searchsorted(first, np.arange(len(r)))
    kept = (starts[:, None] + np.arange(n)).ravel()
    return first[kept].astype(np.int64), second[kept].astype(np.int64), np.asarray(bonds[kept], dtype=np.float64)
