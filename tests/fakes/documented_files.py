"""The files that commands of the documentation name, made small: copper iodide and silicon by classical potentials in LAMMPS.

Every page of the documentation is run in a copy of one of these folders. The truth of CuI is the AgI-like toy of
benchmarks/_toy.py under other names, in which ions leave their sites at 500 K; that of silicon is the potential of Stillinger and
Weber. Labels cost milliseconds.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

import trepid
from code_outputs import vasprun
from documentation import ROOT
from screening_fakes import screening
from trepid.cli.main import run
from trepid.data import read_frames, write_frames
from trepid.data.frames import bare_copy, read_structure
from trepid.lammps.installation import find_installation
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference.lammps import LAMMPSReference

SMALL_BASIS = {"pair_cutoff": 5.0, "triplet_cutoff": 3.6, "n_pair": 12, "n_radial": 6, "l_max": 2}
INTERVAL_FS = 20.0
"""Between two frames of the trajectories."""
N_FRAMES = 240
"""Of a trajectory: the softest mode of copper iodide needs 4.1 ps."""


def toy_reference(folder: Path) -> dict[str, Any]:
    """The section `reference` of the toy, with its tables in `folder`."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from _toy import toy_commands
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return {"engine": "lammps", "commands": toy_commands(folder), "atom_types": {"Cu": 1, "I": 2}}


def silicon_reference() -> dict[str, Any]:
    """The section `reference` of silicon."""
    parameters = next(find_installation().program.parent.rglob("Si.sw"))
    return {
        "engine": "lammps",
        "commands": ["pair_style sw", "pair_coeff * * Si.sw Si"],
        "files": [str(parameters)],
    }


def made(reference: dict[str, Any]) -> LAMMPSReference:
    """The reference of such a section."""
    return LAMMPSReference(
        reference["commands"], atom_types=reference.get("atom_types"), files=reference.get("files", [])
    )


