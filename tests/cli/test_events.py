from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from trepid.data.frames import write_frames
from trepid.events.sites import Sites

COPPER = bulk("Cu", cubic=True).repeat(2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trajectory of copper with a vacancy-interstitial pair from frame 60 to 100, and its cells."""
    path = tmp_path_factory.mktemp("events")
    sites = Sites.of(COPPER)
    hole = min(range(32, sites.n_sites), key=lambda k: (round(sites.distance(7, k), 3), k))
    step = (sites.positions[hole] - sites.positions[7]) @ np.linalg.inv(sites.cell)
    step = (step - np.rint(step)) @ sites.cell
    rng = np.random.default_rng(0)
    frames = []
    for k in range(160):
        atoms = Atoms(COPPER.symbols, positions=COPPER.positions, cell=COPPER.cell, pbc=True)
        atoms.positions[7] += step * np.clip((k - 60) / 2, 0, 1) * np.clip((102 - k) / 2, 0, 1)
        atoms.positions += rng.normal(0, 0.06, (32, 3))
        atoms.info["time_fs"] = 20.0 * k
        frames.append(atoms)
    write_frames(path / "md.extxyz", frames)
    ase.io.write(path / "cell.extxyz", bulk("Cu", cubic=True))
    return path


def test_page_tables_and_paths(trepid, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    outcome = trepid("events", folder / "md.extxyz", "--structure", folder / "cell.extxyz", "-o", out)
    assert outcome.code == 0, outcome.err
    assert re.search(r"1 +frenkel Cu: Cu -> empty .* A +1 ", outcome.out)
    assert "Poisson" in outcome.out
    assert "not measured: --model, or --phonopy and forces in the trajectory, give it" in outcome.out
    assert "repeated to 2 x 2 x 2" in outcome.err
    rows = list(csv.DictReader((out / "events.csv").open()))
    assert [(row["kind"], row["atoms"]) for row in rows] == [("frenkel", "7"), ("recombination", "7")]
    assert [row["count"] for row in csv.DictReader((out / "classes.csv").open())] == ["1", "1"]
    frames = ase.io.read(out / "paths.extxyz", ":")
    assert [frame.info["place"] for frame in frames] == ["before", "on the way", "after"] * 2
    page = (out / "events.html").read_text()
    assert "Events in Cu" in page
    assert page.count("<svg") == 4  # time line, rates, two paths
    assert "#01020" not in page
    assert "<script" not in page
    assert not (out / "sigma_a.csv").exists()


def test_json(trepid, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    outcome = trepid("events", folder / "md.extxyz", "--structure", folder / "cell.extxyz", "-o", out, "--json")
    found = outcome.json
    assert found["n_frames"] == 160
    assert found["interval_fs"] == 20.0
    assert [each["kind"] for each in found["classes"]] == ["frenkel", "recombination"]
    assert found["classes"][0]["low_per_ps"] < found["classes"][0]["rate_per_ps"] < found["classes"][0]["high_per_ps"]
    assert found["classes"][0]["interval"] == "Poisson"
    assert found["classes"][0]["atoms"] == {"7": 1}
    assert [event["start_frame"] for event in found["events"]] == [60, 100]
    assert found["sigma_a"] is None
    assert json.loads(outcome.out) == found


def test_sigma_a_from_a_model(trepid, folder: Path, copper: Path, tmp_path: Path) -> None:
    frames = ase.io.read(folder / "md.extxyz", ":")
    for frame in frames:
        time = frame.info["time_fs"]
        frame.calc = EMT()
        frame.arrays["forces"] = frame.get_forces()
        frame.calc = None
        frame.info = {"time_fs": time}
    write_frames(tmp_path / "forces.extxyz", frames)
    arguments = ("--structure", folder / "cell.extxyz", "--model", copper / "cu.trepid", "-o", tmp_path / "found")
    outcome = trepid("events", tmp_path / "forces.extxyz", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader((tmp_path / "found" / "sigma_a.csv").open()))
    assert len(rows) == 160
    series = np.array([float(row["sigma_a"]) for row in rows])
    # Copper is nearly harmonic; an atom between the others is not.
    assert series[:55].mean() < 0.4
    assert series[65:95].mean() > 1.5 * series[:55].mean()
    assert outcome.json["sigma_a"]["value"] > 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("none.extxyz",), "no such file"),
        (("md.extxyz", "--phonopy", "a", "--model", "b"), "not both"),
        (("md.extxyz", "--interval", "-1"), "must be positive"),
        (("md.extxyz", "--equilibrate", "50"), "nothing is left"),
        (("md.extxyz", "--drift-species", "Au"), "Au is not in the crystal"),
    ],
)
def test_wrong_input_is_one_line(trepid, folder: Path, tmp_path: Path, monkeypatch, arguments, expected) -> None:
    monkeypatch.chdir(folder)
    outcome = trepid("events", *arguments, "--structure", "cell.extxyz", "-o", tmp_path / "found")
    assert expected in outcome.error
    assert not (tmp_path / "found").exists()


def test_nothing_is_overwritten(trepid, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    command = ("events", folder / "md.extxyz", "--structure", folder / "cell.extxyz", "-o", out)
    assert trepid(*command).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "exists; give another name, or --force" in trepid(*command).error
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert trepid(*command, "--force").code == 0
    # An input that has the name of an output is never replaced.
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "paths.extxyz").write_bytes((folder / "md.extxyz").read_bytes())
    outcome = trepid("events", trap / "paths.extxyz", "--structure", folder / "cell.extxyz", "-o", trap, "--force")
    assert "is one of the inputs" in outcome.error
