"""The way of one Cu to the octahedral hole beside it, on models and in the reference: barriers, and the labels that it took.

    barrier.py campaign.yaml run1/model.trepid run2/model.trepid run3/model.trepid

Every model is audited on this way whether its trajectories show it or not; labels are shared.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import trepid
from trepid.audit import Answer, AuditSettings, Criteria, Motion, PotentialModel, SeenClass, Wanted, audit_class
from trepid.campaign.context import crystal_of, reference_of
from trepid.config import load_campaign
from trepid.data import labels_of
from trepid.events.paths import neighbouring_sites
from trepid.events.sites import Sites


def main() -> None:
    """One model after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--species", default="Cu")
    parser.add_argument("--temperature", type=float, default=300.0)
    arguments = parser.parse_args()
    campaign = load_campaign(arguments.campaign)
    crystal, reference = crystal_of(campaign), reference_of(campaign)
    sites, n_labels = Sites.of(crystal), 0
    atom = crystal.get_chemical_symbols().index(arguments.species)
    hole = next(site for site in neighbouring_sites(sites, atom, within_A=4.0) if site >= sites.n_atoms)
    motion = Motion(np.arange(len(crystal)), (atom,), (hole,))

    def label(wanted: Sequence[Wanted]) -> list[Answer]:
        nonlocal n_labels
        answers = []
        for want in wanted:
            n_labels += 1
            answers.append(Answer(n_labels, labels_of(reference.label(want.atoms))))
        return answers

    for path in arguments.models:
        n_labels = 0
        audit = audit_class(
            SeenClass(f"{arguments.species} -> {sites.kinds[hole]}", motion),
            PotentialModel(trepid.load(path)),
            label,
            crystal=crystal,
            sites=sites,
            criteria=Criteria(arguments.temperature, 10.0, ways=128),
            settings=AuditSettings(frames_per_class=0),
            tell=lambda line: print("  ", line, flush=True),
        )
        truth = audit.reference_barrier
        z = audit.criteria.z
        known = "not known" if truth is None else truth.text(z)
        announced = "" if audit.model_bar is None else f" +- {z * audit.model_bar:.3f}"
        end = "" if audit.reference_end is None else f"; end {audit.model_end:.3f}, {audit.reference_end.text(z)}"
        print(
            f"{path}: model {audit.model_barrier:.3f}{announced} eV, reference {known}{end}; {audit.verdict}, {n_labels} labels",
            flush=True,
        )
    reference.close()


if __name__ == "__main__":
    main()
