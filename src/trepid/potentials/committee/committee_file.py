"""The committee file: an uncompressed zip of a manifest, the training frames and the members.

    manifest.json            format, version, species, settings, label keys, energy offsets, reports of the training, SHA-256 of
                             the other entries
    frames.extxyz            training frames in their order, labels REF_energy, REF_forces, REF_stress
    reference.extxyz         structure relative to which energies are compared
    members/0, members/1 ... model files of the backend

Any tool can open it. The check sums of the zip and of the manifest find damage. Files of version 2 have those of the zip only.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ase import Atoms

import trepid
from trepid.data import LabelKeys
from trepid.data.atomic import atomic_write
from trepid.errors import ConfigError, DamagedModelError, ModelFileError, no_model_file
from trepid.potentials.committee.residuals import Residuals
from trepid.potentials.committee.settings import CommitteeSettings
from trepid.potentials.committee.training import TrainingResult, frames_of, text_of

FORMAT = "trepid-committee"
VERSION = 3
WITHOUT_SUMS = 2
"""The version before SHA-256."""
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    ConfigError,
)
"""What reading a damaged zip, JSON or extxyz raises."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every entry: the same committee gives the same bytes."""


@dataclass(frozen=True)
class CommitteeContents:
    """The content of a committee file.

    Attributes
    ----------
    species : tuple of str
    settings : CommitteeSettings
    keys : LabelKeys
    frames : tuple of Atoms
    reference : Atoms
    offsets : tuple of float
        Of the members' energies per atom, eV.
    results : tuple of TrainingResult
        One per member; they hold the model files.
    written_by : str
        Version of trepid; empty where the file does not say.
    has_sums : bool
        Whether the file held SHA-256 sums, which were right; set by `read_committee`.
    """

    species: tuple[str, ...]
    settings: CommitteeSettings
    keys: LabelKeys
    frames: tuple[Atoms, ...]
    reference: Atoms
    offsets: tuple[float, ...]
    results: tuple[TrainingResult, ...]
    written_by: str = ""
    has_sums: bool = True


def write_committee(path: str | Path, contents: CommitteeContents) -> None:
    """Write a committee file atomically."""
    results = [asdict(r) for r in contents.results]
    models = [r.pop("model") for r in results]
    entries: dict[str, bytes] = {
        "frames.extxyz": text_of(contents.frames).encode(),
        "reference.extxyz": text_of([contents.reference]).encode(),
        **{f"members/{k}": model for k, model in enumerate(models)},
    }
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "trepid": trepid.__version__,
        "species": list(contents.species),
        "settings": contents.settings.as_dict(),
        "keys": asdict(contents.keys),
        "offsets": [x.hex() for x in contents.offsets],
        "results": results,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()},
    }
    entries = {"manifest.json": json.dumps(manifest, indent=1, sort_keys=True).encode(), **entries}
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)


def is_committee_file(path: str | Path) -> bool:
    """Whether a file starts as a zip does; one that is damaged further on still counts."""
    if not Path(path).is_file():  # a pipe would wait for a writer
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read_committee(path: str | Path) -> CommitteeContents:
    """Read a committee file.

    Raises
    ------
    ModelFileError
        Missing, truncated, damaged, not a committee, or of another version.
    """
    file = Path(path)
    if not file.is_file():
        raise no_model_file(path)
    if not is_committee_file(file):
        raise ModelFileError(f"{path} is not a committee file of trepid")
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            if manifest["format"] != FORMAT:
                raise ModelFileError(f"{path} is not a committee file of trepid")
            if manifest["version"] not in (WITHOUT_SUMS, VERSION):
                raise ModelFileError(
                    f"{path} has committee file version {manifest['version']}; this trepid reads versions {WITHOUT_SUMS} and "
                    f"{VERSION}"
                )
            return _contents(manifest, _Entries(archive, manifest))
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedModelError(f"{path}: damaged: {reason}") from error


class _Entries:
    """The entries of a committee file, each compared with its check sum."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Mapping[str, Any]) -> None:
        self._archive = archive
        self._sums: Mapping[str, str] | None = None if manifest["version"] == WITHOUT_SUMS else manifest["sha256"]

    def read(self, name: str) -> bytes:
        data = self._archive.read(name)
        if self._sums is not None and hashlib.sha256(data).hexdigest() != self._sums[name]:
            raise ValueError(f"{name} does not have its check sum (SHA-256)")
        return data


def _contents(manifest: Mapping[str, Any], entries: _Entries) -> CommitteeContents:
    settings = CommitteeSettings.from_dict(manifest["settings"])
    results = tuple(_result(r, entries.read(f"members/{k}")) for k, r in enumerate(manifest["results"]))
    offsets = tuple(float.fromhex(x) for x in manifest["offsets"])
    if [r.member for r in results] != list(range(len(results))):
        raise ValueError("its members are not numbered from 0")
    if not all(map(math.isfinite, offsets)):
        raise ValueError("its energy offsets are not finite")
    if not len(results) == len(offsets) == settings.n_members:
        raise ValueError(f"it holds {len(results)} members where its settings give {settings.n_members}")
    return CommitteeContents(
        species=tuple(manifest["species"]),
        settings=settings,
        keys=LabelKeys(**manifest["keys"]),
        frames=tuple(frames_of(entries.read("frames.extxyz").decode())),
        reference=frames_of(entries.read("reference.extxyz").decode())[0],
        offsets=offsets,
        results=results,
        written_by=str(manifest.get("trepid", "")),
        has_sums=manifest["version"] != WITHOUT_SUMS,
    )


def _result(values: Mapping[str, Any], model: bytes) -> TrainingResult:
    """The report of a training, every number of its type."""
    result = TrainingResult(**{**values, "residuals": _residuals(values["residuals"])}, model=model)
    return replace(
        result,
        member=int(result.member),
        held_out=bool(result.held_out),
        n_train=int(result.n_train),
        n_validation=int(result.n_validation),
        epochs=int(result.epochs),
        wall_s=float(result.wall_s),
        compiled=bool(result.compiled),
    )


def _residuals(values: Mapping[str, Any]) -> Residuals:
    numbers = {name: tuple(float(number) for number in each) for name, each in values.items()}
    residuals = Residuals(**numbers)  # type: ignore[arg-type]
    counts = (residuals.n_atoms, residuals.n_forces)
    if len(residuals.energy) != len(residuals.n_atoms) or len(residuals.forces) != len(residuals.n_forces):
        raise ValueError("the residuals of a member and the sizes of their frames are not of the same number")
    if not all(math.isfinite(number) for each in numbers.values() for number in each) or any(
        number < 1 for each in counts for number in each
    ):
        raise ValueError("the residuals of a member are not finite")
    return replace(residuals, n_atoms=tuple(map(int, counts[0])), n_forces=tuple(map(int, counts[1])))
