"""Worker for MACE (package mace-torch)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.data import chemical_symbols

# TorchScript, which e3nn 0.4 uses, fixes the number of bonds while a network is traced for compiling.
os.environ["PYTORCH_JIT"] = "0"

import torch
from worker_torch import Architecture, Call, Graph, Scale, one_hot, vector_inputs
from worker_training import serve_architecture

N_BESSEL = 8
CUTOFF_POWER = 5


class Mace(Architecture):
    """A MACE model without energies of isolated atoms."""

    def __init__(self) -> None:
        self.name = f"mace-torch {version('mace-torch')}"
        self.elements: list[int] | None = None
        # The constants of e3nn 0.4 are a pickle with slices in it, which torch since 2.6 does not read by default.
        torch.serialization.add_safe_globals([slice])

    def build(self, settings: dict[str, Any], numbers: Sequence[int], scale: Scale) -> torch.nn.Module:
        """As `Architecture.build`."""
        from e3nn import o3
        from mace.modules import ScaleShiftMACE, interaction_classes
        from mace.tools.compile import disable_e3nn_codegen

        n, width = int(settings["n_features"]), int(settings["radial_width"])
        with disable_e3nn_codegen():
            model = ScaleShiftMACE(
                r_max=float(settings["r_max_A"]),
                num_bessel=N_BESSEL,
                num_polynomial_cutoff=CUTOFF_POWER,
                max_ell=int(settings["l_max"]),
                interaction_cls=interaction_classes["RealAgnosticResidualInteractionBlock"],
                interaction_cls_first=interaction_classes["RealAgnosticInteractionBlock"],
                num_interactions=int(settings["n_layers"]),
                num_elements=len(numbers),
                hidden_irreps=o3.Irreps(
                    [(n, (degree, (-1) ** degree)) for degree in range(int(settings["hidden_l_max"]) + 1)]
                ),
                MLP_irreps=o3.Irreps("16x0e"),
                atomic_energies=np.zeros(len(numbers)),
                avg_num_neighbors=scale.neighbours,
                atomic_numbers=list(numbers),
                correlation=int(settings["correlation"]),
                gate=torch.nn.functional.silu,
                radial_MLP=[width, width],
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
            )
        return _AtomEnergies(model)

    def foundation(self, path: str, numbers: Sequence[int]) -> tuple[torch.nn.Module, float]:
        """Of a saved model; built anew, because saved ones carry compiled parts that cannot be traced."""
        from mace.tools.compile import disable_e3nn_codegen
        from mace.tools.scripts_utils import extract_config_mace_model

        saved = torch.load(path, map_location="cpu", weights_only=False).float()
        self.elements = [int(z) for z in saved.atomic_numbers]
        missing = [chemical_symbols[z] for z in numbers if z not in self.elements]
        if missing:
            raise ValueError(f"foundation model {path} does not describe {', '.join(missing)}")
        if len(saved.heads) != 1:
            raise ValueError(
                f"foundation model {path} has {len(saved.heads)} heads; only models with one can be fine-tuned"
            )
        with disable_e3nn_codegen():
            module = type(saved)(**extract_config_mace_model(saved)).float()
        module.load_state_dict(saved.state_dict())
        module.atomic_energies_fn.atomic_energies.zero_()
        return _AtomEnergies(module), float(module.r_max)

    def atom_energies(self, call: Call, graph: Graph, numbers: Sequence[int]) -> torch.Tensor:
        """As `Architecture.atom_energies`."""
        elements = list(numbers) if self.elements is None else self.elements
        index = torch.tensor([elements.index(z) for z in numbers], device=graph.species.device)[graph.species]
        inputs = vector_inputs(graph)
        inputs["node_attrs"] = one_hot(index, len(elements), graph.vectors.dtype)
        return call(inputs).reshape(-1)


class _AtomEnergies(torch.nn.Module):
    """The package's model up to the energies of the atoms."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        """Energies of the atoms, (n_atoms,)."""
        return self.model(data, compute_force=False)["node_energy"]


if __name__ == "__main__":
    serve_architecture("mace", Mace())
