"""A reference as ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ase.calculators.calculator import Calculator, all_changes

from trepid.data.frames import LabelKeys, labels_of
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms

_KEYS = LabelKeys()


class ReferenceCalculator(Calculator):
    """Energy and forces of a reference, and its stress where it has one.

    Parameters
    ----------
    reference : Reference
    labels : bool
        Whether numbers that no sound label has are errors (`Reference.label`), or taken as they are (`Reference.evaluate`).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, reference: Reference, *, labels: bool = True) -> None:
        super().__init__()
        self._reference, self._labels = reference, labels

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        if self._labels:
            labels = labels_of(self._reference.label(self.atoms, keys=_KEYS), _KEYS, where="the frame")
        else:
            labels = self._reference.evaluate(self.atoms)
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": labels.forces}
        if labels.stress is not None:
            self.results["stress"] = labels.stress
