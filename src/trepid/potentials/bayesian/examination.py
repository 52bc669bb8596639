"""What `trepid check` finds in the file of a Bayesian force field: check sum, tables, posterior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trepid.potentials.bayesian.consistency import TOLERANCE, table_differences
from trepid.potentials.bayesian.container import decode, read_file
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.model_file import naming_damage, training_in_file

LARGEST_SHARE = 0.1
"""Of the noise: up to here the coefficients are those of the posterior, found by sums in another order. Directions that the
labels do not determine make the coefficients differ by more than the predictions, which is why those are compared."""


@dataclass(frozen=True)
class Examination:
    """A model file, looked over.

    Attributes
    ----------
    model : BayesianForceField
    check_sum : str or None
        SHA-256, found right; None where the file has none.
    written_by : str
        Version of trepid; empty where the file does not say.
    tables : dict of str to float
        Relative difference of every table to what the coefficients give.
    force_difference : float
        Largest difference of a force component on the training structures in the file between the coefficients and the
        posterior mean that the Gram matrices give, eV/A.
    energy_difference : float
        The same of energies per atom, eV.
    """

    model: BayesianForceField
    check_sum: str | None
    written_by: str
    tables: dict[str, float]
    force_difference: float
    energy_difference: float

    @property
    def table_problems(self) -> list[str]:
        """Tables that the coefficients do not give, one line each."""
        return [
            f"{name} differs from what the coefficients give by {difference:.2g} of its largest number"
            for name, difference in self.tables.items()
            if not difference < TOLERANCE
        ]

    @property
    def coefficient_problems(self) -> list[str]:
        """Predictions of the training structures that the statistics do not give, one line each."""
        noise, found = self.model.hyperparameters.noise, []
        pairs = (
            ("forces", self.force_difference, noise.forces, "meV/A"),
            ("energies", self.energy_difference, noise.energy, "meV per atom"),
        )
        for what, difference, scale, unit in pairs:
            if not difference < LARGEST_SHARE * scale:
                found.append(
                    f"the coefficients are not the posterior mean of the statistics: {what} on the training structures "
                    f"differ by up to {1000 * difference:.2g} {unit}"
                )
        return found


def examine(path: str | Path) -> Examination:
    """Read a model file and compute its tables and its posterior again.

    Raises
    ------
    ModelFileError
        As `BayesianForceField.load`.
    NumericsError
        The Gram matrix has no posterior.
    """
    data, name = read_file(path), str(path)
    content = decode(data, name=name)
    model = BayesianForceField.from_bytes(data, name=name)
    with naming_damage(name):
        training = training_in_file(content, size=model.basis.layout.size)
    change = model.posterior.mean - training.coefficients
    features, forces, energies = model.features, [0.0], [0.0]
    for template in model.templates:
        forces += [float(np.abs(rows @ change).max()) for _, rows in features.force_rows(template)]
        energies.append(float(np.abs(features.frame_rows(template).energy @ change).max()) / len(template))
    return Examination(
        model=model,
        check_sum=content.check_sum,
        written_by=content.written_by,
        tables=table_differences(model.basis, training),
        force_difference=max(forces),
        energy_difference=max(energies),
    )
