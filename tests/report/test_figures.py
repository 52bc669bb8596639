"""What holds for all figures: ticks that can be read, units on every axis, nothing but data where the data are."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic_run import Written
from trepid.config import Campaign
from trepid.evaluation import Comparison
from trepid.report import plots, run_plots
from trepid.report.axes import FEWEST_TICKS, MOST_TICKS, LogTicks, key
from trepid.report.frame_sets import sets_of_run
from trepid.report.structure_plots import MarkedAtom, crystal_picture
from trepid.report.style import house_style, new_figure
from trepid.runs.reading import RunRecord


@pytest.fixture(scope="module")
def record(written: Written) -> RunRecord:
    return written.record


@pytest.fixture(scope="module")
def comparison(record: RunRecord) -> Comparison:
    found = record.comparison()
    assert found is not None
    return found


@given(st.floats(-12, 12), st.floats(0.02, 18))
def test_a_logarithmic_axis_of_any_length_has_a_few_ticks_inside_it(start: float, decades: float) -> None:
    low, high = 10.0**start, 10.0 ** (start + decades)
    ticks = np.array(LogTicks().tick_values(low, high))
    assert FEWEST_TICKS - 1 <= len(ticks) <= MOST_TICKS
    assert (np.diff(ticks) > 0).all()
    assert (ticks >= low * (1 - 1e-6)).all()
    assert (ticks <= high * (1 + 1e-6)).all()
    written = [f"{tick:g}" for tick in ticks]
    assert len(set(written)) == len(written)


def test_a_key_stands_above_the_axes_and_fits_their_width() -> None:
    with house_style("key"):
        figure = new_figure(4.6, 4.3)
        axes = figure.add_subplot()
        for k in range(7):
            axes.plot([0, 1], [k, k + 1], label=f"quadruplet angular length {k}")
        key(axes, "A remark")
        figure.draw_without_rendering()
        legend, box = axes.get_legend(), axes.get_window_extent()
        assert legend is not None
        extent = legend.get_window_extent()
    assert extent.y0 >= box.y1 - 1
    assert extent.x1 <= figure.bbox.x1 + 1


@pytest.mark.parametrize(
    "name", ["force_parity", "energy_parity", "stress_parity", "uncertainty_against_error", "reliability"]
)
def test_nothing_is_written_on_the_data(comparison: Comparison, name: str) -> None:
    with house_style(name):
        figure = getattr(plots, name)(comparison)
        assert not list(figure.axes[0].texts)
        figure.draw_without_rendering()
        legend, box = figure.axes[0].get_legend(), figure.axes[0].get_window_extent()
        assert legend is None or legend.get_window_extent().y0 >= box.y1 - 1


def test_stress_parity_shows_every_component_in_gpa(comparison: Comparison) -> None:
    figure = plots.stress_parity(comparison)
    assert figure is not None
    points = np.concatenate(
        [np.asarray(part.get_offsets()) for part in figure.axes[0].collections if len(part.get_offsets()) > 1]
    )
    wanted = np.column_stack([comparison.stresses.ravel(), comparison.stresses_predicted.ravel()]) * 160.21766208
    assert len(points) == 6 * comparison.n_frames
    np.testing.assert_allclose(points[np.argsort(points[:, 0])], wanted[np.argsort(wanted[:, 0])], rtol=1e-6)


def test_target_temperature_is_that_of_the_settings_with_a_step_between_stages(record: RunRecord) -> None:
    assert isinstance(record.campaign, Campaign)
    corners = run_plots.target_temperature(record)
    np.testing.assert_allclose(corners, [(0, 300), (12, 300), (12, 300), (24, 600)])
    unknown = run_plots.target_temperature(replace(record, campaign=None))
    steps = np.diff(unknown, axis=0)
    assert (np.minimum(np.abs(steps[:, 0]), np.abs(steps[:, 1])) == 0).all()
    assert len(unknown) == 2 * len(record.trace["time_fs"]) - 1


def test_every_axis_of_a_report_has_a_unit(written: Written) -> None:
    tables = sorted((written.page.parent / "page" / "figures").glob("*.csv"))
    assert len(tables) >= 10
    for table in tables:
        assert table.with_suffix(".png").stat().st_size > 1000
        assert table.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert f'href="page/figures/{table.name}"' in written.page.read_text(encoding="utf-8")
        rows = list(csv.DictReader(table.open(encoding="utf-8")))
        assert rows
        assert all(np.isfinite(float(row[name])) or row[name] == "nan" for row in rows for name in ("x", "y"))
        if table.stem in ("crystal", "worst-asked-for-before-training"):
            continue
        for name in {row["axes"] for row in rows}:
            for label in name.split(" against "):
                assert re.search(r"\([^)]+\)$", label), f"{table.stem}: {label}"


def test_the_picture_of_a_crystal_has_every_atom_inside_it_and_rings_the_worst(record: RunRecord) -> None:
    (asked,) = sets_of_run(record)
    worst = asked.worst()
    frame = asked.frames[worst.frame]
    with house_style("crystal"):
        figure = crystal_picture(frame, MarkedAtom(worst.atom, worst.label, worst.predicted))
    axes = figure.axes[0]
    atoms, ring = axes.collections
    places = np.asarray(atoms.get_offsets())
    assert len(places) == len(frame)
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    assert ((places > [x0, y0]) & (places < [x1, y1])).all()
    centre = np.asarray(ring.get_offsets())[0]
    assert np.linalg.norm(places - centre, axis=1).min() < 1e-9
    # A projection along one direction shortens distances, and keeps those in its plane.
    wrapped = frame.copy()
    wrapped.wrap(eps=1e-3)
    seen = np.linalg.norm(places[:, None] - places[None], axis=2).max()
    assert seen <= np.linalg.norm(wrapped.positions[:, None] - wrapped.positions[None], axis=2).max() + 1e-9
