"""Chemical formulas as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms


def formula_of(atoms: Atoms, *, reduced: bool = False) -> str:
    """Chemical formula with the metals first, such as SrTiO3; `reduced`: of the formula unit."""
    formula = atoms.symbols.formula
    return str((formula.reduce()[0] if reduced else formula).format("metal"))
