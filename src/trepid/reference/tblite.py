"""GFN1-xTB and its relatives through tblite: the embedded reference, a real quantum method in seconds."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from trepid.data.formula import formula_of
from trepid.data.supercells import suggested_supercells
from trepid.errors import ConfigError
from trepid.reference.calculator import CalculatorReference, positive
from trepid.reference.engine import Availability, Engine

_METHODS = ("GFN1-xTB", "GFN2-xTB", "IPEA1-xTB")
_HEAVIEST = 86
FEWEST_ATOMS = 16


class TBLiteReference(CalculatorReference):
    """Extended tight binding, Gamma point only.

    Molecules and clusters are labelled without stress; slabs with vacuum like any periodic cell.

    Parameters
    ----------
    method : {"GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"}
        GFN2-xTB is about ten times slower for crystals.
    accuracy : float
        Scale of the convergence thresholds, smaller is tighter. At 1.0 the energy is converged to 1e-6 Hartree.
    electronic_temperature_K : float
        Fermi smearing, K.
    max_iterations : int
        Of the self-consistency cycle; more is a label error.

    Raises
    ------
    ConfigError
        An unknown method or a value out of range.
    """

    name = "tblite"

    def __init__(
        self,
        method: str = "GFN1-xTB",
        *,
        accuracy: float = 1.0,
        electronic_temperature_K: float = 300.0,
        max_iterations: int = 250,
    ) -> None:
        if method not in _METHODS:
            close = [known for known in _METHODS if known.lower() == str(method).lower()]
            close = close or get_close_matches(str(method), _METHODS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"tblite: method is {method!r}; known are {', '.join(_METHODS)}{hint}")
        self.method = method
        self.accuracy = positive(self.name, "accuracy", accuracy)
        self.electronic_temperature_K = positive(self.name, "electronic_temperature_K", electronic_temperature_K)
        if isinstance(max_iterations, bool) or not isinstance(max_iterations, int) or max_iterations < 1:
            raise ConfigError(f"tblite: max_iterations is {max_iterations!r}; a whole number of 1 or more is expected")
        self.max_iterations = max_iterations

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters."""
        return {
            "engine": self.name,
            "version": version("tblite"),
            "method": self.method,
            "accuracy": self.accuracy,
            "electronic_temperature_K": self.electronic_temperature_K,
            "max_iterations": self.max_iterations,
        }

    def _check(self, atoms: Atoms) -> None:
        heaviest = int(atoms.numbers.max())
        if heaviest > _HEAVIEST:
            raise ConfigError(
                f"tblite: {chemical_symbols[heaviest]} is not parametrised; {self.method} knows H to "
                f"{chemical_symbols[_HEAVIEST]}"
            )
        if atoms.pbc.any() and len(atoms) < FEWEST_ATOMS:
            raise ConfigError(
                f"tblite: the periodic cell of {formula_of(atoms)} has {len(atoms)} atoms; tblite samples "
                f"the Gamma point only and needs {FEWEST_ATOMS} or more: use a supercell, such as {_supercell(atoms)}"
            )

    def _calculator(self) -> Any:
        from tblite.ase import TBLite  # deferred: loads the Fortran library

        return TBLite(
            method=self.method,
            accuracy=self.accuracy,
            electronic_temperature=self.electronic_temperature_K,
            max_iterations=self.max_iterations,
            verbosity=0,
        )


def expected_seconds(n_atoms: int) -> float:
    """Very rough time of a label on one core, s: 1 s for 16 atoms, 8 s for 64, 30 to 90 s for 128 (measured: Si, MgO, CuI).

    Metals need several times as many iterations. A campaign measures its own labels.
    """
    return 8.0 * (n_atoms / 64) ** (1.6 if n_atoms <= 64 else 2.7)


def _supercell(atoms: Atoms) -> list[int] | list[list[int]]:
    """The supercell that `trepid init` suggests; where that is too small (vacuum), the fewest repetitions of short edges."""
    enough = [cell.setting for cell in suggested_supercells(atoms) if cell.n_atoms >= FEWEST_ATOMS]
    if enough:
        return enough[0]
    repeat = [1, 1, 1]
    lengths = atoms.cell.lengths()
    periodic = [axis for axis in range(3) if atoms.pbc[axis]]
    while len(atoms) * repeat[0] * repeat[1] * repeat[2] < FEWEST_ATOMS:
        repeat[min(periodic, key=lambda axis: lengths[axis] * repeat[axis])] += 1
    return repeat


def _probe() -> str:
    """Energy of H2, and the version of tblite."""
    import numpy as np
    from tblite.interface import Calculator

    bohr_positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]])
    calculator = Calculator("GFN1-xTB", np.array([1, 1]), bohr_positions)
    calculator.set("verbosity", 0)
    energy = float(calculator.singlepoint().get("energy"))
    if not -1.2 < energy < -0.9:
        raise RuntimeError(f"the energy of H2 is {energy:.3f} Hartree, which cannot be")
    return version("tblite")


ENGINE = Engine(
    "tblite",
    TBLiteReference,
    package="tblite",
    availability=Availability("GFN-xTB reference, the default", _probe, True, "pip install tblite"),
)
