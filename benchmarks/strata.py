"""Hot, defective and strained frames of known truths, held against a Bayesian force field trained on the calm crystal.

    strata.py list                        truths, temperatures and the frames that are made
    strata.py make [NAME ...]             make the labelled frames (data/strata/NAME.extxyz)
    strata.py check [NAME ...]            labels against finite differences of the energy
    strata.py judge [NAME ...] [SETTING=VALUE ...]
                                          train, then errors and coverage on every stratum
    strata.py terms [NAME ...]            the same without and with the terms that a default fit takes, side by side
    strata.py export FOLDER [NAME ...]    training, fresh, hot and hop frames as files for peers.py

Settings are chosen on the truths of the group `choose`; those of the group `check` are only for checking the choice.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from _common import Report  # first: it sets one thread, before BLAS is loaded

# isort: split

import numpy as np
import yaml
from _strata_frames import N_TRAIN, is_made, load, make, nearest_distance, path_of
from _strata_truths import HELD_OUT, Group, Stratum, Truth, chosen_truths
from ase import Atoms

from trepid.acquisition.calibration import interval_half_width
from trepid.acquisition.conformal import FEWEST_FRAMES
from trepid.data import write_frames
from trepid.errors import ConfigError, TrepidError
from trepid.evaluation import Comparison, Corrected, compare, corrected, interval_factors, summarise
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.posterior import Bounds, hyperparameter
from trepid.potentials.bayesian.sizes import Sizes
from trepid.reference import Reference

FRAMES = 20
"""Training frames, where none are named."""
STEP_A = 1e-3
STRAIN = 1e-4
N_COMPONENTS = 8
"""Forces that `check` compares per frame."""
TOLERANCE = 2e-3
"""Of the differences, in units of the rms force and of the largest stress."""


# ---- judging


@dataclass(frozen=True)
class Judgement:
    """Errors and calibration of forces on one stratum.

    Attributes
    ----------
    stratum : str
    n_frames : int
    rmse_percent : float
        Of the rms force of the stratum.
    mae_meV_per_A : float
    coverage_95, coverage_68 : float
        Share of force components inside the interval of uncertainty and noise.
    half_width_meV_per_A : float
        Mean half width of the 95 % interval.
    coverage_95_two, half_width_two_meV_per_A : float
        The same of the frames but the first two, whose labels give the factors of the interval (conformal, by species).
    coverage_95_pairs, pairs_92_to_98 : float
        Mean of that coverage over all pairs of frames in place of the first two, and the share of pairs with 0.92 to 0.98.
    energy_coverage_95, stress_coverage_95 : float or None
        Share of energies, and of stress components, inside their intervals.
    spearman : float or None
        Of uncertainty and error of the atoms.
    energy_rmse_meV_per_atom : float or None
    worst_eV_per_A : float
        Largest error of an atom, a norm.
    worst_std_eV_per_A : float
        Norm of the predicted standard deviation, noise included, of that atom.
    worst_frame, worst_atom : int
        Which atom, both counted from 0.
    """

    stratum: str
    n_frames: int
    rmse_percent: float
    mae_meV_per_A: float
    coverage_95: float
    coverage_68: float
    half_width_meV_per_A: float
    coverage_95_two: float
    half_width_two_meV_per_A: float
    coverage_95_pairs: float
    pairs_92_to_98: float
    energy_coverage_95: float | None
    stress_coverage_95: float | None
    spearman: float | None
    energy_rmse_meV_per_atom: float | None
    worst_eV_per_A: float
    worst_std_eV_per_A: float
    worst_frame: int
    worst_atom: int


@dataclass(frozen=True)
class Fit:
    """A fit on the training frames of one truth and its judgements.

    Attributes
    ----------
    truth, group, kind : str
    n_train : int
    fit_cpu_s : float
    log_evidence : float
    hyperparameters : dict
        By the name that `Bounds` uses.
    on_bound : list of str
        Those on an end of their range.
    n_channels : int
        Of the quadruplets; 0: none.
    strata : list of Judgement
    """

    truth: str
    group: str
    kind: str
    n_train: int
    fit_cpu_s: float
    log_evidence: float
    hyperparameters: dict[str, float]
    on_bound: list[str]
    n_channels: int
    strata: list[Judgement]


def judge_stratum(model: BayesianForceField, stratum: Stratum, frames: Sequence[Atoms]) -> Judgement:
    """Hold the model against the frames of one stratum."""
    comparison = compare(model, frames)
    e, std = summarise(comparison), comparison.forces_std
    if std is None or e.forces_coverage_95 is None or e.forces_coverage_68 is None:
        raise ConfigError(f"the model gives no usable uncertainty on {stratum.value}; coverage needs one above zero")
    norms = np.linalg.norm(comparison.forces_error, axis=1)
    worst = int(np.argmax(norms))
    frame = int(comparison.frame[worst])
    by_two = [corrected_by(comparison, pair) for pair in combinations(range(len(frames)), FEWEST_FRAMES)]
    two, covered = by_two[0], np.array([each.coverage_95 for each in by_two])
    return Judgement(
        stratum=stratum.value,
        n_frames=e.n_frames,
        rmse_percent=100 * e.forces_rmse / e.forces_rms,
        mae_meV_per_A=1000 * e.forces_mae,
        coverage_95=e.forces_coverage_95,
        coverage_68=e.forces_coverage_68,
        half_width_meV_per_A=1000 * interval_half_width(0.95) * float(std.mean()),
        coverage_95_two=two.coverage_95,
        half_width_two_meV_per_A=1000 * two.half_width,
        coverage_95_pairs=float(covered.mean()),
        pairs_92_to_98=float(np.mean((covered >= 0.92) & (covered <= 0.98))),
        energy_coverage_95=e.energy_coverage_95,
        stress_coverage_95=e.stress_coverage_95,
        spearman=e.forces_uncertainty_spearman,
        energy_rmse_meV_per_atom=None if e.energy_rmse_per_atom is None else 1000 * e.energy_rmse_per_atom,
        worst_eV_per_A=float(norms[worst]),
        worst_std_eV_per_A=float(np.linalg.norm(std[worst])),
        worst_frame=frame,
        worst_atom=worst - int(comparison.atoms_per_frame[:frame].sum()),
    )


def corrected_by(comparison: Comparison, given: Sequence[int]) -> Corrected:
    """Intervals of all frames but the given ones, corrected by the labels of these."""
    others = [k for k in range(comparison.n_frames) if k not in given]
    return corrected(comparison.of_frames(others), interval_factors(comparison.of_frames(given)))


def judge(truth: Truth, n_train: int, settings: dict[str, Any]) -> Fit:
    """Train on the first `n_train` frames and judge every stratum."""
    frames = load(truth)
    model = BayesianForceField(truth.species, **{"n_threads": 1, **settings})
    begun = time.process_time()
    model.fit(frames[Stratum.TRAIN][:n_train])
    seconds = time.process_time() - begun
    bounds = Bounds()
    values = {name: hyperparameter(model.hyperparameters, name) for name in bounds.parameters}
    return Fit(
        truth=truth.name,
        group=truth.group.value,
        kind=truth.kind.value,
        n_train=n_train,
        fit_cpu_s=seconds,
        log_evidence=model.log_evidence,
        hyperparameters=values,
        on_bound=[name for name, value in values.items() if bounds.on_bound(name, value)],
        n_channels=Sizes.of(model.basis).n_channels,
        strata=[judge_stratum(model, s, frames[s]) for s in (Stratum.FRESH, *HELD_OUT)],
    )


def _terms(options: argparse.Namespace) -> None:
    strata = (Stratum.FRESH, *HELD_OUT)
    print("| truth | taken, fit CPU s | " + " | ".join(s.value for s in strata) + " |")
    print("|---|---|" + "---|" * len(strata))
    for truth in chosen_truths(options.words, options.group):
        before, after = (judge(truth, options.frames, settings) for settings in ({"n_channels": 0}, {}))
        taken = "quadruplets" if after.n_channels else "none"
        seconds = f"{before.fit_cpu_s:.1f} -> {after.fit_cpu_s:.1f}"
        cells = [
            _figures(old) if not after.n_channels else f"{_figures(old)} -> {_figures(new)}"
            for old, new in zip(before.strata, after.strata, strict=True)
        ]
        print(f"| {truth.name} ({truth.group.value}) | {taken}, {seconds} | {' | '.join(cells)} |", flush=True)
    print("force error in per cent of the rms force / coverage of the 95 % interval in per cent")


def _figures(judgement: Judgement) -> str:
    error = judgement.rmse_percent
    return f"{error:.3g} / {100 * judgement.coverage_95:.0f}"


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Arguments of `BayesianForceField` from words NAME=VALUE, values as YAML.

    Raises
    ------
    ConfigError
        It has no such argument.
    """
    known = set(inspect.signature(BayesianForceField).parameters) - {"species", "keys", "hyperparameters"}
    settings = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in known:
            raise ConfigError(f"{word}: BayesianForceField takes no {name!r} here; it takes {', '.join(sorted(known))}")
        settings[name] = yaml.safe_load(value)
    return settings


