"""The sections on errors: every set of unseen frames as a row and with its figures, errors by species, and the worst frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.io import write
from ase.units import GPa

from trepid.data.formula import formula_of
from trepid.data.frames import write_frames
from trepid.evaluation import Evaluation, summarise
from trepid.quantities import force
from trepid.report.frame_sets import FrameSet
from trepid.report.page import Link, Picture, Section, Table, draw
from trepid.verdict import Basis, Verdict

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.runs.reading import RunRecord

_PLOTS, _STRUCTURES = "trepid.report.plots", "trepid.report.structure_plots"
NOT_MEASURED = "–"
_FORCE_HEAD = ("rms force (meV/Å)", "MAE (meV/Å)", "RMSE (meV/Å)", "RMSE / rms (%)", "inside 95 % (%)")
_NONE_FRESH = (
    "None of these frames is independent of the uncertainty. For the error on an average frame, label some of a trajectory of "
    "its own and run: trepid report {run} --test FRAMES.extxyz"
)


def accuracy_section(record: RunRecord, sets: Sequence[FrameSet], verdict: Verdict) -> Section:
    """Errors of all sets of unseen frames, a row for each."""
    rows = [_row(each.name, each.figures) for each in sorted(sets, key=lambda each: each.chosen)]
    tested = [each for each in record.rounds if each.test is not None]
    if tested and tested[-1].test is not None:
        rows.insert(0, _row(f"test frames of the campaign, after round {tested[-1].round}", tested[-1].test))
    fresh = bool(tested) or any(not each.chosen for each in sets)
    if verdict.basis is Basis.LEFT_OUT and np.isfinite(verdict.error):
        row = (
            "training frames, each left out in turn",
            str(verdict.n_frames),
            f"{1000 * verdict.forces:.0f}",
            NOT_MEASURED,
            f"{1000 * verdict.error:.3g}",
            f"{100 * verdict.error_share:.2g}",
            NOT_MEASURED,
            NOT_MEASURED,
            NOT_MEASURED,
        )
        rows.append(row)
    text = (
        "Errors of forces over components, on frames that the model had not been trained on. Frames asked for were selected for "
        "their high uncertainty, so their errors are larger than on an average frame of the same simulation."
    )
    if any(NOT_MEASURED in row for row in rows):
        text += f" {NOT_MEASURED}: not measured."
    head = (
        "frames",
        "number",
        *_FORCE_HEAD,
        "energy MAE (meV/atom)",
        "stress RMSE (GPa)",
    )
    if not fresh:
        text += " " + _NONE_FRESH.format(run=record.directory)
    return Section("Accuracy on unseen frames", text, (), table=Table(head, tuple(rows)))


def _of_forces(figures: Evaluation) -> tuple[str, ...]:
    """The columns of `_FORCE_HEAD`."""
    return (
        f"{1000 * figures.forces_rms:.0f}",
        f"{1000 * figures.forces_mae:.3g}",
        f"{1000 * figures.forces_rmse:.3g}",
        f"{100 * figures.forces_rmse / figures.forces_rms:.2g}" if figures.forces_rms > 0 else NOT_MEASURED,
        NOT_MEASURED if figures.forces_coverage_95 is None else f"{100 * figures.forces_coverage_95:.1f}",
    )


def _row(name: str, figures: Evaluation) -> tuple[str, ...]:
    return (
        name,
        str(figures.n_frames),
        *_of_forces(figures),
        NOT_MEASURED if figures.energy_mae_per_atom is None else f"{1000 * figures.energy_mae_per_atom:.3g}",
        NOT_MEASURED if figures.stress_rmse is None else f"{figures.stress_rmse / GPa:.2g}",
    )


def parity_sections(sets: Sequence[FrameSet]) -> list[Section]:
    """Forces, energies and stresses against their labels, a section per set; those not chosen by uncertainty first."""
    sections = []
    for each in sorted(sets, key=lambda each: each.chosen):
        tag = "" if each.chosen else f"-{each.slug}"
        bars = "bars are one standard deviation, uncertainty and residual noise"
        pictures = draw(
            (
                f"force-parity{tag}",
                _PLOTS,
                lambda plots, own=each: plots.force_parity(own.comparison),  # type: ignore[misc]
                "Every force component of every frame.",
            ),
            (
                f"energy-parity{tag}",
                _PLOTS,
                lambda plots, own=each: plots.energy_parity(own.comparison, numbers=own.numbers),  # type: ignore[misc]
                f"Energies: one point per frame; {bars}.",
            ),
            (
                f"stress-parity{tag}",
                _PLOTS,
                lambda plots, own=each: plots.stress_parity(own.comparison),  # type: ignore[misc]
                f"Every stress component; {bars}.",
            ),
        )
        title = "Predictions against labels" if each.chosen else "Predictions against labels, not chosen by uncertainty"
        text = (
            "Frames asked for, predicted before the model was trained on them."
            if each.chosen
            else f"{len(each.frames)} frames: {each.name}. Their errors are those of an average frame where they come from."
        )
        sections.append(Section(title, text, pictures))
    return sections


def species_section(sets: Sequence[FrameSet]) -> list[Section]:
    """Force errors by species."""
    rows = []
    for each in sorted(sets, key=lambda each: each.chosen):
        for name in sorted(set(each.comparison.symbols.tolist())):
            own = each.comparison.of_atoms(each.comparison.symbols == name)
            figures = summarise(own)
            worst = float(np.linalg.norm(own.forces_error, axis=1).max())
            rows.append(
                (
                    each.name,
                    name,
                    str(figures.n_atoms),
                    *_of_forces(figures),
                    f"{1000 * worst:.4g}",
                )
            )
    if not rows:
        return []
    head = (
        "frames",
        "species",
        "atoms",
        *_FORCE_HEAD,
        "largest error of an atom (meV/Å)",
    )
    return [Section("Errors by species", "Of force components.", (), table=Table(head, tuple(rows)))]


def structure_section(record: RunRecord, sets: Sequence[FrameSet], folder: Path | None) -> list[Section]:
    """The crystal, and of every set the frame with the largest force error, with their files.

    `folder` gets them as extended XYZ; None writes nothing.
    """
    if not record.labels:
        return []
    first = record.labels[0]
    pictures = [
        _picture(
            "crystal",
            first.atoms,
            f"{formula_of(first.atoms)}: frame of label {first.number}, the first one.",
            first.atoms,
            folder,
        )
    ]
    for each in sorted(sets, key=lambda each: each.chosen):
        worst = each.worst()
        frame = each.frames[worst.frame]
        symbol = frame[worst.atom].symbol
        pictures.append(
            _picture(
                f"worst-{each.slug}",
                frame,
                f"Largest force error of the frames {each.name}: {force(worst.error).replace('eV/A', 'eV/Å')} on atom "
                f"{worst.atom} ({symbol}, counted from 0) of {each.titles[worst.frame]}.",
                each.written(worst.frame),
                folder,
                marked=(worst.atom, worst.label, worst.predicted),
            )
        )
    where = "" if folder is None else f" They are in {folder.name}/ as well, for OVITO and ASE."
    text = (
        "Atoms in the cell, those at the back greyer. Arrows are the two forces on the ringed atom, to one scale. The files hold "
        "labels, predictions, bars and the force error of every atom." + where
    )
    return [Section("Structures", text, tuple(pictures))]


def _picture(
    name: str,
    frame: Atoms,
    caption: str,
    content: Atoms,
    folder: Path | None,
    *,
    marked: tuple[int, np.ndarray, np.ndarray] | None = None,
) -> Picture:
    """One structure with a link that holds its file, so that the page needs no other."""
    (picture,) = draw(
        (
            name,
            _STRUCTURES,
            lambda plots: plots.crystal_picture(frame, None if marked is None else plots.MarkedAtom(*marked)),
            caption,
        )
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_frames(folder / f"{name}.extxyz", content)
    plain = content.copy()
    plain.calc = None
    text = io.StringIO()
    write(text, plain, format="extxyz")
    data = base64.b64encode(text.getvalue().encode("utf-8")).decode("ascii")
    file = Link(f"{name}.extxyz", f"data:text/plain;base64,{data}", f"{name}.extxyz")
    return replace(picture, links=(file, *picture.links))
