"""What a reference or a model says about the ways of an atom to the empty sites beside it: straight images, and the relaxed end.

    ways.py campaign.yaml Cu -o ways-reference.json
    ways.py campaign.yaml Cu --model run/rounds/02/model.trepid -o ways-2.json

Ends are relaxed at fixed cell. JSON: energies against the crystal, eV, for the nearest ends of different kind or distance; how far
the atom is from its site after relaxation, A; for a model also the standard deviation of each energy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic

import trepid
from trepid.campaign.context import crystal_of, reference_of
from trepid.config import load_campaign
from trepid.data import labels_of
from trepid.data.atomic import write_text_atomic
from trepid.events.paths import neighbouring_sites, quench, site_path
from trepid.events.sites import Sites
from trepid.reference import Reference

WITHIN_A = 4.0


class Labelled(Calculator):
    """A reference as a calculator, which counts its labels."""

    implemented_properties = ("energy", "forces")

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference, self.n_labels = reference, 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Label the frame."""
        super().calculate(atoms, properties, system_changes)
        labels = labels_of(self.reference.label(self.atoms))
        self.n_labels += 1
        self.results = {"energy": labels.energy, "forces": labels.forces}


def main() -> None:
    """Straight images of each kind of way, then the relaxed end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("species")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--ways", type=int, default=2, help="How many ends, the nearest first.")
    parser.add_argument("--steps", type=int, default=60, help="Of the relaxation, at most.")
    parser.add_argument("--output", "-o", type=Path, default=Path("ways.json"))
    arguments = parser.parse_args()
    campaign = load_campaign(arguments.campaign)
    crystal = crystal_of(campaign)
    model = None if arguments.model is None else trepid.load(arguments.model)
    reference = reference_of(campaign) if model is None else None
    calculator = Labelled(reference) if reference is not None else model.calculator()
    sites = Sites.of(crystal)
    atom = crystal.get_chemical_symbols().index(arguments.species)
    rest = crystal.copy()
    rest.calc = calculator
    zero = rest.get_potential_energy()
    found: list[dict[str, Any]] = []
    kinds: set[tuple[str, float]] = set()
    for end in neighbouring_sites(sites, atom, within_A=WITHIN_A):
        kind = (sites.kinds[end], round(sites.distance(atom, end), 1))
        if kind in kinds or len(kinds) == arguments.ways:
            continue
        kinds.add(kind)
        path = site_path(crystal, atom, sites.positions[end], arguments.images)
        energies = []
        for image in path[1:]:
            image.calc = calculator
            energies.append(round(image.get_potential_energy() - zero, 4))
            print(
                f"{kind[0]} {kind[1]:.1f} A, image at {image.info['path_A']:.2f} A: {energies[-1]:.3f} eV", flush=True
            )
        relaxed = quench(path[-1], calculator, max_steps=arguments.steps)
        _, away = find_mic(relaxed.atoms.positions[atom] - crystal.positions[atom], crystal.cell, crystal.pbc)
        way: dict[str, Any] = {
            "end": kind[0],
            "length_A": round(float(sites.distance(atom, end)), 3),
            "straight_eV": energies,
            "relaxed_end_eV": round(relaxed.energy - zero, 4),
            "relaxed_end_from_site_A": round(float(away), 3),
            "largest_force_eV_per_A": round(relaxed.max_force, 4),
            "converged": relaxed.converged,
        }
        if model is not None:
            std = [model.energy_difference_uncertainty(image, crystal) for image in [*path[1:], relaxed.atoms]]
            way["std_eV"] = [round(float(value), 4) for value in std]
        found.append(way)
        print(json.dumps(way), flush=True)
    told: dict[str, Any] = {"n_atoms": len(crystal), "ways": found}
    if reference is not None:
        told |= {"reference": reference.describe(), "n_labels": calculator.n_labels}
        reference.close()
    write_text_atomic(arguments.output, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
