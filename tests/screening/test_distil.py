from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from kills import Killed, kill_at
from screening_fakes import SoftEMT
from trepid.choices import Engine
from trepid.config.reference import ASECalculatorSettings, CHGNetSettings, TBLiteSettings
from trepid.errors import ConfigError
from trepid.potentials import load_potential
from trepid.reference.ase_calculator import ASECalculatorReference
from trepid.runs.label_files import LabelStore
from trepid.screening.distil import Distilled, DistilSettings, distil
from trepid.screening.distil_page import write_page
from trepid.screening.second import check_with
from trepid.screening.teacher import method_of

EMT_METHOD = ASECalculatorSettings(engine="ase", calculator="emt")


def settings(folder: Path) -> DistilSettings:
    crystal = folder / "cu.extxyz"
    if not crystal.exists():
        write(crystal, bulk("Cu", "fcc", a=3.65, cubic=True))
    return DistilSettings(
        teacher="soft",
        structure=str(crystal),
        supercell=(1, 1, 2),
        temperatures_K=(200.0,),
        labels=12,
        duration_ps=0.8,
        timestep_fs=4.0,
        engine=Engine.ASE,
    )


@pytest.fixture(scope="session")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    folder = tmp_path_factory.mktemp("distil")
    return distil(settings(folder), EMT_METHOD, folder / "out", reference=soft_reference())


def soft_reference() -> ASECalculatorReference:
    return ASECalculatorReference(calculator="screening_fakes:SoftEMT")


def test_a_student_is_close_to_its_teacher_on_fresh_frames_and_says_how_close(distilled: Distilled) -> None:
    (figures,) = distilled.fresh
    assert figures.n_frames == 8
    assert figures.forces_mae_meV_per_A < 0.1 * figures.forces_rms_meV_per_A
    assert figures.coverage_95 is not None
    assert figures.coverage_95 > 0.8
    student = load_potential(distilled.model)
    for label in distilled.labels:  # the figures are those of the model file, and the labels those of the teacher
        frame = label.atoms.copy()
        frame.calc = SoftEMT()
        assert label.forces == pytest.approx(frame.get_forces(), abs=1e-10)
        assert label.prediction is not None
        assert student.predict(frame).forces == pytest.approx(label.prediction.forces, abs=1e-9)


def test_fresh_frames_are_no_training_frames(distilled: Distilled) -> None:
    trained = LabelStore(distilled.directory / "run" / "labels").read_all()
    for label in distilled.labels:
        distances = [np.abs(label.atoms.positions - other.atoms.positions).max() for other in trained]
        assert min(distances) > 1e-3


def test_a_better_method_sees_that_teacher_and_student_are_too_soft_and_a_correction_mends_it(
    distilled: Distilled,
) -> None:
    checked, frames = check_with(
        distilled, EMT_METHOD, 3, correct=True, reference=ASECalculatorReference(calculator="emt")
    )
    assert checked.teacher.slope == pytest.approx(0.8, abs=1e-6)
    assert checked.student.slope == pytest.approx(0.8, abs=0.03)
    # Errors against the truth, by hand.
    errors = np.concatenate([frame.label.forces - frame.better.forces for frame in frames])
    assert checked.teacher.forces_mae_meV_per_A == pytest.approx(1000 * np.abs(errors).mean())
    assert checked.corrected is not None
    assert checked.kept
    assert checked.corrected.forces_mae_meV_per_A < 0.5 * checked.student.forces_mae_meV_per_A
    corrected = load_potential(distilled.directory / "corrected.trepid")
    unseen = read(distilled.directory / "run" / "rounds" / "crystal.extxyz")
    unseen.rattle(0.08, seed=3)
    unseen.calc = EMT()
    truth = unseen.get_forces()
    before = np.abs(load_potential(distilled.model).predict(unseen).forces - truth).mean()
    assert np.abs(corrected.predict(unseen).forces - truth).mean() < 0.6 * before


def test_the_page_states_all_three(distilled: Distilled) -> None:
    checked, frames = check_with(distilled, EMT_METHOD, 2, reference=ASECalculatorReference(calculator="emt"))
    text = write_page(distilled, checked, frames).read_text()
    for part in ("Student against teacher", "Against ase", f"{checked.student.forces_mae_meV_per_A:.1f}", "announced"):
        assert part in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_killed_distillation_goes_on_and_labels_nothing_twice(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (3, 12):  # in the relaxation or the campaign, and later
        undo = kill_at(monkeypatch, LabelStore, "write", count, after=True)
        with pytest.raises(Killed):
            distil(settings(tmp_path), EMT_METHOD, tmp_path / "out", reference=soft_reference())
        undo()
    again = distil(settings(tmp_path), EMT_METHOD, tmp_path / "out", reference=soft_reference())
    assert again.fresh == distilled.fresh
    assert (again.n_labels, again.n_relaxation) == (distilled.n_labels, distilled.n_relaxation)
    computed = sum(
        json.loads(line)["event"] == "label"
        for ledger in (tmp_path / "out").rglob("ledger.jsonl")
        for line in ledger.read_text().splitlines()
    )
    assert computed == again.n_labels + again.n_relaxation + again.n_fresh


def test_methods_are_named_by_file_engine_model_and_calculator(tmp_path: Path) -> None:
    assert method_of("tblite") == TBLiteSettings()
    assert method_of("tblite:GFN2-xTB") == TBLiteSettings(method="GFN2-xTB")
    assert method_of("chgnet:r2scan") == CHGNetSettings(engine="chgnet", model="r2scan")
    assert method_of("ase.calculators.lj:LennardJones") == ASECalculatorSettings(
        engine="ase", calculator="ase.calculators.lj:LennardJones"
    )
    engine = tmp_path / "gfn.yaml"
    engine.write_text("reference: {engine: tblite, accuracy: 0.5}\n")
    assert method_of(str(engine)) == TBLiteSettings(accuracy=0.5)
    with pytest.raises(ConfigError, match="chgnet:0.9: Input should be"):
        method_of("chgnet:0.9")


def test_another_distillation_in_the_directory_is_refused(distilled: Distilled, tmp_path: Path) -> None:
    other = DistilSettings(**{**distilled.settings.__dict__, "labels": 24})
    with pytest.raises(ConfigError, match="another labels: 12, not 24"):
        distil(other, EMT_METHOD, distilled.directory, reference=soft_reference())
    with pytest.raises(ConfigError, match="labels 4: at least 12"):
        DistilSettings(teacher="emt", structure="x", labels=4)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files, but no distillation"):
        distil(settings(tmp_path), EMT_METHOD, tmp_path, reference=soft_reference())