def _judge(options: argparse.Namespace) -> None:
    settings = settings_of([word for word in options.words if "=" in word])
    if not 1 <= options.frames <= N_TRAIN:
        raise ConfigError(f"--frames is {options.frames}; 1 to {N_TRAIN} training frames are made")
    truths = chosen_truths([word for word in options.words if "=" not in word], options.group)
    fits = []
    for truth in truths:
        fit = judge(truth, options.frames, settings)
        fits.append(fit)
        print_fit(fit)
        if options.json is not None:  # after every truth, so that a run cut short leaves what it has
            record = {"settings": settings, "fits": [asdict(f) for f in fits]}
            options.json.write_text(json.dumps(record, indent=1) + "\n")
    print_summary(fits)


def print_fit(fit: Fit) -> None:
    """One fit as a table of fixed width."""
    print(
        f"\n{fit.truth} ({fit.kind}, {fit.group}): {fit.n_train} frames, fit {fit.fit_cpu_s:.1f} CPU s, "
        f"log evidence {fit.log_evidence:.1f}"
    )
    print("  " + ", ".join(f"{k} {v:.3g}{' (BOUND)' * (k in fit.on_bound)}" for k, v in fit.hyperparameters.items()))
    print(
        f"  {'stratum':<13}{'rmse %':>8}{'MAE':>8}{'cov95':>7}{'cov68':>7}{'half95':>8}{'two95':>7}{'half2':>8}{'pairs':>7}"
        f"{'rho':>6}{'E':>10}{'E95':>6}{'S95':>6}{'worst (std)':>16}"
    )
    for s in fit.strata:
        rho = "" if s.spearman is None else f"{s.spearman:.2f}"
        energy = "" if s.energy_rmse_meV_per_atom is None else f"{s.energy_rmse_meV_per_atom:.3f}"
        print(
            f"  {s.stratum:<13}{s.rmse_percent:>8.2f}{s.mae_meV_per_A:>8.1f}{s.coverage_95:>7.3f}{s.coverage_68:>7.3f}"
            f"{s.half_width_meV_per_A:>8.1f}{s.coverage_95_two:>7.3f}{s.half_width_two_meV_per_A:>8.1f}{s.pairs_92_to_98:>7.2f}{rho:>6}{energy:>10}"
            f"{_share(s.energy_coverage_95):>6}{_share(s.stress_coverage_95):>6}"
            f"{f'{s.worst_eV_per_A:.3f} ({s.worst_std_eV_per_A:.3f})':>16}"
        )
    sys.stdout.flush()


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def print_summary(fits: Sequence[Fit]) -> None:
    """Per stratum over all truths: medians, and how often the 95 % interval covers at least 90 %."""
    print(
        f"\n{'stratum':<13}{'truths':>8}{'median rmse %':>15}{'median cov95':>14}{'worst cov95':>13}{'cov95 >= 0.90':>15}"
        f"{'two95':>8}{'worst':>7}{'0.92 to 0.98':>14}{'pairs':>8}{'half2 / half95':>16}"
    )
    for stratum in (Stratum.FRESH, *HELD_OUT):
        rows = [s for fit in fits for s in fit.strata if s.stratum == stratum.value]
        covered, two = np.array([s.coverage_95 for s in rows]), np.array([s.coverage_95_two for s in rows])
        ratio = np.median([s.half_width_two_meV_per_A / s.half_width_meV_per_A for s in rows])
        print(
            f"{stratum.value:<13}{len(rows):>8}{np.median([s.rmse_percent for s in rows]):>15.2f}"
            f"{np.median(covered):>14.3f}{covered.min():>13.3f}{f'{(covered >= 0.9).sum()} of {len(rows)}':>15}"
            f"{np.median(two):>8.3f}{two.min():>7.3f}{f'{((two >= 0.92) & (two <= 0.98)).sum()} of {len(rows)}':>14}"
            f"{np.mean([s.pairs_92_to_98 for s in rows]):>8.2f}{ratio:>16.2f}"
        )
    print("MAE and half95 (mean half width of the 95 % interval) in meV/A, E (energy rmse) in meV/atom, worst in eV/A")
    print("two95, half2: with factors from the labels of the first two frames of the stratum, on the others")
    print("pairs: share of all pairs of frames whose factors hold 0.92 to 0.98 of the others")
    print("E95, S95: share of energies and of stress components inside their intervals")


