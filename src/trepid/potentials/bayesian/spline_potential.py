"""A potential with one set of coefficients: energy, forces and stress, evaluated by the C++ core.

The posterior mean of a Bayesian force field and each of its posterior samples are such potentials; molecular dynamics
evaluates them at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from trepid import _native
from trepid.errors import ConfigError, DataError, NumericsError, unknown_elements
from trepid.lammps.kspace import Electrostatics
from trepid.potentials.base import Directions, FloatArray, Prediction, Uncertainty, warn_of_composition
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.ewald import CoulombSum, coulomb_sum
from trepid.potentials.bayesian.model_file import tables_bytes
from trepid.potentials.bayesian.neighbors import SKIN, SkinNeighbors
from trepid.potentials.bayesian.neighbour_share import with_neighbours
from trepid.potentials.bayesian.support import SupportTables, padded_places
from trepid.potentials.bayesian.terms import Tables
from trepid.potentials.bayesian.zbl import COULOMB, SCREENING_EXPONENT, SCREENING_LENGTH, zbl_range
from trepid.potentials.calculator import PotentialCalculator

if TYPE_CHECKING:
    from trepid.potentials.bayesian.compositions import Compositions


def make_tables(
    basis: Basis, coefficients: FloatArray, *, reference_energies: FloatArray, live: FloatArray | None = None
) -> Tables:
    """Tables of a coefficient vector (raw,) with live directions (raw, rank)."""
    directions = np.zeros((basis.layout.size, 0)) if live is None else live
    tables = basis.layout.tables(coefficients, directions, zbl=zbl_table(basis))
    return replace(tables, offset=tables.offset + reference_energies)


def zbl_table(basis: Basis) -> FloatArray:
    """Parameters of the short-range repulsion of every species pair, (n_species, n_species, 4); see `Tables.zbl`."""
    table = np.zeros((len(basis.species), len(basis.species), 4))
    for a, first in enumerate(basis.species):
        for b, second in enumerate(basis.species):
            za, zb = atomic_numbers[first], atomic_numbers[second]
            inverse = (za**SCREENING_EXPONENT + zb**SCREENING_EXPONENT) / SCREENING_LENGTH
            table[a, b] = COULOMB * za * zb, inverse, *zbl_range(first, second)
    return table


class SpeciesIndex:
    """Maps atomic numbers to the indices of a model's species.

    Attributes
    ----------
    of_number : array of int32
        Index of every atomic number; -1 for elements that the model does not know.
    """

    def __init__(self, species: tuple[str, ...]) -> None:
        self.species = species
        self.of_number = np.full(max(atomic_numbers.values()) + 1, -1, dtype=np.int32)
        for k, symbol in enumerate(species):
            self.of_number[atomic_numbers[symbol]] = k

    def __call__(self, atoms: Atoms) -> NDArray[np.int32]:
        """Species index of every atom, (n_atoms,).

        Raises
        ------
        DataError
            No atoms, or an element that is not among the species of the model.
        """
        if len(atoms) == 0:
            raise DataError("the structure has no atoms")
        index = self.of_number[atoms.numbers]
        if (index < 0).any():
            raise self.unknown(atoms.numbers[index < 0].tolist())
        return index

    def unknown(self, numbers: Sequence[int]) -> DataError:
        """The error that names the elements of these atomic numbers."""
        return unknown_elements({chemical_symbols[z] for z in numbers}, self.species)


class SplinePotential:
    """Potential of one set of coefficients, given as tables; several can share a basis.

    Parameters
    ----------
    support : SupportTables, optional
        Of the training data; without them predictions have no support distance.
    n_threads : int, optional
        OpenMP threads; by default what OMP_NUM_THREADS or the machine offers.
    """

    def __init__(
        self, basis: Basis, tables: Tables, *, support: SupportTables | None = None, n_threads: int | None = None
    ) -> None:
        self.basis, self.tables = basis, tables
        self.species = basis.species
        self.index = SpeciesIndex(basis.species)
        self.n_threads = n_threads or _native.max_threads()
        self.support = support or SupportTables.empty()
        self._evaluator = _native.Evaluator(**basis.native, rank=tables.rank, **tables.native, **self.support.arrays)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle: the evaluator is made again from the tables, which it would only repeat."""
        return partial(type(self), support=self.support, n_threads=self.n_threads), (self.basis, self.tables)

    def __repr__(self) -> str:
        b = self.basis
        return (
            f"<SplinePotential of {', '.join(self.species)}: cutoffs {b.pair_cutoff:g} A (pairs), "
            f"{b.triplet_cutoff:g} A (triplets), {self.tables.rank} live directions>"
        )

    @property
    def electrostatics(self) -> Electrostatics | None:
        """Effective charges; None without charges.

        Raises
        ------
        NumericsError
            The coefficient of the Coulomb energy is negative: no real charges have it.
        """
        tables = self.tables
        if not tables.formal_charges.size:
            return None
        product = float(tables.charge_product[0])
        if product < 0:
            raise NumericsError(
                f"the coefficient of the Coulomb energy is {product:.3g}, and charges would need one above zero: LAMMPS cannot "
                "compute it; train the model without charges"
            )
        charges = np.sqrt(product) * tables.formal_charges
        return Electrostatics(dict(zip(self.species, charges.tolist(), strict=True)), float(tables.charge_width[0]))

    def neighbors(self, *, skin: float = 0.0) -> SkinNeighbors:
        """A neighbour list with the cutoff of this potential."""
        return SkinNeighbors(self.basis.cutoff, skin=skin)

    def evaluate(
        self, atoms: Atoms, neighbors: SkinNeighbors | None = None, *, live: bool = False, support: bool = False
    ) -> Prediction:
        """Energy, of the atoms too, forces and stress.

        With `live`, forces_uncertainty from the live directions; with `support`, the support distance, where there are data.
        """
        if live and self.tables.rank == 0:
            raise ConfigError("this potential has no live directions: it was made without a posterior")
        pairs = (neighbors or self.neighbors()).update(atoms, self.index(atoms))
        energy, forces, strain, energies, variance, distance = self._evaluator.compute(
            pairs, live, support and bool(self.support), self.n_threads
        )
        coulomb = self._coulomb(atoms)
        if coulomb is not None:
            energy, forces, strain = energy + coulomb.energy, forces + coulomb.forces, strain + coulomb.strain
            energies = energies + coulomb.atom_energies
        return Prediction(
            energy=energy,
            forces=forces,
            stress=strain / atoms.get_volume() if atoms.cell.rank == 3 else None,
            forces_uncertainty=None
            if variance is None
            else np.sqrt(with_neighbours(variance, pairs, reach=self.basis.triplet_cutoff)),
            support_distance=None if distance is None else self._with_around(distance, pairs),
            atom_energies=energies,
        )

    def with_live_times(self, factor: float) -> SplinePotential:
        """The same mean, bit by bit, with a live uncertainty times a factor."""
        live = {name: factor * array for name, array in self.tables.arrays.items() if name.endswith("_live")}
        return SplinePotential(self.basis, replace(self.tables, **live), support=self.support, n_threads=self.n_threads)

    def to_bytes(self) -> bytes:
        """A file of its tables alone, for `pair_style trepid`."""
        return tables_bytes(self.basis, self.tables)

    def potential_flux(self, atoms: Atoms, velocities: FloatArray) -> FloatArray:
        """Heat flux (3,) without its kinetic part, of atoms with velocities (n_atoms, 3): eV times the length of the velocities.

        J = sum_i e_i v_i - sum_i W_i v_i with the energies e_i and the virials W_i of `atom_virials`.
        """
        energies, virials = self.atom_virials(atoms)
        flux: FloatArray = energies @ velocities - np.einsum("iab,ib->a", virials, velocities)
        return flux

    def atom_virials(self, atoms: Atoms) -> tuple[FloatArray, FloatArray]:
        """Energies (n_atoms,) and virials for the heat flux (n_atoms, 3, 3) of the atoms, eV.

        W_k,ab = sum_i (r_k - r_i)_a de_i/d(r_k)_b, with every image of the crystal at its own place; not symmetric. Source: Fan
        et al., Phys. Rev. B 92, 094301 (2015).

        Raises
        ------
        ConfigError
            The potential has charges: their part is not computed here; LAMMPS has it.
        """
        if float(self.tables.charge_product.sum()) != 0.0:
            raise ConfigError(
                "the virial of every atom is not computed for charges; compute centroid/stress/atom of LAMMPS has it"
            )
        energies, _, virials = self._evaluator.atom_virials(self.neighbors().update(atoms, self.index(atoms)))
        return energies, virials

    def _coulomb(self, atoms: Atoms) -> CoulombSum | None:
        """Coulomb energy of the effective charges; None where there are none."""
        product = float(self.tables.charge_product.sum())
        if product == 0.0:
            return None
        unit = coulomb_sum(
            atoms, self.tables.formal_charges[self.index(atoms)], width=float(self.tables.charge_width[0])
        )
        return unit.scaled(product)

    def _with_around(self, own: FloatArray, pairs: _native.Neighbours) -> FloatArray:
        around = pairs.nearby_mean(own, self.basis.triplet_cutoff)
        return np.maximum(own, around / self.support.around)

    def powers(self, atoms: Atoms) -> FloatArray:
        """Norms of the densities of every atom, (n_atoms, n_powers): see `support`."""
        padded = self._evaluator.powers(self.neighbors().update(atoms, self.index(atoms)))
        return np.ascontiguousarray(padded[:, padded_places(self.basis)])

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.NONE) -> Prediction:
        """Predict one frame; a single set of coefficients offers at most the live uncertainty."""
        level = Uncertainty(uncertainty)
        if level is Uncertainty.EXACT:
            raise ConfigError("a single set of coefficients has no exact uncertainty; use the BayesianForceField")
        return self.evaluate(atoms, live=level is Uncertainty.LIVE, support=level is Uncertainty.LIVE)

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.NONE, every: int = 1) -> SplineCalculator:
        """ASE calculator; see `SplineCalculator`."""
        return SplineCalculator(self, every=every if Uncertainty(uncertainty) is Uncertainty.LIVE else None)


