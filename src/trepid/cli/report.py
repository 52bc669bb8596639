"""`trepid report`: one self-contained HTML file about a learning run, or a screening."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, free_path, say

if TYPE_CHECKING:
    from trepid.report.frame_sets import FrameSet


def command(
    run: options.RunDirectory,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write; RUN/report.html by default.")
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test",
            metavar="FILE",
            help="Labelled frames that were not chosen by uncertainty: their errors have a row and figures of their own. May be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    figures: options.Figures = False,
    force: options.Force = False,
    trust: options.Trust = False,
) -> None:
    """Write the results of a learning run and the accuracy and calibration of its model as one offline HTML file.

    RUN/report.html is overwritten; a file named with --output is overwritten only with --force. Beside it, in RUN/report, are
    the crystal and the frames of largest error (extxyz), and with --figures all figures.
    Of a screening: screening.html, with the report of every material's campaign.
    """
    from trepid.report import write_report
    from trepid.screening.status import is_screening

    if is_screening(run):
        from trepid.errors import ConfigError
        from trepid.screening.dashboard import write_screening_report

        if output is not None or test:
            raise ConfigError(
                f"{'--output' if output is not None else '--test'} is for the report of one run; that of a screening stands "
                "beside its links"
            )
        emit(str(write_screening_report(run, say, figures=figures)))
        return

    if output is not None:
        files = (path for path in run.rglob("*") if path.is_file() and path.name != "report.html")
        free_path(output, force=force, inputs=[*files, *(test or ())])
    emit(str(write_report(run, output, tests=_tests(run, test or [], trust=trust), figures=figures)))


def _tests(run: Path, files: list[Path], *, trust: bool) -> list[FrameSet]:
    """The frames of the files with predictions of the model of the run."""
    if not files:
        return []
    from trepid.cli.labels import LabelFiles
    from trepid.data.labels import LabelKeys
    from trepid.errors import DataError
    from trepid.potentials import load_potential
    from trepid.report.frame_sets import FrameSet
    from trepid.runs.directory import RunPaths

    read = LabelFiles(LabelKeys())
    frames = {path: read.read(path) for path in files}
    read.tell()
    model = RunPaths(run).model
    if not model.is_file():
        raise DataError(f"{model} is missing: the run has no model yet to compare with --test")
    potential = load_potential(model, trust=trust)
    with closing(potential):
        for path, own in frames.items():
            if known := potential.trained_structures(own):
                raise DataError(
                    f"{path}: {len(known)} of {len(own)} frames are training frames of {model} (the first: {known[0]}, counted "
                    "from 0): their error is no test; give new ones"
                )
        return [FrameSet.predicted(path.name, own, potential) for path, own in frames.items()]
