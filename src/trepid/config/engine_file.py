"""A file that names a method: a campaign, or only its section `reference`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from trepid.config.base import Settings
from trepid.config.campaign import AnyCampaign, Campaign
from trepid.config.loading import load_campaign, load_settings, read_mapping
from trepid.config.reference import ReferenceSettings
from trepid.errors import ConfigError


class EngineFile(Settings):
    """The section `reference` of a campaign by itself."""

    reference: ReferenceSettings = Field(description="Method, as in a campaign.")


_ORIGIN = "it has a section reference, as a campaign"


def is_engine_file(path: Path) -> bool:
    """Whether a file holds the section `reference` and nothing else."""
    return set(read_mapping(path, what="engine", origin=_ORIGIN, keys=("reference",))) == {"reference"}


def load_engine(path: Path) -> tuple[ReferenceSettings, AnyCampaign | None]:
    """The method that a file names, and the campaign where it is one.

    Raises
    ------
    ConfigError
        It is neither a campaign nor a file with the section `reference` alone.
    """
    data = read_mapping(path, what="engine", origin=_ORIGIN, keys=("reference",))
    if "structure" in data:
        campaign = load_campaign(path)
        return campaign.reference, campaign
    if "reference" not in data and "engine" in data:
        raise ConfigError(
            f"{path}: the keys of the engine belong into a section: reference: {{engine: {data['engine']}, ...}}"
        )
    if others := sorted(str(key) for key in data if key in Campaign.model_fields and key != "reference"):
        raise ConfigError(
            f"{path}: a campaign ({', '.join(others)}) without the section structure: give it one (structure: {{file: "
            "crystal.cif}), or keep the section reference alone"
        )
    settings = load_settings(path, EngineFile, what="engine", origin=_ORIGIN)
    return settings.reference, None
