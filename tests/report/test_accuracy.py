"""The sections on errors and costs, against sums done here; the files of the frames; what to cite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import read

from synthetic_run import Written
from trepid.evaluation import summarise
from trepid.report.accuracy import accuracy_section, species_section
from trepid.report.citation import AUTHORS, TITLE, citation
from trepid.report.costs import cost_rows
from trepid.report.frame_sets import sets_of_run
from trepid.report.rounds import progress_sentence
from trepid.runs.ledger_events import Reason
from trepid.runs.reading import RunRecord
from trepid.runs.round_files import RoundRecord
from trepid.verdict import Basis, Verdict


@pytest.fixture(scope="module")
def record(written: Written) -> RunRecord:
    return written.record


def errors(record: RunRecord) -> list[np.ndarray]:
    return [label.prediction.forces - label.forces for label in record.predicted if label.prediction is not None]


def test_the_worst_frame_is_that_of_the_largest_error_and_its_file_holds_it(written: Written) -> None:
    record, folder = written.record, written.page.parent / "page"
    largest = [np.linalg.norm(error, axis=1).max() for error in errors(record)]
    frame = read(folder / "worst-asked-for-before-training.extxyz")
    assert frame.info["label_index"] == record.predicted[int(np.argmax(largest))].number
    difference = np.linalg.norm(frame.arrays["predicted_forces"] - frame.arrays["REF_forces"], axis=1)
    np.testing.assert_allclose(frame.arrays["force_error"], difference, atol=1e-7)
    assert difference.max() == pytest.approx(max(largest))
    assert "predicted_forces_std" in frame.arrays
    assert len(read(folder / "crystal.extxyz")) == 64


def test_atoms_that_are_held_are_no_worst_atom(record: RunRecord) -> None:
    from ase.constraints import FixAtoms

    (asked,) = sets_of_run(record)
    worst = asked.worst()
    frame = asked.frames[worst.frame].copy()
    frame.set_constraint(FixAtoms([worst.atom]))
    label = asked.labels[worst.frame]
    assert label.forces is not None
    forces = label.forces.copy()
    forces[worst.atom] = 0.0
    held = replace(
        asked,
        frames=(frame,),
        titles=("x",),
        labels=(replace(label, forces=forces),),
        predictions=(asked.predictions[worst.frame],),
        noises=(asked.noises[worst.frame],),
    )
    assert held.worst().atom != worst.atom


def test_errors_by_species_are_those_of_its_atoms(record: RunRecord) -> None:
    (section,) = species_section(sets_of_run(record))
    assert section.table is not None
    rows = {row[1]: row for row in section.table.rows}
    for symbol in ("Cu", "I"):
        own = np.concatenate(
            [
                error[np.array(label.atoms.get_chemical_symbols()) == symbol]
                for error, label in zip(errors(record), record.predicted, strict=True)
            ]
        )
        assert rows[symbol][4] == f"{1000 * np.abs(own).mean():.3g}"
        assert rows[symbol][5] == f"{1000 * np.sqrt((own**2).mean()):.3g}"
        assert rows[symbol][8] == f"{1000 * np.linalg.norm(own, axis=1).max():.4g}"


def test_frames_drawn_at_random_are_a_row_of_their_own(record: RunRecord) -> None:
    drawn = [
        replace(label, origin=replace(label.origin, reason=Reason.RANDOM)) if k >= 7 else label
        for k, label in enumerate(record.labels)
    ]
    sets = sets_of_run(replace(record, labels=tuple(drawn)))
    assert [(each.chosen, len(each.frames)) for each in sets] == [(True, 4), (False, 2)]
    unknown = Verdict(Basis.BEFORE, 0, np.nan, np.nan)
    with_control = accuracy_section(record, sets, unknown)
    alone = accuracy_section(record, sets_of_run(record), unknown)
    assert with_control.table is not None
    assert with_control.table.rows[0][0] == "drawn at random, before training"
    assert "--test FRAMES" not in with_control.text
    assert "--test FRAMES" in alone.text


def test_costs_are_the_sums_of_the_ledger(record: RunRecord) -> None:
    rows = {name: (amount, seconds) for name, amount, seconds, _ in cost_rows(record)}
    assert rows["reference"] == ("9 labels", pytest.approx(9 * 2.9))
    assert rows["training"] == ("9 times", pytest.approx(9 * 0.4))
    slow = replace(
        record, entries=tuple(replace(e, time=f"2026-01-01T00:{k:02d}:00+00:00") for k, e in enumerate(record.entries))
    )
    rest = {name: seconds for name, _, seconds, _ in cost_rows(slow)}["molecular dynamics and the rest"]
    assert rest == pytest.approx(60 * (len(record.entries) - 1) - 9 * 3.3)


@pytest.mark.parametrize(
    ("shares", "told"), [((1.0, 1.02, 0.95), "has not fallen"), ((1.0, 0.7, 0.5), "falls"), ((1.0,), "")]
)
def test_errors_that_do_not_fall_over_rounds_are_said(record: RunRecord, shares: tuple[float, ...], told: str) -> None:
    comparison = record.comparison()
    assert comparison is not None
    figures = summarise(comparison)
    rounds = tuple(
        RoundRecord(
            round=k,
            labels=(),
            n_failed=0,
            n_corrupted=0,
            n_labels=k,
            next_label=1,
            walks=(),
            new=replace(figures, forces_mae=0.05 * share),
            test=None,
            calibration={},
            sigma_a=(),
            n_worthy=0,
            new_classes=(),
            noise_forces=0.01,
        )
        for k, share in enumerate(shares, 1)
    )
    sentences = progress_sentence(replace(record, rounds=rounds))
    assert (told in sentences[0]) if told else sentences == []


def test_the_citation_is_that_of_the_file() -> None:
    path = Path(__file__).parents[2] / "CITATION.cff"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["title"] == TITLE
    assert [author["name"] for author in content["authors"]] == [AUTHORS]
    assert f"version = {{{content['version']}}}" in citation().bibtex
