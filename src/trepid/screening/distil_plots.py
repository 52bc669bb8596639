"""Figures of the page of a distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.report.axes import dots, key, log_scale
from trepid.report.style import INK, MUTED, new_figure, species_colours
from trepid.runs.label_files import LabelledFrame
from trepid.screening.second import CheckedFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def errors_and_bars(labels: Sequence[LabelledFrame]) -> Figure:
    """Force error of every atom against the bar that the student had announced."""
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    bars, errors = [], []
    for label in labels:
        prediction, noise = label.prediction, label.noise
        if prediction is None or prediction.forces_uncertainty is None or noise is None:
            continue
        errors.append(1000 * np.linalg.norm(prediction.forces - label.forces, axis=1))
        bars.append(1000 * np.linalg.norm(np.hypot(prediction.forces_uncertainty, noise.forces), axis=1))
    if bars:
        bar, error = np.concatenate(bars), np.concatenate(errors)
        axes.scatter(bar, error, s=5, alpha=0.5, color=INK, linewidth=0, rasterized=True)
        ends = [float(bar.min()), float(bar.max())]
        axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        log_scale(axes, x=True, y=True)
    axes.set_xlabel("announced bar of an atom (meV/Å)")
    axes.set_ylabel("error of its force (meV/Å)")
    return figure


def who_parts(frames: Sequence[CheckedFrame]) -> Figure:
    """Per atom: the student from the teacher, against the teacher from the better method."""
    figure = new_figure(5.2, 3.7)
    axes = figure.add_subplot()
    symbols = np.array([s for each in frames for s in each.label.atoms.get_chemical_symbols()])
    teacher = np.concatenate([np.linalg.norm(each.label.forces - each.better.forces, axis=1) for each in frames])
    student = np.concatenate([np.linalg.norm(each.student - each.label.forces, axis=1) for each in frames])
    colours = species_colours(symbols.tolist())
    for name, colour in colours.items():
        own = symbols == name
        axes.scatter(
            1000 * teacher[own], 1000 * student[own], s=7, color=colour, linewidth=0, rasterized=True, label=name
        )
    end = 1000 * float(max(teacher.max(), student.max()))
    axes.plot([0, end], [0, end], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("teacher from better method (meV/Å)")
    axes.set_ylabel("student from teacher (meV/Å)")
    key(axes, handles=dots(colours))
    return figure
