"""Fit a force field of five species, and judge it on fresh frames and on hotter ones."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from trepid import BayesianForceField
from trepid.choices import Triplets
from trepid.data import read_frames
from trepid.evaluation import evaluate

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Train, judge, and write the model if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--triplets", type=Triplets, choices=list(Triplets), default=Triplets.AUTO)
    parser.add_argument("--model", type=Path, help="file to write the model to")
    options = parser.parse_args()

    train = read_frames(HERE / "train.extxyz")
    model = BayesianForceField(["Cu", "Zn", "Sn", "S", "Se"], triplets=options.triplets, n_channels=0)
    began = time.process_time()
    model.fit(train)
    print(
        f"{model.triplets.value} triplets: {model.basis.layout.size} coefficients, "
        f"fitted to {model.n_frames} frames in {time.process_time() - began:.0f} s"
    )
    for name in ("test", "hot"):
        figures = evaluate(model, read_frames(HERE / f"{name}.extxyz"))
        print(
            f"{name}: force error {1000 * figures.forces_rmse:.0f} meV/A, "
            f"{100 * figures.forces_rmse / figures.forces_rms:.1f} % of the rms force; "
            f"{100 * (figures.forces_coverage_95 or 0):.0f} % inside the 95 % interval"
        )
    if options.model is not None:
        model.save(options.model)


if __name__ == "__main__":
    main()
