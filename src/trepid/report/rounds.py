"""The sections of the report for a campaign in rounds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trepid.config import RoundsCampaign
from trepid.events.classes import event_rate
from trepid.quantities import with_bar
from trepid.report.page import Section, Table, draw
from trepid.runs.ledger_events import Reason
from trepid.runs.properties import property_status

if TYPE_CHECKING:
    from trepid.runs.reading import RunRecord
    from trepid.runs.round_files import ClassVerdict


def rounds_sections(record: RunRecord) -> list[Section]:
    """Sections in the order of the page: learning curve, selection, calibration, anharmonicity, events, properties."""
    sections = [_learned(record)]
    if record.selections:
        sections.append(_chose(record))
    return (
        sections + _calibrated(record) + _anharmonic(record) + _events(record) + _verdicts(record) + _properties(record)
    )


_RECENT = 3
"""Rounds whose errors tell whether more of them help."""


def progress_sentence(record: RunRecord) -> list[str]:
    """Whether the error on new labels still falls; nothing before three rounds have one."""
    errors = [(each.round, each.new.forces_mae) for each in record.rounds if each.new is not None]
    if len(errors) < _RECENT:
        return []
    recent = errors[-_RECENT:]
    told = ", ".join(f"{1000 * error:.3g}" for _, error in recent)
    fallen = recent[-1][1] < 0.9 * recent[0][1]
    verb = "falls" if fallen else "has not fallen"
    return [
        f"The error on new labels, before training on them, {verb} over the rounds {recent[0][0]} to {recent[-1][0]}: {told} meV/A "
        "(mean absolute, of frames chosen by uncertainty)."
    ]


def _learned(record: RunRecord) -> Section:
    return Section(
        "Learning curve",
        "New labels are frames selected for their high uncertainty, predicted before training: their errors are larger "
        "than on an average frame. Test frames, if given, are never trained on.",
        draw(
            (
                "learning-curve",
                "trepid.report.round_plots",
                lambda plots: plots.learning_curve(record.rounds),
                "Mean absolute force error over the number of training labels.",
            ),
        ),
        table=_rounds_table(record),
    )


def _rounds_table(record: RunRecord) -> Table:
    rows = []
    for each in record.rounds:
        selection = next((s for s in record.selections if s.round == each.round), None)
        rows.append(
            (
                str(each.round),
                f"{each.n_labels}",
                str(len(each.labels)),
                "" if selection is None else f"{len(selection.uncertainty)}",
                "" if selection is None else f"{each.n_worthy}",
                "" if each.new is None else f"{1000 * each.new.forces_mae:.1f}",
                "" if each.test is None else f"{1000 * each.test.forces_mae:.1f}",
                f"{each.n_failed}" + (f" (+{each.n_corrupted} corrupted)" if each.n_corrupted else ""),
            )
        )
    head = ("round", "labels", "new", "candidates", "eligible", "error on new, meV/Å", "on test, meV/Å", "failed")
    return Table(head, tuple(rows))


def _chose(record: RunRecord) -> Section:
    reasons = Counter(pick.reason for selection in record.selections for pick in selection.picks)
    told = {
        Reason.UNCERTAINTY: "by uncertainty",
        Reason.EVENT: "for a new class of events",
        Reason.PROBE: "on paths to empty sites (probes)",
        Reason.RANDOM: "at random",
        Reason.HOT: "evenly from the hottest trajectories",
    }
    counted = ", ".join(f"{n} {told.get(reason, reason.value)}" for reason, n in sorted(reasons.items()))
    assert isinstance(record.campaign, RoundsCampaign)
    measure = record.campaign.acquisition.measure
    return Section(
        "Selected configurations",
        f"Selected: {counted or 'none'}. The uncertainty of a frame is its {measure.value}; P_U compares it with the coldest "
        "trajectory of the same round.",
        draw(
            (
                "uncertainty-by-round",
                "trepid.report.round_plots",
                lambda plots: plots.uncertainty_by_round(record.selections, measure=measure),
                "One point per candidate; the line marks P_U = 1/2, diamonds are selected frames.",
            ),
            (
                "why-chosen",
                "trepid.report.round_plots",
                lambda plots: plots.why_chosen(record.selections),
                "Candidates at the top right are uncertain and energetically accessible, and so worth a label. Diamonds are "
                "selected frames; dashed: P_U = 1/2.",
            ),
        ),
    )


def _calibrated(record: RunRecord) -> list[Section]:
    pictures = draw(
        (
            "coverage-by-round",
            "trepid.report.round_plots",
            lambda plots: plots.coverage_by_round(record.rounds),
            "Force components of new labels inside the predicted intervals, from uncertainty and residual noise.",
        )
    )
    if not pictures:
        return []
    rows = []
    for each in record.rounds:
        for name, value in each.calibration.items():
            after = value.after
            rows.append(
                (
                    str(each.round),
                    name,
                    f"{value.before.n}",
                    f"{100 * value.before.coverage_68:.0f}",
                    f"{100 * value.before.coverage_95:.0f}",
                    f"{value.before.scale:.2f}",
                    "" if value.factor is None else f"{value.factor:.2f}",
                    "" if after is None else f"{100 * after.coverage_68:.0f}",
                    "" if after is None else f"{100 * after.coverage_95:.0f}",
                )
            )
    head = ("round", "species", "components", "68 %", "95 %", "scale", "factor", "68 % corrected", "95 % corrected")
    text = (
        "The factor corrects the intervals by the labels of earlier rounds (mean over the strata of the round); it does not "
        "depend on the labels it is tested on. The scale would fit the predicted to the true errors of the round itself."
    )
    return [Section("Calibration by round", text, pictures, table=Table(head, tuple(rows)))]


def _anharmonic(record: RunRecord) -> list[Section]:
    pictures = draw(
        (
            "sigma-a",
            "trepid.report.round_plots",
            lambda plots: plots.sigma_a_by_round(record.rounds),
            "From the equilibrium part of the trajectories, with the model they ran on; bars are one standard deviation.",
        )
    )
    text = "σA: rms of the anharmonic part of the forces over rms of the forces. Converged when it is constant over rounds."
    return [Section("Anharmonicity", text, pictures)] if pictures else []


def _events(record: RunRecord) -> list[Section]:
    rows = []
    for selection in record.selections:
        for event in selection.events:
            rate = event_rate(event.count, event.time_ps) if event.time_ps > 0 else None
            new = "new" if event.event_class in selection.new_classes else ""
            interval = (
                "-"
                if rate is None
                else f"{100 * rate.rate_per_ps:.2g} ({100 * rate.low_per_ps:.2g} to {100 * rate.high_per_ps:.2g})"
            )
            rows.append(
                (str(selection.round), f"{event.temperature_K:g}", event.event_class, str(event.count), interval, new)
            )
    if not rows:
        return []
    head = ("round", "K", "event", "count", "per 100 ps", "")
    text = (
        "Events in the trajectories on the model: atoms that left their sites. Rates with the central 68 % interval of a "
        "Poisson process; the first event of a class is labelled along its path."
    )
    return [Section("Events", text, (), table=Table(head, tuple(rows)))]


def _verdicts(record: RunRecord) -> list[Section]:
    """The verdict of every event class over the rounds."""
    judged = [each for each in record.rounds if each.verdicts]
    if not judged:
        return []
    names = sorted({verdict.event_class for each in judged for verdict in each.verdicts})
    by_round = [{verdict.event_class: verdict for verdict in each.verdicts} for each in judged]
    rows = []
    for name in names:
        cells = [_verdict_cell(verdicts[name]) if name in verdicts else "" for verdicts in by_round]
        last = next(verdicts[name] for verdicts in reversed(by_round) if name in verdicts)
        n_labels = len({number for verdicts in by_round if name in verdicts for number in verdicts[name].labels})
        rounds = {k for v in by_round if name in v and (k := v[name].overlooked_by) is not None}
        before = "".join(f"; overlooked by the model of round {number}" for number in sorted(rounds))
        rows.append((name, *cells, str(n_labels), last.reason + before))
    head = ("event class", *(f"round {each.round}" for each in judged), "labels", "last reason")
    text = (
        "Every class judged on the model of the walks that showed it, before training: barriers of model and reference in eV "
        "with 95 % bars. Genuine: its rate is right within the factor asked for; miscaptured: it exists, at another rate; "
        "hallucinated: the reference has no such event within reach; undecided: the bars are too wide. Overlooked: the first "
        "model, or that of the walks before, did not show it and puts a possible event out of reach."
    )
    return [Section("Verdicts", text, (), table=Table(head, tuple(rows)))]


def _verdict_cell(verdict: ClassVerdict) -> str:
    barriers = []
    for name, value, bar in (
        ("model", verdict.model_barrier_eV, verdict.model_bar_eV),
        ("reference", verdict.reference_barrier_eV, verdict.reference_bar_eV),
    ):
        if value is not None:
            barriers.append(f"{name} {with_bar(value, bar, decimals=2)}")
    return verdict.verdict + (f": {', '.join(barriers)}" if barriers else "")


def _properties(record: RunRecord) -> list[Section]:
    """What is known of the properties that the campaign ends on, and what is missing."""
    assert isinstance(record.campaign, RoundsCampaign)
    settings = record.campaign.rounds
    if settings.stop is None or not record.selections:
        return []
    audited = settings.audit is not None
    status = property_status(record.rounds, record.selections, settings.stop, audited=audited)
    rows = [(line, "known") for line in status.known] + [(line, "missing") for line in status.missing]
    text = (
        f"The campaign ends when σA is known within ± {settings.stop.sigma_a:g} at 95 %, event rates within a factor "
        f"{settings.stop.rate_factor:g} (or to be rarer than {settings.stop.rare_per_100_ps:g} per 100 ps)"
        + (", and no class is undecided" if audited else "")
        + ". Rates are those of the last rounds whose events were all "
        + ("genuine." if audited else "known before.")
    )
    return [Section("Properties", text, (), table=Table(("", ""), tuple(rows)))]