def labelled(
    reference: LAMMPSReference, crystal: Atoms, n: int, *, amplitude_A: float, seed: int, kind: str = "crystal"
) -> list[Atoms]:
    """Displaced crystals with labels and the `config_type` `kind`."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = crystal.copy()
        strain = np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))
        atoms.set_cell(atoms.cell[:] @ ((strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += amplitude_A * rng.standard_normal((len(atoms), 3))
        frame = reference.label(atoms)
        frame.info["config_type"] = kind
        frames.append(frame)
    return frames


def walk(model: BayesianForceField, crystal: Atoms, n: int, *, seed: int, temperature_K: float = 150.0) -> list[Atoms]:
    """Frames of molecular dynamics at constant energy, with forces, velocities and times."""
    atoms = crystal.copy()
    atoms.calc = model.calculator(uncertainty="none")
    normal = np.random.default_rng(seed).standard_normal((len(atoms), 3))
    atoms.set_momenta(np.sqrt(2 * units.kB * temperature_K * atoms.get_masses())[:, None] * normal)
    Stationary(atoms)
    md = VelocityVerlet(atoms, 2.0 * units.fs)
    frames = []
    for k in range(n):
        md.run(round(INTERVAL_FS / 2.0))
        frame = atoms.copy()
        frame.info["time_fs"] = (k + 1) * INTERVAL_FS
        frame.arrays["REF_forces"] = atoms.get_forces()
        frames.append(frame)
    return frames


def write_dump(path: Path, frames: Sequence[Atoms], species: Sequence[str], *, elements: bool = False) -> None:
    """A LAMMPS dump with positions and velocities, and no times; with types of atoms, or elements."""
    lines = []
    for step, atoms in enumerate(frames):
        kinds = [symbol if elements else str(species.index(symbol) + 1) for symbol in atoms.symbols]
        velocities = atoms.get_velocities() * 1e3 * units.fs
        lines += ["ITEM: UNITS", "metal", "ITEM: TIMESTEP", str(10 * step), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *(f"0 {length:.12g}" for length in atoms.cell.lengths())]
        lines.append(f"ITEM: ATOMS id {'element' if elements else 'type'} xu yu zu vx vy vz")
        rows = np.c_[atoms.positions, velocities]
        lines += [
            f"{k} {kind} " + " ".join(f"{x:.10g}" for x in row)
            for k, (kind, row) in enumerate(zip(kinds, rows, strict=True), 1)
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Prepared:
    """One folder of files, made once.

    Parameters
    ----------
    folder : path
    name : str
        "cui" or "si".
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True)
        self.references = {"CuI": toy_reference(folder.parent / f"tables-{name}"), "Si": silicon_reference()}
        self.reference = self.references["CuI" if name == "cui" else "Si"]
        if name == "cui":
            self.primitive, self.cubic = bulk("CuI", "zincblende", a=6.5), bulk("CuI", "zincblende", a=6.5, cubic=True)
        else:
            self.primitive, self.cubic = bulk("Si", a=5.431), bulk("Si", a=5.431, cubic=True)
        self.species = sorted(set(self.primitive.symbols))
        self._structures()
        self._labels()
        self._models()
        self._trajectories()
        self._campaign()

    def copy(self, target: Path) -> Path:
        """A copy to run commands in."""
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        return target

    def _structures(self) -> None:
        at = self.folder
        self.primitive.write(at / "POSCAR", format="vasp")
        for name in ("CuI.cif", "cui.cif", "my_crystal.cif", "mine.cif"):
            self.cubic.write(at / name)
        self.small = self.cubic.repeat((2, 1, 1))
        for name in ("md", "md-01", "md-03", "examples/screening"):
            (at / name).mkdir(parents=True)
        shutil.copy(ROOT / "examples/screening/materials.yaml", at / "examples/screening")
        screened = screening(at, ("Cu",), rounds={"max_rounds": 1}).to_file_json()
        screened["output"]["directory"] = "screening"
        (at / "materials.yaml").write_text(yaml.safe_dump(screened))
        write_frames(at / "aggase2.extxyz", read_frames(ROOT / "tests/data_files/aggase2_gfn1_16.extxyz")[:6])
        write_frames(at / "crystal.extxyz", [self.primitive.repeat(2)])
        write_frames(at / f"{self.name}.extxyz", [self.cubic])
        charges = (
            "1.2 0 0 0 1.2 0 0 0 1.2\n-1.2 0 0 0 -1.2 0 0 0 -1.2\n" if self.name == "cui" else "0 0 0 0 0 0 0 0 0\n"
        )
        (at / "BORN").write_text(f"14.4\n5 0 0 0 5 0 0 0 5\n{charges}")

    def _labels(self) -> None:
        at, reference = self.folder, made(self.reference)
        small = self.primitive.repeat(2)
        sets = {
            "train": (8, 0.08, "crystal"),
            "test": (3, 0.08, "crystal"),
            "new": (2, 0.10, "crystal"),
            "new_labels": (3, 0.12, "crystal"),
            "fresh": (3, 0.08, "crystal"),
            "hot": (3, 0.15, "hot phase"),
            "melt": (4, 0.20, "melt"),
            "two_of_the_melt": (2, 0.20, "melt"),
        }
        self.frames = {
            name: labelled(reference, small, n, amplitude_A=amplitude, seed=k, kind=kind)
            for k, (name, (n, amplitude, kind)) in enumerate(sets.items())
        }
        pairs = labelled(reference, self.primitive, 8, amplitude_A=0.08, seed=20)
        other_melt = labelled(reference, small, 4, amplitude_A=0.20, seed=21, kind="melt")
        reference.close()
        # What the model is trained on has no frame of melt.extxyz, by which bars are calibrated.
        self.frames["all"] = [frame for name in ("train", "hot") for frame in self.frames[name]] + other_melt
        for name, frames in self.frames.items():
            write_frames(at / f"{name}.extxyz", frames)
        write(at / "frames.traj", [_with_results(atoms) for atoms in self.frames["train"]])
        if self.name == "cui":
            (at / "vasprun.xml").write_text(vasprun([_under_the_names_of_ase(atoms) for atoms in pairs]))

    def _models(self) -> None:
        at = self.folder
        self.model = BayesianForceField(self.species, n_channels=0, **SMALL_BASIS).fit(self.frames["all"])
        for name in ("cui", "si", "m", "model", "model-01", "naive"):
            self.model.save(at / f"{name}.trepid")
        (at / "cui.trepid.settings.yaml").unlink(missing_ok=True)

    def _trajectories(self) -> None:
        at, kinds = self.folder, {}
        walks = [walk(self.model, self.small, N_FRAMES, seed=seed) for seed in range(3)]
        names = ("nve-1", "nve-2", "draw-1", "run-1", "run-2", "draw-2", "naive-1", "naive-2", "draw-3")
        for k, name in enumerate(names):
            kinds[name] = walks[k % 3]
            write(at / f"{name}.extxyz", kinds[name])
        for name in ("nve-1", "nve-2"):
            write_dump(at / f"{name}.lammpstrj", kinds[name], self.species, elements=True)
        write_dump(at / "dump.lammpstrj", kinds["run-1"], self.species)
        write(at / "XDATCAR", kinds["run-1"], format="vasp-xdatcar")
        frames = walk(self.model, self.primitive.repeat(2), 120, seed=3)  # the supercell of the campaign
        for name in ("trajectory", "aimd", "md/trajectory", "md-01/trajectory", "md-03/trajectory"):
            write(at / f"{name}.extxyz", frames)

    def _campaign(self) -> None:
        at = self.folder
        (at / "reference.yaml").write_text(yaml.safe_dump({"reference": self.reference}))
        settings = {
            "structure": {"file": "POSCAR", "supercell": [2, 2, 2]},
            "reference": self.reference,
            "potential": dict(SMALL_POTENTIAL),
            "dynamics": {"stages": [{"temperature_K": 300, "duration_ps": 0.1}]},
            "output": {"directory": "run", "sample_every": 10},
        }
        (at / "campaign.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        trepid.learn(at / "campaign.yaml")
        model, crystal = str(at / "cui.trepid"), str(at / "POSCAR")
        assert run(["phonons", model, crystal, "-o", str(at / "phonons"), "--posterior", "3", "--points", "6"]) == 0
        for name in ("before", "after"):
            shutil.copytree(at / "phonons", at / name / "phonons")
        shutil.copy(at / "phonons" / "phonopy_params.yaml", at)


SMALL_POTENTIAL = {"kind": "bayesian", **{f"{k}_A" if "cutoff" in k else k: v for k, v in SMALL_BASIS.items()}}


def _with_results(atoms: Atoms) -> Atoms:
    """The labels as results of a calculator."""
    frame = bare_copy(atoms)
    frame.calc = SinglePointCalculator(frame, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"])
    return frame


def _under_the_names_of_ase(atoms: Atoms) -> Atoms:
    """The labels as `energy`, `forces` and `stress`."""
    frame = atoms.copy()
    for name in ("energy", "stress"):
        frame.info[name] = frame.info.pop(f"REF_{name}")
    frame.arrays["forces"] = frame.arrays.pop("REF_forces")
    return frame


def shrunk(path: Path, references: dict[str, dict[str, Any]]) -> None:
    """Give the campaign file a budget of seconds: cheap labels, a small cell and model, short runs; all else stays."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    crystal = read_structure(path.parent / settings["structure"]["file"])
    settings["structure"]["supercell"] = [2, 2, 2] if len(crystal) < 8 else [1, 1, 1]
    if crystal.get_chemical_formula(empirical=True) in references:
        settings["reference"] = references[crystal.get_chemical_formula(empirical=True)]
    settings["potential"] = dict(SMALL_POTENTIAL)
    if settings.get("mode") == "rounds":
        settings["start"] = {"kind": "displaced", "n": 4}
        settings["walkers"] |= {"temperatures_K": [300], "duration_ps": 0.2, "equilibrate_ps": 0.02}
        settings["acquisition"] |= {"labels_per_round": 2}
        settings["rounds"] = {**settings.get("rounds", {}), "max_rounds": 1}
    else:
        settings["dynamics"]["stages"] = [{"temperature_K": 300, "duration_ps": 0.1}]
        settings["learning"] |= {"max_labels": 6}
        settings["output"] |= {"sample_every": 10}
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
