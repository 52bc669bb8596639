"""Numbers in, verdict out: every verdict at its borders, and what must hold for all numbers."""

from __future__ import annotations

import math

import pytest
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st

from trepid.audit.judgement import Criteria, Estimate, State, Verdict, judge, judge_probe, labels_needed
from trepid.errors import ConfigError

CRITERIA = Criteria(temperature_K=500.0, time_ns=10.0)
KT = kB * 500.0
TOLERANCE = KT * math.log(3.0)
BUDGET = KT * math.log(1e13 * 10e-9)
BARRIERS = st.floats(0.0, 3.0)
BARS = st.floats(0.0, 0.5)


def test_tolerance_and_horizon_are_the_formulas() -> None:
    assert CRITERIA.tolerance == pytest.approx(TOLERANCE)
    assert CRITERIA.budget == pytest.approx(BUDGET)
    many = Criteria(temperature_K=500.0, time_ns=10.0, ways=192)
    assert many.budget == pytest.approx(BUDGET + KT * math.log(192))
    assert many.expected_events(many.budget) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("model", "reference", "std", "verdict"),
    [
        (0.30, 0.30, 0.0, Verdict.GENUINE),
        (0.30, 0.30 + 0.99 * TOLERANCE, 0.0, Verdict.GENUINE),
        (0.30, 0.30 + 1.01 * TOLERANCE, 0.0, Verdict.MISCAPTURED),
        (0.30, 0.30 - 1.01 * TOLERANCE, 0.0, Verdict.MISCAPTURED),
        (0.30, 0.30, 0.6 * TOLERANCE, Verdict.UNDECIDED),
        (0.30, BUDGET + 0.01, 0.0, Verdict.HALLUCINATED),
        (0.30, BUDGET - 0.01, 0.0, Verdict.MISCAPTURED),
        (0.30, BUDGET + 0.01, 0.01, Verdict.UNDECIDED),
        (BUDGET + 0.5, BUDGET + 0.5, 0.0, Verdict.GENUINE),
        (BUDGET + 0.5, BUDGET + 0.2, 0.0, Verdict.MISCAPTURED),
    ],
)
def test_every_verdict_at_its_border(model: float, reference: float, std: float, verdict: Verdict) -> None:
    assert judge(model, Estimate(reference, std), CRITERIA).verdict is verdict


def test_a_state_that_does_not_exist_is_a_hallucination_whatever_it_costs() -> None:
    found = judge(0.3, Estimate(0.3, 0.0), CRITERIA, end=State.ABSENT)
    assert found.verdict is Verdict.HALLUCINATED
    assert "end state does not exist" in found.reason


def test_a_right_barrier_to_an_unknown_state_is_open() -> None:
    found = judge(0.3, Estimate(0.3, 0.0), CRITERIA, end=State.UNKNOWN)
    assert found.verdict is Verdict.UNDECIDED
    assert found.labels_needed == 1


def test_an_end_beyond_the_horizon_is_enough() -> None:
    least = Estimate(BUDGET + 0.2, 0.05)
    assert judge(0.3, None, CRITERIA, least=least).verdict is Verdict.HALLUCINATED
    assert judge(0.3, None, CRITERIA, least=Estimate(BUDGET + 0.2, 0.2)).verdict is Verdict.UNDECIDED


def test_the_rate_factor_is_that_of_the_barriers() -> None:
    found = judge(0.3, Estimate(0.4, 0.01), CRITERIA)
    assert found.rate_factor == pytest.approx(math.exp(0.1 / KT))
    assert found.rate_factor_low == pytest.approx(math.exp((0.1 - 1.96 * 0.01) / KT))
    assert "too often" in found.reason
    assert "too rarely" in judge(0.4, Estimate(0.3, 0.0), CRITERIA).reason


@given(model=BARRIERS, value=BARRIERS, std=BARS)
def test_a_verdict_holds_for_every_value_inside_the_bar(model: float, value: float, std: float) -> None:
    found = judge(model, Estimate(value, std), CRITERIA)
    if found.verdict is Verdict.UNDECIDED:
        return
    for part in (-0.999, -0.5, 0.5, 0.999):
        assert judge(model, Estimate(value + part * 1.96 * std, 0.0), CRITERIA).verdict is found.verdict


@given(model=BARRIERS, value=BARRIERS, std=BARS, factor=st.floats(0.0, 0.999))
def test_a_narrower_bar_never_takes_a_verdict_back(model: float, value: float, std: float, factor: float) -> None:
    wide, narrow = (judge(model, Estimate(value, s), CRITERIA) for s in (std, factor * std))
    assert wide.verdict in (Verdict.UNDECIDED, narrow.verdict)


@given(model=BARRIERS, value=BARRIERS, std=BARS)
def test_a_probe_is_overlooked_only_where_the_reference_makes_it_possible(
    model: float, value: float, std: float
) -> None:
    found = judge_probe(model, Estimate(value, std), CRITERIA)
    possible = value + 1.96 * std < CRITERIA.budget
    if found.verdict is Verdict.OVERLOOKED:
        assert possible
        assert model - value > CRITERIA.tolerance
    if found.verdict is Verdict.IMPOSSIBLE:
        assert value - 1.96 * std > CRITERIA.budget
    assert found.verdict is not Verdict.GENUINE or abs(model - value) < CRITERIA.tolerance


def test_probes() -> None:
    assert judge_probe(None, Estimate(0.3, 0.01), CRITERIA).verdict is Verdict.OVERLOOKED
    assert judge_probe(0.6, Estimate(0.3, 0.01), CRITERIA).verdict is Verdict.OVERLOOKED
    assert judge_probe(0.3, Estimate(0.3, 0.001), CRITERIA).verdict is Verdict.GENUINE
    assert judge_probe(0.2, Estimate(0.3, 0.001), CRITERIA).verdict is Verdict.MISCAPTURED
    assert judge_probe(0.2, Estimate(0.9, 0.01), CRITERIA).verdict is Verdict.HALLUCINATED
    assert judge_probe(0.9, Estimate(0.9, 0.01), CRITERIA).verdict is Verdict.IMPOSSIBLE
    assert judge_probe(0.9, None, CRITERIA, end=State.ABSENT).verdict is Verdict.IMPOSSIBLE
    assert judge_probe(0.9, Estimate(BUDGET, 0.01), CRITERIA).verdict is Verdict.UNDECIDED


def test_labels_needed() -> None:
    assert labels_needed(0.3, 0.05) == 3  # 1.96 x 0.3 / 3^2 > 0.05 > 1.96 x 0.3 / 3^3
    assert labels_needed(0.03, 0.05) == 1
    assert labels_needed(0.01, 0.05) == 1
    assert labels_needed(0.3, 0.0) is None


@pytest.mark.parametrize("wrong", [{"temperature_K": 0.0}, {"time_ns": 0.0}, {"factor": 1.0}, {"ways": 0}, {"z": 0.0}])
def test_criteria_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Criteria(**{"temperature_K": 300.0, "time_ns": 1.0, **wrong})
    with pytest.raises(ConfigError):
        Estimate(float("nan"))
