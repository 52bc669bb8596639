"""Forces of a frame from any source: a potential or one of its samples, a reference method, an ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union, runtime_checkable

import numpy as np

from trepid.arrays import FloatArray
from trepid.data.frames import LabelKeys
from trepid.errors import ConfigError
from trepid.potentials.base import Prediction, Uncertainty
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms


@runtime_checkable
class Predictor(Protocol):
    """A potential, or a force field drawn from its posterior."""

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = ...) -> Prediction:
        """Predict one frame."""


@runtime_checkable
class ForceCalculator(Protocol):
    """An ASE calculator; not every one derives from the classes of ASE."""

    def get_forces(self, atoms: Any = None) -> Any:
        """Forces of a frame, (n_atoms, 3), eV/A."""


ForceSource: TypeAlias = Union[Predictor, Reference, ForceCalculator]  # noqa: UP007 evaluated at import
"""A potential or one of its posterior samples, a reference, or an ASE calculator."""


def force_function(source: ForceSource) -> Callable[[Atoms], FloatArray]:
    """Function from a frame to its forces (n_atoms, 3), eV/A, on this source; constraints of the frame are ignored.

    Raises
    ------
    ConfigError
        `source` is of none of these kinds.
    """
    if isinstance(source, Reference):
        return lambda atoms: np.array(source.label(atoms).arrays[LabelKeys().forces])
    if isinstance(source, Predictor):
        return lambda atoms: np.array(source.predict(atoms, uncertainty=Uncertainty.NONE).forces)
    if not isinstance(source, ForceCalculator):
        raise ConfigError(f"{source!r} computes no forces; give a potential, a reference or an ASE calculator")

    def forces(atoms: Atoms) -> FloatArray:
        frame = atoms.copy()
        frame.set_constraint()
        frame.calc = source
        return np.array(frame.get_forces(), dtype=np.float64)

    return forces
