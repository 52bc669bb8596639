"""Force error of an exported potential against its model, on perturbed training structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from trepid.errors import DataError
from trepid.export.bonds import bonds_of
from trepid.export.contract import Exported
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.live import perturbed
from trepid.potentials.bayesian.spline_potential import SpeciesIndex, SplinePotential

PROBES = 20
"""Perturbed structures to compare on."""
TRIES = 100
"""Attempts per structure."""


@dataclass(frozen=True)
class ForceError:
    """Difference of the forces of an exported potential from those of the model, eV/A.

    Attributes
    ----------
    rmse, mae, largest : float
        Over all force components.
    forces_rms : float
        Of the model's forces, to compare with.
    n_frames : int
    """

    rmse: float
    mae: float
    largest: float
    forces_rms: float
    n_frames: int

    def as_dict(self) -> dict[str, float | int]:
        """In plain types, eV/A, with names as in the rest of trepid."""
        return {
            "forces_rmse": self.rmse,
            "forces_mae": self.mae,
            "forces_max": self.largest,
            "forces_rms": self.forces_rms,
            "n_frames": self.n_frames,
        }


def probe_frames(model: BayesianForceField, *, n: int = PROBES, seed: int = 0) -> list[Atoms]:
    """Training structures, strained and rattled and with one atom pushed away, as for the live directions.

    Atoms stay as far apart as they plausibly come, or as they were in the training structure if that is less.

    Raises
    ------
    DataError
        The model holds no training structure, or it leaves no room for the perturbation.
    """
    if not model.templates:
        raise DataError("the model holds no training structure to measure the exported forces on")
    rng = np.random.default_rng(seed)
    frames: list[Atoms] = []
    for attempt in range(TRIES * n):
        template = model.templates[attempt % len(model.templates)]
        atoms, _ = perturbed(model.basis, template, rng)
        if _closest(model, atoms) >= min(1.0, 0.95 * _closest(model, template)):
            frames.append(atoms)
        if len(frames) == n:
            return frames
    raise DataError(f"{TRIES * n} perturbed training structures brought atoms too close: no forces to compare")


def _closest(model: BayesianForceField, atoms: Atoms) -> float:
    """The shortest distance of two atoms in units of their plausible contact."""
    contact = np.array([[model.basis.plausible_contact(a, b) for b in model.species] for a in model.species])
    species = SpeciesIndex(model.species)(atoms)
    i, j, _, distances = bonds_of(atoms, float(contact.max()))
    return float((distances / contact[species[i], species[j]]).min(initial=np.inf))


def force_error(exported: Exported, model: SplinePotential, frames: Sequence[Atoms]) -> ForceError:
    """Compare the forces of an exported potential with those of the model it was made from."""
    theirs = [model.evaluate(atoms).forces.ravel() for atoms in frames]
    ours = [exported.forces(atoms).ravel() for atoms in frames]
    truth = np.concatenate(theirs)
    difference = np.abs(np.concatenate(ours) - truth)
    return ForceError(
        rmse=float(np.sqrt((difference**2).mean())),
        mae=float(difference.mean()),
        largest=float(difference.max()),
        forces_rms=float(np.sqrt((truth**2).mean())),
        n_frames=len(frames),
    )
