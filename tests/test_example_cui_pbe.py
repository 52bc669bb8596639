"""The example learned on the fly from PBE, replayed from its labels without density functional theory."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from trepid.campaign.learn import learn
from trepid.campaign.start import build_crystal, initial_frames
from trepid.config import Campaign, load_campaign
from trepid.data.frames import Labels
from trepid.reference.base import FailureReason, LabelError, Reference
from trepid.runs.label_files import LabelledFrame, compare_before_training
from trepid.runs.ledger_events import Reason, StopReason
from trepid.runs.reading import read_run

FOLDER = Path(__file__).parents[1] / "examples" / "cui-pbe"
REPLAYED = 6
"""Labels of the replayed campaign: later frames depend on the last bits of earlier ones, and with them on the processor."""

TRAINED = 16
"""Labels that the training is gone through again with, for the time it takes."""


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """compare.py of the example."""
    spec = importlib.util.spec_from_file_location("cui_pbe_compare", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def labels(example: ModuleType) -> list[LabelledFrame]:
    """The labels of the example."""
    return example.labels_of_campaign()


class Recorded(Reference):
    """The labels of the example; a frame that is none of theirs fails."""

    name = "recorded"

    def __init__(self, labels: list[LabelledFrame]) -> None:
        self.labels = labels

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"engine": self.name}

    def _compute(self, atoms: Atoms) -> Labels:
        for label in self.labels:
            same = np.allclose(label.atoms.cell.array, atoms.cell.array, atol=1e-6)
            if same and np.abs(label.atoms.positions - atoms.positions).max() < 1e-3:
                return label.labels
        raise LabelError(FailureReason.CRASHED, "recorded: the example has no label of this frame")


def test_the_labels_are_whole(labels: list[LabelledFrame]) -> None:
    for label in labels:
        assert label.atoms.get_chemical_formula() == "Cu8I8"
        assert label.labels.energy is not None
        assert label.labels.stress is not None
        assert np.abs(label.forces.sum(axis=0)).max() < 0.1  # plane waves on a grid: not exactly zero
        assert (label.prediction is None) == (label.origin.reason is Reason.INITIAL)


def test_the_initial_labels_belong_to_the_frames_of_the_campaign(
    example: ModuleType, labels: list[LabelledFrame]
) -> None:
    campaign = example.campaign()
    settings = campaign.learning
    frames = initial_frames(
        build_crystal(campaign.structure),
        settings.initial_frames,
        displacement_A=settings.initial_displacement_A,
        strain=settings.initial_strain,
        seed=campaign.seed,
    )
    for frame, label in zip(frames, labels, strict=False):
        assert label.origin.reason is Reason.INITIAL
        np.testing.assert_allclose(label.atoms.positions, frame.positions, atol=1e-7)
        np.testing.assert_allclose(label.atoms.cell.array, frame.cell.array, atol=1e-7)


def test_the_campaign_asks_for_its_labels_again(labels: list[LabelledFrame], tmp_path: Path) -> None:
    """The first ones: crystal, initial frames, training, molecular dynamics, requests."""
    data = load_campaign(FOLDER / "campaign.yaml").model_dump(mode="json")
    data["learning"]["max_labels"] = REPLAYED
    data["output"]["directory"] = str(tmp_path / "run")
    result = learn(Campaign.model_validate(data), reference=Recorded(labels))
    assert (result.reason, result.n_labels) == (StopReason.LABELS, REPLAYED)
    ours = read_run(tmp_path / "run").labels
    assert [label.origin.step for label in ours] == [label.origin.step for label in labels[:REPLAYED]]


def test_every_label_was_announced_with_bars_that_hold(example: ModuleType, labels: list[LabelledFrame]) -> None:
    """As announced by the run, and by the same training again."""
    announced = compare_before_training(labels)
    assert announced is not None
    stds = announced.forces_std
    assert stds is not None
    assert 0.88 < (np.abs(announced.forces_error) < 1.96 * stds).mean() <= 1.0
    first = labels[:TRAINED]
    found, _ = example.replay(first)
    again = np.mean([figures.forces_mae for figures in found])
    then = compare_before_training(first)
    assert then is not None
    assert again == pytest.approx(np.abs(then.forces_error).mean(), rel=0.3)
    assert 0.85 < np.mean([figures.forces_coverage_95 for figures in found]) <= 1.0
