"""Constant pressure: lattice constants of silicon and CuI with both MD engines, and whether they agree within their bars.

For silicon (Stillinger-Weber labels on strained and shaken crystals) and CuI (GFN1-xTB labels, the frames of the tests) a force
field is trained; then 64 atoms run at zero pressure with both engines at 300 and 600 K, 5 ps to equilibrate and 50 ps that count.
The tables have the lattice constant and the pressure with their bars from blocks, the difference of the engines in units of its
bar, thermal expansion between the temperatures and from fluctuations, the bulk modulus, and the equation of state at 0 K.

    python benchmarks/npt.py [--only CuI] [--seeds 5] [--folder FOLDER]

With more than one seed the runs in LAMMPS are made with other initial velocities too, and the scatter of their lattice constants is
compared with the bars that the single runs claim.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import HERE, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
from ase import Atoms
from ase.build import bulk

import trepid
from trepid.analysis.eos import equation_of_state
from trepid.analysis.thermodynamics import Thermodynamics, expansion, read_trace, thermodynamics
from trepid.data import read_frames
from trepid.dynamics.record import TRACE_FILE
from trepid.lammps.installation import find_installation
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference.lammps import LAMMPSReference

TEMPERATURES_K = (300.0, 600.0)
ENGINES = ("ase", "lammps")
EQUILIBRATE_PS, TIMESTEP_FS = 5.0, 2.0
CELLS = 2
"""Conventional cells along every direction: 64 atoms."""


def silicon_frames(n: int = 24, seed: int = 0) -> list[Atoms]:
    """Crystals of 64 atoms, strained by up to 3 % and shaken by up to 0.12 A (rms); labels of Stillinger and Weber's potential."""
    rng = np.random.default_rng(seed)
    parameters = next(find_installation().program.parent.rglob("Si.sw"))
    reference = LAMMPSReference(["pair_style sw", "pair_coeff * * Si.sw Si"], files=[parameters])
    frames = []
    for _ in range(n):
        atoms = bulk("Si", cubic=True).repeat(CELLS)
        strain = np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))
        atoms.set_cell(atoms.cell[:] @ ((strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += rng.uniform(0.03, 0.12) * rng.standard_normal((len(atoms), 3))
        frames.append(reference.label(atoms))
    reference.close()
    return frames


def run(
    model: BayesianForceField,
    start: Atoms,
    folder: Path,
    *,
    engine: str,
    temperature_K: float,
    ps: float,
    seed: int = 0,
) -> Any:
    """Averages of a run at zero pressure; a run that is there already is not made again."""
    result = trepid.md(
        model,
        start,
        directory=folder,
        engine=engine,
        temperature_K=temperature_K,
        duration_ps=EQUILIBRATE_PS + ps,
        timestep_fs=TIMESTEP_FS,
        pressure_GPa=0.0,
        check_every=10,
        sample_every=100,
        seed=seed,
    )
    averages = thermodynamics(read_trace(folder / TRACE_FILE), equilibrate_ps=EQUILIBRATE_PS)
    return averages, result


def row(name: str, engine: str, averages: Thermodynamics, result: Any) -> dict[str, Any]:
    """A run as a row."""
    a, p = averages.cell["a_A"], averages.pressure_GPa
    return {
        "run": name,
        "engine": engine,
        "a, A": a.value / CELLS,
        "bar, A": a.error / CELLS,
        "lower bound": "" if a.converged else "yes",
        "P, GPa": p.value,
        "bar, GPa": p.error,
        "P / bar": p.value / p.error,
        "T, K": averages.temperature_K.value,
        "B_T, GPa": str(averages.bulk_modulus_GPa),
        "alpha_V / 3, 1e-6/K": _third(averages),
        "steps/s": result.steps_per_second,
        "largest bar, eV/A": result.largest_uncertainty,
    }


def _third(averages: Thermodynamics) -> str:
    found = averages.volume_expansion_per_K
    assert found is not None
    return f"{found.value / 3e-6:.2f} ± {found.error / 3e-6:.2f}"


def scatter(name: str, seeds: Sequence[Thermodynamics]) -> dict[str, Any]:
    """Runs that differ in their seed alone: their scatter, and the bars of single runs."""
    a = np.array([averages.cell["a_A"].value for averages in seeds]) / CELLS
    bars = np.array([averages.cell["a_A"].error for averages in seeds]) / CELLS
    return {
        "run": name,
        "runs": len(a),
        "mean a, A": a.mean(),
        "scatter, A": a.std(ddof=1),
        "rms of the bars, A": float(np.sqrt(np.mean(bars**2))),
        "inside 1.96 bars of the mean": int((np.abs(a - a.mean()) <= 1.96 * bars).sum()),
        "lower bounds": sum(not averages.cell["a_A"].converged for averages in seeds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of the frames")
    parser.add_argument("--ps", type=float, default=50.0, help="length that counts, ps (default 50)")
    parser.add_argument("--only", choices=("Si", "CuI"), help="one crystal")
    parser.add_argument("--seeds", type=int, default=1, help="runs in LAMMPS of every kind (default 1)")
    parser.add_argument("--folder", type=Path, help="keep the runs here, and continue those that are there")
    options = parser.parse_args()
    report = Report("npt")
    systems = {
        "Si": (["Si"], silicon_frames, bulk("Si", cubic=True)),
        "CuI": (
            ["Cu", "I"],
            lambda: read_frames(options.data / "cui_gfn1_64.extxyz"),
            bulk("CuI", "zincblende", a=6.1, cubic=True),
        ),
    }
    if options.only:
        systems = {options.only: systems[options.only]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        rows, differences, responses, curves, scatters = [], [], [], [], []
        for name, (species, frames, cell) in systems.items():
            # Without quadruplets: the labels of Si are a pair and triplet potential.
            model = BayesianForceField(species, n_channels=0, n_threads=1).fit(frames())
            curve = equation_of_state(model, cell)
            lattice = cell.cell.lengths()[0]
            curves.append(
                {
                    "crystal": name,
                    "a at 0 K, A": lattice * curve.lattice_factor.value,
                    "bar, A": lattice * curve.lattice_factor.error,
                    "B, GPa": str(curve.bulk_modulus_GPa),
                    "B'": str(curve.bulk_modulus_derivative),
                }
            )
            start = cell.copy()
            start.set_cell(cell.cell * curve.lattice_factor.value, scale_atoms=True)
            start = start.repeat(CELLS)
            found: dict[tuple[str, float], Thermodynamics] = {}
            for temperature in TEMPERATURES_K:
                key = f"{name}, {temperature:g} K"
                for engine in ENGINES:
                    repeated = []
                    for seed in range(options.seeds if engine == "lammps" else 1):
                        averages, result = run(
                            model,
                            start,
                            folder / f"{name}-{temperature:g}-{engine}{f'-{seed}' if seed else ''}",
                            engine=engine,
                            temperature_K=temperature,
                            ps=options.ps,
                            seed=seed,
                        )
                        repeated.append(averages)
                        rows.append(row(key, engine, averages, result))
                        print(rows[-1], flush=True)
                    found[engine, temperature] = repeated[0]
                    if len(repeated) > 1:
                        scatters.append(scatter(f"{key}, {engine}", repeated))
                here, there = (found[engine, temperature].cell["a_A"] for engine in ENGINES)
                bar = float(np.hypot(here.error, there.error)) / CELLS
                difference = (here.value - there.value) / CELLS
                differences.append(
                    {
                        "run": key,
                        "a(ase) - a(lammps), A": difference,
                        "bar, A": bar,
                        "difference / bar": difference / bar,
                    }
                )
            for engine in ENGINES:
                between = expansion([found[engine, temperature] for temperature in TEMPERATURES_K])
                assert between is not None
                linear = between.linear_per_K[0]
                responses.append(
                    {
                        "crystal": name,
                        "engine": engine,
                        "alpha, 1e-6/K": linear.value * 1e6,
                        "bar, 1e-6/K": linear.error * 1e6,
                    }
                )
    report.table(f"64 atoms, 0 GPa, {options.ps:g} ps after {EQUILIBRATE_PS:g} ps", rows)
    report.table("The two engines", differences)
    if scatters:
        report.table("Scatter of the seeds", scatters)
    report.table("Linear thermal expansion, 300 to 600 K", responses)
    report.table("Equation of state", curves)
    report.write()


if __name__ == "__main__":
    main()
