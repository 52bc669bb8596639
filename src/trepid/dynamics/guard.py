"""The trust guard: warns about, or stops, a simulation whose force uncertainty exceeds a threshold."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trepid.choices import GuardAction
from trepid.data.frames import write_frames
from trepid.dynamics.sanity import SanityLimits, unphysical
from trepid.errors import ConfigError, UntrustedError, cannot_write
from trepid.potentials.base import FloatArray
from trepid.quantities import force

if TYPE_CHECKING:
    from ase import Atoms

logger = logging.getLogger(__name__)

MD_LIMITS = SanityLimits(max_temperature_factor=50.0)
"""Limits of a physical frame of `trepid md`. Wider than those of learning: a run may start far from equilibrium, and hot
systems have large forces."""
ADVICE = (
    "the time step is too long, or the model extrapolates, as where a crystal is far from rest on it ('trepid phonons MODEL "
    "STRUCTURE --relax' tells its pressure; relax it with the reference by 'trepid relax', or learn with pressure_GPa in a stage)"
)


@dataclass(frozen=True)
class GuardReport:
    """One check of a frame.

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
        The finding in one line; empty when trusted.
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
        Checks made, and those with an untrusted frame.
    largest : float
        Largest force uncertainty of all checks, eV/A.
    outside : bool
        The last check found the frame untrusted.
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
        """Continue the counts of an earlier part of the same simulation."""
        self.n_checks, self.n_untrusted, self.largest, self.outside = n_checks, n_untrusted, largest, outside

    @property
    def kept_bytes(self) -> int:
        """Length of the frame file; 0 where there is none."""
        return self.frame_file.stat().st_size if self.frame_file is not None and self.frame_file.exists() else 0

    def cut_back(self, length: int) -> None:
        """Truncate the frame file to `length` bytes: it then lacks the frames of steps that are repeated."""
        if self.frame_file is None or self.kept_bytes <= length:
            return
        try:
            if length == 0:
                self.frame_file.unlink()
            else:
                os.truncate(self.frame_file, length)
        except OSError as error:
            raise cannot_write(self.frame_file, error) from error

    def check(
        self,
        atoms: Atoms,
        *,
        step: int,
        time_fs: float,
        temperature_K: float,
        target_temperature_K: float,
        forces_uncertainty: FloatArray | None = None,
        support_distance: FloatArray | None = None,
    ) -> GuardReport:
        """Check the present frame.

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
        support_distance : (n_atoms,) array or None
            Of the prediction; the message then says how many atoms are outside the support of the training data. The guard
            does not act upon it.

        Returns
        -------
        GuardReport

        Raises
        ------
        UntrustedError
            The frame is untrusted and the action is stop; or, whatever the action, it is unphysical (`MD_LIMITS`).
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
        problem = unphysical(
            MD_LIMITS,
            temperature_K=temperature_K,
            target_temperature_K=target_temperature_K,
            atoms=atoms,
            uncertainty=forces_uncertainty,
        )
        if problem:
            raise self.unstable(problem, step=step, time_fs=time_fs)
        return self.compare(atoms, forces_uncertainty, step=step, time_fs=time_fs, support_distance=support_distance)

    def unstable(self, problem: str, *, step: int, time_fs: float) -> UntrustedError:
        """Count an unphysical frame; gives the error to raise."""
        self.n_checks += 1
        self.n_untrusted += 1
        return UntrustedError(f"{_where(step, time_fs)}: the simulation became unstable: {problem}; {ADVICE}")

    def compare(
        self,
        atoms: Atoms,
        forces_uncertainty: FloatArray,
        *,
        step: int,
        time_fs: float,
        support_distance: FloatArray | None = None,
    ) -> GuardReport:
        """Compare the uncertainty of a physical frame with the threshold; see `check`."""
        self.n_checks += 1
        per_atom = np.linalg.norm(forces_uncertainty, axis=1)
        atom = int(per_atom.argmax())
        worst = float(per_atom[atom])
        self.largest = max(self.largest, worst)
        if worst <= self.threshold_eV_per_A:
            self.outside = False
            return GuardReport(step, worst, atom, True)
        self.n_untrusted += 1
        message = f"{_where(step, time_fs)}: {self._describe(atoms, per_atom, atom)}{_support(support_distance)}"
        report = GuardReport(step, worst, atom, False, message)
        if self.action is GuardAction.STOP:
            kept = self._keep(atoms, forces_uncertainty, step, time_fs)
            raise UntrustedError(f"{message}; stopped{kept}{next_steps(self.frame_file) if kept else ''}")
        if not self.outside:  # one warning per excursion, not one per check
            logger.warning("%s%s", message, self._keep(atoms, forces_uncertainty, step, time_fs))
        self.outside = True
        return report

    def _describe(self, atoms: Atoms, per_atom: FloatArray, atom: int) -> str:
        symbols = atoms.get_chemical_symbols()
        outside = np.flatnonzero(per_atom > self.threshold_eV_per_A)
        kinds = Counter(symbols[k] for k in outside)
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{symbols[atom]} atom {atom} has a force uncertainty of {force(per_atom[atom])}, above the threshold "
            f"of {force(self.threshold_eV_per_A)} ({listed} of {len(atoms)} atoms above it)"
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


def next_steps(frames: Path | None) -> str:
    """Part of the message of a stopped run: how to go on from the file of its untrusted frames."""
    return (
        f"; next: 'trepid label CAMPAIGN {frames} -o new' (CAMPAIGN: the campaign file of the model), train on it too ('trepid "
        "fit'), and repeat the MD with the new model and another -o; with --guard warn and another -o this model goes on, as "
        "extrapolation"
    )


def _support(distance: FloatArray | None) -> str:
    """Part of a message about the support distance of all atoms."""
    if distance is None:
        return ""
    n = int(np.sum(distance > 1))
    return f"; {n if n else 'none'} of {len(distance)} atoms outside the training data (support distance above 1)"


def _where(step: int, time_fs: float) -> str:
    return f"step {step} ({time_fs / 1000:.3f} ps)"
