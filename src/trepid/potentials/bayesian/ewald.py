r"""Coulomb energy of Gaussian charges in a periodic cell: the reciprocal part of an Ewald sum, which is all of it.

Two Gaussian charge densities of standard deviation w, q_i and q_j, interact as

.. math::

    \phi(r) = K\, q_i q_j\, \mathrm{erf}(g r) / r, \qquad g = 1 / (2 w),

which is smooth at r = 0 and, beyond a few w, the interaction of point charges: at r = 6 w, where pairs end, it is smaller by
2e-5. What differs at short distance is a pair energy, which pairs describe. In a periodic cell of volume V (Ewald, Ann. Phys.
369, 253 (1921); Frenkel and Smit, Understanding Molecular Simulation, 2nd ed., section 12.1)

.. math::

    E = \frac{2 \pi K}{V} \sum_{k \ne 0} \frac{e^{-k^2 / 4 g^2}}{k^2} |S(k)|^2 - \frac{K g}{\sqrt\pi} \sum_i q_i^2
        - \frac{\pi K}{2 V g^2} Q^2, \qquad S(k) = \sum_i q_i e^{i k x_i}.

The second term takes out the interaction of each charge with itself. The third is that of the total charge Q with a uniform
neutralising background: it makes the energy of a charged cell, such as that of a vacancy, the one that point charges have.
The surrounding medium is a conductor (tin-foil boundary): no dipole term.

LAMMPS computes the same with `kspace_style ewald` or `pppm` and `kspace_modify gewald g`, without a part in real space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid.data.formula import formula_of
from trepid.errors import DataError
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.zbl import COULOMB

SMALLEST_FACTOR = 1e-13
"""Wave vectors whose factor exp(-k^2 / 4 g^2) is smaller are left out."""
CHUNK = 2**21
"""Complex numbers in the largest array."""


@dataclass(frozen=True, eq=False)
class CoulombSum:
    """Coulomb energy and its derivatives.

    Attributes
    ----------
    energy : float
        eV.
    forces : (n_atoms, 3) array
        eV/A.
    strain : (6,) array
        dE/d(strain), eV, in the order xx yy zz yz xz xy.
    atom_energies : (n_atoms,) array
        Half of the interaction of every charge with all others, eV.
    """

    energy: float
    forces: FloatArray
    strain: FloatArray
    atom_energies: FloatArray

    def scaled(self, factor: float) -> CoulombSum:
        """That of charges whose products are larger by `factor`."""
        return CoulombSum(factor * self.energy, factor * self.forces, factor * self.strain, factor * self.atom_energies)


@dataclass(frozen=True, eq=False)
class _Reciprocal:
    """Wave vectors of a cell, of one half of reciprocal space: k = 2 pi (n_x, n_y, n_z) inverse^T.

    Attributes
    ----------
    plane : (m, 2) array
        n_x >= 0 and n_y.
    along : (l,) array
        n_z, the same for every row of `plane`.
    weight : (m, l) array
        4 pi K / V exp(-k^2 / 4 g^2) / k^2, twice that where n_x > 0; zero for wave vectors that do not count.
    squares : (m, l, 6) array
        2 k_a k_b (1 / k^2 + 1 / 4 g^2), xx yy zz yz xz xy.
    """

    inverse: FloatArray
    volume: float
    plane: NDArray[np.intp]
    along: NDArray[np.intp]
    weight: FloatArray
    squares: FloatArray


def coulomb_sum(atoms: Atoms, charges: FloatArray, *, width: float) -> CoulombSum:
    """Coulomb energy, forces and strain derivative of Gaussian charges.

    Parameters
    ----------
    atoms : Atoms
    charges : (n_atoms,) array
        e.
    width : float
        Standard deviation of the charge densities, A.

    Raises
    ------
    DataError
        The structure is not periodic in all three directions.
    """
    require_periodic(atoms)
    k = _reciprocal(np.ascontiguousarray(atoms.cell[:], dtype=np.float64).tobytes(), width)
    g, n = 1 / (2 * width), len(atoms)
    phases = atoms.positions @ k.inverse
    size = max(1, CHUNK // len(k.plane))
    chunks = [slice(first, min(first + size, n)) for first in range(0, n, size)]
    waves = [_waves(k, phases[own]) for own in chunks]
    structure = np.zeros(k.weight.shape, dtype=complex)
    for own, (plane, along) in zip(chunks, waves, strict=True):
        structure += (plane * charges[own]) @ along.T
    energies = 0.5 * k.weight * (structure.real**2 + structure.imag**2)
    field = k.weight * structure.conj()
    potential, slope = np.zeros(n), np.zeros((n, 3))
    for own, (plane, along) in zip(chunks, waves, strict=True):
        inner = plane * (field @ along)
        potential[own] = inner.real.sum(axis=0)
        slope[own, :2] = inner.imag.T @ k.plane
        slope[own, 2] = np.einsum("mi,mi->i", plane, (field * k.along) @ along).imag
    total = float(charges.sum())
    background = -np.pi * COULOMB * total / (2 * k.volume * g**2)
    self_energy = -COULOMB * g / np.sqrt(np.pi) * charges
    atom_energies = charges * (0.5 * potential + self_energy + background)
    strain = np.einsum("ml,mls->s", energies, k.squares)
    strain[:3] -= energies.sum() + background * total
    return CoulombSum(
        float(atom_energies.sum()), 2 * np.pi * charges[:, None] * (slope @ k.inverse.T), strain, atom_energies
    )


def require_periodic(atoms: Atoms) -> None:
    """Raise DataError where the Coulomb energy of charges has no meaning: not periodic in all three directions."""
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise DataError(
            f"{formula_of(atoms)} has pbc {' '.join('TF'[not p] for p in atoms.pbc)}: a force field with charges "
            "needs a structure that is periodic in all three directions; give a slab or a molecule a cell with vacuum and pbc "
            "T T T"
        )


def _waves(k: _Reciprocal, phases: FloatArray) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """exp(2 pi i (n_x s_x + n_y s_y)), (m, n_atoms), and exp(2 pi i n_z s_z), (l, n_atoms)."""
    factor = 2j * np.pi
    n_x, n_y = k.plane[:, 0], k.plane[:, 1]
    x = np.exp(factor * np.outer(np.arange(n_x.max() + 1), phases[:, 0]))
    least = n_y.min()
    y = np.exp(factor * np.outer(np.arange(least, n_y.max() + 1), phases[:, 1]))
    return x[n_x] * y[n_y - least], np.exp(factor * np.outer(k.along, phases[:, 2]))


@lru_cache(maxsize=8)
def _reciprocal(cell_bytes: bytes, width: float) -> _Reciprocal:
    cell = np.frombuffer(cell_bytes).reshape(3, 3)
    inverse = np.asarray(np.linalg.inv(cell), dtype=np.float64)
    volume, g = abs(float(np.linalg.det(cell))), 1 / (2 * width)
    longest = 2 * g * np.sqrt(-np.log(SMALLEST_FACTOR))
    most = np.floor(longest * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    ranges = [np.arange(0 if axis == 0 else -m, m + 1) for axis, m in enumerate(most)]
    n = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
    vectors = 2 * np.pi * n @ inverse.T
    squared = np.einsum("...a,...a->...", vectors, vectors)
    kept = (squared < longest**2) & (squared > 0)
    safe = np.where(kept, squared, 1.0)
    weight = np.where(kept, 4 * np.pi * COULOMB / volume * np.exp(-safe / (4 * g**2)) / safe, 0.0)
    weight[1:] *= 2  # and the other half of reciprocal space
    products = [vectors[..., a] * vectors[..., b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    squares = 2 * np.stack(products, axis=-1) * (1 / safe + 1 / (4 * g**2))[..., None]
    used = kept.any(axis=2)
    return _Reciprocal(inverse, volume, n[used][:, 0, :2].copy(), ranges[2], weight[used], squares[used])
