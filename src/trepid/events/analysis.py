"""The events of a whole trajectory: found while it is read, then counted by class.

The trajectory is read once, a chunk at a time, whatever its length. Of the first event of every class the frames before, on
and after it are kept.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from trepid.anharmonicity.measure import NO_FORCE_eV_per_A
from trepid.arrays import FloatArray
from trepid.data.trajectory import Chunk, Trajectory, open_trajectory
from trepid.errors import ConfigError, DataError
from trepid.events.alignment import MOST_AWAY, AlignedCrystal, align_crystal
from trepid.events.classes import EventClass, Jump, event_class, jumps
from trepid.events.counting import ClassRate, WaitingTimes, class_rate
from trepid.events.detection import DetectionSettings, Event, EventDetector, EventKind
from trepid.events.sites import Sites

if TYPE_CHECKING:
    from trepid.anharmonicity.harmonic import HarmonicReference

MOST_INTERVAL = 10.0
"""Frames farther apart than this many dwell times do not tell which moves belong together."""
JUMP_WINDOW_FS = 2000.0
"""Time over which a level of sigma^A is taken; see `trepid.events.classes.jumps`."""
_LEAST_JUMP_WINDOW = 20
_PATH_FRAMES = 60
"""Points of a path that are kept."""
_BUFFER_NUMBERS = 3 * 64 * 20_000
"""Coordinates of past frames that are kept for paths."""


@dataclass(frozen=True)
class EventSettings:
    """How a trajectory is analysed.

    Attributes
    ----------
    detection : DetectionSettings
    drift_species : str or None
        Species that defines the drift; the heaviest if None.
    equilibrate_ps : float
        Time at the beginning whose events are found but not counted.
    level : float
        Of the intervals of rates.
    seed : int
        Of the test for bursts.
    """

    detection: DetectionSettings = field(default_factory=DetectionSettings)
    drift_species: str | None = None
    equilibrate_ps: float = 0.0
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.equilibrate_ps < np.inf:
            raise ConfigError(f"the time to equilibrate must be 0 or more, not {self.equilibrate_ps:g} ps")
        if not 0.0 < self.level < 1.0:
            raise ConfigError(f"the level of the intervals must lie between 0 and 1, not {self.level:g}")


@dataclass(frozen=True, eq=False)
class EventPath:
    """What an event looked like.

    Attributes
    ----------
    frames : tuple of int
        Of the trajectory: the one before the event, one on its way, the one after it.
    images : tuple of 3 Atoms
        These frames in the order of the crystal's sites, in their own cells.
    at_rest : (3, n_atoms, 3) array
        The same in the cell of the crystal, without drift, A.
    tracks : (n_points, n_moving, 3) array
        The atoms of the event from the first to the last of these frames, unwrapped, in the cell of the crystal, A.
    """

    frames: tuple[int, int, int]
    images: tuple[Atoms, Atoms, Atoms]
    at_rest: FloatArray
    tracks: FloatArray


@dataclass(frozen=True, eq=False)
class ClassFound:
    """A class of events in a trajectory.

    Attributes
    ----------
    event_class : EventClass
    events : tuple of Event
        In order of their onsets, those of the equilibration included.
    rate : ClassRate
        Of the events counted.
    waiting : WaitingTimes
        Between these.
    atoms : tuple of (int, int)
        Numbers of the atoms that took part, and how often, the most frequent first.
    path : EventPath or None
        Of the first event; None where it lies too far back when it is certain.
    """

    event_class: EventClass
    events: tuple[Event, ...]
    rate: ClassRate
    waiting: WaitingTimes
    atoms: tuple[tuple[int, int], ...]
    path: EventPath | None

    @property
    def mean_duration_fs(self) -> float:
        """From leaving the old core to entering the new one (or the old one again)."""
        return float(np.mean([event.end_fs - event.start_fs for event in self.events]))


@dataclass(frozen=True, eq=False)
class SigmaASeries:
    """sigma^A frame by frame, and its jumps.

    Attributes
    ----------
    times_ps, values : (n,) arrays
        Of the frames whose forces are not all zero.
    sigma_a : float
        Of all frames together.
    jumps : tuple of Jump
        Indices into the two arrays.
    window : int
        Frames over which a level was taken.
    """

    times_ps: FloatArray
    values: FloatArray
    sigma_a: float
    jumps: tuple[Jump, ...]
    window: int


@dataclass(frozen=True, eq=False)
class EventAnalysis:
    """Events of a trajectory.

    Attributes
    ----------
    name : str
        Of the trajectory.
    crystal : AlignedCrystal
    sites : Sites
    settings : EventSettings
    classes : tuple of ClassFound
        The most frequent first.
    n_frames : int
    interval_fs : float
        Mean time between two frames.
    duration_ps, counted_ps : float
        Of the trajectory, and of its part whose events are counted.
    volume_A3 : (float, float)
        Least and largest volume of the cell.
    off_home : (n, 2) array
        Times, ps, and the number of atoms that do not belong to their own site.
    displaced_at_start : int
        Atoms that belonged to another site from the first frame on.
    sigma_a : SigmaASeries or None
    remarks : tuple of str
        What is worth telling about the trajectory.
    """

    name: str
    crystal: AlignedCrystal
    sites: Sites
    settings: EventSettings
    classes: tuple[ClassFound, ...]
    n_frames: int
    interval_fs: float
    duration_ps: float
    counted_ps: float
    volume_A3: tuple[float, float]
    off_home: FloatArray
    displaced_at_start: int
    sigma_a: SigmaASeries | None
    remarks: tuple[str, ...]

    @property
    def events(self) -> list[Event]:
        """All events, in order of their onsets."""
        return sorted(
            (e for found in self.classes for e in found.events), key=lambda e: (e.start_fs, e.end_fs, e.atoms)
        )

    def __repr__(self) -> str:
        counted = ", ".join(f"{found.rate.n} {found.event_class}" for found in self.classes[:3])
        more = f", and {len(self.classes) - 3} more classes" if len(self.classes) > 3 else ""
        return f"EventAnalysis({self.n_frames} frames, {self.duration_ps:g} ps: {counted or 'no events'}{more})"


def analyse_events(
    source: str | Path | Sequence[Atoms],
    crystal: Atoms,
    *,
    interval_fs: float | None = None,
    species: Sequence[str] = (),
    settings: EventSettings = EventSettings(),
    harmonic: Callable[[AlignedCrystal], HarmonicReference] | None = None,
    forces: str = "",
    progress: Callable[[int, float], None] | None = None,
) -> EventAnalysis:
    """Find the events of a trajectory, reading it once.

    Parameters
    ----------
    source : path, or sequence of Atoms
        As `trepid.data.trajectory.open_trajectory`.
    crystal : Atoms
        At rest; the supercell of the trajectory, or a cell that it is a multiple of, in any order.
    interval_fs : float, optional
        Time between two frames, fs, where the file does not tell it.
    species : sequence of str
        Elements of the types of a LAMMPS dump that has no elements; by default those of the crystal, where it has the same order.
    settings : EventSettings
    harmonic : callable, optional
        Gives the force constants of the crystal of the trajectory; with it, and forces in the trajectory, sigma^A is measured.
    forces : str
        Name of the column of the forces, where it is not a usual one.
    progress : callable, optional
        Called after every chunk with the number of frames and the time, ps.

    Raises
    ------
    DataError
        The file cannot be read, its atoms are not those of the crystal, nothing tells its times, or it has too few frames.
    """
    with open_trajectory(
        source, interval_fs=interval_fs, species=species, forces=None if harmonic is None else forces
    ) as trajectory:
        return _Analysis(trajectory, crystal, settings, harmonic).run(progress)


class _Analysis:
    """One pass over a trajectory. Entry point `run`; methods below in call order."""

    def __init__(
        self,
        trajectory: Trajectory,
        crystal: Atoms,
        settings: EventSettings,
        harmonic: Callable[[AlignedCrystal], HarmonicReference] | None,
    ) -> None:
        self.trajectory, self.settings = trajectory, settings
        symbols = trajectory.symbols or _species_of_types(trajectory, crystal)
        self.aligned = align_crystal(
            crystal, symbols, trajectory.first.positions, trajectory.first.cell, name=trajectory.name
        )
        without_cell = self.aligned.atoms.cell.complete().array if trajectory.first.cell is None else None
        trajectory.named(symbols, without_cell)
        self.remarks = list(self.aligned.remarks)
        self.sites = self._sites()
        self.cells = _CellFollower(self.sites)
        self.harmonic = None
        if harmonic is not None and not trajectory.has_forces:
            self.remarks.append(f"{trajectory.name} has no forces: sigma^A needs them")
        elif harmonic is not None:
            self.harmonic = harmonic(self.aligned).in_order_of(self.aligned.atoms, where="the crystal").matrix
        self.buffer = _Buffer(self.sites)
        self.paths: dict[EventClass, EventPath | None] = {}
        self.found: dict[EventClass, list[Event]] = {}
        self.detector: EventDetector | None = None
        self.start = np.arange(self.sites.n_atoms)
        self.sums: list[FloatArray] = []
        self.volumes = (np.inf, 0.0)
        self.n_frames, self.end_fs, self.longest_fs, self.last_fs = 0, 0.0, 0.0, 0.0

    def run(self, progress: Callable[[int, float], None] | None) -> EventAnalysis:
        for chunk in self.trajectory.chunks():
            self._use(chunk)
            if progress is not None:
                progress(self.n_frames, self.end_fs / 1000.0)
        if self.n_frames < 2:
            raise DataError(f"{self.trajectory.name} has {self.n_frames} frame; events need 2 or more")
        assert self.detector is not None
        self._keep(self.detector.finish())
        return self._result()

    def _sites(self) -> Sites:
        try:
            return Sites.of(self.aligned.atoms, drift_species=self.settings.drift_species)
        except DataError as error:
            sites = Sites.of(self.aligned.atoms, empty=False, drift_species=self.settings.drift_species)
            self.remarks.append(f"{error}; hops to empty sites are not found")
            return sites

    def _use(self, chunk: Chunk) -> None:
        cells = self.cells.followed(chunk.cells)
        volumes = np.abs(np.linalg.det(cells))
        self.volumes = min(self.volumes[0], float(volumes.min())), max(self.volumes[1], float(volumes.max()))
        self._check_times(chunk)
        if self.detector is None:
            self.detector = self._started(chunk, cells)
        self.buffer.add(chunk, cells)
        try:
            events = self.detector.feed_frames(chunk.positions, cells, chunk.times_fs)
        except DataError as error:
            raise DataError(f"{self.trajectory.name}: {error}") from error
        self._keep(events)
        if chunk.forces is not None and self.harmonic is not None:
            self._measure(chunk, cells)
        self.n_frames += len(chunk)
        self.end_fs = float(chunk.times_fs[-1])

    def _check_times(self, chunk: Chunk) -> None:
        steps = np.diff(chunk.times_fs, prepend=self.last_fs)
        self.last_fs = float(chunk.times_fs[-1])
        self.longest_fs = max(self.longest_fs, float(steps.max()))
        dwell = self.settings.detection.dwell_fs
        typical = float(np.median(steps[1:])) if len(steps) > 1 else 0.0
        if typical > MOST_INTERVAL * max(dwell, 1.0):
            raise DataError(
                f"{self.trajectory.name}: frames are {typical:g} fs apart, too far for a dwell time of {dwell:g} fs: which "
                f"moves belong together cannot be told. Save frames every {dwell:g} fs, or give a dwell time of "
                f"{typical / MOST_INTERVAL:g} fs or more if atoms stay that long"
            )

    def _started(self, chunk: Chunk, cells: FloatArray) -> EventDetector:
        """A detector that knows which atoms are on other sites from the beginning."""
        dwell = chunk.times_fs[0] + self.settings.detection.dwell_fs
        last = int(np.searchsorted(chunk.times_fs, dwell))
        if last >= len(chunk):
            last = len(chunk) - 1
        seen = [0, last // 2, last]
        fractional, _ = self.sites.at_rest(chunk.positions[seen], cells[seen])
        first, gap = self.sites.nearest(fractional[0])
        core = self.settings.detection.core_fraction * self.sites.spacing_A
        home = np.arange(self.sites.n_atoms)
        there = (first != home) & (gap <= core[first])
        for row in fractional[1:]:
            site, gap = self.sites.nearest(row)
            there &= (site == first) & (gap <= core[first])
        if (first != home).mean() > MOST_AWAY:
            raise DataError(
                f"{self.trajectory.name}: {int((first != home).sum())} of {len(home)} atoms of the first frame are not at their "
                "sites: the crystal is another one, or has melted"
            )
        n_displaced = int(there.sum())
        if n_displaced == 0:
            return EventDetector(self.sites, self.settings.detection)
        self.start = np.where(there, first, home)
        self.remarks.append(
            f"{n_displaced} atoms are on other sites than their own from the first frame on: taken as they are, no events"
        )
        return EventDetector(self.sites, self.settings.detection, start=self.start)

    def _keep(self, events: Sequence[Event]) -> None:
        for event in events:
            name = event_class(event, self.sites)
            self.found.setdefault(name, []).append(event)
            if name not in self.paths:
                self.paths[name] = self.buffer.path(event)

    def _measure(self, chunk: Chunk, cells: FloatArray) -> None:
        """Sums of squares of sigma^A. The drift does not matter: force constants give no force for it."""
        assert self.harmonic is not None
        assert chunk.forces is not None
        fractional, _ = self.sites.at_rest(chunk.positions, cells)
        n = len(chunk)
        u = self.sites.offsets(fractional, slice(0, self.sites.n_atoms)).reshape(n, -1)
        forces = (chunk.forces @ self.aligned.rotation).reshape(n, -1)
        rest = forces + u @ self.harmonic
        self.sums.append(np.stack([chunk.times_fs / 1000.0, (rest**2).sum(axis=1), (forces**2).sum(axis=1)], axis=1))

    # ------------------------------------------------------------------ the result

    def _result(self) -> EventAnalysis:
        settings, begin = self.settings, self.settings.equilibrate_ps
        duration = self.end_fs / 1000.0
        dwell = settings.detection.dwell_fs
        if duration <= begin:
            raise DataError(
                f"{self.trajectory.name} is {duration:g} ps long; nothing is left after {begin:g} ps of equilibration"
            )
        if self.end_fs < 2 * dwell:
            raise DataError(
                f"{self.trajectory.name} is {self.end_fs:g} fs long ({self.n_frames} frames); two dwell times ({2 * dwell:g} fs) "
                "are the least in which an event can be told"
            )
        if self.longest_fs > max(dwell, 1e-9) * (1 + 1e-6):
            self.remarks.append(
                f"frames are up to {self.longest_fs:g} fs apart, more than the dwell time of {dwell:g} fs: shorter "
                "visits are missed, and rates are lower bounds"
            )
        low, high = self.volumes
        if high / low - 1 > 1e-4:
            self.remarks.append(
                f"the cell changes: volumes of {low:.5g} to {high:.5g} A^3; sites are scaled with it"
                + (", and sigma^A, which is of one volume, is not exact" if self.sums else "")
            )
        if self.cells.n_flipped:
            self.remarks.append(
                f"{self.cells.n_flipped} frames have other cell vectors of the same lattice; taken back"
            )
        counted = duration - begin
        classes = [self._class(name, events, begin, counted) for name, events in self.found.items()]
        return EventAnalysis(
            name=self.trajectory.name,
            crystal=self.aligned,
            sites=self.sites,
            settings=settings,
            classes=tuple(sorted(classes, key=lambda found: (-found.rate.n, found.event_class))),
            n_frames=self.n_frames,
            interval_fs=self.end_fs / (self.n_frames - 1),
            duration_ps=duration,
            counted_ps=counted,
            volume_A3=self.volumes,
            off_home=self._off_home(),
            displaced_at_start=int((self.start != np.arange(self.sites.n_atoms)).sum()),
            sigma_a=self._sigma_a(),
            remarks=(*self.remarks, *self.trajectory.remarks),
        )

    def _class(self, name: EventClass, events: list[Event], begin_ps: float, counted_ps: float) -> ClassFound:
        ordered = sorted(events, key=lambda event: (event.start_fs, event.end_fs, event.atoms))
        onsets = np.array([event.start_fs / 1000.0 - begin_ps for event in ordered])
        onsets = onsets[onsets >= 0]
        atoms = Counter(atom for event in ordered for atom in event.atoms)
        return ClassFound(
            event_class=name,
            events=tuple(ordered),
            rate=class_rate(onsets, counted_ps, level=self.settings.level, seed=self.settings.seed),
            waiting=WaitingTimes.of(onsets),
            atoms=tuple(sorted(atoms.items(), key=lambda item: (-item[1], item[0]))),
            path=self.paths[name],
        )

    def _off_home(self) -> FloatArray:
        """Number of atoms that belong to another site than their own, at the beginning and after every event."""
        away = set(np.flatnonzero(self.start != np.arange(self.sites.n_atoms)).tolist())
        steps = [(0.0, float(len(away)))]
        for event in sorted((e for events in self.found.values() for e in events), key=lambda e: (e.end_fs, e.atoms)):
            if event.kind is EventKind.EXCURSION:
                continue
            for atom, site in zip(event.atoms, event.to_sites, strict=True):
                (away.discard if atom == site else away.add)(atom)
            steps.append((event.end_fs / 1000.0, float(len(away))))
        return np.array(steps)

    def _sigma_a(self) -> SigmaASeries | None:
        if not self.sums:
            return None
        table = np.concatenate(self.sums)
        table = table[table[:, 2] > 3 * self.sites.n_atoms * NO_FORCE_eV_per_A**2]
        if len(table) == 0:
            self.remarks.append("all forces of the trajectory are zero: no sigma^A")
            return None
        values = np.sqrt(table[:, 1] / table[:, 2])
        interval = self.end_fs / (self.n_frames - 1)
        window = max(_LEAST_JUMP_WINDOW, round(JUMP_WINDOW_FS / interval))
        return SigmaASeries(
            times_ps=table[:, 0],
            values=values,
            sigma_a=float(np.sqrt(table[:, 1].sum() / table[:, 2].sum())),
            jumps=tuple(jumps(values, window=window)),
            window=window,
        )


def _species_of_types(trajectory: Trajectory, crystal: Atoms) -> tuple[str, ...]:
    """Elements of the types of a dump, from the crystal, where its order gives one element to each type."""
    types = trajectory.types or ()
    n_times = len(types) // len(crystal)
    given: dict[int, set[str]] = {}
    if n_times and n_times * len(crystal) == len(types):
        symbols = list(map(str, crystal.symbols))
        # ASE repeats whole cells; LAMMPS's own builder (and pymatgen) repeat atom by atom.
        for order in (symbols * n_times, [s for s in symbols for _ in range(n_times)]):
            given = {}
            for kind, symbol in zip(types, order, strict=True):
                given.setdefault(kind, set()).add(symbol)
            if all(len(names) == 1 for names in given.values()):
                named = {kind: next(iter(names)) for kind, names in given.items()}
                told = ", ".join(f"{kind} is {symbol}" for kind, symbol in sorted(named.items()))
                trajectory.remarks.append(
                    f"{trajectory.name} has no elements: by the order of the crystal, type {told}; --species says otherwise"
                )
                return tuple(named[kind] for kind in types)
    raise DataError(
        f"{trajectory.name} has types {', '.join(map(str, sorted(set(types))))} and no elements, and the order of the crystal does "
        "not tell them: give the element of each type in turn with --species"
    )


class _CellFollower:
    """Cells whose vectors jump by lattice vectors, as LAMMPS flips its boxes, taken back to those of the crystal."""

    def __init__(self, sites: Sites) -> None:
        self.pbc = sites.pbc
        self.before: FloatArray | None = None
        self.n_flipped = 0

    def followed(self, cells: FloatArray) -> FloatArray:
        if self.before is None:
            self.before = cells[0]
        if np.abs(cells - self.before).max() <= 0.2 * np.abs(self.before).max():
            self.before = cells[-1]
            return cells
        out = cells.copy()
        for k, cell in enumerate(cells):
            # In units of the last cell: nearly the unit matrix, or a whole matrix of determinant one after a flip.
            steps = np.rint(cell @ np.linalg.inv(self.before))
            if round(abs(np.linalg.det(steps))) == 1 and not np.array_equal(steps, np.eye(3)):
                out[k] = np.linalg.inv(steps) @ cell
                self.n_flipped += 1
            self.before = out[k]
        return out


@dataclass(eq=False)
class _Buffer:
    """The last frames, for the paths of events that become certain later."""

    sites: Sites
    chunks: deque[tuple[Chunk, FloatArray]] = field(default_factory=deque)

    def add(self, chunk: Chunk, cells: FloatArray) -> None:
        self.chunks.append((chunk, cells))
        while len(self.chunks) > 2 and sum(c.positions.size for c, _ in self.chunks) > _BUFFER_NUMBERS:
            self.chunks.popleft()

    def path(self, event: Event) -> EventPath | None:
        """None where the beginning of the event is no longer there."""
        first, last = event.start_frame, event.end_frame
        if not self.chunks or first < self.chunks[0][0].first:
            return None
        numbers = np.unique(np.linspace(first, last, min(_PATH_FRAMES, last - first + 1)).round().astype(int))
        frames = [self._frame(int(number)) for number in numbers]
        positions, cells = np.array([f[0] for f in frames]), np.array([f[1] for f in frames])
        fractional, _ = self.sites.at_rest(positions, cells)
        moving, origin = list(event.atoms), list(event.from_sites)
        start = self.sites.positions[origin] + self.sites.offsets(fractional[:1, moving], np.array(origin))[0]
        steps = np.diff(fractional[:, moving], axis=0)
        steps -= np.where(self.sites.pbc, np.rint(steps), 0.0)
        tracks = start + np.concatenate([np.zeros((1, len(moving), 3)), np.cumsum(steps, axis=0) @ self.sites.cell])
        # On the way: where the atoms of the event are farthest from both ends.
        ends = (
            np.linalg.norm(tracks - tracks[0], axis=2).max(axis=1),
            np.linalg.norm(tracks - tracks[-1], axis=2).max(axis=1),
        )
        middle = int(np.argmax(np.minimum(*ends)))
        chosen = [0, middle, len(numbers) - 1]
        home = np.arange(self.sites.n_atoms)
        at_rest = self.sites.positions[home] + self.sites.offsets(fractional[chosen], home)
        symbols = self.sites.species
        images = [Atoms(symbols, positions=positions[k], cell=cells[k], pbc=self.sites.pbc) for k in chosen]
        return EventPath(
            frames=(int(numbers[0]), int(numbers[middle]), int(numbers[-1])),
            images=(images[0], images[1], images[2]),
            at_rest=at_rest,
            tracks=tracks,
        )

    def _frame(self, number: int) -> tuple[FloatArray, FloatArray]:
        for chunk, cells in self.chunks:
            if chunk.first <= number < chunk.first + len(chunk):
                return chunk.positions[number - chunk.first], cells[number - chunk.first]
        raise AssertionError(f"frame {number} is not in the buffer")


def class_index(analysis: EventAnalysis) -> dict[EventClass, int]:
    """Number of every class, from 1, in the order of `EventAnalysis.classes`."""
    return {found.event_class: k for k, found in enumerate(analysis.classes, 1)}
