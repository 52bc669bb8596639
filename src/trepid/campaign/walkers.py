"""Walkers of a round: molecular dynamics on the model that keeps what may be worth a label, and knows when to stop.

Vocabulary
----------
look         every `check_every` steps the frame is predicted with its uncertainty, and noted in the series of the walk
candidate    a frame that is kept with its prediction; the looks are thinned until there are few enough of them
edge         the frame at which the last excursion began: the uncertainty exceeds what a walk can be believed beyond
walk file    walk-NN.npz: the series, the positions and forces of all looks; the candidates lie beside it, in
             walk-NN.extxyz, which is written first: a walk whose file exists is complete

A walk depends on its job alone, and a job is plain data: it may run in this process, in another one, on another machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from trepid.acquisition.uncertainty import UncertaintyMeasure, frame_uncertainty
from trepid.data.frames import read_frames, write_frames
from trepid.data.arrays import load_arrays, save_arrays
from trepid.dynamics.engine import start_driver
from trepid.dynamics.record import predicted_frame
from trepid.errors import ConfigError, DataError, TrepidError
from trepid.potentials import load_potential
from trepid.potentials.base import FloatArray, Potential, Prediction, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.dynamics.md import MDDriver


class WalkEnd(str, Enum):
    """Why a walk ended."""

    FINISHED = "finished"
    """It was walked to its end."""
    UNTRUSTED = "untrusted"
    """Its uncertainty stayed above what can be believed."""
    LEFT_REALITY = "left_reality"
    """Not finite, too hot, a force too large, atoms fused, or the potential refused a frame."""


class Keep(str, Enum):
    """Which of several looks in a row is kept when they are thinned."""

    MOST_UNCERTAIN = "most_uncertain"
    FIRST = "first"
    """Evenly spaced: for choices that must not depend on the model."""


@dataclass(frozen=True)
class WalkJob:
    """One walk, as plain data.

    Attributes
    ----------
    model_file, crystal_file : Path
        The potential, and the frame to start from.
    output : Path
        Where the walk file goes; the candidates get the same name with .extxyz.
    round, walker : int
    temperature_K : float
    seed : tuple of int
        Of velocities and thermostat.
    n_steps, check_every : int
    timestep_fs, relaxation_time_fs : float
    thermostat, engine : str
    max_candidates : int
    keep : Keep
    measure : UncertaintyMeasure
    untrusted_eV_per_A : float
        Largest force uncertainty of an atom up to which a walk is believed.
    untrusted_steps : int
        Steps it may stay above before the walk ends.
    max_force_eV_per_A, max_temperature_factor, min_distance_factor : float
        Where reality ends.
    member : int or None
        The member of a committee to walk on; None for the mean.
    bias : tuple of two floats or None
        Strength and largest energy (eV) of the push towards uncertainty.
    force_constants : Path or None
        phonopy file behind the measure sigma_a.
    load : callable
        Reads the model file.
    """

    model_file: Path
    crystal_file: Path
    output: Path
    round: int
    walker: int
    temperature_K: float
    seed: tuple[int, ...]
    n_steps: int
    check_every: int
    timestep_fs: float
    relaxation_time_fs: float
    thermostat: str
    engine: str
    max_candidates: int
    keep: Keep
    measure: UncertaintyMeasure
    untrusted_eV_per_A: float
    untrusted_steps: int
    max_force_eV_per_A: float
    max_temperature_factor: float
    min_distance_factor: float
    member: int | None = None
    bias: tuple[float, float] | None = None
    force_constants: Path | None = None
    load: Callable[[Path], Potential] = load_potential


@dataclass(frozen=True)
class WalkSummary:
    """What a walk came to.

    Attributes
    ----------
    walker : int
    temperature_K : float
        Target.
    n_steps : int
        Made.
    timestep_fs : float
    n_candidates : int
    end : str
        A WalkEnd.
    message : str
        Why it ended, where that was not planned.
    biased : bool
        Whether it was pushed towards uncertainty: no walk of an equilibrium.
    """

    walker: int
    temperature_K: float
    n_steps: int
    timestep_fs: float
    n_candidates: int
    end: str
    message: str
    biased: bool = False

    @property
    def time_ps(self) -> float:
        """Simulated time, ps."""
        return self.n_steps * self.timestep_fs / 1000

    def as_dict(self) -> dict[str, Any]:
        """For a file; `biased` is named only where it is true."""
        values = asdict(self)
        if not self.biased:
            del values["biased"]
        return values


@dataclass(frozen=True)
class WalkResult:
    """What a job gives back: the summary, and the wall time of the walk, s."""

    summary: WalkSummary
    seconds: float


@dataclass(frozen=True, eq=False)
class Walk:
    """A walk read back from its files.

    Attributes
    ----------
    summary : WalkSummary
    steps : (n_looks,) array of int
    uncertainty : (n_looks,) array
        By the measure of the campaign.
    forces_uncertainty_max : (n_looks,) array
        eV/A.
    energy : (n_looks,) array
        Predicted by the model (for a committee, its mean), eV.
    temperature_K : (n_looks,) array
        Instantaneous.
    positions, forces : (n_looks, n_atoms, 3) arrays of float32
        A and eV/A, of all looks.
    atom_energies : (n_looks, n_atoms) array of float32, or None
        eV; None where the potential has no such shares.
    candidates : list of Atoms
        With the prediction (`energy`, `forces`, `forces_uncertainty`) and where they come from in `info`.
    """

    summary: WalkSummary
    steps: np.ndarray
    uncertainty: FloatArray
    forces_uncertainty_max: FloatArray
    energy: FloatArray
    temperature_K: FloatArray
    positions: np.ndarray
    forces: np.ndarray
    atom_energies: np.ndarray | None
    candidates: list[Atoms]

    def equilibrium(self, equilibrate_ps: float) -> np.ndarray:
        """Looks that count as equilibrium: (n_looks,) of bool, those from `equilibrate_ps` on."""
        return np.asarray(self.steps * self.summary.timestep_fs >= 1000 * equilibrate_ps)


class WalkInterrupted(Exception):  # noqa: N818 not an error: the campaign ends as asked
    """A walk was given up because the campaign is to end; it is made again from its seed."""


def run_walk(job: WalkJob, stop: Callable[[], bool] | None = None) -> WalkResult:
    """Make a walk and write its files; a walk whose file exists is left as it is.

    Parameters
    ----------
    job : WalkJob
    stop : callable, optional
        Asked at every look whether to give up.

    Raises
    ------
    WalkInterrupted
        `stop` said so.
    ConfigError
        A setting does not go with this potential or engine.
    """
    began = time.perf_counter()
    if not job.output.exists():
        potential = job.load(job.model_file)
        try:
            _Walker(job, potential, stop or (lambda: False)).walk()
        finally:
            getattr(potential, "close", lambda: None)()
    return WalkResult(read_summary(job.output), time.perf_counter() - began)


def read_summary(path: Path) -> WalkSummary:
    """What the walk in this file came to; DataError if it is damaged."""
    try:
        return WalkSummary(**json.loads(str(load_arrays(path)["summary"])))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a walk file ({error}); remove it to walk again") from error


def read_walk(path: Path) -> Walk:
    """Read a walk and its candidates; DataError if a file is damaged."""
    arrays = load_arrays(path)
    summary = read_summary(path)
    return Walk(
        summary=summary,
        steps=arrays["steps"],
        uncertainty=arrays["uncertainty"],
        forces_uncertainty_max=arrays["forces_uncertainty_max"],
        energy=arrays["energy"],
        temperature_K=arrays["temperature_K"],
        positions=arrays["positions"],
        forces=arrays["forces"],
        atom_energies=arrays.get("atom_energies"),
        candidates=read_frames(path.with_suffix(".extxyz"), require=()) if summary.n_candidates else [],
    )


@dataclass(frozen=True, eq=False)
class _Look:
    """A frame as it was seen."""

    number: int
    step: int
    atoms: Atoms
    prediction: Prediction
    uncertainty: float
    temperature_K: float


class _Keeper:
    """Thins looks: at most `most` of them, one from every `stride` looks in a row, the stride doubled when needed."""

    def __init__(self, most: int, keep: Keep) -> None:
        self._most, self._by_uncertainty = most, keep is Keep.MOST_UNCERTAIN
        self._stride = 1
        self.kept: list[_Look] = []

    def offer(self, look: _Look) -> None:
        self._put(self.kept, look)
        while len(self.kept) > self._most:
            self._stride *= 2
            thinned: list[_Look] = []
            for earlier in self.kept:
                self._put(thinned, earlier)
            self.kept = thinned

    def _put(self, kept: list[_Look], look: _Look) -> None:
        if not kept or kept[-1].number // self._stride != look.number // self._stride:
            kept.append(look)
        elif self._by_uncertainty and look.uncertainty > kept[-1].uncertainty:
            kept[-1] = look


class _Walker:
    """One walk. `walk` is the story; the rest are its sentences."""

    def __init__(self, job: WalkJob, potential: Potential, stop: Callable[[], bool]) -> None:
        self.job, self.potential, self._stop = job, potential, stop
        self.looks: list[tuple[int, float, float, float, float]] = []
        self.positions: list[np.ndarray] = []
        self.forces: list[np.ndarray] = []
        self.atom_energies: list[np.ndarray] = []
        self.keeper = _Keeper(job.max_candidates, job.keep)
        self.edge: _Look | None = None
        self._harmonic = _harmonic_forces(job)

    def walk(self) -> None:
        job = self.job
        crystal = read_frames(job.crystal_file, require=())[0]
        driver = start_driver(
            job.engine,
            crystal,
            _walked_on(self.potential, job, crystal),
            temperature_K=job.temperature_K,
            timestep_fs=job.timestep_fs,
            rng=np.random.default_rng(list(job.seed)),
            thermostat=job.thermostat,
            relaxation_time_fs=job.relaxation_time_fs,
        )
        try:
            end, message = self._walk(driver)
        finally:
            driver.close()
        self._write(end, message, driver.n_steps)

    def _walk(self, driver: MDDriver) -> tuple[WalkEnd, str]:
        job = self.job
        above_since: int | None = None
        while driver.n_steps < job.n_steps:
            if self._stop():
                raise WalkInterrupted
            steps = min(job.check_every, job.n_steps - driver.n_steps)
            try:
                driver.step(steps)
                look = self._look(driver)
            except ConfigError:
                raise
            except TrepidError as error:
                return WalkEnd.LEFT_REALITY, f"the dynamics came apart: {error}"
            problem = self._left_reality(driver, look)
            if problem or look is None:
                return WalkEnd.LEFT_REALITY, problem
            self._note(look)
            if look.prediction.frame_uncertainty <= job.untrusted_eV_per_A:
                above_since = self.edge = None
                continue
            if above_since is None:
                above_since, self.edge = driver.n_steps, look
            if driver.n_steps - above_since >= job.untrusted_steps:
                uncertainty = look.prediction.frame_uncertainty
                return WalkEnd.UNTRUSTED, (
                    f"force uncertainty {uncertainty:.3g} eV/A, above {job.untrusted_eV_per_A:.3g} since "
                    f"{above_since * job.timestep_fs / 1000:.3f} ps"
                )
        return WalkEnd.FINISHED, ""

    def _look(self, driver: MDDriver) -> _Look | None:
        """Predict the present frame; None where it cannot be."""
        atoms = driver.atoms
        if not np.isfinite(atoms.positions).all():
            return None
        prediction = self.potential.predict(atoms, uncertainty=Uncertainty.EXACT)
        if not (np.isfinite(prediction.forces).all() and np.isfinite(prediction.frame_uncertainty)):
            return None
        harmonic = None if self._harmonic is None else self._harmonic(atoms)
        bare = atoms.copy()
        bare.calc = None
        del bare.arrays["momenta"]
        uncertainty = frame_uncertainty(
            self.job.measure,
            energy_uncertainty=prediction.energy_uncertainty,
            forces_uncertainty=prediction.forces_uncertainty,
            forces_ensemble=prediction.forces_ensemble,
            harmonic_forces=harmonic,
        )
        return _Look(len(self.looks), driver.n_steps, bare, prediction, uncertainty, driver.temperature_K)

    def _left_reality(self, driver: MDDriver, look: _Look | None) -> str:
        """Why the present frame is none to go on from; empty if it is one."""
        job = self.job
        if look is None:
            return "positions, forces or their uncertainty are not finite"
        if not driver.temperature_K <= job.max_temperature_factor * job.temperature_K:
            return f"temperature {driver.temperature_K:.0f} K is over {job.max_temperature_factor:g} times the target"
        largest = float(np.linalg.norm(look.prediction.forces, axis=1).max())
        if largest > job.max_force_eV_per_A:
            return f"predicted force {largest:.1f} eV/A is over {job.max_force_eV_per_A:g} eV/A"
        return fused_atoms(look.atoms, factor=job.min_distance_factor)

    def _note(self, look: _Look) -> None:
        prediction = look.prediction
        self.looks.append(
            (look.step, look.uncertainty, prediction.frame_uncertainty, prediction.energy, look.temperature_K)
        )
        self.positions.append(look.atoms.positions.astype(np.float32))
        self.forces.append(prediction.forces.astype(np.float32))
        if prediction.atom_energies is not None:
            self.atom_energies.append(prediction.atom_energies.astype(np.float32))
        self.keeper.offer(look)

    def _write(self, end: WalkEnd, message: str, n_steps: int) -> None:
        job = self.job
        kept = {look.number: look for look in self.keeper.kept}
        edge = None
        if self.edge is not None and end is not WalkEnd.FINISHED:
            edge = self.edge.number
            kept[edge] = self.edge
        frames = [self._frame(kept[number], edge=number == edge) for number in sorted(kept)]
        if frames:
            write_frames(job.output.with_suffix(".extxyz"), frames)
        n_atoms = len(frames[0]) if frames else 0
        steps, uncertainty, largest, energy, temperature = (
            np.array(self.looks, dtype=np.float64).reshape(-1, 5).T if self.looks else np.empty((5, 0))
        )
        summary = WalkSummary(
            walker=job.walker,
            temperature_K=job.temperature_K,
            n_steps=n_steps,
            timestep_fs=job.timestep_fs,
            n_candidates=len(frames),
            end=end.value,
            message=" ".join(message.split()),
            biased=job.bias is not None,
        )
        extra = {} if len(self.atom_energies) < len(self.looks) else {"atom_energies": np.array(self.atom_energies)}
        save_arrays(
            job.output,
            {
                **extra,
                "steps": steps.astype(np.int64),
                "uncertainty": uncertainty,
                "forces_uncertainty_max": largest,
                "energy": energy,
                "temperature_K": temperature,
                "positions": np.array(self.positions, dtype=np.float32).reshape(-1, n_atoms, 3),
                "forces": np.array(self.forces, dtype=np.float32).reshape(-1, n_atoms, 3),
                "summary": np.array(json.dumps(summary.as_dict())),
            },
        )

    def _frame(self, look: _Look, *, edge: bool) -> Atoms:
        job, prediction = self.job, look.prediction
        frame = predicted_frame(look.atoms, prediction)
        frame.info.update(
            {
                "walker": job.walker,
                "look": look.number,
                "step": look.step,
                "time_fs": look.step * job.timestep_fs,
                "target_temperature_K": job.temperature_K,
                "temperature_K": look.temperature_K,
                "uncertainty": look.uncertainty,
                "edge": edge,
            }
        )
        if prediction.energy_uncertainty is not None:
            frame.info["energy_uncertainty"] = prediction.energy_uncertainty
        if prediction.atom_energies is not None:
            frame.arrays["atom_energies"] = prediction.atom_energies
        return frame


def fused_atoms(atoms: Atoms, *, factor: float) -> str:
    """Whether two atoms are closer than `factor` times the sum of their covalent radii: says which; empty if none."""
    radii = factor * covalent_radii[atoms.numbers]
    i, j, d = neighbor_list("ijd", atoms, radii.tolist())
    if len(d) == 0:
        return ""
    worst = int(np.argmin(d))
    symbols = atoms.get_chemical_symbols()
    a, b = int(i[worst]), int(j[worst])
    return f"atoms {a} ({symbols[a]}) and {b} ({symbols[b]}) have fused: {d[worst]:.2f} A apart"


def _walked_on(potential: Potential, job: WalkJob, crystal: Atoms) -> Potential:
    """What moves the atoms: the potential itself, a member of it, or the potential with a push towards uncertainty."""
    if job.bias is not None:
        if job.engine != "ase":
            raise ConfigError(f"walkers.bias is computed by the engine ase; walkers.engine is {job.engine}")
        from trepid.campaign.bias import biased_potential

        strength, largest = job.bias
        return biased_potential(potential, crystal, strength=strength, largest_eV=largest)
    if job.member is not None:
        member: Callable[[int], Potential] | None = getattr(potential, "member", None)
        if member is None:
            raise ConfigError("walkers.walk_on: member needs a committee; give mean")
        return member(job.member)
    return potential


def _harmonic_forces(job: WalkJob) -> Callable[[Atoms], FloatArray] | None:
    if job.measure is not UncertaintyMeasure.SIGMA_A:
        return None
    from trepid.anharmonicity.phonopy_files import read_phonopy

    if job.force_constants is None:
        raise ConfigError("acquisition.measure sigma_a needs force constants")
    return read_phonopy(job.force_constants).forces
