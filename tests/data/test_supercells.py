"""Suggested supercells keep the symmetry, are even where they can be, and warn of a wrong periodicity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import spglib
from ase import Atoms, units
from ase.build import bulk, fcc111, graphene, make_supercell, molecule
from ase.spacegroup import crystal

from trepid.choices import NARROW_A
from trepid.data.supercells import (
    MOST_ATOMS,
    narrow_cell,
    padded_box,
    structure_warnings,
    suggested_supercells,
    symmetry_dataset,
    vacuum_A,
)


def monoclinic() -> Atoms:
    return crystal(
        ["Zr", "O", "O"],
        [(0.275, 0.04, 0.208), (0.07, 0.33, 0.345), (0.45, 0.757, 0.48)],
        spacegroup=14,
        cellpar=[5.15, 5.21, 5.32, 90, 99.2, 90],
    )


def triclinic() -> Atoms:
    sites = [[0, 0, 0], [0.5, 0.48, 0.1], [0.1, 0.5, 0.52], [0.6, 0.1, 0.55]]
    return Atoms("NaClKBr", scaled_positions=sites, cell=[[5.1, 0, 0], [0.4, 6.2, 0], [0.3, 0.8, 7.4]], pbc=True)


def chalcopyrite(*, primitive: bool) -> Atoms:
    return crystal(
        ["Ag", "Ga", "Se"],
        [(0, 0, 0), (0, 0, 0.5), (0.278, 0.25, 0.125)],
        spacegroup=122,
        cellpar=[5.99, 5.99, 10.88, 90, 90, 90],
        primitive_cell=primitive,
    )


def perovskite() -> Atoms:
    sites = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)]
    return crystal(["Cs", "Pb", "I"], sites, spacegroup=221, cellpar=[6.29] * 3 + [90] * 3)


def layered() -> Atoms:
    sites = [(1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)]
    return crystal(["Mo", "S"], sites, spacegroup=194, cellpar=[3.16, 3.16, 12.3, 90, 90, 120])


CRYSTALS = {
    "silicon, primitive": (bulk("Si"), [[-2, 2, 2], [2, -2, 2], [2, 2, -2]]),
    "silicon": (bulk("Si", cubic=True), [2, 2, 2]),
    "MgO, primitive": (bulk("MgO", "rocksalt", a=4.21), [[-2, 2, 2], [2, -2, 2], [2, 2, -2]]),
    "MgO": (bulk("MgO", "rocksalt", a=4.21, cubic=True), [2, 2, 2]),
    "CsPbI3": (perovskite(), [2, 2, 2]),
    "GaN, wurtzite": (bulk("GaN", "wurtzite", a=3.19, c=5.19), [4, 4, 2]),
    "iron, primitive": (bulk("Fe"), [4, 4, 4]),
    "iron": (bulk("Fe", cubic=True), [4, 4, 4]),
    "titanium": (bulk("Ti"), [4, 4, 2]),
    "MoS2": (layered(), [4, 4, 1]),
    "AgGaSe2": (chalcopyrite(primitive=False), [2, 2, 1]),
    "AgGaSe2, primitive": (chalcopyrite(primitive=True), [2, 2, 2]),
    "ZrO2, monoclinic": (monoclinic(), [2, 2, 2]),
    "triclinic": (triclinic(), [4, 2, 2]),
}


def point_group(atoms: Atoms) -> tuple[str, int]:
    cell = atoms.cell[:].tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()
    found = spglib.get_symmetry_dataset(cell, symprec=0.01)
    rotations = {tuple(rotation.ravel().tolist()) for rotation in found.rotations}
    return found.pointgroup, len(rotations)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_supercell_keeps_the_point_group_and_has_an_affordable_size(name: str) -> None:
    atoms, expected = CRYSTALS[name]
    best = suggested_supercells(atoms)[0]
    assert best.setting == expected
    supercell = make_supercell(atoms, np.array(best.matrix))
    assert len(supercell) == best.n_atoms
    assert 32 <= best.n_atoms <= MOST_ATOMS
    # As many rotations map the supercell onto itself as map the cell: none is lost to its shape.
    assert point_group(supercell) == point_group(atoms)
    normals = np.linalg.norm(np.linalg.inv(supercell.cell[:]), axis=0)
    assert best.width_A == pytest.approx((1 / normals).min())
    assert best.width_A > 7.0
    assert all(n == 1 or n % 2 == 0 for n in best.repeats)


def test_zone_boundary_modes_fit_into_the_cell_of_a_perovskite() -> None:
    matrix = np.array(suggested_supercells(perovskite())[0].matrix)
    for q in ([0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.0, 0.0]):  # R, M and X
        assert np.allclose(matrix @ q, np.rint(matrix @ q))


def test_smaller_and_larger_cells_are_offered() -> None:
    best, smaller, larger = suggested_supercells(bulk("Si"))
    assert smaller.n_atoms < best.n_atoms < larger.n_atoms


def test_of_a_narrow_cell_a_wide_one_is_offered() -> None:
    """9.7 A beside 8.4 A help no method without k points."""
    best, *others = suggested_supercells(bulk("MgO", "rocksalt", a=4.21, cubic=True))
    assert best.width_A < NARROW_A
    assert others[-1].n_atoms > best.n_atoms
    assert others[-1].width_A >= NARROW_A


def test_a_cell_larger_than_any_wanted_is_not_repeated() -> None:
    assert suggested_supercells(bulk("Si", cubic=True).repeat(3))[0].setting == [1, 1, 1]


def test_directions_without_periodicity_or_with_vacuum_are_not_repeated() -> None:
    sheet = graphene(vacuum=8)
    assert suggested_supercells(sheet)[0].setting == [6, 6, 1]
    sheet.pbc = True
    assert suggested_supercells(sheet)[0].setting == [6, 6, 1]
    assert suggested_supercells(molecule("H2O"))[0].setting == [1, 1, 1]


def test_a_slab_a_molecule_and_a_plain_xyz_are_warned_of() -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    assert structure_warnings(slab, Path("slab.extxyz")) == []  # no periodicity along the normal
    slab.pbc = True
    [warning] = structure_warnings(slab, Path("POSCAR"))
    assert "POSCAR: vacuum of 16.0 A along c" in warning
    assert "is it a slab or sheet?" in warning
    assert "'trepid init POSCAR --slab -o POSCAR_slab.yaml' writes POSCAR_slab.extxyz" in warning
    box = molecule("H2O")
    box.center(vacuum=6)
    box.pbc = True
    assert "is it a molecule in a box?" in structure_warnings(box, Path("box.vasp"))[0]
    box.pbc = False
    assert "no periodicity: the atoms are a molecule or cluster" in structure_warnings(box, Path("h2o.xyz"))[0]


@pytest.mark.parametrize("name", CRYSTALS)
def test_lengths_in_bohr_are_told(name: str) -> None:
    atoms = CRYSTALS[name][0]
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell[:] / units.Bohr, scale_atoms=True)
    assert "are the lengths of the file in A, not in Bohr" in structure_warnings(atoms, Path("POSCAR"))[0]


def test_crystals_of_noble_gases_and_large_atoms_are_not_told_to_be_in_bohr() -> None:
    for atoms in (bulk("Ar"), bulk("Ne"), bulk("Cs"), bulk("Pb"), bulk("Hg"), bulk("CsCl", "cesiumchloride", a=4.12)):
        assert structure_warnings(atoms, Path("crystal.cif")) == []


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_are_not_taken_for_slabs(name: str) -> None:
    atoms = CRYSTALS[name][0]
    assert structure_warnings(atoms, Path("POSCAR")) == []
    assert structure_warnings(atoms.repeat(2), Path("POSCAR")) == []
    assert max(vacuum_A(atoms)) < 4.0


def test_a_cell_narrower_than_twice_the_reach_is_told_with_the_repetitions_that_suffice() -> None:
    cell = bulk("Cu", a=3.6, cubic=True)
    assert "is 7.2 A wide, less than twice the 5 A" in narrow_cell(cell.repeat((2, 3, 3)), (2, 3, 3), 5.0)
    assert narrow_cell(cell.repeat((2, 3, 3)), (2, 3, 3), 5.0).endswith("--repeat 3 3 3")
    assert narrow_cell(cell.repeat((3, 3, 3)), (3, 3, 3), 5.0) == ""
    sheet = cell.repeat((3, 3, 1))
    sheet.pbc = (True, True, False)
    assert narrow_cell(sheet, (3, 3, 1), 5.0) == ""


@pytest.mark.parametrize("old", [True, False])
def test_coinciding_atoms_have_no_symmetry_however_spglib_says_so(monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    monkeypatch.setattr("spglib.error.OLD_ERROR_HANDLING", old)  # phonopy sets it for the whole process
    atoms = Atoms("Sn2", cell=[4, 4, 20], pbc=(True, True, False))
    assert symmetry_dataset(atoms, padded_box(atoms), tolerance_A=1e-3) is None
    assert suggested_supercells(atoms)
