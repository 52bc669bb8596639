from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from trepid.errors import ConfigError, DataError
from trepid.events.detection import DetectionSettings, Event, EventDetector, EventKind, detect_events
from trepid.events.sites import Sites

DT = 20.0
CRYSTAL = bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(2)
SITES = Sites.of(CRYSTAL)
OCTAHEDRAL = [k for k, kind in enumerate(SITES.kinds) if kind == "empty 4Cu6I"]
COPPER = [k for k, symbol in enumerate(SITES.species) if symbol == "Cu"]


def vibration(rng: np.random.Generator, n_frames: int, n_atoms: int, std: np.ndarray, dt: float = DT) -> np.ndarray:
    """Damped oscillators in a heat bath: period 700 fs, correlated over some 300 fs, (n_frames, n_atoms, 3)."""
    memory = np.exp(-dt / 300.0)
    poles = [1.0, -2 * memory * np.cos(2 * np.pi * dt / 700.0), memory**2]
    burn = int(3000 / dt) + 1
    x = lfilter([1.0], poles, rng.normal(size=(n_frames + burn, n_atoms, 3)), axis=0)[burn:]
    # Unit variance of an AR(2) process with these coefficients.
    a1, a2 = -poles[1], -poles[2]
    variance = (1 - a2) / ((1 + a2) * ((1 - a2) ** 2 - a1**2))
    return x / np.sqrt(variance) * np.asarray(std)[:, None]


