"""Renders the figures of a run as one self-contained page: no network, no script; files beside it are copies for other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from trepid.acquisition.conformal import running_coverage
from trepid.data.atomic import write_text_atomic
from trepid.data.formula import formula_of
from trepid.evaluation import Comparison, Evaluation, summarise
from trepid.quantities import force, share
from trepid.report.accuracy import accuracy_section, parity_sections, species_section, structure_section
from trepid.report.costs import costs_section, placement_sections
from trepid.report.frame_sets import FrameSet, sets_of_run
from trepid.report.hyperparameters import hyperparameter_sections
from trepid.report.intervals import intervals_section
from trepid.report.page import FIGURES, Headline, Section, draw, draw_series, figure_files, now, render_page
from trepid.report.rounds import progress_sentence, rounds_sections
from trepid.runs.reading import RunRecord, read_run
from trepid.verdict import Basis, Grade, Verdict, verdict_of_run

_PLOTS, _RUN_PLOTS = "trepid.report.plots", "trepid.report.run_plots"


def write_report(
    run: str | Path,
    output: str | Path | None = None,
    *,
    tests: Sequence[FrameSet] = (),
    figures: bool = False,
) -> Path:
    """Write the report of a run directory; by default to `report.html` inside it.

    The crystal and the frames of largest error are written as extended XYZ into a folder of the same name beside it.

    Parameters
    ----------
    run : path
        Run directory of `trepid learn`, finished or not.
    output : path, optional
        The HTML file; replaced in one step if it exists.
    tests : sequence of FrameSet
        Labelled frames that were not chosen by uncertainty, predicted by the model of the run (`FrameSet.predicted`).
    figures : bool
        Write every figure also as PNG and PDF, and its numbers as CSV, into `figures` of that folder.

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
    folder = path.with_suffix("")
    with figure_files(folder / FIGURES if figures else None, page=path):
        text = render(record, tests=tests, folder=folder)
    write_text_atomic(path, text)
    return path


def render(record: RunRecord, *, tests: Sequence[FrameSet] = (), folder: Path | None = None) -> str:
    """HTML of the report as text; `folder` gets the frames that it shows."""
    comparison = record.comparison()
    figures = None if comparison is None else summarise(comparison)
    verdict = verdict_of_run(record)
    sets = [*sets_of_run(record), *tests]
    sentences = [*verdict.findings(), *(_tested(each) for each in sets if not each.chosen), *progress_sentence(record)]
    return render_page(
        title=_title(record),
        subtitle=_subtitle(record),
        headlines=_headlines(record, figures),
        # No green for a crystal that the reference does not hold at rest, however well the model follows the reference.
        grade=(Grade.FAIR if verdict.crystal and verdict.grade is Grade.GOOD else verdict.grade).name.lower(),
        sentences=[_pretty(sentence) for sentence in sentences],
        advice=_pretty(verdict.advice()),
        sections=_sections(record, sets, verdict, folder),
        failures=record.failures,
        rewinds=record.rewinds,
        settings=record.settings_text,
        versions={name: str(value) for name, value in record.versions.items()},
        footer=f"Run directory {record.directory.name}, report written {now()}. "
        "Uncertainties are one standard deviation of the model; "
        "intervals add the residual noise. Energies in eV, lengths in Å. Left out in turn, misfit, stratum, running factor, "
        "typical force error and the other terms are explained in docs/glossary.md.",
    )


def _pretty(sentence: str) -> str:
    return sentence.replace("eV/A", "eV/Å").replace(" +- ", " ± ")


def _tested(frames: FrameSet) -> str:
    """The error on frames that were not chosen by uncertainty, in a sentence."""
    figures = frames.figures
    part = f", {share(figures.forces_rmse / figures.forces_rms)} of the rms force" if figures.forces_rms > 0 else ""
    inside = figures.forces_coverage_95
    covered = "" if inside is None else f"; {share(inside)} inside the 95 % interval"
    return (
        f"Not chosen by uncertainty ({figures.n_frames} frames, {frames.name}): force error {force(figures.forces_rmse)}{part}"
        f"{covered}."
    )


