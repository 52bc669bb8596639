from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc110, bulk, fcc111
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.special import sph_harm_y
from vesin import NeighborList

from trepid.errors import DataError
from trepid.events.order import BondOrder, Structure, _orders, bond_order, fractions, structures
from trepid.events.sheets import column_spans

pytest.importorskip("freud", reason="freud is an optional extra")

LATTICE, BUCKLING = 4.67, 0.85


def sheet(nx: int, ny: int, *, height: float = 60.0) -> Atoms:
    a, b, h = LATTICE, LATTICE * np.sqrt(3), BUCKLING / 2
    unit = Atoms("Sn4", positions=[[0, 0, -h], [0, b / 3, h], [a / 2, b / 2, -h], [a / 2, 5 * b / 6, h]])
    unit.set_cell([a, b, height])
    unit.pbc = True
    atoms = unit.repeat((nx, ny, 1))
    atoms.positions[:, 2] += height / 2
    return atoms


def beta_tin() -> Atoms:
    scaled = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]]
    return Atoms("Sn4", scaled_positions=scaled, cell=[5.83, 5.83, 3.18], pbc=True).repeat((4, 4, 7))


CRYSTALS = {
    Structure.BCC: [bulk("Sn", "bcc", a=3.7, cubic=True).repeat((6, 6, 6))],
    Structure.CLOSE_PACKED: [
        bulk("Sn", "fcc", a=4.75, cubic=True).repeat((5, 5, 5)),
        bulk("Sn", "hcp", a=3.36, c=5.49).repeat((8, 8, 5)),
    ],
    Structure.TETRAHEDRAL: [beta_tin(), bulk("Sn", "diamond", a=6.49, cubic=True).repeat((4, 4, 4))],
}


def packed_spheres(n: int = 500, *, density_per_A3: float = 0.0366, diameter_A: float = 3.1, seed: int = 3) -> Atoms:
    """Repelling spheres at the density of liquid tin: the packing of a liquid without any order."""
    edge = (n / density_per_A3) ** (1 / 3)
    rng = np.random.default_rng(seed)
    atoms = Atoms(f"Sn{n}", positions=rng.uniform(0, edge, (n, 3)), cell=[edge] * 3, pbc=True)
    for _ in range(200):
        neighbours = NeighborList(cutoff=diameter_A, full_list=True)
        i, d = neighbours.compute(atoms.positions, box=np.array(atoms.cell), periodic=True, quantities="iD")
        length = np.linalg.norm(d, axis=1, keepdims=True)
        np.add.at(atoms.positions, i, -0.25 * d / length * (diameter_A - length))
        atoms.wrap()
    return atoms


PACKED = packed_spheres(seed=5)


def of_dense(atoms: Atoms) -> np.ndarray:
    return _orders(bond_order(atoms.positions, atoms.cell.array))


def averaged_by_hand(atoms: Atoms, degree: int, n: int) -> np.ndarray:
    """The definition, with spherical harmonics and all distances."""
    vectors = atoms.get_all_distances(mic=True, vector=True)
    d = np.linalg.norm(vectors, axis=2)
    np.fill_diagonal(d, np.inf)
    nearest = np.argsort(d, axis=1)[:, :n]
    bonds = np.take_along_axis(vectors, nearest[..., None], axis=1)
    theta = np.arccos(bonds[..., 2] / np.linalg.norm(bonds, axis=2))
    phi = np.arctan2(bonds[..., 1], bonds[..., 0])
    qlm = np.stack([sph_harm_y(degree, m, theta, phi).mean(axis=1) for m in range(-degree, degree + 1)], axis=1)
    mean = (qlm + qlm[nearest].sum(axis=1)) / (n + 1)
    return np.sqrt(4 * np.pi / (2 * degree + 1) * (np.abs(mean) ** 2).sum(axis=1))


def test_averages_are_those_of_the_definition():
    atoms = packed_spheres(160)
    order = bond_order(atoms.positions, atoms.cell.array)
    for degree, q in ((4, order.q4), (6, order.q6), (8, order.q8)):
        assert q == pytest.approx(averaged_by_hand(atoms, degree, 12), abs=1e-5)


def test_ideal_fcc_has_the_published_values():
    (fcc, _) = CRYSTALS[Structure.CLOSE_PACKED]
    order = bond_order(fcc.positions, fcc.cell.array)
    assert order.q4 == pytest.approx(0.1909, abs=1e-3)
    assert order.q6 == pytest.approx(0.5745, abs=1e-3)
    assert order.w6 == pytest.approx(-0.0132, abs=1e-3)


