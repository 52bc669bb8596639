"""ASE calculator of a potential: mean under ASE's standard names, uncertainties beside them.

`results` holds energy, free_energy, energies, forces and (with a cell) stress; with uncertainty also
forces_uncertainty, and for the exact one energy_uncertainty and stress_uncertainty. All of them in ASE's units,
uncertainties as one standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Prediction
from trepid.potentials.bayesian.neighbors import SkinNeighbors

Evaluate = Callable[[Atoms, SkinNeighbors, bool], tuple[Prediction, FloatArray]]
"""(atoms, neighbours, live uncertainty wanted) -> prediction and energies of the atoms."""


class PotentialCalculator(Calculator):
    """Calculator with a skin neighbour list of its own.

    Parameters
    ----------
    evaluate : callable
        What computes a frame.
    neighbors : SkinNeighbors
        Kept between calls.
    live_every : int, optional
        Compute the live uncertainty on every n-th new configuration; between them `results` has no forces_uncertainty.
        None: never.
    exact : callable, optional
        Full prediction with exact uncertainty instead.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        evaluate: Evaluate,
        *,
        neighbors: SkinNeighbors,
        live_every: int | None = None,
        exact: Callable[[Atoms], Prediction] | None = None,
    ) -> None:
        super().__init__()
        if live_every is not None and live_every < 1:
            raise ConfigError(f"every is {live_every}; the uncertainty is computed on every n-th step, n >= 1")
        self._evaluate = evaluate
        self._exact = exact
        self._live_every = live_every
        self._calls = 0
        self.neighbors = neighbors

    def reset_neighbors(self) -> None:
        """Forget the neighbour list and cached results, so that what follows depends on the positions alone."""
        self.neighbors.reset()
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
        live = self._live_every is not None and self._calls % self._live_every == 0
        self._calls += 1
        prediction, energies = self._evaluate(self.atoms, self.neighbors, live)
        results: dict[str, Any] = {
            "energy": prediction.energy,
            "free_energy": prediction.energy,
            "energies": energies,
            "forces": prediction.forces,
        }
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        elif properties and "stress" in properties:
            raise PropertyNotImplementedError("a structure without a cell has no stress")
        full = self._exact(self.atoms) if self._exact else prediction
        for name in ("forces_uncertainty", "energy_uncertainty", "stress_uncertainty"):
            if (value := getattr(full, name)) is not None:
                results[name] = value
        self.results = results
