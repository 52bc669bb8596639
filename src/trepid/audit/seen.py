"""From a trajectory to the event classes that are to be judged, and the probes of ways that it does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trepid.arrays import IntArray
from trepid.audit.event_class import Role, SeenClass
from trepid.audit.states import Motion
from trepid.errors import DataError
from trepid.events.analysis import ClassFound, EventAnalysis
from trepid.events.classes import EventClass, Step
from trepid.events.detection import Event, EventKind
from trepid.events.paths import empty_site_ways
from trepid.events.sites import Sites
from trepid.events.ways import equivalent_ways

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class Candidate:
    """An event class or a probe, before it is audited.

    Attributes
    ----------
    seen : SeenClass
    ways : int
        Equivalent events that the crystal allows.
    event_class : EventClass
    """

    seen: SeenClass
    ways: int
    event_class: EventClass


def seen_classes(analysis: EventAnalysis, *, most: int | None = None) -> list[Candidate]:
    """The classes of a trajectory, the most frequent first.

    Parameters
    ----------
    analysis : EventAnalysis
    most : int, optional
        Classes at most.

    Notes
    -----
    Of every class the event with the fewest other atoms off their sites is taken: what else happens in the crystal is no part
    of it. Its frames are those of the first event.
    """
    befores = sites_before(analysis.events, analysis.sites.n_atoms)
    everything = [_candidate(found, befores, analysis.sites) for found in analysis.classes]
    return _on_one_way(everything)[:most]


def shown_later(analysis: EventAnalysis, later: EventAnalysis, seen: Sequence[Candidate]) -> list[Candidate]:
    """The classes of another trajectory of the same crystal that this one does not show, as probes of the model of this one.

    Parameters
    ----------
    analysis, later : EventAnalysis
        Of the trajectory of the audited model, and of that of another model, such as a later one of a campaign.
    seen : sequence of Candidate
        The classes of the first.

    Raises
    ------
    DataError
        The trajectories do not have the same atoms in the same order.
    """
    mine, other = analysis.crystal.atoms, later.crystal.atoms
    same = len(mine) == len(other) and np.array_equal(mine.numbers, other.numbers)
    if not (same and np.allclose(mine.positions, other.positions) and np.allclose(mine.cell, other.cell)):
        raise DataError(
            f"{later.name} does not have the atoms of {analysis.name} in the same order and crystal: their event classes "
            "cannot be compared"
        )
    known = {candidate.event_class for candidate in seen}
    return [
        replace(candidate, seen=replace(candidate.seen, n_seen=0, n_later=candidate.seen.n_seen))
        for candidate in seen_classes(later)
        if candidate.event_class not in known
    ]


def _on_one_way(candidates: list[Candidate]) -> list[Candidate]:
    """Excursions on the way of another class, by the atoms of that class: their states, and so their labels, are the same."""
    lasting = {c.event_class.steps: c for c in candidates if c.event_class.kind is not EventKind.EXCURSION}
    found = []
    for candidate in candidates:
        twin = lasting.get(candidate.event_class.steps)
        if candidate.event_class.kind is EventKind.EXCURSION and twin is not None:
            motion = replace(twin.seen.motion, reach=candidate.seen.motion.reach)
            candidate = replace(candidate, seen=replace(candidate.seen, motion=motion))
        found.append(candidate)
    return found


def sites_before(events: Sequence[Event], n_atoms: int) -> dict[Event, IntArray]:
    """The site of every atom, (n_atoms,), when each of these events of one trajectory began, from the events before it."""
    moves = sorted((e for e in events if e.kind is not EventKind.EXCURSION), key=lambda e: e.end_fs)
    site, done, found = np.arange(n_atoms), 0, {}
    for event in sorted(events, key=lambda e: e.start_fs):
        while done < len(moves) and moves[done].end_fs <= event.start_fs:
            site[list(moves[done].atoms)] = moves[done].to_sites
            done += 1
        found[event] = site.copy()
    return found


def _candidate(found: ClassFound, befores: dict[Event, IntArray], sites: Sites) -> Candidate:
    home = np.arange(sites.n_atoms)
    event = min(found.events, key=lambda e: (_others_away(befores[e], e, home), e.start_fs))
    first = event is found.events[0] and found.path is not None
    frames: tuple[tuple[Role, Atoms], ...] = ()
    if found.path is not None:
        frames = tuple(zip((Role.BEFORE, Role.DURING, Role.AFTER), found.path.images, strict=True))
    motion = Motion.of(event, befores[event], sites, found.path.images[2] if first and found.path is not None else None)
    seen = SeenClass(str(found.event_class), motion, frames, len(found.events))
    return Candidate(seen, ways_of(motion, sites), found.event_class)


def _others_away(before: IntArray, event: Event, home: IntArray) -> int:
    others = np.setdiff1d(home, event.atoms)
    return int((before[others] != home[others]).sum())


def ways_of(motion: Motion, sites: Sites) -> int:
    """Number of equivalent events that the state before one allows."""
    moves = [(int(motion.before[atom]), target) for atom, target in zip(motion.atoms, motion.to_sites, strict=True)]
    return equivalent_ways(sites, moves, motion.before)


def probes(sites: Sites, seen: Sequence[Candidate]) -> list[Candidate]:
    """Ways of the perfect crystal that the trajectory does not show, one for each kind.

    An atom of each kind goes to each kind of empty site around it, which makes a vacancy and an interstitial, and changes places
    with its nearest neighbour of each other species.
    """
    home = np.arange(sites.n_atoms)
    known = {candidate.event_class.steps for candidate in seen}
    found: list[Candidate] = []
    for atom, target in empty_site_ways(sites):
        step = _step(atom, target, sites)
        event_class = EventClass(EventKind.FRENKEL, (step,))
        if event_class.steps in known:
            continue
        motion = Motion(home, (atom,), (target,))
        found.append(Candidate(SeenClass(str(event_class), motion, n_seen=0), ways_of(motion, sites), event_class))
    for first, second in _neighbouring_pairs(sites):
        steps = tuple(sorted((_step(first, second, sites), _step(second, first, sites))))
        event_class = EventClass(EventKind.EXCHANGE, steps)
        if steps in known:
            continue
        motion = Motion(home, (first, second), (second, first))
        found.append(Candidate(SeenClass(str(event_class), motion, n_seen=0), ways_of(motion, sites), event_class))
    return found


def _step(atom: int, target: int, sites: Sites) -> Step:
    return Step(sites.species[atom], sites.kinds[atom], sites.kinds[target], round(sites.shell(atom, target), 2))


def _neighbouring_pairs(sites: Sites) -> list[tuple[int, int]]:
    """One nearest pair of lattice sites for each pair of kinds of different species."""
    nearest: dict[tuple[str, str], tuple[float, int, int]] = {}
    for first in range(sites.n_atoms):
        for second in range(first + 1, sites.n_atoms):
            if sites.species[first] == sites.species[second]:
                continue
            kinds = sorted((sites.kinds[first], sites.kinds[second]))
            key = kinds[0], kinds[1]
            distance = round(sites.distance(first, second), 3)
            if key not in nearest or distance < nearest[key][0]:
                nearest[key] = (distance, first, second)
    return [(first, second) for _, first, second in nearest.values()]
