"""`trepid label` and `trepid relax` on EMT, whose labels and crystals are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.io import read, write
from scipy.optimize import minimize_scalar

from trepid.cli.main import run
from trepid.errors import ExitCode


def campaign(folder: Path, crystal: Atoms, *, supercell: list[int], calculator: str = "emt") -> str:
    """A campaign file on this crystal."""
    write(folder / "crystal.extxyz", crystal)
    settings = {
        "structure": {"file": "crystal.extxyz", "supercell": supercell},
        "reference": {"engine": "ase", "calculator": calculator},
        "dynamics": {"stages": [{"temperature_K": 300, "duration_ps": 1}]},
        "learning": {"retries": 0},
        "output": {"directory": "run"},
    }
    (folder / "campaign.yaml").write_text(yaml.safe_dump(settings))
    return str(folder / "campaign.yaml")


def rattled(n: int) -> list[Atoms]:
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True).repeat((2, 2, 2))
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return frames


# ---- label


def test_frames_are_labelled_once_and_can_be_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    frames = rattled(4)
    frames[1].info["config_type"] = "hot"
    write(tmp_path / "frames.extxyz", frames[:3])
    write(tmp_path / "last.extxyz", frames[3])
    command = [
        "label",
        file,
        str(tmp_path / "frames.extxyz"),
        str(tmp_path / "last.extxyz"),
        "-o",
        str(tmp_path / "new"),
    ]
    assert run([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["n_new"] == 4
    assert facts["failed"] == []
    for name, frame in zip(facts["files"], frames, strict=True):
        labelled = read(name)
        frame.calc = EMT()
        np.testing.assert_allclose(labelled.arrays["REF_forces"], frame.get_forces(), atol=1e-7)
        assert labelled.info["REF_energy"] == pytest.approx(frame.get_potential_energy(force_consistent=True), abs=1e-7)
    assert read(facts["files"][1]).info["config_type"] == "hot"
    assert run([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["n_new"] == 0
    assert again["files"] == facts["files"]
    assert run(["fit", *facts["files"], "-o", str(tmp_path / "m.trepid"), "--n-pair", "8", "--n-radial", "4"]) == 0


def test_a_folder_of_other_frames_is_refused_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    frames = rattled(2)
    write(tmp_path / "a.extxyz", frames[0])
    write(tmp_path / "b.extxyz", frames[1])
    assert run(["label", file, str(tmp_path / "a.extxyz"), "-o", str(tmp_path / "new")]) == 0
    before = (tmp_path / "new" / "labels" / "label-0001.extxyz").read_bytes()
    assert run(["label", file, str(tmp_path / "b.extxyz"), "-o", str(tmp_path / "new")]) == ExitCode.INPUT
    assert "labels of frames with other structures" in capsys.readouterr().err
    assert (tmp_path / "new" / "labels" / "label-0001.extxyz").read_bytes() == before
    assert run(["label", file, str(tmp_path / "a.extxyz"), "-o", str(tmp_path)]) == ExitCode.INPUT
    assert "is not empty and holds no labels of frames" in capsys.readouterr().err


def test_frames_without_a_label_are_named_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    good, bad = rattled(1)[0], Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.01]], cell=[9, 9, 9], pbc=True)
    write(tmp_path / "frames.extxyz", [good, bad])
    command = ["label", file, str(tmp_path / "frames.extxyz"), "-o", str(tmp_path / "new"), "--json"]
    for n_new in (1, 0):
        assert run(command) == 0
        told = capsys.readouterr()
        facts = json.loads(told.out)
        assert facts["failed"] == [2]
        assert facts["n_new"] == n_new
        assert "frame 2 has no label: see" in told.err
    write(tmp_path / "bad.extxyz", bad)
    alone = ["label", file, str(tmp_path / "bad.extxyz"), "-o", str(tmp_path / "none")]
    assert run(alone) == ExitCode.LABELS


def test_frames_narrower_than_those_of_the_campaign_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one k point they belong to another electronic structure."""
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    write(tmp_path / "narrow.extxyz", bulk("Cu", cubic=True).repeat((2, 2, 1)))
    assert run(["label", file, str(tmp_path / "narrow.extxyz"), "-o", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().err
    assert "the narrowest frame is 3.6 A wide, the supercell of the campaign 7.2 A" in told
    write(tmp_path / "wide.extxyz", rattled(1))
    assert run(["label", file, str(tmp_path / "wide.extxyz"), "-o", str(tmp_path / "wide")]) == 0
    assert "narrowest" not in capsys.readouterr().err


def test_arguments_in_the_wrong_order_and_half_a_campaign_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    frames = str(tmp_path / "frames.extxyz")
    write(frames, rattled(1))
    assert run(["label", frames, file, "-o", str(tmp_path / "new")]) == ExitCode.INPUT
    assert f"trepid label {file} {frames} -o {tmp_path / 'new'}" in capsys.readouterr().err
    settings = yaml.safe_load((tmp_path / "campaign.yaml").read_text())
    del settings["structure"]
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(settings))
    assert run(["label", str(tmp_path / "half.yaml"), frames, "-o", str(tmp_path / "new")]) == ExitCode.INPUT
    assert "a campaign (dynamics, learning, output) without the section structure" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["status", "report"])
