"""The interface of potentials: prediction with uncertainty, training on labelled frames, members, information, samples.

Callers use these methods on any potential; for what a kind of potential does not offer there is a default (None, an empty
result, or a ConfigError with the remedy).

Vocabulary
----------
label        an energy (eV), force components (eV/A) or stress (eV/A^3, Voigt xx yy zz yz xz xy, tension positive,
             as in ASE)
uncertainty  one standard deviation, epistemic: of the model, without the noise of the labels
noise        one standard deviation of a label around the best model of this form
frame        one configuration of atoms, an `ase.Atoms`
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trepid.acquisition.batch import localised, rows_from_ensemble, similarity_embedding
from trepid.choices import Speed
from trepid.data.formula import formula_of
from trepid.data.frames import Labels
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from trepid.lammps.kspace import Electrostatics

FloatArray = NDArray[np.float64]

logger = logging.getLogger(__name__)


class Uncertainty(str, Enum):
    """Which uncertainty a potential computes."""

    EXACT = "exact"
    """The full posterior (or the full committee)."""
    LIVE = "live"
    """A cheap estimate of the force uncertainty, fit for every step of a long simulation."""
    NONE = "none"
    """Mean only."""


@dataclass(frozen=True)
class Prediction:
    """Energy, forces and stress of one frame with one standard deviation each.

    Attributes
    ----------
    energy : float
        Potential energy, eV.
    forces : (n_atoms, 3) array
        eV/A.
    stress : (6,) array or None
        Voigt xx yy zz yz xz xy, eV/A^3, tension positive. None where the frame has no volume.
    energy_uncertainty : float or None
        eV. None where it was not computed (see `Uncertainty`).
    forces_uncertainty : (n_atoms, 3) array or None
        eV/A.
    stress_uncertainty : (6,) array or None
        eV/A^3.
    support_distance : (n_atoms,) array or None
        How far the neighbourhood of every atom is from those of the training data; above 1 it is outside. It does not depend on
        the labels: no error bar, but a sign that the error bar is an extrapolation. None where it was not computed, and for
        potentials without support data.
    atom_energies : (n_atoms,) array or None
        Share of every atom in the energy, eV; they add up to `energy`. None where the potential has no such shares.
    energy_ensemble : (n_members,) array or None
        Energies of the members of a committee, eV; None for other potentials, as below.
    forces_ensemble : (n_members, n_atoms, 3) array or None
        eV/A.
    stress_ensemble : (n_members, 6) array or None
        eV/A^3.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    energy_uncertainty: float | None = None
    forces_uncertainty: FloatArray | None = None
    stress_uncertainty: FloatArray | None = None
    support_distance: FloatArray | None = None
    atom_energies: FloatArray | None = None
    energy_ensemble: FloatArray | None = None
    forces_ensemble: FloatArray | None = None
    stress_ensemble: FloatArray | None = None

    def __repr__(self) -> str:
        largest = (
            "" if self.forces_uncertainty is None else f", force uncertainty up to {self.frame_uncertainty:.3g} eV/A"
        )
        force = float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))
        return f"<Prediction of {len(self.forces)} atoms: {self.energy:.6g} eV, forces up to {force:.3g} eV/A{largest}>"

    @property
    def atom_uncertainty(self) -> FloatArray:
        """Force uncertainty of every atom, (n_atoms,), eV/A: the Euclidean norm over x, y and z."""
        if self.forces_uncertainty is None:
            raise ValueError("this prediction was made without uncertainty")
        return np.asarray(np.linalg.norm(self.forces_uncertainty, axis=1), dtype=np.float64)

    @property
    def outside(self) -> NDArray[np.bool_] | None:
        """Whether each atom is outside the support of the training data, (n_atoms,); None where that is not known."""
        return None if self.support_distance is None else self.support_distance > 1

    @property
    def frame_uncertainty(self) -> float:
        """Force uncertainty of the frame, eV/A: the maximum over its atoms."""
        return float(self.atom_uncertainty.max())


@dataclass(frozen=True)
class LeftOutError:
    """Error of a force component on training frames, each predicted without itself, eV/A.

    Attributes
    ----------
    rms : float
        Root mean square.
    misfit : float
        The part of it that the uncertainty of the coefficients does not explain: noise of the labels, and what the functional
        form cannot describe. More labels do not reduce it.
    usual : float
        Root mean square to which the few largest errors add little: the error on frames like most.
    """

    rms: float
    misfit: float
    usual: float


