"""A better method beside teacher and student: their errors against it on a few frames, and a correction learned from these.

The correction is a small Bayesian force field of the difference better minus teacher. Whether it helps is measured by leaving
every checked frame out in turn. Where it does, the labels of the teacher plus the correction are a second training set, with the
better labels themselves, and the corrected student is trained on it: one model file like any other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.arrays import FloatArray
from trepid.config.reference import ReferenceSettings
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import LabelKeys, bare_copy, write_frames
from trepid.data.lock import RunLock
from trepid.dynamics.interrupt import Interruptible
from trepid.errors import ConfigError, NumericsError
from trepid.execution import InlineExecutor
from trepid.labelling.case import LabelRequest
from trepid.labelling.labeller import Labeller
from trepid.potentials import load_potential
from trepid.potentials.base import Potential, Uncertainty
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.sizes import Sizes
from trepid.quantities import Z_95
from trepid.reference import make_reference
from trepid.runs.label_files import LabelledFrame, LabelStore
from trepid.runs.ledger import Ledger
from trepid.screening.distil import Distilled

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.reference.base import Reference

logger = logging.getLogger(__name__)

LEAST_FRAMES = 3
"""Checked frames without which nothing is corrected."""
KEYS = LabelKeys()


@dataclass(frozen=True)
class Against:
    """Errors of one method against the better one, on the checked frames.

    Attributes
    ----------
    forces_mae_meV_per_A : float
    forces_rms_meV_per_A : float
        Size of the better method's forces.
    per_species_meV_per_A : mapping of str to float
    energy_meV_per_atom : float or None
        Mean absolute error of energy differences between the frames: zeros of energy differ between methods.
    slope : float
        Of its forces over the better ones: below 1 it is too soft.
    """

    forces_mae_meV_per_A: float
    forces_rms_meV_per_A: float
    per_species_meV_per_A: dict[str, float]
    energy_meV_per_atom: float | None
    slope: float


@dataclass(frozen=True)
class Checked:
    """What the better method says.

    Attributes
    ----------
    engine : str
    n_frames, n_failed : int
    teacher, student : Against
    coverage_95 : float
        Share of the better method's force components inside the student's 95 % bars: these are bars against the teacher.
    corrected : Against or None
        Student plus correction, every frame left out in turn; None where no correction was asked for.
    kept : bool
        Whether the corrected student was written.
    """

    engine: str
    n_frames: int
    n_failed: int
    teacher: Against
    student: Against
    coverage_95: float
    corrected: Against | None = None
    kept: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class CheckedFrame:
    """One frame with the forces (eV/A) and energies (eV) of all three; `better` and `label` are the label files."""

    label: LabelledFrame
    better: LabelledFrame
    student: FloatArray
    student_energy: float


def chosen_frames(distilled: Distilled, n: int) -> list[LabelledFrame]:
    """Checked frames: evenly from the fresh ones, so that every temperature has its share."""
    labels = distilled.labels
    if not 1 <= n <= len(labels):
        raise ConfigError(f"{n} frames to check: 1 to {len(labels)}, the number of fresh frames, are possible")
    return [labels[k] for k in np.linspace(0, len(labels) - 1, n).round().astype(int)]


def check_with(
    distilled: Distilled,
    method: ReferenceSettings,
    n: int,
    *,
    correct: bool = False,
    reference: Reference | None = None,
    tell: Callable[[str], None] = logger.info,
) -> tuple[Checked, list[CheckedFrame]]:
    """Label a few fresh frames with a better method, and compare; what is labelled is on disk, and adopted next time.

    Parameters
    ----------
    distilled : Distilled
    method : ReferenceSettings
        The better method.
    n : int
        Frames.
    correct : bool
        Learn the difference, and write corrected.trepid where it helps on frames left out.
    reference : Reference, optional
        The better method as an object.
    tell : callable
        Gets progress in lines.

    Raises
    ------
    ConfigError
        It cannot label the crystal, or too few frames are asked for.
    NumericsError
        It failed on all of them.
    Interrupted
        A signal came.
    """
    if correct and n < LEAST_FRAMES:
        raise ConfigError(f"a correction needs {LEAST_FRAMES} checked frames or more, not {n}")
    frames = chosen_frames(distilled, n)
    folder = distilled.directory / "check" / method.engine
    with ExitStack() as stack:
        lock = RunLock(distilled.directory)
        stack.callback(lock.release)
        better = reference
        if better is None:
            better = make_reference(method.engine, directory=folder / "reference", isolated=True, **method.arguments())
            stack.callback(better.close)
        better.check(frames[0].atoms)
        interrupt = stack.enter_context(Interruptible())
        ledger = stack.enter_context(closing(Ledger(_made(folder) / "ledger.jsonl")))
        labeller = Labeller(
            better, InlineExecutor(), LabelStore(folder / "labels"), ledger, 1, lambda: interrupt.requested, tell
        )
        # By the number of the fresh frame, so that more frames next time keep what is there.
        found = labeller.label([LabelRequest(f.number, bare_copy(f.atoms), f.origin) for f in frames])
        student = load_potential(distilled.model)
        checked = [_beside(frame, label, student) for frame, label in zip(frames, found, strict=True) if label]
        if not checked:
            raise NumericsError(f"{method.engine} labelled none of the {n} frames")
        result = _compare(method.engine, checked, n - len(checked))
        if correct:
            result = _corrected(distilled, result, checked, tell)
    write_text_atomic(folder / "result.json", json.dumps(result.as_dict(), indent=1) + "\n")
    return result, checked


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _beside(frame: LabelledFrame, better: LabelledFrame, student: Potential) -> CheckedFrame:
    predicted = student.predict(bare_copy(frame.atoms), uncertainty=Uncertainty.NONE)
    return CheckedFrame(frame, better, predicted.forces, predicted.energy)


def _compare(engine: str, checked: Sequence[CheckedFrame], n_failed: int) -> Checked:
    inside = []
    for each in checked:
        prediction, noise = each.label.prediction, each.label.noise
        if prediction is not None and prediction.forces_uncertainty is not None and noise is not None:
            bar = np.hypot(prediction.forces_uncertainty, noise.forces)
            inside.append((np.abs(prediction.forces - each.better.forces) <= Z_95 * bar).ravel())
    return Checked(
        engine=engine,
        n_frames=len(checked),
        n_failed=n_failed,
        teacher=against(checked, [c.label.forces for c in checked], [c.label.labels.energy for c in checked]),
        student=against(checked, [c.student for c in checked], [c.student_energy for c in checked]),
        coverage_95=float(np.mean(np.concatenate(inside))) if inside else float("nan"),
    )


def against(checked: Sequence[CheckedFrame], forces: Sequence[FloatArray], energies: Sequence[float | None]) -> Against:
    """Errors of forces and energy differences against the better method."""
    truth = np.concatenate([c.better.forces for c in checked])
    error = np.concatenate(list(forces)) - truth
    symbols = np.array([s for c in checked for s in c.label.atoms.get_chemical_symbols()])
    known = [c.better.labels.energy for c in checked]
    pairs = [(e, b, len(c.label.atoms)) for e, b, c in zip(energies, known, checked, strict=True)]
    per_atom = np.array([(e - b) / n for e, b, n in pairs if e is not None and b is not None])
    return Against(
        1000 * float(np.abs(error).mean()),
        1000 * float(np.sqrt(np.mean(truth**2))),
        {str(name): 1000 * float(np.abs(error[symbols == name]).mean()) for name in np.unique(symbols)},
        1000 * float(np.abs(per_atom - per_atom.mean()).mean()) if per_atom.size > 1 else None,
        float((np.concatenate(list(forces)) * truth).sum() / (truth**2).sum()),
    )


def _corrected(
    distilled: Distilled, result: Checked, checked: Sequence[CheckedFrame], tell: Callable[[str], None]
) -> Checked:
    """Leave every frame out in turn; write the corrected student where that helps."""
    differences = [_difference(each) for each in checked]
    forces, energies = [], []
    for k, each in enumerate(checked):
        tell(f"correction: frame {k + 1} of {len(checked)} left out")
        model = _fit(distilled, [d for j, d in enumerate(differences) if j != k])
        predicted = model.predict(bare_copy(each.label.atoms), uncertainty=Uncertainty.NONE)
        forces.append(each.student + predicted.forces)
        energies.append(each.student_energy + predicted.energy)
    left_out = against(checked, forces, energies)
    helps = left_out.forces_mae_meV_per_A < result.student.forces_mae_meV_per_A
    if helps:
        tell("the correction helps on frames left out: the corrected student is trained")
        _train_corrected(distilled, _fit(distilled, differences), checked)
    return Checked(**{**_fields(result), "corrected": left_out, "kept": helps})


def _fields(result: Checked) -> dict[str, Any]:
    names = ("engine", "n_frames", "n_failed", "teacher", "student", "coverage_95")
    values = (result.engine, result.n_frames, result.n_failed, result.teacher, result.student, result.coverage_95)
    return dict(zip(names, values, strict=True))


def _difference(each: CheckedFrame) -> Atoms:
    """The frame with better minus teacher as its labels."""
    ours, theirs = each.label.labels, each.better.labels
    frame = bare_copy(each.label.atoms)
    frame.arrays[KEYS.forces] = each.better.forces - each.label.forces
    if ours.energy is not None and theirs.energy is not None:
        frame.info[KEYS.energy] = theirs.energy - ours.energy
    return frame


def _fit(distilled: Distilled, frames: Sequence[Atoms]) -> BayesianForceField:
    """The difference: pairs and triplets as in the student, trained on forces and energies."""
    student = BayesianForceField.load(distilled.model)
    sizes = Sizes.of(student.basis)
    model = BayesianForceField(
        student.species,
        pair_cutoff=sizes.pair_cutoff,
        triplet_cutoff=sizes.triplet_cutoff,
        n_pair=sizes.n_pair,
        n_radial=sizes.n_radial,
        l_max=sizes.l_max,
    )
    model.fit(list(frames))
    return model


def _train_corrected(distilled: Distilled, correction: BayesianForceField, checked: Sequence[CheckedFrame]) -> None:
    """Relabel the training set of the student, add the better labels, and train."""
    relabelled = []
    for label in LabelStore(distilled.directory / "run" / "labels").read_all():
        predicted = correction.predict(bare_copy(label.atoms), uncertainty=Uncertainty.NONE)
        frame = bare_copy(label.atoms)
        frame.arrays[KEYS.forces] = label.forces + predicted.forces
        if label.labels.energy is not None:
            frame.info[KEYS.energy] = label.labels.energy + predicted.energy
        relabelled.append(frame)
    better = []
    for each in checked:
        frame = bare_copy(each.better.atoms)
        frame.arrays[KEYS.forces] = each.better.forces
        if each.better.labels.energy is not None:
            frame.info[KEYS.energy] = each.better.labels.energy
        better.append(frame)
    frames = [*relabelled, *better]
    write_frames(distilled.directory / "corrected.extxyz", frames)
    correction.save(distilled.directory / "correction.trepid")
    model = _fit(distilled, frames)
    model.save(distilled.directory / "corrected.trepid")
