"""`trepid export`: write a model as the potential file of another program."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, free_path, say

GOOD_ERROR = 2e-3
"""Force error, eV/A, above which more knots are advised."""
LADDER = (2, 3, 4, 5, 6)
"""Knots that --dry-run compares."""


class ExportFormat(str, Enum):
    """File formats a model can be written in."""

    UF3 = "uf3"


def command(
    model: options.ModelFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Potential file to write.")],
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help="uf3: of LAMMPS' pair_style uf3.")
    ] = ExportFormat.UF3,
    knots: Annotated[int, typer.Option(min=2, max=10, help="Knot intervals per radial spline of the model.")] = 5,
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare the force errors of several --knots; write nothing.")
    ] = False,
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Write the mean of a model for LAMMPS' pair_style uf3, and measure the force error of the conversion.

    FILE.in, written beside FILE, holds the LAMMPS commands that use it. The error is measured against the model on its
    own training structures, strained, rattled and with one atom displaced. The uncertainty is not exported; pair_style
    trepid gives it.

    JSON keys: file, input, knots, forces_rmse, forces_mae, forces_max, forces_rms (eV/A), n_frames; with --dry-run a list
    of knots and errors.
    """
    from trepid.data.atomic import atomic_write
    from trepid.errors import ConfigError
    from trepid.export import force_error, lammps_input, probe_frames, resample, write_uf3
    from trepid.potentials import load_potential
    from trepid.potentials.bayesian.force_field import BayesianForceField

    commands = output.with_name(output.name + ".in")
    if not dry_run:
        for path in (output, commands):
            free_path(path, force=force)
    trained = load_potential(model)
    if not isinstance(trained, BayesianForceField):
        raise ConfigError(
            f"{model} is not a Bayesian force field; only such a model can be written as {file_format.value}"
        )
    frames = probe_frames(trained, seed=seed)

    if dry_run:
        errors = [(n, force_error(resample(trained.mean, knots=n), trained.mean, frames)) for n in LADDER]
        if json:
            emit_json([{"knots": n, **error.as_dict()} for n, error in errors])
            return
        emit("knots  error of a force component, meV/A: RMSE, MAE, largest")
        for n, error in errors:
            emit(f"{n:5d}  {1e3 * error.rmse:8.2f}  {1e3 * error.mae:8.2f}  {1e3 * error.largest:8.1f}")
        return

    start = perf_counter()
    exported = resample(trained.mean, knots=knots)
    error = force_error(exported, trained.mean, frames)
    write_uf3(output, exported, comment=f"mean of a Bayesian force field trained on {trained.n_frames} frames")
    note = f"Mean of {model.name}, by trepid export; force error against the model {1e3 * error.rmse:.2f} meV/A (RMSE)."
    with atomic_write(commands) as file:
        file.write(lammps_input(exported, output.name, notes=[note]))
    say(f"wrote {output} and {commands} in {perf_counter() - start:.1f} s")
    if error.rmse > GOOD_ERROR:
        say(f"warning: the force error is above {1e3 * GOOD_ERROR:g} meV/A; --dry-run compares other values of --knots")
    if json:
        emit_json({"file": str(output), "input": str(commands), "knots": knots, **error.as_dict()})
        return
    emit_table(
        [
            (
                "force RMSE",
                f"{1e3 * error.rmse:.2f} meV/A against the model, of forces of {error.forces_rms:.1f} eV/A rms",
            ),
            ("force MAE", f"{1e3 * error.mae:.2f} meV/A"),
            ("largest", f"{1e3 * error.largest:.1f} meV/A, over {error.n_frames} perturbed training structures"),
        ]
    )
