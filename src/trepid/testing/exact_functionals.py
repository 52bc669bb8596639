r"""Labels as linear functionals of the unknown pair and triplet functions.

The energy of a frame is linear in the functions f2 and f3, hence so is every force and stress component: a label is
:math:`\sum_{t p} J_{t p}\, \partial_p f(x_t)`, a sum over the *terms* of the frame, its pairs x = (r) and triplets
x = (r1, r2, cos theta), with p = 0 for the value of f and p >= 1 for its derivative in the p-th coordinate. This
module finds the terms of frames and the sparse Jacobians J, and contracts them with a kernel; `exact_gp` does the rest.

Vocabulary
----------
block   one unknown function: (a, b) the pair function of two species, (c, a, b) the triplet function of centre c and
        neighbours a <= b; indices into the species of the model
row     one label: the energy, then the forces atom by atom, then the stress
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray
from scipy import sparse
from vesin import NeighborList

from trepid.errors import DataError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.zbl import zbl_derivative, zbl_energy, zbl_range

IntArray = NDArray[np.int64]
Block = tuple[int, ...]

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
CHUNK_TERMS = 128
"""Terms per chunk: a kernel matrix between two chunks of triplets takes 2 MiB and stays in the cache."""


@dataclass(frozen=True)
class Rows:
    """Which labels of a frame are wanted, in this order: energy, forces of `atoms`, stress.

    Attributes
    ----------
    energy, stress : bool
    atoms : (n_chosen,) int array
        Atoms whose three force components are wanted, without repetition.
    """

    energy: bool
    atoms: IntArray
    stress: bool

    @property
    def n_rows(self) -> int:
        """Number of labels."""
        return int(self.energy) + 3 * len(self.atoms) + 6 * int(self.stress)

    @property
    def forces(self) -> slice:
        """Rows of the force components."""
        return slice(int(self.energy), int(self.energy) + 3 * len(self.atoms))


@dataclass(frozen=True)
class Chunk:
    """Some terms of one block and what they contribute to which rows.

    Attributes
    ----------
    coordinates : (n, 1) or (n, 3) array
        Distance, or r1, r2 (A) and cos theta, of each term.
    rows : slice
        The rows of the whole set that these terms reach.
    jacobian : sparse (n_rows of the slice, n_parts * n)
        n_parts = 1 + number of coordinates; column p * n + t belongs to derivative p of term t.
    """

    coordinates: FloatArray
    rows: slice
    jacobian: sparse.csr_matrix


@dataclass(frozen=True)
class Functionals:
    """A set of labels, of one or several frames, as functionals of the unknown functions.

    Attributes
    ----------
    n_rows : int
    composition : (n_rows, n_species) array
        Numbers of atoms of each species in energy rows, zero elsewhere: the derivatives in the energy offsets.
    short_range : (n_rows,) array
        What E_prior contributes.
    blocks : dict
        The chunks of every block.
    """

    n_rows: int
    composition: FloatArray
    short_range: FloatArray
    blocks: dict[Block, tuple[Chunk, ...]]


@dataclass(frozen=True)
class _Entries:
    """Terms of one block with the entries of their Jacobian: value[e] at (row[e], part[e], term[e])."""

    coordinates: FloatArray
    row: IntArray
    part: IntArray
    term: IntArray
    value: FloatArray


@dataclass(frozen=True)
class _Neighbours:
    """Directed pairs i -> j; a periodic image is a neighbour of its own. Sorted by i, then by the species of j."""

    i: IntArray
    j: IntArray
    shift: IntArray
    vector: FloatArray
    distance: FloatArray


class FunctionalBuilder:
    """Finds the terms of frames for one choice of species and cutoffs.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols.
    pair_cutoff, triplet_cutoff : float
        A.
    """

    def __init__(self, species: Sequence[str], *, pair_cutoff: float, triplet_cutoff: float) -> None:
        self.species = tuple(species)
        self.pair_cutoff = pair_cutoff
        self.triplet_cutoff = triplet_cutoff
        self._numbers = np.array([atomic_numbers[s] for s in species])
        self._short_range_cutoff = np.array([[zbl_range(a, b)[1] for b in species] for a in species])

    def rows(self, frame: Atoms, *, where: str, atoms: Sequence[int] | IntArray | None = None) -> Rows:
        """All labels that `frame` can have, with the forces restricted to `atoms` where given.

        Raises
        ------
        DataError
            When an index is repeated or is none of the frame.
        """
        chosen = np.arange(len(frame)) if atoms is None else np.asarray(atoms, dtype=np.int64).reshape(-1)
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(frame)):
            raise DataError(
                f"{where}: chosen atoms must lie within 0 .. {len(frame) - 1}, not {list(map(int, chosen))}"
            )
        if len(np.unique(chosen)) != len(chosen):
            raise DataError(f"{where}: an atom was chosen twice: {list(map(int, chosen))}")
        return Rows(energy=True, atoms=chosen, stress=frame.cell.rank == 3)

    def build(self, frames: Sequence[tuple[Atoms, Rows]], *, where: str = "frame") -> Functionals:
        """Turn the wanted rows of `frames`, one frame after the other, into functionals.

        Raises
        ------
        DataError
            When a frame has an unknown element, coinciding or not finite positions, a periodic direction without cell
            vector, or no volume for a stress.
        """
        n_rows = sum(rows.n_rows for _, rows in frames)
        composition = np.zeros((n_rows, len(self.species)))
        short_range = np.zeros(n_rows)
        collected: dict[Block, list[tuple[int, _Entries]]] = {}
        start = 0
        for index, (frame, rows) in enumerate(frames):
            name = where if len(frames) == 1 else f"{where} {index} (counted from 0)"
            kinds = self._kinds(frame, name)
            if rows.stress and frame.cell.rank < 3:
                raise DataError(f"{name}: a stress needs a cell with three vectors, this one has {frame.cell.rank}")
            neighbours = self._neighbours(frame, kinds, name)
            if rows.energy:
                composition[start] = np.bincount(kinds, minlength=len(self.species))
            short_range[start : start + rows.n_rows] = self._short_range(frame, kinds, neighbours, rows)
            for entries in (self._pairs, self._triplets):
                for block, found in entries(frame, kinds, neighbours, rows).items():
                    collected.setdefault(block, []).append((start, found))
            start += rows.n_rows
        blocks = {block: _chunks(found) for block, found in sorted(collected.items())}
        return Functionals(n_rows=n_rows, composition=composition, short_range=short_range, blocks=blocks)

    def _kinds(self, frame: Atoms, name: str) -> IntArray:
        """Index of every atom's species."""
        symbols = frame.get_chemical_symbols()
        if not symbols:
            raise DataError(f"{name}: it has no atoms")
        for symbol in symbols:
            if symbol not in self.species:
                raise DataError(f"{name}: element {symbol} is unknown to the potential, which has {list(self.species)}")
        return np.array([self.species.index(s) for s in symbols], dtype=np.int64)

    def _neighbours(self, frame: Atoms, kinds: IntArray, name: str) -> _Neighbours:
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()):
            raise DataError(f"{name}: positions and cell must be finite numbers")
        for axis in np.flatnonzero(frame.pbc):
            if not frame.cell.array[axis].any():
                raise DataError(f"{name}: it is periodic along cell vector {axis}, which is zero")
        cutoff = max(self.pair_cutoff, self.triplet_cutoff, self._short_range_cutoff.max())
        search = NeighborList(cutoff=cutoff, full_list=True)
        i, j, shift, vector, distance = search.compute(
            points=frame.positions, box=frame.cell.array, periodic=np.asarray(frame.pbc), quantities="ijSDd"
        )
        i, j = i.astype(np.int64), j.astype(np.int64)
        if not (distance > 1e-6).all():
            first = int(np.argmin(distance))
            raise DataError(f"{name}: atoms {i[first]} and {j[first]} are at the same place")
        order = np.lexsort((kinds[j], i))
        return _Neighbours(i[order], j[order], shift[order].astype(np.int64), vector[order], distance[order])

    def _half(self, neighbours: _Neighbours) -> NDArray[np.bool_]:
        """Each pair once; of the two directions of an atom's own image the one with a positive first non-zero shift."""
        x, y, z = neighbours.shift.T
        forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        return (neighbours.i < neighbours.j) | ((neighbours.i == neighbours.j) & forward)

    def _pair_entries(self, frame: Atoms, neighbours: _Neighbours, chosen: NDArray[np.bool_], rows: Rows) -> _Entries:
        vector, r = neighbours.vector[chosen], neighbours.distance[chosen]
        return _entries(
            frame,
            rows,
            coordinates=r[:, None],
            gradients=(vector / r[:, None])[:, None, None, :],
            vectors=vector[:, None, :],
            centre=neighbours.i[chosen],
            ends=neighbours.j[chosen][:, None],
            weight=np.ones(len(r)),
        )

    def _pairs(self, frame: Atoms, kinds: IntArray, neighbours: _Neighbours, rows: Rows) -> dict[Block, _Entries]:
        near = self._half(neighbours) & (neighbours.distance < self.pair_cutoff)
        a, b = np.sort([kinds[neighbours.i], kinds[neighbours.j]], axis=0)
        return {
            (int(p), int(q)): self._pair_entries(frame, neighbours, near & (a == p) & (b == q), rows)
            for p, q in np.unique(np.stack([a, b], axis=1)[near], axis=0)
        }

    def _short_range(self, frame: Atoms, kinds: IntArray, neighbours: _Neighbours, rows: Rows) -> FloatArray:
        """The rows of E_prior: a known pair function goes through the same Jacobian as the unknown ones."""
        a, b = kinds[neighbours.i], kinds[neighbours.j]
        near = self._half(neighbours) & (neighbours.distance < self._short_range_cutoff[a, b])
        entries = self._pair_entries(frame, neighbours, near, rows)
        z_a, z_b = self._numbers[a[near]], self._numbers[b[near]]
        r = neighbours.distance[near]
        parts = np.stack([zbl_energy(r, z_a, z_b), zbl_derivative(r, z_a, z_b)])
        return np.bincount(
            entries.row, weights=entries.value * parts[entries.part, entries.term], minlength=rows.n_rows
        ).astype(np.float64)

    def _triplets(self, frame: Atoms, kinds: IntArray, neighbours: _Neighbours, rows: Rows) -> dict[Block, _Entries]:
        near = np.flatnonzero(neighbours.distance < self.triplet_cutoff)
        start = np.searchsorted(neighbours.i[near], np.arange(len(frame) + 1))
        # Neighbours are sorted by species, so first <= second puts the species of the block in order too.
        found = [np.array(np.triu_indices(n)) + s for s, n in zip(start[:-1], np.diff(start), strict=True)]
        first, second = near[np.concatenate(found, axis=1)]
        blocks = np.stack([kinds[neighbours.i[first]], kinds[neighbours.j[first]], kinds[neighbours.j[second]]], axis=1)
        result: dict[Block, _Entries] = {}
        for block in np.unique(blocks, axis=0):
            member = (blocks == block).all(axis=1)
            c, a, b = (int(k) for k in block)
            result[c, a, b] = self._triplet_entries(frame, neighbours, first[member], second[member], rows)
        return result

    def _triplet_entries(
        self, frame: Atoms, neighbours: _Neighbours, first: IntArray, second: IntArray, rows: Rows
    ) -> _Entries:
        v1, v2 = neighbours.vector[first], neighbours.vector[second]
        r1, r2 = neighbours.distance[first][:, None], neighbours.distance[second][:, None]
        e1, e2 = v1 / r1, v2 / r2
        cosine = np.clip((e1 * e2).sum(axis=1, keepdims=True), -1.0, 1.0)
        gradients = np.zeros((len(first), 3, 2, 3))
        gradients[:, 0, 0] = e1
        gradients[:, 1, 1] = e2
        gradients[:, 2, 0] = (e2 - cosine * e1) / r1
        gradients[:, 2, 1] = (e1 - cosine * e2) / r2
        return _entries(
            frame,
            rows,
            coordinates=np.concatenate([r1, r2, cosine], axis=1),
            gradients=gradients,
            vectors=np.stack([v1, v2], axis=1),
            centre=neighbours.i[first],
            ends=np.stack([neighbours.j[first], neighbours.j[second]], axis=1),
            # The sum of the energy model runs over ordered (j, k): it meets two different neighbours twice.
            weight=np.where(first == second, 1.0, 2.0),
        )


