"""Where a crystal has room: its empty sites, found from geometry alone.

Vocabulary
----------
clearance    distance of a point from the nearest atom, A
vertex       point that has four or more atoms at the same distance and none nearer: a vertex of the Voronoi cells
empty site   vertex between its atoms, with room around it and no roomier one close by; in zincblende the tetrahedral and
             the octahedral hole of the anions, in fcc metals likewise, in bcc metals the tetrahedral hole

Symmetry is neither needed nor broken: vertices of one clearance are kept or dropped together.
"""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import QhullError, Voronoi, cKDTree

from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError

LEAST_CLEARANCE = 0.55
"""Least clearance of an empty site in shortest interatomic distances: the tetrahedral hole of fcc has 0.61."""
LARGEST_CLEARANCE = 2.0
"""Largest clearance likewise; beyond is vacuum, not a site."""
SEPARATION = 0.65
"""Distance that a vertex must keep from a roomier site, in clearances of that site. The hexagonal point of zincblende
has 0.50 (dropped: it lies on the way between two holes), the tetrahedral hole of fcc 0.87 (kept)."""
_SAME_CLEARANCE = 0.02
"""Clearances closer than this, in shortest interatomic distances, count as equal."""
_MERGED = 0.25
"""Vertices closer than this, in the same unit, are one: where a crystal is a little off its symmetry, a vertex of many
atoms splits into several of four. The tetrahedral holes of bcc are 0.41 apart."""


def periodic_images(
    fractional: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_], reach_A: float
) -> tuple[FloatArray, IntArray]:
    """Points of the cell and their images up to `reach_A` outside of it.

    Parameters
    ----------
    fractional : (n, 3) array
        Wrapped into [0, 1) along periodic directions.
    cell : (3, 3) array
        A, vectors in rows; not singular.
    pbc : (3,) array of bool
    reach_A : float

    Returns
    -------
    (m, 3) array, (m,) array of int
        Cartesian positions, A, and the index of the point that each is an image of; the points themselves come first.
    """
    margin = reach_A * np.linalg.norm(np.linalg.inv(cell), axis=0) * pbc
    most = np.ceil(margin).astype(int)
    shifts = itertools.product(*(range(-m, m + 1) for m in most))
    ordered = sorted(shifts, key=lambda shift: shift != (0, 0, 0))
    points, owners = [], []
    for shift in ordered:
        moved = fractional + np.array(shift)
        near = (~pbc | ((moved >= -margin) & (moved <= 1 + margin))).all(axis=1)
        points.append(moved[near] @ cell)
        owners.append(np.flatnonzero(near))
    return np.concatenate(points), np.concatenate(owners)


def shortest_distance(crystal: Atoms) -> float:
    """Distance of the two atoms closest to each other, periodic images included, A.

    Raises
    ------
    DataError
        There is a single atom without periodic images, or two atoms share a place.
    """
    cell, pbc = crystal.cell.complete().array, np.asarray(crystal.pbc)
    fractional = wrapped(crystal.positions @ np.linalg.inv(cell), pbc)
    reach = float(crystal.cell.lengths()[pbc].max()) if pbc.any() else 0.0
    # The nearest neighbour is never farther than the longest cell vector, nor than one cube per atom would leave room.
    if pbc.all():
        reach = min(reach, 3.0 * (abs(np.linalg.det(cell)) / len(crystal)) ** (1 / 3))
    points, _ = periodic_images(fractional, cell, pbc, reach)
    if len(points) < 2:
        raise DataError("a crystal of a single atom without periodic images has no interatomic distance")
    shortest = float(cKDTree(points).query(points[: len(crystal)], k=2)[0][:, 1].min())
    if shortest < 0.1:
        raise DataError(f"two atoms of the crystal are {shortest:.3g} A apart; every site must hold one atom")
    return shortest


