"""Screenings: random kills, shares of the budget replayed from records, speed of a student against its teacher.

python benchmarks/screening.py kills --kills 30             # six metals by EMT
python benchmarks/screening.py shares DIR                   # DIR: a screening whose materials had all of their rounds
python benchmarks/screening.py naive DIR                    # what the models of the harmonic frames do wrong, by audit
python benchmarks/screening.py coverage DIR                 # coverage of every material, were all bars exactly right
python benchmarks/screening.py speed MODEL CRYSTAL TEACHER  # seconds per energy and forces, 64 and 512 atoms
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.config.screening import load_screening
from trepid.screening.dashboard import write_dashboard
from trepid.screening.run import screen

if TYPE_CHECKING:
    from trepid.arrays import FloatArray
    from trepid.runs.reading import RunRecord

say = partial(print, flush=True)

METALS = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}
SETTINGS = """\
materials:
{materials}
reference: {{engine: ase, calculator: emt}}
cell: {{least_atoms: 8, most_atoms: 8, least_width_A: 4.0}}
potential: {{pair_cutoff_A: 4.0, triplet_cutoff_A: 3.2, n_pair: 8, n_radial: 4, l_max: 2}}
start: {{kind: harmonic, n: 3, temperature_K: 300}}
walkers: {{temperatures_K: [300], duration_ps: 0.8, timestep_fs: 4, check_every: 4, equilibrate_ps: 0.1}}
acquisition: {{labels_per_round: 2}}
rounds: {{max_rounds: {rounds}, stop: {{sigma_a: {tolerance}}}}}
budget: {{materials_per_turn: 3, share: {share}}}
execution: {{workers: {workers}}}
output: {{directory: out}}
"""


def write_settings(folder: Path, *, rounds: int, tolerance: float, share: str = "risk", workers: int = 1) -> Path:
    """A screening of six metals in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"  - {{name: {name}, prototype: fcc, a: {a}}}" for name, a in METALS.items())
    path = folder / "metals.yaml"
    path.write_text(SETTINGS.format(materials=lines, rounds=rounds, tolerance=tolerance, share=share, workers=workers))
    return path


# ---------------------------------------------------------------------------------------------- random kills


