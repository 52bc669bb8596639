from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trepid.acquisition.neighbourhood import Neighbourhood, transfer_features
from trepid.acquisition.uncertainty import WalkStatistics
from trepid.acquisition.viability import (
    Horizon,
    NeighbourhoodStatistics,
    frame_cost,
    gaussian_viability,
    horizon_viability,
    neighbourhood_costs,
    quench_costs,
)
from trepid.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
costs = st.floats(-10, 10)
temperatures = st.floats(1.0, 3000.0)
times = st.floats(1e-3, 1e6)


# ---- the horizon


def test_budget_by_hand() -> None:
    """10 ns at 1e13 Hz are 1e5 attempts; kT at 300 K is 25.85 meV."""
    horizon = Horizon(300.0, 10.0)
    assert horizon.budget == pytest.approx(0.025852 * 11.5129, rel=1e-4)
    assert Horizon(300.0, 10.0, attempt_frequency_Hz=1e12).budget == pytest.approx(0.025852 * 9.2103, rel=1e-4)


@pytest.mark.parametrize(
    ("excess_kT", "expected"), [(-5.0, 1.0), (0.0, 1.0), (1.0, 0.367879), (2.0, 0.135335), (np.log(2), 0.5)]
)
def test_horizon_table(excess_kT: float, expected: float) -> None:
    horizon = Horizon(500.0, 1.0)
    cost = horizon.budget + excess_kT * kB * 500.0
    assert horizon_viability(cost, horizon) == pytest.approx(expected, rel=1e-5)
    assert horizon_viability(cost + 0.3, horizon, energy_uncertainty=0.3) == pytest.approx(expected, rel=1e-5)


def test_it_is_the_chance_of_an_arrhenius_event() -> None:
    """Beyond the budget P_E is the number of events expected within t, nu0 t exp(-E / kT)."""
    horizon = Horizon(700.0, 0.1)
    cost = np.linspace(0.0, 3.0, 50)
    expected = np.minimum(1.0, 1e13 * 0.1e-9 * np.exp(-cost / (kB * 700.0)))
    np.testing.assert_allclose(horizon_viability(cost, horizon), expected, rtol=1e-9)


@given(cost=costs, step=st.floats(0, 5), T=temperatures, t=times, unc=st.floats(0, 2))
def test_monotone_and_bounded(cost: float, step: float, T: float, t: float, unc: float) -> None:
    def p(cost: float, T: float = T, t: float = t, unc: float = unc) -> float:
        return float(horizon_viability(cost, Horizon(T, t), energy_uncertainty=unc))

    here = p(cost)
    assert 0.0 <= here <= 1.0
    assert p(cost + step) <= here
    assert p(cost, T=T * (1 + step)) >= here * (1 - 1e-9)
    assert p(cost, t=t * (1 + step)) >= here * (1 - 1e-9)
    assert p(cost, unc=unc + step) >= here


def test_limits() -> None:
    cold = Horizon(1e-6, 10.0)
    assert horizon_viability([-1.0, 0.01, 0.2], cold).tolist() == [1.0, 0.0, 0.0]
    assert horizon_viability([0.1, 0.3], cold, energy_uncertainty=0.2).tolist() == [1.0, 0.0]
    assert horizon_viability(15.0, Horizon(300.0, 1e290, attempt_frequency_Hz=1e13)) == 1.0
    assert horizon_viability(np.inf, Horizon(300.0, 1.0)) == 0.0


@pytest.mark.parametrize(
    "arguments", [(0.0, 1.0), (-1.0, 1.0), (300.0, 0.0), (300.0, 1e-9), (np.nan, 1.0), (300.0, np.nan)]
)
def test_a_horizon_out_of_range_is_refused(arguments: tuple[float, float]) -> None:
    with pytest.raises(ConfigError):
        Horizon(*arguments)


def test_damaged_costs_are_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        horizon_viability([0.0, np.nan], Horizon(300.0, 1.0))
    for doubt in (-0.1, np.nan, np.inf):
        with pytest.raises(DataError, match="uncertainty"):
            horizon_viability(0.0, Horizon(300.0, 1.0), energy_uncertainty=doubt)


