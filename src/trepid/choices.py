"""Options with a fixed set of names, and defaults that stand in several places: one source for files, command line and code.

This module imports nothing, so that the command line can show the choices without loading what implements them.
"""

from __future__ import annotations

from enum import Enum

PAIR_CUTOFF_A, TRIPLET_CUTOFF_A = 6.0, 5.0
"""Default ranges of the pair and triplet energies of the Bayesian force field, A."""
NARROW_A = 10.0
"""In narrower periodic cells a reference with one k point (tblite) may not have the structures of the crystal, A."""


class Speed(str, Enum):
    """Ceiling of the cost up to which `fit` chooses the sizes of the Bayesian force field."""

    FAST = "fast"
    """No search: the default sizes."""
    BALANCED = "balanced"
    """Up to about twice the time per MD step of the default sizes."""
    ACCURATE = "accurate"
    """Up to about six times the time per MD step."""


DEFAULT_SPEED = Speed.FAST
"""A search takes several times as long as the fit without it; who asks for one expects that."""


class ChargeChoice(str, Enum):
    """Whether `fit` gives the Bayesian force field charges."""

    OFF = "off"
    """No charges."""
    AUTO = "auto"
    """Formal charges from the composition, kept where evidence and the error of left-out frames gain."""


class Triplets(str, Enum):
    """Form of the triplet energies of the Bayesian force field."""

    AUTO = "auto"
    """Full for one and two species, mixed from three on."""
    FULL = "full"
    """A function of its own for every centre and every two neighbour species: grows with the cube of the species."""
    MIXED = "mixed"
    """From a fixed number of channels that mix the species, chosen from the training frames."""

    def resolved(self, n_species: int) -> Triplets:
        """FULL or MIXED."""
        if self is not Triplets.AUTO:
            return self
        return Triplets.MIXED if n_species > 2 else Triplets.FULL


class Engine(str, Enum):
    """MD engine."""

    ASE = "ase"
    """ASE, with the calculator of the potential."""
    LAMMPS = "lammps"
    """LAMMPS, with `pair_style trepid`."""

    @property
    def program(self) -> str:
        """Its name."""
        return {"ase": "ASE", "lammps": "LAMMPS"}[self.value]


class Thermostat(str, Enum):
    """How the temperature is controlled."""

    LANGEVIN = "langevin"
    """Friction and noise on every atom; robust far from equilibrium. Not part of the forces of the calculator."""
    BUSSI = "bussi"
    """Stochastic velocity rescaling: canonical, with little effect on the dynamics."""
    NOSE_HOOVER = "nose-hoover"
    """Deterministic Nose-Hoover chain."""
    NVE = "nve"
    """None: constant energy."""

    @classmethod
    def of(cls, choice: Thermostat | str | None, pressure_GPa: float | None) -> Thermostat:
        """`choice`, or where it is None the default of a run at this pressure (None: at a constant cell)."""
        if choice is not None:
            return cls(choice)
        return cls.LANGEVIN if pressure_GPa is None else cls.NOSE_HOOVER


class Barostat(str, Enum):
    """How the cell changes under a pressure."""

    ISOTROPIC = "isotropic"
    """Its volume: all lengths by one factor, angles kept; for cubic crystals, liquids and glasses."""
    AXES = "axes"
    """Its three lengths, each by itself; the vectors must be orthogonal."""
    FULL = "full"
    """Its lengths and angles; for crystals only: a liquid has no shear modulus."""


DEFAULT_PRESSURE_TIME_FS = 1000.0
"""Time constant of the barostat, fs."""


class GuardAction(str, Enum):
    """What the guard of an MD run does about an untrusted frame."""

    WARN = "warn"
    """Log it, keep the frame, continue."""
    STOP = "stop"
    """Keep the frame and raise UntrustedError."""
