"""Damaged and hostile inputs through the command line of trepid: `make fuzz`.

Counts what must not happen: a traceback, a command that takes longer than 60 s or ends its process, a damaged model that is
accepted, code of an input that runs. The folders of inputs with one of these are kept. Exit code 1 if there is any.

    python tests/fuzz/fuzz.py --inputs 600 --seed 0 --keep fuzz-failures
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from inputs import Input, inputs, make_material
from worker import Told, Worker

MARKER = "code-ran"
BAD = ("tracebacks", "hangs", "crashes", "accepted", "code run")


@dataclass
class Tally:
    """Counts of one group."""

    inputs: int = 0
    commands: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)


def faults_of(one: Input, worker: Worker, folder: Path) -> tuple[list[Told], list[tuple[str, str]]]:
    """Answers to the commands of an input, and what must not happen with the details."""
    folder.mkdir(parents=True)
    one.prepare(folder)
    told = [worker.run(command, folder) for command in one.commands]
    found: list[tuple[str, str]] = []
    for command, answer in zip(one.commands, told, strict=True):
        line = f"trepid {' '.join(command)}"
        if answer.hung:
            found.append(("hangs", f"{line}: no end after {answer.seconds:.0f} s"))
        elif answer.code is None:
            found.append(("crashes", f"{line}: {answer.traceback}"))
        elif answer.traceback:
            found.append(("tracebacks", f"{line}\n{answer.traceback}"))
    if accepted := one.judge(told, folder):
        found.append(("accepted", accepted))
    if (folder / MARKER).exists():
        found.append(("code run", "the marker is there"))
    return told, found


def fuzz(chosen: Iterable[Input], *, work: Path, keep: Path) -> dict[str, Tally]:
    """Run all inputs; folders with faults are moved to `keep`, with a file FAULTS."""
    tallies: dict[str, Tally] = {}
    worker = Worker()
    try:
        for number, one in enumerate(chosen):
            tally = tallies.setdefault(one.group, Tally())
            folder = work / f"{number:04d}"
            told, found = faults_of(one, worker, folder)
            if found:  # once more in a process of its own: earlier commands and a busy machine are no excuse
                worker.close()
                shutil.rmtree(folder)
                told, found = faults_of(one, worker, folder)
            tally.inputs += 1
            tally.commands += len(told)
            tally.codes.update("-" if answer.code is None else str(answer.code) for answer in told)
            tally.bad.update({kind for kind, _ in found})
            if found:
                text = "\n\n".join(f"{kind}: {detail}" for kind, detail in found)
                (folder / "FAULTS").write_text(f"{one.group}: {one.name}\n\n{text}\n")
                keep.mkdir(parents=True, exist_ok=True)
                shutil.move(folder, keep / f"{one.group.replace(' ', '-')}-{one.name}")
                print(f"{one.group}: {one.name}: {found[0][0]}", file=sys.stderr, flush=True)  # noqa: T201
            else:
                shutil.rmtree(folder)
    finally:
        worker.close()
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """The counts as text."""
    rows = [["group", "inputs", "commands", *BAD, "exit codes"]]
    whole = Tally()
    for group, tally in [*tallies.items(), ("all", whole)]:
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(tally.codes.items()))
        rows.append([group, str(tally.inputs), str(tally.commands), *(str(tally.bad[kind]) for kind in BAD), codes])
        if tally is not whole:
            whole.inputs += tally.inputs
            whole.commands += tally.commands
            whole.bad += tally.bad
            whole.codes += tally.codes
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> int:
    """Run the fuzz and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for inputs with faults")
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trepid-fuzz-") as folder:
        material = make_material(Path(folder) / "material")
        tallies = fuzz(inputs(material, n=given.inputs, seed=given.seed), work=Path(folder) / "work", keep=given.keep)
    print(table(tallies))  # noqa: T201
    print(f"seed {given.seed}, {time.perf_counter() - began:.0f} s")  # noqa: T201
    bad = sum(sum(tally.bad.values()) for tally in tallies.values())
    if bad:
        print(f"{bad} faults: {given.keep}", file=sys.stderr)  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
