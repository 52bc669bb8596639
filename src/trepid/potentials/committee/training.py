"""Training one member: a picklable job, a module-level function that does it anywhere, a picklable result.

A job carries its frames and weights itself, so that it runs on another machine as well; only the backend's environment (and a
foundation model, where one is used) must be there.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from trepid.data import LabelKeys, attach_labels, labels_of
from trepid.data.extxyz import format_frame
from trepid.errors import BackendError, DataError, TrepidError
from trepid.potentials.base import Uncertainty
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.committee.residuals import Residuals
from trepid.potentials.committee.settings import BayesianSettings, ModelSettings, NetworkSettings
from trepid.workers.environments import Environment
from trepid.workers.process import WorkerProcess, as_arrays

KEYS = LabelKeys()


@dataclass(frozen=True)
class TrainingJob:
    """All that the training of one member needs.

    Attributes
    ----------
    member : int
    species : tuple of str
    settings : ModelSettings
    seed : int
    train, validation, held_out : str
        Frames as extended XYZ with labels under the default keys; `held_out` contains `validation`.
    n_known : int
        The first so many frames of `train` are those that `initial` was trained on.
    initial : bytes or None
        Model to start from.
    environment : Environment or None
        None for members in this process.
    """

    member: int
    species: tuple[str, ...]
    settings: ModelSettings
    seed: int
    train: str
    validation: str
    held_out: str
    n_known: int = 0
    initial: bytes | None = None
    environment: Environment | None = None


@dataclass(frozen=True)
class TrainingResult:
    """A trained member.

    Attributes
    ----------
    member : int
    model : bytes
        Model file.
    residuals : Residuals
        Over the held-out frames; over the training frames where none are held out.
    held_out : bool
        Whether they were held out.
    n_train, n_validation : int
    epochs : int
        0 where there is no such thing.
    wall_s : float
    compiled : bool
        Whether a network was trained by its compiled functions.
    """

    member: int
    model: bytes
    residuals: Residuals
    held_out: bool
    n_train: int
    n_validation: int
    epochs: int
    wall_s: float
    compiled: bool = False


def train_member(job: TrainingJob) -> TrainingResult:
    """Train one member.

    Raises
    ------
    BackendError
        The backend failed; the message names the member.
    DataError
        A frame cannot be used.
    """
    start = time.perf_counter()
    try:
        if isinstance(job.settings, BayesianSettings):
            model, residuals = _train_bayesian(job, job.settings)
            report: dict[str, Any] = {}
        else:
            model, report, residuals = _train_worker(job, job.settings)
    except TrepidError as error:
        raise type(error)(f"member {job.member}: {error}") from error
    return TrainingResult(
        member=job.member,
        model=model,
        residuals=residuals,
        held_out=bool(job.held_out),
        n_train=len(frames_of(job.train)),
        n_validation=len(frames_of(job.validation)),
        epochs=int(report.get("epochs", 0)),
        wall_s=time.perf_counter() - start,
        compiled=bool(report.get("compiled", False)),
    )


def _train_bayesian(job: TrainingJob, settings: BayesianSettings) -> tuple[bytes, Residuals]:
    frames = frames_of(job.train)
    if job.initial is None:
        member = BayesianForceField(
            job.species,
            pair_cutoff=settings.pair_cutoff_A,
            triplet_cutoff=settings.triplet_cutoff_A,
            n_pair=settings.n_pair,
            n_radial=settings.n_radial,
            l_max=settings.l_max,
            n_channels=0,
            live_rank=0,
            seed=job.seed,
            n_threads=1,
        ).fit(frames)
    else:
        member = load_bayesian(job.initial)
        if frames[job.n_known :]:
            member.update(frames[job.n_known :])
            if settings.optimize_on_update:
                member.optimize()
    residuals = Residuals()
    for atoms in frames_of(job.held_out) or frames:
        p = member.predict(atoms, uncertainty=Uncertainty.NONE)
        residuals = residuals.with_frame(labels_of(atoms), p.energy, p.forces, p.stress)
    return member.to_bytes(), residuals


def load_bayesian(model: bytes) -> BayesianForceField:
    """Bayesian force field from the bytes of its file."""
    return BayesianForceField.from_bytes(model, name="a member", n_threads=1)


def _train_worker(job: TrainingJob, settings: NetworkSettings) -> tuple[bytes, dict[str, Any], Residuals]:
    assert job.environment is not None
    with tempfile.TemporaryDirectory(prefix="trepid-") as folder:
        initial, output = Path(folder) / "initial", Path(folder) / "weights"
        if job.initial is not None:
            initial.write_bytes(job.initial)
        strong = _strong_force(job, settings)
        worker = WorkerProcess(job.environment)
        try:
            answer, _ = worker.request(
                "train",
                train=job.train,
                validation=job.validation,
                settings={**asdict(settings), "species": list(job.species)},
                strong_force_eV_per_A=strong,
                seed=job.seed,
                initial=None if job.initial is None else str(initial),
                output=str(output),
            )
            if not output.is_file():
                raise BackendError(
                    f"backend {job.environment.backend}: the worker reports a training but wrote no weights"
                )
            worker.request("load", member=job.member, path=str(output))
            residuals = Residuals()
            for atoms in frames_of(job.held_out) or frames_of(job.train):
                _, out = worker.request(
                    "evaluate",
                    as_arrays(atoms.numbers, atoms.positions, atoms.cell[:], atoms.pbc),
                    members=[job.member],
                    stress=bool(atoms.cell.rank == 3),
                )
                stress = out["stress"][0] if "stress" in out else None
                residuals = residuals.with_frame(
                    labels_of(atoms), float(out["energy"][0]), out["forces"][0], stress, strong=strong
                )
        finally:
            worker.close()
        return output.read_bytes(), answer["report"], residuals


def _strong_force(job: TrainingJob, settings: NetworkSettings) -> float:
    """Force beyond which labels weigh less, eV/A, from the typical frame; 0: all weigh the same."""
    if settings.strong_force == 0:
        return 0.0
    labelled = [labels_of(atoms).forces for atoms in frames_of(job.train)]
    forces = [float(np.sqrt(np.mean(f**2))) for f in labelled if f is not None]
    return float(settings.strong_force * np.median(forces)) if forces else 0.0


# ---- frames as text


def plain_frame(atoms: Atoms, keys: LabelKeys, where: str, require: Sequence[str]) -> Atoms:
    """Structure and labels under the default keys and nothing else.

    Raises
    ------
    DataError
        A required label is missing or not finite.
    """
    labels = labels_of(atoms, keys, where=where, require=require)
    if not labels.kinds:
        raise DataError(f"{where}: it has no label")
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc)
    return attach_labels(bare, labels, KEYS)


def text_of(frames: Iterable[Atoms]) -> str:
    """Frames as extended XYZ, every float exact."""
    return "".join(format_frame(atoms) for atoms in frames)


def frames_of(text: str) -> list[Atoms]:
    """The inverse of `text_of`."""
    if not text:
        return []
    frames = read(io.StringIO(text), format="extxyz", index=":")
    assert isinstance(frames, list)
    return frames
