"""Labels in the files where people have them, each written here in the form that its program documents."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.stress import voigt_6_to_full_3x3_stress

from code_outputs import aims, cp2k, crystal, deepmd, espresso, ml_ab, outcar, vasprun
from trepid.data import LabelKeys, labelled_frames, labels_of, read_frames, read_labelled
from trepid.errors import ConfigError, DataError

N_STEPS = 3


@pytest.fixture
def steps() -> list[Atoms]:
    return [crystal(seed) for seed in range(N_STEPS)]


Writer = Callable[..., str]
CODES: list[tuple[str, Writer]] = [
    ("OUTCAR", outcar),
    ("vasprun.xml", vasprun),
    ("pw.out", espresso),
    ("aims.out", aims),
    ("cp2k.out", cp2k),
    ("ML_AB", ml_ab),
]


def same(found: Sequence[Atoms], steps: Sequence[Atoms]) -> None:
    assert len(found) == len(steps)
    for atoms, step in zip(found, steps, strict=True):
        labels = labels_of(atoms, require=("energy", "forces", "stress"))
        assert list(atoms.symbols) == list(step.symbols)
        assert atoms.pbc.all()
        np.testing.assert_allclose(atoms.positions, step.positions, atol=1e-6)
        np.testing.assert_allclose(labels.energy, step.info["energy"], atol=1e-6)
        np.testing.assert_allclose(labels.forces, step.arrays["forces"], atol=1e-6)
        np.testing.assert_allclose(labels.stress, step.info["stress"], atol=1e-6)


def one_cell(steps: list[Atoms]) -> None:
    """CP2K prints the cell once for a single point; here all have that of the first."""
    for atoms in steps[1:]:
        atoms.cell[:] = steps[0].cell[:]


@pytest.mark.parametrize(("name", "write"), CODES, ids=[name for name, _ in CODES])
@pytest.mark.parametrize("pack", [None, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gz", "bz2", "xz"])
def test_labels_of_codes_need_no_option(
    tmp_path: Path, steps: list[Atoms], name: str, write: Writer, pack: Callable[[bytes], bytes] | None
) -> None:
    one_cell(steps)
    data = write(steps).encode()
    (tmp_path / name).write_bytes(data if pack is None else pack(data))
    labelled = read_labelled(tmp_path / name)
    assert labelled.findings == []
    same(labelled.frames, steps)
    assert [labelled.report.count(kind) for kind in ("energy", "forces", "stress")] == [N_STEPS] * 3


@pytest.mark.parametrize(("name", "write"), CODES, ids=[name for name, _ in CODES])
def test_a_step_that_is_cut_off_is_counted(tmp_path: Path, steps: list[Atoms], name: str, write: Writer) -> None:
    one_cell(steps)
    longer = write(steps)
    # Inside the last step, which begins where that of a shorter file ends.
    end = len(longer) - int(0.6 * (len(longer) - len(write(steps[:2]))))
    (tmp_path / name).write_text(longer[:end])
    labelled = read_labelled(tmp_path / name)
    assert len(labelled.frames) == 2
    (finding,) = labelled.findings
    assert finding.message.startswith("2 of 3 steps are read: the file is cut off")


@pytest.mark.parametrize(("name", "write"), CODES[:5], ids=[name for name, _ in CODES[:5]])
def test_electrons_that_did_not_converge(tmp_path: Path, steps: list[Atoms], name: str, write: Writer) -> None:
    one_cell(steps)
    (tmp_path / name).write_text(write(steps, missed=[1]))
    labelled = read_labelled(tmp_path / name)
    assert len(labelled.frames) == N_STEPS
    (finding,) = labelled.findings
    assert finding.frame == 1
    assert finding.message.startswith("the electrons did not converge")


def test_cp2k_of_later_versions(tmp_path: Path, steps: list[Atoms]) -> None:
    one_cell(steps)
    (tmp_path / "out").write_text(cp2k(steps, new=True))
    same(read_frames(tmp_path / "out"), steps)


def test_cp2k_without_coordinates_tells_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "cp2k.out").write_text(
        " CP2K| version string:  CP2K version 2024.1\n ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:  -1.0\n"
    )
    with pytest.raises(DataError, match=r"PROJECT-pos-1\.xyz.*write\('train\.extxyz'"):
        read_frames(tmp_path / "cp2k.out")


@pytest.mark.parametrize("name", ["run_1", "outcar.txt", "OUTCAR.old"])
def test_codes_are_known_by_what_they_write(tmp_path: Path, steps: list[Atoms], name: str) -> None:
    (tmp_path / name).write_text(outcar(steps))
    same(read_frames(tmp_path / name), steps)


@pytest.mark.parametrize("raw", [False, True])
def test_deepmd_folders(tmp_path: Path, steps: list[Atoms], raw: bool) -> None:
    deepmd(tmp_path / "data", steps, raw=raw)
    labelled = read_labelled(tmp_path / "data")
    same(labelled.frames, steps)
    assert "stress: virial (a virial, converted) in 3" in labelled.report.line()


def test_deepmd_folders_that_are_incomplete(tmp_path: Path, steps: list[Atoms]) -> None:
    deepmd(tmp_path / "data", steps)
    np.save(tmp_path / "data/set.000/force.npy", np.zeros((2, 5)))
    with pytest.raises(DataError, match=r"force\.npy: shape \(2, 5\); \(2, 6\) is expected"):
        read_frames(tmp_path / "data")
    (tmp_path / "data/type_map.raw").unlink()
    with pytest.raises(DataError, match=r"type_map\.raw is missing"):
        read_frames(tmp_path / "data")


@pytest.mark.parametrize(("forces", "virial"), [("forces", "virial"), ("force", "virial"), ("forces", "virials")])
def test_names_and_virials_of_gpumd_and_mace(tmp_path: Path, steps: list[Atoms], forces: str, virial: str) -> None:
    text = ""
    for atoms in steps:
        nine = (-atoms.cell.volume * voigt_6_to_full_3x3_stress(atoms.info["stress"])).ravel()
        text += f'2\nenergy={atoms.info["energy"]} lattice="{" ".join(map(str, atoms.cell.array.ravel()))}" '
        text += f'{virial}="{" ".join(map(str, nine))}" properties=species:S:1:pos:R:3:{forces}:R:3\n'
        for atom, force in zip(atoms, atoms.arrays["forces"], strict=True):
            text += f"{atom.symbol} {' '.join(map(str, atom.position))} {' '.join(map(str, force))}\n"
    (tmp_path / "train.xyz").write_text(text)
    labelled = read_labelled(tmp_path / "train.xyz")
    same(labelled.frames, steps)
    assert "the names of ASE are taken" in labelled.report.line()


def test_results_of_calculators_are_labels(steps: list[Atoms]) -> None:
    frames = []
    for step in steps:
        atoms = Atoms(step.symbols, positions=step.positions, cell=step.cell, pbc=True)
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=step.info["energy"] + 0.5,
            free_energy=step.info["energy"],
            forces=step.arrays["forces"],
            stress=step.info["stress"],
        )
        frames.append(atoms)
    same(frames, steps)
    labelled = labelled_frames(frames)
    same(labelled.frames, steps)
    assert frames[0].info == {}
    assert "energy: free_energy in 3" in labelled.report.line()


def test_a_virial_as_stress_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="--virial-key REF_virial"):
        LabelKeys(stress="REF_virial")
    assert LabelKeys(stress="virial_stress").stress == "virial_stress"


def test_a_virial_that_contradicts_the_stress_is_named(tmp_path: Path, steps: list[Atoms]) -> None:
    for k, atoms in enumerate(steps):
        atoms.info["virial"] = (-1) ** k * -atoms.cell.volume * voigt_6_to_full_3x3_stress(atoms.info["stress"])
    (finding,) = labelled_frames(steps).findings
    assert finding.frame == 1
    assert "virial contradicts stress" in finding.message


def test_kinds_that_some_frames_lack_are_named(steps: list[Atoms]) -> None:
    for k, atoms in enumerate(steps):
        atoms.arrays["REF_forces"] = atoms.arrays.pop("forces")
        atoms.info["REF_energy" if k else "dft_energy"] = atoms.info.pop("energy")
        del atoms.info["stress"]
    labelled = labelled_frames(steps)
    assert "energy: REF_energy in 2 of 3" in labelled.report.line()
    (finding,) = labelled.findings
    assert finding.message.startswith(
        "frames 0 have no energy under REF_energy, the others do; dft_energy there looks like"
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('Lattice="5 0 0 0 5 0 0 0 5" lattice="4 0 0 0 4 0 0 0 4"', "both 'lattice' and 'Lattice'"),
        ('LATTICE="5 5 5"', "nine numbers are expected"),
        ('Lattice="5 0 0 0 5 0 0 0 5" pbc="xyz"', "three of T and F are expected"),
        ('Lattice="5 0 0 0 5 0 0 0 5" Properties=element:S:1:pos:R:3', "names no column 'species'"),
        ('Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:xyz:R:3', "names no column 'pos'"),
    ],
)
def test_headers_that_mean_nothing_are_refused(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "a.extxyz").write_text(f"1\n{header}\nCu 0 0 0\n")
    with pytest.raises(DataError, match=message):
        read_frames(tmp_path / "a.extxyz", require=())


def test_header_keys_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").write_text(
        '1\nLATTICE="5 1 0 0 6 0 0 0 7" PBC="t T f" PROPERTIES=Species:S:1:POS:R:3:REF_forces:R:3\nCu 0 0 1 1 2 3\n'
    )
    (atoms,) = read_frames(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(atoms.cell.array, [[5, 1, 0], [0, 6, 0], [0, 0, 7]])
    assert atoms.pbc.tolist() == [True, True, False]
    np.testing.assert_array_equal(atoms.arrays["REF_forces"], [[1, 2, 3]])


def test_a_cell_under_another_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").write_text('1\ncell="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\nCu 0 0 0\n')
    labelled = read_labelled(tmp_path / "a.extxyz", require=())
    assert "cell there is not read" in labelled.findings[0].message
    assert "not periodic" in labelled.report.line()


def test_six_components_of_a_stress_under_the_name_of_ase(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").write_text(
        '1\nLattice="5 0 0 0 5 0 0 0 5" stress="1 2 3 4 5 6" note="stress = 3" Properties=species:S:1:pos:R:3:forces:R:3\n'
        "Cu 0 0 0 0 0 0\n"
    )
    (atoms,) = read_frames(tmp_path / "a.extxyz")
    np.testing.assert_array_equal(labels_of(atoms).stress, [1, 2, 3, 4, 5, 6])
    assert atoms.info["note"] == "stress = 3"


@pytest.mark.parametrize("name", ["a.extxyz", "a.extxyz.gz", "a", "a.dat", "a.bz2", "a.xz"])
def test_no_frame_is_lost_in_any_container(tmp_path: Path, steps: list[Atoms], name: str) -> None:
    parts = []
    for atoms in steps:
        ase.io.write(tmp_path / "one.extxyz", atoms)
        parts.append((tmp_path / "one.extxyz").read_text())
    data = "\n\n".join(parts).encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix)
    (tmp_path / name).write_bytes(data if pack is None else pack(data))
    assert len(read_frames(tmp_path / name)) == N_STEPS
    if pack is not None:
        (tmp_path / name).write_bytes(pack(data)[:-20])
        with pytest.raises(DataError, match=r"cut off|damaged|ended before"):
            read_frames(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("999999999999\n\nCu 0 0 0\n", "has 1 of 999999999999 atoms: the file is cut off"),
        ('1\nLattice="1e-8 0 0 0 5 0 0 0 5"\nCu 0 0 0\n', "of 1e-08 A; every atom would be its own neighbour"),
        ('1\nLattice="5 0 0 5 0.001 0 0 0 5"\nCu 0 0 0\n', "high over its other vectors"),
        ('2\nLattice="5 0 0 0 0.31 0 0 0 0.1" pbc="T T F"\nCu 0 0 0\nCu 0 0 2e5\n', "flown apart"),
        ('1\nLattice="5 0 0 0 5 0 0 0 5"\nCu 0 0 1e15\n', "positions beyond"),
        ("2\n\nCu 0 0 0\nCu 0 0 1e30\n", "positions beyond"),
        ('1\nLattice="0.4 0 0 0 0.4 0 0 0 0.4"\nCu 0 0 0\n', "no atoms are that dense"),
    ],
)
def test_the_impossible_is_refused_before_anything_is_computed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.extxyz").write_text(text)
    with pytest.raises(DataError, match=message):
        read_labelled(tmp_path / "a.extxyz", require=())


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.extxyz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, kind in (
            (tmp_path / "pipe.extxyz", "a pipe"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
            (tmp_path, "a folder"),
        ):
            with pytest.raises(DataError, match=f"it is {kind}"):
                read_frames(path)


@pytest.mark.parametrize(("data", "command"), [(b"PK\x03\x04rest", "unzip"), (b"\x28\xb5\x2f\xfdrest", "zstd -d")])
def test_other_containers_are_named_with_what_unpacks_them(tmp_path: Path, data: bytes, command: str) -> None:
    (tmp_path / "a.extxyz").write_bytes(data)
    with pytest.raises(DataError, match=command):
        read_frames(tmp_path / "a.extxyz")


def test_an_unknown_format_tells_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "train.cfg2").write_text("BEGIN_CFG\n Size\n 2\nEND_CFG\n")
    with pytest.raises(DataError, match=r"from ase\.io import read, write; write\('train\.extxyz'"):
        read_frames(tmp_path / "train.cfg2")


def test_a_model_in_place_of_frames_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.trepid").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(DataError, match="is a model, not frames; in every command the model comes first"):
        read_frames(tmp_path / "m.trepid")
