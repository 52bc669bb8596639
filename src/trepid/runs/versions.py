"""Versions of what computes a run: Python, packages beside trepid, and networks in environments of their own."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from trepid.config.potential import CommitteeSettings, RoundsPotentialSettings
from trepid.config.reference import ReferenceSettings
from trepid.potentials.committee.settings import PACKAGES, Backend
from trepid.reference import ENGINES
from trepid.workers.environments import Package, find_python, installed_version

_PACKAGES = ("trepid", "numpy", "scipy", "ase", "vesin")


def versions_now(
    reference: ReferenceSettings | None = None, potential: RoundsPotentialSettings | None = None
) -> dict[str, str]:
    """Versions of Python, the packages that compute, and the machine type.

    Parameters
    ----------
    reference : ReferenceSettings, optional
        The version of a foundation potential is asked in its own environment.
    potential : RoundsPotentialSettings, optional
        That of the members of a committee too.
    """
    found = {"python": sys.version.split()[0], "platform": platform.platform(), "cpus": str(os.cpu_count())}
    for package in dict.fromkeys((*_PACKAGES, *(engine.package for engine in ENGINES.values()))):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if reference is not None and (own := ENGINES[reference.engine].environment) is not None:
        found |= _elsewhere(own, reference.arguments().get("python"))
    if isinstance(potential, CommitteeSettings) and (member := PACKAGES.get(Backend(potential.backend))) is not None:
        found |= _elsewhere(member, potential.settings.get("python"))
    return found


def _elsewhere(package: Package, python: str | None) -> dict[str, str]:
    """Version of a package in its own environment; nothing where there is none: the run itself will say so."""
    interpreter = python or find_python(package)
    return {} if interpreter is None else {package.distribution: installed_version(package, interpreter)}
