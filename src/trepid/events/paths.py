"""Images on the way of an atom: out of a trajectory, or made between two places of a crystal; and quenches.

A force field can be sure of its forces and still wrong about a barrier: the images on a path are where that shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import ArrayLike

from trepid.errors import DataError
from trepid.events.classes import EventClass, event_class
from trepid.events.detection import Event
from trepid.events.sites import Sites

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


def site_path(crystal: Atoms, atom: int, target: ArrayLike, n_images: int) -> list[Atoms]:
    """One atom moved from its place to another, everything else at rest.

    Parameters
    ----------
    crystal : Atoms
    atom : int
    target : (3,) or (n_points, 3) array-like
        A; the nearest periodic image is meant. Several points are passed through in turn, each by the nearest image
        from the point before; images are spread evenly over the whole length.
    n_images : int
        2 or more; the first is the crystal, the last has the atom at the (last) target.

    Returns
    -------
    list of Atoms
        Copies without calculator, with `info["path_A"]`, the length of the way so far.

    Raises
    ------
    DataError
        There is no such atom, `target` has another shape, or fewer than two images.
    """
    if not 0 <= atom < len(crystal):
        raise DataError(f"there is no atom {atom}; the crystal has atoms 0 to {len(crystal) - 1}")
    if n_images < 2:
        raise DataError(f"a path needs 2 images or more, not {n_images}")
    points = np.atleast_2d(np.asarray(target, dtype=np.float64))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise DataError(f"the target of a path must be one or more finite points of 3 coordinates, not {target!r}")
    corners = [crystal.positions[atom]]
    for point in points:
        corners.append(corners[-1] + find_mic(point - corners[-1], crystal.cell, crystal.pbc)[0])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    images = []
    for length in np.linspace(0.0, way[-1], n_images):
        image = crystal.copy()
        image.calc = None
        image.positions[atom] = [np.interp(length, way, [corner[axis] for corner in corners]) for axis in range(3)]
        image.info["path_A"] = float(length)
        images.append(image)
    return images


def neighbouring_sites(sites: Sites, site: int, *, kind: str | None = None, within_A: float | None = None) -> list[int]:
    """Sites that an atom of this site could go to, nearest first.

    Parameters
    ----------
    sites : Sites
    site : int
    kind : str, optional
        Only sites of this kind (`Sites.kinds`); by default every empty site.
    within_A : float, optional
        Largest distance, A; by default 1.1 times the distance of the nearest.
    """
    wanted = [
        k
        for k in range(sites.n_sites)
        if k != site and (k >= sites.n_atoms if kind is None else sites.kinds[k] == kind)
    ]
    distances = {k: sites.distance(site, k) for k in wanted}
    limit = within_A if within_A is not None else 1.1 * min(distances.values(), default=0.0)
    return sorted((k for k in wanted if distances[k] <= limit), key=lambda k: (round(distances[k], 6), k))


FARTHEST = 1.6
"""Empty sites up to this times the distance of the nearest are neighbours of an atom."""


def empty_site_ways(sites: Sites) -> list[tuple[int, int]]:
    """Atom and empty site of each way out of the perfect crystal.

    One atom for each species and kind of site, the nearest empty site of each kind around it, up to `FARTHEST` times the
    distance of the nearest.
    """
    ways = []
    done = set()
    for atom in range(sites.n_atoms):
        kind = (sites.species[atom], sites.kinds[atom])
        if kind in done:
            continue
        done.add(kind)
        nearest = neighbouring_sites(sites, atom)
        if not nearest:
            continue
        targets: dict[str, int] = {}
        for site in neighbouring_sites(sites, atom, within_A=FARTHEST * sites.distance(atom, nearest[0])):
            if site >= sites.n_atoms:
                targets.setdefault(sites.kinds[site], site)
        ways += [(atom, site) for site in targets.values()]
    return ways


def event_path(crystal: Atoms, sites: Sites, event: Event, n_images: int) -> list[Atoms]:
    """The crystal with the atoms of an event moved together, straight from their sites to those they went to.

    Parameters
    ----------
    crystal : Atoms
        Of the atoms of `sites`, at rest; another cell than that of `sites` strains the path with it.
    sites : Sites
    event : Event
    n_images : int
        2 or more. The first is the crystal with the atoms of the event on the sites they left.

    Returns
    -------
    list of Atoms
        Copies without calculator, with `info["path_A"]`, the length of the longest way so far.

    Raises
    ------
    DataError
        As `site_path`; the crystal does not go with the sites.
    """
    if n_images < 2:
        raise DataError(f"a path needs 2 images or more, not {n_images}")
    sites.check(crystal)
    strain = np.linalg.inv(sites.cell) @ np.where(sites.pbc[:, None], crystal.cell.array, sites.cell)
    start = sites.positions[list(event.from_sites)]
    moves = find_mic(sites.positions[list(event.to_sites)] - start, sites.cell, sites.pbc)[0]
    images = []
    for part in np.linspace(0.0, 1.0, n_images):
        image = crystal.copy()
        image.calc = None
        image.positions[list(event.atoms)] = (start + part * moves) @ strain
        image.info["path_A"] = float(part * np.linalg.norm(moves @ strain, axis=1).max())
        images.append(image)
    return images


def event_frames(n_frames: int, event: Event, n: int, *, margin: int | None = None) -> list[int]:
    """Frames of a trajectory before, on and after an event, evenly spread.

    Parameters
    ----------
    n_frames : int
        Length of the trajectory; its frame 0 is the first the detector saw.
    event : Event
    n : int
        Number of frames wanted; fewer come back where the trajectory has not so many.
    margin : int, optional
        Frames before and after the event; by default as many as the event has, and one at least.

    Raises
    ------
    DataError
        The event is not in a trajectory of this length, or `n` is not positive.
    """
    if n < 1:
        raise DataError(f"the number of frames must be 1 or more, not {n}")
    if not 0 <= event.start_frame <= event.end_frame < n_frames:
        raise DataError(
            f"an event of frames {event.start_frame} to {event.end_frame} is not in a trajectory of {n_frames} frames"
        )
    wide = max(1, event.end_frame - event.start_frame) if margin is None else margin
    first, last = max(0, event.start_frame - wide), min(n_frames - 1, event.end_frame + wide)
    if n == 1:
        return [(event.start_frame + event.end_frame) // 2]
    return sorted({round(float(k)) for k in np.linspace(first, last, n)})


@dataclass(frozen=True, eq=False)
class Quench:
    """Inherent structure of a frame: the minimum of the energy that it relaxes to.

    Attributes
    ----------
    atoms : Atoms
        The last frame of the minimisation, without calculator.
    converged : bool
    n_steps : int
    energy : float
        eV.
    max_force : float
        Largest norm of the force on an atom, eV/A.
    """

    atoms: Atoms
    converged: bool
    n_steps: int
    energy: float
    max_force: float


def quench(
    frame: Atoms, calculator: Calculator, *, fmax: float = 0.02, max_steps: int = 300, max_step_A: float = 0.1
) -> Quench:
    """Minimise the energy of a frame at fixed cell, by FIRE (E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)).

    Parameters
    ----------
    frame : Atoms
        Left as it is.
    calculator : Calculator
        ASE calculator, of a potential or of a reference.
    fmax : float
        Converged when no atom feels a larger force, eV/A.
    max_steps : int
    max_step_A : float
        Longest step, so that a frame on a barrier falls into the nearest minimum.
    """
    from ase.optimize import FIRE

    atoms = frame.copy()
    atoms.calc = calculator
    minimiser = FIRE(atoms, logfile=None, maxstep=max_step_A)
    converged = bool(minimiser.run(fmax=fmax, steps=max_steps))
    forces = atoms.get_forces()
    energy = float(atoms.get_potential_energy())
    atoms.calc = None
    return Quench(atoms, converged, int(minimiser.nsteps), energy, float(np.linalg.norm(forces, axis=1).max()))


def first_of_each_class(events: Sequence[Event], sites: Sites) -> list[Event]:
    """The first event of every class (`trepid.events.classes.event_class`), in order of time."""
    found: dict[EventClass, Event] = {}
    for event in sorted(events, key=lambda e: (e.end_fs, e.start_fs, e.atoms)):
        found.setdefault(event_class(event, sites), event)
    return list(found.values())
