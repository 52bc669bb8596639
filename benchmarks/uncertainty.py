"""Quality of the uncertainty: rank correlation with the errors, coverage of its intervals, and the live part of it.

Target, for a model trained on 20 crystal frames of CuI without events: on frames with a displaced Cu, not trained on, the
per-atom force uncertainty has a rank correlation of 0.7 or more with the error and 16 live directions give 90 % of it; on fresh
frames of the crystal the 95 % interval of model and noise covers 90 to 99 % of the force components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import CuI, Report, parse
from ase import Atoms
from numpy.typing import NDArray

from trepid.acquisition.calibration import spearman
from trepid.evaluation import evaluate
from trepid.potentials.bayesian import BayesianForceField


def stds(model: BayesianForceField, frames: Sequence[Atoms], level: str) -> NDArray[np.float64]:
    """Force uncertainties of all atoms of all frames, (n, 3)."""
    predictions = [model.predict(a, uncertainty=level) for a in frames]
    return np.concatenate([p.forces_uncertainty for p in predictions if p.forces_uncertainty is not None])


def calibration_row(name: str, model: BayesianForceField, frames: Sequence[Atoms]) -> dict[str, Any]:
    e = evaluate(model, frames)
    return {
        "frames": name,
        "number": e.n_frames,
        "force MAE meV/A": 1e3 * e.forces_mae,
        "covered by 68 %": e.forces_coverage_68,
        "covered by 95 %": e.forces_coverage_95,
        "factor that fits": e.forces_calibration_scale,
        "Spearman": e.forces_uncertainty_spearman,
    }


def main() -> None:
    options = parse(__doc__ or "")
    report, cui = Report("uncertainty"), CuI.read(options.data)
    model = BayesianForceField(["Cu", "I"], n_threads=1).fit(cui.crystal[:20])
    report.table(
        "Calibration of model and noise together, trained on 20 crystal frames of CuI",
        [
            calibration_row("crystal, fresh", model, cui.crystal[20:]),
            calibration_row("one Cu displaced, not trained on", model, cui.hops),
        ],
    )

    exact = stds(model, cui.hops, "exact")
    error = np.concatenate([model.predict(a, uncertainty="none").forces - a.arrays["REF_forces"] for a in cui.hops])
    error_norm = np.linalg.norm(error, axis=1)
    rows = []
    for rank in (16, 32, 64):
        model.live_rank = rank
        live = stds(model.update([]), cui.hops, "live")
        per_frame = [
            np.sqrt(np.sum(a**2) / np.sum(b**2))
            for a, b in zip(np.split(live, len(cui.hops)), np.split(exact, len(cui.hops)), strict=True)
        ]
        rows.append(
            {
                "directions": str(rank),
                "live over exact": float(np.sqrt(np.sum(live**2) / np.sum(exact**2))),
                "of the worst frame": float(min(per_frame)),
                "Spearman with error": spearman(np.linalg.norm(live, axis=1), error_norm),
            }
        )
    rows.append(
        {
            "directions": "all (exact)",
            "live over exact": 1.0,
            "of the worst frame": 1.0,
            "Spearman with error": spearman(np.linalg.norm(exact, axis=1), error_norm),
        }
    )
    report.table("Live force uncertainty on frames with a displaced Cu", rows)
    report.write()


if __name__ == "__main__":
    main()