@dataclass
class HotCrystal:
    """A vibrating, drifting, breathing crystal whose atoms are moved by hand."""

    n_frames: int
    seed: int = 0
    copper_std: float = 0.30
    iodine_std: float = 0.18
    dt: float = DT
    drift_A_per_ps: float = 1.3
    breathing: float = 0.01
    centres: np.ndarray = field(init=False)
    at: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.centres = np.repeat(CRYSTAL.positions[None], self.n_frames, axis=0)
        self.at = np.arange(len(CRYSTAL))

    def move(self, atom: int, site: int, time_fs: float, duration_fs: float = 240.0) -> None:
        """From the present site to another one, smoothly."""
        step = (SITES.positions[site] - SITES.positions[self.at[atom]]) @ np.linalg.inv(SITES.cell)
        step = (step - np.rint(step)) @ SITES.cell
        part = np.clip((np.arange(self.n_frames) * self.dt - time_fs) / duration_fs, 0, 1)
        self.centres[:, atom] += (part**2 * (3 - 2 * part))[:, None] * step
        self.at[atom] = site

    def trajectory(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions, wrapped into the cells, and cells."""
        rng = np.random.default_rng(self.seed)
        std = np.where(CRYSTAL.symbols == "Cu", self.copper_std, self.iodine_std)
        time = np.arange(self.n_frames) * self.dt
        x = self.centres + vibration(rng, self.n_frames, len(CRYSTAL), std, self.dt)
        x += (np.outer(time, [1.0, -0.7, 0.4]) * self.drift_A_per_ps / 1000.0)[:, None]
        scale = 1 + self.breathing * np.sin(time / 900.0)
        cells = CRYSTAL.cell.array * scale[:, None, None]
        fractional = x @ np.linalg.inv(CRYSTAL.cell.array)
        return (fractional % 1.0) @ cells, cells

    def events(self, **options) -> list[Event]:
        positions, cells = self.trajectory()
        return detect_events(positions, SITES, DetectionSettings(**options), times_fs=self.dt, cells=cells)


def nearest(site: int, among: list[int]) -> int:
    return min((k for k in among if k != site), key=lambda k: SITES.distance(site, k))


def assert_in_time(event: Event, time_fs: float, duration_fs: float = 240.0) -> None:
    assert time_fs - 200 <= event.start_fs <= time_fs + duration_fs
    assert time_fs <= event.end_fs <= time_fs + duration_fs + 400
    assert event.start_fs == event.start_frame * DT
    assert event.end_fs == event.end_frame * DT


# --- nothing is invented


@pytest.mark.parametrize(
    ("std", "dt", "seed"),
    [(0.25, 20.0, 0), (0.30, 20.0, 1), (0.35, 20.0, 2), (0.35, 5.0, 3), (0.30, 100.0, 4), (0.30, 1000.0, 5)],
)
def test_no_event_in_ten_thousand_hot_frames(std, dt, seed):
    hot = HotCrystal(10_000, seed=seed, copper_std=std, dt=dt, drift_A_per_ps=1.3 * 20.0 / dt)
    positions, _ = hot.trajectory()
    assert positions.shape == (10_000, 64, 3)
    assert hot.events() == []


def test_the_hot_crystal_has_its_temperature():
    x = vibration(np.random.default_rng(0), 20_000, 8, np.full(8, 0.3))
    assert x.std() == pytest.approx(0.3, rel=0.03)
    # And it does leave the cores now and then: detection without memory would see events.
    hot = HotCrystal(4000, seed=1, copper_std=0.35)
    sites, distances = SITES.assign_trajectory(*hot.trajectory())
    assert (sites != np.arange(64)).any()
    assert (distances[:, COPPER] > 0.35 * SITES.spacing_A[0]).mean() > 0.01


# --- everything is found


def test_frenkel_pair_interstitial_hop_and_recombination():
    atom = COPPER[5]
    first = nearest(atom, OCTAHEDRAL)
    second = nearest(first, OCTAHEDRAL)
    hot = HotCrystal(1200)
    hot.move(atom, first, 5000.0)
    hot.move(atom, second, 11000.0)
    hot.move(atom, first, 15000.0)
    hot.move(atom, atom, 20000.0)
    events = hot.events()
    assert [event.kind for event in events] == [
        EventKind.FRENKEL,
        EventKind.HOP,
        EventKind.HOP,
        EventKind.RECOMBINATION,
    ]
    for event, time in zip(events, (5000.0, 11000.0, 15000.0, 20000.0), strict=True):
        assert event.atoms == (atom,)
        assert event.species == ("Cu",)
        assert_in_time(event, time)
    assert [event.to_sites for event in events] == [(first,), (second,), (first,), (atom,)]
    assert events[0].distance_A == pytest.approx(np.sqrt(3) / 4 * 6.19)


def test_a_vacancy_hops():
    runaway, neighbour = COPPER[0], nearest(COPPER[0], COPPER)
    far = max(OCTAHEDRAL, key=lambda k: min(SITES.distance(k, runaway), SITES.distance(k, neighbour)))
    hot = HotCrystal(900)
    hot.move(runaway, far, 4000.0, 800.0)
    hot.move(neighbour, runaway, 10000.0)
    events = hot.events()
    assert [event.kind for event in events] == [EventKind.FRENKEL, EventKind.HOP]
    assert events[1].atoms == (neighbour,)
    assert events[1].from_sites == (neighbour,)
    assert events[1].to_sites == (runaway,)
    assert_in_time(events[1], 10000.0)


@pytest.mark.parametrize("delay", [0.0, 60.0, 120.0])
@pytest.mark.parametrize("other", ["same species", "other species"])
def test_two_atoms_exchange(other, delay):
    first = COPPER[3]
    second = nearest(first, COPPER) if other == "same species" else nearest(first, list(range(1, 64, 2)))
    hot = HotCrystal(800, seed=4)
    hot.move(first, second, 6000.0)
    hot.move(second, first, 6000.0 + delay)
    (event,) = hot.events()
    assert event.kind is EventKind.EXCHANGE
    assert event.atoms == tuple(sorted((first, second)))
    assert set(event.from_sites) == set(event.to_sites) == {first, second}
    assert_in_time(event, 6000.0, 240.0 + delay)


def test_a_ring_of_three_is_one_exchange():
    a = COPPER[0]
    b = nearest(a, COPPER)
    c = min((k for k in COPPER if k not in (a, b)), key=lambda k: SITES.distance(a, k) + SITES.distance(b, k))
    hot = HotCrystal(800, seed=5)
    for atom, site in ((a, b), (b, c), (c, a)):
        hot.move(atom, site, 6000.0)
    (event,) = hot.events()
    assert event.kind is EventKind.EXCHANGE
    assert event.atoms == tuple(sorted((a, b, c)))


def test_an_interstitial_that_kicks_an_atom_out_makes_one_concerted_hop():
    jumper, kicked = COPPER[2], COPPER[20]
    start = nearest(kicked, OCTAHEDRAL)
    end = max(
        (k for k in OCTAHEDRAL if abs(SITES.distance(k, kicked) - SITES.spacing_A[0]) < 0.1),
        key=lambda k: SITES.distance(k, start),
    )
    hot = HotCrystal(1000, seed=6)
    hot.move(jumper, start, 4000.0, 600.0)
    hot.move(jumper, kicked, 12000.0)
    hot.move(kicked, end, 12000.0)
    events = hot.events()
    assert [event.kind for event in events] == [EventKind.FRENKEL, EventKind.HOP]
    assert events[1].atoms == tuple(sorted((jumper, kicked)))
    assert_in_time(events[1], 12000.0)


def test_moves_in_different_places_at_one_time_are_different_events():
    first, second = COPPER[0], COPPER[21]
    hot = HotCrystal(600, seed=7)
    for atom in (first, second):
        hot.move(atom, nearest(atom, OCTAHEDRAL), 5000.0)
    events = hot.events()
    assert [event.kind for event in events] == [EventKind.FRENKEL, EventKind.FRENKEL]
    assert {event.atoms for event in events} == {(first,), (second,)}


@pytest.mark.parametrize("seed", range(6))
def test_many_random_events_all_found_in_order(seed):
    rng = np.random.default_rng(100 + seed)
    hot = HotCrystal(4000, seed=seed, copper_std=0.28)
    expected: list[tuple[EventKind, tuple[int, ...], float]] = []
    for k in range(18):
        time = 2000.0 + 4000.0 * k + float(rng.uniform(0, 500))
        at_home = [atom for atom in COPPER if hot.at[atom] < 64]
        interstitial = [atom for atom in COPPER if hot.at[atom] >= 64]
        what = rng.integers(3)
        if interstitial and what == 0:
            atom = interstitial[0]
            vacant = int(next(site for site in COPPER if site not in set(hot.at.tolist())))
            hot.move(atom, vacant, time, 700.0)
            expected.append((EventKind.RECOMBINATION, (atom,), time))
        elif what == 1:
            one, two = (int(atom) for atom in rng.choice(at_home, 2, replace=False))
            first, second = int(hot.at[one]), int(hot.at[two])
            hot.move(one, second, time, 500.0)
            hot.move(two, first, time, 500.0)
            expected.append((EventKind.EXCHANGE, tuple(sorted((one, two))), time))
        else:
            atom = int(rng.choice(at_home))
            free = [site for site in OCTAHEDRAL if site not in set(hot.at.tolist())]
            hot.move(atom, nearest(int(hot.at[atom]), free), time)
            expected.append((EventKind.FRENKEL, (atom,), time))
    events = [event for event in hot.events() if event.kind is not EventKind.EXCURSION]
    assert [(event.kind, event.atoms) for event in events] == [(kind, atoms) for kind, atoms, _ in expected]
    for event, (_, _, time) in zip(events, expected, strict=True):
        assert_in_time(event, time, 700.0)


# --- coming back


def visit(duration_fs: float, part: float = 1.0) -> list[Event]:
    """One Cu goes towards an empty site, stays for a while and comes home."""
    atom = COPPER[9]
    site = nearest(atom, OCTAHEDRAL)
    hot = HotCrystal(800, seed=8, copper_std=0.03)
    step = (SITES.positions[site] - SITES.positions[atom]) @ np.linalg.inv(SITES.cell)
    step = (step - np.rint(step)) @ SITES.cell
    time = np.arange(hot.n_frames) * DT
    there = np.clip((time - 5000.0) / 100.0, 0, 1) * np.clip((5200.0 + duration_fs - time) / 100.0, 0, 1)
    hot.centres[:, atom] += part * there[:, None] * step
    return hot.events()


def test_a_long_visit_is_a_pair_made_and_gone():
    assert [event.kind for event in visit(1500.0)] == [EventKind.FRENKEL, EventKind.RECOMBINATION]


def test_a_short_visit_is_an_excursion_even_where_it_reached_the_core():
    (event,) = visit(120.0)
    assert event.kind is EventKind.EXCURSION
    assert event.atoms == (COPPER[9],)
    assert event.to_sites == (nearest(COPPER[9], OCTAHEDRAL),)
    assert 2.3 < event.distance_A < 3.1
    assert 4900.0 <= event.start_fs < event.end_fs <= 5600.0


def test_two_short_visits_are_two_excursions_and_no_arrival():
    atom = COPPER[9]
    site = nearest(atom, OCTAHEDRAL)
    step = (SITES.positions[site] - SITES.positions[atom]) @ np.linalg.inv(SITES.cell)
    step = (step - np.rint(step)) @ SITES.cell
    frames = np.repeat(CRYSTAL.positions[None], 200, axis=0)
    for first in (50, 80):
        frames[first : first + 5, atom] += 0.9 * step  # 80 fs from first to last frame: no excursion, no arrival
    assert detect_events(frames, SITES, times_fs=DT) == []
    for first in (45, 75):
        frames[first : first + 5, atom] += 0.55 * step
        frames[first + 10 : first + 15, atom] += 0.55 * step
    kinds = [event.kind for event in detect_events(frames, SITES, times_fs=DT)]
    assert kinds == [EventKind.EXCURSION, EventKind.EXCURSION]


def test_stopping_half_way_is_an_excursion_however_long_and_a_touch_is_nothing():
    assert [event.kind for event in visit(3000.0, part=0.6)] == [EventKind.EXCURSION]
    assert visit(0.0) == []
    assert visit(3000.0, part=0.4) == []


def test_an_excursion_under_way_at_the_end_is_reported_by_finish():
    atom = COPPER[9]
    site = nearest(atom, OCTAHEDRAL)
    frames = np.repeat(CRYSTAL.positions[None], 100, axis=0)
    step = (SITES.positions[site] - SITES.positions[atom]) @ np.linalg.inv(SITES.cell)
    frames[60:, atom] += 0.62 * ((step - np.rint(step)) @ SITES.cell)
    (event,) = detect_events(frames, SITES, times_fs=DT)
    assert event.kind is EventKind.EXCURSION
    assert event.end_frame == 99
    assert detect_events(frames, SITES, DetectionSettings(excursion_fraction=None), times_fs=DT) == []


# --- invariances


EVENTFUL = HotCrystal(700, seed=11)
EVENTFUL.move(COPPER[4], nearest(COPPER[4], OCTAHEDRAL), 3000.0)
EVENTFUL.move(COPPER[10], COPPER[11], 7000.0)
EVENTFUL.move(COPPER[11], COPPER[10], 7000.0)
POSITIONS, CELLS = EVENTFUL.trajectory()
EVENTS = detect_events(POSITIONS, SITES, times_fs=DT, cells=CELLS)


def test_the_eventful_trajectory_is_eventful():
    assert [event.kind for event in EVENTS] == [EventKind.FRENKEL, EventKind.EXCHANGE]


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_rigid_motion_of_every_frame_and_other_images_change_nothing(seed):
    rng = np.random.default_rng(seed)
    moved = POSITIONS + rng.uniform(-20, 20, (len(POSITIONS), 1, 3))
    moved += np.einsum("fni,fij->fnj", rng.integers(-2, 3, POSITIONS.shape), CELLS)
    found = detect_events(moved, SITES, times_fs=DT, cells=CELLS)
    assert [replace(event, distance_A=0.0) for event in found] == [replace(event, distance_A=0.0) for event in EVENTS]


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_another_order_of_atoms_gives_the_same_events_under_other_names(seed):
    order = np.random.default_rng(seed).permutation(64)
    new_name = np.argsort(order)
    sites = Sites.of(CRYSTAL[order], empty=SITES.positions[64:])
    found = detect_events(POSITIONS[:, order], sites, times_fs=DT, cells=CELLS)

    def named(event: Event) -> set[tuple[int, int, int]]:
        return set(zip(event.atoms, event.from_sites, event.to_sites, strict=True))

    name = np.concatenate([new_name, np.arange(64, SITES.n_sites)])
    assert [event.kind for event in found] == [event.kind for event in EVENTS]
    assert [event.start_frame for event in found] == [event.start_frame for event in EVENTS]
    for event, original in zip(found, EVENTS, strict=True):
        assert named(event) == {tuple(int(name[k]) for k in row) for row in named(original)}


def test_without_empty_sites_a_pair_is_still_a_pair():
    """Two atoms share a lattice site then: Wigner-Seitz counting, where the newcomer comes close enough to it."""
    sites = Sites.of(CRYSTAL, empty=False)
    atom, host = COPPER[0], nearest(COPPER[0], COPPER)
    frames = np.repeat(CRYSTAL.positions[None], 60, axis=0)
    frames[20:, atom] = CRYSTAL.positions[host] + [0.5, 0, 0]
    frames[40:, atom] = CRYSTAL.positions[atom]
    kinds = [event.kind for event in detect_events(frames, sites, times_fs=DT)]
    assert kinds == [EventKind.FRENKEL, EventKind.RECOMBINATION]


# --- on the fly


def test_feeding_frames_one_by_one_through_a_pickle_gives_the_same_events():
    detector = EventDetector(SITES)
    found = []
    for k, (positions, cell) in enumerate(zip(POSITIONS, CELLS, strict=True)):
        frame = Atoms(CRYSTAL.symbols, positions=positions, cell=cell, pbc=True)
        new = detector.feed(frame, k * DT)
        assert all(event.end_fs + 200.0 <= k * DT for event in new)
        found += new
        if k % 40 == 0:
            detector = pickle.loads(pickle.dumps(detector))
    assert found + detector.finish() == EVENTS
    assert detector.n_frames == len(POSITIONS)
    # A trajectory that continues from here starts with the atom on its new site.
    sites = np.arange(len(CRYSTAL))
    sites[COPPER[10]] = COPPER[11]
    going_on = EventDetector(SITES, start=sites)
    assert going_on.feed_arrays(POSITIONS[-1], CELLS[-1], 0.0) == []


def test_frames_and_arrays_give_the_same_events():
    frames = [
        Atoms(CRYSTAL.symbols, positions=x, cell=cell, pbc=True) for x, cell in zip(POSITIONS, CELLS, strict=True)
    ]
    assert detect_events(frames, SITES, times_fs=DT) == EVENTS
    assert detect_events(iter(frames), SITES, times_fs=np.arange(len(frames)) * DT) == EVENTS
    assert detect_events([], SITES, times_fs=DT) == []


def test_an_atom_away_from_the_beginning_is_an_event_of_the_first_frame():
    atom = COPPER[4]
    frames = np.repeat(CRYSTAL.positions[None], 20, axis=0)
    frames[:, atom] = SITES.positions[nearest(atom, OCTAHEDRAL)]
    (event,) = detect_events(frames, SITES, times_fs=DT)
    assert (event.kind, event.start_frame, event.end_frame) == (EventKind.FRENKEL, 0, 0)


# --- misuse


def test_wrong_input_is_named():
    detector = EventDetector(SITES)
    detector.feed(CRYSTAL, 0.0)
    with pytest.raises(DataError, match="time must go forward"):
        detector.feed(CRYSTAL, 0.0)
    with pytest.raises(DataError, match="in the order of the crystal"):
        detector.feed(CRYSTAL[::-1], 20.0)
    shuffled = CRYSTAL.positions.copy()
    shuffled[COPPER] = shuffled[COPPER[::-1]]
    shuffled[1::2] = shuffled[1::2][np.random.default_rng(0).permutation(32)]
    with pytest.raises(DataError, match="atoms of the first frame are not at their sites"):
        EventDetector(SITES).feed_arrays(shuffled, CRYSTAL.cell.array, 0.0)
    with pytest.raises(DataError, match="times of shape"):
        detect_events(POSITIONS, SITES, times_fs=[0.0, 20.0])
    with pytest.raises(DataError, match="cells"):
        detect_events(POSITIONS, SITES, times_fs=DT, cells=CELLS[:5])
    with pytest.raises(DataError, match="cells of their own"):
        detect_events([CRYSTAL], SITES, times_fs=DT, cells=CELLS[:1])
    with pytest.raises(DataError, match="start must give a site"):
        EventDetector(SITES, start=[0, 1, 2])


@pytest.mark.parametrize(
    "options",
    [
        {"core_fraction": 0.5},
        {"core_fraction": 0.0},
        {"dwell_fs": -1.0},
        {"excursion_fraction": 0.3},
        {"hold_fs": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DetectionSettings(**options)
