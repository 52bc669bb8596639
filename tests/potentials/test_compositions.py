"""Energies of species that the energy labels cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.compositions import Compositions

counts = st.lists(st.integers(0, 60), min_size=3, max_size=3)


@given(st.lists(counts, min_size=1, max_size=6), counts)
def test_what_is_a_sum_of_known_compositions_is_determined(known: list[list[int]], other: list[int]) -> None:
    n = np.array(known, dtype=float)
    compositions = Compositions.of(n.T @ n, np.array([-100.0, -20.0, 3.0]))
    weights = np.random.default_rng(0).normal(size=len(n))
    assert compositions.outside(weights @ n) == pytest.approx(0.0, abs=1e-4)
    rank = np.linalg.matrix_rank(n)
    alone = np.linalg.matrix_rank(np.vstack([n, other])) == rank
    assert (compositions.outside(np.array(other, dtype=float)) == 0.0) == alone


def test_without_energies_nothing_is_determined() -> None:
    compositions = Compositions.of(np.zeros((2, 2)), np.zeros(2))
    assert compositions.outside(np.array([3.0, 4.0])) == pytest.approx(5.0)
    assert compositions.uncertainty(np.array([3.0, 4.0])) == 0.0


def test_a_vacancy_has_an_unknown_energy(small_cui_model: BayesianForceField, cui_crystal: list[Atoms]) -> None:
    crystal = cui_crystal[0]
    vacancy = crystal.copy()
    del vacancy[0]
    scale = np.sqrt(np.mean(small_cui_model.reference_energies**2))
    # Of one missing Cu, half is a change of the stoichiometry: (1, 0) = (1, 1) / 2 + (1, -1) / 2.
    expected = scale * np.sqrt(0.5)
    assert small_cui_model.undetermined_energy(crystal) == small_cui_model.undetermined_energy(crystal * (2, 1, 1)) == 0
    assert small_cui_model.undetermined_energy(vacancy) == pytest.approx(expected, rel=1e-6)
    whole, cut = small_cui_model.predict(crystal), small_cui_model.predict(vacancy)
    assert whole.energy_uncertainty is not None
    assert cut.energy_uncertainty is not None
    assert whole.energy_uncertainty < 0.1 * expected < expected <= cut.energy_uncertainty
    assert small_cui_model.energy_difference_uncertainty(vacancy, crystal) >= expected
    assert small_cui_model.energy_difference_uncertainty(cui_crystal[1], crystal) < 0.1 * expected


def test_labels_of_two_stoichiometries_determine_both(cui_crystal: list[Atoms]) -> None:
    frames = [atoms.copy() for atoms in cui_crystal[:4]]
    other = frames[3]
    del other[0]
    other.info["REF_energy"] = 0.97 * frames[0].info["REF_energy"]
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=8, n_radial=4, l_max=1, n_threads=1
    ).fit(frames)
    assert model.undetermined_energy(other) == 0.0
