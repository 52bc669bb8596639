"""Probes of a round: images on the path of an atom to a neighbouring empty site, before any walk visits it.

Walks on a model sample what that model makes probable. They miss events whose barriers it overestimates, and the force uncertainty
along the walks does not contain the barrier. So every kind of site is probed: one atom is moved step by step towards an
empty site of each kind around it, the rest is relaxed with the model, and the image of largest uncertainty on each path is
labelled, if that uncertainty exceeds the noise, or its energy is known too badly, and the event is possible within the horizon,
which counts the equivalent ways as that of an audit does.

Vocabulary
----------
path     from an atom's site to the nearest empty site of one kind; one atom represents all of its species and kind of site
image    a frame on it: the atom held in its place, and one atom far away, everything else relaxed
cost     the highest energy above the crystal's on the way to an image, each at the lower end of its 95 % interval: what the way
         costs at least
ways     equivalent paths of the crystal (`trepid.events.ways`)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms

from trepid.acquisition.viability import Horizon
from trepid.arrays import FloatArray
from trepid.campaign.events import find_sites
from trepid.campaign.selection import EventFrame
from trepid.events.paths import empty_site_ways, quench, site_path
from trepid.events.sites import Sites
from trepid.events.ways import equivalent_ways
from trepid.potentials.base import Potential, Uncertainty
from trepid.quantities import Z_95
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
    bar_eV : float
        Half width of the 95 % interval of the energy above the crystal's.
    cost_eV : float
        Highest energy above the crystal's on the way here, this image included, each at the lower end of its 95 % interval.
    """

    atoms: Atoms
    path: str
    place: int
    uncertainty: float
    bar_eV: float
    cost_eV: float


def probe_frames(
    potential: Potential,
    crystal: Atoms,
    n: int,
    *,
    horizon: Horizon | None,
    floor_eV_per_A: float,
    max_force_eV_per_A: float,
    bar_eV: float = math.inf,
) -> list[EventFrame]:
    """The images to be labelled, those of largest uncertainty first.

    Parameters
    ----------
    potential : Potential
    crystal : Atoms
    n : int
        Frames at most; one of every path, then, if there is room, a second one two images away or more. Those beyond `bar_eV`
        come first.
    horizon : Horizon or None
        For one way: that of a path has its number of ways. What is beyond it is left out; None leaves nothing out.
    floor_eV_per_A : float
        Force uncertainty below which no label is needed: the noise of the labels.
    max_force_eV_per_A : float
        Images with a larger force are unphysical.
    bar_eV : float
        An image whose energy is known less well, half width of its 95 % interval, needs a label all the same: forces that are
        each within the noise add up to an energy along the way.

    Returns
    -------
    list of EventFrame
        With reason `probe`; empty for a crystal without empty sites.
    """
    if n == 0:
        return []
    within = [
        probe
        for path in _paths(find_sites(crystal))
        for probe in _images(potential, crystal, path, max_force_eV_per_A=max_force_eV_per_A)
        if horizon is None or replace(horizon, ways=path.ways).reaches(probe.cost_eV)
    ]
    probes = [probe for probe in within if probe.uncertainty > floor_eV_per_A or probe.bar_eV > bar_eV]
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
            way_bar_eV=max(other.bar_eV for other in within if other.path == probe.path),
        )
        for probe in _most_uncertain(probes, n, bar_eV)
    ]


@dataclass(frozen=True, eq=False)
class _Path:
    """The way of one atom to an empty site, for all that symmetry makes of it."""

    name: str
    atom: int
    target: FloatArray
    ways: int


def _paths(sites: Sites) -> list[_Path]:
    home = np.arange(sites.n_atoms)
    return [
        _Path(
            f"{sites.species[atom]} from {sites.kinds[atom]} to {sites.kinds[site]}",
            atom,
            sites.positions[site],
            equivalent_ways(sites, [(atom, site)], home),
        )
        for atom, site in empty_site_ways(sites)
    ]


def _images(potential: Potential, crystal: Atoms, path: _Path, *, max_force_eV_per_A: float) -> list[Probe]:
    """Images of a path, relaxed with the model one after the other; the path ends at a force that is too large."""
    calculator = potential.calculator(uncertainty=Uncertainty.NONE)
    far = int(np.argmax(crystal.get_distances(path.atom, range(len(crystal)), mic=bool(crystal.pbc.any()))))
    ideal = site_path(crystal, path.atom, path.target, N_IMAGES)
    rest = crystal.copy()
    rest.calc = None
    at_rest = potential.predict(rest, uncertainty=Uncertainty.EXACT)
    probes: list[Probe] = []
    relaxed, cost = rest.copy(), 0.0
    for place, image in enumerate(ideal[1:], start=1):
        relaxed.positions[path.atom] = image.positions[path.atom]
        relaxed.set_constraint(FixAtoms([path.atom, far]))
        relaxed = quench(relaxed, calculator, fmax=RELAX_FORCE_EV_PER_A, max_steps=RELAX_STEPS).atoms
        frame = relaxed.copy()
        frame.set_constraint()
        prediction = potential.predict(frame, uncertainty=Uncertainty.EXACT)
        largest = float(np.linalg.norm(prediction.forces, axis=1).max())
        if not np.isfinite(largest) or largest > max_force_eV_per_A:
            break
        bar = Z_95 * potential.energy_difference_uncertainty(frame, rest, predictions=(prediction, at_rest))
        cost = max(cost, prediction.energy - at_rest.energy - bar)
        probes.append(
            Probe(
                atoms=frame,
                path=path.name,
                place=place,
                uncertainty=prediction.frame_uncertainty,
                bar_eV=bar,
                cost_eV=cost,
            )
        )
    return probes


def _most_uncertain(probes: Sequence[Probe], n: int, bar_eV: float) -> list[Probe]:
    """Up to n probes: that of largest uncertainty on every path first, then others that are not their neighbours.

    Those whose energy is known less well than `bar_eV` come before the others: they keep a campaign from ending.
    """
    ranked = sorted(probes, key=lambda probe: (probe.bar_eV <= bar_eV, -probe.uncertainty))
    chosen: list[Probe] = []
    for again in (False, True):
        for probe in ranked:
            same = [other for other in chosen if other.path == probe.path]
            near = any(abs(other.place - probe.place) < 2 for other in same)
            if len(chosen) < n and not near and (again or not same):
                chosen.append(probe)
    return chosen
