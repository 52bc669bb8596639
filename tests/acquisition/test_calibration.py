from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from trepid.acquisition.calibration import (
    calibration,
    calibration_scale,
    coverage,
    interval_half_width,
    reliability_curve,
    spearman,
    z_scores,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_half_width_is_the_normal_quantile() -> None:
    assert interval_half_width(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert interval_half_width(0.6826894921) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_half_width_refuses_what_is_no_probability(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval_half_width(level)


def test_a_calibrated_model_has_the_nominal_coverage(rng: np.random.Generator) -> None:
    stds = rng.lognormal(-3.0, 1.0, 200_000)
    errors = stds * rng.normal(size=stds.size)
    for level in (0.5, 0.68, 0.95):
        assert coverage(errors, stds, level) == pytest.approx(level, abs=0.005)
    assert calibration_scale(errors, stds) == pytest.approx(1.0, abs=0.01)
    curve = reliability_curve(errors, stds)
    assert np.abs(curve.observed - curve.expected).max() < 0.005


@given(factor=st.floats(0.05, 20.0))
def test_the_scale_finds_the_factor_that_was_hidden(factor: float) -> None:
    rng = np.random.default_rng(0)
    stds = rng.lognormal(size=5000)
    errors = stds * rng.normal(size=5000)
    scale = calibration_scale(errors, stds)
    assert calibration_scale(errors, stds / factor) == pytest.approx(factor * scale, rel=1e-12)


def test_overconfidence_shows_in_every_figure(rng: np.random.Generator) -> None:
    stds = np.full(50_000, 0.1)
    errors = 0.3 * rng.normal(size=50_000)
    figures = calibration(errors, stds)
    assert figures.n == 50_000
    assert figures.coverage_95 == pytest.approx(2 * norm.cdf(1.959964 / 3) - 1, abs=0.01)
    assert figures.coverage_68 < 0.35
    assert figures.scale == pytest.approx(3.0, rel=0.02)
    curve = reliability_curve(errors, stds)
    assert (curve.observed < curve.expected).all()
    assert (curve.expected - curve.observed).mean() > 0.15


def test_reliability_agrees_with_coverage(rng: np.random.Generator) -> None:
    stds = rng.lognormal(size=300)
    errors = rng.normal(size=300)
    curve = reliability_curve(errors, stds, levels=[0.9, 0.1, 0.5])
    assert curve.expected.tolist() == [0.1, 0.5, 0.9]
    assert curve.observed.tolist() == [coverage(errors, stds, level) for level in (0.1, 0.5, 0.9)]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\), stds \(3,\)"):
        z_scores([1.0, 2.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"positive; the smallest is 0\.0"):
        coverage([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="finite"):
        coverage([np.nan], [1.0])
    with pytest.raises(ValueError, match="no error"):
        coverage([], [])


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30))
def test_spearman_agrees_with_scipy_ties_included(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    ours = spearman(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert ours is None
    else:
        assert ours == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_spearman_where_it_is_undefined() -> None:
    assert spearman([1.0, 2.0, 3.0], [10.0, 100.0, 1000.0]) == pytest.approx(1.0)
    assert spearman([1.0], [2.0]) is None
    with pytest.raises(ValueError, match="2 and 3 points"):
        spearman([1.0, 2.0], [1.0, 2.0, 3.0])
