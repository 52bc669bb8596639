"""The initial frames of a campaign: displaced and strained crystals, a harmonic sample, or frames of the user."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.build import make_supercell

from trepid.config import DisplacedStart, FramesStart, HarmonicStart, RoundsCampaign
from trepid.data.findings import located, shortened
from trepid.data.frames import LabelKeys, Labels, bare_copy, labels_of, read_structure
from trepid.data.geometry import MIN_DISTANCE_FACTOR, require_sound, require_start
from trepid.data.labelled import read_labelled
from trepid.errors import ConfigError, DataError
from trepid.reference.base import Reference

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.force_source import ForceSource
    from trepid.anharmonicity.harmonic import HarmonicReference
    from trepid.config import StructureSettings

logger = logging.getLogger(__name__)


MAX_ATOMS = 20_000
"""Atoms of a campaign's crystal."""
MAX_SPAN = 1_000_000
"""Unit cells that may be gone through to build it."""


def build_crystal(structure: StructureSettings, *, min_distance_factor: float = MIN_DISTANCE_FACTOR) -> Atoms:
    """Read the structure and repeat it, without calculator, constraints and other data of the file.

    Parameters
    ----------
    structure : StructureSettings
    min_distance_factor : float
        Shortest distance of two atoms, over the sum of their covalent radii.

    Raises
    ------
    DataError
        The file is unreadable or holds no structure, or one from which no simulation can start.
    """
    atoms = bare_copy(read_structure(structure.file))
    try:
        require_start(atoms, factor=min_distance_factor)
    except DataError as error:
        raise DataError(f"{structure.file}: {error}") from error
    supercell = np.array(structure.supercell, dtype=object)  # Python's whole numbers: no overflow
    if supercell.ndim == 2:
        _refuse_large(structure, len(atoms) * abs(_determinant(supercell)), span=_span(supercell))
        return make_supercell(atoms, supercell.astype(int))
    _refuse_large(structure, len(atoms) * int(np.prod(supercell)))
    return atoms.repeat(structure.supercell)


def _refuse_large(structure: StructureSettings, n_atoms: int, *, span: int = 1) -> None:
    """Refuse a supercell that no reference labels, before it is built."""
    if n_atoms > MAX_ATOMS:
        raise ConfigError(
            f"structure.supercell: {_plain(structure.supercell)} makes {n_atoms} atoms, and {MAX_ATOMS} are the most that a "
            "campaign labels; give a smaller one"
        )
    if span > MAX_SPAN:
        raise ConfigError(
            f"structure.supercell: the vectors of {_plain(structure.supercell)} are far from each other; give an equivalent "
            "matrix with smaller numbers"
        )


