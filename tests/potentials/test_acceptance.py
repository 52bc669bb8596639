from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from scipy.stats import norm

from form_truths import copper, quadruplet_truth
from potential_systems import labelled, triclinic
from trepid.data import LabelKeys
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.acceptance import LARGEST_DOUBT, LEAST_GAIN, Figures, Judge, refusal
from trepid.potentials.bayesian.compositions import least_squares_energies
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.leave_one_out import ErrorBar, LeftOut, error_bars, joined, noise_factor, predict_labels
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.sizes import Sizes
from trepid.potentials.bayesian.statistics import LabelKind
from trepid.potentials.bayesian.terms import Hyperparameters

KEYS = LabelKeys()
SMALL = {"pair_cutoff": 4.2, "triplet_cutoff": 4.0, "n_pair": 8, "n_radial": 6, "l_max": 3}
BEFORE = Figures(100.0, 0.12, 0.10, 1.5, 0.20, np.array([0.1, 0.2, 0.4]))


def judge(frames: list[Atoms], sizes: Sizes, species: list[str]) -> Judge:
    zero = least_squares_energies(FeatureBuilder(sizes.basis(species)), frames, range(len(frames)), KEYS)
    return Judge(frames, keys=KEYS, reference_energies=zero)


@pytest.mark.parametrize(
    ("change", "growth", "reason"),
    [
        ({}, 0.0, "left-out frame falls by less than 3 %"),
        ({"left_out_typical": 0.096}, 0.0, ""),
        ({"left_out_typical": 0.096}, 0.5, "left-out frame falls by less than 5 %"),
        ({"left_out_typical": 0.05, "left_out_rmse": 0.13}, 0.5, "all left-out frames together rises"),
        ({"left_out_typical": 0.05, "hot_rmse": 0.21}, 0.5, "largest forces"),
        (
            {"left_out_typical": 0.05, "outside_std": 1.6 * BEFORE.outside_std},
            0.5,
            "perturbed environments grows 1.6 times",
        ),
        ({"left_out_typical": 0.05, "outside_std": np.array([0.4, 0.2, 0.2])}, 0.5, ""),
    ],
)
def test_one_rule_refuses(change: dict[str, float], growth: float, reason: str) -> None:
    said = refusal(BEFORE, replace(BEFORE, **change), growth=growth)
    assert reason in said
    assert bool(reason) == bool(said)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"left_out_score": 1.61}, "gains 0.11; 0.13 is asked"),
        ({"left_out_score": 1.64}, ""),
        # One frame that no other resembles, with a bar that says so.
        ({"left_out_score": 1.64, "left_out_rmse": 0.15, "left_out_typical": 0.09}, ""),
        ({"left_out_score": 1.64, "hot_rmse": 0.21}, "largest forces"),
        ({"left_out_score": 1.64, "outside_std": 1.6 * BEFORE.outside_std}, "perturbed environments"),
    ],
)
def test_the_score_decides_in_place_of_the_errors_where_a_change_asks_for_it(
    change: dict[str, float], reason: str
) -> None:
    said = refusal(BEFORE, replace(BEFORE, **change), growth=0.5, least_fall=0.12, by_score=True)
    assert reason in said
    assert bool(reason) == bool(said)


def test_errors_that_shrink_with_their_bars_gain_the_logarithm_in_score() -> None:
    rng = np.random.default_rng(3)
    before = LeftOut(rng.normal(size=200), rng.uniform(0.5, 2, size=200), rng.uniform(1, 2, size=200))
    after = LeftOut(0.88 * before.residual, 0.88**2 * before.variance, 0.88 * before.multiplier)
    bar = ErrorBar(noise=0.3, scale=1.7)
    assert bar.log_score(after) - bar.log_score(before) == pytest.approx(-np.log(0.88))
    density = norm(scale=bar.std(before.variance, before.multiplier)).logpdf(before.residual)
    assert bar.log_score(before) == pytest.approx(density.mean())


def test_errors_are_not_computed_below_the_least_evidence() -> None:
    assert f"{LEAST_GAIN:g}" in refusal(BEFORE, Figures.of_evidence(110.0), growth=0.0)


def test_atoms_without_a_variance_say_nothing_about_doubt() -> None:
    after = replace(BEFORE, outside_std=np.array([0.0, 0.8, 0.4]))
    assert after.doubt(BEFORE) == pytest.approx(np.sqrt(0.8 / 0.2 * 1.0))
    assert Figures.of_evidence(1.0).doubt(BEFORE) == 1.0


