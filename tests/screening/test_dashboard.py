from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from command_line import Trepid
from screening_fakes import screening
from trepid.runs.ledger import Ledger
from trepid.screening.dashboard import DATA, PAGE, TABLE, spending_of, write_dashboard
from trepid.screening.directory import files_of
from trepid.screening.entries import KINDS, Advanced, Begun, Ended, ScreeningEnd, Turn
from trepid.screening.record import (
    Bars,
    ClassFigures,
    Coverage,
    FailureCode,
    MaterialRecord,
    RoundFigures,
    Status,
)
from trepid.screening.table import COLUMNS, settled, totals

HOP = ClassFigures("hop Cu <b>", "hallucinated", "no <minimum>", 0.3, 0.1, None, None, 3, "hallucinated")
FOUND = ClassFigures("hop Ag", "genuine", "", 0.4, 0.1, 0.42, 0.02, 2, "overlooked")


def records() -> list[MaterialRecord]:
    bars = Bars(0.4, 0.006, 0.008)
    rounds = (RoundFigures(1, 20, bars, 0, 3, True),)
    covered = Coverage(4, 100, 95, 0.96)
    return [
        MaterialRecord(
            "Cu",
            "Cu",
            Status.KNOWN,
            1,
            n_atoms=8,
            one_shot=Bars(0.3, 0.02, None),
            sigma_a=bars,
            n_labels=12,
            n_relaxation=8,
            coverage=covered,
            classes=(HOP, FOUND),
            rounds=rounds,
            seconds=360.0,
        ),
        MaterialRecord(
            "Ag",
            "Ag",
            Status.FAILED,
            1,
            failure=FailureCode.RELAXATION,
            message="<script>alert(1)</script>",
            n_relaxation=5,
        ),
        MaterialRecord("Au", "Au", Status.WAITING),
    ]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    settings = screening(tmp_path, names=("Cu", "Ag", "Au"))
    home = tmp_path / "out"
    home.mkdir()
    (home / "screening.yaml").write_text(settings.to_yaml())
    (home / "versions.json").write_text('{"trepid": "0.1.0"}')
    ledger = Ledger(home / "ledger.jsonl", kinds=KINDS)
    ledger.append(Begun(3, {"engine": "ase"}, "0" * 64))
    ledger.append(Turn(1, ["Cu", "Ag"], [None, None], 0))
    ledger.append(Advanced(1, "Cu", "known", 20, 360.0))
    ledger.append(Advanced(1, "Ag", "failed", 5, 10.0, "relaxation", "not converged"))
    ledger.append(Ended(ScreeningEnd.LABELS, 1, 25))
    ledger.close()
    for record in records()[:2]:
        place = files_of(home, record.name)
        place.directory.mkdir(parents=True)
        record.write(place.record)
    write_dashboard(home, records())
    return home


def test_the_page_is_one_file_that_escapes_what_it_shows(directory: Path) -> None:
    text = (directory / PAGE).read_text()
    assert "alert(1)</script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "hop Cu &lt;b&gt;" in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)  # no report is there yet
    assert text.count("data-status=") == 3
    for figure in ("sigma-", "coverage-", "spending-"):
        assert f'id="{figure}' in text


def test_a_report_is_linked_once_it_is_there(directory: Path) -> None:
    report = files_of(directory, "Cu").run / "report.html"
    report.parent.mkdir()
    report.write_text("report")
    write_dashboard(directory, records())
    assert 'href="materials/Cu/run/report.html"' in (directory / PAGE).read_text()


