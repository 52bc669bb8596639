"""The page of an audit, from its certificate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trepid.audit.band import convergence_text
from trepid.audit.certificate import read_certificate, still_needed
from trepid.data.atomic import write_text_atomic
from trepid.quantities import with_bar
from trepid.report.page import Headline, Picture, Section, Table, draw_series, now, render_page

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

PAGE, CERTIFICATE = "audit.html", "certificate.json"
_ORDER = ("genuine", "miscaptured", "hallucinated", "overlooked", "undecided", "impossible")
_MEANING = {
    "genuine": "rates right within the factor",
    "miscaptured": "real, with a wrong rate",
    "hallucinated": "not in the reference",
    "overlooked": "possible, and not in the model",
    "undecided": "more labels needed",
    "impossible": "in neither",
}


def write_audit_page(directory: str | Path) -> Path:
    """Write audit.html into the run directory of an audit, from its certificate.

    Raises
    ------
    DataError
        As `trepid.audit.certificate.read_certificate`.
    """
    folder = Path(directory)
    write_text_atomic(folder / PAGE, render_audit(read_certificate(folder / CERTIFICATE)))
    return folder / PAGE


def render_audit(facts: Mapping[str, Any]) -> str:
    """HTML of the page as text."""
    inputs, criteria = facts["inputs"], facts["criteria"]
    counts = facts["verdicts"]
    verdicts = [name for name in _ORDER if name in counts]
    good = not any(counts.get(name) for name in ("miscaptured", "hallucinated", "overlooked"))
    return render_page(
        title=f"Audit of {inputs['crystal']['formula']}",
        subtitle=f"{inputs['trajectory']['file']} · {inputs['trajectory']['duration_ps']:.4g} ps at "
        f"{criteria['temperature_K']:g} K · rates within a factor {criteria['factor']:g} · horizon "
        f"{criteria['time_ns']:g} ns",
        headlines=[
            *(Headline(str(counts[name]), name, _MEANING[name]) for name in verdicts),
            Headline(str(facts["n_labels"]), "labels", f"{facts['n_failed_labels']} failed"),
        ],
        grade="fair" if good and counts.get("undecided") else "good" if good else "poor",
        sentences=_sentences(facts),
        sections=[
            *_sections(facts, "classes", "Events of the trajectory"),
            *_sections(facts, "probes", "Ways that the trajectory does not show"),
        ],
        settings=json.dumps({"inputs": inputs, "criteria": criteria, "settings": facts["settings"]}, indent=2),
        versions=facts["versions"],
        footer=f"Written {now()}. Bars are {_level(criteria['z'])} intervals. Energies in eV, lengths in Å.",
    )


def _level(z: float) -> str:
    from math import erf, sqrt

    return f"{100 * erf(z / sqrt(2)):.0f} %"


def _sentences(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{_capital(entry['verdict'])}: {entry['class']}. {_capital(entry['reason'])}{still_needed(facts, entry)}."
        for entry in facts["classes"]
    ]
    lines += [
        f"Overlooked: {entry['class']}. {_capital(entry['reason'])}."
        for entry in facts["probes"]
        if entry["verdict"] == "overlooked"
    ]
    return lines or ["No event was seen, and no way was found overlooked."]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sections(facts: Mapping[str, Any], kind: str, title: str) -> list[Section]:
    entries = facts[kind]
    if not entries:
        return []
    rows = tuple(
        (
            str(entry["number"]),
            entry["class"],
            str(entry["n_seen"]) if kind == "classes" else str(entry["n_seen_later"] or ""),
            entry["verdict"],
            _value(entry, "model_barrier", "model"),
            _value(entry, "reference_barrier"),
            f"{entry['horizon_eV']:.3f}",
            _factor(entry),
            f"{entry['start']}, {entry['end']}",
            str(len(entry["labels"])),
            _needed(entry),
        )
        for entry in entries
    )
    head = (
        *(
            "",
            "class",
            "seen" if kind == "classes" else "seen later",
            "verdict",
            "barrier, model",
            "barrier, reference",
            "horizon",
        ),
        *("rate, model / reference", "start, end in the reference", "labels", "labels needed"),
    )
    text = (
        "Barriers in eV with their bars; that of the model was announced before any label. The dashed line is the horizon; "
        "a bar that is longer than the picture is cut."
        if kind == "classes"
        else "One atom of each kind to each kind of empty site beside it, and neighbours that change places."
    )
    pictures: list[Picture] = []
    for entry in entries:
        if entry["path"] is not None:
            pictures += draw_series(
                (
                    f"{kind}-{entry['number']}",
                    "trepid.report.audit_plots",
                    partial(_path, entry),
                    f"{entry['class']}: {entry['verdict']}. Path of the model {_convergence(entry)}; points are labels.",
                )
            )
    sections = [Section(title, text, tuple(pictures), table=Table(head, rows))]
    labels = tuple(row for entry in entries for row in _label_rows(entry))
    if labels:
        sections.append(
            Section(
                f"Labels: {title.lower()}",
                "Energies in eV above the relaxed start of the event, forces as root mean squares in meV/Å.",
                (),
                table=Table(
                    ("class", "label", "frame", "model", "announced ±", "reference", "error", "force error"), labels
                ),
            )
        )
    return sections


def _convergence(entry: Mapping[str, Any]) -> str:
    path = entry["path"]
    return convergence_text(path["converged"], path["max_force_eV_per_A"], path["n_steps"]).replace("eV/A", "eV/Å")


def _needed(entry: Mapping[str, Any]) -> str:
    if entry["verdict"] != "undecided":
        return ""
    return "cannot be known" if entry["labels_needed"] is None else str(entry["labels_needed"])


def _path(entry: Mapping[str, Any], plots: ModuleType, width: float) -> Figure | None:
    figure: Figure | None = plots.path_picture(entry, width)
    return figure


def _value(entry: Mapping[str, Any], name: str, bar: str = "reference_barrier") -> str:
    value, half = entry[f"{name}_eV"], entry[f"{bar}_bar_eV"]
    return "none" if value is None else with_bar(value, half, decimals=3)


def _factor(entry: Mapping[str, Any]) -> str:
    if entry["rate_factor"] is None:
        return ""
    return f"{entry['rate_factor']:.2g} ({entry['rate_factor_low']:.2g} to {entry['rate_factor_high']:.2g})"


def _label_rows(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            str(entry["number"]),
            str(label["number"]),
            label["role"],
            f"{label['model_eV']:.3f}",
            "" if label["announced_bar_eV"] is None else f"{label['announced_bar_eV']:.3f}",
            f"{label['reference_eV']:.3f}",
            f"{label['error_eV']:+.3f}",
            f"{1000 * label['force_error_eV_per_A']:.0f}",
        )
        for label in entry["labels"]
    ]
