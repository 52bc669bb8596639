"""The two ends of an event, relaxed: where its atoms sit on the sites of the crystal, and what a calculator makes of it.

Vocabulary
----------
start, end   the crystal with every atom on the site it was on when the event began, and with the atoms of the event moved
             on to theirs; both in the cell of the crystal, so that only the event tells them apart
held         an end that is no minimum: the atoms of the event are held in their place, and everything else is relaxed but
             for a common displacement of all other atoms: a crystal that slides towards a held atom takes its way back
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixSubsetCom
from ase.geometry import find_mic

from trepid.arrays import FloatArray, IntArray
from trepid.data.geometry import fused_atoms
from trepid.events.detection import Event, EventKind
from trepid.events.paths import quench
from trepid.events.sites import Sites

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

SHAKE_A = 0.02
"""Displacement of a coordinate around held atoms, one standard deviation."""
FUSED_FACTOR = 0.4
"""Atoms nearer than this times the sum of their covalent radii have no place in a relaxed state."""


@dataclass(frozen=True)
class Relaxation:
    """Convergence of a relaxed state: largest force on a free atom (eV/A), and most steps."""

    fmax_eV_per_A: float = 0.01
    max_steps: int = 500


@dataclass(frozen=True, eq=False)
class Motion:
    """What an event does to the crystal: which atoms go from where to where.

    Attributes
    ----------
    before : (n_atoms,) array of int
        The site of every atom when it began.
    atoms, to_sites : tuple of int
        Atoms that move, and where they go.
    reach : float
        Part of the way that they go, 1 but for an atom that came back.
    observed : Atoms or None
        The frame after the event, in any cell and wherever it has drifted to.
    """

    before: IntArray
    atoms: tuple[int, ...]
    to_sites: tuple[int, ...]
    reach: float = 1.0
    observed: Atoms | None = None

    @classmethod
    def of(cls, event: Event, before: IntArray, sites: Sites, observed: Atoms | None = None) -> Motion:
        """Of an event, with the sites of all atoms at its beginning."""
        home = before.copy()
        home[list(event.atoms)] = event.from_sites
        reach = 1.0
        if event.kind is EventKind.EXCURSION:
            reach = min(1.0, event.distance_A / sites.distance(event.from_sites[0], event.to_sites[0]))
            observed = None
        return cls(home, event.atoms, event.to_sites, reach, observed)

    @property
    def after(self) -> IntArray:
        """The site of every atom when it is over."""
        sites = self.before.copy()
        sites[list(self.atoms)] = self.to_sites
        return sites


@dataclass(frozen=True, eq=False)
class RelaxedState:
    """A state relaxed on some energy surface.

    Attributes
    ----------
    atoms : Atoms
        In the cell of the crystal; held atoms are fixed by a constraint.
    held : tuple of int
        Atoms held in their place; empty for a minimum.
    converged : bool
    energy : float
        eV.
    max_force : float
        On a free atom, eV/A.
    stays : bool
        Whether every moving atom is still on its site.
    """

    atoms: Atoms
    held: tuple[int, ...]
    converged: bool
    energy: float
    max_force: float
    stays: bool

    def bare(self) -> Atoms:
        """The frame without constraint."""
        frame = self.atoms.copy()
        frame.set_constraint()
        frame.calc = None
        return frame


def on_sites(crystal: Atoms, sites: Sites, assigned: IntArray) -> Atoms:
    """The crystal with every atom on this site, by the shortest way from its own; without velocities."""
    frame = crystal.copy()
    frame.calc = None
    frame.set_constraint()
    for name in [name for name in frame.arrays if name not in ("numbers", "positions")]:
        del frame.arrays[name]
    frame.info = {}
    home = np.arange(len(crystal))
    for atom in np.flatnonzero(assigned != home):
        way = sites.positions[assigned[atom]] - sites.positions[atom]
        frame.positions[atom] += find_mic(way, sites.cell, sites.pbc)[0]
    return frame


def settle(
    frame: Atoms,
    calculator: Calculator,
    sites: Sites,
    assigned: IntArray,
    moving: Sequence[int],
    *,
    held: tuple[int, ...] = (),
    relaxation: Relaxation = Relaxation(),
) -> RelaxedState:
    """Relax a frame, and tell whether the moving atoms stay on their sites."""
    atoms = frame.copy()
    atoms.set_constraint(holding(held, len(atoms)))
    found = quench(atoms, calculator, fmax=relaxation.fmax_eV_per_A, max_steps=relaxation.max_steps)
    finite = bool(np.isfinite(found.atoms.positions).all() and np.isfinite(found.energy))
    sound = finite and not fused_atoms(found.atoms, factor=FUSED_FACTOR)
    stays = sound and (bool(held) or stays_on(found.atoms, sites, assigned, moving))
    return RelaxedState(found.atoms, tuple(held), found.converged and sound, found.energy, found.max_force, stays)


def holding(held: Sequence[int], n_atoms: int) -> list[FixAtoms | FixSubsetCom]:
    """Constraints that keep atoms in their place and the centre of mass of all others where it is; none if none is held."""
    others = np.setdiff1d(np.arange(n_atoms), list(held))
    # In this order: ASE moves all atoms to restore the centre, and the held ones back after that.
    return [FixSubsetCom(others.tolist()), FixAtoms(list(held))] if held and len(others) else []


def stays_on(frame: Atoms, sites: Sites, assigned: IntArray, moving: Sequence[int]) -> bool:
    """Whether these atoms are nearer to their sites than to any other, and within half the way to it."""
    found = sites.assign(frame)
    return all(int(found.sites[atom]) == int(assigned[atom]) for atom in moving)


def aligned(frame: Atoms, other: Atoms, sites: Sites, moving: Sequence[int]) -> Atoms:
    """A frame in the cell of the crystal, without drift against another one; atoms by the nearest image of those there."""
    fractional, _ = sites.at_rest(frame.positions[None], frame.cell.array)
    moved = other.copy()
    moved.calc = None
    moved.set_constraint()
    way = find_mic(fractional[0] @ sites.cell - other.positions, sites.cell, sites.pbc)[0]
    rest = np.setdiff1d(np.arange(len(frame)), list(moving))
    way -= np.median(way[rest], axis=0)
    moved.positions = other.positions + way
    return moved


def end_frame(start: Atoms, motion: Motion, sites: Sites, *, reach: float | None = None) -> Atoms:
    """The start with the moving atoms a part of the way on towards their sites; by default as far as they went."""
    frame = start.copy()
    frame.set_constraint()
    part = motion.reach if reach is None else reach
    for atom, target in zip(motion.atoms, motion.to_sites, strict=True):
        way = sites.positions[target] - start.positions[atom]
        frame.positions[atom] += part * find_mic(way, sites.cell, sites.pbc)[0]
    return frame


def start_state(
    crystal: Atoms, motion: Motion, sites: Sites, calculator: Calculator, relaxation: Relaxation = Relaxation()
) -> RelaxedState:
    """The state in which the event begins: a minimum, or, for a defect that the calculator does not keep, held."""
    frame = on_sites(crystal, sites, motion.before)
    free = settle(frame, calculator, sites, motion.before, motion.atoms, relaxation=relaxation)
    if free.stays or np.array_equal(motion.before, np.arange(len(crystal))):
        return free
    shaken = _shaken(frame, motion)
    return settle(shaken, calculator, sites, motion.before, motion.atoms, held=motion.atoms, relaxation=relaxation)


def end_state(
    start: RelaxedState,
    motion: Motion,
    sites: Sites,
    calculator: Calculator,
    relaxation: Relaxation = Relaxation(),
) -> RelaxedState:
    """The state in which the event ends: a minimum, or, where there is none, held.

    The frame after the event is relaxed first; where that gives another state, the atoms on their ideal sites.
    """
    after = motion.after
    candidates = []
    others = np.setdiff1d(np.arange(len(after)), motion.atoms)
    if motion.observed is not None:
        seen = aligned(motion.observed, start.bare(), sites, motion.atoms)
        if np.array_equal(sites.assign(seen).sites[others], after[others]):
            candidates.append(seen)
    candidates.append(end_frame(start.bare(), motion, sites, reach=1.0))
    for frame in candidates:
        if fused_atoms(frame, factor=FUSED_FACTOR):
            continue
        state = settle(frame, calculator, sites, after, motion.atoms, relaxation=relaxation)
        if state.stays and state.converged and stays_on(state.atoms, sites, after, others.tolist()):
            return _beside(state, start, motion)
    return held_end(start, motion, sites, calculator, relaxation)


def held_end(
    start: RelaxedState, motion: Motion, sites: Sites, calculator: Calculator, relaxation: Relaxation = Relaxation()
) -> RelaxedState:
    """The end with the moving atoms held where they went, on the straight way to their sites."""
    frame = _shaken(end_frame(start.bare(), motion, sites), motion)
    return settle(frame, calculator, sites, motion.after, motion.atoms, held=motion.atoms, relaxation=relaxation)


def _shaken(frame: Atoms, motion: Motion) -> Atoms:
    """A frame whose other atoms are displaced a little: around an atom held on a symmetric place they may rest on a saddle."""
    moved = frame.copy()
    others = np.setdiff1d(np.arange(len(frame)), motion.atoms)
    shake = SHAKE_A * np.random.default_rng(0).normal(size=(len(others), 3))
    # Their centre of mass stays, as it does while they are relaxed.
    moved.positions[others] += shake - np.average(shake, axis=0, weights=moved.get_masses()[others])
    return moved


def _beside(state: RelaxedState, start: RelaxedState, motion: Motion) -> RelaxedState:
    """The same state without drift against the start."""
    atoms = state.atoms.copy()
    way: FloatArray = find_mic(atoms.positions - start.atoms.positions, atoms.cell, atoms.pbc)[0]
    rest = np.setdiff1d(np.arange(len(atoms)), motion.atoms)
    atoms.positions = start.atoms.positions + way - way[rest].mean(axis=0)
    return RelaxedState(atoms, state.held, state.converged, state.energy, state.max_force, state.stays)