# ---- the published form


@pytest.mark.parametrize(
    ("z", "expected"), [(-3.0, 1.0), (1.0, 1.0), (1.4, 0.2**0.5), (1.8, 0.2), (2.6, 0.04), (3.4, 0.008)]
)
def test_gaussian_table(z: float, expected: float) -> None:
    assert gaussian_viability(5.0 + 0.3 * z, WalkStatistics(5.0, 0.3, 100)) == pytest.approx(expected)


@given(z=st.lists(st.floats(-100, 100), min_size=2, max_size=10))
def test_gaussian_is_bounded_and_falls(z: list[float]) -> None:
    p = gaussian_viability(np.sort(z), WalkStatistics(0.0, 1.0, 100))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) <= 0).all()


# ---- quenched energies


def test_quench_costs_do_not_depend_on_size() -> None:
    sizes = np.array([64, 216, 512])
    cost = quench_costs(sizes * -3.5 + 0.4, sizes, crystal_energy_per_atom=-3.5)
    np.testing.assert_allclose(cost, 0.4, atol=1e-9)
    p = horizon_viability(cost, Horizon(300.0, 10.0))
    np.testing.assert_allclose(p, p[0], rtol=1e-6)


# ---- neighbourhoods


def brute_sums(values: FloatArray, atoms: Atoms, neighbourhood: Neighbourhood) -> FloatArray:
    out = np.zeros(len(atoms))
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            d = atoms.get_distance(i, j, mic=True) if i != j else 0.0
            out[i] += float(neighbourhood.weight(d)) * values[j]
    return out


def triclinic(pbc: bool | tuple[bool, bool, bool] = True) -> Atoms:
    cell = np.array([[9.0, 0.0, 0.0], [3.0, 10.0, 0.0], [-2.0, 2.5, 11.0]])
    scaled = np.random.default_rng(0).uniform(-0.5, 1.5, size=(20, 3))  # not wrapped
    return Atoms("Si20", positions=scaled @ cell, cell=cell, pbc=pbc)


@pytest.mark.parametrize("pbc", [True, False, (True, True, False)])
def test_sums_against_brute_force(pbc: bool | tuple[bool, bool, bool]) -> None:
    atoms = triclinic(pbc)
    values = np.random.default_rng(1).normal(size=20)
    neighbourhood = Neighbourhood(1.5, 4.0)
    sums = neighbourhood.sums(values, neighbourhood.pairs(atoms.positions, atoms.cell[:], atoms.pbc))
    np.testing.assert_allclose(sums, brute_sums(values, atoms, neighbourhood), atol=1e-12)


def test_sums_follow_shifts_and_wrapping() -> None:
    atoms = triclinic()
    values = np.random.default_rng(1).normal(size=20)
    neighbourhood = Neighbourhood(1.5, 4.0)
    before = neighbourhood.sums(values, neighbourhood.pairs(atoms.positions, atoms.cell[:], True))
    atoms.positions += [1.0, -20.0, 3.3]
    atoms.wrap()
    after = neighbourhood.sums(values, neighbourhood.pairs(atoms.positions, atoms.cell[:], True))
    np.testing.assert_allclose(after, before, atol=1e-10)


def test_weights_fall_smoothly() -> None:
    r = np.linspace(0.0, 7.0, 2001)
    w = Neighbourhood(3.0, 6.0).weight(r)
    assert w[r <= 3.0].min() == 1.0
    assert np.abs(w[r >= 6.0]).max() < 1e-12
    assert (np.diff(w) <= 1e-12).all()
    slope = np.gradient(np.gradient(w, r), r)
    assert np.abs(np.diff(slope)).max() < 0.05  # no jump in the second derivative


def test_a_neighbourhood_must_not_meet_its_image() -> None:
    atoms = triclinic()
    with pytest.raises(ConfigError, match="at most half"):
        Neighbourhood(2.0, 5.0).pairs(atoms.positions, atoms.cell[:], True)
    with pytest.raises(ConfigError, match="inner < outer"):
        Neighbourhood(3.0, 3.0)


