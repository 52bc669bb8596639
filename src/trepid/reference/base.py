"""Interface of every reference method: it labels a frame, or raises an error with the reason.

A label depends on the frame alone: not on the frames labelled before, not on the calculator or the constraints that the
frame carries. `trepid.reference.contract.validate_reference` holds an implementation to that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from textwrap import shorten

import numpy as np
from ase import Atoms

from trepid.data.frames import LabelKeys, Labels, attach_labels
from trepid.errors import ConfigError, ExitCode, TrepidError
from trepid.reference.nonsense import extreme_force, nonsense, repetition

_DEFAULT_KEYS = LabelKeys()
REPR_WIDTH = 160
"""Characters of the facts that a reference prints about itself."""


class FailureReason(str, Enum):
    """Why a frame has no label."""

    NOT_CONVERGED = "not_converged"
    """The self-consistency cycle did not converge."""
    CRASHED = "crashed"
    """The engine raised an error, or its process died."""
    NO_FORCES = "no_forces"
    """The engine ended normally, but without forces or energy of this frame."""
    NOT_FINITE = "not_finite"
    """A label is NaN or infinite."""
    TIMEOUT = "timeout"
    """The label took longer than allowed."""
    IMPOSSIBLE = "impossible"
    """The label is none that a method gives for this frame (`trepid.reference.nonsense`)."""
    EXTREME_FORCE = "extreme_force"
    """A force is larger than any that molecular dynamics reaches: atoms collide, or the numbers are wrong."""
    CORRUPTED = "corrupted"
    """The label is not the result of the reference for this frame."""

    def __str__(self) -> str:
        return str(self.value)


class LabelError(TrepidError):
    """A frame could not be labelled.

    Attributes
    ----------
    reason : FailureReason
    """

    exit_code = ExitCode.LABELS

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[LabelError], tuple[FailureReason, str]]:
        """Pickle: the constructor takes more than the message."""
        return (type(self), (self.reason, str(self)))


class Reference(ABC):
    """A method whose energies, forces and stresses the potentials are trained on."""

    name: str
    """Its name in messages."""
    _last: tuple[Atoms, Labels] | None = None
    """The last frame and its labels, to notice numbers that repeat."""

    def __repr__(self) -> str:
        facts = ", ".join(f"{key}={value}" for key, value in self.describe().items() if key != "engine")
        return f"{type(self).__name__}({shorten(facts, REPR_WIDTH, placeholder=' ...')})"

    def check(self, atoms: Atoms) -> None:
        """Test before anything is computed whether frames like this one can be labelled.

        Raises
        ------
        ConfigError
            They cannot; the message gives the reason and the remedy.
        """
        if len(atoms) == 0:
            raise ConfigError(f"{self.name}: the structure has no atoms")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ConfigError(f"{self.name}: positions or cell of the structure are not finite")
        for axis in range(3):
            if atoms.pbc[axis] and not atoms.cell.array[axis].any():
                raise ConfigError(
                    f"{self.name}: the structure is periodic along cell vector {'abc'[axis]}, but that vector is zero"
                )
        self._check(atoms)

    def label(self, atoms: Atoms, *, keys: LabelKeys = _DEFAULT_KEYS) -> Atoms:
        """Label one frame.

        Parameters
        ----------
        atoms : Atoms
            Not changed. Its calculator is not used, its constraints have no effect on the labels.
        keys : LabelKeys
            Names under which the labels are stored.

        Returns
        -------
        Atoms
            A copy with energy (eV) and, where the frame has a volume, stress (eV/A^3, Voigt) in `info`, forces (eV/A)
            in `arrays`; without calculator and constraints.

        Raises
        ------
        ConfigError
            This system cannot be labelled at all (see `check`).
        LabelError
            This frame could not be labelled; `reason` gives the reason.
        """
        bare, labels = self._bare_labels(atoms)
        if wrong := extreme_force(labels):
            raise LabelError(FailureReason.EXTREME_FORCE, f"{self.name}: {wrong}")
        wrong = nonsense(bare, labels) or ("" if self._last is None else repetition(bare, labels, self._last))
        if wrong:
            raise LabelError(FailureReason.IMPOSSIBLE, f"{self.name}: {wrong}")
        self._last = bare, labels
        return attach_labels(atoms, labels, keys)

    def evaluate(self, atoms: Atoms) -> Labels:
        """Energy, forces and stress of a frame on the way of a minimiser, whatever they are: no label to be trained on.

        A minimiser that starts with atoms too close comes from forces that no label of molecular dynamics has.

        Raises
        ------
        ConfigError, LabelError
            As `label`, but for numbers that are finite and yet none of a sound label.
        """
        return self._bare_labels(atoms)[1]

    def _bare_labels(self, atoms: Atoms) -> tuple[Atoms, Labels]:
        """The frame without calculator and constraints, and its labels: complete and finite."""
        self.check(atoms)
        bare = atoms.copy()
        bare.calc = None
        bare.set_constraint()
        try:
            labels = self._compute(bare)
        except SystemExit as error:  # a script that was written to be run alone
            said = "" if error.code is None else repr(error.code)
            raise LabelError(FailureReason.CRASHED, f"{self.name}: the calculator called sys.exit({said})") from error
        self._verify(labels, len(atoms))
        return bare, labels

    @abstractmethod
    def describe(self) -> dict[str, str | float | int]:
        """Engine, version and parameters: all that is needed to compute the same label again."""

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Release what the reference holds, such as a process. It may be used again afterwards."""

    def _check(self, atoms: Atoms) -> None:  # noqa: B027 (most have no limits of their own)
        """Limits of the engine, beyond what no engine can do; raises ConfigError."""

    @abstractmethod
    def _compute(self, atoms: Atoms) -> Labels:
        """Labels of a frame without calculator and constraints, which the engine may keep; raises LabelError."""

    def _verify(self, labels: Labels, n_atoms: int) -> None:
        """Refuse labels that are missing, of another shape or not finite."""
        if labels.forces is None or labels.energy is None:
            missing = "forces" if labels.forces is None else "energy"
            raise LabelError(FailureReason.NO_FORCES, f"{self.name}: ended without {missing}")
        if labels.forces.shape != (n_atoms, 3):
            raise LabelError(
                FailureReason.NO_FORCES,
                f"{self.name}: forces have shape {labels.forces.shape}, expected ({n_atoms}, 3)",
            )
        if not np.isfinite(labels.energy):
            raise LabelError(FailureReason.NOT_FINITE, f"{self.name}: the energy is {labels.energy}")
        finite = np.isfinite(labels.forces).all(axis=1)
        if not finite.all():
            atom = int(np.argmin(finite))
            raise LabelError(
                FailureReason.NOT_FINITE,
                f"{self.name}: the force on atom {atom} (counted from 0) is {labels.forces[atom].tolist()}",
            )
        if labels.stress is not None and not np.isfinite(labels.stress).all():
            raise LabelError(FailureReason.NOT_FINITE, f"{self.name}: the stress is {labels.stress.tolist()}")


def has_stress(atoms: Atoms) -> bool:
    """Whether a frame has a stress: it is periodic in some direction and has a volume."""
    return bool(atoms.pbc.any()) and int(atoms.cell.rank) == 3