def test_the_table_and_the_data_hold_every_material(directory: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((directory / TABLE).read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert [row["material"] for row in rows] == ["Cu", "Ag", "Au"]
    assert float(rows[0]["sigma_a_half_95"]) == pytest.approx(1.96 * 0.01)
    assert rows[0]["verdicts"] == "1 genuine; 1 hallucinated"
    assert rows[1]["failure"] == "relaxation"
    data = json.loads((directory / DATA).read_text())
    assert data["versions"] == {"trepid": "0.1.0"}
    assert [MaterialRecord.from_dict(each) for each in data["materials"]] == records()


def test_totals_count_what_the_table_shows() -> None:
    found = totals(records(), 0.03)
    assert found.status == {"known": 1, "failed": 1, "waiting": 1}
    assert found.naive == {"overlooked": 1, "miscaptured": 0, "hallucinated": 1}
    assert (found.coverage, found.coverage_90_to_99) == (0.95, 1)
    assert (found.n_labels, found.n_relaxation, found.with_events) == (12, 13, 1)
    assert found.sigma_known == 1
    assert [settled(record, 0.01) for record in records()] == [False, False, False]


def test_spending_adds_up_over_materials_and_turns(directory: Path) -> None:
    from trepid.runs.ledger import read_ledger

    hours, computations, done = spending_of(read_ledger(directory / "ledger.jsonl", kinds=KINDS))
    assert (computations, done) == ([0, 20, 25], [0, 1, 2])
    assert hours == sorted(hours)


def test_status_shows_a_screening(directory: Path, trepid: Trepid) -> None:
    outcome = trepid("status", directory)
    assert outcome.code == 0
    for part in ("ended: labels", "1 known, 1 failed, 1 waiting", "25 (12 labels, 13 of relaxations", "1 relaxation"):
        assert part in outcome.out
    facts = json.loads(trepid("status", directory, "--json").out)
    assert (facts["n_computations"], facts["turn"], facts["running"]) == (25, 1, False)


def test_a_plan_counts_cells_and_labels_and_names_problems(tmp_path: Path, trepid: Trepid) -> None:
    file = tmp_path / "list.yaml"
    file.write_text(
        "materials:\n"
        "  - {name: NaCl, prototype: rocksalt, a: 5.64}\n"
        "  - {name: CaF2, prototype: rocksalt, a: 5.46}\n"
        "cell: {least_atoms: 16, most_atoms: 32, least_width_A: 6}\n"
        "start: {n: 5}\nacquisition: {labels_per_round: 4}\n"
    )
    facts = json.loads(trepid("screen", file, "--plan", "--json").out)
    salt, fluorite = facts["materials"]
    assert (salt["n_atoms"], salt["displacements"], salt["spacegroup"]) == (16, 3, "Fm-3m (225)")
    assert "not of the type rocksalt" in fluorite["problem"]
    assert facts["first_labels"] == 8 + 5 + 4 + 3
    assert trepid("screen", file, "--dry-run").code == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("a", "question"), [(3.61, None), (6.822, "in A, not in Bohr"), (3610.0, "no two atoms are within 3 times the sum")]
)
def test_the_plan_asks_about_lattice_constants_in_other_units(
    tmp_path: Path, trepid: Trepid, a: float, question: str | None
) -> None:
    file = tmp_path / "list.yaml"
    file.write_text(
        f"reference: {{engine: ase, calculator: emt}}\nmaterials: [{{name: Cu, prototype: fcc, a: {a}}}]\n"
        "cell: {least_atoms: 8, most_atoms: 8, least_width_A: 4}\n"
    )
    outcome = trepid("screen", file, "--plan")
    assert outcome.code == 0
    assert ("warning" in outcome.out) == (question is not None)
    if question is not None:
        assert question in " ".join(outcome.out.split())


def test_a_wrong_value_is_shown_in_part_where_it_is_long(tmp_path: Path, trepid: Trepid) -> None:
    file = tmp_path / "list.yaml"
    entries = ", ".join(f"{{name: M{k}, formula: Cu, prototype: fcc, a: 3.6}}" for k in range(60))
    file.write_text(f"materials: [{entries}, {{name: m3, formula: Cu, prototype: fcc, a: 3.6}}]\n")
    outcome = trepid("screen", file, "--plan")
    assert outcome.code == 2
    assert "m3 stands twice" in outcome.err
    assert len(outcome.err) < 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("materials: [{name: a b, prototype: fcc, a: 3}]", "it names a folder"),
        ("materials: [{name: Cu, prototype: fcc, a: 3}, {name: cu, prototype: fcc, a: 3}]", "stands twice"),
        ("materials: [{name: Cu, prototype: fcc}]", "needs the lattice constant a"),
        ("materials: [{name: Cu}]", "give one of the two: file, or prototype"),
        ("materials: [{name: Cu, prototype: hexagon, a: 3}]", "prototype"),
        ("materials: [{name: Cu, file: there_is_none.cif}]", "there is no such file"),
        ("materials: []", "materials"),
        (
            "materials: [{name: ZnO, prototype: wurtzite, a: 3.25, c: 5.2, x: 38.21}]",
            "ZnO: x 38.21 is no fraction of the cell",
        ),
        (
            "sources: {W: Wyckoff}\nmaterials: [{name: Cu, prototype: fcc, a: 3.6, source: Z}]",
            "Cu: source Z is not in sources (W)",
        ),
        (
            "materials: [{name: Cu, prototype: fcc, a: 3}]\nstart: {kind: frames, file: list.yaml}",
            "start.kind frames belongs to one material",
        ),
    ],
)
def test_wrong_lists_are_refused_in_one_line(tmp_path: Path, trepid: Trepid, text: str, message: str) -> None:
    file = tmp_path / "list.yaml"
    file.write_text(text + "\n")
    outcome = trepid("screen", file, "--plan")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
