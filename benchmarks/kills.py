"""Kill campaigns at random moments (kill -9) and count what is lost: labels, computations, bits of the final state.

    python benchmarks/kills.py [--kills 25] [--seed 0] [--folder kills]

Both modes (on the fly, in rounds) with both MD engines (ase, lammps), each by `trepid learn` on copper with EMT, whose
calculator notes every computation. A campaign is started and killed until it ends by itself; then it is compared with one of
the same seed that was not killed, and the next seed begins, until there are enough kills. Columns of the table:

kills, runs     of this combination; a run is one campaign
labels          of all its runs
lost            labels that were on the disk before a kill and are not after it
twice           frames that were computed again although their label was on the disk
other state     runs whose labels, model, trace, trajectory or files of rounds differ from those of the uninterrupted one
orphans         processes of a reference that ran on after the kill
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read, write

LOG = "TREPID_KILLS_LOG"
DELAY_S = 0.15
"""Time of a label."""
LONGEST_S = 2.0
"""A kill comes so long after the first sign of work, at most."""

COMMON = """\
structure: {{file: copper.extxyz, supercell: [{repeat}, 1, 1]}}
reference: {{engine: ase, calculator: 'kills:Noted'}}
potential: {{pair_cutoff_A: 4.0, triplet_cutoff_A: 3.2, n_pair: 8, n_radial: 4, l_max: 2}}
seed: {seed}
"""
MODES = {
    "on the fly": """\
dynamics:
  engine: {engine}
  timestep_fs: 2.0
  stages: [{{temperature_K: [100, 1000], duration_ps: 2.0}}]
learning: {{initial_frames: 3, threshold_eV_per_A: 0.012, max_labels: 20}}
output: {{sample_every: 20, checkpoint_every: 50}}
""",
    "rounds": """\
mode: rounds
start: {{kind: displaced, n: 4, displacement_A: 0.05}}
walkers:
  {{engine: {engine}, temperatures_K: [300, 700], duration_ps: 1.0, timestep_fs: 4.0, check_every: 5, equilibrate_ps: 0.1}}
acquisition: {{labels_per_round: 4, events: false}}
rounds: {{max_rounds: 2, patience: 3}}
""",
}


class Noted(Calculator):
    """EMT that notes the beginning and the end of every computation in a file, which a kill leaves intact."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:  # type: ignore[no-untyped-def]
        """Note, wait, compute, note."""
        super().calculate(atoms, properties, system_changes)
        note("start", self.atoms)
        time.sleep(DELAY_S)
        emt = EMT()
        emt.calculate(self.atoms.copy(), properties, all_changes)
        self.results = dict(emt.results)
        note("end", self.atoms)


def note(what: str, atoms: Atoms) -> None:
    line = json.dumps({"what": what, "frame": frame_hash(atoms), "pid": os.getpid()}) + "\n"
    with open(os.environ[LOG], "ab", buffering=0) as file:
        file.write(line.encode())
        os.fsync(file.fileno())


def frame_hash(atoms: Atoms) -> str:
    return hashlib.sha256(atoms.positions.tobytes() + np.array(atoms.cell).tobytes()).hexdigest()


@dataclass
class Tally:
    """A row of the table."""

    name: str
    kills: int = 0
    runs: int = 0
    labels: int = 0
    lost: int = 0
    twice: int = 0
    other: int = 0
    orphans: int = 0

    def row(self) -> str:
        """The row as text."""
        numbers = (self.kills, self.runs, self.labels, self.lost, self.twice, self.other, self.orphans)
        return f"{self.name:<22}" + "".join(f"{number:>12}" for number in numbers)


def prepare(folder: Path, mode: str, engine: str, seed: int) -> None:
    folder.mkdir(parents=True)
    write(folder / "copper.extxyz", bulk("Cu", a=3.6, cubic=True))
    repeat = 2 if engine == "ase" else 3  # LAMMPS wants cells that are not much smaller than its cutoff
    settings = COMMON.format(seed=seed, repeat=repeat) + MODES[mode].format(engine=engine)
    (folder / "campaign.yaml").write_text(settings)


def start(folder: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": paths,
        LOG: str((folder / "computed.jsonl").resolve()),
    }
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "trepid", "learn", "campaign.yaml"],
            cwd=folder,
            stdout=output,
            stderr=output,
            env=environment,
        )


def computed(folder: Path, what: str) -> list[dict[str, object]]:
    log = folder / "computed.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if line["what"] == what]


