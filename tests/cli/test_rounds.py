from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import read, write

from trepid.cli.init import Mode, annotated_campaign
from trepid.config import RoundsCampaign, load_campaign
from trepid.potentials import load_potential

CAMPAIGN = """\
structure: {file: copper.extxyz, supercell: [2, 2, 2]}
mode: rounds
reference: {engine: ase, calculator: emt}
potential: {pair_cutoff_A: 4.5, triplet_cutoff_A: 3.5, n_pair: 10, n_radial: 5, l_max: 2}
start: {n: 2}
walkers: {temperatures_K: [300, 800], duration_ps: 0.5, timestep_fs: 4, check_every: 5, equilibrate_ps: 0.1}
acquisition: {labels_per_round: 2}
rounds: {max_rounds: 2, test_frames: test.extxyz}
"""


@pytest.fixture
def rounds(tmp_path: Path, copper: Path) -> Path:
    write(tmp_path / "copper.extxyz", bulk("Cu", cubic=True))
    write(tmp_path / "test.extxyz", read(copper / "test.extxyz", ":"))
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN)
    return path


def test_check_learn_status_and_report_in_rounds(trepid, rounds: Path) -> None:
    run = rounds.parent / "run"
    checked = trepid("check", rounds, "--json").json
    assert checked["ok"]
    assert checked["facts"]["mode"] == "rounds"
    assert "2 a round" in checked["facts"]["walkers"]
    assert "3 in" in checked["facts"]["test frames"]
    assert trepid("learn", rounds, "--dry-run").code == 0
    assert not run.exists()

    learned = trepid("learn", rounds, "--json", "--quiet").json
    assert learned["reason"] == "finished"
    assert learned["n_rounds"] == 2
    assert load_potential(run / "model.trepid").n_frames == learned["n_labels"]
    assert learned["n_labels"] == len(list((run / "labels").glob("label-????.extxyz")))

    status = trepid("status", run, "--json").json
    assert status["mode"] == "rounds"
    assert status["n_rounds"] == 2
    assert status["n_labels"] == learned["n_labels"]
    assert status["time_ps"] == pytest.approx(learned["time_ps"])
    assert status["forces_mae_test_eV_per_A"] > 0
    assert set(status["sigma_a"]) == {"300", "800"}
    rows = status["interval_factors"]
    assert {row["stratum"] for row in rows} <= {"300 K", "800 K"}
    assert sum(row["n_labels"] for row in rows if row["species"] == rows[0]["species"]) == status["n_labels_on_call"]
    for row in rows:
        assert (row["basis"] == "stratum") is (row["n_labels"] >= 2)
        assert row["factor"] > 0
    assert "2 complete" in trepid("status", run).out

    ledger = (run / "ledger.jsonl").read_bytes()
    assert trepid("learn", rounds, "--quiet").code == 0
    assert (run / "ledger.jsonl").read_bytes() == ledger

    page = Path(trepid("report", run).out.strip()).read_text()
    for heading in (
        "Learning curve",
        "Selected configurations",
        "Calibration by round",
        "Anharmonicity",
        "Costs",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert "finished: all rounds were run" in page
    assert page.count("<svg") >= 6
    assert not re.search(r'(src|href)="https?:', page)
    # One row per round in the first table, the start included.
    first = page.split("<tbody>")[1].split("</tbody>")[0]
    assert first.count("<tr>") == 3


def test_report_of_a_campaign_without_a_complete_round(trepid, rounds: Path) -> None:
    rounds.write_text(CAMPAIGN.replace("max_rounds: 2", "max_rounds: 9, max_hours: 1.0e-9"))
    assert trepid("learn", rounds, "--json", "--quiet").json["reason"] == "hours"
    run = rounds.parent / "run"
    page = Path(trepid("report", run).out.strip()).read_text()
    assert "Learning curve" in page
    assert "Selected configurations" not in page
    assert trepid("status", run, "--json").json["n_rounds"] == 0


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rounds: {", "dynamics: {}\nrounds: {", "dynamics: belongs to mode on-the-fly"),
        ("mode: rounds", "mode: round", "did you mean 'rounds'?"),
        ("test_frames: test.extxyz", "test_frames: none.extxyz", "there is no such file"),
        ("temperatures_K", "temperature_K", "temperatures_K"),
    ],
)
def test_user_errors_in_one_line(trepid, rounds: Path, old: str, new: str, expected: str) -> None:
    rounds.write_text(CAMPAIGN.replace(old, new))
    for command in (("check", rounds), ("learn", rounds)):
        assert expected in trepid(*command).error
    assert not (rounds.parent / "run").exists()


def test_check_finds_test_frames_without_labels(trepid, rounds: Path) -> None:
    write(rounds.parent / "test.extxyz", bulk("Cu", cubic=True))
    outcome = trepid("check", rounds)
    assert outcome.code == 1
    assert "REF_forces" in outcome.err


@pytest.mark.parametrize("example", ["cui", "silicon"])
def test_init_in_rounds_is_ready_to_run(trepid, tmp_path: Path, monkeypatch, example: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert trepid("init", "--example", example, "--mode", "rounds").code == 0
    assert trepid("check", "campaign.yaml", "--json").json["facts"]["mode"] == "rounds"
    assert isinstance(load_campaign("campaign.yaml"), RoundsCampaign)


def test_init_explains_every_setting_of_rounds(tmp_path: Path) -> None:
    write(tmp_path / "cu.extxyz", bulk("Cu"))
    text = annotated_campaign({"structure": {"file": "cu.extxyz"}}, mode=Mode.ROUNDS)
    (tmp_path / "campaign.yaml").write_text(text)
    (tmp_path / "plain.yaml").write_text("structure: cu.extxyz\nmode: rounds\n")
    assert load_campaign(tmp_path / "campaign.yaml") == load_campaign(tmp_path / "plain.yaml")
    words = " ".join(text.replace("#", " ").split())
    for name in ("walkers", "acquisition", "rounds", "execution", "output"):
        for key, field in RoundsCampaign.model_fields[name].annotation.model_fields.items():
            assert f"  {key}:" in text or f"  # {key}:" in text
            assert " ".join(field.description.split()) in words
