"""The Cholesky factor against numpy, and that other threads run while LAPACK computes it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from scipy.linalg import LinAlgError

from trepid.potentials.bayesian.lower_factor import LowerFactor


def positive(n: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((n, n + 3))
    return rows @ rows.T + np.eye(n)


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_it_is_numpys(n: int) -> None:
    matrix = positive(n)
    factor = LowerFactor(matrix)
    np.testing.assert_allclose(factor.matrix, np.linalg.cholesky(matrix), rtol=1e-12, atol=1e-12)
    right = np.random.default_rng(1).standard_normal((n, 4))
    np.testing.assert_allclose(factor.matrix @ factor.solve_lower(right), right, atol=1e-11)
    np.testing.assert_allclose(factor.matrix.T @ factor.solve_lower(right, transposed=True), right, atol=1e-11)
    np.testing.assert_allclose(matrix @ factor.solve(right[:, 0]), right[:, 0], atol=1e-11)
    np.testing.assert_allclose(factor.inverse(), np.tril(np.linalg.inv(matrix)), atol=1e-11)
    np.testing.assert_allclose(factor.log_determinant(), np.linalg.slogdet(matrix)[1], rtol=1e-12)


def test_only_the_lower_triangle_is_read_and_nothing_given_is_changed() -> None:
    matrix = positive(5)
    lower, right = np.tril(matrix), np.ones((5, 2), order="F")
    np.testing.assert_array_equal(LowerFactor(lower).matrix, LowerFactor(matrix).matrix)
    LowerFactor(matrix).solve_lower(right)
    np.testing.assert_array_equal(lower, np.tril(positive(5)))
    np.testing.assert_array_equal(right, 1.0)


def test_the_condition_is_that_of_the_matrix() -> None:
    assert LowerFactor(np.diag([1e8, 1.0, 1e-4])).reciprocal_condition(1e8) == pytest.approx(1e-12)


def test_an_empty_matrix() -> None:
    factor = LowerFactor(np.empty((0, 0)))
    assert (len(factor), factor.log_determinant(), factor.reciprocal_condition(0.0)) == (0, 0.0, 1.0)
    assert factor.solve_lower(np.empty((0, 3))).shape == (0, 3)
    assert factor.inverse().shape == (0, 0)


def test_an_indefinite_matrix() -> None:
    with pytest.raises(LinAlgError, match="minor of order 2"):
        LowerFactor(np.diag([1.0, -1.0, 1.0]))


def test_other_threads_run_meanwhile() -> None:
    """With the lock held, no moment of the other thread lies in the middle of a call, however often it is tried."""
    matrix, moments, ended = positive(1200), [0.0], threading.Event()

    def note() -> None:
        while not ended.wait(1e-4):
            moments.append(time.monotonic())

    other = threading.Thread(target=note)
    other.start()
    try:
        for _ in range(50):
            begun = time.monotonic()
            factor = LowerFactor(matrix)
            taken = time.monotonic() - begun
            if any(0.3 < (moment - begun) / taken < 0.6 for moment in moments):
                break
        else:
            pytest.fail("no other thread ran during 50 factorisations")
    finally:
        ended.set()
        other.join()
    assert len(factor) == 1200
