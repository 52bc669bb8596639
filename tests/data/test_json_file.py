"""Files of one JSON object: what is wrong with a file is said with its name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trepid.data.json_file import read_json_object
from trepid.errors import DataError


@pytest.fixture
def default_recursion() -> Iterator[None]:
    """The limit of a fresh interpreter: libraries that other tests import raise it, and deep brackets then overflow the stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("default_recursion")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (100_000 * b"[", "cannot be read as JSON"),
        (b"[1]", "holds a list, not as trepid writes it"),
    ],
)
def test_what_is_no_object_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_json_object(path, advice="give another directory")
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("; give another directory")


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"a": [1, 2]}')
    assert read_json_object(path) == {"a": [1, 2]}
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json_object(tmp_path / "missing.json")
