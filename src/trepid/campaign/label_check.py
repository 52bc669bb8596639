"""Is a label what the reference means? Corrupted labels are caught before they are trained on. Pure functions.

Vocabulary
----------
corrupted    a label that is not the answer of the reference for this frame: forces of another sign, in another unit, in
             the order of other atoms, a file of another run, a bit of noise in transit
surprise     a label far from what the model predicted; learning looks for surprises, so this alone condemns nothing
doubt        the first ground found to mistrust a label
suspect      a label in doubt: it is computed once more, and decided then (`settles`)
z            (label - prediction) / sqrt(uncertainty^2 + noise^2), of every force component
net force    |sum of all forces| / sqrt(n_atoms), eV/A: as large as an error on each of them that is random

What a surprise cannot look like: forces that add up to something else than zero, or that are, all over the crystal,
the predicted ones times -1, times a factor, or given to other atoms. The first is allowed when it is reproduced (grids
do it); the others are not: a reference that gives them twice is not what it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.potentials.base import Noise, Prediction

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = NDArray[np.float64]

UNITS = {
    "Hartree instead of eV": 1 / 27.211386,
    "Hartree per Bohr instead of eV/A": 1 / 51.422067,
    "Rydberg instead of eV": 1 / 13.605693,
    "Rydberg per Bohr instead of eV/A": 1 / 25.711034,
    "eV per Bohr instead of eV/A": 1 / 1.8897261,
    "kcal/mol instead of eV": 23.060548,
    "kJ/mol instead of eV": 96.485332,
}
"""Factors by which forces are wrong when one unit is taken for another, or divided where it should be multiplied."""


class Doubt(str, Enum):
    """Why a label is mistrusted."""

    NET_FORCE = "net_force"
    """The forces do not add up to zero."""
    SIGN = "sign"
    """The forces are the predicted ones with the other sign."""
    FACTOR = "factor"
    """The forces are the predicted ones times the factor between two units."""
    ORDER = "order"
    """The forces are the predicted ones, of other atoms."""
    FORCES = "forces"
    """The forces are further from the predicted ones than the uncertainty allows: a surprise, or noise."""
    ENERGY = "energy"
    """The energy is further from the predicted one than the uncertainty allows, or far from those of other frames."""
    STIFFNESS = "stiffness"
    """The crystal pulls its displaced atoms back with a strength unlike that in the other frames of the start."""

    @property
    def believable(self) -> bool:
        """Whether a reference that gives the same label again is believed."""
        return self not in (Doubt.SIGN, Doubt.FACTOR, Doubt.ORDER)


@dataclass(frozen=True)
class Suspicion:
    """A doubt about a label, and what was measured, in one line."""

    doubt: Doubt
    message: str


@dataclass(frozen=True)
class Limits:
    """How far a label may be from what was expected.

    Attributes
    ----------
    net_force : float
        eV/A; see the vocabulary. Where earlier labels have larger ones, ten times their median instead.
    rms_z, max_z : float
        Root mean square and largest z of a frame, in multiples of the median rms z of the earlier labels (1 if that is
        smaller, 3 if it is larger: a model that is often wrong does not excuse everything).
    relative : float
        Part of the rms predicted force; a smaller rms error, or an error on one atom below four times that, is no
        doubt, however sure the model was: committees may be.
    energy_z : float
        As `rms_z`, for the energy.
    energy_per_atom : float
        eV, distance from the median of the earlier labels of the same composition.
    correlation : float
        Between label and prediction, for the doubts sign, factor and order.
    stiffness : float
        Factor between the stiffness in a frame of the start and the median of all.
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
    """What the labels accepted so far looked like.

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
    def of(cls, frames: Sequence[Atoms], keys: LabelKeys = LabelKeys()) -> LabelHistory:  # noqa: B008 (frozen)
        """History of labelled frames that carry what the model had predicted (`labels.attach_prediction`)."""
        net: list[float] = []
        energies: dict[str, list[float]] = {}
        rms: list[float] = []
        errors: list[float] = []
        stds: list[float] = []
        for frame in frames:
            labels = labels_of(frame, keys, require=("energy", "forces"))
            assert labels.forces is not None
            assert labels.energy is not None
            net.append(net_force(labels.forces))
            energies.setdefault(frame.get_chemical_formula(), []).append(labels.energy / len(frame))
            prediction, noise = prediction_of(frame)
            if prediction is not None:
                rms.append(_rms(force_z(labels.forces, prediction, noise)))
                errors.append((labels.energy - prediction.energy) / len(frame))
                stds.append(_energy_std(prediction, noise) / len(frame))
        offset = float(np.median(errors)) if errors else 0.0
        z = [(error - offset) / std for error, std in zip(errors, stds, strict=True) if std > 0]
        return cls(
            net_forces=np.array(net),
            energies_per_atom={formula: np.array(values) for formula, values in energies.items()},
            rms_z=np.array(rms),
            energy_errors=np.array(errors),
            energy_z=np.abs(np.array(z)),
        )

    @property
    def force_scale(self) -> float:
        """How much larger than announced the errors of forces have been, 1 to 3."""
        return float(np.clip(np.median(self.rms_z), 1.0, 3.0)) if self.rms_z.size else 1.0

    @property
    def energy_scale(self) -> float:
        """The same for energies."""
        return float(np.clip(np.median(self.energy_z), 1.0, 3.0)) if self.energy_z.size else 1.0

    @property
    def energy_offset(self) -> float:
        """Median error of the predicted energy per atom, eV: a shift of the zero is no reason for mistrust."""
        return float(np.median(self.energy_errors)) if self.energy_errors.size >= 3 else 0.0


_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class LabelChecker:
    """Looks labels over as they come, against what was known when they were asked for.

    Attributes
    ----------
    history : LabelHistory
    crystal : Atoms or None
        The sites, for the labels a campaign starts from; None leaves `start` out.
    keys : LabelKeys
    limits : Limits
    """

    history: LabelHistory = field(default_factory=LabelHistory)
    crystal: Atoms | None = None
    keys: LabelKeys = field(default_factory=LabelKeys)
    limits: Limits = _DEFAULT_LIMITS

    def doubt(self, labelled: Atoms) -> Suspicion | None:
        """Look a labelled frame over that carries its prediction; see `check_label`."""
        labels = labels_of(labelled, self.keys, require=("energy", "forces"))
        prediction, noise = prediction_of(labelled)
        return check_label(labelled, labels, prediction, noise, self.history, limits=self.limits)

    def start(self, frames: Sequence[Atoms]) -> list[Suspicion | None]:
        """Look labelled frames over together; those that had been predicted, or confirmed, are let pass."""
        fresh = [k for k, f in enumerate(frames) if "predicted_forces" not in f.arrays]
        if self.crystal is None:
            return [None] * len(frames)
        found = dict(
            zip(
                fresh, check_start([frames[k] for k in fresh], self.crystal, self.keys, limits=self.limits), strict=True
            )
        )
        return [None if "label_confirmed" in f.info else found.get(k) for k, f in enumerate(frames)]


def check_label(
    atoms: Atoms,
    labels: Labels,
    prediction: Prediction | None,
    noise: Noise | None,
    history: LabelHistory,
    *,
    limits: Limits = _DEFAULT_LIMITS,
) -> Suspicion | None:
    """Look one label over, with what the model said before it knew it.

    Parameters
    ----------
    atoms : Atoms
        The frame.
    labels : Labels
        With energy and forces.
    prediction : Prediction or None
        None where there was no model: only sums and energies are looked at then.
    noise : Noise or None
        Of the model.
    history : LabelHistory
        Of the labels accepted before.
    limits : Limits

    Returns
    -------
    Suspicion or None
        None for a label that may be trained on.
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
        small = limits.relative * _rms(prediction.forces)
        everywhere = _rms(z) > limits.rms_z * scale and _rms(error) > small
        somewhere = bool(((np.abs(z) > limits.max_z * scale) & (np.abs(error) > 4 * small)).any())
        if everywhere or somewhere:
            explained = _explanation(forces, prediction.forces, limits) if everywhere else None
            return explained or summed or _surprise(forces, prediction, z)
    if summed is not None:
        return summed
    return _energy_doubt(atoms, labels, prediction, noise, history, limits)


