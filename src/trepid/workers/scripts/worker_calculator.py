"""The loop of a worker that labels frames with an ASE calculator of its environment, loaded once.

Verbs
-----
hello      -> backend, version of the package
load       model, device (as the package names them) -> elements (atomic numbers that the model knows)
label      stress (bool); arrays numbers, positions, cell, pbc -> arrays energy (1,), forces (n, 3) and, where wanted, stress (6,)

A response with "error" gives the reason in one line; the traceback goes to standard error, which is a log file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase.calculators.calculator import all_changes
from worker_channel import Arrays
from worker_server import frame_of, serve_requests


def serve_calculator(backend: str, version: str, make: Callable[[str, str], tuple[Any, list[int]]]) -> None:
    """Serve requests until standard input closes.

    Parameters
    ----------
    backend, version : str
        Response to "hello".
    make : callable
        Name of the model and device -> ASE calculator, and the atomic numbers that it knows.
    """
    loaded: list[Any] = []

    def answer(header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], Arrays]:
        verb = header["verb"]
        if verb == "hello":
            return {"backend": backend, "version": version}, {}
        if verb == "load":
            calculator, elements = make(str(header["model"]), str(header["device"]))
            loaded[:] = [calculator]
            return {"elements": elements}, {}
        if verb == "label":
            return {"ok": True}, _label(loaded[0], arrays, stress=bool(header["stress"]))
        raise ValueError(f"unknown verb {verb!r}")

    serve_requests(answer)


def _label(calculator: Any, arrays: Arrays, *, stress: bool) -> Arrays:
    calculator.results = {}
    wanted = ["energy", "forces", "stress"] if stress else ["energy", "forces"]
    calculator.calculate(frame_of(arrays), wanted, all_changes)
    found = calculator.results
    out = {
        "energy": np.array([found.get("free_energy", found["energy"])], dtype=np.float64),
        "forces": np.array(found["forces"], dtype=np.float64),
    }
    if stress and found.get("stress") is not None:
        out["stress"] = np.array(found["stress"], dtype=np.float64)
    return out
