"""The labels of CHGNet's most frequent event in CuI, committed: PBE beside what was announced, without any DFT."""

from __future__ import annotations

from pathlib import Path

import pytest

from trepid.audit import Criteria
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


def test_pbe_rests_the_neighbours_of_the_displaced_atom_elsewhere() -> None:
    """Start and three frames with the Cu held, in the order of their labels, eV above the start; figures of the example's page."""
    frames = [read_frames(AUDIT / "labels" / f"label-{number:04d}.extxyz")[0] for number in (1, 2, 3, 4)]
    pbe = [labels_of(frame).energy for frame in frames]
    announced = [frame.info["predicted_energy"] for frame in frames]
    assert pbe[0] is not None
    above = [[energy - energies[0] for energy in energies[1:]] for energies in (pbe, announced)]
    page = (AUDIT.parent / "README.md").read_text(encoding="utf-8")
    for reference, model in zip(*above, strict=True):
        assert f"| {model:.3f} | {reference:.3f} |" in page
    # What PBE puts lowest CHGNet puts highest; both differences are more than a factor 3 in the rate.
    tolerance = Criteria(temperature_K=600.0, time_ns=10.0).tolerance
    assert above[0][0] - min(above[0]) > tolerance
    assert above[1][1] - min(above[1]) > tolerance


def test_labels_are_of_the_crystal_of_the_trajectory() -> None:
    crystal = read_structure(AUDIT / "cui16.extxyz")
    for path in (AUDIT / "labels").glob("label-*.extxyz"):
        frame = read_frames(path)[0]
        assert frame.get_chemical_formula() == crystal.get_chemical_formula()
        assert abs(frame.cell.volume / crystal.cell.volume - 1) < 1e-9
