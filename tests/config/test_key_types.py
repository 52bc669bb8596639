"""Types of keys in words, for every form that JSON schemas of this project have."""

from __future__ import annotations

import pytest

from trepid.config.key_types import type_in_words

DEFINITIONS = {
    "Engine": {"enum": ["ase", "lammps"], "type": "string"},
    "Start": {"properties": {"n": {"type": "integer"}}, "type": "object"},
}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"type": "integer"}, "whole number"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number"),
        (
            {"anyOf": [{"type": "number"}, {"type": "array", "prefixItems": [{"type": "number"}] * 2}]},
            "number or list of numbers",
        ),
        ({"type": "array", "items": {"type": "string", "format": "path"}}, "list of paths"),
        ({"$ref": "#/$defs/Engine"}, "'ase' or 'lammps'"),
        ({"oneOf": [{"$ref": "#/$defs/Start"}, {"const": "none"}]}, "<Start> or 'none'"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "numbers by name"),
        ({"type": "object", "additionalProperties": True}, "mapping"),
        ({}, "any value"),
    ],
)
def test_a_type_in_words(key: dict[str, object], words: str) -> None:
    assert type_in_words(key, DEFINITIONS, choice="'{}'".format, keys_of="<{}>".format) == words
