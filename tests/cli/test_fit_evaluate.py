from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from trepid.evaluation import evaluate
from trepid.potentials import load_potential

KEYS = {
    "n_frames",
    "forces_rmse",
    "forces_mae",
    "energy_rmse_per_atom",
    "forces_coverage_95",
    "forces_uncertainty_spearman",
}


def test_evaluate_prints_json_on_stdout_and_messages_on_stderr(trepid, copper: Path) -> None:
    outcome = trepid("evaluate", copper / "cu.trepid", copper / "test.extxyz", "--json")
    assert outcome.code == 0
    figures = outcome.json
    assert set(figures) >= KEYS
    assert figures["n_frames"] == 3
    assert 0 < figures["forces_mae"] <= figures["forces_rmse"] < 0.1 * figures["forces_rms"]
    assert "evaluating" in outcome.err


def test_evaluate_agrees_with_the_library(trepid, copper: Path) -> None:
    figures = trepid("evaluate", copper / "cu.trepid", copper / "test.extxyz", "--json").json
    assert figures.pop("verdict")["grade"] in ("good", "fair", "poor", "no judgement")
    expected = evaluate(load_potential(copper / "cu.trepid"), read(copper / "test.extxyz", ":"))
    assert figures == pytest.approx(expected.as_dict())


def test_evaluate_writes_the_frames_back_with_predictions_and_bars(trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "test.extxyz", ":")
    for frame, kind in zip(frames, ("cold", "hot", "hot"), strict=True):
        frame.info["config_type"] = kind
    write(tmp_path / "typed.extxyz", frames)
    arguments = ("evaluate", copper / "cu.trepid", tmp_path / "typed.extxyz", "-o", tmp_path / "out.extxyz")
    outcome = trepid(*arguments, "--json")
    assert outcome.code == 0
    model, written = load_potential(copper / "cu.trepid"), read(tmp_path / "out.extxyz", ":")
    for frame, own in zip(written, frames, strict=True):
        expected = model.predict(own)
        assert frame.info["predicted_energy"] == pytest.approx(expected.energy)
        np.testing.assert_allclose(frame.arrays["predicted_forces"], expected.forces, atol=1e-6)
        np.testing.assert_allclose(frame.arrays["forces_uncertainty"], expected.forces_uncertainty, atol=1e-6)
        np.testing.assert_allclose(frame.arrays["REF_forces"], own.arrays["REF_forces"], atol=1e-6)
        assert frame.info["REF_energy"] == pytest.approx(own.info["REF_energy"])
        assert frame.info["config_type"] == own.info["config_type"]
        assert frame.info["predicted_energy_std"] > expected.energy_uncertainty
        assert (frame.arrays["predicted_forces_std"] > frame.arrays["forces_uncertainty"]).all()
        assert frame.info["predicted_stress"].shape == (3, 3)
    types = outcome.json["config_types"]
    assert {name: one["n_frames"] for name, one in types.items()} == {"cold": 1, "hot": 2}
    assert types["hot"]["forces_rmse"] == pytest.approx(evaluate(model, frames[1:]).forces_rmse)
    table = trepid(*arguments, "--force").out
    assert [line.split()[0] for line in table.splitlines() if line.startswith(("cold", "hot"))] == ["cold", "hot"]
    refused = trepid(*arguments)
    assert refused.code == 2
    assert "out.extxyz exists" in refused.err
    assert "is one of the inputs" in trepid(*arguments[:-1], tmp_path / "typed.extxyz", "--force").err


def test_evaluate_prints_a_table(trepid, copper: Path) -> None:
    outcome = trepid("evaluate", copper / "cu.trepid", copper / "test.extxyz", "--uncertainty", "none")
    assert "force MAE" in outcome.out
    assert "meV/A" in outcome.out
    assert "interval" not in outcome.out


def test_fit_prints_noise_and_evidence(trepid, copper: Path, tmp_path: Path) -> None:
    model = tmp_path / "cu.trepid"
    facts = trepid(
        "fit", copper / "train.extxyz", copper / "test.extxyz", "-o", model, "--triplet-cutoff", 3, "--json"
    ).json
    assert facts["n_frames"] == 9
    assert facts["species"] == ["Cu"]
    assert facts["noise_forces"] > 0
    assert load_potential(model).n_frames == 9


def test_two_labels_of_the_test_set_correct_its_interval(trepid, copper: Path, tmp_path: Path) -> None:
    *two, last = read(copper / "test.extxyz", ":")
    for frame in (*two, last):
        frame.arrays["REF_forces"] = 1.5 * frame.arrays["REF_forces"]
    write(tmp_path / "two.extxyz", two)
    write(tmp_path / "last.extxyz", last)
    command = ("evaluate", copper / "cu.trepid", tmp_path / "last.extxyz", "--calibrate-on")
    figures = trepid(*command, tmp_path / "two.extxyz", "--json").json
    assert figures["forces_coverage_95"] < 0.8 < 0.9 < figures["corrected"]["coverage_95"]
    assert figures["corrected"]["factors"]["Cu"]["n_frames"] == 2
    assert "from 2 labelled frames" in trepid(*command, tmp_path / "two.extxyz").out
    assert "fewer than two labelled frames" in trepid(*command, tmp_path / "last.extxyz").out


