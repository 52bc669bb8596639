"""Numbers of equivalent ways: counted by symmetry, and by hand or over all pairs of sites."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.geometry import get_distances

from trepid.acquisition.viability import Horizon
from trepid.audit.judgement import Criteria
from trepid.errors import ConfigError
from trepid.events.paths import empty_site_ways
from trepid.events.sites import Sites
from trepid.events.ways import equivalent_ways


def zincblende(repeat: int = 2) -> Atoms:
    return bulk("CuI", "zincblende", a=6.08, cubic=True).repeat(repeat)


def pairs_of(sites: Sites, atom: int, site: int) -> int:
    """Pairs of an atom of this species and a site of this kind at this distance: one orbit in a crystal this simple."""
    atoms = [k for k in range(sites.n_atoms) if sites.species[k] == sites.species[atom]]
    holes = [k for k in range(sites.n_atoms, sites.n_sites) if sites.kinds[k] == sites.kinds[site]]
    distances = get_distances(sites.positions[atoms], sites.positions[holes], cell=sites.cell, pbc=sites.pbc)[1]
    return int((np.abs(distances - sites.distance(atom, site)) < 0.1).sum())


@pytest.mark.parametrize("seed", [0, 3])
def test_ways_to_the_holes_of_zincblende_are_the_pairs_at_that_distance(seed: int) -> None:
    crystal = zincblende()
    rng = np.random.default_rng(seed)
    crystal.positions += 0.003 * rng.normal(size=(64, 3)) + rng.normal(size=3)
    sites = Sites.of(crystal)
    home = np.arange(64)
    found = {
        (sites.species[atom], sites.kinds[site]): equivalent_ways(sites, [(atom, site)], home)
        for atom, site in empty_site_ways(sites)
    }
    assert found == {
        (sites.species[atom], sites.kinds[site]): pairs_of(sites, atom, site) for atom, site in empty_site_ways(sites)
    }
    assert found[("Cu", "empty 4Cu6I")] == 32 * 4
    assert found[("Cu", "empty 6Cu4I")] == 32 * 6


def test_a_larger_cell_has_the_ways_of_all_its_atoms() -> None:
    sites = Sites.of(zincblende(3))
    atom, site = empty_site_ways(sites)[0]
    assert equivalent_ways(sites, [(atom, site)], np.arange(sites.n_atoms)) == 108 * 4


def test_a_vacancy_of_fcc_can_be_filled_by_twelve_neighbours() -> None:
    crystal = bulk("Cu", cubic=True).repeat(3)
    sites = Sites.of(crystal, empty=False)
    neighbour = int(np.argsort(crystal.get_distances(0, range(108), mic=True))[1])
    without = np.array([site for site in range(108) if site != 0])
    assert equivalent_ways(sites, [(neighbour, 0)], without) == 12
    far = int(np.argmax(crystal.get_distances(0, range(108), mic=True)))
    two = np.array([site for site in range(108) if site not in (0, far)])
    assert equivalent_ways(sites, [(neighbour, 0)], two) == 24


def test_an_exchange_counts_once_whichever_atom_is_named_first() -> None:
    sites = Sites.of(bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2))
    home = np.arange(64)
    sodium = sites.species.index("Na")
    chlorine = min((k for k in range(64) if sites.species[k] == "Cl"), key=lambda k: sites.distance(sodium, k))
    assert equivalent_ways(sites, [(sodium, chlorine), (chlorine, sodium)], home) == 32 * 6
    assert equivalent_ways(sites, [(chlorine, sodium), (sodium, chlorine)], home) == 32 * 6


def test_two_atoms_that_move_together_are_counted_as_one_event() -> None:
    sites = Sites.of(zincblende())
    home = np.arange(64)
    atom, hole = empty_site_ways(sites)[0]
    # The other three nearest atoms of the hole: one of them follows into the site that the first one leaves.
    others = [k for k in range(64) if k != atom and abs(sites.distance(k, hole) - sites.distance(atom, hole)) < 0.01]
    moves = [(atom, hole), (others[0], atom)]
    assert len(others) == 3
    assert equivalent_ways(sites, moves, home) == 32 * 4 * 3


def test_an_excursion_towards_the_site_of_a_neighbour_counts_the_neighbours() -> None:
    """A layer that slides brings each of its atoms close to the site of another, which slides along."""
    sites = Sites.of(bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2))
    sodium = sites.species.index("Na")
    chlorine = min((k for k in range(64) if sites.species[k] == "Cl"), key=lambda k: sites.distance(sodium, k))
    assert equivalent_ways(sites, [(sodium, chlorine)], np.arange(64)) == 32 * 6


def test_sites_of_one_kind_that_symmetry_tells_apart_are_not_counted_together() -> None:
    # Strained along z: ways in the plane and out of it have distances that differ by less than kinds are told apart by.
    crystal = bulk("Cu", cubic=True, a=3.6).repeat(2)
    crystal.set_cell(crystal.cell.array * np.array([1.0, 1.0, 1.05]), scale_atoms=True)
    sites = Sites.of(crystal, empty=False)
    start = crystal.positions[0]
    by_plane = {}
    for k in range(1, 32):
        move = crystal.positions[k] - start
        if 2.4 < np.linalg.norm(move) < 2.7:
            by_plane[bool(abs(move[2]) < 0.1)] = k
    without = np.arange(1, 32)
    in_plane, out_of_plane = (equivalent_ways(sites, [(by_plane[flat], 0)], without) for flat in (True, False))
    assert (in_plane, out_of_plane) == (4, 8)


def test_a_slab_has_no_ways_through_its_vacuum() -> None:
    slab = fcc111("Cu", (3, 3, 4), vacuum=6.0)
    slab.pbc = (True, True, False)
    sites = Sites.of(slab, empty=False)
    top = [int(k) for k in np.flatnonzero(slab.get_tags() == 1)]
    without = np.array([site for site in range(36) if site != top[0]])
    assert equivalent_ways(sites, [(top[1], top[0])], without) == 6
    below = min(np.flatnonzero(slab.get_tags() == 2), key=lambda k: sites.distance(int(k), top[0]))
    assert equivalent_ways(sites, [(int(below), top[0])], without) == 3


def test_an_event_needs_moves_of_atoms_that_are_there() -> None:
    sites = Sites.of(bulk("Cu", cubic=True).repeat(2), empty=False)
    with pytest.raises(ValueError, match="at least one move"):
        equivalent_ways(sites, [], np.arange(32))
    with pytest.raises(ValueError, match="no atom is on site 3"):
        equivalent_ways(sites, [(3, 4)], np.array([site for site in range(32) if site != 3]))


def test_a_probe_and_an_audit_have_one_horizon() -> None:
    one, all_ways = Horizon(300.0, 10.0), Horizon(300.0, 10.0, ways=128)
    assert all_ways.budget == pytest.approx(one.budget + one.thermal_energy * math.log(128))
    assert Criteria(300.0, 10.0, ways=128).budget == all_ways.budget
    assert all_ways.reaches(0.311)
    assert not one.reaches(0.311)
    # Once in the time t is the horizon: the expected number of events of such a barrier.
    assert Criteria(300.0, 10.0, ways=128).expected_events(all_ways.budget) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="equivalent ways is 0"):
        Horizon(300.0, 10.0, ways=0)
