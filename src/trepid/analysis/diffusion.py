"""Mean squared displacement and diffusion coefficients by species, with bars from blocks of time.

Positions are unwrapped from frame to frame by the nearest image, in fractions of the cell, so that a cell that changes adds no
displacement; the drift of the centre of mass is taken out. The displacement of a lag is averaged over all starts (by the fast
Fourier transform, V. Calandrini et al., Collection SFN 12, 201 (2011)).

D = slope / 6 of the mean squared displacement between two lags. The trajectory is cut into blocks; every block gives a
slope, and their scatter the bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from trepid.analysis.averages import Average
from trepid.arrays import FloatArray
from trepid.errors import DataError

N_BLOCKS = 8
MOST_NUMBERS = 12_000_000
"""Coordinates that are kept: 96 MB; above, every second frame is dropped, then every fourth, and so on."""
_LAGS = (0.2, 0.8)
"""The slope is taken between these shares of the longest lag, which is half a block."""
A2_PER_PS = 1e-4
"""1 A^2/ps in cm^2/s."""


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Motion of a species.

    Attributes
    ----------
    species : str
    n_atoms : int
    lag_ps, msd_A2 : (n_lags,) arrays
        Mean squared displacement over all starts.
    msd_error_A2 : (n_lags,) array
        One standard deviation, from blocks, up to the longest lag inside a block; nan beyond.
    coefficient_cm2_per_s : Average or None
        None where the trajectory is too short for eight blocks of eight frames.
    fit_ps : (float, float) or None
        Lags of the fit.
    """

    species: str
    n_atoms: int
    lag_ps: FloatArray
    msd_A2: FloatArray
    msd_error_A2: FloatArray
    coefficient_cm2_per_s: Average | None
    fit_ps: tuple[float, float] | None

    @property
    def diffuses(self) -> bool:
        """Whether the coefficient is above 0 by two bars."""
        d = self.coefficient_cm2_per_s
        return d is not None and d.value > 2 * d.error


class Tracks:
    """Unwrapped positions of a trajectory, thinned where it is long.

    Parameters
    ----------
    symbols : sequence of str
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = np.asarray(symbols, dtype=str)
        masses = atomic_masses[[atomic_numbers[symbol] for symbol in symbols]]
        self._weights = masses / masses.sum()
        self._last: FloatArray | None = None
        self._fractions: FloatArray | None = None
        self._kept: list[FloatArray] = []
        self._times: list[float] = []
        self._cells = np.zeros((3, 3))
        self._n_cells = 0
        self._stride, self._n = 1, 0

    def add(self, positions: FloatArray, cells: FloatArray, times_fs: FloatArray) -> None:
        """Follow (n_frames, n_atoms, 3) positions in (n_frames, 3, 3) cells, A, at these times."""
        fractions = positions @ np.linalg.inv(cells)
        if self._last is None:
            self._last, self._fractions = fractions[0], fractions[0].copy()
        assert self._fractions is not None
        steps = np.diff(np.concatenate([self._last[None], fractions]), axis=0)
        steps -= np.round(steps)
        unwrapped = self._fractions + np.cumsum(steps, axis=0)
        self._last, self._fractions = fractions[-1], unwrapped[-1].copy()
        self._cells += cells.sum(axis=0)
        self._n_cells += len(cells)
        centred = unwrapped - (self._weights @ unwrapped)[:, None, :]
        for frame, time in zip(centred, times_fs, strict=True):
            if self._n % self._stride == 0:
                self._kept.append(frame)
                self._times.append(float(time))
            self._n += 1
        if self._kept[0].size * len(self._kept) > MOST_NUMBERS:
            self._kept, self._times = self._kept[::2], self._times[::2]
            self._stride *= 2

    def result(self) -> tuple[Diffusion, ...]:
        """Motion of every species.

        Raises
        ------
        DataError
            The frames are not equally spaced in time.
        """
        if len(self._kept) < 4:
            return ()
        times = np.array(self._times) / 1000
        spacing = np.diff(times)
        if abs(spacing[-1] - spacing[0]) > 1e-3 * spacing[0]:  # the last frame of a run may lie off the grid
            spacing, self._kept = spacing[:-1], self._kept[:-1]
        if np.ptp(spacing) > 1e-3 * spacing.mean():
            raise DataError(
                f"the frames are {spacing.min():.4g} to {spacing.max():.4g} ps apart; displacements need equal times"
            )
        positions = np.array(self._kept) @ (self._cells / self._n_cells)
        return tuple(
            _of_species(str(name), positions[:, self.symbols == name], float(spacing.mean()))
            for name in sorted(set(self.symbols.tolist()))
        )


def mean_squared_displacement(positions: FloatArray) -> FloatArray:
    """Of (n_frames, n_atoms, 3) unwrapped positions, for lags 0 to n_frames - 1, over atoms and all starts; A^2."""
    n = len(positions)
    x = (positions - positions[0]).reshape(n, -1)
    squares = (x**2).sum(axis=1)
    # <x(t) x(t + lag)> by the Fourier transform, with zeros behind so that the ends do not meet.
    products = np.zeros(n)
    for start in range(0, x.shape[1], 64):
        transform = np.fft.rfft(x[:, start : start + 64], 2 * n, axis=0)
        products += np.fft.irfft((transform * transform.conj()).sum(axis=1), 2 * n)[:n].real
    # Sums of |x(t)|^2 over the starts and over the ends of a lag.
    total = squares.sum()
    front, back = np.concatenate([[0], np.cumsum(squares)]), np.concatenate([[0], np.cumsum(squares[::-1])])
    lags = np.arange(n)
    sums = (total - back[lags]) + (total - front[lags])
    return np.maximum((sums - 2 * products) / (n - lags) / positions.shape[1], 0.0)


def _of_species(name: str, positions: FloatArray, interval_ps: float) -> Diffusion:
    n = len(positions)
    msd = mean_squared_displacement(positions)
    lags = np.arange(n, dtype=np.float64) * interval_ps
    length = n // N_BLOCKS
    error = np.full(n, np.nan)
    coefficient = fit = None
    if length >= 8:
        blocks = np.array(
            [mean_squared_displacement(positions[k * length : (k + 1) * length]) for k in range(N_BLOCKS)]
        )
        longest = length // 2
        error[: longest + 1] = blocks[:, : longest + 1].std(axis=0, ddof=1) / math.sqrt(N_BLOCKS)
        first, last = max(1, round(_LAGS[0] * longest)), max(2, round(_LAGS[1] * longest))
        chosen = slice(first, last + 1)
        slopes = np.polyfit(lags[chosen], blocks[:, chosen].T, 1)[0] / 6 * A2_PER_PS
        value = float(slopes.mean())
        coefficient = Average(value, float(slopes.std(ddof=1)) / math.sqrt(N_BLOCKS), True)
        fit = (float(lags[first]), float(lags[last]))
    half = n // 2 + 1
    return Diffusion(
        species=name,
        n_atoms=positions.shape[1],
        lag_ps=lags[:half],
        msd_A2=msd[:half],
        msd_error_A2=error[:half],
        coefficient_cm2_per_s=coefficient,
        fit_ps=fit,
    )
