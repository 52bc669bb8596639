"""ASE calculator of a potential: mean under ASE's standard names, uncertainties beside them.

`results` holds energy, free_energy and forces; energies and stress where there are such; with uncertainty also those of
forces_uncertainty, energy_uncertainty and stress_uncertainty, and the support_distance, that the potential gives. All of them in
ASE's units, uncertainties as one standard deviation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from threading import RLock
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from trepid.errors import ConfigError
from trepid.potentials.base import Prediction

_UNCERTAINTIES = ("forces_uncertainty", "energy_uncertainty", "stress_uncertainty", "support_distance")


class PotentialCalculator(Calculator):
    """Calculator of a potential. It can be pickled and copied, and serves one thread at a time.

    A subclass gives `predict` and `forget`.

    Parameters
    ----------
    every : int, optional
        Uncertainty on every n-th new configuration; between them `results` has none. None: never.

    Raises
    ------
    ConfigError
        `every` is below 1.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, *, every: int | None) -> None:
        self._alone = RLock()
        super().__init__()
        if every is not None and every < 1:
            raise ConfigError(f"every is {every}; the uncertainty is computed on every n-th step, n >= 1")
        self._every = every
        self._calls = 0

    @abstractmethod
    def predict(self, atoms: Atoms, *, uncertain: bool) -> Prediction:
        """The prediction of one configuration, with or without uncertainty."""

    @abstractmethod
    def forget(self) -> None:
        """Make `predict` depend on the positions alone."""

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which belongs to this process."""
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._alone = RLock()

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """As of ASE; another thread waits, so that it gets the results of its own atoms."""
        with self._alone:
            return super().get_property(name, atoms, allow_calculation)

    def reset(self) -> None:
        """As of ASE; another thread finishes first."""
        with self._alone:
            super().reset()

    def reset_neighbors(self) -> None:
        """Drop neighbour lists and cached results, so that what follows depends on the positions alone."""
        with self._alone:
            self.forget()
            self.reset()
            self._calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results` for `atoms`."""
        super().calculate(atoms, properties, system_changes)
        uncertain = self._every is not None and self._calls % self._every == 0
        self._calls += 1
        p = self.predict(self.atoms, uncertain=uncertain)
        results: dict[str, Any] = {"energy": p.energy, "free_energy": p.energy, "forces": p.forces}
        optional = {"energies": p.atom_energies, "stress": p.stress}
        optional |= {name: getattr(p, name) for name in _UNCERTAINTIES}
        results |= {name: value for name, value in optional.items() if value is not None}
        for name in properties or ():
            if name not in results:
                bare = name == "stress" and self.atoms.cell.rank < 3
                raise PropertyNotImplementedError(
                    "a structure without a cell has no stress" if bare else f"this potential gives no {name}"
                )
        self.results = results
