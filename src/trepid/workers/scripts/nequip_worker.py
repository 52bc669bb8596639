"""Worker for NequIP (package nequip)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch
from ase.data import atomic_numbers, chemical_symbols
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from worker_torch import Architecture, Call, Graph, Scale
from worker_training import serve_architecture


class Nequip(Architecture):
    """The energy part of a NequIP model, without its own derivatives, scales and shifts."""

    def __init__(self) -> None:
        set_global_state(allow_tf32=False)
        self.name = f"nequip {version('nequip')}"
        self.types: list[int] | None = None

    def build(self, settings: dict[str, Any], numbers: Sequence[int], scale: Scale) -> torch.nn.Module:
        """As `Architecture.build`."""
        full = NequIPGNNModel(
            seed=int(torch.initial_seed() % 2**31),
            model_dtype="float32",
            compile_mode="eager",
            r_max=float(settings["r_max_A"]),
            type_names=[chemical_symbols[z] for z in numbers],
            num_layers=int(settings["n_layers"]),
            l_max=int(settings["l_max"]),
            parity=bool(settings["parity"]),
            num_features=int(settings["n_features"]),
            radial_mlp_depth=1,
            radial_mlp_width=int(settings["radial_width"]),
            avg_num_neighbors=scale.neighbours,
            per_type_energy_scales=1.0,
            per_type_energy_shifts=0.0,
            do_derivatives=False,
        )
        return _energy_part(full)

    def foundation(self, path: str, numbers: Sequence[int]) -> tuple[torch.nn.Module, float]:
        """Of a packaged model or a checkpoint; as `Architecture.foundation`."""
        from nequip.model.saved_models import load_saved_model

        full = load_saved_model(path)
        self.types = [atomic_numbers[name] for name in full.metadata["type_names"].split()]
        missing = [chemical_symbols[z] for z in numbers if z not in self.types]
        if missing:
            raise ValueError(f"foundation model {path} does not describe {', '.join(missing)}")
        return _energy_part(full).float(), float(full.metadata["r_max"])

    def atom_energies(self, call: Call, graph: Graph, numbers: Sequence[int]) -> torch.Tensor:
        """As `Architecture.atom_energies`."""
        types = graph.species
        if self.types is not None:
            types = torch.tensor([self.types.index(z) for z in numbers], device=types.device)[types]
        out = call(
            {
                "pos": torch.zeros((types.shape[0], 3), dtype=graph.vectors.dtype, device=types.device),
                "edge_index": graph.edges,
                "edge_vectors": graph.vectors,
                "atom_types": types,
            }
        )
        return out["atomic_energy"].reshape(-1)


def _energy_part(full: Any) -> torch.nn.Module:
    """The network up to the energies of the atoms: what ForceStressOutput wraps."""
    part: torch.nn.Module = full.model.func
    return part


if __name__ == "__main__":
    serve_architecture("nequip", Nequip())
