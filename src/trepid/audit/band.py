"""Minimum-energy paths: climbing-image nudged elastic bands on any calculator, with restart and a stated convergence.

G. Henkelman, B. P. Uberuaga, H. Jonsson, J. Chem. Phys. 113, 9901 (2000); the bands are those of ASE, with the improved
tangent (G. Henkelman, H. Jonsson, J. Chem. Phys. 113, 9978 (2000)) and the adaptive solver of S. Makri, C. Ortner,
J. R. Kermode, J. Chem. Phys. 150, 094109 (2019).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.mep import NEB
from ase.mep.neb import NEBOptimizer
from ase.optimize import FIRE

from trepid.arrays import FloatArray
from trepid.data.frames import read_frames, write_frames
from trepid.data.geometry import fused_atoms
from trepid.errors import DataError

logger = logging.getLogger(__name__)

CLIMB_FROM = 3.0
"""The highest image climbs once no force is larger than this times `fmax`; where the highest image is an end, none does."""
SAVE_EVERY = 20
"""Steps between two files of a band under way."""


@dataclass(frozen=True)
class BandSettings:
    """How a path is sought.

    Attributes
    ----------
    n_images : int
        Between the ends.
    fmax_eV_per_A : float
        Converged when no force of the band on an atom is larger.
    max_steps : int
        Of the optimiser, without and with the climbing image together.
    spring_eV_per_A2 : float
    """

    n_images: int = 5
    fmax_eV_per_A: float = 0.03
    max_steps: int = 300
    spring_eV_per_A2: float = 1.0


@dataclass(frozen=True, eq=False)
class Band:
    """A path, ends included.

    Attributes
    ----------
    images : tuple of Atoms
        Without calculators.
    energies : (n_images,) array
        eV.
    converged : bool
    max_force : float
        Largest force of the band on an atom, eV/A.
    n_steps : int
    """

    images: tuple[Atoms, ...]
    energies: FloatArray
    converged: bool
    max_force: float
    n_steps: int

    @property
    def top(self) -> int:
        """Number of the highest image."""
        return int(np.argmax(self.energies))

    @property
    def barrier(self) -> float:
        """Highest energy above the first image, eV."""
        return float(self.energies.max() - self.energies[0])

    @property
    def back(self) -> float:
        """Highest energy above the last image, eV."""
        return float(self.energies.max() - self.energies[-1])

    @property
    def lengths(self) -> FloatArray:
        """Length of the path up to every image, (n_images,), A, over all coordinates."""
        steps = [
            np.linalg.norm(b.positions - a.positions) for a, b in zip(self.images[:-1], self.images[1:], strict=True)
        ]
        return np.concatenate([[0.0], np.cumsum(steps)])

    def convergence(self) -> str:
        """In words."""
        return convergence_text(self.converged, self.max_force, self.n_steps)


def convergence_text(converged: bool, max_force_eV_per_A: float, n_steps: int) -> str:
    """Whether a path is converged, in words: the largest force of the band that is left."""
    done = "converged" if converged else "NOT converged"
    return f"{done}, {max_force_eV_per_A:.3f} eV/A left after {n_steps} steps"


def interpolated(start: Atoms, end: Atoms, n_images: int) -> list[Atoms]:
    """Images between two states: on straight lines, or by image-dependent pair potentials where atoms would overlap.

    S. Smidstrup, A. Pedersen, K. Stokbro, H. Jonsson, J. Chem. Phys. 140, 214106 (2014).
    """
    images = [start.copy(), *(start.copy() for _ in range(n_images)), end.copy()]
    for image in images:
        image.calc = None
        image.set_constraint()
    band = NEB(images, method="improvedtangent")
    band.interpolate(method="linear", mic=True)
    if any(fused_atoms(image, factor=0.75) for image in images[1:-1]):
        band.interpolate(method="idpp", mic=True)
    return images


def find_band(
    images: Sequence[Atoms],
    calculator: Calculator,
    settings: BandSettings = BandSettings(),
    *,
    restart: Path | None = None,
    climb_at_once: bool = False,
    interrupted: Callable[[], None] | None = None,
) -> Band:
    """Relax a band; the ends stay where they are.

    Parameters
    ----------
    images : sequence of Atoms
        Ends included.
    calculator : Calculator
    settings : BandSettings
    restart : Path, optional
        Extended XYZ: the band under way, every `SAVE_EVERY` steps; one that is there is continued.
    climb_at_once : bool
        For a band that was converged on a similar surface.
    interrupted : callable, optional
        Called at every step; raises to end the search.
    """
    frames = [image.copy() for image in images]
    climbing, done = climb_at_once, 0
    if restart is not None and restart.exists():
        stored = _stored(restart, len(frames))
        if stored is not None:
            frames, climbing, done = stored
    for frame in frames:
        frame.set_constraint()
        frame.calc = _Kept(calculator)
    band = NEB(frames, k=settings.spring_eV_per_A2, climb=climbing, method="improvedtangent")

    def step() -> None:
        nonlocal done
        done += 1
        if interrupted is not None:
            interrupted()
        if restart is not None and done % SAVE_EVERY == 0:
            _store(restart, frames, climbing=band.climb, done=done)

    converged = False
    if not (band.climb and _inside(frames)):
        band.climb = False
        most = max(settings.max_steps // 2 - done, 1)
        converged = _relax(band, CLIMB_FROM * settings.fmax_eV_per_A, most, step)
    if _inside(frames):
        band.climb = True
        converged = _relax(band, settings.fmax_eV_per_A, max(settings.max_steps - done, 1), step)
    energies = _energies(frames)
    largest = _largest(band)
    for frame in frames:
        frame.calc = None
    return Band(
        images=tuple(frames),
        energies=energies,
        converged=converged,
        max_force=largest,
        n_steps=done,
    )


def _relax(band: NEB, fmax: float, steps: int, step: Callable[[], None]) -> bool:
    """The adaptive solver first, which needs a third of the energies; where it gives up, FIRE."""
    done = 0

    def counted() -> None:
        nonlocal done
        done += 1
        step()

    for optimiser in (NEBOptimizer(band, logfile=None), FIRE(band, logfile=None, maxstep=0.1)):
        if done >= steps:
            break
        optimiser.attach(counted, interval=1)
        optimiser.run(fmax=fmax, steps=steps - done)
        # The adaptive solver does not tell when its steps are used up.
        if _largest(band) <= fmax:
            return True
    return False


def _largest(band: NEB) -> float:
    """Largest force of the band on an atom, eV/A."""
    return float(np.linalg.norm(band.get_forces(), axis=1).max())


def _inside(frames: Sequence[Atoms]) -> bool:
    """Whether the highest image is none of the ends."""
    return 0 < int(np.argmax(_energies(frames))) < len(frames) - 1


def _energies(frames: Sequence[Atoms]) -> FloatArray:
    return np.array([float(frame.get_potential_energy()) for frame in frames])


class _Kept(Calculator):
    """A calculator that several images share, with the results of this image: optimisers ask for them several times."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, calculator: Calculator) -> None:
        super().__init__()
        self._calculator = calculator

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        bare = self.atoms.copy()
        bare.calc = self._calculator
        energy = float(bare.get_potential_energy())
        self.results = {"energy": energy, "free_energy": energy, "forces": bare.get_forces()}


