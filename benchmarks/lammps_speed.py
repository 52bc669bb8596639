"""Speed of pair_style trepid in a stock LAMMPS, one process, against uf3, Stillinger-Weber and itself with uncertainty.

Target, in one run on one machine with the same structures and cutoffs: at least 14 times faster than `uf3` with the exported
file on silicon and beta-tin, 5 times on the sheet of tin; on silicon at most 1.1 times the time of `sw`; force uncertainty every
10 steps at most 1.4 times, every step at most 4.5 times the run without; a million atoms of CuI within 20 % of the time per atom
of ten thousand. With quadruplets at most 1.9 times the time without, 8 times faster than `uf3`, and 1.5 times with the
uncertainty every 10 steps.

Times are loop time times the share of the processor that LAMMPS reports, the best of several passes in which the potentials
alternate. `uf3` alone is the plain style with the exported file, the fastest way to run such a potential; the exported input adds a
second pair spline and ZBL by hybrid/overlay, which makes it equal to the model.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import HERE, CuI, Report
from ase import Atoms, units
from ase.build import bulk

from trepid.data import read_frames
from trepid.export.uf3 import lammps_input, resample, write_uf3
from trepid.lammps.installation import Installation, find_installation
from trepid.lammps.process import command_line
from trepid.lammps.session import pair_commands
from trepid.lammps.system import System, write_data_file
from trepid.potentials.bayesian import BayesianForceField

PASSES, CHANNELS = 3, 3
SECONDS = 0.6
"""Target length of one measurement, s."""
MGP_OVER_UF3 = {"Si": 12.5 / 21.1, "beta-Sn": 21.5 / 32.6, "stanene": 3.22 / 4.40}
"""Time of FLARE's pair_mgp over that of uf3 with the same structures and cutoffs, each measured in a LAMMPS of its own."""
FEW, MANY = 11, 50
"""Cells along an edge of the CuI crystals of 10 648 and 1 000 000 atoms."""
MANY_STEPS = 100


@dataclass(frozen=True)
class Case:
    """A structure, and potentials by name: LAMMPS commands each."""

    name: str
    atoms: Atoms
    potentials: Mapping[str, str]
    expected_us: Mapping[str, float]


@dataclass(frozen=True)
class Timing:
    """One run of LAMMPS: time per atom and step (us), and the largest memory of the process (bytes)."""

    microseconds: float
    memory: int


def thermal(atoms: Atoms, temperature_K: float = 300.0) -> Atoms:
    """Displacements as at room temperature, and velocities; in a perfect crystal `sw` would have too few neighbours."""
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    masses = atoms.get_masses()[:, None]
    momenta = rng.normal(size=atoms.positions.shape) * np.sqrt(masses * units.kB * temperature_K)
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    return atoms


def silicon() -> Atoms:
    return thermal(bulk("Si", "diamond", a=5.431, cubic=True).repeat(10))


def beta_tin() -> Atoms:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]]
    cell = Atoms("Sn4", scaled_positions=sites, cell=[5.8316, 5.8316, 3.1815], pbc=True)
    return thermal(cell.repeat(10))


def stanene() -> Atoms:
    a, buckling, gap = 4.68, 0.85, 20.0
    sites = [
        [0, 0, 0.0],
        [0, a / np.sqrt(3), buckling],
        [a / 2, a * np.sqrt(3) / 2, 0],
        [a / 2, a * 2.5 / np.sqrt(3), buckling],
    ]
    cell = Atoms("Sn4", positions=sites, cell=[a, a * np.sqrt(3), gap], pbc=True)
    cell.positions[:, 2] += gap / 2
    return thermal(cell.repeat((30, 30, 1)))


def cuprous_iodide(cells: int) -> Atoms:
    return thermal(bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(cells))


