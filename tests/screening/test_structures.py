from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.lj import LennardJones
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from ase.symbols import string2symbols

from trepid.config.screening import CellSettings, Prototype, ScreeningSettings, load_screening
from trepid.errors import ConfigError
from trepid.screening.cells import choose_supercell, hermite_matrices, keeps, rotations_of, width_A
from trepid.screening.material import supercell_of, unit_cell
from trepid.screening.prototypes import PROTOTYPES, build
from trepid.screening.relaxation import _folded, spacegroup_of

LIST = Path(__file__).parents[2] / "examples" / "screening" / "materials.yaml"
GROUPS = {
    Prototype.ROCKSALT: 225,
    Prototype.ZINCBLENDE: 216,
    Prototype.WURTZITE: 186,
    Prototype.CESIUM_CHLORIDE: 221,
    Prototype.FLUORITE: 225,
    Prototype.ANTIFLUORITE: 225,
    Prototype.DIAMOND: 227,
    Prototype.FCC: 225,
    Prototype.BCC: 229,
    Prototype.CHALCOPYRITE: 122,
    Prototype.PEROVSKITE: 221,
    Prototype.HALF_HEUSLER: 216,
    Prototype.CADMIUM_IODIDE: 164,
    Prototype.MOLYBDENITE: 194,
    Prototype.RUTILE: 136,
    Prototype.CUPRITE: 224,
    Prototype.LITHARGE: 129,
    Prototype.MATLOCKITE: 129,
    Prototype.COPPER_NITRIDE: 221,
    Prototype.BORON_NITRIDE: 194,
}
"""Of every type, from the tables of structure types, not from the code."""
NEIGHBOURS = {
    # element of the formula: (its nearest other element, how many, distance in units of a), from textbooks
    Prototype.ROCKSALT: (0, 1, 6, 0.5),
    Prototype.ZINCBLENDE: (0, 1, 4, 3**0.5 / 4),
    Prototype.CESIUM_CHLORIDE: (0, 1, 8, 3**0.5 / 2),
    Prototype.FLUORITE: (0, 1, 8, 3**0.5 / 4),
    Prototype.ANTIFLUORITE: (0, 1, 4, 3**0.5 / 4),
    Prototype.PEROVSKITE: (1, 2, 6, 0.5),
    Prototype.HALF_HEUSLER: (1, 2, 4, 3**0.5 / 4),
    Prototype.CUPRITE: (0, 1, 2, 3**0.5 / 4),
    Prototype.COPPER_NITRIDE: (0, 1, 2, 0.5),
}


@pytest.fixture(scope="session")
def screening() -> ScreeningSettings:
    return load_screening(LIST)


@pytest.fixture(scope="session")
def crystals(screening: ScreeningSettings) -> dict[str, Atoms]:
    return {material.name: unit_cell(material) for material in screening.materials}


def test_the_list_has_112_materials_with_the_two_of_the_paper(screening: ScreeningSettings) -> None:
    names = [material.name for material in screening.materials]
    assert len(names) == 112
    assert {"CuI", "AgGaSe2"} <= set(names)
    assert {material.source for material in screening.materials} <= screening.sources.keys()


def test_every_crystal_of_the_list_has_the_space_group_of_its_type_and_its_stoichiometry(
    screening: ScreeningSettings, crystals: dict[str, Atoms]
) -> None:
    for material in screening.materials:
        atoms = crystals[material.name]
        assert material.prototype is not None
        assert spacegroup_of(atoms).endswith(f"({GROUPS[material.prototype]})"), material.name
        wanted = Counter(string2symbols(material.elements))
        found = Counter(atoms.get_chemical_symbols())
        assert {k: n * sum(wanted.values()) for k, n in found.items()} == {
            k: n * len(atoms) for k, n in wanted.items()
        }, material.name


def test_neighbours_in_every_crystal_of_the_list_are_as_far_apart_as_their_radii_say(
    crystals: dict[str, Atoms],
) -> None:
    for name, atoms in crystals.items():
        i, j, distance = neighbor_list("ijd", atoms, 5.0)
        radii = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
        assert 0.78 < (distance / radii).min() < 1.35, name
        for number in set(atoms.numbers.tolist()):  # of every element
            own = atoms.numbers[i] == number
            assert (distance[own] / radii[own]).min() < 1.35, (name, number)
        assert 5.0 < atoms.cell.volume / len(atoms) < 55.0, name


def test_supercells_of_the_list_keep_the_point_group_and_their_range(
    screening: ScreeningSettings, crystals: dict[str, Atoms]
) -> None:
    for material in screening.materials:
        unit = crystals[material.name]
        matrix = supercell_of(material, unit, screening)
        n = len(unit) * round(np.linalg.det(matrix))
        assert 16 <= n <= 32, material.name
        assert keeps(matrix, rotations_of(unit)), material.name
        assert width_A(unit, matrix) >= 4.9, material.name


