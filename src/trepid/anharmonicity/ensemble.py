"""Forces and sigma^A of frames on a model, and the error bar of sigma^A that the model's own uncertainty gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.finite_displacements import DisplacedCrystal
from trepid.anharmonicity.force_source import ForceSource, Predictor, force_function
from trepid.anharmonicity.measure import sigma_a
from trepid.anharmonicity.order import in_order
from trepid.arrays import FloatArray
from trepid.errors import ConfigError
from trepid.potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.harmonic import HarmonicReference


def forces_of_frames(
    source: ForceSource, frames: Sequence[Atoms], *, after_each: Callable[[], None] | None = None
) -> FloatArray:
    """Forces of frames of one size, (n_frames, n_atoms, 3), eV/A; `after_each` is called after every frame."""
    forces_of = force_function(source)
    result = []
    for frame in frames:
        result.append(forces_of(frame))
        if after_each is not None:
            after_each()
    return np.array(result)


def ensemble_of(source: ForceSource, n: int, seed: int) -> list[ForceSource]:
    """Equally plausible force fields: posterior samples of a Bayesian force field, members of a committee.

    Parameters
    ----------
    source : force source
    n : int
        Number of posterior samples; a committee has the members it has.
    seed : int

    Returns
    -------
    list
        Empty for n = 0, for a potential without either, and for a source that is no potential.
    """
    if n < 1 or not isinstance(source, Potential):
        return []
    return [one for one in source.sample(n, seed) if isinstance(one, Predictor)]


def ensemble_sigma_a(
    ensemble: Sequence[ForceSource],
    reference: HarmonicReference,
    frames: Sequence[Atoms],
    *,
    own_harmonic: bool = True,
    displacement_A: float = 0.01,
    after_each: Callable[[], None] | None = None,
) -> FloatArray:
    """sigma^A of the same frames on every force field of an ensemble, (n_members,).

    Their standard deviation (ddof=1) is the error bar of sigma^A that comes from the model, at fixed frames; the one from the
    finite number of frames is another and adds in squares.

    Parameters
    ----------
    ensemble : sequence of force fields
        At least two.
    reference : HarmonicReference
        In the order of the first frame.
    frames : sequence of Atoms
        A frame in another order is brought into that of the reference (`in_order`).
    own_harmonic : bool
        Force constants of each force field by finite displacements of its own, as F2 is a property of the potential. Its crystal
        at rest is not exactly the reference's: the harmonic forces include the residual ones, F2 = F(0) - Phi u
        (`HarmonicReference.expansion_at`). False: force constants of `reference` for all.
    displacement_A : float
        As in `harmonic_reference`.
    after_each : callable, optional
        Called after every force field.

    Raises
    ------
    ConfigError
        Fewer than two force fields.
    """
    if len(ensemble) < 2:
        raise ConfigError(f"an error bar needs two force fields or more, not {len(ensemble)}")
    frames = in_order(reference, frames).frames
    u = np.array([reference.displacements(frame, check_order=False) for frame in frames])
    displaced = _displaced(reference, displacement_A) if own_harmonic else None
    values = []
    for member in ensemble:
        harmonic = reference.forces_at(u)
        if displaced is not None:
            own = displaced.reference(*displaced.force_constants(member)).in_order_of(reference.supercell)
            harmonic = own.expansion_at(u)
        values.append(sigma_a(forces_of_frames(member, frames), harmonic))
        if after_each is not None:
            after_each()
    return np.array(values)


def _displaced(reference: HarmonicReference, displacement_A: float) -> DisplacedCrystal:
    """The crystal of a reference and the displacements that force constants of any force field need."""
    unitcell = reference.supercell if reference.unitcell is None else reference.unitcell
    return DisplacedCrystal(unitcell, reference.supercell_matrix.tolist(), displacement_A=displacement_A)
