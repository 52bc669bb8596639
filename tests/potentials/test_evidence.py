"""The search for the maximum of evidence times prior: where it ends, what it costs, and what it promises beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import minimize

from potential_systems import molecule, small_basis
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.evidence import TOLERANCE_NATS, Curvature, optimize_hyperparameters
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Bounds, Posterior, hyperparameter, with_hyperparameters
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
PRIOR = [parameter.name for parameter in PARAMETERS]


def score(posterior: Posterior, names: list[str], weight: float = 1.0) -> float:
    """log(evidence x prior^weight)."""
    limits = Bounds()
    prior = sum(limits.parameters[name].log_prior(hyperparameter(posterior.hyper, name)) for name in names)
    return posterior.log_evidence + weight * prior


def drawn_from_the_prior(basis: Basis, hyper: Hyperparameters) -> SufficientStatistics:
    """Statistics of forces that a potential drawn from the prior would have, with noise."""
    rng = np.random.default_rng(7)
    coefficients = np.zeros(basis.layout.size)
    for factor in basis.layout.prior_factors(hyper):
        coefficients[factor.columns] = factor.u @ rng.normal(size=factor.u.shape[1])
    features, statistics = FeatureBuilder(basis), SufficientStatistics(basis.layout.size)
    for seed in range(25):
        rows = np.concatenate([part for _, part in features.force_rows(molecule(basis.species, seed=seed))])
        labels = rows @ coefficients + hyper.noise.forces * rng.normal(size=len(rows))
        statistics.kind(LabelKind.FORCES).add(rows, labels)
        statistics.n_frames += 1
    return statistics


def test_optimisation_climbs_to_a_stationary_point_and_finds_the_noise() -> None:
    basis = small_basis(1, n_radial=4, l_max=2)
    truth = replace(HYPER, noise=Noise(energy=0.05, forces=0.03, stress=0.01))
    statistics = drawn_from_the_prior(basis, truth)
    start = Hyperparameters(noise=Noise(energy=0.05, forces=0.3, stress=0.01))
    before = Posterior(basis, start, statistics).log_evidence
    best = optimize_hyperparameters(basis, start, statistics).posterior
    assert best.log_evidence > before + 10
    assert best.log_evidence >= Posterior(basis, truth, statistics).log_evidence
    assert best.hyper.noise.forces == pytest.approx(0.03, rel=0.15)
    limits = Bounds()
    for name, slope in best.log_evidence_gradient().items():
        value = getattr(best.hyper.noise, name.removeprefix("noise_"), None) or getattr(best.hyper, name)
        low, high = limits.of(name)
        if low * 1.001 < value < high / 1.001:
            assert abs(slope + limits.parameters[name].log_prior_slope(value)) < 0.5, name


def test_hyperparameters_without_data_stay() -> None:
    basis = small_basis(1, n_radial=4, l_max=1)
    start = replace(HYPER, offset_amplitude=0.7).with_noise(large_force=1.7)
    best = optimize_hyperparameters(basis, start, drawn_from_the_prior(basis, HYPER), max_iterations=3).posterior
    assert best.hyper.noise.energy == start.noise.energy
    assert best.hyper.noise.stress == start.noise.stress
    assert best.hyper.offset_amplitude == 0.7
    assert best.hyper.noise.large_force == 1.7
    assert best.hyper.noise.forces != start.noise.forces


def test_bounds_hold() -> None:
    basis = small_basis(1, n_radial=4, l_max=1)
    bounds = Bounds(pair_length=(0.5, 0.6), noise_forces=(0.5, 1.0))
    best = optimize_hyperparameters(basis, HYPER, drawn_from_the_prior(basis, HYPER), bounds=bounds).posterior
    assert 0.5 * 0.999 < best.hyper.pair_length < 0.6 * 1.001
    assert best.hyper.noise.forces == pytest.approx(0.5)


@pytest.fixture(scope="module")
def model(cui_crystal: list[Atoms]) -> BayesianForceField:
    return BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=5, l_max=2, live_rank=0, n_threads=1
    ).fit(cui_crystal[:6])


@pytest.mark.parametrize("from_the_maximum", [True, False])
@pytest.mark.parametrize("weight", [1.0, 30.0])
def test_no_lower_than_a_general_search(model: BayesianForceField, from_the_maximum: bool, weight: float) -> None:
    names = [*PRIOR, "noise_energy", "noise_forces", "noise_stress"]
    limits = Bounds()

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        posterior = Posterior(
            model.basis, with_hyperparameters(model.hyperparameters, names, np.exp(x)), model.statistics
        )
        slopes = posterior.log_evidence_gradient()
        for name, value in zip(names, np.exp(x), strict=True):
            slopes[name] += weight * limits.parameters[name].log_prior_slope(value)
        return -score(posterior, names, weight), -np.array([slopes[name] for name in names])

    best = optimize_hyperparameters(model.basis, Hyperparameters(), model.statistics, prior_weight=weight).posterior
    start = best.hyper if from_the_maximum else Hyperparameters()
    other = minimize(
        objective,
        np.log([hyperparameter(start, name) for name in names]),
        jac=True,
        method="L-BFGS-B",
        bounds=np.log([limits.of(name) for name in names]),
        options={"ftol": 1e-12, "gtol": 1e-3, "maxiter": 200},
    )
    assert score(best, names, weight) > -other.fun - 10 * TOLERANCE_NATS


def test_a_search_that_begins_where_another_ended_is_short_and_ends_as_high(
    model: BayesianForceField, cui_crystal: list[Atoms]
) -> None:
    """After two labels more, and as high as a search from scratch."""
    more = SufficientStatistics(model.basis.layout.size)
    more.merge(model.statistics)
    for atoms in cui_crystal[6:8]:
        model.features.add(
            more,
            atoms,
            keys=model.keys,
            reference_energies=model.reference_energies,
            noise=model.hyperparameters.noise,
        )
    before = optimize_hyperparameters(model.basis, model.hyperparameters, model.statistics)
    warm = optimize_hyperparameters(model.basis, before.posterior.hyper, more, curvature=before.curvature)
    cold = optimize_hyperparameters(model.basis, Hyperparameters(noise=model.hyperparameters.noise), more)
    assert 2 * warm.n_evaluations < cold.n_evaluations
    names = list(warm.curvature.names)
    assert score(warm.posterior, names) > score(cold.posterior, names) - 0.02


def test_a_curvature_of_other_hyperparameters_is_not_used(model: BayesianForceField) -> None:
    """Such as of a time without labels of stress."""
    other = Curvature(tuple(PRIOR), 1e9 * np.eye(len(PRIOR)))
    start = Hyperparameters()
    without = optimize_hyperparameters(model.basis, start, model.statistics, max_iterations=2)
    found = optimize_hyperparameters(model.basis, start, model.statistics, curvature=other, max_iterations=2)
    assert found.posterior.hyper == without.posterior.hyper


def test_the_expected_gain_is_what_a_search_then_gains(cui_crystal: list[Atoms], cui_hops: list[Atoms]) -> None:
    """Nearly nothing right after a search, little for more of the same, much for frames of another kind."""
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=5, l_max=2, live_rank=0, n_threads=1
    ).fit(cui_crystal[:8])
    assert model.optimize().expected_gain() < TOLERANCE_NATS
    gains = []
    for frames in ([cui_crystal[8]], cui_hops[:4]):
        model.update(frames)
        promised = model.expected_gain()
        assert model.curvature is not None
        names = list(model.curvature.names)
        before = score(model.posterior, names)
        model.optimize()
        gains.append(score(model.posterior, names) - before)
        assert 0.3 * gains[-1] - 0.1 < promised < 3 * gains[-1] + 0.1
    assert gains[1] > 10 * gains[0]
