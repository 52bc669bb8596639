"""CPU time of a label with the foundation potentials that are installed, kept loaded and loaded for every label.

python benchmarks/references.py [chgnet sevennet]
"""

from __future__ import annotations

import argparse
import resource

from ase import Atoms
from ase.build import bulk

from trepid.errors import BackendError
from trepid.reference import make_reference

ENGINES = ("chgnet", "sevennet")
LABELS = 5


def frames(n_atoms: int, n: int) -> list[Atoms]:
    """CuI at its lattice constant, each frame displaced in another way."""
    crystal = bulk("CuI", "zincblende", a=6.08, cubic=n_atoms == 64) * (2, 2, 2)
    found = []
    for seed in range(n):
        found.append(crystal.copy())
        found[-1].rattle(0.1, seed=seed)
    return found


def seconds(engine: str, labels: list[Atoms]) -> float:
    """CPU time of processes that have ended, s: start, load, and so many labels."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    reference = make_reference(engine)
    for atoms in labels:
        reference.label(atoms)
    reference.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """One label against several: the difference is what a label costs, the rest what loading does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", default=ENGINES)
    for engine in parser.parse_args().engines:
        for n_atoms in (16, 64):
            try:
                one, more = (seconds(engine, frames(n_atoms, n)) for n in (1, 1 + LABELS))
            except BackendError as error:
                print(f"{engine}: {str(error).splitlines()[0]}")
                break
            label = (more - one) / LABELS
            # The first label is computed twice, with another frame in between.
            print(f"{engine}, {n_atoms} atoms: {label:.2f} s a label, {one - 3 * label:.1f} s to start and load")


if __name__ == "__main__":
    main()
