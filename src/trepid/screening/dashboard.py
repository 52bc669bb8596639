"""The dashboard of a screening: one self-contained page with a table that sorts and filters, figures, verdicts and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.config.screening import ScreeningSettings, load_screening
from trepid.data.atomic import write_text_atomic
from trepid.quantities import Z_95, duration, with_bar
from trepid.report.page import FIGURES, Headline, Section, Table, draw, figure_files, now, render_page
from trepid.runs.ledger import Entry, read_ledger
from trepid.runs.ledger_events import Resume
from trepid.screening.directory import ScreeningDirectory, files_of, read_records
from trepid.screening.entries import KINDS, Advanced
from trepid.screening.record import Bars, MaterialRecord, Status
from trepid.screening.table import Totals, csv_text, json_text, totals

if TYPE_CHECKING:
    pass

PAGE, TABLE, DATA = "screening.html", "screening.csv", "screening.json"


@dataclass(frozen=True)
class _Column:
    name: str
    title: str


@dataclass(frozen=True)
class _Cell:
    """A cell: its text, what it is sorted by (empty: unknown), and how it looks."""

    text: str
    sort: str
    kind: str = "number"
    link: str = ""
    tag: str = ""


@dataclass(frozen=True)
class _Row:
    status: str
    has_events: bool
    cells: tuple[_Cell, ...]


_COLUMNS = (
    _Column("material", "with its campaign report, where there is one"),
    _Column("status", "waiting, open, known, exhausted or failed"),
    _Column("atoms", "of the supercell"),
    _Column("V / V exp", "relaxed over experimental volume"),
    _Column("lowest THz", "lowest frequency at the wave vectors of the supercell; negative: imaginary"),
    _Column("one-shot", "sigma^A of harmonic frames, by the reference; one standard deviation"),
    _Column("sigma^A", "of molecular dynamics on the model; half width of the 95 % interval"),
    _Column("model part", "half width from the model's own uncertainty alone"),
    _Column("events", "events in all walks"),
    _Column("verdicts", "of its event classes"),
    _Column("naive model", "what the model of the harmonic frames alone does wrong, by audit"),
    _Column("coverage %", "force components inside their 95 % bars, on frames labelled after the bars were announced"),
    _Column("labels", "of the campaign"),
    _Column("relax", "reference computations of the relaxation"),
    _Column("rounds", "rounds of learning"),
    _Column("wall h", "wall time of relaxation and campaign, in hours; longer where other work shares the processor"),
    _Column("remark", "why it failed, or what is missing"),
)


def write_dashboard(directory: Path, records: Sequence[MaterialRecord], *, figures: bool = False) -> None:
    """Write screening.html, screening.csv and screening.json of a screening.

    Parameters
    ----------
    directory : Path
        Of the screening; settings, versions and ledger are read from it.
    records : sequence of MaterialRecord
    figures : bool
        Write every figure also as PNG and PDF, and its numbers as CSV.
    """
    settings = load_screening_of(directory)
    assert settings.rounds.stop is not None
    versions = json.loads((directory / "versions.json").read_text(encoding="utf-8"))
    tolerance = settings.rounds.stop.sigma_a
    write_text_atomic(directory / TABLE, csv_text(records))
    write_text_atomic(directory / DATA, json_text(records, tolerance, versions))
    entries = read_ledger(directory / "ledger.jsonl", kinds=KINDS)
    with figure_files(directory / FIGURES if figures else None):
        page = render_dashboard(settings, records, entries, versions, root=directory)
    write_text_atomic(directory / PAGE, page)


def load_screening_of(directory: Path) -> ScreeningSettings:
    """Settings of a screening, as it was last started with."""
    return load_screening(directory / ScreeningDirectory.settings_name, require_files=False)


def render_dashboard(
    settings: ScreeningSettings,
    records: Sequence[MaterialRecord],
    entries: Sequence[Entry],
    versions: dict[str, str],
    *,
    root: Path,
) -> str:
    """HTML of the dashboard; `root` is the directory that links start from."""
    assert settings.rounds.stop is not None
    tolerance = settings.rounds.stop.sigma_a
    figures = totals(records, tolerance)
    return render_page(
        title="Screening",
        subtitle=f"{len(records)} materials, reference {settings.reference.engine}, "
        f"{', '.join(f'{t:g} K' for t in settings.walkers.temperatures_K)}; {now()}",
        headlines=_headlines(figures),
        sections=[
            _figures(records, entries, tolerance),
            _materials(records, root),
            *_classes(records),
            *_failures(records),
        ],
        footer="trepid; the table is beside this page as screening.csv, everything as screening.json",
        settings=settings.to_yaml(),
        versions=versions,
    )


def _headlines(figures: Totals) -> list[Headline]:
    share = "-" if figures.coverage is None else f"{100 * figures.coverage:.1f}"
    return [
        Headline(f"{figures.status.get('known', 0)}", f"of {figures.n_materials}", "materials known"),
        Headline(f"{figures.status.get('exhausted', 0)}", "", "exhausted: their own rounds used up"),
        Headline(f"{figures.status.get('failed', 0)}", "", "failed"),
        Headline(f"{figures.with_events}", "", "show events"),
        Headline(f"{figures.n_naive_wrong}", "", "naive models that audits find wrong"),
        Headline(share, "%", "inside 95 % bars, pooled"),
        Headline(f"{figures.n_labels + figures.n_relaxation}", "", "reference computations"),
    ]


def _materials(records: Sequence[MaterialRecord], root: Path) -> Section:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("trepid.screening") / "table.html.j2").read_text(encoding="utf-8"))
    statuses = [status.value for status in Status if any(record.status is status for record in records)]
    html = template.render(columns=_COLUMNS, rows=[_row(record, root) for record in records], statuses=statuses)
    return Section(
        "Materials",
        "Click on a head to sort. sigma^A is that of molecular dynamics on the model of the round before; its 95 % half width has "
        "two parts, the finite number of frames and the uncertainty of the model.",
        (),
        html=html,
    )


def _row(record: MaterialRecord, root: Path) -> _Row:
    report = files_of(root, record.name).run / "report.html"
    link = report.relative_to(root).as_posix() if report.is_file() else ""
    value, one = record.sigma_a, record.one_shot
    half = None if value is None else value.half_width
    model = None if value is None or value.model is None else Z_95 * value.model
    n_events = sum(each.n_seen for each in record.classes)
    verdicts = ", ".join(sorted({each.verdict for each in record.classes}))
    share = record.coverage.share
    begun = record.status is not Status.WAITING
    remark = f"{record.failure}: {record.message}" if record.failure is not None else record.message
    return _Row(
        record.status.value,
        bool(record.classes),
        (
            _Cell(record.name, record.name, "text", link=link),
            _Cell(record.status.value, record.status.value, "label", tag=record.status.value),
            _number(record.n_atoms or None, "d"),
            _number(record.volume_ratio, ".3f"),
            _number(record.frequency_min_THz, ".2f"),
            _barred(one, None if one is None else one.frames),
            _barred(value, half),
            _number(model, ".3f"),
            _number(n_events if begun else None, "d"),
            _Cell(verdicts, verdicts, "label"),
            _Cell(", ".join(record.naive_fault), ", ".join(record.naive_fault), "label"),
            _number(None if share is None else 100 * share, ".1f"),
            _number(record.n_labels if begun else None, "d"),
            _number(record.n_relaxation if begun else None, "d"),
            _number(len(record.rounds) if begun else None, "d"),
            _number(record.seconds / 3600 if begun else None, ".2f"),
            _Cell(remark, remark, "text"),
        ),
    )


def _number(value: float | None, form: str) -> _Cell:
    return _Cell("", "") if value is None else _Cell(f"{value:{form}}", f"{value:.10g}")


def _barred(value: Bars | None, bar: float | None) -> _Cell:
    if value is None:
        return _Cell("", "")
    return _Cell(with_bar(value.value, bar, decimals=3), f"{value.value:.10g}")


def _figures(records: Sequence[MaterialRecord], entries: Sequence[Entry], tolerance: float) -> Section:
    plots = "trepid.screening.plots"
    pictures = draw(
        (
            "sigma",
            plots,
            lambda p: p.sigma_against_bar(records, tolerance),
            "How anharmonic every material is, and how well that is known. Green: within the tolerance.",
        ),
        (
            "coverage",
            plots,
            lambda p: p.coverage_of_materials(records),
            "Force components inside their 95 % bars, on frames that were chosen because they are uncertain, and labelled after "
            "the bars had been announced. Green: 90 to 99 %.",
        ),
        (
            "spending",
            plots,
            lambda p: p.spending(*spending_of(entries)),
            "What was spent, and what was done, over the wall time.",
        ),
        ("labels", plots, lambda p: p.labels_against_sigma(records), "Where the labels went."),
    )
    return Section("Overview", "Every point is a material.", pictures)


def spending_of(entries: Sequence[Entry]) -> tuple[list[float], list[int], list[int]]:
    """Wall time of all starts (h), computations and finished materials after every material's round."""
    hours, computations, done = [0.0], [0], [0]
    spent: dict[str, int] = {}
    finished: set[str] = set()
    total, latest = 0.0, None
    for entry in entries:
        time = datetime.fromisoformat(entry.time)
        if latest is not None and not isinstance(entry.event, Resume):
            total += (time - latest).total_seconds()
        latest = time
        if isinstance(entry.event, Advanced):
            spent[entry.event.material] = entry.event.n_computations
            if entry.event.status in (Status.KNOWN, Status.EXHAUSTED, Status.FAILED):
                finished.add(entry.event.material)
            hours.append(total / 3600)
            computations.append(sum(spent.values()))
            done.append(len(finished))
    return hours, computations, done


