"""Density of states and thermal properties on a mesh, through phonopy, with the draws of the model.

Vocabulary
----------
mesh        wave vectors on a regular grid, reduced by symmetry; one number gives all three (phonopy's length of a mesh, A)
thermal     harmonic free energy, entropy and heat capacity at constant volume, with quantum statistics, per mole of primitive
            cells; imaginary modes are left out, the three translations at Gamma too
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.phonopy_objects import run_mesh
from trepid.arrays import FloatArray
from trepid.phonons.bands import in_turn
from trepid.phonons.drawn import Drawn

if TYPE_CHECKING:
    from phonopy import Phonopy

N_FREQUENCIES = 201
"""Points of a density of states."""
MARGIN = 0.05
"""Room above and below the frequencies, in parts of the highest one."""


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """Total density of states.

    Attributes
    ----------
    frequencies_THz : (n,) array
    density : Drawn
        (n,), states per THz and primitive cell; the integral is the number of branches.
    """

    frequencies_THz: FloatArray
    density: Drawn


@dataclass(frozen=True, eq=False)
class ThermalProperties:
    """Harmonic thermal properties, per mole of primitive cells.

    Attributes
    ----------
    temperatures_K : (n,) array
    free_energy : Drawn
        (n,), kJ/mol, zero-point energy included.
    entropy, heat_capacity : Drawn
        (n,), J/K/mol.
    """

    temperatures_K: FloatArray
    free_energy: Drawn
    entropy: Drawn
    heat_capacity: Drawn


@dataclass(frozen=True, eq=False)
class MeshResult:
    """What the mesh gives.

    Attributes
    ----------
    n_qpoints : int
        Irreducible wave vectors.
    lowest_THz : Drawn
        Lowest frequency of the mesh, negative where imaginary.
    highest_THz : Drawn
    imaginary_share : float
        Part of the modes of the mesh of the model that are imaginary.
    dos : DensityOfStates
    thermal : ThermalProperties
    """

    n_qpoints: int
    lowest_THz: Drawn
    highest_THz: Drawn
    imaginary_share: float
    dos: DensityOfStates
    thermal: ThermalProperties


def mesh_of(
    phonon: Phonopy,
    constants: FloatArray,
    draws: Sequence[FloatArray],
    *,
    mesh: float | tuple[int, int, int],
    temperatures_K: FloatArray,
    soft_THz: float,
) -> MeshResult:
    """Density of states and thermal properties of a model and of its draws.

    Parameters
    ----------
    phonon, constants, draws
        As in `bands_of`.
    mesh : float or three ints
        Length, A, or the numbers of wave vectors.
    temperatures_K : (n,) array
    soft_THz : float
        Modes below minus this are imaginary.
    """
    spectra: dict[int, FloatArray] = {}
    for number in in_turn(phonon, constants, draws):
        run_mesh(phonon, mesh)
        spectra[number] = np.asarray(phonon.mesh.frequencies)
    weights = np.asarray(phonon.mesh.weights, dtype=np.float64)
    low, high = min(s.min() for s in spectra.values()), max(s.max() for s in spectra.values())
    room = MARGIN * max(abs(low), abs(high))
    # The low end is zero unless there are imaginary modes: rounding at Gamma is none.
    grid = np.linspace(low - room if low < -soft_THz else 0.0, high + room, N_FREQUENCIES)
    densities: dict[int, FloatArray] = {}
    free: dict[int, FloatArray] = {}
    entropy: dict[int, FloatArray] = {}
    heat: dict[int, FloatArray] = {}
    for number in in_turn(phonon, constants, draws):
        run_mesh(phonon, mesh)
        phonon.run_total_dos(freq_min=grid[0], freq_max=grid[-1], freq_pitch=grid[1] - grid[0])
        densities[number] = np.interp(grid, phonon.total_dos.frequency_points, phonon.total_dos.dos)
        phonon.run_thermal_properties(temperatures=temperatures_K, cutoff_frequency=0.0, exclude_gamma_acoustic=True)
        thermal = phonon.thermal_properties
        free[number], entropy[number] = np.array(thermal.free_energy), np.array(thermal.entropy)
        heat[number] = np.array(thermal.heat_capacity)

    def drawn(of: dict[int, FloatArray]) -> Drawn:
        return Drawn.of(of[0], [of[k] for k in range(1, len(draws) + 1)])

    return MeshResult(
        n_qpoints=len(weights),
        lowest_THz=drawn({k: s.min() for k, s in spectra.items()}),
        highest_THz=drawn({k: s.max() for k, s in spectra.items()}),
        imaginary_share=float((weights @ (spectra[0] < -soft_THz).mean(axis=1)) / weights.sum()),
        dos=DensityOfStates(grid, drawn(densities)),
        thermal=ThermalProperties(
            np.asarray(temperatures_K, dtype=np.float64), drawn(free), drawn(entropy), drawn(heat)
        ),
    )
