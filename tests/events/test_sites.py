from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal as spacegroup_crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.data import read_frames
from trepid.errors import DataError
from trepid.events.detection import EventDetector
from trepid.events.sites import Sites
from trepid.events.voids import empty_sites

DATA = Path(__file__).parent.parent / "data_files"
A_CUI = 6.19


def cui(n: int = 2, a: float = A_CUI) -> Atoms:
    return bulk("CuI", "zincblende", a=a, cubic=True).repeat(n)


def brute_nearest(sites: Sites, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest site over 5 x 5 x 5 images, points in the metric of the crystal at rest, A."""
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ sites.cell
    gaps = np.linalg.norm(points[:, None, None] - sites.positions[None, :, None] - shifts, axis=3).min(axis=2)
    return gaps.argmin(axis=1), gaps.min(axis=1)


# --- empty sites


def test_zincblende_has_a_tetrahedral_and_an_octahedral_hole_per_formula_unit():
    crystal = bulk("CuI", "zincblende", a=A_CUI, cubic=True)
    quarter = A_CUI / 4
    iodine = crystal.positions[1]
    expected = np.concatenate([crystal.positions[::2] + 2 * iodine, crystal.positions[::2] + 3 * iodine]) % A_CUI
    found = empty_sites(crystal)
    assert len(found) == 8
    # Every expected hole is found, exactly, and nothing else is.
    gaps = np.linalg.norm((found[:, None] - expected + A_CUI / 2) % A_CUI - A_CUI / 2, axis=2)
    assert gaps.min(axis=0).max() < 1e-6
    assert gaps.min(axis=1).max() < 1e-6
    sites = Sites.of(crystal)
    assert Counter(sites.kinds) == {"Cu": 4, "I": 4, "empty 4Cu6I": 4, "empty 6Cu4I": 4}
    assert sites.spacing_A == pytest.approx(np.full(16, np.sqrt(3) * quarter))


@pytest.mark.parametrize(
    ("crystal", "per_atom"),
    [
        (bulk("Cu", cubic=True), 3),  # one octahedral and two tetrahedral holes
        (bulk("Cu"), 3),
        (bulk("Fe", cubic=True), 6),  # tetrahedral holes of bcc
        (bulk("Mg"), 3),
        (bulk("Si"), 1),
        (bulk("NaCl", "rocksalt", a=5.6), 1),
    ],
    ids=["fcc", "fcc primitive", "bcc", "hcp", "diamond", "rocksalt"],
)
def test_known_structures_in_any_cell(crystal, per_atom):
    for repeat in ((1, 1, 1), (2, 1, 1), (2, 2, 2)):
        cell = crystal.repeat(repeat)
        assert len(empty_sites(cell)) == per_atom * len(cell)


def test_empty_sites_move_with_the_crystal():
    crystal = bulk("CuI", "zincblende", a=A_CUI).repeat(2)
    moved = crystal.copy()
    shift = np.array([0.37, -1.21, 2.9])
    moved.positions += shift
    moved.wrap()
    first, second = empty_sites(crystal) + shift, empty_sites(moved)
    difference = (first[:, None] - second) @ np.linalg.inv(crystal.cell.array)
    gaps = np.linalg.norm((difference - np.rint(difference)) @ crystal.cell.array, axis=2)
    assert gaps.min(axis=1).max() < 1e-6
    assert sorted(gaps.argmin(axis=1)) == list(range(len(second)))


def test_equivalent_sites_of_three_species_are_of_one_kind():
    chalcopyrite = spacegroup_crystal(
        ("Ag", "Ga", "Se"),
        basis=[(0, 0, 0), (0, 0, 0.5), (0.279, 0.25, 0.125)],
        spacegroup=122,
        cellpar=[5.99, 5.99, 10.88, 90, 90, 90],
    )
    kinds = Counter(Sites.of(chalcopyrite).kinds)
    assert {kind: count for kind, count in kinds.items() if not kind.startswith("empty")} == {"Ag": 4, "Ga": 4, "Se": 8}
    assert all(count in (4, 8, 16) for count in kinds.values())


def test_a_sheet_has_the_middle_of_its_hexagons_and_no_site_in_the_vacuum():
    a = 4.65
    sheet = Atoms(
        "Sn2",
        cell=[[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 20]],
        positions=[[0, 0, 9.6], [0, a / np.sqrt(3), 10.4]],
        pbc=(True, True, False),
    ).repeat((3, 3, 1))
    found = empty_sites(sheet)
    assert len(found) == 9
    assert np.abs(found[:, 2] - 10.0).max() < 0.01


def test_what_has_no_sites_is_refused():
    with pytest.raises(DataError, match="0 A apart"):
        Sites.of(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0]], cell=[5, 5, 5], pbc=True))
    with pytest.raises(DataError, match="no empty sites"):
        Sites.of(Atoms("Cu4", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]]))
    with pytest.raises(DataError, match="drift species Ag"):
        Sites.of(cui(), drift_species="Ag")
    with pytest.raises(DataError, match="site 3 is"):
        Sites.of(cui(), empty=[cui().positions[3]])


# --- assignment


@pytest.mark.parametrize(
    "crystal",
    [cui(1), bulk("CuI", "zincblende", a=A_CUI).repeat(2), bulk("Mg").repeat((2, 2, 1))],
    ids=["cubic", "rhombohedral", "hexagonal"],
)
@pytest.mark.parametrize("empty", [True, False])
def test_nearest_site_agrees_with_all_pairs(crystal, empty):
    sites = Sites.of(crystal, empty=empty)
    fractional = np.random.default_rng(3).uniform(-1.5, 2.5, (500, 3))
    nearest, distances = sites.nearest(fractional)
    brute_sites, brute_distances = brute_nearest(sites, (fractional % 1.0) @ sites.cell)
    assert distances == pytest.approx(brute_distances, abs=1e-9)
    clear = np.abs(np.linalg.norm(sites.offsets(fractional, nearest), axis=1) - distances) < 1e-9
    assert clear.all()
    assert (nearest == brute_sites).mean() > 0.99  # ties may go either way


def test_far_from_every_site_the_nearest_is_still_found():
    sheet = bulk("Cu", cubic=True).repeat((2, 2, 1))
    sheet.cell[2, 2] = 60.0
    sites = Sites.of(sheet, empty=False)
    point = np.array([[0.1, 0.2, 0.5]])
    nearest, distance = sites.nearest(point)
    brute_site, brute_distance = brute_nearest(sites, point @ sites.cell)
    assert distance == pytest.approx(brute_distance)
    assert distance[0] > 20.0
    assert nearest == brute_site


def test_a_trajectory_is_assigned_as_its_frames_are():
    crystal = cui(1)
    sites = Sites.of(crystal)
    rng = np.random.default_rng(0)
    positions = crystal.positions + rng.normal(0, 0.6, (20, len(crystal), 3))
    cells = crystal.cell.array * rng.uniform(0.98, 1.02, (20, 1, 1))
    found, distances = sites.assign_trajectory(positions, cells)
    for k in range(20):
        frame = crystal.copy()
        frame.set_cell(cells[k])
        frame.positions = positions[k]
        assignment = sites.assign(frame)
        assert np.array_equal(found[k], assignment.sites)
        assert distances[k] == pytest.approx(assignment.distances_A)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    drift=st.tuples(*[st.floats(-30, 30)] * 3),
    strain=st.tuples(*[st.floats(-0.06, 0.06)] * 6),
    images=st.booleans(),
)
def test_drift_strain_and_wrapping_change_no_assignment(seed, drift, strain, images):
    crystal = cui(2)
    sites = Sites.of(crystal)
    rng = np.random.default_rng(seed)
    frame = crystal.copy()
    frame.positions += rng.normal(0, 0.25, (64, 3))
    frame.positions[5] = sites.positions[70] + rng.normal(0, 0.2, 3)
    expected, displacements = sites.assign(frame), sites.displacements(frame)
    xx, yy, zz, yz, xz, xy = strain
    deform = np.eye(3) + np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    moved = frame.copy()
    moved.set_cell(frame.cell.array @ deform, scale_atoms=True)
    moved.positions += drift
    if images:
        moved.positions += rng.integers(-2, 3, (64, 3)) @ moved.cell.array
    else:
        moved.wrap()
    found = sites.assign(moved)
    assert np.array_equal(found.sites, expected.sites)
    assert found.distances_A == pytest.approx(expected.distances_A, abs=1e-9)
    assert sites.displacements(moved) == pytest.approx(displacements @ deform, abs=1e-9)


def test_the_drift_does_not_follow_an_atom_that_hops():
    crystal = cui(1)
    sites = Sites.of(crystal)
    frame = crystal.copy()
    thermal = np.random.default_rng(2).normal(0, 0.01, (len(crystal), 3))
    frame.positions += thermal + np.array([0.3, 0.1, -0.2])
    heavy = int(np.flatnonzero(crystal.symbols == "I")[0])
    frame.positions[heavy] += [1.5, 1.5, 0.5]
    displacements = sites.displacements(frame)
    others = np.arange(len(crystal)) != heavy
    staying = (crystal.symbols == "I") & others
    thermal -= thermal[staying].mean(axis=0)
    assert displacements[others] == pytest.approx(thermal[others], abs=1e-9)
    assert displacements[heavy] == pytest.approx(thermal[heavy] + [1.5, 1.5, 0.5], abs=1e-9)


def test_the_drift_of_a_hot_crystal_is_the_mean_of_its_heavy_atoms():
    crystal = cui(2)
    sites = Sites.of(crystal)
    thermal = np.random.default_rng(1).normal(0, 0.2, (64, 3))
    frame = crystal.copy()
    frame.positions += thermal + np.array([1.0, 2.0, 3.0])
    iodine = crystal.symbols == "I"
    expected = thermal - thermal[iodine].mean(axis=0)
    assert np.abs(sites.displacements(frame) - expected).max() < 0.05
    copper = Sites.of(crystal, drift_species="Cu").displacements(frame)
    assert np.abs(copper - (thermal - thermal[~iodine].mean(axis=0))).max() < 0.05


def test_a_direction_without_periodicity_is_not_wrapped():
    cluster = bulk("Cu", cubic=True).repeat((2, 2, 2))
    cluster.pbc = (True, True, False)
    sites = Sites.of(cluster, empty=False)
    frame = cluster.copy()
    frame.positions[0] += [0, 0, cluster.cell[2, 2]]  # in a periodic crystal this is home again
    assert sites.displacements(frame)[0, 2] == pytest.approx(cluster.cell[2, 2])
    assert np.abs(sites.displacements(frame)[1:]).max() < 1e-9


def test_frames_of_another_crystal_are_refused():
    sites = Sites.of(cui(1))
    with pytest.raises(DataError, match="has 64 atoms, the crystal 8"):
        sites.assign(cui(2))
    with pytest.raises(DataError, match=r"atom 0 .* is I, of the crystal Cu"):
        sites.assign(cui(1)[::-1])
    broken = cui(1)
    broken.positions[2, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        sites.assign(broken)
    with pytest.raises(DataError, match="shape"):
        sites.assign_trajectory(np.zeros((4, 7, 3)), np.eye(3))


# --- occupancy


def test_occupancy_lists_atoms_off_their_sites():
    crystal = cui(2)
    sites = Sites.of(crystal)
    assert sites.occupancy(sites.assign(crystal)).pristine
    frame = crystal.copy()
    empty = int(np.flatnonzero(np.array(sites.kinds) == "empty 4Cu6I")[7])
    frame.positions[0] = sites.positions[empty]  # Frenkel pair
    frame.positions[[2, 4]] = crystal.positions[[4, 2]]  # Cu-Cu exchange
    frame.positions[[6, 9]] = crystal.positions[[9, 6]]  # Cu-I exchange
    found = sites.occupancy(sites.assign(frame))
    assert found.vacancies == (0,)
    assert found.interstitials == (0,)
    assert found.moved == (2, 4)
    assert found.antisites == (6, 9)
    assert not found.pristine


def test_two_atoms_at_one_site_are_one_interstitial_and_the_owner_keeps_it():
    crystal = cui(2)
    sites = Sites.of(crystal, empty=False)
    frame = crystal.copy()
    frame.positions[0] = crystal.positions[8] + [0.1, 0, 0]
    frame.positions[8] += [-0.9, 0, 0]
    found = sites.occupancy(sites.assign(frame))
    assert found.interstitials == (0,)
    assert found.vacancies == (0,)


def test_labelled_frames_with_a_displaced_atom_are_recognised():
    frames = read_frames(DATA / "cui_gfn1_64.extxyz")
    sites = Sites.of(cui(2))
    marked = [bool(frame.info["displaced_cu"]) for frame in frames]
    assert sum(marked) > 10
    for frame, displaced in zip(frames, marked, strict=True):
        off = sites.off_site(frame)
        assert (len(off) == 1) == displaced
        assert all(frame.symbols[int(k)] == "Cu" for k in off)


def test_what_a_session_prints_of_sites() -> None:
    sites = Sites.of(bulk("CuI", "zincblende", a=6.19, cubic=True))
    assert repr(sites) == "Sites(Cu4I4: 8 lattice sites, 8 empty sites (4 empty 4Cu6I, 4 empty 6Cu4I))"
    assert repr(EventDetector(sites)) == "EventDetector(0 frames, 0 atoms outside the core of their site)"
