"""The end of a round: calibration on its labels, training, test, sigma^A, the record, and whether another round follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.calibration import calibration
from trepid.acquisition.conformal import Basis, Factor, ScoredFrame, factor_of
from trepid.anharmonicity.ensemble import ensemble_of, ensemble_sigma_a
from trepid.arrays import FloatArray
from trepid.campaign.round_context import RoundContext
from trepid.campaign.start import has_phonopy, read_harmonic
from trepid.config import RoundSettings
from trepid.evaluation import evaluate, summarise
from trepid.reference.base import FailureReason
from trepid.runs.intervals import event_classes, scored_labels
from trepid.runs.label_files import LabelledFrame, compare_before_training
from trepid.runs.ledger_events import Failure, StopReason
from trepid.runs.properties import property_status
from trepid.runs.round_files import ALL, Calibrated, ClassVerdict, Pick, RoundFiles, RoundRecord, Selection, SigmaA
from trepid.runs.walk_files import Walk

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.force_source import ForceSource
    from trepid.anharmonicity.harmonic import HarmonicReference

MIN_CHECKS = 10
"""Checks below which a walk gives no sigma^A."""
SAMPLES, SAMPLED_FRAMES = 8, 8
"""Posterior samples, and frames, that give the error of sigma^A that comes from the model."""


@dataclass(frozen=True)
class Judgements:
    """What the audits of a round came to.

    Attributes
    ----------
    verdicts : tuple of ClassVerdict
    labelled : tuple of LabelledFrame
        The new labels.
    next_label : int
        Number of the first label of the next round.
    """

    verdicts: tuple[ClassVerdict, ...] = ()
    labelled: tuple[LabelledFrame, ...] = ()
    next_label: int = 1


def finish_round(
    context: RoundContext,
    files: RoundFiles,
    picks: Sequence[Pick],
    labelled: Sequence[LabelledFrame],
    *,
    walks: Sequence[Walk] = (),
    selection: Selection | None = None,
    judged: Judgements | None = None,
    test_frames: Sequence[Atoms] = (),
) -> RoundRecord:
    """Train on the labels of a round, and make its record.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
    picks : sequence of Pick
        All frames that were to be labelled.
    labelled : sequence of LabelledFrame
        Those that have a label.
    walks, selection
        Of the round; none in round 0.
    judged : Judgements, optional
        Of event classes; their labels are trained on too, and do not count for calibration and errors: they were not chosen by
        uncertainty.
    test_frames : sequence of Atoms
        Labelled frames of the user.

    Raises
    ------
    Interrupted
        A signal came before the training.
    """
    judged = judged or Judgements()
    comparison = compare_before_training(labelled)
    # On the model of the walks, which training replaces.
    sigma_a = _sigma_a(context, files, walks)
    new = [*labelled, *judged.labelled]
    if new and not files.model.exists():
        context.stop_if_interrupted()
        fresh = files.number == 0
        model = context.potentials.create() if fresh else context.loaded(context.model_before(files.number))
        trained = context.trainer.train(
            model, new, files.model, fresh=fresh, optimize=True, known=context.labels_before(context.next_label)
        )
        context.keep(files.model, trained)
    potential = context.loaded(files.model if files.model.exists() else context.model_before(files.number))
    context.trainer.note_missing(potential)
    noise = float(potential.noise.forces)
    rejected = _count_corrupted(context, picks)
    return RoundRecord(
        round=files.number,
        labels=tuple(label.number for label in new),
        n_failed=sum(not context.store.path(pick.label).exists() for pick in picks),
        n_corrupted=rejected,
        n_labels=context.n_labels + len(new),
        next_label=max([context.next_label, judged.next_label, *(pick.label + 1 for pick in picks)]),
        walks=tuple(walk.summary for walk in walks),
        new=None if comparison is None else summarise(comparison),
        test=evaluate(potential, test_frames, keys=context.keys) if test_frames else None,
        calibration=_calibration(context, picks, labelled),
        sigma_a=sigma_a,
        n_worthy=0 if selection is None else selection.n_worthy,
        new_classes=() if selection is None else selection.new_classes,
        noise_forces=noise if np.isfinite(noise) else 0.0,
        verdicts=judged.verdicts,
    )


def _calibration(
    context: RoundContext, picks: Sequence[Pick], labelled: Sequence[LabelledFrame]
) -> dict[str, Calibrated]:
    """Of the labels of a round."""
    classes = event_classes(context.selections_before(context.records[-1].round + 1)) if context.records else {}
    own = {pick.label: pick.event_class for pick in picks}
    return calibrate(scored_labels(labelled, own), scored_labels(context.labels_before(context.next_label), classes))


def _count_corrupted(context: RoundContext, picks: Sequence[Pick]) -> int:
    """Labels of these frames that were rejected as corrupted."""
    numbers = {pick.label for pick in picks}
    failures = [event for event in context.ledger.all(Failure) if event.label in numbers]
    return sum(event.reason is FailureReason.CORRUPTED for event in failures)


def _sigma_a(context: RoundContext, files: RoundFiles, walks: Sequence[Walk]) -> tuple[SigmaA, ...]:
    """sigma^A of the walks; nothing without phonopy."""
    if not walks or not has_phonopy():
        return ()
    potential = context.loaded(context.model_before(files.number))
    harmonic = read_harmonic(context.harmonic_file(files, potential), context.crystal)
    equilibrate_ps = context.campaign.walkers.equilibrate_ps
    found = sigma_a_of_walks(walks, harmonic, equilibrate_ps=equilibrate_ps)
    if context.campaign.rounds.stop is None:
        return found
    ensemble = ensemble_of(potential, SAMPLES, context.campaign.seed)
    own = not context.files(0).harmonic.exists()
    return tuple(
        replace(
            value, model_error=_model_error(value.temperature_K, walks, harmonic, ensemble, equilibrate_ps, own=own)
        )
        for value in found
    )


def _model_error(
    temperature_K: float,
    walks: Sequence[Walk],
    harmonic: HarmonicReference,
    ensemble: Sequence[ForceSource],
    equilibrate_ps: float,
    *,
    own: bool,
) -> float | None:
    """Standard deviation of sigma^A over an ensemble, on a few frames of the walks at a temperature; None without an ensemble."""
    if len(ensemble) < 2:
        return None
    frames = []
    for walk in walks:
        if walk.summary.temperature_K == temperature_K and not walk.summary.biased:
            for k in np.flatnonzero(walk.equilibrium(equilibrate_ps)):
                frame = harmonic.supercell.copy()
                frame.set_positions(walk.positions[k].astype(np.float64))
                frames.append(frame)
    chosen = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, SAMPLED_FRAMES).round().astype(int))]
    return float(ensemble_sigma_a(ensemble, harmonic, chosen, own_harmonic=own).std(ddof=1))


def calibrate(frames: Sequence[ScoredFrame], earlier: Sequence[ScoredFrame]) -> dict[str, Calibrated]:
    """Calibration of the force uncertainty on the labels of a round, by species, as announced and with the factors in force.

    Parameters
    ----------
    frames, earlier : sequences of ScoredFrame
        Labels of the round, and of the rounds before, which give the factors.

    Returns
    -------
    dict of str to Calibrated
        By species, and "all"; empty where no frame was predicted with an error bar.
    """
    known = [
        (name, scores, factor_of(earlier, frame.strata, name))
        for frame in frames
        for name, scores in frame.scores.items()
    ]
    return {
        name: _calibrated([(scores, factor) for species, scores, factor in known if name in (ALL, species)])
        for name in ([ALL, *sorted({species for species, _, _ in known})] if known else [])
    }


def _calibrated(known: Sequence[tuple[FloatArray, Factor]]) -> Calibrated:
    scores, factors = (
        np.concatenate(parts) for parts in zip(*((s, np.full(s.size, f.value)) for s, f in known), strict=True)
    )
    given = any(factor.basis is not Basis.NONE for _, factor in known)
    return Calibrated(
        before=calibration(scores, np.ones(scores.size)),
        factor=float(factors.mean()) if given else None,
        after=calibration(scores, factors) if given else None,
    )


def typical_force(labels: Sequence[LabelledFrame]) -> float:
    """Root mean square, over atoms, of the norm of the labelled forces, eV/A."""
    return float(np.sqrt(np.mean(np.concatenate([(label.forces**2).sum(axis=1) for label in labels]))))


def sigma_a_of_walks(
    walks: Sequence[Walk], harmonic: HarmonicReference, *, equilibrate_ps: float
) -> tuple[SigmaA, ...]:
    """sigma^A at every temperature, from the equilibrium checks of its walks without bias."""
    from trepid.anharmonicity.blocking import block_error
    from trepid.anharmonicity.measure import force_sums

    found = []
    for temperature in sorted({walk.summary.temperature_K for walk in walks}):
        series = []
        for walk in walks:
            if walk.summary.temperature_K != temperature or walk.summary.biased:
                continue
            checks = np.flatnonzero(walk.equilibrium(equilibrate_ps))
            for k in checks:
                frame = harmonic.supercell.copy()
                frame.set_positions(walk.positions[k].astype(np.float64))
                parts = force_sums(walk.forces[k], harmonic.forces(frame, check_order=False))
                series.append([float(parts.anharmonic.sum()), float(parts.total.sum())])
        if len(series) < MIN_CHECKS:
            continue
        sums = np.array(series)
        error = block_error(sums, lambda mean: float(np.sqrt(mean[0] / mean[1])))
        value = float(np.sqrt(sums[:, 0].sum() / sums[:, 1].sum()))
        found.append(SigmaA(temperature, value, error.error if np.isfinite(error.error) else None))
    return tuple(found)


# ---------------------------------------------------------------------- whether another round follows


def verdict(
    records: Sequence[RoundRecord], settings: RoundSettings, *, hours: float, selections: Sequence[Selection] = ()
) -> tuple[StopReason, str] | None:
    """Why the campaign ends, and a detail; None where another round follows.

    Parameters
    ----------
    records : sequence of RoundRecord
        Of the complete rounds, round 0 included.
    settings : RoundSettings
    hours : float
        Wall time of all starts of the campaign.
    selections : sequence of Selection
        Of these rounds, with the events of their walks; for `settings.stop`.
    """
    if not records:
        return None
    n_labels = records[-1].n_labels
    if settings.stop is not None:
        status = property_status(records, selections, settings.stop, audited=settings.audit is not None)
        if status.met:  # first: the last labels of a budget may be those that make them known
            return StopReason.CONVERGED, f"the properties are known: {status.line()}"
    if settings.max_labels is not None and n_labels >= settings.max_labels:
        return StopReason.LABELS, f"{n_labels} of {settings.max_labels} labels"
    quiet = [record.n_worthy == 0 and not record.labels for record in records[1:]]
    # With properties to be known, walks without a candidate still add to what is known of them.
    if settings.stop is None and len(quiet) >= settings.patience and all(quiet[-settings.patience :]):
        return StopReason.CONVERGED, f"no candidate was selected in {settings.patience} rounds in a row"
    if tolerances_met(records, settings):
        return StopReason.CONVERGED, "the tolerances are met"
    if len(records) > settings.max_rounds:
        return StopReason.FINISHED, f"{settings.max_rounds} rounds"
    if settings.max_hours is not None and hours >= settings.max_hours:
        return StopReason.HOURS, f"{hours:.2f} of {settings.max_hours:g} h"
    return None


def tolerances_met(records: Sequence[RoundRecord], settings: RoundSettings) -> bool:
    """Whether the last round is converged: small errors on new labels, no new event class, constant sigma^A.

    A small force error alone is not convergence; without sigma^A (no phonopy) the other two conditions remain.
    """
    tolerance = settings.force_error_tolerance_meV_per_A
    if tolerance is None or len(records) < 3:
        return False
    last, before = records[-1], records[-2]
    if last.new is None or last.new_classes or 1000 * last.new.forces_mae > tolerance:
        return False
    earlier = {value.temperature_K: value.value for value in before.sigma_a}
    return all(
        abs(value.value - earlier.get(value.temperature_K, np.inf)) <= settings.sigma_a_tolerance
        for value in last.sigma_a
    )
