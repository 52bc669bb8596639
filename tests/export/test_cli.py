from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from trepid.cli import export
from trepid.cli.main import run
from trepid.export import DEFAULT_KNOTS
from trepid.potentials.bayesian.force_field import BayesianForceField


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
    assert ("warning" in captured.err) == (figures["forces_rmse"] > export.GOOD_ERROR)
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
def test_export_overwrites_only_when_told(
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
    assert [row["knots"] for row in rows] == list(export.LADDER)
    errors = [row["forces_rmse"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[export.LADDER.index(DEFAULT_KNOTS)] < export.GOOD_ERROR
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.trepid").write_text("nothing")
    assert call(tmp_path / "no.trepid", "-o", tmp_path / "no.uf3") == 2
    assert "no.trepid" in capsys.readouterr().err


def test_the_default_is_that_of_the_library() -> None:
    assert inspect.signature(export.command).parameters["knots"].default == DEFAULT_KNOTS
