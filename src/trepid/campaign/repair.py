"""Damaged files of a run that can be made again: they are set aside, and the run goes on.

Labels are what costs, and nothing here touches them. A model is trained anew from the labels. MD on the fly starts again from
the crystal, with the model as it is. The files of a round follow from the settings, the seed and the earlier ones: those
that are damaged, and the record of their round, are set aside, so that the next pass through the round makes them again
from what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.campaign.start import has_phonopy, read_harmonic
from trepid.campaign.training import PotentialFactory
from trepid.data.arrays import load_arrays, structure_digest
from trepid.data.atomic import set_aside
from trepid.data.frames import read_frames
from trepid.errors import DataError, ModelFileError
from trepid.potentials.base import Potential
from trepid.runs.checkpoint import WalkerState, load_checkpoint
from trepid.runs.directory import RunPaths
from trepid.runs.round_files import RoundFiles, RoundRecord, Selection
from trepid.runs.walk_files import candidates_file, read_walk

if TYPE_CHECKING:
    from ase import Atoms

Tell = Callable[[str], None]


def load_or_create(factory: PotentialFactory, model: Path, tell: Tell) -> Potential:
    """The potential of a run on the fly; an untrained one where there is no model, or a damaged one, which is set aside."""
    if model.exists():
        try:
            return factory.load(model)
        except (ModelFileError, DataError) as error:
            tell(f"{_line(error)}; now {set_aside(model).name}, and the model is trained anew from the labels")
    return factory.create()


def retrain_without(changed: set[int], paths: RunPaths) -> None:
    """Set models aside that were trained on labels which are other ones now, so that they are trained anew.

    In rounds: those from the first round with such a label on, with the records of these rounds.
    """
    if not changed:
        return
    aside, affected = [paths.model], False
    for number in count():
        files = RoundFiles(paths.path, number)
        if not files.path.is_dir():
            break
        affected = affected or not _made_without(files, changed)
        aside += [files.model, files.record] if affected else []
    for path in aside:
        if path.exists():
            set_aside(path, suffix="old")


def _made_without(files: RoundFiles, labels: set[int]) -> bool:
    """Whether a round is complete and has none of these labels."""
    try:
        return files.record.exists() and not labels & set(RoundRecord.read(files.record).labels)
    except DataError:
        return False


def usable_checkpoint(paths: RunPaths, tell: Tell) -> WalkerState | None:
    """The checkpoint of a run on the fly; None where there is none, or a damaged one, which is set aside.

    What trace and trajectory had is set aside with it, as *.old.
    """
    try:
        return load_checkpoint(paths.state)
    except DataError as error:
        names = [set_aside(paths.state).name]
        names += [set_aside(path, suffix="old").name for path in (paths.trace, paths.trajectory) if path.exists()]
        tell(
            f"{_line(error)}; MD starts again from the crystal, with all labels and the model; what it had is now in "
            f"{', '.join(names)}"
        )
        return None


def sound_rounds(
    paths: RunPaths, crystal: Atoms, factory: PotentialFactory, tell: Tell, *, n_initial: int = 0
) -> list[RoundRecord]:
    """Records of the complete rounds before the first one that has to be made again, wholly or in part.

    Parameters
    ----------
    paths : RunPaths
    crystal : Atoms
    factory : PotentialFactory
        Reads models.
    tell : callable
        Gets a line about every file that is set aside.
    n_initial : int
        Initial frames that the ledger knows.
    """
    _keep_if(paths.rounds / "crystal.extxyz", lambda path: _is(path, crystal), tell)
    records: list[RoundRecord] = []
    while True:
        files = RoundFiles(paths.path, len(records))
        if not files.path.is_dir():
            return records
        record = _sound_record(files, crystal, tell, n_initial)
        last = not RoundFiles(paths.path, len(records) + 1).record.exists()
        # Models of earlier rounds are not needed any more, nor are walks of complete ones.
        if record is None or last:
            sound = _keep_if(files.model, lambda path: factory.load(path).close(), tell)
            if record is not None and not sound:
                _redo(files, tell)
                record = None
        if record is None:
            _check_walks(files, tell)
            return records
        records.append(record)


def _sound_record(files: RoundFiles, crystal: Atoms, tell: Tell, n_initial: int) -> RoundRecord | None:
    """The record of a round; None where it is not complete, or a file that is needed later is damaged."""
    sound = [
        _keep_if(files.selection, Selection.read, tell),
        _keep_if(files.selected, lambda path: _has_all(path, files, n_initial), tell),
        not has_phonopy() or _keep_if(files.harmonic, lambda path: read_harmonic(path, crystal), tell),
        _keep_if(files.record, RoundRecord.read, tell),
    ]
    if files.number and not (sound[0] and sound[1]):  # they are made together
        for path in (files.selection, files.selected):
            if path.exists():
                set_aside(path, suffix="old")
    if all(sound):
        return RoundRecord.read(files.record) if files.record.exists() else None
    if files.record.exists():
        _redo(files, tell)
    return None


def _check_walks(files: RoundFiles, tell: Tell) -> None:
    """Set aside the damaged walks of a round that is not complete."""
    for path in files.walks():
        # The archive first: it is read whole, and its check sums are compared.
        if _keep_if(path, load_arrays, tell) and not _keep_if(path, read_walk, tell) and candidates_file(path).exists():
            set_aside(candidates_file(path))


def _redo(files: RoundFiles, tell: Tell) -> None:
    """Set the record of a round aside: the next pass goes through it again, and computes what is missing."""
    set_aside(files.record, suffix="old")
    tell(f"round {files.number} is made again from the files that are left")


def _keep_if(path: Path, read: Callable[[Path], object], tell: Tell) -> bool:
    """Set a file aside where reading it fails; True where it is sound, or not there."""
    if not path.exists():
        return True
    try:
        read(path)
    except (DataError, ModelFileError) as error:
        tell(f"{_line(error)}; now {set_aside(path).name}, and made again")
        return False
    return True


def _has_all(path: Path, files: RoundFiles, n_initial: int) -> None:
    """Raise DataError where a file of selected frames lacks some."""
    n_frames = len(read_frames(path, require=()))
    needed = n_initial if files.number == 0 else 0
    if files.number and files.selection.exists():
        needed = len(Selection.read(files.selection).picks)
    if n_frames < needed:
        raise DataError(f"{path}: holds {n_frames} of {needed} frames")


def _is(path: Path, crystal: Atoms) -> None:
    found = read_frames(path, require=())
    if len(found) != 1 or structure_digest(found[0]) != structure_digest(crystal):
        raise DataError(f"{path}: not the crystal of this run")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
