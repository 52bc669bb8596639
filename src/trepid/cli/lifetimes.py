"""`trepid lifetimes`: lifetimes of vibrations and density of states from trajectories, with statistical and model bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit_json, emit_table, free_path, say
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

    from trepid.phonons.sites import Lattice


def command(
    trajectories: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRAJECTORY...",
            help="One or more runs of one model with different seeds, in any format of 'trepid events'.",
            show_default=False,
        ),
    ],
    structure: Annotated[
        Path | None,
        typer.Option(
            metavar="CRYSTAL",
            help="Relaxed crystal: a cell that the trajectories repeat; with --phonopy it is in that file.",
            show_default=False,
        ),
    ] = None,
    phonopy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Force constants from phonopy's files, of any supercell.", show_default=False
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Model, or file with a section reference, for force constants in the cell of the trajectories.",
            show_default=False,
        ),
    ] = None,
    member: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Trajectory of another, equally plausible model: a draw or a member; two or more give the bar of the model.",
            show_default=False,
        ),
    ] = None,
    q: Annotated[
        list[str] | None,
        typer.Option(
            "--q",
            metavar="X,Y,Z",
            help="Wave vector in the reciprocal basis of the primitive cell; all of the supercell if absent.",
            show_default=False,
        ),
    ] = None,
    interval: options.Interval = None,
    species: options.DumpSpecies = None,
    equilibrate: Annotated[
        float, typer.Option(metavar="PS", min=0, help="Time at the beginning of every trajectory that is left out, ps.")
    ] = 0.0,
    blocks: Annotated[
        int,
        typer.Option(
            min=0,
            help="Blocks of each trajectory treated as runs; 0: 4 where fewer than 4 trajectories are given, else 1.",
        ),
    ] = 0,
    resolution: Annotated[float, typer.Option(help="Resolution of the density of states, THz.")] = 0.1,
    positions: Annotated[
        bool, typer.Option("--positions", help="Velocities from positions, also where the file has velocities.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path(
        "lifetimes"
    ),
    force: options.Force = False,
    trust: options.Trust = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Fit the spectrum of every mode of the crystal in molecular dynamics: frequency and lifetime at a temperature, with bars.

    Velocities (of the file, or from positions) are projected on the modes at the wave vectors of the supercell. The trajectories
    are read once, whatever their length; they must be at constant volume and without a strong thermostat. Without force constants
    only the density of states and the autocorrelation are given. Where the file has forces, sigma^A of every mode is measured.

    Into DIR: lifetimes.html, lifetimes.json, lifetimes.csv (one row per mode), vdos.csv.

    JSON keys: modes (q, branches, frequency_THz, lifetime_ps, low_ps, high_ps, is_line, resolved, sigma_a, ...), temperature_K,
    duration_ps, remarks and others.
    """
    from trepid.report.lifetimes import JSON, MODES, PAGE, SPECTRUM

    if phonopy is not None and model is not None:
        raise ConfigError("give force constants with --phonopy, or --model to compute them; not both")
    if (structure is None) == (phonopy is None):
        raise ConfigError("give the crystal with --structure, or in phonopy's files with --phonopy; one of them")
    inputs = [path for path in (*trajectories, *(member or ()), structure, phonopy, model) if path is not None]
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; give the name of a folder with --output")
    for name in (PAGE, JSON, MODES, SPECTRUM):
        if (output / name).exists():
            free_path(output / name, force=force, inputs=inputs)

    from trepid.phonons.lifetimes import analyse_lifetimes
    from trepid.phonons.mode_reader import LifetimeSettings
    from trepid.report.lifetimes import facts, rows, write_lifetimes
    from trepid.report.page import FIGURES, figure_files

    settings = LifetimeSettings(
        interval_fs=interval,
        species=tuple(species or ()),
        equilibrate_ps=equilibrate,
        blocks=blocks,
        resolution_THz=resolution,
        qpoints=tuple(_wave_vector(text) for text in q or ()),
        positions=positions,
    )
    crystal, phonon = _crystal(structure, phonopy, model, trust=trust)
    result = analyse_lifetimes(
        trajectories, crystal, phonon=phonon, members=member or (), settings=settings, progress=say
    )
    for remark in result.remarks:
        say(f"note: {remark}")
    output.mkdir(parents=True, exist_ok=True)
    names, source = [str(path) for path in trajectories], str(phonopy or model or "none")
    with figure_files(output / FIGURES if figures else None):
        write_lifetimes(result, output, names=names, model=source)
    if json:
        short = {k: v for k, v in facts(result, names=names, model=source).items() if k not in ("vdos", "vacf")}
        emit_json({**short, "directory": str(output)})
    else:
        emit_table([*rows(result), ("page", str(output / PAGE))])


def _wave_vector(text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3:
        raise ConfigError(f"--q {text}: give three numbers with commas between them, such as 0.5,0,0.5")
    return values[0], values[1], values[2]


def _crystal(
    structure: Path | None, phonopy: Path | None, model: Path | None, *, trust: bool
) -> tuple[Atoms, Callable[[Lattice], Phonopy] | None]:
    """The unit cell, and what makes force constants for the cell of the trajectories."""
    from trepid.data.frames import read_structure

    if phonopy is not None:
        from trepid.anharmonicity import read_phonopy, to_phonopy

        reference = read_phonopy(phonopy)
        unitcell = reference.supercell if reference.unitcell is None else reference.unitcell
        return unitcell, lambda lattice: to_phonopy(reference)
    assert structure is not None
    crystal = read_structure(structure)
    if model is None:
        return crystal, None

    def make(lattice: Lattice) -> Phonopy:
        from trepid.anharmonicity import harmonic_reference, to_phonopy
        from trepid.cli.sources import force_source

        say("force constants by finite displacements")
        with force_source(model, trust=trust) as source:
            return to_phonopy(harmonic_reference(lattice.unitcell, lattice.matrix.tolist(), source))

    return crystal, make