def _classes(records: Sequence[MaterialRecord]) -> list[Section]:
    rows = [
        (
            record.name,
            each.name,
            str(each.n_seen),
            each.verdict,
            _barrier(each.model_barrier_eV, each.model_bar_eV),
            _barrier(each.reference_barrier_eV, each.reference_bar_eV),
            each.naive,
            each.reason,
        )
        for record in records
        for each in record.classes
    ]
    if not rows:
        return []
    head = ("material", "class", "seen", "verdict", "model, eV", "reference, eV", "naive model", "why")
    return [
        Section(
            "Event classes",
            "Every class that a walk has shown, with the latest verdict of its audit. The naive model is the one trained on the "
            "initial frames alone.",
            (),
            table=Table(head, tuple(rows)),
        )
    ]


def _barrier(value: float | None, bar: float | None) -> str:
    return "" if value is None else with_bar(value, bar, decimals=3)


def _failures(records: Sequence[MaterialRecord]) -> list[Section]:
    rows = tuple(
        (record.name, str(record.failure), record.message, str(record.n_computations))
        for record in records
        if record.status is Status.FAILED
    )
    if not rows:
        return []
    return [
        Section(
            "Failed",
            "What each of them cost stays in the count; trepid screen --retry tries them again.",
            (),
            table=Table(("material", "reason", "message", "computations"), rows),
        )
    ]


