"""The C++ core against the formulas: energy, forces and stress, instruction sets, threads, live variance, symmetries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from potential_systems import (
    SPECIES,
    brute_force,
    molecule,
    random_coefficients,
    random_potential,
    sheet,
    small_basis,
    strained,
    triclinic,
    with_channels,
    with_mixed_triplets,
    zincblende,
)
from trepid import _native
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.neighbour_share import with_neighbours
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.support import SupportTables

STRUCTURES = [triclinic, sheet, molecule]
BASES = {
    "l0": {"l_max": 0, "n_radial": 4},
    "l1": {"l_max": 1, "n_radial": 5},
    "l2": {"l_max": 2, "n_radial": 7},
    "l3": {"l_max": 3, "n_radial": 8},
    "l4": {"l_max": 4, "n_radial": 9},
    "l5": {"l_max": 5, "n_radial": 12},
    "l6": {"l_max": 6, "n_radial": 15},
    "l7": {"l_max": 7, "n_radial": 17},
    "l8": {"l_max": 8, "n_radial": 20},
}
"""Every degree, and radial functions that do and do not fill the vector registers."""


def reference_energies(basis: Basis) -> np.ndarray:
    """As `random_potential` sets them."""
    return np.linspace(-1.0, 2.0, len(basis.species))


def assert_same(a: Prediction, b: Prediction, *, rtol: float = 1e-10) -> None:
    """Equal energy, forces and stress, on the scale of the largest of each."""
    assert a.energy == pytest.approx(b.energy, rel=rtol, abs=rtol)
    np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=rtol * max(1.0, np.abs(b.forces).max()))
    assert (a.stress is None) == (b.stress is None)
    if a.stress is not None and b.stress is not None:
        np.testing.assert_allclose(a.stress, b.stress, rtol=0, atol=rtol * max(1.0, np.abs(b.stress).max()))


# Against the formulas


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_energy_forces_and_stress_equal_brute_force(n_species: int, structure: Callable[..., Atoms]) -> None:
    basis = small_basis(n_species)
    atoms = structure(SPECIES[n_species], seed=2)
    energy, forces, strain = brute_force(basis, random_coefficients(basis), reference_energies(basis), atoms)
    stress = strain / atoms.get_volume() if atoms.cell.rank == 3 else None
    assert np.abs(forces).max() > 0.1
    assert_same(random_potential(basis).evaluate(atoms), Prediction(energy, forces, stress))


@pytest.mark.parametrize("size", BASES)
def test_every_basis_size_equals_brute_force(size: str) -> None:
    basis = small_basis(2, **BASES[size])
    atoms = molecule(seed=3)
    energy, forces, _ = brute_force(basis, random_coefficients(basis), reference_energies(basis), atoms)
    assert_same(random_potential(basis).evaluate(atoms), Prediction(energy, forces))


@pytest.mark.parametrize("cutoffs", [(3.4, 4.6), (4.6, 4.6), (5.5, 3.0)])
def test_either_cutoff_may_be_the_longer_one(cutoffs: tuple[float, float]) -> None:
    basis = small_basis(2, pair_cutoff=cutoffs[0], triplet_cutoff=cutoffs[1])
    atoms = triclinic(seed=4)
    energy, forces, strain = brute_force(basis, random_coefficients(basis), reference_energies(basis), atoms)
    assert_same(random_potential(basis).evaluate(atoms), Prediction(energy, forces, strain / atoms.get_volume()))


@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_atoms_closer_than_the_grids_begin(n_species: int) -> None:
    """Straight continuation of every spline: mean, feature rows and live directions."""
    basis = small_basis(n_species)
    atoms = molecule(SPECIES[n_species], seed=2, n=5)
    shortest = atoms.get_all_distances()[np.triu_indices(5, 1)].min()
    atoms.positions *= 0.6 * basis.r_min / shortest
    assert (atoms.get_all_distances()[np.triu_indices(5, 1)] < basis.r_min).sum() > 1
    energy, forces, _ = brute_force(basis, random_coefficients(basis), reference_energies(basis), atoms)
    potential = random_potential(basis, rank=16)
    assert_same(potential.evaluate(atoms), Prediction(energy, forces))
    np.testing.assert_allclose(
        potential.evaluate(atoms, live=True).forces_uncertainty, live_std_by_tables(potential, atoms), rtol=1e-4
    )
    zero = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(n_species))
    rows = np.concatenate([part for _, part in FeatureBuilder(basis).force_rows(atoms)])
    linear = SplinePotential(basis, zero).evaluate(atoms).forces + (rows @ random_coefficients(basis)).reshape(-1, 3)
    np.testing.assert_allclose(linear, forces, rtol=0, atol=1e-10 * np.abs(forces).max())


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_feature_rows_times_coefficients_are_the_prediction(n_species: int, structure: Callable[..., Atoms]) -> None:
    basis = small_basis(n_species)
    atoms = structure(SPECIES[n_species], seed=5)
    zero = np.zeros(basis.layout.size)
    repulsion = SplinePotential(basis, make_tables(basis, zero, reference_energies=reference_energies(basis)))
    features, rest = FeatureBuilder(basis), repulsion.evaluate(atoms)
    coefficients = random_coefficients(basis)
    rows = features.frame_rows(atoms)
    force_rows = np.concatenate([part for _, part in features.force_rows(atoms)])
    linear = Prediction(
        energy=rest.energy + float(rows.energy[0] @ coefficients),
        forces=rest.forces + (force_rows @ coefficients).reshape(-1, 3),
        stress=None if rows.stress is None or rest.stress is None else rest.stress + rows.stress @ coefficients,
    )
    assert_same(random_potential(basis).evaluate(atoms), linear)


@pytest.mark.parametrize("size", BASES)
def test_feature_rows_of_every_basis_size(size: str) -> None:
    basis = small_basis(2, **BASES[size])
    atoms = triclinic(seed=6)
    coefficients = random_coefficients(basis)
    rows = np.concatenate([part for _, part in FeatureBuilder(basis).force_rows(atoms)])
    zero = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(2))
    expected = random_potential(basis).evaluate(atoms).forces - SplinePotential(basis, zero).evaluate(atoms).forces
    np.testing.assert_allclose(rows @ coefficients, expected.ravel(), rtol=0, atol=1e-10 * np.abs(expected).max())


# Derivatives


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("l_max", [0, 4, 8])
def test_forces_are_the_gradient_of_the_energy(structure: Callable[..., Atoms], l_max: int) -> None:
    potential = random_potential(small_basis(2, l_max=l_max))
    atoms = structure(seed=7)
    numeric = np.empty((len(atoms), 3))
    for i in range(len(atoms)):
        for x in range(3):
            numeric[i, x] = -central_difference(potential, lambda h, i=i, x=x: moved(atoms, i, x, h))
    forces = potential.evaluate(atoms).forces
    np.testing.assert_allclose(forces, numeric, rtol=0, atol=1e-7 * np.abs(forces).max())


@pytest.mark.parametrize("structure", [triclinic, sheet])
def test_stress_is_the_strain_derivative_of_the_energy(structure: Callable[..., Atoms]) -> None:
    potential = random_potential(small_basis(2))
    atoms = structure(seed=8)
    stress = potential.evaluate(atoms).stress
    assert stress is not None
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        direction = np.zeros((3, 3))
        direction[a, b] += 0.5
        direction[b, a] += 0.5
        numeric = central_difference(potential, lambda h, direction=direction: strained(atoms, h * direction))
        assert stress[v] == pytest.approx(numeric / atoms.get_volume(), abs=1e-7 * np.abs(stress).max())


def moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    out = atoms.copy()
    out.positions[atom, axis] += step
    return out


def central_difference(potential: SplinePotential, structure: Callable[[float], Atoms], h: float = 2e-4) -> float:
    """Derivative of the energy along a path, with an error of order h^4."""
    energy = [potential.evaluate(structure(k * h)).energy for k in (-2, -1, 1, 2)]
    return (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * h)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_atom_energies_sum_to_the_energy(structure: Callable[..., Atoms]) -> None:
    prediction = random_potential(small_basis(2)).evaluate(structure(seed=9))
    assert prediction.atom_energies.sum() == pytest.approx(prediction.energy, rel=1e-13)
    assert np.ptp(prediction.atom_energies) > 0.1


def test_the_potential_is_smooth_at_the_cutoff() -> None:
    """Value, slope and curvature vanish there: no step in the forces when a neighbour enters."""
    basis = small_basis(1, pair_cutoff=4.0, triplet_cutoff=4.0)
    potential = random_potential(basis)
    near = [potential.evaluate(Atoms("Si2", [[0, 0, 0], [r, 0, 0]])) for r in (4 - 1e-3, 4 + 1e-3)]
    assert np.abs(near[0].forces).max() < 1e-5
    assert near[0].energy == pytest.approx(near[1].energy, abs=1e-8)
    assert (near[1].forces == 0).all()


# Symmetries

ROTATIONS = st.integers(0, 10_000).map(lambda s: Rotation.random(random_state=s).as_matrix())


@settings(max_examples=20)
@given(rotation=ROTATIONS, mirror=st.booleans(), seed=st.integers(0, 50))
def test_rotation_and_reflection(rotation: np.ndarray, mirror: bool, seed: int) -> None:
    potential, atoms = random_potential(small_basis(2), rank=16), triclinic(seed=seed)
    matrix = rotation @ np.diag([1, 1, -1]) if mirror else rotation
    turned = atoms.copy()
    turned.set_cell(atoms.cell[:] @ matrix.T)
    turned.positions = atoms.positions @ matrix.T
    before, after = potential.evaluate(atoms, live=True), potential.evaluate(turned, live=True)
    full = [np.zeros((3, 3)), np.zeros((3, 3))]
    for tensor, stress in zip(full, (before.stress, after.stress), strict=True):
        tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] = stress
        tensor[[2, 2, 1], [1, 0, 0]] = np.asarray(stress)[3:]
    assert after.energy == pytest.approx(before.energy, abs=1e-10)
    np.testing.assert_allclose(after.forces, before.forces @ matrix.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(full[1], matrix @ full[0] @ matrix.T, rtol=0, atol=1e-10)
    # The norm over x, y, z does not see the axes; single precision.
    np.testing.assert_allclose(after.atom_uncertainty, before.atom_uncertainty, rtol=1e-4)


@settings(max_examples=20)
@given(shift=st.tuples(*3 * [st.floats(-30, 30)]), seed=st.integers(0, 50), wrap=st.booleans())
def test_translation_and_wrapping(shift: tuple[float, float, float], seed: int, wrap: bool) -> None:
    potential, atoms = random_potential(small_basis(2)), triclinic(seed=seed)
    shifted = atoms.copy()
    shifted.positions += shift
    if wrap:
        shifted.wrap()
    assert_same(potential.evaluate(shifted), potential.evaluate(atoms))


@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 50))
def test_permutation(data: st.DataObject, seed: int) -> None:
    atoms = molecule(SPECIES[3], seed=seed)
    potential = random_potential(small_basis(3))
    order = np.array(data.draw(st.permutations(range(len(atoms)))))
    before, after = potential.evaluate(atoms), potential.evaluate(atoms[order])
    assert_same(after, Prediction(before.energy, before.forces[order]))


def test_species_order_does_not_matter() -> None:
    assert Basis.create(["I", "Cu"]) == Basis.create(["Cu", "I"])


def test_forces_add_up_to_zero() -> None:
    prediction = random_potential(small_basis(3)).evaluate(triclinic(SPECIES[3], n=6))
    np.testing.assert_allclose(prediction.forces.sum(axis=0), 0, atol=1e-11)


# Cells


@pytest.mark.parametrize("structure", [triclinic, sheet, zincblende])
def test_a_small_cell_equals_its_supercell(structure: Callable[..., Atoms]) -> None:
    """Atoms that see their own images, and the same atoms written out."""
    potential, atoms = random_potential(small_basis(2), rank=16), structure(seed=10)
    if structure is zincblende:
        atoms = zincblende(a=5.4, rattle=0.1)
    repeats = (3, 2, 2) if atoms.pbc.all() else (3, 3, 1)
    large = atoms.repeat(repeats)
    n = int(np.prod(repeats))
    one, many = potential.evaluate(atoms, live=True), potential.evaluate(large, live=True)
    assert many.energy == pytest.approx(n * one.energy, rel=1e-11)
    np.testing.assert_allclose(many.forces, np.tile(one.forces, (n, 1)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(many.stress, one.stress, rtol=0, atol=1e-11)


def test_live_variance_sums_images_before_squaring() -> None:
    """An atom and its images move together: a direction's force on it is the sum over all of them, squared once."""
    basis, atoms = small_basis(2), triclinic(seed=11)
    potential = random_potential(basis, rank=16)
    np.testing.assert_allclose(
        potential.evaluate(atoms, live=True).forces_uncertainty, live_std_by_tables(potential, atoms), rtol=1e-4
    )


