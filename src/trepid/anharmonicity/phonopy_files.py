"""phonopy's own files in and out.

Vocabulary
----------
phonopy_params.yaml   cells, displacements, forces and force constants in one file; what `phonopy.load` reads
phonopy.yaml          cells only, or cells and displacements; forces are in FORCE_SETS, force constants in FORCE_CONSTANTS
                      or force_constants.hdf5 beside it

Files are looked for beside the yaml file, never in the current directory. Non-analytical corrections (BORN) are left out, for
the reason in `trepid.anharmonicity.phonopy_objects`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.phonopy_objects import force_constants_of, make_phonon, reference_of, require_ev, to_phonopy
from trepid.arrays import FloatArray
from trepid.data.atomic import write_text_atomic
from trepid.errors import DataError

YAML_NAMES = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")
"""Looked for in a folder, in this order."""
FORCE_CONSTANT_NAMES = ("FORCE_CONSTANTS", "force_constants.hdf5")
FORCE_SET_NAMES = ("FORCE_SETS",)


def read_phonopy(
    path: str | Path,
    *,
    force_sets: str | Path | None = None,
    force_constants: str | Path | None = None,
) -> HarmonicReference:
    """Harmonic reference from phonopy's files, its atoms in the order of phonopy's supercell.

    Parameters
    ----------
    path : path
        phonopy_params.yaml, phonopy.yaml or phonopy_disp.yaml, or a folder with one of them.
    force_sets, force_constants : path, optional
        FORCE_SETS; FORCE_CONSTANTS or force_constants.hdf5. If absent: what the yaml file itself holds, else files of these
        names in its folder. Force constants go before forces; those made from forces are symmetrised as `phonopy.load` does,
        those read are taken as they are. Compact ones are expanded.

    Raises
    ------
    DataError
        A file is missing or unreadable, there are neither force constants nor forces, or the units are not eV and A.
    """
    from phonopy.file_IO import parse_FORCE_SETS
    from phonopy.interface.phonopy_yaml import PhonopyYaml

    file = _yaml_file(Path(path))
    content = PhonopyYaml()
    with _as_data_error(file):
        _refuse_code(file)
        content.read(str(file))
    if content.unitcell is None:
        raise DataError(f"{file}: no unit cell in it; give phonopy_params.yaml, phonopy.yaml or phonopy_disp.yaml")
    require_ev(content.calculator, str(file))
    matrix = np.eye(3, dtype=int) if content.supercell_matrix is None else np.array(content.supercell_matrix)
    with _as_data_error(file):
        phonon = make_phonon(content.unitcell, matrix, primitive_matrix=content.primitive_matrix)

    constants = None if force_constants is None and force_sets is not None else content.force_constants
    constants_file = _beside(file, force_constants, FORCE_CONSTANT_NAMES if force_sets is None else ())
    sets_file = _beside(file, force_sets, FORCE_SET_NAMES)
    dataset = content.dataset
    if force_constants is not None or (constants is None and constants_file is not None):
        assert constants_file is not None
        with _as_data_error(constants_file):
            constants = _read_constants(constants_file)
    if constants is None:
        if sets_file is not None and (force_sets is not None or not _has_forces(dataset)):
            with _as_data_error(sets_file):
                dataset = parse_FORCE_SETS(natom=len(phonon.supercell), filename=str(sets_file))
        if not _has_forces(dataset):
            raise DataError(
                f"{file}: neither force constants nor forces, in it or beside it ({', '.join(FORCE_CONSTANT_NAMES)}, FORCE_SETS)"
            )
        constants = force_constants_of(phonon, dataset)
    return reference_of(phonon, constants, where=str(file))


def write_phonopy(reference: HarmonicReference, path: str | Path) -> None:
    """Write a reference as phonopy does, force constants included; replaced atomically if it exists.

    The atoms are in the order of phonopy's supercell, whatever theirs in `reference`.

    Raises
    ------
    DataError
        The supercell of `reference` is not the one its unit cell and matrix make, or the file cannot be written.
    """
    phonon = to_phonopy(reference)
    settings = {"force_constants": True, "force_sets": False, "displacements": False}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phonopy_params.yaml"
        phonon.save(str(file), settings=settings)
        text = file.read_text(encoding="utf-8")
    write_text_atomic(path, text)


def _yaml_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in YAML_NAMES if (path / name).is_file()]
        if not found:
            raise DataError(f"{path}: the folder holds none of {', '.join(YAML_NAMES)}")
        return found[0]
    if not path.is_file():
        raise DataError(f"cannot read {path}: no such file")
    return path


def _refuse_code(file: Path) -> None:
    """Raise DataError where a yaml file holds Python objects: the reader of phonopy would make them, and so run code."""
    from phonopy.interface.phonopy_yaml import get_io_module_to_decompress

    with get_io_module_to_decompress(file).open(file, "rb") as stream:
        content = stream.read()
    if b"!" not in content:  # no tag of any kind: the usual case, without a second pass over many force constants
        return
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            tag = event.tag or ""
            if tag.startswith("tag:yaml.org,2002:python"):
                raise DataError(
                    f"{file}: the tag {tag.removeprefix('tag:yaml.org,2002:')} stands for code to run; nothing was run"
                )


def _beside(file: Path, given: str | Path | None, names: tuple[str, ...]) -> Path | None:
    """The file that was given, or the first of these names in the folder of the yaml file."""
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"cannot read {given}: no such file")
        return Path(given)
    return next((path for name in names if (path := file.parent / name).is_file()), None)


def _has_forces(dataset: Any) -> bool:
    if not dataset:
        return False
    if "first_atoms" in dataset:
        return all("forces" in entry for entry in dataset["first_atoms"])
    return "forces" in dataset


def _read_constants(file: Path) -> FloatArray:
    from phonopy.file_IO import parse_FORCE_CONSTANTS, read_force_constants_hdf5

    if file.suffix == ".hdf5":
        constants, unit = read_force_constants_hdf5(str(file), return_physical_unit=True)
        if unit not in (None, "eV/angstrom^2", "eV/Angstrom^2"):
            raise DataError(f"{file}: force constants in {unit}; eV/angstrom^2 is expected")
        return np.asarray(constants, dtype=np.float64)
    return np.asarray(parse_FORCE_CONSTANTS(str(file)), dtype=np.float64)


class _as_data_error:  # noqa: N801 (used as a with block)
    """Any failure inside becomes a DataError that names the file; the readers of phonopy raise any exception."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, DataError):
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"cannot read {self.file} as a file of phonopy: {told}") from error
