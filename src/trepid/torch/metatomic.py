"""The Bayesian force field as an atomistic model of metatomic, for i-PI, ASE, LAMMPS, torch-sim and others that load such files.

The module of this file is compiled by TorchScript: a file holds the model whole and needs no trepid where it runs.
"""

# Without `from __future__ import annotations`: metatomic compares the types of `forward`. TorchScript knows no `X | None`.
from typing import Dict, List, Optional  # noqa: UP035

import torch
from ase.data import atomic_numbers
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)
from torch import Tensor

from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.torch.coulomb import CoulombEnergy
from trepid.torch.energy import SplineEnergy

UNCERTAINTY = "trepid::forces_uncertainty"
"""Output: one standard deviation (epistemic) of every force component, eV/A."""
SUPPORT = "trepid::support_distance"
"""Output: distance of every atom from the training data; above 1 it is outside."""


class MetatomicForceField(torch.nn.Module):
    """Energy, live force uncertainty and support distance in the terms of metatomic.

    Parameters
    ----------
    potential : SplinePotential
    dtype : torch.dtype
    """

    def __init__(self, potential: SplinePotential, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.energy = SplineEnergy(potential, dtype=dtype)
        self.coulomb = CoulombEnergy(potential, dtype=dtype)
        self.listed = NeighborListOptions(cutoff=self.energy.cutoff, full_list=True, strict=True, requestor="trepid")
        self.uncertainty_name, self.support_name = UNCERTAINTY, SUPPORT  # TorchScript knows no globals
        self.register_buffer("index", torch.as_tensor(potential.index.of_number).to(torch.int64))

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:  # noqa: UP006
        """The full list to the longest cutoff."""
        return [self.listed]

    def forward(
        self,
        systems: List[System],  # noqa: UP006
        outputs: Dict[str, ModelOutput],  # noqa: UP006
        selected_atoms: Optional[Labels],  # noqa: UP045
    ) -> Dict[str, TensorMap]:  # noqa: UP006
        """Results as `metatomic.torch.ModelInterface` describes them."""
        results: Dict[str, TensorMap] = {}  # noqa: UP006
        samples: List[Tensor] = []  # noqa: UP006
        energies: List[Tensor] = []  # noqa: UP006
        totals: List[Tensor] = []  # noqa: UP006
        deviations: List[Tensor] = []  # noqa: UP006
        distances: List[Tensor] = []  # noqa: UP006
        uncertain, supported = self.uncertainty_name in outputs, self.support_name in outputs
        if selected_atoms is not None:
            if uncertain or supported:
                raise ValueError(
                    "force uncertainty and support distance need whole structures: not with domain decomposition"
                )
            if self.coulomb.present:
                raise ValueError("a force field with charges needs whole structures: not with domain decomposition")
        for k, system in enumerate(systems):
            species = self.index[system.types.to(torch.int64)]
            pairs = system.get_neighbor_list(self.listed)
            ends = pairs.samples.values.to(torch.int64)
            vectors = pairs.values.squeeze(-1)
            if uncertain and not vectors.requires_grad:
                vectors = vectors.detach().requires_grad_(True)
            near = self.energy.neighbourhoods(vectors, ends[:, 0], ends[:, 1], species)
            site = self.energy.site_energies(near, 0)
            atoms = torch.arange(site.shape[0], device=site.device)
            if selected_atoms is not None:
                chosen = selected_atoms.values.to(torch.int64)
                atoms = chosen[chosen[:, 0] == k][:, 1].to(site.device)
                site = site[atoms]
            energies.append(site)
            total = site.sum()
            if self.coulomb.present:
                if not bool(system.pbc.all()):
                    raise ValueError(
                        "a force field with charges needs structures that are periodic in all three directions"
                    )
                total = total + self.coulomb(system.positions, system.cell, species)
            totals.append(total)
            samples.append(torch.stack([torch.full_like(atoms, k), atoms], dim=1))
            if uncertain:
                deviations.append(torch.sqrt(self.energy.force_variance(near, vectors)).detach())
            if supported:
                distances.append(self.energy.support_distance(near).detach())

        device = systems[0].positions.device
        of_atoms = Labels(["system", "atom"], torch.cat(samples).to(torch.int32))
        of_systems = Labels(["system"], torch.arange(len(systems), dtype=torch.int32, device=device)[:, None])
        nothing = torch.jit.annotate(List[Labels], [])  # noqa: UP006
        if "energy" in outputs:
            if outputs["energy"].sample_kind == "atom":
                if self.coulomb.present:
                    raise ValueError("a force field with charges gives the energy of a structure, not of its atoms")
                results["energy"] = tensor_map(torch.cat(energies)[:, None], of_atoms, nothing, "energy")
            else:
                results["energy"] = tensor_map(torch.stack(totals)[:, None], of_systems, nothing, "energy")
        if uncertain:
            axes = [Labels(["xyz"], torch.arange(3, dtype=torch.int32, device=device)[:, None])]
            results[self.uncertainty_name] = tensor_map(
                torch.cat(deviations)[:, :, None], of_atoms, axes, "forces_uncertainty"
            )
        if supported:
            results[self.support_name] = tensor_map(
                torch.cat(distances)[:, None], of_atoms, nothing, "support_distance"
            )
        return results


def tensor_map(values: Tensor, samples: Labels, components: List[Labels], name: str) -> TensorMap:  # noqa: UP006
    """One block of values."""
    one = torch.zeros(1, 1, dtype=torch.int32, device=values.device)
    block = TensorBlock(values, samples, components, Labels([name], one))
    return TensorMap(Labels(["_"], one), [block])


def atomistic_model(
    potential: SplinePotential, *, name: str, description: str, dtype: torch.dtype = torch.float64
) -> AtomisticModel:
    """The model with its capabilities, ready to be saved.

    Parameters
    ----------
    potential : SplinePotential
        `mean` of a BayesianForceField, or one of its samples.
    name, description : str
        For its metadata.
    dtype : torch.dtype
        float64 or float32, which the program that loads the file then uses too.
    """
    module = MetatomicForceField(potential, dtype=dtype).eval()
    charged = module.coulomb.present
    outputs = {
        "energy": ModelOutput(
            unit="eV",
            sample_kind="system" if charged else "atom",
            description="potential energy, the mean of the posterior",
        )
    }
    if potential.tables.rank:
        outputs[UNCERTAINTY] = ModelOutput(
            unit="eV/A", sample_kind="atom", description="one standard deviation (epistemic) of every force component"
        )
    if module.energy.has_support:
        outputs[SUPPORT] = ModelOutput(
            unit="", sample_kind="atom", description="distance from the training data; above 1 an atom is outside"
        )
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=[atomic_numbers[s] for s in potential.species],
        interaction_range=float("inf") if charged else module.energy.cutoff,
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype=str(dtype).removeprefix("torch."),
    )
    metadata = ModelMetadata(name=name, description=description, authors=[], references={})
    return AtomisticModel(module, metadata, capabilities)
