"""`trepid audit`: from files to verdicts, and wrong inputs in one line with nothing lost."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators import emt

from audit_fakes import copper
from command_line import Trepid
from trepid.data.frames import write_frames
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference.base import FailureReason
from trepid.report.audit_plots import path_picture
from trepid.runs.checksums import file_sha256
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Failure, Label

EMT = "reference: {engine: ase, calculator: emt}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vacancy hop in copper, its crystal, and EMT as reference."""
    crystal, sites = copper()
    rng = np.random.default_rng(0)
    cell = crystal.cell.array
    way = sites.positions[31] - crystal.positions[0]
    way -= cell.T @ np.rint(np.linalg.solve(cell.T, way))
    frames = []
    for k in range(61):
        frame = crystal.copy()
        frame.positions[0] += np.clip((k - 25) / 10, 0.0, 1.0) * way
        frame.positions += 0.03 * rng.normal(size=(31, 3))
        frame.info["time_fs"] = 20.0 * k
        frames.append(frame)
    write_frames(tmp_path / "trajectory.extxyz", frames)
    write_frames(tmp_path / "crystal.extxyz", crystal)
    (tmp_path / "emt.yaml").write_text(EMT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ARGUMENTS = (
    "audit",
    "trajectory.extxyz",
    "--structure",
    "crystal.extxyz",
    "--reference",
    "emt.yaml",
    "--temperature",
    "900",
)
CALCULATOR = ("--calculator", "emt")


def test_from_files_to_a_verdict_and_a_page(trepid: Trepid, folder: Path) -> None:
    few = ("--labels", "3", "--no-probes", "--classes", "1", "--images", "3")
    outcome = trepid(*ARGUMENTS, *CALCULATOR, *few, "--json")
    assert outcome.code == 0, outcome
    (entry,) = outcome.json["classes"]
    assert entry["verdict"] == "genuine"
    assert entry["reference_barrier_eV"] == pytest.approx(0.761, abs=0.01)
    assert outcome.json["inputs"]["trajectory"]["n_frames"] == 61
    facts = json.loads((folder / "audit" / "certificate.json").read_text())
    assert facts["verdicts"] == {"genuine": 1}
    page = (folder / "audit" / "audit.html").read_text()
    assert "Genuine: " in page
    assert "<svg" in page
    assert f"{entry['reference_barrier_eV']:.3f}" in page


def test_the_plan_computes_nothing(trepid: Trepid, folder: Path) -> None:
    outcome = trepid(*ARGUMENTS, *CALCULATOR, "--plan", "--json")
    assert outcome.code == 0
    assert len(outcome.json["classes"]) == 1
    assert outcome.json["most_labels"] == 8 * (1 + len(outcome.json["probes"]))
    assert not (folder / "audit").exists()


def test_the_plan_reads_the_model_and_gives_the_time_of_the_labels(trepid: Trepid, folder: Path) -> None:
    (folder / "wrong.yaml").write_text("engine: ase\ncalculator: emt\n")
    assert "belong into a section: reference" in trepid(*ARGUMENTS, "--model", "wrong.yaml", "--plan").error
    assert "did you mean emt" in trepid(*ARGUMENTS, "--calculator", "emmt", "--plan").error
    plan = (*ARGUMENTS, *CALCULATOR, "--plan")
    assert "time of the labels  not known: no label of this campaign or audit was measured" in trepid(*plan).out
    assert trepid(*plan, "--json").json["most_seconds"] is None
    run = folder / "audit"
    run.mkdir()
    with closing(Ledger(run / "ledger.jsonl")) as ledger:
        for k, seconds in enumerate((90.0, 100.0, 110.0)):
            ledger.append(Label(k + 1, f"label-{k}.extxyz", seconds, 1))
        ledger.append(Failure(4, 1, FailureReason.CRASHED, "gone"))
    facts = trepid(*plan, "--json").json
    assert facts["seconds_per_label"] == 100.0
    assert facts["most_seconds"] == pytest.approx(facts["most_labels"] * 100.0 * 4 / 3)
    assert "1.7 min per label, measured in audit" in trepid(*plan).out


def test_a_path_with_two_atoms_at_one_place_can_be_read() -> None:
    """One image at 50 000 eV must not flatten the others, and is said; a high barrier is shown whole."""
    entry: dict[str, Any] = {
        "path": {"lengths_A": [0.0, 1.0, 2.0, 3.0, 4.0], "energies_eV": [0.0, 0.3, 50_000.0, 0.4, 0.1]},
        "corrected_path": None,
        "model_bar_eV": 0.1,
        "reference_barrier_bar_eV": None,
        "horizon_eV": 0.5,
        "labels": [],
    }
    (axes,) = path_picture(entry).axes
    assert axes.get_ylim()[1] < 2.0
    assert axes.get_title(loc="right") == "1 point out of the picture, up to 5e+04 eV"
    entry["path"]["energies_eV"][2] = 2.1
    (axes,) = path_picture(entry).axes
    assert axes.get_ylim()[1] > 2.1
    assert axes.get_title(loc="right") == ""


def test_a_model_learns_from_the_labels_and_is_judged_again(trepid: Trepid, folder: Path) -> None:
    """A model trained on vibrations alone learns the labels of its audit, and the certificate of the second is of the new file."""
    crystal, _ = copper()
    rng, truth = np.random.default_rng(1), emt.EMT()
    frames = []
    for _ in range(4):
        frame = crystal.copy()
        frame.positions += 0.08 * rng.normal(size=(31, 3))
        frame.calc = truth
        frame.info["REF_energy"], frame.arrays["REF_forces"] = frame.get_potential_energy(), frame.get_forces()
        frame.calc = None
        frames.append(frame)
    model = BayesianForceField(
        ["Cu"], pair_cutoff=5.0, triplet_cutoff=3.5, n_pair=8, n_radial=4, l_max=2, n_threads=1
    ).fit(frames)
    model.save(folder / "naive.trepid")
    few = ("--labels", "4", "--frames", "1", "--no-probes", "--classes", "1", "--images", "3")
    command = (*ARGUMENTS, "--model", "naive.trepid", *few, "--learn", "learnt.trepid", "--json")
    outcome = trepid(*command)
    assert outcome.code == 0, outcome
    first, again = (json.loads((folder / part / "certificate.json").read_text()) for part in ("audit", "audit/again"))
    assert outcome.json["inputs"] == again["inputs"]
    assert again["inputs"]["model"]["sha256"] == file_sha256(folder / "learnt.trepid")
    assert first["inputs"]["model"]["sha256"] == file_sha256(folder / "naive.trepid")
    learnt = BayesianForceField.load(folder / "learnt.trepid", n_threads=1)
    assert learnt.n_frames == 4 + first["n_labels"]
    assert first["classes"][0]["model_barrier_eV"] is not None
    errors = [abs(facts["classes"][0]["labels"][1]["error_eV"]) for facts in (first, again)]
    assert errors[1] < 0.3 * errors[0]
    # The file is not overwritten, and the first audit is there already.
    assert "learnt.trepid" in trepid(*command).error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give the model with --model FILE, or an ASE calculator"),
        (("--model", "emt.yaml", "--calculator", "emt"), "one of them"),
        (("--calculator", "emt", "--parameters", "{"), "is not JSON"),
        (("--calculator", "emt", "--parameters", "[1]"), "is no JSON object"),
        (("--calculator", "emmt"), "did you mean emt"),
        (("--model", "emt.yaml", "--learn", "out.trepid"), "has no training"),
        (("--calculator", "emt", "--interval", "5000"), "too far for a dwell time"),
        (("--calculator", "emt", "--factor", "1"), "must be above 1"),
    ],
)
def test_a_wrong_command_is_one_line(trepid: Trepid, folder: Path, arguments: tuple[str, ...], said: str) -> None:
    outcome = trepid(*ARGUMENTS, *arguments)
    assert outcome.code == 2
    assert said in outcome.last_line
    assert outcome.last_line.startswith("error: ")
    assert not (folder / "audit" / "certificate.json").exists()


