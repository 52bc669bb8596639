"""`trepid conductivity`: thermal conductivity by Green and Kubo, with error bars, from runs in LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit_json, emit_table, require_no_input, say
from trepid.errors import ConfigError, ExitCode
from trepid.quantities import duration

if TYPE_CHECKING:
    from trepid.transport.conductivity import ConductivityResult, Plan
    from trepid.transport.source import Source


def command(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] CRYSTAL",
            help="Model file (.trepid), unless --lammps is given; and the relaxed crystal.",
            show_default=False,
        ),
    ],
    temperature: Annotated[
        float, typer.Option("--temperature", "-T", metavar="K", help="Temperature, K.", show_default=False)
    ],
    lammps: Annotated[
        str | None,
        typer.Option(
            metavar="COMMANDS",
            help="A pair potential of LAMMPS instead: 'pair_style ...; pair_coeff ...'.",
            show_default=False,
        ),
    ] = None,
    repeat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            help="Supercell, N or NxNxN; several, from small to large, for the finite-size series. The given cell if absent.",
        ),
    ] = None,
    run: Annotated[float, typer.Option(metavar="PS", help="Length of a run that counts, ps.")] = 100.0,
    runs: Annotated[int, typer.Option(metavar="N", help="Independent runs.")] = 8,
    equilibrate: Annotated[float, typer.Option(metavar="PS", help="Equilibration before each run, ps.")] = 10.0,
    draws: Annotated[
        int, typer.Option(metavar="N", help="Draws of the model, for its error bar; each costs as much as the model.")
    ] = 0,
    timestep: Annotated[float, typer.Option(metavar="FS", help="Time step, fs.")] = 1.0,
    sample: Annotated[float, typer.Option(metavar="FS", help="Time between two samples of the heat flux, fs.")] = 10.0,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Runs at a time.")] = 1,
    mpi: Annotated[int, typer.Option(metavar="N", min=1, help="MPI processes of each run.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Run directory.")] = Path(
        "conductivity"
    ),
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be run and what it costs; run nothing.")] = False,
    seed: options.Seed = 0,
    trust: options.Trust = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Compute a thermal conductivity by Green and Kubo: independent runs in LAMMPS, the exact heat flux, error bars.

    Every run is equilibrated at the temperature and then goes on without thermostat and barostat. The integral of the
    autocorrelation of the heat flux is cut off where what follows is noise. The same command resumes.

    Into DIR: conductivity.json, conductivity.html, and a folder for every run.

    JSON keys: those of conductivity.json, and directory.
    """
    from trepid.data.frames import read_structure
    from trepid.dynamics.interrupt import Interrupted
    from trepid.report.conductivity import PAGE, write_page
    from trepid.report.page import FIGURES, figure_files
    from trepid.transport.conductivity import RESULT_FILE, SETTINGS_FILE, compute_conductivity, facts, plan_conductivity
    from trepid.transport.settings import ConductivitySettings, repeat_of

    settings = ConductivitySettings(
        temperature_K=temperature,
        repeats=tuple(repeat_of(text) for text in repeat or ["1"]),
        timestep_fs=timestep,
        equilibration_ps=equilibrate,
        run_ps=run,
        n_runs=runs,
        sample_fs=sample,
        n_draws=draws,
        seed=seed,
    )
    model, structure = _inputs(inputs, lammps)
    for name in (RESULT_FILE, SETTINGS_FILE, PAGE):
        require_no_input(output / name, inputs)
    source = _source(model, lammps, settings.n_draws, seed, trust=trust)
    crystal = read_structure(structure)
    found = plan_conductivity(source, crystal, settings, output)
    if plan and json:
        emit_json(vars(found))
        return
    if plan:
        emit_table(_plan_rows(found))
        return
    say(f"{'; '.join(f'{name}: {value}' for name, value in _plan_rows(found))}; into {output}")
    try:
        result = compute_conductivity(source, crystal, settings, directory=output, jobs=jobs, ranks=mpi, progress=say)
    except Interrupted:
        say("interrupted; the same command resumes")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    with figure_files(output / FIGURES if figures else None):
        write_page(result, output / PAGE)
    for remark in result.remarks:
        say(f"note: {remark}")
    if json:
        emit_json({**facts(result), "directory": str(output)})
    else:
        _show(result, output / PAGE)


def _inputs(inputs: list[Path], lammps: str | None) -> tuple[Path | None, Path]:
    """Model, if there is one, and crystal."""
    if lammps is None and len(inputs) == 2:
        return inputs[0], inputs[1]
    if lammps is not None and len(inputs) == 1:
        return None, inputs[0]
    raise ConfigError(
        "give a model and a crystal, or --lammps COMMANDS and a crystal"
        f", not {len(inputs)} files{'' if lammps is None else ' and --lammps'}"
    )


def _source(model: Path | None, lammps: str | None, n_draws: int, seed: int, *, trust: bool) -> Source:
    from trepid.potentials import load_potential
    from trepid.transport.source import LammpsSource, ModelSource

    if lammps is not None:
        if n_draws:
            raise ConfigError(f"--draws {n_draws}: a potential of LAMMPS has no error bar to draw from")
        return LammpsSource(lammps)
    assert model is not None
    return ModelSource(load_potential(model, trust=trust), model, n_draws=n_draws, seed=seed)


def _plan_rows(plan: Plan) -> list[tuple[str, str]]:
    rows = [
        ("runs", f"{plan.n_runs} of {', '.join(map(str, plan.n_atoms))} atoms"),
        ("estimated cost", f"{duration(3600 * plan.cpu_hours)} of one core"),
    ]
    return rows + ([("done", f"{100 * plan.share_done:.0f} %")] if plan.share_done else [])


def _show(result: ConductivityResult, page: Path) -> None:
    total, kappa, last = result.total, result.kappa, result.sizes[-1]
    low, high = total.interval()
    rows = [
        ("conductivity", f"{kappa.value:.4g} W/(m K), 95 % {low:.3g} to {high:.3g}, at {last.temperature_K:.0f} K"),
        ("statistical error", f"{kappa.error:.2g}"),
        ("error of the model", "not known" if result.model_error is None else f"{result.model_error:.2g}"),
        (
            "directions",
            ", ".join(
                f"{axis} {c.value:.3g} +- {c.error:.2g}"
                for axis, c in zip(("xx", "yy", "zz"), last.components, strict=True)
            ),
        ),
        ("cut-off", f"{last.integral.cutoff_ps:.3g} ps"),
    ]
    if len(result.sizes) > 1:
        rows.append(
            (
                "sizes",
                ", ".join(
                    f"{size.n_atoms} atoms: {size.kappa.value:.3g} +- {size.kappa.error:.2g}" for size in result.sizes
                ),
            )
        )
    emit_table([*rows, ("page", str(page))])
