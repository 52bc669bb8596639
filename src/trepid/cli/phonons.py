"""`trepid phonons`: bands, density of states and thermal properties of a crystal, with the bar of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import PacedCount, emit_json, emit_table, free_path, say
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.phonons.analysis import PhononSettings
    from trepid.report.phonons import PhononPage

NO_MODEL = "none"
"""In place of MODEL, where the trajectory has the forces."""


def command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model file; or a file with a section reference (.yaml), which gives no bar; or none, with the forces of "
            "--trajectory.",
            show_default=False,
        ),
    ],
    structure: Annotated[
        Path,
        typer.Argument(
            metavar="STRUCTURE",
            help="Crystal, in any format ASE reads: relaxed on MODEL already, or give --relax.",
            show_default=False,
        ),
    ],
    supercell: Annotated[tuple[int, int, int], typer.Option(help="Repetitions of the crystal.")] = (2, 2, 2),
    displacement: Annotated[float, typer.Option(help="Finite displacement, A.")] = 0.01,
    mesh: Annotated[
        float, typer.Option(help="Density of the mesh of wave vectors: a length, A; longer is denser.")
    ] = 60.0,
    points: Annotated[int, typer.Option(help="Wave vectors on the longest segment of the path.")] = 51,
    t_max: Annotated[float, typer.Option(help="Highest temperature of the thermal properties, K.")] = 1000.0,
    t_step: Annotated[float, typer.Option(help="Step of the temperatures, K.")] = 10.0,
    born: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="phonopy's BORN, for the non-analytical correction.", show_default=False),
    ] = None,
    relax: Annotated[
        bool,
        typer.Option(
            "--relax",
            help="Relax the crystal on MODEL first, its cell too, into DIR/relaxed.extxyz; its symmetry is kept.",
        ),
    ] = False,
    quasi_harmonic: Annotated[
        bool, typer.Option("--quasi-harmonic", help="Expansion, bulk modulus and Grueneisen parameters too.")
    ] = False,
    volumes: Annotated[int, typer.Option(help="Volumes of --quasi-harmonic.")] = 7,
    trajectory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Effective force constants at the temperature of this trajectory, from its forces or those of MODEL.",
            show_default=False,
        ),
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Frames at the beginning of the trajectory to leave out.")] = 0,
    species: options.DumpSpecies = None,
    tolerance: Annotated[
        float, typer.Option(help="Bar at which effective frequencies count as converged, in parts of the highest one.")
    ] = 0.02,
    posterior: Annotated[
        int, typer.Option(metavar="N", help="Posterior draws of a Bayesian model for the bar; 0: none.")
    ] = 16,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path("phonons"),
    seed: options.Seed = 0,
    force: options.Force = False,
    trust: options.Trust = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Compute phonons by finite displacements through phonopy, each result with the 95 % interval of the model.

    Force constants, bands, density of states, free energy, entropy and heat capacity are computed again with draws from the
    posterior of a Bayesian model, or with the members of a committee. Imaginary modes are named.

    With --trajectory the force constants are those that fit its forces best, with a statistical bar from blocks of it and a
    verdict whether it is long enough; it must be at constant volume, every atom at its site.

    Into DIR: phonons.html, phonons.json, and phonopy_params.yaml, band.yaml, total_dos.dat and thermal_properties.yaml as
    phonopy writes them.

    JSON keys: those of phonons.json, without bands and density of states, and directory; with --relax also cell_given and
    cell_relaxed, three lengths (A) and three angles (degrees) each. at_rest has the pressure of the crystal on the model, the
    change of the cell, and whether the model extrapolates there.
    """
    from trepid.phonons.phonopy_output import BANDS, DOS, PARAMS, THERMAL
    from trepid.report.phonons import JSON, PAGE, RELAXED

    nothing = str(model) == NO_MODEL
    inputs = [path for path in (None if nothing else model, structure, born, trajectory) if path is not None]
    if nothing and trajectory is None:
        raise ConfigError(
            f"{NO_MODEL} in place of MODEL is for effective force constants: give --trajectory with forces"
        )
    if trajectory is not None and (quasi_harmonic or relax):
        raise ConfigError(
            f"{'--quasi-harmonic' if quasi_harmonic else '--relax'} is for the crystal at rest; leave --trajectory out"
        )
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; give the name of a folder with --output")
    for name in (PAGE, JSON, PARAMS, BANDS, DOS, THERMAL, RELAXED):
        if (output / name).exists():
            free_path(output / name, force=force, inputs=inputs)

    from trepid.data.frames import read_structure
    from trepid.phonons.analysis import PhononSettings
    from trepid.report.page import FIGURES, figure_files
    from trepid.report.phonons import facts, rows, write_phonons

    settings = PhononSettings(
        supercell=supercell,
        displacement_A=displacement,
        mesh=mesh,
        band_points=points,
        t_max_K=t_max,
        t_step_K=t_step,
        posterior=posterior,
        seed=seed,
        born=born,
    )
    crystal = given = read_structure(structure)
    if trajectory is not None:
        page = _effective(
            None if nothing else model, crystal, trajectory, settings, skip, species, tolerance, trust=trust
        )
    else:
        page, crystal = _at_rest(model, crystal, settings, relax, volumes if quasi_harmonic else None, trust=trust)
        page = replace(page, structure=str(structure))
    for warning in page.warnings:
        say(f"warning: {warning}")
    for remark in page.remarks:
        say(f"note: {remark}")
    output.mkdir(parents=True, exist_ok=True)
    if relax:
        from trepid.data.frames import write_frames

        write_frames(output / RELAXED, [crystal])
    with figure_files(output / FIGURES if figures else None):
        write_phonons(page, output)
    if json:
        short = {key: value for key, value in facts(page).items() if key not in ("bands", "dos")}
        cells = {name: atoms.cell.cellpar().tolist() for name, atoms in (("given", given), ("relaxed", crystal))}
        relaxation = {f"cell_{name}": cell for name, cell in cells.items()} if relax else {}
        emit_json({**short, **relaxation, "directory": str(output)})
    else:
        relaxed_rows = _cell_rows(given, crystal, output / RELAXED) if relax else []
        emit_table([*relaxed_rows, *rows(page), ("page", str(output / PAGE))])


