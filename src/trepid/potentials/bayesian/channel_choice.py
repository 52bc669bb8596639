r"""Choice of the channels of mixed triplets and of quadruplets from training frames.

A channel is one radial function per neighbour species. The prior of a radial function, cut to K of them, is kept where
neighbours are: with M the prior covariance of the spline coefficients, R = 1_S (x) M^{1/2}, and H the covariance of what
neighbours bring,

.. math::

    V_k = R e_k, \qquad R H R\, e_k = h_k e_k,

of the K largest eigenvalues h_k. f = sum_k c_k V_k.B with c_k ~ N(0, 1) is then the rank-K part of the prior. H is the second
moment of the splines over the neighbours, with one species, and the covariance of the densities of degree 0 to 2 with several; of
training frames and of perturbed ones, so that distances outside the training set count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from vesin import NeighborList

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.couplings import racah_harmonics
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.live import perturbed
from trepid.potentials.bayesian.splines import spline_covariance, spline_values
from trepid.potentials.bayesian.terms.channels import Channels, RadialChannels
from trepid.potentials.bayesian.terms.quadruplet import QuadrupletTerm

CHANNEL_LENGTH = 0.7
"""Length scale of the prior of a channel of the quadruplets, A."""
TRIPLET_CHANNELS, TRIPLET_CHANNEL_LENGTH = 12, 1.0
"""Channels of mixed triplets, and the length scale of their prior, A."""
FRAMES, PERTURBED = 8, 12
"""Training frames, and perturbed ones, that the choice looks at."""


def with_chosen_channels(
    basis: Basis, frames: Sequence[Atoms], *, mixed_triplets: bool, n_quadruplet: int, seed: int = 0
) -> Basis:
    """The basis with the channels that these training frames choose, whatever channels it had."""
    triplets = choose_triplet_channels(basis, frames, seed=seed) if mixed_triplets else None
    basis = replace(basis, triplet_channels=triplets)
    channels = choose_channels(basis, frames, n_quadruplet, seed=seed) if n_quadruplet else None
    return replace(basis, channels=channels)


def choose_triplet_channels(
    basis: Basis,
    frames: Sequence[Atoms],
    n: int = TRIPLET_CHANNELS,
    *,
    length: float = TRIPLET_CHANNEL_LENGTH,
    seed: int = 0,
) -> RadialChannels:
    """The n channels of mixed triplets, or as many as there are radial functions of all species, if they are fewer."""
    around = _around(basis, frames, seed)
    return RadialChannels.from_array(_radial(basis, around, min(n, basis.n_species * basis.n_radial), length))


def choose_channels(basis: Basis, frames: Sequence[Atoms], n: int, *, seed: int = 0) -> Channels:
    """The n channels of the quadruplets; `basis` may have others or none."""
    chosen = _chosen(frames)
    radial = _radial(basis, _around(basis, frames, seed), n, CHANNEL_LENGTH)
    centre = _means(basis, chosen, radial)
    unscaled = replace(basis, channels=Channels.of(radial, centre, 1.0))
    return Channels.of(radial, centre, _scale(unscaled, chosen))


def _chosen(frames: Sequence[Atoms]) -> list[Atoms]:
    return [frames[k] for k in np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).astype(int)]


def _around(basis: Basis, frames: Sequence[Atoms], seed: int) -> list[Atoms]:
    """The frames that the choice looks at."""
    rng, chosen = np.random.default_rng(seed), _chosen(frames)
    return [*chosen, *(perturbed(basis, chosen[k % len(chosen)], rng)[0] for k in range(PERTURBED))]


def _radial(basis: Basis, frames: Sequence[Atoms], n: int, length: float) -> FloatArray:
    covariance = spline_covariance(r_min=basis.r_min, cutoff=basis.triplet_cutoff, n=basis.n_radial, length=length)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    size = basis.n_species * basis.n_radial
    moment = np.zeros((size, size))
    for atoms in frames:
        species, first, second, vector, spline = _pairs(basis, atoms)
        if basis.n_species == 1:
            moment += spline.T @ spline
            continue
        harmonics = racah_harmonics(2, vector / np.linalg.norm(vector, axis=1)[:, None])
        columns = species[second][:, None] * basis.n_radial + np.arange(basis.n_radial)
        for q in range(harmonics.shape[1]):
            density = np.zeros((len(atoms), size))
            np.add.at(density, (first[:, None], columns), spline * harmonics[:, q : q + 1])
            if q == 0:
                for s in range(basis.n_species):
                    density[species == s] -= density[species == s].mean(axis=0) if (species == s).any() else 0.0
            moment += density.T @ density
    full = np.kron(np.eye(basis.n_species), root)
    leading = np.linalg.eigh(full @ moment @ full)[1][:, ::-1][:, :n]
    # The sign of an eigenvector is arbitrary: fixed, so that the same frames give the same channels everywhere.
    channels = full @ leading
    channels *= np.sign(channels[np.abs(channels).argmax(axis=0), np.arange(channels.shape[1])])
    return np.ascontiguousarray(channels.T).reshape(-1, basis.n_species, basis.n_radial)


def _means(basis: Basis, frames: Sequence[Atoms], radial: FloatArray) -> FloatArray:
    """Mean of a_k,00 per centre species, (species, channels); zero for a species without atoms."""
    sums, counts = np.zeros((basis.n_species, len(radial))), np.zeros(basis.n_species)
    for atoms in frames:
        species, first, second, _, spline = _pairs(basis, atoms)
        values = np.einsum("kpn,pn->pk", radial[:, species[second]], spline)
        np.add.at(sums, species[first], values)
        counts += np.bincount(species, minlength=basis.n_species)
    return sums / np.maximum(counts, 1)[:, None]


def _scale(basis: Basis, frames: Sequence[Atoms]) -> float:
    columns = basis.layout.term(QuadrupletTerm).columns
    features = FeatureBuilder(basis)
    squares = rows = 0.0
    for atoms in frames:
        for _, force_rows in features.force_rows(atoms):
            squares += float((force_rows[:, columns] ** 2).sum())
            rows += len(force_rows)
    return float(np.sqrt(rows / squares)) if squares > 0 else 1.0


def _pairs(
    basis: Basis, atoms: Atoms
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], FloatArray, FloatArray]:
    """Species of the atoms; centre, neighbour, vector and splines (pairs, n_radial) of all pairs within the triplet cutoff."""
    species = np.array([basis.species.index(symbol) for symbol in atoms.symbols])
    search = NeighborList(cutoff=basis.triplet_cutoff, full_list=True, n_threads=1)
    first, second, vector = search.compute(atoms.positions, atoms.cell[:], atoms.pbc, quantities="ijD")
    distance = np.linalg.norm(vector, axis=1)
    spline, _ = spline_values(distance, r_min=basis.r_min, cutoff=basis.triplet_cutoff, n=basis.n_radial)
    return species, first.astype(np.intp), second.astype(np.intp), vector, spline
