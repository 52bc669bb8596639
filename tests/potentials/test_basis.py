"""Splines and the order of the coefficients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potential_systems import SPECIES, scipy_splines, small_basis
from trepid.errors import ConfigError
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.splines import spline_values
from trepid.potentials.bayesian.terms.offset import OffsetTerm
from trepid.potentials.bayesian.terms.pair import PairTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm


@settings(max_examples=60)
@given(r=st.floats(0.3, 6.0), n=st.integers(4, 20), cutoff=st.floats(3.0, 6.5))
def test_splines_are_those_of_scipy(r: float, n: int, cutoff: float) -> None:
    basis = small_basis(1)
    values, slopes = spline_values([r], r_min=basis.r_min, cutoff=cutoff, n=n)
    expected = scipy_splines(basis, n=n, cutoff=cutoff)(r)
    np.testing.assert_allclose(values[0], expected[0], atol=1e-11)
    np.testing.assert_allclose(slopes[0], expected[1], atol=1e-10)


def test_splines_vanish_with_slope_and_curvature_at_the_cutoff() -> None:
    h = 1e-4
    values, slopes = spline_values([5 - 2 * h, 5 - h, 5.0, 5.0 + h, 9.0], r_min=1.5, cutoff=5.0, n=8)
    assert (values[2:] == 0).all()
    assert (slopes[2:] == 0).all()
    curvature = np.abs(slopes[1] - slopes[0]) / h
    assert curvature.max() < 20 * h
    assert curvature.max() > 0


def test_splines_add_up_to_one_away_from_the_cutoff() -> None:
    """All of them are there: only the three that reach beyond the cutoff are missing."""
    step = (5.0 - 1.5) / 8
    r = np.linspace(1.5, 5.0 - 3 * step, 50)
    np.testing.assert_allclose(spline_values(r, r_min=1.5, cutoff=5.0, n=8)[0].sum(axis=1), 1, rtol=1e-14)
    assert spline_values([5.0 - 2.5 * step], r_min=1.5, cutoff=5.0, n=8)[0].sum() < 0.999


def test_splines_are_straight_below_the_grid() -> None:
    values, slopes = spline_values([0.5, 1.0, 1.5], r_min=1.5, cutoff=5.0, n=8)
    np.testing.assert_allclose(values[0] - values[1], values[1] - values[2], atol=1e-14)
    np.testing.assert_array_equal(slopes[0], slopes[2])
    assert np.abs(slopes[0]).max() > 0.1


@settings(max_examples=30)
@given(n_species=st.integers(1, 3), n_pair=st.integers(4, 12), n_radial=st.integers(4, 9), l_max=st.integers(0, 8))
def test_layout_names_every_coefficient_once(n_species: int, n_pair: int, n_radial: int, l_max: int) -> None:
    basis = small_basis(n_species, n_pair=n_pair, n_radial=n_radial, l_max=l_max)
    layout = basis.layout
    taken = np.zeros(layout.size, dtype=int)
    taken[layout.term(OffsetTerm).columns] += 1
    for pair in layout.term(PairTerm).blocks:
        taken[pair.columns] += 1
    for triplet in layout.term(TripletTerm).blocks:
        for degree in range(l_max + 1):
            n, m = triplet.products(n_radial)
            assert len(n) == triplet.n_products == len(set(zip(n.tolist(), m.tolist(), strict=True)))
            taken[triplet.degree(degree)] += 1
    assert (taken == 1).all()
    same, mixed = n_radial * (n_radial + 1) // 2, n_radial**2
    n_mixed = n_species * (n_species - 1) // 2
    expected = n_species + (n_species + n_mixed) * n_pair
    expected += n_species * (l_max + 1) * (n_species * same + n_mixed * mixed)
    assert layout.size == expected
    assert FeatureBuilder(basis).basis is basis  # raises where C++ counts differently


def test_defaults_have_the_size_of_the_design() -> None:
    assert Basis.create(["Si"], pair_cutoff=5.5, triplet_cutoff=4.2).layout.size == 1 + 20 + 36 * 5
    assert Basis.create(["Cu", "I"]).layout.size == 2 + 3 * 20 + 2 * (36 + 64 + 36) * 5


def test_species_are_sorted_and_the_grid_starts_inside_every_bond() -> None:
    basis = Basis.create(["Se", "Ag", "Ga"])
    assert basis.species == SPECIES[3]
    assert basis.cutoff == 6.0
    assert 1.0 < basis.r_min < 2.0
    for a in basis.species:
        for b in basis.species:
            assert basis.plausible_contact(a, b) == basis.plausible_contact(b, a) > basis.r_min


def test_plausible_contact_is_never_below_the_grid() -> None:
    assert Basis.create(["Si"], r_min=2.5).plausible_contact("Si", "Si") == 2.5


@pytest.mark.parametrize(
    ("species", "change", "message"),
    [
        ([], {}, "species is empty"),
        (["Cu", "Xx"], {}, "'Xx' is not a chemical element"),
        (["X"], {}, "'X' is not a chemical element"),
        (["Cu", "Cu"], {}, "names an element twice"),
        (["Cu"], {"pair_cutoff": -1.0}, "pair_cutoff is -1.0 A"),
        (["Cu"], {"pair_cutoff": 25.0}, "between .* and 20 A"),
        (["Cu"], {"triplet_cutoff": float("nan")}, "triplet_cutoff is nan A"),
        (["Cu"], {"triplet_cutoff": 1.6}, "triplet_cutoff is 1.6 A; it must lie between 2.08"),
        (["Cu"], {"n_pair": 3}, "n_pair is 3; it must lie between 4 and 200"),
        (["Cu"], {"n_radial": 65}, "n_radial is 65; it must lie between 4 and 64"),
        (["Cu"], {"l_max": 9}, "l_max is 9; it must lie between 0 and 8"),
        (["Cu"], {"l_max": -1}, "l_max is -1"),
        (["Cu"], {"r_min": 0.0}, "r_min is 0.0 A; it must be positive"),
        (["Cu"], {"r_min": float("nan")}, "r_min is nan A"),
    ],
)
def test_settings_out_of_range_are_named(species: list[str], change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Basis.create(species, **change)
