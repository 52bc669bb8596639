"""The prior factor, turned so that the labels see few of its directions: the same prior, the same posterior."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from potential_systems import small_basis
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, SeenStatistics, SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.terms.base import Factor
from trepid.potentials.bayesian.whitening import from_whitened, seen_factors, to_whitened, turned_factors

HYPER = Hyperparameters()


def full(factors: list[Factor], size: int) -> FloatArray:
    """The factors as one matrix."""
    return from_whitened(np.eye(sum(f.u.shape[1] for f in factors)), factors, size)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_turning_keeps_the_prior_and_hides_the_rest_from_the_labels(share: float) -> None:
    layout = small_basis(2, n_pair=8, n_radial=4, l_max=2).layout
    factors = layout.prior_factors(HYPER)
    seen = np.flatnonzero(np.random.default_rng(0).uniform(size=layout.size) < share)
    reached, rest = turned_factors(factors, seen)
    u, v, w = (full(each, layout.size) for each in (factors, reached, rest))
    np.testing.assert_allclose(v @ v.T + w @ w.T, u @ u.T, atol=1e-13 * np.abs(u @ u.T).max())
    assert v.shape[1] + w.shape[1] == u.shape[1]
    assert v.shape[1] <= len(seen)
    assert (w[seen] == 0).all()
    t = full(seen_factors(factors, seen), len(seen))
    np.testing.assert_allclose(v[seen], t, atol=1e-13 * np.abs(u).max())


def test_whitening_is_the_product_with_the_factors() -> None:
    layout = small_basis(2, n_pair=6, n_radial=4, l_max=2).layout
    factors = layout.prior_factors(HYPER)
    u = np.zeros((layout.size, sum(f.u.shape[1] for f in factors)))
    start = 0
    for factor in factors:
        u[factor.columns, start : start + factor.u.shape[1]] = factor.u
        start += factor.u.shape[1]
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(3, len(u))), rng.normal(size=(start, 2))
    np.testing.assert_allclose(to_whitened(rows, factors), rows @ u, atol=1e-12)
    np.testing.assert_allclose(from_whitened(columns, factors, len(u)), u @ columns, atol=1e-12)


def test_coefficients_that_no_label_reaches_keep_their_conditional_prior() -> None:
    """A stiff crystal has few distances; an atom pushed from its site has others. Rasmussen and Williams, 2.23, 2.24."""
    basis = small_basis(1, n_pair=12, n_radial=6, l_max=2)
    features, statistics = FeatureBuilder(basis), SufficientStatistics(basis.layout.size)
    rng = np.random.default_rng(3)
    crystal = bulk(basis.species[0], "diamond", a=5.4, cubic=True)
    rows = []
    for _ in range(2):
        atoms = crystal.copy()
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        rows += [part for _, part in features.force_rows(atoms)]
    phi = np.concatenate(rows)
    labels = rng.normal(size=len(phi))
    statistics.kind(LabelKind.FORCES).add(phi, labels)
    pushed = crystal.copy()
    pushed.positions[0] += [0.4, 0.3, 0.5]
    test = features.force_rows_of(pushed, np.arange(8))

    seen = SeenStatistics.of(statistics)
    unseen = np.setdiff1d(np.arange(basis.layout.size), seen.indices)
    assert np.abs(test[:, unseen]).max() > 0.1 * np.abs(test).max()
    assert (phi[:, unseen] == 0).all()
    posterior = Posterior(basis, HYPER, statistics)
    assert posterior.n_seen <= len(seen.indices) < posterior.n_directions
    u = full(posterior.factors, basis.layout.size)
    prior = u @ u.T
    inverse = np.linalg.inv(phi @ prior @ phi.T + HYPER.noise.forces**2 * np.eye(len(phi)))
    cross = test @ prior @ phi.T
    mean, covariance = cross @ inverse @ labels, test @ prior @ test.T - cross @ inverse @ cross.T
    np.testing.assert_allclose(test @ posterior.mean, mean, atol=1e-6 * np.abs(mean).max())
    np.testing.assert_allclose(posterior.covariance(test), covariance, atol=1e-6 * np.abs(covariance).max())
    # Draws are S @ whitened: S S^T is the posterior covariance, the directions that no label reaches included.
    spread = test @ posterior.spread(np.eye(posterior.n_directions))
    np.testing.assert_allclose(spread @ spread.T, covariance, atol=1e-6 * np.abs(covariance).max())
