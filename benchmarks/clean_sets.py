"""False alarms on sound labels, and corruptions that are found: counts of `trepid.inspection` on sets made here.

    clean_sets.py clean [NAME ...]        findings on sound sets; each is a false alarm
    clean_sets.py corrupted [NAME ...]    sets with one corruption each; whether it is found
    clean_sets.py list

Every set is made from a seed (--seed N; the thresholds of the checks were set on seed 20): metals and alloys of
effective-medium theory, Lennard-Jones, GFN1-xTB, empirical potentials in LAMMPS; hot, strained and defective crystals, surfaces,
clusters, mixed sizes and compositions, few frames, noisy labels. Frames of benchmarks/strata.py are judged too, where they have
been made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# isort: split

import numpy as np
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from trepid.data import Labels, attach_labels, read_frames
from trepid.inspection import inspect_frames
from trepid.reference import make_reference

STRATA = Path(__file__).resolve().parent / "data" / "strata"
SEED = 20


# ---- frames


def displaced(
    crystal: Atoms, n: int, rng: np.random.Generator, *, by: float = 0.06, strain: float = 0.02
) -> list[Atoms]:
    """Copies with normal displacements (A) and a random strain."""
    frames = []
    for _ in range(n):
        atoms = crystal.copy()
        if strain:
            deformation = np.eye(3) + strain * rng.normal(size=(3, 3))
            atoms.set_cell(np.array(atoms.cell) @ (deformation + deformation.T) / 2, scale_atoms=True)
        atoms.positions += by * rng.normal(size=(len(atoms), 3))
        frames.append(atoms)
    return frames


def trajectory(
    crystal: Atoms, calculator: Calculator, n: int, rng: np.random.Generator, *, kelvin: float
) -> list[Atoms]:
    """Frames of Langevin dynamics, 40 fs apart after 200 fs."""
    atoms = crystal.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * kelvin, rng=rng)
    dynamics = Langevin(atoms, 4 * units.fs, temperature_K=kelvin, friction=0.02 / units.fs, rng=rng)
    dynamics.run(50)
    frames = []
    for _ in range(n):
        dynamics.run(10)
        frames.append(Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    return frames


def with_vacancy(crystal: Atoms, k: int = 0) -> Atoms:
    """The crystal without one atom."""
    atoms = crystal.copy()
    del atoms[k]
    return atoms


def labelled(frames: Sequence[Atoms], make: Callable[[], Calculator], *, stress: bool = True) -> list[Atoms]:
    """Frames with the labels of an ASE calculator."""
    found = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = make()
        periodic = stress and atoms.pbc.all()
        labels = Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress() if periodic else None)
        found.append(attach_labels(frame, labels))
    return found


def noisy(
    frames: Sequence[Atoms], rng: np.random.Generator, *, energy: float, forces: float, stress: float
) -> list[Atoms]:
    """Labels with normal noise: eV per root atom, eV/A, eV/A^3."""
    found = []
    for atoms in frames:
        copy = atoms.copy()
        noise = forces * rng.normal(size=(len(atoms), 3))
        copy.arrays["REF_forces"] = copy.arrays["REF_forces"] + noise - noise.mean(axis=0)
        copy.info["REF_energy"] += energy * np.sqrt(len(atoms)) * rng.normal()
        if "REF_stress" in copy.info:
            copy.info["REF_stress"] = copy.info["REF_stress"] + stress * rng.normal(size=6)
        found.append(copy)
    return found


def mixed_alloy(n: int, rng: np.random.Generator) -> list[Atoms]:
    """Cu and Au on an fcc lattice, another composition in every frame."""
    frames = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True, a=3.6 + 0.4 * k / n) * (2, 2, 2)
        gold = rng.choice(len(atoms), size=1 + (k * 29) // n, replace=False)
        atoms.symbols[gold] = "Au"
        frames += displaced(atoms, 1, rng)
    return frames


def clusters(n: int, rng: np.random.Generator) -> list[Atoms]:
    """Icosahedra of gold, 13 and 55 atoms, in no cell."""
    frames = []
    for k in range(n):
        atoms = Icosahedron("Au", 2 + k % 2)
        frames += displaced(Atoms(atoms.symbols, positions=atoms.positions), 1, rng, by=0.08, strain=0.0)
    return frames


def water(n: int, rng: np.random.Generator) -> list[Atoms]:
    """Six water molecules in a box."""
    frames = []
    for _ in range(n):
        box = Atoms(cell=[6.4, 6.4, 9.6], pbc=True)
        for shift in ((1, 1, 1), (4.2, 4.2, 1), (1, 4.2, 4.2), (4.2, 1, 4.2), (1, 1, 7.4), (4.2, 4.2, 7.4)):
            one = molecule("H2O")
            one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3))
            one.positions += np.array(shift) - one.get_center_of_mass()
            box += one
        frames += displaced(box, 1, rng, by=0.03, strain=0.0)
    return frames


def lammps(frames: Sequence[Atoms], commands: list[str]) -> list[Atoms]:
    """Labels of a potential in LAMMPS."""
    reference = make_reference("lammps", commands=commands)
    try:
        return [reference.label(frame) for frame in frames]
    finally:
        reference.close()


def tblite(frames: Sequence[Atoms]) -> list[Atoms]:
    """Labels of GFN1-xTB."""
    reference = make_reference("tblite")
    try:
        return [reference.label(frame) for frame in frames]
    finally:
        reference.close()


def lj() -> LennardJones:
    """Argon."""
    return LennardJones(sigma=3.4, epsilon=0.0104, rc=9.0, smooth=True)


def fcc(symbol: str, size: int = 2) -> Atoms:
    """A cubic cell of a metal."""
    return bulk(symbol, cubic=True) * (size, size, size)


BMH = [
    "pair_coeff 1 1 0.2637 0.317 2.340 1.0486 -0.4993",
    "pair_coeff 1 2 0.2110 0.317 2.755 6.9906 -8.6758",
    "pair_coeff 2 2 0.1582 0.317 3.170 72.4022 -145.4285",
]

Maker = Callable[[np.random.Generator], list[Atoms]]

SETS: dict[str, Maker] = {
    "cu_displaced": lambda rng: labelled(displaced(fcc("Cu"), 20, rng), EMT),
    "al_hot": lambda rng: labelled(trajectory(fcc("Al"), EMT(), 30, rng, kelvin=900), EMT),
    "ni_strained": lambda rng: labelled(displaced(fcc("Ni"), 20, rng, by=0.03, strain=0.06), EMT),
    "pd_few_frames": lambda rng: labelled(displaced(fcc("Pd"), 2, rng), EMT),
    "pt_four_frames": lambda rng: labelled(displaced(fcc("Pt"), 4, rng, by=0.1), EMT),
    "ag_surface": lambda rng: labelled(
        displaced(fcc111("Ag", (3, 3, 4), vacuum=6.0, periodic=True), 16, rng, strain=0.0), EMT
    ),
    "au_clusters": lambda rng: labelled(clusters(16, rng), EMT),
    "cu_tiny_forces": lambda rng: labelled(displaced(fcc("Cu"), 12, rng, by=0.002, strain=0.0), EMT),
    "cu_vacancies": lambda rng: labelled(
        [*displaced(fcc("Cu"), 10, rng), *displaced(with_vacancy(fcc("Cu")), 10, rng)], EMT
    ),
    "cuau_compositions": lambda rng: labelled(mixed_alloy(24, rng), EMT),
    "al_sizes": lambda rng: labelled(
        [frame for size in (1, 2, 3) for frame in displaced(fcc("Al", size), 8, rng, by=0.08)], EMT
    ),
    "cu_bulk_surface_cluster": lambda rng: labelled(
        [
            *displaced(fcc("Cu"), 14, rng),
            *displaced(fcc111("Cu", (3, 3, 4), vacuum=6.0, periodic=True), 4, rng, strain=0.0),
            *displaced(Atoms("Cu2", positions=[[0, 0, 0], [2.3, 0, 0]], cell=3 * [12.0], pbc=True), 3, rng, strain=0.0),
        ],
        EMT,
    ),
    "ni_noisy": lambda rng: noisy(
        labelled(displaced(fcc("Ni"), 24, rng), EMT), rng, energy=0.005, forces=0.03, stress=5e-4
    ),
    "ar_crystal": lambda rng: labelled(displaced(bulk("Ar", cubic=True, a=5.3) * (2, 2, 2), 16, rng, by=0.15), lj),
    "ar_liquid": lambda rng: labelled(
        trajectory(bulk("Ar", cubic=True, a=5.9) * (2, 2, 2), lj(), 20, rng, kelvin=150), lj
    ),
    "mgo_gfn1": lambda rng: tblite(displaced(bulk("MgO", "rocksalt", a=4.2, cubic=True) * (2, 1, 1), 16, rng, by=0.08)),
    "water_gfn1": lambda rng: tblite(water(16, rng)),
    "gaas_gfn1": lambda rng: tblite(displaced(bulk("GaAs", "zincblende", a=5.65, cubic=True) * (2, 1, 1), 16, rng)),
    "nacl_bmh": lambda rng: lammps(
        displaced(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2), 16, rng, by=0.12),
        ["pair_style born 9.0", *BMH],
    ),
    "ne_lj_lammps": lambda rng: lammps(
        displaced(bulk("Ne", "fcc", a=4.4, cubic=True) * (2, 2, 2), 16, rng, by=0.1),
        ["pair_style lj/cut 8.0", "pair_coeff * * 0.0031 2.75"],
    ),
    "k_bcc_morse": lambda rng: lammps(
        displaced(bulk("K", cubic=True) * (3, 3, 3), 16, rng, by=0.15),
        ["pair_style morse 11.0", "pair_coeff * * 0.05424 0.49767 6.369"],
    ),
    "fe_bcc_morse_hot": lambda rng: lammps(
        displaced(bulk("Fe", cubic=True) * (2, 2, 2), 24, rng, by=0.2, strain=0.03),
        ["pair_style morse 7.0", "pair_coeff * * 0.4174 1.3885 2.845"],
    ),
}


# ---- corruptions


def _scale(key: str, factor: float) -> Callable[[Atoms], None]:
    def change(atoms: Atoms) -> None:
        if key == "REF_forces":
            atoms.arrays[key] = factor * atoms.arrays[key]
        elif key in atoms.info:
            atoms.info[key] = factor * np.asarray(atoms.info[key])

    return change


def _per_atom(atoms: Atoms) -> None:
    atoms.info["REF_energy"] /= len(atoms)


def _virial(atoms: Atoms) -> None:
    atoms.info["REF_stress"] = -atoms.get_volume() * np.asarray(atoms.info["REF_stress"])


def _zero_some_forces(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][: len(atoms) // 3] = 0.0


def _add_energy(atoms: Atoms) -> None:
    atoms.info["REF_energy"] += 0.3 * len(atoms)


def _permute(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"] = np.roll(atoms.arrays["REF_forces"], 3, axis=0)


def _wrong_atom(atoms: Atoms) -> None:
    atoms.arrays["REF_forces"][1] += [0.0, 12.0, 0.0]


@dataclass(frozen=True)
class Corruption:
    """One way to spoil labels.

    Attributes
    ----------
    change : callable
        Of one frame.
    where : callable
        Which of n frames are spoilt.
    needs : str
        Label kind without which it cannot be done.
    """

    change: Callable[[Atoms], None]
    where: Callable[[int], list[int]] = lambda n: list(range(n))
    needs: str = "REF_energy"


def _half(n: int) -> list[int]:
    return list(range(0, n, 2))


def _tenth(n: int) -> list[int]:
    return list(range(1, n, 10))


def _one(n: int) -> list[int]:
    return [n // 2]


CORRUPTIONS: dict[str, Corruption] = {
    "gradients": Corruption(_scale("REF_forces", -1)),
    "forces Ha/Bohr": Corruption(_scale("REF_forces", 1 / 51.422)),
    "forces Ry/Bohr": Corruption(_scale("REF_forces", 1 / 25.711)),
    "forces kcal/mol": Corruption(_scale("REF_forces", 23.06)),
    "energies negated": Corruption(_scale("REF_energy", -1)),
    "energies Ha": Corruption(_scale("REF_energy", 1 / 27.211)),
    "energies Ry": Corruption(_scale("REF_energy", 1 / 13.606)),
    "energies kJ/mol": Corruption(_scale("REF_energy", 96.485)),
    "energies per atom": Corruption(_per_atom),
    "energies half shifted": Corruption(_add_energy, _half),
    "energies tenth shifted": Corruption(_add_energy, _tenth),
    "one energy wrong": Corruption(_add_energy, _one),
    "energies zero in half": Corruption(_scale("REF_energy", 0.0), _half),
    "stress negated": Corruption(_scale("REF_stress", -1), needs="REF_stress"),
    "stress GPa": Corruption(_scale("REF_stress", 160.2), needs="REF_stress"),
    "stress kbar negated": Corruption(_scale("REF_stress", -1602), needs="REF_stress"),
    "stress virial": Corruption(_virial, needs="REF_stress"),
    "stress zero": Corruption(_scale("REF_stress", 0.0), needs="REF_stress"),
    "forces zeroed on some": Corruption(_zero_some_forces),
    "forces zero in one": Corruption(_scale("REF_forces", 0.0), _one),
    "one frame negated": Corruption(_scale("REF_forces", -1), _one),
    "one frame permuted": Corruption(_permute, _one),
    "one force wrong": Corruption(_wrong_atom, _one),
    "a third negated": Corruption(_scale("REF_forces", -1), lambda n: list(range(0, n, 3))),
}
CORRUPTED = (
    "cu_displaced",
    "al_hot",
    "cuau_compositions",
    "mgo_gfn1",
    "gaas_gfn1",
    "water_gfn1",
    "k_bcc_morse",
    "ni_noisy",
)


def made(name: str, seed: int) -> list[Atoms]:
    """The frames of a set."""
    if name in SETS:
        return SETS[name](np.random.default_rng([seed, *name.encode()]))
    return read_frames(STRATA / f"{name.removeprefix('strata_')}.extxyz")


def names() -> list[str]:
    """All sets, with those of the strata that have been made."""
    return [*SETS, *(f"strata_{path.stem}" for path in sorted(STRATA.glob("*.extxyz")))]


def clean(chosen: Sequence[str], seed: int) -> int:
    """Findings on sound sets; their number."""
    alarms = 0
    print(f"{'set':<26}{'frames':>7}{'atoms':>8}{'s':>7}  findings")
    for name in chosen:
        frames = made(name, seed)
        began = time.process_time()
        findings = inspect_frames(frames)
        seconds = time.process_time() - began
        alarms += len(findings)
        atoms = sum(len(frame) for frame in frames)
        print(f"{name:<26}{len(frames):>7}{atoms:>8}{seconds:>7.2f}  {len(findings)}", flush=True)
        for finding in findings:
            print(f"    frame {finding.frame}: {finding.message}")
    print(f"{len(chosen)} sets, {alarms} false alarms")
    return alarms


def corrupted(chosen: Sequence[str], seed: int) -> None:
    """Which corruptions are found in which sets."""
    sets = {name: made(name, seed) for name in chosen}
    found, tried = 0, 0
    print(f"{'corruption':<24}" + "".join(f"{name[:11]:>12}" for name in chosen))
    for title, corruption in CORRUPTIONS.items():
        row = []
        for frames in sets.values():
            if not all(corruption.needs in frame.info for frame in frames):
                row.append("-")
                continue
            spoilt = [frame.copy() for frame in frames]
            for k in corruption.where(len(spoilt)):
                corruption.change(spoilt[k])
            tried += 1
            hit = bool(inspect_frames(spoilt))
            found += hit
            row.append("found" if hit else "MISSED")
        print(f"{title:<24}" + "".join(f"{cell:>12}" for cell in row), flush=True)
    print(f"{found} of {tried} found")


def main() -> None:
    """Run a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("list", "clean", "corrupted"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_intermixed_args()
    if arguments.part == "list":
        print("\n".join(names()))
    elif arguments.part == "clean":
        raise SystemExit(bool(clean(arguments.names or names(), arguments.seed)))
    else:
        corrupted(arguments.names or CORRUPTED, arguments.seed)


if __name__ == "__main__":
    main()
