"""What an MD run writes as it goes: the trace (one row per check) and the trajectory.

Both files only grow, and both can be cut back to a length noted earlier: a run that resumes from a checkpoint drops
what the lost steps had written, so that no step appears twice.
"""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ase import units
from ase.stress import voigt_6_to_full_3x3_stress

from trepid.arrays import FloatArray
from trepid.data.atomic import set_aside
from trepid.data.extxyz import format_frame
from trepid.errors import DataError, cannot_write
from trepid.potentials.base import Prediction

if TYPE_CHECKING:
    from ase import Atoms


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TraceRow:
    """One row of trace.csv; the field names are its columns. The pressure is nan where the potential gives no stress.

    Pressure (with its kinetic part) and volume are those of the cell; a structure without a cell has zeros and nan.
    """

    step: int
    time_fs: float
    stage: int
    target_temperature_K: float
    temperature_K: float
    potential_energy_eV: float
    total_energy_eV: float
    forces_uncertainty_max_eV_per_A: float
    n_labels: int
    pressure_GPa: float
    volume_A3: float
    a_A: float
    b_A: float
    c_A: float
    alpha_deg: float
    beta_deg: float
    gamma_deg: float

    def to_csv(self) -> str:
        """The row as text, line end included."""
        return ",".join(f"{value:.8g}" if isinstance(value, float) else str(value) for value in astuple(self)) + "\n"


def pressure_GPa(stress: FloatArray | None, *, kinetic_energy_eV: float, atoms: Atoms) -> float:
    """Instantaneous pressure, GPa: 2 K / (3 V) - trace(stress) / 3; nan without a stress or a volume.

    Parameters
    ----------
    stress : (6,) array or None
        Of the potential energy, Voigt, eV/A^3, tension positive.
    kinetic_energy_eV : float
    atoms : Atoms
    """
    volume = atoms.cell.volume
    if stress is None or volume == 0:
        return math.nan
    return float((2 * kinetic_energy_eV / volume - stress[:3].sum()) / 3 / units.GPa)


def cell_columns(atoms: Atoms) -> dict[str, float]:
    """Lengths (A) and angles (degrees) of the cell, by column of the trace."""
    return dict(zip(CELL_COLUMNS, map(float, atoms.cell.cellpar()), strict=True))


CELL_COLUMNS = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
TRACE_FILE = "trace.csv"
TRACE_COLUMNS = tuple(field.name for field in fields(TraceRow))


LATER_COLUMNS = ("pressure_GPa", "volume_A3", *CELL_COLUMNS)
"""Columns that older traces lack."""


TRAJECTORY_FILES = ("trajectory.extxyz", "trajectory.lammpstrj")
"""Of an MD run in ASE, and in LAMMPS."""
UNTRUSTED_FRAMES = "untrusted.extxyz"
RECORD_FILES = (TRACE_FILE, TRAJECTORY_FILES[0])


def read_temperatures(path: Path) -> list[float]:
    """Temperatures of a trace, K, row by row: those of the whole run, whatever call made them.

    Raises
    ------
    DataError
        The file cannot be read, or a row has no number there.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [float(row["temperature_K"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a trace of MD ({error})") from error


class AppendFile:
    """A text file that only grows, and can be cut back.

    Parameters
    ----------
    path : Path
        Created when missing.
    keep : int or None
        Cut the file back to this many bytes on opening; None keeps all of it.
    header : str
        First line of a new file, without its line end.

    Raises
    ------
    DataError
        The file cannot be written, or is shorter than `keep`: it was changed by something else.
    """

    def __init__(self, path: Path, *, keep: int | None = None, header: str = "") -> None:
        self.path = path
        try:
            # Unbuffered: a buffer would try to write its rest once more when the file is closed.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 closed by `close`
        except OSError as error:
            raise cannot_write(path, error) from error
        size = os.fstat(self._file.fileno()).st_size
        if keep is not None and size < keep:
            self._file.close()
            raise DataError(
                f"{path}: {size} bytes are left of the {keep} that the checkpoint notes; the file was changed since"
            )
        if keep is not None:
            with self._guarded():
                self._file.truncate(keep)
            size = keep
        if size == 0 and header:
            self.append(header + "\n")

    def append(self, text: str) -> None:
        """Write `text` through to the operating system, so that other processes can read it.

        Raises
        ------
        MachineError
            The disk is full or broken. The next start cuts off what was written of `text`.
        """
        rest = memoryview(text.encode("utf-8"))
        with self._guarded():
            while rest:
                rest = rest[self._file.write(rest) :]

    def sync(self) -> int:
        """Flush to the disk; returns the length in bytes, for `keep`."""
        with self._guarded():
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file; it may be closed twice."""
        with self._guarded():
            self._file.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path, error) from error


