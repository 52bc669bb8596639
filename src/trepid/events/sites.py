"""Sites of a reference crystal, and which of them the atoms of a frame occupy.

Vocabulary
----------
crystal      the atoms at rest; atom i of every frame is atom i of the crystal
home         the site of the crystal that an atom belongs to: site i of atom i
lattice site a site that the crystal fills, one per atom; sites 0 to n_atoms - 1
empty site   room between them that the crystal leaves empty (`trepid.events.voids`); the sites from n_atoms on
drift        the motion of the crystal as a whole, read off the atoms of its heaviest species
at rest      the metric in which sites are compared: fractional coordinates of the frame, without drift, times the cell
             of the crystal, so that a strained or breathing cell moves no atom away from its site
kind         what tells inequivalent sites apart: the species of a lattice site, the neighbours of an empty one

Assignment to the nearest site is the Wigner-Seitz analysis of defects (A. Stukowski, Modelling Simul. Mater. Sci. Eng.
18, 015012 (2010)), with the empty sites as further cells.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from trepid.arrays import FloatArray, IntArray
from trepid.errors import DataError
from trepid.events.symmetry import Operations, operations_of
from trepid.events.voids import empty_sites, periodic_images, wrapped

_SAME_KIND_A = 0.1
"""Sites whose distances to their neighbours agree to this are of one kind."""
_NEIGHBOURS = 12
"""Neighbours of every species that tell kinds apart."""
_SHELL_A = 0.2
"""Distances between sites that differ by less are one distance in an event class."""


@dataclass(frozen=True)
class Assignment:
    """The site nearest to every atom of one frame.

    Attributes
    ----------
    sites : (n_atoms,) array of int
    distances_A : (n_atoms,) array
        From that site, in the metric of the crystal at rest.
    drift : (3,) array
        Of the crystal as a whole, fractional coordinates.
    """

    sites: IntArray
    distances_A: FloatArray
    drift: FloatArray


@dataclass(frozen=True)
class Occupancy:
    """Deviations from the crystal.

    Attributes
    ----------
    vacancies : tuple of int
        Lattice sites without an atom.
    interstitials : tuple of int
        Atoms on empty sites, and those that share a lattice site with one that belongs there better.
    moved : tuple of int
        Atoms on a lattice site of their own species that is not their home: after a hop or an exchange.
    antisites : tuple of int
        Atoms on a lattice site of another species.
    """

    vacancies: tuple[int, ...]
    interstitials: tuple[int, ...]
    moved: tuple[int, ...]
    antisites: tuple[int, ...]

    @property
    def pristine(self) -> bool:
        """Whether every atom is on its own site."""
        return not (self.vacancies or self.interstitials or self.moved or self.antisites)


@dataclass(frozen=True, eq=False)
class Sites:
    """Sites of a crystal; made by `Sites.of`.

    Attributes
    ----------
    positions : (n_sites, 3) array
        A; lattice sites in the order of the atoms, then the empty sites.
    cell : (3, 3) array
        A, vectors in rows; directions without periodicity are completed by unit vectors.
    pbc : (3,) array of bool
    species : tuple of n_atoms str
        Chemical symbols of the lattice sites.
    kinds : tuple of n_sites str
        "Cu" or, where the sites of a species differ, "Cu(1)", "Cu(2)"; "empty 4Cu6I" for an empty site with four Cu
        and six I around it.
    drift_species : str
        Species whose atoms define the drift.
    spacing_A : (n_sites,) array
        Distance to the nearest other site.
    """

    positions: FloatArray
    cell: FloatArray
    pbc: NDArray[np.bool_]
    species: tuple[str, ...]
    kinds: tuple[str, ...]
    drift_species: str
    spacing_A: FloatArray
    _fractional: FloatArray = field(repr=False)
    _drifting: NDArray[np.bool_] = field(repr=False)
    _tree: cKDTree = field(repr=False)
    _owner: IntArray = field(repr=False)
    _reach_A: float = field(repr=False)
    _distances: dict[tuple[int, int], float] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        n_lattice = len(self.species)
        formula = Atoms(self.species).get_chemical_formula()
        empty = Counter(self.kinds[n_lattice:])
        kinds = f" ({', '.join(f'{count} {kind}' for kind, count in sorted(empty.items()))})" if empty else ""
        return f"Sites({formula}: {n_lattice} lattice sites, {len(self.kinds) - n_lattice} empty sites{kinds})"

    @classmethod
    def of(
        cls,
        crystal: Atoms,
        *,
        empty: bool | ArrayLike = True,
        drift_species: str | None = None,
    ) -> Sites:
        """Sites of a crystal at rest.

        Parameters
        ----------
        crystal : Atoms
            Relaxed, without thermal displacements.
        empty : bool or (n, 3) array-like
            True: find the empty sites (`trepid.events.voids.empty_sites`); False: lattice sites only; or the
            positions of the empty sites, A.
        drift_species : str, optional
            By default the heaviest species.

        Raises
        ------
        DataError
            `drift_species` is not in the crystal, two sites share a place, or the crystal is too small for empty sites.
        """
        symbols = tuple(str(symbol) for symbol in crystal.symbols)
        if not symbols:
            raise DataError("a crystal without atoms has no sites")
        species = str(crystal.symbols[int(np.argmax(crystal.get_masses()))]) if drift_species is None else drift_species
        if species not in symbols:
            raise DataError(
                f"drift species {species} is not in the crystal, which has {', '.join(sorted(set(symbols)))}"
            )
        if isinstance(empty, bool):
            added = empty_sites(crystal) if empty else np.empty((0, 3))
        else:
            added = np.asarray(empty, dtype=np.float64).reshape(-1, 3)
        cell, pbc = crystal.cell.complete().array.copy(), np.array(crystal.pbc)
        positions = np.concatenate([crystal.positions, added])
        fractional = wrapped(positions @ np.linalg.inv(cell), pbc)
        spacing = _spacing(fractional, cell, pbc)
        if spacing.min() < 0.1:
            site = int(np.argmin(spacing))
            raise DataError(
                f"site {site} is {spacing[site]:.3g} A from another site; sites must be 0.1 A apart or more"
            )
        reach = 1.5 * float(spacing.max()) if len(spacing) > 1 else float(np.linalg.norm(cell.sum(axis=0)))
        points, owner = periodic_images(fractional, cell, pbc, reach)
        return cls(
            positions=positions,
            cell=cell,
            pbc=pbc,
            species=symbols,
            kinds=_kinds(fractional, symbols, cell, pbc),
            drift_species=species,
            spacing_A=spacing,
            _fractional=fractional,
            _drifting=np.array([symbol == species for symbol in symbols]),
            _tree=cKDTree(points),
            _owner=owner,
            _reach_A=reach,
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms, and of lattice sites."""
        return len(self.species)

    @property
    def n_sites(self) -> int:
        """Number of sites, lattice and empty."""
        return len(self.positions)

    def at_rest(self, positions: ArrayLike, cells: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Fractional coordinates of frames without the drift of the crystal.

        Parameters
        ----------
        positions : (n_frames, n_atoms, 3) array-like
            A, wrapped or not.
        cells : (3, 3) or (n_frames, 3, 3) array-like
            A.

        Returns
        -------
        (n_frames, n_atoms, 3) array, (n_frames, 3) array
            Fractional coordinates, and the drift that was taken from them. The drift is the mean displacement of the
            drift species from home, over the atoms within three median distances of the median displacement: thermal
            motion counts, an atom that has hopped does not.

        Raises
        ------
        DataError
            Shapes do not go together, or a value is not finite.
        """
        r, box = np.asarray(positions, dtype=np.float64), np.asarray(cells, dtype=np.float64)
        if r.ndim != 3 or r.shape[1:] != (self.n_atoms, 3):
            raise DataError(f"positions have shape {r.shape}; (n_frames, {self.n_atoms}, 3) is expected")
        if box.shape not in ((3, 3), (len(r), 3, 3)):
            raise DataError(f"cells have shape {box.shape}; (3, 3) or ({len(r)}, 3, 3) is expected")
        if not (np.isfinite(r).all() and np.isfinite(box).all()):
            raise DataError("positions and cells of a trajectory must be finite")
        # Directions without periodicity have the vector of the crystal, whatever that of the frame.
        box = np.where(self.pbc[:, None], box, self.cell)
        fractional = r @ np.linalg.inv(box)
        offset = fractional[:, self._drifting] - self._fractional[: self.n_atoms][self._drifting]
        # The circular mean does not depend on the border of the cell; about it, every offset is unwrapped safely.
        angle = np.angle(np.exp(2j * np.pi * offset).mean(axis=1)) / (2 * np.pi)
        centre = np.where(self.pbc, angle, np.median(offset, axis=1))[:, None]
        offset -= centre
        offset -= np.where(self.pbc, np.rint(offset), 0.0)
        middle = np.median(offset, axis=1, keepdims=True)
        distance = np.linalg.norm((offset - middle) @ self.cell, axis=2, keepdims=True)
        counted = distance <= 3.0 * np.median(distance, axis=1, keepdims=True) + 1e-9
        mean = (offset * counted).sum(axis=1, keepdims=True) / counted.sum(axis=1, keepdims=True)
        drift = centre + mean
        return fractional - drift, drift[:, 0]

    def offsets(self, fractional: FloatArray, sites: IntArray | slice) -> FloatArray:
        """Minimum-image vectors from sites to atoms in the metric of the crystal at rest.

        Parameters
        ----------
        fractional : (..., n, 3) array
            Of `at_rest`.
        sites : (n,) array of int or slice
            The site of every atom.

        Returns
        -------
        (..., n, 3) array
            A. Exact up to half the least thickness of the cell; beyond, never shorter than the minimum image.
        """
        difference = fractional - self._fractional[sites]
        difference -= np.where(self.pbc, np.rint(difference), 0.0)
        return difference @ self.cell

    def nearest(self, fractional: FloatArray) -> tuple[IntArray, FloatArray]:
        """Nearest site of every point and its distance, A, in the metric of the crystal at rest; (n,) arrays.

        Parameters
        ----------
        fractional : (n, 3) array
            Of `at_rest`.
        """
        points = wrapped(fractional, self.pbc) @ self.cell
        distance, image = self._tree.query(points)
        site = self._owner[image]
        # The images reach so far out of the cell that what is found within this reach is the nearest.
        for k in np.flatnonzero(distance > self._reach_A):
            difference = fractional[k] @ self.cell - self._fractional @ self.cell
            length = find_mic(difference, self.cell, self.pbc)[1]
            site[k], distance[k] = int(np.argmin(length)), float(length.min())
        return site.astype(np.int64), np.asarray(distance, dtype=np.float64)

    def assign(self, frame: Atoms) -> Assignment:
        """Nearest site of every atom of a frame.

        Raises
        ------
        DataError
            The frame does not have the atoms of the crystal in its order.
        """
        fractional, drift = self.at_rest(*self._arrays(frame))
        sites, distances = self.nearest(fractional[0])
        return Assignment(sites, distances, drift[0])

    def assign_trajectory(self, positions: ArrayLike, cells: ArrayLike) -> tuple[IntArray, FloatArray]:
        """Nearest site of every atom of every frame and its distance, A; (n_frames, n_atoms) arrays.

        Parameters
        ----------
        positions, cells
            As in `at_rest`.
        """
        fractional, _ = self.at_rest(positions, cells)
        home = np.arange(self.n_atoms)
        sites = np.broadcast_to(home, fractional.shape[:2]).copy()
        distances = np.linalg.norm(self.offsets(fractional, home), axis=2)
        # Inside the sphere that touches the nearest face of its cell an atom has no nearer site: no need to search.
        search = distances >= 0.5 * self.spacing_A[: self.n_atoms]
        sites[search], distances[search] = self.nearest(fractional[search])
        return sites, distances

    def displacements(self, frame: Atoms) -> FloatArray:
        """Displacement of every atom from its own site, without drift, (n_atoms, 3), A, in the cell of the frame.

        Raises
        ------
        DataError
            As `assign`.
        """
        positions, cell = self._arrays(frame)
        fractional, _ = self.at_rest(positions, cell)
        box = np.where(self.pbc[:, None], cell, self.cell)
        difference = (fractional[0] - self._fractional[: self.n_atoms]) @ box
        return np.asarray(find_mic(difference, box, self.pbc)[0], dtype=np.float64)

    def off_site(self, frame: Atoms, *, fraction: float = 0.35) -> IntArray:
        """Atoms farther from their own site than this fraction of the way to the nearest other site, ascending.

        The default is the core of `trepid.events.detection`: outside of it an atom is on its way, or the crystal hot.

        Raises
        ------
        DataError
            As `assign`.
        """
        far = np.linalg.norm(self.displacements(frame), axis=1) > fraction * self.spacing_A[: self.n_atoms]
        return np.flatnonzero(far)

    def occupancy(self, assignment: Assignment) -> Occupancy:
        """Vacancies, interstitials and atoms that are not on their own site. Thermal excursions of this frame count."""
        n = self.n_atoms
        sites = assignment.sites
        holder: dict[int, int] = {}
        for atom in np.lexsort((assignment.distances_A, sites != np.arange(n))):
            if sites[atom] < n:
                # Atoms on their own site first, then by distance: the first one keeps the site.
                holder.setdefault(int(sites[atom]), int(atom))
        holders = set(holder.values())
        away = [(site, atom) for site, atom in holder.items() if site != atom]
        return Occupancy(
            vacancies=tuple(site for site in range(n) if site not in holder),
            interstitials=tuple(atom for atom in range(n) if atom not in holders),
            moved=tuple(sorted(atom for site, atom in away if self.species[site] == self.species[atom])),
            antisites=tuple(sorted(atom for site, atom in away if self.species[site] != self.species[atom])),
        )

    def distance(self, first: int, second: int) -> float:
        """Minimum-image distance of two sites, A."""
        pair = (min(first, second), max(first, second))
        if pair not in self._distances:
            difference = (self._fractional[pair[1]] - self._fractional[pair[0]]) @ self.cell
            self._distances[pair] = float(find_mic(difference, self.cell, self.pbc)[1])
        return self._distances[pair]

    def shell(self, first: int, second: int) -> float:
        """Distance of two sites, the same number for all pairs whose distances agree to about 0.2 A."""
        distance = self.distance(first, second)
        start = int(np.searchsorted(self._shells, distance + 1e-6, side="right")) - 1
        return float(self._shells[start]) if start >= 0 else distance

    def check(self, frame: Atoms) -> None:
        """Refuse a frame that does not have the atoms of the crystal in its order.

        Raises
        ------
        DataError
        """
        symbols = [str(symbol) for symbol in frame.symbols]
        if len(symbols) != self.n_atoms:
            raise DataError(f"the frame has {len(symbols)} atoms, the crystal {self.n_atoms}")
        for k, (found, expected) in enumerate(zip(symbols, self.species, strict=True)):
            if found != expected:
                raise DataError(
                    f"atom {k} (counted from 0) of the frame is {found}, of the crystal {expected}: "
                    "atoms of a frame must be in the order of the crystal"
                )

    def _arrays(self, frame: Atoms) -> tuple[FloatArray, FloatArray]:
        self.check(frame)
        return frame.positions[None], frame.cell.array

    @cached_property
    def operations(self) -> Operations:
        """Symmetry operations of the crystal, to the tolerance that tells kinds of sites apart."""
        crystal = Atoms(self.species, positions=self.positions[: self.n_atoms], cell=self.cell, pbc=self.pbc)
        return operations_of(crystal, tolerance_A=_SAME_KIND_A)

    @cached_property
    def _shells(self) -> FloatArray:
        """Least distance of every shell of sites, ascending, A, as far as the tree reaches and beyond by steps."""
        far = 3.0 * float(self.spacing_A.max())
        points, _ = periodic_images(self._fractional, self.cell, self.pbc, far)
        pairs = cKDTree(self._fractional @ self.cell).sparse_distance_matrix(
            cKDTree(points), far, output_type="ndarray"
        )
        starts: list[float] = []
        for value in np.unique(pairs["v"][pairs["v"] > 1e-6].round(6)):
            if not starts or value > starts[-1] + _SHELL_A:
                starts.append(float(value))
        longest = float(np.linalg.norm(np.abs(self.cell).sum(axis=0)))
        beyond = np.arange(far + _SHELL_A, longest + _SHELL_A, _SHELL_A)
        return np.concatenate([np.array(starts) - 1e-6, beyond])


def _spacing(fractional: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Distance from every site to the nearest other one, or to its own nearest image, A; infinite if there is none."""
    points = fractional @ cell
    reach = 3.0 * (abs(np.linalg.det(cell)) / len(points)) ** (1 / 3)
    longest = float(np.linalg.norm(np.abs(cell).sum(axis=0)))
    while True:
        images, _ = periodic_images(fractional, cell, pbc, reach)
        if len(images) > 1:
            found = cKDTree(images).query(points, k=2)[0][:, 1]
            if found.max() <= reach or reach > longest:
                return np.asarray(found, dtype=np.float64)
        elif reach > longest:
            return np.full(len(points), np.inf)
        reach *= 2.0


def _kinds(
    fractional: FloatArray, symbols: tuple[str, ...], cell: FloatArray, pbc: NDArray[np.bool_]
) -> tuple[str, ...]:
    """Names of the kinds of all sites, from their distances to the nearest atoms of every species."""
    n = len(symbols)
    points = fractional @ cell
    columns = []
    for species in sorted(set(symbols)):
        members = np.array([k for k, symbol in enumerate(symbols) if symbol == species])
        reach = 4.0 * (abs(np.linalg.det(cell)) / len(members)) ** (1 / 3)
        images, _ = periodic_images(fractional[members], cell, pbc, reach)
        k = min(_NEIGHBOURS + 1, len(images))
        # Beyond the reach the list of images is incomplete; distances there are not used.
        columns.append(np.minimum(cKDTree(images).query(points, k=k)[0].reshape(len(points), k), reach))
    fingerprint = np.concatenate(columns, axis=1)
    leaders: list[int] = []
    kind = np.empty(len(points), dtype=int)
    for site, row in enumerate(fingerprint):
        for number, leader in enumerate(leaders):
            alike = (site < n) == (leader < n) and (site >= n or symbols[site] == symbols[leader])
            if alike and np.abs(row - fingerprint[leader]).max() <= _SAME_KIND_A:
                kind[site] = number
                break
        else:
            kind[site] = len(leaders)
            leaders.append(site)
    bare = [
        symbols[leader] if leader < n else _surroundings(fractional, symbols, cell, pbc, leader) for leader in leaders
    ]
    shared, seen, names = Counter(bare), Counter[str](), []
    for name in bare:
        seen[name] += 1
        names.append(f"{name}({seen[name]})" if shared[name] > 1 else name)
    return tuple(names[number] for number in kind)


def _surroundings(
    fractional: FloatArray, symbols: tuple[str, ...], cell: FloatArray, pbc: NDArray[np.bool_], site: int
) -> str:
    """Name of an empty site: the atoms up to 1.2 times as far as the nearest."""
    n = len(symbols)
    point = fractional[site] @ cell
    reach = 2.0 * (abs(np.linalg.det(cell)) / n) ** (1 / 3)
    while True:
        images, owner = periodic_images(fractional[:n], cell, pbc, reach)
        distance = np.linalg.norm(images - point, axis=1)
        if 1.2 * distance.min() <= reach:
            break
        reach *= 2.0
    around = Counter(symbols[k] for k in owner[distance <= 1.2 * distance.min()])
    return "empty " + "".join(f"{count}{symbol}" for symbol, count in sorted(around.items()))
