"""Neighbour pairs of many structures at once, followed with a skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from vesin import NeighborList

from trepid.data.geometry import completed_cell, require_apart
from trepid.potentials.bayesian.neighbors import SKIN


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of all structures, each from both sides.

    Attributes
    ----------
    centre, neighbour : (P,) tensors
        Atoms, counted over all structures.
    shift : (P, 3) tensor
        Of the neighbour, in cell vectors.
    system : (P,) tensor
        Structure.
    """

    centre: Tensor
    neighbour: Tensor
    shift: Tensor
    system: Tensor

    def vectors(self, positions: Tensor, cell: Tensor) -> Tensor:
        """From centre to neighbour, (P, 3), A; `cell` (systems, 3, 3) has its vectors in rows."""
        images = torch.bmm(self.shift[:, None, :], cell[self.system])[:, 0]
        return positions[self.neighbour] - positions[self.centre] + images

    def inside(self, vectors: Tensor, cutoff: float) -> tuple[Pairs, Tensor]:
        """Those shorter than `cutoff`, A, and their `vectors`."""
        near = (vectors**2).sum(1) < cutoff**2
        pairs = Pairs(self.centre[near], self.neighbour[near], self.shift[near], self.system[near])
        return pairs, vectors[near]


class BatchedNeighbours:
    """Neighbour list of a batch of structures; made again when an atom may have crossed the skin or the batch changes.

    vesin finds the pairs on the CPU, whatever the device.

    Parameters
    ----------
    cutoff : float
        A.
    skin : float
        Extra reach, A.
    """

    def __init__(self, cutoff: float, *, skin: float = SKIN) -> None:
        self.cutoff, self.skin, self.n_builds = cutoff, skin, 0
        self._pairs: Pairs | None = None
        self._pbc = (False, False, False)
        self._system, self._positions, self._cell = (torch.zeros(0) for _ in range(3))

    def update(self, positions: Tensor, cell: Tensor, *, pbc: tuple[bool, bool, bool], system: Tensor) -> Pairs:
        """Pairs within cutoff and skin.

        Parameters
        ----------
        positions : (N, 3) tensor
            A.
        cell : (systems, 3, 3) tensor
            Vectors in rows, A.
        pbc : tuple of bool
        system : (N,) tensor
            Structure of every atom, in rising order.

        Raises
        ------
        DataError
            Positions or cell are not finite, atoms coincide, or a periodic direction has no cell vector.
        """
        same = pbc == self._pbc and torch.equal(system, self._system)
        if self._pairs is not None and same and self._reaches(positions, cell):
            return self._pairs
        self._pairs = self._search(positions.detach().cpu(), cell.detach().cpu(), pbc, system.cpu(), positions)
        self._pbc, self._system = pbc, system.clone()
        self._positions, self._cell = positions.detach().clone(), cell.detach().clone()
        self.n_builds += 1
        return self._pairs

    def _reaches(self, positions: Tensor, cell: Tensor) -> bool:
        """Whether no pair can have come inside the cutoff: same cell, no atom further than half of the skin."""
        if not torch.equal(cell, self._cell):
            return False
        moved = ((positions.detach() - self._positions) ** 2).sum(1).max()
        return bool(moved < (self.skin / 2) ** 2)

    def _search(
        self, positions: Tensor, cell: Tensor, pbc: tuple[bool, bool, bool], system: Tensor, like: Tensor
    ) -> Pairs:
        parts: list[tuple[np.ndarray, np.ndarray, int, int]] = []
        search = NeighborList(cutoff=self.cutoff + self.skin, full_list=True, n_threads=1)
        for k in range(len(cell)):
            of_k = torch.nonzero(system == k)[:, 0]
            atoms = Atoms(positions=positions[of_k].double().numpy(), cell=cell[k].double().numpy(), pbc=pbc)
            pairs, shifts, distances = search.compute(
                atoms.positions, completed_cell(atoms), atoms.pbc, quantities="PSd"
            )
            if len(distances):
                closest = int(np.argmin(distances))
                require_apart(int(pairs[closest][0]), int(pairs[closest][1]), float(distances[closest]))
            first = int(of_k[0]) if len(of_k) else 0
            parts.append(
                (
                    np.asarray(pairs, dtype=np.int64).reshape(-1, 2) + first,
                    np.asarray(shifts).reshape(-1, 3),
                    k,
                    len(pairs),
                )
            )
        pairs = np.concatenate([p for p, _, _, _ in parts])
        shift = np.concatenate([s for _, s, _, _ in parts]).astype(np.float64)
        of_system = np.repeat([k for _, _, k, _ in parts], [n for _, _, _, n in parts])
        indices = torch.as_tensor(pairs, device=like.device)
        return Pairs(
            indices[:, 0],
            indices[:, 1],
            torch.as_tensor(shift, device=like.device).to(like.dtype),
            torch.as_tensor(of_system.astype(np.int64), device=like.device),
        )
