"""The remaining cost of a campaign: labels, core-hours and days, before it begins and during it.

Every figure states its source. Measured: the time of a label, the label requests on the fly, the errors on new labels, the
time of everything else. Expected: what comparable campaigns took, as long as nothing is measured. Where the data do not
support a forecast, the result is `CannotTell` with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from trepid.config import AnyCampaign, Campaign, RoundsCampaign, load_campaign
from trepid.errors import DataError
from trepid.labelling.labeller import COST_POWER
from trepid.potentials.placement import Placement, placement_of_campaign
from trepid.report.forecast import (
    FURTHEST,
    CannotTell,
    Interval,
    LearningCurve,
    fit_learning_curve,
    forecast_calls,
)
from trepid.runs.directory import RunPaths
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger import events_of, read_ledger
from trepid.runs.ledger_events import Failure, Label, Reason, Request, RoundEnd, Stage, Train, Walks
from trepid.runs.reading import RunRecord, read_run

EXPECTED = {
    "on-the-fly": Interval(30, 15, 120),
    "rounds, bayesian": Interval(40, 20, 120),
    "rounds, committee": Interval(120, 60, 400),
}
"""Labels of a campaign on one crystal, where nothing is measured: the order of magnitude of the examples of trepid (23 for
CuI at 300 and 600 K, 111 for a sheet of stanene that changes its structure), and of published committees."""
FEWEST_ROUND_POINTS = 4


@dataclass(frozen=True)
class LabelTime:
    """What a label takes.

    Attributes
    ----------
    seconds : Interval
        Of one attempt.
    attempts : float
        Attempts per label, failures included.
    n : int
        Labels measured; 0 where the time was given.
    source : str
        Where the figure comes from.
    """

    seconds: Interval
    attempts: float
    n: int
    source: str

    def of_labels(self, n: int) -> float:
        """Time of n labels one after the other, failures included, s."""
        return n * self.attempts * self.seconds.expected


@dataclass(frozen=True)
class Plan:
    """The forecast.

    Attributes
    ----------
    mode : str
    state : str
        Not begun, how far it is, or how it ended.
    n_labels : int
        Labels so far.
    max_labels : int or None
        The budget.
    labels_to_end : Interval or CannotTell
        Labels until the stages or rounds of the campaign are complete, within the budget.
    target_eV_per_A : float or None
        The force error to be reached.
    labels_to_target : Interval, CannotTell or None
        Labels until the error on new labels is down to it; None without a target.
    curve : LearningCurve, CannotTell or None
        None before anything was labelled.
    label_time : LabelTime or None
        None where no label was measured and no time given.
    other_hours : float or None
        Hours of training and molecular dynamics still to come; None where nothing was measured.
    workers, cores : int
        Labels computed at a time; cores of each.
    notes : tuple of str
        What these figures rest on.
    placement : Placement
        Where the model runs.
    """

    mode: str
    state: str
    n_labels: int
    max_labels: int | None
    labels_to_end: Interval | CannotTell
    target_eV_per_A: float | None
    labels_to_target: Interval | CannotTell | None
    curve: LearningCurve | CannotTell | None
    label_time: LabelTime | None
    other_hours: float | None
    workers: int
    cores: int
    notes: tuple[str, ...]
    placement: Placement

    @property
    def labels(self) -> Interval | CannotTell:
        """Labels still needed: to the target where there is one that can be forecast, else to the end."""
        return self.labels_to_target if isinstance(self.labels_to_target, Interval) else self.labels_to_end

    @property
    def label_hours(self) -> Interval | None:
        """Wall time of the labels, h, with the workers there are."""
        core = self.core_hours
        return None if core is None else core.scaled(1.0 / (self.cores * self.workers))

    @property
    def core_hours(self) -> Interval | None:
        """Core-hours of the labels."""
        if self.label_time is None or not isinstance(self.labels, Interval):
            return None
        each = self.label_time.seconds.expected * self.label_time.attempts / 3600
        return self.labels.scaled(each * self.cores)

    @property
    def days(self) -> Interval | None:
        """Everything still to come, d."""
        hours = self.label_hours
        if hours is None:
            return None
        other = self.other_hours or 0.0
        return Interval((hours.expected + other) / 24, (hours.low + other) / 24, (hours.high + other) / 24)


def plan_campaign(
    source: str | Path,
    *,
    target_eV_per_A: float | None = None,
    label_seconds: float | None = None,
    label_source: str = "as given",
    workers: int | None = None,
    cores: int = 1,
) -> Plan:
    """Forecast a campaign.

    Parameters
    ----------
    source : path
        A campaign file, or the directory of a run.
    target_eV_per_A : float, optional
        Force error on new labels to be reached; None takes the one of the campaign, if it has one.
    label_seconds : float, optional
        Time of a label, s, used where nothing was measured yet.
    label_source : str
        Where that time comes from.
    workers : int, optional
        Labels computed at a time; None takes the setting of the campaign. On the fly it is always one.
    cores : int
        Cores that one label occupies.

    Raises
    ------
    ConfigError, DataError
        The file is no campaign, or the directory no run.
    """
    path = Path(source)
    given_run = RunPaths(path) if path.is_dir() else None
    campaign = load_campaign(path) if given_run is None else load_campaign(given_run.settings, require_files=False)
    if given_run is not None and not given_run.begun:
        raise DataError(f"{path}: not a learning run (no ledger.jsonl in it); give a run directory or a campaign file")
    run = given_run or RunPaths(campaign.output.directory)
    # On the fly, MD waits for every label: one is computed at a time.
    at_a_time = 1 if isinstance(campaign, Campaign) else workers or campaign.execution.workers
    if target_eV_per_A is None and isinstance(campaign, RoundsCampaign):
        tolerance = campaign.rounds.force_error_tolerance_meV_per_A
        target_eV_per_A = None if tolerance is None else tolerance / 1000
    given = None
    if label_seconds is not None:
        given = LabelTime(Interval(label_seconds, label_seconds, label_seconds), 1.0, 0, label_source)
    if not run.begun:
        return _before(campaign, target_eV_per_A, given, at_a_time, cores)
    return _during(campaign, read_run(run.path), target_eV_per_A, given, at_a_time, cores)


# ---------------------------------------------------------------------- before


def _before(campaign: AnyCampaign, target: float | None, time: LabelTime | None, workers: int, cores: int) -> Plan:
    kind = campaign.mode if isinstance(campaign, Campaign) else f"{campaign.mode}, {campaign.potential.kind}"
    expected, budget = EXPECTED[kind], _budget(campaign)
    if isinstance(campaign, RoundsCampaign):
        most = campaign.rounds.max_rounds * campaign.labels_per_round + (campaign.start.n or 0)
        expected = expected.capped(most)
    labels = expected if budget is None else expected.capped(budget)
    notes = [
        f"nothing is measured yet: {expected.low:g} to {expected.high:g} labels is what campaigns of this kind "
        f"({kind}) have taken; this one may differ",
        "training and molecular dynamics come on top",
    ]
    if time is None:
        notes.append("the time of a label is not measured: give --label-seconds, or --measure to label one frame now")
    return Plan(
        mode=campaign.mode,
        state="not begun",
        n_labels=0,
        max_labels=budget,
        labels_to_end=labels,
        target_eV_per_A=target,
        labels_to_target=None if target is None else CannotTell("nothing is labelled yet"),
        curve=None,
        label_time=time,
        other_hours=None,
        workers=workers,
        cores=cores,
        notes=tuple(notes),
        placement=placement_of_campaign(campaign),
    )


# ---------------------------------------------------------------------- during


def _during(
    campaign: AnyCampaign,
    run: RunRecord,
    target: float | None,
    given: LabelTime | None,
    workers: int,
    cores: int,
) -> Plan:
    n_labels, budget = len(run.labels), _budget(campaign)
    stop = run.stop
    notes: list[str] = []
    measured = _label_time(run.events(Label), run.events(Failure), "measured in this run")
    time = measured or given
    if measured is not None and given is not None:
        notes.append(
            f"the given time of a label, {given.seconds.expected:g} s, is not used: {measured.n} of this run were measured"
        )
    if isinstance(campaign, Campaign):
        to_end, progress = _calls_ahead(campaign, run, notes)
        curve = _curve_of_calls(run, notes)
        other = _other_hours_on_the_fly(campaign, run)
    else:
        to_end, progress = _rounds_ahead(campaign, run, notes)
        curve = _curve_of_rounds(run)
        other = _other_hours_rounds(campaign, run, to_end)
    state = progress if stop is None else f"{progress}; {stop.reason.told(rounds=campaign.mode == 'rounds')}"
    if budget is not None and isinstance(to_end, Interval):
        to_end = to_end.capped(max(budget - n_labels, 0))
        if n_labels >= budget:
            notes.append(f"max_labels, {budget}, is used up: with a larger one there are more labels to come")
    to_target: Interval | CannotTell | None = None
    if target is not None:
        to_target = _to_target(curve, target, n_labels)
        if isinstance(to_target, Interval) and budget is not None and to_target.expected > budget - n_labels:
            notes.append(f"the target is expected beyond the budget of {budget} labels")
    if other is not None:
        notes.append("the hours of training and molecular dynamics go by what they have taken so far")
    return Plan(
        mode=campaign.mode,
        state=state,
        n_labels=n_labels,
        max_labels=budget,
        labels_to_end=to_end,
        target_eV_per_A=target,
        labels_to_target=to_target,
        curve=curve,
        label_time=time,
        other_hours=other,
        workers=workers,
        cores=cores,
        notes=tuple(notes),
        placement=placement_of_campaign(campaign),
    )


def _to_target(curve: LearningCurve | CannotTell, target: float, n_labels: int) -> Interval | CannotTell:
    if isinstance(curve, CannotTell):
        return curve
    needed = curve.labels_for(target)
    if not np.isfinite(needed.expected):
        return CannotTell(
            f"the error levels off at {1000 * curve.c:.3g} meV/A or falls too slowly: {1000 * target:.3g} meV/A is not "
            f"within {FURTHEST:.0e} labels by this curve"
        )
    return Interval(*(max(value - n_labels, 0.0) for value in (needed.expected, needed.low, needed.high)))


def _calls_ahead(campaign: Campaign, run: RunRecord, notes: list[str]) -> tuple[Interval | CannotTell, str]:
    """Calls of the rest of the present stage, and of the stages to come."""
    dynamics, step_ps = campaign.dynamics, campaign.dynamics.timestep_fs / 1000
    ends = np.cumsum(dynamics.stage_steps) * step_ps
    total, now = float(ends[-1]), min(run.time_ps, float(ends[-1]))
    progress = f"{now:.3g} of {total:.3g} ps"
    entered = [event.stage for event in run.events(Stage)]
    if not entered:
        return CannotTell("molecular dynamics has not begun"), progress
    calls = np.array([event.step for event in run.events(Request) if event.reason is not Reason.INITIAL]) * step_ps
    stage = max(entered)
    begin = float(ends[stage] - dynamics.stage_steps[stage] * step_ps)
    inside = calls[(calls > begin) & (calls <= now)] - begin
    here = forecast_calls(inside, max(now - begin, 0.0), max(float(ends[stage]) - now, 0.0))
    if now - begin > 0:
        notes.append(
            f"stage {stage + 1}: {len(inside)} label{'s' * (len(inside) != 1)} asked for in {now - begin:.3g} ps"
        )
    if isinstance(here, CannotTell):
        return here, progress
    later = len(ends) - stage - 1
    if later == 0:
        return here, progress
    counts = [
        int(((calls > e - s * step_ps) & (calls <= e)).sum()) for e, s in zip(ends, dynamics.stage_steps, strict=True)
    ]
    most = max(max(counts[: stage + 1]), 1)
    notes.append(
        f"{later} stage{'s' if later > 1 else ''} not entered yet: assumed to need from no call to twice the {most} of "
        "the busiest stage so far, a rough assumption"
    )
    return Interval(here.expected + most * later, here.low, here.high + 2 * most * later), progress


def _rounds_ahead(campaign: RoundsCampaign, run: RunRecord, notes: list[str]) -> tuple[Interval | CannotTell, str]:
    """Labels of the rounds that the settings leave."""
    done = run.events(RoundEnd)
    complete = max((event.round for event in done), default=-1)
    progress = f"{max(complete, 0)} of {campaign.rounds.max_rounds} rounds"
    left = max(campaign.rounds.max_rounds - max(complete, 0), 0)
    taken = _per_round(done)
    most = float(left * campaign.labels_per_round)
    if not taken.size:
        return CannotTell("no round after the start is complete"), progress
    notes.append(f"{taken.mean():.3g} labels per round so far; the campaign ends earlier when it converges")
    return Interval(min(left * float(taken.mean()), most), 0.0, most), progress


def _per_round(done: Sequence[RoundEnd]) -> np.ndarray:
    ordered = sorted(done, key=lambda event: event.round)
    return np.diff([event.n_labels for event in ordered]).astype(np.float64)


def _curve_of_calls(run: RunRecord, notes: list[str]) -> LearningCurve | CannotTell:
    """Errors on the frames labelled in the present stage: those of a cooler one are smaller."""
    stages = [label.origin.stage or 0 for label in run.labels]
    last = max(stages, default=0)
    n, errors = [], []
    for known, (frame, stage) in enumerate(zip(run.labels, stages, strict=True)):
        if stage == last and frame.prediction is not None:
            n.append(known)
            errors.append(float(np.abs(frame.forces - frame.prediction.forces).mean()))
    notes.append(
        "errors are those on frames above the uncertainty threshold, before training on them: larger than on the average "
        "frame of the trajectory"
    )
    return fit_learning_curve(n, errors)


def _curve_of_rounds(run: RunRecord) -> LearningCurve | CannotTell:
    """Mean errors on the new labels of each round; with few rounds, those of the single labels."""
    done = sorted(run.events(RoundEnd), key=lambda event: event.round)
    if len(done) > FEWEST_ROUND_POINTS:
        pairs = [
            (before.n_labels, after.forces_mae_new)
            for before, after in pairwise(done)
            if after.forces_mae_new is not None
        ]
        return fit_learning_curve([n for n, _ in pairs], [error for _, error in pairs])
    n, errors, known, present = [], [], 0, -1
    for count, frame in enumerate(run.labels):
        number = frame.origin.round or 0
        if number != present:
            present, known = number, count
        if frame.prediction is not None:
            n.append(known)
            errors.append(float(np.abs(frame.forces - frame.prediction.forces).mean()))
    return fit_learning_curve(n, errors)


# ---------------------------------------------------------------------- time


def measured_label_time(run: RunPaths, *, n_atoms: int) -> LabelTime | None:
    """What a run, of a campaign or an audit, says of the time of a label of `n_atoms`; None where none was computed.

    Of another size it is scaled, as by `trepid.labelling.labeller.expected_seconds`.
    """
    entries = read_ledger(run.ledger)
    time = _label_time(events_of(entries, Label), events_of(entries, Failure), f"measured in {run.path}")
    store = LabelStore(run.labels)
    numbers = store.numbers()
    if time is None or not numbers:
        return time
    size = len(store.read(numbers[-1]).atoms)
    if size == n_atoms:
        return time
    scaled = time.seconds.scaled((n_atoms / size) ** COST_POWER)
    return replace(time, seconds=scaled, source=f"{time.source} for {size} atoms, scaled to {n_atoms}")


def _label_time(labels: Sequence[Label], failures: Sequence[Failure], source: str) -> LabelTime | None:
    seconds = np.array([event.seconds for event in labels])
    if not seconds.size:
        return None
    attempts = (len(seconds) + len(failures)) / len(seconds)
    low, middle, high = np.quantile(seconds, [0.05, 0.5, 0.95])
    return LabelTime(Interval(float(middle), float(low), float(high)), attempts, len(seconds), source)


def _other_hours_on_the_fly(campaign: Campaign, run: RunRecord) -> float | None:
    """Everything but labels, for the remaining MD at the speed so far."""
    labelling = sum(event.seconds for event in run.events(Label))
    total = float(campaign.dynamics.n_steps * campaign.dynamics.timestep_fs / 1000)
    if run.time_ps <= 0:
        return None
    spent = max(run.wall_time_s - labelling, 0.0)
    return spent / run.time_ps * max(total - run.time_ps, 0.0) / 3600


def _other_hours_rounds(campaign: RoundsCampaign, run: RunRecord, to_end: Interval | CannotTell) -> float | None:
    """Walks and training of the rounds that are expected."""
    done = [event for event in run.events(RoundEnd) if event.round > 0]
    if not done or isinstance(to_end, CannotTell):
        return None
    spent = sum(walks.seconds for walks in run.events(Walks)) + sum(train.seconds for train in run.events(Train))
    left = campaign.rounds.max_rounds - max(event.round for event in done)
    return spent / len(done) * max(left, 0) / 3600


def _budget(campaign: AnyCampaign) -> int | None:
    return campaign.learning.max_labels if isinstance(campaign, Campaign) else campaign.rounds.max_labels
