"""Kills at chosen places, for the tests of exact resume."""

from __future__ import annotations

from collections.abc import Callable

import pytest


class Killed(BaseException):
    """Stands for kill -9 at a chosen place; no handler of the code under test may catch it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, count: int, *, after: bool) -> Callable[[], None]:
    """Raise Killed at the count-th call of a method, before or after it ran; gives what undoes it."""
    real, made = getattr(owner, name), [0]

    def method(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        made[0] += 1
        if made[0] == count and not after:
            raise Killed
        result = real(self, *args, **kwargs)
        if made[0] == count and after:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, method)
    return lambda: monkeypatch.setattr(owner, name, real)
