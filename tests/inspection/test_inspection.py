"""Corrupted labels are found and named, sound ones left in peace, and outliers hardly matter in a fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.data import read_frames
from trepid.evaluation import evaluate
from trepid.inspection import inspect_frames, inspect_labels
from trepid.potentials.bayesian import BayesianForceField

FILES = ["cui_gfn1_64.extxyz", "aggase2_gfn1_16.extxyz", "si_sw_64.extxyz", "sn_pbe_8_train.extxyz"]


@pytest.fixture(scope="module")
def cui(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "cui_gfn1_64.extxyz")[:24]


@pytest.fixture(scope="module")
def fresh(data_dir: Path) -> list[Atoms]:
    return read_frames(data_dir / "cui_gfn1_64.extxyz")[24:30]


@pytest.fixture
def frames(cui: list[Atoms]) -> list[Atoms]:
    return [atoms.copy() for atoms in cui]


@pytest.mark.parametrize("file", FILES)
def test_sound_data_have_no_findings(data_dir: Path, file: str) -> None:
    frames = read_frames(data_dir / file)
    assert inspect_frames(frames) == []
    assert inspect_frames(frames[:3]) == []


def scaled(key: str, factor: float) -> Callable[[Atoms], None]:
    def change(atoms: Atoms) -> None:
        holder = atoms.arrays if key == "REF_forces" else atoms.info
        holder[key] = factor * np.asarray(holder[key])

    return change


def per_atom(atoms: Atoms) -> None:
    atoms.info["REF_energy"] /= len(atoms)


def virial(atoms: Atoms) -> None:
    atoms.info["REF_stress"] = -atoms.get_volume() * np.asarray(atoms.info["REF_stress"])


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (scaled("REF_forces", -1), "forces have the other sign than energies and stresses demand"),
        (scaled("REF_forces", 1 / 51.422), "what energies and stresses demand .*: Hartree per Bohr instead of eV/A"),
        (scaled("REF_energy", -1), "energies have the other sign than the forces demand"),
        (
            scaled("REF_energy", 1 / 27.211),
            "energies are 0.03.* times what the forces demand .*: Hartree instead of eV",
        ),
        (scaled("REF_energy", 23.06), "energies are 2.* times what the forces demand .*: .*kcal/mol instead of eV"),
        (scaled("REF_energy", 96.485), "energies are 9.* times what the forces demand .*: kJ/mol instead of eV"),
        (per_atom, "energies are 0.01.* times what the forces demand .*: energies per atom instead of per frame"),
        (scaled("REF_stress", -1), "stresses have the other sign than the forces demand"),
        (scaled("REF_stress", 160.2), "stresses are 1.* times what the forces demand .*: GPa instead of eV/A"),
        (scaled("REF_stress", -1602), "stresses are -1.* times what the forces demand .*: kbar instead of eV/A"),
        (virial, "stresses are -V times those that the forces demand .*: virials in eV instead of stresses"),
    ],
)
def test_a_kind_that_contradicts_the_others_is_named(
    frames: list[Atoms], corrupt: Callable[[Atoms], None], message: str
) -> None:
    for atoms in frames:
        corrupt(atoms)
    (finding,) = inspect_frames(frames)
    assert finding.frame is None
    assert re.search(message, finding.message), finding.message


@pytest.mark.parametrize("sizes", [(12,), (3,), (8, 8)])
def test_groups_of_energies_are_found_whatever_their_size(frames: list[Atoms], sizes: tuple[int, ...]) -> None:
    start = 0
    for number, size in enumerate(sizes, 1):
        for k in range(start, 2 * size + start, 2):
            frames[k].info["REF_energy"] += 0.3 * number * len(frames[k])
        start = 1
    (finding,) = inspect_frames(frames)
    assert finding.message.startswith(f"energies fall into {len(sizes) + 1} groups of ")


def wrong_energy(atoms: Atoms) -> None:
    atoms.info["REF_energy"] += 20.0


def other_sign(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] *= -1


def other_atoms(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] = np.roll(atoms.arrays["REF_forces"], 2, axis=0)


def one_atom(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][5, 1] += 8.0


def other_stress(atoms: Atoms) -> None:
    atoms.info["REF_stress"] = np.asarray(atoms.info["REF_stress"]) + 0.1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_energy, "energy is \\+0.31. eV/atom from what the forces and similar frames demand"),
        (other_sign, "the forces are those that other frames demand with the other sign"),
        (other_atoms, "the forces are those that other frames demand in another order"),
        (one_atom, "the force on atom 5 .* is [78]\\S* eV/A from what other frames demand"),
        (other_stress, "the stress is 0.1.* from what forces and similar frames demand"),
    ],
)
def test_one_wrong_frame_is_named_and_hardly_matters(
    frames: list[Atoms], fresh: list[Atoms], spoil: Callable[[Atoms], None], message: str
) -> None:
    spoil(frames[7])
    found = inspect_labels(frames)
    assert [f.frame for f in found.findings if f.frame is not None] == [7] * len(found.findings)
    assert any(re.search(message, f.message) for f in found.findings), found.findings
    rest = [atoms for k, atoms in enumerate(frames) if k != 7]

    def errors(training: list[Atoms]) -> np.ndarray:
        model = BayesianForceField(["Cu", "I"], pair_cutoff=5, triplet_cutoff=4, n_pair=8, n_radial=4, l_max=1)
        figures = evaluate(model.fit(training), fresh, uncertainty="none")
        assert figures.energy_rmse_per_atom is not None
        assert figures.stress_rmse is not None
        return np.array([figures.forces_rmse, figures.energy_rmse_per_atom, figures.stress_rmse])

    assert (errors(found.weighted(frames)) < 1.15 * errors(rest)).all()
