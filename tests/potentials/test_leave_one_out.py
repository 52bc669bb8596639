"""Leave-one-frame-out: against training anew without the frame; the error bars that follow from it, and what uses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from model_files import read_model, write_model
from potential_systems import shared
from trepid.config.learning import LARGEST_SHARE, LearningSettings
from trepid.data import labels_of
from trepid.potentials import Uncertainty
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.leave_one_out import FEWEST_LABELS, ErrorBar, LeftOut, error_bars, fit_error_bar
from trepid.potentials.bayesian.posterior import Bounds, Posterior
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters, Noise
from trepid.potentials.bayesian.terms.base import Parameter


def without_frame(model: BayesianForceField, frames: Sequence[Atoms]) -> Posterior:
    """Posterior of other frames with the hyperparameters and reference energies of a model."""
    statistics = SufficientStatistics(model.basis.layout.size)
    for atoms in frames:
        model.features.add(
            statistics,
            atoms,
            keys=model.keys,
            reference_energies=model.reference_energies,
            noise=model.hyperparameters.noise,
        )
    return Posterior(model.basis, model.hyperparameters, statistics)


# With fewer labels in a frame than coefficients, and with more.
@pytest.mark.parametrize(("n_frames", "l_max"), [(2, 4), (8, 4), (8, 0)])
def test_residuals_and_variances_are_those_of_training_without_the_frame(
    cui_crystal: list[Atoms], n_frames: int, l_max: int
) -> None:
    frames = cui_crystal[:n_frames]
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=10, l_max=l_max, n_threads=1
    ).fit(frames)
    assert (model.posterior.n_seen < 3 * len(frames[0])) is (l_max == 0)
    start = dict.fromkeys(LabelKind, 0)
    for k, left in enumerate(frames):
        posterior = without_frame(model, [atoms for i, atoms in enumerate(frames) if i != k])
        rows = model.features.frame_rows(left)
        labels = labels_of(left, model.keys)
        assert labels.forces is not None
        mean = model.mean.__class__(model.basis, _tables(model, posterior), n_threads=1).predict(left)
        got = _own(model.left_out[LabelKind.FORCES], start, LabelKind.FORCES, 3 * len(left))
        np.testing.assert_allclose(got.residual, (labels.forces - mean.forces).ravel(), atol=1e-7)
        deviation = np.concatenate([posterior.standard_deviation(part) for _, part in model.features.force_rows(left)])
        np.testing.assert_allclose(got.variance, shared(deviation**2, left, reach=4.0), rtol=1e-5)
        if labels.energy is not None:
            got = _own(model.left_out[LabelKind.ENERGY], start, LabelKind.ENERGY, 1)
            assert got.residual[0] == pytest.approx(labels.energy - mean.energy, abs=1e-5)
            assert np.sqrt(got.variance[0]) == pytest.approx(posterior.standard_deviation(rows.energy)[0], rel=1e-4)


def _tables(model: BayesianForceField, posterior: Posterior):  # type: ignore[no-untyped-def]
    from trepid.potentials.bayesian.spline_potential import make_tables

    return make_tables(model.basis, posterior.mean, reference_energies=model.reference_energies, live=None)


def _own(left_out: LeftOut, start: dict[LabelKind, int], kind: LabelKind, n: int) -> LeftOut:
    own = slice(start[kind], start[kind] + n)
    start[kind] += n
    return LeftOut(left_out.residual[own], left_out.variance[own], left_out.multiplier[own])


# ---------------------------------------------------------------------- error bars


@settings(max_examples=20)
@given(st.floats(0.002, 0.05), st.floats(1.3, 8.0), st.integers(0, 2**31))
def test_noise_and_scale_are_found_again(noise: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    variance = np.exp(rng.normal(2 * math.log(0.01), 2.0, 20000))
    multiplier = rng.uniform(1.0, 2.0, 20000)
    truth = ErrorBar(noise, scale)
    residual = truth.std(variance, multiplier) * rng.standard_normal(20000)
    found = fit_error_bar(LeftOut(residual, variance, multiplier), noise=2 * noise)

    def likelihood(bar: ErrorBar) -> float:
        std = bar.std(variance, multiplier)
        return float(np.mean(-np.log(std) - 0.5 * (residual / std) ** 2))

    assert likelihood(found) >= likelihood(truth) - 1e-9
    ratio = found.std(variance, multiplier) / truth.std(variance, multiplier)
    assert np.abs(np.log(ratio)).mean() < 0.1
    assert found.scale == pytest.approx(scale, rel=0.1)


def test_the_scale_is_never_below_one() -> None:
    rng = np.random.default_rng(0)
    variance = np.full(500, 1e-4)
    found = fit_error_bar(LeftOut(1e-3 * rng.standard_normal(500), variance, np.ones(500)), noise=1e-2)
    assert found.scale == 1.0


def test_kinds_with_few_labels_take_the_scale_of_the_forces() -> None:
    rng = np.random.default_rng(0)
    evidence = Noise(energy=0.01, forces=0.02, stress=1e-4)
    forces = LeftOut(0.1 * rng.standard_normal(600), np.full(600, 0.03**2), np.ones(600))
    few = LeftOut(np.ones(FEWEST_LABELS - 1), np.ones(FEWEST_LABELS - 1), np.ones(FEWEST_LABELS - 1))
    bars = error_bars({LabelKind.FORCES: forces, LabelKind.ENERGY: few}, evidence)
    scale = bars[LabelKind.FORCES].scale
    assert scale > 1.0
    assert bars[LabelKind.ENERGY] == ErrorBar(noise=0.01, scale=scale)
    assert bars[LabelKind.STRESS] == ErrorBar(noise=1e-4, scale=scale)
    assert set(error_bars({}, evidence).values()) == {ErrorBar(n, 1.0) for n in (0.01, 0.02, 1e-4)}


def test_energies_that_ask_for_no_scale_take_that_of_the_forces() -> None:
    """Their noise is then the smaller."""
    rng = np.random.default_rng(1)
    evidence = Noise(energy=0.01, forces=0.02, stress=1e-4)
    forces = LeftOut(0.1 * rng.standard_normal(600), np.full(600, 0.03**2), np.ones(600))
    # As large where the posterior is sure as where it is not.
    energies = LeftOut(0.01 * rng.standard_normal(200), np.repeat([1e-5, 0.004], 100) ** 2, np.ones(200))
    alone = fit_error_bar(energies, noise=0.01)
    bars = error_bars({LabelKind.FORCES: forces, LabelKind.ENERGY: energies}, evidence)
    assert alone.scale < 2 < bars[LabelKind.FORCES].scale
    assert bars[LabelKind.ENERGY].scale == pytest.approx(bars[LabelKind.FORCES].scale)
    assert bars[LabelKind.ENERGY].noise < alone.noise


def test_every_uncertainty_is_multiplied(small_cui_model: BayesianForceField, cui_crystal: list[Atoms]) -> None:
    model, fresh = small_cui_model, cui_crystal[12]
    bars = model.error_bars
    assert bars[LabelKind.FORCES].scale > 1.0
    exact = model.predict(fresh, uncertainty=Uncertainty.EXACT)
    rows = model.features.frame_rows(fresh)
    forces = np.concatenate([model.posterior.standard_deviation(part) for _, part in model.features.force_rows(fresh)])
    assert exact.forces_uncertainty is not None
    scaled = bars[LabelKind.FORCES].scale * forces
    expected = np.sqrt(shared(scaled**2, fresh, reach=model.basis.triplet_cutoff))
    np.testing.assert_allclose(exact.forces_uncertainty.ravel(), expected, rtol=1e-12)
    energy = model.posterior.standard_deviation(rows.energy)[0]
    assert exact.energy_uncertainty == pytest.approx(bars[LabelKind.ENERGY].scale * energy, rel=1e-12)
    # The draws of `sample` scatter as the posterior says, without the share of the neighbours.
    draws = np.stack([one.predict(fresh).forces for one in model.sample(400, seed=0)])
    ratio = draws.std(axis=0, ddof=1).ravel() / scaled
    assert float(np.median(ratio)) == pytest.approx(1.0, rel=0.05)


def test_bars_survive_the_file_and_old_files_have_scale_one(
    small_cui_model: BayesianForceField, tmp_path: Path
) -> None:
    path = tmp_path / "model.trepid"
    small_cui_model.save(path)
    loaded = BayesianForceField.load(path)
    assert loaded.error_bars == small_cui_model.error_bars
    assert loaded.typical_force_error == small_cui_model.typical_force_error
    assert loaded.typical_force == small_cui_model.typical_force
    assert loaded.noise == small_cui_model.noise

    tensors, settings_kept = read_model(path)
    older = {name: array for name, array in tensors.items() if not name.startswith("left_out.")}
    del settings_kept["force_sum"]
    write_model(tmp_path / "old.trepid", older, settings_kept)
    old = BayesianForceField.load(tmp_path / "old.trepid")
    assert {bar.scale for bar in old.error_bars.values()} == {1.0}
    assert old.noise == old.hyperparameters.noise
    assert old.typical_force_error == old.noise.forces
    assert old.typical_force == math.inf


def test_new_frames_count_as_they_were_predicted_before(cui_crystal: list[Atoms], cui_hops: list[Atoms]) -> None:
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=5, l_max=2, n_threads=1
    ).fit(cui_crystal[:4])
    before, known = model.predict(cui_hops[0]), len(model.left_out[LabelKind.FORCES])
    model.update(cui_hops[:1])
    new = model.left_out[LabelKind.FORCES].residual[known:]
    labels = labels_of(cui_hops[0], model.keys)
    assert labels.forces is not None
    np.testing.assert_allclose(new, (labels.forces - before.forces).ravel(), atol=1e-9)
    # With all frames given, an optimisation leaves each of them out again.
    model.optimize([*cui_crystal[:4], cui_hops[0]])
    assert len(model.left_out[LabelKind.FORCES]) == known + new.size
    assert not np.allclose(model.left_out[LabelKind.FORCES].residual[known:], new)


def test_one_frame_has_the_bars_of_the_evidence(cui_crystal: list[Atoms]) -> None:
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=8, n_radial=4, l_max=1, n_threads=1
    ).fit(cui_crystal[:1])
    assert model.left_out == {}
    assert {bar.scale for bar in model.error_bars.values()} == {1.0}
    assert model.typical_force_error == model.hyperparameters.noise.forces


# ---------------------------------------------------------------------- prior of the length scale


@given(st.floats(0.3, 5.0))
def test_slope_of_the_log_normal_prior(value: float) -> None:
    prior = Parameter("pair_length", 0.1, 10.0, mode=1.0, log_std=0.35)
    h = 1e-5
    slope = (prior.log_prior(value * math.exp(h)) - prior.log_prior(value * math.exp(-h))) / (2 * h)
    assert prior.log_prior_slope(value) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    assert Parameter("flat", 0.1, 10.0).log_prior(value) == Parameter("flat", 0.1, 10.0).log_prior_slope(value) == 0.0


def test_parameters_on_a_bound_are_named() -> None:
    hyper = Hyperparameters(pair_length=0.25, noise=Noise(energy=0.01, forces=0.02, stress=1e-4))
    assert any("pair_length = 0.25 (range 0.25 to 4)" in text for text in Bounds().hit(hyper, kinds=[LabelKind.FORCES]))
    inside = Hyperparameters(pair_length=1.0, noise=Noise(energy=0.01, forces=0.02, stress=1e-4))
    assert not [text for text in Bounds().hit(inside, kinds=[LabelKind.FORCES]) if "pair_length" in text]


# ---------------------------------------------------------------------- thresholds


def test_a_threshold_in_multiples_is_capped_as_a_share_of_the_forces() -> None:
    chosen = LearningSettings(threshold_noise=5.0)
    assert chosen.threshold(0.01, 2.0) == pytest.approx(0.05)
    assert chosen.threshold(0.2, 2.0) == pytest.approx(LARGEST_SHARE * 2.0)
    assert chosen.threshold(0.01, math.inf) == pytest.approx(0.05)
    fixed = LearningSettings(threshold_noise=None, threshold_eV_per_A=0.3)
    assert fixed.threshold(0.01, 0.1) == 0.3
