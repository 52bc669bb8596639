"""The share of an atom's error bar that comes from the atoms around it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.neighbors import SkinNeighbors
from trepid.potentials.bayesian.neighbour_share import SHARE, with_neighbours
from trepid.potentials.bayesian.statistics import LabelKind


def neighbours_of(atoms: Atoms, cutoff: float, *, skin: float = 0.0) -> object:
    return SkinNeighbors(cutoff, skin=skin).update(atoms, np.zeros(len(atoms), dtype=np.int32))


def test_equal_variances_grow_by_the_share() -> None:
    atoms = bulk("Si", cubic=True)
    variance = np.full((len(atoms), 3), 0.04)
    got = with_neighbours(variance, neighbours_of(atoms, 5.0), reach=5.0)
    np.testing.assert_allclose(got, 0.04 * (1 + SHARE**2), rtol=1e-12)


def test_an_isolated_atom_keeps_its_variance() -> None:
    atoms = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 7.0]])
    variance = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(with_neighbours(variance, neighbours_of(atoms, 8.0), reach=5.0), variance)


def test_a_longer_list_changes_nothing() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=3)
    variance = np.random.default_rng(0).uniform(size=(len(atoms), 3))
    short = with_neighbours(variance, neighbours_of(atoms, 4.0), reach=4.0)
    long = with_neighbours(variance, neighbours_of(atoms, 6.0, skin=0.5), reach=4.0)
    np.testing.assert_allclose(short, long, rtol=1e-12)


def test_an_atom_next_to_an_uncertain_one_is_uncertain() -> None:
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    variance = np.zeros((len(atoms), 3))
    variance[0] = 1.0
    got = with_neighbours(variance, neighbours_of(atoms, 5.0), reach=5.0)
    distance = atoms.get_all_distances(mic=True)[0]
    near, far = np.argsort(distance)[1:5], distance >= 5.0
    assert (got[near] > 1e-3).all()
    assert (got[far] == 0).all()
    np.testing.assert_array_equal(got[0], variance[0])


def test_live_bars_hold_the_same_share_as_exact_ones(silicon_frames: list[Atoms]) -> None:
    """Around a displaced atom, the bars of its neighbours are mostly their share of it."""
    model = BayesianForceField(
        ["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=8, n_radial=4, l_max=2, n_threads=1
    ).fit(silicon_frames[:4])
    atoms = silicon_frames[-1]
    exact, live = (model.predict(atoms, uncertainty=level).atom_uncertainty for level in ("exact", "live"))
    assert float(np.median(live / exact)) == pytest.approx(1.0, abs=0.1)
    own = np.concatenate([model.posterior.standard_deviation(part) for _, part in model.features.force_rows(atoms)])
    bare = model.error_bars[LabelKind.FORCES].scale * np.linalg.norm(own.reshape(-1, 3), axis=1)
    assert (exact > bare).all()
    assert float(np.median(live / bare)) > 1.05


def test_one_value_per_atom_is_asked_for() -> None:
    with pytest.raises(ValueError, match="one value per atom"):
        neighbours_of(bulk("Si"), 5.0).nearby_mean(np.zeros(5), 4.0)  # type: ignore[attr-defined]
