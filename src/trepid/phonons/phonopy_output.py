"""The files of a phonon calculation as phonopy writes them, each replaced atomically."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.data.atomic import write_text_atomic

if TYPE_CHECKING:
    from phonopy import Phonopy

PARAMS, BANDS, DOS, THERMAL = "phonopy_params.yaml", "band.yaml", "total_dos.dat", "thermal_properties.yaml"
"""Files in the output directory."""


def write_phonopy_files(phonon: Phonopy, directory: Path) -> list[Path]:
    """Write force constants, bands, density of states and thermal properties of an object that has run them."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        phonon.save(
            str(there / PARAMS), settings={"force_constants": True, "force_sets": False, "displacements": False}
        )
        phonon.write_yaml_band_structure(filename=str(there / BANDS))
        phonon.write_total_dos(filename=str(there / DOS))
        phonon.write_yaml_thermal_properties(filename=str(there / THERMAL))
        for name in (PARAMS, BANDS, DOS, THERMAL):
            write_text_atomic(directory / name, (there / name).read_text(encoding="utf-8"))
    return [directory / name for name in (PARAMS, BANDS, DOS, THERMAL)]
