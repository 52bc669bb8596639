"""The crystal of a trajectory: repeated to its supercell, in the order of its atoms.

A user has the relaxed primitive cell, or the supercell in another order, or one that LAMMPS has turned into a triangular box.
Sites are compared in fractional coordinates, so strain and rotation do not matter; which cell vectors belong to which, how often
the crystal is repeated, and which atom is at which site are found here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError
from trepid.events.sites import Sites
from trepid.events.voids import periodic_images, wrapped

MOST_STRAIN = 0.1
"""Largest component of the strain between the crystal and the trajectory: more is another crystal."""
MOST_AWAY = 0.4
"""A frame in which more than this part of the atoms is nearer to another site than to its own is in another order, or of another
crystal: half of the atoms is one sublattice of two."""
_SCORED = 64
"""Atoms by which a translation is judged."""
_ORIGINS = 4
"""Atoms that are tried as the one that defines the translation: one of them may have left its site."""


@dataclass(frozen=True, eq=False)
class AlignedCrystal:
    """The crystal of a trajectory.

    Attributes
    ----------
    atoms : Atoms
        At rest, in the order of the trajectory.
    matrix : (3, 3) array of int
        Its cell vectors in those of the crystal that was given.
    rotation : (3, 3) array
        Takes vectors of the trajectory, such as forces, into the orientation of the crystal: `vectors @ rotation`.
    remarks : tuple of str
        What was done that the user may not expect.
    """

    atoms: Atoms
    matrix: IntArray
    rotation: FloatArray
    remarks: tuple[str, ...]


def align_crystal(
    crystal: Atoms, symbols: tuple[str, ...], positions: FloatArray, cell: FloatArray | None, *, name: str
) -> AlignedCrystal:
    """Repeat and reorder a crystal so that its atom i is atom i of a trajectory.

    Parameters
    ----------
    crystal : Atoms
        At rest: the cell of the trajectory, or one that it is a multiple of.
    symbols : tuple of n_atoms str
        Of the trajectory.
    positions : (n_atoms, 3) array
        Of its first frame, A.
    cell : (3, 3) array or None
        Of its first frame, A; None: that of the crystal, for frames without cell.
    name : str
        How messages call the trajectory.

    Raises
    ------
    DataError
        Another composition, a cell that is no multiple of that of the crystal, or positions near which the crystal has no sites.
    """
    remarks: list[str] = []
    if cell is None:
        if len(symbols) != len(crystal):
            raise DataError(
                f"{name} has no cell and {len(symbols)} atoms, the crystal {len(crystal)}: give the supercell of the trajectory"
            )
        remarks.append(f"{name} has no cell: that of the crystal is used")
        cell = crystal.cell.complete().array
    matrix = _multiple(crystal, symbols, cell, name)
    n_times = round(abs(np.linalg.det(matrix)))
    _require_composition(crystal, n_times, symbols, name)
    whole = crystal.copy()
    whole.calc = None
    whole.set_constraint()
    if n_times > 1:
        counts = np.diag(matrix)
        diagonal = np.array_equal(matrix, np.diag(counts))
        whole = whole.repeat(counts.tolist()) if diagonal else make_supercell(whole, matrix)
        what = " x ".join(map(str, counts)) if diagonal else f"the supercell {matrix.tolist()}"
        remarks.append(
            f"the crystal of {len(crystal)} atoms is repeated to {what} of the trajectory, {len(whole)} atoms"
        )
    rotation = _rotation(whole.cell.complete().array, np.where(whole.pbc[:, None], cell, whole.cell.complete().array))
    sites = Sites.of(whole, empty=False)
    if tuple(str(s) for s in whole.symbols) == symbols and _share_away(sites, positions, cell) <= MOST_AWAY:
        return AlignedCrystal(whole, matrix, rotation, tuple(remarks))
    order = _order(sites, symbols, positions, cell, name)
    if n_times == 1:
        remarks.append(
            f"{name}: the atoms are in another order than those of the crystal, which are matched by position"
        )
    return AlignedCrystal(whole[order], matrix, rotation, tuple(remarks))


def _multiple(crystal: Atoms, symbols: tuple[str, ...], cell: FloatArray, name: str) -> IntArray:
    """Cell vectors of the trajectory in those of the crystal."""
    ours = crystal.cell.complete().array
    theirs = np.where(crystal.pbc[:, None], cell, ours)
    if abs(np.linalg.det(theirs)) < 1e-6:
        raise DataError(f"{name}: the cell {np.round(cell, 3).tolist()} A has no volume")
    tried = [theirs @ np.linalg.inv(ours), _triangular(theirs) @ np.linalg.inv(_triangular(ours))]
    for exact in tried:
        matrix = np.rint(exact).astype(np.int64)
        if round(abs(np.linalg.det(matrix))) < 1:
            continue
        # The strain that is left when the crystal is repeated so.
        strain = np.linalg.inv(matrix) @ exact - np.eye(3)
        if np.abs(strain).max() <= MOST_STRAIN and len(crystal) * round(abs(np.linalg.det(matrix))) == len(symbols):
            return matrix
    lengths = ", ".join(f"{x:.3f}" for x in np.linalg.norm(theirs, axis=1))
    expected = ", ".join(f"{x:.3f}" for x in np.linalg.norm(ours, axis=1))
    raise DataError(
        f"{name}: {len(symbols)} atoms in a cell with vectors of {lengths} A, the crystal {len(crystal)} atoms with {expected} A: "
        f"no multiple of it within a strain of {MOST_STRAIN:.0%}; give the relaxed crystal of this trajectory with --structure"
    )


def _triangular(cell: FloatArray) -> FloatArray:
    """The cell turned so that its vectors form a lower triangular matrix, as LAMMPS does."""
    _q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    return np.asarray((r * signs[:, None]).T)


def _require_composition(crystal: Atoms, n_times: int, symbols: tuple[str, ...], name: str) -> None:
    ours = {str(s): n * n_times for s, n in Counter(crystal.symbols).items()}
    theirs = dict(Counter(symbols))
    if ours != theirs:
        found, expected = (" ".join(f"{s}{n}" for s, n in sorted(counts.items())) for counts in (theirs, ours))
        raise DataError(f"{name} is {found}, the crystal in the same cell {expected}: another composition")


def _rotation(crystal: FloatArray, frame: FloatArray) -> FloatArray:
    """The rotation nearest to the map of one cell on the other (polar decomposition)."""
    u, _, v = np.linalg.svd(np.linalg.inv(frame) @ crystal)
    return np.asarray(u @ v)


def _share_away(sites: Sites, positions: FloatArray, cell: FloatArray) -> float:
    fractional, _ = sites.at_rest(positions[None], cell)
    return float((sites.nearest(fractional[0])[0] != np.arange(sites.n_atoms)).mean())


def _order(sites: Sites, symbols: tuple[str, ...], positions: FloatArray, cell: FloatArray, name: str) -> IntArray:
    """The site of every atom, by position, whatever the translation between the two."""
    box = np.where(sites.pbc[:, None], cell, sites.cell)
    fractional = positions @ np.linalg.inv(box)
    inverse = np.linalg.inv(sites.cell)
    rest = sites.positions @ inverse
    kinds, species = np.array(symbols), np.array(sites.species)
    reach = float(sites.spacing_A.max())
    trees = {
        symbol: _Tree(rest[species == symbol], np.flatnonzero(species == symbol), sites, reach)
        for symbol in sorted(set(symbols))
    }
    # Of the drift species, whose atoms hop least.
    movers = np.flatnonzero(kinds == sites.drift_species)
    homes = np.flatnonzero(species == sites.drift_species)
    chosen = np.linspace(0, len(kinds) - 1, min(_SCORED, len(kinds))).astype(int)
    best, best_score = np.zeros(3), np.inf
    for atom in movers[np.linspace(0, len(movers) - 1, min(_ORIGINS, len(movers))).astype(int)]:
        for home in homes:
            shift = rest[home] - fractional[atom]
            score = _score(trees, kinds[chosen], fractional[chosen] + shift, reach)
            if score < best_score:
                best, best_score = shift, score
    shifted = fractional + best
    for _ in range(3):
        site, distance = _nearest(trees, kinds, shifted)
        offset = shifted - rest[site]
        offset -= np.where(sites.pbc, np.rint(offset), 0.0)
        near = distance <= 0.5 * reach
        shifted = shifted - (offset[near].mean(axis=0) if near.any() else 0.0)
    site, distance = _nearest(trees, kinds, shifted)
    far = distance > 0.5 * sites.spacing_A[site]
    if far.mean() > MOST_AWAY:
        raise DataError(
            f"{name}: {int(far.sum())} of {len(far)} atoms of the first frame are farther from every site of their species than "
            "half the way to the next one, in any order and for any translation: the crystal is another one, or has melted"
        )
    return _one_each(sites, site, distance, shifted, rest, kinds, species)


class _Tree:
    """Nearest site of one species."""

    def __init__(self, fractional: FloatArray, owners: IntArray, sites: Sites, reach: float) -> None:
        self.sites = sites
        points, owner = periodic_images(wrapped(fractional, sites.pbc), sites.cell, sites.pbc, 2.0 * reach)
        self.tree, self.owner = cKDTree(points), owners[owner]

    def query(self, fractional: FloatArray) -> tuple[FloatArray, IntArray]:
        distance, image = self.tree.query(wrapped(fractional, self.sites.pbc) @ self.sites.cell)
        return distance, self.owner[image]


def _nearest(trees: dict[str, _Tree], kinds: np.ndarray, fractional: FloatArray) -> tuple[IntArray, FloatArray]:
    site, distance = np.empty(len(kinds), dtype=np.int64), np.empty(len(kinds))
    for symbol, tree in trees.items():
        mine = kinds == symbol
        distance[mine], site[mine] = tree.query(fractional[mine])
    return site, distance


def _score(trees: dict[str, _Tree], kinds: np.ndarray, fractional: FloatArray, reach: float) -> float:
    """Mean squared distance from the nearest site of the own species, atoms far from all of them counted once."""
    return float(np.mean(np.minimum(_nearest(trees, kinds, fractional)[1], 0.5 * reach) ** 2))


def _one_each(
    sites: Sites,
    site: IntArray,
    distance: FloatArray,
    fractional: FloatArray,
    rest: FloatArray,
    kinds: np.ndarray,
    species: np.ndarray,
) -> IntArray:
    """A site for every atom: the nearest where one atom alone claims it, the others by least squares."""
    result = np.full(len(site), -1, dtype=np.int64)
    taken = np.zeros(len(site), dtype=bool)
    for atom in np.argsort(distance, kind="stable"):
        if not taken[site[atom]]:
            result[atom], taken[site[atom]] = site[atom], True
    for symbol in np.unique(kinds):
        left = np.flatnonzero((result < 0) & (kinds == symbol))
        free = np.flatnonzero(~taken & (species == symbol))
        if left.size == 0:
            continue
        offset = fractional[left][:, None] - rest[free][None]
        offset -= np.where(sites.pbc, np.rint(offset), 0.0)
        rows, columns = linear_sum_assignment(((offset @ sites.cell) ** 2).sum(axis=2))
        result[left[rows]] = free[columns]
    return result
