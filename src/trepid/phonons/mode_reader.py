"""Reads a trajectory once: velocities projected on the modes, their periodograms, the density of states, forces on the modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trepid.arrays import FloatArray
from trepid.data.formula import formula_of
from trepid.data.trajectory import Chunk, Trajectory, open_trajectory
from trepid.errors import ConfigError, DataError
from trepid.phonons.oscillator import Kind
from trepid.phonons.projection import Projection, project
from trepid.phonons.sites import AwayCount, Lattice, lattice_of
from trepid.phonons.spectra import SpectrumAccumulator, VibrationalSpectrum

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

Source = str | Path | Sequence["Atoms"]

NYQUIST = 1.1
"""The highest frequency that frames resolve must exceed the highest of the crystal by this factor."""
MOST_BYTES = 2e9
"""Of the coordinates of modes that are held."""
SAME_SITE = 0.1
"""Sites nearer than this, A, are one: the cells of two trajectories may differ by a thousandth."""
LEAST_FRAMES = 64
LEAST_PERIODS = 20
"""Periods of the slowest mode in a block whose length is not given."""
LEAST_RUNS = 4
"""Runs or blocks whose scatter is compared with the bar."""


@dataclass(frozen=True)
class LifetimeSettings:
    """How trajectories are analysed.

    Attributes
    ----------
    interval_fs : float or None
        Time between two frames, where the file does not tell it.
    species : tuple of str
        Elements of the types of a LAMMPS dump without elements.
    equilibrate_ps : float
        Time at the beginning of every trajectory that is left out.
    blocks : int
        Blocks of each trajectory that are treated as runs. 0: four where there are fewer than four trajectories, else one.
    resolution_THz : float
        Of the vibrational density of states.
    qpoints : tuple of (float, float, float)
        Wave vectors of the modes, reciprocal basis of the primitive cell; empty: all that the supercell holds.
    positions : bool
        Velocities from positions, also where the file has velocities.
    """

    interval_fs: float | None = None
    species: tuple[str, ...] = ()
    equilibrate_ps: float = 0.0
    blocks: int = 0
    resolution_THz: float = 0.1
    qpoints: tuple[tuple[float, float, float], ...] = ()
    positions: bool = False

    def __post_init__(self) -> None:
        if self.equilibrate_ps < 0:
            raise ConfigError(f"equilibration of {self.equilibrate_ps:g} ps: give 0 or more")
        if self.blocks < 0:
            raise ConfigError(f"{self.blocks} blocks: give 1 or more, or 0 to leave it to the number of trajectories")
        if not self.resolution_THz > 0:
            raise ConfigError(f"resolution {self.resolution_THz:g} THz: must be positive")

    def n_blocks(self, n_runs: int) -> int:
        """Blocks of each trajectory."""
        return self.blocks or (LEAST_RUNS if n_runs < LEAST_RUNS else 1)


@dataclass(frozen=True, eq=False)
class ModeRun:
    """What one trajectory gave.

    Attributes
    ----------
    periodograms : list per block of (n_groups, n_frequencies) arrays
    lengths : list of int
        Frames of each block.
    force_sums : (n_chunks, n_groups, 2) array
        Anharmonic and total squared forces on the modes; empty without forces.
    """

    name: str
    n_frames: int
    periodograms: list[FloatArray]
    lengths: list[int]
    force_sums: FloatArray


@dataclass
class ModeReader:
    """Reads trajectories one after another; the first one decides the cell, the interval and the kind of velocities."""

    crystal: Atoms
    make: Callable[[Lattice], Phonopy] | None
    settings: LifetimeSettings
    say: Callable[[str], None]
    lattice: Lattice | None = None
    projection: Projection | None = None
    interval: float = 0.0
    kind: Kind = Kind.DIFFERENCE
    remarks: list[str] = field(default_factory=list)
    accumulator: SpectrumAccumulator | None = None

    def read(self, source: Source, n_blocks: int, *, spectrum: bool = True) -> ModeRun:
        """Project one trajectory on the modes."""
        with open_trajectory(
            source,
            interval_fs=self.settings.interval_fs,
            species=self.settings.species,
            forces="" if self.make is not None else None,
            velocities=not self.settings.positions,
        ) as opened:
            lattice = lattice_of(opened, self.crystal)
            self.say(f"{opened.name}: {formula_of(lattice.supercell)}")
            self._first(opened, lattice)
            away = AwayCount(lattice.supercell)
            coordinates, sums = [], []
            n_frames = 0
            for velocities, u, forces, first in _Frames(self, opened, lattice):
                away.add(u, first)
                n_frames += len(velocities)
                if spectrum:
                    self._spectrum_of(lattice).add(velocities)
                if self.projection is not None:
                    coordinates.append(self.projection.of_vectors(velocities).astype(np.complex64))
                    if forces is not None:
                        sums.append(self._force_sums(u, forces))
            if self.accumulator is not None:
                self.accumulator.end_of_run()
            for remark in (*opened.remarks, *lattice.remarks):
                if remark not in self.remarks:
                    self.remarks.append(remark)
            if away.n_away:
                self.remarks.append(
                    f"{away.line(opened.name)}: modes describe atoms at their sites only, and the widths hold what the events do"
                )
            if n_frames < LEAST_FRAMES:
                raise DataError(
                    f"{opened.name}: {n_frames} frames after the equilibration; {LEAST_FRAMES} or more are needed for a spectrum"
                )
            blocks, lengths = self._periodograms(coordinates, n_blocks)
            return ModeRun(opened.name, n_frames, blocks, lengths, np.array(sums))

    def spectrum(self) -> VibrationalSpectrum:
        """Density of states of the trajectories read so far."""
        assert self.accumulator is not None
        if self.accumulator.n_pieces == 0:
            raise DataError(
                f"the trajectories are shorter than one piece of {self.accumulator.n} frames, which a resolution of "
                f"{self.settings.resolution_THz:g} THz needs; give a coarser one with --resolution, or longer trajectories"
            )
        return self.accumulator.result()

    def _first(self, opened: Trajectory, lattice: Lattice) -> None:
        """Take the modes from the first trajectory, and compare the others with it."""
        if self.lattice is None:
            self.lattice = lattice
            if lattice.strain > 1e-4:
                self.remarks.append(
                    f"{opened.name}: its cell is strained by {100 * lattice.strain:.2g} % against the crystal"
                )
            if self.make is not None:
                wanted = np.array(self.settings.qpoints) if self.settings.qpoints else None
                self.projection = project(self.make(lattice), lattice, wanted=wanted)
            return
        if len(lattice.supercell) != len(self.lattice.supercell) or (
            np.abs(lattice.supercell.cell.array - self.lattice.supercell.cell.array).max()
            > 1e-3 * np.abs(lattice.supercell.cell.array).max()
        ):
            raise DataError(f"{opened.name}: another supercell or volume than the first trajectory")
        if not _same_order(lattice.supercell, self.lattice.supercell):
            raise DataError(f"{opened.name}: its atoms are in another order than those of the first trajectory")

    def _spectrum_of(self, lattice: Lattice) -> SpectrumAccumulator:
        if self.accumulator is None:
            n = max(32, round(1000.0 / (self.settings.resolution_THz * self.interval)))
            self.accumulator = SpectrumAccumulator(
                tuple(lattice.supercell.get_chemical_symbols()),
                lattice.supercell.get_masses(),
                interval_fs=self.interval,
                n_frames=n,
                kind=self.kind,
            )
        return self.accumulator

    def check_interval(self, interval: float, kind: Kind, name: str) -> None:
        """Refuse frames too far apart, or another interval than that of the first trajectory."""
        if self.interval == 0.0:
            self.interval, self.kind = interval, kind
        if abs(interval - self.interval) > 1e-6 * self.interval or kind is not self.kind:
            raise DataError(
                f"{name}: frames every {interval:g} fs with {kind.value}, the first trajectory every {self.interval:g} fs with "
                f"{self.kind.value}; all must be alike"
            )
        if self.projection is not None:
            highest = float(self.projection.omega.max()) / (2 * np.pi) * 1000.0
            resolved = 500.0 / interval
            if resolved < NYQUIST * highest:
                raise DataError(
                    f"{name}: frames every {interval:g} fs show frequencies up to {resolved:.3g} THz, the crystal has "
                    f"{highest:.3g} THz: write a frame every {math.floor(5000.0 / (NYQUIST * highest)) / 10:g} fs or more often "
                    "(trepid md --sample-every STEPS)"
                )

    def _force_sums(self, u: FloatArray, forces: FloatArray) -> FloatArray:
        """Squared forces on the modes of a chunk, (n_groups, 2): beyond harmonic, and total."""
        assert self.projection is not None
        from ase.units import fs

        total = self.projection.of_vectors(forces, weight=-1)
        # omega^2 Q in the unit of force / sqrt(mass): eV/A/sqrt(amu).
        harmonic = -self.projection.of_vectors(u) * np.sign(self.projection.omega) * (self.projection.omega / fs) ** 2
        squares = np.stack([np.abs(total - harmonic) ** 2, np.abs(total) ** 2]).mean(axis=1)
        return np.array([squares[:, list(group.columns)].sum(axis=1) for group in self.projection.groups])

    def _periodograms(
        self, coordinates: list[NDArray[np.complex64]], n_blocks: int
    ) -> tuple[list[FloatArray], list[int]]:
        if self.projection is None:
            return [], []
        series = np.concatenate(coordinates)
        if series.nbytes > MOST_BYTES:
            raise DataError(
                f"the coordinates of {series.shape[1]} modes in {len(series)} frames take {series.nbytes / 1e9:.1f} GB; choose "
                "wave vectors with --q"
            )
        blocks, lengths = [], []
        if self.settings.blocks == 0:
            n_blocks = min(n_blocks, self._most_blocks(len(series)))
        n = len(series) // n_blocks  # of one length, so that their periodograms can be averaged
        for k in range(n_blocks):
            piece = series[k * n : (k + 1) * n]
            m = (n - 1) // 2
            rows = []
            for group in self.projection.groups:
                total = np.zeros(m)
                for column, real in zip(group.columns, group.real, strict=True):
                    power = np.abs(np.fft.fft(piece[:, column].astype(np.complex128))) ** 2 / n
                    # Waves to both sides; of a real mode both are one.
                    both = power[1 : m + 1] + power[-1 : -m - 1 : -1]
                    total += 0.5 * both if real else both
                rows.append(total / group.count)
            blocks.append(np.array(rows))
            lengths.append(n)
        return blocks, lengths

    def _most_blocks(self, n_frames: int) -> int:
        """Blocks that are still long enough for the slowest mode."""
        assert self.projection is not None
        slowest = max(min(group.frequency_THz for group in self.projection.groups), 0.05)
        return max(1, int(n_frames * self.interval / 1000.0 * slowest / LEAST_PERIODS))


def _same_order(supercell: Atoms, first: Atoms) -> bool:
    """Whether the sites of the atoms are those of the first trajectory, but for one translation and vectors of the supercell.

    Both are a matter of chance: the image of a site that an atom is next to, and the site from which the crystal is counted.
    Periodograms and displacements are the same for all.
    """
    if (supercell.numbers != first.numbers).any():
        return False
    shift = supercell.get_scaled_positions(wrap=False) - first.get_scaled_positions(wrap=False)
    shift -= shift[0]
    shift -= np.rint(shift)
    return bool(np.linalg.norm(shift @ first.cell.array, axis=1).max() < SAME_SITE)


class _Frames:
    """Velocities, displacements and forces of a trajectory in the orientation of the crystal, chunk by chunk."""

    def __init__(self, reader: ModeReader, opened: Trajectory, lattice: Lattice) -> None:
        self.reader, self.opened, self.lattice = reader, opened, lattice
        self.kind = Kind.INSTANT if opened.has_velocities else Kind.DIFFERENCE

    def __iter__(self) -> Iterator[tuple[FloatArray, FloatArray, FloatArray | None, int]]:
        last_u: FloatArray | None = None
        last_time: float | None = None
        interval: float | None = None
        start = self.reader.settings.equilibrate_ps * 1000.0
        for chunk in self.opened.chunks():
            u = self.lattice.displacements(chunk, name=self.opened.name)
            times = chunk.times_fs if last_time is None else np.append(last_time, chunk.times_fs)
            interval = self._checked(times, interval, chunk)
            last_time = float(chunk.times_fs[-1])
            if self.kind is Kind.INSTANT:
                assert chunk.velocities is not None
                velocities, moved, forces = chunk.velocities @ self.lattice.rotation, u, chunk.forces
                keep = chunk.times_fs >= start
            else:
                path = u if last_u is None else np.concatenate([last_u[None], u])
                velocities = self._differences(path, interval)
                last_u = u[-1]
                moved = path[1:]
                forces = chunk.forces if len(moved) == len(u) or chunk.forces is None else chunk.forces[1:]
                keep = times[:-1] >= start if len(times) == len(path) else times[1:] >= start
                keep = keep[: len(velocities)]
            if forces is not None:
                forces = (forces @ self.lattice.rotation)[keep]
            if keep.any():
                yield velocities[keep], moved[keep], forces, chunk.first

    def _differences(self, path: FloatArray, interval: float | None) -> FloatArray:
        if len(path) < 2:
            return np.zeros((0, *path.shape[1:]))
        assert interval is not None
        cell = self.lattice.supercell.cell
        step = cell.scaled_positions(np.diff(path, axis=0).reshape(-1, 3))
        step -= np.rint(step)
        return (step @ cell.array).reshape(-1, *path.shape[1:]) / interval

    def _checked(self, times: FloatArray, interval: float | None, chunk: Chunk) -> float | None:
        steps = np.diff(times)
        if not steps.size:
            return interval
        expected = float(steps[0]) if interval is None else interval
        if interval is None:
            self.reader.check_interval(expected, self.kind, self.opened.name)
        uneven = np.abs(steps - expected) > 1e-3 * expected
        if uneven.any():
            frame = chunk.first + int(np.flatnonzero(uneven)[0])
            raise DataError(
                f"{self.opened.name}: frames are not evenly spaced: {expected:g} fs at first, {steps[uneven][0]:g} fs near frame "
                f"{frame} (counted from 0)"
            )
        return expected
