"""The sections of the report that only a campaign in rounds has."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trepid.events.classes import event_rate
from trepid.report.page import Section, Table, draw

if TYPE_CHECKING:
    from trepid.runs.reading import RunRecord


def rounds_sections(record: RunRecord) -> list[Section]:
    """What the rounds did, in the order in which one asks: did it learn, what did it choose, what is the physics."""
    sections = [_learned(record)]
    if record.selections:
        sections.append(_chose(record))
    sections += _calibrated(record) + _anharmonic(record) + _events(record)
    return [*sections, _time(record)]


def _learned(record: RunRecord) -> Section:
    return Section(
        "Did it learn?",
        "New labels are frames the model was least sure of, predicted before it was trained on them: harder than an "
        "average frame. Test frames, where given, are never trained on.",
        draw(
            (
                "learning-curve",
                "trepid.report.round_plots",
                lambda plots: plots.learning_curve(record.rounds),
                "Mean force error over the labels the model had seen.",
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
    head = ("round", "labels", "new", "candidates", "worth a label", "error on new, meV/Å", "on test, meV/Å", "failed")
    return Table(head, tuple(rows))


def _chose(record: RunRecord) -> Section:
    reasons = Counter(pick.reason for selection in record.selections for pick in selection.picks)
    told = {
        "uncertainty": "for their uncertainty",
        "event": "because of a new class of events",
        "probe": "as probes of the way to an empty site",
        "random": "at random",
        "hot": "from the hottest walks, evenly",
    }
    counted = ", ".join(f"{n} {told.get(reason, reason)}" for reason, n in sorted(reasons.items()))
    measure = record.settings.get("acquisition", {}).get("measure", "force_max")
    return Section(
        "What it chose, and why",
        f"Chosen: {counted or 'nothing'}. The uncertainty of a frame is its {measure}; what is ordinary is what the "
        "coldest walk on the present model shows.",
        draw(
            (
                "uncertainty-by-round",
                "trepid.report.round_plots",
                lambda plots: plots.uncertainty_by_round(record.selections),
                "Every candidate once; the line is where half of the candidates would be chosen, diamonds were chosen.",
            ),
            (
                "why-chosen",
                "trepid.report.round_plots",
                lambda plots: plots.why_chosen(record.selections),
                "Chosen for both: unusual (right) and possible (top). Diamonds were chosen.",
            ),
        ),
    )


def _calibrated(record: RunRecord) -> list[Section]:
    pictures = draw(
        (
            "coverage-by-round",
            "trepid.report.round_plots",
            lambda plots: plots.coverage_by_round(record.rounds),
            "Force components of new labels inside the announced intervals, model and noise together.",
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
    head = ("round", "species", "components", "68 %", "95 %", "scale", "factor", "68 % scaled", "95 % scaled")
    text = (
        "The factor is what the errors of the round before would have multiplied the announced ones with; it has seen none of "
        "the labels it is judged on."
    )
    return [Section("Calibration, round by round", text, pictures, table=Table(head, tuple(rows)))]


def _anharmonic(record: RunRecord) -> list[Section]:
    pictures = draw(
        (
            "sigma-a",
            "trepid.report.round_plots",
            lambda plots: plots.sigma_a_by_round(record.rounds),
            "From the equilibrium part of the walks, on the model that was walked on; bars are one standard deviation.",
        )
    )
    text = "The part of the forces that a harmonic crystal does not explain. It is settled when it stays from round to round."
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
        "Atoms that left their sites in the walks on the model. Rates carry the central 68 % interval of a Poisson process; "
        "the first event of a class is labelled on its way."
    )
    return [Section("Events", text, (), table=Table(head, tuple(rows)))]


def _time(record: RunRecord) -> Section:
    rows = [
        (name, f"{seconds:.1f}", f"{100 * seconds / max(record.seconds_accounted, 1e-12):.0f}")
        for name, seconds in (
            ("labels, all workers together", record.seconds_labelling),
            ("walks", record.seconds_walking),
            ("training", record.seconds_training),
            ("choosing", record.seconds_selecting),
        )
    ]
    return Section(
        "Where the time went",
        f"{record.time_ps:.3g} ps of molecular dynamics on the model in {max(len(record.rounds) - 1, 0)} rounds.",
        (),
        table=Table(("", "s", "%"), tuple(rows)),
    )
