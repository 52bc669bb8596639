r"""The exact Gaussian process with the kernels of the Bayesian force field: no basis, no truncation, no sufficient statistics.

The fast `BayesianForceField` must agree with it in mean and uncertainty as its basis grows, and its speed is measured
against it. Training costs the square of the number of triplets and the cube of the number of labels; a prediction evaluates
the kernels between its frame and all training frames (Rasmussen and Williams, Gaussian Processes for Machine Learning,
eqs. 2.23, 2.24 and 2.30).

.. math::

    E = \sum_i \epsilon_{s_i} + \sum_{i<j} f_2^{s_i s_j}(r_{ij})
      + \sum_i \sum_{j, k} f_3^{s_i; s_j s_k}(r_{ij}, r_{ik}, \theta_{jik}) + E_\mathrm{prior}

j and k run over all neighbours within the triplet cutoff, j = k included; periodic images are neighbours of their own.
Every f2 (unordered pair of species) and f3 (centre, unordered pair of neighbours) is an independent function; f3 of two
neighbours of one species is symmetric in them. The energy offsets are N(reference energy, offset_amplitude^2).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.errors import ConfigError, DataError, NumericsError
from trepid.potentials.base import FloatArray, Prediction, Uncertainty
from trepid.potentials.bayesian.statistics import LabelKind
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.testing.exact_functionals import (
    Block,
    FunctionalBuilder,
    Functionals,
    IntArray,
    Rows,
    contract,
    contract_mean,
)
from trepid.testing.exact_kernels import pair_covariance, triplet_covariance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Training:
    """Result of the training: the labels as functionals, the reference energies and the solved system."""

    functionals: Functionals
    reference_energies: FloatArray
    cholesky: FloatArray
    weights: FloatArray
    log_marginal_likelihood: float
    n_frames: int


class ExactGP:
    """Exact Gaussian process over pair and triplet functions.

    Parameters
    ----------
    species : sequence of str
        Chemical symbols of all elements, without repetition.
    pair_cutoff, triplet_cutoff : float
        A.
    hyperparameters : Hyperparameters, optional
        Fixed; the exact GP does not optimise them.
    reference_energies : mapping of str to float, optional
        Prior mean of the energy of an atom of each species, eV. None: the minimum-norm least squares of the training
        energies by composition; zero without training energies.
    keys : LabelKeys
        Where frames carry their labels.

    Raises
    ------
    ConfigError
        For a symbol that is unknown or repeated, a cutoff that is not positive, a species without reference energy.
    """

    def __init__(
        self,
        species: Sequence[str],
        *,
        pair_cutoff: float = PAIR_CUTOFF_A,
        triplet_cutoff: float = TRIPLET_CUTOFF_A,
        hyperparameters: Hyperparameters = Hyperparameters(),  # noqa: B008 - frozen
        reference_energies: Mapping[str, float] | None = None,
        keys: LabelKeys = LabelKeys(),  # noqa: B008 - frozen
    ) -> None:
        self.species = tuple(species)
        if not self.species or len(set(self.species)) != len(self.species):
            raise ConfigError(f"species must be chemical symbols without repetition, not {list(self.species)}")
        for symbol in self.species:
            if symbol not in atomic_numbers:
                raise ConfigError(f"species {symbol!r} is not a chemical symbol: write it as in the periodic table")
        for name, cutoff in (("pair_cutoff", pair_cutoff), ("triplet_cutoff", triplet_cutoff)):
            if not (np.isfinite(cutoff) and cutoff > 0):
                raise ConfigError(f"{name} must be a positive number of angstroms, not {cutoff}")
        if reference_energies is not None:
            missing = [s for s in self.species if s not in reference_energies]
            if missing:
                raise ConfigError(f"reference_energies has no entry for {missing[0]}: every species needs one")
        self.pair_cutoff = float(pair_cutoff)
        self.triplet_cutoff = float(triplet_cutoff)
        self.hyperparameters = hyperparameters
        self.keys = keys
        self._given_references = None if reference_energies is None else dict(reference_energies)
        self._builder = FunctionalBuilder(self.species, pair_cutoff=pair_cutoff, triplet_cutoff=triplet_cutoff)
        self._training: _Training | None = None

    def __repr__(self) -> str:
        state = f"{self.n_frames} frames, {self.n_labels} labels" if self.n_frames else "untrained"
        return (
            f"<ExactGP of {', '.join(self.species)}: cutoffs {self.pair_cutoff:g} A (pairs), {self.triplet_cutoff:g} A "
            f"(triplets), {state}, noise {self.hyperparameters.noise.forces:.3g} eV/A>"
        )

    @property
    def n_frames(self) -> int:
        """Number of frames it was trained on."""
        return 0 if self._training is None else self._training.n_frames

    @property
    def n_labels(self) -> int:
        """Number of labels (energies, force and stress components) it was trained on."""
        return 0 if self._training is None else self._training.functionals.n_rows

    @property
    def log_marginal_likelihood(self) -> float:
        """Logarithm of the probability density of the training labels under the prior and the noise."""
        return self._trained.log_marginal_likelihood

    @property
    def reference_energies(self) -> dict[str, float]:
        """Prior mean of the energy of an atom of each species, eV."""
        return dict(zip(self.species, map(float, self._trained.reference_energies), strict=True))

    @property
    def _trained(self) -> _Training:
        if self._training is None:
            raise RuntimeError("the ExactGP has no training data yet: call fit(frames) first")
        return self._training

    def fit(
        self,
        frames: Sequence[Atoms],
        *,
        atoms: Sequence[Sequence[int] | IntArray] | None = None,
        kinds: Sequence[LabelKind | str] = tuple(LabelKind),
        weights: Sequence[ArrayLike] | None = None,
    ) -> ExactGP:
        """Train from nothing on `frames`; hyperparameters stay.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            With labels under `keys`; what a frame lacks is left out.
        atoms : sequence of int sequences, optional
            For each frame, the atoms whose forces are used: with `kinds=("forces",)`, training on chosen environments.
        kinds : sequence of LabelKind or str
            The kinds of labels to use, of "energy", "forces", "stress".
        weights : sequence of arrays, optional
            For each frame, a positive multiplier of the noise of each of its labels in use, in the order energy, forces
            atom by atom (in the order of `atoms`), stress.

        Returns
        -------
        ExactGP
            Itself.

        Raises
        ------
        ConfigError
            When `kinds` holds an unknown kind, or `atoms` or `weights` do not match the frames.
        DataError
            When labels or frames are unusable, or there is no label at all.
        NumericsError
            When the covariance matrix of the labels is not positive definite.
        """
        for name, given in (("atoms", atoms), ("weights", weights)):
            if given is not None and len(given) != len(frames):
                raise ConfigError(f"{name} must have one entry per frame: {len(frames)}, not {len(given)}")
        known = [kind.value for kind in LabelKind]
        for kind in kinds:
            if kind not in known:
                raise ConfigError(f"unknown kind of label {kind!r}: the kinds are {', '.join(known)}")

        wanted: list[tuple[Atoms, Rows]] = []
        values: list[FloatArray] = []
        noises: list[FloatArray] = []
        for n, frame in enumerate(frames):
            name = f"frame {n} (counted from 0)"
            labels = labels_of(frame, self.keys, where=name)
            chosen = self._builder.rows(frame, where=name, atoms=None if atoms is None else atoms[n]).atoms
            rows = Rows(
                energy=LabelKind.ENERGY in kinds and labels.energy is not None,
                atoms=chosen if LabelKind.FORCES in kinds and labels.forces is not None else chosen[:0],
                stress=LabelKind.STRESS in kinds and labels.stress is not None,
            )
            noise = self._noise(rows, len(frame))
            if weights is not None:
                noise = noise * _checked_weights(weights[n], rows.n_rows, name)
            wanted.append((frame, rows))
            values.append(_label_values(labels, rows))
            noises.append(noise)
        if not sum(rows.n_rows for _, rows in wanted):
            names = " or ".join(LabelKind(kind).value for kind in kinds)
            raise DataError(f"no label of kind {names} in {len(frames)} frames under the keys {self.keys}")

        self._training = self._solve(
            self._builder.build(wanted), np.concatenate(values), np.concatenate(noises), len(frames)
        )
        logger.debug("exact GP trained on %d labels of %d frames", self.n_labels, self.n_frames)
        return self

    def predict(
        self,
        frame: Atoms,
        *,
        atoms: Sequence[int] | IntArray | None = None,
        uncertainty: Uncertainty | str = Uncertainty.EXACT,
    ) -> Prediction:
        """Predict energy, forces and stress of one frame.

        Parameters
        ----------
        frame : ase.Atoms
        atoms : sequence of int, optional
            The atoms whose forces are wanted; the forces then have shape (len(atoms), 3), in this order. None: all.
        uncertainty : Uncertainty or str
            "none" skips the covariances, which cost more than the mean. There is no cheaper "live" form of this model.

        Returns
        -------
        Prediction
            Stress is None where the cell has less than three vectors.

        Raises
        ------
        ConfigError
            When the uncertainty asked for does not exist.
        DataError
            When the frame has an unknown element, coinciding atoms or an index out of range.
        RuntimeError
            Before `fit`.
        """
        if uncertainty not in (Uncertainty.EXACT, Uncertainty.NONE):
            raise ConfigError(f"the exact GP has uncertainty 'exact' or 'none', not {uncertainty!r}")
        rows = self._builder.rows(frame, where="frame", atoms=atoms)
        if uncertainty == Uncertainty.NONE:
            mean, std = self._mean(frame, rows), None
        else:
            mean, covariance = self.posterior(frame, atoms=atoms)
            # Rounding can leave a variance of a label known to the last digit slightly negative.
            std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        return Prediction(
            energy=float(mean[0]),
            forces=mean[rows.forces].reshape(-1, 3),
            stress=mean[-6:] if rows.stress else None,
            energy_uncertainty=None if std is None else float(std[0]),
            forces_uncertainty=None if std is None else std[rows.forces].reshape(-1, 3),
            stress_uncertainty=std[-6:] if std is not None and rows.stress else None,
        )

    def posterior(
        self, frame: Atoms, *, atoms: Sequence[int] | IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Mean (n_rows,) and covariance (n_rows, n_rows) of the labels of one frame, without their noise.

        The rows are the energy (eV), the forces (eV/A) atom by atom and, where the cell has a volume, the stress
        (eV/A^3, Voigt). Parameters and errors as in `predict`.
        """
        trained = self._trained
        target = self._builder.build([(frame, self._builder.rows(frame, where="frame", atoms=atoms))])
        cross = self._covariance(target, trained.functionals)
        explained = solve_triangular(trained.cholesky, cross.T, lower=True)
        mean = self._prior_mean(target, trained.reference_energies) + cross @ trained.weights
        return mean, self._covariance(target, target) - explained.T @ explained

    def prior_covariance(self, frame: Atoms, other: Atoms | None = None) -> FloatArray:
        """Covariance, before any training, of the labels of `frame` with those of `other` (None: its own).

        Rows and columns as in `posterior`; errors as in `predict`.
        """
        left = self._builder.build([(frame, self._builder.rows(frame, where="frame"))])
        if other is None:
            return self._covariance(left, left)
        right = self._builder.build([(other, self._builder.rows(other, where="frame"))])
        return self._covariance(left, right)

    def _mean(self, frame: Atoms, rows: Rows) -> FloatArray:
        trained = self._trained
        target = self._builder.build([(frame, rows)])
        offsets = target.composition @ (trained.functionals.composition.T @ trained.weights)
        return (
            self._prior_mean(target, trained.reference_energies)
            + self.hyperparameters.offset_amplitude**2 * offsets
            + contract_mean(target, trained.functionals, self._kernel, trained.weights)
        )

    def _solve(self, functionals: Functionals, labels: FloatArray, noise: FloatArray, n_frames: int) -> _Training:
        references = self._references(functionals, labels)
        residual = labels - self._prior_mean(functionals, references)
        covariance = self._covariance(functionals, functionals)
        covariance[np.diag_indices_from(covariance)] += noise**2
        try:
            factor = cholesky(covariance, lower=True, overwrite_a=True)
        except (LinAlgError, ValueError) as error:  # ValueError: not finite
            raise NumericsError(
                f"the covariance matrix of {len(labels)} labels is not positive definite: raise the noise "
                f"(now {self.hyperparameters.noise}) or drop duplicate frames"
            ) from error
        weights = cho_solve((factor, True), residual)
        evidence = -0.5 * residual @ weights - np.log(np.diag(factor)).sum() - 0.5 * len(labels) * np.log(2 * np.pi)
        return _Training(functionals, references, factor, weights, float(evidence), n_frames)

    def _references(self, functionals: Functionals, labels: FloatArray) -> FloatArray:
        if self._given_references is not None:
            return np.array([self._given_references[s] for s in self.species], dtype=np.float64)
        energies = functionals.composition.any(axis=1)
        if not energies.any():
            return np.zeros(len(self.species))
        solution = np.linalg.lstsq(functionals.composition[energies], labels[energies], rcond=None)[0]
        return np.asarray(solution, dtype=np.float64)

    def _prior_mean(self, functionals: Functionals, references: FloatArray) -> FloatArray:
        return np.asarray(functionals.composition @ references + functionals.short_range, dtype=np.float64)

    def _covariance(self, left: Functionals, right: Functionals) -> FloatArray:
        offsets = self.hyperparameters.offset_amplitude**2 * left.composition @ right.composition.T
        return offsets + contract(left, right, self._kernel)

    def _kernel(self, block: Block, x: FloatArray, other: FloatArray) -> FloatArray:
        if len(block) == 2:
            k = pair_covariance(x, other, self.hyperparameters, self.pair_cutoff)
        else:
            symmetric = block[1] == block[2]
            k = triplet_covariance(x, other, self.hyperparameters, self.triplet_cutoff, symmetric=symmetric)
        return k.reshape(k.shape[0] * k.shape[1], k.shape[2] * k.shape[3])

    def _noise(self, rows: Rows, n_atoms: int) -> FloatArray:
        """Standard deviation of every label, (n_rows,)."""
        noise = self.hyperparameters.noise
        std = np.full(rows.n_rows, noise.stress)
        std[: int(rows.energy)] = noise.energy * np.sqrt(n_atoms)
        std[rows.forces] = noise.forces
        return std


def _label_values(labels: Labels, rows: Rows) -> FloatArray:
    """The labels in the order of `rows`."""
    values: list[ArrayLike] = []
    if rows.energy and labels.energy is not None:
        values.append([labels.energy])
    if len(rows.atoms) and labels.forces is not None:
        values.append(labels.forces[rows.atoms].ravel())
    if rows.stress and labels.stress is not None:
        values.append(labels.stress)
    return np.concatenate([np.asarray(v, dtype=np.float64) for v in values] or [np.zeros(0)])


def _checked_weights(weights: ArrayLike, n_rows: int, name: str) -> FloatArray:
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (n_rows,):
        raise ConfigError(f"weights of {name} must have one number per label in use: ({n_rows},), not {array.shape}")
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        raise ConfigError(f"weights of {name} must be positive numbers, not {array[wrong][0]}")
    return array
