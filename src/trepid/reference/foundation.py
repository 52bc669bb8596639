"""Foundation potentials whose weights are in a package from pip, as references: SevenNet-0 and CHGNet.

They stand in for the density functional that they were trained on, at a small fraction of its cost. Each is loaded once, in the
environment of its package (`trepid.workers`); its labels are tested not to depend on the frames before (`trepid.reference.loaded`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ase import Atoms
from ase.data import chemical_symbols

from trepid.data.frames import Labels
from trepid.errors import BackendError, ConfigError
from trepid.reference.base import FailureReason, LabelError, Reference, has_stress
from trepid.reference.calculator import voigt
from trepid.reference.engine import Availability, Engine
from trepid.reference.loaded import LoadedEngine
from trepid.workers.environments import (
    Environment,
    Package,
    environment_with,
    how_to_install,
    installed_version,
    where_installed,
)
from trepid.workers.process import WorkerDied, WorkerProcess, as_arrays


@dataclass(frozen=True)
class FoundationModel:
    """A trained model that comes with its package.

    Attributes
    ----------
    name : str
        As the package and campaign files call it.
    method : str
        What its labels are: the functional and the data that it was trained on.
    n_parameters : int or None
        None where it was not counted.
    """

    name: str
    method: str
    n_parameters: int | None = None


@dataclass(frozen=True)
class Foundation:
    """Facts about a foundation potential, for `trepid doctor` and docs/references.md.

    Attributes
    ----------
    title : str
    package : Package
    licence : str
        Of code and weights.
    models : tuple of FoundationModel
        The first is the default.
    seconds_per_label, seconds_to_load : float
        CPU time on one core: energy, forces and stress of 64 atoms; start and load.
    """

    title: str
    package: Package
    licence: str
    models: tuple[FoundationModel, ...]
    seconds_per_label: float
    seconds_to_load: float

    @property
    def role(self) -> str:
        """One line about it."""
        return (
            f"{self.title}, foundation potential as reference ({self.models[0].method}; {self.licence}; about "
            f"{self.seconds_per_label:g} s per label of 64 atoms and {self.seconds_to_load:g} s to load)"
        )


@dataclass(frozen=True)
class _Loaded:
    """The worker that has loaded the model, and the process that started it: a fork must not use it."""

    worker: WorkerProcess
    engine: LoadedEngine
    elements: frozenset[int]
    process: int


class FoundationReference(Reference):
    """A foundation potential as a reference.

    Parameters
    ----------
    model : str, optional
        One of the models that the package brings; default: the first.
    device : str
        As torch names it: "cpu", "cuda".
    stress : bool
        Compute the stress of frames that have a volume.
    python : str, optional
        Interpreter of the environment with the package; default: as `trepid doctor` shows.

    Raises
    ------
    ConfigError
        There is no such model.
    BackendError
        The package is not installed; the message has the commands. From `label`: the model cannot be loaded.
    """

    foundation: ClassVar[Foundation]

    def __init__(
        self, *, model: str | None = None, device: str = "cpu", stress: bool = True, python: str | None = None
    ) -> None:
        facts = self.foundation
        known = [each.name for each in facts.models]
        self.model = known[0] if model is None else model
        if self.model not in known:
            raise ConfigError(f"{self.name}: model is {model!r}; the package brings {', '.join(known)}")
        self.device, self.stress = device, stress
        self._environment: Environment = environment_with(facts.package, python=python)
        self._version = installed_version(facts.package, self._environment.python)
        self._loaded: _Loaded | None = None

    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and model."""
        return {"engine": self.name, "version": self._version, "model": self.model}

    def close(self) -> None:
        """End the worker."""
        if self._loaded is not None and self._loaded.process == os.getpid():
            self._loaded.worker.close()
        self._loaded = None

    def _compute(self, atoms: Atoms) -> Labels:
        loaded = self._loaded
        if loaded is None or loaded.process != os.getpid():
            self._loaded = None
            loaded = self._load()
        missing = sorted(set(atoms.numbers.tolist()) - loaded.elements)
        if missing:
            self._loaded = loaded
            raise ConfigError(f"{self.name}: {self.model} does not know {chemical_symbols[missing[0]]}")
        self._loaded = None  # until it has given a label: one that failed is not used again
        try:
            labels = loaded.engine.labels(atoms)
        except BaseException:
            loaded.worker.close()
            raise
        self._loaded = loaded
        return labels

    def _load(self) -> _Loaded:
        worker = WorkerProcess(self._environment)
        try:
            header, _ = worker.request("load", model=self.model, device=self.device)
        except BaseException:
            worker.close()
            raise
        engine = LoadedEngine(self.name, partial(self._label, worker), remedy="please report it")
        return _Loaded(worker, engine, frozenset(int(number) for number in header["elements"]), os.getpid())

    def _label(self, worker: WorkerProcess, atoms: Atoms) -> Labels:
        stress = self.stress and has_stress(atoms)
        arrays = as_arrays(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        try:
            _, found = worker.request("label", arrays, stress=stress)
        except WorkerDied as error:
            raise LabelError(FailureReason.CRASHED, f"{self.name}: {error}") from error
        except BackendError as error:
            raise LabelError(FailureReason.CRASHED, f"{self.name}: failed: {error}") from error
        strained = found.get("stress")
        return Labels(
            energy=float(found["energy"][0]),
            forces=found["forces"],
            stress=None if strained is None else voigt(strained),
        )

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process loads its own."""
        return {**self.__dict__, "_loaded": None}


_MATERIALS_PROJECT = "PBE, with +U as in the Materials Project"


class SevenNetReference(FoundationReference):
    """SevenNet-0 (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)) and its relatives."""

    name = "sevennet"
    foundation = Foundation(
        title="SevenNet-0",
        package=Package("sevennet", "sevenn", "sevenn", "0.13.0", "sevennet_worker.py"),
        licence="MIT",
        models=(
            FoundationModel("7net-0", _MATERIALS_PROJECT, 842_623),
            FoundationModel("7net-0_22May2024", _MATERIALS_PROJECT, 842_623),
            FoundationModel("7net-l3i5", _MATERIALS_PROJECT),
        ),
        seconds_per_label=1.1,
        seconds_to_load=15,
    )


class CHGNetReference(FoundationReference):
    """CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031 (2023))."""

    name = "chgnet"
    foundation = Foundation(
        title="CHGNet",
        package=Package("chgnet", "chgnet", "chgnet", "0.4.2", "chgnet_worker.py"),
        licence="modified BSD",
        models=(
            FoundationModel("0.3.0", _MATERIALS_PROJECT, 412_525),
            FoundationModel("0.2.0", _MATERIALS_PROJECT),
            FoundationModel("r2scan", "r2SCAN"),
        ),
        seconds_per_label=0.5,
        seconds_to_load=8,
    )


def _engine(kind: type[FoundationReference]) -> Engine:
    package = kind.foundation.package
    probe = partial(where_installed, package)
    found = Availability(kind.foundation.role, probe, False, how_to_install(package))
    return Engine(kind.name, kind, package=package.distribution, availability=found, environment=package)


SEVENNET, CHGNET = _engine(SevenNetReference), _engine(CHGNetReference)
