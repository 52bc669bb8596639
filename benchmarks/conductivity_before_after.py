"""Lifetimes and conductivity of several models of one crystal, side by side: before and after learning.

    python conductivity_before_after.py CuI CRYSTAL naive=FILE.trepid repaired=FILE.trepid

Every model has its own force constants at the lattice of CRYSTAL; modes are compared as groups in the order of frequency. Results
are kept in results/before-after, one file per model and part, so that a run can be stopped and continued.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import ase.units
import numpy as np
from _common import RESULTS, Report
from ase import Atoms
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

import trepid
from trepid.anharmonicity import harmonic_reference, to_phonopy
from trepid.data.extxyz import format_frame
from trepid.phonons.lifetimes import analyse_lifetimes
from trepid.phonons.mode_reader import LifetimeSettings
from trepid.phonons.relaxation import relaxed
from trepid.potentials.base import Potential
from trepid.transport.conductivity import compute_conductivity, facts
from trepid.transport.settings import ConductivitySettings
from trepid.transport.source import ModelSource

FOLDER = RESULTS / "before-after"
STEP_FS, EVERY = 2.0, 10
EQUILIBRATION_PS = 2.0


def energy_constant(force_field: Any, crystal: Atoms, path: Path, *, kelvin: float, ps: float, seed: int) -> Path:
    """Frames of molecular dynamics without thermostat, after an equilibration; extended XYZ with forces."""
    atoms, rng = crystal.copy(), np.random.default_rng(seed)
    atoms.calc = force_field.calculator(uncertainty="none")
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * kelvin, rng=rng)
    step = STEP_FS * ase.units.fs
    friction = 1 / (100 * ase.units.fs)
    Langevin(atoms, step, temperature_K=kelvin, friction=friction, rng=rng).run(
        round(1000 * EQUILIBRATION_PS / STEP_FS)
    )
    dynamics = VelocityVerlet(atoms, step)
    with open(path, "w") as file:
        for k in range(round(1000 * ps / STEP_FS / EVERY)):
            dynamics.run(EVERY)
            frame = atoms.copy()
            frame.arrays["forces"] = atoms.get_forces()
            frame.info["time_fs"] = k * STEP_FS * EVERY
            file.write(format_frame(frame))
    return path


def lifetimes(model: Potential, crystal: Atoms, options: argparse.Namespace) -> dict[str, Any]:
    """Of the model, with the scatter of draws as its bar."""
    harmonic = harmonic_reference(crystal, options.repeat, model, warn=False)
    how = {"kelvin": options.temperature, "ps": options.duration}
    with tempfile.TemporaryDirectory() as name:
        paths = [
            energy_constant(one, harmonic.supercell, Path(name) / f"{k}.extxyz", seed=50 + k, **how)
            for k, one in enumerate([model, model, *(model.sample(options.draws, 0) if options.draws else [])])
        ]
        found = analyse_lifetimes(
            paths[:2],
            crystal,
            phonon=lambda lattice: to_phonopy(harmonic),
            members=paths[2:],
            settings=LifetimeSettings(resolution_THz=0.3),
        )
    return {
        "modes": [
            {
                "name": mode.group.name,
                "harmonic_THz": mode.group.frequency_THz,
                "THz": mode.frequency_THz,
                "ps": mode.lifetime_ps,
                "interval": [mode.low_ps, mode.high_ps],
                "log_error": mode.log_error,
                "line": mode.fit.is_line,
                "resolved": mode.fit.resolved,
                "sigma_a": mode.sigma_a,
            }
            for mode in found.modes
        ],
        "temperature_K": found.spectrum.temperature_K,
        "remarks": list(found.remarks),
    }


def conductivity(model: Potential, file: Path, crystal: Atoms, options: argparse.Namespace) -> dict[str, Any]:
    """By Green and Kubo, small and short."""
    settings = ConductivitySettings(
        temperature_K=options.temperature,
        repeats=(tuple(options.kappa_repeat or options.repeat),),
        timestep_fs=STEP_FS,
        equilibration_ps=3.0,
        run_ps=options.run,
        n_runs=options.runs,
        sample_fs=20.0,
        n_draws=options.kappa_draws,
    )
    source = ModelSource(model, file, n_draws=options.kappa_draws, seed=0)
    directory = FOLDER / f"{options.name}-{file.stem}-{options.kappa_draws}-kappa"
    return facts(compute_conductivity(source, crystal, settings, directory=directory))


def row(label: str, lines: dict[str, Any], heat: dict[str, Any]) -> dict[str, Any]:
    """One model."""
    resolved = [mode for mode in lines["modes"] if mode["resolved"]]
    logs = np.log([mode["ps"] for mode in resolved])
    errors = np.array([mode["log_error"] for mode in resolved])
    low, high = heat["total_95"]
    return {
        "model": label,
        "mean lifetime ps": float(np.exp(logs.mean())) if resolved else None,
        "+- %": 100 * 1.96 * math.sqrt(float(np.sum(errors**2))) / max(len(errors), 1),
        "resolved": f"{len(resolved)} of {len(lines['modes'])}",
        "bar of one mode %": _mean([100 * math.log(m["interval"][1] / m["ps"]) for m in resolved]),
        "one line %": _mean([100 * mode["line"] for mode in lines["modes"]]),
        "sigma^A of modes": _mean([mode["sigma_a"] for mode in lines["modes"]]),
        "kappa W/(m K)": heat["kappa_W_per_m_K"],
        "95 %": f"{low:.3g} to {high:.3g}",
        "cut-off ps": heat["sizes"][-1]["cutoff_ps"],
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("crystal", type=Path)
    parser.add_argument("models", nargs="+", metavar="LABEL=FILE")
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--repeat", type=int, nargs=3, default=[2, 2, 2])
    parser.add_argument("--kappa-repeat", type=int, nargs=3, help="supercell for the conductivity, if another")
    parser.add_argument("--duration", type=float, default=12.0, help="of a trajectory for lifetimes, ps")
    parser.add_argument("--draws", type=int, default=3, help="trajectories of draws, for lifetimes")
    parser.add_argument("--run", type=float, default=20.0, help="of a run for the conductivity, ps")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--kappa-draws", type=int, default=0)
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    report, rows = Report(f"before-after-{options.name}"), []
    for word in options.models:
        label, _, text = word.partition("=")
        model = trepid.load(text)
        crystal = relaxed(model, read(options.crystal), cell=False)
        parts = {}
        for part in ("lifetimes", "kappa"):
            path = FOLDER / f"{options.name}-{label}-{part}.json"
            if not path.exists():
                found = (
                    lifetimes(model, crystal, options)
                    if part == "lifetimes"
                    else conductivity(model, _named(text, options.name, label), crystal, options)
                )
                path.write_text(json.dumps(found, indent=1))
            parts[part] = json.loads(path.read_text())
            print(f"{label}, {part}:", *parts[part]["remarks"], sep="\n  ", flush=True)
        rows.append(row(label, parts["lifetimes"], parts["kappa"]))
        report.table(f"{options.name}, {options.temperature:g} K", rows)
        report.write()


def _named(text: str, name: str, label: str) -> Path:
    """A copy of the model whose name says which one it is: the folder of its runs has it."""
    path = FOLDER / f"{name}-{label}.trepid"
    if not path.exists():
        path.write_bytes(Path(text).read_bytes())
    return path


if __name__ == "__main__":
    main()
