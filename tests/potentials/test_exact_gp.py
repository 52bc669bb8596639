"""The exact GP: its kernels, its energy model against brute force, its derivatives and its Bayesian algebra."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.polynomial import legendre
from scipy.stats import multivariate_normal

from trepid.data.frames import LabelKeys, Labels, attach_labels
from trepid.errors import ConfigError, DataError, NumericsError
from trepid.potentials.base import Noise, Uncertainty
from trepid.potentials.bayesian.kernels import angular_eigenvalues, envelope, envelope_derivative, radial_kernel
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.potentials.bayesian.zbl import zbl_energy
from trepid.testing import ExactGP
from trepid.testing.exact_kernels import angular_jet, pair_covariance, radial_jet, triplet_covariance

HYPER = Hyperparameters(
    pair_amplitude=1.2,
    pair_length=0.6,
    triplet_amplitude=0.4,
    triplet_length=0.9,
    angular_length=0.6,
    noise=Noise(energy=1e-3, forces=5e-3, stress=1e-4),
    offset_amplitude=0.8,
)
CUTOFFS = {"pair_cutoff": 4.0, "triplet_cutoff": 3.4}
REFERENCES = {"Cu": -1.5, "I": 0.7}

DISTANCES = st.floats(1.0, 3.35)
ANGLES = st.one_of(
    st.floats(0.0, np.pi),
    st.sampled_from([0.0, 1e-9, 1e-5, 1e-3, np.pi - 1e-3, np.pi - 1e-5, np.pi]),
)


def model(**changes: object) -> ExactGP:
    arguments = {"hyperparameters": HYPER, "reference_energies": REFERENCES} | CUTOFFS | changes
    return ExactGP(["Cu", "I"], **arguments)


def crystal(rattle: float = 0.12, seed: int = 0) -> Atoms:
    """A triclinic CuI cell of four atoms, so small that atoms see their own images and straight angles."""
    cell = np.array([[3.3, 0.0, 0.2], [0.3, 3.2, 0.0], [0.0, 0.4, 5.6]])
    frame = Atoms(
        "CuICuI", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.25], [0, 0.1, 0.5], [0.5, 0.4, 0.8]], cell=cell, pbc=True
    )
    frame.positions += np.random.default_rng(seed).normal(0, rattle, (4, 3))
    return frame


def labelled(frame: Atoms, seed: int = 0) -> Atoms:
    """Random numbers as labels: the algebra holds for any."""
    rng = np.random.default_rng(seed)
    labels = Labels(
        energy=-3.0 + rng.normal(), forces=rng.normal(size=(len(frame), 3)), stress=0.02 * rng.normal(size=6)
    )
    return attach_labels(frame, labels)


@pytest.fixture(scope="module")
def trained() -> ExactGP:
    return model().fit([labelled(crystal(seed=s), seed=s) for s in (1, 2)])


# Kernels


@settings(deadline=None)
@given(theta=ANGLES, other=ANGLES, length=st.floats(0.5, 3.0))
def test_angular_jet_is_its_legendre_expansion(theta: float, other: float, length: float) -> None:
    c, d = np.cos(theta), np.cos(other)
    eigenvalues = angular_eigenvalues(40, length)

    def slopes(x: float) -> tuple[np.ndarray, np.ndarray]:
        basis = np.eye(len(eigenvalues))
        return legendre.legval(x, basis), legendre.legval(x, legendre.legder(basis))

    expected = [[np.sum(eigenvalues * a * b) for b in slopes(d)] for a in slopes(c)]
    jet = angular_jet([c], [d], length=length)[:, :, 0, 0]
    np.testing.assert_allclose(jet, expected, rtol=1e-9, atol=1e-9 * length**-4)


@pytest.mark.parametrize("length", [0.01, 0.03, 0.1])
def test_angular_jet_does_not_overflow_at_small_lengths(length: float) -> None:
    c = np.cos(np.linspace(0, np.pi, 50))
    jet = angular_jet(c, c, length=length)
    assert np.isfinite(jet).all()
    # On the diagonal the von Mises-Fisher kernel averaged over the azimuth: 1 at the poles, below it elsewhere.
    np.testing.assert_allclose(np.diag(jet[0, 0])[[0, -1]], 1.0, atol=1e-12)
    assert (np.diag(jet[0, 0])[1:-1] < 1).all()


@settings(deadline=None)
@given(r=st.floats(0.5, 4.5), other=st.floats(0.5, 4.5), length=st.floats(0.3, 2.0))
def test_radial_jet_is_the_radial_kernel_with_its_derivatives(r: float, other: float, length: float) -> None:
    assume(min(abs(r - 4.0), abs(other - 4.0)) > 1e-3)
    step = 1e-4

    def k(x: float, y: float) -> float:
        return float(radial_kernel([x], [y], length=length, cutoff=4.0)[0, 0])

    jet = radial_jet([r], [other], length=length, cutoff=4.0)[:, :, 0, 0]
    signs = (1, -1)
    mixed = sum(a * b * k(r + a * step, other + b * step) for a in signs for b in signs) / (4 * step**2)
    assert jet[0, 0] == pytest.approx(k(r, other), abs=1e-14)
    assert jet[1, 0] == pytest.approx(sum(a * k(r + a * step, other) for a in signs) / (2 * step), abs=1e-6)
    assert jet[0, 1] == pytest.approx(sum(a * k(r, other + a * step) for a in signs) / (2 * step), abs=1e-6)
    assert jet[1, 1] == pytest.approx(mixed, abs=1e-5)


def test_envelope_derivative_is_that_of_the_envelope() -> None:
    r, step = np.linspace(0.2, 4.4, 43), 1e-6
    difference = (envelope(r + step, 4.0) - envelope(r - step, 4.0)) / (2 * step)
    np.testing.assert_allclose(envelope_derivative(r, 4.0), difference, atol=1e-8)


@settings(deadline=None)
@given(
    t=st.tuples(DISTANCES, DISTANCES, st.floats(0.05, np.pi - 0.05)),
    other=st.tuples(DISTANCES, DISTANCES, st.floats(0.05, np.pi - 0.05)),
    symmetric=st.booleans(),
)
def test_triplet_covariance_has_the_derivatives_of_its_value(
    t: tuple[float, ...], other: tuple[float, ...], symmetric: bool
) -> None:
    x, y = (np.array([a, b, np.cos(theta)]) for a, b, theta in (t, other))
    step = 1e-4

    def k(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return triplet_covariance(u[None], v[None], HYPER, 3.4, symmetric=symmetric)[:, 0, :, 0]

    matrix = k(x, y)
    for p, shift in enumerate(step * np.eye(3)):
        # Row and column 0 hold the value of one side, the others its derivatives: mixed derivatives are checked too.
        np.testing.assert_allclose(matrix[p + 1], ((k(x + shift, y) - k(x - shift, y)) / (2 * step))[0], atol=2e-5)
        np.testing.assert_allclose(
            matrix[:, p + 1], ((k(x, y + shift) - k(x, y - shift)) / (2 * step))[:, 0], atol=2e-5
        )


@settings(deadline=None)
@given(t=st.tuples(DISTANCES, DISTANCES, ANGLES), other=st.tuples(DISTANCES, DISTANCES, ANGLES))
def test_triplet_covariance_of_one_species_is_symmetric_in_the_neighbours(
    t: tuple[float, ...], other: tuple[float, ...]
) -> None:
    (a, b, theta), (c, d, phi) = t, other
    u, v = np.array([[a, b, np.cos(theta)], [b, a, np.cos(theta)]]), np.array([[c, d, np.cos(phi)]])
    k = triplet_covariance(u, v, HYPER, 3.4, symmetric=True)[:, :, :, 0]
    np.testing.assert_allclose(k[:, 0], k[[0, 2, 1, 3]][:, 1], atol=1e-13)

    def radial(x: float, y: float) -> float:
        return float(radial_kernel([x], [y], length=HYPER.triplet_length, cutoff=3.4)[0, 0])

    angular = angular_jet([np.cos(theta)], [np.cos(phi)], length=HYPER.angular_length)[0, 0, 0, 0]
    expected = 0.5 * HYPER.triplet_amplitude**2 * (radial(a, c) * radial(b, d) + radial(a, d) * radial(b, c)) * angular
    assert k[0, 0, 0] == pytest.approx(expected, rel=1e-12)


# Energy model


def brute_force_energy_covariance(frame: Atoms, other: Atoms) -> float:
    """Prior covariance of two energies, the energy model written out term by term, without a neighbour list."""

    def neighbours(atoms: Atoms, i: int, cutoff: float) -> list[tuple[str, np.ndarray]]:
        found = []
        for j, shift in product(range(len(atoms)), product(range(-4, 5), repeat=3)):
            vector = atoms.positions[j] + np.array(shift) @ atoms.cell.array - atoms.positions[i]
            if 1e-8 < np.linalg.norm(vector) < cutoff:
                found.append((atoms[j].symbol, vector))
        return found

    def pairs(atoms: Atoms) -> dict[tuple[str, ...], list[float]]:
        terms: dict[tuple[str, ...], list[float]] = {}
        for i in range(len(atoms)):
            for symbol, vector in neighbours(atoms, i, 4.0):
                terms.setdefault(tuple(sorted((atoms[i].symbol, symbol))), []).append(float(np.linalg.norm(vector)))
        return terms

    def triplets(atoms: Atoms) -> dict[tuple[str, ...], list[tuple[float, float, float]]]:
        terms: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
        for i in range(len(atoms)):
            near = neighbours(atoms, i, 3.4)
            for first, second in product(near, repeat=2):
                (a, v), (b, w) = sorted((first, second), key=lambda n: n[0])
                r1, r2 = np.linalg.norm(v), np.linalg.norm(w)
                terms.setdefault((atoms[i].symbol, a, b), []).append((r1, r2, np.clip(v @ w / (r1 * r2), -1, 1)))
        return terms

    total = 0.0
    for key in ("Cu", "I"):
        total += HYPER.offset_amplitude**2 * np.prod([sum(s == key for s in a.symbols) for a in (frame, other)])
    left, right = pairs(frame), pairs(other)
    for key in left.keys() & right.keys():
        k = radial_kernel(left[key], right[key], length=HYPER.pair_length, cutoff=4.0)
        total += HYPER.pair_amplitude**2 * k.sum() / 4  # both directions of every pair were met, in both frames
    left_3, right_3 = triplets(frame), triplets(other)
    for key in left_3.keys() & right_3.keys():
        x, y = np.array(left_3[key]), np.array(right_3[key])
        total += triplet_covariance(x, y, HYPER, 3.4, symmetric=key[1] == key[2])[0, :, 0].sum()
    return float(total)


def test_energy_covariance_is_the_energy_model_written_out() -> None:
    one, two = crystal(seed=3), crystal(rattle=0.0)
    assert model().prior_covariance(one, two)[0, 0] == pytest.approx(brute_force_energy_covariance(one, two), rel=1e-10)


def test_order_of_species_does_not_matter() -> None:
    one, two = crystal(seed=3), crystal(seed=4)
    swapped = ExactGP(["I", "Cu"], hyperparameters=HYPER, **CUTOFFS)
    np.testing.assert_allclose(swapped.prior_covariance(one, two), model().prior_covariance(one, two), atol=1e-11)


@pytest.mark.parametrize("rattle", [0.0, 0.12])
def test_force_and_stress_rows_of_the_covariance_are_derivatives_of_the_energy_row(rattle: float) -> None:
    """Without displacements the cell is full of straight angles, where the angle itself has no derivative."""
    gp, frame, other = model(), crystal(rattle), crystal(seed=5)
    analytic = gp.prior_covariance(frame, other)
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        moved = [frame.copy(), frame.copy()]
        for sign, f in zip((1, -1), moved, strict=True):
            f.positions[atom, axis] += sign * step
        rows = [gp.prior_covariance(f, other)[0] for f in moved]
        np.testing.assert_allclose(analytic[1 + 3 * atom + axis], -(rows[0] - rows[1]) / (2 * step), atol=2e-6)
    for row, (a, b) in ((-6, (0, 0)), (-3, (1, 2)), (-1, (0, 1))):
        rows = [gp.prior_covariance(strained(frame, a, b, sign * step), other)[0] for sign in (1, -1)]
        expected = (rows[0] - rows[1]) / (2 * step * frame.get_volume())
        np.testing.assert_allclose(analytic[row], expected, atol=2e-6)


def strained(frame: Atoms, a: int, b: int, strain: float) -> Atoms:
    deformation = np.eye(3)
    deformation[a, b] += strain / 2
    deformation[b, a] += strain / 2
    result = frame.copy()
    result.set_cell(frame.cell.array @ deformation, scale_atoms=True)
    return result


def test_predicted_forces_and_stress_are_derivatives_of_the_predicted_energy(trained: ExactGP) -> None:
    frame, step = crystal(seed=6), 1e-4
    # Close enough for the short-range prior to act as well.
    frame.positions[1] = frame.positions[0] + [0.9, 0.7, 0.8]
    prediction = trained.predict(frame, uncertainty="none")
    for atom, axis in product(range(2), range(3)):
        energies = []
        for sign in (1, -1):
            moved = frame.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(trained.predict(moved, uncertainty="none").energy)
        force = -(energies[0] - energies[1]) / (2 * step)
        assert prediction.forces[atom, axis] == pytest.approx(force, rel=1e-5, abs=1e-5)
    assert prediction.stress is not None
    for v, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = [trained.predict(strained(frame, a, b, sign * step), uncertainty="none").energy for sign in (1, -1)]
        stress = (energies[0] - energies[1]) / (2 * step * frame.get_volume())
        assert prediction.stress[v] == pytest.approx(stress, rel=1e-5, abs=1e-6)


def test_mean_and_covariance_turn_with_the_frame(trained: ExactGP) -> None:
    frame = crystal(seed=7)
    turned = frame.copy()
    turned.rotate(37.0, (1.0, -2.0, 0.5), rotate_cell=True)
    rotation = np.linalg.solve(frame.cell.array, turned.cell.array)  # row vectors: turned = frame @ rotation
    mean, covariance = trained.posterior(frame)
    mean_t, covariance_t = trained.posterior(turned)
    block = np.zeros((13, 13))
    block[0, 0] = 1
    block[1:, 1:] = np.kron(np.eye(4), rotation.T)
    np.testing.assert_allclose(mean_t[:13], block @ mean[:13], atol=1e-9)
    np.testing.assert_allclose(covariance_t[:13, :13], block @ covariance[:13, :13] @ block.T, atol=1e-9)
    assert mean_t[-6:-3].sum() == pytest.approx(mean[-6:-3].sum(), abs=1e-11)


def test_mean_and_covariance_permute_with_the_atoms_and_ignore_translation(trained: ExactGP) -> None:
    frame, order = crystal(seed=7), [2, 3, 1, 0]
    moved = frame[order]
    moved.positions += [0.7, -1.3, 9.1]
    moved.wrap()
    rows = np.concatenate([[0], *(1 + 3 * a + np.arange(3) for a in order), np.arange(13, 19)])
    mean, covariance = trained.posterior(frame)
    mean_m, covariance_m = trained.posterior(moved)
    np.testing.assert_allclose(mean_m, mean[rows], atol=1e-9)
    np.testing.assert_allclose(covariance_m, covariance[np.ix_(rows, rows)], atol=1e-9)


def test_a_small_cell_agrees_with_its_supercell(trained: ExactGP) -> None:
    frame = crystal(seed=8)
    small, large = trained.predict(frame), trained.predict(frame.repeat((2, 1, 1)))
    assert large.energy == pytest.approx(2 * small.energy, abs=1e-9)
    assert large.energy_uncertainty == pytest.approx(2 * small.energy_uncertainty, rel=1e-7)
    np.testing.assert_allclose(large.forces, np.tile(small.forces, (2, 1)), atol=1e-9)
    np.testing.assert_allclose(large.stress, small.stress, atol=1e-11)
    np.testing.assert_allclose(large.stress_uncertainty, small.stress_uncertainty, rtol=1e-7)


def test_one_atom_that_sees_only_its_own_images() -> None:
    """A primitive cell has no forces, and its energy and stress are those of the cubic cell."""
    gp = ExactGP(["Cu"], pair_cutoff=4.0, triplet_cutoff=3.0, hyperparameters=HYPER, reference_energies={"Cu": 0.0})
    primitive, cubic = bulk("Cu", a=3.6), bulk("Cu", a=3.6, cubic=True)
    covariance, large = gp.prior_covariance(primitive), gp.prior_covariance(cubic)
    np.testing.assert_allclose(covariance[1:4, 1:4], 0, atol=1e-12)
    assert large[0, 0] == pytest.approx(16 * covariance[0, 0], rel=1e-12)
    np.testing.assert_allclose(large[-6:, -6:], covariance[-6:, -6:], atol=1e-12)


def test_a_slab_has_no_neighbours_across_the_vacuum_and_a_molecule_no_stress() -> None:
    gp = model()
    slab = crystal(seed=9)
    slab.pbc = (True, True, False)
    far = slab.copy()
    far.set_cell([*slab.cell.array[:2], [0, 0, 60.0]])
    far.pbc = True
    np.testing.assert_allclose(gp.prior_covariance(slab)[:13, :13], gp.prior_covariance(far)[:13, :13], atol=1e-11)
    molecule = Atoms("CuI", positions=[[0, 0, 0], [0, 0, 2.4]])
    assert gp.prior_covariance(molecule).shape == (7, 7)
    gp.fit([labelled(slab)])
    assert gp.predict(molecule).stress is None


def test_an_isolated_atom_has_its_offset_only() -> None:
    gp = model().fit([labelled(crystal())], kinds=("forces",))
    prediction = gp.predict(Atoms("Cu"))
    assert prediction.energy == pytest.approx(REFERENCES["Cu"])
    assert prediction.energy_uncertainty == pytest.approx(HYPER.offset_amplitude)
    np.testing.assert_array_equal(prediction.forces_uncertainty, 0)


def test_far_from_all_data_the_mean_is_the_offsets_and_the_short_range_repulsion() -> None:
    gp = model().fit([labelled(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.5]]))], kinds=("forces",))
    prediction = gp.predict(Atoms("I2", positions=[[0, 0, 0], [0, 0, 1.1]]))
    assert prediction.energy == pytest.approx(2 * REFERENCES["I"] + float(zbl_energy(1.1, 53, 53)))
    assert prediction.forces[1, 2] > 0


# Training


def test_posterior_and_evidence_are_those_of_a_multivariate_normal() -> None:
    """The same with dense textbook formulas on top of the prior covariance."""
    frame, target = labelled(crystal(rattle=0.03, seed=1)), crystal(rattle=0.03, seed=2)
    gp = model().fit([frame])
    noise = np.concatenate([[1e-3 * np.sqrt(4)], np.full(12, 5e-3), np.full(6, 1e-4)])
    labels = np.concatenate([[frame.info["REF_energy"]], frame.arrays["REF_forces"].ravel(), frame.info["REF_stress"]])
    prior_mean = np.zeros(19)
    prior_mean[0] = 2 * REFERENCES["Cu"] + 2 * REFERENCES["I"]
    within = gp.prior_covariance(frame) + np.diag(noise**2)
    cross = gp.prior_covariance(target, frame)
    mean, covariance = gp.posterior(target)
    gain = np.linalg.solve(within, cross.T).T
    np.testing.assert_allclose(mean, prior_mean + gain @ (labels - prior_mean), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(covariance, gp.prior_covariance(target) - gain @ cross.T, atol=1e-7)
    density = multivariate_normal(prior_mean, within, allow_singular=False).logpdf(labels)
    assert gp.log_marginal_likelihood == pytest.approx(density, rel=1e-8)


def test_labels_without_noise_are_reproduced() -> None:
    tiny = replace(HYPER, noise=Noise(energy=1e-5, forces=1e-5, stress=1e-6))
    frame = crystal(seed=1)
    # Labels that a potential can have: those a GP trained on anything predicts.
    truth = model().fit([labelled(crystal(seed=2))]).predict(frame)
    frame = attach_labels(frame, Labels(energy=truth.energy, forces=truth.forces, stress=truth.stress))
    prediction = model(hyperparameters=tiny).fit([frame]).predict(frame)
    assert prediction.energy == pytest.approx(truth.energy, abs=1e-4)
    np.testing.assert_allclose(prediction.forces, truth.forces, atol=1e-4)
    np.testing.assert_allclose(prediction.stress, truth.stress, atol=1e-5)
    assert prediction.energy_uncertainty < 5e-5
    assert prediction.frame_uncertainty < 5e-5


def test_it_learns_a_pair_potential_with_calibrated_uncertainty() -> None:
    rng = np.random.default_rng(0)

    def frame() -> Atoms:
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.15, rng=rng)
        atoms.calc = MorsePotential(epsilon=0.35, r0=2.87, rho0=4.0, rcut1=3.0, rcut2=3.9)
        return attach_labels(
            atoms, Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress())
        )

    hyper = Hyperparameters(pair_length=0.5, triplet_amplitude=0.02)
    gp = ExactGP(["Cu"], pair_cutoff=4.0, triplet_cutoff=3.0, hyperparameters=hyper).fit([frame() for _ in range(3)])
    test = frame()
    prediction = gp.predict(test)
    error = prediction.forces - test.arrays["REF_forces"]
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(test.arrays["REF_forces"] ** 2))
    z = error / np.sqrt(prediction.forces_uncertainty**2 + hyper.noise.forces**2)
    assert np.abs(z).max() < 3
    assert prediction.energy == pytest.approx(test.info["REF_energy"], abs=0.05)


def test_mean_only_is_the_mean(trained: ExactGP) -> None:
    frame = crystal(seed=11)
    full, mean = trained.predict(frame), trained.predict(frame, uncertainty=Uncertainty.NONE)
    assert mean.energy == pytest.approx(full.energy, abs=1e-9)
    np.testing.assert_allclose(mean.forces, full.forces, atol=1e-9)
    np.testing.assert_allclose(mean.stress, full.stress, atol=1e-10)
    assert mean.forces_uncertainty is None
    assert mean.energy_uncertainty is None
    assert mean.stress_uncertainty is None


def test_training_on_chosen_environments_is_training_on_their_forces_only() -> None:
    frames = [labelled(crystal(seed=s), seed=s) for s in (1, 2)]
    gp = model().fit(frames, atoms=[[2, 0], [1]], kinds=("forces",))
    assert gp.n_labels == 9
    assert gp.n_frames == 2
    # The same by making all other labels worthless.
    ignored = 1e7
    weights = [np.full(19, ignored), np.full(19, ignored)]
    for frame, atom in ((0, 0), (0, 2), (1, 1)):
        weights[frame][1 + 3 * atom : 4 + 3 * atom] = 1.0
    other = model().fit(frames, weights=weights)
    target = crystal(seed=3)
    a, b = gp.predict(target), other.predict(target)
    np.testing.assert_allclose(a.forces, b.forces, atol=1e-5)
    np.testing.assert_allclose(a.forces_uncertainty, b.forces_uncertainty, rtol=1e-5)


def test_weights_multiply_the_noise() -> None:
    frame = labelled(crystal(seed=1))
    noise = Noise(energy=3e-3, forces=1.5e-2, stress=3e-4)
    weighted = model().fit([frame], weights=[np.full(19, 3.0)])
    noisy = model(hyperparameters=replace(HYPER, noise=noise)).fit([frame])
    assert weighted.log_marginal_likelihood == pytest.approx(noisy.log_marginal_likelihood, rel=1e-12)


def test_predicting_chosen_atoms_gives_their_forces(trained: ExactGP) -> None:
    frame = crystal(seed=12)
    everything, chosen = trained.predict(frame), trained.predict(frame, atoms=[3, 1])
    np.testing.assert_allclose(chosen.forces, everything.forces[[3, 1]], atol=1e-10)
    np.testing.assert_allclose(chosen.forces_uncertainty, everything.forces_uncertainty[[3, 1]], rtol=1e-7)
    assert chosen.energy == pytest.approx(everything.energy, abs=1e-10)


def test_reference_energies_are_the_least_squares_of_the_training_energies() -> None:
    alone = [attach_labels(Atoms(s), Labels(energy=e)) for s, e in (("Cu", -2.0), ("I", 1.0), ("Cu", -4.0))]
    gp = ExactGP(["Cu", "I"], hyperparameters=HYPER, **CUTOFFS).fit(alone)
    assert gp.reference_energies == pytest.approx({"Cu": -3.0, "I": 1.0})
    # One composition does not tell the species apart: the solution of minimum norm shares equally.
    gp = ExactGP(["Cu", "I"], hyperparameters=HYPER, **CUTOFFS).fit(
        [attach_labels(crystal(rattle=0.0), Labels(energy=8.0))], kinds=("energy",)
    )
    assert gp.reference_energies == pytest.approx({"Cu": 2.0, "I": 2.0})
    gp.fit([labelled(crystal())], kinds=("forces",))
    assert gp.reference_energies == {"Cu": 0.0, "I": 0.0}


def test_other_keys_are_read() -> None:
    keys = LabelKeys(energy="dft_energy", forces="dft_forces", stress="dft_stress")
    frame = attach_labels(crystal(), Labels(energy=-3.0), keys)
    assert model(keys=keys).fit([frame]).n_labels == 1
    with pytest.raises(DataError, match="no label"):
        model().fit([frame])


# Errors of the user


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"species": ["Cu", "Cu"]}, "without repetition"),
        ({"species": ["Cu", "Qq"]}, "Qq"),
        ({"species": ["Cu"], "pair_cutoff": -1.0}, "pair_cutoff"),
        ({"species": ["Cu"], "triplet_cutoff": np.nan}, "triplet_cutoff"),
        ({"species": ["Cu", "I"], "reference_energies": {"Cu": 0.0}}, "no entry for I"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExactGP(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ("force",)}, "'force'"),
        ({"atoms": []}, "one entry per frame"),
        ({"weights": [np.ones(3)]}, r"\(19,\)"),
        ({"weights": [np.zeros(19)]}, "positive"),
    ],
)
def test_wrong_arguments_of_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model().fit([labelled(crystal())], **arguments)


def test_wrong_frames_are_refused(trained: ExactGP) -> None:
    with pytest.raises(DataError, match="element Ag"):
        trained.predict(Atoms("Ag"))
    with pytest.raises(DataError, match="same place"):
        trained.predict(Atoms("Cu2", positions=np.zeros((2, 3))))
    with pytest.raises(DataError, match="finite"):
        trained.predict(Atoms("Cu", positions=[[0, 0, np.nan]]))
    with pytest.raises(DataError, match="cell vector 0"):
        trained.predict(Atoms("Cu", pbc=True))
    with pytest.raises(DataError, match="no atoms"):
        trained.predict(Atoms())
    with pytest.raises(DataError, match=r"within 0 \.\. 3"):
        trained.predict(crystal(), atoms=[4])
    with pytest.raises(DataError, match="twice"):
        trained.predict(crystal(), atoms=[1, 1])
    with pytest.raises(ConfigError, match="live"):
        trained.predict(crystal(), uncertainty="live")
    with pytest.raises(DataError, match="three vectors"):
        model().fit([attach_labels(Atoms("Cu"), Labels(stress=np.zeros(6)))])


def test_a_singular_covariance_is_named() -> None:
    none = replace(HYPER, noise=Noise(energy=1e-12, forces=1e-12, stress=1e-12))
    frame = labelled(crystal())
    with pytest.raises(NumericsError, match="38 labels"):
        model(hyperparameters=none).fit([frame, frame])


def test_prediction_before_training_is_refused() -> None:
    assert model().n_frames == 0
    with pytest.raises(RuntimeError, match="fit"):
        model().predict(crystal())


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_prior_covariance_is_positive_semidefinite(seed: int) -> None:
    covariance = model().prior_covariance(crystal(seed=seed))
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert eigenvalues[0] > -1e-10 * eigenvalues[-1]


@settings(deadline=None)
@given(r=st.floats(0.5, 3.9), other=st.floats(0.5, 3.9))
def test_pair_covariance_scales_the_radial_jet(r: float, other: float) -> None:
    k = pair_covariance(np.array([[r]]), np.array([[other]]), HYPER, 4.0)[:, 0, :, 0]
    jet = radial_jet([r], [other], length=HYPER.pair_length, cutoff=4.0)[:, :, 0, 0]
    np.testing.assert_allclose(k, HYPER.pair_amplitude**2 * jet, rtol=1e-12)
