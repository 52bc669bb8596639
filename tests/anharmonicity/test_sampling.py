from __future__ import annotations

import ase.units
import numpy as np
import phonopy
import pytest
from ase import Atoms

from trepid.anharmonicity import HarmonicReference, harmonic_sample, one_shot_sample
from trepid.anharmonicity.phonopy_objects import phonopy_cell
from trepid.anharmonicity.sampling import sampled_from
from trepid.errors import ConfigError


@pytest.fixture(scope="module")
def sample(reference: HarmonicReference) -> np.ndarray:
    """Displacements of 1500 frames at 300 K."""
    return np.array(
        [frame.positions - reference.supercell.positions for frame in harmonic_sample(reference, 300.0, 1500, 0)]
    )


def thermal_displacements(reference: HarmonicReference, temperature_K: float) -> np.ndarray:
    """phonopy's <u^2> along x, y, z of every atom of the supercell, (n, 3), A^2, quantum."""
    n = len(reference.supercell)
    phonon = phonopy.Phonopy(phonopy_cell(reference.supercell), np.eye(3, dtype=int), primitive_matrix=np.eye(3))
    phonon.force_constants = np.ascontiguousarray(reference.force_constants)
    phonon.run_mesh([1, 1, 1], with_eigenvectors=True, is_mesh_symmetry=False)
    phonon.run_thermal_displacements(temperatures=[temperature_K], freq_min=0.01)
    return np.asarray(phonon.get_thermal_displacements_dict()["thermal_displacements"]).reshape(n, 3)


def test_equipartition(reference: HarmonicReference, sample: np.ndarray) -> None:
    kT = ase.units.kB * 300.0
    n_modes = 3 * 64 - 3
    energy = reference.energy_at(sample)
    # The energy is chi-squared: mean n_modes kT / 2, variance n_modes (kT)^2 / 2.
    assert energy.mean() == pytest.approx(n_modes * kT / 2, abs=4 * kT * np.sqrt(n_modes / 2 / len(sample)))
    assert energy.var() == pytest.approx(n_modes * kT**2 / 2, rel=0.2)


@pytest.mark.parametrize("temperature", [0.0, 100.0, 600.0])
def test_quantum_amplitudes_are_phonopys(reference: HarmonicReference, temperature: float) -> None:
    modes = reference.modes
    spread = modes.spreads(temperature, quantum=True)
    exact = np.einsum("v,vix->ix", spread**2, modes.vectors**2) / modes.masses[:, None]
    np.testing.assert_allclose(exact, thermal_displacements(reference, temperature), rtol=2e-4)
    drawn = np.array(
        [
            f.positions - reference.supercell.positions
            for f in harmonic_sample(reference, temperature, 400, 1, quantum=True)
        ]
    )
    assert np.mean(drawn**2) == pytest.approx(exact.mean(), rel=0.03)


def test_covariance_is_the_inverse_of_the_force_constants(reference: HarmonicReference, sample: np.ndarray) -> None:
    """<u u> = kT Phi^+ in the mass-weighted metric, for atoms near each other too."""
    kT = ase.units.kB * 300.0
    root = np.repeat(np.sqrt(reference.supercell.get_masses()), 3)
    exact = kT * np.linalg.pinv(reference.matrix / np.outer(root, root), rcond=1e-10) / np.outer(root, root)
    drawn = sample.reshape(len(sample), -1)
    covariance = drawn.T @ drawn / len(drawn)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs((covariance - exact) / scale).max() < 6 / np.sqrt(len(drawn))
    assert np.abs(exact / scale)[0, 3:].max() > 0.2  # there is something to get right


def test_quantum_goes_over_into_classical(reference: HarmonicReference) -> None:
    modes = reference.modes
    quantum, classical = modes.spreads(20_000.0, quantum=True), modes.spreads(20_000.0)
    np.testing.assert_allclose(quantum, classical, rtol=1e-3)
    assert (modes.spreads(30.0, quantum=True) > modes.spreads(30.0)).all()


def test_the_centre_of_mass_stays(reference: HarmonicReference, sample: np.ndarray) -> None:
    masses = reference.supercell.get_masses()
    assert np.abs(np.einsum("i,fix->fx", masses, sample)).max() / masses.sum() < 1e-10


