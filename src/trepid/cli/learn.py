"""`trepid learn`: run or resume a learning campaign."""

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
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Go on although labels, settings or ledger of the run were changed or lost since it wrote them.",
        ),
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="With --dry-run: import and run what the campaign names, as a run does."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    json: options.Json = False,
) -> None:
    """Run or resume a learning campaign: molecular dynamics on the model; frames of high force uncertainty are labelled.

    The campaign file gives the mode. On the fly: one trajectory; a frame whose force uncertainty exceeds the threshold is
    labelled and trained on at once. In rounds: several trajectories, then a batch of their frames is selected, labelled and
    trained on.

    The same command resumes a campaign after any interruption, and ends at once when the campaign is complete.
    The terms of the output (misfit, left out in turn, stratum, running factor, typical force error) are in docs/glossary.md.
    Exit code 4: the dynamics became unstable repeatedly. 5: labels failed. 6: a backend is missing or ended. 7: the disk is
    full, or the memory is used up. 130: interrupted.
    """
    from trepid.cli.check import look_over_campaign
    from trepid.config import doubts, load_campaign

    if dry_run:
        verdict = look_over_campaign(campaign, trust=trust)
        for name, value in verdict.facts.items():
            say(f"{name}: {value}")
        for warning in verdict.warnings:
            say(f"warning: {warning}")
        verdict.raise_problem()
        return

    from trepid.campaign.context import crystal_of
    from trepid.campaign.learn import learn
    from trepid.dynamics.progress import SilentProgress, make_progress

    settings = load_campaign(campaign)
    for doubt in doubts(settings, crystal_of(settings)):
        say(f"warning: {doubt}")
    with SilentProgress() if quiet else make_progress(title="learning") as progress:
        result = learn(settings, progress=progress, accept_changes=accept_changes)
    if json:
        emit_json(
            {
                "reason": result.reason.value,
                "already_ended": result.already_ended,
                "message": result.message,
                "n_labels": result.n_labels,
                "n_steps": result.n_steps,
                "time_ps": result.time_ps,
                "seconds_per_label": result.seconds_per_label,
                **({} if result.n_rounds is None else {"n_rounds": result.n_rounds}),
                "directory": str(result.directory),
                "model": str(result.model_file),
                "verdict": result.verdict().as_dict(),
            }
        )
    else:
        emit(result.summary())
        emit("\n".join(result.verdict().sentences()))
    if result.exit_code:
        raise typer.Exit(result.exit_code)
