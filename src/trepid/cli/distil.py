"""`trepid distil`: a fast Bayesian force field from a foundation potential or any other teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, say

if TYPE_CHECKING:
    from trepid.screening.distil import Distilled
    from trepid.screening.second import Checked


def command(
    teacher: Annotated[
        str,
        typer.Argument(
            metavar="TEACHER",
            help="Engine file (YAML with a section reference), engine (sevennet, chgnet:r2scan, tblite, gpaw), or ASE calculator "
            "by name or package.module:Class.",
            show_default=False,
        ),
    ],
    structure: Annotated[
        Path, typer.Argument(metavar="CRYSTAL", help="Crystal in any format ASE reads.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Directory of the result.")] = Path(
        "distilled"
    ),
    temperature: Annotated[
        list[float] | None,
        typer.Option(metavar="K", help="Temperature that the student is for; may be given again. Default 300 and 600."),
    ] = None,
    labels: Annotated[int, typer.Option(help="Labels of the teacher at most.")] = 36,
    supercell: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="A B C", help="Repetitions of the crystal; chosen if absent.", show_default=False),
    ] = None,
    duration: Annotated[float, typer.Option(metavar="PS", help="Length of a trajectory in a round, ps.")] = 4.0,
    timestep: Annotated[float, typer.Option(metavar="FS", help="Time step, fs.")] = 2.0,
    lammps: Annotated[bool, typer.Option("--lammps", help="Run trajectories in LAMMPS: faster.")] = False,
    relax: Annotated[
        bool, typer.Option("--relax/--no-relax", help="Relax the crystal on the teacher, its symmetry kept.")
    ] = True,
    check: Annotated[
        str | None,
        typer.Option(metavar="ENGINE", help="A better method, named as the teacher: labels a few fresh frames."),
    ] = None,
    check_frames: Annotated[int, typer.Option(help="Frames that it labels.")] = 4,
    correct: Annotated[
        bool,
        typer.Option("--correct", help="Learn better minus teacher, and train a corrected student where it helps."),
    ] = False,
    seed: options.Seed = 0,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Distil a teacher into a Bayesian force field, and measure its error and its bar against the teacher on fresh frames.

    The crystal is relaxed on the teacher, the student learns in rounds at the temperatures, and then walks once more with other
    seeds: what it announces there is compared with the teacher. The result is DIR/run/model.trepid and DIR/distil.html.
    With --check a better method labels some of the fresh frames, and both are compared with it. The same command resumes.
    """
    from trepid.choices import Engine
    from trepid.errors import ConfigError
    from trepid.screening.distil import DistilSettings, distil
    from trepid.screening.distil_page import write_page
    from trepid.screening.second import check_with
    from trepid.screening.teacher import method_of

    if correct and check is None:
        raise ConfigError("--correct learns from the frames of a better method: give --check ENGINE too")
    settings = DistilSettings(
        teacher=teacher,
        structure=str(structure),
        supercell=supercell,
        temperatures_K=tuple(temperature or (300.0, 600.0)),
        labels=labels,
        duration_ps=duration,
        timestep_fs=timestep,
        relax=relax,
        engine=Engine.LAMMPS if lammps else Engine.ASE,
        seed=seed,
    )
    better = None if check is None else method_of(check)
    result = distil(settings, method_of(teacher), output, tell=say)
    if result.interrupted:
        say("interrupted: the same command resumes")
        raise typer.Exit(130)
    checked, frames = None, None
    if better is not None:
        checked, frames = check_with(result, better, check_frames, correct=correct, tell=say)
    page = write_page(result, checked, frames, figures=figures)
    if json:
        emit_json({**result.as_dict(), "check": None if checked is None else checked.as_dict(), "page": str(page)})
        return
    emit_table(_rows(result, checked))
    emit(f"page: {page}")


def _rows(result: Distilled, checked: Checked | None) -> list[tuple[str, str]]:
    rows = [
        ("student", str(result.model)),
        (
            "labels",
            f"{result.n_labels} of the teacher, {result.n_relaxation} of the relaxation, {result.n_fresh} fresh",
        ),
    ]
    for each in result.fresh:
        share = "" if each.coverage_95 is None else f", {100 * each.coverage_95:.1f} % inside the 95 % bars"
        rows.append(
            (
                f"fresh, {each.temperature_K:g} K",
                f"force error {each.forces_mae_meV_per_A:.1f} of {each.forces_rms_meV_per_A:.0f} meV/A{share}",
            )
        )
    if checked is not None:
        for name, figures in (("teacher", checked.teacher), ("student", checked.student)):
            rows.append(
                (
                    f"{name} against {checked.engine}",
                    f"force error {figures.forces_mae_meV_per_A:.1f} of {figures.forces_rms_meV_per_A:.0f} meV/A, slope "
                    f"{figures.slope:.2f}, {checked.n_frames} frames",
                )
            )
        if checked.corrected is not None:
            kept = "corrected.trepid" if checked.kept else "no gain: nothing written"
            text = f"force error {checked.corrected.forces_mae_meV_per_A:.1f} meV/A on frames left out; {kept}"
            rows.append(("corrected student", text))
    return rows
