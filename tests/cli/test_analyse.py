"""`trepid md --pressure` and `trepid analyse` on what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runs(copper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs at zero pressure."""
    from trepid.cli.main import run

    folder = tmp_path_factory.mktemp("runs")
    for temperature in (200, 400):
        arguments = ["md", copper / "cu.trepid", copper / "copper.extxyz", "--temperature", temperature]
        arguments += [
            "--pressure",
            0,
            "--pressure-time",
            200,
            "--timestep",
            3,
            "--steps",
            220,
            "--sample-every",
            5,
            "-o",
            folder / f"{temperature}",
        ]
        assert run([str(argument) for argument in arguments]) == 0
    return folder


def test_md_at_a_pressure_ends_with_lattice_constants(trepid, copper: Path, runs: Path) -> None:
    arguments = ["md", copper / "cu.trepid", copper / "copper.extxyz", "--temperature", 200, "--pressure", 0]
    arguments += ["--pressure-time", 200, "--timestep", 3, "--steps", 220, "--sample-every", 5, "-o", runs / "200"]
    outcome = trepid(*arguments, "--json")
    assert outcome.code == 0
    told = json.loads(outcome.out)
    assert told["already_finished"]
    assert json.loads((runs / "200" / "settings.json").read_text())["thermostat"] == "nose-hoover"
    assert told["averages"]["cell"]["a_A"]["value"] == pytest.approx(3.6, rel=0.05)
    assert told["averages"]["volume_A3"]["error"] > 0
    assert "a, b, c" in trepid(*arguments).out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--barostat", "full"], "give --pressure too"),
        (["--pressure", 0, "--thermostat", "langevin"], "a pressure needs the thermostat nose-hoover, not langevin"),
    ],
)
def test_wrong_options_of_the_barostat(trepid, copper: Path, tmp_path: Path, more: list[object], message: str) -> None:
    outcome = trepid(
        "md", copper / "cu.trepid", copper / "copper.extxyz", "--temperature", 200, "-o", tmp_path / "md", *more
    )
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "md").exists()


def test_runs_are_analysed_with_expansion_events_and_equation_of_state(
    trepid, copper: Path, runs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "analysis"
    arguments = ["analyse", runs / "200", runs / "400", "-o", output, "--cutoff", 5, "--figures"]
    arguments += ["--structure", copper / "copper.extxyz", "--model", copper / "cu.trepid"]
    outcome = trepid(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert [run["formula"] for run in told["runs"]] == ["Cu", "Cu"]
    assert told["runs"][0]["thermodynamics"]["target_temperature_K"] == 200
    assert told["expansion"]["temperatures_K"] == [200, 400]
    assert told["equation_of_state"]["volume_A3"]["value"] == pytest.approx(47, rel=0.2)
    assert told["events"]["classes"] == []
    assert told["runs"][0]["rdf"][0]["coordination"]["value"] == pytest.approx(12, abs=0.5)
    page = (output / "analysis.html").read_text()
    for title in (
        "Cell, temperature and pressure",
        "Structure",
        "Diffusion",
        "Thermal expansion",
        "Equation of state",
        "Events",
    ):
        assert title in page
    assert "#01020" not in page
    assert json.loads((output / "analysis.json").read_text())["runs"] == told["runs"]
    with (output / "cell.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"200", "400"}
    names = {path.name for path in (output / "figures").iterdir()}
    assert {"rdf-1.png", "rdf-1.pdf", "rdf-1.csv", "msd-2.csv", "eos.csv", "temperature-pressure-1.csv"} <= names
    with (output / "figures" / "eos.csv").open() as file:
        energies = [float(row["y"]) for row in csv.DictReader(file) if row["series"] == "model"]
    assert len(energies) == 11
    assert min(energies) == 0.0
    again = trepid(*arguments)
    assert again.code == 2
    assert "exists; give another name, or --force" in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.extxyz"], "nothing.extxyz"),
        (["."], "holds no trajectory (trajectory.extxyz or trajectory.lammpstrj)"),
        (["t.extxyz", "--model", "m.trepid"], "--model needs the crystal: give --structure CRYSTAL"),
        (["t.extxyz", "--bin", "1"], "ten bins or more"),
    ],
)
def test_wrong_input_is_one_line(
    trepid, copper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.extxyz").write_bytes((copper / "test.extxyz").read_bytes())
    outcome = trepid("analyse", *arguments, "--interval", 10)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "analysis").exists()
