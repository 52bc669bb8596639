"""Damage, as pure functions of a random generator: bytes, lines of text, numbers, and values of YAML and JSON."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
ODD_NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e300",
    b"-1",
    b"0",
    b"1e-300",
    b"999999999999",
    b"-999999999999999999999",
    b"1e400",
    b"",
)
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e300, float("nan"), float("inf"), 10**30, "", "x", "\x00", "-1", "nan", [], {}, [[]], [1, 2], {"a": 1},
    [None], "é" * 300, "../../etc/passwd", "!!python/object/apply:os.getcwd []", [[1, 2], [3]], -0.0, 2**63,
)  # fmt: skip
DEEP = 3000
"""Levels of the nested text: more than the recursion limit of Python."""


def _span(data: bytes, rng: Rng, longest: int = 64) -> slice:
    start = int(rng.integers(0, max(len(data), 1)))
    return slice(start, start + int(rng.integers(1, longest + 1)))


def flip_bits(data: bytes, rng: Rng) -> bytes:
    """One to four bits."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if changed:
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(data: bytes, rng: Rng) -> bytes:
    """Cut off anywhere."""
    return data[: int(rng.integers(0, max(len(data), 1)))]


def delete_span(data: bytes, rng: Rng) -> bytes:
    """A hole."""
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def insert_bytes(data: bytes, rng: Rng) -> bytes:
    """Random bytes, mostly not UTF-8."""
    start = int(rng.integers(0, len(data) + 1))
    return data[:start] + rng.bytes(int(rng.integers(1, 17))) + data[start:]


def repeat_span(data: bytes, rng: Rng) -> bytes:
    """A part of the file twice."""
    span = _span(data, rng, 400)
    return data[: span.stop] + data[span] + data[span.stop :]


def append_bytes(data: bytes, rng: Rng) -> bytes:
    """More than was written."""
    return data + rng.bytes(int(rng.integers(1, 200)))


def zero_block(data: bytes, rng: Rng) -> bytes:
    """Zeros where a block was not written."""
    span = _span(data, rng, 512)
    return data[: span.start] + bytes(len(data[span])) + data[span.stop :]


def empty(data: bytes, rng: Rng) -> bytes:
    """Nothing, or an empty line, or zeros."""
    return (b"", b"\n", bytes(100))[int(rng.integers(3))]


BINARY: tuple[Mutation, ...] = (
    flip_bits, flip_bits, truncate, delete_span, insert_bytes, repeat_span, append_bytes, zero_block, empty,
)  # fmt: skip


def swap_lines(data: bytes, rng: Rng) -> bytes:
    """Two lines in each other's place."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        i, j = rng.choice(len(lines), 2, replace=False)
        lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def delete_line(data: bytes, rng: Rng) -> bytes:
    """A line less."""
    lines = data.splitlines(keepends=True)
    if lines:
        del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


def repeat_line(data: bytes, rng: Rng) -> bytes:
    """A line twice: in YAML a repeated key."""
    lines = data.splitlines(keepends=True)
    if lines:
        k = int(rng.integers(len(lines)))
        lines.insert(k, lines[k])
    return b"".join(lines)


def odd_number(data: bytes, rng: Rng) -> bytes:
    """Numbers that are none, too large, negative, or missing."""
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    match = found[int(rng.integers(len(found)))]
    return data[: match.start()] + ODD_NUMBERS[int(rng.integers(len(ODD_NUMBERS)))] + data[match.end() :]


def odd_numbers(data: bytes, rng: Rng) -> bytes:
    """Many of them."""
    for _ in range(int(rng.integers(2, 30))):
        data = odd_number(data, rng)
    return data


def other_word(data: bytes, rng: Rng) -> bytes:
    """A word or key in the place of another."""
    words = list(re.finditer(rb"[A-Za-z_]\w*", data))
    if len(words) < 2:
        return data
    i, j = rng.choice(len(words), 2, replace=False)
    return data[: words[i].start()] + words[j].group() + data[words[i].end() :]


def nest(data: bytes, rng: Rng) -> bytes:
    """Deeply nested text somewhere."""
    start = int(rng.integers(0, len(data) + 1))
    opening = (b"[", b"{", b"{a: ", b"(", b"- ", b'{"a":')[int(rng.integers(6))]
    return data[:start] + opening * DEEP + data[start:]


def other_encoding(data: bytes, rng: Rng) -> bytes:
    """UTF-16, a byte order mark, or line ends of other systems."""
    text = data.decode("utf-8", "replace")
    return (
        lambda: text.encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
    )[int(rng.integers(4))]()


def long_line(data: bytes, rng: Rng) -> bytes:
    """A line of a million characters."""
    start = int(rng.integers(0, len(data) + 1))
    return data[:start] + (b"7", b" ", b"x", b'"')[int(rng.integers(4))] * 1_000_000 + data[start:]


TEXT: tuple[Mutation, ...] = (
    *BINARY, swap_lines, delete_line, repeat_line, odd_number, odd_number, odd_number, odd_numbers, other_word, other_word, nest,
    other_encoding, long_line,
)  # fmt: skip


# ---- values


def odd_value(tree: Any, rng: Rng) -> Any:
    """A copy of nested dictionaries and lists with one value replaced, removed, renamed or added."""
    changed = copy.deepcopy(tree)
    places = list(_places(changed))
    if not places:
        return ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    parent, key = places[int(rng.integers(len(places)))]
    action = int(rng.integers(6))
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[str(key) + "s"] = parent.pop(key)
    elif action == 2 and isinstance(parent, dict):
        parent["unknown"] = 1
    else:
        parent[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return changed


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def odd_array(array: np.ndarray, rng: Rng) -> np.ndarray:
    """An array with odd numbers, of another shape or another type."""
    action = int(rng.integers(5))
    if action == 0:
        return array.reshape(-1)[:-1] if array.size else np.zeros(3)
    if action == 1:
        return np.array("text")
    if action == 2:
        return np.zeros((0, 3))
    if action == 3 and array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.reshape(-1)[int(rng.integers(array.size))] = (np.nan, np.inf, 1e300)[int(rng.integers(3))]
        return changed
    return -array if array.dtype.kind in "if" else array[..., None]
