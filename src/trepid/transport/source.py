"""What the atoms of a computation of thermal conductivity interact by: a model and draws of it, or a potential of LAMMPS."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from trepid.data.atomic import write_bytes_atomic
from trepid.errors import ConfigError, unknown_elements
from trepid.lammps.session import pair_commands
from trepid.lammps.system import System
from trepid.potentials.base import Potential

ALLOWED = ("pair_style", "pair_coeff", "pair_modify")
"""Commands of a potential of LAMMPS; everything else belongs to the computation."""
PAIR_POTENTIALS = (
    "lj",
    "buck",
    "morse",
    "born",
    "mie",
    "table",
    "zbl",
    "gauss",
    "beck",
    "yukawa",
    "soft",
    "nm",
    "ufm",
    "lennard",
)
"""Beginnings of the names of pair styles whose energy is a sum over pairs: their virial per atom is the centroid one.

LAMMPS refuses most many-body styles by itself, but takes the virial of `eam` for a sum over pairs, which it is not.
"""


class Source(ABC):
    """Interactions, as LAMMPS commands.

    Attributes
    ----------
    name : str
    n_draws : int
        Further force fields that are as plausible.
    can_draw : bool
        Whether it could have any.
    forces_error_eV_per_A : float or None
        Rms error of a force component on frames that training did not see; None where unknown.
    reach_A : float or None
        Distance up to which two atoms interact; None where unknown.
    """

    name: str
    n_draws: int = 0
    can_draw: bool = False
    forces_error_eV_per_A: float | None = None
    reach_A: float | None = None

    @abstractmethod
    def write(self, directory: Path) -> None:
        """Write the files that LAMMPS reads, unless they are there."""

    @abstractmethod
    def commands(self, system: System, directory: Path, draw: int) -> str:
        """pair_style and pair_coeff; draw 0 is the potential itself."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """What makes it this one."""

    def require(self, species: Collection[str]) -> None:  # noqa: B027 most need nothing
        """Raise DataError where it does not describe these species."""


class ModelSource(Source):
    """A Bayesian force field and draws of its posterior.

    Parameters
    ----------
    potential : Potential
    file : path
        Its file.
    n_draws, seed : int

    Raises
    ------
    ConfigError
        LAMMPS cannot run it, or it has charges.
    """

    def __init__(self, potential: Potential, file: str | Path, *, n_draws: int, seed: int) -> None:
        self._potential, self._file, self._seed = potential, Path(file), seed
        if potential.electrostatics is not None:
            raise ConfigError(
                f"{file}: a model with charges: the heat flux of its Coulomb energy is not tested; train it without charges "
                "(trepid fit --charges off)"
            )
        potential.to_bytes()  # raises where LAMMPS cannot run it
        self.name, self.n_draws, self.can_draw = self._file.name, n_draws, True
        errors = potential.left_out_forces
        self.reach_A = potential.reach
        self.forces_error_eV_per_A = None if errors is None else errors.usual  # of frames like most

    def require(self, species: Collection[str]) -> None:
        """As `Source.require`."""
        unknown = sorted(set(species) - set(self._potential.species))
        if unknown:
            raise unknown_elements(unknown, self._potential.species)

    def write(self, directory: Path) -> None:
        """As `Source.write`."""
        if not (directory / _file(0)).exists():
            write_bytes_atomic(directory / _file(0), self._potential.to_bytes())
        if self.n_draws and not all((directory / _file(k)).exists() for k in range(1, self.n_draws + 1)):
            for k, drawn in enumerate(self._potential.sample(self.n_draws, self._seed), 1):
                write_bytes_atomic(directory / _file(k), drawn.to_bytes())

    def commands(self, system: System, directory: Path, draw: int) -> str:
        """As `Source.commands`; without live directions."""
        return pair_commands((directory / _file(draw)).resolve(), system, rank=0)

    def describe(self) -> dict[str, str]:
        """As `Source.describe`."""
        return {"model_sha256": hashlib.sha256(self._file.read_bytes()).hexdigest()}


class LammpsSource(Source):
    """A potential of LAMMPS itself.

    Parameters
    ----------
    commands : str
        pair_style and pair_coeff, separated by semicolons or lines; files relative to the present folder.

    Raises
    ------
    ConfigError
        Another command, or no pair_style.
    """

    def __init__(self, commands: str) -> None:
        lines = [" ".join(line.split()) for part in commands.splitlines() for line in part.split(";") if line.strip()]
        self._lines = tuple(_with_absolute_files(line) for line in lines)
        for line in self._lines:
            if line.split()[0] not in ALLOWED:
                what = (
                    "a barostat changes the volume, and the heat flux of Green and Kubo needs a fixed one; "
                    if any(word in line for word in ("npt", "nph", "box/relax", "press/"))
                    else ""
                )
                raise ConfigError(
                    f"{line!r} does not belong here: {what}give {', '.join(ALLOWED)} alone, separated by ';'"
                )
        styles = [line.split()[1] for line in self._lines if line.startswith("pair_style ")]
        for style in styles:
            if style.split("/")[0] not in (*PAIR_POTENTIALS, "trepid") or "coul" in style:
                raise ConfigError(
                    f"pair_style {style}: the heat flux of LAMMPS is exact for pair potentials without charges and for pair_style "
                    "trepid; the conductivity of others can be had by a temperature gradient (docs/conductivity.md)"
                )
        if not styles:
            raise ConfigError('no pair_style: give such as "pair_style lj/cut 8.5; pair_coeff * * 0.0104 3.4"')
        self.name = f"pair_style {styles[-1]}"

    def write(self, directory: Path) -> None:
        """Nothing to write."""

    def commands(self, system: System, directory: Path, draw: int) -> str:
        """As `Source.commands`."""
        return "\n".join(self._lines) + "\n"

    def describe(self) -> dict[str, str]:
        """As `Source.describe`."""
        return {"commands": "; ".join(self._lines)}


def _file(draw: int) -> str:
    return "model.trepid" if draw == 0 else f"draw-{draw:02d}.trepid"


def _with_absolute_files(line: str) -> str:
    return " ".join(str(Path(word).resolve()) if Path(word).is_file() else word for word in line.split())