def write_band(path: Path, band: Band) -> None:
    """Write a finished band as extended XYZ."""
    frames = []
    for image, energy in zip(band.images, band.energies, strict=True):
        frame = image.copy()
        frame.info = {
            "model_energy": float(energy),
            "band_converged": int(band.converged),
            "band_max_force": band.max_force,
            "band_steps": band.n_steps,
        }
        frames.append(frame)
    write_frames(path, frames)


def read_band(path: Path) -> Band:
    """Read what `write_band` wrote; DataError where it is damaged."""
    frames = read_frames(path, require=())
    try:
        energies = np.array([float(frame.info["model_energy"]) for frame in frames])
        info = frames[0].info
        known = bool(int(info["band_converged"])), float(info["band_max_force"]), int(info["band_steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a path of an audit ({error})") from error
    for frame in frames:
        frame.info = {}
    return Band(tuple(frames), energies, *known)


def _store(path: Path, frames: Sequence[Atoms], *, climbing: bool, done: int) -> None:
    images = []
    for frame in frames:
        image = frame.copy()
        image.calc = None
        image.info = {"band_climbing": int(climbing), "band_steps": done}
        images.append(image)
    write_frames(path, images)


def _stored(path: Path, n: int) -> tuple[list[Atoms], bool, int] | None:
    """A band under way; None where the file is damaged, which costs the steps so far."""
    try:
        frames = read_frames(path, require=())
        climbing, done = bool(int(frames[0].info["band_climbing"])), int(frames[0].info["band_steps"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: %s; the path is sought from its beginning", path, error)
        return None
    if len(frames) != n:
        logger.warning("%s: %d images instead of %d; the path is sought from its beginning", path, len(frames), n)
        return None
    for frame in frames:
        frame.info = {}
    return frames, climbing, done
