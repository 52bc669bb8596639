"""Frames of a harmonic crystal at a temperature: a start for learning and for sigma^A that needs no molecular dynamics.

The displacements are drawn from the canonical distribution of the supercell's own modes (phonons at the wave vectors that the
supercell holds), without translations. What lies beyond harmonic forces is absent by construction: no frame here holds a rare
event that a harmonic crystal would not show, and `sigma^A` of such frames (one-shot, F. Knoop et al., Phys. Rev. Materials 4,
083809 (2020)) can be far above or below that of the true dynamics where the crystal is strongly anharmonic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.modes import Imaginary
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import FloatArray, HarmonicReference


def harmonic_sample(
    reference: HarmonicReference,
    temperature_K: float,
    n: int,
    seed: int,
    *,
    quantum: bool = False,
    imaginary: Imaginary | str = Imaginary.ERROR,
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
    spread = modes.spreads(temperature_K, quantum=quantum, imaginary=imaginary)
    rng = np.random.default_rng([seed, 1])
    # Frame by frame, so that the first frames do not depend on how many are drawn.
    return [reference.displaced(modes.displacements(spread * rng.normal(size=spread.shape))) for _ in range(n)]


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
    The sign of a mode is fixed by making its largest component positive; among modes of equal frequency the choice of vectors
    is that of the eigensolver. Parameters and errors as `harmonic_sample`.
    """
    modes = reference.modes
    spread = modes.spreads(temperature_K, quantum=quantum, imaginary=imaginary)
    flat = modes.vectors.reshape(len(spread), -1)
    sign: FloatArray = np.sign(flat[np.arange(len(flat)), np.argmax(np.abs(flat).round(6), axis=1)])
    alternating = np.where(np.arange(len(spread)) % 2 == 0, 1.0, -1.0)
    return reference.displaced(modes.displacements(spread * sign * alternating))
