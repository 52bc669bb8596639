"""Every mistake is found, and sound data are left in peace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.data import CheckLimits, Labels, Level, attach_labels, check_frames, read_frames
from trepid.data.duplicates import coincident


def crystal(seed: int) -> Atoms:
    """An ordinary labelled frame: forces that cancel, energies that scatter by 10 meV/atom."""
    rng = np.random.default_rng(seed)
    atoms = bulk("CuI", "zincblende", a=6.1, cubic=True)
    atoms.rattle(0.05, rng=rng)
    forces = rng.normal(size=(8, 3))
    forces -= forces.mean(axis=0)
    return attach_labels(atoms, Labels(8 * (-3.0 + 0.01 * rng.normal()), forces, 0.01 * rng.normal(size=6)))


@pytest.fixture
def frames() -> list[Atoms]:
    return [crystal(seed) for seed in range(8)]


@pytest.mark.parametrize(
    "file", ["cui_gfn1_64.extxyz", "aggase2_gfn1_16.extxyz", "si_sw_64.extxyz", "sn_pbe_8_train.extxyz"]
)
def test_sound_data_have_no_findings(data_dir: Path, file: str) -> None:
    assert check_frames(read_frames(data_dir / file)) == []


def test_no_frames() -> None:
    (finding,) = check_frames([])
    assert finding.level is Level.ERROR
    assert finding.frame is None


def push_together(atoms: Atoms) -> None:
    atoms.positions[1] = atoms.positions[0] + [0.6, 0, 0]


def zero_some_forces(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][:4] = 0.0


def unbalance(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][:, 2] += 0.1


def large_force(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][5, 0] += 30.0
    atoms.arrays["REF_forces"][6, 0] -= 30.0


def drop_labels(atoms: Atoms) -> None:
    del atoms.arrays["REF_forces"], atoms.info["REF_energy"], atoms.info["REF_stress"]


@pytest.mark.parametrize(
    ("spoil", "level", "message"),
    [
        (push_together, Level.WARNING, r"atoms 0 \(Cu\) and 1 \(I\) are 0\.600 A apart, below 0\.5 of the sum"),
        (zero_some_forces, Level.WARNING, "forces on 4 of 8 atoms are exactly zero"),
        (unbalance, Level.WARNING, r"forces sum to 0\.800 eV/A"),
        (large_force, Level.WARNING, r"force on atom [56] is [23]\d\.\d eV/A, above 20 eV/A"),
        (drop_labels, Level.ERROR, "no label under the given keys"),
        (lambda a: a.info.update(REF_energy=-2000.0), Level.WARNING, r"eV/atom from the median of 8 frames"),
        (lambda a: a.info.update(REF_energy=np.nan), Level.ERROR, "REF_energy is nan"),
        (lambda a: a.arrays["REF_forces"].__setitem__((0, 0), np.nan), Level.ERROR, "REF_forces of atom 0"),
        (lambda a: a.info.update(REF_stress=np.full(6, 3.0)), Level.WARNING, r"\(481 GPa\): .*another unit"),
        (lambda a: a.set_cell(np.diag([6.1, 6.1, 0.0])), Level.ERROR, "periodic along c, but that cell vector is zero"),
        (lambda a: a.set_cell(np.ones((3, 3))), Level.ERROR, "cell vectors lie in one plane"),
        (lambda a: a.positions.__setitem__((2, 1), np.inf), Level.ERROR, "positions or cell are not finite"),
        (lambda a: a.set_pbc(False), Level.WARNING, "has a cell but is not periodic"),
    ],
)
def test_each_mistake_is_found_in_its_frame(
    frames: list[Atoms], spoil: Callable[[Atoms], None], level: Level, message: str
) -> None:
    assert check_frames(frames) == []
    spoil(frames[5])
    findings = [finding for finding in check_frames(frames) if finding.frame is not None]
    assert {finding.frame for finding in findings} == {5}
    import re

    assert any(finding.level is level and re.search(message, finding.message) for finding in findings)


def test_stress_without_a_volume(frames: list[Atoms]) -> None:
    molecule = frames[0]
    molecule.pbc, molecule.cell = False, np.zeros((3, 3))
    (finding,) = check_frames([molecule])
    assert finding.level is Level.ERROR
    assert "no cell volume" in finding.message
    del molecule.info["REF_stress"]
    assert check_frames([molecule]) == []


def test_label_kinds_that_only_some_frames_have(frames: list[Atoms]) -> None:
    for number in (1, 4):
        del frames[number].info["REF_stress"]
    (finding,) = check_frames(frames)
    assert finding.frame is None
    assert finding.message == "2 of 8 labelled frames have no stress, the others do: frames 1, 4"


def test_a_label_kind_missing_from_all_frames_is_no_finding(frames: list[Atoms]) -> None:
    for atoms in frames:
        del atoms.info["REF_stress"]
    assert check_frames(frames) == []


def test_mixed_periodicity(frames: list[Atoms]) -> None:
    frames[2].pbc = (True, True, False)
    (finding,) = check_frames(frames)
    assert finding.message == "periodic along ab in frames 2, along abc in 7 others"


def test_duplicates_and_contradictions(frames: list[Atoms]) -> None:
    copies = [*frames, frames[3].copy(), frames[3].copy()]
    copies[9].arrays["REF_forces"] = -copies[9].arrays["REF_forces"]
    findings = check_frames(copies)
    assert [(finding.level, finding.frame) for finding in findings] == [(Level.WARNING, 8), (Level.ERROR, 9)]
    assert findings[0].message == "same structure as frame 3: counted once"
    assert findings[1].message.startswith("same structure as frame 3, but its forces differ by up to")


def test_same_positions_of_other_elements_are_not_duplicates(frames: list[Atoms]) -> None:
    other = frames[0].copy()
    other.symbols[:] = ["Ag" if symbol == "Cu" else symbol for symbol in other.symbols]
    other.arrays["REF_forces"] *= 1.01
    other.info["REF_stress"] = 1.01 * other.info["REF_stress"]
    assert check_frames([frames[0], other]) == []


def test_supercells_are_compared_with_their_cell(frames: list[Atoms]) -> None:
    big = frames[0] * (2, 1, 1)
    big.info.update(REF_energy=2 * 8 * -3.0)
    big.rattle(0.05, seed=9)
    assert check_frames([*frames, big]) == []
    big.info.update(REF_energy=8 * -3.0)
    assert [finding.frame for finding in check_frames([*frames, big])] == [8]


def test_limits_are_obeyed(frames: list[Atoms]) -> None:
    strict = replace(CheckLimits(), max_force=0.1)
    assert len(check_frames(frames, limits=strict)) == 8


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=14), st.integers(0, 2**16))
def test_coincident_rows_are_those_of_comparing_all_pairs(rows: list[tuple[int, ...]], seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-1e-4, 1e-4, size=(len(rows), 4))
    points = np.array(rows, dtype=float) + noise
    pairs = [(i, j) for j in range(len(rows)) for i in range(j) if np.abs(points[i] - points[j]).max() <= 1e-4]
    assert coincident(points, 1e-4) == pairs
