"""Interpreters and scripts of the backends (`trepid.workers.environments`)."""

from __future__ import annotations

import sys
from pathlib import Path

from trepid.errors import BackendError
from trepid.potentials.committee.settings import PACKAGES, Backend, NetworkSettings, ScriptSettings
from trepid.workers.environments import Environment, environment_with

NETWORKS = tuple(PACKAGES)


def environment_of(backend: Backend, settings: NetworkSettings) -> Environment:
    """Interpreter and script of a backend.

    Raises
    ------
    BackendError
        There is none; the message gives the commands to install it.
    """
    foundation = None if settings.foundation_model is None else str(Path(settings.foundation_model).resolve())
    if isinstance(settings, ScriptSettings):
        if not Path(settings.script).is_file():
            raise BackendError(f"worker script {settings.script} does not exist")
        python, script = settings.python or sys.executable, str(Path(settings.script).resolve())
        return Environment(backend.value, python, script, foundation)
    return environment_with(PACKAGES[backend], python=settings.python, foundation_model=foundation)
