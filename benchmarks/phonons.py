"""Phonons and lifetimes of models against truths that are known, with their bars.

silicon    a Stillinger-Weber truth: bands of a model trained on its frames, with 95 % intervals, over several training sets
langevin   a harmonic crystal whose every mode has the same damping: lifetimes, intervals and the test of one line, repeated
toy        the AgI-like toy at 300 to 600 K: lifetimes of a model of few calm frames and of one that has learnt more
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.units
import numpy as np
from _common import RESULTS, Report
from _toy import toy_commands, toy_crystal, toy_lammps, toy_md
from ase import Atoms
from ase.build import bulk
from scipy.linalg import expm

from trepid import BayesianForceField
from trepid.anharmonicity import HarmonicReference, harmonic_reference, harmonic_sample, to_phonopy
from trepid.data.extxyz import format_frame
from trepid.lammps.installation import find_installation
from trepid.phonons.analysis import PhononSettings, analyse_phonons
from trepid.phonons.lifetimes import LifetimeAnalysis, analyse_lifetimes
from trepid.phonons.mode_reader import LifetimeSettings
from trepid.reference import Reference, make_reference

SILICON_A = 5.431
SUPERCELL = (2, 2, 2)
ACOUSTIC_THz = 0.5
"""Relative errors are of frequencies above this: at Gamma acoustic ones are zero."""


def silicon_commands() -> list[str]:
    """Stillinger-Weber silicon of the installed LAMMPS."""
    file = next(find_installation().program.parent.rglob("Si.sw"))
    return ["pair_style sw", f"pair_coeff * * {file} Si"]


def silicon_truth() -> Reference:
    """The same as a reference."""
    return make_reference("lammps", commands=silicon_commands(), atom_types={"Si": 1})


def silicon_frames(truth: Reference, n: int, seed: int) -> list[Atoms]:
    """Frames of 64 atoms drawn from the harmonic crystal at 300, 600 and 900 K, labelled by the truth."""
    harmonic = harmonic_reference(bulk("Si", cubic=True, a=SILICON_A), SUPERCELL, truth)
    frames = []
    for k, temperature in enumerate((300.0, 600.0, 900.0)):
        frames += harmonic_sample(harmonic, temperature, n // 3, 10 * seed + k)
    return [truth.label(frame) for frame in frames]


def silicon_row(truth: Reference, expected: Any, seed: int, n: int) -> dict[str, Any]:
    """One training set: errors of the frequencies, and how many the intervals hold."""
    model = BayesianForceField(species=["Si"], pair_cutoff=5.0, triplet_cutoff=4.0)
    model.fit(silicon_frames(truth, n, seed))
    settings = PhononSettings(supercell=SUPERCELL, posterior=16, seed=seed)
    found = analyse_phonons(model, bulk("Si", cubic=True, a=SILICON_A), settings)
    value, bar = found.bands.frequencies.value, found.bands.frequencies.bar()
    assert bar is not None
    true = expected.bands.frequencies.value
    high = true > ACOUSTIC_THz
    inside = np.abs(value - true) <= bar + 1e-6
    thermal, truly = found.mesh.thermal, expected.mesh.thermal
    k = int(np.argmin(np.abs(thermal.temperatures_K - 300.0)))
    free, heat = thermal.free_energy.bar(), thermal.heat_capacity.bar()
    assert free is not None
    assert heat is not None
    return {
        "seed": seed,
        "frames": n,
        "largest error %": 100 * float(np.abs(value / true - 1)[high].max()),
        "rms error THz": float(np.sqrt(np.mean((value - true) ** 2))),
        "mean bar THz": float(bar[high].mean()),
        "frequencies held %": 100 * float(inside[high].mean()),
        "q points held %": 100 * float(inside.all(axis=1).mean()),
        "q points held by mean %": 100 * float((inside.mean(axis=1) >= 0.5).mean()),
        "F(300 K) held": bool(abs(thermal.free_energy.value[k] - truly.free_energy.value[k]) <= free[k]),
        "Cv(300 K) held": bool(abs(thermal.heat_capacity.value[k] - truly.heat_capacity.value[k]) <= heat[k]),
    }


def silicon(report: Report, seeds: int, frames: int) -> None:
    truth = silicon_truth()
    expected = analyse_phonons(
        truth, bulk("Si", cubic=True, a=SILICON_A), PhononSettings(supercell=SUPERCELL, posterior=0)
    )
    rows = [silicon_row(truth, expected, seed, frames) for seed in range(1, seeds + 1)]
    truth.close()
    report.table(f"silicon, Stillinger-Weber truth, {frames} frames of 64 atoms; 95 % intervals of 16 draws", rows)


# ---------------------------------------------------------------------- a known damping

DAMPING_PS = 2.0
"""Lifetime 1/gamma of every mode."""


def langevin_run(
    harmonic: HarmonicReference,
    temperature_K: float,
    gamma: float,
    interval_fs: float,
    n: int,
    rng: np.random.Generator,
) -> list[Atoms]:
    """Exact frames of the harmonic crystal with friction gamma (1/fs) and its noise: linear stochastic equations per mode."""
    modes = harmonic.modes
    omega = np.sqrt(modes.omega2) * ase.units.fs
    kT = ase.units.kB * temperature_K * ase.units.fs**2
    step = np.array([expm(np.array([[0.0, 1.0], [-(w**2), -gamma]]) * interval_fs) for w in omega])
    rest = np.array([np.diag([kT / w**2, kT]) for w in omega])
    noise = np.linalg.cholesky(rest - step @ rest @ step.transpose(0, 2, 1))
    state = np.linalg.cholesky(rest) @ rng.normal(size=(len(omega), 2, 1))
    frames = []
    for k in range(n):
        atoms = harmonic.displaced(modes.displacements(state[:, 0, 0]))
        atoms.set_velocities(modes.displacements(state[:, 1, 0]) / ase.units.fs)
        atoms.info["time_fs"] = k * interval_fs
        frames.append(atoms)
        state = step @ state + noise @ rng.normal(size=state.shape)
    return frames


def langevin(report: Report, seeds: int) -> None:
    """Coverage over modes and repeated runs; the force constants are those of the Stillinger-Weber silicon, 64 atoms."""
    truth = silicon_truth()
    crystal = bulk("Si", cubic=True, a=SILICON_A)
    harmonic = harmonic_reference(crystal, SUPERCELL, truth)
    truth.close()
    gamma, rows = 1.0 / (1000 * DAMPING_PS), []
    for seed in range(1, seeds + 1):
        rng = np.random.default_rng(seed)
        runs = [langevin_run(harmonic, 300.0, gamma, 16.0, 4000, rng) for _ in range(2)]
        found = analyse_lifetimes(
            runs,
            crystal,
            phonon=lambda lattice: to_phonopy(harmonic),
            settings=LifetimeSettings(positions=seed % 2 == 0, blocks=2),
        )
        modes = found.modes
        shift = np.array([m.frequency_THz - m.group.frequency_THz for m in modes])
        rows.append(
            {
                "seed": seed,
                "velocities": found.kind.value,
                "modes": len(modes),
                "lifetime held %": 100 * float(np.mean([m.low_ps <= DAMPING_PS <= m.high_ps for m in modes])),
                "mean lifetime ps": float(np.mean([m.lifetime_ps for m in modes])),
                "mean bar %": 100 * float(np.mean([1.96 * m.log_error for m in modes])),
                "frequency held %": 100
                * float(np.mean(np.abs(shift) <= 1.96 * np.array([m.frequency_error_THz for m in modes]))),
                "not one line %": 100 * float(np.mean([not m.fit.is_line for m in modes])),
            }
        )
    report.table(
        f"harmonic silicon, 64 atoms, all modes damped with 1/gamma = {DAMPING_PS:g} ps; 2 runs of 64 ps, 95 % intervals",
        rows,
    )
    names = ("lifetime held %", "mean lifetime ps", "frequency held %", "not one line %")
    report.table("all seeds", [{name: float(np.mean([row[name] for row in rows])) for name in names}])


# ---------------------------------------------------------------------- the toy

TOY_TEMPERATURES = (300, 400, 500, 600)
TOY_STEP_FS, TOY_EVERY = 4.0, 5
TOY_CALM, TOY_MORE = 3, 24
"""Training frames of the naive model, from 100 K, and those added to it, from 600 K."""


TOY_MATCH, TOY_MATCH_STEPS = 3, 500
"""Times that the energy is set after the equilibration, and steps of constant energy before each: runs of 64 atoms drawn at a
temperature differ by 7 % in their mean temperature, and lifetimes go as its inverse."""


def toy_matched(temperature_K: float, *, mean_K: float, now_K: float) -> float:
    """Instantaneous temperature to set, K, so that the run has the wanted mean: half of what is added becomes potential energy."""
    return max(0.1 * temperature_K, now_K + 2 * (temperature_K - mean_K))


def toy_truth_run(commands: list[str], path: Path, *, temperature_K: float, duration_ps: float, seed: int) -> Path:
    """Constant-energy dynamics of the truth in LAMMPS after an equilibration; a dump of positions."""
    lmp = toy_lammps(commands, toy_crystal(2))
    dt = TOY_STEP_FS / 1000
    lmp.commands_list(
        [
            "neighbor 1.0 bin",
            f"timestep {dt}",
            f"velocity all create {2 * temperature_K} {1000 + seed} mom yes dist gaussian",
            f"fix nvt all nvt temp {temperature_K} {temperature_K} {100 * dt}",
            "thermo 1000000",
            f"run {round(5 / dt)} post no",
            "unfix nvt",
            "fix nve all nve",
        ]
    )
    for _ in range(TOY_MATCH):
        samples = []
        for _ in range(TOY_MATCH_STEPS // TOY_EVERY):
            lmp.command(f"run {TOY_EVERY} post no")
            samples.append(lmp.get_thermo("temp"))
        target = toy_matched(temperature_K, mean_K=float(np.mean(samples)), now_K=samples[-1])
        lmp.command(f"velocity all scale {target}")
    lmp.commands_list(
        [
            "reset_timestep 0",
            f"dump d all custom {TOY_EVERY} {path} id element xu yu zu fx fy fz",
            "dump_modify d element Ag I sort id units yes time yes format float %.8g",
            f"run {round(duration_ps / dt)} post no",
        ]
    )
    lmp.close()
    return path


def toy_model_run(force_field: Any, path: Path, *, temperature_K: float, duration_ps: float, seed: int) -> Path:
    """The same on a model or one of its draws, in ASE."""
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    atoms, rng = toy_crystal(2), np.random.default_rng(seed)
    atoms.calc = force_field.calculator(uncertainty="none")
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature_K, rng=rng)
    step = TOY_STEP_FS * ase.units.fs
    Langevin(atoms, step, temperature_K=temperature_K, friction=1 / (200 * ase.units.fs), rng=rng).run(1250)
    dynamics = VelocityVerlet(atoms, step)
    for _ in range(TOY_MATCH):
        samples = []
        for _ in range(TOY_MATCH_STEPS // TOY_EVERY):
            dynamics.run(TOY_EVERY)
            samples.append(atoms.get_temperature())
        target = toy_matched(temperature_K, mean_K=float(np.mean(samples)), now_K=samples[-1])
        atoms.set_momenta(atoms.get_momenta() * math.sqrt(target / samples[-1]))
    n = round(1000 * duration_ps / TOY_STEP_FS / TOY_EVERY)
    with open(path, "w") as file:
        for k in range(n):
            dynamics.run(TOY_EVERY)
            frame = atoms.copy()
            frame.arrays.pop("momenta", None)
            frame.arrays["forces"] = atoms.get_forces()
            frame.info["time_fs"] = k * TOY_STEP_FS * TOY_EVERY
            file.write(format_frame(frame))
    return path


def toy_models(
    commands: list[str], truth: Reference, harmonic: HarmonicReference
) -> tuple[BayesianForceField, BayesianForceField]:
    """The naive model and the repaired one."""
    calm = [truth.label(frame) for frame in harmonic_sample(harmonic, 100.0, TOY_CALM, 1)]
    hot = toy_md(commands, toy_crystal(2), temperature_K=600, duration_ps=24, sample_every=250, seed=3)
    naive = BayesianForceField(species=["Ag", "I"], pair_cutoff=8.0, triplet_cutoff=5.5)
    naive.fit(calm)
    repaired = BayesianForceField(species=["Ag", "I"], pair_cutoff=8.0, triplet_cutoff=5.5)
    repaired.fit([*calm, *(hot.frame(k) for k in range(len(hot.times_ps)))][: TOY_CALM + TOY_MORE])
    return naive, repaired


def toy(
    report: Report,
    folder: Path,
    names: Sequence[str],
    temperatures: Sequence[int],
    *,
    duration_ps: float,
    n_runs: int,
    draws: int,
) -> None:
    """Rows of every temperature are kept in results/toy-lifetimes, so that a run can be stopped and continued."""
    commands = toy_commands(folder)
    truth = make_reference("lammps", commands=commands, atom_types={"Ag": 1, "I": 2})
    harmonic = harmonic_reference(toy_crystal(1), SUPERCELL, truth)
    kept = RESULTS / "toy-lifetimes"
    kept.mkdir(parents=True, exist_ok=True)
    files = {name: kept / f"{name}.trepid" for name in ("naive", "repaired")}
    if not all(file.exists() for file in files.values()):
        for file, model in zip(files.values(), toy_models(commands, truth, harmonic), strict=True):
            model.save(file)
    models = {name: BayesianForceField.load(file) for name, file in files.items()}
    truth.close()
    rows = []
    for temperature in temperatures:
        how = {"temperature_K": temperature, "duration_ps": duration_ps, "n_runs": n_runs}
        true: LifetimeAnalysis | None = None
        for name in names:
            path = kept / f"{name}-{temperature}K-matched-{n_runs}x{duration_ps:g}ps-{draws}.json"
            if not path.exists():
                true = true or toy_truth(commands, harmonic, folder, **how)
                path.write_text(
                    json.dumps(toy_one(true, name, models[name], harmonic, folder, draws=draws, **how), indent=1)
                )
            rows.append(json.loads(path.read_text()))
        report.table(f"AgI-like toy, {n_runs} runs of {duration_ps:g} ps each, {draws} draws; against the truth", rows)
        report.write()


def analysed(runs: Sequence[Path], harmonic: HarmonicReference, members: Sequence[Path] = ()) -> LifetimeAnalysis:
    return analyse_lifetimes(
        runs,
        toy_crystal(1),
        phonon=lambda lattice: to_phonopy(harmonic),
        members=members,
        settings=LifetimeSettings(resolution_THz=0.3),
    )


def toy_truth(
    commands: list[str],
    harmonic: HarmonicReference,
    folder: Path,
    *,
    temperature_K: float,
    duration_ps: float,
    n_runs: int,
) -> LifetimeAnalysis:
    """Twice as many runs as of a model: those of the truth cost nothing."""
    how = {"temperature_K": temperature_K, "duration_ps": duration_ps}
    runs = [toy_truth_run(commands, folder / f"truth-{k}.lammpstrj", seed=k, **how) for k in range(2 * n_runs)]
    return analysed(runs, harmonic)


def toy_one(
    true: LifetimeAnalysis,
    name: str,
    model: BayesianForceField,
    harmonic: HarmonicReference,
    folder: Path,
    *,
    temperature_K: float,
    duration_ps: float,
    n_runs: int,
    draws: int,
) -> dict[str, Any]:
    """A model at one temperature."""
    how = {"temperature_K": temperature_K, "duration_ps": duration_ps}
    force_fields = [model] * n_runs + (list(model.sample(draws, 0)) if draws else [])
    paths = [
        toy_model_run(one, folder / f"{name}-{k}.extxyz", seed=100 + k, **how) for k, one in enumerate(force_fields)
    ]
    found = analysed(paths[:n_runs], harmonic, paths[n_runs:])
    print(f"{name}, {temperature_K:g} K:", *found.remarks, sep="\n  ", flush=True)
    return toy_row(name, temperature_K, true, found)


def toy_row(name: str, temperature: float, true: LifetimeAnalysis, found: LifetimeAnalysis) -> dict[str, Any]:
    """A model against the truth, whose own statistical error counts too."""
    ratio, held, held_without, held_frequency = [], [], [], []
    theirs_by_name = {mode.group.name: mode for mode in true.modes}
    pairs = [(mode, theirs_by_name[mode.group.name]) for mode in found.modes if mode.group.name in theirs_by_name]
    both = [(a, b) for a, b in pairs if a.fit.resolved and b.fit.resolved]
    for ours, theirs in both:
        log = math.log(ours.lifetime_ps / theirs.lifetime_ps)
        ratio.append(log)
        half = math.hypot(math.log(ours.high_ps / ours.lifetime_ps), 1.96 * theirs.log_error)
        held.append(abs(log) <= half)
        held_without.append(abs(log) <= 1.96 * math.hypot(ours.log_error, theirs.log_error))
        bars = (ours.frequency_error_THz, theirs.frequency_error_THz, ours.frequency_model_error_THz or 0.0)
        held_frequency.append(abs(ours.frequency_THz - theirs.frequency_THz) <= 1.96 * float(np.linalg.norm(bars)))
    return {
        "T K": temperature,
        "model": name,
        "T true / model": f"{true.spectrum.temperature_K:.0f} / {found.spectrum.temperature_K:.0f}",
        "modes": len(true.modes),
        "resolved": len(both),
        "true lifetime ps": float(np.exp(np.mean([math.log(b.lifetime_ps) for _, b in both]))),
        "model / true": math.exp(float(np.mean(ratio))),
        "bar %": 100 * float(np.median([math.log(m.high_ps / m.lifetime_ps) for m, _ in both])),
        "statistical bar %": 100 * float(np.median([1.96 * m.log_error for m, _ in both])),
        "lifetime held %": 100 * float(np.mean(held)),
        "by statistics alone %": 100 * float(np.mean(held_without)),
        "frequency held %": 100 * float(np.mean(held_frequency)),
        "one line % true": 100 * float(np.mean([m.fit.is_line for m in true.modes])),
        "sigma^A true / model": f"{np.mean([m.sigma_a or np.nan for m in true.modes]):.2f} / "
        f"{np.mean([m.sigma_a or np.nan for m in found.modes]):.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("silicon", "langevin", "toy"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=15)
    parser.add_argument("--duration", type=float, default=24.0, help="of each run of the toy, ps")
    parser.add_argument("--runs", type=int, default=2, help="of each model of the toy")
    parser.add_argument("--draws", type=int, default=4, help="of each model of the toy")
    parser.add_argument("--models", nargs="+", default=["naive", "repaired"], help="of the toy")
    parser.add_argument("--temperatures", type=int, nargs="+", default=list(TOY_TEMPERATURES))
    options = parser.parse_args()
    report = Report(f"phonons-{options.part}")
    if options.part == "silicon":
        silicon(report, options.seeds, options.frames)
    elif options.part == "langevin":
        langevin(report, options.seeds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            how = {"duration_ps": options.duration, "n_runs": options.runs, "draws": options.draws}
            toy(report, Path(folder), options.models, options.temperatures, **how)
    report.write()


if __name__ == "__main__":
    main()
