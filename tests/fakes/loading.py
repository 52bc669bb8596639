"""Calculators that are slow to load, and that may remember what they must not. Not a test file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Loading(Calculator):
    """EMT that notes every time it is made, and every call, in files of `folder`; `how` names what it does besides.

    `at` is the call, counted from 1 within one calculator, at which it first does so; `once`: only the first calculator
    that comes to it.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    default_parameters: ClassVar[dict[str, Any]] = {"folder": "", "how": "nothing", "at": 1, "once": False}

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.calls = 0
        self.memory = 0.0
        self.seen: list[str] = []
        self._note("loads")

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self._note("calls")
        emt = EMT()
        emt.calculate(atoms.copy(), properties, all_changes)
        results = dict(emt.results)
        marker = Path(self.parameters.folder) / "marker"
        if self.calls >= self.parameters.at and not (self.parameters.once and marker.exists()):
            marker.write_text(str(os.getpid()))
            getattr(self, f"_{self.parameters.how}")(atoms, results)
        self.results.update(results)

    def _note(self, file: str) -> None:
        with open(Path(self.parameters.folder) / file, "a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")

    def _nothing(self, atoms: Atoms, results: dict[str, Any]) -> None:
        pass

    def _density(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Start from the last frame, as self-consistency cycles do."""
        results["forces"] = results["forces"] + 3e-4 * np.sin(self.memory)
        self.memory = float(np.abs(atoms.positions).sum())

    def _offset(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Energies relative to the first frame of the last composition."""
        formula = atoms.get_chemical_formula()
        if not self.seen or self.seen[-1] != formula:
            self.seen.append(formula)
        results["energy"] = results["free_energy"] = results["energy"] + 0.01 * (len(self.seen) - 1)

    def _stress_drift(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["stress"] = results["stress"] + 1e-4 * self.calls

    def _random(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["forces"] = results["forces"] + np.random.default_rng().normal(0.0, 1e-3, results["forces"].shape)

    def _warm_up(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Other last digits in the first two calls, as of a network that is then compiled."""
        if self.calls <= 2:
            results["forces"] = results["forces"].astype(np.float32).astype(np.float64)

    def _no_forces(self, atoms: Atoms, results: dict[str, Any]) -> None:
        del results["forces"]

    def _nan(self, atoms: Atoms, results: dict[str, Any]) -> None:
        results["forces"] = results["forces"] * np.nan

    def _fail(self, atoms: Atoms, results: dict[str, Any]) -> None:
        raise RuntimeError("the weights are on fire")

    def _die(self, atoms: Atoms, results: dict[str, Any]) -> None:
        os.abort()

    def _hang(self, atoms: Atoms, results: dict[str, Any]) -> None:
        time.sleep(600)


class Logging(EMT):
    """EMT that writes a file into its directory, as engines of their own do."""

    def calculate(self, *arguments: object, **named: object) -> None:
        super().calculate(*arguments, **named)
        (Path(self.directory) / "log").write_text("done")
