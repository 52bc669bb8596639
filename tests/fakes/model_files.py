"""Model files taken apart and put together, to damage them in the parts that a reader understands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from trepid.potentials.bayesian.container import FORMAT, METADATA, WITHOUT_SUM, Tensors, decode, encode


def read_model(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and settings of a model file."""
    content = decode(path.read_bytes(), name=str(path))
    return content.tensors, content.settings


def write_model(path: Path, tensors: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
    """A model file with a right check sum, whatever the tensors are."""
    path.write_bytes(encode(tensors, settings))


def write_without_sum(
    path: Path, tensors: Mapping[str, np.ndarray], settings: Mapping[str, Any], **entries: object
) -> Path:
    """A model file of the version before check sums; `entries` replace those of its header."""
    entry = {"format": FORMAT, "version": WITHOUT_SUM, "settings": settings} | entries
    save_file(dict(tensors), path, metadata={METADATA: json.dumps(entry, sort_keys=True)})
    return path


def with_right_sum(data: bytes) -> bytes:
    """The bytes of a model file, changed anywhere, with the check sum of the new content."""
    size = int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8 : 8 + size])["sha256"]["data_offsets"]
    place = slice(8 + size + first, 8 + size + last)
    changed = bytearray(data)
    changed[place] = bytes(32)
    changed[place] = hashlib.sha256(changed).digest()
    return bytes(changed)