@pytest.mark.parametrize(
    ("structure", "which"), [(structure, k) for structure, found in CRYSTALS.items() for k in range(len(found))]
)
@pytest.mark.parametrize(("amplitude_A", "least"), [(0.0, 0.99), (0.15, 0.99), (0.25, 0.85)])
def test_crystals_are_found_in_spite_of_thermal_displacements(structure, which, amplitude_A, least):
    atoms = CRYSTALS[structure][which].copy()
    atoms.rattle(amplitude_A, seed=1)
    found = of_dense(atoms)
    if which == 1 and structure is Structure.CLOSE_PACKED and amplitude_A > 0.2:
        least = 0.75  # hcp: the sign of w6 is lost first
    assert np.mean(found == structure) >= least


def test_packed_spheres_are_disordered():
    assert np.mean(of_dense(PACKED) == Structure.DISORDERED) > 0.93


def test_a_flat_and_a_rippled_sheet_are_a_sheet():
    atoms = sheet(8, 5)
    assert set(structures(atoms.positions, atoms.cell.array)) == {Structure.SHEET}
    assert column_spans(atoms.positions, atoms.cell.array) == pytest.approx(BUCKLING)
    atoms.positions[:, 2] += 2.0 * np.sin(2 * np.pi * atoms.positions[:, 0] / atoms.cell[0, 0])
    assert set(structures(atoms.positions, atoms.cell.array)) == {Structure.SHEET}


def test_two_sheets_are_a_bilayer_and_half_a_second_one_is_half():
    lower = sheet(8, 6)
    upper = lower.copy()
    upper.positions[:, 2] += 3.4
    both = lower + upper
    assert set(structures(both.positions, both.cell.array)) == {Structure.BILAYER}
    half = lower + upper[upper.positions[:, 1] < 0.5 * upper.cell[1, 1]]
    shares = fractions(structures(half.positions, half.cell.array))
    # 96 atoms of the upper layer, about as many under it, the rest of the lower one a sheet.
    assert 0.6 < shares[Structure.BILAYER] < 0.75
    assert shares[Structure.SHEET] == pytest.approx(1 - shares[Structure.BILAYER])


@pytest.mark.parametrize(
    ("slab", "structure"),
    [
        (bcc110("Sn", (8, 8, 6), a=3.7, vacuum=25, orthogonal=True), Structure.BCC),
        (fcc111("Sn", (8, 8, 6), a=4.75, vacuum=25), Structure.CLOSE_PACKED),
    ],
)
def test_slabs_are_dense_and_keep_the_order_of_their_crystal(slab, structure):
    slab.rattle(0.12, seed=2)
    shares = fractions(structures(slab.positions, slab.cell.array))
    assert shares[structure] > 0.9
    assert shares[Structure.SHEET] == 0


def test_a_layer_of_packed_spheres_is_dense_and_disordered():
    atoms = PACKED.copy()
    atoms.set_cell(atoms.cell.lengths() * [1, 1, 3])
    shares = fractions(structures(atoms.positions, atoms.cell.array))
    assert shares[Structure.DISORDERED] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


@settings(max_examples=8, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    angle=st.floats(0, 2 * np.pi),
    shift=st.tuples(*[st.floats(-50, 50)] * 3),
    skew=st.integers(-1, 1),
)
def test_order_does_not_depend_on_rotation_shift_and_choice_of_the_cell(angle, shift, skew):
    atoms = PACKED
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    cell = atoms.cell.array.copy()
    cell[1] += skew * cell[0]
    moved = bond_order((atoms.positions + shift) @ turn.T, cell @ turn.T)
    order = bond_order(atoms.positions, atoms.cell.array)
    for q, expected in ((moved.q4, order.q4), (moved.q6, order.q6), (moved.w6, order.w6)):
        assert q == pytest.approx(expected, abs=2e-3)


def test_wrong_input_is_told():
    atoms = sheet(2, 2)
    with pytest.raises(DataError, match="16 atoms have no 20 neighbours"):
        bond_order(atoms.positions, atoms.cell.array, n_neighbours=20)
    small = packed_spheres(60)
    with pytest.raises(DataError, match="repeat the cell"):
        bond_order(small.positions, small.cell.array, n_neighbours=40)
    with pytest.raises(DataError, match=r"shape \(16, 2\)"):
        bond_order(atoms.positions[:, :2], atoms.cell.array)
    with pytest.raises(DataError, match="three independent vectors"):
        bond_order(atoms.positions, np.zeros((3, 3)))
    assert "on average" in repr(BondOrder(*[np.full(3, 0.2)] * 4))
