"""What a file format offers to `trepid export`: conversion of a model, the files, and forces to measure the conversion by.

Vocabulary
----------
resolution     a whole number that trades the error of the conversion against the size of the file, such as the number of knots
input          a second file with the commands of the other program that use the first
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.arrays import FloatArray
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.potentials.bayesian.spline_potential import SplinePotential


@dataclass(frozen=True)
class Resolution:
    """The resolution of a format.

    Attributes
    ----------
    name : str
        In options, messages and JSON.
    default, least, most : int
    compared : tuple of int
        Values that `trepid export --dry-run` compares.
    """

    name: str
    default: int
    least: int
    most: int
    compared: tuple[int, ...]

    def checked(self, value: int | None) -> int:
        """The value, or the default.

        Raises
        ------
        ConfigError
            It is out of range.
        """
        chosen = self.default if value is None else value
        if not self.least <= chosen <= self.most:
            raise ConfigError(f"{self.name} is {chosen}; it must lie between {self.least} and {self.most}")
        return chosen


class Exported(ABC):
    """A model converted to a format, not yet written."""

    @abstractmethod
    def write(self, path: str | Path, *, comment: str) -> None:
        """Write the potential file, atomically; `comment` is one line about its origin."""

    @abstractmethod
    def input_text(self, file_name: str, *, notes: Sequence[str]) -> str | None:
        """Commands of the other program that use the potential file of this name; None where none are needed.

        `notes` are comment lines to begin with.
        """

    @abstractmethod
    def forces(self, atoms: Atoms) -> FloatArray:
        """Forces as the other program computes them from the file, (n_atoms, 3), eV/A."""


class ExportFormat(ABC):
    """A file format that the mean of a Bayesian force field can be written in.

    Attributes
    ----------
    name : str
        As in `trepid.export.FORMATS`.
    resolution : Resolution or None
        None for a format that holds a model exactly.
    good_error_eV_per_A : float
        Force error (RMSE) above which a better resolution is advised.
    uncertainty : str
        What becomes of the force uncertainty, as a sentence for the user.
    """

    name: str
    resolution: Resolution | None
    good_error_eV_per_A: float
    uncertainty: str

    @abstractmethod
    def convert(self, potential: SplinePotential, *, resolution: int | None = None) -> Exported:
        """Convert a force field: the `mean` of a BayesianForceField, or one of its samples.

        Raises
        ------
        ConfigError
            The resolution is out of range, or the format has no room for this force field.
        """

    def input_path(self, path: Path) -> Path:
        """Where the input is written for a potential file."""
        return path.with_name(path.name + ".in")
