"""Crystals of springs: calculators whose energies, forces and force constants are known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list

Displacements = Callable[[Atoms], np.ndarray]
"""Displacements u of the atoms from their sites, (n_atoms, 3), A."""


class SiteSprings(Calculator):
    """A spring from every atom to its site: E = sum_i k |u_i|^2 / 2 + c |u_i|^4 / 4, F_i = -(k + c |u_i|^2) u_i.

    Parameters
    ----------
    displacements : callable
        Which site is whose, and whether the crystal may move as a whole. For forces that are exact, F must be -dE/dx
        through it.
    stiffness : float
        k, eV/A^2.
    cubic : float
        c, eV/A^4, of the anharmonic force.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, displacements: Displacements, *, stiffness: float, cubic: float = 0.0) -> None:
        super().__init__()
        self.displacements, self.stiffness, self.cubic = displacements, stiffness, cubic

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        u = self.displacements(self.atoms)
        square = np.sum(u**2, axis=1, keepdims=True)
        energy = 0.5 * self.stiffness * np.sum(square) + 0.25 * self.cubic * np.sum(square**2)
        self.results = {"energy": float(energy), "forces": -(self.stiffness + self.cubic * square) * u}


class BondSprings(SiteSprings):
    """Springs between neighbours, along and across the bond, and to the sites.

    Without the cubic term an exactly harmonic crystal: forces are linear in the displacements at any amplitude,
    F_i = sum_j K_ij (u_j - u_i) - on_site u_i. The sites are given as a structure.
    """

    def __init__(
        self,
        sites: Atoms,
        *,
        cutoff: float,
        along: float = 4.0,
        across: float = 0.5,
        on_site: float = 0.0,
        cubic: float = 0.0,
    ) -> None:
        super().__init__(
            lambda atoms: find_mic(atoms.positions - self.sites.positions, self.sites.cell)[0],
            stiffness=on_site,
            cubic=cubic,
        )
        self.sites = sites.copy()
        self.i, self.j, bonds = neighbor_list("ijD", sites, cutoff)
        n = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
        nn = n[:, :, None] * n[:, None, :]
        self.k = along * nn + across * (np.eye(3) - nn)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        u = self.displacements(self.atoms)
        stretch = np.einsum("bxy,by->bx", self.k, u[self.j] - u[self.i])
        np.add.at(self.results["forces"], self.i, stretch)
        # Every bond is in the list twice.
        self.results["energy"] += float(0.25 * np.sum(stretch * (u[self.j] - u[self.i])))

    @property
    def exact(self) -> np.ndarray:
        """Force constants written down from the springs, (n, n, 3, 3)."""
        n = len(self.sites)
        phi = np.zeros((n, n, 3, 3))
        np.add.at(phi, (self.i, self.j), -self.k)
        np.add.at(phi, (self.i, self.i), self.k)
        phi[np.arange(n), np.arange(n)] += self.stiffness * np.eye(3)
        return phi
