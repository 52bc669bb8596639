"""Cost of training: time and memory per frame do not grow with the number of frames; time of an update.

Target: flat columns up to 500 frames of 64 atoms; update after one new frame, posterior and live directions included, within 2 s.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import CuI, Report, measure, parse
from ase import Atoms

from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.live import live_directions
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import SufficientStatistics

COUNTS = (20, 50, 100, 200, 300, 400, 500)


def frames(source: list[Atoms], n: int) -> list[Atoms]:
    """N labelled frames from a few: each a little displaced; the cost does not depend on the labels."""
    rng = np.random.default_rng(0)
    out = []
    for k in range(n):
        atoms = source[k % len(source)].copy()
        atoms.positions += rng.normal(scale=0.005, size=atoms.positions.shape)
        out.append(atoms)
    return out


def growth(model: BayesianForceField, all_frames: list[Atoms]) -> list[dict[str, float]]:
    """Add frames one after the other; a row at each of COUNTS."""
    rows, seconds = [], []
    for k, atoms in enumerate(all_frames, start=1):
        start = time.perf_counter()
        model.features.add(
            model.statistics,
            atoms,
            keys=model.keys,
            reference_energies=model.reference_energies,
            noise=model.noise,
        )
        seconds.append(time.perf_counter() - start)
        if k not in COUNTS:
            continue
        start = time.perf_counter()
        model.update([])
        posterior = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.trepid"
            model.save(file)
            megabytes = file.stat().st_size / 1e6
        kept = sum(s.gram.nbytes + s.projection.nbytes for s in model.statistics.kinds.values())
        rows.append(
            {
                "frames": k,
                # The median of the last 20, which an interruption of the machine does not move.
                "one more frame ms": 1e3 * float(np.median(seconds[-20:])),
                "posterior and live ms": 1e3 * posterior,
                "statistics MB": kept / 1e6,
                "model file MB": megabytes,
                "peak memory of the process MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            }
        )
    return rows


def main() -> None:
    options = parse(__doc__ or "")
    report, cui = Report("cost"), CuI.read(options.data)
    model = BayesianForceField(["Cu", "I"], n_threads=1)
    start = time.perf_counter()
    model.fit(cui.crystal[:20])
    seconds = time.perf_counter() - start

    new, size = cui.hops[0], model.basis.layout.size
    parts = {
        "sufficient statistics of the frame": lambda: model.features.add(
            SufficientStatistics(size),
            new,
            keys=model.keys,
            reference_energies=model.reference_energies,
            noise=model.noise,
        ),
        "posterior": lambda: Posterior(model.basis, model.hyperparameters, model.statistics),
        "live directions": lambda: live_directions(model.posterior, model._environments, model.live_rank),
        "update, all of it": lambda: model.update([new]),
        "evidence and its gradient": lambda: model.posterior.log_evidence_gradient(),
        "exact uncertainty of one frame": lambda: model.predict(new),
    }
    rows = [{"step": name, "ms": 1e3 * value} for name, value in measure(parts, seconds=2).items()]
    rows.append({"step": "fit of 20 frames, hyperparameters included", "ms": 1e3 * seconds})
    report.table(f"CuI, 64 atoms, {size} coefficients", rows)

    fresh = BayesianForceField(["Cu", "I"], hyperparameters=model.hyperparameters, n_threads=1).update(cui.crystal[:1])
    report.table("Growth with the number of frames", growth(fresh, frames(cui.crystal, COUNTS[-1])))
    report.write()


if __name__ == "__main__":
    main()
