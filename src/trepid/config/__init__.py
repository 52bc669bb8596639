"""The campaign file as typed models: every setting of `trepid learn`, with its unit, its default and its range.

A campaign is one YAML file. `load_campaign` reads it, resolves its paths against the folder of the file and reports
every problem in one line that names the file, the key, the value found and what would be right. An unknown key is an
error. `campaign_schema` gives the same models as a JSON schema, for editors.
"""

from __future__ import annotations

from trepid.config.base import Count, Natural, Positive, Settings
from trepid.config.campaign import MODES, AnyCampaign, Campaign, RoundsCampaign
from trepid.config.doubts import doubts
from trepid.config.dynamics import DynamicsSettings, Stage
from trepid.config.fit import FitSettings, LabelSettings, PriorSettings, SizeSearchSettings, TrainingFile
from trepid.config.learning import DEFAULT_THRESHOLD_NOISE, LearningSettings
from trepid.config.loading import load_campaign
from trepid.config.output import OutputSettings, RoundsOutputSettings
from trepid.config.potential import CommitteeSettings, PotentialSettings, RoundsPotentialSettings
from trepid.config.reference import (
    REFERENCE_SETTINGS,
    ASECalculatorSettings,
    GPAWSettings,
    LAMMPSSettings,
    ReferenceSettings,
    TBLiteSettings,
    engine_of,
)
from trepid.config.rounds import (
    AcquisitionSettings,
    BiasSettings,
    DisplacedStart,
    ExecutionSettings,
    FramesStart,
    HarmonicStart,
    RoundSettings,
    StartSettings,
    WalkerSettings,
)
from trepid.config.schema import campaign_schema
from trepid.config.structure import StructureSettings

__all__ = [
    "DEFAULT_THRESHOLD_NOISE",
    "MODES",
    "REFERENCE_SETTINGS",
    "ASECalculatorSettings",
    "AcquisitionSettings",
    "AnyCampaign",
    "BiasSettings",
    "Campaign",
    "CommitteeSettings",
    "Count",
    "DisplacedStart",
    "DynamicsSettings",
    "ExecutionSettings",
    "FitSettings",
    "FramesStart",
    "GPAWSettings",
    "HarmonicStart",
    "LAMMPSSettings",
    "LabelSettings",
    "LearningSettings",
    "Natural",
    "OutputSettings",
    "Positive",
    "PotentialSettings",
    "PriorSettings",
    "ReferenceSettings",
    "RoundSettings",
    "RoundsCampaign",
    "RoundsOutputSettings",
    "RoundsPotentialSettings",
    "Settings",
    "SizeSearchSettings",
    "Stage",
    "StartSettings",
    "StructureSettings",
    "TBLiteSettings",
    "TrainingFile",
    "WalkerSettings",
    "campaign_schema",
    "doubts",
    "engine_of",
    "load_campaign",
]