# ---- the frames


def _export(options: argparse.Namespace) -> None:
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for truth in chosen_truths(options.words):
        frames = load(truth)
        files = {"train": frames[Stratum.TRAIN][:FRAMES]}
        files |= {f"test-{s.value}": frames[s] for s in (Stratum.FRESH, Stratum.HOT, Stratum.HOP)}
        for kind, own in files.items():
            path = folder / f"{truth.name}.{kind}.extxyz"
            path.unlink(missing_ok=True)
            write_frames(path, own)
        print(f"{truth.name}: {', '.join(f'{len(own)} {kind}' for kind, own in files.items())}")


def _list(options: argparse.Namespace) -> None:
    rows = []
    for truth in chosen_truths(options.words):
        t = truth.temperatures
        rows.append(
            {
                "truth": truth.name,
                "group": truth.group.value,
                "kind": truth.kind.value,
                "potential": truth.commands[0].removeprefix("pair_style "),
                "crystal": f"{''.join(truth.species)} {truth.prototype.value}",
                "atoms": len(truth.crystal(truth.lattice_A)),
                "low / middle / hot K": f"{t.low_K:g} / {t.middle_K:g} / {t.hot_K:g}",
                "frames": "made" if is_made(truth) else "not made",
            }
        )
    Report("strata").table(f"Strata of every truth: fresh, {', '.join(s.value for s in HELD_OUT)}", rows)