class Bench:
    """Runs LAMMPS in a folder of its own."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder

    def potentials(self, name: str, model: BayesianForceField, atoms: Atoms) -> dict[str, str]:
        """LAMMPS commands of a model, of its exported file and of its uncertainty."""
        system, path = System.of(atoms), self.folder / f"{name}.trepid"
        model.save(path)
        file, exported = f"{name}.uf3", resample(model.mean)
        write_uf3(self.folder / file, exported, comment="benchmark")
        lines = lammps_input(exported, file).splitlines()
        pair = pair_commands(path.name, system)
        return {
            "trepid": pair,
            "trepid, std every 10 steps": pair + "fix u all pair 10 trepid uncertainty 1\n",
            "trepid, std every step": pair + "fix u all pair 1 trepid uncertainty 1\n",
            "uf3 alone": f"pair_style uf3 3\npair_coeff * * {file} {' '.join(system.elements)}\n",
            "uf3, exported input": "\n".join(line for line in lines if line.startswith("pair_")) + "\n",
        }

    def time(self, atoms_file: str, commands: str, *, n_atoms: int, steps: int) -> Timing:
        """Run `steps` of 0.2 fs, after some to warm up."""
        (self.folder / "in.bench").write_text(f"""
            units metal
            atom_style atomic
            newton on
            read_data {atoms_file}
            {commands}
            neighbor 1.0 bin
            neigh_modify every 20 delay 0 check no
            timestep 0.0002
            fix motion all nve
            thermo 1000000
            run {max(1, steps // 10)}
            run {steps}
            shell "grep VmHWM /proc/$PPID/status"
        """)
        outcome = subprocess.run(
            command_line(self.installation, "in.bench"),
            cwd=self.folder,
            env=self.installation.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        text = outcome.stdout
        loops = re.findall(rf"Loop time of (\S+) on 1 procs for {steps} steps", text)
        shares = re.findall(r"^(\S+)% CPU use", text, re.M)
        memory = re.search(r"VmHWM:\s*(\d+) kB", text)
        if outcome.returncode or not loops or memory is None:
            raise SystemExit(f"LAMMPS failed:\n{text[-2000:]}")
        seconds = float(loops[-1]) * min(1.0, float(shares[-1]) / 100)
        return Timing(1e6 * seconds / (n_atoms * steps), 1024 * int(memory[1]))

    def measure(self, case: Case) -> dict[str, float]:
        """Best time of every potential, us per atom and step."""
        file, n = f"{case.name}.data", len(case.atoms)
        write_data_file(self.folder / file, case.atoms, System.of(case.atoms))
        best = dict.fromkeys(case.potentials, np.inf)
        for _ in range(PASSES):
            for name, commands in case.potentials.items():
                steps = max(10, round(SECONDS / (1e-6 * case.expected_us[name] * n) / 10) * 10)
                best[name] = min(best[name], self.time(file, commands, n_atoms=n, steps=steps).microseconds)
        return {name: float(value) for name, value in best.items()}


EXPECTED_US = {
    "trepid": 1.5,
    "trepid, std every 10 steps": 2.0,
    "trepid, std every step": 5.0,
    "uf3 alone": 25.0,
    "uf3, exported input": 30.0,
    "sw": 1.5,
    "trepid, quadruplets": 2.5,
    "trepid, quadruplets, std every 10 steps": 3.5,
    "trepid, pairs to 12 A": 5.0,
}


def rows_of(case: Case, times: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of a table, with the ratios."""
    mean, uf3 = times["trepid"], times.get("uf3 alone")
    rows = [
        {
            "system": case.name,
            "potential": name,
            "us/atom/step": value,
            "over trepid": value / mean,
            "uf3 alone over this": None if uf3 is None else uf3 / value,
        }
        for name, value in times.items()
    ]
    if case.name in MGP_OVER_UF3 and uf3 is not None:
        value = MGP_OVER_UF3[case.name] * uf3
        rows.append(
            {
                "system": case.name,
                "potential": "pair_mgp, from its ratio to uf3",
                "us/atom/step": value,
                "over trepid": value / mean,
                "uf3 alone over this": uf3 / value,
            }
        )
    return rows


def million(bench: Bench, commands: str, *, steps: int) -> list[dict[str, Any]]:
    """Ten thousand and a million atoms: time per atom and step, memory per atom."""
    rows: list[dict[str, Any]] = []
    for cells, passes in ((FEW, PASSES), (MANY, 1)):
        atoms = cuprous_iodide(cells)
        file = f"cui{cells}.data"
        write_data_file(bench.folder / file, atoms, System.of(atoms))
        found = [bench.time(file, commands, n_atoms=len(atoms), steps=steps) for _ in range(passes)]
        best = min(found, key=lambda timing: timing.microseconds)
        rows.append(
            {
                "atoms": len(atoms),
                "steps": steps,
                "us/atom/step": best.microseconds,
                "over the first": best.microseconds / (rows[0]["us/atom/step"] if rows else best.microseconds),
                "memory of the process MB": best.memory / 1e6,
                "bytes/atom": None
                if not rows
                else (best.memory - 1e6 * rows[0]["memory of the process MB"]) / (len(atoms) - rows[0]["atoms"]),
            }
        )
    return rows


def stillinger_weber(installation: Installation) -> str:
    """Commands of the silicon potential that comes with LAMMPS."""
    found = next(installation.program.parent.rglob("Si.sw"), None)
    if found is None:
        raise SystemExit("Si.sw was not found in the installation of this LAMMPS")
    return f"pair_style sw\npair_coeff * * {found} Si\n"


def trained(
    species: Sequence[str],
    frames: Sequence[Atoms],
    pair_cutoff: float,
    triplet_cutoff: float,
    *,
    n_channels: int = 0,
    n_pair: int = 20,
) -> BayesianForceField:
    return BayesianForceField(
        species,
        pair_cutoff=pair_cutoff,
        triplet_cutoff=triplet_cutoff,
        n_pair=n_pair,
        n_channels=n_channels,
        n_threads=1,
    ).update(frames)


def with_quadruplets(bench: Bench, name: str, model: BayesianForceField, atoms: Atoms) -> dict[str, str]:
    """LAMMPS commands of a model with quadruplets and of its uncertainty."""
    path = bench.folder / f"{name}-4.trepid"
    model.save(path)
    pair = pair_commands(path.name, System.of(atoms))
    return {
        "trepid, quadruplets": pair,
        "trepid, quadruplets, std every 10 steps": pair + "fix u all pair 10 trepid uncertainty 1\n",
    }


def silver_gallium_selenide(frame: Atoms) -> Atoms:
    """A thermal crystal of three species, 8192 atoms."""
    return thermal(frame.repeat(8))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of labelled frames"
    )
    parser.add_argument("--skip-million", action="store_true", help="leave the million atoms out: they take minutes")
    parser.add_argument("--million-steps", type=int, default=MANY_STEPS, metavar="N", help="steps of the million atoms")
    parser.add_argument(
        "--only",
        nargs="*",
        metavar="SYSTEM",
        help="some of Si, beta-Sn, stanene, CuI, AgGaSe2; default all; without a name only the million atoms",
    )
    options = parser.parse_args()
    installation = find_installation()
    report = Report("lammps_speed")
    si_frames, tin_frames = (read_frames(options.data / f"{name}.extxyz") for name in ("si_sw_64", "sn_pbe_8_train"))
    cui_frames, silver = CuI.read(options.data).crystal[:8], read_frames(options.data / "aggase2_gfn1_16.extxyz")[:8]
    # Trained when they are asked for: n_channels 0 or 3.
    cases: dict[str, tuple[Callable[[int], BayesianForceField], Callable[[], Atoms]]] = {
        "Si": (lambda n: trained(["Si"], si_frames, 5.5, 4.2, n_channels=n), silicon),
        "beta-Sn": (lambda n: trained(["Sn"], tin_frames, 7.2, 5.0, n_channels=n), beta_tin),
        "stanene": (lambda n: trained(["Sn"], tin_frames, 7.2, 5.0, n_channels=n), stanene),
        "CuI": (lambda n: trained(["Cu", "I"], cui_frames, 6.0, 5.0, n_channels=n), lambda: cuprous_iodide(10)),
        "AgGaSe2": (
            lambda n: trained(["Ag", "Ga", "Se"], silver, 6.0, 5.0, n_channels=n),
            lambda: silver_gallium_selenide(silver[0]),
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(installation, Path(folder))
        rows = []
        for name in cases if options.only is None else options.only:
            model, crystal = cases[name]
            atoms = crystal()
            potentials = bench.potentials(name, model(0), atoms)
            if name in ("CuI", "AgGaSe2"):
                potentials = {key: value for key, value in potentials.items() if key.startswith("trepid")}
            if name == "Si":
                potentials["sw"] = stillinger_weber(installation)
            if name in ("Si", "CuI", "AgGaSe2"):
                potentials |= with_quadruplets(bench, name, model(CHANNELS), atoms)
            if name == "CuI":
                far = bench.folder / "cui12.trepid"
                trained(["Cu", "I"], cui_frames, 12.0, 5.0, n_pair=43).save(far)
                potentials["trepid, pairs to 12 A"] = pair_commands(far.name, System.of(atoms))
            case = Case(name, atoms, potentials, EXPECTED_US)
            rows += rows_of(case, bench.measure(case))
        if rows:
            report.table(
                "One process; cutoffs Si 5.5/4.2, beta-Sn and stanene 7.2/5.0, CuI and AgGaSe2 6.0/5.0 A; l <= 4", rows
            )
        if not options.skip_million:
            model, _ = cases["CuI"]
            commands = bench.potentials("million", model(0), cuprous_iodide(1))["trepid"]
            report.table("CuI, cutoffs 6.0/5.0 A, mean", million(bench, commands, steps=options.million_steps))
            commands = with_quadruplets(bench, "million", model(CHANNELS), cuprous_iodide(1))["trepid, quadruplets"]
            report.table(
                "CuI with quadruplets, cutoffs 6.0/5.0 A, mean", million(bench, commands, steps=options.million_steps)
            )
    report.write()


if __name__ == "__main__":
    main()
