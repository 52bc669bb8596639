r"""Coulomb energy of effective charges: one coefficient for all of them.

.. math::

    E = c\, E_1, \qquad q_s = \sqrt{c}\, z_s

with E_1 the Coulomb energy (`ewald`) of Gaussian charges with the formal charges z of the species (`Charges`), and the
coefficient c the square of the common factor of all effective charges q. Ratios that are fixed keep the term linear in its
coefficient, the cell neutral, and the model exactly what LAMMPS computes from charges. Its prior is normal with the
standard deviation `coulomb_amplitude`. Without charges the term has no coefficient.

The live directions hold c fixed (`live_directions`), so that molecular dynamics needs no second Coulomb energy for the uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.terms.base import Factor, Parameter, Term


@dataclass(frozen=True)
class CoulombHyperparameters:
    """Prior of the Coulomb energy.

    Attributes
    ----------
    coulomb_amplitude : float
        Standard deviation of c, dimensionless: of products of effective charges over those of formal ones.
    """

    coulomb_amplitude: float = 0.3


@dataclass(frozen=True, kw_only=True)
class CoulombTables:
    """Charges; empty without them.

    Attributes
    ----------
    formal_charges : (n_species,) array
        e.
    charge_width : (1,) array
        Standard deviation of the charge densities, A.
    charge_product : (1,) array
        c.
    """

    formal_charges: FloatArray
    charge_width: FloatArray
    charge_product: FloatArray

    @staticmethod
    def without_charges() -> CoulombTables:
        """Empty ones."""
        return CoulombTables(formal_charges=np.zeros(0), charge_width=np.zeros(0), charge_product=np.zeros(0))


class CoulombTerm(Term[CoulombHyperparameters, CoulombTables]):
    """The coefficient c, the last of all."""

    parameters: ClassVar = (Parameter("coulomb_amplitude", 1e-3, 10.0, mode=0.3, log_std=1.0),)

    @property
    def size(self) -> int:
        """1 with charges, else 0."""
        return 0 if self.settings.charges is None else 1

    def prior_factors(self, hyper: CoulombHyperparameters) -> list[Factor]:
        """The standard deviation of c."""
        return [Factor(self.columns, np.array([[hyper.coulomb_amplitude]]))] if self.size else []

    def gradient_blocks(self) -> list[slice]:
        """That of c."""
        return [self.columns] if self.size else []

    def evidence_slopes(self, hyper: CoulombHyperparameters, blocks: Sequence[FloatArray]) -> tuple[float, ...]:
        """Slope in log of the standard deviation."""
        return (2 * hyper.coulomb_amplitude**2 * math.fsum(float(x[0, 0]) for x in blocks),)

    def tables(self, coefficients: FloatArray, live: FloatArray) -> CoulombTables:
        """Charges and c."""
        charges = self.settings.charges
        if charges is None:
            return CoulombTables.without_charges()
        return CoulombTables(
            formal_charges=np.array(charges.formal),
            charge_width=np.array([charges.width]),
            charge_product=coefficients[self.columns].copy(),
        )

    def direction(self, tables: CoulombTables, r: int) -> CoulombTables:
        """None: live directions hold c fixed."""
        return CoulombTables(
            formal_charges=tables.formal_charges,
            charge_width=tables.charge_width,
            charge_product=np.zeros_like(tables.charge_product),
        )
