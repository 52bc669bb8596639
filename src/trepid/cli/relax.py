"""`trepid relax`: relax the crystal of a campaign with its reference, symmetry kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, say
from trepid.cli.sources import labelling
from trepid.errors import ConfigError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.screening.relaxation import Relaxed

KIND = "labels of a relaxation"
LARGE_CHANGE = 0.1
"""Of the volume. Methods that describe a crystal are within a few per cent of its measured volume."""


def command(
    source: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="Campaign file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the relaxation.")] = Path(
        "relax"
    ),
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Relax the positions alone.")] = False,
    max_force: Annotated[
        float, typer.Option("--max-force", help="Largest force at the end, eV/A; the stress counts as a force.")
    ] = 0.01,
    max_steps: Annotated[int, typer.Option("--max-steps", min=2, help="Most evaluations of the reference.")] = 60,
    json: options.Json = False,
) -> None:
    """Relax the crystal of a campaign with its reference, within its space group; every evaluation is of the supercell.

    So that the crystal is at rest where the campaign starts: with structure.file: DIR/relaxed.extxyz in the campaign. A cell
    vector along which the crystal is not periodic stays as it is. The same command goes on after an interruption; it reads
    the evaluations on disk, also where --max-steps is larger than before.

    Exit code 3: not converged. 5: the reference failed. 130: interrupted.

    JSON keys: crystal (file), n_labels (evaluations), seconds (of the reference), max_force_eV_per_A, volume_ratio, spacegroup,
    lengths_A and angles_deg (before and after).
    """
    from trepid.config import load_campaign
    from trepid.config.screening import RelaxSettings
    from trepid.data.arrays import structure_digest
    from trepid.data.frames import read_structure
    from trepid.labelling.folder import Inputs, bind
    from trepid.screening.cells import n_cells
    from trepid.screening.relaxation import NotConvergedError, RelaxationFiles, matrix_of, relax

    if not max_force > 0:
        raise ConfigError(f"--max-force {max_force:g}: a force must be above 0 eV/A")
    campaign = load_campaign(source)
    unit = read_structure(campaign.structure.file)
    if not unit.pbc.any():
        fixed_cell = True
    matrix = matrix_of(campaign.structure.supercell)
    settings = RelaxSettings(cell=not fixed_cell, max_force_eV_per_A=max_force, max_steps=max_steps)
    what = "positions" if fixed_cell else "cell and positions"
    n_atoms = len(unit) * n_cells(matrix)
    say(
        f"relaxing {what} of {campaign.structure.file.name}, {len(unit)} atoms, labels of {n_atoms} atoms, into {output}"
    )
    files = RelaxationFiles(output)
    with labelling(output, campaign.reference, kind=KIND) as (reference, interrupted):
        inputs = Inputs(
            structure_digest(unit),
            dict(reference.describe()),
            {"cell": not fixed_cell, "max_force_eV_per_A": max_force, "supercell": str(matrix.tolist())},
        )
        bind(output, inputs, kind=KIND)
        try:
            crystal, found = relax(
                unit, matrix, reference, settings, files, retries=1, interrupted=interrupted, tell=say
            )
        except NotConvergedError as error:
            raise NotConvergedError(
                f"{error}; the same command with --max-steps {2 * max_steps} goes on from there"
            ) from error
    file = files.crystal
    if abs(found.volume_ratio - 1) > LARGE_CHANGE:
        say(
            f"warning: the volume changed by {100 * (found.volume_ratio - 1):+.1f} %: is the cell of {campaign.structure.file} "
            "in A, and are the method, its k points and the supercell (methods without k points need a wide one) right for this "
            "crystal?"
        )
    if json:
        emit_json({"crystal": str(file), **_facts(unit, crystal, found)})
        return
    emit_table(_rows(unit, crystal, found))
    emit(
        f"the crystal is in {file}: name it in your campaign file, structure.file: {file}, leave supercell as it is, and give "
        "another output.directory where the campaign has run"
    )


def _facts(unit: Atoms, crystal: Atoms, found: Relaxed) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(found),
        "lengths_A": [unit.cell.lengths().tolist(), crystal.cell.lengths().tolist()],
        "angles_deg": [unit.cell.angles().tolist(), crystal.cell.angles().tolist()],
    }


def _rows(unit: Atoms, crystal: Atoms, found: Relaxed) -> list[tuple[str, str]]:
    from trepid.quantities import duration

    before, after = unit.cell.lengths(), crystal.cell.lengths()
    lengths = ", ".join(
        f"{name} {a:.4f} -> {b:.4f} A ({100 * (b / a - 1):+.2f} %)"
        for name, a, b, periodic in zip("abc", before, after, unit.pbc, strict=True)
        if periodic
    )
    return [
        ("cell", lengths or "not periodic"),
        ({3: "volume", 2: "area"}.get(int(unit.pbc.sum()), "length"), f"{100 * (found.volume_ratio - 1):+.2f} %"),
        ("space group", found.spacegroup),
        ("largest force", f"{found.max_force_eV_per_A:.2g} eV/A"),
        ("labels", f"{found.n_labels}, {duration(found.seconds)}"),
    ]
