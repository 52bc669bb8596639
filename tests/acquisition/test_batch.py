from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trepid.acquisition.batch import (
    bernoulli,
    greedy_batch,
    localised,
    random_selection,
    rows_from_ensemble,
    similarity_embedding,
)
from trepid.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
NOISE = 0.3


def some_rows(seed: int, n: int = 7, p: int = 6) -> list[FloatArray]:
    """Candidates with different numbers of labels and different sizes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=rng.uniform(0.1, 2.0), size=(int(rng.integers(1, 5)), p)) for _ in range(n)]


def information(rows: list[FloatArray], chosen: tuple[int, ...], noise: float = NOISE) -> float:
    """Log det(1 + Phi Phi^T / noise^2) of a set, written out in the space of the coefficients."""
    p = rows[0].shape[1]
    precision = np.eye(p) + sum((rows[k].T @ rows[k] for k in chosen), np.zeros((p, p))) / noise**2
    return float(np.linalg.slogdet(precision)[1])


def brute_greedy(rows: list[FloatArray], weights: FloatArray, n: int) -> tuple[list[int], list[float]]:
    chosen: list[int] = []
    gains: list[float] = []
    for _ in range(n):
        gain = {
            k: information(rows, (*chosen, k)) - information(rows, tuple(chosen))
            for k in range(len(rows))
            if k not in chosen
        }
        best = max(gain, key=lambda k: weights[k] * gain[k])
        gains.append(gain[best])
        chosen.append(best)
    return chosen, gains


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), weighted=st.booleans())
def test_greedy_is_greedy(seed: int, weighted: bool) -> None:
    rows = some_rows(seed)
    weights = np.random.default_rng(seed + 1).uniform(0.1, 1.0, len(rows)) if weighted else np.ones(len(rows))
    batch = greedy_batch(rows, 5, noise=NOISE, weights=weights)
    chosen, gains = brute_greedy(rows, weights, 5)
    assert batch.indices.tolist() == chosen
    np.testing.assert_allclose(batch.gains, gains, rtol=1e-8)
    assert batch.gains.sum() == pytest.approx(information(rows, tuple(chosen)), rel=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_greedy_is_nearly_the_best_set(seed: int) -> None:
    """The bound 1 - 1/e of submodular maximisation, against every set of three."""
    rows = some_rows(seed)
    best = max(information(rows, chosen) for chosen in itertools.combinations(range(len(rows)), 3))
    total = greedy_batch(rows, 3, noise=NOISE).gains.sum()
    assert (1 - 1 / np.e) * best <= total <= best * (1 + 1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_gains_fall_as_others_are_chosen(seed: int) -> None:
    rows = some_rows(seed, n=6)
    last = len(rows) - 1
    gains = [greedy_batch(rows, n + 1, noise=NOISE, first=[*range(n), last]).gains[-1] for n in range(last)]
    assert (np.diff(gains) <= 1e-9).all()
    unweighted = greedy_batch(rows, 6, noise=NOISE).gains
    assert (np.diff(unweighted) <= 1e-9).all()


def test_a_copy_teaches_little_and_comes_last() -> None:
    rows = some_rows(3, n=4)
    rows.append(rows[int(greedy_batch(rows, 1, noise=NOISE).indices[0])].copy())
    batch = greedy_batch(rows, 5, noise=0.01)
    pair = {int(greedy_batch(rows, 1, noise=NOISE).indices[0]), 4}
    position = [k for k, index in enumerate(batch.indices.tolist()) if index in pair]
    # A second label of what was just labelled: log 2 per direction at most.
    rank = np.linalg.matrix_rank(rows[4])
    assert batch.gains[position[1]] <= rank * np.log(2) + 1e-9
    assert batch.gains[position[0]] > 5 * rank * np.log(2)


def test_weights_decide_among_equals_and_zero_excludes() -> None:
    rows = [np.eye(4)[[k]] for k in range(4)]
    batch = greedy_batch(rows, 4, noise=1.0, weights=[0.2, 0.9, 0.0, 0.5])
    assert batch.indices.tolist() == [1, 3, 0]
    np.testing.assert_allclose(batch.gains, np.log(2))


def test_the_mandatory_come_first_and_are_learnt_from() -> None:
    rows = some_rows(5)
    rows[6] = rows[2].copy()
    batch = greedy_batch(rows, 4, noise=NOISE, first=[2], weights=np.arange(7.0) + 1)
    assert batch.indices[0] == 2
    assert batch.gains[0] == pytest.approx(information(rows, (2,)))
    assert batch.gains.sum() == pytest.approx(information(rows, tuple(batch.indices.tolist())))
    assert greedy_batch(rows, 1, noise=NOISE, first=[2], weights=np.zeros(7)).indices.tolist() == [2]


def test_noise_per_label_is_the_same_as_scaled_rows() -> None:
    rows = some_rows(8)
    noise = [np.random.default_rng(k).uniform(0.1, 1.0, len(r)) for k, r in enumerate(rows)]
    here = greedy_batch(rows, 5, noise=noise)
    there = greedy_batch([r / s[:, None] for r, s in zip(rows, noise, strict=True)], 5, noise=1.0)
    assert here.indices.tolist() == there.indices.tolist()
    np.testing.assert_allclose(here.gains, there.gains, rtol=1e-10)


def test_inputs_are_left_alone_and_little_gain_ends_the_batch() -> None:
    rows = some_rows(9)
    before = [r.copy() for r in rows]
    batch = greedy_batch(rows, 7, noise=NOISE, min_score=1.0)
    assert all(np.array_equal(a, b) for a, b in zip(rows, before, strict=True))
    assert 0 < len(batch.indices) < 7
    assert batch.gains.min() > 1.0
    assert greedy_batch([np.zeros((2, 3))] * 3, 2, noise=1.0).indices.size == 0
    assert greedy_batch([], 2, noise=1.0).indices.size == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"noise": 0.0}, DataError),
        ({"noise": [np.ones(1)]}, DataError),
        ({"weights": [1.0, -1.0, 1.0]}, DataError),
        ({"weights": [1.0, np.nan, 1.0]}, DataError),
        ({"weights": [1.0]}, DataError),
        ({"first": [3]}, DataError),
        ({"first": [1, 1]}, DataError),
        ({"first": [0, 1, 2]}, ConfigError),
        ({"n": -1}, ConfigError),
        ({"rows": [np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2))]}, DataError),
        ({"rows": [np.ones((1, 2)), np.full((1, 2), np.nan), np.ones((1, 2))]}, DataError),
    ],
)
def test_damaged_input_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    arguments: dict[str, object] = {"rows": [np.ones((2, 3))] * 3, "n": 2, "noise": 1.0, **change}
    with pytest.raises(error):
        greedy_batch(**arguments)  # type: ignore[arg-type]


# ---- committees


def test_rows_of_a_committee_have_its_covariance() -> None:
    forces = np.random.default_rng(0).normal(size=(5, 2, 4, 3))  # members, frames, atoms
    a, b = (rows_from_ensemble(forces[:, k]) for k in range(2))
    expected = np.cov(forces.reshape(5, 24), rowvar=False)
    np.testing.assert_allclose(np.vstack([a, b]) @ np.vstack([a, b]).T, expected, atol=1e-12)
    std = forces[:, 0].std(axis=0, ddof=1)
    worst = np.sort(np.argsort(-(std**2).sum(axis=1))[:2])
    thin = rows_from_ensemble(forces[:, 0], n_atoms=2)
    np.testing.assert_allclose(np.sqrt((thin**2).sum(axis=1)), std[worst].ravel())


def test_a_committee_prefers_disagreement_and_refuses_near_copies() -> None:
    rng = np.random.default_rng(4)
    patterns = rng.normal(size=(2, 8, 6, 3))
    frames = [
        s * patterns[k] + 1e-3 * rng.normal(size=(8, 6, 3)) for k, s in ((0, 1.0), (0, 0.99), (1, 0.5), (1, 0.01))
    ]
    batch = greedy_batch([rows_from_ensemble(f) for f in frames], 2, noise=0.1)
    assert batch.indices[0] == 0
    alone = greedy_batch([rows_from_ensemble(frames[1])], 1, noise=0.1).gains[0]
    conditioned = greedy_batch([rows_from_ensemble(f) for f in frames], 2, noise=0.1, first=[0, 1]).gains[1]
    assert conditioned < 0.25 * alone


def test_localisation_raises_the_rank_of_a_small_committee() -> None:
    """Three members span two dimensions: without localisation two frames say it all."""
    rng = np.random.default_rng(1)
    rows = [rows_from_ensemble(rng.normal(size=(3, 6, 3))) for _ in range(6)]
    descriptors = 10.0 * rng.normal(size=(6, 4))
    embedding = similarity_embedding(descriptors, length=1.0, n_features=128)
    apart = [localised(r, e) for r, e in zip(rows, embedding, strict=True)]
    np.testing.assert_allclose(apart[0] @ apart[0].T, rows[0] @ rows[0].T, atol=1e-12)
    plain, local = (greedy_batch(r, 6, noise=0.05).gains for r in (rows, apart))
    assert plain[-1] < 0.25 * plain[0]
    assert local[-1] > 0.6 * local[0]


def test_the_embedding_is_a_gaussian_of_distance() -> None:
    x = np.random.default_rng(2).normal(size=(20, 3))
    e = similarity_embedding(x, length=1.5, n_features=4000)
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.testing.assert_allclose(e @ e.T, np.exp(-0.5 * (distances / 1.5) ** 2), atol=0.08)
    np.testing.assert_allclose(np.linalg.norm(e, axis=1), 1.0)


@pytest.mark.parametrize("shape", [(1, 4, 3), (3, 4), (3, 4, 2)])
def test_rows_need_a_committee(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="n_members"):
        rows_from_ensemble(np.ones(shape))
    with pytest.raises(ConfigError, match="at least 1"):
        rows_from_ensemble(np.ones((2, 2, 3)), n_atoms=0)


# ---- other choices


def test_bernoulli_accepts_with_the_probabilities_given() -> None:
    p = np.tile([0.0, 0.1, 0.7, 1.0], 5000)
    accepted = np.bincount(bernoulli(p, p.size, seed=0) % 4, minlength=4) / 5000
    np.testing.assert_allclose(accepted, [0.0, 0.1, 0.7, 1.0], atol=4 * 0.5 / np.sqrt(5000))


@given(seed=st.integers(0, 1000), n=st.integers(0, 30))
def test_seeded_choices_repeat_and_stay_in_bounds(seed: int, n: int) -> None:
    p = np.linspace(0.0, 1.0, 20)
    for chosen, again in (
        (bernoulli(p, n, seed=seed), bernoulli(p, n, seed=seed)),
        (random_selection(20, n, seed=seed), random_selection(20, n, seed=seed)),
    ):
        assert np.array_equal(chosen, again)
        assert len(chosen) <= min(n, 20)
        assert (np.diff(chosen) > 0).all()
        assert set(chosen.tolist()) <= set(range(20))
    assert 0 not in bernoulli(p, n, seed=seed)
    assert len(random_selection(20, n, seed=seed)) == min(n, 20)


def test_bernoulli_takes_the_first_that_pass() -> None:
    p = np.random.default_rng(0).random(50)
    everything = bernoulli(p, 50, seed=3)
    assert np.array_equal(bernoulli(p, 5, seed=3), everything[:5])


def test_random_is_uniform() -> None:
    counts = np.bincount(np.concatenate([random_selection(10, 3, seed=s) for s in range(4000)]), minlength=10)
    np.testing.assert_allclose(counts / 4000, 0.3, atol=4 * np.sqrt(0.3 * 0.7 / 4000))


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [np.nan]])
def test_what_is_no_probability_is_refused(p: list[float]) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        bernoulli(p, 1, seed=0)