def test_a_second_test_set_has_figures_of_its_own(trepid, copper: Path, tmp_path: Path) -> None:
    train, test, model = copper / "train.extxyz", copper / "test.extxyz", copper / "cu.trepid"
    hot = read(test, ":")
    for frame in hot:
        frame.arrays["REF_forces"] = 2 * frame.arrays["REF_forces"]
    write(tmp_path / "hot.extxyz", hot)
    alone = trepid("evaluate", model, tmp_path / "hot.extxyz", "--json").json
    assert "corrected" not in alone
    both = trepid("evaluate", model, test, "--ood", tmp_path / "hot.extxyz", "--json").json
    assert both["ood"] == alone
    assert both["ood"]["forces_rmse"] > 5 * both["forces_rmse"]
    table = trepid("evaluate", model, test, "--ood", tmp_path / "hot.extxyz").out.splitlines()
    assert table[0].split() == ["test", "ood"]
    assert all(row.count("meV/A") == 2 for row in table if row.startswith("force MAE"))

    options = ("-o", tmp_path / "m.trepid", "--triplet-cutoff", 3)
    facts = trepid("fit", train, *options, "--ood", test, "--json").json
    assert facts["ood"]["n_frames"] == 3
    assert 0 < facts["left_out_forces_rmse"] < 3 * facts["ood"]["forces_rmse"]
    assert facts["uncertainty_scale"] >= 1


def test_a_second_test_set_is_checked_before_training(trepid, copper: Path, tmp_path: Path) -> None:
    foreign = read(copper / "test.extxyz", ":")
    foreign[1].symbols[0] = "Ag"
    write(tmp_path / "foreign.extxyz", foreign)
    outcome = trepid("fit", copper / "train.extxyz", "-o", tmp_path / "m.trepid", "--ood", tmp_path / "foreign.extxyz")
    assert "frame 1" in outcome.error
    assert "Ag" in outcome.error
    assert not (tmp_path / "m.trepid").exists()


def test_dry_run_writes_nothing(trepid, copper: Path, tmp_path: Path) -> None:
    outcome = trepid("fit", copper / "train.extxyz", "-o", tmp_path / "m.trepid", "--dry-run")
    assert outcome.code == 0
    assert "6 frames" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_model_is_kept_without_force(trepid, copper: Path, tmp_path: Path) -> None:
    model = tmp_path / "precious.trepid"
    model.write_text("precious")
    assert "--force" in trepid("fit", copper / "train.extxyz", "-o", model).error
    assert model.read_text() == "precious"
    assert trepid("fit", copper / "train.extxyz", "-o", model, "--triplet-cutoff", 3, "--force").code == 0
    assert load_potential(model).n_frames == 6


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--pair-cutoff", -1), "--pair-cutoff -1"),
        (("--pair-cutoff", "nan"), "--pair-cutoff nan"),
        (("--pair-cutoff", 4, "--triplet-cutoff", 5), "--triplet-cutoff 5"),
    ],
)
def test_impossible_cutoffs(trepid, copper: Path, tmp_path: Path, options: tuple[object, ...], expected: str) -> None:
    assert expected in trepid("fit", copper / "train.extxyz", "-o", tmp_path / "m.trepid", *options).error


def test_missing_files(trepid, copper: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.extxyz"
    assert "missing.extxyz" in trepid("fit", missing, "-o", tmp_path / "m.trepid").error
    assert "missing.extxyz" in trepid("evaluate", copper / "cu.trepid", missing).error
    assert "nowhere.trepid" in trepid("evaluate", tmp_path / "nowhere.trepid", copper / "test.extxyz").error
    assert "nowhere" in trepid("fit", copper / "train.extxyz", "-o", tmp_path / "nowhere" / "m.trepid").error
    assert list(tmp_path.iterdir()) == []


def test_a_frame_without_forces_is_named(trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "train.extxyz", ":")
    del frames[4].arrays["REF_forces"]
    write(tmp_path / "train.extxyz", frames)
    error = trepid("fit", tmp_path / "train.extxyz", "-o", tmp_path / "m.trepid").error
    assert "frame 4" in error
    assert "REF_forces" in error
    assert not (tmp_path / "m.trepid").exists()


def test_labels_that_are_not_numbers(trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "train.extxyz", ":")
    frames[2].arrays["REF_forces"][7, 1] = np.nan
    write(tmp_path / "train.extxyz", frames)
    assert "frame 2" in trepid("fit", tmp_path / "train.extxyz", "-o", tmp_path / "m.trepid").error
    assert not (tmp_path / "m.trepid").exists()


def test_an_element_outside_the_training_species(trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "test.extxyz", ":")
    frames[0].symbols[0] = "Ag"
    write(tmp_path / "test.extxyz", frames)
    outcome = trepid("evaluate", copper / "cu.trepid", tmp_path / "test.extxyz", "--json")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "Ag" in outcome.err


def test_a_model_file_cut_in_half(trepid, copper: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.trepid"
    shutil.copy(copper / "cu.trepid", half)
    data = half.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert "half.trepid" in trepid("evaluate", half, copper / "test.extxyz").error
    assert "half.trepid" in trepid("check", half).error


def test_other_label_keys(trepid, copper: Path, tmp_path: Path) -> None:
    frames = read(copper / "test.extxyz", ":")
    for frame in frames:
        frame.arrays["dft_forces"] = frame.arrays.pop("REF_forces")
    write(tmp_path / "test.extxyz", frames)
    evaluate_dft = ("evaluate", copper / "cu.trepid", tmp_path / "test.extxyz", "--json")
    assert "REF_forces" in trepid(*evaluate_dft).error
    assert trepid(*evaluate_dft, "--forces-key", "dft_forces").json["n_frames"] == 3