def test_a_skewed_cell_equals_the_same_lattice_in_other_vectors() -> None:
    potential, atoms = random_potential(small_basis(2)), triclinic(seed=12)
    other = atoms.copy()
    other.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ atoms.cell[:])
    assert_same(potential.evaluate(other), potential.evaluate(atoms))


def test_vacuum_and_open_boundary_are_the_same() -> None:
    potential, atoms = random_potential(small_basis(2)), sheet(seed=13)
    closed = atoms.copy()
    closed.pbc = True
    assert_same(potential.evaluate(closed), potential.evaluate(atoms))
    flat = atoms.copy()
    flat.cell[2] = 0
    open_ended = potential.evaluate(flat)
    assert open_ended.stress is None
    np.testing.assert_allclose(open_ended.forces, potential.evaluate(atoms).forces, rtol=0, atol=1e-11)


def test_a_molecule_needs_no_cell() -> None:
    potential, atoms = random_potential(small_basis(2)), molecule(seed=14)
    boxed = atoms.copy()
    boxed.set_cell([40, 40, 40])
    boxed.pbc = True
    free, periodic = potential.evaluate(atoms), potential.evaluate(boxed)
    assert free.stress is None
    assert free.energy == pytest.approx(periodic.energy, rel=1e-12)
    np.testing.assert_allclose(free.forces, periodic.forces, rtol=0, atol=1e-11)


