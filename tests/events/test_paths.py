from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from trepid.errors import DataError
from trepid.events.detection import Event, EventKind
from trepid.events.paths import event_frames, event_path, first_of_each_class, neighbouring_sites, quench, site_path
from trepid.events.sites import Sites

CRYSTAL = bulk("CuI", "zincblende", a=6.19, cubic=True)
SITES = Sites.of(CRYSTAL)


def event(start: int = 10, end: int = 14, kind: EventKind = EventKind.FRENKEL) -> Event:
    return Event(kind, (0,), ("Cu",), (0,), (8,), start, end, 20.0 * start, 20.0 * end, 2.7)


# --- images


def test_a_path_moves_one_atom_evenly_by_the_shortest_way():
    target = CRYSTAL.positions[0] + [-1.5, -1.5, -1.5]  # across the border of the cell
    far = target + CRYSTAL.cell.array.sum(axis=0) * 2
    path = site_path(CRYSTAL, 0, far, 5)
    assert len(path) == 5
    for k, image in enumerate(path):
        assert np.array_equal(image.positions[1:], CRYSTAL.positions[1:])
        assert image.positions[0] == pytest.approx(CRYSTAL.positions[0] + k / 4 * np.array([-1.5] * 3))
        assert image.info["path_A"] == pytest.approx(k / 4 * 1.5 * np.sqrt(3))
    assert "path_A" not in CRYSTAL.info


def test_a_path_around_a_corner_has_even_steps():
    corners = np.array([[1.0, 0, 0], [1.0, 2.0, 0]]) + CRYSTAL.positions[2]
    path = site_path(CRYSTAL, 2, corners, 4)
    assert [image.info["path_A"] for image in path] == pytest.approx([0, 1, 2, 3])
    assert path[1].positions[2] == pytest.approx(corners[0])
    assert path[2].positions[2] == pytest.approx(corners[0] + [0, 1, 0])
    assert path[3].positions[2] == pytest.approx(corners[1])


def test_neighbours_of_a_site_are_the_nearest_holes():
    around = neighbouring_sites(SITES, 0)
    assert {SITES.kinds[k] for k in around} == {"empty 4Cu6I"}
    within = neighbouring_sites(SITES, 0, kind="empty 6Cu4I", within_A=3.2)
    assert {SITES.kinds[k] for k in within} == {"empty 6Cu4I"}
    assert all(SITES.distance(0, k) < 3.2 for k in within)
    assert neighbouring_sites(Sites.of(CRYSTAL, empty=False), 0) == []


def test_the_path_of_an_event_moves_all_of_its_atoms_in_the_cell_of_the_crystal():
    exchange = Event(EventKind.EXCHANGE, (0, 1), ("Cu", "I"), (0, 1), (1, 0), 0, 1, 0.0, 20.0, 2.68)
    strained = CRYSTAL.copy()
    strained.set_cell(1.02 * CRYSTAL.cell.array, scale_atoms=True)
    path = event_path(strained, SITES, exchange, 3)
    assert path[0].positions == pytest.approx(strained.positions)
    assert path[1].positions[0] == pytest.approx(path[1].positions[1])
    swapped = strained.positions.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert path[2].positions == pytest.approx(swapped)
    assert path[2].info["path_A"] == pytest.approx(1.02 * 6.19 * np.sqrt(3) / 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: site_path(CRYSTAL, 8, [0, 0, 0], 3), "no atom 8"),
        (lambda: site_path(CRYSTAL, 0, [0, 0], 3), "3 coordinates"),
        (lambda: site_path(CRYSTAL, 0, [0, 0, 1], 1), "2 images"),
        (lambda: event_path(CRYSTAL, SITES, event(), 1), "2 images"),
        (lambda: event_path(CRYSTAL.repeat(2), SITES, event(), 3), "the crystal 8"),
        (lambda: event_frames(10, event(), 5), "not in a trajectory of 10 frames"),
        (lambda: event_frames(100, event(), 0), "1 or more"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()


# --- frames


def test_frames_lie_before_on_and_after_the_event_and_inside_the_trajectory():
    assert event_frames(1000, event(100, 110), 7) == [90, 95, 100, 105, 110, 115, 120]
    assert event_frames(1000, event(100, 110), 3, margin=2) == [98, 105, 112]
    assert event_frames(1000, event(100, 110), 1) == [105]
    assert event_frames(12, event(0, 10), 4, margin=50) == [0, 4, 7, 11]
    assert event_frames(3, event(0, 1), 20) == [0, 1, 2]


def test_the_first_of_each_class_is_the_earliest():
    early, late, other = event(10, 14), event(30, 34), event(20, 24, EventKind.EXCURSION)
    assert first_of_each_class([late, other, early], SITES) == [early, other]


# --- quench


def test_a_quench_reaches_the_minimum_or_reports_that_it_did_not():
    crystal = bulk("Cu", a=3.59, cubic=True).repeat(2)
    hot = crystal.copy()
    hot.positions += np.random.default_rng(0).normal(0, 0.15, hot.positions.shape)
    before = hot.positions.copy()
    found = quench(hot, EMT(), fmax=0.01, max_steps=200)
    assert found.converged
    assert found.max_force <= 0.01
    assert found.n_steps > 3
    assert np.array_equal(hot.positions, before)
    assert found.atoms.calc is None
    crystal.calc = EMT()
    assert found.energy == pytest.approx(crystal.get_potential_energy(), abs=1e-3)
    assert np.abs(Sites.of(crystal, empty=False).displacements(found.atoms)).max() < 0.02
    short = quench(hot, EMT(), fmax=0.01, max_steps=2)
    assert not short.converged
    assert short.n_steps == 2
    assert short.max_force > 0.01


def test_a_frenkel_pair_that_is_not_stable_recombines_in_a_quench():
    crystal = bulk("Cu", a=3.59, cubic=True).repeat(2)
    sites = Sites.of(crystal, empty=False)
    away = site_path(crystal, 0, crystal.positions[0] + [0.6, 0.3, 0.1], 2)[-1]
    found = quench(away, EMT(), fmax=0.02)
    assert found.converged
    assert sites.occupancy(sites.assign(found.atoms)).pristine
    assert isinstance(found.atoms, Atoms)
