"""Probes of a round: images on the path of an atom to a neighbouring empty site, before any walk visits it.

Walks on a model sample what that model makes probable. They miss events whose barriers it overestimates, and the force uncertainty
along the walks does not contain the barrier. So every kind of site is probed: one atom is moved step by step towards an
empty site of each kind around it, the rest is relaxed with the model, and the image of largest uncertainty on each path is
labelled, if that uncertainty exceeds the noise and the event is possible within the horizon.

Vocabulary
----------
path     from an atom's site to the nearest empty site of one kind; one atom represents all of its species and kind of site
image    a frame on it: the atom held in its place, and one atom far away, everything else relaxed
cost     the highest energy above the crystal's on the way to an image, each less its uncertainty
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms

from trepid.acquisition.viability import Horizon
from trepid.campaign.events import find_sites
from trepid.campaign.selection import EventFrame
from trepid.events.paths import empty_site_ways, quench, site_path
from trepid.events.sites import Sites
from trepid.potentials.base import Potential, Uncertainty
from trepid.runs.ledger_events import Reason

if TYPE_CHECKING:
    from ase import Atoms

N_IMAGES = 9
"""Images of a path, the crystal included."""
RELAX_FORCE_EV_PER_A, RELAX_STEPS = 0.05, 60
"""Loose convergence: an image is to be labelled, it need not be on the minimum-energy path."""
NO_WALKER = -1
"""Walker of a frame that comes from no walk."""


@dataclass(frozen=True, eq=False)
class Probe:
    """An image of a path, relaxed with the model.

    Attributes
    ----------
    atoms : Atoms
    path : str
        Species, kind of site and kind of empty site.
    place : int
        Number of the image, from 1.
    uncertainty : float
        Largest force uncertainty of an atom, eV/A.
    cost_eV : float
        Highest energy above the crystal's on the way here, this image included, each less one standard deviation.
    """

    atoms: Atoms
    path: str
    place: int
    uncertainty: float
    cost_eV: float


def probe_frames(
    potential: Potential,
    crystal: Atoms,
    n: int,
    *,
    horizon: Horizon | None,
    floor_eV_per_A: float,
    max_force_eV_per_A: float,
) -> list[EventFrame]:
    """The images to be labelled, those of largest uncertainty first.

    Parameters
    ----------
    potential : Potential
    crystal : Atoms
    n : int
        Frames at most; one of every path, then, if there is room, a second one two images away or more.
    horizon : Horizon or None
        What costs more than its budget is left out; None leaves nothing out.
    floor_eV_per_A : float
        Force uncertainty below which no label is needed: the noise of the labels.
    max_force_eV_per_A : float
        Images with a larger force are unphysical.

    Returns
    -------
    list of EventFrame
        With reason `probe`; empty for a crystal without empty sites.
    """
    if n == 0:
        return []
    probes = [
        probe
        for path in _paths(find_sites(crystal))
        for probe in _images(potential, crystal, *path, max_force_eV_per_A=max_force_eV_per_A)
        if probe.uncertainty > floor_eV_per_A and (horizon is None or probe.cost_eV <= horizon.budget)
    ]
    temperature = 0.0 if horizon is None else horizon.temperature_K
    return [
        EventFrame(
            atoms=probe.atoms,
            walker=NO_WALKER,
            step=0,
            time_fs=0.0,
            temperature_K=temperature,
            event_class=probe.path,
            note=f"{probe.path} | image {probe.place} of {N_IMAGES - 1}",
            reason=Reason.PROBE,
        )
        for probe in _most_uncertain(probes, n)
    ]


def _paths(sites: Sites) -> list[tuple[str, int, np.ndarray]]:
    """Name, atom and target of every path."""
    return [
        (f"{sites.species[atom]} from {sites.kinds[atom]} to {sites.kinds[site]}", atom, sites.positions[site])
        for atom, site in empty_site_ways(sites)
    ]


def _images(
    potential: Potential, crystal: Atoms, name: str, atom: int, target: np.ndarray, *, max_force_eV_per_A: float
) -> list[Probe]:
    """Images of a path, relaxed with the model one after the other; the path ends at a force that is too large."""
    calculator = potential.calculator(uncertainty=Uncertainty.NONE)
    far = int(np.argmax(crystal.get_distances(atom, range(len(crystal)), mic=bool(crystal.pbc.any()))))
    ideal = site_path(crystal, atom, target, N_IMAGES)
    rest = crystal.copy()
    rest.calc = None
    at_rest = potential.predict(rest, uncertainty=Uncertainty.EXACT)
    probes: list[Probe] = []
    relaxed, cost = rest.copy(), 0.0
    for place, image in enumerate(ideal[1:], start=1):
        relaxed.positions[atom] = image.positions[atom]
        relaxed.set_constraint(FixAtoms([atom, far]))
        relaxed = quench(relaxed, calculator, fmax=RELAX_FORCE_EV_PER_A, max_steps=RELAX_STEPS).atoms
        frame = relaxed.copy()
        frame.set_constraint()
        prediction = potential.predict(frame, uncertainty=Uncertainty.EXACT)
        largest = float(np.linalg.norm(prediction.forces, axis=1).max())
        if not np.isfinite(largest) or largest > max_force_eV_per_A:
            break
        std = potential.energy_difference_uncertainty(frame, rest, predictions=(prediction, at_rest))
        cost = max(cost, prediction.energy - at_rest.energy - std)
        probes.append(
            Probe(
                atoms=frame,
                path=name,
                place=place,
                uncertainty=prediction.frame_uncertainty,
                cost_eV=cost,
            )
        )
    return probes


def _most_uncertain(probes: Sequence[Probe], n: int) -> list[Probe]:
    """Up to n probes: that of largest uncertainty on every path first, then others that are not their neighbours."""
    ranked = sorted(probes, key=lambda probe: -probe.uncertainty)
    chosen: list[Probe] = []
    for again in (False, True):
        for probe in ranked:
            same = [other for other in chosen if other.path == probe.path]
            near = any(abs(other.place - probe.place) < 2 for other in same)
            if len(chosen) < n and not near and (again or not same):
                chosen.append(probe)
    return chosen
