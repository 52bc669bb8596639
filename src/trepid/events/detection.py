"""Events of a trajectory: atoms that leave their sites for good, and those that nearly do.

Vocabulary
----------
core         sphere around a site; outside all cores an atom still belongs to the site whose core it was in last
arrival      an atom has entered the core of another site and is there again `dwell_fs` later without having been in the
             core of any third site or of its old one
move         one atom from its old site to a new one: from the last frame in the old core to the first in the new one
event        moves that follow one another (one atom goes where another one comes from) and overlap in time or are less than
             `dwell_fs` apart, named by what they change: see `EventKind`
excursion    an atom has gone a good part of the way to another site and was nearer to that one for `dwell_fs`, but came
             back

Assigning atoms to the core visited last keeps recrossings of a dividing surface from counting as events: the
transition-based assignment of N.-V. Buchete and G. Hummer, J. Phys. Chem. B 112, 6057 (2008), which is a form of
milestoning. Whether a change makes a vacancy, an interstitial or neither is Wigner-Seitz counting (A. Stukowski,
Modelling Simul. Mater. Sci. Eng. 18, 015012 (2010)).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from trepid.arrays import FloatArray, IntArray
from trepid.errors import ConfigError, DataError
from trepid.events.sites import Sites

_CHUNK = 256
"""Frames whose drift is removed at once."""
_MOST_OUT, _FEW_OUT = 0.5, 0.25
"""Parts of the atoms out of their cores in a frame whose atoms are in another order, and in a crystal before it."""


class EventKind(str, Enum):
    """What an event does to the crystal."""

    HOP = "hop"
    """A vacancy or an interstitial moves; several atoms take part in a concerted hop."""
    FRENKEL = "frenkel"
    """A vacancy and an interstitial are made."""
    RECOMBINATION = "recombination"
    """An interstitial fills a vacancy."""
    EXCHANGE = "exchange"
    """Atoms change places in a ring of two or more; no vacancy, no interstitial."""
    EXCURSION = "excursion"
    """An atom came close to another site and went back."""


@dataclass(frozen=True)
class DetectionSettings:
    """When motion counts as an event.

    Attributes
    ----------
    core_fraction : float
        Radius of a core in distances of its site to the nearest other one; below 0.5, where cores would touch.
    dwell_fs : float
        How long an atom must stay to have arrived; about the period of a slow vibration.
    excursion_fraction : float or None
        Least part of the way to another site that counts as an excursion; None leaves excursions out.
    hold_fs : float
        How long an event waits at most for atoms that are on their way and may turn out to take part in it.
    """

    core_fraction: float = 0.35
    dwell_fs: float = 200.0
    excursion_fraction: float | None = 0.6
    hold_fs: float = 2000.0

    def __post_init__(self) -> None:
        if not 0.0 < self.core_fraction < 0.5:
            raise ConfigError(f"core_fraction must lie between 0 and 0.5, not {self.core_fraction}")
        if not 0.0 <= self.dwell_fs < np.inf:
            raise ConfigError(f"dwell_fs must be 0 or more, not {self.dwell_fs}")
        if self.excursion_fraction is not None and not self.core_fraction < self.excursion_fraction:
            raise ConfigError(
                f"excursion_fraction must be larger than core_fraction {self.core_fraction}, not {self.excursion_fraction}"
            )
        if not 0.0 <= self.hold_fs < np.inf:
            raise ConfigError(f"hold_fs must be 0 or more, not {self.hold_fs}")


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes
    ----------
    kind : EventKind
    atoms : tuple of int
        Atoms that moved, ascending.
    species : tuple of str
        Of these atoms.
    from_sites, to_sites : tuple of int
        Where each of them came from and where it went; of an excursion, the site it came close to.
    start_frame, end_frame : int
        Last frame before the first atom left its core, first frame with the last atom in its new one (back in the old
        one); counted from 0 at the first frame the detector saw.
    start_fs, end_fs : float
        Times of these frames.
    distance_A : float
        Longest way of an atom: between its sites, or of an excursion the farthest it got from its site.
    """

    kind: EventKind
    atoms: tuple[int, ...]
    species: tuple[str, ...]
    from_sites: tuple[int, ...]
    to_sites: tuple[int, ...]
    start_frame: int
    end_frame: int
    start_fs: float
    end_fs: float
    distance_A: float


