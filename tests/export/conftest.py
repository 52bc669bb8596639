from __future__ import annotations

import re
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.io import write

from trepid.data import read_frames
from trepid.export.uf3 import UF3Potential, lammps_input, write_uf3
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian.force_field import BayesianForceField

LMP = Path(sysconfig.get_path("scripts")) / "lmp"
INPUT = """\
units metal
atom_style atomic
boundary {boundary}
read_data atoms.data
include exported.in
thermo_style custom pe pxx pyy pzz pyz pxz pxy
thermo_modify format float %.15g norm no
run 0
write_dump all custom forces.dump id fx fy fz modify sort id format float %.15g
"""
BAR = 1e-4 / 160.21766208
"""eV/A^3."""


@pytest.fixture(scope="session")
def silicon(data_dir: Path) -> BayesianForceField:
    """One species, default sizes."""
    return BayesianForceField(["Si"], n_threads=1).fit(read_frames(data_dir / "si_sw_64.extxyz"))


@pytest.fixture(scope="session")
def cuprous_iodide(data_dir: Path) -> BayesianForceField:
    """Two species, a small model with cutoffs of its own."""
    model = BayesianForceField(
        ["Cu", "I"], pair_cutoff=5.5, triplet_cutoff=4.5, n_pair=15, n_radial=6, l_max=3, live_rank=0, n_threads=1
    )
    return model.fit(read_frames(data_dir / "cui_gfn1_64.extxyz", index="::6"))


@dataclass(frozen=True)
class LammpsResult:
    """Energy (eV), forces (eV/A) and stress (Voigt, eV/A^3, tension positive)."""

    energy: float
    forces: FloatArray
    stress: FloatArray


Lammps = Callable[[UF3Potential, Atoms], LammpsResult]


@pytest.fixture
def lammps(tmp_path: Path) -> Lammps:
    """Evaluate an exported potential with LAMMPS, through the files that a user gets."""
    if not LMP.exists():
        pytest.skip("needs the executable lmp of the package lammps")

    def evaluate(potential: UF3Potential, atoms: Atoms) -> LammpsResult:
        write_uf3(tmp_path / "exported.uf3", potential)
        (tmp_path / "exported.in").write_text(lammps_input(potential, "exported.uf3"))
        prism = Prism(atoms.cell[:], pbc=atoms.pbc)
        write(
            tmp_path / "atoms.data", atoms, format="lammps-data", specorder=list(potential.species), atom_style="atomic"
        )
        boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
        (tmp_path / "in.run").write_text(INPUT.format(boundary=boundary))
        done = subprocess.run(
            [LMP, "-in", "in.run", "-log", "none"], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        thermo = re.search(r"PotEng.*\n(.*)\n", done.stdout)
        assert thermo, done.stdout
        energy, *pressure = (float(word) for word in thermo.group(1).split())
        forces = np.loadtxt(tmp_path / "forces.dump", skiprows=9, ndmin=2)[:, 1:]
        xx, yy, zz, yz, xz, xy = pressure
        stress = -BAR * prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
        return LammpsResult(energy, prism.vector_to_ase(forces), stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])

    return evaluate
