"""Thermal conductivity: estimates of known integrals; silicon of Stillinger and Weber and of models trained on it.

    python conductivity.py fluxes               how often 95 % intervals hold the integral of processes where it is known
    python conductivity.py silicon [--seeds N]  truth at 1000 K, and models, one training set and one computation per seed
    python conductivity.py table                what `silicon` has found so far
    python conductivity.py plain                the same trajectories with stress/atom instead of the centroid virial
    python conductivity.py gradient             silicon by a temperature gradient, several lengths of the cell
    python conductivity.py argon                solid argon by Green and Kubo and by a temperature gradient
    python conductivity.py both                 hot silicon, thin cells: truth by Green and Kubo and by a temperature gradient
    python conductivity.py power [--seeds N]    warm argon, whose integral has a plateau: truth and models with narrow bars

Truth: `pair_style sw` for the trajectories and an independent heat flux in numpy. Model: `trepid conductivity`. Same sizes, same
lengths, same estimate. Results of every seed are kept in results/conductivity, so that a run can be stopped and continued.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import HERE, RESULTS
from _stillinger_weber import StillingerWeber, write_file
from ase import Atoms, units
from ase.build import bulk
from scipy import signal

from trepid.lammps.installation import find_installation
from trepid.lammps.session import NEIGHBOR, SETUP, Session
from trepid.lammps.system import VELOCITY, System
from trepid.potentials.bayesian import BayesianForceField
from trepid.transport.conductivity import SizeResult, compute_conductivity, size_result
from trepid.transport.flux_runs import Flux
from trepid.transport.green_kubo import Estimate, cepstral, ornstein_uhlenbeck, prefactor, running_integral
from trepid.transport.settings import ConductivitySettings
from trepid.transport.source import LammpsSource, ModelSource

FOLDER = RESULTS / "conductivity"
CRYSTAL = bulk("Si", "diamond", a=5.431, cubic=True)
SETTINGS = ConductivitySettings(
    temperature_K=1000.0,
    repeats=((2, 2, 2),),
    timestep_fs=2.0,
    equilibration_ps=4.0,
    run_ps=50.0,
    n_runs=3,
    sample_fs=20.0,
)
N_FRAMES = 8
TRUE_RUNS = 6
"""More (`--true-runs`) make the bar of the truth narrower, which is the wider one."""
WARM_ARGON = ConductivitySettings(
    temperature_K=80.0,
    repeats=((3, 3, 3),),
    timestep_fs=10.0,
    equilibration_ps=10.0,
    run_ps=90.0,
    n_runs=8,
    sample_fs=20.0,
)
"""Chosen on the truth alone: a plateau after some 5 ps, and a 95 % interval of a quarter."""
WARM_CRYSTAL = bulk("Ar", "fcc", a=5.4, cubic=True)
WARM_PAIR = "pair_style lj/smooth 5.5 6.5\npair_coeff * * 0.0104 3.4\n"
WARM_TRUE_RUNS = 32
BATCH = 250
"""Frames whose flux is computed at a time."""


# ---------------------------------------------------------------------- processes with a known integral


def oscillator(n_series: int, n: int, interval: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Variance 2, 12 THz, damped with 0.5 ps, and its integral as the trapezoidal rule has it."""
    a = np.exp(-interval / 0.5 + 2j * np.pi * 12 * interval)
    noise = (rng.normal(size=(n_series, n)) + 1j * rng.normal(size=(n_series, n))) * math.sqrt(2 * (1 - abs(a) ** 2))
    noise[:, 0] /= math.sqrt(1 - abs(a) ** 2)
    found = signal.lfilter([1.0], [1.0, -a], noise, axis=1).real
    return found, float((2 * interval * (0.5 + a / (1 - a))).real)


