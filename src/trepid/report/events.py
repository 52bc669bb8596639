"""The page and the tables of an analysis of events, for `trepid events`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trepid.data.atomic import write_text_atomic
from trepid.data.formula import formula_of
from trepid.report.json_text import json_text
from trepid.report.page import Headline, Picture, Section, Table, draw, now, render_page

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

    from trepid.events.analysis import ClassFound, EventAnalysis
    from trepid.events.classes import Rate

PAGE, JSON, EVENTS, CLASSES, SERIES, PATHS = (
    "events.html",
    "events.json",
    "events.csv",
    "classes.csv",
    "sigma_a.csv",
    "paths.extxyz",
)
"""Files in the output directory."""
MOST_PICTURES = 12
"""Classes whose path is drawn."""


def write_events(analysis: EventAnalysis, directory: Path) -> list[Path]:
    """Write the page, the tables and the paths into an existing directory, each atomically; returns their names."""
    from trepid.data.frames import write_frames

    written = [directory / JSON, directory / EVENTS, directory / CLASSES]
    write_text_atomic(directory / JSON, json_text(facts(analysis)))
    write_text_atomic(directory / EVENTS, _text(_event_rows(analysis)))
    write_text_atomic(directory / CLASSES, _text(_class_rows(analysis)))
    if analysis.sigma_a is not None:
        series = analysis.sigma_a
        rows = zip(series.times_ps, series.values, strict=True)
        table = [("time_ps", "sigma_a"), *((f"{t:.8g}", f"{v:.6g}") for t, v in rows)]
        write_text_atomic(directory / SERIES, _text(table))
        written.append(directory / SERIES)
    frames = []
    for number, found in enumerate(analysis.classes, 1):
        if found.path is None:
            continue
        for place, frame, image in zip(
            ("before", "on the way", "after"), found.path.frames, found.path.images, strict=True
        ):
            atoms = image.copy()
            atoms.info.update({"event_class": str(found.event_class), "class_number": number})
            atoms.info.update({"place": place, "frame": frame})
            frames.append(atoms)
    if frames:
        write_frames(directory / PATHS, frames)
        written.append(directory / PATHS)
    write_text_atomic(directory / PAGE, render_events(analysis))
    return [*written, directory / PAGE]


def facts(analysis: EventAnalysis) -> dict[str, Any]:
    """Everything as plain types, for JSON."""
    series = analysis.sigma_a
    return {
        "trajectory": analysis.name,
        "crystal": formula_of(analysis.crystal.atoms),
        "n_atoms": analysis.sites.n_atoms,
        "n_frames": analysis.n_frames,
        "interval_fs": analysis.interval_fs,
        "duration_ps": analysis.duration_ps,
        "counted_ps": analysis.counted_ps,
        "dwell_fs": analysis.settings.detection.dwell_fs,
        "displaced_at_start": analysis.displaced_at_start,
        "classes": [_class_facts(found, number) for number, found in enumerate(analysis.classes, 1)],
        "events": [
            dict(zip(row_names, row, strict=True))
            for row_names, row in ((_EVENT_HEAD, row) for row in _event_values(analysis))
        ],
        "sigma_a": None
        if series is None
        else {
            "value": series.sigma_a,
            "jumps": [
                {
                    "time_ps": float(series.times_ps[jump.index]),
                    "before": jump.before,
                    "after": jump.after,
                    "score": jump.score,
                }
                for jump in series.jumps
            ],
        },
        "remarks": list(analysis.remarks),
    }


def _class_facts(found: ClassFound, number: int) -> dict[str, Any]:
    rate = found.rate
    return {
        "number": number,
        "class": str(found.event_class),
        "kind": found.event_class.kind.value,
        "count": rate.n,
        "found": len(found.events),
        "rate_per_ps": rate.used.rate_per_ps,
        "low_per_ps": rate.used.low_per_ps,
        "high_per_ps": rate.used.high_per_ps,
        "level": rate.level,
        "interval": rate.method,
        "poisson_low_per_ps": rate.poisson.low_per_ps,
        "poisson_high_per_ps": rate.poisson.high_per_ps,
        "dispersion": rate.dispersion,
        "p_independent": rate.p_value,
        "waiting_times_ps": list(found.waiting.waits_ps),
        "waiting_mean_ps": found.waiting.mean_ps,
        "waiting_median_ps": found.waiting.median_ps,
        "waiting_variation": found.waiting.variation,
        "duration_mean_fs": found.mean_duration_fs,
        "atoms": {str(atom): count for atom, count in found.atoms},
        "path_frames": None if found.path is None else list(found.path.frames),
    }


_EVENT_HEAD = (
    "class",
    "kind",
    "start_fs",
    "end_fs",
    "start_frame",
    "end_frame",
    "atoms",
    "species",
    "from_sites",
    "to_sites",
    "distance_A",
)


def _event_values(analysis: EventAnalysis) -> Iterable[tuple[Any, ...]]:
    number = {event: k for k, found in enumerate(analysis.classes, 1) for event in found.events}
    for e in analysis.events:
        yield (
            number[e],
            e.kind.value,
            e.start_fs,
            e.end_fs,
            e.start_frame,
            e.end_frame,
            list(e.atoms),
            list(e.species),
            list(e.from_sites),
            list(e.to_sites),
            round(e.distance_A, 4),
        )


def _event_rows(analysis: EventAnalysis) -> Iterable[tuple[object, ...]]:
    yield _EVENT_HEAD
    for row in _event_values(analysis):
        yield tuple(" ".join(map(str, value)) if isinstance(value, list) else value for value in row)


def _class_rows(analysis: EventAnalysis) -> Iterable[tuple[object, ...]]:
    names: tuple[str, ...] | None = None
    for number, found in enumerate(analysis.classes, 1):
        values = _class_facts(found, number)
        values["atoms"] = " ".join(f"{atom}:{count}" for atom, count in found.atoms)
        del values["waiting_times_ps"], values["path_frames"]
        if names is None:
            names = tuple(values)
            yield names
        yield tuple("" if value is None else value for value in values.values())
    if names is None:
        yield ("number", "class", "kind", "count")


def _text(rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


# ---------------------------------------------------------------------- the page


def render_events(analysis: EventAnalysis) -> str:
    """HTML of the page as text."""
    formula = str(analysis.crystal.atoms.symbols.formula.reduce()[0].format("hill"))
    return render_page(
        title=f"Events in {formula}",
        subtitle=f"{Path(analysis.name).name} · {analysis.sites.n_atoms} atoms · {analysis.n_frames} frames, "
        f"{analysis.interval_fs:.4g} fs apart · {analysis.duration_ps:.4g} ps",
        headlines=_headlines(analysis),
        sections=[*event_sections(analysis), *_remarks(analysis)],
        settings=_settings(analysis),
        footer=f"Written {now()}. Rates with {100 * analysis.settings.level:g} % intervals. Lengths in Å.",
    )


def event_sections(analysis: EventAnalysis) -> list[Section]:
    """Events, rates, paths and sigma^A, for a page that shows more than these."""
    return [*_overview(analysis), *_pictures(analysis), *_sigma_a(analysis)]


def _headlines(analysis: EventAnalysis) -> list[Headline]:
    n = sum(found.rate.n for found in analysis.classes)
    bursts = sum(found.rate.blocks is not None for found in analysis.classes)
    strip = [
        Headline(str(n), "event" if n == 1 else "events", f"in {analysis.counted_ps:.4g} ps that count"),
        Headline(str(len(analysis.classes)), "class" if len(analysis.classes) == 1 else "classes", "of events"),
    ]
    if analysis.classes:
        strip.append(Headline(str(bursts), "", f"of {len(analysis.classes)} classes come in bursts"))
    if analysis.sigma_a is not None:
        strip.append(
            Headline(f"{analysis.sigma_a.sigma_a:.3f}", "", f"σA of all frames; {len(analysis.sigma_a.jumps)} jumps")
        )
    return strip


def per_100_ps(rate: Rate) -> str:
    """A rate and its interval as text, in events per 100 ps."""
    return f"{100 * rate.rate_per_ps:.3g} ({100 * rate.low_per_ps:.3g} to {100 * rate.high_per_ps:.3g})"


def _overview(analysis: EventAnalysis) -> list[Section]:
    if not analysis.classes:
        limit = f"{3.0 / analysis.counted_ps * 100:.2g}"
        text = f"No atom left its site for good, and none came near another site: less than {limit} per 100 ps at 95 %."
        return [Section("Events", text, ())]
    rows = []
    for number, found in enumerate(analysis.classes, 1):
        rate, waits = found.rate, found.waiting
        species = found.event_class.steps[0].species
        n_species = analysis.sites.species.count(species)
        rows.append(
            (
                str(number),
                str(found.event_class),
                str(rate.n),
                per_100_ps(rate.used),
                rate.method if rate.p_value is None else f"{rate.method} (p {rate.p_value:.2g})",
                "" if waits.mean_ps is None else f"{waits.mean_ps:.3g}",
                "" if waits.variation is None else f"{waits.variation:.2g}",
                f"{len(found.atoms)} of {n_species} {species}"
                if len(found.event_class.steps) == 1
                else str(len(found.atoms)),
                f"{found.mean_duration_fs:.0f}",
            )
        )
    head = ("", "class", "count", "per 100 ps", "interval", "mean wait, ps", "std/mean", "atoms", "duration, fs")
    text = (
        "An event is an atom that has left its site for good, or (excursion) has come close to another one. The interval is exact "
        "for independent events (Poisson); where a test finds that onsets come in bursts (p below 0.05) it is widened by the "
        "dispersion of the counts over blocks of time. Waiting times of independent events have a std/mean of 1."
    )
    module = "trepid.report.event_plots"
    line = draw(("timeline", module, lambda plots: plots.timeline(analysis), "Onsets of events, by class."))
    others = draw(
        ("rates", module, lambda plots: plots.rates(analysis), "Rates; open circles: intervals from blocks."),
        (
            "waits",
            module,
            lambda plots: plots.waiting_times(analysis),
            "Waiting times; dashed: independent events of the same mean.",
        ),
    )
    return [
        Section("Events", text, line, wide=True, table=Table(head, tuple(rows))),
        Section("Rates and waiting times", "", others),
    ]


def _pictures(analysis: EventAnalysis) -> list[Section]:
    pictures: list[Picture] = []
    for number, found in enumerate(analysis.classes[:MOST_PICTURES], 1):
        event = found.events[0]
        atoms = ", ".join(f"{s} {a}" for s, a in zip(event.species, event.atoms, strict=True))
        pictures += draw(
            (
                f"class-{number}",
                "trepid.report.event_plots",
                partial(_class_picture, analysis, found),
                f"Class {number}: {found.event_class}. Its first event: {atoms}, {event.start_fs / 1000:.4g} to "
                f"{event.end_fs / 1000:.4g} ps.",
            )
        )
    if not pictures:
        return []
    text = (
        "The first event of every class: circles are the sites of the crystal, crosses its empty sites; atoms that take part are "
        "outlined, with their way as a line. Nearer atoms are larger and darker."
    )
    return [Section("Paths", text, tuple(pictures), wide=True)]


def _class_picture(analysis: EventAnalysis, found: ClassFound, plots: ModuleType) -> Figure | None:
    figure: Figure | None = plots.class_picture(analysis, found)
    return figure


def _sigma_a(analysis: EventAnalysis) -> list[Section]:
    pictures = draw(
        (
            "sigma-a",
            "trepid.report.event_plots",
            lambda plots: plots.sigma_a_series(analysis),
            "σA of every frame: rms of the anharmonic part of the forces over rms of the forces.",
        )
    )
    if not pictures or analysis.sigma_a is None:
        return []
    series = analysis.sigma_a
    rows = [
        (f"{series.times_ps[jump.index]:.4g}", f"{jump.before:.3f}", f"{jump.after:.3f}", f"{jump.score:.1f}")
        for jump in series.jumps
    ]
    table = Table(("ps", "before", "after", "deviations"), tuple(rows)) if rows else None
    text = f"Lasting changes of level, over {series.window} frames: a sign of events that needs no sites."
    return [Section("Anharmonicity", text, pictures, wide=True, table=table)]


def _remarks(analysis: EventAnalysis) -> list[Section]:
    if not analysis.remarks:
        return []
    return [Section("Remarks", "", (), table=Table(("",), tuple((remark,) for remark in analysis.remarks)))]


def _settings(analysis: EventAnalysis) -> str:
    s, d = analysis.settings, analysis.settings.detection
    return "\n".join(
        (
            f"dwell time: {d.dwell_fs:g} fs",
            f"core: {d.core_fraction:g} of the distance to the nearest other site",
            "excursions: "
            + ("not looked for" if d.excursion_fraction is None else f"from {d.excursion_fraction:g} of the way on"),
            f"drift species: {analysis.sites.drift_species}",
            f"equilibration: {s.equilibrate_ps:g} ps",
            f"intervals: {s.level:g}",
            f"sites: {analysis.sites}",
        )
    )
