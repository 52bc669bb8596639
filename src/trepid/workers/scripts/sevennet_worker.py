"""SevenNet: the foundation potentials whose weights are in the package."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from worker_calculator import serve_calculator


def make(model: str, device: str) -> tuple[Any, list[int]]:
    """The calculator of a model, by the name that the package gives it, and the elements that it knows."""
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(model, device=device)
    return calculator, sorted(int(number) for number in calculator.type_map)


serve_calculator("sevennet", version("sevenn"), make)
