"""Messages between trepid and a worker: a length-prefixed JSON header followed by raw arrays.

A message is the magic bytes, the length of the header and of the data (little-endian), the header as UTF-8 JSON, then the
arrays in the order in which the header lists them under "arrays" (name, dtype, shape). No pickles: the two ends run
different Pythons with different versions of numpy.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from io import RawIOBase
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"trepid1\n"
PREFIX = struct.Struct("<8sQQ")
MAX_BYTES = 1 << 34
"""No message is longer; a larger length is garbage."""
_DTYPES = ("<f8", "<f4", "<i8", "<i4", "|b1", "|u1")

Arrays = dict[str, NDArray[Any]]
FloatArray = NDArray[np.float64]


class ChannelError(Exception):
    """The data received are not a message."""


class ChannelClosed(ChannelError):  # noqa: N818 (the end of a connection is not always an error)
    """The other end has closed."""


def send(
    stream: IO[bytes] | RawIOBase, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write one message and flush."""
    parts, listing = [], []
    for name, array in (arrays or {}).items():
        plain = np.ascontiguousarray(array)
        plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        if plain.dtype.str not in _DTYPES:
            raise ChannelError(f"array {name} has type {plain.dtype}; it must be one of {', '.join(_DTYPES)}")
        listing.append([name, plain.dtype.str, list(np.shape(array))])
        parts.append(plain.tobytes())
    text = json.dumps({**header, "arrays": listing}).encode()
    data = b"".join(parts)
    stream.write(PREFIX.pack(MAGIC, len(text), len(data)) + text + data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays]:
    """Read one message: its header and its arrays.

    Raises
    ------
    ChannelClosed
        The stream ended.
    ChannelError
        What came is not a message.
    """
    magic, n_text, n_data = PREFIX.unpack(_exactly(stream, PREFIX.size))
    if magic != MAGIC or n_text > MAX_BYTES or n_data > MAX_BYTES:
        raise ChannelError(f"garbage instead of a message: {magic!r}")
    text, data = _exactly(stream, n_text), _exactly(stream, n_data)
    arrays: Arrays = {}
    start = 0
    try:
        header = json.loads(text)
        for name, dtype, shape in header.pop("arrays"):
            if dtype not in _DTYPES:
                raise ValueError(f"array type {dtype}")
            kind = np.dtype(dtype)
            stop = start + kind.itemsize * math.prod(shape)
            arrays[name] = np.frombuffer(data[start:stop], dtype=kind).reshape(shape).copy()
            start = stop
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ChannelError(f"a message that cannot be read: {error}") from error
    if start != n_data:
        raise ChannelError(f"a message with {n_data} bytes of arrays where {start} were announced")
    return header, arrays


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts, missing = [], size
    while missing:
        part = stream.read(min(missing, 1 << 24))
        if not part:
            raise ChannelClosed("the other side closed the channel")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
