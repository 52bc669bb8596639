"""Ten crystals as a new user takes them: `trepid init`, `check`, `learn`, `report`, with a small budget and GFN1-xTB.

The structures are those of text books, at experimental lattice constants, as CIF or POSCAR. Nothing is edited but the budget: the
length of the run and the number of labels. The table tells the minutes until the first model, those of the run, its error on
left-out frames over the rms force, and what the first model said of the crystal as given (pressure, imaginary modes).

    python benchmarks/newcomer.py FOLDER [NAME ...] [--labels 6] [--ps 0.3]

A run that is there is continued, so that crystals can be done one at a time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from _common import Report  # first: it sets one thread, before BLAS is loaded

# isort: split

from ase import Atoms
from ase.build import bulk, fcc111, graphene
from ase.spacegroup import crystal

SHEETS = ("graphene", "slab")
"""POSCAR files with vacuum, started from with --slab."""


def structures() -> dict[str, Atoms]:
    """The ten crystals."""
    cubic = (90.0, 90.0, 90.0)
    perovskite = {"basis": [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], "spacegroup": 221}
    return {
        "MgO": bulk("MgO", "rocksalt", a=4.21, cubic=True),
        "Si": bulk("Si"),
        "AgGaSe2": crystal(
            ["Ag", "Ga", "Se"],
            [(0, 0, 0), (0, 0, 0.5), (0.276, 0.25, 0.125)],
            spacegroup=122,
            cellpar=[5.985, 5.985, 10.90, *cubic],
        ),
        "CsPbI3": crystal(["Cs", "Pb", "I"], cellpar=[6.29] * 3 + [*cubic], **perovskite),
        "graphene": graphene(a=2.46, vacuum=8.0),
        "NaCl": bulk("NaCl", "rocksalt", a=5.64),
        "CuI": bulk("CuI", "zincblende", a=6.05),
        "slab": fcc111("Al", (2, 2, 4), a=4.05, vacuum=8.0),
        "PbTe": bulk("PbTe", "rocksalt", a=6.46),
        "SrTiO3": crystal(["Sr", "Ti", "O"], cellpar=[3.905] * 3 + [*cubic], **perovskite),
    }


def trepid(*arguments: object, folder: Path) -> tuple[int, str]:
    """Exit code and all that a command prints."""
    call = [sys.executable, "-m", "trepid", *map(str, arguments)]
    done = subprocess.run(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def prepare(name: str, atoms: Atoms, folder: Path, *, n_labels: int, ps: float) -> None:
    """The file of a crystal, and its campaign with a small budget."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "campaign.yaml").exists():
        return
    sheet = name in SHEETS
    structure = "POSCAR" if sheet else f"{name}.cif"
    if sheet:
        atoms.pbc = True
        atoms.write(folder / structure, format="vasp")
    else:
        atoms.write(folder / structure)
    code, text = trepid("init", structure, *(["--slab"] if sheet else []), folder=folder)
    if code:
        raise SystemExit(f"{name}: {text}")
    campaign = folder / "campaign.yaml"
    text = re.sub(
        r"(?m)^  stages: .*", f"  stages: [{{temperature_K: 300, duration_ps: {ps:g}}}]", campaign.read_text()
    )
    campaign.write_text(re.sub(r"(?m)^  # max_labels:", f"  max_labels: {n_labels}", text))


def row(name: str, folder: Path) -> dict[str, Any]:
    """Run or continue one crystal, and what came of it."""
    code, text = trepid("check", "campaign.yaml", folder=folder)
    if code:
        raise SystemExit(f"{name}: {text}")
    code, text = trepid("learn", "campaign.yaml", folder=folder)
    with (folder / "learn.log").open("a", encoding="utf-8") as log:
        log.write(text)
    told = (folder / "learn.log").read_text(encoding="utf-8")
    trepid("report", "run", folder=folder)
    ledger = [json.loads(line) for line in (folder / "run" / "ledger.jsonl").read_text().splitlines()]
    pressure = re.search(r"as given by the model of \d+ labels: (\S+) \+- \S+ GPa", told)
    modes = re.search(r"(\d+ of \d+) modes of this supercell are imaginary.*?down to (\S+)i THz", told)
    grade = re.findall(r"^(Good|Fair|Poor): force error \S+ \S+, (\S+) %", told, re.MULTILINE)
    return {
        "crystal": name,
        "atoms": ledger[0]["n_atoms"],
        "exit code": code,
        "minutes to the first model": minutes_until("train", ledger),
        "minutes in all": minutes_until("stop", ledger),
        "labels": sum(entry["event"] == "label" for entry in ledger),
        "left out, % of rms": f"{grade[-1][1]} ({grade[-1][0].lower()})" if grade else "-",
        "pressure, GPa": pressure[1] if pressure else "small",
        "imaginary modes": f"{modes[1]}, {modes[2]}i THz" if modes else "none",
    }


def minutes_until(event: str, ledger: list[dict[str, Any]]) -> float | None:
    """Time from the first entry to the first of a kind; None where there is none."""
    first = next((entry for entry in ledger if entry["event"] == event), None)
    if first is None:
        return None
    begun, reached = (datetime.fromisoformat(entry["time"]) for entry in (ledger[0], first))
    return (reached - begun).total_seconds() / 60


def main() -> None:
    """Take the crystals that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--labels", type=int, default=6)
    parser.add_argument("--ps", type=float, default=0.3)
    options = parser.parse_args()
    rows = []
    for name in options.names or structures():
        prepare(name, structures()[name], options.folder / name, n_labels=options.labels, ps=options.ps)
        rows.append(row(name, options.folder / name))
    report = Report("newcomer")
    report.table("Ten crystals as a new user takes them", rows)
    report.write()


if __name__ == "__main__":
    main()