def fluxes(repetitions: int = 300) -> None:
    """Coverage of the intervals, and errors over the truth."""
    rng, interval = np.random.default_rng(11), 0.04
    slow = ((0.1, 0.5), (1.0, 0.3), (5.0, 0.1))
    cases = {
        "one time, 1 ps": (((1.0, 1.0),), False),
        "0.1, 1, 5 ps": (slow, False),
        "0.1, 1, 5 ps and 12 THz": (slow, True),
    }
    for name, (parts, optical) in cases.items():
        for run_ps, n_runs in ((50.0, 5), (100.0, 8)):
            rows, second, converged = [], [], 0
            for _ in range(repetitions):
                n, m = round(run_ps / interval), 3 * n_runs
                series, truth = np.zeros((m, n)), 0.0
                for tau, variance in parts:
                    series += math.sqrt(variance) * ornstein_uhlenbeck(
                        tau, n_series=m, n_samples=n, interval_ps=interval, rng=rng
                    )
                    truth += variance * interval / 2 / math.tanh(interval / (2 * tau))
                if optical:
                    more, integral = oscillator(m, n, interval, rng)
                    series, truth = series + more, truth + integral
                found = running_integral(series, interval)
                converged += found.converged
                rows.append(_row(found.estimate, truth))
                second.append(_row(cepstral(series, interval, cutoff_ps=found.cutoff_ps).estimate, truth))
            for what, table in (("integral", np.array(rows)), ("cepstral", np.array(second))):
                print(
                    f"{name}; {n_runs} runs of {run_ps:g} ps; {what}: 95 % intervals hold {100 * table[:, 2].mean():.0f} %, "
                    f"mean error {100 * table[:, 0].mean():+.0f} %, rms {100 * np.sqrt((table[:, 0] ** 2).mean()):.0f} %, "
                    f"announced {100 * table[:, 1].mean():.0f} %"
                    + (f"; long enough {100 * converged / repetitions:.0f} %" if what == "integral" else ""),
                    flush=True,
                )


def _row(estimate: Estimate, truth: float) -> tuple[float, float, float]:
    low, high = estimate.interval()
    return estimate.value / truth - 1, estimate.error / truth, float(low <= truth <= high)


# ---------------------------------------------------------------------- silicon


def session_of(
    atoms: Atoms, pair: str, *, seed: int, steps: int, settings: ConductivitySettings = SETTINGS
) -> tuple[Session, System]:
    """A crystal in equilibrium, without thermostat from then on."""
    session, system = Session(), System.of(atoms)
    session.commands(SETUP)
    session.create_atoms(atoms, system, velocities=False)
    t = settings.temperature_K
    session.commands(f"""{pair}{NEIGHBOR}timestep {settings.timestep_fs / 1000}
        velocity all create {2 * t} {seed} mom yes rot no loop geom
        fix motion all nve
        fix heat all langevin {t} {t} 0.2 {seed} zero yes
        run {steps} post no
        unfix heat
        velocity all zero linear
        run 0 post no""")
    return session, system


def true_flux(pair: str, seed: int, settings: ConductivitySettings = SETTINGS) -> Flux:
    """One run of the truth."""
    atoms = CRYSTAL.repeat(settings.repeats[0])
    exact = StillingerWeber(atoms)
    session, system = session_of(atoms, pair, seed=seed, steps=settings.n_equilibration, settings=settings)
    flux, temperature, x, v = [], [], [], []
    masses = atoms.get_masses()
    try:
        lengths = atoms.cell.lengths()
        offset = np.round((session.positions(system) - atoms.positions) / lengths) * lengths
        for k in range(settings.n_samples):
            session.commands(f"run {settings.sample_every} {'pre no ' if k else ''}post no")
            x.append(session.positions(system) - offset)
            v.append(session.velocities(system))
            if len(x) == BATCH or k == settings.n_samples - 1:
                moving = np.array(v)
                kinetic = 0.5 * masses * (moving**2).sum(axis=-1)
                part = exact.evaluate(np.array(x), moving)[1] + np.einsum("fi,fia->fa", kinetic, moving)
                flux.append(part * VELOCITY)
                temperature.append(kinetic.sum(axis=1) / (1.5 * units.kB * (len(atoms) - 1)))
                x, v = [], []
        final = session.positions(system) - offset - atoms.positions
    finally:
        session.close()
    return Flux(
        flux=np.concatenate(flux),
        velocities=np.zeros((settings.n_samples, 3, 0)),
        temperature_K=float(np.concatenate(temperature).mean()),
        drift_meV=0.0,
        displacement_A=float(np.linalg.norm(final - final.mean(axis=0), axis=1).max()),
    )


