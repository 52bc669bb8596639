from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from form_truths import copper
from potential_systems import labelled, pairs_within, sheet, triclinic
from trepid.choices import Speed
from trepid.data import LabelKeys
from trepid.errors import ConfigError, NumericsError
from trepid.potentials.base import Noise
from trepid.potentials.bayesian.acceptance import FALL_PER_COST, LEAST_FALL, LEAST_GAIN, Judge
from trepid.potentials.bayesian.cost import Surroundings, microseconds_per_atom, shortest_height
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.size_search import SizeStep, choose_sizes
from trepid.potentials.bayesian.sized_fit import fit_with_sizes
from trepid.potentials.bayesian.sizes import GivenSizes, Sizes
from trepid.potentials.bayesian.statistics import LabelKind

KEYS = LabelKeys()
SMALL = GivenSizes(triplet_cutoff=3.4, n_radial=5, l_max=2, n_channels=0)
"""All that is not the pair energy, so that a search is quick."""


def test_pairs_reach_as_far_as_the_truth_and_no_farther() -> None:
    seen: list[SizeStep] = []
    near = choose_sizes(copper(4.5), ["Cu"], given=SMALL, speed=Speed.ACCURATE, keys=KEYS, progress=seen.append)
    assert near.sizes == SMALL.sizes()
    assert [step.accepted for step in seen] == [True] + [False] * (len(seen) - 1)
    assert seen == list(near.steps)

    far = choose_sizes(copper(7.2), ["Cu"], given=SMALL, speed=Speed.ACCURATE, keys=KEYS)
    start, *rest = far.steps
    taken = [step for step in rest if step.accepted]
    assert far.sizes.pair_cutoff > 6
    assert far.sizes == replace(SMALL.sizes(), pair_cutoff=far.sizes.pair_cutoff, n_pair=far.sizes.n_pair)
    assert taken[0].evidence_gain is not None
    assert taken[0].evidence_gain > LEAST_GAIN
    assert taken[0].left_out_typical < (1 - LEAST_FALL) * start.left_out_typical
    assert taken[0].left_out_typical < (1 - FALL_PER_COST * (taken[0].cost - start.cost)) * start.left_out_typical
    # The splines keep their spacing.
    r_min = far.sizes.basis(["Cu"]).r_min
    spacing = [(s.pair_cutoff - r_min) / s.n_pair for s in (start.sizes, far.sizes)]
    assert spacing[1] == pytest.approx(spacing[0], rel=0.03)
    # The cell is 8.6 A wide: nothing beyond it is tried, and what reaches beyond its half says so.
    assert all(step.left_out_rmse is None for step in rest if step.sizes.pair_cutoff > 8.6)
    assert all("longer than the cell (8.6 A)" in step.reason for step in rest if step.sizes.pair_cutoff > 8.6)


def test_what_is_given_stays() -> None:
    given = replace(SMALL, pair_cutoff=5.0)
    assert given.sizes() == Sizes(pair_cutoff=5.0, triplet_cutoff=3.4, n_pair=20, n_radial=5, l_max=2)
    choice = choose_sizes(copper(7.2), ["Cu"], given=replace(given, n_pair=11), speed=Speed.ACCURATE, keys=KEYS)
    assert choice.sizes == Sizes(pair_cutoff=5.0, triplet_cutoff=3.4, n_pair=11, n_radial=5, l_max=2)
    assert choice.steps == ()
    # A pair cutoff below the default triplet cutoff shortens the triplets, a long triplet cutoff the pairs.
    assert GivenSizes(pair_cutoff=4.0).sizes().triplet_cutoff == 4.0
    assert GivenSizes(triplet_cutoff=7.0).sizes().pair_cutoff == 7.0
    with pytest.raises(ConfigError, match="n_radial is 2"):
        choose_sizes(copper(4.5), ["Cu"], given=GivenSizes(n_radial=2), speed=Speed.FAST, keys=KEYS)


def test_the_ceiling_holds_for_every_step_that_is_taken() -> None:
    choice = choose_sizes(copper(7.2), ["Cu"], given=SMALL, speed=Speed.BALANCED, keys=KEYS)
    assert all(step.cost <= 2 for step in choice.steps if step.accepted)
    refused = [step for step in choice.steps if step.cost > 2 and step.sizes.pair_cutoff < 8.6]
    assert all("ceiling" in step.reason for step in refused)


