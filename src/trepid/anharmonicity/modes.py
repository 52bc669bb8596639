"""Normal modes of a supercell: frequencies, and their amplitudes at a temperature.

Vocabulary
----------
mode            u_i = e_i / sqrt(m_i) q: a pattern of displacements with one coordinate q (A sqrt(amu)) and one frequency
translations    the three modes that move the supercell as a whole; their frequency is zero and they are left out
imaginary mode  omega^2 < 0: the structure is not a minimum, and there is no harmonic distribution along this mode
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import ase.units
import numpy as np

from trepid.arrays import FloatArray
from trepid.errors import ConfigError, NumericsError

SOFT_THz = 0.05
"""Modes below this frequency, imaginary ones included, are too soft to sample: rounding of forces can give either sign."""

PRECISE = 1e-3
"""Relative precision of the frequency at which soft modes are sampled."""

# omega^2 comes in eV/(A^2 amu); its square root is an angular frequency per time unit of ASE.
_THZ_PER_OMEGA = ase.units.second / (2 * np.pi * 1e12)
_HBAR = ase.units._hbar * ase.units.J * ase.units.second


class Imaginary(str, Enum):
    """What to do about modes that are imaginary, or softer than `SOFT_THz`."""

    ERROR = "error"
    """Refuse: a crystal with such modes has no harmonic distribution."""
    MIRROR = "mirror"
    """Take the frequency of an imaginary mode as if it were real; leave out those softer than `SOFT_THz`."""
    SKIP = "skip"
    """Leave all of them out: these modes stay at zero."""


@dataclass(frozen=True)
class Modes:
    """Modes of a supercell without the three translations, in the order of omega^2.

    Attributes
    ----------
    omega2 : (n_modes,) array
        eV/(A^2 amu); negative for imaginary modes. n_modes = 3 n_atoms - 3.
    vectors : (n_modes, n_atoms, 3) array
        Orthonormal eigenvectors of the mass-weighted force constants.
    masses : (n_atoms,) array
        amu.
    """

    omega2: FloatArray
    vectors: FloatArray
    masses: FloatArray

    def __repr__(self) -> str:
        frequencies = self.frequencies_THz
        return (
            f"Modes({len(frequencies)} modes of {len(self.masses)} atoms, {frequencies.min():.3g} to "
            f"{frequencies.max():.3g} THz, {self.n_imaginary} imaginary)"
        )

    @property
    def frequencies_THz(self) -> FloatArray:
        """Frequencies (not angular), (n_modes,), THz; imaginary ones as negative numbers, as phonopy gives them."""
        return np.sign(self.omega2) * np.sqrt(np.abs(self.omega2)) * _THZ_PER_OMEGA

    @property
    def n_imaginary(self) -> int:
        """Number of modes with a frequency below -`SOFT_THz`."""
        return int(np.sum(self.frequencies_THz < -SOFT_THz))

    def spreads(
        self,
        temperature_K: float,
        *,
        quantum: bool = False,
        imaginary: Imaginary | str = Imaginary.ERROR,
        least_THz: float = 0.0,
    ) -> FloatArray:
        """Standard deviation of every mode coordinate in the canonical distribution, (n_modes,), A sqrt(amu).

        Classical sqrt(kT)/omega, quantum sqrt(hbar/(2 omega) coth(hbar omega / 2 kT)). Modes below `least_THz` get the spread of
        one at that frequency (`least_frequency`).

        Raises
        ------
        ConfigError
            The temperature is not positive (not negative for quantum amplitudes).
        NumericsError
            There are imaginary or too soft modes and `imaginary` is 'error'.
        """
        least = "0 K or more" if quantum else "above 0 K"
        if not (math.isfinite(temperature_K) and (temperature_K > 0 or (quantum and temperature_K == 0))):
            raise ConfigError(f"temperature {temperature_K} K: must be {least}")
        policy = Imaginary(imaginary)
        frequency = self.frequencies_THz
        bad = frequency < SOFT_THz
        if policy is Imaginary.ERROR and bad.any():
            raise NumericsError(
                f"{int(bad.sum())} of {len(frequency)} modes of the supercell are imaginary or softer than {SOFT_THz:g} THz (the "
                f"lowest at {frequency.min():.3f} THz; negative means imaginary): there is no harmonic distribution. Relax the "
                "structure. '--imaginary mirror' (in Python imaginary='mirror') takes their frequencies as real, 'skip' leaves "
                "them out; sigma^A then means nothing by itself"
            )
        kept = ~bad if policy is Imaginary.SKIP else np.abs(frequency) >= SOFT_THz
        omega = np.maximum(np.sqrt(np.abs(self.omega2[kept])), least_THz / _THZ_PER_OMEGA)
        kT = ase.units.kB * temperature_K
        if not quantum:
            variance = kT / omega**2
        elif temperature_K == 0:
            variance = _HBAR / (2 * omega)
        else:
            variance = _HBAR / (2 * omega * np.tanh(_HBAR * omega / (2 * kT)))
        spread = np.zeros(len(self.omega2))
        spread[kept] = np.sqrt(variance)
        return spread

    def rms_displacements(self, spreads: FloatArray) -> FloatArray:
        """Root mean square displacement of every atom, (n_atoms,), A, for spreads (n_modes,) of the modes."""
        squares = np.einsum("k,kic->i", spreads**2, self.vectors**2)
        return np.asarray(np.sqrt(squares / self.masses))

    def least_frequency(
        self,
        temperature_K: float,
        largest_A: FloatArray,
        *,
        quantum: bool = False,
        imaginary: Imaginary | str = Imaginary.ERROR,
    ) -> float:
        """Frequency at which softer modes must be sampled so that no atom moves further than it may, THz; 0 where none does.

        Parameters
        ----------
        temperature_K : float
        largest_A : (n_atoms,) array
            Root mean square displacement that an atom may have, A.
        """

        def excess(least_THz: float) -> float:
            spreads = self.spreads(temperature_K, quantum=quantum, imaginary=imaginary, least_THz=least_THz)
            return float((self.rms_displacements(spreads) / largest_A).max())

        if excess(0.0) <= 1:
            return 0.0
        low, high = SOFT_THz, float(np.abs(self.frequencies_THz).max())
        while excess(high) > 1:  # no solid at this temperature: every mode is held
            low, high = high, 2 * high
        while high - low > PRECISE * high:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if excess(middle) > 1 else (low, middle)
        return high

    def displacements(self, coordinates: FloatArray) -> FloatArray:
        """Displacements (..., n_atoms, 3), A, of mode coordinates (..., n_modes), A sqrt(amu)."""
        return np.tensordot(coordinates, self.vectors, axes=1) / np.sqrt(self.masses)[:, None]


def modes_of(matrix: FloatArray, masses: FloatArray) -> Modes:
    """Diagonalise the mass-weighted force constants of a supercell.

    Parameters
    ----------
    matrix : (3 n_atoms, 3 n_atoms) array
        Force constants, eV/A^2.
    masses : (n_atoms,) array
        amu.
    """
    n = len(masses)
    root = np.repeat(np.sqrt(masses), 3)
    dynamical = matrix / np.outer(root, root)
    dynamical = 0.5 * (dynamical + dynamical.T)
    translations = np.zeros((3 * n, 3))
    for axis in range(3):
        translations[axis::3, axis] = np.sqrt(masses / masses.sum())
    # Translations are taken out and put back far above everything else, so that no soft mode is mistaken for one.
    projector = np.eye(3 * n) - translations @ translations.T
    far = 10.0 * float(np.abs(dynamical).sum(axis=1).max()) + 1.0
    values, vectors = np.linalg.eigh(projector @ dynamical @ projector + far * translations @ translations.T)
    return Modes(values[:-3], np.ascontiguousarray(vectors[:, :-3].T).reshape(-1, n, 3), masses)
