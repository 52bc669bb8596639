"""Sizes chosen by the training frames: errors, time per MD step and of the fit, against the default sizes.

    sizes.py [--speed balanced|accurate] [--data DIR] [SET ...]

Sets: cui (20 crystal frames; fresh ones and frames with a displaced Cu), si_snap_10, si_snap_20, si_snap_36 (frames at 300 K,
tested at 300 and 1000 K; needs si_snap_64.extxyz in DIR), si_tersoff (made here: 20 frames at 300 and 1000 K) and the truths
of strata.py (made by it). Each table row is one test set; sizes are chosen on training frames only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import HERE, CuI, Report

# isort: split

from _strata_frames import Start, lattice_constant, load, trajectory
from _strata_truths import Group, Kind, Prototype, Stratum, Temperatures, Truth, chosen_truths
from ase import Atoms

from trepid.choices import Speed
from trepid.data import LabelKeys, read_frames, write_frames
from trepid.evaluation import evaluate
from trepid.potentials.bayesian.size_search import SizeStep
from trepid.potentials.bayesian.sized_fit import SizedFit, fit_with_sizes
from trepid.potentials.bayesian.sizes import GivenSizes

TERSOFF = Truth(
    name="si_tersoff",
    group=Group.CHECK,
    kind=Kind.BOND_ORDER,
    commands=("pair_style tersoff", "pair_coeff * * Si.tersoff Si"),
    species=("Si",),
    prototype=Prototype.DIAMOND,
    lattice_A=5.43,
    repeat=2,
    temperatures=Temperatures(300.0, 1000.0, 1300.0),
    timestep_fs=2.0,
    expansion_per_K=4e-6,
)
N_OF_A_TEMPERATURE = 24
"""Tersoff frames: the first ten of a temperature train, the last twelve test."""


@dataclass(frozen=True)
class Split:
    """Training frames and sets of test frames."""

    train: Sequence[Atoms]
    tests: Mapping[str, Sequence[Atoms]]


def cui(data: Path) -> Split:
    frames = CuI.read(data)
    return Split(frames.crystal[:20], {"fresh": frames.crystal[20:], "displaced Cu": frames.hops})


def si_snap(n: int) -> Callable[[Path], Split]:
    def split(data: Path) -> Split:
        frames = read_frames(data / "si_snap_64.extxyz")
        cold, hot = frames[:40], frames[40:]
        train = {10: cold[::4], 20: cold[::2], 36: [a for k, a in enumerate(cold) if k % 10 != 5]}[n]
        return Split(train, {"300 K": [a for k, a in enumerate(cold) if k % 10 == 5], "1000 K": hot})

    return split


def si_tersoff(_: Path) -> Split:
    path = HERE / "data" / "strata" / "si_tersoff_mixed.extxyz"
    if not path.exists():
        reference = TERSOFF.reference()
        lattice_A, frames = lattice_constant(TERSOFF, reference), []
        for k, temperature_K in enumerate((TERSOFF.temperatures.low_K, TERSOFF.temperatures.middle_K)):
            crystal = TERSOFF.crystal(lattice_A * (1 + TERSOFF.expansion_per_K * temperature_K))
            for frame in trajectory(TERSOFF, Start(crystal, temperature_K), N_OF_A_TEMPERATURE, seed=77 + k):
                frames.append(reference.label(frame))
        reference.close()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_frames(path, frames)
    frames = read_frames(path)
    cold, warm = frames[:N_OF_A_TEMPERATURE], frames[N_OF_A_TEMPERATURE:]
    return Split(cold[:10] + warm[:10], {"fresh": cold[12:] + warm[12:], "300 K": cold[12:], "1000 K": warm[12:]})


def stratum(truth: Truth) -> Callable[[Path], Split]:
    def split(_: Path) -> Split:
        frames = load(truth)
        return Split(frames[Stratum.TRAIN][:20], {s.value: own for s, own in frames.items() if s is not Stratum.TRAIN})

    return split


SETS: dict[str, Callable[[Path], Split]] = {
    "cui": cui,
    **{f"si_snap_{n}": si_snap(n) for n in (10, 20, 36)},
    "si_tersoff": si_tersoff,
    **{truth.name: stratum(truth) for truth in chosen_truths([])},
}


def fitted(split: Split, speed: Speed) -> tuple[SizedFit, float]:
    """A fit and its time, CPU seconds."""

    def show(step: SizeStep) -> None:
        figures = [step.evidence_gain, *(None if e is None else 1000 * e for e in (step.left_out_rmse, step.hot_rmse))]
        words = " ".join("-" if value is None else f"{value:.5g}" for value in figures)
        print(
            f"  {step.change:<26} x{step.cost:.2f} {words} {'accepted' if step.accepted else 'refused'} {step.reason}"
        )

    species = sorted({symbol for atoms in split.train for symbol in atoms.get_chemical_symbols()})
    begun = time.process_time()
    fit = fit_with_sizes(split.train, species, given=GivenSizes(), speed=speed, keys=LabelKeys(), progress=show)
    return fit, time.process_time() - begun


def rows(name: str, split: Split, speed: Speed) -> list[dict[str, Any]]:
    """One row for each test set: default sizes and chosen ones."""
    default, default_s = fitted(split, Speed.FAST)
    chosen, chosen_s = fitted(split, speed)
    print(f"  {chosen.choice.sizes}", flush=True)
    taken = [step for step in chosen.choice.steps if step.accepted]
    found = []
    for test, frames in split.tests.items():
        before, after = (evaluate(fit.model, frames) for fit in (default, chosen))
        found.append(
            {
                "set": name,
                "test": test,
                "rmse % default": 100 * before.forces_rmse / before.forces_rms,
                "chosen": 100 * after.forces_rmse / after.forces_rms,
                "MAE default": 1000 * before.forces_mae,
                "MAE chosen": 1000 * after.forces_mae,
                "Spearman": after.forces_uncertainty_spearman,
                "cov95": after.forces_coverage_95,
                "MD cost": taken[-1].cost if taken else 1.0,
                "fit s": f"{default_s:.1f} -> {chosen_s:.1f}",
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; default: all")
    parser.add_argument("--speed", type=Speed, choices=list(Speed), default=Speed.BALANCED)
    parser.add_argument(
        "--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of cui and si_snap"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.sets) - set(SETS))
    if unknown:
        parser.error(f"there is no set {unknown[0]!r}; known are {', '.join(SETS)}")
    report = Report("sizes")
    for name in options.sets or SETS:
        print(f"{name}, {options.speed.value}", flush=True)
        report.table(
            f"{name}: default sizes and {options.speed.value}", rows(name, SETS[name](options.data), options.speed)
        )
    report.write()


if __name__ == "__main__":
    main()
