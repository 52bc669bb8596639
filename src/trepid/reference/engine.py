"""What an engine declares: its name in campaign files, its class, and what `trepid doctor` tests.

One declaration per engine stands at the end of its module; `trepid.reference.ENGINES` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trepid.reference.base import Reference
from trepid.workers.environments import Package


@dataclass(frozen=True)
class Availability:
    """How to find out whether the program behind an engine can be used on this machine.

    Attributes
    ----------
    role : str
        What it is for, in a few words.
    probe : callable
        Loads it, or runs it for a moment, and returns its version; raises anything where it cannot be used.
    needed : bool
        Without it trepid does not do its main job.
    remedy : str
        How to install it.
    """

    role: str
    probe: Callable[[], str]
    needed: bool
    remedy: str


def no_code(parameters: Mapping[str, Any]) -> None:
    """Nothing of these parameters is code."""


@dataclass(frozen=True)
class Engine:
    """A reference method that campaign files can name.

    Attributes
    ----------
    name : str
        As `reference.engine`; the settings class with this tag is in `trepid.config.reference`.
    reference : type of Reference
        Its keyword arguments are the settings of the engine; `directory`, where it takes one, is that of its files.
    package : str
        Distribution whose version belongs to the record of a run.
    availability : Availability or None
        None where `trepid doctor` has nothing of its own to test.
    environment : Package or None
        The package, where it has an environment of its own (`trepid.workers`).
    code_in : callable
        Of its parameters: what they name that would run when the reference is made or checked, in a few words; None where they
        name no code. Runs nothing of it itself, and raises ConfigError for what is seen to be wrong without running it.
    """

    name: str
    reference: type[Reference]
    package: str
    availability: Availability | None = None
    environment: Package | None = None
    code_in: Callable[[Mapping[str, Any]], str | None] = no_code
