"""Event classes of the walks of a round, judged against the reference (`trepid.audit`) before the model is trained again.

Which classes, the most frequent first, as many as the settings allow in a round: those that no round has judged; those that
walks show although their last verdict is not genuine; then those whose verdict is open and that the walks do not show. A model
that was trained on the labels of a class is another one, so the class is judged again on it.

The labels are labels of the campaign: on disk before anything relies on them, trained on with the others of the round, and never
computed twice, also where a later judgement wants a frame that an earlier one had. A class that is judged has a verdict.json; after
a kill it is read, and the class under way starts again from the paths and labels that are on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from trepid.audit.classes import audit_class, model_path
from trepid.audit.event_class import AuditSettings, ClassFiles, EventClassAudit, Role, SeenClass
from trepid.audit.judgement import Criteria, Verdict, judge_probe
from trepid.audit.labels import AuditLabels
from trepid.audit.model import PotentialModel
from trepid.audit.seen import sites_before, ways_of
from trepid.audit.states import Motion
from trepid.campaign.assess import Judgements
from trepid.campaign.events import events_of, find_sites
from trepid.campaign.round_context import RoundContext
from trepid.data.atomic import set_aside
from trepid.errors import DataError
from trepid.events.classes import EventClass, event_class
from trepid.events.detection import Event
from trepid.events.paths import event_frames
from trepid.events.sites import Sites
from trepid.labelling.case import LabelRequest
from trepid.labelling.check import LabelChecker, LabelHistory
from trepid.potentials.base import Potential
from trepid.runs.label_files import PriorPrediction
from trepid.runs.ledger_events import Judged
from trepid.runs.properties import latest_verdicts
from trepid.runs.round_files import ClassVerdict, RoundFiles
from trepid.runs.walk_files import Walk

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from trepid.arrays import IntArray
    from trepid.audit.event_class import Wanted

logger = logging.getLogger(__name__)

LEAST_LABELS = 3
"""Labels without which a class cannot be judged: both ends and the highest image."""


@dataclass(frozen=True, eq=False)
class ToJudge:
    """A class that is to be judged.

    Attributes
    ----------
    seen : SeenClass
    ways : int
        Equivalent events that the crystal allows.
    temperature_K : float
        The lowest at which it was seen.
    """

    seen: SeenClass
    ways: int
    temperature_K: float


@dataclass(eq=False)
class _Labels(AuditLabels):
    """Labels of an audit among those of a campaign: their numbers follow those of the frames selected in the round."""

    first: int = 1
    potential: Potential | None = None

    def _free(self, taken: set[int]) -> int:
        number = self.first
        store = self.labeller.store
        while number in taken or store.path(number).exists() or store.failed_path(number).exists():
            number += 1
        return number

    def _request(self, number: int, want: Wanted) -> LabelRequest:
        assert self.potential is not None
        before = PriorPrediction(want.prediction, self.potential.noise)
        return replace(super()._request(number, want), before=lambda: before)


def judge_classes(
    context: RoundContext,
    files: RoundFiles,
    potential: Potential,
    walks: Sequence[Walk],
    *,
    first_label: int,
) -> Judgements:
    """Judge event classes on the model of the walks; nothing where the campaign does not want it.

    Parameters
    ----------
    context : RoundContext
    files : RoundFiles
        Of the round.
    potential : Potential
        The model of the walks.
    walks : sequence of Walk
    first_label : int
        Number of the first label that the selected frames leave.

    Raises
    ------
    Interrupted
        A signal came; what is labelled and judged is on disk.
    """
    settings = context.campaign.rounds.audit
    if settings is None:
        return Judgements(next_label=first_label)
    sites = find_sites(context.crystal)
    wanted = classes_to_judge(walks, context.crystal, sites, latest_verdicts(context.records))
    verdicts: list[ClassVerdict] = []
    for place, each in enumerate(wanted[: settings.classes_per_round], 1):
        path = files.audits / f"{place:02d}" / "verdict.json"
        given = _given(path, context.view.message)
        if given is not None:
            verdicts.append(given)
            continue
        context.stop_if_interrupted()
        room = _room(context, verdicts, first_label)
        if room is not None and room < LEAST_LABELS:
            context.view.message(f"round {files.number}: no labels left to judge {each.seen.name}")
            break
        n = settings.labels_per_class if room is None else min(settings.labels_per_class, room)
        audit = _audit(context, files, potential, sites, each, ClassFiles(path.parent), n, first_label)
        verdict = replace(_verdict(audit, each), overlooked_by=_overlooked_by(context, files, sites, each, audit))
        path.parent.mkdir(parents=True, exist_ok=True)
        verdict.write(path)
        verdicts.append(verdict)
        context.view.message(f"round {files.number}: {verdict.event_class}: {verdict.verdict}; {verdict.reason}")
    for place, verdict in enumerate(verdicts, 1):
        entry = Judged(
            place,
            verdict.event_class,
            False,
            verdict.verdict,
            f"round {files.number}: {verdict.reason}",
            len(verdict.labels),
        )
        if entry not in context.ledger.all(Judged):
            context.ledger.append(entry)
    store, numbers = context.store, sorted(_new(verdicts, first_label))
    following = max([first_label, *(number + 1 for number in numbers)])
    while store.failed_path(following).exists():
        following += 1
    return Judgements(tuple(verdicts), tuple(store.read(number) for number in numbers), following)


def _given(path: Path, tell: Callable[[str], None]) -> ClassVerdict | None:
    """The verdict that a class has from before a kill; a damaged one is set aside, and the class judged again from its labels."""
    if not path.exists():
        return None
    try:
        return ClassVerdict.read(path)
    except DataError as error:
        tell(f"{' '.join(str(error).split())}; now {set_aside(path).name}, and judged again")
        return None


def _new(verdicts: Sequence[ClassVerdict], first_label: int) -> set[int]:
    """Numbers of the labels of these verdicts that were made in this round."""
    return {number for verdict in verdicts for number in verdict.labels if number >= first_label}


def classes_to_judge(
    walks: Sequence[Walk], crystal: Atoms, sites: Sites, latest: dict[str, ClassVerdict]
) -> list[ToJudge]:
    """The classes that a round should judge, in the order described in the module.

    Parameters
    ----------
    walks : sequence of Walk
    crystal : Atoms
    sites : Sites
        Of the crystal.
    latest : dict of str to ClassVerdict
        The last verdict of every class.
    """
    shown = _shown(walks, sites)
    fresh = [name for name in shown if name not in latest]
    wrong = [name for name in shown if name in latest and latest[name].verdict != Verdict.GENUINE.value]
    most_frequent = sorted(fresh, key=lambda name: -len(shown[name].events)) + sorted(
        wrong, key=lambda name: -len(shown[name].events)
    )
    found = [shown[name].to_judge(crystal, sites) for name in most_frequent]
    open_verdicts = (Verdict.UNDECIDED.value, Verdict.MISCAPTURED.value)
    absent = [v for name, v in sorted(latest.items()) if name not in shown and v.verdict in open_verdicts]
    return found + [_absent(verdict, sites) for verdict in absent]


@dataclass(eq=False)
class _Shown:
    """Events of one class in the walks: each with its walk and the site of every atom before it."""

    event_class: EventClass
    events: list[tuple[Walk, Event, IntArray]] = field(default_factory=list)

    def to_judge(self, crystal: Atoms, sites: Sites) -> ToJudge:
        """By the event with the fewest other atoms off their sites: what else happens is no part of it."""
        home = np.arange(sites.n_atoms)
        walk, event, before = min(
            self.events, key=lambda one: (_others_away(one[2], one[1], home), one[1].start_fs, one[0].summary.walker)
        )
        checks = event_frames(len(walk.steps), event, 3, margin=1)
        images = []
        for check in checks:
            atoms = crystal.copy()
            atoms.calc = None
            atoms.set_positions(walk.positions[check].astype(np.float64))
            images.append(atoms)
        roles = (Role.BEFORE, Role.DURING, Role.AFTER)[: len(images)]
        motion = Motion.of(event, before, sites, images[-1])
        seen = SeenClass(str(self.event_class), motion, tuple(zip(roles, images, strict=True)), len(self.events))
        temperature = min(walk.summary.temperature_K for walk, _, _ in self.events)
        return ToJudge(seen, ways_of(motion, sites), temperature)


def _shown(walks: Sequence[Walk], sites: Sites) -> dict[str, _Shown]:
    found: dict[str, _Shown] = {}
    for walk in walks:
        events = events_of(walk, sites)
        before = sites_before(events, sites.n_atoms)
        for event in events:
            each = event_class(event, sites)
            found.setdefault(str(each), _Shown(each)).events.append((walk, event, before[event]))
    return found


def _others_away(before: IntArray, event: Event, home: IntArray) -> int:
    others = np.setdiff1d(home, event.atoms)
    return int((before[others] != home[others]).sum())


def _absent(verdict: ClassVerdict, sites: Sites) -> ToJudge:
    """A class judged before, which the walks do not show."""
    before = np.arange(sites.n_atoms)
    for atom, site in verdict.displaced:
        before[atom] = site
    motion = Motion(before, verdict.atoms, verdict.targets, verdict.reach)
    return ToJudge(SeenClass(verdict.event_class, motion), verdict.ways, verdict.temperature_K)


def _room(context: RoundContext, verdicts: Sequence[ClassVerdict], first_label: int) -> int | None:
    """Labels that the budget leaves, whatever is on disk of the class under way; None without a budget."""
    limit = context.campaign.rounds.max_labels
    if limit is None:
        return None
    earlier = sum(number < first_label for number in context.store.numbers())
    return limit - earlier - len(_new(verdicts, first_label))


def _audit(
    context: RoundContext,
    files: RoundFiles,
    potential: Potential,
    sites: Sites,
    each: ToJudge,
    class_files: ClassFiles,
    n_labels: int,
    first_label: int,
) -> EventClassAudit:
    rounds = context.campaign.rounds
    assert rounds.audit is not None
    labels = _Labels(
        context.labeller(retries=rounds.retries),
        files.number,
        each.temperature_K,
        # By the labels before those of the audits: their order does not matter, and a resumed audit checks as before.
        checker=LabelChecker(LabelHistory.of(context.labels_before(first_label))) if rounds.check_labels else None,
        first=first_label,
        potential=potential,
    )
    criteria = Criteria(
        each.temperature_K, context.campaign.acquisition.horizon_ns, ways=each.ways, factor=rounds.audit.factor
    )
    return audit_class(
        each.seen,
        PotentialModel(potential),
        labels,
        crystal=context.crystal,
        sites=sites,
        criteria=criteria,
        settings=replace(AuditSettings(), labels_per_class=n_labels),
        files=class_files,
        tell=lambda line: context.view.message(f"round {files.number}: {line}"),
        interrupted=context.stop_if_interrupted,
    )


def _overlooked_by(
    context: RoundContext, files: RoundFiles, sites: Sites, each: ToJudge, audit: EventClassAudit
) -> int | None:
    """The round whose model put a class out of reach that its walks did not show and that the reference makes possible.

    Two models are asked, the first one of the campaign and then that of the walks before this round, where their walks did not
    show the class. It costs no label: the reference's barrier is that of the audit, and an earlier model has its own path.
    """
    if audit.reference_barrier is None or audit.verdict not in (Verdict.GENUINE, Verdict.MISCAPTURED):
        return None
    without = [
        selection.round
        for selection in context.selections_before(files.number)
        if all(event.event_class != each.seen.name for event in selection.events)
    ]
    models = [context.model_before(number) for number in (1, files.number - 1) if number in without]
    for earlier in dict.fromkeys(models):
        with closing(context.potentials.load(earlier)) as potential:
            before = model_path(
                replace(each.seen, n_seen=0),
                PotentialModel(potential),
                crystal=context.crystal,
                sites=sites,
                criteria=audit.criteria,
                interrupted=context.stop_if_interrupted,
            )
        judged = judge_probe(before.model_barrier, audit.reference_barrier, audit.criteria, end=audit.end)
        if judged.verdict is Verdict.OVERLOOKED:
            return int(earlier.parent.name)
    return None


def _verdict(audit: EventClassAudit, each: ToJudge) -> ClassVerdict:
    judgement, criteria, motion = audit.judgement, audit.criteria, audit.seen.motion
    reference = audit.reference_barrier
    home = np.arange(len(motion.before))
    return ClassVerdict(
        event_class=audit.seen.name,
        verdict=judgement.verdict.value,
        reason=judgement.reason,
        model_barrier_eV=audit.model_barrier,
        model_bar_eV=None if audit.model_bar is None else criteria.z * audit.model_bar,
        reference_barrier_eV=None if reference is None else reference.value,
        reference_bar_eV=None if reference is None else criteria.z * reference.std,
        rate_factor=judgement.rate_factor,
        rate_factor_low=judgement.rate_factor_low,
        rate_factor_high=judgement.rate_factor_high,
        temperature_K=each.temperature_K,
        ways=each.ways,
        labels=tuple(point.number for point in audit.points),
        displaced=tuple((int(atom), int(motion.before[atom])) for atom in np.flatnonzero(motion.before != home)),
        atoms=motion.atoms,
        targets=motion.to_sites,
        reach=motion.reach,
    )
