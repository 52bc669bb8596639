"""From a teacher and a structure to a fast Bayesian force field, with its error and bar against the teacher on fresh frames.

Steps, each of which is on disk before the next one relies on it
----------------------------------------------------------------
relaxation/    the crystal relaxed on the teacher, within its space group
run/           a campaign in rounds with the teacher as reference: the student is run/model.trepid
fresh/         frames of walks on the finished student with seeds of their own, announced by the student and then labelled by the
               teacher: what its error and its bar are worth
check/         some of these frames labelled by a better method, where one is given (`trepid.screening.second`)
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.acquisition.choices import UncertaintyMeasure
from trepid.anharmonicity.finite_displacements import build_supercell
from trepid.campaign.assess import typical_force
from trepid.campaign.learn import learn
from trepid.campaign.result import CampaignResult
from trepid.campaign.walks import Keep, WalkJob, run_walk, walk_parameters
from trepid.choices import Engine
from trepid.config import RoundsCampaign
from trepid.config.reference import ReferenceSettings
from trepid.config.screening import RelaxSettings
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import bare_copy, read_frames, read_structure, write_frames
from trepid.data.geometry import require_start
from trepid.data.lock import RunLock
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.dynamics.progress import PlainProgress
from trepid.dynamics.sanity import SanityLimits
from trepid.errors import ConfigError, NumericsError, cannot_write
from trepid.evaluation import Evaluation, summarise
from trepid.execution import InlineExecutor
from trepid.labelling.case import LabelRequest
from trepid.labelling.labeller import Labeller
from trepid.potentials.base import Potential, Uncertainty
from trepid.reference import make_reference
from trepid.runs.label_files import LabelledFrame, LabelStore, Origin, PriorPrediction, compare_before_training
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Reason, StopReason
from trepid.runs.walk_files import read_walk
from trepid.screening.relaxation import RelaxationFiles, relax

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.reference.base import Reference

logger = logging.getLogger(__name__)

SETTINGS, RESULT = "distil.json", "result.json"
FRESH_FRAMES = 8
"""Fresh frames at every temperature."""
FIRST_FRAMES, PER_ROUND = 6, 6


@dataclass(frozen=True)
class DistilSettings:
    """What is distilled, and how much it may cost.

    Attributes
    ----------
    teacher : str
        As `trepid.screening.teacher.method_of` takes it.
    structure : str
        File of the crystal.
    supercell : tuple or None
        Of the structure; None: as `trepid init` suggests.
    temperatures_K : tuple of float
    labels : int
        Labels of the teacher at most, without relaxation and fresh frames.
    duration_ps, timestep_fs : float
        Of a walk.
    relax : bool
        Relax cell and atoms on the teacher first.
    engine : Engine
        Of the walks.
    seed : int
    """

    teacher: str
    structure: str
    supercell: tuple[Any, ...] | None = None
    temperatures_K: tuple[float, ...] = (300.0, 600.0)
    labels: int = 36
    duration_ps: float = 4.0
    timestep_fs: float = 2.0
    relax: bool = True
    engine: Engine = Engine.ASE
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels < FIRST_FRAMES + PER_ROUND:
            raise ConfigError(f"labels {self.labels}: at least {FIRST_FRAMES + PER_ROUND} are needed for a student")
        if not self.temperatures_K or min(self.temperatures_K) <= 0:
            raise ConfigError(f"temperatures {list(self.temperatures_K)}: give one or more above 0 K")


@dataclass(frozen=True)
class FreshFigures:
    """The student against the teacher on fresh frames of one temperature.

    Attributes
    ----------
    temperature_K : float
    n_frames : int
    forces_mae_meV_per_A, forces_rms_meV_per_A : float
        Error, and size of the teacher's forces.
    coverage_95 : float or None
        Force components inside the bars announced before.
    energy_mae_meV_per_atom : float or None
    """

    temperature_K: float
    n_frames: int
    forces_mae_meV_per_A: float
    forces_rms_meV_per_A: float
    coverage_95: float | None
    energy_mae_meV_per_atom: float | None

    @classmethod
    def of(cls, temperature: float, figures: Evaluation) -> FreshFigures:
        """From an evaluation in eV and A."""
        energy = figures.energy_mae_per_atom
        return cls(
            temperature,
            figures.n_frames,
            1000 * figures.forces_mae,
            1000 * figures.forces_rms,
            figures.forces_coverage_95,
            None if energy is None else 1000 * energy,
        )


@dataclass(frozen=True, eq=False)
class Distilled:
    """A finished distillation.

    Attributes
    ----------
    settings : DistilSettings
    directory : Path
    model : Path
        The student.
    learned : CampaignResult
    fresh : tuple of FreshFigures
    labels : tuple of LabelledFrame
        The fresh frames with the teacher's labels and what the student had announced.
    n_labels, n_relaxation, n_fresh : int
        What the teacher computed.
    seconds : float
        Of this call.
    interrupted : bool
        A signal came: the same command goes on.
    """

    settings: DistilSettings
    directory: Path
    model: Path
    learned: CampaignResult
    fresh: tuple[FreshFigures, ...] = ()
    labels: tuple[LabelledFrame, ...] = ()
    n_labels: int = 0
    n_relaxation: int = 0
    n_fresh: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "teacher": self.settings.teacher,
            "model": str(self.model),
            "n_labels": self.n_labels,
            "n_relaxation": self.n_relaxation,
            "n_fresh": self.n_fresh,
            "seconds": self.seconds,
            "fresh": [asdict(each) for each in self.fresh],
            "interrupted": self.interrupted,
        }


def distil(
    settings: DistilSettings,
    method: ReferenceSettings,
    directory: str | Path,
    *,
    reference: Reference | None = None,
    tell: Callable[[str], None] = logger.info,
) -> Distilled:
    """Distil a teacher into a Bayesian force field, or continue.

    Parameters
    ----------
    settings : DistilSettings
    method : ReferenceSettings
        The teacher.
    directory : path
    reference : Reference, optional
        The teacher as an object; `method` is then only noted.
    tell : callable
        Gets progress in lines.

    Raises
    ------
    ConfigError
        The directory holds another distillation, or the teacher cannot label the crystal.
    DataError
        The structure cannot be read, or another process uses the directory.
    RelaxationError, NumericsError, LabelError
        A step failed; what is there stays.
    """
    began, home = time.perf_counter(), Path(directory)
    unit, matrix = _cells(settings)  # before anything is written
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(home, error) from error
    with ExitStack() as stack:
        lock = RunLock(home)
        stack.callback(lock.release)
        _claim(home, settings)
        teacher = reference
        if teacher is None:
            teacher = make_reference(method.engine, directory=home / "reference", isolated=True, **method.arguments())
            stack.callback(teacher.close)
        interrupt = stack.enter_context(Interruptible())
        teacher.check(build_supercell(unit, matrix.tolist())[0])
        n_relaxation = 0
        if settings.relax:
            unit, relaxed = relax(
                unit,
                matrix,
                teacher,
                RelaxSettings(),
                RelaxationFiles(home / "relaxation"),
                retries=1,
                interrupted=lambda: interrupt.requested,
                tell=tell,
            )
            n_relaxation = relaxed.n_labels
        if not (home / "structure.extxyz").exists():
            write_frames(home / "structure.extxyz", unit)
        campaign = campaign_of(settings, method, home, matrix)
        learned = learn(campaign, reference=teacher, progress=PlainProgress(tell))
        base = Distilled(settings, home, learned.model_file, learned, n_labels=learned.n_labels)
        if learned.reason is StopReason.INTERRUPTED or interrupt.requested:
            return _interrupted(base, began)
        if learned.exit_code:
            raise NumericsError(f"the teacher could not be learned: {learned.summary()}")
        try:
            labels = fresh_labels(campaign, home, teacher, lambda: interrupt.requested, tell)
        except Interrupted:
            return _interrupted(base, began)
    done = Distilled(
        settings,
        home,
        learned.model_file,
        learned,
        fresh=tuple(_figures(temperature, labels) for temperature in settings.temperatures_K),
        labels=tuple(labels),
        n_labels=learned.n_labels,
        n_relaxation=n_relaxation,
        n_fresh=len(labels),
        seconds=time.perf_counter() - began,
    )
    write_text_atomic(home / RESULT, json.dumps(done.as_dict(), indent=1) + "\n")
    return done


def _interrupted(base: Distilled, began: float) -> Distilled:
    return Distilled(
        base.settings,
        base.directory,
        base.model,
        base.learned,
        n_labels=base.n_labels,
        seconds=time.perf_counter() - began,
        interrupted=True,
    )


def _claim(home: Path, settings: DistilSettings) -> None:
    """Note the settings of a new distillation, or check that the existing one is the same."""
    path, text = home / SETTINGS, json.dumps(asdict(settings), indent=1, default=str) + "\n"
    if path.exists():
        old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        for key in new:
            if old.get(key) != new[key] and key != "structure":
                raise ConfigError(
                    f"{home} holds a distillation with another {key}: {old.get(key)}, not {new[key]}; give another directory"
                )
        return
    if any(not entry.name.startswith(".") for entry in home.iterdir()):
        raise ConfigError(f"{home} holds files, but no distillation; give another directory")
    write_text_atomic(path, text)


def _cells(settings: DistilSettings) -> tuple[Atoms, np.ndarray]:
    from trepid.data.supercells import suggested_supercells

    unit = bare_copy(read_structure(Path(settings.structure)))
    require_start(unit)
    if settings.supercell is not None:
        return unit, build_supercell(unit, settings.supercell)[1]
    return unit, np.array(suggested_supercells(unit)[0].matrix)


def campaign_of(settings: DistilSettings, method: ReferenceSettings, home: Path, matrix: np.ndarray) -> RoundsCampaign:
    """The campaign that trains the student."""
    rounds = -(-(settings.labels - FIRST_FRAMES) // PER_ROUND)
    return RoundsCampaign.model_validate(
        {
            "structure": {"file": str(home / "structure.extxyz"), "supercell": matrix.tolist()},
            "mode": "rounds",
            "reference": method.model_dump(mode="json"),
            "start": {"kind": "displaced", "n": FIRST_FRAMES},
            "walkers": {
                "temperatures_K": list(settings.temperatures_K),
                "duration_ps": settings.duration_ps,
                "timestep_fs": settings.timestep_fs,
                "equilibrate_ps": 0.2 * settings.duration_ps,
                "engine": settings.engine.value,
            },
            "acquisition": {"labels_per_round": PER_ROUND},
            "rounds": {"max_rounds": rounds, "max_labels": settings.labels},
            "output": {"directory": str(home / "run")},
            "seed": settings.seed,
        }
    )


def fresh_labels(
    campaign: RoundsCampaign,
    home: Path,
    teacher: Reference,
    interrupted: Callable[[], bool],
    tell: Callable[[str], None],
) -> list[LabelledFrame]:
    """Walk on the finished student, announce evenly spaced frames, and have the teacher label them."""
    model = campaign.output.directory / "model.trepid"
    folder = home / "fresh"
    folder.mkdir(exist_ok=True)
    walkers, run = campaign.walkers, campaign.output.directory
    trained = LabelStore(run / "labels").read_all()
    limits = SanityLimits(walkers.max_temperature_factor, walkers.max_force_eV_per_A, walkers.min_distance_factor)
    requests: list[LabelRequest] = []
    potential = _load(model)
    for k, temperature in enumerate(walkers.temperatures_K):
        job = WalkJob(
            model_file=model,
            crystal_file=run / "rounds" / "crystal.extxyz",
            output=folder / f"walk-{k:02d}.npz",
            round=0,
            walker=k,
            seed=(campaign.seed, 11, k),
            parameters=walk_parameters(walkers, temperature),
            n_steps=walkers.n_steps,
            check_every=walkers.check_every,
            limits=limits,
            max_candidates=4,
            keep=Keep.FIRST,
            measure=UncertaintyMeasure.FORCE_MAX,
            untrusted_eV_per_A=walkers.untrusted_fraction * typical_force(trained),
            untrusted_steps=round(1000 * walkers.untrusted_ps / walkers.timestep_fs),
            member=None,
            bias=None,
            force_constants=None,
            load=_load,
        )
        run_walk(job, interrupted, potential=potential)
        walk = read_walk(job.output)
        frames = np.flatnonzero(walk.equilibrium(walkers.equilibrate_ps))
        if len(frames) < FRESH_FRAMES:
            raise NumericsError(
                f"the student's walk at {temperature:g} K ended after {walk.summary.time_ps:.2f} ps "
                f"({walk.summary.message or 'too short'}); give more labels or lower temperatures"
            )
        crystal = read_frames(job.crystal_file, require=())[0]
        for place in frames[np.linspace(0, len(frames) - 1, FRESH_FRAMES).round().astype(int)]:
            atoms = crystal.copy()
            atoms.set_positions(walk.positions[place].astype(np.float64))
            step = int(walk.steps[place])
            origin = Origin(Reason.RANDOM, step, step * walkers.timestep_fs, temperature, round=0)
            requests.append(LabelRequest(len(requests) + 1, atoms, origin, _announce(potential, atoms)))
    with closing(Ledger(folder / "ledger.jsonl")) as ledger:
        labeller = Labeller(teacher, InlineExecutor(), LabelStore(folder / "labels"), ledger, 1, interrupted, tell)
        return [label for label in labeller.label(requests) if label is not None]


def _load(path: Path) -> Potential:
    from trepid.potentials import load_potential

    return load_potential(path)


def _announce(potential: Potential, atoms: Atoms) -> Callable[[], PriorPrediction]:
    return lambda: PriorPrediction(potential.predict(atoms, uncertainty=Uncertainty.EXACT), potential.noise)


def _figures(temperature: float, labels: Sequence[LabelledFrame]) -> FreshFigures:
    own = [label for label in labels if label.origin.target_temperature_K == temperature]
    compared = compare_before_training(own)
    if compared is None:
        raise NumericsError(f"the teacher could label none of the fresh frames at {temperature:g} K")
    return FreshFigures.of(temperature, summarise(compared))
