"""Accuracy and calibration on real labels: GFN1-xTB, PBE and Stillinger-Weber."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.data import read_frames
from trepid.evaluation import Evaluation, evaluate
from trepid.potentials.bayesian import BayesianForceField


@pytest.fixture(scope="module")
def in_distribution(cui_model: BayesianForceField, cui_crystal: list[Atoms]) -> Evaluation:
    assert len(cui_crystal) == 30
    return evaluate(cui_model, cui_crystal[20:])


@pytest.fixture(scope="module")
def on_hops(cui_model: BayesianForceField, cui_hops: list[Atoms]) -> Evaluation:
    """Frames of an event that the model was never trained on."""
    assert len(cui_hops) == 16
    return evaluate(cui_model, cui_hops)


def test_accuracy_after_twenty_labels_of_the_crystal(in_distribution: Evaluation) -> None:
    assert in_distribution.forces_mae < 0.015
    assert in_distribution.energy_mae_per_atom is not None
    assert in_distribution.energy_mae_per_atom < 1e-3
    assert in_distribution.stress_rmse is not None
    assert in_distribution.stress_rmse < 1e-3


def test_intervals_cover_fresh_frames(in_distribution: Evaluation) -> None:
    """Model and noise together, 95 %."""
    assert in_distribution.forces_coverage_95 is not None
    assert 0.90 <= in_distribution.forces_coverage_95 <= 0.99


def test_uncertainty_correlates_with_the_errors_of_an_event(on_hops: Evaluation) -> None:
    assert on_hops.forces_uncertainty_spearman is not None
    assert on_hops.forces_uncertainty_spearman >= 0.7


def test_live_uncertainty_separates_an_event_from_thermal_frames(
    cui_model: BayesianForceField, cui_crystal: list[Atoms], cui_hops: list[Atoms]
) -> None:
    """The live uncertainty of a frame separates a displaced Cu from a thermal crystal, and is largest around it."""
    calm = [cui_model.predict(a, uncertainty="live").frame_uncertainty for a in cui_crystal[20:]]
    # Below half the way to the empty site a Cu may still be within what it does thermally.
    events = [cui_model.predict(a, uncertainty="live").frame_uncertainty for a in cui_hops]
    assert np.median(events) > 10 * np.median(calm)
    assert np.mean(np.array(events) > max(calm)) > 0.75


def test_sixteen_directions_capture_the_event(cui_model: BayesianForceField, cui_hops: list[Atoms]) -> None:
    live = [cui_model.predict(a, uncertainty="live").forces_uncertainty for a in cui_hops]
    exact = [cui_model.predict(a).forces_uncertainty for a in cui_hops]
    assert np.sqrt(np.sum(np.square(live)) / np.sum(np.square(exact))) >= 0.9


def test_silicon(silicon_frames: list[Atoms]) -> None:
    """A truth of pairs and triplets, hot frames among the training set."""
    model = BayesianForceField(["Si"], pair_cutoff=4.5, triplet_cutoff=4.5, n_threads=1)
    model.fit(silicon_frames[:5] + silicon_frames[10:15])
    cold, hot = evaluate(model, silicon_frames[5:10]), evaluate(model, silicon_frames[15:])
    assert cold.forces_mae < 0.002
    assert hot.forces_mae < 0.008
    assert hot.forces_mae > cold.forces_mae


def test_three_species(data_dir: Path) -> None:
    """Small cell, small basis: AgGaSe2."""
    frames = read_frames(data_dir / "aggase2_gfn1_16.extxyz")
    model = BayesianForceField(
        ["Ag", "Ga", "Se"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=12, n_radial=5, l_max=2, n_threads=1
    ).fit(frames[:25])
    result = evaluate(model, frames[25:])
    assert result.forces_rmse < 0.15 * result.forces_rms


@pytest.mark.slow
def test_stanene(stanene_frames: list[Atoms]) -> None:
    """A sheet with vacuum, few labels from PBE."""
    model = BayesianForceField(["Sn"], pair_cutoff=7.0, triplet_cutoff=5.0, n_threads=1).fit(stanene_frames[:11])
    result = evaluate(model, stanene_frames[11:])
    assert result.forces_rmse < 0.3 * result.forces_rms


@pytest.mark.slow
def test_frames_with_large_forces_do_not_impair_the_others(cui_frames: list[Atoms], cui_crystal: list[Atoms]) -> None:
    violent = [a for a in cui_frames if np.linalg.norm(a.arrays["REF_forces"], axis=1).max() > 6]
    assert len(violent) >= 5
    model = BayesianForceField(["Cu", "I"], n_threads=1).fit(cui_crystal[:15] + violent[:5])
    assert evaluate(model, cui_crystal[20:]).forces_mae < 0.015
