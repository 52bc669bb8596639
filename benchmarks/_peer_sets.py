"""Frames of `peers.py`: what every peer is trained on, what it is tested on, and the moving crystal for its speed.

Known files of the folder are split as `SETS` says; frames of a user are added as pairs of files that are split already,
`NAME.train.extxyz` and `NAME.test.extxyz` or several `NAME.test-STRATUM.extxyz`. Labels are REF_energy (eV) and REF_forces
(eV/A).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import CuI
from ase import Atoms

from trepid.data import read_frames
from trepid.data.frames import Labels, attach_labels, bare_copy, labels_of
from trepid.errors import DataError

N_TRAIN_CUI = 20
MOVING_ATOMS = 512
"""The crystal for the speed has at most so many atoms."""
MOVING_FRAMES = 24
MOVING_AMPLITUDE_A = 0.05
MOVING_FRAMES_PER_PERIOD = 40
"""An optical phonon of 5 THz in steps of 5 fs."""

Split = tuple[list[Atoms], dict[str, list[Atoms]]]


@dataclass(frozen=True)
class PeerSet:
    """Frames of one system.

    Attributes
    ----------
    name : str
        Of its folder and of its rows.
    species : tuple of str
    train : list of Atoms
    tests : dict of list of Atoms
        By stratum.
    repeats : tuple of int
        Of the first training frame, for the speed; 1 along directions without atoms.
    """

    name: str
    species: tuple[str, ...]
    train: list[Atoms]
    tests: dict[str, list[Atoms]]
    repeats: tuple[int, int, int]

    def moving(self) -> list[Atoms]:
        """Successive frames of a crystal in which every atom oscillates with its own phase and direction."""
        crystal, rng = bare_copy(self.train[0]).repeat(self.repeats), np.random.default_rng(0)
        amplitude = rng.normal(scale=MOVING_AMPLITUDE_A, size=(len(crystal), 3))
        phase = rng.uniform(0, 2 * np.pi, size=(len(crystal), 1))
        frames = []
        for k in range(MOVING_FRAMES):
            frame = crystal.copy()
            frame.positions += amplitude * np.sin(phase + 2 * np.pi * k / MOVING_FRAMES_PER_PERIOD)
            frames.append(frame)
        return frames


@dataclass(frozen=True)
class KnownSet:
    """A file that this benchmark knows how to split.

    Attributes
    ----------
    name, file, what : str
    split_in_words : str
    split : callable
        Folder -> training frames, test frames by stratum.
    flat : bool
        A sheet in the xy plane: not repeated along z.
    """

    name: str
    file: str
    what: str
    split_in_words: str
    split: Callable[[Path], Split]
    flat: bool = False


def _silicon(folder: Path) -> Split:
    frames = _exactly(folder / "si_snap_64.extxyz", 80)
    return frames[:40:2], {"300 K": frames[1:40:2], "1000 K": frames[40:]}


def _cui_gfn1(folder: Path) -> Split:
    cui = CuI.read(folder)
    if len(cui.crystal) <= N_TRAIN_CUI or not cui.hops:
        raise DataError(
            f"{folder / 'cui_gfn1_64.extxyz'} has {len(cui.crystal)} crystal frames and {len(cui.hops)} of a displaced Cu; "
            f"the split needs more than {N_TRAIN_CUI} and at least one"
        )
    return cui.crystal[:N_TRAIN_CUI], {"crystal": cui.crystal[N_TRAIN_CUI:], "displaced Cu": cui.hops}


def _cui_pbe(folder: Path) -> Split:
    return _every(_exactly(folder / "cui_pbe_16_train.extxyz", 28), 4)


def _stanene(folder: Path) -> Split:
    return _every(_exactly(folder / "sn_pbe_8_train.extxyz", 15), 3)


def _silver_gallium_selenide(folder: Path) -> Split:
    frames = _exactly(folder / "aggase2_gfn1_16.extxyz", 35)
    return frames[:25], {"fresh": frames[25:]}


def _every(frames: list[Atoms], n: int) -> Split:
    """Every n-th frame is held out."""
    held_out = frames[n - 1 :: n]
    return [a for k, a in enumerate(frames) if k % n != n - 1], {"held out": held_out}


def _exactly(path: Path, n: int) -> list[Atoms]:
    """Frames of a known file; another number means another file, for which the split would be wrong."""
    frames = read_frames(path)
    if len(frames) != n:
        raise DataError(f"{path} has {len(frames)} frames; the split of this benchmark is for the file with {n}")
    return frames


SETS: tuple[KnownSet, ...] = (
    KnownSet(
        "si_snap",
        "si_snap_64.extxyz",
        "silicon, 64 atoms, SNAP labels",
        "trained on every second of the first 40 frames (300 K), tested on the other 20 and on the 40 frames at 1000 K",
        _silicon,
    ),
    KnownSet(
        "cui_gfn1",
        "cui_gfn1_64.extxyz",
        "CuI, 64 atoms, GFN1-xTB labels",
        f"trained on the first {N_TRAIN_CUI} crystal frames without forces above 4 eV/A, tested on the other crystal frames and on "
        "all with a displaced Cu",
        _cui_gfn1,
    ),
    KnownSet(
        "cui_pbe",
        "cui_pbe_16_train.extxyz",
        "CuI, 16 atoms, PBE labels",
        "every fourth of the 28 frames held out",
        _cui_pbe,
    ),
    KnownSet(
        "sn_pbe",
        "sn_pbe_8_train.extxyz",
        "stanene, 8 atoms, PBE labels",
        "every third of the 15 frames held out",
        _stanene,
        flat=True,
    ),
    KnownSet(
        "aggase2",
        "aggase2_gfn1_16.extxyz",
        "AgGaSe2, 16 atoms, GFN1-xTB labels",
        "trained on the first 25 of 35 frames, tested on the others",
        _silver_gallium_selenide,
    ),
)


def missing_files(folder: Path) -> list[KnownSet]:
    """Known sets whose file is not in the folder."""
    return [known for known in SETS if not (folder / known.file).is_file()]


def peer_sets(folder: Path) -> list[PeerSet]:
    """All sets of a folder, known ones first.

    Raises
    ------
    DataError
        A file is not what its name says, a pair of files is not complete, or a frame has no label.
    """
    sets = [
        _checked(known.name, *known.split(folder), flat=known.flat) for known in SETS if (folder / known.file).is_file()
    ]
    for path in sorted(folder.glob("*.train.extxyz")):
        name = path.name.removesuffix(".train.extxyz")
        tests = {
            p.name.removesuffix(".extxyz").partition(".test")[2].lstrip("-") or "test": read_frames(p)
            for p in sorted(folder.glob(f"{name}.test*.extxyz"))
        }
        if not tests:
            raise DataError(f"{path} has no test frames beside it; add {name}.test.extxyz")
        sets.append(_checked(name, read_frames(path), tests, flat=False))
    return sets


def _checked(name: str, train: list[Atoms], tests: dict[str, list[Atoms]], *, flat: bool) -> PeerSet:
    for stratum, frames in {"train": train, **tests}.items():
        for k, atoms in enumerate(frames):
            labels_of(atoms, where=f"{name}, {stratum}, frame {k}", require=("energy", "forces"))
    species = tuple(sorted({s for atoms in train for s in atoms.get_chemical_symbols()}))
    return PeerSet(name, species, train, tests, _repeats(train[0], flat=flat))


def _repeats(atoms: Atoms, *, flat: bool) -> tuple[int, int, int]:
    """The largest n x n x n (n x n x 1) supercell of at most `MOVING_ATOMS` atoms."""
    power = 2 if flat else 3
    n = max(1, int(np.floor((MOVING_ATOMS / len(atoms)) ** (1 / power) + 1e-9)))
    return (n, n, 1 if flat else n)


def labelled(frames: Sequence[Atoms]) -> list[Atoms]:
    """Structure, energy and forces of frames and nothing else: what every peer gets."""
    out = []
    for atoms in frames:
        labels = labels_of(atoms, require=("energy", "forces"))
        out.append(attach_labels(bare_copy(atoms), Labels(energy=labels.energy, forces=labels.forces)))
    return out
