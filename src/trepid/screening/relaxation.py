"""Relaxation of a primitive cell on a reference that labels supercells, within the space group of the crystal.

The reference labels the supercell of the campaign, so that the crystal is at rest where the campaign starts. Energy, forces and
stress are folded back to the primitive cell, and symmetrised there (`ase.constraints.FixSymmetry`): a supercell of lower symmetry
than its crystal does not break that of the crystal. Every evaluation is a label on disk, which a repeated relaxation adopts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from trepid.anharmonicity.finite_displacements import build_supercell
from trepid.config.screening import RelaxSettings
from trepid.data.atomic import write_text_atomic
from trepid.data.frames import bare_copy, labels_of, read_frames, write_frames
from trepid.data.geometry import stress_within
from trepid.data.supercells import symmetry_dataset
from trepid.errors import ConfigError, ExitCode, TrepidError
from trepid.execution import InlineExecutor
from trepid.labelling.case import LabelRequest, latest_failure
from trepid.labelling.labeller import Labeller
from trepid.runs.label_files import LabelStore, Origin
from trepid.runs.ledger import Ledger
from trepid.runs.ledger_events import Label, Reason
from trepid.screening.cells import SYMMETRY_A, n_cells

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.arrays import IntArray
    from trepid.reference.base import Reference


class RelaxationError(TrepidError):
    """The relaxation did not converge."""

    exit_code = ExitCode.NUMERICS


class NotConvergedError(RelaxationError):
    """The evaluations are used up, and the forces are still too large."""


class EvaluationError(RelaxationError):
    """The reference failed in it."""

    exit_code = ExitCode.LABELS


@dataclass(frozen=True)
class Relaxed:
    """A relaxation that has ended.

    Attributes
    ----------
    n_labels : int
        Evaluations of the reference.
    seconds : float
        Time of the reference, s.
    max_force_eV_per_A : float
    volume_ratio : float
        Relaxed volume over the given one.
    spacegroup : str
        Of the relaxed cell, by spglib.
    """

    n_labels: int
    seconds: float
    max_force_eV_per_A: float
    volume_ratio: float
    spacegroup: str


@dataclass(frozen=True)
class RelaxationFiles:
    """Files of a relaxation; `result` is written last."""

    directory: Path

    @property
    def crystal(self) -> Path:
        """The relaxed primitive cell."""
        return self.directory / "relaxed.extxyz"

    @property
    def result(self) -> Path:
        """Its figures."""
        return self.directory / "relaxed.json"

    def read(self) -> tuple[Atoms, Relaxed] | None:
        """What an earlier start has found; None where the relaxation has not ended."""
        if not self.result.exists():
            return None
        return read_frames(self.crystal, require=())[0], Relaxed(**json.loads(self.result.read_text()))


def relax(
    unit: Atoms,
    matrix: IntArray,
    reference: Reference,
    settings: RelaxSettings,
    files: RelaxationFiles,
    *,
    retries: int,
    interrupted: Callable[[], bool],
    tell: Callable[[str], None] | None = None,
) -> tuple[Atoms, Relaxed]:
    """Relax a primitive cell, or read the result of an earlier relaxation.

    Parameters
    ----------
    unit : Atoms
        Primitive cell; not changed.
    matrix : (3, 3) array of int
        Of the supercell that is labelled.
    reference : Reference
    settings : RelaxSettings
    files : RelaxationFiles
    retries : int
        Further attempts at a label that failed.
    interrupted : callable
        True once a signal has come.
    tell : callable, optional
        Gets progress in lines.

    Raises
    ------
    RelaxationError
        As NotConvergedError, not converged in `max_steps` evaluations; as EvaluationError, an evaluation failed for good.
    ConfigError
        The cell is to be relaxed and the reference gives no stress.
    Interrupted
        A signal came; the evaluations so far are on disk.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    known = files.read()
    if known is not None:
        return known
    files.directory.mkdir(parents=True, exist_ok=True)
    with closing(Ledger(files.directory / "ledger.jsonl")) as ledger:
        store = LabelStore(files.directory / "labels")
        labeller = Labeller(reference, InlineExecutor(), store, ledger, retries, interrupted, tell)
        atoms = bare_copy(unit)
        calculator = _FoldedCalculator(matrix, labeller, settings)
        atoms.calc = calculator
        atoms.set_constraint(FixSymmetry(atoms, verbose=False))
        moved: Any = FrechetCellFilter(atoms) if settings.cell else atoms
        with BFGS(moved, logfile=None) as optimiser:
            # The stress counts as a force here: the filter scales it to eV/A.
            converged = optimiser.run(fmax=settings.max_force_eV_per_A, steps=settings.max_steps - 1)
        if not converged:
            left = float(np.linalg.norm(moved.get_forces(), axis=1).max())
            raise NotConvergedError(
                f"the relaxation has a force of {left:.3g} eV/A left after {calculator.number} evaluations "
                f"(largest asked for {settings.max_force_eV_per_A:g}, at most {settings.max_steps} evaluations)"
            )
        result = Relaxed(
            n_labels=calculator.number,
            seconds=round(sum(event.seconds for event in ledger.all(Label)), 3),
            max_force_eV_per_A=float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
            volume_ratio=float(atoms.cell.volume / unit.cell.volume),
            spacegroup=spacegroup_of(atoms),
        )
    crystal = bare_copy(atoms)
    write_frames(files.crystal, crystal)
    write_text_atomic(files.result, json.dumps(asdict(result), indent=1) + "\n")
    return read_frames(files.crystal, require=())[0], result


