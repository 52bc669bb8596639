"""Types of the keys of a JSON schema in plain words, for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_NAMES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
    "array": "list",
}
_PLURALS = {"number": "numbers", "whole number": "whole numbers", "path": "paths", "list": "lists"}


def type_in_words(
    key: Mapping[str, Any],
    definitions: Mapping[str, Any],
    *,
    choice: Callable[[str], str] = str,
    keys_of: Callable[[str], str] = "keys of {}".format,
) -> str:
    """Type of a key.

    Parameters
    ----------
    key : mapping
        Its schema; null among its types is left out.
    definitions : mapping
        `$defs` of the schema.
    choice : callable
        Text of one of several fixed values.
    keys_of : callable
        Text of a class of settings with keys of its own.
    """

    def words(value: Mapping[str, Any]) -> str:
        return type_in_words(value, definitions, choice=choice, keys_of=keys_of)

    for several in ("anyOf", "oneOf"):
        if several in key:
            options = (words(option) for option in key[several] if option.get("type") != "null")
            return " or ".join(dict.fromkeys(options))
    if "enum" in key:
        return " or ".join(choice(str(value)) for value in key["enum"])
    if "const" in key:
        return choice(str(key["const"]))
    if "$ref" in key:
        name = key["$ref"].rsplit("/", 1)[1]
        return keys_of(name) if "properties" in definitions[name] else words(definitions[name])
    if key.get("format") == "path":
        return "path"
    kind = key.get("type", "any value")
    if kind == "array":
        parts = key.get("prefixItems") or [key.get("items", {})]
        inner = dict.fromkeys(words(part) for part in parts)
        return f"list of {' and '.join(_PLURALS.get(each, each) for each in inner)}"
    of = key.get("additionalProperties")
    if kind == "object" and isinstance(of, Mapping) and of:
        inner_type = words(of)
        return f"{_PLURALS.get(inner_type, inner_type)} by name"
    return _NAMES.get(kind, kind)
