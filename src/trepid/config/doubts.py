"""Settings that are possible and hardly ever meant."""

from __future__ import annotations

from trepid.config.campaign import AnyCampaign, RoundsCampaign

SHORTEST_STEP_fs = 0.1
"""Shorter time steps than for any vibration of atoms: the fastest, of hydrogen, take 10 fs."""


LOWEST_K = 50.0
"""Below, a temperature may be meant in degrees C; and atoms in crystals do not move classically, as they do in MD."""


def doubts(campaign: AnyCampaign) -> list[str]:
    """What to ask the user about the settings of a campaign, a line for each."""
    if isinstance(campaign, RoundsCampaign):
        section, step = "walkers", campaign.walkers.timestep_fs
        temperatures = [("walkers.temperatures_K", list(campaign.walkers.temperatures_K))]
    else:
        section, step = "dynamics", campaign.dynamics.timestep_fs
        temperatures = [
            (f"dynamics.stages[{k}].temperature_K", [stage.temperature_at(0.0), stage.temperature_at(1.0)])
            for k, stage in enumerate(campaign.dynamics.stages)
        ]
    found = [doubt for key, values in temperatures if (doubt := temperature_doubt(key, min(values)))]
    if step < SHORTEST_STEP_fs:
        meant = f": {1000 * step:g} fs would be usual" if 0.1 <= 1000 * step <= 10 else ""
        found.append(f"{section}.timestep_fs: {step:g} fs; is it in ps{meant}?")
    return found


def temperature_doubt(name: str, value_K: float) -> str:
    """What to ask about a temperature; an empty string where there is nothing to ask."""
    if value_K >= LOWEST_K:
        return ""
    return (
        f"{name}: {value_K:g} K; is it in K ({value_K:g} C is {value_K + 273.15:.0f} K)? At {value_K:g} K the atoms of a crystal "
        "do not move classically, as they do in MD"
    )
