from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list


class Springs(Calculator):
    """An exactly harmonic crystal: springs between neighbours, along and across the bond, and to the sites.

    Forces are linear in the displacements at any amplitude: F_i = sum_j K_ij (u_j - u_i) - on_site u_i. The sites are given as a
    structure; `cubic` adds an anharmonic force -cubic |u|^2 u on every atom.
    """

    implemented_properties = ("energy", "forces")

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
        super().__init__()
        self.sites, self.on_site, self.cubic = sites.copy(), on_site, cubic
        self.i, self.j, bonds = neighbor_list("ijD", sites, cutoff)
        n = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
        nn = n[:, :, None] * n[:, None, :]
        self.k = along * nn + across * (np.eye(3) - nn)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        u = find_mic(atoms.positions - self.sites.positions, self.sites.cell)[0]
        stretch = np.einsum("bxy,by->bx", self.k, u[self.j] - u[self.i])
        forces = -self.on_site * u - self.cubic * np.sum(u**2, axis=1, keepdims=True) * u
        np.add.at(forces, self.i, stretch)
        # Every bond is in the list twice.
        energy = 0.25 * np.sum(stretch * (u[self.j] - u[self.i])) + 0.5 * self.on_site * np.sum(u**2)
        energy += 0.25 * self.cubic * np.sum(np.sum(u**2, axis=1) ** 2)
        self.results = {"energy": float(energy), "forces": forces}

    @property
    def exact(self) -> np.ndarray:
        """Force constants written down from the springs, (n, n, 3, 3)."""
        n = len(self.sites)
        phi = np.zeros((n, n, 3, 3))
        np.add.at(phi, (self.i, self.j), -self.k)
        np.add.at(phi, (self.i, self.i), self.k)
        phi[np.arange(n), np.arange(n)] += self.on_site * np.eye(3)
        return phi
