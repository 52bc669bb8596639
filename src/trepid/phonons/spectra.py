"""Velocity autocorrelation and vibrational density of states of a trajectory, in pieces of one length, as it is read.

Vocabulary
----------
piece        frames next to each other; every piece is one observation, so that their scatter gives the error
vdos         spectrum of the mass-weighted velocities, normalised to 3 per atom: the density of states of a harmonic crystal
vacf         sum over atoms of m v(0) v(t), in parts of its value at 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trepid.arrays import FloatArray
from trepid.phonons.oscillator import Kind


@dataclass(frozen=True, eq=False)
class VibrationalSpectrum:
    """Of all trajectories together.

    Attributes
    ----------
    frequencies_THz : (n,) array
    density : mapping of str to (n,) array
        By element and "total", modes per THz and atom of all: the integral of "total" is 3.
    density_error : (n,) array
        One standard deviation of "total", from the scatter of the pieces.
    times_fs : (m,) array
    autocorrelation : (m,) array
    autocorrelation_error : (m,) array
    n_pieces : int
    temperature_K : float
        Of the velocities.
    """

    frequencies_THz: FloatArray
    density: dict[str, FloatArray]
    density_error: FloatArray
    times_fs: FloatArray
    autocorrelation: FloatArray
    autocorrelation_error: FloatArray
    n_pieces: int
    temperature_K: float


class SpectrumAccumulator:
    """Takes velocities in order and keeps sums of spectra; its memory does not grow with the trajectory.

    Parameters
    ----------
    symbols : tuple of str
    masses : (n_atoms,) array
        amu.
    interval_fs : float
    n_frames : int
        Frames in a piece.
    kind : Kind
    """

    def __init__(
        self, symbols: tuple[str, ...], masses: FloatArray, *, interval_fs: float, n_frames: int, kind: Kind
    ) -> None:
        self.symbols, self.masses = np.array(symbols), masses
        self.interval, self.n, self.kind = interval_fs, n_frames, kind
        self.taper = np.hanning(n_frames + 2)[1:-1]
        self.taper = self.taper / np.sqrt(np.mean(self.taper**2))
        self._buffer: list[FloatArray] = []
        self._held = 0
        self._power: list[FloatArray] = []
        self._correlation: list[FloatArray] = []
        self._species = sorted(set(symbols))

    def add(self, velocities: FloatArray) -> None:
        """Velocities (n_frames, n_atoms, 3), A/fs, that follow the last ones."""
        self._buffer.append(velocities)
        self._held += len(velocities)
        while self._held >= self.n:
            everything = np.concatenate(self._buffer)
            self._piece(everything[: self.n])
            self._buffer = [everything[self.n :]]
            self._held = len(everything) - self.n

    def end_of_run(self) -> None:
        """What is left of a trajectory does not go on in the next one."""
        self._buffer, self._held = [], 0

    @property
    def n_pieces(self) -> int:
        """Complete pieces so far."""
        return len(self._power)

    def _piece(self, velocities: FloatArray) -> None:
        weighted = (velocities * np.sqrt(self.masses)[:, None]).reshape(self.n, -1)
        spectrum = np.abs(np.fft.rfft(weighted * self.taper[:, None], axis=0)) ** 2
        owner = np.repeat(self.symbols, 3)
        self._power.append(np.stack([spectrum[:, owner == s].sum(axis=1) for s in self._species]))
        padded = np.abs(np.fft.rfft(weighted, n=2 * self.n, axis=0)) ** 2
        correlation = np.fft.irfft(padded.sum(axis=1))[: self.n // 2]
        self._correlation.append(correlation / (self.n - np.arange(self.n // 2)))

    def result(self) -> VibrationalSpectrum:
        """Spectra of all pieces."""
        from ase.units import _amu, _k

        frequencies: FloatArray = np.asarray(np.fft.rfftfreq(self.n, self.interval) * 1000.0, dtype=np.float64)
        power, kept = np.array(self._power), 1.0
        if self.kind is Kind.DIFFERENCE:
            # Differences of positions hold this part of the spectrum of velocities.
            raw = float(power.sum())
            power = power / np.maximum(np.sinc(frequencies * self.interval / 1000.0) ** 2, 0.1)
            kept = raw / float(power.sum())
        total = power.sum(axis=1)
        scale = 3.0 / float(np.trapezoid(total.mean(axis=0), frequencies))
        n = len(power)
        correlation = np.array(self._correlation)
        zero = float(correlation[:, 0].mean())
        kinetic = zero / kept / len(self.masses) / 3.0  # amu A^2 / fs^2
        spread = np.sqrt(1.0 / max(n - 1, 1) / n)
        return VibrationalSpectrum(
            frequencies_THz=frequencies,
            density={
                "total": scale * total.mean(axis=0),
                **{name: scale * power[:, k].mean(axis=0) for k, name in enumerate(self._species)},
            },
            density_error=scale * spread * np.sqrt(((total - total.mean(axis=0)) ** 2).sum(axis=0)),
            times_fs=np.asarray(np.arange(correlation.shape[1]) * self.interval, dtype=np.float64),
            autocorrelation=correlation.mean(axis=0) / zero,
            autocorrelation_error=spread * np.sqrt(((correlation - correlation.mean(axis=0)) ** 2).sum(axis=0)) / zero,
            n_pieces=n,
            temperature_K=kinetic * 1e10 * _amu / _k,
        )
