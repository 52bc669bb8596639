from __future__ import annotations

import numpy as np
import pytest

from trepid.errors import DataError
from trepid.events.sheets import (
    A2_PER_PS_IN_CM2_PER_S,
    coordination_numbers,
    diffusion_coefficient,
    height_field,
    height_spectrum,
    mean_square_displacement,
    overlapped_atoms,
)

LATTICE, BUCKLING = 4.65, 0.84


def honeycomb(nx: int, ny: int) -> tuple[np.ndarray, np.ndarray]:
    a, b, h = LATTICE, LATTICE * np.sqrt(3), BUCKLING / 2
    unit = np.array([[0, 0, -h], [0, b / 3, h], [a / 2, b / 2, -h], [a / 2, 5 * b / 6, h]])
    shifts = np.array([[i * a, j * b, 0] for i in range(nx) for j in range(ny)])
    return (unit[None] + shifts[:, None]).reshape(-1, 3), np.array([nx * a, ny * b, 40.0])


def brute_coordination(positions: np.ndarray, lengths: np.ndarray, cutoff: float) -> np.ndarray:
    count = np.zeros(len(positions), dtype=int)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            shift = np.array([i * lengths[0], j * lengths[1], 0.0])
            d = np.linalg.norm(positions[:, None] - positions[None] + shift, axis=2)
            count += ((d > 1e-9) & (d < cutoff)).sum(axis=1)
    return count


def test_coordination_of_the_honeycomb_is_three_and_nine():
    positions, cell = honeycomb(4, 3)
    assert set(coordination_numbers(positions, cell, cutoff_A=3.4)) == {3}
    assert set(coordination_numbers(positions, cell, cutoff_A=4.8)) == {9}


def test_coordination_agrees_with_all_pairs_on_disorder_and_ignores_the_vacuum_axis():
    rng = np.random.default_rng(0)
    lengths = np.array([12.0, 14.0, 5.0])
    positions = rng.uniform(0, 1, (60, 3)) * lengths
    expected = brute_coordination(positions, lengths, 3.5)
    assert np.array_equal(coordination_numbers(positions, lengths, cutoff_A=3.5), expected)
    assert np.array_equal(coordination_numbers(positions + np.array([0, 0, 100.0]), lengths, cutoff_A=3.5), expected)


def test_coordination_in_an_oblique_cell_equals_the_rectangular_one():
    positions, cell = honeycomb(4, 3)
    oblique = np.diag(cell)
    oblique[1, 0] = cell[0]  # b + a spans the same lattice
    assert np.array_equal(
        coordination_numbers(positions, oblique, cutoff_A=4.8), coordination_numbers(positions, cell, cutoff_A=4.8)
    )


def test_single_layer_does_not_overlap_and_a_half_bilayer_overlaps_by_its_share():
    positions, cell = honeycomb(8, 4)
    assert not overlapped_atoms(positions, cell).any()
    upper, _ = honeycomb(8, 2)
    both = np.vstack([positions, upper + np.array([LATTICE / 2, 0.0, 3.4])])
    overlapped = overlapped_atoms(both, cell)
    assert overlapped[len(positions) :].all()
    lower_share = overlapped[: len(positions)].mean()
    # Half of the lower sheet lies under the upper one; the rim reaches 2.7 A beyond each of its two edges.
    rim = 2 * 2.7 / cell[1]
    assert 0.5 <= lower_share <= 0.5 + rim + 0.05


def test_layers_farther_apart_than_the_range_do_not_overlap():
    positions, cell = honeycomb(4, 3)
    both = np.vstack([positions, positions + np.array([0, 0, 9.0])])
    assert not overlapped_atoms(both, cell).any()


def test_height_field_follows_a_wave_and_shows_a_hole():
    positions, cell = honeycomb(40, 10)
    wave = positions.copy()
    wave[:, 2] += 3.0 * np.sin(2 * np.pi * positions[:, 0] / cell[0])
    field = height_field(wave, cell, spacing_A=6.0)
    assert field.empty_fraction == 0
    assert field.counts.sum() == len(positions)
    centres = (np.arange(len(field.heights_A)) + 0.5) / len(field.heights_A)
    assert np.allclose(field.heights_A.mean(axis=1), 3.0 * np.sin(2 * np.pi * centres), atol=0.2)
    assert np.all(field.thickness_A >= 0)
    hole = positions[np.hypot(*(positions[:, :2] - cell[:2] / 2).T) > 15.0]
    punched = height_field(hole, cell, spacing_A=6.0)
    assert punched.empty_fraction == pytest.approx(np.pi * 15**2 / cell[0] / cell[1], rel=0.35)
    assert np.isnan(punched.heights_A[punched.counts == 0]).all()


