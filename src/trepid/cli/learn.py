"""`trepid learn`: run a learning campaign, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json, say


def command(
    campaign: Annotated[
        Path,
        typer.Argument(metavar="CAMPAIGN", help="Campaign file (YAML); 'trepid init' writes one.", show_default=False),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check settings, structure and reference; run and write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: options.Json = False,
) -> None:
    """Run a learning campaign, or go on with it: molecular dynamics that asks the reference where it does not know.

    The campaign file says how: on the fly, one walker that asks at once; or in rounds, walkers that explore, a batch that is
    chosen and labelled, a model that is trained again.

    The same command resumes a campaign after an interruption of any kind, and ends at once when nothing is left to do.
    Exit code 4 where the dynamics left reality again and again, 5 where labels failed, 130 where it was interrupted.
    """
    from trepid.cli.check import look_over_campaign
    from trepid.config import load_campaign

    if dry_run:
        verdict = look_over_campaign(campaign)
        for name, value in verdict.facts.items():
            say(f"{name}: {value}")
        verdict.raise_problem()
        return

    from trepid.config import RoundsCampaign
    from trepid.dynamics.progress import SilentProgress, make_progress

    settings = load_campaign(campaign)
    with SilentProgress() if quiet else make_progress(title="learning") as progress:
        if isinstance(settings, RoundsCampaign):
            from trepid.campaign.rounds import learn_in_rounds

            result = learn_in_rounds(settings, progress=progress)
        else:
            from trepid.campaign.on_the_fly import learn

            result = learn(settings, progress=progress)
    if json:
        emit_json(
            {
                "reason": result.reason.value,
                "message": result.message,
                "n_labels": result.n_labels,
                "n_steps": result.n_steps,
                "time_ps": result.time_ps,
                "seconds_per_label": result.seconds_per_label,
                **({} if result.n_rounds is None else {"n_rounds": result.n_rounds}),
                "directory": str(result.directory),
                "model": str(result.model_file),
            }
        )
    else:
        emit(result.summary())
    if result.exit_code:
        raise typer.Exit(result.exit_code)