def training_frames(
    pair: str, seed: int, *, crystal: Atoms = CRYSTAL, settings: ConductivitySettings = SETTINGS, n: int = N_FRAMES
) -> list[Atoms]:
    """Frames 250 steps apart, with energy and forces."""
    atoms = crystal.repeat(settings.repeats[0])
    session, system = session_of(atoms, pair, seed=seed, steps=1000, settings=settings)
    frames = []
    try:
        for _ in range(n):
            session.commands("run 250 post no")
            frame = Atoms(atoms.symbols, positions=session.positions(system), cell=atoms.cell, pbc=True)
            frame.info["REF_energy"] = session.thermo("pe")
            frame.arrays["REF_forces"] = session.forces(system)
            frames.append(frame)
    finally:
        session.close()
    return frames


def train(pair: str, seed: int) -> BayesianForceField:
    """A model of the truth, hyperparameters from the evidence."""
    model = BayesianForceField(
        ["Si"], pair_cutoff=4.2, triplet_cutoff=4.0, n_pair=14, n_radial=8, l_max=3, n_channels=0, n_threads=1
    )
    model.update(training_frames(pair, seed))
    model.optimize()
    return model


def model_error(model: BayesianForceField, frames: list[Atoms]) -> float:
    """Rms error of a force component, eV/A."""
    errors = [model.predict(frame).forces - frame.arrays["REF_forces"] for frame in frames]
    return float(np.sqrt(np.mean(np.square(errors))))


def truth(n_runs: int) -> SizeResult:
    """The truth, from runs that are kept."""
    return _silicon_result(_true_runs(n_runs))


def _silicon_result(runs: list[Flux]) -> SizeResult:
    repeat = SETTINGS.repeats[0]
    return size_result(runs, CRYSTAL.repeat(repeat), repeat, SETTINGS.sample_fs / 1000)


def _true_runs(n_runs: int) -> list[Flux]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = []
    for k in range(n_runs):
        path = FOLDER / f"truth-{k + 1:02d}.npz"
        if not path.exists():
            with tempfile.TemporaryDirectory() as name:
                run = true_flux(write_file(Path(name)), int(np.random.default_rng([7, k]).integers(1, 800_000_000)))
            np.savez(path, flux=run.flux, temperature_K=run.temperature_K, displacement_A=run.displacement_A)
        kept = np.load(path)
        nothing = np.zeros((SETTINGS.n_samples, 3, 0))
        runs.append(Flux(kept["flux"], nothing, float(kept["temperature_K"]), 0.0, float(kept["displacement_A"])))
    return runs


def silicon(seeds: int, true_runs: int = TRUE_RUNS) -> None:
    """The truth, and the model of every seed that is not done."""
    truth(true_runs)
    for seed in range(1, seeds + 1):
        path = FOLDER / f"model-{seed:02d}.json"
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as name:
            pair = write_file(Path(name))
            model = train(pair, 1000 + seed)
            model.save(Path(name) / "si.trepid")
            source = ModelSource(model, Path(name) / "si.trepid", n_draws=0, seed=seed)
            own = replace(SETTINGS, seed=seed)
            result = compute_conductivity(source, CRYSTAL, own, directory=Path(name) / "k").sizes[0]
            error = model_error(model, training_frames(pair, 9000 + seed))
        path.write_text(json.dumps({**_facts(result), "forces_error": error}, indent=1))
        table(true_runs)


