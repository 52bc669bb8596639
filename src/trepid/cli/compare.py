"""`trepid compare`: sigma^A, event rates, phonons, lifetimes and conductivity of several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit_json, emit_table, free_path, say
from trepid.errors import ConfigError


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN1 RUN2...",
            help="Campaigns, output folders of 'trepid anharmonicity', 'events', 'phonons', 'lifetimes' or 'conductivity', or "
            "folders that hold several of these.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path("compare"),
    force: options.Force = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Put the properties of runs side by side, such as those of a model before and after learning.

    Every property comes with its 95 % interval; the last run is compared with the first one, and what differs beyond both
    intervals is said. What a run lacks is named.

    Into DIR: compare.html, compare.json.

    JSON keys: properties (kind, name, temperature_K, values, change, differs), missing, runs.
    """
    from trepid.report.compare import JSON, PAGE, facts, summary, write_comparison
    from trepid.report.page import FIGURES, figure_files

    if len(runs) < 2:
        raise ConfigError("give two runs or more to compare")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"{output} is a file; give the name of a folder with --output")
    for name in (PAGE, JSON):
        if (output / name).exists():
            free_path(output / name, force=force)

    from trepid.runs.outcomes import compare, missing, read_outcome

    outcomes = [read_outcome(run) for run in runs]
    rows = compare(outcomes)
    for line in missing(outcomes, rows):
        say(f"note: {line}")
    output.mkdir(parents=True, exist_ok=True)
    with figure_files(output / FIGURES if figures else None):
        write_comparison(outcomes, rows, output)
    if json:
        emit_json({**facts(outcomes, rows), "directory": str(output)})
    else:
        emit_table([*summary(rows), ("page", str(output / PAGE))])
