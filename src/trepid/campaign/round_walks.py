"""The walks of a round: as jobs, run through the executor, and read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from pathlib import Path

from trepid.acquisition.uncertainty import UncertaintyMeasure
from trepid.campaign.assess import typical_force
from trepid.runs.ledger import Walks
from trepid.campaign.round_context import RoundContext
from trepid.runs.round_files import RoundFiles
from trepid.campaign.walkers import (
    Keep,
    Walk,
    WalkEnd,
    WalkInterrupted,
    WalkJob,
    WalkResult,
    WalkSummary,
    read_summary,
    read_walk,
    run_walk,
)
from trepid.execution import InlineExecutor
from trepid.potentials.base import Potential

GLANCE_S = 0.5
"""How often a signal is looked for while walks are awaited, s."""


def make_walks(context: RoundContext, files: RoundFiles, potential: Potential) -> list[Walk]:
    """Make the walks of a round that are not there yet, and read all of them.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
    potential : Potential
        The model that is walked on, of the rounds before.

    Raises
    ------
    WalkInterrupted
        A signal came; walks that are complete stay.
    """
    began = time.perf_counter()
    acquisition = context.campaign.acquisition
    sigma_a = acquisition.kind == "uncertainty" and acquisition.measure == "sigma_a"
    jobs = walk_jobs(
        context,
        files,
        typical_force_eV_per_A=typical_force(context.labels_before(context.next_label), context.keys),
        n_members=getattr(potential, "n_members", None),
        force_constants=context.harmonic_file(files, potential) if sigma_a else None,
    )
    for result in run_jobs(jobs, context.executor, interrupted=context.interrupted):
        context.view.message(f"round {files.number}: {_story(result.summary)}")
    summaries = [read_summary(job.output) for job in jobs]
    ends = [summary.end for summary in summaries]
    context.note_once(
        Walks(
            round=files.number,
            n_walks=len(jobs),
            n_candidates=sum(summary.n_candidates for summary in summaries),
            time_ps=sum(summary.time_ps for summary in summaries),
            untrusted=ends.count(WalkEnd.UNTRUSTED.value),
            left_reality=ends.count(WalkEnd.LEFT_REALITY.value),
            seconds=round(time.perf_counter() - began, 3),
        )
    )
    return [read_walk(job.output) for job in jobs]


def walk_jobs(
    context: RoundContext,
    files: RoundFiles,
    *,
    typical_force_eV_per_A: float,
    n_members: int | None,
    force_constants: Path | None,
) -> list[WalkJob]:
    """The walks of a round, in the order of their numbers: temperature by temperature.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
    typical_force_eV_per_A : float
        Of the labels so far; a walk is believed up to a force uncertainty of `untrusted_fraction` times this.
    n_members : int or None
        Of a committee.
    force_constants : Path or None
        For the measure sigma_a.
    """
    w, acquisition, seed = context.campaign.walkers, context.campaign.acquisition, context.campaign.seed
    choosing = acquisition.kind == "uncertainty"
    model, crystal = context.model_before(files.number), context.crystal_file()
    return [
        WalkJob(
            model_file=model,
            crystal_file=crystal,
            output=files.walk(walker),
            round=files.number,
            walker=walker,
            temperature_K=w.temperatures_K[walker // w.per_temperature],
            seed=(seed, 2, files.number, walker),
            n_steps=w.n_steps,
            check_every=w.check_every,
            timestep_fs=w.timestep_fs,
            relaxation_time_fs=w.relaxation_time_fs,
            thermostat=w.thermostat,
            engine=w.engine,
            max_candidates=w.max_candidates,
            keep=Keep.MOST_UNCERTAIN if choosing else Keep.FIRST,
            measure=UncertaintyMeasure(acquisition.measure if choosing else "force_max"),
            untrusted_eV_per_A=w.untrusted_fraction * typical_force_eV_per_A,
            untrusted_steps=round(1000 * w.untrusted_ps / w.timestep_fs),
            max_force_eV_per_A=w.max_force_eV_per_A,
            max_temperature_factor=w.max_temperature_factor,
            min_distance_factor=w.min_distance_factor,
            member=walker % n_members if n_members is not None and w.walk_on == "member" else None,
            # The first walker of every temperature tells what is ordinary there, so it is an equilibrium walk.
            bias=(w.bias.strength, w.bias.largest_eV)
            if choosing and w.bias is not None and walker % w.per_temperature
            else None,
            force_constants=force_constants,
            load=context.potentials.load,
        )
        for walker in range(w.n_walkers)
    ]


def run_jobs(jobs: Sequence[WalkJob], executor: Executor, *, interrupted: Callable[[], bool]) -> Iterator[WalkResult]:
    """Make the walks whose files are not there yet; gives their results as they come.

    Raises
    ------
    WalkInterrupted
        A signal came. Walks in other processes are left to the executor, which ends them when it is left.
    """
    missing = [job for job in jobs if not job.output.exists()]
    if isinstance(executor, InlineExecutor):
        for job in missing:
            yield run_walk(job, interrupted)
        return
    under_way = {executor.submit(run_walk, job) for job in missing}
    while under_way:
        done, under_way = wait(under_way, timeout=GLANCE_S)
        for future in done:
            yield future.result()
        if interrupted():
            raise WalkInterrupted


def _story(summary: WalkSummary) -> str:
    why = f" ({summary.message})" if summary.message else ""
    return (
        f"walk {summary.walker} at {summary.temperature_K:g} K, {summary.time_ps:.2f} ps, "
        f"{summary.n_candidates} candidates{why}"
    )
