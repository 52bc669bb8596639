"""What the first look at a crystal means for the run: pressure, forces at rest, imaginary modes, each with what to do.

`trepid.campaign.first_look` looks, the ledger keeps the figures (`FirstLook`), and `learn`, `status` and the report tell them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from trepid.choices import NARROW_A
from trepid.config import AnyCampaign, Campaign
from trepid.quantities import force
from trepid.runs.ledger_events import FirstLook

LARGE_PRESSURE_GPa = 1.0
"""Beyond this and two of its bars, a pressure is worth a word: 0.3 to 1 % in the lattice constant of usual crystals."""
LARGE_FORCE_eV_per_A = 0.1
"""Beyond this and two bars, the atoms are not where the reference has them."""
FAR_GPa = 10.0
"""Beyond this the method, in this cell, is not one for the crystal."""


def _far(narrow: bool) -> str:
    """What a pressure beyond `FAR_GPa` means."""
    cell = (
        f"the supercell is too narrow for a reference with one k point (tblite: {NARROW_A:g} A or more), or "
        if narrow
        else ""
    )
    return f": {cell}the method is wrong for this crystal"


def _strain(pressure_GPa: float) -> str:
    """Change of the lattice constant at a pressure, p / 3B, for bulk moduli of 35 to 170 GPa."""
    low, high = (min(100 * abs(pressure_GPa) / (3 * bulk), 99.0) for bulk in (170.0, 35.0))
    return f"some {low:.2g} to {high:.2g} % ('trepid relax' tells)"


class Matter(Enum):
    """What a finding is about."""

    PRESSURE = "pressure"
    FORCES = "forces"
    MODES = "modes"


@dataclass(frozen=True)
class CrystalFinding:
    """One thing that is not right with the crystal as given.

    Attributes
    ----------
    matter : Matter
    short : str
        In a few words, for the verdict.
    text : str
        With its meaning and what to do, in one line.
    mended : bool
        The run itself mends it: its stages let the cell go.
    """

    matter: Matter
    short: str
    text: str
    mended: bool = False


def cell_is_free(campaign: AnyCampaign | None) -> bool:
    """Whether stages of a campaign on the fly have a pressure."""
    return isinstance(campaign, Campaign) and any(stage.pressure_GPa is not None for stage in campaign.dynamics.stages)


def crystal_findings(
    look: FirstLook, engine: str, *, free_cell: bool = False, width_A: float = 0.0
) -> list[CrystalFinding]:
    """What is not right with the crystal; nothing where it is at rest and stable.

    Parameters
    ----------
    look : FirstLook
    engine : str
        Of the reference.
    free_cell : bool
        Stages of the run have a pressure.
    width_A : float
        Of the supercell: from `NARROW_A` on it is not too narrow for a reference with one k point.
    """
    narrow = width_A < NARROW_A
    found, told = [], f"by the model of {look.n_labels} label{'s' * (look.n_labels != 1)}"
    p, bar = look.pressure_GPa, look.pressure_bar_GPa
    if p is not None and bar is not None and abs(p) > max(LARGE_PRESSURE_GPa, 2 * bar):
        is_far, size = abs(p) > FAR_GPa, "smaller" if p < 0 else "larger"
        figure, far = f"{p:.1f} +- {bar:.1g} GPa", _far(narrow) if is_far else ""
        remedy = (
            "The stages with a pressure let it go"
            if free_cell
            else "The run keeps yours; to change it start from a structure relaxed with this reference ('trepid relax CAMPAIGN'), "
            "or on the fly let it go: pressure_GPa: 0 in a stage, with thermostat: nose-hoover in dynamics"
        )
        found.append(
            CrystalFinding(
                Matter.PRESSURE,
                f"pressure {figure}: with {engine} the lattice constant is {size} than the given one, by {_strain(p)}",
                f"pressure of the crystal as given {told}: {figure}: with {engine} its lattice constant is {size} than yours, by "
                f"{_strain(p)}{far}. "
                f"{remedy}",
                mended=free_cell and not is_far,
            )
        )
    largest, force_bar = look.largest_force, look.force_bar or 0.0
    if largest is not None and largest > max(LARGE_FORCE_eV_per_A, 2 * force_bar):
        found.append(
            CrystalFinding(
                Matter.FORCES,
                f"forces at rest up to {force(largest)}",
                f"forces on the crystal at rest {told}: up to {force(largest)}: its atoms are not where {engine} has "
                "them; a structure relaxed with this reference ('trepid relax CAMPAIGN') starts better",
            )
        )
    if look.n_imaginary and look.lowest_THz is not None:
        wider = f"a larger supercell (methods without k points need {NARROW_A:g} A or more), " if narrow else ""
        sure = f" (in {look.n_draws_imaginary} of {look.n_draws} draws of it)" if look.n_draws else ""
        number, lowest = f"{look.n_imaginary} of {look.n_modes} modes", f"down to {abs(look.lowest_THz):.2f}i THz"
        found.append(
            CrystalFinding(
                Matter.MODES,
                f"{number} of the supercell imaginary, {lowest}",
                f"{number} of this supercell are imaginary {told}{sure}, {lowest}: for {engine} the given structure is no minimum "
                f"of the energy, and at low temperature the run will leave it. If the crystal is stable in nature, take {wider}"
                "another method, or an engine close to DFT (sevennet, chgnet, gpaw: trepid doctor); phases that heat stabilises, "
                "such as cubic perovskites, have such modes rightly",
            )
        )
    return found
