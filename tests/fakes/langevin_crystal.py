"""Exact trajectories of a harmonic crystal with Langevin friction: every mode a linear stochastic equation."""

from __future__ import annotations

import ase.units
import numpy as np
from ase import Atoms
from scipy.linalg import expm

from trepid.anharmonicity import HarmonicReference


def damped_series(omega0: float, gamma: float, interval: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Coordinate and velocity (n, 2) of one oscillator of unit mean squared velocity."""
    step = expm(np.array([[0.0, 1.0], [-(omega0**2), -gamma]]) * interval)
    rest = np.diag([1.0 / omega0**2, 1.0])
    noise = np.linalg.cholesky(rest - step @ rest @ step.T)
    kicks = rng.normal(size=(n, 2)) @ noise.T
    state = np.linalg.cholesky(rest) @ rng.normal(size=2)
    series = np.empty((n, 2))
    for k in range(n):
        series[k] = state
        state = step @ state + kicks[k]
    return series


def damped_frames(
    harmonic: HarmonicReference, *, temperature_K: float, gamma: float, interval_fs: float, n: int, seed: int
) -> list[Atoms]:
    """Frames with momenta and times; gamma in 1/fs for every mode."""
    rng, modes = np.random.default_rng(seed), harmonic.modes
    omega = np.sqrt(modes.omega2) * ase.units.fs
    thermal = np.sqrt(ase.units.kB * temperature_K) * ase.units.fs
    series = thermal * np.array([damped_series(w, gamma, interval_fs, n, rng) for w in omega])
    frames = []
    for k in range(n):
        atoms = harmonic.displaced(modes.displacements(series[:, k, 0]))
        atoms.set_velocities(modes.displacements(series[:, k, 1]) / ase.units.fs)
        atoms.info["time_fs"] = k * interval_fs
        frames.append(atoms)
    return frames
