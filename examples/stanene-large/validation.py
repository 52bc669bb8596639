"""The final model on frames it is not trained on: new runs of small sheets, frames at even distances, labelled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sheet import Cells
from training import Errors, Start, Walker, explore, label_all

from trepid.config import load_campaign
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import read_frames, write_frames
from trepid.evaluation import evaluate
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.reference import make_reference

TEMPERATURES_K = (100.0, 200.0, 400.0, 700.0, 1000.0)
FRAMES_PER_WALKER = 3
SAMPLE_EVERY = 200
"""Steps between frames to choose from: cells without tension may collapse, and end, within 2 ps."""
SEED = 40_000
"""Not a seed of the training."""

BASES: dict[str, dict[str, Any]] = {
    "as used": {"triplet_cutoff": 5.0},
    "l_max 8": {"triplet_cutoff": 5.0, "l_max": 8},
    "n_radial 12": {"triplet_cutoff": 5.0, "n_radial": 12},
    "triplets to 7.2 A, n_radial 12, l_max 6": {"triplet_cutoff": 7.2, "n_radial": 12, "l_max": 6},
}


@dataclass(frozen=True)
class TestRecord:
    """Errors of the final model at one temperature.

    Attributes
    ----------
    temperature_K : float
    errors : Errors
    live_over_exact : float
        Median over atoms of the live uncertainty divided by the exact one.
    n_untrusted, n_atoms : int
        Atoms above the threshold by the live uncertainty, and all.
    """

    temperature_K: float
    errors: Errors
    live_over_exact: float
    n_untrusted: int
    n_atoms: int


@dataclass(frozen=True)
class BasisRecord:
    """Force errors with a larger basis: fitted to three quarters of the training labels, tested on the rest."""

    name: str
    train_rmse_eV_per_A: float
    test_rmse_eV_per_A: float


def compare_bases(run: Path) -> list[BasisRecord]:
    """Would more splines, angular degrees or range describe the material better? Written to validation/bases.json."""
    frames = read_frames(run / "training" / "labels.extxyz")
    order = np.random.default_rng(SEED).permutation(len(frames))
    held_out = len(frames) // 4
    test, train = [frames[k] for k in order[:held_out]], [frames[k] for k in order[held_out:]]
    records = []
    for name, settings in BASES.items():
        model = BayesianForceField(["Sn"], pair_cutoff=7.2, **settings).fit(train)
        errors = [evaluate(model, part).forces_rmse for part in (train, test)]
        records.append(BasisRecord(name, errors[0], errors[1]))
    write_text_atomic(run / "validation" / "bases.json", json.dumps([asdict(r) for r in records], indent=1) + "\n")
    return records


def validate(campaign_file: Path, run: Path, threshold_eV_per_A: float) -> list[TestRecord]:
    """Make, label and evaluate the test frames, or read what is there."""
    work = run / "validation"
    model_file = run / "training" / "model.trepid"
    model = BayesianForceField.load(model_file)
    reference = make_reference("tblite", **load_campaign(campaign_file).reference.arguments())
    records = []
    for k, kelvin in enumerate(TEMPERATURES_K):
        folder = work / f"{kelvin:04.0f}K"
        folder.mkdir(parents=True, exist_ok=True)
        chosen = folder / "frames.extxyz"
        if not chosen.exists():
            frames = []
            for j, start in enumerate((Start.SHEET, Start.SQUEEZED, Start.OVERLAP)):
                cells = {Start.SHEET: Cells(5, 3), Start.SQUEEZED: Cells(5, 2), Start.OVERLAP: Cells(4, 2)}[start]
                walker = Walker(start, cells, (kelvin, kelvin), duration_ps=30.0)
                sampled = explore(
                    folder / walker.name, walker, model_file, seed=SEED + 10 * k + j, sample_every=SAMPLE_EVERY
                ).sampled
                picks = np.unique(np.linspace(0, len(sampled) - 1, FRAMES_PER_WALKER).round().astype(int))
                frames += [sampled[p] for p in picks] if sampled else []
            write_frames(chosen, frames)
        labelled = label_all(read_frames(chosen, require=()), folder / "labels", reference)
        errors = Errors.of(model, labelled)
        if errors is None:
            continue
        live: list[NDArray[np.float64]] = [model.predict(a, uncertainty="live").atom_uncertainty for a in labelled]
        exact = [model.predict(a).atom_uncertainty for a in labelled]
        joined = np.concatenate(live)
        ratio = float(np.median(joined / np.concatenate(exact)))
        n_untrusted = int((joined > threshold_eV_per_A).sum())
        records.append(TestRecord(kelvin, errors, ratio, n_untrusted, len(joined)))
    write_text_atomic(work / "test.json", json.dumps([asdict(r) for r in records], indent=1) + "\n")
    return records
