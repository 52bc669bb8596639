"""Inputs that users met: labels under other names, frames that get lost, steps that did not converge, files overwritten."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import trepid as trepid_package
from code_outputs import crystal, deepmd
from command_line import Outcome, Trepid
from trepid import BayesianForceField
from trepid.data import labels_of, read_frames, write_frames
from trepid.data.frames import bare_copy
from trepid.evaluation import Evaluation, evaluate
from trepid.potentials import load_potential

CASES = Path(__file__).parent
TRUTH = CASES / "fit_over_its_training_file" / "train.extxyz"
"""Exact labels of the model that labelled the other files of silicon."""
SIZES = ("--pair-cutoff", 5, "--triplet-cutoff", 4)


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
    assert "residual noise of energies" not in plain.out
    assert "residual noise of stresses" in plain.out
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


def test_no_figure_for_a_kind_of_label_that_is_not_there(trepid: Trepid, tmp_path: Path) -> None:
    frames = read_frames(TRUTH)
    for frame in frames:
        del frame.info["REF_stress"], frame.info["REF_energy"]
    write_frames(tmp_path / "forces.extxyz", frames)
    model = tmp_path / "m.trepid"
    outcome = trepid("fit", tmp_path / "forces.extxyz", "-o", model, *SIZES, "--json")
    assert outcome.code == 0
    assert outcome.json["noise_energy"] is None
    assert outcome.json["noise_stress"] is None
    assert outcome.json["noise_forces"] > 0
    told = trepid("evaluate", model, tmp_path / "forces.extxyz")
    assert "energy: none, forces: REF_forces in 8, stress: none" in told.err
    assert "energy" not in told.out
    assert "stress" not in told.out
    figures = trepid("evaluate", model, tmp_path / "forces.extxyz", "--json").json
    assert figures["energy_rmse_per_atom"] is None
    assert figures["stress_rmse"] is None
    assert figures["forces_rmse"] < 0.01


@pytest.mark.parametrize("role", ["test", "--ood", "--calibrate-on"])
def test_every_file_of_evaluate_is_told_and_checked(trepid: Trepid, tmp_path: Path, role: str) -> None:
    model = tmp_path / "m.trepid"
    assert trepid("fit", TRUTH, "-o", model, *SIZES).code == 0
    doubtful = CASES / "vasprun_scf_not_converged/vasprun.xml"
    files = (doubtful,) if role == "test" else (TRUTH, role, doubtful)
    warned = trepid("evaluate", model, *files)
    assert warned.code == 0
    assert f"warning: {doubtful}: frame 0: the electrons did not converge" in warned.err
    strict = trepid("evaluate", model, *files, "--strict")
    assert strict.code == 2
    assert strict.out == ""


def test_checks_can_be_left_out(trepid: Trepid, tmp_path: Path) -> None:
    frames = read_frames(TRUTH)
    frames.append(frames[0])
    write_frames(tmp_path / "twice.extxyz", frames)
    arguments = ("fit", tmp_path / "twice.extxyz", "-o", tmp_path / "m.trepid", "--dry-run")
    assert "same structure as frame 0" in trepid(*arguments).err
    assert trepid(*arguments, "--strict").code == 2
    left_out = trepid(*arguments, "--no-check", "--strict")
    assert left_out.code == 0
    assert "warning" not in left_out.err


def test_findings_of_one_kind_are_shortened(trepid: Trepid, tmp_path: Path) -> None:
    frames = read_frames(TRUTH) * 3
    for k, frame in enumerate(frames):
        frames[k] = frame.copy()
        frames[k].positions += 0.01 * k
        frames[k].arrays["REF_forces"] = frame.arrays["REF_forces"] + 0.02
    write_frames(tmp_path / "a.extxyz", frames)
    told = trepid("fit", tmp_path / "a.extxyz", "-o", tmp_path / "m.trepid", "--dry-run").err.splitlines()
    assert sum("forces sum to" in line for line in told) == 10
    assert any(line.endswith("... and 14 more of this kind") for line in told)


def test_the_settings_of_a_fit_give_the_same_model_from_any_names(trepid: Trepid, tmp_path: Path) -> None:
    shutil.copy(CASES / "vasprun_energy_not_force_consistent/vasprun.xml", tmp_path / "vasprun.xml")
    first = trepid("fit", tmp_path / "vasprun.xml", "-o", tmp_path / "a.trepid", *SIZES, "--json").json
    again = trepid("fit", "--settings", tmp_path / "a.trepid.settings.yaml", "-o", tmp_path / "b.trepid", "--json")
    assert "energy: free_energy in 6" in again.err
    assert again.json["log_evidence"] == first["log_evidence"]
    assert (
        trepid("fit", "--settings", tmp_path / "a.trepid.settings.yaml", "-o", tmp_path / "a.trepid", "--force").code
        == 2
    )


def test_outputs_of_other_verbs_never_replace_their_inputs(trepid: Trepid, tmp_path: Path) -> None:
    model = tmp_path / "m.trepid"
    assert trepid("fit", TRUTH, "-o", model, *SIZES).code == 0
    before = model.read_bytes()
    (tmp_path / "link.uf3").symlink_to(model)
    crystal = tmp_path / "POSCAR"
    shutil.copy(CASES / "frames_permuted_si/POSCAR", crystal)
    for command in (
        ("export", model, "-o", model, "--force"),
        ("export", model, "-o", tmp_path / "link.uf3", "--force"),
        ("init", crystal, "-o", crystal),
    ):
        outcome = trepid(*command)
        assert outcome.code == 2
        assert "is one of the inputs" in outcome.err
    assert model.read_bytes() == before
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(CASES / "frames_permuted_si/traj.extxyz", out / "labels.extxyz")
    common = ("anharmonicity", model, "--structure", crystal, "--supercell", 2, 2, 2, "-o", out, "--force")
    outcome = trepid(*common, "--trajectory", out / "labels.extxyz")
    assert outcome.code == 2
    assert "is one of the inputs" in outcome.err
    shutil.copy(crystal, out / "trajectory.extxyz")
    assert trepid("md", model, out / "trajectory.extxyz", "-o", out, "--temperature", 300).code == 2


def test_labels_of_single_point_calculators_train_a_model(tmp_path: Path) -> None:
    frames = []
    for frame in read_frames(TRUTH):
        labels = labels_of(frame)
        atoms = bare_copy(frame)
        atoms.calc = SinglePointCalculator(atoms, energy=labels.energy, forces=labels.forces, stress=labels.stress)
        frames.append(atoms)
    model = trepid_package.fit(frames, pair_cutoff=5.0, triplet_cutoff=4.0)
    assert set(model.statistics.kinds) == set(
        trepid_package.fit(read_frames(TRUTH), pair_cutoff=5.0, triplet_cutoff=4.0).statistics.kinds
    )
    assert trepid_package.evaluate(model, frames).forces_rmse < 1e-3
    assert BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=4.0).fit(frames).n_frames == 8


def test_a_folder_of_deepmd_data_trains_a_model_and_repeats_it(trepid: Trepid, tmp_path: Path) -> None:
    deepmd(tmp_path / "data", [crystal(seed) for seed in range(3)])
    first = trepid("fit", tmp_path / "data", "-o", tmp_path / "a.trepid", *SIZES, "--json")
    assert first.code == 0
    assert (
        "3 frames, 6 atoms; energy: energy in 3, forces: forces in 3, stress: virial (a virial, converted)" in first.err
    )
    settings = tmp_path / "a.trepid.settings.yaml"
    again = trepid("fit", "--settings", settings, "-o", tmp_path / "b.trepid", "--json")
    assert again.json["log_evidence"] == first.json["log_evidence"]
    (tmp_path / "data/type_map.raw").write_text("Br\nCu\n")
    assert "has changed" in trepid("fit", "--settings", settings, "-o", tmp_path / "c.trepid").err


def test_frames_without_a_cell_among_others_are_said(trepid: Trepid, tmp_path: Path) -> None:
    frames = read_frames(TRUTH)
    for k in (2, 5):
        frames[k].cell[:] = 0.0
        frames[k].pbc = False
        del frames[k].info["REF_stress"]
    write_frames(tmp_path / "a.extxyz", frames)
    told = trepid("fit", tmp_path / "a.extxyz", "-o", tmp_path / "m.trepid", "--dry-run", "--no-check")
    assert "not periodic: frames 2, 5" in told.err


def test_an_unsorted_dump_of_lammps_is_in_order(trepid: Trepid, tmp_path: Path) -> None:
    """LAMMPS writes atoms as its processes come; the numbers of the atoms say which is which."""
    frames = read_frames(CASES / "frames_permuted_si/traj.extxyz", require=())[:1] * 3
    rng = np.random.default_rng(0)
    text = ""
    for k, frame in enumerate(frames):
        positions = frame.positions + rng.normal(0.0, 0.02, frame.positions.shape)
        text += f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n"
        text += "".join(f"0.0 {length:.10f}\n" for length in frame.cell.lengths())
        text += "ITEM: ATOMS id type element x y z\n"
        for atom in rng.permutation(len(frame)):
            text += f"{atom + 1} 1 Si {' '.join(f'{value:.10f}' for value in positions[atom])}\n"
    (tmp_path / "md.lammpstrj").write_text(text)
    found = read_frames(tmp_path / "md.lammpstrj", require=())
    assert [str(frame.symbols[0]) for frame in found] == ["Si"] * 3
    for frame in found:
        assert np.abs(frame.positions - frames[0].positions).max() < 0.2
    (tmp_path / "cut.lammpstrj").write_text(text[: int(0.9 * len(text))])
    told = trepid("check", tmp_path / "cut.lammpstrj")
    assert told.code != 0 or "cut off" in told.err


@pytest.mark.parametrize("name", ["pipe.extxyz", "pipe.yaml", "pipe.trepid", "pipe"])
def test_no_verb_waits_for_a_pipe(trepid: Trepid, tmp_path: Path, name: str) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    for command in (
        ("check", pipe),
        ("fit", pipe, "-o", tmp_path / "m.trepid"),
        ("fit", "--settings", pipe, "-o", tmp_path / "m.trepid"),
        ("evaluate", pipe, TRUTH),
        ("md", pipe, TRUTH, "-o", tmp_path / "md", "--temperature", 300),
        ("export", pipe, "-o", tmp_path / "m.uf3"),
        ("learn", pipe),
        ("init", pipe, "-o", tmp_path / "c.yaml"),
    ):
        outcome = trepid(*command)
        assert outcome.code == 2, command
        assert name in outcome.err
