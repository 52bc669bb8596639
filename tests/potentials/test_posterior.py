"""Posterior, evidence and its gradient against textbook formulas written out densely, in weight and in function space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from potential_systems import labelled, molecule, small_basis, triclinic
from trepid.data import LabelKeys
from trepid.errors import NumericsError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.evidence import optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms import PARAMETERS, Hyperparameters

HYPER = Hyperparameters(
    pair_amplitude=1.1,
    pair_length=0.7,
    triplet_amplitude=0.3,
    triplet_length=0.9,
    angular_length=0.7,
    noise=Noise(energy=0.05, forces=0.2, stress=0.01),
)
NAMES = [parameter.name for parameter in PARAMETERS]
NOISES = ["noise_energy", "noise_forces", "noise_stress"]


class Dense:
    """All labels of a few frames with their rows and noises, one under the other, and the prior as a full matrix."""

    def __init__(self, basis: Basis, hyper: Hyperparameters) -> None:
        features = FeatureBuilder(basis)
        self.basis, self.hyper = basis, hyper
        self.statistics = SufficientStatistics(basis.layout.size)
        rng = np.random.default_rng(0)
        rows, labels, noise = [], [], []
        for k, atoms in enumerate([triclinic(seed=1, n=3), triclinic(seed=2, n=4), molecule(seed=3, n=3)]):
            frame = features.frame_rows(atoms)
            forces = np.concatenate([part for _, part in features.force_rows(atoms)])
            parts = [(LabelKind.ENERGY, frame.energy), (LabelKind.FORCES, forces)]
            parts += [] if frame.stress is None else [(LabelKind.STRESS, frame.stress)]
            for kind, phi in parts:
                y, multiplier = rng.normal(size=len(phi)), rng.uniform(1, 2, size=len(phi)) if k else np.ones(len(phi))
                self.statistics.kind(kind).add(phi, y, multiplier)
                rows.append(phi)
                labels.append(y)
                noise.append(kind.noise(hyper.noise) * multiplier)
            self.statistics.n_frames += 1
        self.phi, self.y, self.noise = np.concatenate(rows), np.concatenate(labels), np.concatenate(noise)
        self.prior = np.zeros((basis.layout.size, basis.layout.size))
        for factor in basis.layout.prior_factors(hyper):
            self.prior[factor.columns, factor.columns] += factor.u @ factor.u.T

    @property
    def label_covariance(self) -> FloatArray:
        return self.phi @ self.prior @ self.phi.T + np.diag(self.noise**2)


@pytest.fixture(scope="module")
def dense() -> Dense:
    return Dense(small_basis(2, n_pair=6, n_radial=4, l_max=2), HYPER)


@pytest.fixture(scope="module")
def posterior(dense: Dense) -> Posterior:
    return Posterior(dense.basis, HYPER, dense.statistics)


@pytest.fixture(scope="module")
def test_rows(dense: Dense) -> FloatArray:
    features, atoms = FeatureBuilder(dense.basis), triclinic(seed=9, n=4)
    frame = features.frame_rows(atoms)
    assert frame.stress is not None
    return np.concatenate([frame.energy, *(part for _, part in features.force_rows(atoms)), frame.stress])


def test_function_space(dense: Dense, posterior: Posterior, test_rows: FloatArray) -> None:
    """Rasmussen and Williams, eqs. 2.23 and 2.24: mean k K^-1 y, covariance k** - k K^-1 k^T."""
    cross = test_rows @ dense.prior @ dense.phi.T
    inverse = np.linalg.inv(dense.label_covariance)
    mean = cross @ inverse @ dense.y
    covariance = test_rows @ dense.prior @ test_rows.T - cross @ inverse @ cross.T
    np.testing.assert_allclose(test_rows @ posterior.mean, mean, atol=1e-7 * np.abs(mean).max())
    np.testing.assert_allclose(posterior.covariance(test_rows), covariance, atol=1e-7 * np.abs(covariance).max())
    np.testing.assert_allclose(posterior.standard_deviation(test_rows) ** 2, np.diagonal(covariance), rtol=1e-5)


def test_weight_space(dense: Dense, test_rows: FloatArray) -> None:
    """Eq. 2.8: A = C^-1 + Phi^T N^-1 Phi. C is inverted here, so it must be well conditioned: short length scales."""
    hyper = replace(HYPER, pair_length=0.3, triplet_length=0.4, angular_length=0.4)
    other = Dense(dense.basis, hyper)
    posterior = Posterior(dense.basis, hyper, other.statistics)
    weighted = other.phi / other.noise[:, None]
    covariance = np.linalg.inv(np.linalg.inv(other.prior) + weighted.T @ weighted)
    mean = covariance @ weighted.T @ (other.y / other.noise)
    np.testing.assert_allclose(posterior.mean, mean, atol=1e-6 * np.abs(mean).max())
    expected = test_rows @ covariance @ test_rows.T
    np.testing.assert_allclose(posterior.covariance(test_rows), expected, atol=1e-6 * np.abs(expected).max())


def test_evidence_is_the_density_of_the_labels(dense: Dense, posterior: Posterior) -> None:
    expected = multivariate_normal.logpdf(dense.y, cov=dense.label_covariance)
    assert posterior.log_evidence == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES + NOISES)
def test_evidence_gradient(dense: Dense, posterior: Posterior, name: str) -> None:
    h = 1e-4

    def evidence(shift: float) -> float:
        if name in NAMES:
            hyper = replace(HYPER, **{name: getattr(HYPER, name) * np.exp(shift)})
        else:
            kind = name.removeprefix("noise_")
            hyper = HYPER.with_noise(**{kind: getattr(HYPER.noise, kind) * np.exp(shift)})
        return Posterior(dense.basis, hyper, dense.statistics).log_evidence

    numeric = (evidence(-2 * h) - 8 * evidence(-h) + 8 * evidence(h) - evidence(2 * h)) / (12 * h)
    gradient = posterior.log_evidence_gradient()
    assert set(gradient) == set(NAMES + NOISES)
    assert gradient[name] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_without_data_the_posterior_is_the_prior(dense: Dense, test_rows: FloatArray) -> None:
    empty = Posterior(dense.basis, HYPER, SufficientStatistics(dense.basis.layout.size))
    expected = test_rows @ dense.prior @ test_rows.T
    np.testing.assert_allclose(empty.covariance(test_rows), expected, atol=1e-10 * np.abs(expected).max())
    assert (empty.mean == 0).all()
    assert empty.log_evidence == 0


def test_data_reduce_the_uncertainty(dense: Dense, posterior: Posterior, test_rows: FloatArray) -> None:
    empty = Posterior(dense.basis, HYPER, SufficientStatistics(dense.basis.layout.size))
    assert (posterior.standard_deviation(test_rows) < empty.standard_deviation(test_rows)).all()


def test_samples_have_mean_and_covariance_of_the_posterior(posterior: Posterior, test_rows: FloatArray) -> None:
    n = 20_000
    drawn = posterior.sample(n, np.random.default_rng(1)) @ test_rows.T
    std = posterior.standard_deviation(test_rows)
    standard_error = std / np.sqrt(n)
    assert (np.abs(drawn.mean(axis=0) - test_rows @ posterior.mean) < 5 * standard_error).all()
    # Every pair of labels: the standard error of a sample covariance is at most sqrt(2 / n) std std'.
    difference = np.cov(drawn.T) - posterior.covariance(test_rows)
    assert np.abs(difference / np.outer(std, std)).max() < 6 * np.sqrt(2 / n)


def test_samples_repeat_with_their_seed(posterior: Posterior) -> None:
    first, again, other = (posterior.sample(2, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


# Out of floating-point range


def test_statistics_that_are_not_finite_are_refused(dense: Dense) -> None:
    broken = SufficientStatistics(dense.basis.layout.size)
    broken.merge(dense.statistics)
    broken.kind(LabelKind.FORCES).gram[5, 5] = np.nan
    with pytest.raises(NumericsError, match="not finite"):
        Posterior(dense.basis, HYPER, broken)


def test_statistics_of_negative_weight_are_refused(dense: Dense) -> None:
    """They have no posterior."""
    broken = SufficientStatistics(dense.basis.layout.size)
    features = FeatureBuilder(dense.basis)
    features.add(broken, labelled(triclinic()), keys=LabelKeys(), reference_energies=np.zeros(2), noise=HYPER.noise)
    for statistics in broken.kinds.values():
        np.negative(statistics.gram, out=statistics.gram)
        np.negative(statistics.projection, out=statistics.projection)
        statistics.squared *= -1
    with pytest.raises(NumericsError, match="not positive definite .* forces 0.2"):
        Posterior(dense.basis, HYPER, broken)
    with pytest.raises(NumericsError, match="not finite at the hyperparameters"):
        optimize_hyperparameters(dense.basis, HYPER, broken)
