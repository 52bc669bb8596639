"""The neighbour list with a skin: equal to a fresh one at every step, and rebuilt only when necessary."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from potential_systems import (
    molecule,
    pairs_within,
    random_potential,
    sheet,
    small_basis,
    strained,
    triclinic,
    zincblende,
)
from trepid.errors import DataError
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.neighbors import SkinNeighbors
from trepid.potentials.bayesian.spline_potential import SpeciesIndex, SplinePotential

INDEX = SpeciesIndex(("Cu", "I"))


@pytest.fixture(scope="module")
def potential() -> SplinePotential:
    return random_potential(small_basis(2), rank=16)


def assert_as_fresh(potential: SplinePotential, atoms: Atoms, neighbors: SkinNeighbors) -> None:
    kept, fresh = potential.evaluate(atoms, neighbors, live=True), potential.evaluate(atoms, live=True)
    assert kept.energy == pytest.approx(fresh.energy, rel=1e-12)
    np.testing.assert_allclose(kept.forces, fresh.forces, rtol=0, atol=1e-11 * np.abs(fresh.forces).max())
    np.testing.assert_allclose(kept.forces_uncertainty, fresh.forces_uncertainty, rtol=1e-4)
    if fresh.stress is not None:
        np.testing.assert_allclose(kept.stress, fresh.stress, rtol=0, atol=1e-12 * np.abs(fresh.stress).max() + 1e-14)


@pytest.mark.parametrize("structure", [triclinic, sheet, molecule])
def test_pairs_are_all_pairs(structure: object) -> None:
    atoms = structure(seed=1)  # type: ignore[operator]
    pairs = SkinNeighbors(4.6, skin=0.4).update(atoms, INDEX(atoms))
    assert pairs.n_pairs == len(list(pairs_within(atoms, 5.0)))
    assert pairs.n_atoms == len(atoms)
    assert (pairs.n_ghosts > 0) == bool(atoms.pbc.any())


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), skin=st.floats(0.1, 1.0), periodic=st.integers(0, 2))
def test_a_moving_system(seed: int, skin: float, periodic: int) -> None:
    """Random walk of atoms and cell; steps small against the skin, so that the list is kept most of the time."""
    potential = random_potential(small_basis(2), rank=16)
    rng = np.random.default_rng(seed)
    atoms = zincblende(a=5.6, cubic=True) if periodic == 2 else (triclinic if periodic else molecule)(seed=seed % 7)
    neighbors = potential.neighbors(skin=skin)
    for _ in range(12):
        atoms.positions += rng.normal(scale=0.04 * skin, size=atoms.positions.shape)
        if periodic:
            atoms = strained(atoms, 0.01 * skin * rng.normal(size=(3, 3)))
        assert_as_fresh(potential, atoms, neighbors)
    assert 1 <= neighbors.n_builds < 12


def test_the_list_is_kept_inside_the_skin_and_not_beyond(potential: SplinePotential) -> None:
    atoms = zincblende(a=5.6, cubic=True).repeat((2, 1, 1))
    neighbors = potential.neighbors(skin=0.5)
    potential.evaluate(atoms, neighbors)
    for step, builds in ((0.24, 1), (-0.24, 1), (0.26, 2)):
        moved = atoms.copy()
        moved.positions[3, 0] += step
        assert_as_fresh(potential, moved, neighbors)
        assert neighbors.n_builds == builds, step


def test_two_atoms_that_meet_from_just_outside() -> None:
    """The worst case of the criterion: two atoms beyond cutoff + skin that move half a skin each."""
    basis = small_basis(2)
    potential, reach = random_potential(basis), basis.cutoff
    atoms = Atoms("CuI", [[0, 0, 0], [reach + 0.501, 0, 0]])
    neighbors = potential.neighbors(skin=0.5)
    assert potential.evaluate(atoms, neighbors).forces.max() == 0
    for shift in (0.2, 0.249, 0.3, 0.6):
        moved = atoms.copy()
        moved.positions[:, 0] += [shift, -shift]
        np.testing.assert_array_equal(
            potential.evaluate(moved, neighbors).forces, potential.evaluate(moved).forces, err_msg=str(shift)
        )
    assert np.abs(potential.evaluate(moved).forces).max() > 1e-6


@pytest.mark.parametrize("scale", [0.97, 0.9, 0.8])
def test_a_compressed_cell_gains_neighbours(potential: SplinePotential, scale: float) -> None:
    atoms = zincblende(a=6.6, cubic=True, rattle=0.05)
    neighbors = potential.neighbors(skin=0.3)
    potential.evaluate(atoms, neighbors)
    atoms.set_cell(atoms.cell[:] * scale, scale_atoms=True)
    assert_as_fresh(potential, atoms, neighbors)


def test_a_cell_that_changes_without_its_atoms(potential: SplinePotential) -> None:
    atoms = triclinic(seed=2)
    neighbors = potential.neighbors(skin=0.5)
    potential.evaluate(atoms, neighbors)
    atoms.set_cell(atoms.cell[:] + np.diag([0.02, -0.01, 0.03]))
    assert_as_fresh(potential, atoms, neighbors)


@pytest.mark.parametrize("change", ["swap", "add", "remove", "periodicity", "wrap", "reflect"])
def test_another_system_under_the_same_list(potential: SplinePotential, change: str) -> None:
    atoms = triclinic(seed=3)
    neighbors = potential.neighbors(skin=0.5)
    potential.evaluate(atoms, neighbors)
    other = atoms.copy()
    if change == "swap":
        other.numbers[[0, 1]] = other.numbers[[1, 0]]
    elif change == "add":
        other += Atoms("Cu", [[20.3, 1.2, 0.7]])
    elif change == "remove":
        del other[2]
    elif change == "periodicity":
        other.pbc = (True, False, True)
    elif change == "wrap":
        other.positions += other.cell[:].sum(axis=0)
        other.positions[0] -= other.cell[1]
    else:
        other.set_cell(-other.cell[:])
    assert_as_fresh(potential, other, neighbors)


def test_after_a_reset_the_result_depends_on_the_positions_alone(potential: SplinePotential) -> None:
    """A list built at other positions sums in another order; after a reset the last bits depend on the positions alone."""
    atoms = zincblende(a=5.6, cubic=True, rattle=0.1).repeat(2)
    start = atoms.copy()
    start.positions += np.random.default_rng(0).uniform(-0.1, 0.1, size=atoms.positions.shape)
    neighbors = potential.neighbors(skin=0.5)
    potential.evaluate(start, neighbors)
    neighbors.reset()
    kept = potential.evaluate(atoms, neighbors)
    np.testing.assert_array_equal(kept.forces, potential.evaluate(atoms, potential.neighbors(skin=0.5)).forces)
    assert neighbors.n_builds == 2


def test_python_threads_may_share_a_potential() -> None:
    potential, features = random_potential(small_basis(2), rank=16), FeatureBuilder(small_basis(2))
    systems = [triclinic(seed=s).repeat((1, 2, s % 3 + 1)) for s in range(4)]

    def work(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        prediction = potential.evaluate(systems[k % 4], live=True)
        assert prediction.forces_uncertainty is not None
        return prediction.forces, prediction.forces_uncertainty, features.frame_rows(systems[k % 4]).energy

    alone = [work(k) for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for k, results in enumerate(pool.map(work, range(60))):
            for got, expected in zip(results, alone[k % 4], strict=True):
                np.testing.assert_array_equal(got, expected)


# Bad structures


def broken(**changes: object) -> Atoms:
    atoms = zincblende(a=5.6)
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


NAN = float("nan")


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (broken(positions=[[0, 0, 0], [1, NAN, 1]]), r"position of atom 1 is \[.*nan.*\]"),
        (broken(positions=[[0, 0, 0], [np.inf, 1, 1]]), "positions must be finite"),
        (broken(cell=[NAN, 5, 5]), "cell vectors must be finite"),
        (broken(cell=[5, 5, 0], pbc=True), "periodic along cell vector 2, which is zero"),
        (broken(cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True), "has no volume"),
        (broken(positions=[[1, 1, 1], [1, 1, 1]]), "atoms 0 and 1 .* coincide"),
    ],
)
def test_bad_structures_are_named(potential: SplinePotential, atoms: Atoms, message: str) -> None:
    with pytest.raises(DataError, match=message):
        potential.evaluate(atoms)
    with pytest.raises(DataError, match=message):
        FeatureBuilder(small_basis(2)).frame_rows(atoms)


def test_an_atom_that_turns_nan_is_noticed_by_a_kept_list(potential: SplinePotential) -> None:
    atoms = triclinic(seed=4)
    neighbors = potential.neighbors(skin=0.5)
    potential.evaluate(atoms, neighbors)
    atoms.positions[2, 1] = NAN
    with pytest.raises(DataError, match="position of atom 2"):
        potential.evaluate(atoms, neighbors)
