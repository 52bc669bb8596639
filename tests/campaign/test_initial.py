from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from trepid.campaign.start import build_crystal, initial_frames
from trepid.config import StructureSettings

AMOUNTS = {"displacement_A": 0.05, "strain": 0.02}


def test_frames_repeat_with_their_seed() -> None:
    crystal = bulk("Cu", cubic=True).repeat(3)
    first, again = (initial_frames(crystal, 4, **AMOUNTS, seed=1) for _ in range(2))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(first, again, strict=True))
    other = initial_frames(crystal, 4, **AMOUNTS, seed=2)
    assert not np.array_equal(first[0].positions, other[0].positions)
    # More frames later do not change the earlier ones.
    assert np.array_equal(initial_frames(crystal, 6, **AMOUNTS, seed=1)[3].positions, first[3].positions)


def test_displacements_have_the_given_size_and_every_second_frame_is_strained() -> None:
    crystal = bulk("Cu", cubic=True).repeat(4)
    frames = initial_frames(crystal, 4, **AMOUNTS, seed=1)
    for k, frame in enumerate(frames):
        strain = np.linalg.solve(np.array(crystal.cell), np.array(frame.cell)) - np.eye(3)
        assert np.allclose(strain, strain.T)
        assert (np.abs(strain).max() > 1e-4) == (k % 2 == 1)
        assert np.abs(strain).max() <= 0.02
        shift = frame.positions - crystal.positions @ (np.eye(3) + strain)
        assert shift.std() == pytest.approx(0.05, rel=0.1)


def test_a_sheet_is_strained_in_its_plane_only() -> None:
    sheet = graphene(size=(3, 3, 1), vacuum=8.0)
    sheet.pbc = (True, True, False)
    frame = initial_frames(sheet, 2, **AMOUNTS, seed=0)[1]
    strain = np.linalg.solve(np.array(sheet.cell), np.array(frame.cell)) - np.eye(3)
    assert np.abs(strain[2]).max() < 1e-12
    assert np.abs(strain[:, 2]).max() < 1e-12
    assert np.abs(strain).max() > 1e-4


def test_a_molecule_is_only_displaced() -> None:
    frames = initial_frames(Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), 2, **AMOUNTS, seed=0)
    assert not frames[1].cell.any()
    assert np.abs(frames[1].positions - [[0, 0, 0], [0, 0, 0.74]]).max() > 0.01


def test_crystal_is_repeated_and_bare(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["note"] = "x"
    atoms.write(tmp_path / "cu.extxyz")
    crystal = build_crystal(StructureSettings(file=tmp_path / "cu.extxyz", supercell=(2, 2, 1)))
    assert len(crystal) == 16
    assert not crystal.constraints
    assert crystal.calc is None
    assert set(crystal.arrays) == {"numbers", "positions"}
    matrix = StructureSettings.model_validate(
        {"file": tmp_path / "cu.extxyz", "supercell": [[1, 1, 0], [-1, 1, 0], [0, 0, 2]]}
    )
    assert len(build_crystal(matrix)) == 16
