"""Labelled frames and structures in and out of files.

Vocabulary
----------
frame        one configuration of atoms, an `ase.Atoms`
label        result of the reference method for a frame: energy (eV), forces (eV/A), stress (eV/A^3, Voigt xx yy zz
             yz xz xy, tension positive as in ASE)
label key    the name a label has in the frame: energy and stress in `atoms.info`, forces in `atoms.arrays`

Labels are read from `info` and `arrays` under their keys and from nowhere else: `atoms.get_forces()` would run a
calculator, and zero the forces of atoms that a constraint fixes. Frames read here carry no calculator; what a file
holds under the standard ASE names (`energy`, `forces`, `stress`, ...) is in `info` and `arrays` under that name, so that
`LabelKeys("energy", "forces", "stress")` reads it.

Writing is exact: every float is read back bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import per_atom_properties, read_xyz
from ase.io.formats import string2index
from ase.stress import full_3x3_to_voigt_6_stress

from trepid.arrays import FloatArray
from trepid.data.atomic import append_bytes, write_bytes_atomic
from trepid.data.extxyz import format_frame
from trepid.data.limits import impossible_energy, impossible_forces, impossible_geometry, impossible_stress
from trepid.errors import DataError

logger = logging.getLogger(__name__)


_EXTXYZ_SUFFIXES = (".extxyz", ".xyz")
_KINDS = ("energy", "forces", "stress")
_STRESS_ASYMMETRY = 1e-3
"""A stress tensor may be unsymmetric by this part of its largest component (numerical noise of a code), not more."""


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in a frame: `energy` and `stress` in `atoms.info`, `forces` in `atoms.arrays`."""

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"

    def of(self, kind: str) -> str:
        """Key of the label kind 'energy', 'forces' or 'stress'."""
        if kind not in _KINDS:
            raise ValueError(f"label kind {kind!r}; known are {', '.join(_KINDS)}")
        return str(getattr(self, kind))


@dataclass(frozen=True, eq=False)
class Labels:
    """Results of a reference method for one frame; None for a missing one.

    Attributes
    ----------
    energy : float or None
        eV, of the whole frame.
    forces : (n_atoms, 3) array or None
        eV/A.
    stress : (6,) array or None
        eV/A^3, Voigt xx yy zz yz xz xy, tension positive.
    """

    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The label kinds present, in the order energy, forces, stress."""
        return tuple(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def n_labels(self) -> int:
        """Number of scalar labels: 1 for the energy, 3 per atom for forces, 6 for the stress."""
        n_forces = 0 if self.forces is None else int(self.forces.size)
        return int(self.energy is not None) + n_forces + 6 * int(self.stress is not None)


def bare_copy(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and periodicity, and nothing else."""
    copy = atoms.copy()
    copy.calc = None
    copy.set_constraint()
    copy.info = {}
    for name in [name for name in copy.arrays if name not in ("numbers", "positions")]:
        del copy.arrays[name]
    return copy


_DEFAULT_KEYS = LabelKeys()


def labels_of(
    atoms: Atoms,
    keys: LabelKeys = _DEFAULT_KEYS,
    *,
    where: str = "frame",
    require: Sequence[str] = (),
) -> Labels:
    """Checked labels of a frame.

    Parameters
    ----------
    atoms : Atoms
    keys : LabelKeys
    where : str
        How an error names the frame, such as "train.extxyz: frame 3 (counted from 0)".
    require : sequence of {"energy", "forces", "stress"}
        Labels that must be present.

    Returns
    -------
    Labels
        Copies in float64. A stress given as 3x3 tensor comes back in Voigt order.

    Raises
    ------
    DataError
        A required label is missing, or a label is not a number, not finite or of the wrong shape.
    """
    for kind in require:
        key = keys.of(kind)
        holder = atoms.arrays if kind == "forces" else atoms.info
        if key not in holder:
            raise DataError(f"{where}: {_missing(atoms, kind, key)}")

    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    if keys.energy in atoms.info:
        value = _floats(atoms.info[keys.energy], keys.energy, where)
        if value.size != 1:
            raise DataError(f"{where}: {keys.energy} has {value.size} values; one energy in eV is expected")
        energy = float(value.reshape(()))
        if not np.isfinite(energy):
            raise DataError(f"{where}: {keys.energy} is {energy}; every label must be finite")
        _refuse(impossible_energy(energy, len(atoms)), f"{where}: {keys.energy}")
    if keys.forces in atoms.arrays:
        forces = _floats(atoms.arrays[keys.forces], keys.forces, where)
        if forces.shape != (len(atoms), 3):
            raise DataError(f"{where}: {keys.forces} has shape {forces.shape}; expected ({len(atoms)}, 3)")
        if not np.isfinite(forces).all():
            atom, axis = (int(i) for i in np.argwhere(~np.isfinite(forces))[0])
            raise DataError(
                f"{where}: {keys.forces} of atom {atom} (counted from 0), component {'xyz'[axis]}, is "
                f"{forces[atom, axis]}; every label must be finite"
            )
        _refuse(impossible_forces(forces), f"{where}: {keys.forces}")
    if keys.stress in atoms.info:
        stress = _voigt(_floats(atoms.info[keys.stress], keys.stress, where), keys.stress, where)
        _refuse(impossible_stress(stress), f"{where}: {keys.stress}")
    return Labels(energy=energy, forces=forces, stress=stress)


