"""Stanene from its labels to a large sheet: train, simulate, analyse. See README.md."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.errors import DataError, TrepidError

if TYPE_CHECKING:
    from probes import PathRecord
    from validation import TestRecord

HERE = Path(__file__).resolve().parent
DEFAULT_RUN = HERE / "run"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, default=DEFAULT_RUN, metavar="DIR", help="run directory; its model is training/model.trepid"
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    stages.add_parser("train", help="label and train, generation by generation; resumes")
    sheet = stages.add_parser("simulate", help="run the large sheet; resumes")
    sheet.add_argument("temperatures", nargs="+", type=float, metavar="KELVIN", help="one after the other, K")
    sheet.add_argument("--clamped", action="store_true", help="at the area of the flat sheet, not free of tension")
    sheet.add_argument("--duration", type=float, default=200.0, metavar="PS", help="of each run, ps [%(default)g]")
    sheet.add_argument("--wall", type=float, metavar="MINUTES", help="stop each run after this time")
    stages.add_parser("validate", help="test the model on frames of new small sheets, and on paths of collapse")
    stages.add_parser("analyse", help="figures, pictures and the report of what is there")
    stages.add_parser("order", help="shares of sheet, bilayer, crystals and disorder over time, and of trusted atoms")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if arguments.stage == "train":
            from training import train

            print(train(HERE / "campaign.yaml", arguments.run))
        elif arguments.stage == "simulate":
            from simulation import LargeRun, simulate

            for kelvin in arguments.temperatures:
                large = LargeRun(kelvin, arguments.duration, arguments.clamped)
                simulate(large, arguments.run, wall_minutes=arguments.wall)
        elif arguments.stage == "order":
            from ordering import write_order

            print(write_order(arguments.run))
        elif arguments.stage == "validate":
            from validation import compare_bases

            _validate(arguments.run)
            _probe(arguments.run)
            compare_bases(arguments.run)
        else:
            _analyse(arguments.run)
    except TrepidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _validate(run: Path) -> list[TestRecord]:
    from training import THRESHOLD_EV_PER_A
    from validation import validate

    return validate(HERE / "campaign.yaml", run, THRESHOLD_EV_PER_A)


def _probe(run: Path) -> list[PathRecord]:
    from probes import probe

    return probe(HERE / "campaign.yaml", run)


def _analyse(run: Path) -> None:
    from analysis import analyse
    from report import figures_of, read_history, write_report
    from trepid.potentials.bayesian.force_field import BayesianForceField

    folders = sorted((run / "large").glob("*K*"), key=lambda folder: ("clamped" in folder.name, folder.name))
    if not folders:
        raise DataError(f"{run / 'large'} holds no run; run the stage simulate first")
    model = BayesianForceField.load(run / "training" / "model.trepid")
    records = [analyse(folder, model) for folder in folders]
    history, tests, probes = read_history(run), _validate(run), _probe(run)
    figures = figures_of(run, history, tests, probes, records)
    print(write_report(run, HERE / "results", figures, history, tests, probes, records))


if __name__ == "__main__":
    raise SystemExit(main())