def test_height_field_does_not_depend_on_wrapping():
    positions, cell = honeycomb(6, 4)
    rng = np.random.default_rng(1)
    moved = positions + rng.integers(-2, 3, (len(positions), 3)) * [cell[0], cell[1], 0]
    near_zero = np.array([[-1e-17, -1e-17, 0.0]])
    first, second = height_field(positions, cell), height_field(moved, cell)
    assert np.allclose(first.heights_A, second.heights_A)
    assert height_field(np.vstack([positions, near_zero]), cell).counts.sum() == len(positions) + 1


def test_spectrum_of_one_wave_is_one_line_of_the_right_height():
    positions, cell = honeycomb(30, 12)
    amplitude, q = 2.0, 3 * 2 * np.pi / cell[0]
    positions[:, 2] += amplitude * np.cos(q * positions[:, 0])
    spectrum = height_spectrum(positions, cell, q_max_per_A=0.5)
    peak = int(np.argmax(spectrum.intensity_A4))
    assert spectrum.q_per_A[peak] == pytest.approx(q)
    assert spectrum.intensity_A4[peak] == pytest.approx(cell[0] * cell[1] * amplitude**2 / 4)
    assert np.delete(spectrum.intensity_A4, peak).max() < 1e-10 * spectrum.intensity_A4[peak]
    assert np.all(np.diff(spectrum.q_per_A) >= 0)
    assert spectrum.q_per_A[-1] <= 0.5


def test_spectrum_counts_every_wave_vector_of_the_disc_once():
    positions, cell = honeycomb(30, 12)
    q_max = 0.3
    m = np.stack(np.meshgrid(np.arange(-30, 31), np.arange(-30, 31)), -1).reshape(-1, 2)
    length = np.linalg.norm(m * 2 * np.pi / cell[:2], axis=1)
    expected = int(((length > 0) & (length <= q_max)).sum()) // 2
    assert len(height_spectrum(positions, cell, q_max_per_A=q_max).q_per_A) == expected


def test_msd_of_a_random_walk_gives_its_diffusion_coefficient():
    rng = np.random.default_rng(2)
    n_frames, n_atoms, step = 400, 300, 0.1
    walk = np.cumsum(rng.normal(0, step, (n_frames, n_atoms, 2)), axis=0)
    lags = np.arange(0, 60, 5)
    msd = mean_square_displacement(walk, lags)
    assert msd[0] == 0
    # <r^2> = 2 d D t with D = step^2 / (2 dt), here dt = 0.5 ps.
    diffusion = diffusion_coefficient(0.5 * lags, msd, n_dimensions=2)
    assert diffusion == pytest.approx(step**2 / (2 * 0.5), rel=0.05)
    assert diffusion * A2_PER_PS_IN_CM2_PER_S == pytest.approx(1e-6, rel=0.05)


def test_msd_ignores_a_drift_of_the_whole():
    rng = np.random.default_rng(3)
    still = rng.normal(size=(1, 50, 3)).repeat(20, axis=0)
    drifting = still + np.arange(20)[:, None, None] * [1.0, -2.0, 0.5]
    assert np.allclose(mean_square_displacement(drifting, [1, 10, 19]), 0, atol=1e-20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: height_field(np.zeros((0, 3)), [1, 1, 1]), "positions have shape"),
        (lambda: height_field(np.zeros((4, 3)), np.zeros((2, 2))), "the cell has shape"),
        (lambda: height_field(np.zeros((4, 3)), np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])), "x-y plane"),
        (lambda: height_field(np.full((4, 3), np.nan), [1, 1, 1]), "not finite"),
        (lambda: height_spectrum(np.zeros((4, 3)), [10, 10, 10], q_max_per_A=0.1), "no wave vector"),
        (lambda: mean_square_displacement(np.zeros((5, 3)), [1]), "n_frames, n_atoms"),
        (lambda: mean_square_displacement(np.zeros((5, 3, 2)), [5]), "from 0 to 4"),
        (lambda: diffusion_coefficient([1.0], [1.0], n_dimensions=2), "two or more times"),
    ],
)
def test_unfit_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
