"""The model file: one safetensors container with everything a Bayesian force field is.

A safetensors file is a length, a JSON header and raw little-endian arrays: any language can read it, and a truncated
one is seen at once. Tensors: the evaluation tables (`table.*`, all that molecular dynamics needs), the coefficients,
and the sufficient statistics (`statistics.KIND.*`, Gram matrices as packed upper triangles) from which the posterior is
rebuilt. The settings are JSON in the header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trepid.data.atomic import write_bytes_atomic
from trepid.errors import ModelFileError
from trepid.potentials.base import FloatArray

FORMAT = "trepid-bayesian-force-field"
VERSION = 1
METADATA = "trepid"
"""Key of the JSON header in the container's metadata."""
Tensors = dict[str, NDArray[Any]]


def write_model(path: str | Path, tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> None:
    """Write a model file atomically."""
    # One entry, keys sorted: the same model gives the same bytes.
    header = json.dumps({"format": FORMAT, "version": VERSION, "settings": settings}, sort_keys=True)
    metadata = {METADATA: header}
    write_bytes_atomic(path, save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata=metadata))


def read_model(path: str | Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a model file.

    Raises
    ------
    ModelFileError
        Missing, truncated, not a model of trepid, or of another version.
    """
    file = Path(path)
    if not file.exists():
        raise ModelFileError(f"model file {path} does not exist")
    if not file.is_file():
        raise ModelFileError(f"model file {path} is not a file")
    try:
        with safe_open(str(file), framework="numpy") as container:
            header = json.loads((container.metadata() or {}).get(METADATA, "{}"))
            if header.get("format") != FORMAT:
                raise ModelFileError(f"{path} is not a model file of trepid")
            if header.get("version") != VERSION:
                raise ModelFileError(
                    f"{path} has model file version {header.get('version')}; this trepid reads version {VERSION}"
                )
            tensors = {name: container.get_tensor(name) for name in container.keys()}  # noqa: SIM118 (not a dict)
            return tensors, header["settings"]
    except SafetensorError as error:
        raise ModelFileError(f"{path} is not a model file of trepid, or it is cut off: {error}") from error
    except (KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path} is damaged: its settings cannot be read ({error})") from error


def pack_symmetric(matrix: FloatArray) -> FloatArray:
    """Upper triangle (n (n + 1) / 2,) of a symmetric matrix (n, n)."""
    return np.concatenate([row[k:] for k, row in enumerate(matrix)])


def unpack_symmetric(packed: FloatArray, n: int) -> FloatArray:
    """The matrix of `pack_symmetric`.

    Raises
    ------
    ValueError
        The triangle is not that of an (n, n) matrix.
    """
    if packed.shape != (n * (n + 1) // 2,):
        raise ValueError(f"{packed.shape} numbers are not the upper triangle of a matrix of {n} rows")
    matrix = np.zeros((n, n))
    start = 0
    for k in range(n):
        matrix[k, k:] = packed[start : start + n - k]
        start += n - k
    lower = np.tril_indices(n, -1)
    matrix[lower] = matrix.T[lower]
    return matrix
