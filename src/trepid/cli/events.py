"""`trepid events`: rare events of a trajectory, their classes, rates, atoms and paths."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, free_path, say
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from trepid.anharmonicity import HarmonicReference
    from trepid.events.alignment import AlignedCrystal
    from trepid.events.analysis import EventAnalysis


def command(
    trajectory: Annotated[
        Path,
        typer.Argument(
            metavar="TRAJECTORY",
            help="Extended XYZ, LAMMPS dump, XDATCAR, vasprun.xml, .traj or any format ASE reads; packed by gzip or not.",
            show_default=False,
        ),
    ],
    structure: Annotated[
        Path,
        typer.Option(
            metavar="CRYSTAL",
            help="Relaxed crystal: the supercell of the trajectory, or a cell that it is a multiple of; atoms in any order.",
            show_default=False,
        ),
    ],
    interval: options.Interval = None,
    species: options.DumpSpecies = None,
    equilibrate: Annotated[
        float, typer.Option(metavar="PS", min=0, help="Time at the beginning whose events are not counted, ps.")
    ] = 0.0,
    dwell: Annotated[
        float, typer.Option(metavar="FS", min=0, help="How long an atom must stay to have arrived at a site, fs.")
    ] = 200.0,
    core: Annotated[
        float,
        typer.Option(min=0.05, max=0.49, help="Radius of a core, in distances of its site to the nearest other one."),
    ] = 0.35,
    excursions: Annotated[
        bool, typer.Option("--excursions/--no-excursions", help="Whether atoms that nearly left count as a class.")
    ] = True,
    drift_species: Annotated[
        str | None,
        typer.Option(metavar="EL", help="Species that defines the drift; the heaviest if absent.", show_default=False),
    ] = None,
    phonopy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Force constants from phonopy's files, for sigma^A.", show_default=False),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Model whose force constants are used for sigma^A.", show_default=False),
    ] = None,
    forces_key: Annotated[
        str, typer.Option("--forces-key", help="Name of the forces in the frames, where it is not a usual one.")
    ] = "",
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Probability that an interval is to hold.")] = 0.95,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path("events"),
    seed: options.Seed = 0,
    force: options.Force = False,
    trust: options.Trust = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Find hops, Frenkel pairs, exchanges and excursions in a trajectory; count them by class, with intervals.

    The trajectory is read once, whatever its length. Positions may be wrapped or not, drift, and have a cell that changes.
    With forces in the trajectory and force constants (--phonopy, or --model) sigma^A and its jumps are measured too.

    Into DIR: events.html (one page with pictures), events.json, events.csv (one row per event), classes.csv, paths.extxyz (frames
    before, on and after the first event of every class), and sigma_a.csv.

    JSON keys: classes (class, count, rate_per_ps, low_per_ps, high_per_ps, interval, waiting_times_ps, atoms, ...), events,
    sigma_a, duration_ps, remarks and others.
    """
    if phonopy is not None and model is not None:
        raise ConfigError("give force constants with --phonopy, or --model to compute them; not both")
    from trepid.report.events import CLASSES, EVENTS, JSON, PAGE, PATHS, SERIES, facts, write_events
    from trepid.report.page import FIGURES, figure_files

    inputs = [path for path in (trajectory, structure, phonopy, model) if path is not None]
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; give the name of a folder with --output")
    for name in (PAGE, JSON, EVENTS, CLASSES, SERIES, PATHS):
        if (output / name).exists():
            free_path(output / name, force=force, inputs=inputs)

    from trepid.data.frames import read_structure
    from trepid.events.analysis import EventSettings, analyse_events
    from trepid.events.detection import DetectionSettings

    settings = EventSettings(
        detection=DetectionSettings(core_fraction=core, dwell_fs=dwell, excursion_fraction=0.6 if excursions else None),
        drift_species=drift_species,
        equilibrate_ps=equilibrate,
        level=level,
        seed=seed,
    )
    analysis = analyse_events(
        trajectory,
        read_structure(structure),
        interval_fs=interval,
        species=species or (),
        settings=settings,
        harmonic=force_constants(phonopy, model, trust=trust),
        forces=forces_key,
        progress=_Lines(),
    )
    for remark in analysis.remarks:
        say(f"note: {remark}")
    output.mkdir(parents=True, exist_ok=True)
    with figure_files(output / FIGURES if figures else None):
        write_events(analysis, output)
    if json:
        emit_json({**facts(analysis), "directory": str(output)})
    else:
        _show(analysis, output, asked=phonopy is not None or model is not None)


def force_constants(
    phonopy: Path | None, model: Path | None, *, trust: bool
) -> Callable[[AlignedCrystal], HarmonicReference] | None:
    """Force constants of the crystal of the trajectory, from phonopy's files or by finite displacements of a model."""
    if phonopy is None and model is None:
        return None

    def make(aligned: AlignedCrystal) -> HarmonicReference:
        from trepid.anharmonicity import harmonic_reference, read_phonopy

        if phonopy is not None:
            return read_phonopy(phonopy)
        from trepid.potentials import load_potential

        assert model is not None
        say("force constants by finite displacements")
        return harmonic_reference(aligned.atoms, (1, 1, 1), load_potential(model, trust=trust))

    return make


class _Lines:
    """Says every ten seconds how far the reading is."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, n_frames: int, time_ps: float) -> None:
        if time.monotonic() - self.last >= 10.0:
            self.last = time.monotonic()
            say(f"{n_frames} frames, {time_ps:.4g} ps")


def _show(analysis: EventAnalysis, output: Path, *, asked: bool) -> None:
    from trepid.report.events import PAGE, per_100_ps

    n = sum(found.rate.n for found in analysis.classes)
    rows: list[tuple[str, Any]] = [
        ("trajectory", f"{analysis.n_frames} frames, {analysis.duration_ps:.6g} ps, {analysis.sites.n_atoms} atoms"),
        ("events", f"{n} in {len(analysis.classes)} classes, {analysis.counted_ps:.6g} ps counted"),
    ]
    if analysis.sigma_a is not None:
        rows.append(("sigma^A", f"{analysis.sigma_a.sigma_a:.4f}, {len(analysis.sigma_a.jumps)} jumps"))
    elif not asked:
        rows.append(("sigma^A", "not measured: --model, or --phonopy and forces in the trajectory, give it"))
    rows.append(("page", str(output / PAGE)))
    emit_table(rows)
    if not analysis.classes:
        return
    emit("")
    table = [("", "class", "count", "per 100 ps", "interval", "mean wait, ps")]
    for number, found in enumerate(analysis.classes, 1):
        wait = found.waiting.mean_ps
        table.append(
            (
                str(number),
                str(found.event_class),
                str(found.rate.n),
                per_100_ps(found.rate.used),
                found.rate.method,
                "" if wait is None else f"{wait:.4g}",
            )
        )
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    for row in table:
        emit("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
