from __future__ import annotations

import re

import numpy as np
import pytest
from ase.build import bulk

from trepid.events.detection import Event, EventKind
from trepid.events.sites import Sites
from trepid.report.events import HEADER, event_rows, events_over_time
from trepid.report.style import house_style, to_svg

SITES = Sites.of(bulk("CuI", "zincblende", a=6.19, cubic=True))


def event(atom: int, site: int, start_fs: float, kind: EventKind = EventKind.FRENKEL) -> Event:
    return Event(kind, (atom,), (SITES.species[atom],), (atom,), (site,), 0, 1, start_fs, start_fs + 300.0, 2.68)


OCTAHEDRAL = SITES.kinds.index("empty 4Cu6I")
TETRAHEDRAL = SITES.kinds.index("empty 6Cu4I")
EVENTS = [event(0, OCTAHEDRAL, 5000.0 * k, EventKind.EXCURSION) for k in (3, 1, 2)] + [event(0, TETRAHEDRAL, 2000.0)]


def test_rows_count_every_class_with_its_rate():
    rows = event_rows(EVENTS, SITES, time_ps=50.0)
    assert [row.count for row in rows] == [3, 1]
    assert [row.first_ps for row in rows] == [5.0, 2.0]
    assert rows[0].rate.rate_per_ps == pytest.approx(0.06)
    assert rows[0].duration_fs == pytest.approx(300.0)
    cells = rows[0].cells
    assert len(cells) == len(HEADER)
    assert cells[0] == "excursion Cu: Cu → empty 4Cu6I, 2.68 A"
    assert cells[1:4] == ("3", "5", "60")
    assert event_rows([], SITES, time_ps=50.0) == []


def test_the_figure_counts_events_up_to_the_end_and_names_their_classes():
    with house_style("events"):
        figure = events_over_time(EVENTS, SITES, time_ps=50.0)
        assert figure is not None
        svg = to_svg(figure, "events")
    assert "excursion Cu: Cu → empty 4Cu6I, 2.68 A  (3)" in svg
    assert not re.search(r"#01020\d", svg)
    curve = figure.axes[0].get_lines()[0]
    assert np.array_equal(curve.get_xdata(), [0.0, 5.3, 10.3, 15.3, 50.0])
    assert np.array_equal(curve.get_ydata(), [0, 1, 2, 3, 3])


def test_rare_classes_share_a_curve_and_no_events_have_no_figure():
    many = [event(a, s, 1000.0 * (a + s)) for a in range(8) for s in (OCTAHEDRAL, TETRAHEDRAL)]
    with house_style("events"):
        figure = events_over_time(many, SITES, time_ps=50.0, most=2, width=4.6)
    assert figure is not None
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    n_classes = len(event_rows(many, SITES, time_ps=50.0))
    assert len(labels) == 3
    assert labels[-1].startswith(f"{n_classes - 2} rarer classes")
    assert sum(int(label.rsplit("(", 1)[1][:-1]) for label in labels) == len(many)
    assert events_over_time([], SITES, time_ps=50.0) is None
