"""The contract of a term of the force field, and the classes composed from all terms."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from potential_systems import random_potential, shared, small_basis, triclinic, with_channels, with_mixed_triplets
from trepid.errors import ConfigError
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.posterior import NOISES, Bounds
from trepid.potentials.bayesian.spline_potential import SplinePotential
from trepid.potentials.bayesian.terms import TERMS, Hyperparameters, Tables
from trepid.potentials.bayesian.terms.base import Term
from trepid.potentials.bayesian.terms.charges import Charges
from trepid.potentials.bayesian.terms.mixed_triplet import MixedTripletTerm
from trepid.potentials.bayesian.terms.pair import PairTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm


def basis_of(kind: type[Term], n_species: int) -> Basis:
    """A basis in which a term has coefficients: full and mixed triplets exclude each other."""
    formal = tuple((-1.0) ** k for k in range(n_species))
    basis = replace(with_channels(small_basis(n_species)), charges=Charges(formal, 1.4))
    return with_mixed_triplets(basis) if kind is MixedTripletTerm else basis


KINDS = pytest.mark.parametrize("kind", TERMS, ids=lambda kind: kind.__name__)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_terms_follow_each_other_without_gap(n_species: int, mixed: bool) -> None:
    basis = with_channels(small_basis(n_species))
    layout = (with_mixed_triplets(basis) if mixed else basis).layout
    assert [type(term) for term in layout.terms] == list(TERMS)
    stops = [0, *(term.columns.stop for term in layout.terms)]
    assert [term.columns.start for term in layout.terms] == stops[:-1]
    assert layout.size == stops[-1]
    assert layout.term(PairTerm) is layout.terms[TERMS.index(PairTerm)]


@KINDS
@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_prior_factors_cover_every_coefficient_of_the_term_once(kind: type[Term], n_species: int) -> None:
    term = kind(basis_of(kind, n_species), 11)
    assert term.size > 0
    factors = term.prior_factors(Hyperparameters())
    covered = np.concatenate([np.arange(f.columns.start, f.columns.stop) for f in factors])
    np.testing.assert_array_equal(covered, np.arange(term.columns.start, term.columns.stop))
    for factor in factors:
        assert factor.u.shape[0] == factor.columns.stop - factor.columns.start
        assert 0 < factor.u.shape[1] <= factor.u.shape[0]


@KINDS
def test_gradient_blocks_hold_whole_prior_blocks(kind: type[Term]) -> None:
    """The prior covariance outside the blocks must not depend on what the evidence is maximised over."""
    term = kind(basis_of(kind, 2), 5)
    blocks = [range(b.start, b.stop) for b in term.gradient_blocks()]
    assert len(blocks) == len({b.start for b in blocks})
    for factor in term.prior_factors(Hyperparameters()) if term.parameters else []:
        assert any(factor.columns.start in b and factor.columns.stop - 1 in b for b in blocks)
    slopes = term.evidence_slopes(Hyperparameters(), [np.eye(len(b)) for b in blocks])
    assert len(slopes) == len(term.parameters)


@KINDS
def test_searched_parameters_are_hyperparameters_whose_defaults_lie_within_their_ranges(kind: type[Term]) -> None:
    defaults = {f.name: f.default for f in fields(Hyperparameters)}
    for parameter in kind.parameters:
        assert parameter.low < defaults[parameter.name] < parameter.high
        assert Bounds().of(parameter.name) == (parameter.low, parameter.high)


def test_every_parameter_of_the_prior_is_searched_except_the_offset_amplitude() -> None:
    searched = {parameter.name for kind in TERMS for parameter in kind.parameters}
    assert {f.name for f in fields(Hyperparameters)} - searched == {"noise", "offset_amplitude"}


def test_no_name_is_used_by_two_terms_but_those_of_full_and_mixed_triplets() -> None:
    kinds = [kind for kind in TERMS if kind is not MixedTripletTerm]
    names = [parameter.name for kind in kinds for parameter in kind.parameters] + [noise.name for noise in NOISES]
    assert {p.name for p in MixedTripletTerm.parameters} < {p.name for p in TripletTerm.parameters}
    assert len(names) == len(set(names))
    basis = small_basis(2)
    potential = random_potential(basis, rank=16)
    tables = [f.name for term in basis.layout.terms for f in fields(term.direction(potential.tables, 0))]
    assert sorted([*tables, "zbl"]) == sorted(f.name for f in fields(Tables))


def test_bounds_can_be_changed_one_by_one_and_only_for_what_is_searched() -> None:
    bounds = Bounds(pair_length=(0.5, 0.6))
    assert bounds.of("pair_length") == (0.5, 0.6)
    assert bounds.of("noise_forces") == Bounds().of("noise_forces")
    with pytest.raises(ConfigError, match="'pair_lenght' is no hyperparameter of the search: pair_amplitude, pair_len"):
        Bounds(pair_lenght=(0.5, 0.6))


@pytest.mark.parametrize("mixed", [False, True])
def test_a_live_direction_as_a_potential_of_its_own(mixed: bool) -> None:
    """Its forces are those that the live variance sums up, without offsets and repulsion."""
    basis, atoms = with_channels(small_basis(2)), triclinic()
    basis = with_mixed_triplets(basis) if mixed else basis
    potential = random_potential(basis, rank=16)
    directions = [SplinePotential(basis, basis.layout.direction(potential.tables, r)) for r in range(16)]
    assert all(d.tables.rank == 0 for d in directions)
    forces = np.array([d.evaluate(atoms).forces for d in directions])
    expected = potential.evaluate(atoms, live=True).forces_uncertainty
    variance = shared((forces**2).sum(axis=0).ravel(), atoms, reach=basis.triplet_cutoff)
    np.testing.assert_allclose(np.sqrt(variance).reshape(-1, 3), expected, rtol=1e-4)
    alone = triclinic(n=1)
    alone.set_cell(20 * np.eye(3))
    assert directions[3].evaluate(alone).energy == 0.0
