"""The trust guard: watches the force uncertainty of a simulation and warns, or stops it, where it is too large."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.data.frames import write_frames
from trepid.errors import ConfigError, UntrustedError
from trepid.potentials.base import FloatArray

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

MAX_TEMPERATURE_FACTOR = 50.0
"""A simulation hotter than this times its target has come apart, whatever its uncertainty says."""


class GuardAction(str, Enum):
    """What to do about an atom outside the trusted region."""

    WARN = "warn"
    """Log it, keep the frame, go on."""
    STOP = "stop"
    """Keep the frame and raise UntrustedError."""


@dataclass(frozen=True)
class GuardReport:
    """One look at a frame.

    Attributes
    ----------
    step : int
        MD step.
    forces_uncertainty : float
        Of the frame, eV/A: the largest over its atoms.
    atom : int
        The atom that has it, counted from 0.
    trusted : bool
        It does not exceed the threshold.
    message : str
        What was seen, in one line; empty when trusted.
    """

    step: int
    forces_uncertainty: float
    atom: int
    trusted: bool
    message: str = ""


class TrustGuard:
    """Watches one simulation.

    Parameters
    ----------
    threshold_eV_per_A : float
        Largest trusted force uncertainty of an atom (norm over x, y, z), eV/A.
    action : GuardAction or str
        warn, or stop.
    frame_file : Path or None
        extxyz file that untrusted frames are appended to: the first of every excursion when warning, the one it stops
        at when stopping. None writes nothing.

    Attributes
    ----------
    n_checks, n_untrusted : int
        Looks taken, and those that found the frame outside.
    largest : float
        Largest force uncertainty seen, eV/A.
    outside : bool
        The last look found the frame outside.
    """

    def __init__(
        self, threshold_eV_per_A: float, *, action: GuardAction | str = GuardAction.WARN, frame_file: Path | None = None
    ) -> None:
        if not (np.isfinite(threshold_eV_per_A) and threshold_eV_per_A > 0):
            raise ConfigError(
                f"the guard threshold must be a positive force uncertainty in eV/A, not {threshold_eV_per_A}"
            )
        self.threshold_eV_per_A = threshold_eV_per_A
        self.action = GuardAction(action)
        self.frame_file = frame_file
        self.n_checks = self.n_untrusted = 0
        self.largest = 0.0
        self.outside = False

    def restore(self, *, n_checks: int, n_untrusted: int, largest: float, outside: bool) -> None:
        """Go on from the counts of an earlier part of the same simulation."""
        self.n_checks, self.n_untrusted, self.largest, self.outside = n_checks, n_untrusted, largest, outside

    @property
    def kept_bytes(self) -> int:
        """Length of the frame file; 0 where there is none."""
        return self.frame_file.stat().st_size if self.frame_file is not None and self.frame_file.exists() else 0

    def cut_back(self, length: int) -> None:
        """Drop what the frame file holds beyond `length` bytes: the frames of steps that are made again."""
        if self.frame_file is None or self.kept_bytes <= length:
            return
        if length == 0:
            self.frame_file.unlink()
        else:
            os.truncate(self.frame_file, length)

    def check(
        self,
        atoms: Atoms,
        *,
        step: int,
        time_fs: float,
        temperature_K: float,
        target_temperature_K: float,
        forces_uncertainty: FloatArray | None = None,
    ) -> GuardReport:
        """Look at the present frame.

        Parameters
        ----------
        atoms : ase.Atoms
            The moving atoms.
        step, time_fs : int, float
            Where the simulation is; for messages.
        temperature_K, target_temperature_K : float
            Instantaneous temperature and the target it is compared with.
        forces_uncertainty : (n_atoms, 3) array or None
            eV/A; None reads it from the results of the calculator of `atoms`.

        Returns
        -------
        GuardReport

        Raises
        ------
        UntrustedError
            The frame is outside and the action is stop; or, whatever the action, something in it is not finite or it is
            hotter than 50 times the target.
        ConfigError
            The calculator gives no forces_uncertainty.
        """
        if forces_uncertainty is None:
            results = {} if atoms.calc is None else atoms.calc.results
            if "forces_uncertainty" not in results:
                raise ConfigError(
                    "the calculator gives no forces_uncertainty; make it with uncertainty='live' or 'exact'"
                )
            forces_uncertainty = np.asarray(results["forces_uncertainty"], dtype=np.float64)
        self.n_checks += 1
        per_atom = np.linalg.norm(forces_uncertainty, axis=1)
        where = f"step {step} ({time_fs / 1000:.3f} ps)"
        self._stop_if_apart(atoms, per_atom, temperature_K, target_temperature_K, where)
        atom = int(per_atom.argmax())
        worst = float(per_atom[atom])
        self.largest = max(self.largest, worst)
        if worst <= self.threshold_eV_per_A:
            self.outside = False
            return GuardReport(step, worst, atom, True)
        self.n_untrusted += 1
        message = f"{where}: {self._describe(atoms, per_atom, atom)}"
        report = GuardReport(step, worst, atom, False, message)
        if self.action is GuardAction.STOP:
            raise UntrustedError(f"{message}; stopped{self._keep(atoms, forces_uncertainty, step, time_fs)}")
        if not self.outside:  # one warning per excursion, not one per look
            logger.warning("%s%s", message, self._keep(atoms, forces_uncertainty, step, time_fs))
        self.outside = True
        return report

    def _stop_if_apart(
        self, atoms: Atoms, per_atom: FloatArray, temperature_K: float, target_temperature_K: float, where: str
    ) -> None:
        problem = ""
        if not np.isfinite(atoms.positions).all():
            problem = "positions are not finite"
        elif not np.isfinite(per_atom).all():
            problem = "the force uncertainty is not finite"
        elif not temperature_K <= MAX_TEMPERATURE_FACTOR * target_temperature_K:
            problem = f"temperature {temperature_K:.4g} K is over {MAX_TEMPERATURE_FACTOR:g} times the target"
        if problem:
            self.n_untrusted += 1
            advice = "the time step is too long, or the model is used far from what it knows"
            raise UntrustedError(f"{where}: the simulation came apart: {problem}; {advice}")

    def _describe(self, atoms: Atoms, per_atom: FloatArray, atom: int) -> str:
        symbols = atoms.get_chemical_symbols()
        outside = np.flatnonzero(per_atom > self.threshold_eV_per_A)
        kinds = Counter(symbols[k] for k in outside)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{symbols[atom]} atom {atom} has a force uncertainty of {per_atom[atom]:.3g} eV/A, above "
            f"{self.threshold_eV_per_A:.3g} ({listed} of {len(atoms)} atoms outside)"
        )

    def _keep(self, atoms: Atoms, forces_uncertainty: FloatArray, step: int, time_fs: float) -> str:
        """Write the frame; returns where, for the message."""
        if self.frame_file is None:
            return ""
        frame = atoms.copy()
        frame.info.update({"step": step, "time_fs": time_fs})
        frame.arrays["forces_uncertainty"] = forces_uncertainty
        write_frames(self.frame_file, frame, append=True)
        return f"; frame in {self.frame_file}"
