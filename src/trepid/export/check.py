"""How well an exported potential does what the model does: the arithmetic of LAMMPS, in Python, against the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import complete_cell
from scipy.interpolate import BSpline, NdBSpline
from vesin import NeighborList

from trepid.errors import DataError
from trepid.export.splines import DEGREE, Grid
from trepid.export.uf3 import UF3Potential, file_cutoff, lammps_zbl
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.live import perturbed
from trepid.potentials.bayesian.spline_potential import SpeciesIndex, SplinePotential

PROBES = 20
"""Perturbed structures to compare on."""
TRIES = 100
"""Attempts per structure."""


@dataclass(frozen=True)
class ForceError:
    """Difference of the forces of an exported potential from those of the model, eV/A.

    Attributes
    ----------
    rmse, mae, largest : float
        Over all force components.
    forces_rms : float
        Of the model's forces, to compare with.
    n_frames : int
    """

    rmse: float
    mae: float
    largest: float
    forces_rms: float
    n_frames: int

    def as_dict(self) -> dict[str, float | int]:
        """In plain types, eV/A, with names as in the rest of trepid."""
        return {
            "forces_rmse": self.rmse,
            "forces_mae": self.mae,
            "forces_max": self.largest,
            "forces_rms": self.forces_rms,
            "n_frames": self.n_frames,
        }


def probe_frames(model: BayesianForceField, *, n: int = PROBES, seed: int = 0) -> list[Atoms]:
    """Training structures, strained and rattled and with one atom pushed away, as for the live directions.

    Atoms stay as far apart as they plausibly come, or as they were in the training structure if that is less.

    Raises
    ------
    DataError
        The model holds no training structure, or it leaves no room for the perturbation.
    """
    if not model.templates:
        raise DataError("the model holds no training structure to measure the exported forces on")
    rng = np.random.default_rng(seed)
    frames: list[Atoms] = []
    for attempt in range(TRIES * n):
        template = model.templates[attempt % len(model.templates)]
        atoms, _ = perturbed(model.basis, template, rng)
        if _closest(model, atoms) >= min(1.0, 0.95 * _closest(model, template)):
            frames.append(atoms)
        if len(frames) == n:
            return frames
    raise DataError(f"{TRIES * n} perturbed training structures brought atoms too close: no forces to compare")


def _closest(model: BayesianForceField, atoms: Atoms) -> float:
    """The shortest distance of two atoms in units of their plausible contact."""
    contact = np.array([[model.basis.plausible_contact(a, b) for b in model.species] for a in model.species])
    species = SpeciesIndex(model.species)(atoms)
    i, j, _, distances = _bonds(atoms, float(contact.max()))
    return float((distances / contact[species[i], species[j]]).min(initial=np.inf))


def force_error(exported: UF3Potential, model: SplinePotential, frames: Sequence[Atoms]) -> ForceError:
    """Compare the forces of an exported potential with those of the model it was made from."""
    theirs = [model.evaluate(atoms).forces.ravel() for atoms in frames]
    ours = [evaluate(exported, atoms)[1].ravel() for atoms in frames]
    truth = np.concatenate(theirs)
    difference = np.abs(np.concatenate(ours) - truth)
    return ForceError(
        rmse=float(np.sqrt((difference**2).mean())),
        mae=float(difference.mean()),
        largest=float(difference.max()),
        forces_rms=float(np.sqrt((truth**2).mean())),
        n_frames=len(frames),
    )


def evaluate(potential: UF3Potential, atoms: Atoms) -> tuple[float, FloatArray]:
    """Energy (eV, without those of the species) and forces (n_atoms, 3), eV/A, as LAMMPS has them."""
    species = SpeciesIndex(potential.species)(atoms)
    pair_cutoff, folded_cutoff, leg_cutoff = (file_cutoff(g) for g in (potential.pair, potential.folded, potential.leg))
    bonds = _bonds(atoms, max(pair_cutoff, folded_cutoff))
    forces = np.zeros((len(atoms), 3))
    energy = _add_pairs(potential.pair, potential.pairs, species, _within(bonds, pair_cutoff), forces)
    energy += _add_pairs(potential.folded, potential.foldings, species, _within(bonds, folded_cutoff), forces)
    energy += _add_triplets(potential, species, _within(bonds, leg_cutoff), forces)
    return energy + _add_cores(potential, species, _within(bonds, potential.zbl_outer), forces), forces


Bonds = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Centre, neighbour, vector (m, 3) from the first to the second, distance; both ways, ordered by centre."""


def _bonds(atoms: Atoms, cutoff: float) -> Bonds:
    cell = atoms.cell[:] if atoms.cell.rank == 3 else complete_cell(atoms.cell[:])
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, vectors, distances = search.compute(atoms.positions, cell, atoms.pbc, quantities="ijDd")
    order = np.argsort(i, kind="stable")
    return i[order].astype(np.intp), j[order].astype(np.intp), vectors[order], distances[order]


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
