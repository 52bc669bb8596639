"""pair_style trepid refuses a damaged model file, as Python does, and warns of input that looks wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from lammps_inputs import Model, run, write_input
from model_files import read_model, with_right_sum, write_without_sum
from trepid.errors import NumericsError
from trepid.lammps.installation import Installation
from trepid.lammps.session import SETUP, Session, pair_commands
from trepid.lammps.system import System


@pytest.fixture
def opening(installation: Installation, silicon_crystal: Atoms):
    """Reads a model file in LAMMPS."""
    system, session = System.of(silicon_crystal), Session(installation)
    session.commands(SETUP)
    session.create_atoms(silicon_crystal, system, velocities=False)

    def read(file: Path) -> None:
        session.commands(pair_commands(file, system))

    yield read
    session.close()


def refused(opening, file: Path) -> str:
    with pytest.raises(NumericsError) as caught:
        opening(file)
    return str(caught.value)


def test_changed_bits_anywhere(opening, silicon: Model, tmp_path: Path) -> None:
    data = silicon.file.read_bytes()
    header = int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(2)
    opening(silicon.file)
    file = tmp_path / "m.trepid"
    for place in [0, 1, 5, *rng.integers(8, 8 + header, 30), *rng.integers(8 + header, len(data), 30), len(data) - 1]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        assert f"model file {file}: " in refused(opening, file), place
    opening(silicon.file)


def test_the_message_of_a_changed_table(opening, silicon: Model, tmp_path: Path) -> None:
    data = bytearray(silicon.file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    data[8 + size + json.loads(data[8 : 8 + size])["table.triplet"]["data_offsets"][0] + 7] ^= 0x40
    file = tmp_path / "m.trepid"
    file.write_bytes(data)
    assert "damaged: its content does not have its check sum (SHA-256)" in refused(opening, file)
    file.write_bytes(with_right_sum(bytes(data)))
    opening(file)  # the sum was the only objection


def test_cut_longer_and_foreign_files(opening, silicon: Model, tmp_path: Path) -> None:
    data = silicon.file.read_bytes()
    file = tmp_path / "m.trepid"
    for damaged, reason in (
        (data[:-1], "cut off"),
        (data + b"\0", "check sum"),
        (data[:20], "cut off"),
        (b"", "cut off"),
        (data.replace(b'"sha256"', b'"sha257"'), "no check sum"),
        (data.replace(rb"\"version\": 2}", rb"\"version\": 1}"), "check sum"),
        (data.replace(rb"\"version\": 2}", rb"\"version\": 3}"), "check sum"),
        (data.replace(rb"\"version\": 2}", rb"\"version\": 9}"), "its version is none of 1 to 4"),
    ):
        file.write_bytes(damaged)
        assert reason in refused(opening, file)
    file.unlink()
    file.mkdir()
    assert "it cannot be read" in refused(opening, file)


def test_files_of_the_version_before_are_read_with_a_warning(
    installation: Installation, silicon: Model, silicon_crystal: Atoms, tmp_path: Path
) -> None:
    old = write_without_sum(tmp_path / "old.trepid", *read_model(silicon.file))
    write_input(tmp_path, silicon_crystal, old, "run 0")
    code, text = run(installation, tmp_path)
    assert code == 0
    assert f"model file {old} has no check sum" in text
    write_input(tmp_path, silicon_crystal, silicon.file, "run 0")
    assert "check sum" not in run(installation, tmp_path)[1]


def test_elements_in_another_order_than_the_types_are_told(
    installation: Installation, cui: Model, cui_frame: Atoms, tmp_path: Path
) -> None:
    path = write_input(tmp_path, cui_frame, cui.file, "run 0")
    code, text = run(installation, tmp_path)
    assert code == 0
    assert "in the order of the atom types" not in text
    lines = path.read_text()
    assert "Cu I" in lines
    path.write_text(lines.replace("Cu I", "I Cu"))
    code, text = run(installation, tmp_path)
    assert code == 0
    assert "is Cu with mass 126.9, type 1 is I with mass 63.55: are the elements of pair_coeff in the order" in text
