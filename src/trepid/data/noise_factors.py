"""Labels that count less or more than others: factors on their noise, and the weight of a frame, carried in `atoms.info`.

A label with the factor m is taken for one with m times the noise of the others of its kind. The checks give such factors to
outliers; a file can hold them too. A frame of weight w counts as w frames of its kind would: its labels are fitted with 1 /
sqrt(w) of their noise, and no other noise is claimed for them, so that weights do not change what the error bars are fitted to.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from ase import Atoms

from trepid.errors import DataError

WEIGHT = "fit_weight"
CONFIG_TYPE = "config_type"
"""Name in `info` of the kind of a frame, by the convention of other codes."""


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
        if _key(field.name) in atoms.info:
            found[field.name] = _positive(atoms, _key(field.name))
    return NoiseFactors(**found)


def weight_of(atoms: Atoms) -> float:
    """Weight of a frame in a fit, `fit_weight` in `atoms.info`; 1 without one.

    Raises
    ------
    DataError
        It is not a positive number.
    """
    return _positive(atoms, WEIGHT) if WEIGHT in atoms.info else 1.0


def fitted_factors(atoms: Atoms) -> NoiseFactors:
    """Factors on the noise with which the labels of a frame are fitted: its noise factors and its weight. Errors as these."""
    own, root = noise_factors_of(atoms), math.sqrt(weight_of(atoms))
    return NoiseFactors(own.energy / root, own.forces / root, own.stress / root)


def with_weights(frames: Sequence[Atoms], weights: Mapping[str, float]) -> list[Atoms]:
    """Frames with weights by their `config_type`: copies that carry them, times those they have; the others as they are.

    Raises
    ------
    DataError
        A weight is not a positive number, or no frame has its type.
    """
    types = [config_type_of(atoms) for atoms in frames]
    known = sorted({name for name in types if name is not None})
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise DataError(f"weight of {name}: {weight:g}; a positive number is expected, 1 for an ordinary frame")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"types: {', '.join(known) or 'none'}"
            raise DataError(f"weight of {name}: no frame has this config_type; {hint}")
    return [
        atoms if name is None or weights.get(name, 1.0) == 1.0 else with_weight(atoms, weights[name])
        for atoms, name in zip(frames, types, strict=True)
    ]


def config_type_of(atoms: Atoms) -> str | None:
    """Type of a frame, `config_type` in `atoms.info`."""
    value = atoms.info.get(CONFIG_TYPE)
    return None if value is None else str(value)


def with_type_of(source: Atoms, target: Atoms) -> Atoms:
    """`target`, which gets the `config_type` and the weight that `source` has."""
    target.info.update({key: source.info[key] for key in (CONFIG_TYPE, WEIGHT) if key in source.info})
    return target


def with_weight(atoms: Atoms, weight: float) -> Atoms:
    """A copy of a frame with this weight in a fit, times that it has."""
    copy = atoms.copy()
    copy.info[WEIGHT] = weight * weight_of(atoms)
    return copy


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


def _positive(atoms: Atoms, key: str) -> float:
    value = np.asarray(atoms.info[key])
    if value.size != 1 or value.dtype.kind not in "fiu" or not (np.isfinite(value).all() and value.min() > 0):
        raise DataError(f"frame: {key} is {str(atoms.info[key])[:40]!r}; a positive number is expected")
    return float(value.reshape(()))


def _key(kind: str) -> str:
    return f"{kind}_noise_factor"
