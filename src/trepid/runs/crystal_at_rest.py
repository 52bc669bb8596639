"""What a model says of a crystal at rest before anything is computed from it: its pressure, and whether the model knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa

from trepid.config.learning import LearningSettings
from trepid.data.cell_change import CellChange
from trepid.dynamics.settings import GUARD_NOISE_FACTOR
from trepid.potentials.base import Potential, Prediction, Uncertainty
from trepid.quantities import force, share
from trepid.runs.first_look import LARGE_PRESSURE_GPa

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.anharmonicity.force_source import ForceSource

DISPLACED_A: float = LearningSettings.model_fields["initial_displacement_A"].default
"""Standard deviation of the displacement of each coordinate, A: at rest, symmetry alone makes forces and their bars vanish."""
STRAIN: float = LearningSettings.model_fields["initial_strain"].default
"""Largest strain of training frames unless told otherwise."""


@dataclass(frozen=True)
class Pressure:
    """Pressure of a crystal on a model with one standard deviation, GPa; the noise of the stress labels is in the bar."""

    value_GPa: float
    bar_GPa: float

    @property
    def is_large(self) -> bool:
        """Beyond 1 GPa and two bars."""
        return abs(self.value_GPa) > max(LARGE_PRESSURE_GPa, 2 * self.bar_GPa)

    def __str__(self) -> str:
        return f"{self.value_GPa:.1f} +- {self.bar_GPa:.1g} GPa"


def pressure_of(potential: Potential, crystal: Atoms, at_rest: Prediction) -> Pressure | None:
    """Pressure from a prediction; None where the crystal is not periodic in three directions or the model has no bar of it."""
    if not all(crystal.pbc) or at_rest.stress is None or at_rest.stress_uncertainty is None:
        return None
    value = -float(at_rest.stress[:3].mean()) / GPa
    bar = float(np.hypot(at_rest.stress_uncertainty[:3].mean(), potential.noise.stress)) / GPa
    return Pressure(value, bar) if np.isfinite(value) and np.isfinite(bar) else None


@dataclass(frozen=True)
class CrystalAtRest:
    """A crystal on a model.

    Attributes
    ----------
    pressure : Pressure or None
    largest_uncertainty : float
        Force uncertainty of an atom in the crystal with displaced atoms (`DISPLACED_A`), eV/A.
    threshold : float
        Largest one that `trepid md` trusts, eV/A.
    n_outside : int or None
        Atoms of that frame unlike those of the training data; None where the model does not know.
    n_atoms : int
    change : CellChange or None
        Against the cell before it was relaxed; None where it was not.
    """

    pressure: Pressure | None
    largest_uncertainty: float
    threshold: float
    n_outside: int | None
    n_atoms: int
    change: CellChange | None = None

    @property
    def extrapolates(self) -> bool:
        """Whether the model was not trained on such a crystal."""
        return bool(self.n_outside) or self.largest_uncertainty > self.threshold

    def warnings(self, of_what: str, crystal: str, *, model: str = "MODEL") -> list[str]:
        """What to think of it and what to do, a line each; none where nothing is wrong.

        Parameters
        ----------
        of_what : str
            What is computed from the crystal.
        crystal, model : str
            Files, for the advice.
        """
        found = []
        if self.extrapolates:
            found.append(
                f"extrapolation: {self._unknown()}.{self._changed()} {_capital(of_what)} and their bars are not to "
                f"be trusted here. Label frames of {crystal} with displaced atoms and train on them too, or learn with "
                "it as the structure, or with a stage at pressure_GPa: 0"
            )
        if self.pressure is not None and self.pressure.is_large:
            to = "expand" if self.pressure.value_GPa > 0 else "shrink"
            relax = "" if self.change is not None else f": 'trepid phonons {model} {crystal} --relax' lets it go"
            found.append(
                f"the pressure of the crystal on this model is {self.pressure}: at rest it would {to}, and {of_what} are those of "
                f"the cell as given{relax}"
            )
        return found

    def _unknown(self) -> str:
        parts = []
        if self.n_outside:
            parts.append(f"{self.n_outside} of {self.n_atoms} atoms are outside the training data")
        above = "above" if self.largest_uncertainty > self.threshold else "below"
        parts.append(
            f"forces are uncertain by up to {force(self.largest_uncertainty)}, {above} the threshold of 'trepid md', "
            f"{force(self.threshold)}"
        )
        return f"in this crystal, its atoms displaced by {DISPLACED_A:g} A, {' and '.join(parts)}"

    def _changed(self) -> str:
        if self.change is None:
            return ""
        beyond = f"; training frames are strained by {share(STRAIN)} unless told otherwise" * (
            self.change.largest > STRAIN
        )
        return f" The relaxed cell against the given one: {self.change}{beyond}."

    def as_dict(self) -> dict[str, object]:
        """Plain types, for JSON."""
        return {
            "pressure_GPa": None if self.pressure is None else self.pressure.value_GPa,
            "pressure_bar_GPa": None if self.pressure is None else self.pressure.bar_GPa,
            "forces_uncertainty_eV_per_A": self.largest_uncertainty,
            "threshold_eV_per_A": self.threshold,
            "n_outside": self.n_outside,
            "n_atoms": self.n_atoms,
            "cell_change": None if self.change is None else self.change.as_dict(),
            "extrapolates": self.extrapolates,
        }


def crystal_at_rest(source: ForceSource | None, crystal: Atoms, *, given: Atoms | None = None) -> CrystalAtRest | None:
    """What a model says of a crystal; None for a source that is no model with an uncertainty.

    Parameters
    ----------
    source : ForceSource or None
    crystal : Atoms
        Best a supercell: the more atoms are displaced, the more is seen.
    given : Atoms, optional
        The same before it was relaxed.
    """
    if not isinstance(source, Potential):
        return None
    displaced = crystal.copy()
    displaced.positions += np.random.default_rng(0).normal(scale=DISPLACED_A, size=displaced.positions.shape)
    found = source.predict(displaced, uncertainty=Uncertainty.EXACT)
    if found.forces_uncertainty is None:
        return None
    return CrystalAtRest(
        pressure=pressure_of(source, crystal, source.predict(crystal, uncertainty=Uncertainty.EXACT)),
        largest_uncertainty=found.frame_uncertainty,
        threshold=GUARD_NOISE_FACTOR * source.typical_force_error,
        n_outside=None if found.outside is None else int(found.outside.sum()),
        n_atoms=len(crystal),
        change=None if given is None else CellChange.between(given, crystal),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
