"""What the labels of this campaign teach, from labels.extxyz alone: density functional theory is not run.

python compare.py                 # label by label again: error and bar before training on each
python compare.py OTHER.extxyz    # and against other labelled frames of CuI: each set teaches, the other tests
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ase import Atoms

from trepid.campaign.context import potentials_of
from trepid.campaign.training import Trainer
from trepid.config import Campaign, load_campaign
from trepid.data.frames import LabelKeys, read_frames
from trepid.errors import TrepidError
from trepid.evaluation import Evaluation, compare, summarise
from trepid.execution import InlineExecutor
from trepid.potentials.base import Potential
from trepid.runs.label_files import LabelledFrame
from trepid.runs.ledger import Ledger

HERE = Path(__file__).resolve().parent
KEYS = LabelKeys()


def campaign() -> Campaign:
    """The settings of this example."""
    found = load_campaign(HERE / "campaign.yaml")
    assert isinstance(found, Campaign)
    return found


def labels_of_campaign() -> list[LabelledFrame]:
    """The labels in their order, each with the prediction made before training on it."""
    frames = read_frames(HERE / "labels.extxyz", keys=KEYS)
    return [LabelledFrame.from_atoms(frame, KEYS, number=k) for k, frame in enumerate(frames, start=1)]


def replay(labels: Sequence[LabelledFrame]) -> tuple[list[Evaluation], Potential]:
    """Train on the labels in their order, as the campaign does.

    Parameters
    ----------
    labels : sequence of LabelledFrame

    Returns
    -------
    list of Evaluation
        Of every label after the initial ones, on the model of those before it.
    Potential
        Trained on all of them.
    """
    settings = campaign()
    n_initial = settings.learning.initial_frames
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "ledger.jsonl")) as ledger:
        factory = potentials_of(settings, labels[0].atoms)
        trainer = Trainer(factory, ledger, InlineExecutor())
        potential, found = factory.create(), []
        for n in range(n_initial, len(labels) + 1):
            potential = trainer.catch_up(
                potential, labels[:n], Path(folder) / "model.trepid", n_initial=n_initial, optimize_at=None
            )
            if n < len(labels):
                found.append(summarise(compare(potential, [labels[n].atoms])))
        return found, potential


def trained_at_once(frames: Sequence[Atoms]) -> Potential:
    """A model with the settings of the campaign, of labelled frames in any order."""
    potential = potentials_of(campaign(), frames[0]).create()
    potential.fit(list(frames))
    return potential


def line(name: str, potential: Potential, frames: Sequence[Atoms]) -> str:
    """Force error of a model on frames, and the share inside its 95 % bars."""
    figures = summarise(compare(potential, frames))
    coverage = figures.forces_coverage_95
    inside = "" if coverage is None else f", {100 * coverage:.1f} % inside the 95 % bars"
    return (
        f"{name}: {len(frames)} frames, mean absolute force error {1000 * figures.forces_mae:.1f} of "
        f"{1000 * figures.forces_rms:.0f} meV/A rms ({100 * figures.forces_rmse / figures.forces_rms:.1f} %){inside}"
    )


def main() -> None:
    """Command line."""
    labels = labels_of_campaign()
    found, learned = replay(labels)
    print("label   reason        time, ps   T, K   error, meV/A   inside 95 %")
    for label, figures in zip(labels[-len(found) :], found, strict=True):
        origin, inside = label.origin, figures.forces_coverage_95
        print(
            f"{label.number:5d}   {origin.reason.value:12}  {origin.time_fs / 1000:8.3f}   {origin.target_temperature_K:4.0f}"
            f"   {1000 * figures.forces_mae:12.1f}   {'-' if inside is None else f'{100 * inside:.0f} %':>11}"
        )
    ours = [label.atoms for label in labels]
    for path in sys.argv[1:]:
        others = read_frames(Path(path), keys=KEYS)
        theirs = trained_at_once(others)
        # Frames in which an atom has left its site are a test of their own, where the file marks them.
        for name, chosen in (
            ("near their sites", [frame for frame in others if not frame.info.get("event", 0)]),
            ("with an atom off its site", [frame for frame in others if frame.info.get("event", 0)]),
        ):
            if chosen:
                print(line(f"learned on the fly, tested on frames of {Path(path).name} {name}", learned, chosen))
        print(line(f"learned from {Path(path).name}, tested on the labels of the campaign", theirs, ours))


if __name__ == "__main__":
    try:
        main()
    except TrepidError as error:
        sys.exit(f"error: {error}")
