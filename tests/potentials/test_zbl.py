"""The short-range prior: known values, its derivative and the smoothness of its switch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.errors import ConfigError, DataError
from trepid.potentials.bayesian.zbl import zbl_derivative, zbl_energy, zbl_range

ELEMENTS = st.integers(min_value=1, max_value=86)


def lammps_zbl(r: float, zi: int, zj: int) -> float:
    """Unswitched ZBL energy, eV, written out from the documentation of LAMMPS' pair_style zbl (metal units)."""
    x = r * (zi**0.23 + zj**0.23) / 0.46850
    phi = (
        0.02817 * math.exp(-0.20162 * x)
        + 0.28022 * math.exp(-0.40290 * x)
        + 0.50986 * math.exp(-0.94229 * x)
        + 0.18175 * math.exp(-3.19980 * x)
    )
    return 14.399645 * zi * zj * phi / r


@settings(deadline=None)
@given(zi=ELEMENTS, zj=ELEMENTS, fraction=st.floats(0.02, 0.999))
def test_inside_the_inner_radius_it_is_the_universal_repulsion(zi: int, zj: int, fraction: float) -> None:
    inner, _ = zbl_range(chemical_symbols[zi], chemical_symbols[zj])
    r = fraction * inner
    assert zbl_energy(r, zi, zj) == pytest.approx(lammps_zbl(r, zi, zj), rel=1e-12)


def test_range_is_set_by_the_covalent_radii() -> None:
    inner, outer = zbl_range("Cu", "I")
    assert outer == pytest.approx(0.8 * (1.32 + 1.39))
    assert inner == pytest.approx(0.5 * outer)
    assert zbl_range("I", "Cu") == (inner, outer)


def test_half_way_between_the_radii_half_of_it_is_left() -> None:
    inner, outer = zbl_range("Si", "Si")
    r = 0.5 * (inner + outer)
    assert zbl_energy(r, 14, 14) == pytest.approx(0.5 * lammps_zbl(r, 14, 14), rel=1e-12)


@settings(deadline=None)
@given(zi=ELEMENTS, zj=ELEMENTS, fraction=st.floats(0.05, 1.2))
def test_derivative_is_that_of_the_energy(zi: int, zj: int, fraction: float) -> None:
    r = fraction * 0.8 * (covalent_radii[zi] + covalent_radii[zj])
    step = 1e-5 * r
    difference = (zbl_energy(r + step, zi, zj) - zbl_energy(r - step, zi, zj)) / (2 * step)
    assert zbl_derivative(r, zi, zj) == pytest.approx(difference, abs=1e-7 * lammps_zbl(r, zi, zj) / r, rel=1e-6)


@settings(deadline=None)
@given(zi=ELEMENTS, zj=ELEMENTS, fraction=st.floats(0.02, 2.0))
def test_it_is_symmetric_repulsive_and_vanishes_outside(zi: int, zj: int, fraction: float) -> None:
    _, outer = zbl_range(chemical_symbols[zi], chemical_symbols[zj])
    r = fraction * outer
    energy, slope = zbl_energy(r, zi, zj), zbl_derivative(r, zi, zj)
    assert energy == zbl_energy(r, zj, zi)
    if r >= outer:
        assert energy == 0
        assert slope == 0
    else:
        assert energy >= 0
        assert slope <= 0


@pytest.mark.parametrize("pair", [("H", "H"), ("Cu", "I"), ("Cs", "Cs")])
def test_value_slope_and_curvature_are_continuous_at_both_radii(pair: tuple[str, str]) -> None:
    za, zb = (atomic_numbers[s] for s in pair)
    for radius in zbl_range(*pair):
        step = 1e-5 * radius
        below, above = radius - step, radius + step
        scale = lammps_zbl(radius, za, zb) / radius
        assert zbl_energy(above, za, zb) == pytest.approx(zbl_energy(below, za, zb), abs=1e-3 * scale * radius)
        assert zbl_derivative(above, za, zb) == pytest.approx(zbl_derivative(below, za, zb), abs=2e-3 * scale)
        curvatures = [
            (zbl_derivative(r + step / 2, za, zb) - zbl_derivative(r - step / 2, za, zb)) / step for r in (below, above)
        ]
        assert curvatures[0] == pytest.approx(curvatures[1], abs=0.02 * scale / radius)


def test_arrays_broadcast_over_mixed_species() -> None:
    r = np.array([0.8, 1.0, 1.2])
    together = zbl_energy(r, np.array([29, 53, 29]), 53)
    np.testing.assert_allclose(together, [zbl_energy(0.8, 29, 53), zbl_energy(1.0, 53, 53), zbl_energy(1.2, 29, 53)])
    assert zbl_derivative(r[:, None], 29, np.array([29, 53])).shape == (3, 2)


@pytest.mark.parametrize("r", [0.0, -1.0, math.nan])
def test_a_distance_that_is_not_positive_is_refused(r: float) -> None:
    with pytest.raises(DataError, match="must be positive"):
        zbl_energy([1.0, r], 14, 14)


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(ConfigError, match="Xy"):
        zbl_range("Cu", "Xy")
