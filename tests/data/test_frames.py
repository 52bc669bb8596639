"""Labels come back as they were, and what is wrong with a file is said in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixedLine
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.data import LabelKeys, Labels, attach_labels, labels_of, read_frames, read_structure, write_frames
from trepid.errors import DataError

STANDARD = LabelKeys("energy", "forces", "stress")


def labelled(seed: int = 0) -> Atoms:
    """A periodic frame with all labels."""
    rng = np.random.default_rng(seed)
    atoms = bulk("CuI", "zincblende", a=6.1)
    atoms.rattle(0.1, rng=rng)
    return attach_labels(atoms, Labels(float(rng.normal()), rng.normal(size=(2, 3)), rng.normal(size=6)))


@pytest.mark.parametrize(
    ("file", "n_frames", "kinds"),
    [
        ("cui_gfn1_64.extxyz", 60, ("energy", "forces", "stress")),
        ("aggase2_gfn1_16.extxyz", 35, ("energy", "forces", "stress")),
        ("si_sw_64.extxyz", 20, ("energy", "forces")),
        ("sn_pbe_8_train.extxyz", 15, ("energy", "forces")),
    ],
)
def test_real_files_survive_reading_and_writing(
    data_dir: Path, tmp_path: Path, file: str, n_frames: int, kinds: tuple[str, ...]
) -> None:
    frames = read_frames(data_dir / file, require=kinds)
    assert len(frames) == n_frames
    assert all(labels_of(atoms).kinds == kinds for atoms in frames)
    write_frames(tmp_path / "copy.extxyz", frames)
    for atoms, copy in zip(frames, read_frames(tmp_path / "copy.extxyz", require=kinds), strict=True):
        assert atoms == copy
        assert atoms.arrays.keys() == copy.arrays.keys()
        assert all(np.array_equal(atoms.arrays[name], copy.arrays[name]) for name in atoms.arrays)
        assert atoms.info.keys() == copy.info.keys()
        assert all(np.array_equal(atoms.info[name], copy.info[name]) for name in atoms.info)


def test_number_of_labels() -> None:
    assert labels_of(labelled()).n_labels == 1 + 6 + 6
    assert Labels(forces=np.zeros((4, 3))).n_labels == 12
    assert Labels().n_labels == 0
    assert Labels().kinds == ()


def test_constraints_do_not_zero_labels(tmp_path: Path) -> None:
    atoms = labelled()
    forces = atoms.arrays["REF_forces"].copy()
    atoms.set_constraint(FixAtoms([0, 1]))
    np.testing.assert_array_equal(labels_of(atoms).forces, forces)
    write_frames(tmp_path / "a.extxyz", atoms)
    (back,) = read_frames(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(labels_of(back).forces, forces)
    assert [type(constraint) for constraint in back.constraints] == [FixAtoms]


def test_constraints_do_not_zero_forces_that_ase_holds_in_a_calculator(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=forces, stress=stress)
    assert not atoms.get_forces()[0].any()
    for name in ("a.traj", "a.extxyz"):
        ase.io.write(tmp_path / name, atoms)
        (back,) = read_frames(tmp_path / name, keys=STANDARD, require=("energy", "forces", "stress"))
        assert back.calc is None
        if name == "a.traj":  # ASE itself zeroes them when it writes extended XYZ
            np.testing.assert_allclose(labels_of(back, STANDARD).forces, forces, atol=1e-12)
        np.testing.assert_allclose(labels_of(back, STANDARD).stress, stress, atol=1e-12)
        assert labels_of(back, STANDARD).energy == -1.5


def test_calculators_are_never_evaluated() -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert labels_of(atoms, STANDARD).kinds == ()
    with pytest.raises(
        DataError, match="no 'forces' in arrays, and the results of the attached calculator hold no forces"
    ):
        labels_of(atoms, STANDARD, require=("forces",))
    assert not atoms.calc.results
    atoms.get_forces()
    assert labels_of(atoms, STANDARD, require=("forces",)).kinds == ("energy", "forces", "stress")
    atoms.positions += 1.0
    with pytest.raises(DataError, match="of another geometry"):
        labels_of(atoms, STANDARD)


def test_attach_labels_replaces_labels_and_leaves_the_frame_alone() -> None:
    atoms = labelled()
    atoms.info["step"] = 7
    atoms.set_constraint(FixAtoms([0]))
    new = attach_labels(atoms, Labels(forces=np.ones((2, 3))))
    assert labels_of(new).kinds == ("forces",)
    assert new.info["step"] == 7
    assert not new.constraints
    assert labels_of(atoms).kinds == ("energy", "forces", "stress")
    assert len(atoms.constraints) == 1
    with pytest.raises(ValueError, match="2 atoms"):
        attach_labels(atoms, Labels(forces=np.ones((3, 3))))
    with pytest.raises(ValueError, match=r"expected \(6,\)"):
        attach_labels(atoms, Labels(stress=np.ones((3, 3))))


def test_attached_labels_are_copies() -> None:
    forces = np.ones((2, 3))
    atoms = attach_labels(bulk("CuI", "zincblende", a=6.1), Labels(forces=forces))
    forces[:] = 0.0
    found = labels_of(atoms).forces
    assert found is not None
    assert found.all()
    found[:] = 5.0
    assert (atoms.arrays["REF_forces"] == 1.0).all()


@pytest.mark.parametrize("shape", [(6,), (3, 3), (9,)])
def test_stress_as_voigt_or_tensor(shape: tuple[int, ...]) -> None:
    voigt = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    atoms = labelled()
    atoms.info["REF_stress"] = voigt if shape == (6,) else voigt_6_to_full_3x3_stress(voigt).reshape(shape)
    np.testing.assert_array_equal(labels_of(atoms).stress, voigt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.info.update(REF_energy=np.nan), "a frame: REF_energy is nan"),
        (lambda a: a.info.update(REF_energy="low"), "REF_energy is 'low', not a number"),
        (lambda a: a.info.update(REF_energy=[1.0, 2.0]), "REF_energy has 2 values"),
        (lambda a: a.arrays["REF_forces"].__setitem__((1, 2), np.inf), r"REF_forces of atom 1 .*component z, is inf"),
        (lambda a: a.arrays.update(REF_forces=np.ones((2, 2))), r"shape \(2, 2\); expected \(2, 3\)"),
        (lambda a: a.info.update(REF_stress=[1.0, 2.0, 3.0, 4.0]), r"REF_stress has shape \(4,\); expected 6 Voigt"),
        (lambda a: a.info.update(REF_stress=[0, 0, np.nan, 0, 0, 0]), "REF_stress is .*nan"),
        (lambda a: a.info.update(REF_stress=np.arange(9.0).reshape(3, 3)), "REF_stress is not symmetric"),
    ],
)
def test_bad_labels_are_named(change, message: str) -> None:
    atoms = labelled()
    change(atoms)
    with pytest.raises(DataError, match=message):
        labels_of(atoms, where="a frame")


def test_missing_label_names_file_frame_key_and_what_is_similar(tmp_path: Path) -> None:
    good, bad = labelled(), labelled(1)
    bad.arrays["DFT_forces"] = bad.arrays.pop("REF_forces")
    write_frames(tmp_path / "a.extxyz", [good, bad])
    expected = r"a\.extxyz: frame 1 \(counted from 0\): no 'REF_forces' in arrays; similar keys there: DFT_forces"
    with pytest.raises(DataError, match=expected):
        read_frames(tmp_path / "a.extxyz")
    with pytest.raises(DataError, match="no 'E0' in info; similar keys there: REF_energy"):
        read_frames(tmp_path / "a.extxyz", keys=LabelKeys(energy="E0", forces="positions"), require=("energy",))
    assert len(read_frames(tmp_path / "a.extxyz", require=("energy",))) == 2
    assert len(read_frames(tmp_path / "a.extxyz", index=0)) == 1


def test_missing_label_in_the_wrong_place_or_nowhere() -> None:
    atoms = bulk("CuI", "zincblende", a=6.1)
    with pytest.raises(DataError, match="nothing similar; arrays has: nothing"):
        labels_of(atoms, require=("forces",))
    atoms.info["REF_forces"] = np.zeros((2, 3))
    with pytest.raises(DataError, match=r"'REF_forces' is in atoms\.info, but forces belong in atoms\.arrays"):
        labels_of(atoms, require=("forces",))


def test_nan_in_a_file_is_named(tmp_path: Path) -> None:
    frames = [labelled(0), labelled(1)]
    frames[1].arrays["REF_forces"][0, 1] = np.nan
    write_frames(tmp_path / "a.extxyz", frames)
    with pytest.raises(DataError, match=r"frame 1 \(counted from 0\): REF_forces of atom 0 .* component y, is nan"):
        read_frames(tmp_path / "a.extxyz", require=())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "holds no frame"),
        ("# comment\n", "line 1: expected the number of atoms of frame 0"),
        ("0\n\n", "frame 0 .* has 0 atoms"),
        ("2\n\nCu 0 0 0\n", r"frame 0 \(counted from 0\) has 1 of 2 atoms: the file is cut off"),
        ("2\n", "has 0 of 2 atoms"),
        ("1\n\nCu 0 0\n", "frame 0 .*: not readable as extended XYZ"),
        ("1\n\nCu 0 0 zero\n", "frame 0 .*: not readable as extended XYZ: ValueError"),
        ("1\n\nX 0 0 0\n1\n\nQq 0 0 0\n", "frame 1 .*: not readable as extended XYZ: 'Qq' is not an element"),
        ("1\n\nCu 0 0 nan\n", r"frame 0 .*: the position of atom 0 \(counted from 0\) is \[0\.0, 0\.0, nan\]"),
        ('1\nLattice="1 0 0 2 0 0 0 0 1"\nCu 0 0 0\n', "the cell vectors lie in one plane"),
        ('1\nLattice="1 0 0 0 0 0 0 0 1"\nCu 0 0 0\n', "periodic along cell vector b, but that vector is zero"),
    ],
)
def test_bad_files_are_reported_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_frames(path, require=())
    assert "\n" not in str(caught.value)
    assert "a.extxyz" in str(caught.value)


def test_missing_folder_binary_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.extxyz: no such file"):
        read_frames(tmp_path / "none.extxyz")
    with pytest.raises(DataError, match="it is a folder"):
        read_frames(tmp_path)
    (tmp_path / "a.extxyz").write_bytes(b"\xff\xfe\x00\x80" * 10)
    with pytest.raises(DataError, match="not a text file"):
        read_frames(tmp_path / "a.extxyz")
    (tmp_path / "a.json").write_text("{broken")
    with pytest.raises(DataError, match=r"cannot read .*a\.json"):
        read_frames(tmp_path / "a.json")


def test_frames_after_an_empty_line_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text("1\n\nCu 0 0 0\n\n1\n\nCu 0 0 1\n")
    assert len(ase.io.read(path, ":")) == 1  # what this protects from
    assert [atoms.positions[0, 2] for atoms in read_frames(path, require=())] == [0.0, 1.0]


def test_missing_last_line_break_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text("1\n\nCu 0 0 0.12")
    with caplog.at_level(logging.WARNING, logger="trepid"):
        read_frames(path, require=())
    assert "may be cut off" in caplog.text


@pytest.mark.parametrize(("index", "count"), [(":", 20), ("::4", 5), ("-1", 1), (3, 1), (slice(2, 5), 3)])
def test_index(data_dir: Path, index: str | int | slice, count: int) -> None:
    assert len(read_frames(data_dir / "si_sw_64.extxyz", index=index)) == count


def test_index_that_selects_nothing(data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"index 20 selects no frame; the file has 20"):
        read_frames(data_dir / "si_sw_64.extxyz", index=20)
    with pytest.raises(DataError, match="'1:x' is not a number or a slice"):
        read_frames(data_dir / "si_sw_64.extxyz", index="1:x")
    with pytest.raises(DataError, match="'five' is not a number or a slice"):
        read_frames(data_dir / "si_sw_64.extxyz", index="five")


def test_error_under_an_index_counts_frames_of_the_file(tmp_path: Path) -> None:
    frames = [labelled(seed) for seed in range(4)]
    del frames[3].arrays["REF_forces"]
    write_frames(tmp_path / "a.extxyz", frames)
    with pytest.raises(DataError, match=r"frame 3 \(counted from 0\)"):
        read_frames(tmp_path / "a.extxyz", index="1::2")


def test_standard_names_stay_in_the_frame(tmp_path: Path) -> None:
    atoms = molecule("H2O")
    atoms.info["energy"] = -2.5
    atoms.arrays["forces"] = np.arange(9.0).reshape(3, 3)
    atoms.arrays["charges"] = np.array([0.1, 0.2, -0.3])
    write_frames(tmp_path / "a.extxyz", atoms)
    (back,) = read_frames(tmp_path / "a.extxyz", keys=STANDARD)
    assert back.calc is None
    assert back.info["energy"] == -2.5
    np.testing.assert_array_equal(back.arrays["forces"], atoms.arrays["forces"])
    np.testing.assert_array_equal(back.arrays["charges"], atoms.arrays["charges"])
    assert back.cell.rank == 0
    assert not back.pbc.any()


def test_voigt_stress_under_the_name_of_ase(tmp_path: Path) -> None:
    atoms = attach_labels(labelled(), Labels(stress=np.arange(6.0), forces=np.zeros((2, 3))), STANDARD)
    write_frames(tmp_path / "a.extxyz", atoms)
    (back,) = read_frames(tmp_path / "a.extxyz", keys=STANDARD)
    np.testing.assert_array_equal(labels_of(back, STANDARD).stress, np.arange(6.0))
    np.testing.assert_array_equal(ase.io.read(tmp_path / "a.extxyz").get_stress(), np.arange(6.0))


@pytest.mark.parametrize(
    "constraint",
    [FixAtoms([0]), FixCartesian(1, (True, False, True)), FixCartesian([0, 1], (False, False, True))],
)
def test_constraints_survive(tmp_path: Path, constraint) -> None:
    atoms = labelled()
    atoms.set_constraint(constraint)
    write_frames(tmp_path / "a.extxyz", atoms)
    (back,) = read_frames(tmp_path / "a.extxyz")
    trial = np.ones((2, 3))
    expected, found = trial.copy(), trial.copy()
    for held in atoms.constraints:
        held.adjust_forces(atoms, expected)
    for held in back.constraints:
        held.adjust_forces(back, found)
    np.testing.assert_array_equal(found, expected)


def test_other_constraints_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    atoms = labelled()
    atoms.set_constraint(FixedLine(0, (0, 0, 1)))
    with caplog.at_level(logging.WARNING, logger="trepid"):
        write_frames(tmp_path / "a.extxyz", atoms)
    assert "FixedLine" in caplog.text
    assert read_frames(tmp_path / "a.extxyz")[0].constraints == []


def test_append_and_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    for seed in range(3):
        write_frames(path, labelled(seed), append=True)
    assert [labels_of(a).energy for a in read_frames(path)] == [labels_of(labelled(s)).energy for s in range(3)]
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(DataError, match=r"frame 2 \(counted from 0\)"):
        read_frames(path)


@pytest.mark.parametrize("append", [False, True])
def test_what_cannot_be_stored_writes_nothing(tmp_path: Path, append: bool) -> None:
    path = tmp_path / "a.extxyz"
    write_frames(path, labelled())
    before = path.read_bytes()
    odd = labelled(1)
    odd.info["function"] = len
    with pytest.raises(DataError, match=r"frame 1 \(counted from 0\): info 'function' of type builtin"):
        write_frames(path, [labelled(2), odd], append=append)
    with pytest.raises(DataError, match="without atoms"):
        write_frames(path, Atoms(), append=append)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.extxyz"]


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name the file \*\.extxyz"):
        write_frames(tmp_path / "a.traj", labelled())


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("species", np.zeros(2), "array named 'species'"),
        ("a b", np.zeros(2), "array named 'a b'"),
        ("tensor", np.zeros((2, 3, 3)), r"shape \(2, 3, 3\)"),
        ("big", np.array([2**40, 0]), "beyond 32 bit"),
        ("words", np.array(["two words", "one"]), "words without spaces"),
    ],
)
def test_arrays_that_cannot_be_stored(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    atoms = labelled()
    atoms.arrays[name] = array
    with pytest.raises(DataError, match=message):
        write_frames(tmp_path / "a.extxyz", atoms)


@pytest.mark.parametrize("key", ["Lattice", "pbc", "Properties", "", "line\nbreak", 3])
def test_info_keys_that_cannot_be_stored(tmp_path: Path, key: object) -> None:
    atoms = labelled()
    atoms.info[key] = 1.0
    with pytest.raises(DataError, match="info key"):
        write_frames(tmp_path / "a.extxyz", atoms)


finite = st.floats(allow_nan=False, allow_infinity=False)
coordinate = st.floats(min_value=-1e7, max_value=1e7)
keys = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda key: key not in ("Lattice", "pbc", "Properties", "stress", "virial") and key.lower() != "uid"
)
values = st.one_of(
    finite,
    st.integers(-(2**62), 2**62),
    st.booleans(),
    st.none(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.sampled_from(["T", "1.5", "1 2 3", "[0.1]", '_JSON {"a": 1}', 'say "x=1"', "C:\\temp\\new", "{}", ","]),
    st.lists(finite, min_size=2, max_size=8).map(np.array),
    st.lists(st.integers(-100, 100), max_size=4).map(lambda entries: {"nested": entries, "deep": {"x": "y"}}),
)


@settings(max_examples=150)
@given(
    positions=st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=3),
    info=st.dictionaries(keys, values, max_size=4),
    flags=st.booleans(),
)
def test_written_frames_are_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, positions: list[tuple[float, ...]], info: dict[str, object], flags: bool
) -> None:
    from ase.io.extxyz import per_config_properties

    info = {key: value for key, value in info.items() if key not in per_config_properties}
    atoms = Atoms("X" * len(positions), positions=positions, info=info)
    atoms.arrays["some_flags"] = np.array([flags] * len(atoms))
    atoms.arrays["some_words"] = np.array(["Cu_site"] * len(atoms))
    atoms.arrays["some_counts"] = np.arange(len(atoms))
    path = tmp_path_factory.mktemp("round") / "a.extxyz"
    write_frames(path, atoms)
    (back,) = read_frames(path, require=())
    assert back.arrays.keys() == atoms.arrays.keys()
    assert all(np.array_equal(back.arrays[name], atoms.arrays[name]) for name in atoms.arrays)
    assert back.info.keys() == info.keys()
    for key, value in info.items():
        np.testing.assert_equal(back.info[key], value)
        assert isinstance(back.info[key], str) == isinstance(value, str)


def test_structure_of_any_format(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    atoms = bulk("CuI", "zincblende", a=6.1, cubic=True)
    for name in ("POSCAR", "a.cif", "a.xyz"):
        ase.io.write(tmp_path / name, atoms)
        structure = read_structure(tmp_path / name)
        assert sorted(structure.symbols) == sorted(atoms.symbols)
        np.testing.assert_allclose(structure.cell.lengths(), 6.1, atol=1e-4)
        assert structure.calc is None
    write_frames(tmp_path / "from_cif.extxyz", read_structure(tmp_path / "a.cif"))
    ase.io.write(tmp_path / "many.extxyz", [atoms, atoms * (2, 1, 1)])
    with caplog.at_level(logging.WARNING, logger="trepid"):
        assert len(read_structure(tmp_path / "many.extxyz")) == 16
    assert "holds 2 structures; the last one is used" in caplog.text


def test_structure_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "POSCAR").write_text("nothing\n")
    with pytest.raises(DataError, match=r"cannot read .*POSCAR"):
        read_structure(tmp_path / "POSCAR")
    with pytest.raises(DataError, match="no such file"):
        read_structure(tmp_path / "CONTCAR")
    (tmp_path / "a.unknown").write_text("nothing\n")
    with pytest.raises(DataError, match=r"cannot read .*a\.unknown"):
        read_structure(tmp_path / "a.unknown")


@pytest.mark.parametrize("n", ["999999999999", "-1", "0", "1e3", "three"])
def test_impossible_numbers_of_columns_are_refused_before_there_is_room_for_them(tmp_path: Path, n: str) -> None:
    path = tmp_path / "f.extxyz"
    path.write_text(f'1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:REF_forces:R:{n}\nCu 0 0 0 0 0 0\n')
    with pytest.raises(DataError, match=rf"Properties gives REF_forces {n} columns; a number from 1 to 100000"):
        read_frames(path)
