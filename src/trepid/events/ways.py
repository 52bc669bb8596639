"""How many events that symmetry makes equal a state of the crystal allows: each of them attempts by itself.

Vocabulary
----------
move    from the site that an atom is on to the one it goes to
event   its moves, in any order
orbit   all events that the space group of the crystal makes of one
way     an event of the orbit that the state allows: an atom of the same species is on every site it leaves, and on every site
        it goes to is what is there in the event itself: nothing, an atom that leaves it, or, where an excursion only comes close
        to the site of a neighbour, an atom of the species of this neighbour
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trepid.arrays import IntArray
from trepid.events.sites import Sites


def equivalent_ways(sites: Sites, moves: Sequence[tuple[int, int]], occupied: IntArray) -> int:
    """Number of ways of an event, this one included.

    The orbit is that of the perfect crystal: a vacancy that is there already does not make the ways around another one
    different.

    Parameters
    ----------
    sites : Sites
    moves : sequence of (int, int)
        Of one event: the sites that its atoms leave, and those that they go to.
    occupied : (n_atoms,) array of int
        The site of every atom before the event.

    Raises
    ------
    ValueError
        There is no move, or an atom leaves a site that no atom is on.
    """
    if not moves:
        raise ValueError("an event needs at least one move")
    species = {int(site): sites.species[atom] for atom, site in enumerate(occupied)}
    empty = [origin for origin, _ in moves if origin not in species]
    if empty:
        raise ValueError(f"no atom is on site {empty[0]}, which the event leaves")
    wanted = _occupants(moves, species)
    return len({frozenset(event) for event in _images(sites, moves) if _occupants(event, species) == wanted})


def _occupants(event: Sequence[tuple[int, int]], species: Mapping[int, str]) -> list[tuple[str | None, str | None]]:
    """What is on the sites that each move leaves and goes to; the second is None where an atom of the event leaves it too."""
    origins = {origin for origin, _ in event}
    return [(species.get(origin), None if target in origins else species.get(target)) for origin, target in event]


def _images(sites: Sites, moves: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The moves under every operation of the space group, in the same order."""
    points = sites.positions[[site for move in moves for site in move]]
    images = sites.operations.images(points)
    found, _ = sites.nearest(images.reshape(-1, 3) @ np.linalg.inv(sites.cell))
    return [[(origin, target) for origin, target in event] for event in found.reshape(-1, len(moves), 2).tolist()]
