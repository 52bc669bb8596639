from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from trepid.acquisition.uncertainty import (
    SHIFT,
    WIDTH,
    UncertaintyMeasure,
    WalkStatistics,
    frame_uncertainty,
    sigma_a_spread,
    uncertainty_probability,
)
from trepid.config.rounds import AcquisitionSettings
from trepid.errors import ConfigError, DataError

UNIT = WalkStatistics(mean=0.0, std=1.0, n_points=100)
finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(("z", "published"), [(1.5, 0.057), (3.0, 0.999)])
def test_one_width_gives_both_published_values(z: float, published: float) -> None:
    assert round(float(uncertainty_probability(z, UNIT)), 3) == published


def test_a_campaign_has_that_width_by_default() -> None:
    assert AcquisitionSettings().width == round(WIDTH, 4)


@pytest.mark.parametrize("z", [0.0, 1.0, 1.5, 2.0, 2.3, 3.0, 5.0])
def test_it_is_a_normal_distribution_in_z(z: float) -> None:
    assert uncertainty_probability(z, UNIT) == pytest.approx(
        norm.cdf(z, loc=SHIFT, scale=WIDTH / np.sqrt(2)), abs=1e-14
    )


@given(mean=finite, std=positive, z=st.lists(st.floats(-50, 50), min_size=2, max_size=20))
def test_probabilities_are_bounded_and_rise_with_uncertainty(mean: float, std: float, z: list[float]) -> None:
    p = uncertainty_probability(mean + std * np.sort(z), WalkStatistics(mean, std, 10))
    assert ((p >= 0.0) & (p <= 1.0)).all()
    assert (np.diff(p) >= -1e-12).all()


@given(unit=st.floats(1e-3, 1e3), offset=st.floats(-10, 10))
def test_units_and_offsets_do_not_matter(unit: float, offset: float) -> None:
    series = np.random.default_rng(1).normal(size=50)
    here = uncertainty_probability(3.0, WalkStatistics.of(series))
    there = uncertainty_probability(unit * 3.0 + offset, WalkStatistics.of(unit * series + offset))
    assert there == pytest.approx(here, rel=1e-6)


def test_statistics_follow_the_walk_they_are_given() -> None:
    """The same uncertainty is ordinary for a model whose walk is uncertain, and unusual after it has learnt."""
    rng = np.random.default_rng(0)
    before, after = WalkStatistics.of(rng.normal(1.0, 0.2, 500)), WalkStatistics.of(rng.normal(0.1, 0.02, 500))
    assert uncertainty_probability(1.1, before) < 0.01
    assert uncertainty_probability(1.1, after) > 0.999
    assert before.std == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "0 points"),
        (np.arange(9.0), "9 points"),
        (np.full(50, 0.1), "does not fluctuate"),
        ([*np.arange(20.0), np.nan], "point 20 .* must be finite"),
        ([*np.arange(20.0), np.inf], "must be finite"),
    ],
)
def test_a_trajectory_without_statistics_is_refused(series: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        WalkStatistics.of(series)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_statistics_out_of_range_are_refused(mean: float, std: float) -> None:
    with pytest.raises(DataError):
        WalkStatistics(mean, std, 100)


def test_bad_settings_and_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="width"):
        uncertainty_probability(1.0, UNIT, width=0.0)
    with pytest.raises(DataError, match="not finite"):
        uncertainty_probability([1.0, np.nan], UNIT)


def test_measures() -> None:
    forces = np.array([[0.3, 0.0, 0.4], [0.0, 0.0, 0.1]])
    assert frame_uncertainty("energy", energy_uncertainty=0.7) == 0.7
    assert frame_uncertainty(UncertaintyMeasure.FORCE_MEAN, forces_uncertainty=forces) == pytest.approx(0.3)
    assert frame_uncertainty(UncertaintyMeasure.FORCE_MAX, forces_uncertainty=forces) == pytest.approx(0.5)


def test_spread_of_sigma_a_by_hand() -> None:
    """Members whose forces are 1 and 2 times harmonic forces have sigma^A 0 and 1/2."""
    harmonic = np.random.default_rng(0).normal(size=(5, 3))
    members = np.stack([harmonic, 2 * harmonic])
    expected = np.std([0.0, 0.5], ddof=1)
    assert sigma_a_spread(members, harmonic) == pytest.approx(expected)
    assert frame_uncertainty("sigma_a", forces_ensemble=members, harmonic_forces=harmonic) == pytest.approx(expected)
    assert sigma_a_spread(np.stack([members[1]] * 3), harmonic) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("measure", list(UncertaintyMeasure))
def test_a_measure_names_what_is_missing(measure: UncertaintyMeasure) -> None:
    with pytest.raises(DataError, match=measure.value):
        frame_uncertainty(measure)


def test_sigma_a_needs_members_and_forces() -> None:
    with pytest.raises(DataError, match="two members"):
        sigma_a_spread(np.ones((1, 2, 3)), np.ones((2, 3)))
    with pytest.raises(DataError, match="shape"):
        sigma_a_spread(np.ones((2, 3, 3)), np.ones((2, 3)))
    with pytest.raises(DataError, match="no force"):
        sigma_a_spread(np.zeros((2, 2, 3)), np.ones((2, 3)))