def _entries(
    frame: Atoms,
    rows: Rows,
    *,
    coordinates: FloatArray,
    gradients: FloatArray,
    vectors: FloatArray,
    centre: IntArray,
    ends: IntArray,
    weight: FloatArray,
) -> _Entries:
    """Jacobian of the rows of a frame in the terms `weight * f(coordinates)`.

    Parameters
    ----------
    coordinates : (n, n_coordinates) array
    gradients : (n, n_coordinates, n_vectors, 3) array
        Derivatives of the coordinates in the bond vectors.
    vectors : (n, n_vectors, 3) array
        Bond vectors from the centre to the ends, A.
    centre, ends : (n,) and (n, n_vectors) int arrays
        Atoms.
    weight : (n,) array
    """
    n, n_coordinates, n_vectors = gradients.shape[:3]
    weighted = gradients * weight[:, None, None, None]
    row: list[IntArray] = []
    part: list[IntArray] = []
    term: list[IntArray] = []
    value: list[FloatArray] = []

    def add(rows_of_terms: IntArray, p: int, values: FloatArray) -> None:
        wanted = (rows_of_terms >= 0) & (values != 0)
        row.append(rows_of_terms[wanted])
        part.append(np.full(wanted.sum(), p))
        term.append(np.flatnonzero(wanted))
        value.append(values[wanted])

    if rows.energy:
        add(np.zeros(n, dtype=np.int64), 0, weight)

    force_row = np.full(len(frame), -1, dtype=np.int64)
    force_row[rows.atoms] = rows.forces.start + 3 * np.arange(len(rows.atoms))
    for p in range(n_coordinates):
        for x in range(3):
            pulls = [(centre, weighted[:, p, :, x].sum(axis=1))]
            pulls += [(ends[:, m], -weighted[:, p, m, x]) for m in range(n_vectors)]
            for atom, values in pulls:
                target = force_row[atom]
                add(np.where(target >= 0, target + x, -1), p + 1, values)
        if rows.stress:
            # The derivative in a strain is the symmetric part of gradient (x) vector, summed over the bond vectors.
            strain = np.einsum("tma,tmb->tab", weighted[:, p], vectors) / frame.cell.volume
            for v, (a, b) in enumerate(VOIGT):
                add(np.full(n, rows.n_rows - 6 + v), p + 1, 0.5 * (strain[:, a, b] + strain[:, b, a]))

    # Where only some atoms are wanted most terms reach none of them.
    used, term_used = np.unique(np.concatenate(term), return_inverse=True)
    return _Entries(
        coordinates=coordinates[used],
        row=np.concatenate(row),
        part=np.concatenate(part),
        term=term_used.astype(np.int64),
        value=np.concatenate(value),
    )