def test_a_single_atom_has_its_offset_and_no_force() -> None:
    basis = small_basis(2)
    prediction = random_potential(basis).evaluate(Atoms("I"))
    assert prediction.energy == random_coefficients(basis)[1] + reference_energies(basis)[1]
    assert (prediction.forces == 0).all()


def test_atoms_out_of_reach_do_not_interact() -> None:
    basis = small_basis(2)
    potential = random_potential(basis, rank=16)
    far = potential.evaluate(Atoms("CuI", [[0, 0, 0], [0, 0, 50.0]]), live=True)
    alone = [potential.evaluate(Atoms(symbol)).energy for symbol in ("Cu", "I")]
    assert far.energy == pytest.approx(sum(alone), rel=1e-14)
    assert (far.forces == 0).all()
    assert (far.forces_uncertainty == 0).all()


def test_pairs_without_triplets() -> None:
    """Neighbours within the pair cutoff only."""
    basis = small_basis(2, pair_cutoff=4.6, triplet_cutoff=3.0)
    atoms = Atoms("CuI", [[0, 0, 0], [0, 0, 4.0]])
    energy, forces, _ = brute_force(basis, random_coefficients(basis), reference_energies(basis), atoms)
    potential = random_potential(basis, rank=16)
    assert_same(potential.evaluate(atoms), Prediction(energy, forces))
    np.testing.assert_allclose(
        potential.evaluate(atoms, live=True).forces_uncertainty,
        live_std_by_tables(potential, atoms),
        rtol=1e-4,
        atol=1e-9,
    )


