"""Settings of a committee: how many members, the data of each, and what a member is.

Vocabulary
----------
member     one potential of the committee, trained on its own part of the data from its own random seed
subset     the frames that a member is trained on
held out   the frames that a member is not trained on: its validation frames (which stop the training) and the
           rest outside its subset
backend    what a member is: a Bayesian force field, or a neural network of another package

A new backend needs an entry of `Backend`, a settings class with its `backend` and `package`, a place in `KINDS`, and the worker
script that the package names; the campaign file (`trepid.config.potential`) offers it by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ClassVar, TypeAlias

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A
from trepid.errors import ConfigError
from trepid.workers.environments import Package


class Backend(str, Enum):
    """What the members are."""

    BAYESIAN = "bayesian"
    """Bayesian force fields of trepid, in this process."""
    NEQUIP = "nequip"
    SO3KRATES = "so3krates"
    MACE = "mace"
    SCRIPT = "script"
    """Any other potential, through a worker script of the user."""


_BESIDE = ("vesin", "pandas")
"""What the worker scripts and so3krates-torch need beside the package of a network."""


@dataclass(frozen=True)
class BayesianSettings:
    """Members that are Bayesian force fields; the names are those of `BayesianForceField`.

    Attributes
    ----------
    pair_cutoff_A, triplet_cutoff_A : float
    n_pair, n_radial, l_max : int
    optimize_on_update : bool
        After frames were added, maximise the evidence over the hyperparameters again, from the present ones.
    """

    backend: ClassVar[Backend] = Backend.BAYESIAN
    package: ClassVar[Package | None] = None
    precision: ClassVar[str] = "float64"
    """Of energies and forces in the C++ core."""

    pair_cutoff_A: float = PAIR_CUTOFF_A
    triplet_cutoff_A: float = TRIPLET_CUTOFF_A
    n_pair: int = 20
    n_radial: int = 8
    l_max: int = 4
    optimize_on_update: bool = True


@dataclass(frozen=True)
class NetworkSettings:
    """What all neural networks have in common. Defaults suit a laptop and 10 to 300 frames.

    Attributes
    ----------
    r_max_A : float
        Cutoff of one message, A; information travels `n_layers` times as far.
    l_max : int
        Highest degree of the spherical harmonics.
    n_layers, n_features : int
        Message passing layers; features per degree (NequIP, MACE) or in all (SO3krates).
    max_epochs, fine_tune_epochs : int
        Passes over the training frames, from scratch and from earlier weights.
    batch_size : int
        Frames per step.
    learning_rate, fine_tune_learning_rate : float
        At the start; falls along a cosine to a hundredth.
    patience : int
        Stop after so many epochs without a better validation loss.
    energy_weight, forces_weight, stress_weight : float
        Weights in the loss. Energies enter per square root of an atom, stresses as `stress * volume / sqrt(n_atoms)`, so
        that all three are of the size of a force times 1 A whatever the size of the frame; all over the mean squared force.
    strong_force : float
        In typical forces of the training frames (the median over frames of the root mean square component): labels of
        stronger forces weigh less, as 1 / (1 + (F / F_strong)^2) on each atom, energy and stress of a frame by its largest
        force. 0: all weigh the same.
    ema_decay : float
        Of the running average of the weights, which is what is kept.
    foundation_model : str, optional
        File of a trained model of the same package: the first training starts from it. Architecture settings are then
        its own. It must stay where it is: members keep the changed weights, and its check sum.
    device : str
        As torch names it: "cpu", "cuda".
    compile : bool
        Compile the network to machine code: a minute or two once per architecture and machine, then about ten times faster.
        Where there is no C++ compiler, and on devices other than "cpu", networks run uncompiled.
    python : str, optional
        Interpreter of the environment with the package; default as `trepid doctor` shows.
    """

    backend: ClassVar[Backend]
    package: ClassVar[Package | None] = None
    precision: ClassVar[str] = "float32"
    """Of the network in the worker scripts; sums over atoms are in float64."""

    r_max_A: float = 5.0
    l_max: int = 2
    n_layers: int = 3
    n_features: int = 16
    max_epochs: int = 200
    fine_tune_epochs: int = 100
    batch_size: int = 2
    learning_rate: float = 0.01
    fine_tune_learning_rate: float = 0.004
    patience: int = 60
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 0.0
    strong_force: float = 10.0
    ema_decay: float = 0.99
    foundation_model: str | None = None
    device: str = "cpu"
    compile: bool = True
    python: str | None = None


@dataclass(frozen=True)
class NequipSettings(NetworkSettings):
    """NequIP.

    Attributes
    ----------
    parity : bool
        Features of both parities.
    radial_width : int
        Hidden neurons of the radial networks.
    """

    backend: ClassVar[Backend] = Backend.NEQUIP
    package: ClassVar[Package | None] = Package(
        Backend.NEQUIP.value, "nequip", "nequip", "0.19.0", "nequip_worker.py", _BESIDE
    )

    l_max: int = 1
    n_layers: int = 2
    learning_rate: float = 0.05
    fine_tune_learning_rate: float = 0.02
    parity: bool = False
    radial_width: int = 32


@dataclass(frozen=True)
class So3kratesSettings(NetworkSettings):
    """SO3krates: the plain network, without its repulsion, electrostatics and dispersion.

    Attributes
    ----------
    n_heads : int
        Attention heads; divides `n_features`.
    n_radial : int
        Radial basis functions.
    """

    backend: ClassVar[Backend] = Backend.SO3KRATES
    package: ClassVar[Package | None] = Package(
        Backend.SO3KRATES.value, "so3krates_torch", "so3krates-torch", "0.2.1", "so3krates_worker.py", _BESIDE
    )

    n_layers: int = 2
    n_features: int = 32
    learning_rate: float = 0.01
    fine_tune_learning_rate: float = 0.004
    n_heads: int = 4
    n_radial: int = 16


@dataclass(frozen=True)
class MaceSettings(NetworkSettings):
    """MACE.

    Attributes
    ----------
    correlation : int
        Body order of a message less one.
    hidden_l_max : int
        Highest degree of the messages between layers; `l_max` is that of the spherical harmonics.
    radial_width : int
        Hidden neurons of the radial networks.
    """

    backend: ClassVar[Backend] = Backend.MACE
    package: ClassVar[Package | None] = Package(
        Backend.MACE.value, "mace", "mace-torch", "0.3.16", "mace_worker.py", _BESIDE
    )

    n_layers: int = 2
    learning_rate: float = 0.03
    fine_tune_learning_rate: float = 0.01
    correlation: int = 2
    hidden_l_max: int = 0
    radial_width: int = 32


@dataclass(frozen=True)
class ScriptSettings(NetworkSettings):
    """A worker script of the user; see `docs/committees.md` for its interface.

    Attributes
    ----------
    script : str
        Path of the worker script.
    options : dict
        Passed to the script unchanged.
    """

    backend: ClassVar[Backend] = Backend.SCRIPT
    precision: ClassVar[str] = "precision as the script has it"

    script: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Programs:
    """What the members of a committee run beside the package of their backend: code, and pickles, which are code as well.

    A file may name them, and only the user may have them run: `Committee.load` takes them from its caller.

    Attributes
    ----------
    python : str or None
        Interpreter.
    script : str or None
        Worker script of the backend `script`.
    foundation_model : str or None
        File of a trained model, read as a pickle.
    """

    python: str | None = None
    script: str | None = None
    foundation_model: str | None = None

    @classmethod
    def of(cls, settings: ModelSettings) -> Programs:
        """Those that the settings name; none for Bayesian force fields, which run in this process."""
        if isinstance(settings, BayesianSettings):
            return cls()
        script = settings.script if isinstance(settings, ScriptSettings) else None
        return cls(settings.python, script, settings.foundation_model)

    def in_settings(self, settings: ModelSettings) -> ModelSettings:
        """The settings with these programs instead of their own."""
        if isinstance(settings, BayesianSettings):
            return settings
        changed = replace(settings, python=self.python, foundation_model=self.foundation_model)
        return replace(changed, script=self.script or "") if isinstance(changed, ScriptSettings) else changed

    def __str__(self) -> str:
        named = {
            "script": self.script,
            "interpreter": self.python,
            "foundation model (a pickle)": self.foundation_model,
        }
        return ", ".join(f"{what} {path}" for what, path in named.items() if path is not None)


ModelSettings: TypeAlias = BayesianSettings | NequipSettings | So3kratesSettings | MaceSettings | ScriptSettings
KINDS: tuple[type[ModelSettings], ...] = (
    BayesianSettings,
    NequipSettings,
    So3kratesSettings,
    MaceSettings,
    ScriptSettings,
)
MODEL_SETTINGS: Mapping[Backend, type[ModelSettings]] = {kind.backend: kind for kind in KINDS}
PACKAGES: Mapping[Backend, Package] = {kind.backend: kind.package for kind in KINDS if kind.package is not None}
"""Backends that need a package of their own."""
_TEXTS = ("python", "script", "foundation_model", "device")
_MAY_BE_ZERO = ("l_max", "hidden_l_max", "energy_weight", "forces_weight", "stress_weight", "strong_force", "ema_decay")


@dataclass(frozen=True)
class CommitteeSettings:
    """A committee.

    Attributes
    ----------
    backend : Backend
        What the members are.
    n_members : int
    n_subsets : int, optional
        Number of different data subsets; member k has subset k modulo n_subsets and always a seed of its own. Default:
        one per member.
    subset_fraction : float
        Part of the frames that a member is trained on.
    validation_fraction : float
        Part of the frames that stop its training; disjoint from its subset.
    seed : int
        Of everything random.
    model : settings of the backend, optional
        Default: those of the backend with their defaults.

    Raises
    ------
    ConfigError
        A setting is out of range, or `model` is of another backend.
    """

    backend: Backend = Backend.BAYESIAN
    n_members: int = 4
    n_subsets: int | None = None
    subset_fraction: float = 0.9
    validation_fraction: float = 0.1
    seed: int = 0
    model: ModelSettings | None = None

    def __post_init__(self) -> None:
        known = ", ".join(b.value for b in Backend)
        try:
            object.__setattr__(self, "backend", Backend(self.backend))
        except ValueError as error:
            raise ConfigError(f"backend is {self.backend!r}; it must be one of {known}") from error
        if self.model is None:
            object.__setattr__(self, "model", MODEL_SETTINGS[self.backend]())
        if type(self.model) is not MODEL_SETTINGS[self.backend]:
            raise ConfigError(
                f"model is {type(self.model).__name__}; backend {self.backend.value} takes "
                f"{MODEL_SETTINGS[self.backend].__name__}"
            )
        if self.n_members < 1:
            raise ConfigError(f"n_members is {self.n_members}; a committee has at least 1, and 2 for an uncertainty")
        if self.n_subsets is not None and not 1 <= self.n_subsets <= self.n_members:
            raise ConfigError(f"n_subsets is {self.n_subsets}; it must be between 1 and n_members ({self.n_members})")
        if not 0 < self.subset_fraction <= 1:
            raise ConfigError(f"subset_fraction is {self.subset_fraction}; it must be above 0 and at most 1")
        if not 0 <= self.validation_fraction <= 1 - self.subset_fraction + 1e-12:
            raise ConfigError(
                f"validation_fraction is {self.validation_fraction}; with subset_fraction {self.subset_fraction} at most "
                f"{1 - self.subset_fraction:.3g} of the frames are left for it"
            )
        same = self.subset_fraction == 1 or self.n_subset_values < self.n_members
        if self.backend is Backend.BAYESIAN and self.n_members > 1 and same:
            raise ConfigError(
                "Bayesian force fields have no random start: members on the same frames would be the same. Take "
                "subset_fraction below 1 and leave n_subsets out"
            )
        self._check_model()

    @property
    def n_subset_values(self) -> int:
        """Number of different subsets."""
        return self.n_members if self.n_subsets is None else self.n_subsets

    def _check_model(self) -> None:
        for f in fields(self.model):  # type: ignore[arg-type]
            value = getattr(self.model, f.name)
            if f.name in _TEXTS and value is not None and not isinstance(value, str):
                raise ConfigError(f"{f.name} is {value!r}; it must be text")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not math.isfinite(value) or value < 0 or (value == 0 and f.name not in _MAY_BE_ZERO):
                raise ConfigError(f"{f.name} is {value}; it must be a positive number")
        if isinstance(self.model, NetworkSettings):
            if not 0 <= self.model.ema_decay < 1:
                raise ConfigError(f"ema_decay is {self.model.ema_decay}; it must be at least 0 and below 1")
            if self.model.energy_weight + self.model.forces_weight + self.model.stress_weight == 0:
                raise ConfigError(
                    "energy_weight, forces_weight and stress_weight are all 0; nothing would be trained on"
                )
        if isinstance(self.model, So3kratesSettings) and self.model.n_features % self.model.n_heads:
            raise ConfigError(f"n_heads is {self.model.n_heads}; it must divide n_features ({self.model.n_features})")
        if isinstance(self.model, ScriptSettings) and not self.model.script:
            raise ConfigError("backend script needs the path of a worker script: script")

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for a manifest."""
        return {**asdict(self), "backend": self.backend.value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CommitteeSettings:
        """The inverse of `as_dict`.

        Raises
        ------
        ConfigError
            An unknown name or a value out of range.
        """
        values = dict(values)
        try:
            backend = Backend(values.pop("backend", Backend.BAYESIAN))
            model = values.pop("model", None)
            return cls(backend=backend, model=None if model is None else MODEL_SETTINGS[backend](**model), **values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"settings of a committee: {error}") from error
