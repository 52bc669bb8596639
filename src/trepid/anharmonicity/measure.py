"""sigma^A, the part of the forces that a harmonic crystal does not explain.

Vocabulary
----------
F          forces of the potential, eV/A; never with the random or friction force of a thermostat in them
F2         harmonic forces of the same atoms at the same places, -Phi u, eV/A
sigma^A    sqrt( sum |F - F2|^2 / sum |F|^2 ), one ratio over all that is summed, not a mean of ratios: 0 for a harmonic
           crystal, 1 where the harmonic forces explain nothing. F. Knoop et al., Phys. Rev. Materials 4, 083809 (2020)

The sums run over frames, atoms and components (`sigma_a`), or leave one of them out: over the atoms of one frame
(`sigma_a_per_frame`), over the frames of one atom (`sigma_a_per_atom`), of one species (`sigma_a_per_species`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trepid.anharmonicity.blocking import BlockError, block_error
from trepid.arrays import FloatArray
from trepid.errors import DataError, NumericsError

NO_FORCE_eV_per_A = 1e-9
"""Root mean square below which forces count as zero: the crystal at rest has only rounding errors."""
_ALL = slice(None)


def sigma_a(forces: ArrayLike, harmonic_forces: ArrayLike) -> float:
    """sigma^A of all frames and atoms together.

    Parameters
    ----------
    forces, harmonic_forces : (n_frames, n_atoms, 3) or (n_atoms, 3) array-like
        eV/A.

    Raises
    ------
    DataError
        The shapes differ or are others than these, or a force is not finite.
    NumericsError
        All forces are zero: there is nothing to compare with.
    """
    parts = force_sums(forces, harmonic_forces)
    return float(_refuse_zero(_ratio(parts, None), "all forces are zero"))


def sigma_a_per_frame(forces: ArrayLike, harmonic_forces: ArrayLike) -> FloatArray:
    """sigma^A of every frame, (n_frames,): the time series in which an event is a jump. Errors as `sigma_a`."""
    parts = force_sums(forces, harmonic_forces)
    return _refuse_zero(_ratio(parts, 1), "all forces of frame {} (counted from 0) are zero")


def sigma_a_per_atom(forces: ArrayLike, harmonic_forces: ArrayLike) -> FloatArray:
    """sigma^A of every atom over all frames, (n_atoms,). Errors as `sigma_a`."""
    parts = force_sums(forces, harmonic_forces)
    return _refuse_zero(_ratio(parts, 0), "the forces on atom {} (counted from 0) are zero in all frames")


def sigma_a_per_species(
    forces: ArrayLike, harmonic_forces: ArrayLike, symbols: Sequence[str] | NDArray[np.str_]
) -> dict[str, float]:
    """sigma^A of every species, by symbol in alphabetical order; `symbols` has one per atom. Errors as `sigma_a`."""
    parts = force_sums(forces, harmonic_forces)
    return _by_species(parts, _masks(symbols, parts.total.shape[1]))


@dataclass(frozen=True)
class ForceSums:
    """The two sums of squares of which every sigma^A is made.

    Attributes
    ----------
    anharmonic : (n_frames, n_atoms) array
        |F - F2|^2 of every atom, (eV/A)^2.
    total : (n_frames, n_atoms) array
        |F|^2.
    """

    anharmonic: FloatArray
    total: FloatArray


def force_sums(forces: ArrayLike, harmonic_forces: ArrayLike) -> ForceSums:
    """Squared forces per frame and atom, checked; parameters and errors as `sigma_a`."""
    f, f2 = (np.asarray(value, dtype=np.float64) for value in (forces, harmonic_forces))
    if f.shape != f2.shape:
        raise DataError(f"forces have shape {f.shape}, harmonic forces {f2.shape}; they must be of the same atoms")
    if f.ndim not in (2, 3) or f.shape[-1] != 3 or f.size == 0:
        raise DataError(f"forces have shape {f.shape}; (n_frames, n_atoms, 3) or (n_atoms, 3) is expected")
    f, f2 = (value.reshape(-1, *value.shape[-2:]) for value in (f, f2))
    for name, value in (("forces", f), ("harmonic forces", f2)):
        if not np.isfinite(value).all():
            frame, atom, _ = (int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise DataError(f"{name}: frame {frame}, atom {atom} (counted from 0): {value[frame, atom].tolist()}")
    return ForceSums(np.sum((f - f2) ** 2, axis=-1), np.sum(f**2, axis=-1))


@dataclass(frozen=True)
class Anharmonicity:
    """sigma^A of a set of frames with everything that is reported about it.

    Attributes
    ----------
    sigma_a : float
    error : BlockError
        One standard deviation of `sigma_a` from the finite number of frames, which may be correlated in time.
    per_species : mapping of str to float
        By symbol in alphabetical order.
    per_species_error : mapping of str to BlockError
    per_frame : (n_frames,) array
        nan for a frame without forces, such as the crystal at rest that a run starts from; as in the next two.
    per_frame_species : mapping of str to (n_frames,) array
    per_atom : (n_atoms,) array
    symbols : tuple of str
        Of the atoms.
    times_ps : (n_frames,) array or None
        When the frames were, if they are of a trajectory.
    """

    sigma_a: float
    error: BlockError
    per_species: Mapping[str, float]
    per_species_error: Mapping[str, BlockError]
    per_frame: FloatArray
    per_frame_species: Mapping[str, FloatArray]
    per_atom: FloatArray
    symbols: tuple[str, ...]
    times_ps: FloatArray | None = None

    def __repr__(self) -> str:
        return (
            f"Anharmonicity(sigma^A {self.sigma_a:.4f} +- {self.error.error:.4f}, {self.n_frames} frames of "
            f"{len(self.symbols)} atoms)"
        )

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.per_frame)


def measure_anharmonicity(
    forces: ArrayLike,
    harmonic_forces: ArrayLike,
    symbols: Sequence[str] | NDArray[np.str_],
    *,
    times_ps: ArrayLike | None = None,
    correlated: bool = True,
) -> Anharmonicity:
    """sigma^A in all its variants, with error bars.

    Parameters
    ----------
    forces, harmonic_forces : (n_frames, n_atoms, 3) or (n_atoms, 3) array-like
        eV/A.
    symbols : sequence of str
        One per atom.
    times_ps : (n_frames,) array-like, optional
    correlated : bool
        Whether frames next to each other may be alike, as in a trajectory: errors are then found by blocking. False for
        frames drawn independently.

    Raises
    ------
    DataError, NumericsError
        As `sigma_a`; also where symbols or times are not one per atom and frame.
    """
    parts = force_sums(forces, harmonic_forces)
    n_frames, n_atoms = parts.total.shape
    times = None if times_ps is None else np.asarray(times_ps, dtype=np.float64)
    if times is not None and times.shape != (n_frames,):
        raise DataError(f"times have shape {times.shape}, but there are {n_frames} frames")
    masks = _masks(symbols, n_atoms)
    length = None if correlated else 1
    everything = np.ones(n_atoms, dtype=bool)
    return Anharmonicity(
        sigma_a=sigma_a(forces, harmonic_forces),
        error=_error_of(parts, everything, length),
        per_species=_by_species(parts, masks),
        per_species_error={name: _error_of(parts, mask, length) for name, mask in masks.items()},
        per_frame=_ratio(parts, 1),
        per_frame_species={name: _ratio(parts, 1, mask) for name, mask in masks.items()},
        per_atom=_ratio(parts, 0),
        symbols=tuple(str(s) for s in symbols),
        times_ps=times,
    )


def _by_species(parts: ForceSums, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    return {
        name: float(_refuse_zero(_ratio(parts, None, mask), f"all forces on {name} are zero"))
        for name, mask in masks.items()
    }


def _masks(symbols: Sequence[str] | NDArray[np.str_], n_atoms: int) -> dict[str, NDArray[np.bool_]]:
    names = np.asarray(symbols, dtype=str)
    if names.shape != (n_atoms,):
        raise DataError(f"there are {names.size} symbols for forces on {n_atoms} atoms; one per atom is expected")
    return {str(name): names == name for name in np.unique(names)}


def _error_of(parts: ForceSums, mask: NDArray[np.bool_], block_length: int | None) -> BlockError:
    series = np.stack([parts.anharmonic[:, mask].sum(axis=1), parts.total[:, mask].sum(axis=1)], axis=1)
    return block_error(series, lambda mean: float(np.sqrt(mean[0] / mean[1])), block_length=block_length)


def _ratio(parts: ForceSums, axis: int | None, mask: NDArray[np.bool_] | slice = _ALL) -> FloatArray:
    """Square root of the quotient of the sums over an axis (None: over all); nan where there are no forces."""
    numerator, denominator = parts.anharmonic[:, mask].sum(axis=axis), parts.total[:, mask].sum(axis=axis)
    n_summed = parts.total[:, mask].size / np.size(denominator)
    defined = denominator > n_summed * NO_FORCE_eV_per_A**2
    return np.sqrt(np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=defined))


def _refuse_zero(ratio: FloatArray, message: str) -> FloatArray:
    """Raise where there are no forces; `message` has a place for the index."""
    undefined = np.flatnonzero(np.isnan(np.atleast_1d(ratio)))
    if undefined.size:
        raise NumericsError(f"{message.format(int(undefined[0]))}: sigma^A is not defined without forces")
    return ratio
