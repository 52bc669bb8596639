"""`trepid md --pressure` and `trepid analyse` on what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from ase.build import bulk


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


def test_averages_of_an_untrusted_run_are_called_extrapolation(trepid, copper: Path, tmp_path: Path) -> None:
    """By md in its last line and by analyse, as text and as JSON, with the change of the cell and with what to do."""
    wide = bulk("Cu", a=3.75, cubic=True)
    wide.write(tmp_path / "wide.extxyz")
    arguments = ["md", copper / "cu.trepid", tmp_path / "wide.extxyz", "--temperature", 200, "--pressure", 0]
    arguments += ["--pressure-time", 200, "--timestep", 3, "--steps", 250, "--repeat", 1, 2, 1, "--threshold", 1e-6]
    arguments += ["-o", tmp_path / "npt"]
    outcome = trepid(*arguments)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith(
        "This run is extrapolation, and so are its averages: 25 of 26 uncertainty checks were above the threshold"
    )
    for told in ("changed against the start", str(tmp_path / "npt" / "untrusted.extxyz"), "stage at pressure_GPa: 0."):
        assert told in outcome.out.splitlines()[-1]
    assert "do not hold the error of the model" in outcome.out
    told = json.loads(trepid(*arguments, "--json").out)
    assert told["trust"]["extrapolates"]
    assert told["trust"]["warning"] == outcome.out.splitlines()[-1]
    lengths = told["averages"]["cell"]
    assert told["trust"]["cell_change"]["lengths"][0] == pytest.approx(lengths["a_A"]["value"] / 3.75 - 1, abs=1e-6)
    assert told["cell_given"]["b_A"]["value"] == pytest.approx(lengths["b_A"]["value"] / 2)
    assert told["cell_given"]["b_A"]["value"] == pytest.approx(told["cell_given"]["a_A"]["value"], rel=1e-6)

    analysed = trepid("analyse", tmp_path / "npt", "-o", tmp_path / "a", "--cutoff", 3)
    assert "This run is extrapolation" in analysed.out
    assert "21 of 21 uncertainty checks" in analysed.out
    facts = json.loads((tmp_path / "a" / "analysis.json").read_text())["runs"][0]
    # One quantity, one bar: three frames tell the cell less well than the rows of the trace.
    assert {name: facts["cell"][name] for name in lengths} == lengths
    assert facts["cell"]["volume_A3"] == told["averages"]["volume_A3"]
    assert facts["cell_given"] == told["cell_given"]
    assert facts["trust"]["n_untrusted"] == 21
    assert "This run is extrapolation" in (tmp_path / "a" / "analysis.html").read_text()
    lines = {line.split("  ")[0]: line for line in outcome.out.splitlines()}
    rows = {line.split("  ")[0]: line for line in analysed.out.splitlines()}
    for name in ("a, b, c", "averages from"):
        assert lines[name].split()[3:] == rows[name].split()[3:]
    assert any("of the given cell" in line for line in analysed.out.splitlines())


def test_a_trusted_run_has_no_such_line_and_an_older_one_goes_on(trepid, copper: Path, tmp_path: Path) -> None:
    arguments = ["md", copper / "cu.trepid", copper / "copper.extxyz", "--temperature", 200, "--steps", 50]
    arguments += ["--repeat", 2, 1, 1, "--threshold", 100, "-o", tmp_path / "md"]
    outcome = trepid(*arguments)
    assert "extrapolation" not in outcome.out
    assert "note: the cell is 3.6 A wide, less than twice the 5 A over which atoms interact" in outcome.err
    assert "--repeat 3 3 3\n" in outcome.err
    path = tmp_path / "md" / "settings.json"
    settings = json.loads(path.read_text())
    assert (settings["guard_threshold_eV_per_A"], settings["repeat"]) == (100, [2, 1, 1])
    older = {key: value for key, value in settings.items() if key not in ("guard_threshold_eV_per_A", "repeat")}
    path.write_text(json.dumps(older))
    assert trepid("analyse", tmp_path / "md", "-o", tmp_path / "a", "--cutoff", 1.2).code == 0
    told = json.loads((tmp_path / "a" / "analysis.json").read_text())["runs"][0]
    assert (told["trust"], told["cell_given"]) == (None, None)
    assert trepid(*arguments).code == 0
    assert json.loads(path.read_text()) == settings
    path.write_text(json.dumps({**settings, "repeat": "twice"}))
    outcome = trepid("analyse", tmp_path / "md", "-o", tmp_path / "b", "--cutoff", 1.2)
    assert outcome.code == 2
    assert "settings.json: not as trepid writes it" in outcome.err


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
