"""Renders the figures of a run as one self-contained page: no network, no other files, no script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.acquisition.conformal import running_coverage
from trepid.data.atomic import write_text_atomic
from trepid.evaluation import Comparison, Evaluation, summarise
from trepid.report.intervals import intervals_section
from trepid.report.page import Headline, Picture, Section, draw, now, render_page
from trepid.report.rounds import rounds_sections
from trepid.runs.ledger import StopReason
from trepid.runs.reading import RunRecord, read_run
from trepid.verdict import verdict_of_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from matplotlib.figure import Figure

_STOP_TEXT: Mapping[StopReason, str] = {
    StopReason.FINISHED: "all stages done",
    StopReason.LABELS: "stopped: maximum number of labels reached",
    StopReason.NO_CALLS: "stopped: no label needed for the time set",
    StopReason.FAILURES: "stopped: too many failed labels",
    StopReason.GUARD: "stopped: dynamics unstable repeatedly",
    StopReason.CONVERGED: "converged",
    StopReason.HOURS: "stopped: maximum wall time reached",
    StopReason.INTERRUPTED: "interrupted; the same command resumes it",
}


def write_report(run: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run directory; by default to `report.html` inside it.

    Parameters
    ----------
    run : path
        Run directory of `trepid learn`, finished or not.
    output : path, optional
        The HTML file; replaced in one step if it exists.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        `run` is not a run directory, or a file in it is damaged.
    """
    record = read_run(run)
    path = Path(output) if output is not None else record.paths.report
    write_text_atomic(path, render(record))
    return path


def render(record: RunRecord) -> str:
    """HTML of the report as text."""
    comparison = record.comparison()
    figures = None if comparison is None else summarise(comparison)
    verdict = verdict_of_run(record)
    return render_page(
        title=_title(record),
        subtitle=_subtitle(record),
        headlines=_headlines(record, figures),
        grade=verdict.grade.name.lower(),
        sentences=[sentence.replace("eV/A", "eV/Å") for sentence in verdict.sentences()],
        sections=_sections(record),
        failures=record.failures,
        rewinds=record.rewinds,
        settings=record.settings_text,
        versions={name: str(value) for name, value in record.versions.items()},
        footer=f"Run {record.directory.name}, report written {now()}. Uncertainties are one standard deviation of the model; "
        "intervals add the residual noise. Energies in eV, lengths in Å.",
    )


def _title(record: RunRecord) -> str:
    if not record.labels:
        return record.directory.name
    return str(record.labels[0].atoms.symbols.formula.reduce()[0].format("hill"))


def _subtitle(record: RunRecord) -> str:
    parts = []
    if record.labels:
        parts.append(f"{len(record.labels[0].atoms)} atoms")
    known = record.target_temperatures_K
    if known.size:
        low, high = known.min(), known.max()
        parts.append(f"{low:.0f} K" if high - low < 2.0 else f"{low:.0f}–{high:.0f} K")
    names = [str(record.reference[k]) for k in ("engine", "method", "calculator") if record.reference.get(k)]
    if names:
        parts.append("labels from " + " ".join(names))
    if record.stop is None:
        parts.append("running or interrupted")
    else:
        told = _STOP_TEXT[record.stop.reason]
        parts.append(told.replace("stages", "rounds") if record.rounds else told)
    return " · ".join(parts)


def _headlines(record: RunRecord, figures: Evaluation | None) -> list[Headline]:
    n_called = len(record.called)
    n_first = len(record.labels) - n_called
    strip = [
        Headline(
            str(len(record.labels)),
            "label" if len(record.labels) == 1 else "labels",
            f"{n_first} initial, {n_called} "
            + (f"in {len(record.rounds) - 1} rounds" if record.rounds else "above the threshold"),
        ),
        Headline(f"{record.time_ps:.3g}", "ps", "of molecular dynamics on the model"),
    ]
    if record.seconds_labelling > 0:
        value, unit = _duration(record.seconds_labelling)
        training, training_unit = _duration(record.seconds_training)
        strip.append(Headline(value, unit, f"in the reference; {training} {training_unit} in training"))
    if figures is None:
        return strip
    strip.append(Headline(f"{1000 * figures.forces_mae:.3g}", "meV/Å", "mean absolute force error before training"))
    if figures.forces_coverage_95 is not None:
        corrected = running_coverage(record.scored())
        with_factor = "" if corrected is None else f"; {100 * corrected.corrected:.0f} % with the running factor"
        strip.append(
            Headline(f"{100 * figures.forces_coverage_95:.0f}", "%", f"of forces inside the 95 % interval{with_factor}")
        )
    if figures.forces_uncertainty_spearman is not None:
        rank = figures.forces_uncertainty_spearman
        strip.append(Headline(f"{rank:.2f}", "", "rank correlation of uncertainty and error"))
    return strip


