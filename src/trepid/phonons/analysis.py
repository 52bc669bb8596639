"""Phonons of a crystal on a model: bands, density of states, thermal properties, each with the bar of the model.

phonopy does the phonons; here every one of its results is computed again with posterior draws of a Bayesian force field, or with
the members of a committee, force constants included. A source that is neither (an ASE calculator, a reference) has no bar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.ensemble import ensemble_of
from trepid.anharmonicity.finite_displacements import DisplacedCrystal, RESIDUAL_FORCE_eV_per_A
from trepid.anharmonicity.force_source import ForceSource
from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.modes import SOFT_THz
from trepid.arrays import FloatArray
from trepid.data.formula import formula_of
from trepid.errors import ConfigError, DataError
from trepid.phonons.bands import Bands, band_path, bands_of, run_bands
from trepid.phonons.drawn import Drawn
from trepid.phonons.thermal import MeshResult, mesh_of

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

Tell = Callable[[str], None]
"""Takes one line about the progress."""
AfterDraw = Callable[[int, int], None]


@dataclass(frozen=True)
class PhononSettings:
    """What is computed.

    Attributes
    ----------
    supercell : three ints
        Repetitions of the crystal.
    displacement_A : float
        Finite displacement, A.
    mesh : float or three ints
        Of the density of states and the thermal properties: a length, A, or three numbers.
    band_points : int
        Wave vectors on the longest segment of the path.
    t_max_K, t_step_K : float
        Temperatures of the thermal properties, from 0.
    posterior : int
        Draws from the posterior; 0: no bar. A committee has the members it has.
    seed : int
        Of the draws.
    born : Path or None
        phonopy's file BORN: Born charges and dielectric tensor, for the non-analytical correction.
    """

    supercell: tuple[int, int, int] = (1, 1, 1)
    displacement_A: float = 0.01
    mesh: float | tuple[int, int, int] = 60.0
    band_points: int = 51
    t_max_K: float = 1000.0
    t_step_K: float = 10.0
    posterior: int = 16
    seed: int = 0
    born: Path | None = None

    def __post_init__(self) -> None:
        if self.posterior == 1 or self.posterior < 0:
            raise ConfigError(f"{self.posterior} draws from the posterior: give 2 or more, or 0 for no bar")
        if self.band_points < 3:
            raise ConfigError(f"{self.band_points} wave vectors on the longest segment: give 3 or more")
        if not (self.t_step_K > 0 and 0 < self.t_max_K <= 1e5 and self.t_max_K >= self.t_step_K):
            raise ConfigError(
                f"temperatures up to {self.t_max_K:g} K in steps of {self.t_step_K:g} K: give a positive step and at least one"
            )
        if np.min(self.mesh) <= 0:
            raise ConfigError(f"mesh {self.mesh}: give a positive length (A), or three numbers of 1 or more")

    @property
    def temperatures_K(self) -> FloatArray:
        """Temperatures of the thermal properties, K."""
        return np.arange(0.0, self.t_max_K + 0.5 * self.t_step_K, self.t_step_K)


@dataclass(frozen=True, eq=False)
class PhononAnalysis:
    """Phonons of one crystal on one model.

    Attributes
    ----------
    phonon : phonopy.Phonopy
        Of the model, with force constants, bands, mesh and thermal properties.
    harmonic : HarmonicReference
        The same force constants in the order of the crystal's atoms.
    constants : (n, n, 3, 3) array
        Force constants in the order of phonopy, eV/A^2.
    draws : tuple of such arrays
        Of the draws; empty where the model has no bar. `phonon.force_constants = draws[0]` gives the phonons of the first.
    settings : PhononSettings
    bands : Bands
    mesh : MeshResult
    remarks : tuple of str
        What must be said of the result.
    """

    phonon: Phonopy
    harmonic: HarmonicReference
    constants: FloatArray
    draws: tuple[FloatArray, ...]
    settings: PhononSettings
    bands: Bands
    mesh: MeshResult
    remarks: tuple[str, ...]

    @property
    def lowest_THz(self) -> Drawn:
        """Lowest frequency on the path and on the mesh, negative where imaginary."""
        path = self.bands.frequencies
        draws = None
        if path.draws is not None and self.mesh.lowest_THz.draws is not None:
            draws = np.minimum(path.draws.min(axis=(1, 2)), self.mesh.lowest_THz.draws)
        return Drawn(np.minimum(path.value.min(), self.mesh.lowest_THz.value), draws)

    @property
    def stable(self) -> bool:
        """Whether the model has no imaginary mode."""
        return bool(self.lowest_THz.value >= -SOFT_THz)


def analyse_phonons(
    source: ForceSource,
    crystal: Atoms,
    settings: PhononSettings | None = None,
    *,
    tell: Tell | None = None,
    after_draw: AfterDraw | None = None,
) -> PhononAnalysis:
    """Bands, density of states and thermal properties of a crystal.

    Parameters
    ----------
    source : Potential, Reference or ASE calculator
        A Bayesian force field or a committee gives bars.
    crystal : Atoms
        Unit cell, relaxed on `source` (`relaxed`): phonons of a strained crystal are those of that strain.
    settings : PhononSettings, optional
    tell : callable, optional
        Called with one line about what is done.
    after_draw : callable, optional
        Called with the number of draws that are done, and of all.

    Raises
    ------
    ConfigError
        A setting is out of range, or the source cannot compute this crystal.
    DataError
        The crystal has no three cell vectors, two of its atoms are at one place, or BORN does not fit it.
    """
    settings = settings or PhononSettings()
    tell = tell or _silent
    require_crystal(crystal)
    ensemble = ensemble_of(source, settings.posterior, settings.seed)
    tell(
        f"force constants of {formula_of(crystal)} in {'x'.join(map(str, settings.supercell))}, "
        f"{'no bar' if not ensemble else f'and of {len(ensemble)} draws'}"
    )
    displaced = DisplacedCrystal(crystal, settings.supercell, displacement_A=settings.displacement_A)
    draws = []
    for k, member in enumerate(ensemble, 1):
        draws.append(displaced.force_constants(member)[0])
        if after_draw is not None:
            after_draw(k, len(ensemble))
    constants, rest_forces = displaced.force_constants(source)
    return analyse_force_constants(
        displaced.phonon, displaced.reference(constants, rest_forces), constants, tuple(draws), settings
    )


def analyse_force_constants(
    phonon: Phonopy,
    harmonic: HarmonicReference,
    constants: FloatArray,
    draws: tuple[FloatArray, ...],
    settings: PhononSettings,
) -> PhononAnalysis:
    """The same from force constants that are there already, such as effective ones.

    Parameters
    ----------
    phonon : phonopy.Phonopy
        The cells; it gets the results of the model.
    harmonic : HarmonicReference
        The force constants in the order of the crystal's atoms.
    constants, draws
        In the order of phonopy, eV/A^2.
    settings : PhononSettings

    Raises
    ------
    DataError
        BORN does not fit the crystal.
    """
    phonon.force_constants = constants
    if settings.born is not None:
        add_born(phonon, settings.born)
    bands = bands_of(phonon, constants, draws, band_path(phonon, settings.band_points))
    mesh = mesh_of(
        phonon, constants, draws, mesh=settings.mesh, temperatures_K=settings.temperatures_K, soft_THz=SOFT_THz
    )
    run_bands(phonon, bands.path)  # force constants that are set anew drop them
    result = PhononAnalysis(phonon, harmonic, constants, draws, settings, bands, mesh, ())
    return replace(result, remarks=tuple(_remarks(result)))


def require_crystal(crystal: Atoms) -> None:
    """Raise DataError for a structure that cannot have phonons.

    Raises
    ------
    DataError
        No three cell vectors, no atoms, or two atoms at one place.
    """
    if len(crystal) == 0:
        raise DataError("the structure has no atoms")
    if crystal.cell.rank != 3:
        raise DataError("phonons need three cell vectors; give a sheet or a wire empty space around it")
    if len(crystal) > 1:
        distances = crystal.get_all_distances(mic=True)
        np.fill_diagonal(distances, np.inf)
        if distances.min() < 0.3:
            i, j = (int(x) for x in np.unravel_index(np.argmin(distances), distances.shape))
            raise DataError(
                f"atoms {i} and {j} (counted from 0) are {distances.min():.2f} A apart: not a crystal at rest"
            )


def add_born(phonon: Phonopy, path: Path) -> None:
    """Read phonopy's file BORN and set the non-analytical correction.

    Raises
    ------
    DataError
        The file cannot be read, or is of another crystal.
    """
    from phonopy.file_IO import parse_BORN

    if not path.is_file():
        raise DataError(f"cannot read {path}: no such file")
    try:
        found = parse_BORN(phonon.primitive, filename=str(path))
    except Exception as error:  # the reader of phonopy raises any exception
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"cannot read {path} as a file BORN of this crystal: {told}") from error
    charges = np.asarray(found["born"])
    if charges.shape != (len(phonon.primitive), 3, 3):
        raise DataError(f"{path}: charges of {len(charges)} atoms, the primitive cell has {len(phonon.primitive)}")
    phonon.nac_params = found


def _remarks(result: PhononAnalysis) -> list[str]:
    lines = []
    lowest = result.lowest_THz
    if not result.stable:
        on_path = result.bands.frequencies.value.min(axis=1)
        q = result.bands.path.qpoints[int(np.argmin(on_path))]
        where = (
            f"; the lowest on the path at q = ({', '.join(f'{x:.3g}' for x in q)})" if on_path.min() < -SOFT_THz else ""
        )
        lines.append(
            f"imaginary modes down to {abs(float(lowest.value)):.2f}i THz, {100 * result.mesh.imaginary_share:.2g} % of the mesh"
            f"{where}: the crystal is no minimum on this model at 0 K, the supercell is too small, or the model extrapolates. They "
            "are left out of the thermal properties"
        )
    if lowest.draws is not None:
        n = int((lowest.draws < -SOFT_THz).sum())
        if n and result.stable:
            lines.append(
                f"{n} of {lowest.n_draws} draws have imaginary modes: the model is not sure that the crystal is stable"
            )
        elif n < lowest.n_draws and not result.stable:
            lines.append(f"{lowest.n_draws - n} of {lowest.n_draws} draws have no imaginary mode")
    residual = result.harmonic.residual_force_eV_per_A
    if residual is not None and residual > RESIDUAL_FORCE_eV_per_A:
        lines.append(
            f"the crystal is not relaxed on the model: forces of up to {residual:.3g} eV/A at rest; give --relax, which writes "
            "relaxed.extxyz too"
        )
    if not result.draws:
        lines.append("no bar of the model: it is no Bayesian force field and no committee, or no draws were asked for")
    return lines


def _silent(line: str) -> None:
    return None
