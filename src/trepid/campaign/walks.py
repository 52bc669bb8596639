"""The walks of a round: MD trajectories on the model, from which candidates are kept; a walk ends when untrusted.

Vocabulary
----------
walk         one MD trajectory of a round, from the crystal, at one temperature; `walkers` of the settings are those that
             make one in each round
check        every `check_every` steps the frame is predicted with its uncertainty, which enters the time series
candidate    a checked frame that is kept with its prediction; checks are thinned until there are few enough of them
edge         the first frame of the final untrusted part of a walk, where the force uncertainty exceeds the trusted one

A walk depends on its job alone, and a job is plain data: it can run in this process, in another one, or on another
machine. Its files are those of `trepid.runs.walk_files`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.acquisition.choices import Strategy, UncertaintyMeasure
from trepid.acquisition.uncertainty import MEASURES, frame_uncertainty
from trepid.campaign.assess import typical_force
from trepid.campaign.round_context import RoundContext
from trepid.choices import Engine
from trepid.config import WalkerSettings
from trepid.data.frames import bare_copy, read_frames
from trepid.dynamics.driver import MDParameters
from trepid.dynamics.engine import start_driver
from trepid.dynamics.interrupt import Interrupted
from trepid.dynamics.loop import Check, MDLoop, Policy, Schedule
from trepid.dynamics.sanity import SanityLimits
from trepid.errors import ConfigError, TrepidError
from trepid.execution import InlineExecutor
from trepid.potentials import load_potential
from trepid.potentials.base import FloatArray, Potential
from trepid.potentials.biased import BiasedPotential
from trepid.runs.ledger_events import Walks
from trepid.runs.round_files import RoundFiles
from trepid.runs.walk_files import Candidate, Walk, WalkEnd, WalkSummary, read_summary, read_walk

if TYPE_CHECKING:
    from ase import Atoms

POLL_S = 0.5
"""Interval at which signals are checked while walks are computed, s."""


class Keep(str, Enum):
    """Which of several successive checks is kept when they are thinned."""

    MOST_UNCERTAIN = "most_uncertain"
    FIRST = "first"
    """Evenly spaced: for selections that must not depend on the model."""


@dataclass(frozen=True)
class WalkJob:
    """One walk, as plain data.

    Attributes
    ----------
    model_file, crystal_file : Path
        The potential, and the frame to start from.
    output : Path
        walk-NN.npz.
    round, walker : int
    seed : tuple of int
        Of velocities and thermostat.
    parameters : MDParameters
    n_steps, check_every : int
    limits : SanityLimits
    max_candidates : int
    keep : Keep
    measure : UncertaintyMeasure
    untrusted_eV_per_A : float
        Largest trusted force uncertainty of an atom.
    untrusted_steps : int
        Steps it may stay above before the walk ends.
    member : int or None
        The member of a committee to walk on; None for the mean.
    bias : tuple of two floats or None
        Strength and largest energy (eV) of a bias towards uncertainty.
    force_constants : Path or None
        phonopy file for the measure sigma_a.
    load : callable
        Reads the model file.
    """

    model_file: Path
    crystal_file: Path
    output: Path
    round: int
    walker: int
    seed: tuple[int, ...]
    parameters: MDParameters
    n_steps: int
    check_every: int
    limits: SanityLimits
    max_candidates: int
    keep: Keep
    measure: UncertaintyMeasure
    untrusted_eV_per_A: float
    untrusted_steps: int
    member: int | None = None
    bias: tuple[float, float] | None = None
    force_constants: Path | None = None
    load: Callable[[Path], Potential] = load_potential

    # The temperature program of the loop: one stage at one temperature.

    def temperature_at(self, step: int) -> float:
        """Target temperature, K."""
        return self.parameters.temperature_K

    def pressure_at(self, step: int) -> float | None:
        """Target pressure, GPa."""
        return self.parameters.pressure_GPa

    def stage_at(self, step: int) -> int:
        """0: a walk has one stage."""
        return 0


@dataclass(frozen=True)
class WalkResult:
    """The result of a job: the summary, and the wall time of the walk, s."""

    summary: WalkSummary
    seconds: float


# ---------------------------------------------------------------------- the walks of a round


def make_walks(context: RoundContext, files: RoundFiles, potential: Potential) -> list[Walk]:
    """Compute the walks of a round that have no file yet, and read all of them.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
    potential : Potential
        The model that moves the atoms, of the rounds before.

    Raises
    ------
    Interrupted
        A signal came; complete walks stay.
    ConfigError
        A setting does not go with the potential or the engine.
    """
    began = time.perf_counter()
    acquisition = context.campaign.acquisition
    sigma_a = acquisition.kind is Strategy.UNCERTAINTY and MEASURES[acquisition.measure].needs_harmonic
    jobs = walk_jobs(
        context,
        files,
        typical_force_eV_per_A=typical_force(context.labels_before(context.next_label)),
        n_members=potential.n_members,
        force_constants=context.harmonic_file(files, potential) if sigma_a else None,
    )
    with context.progress.stage("trajectories", total=len(jobs)):
        results = run_jobs(jobs, context.executor, potential=potential, interrupted=context.interrupted)
        for n, result in enumerate(results, 1):
            context.view.message(f"round {files.number}: {_line(result.summary)}")
            context.progress.done(n)
    summaries = [read_summary(job.output) for job in jobs]
    ends = [summary.end for summary in summaries]
    context.note_once(
        Walks(
            round=files.number,
            n_walks=len(jobs),
            n_candidates=sum(summary.n_candidates for summary in summaries),
            time_ps=sum(summary.time_ps for summary in summaries),
            untrusted=ends.count(WalkEnd.UNTRUSTED),
            unstable=ends.count(WalkEnd.UNSTABLE),
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
        Of the labels so far; the largest trusted force uncertainty is `untrusted_fraction` times this.
    n_members : int or None
        Of a committee.
    force_constants : Path or None
        For the measure sigma_a.
    """
    w, acquisition, seed = context.campaign.walkers, context.campaign.acquisition, context.campaign.seed
    by_uncertainty = acquisition.kind is Strategy.UNCERTAINTY
    model, crystal = context.model_before(files.number), context.crystal_file()
    return [
        WalkJob(
            model_file=model,
            crystal_file=crystal,
            output=files.walk(walker),
            round=files.number,
            walker=walker,
            seed=(seed, 2, files.number, walker),
            parameters=walk_parameters(w, w.temperatures_K[walker // w.per_temperature]),
            n_steps=w.n_steps,
            check_every=w.check_every,
            limits=SanityLimits(w.max_temperature_factor, w.max_force_eV_per_A, w.min_distance_factor),
            max_candidates=w.max_candidates,
            keep=Keep.MOST_UNCERTAIN if by_uncertainty else Keep.FIRST,
            measure=acquisition.measure if by_uncertainty else UncertaintyMeasure.FORCE_MAX,
            untrusted_eV_per_A=w.untrusted_fraction * typical_force_eV_per_A,
            untrusted_steps=round(1000 * w.untrusted_ps / w.timestep_fs),
            member=walker % n_members if n_members is not None and w.walk_on == "member" else None,
            # The first walker of each temperature provides the unbiased reference statistics.
            bias=(w.bias.strength, w.bias.largest_eV)
            if by_uncertainty and w.bias is not None and walker % w.per_temperature
            else None,
            force_constants=force_constants,
            load=context.potentials.load,
        )
        for walker in range(w.n_walkers)
    ]


def walk_parameters(settings: WalkerSettings, temperature_K: float) -> MDParameters:
    """How the atoms of a walk are moved."""
    return MDParameters(
        temperature_K=temperature_K,
        timestep_fs=settings.timestep_fs,
        thermostat=settings.thermostat,
        relaxation_time_fs=settings.relaxation_time_fs,
        engine=settings.engine,
    )


def run_jobs(
    jobs: Sequence[WalkJob], executor: Executor, *, potential: Potential | None = None, interrupted: Callable[[], bool]
) -> Iterator[WalkResult]:
    """Compute the walks that have no file yet; gives their results as they come.

    Parameters
    ----------
    jobs : sequence of WalkJob
    executor : Executor
    potential : Potential, optional
        The loaded model of the jobs, for walks in this process; others load it themselves.
    interrupted : callable
        True once a signal has come.

    Raises
    ------
    Interrupted
        A signal came. Walks in other processes are ended by the executor when it is left.
    """
    missing = [job for job in jobs if not job.output.exists()]
    if isinstance(executor, InlineExecutor):
        for job in missing:
            yield run_walk(job, interrupted, potential=potential)
        return
    running = {executor.submit(run_walk, job) for job in missing}
    while running:
        done, running = wait(running, timeout=POLL_S)
        for future in done:
            yield future.result()
        if interrupted():
            raise Interrupted


def _line(summary: WalkSummary) -> str:
    why = f" ({summary.message})" if summary.message else ""
    return (
        f"walk {summary.walker} at {summary.temperature_K:g} K, {summary.time_ps:.2f} ps, "
        f"{summary.n_candidates} candidates{why}"
    )


# ---------------------------------------------------------------------- one walk


def run_walk(
    job: WalkJob, interrupted: Callable[[], bool] | None = None, *, potential: Potential | None = None
) -> WalkResult:
    """Compute a walk and write its files; a walk whose file exists is left as it is.

    Parameters
    ----------
    job : WalkJob
    interrupted : callable, optional
        Called before each check; the walk is given up when it returns True.
    potential : Potential, optional
        The loaded model of the job; None loads it.

    Raises
    ------
    Interrupted
        `interrupted` returned True; the walk is computed again from its seed.
    ConfigError
        A setting does not go with this potential or engine.
    """
    began = time.perf_counter()
    if not job.output.exists():
        model = job.load(job.model_file) if potential is None else potential
        try:
            _run(job, model, interrupted or (lambda: False)).write(job.output)
        finally:
            if potential is None:
                model.close()
    return WalkResult(read_summary(job.output), time.perf_counter() - began)


def _run(job: WalkJob, potential: Potential, interrupted: Callable[[], bool]) -> Walk:
    crystal = read_frames(job.crystal_file, require=())[0]
    driver = start_driver(
        crystal, _moving(potential, job, crystal), job.parameters, rng=np.random.default_rng(list(job.seed))
    )
    try:
        policy = _Exploring(job, interrupted)
        loop: MDLoop[tuple[WalkEnd, str]] = MDLoop(
            driver,
            potential,
            program=job,
            schedule=Schedule(job.check_every, None, None, (job.n_steps,)),
            limits=job.limits,
        )
        end, message = loop.run(policy)
        return policy.walk(end, message, n_steps=driver.n_steps, n_atoms=len(crystal))
    finally:
        driver.close()


class _Exploring(Policy[tuple[WalkEnd, str]]):
    """Policy of a walk: note every check, keep candidates, end where the frames are untrusted for long."""

    def __init__(self, job: WalkJob, interrupted: Callable[[], bool]) -> None:
        self.job, self._interrupted = job, interrupted
        self.n_checks = 0
        self._scalars: list[tuple[int, float, float, float, float]] = []
        # In single precision: the series of a long walk are most of its memory.
        self._positions: list[np.ndarray] = []
        self._forces: list[np.ndarray] = []
        self._atom_energies: list[np.ndarray] = []
        self.keeper = Keeper(job.max_candidates, job.keep)
        self.edge: Candidate | None = None
        self._harmonic = _harmonic_forces(job)

    def ready(self, step: int) -> tuple[WalkEnd, str] | None:
        """End at full length; give up after a signal."""
        if self._interrupted() and step < self.job.n_steps:
            raise Interrupted
        return (WalkEnd.FINISHED, "") if step >= self.job.n_steps else None

    def unstable(self, problem: str, *, check: Check | None, cause: TrepidError | None) -> tuple[WalkEnd, str]:
        """An unstable walk ends."""
        return WalkEnd.UNSTABLE, problem

    def physical(self, check: Check) -> tuple[WalkEnd, str] | None:
        """Note the check; end the walk where it has been untrusted for too long."""
        job, prediction, candidate = self.job, check.prediction, self._candidate(check)
        uncertainty = prediction.frame_uncertainty
        self._scalars.append((check.step, candidate.uncertainty, uncertainty, prediction.energy, check.temperature_K))
        self._positions.append(check.atoms.positions.astype(np.float32))
        self._forces.append(prediction.forces.astype(np.float32))
        if prediction.atom_energies is not None:
            self._atom_energies.append(prediction.atom_energies.astype(np.float32))
        self.n_checks += 1
        self.keeper.offer(candidate)
        if uncertainty <= job.untrusted_eV_per_A:
            self.edge = None
            return None
        if self.edge is None:
            self.edge = candidate
        if check.step - self.edge.step < job.untrusted_steps:
            return None
        return WalkEnd.UNTRUSTED, (
            f"force uncertainty {uncertainty:.3g} eV/A, above {job.untrusted_eV_per_A:.3g} since "
            f"{self.edge.time_fs / 1000:.3f} ps"
        )

    def _candidate(self, check: Check) -> Candidate:
        prediction = check.prediction
        return Candidate(
            atoms=bare_copy(check.atoms),
            prediction=replace(prediction, energy_ensemble=None, forces_ensemble=None, stress_ensemble=None),
            walker=self.job.walker,
            check=self.n_checks,
            step=check.step,
            time_fs=check.time_fs,
            target_temperature_K=check.target_temperature_K,
            temperature_K=check.temperature_K,
            uncertainty=frame_uncertainty(
                self.job.measure,
                energy_uncertainty=prediction.energy_uncertainty,
                forces_uncertainty=prediction.forces_uncertainty,
                forces_ensemble=prediction.forces_ensemble,
                harmonic_forces=None if self._harmonic is None else self._harmonic(check.atoms),
            ),
        )

    def walk(self, end: WalkEnd, message: str, *, n_steps: int, n_atoms: int) -> Walk:
        """What the walk leaves on disk."""
        kept = {candidate.check: candidate for candidate in self.keeper.kept}
        if self.edge is not None and end is not WalkEnd.FINISHED:
            kept[self.edge.check] = replace(self.edge, edge=True)
        candidates = [kept[number] for number in sorted(kept)]
        steps, uncertainty, largest, energy, temperature = np.array(self._scalars, dtype=np.float64).reshape(-1, 5).T
        complete = len(self._atom_energies) == self.n_checks

        return Walk(
            summary=WalkSummary(
                walker=self.job.walker,
                temperature_K=self.job.parameters.temperature_K,
                n_steps=n_steps,
                timestep_fs=self.job.parameters.timestep_fs,
                n_candidates=len(candidates),
                end=end,
                message=" ".join(message.split()),
                biased=self.job.bias is not None,
            ),
            steps=steps.astype(np.int64),
            uncertainty=uncertainty,
            forces_uncertainty_max=largest,
            energy=energy,
            temperature_K=temperature,
            positions=np.array(self._positions, dtype=np.float32).reshape(-1, n_atoms, 3),
            forces=np.array(self._forces, dtype=np.float32).reshape(-1, n_atoms, 3),
            atom_energies=np.array(self._atom_energies, dtype=np.float32).reshape(-1, n_atoms) if complete else None,
            candidates=candidates,
        )


class Keeper:
    """Thins checks: at most `most` of them, one from every `stride` successive ones, the stride doubled when needed."""

    def __init__(self, most: int, keep: Keep) -> None:
        self._most, self._by_uncertainty = most, keep is Keep.MOST_UNCERTAIN
        self._stride = 1
        self.kept: list[Candidate] = []

    def offer(self, candidate: Candidate) -> None:
        """Keep a check, or not."""
        self._put(self.kept, candidate)
        while len(self.kept) > self._most:
            self._stride *= 2
            thinned: list[Candidate] = []
            for earlier in self.kept:
                self._put(thinned, earlier)
            self.kept = thinned

    def _put(self, kept: list[Candidate], candidate: Candidate) -> None:
        if not kept or kept[-1].check // self._stride != candidate.check // self._stride:
            kept.append(candidate)
        elif self._by_uncertainty and candidate.uncertainty > kept[-1].uncertainty:
            kept[-1] = candidate


def _moving(potential: Potential, job: WalkJob, crystal: Atoms) -> Potential:
    """The potential that moves the atoms: the model itself, a member of it, or the model with a bias."""
    if job.bias is not None:
        if job.parameters.engine is not Engine.ASE:
            raise ConfigError(
                f"walkers.bias is computed by the engine ase; walkers.engine is {job.parameters.engine.value}"
            )
        strength, largest = job.bias
        return BiasedPotential(potential, crystal, strength=strength, largest_eV=largest)
    return potential if job.member is None else potential.member(job.member)


def _harmonic_forces(job: WalkJob) -> Callable[[Atoms], FloatArray] | None:
    if not MEASURES[job.measure].needs_harmonic:
        return None
    from trepid.anharmonicity.phonopy_files import read_phonopy

    if job.force_constants is None:
        raise ConfigError(f"acquisition.measure {job.measure.value} needs force constants")
    return read_phonopy(job.force_constants).forces
