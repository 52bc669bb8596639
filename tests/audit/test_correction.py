"""The process of the difference against a Gaussian process that is written out in full."""

from __future__ import annotations

import numpy as np
import pytest

from trepid.audit.correction import (
    ENERGY_NOISE_EV,
    FORCE_NOISE_EV_PER_A,
    DifferenceProcess,
    Scales,
)
from trepid.errors import DataError

SCALES = Scales(0.7, 0.9)
N, D = 4, 7


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return 0.5 * rng.normal(size=(N, D)), rng.normal(size=N) + 3.0, rng.normal(size=(N, D))


def full_covariance(x: np.ndarray, y: np.ndarray, offset: float) -> np.ndarray:
    """Covariance of (energy, forces) at x with those at y, by derivatives of the kernel."""
    d, l2, s2 = x - y, SCALES.length_A**2, SCALES.scale_eV**2
    k = s2 * np.exp(-0.5 * d @ d / l2)
    block = np.empty((D + 1, D + 1))
    block[0, 0] = k + offset**2
    block[0, 1:] = -k * d / l2
    block[1:, 0] = k * d / l2
    block[1:, 1:] = k / l2 * (np.eye(D) - np.outer(d, d) / l2)
    return block


def in_full(points, energies, forces, x, y):  # type: ignore[no-untyped-def]
    """Mean at x and standard deviation of the difference of x and y, from the whole matrix."""
    offset = max(1.0, np.ptp(energies))
    matrix = np.block([[full_covariance(a, b, offset) for b in points] for a in points])
    noise = np.tile(np.r_[ENERGY_NOISE_EV**2, np.full(D, FORCE_NOISE_EV_PER_A**2)], N)
    matrix += np.diag(noise)
    data = np.concatenate([np.r_[e - energies[0], f] for e, f in zip(energies, forces, strict=True)])
    rows = {name: np.hstack([full_covariance(z, b, offset) for b in points]) for name, z in (("x", x), ("y", y))}
    mean = rows["x"] @ np.linalg.solve(matrix, data)
    q = rows["x"][0] - rows["y"][0]
    kxy = full_covariance(x, y, offset)[0, 0]
    prior = full_covariance(x, x, offset)[0, 0] + full_covariance(y, y, offset)[0, 0] - 2 * kxy
    return energies[0] + mean[0], mean[1:], np.sqrt(prior - q @ np.linalg.solve(matrix, q))


def test_it_is_the_full_process(labels: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    process = DifferenceProcess(*labels, scales=SCALES)
    for _ in range(5):
        x, y = 0.5 * rng.normal(size=(2, D))
        energy, forces, std = in_full(*labels, x, y)
        found_energy, found_forces = process(x)
        assert found_energy == pytest.approx(energy, abs=1e-7)
        np.testing.assert_allclose(found_forces, forces, atol=1e-7)
        assert process.std(x, y) == pytest.approx(std, abs=1e-6)


def test_forces_are_minus_the_gradient(labels: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    process = DifferenceProcess(*labels)
    x = 0.3 * np.random.default_rng(2).normal(size=D)
    step = 1e-5
    numerical = [-(process(x + step * e)[0] - process(x - step * e)[0]) / (2 * step) for e in np.eye(D)]
    np.testing.assert_allclose(process(x)[1], numerical, atol=1e-7)


def test_labels_are_reproduced_and_certain(labels: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    points, energies, _ = labels
    process = DifferenceProcess(*labels, scales=SCALES)
    for point, energy in zip(points, energies, strict=True):
        assert process(point)[0] == pytest.approx(energy, abs=5e-3)
        assert process.std(point, points[0]) < 2 * ENERGY_NOISE_EV
    far = points[0] + 10.0
    assert process.std(far, points[0]) == pytest.approx(np.sqrt(2) * SCALES.scale_eV, rel=0.5)


def test_the_scales_follow_the_data() -> None:
    """A function of known length scale: the evidence finds it within a factor of two, and bars cover its values."""
    rng = np.random.default_rng(3)
    centre = rng.normal(size=D)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        k = np.exp(-0.5 * np.sum((x - centre) ** 2) / 2.0**2)
        return 3.0 * k, 3.0 * k * (x - centre) / 2.0**2

    points = rng.normal(size=(6, D))
    found = [value(x) for x in points]
    process = DifferenceProcess(points, np.array([e for e, _ in found]), np.array([f for _, f in found]))
    assert 1.0 < process.scales.length_A < 4.0
    misses = 0
    for _ in range(50):
        x = rng.normal(size=D)
        error = process(x)[0] - value(x)[0] - (process(points[0])[0] - found[0][0])
        misses += abs(error) > 1.96 * process.std(x, points[0]) + 1e-3
    assert misses <= 5


def test_one_label_alone_and_copies_of_it() -> None:
    point = np.zeros((1, 3))
    process = DifferenceProcess(point, np.array([2.0]), np.array([[0.1, 0.0, 0.0]]))
    assert process(np.array([0.0, 0.0, 0.0]))[0] == pytest.approx(2.0, abs=1e-3)
    assert process(np.array([0.05, 0.0, 0.0]))[0] < 2.0
    twice = DifferenceProcess(np.zeros((2, 3)), np.array([2.0, 2.0]), np.zeros((2, 3)))
    assert twice(np.zeros(3))[0] == pytest.approx(2.0, abs=1e-3)


def test_labels_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(n, d\)"):
        DifferenceProcess(np.zeros((2, 3)), np.zeros(3), np.zeros((2, 3)))
