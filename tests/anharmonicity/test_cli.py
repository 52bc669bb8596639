from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import ase.units
import matplotlib.image
import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin

from trepid.anharmonicity import (
    HarmonicReference,
    harmonic_reference,
    harmonic_sample,
    sigma_a,
    write_phonopy,
)
from trepid.anharmonicity.ensemble import ensemble_of, ensemble_sigma_a, forces_of_frames
from trepid.anharmonicity.force_source import force_function
from trepid.cli.main import run
from trepid.data.frames import Labels, attach_labels, read_frames, write_frames
from trepid.errors import ConfigError
from trepid.potentials.bayesian import BayesianForceField

CELLS = (2, 2, 2)
CAMPAIGN = """\
structure: {file: cell.extxyz, supercell: [2, 2, 2]}
reference: {engine: ase, calculator: emt}
dynamics:
  stages: [{temperature_K: 300, duration_ps: 0.1}]
"""


@pytest.fixture(scope="module")
def cell() -> Atoms:
    return bulk("Cu", a=3.59, cubic=True)


@pytest.fixture(scope="module")
def emt(cell: Atoms) -> HarmonicReference:
    return harmonic_reference(cell, CELLS, EMT())


@pytest.fixture(scope="module")
def trajectory(emt: HarmonicReference) -> list[Atoms]:
    """MD with EMT; the labels are the forces of EMT, the thermostat's are not among them."""
    atoms = emt.supercell.copy()
    atoms.calc = EMT()
    dynamics = Langevin(
        atoms, 4 * ase.units.fs, temperature_K=900, friction=0.02 / ase.units.fs, rng=np.random.default_rng(0)
    )
    frames = []
    for k in range(40):
        dynamics.run(10)
        frame = attach_labels(atoms, Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces()))
        frame.info["time_fs"] = 40.0 * k
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def model(trajectory: list[Atoms]) -> BayesianForceField:
    return BayesianForceField(["Cu"], pair_cutoff=5.0, triplet_cutoff=4.0, n_threads=1).fit(trajectory[5::8])