class SplineCalculator(PotentialCalculator):
    """Calculator with a skin neighbour list of its own, kept between calls.

    Parameters
    ----------
    potential : SplinePotential
    every : int, optional
        Live uncertainty on every n-th new configuration; None: never.
    complete : callable, optional
        Adds the exact uncertainty to the prediction of every configuration.
    compositions : Compositions, optional
        To warn, once for each composition, of energies that the training data leave open.
    """

    def __init__(
        self,
        potential: SplinePotential,
        *,
        every: int | None,
        complete: Callable[[Atoms, Prediction], Prediction] | None = None,
        compositions: Compositions | None = None,
    ) -> None:
        super().__init__(every=every)
        self.potential, self.complete, self.compositions = potential, complete, compositions
        self._seen: set[bytes] = set()
        self.neighbors = potential.neighbors(skin=SKIN)

    def predict(self, atoms: Atoms, *, uncertain: bool) -> Prediction:
        """As `PotentialCalculator.predict`; `uncertain` is about the live uncertainty."""
        if self.compositions is not None:
            counts = np.bincount(self.potential.index(atoms), minlength=len(self.potential.species)).astype(np.float64)
            if counts.tobytes() not in self._seen:
                self._seen.add(counts.tobytes())
                warn_of_composition(atoms, self.compositions.uncertainty(counts))
        support = uncertain or self.complete is not None
        prediction = self.potential.evaluate(atoms, self.neighbors, live=uncertain, support=support)
        return prediction if self.complete is None else self.complete(atoms, prediction)

    def forget(self) -> None:
        """Drop the neighbour list."""
        self.neighbors.reset()


