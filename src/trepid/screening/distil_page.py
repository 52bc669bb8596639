"""The page of a distillation: student against teacher on fresh frames, and where both part from a better method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.atomic import write_text_atomic
from trepid.report.page import Headline, Picture, Section, Table, now, render_page
from trepid.report.style import INK, MUTED, direct_legend, house_style, new_figure, species_colours, to_svg
from trepid.screening.distil import Distilled
from trepid.screening.second import Against, Checked, CheckedFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "distil.html"


def write_page(result: Distilled, checked: Checked | None, frames: Sequence[CheckedFrame] | None) -> Path:
    """Write distil.html; gives its path."""
    path = result.directory / PAGE
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
                "meV/A",
                f"force error on fresh frames at {each.temperature_K:g} K, {share:.1f} % of the rms force",
            )
        )
    covered = [each.coverage_95 for each in result.fresh if each.coverage_95 is not None]
    if covered:
        found.append(Headline(f"{100 * float(np.mean(covered)):.1f}", "%", "inside the 95 % bars, announced before"))
    if checked is not None:
        found.append(
            Headline(f"{checked.teacher.forces_mae_meV_per_A:.0f}", "meV/A", f"teacher against {checked.engine}")
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
        "force error, meV/A",
        "rms force, meV/A",
        "inside 95 % bars, %",
        "energy, meV/atom",
    )
    with house_style("fresh"):
        figure = _parity(result)
        pictures = (Picture(to_svg(figure, "fresh"), "Force errors of the student, and the bars it had announced."),)
    return Section(
        "Student against teacher",
        "Frames of walks on the finished student with seeds of their own. The student announced forces and bars; then the teacher "
        "labelled them.",
        pictures,
        table=Table(head, rows),
    )


def _parity(result: Distilled) -> Figure:
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    largest = 0.0
    for label in result.labels:
        prediction, noise = label.prediction, label.noise
        if prediction is None or prediction.forces_uncertainty is None or noise is None:
            continue
        error = 1000 * np.linalg.norm(prediction.forces - label.forces, axis=1)
        bar = 1000 * np.linalg.norm(np.hypot(prediction.forces_uncertainty, noise.forces), axis=1)
        axes.scatter(bar, error, s=5, alpha=0.5, color=INK, linewidth=0, rasterized=True)
        largest = max(largest, float(bar.max()))
    axes.plot([0, largest], [0, largest], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("announced bar of an atom, meV/A")
    axes.set_ylabel("error of its force, meV/A")
    return figure


def _parting(checked: Checked, frames: Sequence[CheckedFrame]) -> Section:
    rows = [("teacher", *_cells(checked.teacher)), ("student", *_cells(checked.student))]
    if checked.corrected is not None:
        rows.append(("corrected, left out", *_cells(checked.corrected)))
    species = sorted(checked.teacher.per_species_meV_per_A)
    head = (
        "method",
        "force error, meV/A",
        "rms force, meV/A",
        *(f"{name}, meV/A" for name in species),
        "energies, meV/atom",
        "slope",
    )
    with house_style("parting"):
        figure = _who_parts(frames)
        picture = Picture(
            to_svg(figure, "parting"),
            "Per atom: how far the student is from the teacher, and the teacher from the better method. Above the line the student "
            "adds more than the teacher already has.",
        )
    covered = f"{100 * checked.coverage_95:.1f} %" if np.isfinite(checked.coverage_95) else "an unknown share"
    return Section(
        f"Against {checked.engine}",
        f"{checked.n_frames} of the fresh frames. The student's bars are bars against the teacher; {covered} of the better forces "
        "lie inside them. Energies are compared by their differences between frames.",
        (picture,),
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


def _who_parts(frames: Sequence[CheckedFrame]) -> Figure:
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    symbols = np.array([s for each in frames for s in each.label.atoms.get_chemical_symbols()])
    teacher = np.concatenate([np.linalg.norm(each.label.forces - each.better.forces, axis=1) for each in frames])
    student = np.concatenate([np.linalg.norm(each.student - each.label.forces, axis=1) for each in frames])
    colours = species_colours(symbols.tolist())
    for name, colour in colours.items():
        own = symbols == name
        axes.scatter(1000 * teacher[own], 1000 * student[own], s=7, color=colour, linewidth=0, rasterized=True)
    end = 1000 * float(max(teacher.max(), student.max()))
    axes.plot([0, end], [0, end], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("teacher from better method, meV/A")
    axes.set_ylabel("student from teacher, meV/A")
    direct_legend(axes, colours, loc="upper left")
    return figure
