from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from trepid.potentials import load_potential


def test_learn_status_report_and_evaluate_in_one_go(trepid, campaign: Path, copper: Path) -> None:
    run = campaign.parent / "run"
    first = trepid("learn", campaign, "--json")
    assert first.code == 0, first.err
    facts = first.json
    assert facts["reason"] in ("finished", "labels")
    assert 2 <= facts["n_labels"] <= 6
    assert load_potential(run / "model.trepid").n_frames == facts["n_labels"]

    status = trepid("status", run, "--json").json
    assert status["stop_reason"] == facts["reason"]
    assert status["n_labels"] == facts["n_labels"]
    assert status["time_ps"] == pytest.approx(facts["time_ps"])
    assert "labels" in trepid("status", run).out

    written = trepid("report", run)
    assert written.out.strip() == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert "Cu" in page
    assert "this process (C++ core)" in page
    assert "--test</span> FRAMES.extxyz" in page

    figures = trepid("evaluate", run / "model.trepid", copper / "test.extxyz", "--json").json
    assert figures["forces_mae"] < 0.1 * figures["forces_rms"]
    assert trepid("report", run, "--test", copper / "test.extxyz").code == 0
    refused = trepid("report", run, "--test", run / "labels" / "label-0001.extxyz")
    assert refused.code == 2
    assert "1 of 1 frames are training frames" in refused.err
    page = (run / "report.html").read_text()
    cells = ("test.extxyz", "3", f"{1000 * figures['forces_rms']:.0f}", f"{1000 * figures['forces_mae']:.3g}")
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert "Not chosen by uncertainty (3 frames, test.extxyz)" in page
    assert "FRAMES.extxyz" not in page
    assert "force_error" in (run / "report" / "worst-test-extxyz.extxyz").read_text()

    ledger = (run / "ledger.jsonl").read_bytes()
    again = trepid("learn", campaign, "--quiet")
    assert again.code == 0
    assert f"{facts['n_labels']} labels" in again.out
    assert (run / "ledger.jsonl").read_bytes() == ledger


def test_learn_dry_run_touches_nothing(trepid, campaign: Path) -> None:
    outcome = trepid("learn", campaign, "--dry-run")
    assert outcome.code == 0
    assert "32 atoms" in outcome.err
    assert not (campaign.parent / "run").exists()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_failed_labels_set_the_exit_code_of_learn(trepid, campaign: Path) -> None:
    text = campaign.read_text().replace("calculator: emt", "calculator: 'ase.calculators.lj:LennardJones'")
    # A well so deep that its energies overflow: no label is finite.
    campaign.write_text(text.replace("LennardJones'", "LennardJones'\n  parameters: {epsilon: 1.0e+308}"))
    outcome = trepid("learn", campaign, "--quiet")
    assert outcome.code == 5, outcome.err
    assert "labels failed" in outcome.out


def test_report_elsewhere_is_not_overwritten(trepid, campaign: Path) -> None:
    run = campaign.parent / "run"
    assert trepid("learn", campaign, "--quiet").code == 0
    page = campaign.parent / "page.html"
    page.write_text("mine")
    assert "--force" in trepid("report", run, "-o", page).error
    assert page.read_text() == "mine"
    assert trepid("report", run, "-o", page, "--force").code == 0
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("verb", ["status", "report"])
def test_a_folder_without_a_run_is_an_error(trepid, tmp_path: Path, verb: str) -> None:
    assert "ledger.jsonl" in trepid(verb, tmp_path).error
    assert "nowhere" in trepid(verb, tmp_path / "nowhere").error
    file = tmp_path / "model.trepid"
    file.touch()
    assert f"{file}: a file; give the directory of a learning run, such as run" in trepid(verb, file).error
    (tmp_path / "ledger.jsonl").touch()
    assert f"{file}: a file; give the run that it belongs to, {tmp_path}" in trepid(verb, file).error


def test_a_run_in_place_of_label_files_is_told_its_labels(trepid, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert "it is a folder" in trepid("fit", tmp_path / "run", "-o", tmp_path / "m.trepid").error
    (tmp_path / "run" / "ledger.jsonl").touch()
    error = trepid("fit", tmp_path / "run", "-o", tmp_path / "m.trepid").error
    assert f"its labels are the files {tmp_path}/run/labels/label-????.extxyz" in error


def md(copper: Path, output: Path, *options: object) -> tuple[object, ...]:
    common = ("--repeat", 2, 2, 2, "--temperature", 300, "--steps", 40, "--sample-every", 20)
    return ("md", copper / "cu.trepid", copper / "copper.extxyz", *common, "--output", output, *options)


def test_md_runs_and_a_second_start_ends_at_once(trepid, copper: Path, tmp_path: Path) -> None:
    command = md(copper, tmp_path / "md", "--threshold", 10, "--json")
    facts = trepid(*command).json
    assert facts["end"] == "finished"
    assert facts["n_steps"] == 40
    assert facts["time_ps"] == pytest.approx(0.04)
    assert facts["n_untrusted"] == 0
    frames = read(tmp_path / "md" / "trajectory.extxyz", ":")
    assert len(frames) == 3
    assert frames[-1].arrays["forces_uncertainty"].shape == (32, 3)
    trajectory = (tmp_path / "md" / "trajectory.extxyz").read_bytes()
    assert trepid(*command).json["n_steps"] == 40
    assert (tmp_path / "md" / "trajectory.extxyz").read_bytes() == trajectory


def test_guard_warns_and_continues(trepid, copper: Path, tmp_path: Path) -> None:
    outcome = trepid(*md(copper, tmp_path / "md", "--threshold", 1e-6))
    assert outcome.code == 0
    assert "warning: " in outcome.err
    assert "Cu atom" in outcome.err
    assert (tmp_path / "md" / "untrusted.extxyz").is_file()


def test_guard_stops_with_exit_4_and_writes_the_frame(trepid, copper: Path, tmp_path: Path) -> None:
    outcome = trepid(*md(copper, tmp_path / "md", "--threshold", 1e-6, "--guard", "stop"))
    assert outcome.code == 4
    assert outcome.err.splitlines()[-1].startswith("error: step ")
    frame = read(tmp_path / "md" / "untrusted.extxyz")
    assert np.linalg.norm(frame.arrays["forces_uncertainty"], axis=1).max() > 1e-6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--temperature", -300), "-300"),
        (("--temperature", "warm"), "warm"),
        (("--temperature", "300:600:900"), "300:600:900"),
        (("--steps", 0), "--steps 0"),
        (("--duration", 1), "--duration"),
        (("--repeat", 1, 0, 1), "--repeat 1 0 1"),
        (("--timestep", -1), "timestep"),
        (("--threshold", -1), "threshold"),
    ],
)
def test_md_settings_out_of_range(
    trepid, copper: Path, tmp_path: Path, options: tuple[object, ...], expected: str
) -> None:
    outcome = trepid(*md(copper, tmp_path / "md", *options))
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert expected in outcome.err
    assert not (tmp_path / "md").exists()


def test_md_of_an_element_outside_the_training_species(trepid, copper: Path, tmp_path: Path) -> None:
    from ase.build import bulk
    from ase.io import write

    write(tmp_path / "ag.extxyz", bulk("Ag", cubic=True))
    outcome = trepid(
        "md", copper / "cu.trepid", tmp_path / "ag.extxyz", "--temperature", 300, "-o", tmp_path / "md", "--steps", 5
    )
    assert outcome.code == 2
    assert "Ag" in outcome.err
    assert not (tmp_path / "md").exists()
