"""Settings that are possible and hardly ever meant."""

from __future__ import annotations

from trepid.config.campaign import AnyCampaign, RoundsCampaign

SHORTEST_STEP_fs = 0.1
"""Shorter time steps than for any vibration of atoms: the fastest, of hydrogen, take 10 fs."""


def doubts(campaign: AnyCampaign) -> list[str]:
    """What to ask the user about the settings of a campaign, a line for each."""
    section, settings = (
        ("walkers", campaign.walkers) if isinstance(campaign, RoundsCampaign) else ("dynamics", campaign.dynamics)
    )
    step = settings.timestep_fs
    if step >= SHORTEST_STEP_fs:
        return []
    meant = f": {1000 * step:g} fs would be usual" if 0.1 <= 1000 * step <= 10 else ""
    return [f"{section}.timestep_fs: {step:g} fs; is it in ps{meant}?"]
