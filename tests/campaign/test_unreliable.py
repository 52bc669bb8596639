"""A campaign on the fly whose reference fails and lies: it ends with the labels of one that does neither."""

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
from trepid.runs.ledger import Doubted, Failure, Label, StopReason, read_ledger

SMALL: dict[str, dict[str, object]] = {
    "potential": {"pair_cutoff_A": 4.0, "triplet_cutoff_A": 3.2, "n_pair": 8, "n_radial": 4, "l_max": 2},
    "structure": {"supercell": [2, 1, 1]},
    "learning": {"threshold_eV_per_A": 0.012, "initial_frames": 5},
}


class Lying(LoggedReference):
    """Fails at one new frame in seven and lies about two, the first time it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.failed: list[str] = []
        self.lied: list[str] = []

    def _compute(self, atoms: Atoms) -> Labels:
        key = frame_hash(atoms)
        labels = super()._compute(atoms)
        if key in self.asked:
            return labels
        self.asked.add(key)
        turn = len(self.asked) % 7
        if turn == 4:
            self.failed.append(key)
            raise LabelError(FailureReason.NOT_CONVERGED, "no convergence")
        if turn in (2, 6):
            self.lied.append(key)
            how = CORRUPTIONS[len(self.lied) % len(CORRUPTIONS)]
            return corrupted(labels, how, np.random.default_rng(0))
        return labels


def run(folder: Path, reference: LoggedReference):  # type: ignore[no-untyped-def]
    folder.mkdir()
    sections = {name: dict(values) for name, values in SMALL.items()}
    sections["structure"]["file"] = str(folder / "cu.extxyz")
    return learn(campaign(folder, **sections), reference=reference)


def test_the_loop_survives_and_nothing_corrupted_is_learned(tmp_path: Path) -> None:
    reference = Lying()
    honest = run(tmp_path / "honest", LoggedReference())
    result = run(tmp_path / "lying", reference)
    assert reference.failed
    assert reference.lied
    assert result.reason is StopReason.FINISHED
    assert result.n_labels == honest.n_labels
    # From the first rejected label on, everything is as if it had never come.
    for path in sorted((tmp_path / "honest" / "run" / "labels").glob("label-????.extxyz")):
        first, second = read(path), read(tmp_path / "lying" / "run" / "labels" / path.name)
        assert first.info["REF_energy"] == second.info["REF_energy"]
        np.testing.assert_array_equal(first.arrays["REF_forces"], second.arrays["REF_forces"])
    events = [entry.event for entry in read_ledger(tmp_path / "lying" / "run" / "ledger.jsonl")]
    reasons = [event.reason for event in events if isinstance(event, Failure)]
    assert reasons.count("not_converged") == len(reference.failed)
    assert reasons.count("corrupted") == len(reference.lied)
    # Two surprises at most were asked about twice for nothing.
    doubts = {event.label for event in events if isinstance(event, Doubted)}
    assert len(reference.lied) <= len(doubts) <= len(reference.lied) + 2
    assert len({event.label for event in events if isinstance(event, Label)}) == honest.n_labels


def test_checks_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "trusting"
    folder.mkdir()
    sections = {name: dict(values) for name, values in SMALL.items()}
    sections["structure"]["file"] = str(folder / "cu.extxyz")
    sections["learning"] |= {"check_labels": False, "max_labels": 6}
    reference = Lying()
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
