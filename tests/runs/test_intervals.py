from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from synthetic_run import write_synthetic_run
from trepid.acquisition.conformal import Basis, coverage_by_stratum
from trepid.data.frames import LabelKeys
from trepid.potentials.base import Noise, Prediction
from trepid.runs.intervals import Announced, event_classes, score_of, scored_labels, strata_of
from trepid.runs.label_files import LabelledFrame, LabelStore, Origin, PriorPrediction
from trepid.runs.ledger_events import Reason
from trepid.runs.reading import read_run
from trepid.runs.round_files import Pick, Selection

Make = Callable[..., LabelledFrame]


@pytest.fixture
def make() -> Make:
    rng = np.random.default_rng(0)

    def label(number: int, origin: Origin, *, noise: float = 0.05, std: float | None = 0.1) -> LabelledFrame:
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        forces = rng.normal(size=(8, 3))
        atoms.info["REF_energy"] = -3.0
        atoms.arrays["REF_forces"] = forces
        bars = None if std is None else np.full((8, 3), std)
        prediction = Prediction(
            -3.1,
            forces + 0.2 * rng.normal(size=(8, 3)),
            stress=np.arange(6) * 0.01,
            energy_uncertainty=0.02,
            forces_uncertainty=bars,
            stress_uncertainty=np.arange(1, 7) * 0.001,
        )
        before = PriorPrediction(prediction, Noise(0.01, noise, 0.002, 2.0))
        return LabelledFrame(number, atoms, LabelKeys(), origin, seconds=0.0, attempt=1, before=before)

    return label


def in_round(number: int, reason: Reason, temperature: float = 600.0) -> Origin:
    return Origin(reason, 0, 0.0, temperature, round=number)


def test_strata_are_stages_events_probes_and_temperatures() -> None:
    assert strata_of(Origin(Reason.UNCERTAINTY, 9, 9.0, 300.0, stage=1)) == ("stage 2",)
    assert strata_of(in_round(1, Reason.UNCERTAINTY)) == ("600 K",)
    assert strata_of(in_round(1, Reason.EVENT), "hop Cu") == ("hop Cu", "events")
    assert strata_of(in_round(1, Reason.EVENT)) == ("events",)
    assert strata_of(in_round(1, Reason.PROBE)) == ("probes",)


def test_scores_hold_uncertainty_and_noise_of_every_atom(make: Make) -> None:
    label = make(4, Origin(Reason.UNCERTAINTY, 0, 0.0, 300.0, stage=0))
    scored = score_of(label)
    assert scored is not None
    assert (scored.batch, scored.strata) == (4, ("stage 1",))
    predicted = label.prediction
    assert predicted is not None
    noise = 0.05 * np.sqrt(1 + (predicted.forces**2).sum(axis=1) / 4)
    expected = np.abs(predicted.forces - label.forces) / np.sqrt(0.1**2 + noise**2)[:, None]
    sodium = np.array(label.atoms.get_chemical_symbols()) == "Na"
    assert scored.scores["Na"] == pytest.approx(expected[sodium].ravel())
    assert scored.scores["Cl"] == pytest.approx(expected[~sodium].ravel())


def test_labels_without_an_error_bar_give_no_score(make: Make) -> None:
    origin = in_round(1, Reason.UNCERTAINTY)
    assert score_of(make(1, origin, std=None)) is None
    assert score_of(make(1, origin, std=0.0, noise=0.0)) is None


def test_label_files_keep_all_that_the_scores_need(make: Make, tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    label = make(1, in_round(2, Reason.EVENT))
    store.write(label)
    again = store.read(1)
    first, second = score_of(label, "hop"), score_of(again, "hop")
    assert first is not None
    assert second is not None
    assert second.batch == 2
    for name, scores in first.scores.items():
        assert second.scores[name] == pytest.approx(scores, rel=1e-6)
    assert again.prediction is not None
    assert again.noise is not None
    assert again.prediction.stress == pytest.approx(np.arange(6) * 0.01)
    assert again.prediction.stress_uncertainty == pytest.approx(np.arange(1, 7) * 0.001)
    assert again.noise.stress == pytest.approx(0.002)


def test_an_event_class_without_labels_takes_the_factor_of_all_events(make: Make) -> None:
    picks = tuple(
        Pick(k, Reason.EVENT, 0, 0, 0.0, 600.0, event_class=name, note=f"{name} | before")
        for k, name in ((1, "hop"), (2, "exchange"), (3, "exchange"))
    )
    classes = event_classes([Selection(1, None, (), (), (), (), 0, picks)])
    labels = [make(k, in_round(1, Reason.EVENT)) for k in (1, 2, 3)]
    scored = scored_labels(labels, classes)
    given = Announced.of(scored, in_round(2, Reason.EVENT), ["Na", "Cl"], "exchange")
    assert (given.stratum, given.factors["Na"].basis, given.factors["Na"].n_frames) == ("exchange", Basis.STRATUM, 2)
    parent = Announced.of(scored, in_round(2, Reason.EVENT), ["Na"], "pair")
    assert (parent.factors["Na"].basis, parent.factors["Na"].n_frames) == (Basis.PARENT, 3)
    assert "Na" in str(parent)
    assert str(Announced.of([], in_round(1, Reason.EVENT), ["Na"])) == "interval as predicted"


def test_errors_drawn_from_the_bars_need_no_factor(tmp_path: Path) -> None:
    record = read_run(write_synthetic_run(tmp_path / "run", n_calls=12, checks=10))
    rows = coverage_by_stratum(record.scored())
    assert {row.stratum for row in rows} <= {"stage 1", "stage 2"}
    long = [row for row in rows if row.coverage.n_frames >= 4]
    assert long
    for row in long:
        assert row.factor.value == pytest.approx(1.0, abs=0.15)
        assert row.coverage.corrected == pytest.approx(0.95, abs=0.03)


def test_the_factors_now_are_those_of_the_stratum_of_the_latest_label(tmp_path: Path) -> None:
    record = read_run(write_synthetic_run(tmp_path / "run", n_calls=12, checks=10))
    latest = record.scored()[-1]
    (of_stratum,) = {latest.stratum}
    now = {row.species: row.factor for row in coverage_by_stratum(record.scored()) if row.stratum == of_stratum}
    assert record.factors_now() == now
    assert read_run(write_synthetic_run(tmp_path / "first", n_calls=0, n_failures=0)).factors_now() == {}
