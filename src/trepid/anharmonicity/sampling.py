"""Frames of a harmonic crystal at a temperature: a start for learning and for sigma^A that needs no molecular dynamics.

The displacements are drawn from the canonical distribution of the supercell's own modes (phonons at the wave vectors that the
supercell holds), without translations. A very soft mode gets amplitudes in it at which nothing is harmonic, and the crystal not
itself: `largest_rms` limits them. What lies beyond harmonic forces is absent by construction: no frame here holds a rare
event that a harmonic crystal would not show, and `sigma^A` of such frames (one-shot, F. Knoop et al., Phys. Rev. Materials 4,
083809 (2020)) can be far above or below that of the true dynamics where the crystal is strongly anharmonic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.modes import Imaginary, Modes
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference
    from trepid.arrays import FloatArray


EQUAL = 1e-6
"""omega^2 of two modes are the same when they differ by this part of the largest one."""


def harmonic_sample(
    reference: HarmonicReference,
    temperature_K: float,
    n: int,
    seed: int,
    *,
    quantum: bool = False,
    imaginary: Imaginary | str = Imaginary.ERROR,
    largest_rms: float | None = None,
) -> list[Atoms]:
    """Independent frames of the harmonic crystal at a temperature; the same seed gives the same frames.

    Parameters
    ----------
    reference : HarmonicReference
    temperature_K : float
        Above 0; quantum also 0.
    n : int
        Number of frames.
    seed : int
        Non-negative.
    quantum : bool
        Amplitudes of quantum oscillators (zero-point motion) instead of classical ones.
    imaginary : Imaginary or str
        What to do about imaginary modes.
    largest_rms : float, optional
        Root mean square displacement that an atom may have, over the distance to its nearest neighbour; no limit if absent. Modes
        softer than `sampled_from` are sampled as if they had that frequency.

    Returns
    -------
    list of Atoms
        The supercell with the atoms displaced; no calculator, no labels.

    Raises
    ------
    ConfigError
        A number of frames below 1, or a temperature that is not positive.
    NumericsError
        There are imaginary modes and `imaginary` is 'error'.
    """
    if n < 1:
        raise ConfigError(f"{n} frames of a harmonic crystal: give 1 or more")
    modes = reference.modes
    least = sampled_from(reference, temperature_K, largest_rms, quantum=quantum, imaginary=imaginary)
    spread = modes.spreads(temperature_K, quantum=quantum, imaginary=imaginary, least_THz=least)
    rng = np.random.default_rng([seed, 1])
    shape = modes.vectors.shape
    flat = modes.vectors.reshape(len(spread), -1)
    # Random numbers belong to coordinates and not to modes, so that the frames do not depend on which vectors the eigensolver
    # picks among modes of equal frequency; frame by frame, so that the first do not depend on how many are drawn.
    return [reference.displaced(modes.displacements(spread * (flat @ rng.normal(size=3 * shape[1])))) for _ in range(n)]


def sampled_from(
    reference: HarmonicReference,
    temperature_K: float,
    largest_rms: float | None,
    *,
    quantum: bool = False,
    imaginary: Imaginary | str = Imaginary.ERROR,
) -> float:
    """Frequency at which all softer modes are sampled, THz; 0 where the atoms stay within `largest_rms` without.

    F. A. Lindemann, Phys. Z. 11, 609 (1910): a crystal melts once its atoms move by 0.1 to 0.15 of the distance to their
    neighbours. Beyond that no harmonic frame is one of the crystal. One frequency for all modes, so that modes of equal
    frequency stay equal, and frames do not depend on which vectors the eigensolver picks among them. Parameters as
    `harmonic_sample`.
    """
    if largest_rms is None:
        return 0.0
    if not largest_rms > 0:
        raise ConfigError(f"largest_rms {largest_rms}: give a positive part of the distance to the nearest neighbour")
    largest = largest_rms * reference.neighbour_distance
    return reference.modes.least_frequency(temperature_K, largest, quantum=quantum, imaginary=imaginary)


def one_shot_sample(
    reference: HarmonicReference,
    temperature_K: float,
    *,
    quantum: bool = False,
    imaginary: Imaginary | str = Imaginary.ERROR,
) -> Atoms:
    """One frame that stands for the whole distribution: every mode at one standard deviation, with alternating signs.

    M. Zacharias and F. Giustino, Phys. Rev. B 94, 075125 (2016): averages over the harmonic distribution come out exactly in
    the limit of large supercells, where errors of neighbouring modes cancel. In a small one it is one sample of many.
    The vectors among modes of equal frequency, and the signs, are fixed by rules and not left to the eigensolver. Parameters and
    errors as `harmonic_sample`.
    """
    modes = reference.modes
    spread = modes.spreads(temperature_K, quantum=quantum, imaginary=imaginary)
    vectors = _standard_vectors(modes)
    alternating = np.where(np.arange(len(spread)) % 2 == 0, 1.0, -1.0)
    u = np.tensordot(spread * alternating, vectors, axes=1) / np.sqrt(modes.masses)[:, None]
    return reference.displaced(u)


def _standard_vectors(modes: Modes) -> FloatArray:
    """Eigenvectors (n_modes, n_atoms, 3) that do not depend on rounding, signs included.

    Within a set of equal frequencies only the space they span has a meaning. Its basis is made from the projections of fixed
    vectors onto it, one after the other. Those are random numbers: projections of the coordinate axes of an atom would all be
    largest on that atom, and add up there.
    """
    flat = modes.vectors.reshape(len(modes.omega2), -1)
    fixed = np.random.default_rng(0).normal(size=flat.shape)
    standard = np.empty_like(flat)
    edges = np.flatnonzero(np.diff(modes.omega2) > EQUAL * np.abs(modes.omega2).max()) + 1
    for group in np.split(np.arange(len(flat)), edges):
        rotation, triangle = np.linalg.qr(flat[group] @ fixed[group].T)
        standard[group] = (rotation * np.sign(np.diag(triangle))).T @ flat[group]
    return standard.reshape(modes.vectors.shape)
