"""A few inputs of `make fuzz`, one or more of each group."""

from __future__ import annotations

from pathlib import Path

from inputs import inputs, make_material

from fuzz import fuzz, table


def test_damaged_and_hostile_inputs_end_in_one_line(tmp_path: Path) -> None:
    material = make_material(tmp_path / "material")
    tallies = fuzz(inputs(material, n=30, seed=5), work=tmp_path / "work", keep=tmp_path / "kept")
    assert len(tallies) == 6
    assert sum(tally.inputs for tally in tallies.values()) == 30
    faults = [path.read_text() for path in tmp_path.glob("kept/*/FAULTS")]
    assert not faults, table(tallies) + "\n" + "\n".join(faults)
