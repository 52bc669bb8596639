from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from trepid.events.counting import WaitingTimes, burst_p_value, class_rate


def clusters(rng: np.random.Generator, per_ps: float, size: float, width_ps: float, time_ps: float) -> np.ndarray:
    """Onsets of a Neyman-Scott process: bursts at random, each of a geometric number of onsets."""
    n = rng.poisson(per_ps * (time_ps + 2 * width_ps))
    centres = rng.uniform(-width_ps, time_ps + width_ps, n)
    onsets = np.concatenate([c + rng.uniform(0, width_ps, rng.geometric(1 / size)) for c in centres] or [np.empty(0)])
    return onsets[(onsets >= 0) & (onsets <= time_ps)]


@pytest.mark.parametrize("n", [0, 1, 4, 37])
def test_interval_of_independent_events_is_the_exact_one_of_scipy(n: int) -> None:
    onsets = (np.arange(n) + 0.5) * 100.0 / max(n, 1)
    rate = class_rate(onsets, 100.0, level=0.9)
    assert rate.method == "Poisson"
    assert rate.used.rate_per_ps == n / 100.0
    # Garwood: the ends are the means that give n or more, n or fewer with probability 5 %.
    assert poisson.cdf(n, rate.used.high_per_ps * 100.0) == pytest.approx(0.05, rel=1e-6)
    if n:
        assert poisson.sf(n - 1, rate.used.low_per_ps * 100.0) == pytest.approx(0.05, rel=1e-6)
    else:
        assert rate.used.low_per_ps == 0.0


def test_bursts_are_told_from_independent_events() -> None:
    rng = np.random.default_rng(5)
    false = [burst_p_value(rng.random(n), seed=k) < 0.05 for k, n in enumerate(rng.integers(3, 30, 150))]
    # A test of level 5 %: binomial, 150 draws.
    assert 1 <= sum(false) <= 16
    found = [class_rate(clusters(rng, 0.2, 4, 2.0, 100.0), 100.0, seed=k).method == "blocks" for k in range(20)]
    assert sum(found) >= 19


def test_interval_from_blocks_holds_the_rate_of_bursts_and_the_poisson_one_does_not() -> None:
    rng = np.random.default_rng(11)
    exact = widened = 0
    for k in range(100):
        rate = class_rate(clusters(rng, 0.1, 4, 2.0, 100.0), 100.0, seed=k)
        widened += rate.used.low_per_ps <= 0.4 <= rate.used.high_per_ps
        exact += rate.poisson.low_per_ps <= 0.4 <= rate.poisson.high_per_ps
    assert widened >= 88
    assert exact <= 75


def test_one_burst_counts_as_one_observation() -> None:
    onsets = 50.0 + np.array([0.0, 0.1, 0.15, 0.3])
    rate = class_rate(onsets, 100.0)
    assert rate.method == "blocks"
    assert rate.p_value is not None
    assert rate.p_value < 0.01
    # One burst says hardly more than that the rate of bursts is not zero.
    assert rate.used.high_per_ps > 4 * rate.used.rate_per_ps
    assert rate.used.low_per_ps < 0.1 * rate.used.rate_per_ps
    assert rate.poisson.low_per_ps > 2 * rate.used.low_per_ps


def test_two_events_cannot_tell() -> None:
    assert burst_p_value([0.5, 0.500001]) is None
    assert class_rate([1.0, 1.1], 10.0).method == "Poisson"


def test_same_seed_same_result_and_wrong_input_is_refused() -> None:
    onsets = [1.0, 2.0, 2.2, 9.0]
    assert class_rate(onsets, 10.0, seed=3) == class_rate(onsets[::-1], 10.0, seed=3)
    with pytest.raises(ValueError, match="outside"):
        class_rate([11.0], 10.0)
    with pytest.raises(ValueError, match="time"):
        class_rate([], 0.0)


def test_waiting_times_of_independent_events_have_a_variation_of_one() -> None:
    rng = np.random.default_rng(0)
    waits = WaitingTimes.of(rng.uniform(0, 1000.0, 2000))
    assert waits.mean_ps == pytest.approx(0.5, rel=0.05)
    assert waits.median_ps == pytest.approx(0.5 * np.log(2), rel=0.1)
    assert waits.variation == pytest.approx(1.0, abs=0.06)
    assert WaitingTimes.of([3.0]).mean_ps is None
    assert WaitingTimes.of([3.0, 4.0]).variation is None
