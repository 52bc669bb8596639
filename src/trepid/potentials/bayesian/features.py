"""Feature rows of the labels of a frame, and the residuals of its labels after the prior mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid import _native
from trepid.data import LabelKeys, Labels, labels_of
from trepid.data.labels import missing
from trepid.data.noise_factors import fitted_factors, weight_of
from trepid.data.placeholders import held_components
from trepid.errors import DataError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.ewald import CoulombSum, coulomb_sum
from trepid.potentials.bayesian.neighbors import SkinNeighbors
from trepid.potentials.bayesian.spline_potential import SpeciesIndex, SplinePotential, make_tables
from trepid.potentials.bayesian.statistics import LabelKind, LabelRows, SufficientStatistics
from trepid.potentials.bayesian.support import Neighbourhoods
from trepid.potentials.bayesian.terms.coulomb import CoulombTerm

CHUNK_BYTES = 256 * 2**20
"""Force rows held in memory at once."""


@dataclass(frozen=True)
class Rows:
    """Feature rows of one frame.

    Attributes
    ----------
    energy : (1, raw) array
    stress : (6, raw) array or None
        None without a cell.
    """

    energy: FloatArray
    stress: FloatArray | None


class FeatureBuilder:
    """Feature rows for one basis."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.index = SpeciesIndex(basis.species)
        self._rows = _native.FeatureRows(**basis.native, **basis.native_channels)
        if self._rows.size != basis.layout.term(CoulombTerm).start:
            raise AssertionError("the coefficient layouts of Python and C++ differ")
        empty = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(len(basis.species)))
        self._repulsion = SplinePotential(basis, empty, n_threads=1)

    def frame_rows(self, atoms: Atoms) -> Rows:
        """Rows of energy and stress."""
        has_volume = bool(atoms.cell.rank == 3)
        pairs = SkinNeighbors(self.basis.cutoff, skin=0).update(atoms, self.index(atoms))
        energy, _, strain = self._rows.compute(pairs, np.full(len(atoms), -1, np.int32), True, False, has_volume)
        assert energy is not None
        coulomb = self._coulomb(atoms)
        if coulomb is not None:
            energy = np.append(energy, coulomb.energy)
            strain = None if strain is None else np.column_stack([strain, coulomb.strain])
        return Rows(energy[None, :], None if strain is None else strain / atoms.get_volume())

    def force_rows(self, atoms: Atoms) -> Iterator[tuple[slice, FloatArray]]:
        """Rows (3 atoms, raw) of the forces, in chunks of atoms that fit `CHUNK_BYTES`."""
        pairs = SkinNeighbors(self.basis.cutoff, skin=0).update(atoms, self.index(atoms))
        coulomb = self._coulomb(atoms)
        step = max(1, CHUNK_BYTES // (24 * self.basis.layout.size))
        for first in range(0, len(atoms), step):
            chunk = slice(first, min(first + step, len(atoms)))
            yield chunk, self._force_rows(pairs, np.arange(first, chunk.stop), coulomb)

    def force_rows_of(self, atoms: Atoms, chosen: NDArray[np.intp]) -> FloatArray:
        """Rows (3 len(chosen), raw) of the forces on a few atoms, in the order given."""
        pairs = SkinNeighbors(self.basis.cutoff, skin=0).update(atoms, self.index(atoms))
        return self._force_rows(pairs, chosen, self._coulomb(atoms))

    def _coulomb(self, atoms: Atoms) -> CoulombSum | None:
        """Coulomb energy of the formal charges; None without charges."""
        charges = self.basis.charges
        if charges is None:
            return None
        return coulomb_sum(atoms, np.array(charges.formal)[self.index(atoms)], width=charges.width)

    def _force_rows(
        self, pairs: _native.Neighbours, chosen: NDArray[np.intp], coulomb: CoulombSum | None
    ) -> FloatArray:
        rows = np.full(pairs.n_atoms, -1, dtype=np.int32)
        rows[chosen] = np.arange(len(chosen))
        forces = self._rows.compute(pairs, rows, False, True, False)[1]
        assert forces is not None
        return forces if coulomb is None else np.column_stack([forces, coulomb.forces[chosen].ravel()])

    def neighbourhoods(self, atoms: Atoms) -> Neighbourhoods:
        """Powers and species of all atoms, for the support of the training data."""
        reach, index = self.basis.triplet_cutoff, self.index(atoms)
        neighbours = SkinNeighbors(reach, skin=0).update(atoms, index)
        return Neighbourhoods(
            self._repulsion.powers(atoms),
            index,
            lambda values: neighbours.nearby_mean(np.ascontiguousarray(values), reach),
        )

    def composition(self, atoms: Atoms) -> FloatArray:
        """Number of atoms of each species."""
        return np.bincount(self.index(atoms), minlength=len(self.basis.species)).astype(np.float64)

    def residual(self, atoms: Atoms, labels: Labels, reference_energies: FloatArray) -> Labels:
        """Residuals of the labels after the prior mean, which is the repulsion and the reference energies."""
        prior = self._repulsion.evaluate(atoms)
        energy = None
        if labels.energy is not None:
            energy = labels.energy - prior.energy - float(self.composition(atoms) @ reference_energies)
        stress = None
        if labels.stress is not None:
            if prior.stress is None:
                raise DataError("a frame has a stress label but no cell")
            stress = labels.stress - prior.stress
        return Labels(energy, None if labels.forces is None else labels.forces - prior.forces, stress)

    def add(
        self,
        statistics: SufficientStatistics,
        atoms: Atoms,
        *,
        keys: LabelKeys,
        reference_energies: FloatArray,
        noise: Noise,
    ) -> None:
        """Add a labelled frame to the statistics.

        Labels weigh less where forces are large (`Noise.large_force`), so that frames with large forces, which a sum of
        pairs and triplets describes least well, do not impair the fit of the others.

        Raises
        ------
        DataError
            No label, a stress label without a cell, an element that is not in the basis.
        """
        for part in self.label_rows(atoms, keys=keys, reference_energies=reference_energies, noise=noise):
            statistics.kind(part.kind).add(part.rows, part.residuals, part.multipliers)
        statistics.n_frames += 1

    def statistics(
        self,
        frames: Sequence[Atoms],
        chosen: Sequence[int],
        *,
        keys: LabelKeys,
        reference_energies: FloatArray,
        noise: Noise,
    ) -> SufficientStatistics:
        """Statistics of the `chosen` of these frames; the others, which are copies, count as frames and not as data.

        Errors as `add`, with the number of the frame.
        """
        statistics = SufficientStatistics(self.basis.layout.size)
        for k in chosen:
            with naming_frame(k):
                self.add(statistics, frames[k], keys=keys, reference_energies=reference_energies, noise=noise)
        statistics.n_frames = len(frames)
        return statistics

    def label_rows(
        self, atoms: Atoms, *, keys: LabelKeys, reference_energies: FloatArray, noise: Noise
    ) -> Iterator[LabelRows]:
        """Rows, residuals and noise multipliers of the labels of a frame: energy, stress, then forces in chunks of atoms.

        Zero forces that a constraint of the frame holds, and a stress of exact zeros, are no labels. Errors as `add`.
        """
        labels = labels_of(atoms, keys)
        if not labels.kinds:
            raise DataError(
                f"a frame has no label: none of {keys.energy}, {keys.forces}, {keys.stress}; {missing(atoms, keys)}"
            )
        rest = self.residual(atoms, labels, reference_energies)
        multiplier, free = np.ones(len(atoms)), np.ones((len(atoms), 3), dtype=bool)
        if labels.forces is not None:
            multiplier = noise.multiplier(labels.forces)
            free = ~held_components(atoms, labels.forces)
        worst, more, weight = float(multiplier.max()), fitted_factors(atoms), weight_of(atoms)
        if rest.energy is not None or rest.stress is not None:
            rows = self.frame_rows(atoms)
            if rest.energy is not None:
                scale = np.array([more.energy * worst * np.sqrt(len(atoms))])
                yield LabelRows(LabelKind.ENERGY, rows.energy, np.array([rest.energy]), scale, weight)
            # Exact zeros are what codes write that did not compute the stress.
            if (
                rest.stress is not None
                and rows.stress is not None
                and labels.stress is not None
                and labels.stress.any()
            ):
                yield LabelRows(LabelKind.STRESS, rows.stress, rest.stress, np.full(6, more.stress * worst), weight)
        if rest.forces is not None:
            for chunk, force_rows in self.force_rows(atoms):
                own = free[chunk].ravel()
                scale = more.forces * np.repeat(multiplier[chunk], 3)[own]
                yield LabelRows(LabelKind.FORCES, force_rows[own], rest.forces[chunk].ravel()[own], scale, weight)


@contextmanager
def naming_frame(k: int) -> Iterator[None]:
    """Name the frame in the message of an error."""
    try:
        yield
    except DataError as error:
        raise DataError(f"frame {k} (counted from 0): {str(error).removeprefix('frame: ')}") from error
