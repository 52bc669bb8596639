"""The way of one Cu to the octahedral hole beside it on models, whether their trajectories show it or not.

barrier.py campaign.yaml run1/model.trepid run2/model.trepid run3/model.trepid
barrier.py campaign.yaml run1/model.trepid --audit        # and in the reference, with labels
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import trepid
from trepid.audit import Answer, AuditSettings, Criteria, Motion, PotentialModel, SeenClass, Wanted, audit_class
from trepid.audit.classes import model_path
from trepid.campaign.context import crystal_of, reference_of
from trepid.config import load_campaign
from trepid.data import labels_of
from trepid.events.paths import neighbouring_sites
from trepid.events.sites import Sites
from trepid.events.ways import equivalent_ways


def main() -> None:
    """One model after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaign", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--species", default="Cu")
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--audit", action="store_true", help="with labels of the reference")
    arguments = parser.parse_args()
    campaign = load_campaign(arguments.campaign)
    crystal = crystal_of(campaign)
    sites, n_labels = Sites.of(crystal), 0
    atom = crystal.get_chemical_symbols().index(arguments.species)
    hole = next(site for site in neighbouring_sites(sites, atom, within_A=4.0) if site >= sites.n_atoms)
    motion = Motion(np.arange(len(crystal)), (atom,), (hole,))

    seen = SeenClass(f"{arguments.species} -> {sites.kinds[hole]}", motion)
    ways = equivalent_ways(sites, [(atom, hole)], motion.before)
    criteria = Criteria(arguments.temperature, 10.0, ways=ways)
    reference = reference_of(campaign) if arguments.audit else None

    def label(wanted: Sequence[Wanted]) -> list[Answer]:
        nonlocal n_labels
        assert reference is not None
        answers = []
        for want in wanted:
            n_labels += 1
            answers.append(Answer(n_labels, labels_of(reference.label(want.atoms))))
        return answers

    for path in arguments.models:
        n_labels, model = 0, PotentialModel(trepid.load(path))
        if reference is None:
            audit = model_path(seen, model, crystal=crystal, sites=sites, criteria=criteria)
        else:
            settings = AuditSettings(frames_per_class=0)
            audit = audit_class(
                seen, model, label, crystal=crystal, sites=sites, criteria=criteria, settings=settings, tell=print
            )
        z, truth = criteria.z, audit.reference_barrier
        if audit.model_barrier is None:
            print(f"{path}: {audit.judgement.reason}", flush=True)
            continue
        bar = "" if audit.model_bar is None else f" +- {z * audit.model_bar:.3f}"
        line = f"{path}: barrier {audit.model_barrier:.3f}{bar} eV, end {audit.model_end:.3f} eV"
        if reference is not None:
            known = "not known" if truth is None else truth.text(z)
            line += f"; reference {known}; {audit.verdict}, {n_labels} labels"
        print(line, flush=True)
    if reference is not None:
        reference.close()


if __name__ == "__main__":
    main()