@dataclass(frozen=True)
class _Move:
    """One atom from site to site, with the frame it was seen to have stayed."""

    atom: int
    origin: int
    target: int
    start_frame: int
    start_fs: float
    end_frame: int
    end_fs: float
    seen_fs: float

    def linked(self, other: _Move, dwell_fs: float) -> bool:
        """Whether both are part of one event: what lies between them has not lasted long enough to be a state."""
        follows = self.target == other.origin or self.origin == other.target
        overlaps = self.start_fs < other.end_fs + dwell_fs and other.start_fs < self.end_fs + dwell_fs
        return self.atom != other.atom and follows and overlaps


class EventDetector:
    """Finds events in frames as they come.

    Parameters
    ----------
    sites : Sites
    settings : DetectionSettings
    start : (n_atoms,) array-like of int, optional
        The site of every atom before the first frame, for a trajectory that continues another; by default every atom is on its
        own site, and deviations count as events of the first frame.

    Notes
    -----
    `feed` returns an event when it is certain, `dwell_fs` or a little more after it has happened. Pickling keeps the
    whole state.
    """

    def __init__(
        self, sites: Sites, settings: DetectionSettings = DetectionSettings(), *, start: ArrayLike | None = None
    ) -> None:
        n = sites.n_atoms
        self.sites = sites
        self.settings = settings
        home = np.arange(n) if start is None else np.array(start, dtype=np.int64)
        if home.shape != (n,) or home.min() < 0 or home.max() >= sites.n_sites:
            raise DataError(f"start must give a site from 0 to {sites.n_sites - 1} for each of {n} atoms")
        self._site: IntArray = home
        self._confident = start is not None
        self._count = np.bincount(self._site, minlength=sites.n_sites)
        self._core = settings.core_fraction * sites.spacing_A
        self._frame = -1
        self._time = -np.inf
        self._core_frame = np.zeros(n, dtype=np.int64)
        self._core_time = np.zeros(n)
        self._out = np.zeros(n, dtype=bool)
        self._candidate = np.full(n, -1)
        self._entry_frame = np.zeros(n, dtype=np.int64)
        self._entry_time = np.zeros(n)
        self._reset_excursions(np.arange(n), fresh=True)
        self._moves: list[_Move] = []
        self._share_out = 1.0

    @property
    def n_frames(self) -> int:
        """Number of frames seen."""
        return self._frame + 1

    def __repr__(self) -> str:
        return f"EventDetector({self.n_frames} frames, {len(self.away)} atoms outside the core of their site)"

    @property
    def away(self) -> IntArray:
        """Atoms outside the core of their site in the last frame: an event in progress, or thermal motion."""
        return np.flatnonzero(self._out)

    def feed(self, frame: Atoms, time_fs: float) -> list[Event]:
        """Process the next frame; return the events that are complete.

        Raises
        ------
        DataError
            The frame does not have the atoms of the crystal in its order, time does not go forward, or most atoms of
            the first frame are not at home.
        """
        self.sites.check(frame)
        return self.feed_arrays(frame.positions, frame.cell.array, time_fs)

    def feed_arrays(self, positions: ArrayLike, cell: ArrayLike, time_fs: float) -> list[Event]:
        """As `feed`, from positions (n_atoms, 3) and cell (3, 3), A."""
        fractional, _ = self.sites.at_rest(np.asarray(positions, dtype=np.float64)[None], cell)
        return self._look(fractional[0], float(time_fs))

    def feed_frames(self, positions: ArrayLike, cells: ArrayLike, times_fs: ArrayLike) -> list[Event]:
        """As `feed` for many frames, with the same result; frames in which no atom is off its site cost next to nothing.

        Parameters
        ----------
        positions : (n_frames, n_atoms, 3) array-like
            A, wrapped or not.
        cells : (3, 3) or (n_frames, 3, 3) array-like
            A.
        times_fs : (n_frames,) array-like
        """
        fractional, _ = self.sites.at_rest(positions, cells)
        times = np.asarray(times_fs, dtype=np.float64)
        distance = np.linalg.norm(self.sites.offsets(fractional, self._site), axis=2)
        out = distance > self._core[self._site]
        busy = out.any(axis=1)
        self._check_order(out.mean(axis=1))
        n, k, events = len(fractional), 0, list[Event]()
        while k < n:
            if not (busy[k] or self._moves or self._out.any() or self._frame < 0):
                ahead = np.flatnonzero(busy[k:])
                end = k + int(ahead[0]) if ahead.size else n
                self._skip(times[k:end])
                k = end
                continue
            before = self._site.copy()
            events += self._look(fractional[k], float(times[k]), distance[k])
            k += 1
            moved = np.flatnonzero(self._site != before)
            if moved.size and k < n:
                offsets = self.sites.offsets(fractional[k:, moved], self._site[moved])
                distance[k:, moved] = np.linalg.norm(offsets, axis=2)
                busy[k:] = (distance[k:] > self._core[self._site]).any(axis=1)
        return sorted(events, key=_order)

    def finish(self) -> list[Event]:
        """Events that were waiting for atoms on their way, and excursions still under way, when no more frames come."""
        events = self._settle(wait=False)
        events += self._excursions(np.flatnonzero(self._out))
        return sorted(events, key=_order)

    def _check_order(self, share_out: FloatArray) -> None:
        """Refuse a frame in which most atoms are suddenly elsewhere; share (n_frames,) of the atoms out of their cores."""
        sudden = np.flatnonzero((share_out > _MOST_OUT) & (np.append(self._share_out, share_out[:-1]) < _FEW_OUT))
        if sudden.size:
            k = int(sudden[0])
            raise DataError(
                f"frame {self._frame + 1 + k} (counted from 0): {100 * share_out[k]:.0f} % of the atoms have left their sites "
                "since the frame before: the order of the atoms or the crystal is another one from there on, or it has melted"
            )
        self._share_out = float(share_out[-1])

    def _skip(self, times: FloatArray) -> None:
        """Frames with all atoms in the cores of their sites, like the frame before, and no event under way."""
        forward = np.diff(times, prepend=self._time) > 0
        if not forward.all():
            k = int(np.flatnonzero(~forward)[0])
            raise DataError(
                f"time must go forward: frame {self._frame + 1 + k} is at {times[k]} fs, not after the one before"
            )
        self._frame += len(times)
        self._time = float(times[-1])
        self._core_frame[:] = self._frame
        self._core_time[:] = self._time

    def _look(self, fractional: FloatArray, time: float, distance: FloatArray | None = None) -> list[Event]:
        """One frame, fractional coordinates without drift; `distance` (n_atoms,) from the present sites, where known."""
        if not time > self._time:
            raise DataError(
                f"time must go forward: frame {self._frame + 1} is at {time} fs, the one before at {self._time}"
            )
        self._frame += 1
        if self._frame == 0:
            self._first(fractional, time)
        self._time = time
        if distance is None:
            distance = np.linalg.norm(self.sites.offsets(fractional, self._site), axis=1)
        out = distance > self._core[self._site]
        events = self._excursions(np.flatnonzero(self._out & ~out))
        self._out = out
        self._candidate[~out] = -1
        self._core_frame[~out] = self._frame
        self._core_time[~out] = time
        outside = np.flatnonzero(out)
        if outside.size:
            self._follow(outside, fractional[outside], distance[outside])
        if self._moves:
            events += self._settle(wait=True)
        return sorted(events, key=_order)

    def _first(self, fractional: FloatArray, time: float) -> None:
        """Set the clocks; refuse frames whose atoms are in another order, which look like all hopping at once."""
        self._core_time[:] = time
        if not self._confident:
            away = self.sites.nearest(fractional)[0] != self._site
            if 2 * int(away.sum()) > len(away):
                raise DataError(
                    f"{int(away.sum())} of {len(away)} atoms of the first frame are not at their sites: "
                    "the order of the atoms or the cell is not that of the crystal, or the crystal has melted"
                )

    def _follow(self, atoms: IntArray, fractional: FloatArray, distance: FloatArray) -> None:
        """Atoms outside the core of their site: record their target sites and which have arrived."""
        near, gap = self.sites.nearest(fractional)
        own = self._site[atoms]
        elsewhere = near != own
        self._note_excursions(atoms[elsewhere], near[elsewhere], distance[elsewhere])
        inside = elsewhere & (gap <= self._core[near])
        fresh = inside & (self._candidate[atoms] != near)
        self._candidate[atoms[fresh]] = near[fresh]
        self._entry_frame[atoms[fresh]] = self._frame
        self._entry_time[atoms[fresh]] = self._time
        arrived = atoms[inside & (self._time - self._entry_time[atoms] >= self.settings.dwell_fs)]
        for atom in arrived:
            self._moves.append(
                _Move(
                    atom=int(atom),
                    origin=int(self._site[atom]),
                    target=int(self._candidate[atom]),
                    start_frame=int(self._core_frame[atom]),
                    start_fs=float(self._core_time[atom]),
                    end_frame=int(self._entry_frame[atom]),
                    end_fs=float(self._entry_time[atom]),
                    seen_fs=self._time,
                )
            )
        self._site[arrived] = self._candidate[arrived]
        self._candidate[arrived] = -1
        self._out[arrived] = False
        self._core_frame[arrived] = self._frame
        self._core_time[arrived] = self._time
        self._reset_excursions(arrived)

    def _settle(self, *, wait: bool) -> list[Event]:
        """Turn moves into events, each with the moves it is linked to, unless more may come."""
        groups = _linked_groups(self._moves, self.settings.dwell_fs)
        events: list[Event] = []
        kept: list[_Move] = []
        blocked: set[int] = set()
        for group in groups:
            touched = {site for move in group for site in (move.origin, move.target)}
            # The kind of an event depends on the occupation of its sites, so events sharing a site stay in order.
            if wait and (touched & blocked or self._may_grow(group)):
                blocked |= touched
                kept += group
            else:
                events.append(self._event(group))
        self._moves = sorted(kept, key=lambda move: move.seen_fs)
        return events

    def _may_grow(self, group: Sequence[_Move]) -> bool:
        """Whether an atom on its way may turn out to be a part of this event."""
        if self._time - max(move.seen_fs for move in group) > self.settings.hold_fs:
            return False
        end = max(move.end_fs for move in group) + self.settings.dwell_fs
        on_the_way = self._out & (self._core_time < end)
        pushed = np.isin(self._site, [move.target for move in group])
        following = np.isin(self._candidate, [move.origin for move in group])
        return bool((on_the_way & (pushed | following)).any())

    def _event(self, group: Sequence[_Move]) -> Event:
        """Classify a group of moves, and update the occupation."""
        n = self.sites.n_atoms
        change = Counter(move.target for move in group)
        change.subtract(move.origin for move in group)
        touched = np.array([site for site, by in change.items() if by])
        by = np.array([change[site] for site in touched], dtype=np.int64)
        if touched.size == 0:
            kind = EventKind.EXCHANGE
        else:
            room = (touched < n).astype(np.int64)
            before = self._count[touched]
            made = int((np.maximum(before + by - room, 0) - np.maximum(before - room, 0)).sum())
            kind = EventKind.FRENKEL if made > 0 else EventKind.RECOMBINATION if made < 0 else EventKind.HOP
            self._count[touched] += by
        moves = sorted(group, key=lambda move: move.atom)
        return Event(
            kind=kind,
            atoms=tuple(move.atom for move in moves),
            species=tuple(self.sites.species[move.atom] for move in moves),
            from_sites=tuple(move.origin for move in moves),
            to_sites=tuple(move.target for move in moves),
            start_frame=min(move.start_frame for move in moves),
            end_frame=max(move.end_frame for move in moves),
            start_fs=min(move.start_fs for move in moves),
            end_fs=max(move.end_fs for move in moves),
            distance_A=max(self.sites.distance(move.origin, move.target) for move in moves),
        )

    def _reset_excursions(self, atoms: IntArray, *, fresh: bool = False) -> None:
        if fresh:
            n = len(atoms)
            self._elsewhere_first, self._elsewhere_last = np.full(n, np.nan), np.full(n, np.nan)
            self._progress, self._farthest, self._toward = np.zeros(n), np.zeros(n), np.full(n, -1)
        self._elsewhere_first[atoms] = np.nan
        self._elsewhere_last[atoms] = np.nan
        self._progress[atoms] = 0.0
        self._farthest[atoms] = 0.0
        self._toward[atoms] = -1

    def _note_excursions(self, atoms: IntArray, near: IntArray, distance: FloatArray) -> None:
        """Record the farthest positions of atoms that are nearer to another site than to their own."""
        if self.settings.excursion_fraction is None:
            return
        for atom, site, length in zip(atoms, near, distance, strict=True):
            if np.isnan(self._elsewhere_first[atom]):
                self._elsewhere_first[atom] = self._time
            self._elsewhere_last[atom] = self._time
            progress = length / self.sites.distance(int(self._site[atom]), int(site))
            if progress > self._progress[atom]:
                self._progress[atom], self._farthest[atom], self._toward[atom] = progress, length, site

    def _excursions(self, atoms: IntArray) -> list[Event]:
        """Excursions of atoms that are back in their cores; their records are cleared."""
        fraction = self.settings.excursion_fraction
        if fraction is None or atoms.size == 0:
            return []
        lasted = self._elsewhere_last[atoms] - self._elsewhere_first[atoms]
        counted = atoms[(self._progress[atoms] >= fraction) & (lasted >= self.settings.dwell_fs)]
        events = [
            Event(
                kind=EventKind.EXCURSION,
                atoms=(int(atom),),
                species=(self.sites.species[atom],),
                from_sites=(int(self._site[atom]),),
                to_sites=(int(self._toward[atom]),),
                start_frame=int(self._core_frame[atom]),
                end_frame=self._frame,
                start_fs=float(self._core_time[atom]),
                end_fs=self._time,
                distance_A=float(self._farthest[atom]),
            )
            for atom in counted
        ]
        self._reset_excursions(atoms)
        return events


