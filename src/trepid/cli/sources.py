"""A model, or a method that computes forces, from a file on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trepid.cli.output import say
from trepid.errors import ExitCode, UntrustedFileError

if TYPE_CHECKING:
    from trepid.anharmonicity.force_source import ForceSource
    from trepid.config import ReferenceSettings
    from trepid.reference import Reference

ENGINE_SUFFIXES = (".yaml", ".yml")


@contextmanager
def labelling(
    directory: Path, settings: ReferenceSettings, *, kind: str
) -> Iterator[tuple[Reference, Callable[[], bool]]]:
    """A folder of labels (`trepid.labelling.folder`) with its reference, and whether a signal has come.

    An interruption in the block is told, and ends the command with its exit code.

    Raises
    ------
    ConfigError, DataError
        As `label_folder` and `make_reference`.
    """
    from trepid.dynamics.interrupt import Interrupted, Interruptible
    from trepid.labelling.folder import label_folder
    from trepid.reference import make_reference

    with Interruptible() as interrupt, label_folder(directory, kind=kind) as folder:
        reference = make_reference(
            settings.engine, directory=folder / "reference", isolated=True, **settings.arguments()
        )
        try:
            yield reference, lambda: interrupt.requested
        except Interrupted:
            say("interrupted; the same command goes on")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        finally:
            reference.close()


@contextmanager
def force_source(path: Path, *, trust: bool) -> Iterator[ForceSource]:
    """Model of trepid (.trepid), or the method that a file with a section `reference` names; closed at the end.

    Raises
    ------
    UntrustedFileError
        The file names code, and is not trusted.
    ConfigError, ModelFileError
        The file cannot be read.
    """
    if path.suffix not in ENGINE_SUFFIXES:
        from trepid.potentials import load_potential

        yield load_potential(path, trust=trust)
        return
    from trepid.config.engine_file import load_engine
    from trepid.reference import ENGINES, make_reference

    settings, _ = load_engine(path)
    code = ENGINES[settings.engine].code_in(settings.arguments())
    if code is not None and not trust:
        raise UntrustedFileError(f"{path} names {code}; --trust runs it")
    # In this process: thousands of forces, without a time limit for each.
    reference = make_reference(
        settings.engine, **{key: value for key, value in settings.arguments().items() if key != "timeout_s"}
    )
    try:
        yield reference
    finally:
        reference.close()
