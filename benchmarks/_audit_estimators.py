"""The reference's barrier from the same labels by other estimators than that of the audit, for `audits.py run choose`.

labelled      largest energy of the reference on the labelled frames of the way, above its start: nothing is relaxed
interpolated  the model's band plus the differences of the labels, linear in the length of the band
process       a Gaussian process on the differences in all coordinates, ends and band relaxed on model plus difference
delta         a Bayesian force field trained on the differences (delta learning), the same
corrected     that of `trepid.audit`: a small Bayesian force field, and the process on what it leaves
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from _audit_models import force_field  # first: one thread

# isort: split

from _audit_scenes import KEYS, Scene, System
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from trepid.audit import AuditedModel, AuditSettings, EventClassAudit, State
from trepid.audit.band import find_band, interpolated
from trepid.audit.correction import DifferenceProcess, coordinates
from trepid.audit.difference import energy_and_forces
from trepid.audit.event_class import Role
from trepid.audit.states import settle
from trepid.errors import TrepidError
from trepid.potentials.base import Uncertainty


class Sum(Calculator):
    """Two calculators together."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, first: Calculator, second: Calculator) -> None:
        super().__init__()
        self._parts = first, second

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = 0.0, np.zeros((len(self.atoms), 3))
        for part in self._parts:
            more, more_forces = energy_and_forces(part, self.atoms)
            energy += more
            forces += more_forces
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class InCoordinates(Calculator):
    """A process as a calculator."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, process: DifferenceProcess, origin: Atoms) -> None:
        super().__init__()
        self._process, self._origin = process, origin

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = self._process(coordinates(self.atoms, self._origin))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces.reshape(-1, 3)}


def estimates(audit: EventClassAudit, model: AuditedModel, system: System, scene: Scene) -> dict[str, float | None]:
    """Barriers of the reference, eV, by the name of the estimator; None where there is none."""
    assert audit.band is not None
    zero = next(point for point in audit.points if point.wanted.role is Role.START)
    way = [point for point in audit.points if point.wanted.role in (Role.START, Role.SADDLE, Role.IMAGE, Role.END)]
    return {
        "labelled": max(point.energy - zero.energy for point in way),
        "interpolated": _interpolated(audit),
        "process": _process(audit, model, scene),
        "delta": _delta(audit, model, system, scene),
        "corrected": None if audit.reference_barrier is None else audit.reference_barrier.value,
    }


def _interpolated(audit: EventClassAudit) -> float:
    assert audit.band is not None
    band, places = audit.band, np.array([image.positions.ravel() for image in audit.band.images])
    at, gaps = [], []
    for point in audit.points:
        k = int(np.argmin(np.sum((places - point.wanted.atoms.positions.ravel()) ** 2, axis=1)))
        at.append(band.lengths[k])
        gaps.append(point.energy - point.wanted.prediction.energy)
    order = np.argsort(at, kind="stable")
    energies = band.energies + np.interp(band.lengths, np.array(at)[order], np.array(gaps)[order])
    return float(energies.max() - energies[0])


def _process(audit: EventClassAudit, model: AuditedModel, scene: Scene) -> float | None:
    origin = audit.points[0].wanted.atoms
    process = DifferenceProcess(
        np.array([coordinates(point.wanted.atoms, origin) for point in audit.points]),
        np.array([point.energy - point.wanted.prediction.energy for point in audit.points]),
        np.array([(point.forces - point.wanted.prediction.forces).ravel() for point in audit.points]),
    )
    return _relaxed(audit, Sum(model.calculator(), InCoordinates(process, origin)), scene)


def _delta(audit: EventClassAudit, model: AuditedModel, system: System, scene: Scene) -> float | None:
    frames = []
    for point in audit.points:
        frame = point.wanted.atoms.copy()
        frame.set_constraint()
        frame.info[KEYS.energy] = point.energy - point.wanted.prediction.energy
        frame.arrays[KEYS.forces] = point.forces - point.wanted.prediction.forces
        frames.append(frame)
    try:
        difference = force_field(system, frames).calculator(uncertainty=Uncertainty.NONE)
    except TrepidError:
        return None
    return _relaxed(audit, Sum(model.calculator(), difference), scene)


def _relaxed(audit: EventClassAudit, surface: Calculator, scene: Scene) -> float | None:
    """Barrier of a band between the ends, all relaxed on a surface."""
    assert audit.band is not None
    settings, motion, held = AuditSettings(), scene.motion, audit.end is State.HELD
    try:
        start, end = (
            settle(
                image,
                surface,
                scene.sites,
                sites,
                motion.atoms,
                held=motion.atoms if fixed else (),
                relaxation=settings.relaxation,
            )
            for image, sites, fixed in (
                (audit.band.images[0], motion.before, False),
                (audit.band.images[-1], motion.after, held),
            )
        )
        if not (start.stays and end.stays):
            return None
        return find_band(interpolated(start.bare(), end.bare(), 5), surface, settings.band).barrier
    except TrepidError:
        return None
