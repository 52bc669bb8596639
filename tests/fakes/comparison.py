"""Equality of frames and model files, bit by bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from ase import Atoms


def frame_hash(atoms: Atoms) -> str:
    """Of positions and cell."""
    return hashlib.sha256(atoms.positions.tobytes() + np.array(atoms.cell).tobytes()).hexdigest()


def model_content(path: Path) -> tuple[object, bytes]:
    """Header and body of a model file; a safetensors header is a JSON object whose keys come in any order.

    The model files of fakes are npz files: no header, all of it.
    """
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return (None, data) if end > len(data) else (json.loads(data[8:end]), data[end:])
