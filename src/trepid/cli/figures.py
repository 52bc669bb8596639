"""Figures as tables: errors and calibration, one column for each set of test frames; steps of the search for sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trepid.cli.output import emit, emit_table, say

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.evaluation import Corrected, Evaluation
    from trepid.potentials.base import Potential
    from trepid.potentials.bayesian.size_search import SizeStep

EV_PER_A3_IN_GPA = 160.21766


def emit_figures(figures: Mapping[str, Evaluation], corrected: Mapping[str, Corrected] | None = None) -> None:
    """Write the figures of one or more sets of frames to stdout; rows that no set defines are left out.

    Parameters
    ----------
    figures : mapping of str to Evaluation
        Name of the set -> its figures. A single set has no heading.
    corrected : mapping of str to Corrected, optional
        Name of the set -> its intervals, corrected by other frames.
    """
    columns = [_cells(one) for one in figures.values()]
    for name, column in zip(figures, columns, strict=True):
        if corrected:
            column.update(_corrected_cells(corrected[name]))
    names = [name for name in columns[0] if any(column[name] is not None for column in columns)]
    table = [(name, [column[name] or "-" for column in columns]) for name in names]
    if len(columns) > 1:
        table.insert(0, ("", list(figures)))
    widths = [max(len(cells[k]) for _, cells in table) for k in range(len(columns))]
    emit_table(
        [
            (name, "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
            for name, cells in table
        ]
    )


def emit_types(figures: Mapping[str, Evaluation]) -> None:
    """Write the errors of every config_type to stdout, a row for each."""
    head = ("config_type", "frames", "force RMSE, meV/A", "share of rms", "energy RMSE, meV/atom", "inside 95 %")
    rows = [head]
    for name, one in figures.items():
        energy, inside = one.energy_rmse_per_atom, one.forces_coverage_95
        rows.append(
            (
                name,
                str(one.n_frames),
                f"{1000 * one.forces_rmse:.2f}",
                f"{100 * one.forces_rmse / one.forces_rms:.1f} %" if one.forces_rms > 0 else "-",
                "-" if energy is None else f"{1000 * energy:.3f}",
                "-" if inside is None else f"{100 * inside:.1f} %",
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    for row in rows:
        emit("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _corrected_cells(corrected: Corrected) -> dict[str, str]:
    factors = ", ".join(
        f"{name} {factor.value:.2f}" if factor.n_frames else f"{name} none"
        for name, factor in corrected.factors.items()
    )
    n_frames = max(factor.n_frames for factor in corrected.factors.values())
    source = f"from {n_frames} labelled frames" if n_frames else "fewer than two labelled frames give no factor"
    return {
        "inside, with factors": f"{100 * corrected.coverage_95:.1f} % of force components",
        "interval factors": f"{factors} ({source})",
        "half width of the interval": (
            f"{1000 * corrected.half_width:.1f} meV/A, without factors {1000 * corrected.half_width_announced:.1f}"
        ),
    }


def _cells(figures: Evaluation) -> dict[str, str | None]:
    rows: list[tuple[str, float | None, float, str]] = [
        ("force MAE", figures.forces_mae, 1000.0, "{:.2f} meV/A"),
        ("energy RMSE", figures.energy_rmse_per_atom, 1000.0, "{:.3f} meV/atom"),
        ("stress RMSE", figures.stress_rmse, EV_PER_A3_IN_GPA, "{:.3f} GPa"),
        ("inside the 68 % interval", figures.forces_coverage_68, 100.0, "{:.1f} % of force components"),
        ("inside the 95 % interval", figures.forces_coverage_95, 100.0, "{:.1f} % of force components"),
        ("energies inside the 95 % interval", figures.energy_coverage_95, 100.0, "{:.1f} % of frames"),
        ("stresses inside the 95 % interval", figures.stress_coverage_95, 100.0, "{:.1f} % of components"),
        ("rank correlation", figures.forces_uncertainty_spearman, 1.0, "{:.3f} (uncertainty and error of an atom)"),
        ("outside the training data", figures.outside_support, 100.0, "{:.1f} % of atoms"),
    ]
    cells = {name: None if value is None else text.format(factor * value) for name, value, factor, text in rows}
    rmse = f"{1000 * figures.forces_rmse:.2f} meV/A, of forces of {1000 * figures.forces_rms:.0f} meV/A rms"
    head = {"frames": f"{figures.n_frames} ({figures.n_atoms} atoms)", "force MAE": cells.pop("force MAE")}
    return {**head, "force RMSE": rmse, **cells}


def say_step(step: SizeStep) -> None:
    """Say on stderr, as it comes, how one step of the search for sizes went; its figures are in the table at the end."""
    from trepid.potentials.bayesian.size_search import START

    say("searching for terms and sizes ..." if step.change == START else f"  {step.change}: {_outcome(step)}")


def emit_steps(steps: Sequence[SizeStep]) -> None:
    """Write all steps of the search for sizes to stdout, as a table."""
    if not steps:
        return
    head = ("step", "cost", "evidence", "left out", "typical", "hottest", "")
    rows = [head, *((step.change, *_step_cells(step)) for step in steps)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head) - 1)]
    for row in rows:
        emit("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())
    emit(
        "cost: time per MD step over that of the default sizes; errors in meV/A: all left-out frames, a typical one, and the"
    )
    emit("third of the frames with the largest forces, predicted from the others")
    emit("")


def _step_cells(step: SizeStep) -> tuple[str, str, str, str, str, str]:
    def error(value: float | None) -> str:
        return "-" if value is None else f"{1000 * value:.2f}"

    gain = "-" if step.evidence_gain is None else f"{step.evidence_gain:+.0f}"
    return (
        f"x{step.cost:.2f}",
        gain,
        error(step.left_out_rmse),
        error(step.left_out_typical),
        error(step.hot_rmse),
        f"{_outcome(step)}: {step.reason}" if step.reason else _outcome(step),
    )


def _outcome(step: SizeStep) -> str:
    return "accepted" if step.accepted else "refused"


def warn_of_compositions(potential: Potential, frames: Sequence[Atoms], name: str) -> None:
    """Say which frames have energies that the training labels leave open."""
    uncertain = [u for u in map(potential.undetermined_energy, frames) if u > 0]
    if uncertain:
        say(
            f"warning: {name}: {len(uncertain)} of {len(frames)} frames have another stoichiometry than all training "
            f"frames with an energy, which do not tell the energies of their species apart: these energies may be off by "
            f"{max(uncertain):.3g} eV"
        )
