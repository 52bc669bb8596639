"""Quadruplets against their definition, written out with complex harmonics and Wigner symbols, and in fits, files and searches."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from scipy.special import sph_harm_y

from form_truths import quadruplet_truth
from potential_systems import (
    assert_rows_are_the_derivatives,
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
)
from trepid.choices import Speed
from trepid.data import LabelKeys
from trepid.errors import ConfigError
from trepid.export.uf3 import resample
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.channel_choice import choose_channels
from trepid.potentials.bayesian.couplings import degree_triples, header, racah_harmonics
from trepid.potentials.bayesian.features import FeatureBuilder
from trepid.potentials.bayesian.posterior import Posterior, with_hyperparameters
from trepid.potentials.bayesian.size_search import choose_sizes
from trepid.potentials.bayesian.sizes import GivenSizes
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.statistics import LabelKind
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.terms.quadruplet import QuadrupletTerm

NATIVE = Path(__file__).parents[2] / "src" / "trepid" / "native"


def wigner_3j(l1: int, l2: int, l3: int, m1: int, m2: int, m3: int) -> float:
    """Racah's formula."""
    if m1 + m2 + m3 or not abs(l1 - l2) <= l3 <= l1 + l2 or any(abs(m) > l for l, m in ((l1, m1), (l2, m2), (l3, m3))):  # noqa: E741
        return 0.0
    f = math.factorial
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    root = math.sqrt(triangle * f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3))
    total = 0.0
    for t in range(l1 + l2 + l3 + 1):
        parts = (t, l3 - l2 + t + m1, l3 - l1 + t - m2, l1 + l2 - l3 - t, l1 - t - m1, l2 - t + m2)
        if min(parts) >= 0:
            total += (-1) ** t / math.prod(f(part) for part in parts)
    return (-1) ** (l1 - l2 - m3) * root * total


def invariant(l1: int, l2: int, l3: int, a: list[dict[tuple[int, int], complex]]) -> float:
    """sum of 3j symbols times three sets of complex densities."""
    total = 0.0 + 0.0j
    for m1, m2 in product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
        m3 = -m1 - m2
        if abs(m3) <= l3:
            total += wigner_3j(l1, l2, l3, m1, m2, m3) * a[0][l1, m1] * a[1][l2, m2] * a[2][l3, m3]
    assert abs(total.imag) < 1e-9 * max(1.0, abs(total))
    return total.real


def energy_by_definition(basis: Basis, coefficients: FloatArray, atoms: Atoms) -> float:
    """The sum over quadruplets, channel by channel, with complex harmonics."""
    assert basis.channels is not None
    term = basis.layout.term(QuadrupletTerm)
    radial, centre = basis.channels.radial_array, basis.channels.centre_array
    index = np.array([basis.species.index(s) for s in atoms.symbols])
    splines = scipy_splines(basis, n=basis.n_radial, cutoff=basis.triplet_cutoff)
    degrees = range(min(basis.l_max, 4) + 1)
    names = [(degree, m) for degree in degrees for m in range(-degree, degree + 1)]
    bonds: list[list[tuple[int, FloatArray]]] = [[] for _ in atoms]
    for i, j, vector in pairs_within(atoms, basis.triplet_cutoff):
        bonds[i].append((j, vector))
    signs = _signs(min(basis.l_max, 4))
    total = 0.0
    for i, near in enumerate(bonds):
        if not near:
            continue
        c = coefficients[term.columns].reshape(basis.n_species, -1)[index[i]]
        alone = [dict.fromkeys(names, 0.0 + 0j) for _ in radial]
        for k, channel in enumerate(alone):
            channel[0, 0] = -centre[index[i], k]
        own = [dict(channel) for channel in alone]
        for j, d in near:
            r = float(np.linalg.norm(d))
            polar, azimuth = math.acos(d[2] / r), math.atan2(d[1], d[0])
            values, _ = splines(r)
            for k, channel in enumerate(own):
                weight = float(radial[k, index[j]] @ values)
                for degree, m in names:
                    y = complex(sph_harm_y(degree, m, polar, azimuth)) * math.sqrt(4 * math.pi / (2 * degree + 1))
                    channel[degree, m] += weight * y
        for f, each in enumerate(term.products):
            triple = term.triples[each.triple].degrees
            both = [invariant(*triple, [which[k] for k in each.channels]) for which in (own, alone)]
            total += c[f] * signs[triple] * (both[0] - both[1])
    return total


def _signs(l_max: int) -> dict[tuple[int, int, int], float]:
    """Sign of the couplings relative to the 3j symbols: that of the integral of three harmonics, the 3j symbol at m = 0."""
    return {t.degrees: float(np.sign(wigner_3j(*t.degrees, 0, 0, 0))) for t in degree_triples(l_max)}


# ---- the form


def test_the_header_of_the_core_holds_the_couplings() -> None:
    assert (NATIVE / "couplings.h").read_text(encoding="utf-8") == header()
    assert len(degree_triples(4)) == 11
    assert sum(len(t.couplings) for t in degree_triples(4)) == 191
    assert degree_triples(8) == degree_triples(4)
    assert [t.degrees for t in degree_triples(2)] == [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 1, 2), (2, 2, 2)]


