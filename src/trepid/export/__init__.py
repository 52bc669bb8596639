"""Models in the file formats of other programs: a force field on the splines of LAMMPS' `pair_style uf3`."""

from __future__ import annotations

from trepid.export.check import ForceError, force_error, probe_frames
from trepid.export.uf3 import DEFAULT_KNOTS, UF3Potential, lammps_input, resample, write_uf3

__all__ = [
    "DEFAULT_KNOTS",
    "ForceError",
    "UF3Potential",
    "force_error",
    "lammps_input",
    "probe_frames",
    "resample",
    "write_uf3",
]
