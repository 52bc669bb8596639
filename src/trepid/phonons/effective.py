"""Effective force constants at a temperature, from the displacements and forces of a trajectory.

Phi is the least-squares answer of F - <F> = -Phi (u - <u>) over all frames, with the symmetry of the crystal and the acoustic
sum rule, by symfc (A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024)); the averages take out mean positions that moved with the
temperature. O. Hellman et al., Phys. Rev. B 87, 104111 (2013). The frequencies are those that a harmonic crystal needs to
imitate the forces at that temperature.

The statistical bar is a jackknife over blocks of the trajectory: force constants are found again without one block at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.ensemble import ensemble_of
from trepid.anharmonicity.force_source import ForceSource, force_function
from trepid.anharmonicity.harmonic import HarmonicReference
from trepid.anharmonicity.matching import match_atoms
from trepid.anharmonicity.modes import SOFT_THz
from trepid.anharmonicity.phonopy_objects import MATCH_A, atoms_of, to_phonopy
from trepid.arrays import FloatArray
from trepid.data.trajectory import open_trajectory
from trepid.errors import ConfigError, DataError
from trepid.phonons.analysis import PhononAnalysis, PhononSettings, add_born, analyse_force_constants
from trepid.phonons.bands import BandPath, Bands, band_path, bands_of
from trepid.phonons.drawn import Drawn
from trepid.phonons.sites import AwayCount, Lattice, lattice_of, thinned

if TYPE_CHECKING:
    from ase import Atoms

N_BLOCKS = 8
MOST_FRAMES = 2000
"""Frames that are used of a longer trajectory, evenly spaced: frames next to each other say the same."""
TOLERANCE = 0.02
"""Converged where no 95 % bar of the path exceeds this part of the highest frequency."""
HALVES = 4.0
"""Mean squared deviation of the two halves, in squared errors of their difference, above which they disagree."""


@dataclass(frozen=True, eq=False)
class EffectivePhonons:
    """Effective phonons of a trajectory.

    Attributes
    ----------
    analysis : PhononAnalysis
        Its bars are statistical.
    model : Drawn or None
        Frequencies (n_q, n_branches) of the path with the draws of the model on the same frames, THz.
    n_frames : int
        Frames that were used.
    converged : bool
        Whether the trajectory was long enough.
    verdict : str
        Why, in one line.
    explained : float
        Part of the mean squared force that the effective harmonic forces explain.
    remarks : tuple of str
    """

    analysis: PhononAnalysis
    model: Drawn | None
    n_frames: int
    converged: bool
    verdict: str
    explained: float
    remarks: tuple[str, ...]


def effective_phonons(
    trajectory: str | Path | Sequence[Atoms],
    crystal: Atoms,
    settings: PhononSettings | None = None,
    *,
    source: ForceSource | None = None,
    skip: int = 0,
    species: Sequence[str] = (),
    forces: str = "",
    tolerance: float = TOLERANCE,
    after_draw: Callable[[int, int], None] | None = None,
) -> EffectivePhonons:
    """Effective force constants, bands and thermal properties at the temperature of a trajectory.

    Parameters
    ----------
    trajectory : path, or sequence of Atoms
        At constant volume; its forces must be those of the potential, without those of a thermostat.
    crystal : Atoms
        Relaxed: a cell that the trajectory repeats. It is brought to the volume of the trajectory.
    settings : PhononSettings, optional
        Supercell and displacement are not used.
    source : force source, optional
        Forces for a trajectory without them; a model with draws gives a bar of the model.
    skip : int
        Frames at the beginning that are left out.
    species : sequence of str
        Elements of the types of a LAMMPS dump without elements.
    forces : str
        Name of the forces in the file, where it is not a usual one.
    tolerance : float
        In parts of the highest frequency: see `TOLERANCE`.
    after_draw : callable, optional

    Raises
    ------
    DataError
        No forces, too few frames, a cell that is no supercell of the crystal or that changes, or atoms that left their sites.
    """
    settings = settings or PhononSettings()
    if not 0 < tolerance < 1:
        raise ConfigError(f"tolerance {tolerance:g}: a part of the highest frequency, between 0 and 1")
    lattice, u, f, remarks = _read(trajectory, crystal, source, skip, species, forces)
    fit = _Fit(lattice)
    n_equations, n_needed = u.size, fit.n_parameters
    if len(u) < 2 * N_BLOCKS or n_equations * (N_BLOCKS - 1) / N_BLOCKS < 2 * n_needed:
        least = max(2 * N_BLOCKS, int(np.ceil(4 * n_needed / u[0].size)))
        raise DataError(
            f"the trajectory has {len(u)} frames after those left out; {least} or more are needed for {n_needed} independent force "
            "constants and their bar"
        )
    constants = fit.solve(u, f)
    blocks = np.array_split(np.arange(len(u)), N_BLOCKS)
    without = [fit.solve(np.delete(u, block, axis=0), np.delete(f, block, axis=0)) for block in blocks]
    centre = np.mean(without, axis=0)
    # Scaled so that their standard deviation (ddof=1) is the error of the jackknife.
    factor = (N_BLOCKS - 1) / np.sqrt(N_BLOCKS)
    if settings.born is not None:
        fit.phonon.force_constants = fit.ordered(constants)
        add_born(fit.phonon, settings.born)
    draws = tuple(fit.ordered(constants + factor * (one - centre)) for one in without)
    bands = bands_of(fit.phonon, fit.ordered(constants), draws, band_path(fit.phonon, settings.band_points))
    converged, verdict = _convergence(fit, u, f, bands, tolerance)
    model = _model_bar(fit, lattice, u, source, settings, fit.ordered(constants), bands.path, after_draw)
    analysis = analyse_force_constants(fit.phonon, fit.reference(constants), fit.ordered(constants), draws, settings)
    residual = (f - f.mean(axis=0)) + np.einsum("ijxy,tjy->tix", constants, u - u.mean(axis=0))
    explained = 1.0 - float(np.sum(residual**2) / np.sum((f - f.mean(axis=0)) ** 2))
    return EffectivePhonons(analysis, model, len(u), converged, verdict, explained, tuple(remarks))


class _Fit:
    """Least squares for one supercell; the basis of symmetric force constants is made once."""

    def __init__(self, lattice: Lattice) -> None:
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        self.lattice = lattice
        cell = lattice.supercell
        atoms = SymfcAtoms(numbers=cell.numbers, cell=cell.cell.array, scaled_positions=cell.get_scaled_positions())
        self._symfc = Symfc(atoms, symprec=1e-4)
        self._symfc.compute_basis_set(2)
        n = len(cell)
        # Its force constants are not used; these obey the acoustic sum rule.
        springs = (np.eye(n) - 1 / n)[:, :, None, None] * np.eye(3)
        self.phonon = to_phonopy(self.reference(springs))
        self._ours = match_atoms(
            atoms_of(self.phonon.supercell), cell, tolerance_A=MATCH_A, where="the supercell of phonopy"
        )

    @property
    def n_parameters(self) -> int:
        """Number of independent force constants."""
        return int(self._symfc.basis_set[2].basis_set.shape[1])

    def solve(self, u: FloatArray, f: FloatArray) -> FloatArray:
        """Force constants (n, n, 3, 3), eV/A^2."""
        self._symfc.displacements = np.ascontiguousarray(u - u.mean(axis=0))
        self._symfc.forces = np.ascontiguousarray(f - f.mean(axis=0))
        self._symfc.solve(2, is_compact_fc=False)
        return np.array(self._symfc.force_constants[2], dtype=np.float64)

    def ordered(self, constants: FloatArray) -> FloatArray:
        """In the order of phonopy."""
        return np.ascontiguousarray(constants[np.ix_(self._ours, self._ours)])

    def reference(self, constants: FloatArray) -> HarmonicReference:
        """As a harmonic reference."""
        lattice = self.lattice
        return HarmonicReference(lattice.supercell, constants, lattice.unitcell, lattice.matrix)


def _read(
    trajectory: str | Path | Sequence[Atoms],
    crystal: Atoms,
    source: ForceSource | None,
    skip: int,
    species: Sequence[str],
    forces: str,
) -> tuple[Lattice, FloatArray, FloatArray, list[str]]:
    """Displacements and forces (n_frames, n_atoms, 3) in the orientation of the crystal."""
    with open_trajectory(trajectory, species=species, forces=forces) as opened:
        if opened.first.time_fs is None:
            opened.interval_fs = 1.0  # of no meaning here
        lattice = lattice_of(opened, crystal)
        if not opened.has_forces and source is None:
            raise DataError(
                f"{opened.name}: no forces in the trajectory; give a model that computes them, or their name"
            )
        away = AwayCount(lattice.supercell)

        def stream():  # type: ignore[no-untyped-def]
            for chunk in opened.chunks():
                u = lattice.displacements(chunk, name=opened.name)
                away.add(u, chunk.first)
                turned = None if chunk.forces is None else chunk.forces @ lattice.rotation
                for k in range(len(u)):
                    if chunk.first + k >= skip:
                        yield u[k], None if turned is None else turned[k]

        kept = thinned(stream(), MOST_FRAMES)
        remarks = [*opened.remarks, *lattice.remarks]
        if not kept:
            raise DataError(f"{opened.name}: no frame is left after the first {skip}")
        if away.n_away:
            raise DataError(
                f"{away.line(opened.name)}: effective force constants need every atom at its site; cut the trajectory"
            )
    weights = lattice.supercell.get_masses() / lattice.supercell.get_masses().sum()
    u = np.array([item[0] for item in kept])
    u -= np.einsum("tix,i->tx", u, weights)[:, None]
    if opened.has_forces:
        return lattice, u, np.array([item[1] for item in kept]), remarks
    assert source is not None
    return lattice, u, _forces(source, lattice, u), remarks


def _forces(source: ForceSource, lattice: Lattice, u: FloatArray) -> FloatArray:
    function, found = force_function(source), []
    for one in u:
        frame = lattice.supercell.copy()
        frame.positions += one
        found.append(function(frame))
    return np.array(found)


def _convergence(fit: _Fit, u: FloatArray, f: FloatArray, bands: Bands, tolerance: float) -> tuple[bool, str]:
    bar, std = bands.frequencies.bar(), bands.frequencies.std
    assert bar is not None
    assert std is not None
    largest, allowed = float(bar.max()), tolerance * float(bands.frequencies.value.max())
    middle = len(u) // 2
    first, second = (fit.ordered(fit.solve(u[part], f[part])) for part in (slice(middle), slice(middle, None)))
    halves = bands_of(fit.phonon, first, [second, second], bands.path).frequencies
    assert halves.draws is not None
    difference = halves.value - halves.draws[0]
    counted = np.abs(bands.frequencies.value) > SOFT_THz
    # Each half has twice the variance of the whole.
    spread = float(np.mean((difference[counted] / np.maximum(2 * std[counted], 1e-9)) ** 2))
    text = f"largest 95 % bar {largest:.2g} THz, {allowed:.2g} wanted; the halves differ by {np.abs(difference).max():.2g} THz"
    if largest > allowed:
        factor = (largest / allowed) ** 2
        return False, f"not converged: {text}. A trajectory {factor:.2g} times as long would do"
    if spread > HALVES:
        return (
            False,
            f"not converged: {text}, which is more than their errors: the trajectory drifts, or was not at equilibrium",
        )
    return True, f"converged: {text}"


def _model_bar(
    fit: _Fit,
    lattice: Lattice,
    u: FloatArray,
    source: ForceSource | None,
    settings: PhononSettings,
    own: FloatArray,
    path: BandPath,
    after_draw: Callable[[int, int], None] | None,
) -> Drawn | None:
    """Frequencies of the path with the forces of every draw of the model on the same frames."""
    ensemble = [] if source is None else ensemble_of(source, settings.posterior, settings.seed)
    if not ensemble:
        return None
    constants = []
    for k, member in enumerate(ensemble, 1):
        constants.append(fit.ordered(fit.solve(u, _forces(member, lattice, u))))
        if after_draw is not None:
            after_draw(k, len(ensemble))
    return bands_of(fit.phonon, own, constants, path).frequencies