def test_racah_harmonics_add_up_to_legendre_polynomials() -> None:
    n = np.random.default_rng(0).normal(size=(7, 3))
    n /= np.linalg.norm(n, axis=1)[:, None]
    y = racah_harmonics(4, n)
    for degree in range(5):
        block = y[:, degree**2 : (degree + 1) ** 2]
        expected = np.polynomial.legendre.Legendre.basis(degree)(n @ n.T)
        np.testing.assert_allclose(block @ block.T, expected, atol=1e-13)


@pytest.mark.parametrize("n_species", [1, 2, 3])
@pytest.mark.parametrize("l_max", [1, 3, 5])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_energy_is_that_of_the_definition(n_species: int, l_max: int, n_channels: int) -> None:
    basis = with_channels(small_basis(n_species, l_max=l_max), n=n_channels)
    potential, rest, coefficients = of_one_term(basis, QuadrupletTerm)
    for atoms in (triclinic(basis.species), molecule(basis.species)):
        found = potential.evaluate(atoms).energy - rest.evaluate(atoms).energy
        assert found == pytest.approx(energy_by_definition(basis, coefficients, atoms), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_species", [1, 2])
def test_forces_and_stress_are_derivatives_of_the_energy(n_species: int) -> None:
    basis = with_channels(small_basis(n_species, l_max=4), n=3)
    potential, _, _ = of_one_term(basis, QuadrupletTerm)
    atoms = triclinic(basis.species)
    found = potential.evaluate(atoms)
    step = 1e-5
    for i, x in product(range(len(atoms)), range(3)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, x] += sign * step
            energies.append(potential.evaluate(moved).energy)
        assert found.forces[i, x] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=1e-6, abs=1e-5)
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (potential.evaluate(strained(atoms, sign * strain)).energy for sign in (1, -1))
        expected = (up - down) / (2 * step) / atoms.get_volume()
        assert found.stress is not None
        assert found.stress[v] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_invariant_under_rotations_and_exchange_of_atoms() -> None:
    basis = with_channels(small_basis(2, l_max=4), n=3)
    potential, _, _ = of_one_term(basis, QuadrupletTerm)
    atoms = triclinic()
    found = potential.evaluate(atoms)
    turned = atoms.copy()
    turned.rotate(73.0, (1, -2, 0.5), rotate_cell=True)
    assert potential.evaluate(turned).energy == pytest.approx(found.energy, rel=1e-12)
    order = np.random.default_rng(1).permutation(len(atoms))
    np.testing.assert_allclose(potential.evaluate(atoms[order]).forces, found.forces[order], atol=1e-10)


def test_a_single_atom_has_none_and_nothing_jumps_where_the_last_neighbour_leaves() -> None:
    basis = with_channels(small_basis(1), n=2)
    potential, _, _ = of_one_term(basis, QuadrupletTerm)
    assert potential.evaluate(Atoms("Si", positions=[[0, 0, 0]])).energy == 0.0
    inside, outside = (
        potential.evaluate(Atoms("Si2", positions=[[0, 0, 0], [basis.triplet_cutoff + d, 0, 0]])) for d in (-1e-4, 1e-4)
    )
    assert abs(inside.energy - outside.energy) < 1e-9
    assert abs(inside.forces).max() < 1e-4


@pytest.mark.parametrize("n_species", [1, 2, 3])
def test_feature_rows_are_the_derivatives_in_the_coefficients(n_species: int) -> None:
    basis = with_channels(small_basis(n_species, l_max=4), n=2)
    assert_rows_are_the_derivatives(basis, QuadrupletTerm)


@pytest.mark.parametrize("n_species", [1, 2])
def test_live_variance_is_that_of_the_directions(n_species: int) -> None:
    basis = with_channels(small_basis(n_species, l_max=4), n=3)
    columns = basis.layout.term(QuadrupletTerm).columns
    live = np.zeros((basis.layout.size, 32))
    live[columns] = np.random.default_rng(0).normal(size=(columns.stop - columns.start, 32))
    tables = make_tables(basis, np.zeros(basis.layout.size), reference_energies=np.zeros(n_species), live=live)
    atoms = triclinic(basis.species)
    found = SplinePotential(basis, tables, n_threads=1).evaluate(atoms, live=True).forces_uncertainty
    rows = np.concatenate([r for _, r in FeatureBuilder(basis).force_rows(atoms)])
    variance = shared(((rows @ live) ** 2).sum(axis=1), atoms, reach=basis.triplet_cutoff)
    np.testing.assert_allclose(found, np.sqrt(variance).reshape(-1, 3), rtol=1e-4)


def test_threads_and_batches_agree() -> None:
    """Centres are taken in batches of one species; where a batch begins does not matter."""
    basis = with_channels(small_basis(2, l_max=4), n=3)
    big = triclinic().repeat((5, 5, 5))
    big.rattle(0.05, seed=1)
    one, two = (random_potential(basis, n_threads=n).evaluate(big) for n in (1, 2))
    np.testing.assert_allclose(two.forces, one.forces, atol=1e-11 * abs(one.forces).max())
    assert two.energy == pytest.approx(one.energy, rel=1e-12)