@pytest.fixture
def folder(
    tmp_path: Path, cell: Atoms, trajectory: list[Atoms], model: BayesianForceField, monkeypatch: pytest.MonkeyPatch
) -> Path:
    cell.write(tmp_path / "cell.extxyz")
    write_frames(tmp_path / "md.extxyz", trajectory)
    model.save(tmp_path / "cu.trepid")
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code = run(["anharmonicity", *arguments, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


def test_harmonic_frames_on_a_model(folder: Path, emt: HarmonicReference, capsys: pytest.CaptureFixture[str]) -> None:
    facts = answer(
        capsys, "cu.trepid", "--structure", "cell.extxyz", "--supercell", "2", "2", "2", "--temperature", "600",
        "--samples", "12", "--posterior", "6", "--figures",
    )  # fmt: skip
    sample = harmonic_sample(emt, 600.0, 12, 0)
    truth = sigma_a(forces_of_frames(EMT(), sample), [emt.forces(frame) for frame in sample])
    assert facts["sigma_a"] == pytest.approx(truth, abs=0.03)
    assert facts["n_frames"] == 12
    assert facts["sigma_a_error"] > 0
    assert facts["sigma_a_model_error"] == pytest.approx(np.std(facts["sigma_a_draws"], ddof=1))
    assert facts["per_species"]["Cu"]["sigma_a"] == pytest.approx(facts["sigma_a"])
    assert facts["n_imaginary"] == 0
    assert facts["frequency_max_THz"] == pytest.approx(emt.frequencies_THz.max(), rel=0.1)
    out = folder / "anharmonicity"
    assert sorted(p.name for p in out.iterdir()) == [
        "anharmonicity.json",
        "figures",
        "phonopy_params.yaml",
        "sigma_a.csv",
        "sigma_a.png",
        "sigma_a_atoms.csv",
    ]
    names = [f"{name}.{kind}" for name in ("sigma-a", "sigma-a-atoms") for kind in ("csv", "pdf", "png")]
    assert sorted(p.name for p in (out / "figures").iterdir()) == sorted(names)
    with (out / "figures" / "sigma-a-atoms.csv").open() as file:
        drawn = [float(row["y"]) for row in csv.DictReader(file)]
    with (out / "sigma_a_atoms.csv").open() as file:
        np.testing.assert_allclose(drawn, [float(row["sigma_a"]) for row in csv.DictReader(file)], rtol=1e-4)
    assert phonopy.load(str(out / "phonopy_params.yaml"), log_level=0).force_constants is not None
    with (out / "sigma_a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "sigma_a", "sigma_a_Cu"]
    assert len(rows) == 12
    picture = matplotlib.image.imread(out / "sigma_a.png")
    assert picture[0, 0, :3].tolist() == [1, 1, 1]
    assert (np.abs(picture[..., :3] - 1).max(axis=-1) > 0.3).mean() > 0.002


def test_a_crystal_that_is_not_relaxed_has_one_sigma_a(
    folder: Path, cell: Atoms, model: BayesianForceField, capsys: pytest.CaptureFixture[str]
) -> None:
    """The force at rest is taken off in the value as in its draws, and the message says how to relax."""
    off = cell.copy()
    off.positions[0] += [0.06, -0.04, 0.05]
    off.write(folder / "off.extxyz")
    common = ["cu.trepid", "--structure", "off.extxyz", "--supercell", "2", "2", "2", "--temperature", "300"]
    code = run(["anharmonicity", *common, "--samples", "8", "--posterior", "4", "-o", "out"])
    captured = capsys.readouterr()
    assert code == 0
    assert "'trepid phonons MODEL STRUCTURE --relax' writes relaxed.extxyz" in captured.err
    assert "taken off the forces" in captured.out
    facts = json.loads((folder / "out" / "anharmonicity.json").read_text())
    assert facts["residual_force_eV_per_A"] > 0.1
    draws = np.array(facts["sigma_a_draws"])
    assert facts["sigma_a"] == pytest.approx(draws.mean(), abs=0.1 * draws.mean())
    harmonic = harmonic_reference(off, CELLS, model, warn=False)
    frames = harmonic_sample(harmonic, 300.0, 8, 0)
    rest = forces_of_frames(model, [harmonic.supercell])[0]
    truth = sigma_a(forces_of_frames(model, frames), [harmonic.forces(frame) + rest for frame in frames])
    assert facts["sigma_a"] == pytest.approx(truth, rel=1e-6)
    assert sigma_a(forces_of_frames(model, frames), [harmonic.forces(frame) for frame in frames]) > 1.3 * truth


def test_a_pressed_crystal_is_one_warning(
    folder: Path, cell: Atoms, model: BayesianForceField, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 % shorter copper is pressed, at its own lattice constant nothing is said; the figure is -dE/dV of the model."""
    short = cell.copy()
    short.set_cell(0.98 * cell.cell.array, scale_atoms=True)
    short.write(folder / "short.extxyz")
    common = ["--supercell", "2", "2", "2", "--temperature", "300", "--samples", "4", "--posterior", "0", "--force"]
    assert run(["anharmonicity", "cu.trepid", "--structure", "cell.extxyz", *common]) == 0
    assert "pressure" not in capsys.readouterr().err
    assert run(["anharmonicity", "cu.trepid", "--structure", "short.extxyz", *common]) == 0
    lines = [
        line for line in capsys.readouterr().err.splitlines() if "the pressure of the crystal on this model" in line
    ]
    assert len(lines) == 1
    assert "force constants and sigma^A are those of the cell as given" in lines[0]
    found = json.loads((folder / "anharmonicity" / "anharmonicity.json").read_text())["at_rest"]
    energies = []
    for strain in (-1e-4, 1e-4):
        atoms = short.copy()
        atoms.set_cell(short.cell.array * (1 + strain), scale_atoms=True)
        energies.append((atoms.cell.volume, model.predict(atoms).energy))
    (low, before), (high, after) = energies
    assert found["pressure_GPa"] == pytest.approx(-(after - before) / (high - low) / ase.units.GPa, rel=1e-3)


@pytest.mark.parametrize("treated", ["mirror", "skip"])
def test_with_imaginary_modes_sigma_a_is_said_to_mean_nothing(
    tmp_path: Path, treated: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copper in the simple cubic structure falls apart; the error names the option."""
    monkeypatch.chdir(tmp_path)
    bulk("Cu", "sc", a=2.4).write("cell.extxyz")
    Path("campaign.yaml").write_text(CAMPAIGN)
    arguments = ["anharmonicity", "campaign.yaml", "--temperature", "100", "--samples", "2"]
    assert run(arguments) == 3
    assert "'--imaginary mirror'" in capsys.readouterr().err.splitlines()[-1]
    assert run([*arguments, "--imaginary", treated]) == 0
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("warning: ")]
    assert sum("The number means nothing by itself; --imaginary " + treated in line for line in lines) == 1
    assert "no minimum of the energy; sigma^A means nothing by itself" in captured.out


def test_labels_of_a_trajectory_need_no_model(
    folder: Path, emt: HarmonicReference, trajectory: list[Atoms], capsys: pytest.CaptureFixture[str]
) -> None:
    write_phonopy(emt, folder / "phonopy_params.yaml")
    facts = answer(capsys, "--phonopy", "phonopy_params.yaml", "--trajectory", "md.extxyz", "--labels", "-o", "out")
    expected = sigma_a([f.arrays["REF_forces"] for f in trajectory], [emt.forces(f) for f in trajectory])
    assert facts["sigma_a"] == pytest.approx(expected, rel=1e-6)
    assert facts["sigma_a_model_error"] is None
    assert not (folder / "out" / "phonopy_params.yaml").exists()
    with (folder / "out" / "sigma_a.csv").open() as file:
        assert [row["time_ps"] for row in csv.DictReader(file)][:3] == ["0", "0.04", "0.08"]
    part = answer(
        capsys,
        "--phonopy",
        "phonopy_params.yaml",
        "--trajectory",
        "md.extxyz",
        "--labels",
        "-o",
        "o2",
        "--index",
        "20:",
    )
    assert part["n_frames"] == 20


def test_a_trajectory_on_the_model_in_another_order(
    folder: Path, trajectory: list[Atoms], capsys: pytest.CaptureFixture[str]
) -> None:
    order = np.random.default_rng(0).permutation(32)
    write_frames(folder / "shuffled.extxyz", [frame[order] for frame in trajectory])
    common = ("cu.trepid", "--structure", "cell.extxyz", "--supercell", "2", "2", "2", "--posterior", "0")
    straight = answer(capsys, *common, "--trajectory", "md.extxyz", "-o", "a")
    shuffled = answer(capsys, *common, "--trajectory", "shuffled.extxyz", "-o", "b")
    assert shuffled["sigma_a"] == pytest.approx(straight["sigma_a"], rel=1e-6)


def test_the_reference_of_a_campaign(folder: Path, emt: HarmonicReference, capsys: pytest.CaptureFixture[str]) -> None:
    facts = answer(capsys, "campaign.yaml", "--temperature", "300", "--samples", "4", "-o", "out")
    sample = harmonic_sample(emt, 300.0, 4, 0)
    forces = forces_of_frames(EMT(), sample)
    assert facts["sigma_a"] == pytest.approx(sigma_a(forces, [emt.forces(frame) for frame in sample]), rel=1e-6)
    labelled = read_frames(folder / "out" / "labels.extxyz", require=("energy", "forces"))
    np.testing.assert_allclose([frame.arrays["REF_forces"] for frame in labelled], forces, atol=1e-8)


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "sigma_a.csv").write_text("mine")
    arguments = ["anharmonicity", "campaign.yaml", "--temperature", "300", "--samples", "2", "-o", "out"]
    assert run(arguments) == 2
    assert "sigma_a.csv exists" in capsys.readouterr().err
    assert (folder / "out" / "sigma_a.csv").read_text() == "mine"
    assert run([*arguments, "--force"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^sigma\^A +0\.\d+ \+- 0\.\d+", out, re.MULTILINE)
    assert (folder / "out" / "sigma_a.csv").read_text().startswith("frame,sigma_a,")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cu.trepid", "--structure", "cell.extxyz"], "--temperature"),
        (["cu.trepid", "--temperature", "300"], "--structure"),
        (["--temperature", "300", "--phonopy", "x"], "give MODEL"),
        (["cu.trepid", "--structure", "cell.extxyz", "--trajectory", "md.extxyz", "--samples", "3"], "--samples"),
        (["cu.trepid", "--structure", "cell.extxyz", "--temperature", "300", "--labels"], "--labels"),
        (["cu.trepid", "--structure", "cell.extxyz", "--temperature", "300", "--posterior", "1"], "--posterior 1"),
        (["cu.trepid", "--structure", "none.cif", "--temperature", "300"], "none.cif"),
        (["cu.trepid", "--structure", "cell.extxyz", "--trajectory", "md.extxyz"], "same supercell"),
        (["campaign.yaml", "--temperature", "-5"], "temperature -5"),
        (["campaign.yaml", "--phonopy", "nothing.yaml", "--temperature", "300"], "nothing.yaml"),
        (["cu.trepid", "--structure", "cell.extxyz", "--trajectory", "md.extxyz", "--labels", "--forces-key", "F"], "'F'"),
    ],
)  # fmt: skip
def test_user_errors_are_one_line(
    folder: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["anharmonicity", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert told in last


def test_error_bar_of_the_model_covers_the_truth(
    emt: HarmonicReference, trajectory: list[Atoms], model: BayesianForceField
) -> None:
    frames = trajectory[::4]
    truth = sigma_a([f.arrays["REF_forces"] for f in frames], [emt.forces(f) for f in frames])
    ensemble = ensemble_of(model, 12, 0)
    draws = ensemble_sigma_a(ensemble, emt, frames)
    for one in (0, 7):  # as if its force constants were computed from the beginning
        assert emt.unitcell is not None
        own = harmonic_reference(emt.unitcell, emt.supercell_matrix.tolist(), ensemble[one], warn=False)
        rest = force_function(ensemble[one])(emt.supercell)
        harmonic = [own.in_order_of(emt.supercell).forces(f) + rest for f in frames]
        assert draws[one] == pytest.approx(sigma_a(forces_of_frames(ensemble[one], frames), harmonic), rel=1e-9)
    assert 0 < draws.std(ddof=1) < 0.05
    assert abs(draws.mean() - truth) < 5 * draws.std(ddof=1) + 0.01
    np.testing.assert_array_equal(draws, ensemble_sigma_a(ensemble_of(model, 12, 0), emt, frames))
    with pytest.raises(ConfigError, match="two force fields"):
        ensemble_sigma_a(ensemble_of(model, 1, 0), emt, frames)
    assert ensemble_of(EMT(), 5, 0) == []
