"""`trepid report`: one self-contained HTML file about a learning run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, free_path


def command(
    run: options.RunDirectory,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write; RUN/report.html by default.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Write the results of a learning run and the accuracy and calibration of its model as one offline HTML file.

    RUN/report.html is overwritten; a file named with --output is overwritten only with --force.
    """
    from trepid.report import write_report

    if output is not None:
        files = (path for path in run.rglob("*") if path.is_file() and path.name != "report.html")
        free_path(output, force=force, inputs=files)
    emit(str(write_report(run, output)))
