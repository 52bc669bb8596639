"""`trepid analyse`: lattice, structure, diffusion, response and events of trajectories."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, free_path, say
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from trepid.analysis.eos import EquationOfState
    from trepid.analysis.run import TrajectoryAnalysis
    from trepid.events.analysis import EventAnalysis
    from trepid.report.analysis import Analysed


def command(
    trajectories: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRAJECTORY...",
            help="Run directories of trepid md, or trajectories: extended XYZ, LAMMPS dump, XDATCAR, vasprun.xml, .traj, ... "
            "Several: runs of one material, for thermal expansion.",
            show_default=False,
        ),
    ],
    interval: options.Interval = None,
    species: options.DumpSpecies = None,
    equilibrate: Annotated[
        float | None,
        typer.Option(
            metavar="PS",
            min=0,
            help="Time at the beginning that is left out, ps; a fifth of a run directory, nothing of a file if absent.",
            show_default=False,
        ),
    ] = None,
    cutoff: Annotated[float, typer.Option(metavar="A", help="Largest distance of g(r), A.")] = 8.0,
    bin_width: Annotated[float, typer.Option("--bin", metavar="A", help="Bins of g(r), A.")] = 0.05,
    structure: Annotated[
        Path | None,
        typer.Option(
            metavar="CRYSTAL",
            help="Relaxed crystal: events of the first trajectory too, as by trepid events; with --model the equation of state.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Model: equation of state of --structure, and force constants for sigma^A.",
            show_default=False,
        ),
    ] = None,
    phonopy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Force constants from phonopy's files, for sigma^A.", show_default=False),
    ] = None,
    figures: options.Figures = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path("analysis"),
    force: options.Force = False,
    trust: options.Trust = False,
    json: options.Json = False,
) -> None:
    """Lattice constants, temperature and pressure, radial distributions, coordination and diffusion of a trajectory, with bars.

    Every trajectory is read once, whatever its length. A run at constant pressure also gives its bulk modulus and thermal
    expansion; several runs at different temperatures give the expansion between them.

    Into DIR: analysis.html (one page), analysis.json, rdf.csv, msd.csv, cell.csv, and with --figures a folder of pictures.

    JSON keys: runs (cell, thermodynamics, rdf, diffusion, remarks), expansion, equation_of_state, events.
    """
    if phonopy is not None and model is not None:
        raise ConfigError("give force constants with --phonopy, or --model to compute them; not both")
    if structure is None and (model is not None or phonopy is not None):
        raise ConfigError(
            f"--{'model' if model is not None else 'phonopy'} needs the crystal: give --structure CRYSTAL"
        )
    from trepid.analysis.run import AnalysisSettings, analyse_trajectory, interval_of, trajectory_of
    from trepid.analysis.thermodynamics import expansion
    from trepid.report.analysis import CELL, FACTS, MSD, PAGE, RDF, Analysed, facts, write_analysis

    files = [trajectory_of(path) if path.is_dir() else path for path in trajectories]
    inputs = [*files, *(path for path in (structure, model, phonopy) if path is not None)]
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; give the name of a folder with --output")
    for name in (PAGE, FACTS, RDF, MSD, CELL):
        if (output / name).exists():
            free_path(output / name, force=force, inputs=inputs)
    settings = AnalysisSettings(equilibrate_ps=equilibrate, cutoff_A=cutoff, bin_A=bin_width)
    runs = [
        analyse_trajectory(path, interval_fs=interval, species=species or (), settings=settings, progress=_Lines(path))
        for path in trajectories
    ]
    for run in runs:
        for remark in run.remarks:
            if json or run.trust is None or remark != run.trust.warning:  # stdout has it below the averages
                say(f"note: {remark}")
    known = [run for run in runs if run.thermodynamics is not None]
    if structure is not None and interval is None and trajectories[0].is_dir():
        interval = interval_of(trajectories[0])
    analysed = Analysed(
        runs=runs,
        expansion=expansion(
            [run.thermodynamics for run in known if run.thermodynamics is not None],
            n_atoms=[run.n_atoms for run in known],
        ),
        events=None
        if structure is None
        else _events(runs[0], structure, model, phonopy, interval, species, trust=trust),
        equation_of_state=None
        if structure is None or model is None
        else _equation_of_state(model, structure, trust=trust),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_analysis(analysed, output, figures=figures)
    if json:
        emit_json({**facts(analysed), "directory": str(output)})
    else:
        _show(analysed, output / PAGE)


def _events(
    run: TrajectoryAnalysis,
    structure: Path,
    model: Path | None,
    phonopy: Path | None,
    interval: float | None,
    species: list[str] | None,
    *,
    trust: bool,
) -> EventAnalysis:
    from trepid.cli.events import force_constants
    from trepid.data.frames import read_structure
    from trepid.events.analysis import EventSettings, analyse_events

    return analyse_events(
        run.name,
        read_structure(structure),
        interval_fs=interval,
        species=species or (),
        settings=EventSettings(equilibrate_ps=run.start_ps),
        harmonic=force_constants(phonopy, model, trust=trust),
        forces="",
    )


def _equation_of_state(model: Path, structure: Path, *, trust: bool) -> EquationOfState:
    from trepid.analysis.eos import equation_of_state
    from trepid.data.frames import read_structure
    from trepid.potentials import load_potential

    say("equation of state")
    return equation_of_state(load_potential(model, trust=trust), read_structure(structure))


class _Lines:
    """Says every ten seconds how far the reading is."""

    def __init__(self, path: Path) -> None:
        self.path, self.last = path, time.monotonic()

    def __call__(self, n_frames: int, time_ps: float) -> None:
        if time.monotonic() - self.last >= 10.0:
            self.last = time.monotonic()
            say(f"{self.path}: {n_frames} frames, {time_ps:.4g} ps")


def _show(analysed: Analysed, page: Path) -> None:
    from trepid.analysis.trust import BARS, bars_of

    for run in analysed.runs:
        rows = [("trajectory", f"{run.name}: {run.n_frames} frames, {run.start_ps:.4g} to {run.end_ps:.4g} ps")]
        found, given = run.thermodynamics, run.cell_given
        if found is not None:
            rows += [
                ("averages from", f"{found.start_ps:.4g} to {found.end_ps:.4g} ps, {found.n_rows} rows of trace.csv")
            ]
            rows += [("temperature", f"{found.temperature_K} K"), ("pressure", f"{found.pressure_GPa} GPa")]
        rows += [("a, b, c", ", ".join(str(run.cell[name]) for name in ("a_A", "b_A", "c_A")) + " A")]
        if given is not None:
            rows += [("  of the given cell", ", ".join(map(str, given.values())) + " A")]
        rows += [("volume", f"{run.cell['volume_A3']} A^3")]
        if found is not None and found.bulk_modulus_GPa is not None:
            rows.append(("bulk modulus", f"{found.bulk_modulus_GPa} GPa, from fluctuations"))
        for one in run.diffusion:
            d = one.coefficient_cm2_per_s
            if d is not None:
                told = "" if one.diffuses else ": not above 0"
                rows.append((f"diffusion {one.species}", f"{d.value:.2e} ± {d.error:.1e} cm^2/s{told}"))
        rows.append(("bars", BARS if found is None else bars_of(found.n_rows)))
        trust = run.trust
        if trust is not None:
            rows += [] if trust.change is None else [("cell against start", str(trust.change))]
            rows += [("above the threshold", f"{trust.n_untrusted} of {trust.n_checks} uncertainty checks")]
        emit_table(rows)
        if trust is not None and trust.warning:
            emit(trust.warning)
    if analysed.expansion is not None:
        temperatures = " ".join(f"{value:g}" for value in analysed.expansion.temperatures_K)
        linear = ", ".join(f"{1e6 * x.value:.2f} ± {1e6 * x.error:.2f}" for x in analysed.expansion.linear_per_K)
        emit(f"linear expansion between {temperatures} K: {linear} 1e-6/K")
    if analysed.equation_of_state is not None:
        eos = analysed.equation_of_state
        emit(f"equation of state: {eos.volume_A3} A^3, bulk modulus {eos.bulk_modulus_GPa} GPa")
    if analysed.events is not None:
        n = sum(found.rate.n for found in analysed.events.classes)
        emit(f"events: {n} in {len(analysed.events.classes)} classes")
    emit(f"page: {page}")
