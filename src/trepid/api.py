"""The public functions of trepid: fit, load, evaluate, md, find_events, learn. The command line has a verb for each.

Every function takes objects or files: frames and structures as `ase.Atoms` or as paths, models as potentials or as paths.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from trepid.choices import (
    DEFAULT_PRESSURE_TIME_FS,
    DEFAULT_SPEED,
    Barostat,
    ChargeChoice,
    Engine,
    GuardAction,
    Speed,
    Thermostat,
    Triplets,
)
from trepid.data.findings import located
from trepid.data.frames import LabelKeys, read_frames, read_structure
from trepid.data.labelled import labelled_frames
from trepid.data.noise_factors import with_weights
from trepid.errors import DataError
from trepid.potentials import load_potential
from trepid.potentials.base import Potential, Uncertainty

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference
    from trepid.campaign.result import CampaignResult
    from trepid.config import AnyCampaign
    from trepid.dynamics.progress import ProgressView
    from trepid.dynamics.settings import MDResult
    from trepid.evaluation import Evaluation
    from trepid.events.analysis import EventAnalysis, EventSettings
    from trepid.potentials.bayesian.force_field import BayesianForceField
    from trepid.potentials.bayesian.size_search import SizeStep

logger = logging.getLogger(__name__)

Frames: TypeAlias = Union["Sequence[Atoms]", str, Path]
Model: TypeAlias = Potential | str | Path

_KEYS = LabelKeys()


def load(path: str | Path, *, trust: bool = False) -> Potential:
    """Read a model file of any kind: a Bayesian force field or a committee.

    Parameters
    ----------
    path : path
    trust : bool
        Run what a committee file names: a worker script, an interpreter, a foundation model (a pickle).

    Raises
    ------
    UntrustedFileError
        The file names a worker script or a foundation model, and is not trusted.
    ModelFileError
        Missing, truncated, not a model of trepid, or of another version.
    """
    return load_potential(path, trust=trust)


def fit(
    frames: Frames,
    *,
    species: Sequence[str] | None = None,
    speed: Speed | str = DEFAULT_SPEED,
    pair_cutoff: float | None = None,
    triplet_cutoff: float | None = None,
    n_pair: int | None = None,
    n_radial: int | None = None,
    l_max: int | None = None,
    n_channels: int | None = None,
    triplets: Triplets | str = Triplets.AUTO,
    charges: ChargeChoice | str | Mapping[str, float] = ChargeChoice.AUTO,
    weights: Mapping[str, float] | None = None,
    keys: LabelKeys = _KEYS,
    check: bool = True,
    seed: int = 0,
    progress: Callable[[SizeStep], None] | None = None,
) -> BayesianForceField:
    """Train a Bayesian force field on labelled frames, hyperparameters included.

    Parameters
    ----------
    frames : sequence of Atoms, or path
        With forces (eV/A); energies (eV) and stresses (eV/A^3) are used where present. Labels are under `keys`, under the names of
        ASE, or in a `SinglePointCalculator`.
    species : sequence of str, optional
        Elements it describes; default: those of the frames.
    speed : Speed or str
        Ceiling of the cost up to which the training frames choose the sizes below: fast (the defaults, and quadruplets where
        they pay), balanced (about 2 times the time per MD step of the defaults) or accurate (6 times).
    pair_cutoff, triplet_cutoff : float, optional
        Fixed ranges of pairs and triplets, A; defaults 6 and 5.
    n_pair, n_radial, l_max : int, optional
        Fixed number of splines of a pair energy, of radial splines of triplets, and degree in the angle; defaults 20, 8, 4.
    n_channels : int, optional
        Fixed number of channels of the quadruplets (four-body energies), 0 to 3; default 3 where the training frames find that
        they pay, else 0.
    triplets : Triplets or str
        full: a triplet energy for every three species; mixed: from channels that mix the species; auto: mixed from three
        species on.
    charges : ChargeChoice, str or mapping of str to float
        Coulomb energy of effective charges: off, auto (formal charges from the composition of the frames, kept where evidence and
        the error of left-out frames gain), or formal charges by element, e, kept whatever they gain.
    weights : mapping of str to float, optional
        Weight of the frames by their `config_type` in `info`: a frame of weight 4 counts as four. Others have the weight 1.
    keys : LabelKeys
        Names of the labels in the frames.
    check : bool
        Run the checks of `trepid check`: what they find is in the log, and labels that the others contradict weigh less.
    seed : int
        Of the random environments of the live uncertainty.
    progress : callable, optional
        Called with every step of the search.

    Raises
    ------
    ConfigError
        A setting is out of range.
    DataError
        No frames, a frame without labels, labels that are not finite, an element that is not in `species`.
    """
    from trepid.inspection import inspect_labels
    from trepid.potentials.bayesian.charge_choice import parsed_charges
    from trepid.potentials.bayesian.sized_fit import fit_with_sizes
    from trepid.potentials.bayesian.sizes import GivenSizes

    read = _frames(frames, keys)
    if not read:
        raise DataError("fit needs at least one labelled frame")
    if check:
        inspection = inspect_labels(read, keys)
        for finding in inspection.findings:
            logger.warning("%s", located(finding, range(len(read))))
        read = inspection.weighted(read)
    read = with_weights(read, weights or {})
    elements = sorted({symbol for frame in read for symbol in frame.get_chemical_symbols()})
    return fit_with_sizes(
        read,
        elements if species is None else species,
        given=GivenSizes(pair_cutoff, triplet_cutoff, n_pair, n_radial, l_max, n_channels, Triplets(triplets)),
        speed=Speed(speed),
        keys=keys,
        charges=parsed_charges(charges) if isinstance(charges, str) else charges,
        seed=seed,
        progress=progress,
    ).model


def evaluate(
    model: Model,
    frames: Frames,
    *,
    keys: LabelKeys = _KEYS,
    uncertainty: Uncertainty | str = Uncertainty.EXACT,
    trust: bool = False,
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
    trust : bool
        Run what a model file names; see `load`.

    Raises
    ------
    DataError
        No frame, a frame without forces, a label that is not finite, an element that the model does not describe.
    ModelFileError
        The model file cannot be read.
    """
    from trepid import evaluation

    return evaluation.evaluate(_model(model, trust), _frames(frames, keys), keys=keys, uncertainty=uncertainty)


