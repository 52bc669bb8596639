"""`trepid evaluate`: errors and calibration of a model on labelled frames it was not trained on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit_json, emit_table, say


class UncertaintyName(str, Enum):
    """Values of `trepid.potentials.base.Uncertainty`; repeated here, so that `--help` needs no import of numpy."""

    NONE = "none"
    LIVE = "live"
    EXACT = "exact"


def command(
    model: options.ModelFile,
    test: Annotated[
        list[Path], typer.Argument(metavar="TEST...", help="Labelled frames (extxyz).", show_default=False)
    ],
    uncertainty: Annotated[
        UncertaintyName,
        typer.Option(help="exact: full posterior; live: lower bound from a few directions; none: errors only."),
    ] = UncertaintyName.EXACT,
    energy_key: options.EnergyKey = options.ENERGY_KEY,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    stress_key: options.StressKey = options.STRESS_KEY,
    json: options.Json = False,
) -> None:
    """Compare a model with labelled frames: errors, coverage of its intervals, rank correlation of its uncertainty.

    JSON keys: n_frames, forces_rmse, forces_mae (eV/A), energy_rmse_per_atom (eV), forces_coverage_95 (0 to 1),
    forces_uncertainty_spearman (-1 to 1) and others. A figure that is not defined is null.
    """
    from trepid.data.frames import LabelKeys, read_frames
    from trepid.evaluation import evaluate
    from trepid.potentials import load_potential

    keys = LabelKeys(energy=energy_key, forces=forces_key, stress=stress_key)
    frames = [frame for path in test for frame in read_frames(path, keys=keys)]
    potential = load_potential(model)
    say(f"evaluating {model} on {len(frames)} frames")
    figures = evaluate(potential, frames, keys=keys, uncertainty=uncertainty.value)
    if json:
        emit_json(figures.as_dict())
        return
    rows = [
        ("frames", f"{figures.n_frames} ({figures.n_atoms} atoms)"),
        ("force MAE", f"{1000 * figures.forces_mae:.2f} meV/A"),
        (
            "force RMSE",
            f"{1000 * figures.forces_rmse:.2f} meV/A, of forces of {1000 * figures.forces_rms:.0f} meV/A rms",
        ),
    ]
    optional: list[tuple[str, float | None, float, str]] = [
        ("energy RMSE", figures.energy_rmse_per_atom, 1000.0, "{:.3f} meV/atom"),
        ("stress RMSE", figures.stress_rmse, 160.21766, "{:.3f} GPa"),
        ("inside the 68 % interval", figures.forces_coverage_68, 100.0, "{:.1f} % of force components"),
        ("inside the 95 % interval", figures.forces_coverage_95, 100.0, "{:.1f} % of force components"),
        ("rank correlation", figures.forces_uncertainty_spearman, 1.0, "{:.3f} (uncertainty and error of an atom)"),
    ]
    rows += [(name, text.format(factor * value)) for name, value, factor, text in optional if value is not None]
    emit_table(rows)
