"""Coulomb energy of Gaussian charges in PyTorch: the Ewald sum of `trepid.potentials.bayesian.ewald`, differentiable.

Positions and cell carry gradients; the wave vectors that are kept depend on the cell alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trepid.potentials.bayesian.ewald import SMALLEST_FACTOR
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.zbl import COULOMB


class CoulombEnergy(torch.nn.Module):
    """Coulomb energy of the effective charges of a force field; 0 without charges.

    Parameters
    ----------
    potential : SplinePotential
    dtype : torch.dtype
    """

    def __init__(self, potential: SplinePotential, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        found = potential.electrostatics
        self.present = found is not None
        width = float(potential.tables.charge_width[0]) if self.present else 1.0
        charges = np.array([0.0 if found is None else found.charges[s] for s in potential.species])
        self.register_buffer("charges", torch.as_tensor(charges).to(dtype))
        self.g = 1 / (2 * width)
        self.longest = 2 * self.g * math.sqrt(-math.log(SMALLEST_FACTOR))
        self.coulomb = float(COULOMB)

    def forward(self, positions: Tensor, cell: Tensor, species: Tensor) -> Tensor:
        """Energy of one cell, periodic in all three directions, eV.

        Parameters
        ----------
        positions : (N, 3) tensor
            A.
        cell : (3, 3) tensor
            Vectors in rows, A.
        species : (N,) tensor of int64
        """
        q = self.charges[species]
        volume = torch.abs(torch.linalg.det(cell))
        k = 2 * math.pi * torch.matmul(self.waves(cell.detach()), torch.linalg.inv(cell).t())
        k2 = (k * k).sum(1)
        phase = torch.matmul(positions, k.t())
        cosine, sine = (q[:, None] * torch.cos(phase)).sum(0), (q[:, None] * torch.sin(phase)).sum(0)
        # One half of reciprocal space: twice the sum.
        weight = 2 * torch.exp(-k2 / (4 * self.g**2)) / k2
        waves = 2 * math.pi / volume * (weight * (cosine * cosine + sine * sine)).sum()
        own = self.g / math.sqrt(math.pi) * (q * q).sum()
        background = math.pi / (2 * self.g**2) / volume * q.sum() ** 2
        return self.coulomb * (waves - own - background)

    def waves(self, cell: Tensor) -> Tensor:
        """Indices of the wave vectors of one half of reciprocal space whose factor counts, (m, 3)."""
        most = torch.floor(self.longest * torch.linalg.norm(cell, dim=1) / (2 * math.pi)).to(torch.int64)
        x = torch.arange(0, int(most[0]) + 1, device=cell.device)
        y = torch.arange(-int(most[1]), int(most[1]) + 1, device=cell.device)
        z = torch.arange(-int(most[2]), int(most[2]) + 1, device=cell.device)
        n = torch.cartesian_prod(x, y, z)
        upper = (n[:, 0] > 0) | ((n[:, 0] == 0) & ((n[:, 1] > 0) | ((n[:, 1] == 0) & (n[:, 2] > 0))))
        n = n[upper].to(cell.dtype)
        k = 2 * math.pi * torch.matmul(n, torch.linalg.inv(cell).t())
        return n[(k * k).sum(1) < self.longest**2]
