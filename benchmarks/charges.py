"""Charges: what they gain, how errors carry over to larger cells, and what they cost.

charges.py            all of the below
charges.py cui        CuI (GFN1-xTB): trained on 20 crystal frames, tested on fresh ones and with a displaced Cu
charges.py cells      rocksalt (Born-Mayer pairs and point charges, Ewald sum): trained on 64 atoms, tested on 64, 216 and 512
charges.py time       CuI in LAMMPS: the kernel alone, with charges (pppm, ewald), and pairs to 12 A
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _common import CuI, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
from _strata_truths import chosen_truths
from ase import Atoms
from ase.build import bulk

from trepid.evaluation import evaluate
from trepid.lammps.session import CHARGED_SETUP, NEIGHBOR, SETUP, Session, pair_commands
from trepid.lammps.system import System
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.statistics import LabelKind
from trepid.reference.lammps import LAMMPSReference

DATA = Path(__file__).parents[1] / "tests" / "data_files"
CU_I = {"Cu": 1.0, "I": -1.0}
PAIRS_12 = {"pair_cutoff": 12.0, "n_pair": 46}
"""The spacing of the default splines."""
LATTICE_A, RATTLE_A = 5.70, 0.12
WAVE_A = 0.15
"""Amplitude of a wave of opposite displacements of both species along the longest wave vector of the cell, A."""


def row(name: str, model: BayesianForceField, frames: Mapping[str, Sequence[Atoms]]) -> list[dict[str, Any]]:
    """Errors and calibration on every set of frames."""
    charges = model.electrostatics
    common = {
        "model": name,
        "charge e": None if charges is None else max(charges.charges.values()),
        "log evidence": model.log_evidence,
        "left out meV/A": 1e3 * model.left_out[LabelKind.FORCES].rms,
    }
    rows = []
    for kind, each in frames.items():
        e = evaluate(model, each)
        rows.append(
            common
            | {
                "frames": kind,
                "force MAE meV/A": 1e3 * e.forces_mae,
                "force RMSE meV/A": 1e3 * e.forces_rmse,
                "force RMSE %": 100 * e.forces_rmse / e.forces_rms,
                "covered by 95 %": e.forces_coverage_95,
                "Spearman": e.forces_uncertainty_spearman,
                "energy RMSE meV/atom": None if e.energy_rmse_per_atom is None else 1e3 * e.energy_rmse_per_atom,
            }
        )
    return rows


def cui(report: Report) -> None:
    data = CuI.read(DATA)
    frames = {"crystal, fresh": data.crystal[20:], "one Cu displaced": data.hops}
    variants: dict[str, dict[str, Any]] = {
        "without": {},
        "charges": {"charges": CU_I},
        "charges, triplets to 5.5 A": {"charges": CU_I, "triplet_cutoff": 5.5},
        "pairs to 12 A": PAIRS_12,
    }
    rows = []
    for name, settings in variants.items():
        model = BayesianForceField(["Cu", "I"], n_channels=0, n_threads=1, **settings).fit(data.crystal[:20])
        rows += row(name, model, frames)
    report.table("CuI, trained on 20 crystal frames of 64 atoms", rows)


def _frame(rng: np.random.Generator, repeat: int, kind: str) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=LATTICE_A * (1 + rng.uniform(-0.01, 0.02)), cubic=True).repeat(repeat)
    atoms.positions += rng.normal(scale=RATTLE_A, size=atoms.positions.shape)
    if kind == "vacancy":
        del atoms[0]
    if kind == "long wave":
        sign = np.where(atoms.symbols == "Na", 1.0, -1.0)
        atoms.positions[:, 0] += WAVE_A * sign * np.sin(2 * np.pi * atoms.positions[:, 0] / atoms.cell[0, 0])
    return atoms


def cells(report: Report) -> None:
    truth = chosen_truths(["nacl_bmh"], None)[0]
    lines = [line.replace("born/coul/dsf 0.4 7.5", "born/coul/long 10.0") for line in truth.resolved]
    reference = LAMMPSReference(
        [*lines, "kspace_style ewald 1e-8"], atom_types=truth.atom_types, charges=truth.charge_of
    )
    rng = np.random.default_rng(0)

    def labelled(n: int, repeat: int, kind: str) -> list[Atoms]:
        return [reference.label(_frame(rng, repeat, kind)) for _ in range(n)]

    try:
        train = labelled(20, 2, "crystal")
        frames = {
            f"{8 * repeat**3} atoms, {kind}": labelled(4, repeat, kind)
            for repeat in (2, 3, 4)
            for kind in ("crystal", "long wave", "vacancy")
        }
    finally:
        reference.close()
    rows = []
    variants: dict[str, dict[str, Any]] = {
        "without": {},
        "charges": {"charges": {"Na": 1.0, "Cl": -1.0}},
        "pairs to 10 A": {"pair_cutoff": 10.0, "n_pair": 37},
    }
    for name, settings in variants.items():
        model = BayesianForceField(["Na", "Cl"], n_channels=0, n_threads=1, **settings).fit(train)
        rows += row(name, model, frames)
    report.table("Rocksalt of point charges 1 e, trained on 20 frames of 64 atoms", rows)


def timing(report: Report) -> None:
    train, rows = CuI.read(DATA).crystal[:8], []
    variants: dict[str, dict[str, Any]] = {"kernel": {}, "charges": {"charges": CU_I}, "pairs to 12 A": PAIRS_12}
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for name, settings in variants.items():
            model = BayesianForceField(["Cu", "I"], n_channels=0, n_threads=1, **settings)
            models[name] = model.update(train)
            model.save(Path(folder) / f"{len(models)}.trepid")
        for repeat in (2, 5, 8):
            atoms = bulk("CuI", "zincblende", a=6.15, cubic=True).repeat(repeat)
            atoms.rattle(0.1, seed=0)
            for k, (name, model) in enumerate(models.items(), start=1):
                seconds = _seconds_per_step(Path(folder) / f"{k}.trepid", model, atoms)
                rows.append({"model": name, "atoms": len(atoms), "us per atom and step": 1e6 * seconds / len(atoms)})
    report.table("CuI in LAMMPS, CPU time of one process, without live uncertainty", rows)


def _seconds_per_step(file: Path, model: BayesianForceField, atoms: Atoms) -> float:
    system, session = System.of(atoms), Session()
    try:
        session.commands(SETUP if model.electrostatics is None else CHARGED_SETUP)
        session.create_atoms(atoms, system, velocities=False)
        session.commands(pair_commands(file, system, rank=0, electrostatics=model.electrostatics))
        session.commands(f"{NEIGHBOR}timestep 0.001\nvelocity all create 300 1\nfix motion all nve\nrun 5 post no")
        n = max(5, 10_000 // len(atoms))
        best = np.inf
        for _ in range(3):
            begun = time.process_time()
            session.commands(f"run {n} post no")
            best = min(best, (time.process_time() - begun) / n)
        return float(best)
    finally:
        session.close()


def main() -> None:
    parts = {"cui": cui, "cells": cells, "time": timing}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; default: all")
    chosen = parser.parse_args().parts
    if unknown := sorted(set(chosen) - set(parts)):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(parts)}")
    report = Report("charges")
    for name in chosen or parts:
        parts[name](report)
    report.write()


if __name__ == "__main__":
    main()