def test_a_supercell_has_the_point_group_that_spglib_finds_for_its_crystal() -> None:
    unit = build(Prototype.WURTZITE, "ZnO", a=3.25, c=5.2)
    for index in (2, 3, 4, 6):
        for matrix in hermite_matrices(index):
            crystal = make_supercell(unit, matrix)
            cell = crystal.cell.array, crystal.get_scaled_positions(), crystal.numbers
            # Rotations of a supercell are those of the crystal that its lattice keeps.
            rotations = np.unique(spglib.get_symmetry(cell, symprec=1e-3)["rotations"], axis=0)
            assert (len(rotations) == 12) == keeps(matrix, rotations_of(unit))


@pytest.mark.parametrize(("index", "count"), [(1, 1), (2, 7), (3, 13), (4, 35), (8, 155)])
def test_all_superlattices_of_an_index_are_gone_through(index: int, count: int) -> None:
    # Numbers of sublattices of index n in three dimensions: sequence A001001 of the OEIS.
    assert len(list(hermite_matrices(index))) == count


def test_the_smallest_wide_supercell_is_taken_and_else_the_widest() -> None:
    cube = build(Prototype.PEROVSKITE, "SrTiO3", a=3.9)
    small = choose_supercell(cube, CellSettings(least_atoms=16, most_atoms=64, least_width_A=6.0))
    assert len(cube) * round(np.linalg.det(small)) == 20  # body-centred
    wide = choose_supercell(cube, CellSettings(least_atoms=16, most_atoms=64, least_width_A=7.0))
    assert len(cube) * round(np.linalg.det(wide)) == 40
    with pytest.raises(ConfigError, match="the primitive cell has 5 atoms"):
        choose_supercell(cube, CellSettings(least_atoms=2, most_atoms=4))


def test_every_type_is_tested() -> None:
    assert set(GROUPS) == set(PROTOTYPES) == set(Prototype)


@pytest.mark.parametrize("prototype", NEIGHBOURS, ids=str)
def test_neighbours_of_cubic_types_are_those_of_the_textbook(prototype: Prototype) -> None:
    formulas = {2: "NaCl", 3: "AgClI"}
    counts = PROTOTYPES[prototype].formula
    elements = string2symbols(formulas[len(counts)])
    formula = "".join(f"{e}{n}" for e, n in zip(elements, counts, strict=True))
    atoms = build(prototype, formula, a=5.0)
    centre, other, number, distance = NEIGHBOURS[prototype]
    i, j, d = neighbor_list("ijd", atoms, 5.0 * distance + 1e-4)
    own = np.flatnonzero(atoms.numbers == atomic_numbers[elements[centre]])[0]
    near = (i == own) & (atoms.numbers[j] == atomic_numbers[elements[other]])
    assert near.sum() == number
    assert d[near] == pytest.approx(5.0 * distance)


@pytest.mark.parametrize(
    ("prototype", "formula", "numbers", "message"),
    [
        (Prototype.ROCKSALT, "CaF2", {"a": 5.0}, "CaF2 is not of the type rocksalt, which has the formula AB"),
        (Prototype.ROCKSALT, "Qq", {"a": 5.0}, "formula 'Qq' cannot be read"),
        (Prototype.WURTZITE, "ZnO", {"a": 3.2}, "needs lattice constant c"),
        (Prototype.ROCKSALT, "NaCl", {"a": 5.6, "c": 5.6}, "has no lattice constant c"),
        (Prototype.RUTILE, "TiO2", {"a": 4.6, "c": 2.96}, "needs the free coordinate x"),
        (Prototype.ROCKSALT, "NaCl", {"a": 5.6, "z": 0.1}, "has no free coordinate z"),
    ],
)
def test_wrong_numbers_are_refused_in_words(
    prototype: Prototype, formula: str, numbers: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(prototype, formula, **numbers)  # type: ignore[arg-type]


def test_forces_of_a_supercell_fold_back_to_those_of_its_crystal() -> None:
    unit = bulk("Cu", "hcp", a=2.6, c=4.4)
    unit.rattle(0.05, seed=1)
    matrix = np.array([[2, 0, 0], [1, 2, 0], [0, 0, 2]])
    frame = make_supercell(unit, matrix)
    frame.positions += 0.3 * frame.cell.array[0]  # wrapped, shifted back below
    frame.wrap()
    frame.positions -= 0.3 * frame.cell.array[0]
    forces = []
    for atoms in (unit, frame):
        atoms.calc = LennardJones(sigma=2.3, rc=6.0, smooth=True)
        forces.append(atoms.get_forces())
    assert np.abs(forces[0]).max() > 0.1
    assert _folded(unit, frame, forces[1]) == pytest.approx(forces[0], abs=1e-9)