def detect_events(
    frames: Iterable[Atoms] | ArrayLike,
    sites: Sites,
    settings: DetectionSettings = DetectionSettings(),
    *,
    times_fs: ArrayLike,
    cells: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> list[Event]:
    """All events of a trajectory, in order of the time they were over.

    Parameters
    ----------
    frames : iterable of Atoms, or (n_frames, n_atoms, 3) array-like
        The trajectory, or positions alone, A, wrapped or not.
    sites : Sites
    settings : DetectionSettings
    times_fs : float or (n_frames,) array-like
        Time between two frames, or the time of every frame, ascending. Frames should not be farther apart than
        `dwell_fs`, or short visits are missed.
    cells : (3, 3) or (n_frames, 3, 3) array-like, optional
        With positions; by default the cell of the crystal.
    start : (n_atoms,) array-like of int, optional
        As in `EventDetector`.

    Raises
    ------
    DataError
        As `EventDetector.feed`, or the numbers of frames, times and cells differ.
    """
    detector = EventDetector(sites, settings, start=start)
    listed = frames if isinstance(frames, np.ndarray) else list(frames)  # type: ignore[arg-type]
    if len(listed) == 0:
        return []
    if isinstance(listed[0], Atoms):
        if cells is not None:
            raise DataError("frames have cells of their own; give cells with positions only")
        for frame in listed:
            sites.check(frame)
        positions = np.array([frame.positions for frame in listed])
        box = np.array([frame.cell.array for frame in listed])
    else:
        positions = np.asarray(listed, dtype=np.float64)
        box = np.asarray(sites.cell if cells is None else cells, dtype=np.float64)
    n = len(positions)
    if box.ndim == 3 and len(box) != n:
        raise DataError(f"{n} frames, but {len(box)} cells")
    times = np.asarray(times_fs, dtype=np.float64)
    times = times * np.arange(n) if times.ndim == 0 else times
    if times.shape != (n,):
        raise DataError(f"{n} frames, but times of shape {times.shape}")
    events: list[Event] = []
    for first in range(0, n, _CHUNK):
        part = slice(first, first + _CHUNK)
        events += detector.feed_frames(positions[part], box[part] if box.ndim == 3 else box, times[part])
    return sorted(events + detector.finish(), key=_order)


def _order(event: Event) -> tuple[float, float, tuple[int, ...]]:
    return (event.end_fs, event.start_fs, event.atoms)


def _linked_groups(moves: Sequence[_Move], dwell_fs: float) -> list[list[_Move]]:
    """Connected sets of linked moves, in the order of their first arrival."""
    groups: list[list[_Move]] = []
    for move in moves:
        joined = [group for group in groups if any(move.linked(other, dwell_fs) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([move, *(other for group in joined for other in group)])
    return sorted(groups, key=lambda group: min(move.seen_fs for move in group))
