"""Accuracy from few labels: errors on frames that were not trained on.

Target: trained on the first 20 crystal frames without events of CuI, force MAE of at most 15 meV/A on the others of the same kind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from _common import CuI, Report, parse
from ase import Atoms

from trepid.data import read_frames
from trepid.evaluation import evaluate
from trepid.potentials.bayesian import BayesianForceField


def row(name: str, model: BayesianForceField, train: Sequence[Atoms], test: Sequence[Atoms]) -> dict[str, Any]:
    """Fit and test."""
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    return errors(name, model, test) | {"fit s": seconds}


def errors(name: str, model: BayesianForceField, test: Sequence[Atoms]) -> dict[str, Any]:
    e = evaluate(model, test)
    return {
        "test frames": name,
        "trained on": model.n_frames,
        "coefs": model.basis.layout.size,
        "force MAE meV/A": 1e3 * e.forces_mae,
        "force RMSE meV/A": 1e3 * e.forces_rmse,
        "force rms meV/A": 1e3 * e.forces_rms,
        "energy MAE meV/atom": None if e.energy_mae_per_atom is None else 1e3 * e.energy_mae_per_atom,
        "stress RMSE meV/A^3": None if e.stress_rmse is None else 1e3 * e.stress_rmse,
    }


def main() -> None:
    options = parse(__doc__ or "")
    report, cui = Report("accuracy"), CuI.read(options.data)
    rows = []
    for n in (8, 20):
        model = BayesianForceField(["Cu", "I"], n_threads=1)
        rows.append(row("CuI GFN1-xTB, crystal", model, cui.crystal[:n], cui.crystal[20:]))
    rows.append(errors("CuI, one Cu displaced, not trained on", model, cui.hops) | {"fit s": None})

    frames = read_frames(options.data / "aggase2_gfn1_16.extxyz")
    model = BayesianForceField(
        ["Ag", "Ga", "Se"], pair_cutoff=5.5, triplet_cutoff=4.5, n_radial=6, l_max=3, n_threads=1
    )
    rows.append(row("AgGaSe2 GFN1-xTB", model, frames[:25], frames[25:]))

    frames = read_frames(options.data / "si_sw_64.extxyz")
    cold, hot = frames[: len(frames) // 2], frames[len(frames) // 2 :]
    model = BayesianForceField(["Si"], pair_cutoff=4.5, triplet_cutoff=4.5, n_threads=1)
    rows.append(row("Si Stillinger-Weber, 300 K", model, cold[:5] + hot[:5], cold[5:]))
    rows.append(errors("Si Stillinger-Weber, 1000 K", model, hot[5:]) | {"fit s": None})

    frames = read_frames(options.data / "sn_pbe_8_train.extxyz")
    model = BayesianForceField(["Sn"], pair_cutoff=7.0, triplet_cutoff=5.0, n_threads=1)
    rows.append(row("stanene PBE", model, frames[:11], frames[11:]))
    report.table("Errors on frames not trained on", rows)
    report.write()


if __name__ == "__main__":
    main()