def _make(options: argparse.Namespace) -> None:
    for truth in chosen_truths(options.words):
        if is_made(truth) and not options.again:
            print(f"{truth.name}: {path_of(truth)} is up to date")
            continue
        begun = time.process_time()
        frames = make(truth)
        print(f"{truth.name}: {len(frames)} frames, {time.process_time() - begun:.0f} CPU s")
        for stratum, of_stratum in load(truth).items():
            forces = np.concatenate([a.arrays["REF_forces"] for a in of_stratum])
            print(
                f"  {stratum.value:<13}{len(of_stratum):>4} frames of {len(of_stratum[0])} atoms, rms force "
                f"{np.sqrt(np.mean(forces**2)):.2f} eV/A, largest {np.linalg.norm(forces, axis=1).max():.1f}, "
                f"shortest distance {min(map(nearest_distance, of_stratum)):.2f} A, "
                f"rms displacement {rms_displacement(of_stratum):.2f} A",
                flush=True,
            )


def rms_displacement(frames: Sequence[Atoms]) -> float:
    """Of the atoms around their mean positions, drift removed, A; above a fifth of a bond the crystal has melted."""
    positions = np.array([a.positions - a.positions.mean(axis=0) for a in frames])
    return float(np.sqrt(np.mean(np.sum((positions - positions.mean(axis=0)) ** 2, axis=2))))


