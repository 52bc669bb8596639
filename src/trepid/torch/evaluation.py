"""Energy, forces, stress and their live uncertainty of a batch of structures in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from trepid.data.geometry import completed_cell
from trepid.errors import DataError
from trepid.potentials.bayesian.neighbors import SKIN
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.torch.coulomb import CoulombEnergy
from trepid.torch.energy import SplineEnergy, pair_gradient
from trepid.torch.neighbours import BatchedNeighbours


class Batch(NamedTuple):
    """Structures, one after the other; N atoms, M structures.

    Attributes
    ----------
    positions : (N, 3) tensor
        A.
    cell : (M, 3, 3) tensor
        Vectors in rows, A.
    pbc : tuple of bool
        Of all structures.
    species : (N,) tensor
        Indices into the species of the model.
    system : (N,) tensor
        Structure of every atom, in rising order.
    """

    positions: Tensor
    cell: Tensor
    pbc: tuple[bool, bool, bool]
    species: Tensor
    system: Tensor


@dataclass(frozen=True, eq=False)
class BatchPrediction:
    """Results of a batch; N atoms, M structures.

    Attributes
    ----------
    energy : (M,) tensor
        eV.
    forces : (N, 3) tensor
        eV/A.
    stress : (M, 3, 3) tensor
        eV/A^3.
    forces_uncertainty : (N, 3) tensor or None
        One standard deviation (epistemic) from the live directions, eV/A.
    support_distance : (N,) tensor or None
        Above 1 an atom is outside the training data.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    forces_uncertainty: Tensor | None
    support_distance: Tensor | None


class BatchEvaluator(torch.nn.Module):
    """Evaluates a force field on batches; the neighbour list follows the batch at hand.

    Parameters
    ----------
    potential : SplinePotential
    dtype : torch.dtype
    device : torch.device
    skin : float
        Of the neighbour list, A.
    """

    def __init__(
        self,
        potential: SplinePotential,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
        skin: float = SKIN,
    ) -> None:
        super().__init__()
        self.known, self.dtype, self.device = potential.index, dtype, device or torch.device("cpu")
        self.energy = SplineEnergy(potential, dtype=dtype).to(self.device)
        self.coulomb = CoulombEnergy(potential, dtype=dtype).to(self.device)
        self.neighbours = BatchedNeighbours(self.energy.cutoff, skin=skin)
        self.register_buffer("index", torch.as_tensor(self.known.of_number.astype(np.int64), device=self.device))

    def species_of(self, numbers: Tensor) -> Tensor:
        """Species indices of atomic numbers, (N,).

        Raises
        ------
        DataError
            An element that is not among the species of the model.
        """
        species = self.index[numbers.to(torch.int64)]
        if bool((species < 0).any()):
            raise self.known.unknown(numbers[species < 0].tolist())
        return species

    def forward(self, batch: Batch, *, live: bool = False) -> BatchPrediction:
        """Results of a batch; with `live`, the uncertainty and the support distance, where the model has them.

        Raises
        ------
        DataError
            Positions or cells are not finite, atoms coincide; charges in a structure that is not periodic in all directions.
        """
        x, cell = batch.positions.detach().to(self.dtype), batch.cell.detach().to(self.dtype)
        n_systems = len(cell)
        with torch.enable_grad():
            listed = self.neighbours.update(x, cell, pbc=batch.pbc, system=batch.system)
            pairs, vectors = listed.inside(listed.vectors(x, cell), self.energy.cutoff)
            vectors.requires_grad_()
            near = self.energy.neighbourhoods(vectors, pairs.centre, pairs.neighbour, batch.species)
            sites = self.energy.site_energies(near, 0)
            gradient = pair_gradient(sites, vectors)
            uncertainty = torch.sqrt(self.energy.force_variance(near, vectors)) if live and self.energy.rank else None
        nothing = torch.zeros(n_systems, dtype=self.dtype, device=self.device)
        energy = nothing.index_add(0, batch.system, sites.detach())
        forces = self.energy.forces_of_pairs(gradient, near)
        strain = torch.zeros(n_systems, 3, 3, dtype=self.dtype, device=self.device)
        strain = strain.index_add(0, pairs.system, vectors.detach()[:, :, None] * gradient[:, None, :])
        if self.coulomb.present:
            self._add_coulomb(energy, forces, strain, x, cell, batch)
        volume = torch.abs(torch.linalg.det(cell))[:, None, None]
        return BatchPrediction(
            energy,
            forces,
            0.5 * (strain + strain.transpose(1, 2)) / volume,
            uncertainty,
            self.energy.support_distance(near) if live and self.energy.has_support else None,
        )

    def _add_coulomb(
        self, energy: Tensor, forces: Tensor, strain: Tensor, positions: Tensor, cell: Tensor, batch: Batch
    ) -> None:
        """Add the Coulomb energy of every structure and its derivatives, in place."""
        if not all(batch.pbc):
            raise DataError("a force field with charges needs structures that are periodic in all three directions")
        for k in range(len(cell)):
            of_k = torch.nonzero(batch.system == k)[:, 0]
            with torch.enable_grad():
                x = positions[of_k].clone().requires_grad_()
                deformation = torch.eye(3, dtype=self.dtype, device=self.device).requires_grad_()
                coulomb = self.coulomb(x @ deformation, cell[k] @ deformation, batch.species[of_k])
                slope, deformed = torch.autograd.grad(coulomb, (x, deformation))
            energy[k] += coulomb.detach()
            forces[of_k] -= slope
            strain[k] += deformed


def evaluate(potential: SplinePotential, atoms: Atoms, *, live: bool = False) -> BatchPrediction:
    """Results of one structure, in float64 on the CPU; the stress has no meaning without three cell vectors.

    Raises
    ------
    DataError
        As `BatchEvaluator`, and an unknown element.
    """
    evaluator = BatchEvaluator(potential, skin=0.0)
    a, b, c = (bool(p) for p in atoms.pbc)
    batch = Batch(
        torch.as_tensor(atoms.positions),
        torch.as_tensor(completed_cell(atoms))[None],
        (a, b, c),
        evaluator.species_of(torch.as_tensor(atoms.numbers)),
        torch.zeros(len(atoms), dtype=torch.int64),
    )
    return evaluator(batch, live=live)
