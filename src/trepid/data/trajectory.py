"""A trajectory from any file, in pieces of equal size: positions, cells, times, and forces where they are wanted.

Extended XYZ, LAMMPS dumps, XDATCAR and vasprun.xml are read by readers of their own, which hold one frame at a time; other
formats, the trajectories of ASE among them, are read by ASE.

Times come from the file (`time_fs` in extended XYZ, time and units in a LAMMPS dump, POTIM in vasprun.xml), or from the time
between two frames that the user gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from lzma import LZMAError
from pathlib import Path
from typing import TYPE_CHECKING

import ase.units
import numpy as np

from trepid.arrays import FloatArray
from trepid.data.extxyz_reader import EXTXYZ_SUFFIXES, looks_like_extxyz
from trepid.data.outputs import LAMMPS_DUMP, VASP_XML, format_of
from trepid.data.source import head_of, open_bytes, plain_name, readable, require_regular, unpacked
from trepid.data.trajectory_frames import BinaryReader, RawFrame, Reading
from trepid.data.trajectory_text import read_extxyz_frames, read_lammps_frames
from trepid.data.trajectory_vasp import read_vasprun_frames, read_xdatcar_frames
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

_MOST_NUMBERS = 3 * 64 * 256
"""Coordinates in a chunk: enough for vectors, and a few megabytes at most."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames that follow one another.

    Attributes
    ----------
    first : int
        Number of the first of them, counted from 0 through the frames that are used.
    positions : (n_frames, n_atoms, 3) array
        A, from the origin of the cell; wrapped or not.
    cells : (n_frames, 3, 3) array
        A.
    times_fs : (n_frames,) array
        Ascending; 0 at the first frame of the trajectory.
    forces : (n_frames, n_atoms, 3) array or None
        eV/A.
    velocities : (n_frames, n_atoms, 3) array or None
        A/fs.
    """

    first: int
    positions: FloatArray
    cells: FloatArray
    times_fs: FloatArray
    forces: FloatArray | None
    velocities: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(eq=False)
class Trajectory:
    """An open trajectory; made by `open_trajectory`, closed by its `with` block.

    Attributes
    ----------
    name : str
        For messages.
    first : RawFrame
        The first frame.
    symbols : tuple of str or None
        Elements; None where the file has numbers of types only and no species were given.
    types : tuple of int or None
        Numbers of types, where the file has them instead of elements.
    has_forces, has_velocities : bool
        Whether the first frame has those that were wanted.
    remarks : list of str
        What is worth telling; complete when the last chunk has been read.
    """

    name: str
    first: RawFrame
    symbols: tuple[str, ...] | None
    types: tuple[int, ...] | None
    has_forces: bool
    remarks: list[str]
    interval_fs: float | None
    has_velocities: bool
    _frames: Iterator[RawFrame] = field(repr=False)
    _stack: ExitStack = field(repr=False)

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def n_atoms(self) -> int:
        """Number of atoms in every frame."""
        return len(self.first.positions)

    def chunks(self) -> Iterator[Chunk]:
        """All frames, once.

        Raises
        ------
        DataError
            A frame cannot be read, has other atoms, has no cell or no finite numbers, or nothing tells its time.
        """
        size = max(8, _MOST_NUMBERS // (3 * self.n_atoms))
        clock = _Clock(self.name, self.interval_fs, self.first)
        frames: list[RawFrame] = []
        times: list[float] = []
        n_done = 0
        for number, frame in enumerate(self._frames):
            self._check(frame, number)
            time = clock.time(frame, number)
            if time is None:
                continue
            frames.append(frame)
            times.append(time)
            if len(frames) == size:
                yield self._chunk(n_done, frames, times)
                n_done += len(frames)
                frames, times = [], []
        if frames:
            yield self._chunk(n_done, frames, times)
        if clock.n_repeated:
            self.remarks.append(f"{self.name}: {clock.n_repeated} repeated frames (of the same MD step) were left out")

    def _chunk(self, first: int, frames: Sequence[RawFrame], times: Sequence[float]) -> Chunk:
        positions = np.array([frame.positions for frame in frames])
        cells = np.array([frame.cell for frame in frames])
        if not (np.isfinite(positions).all() and np.isfinite(cells).all()):
            bad = int(
                np.flatnonzero(~(np.isfinite(positions).all(axis=(1, 2)) & np.isfinite(cells).all(axis=(1, 2))))[0]
            )
            raise DataError(f"{self.name}: frame {first + bad} (counted from 0): a position or the cell is not finite")
        forces = None
        if self.has_forces:
            forces = np.array([frame.forces for frame in frames])
        velocities = np.array([frame.velocities for frame in frames]) if self.has_velocities else None
        return Chunk(first, positions, cells, np.array(times), forces, velocities)

    def _check(self, frame: RawFrame, number: int) -> None:
        where = f"{self.name}: frame {number} (counted from 0)"
        if len(frame.positions) != self.n_atoms:
            raise DataError(f"{where} has {len(frame.positions)} atoms, the first frame {self.n_atoms}")
        for found, expected in ((frame.symbols, self.first.symbols), (frame.types, self.first.types)):
            if found is not expected and found != expected:
                assert found is not None
                assert expected is not None
                atom = next(k for k, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
                raise DataError(
                    f"{where}: atom {atom} (counted from 0) is {found[atom]}, in the first frame {expected[atom]}: the order of "
                    "the atoms must be the same in all frames"
                )
        if (frame.cell is None) != (self.first.cell is None):
            raise DataError(f"{where}: {'no' if frame.cell is None else 'a'} cell, unlike the first frame")
        if self.has_forces and frame.forces is None:
            raise DataError(f"{where} has no forces, unlike the first frame")
        if self.has_velocities and frame.velocities is None:
            raise DataError(f"{where} has no velocities, unlike the first frame")

    def named(self, symbols: tuple[str, ...], cell: FloatArray | None = None) -> None:
        """Set the elements, and the cell of frames that have none."""
        self.symbols = symbols
        if cell is not None:
            self._frames = (_with_cell(frame, cell) for frame in self._frames)
            self.first = _with_cell(self.first, cell)


class _Clock:
    """The time of every frame; None of one that repeats the frame before."""

    def __init__(self, name: str, interval_fs: float | None, first: RawFrame) -> None:
        if interval_fs is None and first.time_fs is None:
            if first.step is not None:
                raise DataError(
                    f"{name}: the file has MD steps and no times: give the time between two frames with --interval (fs), which "
                    "is the time step times the steps between two frames"
                )
            raise DataError(f"{name}: the file has no times: give the time between two frames with --interval (fs)")
        self.name, self.interval, self.first = name, interval_fs, first
        self.n_repeated, self.last, self.n_used = 0, -np.inf, 0
        self.step: int | None = None
        self.stride: int | None = None

    def time(self, frame: RawFrame, number: int) -> float | None:
        """fs, from the first frame on."""
        where = f"{self.name}: frame {number} (counted from 0)"
        if self.interval is not None:
            if frame.step is None:
                time = self.n_used * self.interval
            else:
                assert self.first.step is not None
                if self.stride is None and frame.step != self.first.step:
                    self.stride = frame.step - self.first.step
                time = 0.0 if self.stride is None else (frame.step - self.first.step) / self.stride * self.interval
        elif frame.time_fs is None:
            raise DataError(f"{where} has no time, unlike the first frame")
        else:
            assert self.first.time_fs is not None
            time = frame.time_fs - self.first.time_fs
        if time == self.last:
            self.n_repeated += 1
            return None
        if time < self.last or (self.stride is not None and self.stride < 0):
            raise DataError(f"{where}: time goes back; the frames must be of one run, in order")
        self.last, self.n_used = time, self.n_used + 1
        return time


def open_trajectory(
    source: str | Path | Sequence[Atoms],
    *,
    interval_fs: float | None = None,
    species: Sequence[str] = (),
    forces: str | None = None,
    velocities: bool = False,
) -> Trajectory:
    """Open a trajectory; use it in a `with` block.

    Parameters
    ----------
    source : path, or sequence of Atoms
        A file of any format named above, packed by gzip, bzip2 or xz or not; or frames in memory.
    interval_fs : float, optional
        Time between two frames, fs; where the file has steps, between the first two. Needed where the file has no times.
    species : sequence of str
        Elements of the types 1, 2, ... of a LAMMPS dump without elements.
    forces : str, optional
        Name of the column of the forces; "": the usual names; None: they are not wanted.
    velocities : bool
        Whether those of the file are wanted, where it has some.

    Raises
    ------
    ConfigError
        The interval is not positive.
    DataError
        The file cannot be read, or holds no frame.
    """
    if interval_fs is not None and not 0.0 < interval_fs < np.inf:
        raise ConfigError(f"the time between two frames must be positive, not {interval_fs:g} fs")
    remarks: list[str] = []
    stack = ExitStack()
    try:
        if isinstance(source, str | Path):
            name = str(source)
            frames = _from_file(require_regular(source), Reading(Path(source), forces, remarks, velocities), stack)
        else:
            name = "the trajectory"
            frames = _from_ase(source, Reading(Path(name), forces, remarks, velocities))
        first = next(frames, None)
    except BaseException:
        stack.close()
        raise
    if first is None:
        stack.close()
        raise DataError(f"{name}: the file holds no frame")
    symbols = first.symbols
    if symbols is None and species:
        symbols = _of_types(first.types or (), species, name)
    if interval_fs is not None and first.time_fs is not None:
        second = next(frames, None)
        frames = chain(() if second is None else (second,), frames)
        told = None if second is None or second.time_fs is None else second.time_fs - first.time_fs
        if told is not None and abs(told - interval_fs) > 1e-6 * max(told, interval_fs):
            remarks.append(
                f"{name}: the file says {told:g} fs between two frames; --interval says {interval_fs:g} fs, which is used"
            )
    return Trajectory(
        name=name,
        first=first,
        symbols=symbols,
        types=first.types,
        has_forces=first.forces is not None,
        remarks=remarks,
        interval_fs=interval_fs,
        has_velocities=first.velocities is not None,
        _frames=chain((first,), frames),
        _stack=stack,
    )


def _of_types(types: tuple[int, ...], species: Sequence[str], name: str) -> tuple[str, ...]:
    from ase.data import atomic_numbers

    unknown = [symbol for symbol in species if symbol not in atomic_numbers]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is not an element")
    if types and max(types) > len(species):
        raise ConfigError(f"{name} has types up to {max(types)}; {len(species)} species were given: one for each type")
    return tuple(species[kind - 1] for kind in types)


def _with_cell(frame: RawFrame, cell: FloatArray) -> RawFrame:
    return replace(frame, cell=cell)


# ---------------------------------------------------------------------- which reader


def _from_file(source: Path, reading: Reading, stack: ExitStack) -> Iterator[RawFrame]:
    path = reading.path
    with readable(path):
        head = head_of(source) if source.stat().st_size else b""
    if not head.strip():
        raise DataError(f"{path}: the file is empty")
    reader = _reader(Path(plain_name(source)), head)
    if reader is None:
        with readable(path):
            file = stack.enter_context(unpacked(source))
        return _by_ase(file, reading)
    with readable(path):
        opened = stack.enter_context(open_bytes(source))
    return _until_cut(reader(opened, reading), reading)


def _reader(name: Path, head: bytes) -> BinaryReader | None:
    format_name = format_of(head)
    if format_name == LAMMPS_DUMP:
        return read_lammps_frames
    if format_name == VASP_XML:
        return read_vasprun_frames
    if name.suffix.lower() in EXTXYZ_SUFFIXES or looks_like_extxyz(head):
        return read_extxyz_frames
    if b"configuration=" in head:
        return read_xdatcar_frames
    return None


def _until_cut(frames: Iterator[RawFrame], reading: Reading) -> Iterator[RawFrame]:
    """Frames of a packed file up to where the container is cut off."""
    number = 0
    with readable(reading.path):
        try:
            for frame in frames:
                yield frame
                number += 1
        except (EOFError, zlib.error, LZMAError):
            reading.cut_off(number)


def _by_ase(file: Path, reading: Reading) -> Iterator[RawFrame]:
    """Frames of a format that ASE reads; what comes before an error is used."""
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    number = 0
    try:
        for frame in _from_ase(ase.io.iread(str(file), index=":", do_not_split_by_at_sign=True), reading):
            yield frame
            number += 1
    except DataError:
        raise
    except UnknownFileTypeError as error:
        raise DataError(f"cannot read {reading.path}: nothing tells its format; convert it to extended XYZ") from error
    except Exception as error:  # many parsers, each with its own exceptions
        if number == 0:
            text = " ".join(str(error).split())[:200]
            raise DataError(f"cannot read {reading.path}: {type(error).__name__}: {text}") from error
        reading.cut_off(number)


def _from_ase(frames: Iterable[Atoms], reading: Reading) -> Iterator[RawFrame]:
    symbols: tuple[str, ...] | None = None
    numbers = np.empty(0)
    for atoms in frames:
        if not np.array_equal(atoms.numbers, numbers):
            numbers, symbols = atoms.numbers.copy(), tuple(str(symbol) for symbol in atoms.symbols)
        time, step = atoms.info.get("time_fs"), atoms.info.get("step")
        yield RawFrame(
            positions=atoms.positions,
            cell=np.array(atoms.cell.array) if atoms.cell.rank else None,
            symbols=symbols,
            time_fs=None if time is None else float(time),
            step=None if step is None else int(step),
            forces=None if reading.forces is None else _forces(atoms, reading.forces),
            velocities=atoms.get_velocities() * ase.units.fs if reading.velocities and atoms.has("momenta") else None,
        )


def _forces(atoms: Atoms, name: str) -> FloatArray | None:
    from trepid.data.trajectory_text import FORCE_COLUMNS

    for key in (name, *FORCE_COLUMNS):
        if key and key in atoms.arrays:
            return np.asarray(atoms.arrays[key], dtype=np.float64)
    # The results are taken raw: `get_forces` would apply the constraints.
    found = None if atoms.calc is None else atoms.calc.results.get("forces")
    return None if found is None else np.asarray(found, dtype=np.float64)
