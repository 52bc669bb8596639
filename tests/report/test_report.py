from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from trepid.errors import DataError
from trepid.evaluation import summarise
from trepid.potentials.bayesian.terms import Hyperparameters
from trepid.report import write_report
from trepid.report.hyperparameters import hyperparameter_table
from trepid.report.intervals import intervals_table
from trepid.report.page import whole
from trepid.report.style import envelope, house_style, new_figure, species_colours, to_svg
from trepid.runs.ledger_events import Train
from trepid.runs.reading import read_run

WriteRun = Callable[..., Path]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Strict(HTMLParser):
    """Fails on tags that do not nest and collects identifiers, references and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(attrs)

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style",):
            self.text.append(data)


def parse(path: Path) -> tuple[str, Strict]:
    html = path.read_text(encoding="utf-8")
    parser = Strict()
    parser.feed(html)
    assert parser.open == []
    return html, parser


@pytest.fixture(scope="module")
def run(write_synthetic_run: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "full", n_calls=8, checks=300)


@pytest.fixture(scope="module")
def page(run: Path) -> tuple[str, Strict]:
    return parse(write_report(run))


def test_page_is_self_contained(page: tuple[str, Strict]) -> None:
    html, parser = page
    for link in parser.links:
        assert link.startswith(("#", "data:image/png;base64,", "data:text/plain;base64,")), link[:60]
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_identifiers_are_unique_and_every_reference_resolves(page: tuple[str, Strict]) -> None:
    html, parser = page
    assert len(parser.ids) == len(set(parser.ids))
    used = {link[1:] for link in parser.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used
    assert used <= set(parser.ids)


def test_figures_follow_the_colours_of_the_page(page: tuple[str, Strict]) -> None:
    html, _ = page
    assert "#01020" not in html
    assert html.count("var(--ink)") > 10
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_page_shows_settings_and_figures_of_the_run(page: tuple[str, Strict], run: Path) -> None:
    _, parser = page
    text = " ".join(" ".join(parser.text).split())
    comparison = read_run(run).comparison()
    assert comparison is not None
    figures = summarise(comparison)
    for expected in (
        "CuI",
        "64 atoms",
        "tblite GFN1-xTB",
        "finished: all stages were run",
        "3 initial, 8 above the threshold",
        f"MAE {1000 * figures.forces_mae:.1f}, RMSE {1000 * figures.forces_rmse:.1f} meV/Å",
        "What next:",
        "Costs",
        "Errors by species",
        "crystal.extxyz",
        f"{1000 * figures.forces_mae:.3g}",
        f"Spearman {figures.forces_uncertainty_spearman:.2f}",
        "300 → 600 K",
        "SCF did not converge in 250 cycles",
        "temperature_K: [300.0, 600.0]",
        "Calibration",
        "Intervals corrected by labels",
        "stage 1, 300 K",
        "its own labels",
        "Hyperparameters",
    ):
        assert expected in text, expected
    assert "nan" not in text.lower().replace("nano", "")


def test_numbers_and_options_are_not_broken_over_lines(page: tuple[str, Strict]) -> None:
    assert whole("x < 9.53e-05 eV") == 'x &lt; <span class="whole">9.53e-05</span> eV'
    assert whole("1.25 ± 0.03, 2") == '<span class="whole">1.25 ± 0.03,</span> 2'
    assert whole("md --temperature 300 -o a-b") == (
        'md <span class="whole">--temperature 300</span> <span class="whole">-o</span> a-b'
    )
    assert whole("force (meV/Å)") == 'force <span class="whole">(meV/Å)</span>'
    assert whole("left-out 5 - 3 -2.5 <b>") == "left-out 5 - 3 -2.5 &lt;b&gt;"
    html, _ = page
    assert '<span class="whole">--test</span> FRAMES.extxyz' in html


def test_terms_that_the_model_does_not_have_are_no_rows() -> None:
    start = asdict(Hyperparameters())
    training = Train(
        n_labels=4,
        optimized=True,
        noise_energy=1e-3,
        noise_forces=1e-2,
        noise_stress=1e-4,
        log_evidence=0.0,
        seconds=1.0,
        hyperparameters=start,
    )

    def names(**changed: float) -> list[str]:
        last = replace(training, hyperparameters={**start, **changed})
        return [row[0] for row in hyperparameter_table((training, last)).rows]

    bare = names(pair_amplitude=2.0)
    assert {"pair amplitude", "offset amplitude", "weighting noise forces", "residual noise forces"} <= set(bare)
    assert not [name for name in bare if name.startswith(("quadruplet", "coulomb"))]
    assert "quadruplet amplitude" in names(quadruplet_amplitude=0.07)
    assert "coulomb amplitude" in names(coulomb_amplitude=0.2)


def test_fewer_than_two_labels_of_a_stratum_are_said(write_synthetic_run: WriteRun, tmp_path: Path) -> None:
    record = read_run(write_synthetic_run(tmp_path / "few", n_calls=1, n_failures=0, checks=10))
    table = intervals_table(record)
    assert table is not None
    for row in table.rows:
        assert row[2] == "1"
        assert row[-2:] == ("", "none: fewer than two labels")
        assert row[3] == row[4]


def test_a_run_with_one_label_and_no_prediction(write_synthetic_run: WriteRun, tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "first", n_initial=1, n_calls=0, n_failures=0, checks=1)
    (run / "versions.json").unlink()
    html, parser = parse(write_report(run, tmp_path / "report.html"))
    text = " ".join(parser.text)
    assert "None yet" in text
    assert "Calibration" not in text
    assert not re.search(r"\bnan\b", html, re.IGNORECASE)


def test_a_run_killed_before_its_first_label(tmp_path: Path) -> None:
    run = tmp_path / "killed"
    run.mkdir()
    (run / "ledger.jsonl").write_text('{"seq": 0, "time": "2026-01-01T00:00:00", "eve')
    _, parser = parse(write_report(run))
    assert "running or interrupted" in " ".join(parser.text)


def test_rows_and_labels_cut_short_by_a_kill_are_left_out(write_synthetic_run: WriteRun, tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "torn", n_calls=2, checks=20)
    with (run / "trace.csv").open("a") as stream:
        stream.write("24001,240")
    (run / "labels" / "label-0006.failed.extxyz").write_text("1\nfailure_reason=crashed\nCu 0 0 0\n")
    record = read_run(run)
    assert record.trace["step"].size == 20
    assert [label.number for label in record.labels] == [1, 2, 3, 4, 5]
    assert len(record.predicted) == 2


def test_one_species_without_energy_labels(write_synthetic_run: WriteRun, tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "forces", n_calls=2, checks=10)
    for path in (run / "labels").glob("*.extxyz"):
        text = re.sub(r"REF_energy=\S+ ", "", path.read_text())
        path.write_text(re.sub(r"(?m)^Cu ", "I  ", text))
    html, parser = parse(write_report(run))
    assert "energy label" not in html
    assert "Every force component" in " ".join(parser.text)


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such directory"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no ledger\.jsonl"):
        write_report(tmp_path)


def test_a_trace_without_a_column_names_it(write_synthetic_run: WriteRun, tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "old", n_calls=1, checks=3)
    trace = run / "trace.csv"
    trace.write_text(trace.read_text().replace("temperature_K,potential", "T,potential"))
    with pytest.raises(DataError, match="temperature_K"):
        read_run(run)


def test_an_existing_report_survives_a_damaged_run(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("precious")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "ledger.jsonl").write_text("not json\n{}\n")
    with pytest.raises(DataError, match="line 1"):
        write_report(broken, report)
    assert report.read_text() == "precious"


def test_thinning_keeps_the_peak_of_one_step() -> None:
    x = np.arange(20_000.0)
    y = np.sin(x / 700.0)
    y[12_345] = 9.0
    thin_x, thin_y = envelope(x, y)
    assert len(thin_x) <= 1500
    assert (np.diff(thin_x) > 0).all()
    assert thin_y.max() == 9.0
    assert thin_x[np.argmax(thin_y)] == 12_345.0
    assert thin_y.min() == y.min()
    assert (thin_x[0], thin_x[-1]) == (x[0], x[-1])


def test_short_series_are_left_alone() -> None:
    x = np.arange(5.0)
    assert envelope(x, x)[0] is x


def test_equal_figures_give_equal_bytes() -> None:
    def draw() -> str:
        with house_style("twice"):
            figure = new_figure(2, 2)
            figure.add_subplot().plot([0, 1], [0, 1])
            return to_svg(figure, "twice")

    assert draw() == draw()


def test_a_species_has_one_colour_whatever_the_order() -> None:
    assert species_colours(["I", "Cu", "I"]) == species_colours(["Cu", "I"])
    assert len(set(species_colours(["Ag", "Ga", "Se", "Cu"]).values())) == 4
