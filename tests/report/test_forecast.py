"""Forecasts against processes whose truth is known: the intervals hold what they promise, or nothing is promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.report.forecast import CannotTell, Interval, LearningCurve, fit_learning_curve, forecast_calls


def calls(rng: np.random.Generator, mean: float, beta: float, until: float) -> np.ndarray:
    """Times of a power-law process with `mean` calls up to time 1."""
    n = rng.poisson(mean * until**beta)
    return np.sort(until * rng.uniform(size=n) ** (1 / beta))


@pytest.mark.parametrize(("mean", "beta"), [(12.0, 0.35), (25.0, 0.6), (8.0, 1.0)])
def test_the_interval_of_calls_holds_the_truth(mean: float, beta: float) -> None:
    rng = np.random.default_rng(3)
    inside = total = 0
    for _ in range(150):
        times = calls(rng, mean, beta, 3.0)
        seen = times[times <= 1.0]
        found = forecast_calls(seen, 1.0, 2.0, draws=800)
        assert isinstance(found, Interval)
        inside += found.low <= len(times) - len(seen) <= found.high
        total += 1
    assert inside / total >= 0.84  # 0.90, less the error of 150 draws and of a maximum-likelihood fit to few calls


def test_few_calls_leave_much_open() -> None:
    none, many = forecast_calls([], 10.0, 10.0), forecast_calls(np.arange(1, 41) / 4, 10.0, 10.0)
    assert isinstance(none, Interval)
    assert isinstance(many, Interval)
    assert none.low == 0.0
    assert none.high >= 1.0
    assert many.low > 20
    assert many.high < 90
    assert forecast_calls([1.0], 2.0, 0.0) == Interval(0.0, 0.0, 0.0)
    assert isinstance(forecast_calls([], 0.0, 1.0), CannotTell)
    with pytest.raises(ValueError, match="between 0 and the time elapsed"):
        forecast_calls([3.0], 2.0, 1.0)


@given(st.integers(0, 40), st.floats(0.1, 1.5), st.floats(0.01, 100.0), st.integers(0, 1000))
@settings(max_examples=40)
def test_forecasts_do_not_depend_on_the_unit_of_time(n: int, ahead: float, unit: float, seed: int) -> None:
    times = np.sort(np.random.default_rng(seed).uniform(0.01, 1.0, size=n))
    first = forecast_calls(times, 1.0, ahead, draws=300)
    second = forecast_calls(times * unit, unit, ahead * unit, draws=300)
    assert isinstance(first, Interval)
    assert isinstance(second, Interval)
    assert first.low <= first.expected <= first.high
    assert second.expected == pytest.approx(first.expected, abs=1.01)


@pytest.mark.parametrize(("b", "c"), [(0.6, 0.0), (1.0, 0.0), (0.8, 0.004)])
def test_the_interval_of_the_learning_curve_holds_the_truth(b: float, c: float) -> None:
    rng = np.random.default_rng(5)
    n, inside, told = np.arange(10, 80, 7.0), 0, 0
    target = 0.2 * 120**-b + c
    for _ in range(80):
        errors = (0.2 * n**-b + c) * np.exp(0.15 * rng.normal(size=n.size))
        curve = fit_learning_curve(n, errors, draws=200)
        if isinstance(curve, CannotTell):
            continue
        told += 1
        needed = curve.labels_for(target)
        inside += needed.low <= 120 <= needed.high
    assert told >= 70
    assert inside / told >= 0.80


def test_a_clean_curve_is_found() -> None:
    n = np.array([6.0, 10, 16, 24, 36, 60])
    curve = fit_learning_curve(n, 0.3 * n**-0.7)
    assert isinstance(curve, LearningCurve)
    assert curve.b == pytest.approx(0.7, rel=1e-6)
    assert curve.labels_for(0.3 * 200**-0.7).expected == pytest.approx(200, rel=1e-3)
    floor = fit_learning_curve(n, 0.3 * n**-1.5 + 0.01)
    assert isinstance(floor, LearningCurve)
    assert floor.labels_for(0.005).low == np.inf
    assert floor.labels_for(10.0) == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("n", "errors", "reason"),
    [
        ([5, 10, 20], [0.3, 0.2, 0.1], "3 errors on new labels so far, 5 are needed"),
        ([20, 21, 22, 23, 24, 25], [0.3, 0.2, 0.1, 0.1, 0.1, 0.1], "a trend shows from a factor of 1.5 on"),
        ([5, 10, 15, 20, 30, 40], [0.1, 0.12, 0.09, 0.11, 0.13, 0.1], "does not fall with their number yet"),
        ([5, 10, 15, 20, 30, 40], [0.1, 0.2, 0.2, 0.3, 0.3, 0.4], "does not fall"),
        ([], [], "0 errors on new labels so far"),
    ],
)
def test_it_says_so_when_it_cannot_tell(n: list[float], errors: list[float], reason: str) -> None:
    found = fit_learning_curve(n, errors)
    assert isinstance(found, CannotTell)
    assert reason in found.reason


def test_noise_without_a_trend_is_hardly_ever_taken_for_one() -> None:
    rng = np.random.default_rng(1)
    n = np.arange(5, 45, 4.0)
    told = sum(
        isinstance(fit_learning_curve(n, 0.05 * np.exp(0.3 * rng.normal(size=n.size)), draws=10), LearningCurve)
        for _ in range(300)
    )
    assert told / 300 < 0.12


def test_intervals_scale_and_are_capped() -> None:
    interval = Interval(4.0, 2.0, np.inf)
    assert interval.scaled(0.5) == Interval(2.0, 1.0, np.inf)
    assert interval.capped(3.0) == Interval(3.0, 2.0, 3.0)
