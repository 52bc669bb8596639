"""A force field fitted to forces alone in a fraction of a second, to hold the other labels against.

Forces are the derivatives of the energy, and stresses those with respect to strain: a fit to forces predicts energies, up
to one energy per atom of each species, and stresses. A few thousand force components suffice, with a small basis. The scale of
the forces drops out (they are divided by their rms first), so that a wrong unit is no obstacle; there is no repulsive prior,
whose sign and unit would be those of eV and A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from trepid.arrays import FloatArray, IntArray, rms
from trepid.data.frames import Labels
from trepid.errors import DataError, NumericsError
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.evidence import optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters

MOST_FRAMES = 24
MOST_ATOMS = 800
"""Of the fit: more change nothing that is judged here."""
MOST_COEFFICIENTS = 700
SIZES = ((12, 6, 3), (10, 5, 2), (10, 4, 2), (10, 4, 1), (8, 4, 0))
"""Pair splines, radial splines, degree: the first with at most `MOST_COEFFICIENTS` is taken, else the last."""
LARGEST_BASIS = 2500
"""Coefficients; sets of more elements are not fitted."""
ITERATIONS = 6
PRIOR_WEIGHT = 10.0
PAIR_REACH, TRIPLET_REACH = 1.5, 1.25
"""Cutoffs in units of the largest sum of two covalent radii, at least 5 and 4 A."""
FEWEST_WITH_PRESSURE = 4
"""Frames; fewer cannot spare a degree of freedom."""
POOR, ROUNDS = 0.5, 3
"""Force residual over force from which on a majority is looked for, by so many fits to the better half."""
FEWEST_OF_TWO_SORTS = 6
STRAY = 4.0
"""Frames with a force residual above this times the median are left out of a second fit."""


@dataclass(frozen=True, eq=False)
class QuickFit:
    """Predictions of a fit to forces alone.

    Attributes
    ----------
    frames : (n,) array of int
        Numbers of the frames that it predicts: those with forces that a fit can use.
    fitted : (m,) array of int
        Numbers of those that it was fitted to.
    energies : (n,) array
        eV, up to one energy per atom of each species.
    forces : list of (n_atoms, 3) arrays
        eV/A.
    stresses : (n, 6) array
        eV/A^3; NaN where a frame has no volume.
    quality : float
        rms force residual over the rms force, of the fitted frames: 0 is perfect, 1 is no fit at all.
    counts : (n, n_species) array
        Atoms of each species.
    design : (n, n_species or n_species + 1) array
        What energies may be off by: one energy per atom of each species, and a pressure, which forces in crystals do not
        determine: the atoms of each species, and the volume, A^3, where all frames are crystals.
    """

    frames: IntArray
    fitted: IntArray
    energies: FloatArray
    forces: list[FloatArray]
    stresses: FloatArray
    quality: float
    counts: FloatArray
    design: FloatArray


def quick_fit(frames: Sequence[Atoms], labels: Sequence[Labels], *, seed: int = 0) -> QuickFit | None:
    """Fit a small force field to the forces of a sample of the frames.

    Parameters
    ----------
    frames : sequence of Atoms
    labels : sequence of Labels
        Of each frame.
    seed : int
        Of the sample.

    Returns
    -------
    QuickFit or None
        None where there is nothing to fit: fewer than two frames with forces, too many elements, no neighbours.
    """
    usable = [k for k, (atoms, known) in enumerate(zip(frames, labels, strict=True)) if _usable(atoms, known)]
    if len(usable) < 2:
        return None
    species = sorted({symbol for k in usable for symbol in frames[k].get_chemical_symbols()})
    basis = _basis(species)
    if basis.layout.size > LARGEST_BASIS:
        return None
    rng = np.random.default_rng(seed)
    builder = FeatureBuilder(basis)
    sample = np.sort(rng.permutation(usable)[:MOST_FRAMES])
    scale = float(np.median([rms(_forces(labels[k])) for k in sample]))
    try:
        rows = [_Rows.of(builder, frames[k], _forces(labels[k]) / scale, rng, len(sample)) for k in sample]
        kept = np.ones(len(sample), dtype=bool)
        posterior = _fitted(basis, rows)
        strays = _strays(rows, posterior.mean)
        if strays.any():
            kept = ~strays
            posterior = _fitted(basis, _chosen(rows, kept))
        if _quality(_chosen(rows, kept), posterior.mean) > POOR and len(rows) >= FEWEST_OF_TWO_SORTS:
            kept, posterior = _majority(basis, rows, posterior)
        mean = _potential(basis, scale * posterior.mean)
        predictions = [mean.evaluate(frames[k]) for k in usable]
    except (NumericsError, DataError):  # no fit, nothing to compare with
        return None
    counts = np.array([builder.composition(frames[k]) for k in usable])
    volumes = np.array([frames[k].cell.volume if frames[k].pbc.all() else 0.0 for k in usable])
    return QuickFit(
        frames=np.array(usable),
        fitted=sample[kept],
        energies=np.array([p.energy for p in predictions]),
        forces=[p.forces for p in predictions],
        stresses=np.array([np.full(6, np.nan) if p.stress is None else p.stress for p in predictions]),
        quality=_quality(_chosen(rows, kept), posterior.mean),
        counts=counts,
        design=np.column_stack([counts, volumes]) if len(usable) > FEWEST_WITH_PRESSURE and volumes.all() else counts,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Feature rows (m, raw), forces (m,) and noise multipliers (m,) of some atoms of a frame."""

    rows: FloatArray
    forces: FloatArray
    multipliers: FloatArray

    @classmethod
    def of(
        cls, builder: FeatureBuilder, atoms: Atoms, forces: FloatArray, rng: np.random.Generator, n_frames: int
    ) -> _Rows:
        """Of a share of the atoms of one frame, without those whose forces are placeholders."""
        real = np.flatnonzero(forces.any(axis=1))
        chosen = np.sort(rng.permutation(real)[: max(4, -(-MOST_ATOMS // n_frames))]).astype(np.intp)
        multipliers = Hyperparameters().noise.multiplier(forces[chosen])
        return cls(builder.force_rows_of(atoms, chosen), forces[chosen].ravel(), np.repeat(multipliers, 3))

    def residual(self, coefficients: FloatArray) -> FloatArray:
        """Label minus prediction."""
        return self.forces - self.rows @ coefficients


def _fitted(basis: Basis, rows: Sequence[_Rows]) -> Posterior:
    statistics = SufficientStatistics(basis.layout.size)
    for row in rows:
        statistics.kind(LabelKind.FORCES).add(row.rows, row.forces, row.multipliers)
        statistics.n_frames += 1
    return optimize_hyperparameters(
        basis, Hyperparameters(), statistics, prior_weight=PRIOR_WEIGHT, max_iterations=ITERATIONS
    ).posterior


def _strays(rows: Sequence[_Rows], mean: FloatArray) -> NDArray[np.bool_]:
    """Frames that the fit describes much worse than the others; none where they are many."""
    left = np.array([rms(row.residual(mean) / row.multipliers) for row in rows])
    strays = left > STRAY * float(np.median(left))
    return strays if len(rows) >= 5 and strays.sum() <= len(rows) // 3 else np.zeros(len(rows), dtype=bool)


def _majority(basis: Basis, rows: Sequence[_Rows], posterior: Posterior) -> tuple[NDArray[np.bool_], Posterior]:
    """The frames that fit together, where others contradict them, such as a third with the other sign; and their fit."""
    for _ in range(ROUNDS):
        left = np.array([_quality([row], posterior.mean) for row in rows])
        kept = left <= np.median(left)
        posterior = _fitted(basis, _chosen(rows, kept))
    kept = np.array([_quality([row], posterior.mean) for row in rows]) < POOR
    if kept.sum() <= len(rows) // 2:  # no majority: the data are beyond this fit
        return np.ones(len(rows), dtype=bool), posterior
    return kept, _fitted(basis, _chosen(rows, kept))


def _quality(rows: Sequence[_Rows], mean: FloatArray) -> float:
    """Rms residual over rms force."""
    left = np.concatenate([row.residual(mean) / row.multipliers for row in rows])
    size = np.concatenate([row.forces / row.multipliers for row in rows])
    return rms(left) / rms(size)


def _chosen(rows: Sequence[_Rows], kept: NDArray[np.bool_]) -> list[_Rows]:
    return [row for row, keep in zip(rows, kept, strict=True) if keep]


def _basis(species: Sequence[str]) -> Basis:
    longest = 2 * max(float(covalent_radii[atomic_numbers[s]]) for s in species)
    pair, triplet = max(5.0, PAIR_REACH * longest), max(4.0, TRIPLET_REACH * longest)
    for n_pair, n_radial, l_max in SIZES:
        basis = Basis.create(
            species, pair_cutoff=pair, triplet_cutoff=triplet, n_pair=n_pair, n_radial=n_radial, l_max=l_max
        )
        if basis.layout.size <= MOST_COEFFICIENTS:
            break
    return basis


def _potential(basis: Basis, coefficients: FloatArray) -> SplinePotential:
    """The potential of these coefficients, without repulsion."""
    n = len(basis.species)
    tables = basis.layout.tables(coefficients, np.zeros((basis.layout.size, 0)), zbl=np.zeros((n, n, 4)))
    return SplinePotential(basis, tables)


def _usable(atoms: Atoms, labels: Labels) -> bool:
    return labels.forces is not None and len(atoms) > 1 and bool(labels.forces.any()) and bool(atoms.numbers.all())


def _forces(labels: Labels) -> FloatArray:
    assert labels.forces is not None
    return labels.forces
