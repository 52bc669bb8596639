"""A file that names a method: a campaign, or only its section `reference`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from trepid.config.base import Settings
from trepid.config.campaign import AnyCampaign
from trepid.config.loading import load_campaign, load_settings, read_mapping
from trepid.config.reference import ReferenceSettings
from trepid.errors import ConfigError


class EngineFile(Settings):
    """The section `reference` of a campaign by itself."""

    reference: ReferenceSettings = Field(description="Method, as in a campaign.")


def load_engine(path: Path) -> tuple[ReferenceSettings, AnyCampaign | None]:
    """The method that a file names, and the campaign where it is one.

    Raises
    ------
    ConfigError
        It is neither a campaign nor a file with the section `reference` alone.
    """
    data = read_mapping(path, what="engine", origin="it has a section reference, as a campaign", keys=("reference",))
    if "structure" in data:
        campaign = load_campaign(path)
        return campaign.reference, campaign
    if "reference" not in data and "engine" in data:
        raise ConfigError(
            f"{path}: the keys of the engine belong into a section: reference: {{engine: {data['engine']}, ...}}"
        )
    settings = load_settings(path, EngineFile, what="engine", origin="it has a section reference, as a campaign")
    return settings.reference, None