def test_seeds(reference: HarmonicReference) -> None:
    three, five = harmonic_sample(reference, 300.0, 3, 7), harmonic_sample(reference, 300.0, 5, 7)
    other = harmonic_sample(reference, 300.0, 1, 8)
    for first, second in zip(three, five, strict=False):
        np.testing.assert_array_equal(first.positions, second.positions)
    assert np.abs(three[0].positions - other[0].positions).max() > 0.01
    assert np.abs(three[0].positions - three[1].positions).max() > 0.01


def test_the_one_shot_frame_has_the_mean_energy_exactly(reference: HarmonicReference) -> None:
    frame = one_shot_sample(reference, 300.0)
    assert reference.energy(frame) == pytest.approx((3 * 64 - 3) / 2 * ase.units.kB * 300.0, rel=1e-9)
    np.testing.assert_array_equal(frame.positions, one_shot_sample(reference, 300.0).positions)


def test_frames_do_not_depend_on_rounding(reference: HarmonicReference) -> None:
    """A cubic crystal is full of modes of equal frequency, among which an eigensolver picks what it likes."""
    noise = np.random.default_rng(0).normal(scale=1e-12, size=reference.force_constants.shape)
    noise += noise.transpose(1, 0, 3, 2)
    other = HarmonicReference(reference.supercell, reference.force_constants + noise)
    assert np.abs(np.abs(other.modes.vectors) - np.abs(reference.modes.vectors)).max() > 0.01
    one, two = one_shot_sample(reference, 300.0), one_shot_sample(other, 300.0)
    np.testing.assert_allclose(one.positions, two.positions, atol=1e-6)
    first, second = harmonic_sample(reference, 300.0, 2, 3), harmonic_sample(other, 300.0, 2, 3)
    np.testing.assert_allclose(first[1].positions, second[1].positions, atol=1e-6)


def test_wrong_requests(reference: HarmonicReference) -> None:
    with pytest.raises(ConfigError, match="0 frames"):
        harmonic_sample(reference, 300.0, 0, 0)
    for temperature in (0.0, -1.0, np.nan):
        with pytest.raises(ConfigError, match="temperature"):
            harmonic_sample(reference, temperature, 1, 0)
    with pytest.raises(ValueError, match="nothing"):
        harmonic_sample(reference, 300.0, 1, 0, imaginary="nothing")


def test_frames_are_bare(reference: HarmonicReference) -> None:
    frame = harmonic_sample(reference, 300.0, 1, 0)[0]
    assert isinstance(frame, Atoms)
    assert frame.calc is None
    assert set(frame.arrays) <= {"numbers", "positions", "masses"}


def test_soft_modes_are_held_so_that_no_atom_moves_further_than_it_may(reference: HarmonicReference) -> None:
    modes, hot = reference.modes, 6000.0
    free = modes.spreads(hot)
    ratio = modes.rms_displacements(free) / reference.neighbour_distance
    limit = 0.6 * ratio.max()
    least = sampled_from(reference, hot, limit)
    held = modes.spreads(hot, least_THz=least)
    assert (modes.rms_displacements(held) / reference.neighbour_distance).max() == pytest.approx(limit, rel=2e-3)
    softer = modes.frequencies_THz < least
    assert softer.any()
    assert (held[softer] < free[softer]).all()
    np.testing.assert_array_equal(held[~softer], free[~softer])
    np.testing.assert_allclose(held[softer], held[softer][0], rtol=1e-12)
    frames = harmonic_sample(reference, hot, 400, 0, largest_rms=limit)
    moved = np.array([frame.positions - reference.supercell.positions for frame in frames])
    rms = np.sqrt((moved**2).sum(axis=2).mean(axis=0)) / reference.neighbour_distance
    assert rms.max() == pytest.approx(limit, rel=0.1)


def test_a_limit_that_holds_nothing_changes_nothing(reference: HarmonicReference) -> None:
    assert sampled_from(reference, 300.0, 0.9) == 0.0
    one, other = harmonic_sample(reference, 300.0, 1, 3), harmonic_sample(reference, 300.0, 1, 3, largest_rms=0.9)
    np.testing.assert_array_equal(one[0].positions, other[0].positions)
    with pytest.raises(ConfigError, match="positive part of the distance"):
        harmonic_sample(reference, 300.0, 1, 3, largest_rms=0.0)
