"""The files of a walk, one MD trajectory of a round: walk-NN.npz and walk-NN.extxyz.

walk-NN.npz      the time series of all uncertainty checks, with positions and forces in single precision
walk-NN.extxyz   the candidates: checked frames that were kept, with their predictions; written first, so that a walk
                 whose npz file exists is complete
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.data.arrays import load_arrays, save_arrays
from trepid.data.frames import bare_copy, read_frames, write_frames
from trepid.dynamics.record import predicted_frame
from trepid.errors import DataError
from trepid.potentials.base import FloatArray, Prediction
from trepid.runs.ledger_events import Named

if TYPE_CHECKING:
    from ase import Atoms


class WalkEnd(Named):
    """Why a walk ended."""

    FINISHED = "finished"
    """It has its full length."""
    UNTRUSTED = "untrusted"
    """The force uncertainty stayed above the largest trusted one."""
    UNSTABLE = "left_reality"
    """Not finite, too hot, a force too large, atoms too close, or the potential or the engine raised an error."""


@dataclass(frozen=True)
class WalkSummary:
    """A walk in figures.

    Attributes
    ----------
    walker : int
    temperature_K : float
        Target.
    n_steps : int
        Made.
    timestep_fs : float
    n_candidates : int
    end : WalkEnd
    message : str
        Why it ended early; empty for one of full length.
    biased : bool
        Whether a bias acted on it: it samples no equilibrium.
    """

    walker: int
    temperature_K: float
    n_steps: int
    timestep_fs: float
    n_candidates: int
    end: WalkEnd
    message: str
    biased: bool = False

    @property
    def time_ps(self) -> float:
        """Simulated time, ps."""
        return self.n_steps * self.timestep_fs / 1000

    def as_dict(self) -> dict[str, Any]:
        """For a file; `biased` is written only where it is true."""
        values = asdict(self) | {"end": self.end.value}
        if not self.biased:
            del values["biased"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WalkSummary:
        """Read what `as_dict` made; TypeError or ValueError where it is something else."""
        return cls(**{**values, "end": WalkEnd(values.get("end"))})


@dataclass(frozen=True, eq=False)
class Candidate:
    """A frame of a walk that was kept with its prediction.

    Attributes
    ----------
    atoms : Atoms
        Elements, positions, cell and periodicity.
    prediction : Prediction
        Of the model that moved it, without bias.
    walker, check, step : int
        The walk, the number of the uncertainty check in it, and the MD step.
    time_fs : float
    target_temperature_K, temperature_K : float
        Of the thermostat, and instantaneous.
    uncertainty : float
        In the unit of the measure of the campaign.
    edge : bool
        Whether the walk ended early and this is the first untrusted frame of its end.
    """

    atoms: Atoms
    prediction: Prediction
    walker: int
    check: int
    step: int
    time_fs: float
    target_temperature_K: float
    temperature_K: float
    uncertainty: float
    edge: bool = False

    def to_atoms(self) -> Atoms:
        """The frame as walk-NN.extxyz holds it."""
        frame, p = predicted_frame(self.atoms, self.prediction), self.prediction
        frame.info.update(
            {
                "walker": self.walker,
                "look": self.check,
                "step": self.step,
                "time_fs": self.time_fs,
                "target_temperature_K": self.target_temperature_K,
                "temperature_K": self.temperature_K,
                "uncertainty": self.uncertainty,
                "edge": self.edge,
            }
        )
        if p.energy_uncertainty is not None:
            frame.info["energy_uncertainty"] = p.energy_uncertainty
        if p.atom_energies is not None:
            frame.arrays["atom_energies"] = p.atom_energies
        return frame

    @classmethod
    def from_atoms(cls, frame: Atoms) -> Candidate:
        """Read what `to_atoms` made; KeyError where an entry is missing."""
        info, arrays = frame.info, frame.arrays
        stress, energy_uncertainty = info.get("stress"), info.get("energy_uncertainty")
        return cls(
            atoms=bare_copy(frame),
            prediction=Prediction(
                energy=float(info["energy"]),
                forces=np.asarray(arrays["forces"], dtype=np.float64),
                stress=None if stress is None else np.asarray(stress, dtype=np.float64),
                energy_uncertainty=None if energy_uncertainty is None else float(energy_uncertainty),
                forces_uncertainty=arrays.get("forces_uncertainty"),
                atom_energies=arrays.get("atom_energies"),
            ),
            walker=int(info["walker"]),
            check=int(info["look"]),
            step=int(info["step"]),
            time_fs=float(info["time_fs"]),
            target_temperature_K=float(info["target_temperature_K"]),
            temperature_K=float(info["temperature_K"]),
            uncertainty=float(info["uncertainty"]),
            edge=bool(info["edge"]),
        )


@dataclass(frozen=True, eq=False)
class Walk:
    """A walk: its time series and its candidates.

    Attributes
    ----------
    summary : WalkSummary
    steps : (n_checks,) array of int
    uncertainty : (n_checks,) array
        In the unit of the measure of the campaign.
    forces_uncertainty_max : (n_checks,) array
        Largest force uncertainty of an atom, eV/A.
    energy : (n_checks,) array
        Predicted by the model (for a committee, the mean), eV.
    temperature_K : (n_checks,) array
        Instantaneous.
    positions, forces : (n_checks, n_atoms, 3) arrays of float32
        A and eV/A.
    atom_energies : (n_checks, n_atoms) array of float32, or None
        eV; None where the potential does not give atomic energies.
    candidates : list of Candidate
    """

    summary: WalkSummary
    steps: np.ndarray
    uncertainty: FloatArray
    forces_uncertainty_max: FloatArray
    energy: FloatArray
    temperature_K: FloatArray
    positions: np.ndarray
    forces: np.ndarray
    atom_energies: np.ndarray | None
    candidates: list[Candidate]

    def equilibrium(self, equilibrate_ps: float) -> np.ndarray:
        """Checks that count as equilibrium: (n_checks,) of bool, those from `equilibrate_ps` on."""
        return np.asarray(self.steps * self.summary.timestep_fs >= 1000 * equilibrate_ps)

    def write(self, path: Path) -> None:
        """Write both files, walk-NN.npz (`path`) last."""
        if self.candidates:
            write_frames(candidates_file(path), [candidate.to_atoms() for candidate in self.candidates])
        atom_energies = {} if self.atom_energies is None else {"atom_energies": self.atom_energies}
        save_arrays(
            path,
            {
                **atom_energies,
                "steps": self.steps,
                "uncertainty": self.uncertainty,
                "forces_uncertainty_max": self.forces_uncertainty_max,
                "energy": self.energy,
                "temperature_K": self.temperature_K,
                "positions": self.positions,
                "forces": self.forces,
                "summary": np.array(json.dumps(self.summary.as_dict())),
            },
        )


def candidates_file(path: Path) -> Path:
    """walk-NN.extxyz, beside walk-NN.npz."""
    return path.with_suffix(".extxyz")


def read_summary(path: Path) -> WalkSummary:
    """Figures of the walk in this file; DataError if it is damaged."""
    return _summary(path, load_arrays(path))


def read_walk(path: Path) -> Walk:
    """Read a walk and its candidates; DataError if a file is damaged."""
    arrays = load_arrays(path)
    summary = _summary(path, arrays)
    frames = read_frames(candidates_file(path), require=()) if summary.n_candidates else []
    try:
        return Walk(
            summary=summary,
            steps=arrays["steps"],
            uncertainty=arrays["uncertainty"],
            forces_uncertainty_max=arrays["forces_uncertainty_max"],
            energy=arrays["energy"],
            temperature_K=arrays["temperature_K"],
            positions=arrays["positions"],
            forces=arrays["forces"],
            atom_energies=arrays.get("atom_energies"),
            candidates=[Candidate.from_atoms(frame) for frame in frames],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a walk file ({error})") from error


def _summary(path: Path, arrays: dict[str, np.ndarray]) -> WalkSummary:
    try:
        return WalkSummary.from_dict(json.loads(str(arrays["summary"])))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a walk file ({error})") from error
