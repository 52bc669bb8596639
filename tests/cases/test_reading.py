"""Inputs that users met: labels under other names, frames that get lost, steps that did not converge, files overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trepid.cli.main import run
from trepid.data import read_frames
from trepid.evaluation import Evaluation, evaluate
from trepid.potentials import load_potential

CASES = Path(__file__).parent
TRUTH = CASES / "fit_over_its_training_file" / "train.extxyz"
"""Exact labels of the model that labelled the other files of silicon."""
SIZES = ("--pair-cutoff", 5, "--triplet-cutoff", 4)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Trepid = Callable[..., Outcome]


@pytest.fixture
def trepid(capsys: pytest.CaptureFixture[str]) -> Trepid:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def fitted(trepid: Trepid, folder: Path, case: str, name: str, *options: object) -> tuple[Outcome, Evaluation]:
    """The fit of a case, and the errors of its model on the truth."""
    model = folder / "m.trepid"
    outcome = trepid("fit", CASES / case / name, "-o", model, *SIZES, *options)
    assert outcome.code == 0, outcome
    return outcome, evaluate(load_potential(model), read_frames(TRUTH))


def test_energies_under_another_name_are_named_and_have_no_noise(trepid: Trepid, tmp_path: Path) -> None:
    plain, _ = fitted(trepid, tmp_path, "energy_key_other_name", "train.extxyz")
    assert "energy: none (dft_energy looks like it: --energy-key dft_energy), forces: REF_forces in 8" in plain.err
    assert "warning: " in plain.err
    assert "no frame has an energy under REF_energy; dft_energy looks like it" in plain.err
    assert "noise of energies" not in plain.out
    assert "noise of stresses" in plain.out
    _, right = fitted(
        trepid, tmp_path, "energy_key_other_name", "train.extxyz", "--energy-key", "dft_energy", "--force"
    )
    assert right.energy_rmse_per_atom is not None
    assert right.energy_rmse_per_atom < 1e-4


def test_virials_are_converted_and_no_stress(trepid: Trepid, tmp_path: Path) -> None:
    as_stress = trepid(
        "fit", CASES / "virial_given_as_stress/train.extxyz", "-o", tmp_path / "m", "--stress-key", "REF_virial"
    )
    assert as_stress.code == 2
    assert "--virial-key REF_virial" in as_stress.err
    outcome, right = fitted(trepid, tmp_path, "virial_given_as_stress", "train.extxyz")
    assert "stress: REF_virial (a virial, converted) in 8" in outcome.err
    assert right.stress_rmse is not None
    assert right.stress_rmse < 2e-4
    assert right.forces_rmse < 1e-3


def test_check_says_what_fit_refuses(trepid: Trepid, tmp_path: Path) -> None:
    file = CASES / "check_passes_unknown_species/train.extxyz"
    found = trepid("check", file)
    assert found.code == 1
    assert "problem: species: 'X' is not a chemical element" in found.err
    assert trepid("fit", file, "-o", tmp_path / "m.trepid").code == 2


def test_frames_after_an_empty_line_are_in_every_container(trepid: Trepid, tmp_path: Path) -> None:
    folder = CASES / "blank_line_gz"
    shutil.copy(folder / "train.extxyz.gz", tmp_path / "without_suffix")
    for file in (folder / "train.extxyz", folder / "train.extxyz.gz", tmp_path / "without_suffix"):
        outcome = trepid("fit", file, "-o", tmp_path / "m.trepid", "--dry-run")
        assert outcome.code == 0
        assert f"{file}: 8 frames, 128 atoms; energy: REF_energy in 8" in outcome.err


def test_a_step_that_is_cut_off_is_said(trepid: Trepid, tmp_path: Path) -> None:
    file = CASES / "vasprun_cut_in_last_step/vasprun.xml"
    for options in ((), ("--energy-key", "energy", "--forces-key", "forces", "--stress-key", "stress")):
        outcome = trepid("fit", file, "-o", tmp_path / "m.trepid", "--dry-run", *options)
        assert outcome.code == 0
        assert "5 of 6 steps are read: the file is cut off" in outcome.err
    strict = trepid("fit", file, "-o", tmp_path / "m.trepid", "--dry-run", "--strict")
    assert strict.code == 2
    assert "--strict" in strict.err.splitlines()[-1]
    assert trepid("check", file).code == 0
    assert trepid("check", file, "--strict").code == 1


def test_a_lattice_in_lower_case_is_a_lattice(trepid: Trepid, tmp_path: Path) -> None:
    _, right = fitted(trepid, tmp_path, "lattice_lower_case", "train.xyz")
    assert right.forces_rmse < 1e-3
    assert all(frame.pbc.all() for frame in read_frames(CASES / "lattice_lower_case/train.xyz"))


def test_rounding_does_not_make_a_stress_unsymmetric(trepid: Trepid, tmp_path: Path) -> None:
    outcome = trepid("fit", CASES / "stress_near_zero_roundoff/train.extxyz", "-o", tmp_path / "m.trepid", "--dry-run")
    assert outcome.code == 0
    assert "stress: REF_stress in 8" in outcome.err


def test_atoms_that_change_their_order_are_matched_frame_by_frame(trepid: Trepid, tmp_path: Path) -> None:
    folder = CASES / "frames_permuted_si"
    model = tmp_path / "si.trepid"
    assert trepid("fit", TRUTH, "-o", model, *SIZES).code == 0
    common = (
        "anharmonicity",
        model,
        "--structure",
        folder / "POSCAR",
        "--supercell",
        2,
        2,
        2,
        "--posterior",
        0,
        "--json",
    )
    found = trepid(*common, "--trajectory", folder / "traj.extxyz", "-o", tmp_path / "out")
    assert found.code == 0
    assert found.json["sigma_a"] == pytest.approx(0.077, abs=0.005)
    assert "frames have their atoms in another order" in found.err


def test_an_input_is_never_overwritten(trepid: Trepid, tmp_path: Path) -> None:
    train = tmp_path / "train.extxyz"
    shutil.copy(TRUTH, train)
    (tmp_path / "link").symlink_to(train)
    (tmp_path / "hard").hardlink_to(train)
    (tmp_path / "sub").mkdir()
    for output in (train, tmp_path / "link", tmp_path / "hard", tmp_path / "sub/../train.extxyz"):
        for force in ((), ("--force",)):
            outcome = trepid("fit", train, "-o", output, *SIZES, *force)
            assert outcome.code == 2
            assert "is one of the inputs" in outcome.err
    assert train.read_bytes() == TRUTH.read_bytes()


def test_steps_that_did_not_converge_are_named(trepid: Trepid, tmp_path: Path) -> None:
    file = CASES / "vasprun_scf_not_converged/vasprun.xml"
    for command in (("fit", file, "-o", tmp_path / "m.trepid", "--dry-run"), ("check", file)):
        outcome = trepid(*command)
        assert outcome.code == 0
        for k in range(6):
            assert f"frame {k}: the electrons did not converge: all 40 electronic steps (NELM)" in outcome.err
        assert trepid(*command, "--strict").code in (1, 2)


def test_the_energy_is_the_one_that_the_forces_belong_to(trepid: Trepid, tmp_path: Path) -> None:
    case = "vasprun_energy_not_force_consistent"
    outcome, right = fitted(trepid, tmp_path, case, "vasprun.xml")
    assert "energy: free_energy in 6" in outcome.err
    assert right.energy_rmse_per_atom is not None
    assert right.energy_rmse_per_atom < 1e-4
    asked = ("--energy-key", "energy", "--forces-key", "forces", "--stress-key", "stress")
    hinted = trepid("fit", CASES / case / "vasprun.xml", "-o", tmp_path / "n.trepid", "--dry-run", *asked)
    assert hinted.code == 0
    assert "free_energy is there beside energy and differs from it by up to" in hinted.err
    assert "--energy-key free_energy" in hinted.err
