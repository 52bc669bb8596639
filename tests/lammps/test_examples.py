"""The stock-LAMMPS inputs of examples/lammps run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lammps_inputs import Model, read_dump
from trepid.lammps.installation import Installation

EXAMPLES = Path(__file__).parents[2] / "examples" / "lammps"


@pytest.fixture
def folder(tmp_path: Path, silicon: Model) -> Path:
    for path in EXAMPLES.glob("in.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(silicon.file, tmp_path / "si.trepid")
    return tmp_path


def lmp(installation: Installation, folder: Path, name: str, **variables: object) -> str:
    words = [word for key, value in variables.items() for word in ("-var", key, str(value))]
    outcome = subprocess.run(
        [installation.program, "-in", name, *words],
        cwd=folder,
        env=installation.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


def test_uncertainty_in_log_dump_and_picture(installation: Installation, folder: Path) -> None:
    lmp(installation, folder, "in.uncertainty", size=2, steps=400)
    course = np.loadtxt(folder / "run" / "uncertainty.dat")
    assert course[:, 0].tolist() == list(range(0, 401, 10))
    frames = dict(read_dump(folder / "run" / "uncertainty.lammpstrj"))
    for step, largest, mean in course[::20]:
        assert frames[int(step)][:, -1].max() == pytest.approx(largest, rel=1e-4, abs=1e-9)
        assert frames[int(step)][:, -1].mean() == pytest.approx(mean, rel=1e-4, abs=1e-9)
    assert (folder / "run" / "uncertainty.400.ppm").stat().st_size > 100_000


def test_guard_stops_and_the_run_goes_on(installation: Installation, folder: Path) -> None:
    text = lmp(installation, folder, "in.guard", size=2, steps=20000, threshold=0.02)
    found = re.search(r"^left the trusted region at step (\d+), \d+ K: uncertainty (\S+) eV/A$", text, re.M)
    assert found is not None, text
    [(step, atoms)] = read_dump(folder / "run" / "guard.lammpstrj")
    assert step == int(found[1])
    assert atoms[:, -1].max() == pytest.approx(float(found[2]), rel=1e-2)
    assert atoms[:, -1].max() > 0.02
    outside = read_dump(folder / "run" / "outside.lammpstrj")
    assert [step for step, _ in outside] == [int(found[1])]
    assert (outside[0][1][:, -1] > 0.02).all()

    lmp(installation, folder, "in.continue", steps=20)
    first = (folder / "run" / "continue.log").read_text().split("Step ", 1)[1].splitlines()[1].split()
    assert int(first[0]) == step
    masses, v = 28.085, atoms[:, 4:7]
    kinetic = 0.5 * masses * (v**2).sum() * 1.0364269e-4
    assert float(first[1]) == pytest.approx(2 * kinetic / ((3 * 64 - 3) * 8.617333e-5), rel=1e-3)


def test_a_guard_that_finds_nothing_reports_it(installation: Installation, folder: Path) -> None:
    text = lmp(installation, folder, "in.guard", size=2, steps=200, threshold=10)
    assert "stayed inside the trusted region" in text
    assert not (folder / "run" / "guard.restart").exists()


def test_a_temperature_gradient(installation: Installation, folder: Path) -> None:
    """As much energy as enters the hot slab leaves the cold one, and the difference of temperature is that way round."""
    small = {"cells": 16, "width": 2, "equilibrate": 40, "settle": 40, "steps": 200, "power": 20}
    text = lmp(installation, folder, "in.gradient", **small)
    tenths = np.loadtxt(folder / "gradient.txt")
    assert tenths.shape == (10, 2)
    assert tenths[5:, 1].mean() > 50
    thermo = text[text.rindex("v_kappa") :].splitlines()[1:12]
    energies = np.array([float(line.split()[2]) for line in thermo])
    # 0.2 ps at 80 eV/ps would change it by 16 eV.
    assert np.ptp(energies) < 1.0
