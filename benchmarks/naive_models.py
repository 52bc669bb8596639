"""What naive models do wrong, by audit: models of a screening that were trained on harmonic frames alone, in longer dynamics.

python benchmarks/naive_models.py walk SCREENING --ps 10     # dynamics and events of every naive and every latest model; resumes
python benchmarks/naive_models.py audit SCREENING            # the classes that they show, against the reference of the screening
python benchmarks/naive_models.py states SCREENING           # where walks of naive models end, relaxed on model and reference
python benchmarks/naive_models.py table SCREENING

In the screening itself the naive model walks for two times 2 ps. Results go to SCREENING/naive/NAME and SCREENING/latest/NAME.
The verdicts are those of `trepid audit`: hallucinated, miscaptured, genuine, undecided. What a naive model overlooks is in the
record of the screening: classes that later walks show, that the reference makes possible and that it puts out of reach.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from enum import Enum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.optimize import FIRE

from trepid import load, md
from trepid.acquisition.viability import Horizon
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import read_frames
from trepid.data.trajectory import open_trajectory
from trepid.errors import DataError, UntrustedError
from trepid.events.analysis import analyse_events
from trepid.potentials.base import Uncertainty
from trepid.reference import make_reference
from trepid.reference.as_calculator import ReferenceCalculator
from trepid.screening.dashboard import load_screening_of
from trepid.screening.directory import files_of
from trepid.screening.record import MaterialRecord

say = partial(print, flush=True)

SAMPLE_FS, STEP_FS, TEMPERATURE_K = 40.0, 2.0, 300.0
TRAJECTORY = "trajectory.lammpstrj"
HALLUCINATED, MISCAPTURED, OVERLOOKED = "hallucinated", "miscaptured", "overlooked"


class Which(str, Enum):
    """Of the models of a material."""

    NAIVE = "naive"
    LATEST = "latest"


def materials(screening: Path) -> list[str]:
    """Those that have a naive model."""
    names = [each.name for each in load_screening_of(screening).materials]
    return [name for name in names if (files_of(screening, name).run / "rounds" / "00" / "model.trepid").exists()]


def home_of(screening: Path, name: str, which: Which) -> Path:
    """Folder of the results of a model of a material."""
    return screening / which.value / name


def model_of(run: Path, which: Which) -> Path:
    """Its file."""
    return run / "rounds" / "00" / "model.trepid" if which is Which.NAIVE else run / "model.trepid"


def walk(arguments: argparse.Namespace) -> None:
    """Dynamics of both models of every material from its relaxed crystal, and the event classes in them."""
    for name, which in product(materials(arguments.screening), Which):
        run, home = files_of(arguments.screening, name).run, home_of(arguments.screening, name, which)
        crystal = read_frames(run / "rounds" / "crystal.extxyz", require=())[0]
        home.mkdir(parents=True, exist_ok=True)
        end = home / "end.txt"
        if not end.exists():
            write_text_atomic(end, _dynamics(model_of(run, which), crystal, home / "md", arguments.ps))
        found = home / "events.json"
        if not found.exists():
            facts: dict[str, Any] = {"name": name, "end": end.read_text(encoding="utf-8"), "classes": {}}
            try:
                analysis = analyse_events(home / "md" / TRAJECTORY, crystal, interval_fs=SAMPLE_FS)
            except DataError as error:  # most atoms have left their sites
                facts["end"] = " ".join(str(error).split())
            else:
                facts |= {"ps": analysis.duration_ps}
                facts["classes"] = {str(each.event_class): each.rate.n for each in analysis.classes}
            write_text_atomic(found, json.dumps(facts, indent=1) + "\n")
            say(f"{name}, {which.value}: {facts['end']}; {facts['classes'] or 'no events'}")


def _dynamics(model: Path, crystal: Atoms, directory: Path, ps: float) -> str:
    """How the dynamics ended: complete, or why not."""
    try:
        result = md(
            load(model),
            crystal,
            temperature_K=TEMPERATURE_K,
            duration_ps=ps,
            timestep_fs=STEP_FS,
            directory=directory,
            engine="lammps",
            check_every=20,
            sample_every=round(SAMPLE_FS / STEP_FS),
        )
    except UntrustedError as error:  # unstable
        return " ".join(str(error).split())
    if result.time_ps < ps - 1e-6:
        raise SystemExit(f"{directory}: interrupted; the same command resumes")
    return "complete"


def audit(arguments: argparse.Namespace) -> None:
    """`trepid audit` of every model that shows events."""
    settings = yaml.safe_load((arguments.screening / "screening.yaml").read_text(encoding="utf-8"))
    reference = arguments.screening / Which.NAIVE.value / "reference.yaml"
    write_text_atomic(reference, yaml.safe_dump({"reference": settings["reference"]}))
    for which, name in product(Which, materials(arguments.screening)):
        run, home = files_of(arguments.screening, name).run, home_of(arguments.screening, name, which)
        facts = _facts(home)
        if facts is None or not facts["classes"] or (home / "audit" / "certificate.json").exists():
            continue
        command = [sys.executable, "-m", "trepid", "audit", str(home / "md" / TRAJECTORY)]
        command += ["--model", str(model_of(run, which)), "--reference", str(reference)]
        command += ["--structure", str(run / "rounds" / "crystal.extxyz"), "--interval", str(SAMPLE_FS)]
        command += ["--temperature", str(TEMPERATURE_K), "--labels", str(arguments.labels), "--no-probes"]
        command += ["--classes", str(arguments.classes), "--output", str(home / "audit")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        say(f"{name}, {which.value}: exit code {done.returncode}")
        for line in (done.stdout + done.stderr).splitlines()[-6:]:
            say(f"    {line}")


def _facts(home: Path) -> dict[str, Any] | None:
    """What the walk of a model showed."""
    found = home / "events.json"
    return json.loads(found.read_text(encoding="utf-8")) if found.exists() else None


def _verdicts(home: Path) -> dict[str, str]:
    """Verdict of every judged class."""
    certificate = home / "audit" / "certificate.json"
    classes = json.loads(certificate.read_text(encoding="utf-8"))["classes"] if certificate.exists() else []
    return {each["class"]: each["verdict"] for each in classes}


def states(arguments: argparse.Namespace) -> None:
    """Relax the last frame of every walk of a naive model with events: on that model, then from there on the reference itself.

    An audit has no verdict where the crystal has fallen apart and no path can be found. What the state where the model has gone to
    costs in the reference, there and relaxed from there, takes some hundred evaluations. It is one of the model alone where the
    model has it within the horizon and the reference does not.
    """
    settings = load_screening_of(arguments.screening)
    method = settings.reference
    horizon = Horizon(TEMPERATURE_K, settings.acquisition.horizon_ns)
    with closing(make_reference(method.engine, isolated=True, **method.arguments())) as reference:
        on_reference = ReferenceCalculator(reference, labels=False)
        for name in materials(arguments.screening):
            run, home = files_of(arguments.screening, name).run, home_of(arguments.screening, name, Which.NAIVE)
            facts = _facts(home)
            if facts is None or not (facts["classes"] or facts["end"] != "complete") or (home / "state.json").exists():
                continue
            crystal = read_frames(run / "rounds" / "crystal.extxyz", require=())[0]
            end = crystal.copy()
            with open_trajectory(home / "md" / TRAJECTORY, interval_fs=SAMPLE_FS) as trajectory:
                for chunk in trajectory.chunks():
                    end.positions = chunk.positions[-1]
            on_model = load(model_of(run, Which.NAIVE)).calculator(uncertainty=Uncertainty.NONE)
            costs: dict[str, float] = {}
            moved: dict[str, float] = {}
            for which, calculator in (("model", on_model), ("reference", on_reference)):
                rest = _relaxed(crystal, calculator)
                if which == "reference":  # at the place where the model is at rest
                    there = _relaxed(end, calculator, steps=0)
                    costs["reference, not relaxed"] = there.get_potential_energy() - rest.get_potential_energy()
                end = _relaxed(end, calculator)
                costs[which] = end.get_potential_energy() - rest.get_potential_energy()
                shift = find_mic(end.positions - rest.positions, end.cell, end.pbc)[0]
                moved[which] = float(np.linalg.norm(shift - shift.mean(axis=0), axis=1).max())
            within = horizon.reaches(costs["model"]) and not horizon.reaches(costs["reference, not relaxed"])
            found = {
                "name": name,
                "cost_eV": costs,
                "farthest_from_site_A": moved,
                "horizon_eV": horizon.budget,
                "state of the model alone": within,
            }
            write_text_atomic(home / "state.json", json.dumps(found, indent=1) + "\n")
            say(json.dumps(found))


def _relaxed(atoms: Atoms, calculator: Calculator, *, steps: int = 500) -> Atoms:
    """Atoms relaxed in their cell, to forces of 0.02 eV/A or for so many steps."""
    found = atoms.copy()
    found.calc = calculator
    FIRE(found, logfile=None).run(fmax=0.02, steps=steps)
    found.calc = SinglePointCalculator(found, energy=found.get_potential_energy(), forces=found.get_forces())
    return found


def table(arguments: argparse.Namespace) -> None:
    """One line per model with events, and the counts: every material once, by the worst that its naive model does."""
    counts: Counter[str] = Counter()
    for name in materials(arguments.screening):
        homes = {which: home_of(arguments.screening, name, which) for which in Which}
        facts = {which: _facts(home) for which, home in homes.items()}
        naive, latest = facts[Which.NAIVE], facts[Which.LATEST]
        if naive is None or latest is None:
            continue
        verdicts = {which: _verdicts(home) for which, home in homes.items()}
        for which, found in ((Which.NAIVE, naive), (Which.LATEST, latest)):
            shown = [f"{each} x {n}: {verdicts[which].get(each, 'not judged')}" for each, n in found["classes"].items()]
            early = [] if found["end"] == "complete" else [found["end"][:120]]
            if shown or early:
                say(f"{name} | {which.value} | {'; '.join(shown + early)}")
        record = MaterialRecord.read(files_of(arguments.screening, name).record)
        unseen = [
            each.name for each in record.classes if each.naive == OVERLOOKED and each.name not in naive["classes"]
        ]
        if unseen:
            say(f"{name} | {OVERLOOKED} | {'; '.join(unseen)}")
        judged = set(verdicts[Which.NAIVE].values()) | ({OVERLOOKED} if unseen else set())
        worst = next((v for v in (HALLUCINATED, MISCAPTURED, OVERLOOKED) if v in judged), None)
        if worst is None and naive["end"] != "complete":
            worst = "crystal lost"
        if worst is None and naive["classes"]:
            worst = next((v for v in ("undecided", "genuine") if v in judged), "not judged")
        state = homes[Which.NAIVE] / "state.json"
        if worst in (None, "undecided", "not judged", "crystal lost") and state.exists():
            ended = json.loads(state.read_text(encoding="utf-8"))
            if ended["state of the model alone"]:
                costs = ", ".join(f"{which} {value:.2f} eV" for which, value in ended["cost_eV"].items())
                say(f"{name} | {worst}, but ends in a state of the model alone: {costs}")
                worst = "state of the model alone"
        counts[worst or "no events"] += 1
    say(json.dumps(dict(counts)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, call in (("walk", walk), ("audit", audit), ("states", states), ("table", table)):
        verb = verbs.add_parser(name)
        verb.add_argument("screening", type=Path)
        verb.set_defaults(run=call)
        if name == "walk":
            verb.add_argument("--ps", type=float, default=10.0)
        if name == "audit":
            verb.add_argument("--labels", type=int, default=6)
            verb.add_argument("--classes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