def walk(rng: np.random.Generator, *, n: int = 3, kT: float = 0.03, points: int = 60) -> tuple[Atoms, FloatArray]:
    """Independent Einstein atoms: energies Gamma(3/2) kT, mean 3/2 kT and variance 3/2 (kT)^2."""
    atoms = bulk("Si", cubic=True) * n
    return atoms, rng.gamma(1.5, kT, size=(points, len(atoms)))


@pytest.mark.parametrize("n", [3, 4])
def test_scatter_is_that_of_harmonic_atoms(n: int) -> None:
    """std^2 = 3/2 (kT)^2 sum w^2, whatever the cell; the mean 3/2 kT per atom is gone."""
    atoms, energies = walk(np.random.default_rng(0), n=n)
    positions = np.broadcast_to(atoms.positions, (len(energies), *atoms.positions.shape))
    neighbourhood = Neighbourhood(3.0, 6.0)
    statistics = NeighbourhoodStatistics.of_walk(
        energies, positions, atoms.cell[:], True, np.zeros(len(atoms), int), neighbourhood=neighbourhood
    )
    distances = atoms.get_all_distances(mic=True)
    expected = 0.03 * np.sqrt(1.5 * (neighbourhood.weight(distances[0]) ** 2).sum())
    assert statistics.std[0] == pytest.approx(expected, rel=0.05)
    assert statistics.mean[0] == pytest.approx(1.5 * 0.03, rel=0.02)
    assert 2.5 < statistics.largest_z < 7.0


def test_the_same_local_cost_in_any_cell_and_far_ones_do_not_add_up() -> None:
    """One atom 0.9 eV above the others; then a second one far away. The total energy doubles, the cost does not."""
    found = []
    for n in (3, 4, 6):
        atoms = bulk("Si", cubic=True) * n
        group = np.zeros(len(atoms), int)
        statistics = NeighbourhoodStatistics(mean=np.array([-4.6]), std=np.array([0.1]))
        energies = np.full(len(atoms), -4.6)
        arguments = (atoms.positions, atoms.cell[:], True, group, statistics)
        energies[0] += 0.9
        found.append(frame_cost(energies, *arguments))
        far = int(np.argmax(atoms.get_distances(0, range(len(atoms)), mic=True)))
        energies[far] += 0.9
        if n > 3:
            assert frame_cost(energies, *arguments) == pytest.approx(found[-1])
        costs = neighbourhood_costs(energies, *arguments, allowance=0.0)
        assert costs.max() == pytest.approx(0.9 if n > 3 else costs[0], abs=1e-9)
    np.testing.assert_allclose(found, 0.9 - 2 * 0.1, atol=1e-9)


def test_groups_have_their_own_means() -> None:
    atoms = bulk("CuI", "zincblende", a=6.2, cubic=True) * 2
    group = (atoms.numbers == 53).astype(int)
    rng = np.random.default_rng(0)
    energies = np.where(group, -2.0, -5.0) + rng.normal(scale=0.01, size=(20, len(atoms)))
    positions = np.broadcast_to(atoms.positions, (20, *atoms.positions.shape))
    statistics = NeighbourhoodStatistics.of_walk(energies, positions, atoms.cell[:], True, group)
    np.testing.assert_allclose(statistics.mean, [-5.0, -2.0], atol=0.01)
    assert frame_cost(energies[0], atoms.positions, atoms.cell[:], True, group, statistics) < 0.1
    crystal = NeighbourhoodStatistics.of_crystal(energies[0], atoms.positions, atoms.cell[:], True, group)
    assert crystal.std.tolist() == [0.0, 0.0]
    assert crystal.mean[0] == pytest.approx(energies[0][group == 0].mean())


def rattled_walk(points: int, seed: int) -> tuple[Atoms, NDArray[np.int64], list[Atoms]]:
    rng = np.random.default_rng(seed)
    atoms = bulk("CuI", "zincblende", a=6.2, cubic=True) * 2
    frames = [atoms.copy() for _ in range(points)]
    for frame in frames:
        frame.positions += rng.normal(scale=0.12, size=frame.positions.shape)
    return atoms, (atoms.numbers == 53).astype(int), frames


