"""`trepid label`: label frames with the reference of a campaign, to train or test on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, say
from trepid.cli.sources import ENGINE_SUFFIXES, labelling
from trepid.errors import ConfigError, DataError, ExitCode

if TYPE_CHECKING:
    from ase import Atoms


NARROWER = 0.9
"""Cells below this share of the width of the campaign's supercell are told."""


def command(
    method: Annotated[
        Path,
        typer.Argument(
            metavar="CAMPAIGN", help="Campaign file, or a file with its section reference alone.", show_default=False
        ),
    ],
    frames: Annotated[
        list[Path],
        typer.Argument(
            metavar="FRAMES", help="Structures or trajectories, such as md/untrusted.extxyz.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the labels.", show_default=False)
    ],
    every: Annotated[
        int, typer.Option("--every", min=1, metavar="N", help="Every N-th frame of each file, from the first.")
    ] = 1,
    json: options.Json = False,
) -> None:
    """Label frames with the reference of a campaign: energies, forces and stresses, one file each in DIR/labels.

    The same command goes on after an interruption; a frame whose label failed is tried again. Train on the labels with `trepid
    fit RUN/labels/label-????.extxyz DIR/labels/label-????.extxyz -o MODEL`, or test on them with `trepid evaluate`.

    Exit code 5: no frame could be labelled. 130: interrupted.

    JSON keys: files, failed (numbers of the frames without a label, from 1), n_new (labels of this call), seconds (of the
    reference, all labels).
    """
    from trepid.campaign.start import build_crystal
    from trepid.config import Campaign, RoundsCampaign
    from trepid.config.engine_file import load_engine
    from trepid.data.frames import read_frames
    from trepid.execution import InlineExecutor, make_executor
    from trepid.labelling.given import KIND, label_given

    if method.suffix not in ENGINE_SUFFIXES and any(path.suffix in ENGINE_SUFFIXES for path in frames):
        campaign_file = next(path for path in frames if path.suffix in ENGINE_SUFFIXES)
        raise ConfigError(
            f"{method}: not a campaign file; the campaign comes first, then the frames: trepid label {campaign_file} {method} "
            f"-o {output}"
        )
    settings, campaign = load_engine(method)
    given = [frame for path in frames for frame in read_frames(path, require=())[::every]]
    if not given:
        raise DataError(f"{', '.join(map(str, frames))}: no frames")
    rounds = campaign if isinstance(campaign, RoundsCampaign) else None
    if rounds is not None:
        retries = rounds.rounds.retries
    else:
        retries = campaign.learning.retries if isinstance(campaign, Campaign) else 1
    say(f"{len(given)} frame{'s' * (len(given) != 1)} to label, {len(given[0])} atoms in the first, into {output}")
    if campaign is not None:
        _warn_of_others(given, build_crystal(campaign.structure))
    with labelling(output, settings, kind=KIND) as (reference, interrupted):
        executor = InlineExecutor() if rounds is None else make_executor(rounds.execution, directory=output)
        with executor:
            found = label_given(given, reference, executor, output, retries=retries, interrupted=interrupted, tell=say)
    if json:
        emit_json(
            {
                "files": [str(file) for file in found.files],
                "failed": list(found.failed),
                "n_new": found.n_new,
                "seconds": found.seconds,
            }
        )
    else:
        missing = f", {len(found.failed)} without a label" if found.failed else ""
        emit(f"{len(found.files)} labels in {output / 'labels'} ({found.n_new} new{missing})")
        if found.files:
            emit(f"train on them: trepid fit OLD_LABELS {output}/labels/label-????.extxyz -o NEW_MODEL")
    if not found.files:
        raise typer.Exit(ExitCode.LABELS)


def _warn_of_others(frames: list[Atoms], supercell: Atoms) -> None:
    """Say where frames have other elements than the crystal of the campaign, or are narrower than the cells that it labels."""
    from trepid.data.supercells import width_A

    own = set(supercell.symbols)
    if others := sorted({symbol for frame in frames for symbol in frame.symbols} - own):
        say(
            f"warning: frames have {', '.join(others)}, which the crystal of the campaign ({', '.join(sorted(own))}) has not"
        )
    narrowest, usual = min(width_A(frame) for frame in frames), width_A(supercell)
    if narrowest < NARROWER * usual:
        say(
            f"warning: the narrowest frame is {narrowest:.1f} A wide, the supercell of the campaign {usual:.1f} A: with the same "
            "k points its electronic structure is another one, and a model of both kinds of labels may be worse; run the MD in "
            "a wider cell"
        )
