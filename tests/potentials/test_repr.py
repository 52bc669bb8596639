"""Printed models: one line with species, cutoffs and the state of the training."""

from __future__ import annotations

from ase import Atoms

from potential_systems import random_potential, small_basis
from trepid.potentials.bayesian import BayesianForceField, Hyperparameters
from trepid.potentials.bayesian.statistics import SufficientStatistics
from trepid.potentials.biased import BiasedPotential
from trepid.testing import ExactGP

SIZES = {"pair_cutoff": 5.5, "triplet_cutoff": 4.5}


def test_untrained_models_say_so() -> None:
    model = BayesianForceField(["I", "Cu"], n_pair=14, n_radial=6, l_max=3, **SIZES)
    assert repr(model) == (
        "<BayesianForceField of Cu, I: cutoffs 5.5 A (pairs), 4.5 A (triplets), 668 coefficients, untrained>"
    )
    assert "of Cu, I: cutoffs 5.5 A (pairs), 4.5 A (triplets), untrained" in repr(ExactGP(["Cu", "I"], **SIZES))
    assert repr(SufficientStatistics(7)) == "<SufficientStatistics of 0 frames for 7 coefficients: no labels>"


def test_trained_models_name_their_data_and_noise(small_cui_model: BayesianForceField) -> None:
    noise = f"{small_cui_model.noise.forces:.3g} eV/A"
    assert repr(small_cui_model).endswith(f"668 coefficients, 8 frames, noise {noise}>")
    n_forces = 8 * 64 * 3
    assert f"of 8 frames for 668 coefficients: 8 energy, {n_forces} forces" in repr(small_cui_model.statistics)
    posterior = repr(small_cui_model.posterior)
    assert posterior.startswith("<Posterior of 668 coefficients in ")
    assert posterior.endswith(f"seen) from 8 frames: log evidence {small_cui_model.log_evidence:.1f}>")
    assert repr(small_cui_model.mean).endswith("4.5 A (triplets), 16 live directions>")


def test_the_exact_gp_counts_its_labels(cui_crystal: list[Atoms]) -> None:
    gp = ExactGP(["Cu", "I"], **SIZES).fit(cui_crystal[:1], atoms=[[0, 1]], kinds=("forces",))
    assert "1 frames, 6 labels, noise 0.02 eV/A" in repr(gp)


def test_a_biased_potential_names_the_one_below_it(
    small_cui_model: BayesianForceField, cui_crystal: list[Atoms]
) -> None:
    biased = BiasedPotential(small_cui_model, cui_crystal[0], strength=2.0, largest_eV=0.5)
    assert repr(biased) == f"<BiasedPotential of {small_cui_model!r}: strength 2, at most 0.5 eV>"


def test_one_line_without_arrays() -> None:
    potential = random_potential(small_basis())
    for thing in (Hyperparameters(), small_basis(), potential, potential.tables):
        text = repr(thing)
        assert type(thing).__name__ in text
        assert "\n" not in text
        assert " at 0x" not in text
        assert len(text) < 400
