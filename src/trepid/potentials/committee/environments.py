"""Python interpreters of the backends.

The packages require incompatible versions of others, so each has a separate environment; trepid runs a worker script under
its interpreter. Searched in this order: the `python` setting, the environment variable TREPID_<BACKEND>_PYTHON, the
interpreter of $XDG_DATA_HOME/trepid/backends/<backend> (default ~/.local/share), and the running interpreter if the package
is installed beside trepid.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trepid.errors import BackendError
from trepid.potentials.committee.settings import PACKAGES, Backend, NetworkSettings, ScriptSettings

WORKERS = Path(__file__).parent / "workers"
_VERSION = (
    "import importlib.util as u, importlib.metadata as m, sys; "
    "assert u.find_spec(sys.argv[1]); print(m.version(sys.argv[2]))"
)


NETWORKS = tuple(PACKAGES)


@dataclass(frozen=True)
class Environment:
    """Interpreter and script of a worker, and the only foundation model that it may read, which is a pickle."""

    backend: str
    python: str
    script: str
    foundation_model: str | None = None


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
    own = settings.python or find_python(backend)
    if own is None:
        commands = " && ".join(install_commands(backend))
        raise BackendError(
            f"backend {backend.value} is not installed: set {variable(backend)} to the Python of its environment, or run {commands}"
        )
    if not os.access(own, os.X_OK):
        raise BackendError(f"the Python of backend {backend.value}, {own}, does not exist or cannot be run")
    return Environment(backend.value, own, str(WORKERS / PACKAGES[backend].script), foundation)


def find_python(backend: Backend) -> str | None:
    """Interpreter of a backend's environment, or None; found, not run."""
    if given := os.environ.get(variable(backend)):
        return given
    own = home(backend) / "bin" / "python"
    if own.is_file():
        return str(own)
    return sys.executable if find_spec(PACKAGES[backend].module) else None


def variable(backend: Backend) -> str:
    """Environment variable that names the interpreter."""
    return f"TREPID_{backend.value.upper()}_PYTHON"


def home(backend: Backend) -> Path:
    """Folder of the environment that `install_commands` makes."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "trepid" / "backends" / backend.value


def install_commands(backend: Backend) -> tuple[str, ...]:
    """Shell commands that make the environment of a backend."""
    package, folder = PACKAGES[backend], home(backend)
    return (
        f"python3 -m venv {folder}",
        f"{folder}/bin/pip install torch",
        f"{folder}/bin/pip install {package.distribution}=={package.version} vesin pandas",
    )


@cache
def installed_version(backend: Backend, python: str) -> str:
    """Version of a backend's package under an interpreter; the package is found, not imported.

    Raises
    ------
    BackendError
        The interpreter cannot be run or does not have the package.
    """
    package = PACKAGES[backend]
    try:
        done = subprocess.run(
            [python, "-c", _VERSION, package.module, package.distribution],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{python} cannot be run: {error}") from error
    if done.returncode:
        raise BackendError(f"{package.distribution} is not installed under {python}")
    return done.stdout.strip()