@dataclass(frozen=True)
class RecordLengths:
    """Lengths of the two files at a checkpoint, bytes."""

    trace: int = 0
    trajectory: int = 0


def _of_these_columns(path: Path, keep: int) -> int:
    """`keep`, or 0 where the trace was begun with other columns, by another version: it is set aside, and a new one begins."""
    if not keep:
        return 0
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline().rstrip("\n")
    if header == ",".join(TRACE_COLUMNS):
        return keep
    logger.warning("%s has other columns; it is now %s, and a new one begins", path, set_aside(path, suffix="old").name)
    return 0


def _whole(path: Path, keep: int) -> int:
    """`keep`, or 0 where the file lacks part of that: it is set aside then, and a new one begins. Nothing rests on it."""
    size = path.stat().st_size if path.exists() else 0
    if size >= keep:
        return keep
    kept = f"what is left is in {set_aside(path).name}" if path.exists() else "it is gone"
    logger.warning(
        "%s lacks %d of the %d bytes that the checkpoint notes; %s, and a new one begins", path, keep - size, keep, kept
    )
    return 0


class Recorder:
    """trace.csv and trajectory.extxyz of one run directory.

    Parameters
    ----------
    directory : Path
        Must exist.
    keep : RecordLengths
        Lengths noted by `sync` at the checkpoint to continue from; zeros start both files anew.
    """

    def __init__(self, directory: Path, *, keep: RecordLengths = RecordLengths()) -> None:
        trace, trajectory = (directory / name for name in RECORD_FILES)
        kept = _of_these_columns(trace, _whole(trace, keep.trace))
        self._trace = AppendFile(trace, keep=kept, header=",".join(TRACE_COLUMNS))
        self._trajectory = AppendFile(trajectory, keep=_whole(trajectory, keep.trajectory))

    def row(self, row: TraceRow) -> None:
        """Append to trace.csv."""
        self._trace.append(row.to_csv())

    def frame(self, atoms: Atoms, prediction: Prediction, *, step: int, time_fs: float) -> None:
        """Append to trajectory.extxyz; see `predicted_frame`."""
        frame = predicted_frame(atoms, prediction)
        frame.info.update({"step": step, "time_fs": time_fs})
        self._trajectory.append(format_frame(frame))

    def sync(self) -> RecordLengths:
        """Flush both files to the disk."""
        return RecordLengths(trace=self._trace.sync(), trajectory=self._trajectory.sync())

    def close(self) -> None:
        """Close both files."""
        try:
            self._trace.close()
        finally:
            self._trajectory.close()


def predicted_frame(atoms: Atoms, prediction: Prediction) -> Atoms:
    """Copy of a frame that carries a prediction.

    Energy (eV), forces (eV/A) and stress (eV/A^3) stand under the names by which ASE finds them in an extxyz file, the
    uncertainty of the forces as `forces_uncertainty`, (n_atoms, 3), eV/A.
    """
    frame = atoms.copy()
    frame.info["energy"] = prediction.energy
    frame.arrays["forces"] = prediction.forces
    if prediction.stress is not None:
        frame.info["stress"] = voigt_6_to_full_3x3_stress(prediction.stress)
    if prediction.forces_uncertainty is not None:
        frame.arrays["forces_uncertainty"] = prediction.forces_uncertainty
    return frame
