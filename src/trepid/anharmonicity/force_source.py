"""Forces of a frame from whatever computes some: a model, a reference method, an ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from trepid.arrays import FloatArray
from trepid.data.frames import LabelKeys
from trepid.errors import ConfigError
from trepid.potentials.base import Potential, Uncertainty
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from trepid.potentials.bayesian.spline_potential import SplinePotential


ForceSource: TypeAlias = Union[Potential, "SplinePotential", Reference, "Calculator"]
"""A potential or one of its posterior samples, a reference, or an ASE calculator."""


def force_function(source: ForceSource) -> Callable[[Atoms], FloatArray]:
    """Function from a frame to its forces (n_atoms, 3), eV/A, on this source; no constraint zeroes any of them.

    Raises
    ------
    ConfigError
        `source` is none of the kinds known.
    """
    if isinstance(source, Reference):
        return lambda atoms: np.array(source.label(atoms).arrays[LabelKeys().forces])
    predict: Any = getattr(source, "predict", None)
    if predict is not None:
        return lambda atoms: np.array(predict(atoms, uncertainty=Uncertainty.NONE).forces)
    if not hasattr(source, "get_forces"):
        raise ConfigError(f"{source!r} computes no forces; give a potential, a reference or an ASE calculator")
    calculator: Any = source

    def forces(atoms: Atoms) -> FloatArray:
        frame = atoms.copy()
        frame.set_constraint()
        frame.calc = calculator
        return np.array(frame.get_forces(), dtype=np.float64)

    return forces
