"""When a campaign on the fly labels a frame, and when it stops."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trepid.config.base import CheckLabels, Count, Number, Positive, Retries, Settings

LARGEST_SHARE = 0.1
"""A threshold in multiples of the typical error is at most this share of the rms force of an atom, so that it does not rise with
the misfit of a model that describes the forces badly. The threshold is for the least certain atom of a frame; most others are
two to three times as certain, which keeps the error near the 5 % of a good model (`trepid.verdict`)."""
DEFAULT_THRESHOLD_NOISE = 8.0
"""Default threshold, in multiples of the typical force error of the model."""

GAIN_NATS = 3.0
"""Hyperparameters are optimised again when that is expected to raise the logarithm of evidence times prior by more than
this: by a factor of 20."""


class LearningSettings(Settings):
    """When a frame is labelled, and when the run stops."""

    threshold_eV_per_A: Positive | None = Field(
        default=None,
        description="Label a frame when its force uncertainty exceeds this, eV/A. Give this or threshold_noise.",
    )
    threshold_noise: Positive | None = Field(
        default=None,
        description="The same as a multiple of the typical force error of the model (its error bar of a component on "
        f"frames like the training set), but at most {LARGEST_SHARE:g} times the rms force of an atom; "
        f"{DEFAULT_THRESHOLD_NOISE:g} when neither threshold is given.",
    )
    check_every: Count = Field(default=10, description="MD steps between two uncertainty checks.")
    uncertainty: Literal["exact", "live"] = Field(
        default="exact", description="exact: the full posterior; live: an estimate from a few directions, cheaper."
    )
    initial_frames: Count = Field(default=4, description="Displaced and strained crystals labelled before any MD.")
    initial_displacement_A: Positive = Field(
        default=0.05, description="Standard deviation of the random displacement of each coordinate in them, A."
    )
    initial_strain: Annotated[float, Number, Field(ge=0, le=0.1)] = Field(
        default=0.01, description="Largest strain component in every second of them, along periodic directions only."
    )
    max_labels: Count | None = Field(
        default=None, description="Maximum number of labels: the run stops when it needs one more. No limit if absent."
    )
    stop_after_ps_without_call: Positive | None = Field(
        default=None, description="Stop when the last stage has run for this long without a label, ps."
    )
    optimize_at: tuple[Count, ...] | None = Field(
        default=None,
        description="Numbers of labels at which the hyperparameters are optimised again; the first fit always optimises "
        f"them. If absent: when that is expected to raise the logarithm of evidence times prior by more than {GAIN_NATS:g}.",
    )
    on_failure: Literal["skip", "stop"] = Field(
        default="skip", description="When all attempts at a label have failed: skip the frame, or stop the run."
    )
    retries: Retries = 1
    check_labels: CheckLabels = True
    max_consecutive_failures: Count = Field(
        default=3, description="Number of consecutive failed frames after which the run stops."
    )
    max_force_eV_per_A: Positive = Field(
        default=15.0,
        description="A frame with a larger force on an atom is unphysical: it is discarded, and MD restarts from the last "
        "trusted frame, eV/A.",
    )
    max_temperature_factor: Annotated[float, Number, Field(gt=1)] = Field(
        default=5.0,
        description="A frame hotter than this times the target is unphysical: it is discarded, and MD restarts from the "
        "last trusted frame.",
    )
    min_distance_factor: Annotated[float, Number, Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="Two atoms closer than this times the sum of their covalent radii have fused: the frame is unphysical; it "
        "is discarded, and MD restarts from the last trusted frame.",
    )
    max_rewinds: Count = Field(default=5, description="Number of consecutive such restarts after which the run stops.")

    @model_validator(mode="before")
    @classmethod
    def _one_threshold(cls, value: Any) -> Any:
        if isinstance(value, dict):
            given = [key for key in ("threshold_eV_per_A", "threshold_noise") if value.get(key) is not None]
            if len(given) == 2:
                raise ValueError("threshold_eV_per_A and threshold_noise are both given; keep one of the two")
            if not given:
                return {**value, "threshold_noise": DEFAULT_THRESHOLD_NOISE}
        return value

    @model_validator(mode="after")
    def _budget_covers_the_start(self) -> LearningSettings:
        if self.max_labels is not None and self.max_labels < self.initial_frames:
            raise ValueError(
                f"max_labels {self.max_labels} does not cover initial_frames {self.initial_frames}; raise or lower one"
            )
        return self

    @field_validator("optimize_at")
    @classmethod
    def _rising(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and list(value) != sorted(set(value)):
            raise ValueError("give rising numbers of labels, such as [6, 10, 16, 24]")
        return value

    def threshold(self, typical_error: float, typical_force: float) -> float:
        """Force uncertainty above which a frame is labelled, eV/A.

        Parameters
        ----------
        typical_error, typical_force : float
            Of the model, eV/A: error bar of a force component on frames like the training set, and rms force of an atom.
        """
        if self.threshold_eV_per_A is not None:
            return self.threshold_eV_per_A
        assert self.threshold_noise is not None  # `_one_threshold` sees to it
        return min(self.threshold_noise * typical_error, LARGEST_SHARE * typical_force)

    def threshold_words(self, typical_error: float, typical_force: float) -> str:
        """Which of its terms the threshold is, in brackets; empty where it is a number of the settings."""
        if self.threshold_eV_per_A is not None:
            return ""
        assert self.threshold_noise is not None
        if self.threshold(typical_error, typical_force) == self.threshold_noise * typical_error:
            return f" ({self.threshold_noise:g} times that)"
        return f" ({100 * LARGEST_SHARE:g} % of the rms force of an atom)"