# Live variance


def live_std_by_tables(potential: SplinePotential, atoms: Atoms) -> np.ndarray:
    """sqrt of the sum over directions of their squared forces, each direction evaluated as a potential in double precision.

    With the share of the atoms around.
    """
    basis, tables = potential.basis, potential.tables
    zero = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(len(basis.species)))
    repulsion = SplinePotential(basis, zero).evaluate(atoms).forces
    variance = np.zeros((len(atoms), 3))
    for r in range(tables.rank):
        direction = replace(
            zero,
            pair=np.ascontiguousarray(tables.pair_live[..., r], dtype=np.float64),
            triplet=np.ascontiguousarray(tables.triplet_live[..., r], dtype=np.float64),
            zbl=tables.zbl,
        )
        variance += (SplinePotential(basis, direction).evaluate(atoms).forces - repulsion) ** 2
    neighbours = potential.neighbors().update(atoms, potential.index(atoms))
    return np.sqrt(with_neighbours(variance, neighbours, reach=basis.triplet_cutoff))


@pytest.mark.parametrize("rank", [16, 48])
@pytest.mark.parametrize("size", BASES)
def test_live_std_is_the_root_of_summed_squared_forces(size: str, rank: int) -> None:
    potential = random_potential(small_basis(2, **BASES[size]), rank=rank)
    atoms = triclinic(seed=15)
    expected = live_std_by_tables(potential, atoms)
    assert expected.min() > 0
    np.testing.assert_allclose(potential.evaluate(atoms, live=True).forces_uncertainty, expected, rtol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("n_species", [1, 3])
def test_live_std_of_any_species_and_cell(structure: Callable[..., Atoms], n_species: int) -> None:
    potential = random_potential(small_basis(n_species), rank=16)
    atoms = structure(SPECIES[n_species], seed=2)
    np.testing.assert_allclose(
        potential.evaluate(atoms, live=True).forces_uncertainty, live_std_by_tables(potential, atoms), rtol=1e-4
    )


def test_the_live_pass_leaves_the_mean_alone() -> None:
    potential, atoms = random_potential(small_basis(2), rank=32), triclinic(seed=16)
    with_live, without = potential.evaluate(atoms, live=True), potential.evaluate(atoms)
    assert with_live.energy == without.energy
    np.testing.assert_array_equal(with_live.forces, without.forces)
    np.testing.assert_array_equal(with_live.stress, without.stress)
    assert without.forces_uncertainty is None


def test_no_live_directions_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no live directions"):
        random_potential(small_basis(2)).evaluate(molecule(), live=True)


def test_scratch_memory_is_cleared_between_evaluations() -> None:
    """Large and small systems in turn give what fresh potentials give."""
    basis = small_basis(2)
    potential = random_potential(basis, rank=16)
    for atoms in (molecule(seed=1), triclinic(seed=1).repeat(2), Atoms("Cu"), sheet(seed=1), zincblende(a=4.2)):
        fresh, used = random_potential(basis, rank=16).evaluate(atoms, live=True), potential.evaluate(atoms, live=True)
        assert used.energy == fresh.energy
        np.testing.assert_array_equal(used.forces, fresh.forces)
        np.testing.assert_array_equal(used.forces_uncertainty, fresh.forces_uncertainty)


# Instruction sets and threads


def evaluate_all() -> dict[str, list[float]]:
    """Numbers of every basis size in this process's instruction set."""
    out: dict[str, list[float]] = {"instruction_set": [_native.instruction_set()]}
    for name, size in BASES.items():
        prediction = random_potential(small_basis(2, **size), rank=16).evaluate(triclinic(seed=17), live=True)
        assert prediction.stress is not None
        assert prediction.forces_uncertainty is not None
        out[f"{name}.mean"] = [prediction.energy, *prediction.forces.ravel(), *prediction.stress]
        out[f"{name}.live"] = [*prediction.forces_uncertainty.ravel()]
        channels = with_channels(small_basis(2, **size))
        prediction = random_potential(channels, rank=16).evaluate(triclinic(seed=17), live=True)
        assert prediction.forces_uncertainty is not None
        out[f"{name}.quadruplets.mean"] = [prediction.energy, *prediction.forces.ravel()]
        out[f"{name}.quadruplets.live"] = [*prediction.forces_uncertainty.ravel()]
        for label, base in (("mixed", small_basis(2, **size)), ("mixed and quadruplets", channels)):
            prediction = random_potential(with_mixed_triplets(base, n=5), rank=16).evaluate(
                triclinic(seed=17), live=True
            )
            assert prediction.forces_uncertainty is not None
            out[f"{name}.{label}.mean"] = [prediction.energy, *prediction.forces.ravel()]
            out[f"{name}.{label}.live"] = [*prediction.forces_uncertainty.ravel()]
        out[f"{name}.powers.mean"] = [*random_potential(small_basis(2, **size)).powers(triclinic(seed=17)).ravel() ** 2]
    return out


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_instruction_sets_agree(isa: str) -> None:
    environment = os.environ | {"TREPID_ISA": isa}
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}; import json, test_native; "
        "print(json.dumps(test_native.evaluate_all()))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    (got,) = numbers.pop("instruction_set")
    if got != isa:
        pytest.skip(f"this processor offers {got}, not {isa}")
    here = evaluate_all()
    for name, values in numbers.items():
        expected = np.array(here[name])
        tolerance = 1e-12 if name.endswith("mean") else 1e-5
        np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_agree_to_round_off(n_threads: int) -> None:
    basis = small_basis(2)
    atoms = bulk("CuI", "zincblende", a=5.6, cubic=True).repeat((5, 5, 4))  # a thread asks for 256 atoms
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=atoms.positions.shape)
    one = random_potential(basis, rank=16, n_threads=1).evaluate(atoms, live=True)
    many = random_potential(basis, rank=16, n_threads=n_threads).evaluate(atoms, live=True)
    assert_same(many, one, rtol=1e-12)
    np.testing.assert_allclose(many.forces_uncertainty, one.forces_uncertainty, rtol=1e-5)


