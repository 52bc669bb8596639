"""All frames of a file, whatever its format and container, with what was found while reading it.

Extended XYZ is read here (`extxyz_reader`), and formats that ASE does not read have files of their own; all others go to ASE.
The format follows from the content where that tells it, else from the name.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import per_atom_properties
from ase.io.formats import UnknownFileTypeError, filetype

from trepid.data.cp2k_output import looks_like_cp2k, read_cp2k
from trepid.data.deepmd import is_deepmd, read_deepmd
from trepid.data.extxyz_reader import EXTXYZ_SUFFIXES, looks_like_extxyz, read_extxyz
from trepid.data.findings import Finding
from trepid.data.outputs import AIMS, CODES, before_last_step, cut_off, findings_of_steps, format_of, inspect_output
from trepid.data.source import head_of, open_text, plain_name, readable, require_regular, unpacked
from trepid.data.vasp_ml import looks_like_ml_ab, read_ml_ab
from trepid.errors import DataError

HOW_TO_CONVERT = (
    "convert it to extended XYZ: from ase.io import read, write; write('train.extxyz', read('FILE', ':', format='...')), with "
    "energy, forces and stress in a SinglePointCalculator of each frame"
)
STRUCTURE_HINT = (
    "see whether it is complete and has the name of its format (.cif, POSCAR, .extxyz, geometry.in), or convert it: "
    "ase convert -i FORMAT FILE structure.extxyz"
)


@dataclass(frozen=True)
class FrameFile:
    """Frames of a file.

    Attributes
    ----------
    frames : list of Atoms
        Without calculators: what ASE moves into one is in `info` and `arrays` under its name.
    findings : list of Finding
        Frames lost, steps that did not converge; frames are counted from 0 in the file.
    from_code : bool
        The output of a code, whose labels have the names of ASE.
    """

    frames: list[Atoms]
    findings: list[Finding] = field(default_factory=list)
    from_code: bool = False


def where_of(path: str | Path, number: int) -> str:
    """How an error names a frame of a file."""
    return f"{path}: frame {number} (counted from 0)"


def read_file(path: str | Path, *, hint: str = HOW_TO_CONVERT) -> FrameFile:
    """Read every frame of a file; whether a frame is possible is for `check_geometry` to say.

    Parameters
    ----------
    path : path
    hint : str
        What helps where the format cannot be read, FILE for its name.

    Raises
    ------
    DataError
        It is missing, no regular file, empty, damaged or cut off, or of a format that is not read.
    """
    if is_deepmd(Path(path)):
        return FrameFile(read_deepmd(Path(path)), from_code=True)
    source = require_regular(path)
    with readable(path):
        if source.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        head = head_of(source)
        if not head.strip():
            raise DataError(f"{path}: the file holds no frame")
        if Path(plain_name(source)).suffix.lower() in EXTXYZ_SUFFIXES or looks_like_extxyz(head):
            read = _extxyz(source)
        elif looks_like_ml_ab(head):
            with open_text(source) as file:
                frames, n_begun = read_ml_ab(file, path)
            lost = [cut_off(len(frames), n_begun)] if len(frames) < n_begun else []
            read = FrameFile(frames, lost, from_code=True)
        elif looks_like_cp2k(head):
            with open_text(source) as file:
                frames, steps = read_cp2k(file, path)
            read = FrameFile(frames, findings_of_steps(steps, len(frames)), from_code=True)
        else:
            read = _others(source, path, head, hint)
    return read


def _extxyz(source: Path) -> FrameFile:
    frames, findings = [], []
    with open_text(source) as file:
        for atoms, found in read_extxyz(file, source):
            frames.append(_restored(atoms))
            findings += found
    return FrameFile(frames, findings)


def _others(source: Path, path: str | Path, head: bytes, hint: str) -> FrameFile:
    """Frames of a format that ASE reads."""
    if Path(path).suffix == ".trepid":
        raise DataError(f"{path} is a model, not frames; in every command the model comes first, then the frames")
    with unpacked(source) as file:
        format_name = format_of(head)
        try:
            format_name = format_name or filetype(str(file))
        except UnknownFileTypeError as error:
            raise DataError(
                f"cannot read {path}: nothing tells its format; {hint.replace('FILE', str(path))}"
            ) from error
        frames = [_restored(atoms) for atoms in _read_by_ase(file, path, format_name, hint)]
        from_code = any("energy" in atoms.info or "forces" in atoms.arrays for atoms in frames)
        n_read = len(frames)
        if format_name in CODES:
            # A run may end with the positions of a step that it did not begin, or within one.
            last = "forces" if any("forces" in atoms.arrays for atoms in frames) else "energy"
            complete = [k for k, atoms in enumerate(frames) if last in atoms.arrays or last in atoms.info]
            n_read = complete[-1] + 1 if complete else 0
            frames = frames[:n_read] or frames
        with file.open(encoding="utf-8", errors="replace") as lines:
            findings = inspect_output(lines, format_name, n_read)
    return FrameFile(frames, findings, from_code)


def _read_by_ase(file: Path, path: str | Path, format_name: str, hint: str) -> list[Atoms]:
    """Frames as ASE reads them; of an output that is cut off inside a table, those before its last step."""
    try:
        return _by_ase(file, format_name)
    except OSError:
        raise
    except UnknownFileTypeError as error:
        raise DataError(
            f"cannot read {path}: ASE reads no format {format_name!r}; {hint.replace('FILE', str(path))}"
        ) from error
    except Exception as error:  # many parsers, each with its own exceptions
        text = file.read_text(encoding="utf-8", errors="replace")
        earlier = before_last_step(text, format_name)
        if earlier is not None:
            with TemporaryDirectory(prefix="trepid-") as folder:
                copy = Path(folder) / file.name
                copy.write_text(earlier, encoding="utf-8")
                with suppress(Exception):  # the first error is the one to tell
                    return _by_ase(copy, format_name)
        told = _no_elements(text, path) if "Could not determine chemical symbols" in str(error) else ""
        raise DataError(
            told or f"cannot read {path} as {format_name}: {_one_line(error)}; {hint.replace('FILE', str(path))}"
        ) from error


def _no_elements(text: str, path: str | Path) -> str:
    """Message about a POSCAR that names no elements; empty where it is not that."""
    lines = text.splitlines()
    counts = lines[5].split() if len(lines) > 5 else []
    if not counts or not all(count.isdecimal() for count in counts):
        return ""
    example = " ".join(("Si", "O", "Mg", "Al", "Ca", "Na")[: len(counts)])
    return f"{path} has no line of element symbols above the counts {' '.join(counts)!r} (line 6); add one" + (
        f", such as {example!r}" if len(counts) <= 6 else ""
    )


def _by_ase(file: Path, format_name: str) -> list[Atoms]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers, about their own future
        read = ase.io.read(
            str(file), index=":", format=format_name, do_not_split_by_at_sign=True, **_OPTIONS.get(format_name, {})
        )
    return [read] if isinstance(read, Atoms) else list(read)


_OPTIONS: dict[str, dict[str, Any]] = {AIMS: {"non_convergence_ok": True}}
"""A run of FHI-aims that did not end is read as far as it went, and this is said."""


def _restored(atoms: Atoms) -> Atoms:
    """Put what ASE moved into a `SinglePointCalculator` back into `info` and `arrays`.

    The results are taken raw: `get_forces` would apply the constraints.
    """
    if atoms.calc is not None:
        for name, value in atoms.calc.results.items():
            if value is None:
                continue
            if name in per_atom_properties:
                atoms.arrays.setdefault(name, np.array(value))
            else:
                atoms.info.setdefault(name, value)
        atoms.calc = None
    return atoms


def _one_line(error: BaseException) -> str:
    """Name and first line of an exception of another library."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
