"""Events in the walks of a round: counts by class, and the frames of new classes, which are always labelled.

Force uncertainty alone does not detect a wrong barrier, so the first event of a class is labelled along its path: the frame
before it, images in between, the frame after it, and the final state relaxed with the model (its inherent structure),
whose energy error is not hidden by thermal motion.

Events that follow a new one in the same walk are not labelled in this round. They started from a configuration without
labels, and a crystal that disintegrates on a wrong model would fill the batch with fragments; real events occur again in
the next round.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.campaign.selection import EventFrame, EventsSeen
from trepid.data.geometry import MIN_DISTANCE_FACTOR, fused_atoms
from trepid.errors import DataError, TrepidError
from trepid.events.classes import event_class
from trepid.events.detection import Event, EventDetector, EventKind
from trepid.events.paths import quench
from trepid.events.sites import Sites
from trepid.runs.ledger_events import Reason
from trepid.runs.round_files import EventCount, Selection
from trepid.runs.walk_files import Walk

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

logger = logging.getLogger(__name__)

QUENCH_FORCE_EV_PER_A, QUENCH_STEPS = 0.03, 200
"""Convergence of a relaxed final state, and most steps: it is to be labelled, and need not be a perfect minimum."""


def find_sites(crystal: Atoms) -> Sites:
    """Sites of the crystal; lattice sites only where it is too small to identify empty ones, which is logged."""
    try:
        return Sites.of(crystal)
    except DataError as error:
        logger.warning("events: %s; hops to empty sites are not counted", error)
        return Sites.of(crystal, empty=False)


def events_of(walk: Walk, sites: Sites) -> list[Event]:
    """Events of one walk, in order; its checks are the frames."""
    detector = EventDetector(sites)
    events: list[Event] = []
    cell = sites.cell
    for step, positions in zip(walk.steps, walk.positions, strict=True):
        events += detector.feed_arrays(positions.astype(np.float64), cell, float(step) * walk.summary.timestep_fs)
    return events + (detector.finish() if len(walk.steps) else [])


def events_seen(
    walks: Sequence[Walk],
    crystal: Atoms,
    earlier: Sequence[Selection],
    *,
    n_images: int,
    label: bool = True,
    quencher: Calculator | None = None,
) -> EventsSeen:
    """Events in the walks of a round, given those that earlier rounds have found and labelled.

    Events of biased walks are labelled like others, but not counted: their rates are not those of an equilibrium.

    Parameters
    ----------
    walks : sequence of Walk
    crystal : Atoms
    earlier : sequence of Selection
        Of the rounds before.
    n_images : int
        Frames between the one before and the one after an event.
    label : bool
        Whether new classes are to be labelled; False counts only.
    quencher : Calculator or None
        Of the model: the final state of a new class is relaxed with it and labelled too, where it differs from the state
        before the event; None relaxes nothing.
    """
    sites = find_sites(crystal)
    found = {count.event_class for selection in earlier for count in selection.events}
    labelled = {pick.event_class for selection in earlier for pick in selection.picks if pick.reason is Reason.EVENT}
    counts: Counter[tuple[str, str, float]] = Counter()
    onsets: dict[tuple[str, str, float], list[float]] = {}
    time_ps: Counter[float] = Counter()
    firsts: dict[str, tuple[Walk, Event]] = {}
    for walk in walks:
        known_until = math.inf
        for event in sorted(events_of(walk, sites), key=lambda event: event.start_frame):
            name = str(event_class(event, sites))
            key = name, event.kind.value, walk.summary.temperature_K
            counts[key] += 0 if walk.summary.biased else 1
            if not walk.summary.biased:
                onsets.setdefault(key, []).append(time_ps[walk.summary.temperature_K] + event.start_fs / 1000)
            if event.start_frame >= known_until:
                continue
            firsts.setdefault(name, (walk, event))
            if name not in labelled and event.kind is not EventKind.EXCURSION:
                known_until = min(known_until, event.end_frame)
        if not walk.summary.biased:
            time_ps[walk.summary.temperature_K] += walk.summary.time_ps  # type: ignore[assignment] # a sum of times
    # Excursions last: an atom that returned to its site carries less information than one that stayed.
    fresh = sorted(
        (name for name in firsts if label and name not in labelled),
        key=lambda name: firsts[name][1].kind is EventKind.EXCURSION,
    )
    return EventsSeen(
        frames=tuple(
            frame
            for name in fresh
            for frame in (
                *_frames(name, *firsts[name], crystal, n_images),
                *(() if quencher is None else _relaxed(name, *firsts[name], crystal, sites, quencher)),
            )
        ),
        counts=tuple(
            EventCount(
                name,
                kind,
                temperature,
                n,
                float(time_ps[temperature]),
                tuple(onsets.get((name, kind, temperature), ())),
            )
            for (name, kind, temperature), n in sorted(counts.items())
        ),
        new_classes=tuple(sorted({name for name, _, _ in counts} - found)),
    )


def _frames(name: str, walk: Walk, event: Event, crystal: Atoms, n_images: int) -> list[EventFrame]:
    """The frame before an event, images on the way, the frame after it."""
    checks = sorted({int(k) for k in np.linspace(event.start_frame, event.end_frame, n_images + 2).round()})
    frames = []
    for number, check in enumerate(checks):
        where = "before" if number == 0 else "after" if number == len(checks) - 1 else "on the way"
        frames.append(_event_frame(_atoms_at(walk, check, crystal), walk, check, name, where))
    return frames


def _relaxed(
    name: str, walk: Walk, event: Event, crystal: Atoms, sites: Sites, quencher: Calculator
) -> list[EventFrame]:
    """The inherent structure of a final state; nothing where it is the initial state again, or unphysical."""
    if event.kind is EventKind.EXCURSION:
        return []
    try:
        rest = quench(
            _atoms_at(walk, event.end_frame, crystal), quencher, fmax=QUENCH_FORCE_EV_PER_A, max_steps=QUENCH_STEPS
        )
        if not (np.isfinite(rest.atoms.positions).all() and np.isfinite(rest.max_force)):
            raise DataError("positions or forces are not finite")
        if fused := fused_atoms(rest.atoms, factor=MIN_DISTANCE_FACTOR):
            raise DataError(fused)
    except TrepidError as error:
        logger.warning("events: the final state of %s cannot be relaxed: %s", name, error)
        return []
    before = sites.assign(_atoms_at(walk, event.start_frame, crystal)).sites[list(event.atoms)]
    if np.array_equal(sites.assign(rest.atoms).sites[list(event.atoms)], before):
        logger.info("events: the final state of %s is no minimum of the model: it relaxes to the initial state", name)
        return []
    return [_event_frame(rest.atoms, walk, event.end_frame, name, "quenched")]


def _atoms_at(walk: Walk, check: int, crystal: Atoms) -> Atoms:
    atoms = crystal.copy()
    atoms.calc = None
    atoms.set_positions(walk.positions[check].astype(np.float64))
    return atoms


def _event_frame(atoms: Atoms, walk: Walk, check: int, event_class: str, where: str) -> EventFrame:
    step = int(walk.steps[check])
    return EventFrame(
        atoms=atoms,
        walker=walk.summary.walker,
        step=step,
        time_fs=step * walk.summary.timestep_fs,
        temperature_K=walk.summary.temperature_K,
        event_class=event_class,
        note=f"{event_class} | {where}",
    )
