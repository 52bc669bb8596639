"""Phonons at several volumes: quasi-harmonic expansion and Grueneisen parameters, each with the bar of the model.

Vocabulary
----------
quasi-harmonic   F(V, T) = E(V) + F_phonon(V, T) with harmonic phonons at every volume; V(T) is its minimum, by a Vinet equation of
                 state through phonopy
Grueneisen       gamma = -d ln(omega) / d ln(V) of a mode; of the crystal at T the mean weighted by the heat capacities of the modes

The cell is scaled as a whole, so that a crystal that is not cubic keeps its shape; the atoms in it are relaxed at every volume
where symmetry does not hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import _hplanck, _k

from trepid.anharmonicity.ensemble import ensemble_of
from trepid.anharmonicity.finite_displacements import DisplacedCrystal
from trepid.anharmonicity.force_source import ForceSource, force_function
from trepid.anharmonicity.modes import SOFT_THz
from trepid.anharmonicity.phonopy_objects import quiet_phonopy, run_mesh
from trepid.arrays import FloatArray
from trepid.errors import ConfigError, NumericsError
from trepid.phonons.analysis import AfterDraw, PhononSettings, add_born, require_crystal
from trepid.phonons.drawn import Drawn
from trepid.phonons.relaxation import RELAXED_eV_per_A, energy_of, relaxed

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

STRAINS = (-0.015, 0.03)
"""Linear strains between which the volumes lie: more on the side to which a crystal expands."""
GRUNEISEN_STRAIN = 0.005
"""Linear strain of the two crystals whose difference gives Grueneisen parameters."""
LEAST_VOLUMES = 5


@dataclass(frozen=True, eq=False)
class QuasiHarmonic:
    """Quasi-harmonic properties at zero pressure, per primitive cell.

    Attributes
    ----------
    temperatures_K : (n,) array
        As far as V(T) lies between the volumes that were computed.
    volumes_A3 : (n_volumes,) array
    energies_eV : Drawn
        (n_volumes,), at rest.
    volume_A3, expansion_per_K, bulk_modulus_GPa, heat_capacity_P : Drawn
        (n,); the expansion is that of the volume, dV/dT / V; the heat capacity is at constant pressure, J/K/mol.
    gruneisen : Drawn
        (n,), of the crystal, from the modes.
    mode_gruneisen : Drawn
        (n_q, n_branches), of the modes of the mesh.
    mode_frequencies_THz : (n_q, n_branches) array
    remarks : tuple of str
    """

    temperatures_K: FloatArray
    volumes_A3: FloatArray
    energies_eV: Drawn
    volume_A3: Drawn
    expansion_per_K: Drawn
    bulk_modulus_GPa: Drawn
    heat_capacity_P: Drawn
    gruneisen: Drawn
    mode_gruneisen: Drawn
    mode_frequencies_THz: FloatArray
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _One:
    """What one force field gives."""

    energies: FloatArray
    volume: FloatArray
    expansion: FloatArray
    bulk_modulus: FloatArray
    heat_capacity: FloatArray
    gruneisen: FloatArray
    mode_gruneisen: FloatArray
    mode_frequencies: FloatArray


def quasi_harmonic(
    source: ForceSource,
    crystal: Atoms,
    settings: PhononSettings,
    *,
    n_volumes: int = 7,
    strains: tuple[float, float] = STRAINS,
    after_draw: AfterDraw | None = None,
) -> QuasiHarmonic:
    """Expansion, bulk modulus and Grueneisen parameters of a crystal.

    Parameters
    ----------
    source, crystal, settings
        As in `analyse_phonons`; the crystal is relaxed, its cell too.
    n_volumes : int
        5 or more.
    strains : two floats
        Smallest and largest linear strain.
    after_draw : callable, optional
        Called with the number of draws that are done, and of all.

    Raises
    ------
    ConfigError
        Fewer volumes, or strains that do not hold the crystal between them.
    NumericsError
        Imaginary modes of the model at one of the volumes, or an equilibrium outside of them at 0 K.
    """
    if n_volumes < LEAST_VOLUMES:
        raise ConfigError(f"{n_volumes} volumes: give {LEAST_VOLUMES} or more")
    if not -0.2 < strains[0] < 0 < strains[1] < 0.2:
        raise ConfigError(f"strains from {strains[0]:g} to {strains[1]:g}: one below 0 and one above, within 0.2")
    require_crystal(crystal)
    cells = _Cells(crystal, settings)
    factors = 1.0 + np.linspace(*strains, n_volumes)
    ensemble = ensemble_of(source, settings.posterior, settings.seed)
    temperatures = np.arange(0.0, settings.t_max_K + 2.5 * settings.t_step_K, settings.t_step_K)
    mean, volumes = _of_one(source, cells, factors, temperatures)
    n_known = _inside(mean.volume, volumes)
    if n_known < 2:
        raise NumericsError(
            f"the equilibrium volume {mean.volume[0]:.4g} A^3 at 0 K is not between {volumes[0]:.4g} and {volumes[-1]:.4g} A^3: "
            "relax the crystal on the model before, its cell too"
        )
    remarks = []
    if n_known < len(mean.volume):
        remarks.append(
            f"above {temperatures[n_known - 1]:g} K the volume leaves the range of strains that was computed: not given there"
        )
    drawn: list[_One] = []
    for k, member in enumerate(ensemble, 1):
        try:
            drawn.append(_of_one(member, cells, factors, temperatures)[0])
        except NumericsError:
            remarks.append(f"draw {k} has imaginary modes, or no equilibrium volume: left out of the bars")
        if after_draw is not None:
            after_draw(k, len(ensemble))
    if len(drawn) == 1:
        drawn = []
    t = slice(0, n_known)
    return QuasiHarmonic(
        temperatures_K=temperatures[t],
        volumes_A3=volumes,
        energies_eV=Drawn.of(mean.energies, [one.energies for one in drawn]),
        volume_A3=Drawn.of(mean.volume[t], [one.volume[t] for one in drawn]),
        expansion_per_K=Drawn.of(mean.expansion[t], [one.expansion[t] for one in drawn]),
        bulk_modulus_GPa=Drawn.of(mean.bulk_modulus[t], [one.bulk_modulus[t] for one in drawn]),
        heat_capacity_P=Drawn.of(mean.heat_capacity[t], [one.heat_capacity[t] for one in drawn]),
        gruneisen=Drawn.of(mean.gruneisen[t], [one.gruneisen[t] for one in drawn]),
        mode_gruneisen=Drawn.of(mean.mode_gruneisen, [one.mode_gruneisen for one in drawn]),
        mode_frequencies_THz=mean.mode_frequencies,
        remarks=tuple(remarks),
    )


def _inside(volume: FloatArray, volumes: FloatArray) -> int:
    """Number of temperatures from 0 on at which the volume is between those that were computed."""
    outside = np.flatnonzero((volume < volumes[0]) | (volume > volumes[-1]))
    return int(outside[0]) if outside.size else len(volume)


class _Cells:
    """The crystal at every strain, with the displacements it needs."""

    def __init__(self, crystal: Atoms, settings: PhononSettings) -> None:
        self.crystal, self.settings = crystal, settings
        self._kept: dict[float, DisplacedCrystal] = {}

    def at(self, source: ForceSource, factor: float) -> tuple[Phonopy, float]:
        """Phonons of a force field at a scaled cell, and the energy of the primitive cell, eV; used before the next call."""
        scaled = self.crystal.copy()
        scaled.set_cell(self.crystal.cell.array * factor, scale_atoms=True)
        if float(np.linalg.norm(force_function(source)(scaled), axis=1).max()) > RELAXED_eV_per_A:
            scaled = relaxed(source, scaled, cell=False)
            displaced = self._displaced(scaled)
        else:
            # Atoms that symmetry holds are at the same places for all force fields.
            if factor not in self._kept:
                self._kept[factor] = self._displaced(scaled)
            displaced = self._kept[factor]
        phonon = displaced.phonon
        phonon.force_constants = displaced.force_constants(source)[0]
        if self.settings.born is not None:
            add_born(phonon, self.settings.born)
        return phonon, energy_of(source, scaled) * len(phonon.primitive) / len(self.crystal)

    def _displaced(self, scaled: Atoms) -> DisplacedCrystal:
        return DisplacedCrystal(scaled, self.settings.supercell, displacement_A=self.settings.displacement_A)


def _of_one(
    source: ForceSource, cells: _Cells, factors: FloatArray, temperatures: FloatArray
) -> tuple[_One, FloatArray]:
    """All of one force field, and the volumes of the primitive cell."""
    from phonopy.qha.core import QHA

    mesh = cells.settings.mesh
    phonons, energies = [], []
    for factor in factors:
        phonon, energy = cells.at(source, float(factor))
        phonons.append(phonon)
        energies.append(energy)
    volumes = np.array([phonon.primitive.volume for phonon in phonons])
    free, entropy, heat = (np.empty((len(temperatures), len(factors))) for _ in range(3))
    for k, phonon in enumerate(phonons):
        run_mesh(phonon, mesh)
        lowest = float(np.min(phonon.mesh.frequencies))
        if lowest < -SOFT_THz:
            raise NumericsError(
                f"imaginary modes down to {abs(lowest):.2f}i THz at a strain of {factors[k] - 1:+.3f}: there is no quasi-harmonic "
                "free energy"
            )
        phonon.run_thermal_properties(temperatures=temperatures, cutoff_frequency=0.0, exclude_gamma_acoustic=True)
        found = phonon.thermal_properties
        free[:, k], entropy[:, k], heat[:, k] = found.free_energy, found.entropy, found.heat_capacity
    qha = QHA(
        volumes, np.array(energies), temperatures, heat, entropy, free, eos="vinet", t_max=float(temperatures[-3])
    )
    qha.run()
    n = len(temperatures) - 2
    volume, expansion, modulus, heat_p = (
        np.asarray(found, dtype=np.float64)[:n]
        for found in (
            qha.volume_temperature,
            qha.thermal_expansion,
            qha.bulk_modulus_temperature,
            qha.heat_capacity_P_polyfit,
        )
    )
    if any(len(value) < n or not np.isfinite(value).all() for value in (volume, expansion, modulus)):
        raise NumericsError("the equation of state could not be fitted at every temperature: relax the crystal before")
    modes, frequencies, weights = _grueneisen(source, cells)
    return (
        _One(
            energies=np.array(energies),
            volume=volume,
            expansion=expansion,
            bulk_modulus=modulus,
            heat_capacity=heat_p,
            gruneisen=_weighted(modes, frequencies, weights, temperatures[:n]),
            mode_gruneisen=modes,
            mode_frequencies=frequencies,
        ),
        volumes,
    )


def _grueneisen(source: ForceSource, cells: _Cells) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Grueneisen parameters and frequencies (n_q, n_branches) of the mesh, and the weights (n_q,) of its wave vectors."""
    from phonopy import PhonopyGruneisen

    middle, plus, minus = (
        cells.at(source, factor)[0] for factor in (1.0, 1.0 + GRUNEISEN_STRAIN, 1.0 - GRUNEISEN_STRAIN)
    )
    run_mesh(middle, cells.settings.mesh)
    found = PhonopyGruneisen(middle, plus, minus)
    with (
        quiet_phonopy(),
        np.errstate(divide="ignore", invalid="ignore"),
    ):  # translations at Gamma; `_weighted` leaves them out
        found.set_mesh(middle.mesh_numbers, is_gamma_center=True)
    _q, weights, frequencies, _vectors, gamma = found.get_mesh()
    return np.asarray(gamma), np.asarray(frequencies), np.asarray(weights, dtype=np.float64)


def _weighted(gamma: FloatArray, frequencies: FloatArray, weights: FloatArray, temperatures: FloatArray) -> FloatArray:
    """Mean of the mode parameters with the quantum heat capacities of the modes as weights, (n_temperatures,)."""
    kept = frequencies > SOFT_THz
    weight = np.broadcast_to(weights[:, None], gamma.shape)[kept]
    values, thz = gamma[kept], frequencies[kept]
    result = np.full(len(temperatures), np.nan)
    for k, temperature in enumerate(temperatures):
        if temperature > 0:
            x = _hplanck * thz * 1e12 / (_k * temperature)
            heat = weight * (x / (2 * np.sinh(np.minimum(x, 600.0) / 2))) ** 2
            if heat.sum() > 0:
                result[k] = float(heat @ values / heat.sum())
    return result
