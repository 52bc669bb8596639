"""Events in the walks of a round: how many of which class, and the frames of new classes that are always labelled.

Force uncertainty alone does not flag a wrong barrier, so the first event of a class is labelled on its whole way: the
frame before it, images between, the frame after it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.campaign.ledger import Reason
from trepid.campaign.round_files import EventCount, Selection
from trepid.campaign.selection import EventFrame, EventsSeen
from trepid.campaign.walkers import Walk
from trepid.errors import DataError
from trepid.events.classes import event_class
from trepid.events.detection import Event, EventDetector, EventKind
from trepid.events.sites import Sites

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)


def find_sites(crystal: Atoms) -> Sites:
    """Sites of the crystal; lattice sites only where it is too small to tell its empty ones, which is logged."""
    try:
        return Sites.of(crystal)
    except DataError as error:
        logger.warning("events: %s; hops to empty sites are not counted", error)
        return Sites.of(crystal, empty=False)


def events_of(walk: Walk, sites: Sites) -> list[Event]:
    """Events of one walk, in order; its looks are the frames."""
    detector = EventDetector(sites)
    events: list[Event] = []
    cell = sites.cell
    for step, positions in zip(walk.steps, walk.positions, strict=True):
        events += detector.feed_arrays(positions.astype(np.float64), cell, float(step) * walk.summary.timestep_fs)
    return events + (detector.finish() if len(walk.steps) else [])


def events_seen(
    walks: Sequence[Walk], crystal: Atoms, earlier: Sequence[Selection], *, n_images: int, label: bool = True
) -> EventsSeen:
    """What the walks of a round show, given what earlier rounds have seen and labelled.

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
    """
    sites = find_sites(crystal)
    seen = {count.event_class for selection in earlier for count in selection.events}
    labelled = {
        pick.note.split(" | ")[0]
        for selection in earlier
        for pick in selection.picks
        if pick.reason == Reason.EVENT.value
    }
    counts: Counter[tuple[str, str, float]] = Counter()
    firsts: dict[str, tuple[Walk, Event]] = {}
    for walk in walks:
        for event in events_of(walk, sites):
            name = str(event_class(event, sites))
            counts[name, event.kind.value, walk.summary.temperature_K] += 1
            firsts.setdefault(name, (walk, event))
    time_ps: Counter[float] = Counter()
    for walk in walks:
        time_ps[walk.summary.temperature_K] += walk.summary.time_ps  # type: ignore[assignment] # a sum of times
    # Excursions last: an atom that came back teaches less than one that stayed.
    wanted = sorted(
        (name for name in firsts if label and name not in labelled),
        key=lambda name: firsts[name][1].kind is EventKind.EXCURSION,
    )
    return EventsSeen(
        frames=tuple(frame for name in wanted for frame in _frames(name, *firsts[name], crystal, n_images)),
        counts=tuple(
            EventCount(name, kind, temperature, n, float(time_ps[temperature]))
            for (name, kind, temperature), n in sorted(counts.items())
        ),
        new_classes=tuple(sorted(set(firsts) - seen)),
    )


def _frames(name: str, walk: Walk, event: Event, crystal: Atoms, n_images: int) -> list[EventFrame]:
    """The frame before an event, images on the way, the frame after it."""
    looks = sorted({int(k) for k in np.linspace(event.start_frame, event.end_frame, n_images + 2).round()})
    frames = []
    for number, look in enumerate(looks):
        atoms = crystal.copy()
        atoms.calc = None
        atoms.set_positions(walk.positions[look].astype(np.float64))
        where = "before" if number == 0 else "after" if number == len(looks) - 1 else "on the way"
        step = int(walk.steps[look])
        frames.append(
            EventFrame(
                atoms=atoms,
                walker=walk.summary.walker,
                step=step,
                time_fs=step * walk.summary.timestep_fs,
                temperature_K=walk.summary.temperature_K,
                note=f"{name} | {where}",
            )
        )
    return frames
