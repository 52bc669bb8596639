"""Whether the tables of a model file follow from its coefficients.

Molecular dynamics evaluates the tables, so a changed table is a changed force. They are a function of the coefficients, which
takes milliseconds. Files with a check sum need no such comparison when they are opened; `trepid check` makes it for all.
"""

from __future__ import annotations

import numpy as np

from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.model_file import Training
from trepid.potentials.bayesian.spline_potential import make_tables

TOLERANCE = 1e-8
"""Largest difference, relative to the largest number of a table, that another machine may make by rounding."""


def table_differences(basis: Basis, training: Training) -> dict[str, float]:
    """Largest difference of each table to the one made from the coefficients, relative to its largest number.

    The live directions are left out: they follow from the posterior, not from the coefficients.
    """
    made = make_tables(basis, training.coefficients, reference_energies=training.reference_energies)
    stored = training.tables
    pairs = {
        "table.offset": (made.offset, stored.offset),
        "table.pair": (made.pair, stored.pair),
        "table.triplet": (made.triplet, stored.triplet),
        "table.zbl": (made.zbl, stored.zbl),
        "table.triplet_channel_radial": (made.triplet_channel_radial, stored.triplet_channel_radial),
        "table.mixed_triplet": (made.mixed_triplet, stored.mixed_triplet),
        "table.channel_radial": (made.channel_radial, stored.channel_radial),
        "table.channel_centre": (made.channel_centre, stored.channel_centre),
        "table.quadruplet": (made.quadruplet, stored.quadruplet),
        "table.formal_charges": (made.formal_charges, stored.formal_charges),
        "table.charge_width": (made.charge_width, stored.charge_width),
        "table.charge_product": (made.charge_product, stored.charge_product),
    }
    return {name: relative_difference(*both) for name, both in pairs.items()}


def relative_difference(expected: FloatArray, found: FloatArray) -> float:
    """Largest difference relative to the largest number expected; infinite for another shape or NaN."""
    if expected.shape != found.shape or not np.isfinite(found).all():
        return np.inf
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(found - expected).max(initial=0.0)) / scale


def require_consistent_tables(basis: Basis, training: Training) -> None:
    """Raise ValueError where a table does not follow from the coefficients; use it inside `naming_damage`."""
    for table, difference in table_differences(basis, training).items():
        if not difference < TOLERANCE:
            raise ValueError(
                f"{table} differs from what its coefficients give by {difference:.2g} of its largest number; take another "
                "copy of the file"
            )
