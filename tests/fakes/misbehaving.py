"""Calculators and references that break something, for the tests that must notice. Not a test file."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.calculators.emt import EMT


class Misbehaving(Calculator):
    """EMT that fails in a given way."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    default_parameters: ClassVar[dict[str, Any]] = {"how": "", "path": ""}

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        emt = EMT()
        emt.calculate(atoms.copy(), properties, all_changes)
        self.results = dict(emt.results)
        getattr(self, f"_{self.parameters.how}")()

    def _scf_error(self) -> None:
        raise SCFError("cycle 100")

    def _said(self) -> None:
        raise RuntimeError("Fatal:\n  the SCF did\n  not converge after 3 cycles")

    def _quietly_unconverged(self) -> None:
        self.converged = False

    def _error(self) -> None:
        raise ZeroDivisionError("cannot open\nthe basis set file")

    def _no_stress_code(self) -> None:
        raise NotImplementedError("stress with hybrids")

    def _no_forces(self) -> None:
        del self.results["forces"]

    def _no_energy(self) -> None:
        del self.results["energy"], self.results["free_energy"]

    def _no_stress(self) -> None:
        del self.results["stress"]

    def _one_atom_short(self) -> None:
        self.results["forces"] = self.results["forces"][:-1]

    def _nan_force(self) -> None:
        self.results["forces"][2, 1] = np.nan

    def _inf_energy(self) -> None:
        self.results["free_energy"] = np.inf

    def _nan_stress(self) -> None:
        self.results["stress"] = np.full(6, np.nan)

    def _die(self) -> None:
        os.abort()

    def _exit(self) -> None:
        os._exit(3)

    def _sys_exit(self) -> None:
        sys.exit(0)

    def _keyboard_interrupt(self) -> None:
        raise KeyboardInterrupt

    def _hold(self) -> None:
        """One call for ever that lets no other thread of Python run."""
        self._begun()
        sum(itertools.repeat(1, 10**13))

    def _compute_in_c(self) -> None:
        """One call for minutes that lets other threads run, as those of Fortran libraries do."""
        self._begun()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

    def _begun(self) -> None:
        Path(self.parameters.path).write_text(str(os.getpid()))

    def _print(self) -> None:
        print("an engine that talks on standard output")  # noqa: T201

    def _sleep(self) -> None:
        Path(self.parameters.path).write_text(str(os.getpid()))
        time.sleep(600)

    def _second_time(self) -> None:
        """Sleep only at the first call that finds no file."""
        marker = Path(self.parameters.path)
        if not marker.exists():
            self._sleep()


class Forgetful(Misbehaving):
    """Computes no forces at all."""

    implemented_properties = ("energy",)


class NotACalculator:
    """Something else."""
