"""The settings file beside a model: the same fit again, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from trepid.cli.main import run
from trepid.config import FitSettings

SIZES = ("--pair-cutoff", 4.5, "--triplet-cutoff", 3, "--n-pair", 12, "--n-radial", 5, "--l-max", 2)


@pytest.fixture(scope="module")
def fitted_once(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted")
    shutil.copy(copper / "train.extxyz", folder)
    arguments = ["fit", folder / "train.extxyz", "-o", folder / "cu.trepid", *SIZES, "--seed", 3]
    assert run([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def fitted(fitted_once: Path, tmp_path: Path) -> Path:
    """Folder with train.extxyz, cu.trepid and its settings, where the frames are named relative to it."""
    shutil.copytree(fitted_once, tmp_path / "fitted")
    return tmp_path / "fitted"


def changed(folder: Path, change) -> Path:
    data = yaml.safe_load((folder / "cu.trepid.settings.yaml").read_text())
    change(data)
    (folder / "changed.yaml").write_text(yaml.safe_dump(data))
    return folder / "changed.yaml"


def test_the_settings_give_the_same_model_again_also_in_another_folder(trepid, fitted: Path) -> None:
    settings = fitted / "cu.trepid.settings.yaml"
    outcome = trepid("fit", "--settings", settings, "-o", fitted / "again.trepid", "--json")
    assert outcome.code == 0, outcome.err
    assert (fitted / "again.trepid").read_bytes() == (fitted / "cu.trepid").read_bytes()
    first, again = (FitSettings.read(fitted / f"{name}.trepid.settings.yaml") for name in ("cu", "again"))
    assert again.model_copy(update={"command": first.command}) == first
    assert first.train[0].file == fitted / "train.extxyz"
    assert (first.potential.n_pair, first.seed) == (12, 3)


def test_a_fit_with_a_search_is_repeated_without_one(trepid, copper: Path, tmp_path: Path) -> None:
    options = ("--triplet-cutoff", 3, "--n-radial", 5, "--l-max", 2, "--speed", "balanced")
    outcome = trepid("fit", copper / "train.extxyz", "-o", tmp_path / "cu.trepid", *options)
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["step", "cost", "evidence", "left", "out", "typical", "hottest"]
    assert (lines[1].split()[0], lines[1].split()[-1]) == ("start", "accepted")
    assert sum(line.startswith("pair cutoff 6 -> ") for line in lines) == 3
    assert any(line.startswith("sizes ") and "triplets to 3 A in 5, degree 2" in line for line in lines)
    assert "pair cutoff 6 -> 8 A" in outcome.err
    again = trepid("fit", "--settings", tmp_path / "cu.trepid.settings.yaml", "-o", tmp_path / "again.trepid", "--json")
    assert again.json["steps"] == []
    assert again.json["sizes"]["triplet_cutoff"] == 3
    assert (tmp_path / "again.trepid").read_bytes() == (tmp_path / "cu.trepid").read_bytes()


def test_settings_are_not_overwritten(trepid, copper: Path, tmp_path: Path) -> None:
    (tmp_path / "cu.trepid.settings.yaml").write_text("precious")
    assert (
        "cu.trepid.settings.yaml exists" in trepid("fit", copper / "train.extxyz", "-o", tmp_path / "cu.trepid").error
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "cu.trepid.settings.yaml"]


def test_other_training_frames_are_refused(trepid, fitted: Path) -> None:
    text = (fitted / "train.extxyz").read_text()
    (fitted / "train.extxyz").write_text(text + "\n")
    error = trepid("fit", "--settings", fitted / "cu.trepid.settings.yaml", "-o", fitted / "again.trepid").error
    assert "train.extxyz has changed" in error
    assert not (fitted / "again.trepid").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data.update(sead=1), "sead: unknown key; did you mean 'seed'?"),
        (lambda data: data["potential"].update(n_radal=8), "potential.n_radal: unknown key; did you mean 'n_radial'?"),
        (lambda data: data.update(dynamics={}), "dynamics: unknown key"),
        (lambda data: data["potential"].update(n_pair=3), "potential.n_pair: 3"),
        (lambda data: data["start"].update(pair_width=1.0), "start.pair_width: this key is unknown"),
        (lambda data: data["start_noise"].pop("forces"), "start_noise.forces: this key is missing"),
        (lambda data: data["priors"]["pair_length"].update(mode=2.0), "priors.pair_length: the file was written with"),
        (lambda data: data.pop("train"), "train: this key is missing"),
    ],
)
def test_wrong_settings_are_named(trepid, fitted: Path, change, expected: str) -> None:
    error = trepid("fit", "--settings", changed(fitted, change), "-o", fitted / "again.trepid").error
    assert expected in error
    assert "changed.yaml" in error


@pytest.mark.parametrize("option", [("--seed", 1), ("--n-pair", 10), ("--speed", "fast"), ("train.extxyz",)])
def test_settings_stand_alone(trepid, fitted: Path, option: tuple[object, ...]) -> None:
    settings = fitted / "cu.trepid.settings.yaml"
    error = trepid("fit", *option, "--settings", settings, "-o", fitted / "again.trepid").error
    assert "cannot be given with --settings" in error
    assert ("TRAIN" if option == ("train.extxyz",) else option[0]) in error


def test_a_missing_settings_file_and_missing_frames(trepid, tmp_path: Path) -> None:
    assert "no such settings file" in trepid("fit", "--settings", tmp_path / "no.yaml", "-o", tmp_path / "m").error
    assert "--settings" in trepid("fit", "-o", tmp_path / "m").error
