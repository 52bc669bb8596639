"""What MD sees at every step, against the exact error bar: the live bar and the support distance on the strata.

Trained on the calm crystal of every truth of `strata.py` (whose frames `strata.py make` makes), on fresh frames and every held-out
stratum:

live / exact     force uncertainty of an atom: the median of the ratio, and of its distance from 1
coverage         of the 95 % interval with the exact and with the live bar
outside          share of the atoms outside the support of the training data; on fresh frames these are false alarms
large            share of the atoms with an error above LARGE times the rms error of the fresh frames, and how many of them are
                 outside
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from _common import Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
from _strata_frames import load
from _strata_truths import HELD_OUT, Group, Stratum, Truth, chosen_truths
from ase import Atoms

from trepid.acquisition.calibration import coverage
from trepid.errors import ConfigError
from trepid.evaluation import Comparison, compare
from trepid.potentials.bayesian import BayesianForceField

N_TRAIN = 20
EVERY = 3
"""Every n-th frame of a stratum gets the exact bar, which costs most; live bar and support distance are of all of them."""
LARGE = 5.0


def norms(vectors: np.ndarray | None) -> np.ndarray:
    if vectors is None:
        raise ConfigError("the model gives no uncertainty")
    return np.asarray(np.linalg.norm(vectors, axis=1))


def share_inside(comparison: Comparison) -> float:
    std = comparison.forces_std
    if std is None:
        raise ConfigError("the model gives no uncertainty")
    return 100 * coverage(comparison.forces_error, std, 0.95)


def judge(model: BayesianForceField, frames: Sequence[Atoms], rms: float | None) -> tuple[dict[str, Any], float]:
    """Figures of one stratum, and the rms error of an atom on it; `rms` of the fresh frames, None for these themselves."""
    some = frames[::EVERY]
    exact, live = compare(model, some), compare(model, some, uncertainty="live")
    ratio = norms(live.forces_uncertainty) / norms(exact.forces_uncertainty)
    whole = compare(model, frames, uncertainty="live")
    if whole.support_distance is None:
        raise ConfigError("the model has no support data")
    error = norms(whole.forces_error)
    own = float(np.sqrt(np.mean(error**2)))
    large, outside = error > LARGE * (own if rms is None else rms), whole.support_distance > 1
    figures = {
        "live / exact": float(np.median(ratio)),
        "off by": float(np.median(np.abs(ratio - 1))),
        "coverage % exact": share_inside(exact),
        "live": share_inside(live),
        "outside %": 100 * float(outside.mean()),
        "large %": 100 * float(large.mean()),
        "of these outside %": 100 * float(outside[large].mean()) if large.any() else None,
    }
    return figures, own


def rows_of(truth: Truth) -> list[dict[str, Any]]:
    frames = load(truth)
    model = BayesianForceField(truth.species, n_threads=1).fit(frames[Stratum.TRAIN][:N_TRAIN])
    rows: list[dict[str, Any]] = []
    rms: float | None = None
    for stratum in (Stratum.FRESH, *HELD_OUT):
        figures, own = judge(model, frames[stratum], rms)
        rms = own if rms is None else rms
        rows.append({"truth": truth.name, "stratum": stratum.value, **figures})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("truths", nargs="*", help="names; default all")
    parser.add_argument("--group", type=Group, choices=list(Group), help="only this group")
    options = parser.parse_args()
    report = Report("live")
    for truth in chosen_truths(options.truths, options.group):
        report.table(truth.name, rows_of(truth))
    report.write()


if __name__ == "__main__":
    main()
