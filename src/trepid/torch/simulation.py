"""The Bayesian force field as a model of torch-sim: batches of structures, on CPU and GPU, with the live error bar.

Start with `TorchSimModel.load("model.trepid")`; torch-sim's runners take it like any of their own models.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch_sim
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from trepid.errors import ConfigError, DataError
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.neighbors import SKIN
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.torch.evaluation import Batch, BatchEvaluator


class TorchSimModel(ModelInterface):
    """Energy, forces, stress and their live uncertainty for torch-sim.

    Parameters
    ----------
    potential : SplinePotential
        `mean` of a BayesianForceField, or one of its samples.
    device : torch.device, optional
        Default: the CPU.
    dtype : torch.dtype
        float64 agrees with the C++ core to round-off; float32 does not.
    uncertainty : bool, optional
        Compute forces_uncertainty and, where the model has support data, support_distance. Default: where there are live
        directions.
    skin : float
        Of the neighbour list, A.

    Raises
    ------
    ConfigError
        `uncertainty` of a potential without live directions.
    """

    def __init__(
        self,
        potential: SplinePotential,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float64,
        uncertainty: bool | None = None,
        skin: float = SKIN,
    ) -> None:
        super().__init__()
        if uncertainty and potential.tables.rank == 0:
            raise ConfigError("this potential has no live directions: it was made without a posterior")
        self._device, self._dtype = device or torch.device("cpu"), dtype
        self._compute_forces = self._compute_stress = True
        self._memory_scales_with = "n_atoms_x_density"
        self.uncertainty = potential.tables.rank > 0 if uncertainty is None else uncertainty
        self.evaluator = BatchEvaluator(potential, dtype=dtype, device=self._device, skin=skin)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float64,
        uncertainty: bool | None = None,
        skin: float = SKIN,
    ) -> TorchSimModel:
        """From a model file; raises as `BayesianForceField.load`."""
        mean = BayesianForceField.load(path).mean
        return cls(mean, device=device, dtype=dtype, uncertainty=uncertainty, skin=skin)

    @property
    def compute_stress(self) -> bool:
        """Whether results have the stress."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        self._compute_stress = compute_stress

    @property
    def compute_forces(self) -> bool:
        """Whether results have forces."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = compute_forces

    def forward(self, state: torch_sim.SimState, **kwargs: object) -> dict[str, Tensor]:
        """Results of every structure of a batch.

        Parameters
        ----------
        state : torch_sim.SimState or dict

        Returns
        -------
        dict of tensors
            energy (systems,), eV; forces (atoms, 3), eV/A; stress (systems, 3, 3), eV/A^3; forces_uncertainty (atoms, 3), one
            standard deviation (epistemic), eV/A; support_distance (atoms,): above 1 an atom is outside the training data.

        Raises
        ------
        DataError
            An element that is not among the species of the model, and as `BatchEvaluator`.
        """
        given = torch_sim.SimState(**state) if isinstance(state, dict) else state
        if given.system_idx is None:
            raise DataError("the state has no system_idx")
        batch = Batch(
            given.positions,
            given.row_vector_cell,
            _three(given.pbc),
            self.evaluator.species_of(given.atomic_numbers),
            given.system_idx,
        )
        found = self.evaluator(batch, live=self.uncertainty)
        results = {"energy": found.energy}
        if self.compute_forces:
            results["forces"] = found.forces
        if self.compute_stress:
            results["stress"] = found.stress
        if found.forces_uncertainty is not None:
            results["forces_uncertainty"] = found.forces_uncertainty
        if found.support_distance is not None:
            results["support_distance"] = found.support_distance
        return results


def _three(pbc: Tensor | bool | list[bool]) -> tuple[bool, bool, bool]:
    """Periodicity along the three cell vectors."""
    a, b, c = torch.as_tensor(pbc).expand(3).tolist()
    return bool(a), bool(b), bool(c)