@dataclass(frozen=True)
class SizeSearch:
    """A search by which training frames chose the sizes of a model.

    Attributes
    ----------
    speed : Speed
        Its ceiling.
    beyond_ceiling : bool
        Whether it left sizes out for their time.
    """

    speed: Speed
    beyond_ceiling: bool

    @classmethod
    def from_settings(cls, values: Mapping[str, object] | None) -> SizeSearch | None:
        """From the settings of a model file; None for None."""
        return None if values is None else cls(Speed(str(values["speed"])), bool(values["beyond_ceiling"]))


@dataclass(frozen=True)
class Noise:
    """One standard deviation of each label kind around the model.

    Attributes
    ----------
    energy : float
        eV per square root of an atom: an energy label of n atoms scatters by `energy * sqrt(n)`.
    forces : float
        eV/A per component.
    stress : float
        eV/A^3 per component.
    large_force : float
        eV/A. Models describe configurations with large forces less well: the noise on an atom with force F is `forces * sqrt(1 +
        |F|^2 / large_force^2)`, and energy and stress of a frame follow its largest force. Infinite for a noise that is
        the same everywhere.
    """

    energy: float
    forces: float
    stress: float
    large_force: float = math.inf

    def multiplier(self, forces: FloatArray) -> FloatArray:
        """sqrt(1 + |F|^2 / large_force^2) of every atom, (n_atoms,), for forces (n_atoms, 3) in eV/A."""
        return np.sqrt(1 + (np.linalg.norm(forces, axis=1) / self.large_force) ** 2)

    def of_forces(self, forces: FloatArray) -> FloatArray:
        """Noise of a force component on every atom, (n_atoms,), eV/A."""
        return self.forces * self.multiplier(forces)

    def of_energy(self, forces: FloatArray) -> float:
        """Noise of the energy of a frame with these forces (n_atoms, 3), eV."""
        return float(self.energy * np.sqrt(len(forces)) * self.multiplier(forces).max())

    def of_stress(self, forces: FloatArray) -> float:
        """Noise of a stress component of a frame with these forces (n_atoms, 3), eV/A^3."""
        return float(self.stress * self.multiplier(forces).max())


def warn_of_composition(atoms: Atoms, off: float) -> None:
    """Log that an energy may be off by so much (eV) because no label tells the energies of its species apart; not for 0."""
    if off > 0:
        logger.warning(
            "%s has another stoichiometry than all training frames with an energy, which do not tell the energies of its "
            "species apart: its energy may be off by %.3g eV; forces do not depend on that",
            formula_of(atoms),
            off,
        )


class Drawn(Protocol):
    """One of several equally plausible force fields."""

    def to_bytes(self) -> bytes:
        """The file that `pair_style trepid` reads."""