def md(
    model: Model,
    atoms: Atoms | str | Path,
    *,
    temperature_K: float | tuple[float, float],
    duration_ps: float,
    directory: str | Path,
    timestep_fs: float = 1.0,
    engine: Engine | str = Engine.ASE,
    thermostat: Thermostat | str | None = None,
    relaxation_time_fs: float = 100.0,
    pressure_GPa: float | None = None,
    barostat: Barostat | str = Barostat.ISOTROPIC,
    pressure_time_fs: float = DEFAULT_PRESSURE_TIME_FS,
    guard: GuardAction | str = GuardAction.WARN,
    threshold_eV_per_A: float | None = None,
    uncertainty: Uncertainty | str = Uncertainty.LIVE,
    check_every: int = 10,
    sample_every: int = 100,
    seed: int = 0,
    mpi: int = 1,
    trust: bool = False,
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
    thermostat : Thermostat or str, optional
        langevin, bussi, nose-hoover or nve; default: langevin, with a pressure nose-hoover.
    pressure_GPa : float, optional
        Target pressure; default: the cell does not change.
    barostat : Barostat or str
        With a pressure, how the cell changes: isotropic, axes or full.
    pressure_time_fs : float
        Time constant of the barostat, fs.
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
    trust : bool
        Run what a model file names; see `load`.
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
        thermostat=Thermostat.of(thermostat, pressure_GPa),
        relaxation_time_fs=relaxation_time_fs,
        pressure_GPa=pressure_GPa,
        barostat=Barostat(barostat),
        pressure_time_fs=pressure_time_fs,
        check_every=check_every,
        sample_every=sample_every,
        guard=GuardAction(guard),
        threshold_eV_per_A=threshold_eV_per_A,
        uncertainty=Uncertainty(uncertainty),
        seed=seed,
    )
    return run_md(
        _model(model, trust),
        read_structure(atoms) if isinstance(atoms, str | Path) else atoms,
        settings,
        directory=directory,
        model_file=model if isinstance(model, str | Path) else None,
        ranks=mpi,
        progress=progress,
    )


def find_events(
    trajectory: Frames,
    crystal: Atoms | str | Path,
    *,
    interval_fs: float | None = None,
    species: Sequence[str] = (),
    settings: EventSettings | None = None,
    harmonic: HarmonicReference | None = None,
) -> EventAnalysis:
    """Hops, Frenkel pairs, exchanges and excursions of a trajectory, by class, with rates and paths.

    Parameters
    ----------
    trajectory : path, or sequence of Atoms
        Extended XYZ, LAMMPS dump, XDATCAR, vasprun.xml, or any format ASE reads; read once, whatever its length. Positions wrapped
        or not.
    crystal : Atoms, or path
        Relaxed: the supercell of the trajectory, or a cell that it is a multiple of; atoms in any order.
    interval_fs : float, optional
        Time between two frames, fs; needed where the file does not tell it.
    species : sequence of str
        Elements of the types 1, 2, ... of a LAMMPS dump without elements.
    settings : EventSettings, optional
        When motion counts as an event, equilibration, level of the intervals.
    harmonic : HarmonicReference, optional
        Of the supercell of the trajectory: sigma^A and its jumps are measured, where the trajectory has forces (eV/A).

    Returns
    -------
    EventAnalysis
        `classes` with counts, rates and paths; `events`; `sigma_a`; `remarks`.

    Raises
    ------
    DataError
        The trajectory cannot be read, its atoms are not those of the crystal, nothing tells its times, or it is too short.
    ConfigError
        A setting is out of range.
    """
    from trepid.events.analysis import EventSettings, analyse_events

    return analyse_events(
        trajectory,
        read_structure(crystal) if isinstance(crystal, str | Path) else crystal,
        interval_fs=interval_fs,
        species=species,
        settings=settings or EventSettings(),
        harmonic=None if harmonic is None else lambda _: harmonic,
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


def _model(model: Model, trust: bool) -> Potential:
    return load_potential(model, trust=trust) if isinstance(model, str | Path) else model


def _frames(frames: Frames, keys: LabelKeys) -> list[Atoms]:
    """Frames with their labels under `keys`, wherever they were; what is found is in the log."""
    if isinstance(frames, str | Path):
        return read_frames(frames, keys=keys)
    labelled = labelled_frames(frames, keys=keys, require=())
    for finding in labelled.findings:
        logger.warning("%s", located(finding, labelled.numbers))
    return labelled.frames
