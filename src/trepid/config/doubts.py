"""Settings that are possible and hardly ever meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trepid.config.campaign import AnyCampaign, RoundsCampaign

if TYPE_CHECKING:
    from ase import Atoms

SHORTEST_STEP_fs = 0.1
"""Shorter time steps than for any vibration of atoms: the fastest, of hydrogen, take 10 fs."""
LOWEST_K = 50.0
"""Below, a temperature may be meant in degrees C; and atoms in crystals do not move classically, as they do in MD."""
LONGEST_ps = 1000.0
"""Longer stages than campaigns need; as fs they would be usual."""
MOST_GPa = 300.0
"""Higher pressures are reached in the core of the Earth, and by numbers that are meant in bar."""
STEP_fs = 2.0
"""Times the square root of the smallest mass (u): longer steps than a tenth to a fifth of the period of the fastest vibration."""


def doubts(campaign: AnyCampaign, crystal: Atoms) -> list[str]:
    """What to ask the user about the settings of a campaign for this crystal, a line for each."""
    if isinstance(campaign, RoundsCampaign):
        section, step, settings = "walkers", campaign.walkers.timestep_fs, campaign.walkers
        found = [
            temperature_doubt("walkers.temperatures_K", min(settings.temperatures_K)),
            duration_doubt("walkers.duration_ps", settings.duration_ps, step),
        ]
    else:
        section, step, found = "dynamics", campaign.dynamics.timestep_fs, []
        for k, stage in enumerate(campaign.dynamics.stages):
            name = f"dynamics.stages[{k}]"
            coldest = min(stage.temperature_at(0.0), stage.temperature_at(1.0))
            found += [
                temperature_doubt(f"{name}.temperature_K", coldest),
                pressure_doubt(f"{name}.pressure_GPa", stage.pressure_GPa),
                duration_doubt(f"{name}.duration_ps", stage.duration_ps, step),
            ]
    found.append(timestep_doubt(f"{section}.timestep_fs", step, crystal))
    return [doubt for doubt in found if doubt]


def duration_doubt(name: str, duration_ps: float, step_fs: float) -> str:
    """What to ask about the length of a trajectory; an empty string where there is nothing to ask."""
    if duration_ps <= LONGEST_ps:
        return ""
    return f"{name}: {duration_ps:g} ps, {duration_ps / step_fs * 1000:.0f} steps; is it in ps?"


def timestep_doubt(name: str, step_fs: float, crystal: Atoms) -> str:
    """What to ask about a time step; an empty string where there is nothing to ask."""
    if step_fs < SHORTEST_STEP_fs:
        meant = f": {1000 * step_fs:g} fs would be usual" if 0.1 <= 1000 * step_fs <= 10 else ""
        return f"{name}: {step_fs:g} fs; is it in ps{meant}?"
    masses = crystal.get_masses()
    if step_fs > STEP_fs * masses.min() ** 0.5:
        lightest = crystal.get_chemical_symbols()[int(masses.argmin())]
        return (
            f"{name}: {step_fs:g} fs is long for the vibrations of {lightest}: the energy drifts, or the crystal flies apart; 1 or "
            "2 fs is usual"
        )
    return ""


def pressure_doubt(name: str, value_GPa: float | None) -> str:
    """What to ask about a pressure; an empty string where there is nothing to ask."""
    if value_GPa is None or abs(value_GPa) <= MOST_GPa:
        return ""
    return f"{name}: {value_GPa:g} GPa; is it in GPa (1 bar is 0.0001 GPa)?"


def temperature_doubt(name: str, value_K: float) -> str:
    """What to ask about a temperature; an empty string where there is nothing to ask."""
    if value_K >= LOWEST_K:
        return ""
    return (
        f"{name}: {value_K:g} K; is it in K ({value_K:g} C is {value_K + 273.15:.0f} K)? At {value_K:g} K the atoms of a crystal "
        "do not move classically, as they do in MD"
    )