class Potential(ABC):
    """A potential with an uncertainty, trained on labelled frames.

    Attributes
    ----------
    species : tuple of str
        Elements it describes.
    tunable : bool
        Whether it has hyperparameters, which `optimize` optimises apart from training.
    """

    species: tuple[str, ...]
    tunable: bool = False

    @property
    @abstractmethod
    def n_frames(self) -> int:
        """Number of labelled frames the potential was trained on."""

    @property
    @abstractmethod
    def noise(self) -> Noise:
        """Residual noise of the labels, inferred from them."""

    @abstractmethod
    def fit(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Train from scratch on `frames`, hyperparameters included.

        Parameters
        ----------
        frames : sequence of Atoms
            With labels.
        executor : Executor, optional
            Trains the members of a committee in parallel; potentials without members do not use it.
        """

    @abstractmethod
    def update(self, frames: Sequence[Atoms], *, executor: Executor | None = None) -> Potential:
        """Add `frames` to the training set; hyperparameters stay. `executor` as in `fit`."""

    def conditioned(self, frames: Sequence[Atoms], labels: Sequence[Labels]) -> Potential | None:
        """Another potential that knows these labels too; None where that takes more than a renewed posterior."""
        return None

    def optimize(self, frames: Sequence[Atoms] | None = None) -> Potential:
        """Optimise the hyperparameters on the present training set; does nothing where `tunable` is False.

        `frames`, where given, are all training frames: error bars that rest on them are renewed.
        """
        return self

    def expected_gain(self) -> float:
        """Estimate of what `optimize` would add to the logarithm of the evidence, nats; 0 where `tunable` is False."""
        return 0.0

    @abstractmethod
    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        """Predict one frame."""

    def energy_difference_uncertainty(
        self, atoms: Atoms, other: Atoms, *, predictions: tuple[Prediction, Prediction] | None = None
    ) -> float:
        """One standard deviation (epistemic) of E(atoms) - E(other), eV.

        Of members, the spread (n - 1 in the denominator) of their differences. Of a potential without members that of E(atoms),
        as if the other energy were certain; 0 where it has none.

        Parameters
        ----------
        atoms, other : Atoms
        predictions : pair of Prediction, optional
            The exact ones of the two frames, where they are already computed.
        """
        here, there = predictions or (self.predict(frame, uncertainty=Uncertainty.EXACT) for frame in (atoms, other))
        if here.energy_ensemble is not None and there.energy_ensemble is not None:
            return float(np.std(here.energy_ensemble - there.energy_ensemble, ddof=1))
        return here.energy_uncertainty or 0.0

    @abstractmethod
    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        """ASE calculator; its results carry `forces_uncertainty` unless uncertainty is 'none'."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write one file, atomically."""

    def close(self) -> None:  # noqa: B027 most potentials hold nothing
        """End the processes that the potential has started; it starts them again when it is used."""

    # ---- what only some potentials have

    @property
    def n_members(self) -> int | None:
        """Number of members of a committee; None for a single potential."""
        return None

    def member(self, k: int) -> Potential:
        """Member k of a committee, from 0.

        Raises
        ------
        ConfigError
            The potential has no members.
        """
        raise ConfigError("this potential has no members: give a committee, or use the potential itself (mean)")

    def to_bytes(self) -> bytes:
        """The file that `pair_style trepid` reads, as bytes.

        Raises
        ------
        ConfigError
            LAMMPS cannot run this potential.
        """
        raise ConfigError("LAMMPS cannot run this potential: pair_style trepid is for Bayesian force fields")

    @property
    def reach(self) -> float | None:
        """Distance up to which two atoms interact, A; None where it is not known."""
        return None

    def sample(self, n: int, seed: int) -> Sequence[Drawn]:
        """Equally plausible force fields, to carry the uncertainty through a property.

        Each has `predict`, `calculator` and, where LAMMPS can run it, `to_bytes`.
        Posterior samples of a Bayesian force field (n of them); all members of a
        committee, whatever n; by default none.
        """
        return [self.member(k) for k in range(self.n_members or 0)]

    @property
    def electrostatics(self) -> Electrostatics | None:
        """Effective charges, whose Coulomb energy is part of its energy; None for a potential without charges."""
        return None

    @property
    def label_noise(self) -> float:
        """Noise of the forces with which labels are weighted, eV/A: the noise of `information`."""
        return self.noise.forces

    size_search: SizeSearch | None = None
    """The search by which its training frames chose its sizes; None: they did not, or more frames came since."""

    def trained_on(self, frames: Sequence[Atoms]) -> list[int]:
        """Numbers of the frames that are among its training data, as far as it knows them; by default none."""
        return []

    def trained_structures(self, frames: Sequence[Atoms]) -> list[int] | None:
        """Numbers of the frames whose structure is that of a training frame, whatever their labels; by default None: not known."""
        return None

    def undetermined_energy(self, atoms: Atoms) -> float:
        """What the energy of this composition may be off by because no energy label tells its species apart, eV; else 0."""
        return 0.0

    @property
    def typical_force_error(self) -> float:
        """Error bar of a force component (uncertainty and noise) on frames like the training set, eV/A.

        Its root mean square, to which a few wild frames add little. Thresholds are multiples of it. By default the noise.
        """
        return self.noise.forces

    @property
    def left_out_forces(self) -> LeftOutError | None:
        """Error of a force component on training frames, each predicted without itself; None where unknown."""
        return None

    @property
    def typical_force(self) -> float:
        """Root mean square norm of the labelled forces of an atom, eV/A; infinite where it is not recorded."""
        return math.inf

    @property
    def log_evidence(self) -> float | None:
        """Logarithm of the probability of all labels under the model; None where there is no such figure."""
        return None

    @property
    def hyperparameter_values(self) -> Mapping[str, object]:
        """Hyperparameters by name, in plain types, for the ledger; empty where there are none."""
        return {}

    def information(self, frames: Sequence[Atoms], crystal: Atoms, *, n_atoms: int) -> list[FloatArray]:
        """Rows whose products are the covariances of the forces of these frames, for `trepid.acquisition.batch`.

        By default those of an ensemble: the deviations of its members, separated between dissimilar frames (otherwise a
        committee of M could distinguish M - 1 frames and no more).

        Parameters
        ----------
        frames : sequence of Atoms
        crystal : Atoms
            Displacements from it measure how similar two frames are.
        n_atoms : int
            Atoms of each frame that enter: those with the largest force uncertainty.

        Returns
        -------
        list of (3 n_atoms, p) arrays
            eV/A.

        Raises
        ------
        ConfigError
            The potential has neither feature rows nor members.
        """
        rows = []
        for frame in frames:
            ensemble = self.predict(frame, uncertainty=Uncertainty.EXACT).forces_ensemble
            if ensemble is None:
                raise ConfigError(
                    "acquisition.batch greedy needs a Bayesian force field or a committee; this potential has neither "
                    "feature rows nor members: use bernoulli"
                )
            rows.append(rows_from_ensemble(ensemble, n_atoms=min(n_atoms, len(frame))))
        descriptors = np.array([(frame.positions - crystal.positions).ravel() for frame in frames])
        distances = np.linalg.norm(descriptors[:, None] - descriptors[None, :], axis=2)
        separations = distances[np.triu_indices(len(frames), 1)]
        length = float(np.median(separations)) if separations.size and np.median(separations) > 0 else 1.0
        embeddings = similarity_embedding(descriptors, length=length)
        return [localised(row, embedding) for row, embedding in zip(rows, embeddings, strict=True)]

    def bias_directions(self, reference: Atoms) -> BiasDirections:
        """Directions in which the energy may be wrong, for a bias towards uncertain configurations (`biased`).

        By default the deviations of the members from their mean; of a potential without members the first frame raises
        ConfigError.

        Parameters
        ----------
        reference : Atoms
            Frame whose energy a Bayesian force field takes as certain. Members need none: they agree on the energy of the
            training frames.
        """
        return EnsembleDirections(self)


# ---- directions


@dataclass(frozen=True)
class Directions:
    """One frame with the directions in which its energy may be wrong.

    Attributes
    ----------
    prediction : Prediction
    energies : (R,) array
        e_r, eV; sqrt(sum_r e_r^2) is the energy uncertainty.
    forces : (R, n_atoms, 3) array
        -grad e_r, eV/A.
    """

    prediction: Prediction
    energies: FloatArray
    forces: FloatArray


class BiasDirections(Protocol):
    """Evaluates the directions of a potential, as it was when they were taken from it."""

    def at(self, atoms: Atoms, *, uncertainty: Uncertainty = Uncertainty.NONE) -> Directions:
        """Directions of one frame; the prediction has `uncertainty` at least."""
        ...


class EnsembleDirections:
    """Directions of a potential whose predictions carry its members."""

    def __init__(self, potential: Potential) -> None:
        self._potential = potential

    def at(self, atoms: Atoms, *, uncertainty: Uncertainty = Uncertainty.NONE) -> Directions:
        """Directions of one frame; only exact predictions carry the members.

        Raises
        ------
        ConfigError
            The prediction carries no members.
        """
        prediction = self._potential.predict(atoms, uncertainty=Uncertainty.EXACT)
        if prediction.energy_ensemble is None or prediction.forces_ensemble is None:
            raise ConfigError(
                "walkers.bias needs a Bayesian force field or a committee: this potential gives no members"
            )
        energies, forces = directions_of_ensemble(prediction.energy_ensemble, prediction.forces_ensemble)
        return Directions(prediction, energies, forces)


def directions_of_ensemble(energies: ArrayLike, forces: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Directions (e_r, F_r) of a committee, so that sqrt(sum_r e_r^2) is its standard deviation (ddof=1).

    Parameters
    ----------
    energies : (n_members,) array
        eV.
    forces : (n_members, n_atoms, 3) array
        eV/A.

    Raises
    ------
    DataError
        Fewer than two members, or not one energy and one set of forces of each.
    """
    e = np.asarray(energies, dtype=np.float64)
    f = np.asarray(forces, dtype=np.float64)
    if len(e) < 2 or len(e) != len(f):
        raise DataError(
            f"{len(e)} energies and {len(f)} forces: a committee has one of each per member, two members or more"
        )
    scale = 1.0 / np.sqrt(len(e) - 1)
    return (e - e.mean()) * scale, (f - f.mean(axis=0)) * scale
