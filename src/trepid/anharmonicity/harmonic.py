"""The harmonic crystal: a supercell and its force constants.

Vocabulary
----------
supercell         the atoms at rest, in the order of the frames that will be compared with it
displacement u    of an atom from its place in the supercell: minimum image, the drift of the whole removed, A
force constants   Phi (n, n, 3, 3), eV/A^2: the force on atom i is F2_i = -sum_j Phi_ij u_j
rest forces       F(0) on the atoms of the supercell; not zero where the structure is not relaxed
residual force    the largest of them
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import find_mic
from numpy.typing import NDArray

from trepid.anharmonicity.matching import match_atoms, nearest_distances, require_same_cell
from trepid.anharmonicity.modes import Modes, modes_of
from trepid.arrays import FloatArray, IntArray, rms
from trepid.data.formula import formula_of
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms


logger = logging.getLogger(__name__)


ASYMMETRY = 1e-3
"""Phi may differ from its transpose, and its rows from a sum of zero, by this part of its largest element."""
IN_ORDER = 0.25
"""Atoms nearer to their sites than this share of the distance to the next one are in order. In another order of a crystal of one
species all atoms may be half of this distance away once the drift is removed: axes exchanged in cells of two repetitions."""
PERMUTED = 0.5
"""A frame in which more than this part of the atoms is nearer to another site is taken to be in another order."""


@dataclass(frozen=True, eq=False)
class HarmonicReference:
    """A supercell at rest and its force constants.

    Attributes
    ----------
    supercell : Atoms
        Without calculator. Its order is the order of the force constants, of displacements and of forces.
    force_constants : (n, n, 3, 3) array
        eV/A^2.
    unitcell : Atoms or None
        The crystal that the supercell repeats, for phonopy's files. None: the supercell itself.
    supercell_matrix : (3, 3) array of int
        Its rows give the cell vectors of the supercell in those of the unit cell.
    rest_forces : (n, 3) array or None
        Forces on the atoms of the supercell at rest, eV/A; None where they are not known.
    follow : tuple of str
        Species whose mean displacement is the drift; empty: the centre of mass of all atoms.
    """

    supercell: Atoms
    force_constants: FloatArray
    unitcell: Atoms | None = None
    supercell_matrix: IntArray = field(default_factory=lambda: np.eye(3, dtype=np.int64))
    rest_forces: FloatArray | None = None
    follow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.supercell)
        phi = np.array(self.force_constants, dtype=np.float64)
        if phi.shape != (n, n, 3, 3):
            raise DataError(f"force constants have shape {phi.shape}; ({n}, {n}, 3, 3) is expected for {n} atoms")
        if not np.isfinite(phi).all():
            raise DataError("force constants are not finite")
        if self.rest_forces is not None and np.shape(self.rest_forces) != (n, 3):
            raise DataError(f"forces at rest have shape {np.shape(self.rest_forces)}; ({n}, 3) is expected")
        if self.supercell.cell.rank != 3:
            raise DataError(
                "a harmonic reference needs three cell vectors; give a sheet or a wire empty space around it"
            )
        largest = float(np.abs(phi).max())
        if largest == 0:
            raise DataError("all force constants are zero")
        asymmetry = float(np.abs(phi - phi.transpose(1, 0, 3, 2)).max())
        if asymmetry > ASYMMETRY * largest:
            logger.warning(
                "force constants are not symmetric: they differ from their transpose by %.3g eV/A^2 of %.3g",
                asymmetry,
                largest,
            )
        if self.acoustic_sum_eV_per_A2 > ASYMMETRY * largest:
            logger.warning(
                "force constants break the acoustic sum rule by %.3g eV/A^2 of %.3g: a shift of the whole crystal costs energy",
                self.acoustic_sum_eV_per_A2,
                largest,
            )
        missing = sorted(set(self.follow) - set(self.supercell.get_chemical_symbols()))
        if missing:
            raise ConfigError(f"the drift cannot follow {', '.join(missing)}: the crystal has none of it")
        bare = self.supercell.copy()
        bare.calc = None
        bare.set_constraint()
        object.__setattr__(self, "force_constants", phi)
        object.__setattr__(self, "supercell", bare)

    def __repr__(self) -> str:
        atoms, follow = self.supercell, f", drift of {' and '.join(self.follow)}" if self.follow else ""
        largest = float(np.abs(self.force_constants).max())
        return (
            f"HarmonicReference({formula_of(atoms)}, {len(atoms)} atoms, force constants up to "
            f"{largest:.3g} eV/A^2{follow})"
        )

    @property
    def matrix(self) -> FloatArray:
        """Force constants as a matrix (3n, 3n), eV/A^2."""
        n = len(self.supercell)
        return self.force_constants.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)

    @property
    def residual_force_eV_per_A(self) -> float | None:
        """Largest force on an atom of the supercell at rest; None where it is not known."""
        return None if self.rest_forces is None else float(np.linalg.norm(self.rest_forces, axis=1).max())

    @property
    def acoustic_sum_eV_per_A2(self) -> float:
        """Largest element of sum_j Phi_ij; zero where a shift of the whole crystal causes no force."""
        return float(np.abs(np.asarray(self.force_constants).sum(axis=1)).max())

    @cached_property
    def modes(self) -> Modes:
        """Modes of the supercell without the translations."""
        return modes_of(self.matrix, self.supercell.get_masses())

    @property
    def frequencies_THz(self) -> FloatArray:
        """Frequencies at Gamma of the supercell without the three translations, (3n - 3,), THz; imaginary ones negative."""
        return self.modes.frequencies_THz

    def following(self, *species: str) -> HarmonicReference:
        """The same reference with the drift defined by the mean displacement of these species.

        Choose the heavy, immobile sublattice where other atoms leave their sites: each of their hops moves the centre of mass.
        """
        return replace(self, follow=tuple(species))

    def in_order_of(
        self, atoms: Atoms, *, tolerance_A: float | None = None, where: str = "the structure"
    ) -> HarmonicReference:
        """The same reference with its atoms in the order of another structure of this supercell.

        Parameters
        ----------
        atoms : Atoms
            The crystal at rest or a frame near it. Where its order already fits, nothing is reordered.
        tolerance_A : float, optional
            Largest distance of an atom from its site; half the shortest distance between atoms if absent.
        where : str
            How an error names the structure.

        Raises
        ------
        DataError
            Another supercell, or an atom without a site; the message names the atom.
        """
        if self._far_in_order(atoms, IN_ORDER) == 0:
            return self
        half = 0.5 * float(self.neighbour_distance.min())
        try:
            sites = match_atoms(
                atoms,
                self.supercell,
                tolerance_A=half if tolerance_A is None else tolerance_A,
                where=where,
                names="the harmonic reference",
            )
        except DataError:
            # In order but for a few atoms that have left their sites: an event, not another order.
            far = self._far_in_order(atoms)
            if far is not None and far <= PERMUTED:
                return self
            raise
        ordered = replace(
            self,
            supercell=self.supercell[sites],
            force_constants=self.force_constants[np.ix_(sites, sites)],
            rest_forces=None if self.rest_forces is None else self.rest_forces[sites],
        )
        if self._far_in_order(atoms) == 0 and rms(ordered._displacements(atoms.positions)) >= rms(
            self._displacements(atoms.positions)
        ):
            return self  # hot, but in order
        return ordered

    def displacements(self, atoms: Atoms, *, check_order: bool = True, where: str = "the frame") -> FloatArray:
        """Displacements of the atoms of a frame, (n, 3), A: minimum image, without the drift of the whole.

        Parameters
        ----------
        atoms : Atoms
            A frame of the same supercell in the same order; positions wrapped or not.
        check_order : bool
            Refuse a frame in which more than half of the atoms are nearer to another site than to their own. False for
            trajectories in which atoms have wandered far.
        where : str
            How an error names the frame.

        Raises
        ------
        DataError
            Another cell, other atoms, or another order.
        """
        require_same_cell(atoms, self.supercell, where=where)
        if len(atoms) != len(self.supercell):
            raise DataError(f"{where} has {len(atoms)} atoms, the harmonic reference {len(self.supercell)}")
        other = np.flatnonzero(atoms.numbers != self.supercell.numbers)
        if other.size:
            atom = int(other[0])
            raise DataError(
                f"{where}: atom {atom} (counted from 0) is {atoms.symbols[atom]}, in the harmonic reference it is "
                f"{self.supercell.symbols[atom]}; bring the reference into the order of the frames (in_order_of)"
            )
        u = self._displacements(atoms.positions)
        if check_order and self._far(u) > PERMUTED:
            raise DataError(
                f"{where}: {100 * self._far(u):.0f} % of the atoms are nearer to another site than to their own; the order "
                "differs (in_order_of corrects it), or the crystal has melted (check_order=False)"
            )
        return u

    def displaced(self, displacements: FloatArray) -> Atoms:
        """The supercell with its atoms displaced by (n, 3), A."""
        atoms = self.supercell.copy()
        atoms.positions += displacements
        return atoms

    def forces_at(self, displacements: FloatArray) -> FloatArray:
        """Harmonic forces -Phi u for displacements (..., n, 3), in the same shape, eV/A."""
        u = np.asarray(displacements, dtype=np.float64)
        return (-(u.reshape(-1, u.shape[-2] * 3) @ self.matrix.T)).reshape(u.shape)

    def expansion_at(self, displacements: FloatArray) -> FloatArray:
        """Forces F(0) - Phi u, to first order about the supercell, in the shape of u (..., n, 3), eV/A.

        They are `forces_at` where the supercell is relaxed, or its forces at rest are not known.
        """
        harmonic = self.forces_at(displacements)
        return harmonic if self.rest_forces is None else harmonic + self.rest_forces

    def forces(self, atoms: Atoms, *, check_order: bool = True) -> FloatArray:
        """Harmonic forces of a frame, (n, 3), eV/A; errors as `displacements`."""
        return self.forces_at(self.displacements(atoms, check_order=check_order))

    def energy_at(self, displacements: FloatArray) -> FloatArray:
        """Harmonic energy u Phi u / 2 for displacements (..., n, 3), eV."""
        u = np.asarray(displacements, dtype=np.float64)
        return -0.5 * np.sum(u * self.forces_at(u), axis=(-2, -1))

    def energy(self, atoms: Atoms, *, check_order: bool = True) -> float:
        """Harmonic energy of a frame above the crystal at rest, eV; errors as `displacements`."""
        return float(self.energy_at(self.displacements(atoms, check_order=check_order)))

    def displacements_of(self, positions: FloatArray) -> FloatArray:
        """Displacements for positions (n, 3) in the order of the supercell, A: minimum image, without the drift."""
        return self._displacements(positions)

    def away(self, positions: FloatArray) -> NDArray[np.bool_]:
        """Which atoms of a frame, in the order of the supercell, are nearer to another site than to their own, (n,)."""
        u = self._displacements(positions)
        return np.asarray(np.linalg.norm(u, axis=1) > 0.5 * self.neighbour_distance)

    @cached_property
    def neighbour_distance(self) -> FloatArray:
        """Distance of every site from the next one, (n,), A."""
        return nearest_distances(self.supercell)

    @cached_property
    def _drift_weights(self) -> FloatArray:
        """Weights of the atoms in the drift, (n,), of sum 1."""
        weights = self.supercell.get_masses().copy()
        if self.follow:
            weights[~np.isin(self.supercell.get_chemical_symbols(), self.follow)] = 0.0
        return weights / weights.sum()

    def _far(self, u: FloatArray, share: float = 0.5) -> float:
        """Part of the atoms that are farther from their sites than this share of the distance to the next one."""
        return float(np.mean(np.linalg.norm(u, axis=1) > share * self.neighbour_distance))

    def _far_in_order(self, atoms: Atoms, share: float = 0.5) -> float | None:
        """The same for the sites that the order of the atoms gives them; None where even the species do not fit."""
        if len(atoms) != len(self.supercell) or (atoms.numbers != self.supercell.numbers).any():
            return None
        require_same_cell(atoms, self.supercell, where="the structure")
        return self._far(self._displacements(atoms.positions), share)

    def _displacements(self, positions: FloatArray) -> FloatArray:
        """Minimum image displacements less the drift.

        The drift may be longer than half the cell: its first guess is a mean on the circle of each periodic direction, about
        which the minimum image is taken.
        """
        cell, pbc = self.supercell.cell, self.supercell.pbc
        weights = self._drift_weights
        raw = positions - self.supercell.positions
        scaled = cell.scaled_positions(raw)
        turned = np.angle(weights @ np.exp(2j * np.pi * scaled)) / (2 * np.pi)
        guess = np.where(pbc, turned, weights @ scaled) @ cell.array
        u = np.asarray(find_mic(raw - guess, cell, pbc)[0])
        return np.asarray(find_mic(u - weights @ u, cell, pbc)[0])