def test_a_repeated_evaluation_is_the_same_to_the_last_bit() -> None:
    potential = random_potential(small_basis(2), rank=16, n_threads=2)
    atoms = triclinic(seed=18).repeat((5, 5, 5))
    first, second = potential.evaluate(atoms, live=True), potential.evaluate(atoms, live=True)
    assert first.energy == second.energy
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.forces_uncertainty, second.forces_uncertainty)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l_max": _native.max_degree + 1}, "l_max"),
        ({"l_max": -1}, "l_max"),
        ({"rank": 8}, "rank"),
        ({"offset": np.zeros(3)}, "offset has 3 numbers instead of 2"),
        ({"pair": np.zeros((2, 2, 7))}, "pair has 28 numbers instead of 40"),
        ({"support_centre": np.zeros(3)}, "support_centre has 3 numbers"),
        ({"mixed_triplet": np.zeros(3)}, "triplet has"),
        ({"triplet": np.zeros(0), "mixed_triplet": np.zeros(3)}, "mixed_triplet has 3 numbers instead of 0"),
    ],
)
def test_the_evaluator_checks_its_arguments(change: dict[str, object], message: str) -> None:
    basis = small_basis(2)
    tables = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(2))
    arguments = {
        "n_species": 2,
        "n_pair": basis.n_pair,
        "n_radial": basis.n_radial,
        "l_max": basis.l_max,
        "rank": 0,
        "r_min": basis.r_min,
        "pair_cutoff": basis.pair_cutoff,
        "triplet_cutoff": basis.triplet_cutoff,
    }
    arguments |= tables.native | SupportTables.empty().arrays
    _native.Evaluator(**arguments)
    with pytest.raises(ValueError, match=message):
        _native.Evaluator(**(arguments | change))


def test_no_atoms_and_unknown_elements_are_refused() -> None:
    potential = random_potential(small_basis(2))
    with pytest.raises(DataError, match="no atoms"):
        potential.evaluate(Atoms())
    with pytest.raises(DataError, match="elements Ag and Se are unknown to this model, which describes Cu, I"):
        potential.evaluate(Atoms("CuAgSe", positions=np.eye(3) * 3))