def _determinant(matrix: np.ndarray) -> int:
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    return int(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def _span(matrix: np.ndarray) -> int:
    """Unit cells in the box around the supercell, which are gone through to build it."""
    ranges = [sum(max(x, 0) for x in column) - sum(min(x, 0) for x in column) + 1 for column in matrix.T.tolist()]
    return int(np.prod(np.array(ranges, dtype=object)))


def _plain(supercell: object) -> str:
    return str(supercell).replace("(", "[").replace(")", "]")


def initial_frames(crystal: Atoms, n: int, *, displacement_A: float, strain: float, seed: int) -> list[Atoms]:
    """Displaced copies of a crystal, every second one strained too; the same seed gives the same frames.

    Parameters
    ----------
    crystal : Atoms
        Not changed.
    n : int
        Number of frames.
    displacement_A : float
        Standard deviation of every coordinate's displacement, A.
    strain : float
        Largest component of the symmetric strain of frames 2, 4, ...; along directions without periodicity there is
        none.
    seed : int
        Non-negative.

    Returns
    -------
    list of Atoms
    """
    rng = np.random.default_rng([seed, 0])
    periodic = np.asarray(crystal.pbc, dtype=float)
    frames = []
    for k in range(n):
        frame = crystal.copy()
        components = rng.uniform(-strain, strain, size=(3, 3))
        shift = rng.normal(scale=displacement_A, size=(len(frame), 3))
        if k % 2 == 1 and crystal.cell.rank == 3:
            # Strain acts on Cartesian directions; a sheet or a wire is expected to be aligned with them, as ASE builds it.
            symmetric = 0.5 * (components + components.T) * np.outer(periodic, periodic)
            frame.set_cell(np.array(frame.cell) @ (np.eye(3) + symmetric), scale_atoms=True)
        frame.positions += shift
        frames.append(frame)
    return frames


def start_frames(
    campaign: RoundsCampaign,
    crystal: Atoms,
    harmonic: Callable[[], HarmonicReference],
    *,
    say: Callable[[str], None] = logger.info,
) -> list[Atoms]:
    """Initial frames of a campaign in rounds; those of the user may have labels, the others do not.

    Parameters
    ----------
    campaign : RoundsCampaign
    crystal : Atoms
    harmonic : callable
        Gives the harmonic model of the crystal; called for a harmonic start only.

    Raises
    ------
    DataError
        The user's frames cannot be read, or contain other elements than the crystal.
    NumericsError
        The harmonic crystal has imaginary modes.
    ConfigError
        phonopy, which a harmonic start needs, is not installed.
    """
    start = campaign.start
    if isinstance(start, DisplacedStart):
        return initial_frames(
            crystal, start.n, displacement_A=start.displacement_A, strain=start.strain, seed=campaign.seed
        )
    if isinstance(start, HarmonicStart):
        from trepid.anharmonicity.sampling import harmonic_sample, sampled_from

        found, T = harmonic(), start.temperature_K
        least = sampled_from(found, T, start.largest_rms, imaginary=start.imaginary)
        if least:
            n_softer = int((found.frequencies_THz < least).sum())
            say(
                f"{n_softer} modes softer than {least:.2f} THz are sampled at this frequency: with their own the atoms would "
                f"move by more than {start.largest_rms:g} of the distance to their neighbours (start.largest_rms)"
            )
        frames = harmonic_sample(
            found, T, start.n, campaign.seed, imaginary=start.imaginary, largest_rms=start.largest_rms
        )
        return [bare_copy(frame) for frame in frames]
    return _user_frames(start, crystal, say)


def user_frames(path: Path, *, keys: LabelKeys, require: Sequence[str], say: Callable[[str], None]) -> list[Atoms]:
    """Frames that a campaign names, their labels under its keys; what they hold, and what is wrong with it, is told.

    Raises
    ------
    DataError
        The file cannot be read, or a frame lacks a required label.
    """
    labelled = read_labelled(path, keys=keys, require=require)
    say(labelled.report.line())
    for text in shortened([located(finding, labelled.numbers) for finding in labelled.findings]):
        say(f"warning: {path}: {text}")
    return labelled.frames


def _user_frames(start: FramesStart, crystal: Atoms, say: Callable[[str], None]) -> list[Atoms]:
    frames = user_frames(start.file, keys=LabelKeys(), require=(), say=say)
    for k, frame in enumerate(frames):
        try:
            require_sound(frame)
        except DataError as error:
            raise DataError(f"start.file: {start.file}: frame {k} (counted from 0): {error}") from error
    species = set(crystal.get_chemical_symbols())
    for k, frame in enumerate(frames):
        others = sorted(set(frame.get_chemical_symbols()) - species)
        if others:
            raise DataError(
                f"start.file: {start.file}: frame {k} (counted from 0) contains {others[0]}, which the crystal does not"
            )
    if start.n is None or start.n >= len(frames):
        return frames
    return [frames[int(k)] for k in np.linspace(0, len(frames) - 1, start.n).round()]


def has_labels(frame: Atoms, keys: LabelKeys) -> bool:
    """Whether a frame of the user has energy and forces."""
    return keys.energy in frame.info and keys.forces in frame.arrays


class StoredReference(Reference):
    """A reference whose labels go through the label store of a campaign, so that none is computed twice.

    Parameters
    ----------
    reference : Reference
        For its name, limits and description.
    obtain : callable
        Gives the labelled frame from the store; raises LabelError where it failed for good.
    """

    def __init__(self, reference: Reference, obtain: Callable[[Atoms], Atoms]) -> None:
        self.name = reference.name
        self._reference, self._obtain = reference, obtain

    def describe(self) -> dict[str, str | float | int]:
        """That of the reference."""
        return self._reference.describe()

    def _compute(self, atoms: Atoms) -> Labels:
        return labels_of(self._obtain(atoms))


def harmonic_reference_of(
    campaign: RoundsCampaign, source: ForceSource, *, displacement_A: float, needed_by: str
) -> HarmonicReference:
    """Force constants of the campaign's crystal on a source of forces, in the order of the crystal's atoms.

    Parameters
    ----------
    campaign : RoundsCampaign
    source : ForceSource
    displacement_A : float
        Of the finite differences.
    needed_by : str
        The setting that needs them, for the error message.

    Raises
    ------
    ConfigError
        phonopy is not installed.
    """
    require_phonopy(needed_by)
    from trepid.anharmonicity.finite_displacements import harmonic_reference
    from trepid.anharmonicity.phonopy_objects import quiet_phonopy

    unit = bare_copy(read_structure(campaign.structure.file))
    with quiet_phonopy():
        return harmonic_reference(unit, campaign.structure.supercell, source, displacement_A=displacement_A)


def read_harmonic(path: Path, crystal: Atoms) -> HarmonicReference:
    """Read a phonopy file, its atoms brought into the order of the crystal.

    Raises
    ------
    DataError
        It is damaged, or of another crystal.
    """
    from trepid.anharmonicity.phonopy_files import read_phonopy
    from trepid.anharmonicity.phonopy_objects import quiet_phonopy

    with quiet_phonopy():
        return read_phonopy(path).in_order_of(crystal, where=str(path))


def has_phonopy() -> bool:
    """Whether phonopy is installed."""
    from importlib.util import find_spec

    return find_spec("phonopy") is not None


def require_phonopy(what: str) -> None:
    """Raise ConfigError where phonopy, which `what` needs, is not installed."""
    if not has_phonopy():
        raise ConfigError(f"{what} needs phonopy, which is not installed: pip install phonopy")
