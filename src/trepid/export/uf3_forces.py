"""Energy and forces of a uf3 file in Python, by the arithmetic of LAMMPS: what the exported forces are compared by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from scipy.interpolate import BSpline, NdBSpline

from trepid.arrays import FloatArray
from trepid.export.bonds import Bonds, bonds_of
from trepid.export.splines import DEGREE, Grid
from trepid.export.uf3 import UF3Potential, file_cutoff, lammps_zbl
from trepid.potentials.bayesian.spline_potential import SpeciesIndex


def evaluate(potential: UF3Potential, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy (eV, without those of the species) and forces (n_atoms, 3), eV/A, as LAMMPS has them."""
    species = SpeciesIndex(potential.species)(atoms)
    pair_cutoff, folded_cutoff, leg_cutoff = (file_cutoff(g) for g in (potential.pair, potential.folded, potential.leg))
    bonds = bonds_of(atoms, max(pair_cutoff, folded_cutoff))
    forces = np.zeros((len(atoms), 3))
    energy = _add_pairs(potential.pair, potential.pairs, species, _within(bonds, pair_cutoff), forces)
    energy += _add_pairs(potential.folded, potential.foldings, species, _within(bonds, folded_cutoff), forces)
    energy += _add_triplets(potential, species, _within(bonds, leg_cutoff), forces)
    return energy + _add_cores(potential, species, _within(bonds, potential.zbl_outer), forces), forces


def _within(bonds: Bonds, cutoff: float) -> Bonds:
    near = bonds[3] < cutoff
    i, j, vectors, distances = (x[near] for x in bonds)
    return i, j, vectors, distances


def _of_species(species: np.ndarray, bonds: Bonds, a: int, b: int) -> Bonds:
    low, high = np.minimum(species[bonds[0]], species[bonds[1]]), np.maximum(species[bonds[0]], species[bonds[1]])
    i, j, vectors, distances = (x[(low == a) & (high == b)] for x in bonds)
    return i, j, vectors, distances


def _add_pairs(
    grid: Grid,
    splines: Mapping[tuple[int, int], FloatArray],
    species: np.ndarray,
    bonds: Bonds,
    forces: FloatArray,
) -> float:
    """Sum of V_2 over all bonds, both ways."""
    energy = 0.0
    for (a, b), coefficients in splines.items():
        i, _, vectors, r = _of_species(species, bonds, a, b)
        spline = BSpline(grid.knots, coefficients, DEGREE)
        energy += float(spline(r).sum())
        np.add.at(forces, i, (2 * spline(r, 1) / r)[:, None] * vectors)
    return energy


def _add_cores(potential: UF3Potential, species: np.ndarray, bonds: Bonds, forces: FloatArray) -> float:
    energy = 0.0
    for a, b in potential.pairs:
        i, _, vectors, r = _of_species(species, bonds, a, b)
        z_a, z_b = (atomic_numbers[potential.species[s]] for s in (a, b))
        core, slope = lammps_zbl(r, z_a, z_b, inner=potential.zbl_inner, outer=potential.zbl_outer)
        energy += float(core.sum() / 2)
        np.add.at(forces, i, (slope / r)[:, None] * vectors)
    return energy


def _add_triplets(potential: UF3Potential, species: np.ndarray, bonds: Bonds, forces: FloatArray) -> float:
    i, j, vectors, distances = bonds
    first, second = _bond_pairs(np.bincount(i, minlength=len(species)))
    exchange = species[j[first]] > species[j[second]]
    first, second = np.where(exchange, second, first), np.where(exchange, first, second)
    grids = (potential.leg, potential.leg, potential.side)
    energy = 0.0
    for (centre, a, b), coefficients in potential.triplets.items():
        here = (species[i[first]] == centre) & (species[j[first]] == a) & (species[j[second]] == b)
        here &= np.minimum(distances[first], distances[second]) >= potential.leg.start
        p, q = first[here], second[here]
        if len(p) == 0:
            continue
        across = vectors[q] - vectors[p]
        edges = (vectors[p], vectors[q], across)
        sides = np.stack([distances[p], distances[q], np.linalg.norm(across, axis=1)], axis=1)
        spline = NdBSpline(tuple(grid.knots for grid in grids), coefficients, DEGREE)
        energy += float(spline(sides).sum())
        pulls = [
            (spline(sides, nu=tuple(int(k == axis) for k in range(3))) / sides[:, axis])[:, None] * edges[axis]
            for axis in range(3)
        ]
        np.add.at(forces, i[p], pulls[0] + pulls[1])
        np.add.at(forces, j[p], pulls[2] - pulls[0])
        np.add.at(forces, j[q], -pulls[1] - pulls[2])
    return energy


def _bond_pairs(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two bonds of one centre, as indices into bonds ordered by centre."""
    starts = np.cumsum(counts) - counts
    pairs = [np.stack(np.triu_indices(n, 1)) + start for n, start in zip(counts, starts, strict=True)]
    first, second = np.concatenate(pairs, axis=1)
    return first, second
