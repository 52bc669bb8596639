"""Whether the value of a field that was read from a file is of the type that the field has."""

from __future__ import annotations

import math
from enum import Enum
from textwrap import shorten
from types import UnionType
from typing import Any, get_args, get_origin

_SIGNED = frozenset({"log_evidence", "pressure_GPa", "lowest_THz"})
"""Numbers that may be negative."""


def checked(name: str, hint: Any, value: Any) -> Any:
    """A value of the type that a field has.

    Parameters
    ----------
    name : str
        Of the field.
    hint : type
        Its type; numbers are finite, and not negative but for a few fields.
    value
        As JSON gives it.

    Raises
    ------
    TypeError, ValueError
        It is of another type.
    """
    wrong = TypeError(f"{name} is {shorten(repr(value), 60, placeholder='...')}")
    if isinstance(hint, UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        hint = next(choice for choice in get_args(hint) if choice is not type(None))
    if hint is Any:
        return value
    kind = get_origin(hint) or hint
    if issubclass(kind, Enum):
        return kind(value)
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers) or not math.isfinite(value):
            raise wrong
        if value < 0 and name not in _SIGNED:
            raise wrong
        return value
    if not isinstance(value, kind):
        raise wrong
    return value
