"""phonopy reads what trepid writes, and the other way round; force constants against a calculation by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.structure.atoms import PhonopyAtoms

from trepid.anharmonicity import (
    HarmonicReference,
    from_phonopy,
    harmonic_reference,
    read_phonopy,
    to_phonopy,
    write_phonopy,
)
from trepid.errors import DataError

CELLS = (2, 2, 2)


def by_hand(crystal: Atoms, *, compact: bool = False) -> Any:
    """The workflow of phonopy's documentation, with EMT."""
    cell = PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(), cell=crystal.cell.array, scaled_positions=crystal.get_scaled_positions()
    )
    phonon = phonopy.Phonopy(cell, np.diag(CELLS), primitive_matrix="F")
    phonon.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = Atoms(displaced.symbols, scaled_positions=displaced.scaled_positions, cell=displaced.cell, pbc=True)
        atoms.calc = EMT()
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(calculate_full_force_constants=not compact, show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def commensurate_frequencies(phonon: Any) -> np.ndarray:
    """All frequencies at the wave vectors that a 2x2x2 supercell of the conventional cell holds, sorted, THz."""
    rows = np.array([[i, j, k] for i in (0, 0.5) for j in (0, 0.5) for k in (0, 0.5)])
    # Wave vectors of the supercell folded into those of the primitive cell: 32 for the fcc lattice.
    primitive = phonon.primitive.cell
    supercell = phonon.supercell.cell
    grid = np.array([[i, j, k] for i in range(-4, 5) for j in range(-4, 5) for k in range(-4, 5)])
    q = np.mod(np.round(grid @ np.linalg.inv(supercell).T @ primitive.T, 9), 1.0)
    q = np.unique(np.round(q, 6) % 1.0, axis=0)
    assert len(q) == round(np.linalg.det(supercell) / np.linalg.det(primitive)) >= len(rows)
    phonon.run_qpoints(q)
    return np.sort(phonon.qpoints.frequencies.ravel())


@pytest.fixture(scope="module")
def copper() -> Atoms:
    return bulk("Cu", a=3.59, cubic=True)


@pytest.fixture(scope="module")
def ours(copper: Atoms) -> HarmonicReference:
    return harmonic_reference(copper, CELLS, EMT())


def test_force_constants_equal_those_by_hand(copper: Atoms, ours: HarmonicReference, tmp_path: Path) -> None:
    phonon = by_hand(copper)
    phonon.save(str(tmp_path / "phonopy_params.yaml"), settings={"force_constants": True})
    theirs = read_phonopy(tmp_path).in_order_of(ours.supercell)
    np.testing.assert_allclose(theirs.force_constants, ours.force_constants, atol=1e-9)


def test_phonopy_reads_our_file_and_finds_our_frequencies(ours: HarmonicReference, tmp_path: Path) -> None:
    shuffled = ours.in_order_of(ours.supercell[np.random.default_rng(0).permutation(32)])
    for number, reference in enumerate((ours, shuffled)):
        file = tmp_path / f"{number}.yaml"
        write_phonopy(reference, file)
        phonon = phonopy.load(str(file), log_level=0)
        frequencies = commensurate_frequencies(phonon)
        # The three translations are zero there, and left out by us.
        zero = np.argsort(np.abs(frequencies))[:3]
        assert np.abs(frequencies[zero]).max() < 1e-3
        np.testing.assert_allclose(np.delete(frequencies, zero), np.sort(ours.frequencies_THz), atol=1e-4)


def test_round_trip(ours: HarmonicReference, tmp_path: Path) -> None:
    write_phonopy(ours, tmp_path / "phonopy_params.yaml")
    back = read_phonopy(tmp_path / "phonopy_params.yaml")
    np.testing.assert_allclose(back.in_order_of(ours.supercell).force_constants, ours.force_constants, atol=1e-12)
    np.testing.assert_allclose(back.frequencies_THz, ours.frequencies_THz, atol=1e-9)
    np.testing.assert_allclose(back.supercell.get_masses(), ours.supercell.get_masses())


def test_round_trip_without_a_unit_cell(ours: HarmonicReference, tmp_path: Path) -> None:
    write_phonopy(HarmonicReference(ours.supercell, ours.force_constants), tmp_path / "phonopy.yaml")
    back = read_phonopy(tmp_path / "phonopy.yaml")
    np.testing.assert_allclose(back.in_order_of(ours.supercell).force_constants, ours.force_constants, atol=1e-12)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("kind", ["FORCE_SETS", "FORCE_CONSTANTS", "force_constants.hdf5", "params", "params-forces"])
def test_every_file_of_phonopy(
    kind: str, compact: bool, copper: Atoms, ours: HarmonicReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phonon = by_hand(copper, compact=compact)
    assert len(phonon.force_constants) == (1 if compact else 32)
    p2s = phonon.primitive.p2s_map if compact else None
    bare = {"force_sets": False, "force_constants": False}
    if kind == "params":
        phonon.save(str(tmp_path / "phonopy_params.yaml"), settings={"force_constants": True})
    elif kind == "params-forces":
        phonon.save(str(tmp_path / "phonopy_params.yaml"), settings={"force_sets": True, "force_constants": False})
    else:
        phonon.save(str(tmp_path / "phonopy_disp.yaml"), settings=bare)
    if kind == "FORCE_SETS":
        write_FORCE_SETS(phonon.dataset, filename=str(tmp_path / kind))
    elif kind == "FORCE_CONSTANTS":
        write_FORCE_CONSTANTS(phonon.force_constants, filename=str(tmp_path / kind), p2s_map=p2s)
    elif kind == "force_constants.hdf5":
        write_force_constants_to_hdf5(phonon.force_constants, filename=str(tmp_path / kind), p2s_map=p2s)
    # Files that happen to lie in the current folder must not be taken.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "FORCE_SETS").write_text("nonsense\n")
    (elsewhere / "FORCE_CONSTANTS").write_text("nonsense\n")
    monkeypatch.chdir(elsewhere)
    read = read_phonopy(tmp_path).in_order_of(ours.supercell)
    tolerance = 1e-6 if kind in ("FORCE_SETS", "params-forces") else 1e-9
    np.testing.assert_allclose(read.force_constants, ours.force_constants, atol=tolerance)


def test_damaged_and_missing_files(copper: Atoms, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_phonopy(tmp_path / "phonopy.yaml")
    with pytest.raises(DataError, match="holds none of"):
        read_phonopy(tmp_path)
    file = tmp_path / "phonopy.yaml"
    file.write_text("a: [1, 2\n")
    with pytest.raises(DataError, match=r"phonopy\.yaml"):
        read_phonopy(file)
    file.write_text("a: 1\n")
    with pytest.raises(DataError, match="unit cell"):
        read_phonopy(file)
    phonon = by_hand(copper)
    phonon.save(str(file), settings={"force_sets": False, "force_constants": False})
    with pytest.raises(DataError, match="neither force constants nor forces"):
        read_phonopy(file)
    with pytest.raises(DataError, match="no such file"):
        read_phonopy(file, force_sets=tmp_path / "nothing")
    (tmp_path / "FORCE_CONSTANTS").write_text("4 4\n1 1\n0 0\n")
    with pytest.raises(DataError, match="FORCE_CONSTANTS"):
        read_phonopy(file)


def test_units_of_another_code_are_refused(copper: Atoms, tmp_path: Path) -> None:
    phonon = by_hand(copper)
    in_bohr = phonopy.Phonopy(phonon.unitcell, np.diag(CELLS), primitive_matrix="F", calculator="qe")
    in_bohr.force_constants = phonon.force_constants
    file = tmp_path / "phonopy_params.yaml"
    in_bohr.save(str(file), settings={"force_constants": True})
    with pytest.raises(DataError, match="units of qe"):
        read_phonopy(file)


def test_a_failed_write_leaves_the_old_file(ours: HarmonicReference, tmp_path: Path) -> None:
    file = tmp_path / "phonopy_params.yaml"
    file.write_text("old")
    wrong = HarmonicReference(ours.supercell, ours.force_constants, bulk("Cu", a=3.59, cubic=True), np.diag([4, 2, 1]))
    with pytest.raises(DataError, match="cell"):
        write_phonopy(wrong, file)
    assert file.read_text() == "old"


# --------------------------------------------------------------- objects in memory


def test_phonopy_object_has_our_frequencies(ours: HarmonicReference) -> None:
    shuffled = ours.in_order_of(ours.supercell[np.random.default_rng(0).permutation(32)])
    for reference in (ours, shuffled):
        phonon = to_phonopy(reference)
        assert isinstance(phonon, phonopy.Phonopy)
        frequencies = commensurate_frequencies(phonon)
        zero = np.argsort(np.abs(frequencies))[:3]
        np.testing.assert_allclose(np.delete(frequencies, zero), np.sort(ours.frequencies_THz), atol=1e-4)


def test_phonopy_object_equals_the_one_by_hand(copper: Atoms, ours: HarmonicReference) -> None:
    hand, phonon = by_hand(copper), to_phonopy(ours)
    np.testing.assert_allclose(phonon.supercell.positions, hand.supercell.positions, atol=1e-12)
    np.testing.assert_allclose(phonon.force_constants, hand.force_constants, atol=1e-9)
    q = [[0.0, 0.0, 0.5], [0.1, 0.2, 0.3], [0.5, 0.5, 0.0]]
    found = []
    for one in (hand, phonon):
        one.run_qpoints(q)
        found.append(one.qpoints.frequencies)
    assert found[0].max() > 3
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_round_trip_in_memory(ours: HarmonicReference) -> None:
    masses = ours.supercell.get_masses() * 1.01
    heavy = HarmonicReference(ours.supercell.copy(), ours.force_constants)
    heavy.supercell.set_masses(masses)
    for reference in (ours, HarmonicReference(ours.supercell, ours.force_constants), heavy):
        back = from_phonopy(to_phonopy(reference)).in_order_of(reference.supercell)
        np.testing.assert_array_equal(back.force_constants, reference.force_constants)
        np.testing.assert_allclose(back.supercell.get_masses(), reference.supercell.get_masses())
        np.testing.assert_allclose(back.frequencies_THz, reference.frequencies_THz, atol=1e-9)
        again = to_phonopy(back)
        np.testing.assert_array_equal(again.force_constants, to_phonopy(reference).force_constants)


@pytest.mark.parametrize("primitive", ["F", None, np.eye(3)])
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("reordered", [False, True])
def test_any_phonopy_object_is_read(
    primitive: Any, compact: bool, reordered: bool, copper: Atoms, ours: HarmonicReference
) -> None:
    """Full and compact force constants, any primitive cell, either order in which phonopy builds supercells."""
    crystal = by_hand(copper).unitcell
    phonon = phonopy.Phonopy(crystal, np.diag(CELLS), primitive_matrix=primitive, use_SNF_supercell=reordered)
    phonon.generate_displacements(distance=0.01)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = Atoms(displaced.symbols, scaled_positions=displaced.scaled_positions, cell=displaced.cell, pbc=True)
        atoms.calc = EMT()
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(calculate_full_force_constants=not compact, show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    before = phonon.force_constants.copy()
    read = from_phonopy(phonon)
    np.testing.assert_allclose(read.in_order_of(ours.supercell).force_constants, ours.force_constants, atol=1e-9)
    np.testing.assert_allclose(read.supercell.cell.array, ours.supercell.cell.array)
    np.testing.assert_array_equal(phonon.force_constants, before)


def test_a_skewed_supercell_in_memory(copper: Atoms) -> None:
    rows = [[2, 0, 1], [0, 2, 0], [-1, 0, 2]]
    reference = harmonic_reference(bulk("Cu", a=3.59), rows, EMT())
    phonon = to_phonopy(reference)
    np.testing.assert_array_equal(phonon.supercell_matrix, np.transpose(rows))
    back = from_phonopy(phonon)
    np.testing.assert_array_equal(back.supercell_matrix, rows)
    np.testing.assert_allclose(
        back.in_order_of(reference.supercell).force_constants, reference.force_constants, atol=1e-12
    )


def test_phonopy_objects_that_cannot_be_read(copper: Atoms) -> None:
    phonon = by_hand(copper)
    bare = phonopy.Phonopy(phonon.unitcell, np.diag(CELLS), primitive_matrix="F")
    with pytest.raises(DataError, match="produce_force_constants"):
        from_phonopy(bare)
    in_bohr = phonopy.Phonopy(phonon.unitcell, np.diag(CELLS), primitive_matrix="F", calculator="qe")
    in_bohr.force_constants = phonon.force_constants
    with pytest.raises(DataError, match="units of qe"):
        from_phonopy(in_bohr)
