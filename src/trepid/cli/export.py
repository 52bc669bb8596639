"""`trepid export`: write a model as the potential file of another program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, free_path, say
from trepid.errors import ConfigError
from trepid.export import FORMATS, export_format, require_suffix

if TYPE_CHECKING:
    from trepid.export.check import ForceError

_CHOICES = "; ".join(f"{name}: {entry.summary}" for name, entry in FORMATS.items())


def command(
    model: options.ModelFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Potential file to write.")],
    file_format: Annotated[str, typer.Option("--format", metavar="NAME", help=f"{_CHOICES}.")] = next(iter(FORMATS)),
    knots: Annotated[
        int | None,
        typer.Option(
            help="Knot intervals per radial spline of the model; that of the format if absent.", show_default=False
        ),
    ] = None,
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare the force errors of several --knots; write nothing.")
    ] = False,
    json: options.Json = False,
    force: options.Force = False,
) -> None:
    """Write a Bayesian force field for another program, and measure the force error of the conversion.

    With uf3, FILE.in, written beside FILE, holds the commands of that program that use it, and the file holds the mean alone; with
    metatomic FILE is a model that i-PI, ASE and others load, with the force uncertainty and the support distance. The error is
    measured against the model on its own training structures, strained, rattled and with one atom displaced.

    JSON keys: file, input, knots, forces_rmse, forces_mae, forces_max, forces_rms (eV/A), n_frames; with --dry-run a list
    of knots and errors.
    """
    from trepid.data.atomic import write_text_atomic
    from trepid.export.check import force_error, probe_frames
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.committee.committee_file import is_committee_file

    target = export_format(file_format)
    resolution = target.resolution
    if resolution is None and (knots is not None or dry_run):
        raise ConfigError(
            f"format {target.name} has no resolution to choose; leave {'--dry-run' if dry_run else '--knots'} out"
        )
    commands = target.input_path(output)
    if not dry_run:
        for path in (output, commands):
            free_path(path, force=force, inputs=[model])
    require_suffix(file_format, output.suffix)
    if is_committee_file(model):
        raise ConfigError(f"{model} is not a Bayesian force field; only such a model can be written as {target.name}")
    trained = BayesianForceField.load(model)
    frames = probe_frames(trained, seed=seed)

    if dry_run:
        assert resolution is not None
        _compared(
            resolution.name,
            [
                (n, force_error(target.convert(trained.mean, resolution=n), trained.mean, frames))
                for n in resolution.compared
            ],
            json=json,
        )
        return

    start = perf_counter()
    chosen = {} if resolution is None else {resolution.name: resolution.checked(knots)}
    exported = target.convert(trained.mean, resolution=knots)
    error = force_error(exported, trained.mean, frames)
    exported.write(output, comment=f"mean of a Bayesian force field trained on {trained.n_frames} frames")
    note = f"Mean of {model.name}, by trepid export; force error against the model {1e3 * error.rmse:.2f} meV/A (RMSE)."
    text = exported.input_text(output.name, notes=[note])
    if text is not None:
        write_text_atomic(commands, text)
    written = f"{output}" if text is None else f"{output} and {commands}"
    say(f"wrote {written} in {perf_counter() - start:.1f} s; {target.uncertainty}")
    good = target.good_error_eV_per_A
    if error.rmse > good:
        advice = "" if resolution is None else f"; --dry-run compares other values of --{resolution.name}"
        say(f"warning: the force error is above {1e3 * good:g} meV/A{advice}")
    if json:
        files = {"file": str(output), "input": None if text is None else str(commands)}
        emit_json({**files, **chosen, **error.as_dict()})
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


def _compared(name: str, errors: Sequence[tuple[int, ForceError]], *, json: bool) -> None:
    """Force errors of several resolutions."""
    if json:
        emit_json([{name: n, **error.as_dict()} for n, error in errors])
        return
    emit(f"{name}  error of a force component, meV/A: RMSE, MAE, largest")
    for n, error in errors:
        emit(f"{n:{len(name)}d}  {1e3 * error.rmse:8.2f}  {1e3 * error.mae:8.2f}  {1e3 * error.largest:8.1f}")
