from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BSpline

from trepid.export.splines import DEGREE, Grid

GRID = Grid(start=-0.3, step=0.25, n=20)


def slope_error(grid: Grid) -> float:
    r = np.linspace(0, 4.5, 400)
    spline = BSpline(
        grid.knots, grid.projection(vanish_at_start=False, vanish_at_end=False) @ np.sin(3 * grid.samples), DEGREE
    )
    return float(np.abs(spline(r, 1) - 3 * np.cos(3 * r)).max())


def test_knots_are_uniform_and_clamped() -> None:
    knots = GRID.knots
    assert len(knots) == GRID.size + DEGREE + 1
    assert (knots[:4] == -0.3).all()
    assert (knots[-4:] == GRID.end).all()
    assert np.diff(knots[3:-3]) == pytest.approx(0.25)


def test_a_grid_ends_where_it_should() -> None:
    grid = Grid.ending_at(5.0, step=np.pi / 30, n=47)
    assert grid.end == 5.0
    assert grid.step == pytest.approx(np.pi / 30, abs=1e-6)
    assert np.abs(grid.knots * 1e6 - np.round(grid.knots * 1e6)).max() < 1e-6


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("end", [False, True])
def test_projection_returns_a_spline_unchanged(start: bool, end: bool) -> None:
    coefficients = np.random.default_rng(0).normal(size=GRID.size)
    if start:
        coefficients[:DEGREE] = 0
    if end:
        coefficients[-DEGREE:] = 0
    values = BSpline(GRID.knots, coefficients, DEGREE)(GRID.samples)
    projected = GRID.projection(vanish_at_start=start, vanish_at_end=end) @ values
    assert projected == pytest.approx(coefficients, abs=1e-10)


def test_vanishing_ends_are_exactly_zero() -> None:
    projected = GRID.projection(vanish_at_start=True, vanish_at_end=True) @ np.ones(len(GRID.samples))
    assert (projected[:DEGREE] == 0).all()
    assert (projected[-DEGREE:] == 0).all()
    assert (projected[DEGREE:-DEGREE] != 0).all()


def test_projection_is_local() -> None:
    values = np.where(GRID.samples > 3.0, 1e12, 0.0)
    projected = GRID.projection(vanish_at_start=False, vanish_at_end=False) @ values
    supports_end_before = GRID.knots[4:] <= 3.0
    assert supports_end_before.sum() > 5
    assert (projected[supports_end_before] == 0).all()


def test_the_slope_converges_with_the_third_power() -> None:
    coarse, fine = (slope_error(Grid.ending_at(5.0, step=step, n=round(5.5 / step))) for step in (0.1, 0.05))
    assert fine < 1e-3
    assert coarse / fine == pytest.approx(8, rel=0.15)
