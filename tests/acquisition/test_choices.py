"""The choices of the campaign file: every one has a function, a meaning and a place in the schema."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from trepid.acquisition.batch import BATCHES, CONTROLS, MOST_FOR_GAIN, ControlPool, Pool, greedy_batch
from trepid.acquisition.choices import BatchRule, Choice, Strategy, UncertaintyMeasure, Viability
from trepid.acquisition.neighbourhood import Neighbourhood
from trepid.acquisition.uncertainty import MEASURES, FrameSpread, WalkStatistics
from trepid.acquisition.viability import (
    VIABILITIES,
    FrameEnergies,
    Horizon,
    NeighbourhoodStatistics,
    ViabilityInput,
    gaussian_viability,
    horizon_viability,
    neighbourhood_costs,
)
from trepid.config import AcquisitionSettings
from trepid.errors import ConfigError

AXES = {"kind": Strategy, "measure": UncertaintyMeasure, "viability": Viability, "batch": BatchRule}


def test_every_choice_is_registered() -> None:
    assert set(MEASURES) == set(UncertaintyMeasure)
    assert set(VIABILITIES) == set(Viability)
    assert set(BATCHES) == set(BatchRule)
    assert set(CONTROLS) == set(Strategy) - {Strategy.UNCERTAINTY}


@pytest.mark.parametrize(("key", "choices"), AXES.items())
def test_the_campaign_file_offers_every_choice_with_its_meaning(key: str, choices: type[Choice]) -> None:
    description = AcquisitionSettings.model_fields[key].description or ""
    for choice in choices:
        assert f"{choice.value}: {choice.meaning}" in description
        settings = AcquisitionSettings.model_validate({key: choice.value})
        assert getattr(settings, key) is choice
        assert settings.model_dump(mode="json")[key] == choice.value == str(choice) == f"{choice}"
        assert pickle.loads(pickle.dumps(choice)) is choice
        assert choices(choice.value) is choice


def test_what_measures_need() -> None:
    """The flags of a measure are what its function takes."""
    rng = np.random.default_rng(0)
    members = rng.normal(size=(3, 4, 3))
    full = FrameSpread(0.1, rng.random((4, 3)), members, members.mean(axis=0))
    for measure in MEASURES.values():
        value = measure.of(full)
        alone = replace(full, forces_ensemble=None)
        loose = replace(full, harmonic_forces=None)
        for flag, part in ((measure.needs_members, alone), (measure.needs_harmonic, loose)):
            if flag:
                with pytest.raises(Exception, match="needs"):
                    measure.of(part)
            else:
                assert measure.of(part) == value
        # A force scales with the forces and their uncertainties; a ratio and an energy do not.
        doubled = FrameSpread(0.1, 2 * np.asarray(full.forces_uncertainty), 2 * members, 2 * members.mean(axis=0))
        assert (measure.of(doubled) == pytest.approx(2 * value)) is measure.is_force


def pool(n: int = 12, n_forced: int = 2) -> tuple[Pool, np.ndarray]:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(n_forced + n, 3, 40))
    p = rng.random(n)

    def of(indices: np.ndarray) -> list[np.ndarray]:
        return [*rows[:n_forced], *rows[n_forced + indices]]

    sufficient = np.flatnonzero(p > 0.2)
    return Pool(p, rng.random(n), sufficient, n_forced, n_forced + 4, of, 0.5, 7), rows


def test_a_greedy_batch_counts_the_forced_frames() -> None:
    given, rows = pool()
    chosen = BATCHES[BatchRule.GREEDY](given)
    weights = np.concatenate([np.ones(2), np.where(given.probabilities > 0.2, given.probabilities, 0.0)])
    expected = greedy_batch(list(rows), 6, noise=0.5, weights=weights, first=[0, 1])
    assert list(chosen.indices) == (expected.indices[2:] - 2).tolist()
    assert chosen.gains == pytest.approx(expected.gains)


def test_only_the_best_are_compared() -> None:
    n = MOST_FOR_GAIN + 30
    p = np.full(n, 0.5)
    asked: list[np.ndarray] = []

    def rows(indices: np.ndarray) -> list[np.ndarray]:
        asked.append(indices)
        return [np.eye(3) for _ in indices]

    u = np.random.default_rng(0).random(n)
    BATCHES[BatchRule.GREEDY](Pool(p, u, np.arange(n), 0, 2, rows, 1.0, 0))
    assert asked[0].tolist() == np.sort(np.argsort(-u)[:MOST_FOR_GAIN]).tolist()


def test_nothing_to_choose_from() -> None:
    def none(indices: np.ndarray) -> list[np.ndarray]:
        raise AssertionError("no rows of no frames")

    empty = Pool(np.empty(0), np.empty(0), np.empty(0, dtype=np.intp), 0, 3, none, 1.0, 0)
    for rule in BatchRule:
        assert BATCHES[rule](empty).indices == BATCHES[rule](empty).gains == ()


def test_a_bernoulli_batch_draws_with_the_seed() -> None:
    given, _ = pool()
    certain = replace(given, probabilities=np.ones(12), sufficient=np.arange(3, 12))
    chosen = BATCHES[BatchRule.BERNOULLI](certain)
    assert chosen.indices == (3, 4, 5, 6)
    assert chosen.gains == (None,) * 6
    draws = {BATCHES[BatchRule.BERNOULLI](replace(given, seed=seed)).indices for seed in range(20)}
    assert len(draws) > 5
    assert all(set(draw) <= set(given.sufficient.tolist()) and len(draw) <= 4 for draw in draws)


def test_controls() -> None:
    temperatures = np.repeat([300.0, 800.0, 300.0, 800.0], 5)
    given = ControlPool(temperatures, 800.0, 4, 3)
    assert CONTROLS[Strategy.HOT](given).tolist() == [5, 8, 16, 19]
    assert CONTROLS[Strategy.HOT](replace(given, n=99)).tolist() == [*range(5, 10), *range(15, 20)]
    assert CONTROLS[Strategy.HOT](replace(given, hottest_K=1000.0)).tolist() == []
    chosen = CONTROLS[Strategy.RANDOM](given)
    assert len(set(chosen.tolist())) == 4
    assert chosen.tolist() == sorted(chosen.tolist()) == CONTROLS[Strategy.RANDOM](given).tolist()


def trajectory(n: int, seed: int) -> FrameEnergies:
    crystal = bulk("Si", cubic=True).repeat(2)
    rng = np.random.default_rng(seed)
    shift = rng.normal(scale=0.05, size=(n, len(crystal), 3))
    atoms = (shift**2).sum(axis=2) * 5
    return FrameEnergies(atoms.sum(axis=1), crystal.positions + shift, atoms)


def viability_input(n_equilibrium: int = 40) -> ViabilityInput:
    crystal = bulk("Si", cubic=True).repeat(2)
    candidates = trajectory(6, 1)
    assert candidates.atom_energies is not None
    candidates.atom_energies[4, 7] += 2.0
    candidates.energies[4] += 2.0
    return ViabilityInput(
        candidates,
        trajectory(n_equilibrium, 0),
        crystal.cell.array,
        crystal.pbc,
        np.zeros(len(crystal), dtype=np.intp),
        Horizon(300.0, 1.0),
        Neighbourhood(inner=2.6, outer=4.0),
        lambda candidate, atom: 0.1 if candidate == 4 else pytest.fail("not above the budget"),
    )


def test_viabilities_are_those_of_their_functions() -> None:
    given = viability_input()
    assert VIABILITIES[Viability.NONE](given).tolist() == [1.0] * 6
    expected = gaussian_viability(given.candidates.energies, WalkStatistics.of(given.equilibrium.energies))
    np.testing.assert_array_equal(VIABILITIES[Viability.GAUSSIAN](given), expected)
    frame = (given.cell, given.pbc, given.groups)
    walk, judged = given.equilibrium, given.candidates
    assert walk.atom_energies is not None
    assert judged.atom_energies is not None
    statistics = NeighbourhoodStatistics.of_walk(
        walk.atom_energies, walk.positions, *frame, neighbourhood=given.neighbourhood
    )
    costs = [
        neighbourhood_costs(energies, positions, *frame, statistics).max()
        for energies, positions in zip(judged.atom_energies, judged.positions, strict=True)
    ]
    doubts = [0.0, 0.0, 0.0, 0.0, 0.1, 0.0]
    found = VIABILITIES[Viability.HORIZON](given)
    np.testing.assert_allclose(found, horizon_viability(costs, given.horizon, energy_uncertainty=doubts))
    assert found[4] < 1e-6
    assert (np.delete(found, 4) == 1).all()


def test_a_short_equilibrium_rules_nothing_out() -> None:
    for choice in Viability:
        assert VIABILITIES[choice](viability_input(5)).tolist() == [1.0] * 6


def test_horizon_needs_energies_of_atoms() -> None:
    given = viability_input()
    without = replace(given, candidates=replace(given.candidates, atom_energies=None))
    with pytest.raises(ConfigError, match="take gaussian or none"):
        VIABILITIES[Viability.HORIZON](without)
    assert VIABILITIES[Viability.GAUSSIAN](without).shape == (6,)