def _cell_rows(given: Atoms, relaxed: Atoms, file: Path) -> list[tuple[str, str]]:
    """Rows of the table: the cell that --relax found beside the given one."""
    from trepid.data.cell_change import CellChange

    before, after = given.cell.cellpar(), relaxed.cell.cellpar()
    flat = [name for name, periodic in zip("abc", given.pbc, strict=True) if not periodic]
    held = f"; not periodic along {' and '.join(flat)}, which stays" if flat else ""
    lengths, of_given = (", ".join(f"{x:.4f}" for x in cell[:3]) for cell in (after, before))
    angles, angles_given = (", ".join(f"{x:.2f}" for x in cell[3:]) for cell in (after, before))
    return [
        ("a, b, c, relaxed", f"{lengths} A; given {of_given} A{held}"),
        *([] if angles == angles_given else [("angles, relaxed", f"{angles} degrees; given {angles_given} degrees")]),
        ("cell against given", str(CellChange.between(given, relaxed))),
        ("relaxed crystal", str(file)),
    ]


def _at_rest(
    model: Path, crystal: Atoms, settings: PhononSettings, relax: bool, volumes: int | None, *, trust: bool
) -> tuple[PhononPage, Atoms]:
    """Phonons by finite displacements, and the crystal they are of."""
    from trepid.cli.sources import force_source
    from trepid.phonons.analysis import analyse_phonons, require_crystal
    from trepid.phonons.relaxation import relaxed
    from trepid.phonons.volume import quasi_harmonic
    from trepid.report.phonons import PhononPage
    from trepid.runs.crystal_at_rest import crystal_at_rest

    require_crystal(crystal)
    given = crystal if relax else None
    with force_source(model, trust=trust) as source:
        if relax:
            say("relaxing the crystal and its cell")
            crystal = relaxed(source, crystal, cell=True)
        at_rest = crystal_at_rest(
            source,
            crystal.repeat(settings.supercell),
            given=None if given is None else given.repeat(settings.supercell),
        )
        result = analyse_phonons(source, crystal, settings, tell=say, after_draw=PacedCount("draw"))
        expansion = None
        if volumes is not None:
            say(f"phonons at {volumes} volumes")
            expansion = quasi_harmonic(
                source, crystal, settings, n_volumes=volumes, after_draw=PacedCount("volumes of draw")
            )
    return PhononPage(str(model), result, expansion, at_rest=at_rest, given=given), crystal


def _effective(
    model: Path | None,
    crystal: Atoms,
    trajectory: Path,
    settings: PhononSettings,
    skip: int,
    species: list[str] | None,
    tolerance: float,
    *,
    trust: bool,
) -> PhononPage:
    """Effective phonons of a trajectory."""
    from contextlib import nullcontext

    from trepid.cli.sources import force_source
    from trepid.phonons.effective import effective_phonons
    from trepid.report.phonons import PhononPage

    with nullcontext(None) if model is None else force_source(model, trust=trust) as source:
        found = effective_phonons(
            trajectory,
            crystal,
            settings,
            source=source,
            skip=skip,
            species=species or (),
            tolerance=tolerance,
            after_draw=PacedCount("draw"),
        )
    name = str(trajectory) if model is None else f"{trajectory} and {model}"
    return PhononPage(name, found.analysis, effective=found)
