"""Labelled frames and structures in and out of files.

`trepid.data.labels` says what a label is and where it is in a frame, `trepid.data.labelled` which labels a file has.

Writing is exact: every float is read back bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ase import Atoms

from trepid.data.atomic import append_bytes, write_bytes_atomic
from trepid.data.extxyz import format_frame
from trepid.data.extxyz_reader import EXTXYZ_SUFFIXES
from trepid.data.findings import Finding
from trepid.data.frame_geometry import check_extent, check_geometry
from trepid.data.labelled import read_labelled, selected_frames
from trepid.data.labels import DEFAULT_KEYS, LabelKeys, Labels, attach_labels, bare_copy, labels_of
from trepid.data.reading import STRUCTURE_HINT, read_file, where_of
from trepid.errors import DataError

__all__ = [
    "LabelKeys",
    "Labels",
    "attach_labels",
    "bare_copy",
    "labels_of",
    "read_frames",
    "read_structure",
    "write_frames",
]

logger = logging.getLogger(__name__)


def read_frames(
    path: str | Path,
    *,
    keys: LabelKeys = DEFAULT_KEYS,
    require: Sequence[str] = ("forces",),
    index: str | int | slice = ":",
) -> list[Atoms]:
    """Read frames from extended XYZ, or any other format that `read_file` reads.

    All data of the file are kept: what ASE moves into a calculator is put back into `info` and `arrays` under its name;
    a truncated file, or other text between its frames, is an error. What `read_labelled` finds is in the log.

    Parameters
    ----------
    path : str or Path
    keys : LabelKeys
    require : sequence of {"energy", "forces", "stress"}
        Labels that every frame must have; they are then under `keys`, whatever their names in the file (`read_labelled`).
        Empty: the frames are taken as they are. Labels under `keys` are always checked.
    index : str, int or slice
        Which frames, counted from 0, as Python slices: ":", "::4", "-1".

    Returns
    -------
    list of Atoms
        Without calculators. Constraints of the file are kept; they have no effect on labels.

    Raises
    ------
    DataError
        The file is missing, empty or unreadable, the index selects nothing, or a frame lacks a required label or has
        one that is not finite. The message names the file, the frame and the key.
    """
    if require:
        labelled = read_labelled(path, keys=keys, require=require, index=index)
        logger.info("%s", labelled.report.line())
        _log(path, labelled.findings)
        return labelled.frames
    file = read_file(path)
    if not file.frames:
        raise DataError(f"{path}: the file holds no frame")
    _log(path, file.findings)
    selected = selected_frames(len(file.frames), index, path)
    for number in selected:
        where = where_of(path, number)
        check_geometry(file.frames[number], where)
        labels_of(file.frames[number], keys, where=where)
    return [file.frames[number] for number in selected]


def write_frames(path: str | Path, frames: Iterable[Atoms] | Atoms, *, append: bool = False) -> None:
    """Write frames as extended XYZ with all of their `info` and `arrays`; floats are exact.

    Calculators are not evaluated: labels must be attached (`attach_labels`). Constraints that the format knows
    (`FixAtoms`, `FixCartesian`) are written as `move_mask`; others are left out with a warning.

    Parameters
    ----------
    path : str or Path
        Must end in .extxyz or .xyz.
    frames : iterable of Atoms, or one Atoms
    append : bool
        False: the file is replaced atomically. True: the frames are added at the end and flushed to the disk, at a cost
        independent of the size of the file. After an exception the file is truncated to its old size; a *kill* while
        appending may leave a part of the last frame, which `read_frames` refuses, so note the size of the file before
        if that matters.

    Raises
    ------
    DataError
        The name has another ending, the file cannot be written, a frame is empty or holds what the format cannot store.
        Nothing is written then.
    """
    if Path(path).suffix.lower() not in EXTXYZ_SUFFIXES:
        raise DataError(f"cannot write {path}: frames are written as extended XYZ; name the file *.extxyz")
    frames = [frames] if isinstance(frames, Atoms) else frames
    # All frames are formatted first: if one cannot be stored, nothing is written.
    data = "".join(
        format_frame(atoms, where=f"frame {number} (counted from 0)") for number, atoms in enumerate(frames)
    ).encode()
    if append:
        append_bytes(path, data)
    else:
        write_bytes_atomic(path, data)


def read_structure(path: str | Path) -> Atoms:
    """Read one structure from any format that ASE reads (POSCAR, cif, geometry.in, xyz, ...).

    Of a file with several structures the last is taken, with a warning in the log.

    Raises
    ------
    DataError
        The file is missing, unreadable or empty, or its atoms have no finite positions or no cell along a periodic
        direction.
    """
    file = read_file(path, hint=STRUCTURE_HINT)
    structures = file.frames
    if not structures:
        raise DataError(f"{path}: the file holds no structure")
    if len(structures) > 1:
        logger.warning("%s holds %d structures; the last one is used", path, len(structures))
    _log(path, file.findings)
    atoms = structures[-1]
    check_geometry(atoms, str(path))
    check_extent(atoms, str(path))
    return atoms


def _log(path: str | Path, findings: Sequence[Finding]) -> None:
    for finding in findings:
        frame = "" if finding.frame is None else f"frame {finding.frame}: "
        logger.warning("%s: %s%s", path, frame, finding.message)
