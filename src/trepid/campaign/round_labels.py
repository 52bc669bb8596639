"""The labels of a round: those to start from, and those that were chosen; many at once through the executor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from trepid.runs.checkpoint import Pending
from trepid.campaign.label_check import LabelChecker, LabelHistory
from trepid.campaign.labels import Before, Labeller
from trepid.runs.ledger import Failure, Reason, StopReason
from trepid.campaign.parallel_labels import LabelRequest, label_batch
from trepid.campaign.round_context import CampaignEnded, RoundContext
from trepid.runs.round_files import Pick, RoundFiles
from trepid.campaign.round_start import (
    RememberedReference,
    harmonic_reference_of,
    has_labels,
    quiet_phonopy,
    read_harmonic,
    start_frames,
)
from trepid.config import HarmonicStart
from trepid.data.frames import read_frames, write_frames
from trepid.potentials.base import Potential, Uncertainty
from trepid.reference.base import FailureReason

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference


def label_frames(
    context: RoundContext,
    number: int,
    picks: Sequence[Pick],
    frames: Sequence[Atoms],
    potential: Potential | None,
) -> list[Atoms]:
    """Label the frames of a round; those that failed are left out.

    Parameters
    ----------
    context : RoundContext
    number : int
        Of the round.
    picks, frames : sequences of equal length
    potential : Potential or None
        Predicts every frame before it is labelled; None where there is no model yet.

    Raises
    ------
    CampaignEnded
        Too many labels failed.
    LabelInterrupted
        A signal came, and labels are missing.
    """
    settings = context.campaign.rounds
    requests = [
        LabelRequest(
            Pending(pick.label, pick.step, Reason(pick.reason), pick.uncertainty),
            frame,
            partial(_before, number, pick, frame, potential),
        )
        for pick, frame in zip(picks, frames, strict=True)
    ]
    checker = None
    if settings.check_labels and picks:
        known = context.labels_before(min(pick.label for pick in picks))
        checker = LabelChecker(LabelHistory.of(known, context.keys), crystal=context.crystal, keys=context.keys)
    found = label_batch(
        requests,
        context.reference,
        context.executor,
        store=context.store,
        ledger=context.ledger,
        retries=settings.retries,
        checker=checker,
        interrupted=context.interrupted,
        on_label=partial(_tell, context, number),
    )
    labelled = [frame for frame in found if frame is not None]
    n_failed = len(picks) - len(labelled)
    if n_failed and settings.on_failure == "stop":
        raise CampaignEnded(StopReason.FAILURES, "a label failed and on_failure is stop")
    if n_failed > settings.max_failed_fraction * len(picks):
        raise CampaignEnded(StopReason.FAILURES, f"{n_failed} of {len(picks)} labels of round {number} failed")
    return labelled


def label_start(context: RoundContext, files: RoundFiles) -> tuple[list[Pick], list[Atoms]]:
    """Choose and label the frames a campaign starts from.

    Returns
    -------
    list of Pick
        Of the frames, without the displaced crystals behind force constants.
    list of Atoms
        All labels of the start, those included, in the order of their numbers.

    Raises
    ------
    CampaignEnded
        None of them could be labelled, or too many failed.
    """
    if not files.selected.exists():
        frames = start_frames(context.campaign, context.crystal, lambda: _harmonic_start(context, files))
        for label, frame in enumerate(frames, start=max(context.store.numbers(), default=0) + 1):
            frame.info["label_index"] = label
        write_frames(files.selected, frames)
    frames = read_frames(files.selected, require=(), keys=context.keys)
    picks = [
        Pick(int(frame.info["label_index"]), Reason.INITIAL.value, walker=0, step=0, time_fs=0.0, temperature_K=0.0)
        for frame in frames
    ]
    theirs = {k for k, frame in enumerate(frames) if has_labels(frame, context.keys)}
    for k in sorted(theirs):
        _adopt(context, picks[k], frames[k])
    ours = [k for k in range(len(frames)) if k not in theirs]
    label_frames(context, files.number, [picks[k] for k in ours], [frames[k] for k in ours], None)
    labelled = context.labels_before(picks[-1].label + 1)
    if not labelled:
        raise CampaignEnded(StopReason.FAILURES, "none of the frames to start from could be labelled")
    return picks, labelled


def n_corrupted(context: RoundContext, picks: Sequence[Pick]) -> int:
    """Answers of the reference for these frames that were rejected as corrupted."""
    numbers = {pick.label for pick in picks}
    reasons = [event.reason for event in context.ledger.all(Failure) if event.label in numbers]
    return reasons.count(FailureReason.CORRUPTED.value)


def _tell(context: RoundContext, number: int, frame: Atoms) -> None:
    context.view.message(f"round {number}: label {frame.info['label_index']}, {frame.info['label_seconds']:.2f} s")


def _before(number: int, pick: Pick, frame: Atoms, potential: Potential | None) -> Before:
    """What the model says about a frame before it learns it."""
    return Before(
        time_fs=pick.time_fs,
        stage=number,
        target_temperature_K=pick.temperature_K,
        prediction=None if potential is None else potential.predict(frame, uncertainty=Uncertainty.EXACT),
        noise=None if potential is None else potential.noise,
    )


def _labeller(context: RoundContext) -> Labeller:
    return Labeller(
        context.reference,
        context.store,
        context.ledger,
        retries=context.campaign.rounds.retries,
        interrupted=context.interrupted,
    )


def _adopt(context: RoundContext, pick: Pick, frame: Atoms) -> None:
    """Make a frame that the user has labelled a label of the campaign."""
    if not context.store.path(pick.label).exists():
        labelled = frame.copy()
        labelled.info.update(
            {"label_index": pick.label, "step": 0, "time_fs": 0.0, "stage": 0, "target_temperature_K": 0.0}
        )
        labelled.info.update({"reason": pick.reason, "label_seconds": 0.0, "label_attempt": 0})
        context.store.write(pick.label, labelled)
    # Asks nobody, since the file is there, and makes the entries of the ledger.
    _labeller(context).obtain(
        Pending(pick.label, 0, Reason(pick.reason)), frame, partial(_before, 0, pick, frame, None)
    )


def _harmonic_start(context: RoundContext, files: RoundFiles) -> HarmonicReference:
    """Force constants of the start: the user's, or from displaced crystals, which become the first labels."""
    start = context.campaign.start
    assert isinstance(start, HarmonicStart)
    if not files.harmonic.exists():
        from trepid.anharmonicity.phonopy_files import write_phonopy

        if start.force_constants is not None:
            harmonic = read_harmonic(start.force_constants, context.crystal)
        else:
            source = RememberedReference(context.reference, _Displaced(context))
            harmonic = harmonic_reference_of(context.campaign, source, displacement_A=start.displacement_A)
        with quiet_phonopy():
            write_phonopy(harmonic, files.harmonic)
    return read_harmonic(files.harmonic, context.crystal)


class _Displaced:
    """Labels of displaced crystals, numbered as they are asked for: the same ones when they are asked for again."""

    def __init__(self, context: RoundContext) -> None:
        self._context, self._labeller = context, _labeller(context)
        self._number = 0

    def __call__(self, atoms: Atoms) -> Atoms | None:
        self._context.stop_if_asked()
        self._number += 1
        pick = Pick(self._number, Reason.HARMONIC.value, walker=0, step=0, time_fs=0.0, temperature_K=0.0)
        return self._labeller.obtain(
            Pending(self._number, 0, Reason.HARMONIC), atoms, partial(_before, 0, pick, atoms, None)
        )
