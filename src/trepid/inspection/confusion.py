"""Forces that are the expected ones with another sign, in another unit, or on other atoms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from trepid.arrays import FloatArray, rms
from trepid.data.confused_units import UNITS


class Confusion(Enum):
    """What maps forces to the expected ones."""

    SIGN = "sign"
    FACTOR = "factor"
    ORDER = "order"


@dataclass(frozen=True)
class Explanation:
    """A confusion, and what was measured, to follow "the forces are the predicted ones"."""

    confusion: Confusion
    text: str


def explained_forces(forces: FloatArray, expected: FloatArray, *, correlation: float = 0.9) -> Explanation | None:
    """Sign, factor or permutation that maps forces (n_atoms, 3) to the expected ones, if there is one.

    Parameters
    ----------
    forces, expected : (n_atoms, 3) arrays
        eV/A.
    correlation : float
        Between both, for sign and factor.
    """
    cosine = float((forces * expected).sum() / (np.linalg.norm(forces) * np.linalg.norm(expected) + 1e-300))
    ratio = float(np.linalg.norm(forces) / (np.linalg.norm(expected) + 1e-300))
    if cosine < -correlation and 0.7 < ratio < 1.4:
        return Explanation(Confusion.SIGN, f"with the other sign (correlation {cosine:.3f})")
    if abs(cosine) > correlation and not 0.7 < ratio < 1.4:
        factor = np.sign(cosine) * ratio
        named = next(
            (
                name
                for name, known in UNITS.items()
                if abs(np.log(ratio / known)) < 0.1 or abs(np.log(ratio * known)) < 0.1
            ),
            None,
        )
        # Any other factor can be real: a model of a few labels can be too soft everywhere.
        if named is not None:
            return Explanation(Confusion.FACTOR, f"times {factor:.3g}: {named}")
    from scipy.optimize import linear_sum_assignment  # deferred: slow to import, and rarely needed

    # The best assignment always reduces the error; only one that removes it explains the label.
    cost = np.linalg.norm(forces[:, None, :] - expected[None, :, :], axis=2) ** 2
    rows, columns = linear_sum_assignment(cost)
    moved = int((rows != columns).sum())
    left, before = rms(forces[rows] - expected[columns]), rms(forces - expected)
    if moved > 1 and left < before / 3 and left < 0.45 * rms(expected):
        return Explanation(Confusion.ORDER, f"in another order ({moved} atoms exchanged)")
    return None
