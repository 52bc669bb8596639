"""Charges in LAMMPS: the kspace style that computes the Coulomb energy of Gaussian charges.

The energy of Gaussian charges of standard deviation w is the reciprocal part of an Ewald sum whose splitting parameter is
g = 1 / (2 w). The styles ewald and pppm compute that part; `kspace_modify gewald` gives them g. There is no part in real space,
and so no pair style for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trepid.errors import DataError

if TYPE_CHECKING:
    from trepid.lammps.system import System

KSPACE_ACCURACY = 3e-5
"""Relative accuracy of the forces that LAMMPS is asked for: an rms error of 3e-5 of the force between two elementary charges at
1 A, 0.4 meV/A. On CuI 0.17 meV/A was found."""
LARGEST_FOR_EWALD = 300
"""Atoms: the Ewald sum is faster than the mesh up to about here."""


@dataclass(frozen=True)
class Electrostatics:
    """Effective charges of a potential.

    Attributes
    ----------
    charges : mapping of str to float
        By element, e.
    width : float
        Standard deviation of the Gaussian charges, A.
    """

    charges: Mapping[str, float]
    width: float

    @property
    def ewald_parameter(self) -> float:
        """G = 1 / (2 w), 1/A."""
        return 1 / (2 * self.width)

    def commands(self, system: System, *, accuracy: float = KSPACE_ACCURACY) -> str:
        """kspace_style, its splitting parameter and the charge of every atom type; no kspace style where all are zero.

        Raises
        ------
        DataError
            The box is not periodic in all three directions.
        """
        if not all(system.box.pbc):
            raise DataError(
                "a force field with charges needs a structure that is periodic in all three directions; give a slab or a "
                "molecule a cell with vacuum and pbc T T T"
            )
        if not any(self.charges.values()):
            return "kspace_style none\n" + "".join(f"set type {k + 1} charge 0\n" for k in range(len(system.elements)))
        style = "ewald" if len(system.types) <= LARGEST_FOR_EWALD else "pppm"
        charges = "".join(
            f"set type {k} charge {self.charges[element]:.17g}\n" for k, element in enumerate(system.elements, start=1)
        )
        return f"kspace_style {style} {accuracy:g}\nkspace_modify gewald {self.ewald_parameter:.17g}\n{charges}"
