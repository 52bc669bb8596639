"""The public functions of trepid: fit, load, evaluate, md, learn. The command line has a verb for each.

Every function takes objects or files: frames and structures as `ase.Atoms` or as paths, models as potentials or as paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A, Engine, GuardAction, Thermostat
from trepid.data.frames import LabelKeys, read_frames, read_structure
from trepid.errors import DataError
from trepid.potentials import load_potential
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.campaign.result import CampaignResult
    from trepid.config import AnyCampaign
    from trepid.dynamics.progress import ProgressView
    from trepid.dynamics.settings import MDResult
    from trepid.evaluation import Evaluation
    from trepid.potentials.bayesian.force_field import BayesianForceField

Frames: TypeAlias = Union["Sequence[Atoms]", str, Path]
Model: TypeAlias = Potential | str | Path

_KEYS = LabelKeys()


def load(path: str | Path) -> Potential:
    """Read a model file of any kind: a Bayesian force field or a committee.

    Raises
    ------
    ModelFileError
        Missing, truncated, not a model of trepid, or of another version.
    """
    return load_potential(path)


def fit(
    frames: Frames,
    *,
    species: Sequence[str] | None = None,
    pair_cutoff: float = PAIR_CUTOFF_A,
    triplet_cutoff: float = TRIPLET_CUTOFF_A,
    keys: LabelKeys = _KEYS,
    seed: int = 0,
) -> BayesianForceField:
    """Train a Bayesian force field on labelled frames, hyperparameters included.

    Parameters
    ----------
    frames : sequence of Atoms, or path
        With forces (eV/A); energies (eV) and stresses (eV/A^3) are used where present.
    species : sequence of str, optional
        Elements it describes; default: those of the frames.
    pair_cutoff, triplet_cutoff : float
        A.
    keys : LabelKeys
        Names of the labels in the frames.
    seed : int
        Of the random environments of the live uncertainty.

    Raises
    ------
    ConfigError
        A setting is out of range.
    DataError
        No frames, a frame without labels, labels that are not finite, an element that is not in `species`.
    """
    from trepid.potentials.bayesian.force_field import BayesianForceField

    read = _frames(frames, keys)
    if not read:
        raise DataError("fit needs at least one labelled frame")
    elements = sorted({symbol for frame in read for symbol in frame.get_chemical_symbols()})
    model = BayesianForceField(
        elements if species is None else species,
        pair_cutoff=pair_cutoff,
        triplet_cutoff=triplet_cutoff,
        keys=keys,
        seed=seed,
    )
    return model.fit(read)


def evaluate(
    model: Model,
    frames: Frames,
    *,
    keys: LabelKeys = _KEYS,
    uncertainty: Uncertainty | str = Uncertainty.EXACT,
) -> Evaluation:
    """Errors of a model on labelled frames, and the calibration of its uncertainty.

    Parameters
    ----------
    model : Potential, or path
    frames : sequence of Atoms, or path
        With force labels (eV/A), not used in training.
    keys : LabelKeys
        Names of the labels in the frames.
    uncertainty : Uncertainty or str
        exact, live or none.

    Raises
    ------
    DataError
        No frame, a frame without forces, a label that is not finite, an element that the model does not describe.
    ModelFileError
        The model file cannot be read.
    """
    from trepid import evaluation

    return evaluation.evaluate(_model(model), _frames(frames, keys), keys=keys, uncertainty=uncertainty)


def md(
    model: Model,
    atoms: Atoms | str | Path,
    *,
    temperature_K: float | tuple[float, float],
    duration_ps: float,
    directory: str | Path,
    timestep_fs: float = 1.0,
    engine: Engine | str = Engine.ASE,
    thermostat: Thermostat | str = Thermostat.LANGEVIN,
    relaxation_time_fs: float = 100.0,
    guard: GuardAction | str = GuardAction.WARN,
    threshold_eV_per_A: float | None = None,
    uncertainty: Uncertainty | str = Uncertainty.LIVE,
    check_every: int = 10,
    sample_every: int = 100,
    seed: int = 0,
    mpi: int = 1,
    progress: ProgressView | None = None,
) -> MDResult:
    """Molecular dynamics on a model under the trust guard; the same call resumes an interrupted run.

    Parameters
    ----------
    model : Potential, or path
    atoms : Atoms, or path
        Start; not changed.
    temperature_K : float or (float, float)
        Target, K; two for a linear ramp.
    duration_ps : float
    directory : path
        Run directory: trace.csv, trajectory, untrusted frames, checkpoint.
    timestep_fs, relaxation_time_fs : float
        Time step; time constant of the thermostat, fs.
    engine : Engine or str
        ase or lammps.
    thermostat : Thermostat or str
        langevin, bussi, nose-hoover or nve.
    guard : GuardAction or str
        warn or stop, where the force uncertainty of an atom exceeds the threshold.
    threshold_eV_per_A : float, optional
        Largest trusted force uncertainty of an atom; default: four times the typical force error of the model.
    uncertainty : Uncertainty or str
        live or exact.
    check_every, sample_every : int
        MD steps between checks, and between frames of the trajectory.
    seed : int
        Of velocities and thermostat.
    mpi : int
        Processes, for the engine lammps.
    progress : ProgressView, optional
        `trepid.dynamics.progress.make_progress()` shows a bar; default: nothing is shown.

    Returns
    -------
    MDResult

    Raises
    ------
    UntrustedError
        The guard stopped the run, or it became unstable.
    ConfigError
        A setting is out of range, or the directory holds another run.
    DataError, ModelFileError
        A file cannot be read, or an element is not described by the model.
    """
    from trepid.dynamics.run import run_md
    from trepid.dynamics.settings import MDSettings

    settings = MDSettings(
        temperature_K=temperature_K,
        duration_ps=duration_ps,
        timestep_fs=timestep_fs,
        engine=Engine(engine),
        thermostat=Thermostat(thermostat),
        relaxation_time_fs=relaxation_time_fs,
        check_every=check_every,
        sample_every=sample_every,
        guard=GuardAction(guard),
        threshold_eV_per_A=threshold_eV_per_A,
        uncertainty=Uncertainty(uncertainty),
        seed=seed,
    )
    return run_md(
        _model(model),
        read_structure(atoms) if isinstance(atoms, str | Path) else atoms,
        settings,
        directory=directory,
        model_file=model if isinstance(model, str | Path) else None,
        ranks=mpi,
        progress=progress,
    )


def learn(campaign: str | Path | AnyCampaign, *, progress: ProgressView | None = None) -> CampaignResult:
    """Run a learning campaign, or continue the one in its output directory.

    Parameters
    ----------
    campaign : path, Campaign or RoundsCampaign
        A campaign file, or its settings.
    progress : ProgressView, optional
        `trepid.dynamics.progress.make_progress()` shows a bar; default: nothing is shown.

    Returns
    -------
    CampaignResult
        Why it ended, its figures, `model_file`, and `load()`, which gives the model.

    Raises
    ------
    ConfigError, DataError, ModelFileError
        A setting is wrong, or a file cannot be read.
    """
    from trepid.campaign.learn import learn as run
    from trepid.config import load_campaign

    settings = load_campaign(campaign) if isinstance(campaign, str | Path) else campaign
    return run(settings, progress=progress)


def _model(model: Model) -> Potential:
    return load_potential(model) if isinstance(model, str | Path) else model


def _frames(frames: Frames, keys: LabelKeys) -> list[Atoms]:
    return read_frames(frames, keys=keys) if isinstance(frames, str | Path) else list(frames)
