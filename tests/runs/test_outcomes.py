"""Properties of runs side by side: matched, judged against their intervals, what is missing named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trepid.errors import DataError
from trepid.runs.outcomes import Compared, Kind, Property, compare, missing, read_outcome


def mode(lifetime: float, *, width: float = 0.1, q: float = 0.5) -> dict[str, Any]:
    return {
        "q": [q, 0.0, q],
        "branches": [0, 1],
        "lifetime_ps": lifetime,
        "low_ps": lifetime * math.exp(-width),
        "high_ps": lifetime * math.exp(width),
        "frequency_THz": 2.0,
        "frequency_error_THz": 0.01,
        "frequency_model_error_THz": None,
    }


def lifetimes(folder: Path, temperature: float, *modes: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lifetimes.json").write_text(json.dumps({"temperature_K": temperature, "modes": modes}))


def events(folder: Path, count: int, time_ps: float) -> None:
    from trepid.events.counting import class_rate

    used = class_rate([time_ps * (k + 0.5) / count for k in range(count)], time_ps).used
    found = {"class": "hop Ag", "rate_per_ps": used.rate_per_ps}
    found |= {"low_per_ps": used.low_per_ps, "high_per_ps": used.high_per_ps}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.json").write_text(json.dumps({"classes": [found], "sigma_a": None}))


def conductivity(folder: Path, kappa: float, half: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = {"temperature_K": 300.0, "kappa_W_per_m_K": kappa, "total_95": [kappa - half, kappa + half]}
    (folder / "conductivity.json").write_text(json.dumps(found))


@pytest.fixture
def before_and_after(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before", tmp_path / "after"
    lifetimes(before / "at-300", 304.0, mode(3.0), mode(1.0, q=0.25))
    lifetimes(before / "at-500", 498.0, mode(2.0))
    lifetimes(after / "at-300", 296.0, mode(1.5), mode(1.05, q=0.25))
    events(before / "events", 2, 100.0)
    events(after / "events", 40, 100.0)
    conductivity(after, 2.0, 0.3)
    return before, after


def test_properties_are_matched_by_name_and_temperature(before_and_after: tuple[Path, Path]) -> None:
    outcomes = [read_outcome(path) for path in before_and_after]
    rows = {(row.kind, row.name, row.temperature_K): row for row in compare(outcomes)}
    halved = rows[Kind.LIFETIME, "q (0.5, 0, 0.5) 1+2", 300.0]
    assert halved.change == pytest.approx(0.5)
    assert halved.differs is True
    assert rows[Kind.LIFETIME, "q (0.25, 0, 0.25) 1+2", 300.0].differs is False
    assert rows[Kind.LIFETIME, "q (0.5, 0, 0.5) 1+2", 498.0].found[1] is None
    rate = rows[Kind.RATE, "hop Ag", None]
    assert rate.change == pytest.approx(20.0)
    assert rate.differs is True
    told = missing(outcomes, list(rows.values()))
    assert f"{before_and_after[0]} holds no conductivity" in told
    assert any("in none of them: sigma^A" in line for line in told)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_ratio_differs_where_its_logarithm_leaves_both_intervals(a: float, b: float, u: float, v: float) -> None:
    one, two = (
        Property(Kind.LIFETIME, "x", "ps", None, value, value * math.exp(-w), value * math.exp(w))
        for value, w in ((a, u), (b, v))
    )
    row = Compared(Kind.LIFETIME, "x", "ps", None, (one, two))
    distance = abs(math.log(b / a))
    if abs(distance - math.hypot(u, v)) > 1e-9:
        assert row.differs is (distance > math.hypot(u, v))
    swapped = Compared(Kind.LIFETIME, "x", "ps", None, (two, one))
    assert swapped.change == pytest.approx(1 / row.change)


def test_no_event_before_and_many_after_differ() -> None:
    none = Property(Kind.RATE, "hop", "", None, 0.0, 0.0, 3.7)
    many = Property(Kind.RATE, "hop", "", None, 40.0, 30.0, 52.0)
    few = Property(Kind.RATE, "hop", "", None, 2.0, 0.3, 6.0)
    assert Compared(Kind.RATE, "hop", "", None, (none, many)).differs is True
    assert Compared(Kind.RATE, "hop", "", None, (none, few)).differs is False


def test_without_interval_nothing_is_claimed() -> None:
    bare = Property(Kind.SIGMA_A, "all atoms", "", None, 0.5)
    known = Property(Kind.SIGMA_A, "all atoms", "", None, 0.9, 0.8, 1.0)
    row = Compared(Kind.SIGMA_A, "all atoms", "", None, (bare, known))
    assert row.differs is None
    assert row.change == pytest.approx(0.4)


def test_damaged_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.trepid").touch()
    with pytest.raises(DataError, match="a file; give the folder that it is in"):
        read_outcome(tmp_path / "a.trepid")
    with pytest.raises(DataError, match="no such directory"):
        read_outcome(tmp_path / "nowhere")
    with pytest.raises(DataError, match="nothing to compare"):
        read_outcome(tmp_path)
    (tmp_path / "lifetimes.json").write_text('{"temperature_K": 300, "modes": [{}]}')
    with pytest.raises(DataError, match="not as trepid writes it"):
        read_outcome(tmp_path)
    (tmp_path / "lifetimes.json").write_text('{"temperature')
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_outcome(tmp_path)


def test_the_verb_writes_a_page_and_json(trepid, before_and_after: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = trepid("compare", *before_and_after, "-o", out, "--json")
    assert outcome.code == 0, outcome.err
    differing = {row["name"] for row in outcome.json["properties"] if row["differs"]}
    assert differing == {"q (0.5, 0, 0.5) 1+2", "hop Ag"}
    assert json.loads((out / "compare.json").read_text())["missing"] == outcome.json["missing"]
    page = (out / "compare.html").read_text()
    for text in ("Lifetimes", "Event rates", "differs", "missing", "×20"):
        assert text in page
    assert "#01020" not in page
    assert "two runs or more" in trepid("compare", before_and_after[0]).error
    assert "exists" in trepid("compare", *before_and_after, "-o", out).error
