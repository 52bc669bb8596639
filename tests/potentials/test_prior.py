"""The prior of the coefficients: a Gaussian process represented by splines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from potential_systems import small_basis
from trepid.errors import ConfigError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.kernels import angular_eigenvalues, envelope, radial_kernel
from trepid.potentials.bayesian.splines import spline_covariance, spline_covariance_derivative, spline_values
from trepid.potentials.bayesian.terms import PARAMETERS, Hyperparameters
from trepid.potentials.bayesian.terms.offset import OffsetTerm
from trepid.potentials.bayesian.terms.pair import PairTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm

HYPER = Hyperparameters(
    pair_amplitude=1.3, pair_length=0.6, triplet_amplitude=0.4, triplet_length=0.8, angular_length=0.6
)
KERNEL_NAMES = [parameter.name for parameter in PARAMETERS]


def covariance(basis: Basis, hyper: Hyperparameters) -> FloatArray:
    """U U^T as one matrix."""
    out = np.zeros((basis.layout.size, basis.layout.size))
    for factor in basis.layout.prior_factors(hyper):
        out[factor.columns, factor.columns] += factor.u @ factor.u.T
    return out


def written_out(basis: Basis, hyper: Hyperparameters) -> FloatArray:
    """The same from its definition, entry by entry: Cov(c_nn', c_mm') = M_nm M_n'm', symmetrised for equal neighbours."""
    out = np.zeros((basis.layout.size, basis.layout.size))
    offsets = basis.layout.term(OffsetTerm)
    out[offsets.columns, offsets.columns] = hyper.offset_amplitude**2 * np.eye(offsets.size)
    for pair in basis.layout.term(PairTerm).blocks:
        m2 = spline_covariance(r_min=basis.r_min, n=basis.n_pair, cutoff=basis.pair_cutoff, length=hyper.pair_length)
        out[pair.columns, pair.columns] = hyper.pair_amplitude**2 * m2
    m3 = spline_covariance(
        r_min=basis.r_min, n=basis.n_radial, cutoff=basis.triplet_cutoff, length=hyper.triplet_length
    )
    eigenvalues = angular_eigenvalues(basis.l_max, hyper.angular_length)
    for triplet in basis.layout.term(TripletTerm).blocks:
        products = list(zip(*triplet.products(basis.n_radial), strict=True))
        for degree, eigenvalue in enumerate(eigenvalues):
            start = triplet.degree(degree).start
            for p, (a, b) in enumerate(products):
                for q, (c, d) in enumerate(products):
                    value = m3[a, c] * m3[b, d]
                    if triplet.a == triplet.b:
                        value = (value + m3[a, d] * m3[b, c]) / 2
                    out[start + p, start + q] = hyper.triplet_amplitude**2 * eigenvalue * value
    return out


@pytest.mark.parametrize("n_species", [1, 2])
def test_factors_give_the_covariance_as_defined(n_species: int) -> None:
    basis = small_basis(n_species, l_max=2)
    expected = written_out(basis, HYPER)
    got = covariance(basis, HYPER)
    for factor in basis.layout.prior_factors(HYPER):  # block by block: their scales differ
        block = expected[factor.columns, factor.columns]
        np.testing.assert_allclose(got[factor.columns, factor.columns], block, atol=1e-8 * np.abs(block).max())
    np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(expected).max())


def test_negligible_directions_are_left_out() -> None:
    basis = small_basis(1, n_pair=30)
    smooth = replace(HYPER, pair_length=3.0)
    pair = basis.layout.prior_factors(smooth)[1]
    assert pair.u.shape[0] == 30
    assert pair.u.shape[1] < 20
    rough = basis.layout.prior_factors(replace(HYPER, pair_length=0.2))[1]
    assert rough.u.shape[1] == 30


def test_spline_prior_is_the_kernel_at_the_knots() -> None:
    basis = small_basis(1, n_radial=9, triplet_cutoff=4.5)
    m = spline_covariance(r_min=basis.r_min, n=9, cutoff=4.5, length=0.7)
    knots = basis.r_min + (4.5 - basis.r_min) / 9 * np.arange(0, 8)
    b = spline_values(knots, r_min=basis.r_min, cutoff=4.5, n=9)[0]
    np.testing.assert_allclose(b @ m @ b.T, radial_kernel(knots, knots, length=0.7, cutoff=4.5), atol=1e-12)


def test_spline_prior_converges_with_the_fourth_power_of_the_step() -> None:
    basis = small_basis(1)
    r = np.linspace(basis.r_min + 0.5, 3.8, 60)
    exact = radial_kernel(r, r, length=0.7, cutoff=4.0)

    def error(n: int) -> float:
        m = spline_covariance(r_min=basis.r_min, n=n, cutoff=4.0, length=0.7)
        b = spline_values(r, r_min=basis.r_min, cutoff=4.0, n=n)[0]
        return float(np.abs(b @ m @ b.T - exact).max())

    errors = np.array([error(n) for n in (12, 24, 48)])
    assert errors[-1] < 1e-5
    assert (errors[:-1] / errors[1:] > 10).all()


@pytest.mark.parametrize("length", [0.3, 0.7, 2.0])
def test_angular_eigenvalues_are_projections_of_the_kernel(length: float) -> None:
    """lambda_l = (2 l + 1) / 2 * integral of exp[-(1 - x) / l^2] P_l(x), the Funk-Hecke theorem; they add up to k(0) = 1."""
    x, weight = np.polynomial.legendre.leggauss(200)
    kernel = np.exp(-(1 - x) / length**2)
    expected = [
        (2 * degree + 1) / 2 * np.sum(weight * kernel * np.polynomial.legendre.legval(x, np.eye(41)[degree]))
        for degree in range(41)
    ]
    got = angular_eigenvalues(40, length)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)
    assert got.sum() == pytest.approx(1, abs=1e-9)


def test_envelope_switches_off_smoothly() -> None:
    h = 1e-4
    assert envelope(0.0, 5.0) == 1
    assert envelope(5.0, 5.0) == envelope(7.0, 5.0) == 0
    curvature = (envelope(5 - 2 * h, 5.0) - 2 * envelope(5 - h, 5.0)) / h**2
    assert 0 < abs(curvature) < 10 * h


def test_covariance_derivative_in_the_length() -> None:
    basis = small_basis(1)
    arguments = {"n": 8, "cutoff": 4.0}
    h = 1e-5
    numeric = (
        spline_covariance(r_min=basis.r_min, length=0.7 * np.exp(h), **arguments)
        - spline_covariance(r_min=basis.r_min, length=0.7 * np.exp(-h), **arguments)
    ) / (2 * h)
    np.testing.assert_allclose(
        spline_covariance_derivative(r_min=basis.r_min, length=0.7, **arguments),
        numeric,
        atol=1e-8 * np.abs(numeric).max(),
    )


@pytest.mark.parametrize("name", KERNEL_NAMES)
@pytest.mark.parametrize("n_species", [1, 2])
def test_prior_gradient_contracts_the_derivative_of_the_covariance(n_species: int, name: str) -> None:
    basis = small_basis(n_species, l_max=2, n_pair=6, n_radial=4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(basis.layout.size, basis.layout.size))
    x += x.T
    blocks = [x[c, c] for c in basis.layout.gradient_blocks()]
    h = 1e-5
    upper, lower = (
        covariance(basis, replace(HYPER, **{name: getattr(HYPER, name) * np.exp(sign * h)})) for sign in (1, -1)
    )
    numeric = np.sum(x * (upper - lower)) / (2 * h)
    assert basis.layout.evidence_slopes(HYPER, blocks)[name] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_hyperparameters_must_be_positive_numbers(value: float) -> None:
    with pytest.raises(ConfigError, match="hyperparameter pair_length must be a positive number"):
        Hyperparameters(pair_length=value)
    with pytest.raises(ConfigError, match=r"hyperparameter noise\.forces must be a positive number"):
        Hyperparameters(noise=Noise(energy=1.0, forces=value, stress=1.0))


def test_with_noise_changes_only_what_is_named() -> None:
    changed = HYPER.with_noise(forces=0.5)
    assert changed.noise == replace(HYPER.noise, forces=0.5)
    assert replace(changed, noise=HYPER.noise) == HYPER
