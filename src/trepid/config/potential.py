"""The model to train: the Bayesian force field, or a committee."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trepid.choices import PAIR_CUTOFF_A, TRIPLET_CUTOFF_A, Triplets
from trepid.config.base import Count, Number, Positive, Settings, is_missing, resolve


class PotentialSettings(Settings):
    """The Bayesian force field: cutoffs and resolution."""

    kind: Literal["bayesian"] = Field(
        default="bayesian", description="bayesian: the Bayesian force field; in mode rounds also committee."
    )
    pair_cutoff_A: Positive = Field(default=PAIR_CUTOFF_A, description="Range of the pair energy, A.")
    triplet_cutoff_A: Positive = Field(
        default=TRIPLET_CUTOFF_A, description="Range of both legs of a triplet, A; not above pair_cutoff_A."
    )
    n_pair: Annotated[int, Number, Field(ge=4)] = Field(default=20, description="Number of splines of a pair energy.")
    n_radial: Annotated[int, Number, Field(ge=4)] = Field(
        default=8, description="Number of radial splines of the three-body density."
    )
    l_max: Annotated[int, Number, Field(ge=0, le=8)] = Field(
        default=4, description="Highest Legendre degree of the triplet angle."
    )
    n_channels: Annotated[int, Number, Field(ge=0, le=3)] | None = Field(
        default=0,
        description="Channels of the quadruplets (four-body energies); 0: none; null: the labels decide, at optimisations of "
        "the hyperparameters with 6 labels or more, and again with twice as many.",
    )
    triplets: Triplets = Field(
        default=Triplets.AUTO,
        description="full: a triplet energy for every three species; mixed: from channels that mix the species, whose number "
        "does not grow with the cube of the species; auto: mixed from three species on.",
    )
    charges: dict[str, Annotated[float, Number]] | None = Field(
        default=None,
        description="Formal charge of every element, e, such as {Cu: 1, I: -1}: a Coulomb energy whose effective charges are "
        "these times a factor that training finds; null: no charges.",
    )

    @model_validator(mode="after")
    def _triplets_inside_pairs(self) -> PotentialSettings:
        if self.triplet_cutoff_A > self.pair_cutoff_A:
            raise ValueError(
                f"triplet_cutoff_A {self.triplet_cutoff_A:g} is above pair_cutoff_A {self.pair_cutoff_A:g}; lower it"
            )
        return self


class CommitteeSettings(Settings):
    """A committee: members trained on different subsets of the data and seeds; their spread is the uncertainty."""

    kind: Literal["committee"] = Field(
        description="committee: several potentials whose spread is the uncertainty; bayesian: the Bayesian force field."
    )
    backend: Literal["bayesian", "nequip", "so3krates", "mace", "script"] = Field(
        default="nequip",
        description="Kind of the members; `trepid doctor` lists the usable backends. script: a worker script of the user.",
    )
    members: Annotated[int, Number, Field(ge=2)] = Field(default=4, description="Number of members, two or more.")
    n_subsets: Count | None = Field(
        default=None, description="Number of different subsets of the data; one per member if absent."
    )
    subset_fraction: Annotated[float, Number, Field(gt=0, le=1)] = Field(
        default=0.9, description="Fraction of the labelled frames that a member is trained on."
    )
    validation_fraction: Annotated[float, Number, Field(ge=0, lt=1)] = Field(
        default=0.1,
        description="Fraction of the labelled frames used to stop the training of a network (early stopping).",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the backend, such as {r_max_A: 5.0, max_epochs: 200}; the backend's own defaults where "
        "absent. Paths (foundation_model, script) are relative to this file.",
    )

    @field_validator("settings")
    @classmethod
    def _resolve(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        settings = dict(value)
        for key in ("foundation_model", "script"):
            if settings.get(key) is not None:
                path = resolve(Path(str(settings[key])), info)
                if is_missing(path, info):
                    raise ValueError(
                        f"{key}: there is no such file ({path}); give a path relative to the campaign file"
                    )
                settings[key] = str(path)
        return settings


RoundsPotentialSettings: TypeAlias = Annotated[
    Union[PotentialSettings, CommitteeSettings],  # noqa: UP007 pydantic discriminates typing.Union
    Field(discriminator="kind"),
]
