"""Comparison of a model with a ground truth: a path, the rate of an event, errors on frames without and with an event."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from trepid.choices import Engine, Thermostat
from trepid.dynamics.driver import MDParameters
from trepid.dynamics.engine import start_driver
from trepid.errors import TrepidError
from trepid.events.classes import event_rate
from trepid.potentials import Potential, Uncertainty
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.committee import Committee
from trepid.reference import Reference

FloatArray = NDArray[np.float64]


class Truth(Calculator):
    """A reference as ASE calculator, to relax images with it."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        labelled = self.reference.label(self.atoms)
        self.results = {"energy": labelled.info["REF_energy"], "forces": labelled.arrays["REF_forces"]}


HOT = 10.0
"""A simulation hotter than this many times the target is unstable."""
N_SAMPLES = 40
"""Force fields drawn from the posterior for the error bar of a path."""


@dataclass(frozen=True)
class PathJudgement:
    """Energies along a path, relative to its first image, eV.

    Attributes
    ----------
    truth, model, std : (n_images,) arrays
        `std` is the spread of the members, or of force fields drawn from the posterior.
    """

    truth: FloatArray
    model: FloatArray
    std: FloatArray

    @property
    def largest_error(self) -> float:
        """Largest deviation on the path, eV."""
        return float(np.abs(self.model - self.truth).max())

    @property
    def top(self) -> tuple[float, float, float]:
        """Highest energy on the path by ground truth and model, and its standard deviation, eV."""
        k = int(np.argmax(self.truth))
        return float(self.truth[k]), float(self.model[k]), float(self.std[k])


def judge_path(potential: Potential, images: Sequence[Atoms]) -> PathJudgement:
    """Compare a model with labelled images."""
    truth = np.array([a.info["REF_energy"] for a in images])
    if isinstance(potential, BayesianForceField):
        drawn = potential.sample(N_SAMPLES, 0)
        members = np.array([[force_field.predict(a).energy for a in images] for force_field in drawn])
        model = np.array([potential.predict(a, uncertainty=Uncertainty.NONE).energy for a in images])
    else:
        predictions = [potential.predict(a) for a in images]
        members = np.array([p.energy_ensemble for p in predictions]).T
        model = np.array([p.energy for p in predictions])
    spread = (members - members[:, :1]).std(axis=0, ddof=1)
    return PathJudgement(truth - truth[0], model - model[0], spread)


@dataclass(frozen=True)
class FrameJudgement:
    """Force errors and uncertainties of frames.

    Attributes
    ----------
    mae : float
        Of force components, eV/A.
    uncertainty : (n_frames,) array
        Largest force uncertainty of an atom, eV/A.
    """

    mae: float
    uncertainty: FloatArray


def judge_frames(potential: Potential, frames: Sequence[Atoms]) -> FrameJudgement:
    """Errors on labelled frames."""
    errors, uncertainty = [], []
    for a in frames:
        p = potential.predict(a)
        errors.append(np.abs(p.forces - a.arrays["REF_forces"]).mean())
        uncertainty.append(p.frame_uncertainty)
    return FrameJudgement(float(np.mean(errors)), np.array(uncertainty))


def flagged(events: FrameJudgement, calm: FrameJudgement) -> float:
    """Share of frames with an event more uncertain than those without by two standard deviations: those with P_U above 1/2."""
    limit = calm.uncertainty.mean() + 2 * calm.uncertainty.std(ddof=1)
    return float(np.mean(events.uncertainty > limit))


@dataclass(frozen=True)
class Rate:
    """Onsets of events in a simulation, with the central 68 % Poisson interval of their rate, per 100 ps."""

    n: int
    time_ps: float

    @property
    def interval(self) -> tuple[float, float, float]:
        rate = event_rate(self.n, self.time_ps)
        return 100 * rate.rate_per_ps, 100 * rate.low_per_ps, 100 * rate.high_per_ps


class Unstable(Exception):  # noqa: N818 names what happened
    """A simulation on a model became unstable; `positions` are those of the frames before."""

    def __init__(self, message: str, positions: FloatArray) -> None:
        super().__init__(message)
        self.positions = positions


def simulate(
    potential: Potential,
    crystal: Atoms,
    *,
    temperature_K: float,
    timestep_fs: float,
    duration_ps: float,
    equilibration_ps: float = 0.0,
    sample_every: int = 5,
    seed: int | Sequence[int] = 0,
) -> FloatArray:
    """Nose-Hoover MD from the crystal on a Bayesian force field (in LAMMPS) or on the first member of a committee (in ASE).

    Returns
    -------
    (n_frames, n_atoms, 3) array
        Positions at every `sample_every`-th step after the equilibration, A.

    Raises
    ------
    Unstable
    """
    engine, walked = ("ase", potential.member(0)) if isinstance(potential, Committee) else ("lammps", potential)
    parameters = MDParameters(
        temperature_K,
        timestep_fs,
        thermostat=Thermostat.NOSE_HOOVER,
        relaxation_time_fs=100 * timestep_fs,
        engine=Engine(engine),
    )
    driver = start_driver(crystal, walked, parameters, rng=np.random.default_rng(seed))
    positions = []
    try:
        driver.step(round(1000 * equilibration_ps / timestep_fs))
        for _ in range(round(1000 * duration_ps / timestep_fs / sample_every)):
            driver.step(sample_every)
            positions.append(driver.atoms.get_positions())
            if not np.isfinite(positions[-1]).all() or driver.temperature_K > HOT * temperature_K:
                raise Unstable(
                    f"after {len(positions) * sample_every * timestep_fs / 1000:.2f} ps", np.array(positions[:-1])
                )
    except TrepidError as error:
        raise Unstable(str(error), np.array(positions)) from error
    finally:
        driver.close()
    return np.array(positions)


def run_campaign(settings: Mapping[str, Any], folder: Path) -> Path:
    """Run `trepid learn` on these settings in a folder, or continue it; gives the run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    command = [sys.executable, "-m", "trepid.cli.main", "learn", str(file)]
    with open(folder / "log.txt", "a") as log:
        outcome = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if outcome.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {outcome.returncode}; see {folder / 'log.txt'}")
    return folder / "run"


def n_labels(run: Path) -> int:
    """Labels of a campaign, those of the start included."""
    return len(list((run / "labels").glob("label-*[0-9].extxyz")))


def models(run: Path) -> list[Path]:
    """Model file after every round, in order."""
    return sorted(run.glob("rounds/*/model.trepid"))


def append_result(path: Path, record: Mapping[str, Any]) -> None:
    """Keep one row of a long benchmark, so that its parts can be run one by one."""
    path.parent.mkdir(exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [row for row in rows if row.get("name") != record.get("name")] + [dict(record)]
    path.write_text(json.dumps(rows, indent=1) + "\n")
