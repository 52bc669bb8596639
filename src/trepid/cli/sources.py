"""A model, or a method that computes forces, from a file on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.errors import UntrustedFileError

if TYPE_CHECKING:
    from trepid.anharmonicity.force_source import ForceSource

ENGINE_SUFFIXES = (".yaml", ".yml")


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