# ---- learning


def test_slopes_of_the_evidence_are_its_derivatives() -> None:
    frames, _ = quadruplet_truth(4)
    model = _model(frames, n_channels=2)
    names = ("quadruplet_amplitude", "quadruplet_angular_length")
    hyper = replace(model.hyperparameters, quadruplet_amplitude=0.3, quadruplet_angular_length=0.7)
    slopes = Posterior(model.basis, hyper, model.statistics).log_evidence_gradient()
    for name in names:
        value = getattr(hyper, name)
        up, down = (
            Posterior(
                model.basis, with_hyperparameters(hyper, (name,), np.array([value * np.exp(step)])), model.statistics
            ).log_evidence
            for step in (1e-4, -1e-4)
        )
        assert slopes[name] == pytest.approx((up - down) / 2e-4, rel=1e-4)


def _model(frames: list[Atoms], *, n_channels: int) -> BayesianForceField:
    model = BayesianForceField(
        ["Si"], pair_cutoff=4.2, triplet_cutoff=4.0, n_pair=8, n_radial=6, l_max=3, n_channels=n_channels
    )
    return model.fit(frames)


def test_they_learn_what_pairs_and_triplets_cannot() -> None:
    frames, _ = quadruplet_truth(24)
    with_, without = (_model(frames[:16], n_channels=n) for n in (2, 0))
    errors = [
        np.sqrt(np.mean([(m.predict(a).forces - a.arrays["REF_forces"]) ** 2 for a in frames[16:]]))
        for m in (with_, without)
    ]
    assert errors[0] < 0.3 * errors[1]
    assert with_.left_out[LabelKind.FORCES].rms < 0.5 * without.left_out[LabelKind.FORCES].rms


def test_a_search_takes_them_where_they_pay() -> None:
    frames, _ = quadruplet_truth(16)
    given = GivenSizes(pair_cutoff=4.2, triplet_cutoff=4.0, n_pair=8, n_radial=6, l_max=3)
    choice = choose_sizes(frames, ["Si"], given=given, speed=Speed.BALANCED, keys=LabelKeys())
    assert choice.sizes.n_channels == 3
    assert [step.change for step in choice.steps] == ["start", "quadruplets of 3 channels"]
    none = choose_sizes(frames, ["Si"], given=replace(given, n_channels=0), speed=Speed.BALANCED, keys=LabelKeys())
    assert none.sizes.n_channels == 0
    assert none.steps == ()


def test_without_channels_nothing_changes() -> None:
    frames, _ = quadruplet_truth(6)
    model = _model(frames, n_channels=0)
    assert model.basis.channels is None
    assert model.basis.layout.term(QuadrupletTerm).size == 0
    assert model.hyperparameters.quadruplet_amplitude == Hyperparameters().quadruplet_amplitude
    assert model.curvature is not None
    assert not any(name.startswith("quadruplet") for name in model.curvature.names)


def test_the_same_frames_give_the_same_channels() -> None:
    frames, basis = quadruplet_truth(6)
    first, second = (choose_channels(replace(basis, channels=None), frames, 3, seed=5) for _ in range(2))
    assert first == second
    assert choose_channels(basis, frames, 3, seed=5) == first  # whatever channels there were
    assert first.n == 3
    more = choose_channels(replace(basis, channels=None), frames, 2, seed=5)
    np.testing.assert_allclose(more.radial_array, first.radial_array[:2], atol=1e-12)


def test_files_pickles_and_updates_keep_the_channels(tmp_path: Path) -> None:
    frames, _ = quadruplet_truth(10)
    model = _model(frames[:6], n_channels=3)
    path = tmp_path / "m.trepid"
    model.save(path)
    loaded, copied = BayesianForceField.load(path), pickle.loads(pickle.dumps(model))
    for other in (loaded, copied):
        assert other.basis == model.basis
        np.testing.assert_array_equal(other.predict(frames[8]).forces, model.predict(frames[8]).forces)
    channels = loaded.basis.channels
    loaded.update(frames[6:8])
    assert loaded.basis.channels == channels
    loaded.save(path)
    assert BayesianForceField.load(path).n_frames == 8


def test_uf3_refuses_them() -> None:
    with pytest.raises(ConfigError, match="quadruplets"):
        resample(random_potential(with_channels(small_basis(1))))


def test_an_untrained_model_chooses_its_channels_at_the_first_update() -> None:
    frames, _ = quadruplet_truth(4)
    model = BayesianForceField(["Si"], pair_cutoff=4.2, triplet_cutoff=4.0, n_pair=8, n_radial=6, l_max=3, n_channels=2)
    model.update(frames)
    assert model.basis.channels is not None
    with pytest.raises(ConfigError, match="n_channels is 4"):
        BayesianForceField(["Si"], n_channels=4)
