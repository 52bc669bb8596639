"""Time per atom and MD step of a force field of given sizes, from the neighbours of its atoms; without a run.

The time is a sum over the passes of the kernel (native/kernel.h): pair energies over the neighbours in the pair cutoff;
radial splines and spherical harmonics over those in the triplet cutoff, in (l_max + 1)^2 components of as many blocks of
`channel_block` radial channels as n_radial fills; the contraction, with the square of the channels of all species. The
coefficients were fitted to measured times of silicon, beta-tin and a binary and ternary zincblende crystal at 19 sizes,
512 atoms, one thread, AVX-512: mean deviation 6 %, largest 23 %. They are meant for ratios between sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from vesin import NeighborList

from trepid import _native
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.base import BasisSettings

PER_ATOM = 0.523
PER_PAIR = 0.0149
PER_NEIGHBOUR = 0.0125
PER_HARMONIC = 1.87e-4
PER_CHANNEL = 2.01e-3
PER_DENSITY = 7.40e-3
PER_PRODUCT = 4.77e-3
"""Microseconds: of an atom; of a pair; of a neighbour in the triplet cutoff, of each of its harmonics, of each of those in
one block of channels; of a density component in one block; of a product of two of them."""
PER_QUADRUPLETS = 1.2
"""Microseconds of the quadruplets of an atom, whatever its neighbours: 1.4 to 1.6 times the default sizes on silicon and CuI."""
PER_CHARGE = 5.5
"""Microseconds of the mesh Ewald sum of an atom with a charge."""
LARGEST_SAMPLE = 3
"""Frames in which neighbours are counted."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """How many neighbours the atoms of some frames have.

    Attributes
    ----------
    distances : (n,) array
        Of all neighbours, A, sorted.
    n_atoms : int
        Atoms that have them.
    """

    distances: FloatArray
    n_atoms: int

    @classmethod
    def of(cls, frames: Sequence[Atoms], reach: float) -> Surroundings:
        """Neighbours within `reach` (A) in a few of the frames, evenly spaced."""
        chosen = [frames[k] for k in sorted({*np.linspace(0, len(frames) - 1, LARGEST_SAMPLE).round().astype(int)})]
        search = NeighborList(cutoff=reach, full_list=True, n_threads=1)
        found = [search.compute(a.positions, _full_cell(a), a.pbc, quantities="d")[0] for a in chosen]
        return cls(np.sort(np.concatenate(found)), sum(len(a) for a in chosen))

    def neighbours(self, cutoff: float) -> float:
        """Mean number of neighbours of an atom within `cutoff`, A."""
        return float(np.searchsorted(self.distances, cutoff)) / self.n_atoms


def microseconds_per_atom(
    settings: BasisSettings,
    surroundings: Surroundings,
    *,
    n_triplet_channels: int = 0,
    quadruplets: bool = False,
    charges: bool = False,
) -> float:
    """Estimated time of energy, forces and stress, without the neighbour list; see the head of the file."""
    pairs = surroundings.neighbours(settings.pair_cutoff)
    triplets = surroundings.neighbours(settings.triplet_cutoff)
    harmonics = (settings.l_max + 1) ** 2
    blocks = -(-settings.n_radial // _native.channel_block)
    channels = settings.n_species * blocks
    products = float(channels**2)
    if n_triplet_channels:  # to the mixed channels, their products, and back
        mixed = -(-n_triplet_channels // _native.channel_block)
        products = 2 * channels * mixed + mixed**2
    return (
        PER_ATOM
        + PER_PAIR * pairs
        + triplets * (PER_NEIGHBOUR + harmonics * (PER_HARMONIC + PER_CHANNEL * blocks))
        + harmonics * (PER_DENSITY * channels + PER_PRODUCT * products)
        + (PER_QUADRUPLETS if quadruplets else 0.0)
        + (PER_CHARGE if charges else 0.0)
    )


def shortest_height(frames: Sequence[Atoms]) -> float:
    """Distance of opposite faces of the cell, the shortest over periodic directions, the median of the frames; A.

    Infinite where half of the frames have no periodic direction.
    """
    heights = []
    for atoms in frames:
        inverse = np.linalg.inv(_full_cell(atoms))
        own = 1 / np.linalg.norm(inverse, axis=0)
        heights.append(float(min(own[np.asarray(atoms.pbc)], default=np.inf)))
    return float(np.median(heights))


def _full_cell(atoms: Atoms) -> FloatArray:
    cell = atoms.cell[:] if atoms.cell.rank == 3 else complete_cell(atoms.cell[:])
    return np.ascontiguousarray(cell, dtype=np.float64)
