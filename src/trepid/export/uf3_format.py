"""The format uf3: the mean of a Bayesian force field for LAMMPS' `pair_style uf3`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.arrays import FloatArray
from trepid.export.contract import Exported, ExportFormat, Resolution
from trepid.export.uf3 import DEFAULT_KNOTS, KNOTS_RANGE, UF3Potential, lammps_input, resample, write_uf3
from trepid.export.uf3_forces import evaluate

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.bayesian.spline_potential import SplinePotential


@dataclass(frozen=True)
class UF3Export(Exported):
    """A force field on the splines of a uf3 file."""

    potential: UF3Potential

    def write(self, path: str | Path, *, comment: str) -> None:
        """As `write_uf3`."""
        write_uf3(path, self.potential, comment=comment)

    def input_text(self, file_name: str, *, notes: Sequence[str]) -> str | None:
        """As `lammps_input`."""
        return lammps_input(self.potential, file_name, notes=notes)

    def forces(self, atoms: Atoms) -> FloatArray:
        """Forces of the splines and of `pair_style zbl`, (n_atoms, 3), eV/A."""
        return evaluate(self.potential, atoms)[1]


class UF3Format(ExportFormat):
    """Knots are intervals on a leg per interval of the model's radial splines; see `trepid.export.uf3`."""

    name = "uf3"
    resolution = Resolution("knots", DEFAULT_KNOTS, *KNOTS_RANGE, compared=(2, 3, 4, 5, 6))
    good_error_eV_per_A = 2e-3
    uncertainty = "the file holds the mean alone: pair_style trepid gives the uncertainty"

    def convert(self, potential: SplinePotential, *, resolution: int | None = None) -> UF3Export:
        """As `resample`."""
        return UF3Export(resample(potential, knots=self.resolution.checked(resolution)))


FORMAT = UF3Format()
