"""Stillinger-Weber silicon with its exact heat flux, in numpy: LAMMPS has none for `pair_style sw` (no centroid virial).

The three-body energy is a polynomial in moments of the neighbours, so that no loop over triplets is needed:
sum_(j<k) h_j h_k (n_j . n_k + 1/3)^2 = (T : T + 2/3 V . V + S^2 / 9 - 16/9 sum_j h_j^2) / 2
with S = sum h, V = sum h n, T = sum h n n.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

EPSILON, SIGMA, REACH, LAMBDA, GAMMA, A, B = 2.1683, 2.0951, 1.80 * 2.0951, 21.0, 1.20, 7.049556277, 0.6022245584
"""Stillinger and Weber, Phys. Rev. B 31, 5262 (1985), with the energy scale of LAMMPS' Si.sw."""
FILE = f"Si Si Si {EPSILON} {SIGMA} 1.80 {LAMBDA} {GAMMA} -0.333333333333333 {A} {B} 4 0 0\n"
Array = NDArray[np.float64]


def write_file(folder: Path) -> str:
    """pair_style and pair_coeff of LAMMPS, with the file in this folder."""
    (folder / "Si.sw").write_text(FILE)
    return f"pair_style sw\npair_coeff * * {(folder / 'Si.sw').resolve()} Si\n"


class StillingerWeber:
    """Site energies, forces and heat flux of many frames of one crystal whose atoms stay on their sites.

    Parameters
    ----------
    crystal : ase.Atoms
        Ideal; neighbours are those within `list_reach` of it.
    """

    def __init__(self, crystal: Atoms, list_reach: float = 4.3) -> None:
        i, j, shift = neighbor_list("ijS", crystal, list_reach)
        self.n, self.m = len(crystal), len(i) // len(crystal)
        order = np.argsort(i, kind="stable")
        self.neighbours = j[order].reshape(self.n, self.m)
        self.vectors = (shift[order] @ np.array(crystal.cell)).reshape(self.n, self.m, 3)

    def forces(self, x: Array) -> Array:
        """Forces (f, n, 3) of unwrapped positions (f, n, 3)."""
        _, _, g = self._sites(x)
        found = g.sum(axis=2)
        for k in range(self.m):
            np.subtract.at(found, (slice(None), self.neighbours[:, k]), g[:, :, k])
        return found

    def evaluate(self, x: Array, v: Array) -> tuple[Array, Array]:
        """Energies (f, n) and potential part of the flux (f, 3) of unwrapped positions and velocities (f, n, 3)."""
        energies, d, g = self._sites(x)
        work = np.einsum("fija,fija->fij", g, v[:, self.neighbours])
        return energies, np.einsum("fi,fia->fa", energies, v) - np.einsum("fija,fij->fa", d, work)

    def _sites(self, x: Array) -> tuple[Array, Array, Array]:
        """Energies, vectors to the neighbours, and derivatives of the energies with respect to the neighbours' positions."""
        d = x[:, self.neighbours] + self.vectors - x[:, :, None]
        r = np.linalg.norm(d, axis=-1)
        inside = r < REACH - 1e-9
        gap = np.where(inside, r - REACH, -1.0)
        n = d / r[..., None]
        # Pairs, half of each.
        e2 = np.where(inside, np.exp(SIGMA / gap), 0.0)
        power = B * (SIGMA / r) ** 4
        pair = 0.5 * A * EPSILON * (power - 1) * e2
        slope = 0.5 * A * EPSILON * (-4 * power / r - (power - 1) * SIGMA / gap**2) * e2
        # Triplets.
        h = np.where(inside, np.exp(GAMMA * SIGMA / gap), 0.0)
        dh = -h * GAMMA * SIGMA / gap**2
        s, moment = h.sum(axis=-1), (h[..., None] * n).sum(axis=-2)
        tensor = np.einsum("fij,fija,fijb->fiab", h, n, n, optimize=True)
        scale = 0.5 * LAMBDA * EPSILON
        three = scale * (
            (tensor**2).sum(axis=(-1, -2)) + 2 / 3 * (moment**2).sum(axis=-1) + s**2 / 9 - 16 / 9 * (h**2).sum(axis=-1)
        )
        tn = np.einsum("fiab,fijb->fija", tensor, n)
        by_h = scale * (
            2 * (tn * n).sum(-1) + 4 / 3 * np.einsum("fia,fija->fij", moment, n) + 2 / 9 * s[..., None] - 32 / 9 * h
        )
        by_n = scale * h[..., None] * (4 * tn + 4 / 3 * moment[:, :, None])
        across = by_n - n * (by_n * n).sum(-1)[..., None]
        g = (slope + by_h * dh)[..., None] * n + across / r[..., None]  # d e_i / d r_j
        return pair.sum(axis=-1) + three, d, g
