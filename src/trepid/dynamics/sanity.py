"""Is a frame of an MD trajectory physical? One check and one set of limits for every simulation.

A frame is unphysical when something in it is not finite, it is far hotter than its target, a force is far too large, two
atoms are much closer than a bond, or its cell has become far larger or smaller than it was. None of this needs the
uncertainty of the model: a trajectory whose frames are unphysical has become unstable, however small the uncertainty is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import FloatArray
from trepid.data.geometry import MIN_DISTANCE_FACTOR, fused_atoms

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class SanityLimits:
    """Limits of a physical frame.

    Attributes
    ----------
    max_temperature_factor : float
        Largest instantaneous temperature, over the target.
    max_force_eV_per_A : float
        Largest force on an atom, eV/A; infinite for no limit.
    min_distance_factor : float
        Shortest distance of two atoms, over the sum of their covalent radii.
    max_volume_factor : float
        Largest volume over that at the start, and the other way round.
    """

    max_temperature_factor: float
    max_force_eV_per_A: float = math.inf
    min_distance_factor: float = MIN_DISTANCE_FACTOR
    max_volume_factor: float = 2.0


def unphysical(
    limits: SanityLimits,
    *,
    temperature_K: float,
    target_temperature_K: float,
    atoms: Atoms | None = None,
    forces: FloatArray | None = None,
    uncertainty: FloatArray | float | None = None,
    volume_factor: float | None = None,
) -> str:
    """Reason why a frame is unphysical; an empty string for a physical one.

    Parameters
    ----------
    limits : SanityLimits
    temperature_K, target_temperature_K : float
        Instantaneous temperature, and that of the thermostat.
    atoms : Atoms, optional
        Its positions are checked for being finite and for atoms that are too close.
    forces : (n_atoms, 3) array, optional
        eV/A.
    uncertainty : float or array, optional
        Force uncertainty, eV/A: must be finite.
    volume_factor : float, optional
        Volume over that at the start, where the cell changes.
    """
    if atoms is not None and not np.isfinite(atoms.positions).all():
        return "positions are not finite"
    if forces is not None and not np.isfinite(forces).all():
        return "forces are not finite"
    if uncertainty is not None and not np.isfinite(uncertainty).all():
        return "the force uncertainty is not finite"
    if not temperature_K <= limits.max_temperature_factor * target_temperature_K:
        return f"temperature {temperature_K:.4g} K is over {limits.max_temperature_factor:g} times the target"
    if volume_factor is not None and not 1 / limits.max_volume_factor <= volume_factor <= limits.max_volume_factor:
        return f"the volume is {volume_factor:.3g} times that at the start: the cell expanded or collapsed"
    if forces is not None and len(forces):
        largest = float(np.linalg.norm(forces, axis=1).max())
        if largest > limits.max_force_eV_per_A:
            return f"predicted force {largest:.1f} eV/A is over {limits.max_force_eV_per_A:g} eV/A"
    return "" if atoms is None else fused_atoms(atoms, factor=limits.min_distance_factor)
