from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.cli.main import run
from trepid.export import FORMATS, export_format
from trepid.export.contract import Exported, ExportFormat
from trepid.export.uf3 import DEFAULT_KNOTS
from trepid.export.uf3_format import FORMAT
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.spline_potential import SplinePotential


@pytest.fixture(scope="module")
def model_file(silicon: BayesianForceField, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "si.trepid"
    silicon.save(path)
    return path


def call(*arguments: object) -> int:
    return run(["export", *(str(argument) for argument in arguments)])


def test_export_writes_the_potential_and_its_commands(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "si.uf3"
    assert call(model_file, "--format", "uf3", "-o", file, "--knots", 3, "--json") == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert figures["file"] == str(file)
    assert figures["knots"] == 3
    assert 0 < figures["forces_mae"] < figures["forces_rmse"] < figures["forces_max"] < 0.1
    assert "wrote" in captured.err
    assert ("warning" in captured.err) == (figures["forces_rmse"] > FORMAT.good_error_eV_per_A)
    assert file.read_text().startswith("#UF3 POT")
    commands = (tmp_path / "si.uf3.in").read_text()
    assert "uf3 1 si.uf3 Si" in commands
    assert f"{1e3 * figures['forces_rmse']:.2f} meV/A" in commands


def test_export_for_people(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model_file, "-o", tmp_path / "si.uf3", "--knots", 2) == 0
    captured = capsys.readouterr()
    assert "force RMSE" in captured.out
    assert "warning: the force error is above 2 meV/A" in captured.err


@pytest.mark.parametrize("existing", ["si.uf3", "si.uf3.in"])
def test_export_overwrites_only_with_force(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], existing: str
) -> None:
    (tmp_path / existing).write_text("precious")
    assert call(model_file, "-o", tmp_path / "si.uf3", "--knots", 2) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / existing} exists")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"
    assert call(model_file, "-o", tmp_path / "si.uf3", "--knots", 2, "--force") == 0
    assert (tmp_path / existing).read_text() != "precious"


def test_dry_run_compares_knots_and_writes_nothing(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model_file, "-o", tmp_path / "si.uf3", "--dry-run", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["knots"] for row in rows] == list(FORMAT.resolution.compared)
    errors = [row["forces_rmse"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[FORMAT.resolution.compared.index(DEFAULT_KNOTS)] < FORMAT.good_error_eV_per_A
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.trepid").write_text("nothing")
    assert call(tmp_path / "no.trepid", "-o", tmp_path / "no.uf3") == 2
    assert "no.trepid" in capsys.readouterr().err


def test_the_default_is_that_of_the_library(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model_file, "-o", tmp_path / "si.uf3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["knots"] == DEFAULT_KNOTS


@pytest.mark.parametrize("knots", [1, 11])
def test_knots_out_of_range(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], knots: int) -> None:
    assert call(model_file, "-o", tmp_path / "si.uf3", "--knots", knots) == 2
    assert f"knots is {knots}; it must lie between 2 and 10" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(model_file, "-o", tmp_path / "si.uf", "--format", "uf") == 2
    assert "export format is 'uf'; known are uf3, metatomic; did you mean uf3?" in capsys.readouterr().err


def test_every_format_has_its_name_and_a_place_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    for name in FORMATS:
        assert export_format(name).name == name
        assert f"{name}:" in told


@pytest.mark.parametrize(
    ("name", "more", "told"),
    [
        ("si.yace", [], "files *.yace are of pair_style pace, which trepid export does not write: name the file *.uf3"),
        ("si.YACE", ["--format", "metatomic"], "name the file *.pt for the format metatomic"),
        (
            "si.pt",
            [],
            ".pt is the ending of metatomic, and the format is uf3: name the file *.uf3, or --format metatomic",
        ),
        ("si.trepid", [], "files *.trepid are a model of trepid"),
    ],
)
def test_the_ending_of_another_format_is_refused(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, more: list[str], told: str
) -> None:
    assert call(model_file, "-o", tmp_path / name, *more) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class _Springs(ExportFormat):
    """A second format, exact and without an input file."""

    name = "springs"
    resolution = None
    good_error_eV_per_A = 1e-9
    uncertainty = "springs have no uncertainty"

    def convert(self, potential: SplinePotential, *, resolution: int | None = None) -> Exported:
        return _Kept(potential)


class _Kept(Exported):
    def __init__(self, potential: SplinePotential) -> None:
        self.potential = potential

    def write(self, path: str | Path, *, comment: str) -> None:
        Path(path).write_text(f"# {comment}\n")

    def input_text(self, file_name: str, *, notes: Sequence[str]) -> str | None:
        return None

    def forces(self, atoms: Atoms) -> np.ndarray:
        return self.potential.evaluate(atoms).forces


def test_another_format_needs_no_change_of_the_command(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trepid.export.uf3_format.FORMAT", _Springs())
    assert call(model_file, "-o", tmp_path / "si.springs", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["forces_max"] == 0
    assert figures["input"] is None
    assert "knots" not in figures
    assert [path.name for path in tmp_path.iterdir()] == ["si.springs"]
    for extra in (["--knots", 3], ["--dry-run"]):
        assert call(model_file, "-o", tmp_path / "other", *extra) == 2
        assert f"leave {extra[0]} out" in capsys.readouterr().err