def matrix_of(supercell: Sequence[int] | Sequence[Sequence[int]]) -> IntArray:
    """The supercell of a campaign (three repetitions, or a 3x3 matrix) as matrix, (3, 3)."""
    given = np.array(supercell, dtype=np.int64)
    return np.diag(given) if given.ndim == 1 else given


def spacegroup_of(atoms: Atoms) -> str:
    """International symbol and number by spglib; "unknown" where it finds none."""
    found = symmetry_dataset(atoms, atoms.cell.array, tolerance_A=SYMMETRY_A)
    return "unknown" if found is None else f"{found.international} ({found.number})"


class _FoldedCalculator(Calculator):
    """Energy, forces and stress of a primitive cell from labels of its supercell; the labels are numbered by the calls."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, matrix: IntArray, labeller: Labeller, settings: RelaxSettings) -> None:
        super().__init__()
        self.number = 0
        self._matrix, self._labeller, self._settings = matrix, labeller, settings

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """One evaluation."""
        super().calculate(atoms, properties, system_changes)
        if self.number >= self._settings.max_steps:
            raise NotConvergedError(f"the relaxation has not converged in {self.number} evaluations")
        self.number += 1
        unit = bare_copy(self.atoms)
        frame, _ = build_supercell(unit, self._matrix.tolist())
        request = LabelRequest(self.number, frame, Origin(Reason.RELAXATION, self.number, 0.0, 0.0))
        labelled = self._labeller.label([request])[0]
        if labelled is None:
            failure = latest_failure(self._labeller.ledger, self.number)
            assert failure is not None
            raise EvaluationError(f"evaluation {self.number} of the relaxation failed: {failure.text}")
        labels = labels_of(labelled.atoms)
        if self._settings.cell and labels.stress is None:
            raise ConfigError(
                "to relax the cell the reference must give a stress: set reference.stress, or relax the positions alone"
            )
        assert labels.energy is not None
        assert labels.forces is not None
        n = n_cells(self._matrix)
        self.results = {
            "energy": labels.energy / n,
            "forces": _folded(unit, frame, labels.forces),
            "stress": np.zeros(6) if labels.stress is None else stress_within(labels.stress, unit),
        }


def _folded(unit: Atoms, frame: Atoms, forces: np.ndarray) -> np.ndarray:
    """Mean force over the images of every atom of the primitive cell, (n_unit, 3)."""
    images = frame.positions[:, None, :] - unit.positions[None, :, :]
    steps = images @ np.linalg.inv(unit.cell.array)
    distance = np.linalg.norm((steps - np.rint(steps)) @ unit.cell.array, axis=2)
    distance[frame.numbers[:, None] != unit.numbers[None, :]] = np.inf
    owner = distance.argmin(axis=1)
    return np.array([forces[owner == k].mean(axis=0) for k in range(len(unit))])