def labelled(folder: Path) -> dict[str, str]:
    """Frames whose label is on the disk, by the names of the files."""
    return {path.name: frame_hash(read(path)) for path in sorted((folder / "run" / "labels").glob("label-????.extxyz"))}


def progress(folder: Path, *, entries: bool) -> int:
    """Grows with every computation that begins and every file of a round; also with the entries of the ledger, if asked."""
    run = folder / "run"
    counted = [folder / "computed.jsonl", *([run / "ledger.jsonl"] if entries else [])]
    return sum(path.stat().st_size for path in counted if path.exists()) + sum(1 for _ in run.glob("rounds/*/*"))


def kill_once(folder: Path, rng: random.Random, tally: Tally) -> bool:
    """Start the campaign and kill it; True where it ended by itself before."""
    before, n_started = labelled(folder), len(computed(folder, "start"))
    entries = rng.random() < 0.25  # the rest comes later, or a slow machine would never get beyond the start
    size = progress(folder, entries=entries)
    process = start(folder)
    deadline = time.monotonic() + 120
    while process.poll() is None and progress(folder, entries=entries) <= size and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        process.wait(rng.uniform(0.0, LONGEST_S))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    killed = code == -signal.SIGKILL
    if not killed and code != 0:
        raise SystemExit(f"exit code {code}: {(folder / 'output.txt').read_text()[-2000:]}")
    tally.kills += killed
    started = computed(folder, "start")[n_started:]
    time.sleep(0.05)
    tally.orphans += len({int(str(line["pid"])) for line in started if runs(int(str(line["pid"])))})
    after = labelled(folder)
    tally.lost += sum(after.get(name) != frame for name, frame in before.items())
    tally.twice += sum(line["frame"] in before.values() for line in started)
    return not killed


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def content(path: Path) -> object:
    """The content of a file, without times."""
    if path.name.startswith("label-"):
        frame = read(path)
        info = {key: value for key, value in frame.info.items() if key != "label_seconds"}
        return repr(sorted(info.items())), {name: array.tobytes() for name, array in frame.arrays.items()}
    if path.suffix == ".trepid":
        data = path.read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        return json.loads(data[8:end]), data[end:]
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return path.read_bytes()


def files(run: Path) -> Iterator[Path]:
    for pattern in ("labels/*", "rounds/*/*", "model.trepid", "trace.csv", "trajectory.extxyz"):
        yield from (path.relative_to(run) for path in sorted(run.glob(pattern)))


def differences(one: Path, other: Path) -> list[str]:
    names = set(files(one)) ^ set(files(other))
    differ = [name for name in files(one) if name not in names and content(one / name) != content(other / name)]
    return [str(name) for name in [*sorted(names), *differ]]


def measure(folder: Path, mode: str, engine: str, kills: int, seed: int) -> Tally:
    tally = Tally(f"{mode}, {engine}")
    rng = random.Random(f"{seed} {mode} {engine}")
    for number in itertools.count():
        if tally.kills >= kills:
            return tally
        killed, whole = (folder / f"{mode} {engine} {number} {name}".replace(" ", "-") for name in ("killed", "whole"))
        for path in (killed, whole):
            prepare(path, mode, engine, seed + number)
        while not kill_once(killed, rng, tally):
            if tally.kills >= kills and start(killed).wait() == 0:
                break
        if start(whole).wait() != 0:
            raise SystemExit((whole / "output.txt").read_text()[-2000:])
        tally.runs += 1
        tally.labels += len(labelled(killed))
        differ = differences(killed / "run", whole / "run")
        tally.other += bool(differ)
        print(f"{killed.name}: {tally.kills} kills so far, {len(labelled(killed))} labels", *differ[:5], flush=True)
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25, help="of each of the four combinations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("kills"), help="is emptied")
    parser.add_argument("--engine", choices=["ase", "lammps"], action="append")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    rows = []
    for mode, engine in itertools.product(MODES, arguments.engine or ["ase", "lammps"]):
        rows.append(measure(arguments.folder.resolve(), mode, engine, arguments.kills, arguments.seed))
    columns = ("kills", "runs", "labels", "lost", "twice", "other state", "orphans")
    print(f"{'':<22}" + "".join(f"{name:>12}" for name in columns))
    for tally in rows:
        print(tally.row())
    if any(tally.lost or tally.twice or tally.other or tally.orphans for tally in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
