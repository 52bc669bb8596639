"""Truths, their crystals, and events in them: what the audits of `audits.py` are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from _common import HERE  # first: it sets one thread, before BLAS is loaded

# isort: split

from _toy import toy_commands, toy_crystal
from _truths import LoadedPotential
from ase import Atoms
from ase.build import bulk

from trepid.audit import Motion
from trepid.data.frames import LabelKeys
from trepid.events.paths import neighbouring_sites, quench
from trepid.events.sites import Sites
from trepid.reference.as_calculator import ReferenceCalculator

RUNS = HERE.parent / "runs" / "audits"
KEYS = LabelKeys()


@dataclass(frozen=True)
class System:
    """A truth with its crystal.

    Attributes
    ----------
    name : str
    commands : tuple of str
    species : tuple of str
    structure : str
        fcc, diamond, or zincblende of the toy.
    lattice_A : float
        Of the truth at 0 K, or of the toy.
    temperature_K : float
    cutoffs_A : (float, float)
        Of Bayesian force fields trained on it.
    """

    name: str
    commands: tuple[str, ...]
    species: tuple[str, ...]
    structure: str
    lattice_A: float
    temperature_K: float
    cutoffs_A: tuple[float, float] = (6.0, 5.0)

    def potential(self) -> LoadedPotential:
        """The truth, loaded."""
        return LoadedPotential(self.name, self.commands, {s: k for k, s in enumerate(self.species, 1)})

    def perfect(self) -> Atoms:
        """Its perfect crystal of 2 x 2 x 2 cubic cells."""
        if self.structure == "zincblende":
            return toy_crystal(2, lattice_A=self.lattice_A)
        return bulk(self.species[0], self.structure, a=self.lattice_A, cubic=True).repeat((2, 2, 2))


def toy(lattice_A: float = 6.5, silver: float = 1.0, iodine: float = 1.0) -> System:
    """The AgI-like toy, with factors on the repulsions of Ag-I and I-I."""
    commands = toy_commands(RUNS / "tables", silver, iodine_stiffness=iodine)
    name = f"toy {lattice_A:g} {silver:g} {iodine:g}"
    return System(name, tuple(commands), ("Ag", "I"), "zincblende", lattice_A, 500.0, (8.0, 5.5))


def eam(element: str, file: str, temperature_K: float, *, truth: bool = True) -> System:
    """A metal; a model needs no lattice constant of its own."""
    style = "eam/alloy" if file.endswith("alloy") else "eam/fs" if file.endswith("fs") else "eam"
    pair = f"pair_coeff * * {file}" + ("" if style == "eam" else f" {element}")
    system = System(file, (f"pair_style {style}", pair), (element,), "fcc", 0.0, temperature_K)
    return _relaxed(system) if truth else system


def diamond(element: str, file: str, temperature_K: float, *, truth: bool = True) -> System:
    """A semiconductor."""
    style = "sw" if file.endswith("sw") else "tersoff" if file.endswith("tersoff") else "snap"
    files = f"{file}.snapcoeff {file}.snapparam" if style == "snap" else file
    commands = (f"pair_style {style}", f"pair_coeff * * {files} {element}")
    system = System(f"{file} {element}", commands, (element,), "diamond", 0.0, temperature_K, (5.5, 4.5))
    return _relaxed(system) if truth else system


@cache
def _relaxed(system: System) -> System:
    """With the lattice constant of the truth at rest."""
    start = {"Si": 5.43, "Ge": 5.66, "Cu": 3.61, "Ni": 3.52, "Al": 4.05, "Ag": 4.09, "Au": 4.08, "Pd": 3.89, "Pt": 3.92}
    lattice = np.linspace(0.96, 1.04, 33) * start[system.species[0]]
    potential = system.potential()
    energies = []
    for a in lattice:
        atoms = replace(system, lattice_A=a).perfect()
        energies.append(potential.label(atoms, keys=KEYS).info[KEYS.energy])
    potential.close()
    k = int(np.clip(np.argmin(energies), 1, len(lattice) - 2))
    c = np.polyfit(lattice[k - 1 : k + 2], energies[k - 1 : k + 2], 2)
    return replace(system, lattice_A=float(-c[1] / (2 * c[0])))


@dataclass(frozen=True, eq=False)
class Scene:
    """A crystal with its sites and an event in it."""

    crystal: Atoms
    sites: Sites
    motion: Motion
    ways: int


def vacancy_hop(system: System, species: str | None = None) -> Scene:
    """A neighbour of the same species goes into a vacancy."""
    crystal = system.perfect()
    chosen = species or system.species[0]
    first = next(k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen)
    distances = crystal.get_distances(first, range(len(crystal)), mic=True)
    same = [k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen and k != first]
    mover = min(same, key=lambda k: (round(distances[k], 4), k))
    ways = sum(abs(distances[k] - distances[mover]) < 0.1 for k in same)
    hole = crystal.positions[first].copy()
    del crystal[first]
    mover -= mover > first
    sites = Sites.of(crystal, empty=[hole])
    n = len(crystal)
    return Scene(crystal, sites, Motion(np.arange(n), (mover,), (n,)), ways)


def frenkel(system: System, kind: str | None = None, species: str | None = None, reach: float = 1.0) -> Scene:
    """An atom goes to an empty site beside it."""
    crystal = system.perfect()
    sites = Sites.of(crystal)
    chosen = species or system.species[0]
    atom = next(k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen)
    around = neighbouring_sites(sites, atom, within_A=4.5)
    target = next(k for k in around if k >= sites.n_atoms and (kind is None or sites.kinds[k] == kind))
    n_equal = sum(
        sites.kinds[k] == sites.kinds[target] and abs(sites.distance(atom, k) - sites.distance(atom, target)) < 0.1
        for k in around
    )
    n_atoms = crystal.get_chemical_symbols().count(chosen)
    motion = Motion(np.arange(len(crystal)), (atom,), (target,), reach)
    return Scene(crystal, sites, motion, n_equal * n_atoms)


def bond_switch(system: System) -> Scene:
    """The switch of a bond of the diamond structure: two bonded atoms turn by 90 degrees, all atoms stay fourfold.

    F. Wooten, K. Winer, D. Weaire, Phys. Rev. Lett. 54, 1392 (1985). The two new places are those of the truth.
    """
    crystal = system.perfect()
    distances = crystal.get_distances(0, range(len(crystal)), mic=True)
    second = int(np.argsort(distances)[1])
    bond = crystal.get_distance(0, second, mic=True, vector=True)
    along = bond / np.linalg.norm(bond)
    axis = np.array([0.0, 1.0, -1.0])
    axis -= (axis @ along) * along
    turned = np.cross(axis / np.linalg.norm(axis), along) * np.linalg.norm(bond) / 2
    middle = crystal.positions[0] + bond / 2
    switched = crystal.copy()
    switched.positions[0], switched.positions[second] = middle - turned, middle + turned
    potential = system.potential()
    places = quench(switched, ReferenceCalculator(potential), fmax=0.005, max_steps=1000).atoms.positions[[0, second]]
    potential.close()
    sites, n = Sites.of(crystal, empty=list(places)), len(crystal)
    # Two bonds turn about each of the two axes across the bond, in two directions.
    return Scene(crystal, sites, Motion(np.arange(n), (0, second), (n, n + 1)), 2 * n * 6)
