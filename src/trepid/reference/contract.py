"""The contract of a reference as a program: run it on a new engine before its labels are used.

Each clause below is something that a campaign relies on and that real calculators have been seen to break: constraints
that zero forces, a start from the last density, an energy that is not the one of the forces, a stress of the other
sign.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.stress import voigt_6_to_full_3x3_strain

from trepid.arrays import FloatArray
from trepid.data.frames import LabelKeys, Labels, labels_of
from trepid.errors import ConfigError, DataError, TrepidError
from trepid.reference.base import Reference, has_stress


class ContractError(TrepidError):
    """A reference breaks its contract; the message lists every clause broken, with numbers."""


@dataclass(frozen=True)
class Tolerances:
    """How far from exact an engine may be.

    The defaults hold for tight binding and DFT codes at ordinary convergence.

    Attributes
    ----------
    repeat_forces : float
        eV/A, between two labels of one frame with others in between.
    translation_forces : float
        eV/A, when all atoms move together: the egg-box error of grid-based codes.
    gradient : float
        Relative, between forces and finite differences of the energy.
    stress_gradient : float or None
        Relative, between stress and finite differences of the energy under strain; None: not tested, for plane waves at
        a low cutoff, whose energy is not smooth in the cell.
    displacement : float
        A, length of the displacement of the finite differences in the space of all coordinates.
    strain : float
        Of the finite differences under strain.
    """

    repeat_forces: float = 1e-8
    translation_forces: float = 5e-3
    gradient: float = 0.01
    stress_gradient: float | None = 0.02
    displacement: float = 0.02
    strain: float = 1e-3


@dataclass(frozen=True)
class ContractReport:
    """What was measured on a reference that keeps its contract.

    Attributes
    ----------
    seconds_per_label : float
        s, median over the labels computed.
    n_labels : int
        Frames labelled for the test.
    repeat_forces : float
        eV/A, largest difference between labels of the same frame.
    translation_forces : float
        eV/A, largest difference after a translation.
    gradient : float
        Relative deviation of the forces from the gradient of the energy.
    stress_gradient : float or None
        The same for stress; None where the frame has none or it was not tested.
    """

    seconds_per_label: float
    n_labels: int
    repeat_forces: float
    translation_forces: float
    gradient: float
    stress_gradient: float | None


_DEFAULT_KEYS = LabelKeys()
_DEFAULT_TOLERANCES = Tolerances()
_SMALLEST_FORCE = 0.05


def validate_reference(
    reference: Reference, atoms: Atoms, *, tolerances: Tolerances = _DEFAULT_TOLERANCES, seed: int = 0
) -> ContractReport:
    """Test a reference against its contract; five labels, seven where the frame has a volume.

    Clauses: energy, forces and (where there is a volume) stress are under the keys asked for, finite, of the right
    shape; all else of the frame comes back as it was; the input is not changed; a label does not depend on frames
    labelled before, nor on a constraint, nor on where the cell begins, nor on the order of the atoms; forces and stress
    are the gradients of the energy.

    Parameters
    ----------
    reference : Reference
    atoms : Atoms
        A small frame that it can label, displaced from equilibrium: forces of zero would prove nothing.
    tolerances : Tolerances
    seed : int
        Of the random displacements.

    Returns
    -------
    ContractReport

    Raises
    ------
    ContractError
        A clause is broken.
    ConfigError
        The frame is at rest (no force above 0.05 eV/A).
    LabelError
        A label failed.
    """
    trial = _Trial(reference)
    frame = atoms.copy()
    frame.set_constraint()
    rng = np.random.default_rng(seed)

    first = trial.labels(frame)
    if first.forces is None or first.energy is None:
        missing = "forces" if first.forces is None else "energy"
        raise ContractError(f"{reference.name}: breaks its contract: no {missing} in a label")
    if float(np.linalg.norm(first.forces, axis=1).max()) < _SMALLEST_FORCE:
        raise ConfigError(
            f"{reference.name}: the frame is at rest; displace its atoms, the contract needs a force above "
            f"{_SMALLEST_FORCE} eV/A"
        )
    _description(reference, trial)

    # Forces against the energy, along a direction that mixes the forces (signal) with noise (sees a swapped axis).
    direction = first.forces / np.linalg.norm(first.forces) + _unit(rng.normal(size=first.forces.shape))
    direction /= np.linalg.norm(direction)
    step = 0.5 * tolerances.displacement * direction
    slope = (trial.energy(_moved(frame, step)) - trial.energy(_moved(frame, -step))) / tolerances.displacement
    gradient = abs(slope + float((first.forces * direction).sum())) / float(np.linalg.norm(first.forces))
    trial.expect(
        gradient <= tolerances.gradient,
        f"forces are not the gradient of the energy (relative deviation {gradient:.2g}, "
        f"allowed {tolerances.gradient:g})",
    )

    # Other frames have been labelled meanwhile; constrained, under other keys, with a calculator that must not be
    # touched.
    again = trial.labels(_constrained(frame), keys=LabelKeys("an_energy", "some_forces", "a_stress"))
    repeat = trial.compare(
        first, again, tolerances.repeat_forces, "labels depend on a constraint or on the frames labelled before"
    )

    # Everything shifted by a part of a lattice vector, so that atoms leave the cell, and in another order. Along
    # directions that are not periodic nothing moves: an engine may put its own box there.
    order = rng.permutation(len(frame))
    shift = (frame.cell.array[frame.pbc].sum(axis=0)) / 3.7 if frame.pbc.any() else np.array([0.37, 0.21, 0.11])
    moved = trial.labels(_moved(frame, np.broadcast_to(shift, (len(frame), 3)))[order])
    back = np.argsort(order)
    moved = Labels(moved.energy, None if moved.forces is None else moved.forces[back], moved.stress)
    translation = trial.compare(
        first, moved, tolerances.translation_forces, "labels change with a translation or with the order of the atoms"
    )

    stress_gradient = None
    if first.stress is not None and tolerances.stress_gradient is not None:
        strain = _unit(rng.normal(size=6)) + _unit(first.stress) if first.stress.any() else rng.normal(size=6)
        strain *= 0.5 * tolerances.strain / np.linalg.norm(strain)
        slope = trial.energy(_strained(frame, strain)) - trial.energy(_strained(frame, -strain))
        work = 2.0 * float(first.stress @ strain) * frame.get_volume()
        scale = 2.0 * float(np.linalg.norm(first.stress) * np.linalg.norm(strain)) * frame.get_volume()
        stress_gradient = float(abs(slope - work) / scale)
        trial.expect(
            stress_gradient <= tolerances.stress_gradient,
            f"stress is not the gradient of the energy under strain (relative deviation {stress_gradient:.2g}, "
            f"allowed {tolerances.stress_gradient:g})",
        )

    trial.settle()
    return ContractReport(
        seconds_per_label=float(np.median(trial.seconds)),
        n_labels=len(trial.seconds),
        repeat_forces=repeat,
        translation_forces=translation,
        gradient=float(gradient),
        stress_gradient=stress_gradient,
    )


@dataclass
class _Trial:
    """Labels frames, tests the results, collects violations."""

    reference: Reference
    seconds: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def expect(self, holds: bool, clause: str) -> None:
        """Note a broken clause once."""
        if not holds and clause not in self.broken:
            self.broken.append(clause)

    def labels(self, atoms: Atoms, keys: LabelKeys = _DEFAULT_KEYS) -> Labels:
        """Label a frame and test input and output."""
        with self._unchanged(atoms):
            begin = time.perf_counter()
            labelled = self.reference.label(atoms, keys=keys)
            self.seconds.append(time.perf_counter() - begin)
        self.expect(labelled is not atoms, "the frame given is returned, not a copy")
        self.expect(labelled.calc is None, "the labelled frame carries a calculator")
        self.expect(not labelled.constraints, "the labelled frame carries constraints")
        for name in ("numbers", "positions"):
            same = np.array_equal(labelled.arrays[name], atoms.arrays[name])
            self.expect(same, f"{name} of the labelled frame differ from those given")
        same = np.array_equal(labelled.cell.array, atoms.cell.array) and np.array_equal(labelled.pbc, atoms.pbc)
        self.expect(same, "cell or periodicity of the labelled frame differ from those given")
        added = (set(labelled.info) | set(labelled.arrays)) - set(atoms.info) - set(atoms.arrays)
        strange = added - {keys.energy, keys.forces, keys.stress}
        self.expect(not strange, f"the labelled frame has unexpected keys: {', '.join(sorted(map(str, strange)))}")
        lost = (set(atoms.info) | set(atoms.arrays)) - set(labelled.info) - set(labelled.arrays)
        self.expect(not lost, f"the labelled frame has lost keys: {', '.join(sorted(map(str, lost)))}")
        try:
            found = labels_of(labelled, keys, require=("energy", "forces"))
        except DataError as error:
            self.broken.append(str(error))
            self.settle()
            raise
        self.expect(found.stress is None or has_stress(atoms), "a stress for a frame without a volume")
        return found

    def energy(self, atoms: Atoms) -> float:
        """Energy of a frame, eV."""
        energy = self.labels(atoms).energy
        assert energy is not None  # `labels` requires it
        return energy

    def compare(self, first: Labels, second: Labels, tolerance: float, clause: str) -> float:
        """Largest difference of the forces, eV/A; the number allowed goes for eV per atom and eV/A^3 too."""
        assert first.forces is not None
        assert second.forces is not None
        assert first.energy is not None
        assert second.energy is not None
        differences = {
            "forces by {:.2g} eV/A": float(np.abs(first.forces - second.forces).max()),
            "energy by {:.2g} eV/atom": abs(first.energy - second.energy) / len(first.forces),
        }
        self.expect((first.stress is None) == (second.stress is None), f"{clause}: stress is there only once")
        if first.stress is not None and second.stress is not None:
            differences["stress by {:.2g} eV/A^3"] = float(np.abs(first.stress - second.stress).max())
        wrong = [what.format(value) for what, value in differences.items() if not value <= tolerance]
        self.expect(not wrong, f"{clause}: {', '.join(wrong)} (allowed {tolerance:g})")
        return next(iter(differences.values()))

    def settle(self) -> None:
        """Raise what was collected."""
        if self.broken:
            raise ContractError(f"{self.reference.name}: breaks its contract: {'; '.join(self.broken)}")

    @contextmanager
    def _unchanged(self, atoms: Atoms) -> Iterator[None]:
        before, calculator, constraints = atoms.copy(), atoms.calc, list(atoms.constraints)
        yield
        same = (
            atoms == before
            and atoms.calc is calculator
            and all(a is b for a, b in zip(atoms.constraints, constraints, strict=True))
        )
        same = same and _same_values(atoms.info, before.info) and _same_values(atoms.arrays, before.arrays)
        self.expect(same, "the frame given is changed")


def _description(reference: Reference, trial: _Trial) -> None:
    """What goes to the ledger must be plain values that name engine and version."""
    description = reference.describe()
    missing = [key for key in ("engine", "version") if not description.get(key)]
    trial.expect(not missing, f"describe() does not say: {', '.join(missing)}")
    odd = [key for key, value in description.items() if not isinstance(value, (str, int, float))]
    trial.expect(not odd, f"describe() has values that are not text or numbers: {', '.join(odd)}")


def _constrained(atoms: Atoms) -> Atoms:
    """A copy whose atoms are all held and whose calculator fails when it is used."""
    held = atoms.copy()
    held.calc = _Untouchable()
    held.set_constraint(FixAtoms(indices=range(len(held))))
    return held


class _Untouchable(Calculator):
    """The calculator that a frame happens to carry: not to be used by the reference."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, *_args: object, **_kwargs: object) -> None:
        """Fail."""
        raise ContractError("the reference uses the calculator of the frame instead of its own")


def _moved(atoms: Atoms, displacement: FloatArray) -> Atoms:
    """A copy with displaced atoms."""
    moved = atoms.copy()
    moved.positions += displacement
    return moved


def _strained(atoms: Atoms, strain: FloatArray) -> Atoms:
    """A copy with cell and atoms strained; Voigt with engineering shear, so that stress times strain is work."""
    strained = atoms.copy()
    # What ASE calls the full strain is the deformation, identity included.
    strained.set_cell(atoms.cell.array @ voigt_6_to_full_3x3_strain(strain), scale_atoms=True)
    return strained


def _unit(vector: FloatArray) -> FloatArray:
    return vector / np.linalg.norm(vector)


def _same_values(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two dictionaries of values and arrays agree."""
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)
