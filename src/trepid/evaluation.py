"""Accuracy and calibration of a potential on labelled test frames.

Two steps: `compare` runs the potential and keeps predictions beside labels (`Comparison`, plain arrays over all atoms);
`summarise` computes errors and calibration from any comparison (`Evaluation`). The report of a learning run compares
predictions made *before* the model was trained on a label, so both give the same quantities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from trepid.acquisition.calibration import calibration_scale, coverage, interval_half_width, spearman
from trepid.acquisition.conformal import LEVEL, Factor, calibrate
from trepid.arrays import FloatArray, IntArray, rms
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.data.noise_factors import config_type_of
from trepid.data.placeholders import held_components
from trepid.errors import DataError
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Comparison:
    """Predictions beside labels for a set of frames, atoms of all frames one after the other.

    Attributes
    ----------
    symbols : (n_atoms,) array of str
        Chemical symbols.
    frame : (n_atoms,) array of int
        Index of the frame each atom belongs to, 0 to n_frames - 1.
    forces, forces_predicted : (n_atoms, 3) arrays
        eV/A.
    forces_uncertainty : (n_atoms, 3) array or None
        One standard deviation of the model, without noise, eV/A.
    forces_noise : (n_atoms,) array or None
        Residual noise at the time of the prediction, eV/A per component.
    energies, energies_predicted : (n_frames,) arrays
        Potential energies of the frames, eV; NaN where a frame has no energy label.
    stresses, stresses_predicted : (n_frames, 6) arrays
        eV/A^3, Voigt; NaN where a frame has no stress label.
    energies_std : (n_frames,) array
        Predicted standard deviation of the energy error, from uncertainty and residual noise, eV; NaN where unknown.
    stresses_std : (n_frames, 6) array
        The same of the stresses, eV/A^3.
    support_distance : (n_atoms,) array or None
        Above 1: outside the support of the training data; None where the potential does not know.
    sizes : (n_frames,) array of int or None
        Atoms of every frame; None: those that are here. Atoms that the file holds, without force labels, are not.
    """

    symbols: NDArray[np.str_]
    frame: IntArray
    forces: FloatArray
    forces_predicted: FloatArray
    forces_uncertainty: FloatArray | None
    forces_noise: FloatArray | None
    energies: FloatArray
    energies_predicted: FloatArray
    stresses: FloatArray
    stresses_predicted: FloatArray
    energies_std: FloatArray
    stresses_std: FloatArray
    support_distance: FloatArray | None = None
    sizes: IntArray | None = None

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.energies.size

    @property
    def atoms_per_frame(self) -> IntArray:
        """Number of atoms of every frame, (n_frames,)."""
        return np.bincount(self.frame, minlength=self.n_frames).astype(np.int64) if self.sizes is None else self.sizes

    def of_frames(self, frames: Sequence[int]) -> Comparison:
        """The comparison of some of the frames, in rising order."""
        kept = sorted(set(frames))
        atoms = np.isin(self.frame, kept)
        return Comparison(
            symbols=self.symbols[atoms],
            frame=np.searchsorted(kept, self.frame[atoms]).astype(np.int64),
            forces=self.forces[atoms],
            forces_predicted=self.forces_predicted[atoms],
            forces_uncertainty=None if self.forces_uncertainty is None else self.forces_uncertainty[atoms],
            forces_noise=None if self.forces_noise is None else self.forces_noise[atoms],
            energies=self.energies[kept],
            energies_predicted=self.energies_predicted[kept],
            stresses=self.stresses[kept],
            stresses_predicted=self.stresses_predicted[kept],
            energies_std=self.energies_std[kept],
            stresses_std=self.stresses_std[kept],
            support_distance=None if self.support_distance is None else self.support_distance[atoms],
            sizes=None if self.sizes is None else self.sizes[kept],
        )

    def of_atoms(self, chosen: NDArray[np.bool_]) -> Comparison:
        """The comparison of some of the atoms (n_atoms,), with the energies and stresses of all frames."""
        return replace(
            self,
            symbols=self.symbols[chosen],
            frame=self.frame[chosen],
            forces=self.forces[chosen],
            forces_predicted=self.forces_predicted[chosen],
            forces_uncertainty=None if self.forces_uncertainty is None else self.forces_uncertainty[chosen],
            forces_noise=None if self.forces_noise is None else self.forces_noise[chosen],
            support_distance=None if self.support_distance is None else self.support_distance[chosen],
            sizes=self.atoms_per_frame,
        )

    @property
    def forces_error(self) -> FloatArray:
        """Prediction minus label, (n_atoms, 3), eV/A."""
        return self.forces_predicted - self.forces

    @property
    def forces_std(self) -> FloatArray | None:
        """Predicted standard deviation of `forces_error`, from uncertainty and residual noise, (n_atoms, 3), eV/A."""
        if self.forces_uncertainty is None or self.forces_noise is None:
            return None
        return np.asarray(np.hypot(self.forces_uncertainty, self.forces_noise[:, None]), dtype=np.float64)


@dataclass(frozen=True)
class Evaluation:
    """Errors and calibration of a comparison. Forces in eV/A over components, energies in eV per atom, stresses in eV/A^3.

    A value is None if it is not defined: no label of that kind, no uncertainty, or too few points.

    Attributes
    ----------
    n_frames, n_atoms : int
        Size of the test set.
    forces_rmse, forces_mae : float
        Error of the force components.
    forces_rms : float
        Root mean square of the labels, the scale of the error.
    energy_rmse_per_atom, energy_mae_per_atom : float or None
        Error of the energy divided by the number of atoms.
    stress_rmse : float or None
        Error of the stress components.
    forces_coverage_68, forces_coverage_95 : float or None
        Fraction of force components inside the 68 % and 95 % interval of uncertainty and residual noise.
    forces_calibration_scale : float or None
        Factor on those intervals that fits the errors; above 1: overconfident.
    forces_uncertainty_spearman : float or None
        Rank correlation, over atoms, of the norm of the model uncertainty with the norm of the error.
    energy_coverage_95, stress_coverage_95 : float or None
        Fraction of frames, and of stress components, inside their 95 % intervals.
    outside_support : float or None
        Share of the atoms outside the support of the training data, 0 to 1.
    """

    n_frames: int
    n_atoms: int
    forces_rmse: float
    forces_mae: float
    forces_rms: float
    energy_rmse_per_atom: float | None
    energy_mae_per_atom: float | None
    stress_rmse: float | None
    forces_coverage_68: float | None
    forces_coverage_95: float | None
    forces_calibration_scale: float | None
    forces_uncertainty_spearman: float | None
    energy_coverage_95: float | None = None
    stress_coverage_95: float | None = None
    outside_support: float | None = None

    def as_dict(self) -> dict[str, int | float | None]:
        """Plain dictionary, ready for JSON."""
        return asdict(self)


def evaluate(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    keys: LabelKeys | None = None,
    uncertainty: Uncertainty | str = Uncertainty.EXACT,
) -> Evaluation:
    """Predict every frame and compare with its labels; shorthand for `summarise(compare(...))`.

    Parameters
    ----------
    potential : Potential
        A trained potential.
    frames : sequence of ase.Atoms
        Frames with force labels; energy and stress labels are used where present.
    keys : LabelKeys, optional
        Names of the labels in the frames; `REF_energy`, `REF_forces`, `REF_stress` by default.
    uncertainty : Uncertainty or str
        Kind of uncertainty to compute.

    Raises
    ------
    DataError
        No frame, a frame without forces, a label that is not finite, or an element that the potential was not trained on.
    """
    return summarise(compare(potential, frames, keys=keys, uncertainty=uncertainty))


def compare(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    keys: LabelKeys | None = None,
    uncertainty: Uncertainty | str = Uncertainty.EXACT,
) -> Comparison:
    """Predict every frame and return predictions and labels; parameters and errors as `evaluate`."""
    labels = _labels(frames, keys)  # before predictions, which take time
    predictions = [potential.predict(atoms, uncertainty=uncertainty) for atoms in frames]
    return collect(frames, labels, predictions, [potential.noise] * len(frames))


def compare_predictions(
    frames: Sequence[Atoms], predictions: Sequence[Prediction], noise: Noise | None, *, keys: LabelKeys | None = None
) -> Comparison:
    """As `compare`, with predictions of the frames that were made before by a model of this noise."""
    return collect(frames, _labels(frames, keys), predictions, [noise] * len(frames))


def _labels(frames: Sequence[Atoms], keys: LabelKeys | None) -> list[Labels]:
    known = LabelKeys() if keys is None else keys
    return [labels_of(atoms, known, where=f"frame {k}", require=("forces",)) for k, atoms in enumerate(frames)]


def with_prediction(atoms: Atoms, prediction: Prediction, noise: Noise | None) -> Atoms:
    """Copy of a frame with its prediction beside whatever it holds, for a file of extended XYZ.

    In `info`: predicted_energy (eV), predicted_energy_std, predicted_stress (3, 3) (eV/A^3), predicted_stress_std; in `arrays`:
    predicted_forces (eV/A), forces_uncertainty (of the model), predicted_forces_std (uncertainty and residual noise: the standard
    deviation of prediction minus label), support_distance. What the prediction does not have is left out.
    """
    frame = atoms.copy()
    frame.calc = None
    frame.info["predicted_energy"] = prediction.energy
    frame.arrays["predicted_forces"] = prediction.forces
    known = {"predicted_energy_std": _energy_std(prediction, noise)}
    frame.info |= {name: value for name, value in known.items() if np.isfinite(value)}
    if prediction.stress is not None:
        frame.info["predicted_stress"] = voigt_6_to_full_3x3_stress(prediction.stress)
        std = _stress_std(prediction, noise)
        if np.isfinite(std).all():
            frame.info["predicted_stress_std"] = voigt_6_to_full_3x3_stress(std)
    if prediction.forces_uncertainty is not None:
        frame.arrays["forces_uncertainty"] = prediction.forces_uncertainty
        if noise is not None:
            bars = np.hypot(prediction.forces_uncertainty, noise.of_forces(prediction.forces)[:, None])
            frame.arrays["predicted_forces_std"] = bars
    if prediction.support_distance is not None:
        frame.arrays["support_distance"] = prediction.support_distance
    return frame


def of_each_type(frames: Sequence[Atoms], comparison: Comparison) -> dict[str, Comparison]:
    """The comparison of the frames of every `config_type`, in the order of their first frames; empty where no frame has one.

    Frames without a type are under "none".
    """
    types = [config_type_of(atoms) or "none" for atoms in frames]
    if set(types) <= {"none"}:
        return {}
    return {
        name: comparison.of_frames([k for k, own in enumerate(types) if own == name]) for name in dict.fromkeys(types)
    }


def collect(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    predictions: Sequence[Prediction],
    noises: Sequence[Noise | None],
) -> Comparison:
    """Collect predictions and labels of the same frames.

    Parameters
    ----------
    frames, labels, predictions, noises : sequences of equal length
        The noise is that of the model at the time of the prediction; None if unknown.

    Raises
    ------
    DataError
        There is no frame, or one has no force labels.
    """
    if not frames:
        raise DataError("there is no frame to compare; give at least one labelled frame")
    for k, label in enumerate(labels):
        if label.forces is None:
            raise DataError(f"frame {k} has no force labels; a test frame needs them")
    nan6 = np.full(6, np.nan)
    sizes = np.array([len(atoms) for atoms in frames], dtype=np.int64)
    stds = [p.forces_uncertainty for p in predictions]
    distances = [p.support_distance for p in predictions if p.support_distance is not None]
    known_noises = [n.of_forces(p.forces) for n, p in zip(noises, predictions, strict=True) if n is not None]
    comparison = Comparison(
        symbols=np.concatenate([np.asarray(atoms.get_chemical_symbols(), dtype=str) for atoms in frames]),
        frame=np.repeat(np.arange(len(frames), dtype=np.int64), sizes),
        forces=np.concatenate([label.forces for label in labels if label.forces is not None]),
        forces_predicted=np.concatenate([p.forces for p in predictions]),
        forces_uncertainty=None if any(s is None for s in stds) else np.concatenate([s for s in stds if s is not None]),
        forces_noise=np.concatenate(known_noises) if len(known_noises) == len(frames) else None,
        energies=np.array([np.nan if label.energy is None else label.energy for label in labels]),
        energies_predicted=np.array([p.energy for p in predictions]),
        stresses=np.array([nan6 if label.stress is None else label.stress for label in labels]),
        stresses_predicted=np.array([nan6 if p.stress is None else p.stress for p in predictions]),
        energies_std=np.array([_energy_std(p, n) for p, n in zip(predictions, noises, strict=True)]),
        stresses_std=np.array([_stress_std(p, n) for p, n in zip(predictions, noises, strict=True)]),
        support_distance=np.concatenate(distances) if len(distances) == len(predictions) else None,
    )
    held = [
        held_components(f, label.forces).any(axis=1)
        for f, label in zip(frames, labels, strict=True)
        if label.forces is not None
    ]
    free = ~np.concatenate(held)
    if not free.any():
        raise DataError("all atoms of these frames are held, with zeros for forces: there is nothing to compare")
    return comparison if free.all() else comparison.of_atoms(free)


def _energy_std(prediction: Prediction, noise: Noise | None) -> float:
    if prediction.energy_uncertainty is None or noise is None:
        return float("nan")
    return float(np.hypot(prediction.energy_uncertainty, noise.of_energy(prediction.forces)))


def _stress_std(prediction: Prediction, noise: Noise | None) -> FloatArray:
    if prediction.stress_uncertainty is None or noise is None:
        return np.full(6, np.nan)
    return np.asarray(np.hypot(prediction.stress_uncertainty, noise.of_stress(prediction.forces)), dtype=np.float64)


def summarise(comparison: Comparison) -> Evaluation:
    """Errors and calibration of a comparison; undefined values are None, never NaN."""
    error = comparison.forces_error
    std = comparison.forces_std
    per_atom = (comparison.energies_predicted - comparison.energies) / comparison.atoms_per_frame
    per_atom = per_atom[np.isfinite(per_atom)]
    stress = comparison.stresses_predicted - comparison.stresses
    stress = stress[np.isfinite(stress)]
    # A model without noise may predict a standard deviation of exactly zero, for which coverage is undefined.
    judged = std is not None and bool((std > 0.0).all())
    return Evaluation(
        n_frames=comparison.n_frames,
        n_atoms=len(error),
        forces_rmse=rms(error),
        forces_mae=float(np.abs(error).mean()),
        forces_rms=rms(comparison.forces),
        energy_rmse_per_atom=rms(per_atom) if per_atom.size else None,
        energy_mae_per_atom=float(np.abs(per_atom).mean()) if per_atom.size else None,
        stress_rmse=rms(stress) if stress.size else None,
        forces_coverage_68=coverage(error, std, 0.68) if judged and std is not None else None,
        forces_coverage_95=coverage(error, std, 0.95) if judged and std is not None else None,
        forces_calibration_scale=calibration_scale(error, std) if judged and std is not None else None,
        forces_uncertainty_spearman=_rank_correlation(comparison),
        energy_coverage_95=_known_coverage(
            comparison.energies_predicted - comparison.energies, comparison.energies_std
        ),
        stress_coverage_95=_known_coverage(
            comparison.stresses_predicted - comparison.stresses, comparison.stresses_std
        ),
        outside_support=(
            None if comparison.support_distance is None else float(np.mean(comparison.support_distance > 1))
        ),
    )


def _known_coverage(errors: FloatArray, stds: FloatArray) -> float | None:
    """Coverage of the 95 % interval where there is a label and a positive standard deviation; None where there is none."""
    known = np.isfinite(errors) & np.isfinite(stds) & (stds > 0.0)
    return coverage(errors[known], stds[known], 0.95) if known.any() else None


@dataclass(frozen=True)
class Corrected:
    """95 % intervals of force components, times conformal factors from other frames.

    Attributes
    ----------
    factors : mapping of str to Factor
        By species.
    coverage_95 : float
        Share of the components inside, 0 to 1.
    half_width, half_width_announced : float
        Mean half width with and without the factors, eV/A.
    """

    factors: Mapping[str, Factor]
    coverage_95: float
    half_width: float
    half_width_announced: float

    def as_dict(self) -> dict[str, object]:
        """Plain dictionary, ready for JSON."""
        return {**asdict(self), "factors": {name: factor.as_dict() for name, factor in self.factors.items()}}


def interval_factors(comparison: Comparison, species: Iterable[str] | None = None) -> dict[str, Factor]:
    """Conformal factors by species from labelled frames of one kind (`trepid.acquisition.conformal`).

    Parameters
    ----------
    comparison : Comparison
    species : iterable of str, optional
        For which factors are asked; default: those of the frames.

    Raises
    ------
    DataError
        The predictions have no error bars, or one that is zero.
    """
    return calibrate(comparison.symbols, comparison.frame, comparison.forces_error, _bars(comparison), species=species)


def corrected(comparison: Comparison, factors: Mapping[str, Factor]) -> Corrected:
    """Judge the intervals of a comparison with factors from other frames of the same kind.

    Parameters
    ----------
    comparison : Comparison
    factors : mapping of str to Factor
        Of all its species.

    Raises
    ------
    DataError
        As `interval_factors`, or a species has no factor.
    """
    bars = _bars(comparison)
    missing = sorted(set(comparison.symbols.tolist()) - set(factors))
    if missing:
        raise DataError(f"there is no interval factor of {', '.join(missing)}; those given are of {', '.join(factors)}")
    std = bars * np.array([factors[name].value for name in comparison.symbols])[:, None]
    half = interval_half_width(LEVEL)
    return Corrected(
        factors=dict(factors),
        coverage_95=coverage(comparison.forces_error, std, LEVEL),
        half_width=half * float(std.mean()),
        half_width_announced=half * float(bars.mean()),
    )


def _bars(comparison: Comparison) -> FloatArray:
    bars = comparison.forces_std
    if bars is None or not (bars > 0.0).all():
        raise DataError("intervals need a positive error bar of every force; this model gives none")
    return bars


def _rank_correlation(comparison: Comparison) -> float | None:
    if comparison.forces_uncertainty is None:
        return None
    return spearman(
        np.linalg.norm(comparison.forces_uncertainty, axis=1),
        np.linalg.norm(comparison.forces_error, axis=1),
    )
