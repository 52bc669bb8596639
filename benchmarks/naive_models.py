"""What naive models do wrong, by audit: models of a screening that were trained on harmonic frames alone, in longer dynamics.

python benchmarks/naive_models.py walk SCREENING --ps 10     # dynamics and events of every naive model; resumes
python benchmarks/naive_models.py audit SCREENING            # the classes that they show, against the reference of the screening
python benchmarks/naive_models.py table SCREENING

In the screening itself the naive model walks for two times 2 ps. Results go to SCREENING/naive/NAME. The verdicts are those of
`trepid audit`: hallucinated, miscaptured, genuine, undecided. What a naive model overlooks is known from the screening alone,
where later models show it (`benchmarks/screening.py naive`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import yaml
from ase import Atoms

from trepid import load, md
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import read_frames
from trepid.errors import DataError, UntrustedError
from trepid.events.analysis import analyse_events
from trepid.screening.dashboard import load_screening_of
from trepid.screening.directory import files_of

say = partial(print, flush=True)

SAMPLE_FS, STEP_FS, TEMPERATURE_K = 40.0, 2.0, 300.0
TRAJECTORY = "trajectory.lammpstrj"
HALLUCINATED, MISCAPTURED = "hallucinated", "miscaptured"


def materials(screening: Path) -> list[str]:
    """Those that have a naive model."""
    names = [each.name for each in load_screening_of(screening).materials]
    return [name for name in names if (files_of(screening, name).run / "rounds" / "00" / "model.trepid").exists()]


def home_of(screening: Path, name: str) -> Path:
    """Folder of the results of a material."""
    return screening / "naive" / name


def walk(arguments: argparse.Namespace) -> None:
    """Dynamics of every naive model from its relaxed crystal, and the event classes in them."""
    for name in materials(arguments.screening):
        run, home = files_of(arguments.screening, name).run, home_of(arguments.screening, name)
        crystal = read_frames(run / "rounds" / "crystal.extxyz", require=())[0]
        home.mkdir(parents=True, exist_ok=True)
        end = home / "end.txt"
        if not end.exists():
            write_text_atomic(
                end, _dynamics(run / "rounds" / "00" / "model.trepid", crystal, home / "md", arguments.ps)
            )
        found = home / "events.json"
        if not found.exists():
            facts = {"name": name, "end": end.read_text(encoding="utf-8"), "classes": {}}
            try:
                analysis = analyse_events(home / "md" / TRAJECTORY, crystal, interval_fs=SAMPLE_FS)
            except DataError as error:  # most atoms have left their sites
                facts["end"] = " ".join(str(error).split())
            else:
                facts |= {"ps": analysis.duration_ps}
                facts["classes"] = {str(each.event_class): each.rate.n for each in analysis.classes}
            write_text_atomic(found, json.dumps(facts, indent=1) + "\n")
            say(f"{name}: {facts['end']}; {facts['classes'] or 'no events'}")


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
    """`trepid audit` of every naive model that shows events."""
    settings = yaml.safe_load((arguments.screening / "screening.yaml").read_text(encoding="utf-8"))
    reference = arguments.screening / "naive" / "reference.yaml"
    write_text_atomic(reference, yaml.safe_dump({"reference": settings["reference"]}))
    for name in materials(arguments.screening):
        run, home = files_of(arguments.screening, name).run, home_of(arguments.screening, name)
        found = home / "events.json"
        if not found.exists() or not json.loads(found.read_text(encoding="utf-8"))["classes"]:
            continue
        if (home / "audit" / "certificate.json").exists():
            continue
        command = [sys.executable, "-m", "trepid", "audit", str(home / "md" / TRAJECTORY)]
        command += ["--model", str(run / "rounds" / "00" / "model.trepid"), "--reference", str(reference)]
        command += ["--structure", str(run / "rounds" / "crystal.extxyz"), "--interval", str(SAMPLE_FS)]
        command += ["--temperature", str(TEMPERATURE_K), "--labels", str(arguments.labels), "--no-probes"]
        command += ["--classes", str(arguments.classes), "--output", str(home / "audit")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        say(f"{name}: exit code {done.returncode}")
        for line in (done.stdout + done.stderr).splitlines()[-6:]:
            say(f"    {line}")


def table(arguments: argparse.Namespace) -> None:
    """One line per material with events, and the counts."""
    counts: Counter[str] = Counter()
    walked = ended = 0
    for name in materials(arguments.screening):
        home = home_of(arguments.screening, name)
        found = home / "events.json"
        if not found.exists():
            continue
        facts = json.loads(found.read_text(encoding="utf-8"))
        walked, ended = walked + 1, ended + (facts["end"] != "complete")
        certificate = home / "audit" / "certificate.json"
        classes = json.loads(certificate.read_text(encoding="utf-8"))["classes"] if certificate.exists() else []
        verdicts = {each["class"]: each["verdict"] for each in classes}
        if facts["classes"]:
            say(f"{name} | {facts['end'][:60]} | " + "; ".join(
                f"{each} x {n}: {verdicts.get(each, 'not judged')}" for each, n in facts["classes"].items()
            ))  # fmt: skip
        if facts["end"] != "complete":
            say(f"{name} | {facts['end'][:120]}")
        worst = next((v for v in (HALLUCINATED, MISCAPTURED, "undecided", "genuine") if v in verdicts.values()), None)
        nothing = "no events" if facts["end"] == "complete" else "crystal lost"
        counts[worst or ("not judged" if facts["classes"] else nothing)] += 1
    say(json.dumps({"naive models": walked, "ended early": ended, **counts}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, call in (("walk", walk), ("audit", audit), ("table", table)):
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
