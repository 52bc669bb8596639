"""`trepid conductivity` as a function: plan, runs, estimates; the run directory and its continuation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from trepid.anharmonicity.matching import nearest_distances
from trepid.data.arrays import structure_digest
from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.data.claim import OTHER_DIRECTORY, claimed
from trepid.data.formula import formula_of
from trepid.data.geometry import require_start
from trepid.data.json_file import read_json_object
from trepid.data.lock import RunLock
from trepid.data.progress_file import ProgressFile
from trepid.errors import ConfigError, DataError
from trepid.lammps.installation import find_installation
from trepid.lammps.session import NEIGHBOR, SETUP, Session
from trepid.lammps.system import System
from trepid.transport.flux_runs import Flux, FluxRun, Progress, complete_runs, reached, read_flux, without_species
from trepid.transport.green_kubo import (
    Cepstral,
    Estimate,
    RunningIntegral,
    cepstral,
    integral_at,
    prefactor,
    running_integral,
)
from trepid.transport.settings import ConductivitySettings, Repeat, text_of
from trepid.transport.source import Source

if TYPE_CHECKING:
    from ase import Atoms

RESULT_FILE, SETTINGS_FILE = "conductivity.json", "settings.json"
HOPPED = 0.5
"""An atom that ends further from its site than this share of the shortest bond has left it."""
LARGEST_DRIFT_MEV = 1.0
"""Change of the total energy per atom and 100 ps from which on the time step is too long."""
_TIMED_STEPS = 20


@dataclass(frozen=True)
class Plan:
    """What there is to run.

    Attributes
    ----------
    n_runs : int
        Runs of LAMMPS, draws and sizes included.
    n_atoms : tuple of int
        Of the sizes.
    cpu_hours : float
        Estimated, on one core of this machine, for what is not done yet.
    share_done : float
    """

    n_runs: int
    n_atoms: tuple[int, ...]
    cpu_hours: float
    share_done: float


@dataclass(frozen=True)
class SizeResult:
    """One supercell.

    Attributes
    ----------
    repeat : (int, int, int)
    n_atoms : int
    temperature_K : float
        Mean over the runs.
    kappa : Estimate
        Mean of the three directions, W / (m K), with the statistical error.
    components : tuple of Estimate
        xx, yy, zz.
    integral : RunningIntegral
        Over all directions, W / (m K).
    cepstral : Cepstral
        A second estimate.
    """

    repeat: Repeat
    n_atoms: int
    temperature_K: float
    kappa: Estimate
    components: tuple[Estimate, Estimate, Estimate]
    integral: RunningIntegral
    cepstral: Cepstral


@dataclass(frozen=True)
class ConductivityResult:
    """A computed thermal conductivity.

    Attributes
    ----------
    name : str
        Of the potential.
    formula : str
    settings : ConductivitySettings
    sizes : tuple of SizeResult
        The result is that of the last one.
    draws : tuple of Estimate
        Of the draws of the model, at the last size.
    model_error : float or None
        Standard deviation of the draws beyond their statistical errors, W / (m K); None without draws.
    forces_error_eV_per_A : float or None
    remarks : tuple of str
        What a reader must know.
    directory : Path
    """

    name: str
    formula: str
    settings: ConductivitySettings
    sizes: tuple[SizeResult, ...]
    draws: tuple[Estimate, ...]
    model_error: float | None
    forces_error_eV_per_A: float | None
    remarks: tuple[str, ...]
    directory: Path

    @property
    def kappa(self) -> Estimate:
        """Conductivity of the largest size, W / (m K), statistical error alone."""
        return self.sizes[-1].kappa

    @property
    def total(self) -> Estimate:
        """The same with the error of the model, where draws tell it."""
        error = math.hypot(self.kappa.error, self.model_error or 0.0)
        return Estimate(self.kappa.value, error, self.kappa.dof)

    @property
    def effect_of_error(self) -> tuple[float, float, float] | None:
        """By what factor errors as large as the model's own change its conductivity, and the 95 % interval of this factor.

        A draw differs from the model by an error of forces of the size that the model has (if its bars are right), so that the
        geometric mean of the draws over the model shows what such errors do. None without draws, or where one is not positive.
        """
        values = np.array([draw.value for draw in self.draws])
        if len(values) < 2 or self.kappa.value <= 0 or values.min() <= 0:
            return None
        logs = np.log(values / self.kappa.value)
        error = math.hypot(float(logs.std(ddof=1)) / math.sqrt(len(logs)), self.kappa.error / self.kappa.value)
        half = float(stats.t.ppf(0.975, len(logs) - 1)) * error
        middle = float(logs.mean())
        return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def plan_conductivity(source: Source, crystal: Atoms, settings: ConductivitySettings, directory: Path) -> Plan:
    """Check the input, and say what the runs cost: LAMMPS makes a few steps of each size in a temporary folder.

    Raises
    ------
    ConfigError, DataError
        As `compute_conductivity`.
    """
    _require(source, crystal, settings)
    hours, done, steps = 0.0, 0, 0
    with TemporaryDirectory(prefix="trepid-conductivity-") as folder:
        source.write(Path(folder))
        for k, repeat in enumerate(settings.repeats):
            runs = list(_runs_of_size(source, crystal, settings, directory, k))
            ahead = sum(settings.n_steps - reached(run, settings) for run in runs)
            fresh = sum(reached(run, settings) == 0 for run in runs)
            done += sum(reached(run, settings) for run in runs)
            steps += len(runs) * settings.n_steps
            seconds = _seconds_per_step(crystal.repeat(repeat), source, Path(folder))
            hours += (ahead + fresh * settings.n_equilibration) * seconds / 3600
    sizes = tuple(len(crystal) * math.prod(repeat) for repeat in settings.repeats)
    n_runs = settings.n_runs * (len(settings.repeats) + source.n_draws)
    return Plan(n_runs, sizes, hours, done / steps)


def compute_conductivity(
    source: Source,
    crystal: Atoms,
    settings: ConductivitySettings,
    *,
    directory: Path,
    jobs: int = 1,
    ranks: int = 1,
    progress: Progress = lambda message: None,
) -> ConductivityResult:
    """Compute a thermal conductivity by Green and Kubo, or continue in `directory`.

    Parameters
    ----------
    source : Source
        What the atoms interact by.
    crystal : ase.Atoms
        Relaxed; its supercells are `settings.repeats`.
    settings : ConductivitySettings
    directory : Path
        New, or of the same computation.
    jobs, ranks : int
        Runs at a time, and MPI processes of each; another call may use others.
    progress : callable
        Gets lines of text.

    Raises
    ------
    ConfigError
        The directory holds something else.
    DataError
        The crystal is not periodic, too small for the cutoffs, or has unknown elements; a file of the directory is damaged.
    NumericsError
        LAMMPS stopped with an error, or a run became unstable.
    Interrupted
        A signal came; the same call continues.
    """
    _require(source, crystal, settings)
    installation = find_installation()
    with _claimed(directory, _described(source, crystal, settings)) as lock:
        source.write(directory)
        runs = [list(_runs_of_size(source, crystal, settings, directory, k)) for k in range(len(settings.repeats))]
        flat = [run for of_size in runs for run in of_size]
        with ProgressFile(directory, job="conductivity", unit="MD steps", stage="dynamics") as file:
            complete_runs(
                flat,
                settings,
                installation=installation,
                lock=lock,
                jobs=jobs,
                ranks=ranks,
                progress=progress,
                file=file,
            )
        result = _result(source, crystal, settings, runs, directory)
        write_text_atomic(directory / RESULT_FILE, json.dumps(facts(result), indent=2) + "\n")
    return result


def _require(source: Source, crystal: Atoms, settings: ConductivitySettings) -> None:
    require_start(crystal)
    if not all(crystal.pbc):
        raise DataError("a thermal conductivity needs a crystal that is periodic in all three directions (pbc T T T)")
    source.require(set(crystal.get_chemical_symbols()))
    widths = 1.0 / np.linalg.norm(np.linalg.inv(np.array(crystal.cell)), axis=0)
    for repeat in settings.repeats:
        narrow = float((widths * repeat).min())
        if source.reach_A is not None and narrow < 2 * source.reach_A:
            enough = max(math.ceil(2 * source.reach_A / width) for width in widths)
            raise DataError(
                f"the {text_of(repeat)} cell is {narrow:.2f} A wide, and atoms interact over {source.reach_A:g} A: an atom "
                f"would meet its own image; give --repeat {enough} or more"
            )


def _runs_of_size(
    source: Source, crystal: Atoms, settings: ConductivitySettings, directory: Path, k: int
) -> Iterator[FluxRun]:
    """All runs of a size; draws at the last size alone."""
    repeat = settings.repeats[k]
    atoms = crystal.repeat(repeat)
    last = k == len(settings.repeats) - 1
    for draw in range(1 + (source.n_draws if last else 0)):
        pair = source.commands(System.of(atoms), directory, draw)
        for n in range(settings.n_runs):
            seed = int(np.random.default_rng([settings.seed, *repeat, draw, n]).integers(1, 800_000_000))
            folder = directory / text_of(repeat) / ("model" if draw == 0 else f"draw-{draw:02d}") / f"run-{n + 1:02d}"
            yield FluxRun(folder, atoms, pair, seed, str(folder.relative_to(directory)))


def _seconds_per_step(atoms: Atoms, source: Source, folder: Path) -> float:
    moved = atoms.copy()
    moved.rattle(0.02, seed=0)
    system = System.of(moved)
    session = Session()
    try:
        session.commands(SETUP)
        session.create_atoms(moved, system, velocities=False)
        session.commands(
            f"{source.commands(system, folder, 0)}{NEIGHBOR}timestep 0.0005\nfix motion all nve\nrun 0 post no"
        )
        begun = time.process_time()
        session.commands(f"run {_TIMED_STEPS} post no")
        return (time.process_time() - begun) / _TIMED_STEPS
    finally:
        session.close()


# ---------------------------------------------------------------------- estimates


def _result(
    source: Source,
    crystal: Atoms,
    settings: ConductivitySettings,
    runs: Sequence[Sequence[FluxRun]],
    directory: Path,
) -> ConductivityResult:
    sizes, draws = [], []
    remarks: list[str] = []
    for repeat, of_size in zip(settings.repeats, runs, strict=True):
        parts = [of_size[k : k + settings.n_runs] for k in range(0, len(of_size), settings.n_runs)]
        fluxes = [read_flux(run, settings) for run in parts[0]]
        sizes.append(size_result(fluxes, of_size[0].atoms, repeat, settings.sample_fs / 1000))
        remarks += _remarks_of_runs(fluxes, of_size[0].atoms, settings, text_of(repeat))
        for part in parts[1:]:
            drawn = [read_flux(run, settings) for run in part]
            draws.append(size_result(drawn, of_size[0].atoms, repeat, settings.sample_fs / 1000).kappa)
    model_error = None
    if draws:
        values = np.array([draw.value for draw in draws])
        within = float(np.mean([draw.error**2 for draw in draws]))
        model_error = math.sqrt(max(0.0, float(values.var(ddof=1)) - within))
    for size in sizes:
        remarks += _remarks_of_size(size, settings)
    if len(sizes) > 1 and _differ(sizes[-1].kappa, sizes[-2].kappa):
        remarks.append(
            f"the two largest cells differ, {_figure(sizes[-2].kappa)} and {_figure(sizes[-1].kappa)} W/(m K): give a larger one"
        )
    result = ConductivityResult(
        name=source.name,
        formula=formula_of(crystal),
        settings=settings,
        sizes=tuple(sizes),
        draws=tuple(draws),
        model_error=model_error,
        forces_error_eV_per_A=source.forces_error_eV_per_A,
        remarks=(),
        directory=directory,
    )
    return replace(result, remarks=tuple(remarks + _remarks_of_source(source, result)))


def size_result(fluxes: Sequence[Flux], atoms: Atoms, repeat: Repeat, interval_ps: float) -> SizeResult:
    """Estimates of one size and potential, from the runs (`Flux`) of these atoms."""
    flux = without_species(fluxes)
    temperature = float(np.mean([f.temperature_K for f in fluxes]))
    factor = prefactor(atoms.get_volume(), temperature)
    series = flux.reshape(-1, flux.shape[-1]) * math.sqrt(factor)
    whole = running_integral(series, interval_ps)
    components = [integral_at(flux[:, a] * math.sqrt(factor), interval_ps, whole.cutoff) for a in range(3)]
    second = cepstral(series, interval_ps, cutoff_ps=whole.cutoff_ps)
    return SizeResult(
        repeat=repeat,
        n_atoms=len(atoms),
        temperature_K=temperature,
        kappa=whole.estimate,
        components=(components[0], components[1], components[2]),
        integral=whole,
        cepstral=second,
    )


def _remarks_of_runs(fluxes: Sequence[Flux], atoms: Atoms, settings: ConductivitySettings, size: str) -> list[str]:
    remarks = []
    bond = float(nearest_distances(atoms).min())
    hopped = max(flux.displacement_A for flux in fluxes)
    if hopped > HOPPED * bond:
        remarks.append(
            f"{size}: an atom ended {hopped:.2f} A from its site, with bonds of {bond:.2f} A: atoms diffuse, and the heat flux "
            "then has a part of diffusion that is not taken out; the figure holds for a crystal whose atoms stay"
        )
    drift = max(abs(flux.drift_meV) for flux in fluxes) * 100 / settings.run_ps
    if drift > LARGEST_DRIFT_MEV:
        remarks.append(
            f"{size}: the total energy drifts by {drift:.2g} meV per atom in 100 ps: give a shorter "
            f"--timestep than {settings.timestep_fs:g} fs"
        )
    return remarks


def _remarks_of_size(size: SizeResult, settings: ConductivitySettings) -> list[str]:
    name = text_of(size.repeat)
    if not size.integral.converged:
        return [
            f"{name}: runs of {settings.run_ps:g} ps are short for a heat flux that is correlated over up to "
            f"{size.integral.cutoff_ps:.3g} ps: give --run {5 * size.integral.cutoff_ps:.2g} or more; the figure may be too low"
        ]
    if size.cepstral.valid and _differ(size.kappa, size.cepstral.estimate):
        return [
            f"{name}: the cepstral analysis gives {_figure(size.cepstral.estimate)} W/(m K), the integral {_figure(size.kappa)}"
        ]
    return []


def _remarks_of_source(source: Source, result: ConductivityResult) -> list[str]:
    remarks = []
    if len(result.sizes) == 1:
        remarks.append(
            "one supercell: the finite-size error is not known; give --repeat for several, from small to large"
        )
    if source.forces_error_eV_per_A is not None:
        remarks.append(
            f"forces of this model are {1000 * source.forces_error_eV_per_A:.3g} meV/A off (rms of a component, left-out frames): "
            "such errors scatter phonons like noise, so that the conductivity of a model is too low rather than too high (Wu et "
            "al., J. Chem. Phys. 161, 014103 (2024)); no correction is made"
        )
    if (effect := result.effect_of_error) is not None:
        factor, low, high = effect
        remarks.append(
            f"draws, which differ from the model by errors as large as its own, have {factor:.2f} times its conductivity (95 %: "
            f"{low:.2f} to {high:.2f}): this is what errors of this size do"
        )
    if source.can_draw and source.n_draws == 0:
        remarks.append("no error bar of the model: --draws 6 gives one, at six times the cost of the largest cell")
    return remarks


def _differ(a: Estimate, b: Estimate) -> bool:
    return abs(a.value - b.value) > 2 * math.hypot(a.error, b.error)


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} +- {estimate.error:.2g}"


# ---------------------------------------------------------------------- files


def facts(result: ConductivityResult) -> dict[str, Any]:
    """Everything as plain types, for JSON; conductivities in W / (m K)."""
    total, kappa = result.total, result.kappa
    return {
        "potential": result.name,
        "crystal": result.formula,
        "temperature_K": result.sizes[-1].temperature_K,
        "kappa_W_per_m_K": kappa.value,
        "statistical_error": kappa.error,
        "statistical_95": list(kappa.interval()),
        "model_error": result.model_error,
        "total_95": list(total.interval()),
        "sizes": [
            {
                "repeat": list(size.repeat),
                "n_atoms": size.n_atoms,
                "temperature_K": size.temperature_K,
                "kappa": size.kappa.value,
                "error": size.kappa.error,
                "interval_95": list(size.kappa.interval()),
                "components": [{"kappa": c.value, "error": c.error} for c in size.components],
                "cutoff_ps": size.integral.cutoff_ps,
                "converged": size.integral.converged,
                "cepstral": {
                    "kappa": size.cepstral.estimate.value,
                    "error": size.cepstral.estimate.error,
                    "coefficients": size.cepstral.n_coefficients,
                    "band_THz": size.cepstral.band_THz,
                    "valid": size.cepstral.valid,
                },
            }
            for size in result.sizes
        ],
        "draws": [{"kappa": draw.value, "error": draw.error} for draw in result.draws],
        "forces_error_eV_per_A": result.forces_error_eV_per_A,
        "draws_over_model": None if result.effect_of_error is None else list(result.effect_of_error),
        "remarks": list(result.remarks),
        "settings": json.loads(json.dumps(asdict(result.settings))),
    }


def _described(source: Source, crystal: Atoms, settings: ConductivitySettings) -> dict[str, Any]:
    description = json.loads(json.dumps(asdict(settings)))
    return {**description, **source.describe(), "crystal_sha256": structure_digest(crystal)}


@contextmanager
def _claimed(directory: Path, description: dict[str, Any]) -> Iterator[RunLock]:
    """Lock the directory for the block; write settings.json into a new one, or check that it describes the same computation."""
    path = directory / SETTINGS_FILE
    with claimed(directory, settings_file=SETTINGS_FILE, kind="conductivity") as lock:
        if path.exists():
            _compare(directory, path, description)
            remove_stale_temporaries(directory)
        else:
            write_text_atomic(path, json.dumps(description, indent=2) + "\n")
        yield lock


def _compare(directory: Path, path: Path, description: dict[str, Any]) -> None:
    found = read_json_object(path, advice=OTHER_DIRECTORY)
    for key in sorted(set(description) | set(found)):
        if found.get(key) != description.get(key):
            raise ConfigError(
                f"{directory} holds another computation: its {key} is {found.get(key)}, not {description.get(key)}; give another "
                "directory"
            )