def _facts(size: SizeResult) -> dict[str, object]:
    return {
        "kappa": size.kappa.value,
        "interval": list(size.kappa.interval()),
        "temperature_K": size.temperature_K,
        "cutoff_ps": size.integral.cutoff_ps,
        "converged": size.integral.converged,
        "cepstral": size.cepstral.estimate.value,
        "cepstral_interval": list(size.cepstral.estimate.interval()),
        "cepstral_valid": size.cepstral.valid,
    }


def table(true_runs: int = TRUE_RUNS) -> None:
    """Silicon: what has been found so far, and the means of both over groups of as many runs, whose bias is the same."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("model-*.json"))]
    true = truth(true_runs)
    compare("silicon", true, found)
    runs = _true_runs(true_runs)
    groups = [_silicon_result(runs[k : k + SETTINGS.n_runs]).kappa.value for k in range(0, true_runs, SETTINGS.n_runs)]
    mean, error = float(np.mean(groups)), float(np.std(groups, ddof=1) / math.sqrt(len(groups)))
    print(
        f"truth, {len(groups)} groups of {SETTINGS.n_runs} runs, each with a cut-off of its own: {mean:.1f} +- {error:.1f} W/(m K)"
    )


def compare(name: str, true: SizeResult, found: list[dict[str, Any]]) -> None:
    """Truth and models: how often they agree, and how often the bars of the models hold the mean of all models."""
    low, high = true.kappa.interval()
    print(
        f"{name}, truth: {true.kappa.value:.3g} W/(m K), {low:.3g} to {high:.3g}, "
        f"cut-off {true.integral.cutoff_ps:.3g} ps, long enough: {true.integral.converged}, "
        f"cepstral {true.cepstral.estimate.value:.3g} +- {true.cepstral.estimate.error:.2g} (valid: {true.cepstral.valid})"
    )
    if len(found) < 2:
        return
    agree = 0
    for entry in found:
        own = entry["interval"]
        half = math.hypot(0.5 * math.log(high / low), 0.5 * math.log(own[1] / own[0]))
        agree += abs(math.log(entry["kappa"] / true.kappa.value)) <= half
    values = np.array([entry["kappa"] for entry in found])
    mean, scatter = values.mean(), values.std(ddof=1)
    held = sum(e["interval"][0] <= mean <= e["interval"][1] for e in found)
    valid = [e for e in found if e["cepstral_valid"]]
    second = sum(e["cepstral_interval"][0] <= mean <= e["cepstral_interval"][1] for e in valid)
    half_widths = [50 * (e["interval"][1] - e["interval"][0]) / e["kappa"] for e in found]
    print(
        f"{agree} of {len(found)} models agree with the truth within the combined 95 % intervals; models {mean:.3g} +- "
        f"{scatter / math.sqrt(len(values)):.2g} W/(m K), scatter {scatter:.2g}, median half width of an interval "
        f"{np.median(half_widths):.0f} %; {held} of {len(found)} intervals hold this mean (cepstral, where valid, {second} of "
        f"{len(valid)}); force error of the models {1000 * np.mean([e['forces_error'] for e in found]):.2g} meV/A; runs long "
        f"enough in {sum(e['converged'] for e in found)}",
        flush=True,
    )


# ---------------------------------------------------------------------- warm argon


def power(seeds: int) -> None:
    """Models of a crystal whose conductivity a short run gives within a quarter: a difference of a quarter would be seen."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    longer = replace(WARM_ARGON, n_runs=WARM_TRUE_RUNS)
    source = LammpsSource(WARM_PAIR)
    true = compute_conductivity(source, WARM_CRYSTAL, longer, directory=FOLDER / "warm-truth").sizes[0]
    found = []
    for seed in range(1, seeds + 1):
        path = FOLDER / f"warm-{seed:02d}.json"
        if not path.exists():
            how = {"crystal": WARM_CRYSTAL, "settings": WARM_ARGON}
            model = BayesianForceField(
                ["Ar"], pair_cutoff=6.5, triplet_cutoff=4.8, n_pair=16, n_radial=4, l_max=2, n_channels=0, n_threads=1
            )
            model.update(training_frames(WARM_PAIR, 1000 + seed, **how))
            model.optimize()
            with tempfile.TemporaryDirectory() as name:
                model.save(Path(name) / "ar.trepid")
                source_of_model = ModelSource(model, Path(name) / "ar.trepid", n_draws=0, seed=seed)
                own = replace(WARM_ARGON, seed=seed)
                size = compute_conductivity(source_of_model, WARM_CRYSTAL, own, directory=Path(name) / "k").sizes[0]
            error = model_error(model, training_frames(WARM_PAIR, 9000 + seed, **how))
            path.write_text(json.dumps({**_facts(size), "forces_error": error}, indent=1))
        found.append(json.loads(path.read_text()))
        compare("warm argon", true, found)


