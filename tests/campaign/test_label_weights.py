"""Weights of the labels of a campaign, by config_type or by the reason of the label."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from campaign_fakes import LoggedReference, crystal, springs
from rounds_fakes import SMALL, rounds_campaign
from trepid.campaign.learn import learn
from trepid.campaign.start import initial_frames
from trepid.config import RoundsCampaign
from trepid.data import write_frames
from trepid.data.noise_factors import with_weights
from trepid.errors import ConfigError
from trepid.potentials.bayesian import BayesianForceField
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger_events import Reason

SHORT: dict[str, Any] = {
    "walkers": {"temperatures_K": [200], "duration_ps": 0.2, "equilibrate_ps": 0.02},
    "acquisition": {"labels_per_round": 2},
    "rounds": {"max_rounds": 1},
}


def typed_start(folder: Path) -> list[Atoms]:
    """Three displaced crystals with the types hot, hot, calm; the last one has a label already."""
    frames = initial_frames(crystal(), 3, displacement_A=0.05, strain=0.0, seed=3)
    frames[2] = LoggedReference().label(frames[2])
    for frame, name in zip(frames, ("hot", "hot", "calm"), strict=True):
        frame.info["config_type"] = name
    write_frames(folder / "start.extxyz", frames)
    return frames


def weighted_campaign(folder: Path, weights: dict[str, float]) -> RoundsCampaign:
    start = {"kind": "frames", "file": str(folder / "start.extxyz")}
    return rounds_campaign(folder, start=start, weights=weights, **copy.deepcopy(SHORT))


def small() -> BayesianForceField:
    names = {"pair_cutoff_A": "pair_cutoff", "triplet_cutoff_A": "triplet_cutoff"}
    return BayesianForceField(
        ["Cu"], n_channels=0, seed=5, **{names.get(key, key): value for key, value in SMALL.items()}
    )


def test_a_campaign_trains_with_the_weights_of_the_types_and_reasons(tmp_path: Path) -> None:
    typed_start(tmp_path)
    weights = {"hot": 9.0, "uncertainty": 4.0}
    result = learn(weighted_campaign(tmp_path, weights))
    store = LabelStore(tmp_path / "run" / "labels")
    labels = [label.atoms for label in store.read_all()]
    assert [frame.info.get("config_type") for frame in labels] == ["hot", "hot", "calm"] + [None] * (len(labels) - 3)
    assert len(labels) > 3
    assert not any("fit_weight" in frame.info for frame in labels)
    probe = labels[3]
    heavy = small().fit(with_weights(labels[:3], {"hot": 9.0}))
    first = BayesianForceField.load(tmp_path / "run" / "rounds" / "00" / "model.trepid")
    np.testing.assert_allclose(first.predict(probe).forces, heavy.predict(probe).forces, atol=1e-9)
    plain = small().fit(labels[:3])
    assert not np.allclose(first.predict(probe).forces, plain.predict(probe).forces, atol=1e-5)
    # The labels that the campaign chose itself weigh by their reason.
    assert all(label.origin.reason is Reason.UNCERTAINTY for label in store.read_all()[3:])
    for frame in labels[3:]:
        frame.info["config_type"] = "uncertainty"
    heavy.update(with_weights(labels[3:], {"uncertainty": 4.0}))
    heavy.optimize(with_weights(labels, weights))
    np.testing.assert_allclose(result.load().predict(probe).forces, heavy.predict(probe).forces, atol=1e-7)


def test_weights_of_kinds_that_no_label_has_are_refused_before_anything_is_labelled(tmp_path: Path) -> None:
    typed_start(tmp_path)
    with pytest.raises(ConfigError, match=r"weights: no label .* kind 'hott'; did you mean 'hot'\?"):
        learn(weighted_campaign(tmp_path, {"hott": 2.0}))
    with pytest.raises(ConfigError, match="kind 'melt'; kinds: calm, hot, initial, uncertainty, event"):
        learn(weighted_campaign(tmp_path, {"melt": 2.0}))
    with pytest.raises(ConfigError, match="weights: a committee takes none"):
        learn(
            rounds_campaign(tmp_path, potential={"kind": "committee", "backend": "bayesian"}, weights={"initial": 2.0}),
            potentials=springs(crystal()),
        )
    assert not (tmp_path / "run").exists()


def test_weights_stay_as_they_are_in_a_run(tmp_path: Path) -> None:
    typed_start(tmp_path)
    learn(weighted_campaign(tmp_path, {"hot": 9.0}))
    with pytest.raises(ConfigError, match="weights"):
        learn(weighted_campaign(tmp_path, {"hot": 3.0}))
