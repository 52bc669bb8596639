"""Frames of the strata: structures, molecular dynamics on a truth in LAMMPS, labels, and the files that keep them.

The dynamics gives positions only. Every kept frame is labelled afterwards by `trepid.reference.lammps` from an empty
LAMMPS, so that neither the thermostat nor the spring that holds a hopping atom is in the labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _strata_truths import HELD_OUT, Prototype, Stratum, Truth
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.spatial import cKDTree

from trepid.data import read_frames, write_frames
from trepid.errors import ConfigError, NumericsError
from trepid.lammps.session import NEIGHBOR, Session
from trepid.lammps.system import System
from trepid.reference.lammps import LAMMPSReference

FloatArray = NDArray[np.float64]

FOLDER = Path(__file__).resolve().parent / "data" / "strata"
N_TRAIN = 40
N_TEST = 12
"""Frames of every other stratum."""
SPACING_PS = 0.4
EQUILIBRATION_PS = 2.0
RELAXATION_FS = 100.0
"""Of the Nose-Hoover thermostat."""
HOP_FRACTIONS = (0.25, 0.4, 0.5)
"""Of the way of a neighbour into the vacancy."""
SPRING_EV_PER_A2 = 20.0
"""Holds the hopping atom within sqrt(kT / k), about 0.05 A at 600 K."""
CLEARANCE = 0.85
"""Atoms closer than this share of the nearest distance in the crystal push the straight path aside."""
VACUUM_A = 12.0
COMPRESSION, EXPANSION = 0.95, 1.04
"""Factors on the cell vectors."""
SHORTEST_A = 0.8
LARGEST_EV_PER_A = 80.0
"""A frame with a shorter distance or a larger force is not physical: the truth or its settings are wrong."""


@dataclass(frozen=True)
class Start:
    """What one trajectory starts from.

    Attributes
    ----------
    atoms : Atoms
    temperature_K : float
    minimise : bool
        Minimise the energy first; a defect put in by hand needs it.
    held : int or None
        Index of an atom that a spring holds where it is.
    """

    atoms: Atoms
    temperature_K: float
    minimise: bool = False
    held: int | None = None


# ---- structures


def lattice_constant(truth: Truth, reference: LAMMPSReference) -> float:
    """Lattice constant without stress at 0 K, A.

    Raises
    ------
    ConfigError
        There is none within 6 % of the estimate.
    """

    def pressure(scale: float) -> float:
        labelled = reference.label(truth.crystal(scale * truth.lattice_A))
        return float(np.sum(labelled.info["REF_stress"][:3]))

    low, high = pressure(0.94), pressure(1.06)
    if low * high > 0:
        raise ConfigError(
            f"{truth.name}: the stress does not change its sign within 6 % of {truth.lattice_A} A "
            f"({low:.3g} and {high:.3g} eV/A^3); give a better lattice_A"
        )
    return truth.lattice_A * float(brentq(pressure, 0.94, 1.06, xtol=1e-6))


def starts(truth: Truth, stratum: Stratum, lattice_A: float) -> list[Start]:
    """Starts of the trajectories of a stratum, in cells of the lattice constant at 0 K and the expansion of the truth."""
    t = truth.temperatures

    def crystal(temperature_K: float, factor: float = 1.0) -> Atoms:
        return truth.crystal(factor * lattice_A * (1 + truth.expansion_per_K * temperature_K))

    match stratum:
        case Stratum.TRAIN | Stratum.FRESH:
            return [Start(crystal(t.low_K), t.low_K)]
        case Stratum.HOT:
            return [Start(crystal(t.hot_K), t.hot_K)]
        case Stratum.COMPRESSED:
            return [Start(crystal(t.low_K, COMPRESSION), t.low_K)]
        case Stratum.EXPANDED:
            return [Start(crystal(t.low_K, EXPANSION), t.low_K)]
        case Stratum.SURFACE:
            return [Start(_slab(crystal(t.middle_K)), t.middle_K, minimise=True)]
        case Stratum.INTERSTITIAL:
            return [Start(_with_interstitial(crystal(t.middle_K), truth), t.middle_K, minimise=True)]
        case Stratum.HOP:
            return [Start(*_on_its_way(crystal(t.middle_K), truth, fraction), held=0) for fraction in HOP_FRACTIONS]


def _slab(crystal: Atoms) -> Atoms:
    """The crystal cut open along z: a (001) slab with vacuum."""
    slab = crystal.copy()
    cell = np.array(slab.cell)
    cell[2, 2] += VACUUM_A
    slab.set_cell(cell)
    slab.positions[:, 2] += VACUUM_A / 2
    return slab


def _tree(atoms: Atoms) -> cKDTree:
    return cKDTree(atoms.get_positions(wrap=True), boxsize=atoms.cell.lengths())


def nearest_distance(atoms: Atoms) -> float:
    """Shortest distance between atoms of an orthogonal periodic cell, A."""
    return float(_tree(atoms).query(atoms.get_positions(wrap=True), k=2)[0][:, 1].min())


def _with_interstitial(crystal: Atoms, truth: Truth) -> Atoms:
    """One more atom of the first species at the point farthest from all atoms."""
    edge = crystal.cell.lengths()[0] / truth.repeat
    grid = np.stack(np.meshgrid(*3 * [np.arange(12) / 12 * edge], indexing="ij"), axis=-1).reshape(-1, 3)
    distances = _tree(crystal).query(grid)[0]
    site = grid[int(np.argmax(np.round(distances, 6)))]  # rounded: the first of equal sites on every machine
    return crystal + Atoms(truth.species[:1], positions=[site])


def _on_its_way(crystal: Atoms, truth: Truth, fraction: float) -> tuple[Atoms, float]:
    """A vacancy of the first species, its nearest neighbour a `fraction` of the way into it as atom 0; and the temperature.

    In a B2 crystal the neighbour is the nearest atom of any species, elsewhere the nearest of the same species. Atoms
    beside the straight path push it aside.
    """
    symbols = np.array(crystal.get_chemical_symbols())
    # A vacancy in the middle of the cell, so that path and neighbours need no periodic images.
    middle = crystal.cell.lengths() / 2
    of_species = np.flatnonzero(symbols == truth.species[0])
    vacancy = of_species[int(np.argmin(np.linalg.norm(crystal.positions[of_species] - middle, axis=1).round(6)))]
    distances = crystal.get_distances(vacancy, range(len(crystal)), mic=True)
    unsuited = np.arange(len(crystal)) == vacancy
    if truth.prototype is not Prototype.CESIUMCHLORIDE:
        unsuited |= symbols != truth.species[0]
    distances[unsuited] = np.inf
    neighbour = int(np.argmin(distances.round(6)))
    path = crystal.get_distance(neighbour, vacancy, mic=True, vector=True)
    others = crystal[[k for k in range(len(crystal)) if k not in (vacancy, neighbour)]]
    point = crystal.positions[neighbour] + fraction * path
    clearance = CLEARANCE * nearest_distance(crystal)
    along = path / np.linalg.norm(path)
    for _ in range(100):
        apart = others.positions - point
        apart -= crystal.cell.lengths() * np.round(apart / crystal.cell.lengths())
        away = np.linalg.norm(apart, axis=1)
        push = -np.sum(apart * (np.clip(clearance - away, 0.0, None) / away)[:, None], axis=0)
        point = point + 0.5 * (push - along * (push @ along))
    moved = Atoms(symbols[[neighbour]], positions=[point], cell=crystal.cell, pbc=True)
    return moved + others, truth.temperatures.middle_K


# ---- dynamics


def trajectory(truth: Truth, start: Start, n_frames: int, seed: int) -> Iterator[Atoms]:
    """Frames of Nose-Hoover molecular dynamics in a fixed cell, `SPACING_PS` apart, without labels.

    Raises
    ------
    NumericsError
        LAMMPS refuses a command or loses atoms.
    """
    atoms, t = start.atoms, start.temperature_K
    system = replace(
        System.of(atoms),
        elements=truth.species,
        masses=tuple(float(atomic_masses[atomic_numbers[element]]) for element in truth.species),
        types=np.array([truth.atom_types[symbol] for symbol in atoms.symbols], dtype=np.int32),
    )
    dt = truth.timestep_fs / 1000
    session = Session(plugin=False)
    try:
        session.commands(
            f"units metal\natom_style {'charge' if truth.charges else 'atomic'}\natom_modify map yes\nnewton on"
        )
        session.create_atoms(atoms, system, velocities=False)
        charges = [f"set type {k} charge {q}" for k, q in enumerate(truth.charges, start=1)]
        session.commands("\n".join([*charges, *truth.resolved]) + "\n" + NEIGHBOR)
        setup = [f"timestep {dt}"]
        if start.held is not None:
            x, y, z = system.box.to_lammps(atoms.positions[[start.held]])[0]
            setup += [
                f"group held id {start.held + 1}",
                "group rest subtract all held",
                f"fix spring held spring tether {SPRING_EV_PER_A2} {x:.12g} {y:.12g} {z:.12g} 0.0",
                "minimize 0 1e-2 100 1000",
            ]
        elif start.minimise:
            setup += ["minimize 0 1e-2 200 2000"]
        # Twice the temperature: half of it goes into potential energy.
        setup += [
            f"velocity all create {2 * t} {seed} mom yes rot no dist gaussian",
            f"fix nvt all nvt temp {t} {t} {RELAXATION_FS / 1000}",
        ]
        if start.held is not None:
            # The crystal must not drift until the held atom sits on a site.
            setup += ["fix still rest momentum 1 linear 1 1 1"]
        session.commands("\n".join(setup) + f"\nrun {round(EQUILIBRATION_PS / dt)} post no")
        for _ in range(n_frames):
            session.commands(f"run {round(SPACING_PS / dt)} post no")
            yield Atoms(atoms.symbols, positions=session.positions(system), cell=atoms.cell, pbc=True)
    finally:
        session.close()


# ---- files


def path_of(truth: Truth) -> Path:
    """File with all frames of a truth."""
    return FOLDER / f"{truth.name}.extxyz"


def make(truth: Truth) -> list[Atoms]:
    """Make, label and write all frames of a truth; frames carry `stratum` and `digest` in their info.

    Raises
    ------
    NumericsError
        A frame is not physical; see `SHORTEST_A`, `LARGEST_EV_PER_A`.
    """
    reference = truth.reference()
    frames: list[Atoms] = []
    try:
        lattice_A = lattice_constant(truth, reference)
        for k, stratum in enumerate((Stratum.TRAIN, Stratum.FRESH, *HELD_OUT)):
            begins = starts(truth, stratum, lattice_A)
            n = N_TRAIN if stratum is Stratum.TRAIN else N_TEST // len(begins)
            for j, start in enumerate(begins):
                for frame in trajectory(truth, start, n, seed=1000 * (k + 1) + j):
                    labelled = reference.label(frame)
                    _require_physical(labelled, f"{truth.name}, {stratum.value}")
                    labelled.info |= {"stratum": stratum.value, "digest": truth.digest}
                    frames.append(labelled)
    finally:
        reference.close()
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_frames(path_of(truth), frames)
    return frames


def _require_physical(atoms: Atoms, where: str) -> None:
    shortest = nearest_distance(atoms)
    largest = float(np.linalg.norm(atoms.arrays["REF_forces"], axis=1).max())
    if shortest < SHORTEST_A or largest > LARGEST_EV_PER_A:
        raise NumericsError(
            f"{where}: a frame has a distance of {shortest:.2f} A and a force of {largest:.1f} eV/A; the limits are "
            f"{SHORTEST_A} A and {LARGEST_EV_PER_A} eV/A"
        )


def is_made(truth: Truth) -> bool:
    """Whether the file of a truth exists and belongs to its present definition."""
    path = path_of(truth)
    return path.exists() and str(read_frames(path, index=0)[0].info.get("digest")) == truth.digest


def load(truth: Truth) -> dict[Stratum, list[Atoms]]:
    """Frames by stratum.

    Raises
    ------
    ConfigError
        They are not made, or for another definition of the truth.
    """
    if not is_made(truth):
        raise ConfigError(f"{path_of(truth)} is missing or out of date; run: strata.py make {truth.name}")
    out: dict[Stratum, list[Atoms]] = {stratum: [] for stratum in (Stratum.TRAIN, Stratum.FRESH, *HELD_OUT)}
    for atoms in read_frames(path_of(truth)):
        out[Stratum(atoms.info["stratum"])].append(atoms)
    return out