def _chunks(found: Sequence[tuple[int, _Entries]]) -> tuple[Chunk, ...]:
    """Join the terms of several frames (first row, entries) and cut them into chunks."""
    first_term = np.cumsum([0] + [len(e.coordinates) for _, e in found])
    coordinates = np.concatenate([e.coordinates for _, e in found])
    row = np.concatenate([e.row + start for start, e in found])
    term = np.concatenate([e.term + first for first, (_, e) in zip(first_term[:-1], found, strict=True)])
    part = np.concatenate([e.part for _, e in found])
    value = np.concatenate([e.value for _, e in found])
    order = np.argsort(term, kind="stable")
    row, term, part, value = row[order], term[order], part[order], value[order]

    chunks = []
    for start in range(0, len(coordinates), CHUNK_TERMS):
        x = coordinates[start : start + CHUNK_TERMS]
        inside = slice(*np.searchsorted(term, [start, start + len(x)]))
        low, high = int(row[inside].min()), int(row[inside].max()) + 1
        jacobian = sparse.csr_matrix(
            (value[inside], (row[inside] - low, part[inside] * len(x) + term[inside] - start)),
            shape=(high - low, (x.shape[1] + 1) * len(x)),
        )
        chunks.append(Chunk(coordinates=x, rows=slice(low, high), jacobian=jacobian))
    return tuple(chunks)


