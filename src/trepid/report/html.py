"""Puts the figures of a run on one page that needs nothing else: no network, no folder beside it, no script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.runs.ledger import StopReason
from trepid.data.atomic import write_text_atomic
from trepid.evaluation import Comparison, Evaluation, summarise
from trepid.report.page import Headline, Picture, Section, draw
from trepid.runs.reading import RunRecord, read_run
from trepid.report.rounds import rounds_sections

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from matplotlib.figure import Figure

_STOP_TEXT: Mapping[StopReason, str] = {
    StopReason.FINISHED: "all stages done",
    StopReason.LABELS: "stopped: the budget of labels is used",
    StopReason.NO_CALLS: "stopped: no call for as long as was asked for",
    StopReason.FAILURES: "stopped: the reference failed too often",
    StopReason.GUARD: "stopped: the dynamics left reality again and again",
    StopReason.CONVERGED: "converged",
    StopReason.HOURS: "stopped: the budget of hours is used",
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
    path = Path(output) if output is not None else record.directory / "report.html"
    write_text_atomic(path, render(record))
    return path


def render(record: RunRecord) -> str:
    """HTML of the report as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("trepid.report") / "template.html.j2").read_text(encoding="utf-8"))
    comparison = record.comparison()
    figures = None if comparison is None else summarise(comparison)
    return template.render(
        title=_title(record),
        subtitle=_subtitle(record),
        headlines=_headlines(record, figures),
        sections=_sections(record),
        failures=record.failures,
        rewinds=record.rewinds,
        settings=record.settings_text,
        versions={name: str(value) for name, value in record.versions.items()},
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        directory=record.directory.name,
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
    reference = record.settings.get("reference")
    if isinstance(reference, Mapping):
        names = [str(reference[k]) for k in ("engine", "method", "calculator") if reference.get(k)]
        if names:
            parts.append("labels from " + " ".join(names))
    if record.stop is None:
        parts.append("going on, or cut short")
    else:
        told = _STOP_TEXT[StopReason(record.stop.reason)]
        parts.append(told.replace("stages", "rounds") if record.rounds else told)
    return " · ".join(parts)


def _headlines(record: RunRecord, figures: Evaluation | None) -> list[Headline]:
    n_called = len(record.called)
    n_first = len(record.labels) - n_called
    strip = [
        Headline(
            str(len(record.labels)),
            "label" if len(record.labels) == 1 else "labels",
            f"{n_first} to start from, {n_called} "
            + (f"in {len(record.rounds) - 1} rounds" if record.rounds else "where it did not know"),
        ),
        Headline(f"{record.time_ps:.3g}", "ps", "of molecular dynamics on the model"),
    ]
    if record.seconds_labelling > 0:
        value, unit = _duration(record.seconds_labelling)
        training, training_unit = _duration(record.seconds_training)
        strip.append(Headline(value, unit, f"in the reference; {training} {training_unit} in training"))
    if figures is None:
        return strip
    strip.append(Headline(f"{1000 * figures.forces_mae:.3g}", "meV/Å", "mean force error on frames before training"))
    if figures.forces_coverage_95 is not None:
        strip.append(Headline(f"{100 * figures.forces_coverage_95:.0f}", "%", "of forces inside the 95 % interval"))
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
        return [*rounds_sections(record), *unseen, *reliable, *_settled(record)]
    if comparison is None:
        return [_UNSEEN_YET, _asked(record), *_settled(record)]
    return [
        _unseen(record, comparison),
        _asked(record),
        _knows(record, comparison),
        *_calibrated(comparison),
        *_settled(record),
    ]


_UNSEEN_YET = Section(
    "Frames it had never seen",
    "None yet: a frame counts here when the model has predicted it before its label was made. The frames a run starts "
    "from are labelled before there is a model.",
    (),
)


def _unseen(record: RunRecord, comparison: Comparison) -> Section:
    return Section(
        "Frames it had never seen",
        "What the model said about each frame before it was trained on it. These are the frames it was least sure of, "
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
                "Every frame once; bars are one standard deviation, model and noise.",
            ),
        ),
    )


def _asked(record: RunRecord) -> Section:
    wide, narrow = 9.6, 4.6
    labels_caption = "Labels used over the course of the simulation."
    traces_caption = (
        "Largest force uncertainty of an atom (threshold dashed), temperature (target dashed) and potential energy "
        "above its lowest value. Lines keep the minimum and maximum of every stretch, so no peak is lost."
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
        "When it asked",
        "Each vertical line is a call to the reference. Calls bunch where the simulation reaches something new, and "
        "thin out as the model comes to know it.",
        tuple(replace(desk, narrow=phone.svg) for desk, phone in zip(for_desk, for_phone, strict=True)),
        wide=True,
    )


def _knows(record: RunRecord, comparison: Comparison) -> Section:
    return Section(
        "Does it know what it does not know?",
        "An uncertainty is worth acting on when it ranks atoms by their true error, and announces errors of the size "
        "that then occur. All shown here was predicted before training.",
        _pictures(
            (
                "uncertainty",
                lambda plots: plots.uncertainty_against_error(comparison),
                "Uncertainty of the model alone, norm over x, y and z; dashed: error equal to uncertainty. Below the "
                "noise of the labels, errors no longer follow it.",
            ),
            (
                "error",
                lambda plots: plots.error_over_labels(record),
                "Mean force error of each frame at the moment it was labelled, and the mean announced.",
            ),
        ),
    )


def _calibrated(comparison: Comparison) -> list[Section]:
    pictures = _pictures(
        (
            "reliability",
            lambda plots: plots.reliability(comparison),
            "How many force components fall inside intervals of every width, model and noise together.",
        ),
        (
            "z",
            lambda plots: plots.z_histogram(comparison),
            "Errors divided by what was announced. The shaded curve is the normal distribution; what lies beyond is "
            "counted in the outermost bins.",
        ),
    )
    text = "The frames were chosen because the model was unsure of them, the hardest test of its intervals."
    return [Section("Calibration", text, pictures)] if pictures else []


def _settled(record: RunRecord) -> list[Section]:
    pictures = _pictures(
        (
            "hyperparameters",
            lambda plots: plots.hyperparameters(record),
            "Relative to the last value, which the legend gives in eV and Å. They move when the evidence is maximised "
            "again.",
        )
    )
    text = "Noise and prior of the model, found by maximising the evidence of the labels."
    return [Section("What training settled on", text, pictures)] if pictures else []


def _pictures(*wanted: tuple[str, Callable[[ModuleType], Figure | None], str]) -> tuple[Picture, ...]:
    return draw(*((name, "trepid.report.plots", function, caption) for name, function, caption in wanted))
