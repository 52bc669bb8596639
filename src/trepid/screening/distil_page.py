"""The page of a distillation: student against teacher on fresh frames, and where both part from a better method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trepid.data.atomic import write_text_atomic
from trepid.report.page import FIGURES, Headline, Section, Table, draw, figure_files, now, render_page
from trepid.screening.distil import Distilled
from trepid.screening.second import Against, Checked, CheckedFrame

PAGE = "distil.html"
_PLOTS = "trepid.screening.distil_plots"


def write_page(
    result: Distilled, checked: Checked | None, frames: Sequence[CheckedFrame] | None, *, figures: bool = False
) -> Path:
    """Write distil.html, with `figures` every figure also as PNG and PDF and its numbers as CSV; gives the path of the page."""
    path = result.directory / PAGE
    with figure_files(result.directory / FIGURES if figures else None):
        sections = [_fresh(result)]
        if checked is not None and frames:
            sections.append(_parting(checked, frames))
    text = render_page(
        title="Distilled",
        subtitle=f"{result.settings.teacher} on {Path(result.settings.structure).name}; {now()}",
        headlines=_headlines(result, checked),
        sections=sections,
        footer="trepid; the campaign of the student: run/report.html after 'trepid report run'",
        versions=json.loads((result.directory / "run" / "versions.json").read_text(encoding="utf-8")),
    )
    write_text_atomic(path, text)
    return path


def _headlines(result: Distilled, checked: Checked | None) -> list[Headline]:
    found = [Headline(f"{result.n_labels}", "", "labels of the teacher")]
    for each in result.fresh:
        share = 100 * each.forces_mae_meV_per_A / each.forces_rms_meV_per_A
        found.append(
            Headline(
                f"{each.forces_mae_meV_per_A:.1f}",
                "meV/Å",
                f"force error on fresh frames at {each.temperature_K:g} K, {share:.1f} % of the rms force",
            )
        )
    covered = [each.coverage_95 for each in result.fresh if each.coverage_95 is not None]
    if covered:
        found.append(Headline(f"{100 * float(np.mean(covered)):.1f}", "%", "inside the 95 % bars, announced before"))
    if checked is not None:
        found.append(
            Headline(f"{checked.teacher.forces_mae_meV_per_A:.0f}", "meV/Å", f"teacher against {checked.engine}")
        )
    return found


def _fresh(result: Distilled) -> Section:
    rows = tuple(
        (
            f"{each.temperature_K:g} K",
            f"{each.n_frames}",
            f"{each.forces_mae_meV_per_A:.1f}",
            f"{each.forces_rms_meV_per_A:.0f}",
            "" if each.coverage_95 is None else f"{100 * each.coverage_95:.1f}",
            "" if each.energy_mae_meV_per_atom is None else f"{each.energy_mae_meV_per_atom:.2f}",
        )
        for each in result.fresh
    )
    head = (
        "temperature",
        "frames",
        "force error, meV/Å",
        "rms force, meV/Å",
        "inside 95 % bars, %",
        "energy, meV/atom",
    )
    pictures = draw(
        (
            "fresh",
            _PLOTS,
            lambda plots: plots.errors_and_bars(result.labels),
            "Force errors of the student, and the bars it had announced.",
        )
    )
    return Section(
        "Student against teacher",
        "Frames of walks on the finished student with seeds of their own. The student announced forces and bars; then the teacher "
        "labelled them.",
        pictures,
        table=Table(head, rows),
    )


def _parting(checked: Checked, frames: Sequence[CheckedFrame]) -> Section:
    rows = [("teacher", *_cells(checked.teacher)), ("student", *_cells(checked.student))]
    if checked.corrected is not None:
        rows.append(("corrected, left out", *_cells(checked.corrected)))
    species = sorted(checked.teacher.per_species_meV_per_A)
    head = (
        "method",
        "force error, meV/Å",
        "rms force, meV/Å",
        *(f"{name}, meV/Å" for name in species),
        "energies, meV/atom",
        "slope",
    )
    pictures = draw(
        (
            "parting",
            _PLOTS,
            lambda plots: plots.who_parts(frames),
            "Per atom: how far the student is from the teacher, and the teacher from the better method. Above the line the student "
            "adds more than the teacher already has.",
        )
    )
    covered = f"{100 * checked.coverage_95:.1f} %" if np.isfinite(checked.coverage_95) else "an unknown share"
    return Section(
        f"Against {checked.engine}",
        f"{checked.n_frames} of the fresh frames. The student's bars are bars against the teacher; {covered} of the better forces "
        "lie inside them. Energies are compared by their differences between frames.",
        pictures,
        table=Table(head, tuple(rows)),
    )


def _cells(figures: Against) -> tuple[str, ...]:
    energy = "" if figures.energy_meV_per_atom is None else f"{figures.energy_meV_per_atom:.2f}"
    species = (f"{figures.per_species_meV_per_A[name]:.1f}" for name in sorted(figures.per_species_meV_per_A))
    return (
        f"{figures.forces_mae_meV_per_A:.1f}",
        f"{figures.forces_rms_meV_per_A:.0f}",
        *species,
        energy,
        f"{figures.slope:.3f}",
    )
