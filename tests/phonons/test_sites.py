from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from trepid.data.trajectory import open_trajectory
from trepid.phonons.sites import lattice_of


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_displacements_in_small_supercells_are_those_that_were_made(repeats: tuple[int, int, int], seed: int) -> None:
    # Atoms and sites match up to a translation of the lattice; one by half of the supercell must not hide the displacements.
    rng = np.random.default_rng(seed)
    crystal = bulk("Si", a=5.431)
    rest = bulk("Si", a=5.431, cubic=True).repeat(repeats)
    rest = rest[rng.permutation(len(rest))]
    frames, made = [], []
    for time_fs in (0.0, 10.0):
        frame = rest.copy()
        made.append(rng.normal(0.0, 0.08, frame.positions.shape))
        frame.positions += made[-1]
        frame.info["time_fs"] = time_fs
        frames.append(frame)
    with open_trajectory(frames) as trajectory:
        lattice = lattice_of(trajectory, crystal)
        (chunk,) = trajectory.chunks()
        found = lattice.displacements(chunk, name="frames") @ lattice.rotation.T
    expected = np.array(made)
    np.testing.assert_allclose(
        found - found.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=1e-8
    )