def test_a_folder_of_labels_is_not_taken_for_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    file = campaign(tmp_path, bulk("Cu", cubic=True), supercell=[2, 2, 2])
    write(tmp_path / "frames.extxyz", rattled(2))
    assert run(["label", file, str(tmp_path / "frames.extxyz"), "-o", str(tmp_path / "new")]) == 0
    capsys.readouterr()
    assert run([verb, str(tmp_path / "new")]) == ExitCode.INPUT
    assert "a folder of 'trepid label' or 'trepid relax' with 2 labels, not a learning run" in capsys.readouterr().err


# ---- relax


def emt_lattice_constant() -> float:
    """Of fcc copper, by a search of its own, A."""

    def energy(a: float) -> float:
        atoms = bulk("Cu", a=a, cubic=True).repeat((2, 2, 2))
        atoms.calc = EMT()
        return float(atoms.get_potential_energy())

    return float(minimize_scalar(energy, bounds=(3.4, 3.9), method="bounded", options={"xatol": 1e-6}).x)


def test_a_crystal_is_relaxed_to_its_lattice_constant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = campaign(tmp_path, bulk("Cu", a=3.8), supercell=[4, 4, 4])
    folder = tmp_path / "relax"
    assert run(["relax", file, "-o", str(folder), "--max-force", "1e-4", "--json"]) == 0
    captured = capsys.readouterr()
    assert "warning: the volume changed by -1" in captured.err
    facts = json.loads(captured.out)
    crystal = read(facts["crystal"])
    assert len(crystal) == 1
    assert crystal.cell.lengths()[0] * np.sqrt(2) == pytest.approx(emt_lattice_constant(), abs=1e-4)
    np.testing.assert_allclose(crystal.cell.angles(), 60, atol=1e-8)
    assert facts["spacegroup"] == "Fm-3m (225)"
    assert facts["volume_ratio"] == pytest.approx(crystal.cell.volume / (3.8**3 / 4))
    assert facts["volume_ratio"] < 0.9
    assert len(list((folder / "labels").glob("label-*.extxyz"))) == facts["n_labels"]
    # Again: read, not computed. Other settings: refused.
    assert run(["relax", file, "-o", str(folder), "--max-force", "1e-4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts
    assert run(["relax", file, "-o", str(folder), "--max-force", "1e-3"]) == ExitCode.INPUT


def test_a_relaxation_goes_on_with_more_evaluations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = campaign(tmp_path, bulk("Cu", a=3.9), supercell=[3, 3, 3])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(["relax", file, "-o", str(whole), "--json"]) == 0
    n_labels = json.loads(capsys.readouterr().out)["n_labels"]
    assert n_labels > 2
    assert run(["relax", file, "-o", str(parts), "--max-steps", "2"]) == ExitCode.NUMERICS
    told = capsys.readouterr().err
    assert "after 2 evaluations" in told
    assert "the same command with --max-steps 4 goes on" in told
    first = {path.name: path.stat().st_mtime_ns for path in (parts / "labels").glob("label-*.extxyz")}
    assert run(["relax", file, "-o", str(parts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_labels"] == n_labels
    assert all((parts / "labels" / name).stat().st_mtime_ns == written for name, written in first.items())
    np.testing.assert_array_equal(read(parts / "relaxed.extxyz").cell[:], read(whole / "relaxed.extxyz").cell[:])


def test_the_vacuum_of_a_layer_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = fcc111("Cu", (1, 1, 1), a=3.9, vacuum=6.0)
    layer.pbc = [True, True, False]
    file = campaign(tmp_path, layer, supercell=[4, 4, 1])
    assert run(["relax", file, "-o", str(tmp_path / "relax")]) == 0
    crystal = read(tmp_path / "relax" / "relaxed.extxyz")
    assert crystal.cell.lengths()[0] < layer.cell.lengths()[0] - 0.1
    np.testing.assert_allclose(crystal.cell[2], layer.cell[2], atol=1e-12)
    out = capsys.readouterr().out
    assert "a 2.7577 ->" in out
    assert "c " not in out.splitlines()[0]


def test_the_vacuum_is_kept_whichever_vector_is_along_it(tmp_path: Path) -> None:
    layer = fcc111("Cu", (1, 1, 1), a=3.9, vacuum=6.0)
    first = Atoms(layer.symbols, positions=layer.positions, cell=layer.cell[[2, 0, 1]], pbc=[False, True, True])
    file = campaign(tmp_path, first, supercell=[1, 4, 4])
    assert run(["relax", file, "-o", str(tmp_path / "relax")]) == 0
    crystal = read(tmp_path / "relax" / "relaxed.extxyz")
    assert crystal.cell.lengths()[1] < first.cell.lengths()[1] - 0.1
    np.testing.assert_allclose(crystal.cell[0], first.cell[0], atol=1e-12)


def test_positions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crystal = bulk("Cu", a=3.8, cubic=True)
    file = campaign(tmp_path, crystal, supercell=[2, 2, 2])
    assert run(["relax", file, "-o", str(tmp_path / "relax"), "--fixed-cell"]) == 0
    np.testing.assert_allclose(read(tmp_path / "relax" / "relaxed.extxyz").cell[:], crystal.cell[:], rtol=1e-12)
    assert run(["relax", file, "-o", str(tmp_path / "r2"), "--max-force", "-1"]) == ExitCode.INPUT
    assert "a force must be above 0 eV/A" in capsys.readouterr().err
