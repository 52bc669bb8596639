"""The example with five species: its frames, its commands on small sizes, and the counts that its page names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trepid.choices import Triplets
from trepid.cli.main import app
from trepid.data import read_frames
from trepid.data.duplicates import distinct
from trepid.data.frames import LabelKeys
from trepid.evaluation import evaluate
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.sizes import Sizes

FOLDER = Path(__file__).parents[1] / "examples" / "kesterite"
SPECIES = ["Cu", "Zn", "Sn", "S", "Se"]


def test_the_frames_are_labelled_different_and_of_five_species() -> None:
    sets = {name: read_frames(FOLDER / f"{name}.extxyz") for name in ("train", "test", "hot")}
    assert {name: len(frames) for name, frames in sets.items()} == {"train": 36, "test": 12, "hot": 8}
    every = [frame for frames in sets.values() for frame in frames]
    assert len(distinct(every, LabelKeys())) == len(every)
    for frame in every:
        assert set(frame.get_chemical_symbols()) == set(SPECIES)
        assert np.isfinite(frame.arrays["REF_forces"]).all()
        assert {"REF_energy", "REF_stress"} <= set(frame.info)


def test_the_page_names_the_numbers_of_coefficients() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for count in (Sizes().n_coefficients(SPECIES), Sizes(triplets=Triplets.FULL).n_coefficients(SPECIES)):
        assert str(count) in page.replace(" ", "")


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On sizes that take seconds."""
    monkeypatch.chdir(tmp_path)
    sizes = ["--n-radial", "4", "--l-max", "1", "--n-pair", "10", "--channels", "0", "--triplet-cutoff", "4"]
    for words in (
        ["check", str(FOLDER / "train.extxyz")],
        ["fit", str(FOLDER / "train.extxyz"), "-o", "small.trepid", "--no-check", *sizes],
        ["evaluate", "small.trepid", str(FOLDER / "test.extxyz"), "--ood", str(FOLDER / "hot.extxyz")],
    ):
        with pytest.raises(SystemExit) as done:
            app(words)
        assert done.value.code in (0, None), capsys.readouterr()
    model = BayesianForceField.load(tmp_path / "small.trepid", n_threads=1)
    assert model.basis.triplet_channels is not None
    figures = evaluate(model, read_frames(FOLDER / "test.extxyz"))
    assert figures.forces_rmse < 0.3 * figures.forces_rms