def test_figures_are_those_of_models_without_the_frames() -> None:
    frames = [labelled(triclinic(seed=k)) for k in range(6)]
    sizes = Sizes(pair_cutoff=4.6, triplet_cutoff=3.9, n_pair=7, n_radial=5, l_max=3)
    species = sorted(set(frames[0].get_chemical_symbols()))
    basis, own = sizes.basis(species), judge(frames, sizes, species)
    figures, hyper = own.figures(basis, Hyperparameters(), iterations=5)
    strength = [np.mean(a.arrays["REF_forces"] ** 2) for a in frames]
    hot = np.argsort(strength)[-2:]
    features, zero = FeatureBuilder(basis), own._reference_energies

    def posterior(chosen: list[int]) -> Posterior:
        sums = features.statistics(frames, chosen, keys=KEYS, reference_energies=zero, noise=hyper.noise)
        return Posterior(basis, hyper, sums)

    def residuals(model: Posterior, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = features.label_rows(frames[k], keys=KEYS, reference_energies=zero, noise=hyper.noise)
        forces = [part for part in rows if part.kind is LabelKind.FORCES]
        return tuple(  # type: ignore[return-value]
            np.concatenate(parts)
            for parts in zip(*((p.residuals - p.rows @ model.mean, p.multipliers) for p in forces), strict=True)
        )

    others = [posterior([j for j in range(6) if j != k]) for k in range(6)]
    left_out = [residuals(model, k)[0] for k, model in enumerate(others)]
    assert figures.left_out_rmse == pytest.approx(np.sqrt(np.mean(np.concatenate(left_out) ** 2)), rel=1e-6)
    typical = np.prod([np.sqrt(np.mean(own**2)) for own in left_out]) ** (1 / 6)
    assert figures.left_out_typical == pytest.approx(typical, rel=1e-6)
    rows = [features.label_rows(a, keys=KEYS, reference_energies=zero, noise=hyper.noise) for a in frames]
    without = joined(*(predict_labels(model, own) for model, own in zip(others, rows, strict=True)))
    bar = error_bars(without, hyper.noise)[LabelKind.FORCES]
    assert figures.left_out_score == pytest.approx(bar.log_score(without[LabelKind.FORCES]), rel=1e-5)
    calm = posterior([k for k in range(6) if k not in hot])
    far = np.concatenate([np.divide(*residuals(calm, int(k))) for k in hot])
    assert figures.hot_rmse == pytest.approx(np.sqrt(np.mean(far**2)), rel=1e-6)


def test_a_form_that_frames_do_not_determine_outside_says_so() -> None:
    frames = copper(4.5)
    sizes = Sizes(triplet_cutoff=3.4, n_radial=5, l_max=2)
    own, basis = judge(frames, sizes, ["Cu"]), sizes.basis(["Cu"])
    first, hyper = own.figures(basis, Hyperparameters(), iterations=20)
    vague = replace(hyper, triplet_amplitude=1e3 * hyper.triplet_amplitude, triplet_length=0.3)
    again, _ = own.figures(basis, vague, iterations=0)
    assert first.doubt(first) == pytest.approx(1.0)
    assert again.doubt(first) > 2 * LARGEST_DOUBT


def test_a_fit_takes_quadruplets_where_they_pay_and_only_there() -> None:
    frames, _ = quadruplet_truth(16)
    model = BayesianForceField(["Si"], **SMALL).fit(frames)
    assert model.basis.channels is not None
    assert model.basis.channels.n == 3
    without = BayesianForceField(["Si"], **SMALL, n_channels=0).fit(frames)
    assert model.left_out[LabelKind.FORCES].rms < 0.6 * without.left_out[LabelKind.FORCES].rms

    pairs = copper(4.5)
    asked, plain = (
        BayesianForceField(["Cu"], triplet_cutoff=3.4, n_radial=5, l_max=2, n_channels=n) for n in (None, 0)
    )
    assert asked.fit(pairs).basis.channels is None
    assert np.array_equal(asked.posterior.mean, plain.fit(pairs).posterior.mean)
    # What one set of frames refused, another may ask for, and the other way round.
    few = BayesianForceField(["Si"], **SMALL).fit(frames[:5])
    assert few.basis.channels is None
    assert few.fit(frames).basis.channels is not None
    assert few.fit(frames[:5]).basis.channels is None


def test_labels_weigh_less_with_quadruplets_also_after_reading_the_model_back(tmp_path: Path) -> None:
    frames, _ = quadruplet_truth(16)
    model = BayesianForceField(["Si"], **SMALL, n_channels=3).fit(frames[:14])
    assert model.noise_factor > 1
    assert model.posterior.hyper.noise.forces == pytest.approx(model.noise_factor * model.hyperparameters.noise.forces)
    scale = model.error_bars[LabelKind.FORCES].scale
    assert scale >= 1
    assert noise_factor(model.basis, 4.0) == 4.0
    assert noise_factor(replace(model.basis, channels=None), 4.0) == 1.0
    model.save(tmp_path / "si.trepid")
    read = BayesianForceField.load(tmp_path / "si.trepid")
    assert read.noise_factor == model.noise_factor
    for each in (model, read):
        each.update(frames[14:])
    assert np.array_equal(read.posterior.mean, model.posterior.mean)
    assert read.expected_gain() == pytest.approx(model.expected_gain())
