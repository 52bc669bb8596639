"""Modes of a crystal at the wave vectors that a supercell holds, and the projection of vectors of its atoms on them.

Vocabulary
----------
commensurate   wave vectors q with a whole number of waves along every vector of the supercell: the only ones its motion has
mode group     modes that must have one frequency and one lifetime: the degenerate ones of one q, and those of all q that symmetry
               makes equal. Their periodograms are averaged; the choice of vectors among degenerate modes does not matter to that
coordinate     Q_qs(t) = N^(-1/2) sum_jl m_j^(1/2) conj(e_qs,j) . u_jl(t) exp(-i q . r_jl), e of phonopy (whose phases use the
               places of atoms, not those of cells); N cells. Its mean squared velocity is kT
half           q and -q hold the same motion: one of each pair is used
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trepid.arrays import FloatArray, IntArray
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from phonopy import Phonopy

    from trepid.phonons.sites import Lattice

SAME_THz = 2e-3
"""Frequencies at one wave vector that differ by less belong to one group."""
SAME_Q = 1e-4
MATCH = 0.02
"""Places of atoms agree within this, in vectors of the primitive cell."""
ACOUSTIC_THz = 0.02
"""Modes at Gamma below this are translations, and left out."""


@dataclass(frozen=True)
class ModeGroup:
    """Modes with one frequency and one lifetime.

    Attributes
    ----------
    q : tuple of three floats
        One of their wave vectors, reciprocal basis of the primitive cell.
    branches : tuple of int
        At this q, from 0.
    frequency_THz : float
        Harmonic.
    columns : tuple of int
        Columns of the projection that belong to it.
    real : tuple of bool
        Of each column, whether q and -q are the same: then only positive frequencies are independent.
    """

    q: tuple[float, float, float]
    branches: tuple[int, ...]
    frequency_THz: float
    columns: tuple[int, ...]
    real: tuple[bool, ...]

    @property
    def count(self) -> float:
        """Independent periodograms of positive frequencies that it has."""
        return float(sum(1 if real else 2 for real in self.real))

    @property
    def name(self) -> str:
        """Short name."""
        q = ", ".join(f"{x:.3g}" for x in self.q)
        return f"({q}) {'+'.join(str(b + 1) for b in self.branches)}"


@dataclass(frozen=True, eq=False)
class Projection:
    """Modes of a supercell.

    Attributes
    ----------
    groups : tuple of ModeGroup
        By wave vector, then frequency.
    matrix : (3 n_atoms, n_columns) complex array
        Mass-weighted vectors (n_frames, 3 n_atoms) times this are the coordinates.
    omega : (n_columns,) array
        Harmonic angular frequencies, 1/fs; negative where imaginary.
    root_masses : (n_atoms,) array
        sqrt(amu).
    """

    groups: tuple[ModeGroup, ...]
    matrix: NDArray[np.complex128]
    omega: FloatArray
    root_masses: FloatArray

    def of_vectors(self, vectors: FloatArray, *, weight: int = 1) -> NDArray[np.complex128]:
        """Coordinates (n_frames, n_columns) of vectors (n_frames, n_atoms, 3).

        `weight` 1: of displacements or velocities, which are multiplied by sqrt(m); -1: of forces, divided by it.
        """
        scaled = (vectors * self.root_masses[:, None] ** weight).reshape(len(vectors), -1)
        # Two products of real matrices: one with a complex one would make the vectors complex first.
        return np.asarray(scaled @ self.matrix.real + 1j * (scaled @ self.matrix.imag))


def project(phonon: Phonopy, lattice: Lattice, *, wanted: FloatArray | None = None) -> Projection:
    """Modes at the commensurate wave vectors of a trajectory's supercell.

    Parameters
    ----------
    phonon : phonopy.Phonopy
        With force constants, of the unit cell of `lattice`; its own supercell may be another one.
    lattice : Lattice
    wanted : (n, 3) array, optional
        Only these wave vectors (and those that symmetry makes equal).

    Raises
    ------
    ConfigError
        A wave vector is not commensurate with the supercell.
    DataError
        The cells of phonopy and of the trajectory do not belong together.
    """
    places, cells = _places(phonon, lattice)
    qpoints = _commensurate(cells)
    stars = _stars(phonon, qpoints)
    if wanted is not None:
        stars = _chosen(stars, qpoints, wanted, cells)
    used = [_half(qpoints, star) for star in stars]
    order = [k for star in used for k in star]
    phonon.run_qpoints(qpoints[order], with_eigenvectors=True)
    frequencies = np.asarray(phonon.qpoints.frequencies)
    vectors = np.asarray(phonon.qpoints.eigenvectors)
    primitive = _primitive_atom(phonon, places)
    n_cells = len(lattice.supercell) / len(phonon.primitive)
    groups: list[ModeGroup] = []
    columns: list[NDArray[np.complex128]] = []
    omega: list[float] = []
    row = 0
    for star in used:
        rows = range(row, row + len(star))
        row += len(star)
        for branches in _degenerate(frequencies[rows[0]], gamma=_is_gamma(qpoints[star[0]])):
            mine, real = [], []
            for k, place in zip(star, rows, strict=True):
                wave = np.exp(-2j * np.pi * places @ qpoints[k])[:, None] / np.sqrt(n_cells)
                for s in branches:
                    e = vectors[place][:, s].reshape(-1, 3)[primitive]
                    mine.append(len(columns))
                    real.append(_is_real(qpoints[k]))
                    columns.append((e.conj() * wave).ravel())
                    omega.append(2 * np.pi * frequencies[place][s] / 1000.0)
            groups.append(
                ModeGroup(
                    q=tuple(float(x) for x in qpoints[star[0]]),  # type: ignore[arg-type]
                    branches=branches,
                    frequency_THz=float(np.mean(frequencies[rows[0]][list(branches)])),
                    columns=tuple(mine),
                    real=tuple(real),
                )
            )
    return Projection(tuple(groups), np.array(columns).T, np.array(omega), np.sqrt(lattice.supercell.get_masses()))


def _places(phonon: Phonopy, lattice: Lattice) -> tuple[FloatArray, IntArray]:
    """Places of the atoms of the supercell, and its vectors, in those of the primitive cell, at the volume of phonopy."""
    unit = np.asarray(phonon.unitcell.cell)
    # From the strained cell of the trajectory to that of phonopy: fractions stay.
    fractions = lattice.unitcell.cell.scaled_positions(lattice.supercell.positions)
    inverse = np.linalg.inv(phonon.primitive.cell)
    exact = lattice.matrix @ unit @ inverse
    cells = np.rint(exact).astype(np.int64)
    if np.abs(exact - cells).max() > MATCH:
        raise DataError("the supercell of the trajectory is no multiple of the primitive cell of the force constants")
    return fractions @ unit @ inverse, cells


def _primitive_atom(phonon: Phonopy, places: FloatArray) -> IntArray:
    """Which atom of the primitive cell each atom of the supercell is an image of."""
    offsets = places[:, None] - np.asarray(phonon.primitive.scaled_positions)[None]
    offsets -= np.rint(offsets)
    distance = np.abs(offsets).max(axis=2)
    if (distance.min(axis=1) > MATCH).any():
        raise DataError(
            "the crystal of the trajectory is not that of the force constants: an atom has no place in its cell"
        )
    return np.asarray(np.argmin(distance, axis=1))


def _commensurate(cells: IntArray) -> FloatArray:
    """All q, (n, 3) in [0, 1), with cells @ q whole."""
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    points = np.asarray(get_commensurate_points(cells.T), dtype=np.float64) % 1.0
    points[np.abs(points - 1.0) < SAME_Q] = 0.0
    return points[np.lexsort(np.round(points, 6).T[::-1])]


def _stars(phonon: Phonopy, qpoints: FloatArray) -> list[list[int]]:
    """Sets of q that the point group or the reversal of time makes equal."""
    rotations = [np.asarray(r).T for r in phonon.primitive_symmetry.pointgroup_operations]
    rotations += [-r for r in rotations]
    index = {_key(q): k for k, q in enumerate(qpoints)}
    # Only rotations that keep the supercell: they take every commensurate q to one.
    kept = [r for r in rotations if all(_key(q @ r.T) in index for q in qpoints)]
    left, stars = set(range(len(qpoints))), []
    for k in range(len(qpoints)):
        if k in left:
            star = sorted({index[_key(qpoints[k] @ r.T)] for r in kept} | {k})
            stars.append(star)
            left -= set(star)
    return stars


def _chosen(stars: list[list[int]], qpoints: FloatArray, wanted: FloatArray, cells: IntArray) -> list[list[int]]:
    index = {_key(q): k for k, q in enumerate(qpoints)}
    result: list[list[int]] = []
    for q in np.atleast_2d(wanted):
        at = index.get(_key(q))
        if at is None:
            raise ConfigError(
                f"the wave vector ({', '.join(f'{x:g}' for x in q)}) is not commensurate with the supercell of {len(qpoints)} "
                f"primitive cells, whose vectors are {cells.tolist()} in those of the primitive cell"
            )
        star = next(one for one in stars if at in one)
        if star not in result:
            result.append(star)
    return result


def _half(qpoints: FloatArray, star: list[int]) -> list[int]:
    """One of q and -q."""
    seen: set[tuple[int, ...]] = set()
    kept = []
    for k in star:
        if _key(-qpoints[k]) not in seen:
            kept.append(k)
            seen.add(_key(qpoints[k]))
    return kept


def _degenerate(frequencies: FloatArray, *, gamma: bool) -> list[tuple[int, ...]]:
    """Sets of branches of one frequency; without the translations."""
    groups: list[list[int]] = []
    for s in np.argsort(frequencies):
        if gamma and abs(frequencies[s]) < ACOUSTIC_THz:
            continue
        if groups and abs(frequencies[s] - frequencies[groups[-1][-1]]) < SAME_THz:
            groups[-1].append(int(s))
        else:
            groups.append([int(s)])
    return [tuple(group) for group in groups]


def _key(q: FloatArray) -> tuple[int, ...]:
    return tuple(int(x) for x in np.rint(np.asarray(q) / SAME_Q).astype(np.int64) % round(1 / SAME_Q))


def _is_gamma(q: FloatArray) -> bool:
    return _key(q) == (0, 0, 0)


def _is_real(q: FloatArray) -> bool:
    return _key(q) == _key(-np.asarray(q))
