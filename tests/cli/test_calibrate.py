"""`trepid calibrate` and `trepid fit --weight`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from command_line import Trepid
from trepid.potentials.bayesian import BayesianForceField

SIZES = (
    "--pair-cutoff",
    4.5,
    "--triplet-cutoff",
    3,
    "--n-pair",
    10,
    "--n-radial",
    4,
    "--l-max",
    1,
    "--channels",
    0,
    "--no-check",
)


@pytest.fixture(scope="module")
def strained(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames with displacements twice as large as those of the training frames."""
    path = tmp_path_factory.mktemp("strained") / "hot.extxyz"
    rng, frames = np.random.default_rng(9), []
    for _ in range(3):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.positions += rng.normal(0.0, 0.2, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    write(path, frames)
    return path


def test_the_new_file_has_the_factor_and_the_old_one_stays(
    trepid: Trepid, copper: Path, strained: Path, tmp_path: Path
) -> None:
    old, new = copper / "cu.trepid", tmp_path / "hot.trepid"
    before = old.read_bytes()
    outcome = trepid("calibrate", old, strained, "-o", new, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert found["n_frames"] == 3
    assert found["n_labels"] == {"energy": 3, "forces": 288}
    assert found["factors"]["energy"] == found["factors"]["forces"] == pytest.approx(found["species"]["Cu"], rel=1e-3)
    assert found["after"]["forces_coverage_95"] == pytest.approx(0.95, abs=0.01)
    assert found["before"]["forces_coverage_95"] < found["after"]["forces_coverage_95"]
    assert old.read_bytes() == before
    assert BayesianForceField.load(new).calibration is not None
    assert "calibrated" in trepid("check", new).out
    again = trepid("calibrate", new, strained, "-o", tmp_path / "again.trepid", "--json")
    assert "calibrated on 3 frames before; that factor is replaced" in again.err
    assert again.json["factors"] == found["factors"]
    figures = trepid("evaluate", new, strained, "--no-check", "--json").json
    assert figures["forces_coverage_95"] == pytest.approx(found["after"]["forces_coverage_95"])
    table = trepid("calibrate", old, strained, "-o", new, "--force")
    assert table.code == 0
    assert "288 labels of 3 frames" in table.out


def test_what_calibrate_refuses(trepid: Trepid, copper: Path, strained: Path, tmp_path: Path) -> None:
    model, new = copper / "cu.trepid", tmp_path / "new.trepid"
    train = read(copper / "train.extxyz", ":")
    hot = read(strained, ":")
    hot[1].arrays["REF_forces"][3] = np.nan
    write(tmp_path / "one.extxyz", hot[:1])
    write(tmp_path / "nan.extxyz", hot)
    write(tmp_path / "known.extxyz", [hot[0], train[2]])
    new.write_text("mine")
    for arguments, message in (
        ((model, strained, "-o", model), "is one of the inputs"),
        ((model, strained, "-o", new), "exists; give another name, or --force"),
        ((model, tmp_path / "nan.extxyz", "-o", tmp_path / "x"), "frame 1"),
    ):
        assert message in trepid("calibrate", *arguments).error
    for name, message in (
        ("one", "a factor needs 2 frames"),
        ("known", "frame 1 (counted from 0) is a training frame"),
    ):
        outcome = trepid("calibrate", model, tmp_path / f"{name}.extxyz", "-o", tmp_path / "x")
        assert outcome.code == 2
        assert message in outcome.last_line
    assert not (tmp_path / "x").exists()
    assert new.read_text() == "mine"


def test_weights_are_in_the_settings_and_come_again_with_them(trepid: Trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "train.extxyz", ":")
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "hot phase" if k < 2 else "crystal"
    write(tmp_path / "train.extxyz", frames)
    fit = ("fit", tmp_path / "train.extxyz", *SIZES)
    outcome = trepid(*fit, "-o", tmp_path / "a.trepid", "--weight", "hot phase=9", "--weight", "crystal=0.5")
    assert outcome.code == 0, outcome.err
    assert "weights: hot phase 9, crystal 0.5" in outcome.err
    settings = tmp_path / "a.trepid.settings.yaml"
    assert yaml.safe_load(settings.read_text())["weights"] == {"hot phase": 9.0, "crystal": 0.5}
    assert trepid("fit", "--settings", settings, "-o", tmp_path / "b.trepid").code == 0
    assert (tmp_path / "a.trepid").read_bytes() == (tmp_path / "b.trepid").read_bytes()
    for weight, message in (
        ("hot phase", "--weight hot phase: give a config_type and a positive number, such as --weight melt=0.5"),
        ("crystal=-1", "--weight crystal=-1: give a config_type and a positive number"),
    ):
        assert message in trepid(*fit, "-o", tmp_path / "d.trepid", "--weight", weight).error
    unknown = trepid(*fit, "-o", tmp_path / "d.trepid", "--weight", "cristal=2")
    assert (unknown.code, "did you mean 'crystal'?" in unknown.last_line) == (2, True)