def test_fast_and_few_frames_keep_the_defaults() -> None:
    frames = copper(7.2)
    fast = fit_with_sizes(frames, ["Cu"], given=SMALL, speed=Speed.FAST, keys=KEYS)
    assert fast.choice.sizes == SMALL.sizes()
    expected = BayesianForceField(["Cu"], triplet_cutoff=3.4, n_radial=5, l_max=2).fit(frames)
    assert np.array_equal(fast.model.posterior.mean, expected.posterior.mean)
    few = choose_sizes(frames[:5], ["Cu"], given=SMALL, speed=Speed.BALANCED, keys=KEYS)
    assert few.steps == ()
    assert "5 frames" in few.reason


def test_frames_that_allow_no_comparison_keep_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NumericsError("too badly conditioned")

    monkeypatch.setattr(Judge, "figures", fail)
    choice = choose_sizes(copper(7.2), ["Cu"], given=GivenSizes(), speed=Speed.FAST, keys=LabelKeys())
    assert choice.sizes == Sizes()
    assert choice.steps == ()
    assert choice.reason.endswith("no figures compare them: too badly conditioned")


def test_the_error_of_left_out_frames_is_that_of_the_force_field() -> None:
    frames = copper(7.2)
    choice = choose_sizes(frames, ["Cu"], given=replace(SMALL, pair_cutoff=6.0), speed=Speed.FAST, keys=KEYS)
    searched = choose_sizes(frames, ["Cu"], given=replace(SMALL, n_pair=20), speed=Speed.BALANCED, keys=KEYS)
    model = BayesianForceField(["Cu"], triplet_cutoff=3.4, n_radial=5, l_max=2).fit(frames)
    assert choice.sizes == searched.steps[0].sizes
    # The fit repeats the optimisation with another weight of the prior, so that the hyperparameters differ a little.
    assert searched.steps[0].left_out_rmse == pytest.approx(model.left_out[LabelKind.FORCES].rms, rel=0.02)


def test_periodic_images_limit_the_cutoffs() -> None:
    skewed, flat = triclinic(), sheet()
    volume = abs(np.linalg.det(skewed.cell[:]))
    faces = [np.linalg.norm(np.cross(*np.delete(skewed.cell[:], k, axis=0))) for k in range(3)]
    assert shortest_height([skewed]) == pytest.approx(min(volume / np.array(faces)))
    # The vacuum of a sheet is no period; a cluster has none.
    assert shortest_height([flat]) == pytest.approx(4.0 * 4.4 / np.hypot(4.4, 0.8))
    assert shortest_height([Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]])]) == np.inf


def test_cost_counts_neighbours_and_grows_with_every_size() -> None:
    frames = [triclinic(seed=k) for k in range(3)]
    around = Surroundings.of(frames, 8.0)
    for cutoff in (3.0, 4.5, 7.0):
        counted = sum(1 for atoms in frames for _ in pairs_within(atoms, cutoff)) / sum(map(len, frames))
        assert around.neighbours(cutoff) == pytest.approx(counted)
    species = ("Cu", "I")
    costs = [
        microseconds_per_atom(replace(Sizes(), **change).basis(species), around)
        for change in ({}, {"pair_cutoff": 7.5}, {"triplet_cutoff": 5.8}, {"n_radial": 12}, {"l_max": 6})
    ]
    assert all(cost > 1.05 * costs[0] for cost in costs[1:])


def test_a_posterior_without_a_right_digit_is_refused() -> None:
    frames = [labelled(triclinic(("Cu",), seed=k)) for k in range(3)]
    model = BayesianForceField(["Cu"], pair_cutoff=4.6, triplet_cutoff=3.9, n_pair=7, n_radial=5, l_max=3).fit(frames)
    hyper = replace(model.hyperparameters, pair_amplitude=1e3, noise=Noise(1e-5, 1e-4, 1e-6))
    with pytest.raises(NumericsError, match="badly conditioned|not positive definite"):
        Posterior(model.basis, hyper, model.statistics)