def empty_sites(crystal: Atoms) -> FloatArray:
    """Positions of the empty sites of a crystal, (n, 3), A, inside its cell; ordered by clearance, roomiest first.

    Parameters
    ----------
    crystal : Atoms
        At rest: thermal displacements would tell equivalent sites apart.

    Raises
    ------
    DataError
        Fewer than five atoms or all in one plane, so that there is no Voronoi vertex, or as `shortest_distance`.
    """
    unit = shortest_distance(crystal)
    cell, pbc = crystal.cell.complete().array, np.asarray(crystal.pbc)
    inverse = np.linalg.inv(cell)
    # A vertex of clearance c is decided by the atoms within c of it.
    atoms, _ = periodic_images(
        wrapped(crystal.positions @ inverse, pbc), cell, pbc, (LARGEST_CLEARANCE + SEPARATION) * unit
    )
    try:
        vertices = Voronoi(atoms).vertices
    except (QhullError, ValueError) as error:
        raise DataError(
            f"no empty sites can be found between {len(crystal)} atoms in one plane or fewer than five"
        ) from error
    clearance = cKDTree(atoms).query(vertices)[0]
    roomy = (clearance >= LEAST_CLEARANCE * unit) & (clearance <= LARGEST_CLEARANCE * unit)
    margin = SEPARATION * LARGEST_CLEARANCE * unit * np.linalg.norm(inverse, axis=0)
    fractional = vertices @ inverse
    near = (~pbc | ((fractional >= -margin) & (fractional <= 1 + margin))).all(axis=1)
    points = _merged(vertices[roomy & near], _MERGED * unit)
    points = points[_enclosed(points, atoms)]
    clearance = cKDTree(atoms).query(points)[0]
    points = points[_kept(points, clearance, _SAME_CLEARANCE * unit)]
    clearance = cKDTree(atoms).query(points)[0]
    fractional = points @ inverse
    # Sites on a face of the cell have images on the opposite one: keep one of them.
    inside = (~pbc | ((fractional >= -1e-6) & (fractional < 1 - 1e-6))).all(axis=1)
    order = np.lexsort((*points[inside].round(4).T[::-1], -clearance[inside].round(3)))
    return points[inside][order]


def wrapped(fractional: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Fractional coordinates in [0, 1) along periodic directions."""
    inside = np.where(pbc, fractional % 1.0, fractional)
    # -1e-17 % 1.0 is 1.0 in floating point.
    return np.where(pbc & (inside >= 1.0), 0.0, inside)


def _merged(points: FloatArray, tolerance: float) -> FloatArray:
    """Centres of the clusters of points closer than `tolerance`: highly symmetric vertices are found many times."""
    pairs = cKDTree(points).query_pairs(tolerance, output_type="ndarray") if len(points) else np.empty((0, 2), int)
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(points), len(points)))
    n, label = connected_components(graph, directed=False)
    sums = np.stack([np.bincount(label, weights=points[:, k], minlength=n) for k in range(3)], axis=1)
    return sums / np.bincount(label, minlength=n)[:, None]


def _enclosed(points: FloatArray, atoms: FloatArray) -> NDArray[np.bool_]:
    """Which vertices lie within the hull of the atoms nearest to them; of the others the room only opens on one side.

    A point is in the hull if it is a mean of its corners with weights that are not negative.
    """
    tree = cKDTree(atoms)
    inside = np.zeros(len(points), dtype=bool)
    for k, point in enumerate(points):
        clearance = tree.query(point)[0]
        corners = (atoms[tree.query_ball_point(point, 1.05 * clearance)] - point) / clearance
        rest = nnls(np.vstack([corners.T, np.ones(len(corners))]), np.array([0.0, 0.0, 0.0, 1.0]))[1]
        inside[k] = rest < 0.05
    return inside


def _kept(points: FloatArray, clearance: FloatArray, same: float) -> NDArray[np.bool_]:
    """Which vertices are no appendage of a roomier one, decided in order of falling clearance."""
    kept = np.zeros(len(points), dtype=bool)
    tree = cKDTree(points)
    for k in np.argsort(-clearance, kind="stable"):
        close = [j for j in tree.query_ball_point(points[k], SEPARATION * clearance.max()) if kept[j]]
        roomier = [j for j in close if clearance[j] > clearance[k] + same]
        gaps = np.linalg.norm(points[roomier] - points[k], axis=1)
        kept[k] = bool((gaps >= SEPARATION * clearance[roomier]).all())
    return kept