class LiveDirections:
    """The live directions of a force field as potentials of their own: directions in which its energy may be wrong.

    Parameters
    ----------
    mean : SplinePotential
        With live directions.
    reference : Atoms
        Frame whose energy is taken as certain; same atoms in the same order as those evaluated.
    complete : callable
        Adds the exact uncertainty to a prediction.

    Raises
    ------
    ConfigError
        There are no live directions.
    """

    def __init__(
        self, mean: SplinePotential, reference: Atoms, *, complete: Callable[[Atoms, Prediction], Prediction]
    ) -> None:
        if mean.tables.rank == 0:
            raise ConfigError("live_rank of the model is 0: a bias towards its uncertainty needs live directions")
        layout = mean.basis.layout
        self._mean, self._complete = mean, complete
        self._directions = [
            SplinePotential(mean.basis, layout.direction(mean.tables, r), n_threads=mean.n_threads)
            for r in range(mean.tables.rank)
        ]
        self._neighbors = mean.neighbors(skin=SKIN)
        self._numbers = reference.numbers.copy()
        self._reference = np.array([d.evaluate(reference).energy for d in self._directions])

    def at(self, atoms: Atoms, *, uncertainty: Uncertainty = Uncertainty.NONE) -> Directions:
        """Directions of one frame, their energies relative to the reference frame.

        Raises
        ------
        DataError
            Other atoms than those of the reference frame.
        """
        if not np.array_equal(atoms.numbers, self._numbers):
            raise DataError("the biased trajectory has other atoms than its reference frame")
        mean = self._mean.evaluate(atoms, self._neighbors, live=uncertainty is Uncertainty.LIVE)
        along = [d.evaluate(atoms, self._neighbors) for d in self._directions]
        return Directions(
            self._complete(atoms, mean) if uncertainty is Uncertainty.EXACT else mean,
            np.array([p.energy for p in along]) - self._reference,
            np.array([p.forces for p in along]),
        )
