r"""How unusual the uncertainty of a frame is: the probability P_U, and what may be measured as uncertainty. Pure functions.

Vocabulary
----------
measure      one number U >= 0 per frame that stands for the uncertainty of the model: see `UncertaintyMeasure`
trajectory         molecular dynamics of the present model in equilibrium; the reference statistics of U
z            (U - mean) / std with mean and std over the trajectory
P_U          probability of choosing a frame for its uncertainty, 0 to 1

.. math:: P_U = \tfrac12 \left[ 1 + \mathrm{erf} \frac{U - \bar U - s\,\sigma_U}{w\,\sigma_U} \right]

(Kang, Purcell, Carbogno, Scheffler, arXiv 2409.11808: shift s = 2; P_U(z = 1.5) = 0.057 and P_U(z = 3) = 0.999.) The
statistics belong to one model: what was unusual before a training is not after it, so take them anew from the
trajectory of the model that measures U.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, erfinv

from trepid.acquisition.choices import UncertaintyMeasure as UncertaintyMeasure
from trepid.arrays import FloatArray
from trepid.errors import ConfigError, DataError

SHIFT = 2.0
"""Published shift: a frame two standard deviations above the mean of the trajectory is chosen with probability 1/2."""
WIDTH = float((1.5 - SHIFT) / erfinv(2 * 0.057 - 1))
"""0.4474: solves P_U(z = 1.5) = 0.057; it gives P_U(z = 3) = 0.9992, the published 0.999, so one width serves both."""
MIN_POINTS = 10
"""Points of a trajectory below which a standard deviation is too uncertain (relative error 1 / sqrt(2 n))."""


@dataclass(frozen=True)
class WalkStatistics:
    """Mean and standard deviation of one quantity over an equilibrium trajectory.

    Attributes
    ----------
    mean, std : float
        In the unit of the quantity; std with ddof=1.
    n_points : int
        Length of the series they were taken from.

    Raises
    ------
    DataError
        A value is not finite, or std is not positive.
    """

    mean: float
    std: float
    n_points: int

    def __post_init__(self) -> None:
        if not np.isfinite([self.mean, self.std]).all():
            raise DataError(f"the trajectory has mean {self.mean} and std {self.std}: both must be finite")
        if self.std <= 0.0:
            raise DataError(
                f"the trajectory has std {self.std}: a quantity that does not fluctuate gives no scale for a frame; "
                "sample a longer trajectory, or at a temperature above zero"
            )

    @classmethod
    def of(cls, series: ArrayLike) -> WalkStatistics:
        """Statistics of a series (n_points,).

        Raises
        ------
        DataError
            Fewer than MIN_POINTS points, a value that is not finite, or all values the same.
        """
        values = np.asarray(series, dtype=np.float64).ravel()
        if values.size < MIN_POINTS:
            raise DataError(f"the trajectory has {values.size} points: its statistics need at least {MIN_POINTS}")
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"point {first} of the trajectory (counted from 0) is {values[first]}: it must be finite")
        # A series of equal numbers may have a std of round-off.
        std = 0.0 if np.ptp(values) == 0.0 else float(values.std(ddof=1))
        return cls(mean=float(values.mean()), std=std, n_points=values.size)

    def z(self, values: ArrayLike) -> FloatArray:
        """Values in standard deviations above the mean."""
        return np.asarray((np.asarray(values, dtype=np.float64) - self.mean) / self.std, dtype=np.float64)


def uncertainty_probability(
    values: ArrayLike, statistics: WalkStatistics, *, shift: float = SHIFT, width: float = WIDTH
) -> FloatArray:
    """P_U of every frame, same shape as `values`; 0 to 1 and rising with U.

    Parameters
    ----------
    values : array
        U of the frames, in the unit of the statistics.
    statistics : WalkStatistics
        Of the same measure over the current equilibrium trajectory.
    shift : float
        z at which P_U is 1/2.
    width : float
        Softness of the step, in z; positive.

    Raises
    ------
    ConfigError
        `width` is not positive.
    DataError
        A value is not finite.
    """
    if not width > 0.0:
        raise ConfigError(f"the width of P_U is {width}; it must be positive")
    z = statistics.z(values)
    if not np.isfinite(z).all():
        raise DataError("the uncertainty of a frame is not finite, so there is no probability of choosing it")
    return np.asarray(0.5 * (1.0 + erf((z - shift) / width)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class FrameSpread:
    """Uncertainty of a potential in one frame; a measure uses a part of it.

    Attributes
    ----------
    energy_uncertainty : float, optional
        eV.
    forces_uncertainty : (n_atoms, 3) array, optional
        eV/A. An atom's uncertainty is the Euclidean norm over x, y and z.
    forces_ensemble : (n_members, n_atoms, 3) array, optional
        Forces of the members of a committee, or of samples of a posterior, eV/A.
    harmonic_forces : (n_atoms, 3) array, optional
        Forces of the harmonic reference, eV/A.
    """

    energy_uncertainty: float | None = None
    forces_uncertainty: ArrayLike | None = None
    forces_ensemble: ArrayLike | None = None
    harmonic_forces: ArrayLike | None = None


@dataclass(frozen=True)
class Measure:
    """A measure of uncertainty and what it needs.

    Attributes
    ----------
    of : callable
        From a `FrameSpread` to U >= 0; raises DataError where something is missing or of the wrong shape.
    unit : str
        Of U; "1" where it has none.
    is_force : bool
        U is a force, eV/A, and can be compared with the noise of force labels.
    needs_members : bool
        Only a potential with members has it; a single Bayesian force field does not.
    needs_harmonic : bool
        It needs force constants.
    """

    of: Callable[[FrameSpread], float]
    unit: str
    is_force: bool = False
    needs_members: bool = False
    needs_harmonic: bool = False


def frame_uncertainty(
    measure: UncertaintyMeasure | str,
    *,
    energy_uncertainty: float | None = None,
    forces_uncertainty: ArrayLike | None = None,
    forces_ensemble: ArrayLike | None = None,
    harmonic_forces: ArrayLike | None = None,
) -> float:
    """The number that stands for the uncertainty of one frame; the arguments are those of `FrameSpread`.

    Raises
    ------
    DataError
        What the measure needs is missing, or of the wrong shape.
    """
    spread = FrameSpread(energy_uncertainty, forces_uncertainty, forces_ensemble, harmonic_forces)
    return MEASURES[UncertaintyMeasure(measure)].of(spread)


def _energy(spread: FrameSpread) -> float:
    if spread.energy_uncertainty is None:
        raise DataError("the measure 'energy' needs the energy uncertainty of the frame")
    return float(spread.energy_uncertainty)


def _of_atoms(measure: UncertaintyMeasure, spread: FrameSpread) -> FloatArray:
    if spread.forces_uncertainty is None:
        raise DataError(f"the measure '{measure}' needs the force uncertainty of the frame")
    return np.asarray(np.linalg.norm(np.asarray(spread.forces_uncertainty, dtype=np.float64), axis=-1))


def _force_mean(spread: FrameSpread) -> float:
    return float(_of_atoms(UncertaintyMeasure.FORCE_MEAN, spread).mean())


def _force_max(spread: FrameSpread) -> float:
    return float(_of_atoms(UncertaintyMeasure.FORCE_MAX, spread).max())


def _sigma_a(spread: FrameSpread) -> float:
    if spread.forces_ensemble is None or spread.harmonic_forces is None:
        raise DataError("the measure 'sigma_a' needs the forces of the members and of the harmonic reference")
    return sigma_a_spread(spread.forces_ensemble, spread.harmonic_forces)


MEASURES: Mapping[UncertaintyMeasure, Measure] = {
    UncertaintyMeasure.FORCE_MAX: Measure(_force_max, "eV/A", is_force=True),
    UncertaintyMeasure.FORCE_MEAN: Measure(_force_mean, "eV/A", is_force=True),
    UncertaintyMeasure.ENERGY: Measure(_energy, "eV"),
    UncertaintyMeasure.SIGMA_A: Measure(_sigma_a, "1", needs_members=True, needs_harmonic=True),
}


def sigma_a_spread(forces_ensemble: ArrayLike, harmonic_forces: ArrayLike) -> float:
    """Standard deviation (ddof=1) over members of sigma^A = sqrt(sum (F - F2)^2 / sum F^2) of one frame.

    Parameters
    ----------
    forces_ensemble : (n_members, n_atoms, 3) array
        F of every member, eV/A.
    harmonic_forces : (n_atoms, 3) array
        F2, the same for all members, eV/A.

    Raises
    ------
    DataError
        Fewer than two members, shapes that differ, or a member without any force.
    """
    forces = np.asarray(forces_ensemble, dtype=np.float64)
    harmonic = np.asarray(harmonic_forces, dtype=np.float64)
    if forces.ndim != 3 or forces.shape[1:] != harmonic.shape:
        raise DataError(
            f"member forces have shape {forces.shape}, harmonic forces {harmonic.shape}: (n_members, n_atoms, 3) and "
            "(n_atoms, 3) are needed"
        )
    if len(forces) < 2:
        raise DataError(f"the spread of sigma^A needs two members or more, not {len(forces)}")
    total = (forces**2).sum(axis=(1, 2))
    if total.min() == 0.0:
        raise DataError("a member predicts no force on any atom: sigma^A is not defined there")
    anharmonic = ((forces - harmonic) ** 2).sum(axis=(1, 2))
    return float(np.sqrt(anharmonic / total).std(ddof=1))