def _title(record: RunRecord) -> str:
    if not record.labels:
        return record.directory.name
    return formula_of(record.labels[0].atoms, reduced=True)


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
        parts.append(record.stop.reason.told(rounds=record.mode == "rounds"))
    return " · ".join(parts)


def _headlines(record: RunRecord, figures: Evaluation | None) -> list[Headline]:
    n_called = len(record.called)
    n_first = len(record.labels) - n_called
    strip = [
        Headline(
            str(len(record.labels)),
            "label" if len(record.labels) == 1 else "labels",
            f"{n_first} initial, {n_called} "
            + (_rounds_text(len(record.rounds) - 1) if record.rounds else "above the threshold"),
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
        rank, n = figures.forces_uncertainty_spearman, figures.n_frames
        frames = f"{n} frame{'s' * (n != 1)}"
        strip.append(Headline(f"{rank:.2f}", "", f"rank correlation of uncertainty and error, atoms of {frames}"))
    return strip


def _rounds_text(n: int) -> str:
    return f"in {n} round{'s' * (n != 1)}"


def _duration(seconds: float) -> tuple[str, str]:
    for limit, divisor, unit in ((100.0, 1.0, "s"), (6000.0, 60.0, "min"), (math.inf, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g}", unit
    raise AssertionError("unreachable: the last limit is infinite")


def _sections(record: RunRecord, sets: Sequence[FrameSet], verdict: Verdict, folder: Path | None) -> list[Section]:
    comparison = record.comparison()
    left_out = verdict.basis is Basis.LEFT_OUT and math.isfinite(verdict.error)
    accuracy = [
        *structure_section(record, sets, folder),
        accuracy_section(record, sets, verdict) if sets or record.rounds or left_out else _UNSEEN_YET,
        *parity_sections(sets),
        *species_section(sets),
    ]
    reliable = [] if comparison is None else [_knows(record, comparison), *_calibrated(comparison)]
    middle = rounds_sections(record) if record.rounds else [_asked(record)]
    return [
        *accuracy,
        *middle,
        *reliable,
        *intervals_section(record),
        costs_section(record),
        *placement_sections(record),
        *hyperparameter_sections(record),
    ]


_UNSEEN_YET = Section(
    "Accuracy on unseen frames",
    "None yet: this section shows frames that the model predicted before they were labelled. The initial frames are "
    "labelled before there is a model.",
    (),
)


def _asked(record: RunRecord) -> Section:
    return Section(
        "Label requests",
        "Each step of the curve and each vertical line is a frame whose force uncertainty exceeded the threshold; it was "
        "labelled and the model trained again. Requests become rarer as the training set covers the simulation.",
        draw_series(
            (
                "labels",
                _RUN_PLOTS,
                lambda plots, width: plots.labels_over_time(record, width=width),
                "Number of labels over MD time.",
            ),
            (
                "traces",
                _RUN_PLOTS,
                lambda plots, width: plots.traces(record, width=width),
                "Largest force uncertainty of an atom (threshold dashed), temperature (target dashed) and potential energy "
                "above its lowest value. Long series are thinned so that every peak stays visible.",
            ),
        ),
        wide=True,
    )


def _knows(record: RunRecord, comparison: Comparison) -> Section:
    return Section(
        "Uncertainty against error",
        "A useful uncertainty ranks atoms by their true error and has the size of that error. All values were predicted "
        "before training.",
        draw(
            (
                "uncertainty",
                _PLOTS,
                lambda plots: plots.uncertainty_against_error(comparison),
                "Force uncertainty of the model, norm over x, y and z; dashed: error equal to uncertainty. Below the "
                "residual noise, errors are independent of it.",
            ),
            (
                "error",
                _RUN_PLOTS,
                lambda plots: plots.error_over_labels(record),
                "Mean force error of each frame before training, and the mean error predicted for it.",
            ),
        ),
    )


def _calibrated(comparison: Comparison) -> list[Section]:
    pictures = draw(
        (
            "reliability",
            _PLOTS,
            lambda plots: plots.reliability(comparison),
            "Fraction of force components inside intervals of every width, from uncertainty and residual noise.",
        ),
        (
            "z",
            _PLOTS,
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