def attach_labels(atoms: Atoms, labels: Labels, keys: LabelKeys = _DEFAULT_KEYS) -> Atoms:
    """Copy of a frame with these labels and no others under `keys`, without calculator and constraints.

    Raises
    ------
    ValueError
        The labels are not of this frame (shape).
    """
    labelled = atoms.copy()
    labelled.calc = None
    labelled.set_constraint()
    for key in (keys.energy, keys.stress):
        labelled.info.pop(key, None)
    labelled.arrays.pop(keys.forces, None)
    if labels.energy is not None:
        labelled.info[keys.energy] = float(labels.energy)
    if labels.forces is not None:
        if labels.forces.shape != (len(atoms), 3):
            raise ValueError(f"forces of shape {labels.forces.shape} for a frame of {len(atoms)} atoms")
        labelled.arrays[keys.forces] = np.array(labels.forces, dtype=np.float64)
    if labels.stress is not None:
        if labels.stress.shape != (6,):
            raise ValueError(f"stress of shape {labels.stress.shape}; expected (6,)")
        labelled.info[keys.stress] = np.array(labels.stress, dtype=np.float64)
    return labelled


def read_frames(
    path: str | Path,
    *,
    keys: LabelKeys = _DEFAULT_KEYS,
    require: Sequence[str] = ("forces",),
    index: str | int | slice = ":",
) -> list[Atoms]:
    """Read labelled frames from extended XYZ, or any other format that ASE reads.

    All data of the file are kept: what ASE moves into a calculator is put back into `info` and `arrays` under its name;
    a truncated file, or other text between its frames, is an error.

    Parameters
    ----------
    path : str or Path
    keys : LabelKeys
    require : sequence of {"energy", "forces", "stress"}
        Labels that every frame must have. Labels that are present are always checked.
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
    frames = list(enumerate(_iterate(path)))
    if not frames:
        raise DataError(f"{path}: the file holds no frame")
    selected = _select(frames, index, path)
    for number, atoms in selected:
        where = _where(path, number)
        _check_geometry(atoms, where)
        labels_of(atoms, keys, where=where, require=require)
    return [atoms for _, atoms in selected]


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
    if Path(path).suffix.lower() not in _EXTXYZ_SUFFIXES:
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
    structures = list(_iterate(path))
    if not structures:
        raise DataError(f"{path}: the file holds no structure")
    if len(structures) > 1:
        logger.warning("%s holds %d structures; the last one is used", path, len(structures))
    atoms = structures[-1]
    _check_geometry(atoms, str(path))
    return atoms


def _iterate(path: str | Path) -> Iterator[Atoms]:
    """Every frame of a file, without calculator."""
    source = Path(path)
    if source.is_dir():
        raise DataError(f"cannot read {path}: it is a folder")
    if not source.exists():
        raise DataError(f"cannot read {path}: no such file")
    try:
        if source.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        if source.suffix.lower() in _EXTXYZ_SUFFIXES:
            for number, text in enumerate(_extxyz_chunks(source)):
                yield _restored(_parsed(text, _where(path, number)))
        else:
            yield from map(_restored, _read_any(source))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not a text file") from error


def _extxyz_chunks(path: Path) -> Iterator[str]:
    """Text of every frame of an extended XYZ file.

    The reader of ASE stops silently at the first empty line, and accepts a last frame that is truncated inside a number.
    """
    with path.open(encoding="utf-8") as file:
        n_lines = n_frames = 0
        while line := file.readline():
            n_lines += 1
            if not line.strip():
                continue
            try:
                n_atoms = int(line)
            except ValueError:
                raise DataError(
                    f"{path}: line {n_lines}: expected the number of atoms of frame {n_frames} (counted from 0), "
                    f"found {line.strip()[:40]!r}"
                ) from None
            if n_atoms < 1:
                raise DataError(f"{path}: frame {n_frames} (counted from 0) has {n_atoms} atoms")
            body = [file.readline() for _ in range(n_atoms + 1)]
            if not body[-1]:
                found = max(0, sum(1 for entry in body if entry) - 1)
                raise DataError(
                    f"{path}: frame {n_frames} (counted from 0) has {found} of {n_atoms} atoms: the file is cut off"
                )
            if not body[-1].endswith("\n"):
                logger.warning(
                    "%s: the last line does not end with a line break; the file may be cut off in its last number", path
                )
            n_lines += n_atoms + 1
            n_frames += 1
            yield "".join([line, *body])


def _parsed(text: str, where: str) -> Atoms:
    """One frame from its text."""
    try:
        return next(read_xyz(StringIO(text), index=0))
    except KeyError as error:
        raise DataError(f"{where}: not readable as extended XYZ: {error} is not an element") from error
    except Exception as error:  # the parser raises almost anything on malformed text
        raise DataError(f"{where}: not readable as extended XYZ: {_one_line(error)}") from error


def _read_any(path: Path) -> list[Atoms]:
    """All frames of a file in a format that ASE recognises."""
    try:
        read = ase.io.read(str(path), index=":", do_not_split_by_at_sign=True)
    except OSError:
        raise
    except Exception as error:  # many parsers, each with its own exceptions
        raise DataError(f"cannot read {path}: {_one_line(error)}") from error
    return [read] if isinstance(read, Atoms) else list(read)


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


def _select(frames: list[tuple[int, Atoms]], index: str | int | slice, path: str | Path) -> list[tuple[int, Atoms]]:
    """Frames picked by an index, with their numbers in the file."""
    try:
        chosen = string2index(index) if isinstance(index, str) else index
    except ValueError:
        chosen = None
    if isinstance(chosen, slice):
        selected = frames[chosen]
    elif not isinstance(chosen, int):  # ASE takes a word for the name of a database entry
        raise DataError(f"{path}: frame index {index!r} is not a number or a slice such as '::4'")
    elif -len(frames) <= chosen < len(frames):
        selected = [frames[chosen]]
    else:
        selected = []
    if not selected:
        raise DataError(f"{path}: index {index!r} selects no frame; the file has {len(frames)}, counted from 0")
    return selected


def _check_geometry(atoms: Atoms, where: str) -> None:
    """Refuse a frame with an invalid geometry."""
    if len(atoms) == 0:
        raise DataError(f"{where}: no atoms")
    finite = np.isfinite(atoms.positions).all(axis=1)
    if not finite.all():
        atom = int(np.argmin(finite))
        raise DataError(f"{where}: the position of atom {atom} (counted from 0) is {atoms.positions[atom].tolist()}")
    if not np.isfinite(atoms.cell.array).all():
        raise DataError(f"{where}: the cell is not finite: {atoms.cell.array.tolist()}")
    _refuse(impossible_geometry(atoms), where)
    for axis in range(3):
        if atoms.pbc[axis] and not atoms.cell.array[axis].any():
            raise DataError(f"{where}: periodic along cell vector {'abc'[axis]}, but that vector is zero")
    lengths = atoms.cell.lengths()
    # Relative to a box of these edges, so that only the shape of the cell matters.
    if atoms.pbc.all() and abs(atoms.cell.volume) < 1e-6 * float(np.prod(lengths)):
        raise DataError(f"{where}: periodic, but the cell vectors lie in one plane: {atoms.cell.array.tolist()}")


def _refuse(impossible: str, where: str) -> None:
    if impossible:
        raise DataError(f"{where}: {impossible}")


def _floats(value: object, key: str, where: str) -> FloatArray:
    """A label as float64 array."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {key} is {str(value)[:40]!r}, not a number")
    return np.array(array, dtype=np.float64)


