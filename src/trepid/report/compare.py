"""The page and the JSON of `trepid compare`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trepid.data.atomic import write_text_atomic
from trepid.quantities import with_bar
from trepid.report.json_text import json_text
from trepid.report.page import Headline, Section, Table, draw, now, render_page
from trepid.runs.outcomes import RATIOS, Compared, Kind, Outcome, Property, missing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from matplotlib.figure import Figure

PAGE, JSON = "compare.html", "compare.json"
"""Files in the output directory."""
MOST_ROWS = 60
"""Rows of a table of the page; compare.json has all."""


def write_comparison(outcomes: Sequence[Outcome], rows: Sequence[Compared], directory: Path) -> list[Path]:
    """Write compare.json and the page into an existing directory, each atomically; returns their names."""
    write_text_atomic(directory / JSON, json_text(facts(outcomes, rows)))
    write_text_atomic(directory / PAGE, render_comparison(outcomes, rows))
    return [directory / JSON, directory / PAGE]


def facts(outcomes: Sequence[Outcome], rows: Sequence[Compared]) -> dict[str, Any]:
    """Everything as plain types."""
    return {
        "kind": "compare",
        "runs": [{"name": outcome.name, "files": list(outcome.files)} for outcome in outcomes],
        "level": 0.95,
        "properties": [
            {
                "kind": row.kind.value,
                "name": row.name,
                "unit": row.unit,
                "temperature_K": row.temperature_K,
                "values": [
                    None if one is None else {"value": one.value, "low": one.low, "high": one.high} for one in row.found
                ],
                "change": row.change,
                "change_is": "ratio" if row.kind in RATIOS else "difference",
                "differs": row.differs,
            }
            for row in rows
        ],
        "missing": missing(outcomes, rows),
    }


def summary(rows: Sequence[Compared]) -> list[tuple[str, str]]:
    """One line per kind: how many properties changed beyond their intervals."""
    lines = []
    for kind in Kind:
        of_kind = [row for row in rows if row.kind is kind]
        both = [row for row in of_kind if row.change is not None]
        if not of_kind:
            continue
        told = [row for row in both if row.differs is not None]
        changed = [row for row in told if row.differs]
        text = f"{len(both)} in both, {len(changed)} differ beyond their intervals"
        if len(told) < len(both):
            text += f" ({len(both) - len(told)} without interval)"
        if kind in RATIOS and both:
            ratios = sorted(row.change for row in both if row.change)
            text += (
                f"; last / first {ratios[0]:.3g} to {ratios[-1]:.3g}, median {ratios[len(ratios) // 2]:.3g}"
                if ratios
                else ""
            )
        lines.append((kind.value, text))
    return lines


def value_text(found: Property | None) -> str:
    """Value with its interval."""
    if found is None:
        return "missing"
    if found.low is None or found.high is None:
        return f"{found.value:.4g}"
    if found.kind in RATIOS:
        return f"{found.value:.4g} ({found.low:.3g} to {found.high:.3g})"
    return with_bar(found.value, 0.5 * (found.high - found.low))


def change_text(row: Compared) -> str:
    """Change with what can be said of it."""
    if row.change is None:
        return ""
    number = f"×{row.change:.3g}" if row.kind in RATIOS else f"{row.change:+.3g}"
    return f"{number}, " + {True: "differs", False: "within the intervals", None: "no interval"}[row.differs]


def render_comparison(outcomes: Sequence[Outcome], rows: Sequence[Compared]) -> str:
    """The page as text: one self-contained file."""
    names = [outcome.name for outcome in outcomes]
    sections = []
    for kind in Kind:
        of_kind = [row for row in rows if row.kind is kind]
        if not of_kind:
            continue
        of_kind.sort(key=lambda row: (row.differs is not True, row.temperature_K or 0.0))
        table = Table(
            ("", "T, K", *names, "last against first"),
            tuple(
                (
                    f"{row.name}{', ' + row.unit if row.unit else ''}",
                    "" if row.temperature_K is None else f"{row.temperature_K:g}",
                    *(value_text(one) for one in row.found),
                    change_text(row),
                )
                for row in of_kind[:MOST_ROWS]
            ),
        )
        left_out = "" if len(of_kind) <= MOST_ROWS else f" {len(of_kind) - MOST_ROWS} more rows are in {JSON}."
        wanted = [
            (
                f"values-{kind.name.lower()}",
                "trepid.report.compare_plots",
                partial(_values, of_kind, names, kind in RATIOS),
                "Those that changed most; bars: 95 % intervals.",
            )
        ]
        if kind is Kind.LIFETIME:
            wanted.insert(
                0,
                (
                    "modes",
                    "trepid.report.compare_plots",
                    partial(_modes, of_kind, names),
                    f"Lifetimes against those of {names[0]}; the line: no change.",
                ),
            )
        if kind is Kind.FREQUENCY:
            wanted.insert(
                0,
                (
                    "bands",
                    "trepid.report.compare_plots",
                    partial(_bands, outcomes),
                    "Bands on top of each other, with their intervals.",
                ),
            )
        sections.append(
            Section(
                f"{kind.value[0].upper()}{kind.value[1:]}",
                f"{dict(summary(of_kind)).get(kind.value, '')}.{left_out}",
                draw(*wanted),
                wide=True,
                table=table,
            )
        )
    both = [row for row in rows if row.change is not None]
    return render_page(
        title="Comparison",
        subtitle=" · ".join(names),
        headlines=[
            Headline(str(len(outcomes)), "", "runs"),
            Headline(str(len(both)), "", "properties in the first and the last"),
            Headline(str(sum(row.differs is True for row in both)), "", "differ beyond their 95 % intervals"),
        ],
        sections=sections,
        sentences=missing(outcomes, rows),
        footer=f"trepid compare, {now()}",
    )


def _values(rows: Sequence[Compared], names: Sequence[str], log: bool, plots: ModuleType) -> Figure | None:
    figure: Figure | None = plots.values_picture(rows, names, log=log)
    return figure


def _modes(rows: Sequence[Compared], names: Sequence[str], plots: ModuleType) -> Figure | None:
    figure: Figure | None = plots.modes_picture(rows, names)
    return figure


def _bands(outcomes: Sequence[Outcome], plots: ModuleType) -> Figure | None:
    figure: Figure | None = plots.bands_picture(outcomes)
    return figure