def plain() -> None:
    """One model; the same trajectories with either flux."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = train(write_file(folder), 1001)
        model.save(folder / "si.trepid")
        source = ModelSource(model, folder / "si.trepid", n_draws=0, seed=1)
        import trepid.transport.flux_input as writer

        exact = compute_conductivity(source, CRYSTAL, SETTINGS, directory=folder / "exact").kappa
        kept = writer._INPUT
        writer._INPUT = kept.replace("centroid/stress/atom", "stress/atom")
        try:
            wrong = compute_conductivity(source, CRYSTAL, SETTINGS, directory=folder / "plain").kappa
        finally:
            writer._INPUT = kept
    change = 100 * (wrong.value / exact.value - 1)
    print(
        f"centroid/stress/atom {exact.value:.1f} +- {exact.error:.1f} W/(m K), stress/atom {wrong.value:.1f} +- {wrong.error:.1f}: "
        f"{change:+.0f} %"
    )


@dataclass(frozen=True)
class Gradient:
    """A crystal between a hot and a cold slab: variables of examples/lammps/in.gradient."""

    name: str
    lengths: tuple[int, ...]
    a: float
    power: float
    variables: Mapping[str, object]


SILICON = Gradient(
    "silicon",
    (16, 24, 32),
    5.431,
    0.8,
    {"width": 2, "pair": "sw", "coeff": "* * Si.sw Si", "step": 0.002, "settle": 8000, "steps": 30_000},
)
HOT_SILICON = replace(
    SILICON,
    name="hot-silicon",
    lengths=(16, 32, 64),
    power=0.4,
    variables={**SILICON.variables, "kelvin": 1500, "steps": 50_000},
)
HOT = replace(SETTINGS, temperature_K=1500.0, repeats=((2, 2, 8),), run_ps=60.0, n_runs=8)
ARGON = Gradient(
    "argon",
    (16, 32),
    5.33,
    0.004,
    {
        "lattice": "fcc",
        "mass": 39.948,
        "kelvin": 40,
        "width": 3,
        "pair": "lj/cut 8.5",
        "coeff": "* * 0.0104 3.4",
        "step": 0.005,
        "settle": 10_000,
        "steps": 60_000,
    },
)
"""Phonons of solid argon have mean free paths of a nanometre: small cells are enough for both ways."""


def gradient(case: Gradient = SILICON) -> None:
    """Conductivity of every length, and 1/kappa over 1/length, extrapolated."""
    installation = find_installation()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = []
    width = case.a * int(str(case.variables["width"]))
    for cells in case.lengths:
        path = FOLDER / f"gradient-{case.name}-{cells}.txt"
        if not path.exists():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                shutil.copy(HERE.parent / "examples" / "lammps" / "in.gradient", folder)
                write_file(folder)
                words = [str(installation.program), "-in", "in.gradient", "-log", "none", "-screen", "none"]
                for key, value in {**case.variables, "constant": case.a, "power": case.power, "cells": cells}.items():
                    words += ["-var", key, str(value)]
                subprocess.run(words, cwd=folder, env=installation.environment(), check=True)
                shutil.copy(folder / "gradient.txt", path)
        difference = np.loadtxt(path)[:, 1]
        length = case.a * cells
        heat = case.power * (width / case.a) ** 2 / (2 * width**2)
        kappa = 1602.176634 * heat * 0.25 * length / difference.mean()
        error = kappa * difference.std(ddof=1) / math.sqrt(len(difference)) / difference.mean()
        rows.append((length, kappa, error))
        print(
            f"{case.name}, {cells} cells, {length / 10:.1f} nm: {kappa:.3g} +- {error:.2g} W/(m K), {difference.mean():.3g} K over "
            "a quarter of the length",
            flush=True,
        )
    x, y, e = np.array(rows).T
    if len(rows) > 1:
        coefficients, covariance = np.polyfit(1 / x, 1 / y, 1, w=y**2 / e, cov="unscaled")
        limit = 1 / coefficients[1]
        print(
            f"extrapolated, 1/kappa over 1/length: {limit:.3g} +- {limit**2 * math.sqrt(covariance[1, 1]):.2g} W/(m K)"
        )


def both() -> None:
    """Stillinger-Weber silicon at 1500 K in cells of 2 x 2 unit cells across, where both ways have the same phonons across."""
    gradient(HOT_SILICON)
    fluxes, atoms = [], CRYSTAL.repeat(HOT.repeats[0])
    for k in range(HOT.n_runs):
        path = FOLDER / f"hot-{k + 1:02d}.npz"
        if not path.exists():
            with tempfile.TemporaryDirectory() as name:
                run = true_flux(
                    write_file(Path(name)), int(np.random.default_rng([8, k]).integers(1, 800_000_000)), HOT
                )
            np.savez(path, flux=run.flux, temperature_K=run.temperature_K)
        kept = np.load(path)
        factor = math.sqrt(prefactor(atoms.get_volume(), float(kept["temperature_K"])))
        fluxes.append(kept["flux"][:, 2] * factor)
        if len(fluxes) >= 4:
            found = running_integral(np.array(fluxes), HOT.sample_fs / 1000)
            low, high = found.estimate.interval()
            print(
                f"{len(atoms)} atoms along the length, {len(fluxes)} runs of {HOT.run_ps:g} ps, by Green and Kubo: "
                f"{found.estimate.value:.3g} W/(m K), {low:.3g} to {high:.3g}, cut-off {found.cutoff_ps:.3g} ps, long enough: "
                f"{found.converged}",
                flush=True,
            )


def argon() -> None:
    """Solid argon by Green and Kubo and by a temperature gradient."""
    settings = ConductivitySettings(
        temperature_K=40.0,
        repeats=((3, 3, 3), (4, 4, 4)),
        timestep_fs=5.0,
        equilibration_ps=10.0,
        run_ps=100.0,
        n_runs=8,
        sample_fs=20.0,
    )
    with tempfile.TemporaryDirectory() as name:
        crystal = bulk("Ar", "fcc", a=ARGON.a, cubic=True)
        source = LammpsSource("pair_style lj/cut 8.5; pair_coeff * * 0.0104 3.4")
        result = compute_conductivity(source, crystal, settings, directory=Path(name) / "k")
    for size in result.sizes:
        low, high = size.kappa.interval()
        second = size.cepstral.estimate
        print(
            f"argon, {size.n_atoms} atoms, {size.temperature_K:.1f} K, by Green and Kubo: {size.kappa.value:.3g} W/(m K), "
            f"{low:.3g} to {high:.3g}; cut-off {size.integral.cutoff_ps:.3g} ps; cepstral {second.value:.3g} +- {second.error:.2g} "
            f"(valid: {size.cepstral.valid})",
            flush=True,
        )
    gradient(ARGON)


PARTS = {
    "fluxes": lambda options: fluxes(),
    "silicon": lambda options: silicon(options.seeds, options.true_runs),
    "table": lambda options: table(options.true_runs),
    "plain": lambda options: plain(),
    "gradient": lambda options: gradient(),
    "argon": lambda options: argon(),
    "both": lambda options: both(),
    "power": lambda options: power(options.seeds),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--true-runs", type=int, default=TRUE_RUNS, help="of silicon, a multiple of three")
    chosen = parser.parse_args()
    PARTS[chosen.part](chosen)