def start(settings: Path) -> int:
    """Start or resume a screening in a process of its own, as `trepid screen` does; gives its number.

    A fork, so that libraries are not loaded again for every kill; what the screening starts, it starts anew.
    """
    number = os.fork()
    if number:
        return number
    try:
        log = os.open(settings.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        result = screen(load_screening(settings), tell=say, after_turn=write_dashboard)
        say(result.summary())
        os._exit(result.exit_code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(number: int, patience_s: float | None = None) -> int | None:
    """Wait for a process; gives its exit code, None where it still runs after `patience_s`."""
    deadline = None if patience_s is None else time.monotonic() + patience_s
    while True:
        done, status = os.waitpid(number, 0 if deadline is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


def files_written(folder: Path) -> int:
    """Labels, records and lines of the ledger: what shows that a start does its work."""
    ledger = folder / "out" / "ledger.jsonl"
    lines = ledger.read_bytes().count(b"\n") if ledger.exists() else 0
    return lines + sum(1 for _ in (folder / "out").glob("materials/*/*/labels/*.extxyz"))


def kills(arguments: argparse.Namespace) -> None:
    """Kill a screening at random moments; afterwards compare labels, table and labels computed twice."""
    rng = random.Random(arguments.seed)
    straight = write_settings(arguments.folder / "straight", rounds=arguments.rounds, tolerance=1e-6)
    killed = write_settings(
        arguments.folder / "killed", rounds=arguments.rounds, tolerance=1e-6, workers=arguments.workers
    )
    if ended(start(straight)) != 0:
        raise SystemExit(f"the uninterrupted screening failed: {straight.parent / 'log.txt'}")
    done = 0
    while done < arguments.kills:
        number, before, code = start(killed), files_written(killed.parent), None
        while files_written(killed.parent) <= before + 1 and code is None:
            code = ended(number, 0.01)  # until it does its work
        code = ended(number, rng.uniform(0.0, arguments.longest_s)) if code is None else code
        if code is not None:
            say(f"ended after {done} kills with exit code {code}")
            break
        os.kill(number, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        ended(number)
        done += 1
        say(f"kill {done}: {files_written(killed.parent)} files and lines")
    code = ended(start(killed))
    one, other = (_outcome(path.parent / "out") for path in (straight, killed))
    twice = _computed_twice(killed.parent / "out")
    say(
        json.dumps(
            {
                "kills": done,
                "exit_code": code,
                "labels": len(one[1]),
                "labels_lost": len(one[1].keys() - other[1].keys()),
                "labels_equal": one[1] == other[1],
                "computed_and_written_twice": twice,
                "table_equal": one[0] == other[0],
            }
        )
    )


def _outcome(directory: Path) -> tuple[list[object], dict[str, object]]:
    """Records without times, and the content of all label files without times."""
    from ase.io import read

    from trepid.screening.record import MaterialRecord

    records = [MaterialRecord.read(directory / "materials" / name / "record.json") for name in METALS]
    table = [asdict(record.without_times()) for record in records]
    labels: dict[str, object] = {}
    for path in sorted(directory.glob("materials/*/*/labels/label-*.extxyz")):
        frame = read(path)
        info = sorted((k, str(v)) for k, v in frame.info.items() if k != "label_seconds")
        labels[str(path.relative_to(directory))] = (
            info,
            {name: array.tobytes() for name, array in frame.arrays.items()},
        )
    return table, labels


def _computed_twice(directory: Path) -> int:
    """Labels that have more than one entry in the ledgers."""
    from trepid.runs.ledger import events_of, read_ledger
    from trepid.runs.ledger_events import Label

    twice = 0
    for ledger in directory.glob("materials/*/*/ledger.jsonl"):
        numbers = [event.label for event in events_of(read_ledger(ledger), Label)]
        twice += len(numbers) - len(set(numbers))
    return twice


# ---------------------------------------------------------------------------------------------- shares, replayed


def shares(arguments: argparse.Namespace) -> None:
    """Replay the three ways to share a budget with what every round of every material gave when it was run.

    A round that was not run costs as many labels as those that were, on average, and leaves the material as it was.
    """
    from trepid.config.screening import BudgetSettings
    from trepid.screening.budget import next_turn
    from trepid.screening.dashboard import load_screening_of
    from trepid.screening.directory import read_records
    from trepid.screening.record import MaterialRecord, Status
    from trepid.screening.table import settled

    settings = load_screening_of(arguments.directory)
    records = [r for r in read_records(arguments.directory, settings) if r.rounds]
    assert settings.rounds.stop is not None
    tolerance = settings.rounds.stop.sigma_a

    steps = [b.n_labels - a.n_labels for r in records for a, b in pairwise(r.rounds)]
    usual = round(float(np.mean(steps)))

    def labels(record: MaterialRecord, n: int) -> int:
        """Of a material after n rounds."""
        missing = max(0, n - len(record.rounds))
        return record.rounds[n - missing - 1].n_labels + missing * usual

    def after(record: MaterialRecord, n: int) -> MaterialRecord:
        """The material as it was after n rounds."""
        rounds = record.rounds[:n]
        last = n == settings.rounds.max_rounds
        status = Status.KNOWN if rounds[-1].known else Status.EXHAUSTED if last else Status.OPEN
        return replace(
            record,
            status=status,
            rounds=rounds,
            sigma_a=rounds[-1].sigma_a,
            n_labels=labels(record, n),
            n_relaxation=0,
            n_failed=0,
        )

    total = sum(record.rounds[-1].n_labels for record in records)
    first = sum(record.rounds[0].n_labels for record in records)
    budgets = [int(first + part * (total - first)) for part in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)]
    rows = {"materials": len(records), "first rounds": first, "all rounds": total, "budgets": budgets}
    for share in ("risk", "equal", "random"):
        counts = []
        for budget in budgets:
            seeds = range(20) if share == "random" else range(1)
            found = []
            for seed in seeds:
                state = {record.name: 1 for record in records}
                turn = 0
                while True:
                    now = [after(record, state[record.name]) for record in records]
                    turn += 1
                    chosen = next_turn(
                        now,
                        BudgetSettings.model_validate({"materials_per_turn": 1, "share": share}),
                        tolerance=tolerance,
                        grant=1,
                        turn=turn,
                        seed=seed,
                    )
                    spent = sum(record.n_labels for record in now)
                    if not chosen:
                        break
                    record = next(r for r in records if r.name == chosen[0].name)
                    cost = labels(record, state[record.name] + 1) - labels(record, state[record.name])
                    if spent + cost > budget:
                        break
                    state[record.name] += 1
                found.append(sum(settled(after(r, state[r.name]), tolerance) for r in records))
            counts.append(float(np.mean(found)))
        rows[share] = counts
    say(json.dumps(rows))


# ---------------------------------------------------------------------------------------------- naive models


def naive(arguments: argparse.Namespace) -> None:
    """Count the materials whose naive model, trained on harmonic frames alone, overlooks, miscaptures or hallucinates events.

    Its walks are those of the first round. What it overlooks can only be known of materials that had a second one.
    """
    from trepid.screening.dashboard import load_screening_of
    from trepid.screening.directory import read_records

    records = [r for r in read_records(arguments.directory, load_screening_of(arguments.directory)) if r.rounds]
    shown = [r for r in records if r.rounds[0].events]
    faults = ("overlooked", "miscaptured", "hallucinated")
    for record in records:
        for each in record.classes:
            barriers = [
                "-" if value is None else f"{value:.3f} +- {bar or float('nan'):.3f}"
                for value, bar in (
                    (each.model_barrier_eV, each.model_bar_eV),
                    (each.reference_barrier_eV, each.reference_bar_eV),
                )
            ]
            say(
                f"{record.name} | {each.name} | seen {each.n_seen} | naive: {each.naive or '-'} | latest: {each.verdict} | "
                f"barrier of model, reference {', '.join(barriers)} eV"
            )
    say(
        json.dumps(
            {
                "materials with a first round": len(records),
                "with a second one": sum(len(r.rounds) > 1 for r in records),
                "naive walks show events": [r.name for r in shown],
                **{fault: [r.name for r in records if fault in r.naive_fault] for fault in faults},
                "naive, undecided or not judged": [
                    r.name for r in shown if not r.naive_fault and not any(c.naive == "genuine" for c in r.classes)
                ],
                "any fault": sum(bool(r.naive_fault) for r in records),
            },
            indent=1,
        )
    )


# ---------------------------------------------------------------------------------------------- coverage


def coverage(arguments: argparse.Namespace) -> None:
    """Distribution of each material's coverage if all of its bars were exactly right, beside what was measured.

    A handful of frames share the errors of a few coefficients, so that their force components are not inside or outside of their
    bars independently. Errors are drawn from the posterior of the model that had announced the bars: correlated as it says, each
    of unit variance in units of its bar.
    """
    from trepid.runs.reading import read_run
    from trepid.screening.dashboard import load_screening_of
    from trepid.screening.directory import files_of, read_records
    from trepid.screening.record import Coverage, coverage_of

    rng = np.random.default_rng(0)
    below, above, measured = [], [], []
    by_round: dict[int, list[Coverage]] = {}
    records = read_records(arguments.directory, load_screening_of(arguments.directory))
    for record in (r for r in records if r.coverage.n_components):
        found = read_run(files_of(arguments.directory, record.name).run)
        for each in found.rounds[1:]:
            numbers = set(each.labels)
            own = coverage_of(replace(found, labels=tuple(x for x in found.labels if x.number in numbers)))
            by_round.setdefault(each.round, []).append(own)
        shares = drawn_coverage(found, rng)
        share = record.coverage.share
        assert share is not None
        measured.append(share)
        below.append(float((shares < 0.90).mean()))
        above.append(float((shares > 0.99).mean()))
        if share < 0.90:
            say(
                f"{record.name}: {100 * share:.1f} % of {record.coverage.n_components}; drawn: {below[-1]:.2f} below 90 %, "
                f"{(shares <= share).mean():.3f} as low as this"
            )
    for number, parts in sorted(by_round.items()):
        n_components = sum(part.n_components for part in parts)
        if n_components:
            inside = 100 * sum(part.inside for part in parts) / n_components
            say(f"round {number}: {inside:.1f} % of {n_components} components, {sum(p.n_frames for p in parts)} frames")
    all_shares = np.array(measured)
    say(
        json.dumps(
            {
                "materials": len(all_shares),
                "below 90 %": {
                    "measured": int((all_shares < 0.90).sum()),
                    "if all bars were right": round(sum(below), 1),
                },
                "above 99 %": {
                    "measured": int((all_shares > 0.99).sum()),
                    "if all bars were right": round(sum(above), 1),
                },
            }
        )
    )


def drawn_coverage(found: RunRecord, rng: np.random.Generator, n_draws: int = 1000) -> FloatArray:
    """Shares of force components inside their 95 % bars in draws of their errors, (n_draws,)."""
    from trepid.acquisition.calibration import interval_half_width
    from trepid.data.frames import bare_copy
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.bayesian.statistics import LabelKind
    from trepid.runs.ledger_events import Reason
    from trepid.runs.round_files import RoundFiles

    inside, n_components = np.zeros(n_draws), 0
    for record in found.rounds[1:]:
        numbers = set(record.labels)
        frames = [
            label.atoms
            for label in found.predicted
            if label.number in numbers and label.origin.reason is Reason.UNCERTAINTY
        ]
        if not frames:
            continue
        before = [RoundFiles(found.directory, k).model for k in range(record.round)]
        model = BayesianForceField.load([path for path in before if path.exists()][-1])
        bar = model.error_bars[LabelKind.FORCES]
        rows = bar.scale * np.concatenate([model.information_rows(bare_copy(frame)) for frame in frames])
        errors = rows @ rng.standard_normal((rows.shape[1], n_draws))
        errors += bar.noise * rng.standard_normal(errors.shape)
        stds = np.hypot(np.linalg.norm(rows, axis=1), bar.noise)
        inside += (np.abs(errors) <= interval_half_width(0.95) * stds[:, None]).sum(axis=0)
        n_components += len(rows)
    return inside / n_components


# ---------------------------------------------------------------------------------------------- speed


def speed(arguments: argparse.Namespace) -> None:
    """Seconds per energy and forces of teacher and student, one process, one thread, one after the other."""
    from ase.build import make_supercell

    from trepid.data.frames import read_structure
    from trepid.data.supercells import suggested_supercells
    from trepid.potentials import load_potential
    from trepid.potentials.base import Uncertainty
    from trepid.reference import make_reference
    from trepid.screening.teacher import method_of

    unit = read_structure(arguments.crystal)
    method = method_of(arguments.teacher)
    student = load_potential(arguments.model)
    calculator = student.calculator(uncertainty=Uncertainty.NONE)
    small = make_supercell(unit, np.array(suggested_supercells(unit)[0].matrix))
    with closing(make_reference(method.engine, **method.arguments())) as teacher:
        for atoms in (small, small.repeat(2)):
            atoms.rattle(0.03, seed=1)
            teacher.label(atoms)  # loads, and tests that it keeps nothing
            moved = atoms.copy()

            def step(moved=moved) -> None:  # type: ignore[no-untyped-def]
                moved.positions += 1e-4
                calculator.calculate(moved, ["forces"], ["positions"])

            step()
            cost = {"teacher": seconds(lambda a=atoms: teacher.label(a), 5), "student": seconds(step, 50)}
            say(json.dumps({"atoms": len(atoms), **cost, "ratio": cost["teacher"] / cost["student"]}))


def seconds(call: Callable[[], object], n: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(n):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("kills")
    one.add_argument("--folder", type=Path, default=Path("screening-kills"))
    one.add_argument("--kills", type=int, default=30)
    one.add_argument("--longest-s", type=float, default=6.0)
    one.add_argument("--rounds", type=int, default=3)
    one.add_argument("--workers", type=int, default=1)
    one.add_argument("--seed", type=int, default=0)
    one.set_defaults(run=kills)
    two = verbs.add_parser("shares")
    two.add_argument("directory", type=Path)
    two.set_defaults(run=shares)
    four = verbs.add_parser("naive")
    four.add_argument("directory", type=Path)
    four.set_defaults(run=naive)
    five = verbs.add_parser("coverage")
    five.add_argument("directory", type=Path)
    five.set_defaults(run=coverage)
    three = verbs.add_parser("speed")
    three.add_argument("model", type=Path)
    three.add_argument("crystal", type=Path)
    three.add_argument("teacher")
    three.set_defaults(run=speed)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
