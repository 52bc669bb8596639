"""Packages that need an environment of their own, and where its Python interpreter is.

The packages require incompatible versions of others, so each has a separate environment; trepid runs a worker script under
its interpreter. Searched in this order: the `python` setting, the environment variable TREPID_<NAME>_PYTHON, the interpreter of
$XDG_DATA_HOME/trepid/backends/<name> (default ~/.local/share), and the running interpreter if the package is installed beside
trepid.
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

WORKERS = Path(__file__).parent / "scripts"
_VERSION = (
    "import importlib.util as u, importlib.metadata as m, sys; "
    "assert u.find_spec(sys.argv[1]); print(m.version(sys.argv[2]))"
)


@dataclass(frozen=True)
class Package:
    """A package in an environment of its own, and the script that works with it there.

    Attributes
    ----------
    name : str
        Of the environment: what campaign files call the backend or engine.
    module : str
        Import name.
    distribution : str
        Name for pip.
    version : str
        Version that the script was written for.
    script : str
        Worker script, a file in `scripts/`.
    beside : tuple of str
        What else the script needs, names for pip.
    """

    name: str
    module: str
    distribution: str
    version: str
    script: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """Interpreter and script of a worker, and the only foundation model that it may read, which is a pickle."""

    backend: str
    python: str
    script: str
    foundation_model: str | None = None


def environment_with(
    package: Package, *, python: str | None = None, foundation_model: str | None = None
) -> Environment:
    """Interpreter and script of a package.

    Parameters
    ----------
    package : Package
    python : str, optional
        The interpreter; default: the one that `find_python` finds.
    foundation_model : str, optional
        See `Environment`.

    Raises
    ------
    BackendError
        There is none; the message gives the commands to install it.
    """
    own = python or find_python(package)
    if own is None:
        commands = " && ".join(install_commands(package))
        raise BackendError(
            f"backend {package.name} is not installed: set {variable(package)} to the Python of its environment, or run {commands}"
        )
    if not os.access(own, os.X_OK):
        raise BackendError(f"the Python of backend {package.name}, {own}, does not exist or cannot be run")
    return Environment(package.name, own, str(WORKERS / package.script), foundation_model)


def find_python(package: Package) -> str | None:
    """Interpreter of a package's environment, or None; found, not run."""
    if given := os.environ.get(variable(package)):
        return given
    own = home(package) / "bin" / "python"
    if own.is_file():
        return str(own)
    return sys.executable if find_spec(package.module) else None


def variable(package: Package) -> str:
    """Environment variable that names the interpreter."""
    return f"TREPID_{package.name.upper()}_PYTHON"


def home(package: Package) -> Path:
    """Folder of the environment that `install_commands` makes."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "trepid" / "backends" / package.name


def install_commands(package: Package) -> tuple[str, ...]:
    """Shell commands that make the environment of a package."""
    folder = home(package)
    return (
        f"python3 -m venv {folder}",
        f"{folder}/bin/pip install torch",
        " ".join([f"{folder}/bin/pip install {package.distribution}=={package.version}", *package.beside]),
    )


@cache
def installed_version(package: Package, python: str) -> str:
    """Version of a package under an interpreter; the package is found, not imported.

    Raises
    ------
    BackendError
        The interpreter cannot be run or does not have the package.
    """
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


def where_installed(package: Package) -> str:
    """Version of a package and the interpreter that has it, in a few words.

    Raises
    ------
    BackendError
        There is none.
    """
    python = find_python(package)
    if python is None:
        raise BackendError("no environment found")
    return f"{installed_version(package, python)} under {python}"


def how_to_install(package: Package) -> str:
    """The commands, and the other way."""
    return f"{' && '.join(install_commands(package))} (or set {variable(package)} to the Python that has it)"
