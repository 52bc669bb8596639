"""A worker as those of foundation potentials, with EMT instead of a network. Not a test file: it runs by path.

What it does beside that is the name of the model.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.emt import EMT
from worker_calculator import serve_calculator


class Fake(EMT):
    """EMT with a memory, or one that fails in its fourth call."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls, self.memory = how, 0, 0.0

    def calculate(self, atoms: Any, *arguments: Any) -> None:
        """As of ASE."""
        super().calculate(atoms, *arguments)
        self.calls += 1
        if self.how == "density":
            self.results["forces"] = self.results["forces"] + 1e-3 * self.memory
            self.memory = float(np.sin(np.abs(atoms.positions).sum()))
        if self.how == "die" and self.calls == 4:
            os._exit(3)
        if self.how == "fail" and self.calls == 4:
            raise RuntimeError("out of memory")
        if self.how == "hang" and self.calls == 4:
            time.sleep(600)


def make(model: str, device: str) -> tuple[Any, list[int]]:
    """Load a model; the file `loads` beside the log notes it."""
    if model == "no_load":
        raise FileNotFoundError(f"no weights for {model} on {device}")
    with open(Path(os.environ["FAKE_FOUNDATION_FOLDER"]) / "loads", "a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")
    return Fake(model), [13, 28, 29]


serve_calculator("fake", "1.0", make)
