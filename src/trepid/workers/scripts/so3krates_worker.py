"""Worker for SO3krates (package so3krates-torch): the plain network, without repulsion, electrostatics and dispersion."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from so3krates_torch.modules.models import So3krates as So3kratesModule
from worker_torch import Architecture, Call, Graph, Scale, one_hot, vector_inputs
from worker_training import serve_architecture

N_ELEMENTS = 118


class So3krates(Architecture):
    """A SO3krates model; elements are one-hot over the periodic table, as the package has it."""

    def __init__(self) -> None:
        self.name = f"so3krates-torch {version('so3krates-torch')}"

    def build(self, settings: dict[str, Any], numbers: Sequence[int], scale: Scale) -> torch.nn.Module:
        """As `Architecture.build`."""
        n = int(settings["n_features"])
        module = So3kratesModule(
            r_max=float(settings["r_max_A"]),
            num_radial_basis_fn=int(settings["n_radial"]),
            degrees=list(range(1, int(settings["l_max"]) + 1)),
            num_features=n,
            num_heads=int(settings["n_heads"]),
            num_layers=int(settings["n_layers"]),
            num_elements=N_ELEMENTS,
            avg_num_neighbors=scale.neighbours,
            energy_regression_dim=n,
            message_normalization="avg_num_neighbors",
            radial_basis_fn="bessel",
            cutoff_fn="cosine",
            residual_mlp_1=True,
            residual_mlp_2=True,
            seed=int(torch.initial_seed() % 2**31),
            device=settings["device"],
            dtype=torch.float32,
        )
        # As the package starts, a one-hot vector of 118 elements gives features of about 0.05, whose products vanish in the
        # attention: training has no effect. Features of unit variance are what the layers are made for.
        torch.nn.init.normal_(module.inv_feature_embedding.embedding.weight)
        return _AtomEnergies(module)

    def foundation(self, path: str, numbers: Sequence[int]) -> tuple[torch.nn.Module, float]:
        """Of a whole saved model; as `Architecture.foundation`."""
        module = torch.load(path, map_location="cpu", weights_only=False).float()
        for part in ("zbl_repulsion_bool", "electrostatic_energy_bool", "dispersion_energy_bool"):
            if getattr(module, part, False):
                raise ValueError(
                    f"foundation model {path} has {part} switched on; only the plain network can be fine-tuned"
                )
        with torch.no_grad():
            module.atomic_energy_output_block.energy_shifts.zero_()
        return _AtomEnergies(module), float(module.r_max)

    def atom_energies(self, call: Call, graph: Graph, numbers: Sequence[int]) -> torch.Tensor:
        """As `Architecture.atom_energies`."""
        inputs = vector_inputs(graph)
        elements = torch.tensor([z - 1 for z in numbers], device=graph.species.device)[graph.species]
        inputs["node_attrs"] = one_hot(elements, N_ELEMENTS, graph.vectors.dtype)
        return call(inputs).reshape(-1)


class _AtomEnergies(torch.nn.Module):
    """The package's model up to the energies of the atoms, which it sums."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        """Energies of the atoms, (n_atoms, 1)."""
        features, _ = self.model.get_representation(data=data, compute_force=False)
        energies: torch.Tensor = self.model.atomic_energy_output_block(features, data)
        return energies


if __name__ == "__main__":
    serve_architecture("so3krates", So3krates())
