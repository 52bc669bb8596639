"""Frames labelled by truths of a known form: pairs of some reach, or quadruplets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.build import bulk

from potential_systems import pairs_within, triclinic
from trepid.data import Labels, attach_labels
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.channel_choice import choose_channels
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.terms import Hyperparameters


def pair_truth(atoms: Atoms, reach: float) -> Atoms:
    """Energy and forces of sum over pairs of (1 - r / reach)^3 sin(2 r), eV."""
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for i, _, vector in pairs_within(atoms, reach):
        r = float(np.linalg.norm(vector))
        bump, slope = (1 - r / reach) ** 3, -3 / reach * (1 - r / reach) ** 2
        energy += 0.5 * bump * np.sin(2 * r)
        forces[i] += (slope * np.sin(2 * r) + 2 * bump * np.cos(2 * r)) * vector / r
    return attach_labels(atoms, Labels(energy=energy, forces=forces, stress=None))


def copper(reach: float, n: int = 8) -> list[Atoms]:
    frames = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True, a=4.3).repeat((2, 2, 2))
        atoms.positions += np.random.default_rng(k).normal(scale=0.03 + 0.01 * k, size=atoms.positions.shape)
        frames.append(pair_truth(atoms, reach))
    return frames


def quadruplet_truth(n: int, *, seed: int = 0) -> tuple[list[Atoms], Basis]:
    """Small periodic frames labelled by quadruplets, on top of the repulsion."""
    basis = Basis.create(["Si"], pair_cutoff=4.2, triplet_cutoff=4.0, n_pair=8, n_radial=6, l_max=3)
    first = triclinic(("Si",), seed, n=6)
    basis = replace(basis, channels=choose_channels(basis, [first], 2))
    assert basis.channels is not None
    rng = np.random.default_rng(seed)
    coefficients = np.zeros(basis.layout.size)
    for factor in basis.layout.prior_factors(Hyperparameters(quadruplet_amplitude=1.0)):
        coefficients[factor.columns] = factor.u @ rng.normal(size=factor.u.shape[1])
    potential = SplinePotential(basis, make_tables(basis, coefficients, reference_energies=np.zeros(1)), n_threads=1)
    frames = []
    for k in range(n):
        atoms = first.copy()
        atoms.positions += np.random.default_rng([seed, k]).normal(scale=0.12, size=(len(atoms), 3))
        p = potential.evaluate(atoms)
        forces = p.forces + rng.normal(scale=1e-3, size=p.forces.shape)
        frames.append(attach_labels(atoms, Labels(energy=p.energy, forces=forces, stress=p.stress)))
    return frames, basis
