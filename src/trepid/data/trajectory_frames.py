"""Frames of a trajectory as arrays, one after another, whatever the file: what readers give and what analyses take.

Vocabulary
----------
reader    a generator of `RawFrame` from one file; it holds one frame at a time, so that the length of a file does not matter
remark    one line about a file that is worth telling, such as a last frame that is cut off
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from trepid.arrays import FloatArray
from trepid.errors import DataError


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One frame of a file.

    Attributes
    ----------
    positions : (n_atoms, 3) array
        A, from the origin of the cell; wrapped or not.
    cell : (3, 3) array or None
        A, vectors in rows; None where the file has none.
    symbols : tuple of str or None
        Elements of the atoms; None where the file has numbers of types only.
    types : tuple of int or None
        Numbers of types, where there are no elements.
    time_fs : float or None
        Where the file tells it.
    step : int or None
        MD step, likewise.
    forces : (n_atoms, 3) array or None
        eV/A; None where they are not in the file or not wanted.
    velocities : (n_atoms, 3) array or None
        A/fs; likewise.
    """

    positions: FloatArray
    cell: FloatArray | None
    symbols: tuple[str, ...] | None
    types: tuple[int, ...] | None = None
    time_fs: float | None = None
    step: int | None = None
    forces: FloatArray | None = None
    velocities: FloatArray | None = None


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    Attributes
    ----------
    path : Path
        As the user named it, for messages.
    forces : str or None
        Name of the column of the forces; None: they are not wanted.
    remarks : list of str
        The reader adds to it.
    velocities : bool
        Whether they are wanted.
    """

    path: Path
    forces: str | None
    remarks: list[str]
    velocities: bool = False

    def where(self, number: int) -> str:
        """How an error names a frame."""
        return f"{self.path}: frame {number} (counted from 0)"

    def cut_off(self, number: int) -> None:
        """Remark that the file ends within this frame.

        Raises
        ------
        DataError
            It is the first one: there is nothing to analyse.
        """
        if number == 0:
            raise DataError(f"{self.where(0)}: the file is cut off within its first frame")
        self.remarks.append(f"{self.path}: cut off within frame {number} (counted from 0), which is left out")


BinaryReader: TypeAlias = Callable[[IO[bytes], Reading], Iterator[RawFrame]]
"""Reads an open file, unpacked while it is read."""


def table(file: IO[bytes], n_rows: int) -> list[bytes] | None:
    """The next rows of a file; None where it ends before, or within the last of them."""
    rows = list(islice(file, n_rows))
    # A row without line break may have lost a part of its last number.
    return None if len(rows) < n_rows or not rows[-1].endswith(b"\n") else rows


def columns_of(tokens: list[bytes], first: int, width: int) -> FloatArray:
    """Three columns of numbers from the tokens of a table in reading order, (n_rows, 3).

    Raises
    ------
    ValueError
        A token is no number.
    """
    out = np.empty((len(tokens) // width, 3))
    for k in range(3):
        out[:, k] = list(map(float, tokens[first + k :: width]))
    return out
