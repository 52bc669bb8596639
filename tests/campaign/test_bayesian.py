"""The loop with the potential it is made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from campaign_fakes import LoggedReference, assert_same_run, calls, campaign
from kills import Killed, kill_at
from trepid.campaign.learn import learn
from trepid.campaign.on_the_fly import OnTheFly
from trepid.campaign.result import CampaignResult
from trepid.dynamics.ase_engine import ASEDriver
from trepid.labelling.case import LabelCase
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import StopReason, Train

SMALL: dict[str, dict[str, object]] = {
    "potential": {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2},
    "structure": {"supercell": [2, 1, 1]},
    "learning": {"threshold_eV_per_A": 0.012, "optimize_at": None},  # by expected gain
}


def run(folder: Path, *, n_channels: int | None = 0) -> CampaignResult:
    sections = {name: dict(values) for name, values in SMALL.items()}
    sections["potential"]["n_channels"] = n_channels
    sections["structure"]["file"] = str(folder / "cu.extxyz")
    return learn(campaign(folder, **sections), reference=LoggedReference(folder / "calls.jsonl"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert run(folder).reason is StopReason.FINISHED
    return folder


def test_the_error_falls_and_the_model_file_is_the_model(finished: Path) -> None:
    model = BayesianForceField.load(finished / "run" / "model.trepid")
    trainings = [e.event for e in read_ledger(finished / "run" / "ledger.jsonl") if isinstance(e.event, Train)]
    assert model.n_frames == trainings[-1].n_labels
    assert model.noise.forces == trainings[-1].noise_forces
    assert {event.optimized for event in trainings[1:]} == {True, False}
    assert np.isfinite(trainings[-1].log_evidence)
    assert trainings[-1].hyperparameters["noise"]["forces"] == model.hyperparameters.noise.forces
    label = read(finished / "run" / "labels" / "label-0002.extxyz")
    error = model.predict(label).forces - label.arrays["REF_forces"]
    assert np.abs(error).mean() < 0.1 * np.abs(label.arrays["REF_forces"]).mean()


@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [
        (LabelCase, "answer", 4),
        (BayesianForceField, "save", 2),
        (ASEDriver, "step", 23),
        (OnTheFly, "_label_pending", 1),
    ],
)
def test_resume_is_exact_with_the_bayesian_force_field(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, count: int
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, count, after=True)
        with pytest.raises(Killed):
            run(tmp_path)
    assert run(tmp_path).reason is StopReason.FINISHED
    assert_same_run(tmp_path, finished)
    assert sorted(calls(tmp_path)) == sorted(calls(finished))


@pytest.mark.parametrize("n_channels", [2, None])
def test_resume_is_exact_with_quadruplets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_channels: int | None
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    assert run(whole, n_channels=n_channels).reason is StopReason.FINISHED
    model = BayesianForceField.load(whole / "run" / "model.trepid")
    if n_channels is None:  # the labels were asked
        assert model.terms_tried_with >= 6
    else:
        assert model.basis.channels is not None
    with monkeypatch.context() as patch:
        kill_at(patch, BayesianForceField, "save", 3, after=True)
        with pytest.raises(Killed):
            run(cut, n_channels=n_channels)
    assert run(cut, n_channels=n_channels).reason is StopReason.FINISHED
    assert_same_run(cut, whole)
    assert sorted(calls(cut)) == sorted(calls(whole))