Kernel = Callable[[Block, FloatArray, FloatArray], FloatArray]
"""Covariance of a block between two sets of coordinates: (n_parts * n, n_parts * m)."""


def contract(left: Functionals, right: Functionals, kernel: Kernel) -> FloatArray:
    """Covariance of two sets of rows under `kernel`, summed over blocks: (left.n_rows, right.n_rows)."""
    result = np.zeros((left.n_rows, right.n_rows))
    for block in left.blocks.keys() & right.blocks.keys():
        for n, a in enumerate(left.blocks[block]):
            # A set with itself: half of the chunk pairs determine the other half.
            partners = right.blocks[block][n:] if left is right else right.blocks[block]
            for b in partners:
                half = a.jacobian @ kernel(block, a.coordinates, b.coordinates)
                both = (b.jacobian @ np.ascontiguousarray(half.T)).T
                result[a.rows, b.rows] += both
                if left is right and a is not b:
                    result[b.rows, a.rows] += both.T
    return result


def contract_mean(left: Functionals, right: Functionals, kernel: Kernel, weights: FloatArray) -> FloatArray:
    """`contract(left, right, kernel) @ weights` without the matrix: (left.n_rows,)."""
    result = np.zeros(left.n_rows)
    for block in left.blocks.keys() & right.blocks.keys():
        sources = [(b.coordinates, b.jacobian.T @ weights[b.rows]) for b in right.blocks[block]]
        for a in left.blocks[block]:
            parts = np.zeros(a.jacobian.shape[1])
            for coordinates, source in sources:
                parts += kernel(block, a.coordinates, coordinates) @ source
            result[a.rows] += a.jacobian @ parts
    return result
