"""Mixed triplets against their definition, as a double sum over neighbours, and in fits and files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import legendre

from potential_systems import (
    SPECIES,
    assert_rows_are_the_derivatives,
    labelled,
    molecule,
    of_one_term,
    pairs_within,
    random_potential,
    scipy_splines,
    shared,
    small_basis,
    strained,
    triclinic,
    with_channels,
    with_mixed_triplets,
)
from trepid.choices import Speed, Triplets
from trepid.config import FitSettings, PotentialSettings
from trepid.data import LabelKeys, Labels, attach_labels
from trepid.errors import ConfigError
from trepid.export.uf3 import resample
from trepid.export.uf3_forces import evaluate as uf3_evaluate
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.channel_choice import TRIPLET_CHANNEL_LENGTH, choose_triplet_channels
from trepid.potentials.bayesian.container import decode
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.fit_settings import settings_of_fit, untrained_model, write_settings
from trepid.potentials.bayesian.posterior import Posterior, with_hyperparameters
from trepid.potentials.bayesian.sized_fit import fit_with_sizes
from trepid.potentials.bayesian.sizes import GivenSizes, Sizes
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.terms.mixed_triplet import MixedTripletTerm
from trepid.potentials.bayesian.terms.triplet import TripletTerm

FIVE = SPECIES[5]
THREE = FIVE[:3]
SMALL = {"pair_cutoff": 4.4, "triplet_cutoff": 4.0, "n_pair": 8, "n_radial": 4, "l_max": 1}
FIT = SMALL | {"n_channels": 0, "n_threads": 1}


def energy_by_definition(basis: Basis, coefficients: FloatArray, atoms: Atoms) -> float:
    """Sum over centres and ordered pairs of neighbours, with Legendre polynomials of the angle."""
    assert basis.triplet_channels is not None
    term, radial = basis.layout.term(MixedTripletTerm), basis.triplet_channels.radial_array
    n = len(radial)
    index = [basis.species.index(s) for s in atoms.symbols]
    splines = scipy_splines(basis, n=basis.n_radial, cutoff=basis.triplet_cutoff)
    blocks = coefficients[term.columns].reshape(basis.n_species, basis.l_max + 1, -1)
    first, second = np.triu_indices(n)
    bonds: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in atoms]
    for i, j, vector in pairs_within(atoms, basis.triplet_cutoff):
        r = float(np.linalg.norm(vector))
        bonds[i].append((vector / r, radial[:, index[j]] @ splines(r)[0]))
    total = 0.0
    for i, near in enumerate(bonds):
        for (e1, f1), (e2, f2) in product(near, near):
            polynomials = [legendre.Legendre.basis(degree)(e1 @ e2) for degree in range(basis.l_max + 1)]
            total += float(polynomials @ blocks[index[i]] @ (f1[first] * f2[second]))
    return total


# ---- the form


@pytest.mark.parametrize(("n_species", "l_max", "n"), [(1, 3, 4), (2, 0, 1), (3, 5, 2), (5, 4, 9), (3, 8, 3)])
def test_energy_is_that_of_the_definition(n_species: int, l_max: int, n: int) -> None:
    basis = with_mixed_triplets(small_basis(n_species, l_max=l_max), n=n)
    potential, rest, coefficients = of_one_term(basis, MixedTripletTerm)
    for atoms in (triclinic(basis.species), molecule(basis.species)):
        found = potential.evaluate(atoms).energy - rest.evaluate(atoms).energy
        assert found == pytest.approx(energy_by_definition(basis, coefficients, atoms), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("quadruplets", [False, True])
@pytest.mark.parametrize("n_species", [1, 3])
def test_forces_and_stress_are_derivatives_of_the_energy(n_species: int, quadruplets: bool) -> None:
    basis = with_mixed_triplets(small_basis(n_species, l_max=4), n=5)
    potential = random_potential(with_channels(basis, n=3) if quadruplets else basis)
    atoms = triclinic(basis.species)
    found = potential.evaluate(atoms)
    step = 1e-5
    scale = abs(found.forces).max()
    for i, x in product(range(len(atoms)), range(3)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, x] += sign * step
            energies.append(potential.evaluate(moved).energy)
        assert found.forces[i, x] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-7 * scale)
    assert found.stress is not None
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (potential.evaluate(strained(atoms, sign * strain)).energy for sign in (1, -1))
        expected = (up - down) / (2 * step) / atoms.get_volume()
        assert found.stress[v] == pytest.approx(expected, rel=1e-5, abs=1e-6 * abs(found.stress).max())


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), angle=st.floats(0, 360), axis=st.tuples(*3 * [st.floats(-1, 1)]))
def test_invariant_under_rotations_and_exchange_of_atoms(
    seed: int, angle: float, axis: tuple[float, float, float]
) -> None:
    if np.linalg.norm(axis) < 1e-2:
        return
    potential = random_potential(with_mixed_triplets(small_basis(2, l_max=4), n=5), seed)
    atoms = triclinic(seed=seed % 7)
    found = potential.evaluate(atoms)
    turned = atoms.copy()
    turned.rotate(angle, axis, rotate_cell=True)
    assert potential.evaluate(turned).energy == pytest.approx(found.energy, rel=1e-10, abs=1e-10)
    order = np.random.default_rng(seed).permutation(len(atoms))
    np.testing.assert_allclose(potential.evaluate(atoms[order]).forces, found.forces[order], atol=1e-9)


@pytest.mark.parametrize("quadruplets", [False, True])
@pytest.mark.parametrize("n_species", [1, 3, 5])
def test_feature_rows_are_the_derivatives_in_the_coefficients(n_species: int, quadruplets: bool) -> None:
    basis = with_mixed_triplets(small_basis(n_species, l_max=4), n=4)
    basis = with_channels(basis) if quadruplets else basis
    assert_rows_are_the_derivatives(basis, MixedTripletTerm)


@pytest.mark.parametrize(("n_species", "n_radial", "quadruplets"), [(1, 5, False), (3, 5, True), (5, 8, False)])
def test_live_variance_is_that_of_the_directions(n_species: int, n_radial: int, quadruplets: bool) -> None:
    basis = with_mixed_triplets(small_basis(n_species, l_max=4, n_radial=n_radial), n=5)
    basis = with_channels(basis) if quadruplets else basis
    live = np.random.default_rng(0).normal(size=(basis.layout.size, 32))
    tables = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(n_species), live=live)
    atoms = triclinic(basis.species)
    found = SplinePotential(basis, tables, n_threads=1).evaluate(atoms, live=True).forces_uncertainty
    rows = np.concatenate([r for _, r in FeatureBuilder(basis).force_rows(atoms)])
    variance = shared(((rows @ live) ** 2).sum(axis=1), atoms, reach=basis.triplet_cutoff)
    np.testing.assert_allclose(found, np.sqrt(variance).reshape(-1, 3), rtol=1e-4)


@pytest.mark.parametrize("quadruplets", [False, True])
def test_threads_agree_and_a_repeated_evaluation_is_the_same(quadruplets: bool) -> None:
    basis = with_mixed_triplets(small_basis(2, l_max=4), n=5)
    basis = with_channels(basis, n=3) if quadruplets else basis
    big = triclinic().repeat((5, 5, 5))
    big.rattle(0.05, seed=1)
    one, two = (random_potential(basis, n_threads=n) for n in (1, 2))
    first, second, again = one.evaluate(big), two.evaluate(big), one.evaluate(big)
    np.testing.assert_allclose(second.forces, first.forces, atol=1e-11 * abs(first.forces).max())
    np.testing.assert_array_equal(again.forces, first.forces)


def test_a_copy_by_pickle_evaluates_the_same() -> None:
    potential = random_potential(with_mixed_triplets(small_basis(3)), rank=16)
    features = FeatureBuilder(potential.basis)
    atoms = triclinic(potential.species)
    copied, rows = pickle.loads(pickle.dumps((potential, features._rows)))
    first, second = potential.evaluate(atoms, live=True), copied.evaluate(atoms, live=True)
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.forces_uncertainty, second.forces_uncertainty)
    assert rows.size == features._rows.size


def test_the_uf3_format_holds_them() -> None:
    """The conversion goes over the triplet energies between any two neighbour species, which the channels make."""
    basis = with_mixed_triplets(small_basis(2, l_max=2), n=3)
    potential = random_potential(basis)
    atoms = bulk("CuI", "zincblende", a=5.9).repeat(2)
    atoms.rattle(0.05, seed=0)
    expected = potential.evaluate(atoms).forces
    assert np.abs(uf3_evaluate(resample(potential), atoms)[1] - expected).max() < 0.02 * np.abs(expected).max()


# ---- the prior


@pytest.mark.parametrize("l_max", [0, 3])
def test_one_species_and_all_channels_have_the_prior_of_full_triplets(l_max: int) -> None:
    """Covariances of energies and forces under both priors agree: the same Gaussian process."""
    full = small_basis(1, l_max=l_max, n_radial=6)
    atoms = triclinic(full.species)
    channels = choose_triplet_channels(full, [atoms], 99)
    assert channels.n == full.n_radial
    mixed = replace(full, triplet_channels=channels)
    hyper = Hyperparameters(triplet_amplitude=0.7, triplet_length=TRIPLET_CHANNEL_LENGTH, angular_length=0.5)
    covariances = []
    for basis, kind in ((full, TripletTerm), (mixed, MixedTripletTerm)):
        features = FeatureBuilder(basis)
        rows = np.vstack([features.frame_rows(atoms).energy, *(r for _, r in features.force_rows(atoms))])
        term = basis.layout.term(kind)
        projected = np.hstack([rows[:, f.columns] @ f.u for f in term.prior_factors(hyper)])
        covariances.append(projected @ projected.T)
    np.testing.assert_allclose(covariances[1], covariances[0], atol=1e-9 * np.abs(covariances[0]).max())


def test_one_species_and_all_channels_have_the_evidence_of_full_triplets() -> None:
    atoms = labelled(triclinic(("Si",)))
    full = small_basis(1, n_radial=6)
    mixed = replace(full, triplet_channels=choose_triplet_channels(full, [atoms], 99))
    hyper = Hyperparameters(triplet_length=TRIPLET_CHANNEL_LENGTH)
    evidence = []
    for basis in (full, mixed):
        statistics = SufficientStatistics(basis.layout.size)
        FeatureBuilder(basis).add(
            statistics, atoms, keys=LabelKeys(), reference_energies=np.zeros(1), noise=hyper.noise
        )
        evidence.append(Posterior(basis, hyper, statistics).log_evidence)
    assert evidence[1] == pytest.approx(evidence[0], rel=1e-7)


def test_coefficients_grow_with_the_species_and_not_with_their_cube() -> None:
    def counts(kind: Triplets) -> list[int]:
        sizes = Sizes(triplets=kind)
        return [sizes.n_coefficients(species) for species in (FIVE[:3], FIVE[:4], FIVE)]

    pairs = np.array([3 + 6 * 20, 4 + 10 * 20, 5 + 15 * 20])
    mixed, full = (np.array(counts(kind)) - pairs for kind in (Triplets.MIXED, Triplets.FULL))
    np.testing.assert_allclose(mixed / [3, 4, 5], 390)
    assert full.tolist() == [4500, 10560, 20500]
    # The sizes count what the basis has.
    basis = replace(
        Basis.create(FIVE),
        triplet_channels=choose_triplet_channels(Basis.create(FIVE), [triclinic(FIVE)]),
    )
    assert basis.layout.size == counts(Triplets.AUTO)[2]


# ---- learning


def truth_frames(n: int, *, seed: int = 0, species: Sequence[str] = THREE) -> list[Atoms]:
    """Small frames, labelled by pair potentials and mixed triplets."""
    start = triclinic(tuple(species), seed, n=6)
    basis = Basis.create(species, **SMALL)
    basis = replace(basis, triplet_channels=choose_triplet_channels(basis, [start], 4))
    coefficients = np.zeros(basis.layout.size)
    rng = np.random.default_rng(seed)
    for factor in basis.layout.prior_factors(Hyperparameters(triplet_amplitude=0.2)):
        coefficients[factor.columns] = factor.u @ rng.normal(size=factor.u.shape[1])
    truth = SplinePotential(
        basis, make_tables(basis, coefficients, reference_energies=np.zeros(len(species))), n_threads=1
    )
    frames = []
    for k in range(n):
        atoms = start.copy()
        atoms.positions += np.random.default_rng([seed, k]).normal(scale=0.12, size=(len(atoms), 3))
        p = truth.evaluate(atoms)
        forces = p.forces + rng.normal(scale=2e-2, size=p.forces.shape)
        frames.append(attach_labels(atoms, Labels(energy=p.energy, forces=forces, stress=p.stress)))
    return frames


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    return truth_frames(16)


@pytest.fixture(scope="module")
def model(frames: list[Atoms]) -> BayesianForceField:
    return BayesianForceField(THREE, **FIT).fit(frames[:10])


def test_three_species_and_more_are_mixed_by_default(model: BayesianForceField) -> None:
    forms = [BayesianForceField(FIVE[:n]).triplets for n in range(1, 6)]
    assert forms == [Triplets.FULL, Triplets.FULL, *3 * [Triplets.MIXED]]
    assert BayesianForceField(FIVE, triplets="full").triplets is Triplets.FULL
    assert BayesianForceField(["Si"], triplets=Triplets.MIXED).triplets is Triplets.MIXED
    assert model.basis.triplet_channels is not None
    assert model.basis.layout.term(TripletTerm).size == 0
    assert Sizes.of(model.basis).triplets is Triplets.MIXED
    with pytest.raises(ValueError, match="some"):
        BayesianForceField(FIVE, triplets="some")


def test_they_learn_the_truth(model: BayesianForceField, frames: list[Atoms]) -> None:
    forces = np.array([a.arrays["REF_forces"] for a in frames[10:]])
    errors = np.array([model.predict(a).forces for a in frames[10:]]) - forces
    assert np.sqrt(np.mean(errors**2)) < 0.1 * np.sqrt(np.mean(forces**2))


def test_slopes_of_the_evidence_are_its_derivatives(model: BayesianForceField) -> None:
    hyper = Hyperparameters(triplet_amplitude=0.4, angular_length=0.6)
    slopes = Posterior(model.basis, hyper, model.statistics).log_evidence_gradient()
    assert slopes["triplet_length"] == 0.0
    for name in ("triplet_amplitude", "angular_length", "pair_length", "noise_forces"):
        value = slopes_by_differences(model, hyper, name)
        assert slopes[name] == pytest.approx(value, rel=1e-4, abs=1e-3)


def slopes_by_differences(model: BayesianForceField, hyper: Hyperparameters, name: str) -> float:
    value = hyper.noise.forces if name == "noise_forces" else getattr(hyper, name)
    up, down = (
        Posterior(
            model.basis, with_hyperparameters(hyper, (name,), np.array([value * np.exp(step)])), model.statistics
        ).log_evidence
        for step in (1e-4, -1e-4)
    )
    return (up - down) / 2e-4


def test_statistics_add_up(model: BayesianForceField, frames: list[Atoms]) -> None:
    """Two parts of the frames, in any order, give the statistics of all, with the channels of the first fit."""
    basis = model.basis
    parts = []
    for chosen in ([0, 1, 2, 3], [3, 1], [0, 2]):
        statistics = FeatureBuilder(basis).statistics(
            [frames[k] for k in chosen],
            range(len(chosen)),
            keys=model.keys,
            reference_energies=model.reference_energies,
            noise=model.hyperparameters.noise,
        )
        parts.append(statistics)
    parts[1].merge(parts[2])
    for kind in LabelKind:
        whole, summed = parts[0].kind(kind), parts[1].kind(kind)
        np.testing.assert_allclose(summed.gram, whole.gram, atol=1e-12 * np.abs(whole.gram).max())
        np.testing.assert_allclose(summed.projection, whole.projection, atol=1e-12 * np.abs(whole.projection).max())


def test_files_and_pickles_keep_the_channels(model: BayesianForceField, frames: list[Atoms], tmp_path: Path) -> None:
    path = tmp_path / "m.trepid"
    model.save(path)
    loaded, copied = BayesianForceField.load(path), pickle.loads(pickle.dumps(model))
    for other in (loaded, copied):
        assert other.basis == model.basis
        assert other.triplets is Triplets.MIXED
        np.testing.assert_array_equal(other.predict(frames[12]).forces, model.predict(frames[12]).forces)
    assert loaded.to_bytes() == path.read_bytes()
    channels = loaded.basis.triplet_channels
    loaded.update(frames[10:12])
    assert loaded.basis.triplet_channels == channels
    assert loaded.n_frames == 12


def test_only_files_with_mixed_triplets_have_the_new_version(model: BayesianForceField, frames: list[Atoms]) -> None:
    full = BayesianForceField(FIVE[:2], **FIT).update(truth_frames(2, species=FIVE[:2]))
    for force_field, version in ((model, 3), (full, 2)):
        data = force_field.to_bytes()
        size = int.from_bytes(data[:8], "little")
        entry = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["trepid"])
        assert entry["version"] == version
        tables = decode(data, name="").tensors
        assert ("table.mixed_triplet" in tables) == (version == 3)
        assert ("table.triplet" in tables) == (version == 2)


def test_a_file_of_an_earlier_version_has_full_triplets(frames: list[Atoms]) -> None:
    """Such a file names no form, also with three species."""
    from model_files import encode

    three = truth_frames(2, species=FIVE[:3])
    old = BayesianForceField(FIVE[:3], **FIT, triplets="full").update(three)
    content = decode(old.to_bytes(), name="")
    settings_ = {name: value for name, value in content.settings.items() if name != "triplets"}
    loaded = BayesianForceField.from_bytes(encode(content.tensors, settings_), name="old")
    assert loaded.triplets is Triplets.FULL
    np.testing.assert_array_equal(loaded.predict(three[0]).forces, old.predict(three[0]).forces)


def test_an_update_after_a_restart_is_that_without_it(model: BayesianForceField, frames: list[Atoms]) -> None:
    straight, restarted = (BayesianForceField.from_bytes(model.to_bytes(), name="") for _ in range(2))
    straight.update(frames[10:11]).update(frames[11:12])
    restarted.update(frames[10:11])
    restarted = BayesianForceField.from_bytes(restarted.to_bytes(), name="").update(frames[11:12])
    assert restarted.to_bytes() == straight.to_bytes()


def test_the_settings_file_repeats_the_fit(frames: list[Atoms], tmp_path: Path) -> None:
    given = GivenSizes(**SMALL, n_channels=0, triplets=Triplets.MIXED)
    two = truth_frames(3, species=FIVE[:2])
    (tmp_path / "frames.extxyz").write_text("")  # of which only the check sum matters here
    fitted = fit_with_sizes(two, FIVE[:2], given=given, speed=Speed.FAST, keys=LabelKeys(), seed=3)
    made = settings_of_fit(fitted.model, fitted.choice.start, [(tmp_path / "frames.extxyz", 3)], command="x")
    path = tmp_path / "settings.yaml"
    write_settings(made, path)
    read = FitSettings.read(path)
    assert read.potential.triplets is Triplets.MIXED
    again = untrained_model(read, source=path).fit(two)
    assert again.to_bytes() == fitted.model.to_bytes()
    # A file of an earlier version names no form and had full triplets.
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "triplets:" not in line))
    assert FitSettings.read(path).potential.triplets is Triplets.FULL
    assert PotentialSettings().triplets is Triplets.AUTO


def test_channels_do_not_depend_on_earlier_ones_and_are_reproducible(frames: list[Atoms]) -> None:
    basis = Basis.create(THREE, **SMALL)
    first = choose_triplet_channels(basis, frames, 6, seed=5)
    assert choose_triplet_channels(replace(basis, triplet_channels=first), frames, 6, seed=5) == first
    fewer = choose_triplet_channels(basis, frames, 4, seed=5)
    np.testing.assert_allclose(fewer.radial_array, first.radial_array[:4], atol=1e-9)
    assert choose_triplet_channels(basis, frames, 999).n == basis.n_species * basis.n_radial


def test_with_quadruplets(frames: list[Atoms]) -> None:
    model = BayesianForceField(THREE, **(FIT | {"n_channels": 2})).update(frames[:4])
    assert model.basis.channels is not None
    assert model.basis.channels.n == 2
    assert model.basis.triplet_channels is not None
    loaded = BayesianForceField.from_bytes(model.to_bytes(), name="")
    np.testing.assert_array_equal(loaded.predict(frames[5]).forces, model.predict(frames[5]).forces)
    with pytest.raises(ConfigError, match="n_channels is 4"):
        BayesianForceField(FIVE, n_channels=4)
