"""User errors: one line each, with the input, the value found and what would be right.

The command line catches `TrepidError`, prints its message and exits with its code; anything else is a defect of trepid
and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EFBIG}
"""Errors of the file system that have nothing to do with what the user gave."""


class ExitCode(IntEnum):
    """What the command line returns."""

    DONE = 0
    PROBLEMS = 1
    """Done, and `check` or `doctor` found a problem."""
    INPUT = 2
    """A wrong command, setting or input file."""
    NUMERICS = 3
    """A computation failed numerically."""
    UNTRUSTED = 4
    """A simulation was stopped: force uncertainty above the threshold, or unstable."""
    LABELS = 5
    """The reference failed, and the campaign could not continue without the label."""
    BACKEND = 6
    """Another program is missing or ended unexpectedly: the package of a committee's members, a worker process."""
    MACHINE = 7
    """The machine failed: the disk is full or broken, or the memory is used up. With room again the same command continues."""
    INTERRUPTED = 130
    """Interrupted by a signal; the same command started again resumes."""


class TrepidError(Exception):
    """Base of every user error. `exit_code` is what the command line returns for it."""

    exit_code: int = ExitCode.INPUT


class ConfigError(TrepidError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(TrepidError):
    """A structure or label file is missing, unreadable, incomplete or not finite."""


class MachineError(DataError):
    """The machine failed: the disk is full or broken, or the memory is used up."""

    exit_code = ExitCode.MACHINE


class ModelFileError(TrepidError):
    """A model file is missing, truncated, of another format or of an unknown version."""


class DamagedModelError(ModelFileError):
    """A model file is cut off, or its content is not what was written: its check sum differs, or its parts do not fit."""


class UntrustedFileError(ModelFileError):
    """A file names a program or a pickle of its own, and may run it only with the user's consent (`--trust`)."""


def no_model_file(path: str | Path) -> ModelFileError:
    """The error for a model file that is not there; of a run directory it names the model in it."""
    path = Path(path)
    if not path.exists():
        return ModelFileError(f"model file {path} does not exist")
    found = [name for name in ("model.trepid", "run/model.trepid") if (path / name).is_file()]
    advice = f"; its model is {path / found[0]}" if found else ""
    return ModelFileError(f"model file {path} is {'a folder, ' if path.is_dir() else ''}not a file{advice}")


def unknown_elements(unknown: Iterable[str], known: Iterable[str]) -> DataError:
    """The error for elements that a model does not describe."""
    *several, last = sorted(unknown)
    told = f"elements {', '.join(several)} and {last} are" if several else f"element {last} is"
    return DataError(f"{told} unknown to this model, which describes {', '.join(known)}")


class NumericsError(TrepidError):
    """A computation failed numerically (singular matrix, overflow); its result would be meaningless."""

    exit_code = ExitCode.NUMERICS


class UntrustedError(TrepidError):
    """A simulation was stopped because its force uncertainty exceeded the threshold, or it became unstable."""

    exit_code = ExitCode.UNTRUSTED


class BackendError(TrepidError):
    """A program that trepid runs (the package of a committee's members, ...) is missing, failed or ended unexpectedly."""

    exit_code = ExitCode.BACKEND


def is_machine_failure(error: OSError) -> bool:
    """Whether an error of the operating system is a failure of the machine, such as a full disk."""
    return error.errno in _MACHINE


def cannot_write(path: str | Path, error: OSError) -> DataError:
    """The error of a file that could not be written: MachineError for a full or broken disk, else DataError."""
    reason = error.strerror or str(error)
    if is_machine_failure(error):
        return MachineError(f"cannot write {path}: {reason}")
    if not Path(path).parent.is_dir():
        reason = f"the folder {Path(path).parent} does not exist"
    return DataError(f"cannot write {path}: {reason}")
