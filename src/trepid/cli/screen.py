"""`trepid screen`: many materials under one budget of labels and hours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, emit_table, say


def command(
    materials: Annotated[
        Path,
        typer.Argument(
            metavar="MATERIALS", help="File of the screening (YAML): materials and settings.", show_default=False
        ),
    ],
    plan: Annotated[
        bool, typer.Option("--plan", help="Show cells, labels and hours that are expected; run and write nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check settings, structures and reference; run and write nothing.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed materials again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    json: options.Json = False,
) -> None:
    """Screen a list of materials: relaxation, phonons, learning, sigma^A, events and their verdicts for each of them.

    Every material has a campaign in rounds. Each turn the materials of largest risk get one more round, until all are known or the
    common budget is spent. A material that fails keeps its reason and stops no other. The same command resumes after any
    interruption. Exit code 7: the disk is full. 130: interrupted.
    """
    from trepid.config.screening import load_screening

    settings = load_screening(materials)
    if plan or dry_run:
        from trepid.screening.plan import plan_screening

        planned = plan_screening(settings, check=dry_run)
        if json:
            emit_json(planned.as_dict())
        else:
            emit_table(planned.rows())
        if dry_run and planned.problems:
            raise typer.Exit(1)
        return
    from trepid.screening.dashboard import write_dashboard
    from trepid.screening.run import screen

    result = screen(settings, retry=retry, tell=(lambda _: None) if quiet else say, after_turn=write_dashboard)
    if json:
        emit_json(
            {
                "reason": result.reason.value,
                "message": result.message,
                "n_materials": len(result.records),
                "status": {record.name: record.status.value for record in result.records},
                "n_computations": sum(record.n_computations for record in result.records),
                "turns": result.turns,
                "directory": str(result.directory),
            }
        )
    else:
        emit(result.summary())
        emit(
            f"table: {result.directory / 'screening.html'}; with the report of every material: trepid report {result.directory}"
        )
    if result.exit_code:
        raise typer.Exit(result.exit_code)
