"""Which frames a member is trained on: a fixed function of seed, subset and frame number, so that subsets only grow.

Frames are dealt in blocks of ten. In each block a random permutation, seeded by (seed, subset, block), determines which frames are
trained on, which validate and which are left out; the fractions hold in every block (a fractional frame is drawn at
random), and a frame keeps its role when more frames come. Frame 0 is always trained on, so that no subset is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trepid.potentials.committee.settings import CommitteeSettings

BLOCK = 10


@dataclass(frozen=True)
class Subset:
    """Frame numbers of one member, ascending.

    Attributes
    ----------
    train : tuple of int
        Trained on.
    validation : tuple of int
        Stop the training.
    held_out : tuple of int
        Everything that is not trained on; contains `validation`.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    held_out: tuple[int, ...]


def subset_of(settings: CommitteeSettings, member: int, n_frames: int) -> Subset:
    """Subset of a member among frames 0 .. n_frames - 1."""
    subset = member % settings.n_subset_values
    roles: list[int] = []
    for block in range(-(-n_frames // BLOCK)):
        rng = np.random.default_rng([settings.seed, subset, block])
        draw = rng.random()
        n_train = int(BLOCK * settings.subset_fraction + draw)
        n_seen = int(BLOCK * (settings.subset_fraction + settings.validation_fraction) + draw)
        order = rng.permutation(BLOCK)
        role = np.full(BLOCK, 2)
        role[order[:n_seen]] = 1
        role[order[:n_train]] = 0
        roles.extend(role.tolist())
    if roles:
        roles[0] = 0
    numbers = range(n_frames)
    return Subset(
        train=tuple(i for i in numbers if roles[i] == 0),
        validation=tuple(i for i in numbers if roles[i] == 1),
        held_out=tuple(i for i in numbers if roles[i] != 0),
    )


def seed_of(settings: CommitteeSettings, member: int) -> int:
    """Seed of a member's training, 31 bits."""
    return int(np.random.SeedSequence([settings.seed, member]).generate_state(1)[0] >> 1)
