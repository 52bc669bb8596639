"""One material of a screening, advanced by one round: structure, relaxation, campaign, record. Runs in a worker.

A campaign in rounds does the work: it makes the force constants and harmonic frames with the reference, learns, walks, counts
events and has their classes judged. The screening raises its maximum of rounds by one and runs the same campaign again.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.anharmonicity.finite_displacements import build_supercell
from trepid.arrays import IntArray
from trepid.campaign.learn import learn
from trepid.config import RoundsCampaign
from trepid.config.screening import MaterialSettings, ScreeningSettings
from trepid.data.atomic import append_bytes
from trepid.data.frames import bare_copy, read_structure, write_frames
from trepid.data.geometry import atoms_far_apart, require_start
from trepid.dynamics.interrupt import Interrupted, Interruptible
from trepid.dynamics.progress import PlainProgress
from trepid.errors import ConfigError, DataError, MachineError, NumericsError, TrepidError
from trepid.reference import make_reference
from trepid.reference.base import LabelError, Reference
from trepid.runs.ledger_events import StopReason
from trepid.screening.cells import choose_supercell, n_cells
from trepid.screening.effort import NO_MORE, Effort
from trepid.screening.prototypes import build
from trepid.screening.record import FailureCode, MaterialRecord, Status, record_of_run
from trepid.screening.relaxation import RelaxationError, RelaxationFiles, Relaxed, relax, spacegroup_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class MaterialFiles:
    """Files of one material."""

    directory: Path

    @property
    def structure(self) -> Path:
        """The primitive cell that the campaign starts from."""
        return self.directory / "structure.extxyz"

    @property
    def relaxation(self) -> RelaxationFiles:
        """Of the relaxation."""
        return RelaxationFiles(self.directory / "relaxation")

    @property
    def run(self) -> Path:
        """Run directory of the campaign."""
        return self.directory / "run"

    @property
    def record(self) -> Path:
        """The record after the latest turn."""
        return self.directory / "record.json"

    @property
    def log(self) -> Path:
        """Progress in lines."""
        return self.directory / "log.txt"


@dataclass(frozen=True)
class MaterialJob:
    """What a worker gets.

    Attributes
    ----------
    settings : ScreeningSettings
    name : str
        Of the material.
    directory : Path
        Of the material.
    turn : int
    rounds : int
        Rounds that it may have, those of earlier turns among them.
    effort : Effort
        Of the next round.
    """

    settings: ScreeningSettings
    name: str
    directory: Path
    turn: int
    rounds: int
    effort: Effort = NO_MORE

    @property
    def material(self) -> MaterialSettings:
        """Settings of the material."""
        return next(each for each in self.settings.materials if each.name == self.name)


def advance(job: MaterialJob) -> MaterialRecord:
    """Give a material its round, and write its record; a turn that is on record is not repeated.

    Raises
    ------
    Interrupted
        A signal came.
    MachineError
        The disk is full or broken: no fault of the material.
    """
    files = MaterialFiles(job.directory)
    if files.record.exists():
        known = MaterialRecord.read(files.record)
        if known.turn == job.turn:
            return known
    try:
        files.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make {files.directory}: {error.strerror}") from error
    record = MaterialRecord(job.name, job.material.elements, Status.OPEN, job.turn)
    try:
        record = _advance(job, files, record)
    except (MachineError, Interrupted):
        raise
    except TrepidError as error:
        record = failed(_so_far(files, record), _code_of(error), " ".join(str(error).split()))
    except Exception as error:
        _note(files.log, traceback.format_exc())
        message = f"{type(error).__name__}: {' '.join(str(error).split())} (traceback in {files.log.name})"
        record = failed(_so_far(files, record), FailureCode.DEFECT, message)
    record.write(files.record)
    return record


def failed(record: MaterialRecord, code: FailureCode, message: str) -> MaterialRecord:
    """The record of a material that is given up."""
    return replace(record, status=Status.FAILED, failure=code, message=message)


def unit_cell(material: MaterialSettings) -> Atoms:
    """Primitive cell of a prototype, or the structure of a file.

    Raises
    ------
    DataError, ConfigError
        It cannot be built or read, or no simulation can start from it.
    """
    if material.file is not None:
        atoms = bare_copy(read_structure(material.file))
    else:
        assert material.prototype is not None
        assert material.a is not None
        atoms = build(
            material.prototype,
            material.elements,
            a=material.a,
            c=material.c,
            x=material.x,
            z=material.z,
            where=material.name,
        )
    try:
        require_start(atoms)
    except DataError as error:
        raise DataError(f"{material.name}: {error}") from error
    return atoms


def supercell_of(material: MaterialSettings, unit: Atoms, settings: ScreeningSettings) -> IntArray:
    """Supercell matrix (3, 3) of a material: its own, or the one that the section cell chooses."""
    if material.supercell is None:
        return choose_supercell(unit, settings.cell, where=material.name)
    return build_supercell(unit, material.supercell)[1]


def campaign_of(
    settings: ScreeningSettings, files: MaterialFiles, matrix: IntArray, *, rounds: int, effort: Effort | None = None
) -> RoundsCampaign:
    """The campaign of a material, with so many rounds, the last of them with this effort."""
    dumped = settings.model_dump(mode="json")
    if effort is not None:
        dumped["walkers"]["duration_ps"] *= effort.longer
        if effort.fill:
            dumped["acquisition"] |= {"least_probability": 0.0, "floor_noise": 0.0}
    data = {key: dumped[key] for key in ("reference", "potential", "start", "walkers", "acquisition", "seed")}
    return RoundsCampaign.model_validate(
        {
            **data,
            "structure": {"file": str(files.structure), "supercell": matrix.tolist()},
            "mode": "rounds",
            "rounds": {**dumped["rounds"], "max_rounds": rounds},
            "output": {"directory": str(files.run)},
        }
    )


def _advance(job: MaterialJob, files: MaterialFiles, record: MaterialRecord) -> MaterialRecord:
    settings = job.settings
    view = PlainProgress(lambda line: _note(files.log, line + "\n"))
    unit = unit_cell(job.material)
    matrix = supercell_of(job.material, unit, settings)
    doubt = atoms_far_apart(unit, isolated=False)
    if doubt and not files.structure.exists():
        view.message(f"warning: {doubt}")
    reference = _reference_of(job)
    reference.check(build_supercell(unit, matrix.tolist())[0])
    record = replace(
        record,
        n_atoms=len(unit) * n_cells(matrix),
        supercell=tuple(tuple(int(x) for x in row) for row in matrix),
        spacegroup=spacegroup_of(unit),
    )
    crystal, relaxed = _relaxed(job, files, unit, matrix, reference, view.message)
    if not files.structure.exists():
        write_frames(files.structure, crystal)
    record = replace(record, volume_ratio=None if relaxed is None else relaxed.volume_ratio)
    campaign = campaign_of(settings, files, matrix, rounds=job.rounds, effort=job.effort)
    result = learn(campaign, reference=reference, progress=view)
    if result.reason is StopReason.INTERRUPTED:
        raise Interrupted
    assert settings.rounds.stop is not None
    record = record_of_run(record, files.run, relaxed, settings.start, settings.rounds.stop)
    if result.reason is StopReason.FAILURES:
        return failed(record, FailureCode.LABELS, result.message)
    if record.status is Status.OPEN and _exhausted(settings, record):
        record = replace(record, status=Status.EXHAUSTED)
    if record.status is Status.EXHAUSTED and record.sigma_a is None:
        return failed(record, FailureCode.UNSTABLE, f"no walk was long enough for sigma^A; {record.message}")
    return record


class _Kept(threading.local):
    """The reference of this worker, kept from material to material: what it has loaded serves the next one too."""

    settings: str = ""
    reference: Reference | None = None


_kept = _Kept()


def _reference_of(job: MaterialJob) -> Reference:
    """The reference of the screening, in a process of its own."""
    settings = job.settings.reference
    wanted = f"{job.directory.parent}\n{settings.model_dump_json()}"
    if _kept.reference is None or _kept.settings != wanted:
        release_reference()
        directory = job.directory.parent.parent / "reference" / f"{os.getpid()}"
        made = make_reference(settings.engine, directory=directory, isolated=True, **settings.arguments())
        _kept.reference, _kept.settings = made, wanted
    return _kept.reference


def release_reference() -> None:
    """End the process of the reference of this worker."""
    if _kept.reference is not None:
        _kept.reference.close()
    _kept.reference = None


def _exhausted(settings: ScreeningSettings, record: MaterialRecord) -> bool:
    """Whether the material has used its own maximum of rounds or labels."""
    limit = settings.rounds.max_labels
    return len(record.rounds) >= settings.rounds.max_rounds or (limit is not None and record.n_labels >= limit)


def _relaxed(
    job: MaterialJob,
    files: MaterialFiles,
    unit: Atoms,
    matrix: IntArray,
    reference: Reference,
    tell: Callable[[str], None],
) -> tuple[Atoms, Relaxed | None]:
    if job.settings.relax is None:
        return unit, None
    with Interruptible() as interrupt:
        return relax(
            unit,
            matrix,
            reference,
            job.settings.relax,
            files.relaxation,
            retries=job.settings.rounds.retries,
            interrupted=lambda: interrupt.requested,
            tell=tell,
        )


def _so_far(files: MaterialFiles, record: MaterialRecord) -> MaterialRecord:
    """With the labels that a failed material has cost."""
    relaxation = files.relaxation.directory / "labels"
    return replace(record, n_labels=_count(files.run / "labels"), n_relaxation=_count(relaxation))


def _count(folder: Path) -> int:
    from trepid.runs.label_files import label_numbers

    return len(label_numbers(folder))


def _code_of(error: TrepidError) -> FailureCode:
    if isinstance(error, RelaxationError):
        return FailureCode.RELAXATION
    if isinstance(error, LabelError):
        return FailureCode.LABELS
    if isinstance(error, NumericsError):
        return FailureCode.NUMERICS
    if isinstance(error, ConfigError):
        return FailureCode.SETTINGS
    return FailureCode.STRUCTURE


def _note(path: Path, text: str) -> None:
    append_bytes(path, text.encode("utf-8"))
