"""Estimates of the integral of an autocorrelation, against processes whose integral is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.errors import DataError
from trepid.transport.green_kubo import (
    LONGEST_LAG,
    Estimate,
    autocorrelation,
    cepstral,
    ornstein_uhlenbeck,
    prefactor,
    running_integral,
)

INTERVAL = 0.05


def exact(tau: float) -> float:
    """Trapezoidal integral of exp(-t / tau) sampled at the interval."""
    return INTERVAL / 2 / math.tanh(INTERVAL / (2 * tau))


def oscillation(n_series: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Series of variance 4 that oscillates at 8 THz: an integral of nearly nothing."""
    phase = rng.uniform(0, 2 * np.pi, size=(n_series, 1))
    return 8**0.5 * np.cos(2 * np.pi * 8 * INTERVAL * np.arange(n) + phase)


def test_the_autocorrelation_is_the_mean_product_at_a_lag() -> None:
    series = np.random.default_rng(0).normal(size=(3, 40))
    found = autocorrelation(series, 7)
    for lag in range(7):
        wanted = (series[:, : 40 - lag] * series[:, lag:]).mean(axis=1)
        assert found[:, lag] == pytest.approx(wanted, abs=1e-12)


def test_the_intervals_hold_the_integral_of_an_ornstein_uhlenbeck_process() -> None:
    """90 to 99 % were asked; of 120 repetitions 108 to 119, and three either way for chance."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(120):
        series = ornstein_uhlenbeck(1.0, n_series=12, n_samples=1000, interval_ps=INTERVAL, rng=rng)
        low, high = running_integral(series, INTERVAL).estimate.interval()
        held += low <= exact(1.0) <= high
    assert 105 <= held <= 119


def test_an_oscillation_does_not_end_the_integral() -> None:
    """A slow decay under an oscillation of four times its variance, whose integral crosses zero all the time."""
    rng = np.random.default_rng(2)
    series = ornstein_uhlenbeck(2.0, n_series=24, n_samples=4000, interval_ps=INTERVAL, rng=rng)
    found = running_integral(series + oscillation(24, 4000, rng), INTERVAL)
    low, high = found.estimate.interval()
    assert low < exact(2.0) < high
    assert found.cutoff_ps > 4.0
    assert found.converged


def test_a_run_of_a_few_correlation_times_is_not_converged() -> None:
    rng = np.random.default_rng(3)
    flags = [
        running_integral(
            ornstein_uhlenbeck(20.0, n_series=24, n_samples=600, interval_ps=INTERVAL, rng=rng), INTERVAL
        ).converged
        for _ in range(5)
    ]
    assert not any(flags)


def test_the_cepstral_analysis_of_a_smooth_spectrum_agrees_with_the_exact_integral() -> None:
    """White noise: one coefficient, and a bar that is right; the bias of the logarithm is taken out."""
    rng = np.random.default_rng(4)
    deviations = []
    for _ in range(40):
        found = cepstral(rng.normal(size=(6, 800)), INTERVAL, cutoff_ps=0.4)
        deviations.append((found.estimate.value - INTERVAL / 2) / found.estimate.error)
    assert abs(np.mean(deviations)) < 0.6
    assert 0.6 < np.std(deviations) < 1.6


@settings(max_examples=25)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_estimates_scale_with_the_square_of_the_flux(scale: float, seed: int) -> None:
    series = ornstein_uhlenbeck(0.5, n_series=4, n_samples=200, interval_ps=INTERVAL, rng=np.random.default_rng(seed))
    one, other = running_integral(series, INTERVAL), running_integral(scale * series, INTERVAL)
    assert other.cutoff == one.cutoff
    assert other.estimate.value == pytest.approx(scale**2 * one.estimate.value, rel=1e-9)
    assert other.estimate.error == pytest.approx(scale**2 * one.estimate.error, rel=1e-9)


def test_the_interval_is_one_of_the_logarithm() -> None:
    low, high = Estimate(10.0, 2.0).interval(0.6827)
    assert low == pytest.approx(10 * math.exp(-0.2), rel=1e-3)
    assert high == pytest.approx(10 * math.exp(0.2), rel=1e-3)
    assert np.isfinite(Estimate(1e-9, 2.0).interval()).all()
    assert Estimate(-1.0, 2.0).interval(0.6827) == pytest.approx((-3.0, 1.0), rel=1e-3)


def test_units() -> None:
    """1 (eV A / ps)^2 ps over 1 A^3, kB and (1 K)^2 is 1602.18 W / (m K) over kB in eV / K."""
    assert prefactor(1.0, 1.0) == pytest.approx(1602.176634 / 8.617333e-5, rel=1e-6)
    assert prefactor(8.0, 2.0) == pytest.approx(prefactor(1.0, 1.0) / 32, rel=1e-12)


@pytest.mark.parametrize("series", [np.zeros((2, 100)), np.zeros((6, 10)), np.full((6, 100), np.nan)])
def test_too_little_or_not_finite_is_refused(series: np.ndarray) -> None:
    with pytest.raises(DataError):
        running_integral(series, INTERVAL)


def test_the_integral_goes_up_to_half_of_a_run() -> None:
    series = np.random.default_rng(0).normal(size=(5, 300))
    assert len(running_integral(series, INTERVAL).times) == LONGEST_LAG * 300
