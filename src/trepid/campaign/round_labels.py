"""The labels of a round: the initial frames, and those that were selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trepid.anharmonicity.phonopy_objects import quiet_phonopy
from trepid.campaign.context import CampaignEnded
from trepid.campaign.round_context import RoundContext
from trepid.campaign.start import (
    StoredReference,
    harmonic_reference_of,
    has_labels,
    read_harmonic,
    start_frames,
)
from trepid.config import HarmonicStart
from trepid.data.frames import read_frames, write_frames
from trepid.labelling.case import LabelRequest, latest_failure, none_labelled
from trepid.labelling.check import LabelChecker, LabelHistory
from trepid.potentials.base import Potential, Uncertainty
from trepid.reference.base import LabelError
from trepid.runs.intervals import Announced, event_classes, scored_labels
from trepid.runs.label_files import LabelledFrame, Origin, PriorPrediction
from trepid.runs.ledger_events import Reason, Request, StopReason
from trepid.runs.round_files import Pick, RoundFiles

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference


def label_frames(
    context: RoundContext,
    number: int,
    picks: Sequence[Pick],
    frames: Sequence[Atoms],
    potential: Potential | None,
) -> list[LabelledFrame]:
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
    Interrupted
        A signal came, and labels are missing.
    """
    settings = context.campaign.rounds
    accepted = context.labels_before(min(pick.label for pick in picks)) if picks else []
    announced = _announced(context, number, picks, frames, accepted) if potential is not None else [None] * len(picks)
    requests = [
        LabelRequest(
            pick.label,
            frame,
            _origin(number, pick),
            _prediction(potential, frame),
            forces_uncertainty=pick.forces_uncertainty,
            announced=intervals,
        )
        for pick, frame, intervals in zip(picks, frames, announced, strict=True)
    ]
    checker = None
    if settings.check_labels and picks:
        checker = LabelChecker(LabelHistory.of(accepted), crystal=context.crystal)
    found = context.labeller(retries=settings.retries).label(
        requests,
        checker=checker,
        on_label=lambda label: context.view.message(f"round {number}: label {label.number}, {label.seconds:.2f} s"),
    )
    labelled = [frame for frame in found if frame is not None]
    n_failed = len(picks) - len(labelled)
    if n_failed and settings.on_failure == "stop":
        raise CampaignEnded(StopReason.FAILURES, "a label failed and on_failure is stop")
    if n_failed > settings.max_failed_fraction * len(picks):
        raise CampaignEnded(StopReason.FAILURES, f"{n_failed} of {len(picks)} labels of round {number} failed")
    return labelled


def label_start(context: RoundContext, files: RoundFiles) -> tuple[list[Pick], list[LabelledFrame]]:
    """Make and label the initial frames.

    Returns
    -------
    list of Pick
        Of the frames, without the finite displacements of the force constants.
    list of LabelledFrame
        All initial labels, those included, in the order of their numbers.

    Raises
    ------
    CampaignEnded
        None of them could be labelled, or too many failed.
    """
    if not files.selected.exists():
        frames = start_frames(
            context.campaign, context.crystal, lambda: _harmonic_start(context, files), say=context.view.message
        )
        # Frames whose file was damaged keep their numbers, so that their labels are adopted.
        known = [event.label for event in context.ledger.all(Request) if event.reason is Reason.INITIAL]
        first = min(known) if known else max(context.store.numbers(), default=0) + 1
        for label, frame in enumerate(frames, start=first):
            frame.info["label_index"] = label
        write_frames(files.selected, frames)
    frames = read_frames(files.selected, require=(), keys=context.keys)
    picks = [_initial(int(frame.info["label_index"]), Reason.INITIAL) for frame in frames]
    theirs = {k for k, frame in enumerate(frames) if has_labels(frame, context.keys)}
    for k in sorted(theirs):
        _adopt(context, picks[k], frames[k])
    ours = [k for k in range(len(frames)) if k not in theirs]
    label_frames(context, files.number, [picks[k] for k in ours], [frames[k] for k in ours], None)
    labelled = context.labels_before(picks[-1].label + 1)
    if not labelled:
        raise CampaignEnded(StopReason.FAILURES, none_labelled(context.ledger))
    return picks, labelled


def _announced(
    context: RoundContext,
    number: int,
    picks: Sequence[Pick],
    frames: Sequence[Atoms],
    accepted: Sequence[LabelledFrame],
) -> list[Announced | None]:
    """The intervals announced for the frames of a round, from the labels of the rounds before."""
    scores = scored_labels(accepted, event_classes(context.selections_before(number)))
    return [
        Announced.of(scores, _origin(number, pick), frame.get_chemical_symbols(), pick.event_class)
        for pick, frame in zip(picks, frames, strict=True)
    ]


def _initial(label: int, reason: Reason) -> Pick:
    return Pick(label, reason, walker=0, step=0, time_fs=0.0, temperature_K=0.0)


def _origin(number: int, pick: Pick) -> Origin:
    return Origin(pick.reason, pick.step, pick.time_fs, pick.temperature_K, round=number)


def _prediction(potential: Potential | None, frame: Atoms) -> Callable[[], PriorPrediction]:
    """Predicts a frame before it is labelled."""
    if potential is None:
        return PriorPrediction
    return lambda: PriorPrediction(potential.predict(frame, uncertainty=Uncertainty.EXACT), potential.noise)


def _adopt(context: RoundContext, pick: Pick, frame: Atoms) -> None:
    """Make a labelled frame of the user a label of the campaign."""
    origin = _origin(0, pick)
    if not context.store.path(pick.label).exists():
        context.store.write(LabelledFrame(pick.label, frame, context.keys, origin, seconds=0.0, attempt=0))
    # Computes nothing, since the file exists, and writes the entries of the ledger.
    context.labeller(retries=context.campaign.rounds.retries).label([LabelRequest(pick.label, frame, origin)])


def _harmonic_start(context: RoundContext, files: RoundFiles) -> HarmonicReference:
    """Force constants of the start: the user's, or from finite displacements, which become the first labels."""
    start = context.campaign.start
    assert isinstance(start, HarmonicStart)
    if not files.harmonic.exists():
        from trepid.anharmonicity.phonopy_files import write_phonopy

        if start.force_constants is not None:
            harmonic = read_harmonic(start.force_constants, context.crystal)
        else:
            source = StoredReference(context.reference, _Displaced(context))
            harmonic = harmonic_reference_of(
                context.campaign, source, displacement_A=start.displacement_A, needed_by="start.kind harmonic"
            )
        with quiet_phonopy():
            write_phonopy(harmonic, files.harmonic)
    return read_harmonic(files.harmonic, context.crystal)


class _Displaced:
    """Labels of finite displacements, numbered in the order of the calls: a repeated sequence gives the same labels."""

    def __init__(self, context: RoundContext) -> None:
        self._context = context
        self._labeller = context.labeller(retries=context.campaign.rounds.retries)
        self._number = 0

    def __call__(self, atoms: Atoms) -> Atoms:
        self._context.stop_if_interrupted()
        self._number += 1
        origin = _origin(0, _initial(self._number, Reason.HARMONIC))
        labelled = self._labeller.label([LabelRequest(self._number, atoms, origin)])[0]
        if labelled is not None:
            return labelled.atoms
        failure = latest_failure(self._context.ledger, self._number)
        assert failure is not None
        raise LabelError(
            failure.reason,
            f"label {self._number}, a finite displacement for the force constants, failed: {failure.text}; "
            "start.kind displaced and start.force_constants need no such labels",
        )
