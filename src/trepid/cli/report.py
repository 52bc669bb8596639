"""`trepid report`: one self-contained HTML file about a learning run, or a screening."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, free_path, say


def command(
    run: options.RunDirectory,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write; RUN/report.html by default.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Write the results of a learning run and the accuracy and calibration of its model as one offline HTML file.

    RUN/report.html is overwritten; a file named with --output is overwritten only with --force.
    Of a screening: screening.html, with the report of every material's campaign.
    """
    from trepid.report import write_report
    from trepid.screening.status import is_screening

    if is_screening(run):
        from trepid.errors import ConfigError
        from trepid.screening.dashboard import write_screening_report

        if output is not None:
            raise ConfigError("--output is for the report of one run; that of a screening stands beside its links")
        emit(str(write_screening_report(run, say)))
        return

    if output is not None:
        files = (path for path in run.rglob("*") if path.is_file() and path.name != "report.html")
        free_path(output, force=force, inputs=files)
    emit(str(write_report(run, output)))
