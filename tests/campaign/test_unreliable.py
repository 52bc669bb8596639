"""A campaign on the fly whose reference fails and gives corrupted labels: it ends with the labels of an error-free one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from campaign_fakes import LoggedReference, campaign
from comparison import frame_hash
from label_fakes import CORRUPTIONS, corrupted
from trepid.campaign.learn import learn
from trepid.data.frames import Labels
from trepid.reference.base import FailureReason, LabelError
from trepid.runs.ledger import read_ledger
from trepid.runs.ledger_events import Doubted, Failure, Label, StopReason

SMALL: dict[str, dict[str, object]] = {
    "potential": {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2},
    "structure": {"supercell": [2, 1, 1]},
    "learning": {"threshold_eV_per_A": 0.012, "initial_frames": 5},
}


class Unreliable(LoggedReference):
    """Fails at one new frame in seven and corrupts two, at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: set[str] = set()
        self.failed: list[str] = []
        self.damaged: list[str] = []

    def _compute(self, atoms: Atoms) -> Labels:
        key = frame_hash(atoms)
        labels = super()._compute(atoms)
        if key in self.frames:
            return labels
        self.frames.add(key)
        turn = len(self.frames) % 7
        if turn == 4:
            self.failed.append(key)
            raise LabelError(FailureReason.NOT_CONVERGED, "no convergence")
        if turn in (2, 6):
            self.damaged.append(key)
            how = CORRUPTIONS[len(self.damaged) % len(CORRUPTIONS)]
            return corrupted(labels, how, np.random.default_rng(0))
        return labels


def run(folder: Path, reference: LoggedReference):  # type: ignore[no-untyped-def]
    folder.mkdir()
    sections = {name: dict(values) for name, values in SMALL.items()}
    sections["structure"]["file"] = str(folder / "cu.extxyz")
    return learn(campaign(folder, **sections), reference=reference)


def test_corrupted_and_failed_labels_do_not_enter_the_model(tmp_path: Path) -> None:
    reference = Unreliable()
    correct = run(tmp_path / "correct", LoggedReference())
    result = run(tmp_path / "unreliable", reference)
    assert reference.failed
    assert reference.damaged
    assert result.reason is StopReason.FINISHED
    assert result.n_labels == correct.n_labels
    # Rejected labels have no effect on what follows.
    for path in sorted((tmp_path / "correct" / "run" / "labels").glob("label-????.extxyz")):
        first, second = read(path), read(tmp_path / "unreliable" / "run" / "labels" / path.name)
        assert first.info["REF_energy"] == second.info["REF_energy"]
        np.testing.assert_array_equal(first.arrays["REF_forces"], second.arrays["REF_forces"])
    events = [entry.event for entry in read_ledger(tmp_path / "unreliable" / "run" / "ledger.jsonl")]
    reasons = [event.reason for event in events if isinstance(event, Failure)]
    assert reasons.count("not_converged") == len(reference.failed)
    assert reasons.count("corrupted") == len(reference.damaged)
    # Two correct labels at most were computed twice.
    doubts = {event.label for event in events if isinstance(event, Doubted)}
    assert len(reference.damaged) <= len(doubts) <= len(reference.damaged) + 2
    assert len({event.label for event in events if isinstance(event, Label)}) == correct.n_labels


def test_checks_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "unchecked"
    folder.mkdir()
    sections = {name: dict(values) for name, values in SMALL.items()}
    sections["structure"]["file"] = str(folder / "cu.extxyz")
    sections["learning"] |= {"check_labels": False, "max_labels": 6}
    reference = Unreliable()
    learn(campaign(folder, **sections), reference=reference)
    events = [entry.event for entry in read_ledger(folder / "run" / "ledger.jsonl")]
    assert not [event for event in events if isinstance(event, Doubted)]
    assert not [event for event in events if isinstance(event, Failure) and event.reason == "corrupted"]


@pytest.mark.parametrize("how", CORRUPTIONS)
def test_a_corruption_changes_a_label(how: str) -> None:
    labels = Labels(-3.0, np.random.default_rng(0).normal(size=(16, 3)))
    bad = corrupted(labels, how, np.random.default_rng(1))
    assert bad.forces is not None
    assert labels.forces is not None
    assert np.abs(bad.forces - labels.forces).max() > 0.1
