"""A campaign: all settings of `trepid learn`, one class per mode."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from trepid.acquisition.choices import Strategy
from trepid.acquisition.uncertainty import MEASURES
from trepid.config.base import Natural, Positive, SettingsFile
from trepid.config.dynamics import DynamicsSettings
from trepid.config.learning import LearningSettings
from trepid.config.output import OutputSettings, RoundsOutputSettings
from trepid.config.potential import PotentialSettings, RoundsPotentialSettings
from trepid.config.reference import REFERENCE_SETTINGS, ReferenceSettings, TBLiteSettings, engine_of
from trepid.config.rounds import (
    AcquisitionSettings,
    DisplacedStart,
    ExecutionSettings,
    RoundSettings,
    StartSettings,
    WalkerSettings,
)
from trepid.config.structure import StructureSettings

_MODE = (
    "on-the-fly: one trajectory; a frame of high force uncertainty is labelled and trained on at once | rounds: many "
    "trajectories; then a batch of their frames is selected, labelled and trained on."
)
_WEIGHTS = (
    "Weights of the labels in training by the config_type of their frames; of frames without one by the reason of the label "
    "(initial, uncertainty, event, probe, ...), such as {initial: 0.5}. A label of weight 4 counts as four; 1 where none is given."
)
*_FIRST, _LAST = (engine_of(settings) for settings in REFERENCE_SETTINGS)
_ENGINES = f"Reference method that computes the labels: engine {', '.join(_FIRST)} or {_LAST}."


class _Campaign(SettingsFile):
    """Settings of both modes."""

    @model_validator(mode="before")
    @classmethod
    def _default_output(cls, value: Any) -> Any:
        # Add the section, so that its default folder too is taken relative to the campaign file.
        if isinstance(value, dict) and value.get("output") is None:
            return {**value, "output": {}}
        return value


class Campaign(_Campaign):
    """A campaign on the fly."""

    structure: StructureSettings = Field(description="The crystal to start from: a path, or file and supercell.")
    mode: Literal["on-the-fly"] = Field(default="on-the-fly", description=_MODE)
    reference: ReferenceSettings = Field(default_factory=TBLiteSettings, description=_ENGINES)
    potential: PotentialSettings = Field(default_factory=PotentialSettings, description="The model to train.")
    dynamics: DynamicsSettings = Field(description="Molecular dynamics on the model.")
    learning: LearningSettings = Field(
        default_factory=lambda: LearningSettings.model_validate({}),
        description="When a frame is labelled, and when the run stops.",
    )
    weights: dict[str, Positive] = Field(default_factory=dict, description=_WEIGHTS)
    output: OutputSettings = Field(
        default_factory=lambda: OutputSettings.model_validate({}), description="Where the run is kept."
    )
    seed: Natural = Field(default=0, description="Seed of every random number of the campaign.")


class RoundsCampaign(_Campaign):
    """A campaign in rounds."""

    structure: StructureSettings = Field(description="The crystal to start from: a path, or file and supercell.")
    mode: Literal["rounds"] = Field(description=_MODE)
    reference: ReferenceSettings = Field(default_factory=TBLiteSettings, description=_ENGINES)
    potential: RoundsPotentialSettings = Field(
        default_factory=PotentialSettings, description="The model to train: kind bayesian, or committee."
    )
    start: StartSettings = Field(default_factory=DisplacedStart, description="The initial frames of the campaign.")
    walkers: WalkerSettings = Field(
        default_factory=WalkerSettings,
        description="Molecular dynamics on the model; its frames are the candidates for labels.",
    )
    acquisition: AcquisitionSettings = Field(
        default_factory=AcquisitionSettings,
        description="How frames are selected for labels; a kind alone, or the keys below.",
    )
    weights: dict[str, Positive] = Field(default_factory=dict, description=_WEIGHTS)
    rounds: RoundSettings = Field(default_factory=RoundSettings, description="When the campaign stops.")
    execution: ExecutionSettings = Field(
        default_factory=ExecutionSettings, description="Where labels, trainings and trajectories are computed."
    )
    output: RoundsOutputSettings = Field(
        default_factory=lambda: RoundsOutputSettings.model_validate({}), description="Where the run is kept."
    )
    seed: Natural = Field(default=0, description="Seed of every random number of the campaign.")

    @property
    def labels_per_round(self) -> int:
        """Labels of a round at most: of selected frames, and of judged event classes."""
        audit = self.rounds.audit
        judged = 0 if audit is None else audit.labels_per_class * audit.classes_per_round
        return self.acquisition.labels_per_round + judged

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, value: Any) -> Any:
        """Write out default kinds, so that the settings are read by the right class."""
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        for section, kind in (("potential", "bayesian"), ("start", "displaced")):
            if isinstance(filled.get(section), dict) and "kind" not in filled[section]:
                filled[section] = {"kind": kind, **filled[section]}
        return filled

    @model_validator(mode="after")
    def _parts_go_together(self) -> RoundsCampaign:
        committee = self.potential.kind == "committee"
        if self.walkers.engine == "lammps" and committee:
            raise ValueError("walkers.engine lammps runs the Bayesian force field only; use ase for a committee")
        if self.walkers.bias is not None and self.walkers.engine != "ase":
            raise ValueError(
                f"walkers.bias is computed by the engine ase; walkers.engine is {self.walkers.engine.value}"
            )
        if self.walkers.walk_on == "member" and not committee:
            raise ValueError("walkers.walk_on: member needs a committee (potential.kind: committee); give mean")
        measure = self.acquisition.measure
        if self.acquisition.kind is Strategy.UNCERTAINTY and MEASURES[measure].needs_members and not committee:
            raise ValueError(
                f"acquisition.measure {measure.value} needs a committee (potential.kind: committee); a Bayesian force field "
                "offers force_max, force_mean or energy"
            )
        n = self.start.n
        if self.rounds.max_labels is not None and n is not None and self.rounds.max_labels < n:
            raise ValueError(
                f"rounds.max_labels {self.rounds.max_labels} does not cover start.n {n}; raise or lower one"
            )
        return self


AnyCampaign: TypeAlias = Campaign | RoundsCampaign

MODES: dict[str, type[Campaign] | type[RoundsCampaign]] = {"on-the-fly": Campaign, "rounds": RoundsCampaign}
