r"""P_E: whether the event that a frame shows is probable in the simulations that the model is made for. Pure functions.

Vocabulary
----------
horizon          the temperature T and the time t that the user wants to simulate, and the rate nu0 at which a crystal
                 attempts things
ways             number of equivalent events that can happen in the crystal: every one attempts by itself. 1 where it is not known
                 which event a frame shows
budget           kT ln(ways nu0 t), eV: an event that costs more is not expected once within t
excess           energy of an atom minus the mean energy of its group (species, or site) in the equilibrium trajectory, eV
neighbourhood    the atoms around one atom, with smooth weights; see `neighbourhood`, also for how energy is shared among atoms
cost             what a frame's most expensive neighbourhood needs beyond what thermal fluctuation explains, eV
viability, P_E   1 inside the budget, exp(-(cost - budget) / kT) beyond it

**What is subtracted, and why.** A neighbourhood of n harmonic atoms carries 3/2 n kT of potential energy on average:
subtracting the mean *of the trajectory* from every atom removes it, anharmonicity included. The remainder scatters with a std
of kT sqrt(3/2 sum w^2), 3.8 kT for CuI with the default radii; the std is measured over the trajectory (3.1 to 3.6 kT), and
`allowance` (2) times it is subtracted as thermal scatter: an event as expensive as the budget passes in all but 2 % of its
thermal surroundings. The price is that events up to allowance x std above the budget pass sometimes. Where that is too lenient,
average the energies over a few vibrations, or quench.

The inner radius should hold the first shell, where an event has its energy. For a Cu of CuI pushed half the way to an empty site a
neighbourhood holds 0.94 to 0.98 of the energy by three models; pushed all the way, unrelaxed, 0.7 to 1.4, since bonds that no
equilibrium trajectory shows are shared differently by each model.

**Sizes.** mean and std belong to one neighbourhood, not to the cell, so the same event costs the same in any cell. The maximum
over the neighbourhoods of an event-free cell does grow, like std sqrt(2 ln N), but it reaches the viability only above
allowance + budget / std: 5.3 std for 10 ns, while the maxima of frames of CuI at 300 K are 1.8 std (64
atoms) to 3.2 std (512) on average, and 4.5 to 5.6 std in 100 frames.
Raising the allowance with N instead would make the same event cheaper in a larger cell, so it is constant.

An event within the trajectory from which the statistics are taken widens std; take them from an event-free stretch,
at the temperature of the trajectory whose frames are judged. The horizon's temperature is that of the simulation to come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.units import kB
from numpy.typing import ArrayLike

from trepid.acquisition.choices import Viability
from trepid.acquisition.neighbourhood import (
    EnergyTransfer,
    Neighbourhood,
    fit_transfer,
    transfer_features,
)
from trepid.acquisition.uncertainty import MIN_POINTS, WalkStatistics
from trepid.arrays import FloatArray, IndexArray
from trepid.errors import ConfigError, DataError

ATTEMPT_FREQUENCY_HZ = 1e13
"""Default nu0: a typical optical phonon."""
ALLOWANCE = 2.0
"""Thermal scatter granted to a neighbourhood, in standard deviations of the trajectory."""


@dataclass(frozen=True)
class Horizon:
    """The simulation that the model is for.

    Attributes
    ----------
    temperature_K : float
        Positive.
    time_ns : float
        Simulated time, ns; at least one attempt long.
    attempt_frequency_Hz : float
        nu0.
    ways : int
        Equivalent events.

    Raises
    ------
    ConfigError
        A value is out of range.
    """

    temperature_K: float
    time_ns: float
    attempt_frequency_Hz: float = ATTEMPT_FREQUENCY_HZ
    ways: int = 1

    def __post_init__(self) -> None:
        if not (self.temperature_K > 0.0 and np.isfinite(self.temperature_K)):
            raise ConfigError(f"the temperature of the horizon is {self.temperature_K} K; it must be positive")
        if self.ways < 1:
            raise ConfigError(f"the number of equivalent ways is {self.ways}; it must be 1 or more")
        if not self.attempts >= self.ways:
            raise ConfigError(
                f"a horizon of {self.time_ns} ns at {self.attempt_frequency_Hz:g} attempts per second is shorter than one "
                "attempt; give the time that you want to simulate in ns"
            )

    @property
    def attempts(self) -> float:
        """Ways nu0 t."""
        return self.ways * self.attempt_frequency_Hz * self.time_ns * 1e-9

    @property
    def thermal_energy(self) -> float:
        """KT in eV."""
        return float(kB * self.temperature_K)

    @property
    def budget(self) -> float:
        """KT ln(ways nu0 t) in eV."""
        return float(self.thermal_energy * np.log(self.attempts))

    def reaches(self, least_eV: float) -> bool:
        """Whether an event that costs this at least is expected within t."""
        return least_eV <= self.budget


def horizon_viability(costs: ArrayLike, horizon: Horizon, *, energy_uncertainty: ArrayLike = 0.0) -> FloatArray:
    """P_E of frames by what their most expensive neighbourhood, or their inherent structure, costs.

    Parameters
    ----------
    costs : array
        eV; see `frame_cost` and `quench_costs`.
    horizon : Horizon
    energy_uncertainty : array or float
        One standard deviation of the cost, epistemic, eV: added to the budget, so that an uncertain model does not exclude what
        it was not trained on. Meant is that of the event; the uncertainty of the total energy of a frame grows with its size.

    Returns
    -------
    array of the shape of `costs`
        0 to 1; falls with the cost, rises with temperature, time and uncertainty. T -> 0: 1 where the cost is within the
        uncertainty, 0 elsewhere. t -> infinity: 1.

    Raises
    ------
    DataError
        A cost is NaN, or an uncertainty negative or not finite.
    """
    cost = np.asarray(costs, dtype=np.float64)
    doubt = np.asarray(energy_uncertainty, dtype=np.float64)
    if np.isnan(cost).any():
        raise DataError("the cost of a frame is NaN, so its viability is not defined")
    if not (np.isfinite(doubt).all() and (doubt >= 0.0).all()):
        raise DataError("the energy uncertainty of a frame must be finite and not negative")
    beyond = np.maximum(cost - horizon.budget - doubt, 0.0)
    return np.asarray(np.exp(-beyond / horizon.thermal_energy), dtype=np.float64)


def gaussian_viability(energies: ArrayLike, statistics: WalkStatistics) -> FloatArray:
    """Published P_E = min(1, 0.2^((z_E - 1) / 0.8)) of total potential energies.

    z_E is the total energy in standard deviations above its mean in the equilibrium trajectory (arXiv 2409.11808). The standard
    deviation grows like sqrt(N), so the same event is refused in a small cell and accepted in a large one: kept for comparison.

    Parameters
    ----------
    energies : array
        Potential energies of the frames, eV.
    statistics : WalkStatistics
        Of the potential energy in the current equilibrium trajectory of the same cell.

    Raises
    ------
    DataError
        An energy is NaN.
    """
    z = statistics.z(energies)
    if np.isnan(z).any():
        raise DataError("the energy of a frame is NaN, so its viability is not defined")
    return np.asarray(0.2 ** (np.maximum(z - 1.0, 0.0) / 0.8), dtype=np.float64)


def quench_costs(quenched_energies: ArrayLike, n_atoms: ArrayLike, *, crystal_energy_per_atom: float) -> FloatArray:
    """Cost of inherent structures: E_quench - n E_crystal, eV, for potentials that share out no energy among atoms.

    Free of thermal noise, and the same in any cell as long as the cell holds one event: the costs of several events add
    up. A frame near a saddle point falls into a minimum when quenched, so this is what an event leaves behind, not what it
    takes: a lower bound.

    Parameters
    ----------
    quenched_energies : (n_frames,) array
        Potential energies after relaxation at the fixed cell of the crystal, eV.
    n_atoms : (n_frames,) array or int
        Atoms of each frame; its composition must be that of the crystal.
    crystal_energy_per_atom : float
        eV, by the same model.
    """
    energies = np.asarray(quenched_energies, dtype=np.float64)
    return np.asarray(energies - np.asarray(n_atoms) * crystal_energy_per_atom, dtype=np.float64)


DEFAULT_NEIGHBOURHOOD = Neighbourhood()


@dataclass(frozen=True)
class NeighbourhoodStatistics:
    """What is ordinary for the atoms of each group, and for the neighbourhoods around them.

    Attributes
    ----------
    mean : (n_groups,) array
        Energy of an atom, eV.
    std : (n_groups,) array
        Standard deviation of the summed excess of a neighbourhood around an atom of the group, eV. Zero for a quenched crystal.
    neighbourhood : Neighbourhood
        The weights that std belongs to.
    transfer : EnergyTransfer or None
        What is moved between the shares of the atoms before they are summed; mean and std are those after it.
    largest_z : float
        Largest summed excess met in the trajectory, in std; 4.5 to 5.6 in event-free trajectories of 100 frames of 64 to 512 atoms.

    Raises
    ------
    DataError
        Shapes differ, a value is not finite, or a std is negative.
    """

    mean: FloatArray
    std: FloatArray
    neighbourhood: Neighbourhood = DEFAULT_NEIGHBOURHOOD
    transfer: EnergyTransfer | None = None
    largest_z: float = 0.0

    def __post_init__(self) -> None:
        if self.mean.shape != self.std.shape or self.mean.ndim != 1:
            raise DataError(
                f"means have shape {self.mean.shape}, stds {self.std.shape}: one of each per group is needed"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std >= 0.0).all()):
            raise DataError("means and stds of the atom energies must be finite, stds not negative")

    @classmethod
    def of_walk(
        cls,
        atom_energies: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: ArrayLike,
        groups: ArrayLike,
        *,
        neighbourhood: Neighbourhood = DEFAULT_NEIGHBOURHOOD,
    ) -> NeighbourhoodStatistics:
        """Statistics of an equilibrium trajectory of the current model, at the temperature of the candidates.

        Parameters
        ----------
        atom_energies : (n_points, n_atoms) array
            eV.
        positions : (n_points, n_atoms, 3) array
            A.
        cell : (3, 3) or (n_points, 3, 3) array
            A.
        pbc : (3,) array of bool or bool
        groups : (n_atoms,) array of int
            Group of every atom, 0, 1, ...: its species, or its site.

        Raises
        ------
        DataError
            Fewer than MIN_POINTS points, shapes that differ, a group without atoms, or energies that do not fluctuate.
        ConfigError
            As `Neighbourhood.pairs`.
        """
        energies = np.asarray(atom_energies, dtype=np.float64)
        points = np.asarray(positions, dtype=np.float64)
        group = _groups(groups, energies.shape[-1:])
        if energies.ndim != 2 or points.shape != (*energies.shape, 3):
            raise DataError(
                f"atom energies of the trajectory have shape {energies.shape}, positions {points.shape}: (n_points, n_atoms) and "
                "(n_points, n_atoms, 3) are needed"
            )
        if len(energies) < MIN_POINTS:
            raise DataError(f"the trajectory has {len(energies)} points: its statistics need at least {MIN_POINTS}")
        if np.ptp(energies, axis=0).max() == 0.0:
            raise DataError("the atom energies of the trajectory do not fluctuate: there is no scale for a frame")
        mean = _group_means(energies.mean(axis=0), group)
        n_groups, outer = len(mean), neighbourhood.outer
        cells = np.broadcast_to(np.asarray(cell, dtype=np.float64), (len(energies), 3, 3))
        pairs = [neighbourhood.pairs(p, c, pbc) for p, c in zip(points, cells, strict=True)]
        moved = np.array([transfer_features(p, group, n_groups=n_groups, outer=outer) for p in pairs])
        mean_moved = np.array([_group_means(column, group) for column in moved.mean(axis=0).T]).reshape(-1, n_groups).T
        both = np.concatenate([(energies - mean[group])[..., None], moved - mean_moved[group]], axis=2)
        sums = np.array([neighbourhood.sums(x, p) for x, p in zip(both, pairs, strict=True)])
        coefficients = fit_transfer(sums[..., 0].ravel(), sums[..., 1:].reshape(energies.size, sums.shape[2] - 1))
        left = sums[..., 0] + sums[..., 1:] @ coefficients
        std = np.sqrt(_group_means((left**2).mean(axis=0), group))
        return cls(
            mean=mean + mean_moved @ coefficients,
            std=std,
            neighbourhood=neighbourhood,
            transfer=EnergyTransfer(n_groups, outer, coefficients),
            largest_z=float((left / std[group]).max()),
        )

    @classmethod
    def of_crystal(
        cls,
        atom_energies: ArrayLike,
        positions: ArrayLike,
        cell: ArrayLike,
        pbc: ArrayLike,
        groups: ArrayLike,
        *,
        neighbourhood: Neighbourhood = DEFAULT_NEIGHBOURHOOD,
        transfer: EnergyTransfer | None = None,
    ) -> NeighbourhoodStatistics:
        """Statistics for quenched frames: means of a crystal at rest, no thermal scatter.

        Parameters
        ----------
        atom_energies : (n_atoms,) array
            Of the crystal by the same model, eV.
        positions : (n_atoms, 3) array
            A.
        cell : (3, 3) array
            A.
        pbc : (3,) array of bool or bool
        groups : (n_atoms,) array of int
        transfer : EnergyTransfer, optional
            That of a trajectory of the same model.
        """
        energies = np.asarray(atom_energies, dtype=np.float64)
        group = _groups(groups, energies.shape)
        if transfer is not None:
            energies = energies + transfer.moved(neighbourhood.pairs(positions, cell, pbc), group)
        mean = _group_means(energies, group)
        return cls(mean=mean, std=np.zeros_like(mean), neighbourhood=neighbourhood, transfer=transfer)


def neighbourhood_costs(
    atom_energies: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike,
    pbc: ArrayLike,
    groups: ArrayLike,
    statistics: NeighbourhoodStatistics,
    *,
    allowance: float = ALLOWANCE,
) -> FloatArray:
    """Cost of the neighbourhood of every atom of a frame, (n_atoms,), eV: summed excess minus allowance times std.

    Parameters
    ----------
    atom_energies : (n_atoms,) array
        eV. Averages over a few vibrations around the frame are better still, with statistics of such averages.
    positions : (n_atoms, 3) array
        A.
    cell : (3, 3) array
        A.
    pbc : (3,) array of bool or bool
    groups : (n_atoms,) array of int
        As in the statistics.
    statistics : NeighbourhoodStatistics
    allowance : float
        Thermal scatter granted, in std.

    Raises
    ------
    DataError
        Shapes that differ, a group that the statistics do not know, or values that are not finite.
    ConfigError
        The allowance is negative, or as `Neighbourhood.pairs`.
    """
    if not allowance >= 0.0:
        raise ConfigError(f"the allowance for thermal scatter is {allowance} std; it must not be negative")
    energies = np.asarray(atom_energies, dtype=np.float64)
    group = _groups(groups, energies.shape)
    if group.max(initial=-1) >= len(statistics.mean):
        raise DataError(
            f"an atom belongs to group {group.max()}; the statistics know {len(statistics.mean)} groups from 0"
        )
    pairs = statistics.neighbourhood.pairs(positions, cell, pbc)
    if pairs.n_atoms != len(energies):
        raise DataError(f"{len(energies)} atom energies and {pairs.n_atoms} positions: they must agree")
    excess = energies - statistics.mean[group]
    if statistics.transfer is not None:
        excess = excess + statistics.transfer.moved(pairs, group)
    sums = statistics.neighbourhood.sums(excess, pairs)
    return np.asarray(sums - allowance * statistics.std[group], dtype=np.float64)


def frame_cost(
    atom_energies: ArrayLike,
    positions: ArrayLike,
    cell: ArrayLike,
    pbc: ArrayLike,
    groups: ArrayLike,
    statistics: NeighbourhoodStatistics,
    *,
    allowance: float = ALLOWANCE,
) -> float:
    """Cost of a frame, eV: that of its most expensive neighbourhood; see `neighbourhood_costs`. Often negative."""
    costs = neighbourhood_costs(atom_energies, positions, cell, pbc, groups, statistics, allowance=allowance)
    if not costs.size:
        raise DataError("the frame has no atoms")
    return float(costs.max())


def _groups(groups: ArrayLike, shape: tuple[int, ...]) -> IndexArray:
    group = np.asarray(groups)
    if group.shape != shape or group.dtype.kind not in "iu" or group.min(initial=0) < 0:
        raise DataError(
            f"groups of shape {group.shape} for atoms of shape {shape}: one index from 0 up per atom is needed"
        )
    return group.astype(np.intp)


def _group_means(values: FloatArray, group: IndexArray) -> FloatArray:
    counts = np.bincount(group)
    if counts.size == 0 or counts.min() == 0:
        raise DataError("every group from 0 up must have an atom")
    return np.asarray(np.bincount(group, weights=values) / counts, dtype=np.float64)


# ---------------------------------------------------------------------- the choices


@dataclass(frozen=True, eq=False)
class FrameEnergies:
    """Energies and positions of frames of one crystal.

    Attributes
    ----------
    energies : (n_frames,) array
        Potential energies, eV.
    positions : (n_frames, n_atoms, 3) array
        A.
    atom_energies : (n_frames, n_atoms) array or None
        Share of every atom, eV; None where the potential has none.
    """

    energies: FloatArray
    positions: FloatArray
    atom_energies: FloatArray | None


@dataclass(frozen=True, eq=False)
class ViabilityInput:
    """Candidates of one temperature, and the trajectory by which they are judged.

    Attributes
    ----------
    candidates, equilibrium : FrameEnergies
        The frames to judge; unbiased frames in equilibrium at the same temperature, by the same model.
    cell : (3, 3) array
        A.
    pbc : (3,) array of bool
    groups : (n_atoms,) array of int
        Group of every atom from 0 up: its species, or its site.
    horizon : Horizon
        At the temperature of the candidates.
    neighbourhood : Neighbourhood
    doubt : callable
        From the number of a candidate and of an atom to the uncertainty of what the surroundings of that atom cost, eV. Called
        where the cost is above the budget only.
    """

    candidates: FrameEnergies
    equilibrium: FrameEnergies
    cell: FloatArray
    pbc: ArrayLike
    groups: IndexArray
    horizon: Horizon
    neighbourhood: Neighbourhood
    doubt: Callable[[int, int], float]

    @property
    def n(self) -> int:
        """Number of candidates."""
        return len(self.candidates.energies)


def _always(given: ViabilityInput) -> FloatArray:
    return np.ones(given.n)


def _by_total_energy(given: ViabilityInput) -> FloatArray:
    if len(given.equilibrium.energies) < MIN_POINTS:
        return np.ones(given.n)
    return gaussian_viability(given.candidates.energies, WalkStatistics.of(given.equilibrium.energies))


def _by_neighbourhoods(given: ViabilityInput) -> FloatArray:
    ordinary, judged = given.equilibrium.atom_energies, given.candidates.atom_energies
    if ordinary is None or judged is None:
        raise ConfigError(
            "acquisition.viability horizon needs the share of every atom in the energy, which this potential does not "
            "give; take gaussian or none"
        )
    if len(ordinary) < MIN_POINTS:
        return np.ones(given.n)
    statistics = NeighbourhoodStatistics.of_walk(
        ordinary,
        given.equilibrium.positions,
        given.cell,
        given.pbc,
        given.groups,
        neighbourhood=given.neighbourhood,
    )
    costs, doubts = np.empty(given.n), np.zeros(given.n)
    for k in range(given.n):
        of_atoms = neighbourhood_costs(
            judged[k], given.candidates.positions[k], given.cell, given.pbc, given.groups, statistics
        )
        atom = int(np.argmax(of_atoms))
        costs[k] = of_atoms[atom]
        if costs[k] > given.horizon.budget:
            doubts[k] = given.doubt(k, atom)
    return horizon_viability(costs, given.horizon, energy_uncertainty=doubts)


VIABILITIES: Mapping[Viability, Callable[[ViabilityInput], FloatArray]] = {
    Viability.HORIZON: _by_neighbourhoods,
    Viability.GAUSSIAN: _by_total_energy,
    Viability.NONE: _always,
}
"""P_E of the candidates, (n,), 0 to 1; 1 where the equilibrium is shorter than MIN_POINTS frames."""