def write_pages(
    directory: Path, records: Sequence[MaterialRecord], tell: Callable[[str], None], *, figures: bool = False
) -> int:
    """Write the campaign report of every material whose report is missing or older than its record; gives their number.

    With `figures` every report is written, for the files of its figures.
    """
    from trepid.report.html import write_report

    due = []
    for record in records:
        place = files_of(directory, record.name)
        page = place.run / "report.html"
        if place.run.is_dir() and record.rounds:
            fresh = not figures and page.is_file() and page.stat().st_mtime >= place.record.stat().st_mtime
            if not fresh:
                due.append(place.run)
    if due:
        tell(f"writing {len(due)} campaign reports, about {duration(3.0 * len(due))}")
    for run in due:
        write_report(run, figures=figures)
    return len(due)


def write_screening_report(directory: Path, tell: Callable[[str], None], *, figures: bool = False) -> Path:
    """Write the campaign reports that are missing or old, and the dashboard with links to them; gives the path of the dashboard.

    With `figures` every figure of all of them is written also as PNG and PDF, and its numbers as CSV.

    Raises
    ------
    DataError, ConfigError
        A file of the screening is missing or damaged.
    """
    records = read_records(directory, load_screening_of(directory))
    write_pages(directory, records, tell, figures=figures)
    write_dashboard(directory, records, figures=figures)
    return directory / PAGE
