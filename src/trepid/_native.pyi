"""Types of the compiled core; see native/module.cpp."""

import numpy as np
from numpy.typing import NDArray

channel_block: int
rank_block: int
max_degree: int
quadruplet_channels: int
neighbour_share: float

def instruction_set() -> str: ...
def max_threads() -> int: ...
def sha256(data: bytes) -> str: ...

class Neighbours:
    n_atoms: int
    n_ghosts: int
    n_pairs: int
    def __init__(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        species: NDArray[np.int32],
        pairs: NDArray[np.int64],
        shifts: NDArray[np.int32],
        cutoff: float,
        skin: float,
    ) -> None: ...
    def move(self, positions: NDArray[np.float64], cell: NDArray[np.float64]) -> bool: ...
    def nearby_mean(self, values: NDArray[np.float64], range: float) -> NDArray[np.float64]: ...

class Evaluator:
    def __init__(
        self,
        *,
        n_species: int,
        n_pair: int,
        n_radial: int,
        l_max: int,
        rank: int,
        r_min: float,
        pair_cutoff: float,
        triplet_cutoff: float,
        offset: NDArray[np.float64],
        pair: NDArray[np.float64],
        triplet: NDArray[np.float64],
        zbl: NDArray[np.float64],
        pair_live: NDArray[np.float32],
        triplet_live: NDArray[np.float32],
        support_centre: NDArray[np.float64],
        support_whitening: NDArray[np.float64],
        support_offset: NDArray[np.float64],
        triplet_channel_radial: NDArray[np.float64],
        mixed_triplet: NDArray[np.float64],
        mixed_triplet_live: NDArray[np.float32],
        channel_radial: NDArray[np.float64],
        channel_centre: NDArray[np.float64],
        quadruplet: NDArray[np.float64],
        quadruplet_live: NDArray[np.float32],
    ) -> None: ...
    def compute(
        self, neighbours: Neighbours, with_live: bool, with_support: bool, n_threads: int
    ) -> tuple[
        float,
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64],
        NDArray[np.float64] | None,
        NDArray[np.float64] | None,
    ]: ...
    def powers(self, neighbours: Neighbours) -> NDArray[np.float64]: ...
    def atom_virials(
        self, neighbours: Neighbours
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...

class FeatureRows:
    size: int
    def __init__(
        self,
        *,
        n_species: int,
        n_pair: int,
        n_radial: int,
        l_max: int,
        r_min: float,
        pair_cutoff: float,
        triplet_cutoff: float,
        n_triplet_channels: int,
        triplet_channel_radial: NDArray[np.float64],
        n_channels: int,
        channel_radial: NDArray[np.float64],
        channel_centre: NDArray[np.float64],
    ) -> None: ...
    def compute(
        self,
        neighbours: Neighbours,
        rows: NDArray[np.int32],
        with_energy: bool,
        with_forces: bool,
        with_strain: bool,
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, NDArray[np.float64] | None]: ...
