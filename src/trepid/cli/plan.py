"""`trepid plan`: labels, core-hours and days that a campaign still needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, say

if TYPE_CHECKING:
    from trepid.report.forecast import CannotTell, Interval
    from trepid.report.plan import Plan


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Campaign file (YAML), or run directory.", show_default=False),
    ],
    target: Annotated[
        float | None,
        typer.Option("--target", min=0.0, help="Force error on new labels to reach, meV/A."),
    ] = None,
    label_seconds: Annotated[
        float | None, typer.Option("--label-seconds", min=0.0, help="Time of one label, s, if none is measured yet.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Label one displaced crystal now to measure the time of a label.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Labels computed in parallel in rounds; as in the campaign file by default."
        ),
    ] = None,
    cores: Annotated[int, typer.Option("--cores", min=1, help="Cores used by one label.")] = 1,
    json: options.Json = False,
) -> None:
    """Forecast a campaign: labels, core-hours and days still needed, with an interval of 90 % probability.

    Before the campaign: from the time of one label and from the labels of comparable campaigns. During it: from its own
    label times, label requests and errors. If the data do not support a forecast, the answer is "cannot tell yet" with the
    reason.
    """
    from dataclasses import asdict

    from trepid.report.forecast import CannotTell
    from trepid.report.plan import plan_campaign

    where = "as given"
    if measure:
        label_seconds, where = _measure(source), "measured on one displaced crystal"
    plan = plan_campaign(
        source,
        target_eV_per_A=None if target is None else target / 1000,
        label_seconds=label_seconds,
        label_source=where,
        workers=workers,
        cores=cores,
    )
    curve = plan.curve
    if json:
        facts: dict[str, Any] = {
            "source": str(source),
            "mode": plan.mode,
            "state": plan.state,
            "n_labels": plan.n_labels,
            "max_labels": plan.max_labels,
            "labels_to_end": asdict(plan.labels_to_end),
            "target_meV_per_A": None if plan.target_eV_per_A is None else 1000 * plan.target_eV_per_A,
            "labels_to_target": None if plan.labels_to_target is None else asdict(plan.labels_to_target),
            "learning_curve": None
            if curve is None
            else {"reason": curve.reason}
            if isinstance(curve, CannotTell)
            else {"a_eV_per_A": curve.a, "b": curve.b, "c_eV_per_A": curve.c, "n_points": curve.n_points},
            "seconds_per_label": None if plan.label_time is None else asdict(plan.label_time.seconds),
            "seconds_per_label_source": None if plan.label_time is None else plan.label_time.source,
            "attempts_per_label": None if plan.label_time is None else plan.label_time.attempts,
            "workers": plan.workers,
            "cores_per_label": plan.cores,
            "label_hours": None if plan.label_hours is None else asdict(plan.label_hours),
            "core_hours": None if plan.core_hours is None else asdict(plan.core_hours),
            "other_hours": plan.other_hours,
            "days": None if plan.days is None else asdict(plan.days),
            "notes": list(plan.notes),
            "model_runs": plan.placement.as_dict(),
        }
        emit_json(facts)
        return
    budget = "" if plan.max_labels is None else f" of at most {plan.max_labels}"
    rows = [("campaign", f"{plan.mode}, {plan.state}"), ("labels so far", f"{plan.n_labels}{budget}")]
    if plan.label_time is not None:
        time = plan.label_time
        spread = "" if time.n < 2 else f" ({_number(time.seconds.low)} to {_number(time.seconds.high)})"
        tries = "" if time.attempts < 1.005 else f", {time.attempts:.2f} attempts each"
        rows.append(("time of a label", f"{_number(time.seconds.expected)} s{spread}{tries}, {time.source}"))
    emit_table([*rows, *cost_rows(plan), ("model runs", plan.placement.text())])
    for note in plan.notes:
        emit(f"  {note}")


def cost_rows(plan: Plan) -> list[tuple[str, str]]:
    """Labels to come and their cost, as rows of a table."""
    from trepid.report.forecast import Interval

    rows = [("labels to the end", _words(plan.labels_to_end, whole=True))]
    if plan.labels_to_target is not None and plan.target_eV_per_A is not None:
        rows.append((f"to {1000 * plan.target_eV_per_A:g} meV/A", _words(plan.labels_to_target, whole=True)))
    if isinstance(plan.core_hours, Interval) and isinstance(plan.days, Interval):
        rows.append(
            ("core-hours of labels", f"{_words(plan.core_hours)}, {plan.cores} core{'s' * (plan.cores != 1)} a label")
        )
        whole = "labels alone, without molecular dynamics and training; " if plan.other_hours is None else ""
        at_once = "one label" if plan.workers == 1 else f"{plan.workers} labels"
        rows.append(("time", f"{_duration(plan.days)}; {whole}{at_once} at a time"))
    return rows


def _measure(source: Path) -> float:
    """Label one displaced crystal of a campaign and return the time it took, s."""
    import time

    from trepid.campaign.context import crystal_of, reference_of
    from trepid.campaign.start import initial_frames
    from trepid.config import load_campaign

    campaign = load_campaign(source / "campaign.yaml" if source.is_dir() else source)
    (frame,) = initial_frames(crystal_of(campaign), 1, displacement_A=0.05, strain=0.0, seed=campaign.seed)
    reference = reference_of(campaign)
    try:
        reference.check(frame)
        say(f"labelling one frame of {len(frame)} atoms with {reference.name} ...")
        began = time.perf_counter()
        reference.label(frame)
        return time.perf_counter() - began
    finally:
        reference.close()


def _words(value: Interval | CannotTell, *, whole: bool = False) -> str:
    """An interval with its ends, or the reason why there is none."""
    from trepid.report.forecast import CannotTell

    if isinstance(value, CannotTell):
        return f"cannot tell yet: {value.reason}"

    def number(x: float) -> str:
        return "more than can be forecast" if not math.isfinite(x) else f"{x:.0f}" if whole else _number(x)

    if value.low == value.high:
        return number(value.expected)
    return f"about {number(value.expected)} ({number(value.low)} to {number(value.high)})"


def _number(x: float) -> str:
    """Three digits, and never an exponent."""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 0.001 or x == 0 else f"{x:.6f}"


def _duration(days: Interval) -> str:
    """An interval of time in the unit that suits it."""
    for unit, per_day in (("days", 1.0), ("hours", 24.0), ("minutes", 1440.0), ("seconds", 86400.0)):
        if days.expected * per_day >= 1.0 or unit == "seconds":
            return f"{_words(days.scaled(per_day))} {unit}"
    return ""
