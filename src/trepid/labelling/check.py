"""Consistency checks of new labels: corrupted ones are detected before they are trained on. Pure functions.

Vocabulary
----------
corrupted    a label that is not the result of the reference for this frame: forces of another sign, in another unit, with
             permuted atoms, from a file of another run, or damaged in transit
outlier      a label far from the prediction. Active learning selects frames with large errors, so this alone is no reason
             to reject a label
doubt        the first inconsistency found in a label
suspect      a suspicious label, one with a doubt: it is computed a second time, and then accepted or rejected (`agree`)
z            (label - prediction) / sqrt(uncertainty^2 + noise^2), of every force component
net force    |sum of all forces| / sqrt(n_atoms), eV/A: as large as a random error of each force

Four inconsistencies cannot be outliers: forces that do not add up to zero, and forces that are, in the whole crystal, the
predicted ones times -1, times a ratio of units, or with permuted atoms. The first is accepted if the second label has it
too (real-space grids cause it); the others are not: if the reference reproduces them, its setup is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import rms
from trepid.data.formula import formula_of
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.inspection.confusion import Confusion, explained_forces
from trepid.potentials.base import FloatArray, Noise, Prediction
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger_events import Doubt

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Suspicion:
    """A doubt about a label, and the measured values, in one line."""

    doubt: Doubt
    message: str


@dataclass(frozen=True)
class Limits:
    """Largest deviations of a label that are accepted.

    Attributes
    ----------
    net_force : float
        eV/A; see the vocabulary. Where earlier labels have larger ones, ten times their median instead.
    rms_z, max_z : float
        Root mean square and largest z of a frame, in multiples of the median rms z of the earlier labels, which is
        limited to 1..3 so that an overconfident model does not hide corrupted labels.
    relative : float
        Part of the rms predicted force; a smaller rms error, or an error on one atom below four times that, raises no
        doubt, however small the uncertainty: committees can be overconfident.
    energy_z : float
        As `rms_z`, for the energy.
    energy_per_atom : float
        eV, distance from the median of the earlier labels of the same composition.
    correlation : float
        Between label and prediction, for the doubts sign, factor and order.
    stiffness : float
        Factor between the stiffness in an initial frame and the median of all.
    """

    net_force: float = 0.02
    rms_z: float = 4.0
    max_z: float = 10.0
    relative: float = 0.2
    energy_z: float = 12.0
    energy_per_atom: float = 0.5
    correlation: float = 0.9
    stiffness: float = 3.0


@dataclass(frozen=True)
class LabelHistory:
    """Statistics of the labels accepted so far.

    Attributes
    ----------
    net_forces : (n,) array
        eV/A, of every label.
    energies_per_atom : dict of str to (n,) array
        eV, by chemical formula.
    rms_z, energy_errors, energy_z : (m,) arrays
        Of the labels that had been predicted; energy error per atom, eV.
    """

    net_forces: FloatArray = field(default_factory=lambda: np.empty(0))
    energies_per_atom: dict[str, FloatArray] = field(default_factory=dict)
    rms_z: FloatArray = field(default_factory=lambda: np.empty(0))
    energy_errors: FloatArray = field(default_factory=lambda: np.empty(0))
    energy_z: FloatArray = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, frames: Sequence[LabelledFrame]) -> LabelHistory:
        """History of labelled frames."""
        net: list[float] = []
        energies: dict[str, list[float]] = {}
        rms_z: list[float] = []
        errors: list[float] = []
        stds: list[float] = []
        for frame in frames:
            labels, n = labels_of(frame.atoms, frame.keys, require=("energy", "forces")), len(frame.atoms)
            assert labels.forces is not None
            assert labels.energy is not None
            net.append(net_force(labels.forces))
            energies.setdefault(_formula(frame.atoms), []).append(labels.energy / n)
            prediction, noise = frame.prediction, frame.noise
            if prediction is not None:
                rms_z.append(rms(force_z(labels.forces, prediction, noise)))
                errors.append((labels.energy - prediction.energy) / n)
                stds.append(_energy_std(prediction, noise) / n)
        offset = float(np.median(errors)) if errors else 0.0
        z = [(error - offset) / std for error, std in zip(errors, stds, strict=True) if std > 0]
        return cls(
            net_forces=np.array(net),
            energies_per_atom={formula: np.array(values) for formula, values in energies.items()},
            rms_z=np.array(rms_z),
            energy_errors=np.array(errors),
            energy_z=np.abs(np.array(z)),
        )

    @property
    def force_scale(self) -> float:
        """Ratio of the errors of forces to their error bars so far, 1 to 3."""
        return float(np.clip(np.median(self.rms_z), 1.0, 3.0)) if self.rms_z.size else 1.0

    @property
    def energy_scale(self) -> float:
        """The same for energies."""
        return float(np.clip(np.median(self.energy_z), 1.0, 3.0)) if self.energy_z.size else 1.0

    @property
    def energy_offset(self) -> float:
        """Median error of the predicted energy per atom, eV: a shift of the energy zero is not suspicious."""
        return float(np.median(self.energy_errors)) if self.energy_errors.size >= 3 else 0.0


_DEFAULT_LIMITS = Limits()
_DOUBTS = {Confusion.SIGN: Doubt.SIGN, Confusion.FACTOR: Doubt.FACTOR, Confusion.ORDER: Doubt.ORDER}


@dataclass(frozen=True)
class LabelChecker:
    """Checks new labels against the model's predictions and the labels accepted before.

    Attributes
    ----------
    history : LabelHistory
    crystal : Atoms or None
        The sites, for the initial labels; None leaves `start` out.
    limits : Limits
    """

    history: LabelHistory = field(default_factory=LabelHistory)
    crystal: Atoms | None = None
    limits: Limits = _DEFAULT_LIMITS

    def doubt(self, frame: LabelledFrame) -> Suspicion | None:
        """Check a labelled frame; see `check_label`."""
        labels = labels_of(frame.atoms, frame.keys, require=("energy", "forces"))
        return check_label(frame.atoms, labels, frame.prediction, frame.noise, self.history, limits=self.limits)

    def start(self, frames: Sequence[LabelledFrame]) -> list[Suspicion | None]:
        """Check initial labels together; those with a prediction, or confirmed, are skipped.

        Where all drive the atoms away from their sites, the structure is unstable for the reference, or its sign is wrong: the
        second computation of one of them tells as much as those of all.
        """
        fresh = [k for k, f in enumerate(frames) if f.prediction is None]
        if self.crystal is None:
            return [None] * len(frames)
        found = dict(
            zip(
                fresh,
                check_start(
                    [frames[k].atoms for k in fresh],
                    self.crystal,
                    frames[0].keys if frames else LabelKeys(),
                    limits=self.limits,
                ),
                strict=True,
            )
        )
        doubts = [None if f.confirmed is not None else found.get(k) for k, f in enumerate(frames)]
        suspicions = [suspicion for suspicion in found.values() if suspicion is not None]
        if len(suspicions) == len(frames) > 1 and all(s.doubt is Doubt.STIFFNESS for s in suspicions):
            confirmed = any(f.confirmed is Doubt.STIFFNESS for f in frames)
            return [None if confirmed or k else doubt for k, doubt in enumerate(doubts)]
        return doubts


def check_label(
    atoms: Atoms,
    labels: Labels,
    prediction: Prediction | None,
    noise: Noise | None,
    history: LabelHistory,
    *,
    limits: Limits = _DEFAULT_LIMITS,
) -> Suspicion | None:
    """Check one label against the prediction made before training on it.

    Parameters
    ----------
    atoms : Atoms
        The frame.
    labels : Labels
        With energy and forces.
    prediction : Prediction or None
        None where there was no model: then only net force and energy are checked.
    noise : Noise or None
        Of the model.
    history : LabelHistory
        Of the labels accepted before.
    limits : Limits

    Returns
    -------
    Suspicion or None
        None for a label that passes.
    """
    assert labels.forces is not None
    assert labels.energy is not None
    forces, n = labels.forces, len(atoms)
    net = net_force(forces)
    usual = 10 * float(np.median(history.net_forces)) if history.net_forces.size >= 3 else 0.0
    summed = None
    if net > max(limits.net_force, usual):
        summed = Suspicion(
            Doubt.NET_FORCE,
            f"the forces add up to {net * np.sqrt(n):.3g} eV/A, {net:.2g} per root atom; zero is expected",
        )
    if prediction is not None:
        z = force_z(forces, prediction, noise)
        error, scale = forces - prediction.forces, history.force_scale
        small = limits.relative * rms(prediction.forces)
        everywhere = rms(z) > limits.rms_z * scale and rms(error) > small
        somewhere = bool(((np.abs(z) > limits.max_z * scale) & (np.abs(error) > 4 * small)).any())
        if everywhere or somewhere:
            explained = _explanation(forces, prediction.forces, limits) if everywhere else None
            return explained or summed or _outlier(forces, prediction, z)
    if summed is not None:
        return summed
    return _energy_doubt(atoms, labels, prediction, noise, history, limits)


def check_start(
    frames: Sequence[Atoms], crystal: Atoms, keys: LabelKeys, *, limits: Limits = _DEFAULT_LIMITS
) -> list[Suspicion | None]:
    """Check the initial labels, made before there was a model, all together.

    Restoring forces act on displaced atoms. Their stiffness in a frame, `-sum F u / sum u^2` with u the displacements from
    the sites (minus their mean), is similar in all frames, but not for forces of another sign, in another unit, or with
    permuted atoms. Frames in which an atom is more than 1 A from its site, or with another order of atoms, are skipped.

    Parameters
    ----------
    frames : sequence of Atoms
        Labelled.
    crystal : Atoms
        The sites; frames may be strained.
    keys : LabelKeys
    limits : Limits

    Returns
    -------
    list of (Suspicion or None)
        One for each frame.
    """
    stiffness = np.array([_stiffness(frame, crystal, keys) for frame in frames])
    known = stiffness[np.isfinite(stiffness)]
    positive = known[known > 0]
    middle = float(np.median(positive)) if len(positive) >= 2 else np.nan
    energies = np.array([(labels_of(frame, keys, require=("energy",)).energy or 0.0) / len(frame) for frame in frames])
    doubts: list[Suspicion | None] = []
    for frame, strength, energy in zip(frames, stiffness, energies, strict=True):
        alike = [e for f, e in zip(frames, energies, strict=True) if _formula(f) == _formula(frame)]
        far = abs(energy - float(np.median(alike))) if len(alike) >= 3 else 0.0
        wrong = strength <= 0 or (
            np.isfinite(middle) and not 1 / limits.stiffness <= strength / middle <= limits.stiffness
        )
        if np.isfinite(strength) and wrong:
            typical = f", {middle:.2g} in the other frames" if np.isfinite(middle) else ""
            text = f"the stiffness of the restoring forces is {strength:.2g} eV/A^2{typical}"
            if strength <= 0:
                text += (
                    ": they drive the atoms away from their sites. Either their sign is wrong, or the given structure is unstable "
                    "for this reference"
                )
            doubts.append(Suspicion(Doubt.STIFFNESS, text))
        elif far > limits.energy_per_atom:
            text = f"the energy per atom is {far:.2g} eV from that of the other frames"
            doubts.append(Suspicion(Doubt.ENERGY, text))
        else:
            doubts.append(None)
    return doubts


def agree(first: Labels, second: Labels, noise: Noise | None) -> bool:
    """Whether two labels of one frame agree: within a tenth of the noise, or a thousandth of the forces.

    References reproduce their labels far better than that, and damage in transit does not repeat itself.
    """
    assert first.forces is not None
    assert second.forces is not None
    assert first.energy is not None
    assert second.energy is not None
    size = 1e-3 * rms(first.forces)
    allowed = max(1e-5, size, 0.1 * (noise.forces if noise is not None else 0.0))
    energy = max(1e-5 * len(first.forces), 0.1 * (noise.of_energy(first.forces) if noise is not None else 0.0))
    return float(np.abs(first.forces - second.forces).max()) <= allowed and abs(first.energy - second.energy) <= energy


def net_force(forces: FloatArray) -> float:
    """|sum of the forces| / sqrt(n_atoms), eV/A."""
    return float(np.linalg.norm(forces.sum(axis=0)) / np.sqrt(len(forces)))


def force_z(forces: FloatArray, prediction: Prediction, noise: Noise | None) -> FloatArray:
    """Errors of the predicted forces over their error bars, (n_atoms, 3).

    The noise is evaluated at the predicted, not the labelled force: otherwise a corrupted large force widens its own bar.
    """
    variance = np.full(forces.shape, 1e-12)
    if prediction.forces_uncertainty is not None:
        variance = variance + prediction.forces_uncertainty**2
    if noise is not None:
        variance = variance + noise.of_forces(prediction.forces)[:, None] ** 2
    return (forces - prediction.forces) / np.sqrt(variance)


def _explanation(forces: FloatArray, expected: FloatArray, limits: Limits) -> Suspicion | None:
    """Sign, factor or permutation that maps the label to the prediction, if there is one."""
    told = explained_forces(forces, expected, correlation=limits.correlation)
    return (
        None if told is None else Suspicion(_DOUBTS[told.confusion], f"the forces are the predicted ones {told.text}")
    )


def _outlier(forces: FloatArray, prediction: Prediction, z: FloatArray) -> Suspicion:
    atom = int(np.abs(z).max(axis=1).argmax())
    error = float(np.linalg.norm(forces[atom] - prediction.forces[atom]))
    return Suspicion(
        Doubt.FORCES,
        f"the forces are {rms(z):.1f} standard deviations from the predicted ones (rms), those of atom {atom} (counted "
        f"from 0) {float(np.abs(z[atom]).max()):.1f}, {error:.2g} eV/A",
    )


def _energy_doubt(
    atoms: Atoms,
    labels: Labels,
    prediction: Prediction | None,
    noise: Noise | None,
    history: LabelHistory,
    limits: Limits,
) -> Suspicion | None:
    assert labels.energy is not None
    assert labels.forces is not None
    n = len(atoms)
    if prediction is not None:
        off = labels.energy - prediction.energy
        # The energy zero of earlier models can be shifted; a model trained since then can have corrected it.
        error = min(off, off - n * history.energy_offset, key=abs)
        std = _energy_std(prediction, noise)
        allowed = limits.energy_z * history.energy_scale * std
        # Without an uncertainty, only gross outliers are flagged.
        if abs(error) > (allowed if std > 0 else limits.energy_per_atom * n):
            return Suspicion(
                Doubt.ENERGY,
                f"the energy is {error:.3g} eV from the predicted one, its error bar is {1000 * std:.3g} meV",
            )
    alike = history.energies_per_atom.get(_formula(atoms), np.empty(0))
    if alike.size and abs(labels.energy / n - float(np.median(alike))) > limits.energy_per_atom:
        return Suspicion(
            Doubt.ENERGY,
            f"the energy per atom is {labels.energy / n - float(np.median(alike)):+.2g} eV from that of earlier labels",
        )
    return None


def _energy_std(prediction: Prediction, noise: Noise | None) -> float:
    """Error bar of the predicted energy, eV; 0 where there is none."""
    if prediction.energy_uncertainty is None:
        return 0.0
    return float(np.hypot(prediction.energy_uncertainty, 0.0 if noise is None else noise.of_energy(prediction.forces)))


def _stiffness(frame: Atoms, crystal: Atoms, keys: LabelKeys) -> float:
    """-sum F u / sum u^2, eV/A^2; NaN where displacements from the sites mean nothing."""
    if len(frame) != len(crystal) or not np.array_equal(frame.numbers, crystal.numbers):
        return np.nan
    forces = labels_of(frame, keys, require=("forces",)).forces
    assert forces is not None
    if crystal.cell.rank == 3:
        shift = frame.get_scaled_positions(wrap=False) - crystal.get_scaled_positions(wrap=False)
        shift -= np.where(frame.pbc, np.round(shift), 0.0)
        displacement = shift @ np.array(frame.cell)
    else:
        displacement = frame.positions - crystal.positions
    displacement = displacement - displacement.mean(axis=0)
    if np.linalg.norm(displacement, axis=1).max() > 1.0 or not displacement.any():
        return np.nan
    return -float((forces * displacement).sum() / (displacement**2).sum())


def _formula(atoms: Atoms) -> str:
    return formula_of(atoms)
