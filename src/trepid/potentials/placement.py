"""Where a model runs: process, device, threads, precision, how often its error bar is there, and which programs run it.

One source for `trepid check`, `plan`, `doctor` and the report. What is said is taken from the settings and from the code that
acts on them; the tests compare it with what the code does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trepid.choices import Engine
from trepid.config import AnyCampaign, RoundsCampaign
from trepid.config.potential import CommitteeSettings as CampaignCommittee
from trepid.config.potential import PotentialSettings
from trepid.errors import BackendError
from trepid.potentials.committee.environments import environment_of
from trepid.potentials.committee.settings import Backend, BayesianSettings, CommitteeSettings, NetworkSettings
from trepid.workers.process import worker_threads

if TYPE_CHECKING:
    from pathlib import Path

LIVE_PRECISION = "float32"
"""Of the sums of the live error bar (native/kernel_live.h)."""
CORE_PROGRAMS = "PyTorch on CPU and GPU (trepid.torch)"


@dataclass(frozen=True)
class Placement:
    """Where a model runs.

    Attributes
    ----------
    process : str
        In which process, under which interpreter.
    device : str
        "cpu", or as torch names it.
    threads : str
        At most, as OMP_NUM_THREADS has it.
    precision : str
        Of energies and forces.
    bar : str
        The force uncertainty in molecular dynamics.
    engines : tuple of Engine
        Of molecular dynamics.
    programs : str
        Others that run it; empty for none.
    """

    process: str
    device: str
    threads: str
    precision: str
    bar: str
    engines: tuple[Engine, ...]
    programs: str = ""

    @property
    def dynamics(self) -> str:
        """Molecular dynamics, in words."""
        return "ASE and LAMMPS" if Engine.LAMMPS in self.engines else "ASE only: LAMMPS cannot run it"

    def rows(self) -> list[tuple[str, str]]:
        """All of it, for a table."""
        rows = [
            ("process", self.process),
            ("device", self.device),
            ("threads", f"at most {self.threads} (OMP_NUM_THREADS)"),
            ("precision", self.precision),
            ("error bar in molecular dynamics", self.bar),
            ("molecular dynamics", self.dynamics),
        ]
        return [*rows, ("other programs", self.programs)] if self.programs else rows

    def text(self) -> str:
        """All of it, in one line."""
        programs = f"; other programs: {self.programs}" if self.programs else ""
        threads = "one thread" if self.threads == 1 else f"up to {self.threads} threads"
        return (
            f"{self.process}; on the {self.device}, {threads}, {self.precision}; force uncertainty {self.bar}; "
            f"molecular dynamics in {self.dynamics}{programs}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "process": self.process,
            "device": self.device,
            "threads": self.threads,
            "precision": self.precision,
            "error_bar": self.bar,
            "engines": [engine.value for engine in self.engines],
            "programs": self.programs,
        }


def core_threads() -> str:
    """Threads of the C++ core at most; it takes fewer for small crystals."""
    from trepid import _native

    return str(_native.max_threads())


def placement_of_force_field() -> Placement:
    """The Bayesian force field."""
    return Placement(
        process="this process (C++ core)",
        device="cpu",
        threads=core_threads(),
        precision=BayesianSettings.precision,
        bar=f"live at every step (sums in {LIVE_PRECISION})",
        engines=(Engine.ASE, Engine.LAMMPS),
        programs=CORE_PROGRAMS,
    )


def placement_of_committee(settings: CommitteeSettings) -> Placement:
    """A committee: its members in this process, or in a worker process under the interpreter of their package."""
    model, n = settings.model, settings.n_members
    assert model is not None
    bar = f"from the spread of all {n} members, at {n} times the cost of one (no live bar)"
    if isinstance(model, BayesianSettings):
        return Placement(
            process=f"this process (C++ core), {n} members one after the other",
            device="cpu",
            threads=core_threads(),
            precision=model.precision,
            bar=bar,
            engines=(Engine.ASE,),
        )
    return Placement(
        process=f"one worker process for all {n} members ({_interpreter(settings.backend, model)})",
        device=model.device,
        threads=worker_threads(os.environ),
        precision=model.precision,
        bar=bar,
        engines=(Engine.ASE,),
    )


def placement_of_settings(settings: PotentialSettings | CampaignCommittee) -> Placement:
    """The potential of a campaign."""
    if isinstance(settings, CampaignCommittee):
        return placement_of_committee(member_settings(settings, seed=0))
    return placement_of_force_field()


def placement_of_campaign(campaign: AnyCampaign) -> Placement:
    """The potential of a campaign, with the force uncertainty as the campaign looks at it."""
    placement = placement_of_settings(campaign.potential)
    if isinstance(campaign, RoundsCampaign):
        kind, every = "exact", campaign.walkers.check_every
    else:
        kind, every = campaign.learning.uncertainty, campaign.learning.check_every
    steps = "at every MD step" if every == 1 else f"every {every} MD steps"
    if isinstance(campaign.potential, CampaignCommittee):
        return replace(placement, bar=f"{steps}, {placement.bar}")
    return replace(placement, bar=f"{steps} ({kind})")


def placement_of_file(path: str | Path) -> Placement:
    """A model file; nothing that it names is run.

    Raises
    ------
    ModelFileError
        It is missing, or damaged.
    """
    from trepid.potentials.committee.committee_file import is_committee_file, read_committee

    return (
        placement_of_committee(read_committee(path).settings) if is_committee_file(path) else placement_of_force_field()
    )


def member_settings(settings: CampaignCommittee, *, seed: int) -> CommitteeSettings:
    """The committee that a campaign file asks for.

    Raises
    ------
    ConfigError
        A setting is out of range.
    """
    values: Mapping[str, Any] = {
        "backend": settings.backend,
        "n_members": settings.members,
        "n_subsets": settings.n_subsets,
        "subset_fraction": settings.subset_fraction,
        "validation_fraction": settings.validation_fraction,
        "seed": seed,
        "model": dict(settings.settings),
    }
    return CommitteeSettings.from_dict(values)


def _interpreter(backend: Backend, model: NetworkSettings) -> str:
    try:
        return environment_of(backend, model).python
    except BackendError:
        return f"{backend.value} is not installed here: trepid doctor"