def _check(options: argparse.Namespace) -> None:
    failed = []
    for truth in chosen_truths(options.words):
        atoms = load(truth)[Stratum.INTERSTITIAL][0]
        reference = truth.reference()
        try:
            repeated, force, stress = check_labels(reference, atoms)
        finally:
            reference.close()
        good = max(repeated, force, stress) < TOLERANCE
        print(
            f"{truth.name:<15} label repeated {repeated:.1e}, force {force:.1e} of the rms force, "
            f"stress {stress:.1e} of the largest: {'good' if good else 'WRONG'}",
            flush=True,
        )
        failed += [] if good else [truth.name]
    if failed:
        raise SystemExit(f"labels differ from the derivatives of the energy: {', '.join(failed)}")


def check_labels(reference: Reference, atoms: Atoms) -> tuple[float, float, float]:
    """Largest relative differences of one labelled frame: to a second label, and to central differences of the energy.

    The stress is compared as (1 / V) dE / d strain, which fixes its unit (eV/A^3), its sign (tension positive) and its
    order (xx yy zz yz xz xy).

    Returns
    -------
    (float, float, float)
        Forces of a second label and forces by differences, in units of the rms force; stress by differences, in units
        of its largest component.
    """

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = Atoms(atoms.symbols, positions=positions, cell=cell, pbc=True)
        return float(reference.label(moved).info["REF_energy"])

    positions, cell = atoms.get_positions(), np.array(atoms.cell)
    forces, stress = atoms.arrays["REF_forces"], np.asarray(atoms.info["REF_stress"])
    scale = float(np.sqrt(np.mean(forces**2)))
    repeated = np.abs(reference.label(atoms).arrays["REF_forces"] - forces).max() / scale
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(N_COMPONENTS):
        step = np.zeros_like(positions)
        i, k = int(rng.integers(len(atoms))), int(rng.integers(3))
        step[i, k] = STEP_A
        slope = (energy(positions + step, cell) - energy(positions - step, cell)) / (2 * STEP_A)
        differences.append(abs(-slope - forces[i, k]) / scale)
    found = []
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        strain = np.zeros((3, 3))
        strain[i, j] += STRAIN / 2
        strain[j, i] += STRAIN / 2
        up, down = np.eye(3) + strain, np.eye(3) - strain
        slope = (energy(positions @ up, cell @ up) - energy(positions @ down, cell @ down)) / (2 * STRAIN)
        found.append(slope / atoms.get_volume())
    return (
        float(repeated),
        float(max(differences)),
        float(np.abs(np.array(found) - stress).max() / np.abs(stress).max()),
    )


# ---- command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.add_argument("words", nargs="*", metavar=words)
        added.set_defaults(function=function)
        return added

    command("list", _list, "NAME")
    command("make", _make, "NAME").add_argument("--again", action="store_true", help="also those that are up to date")
    command("check", _check, "NAME")
    exporting = commands.add_parser("export")
    exporting.add_argument("folder")
    exporting.add_argument("words", nargs="*", metavar="NAME")
    exporting.set_defaults(function=_export)
    judging = command("judge", _judge, "NAME or SETTING=VALUE")
    judging.add_argument("--json", type=Path, help="also write the figures to this file")
    comparing = command("terms", _terms, "NAME")
    for each in (judging, comparing):
        each.add_argument("--group", type=Group, choices=list(Group), help="the truths of one group")
        each.add_argument("--frames", type=int, default=FRAMES, help=f"training frames (default {FRAMES})")
    options = parser.parse_args()
    try:
        options.function(options)
    except TrepidError as error:
        raise SystemExit(f"strata.py: {error}") from None


if __name__ == "__main__":
    main()