def check_start(
    frames: Sequence[Atoms], crystal: Atoms, keys: LabelKeys, *, limits: Limits = _DEFAULT_LIMITS
) -> list[Suspicion | None]:
    """Look over the labels a campaign starts from, for which there was no model, all together.

    A crystal pulls a displaced atom back. The strength of it over a frame, `-sum F u / sum u^2` with u the displacements
    from the sites (less their mean), is much the same in all frames: of another sign, in another unit, for other atoms
    it is not. Frames in which an atom is more than 1 A from its site, or with another order of atoms, are let pass.

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
            typical = f", {middle:.2g} in the other frames" if np.isfinite(middle) else "; it must be positive"
            text = f"the crystal pulls displaced atoms back with {strength:.2g} eV/A^2{typical}"
            doubts.append(Suspicion(Doubt.STIFFNESS, text))
        elif far > limits.energy_per_atom:
            text = f"the energy per atom is {far:.2g} eV from that of the other frames"
            doubts.append(Suspicion(Doubt.ENERGY, text))
        else:
            doubts.append(None)
    return doubts


def settles(first: Labels, second: Labels, noise: Noise | None) -> bool:
    """Whether two labels of one frame agree: within a tenth of the noise, or a thousandth of the forces.

    References reproduce their labels far better than that, and what comes between them and the ledger does not strike
    twice in the same way.
    """
    assert first.forces is not None
    assert second.forces is not None
    assert first.energy is not None
    assert second.energy is not None
    size = 1e-3 * _rms(first.forces)
    allowed = max(1e-5, size, 0.1 * (noise.forces if noise is not None else 0.0))
    energy = max(1e-5 * len(first.forces), 0.1 * (noise.of_energy(first.forces) if noise is not None else 0.0))
    return float(np.abs(first.forces - second.forces).max()) <= allowed and abs(first.energy - second.energy) <= energy


def net_force(forces: FloatArray) -> float:
    """|sum of the forces| / sqrt(n_atoms), eV/A."""
    return float(np.linalg.norm(forces.sum(axis=0)) / np.sqrt(len(forces)))


def force_z(forces: FloatArray, prediction: Prediction, noise: Noise | None) -> FloatArray:
    """Errors of the predicted forces in units of what was announced for them, (n_atoms, 3).

    The noise is that of the predicted forces: a huge label must not excuse itself.
    """
    variance = np.full(forces.shape, 1e-12)
    if prediction.forces_uncertainty is not None:
        variance = variance + prediction.forces_uncertainty**2
    if noise is not None:
        variance = variance + noise.of_forces(prediction.forces)[:, None] ** 2
    return (forces - prediction.forces) / np.sqrt(variance)


def prediction_of(frame: Atoms) -> tuple[Prediction | None, Noise | None]:
    """What a labelled frame carries of the prediction made before it was labelled; None where there was none."""
    info, arrays = frame.info, frame.arrays
    if "predicted_energy" not in info or "predicted_forces" not in arrays:
        return None, None
    uncertainty, stds = info.get("energy_uncertainty"), arrays.get("forces_uncertainty")
    prediction = Prediction(
        energy=float(info["predicted_energy"]),
        forces=np.asarray(arrays["predicted_forces"], dtype=np.float64),
        energy_uncertainty=None if uncertainty is None else float(uncertainty),
        forces_uncertainty=None if stds is None else np.asarray(stds, dtype=np.float64),
    )
    if "noise_forces" not in info:
        return prediction, None
    large = float(info.get("noise_large_force", np.inf))
    return prediction, Noise(float(info.get("noise_energy", 0.0)), float(info["noise_forces"]), 0.0, large)


def _explanation(forces: FloatArray, expected: FloatArray, limits: Limits) -> Suspicion | None:
    """Sign, factor or order, where one of them turns the label into what was predicted."""
    cosine = float((forces * expected).sum() / (np.linalg.norm(forces) * np.linalg.norm(expected) + 1e-300))
    ratio = float(np.linalg.norm(forces) / (np.linalg.norm(expected) + 1e-300))
    if cosine < -limits.correlation and 0.7 < ratio < 1.4:
        return Suspicion(
            Doubt.SIGN, f"the forces are the predicted ones with the other sign (correlation {cosine:.3f})"
        )
    if abs(cosine) > limits.correlation and not 0.7 < ratio < 1.4:
        factor = np.sign(cosine) * ratio
        named = next(
            (
                name
                for name, known in UNITS.items()
                if abs(np.log(ratio / known)) < 0.1 or abs(np.log(ratio * known)) < 0.1
            ),
            None,
        )
        # Any other factor may be the truth: a model of a few labels can be too soft all over.
        if named is not None:
            return Suspicion(Doubt.FACTOR, f"the forces are the predicted ones times {factor:.3g}: {named}")
    from scipy.optimize import linear_sum_assignment  # deferred: slow to import, and rarely needed

    # The best assignment always comes closer; only one that comes all the way explains anything.
    cost = np.linalg.norm(forces[:, None, :] - expected[None, :, :], axis=2) ** 2
    rows, columns = linear_sum_assignment(cost)
    moved = int((rows != columns).sum())
    left, before = _rms(forces[rows] - expected[columns]), _rms(forces - expected)
    if moved > 1 and left < before / 3 and left < 0.45 * _rms(expected):
        return Suspicion(Doubt.ORDER, f"the forces are the predicted ones in another order ({moved} atoms exchanged)")
    return None


def _surprise(forces: FloatArray, prediction: Prediction, z: FloatArray) -> Suspicion:
    atom = int(np.abs(z).max(axis=1).argmax())
    error = float(np.linalg.norm(forces[atom] - prediction.forces[atom]))
    return Suspicion(
        Doubt.FORCES,
        f"the forces are {_rms(z):.1f} standard deviations from the predicted ones (rms), those of atom {atom} (counted "
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
        # The zero may have been off in the labels before; a model trained since then may have put it right.
        error = min(off, off - n * history.energy_offset, key=abs)
        std = _energy_std(prediction, noise)
        allowed = limits.energy_z * history.energy_scale * std
        # Where nothing is known about its uncertainty, only what is out of all reason is told.
        if abs(error) > (allowed if std > 0 else limits.energy_per_atom * n):
            return Suspicion(
                Doubt.ENERGY,
                f"the energy is {error:.3g} eV from the predicted one, {1000 * std:.3g} meV were announced",
            )
    alike = history.energies_per_atom.get(_formula(atoms), np.empty(0))
    if alike.size and abs(labels.energy / n - float(np.median(alike))) > limits.energy_per_atom:
        return Suspicion(
            Doubt.ENERGY,
            f"the energy per atom is {labels.energy / n - float(np.median(alike)):+.2g} eV from that of earlier labels",
        )
    return None


def _energy_std(prediction: Prediction, noise: Noise | None) -> float:
    """What was announced for the error of the energy, eV; 0 where nothing was."""
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
    return str(atoms.get_chemical_formula())


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
