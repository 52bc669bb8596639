"""The labels of CHGNet's most frequent event in CuI, committed: PBE beside what was announced, without any DFT."""

from __future__ import annotations

from pathlib import Path

import pytest

from trepid.data import labels_of
from trepid.data.frames import read_frames, read_structure
from trepid.events.analysis import EventAnalysis, analyse_events

AUDIT = Path(__file__).parents[2] / "examples" / "cui-events" / "chgnet-pbe"
FRENKEL = "frenkel Cu: Cu -> empty 4Cu6I, 2.63 A"


@pytest.fixture(scope="module")
def analysis() -> EventAnalysis:
    return analyse_events(AUDIT / "md-600K.extxyz.gz", read_structure(AUDIT / "cui16.extxyz"), interval_fs=20.0)


def test_the_trajectory_shows_the_event_most_often(analysis: EventAnalysis) -> None:
    first = analysis.classes[0]
    assert str(first.event_class) == FRENKEL
    assert len(first.events) == 11
    assert len(analysis.classes) == 18


def test_chgnet_makes_the_way_out_too_easy() -> None:
    """Start, end and saddle of CHGNet's band, in the order of their labels, eV above the start; figures of the example's page."""
    frames = [read_frames(AUDIT / "labels" / f"label-{number:04d}.extxyz")[0] for number in (1, 2, 3)]
    pbe = [labels_of(frame).energy for frame in frames]
    announced = [frame.info["predicted_energy"] for frame in frames]
    assert pbe[0] is not None
    above = [[energy - energies[0] for energy in energies[1:]] for energies in (pbe, announced)]
    assert above[0] == pytest.approx([0.189, 0.302], abs=1e-3)
    assert above[1] == pytest.approx([0.213, 0.221], abs=1e-3)
    page = (AUDIT.parent / "README.md").read_text(encoding="utf-8")
    for value in [*above[0], *above[1]]:
        assert f"{value:.3f}" in page


def test_labels_are_of_the_crystal_of_the_trajectory() -> None:
    crystal = read_structure(AUDIT / "cui16.extxyz")
    for path in (AUDIT / "labels").glob("label-*.extxyz"):
        frame = read_frames(path)[0]
        assert frame.get_chemical_formula() == crystal.get_chemical_formula()
        assert abs(frame.cell.volume / crystal.cell.volume - 1) < 1e-9
