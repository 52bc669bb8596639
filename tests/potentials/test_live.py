"""Live directions: a low-rank lower bound of the force uncertainty."""

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


def test_more_directions_come_closer_to_the_exact_variance_from_below(
    features: FeatureBuilder, posterior: Posterior, rows: FloatArray
) -> None:
    atoms = zincblende(a=5.5, cubic=True, rattle=0.2, seed=3)
    force_rows = np.concatenate([part for _, part in features.force_rows(atoms)])
    exact = posterior.standard_deviation(force_rows) ** 2
    steps = [variance(features, live_directions(posterior, rows, rank), atoms) for rank in (16, 48, 112)]
    for less, more in zip(steps, [*steps[1:], exact], strict=True):
        assert (less <= more * (1 + 1e-9)).all()
        assert less.sum() < more.sum()


def test_all_directions_of_the_measure_give_its_whole_variance(posterior: Posterior, rows: FloatArray) -> None:
    directions = live_directions(posterior, rows, rank=len(rows) + 3)
    np.testing.assert_allclose(
        np.sum((rows @ directions) ** 2, axis=1), posterior.standard_deviation(rows) ** 2, rtol=1e-6
    )


def test_no_directions_capture_more_of_the_measure(posterior: Posterior, rows: FloatArray) -> None:
    """Leading eigenvectors: of all choices of 16 directions none has a larger sum of variances over the measure."""
    captured = np.sum((rows @ live_directions(posterior, rows, 16)) ** 2, axis=0)
    values = np.linalg.eigvalsh(posterior.covariance(rows))[::-1]
    np.testing.assert_allclose(captured, values[:16], rtol=1e-8)  # leading first: a reader may take fewer of them
    assert captured.sum() < values.sum()


def test_fewer_dimensions_than_directions_are_filled_with_zeros(posterior: Posterior, rows: FloatArray) -> None:
    directions = live_directions(posterior, rows[:5], 16)
    assert directions.shape[1] == 16
    assert np.linalg.matrix_rank(directions) == 5
    assert (directions[:, 5:] == 0).all()


def test_without_neighbours_all_directions_vanish(posterior: Posterior, features: FeatureBuilder) -> None:
    """Atoms without neighbours have force rows of zeros."""
    lonely = environment_rows(features, [Atoms("Cu")], seed=0)
    assert (lonely == 0).all()
    assert (live_directions(posterior, lonely, 16) == 0).all()


def test_environments_repeat_with_their_seed(features: FeatureBuilder) -> None:
    templates = [triclinic(seed=1), molecule(seed=1)]
    first, again, other = (environment_rows(features, templates, seed=s, samples=4) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape[0] == sum(2 * 3 * min(NEAREST + 1, len(t)) for t in templates)
    assert not np.array_equal(first, other)


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


def test_an_event_is_mostly_captured_by_sixteen_directions(
    small_cui_model: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    live = [small_cui_model.predict(a, uncertainty="live").forces_uncertainty for a in cui_hops]
    exact = [small_cui_model.predict(a).forces_uncertainty for a in cui_hops]
    share = np.sqrt(np.sum(np.square(live)) / np.sum(np.square(exact)))
    assert 0.85 < share < 1
    # Per atom, where it matters: on the moving atom's surroundings, the most uncertain tenth.
    a, b = np.linalg.norm(np.concatenate(live), axis=1), np.linalg.norm(np.concatenate(exact), axis=1)
    worst = b > np.quantile(b, 0.9)
    assert np.median(a[worst] / b[worst]) > 0.8


def test_shared_rows_are_those_of_their_own_templates_and_seed(features: FeatureBuilder) -> None:
    templates = [zincblende(a=6.19, cubic=True), zincblende(a=6.0, cubic=False)]
    for chosen, seed in ((templates, 1), (templates, 1), (templates[:1], 1), (templates, 2)):
        shared = shared_environment_rows(features.basis, chosen, seed=seed)
        np.testing.assert_array_equal(shared, environment_rows(features, chosen, seed=seed))
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 0