def test_transfers_conserve_energy() -> None:
    _, group, frames = rattled_walk(1, 0)
    pairs = Neighbourhood().pairs(frames[0].positions, frames[0].cell[:], True)
    features = transfer_features(pairs, group, n_groups=2, outer=6.0)
    assert features.shape == (64, 9)
    np.testing.assert_allclose(features.sum(axis=0), 0.0, atol=1e-10)
    assert (np.abs(features).max(axis=0)[:7] > 0.01).all()
    assert transfer_features(pairs, np.zeros(64, int), n_groups=1, outer=6.0).shape == (64, 0)


def test_costs_do_not_depend_on_how_a_model_shares_energy() -> None:
    """Bonds that belong to Cu in one model and to I in the other, same total: the same cost of the same event."""
    atoms, group, frames = rattled_walk(60, 1)

    def bond(r: FloatArray) -> FloatArray:
        taper = (1 - np.clip((r - 4.5) / 1.3, 0, 1) ** 2) ** 2
        return 0.6 * np.exp(-1.2 * (r - 2.7)) * taper

    def shares(frame: Atoms, of_cu: float) -> FloatArray:
        distances = frame.get_all_distances(mic=True)
        unlike = group[:, None] != group[None, :]
        bonds = np.where(unlike, bond(distances), 0.0).sum(axis=1)
        return np.where(group == 0, of_cu, 1 - of_cu) * bonds

    event = frames[0].copy()
    event.positions[0] += [0.8, 0.0, 0.0]
    found, stds = [], []
    for of_cu in (0.5, 0.0, 1.0):
        energies = [shares(f, of_cu) for f in frames]
        arguments = ([f.positions for f in frames], atoms.cell[:], True, group)
        statistics = NeighbourhoodStatistics.of_walk(energies, *arguments)
        stds.append(statistics.std)
        found.append(frame_cost(shares(event, of_cu), event.positions, event.cell[:], True, group, statistics))
        if of_cu != 0.5:
            untouched = replace(statistics, transfer=None, mean=np.mean(energies, axis=0)[[0, 1]])
            raw = [neighbourhood_costs(e, f.positions, atoms.cell[:], True, group, untouched, allowance=0.0)
                   for e, f in zip(energies, frames, strict=True)]  # fmt: skip
            assert np.std(raw) > 1.2 * statistics.std.mean()
    np.testing.assert_allclose(stds, np.broadcast_to(stds[0], (3, 2)), rtol=0.02)
    np.testing.assert_allclose(found, found[0], atol=0.005)


def test_damaged_walks_and_frames_are_refused() -> None:
    atoms, energies = walk(np.random.default_rng(0), points=12)
    positions = np.broadcast_to(atoms.positions, (12, *atoms.positions.shape))
    group = np.zeros(len(atoms), int)
    of_walk = NeighbourhoodStatistics.of_walk
    with pytest.raises(DataError, match="9 points"):
        of_walk(energies[:9], positions[:9], atoms.cell[:], True, group)
    with pytest.raises(DataError, match="do not fluctuate"):
        of_walk(np.ones_like(energies), positions, atoms.cell[:], True, group)
    with pytest.raises(DataError, match="shape"):
        of_walk(energies, positions[:5], atoms.cell[:], True, group)
    with pytest.raises(DataError, match="must have an atom"):
        of_walk(energies, positions, atoms.cell[:], True, group + 1)
    with pytest.raises(DataError, match="one index"):
        of_walk(energies, positions, atoms.cell[:], True, group - 1)
    statistics = of_walk(energies, positions, atoms.cell[:], True, group)
    frame = (atoms.positions, atoms.cell[:], True)
    with pytest.raises(DataError, match="finite"):
        frame_cost(np.full(len(atoms), np.nan), *frame, group, statistics)
    with pytest.raises(DataError, match="group 1"):
        frame_cost(energies[0], *frame, group + 1, statistics)
    with pytest.raises(ConfigError, match="allowance"):
        frame_cost(energies[0], *frame, group, statistics, allowance=-1.0)
    with pytest.raises(DataError):
        NeighbourhoodStatistics(mean=np.zeros(2), std=np.array([0.1, -0.1]))
