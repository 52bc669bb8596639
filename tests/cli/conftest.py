from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from trepid.cli.main import run

CAMPAIGN = """\
structure:
  file: copper.extxyz
  supercell: [2, 2, 2]
reference:
  engine: ase
  calculator: emt
potential:
  pair_cutoff_A: 5.0
  triplet_cutoff_A: 4.0
dynamics:
  timestep_fs: 2.0
  stages:
    - {temperature_K: 300, duration_ps: 0.1}
learning:
  initial_frames: 2
  max_labels: 6
output:
  directory: run
  sample_every: 10
"""


def labelled_copper(n_frames: int, seed: int, *, displacement: float = 0.08) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.positions += rng.normal(0.0, displacement, atoms.positions.shape)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        atoms.info["REF_energy"] = energy
        atoms.arrays["REF_forces"] = forces
        frames.append(atoms)
    return frames


@pytest.fixture(scope="session")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train.extxyz, test.extxyz, a model trained on the first, and a crystal; to be read only."""
    folder = tmp_path_factory.mktemp("copper")
    write(folder / "train.extxyz", labelled_copper(6, seed=1))
    write(folder / "test.extxyz", labelled_copper(3, seed=2))
    write(folder / "copper.extxyz", bulk("Cu", cubic=True))
    arguments = ["fit", folder / "train.extxyz", "-o", folder / "cu.trepid", "--pair-cutoff", 5, "--triplet-cutoff", 4]
    assert run([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign of a second or so: copper, labelled by EMT."""
    write(tmp_path / "copper.extxyz", bulk("Cu", cubic=True))
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path