def test_a_trajectory_of_another_crystal_or_too_short_is_one_line(trepid: Trepid, folder: Path) -> None:
    from ase.build import bulk

    write_frames(folder / "crystal.extxyz", bulk("Ni", cubic=True).repeat((2, 2, 2)))
    assert "give the relaxed crystal of this trajectory" in trepid(*ARGUMENTS, *CALCULATOR).error
    crystal, _ = copper()
    write_frames(folder / "crystal.extxyz", crystal)
    crystal.info["time_fs"] = 0.0
    write_frames(folder / "trajectory.extxyz", [crystal])
    assert "events need 2 or more" in trepid(*ARGUMENTS, *CALCULATOR).error


def test_a_model_file_that_names_code_needs_trust(
    trepid: Trepid, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine_of_the_audit.py").write_text("open('ran', 'w').close()\nclass Thing: ...\n")
    (folder / "model.yaml").write_text("reference: {engine: ase, calculator: 'mine_of_the_audit:Thing'}\n")
    monkeypatch.syspath_prepend(str(folder))
    outcome = trepid(*ARGUMENTS, "--model", "model.yaml")
    assert outcome.code == 2
    assert "--trust" in outcome.last_line
    assert not (folder / "ran").exists()


def test_an_engine_without_its_section_is_explained(trepid: Trepid, folder: Path) -> None:
    (folder / "emt.yaml").write_text("engine: ase\ncalculator: emt\n")
    assert "belong into a section: reference" in trepid(*ARGUMENTS, *CALCULATOR).error
