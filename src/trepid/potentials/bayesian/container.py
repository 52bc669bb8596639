"""The container of a model file: safetensors with a check sum over every byte.

A safetensors file is a length, a JSON header and raw little-endian arrays: any language can read it. The tensor `sha256` (32
bytes) holds the SHA-256 of the whole file, computed with zeros in the place of these 32 bytes. A changed bit in the header or
in a tensor, a missing end and appended bytes are all found, here and in `pair_style trepid` (native/model_file.h). Files of
version 1 have no check sum.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

import trepid
from trepid.errors import DamagedModelError, ModelFileError, no_model_file

logger = logging.getLogger(__name__)

FORMAT = "trepid-bayesian-force-field"
VERSION = 3
WITHOUT_MIXED_TRIPLETS = 2
"""The version of files without mixed triplets, which programs that know only this one can read."""
WITH_CHARGES = 4
"""The version of a model with charges: programs that know only earlier ones would leave their energy out without a word."""
WITHOUT_SUM = 1
"""The version before check sums."""
METADATA = "trepid"
"""Key of the JSON header in the container's metadata."""
SUM = "sha256"
"""Name of the tensor with the check sum."""
_SUM_BYTES = 32
Tensors: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Content:
    """The content of a model file.

    Attributes
    ----------
    tensors : dict of str to array
        Without the check sum.
    settings : dict
        In plain types.
    check_sum : str or None
        SHA-256 in hexadecimal digits, compared with the file; None for files of version 1.
    written_by : str
        Version of trepid that wrote the file; empty for files of version 1.
    """

    tensors: Tensors
    settings: dict[str, Any]
    check_sum: str | None
    written_by: str


@dataclass(frozen=True)
class _Header:
    """The JSON header: where every tensor stands in the file, and the entry of trepid."""

    places: dict[str, slice]
    own: dict[str, Any]

    @property
    def end(self) -> int:
        """Size of the whole file, bytes."""
        return max((place.stop for place in self.places.values()), default=0)


def encode(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], *, version: int = WITHOUT_MIXED_TRIPLETS
) -> bytes:
    """A model file as bytes; the same model and version of trepid give the same bytes."""
    # One entry, keys sorted: with several entries their order, and so the bytes, would change from run to run. The plugin of
    # LAMMPS looks for the version at the end.
    entry = {"format": FORMAT, "version": version, "settings": settings, "trepid": trepid.__version__}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    arrays[SUM] = np.zeros(_SUM_BYTES, dtype=np.uint8)
    data = bytearray(save(arrays, metadata={METADATA: json.dumps(entry, sort_keys=True)}))
    place = _place_of_sum(_read_header(data, ""), "")
    assert place is not None
    data[place] = hashlib.sha256(data).digest()
    return bytes(data)


def read_file(path: str | Path) -> bytes:
    """The bytes of a model file; a file without check sum logs a warning.

    Raises
    ------
    ModelFileError
        Missing, or not a file.
    DamagedModelError
        It has no header.
    """
    file = Path(path)
    if not file.is_file():
        raise no_model_file(path)
    data = file.read_bytes()
    header = _read_header(data, str(path))
    if header.own.get("format") == FORMAT and SUM not in header.places:
        logger.warning(
            "%s has no check sum, as files of earlier versions: not all damage can be seen. To add one, in Python: "
            "trepid.load(%r).save('new.trepid')",
            path,
            str(path),
        )
    return data


def decode(data: bytes, *, name: str) -> Content:
    """Read the bytes of a model file; `name` is that of the file, for messages.

    Raises
    ------
    DamagedModelError
        Cut off, or its content does not have its check sum.
    ModelFileError
        Not a model of trepid, or of another version.
    """
    header = _read_header(data, name)
    if header.own.get("format") != FORMAT:
        raise ModelFileError(f"{name} is not a model file of trepid")
    version = header.own.get("version")
    if version not in (WITHOUT_SUM, WITHOUT_MIXED_TRIPLETS, VERSION, WITH_CHARGES):
        raise ModelFileError(f"{name} has model file version {version}; this trepid reads versions 1 to {WITH_CHARGES}")
    place = _place_of_sum(header, name)
    if len(data) < header.end:
        raise DamagedModelError(f"{name}: damaged: it is cut off after {len(data)} of {header.end} bytes")
    if place is not None:
        found = hashlib.sha256(memoryview(data)[: place.start])
        found.update(bytes(_SUM_BYTES))
        found.update(memoryview(data)[place.stop :])
        if found.digest() != data[place]:
            raise DamagedModelError(
                f"{name}: damaged: its content does not have its check sum (SHA-256); take another copy of the file"
            )
    elif version != WITHOUT_SUM:
        raise DamagedModelError(f"{name}: damaged: it has no check sum, which files of its version have")
    try:
        tensors = load(data)
        settings = header.own["settings"]
    except SafetensorError as error:
        raise DamagedModelError(f"{name} is not a model file of trepid, or it is cut off: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedModelError(f"{name}: damaged: its settings cannot be read ({error})") from error
    tensors.pop(SUM, None)
    written_by = str(header.own.get("trepid", ""))
    return Content(tensors, settings, None if place is None else data[place].hex(), written_by)


def _read_header(data: bytes | bytearray, name: str) -> _Header:
    """Header of the container, with the entry of trepid in it; an entry that is missing is empty."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise DamagedModelError(f"{name} is not a model file of trepid, or it is cut off")
    try:
        tensors = json.loads(data[8 : 8 + size])
        text = tensors.pop("__metadata__", {}).get(METADATA, "{}")
        places = {}
        for tensor, entry in tensors.items():
            first, last = entry["data_offsets"]
            places[tensor] = slice(8 + size + int(first), 8 + size + int(last))
    except (ValueError, AttributeError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DamagedModelError(f"{name} is not a model file of trepid, or it is damaged: no header") from error
    try:
        own = json.loads(text)
        own.get("format")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedModelError(f"{name}: damaged: its settings cannot be read ({error})") from error
    return _Header(places, own)


def _place_of_sum(header: _Header, name: str) -> slice | None:
    """Where the check sum stands in a file; None where there is none."""
    if SUM not in header.places:
        return None
    place = header.places[SUM]
    if place.stop - place.start != _SUM_BYTES:
        raise DamagedModelError(
            f"{name}: damaged: its check sum has {place.stop - place.start} bytes instead of {_SUM_BYTES}"
        )
    return place
