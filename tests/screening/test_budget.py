from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trepid.config.screening import BudgetSettings
from trepid.screening.budget import next_turn, priority_of, risk_of, room_of
from trepid.screening.effort import Effort, effort_of
from trepid.screening.record import Bars, MaterialRecord, RoundFigures, Status

TOLERANCE = 0.03


def material(name: str, value: float, bar: float, *, open_classes: int = 0, labels: int = 10) -> MaterialRecord:
    bars = Bars(value, bar, 0.0)
    rounds = (RoundFigures(1, labels, bars, open_classes, 0, False),)
    return MaterialRecord(name, name, Status.OPEN, 1, sigma_a=bars, n_labels=labels, rounds=rounds)


def waiting(name: str) -> MaterialRecord:
    return MaterialRecord(name, name, Status.WAITING)


def names(records: list[MaterialRecord], turn: int = 3, **settings: object) -> list[str]:
    budget = BudgetSettings.model_validate({"materials_per_turn": 2, **settings})
    return [choice.name for choice in next_turn(records, budget, tolerance=TOLERANCE, grant=5, turn=turn, seed=1)]


@given(st.floats(0.01, 2), st.floats(0.001, 1), st.integers(0, 5))
def test_risk_rises_with_anharmonicity_with_the_bar_and_with_open_classes(value: float, bar: float, n: int) -> None:
    risk = risk_of(material("A", value, bar, open_classes=n), TOLERANCE)
    assert risk > 0
    assert risk_of(material("A", value + 0.1, bar, open_classes=n), TOLERANCE) > risk
    assert risk_of(material("A", value, 1.1 * bar, open_classes=n), TOLERANCE) > risk
    assert risk_of(material("A", value, bar, open_classes=n + 1), TOLERANCE) > risk


def test_a_material_without_a_first_round_comes_before_all_others_in_the_order_of_the_list() -> None:
    assert names([material("A", 1.0, 0.5), waiting("C"), waiting("B")]) == ["C", "B"]
    assert risk_of(waiting("B"), TOLERANCE) == math.inf


def test_the_most_risk_for_its_cost_comes_first_and_equal_shares_go_by_labels() -> None:
    records = [
        material("calm", 0.2, 0.01, labels=10),
        material("wild", 0.9, 0.2, labels=30),
        material("open", 0.3, 0.1, open_classes=2, labels=20),
        material("near", 0.3, 0.02, labels=25),
    ]
    assert names(records, materials_per_turn=4) == ["near", "open", "wild", "calm"]
    assert names(records, share="equal") == ["calm", "open"]


def test_random_shares_change_with_the_turn_and_repeat_with_the_seed() -> None:
    records = [material(f"m{k}", 0.3, 0.1) for k in range(6)]
    drawn = [tuple(names(records, turn, share="random")) for turn in range(8)]
    assert drawn == [tuple(names(records, turn, share="random")) for turn in range(8)]
    assert len(set(drawn)) > 2


@given(st.floats(0.01, 2), st.floats(0.016, 1), st.integers(0, 5))
def test_of_two_equal_bars_the_more_anharmonic_and_the_one_with_open_classes_come_first(
    value: float, bar: float, n: int
) -> None:
    first = priority_of(material("A", value, bar, open_classes=n), TOLERANCE)
    assert first > 0
    assert priority_of(material("A", value + 0.1, bar, open_classes=n), TOLERANCE) > first
    assert priority_of(material("A", value, bar, open_classes=n + 1), TOLERANCE) > first
    assert first > priority_of(material("A", value, 0.01), TOLERANCE)  # a narrow bar and nothing open


def figures(k: int, frames: float, model: float) -> RoundFigures:
    return RoundFigures(k, 10 + k, Bars(0.5, frames, model), 0, 0, False)


def test_later_rounds_walk_longer_while_the_frames_are_too_few_and_label_more_while_the_model_is_too_uncertain() -> (
    None
):
    wide, narrow = 0.05, 0.001
    assert effort_of([], tolerance=TOLERANCE, longest=8) == Effort(1, False)
    long = [figures(k, wide, narrow) for k in range(1, 6)]
    factors = [effort_of(long[:n], tolerance=TOLERANCE, longest=8).longer for n in range(6)]
    assert factors == [1, 2, 4, 8, 8, 8]
    # Narrow at last: as long as it took, not shorter again.
    assert effort_of([*long[:2], figures(3, narrow, narrow)], tolerance=TOLERANCE, longest=8) == Effort(4, False)
    assert effort_of([figures(1, narrow, wide)], tolerance=TOLERANCE, longest=8) == Effort(1, True)
    assert effort_of([figures(1, narrow, narrow)], tolerance=TOLERANCE, longest=8) == Effort(1, False)
    lost = RoundFigures(1, 10, None, 0, 0, False)  # walks too short for sigma^A
    assert effort_of([lost], tolerance=TOLERANCE, longest=8) == Effort(1, False)


def test_known_exhausted_and_failed_materials_get_nothing() -> None:
    done = [MaterialRecord(s.value, "A", s) for s in (Status.KNOWN, Status.EXHAUSTED, Status.FAILED)]
    assert names(done) == []
    assert all(risk_of(record, TOLERANCE) == 0 for record in done)


@pytest.mark.parametrize(("limit", "chosen"), [(24, 0), (25, 1), (29, 1), (30, 2), (1000, 2)])
def test_a_turn_takes_as_many_materials_as_the_budget_has_rounds_for(limit: int, chosen: int) -> None:
    records = [material("A", 0.3, 0.1), material("B", 0.4, 0.1)]
    assert len(names(records, max_labels=limit)) == chosen
    assert room_of(records, BudgetSettings(max_labels=limit)) == limit - 20


def test_a_material_without_a_bar_is_a_risk_too() -> None:
    without = MaterialRecord("A", "A", Status.OPEN, 1)
    assert risk_of(without, TOLERANCE) > risk_of(material("B", 0.5, 0.03), TOLERANCE)


@pytest.mark.parametrize(("limit", "chosen"), [(69, 0), (70, 1), (109, 1), (110, 2)])
def test_first_rounds_are_expected_to_cost_as_much_as_the_dearest_so_far(limit: int, chosen: int) -> None:
    begun = [material("A", 0.3, 0.1, labels=10), material("B", 0.3, 0.1, labels=40)]
    begun = [replace(record, n_labels=labels) for record, labels in zip(begun, (10, 20), strict=True)]
    assert len(names([*begun, waiting("C"), waiting("D")], max_labels=limit)) == chosen
