"""Labels that count less than others: factors on their noise, one for each kind, which a frame carries in `atoms.info`.

A label with the factor m is taken for one with m times the noise of the others of its kind. The checks give such factors to
outliers; a file can hold them too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from ase import Atoms

from trepid.errors import DataError


@dataclass(frozen=True)
class NoiseFactors:
    """Factors on the noise of the labels of a frame; 1 is an ordinary label.

    Attributes
    ----------
    energy, forces, stress : float
        In `atoms.info` as `energy_noise_factor`, `forces_noise_factor`, `stress_noise_factor`.
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 1.0

    def __str__(self) -> str:
        more = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return (
            ", ".join(f"noise of {kind} x {factor:.3g}" for kind, factor in more if factor != 1.0) or "noise as usual"
        )


def noise_factors_of(atoms: Atoms) -> NoiseFactors:
    """Factors that a frame carries.

    Raises
    ------
    DataError
        One is not a positive number.
    """
    found = {}
    for field in fields(NoiseFactors):
        key = _key(field.name)
        if key in atoms.info:
            value = np.asarray(atoms.info[key])
            if value.size != 1 or value.dtype.kind not in "fiu" or not (np.isfinite(value).all() and value.min() > 0):
                raise DataError(f"frame: {key} is {str(atoms.info[key])[:40]!r}; a positive number is expected")
            found[field.name] = float(value.reshape(()))
    return NoiseFactors(**found)


def with_noise_factors(atoms: Atoms, factors: NoiseFactors) -> Atoms:
    """A copy of a frame that carries these factors, times those it has."""
    own = noise_factors_of(atoms)
    copy = atoms.copy()
    for name, mine, more in (
        ("energy", own.energy, factors.energy),
        ("forces", own.forces, factors.forces),
        ("stress", own.stress, factors.stress),
    ):
        if mine * more != 1.0:
            copy.info[_key(name)] = mine * more
    return copy


def _key(kind: str) -> str:
    return f"{kind}_noise_factor"
