"""Sufficient statistics add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.potentials.bayesian.statistics import KindStatistics, LabelKind, SufficientStatistics

SIZE = 7


def data(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, SIZE)), rng.normal(size=n), rng.uniform(1, 3, size=n)


def assert_equal(a: KindStatistics, b: KindStatistics, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(a.gram, b.gram, atol=atol)
    np.testing.assert_allclose(a.projection, b.projection, atol=atol)
    assert a.count == b.count
    assert (a.squared, a.log_multiplier) == (
        pytest.approx(b.squared, abs=atol),
        pytest.approx(b.log_multiplier, abs=atol),
    )


def of(n: int, seed: int = 0) -> KindStatistics:
    statistics = KindStatistics.empty(SIZE)
    statistics.add(*data(n, seed))
    return statistics


def test_definition() -> None:
    rows, labels, multipliers = data(20)
    statistics = of(20)
    np.testing.assert_allclose(
        statistics.gram, sum(np.outer(r, r) / m**2 for r, m in zip(rows, multipliers, strict=True))
    )
    np.testing.assert_allclose(statistics.projection, (labels / multipliers**2) @ rows)
    assert statistics.squared == pytest.approx(np.sum(labels**2 / multipliers**2))
    assert statistics.count == 20
    assert statistics.log_multiplier == pytest.approx(np.log(multipliers).sum())


def test_the_gram_matrix_is_symmetric_to_the_last_bit() -> None:
    """The model file stores one triangle of it."""
    gram = of(50).gram
    np.testing.assert_array_equal(gram, gram.T)


def test_one_multiplier_for_all() -> None:
    rows, labels, _ = data(5)
    one, many = KindStatistics.empty(SIZE), KindStatistics.empty(SIZE)
    one.add(rows, labels, 2.0)
    many.add(rows, labels, np.full(5, 2.0))
    assert_equal(one, many)
    assert one.log_multiplier == pytest.approx(5 * np.log(2))


@settings(max_examples=30)
@given(cut=st.integers(0, 30), seed=st.integers(0, 100))
def test_batches_in_any_division_and_order(cut: int, seed: int) -> None:
    rows, labels, multipliers = data(30, seed)
    parts = KindStatistics.empty(SIZE)
    for part in (slice(cut, None), slice(0, cut)):
        parts.add(rows[part], labels[part], multipliers[part])
    assert_equal(parts, of(30, seed))


def test_merging_equals_adding() -> None:
    both, a, b = (SufficientStatistics(SIZE) for _ in range(3))
    for statistics, seed in ((a, 1), (b, 2), (both, 1), (both, 2)):
        statistics.kind(LabelKind.FORCES).add(*data(12, seed))
        statistics.n_frames += 1
    b.kind(LabelKind.ENERGY).add(*data(1, 3))
    both.kind(LabelKind.ENERGY).add(*data(1, 3))
    a.merge(b)
    assert a.n_frames == both.n_frames == 2
    assert a.kinds.keys() == both.kinds.keys() == {LabelKind.FORCES, LabelKind.ENERGY}
    for kind in a.kinds:
        assert_equal(a.kinds[kind], both.kinds[kind])


def test_merging_does_not_tie_the_two_together() -> None:
    a, b = SufficientStatistics(SIZE), SufficientStatistics(SIZE)
    b.kind(LabelKind.FORCES).add(*data(3, 1))
    a.merge(b)
    a.kind(LabelKind.FORCES).add(*data(3, 2))
    assert_equal(b.kinds[LabelKind.FORCES], of(3, 1))


def test_other_sizes_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="statistics of 8 coefficients cannot be added to those of 7"):
        SufficientStatistics(SIZE).merge(SufficientStatistics(8))
