"""The end of a round: calibration on its labels, training, test, and the record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.campaign.assess import calibrate, compare_before_training, sigma_a_of_walks
from trepid.campaign.learner import teach, training_event
from trepid.runs.ledger import Train
from trepid.campaign.round_context import RoundContext
from trepid.runs.round_files import Pick, RoundFiles, RoundRecord, Selection, SigmaA
from trepid.campaign.round_labels import n_corrupted
from trepid.campaign.round_start import has_phonopy, read_harmonic
from trepid.campaign.walkers import Walk
from trepid.evaluation import Evaluation, evaluate, summarise

if TYPE_CHECKING:
    from ase import Atoms


def finish_round(
    context: RoundContext,
    files: RoundFiles,
    picks: Sequence[Pick],
    labelled: Sequence[Atoms],
    *,
    walks: Sequence[Walk] = (),
    selection: Selection | None = None,
    test_frames: Sequence[Atoms] = (),
) -> RoundRecord:
    """Train on the labels of a round, and draw up its record.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
    picks : sequence of Pick
        All frames that a label was asked for.
    labelled : sequence of Atoms
        Those that have one.
    walks, selection
        Of the round; none in round 0.
    test_frames : sequence of Atoms
        Labelled frames of the user's.
    """
    comparison = compare_before_training(labelled, context.keys)
    if labelled and not files.model.exists():
        context.stop_if_asked()
        _train(context, files, labelled)
    n_labels = context.n_labels + len(labelled)
    test, noise = _test(context, files, n_labels, test_frames)
    return RoundRecord(
        round=files.number,
        labels=tuple(int(frame.info["label_index"]) for frame in labelled),
        n_failed=sum(not context.store.path(pick.label).exists() for pick in picks),
        n_corrupted=n_corrupted(context, picks),
        n_labels=n_labels,
        next_label=max([context.next_label, *(pick.label + 1 for pick in picks)]),
        walks=tuple(walk.summary for walk in walks),
        new=None if comparison is None else summarise(comparison),
        test=test,
        calibration=calibrate(comparison, context.records),
        sigma_a=_sigma_a(context, files, walks),
        n_worthy=0 if selection is None else selection.n_worthy,
        new_classes=() if selection is None else selection.new_classes,
        noise_forces=noise,
    )


def _train(context: RoundContext, files: RoundFiles, labelled: Sequence[Atoms]) -> None:
    """Make the model of the round: of the one before it and these labels."""
    began = time.perf_counter()
    fresh = files.number == 0
    potential = context.potentials.create() if fresh else context.potentials.load(context.model_before(files.number))
    try:
        optimized = teach(potential, labelled, fresh=fresh, executor=context.executor)
        potential.save(files.model)
        seconds = time.perf_counter() - began
        context.ledger.append(training_event(potential, optimized=optimized, seconds=seconds))
    finally:
        getattr(potential, "close", lambda: None)()


def _test(
    context: RoundContext, files: RoundFiles, n_labels: int, test_frames: Sequence[Atoms]
) -> tuple[Evaluation | None, float]:
    """The model after the round on the test frames, and its force noise, eV/A."""
    model = files.model if files.model.exists() else context.model_before(files.number)
    with context.loaded(model) as potential:
        # A kill between the model file and the ledger: the training is done, only its entry is missing.
        if n_labels not in {event.n_labels for event in context.ledger.all(Train)}:
            context.ledger.append(training_event(potential, optimized=False, seconds=0.0))
        noise = float(potential.noise.forces)
        test = evaluate(potential, test_frames, keys=context.keys) if test_frames else None
    return test, noise if np.isfinite(noise) else 0.0


def _sigma_a(context: RoundContext, files: RoundFiles, walks: Sequence[Walk]) -> tuple[SigmaA, ...]:
    """sigma^A of the walks; nothing without phonopy."""
    if not walks or not has_phonopy():
        return ()
    with context.loaded(context.model_before(files.number)) as potential:
        harmonic = read_harmonic(context.harmonic_file(files, potential), context.crystal)
    return sigma_a_of_walks(walks, harmonic, equilibrate_ps=context.campaign.walkers.equilibrate_ps)
