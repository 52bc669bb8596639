r"""A push of walkers towards what the model does not know: bias energy and forces. Pure functions.

Vocabulary
----------
directions    r = 1..R, independent ways in which the energy may be wrong, e_r in eV with forces F_r = -grad e_r in eV/A:
              members of a committee minus their mean, over sqrt(n_members - 1); or the live directions of a Bayesian force field
U             energy uncertainty sqrt(sum_r e_r^2), eV, relative to a reference frame of the same cell where that is subtracted
bias          - largest tanh(strength U / largest), eV: `strength` times U at first, never more than `largest`

As in uncertainty-driven dynamics (Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023)) the bias is bounded: an unbounded push
ends in nonsense, where any model is most uncertain. The trajectory is not one of the canonical ensemble: use it to find
candidates, never to average over it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from trepid.arrays import FloatArray
from trepid.errors import ConfigError, DataError

SMALLEST_EV = 1e-3
"""U below which the bias is quadratic in it: U itself has a cusp at zero, where forces would jump."""


def uncertainty_bias(
    energies: ArrayLike, forces: ArrayLike, *, strength: float, largest_eV: float
) -> tuple[float, FloatArray]:
    """Bias energy (eV) and bias forces (n_atoms, 3) in eV/A, to be added to those of the model.

    Parameters
    ----------
    energies : (R,) array
        e_r, eV.
    forces : (R, n_atoms, 3) array
        F_r, eV/A.
    strength : float
        eV of bias per eV of uncertainty; positive.
    largest_eV : float
        Bound of the bias, positive.

    Raises
    ------
    ConfigError
        A setting is not positive.
    DataError
        Shapes that do not fit.
    """
    if not (strength > 0.0 and largest_eV > 0.0):
        raise ConfigError(f"strength is {strength}, largest_eV {largest_eV}: both must be positive")
    e = np.asarray(energies, dtype=np.float64)
    f = np.asarray(forces, dtype=np.float64)
    if e.ndim != 1 or f.shape[:1] != e.shape or f.shape[2:] != (3,):
        raise DataError(f"energies have shape {e.shape}, forces {f.shape}: (R,) and (R, n_atoms, 3) are needed")
    rounded = float(np.sqrt(e @ e + SMALLEST_EV**2))
    x = strength * (rounded - SMALLEST_EV) / largest_eV
    slope = strength / np.cosh(min(x, 300.0)) ** 2 / rounded
    return -largest_eV * float(np.tanh(x)), -slope * np.tensordot(e, f, axes=1)


def directions_of_ensemble(energies: ArrayLike, forces: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Directions (e_r, F_r) of a committee, so that U is its standard deviation (ddof=1).

    Parameters
    ----------
    energies : (n_members,) array
        Each relative to the member's own energy of the reference frame, eV.
    forces : (n_members, n_atoms, 3) array
        eV/A.
    """
    e = np.asarray(energies, dtype=np.float64)
    f = np.asarray(forces, dtype=np.float64)
    if len(e) < 2 or len(e) != len(f):
        raise DataError(
            f"{len(e)} energies and {len(f)} forces: a committee has one of each per member, two members or more"
        )
    scale = 1.0 / np.sqrt(len(e) - 1)
    return (e - e.mean()) * scale, (f - f.mean(axis=0)) * scale
