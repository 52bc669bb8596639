"""Live directions: a low-rank estimate of the force uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances

from potential_systems import labelled, molecule, small_basis, triclinic, zincblende
from trepid.data import LabelKeys
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.live import (
    MAX_TEMPLATES,
    NEAREST,
    PUSH,
    Defect,
    environment_rows,
    extend_templates,
    live_directions,
    perturbed,
    shared_environment_rows,
)
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters


@pytest.fixture(scope="module")
def features() -> FeatureBuilder:
    return FeatureBuilder(small_basis(2))


@pytest.fixture(scope="module")
def posterior(features: FeatureBuilder) -> Posterior:
    statistics = SufficientStatistics(features.basis.layout.size)
    for seed in range(2):
        features.add(
            statistics,
            labelled(triclinic(seed=seed), seed),
            keys=LabelKeys(),
            reference_energies=np.zeros(2),
            noise=Hyperparameters().noise,
        )
    return Posterior(features.basis, Hyperparameters(), statistics)


@pytest.fixture(scope="module")
def rows(features: FeatureBuilder) -> FloatArray:
    return environment_rows(features, [zincblende(a=5.6, cubic=True)], seed=0, samples=12)


def variance(features: FeatureBuilder, directions: FloatArray, atoms: Atoms) -> FloatArray:
    force_rows = np.concatenate([part for _, part in features.force_rows(atoms)])
    return np.sum((force_rows @ directions) ** 2, axis=1)


def deviations(live: FloatArray, exact: FloatArray) -> FloatArray:
    """Of the norms over x, y and z of every atom, from variances (3 n,)."""
    return np.abs(np.sqrt(live.reshape(-1, 3).sum(axis=1) / exact.reshape(-1, 3).sum(axis=1)) - 1)


def test_many_directions_give_the_exact_variance_of_any_frame(
    features: FeatureBuilder, posterior: Posterior, rows: FloatArray
) -> None:
    """Of draws alone the variance of a row is a chi-square of 4000 degrees of freedom: it scatters by 2.2 %."""
    atoms = zincblende(a=5.5, cubic=True, rattle=0.2, seed=3)
    force_rows = np.concatenate([part for _, part in features.force_rows(atoms)])
    exact = posterior.standard_deviation(force_rows) ** 2
    directions = live_directions(posterior, np.zeros_like(rows), 4000)
    np.testing.assert_allclose(variance(features, directions, atoms), exact, rtol=0.12)


def test_tuned_directions_are_closer_on_their_environments_and_on_others(
    features: FeatureBuilder, posterior: Posterior, rows: FloatArray
) -> None:
    others = environment_rows(features, [zincblende(a=5.6, cubic=True)], seed=1, samples=12)
    tuned = live_directions(posterior, rows, 16)
    draws = live_directions(posterior, np.zeros_like(rows), 16)
    for measure in (rows, others):
        exact = posterior.standard_deviation(measure) ** 2
        by_tuned, by_draws = (deviations(np.sum((measure @ d) ** 2, axis=1), exact) for d in (tuned, draws))
        assert np.mean(by_tuned) < 0.8 * np.mean(by_draws)
        assert np.median(by_tuned) < 0.1


def test_directions_repeat_and_depend_on_their_seed(posterior: Posterior, rows: FloatArray) -> None:
    first, again, other = (live_directions(posterior, rows, 16, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_without_neighbours_directions_are_draws(posterior: Posterior, features: FeatureBuilder) -> None:
    """Atoms without neighbours have force rows of zeros, which tell nothing."""
    lonely = environment_rows(features, [Atoms("Cu")], seed=0)
    assert (lonely == 0).all()
    assert np.isfinite(live_directions(posterior, lonely, 16)).all()


def test_environments_repeat_with_their_seed(features: FeatureBuilder) -> None:
    templates = [triclinic(seed=1), molecule(seed=1)]
    first, again, other = (environment_rows(features, templates, seed=s, samples=8) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize("defect", list(Defect))
def test_rows_are_those_of_the_atoms_next_to_the_defect(features: FeatureBuilder, defect: Defect) -> None:
    template, rng = zincblende(a=5.8, cubic=True).repeat((2, 1, 1)), np.random.default_rng(3)
    for _ in range(10):
        atoms, chosen = perturbed(features.basis, template, rng, defect=defect)
        lost = len(template) - len(atoms)
        assert lost == 1 if defect is Defect.VACANCY else lost == 0 or defect is Defect.SURFACE
        assert len(set(chosen.tolist())) == len(chosen) == min(NEAREST + 1, len(atoms))
        distances = atoms.get_distances(int(chosen[0]), range(len(atoms)), mic=True)
        if defect is Defect.DISPLACED:
            assert set(np.argsort(distances)[: NEAREST + 1]) == set(chosen.tolist())


def test_environments_leave_templates_alone(features: FeatureBuilder) -> None:
    template = triclinic(seed=1)
    before = template.copy()
    environment_rows(features, [template], seed=0, samples=3)
    assert template == before


def test_a_displaced_atom_keeps_a_plausible_distance() -> None:
    basis, template = small_basis(2), zincblende(a=6.19, cubic=True)
    rng = np.random.default_rng(0)
    pushes = []
    for _ in range(40):
        atoms, chosen = perturbed(basis, template, rng)
        i = int(chosen[0])
        assert len(set(chosen.tolist())) == len(chosen) == min(NEAREST, len(atoms) - 1) + 1
        others = np.delete(np.arange(len(atoms)), i)
        distance = get_distances(atoms.positions[i], atoms.positions[others], cell=atoms.cell, pbc=atoms.pbc)[1][0]
        symbols = atoms.get_chemical_symbols()
        contact = [basis.plausible_contact(symbols[i], symbols[j]) for j in others]
        assert (distance > 0.8 * np.array(contact)).all()
        home = template.positions[i] @ np.linalg.inv(template.cell[:]) @ atoms.cell[:]
        pushes.append(np.linalg.norm(atoms.positions[i] - home))
    assert max(pushes) > 1.5
    assert max(pushes) < PUSH[1] + 1.5


def test_templates_are_one_of_each_composition() -> None:
    small, large, other = zincblende(), zincblende(cubic=True), Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    templates = extend_templates([], [small, large, zincblende(rattle=0.1), other])
    assert [len(t) for t in templates] == [2, 8, 2]
    assert templates[0] is not small
    assert extend_templates(templates, [large]) == templates
    many = [Atoms(f"Cu{n}", np.arange(3 * n).reshape(n, 3)) for n in range(1, 9)]
    assert len(extend_templates([], many)) == MAX_TEMPLATES


def test_an_event_is_within_a_tenth_with_sixteen_directions(
    small_cui_model: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    live = np.concatenate([small_cui_model.predict(a, uncertainty="live").forces_uncertainty for a in cui_hops])
    exact = np.concatenate([small_cui_model.predict(a).forces_uncertainty for a in cui_hops])
    deviation = deviations(live.ravel() ** 2, exact.ravel() ** 2)
    assert np.median(deviation) < 0.1
    assert np.quantile(deviation, 0.9) < 0.25
    # Where it matters, on the most uncertain tenth.
    norms = np.linalg.norm(exact, axis=1)
    assert np.median(deviation[norms > np.quantile(norms, 0.9)]) < 0.1


def test_shared_rows_are_those_of_their_own_templates_and_seed(features: FeatureBuilder) -> None:
    templates = [zincblende(a=6.19, cubic=True), zincblende(a=6.0, cubic=False)]
    for chosen, seed in ((templates, 1), (templates, 1), (templates[:1], 1), (templates, 2)):
        shared = shared_environment_rows(features.basis, chosen, seed=seed)
        np.testing.assert_array_equal(shared, environment_rows(features, chosen, seed=seed))
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 0