def _voigt(stress: FloatArray, key: str, where: str) -> FloatArray:
    """A stress of 6 or 9 components in Voigt order."""
    if not np.isfinite(stress).all():
        raise DataError(f"{where}: {key} is {stress.ravel().tolist()}; every label must be finite")
    if stress.shape == (6,):
        return stress
    if stress.shape not in ((9,), (3, 3)):
        raise DataError(
            f"{where}: {key} has shape {stress.shape}; expected 6 Voigt components (xx yy zz yz xz xy) or 3x3"
        )
    tensor = stress.reshape(3, 3)
    asymmetry = float(np.abs(tensor - tensor.T).max())
    if asymmetry > _STRESS_ASYMMETRY * float(np.abs(tensor).max()):
        raise DataError(f"{where}: {key} is not symmetric (differs from its transpose by {asymmetry:.3g} eV/A^3)")
    return np.asarray(full_3x3_to_voigt_6_stress(0.5 * (tensor + tensor.T)), dtype=np.float64)


def _missing(atoms: Atoms, kind: str, key: str) -> str:
    """Message for a missing label, with similar keys of the frame."""
    per_atom = kind == "forces"
    own, other = (atoms.arrays, atoms.info) if per_atom else (atoms.info, atoms.arrays)
    place = "arrays" if per_atom else "info"
    if key in other:
        return f"{key!r} is in atoms.{'info' if per_atom else 'arrays'}, but {kind} belong in atoms.{place}"
    if atoms.calc is not None and kind in getattr(atoms.calc, "results", {}):
        return (
            f"no {key!r} in {place}, but {kind} in an attached calculator: copy them with trepid.data.attach_labels, "
            "or read the file with trepid.data.read_frames"
        )
    names = [str(name) for name in own]
    stem = kind.rstrip("s")
    similar = [name for name in names if stem in name.lower()]
    similar += [name for name in get_close_matches(key, names, n=3, cutoff=0.7) if name not in similar]
    if similar:
        return f"no {key!r} in {place}; similar keys there: {', '.join(sorted(similar))}"
    rest = sorted(name for name in names if name not in ("numbers", "positions"))
    return f"no {key!r} in {place} and nothing similar; {place} has: {', '.join(rest) if rest else 'nothing'}"


def _where(path: str | Path, number: int) -> str:
    return f"{path}: frame {number} (counted from 0)"


def _one_line(error: BaseException) -> str:
    """Name and first line of an exception of another library."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