def _duration(seconds: float) -> tuple[str, str]:
    for limit, divisor, unit in ((100.0, 1.0, "s"), (6000.0, 60.0, "min"), (math.inf, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g}", unit
    raise AssertionError("unreachable: the last limit is infinite")


def _sections(record: RunRecord) -> list[Section]:
    comparison = record.comparison()
    if record.rounds:
        unseen = [] if comparison is None else [_unseen(record, comparison), _knows(record, comparison)]
        reliable = [] if comparison is None else _calibrated(comparison)
        return [*rounds_sections(record), *unseen, *reliable, *intervals_section(record), *_settled(record)]
    if comparison is None:
        return [_UNSEEN_YET, _asked(record), *_settled(record)]
    return [
        _unseen(record, comparison),
        _asked(record),
        _knows(record, comparison),
        *_calibrated(comparison),
        *intervals_section(record),
        *_settled(record),
    ]


_UNSEEN_YET = Section(
    "Accuracy on unseen frames",
    "None yet: this section shows frames that the model predicted before they were labelled. The initial frames are "
    "labelled before there is a model.",
    (),
)


def _unseen(record: RunRecord, comparison: Comparison) -> Section:
    return Section(
        "Accuracy on unseen frames",
        "Predictions made before the model was trained on a frame. The frames were selected for their high uncertainty, "
        "so the errors are larger than on an average frame of the same simulation.",
        _pictures(
            (
                "force_parity",
                lambda plots: plots.force_parity(comparison),
                "Every force component of every frame.",
            ),
            (
                "energy_parity",
                lambda plots: plots.energy_parity(record, comparison),
                "One point per frame; bars are one standard deviation, uncertainty and residual noise.",
            ),
        ),
    )


def _asked(record: RunRecord) -> Section:
    wide, narrow = 9.6, 4.6
    labels_caption = "Number of labels over MD time."
    traces_caption = (
        "Largest force uncertainty of an atom (threshold dashed), temperature (target dashed) and potential energy "
        "above its lowest value. Long series are thinned so that every peak stays visible."
    )
    for_desk = _pictures(
        ("labels-wide", lambda plots: plots.labels_over_time(record, width=wide), labels_caption),
        ("traces-wide", lambda plots: plots.traces(record, width=wide), traces_caption),
    )
    for_phone = _pictures(
        ("labels-narrow", lambda plots: plots.labels_over_time(record, width=narrow), labels_caption),
        ("traces-narrow", lambda plots: plots.traces(record, width=narrow), traces_caption),
    )
    return Section(
        "Label requests",
        "Each step of the curve and each vertical line is a frame whose force uncertainty exceeded the threshold; it was "
        "labelled and the model trained again. Requests become rarer as the training set covers the simulation.",
        tuple(replace(desk, narrow=phone.svg) for desk, phone in zip(for_desk, for_phone, strict=True)),
        wide=True,
    )


def _knows(record: RunRecord, comparison: Comparison) -> Section:
    return Section(
        "Uncertainty against error",
        "A useful uncertainty ranks atoms by their true error and has the size of that error. All values were predicted "
        "before training.",
        _pictures(
            (
                "uncertainty",
                lambda plots: plots.uncertainty_against_error(comparison),
                "Force uncertainty of the model, norm over x, y and z; dashed: error equal to uncertainty. Below the "
                "residual noise, errors are independent of it.",
            ),
            (
                "error",
                lambda plots: plots.error_over_labels(record),
                "Mean force error of each frame before training, and the mean error predicted for it.",
            ),
        ),
    )


def _calibrated(comparison: Comparison) -> list[Section]:
    pictures = _pictures(
        (
            "reliability",
            lambda plots: plots.reliability(comparison),
            "Fraction of force components inside intervals of every width, from uncertainty and residual noise.",
        ),
        (
            "z",
            lambda plots: plots.z_histogram(comparison),
            "Errors divided by their predicted standard deviation. Shaded: the normal distribution; values outside are "
            "counted in the outermost bins.",
        ),
    )
    text = "Frames of high uncertainty were selected, so this is a harder test of the intervals than average frames."
    figures = summarise(comparison)
    others = [
        f"{100 * share:.0f} % of the {name}"
        for name, share in (
            ("energies", figures.energy_coverage_95),
            ("stress components", figures.stress_coverage_95),
        )
        if share is not None
    ]
    if others:
        text += f" {' and '.join(others)} are inside their 95 % intervals."
    return [Section("Calibration", text, pictures)] if pictures else []


def _settled(record: RunRecord) -> list[Section]:
    pictures = _pictures(
        (
            "hyperparameters",
            lambda plots: plots.hyperparameters(record),
            "Relative to the last value, which the legend gives in eV and Å. They change when the evidence is maximised "
            "again.",
        )
    )
    text = "Residual noise and prior of the model, from maximising the evidence of the labels."
    return [Section("Hyperparameters", text, pictures)] if pictures else []


def _pictures(*wanted: tuple[str, Callable[[ModuleType], Figure | None], str]) -> tuple[Picture, ...]:
    return draw(*((name, "trepid.report.plots", function, caption) for name, function, caption in wanted))
