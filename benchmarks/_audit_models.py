"""Models that are audited: other classical potentials, Bayesian force fields, and potentials with an event added or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from _audit_scenes import KEYS, RUNS, Scene, System  # first: one thread

# isort: split

from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from trepid.audit import AuditedModel, EngineModel, PotentialModel
from trepid.audit.band import find_band, interpolated
from trepid.audit.states import end_state, start_state
from trepid.potentials.base import Potential, Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.committee import Backend, Committee, CommitteeSettings, So3kratesSettings
from trepid.reference import Reference
from trepid.reference.as_calculator import ReferenceCalculator

N_FRAMES = 15
NETWORKS = CommitteeSettings(
    Backend.SO3KRATES,
    n_members=2,
    model=So3kratesSettings(n_features=16, n_heads=2, n_radial=12, max_epochs=80, compile=False),
)
"""Small, and trained briefly: what matters is that they are wrong in another way than splines are."""
P = TypeVar("P", bound=Potential)


def frames_of(
    system: System, crystal: Atoms, *, temperature_K: float, n: int, seed: int, every: int = 40
) -> list[Atoms]:
    """Labelled frames of Langevin dynamics on the truth, 2 fs a step (4 fs for the toy), after 200 steps."""
    potential = system.potential()
    atoms = crystal.copy()
    atoms.calc = ReferenceCalculator(potential)
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature_K, rng=rng)
    step = (4.0 if len(system.species) > 1 else 2.0) * units.fs
    md = Langevin(atoms, step, temperature_K=temperature_K, friction=0.01 / units.fs, rng=rng)
    md.run(200)
    frames = []
    for _ in range(n):
        md.run(every)
        bare = atoms.copy()
        bare.calc = None
        frames.append(potential.label(bare, keys=KEYS))
    potential.close()
    return frames


def force_field(system: System, frames: Sequence[Atoms]) -> BayesianForceField:
    pair, triplet = system.cutoffs_A
    return BayesianForceField(list(system.species), pair_cutoff=pair, triplet_cutoff=triplet, n_threads=1).fit(
        list(frames)
    )


def stored(name: str, make: Callable[[], P], load: Callable[[Path], P]) -> P:
    """A trained model, kept on disk."""
    path = RUNS / "models" / f"{name.replace(' ', '_')}.trepid"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make().save(path)
    return load(path)


def load_force_field(path: Path) -> BayesianForceField:
    """On one thread."""
    return BayesianForceField.load(path, n_threads=1)


def load_networks(path: Path) -> Committee:
    """With the interpreter of this environment."""
    return Committee.load(path)


def naive_frames(system: System, seed: int, temperature_K: float) -> list[Atoms]:
    """Of the perfect crystal alone."""
    return frames_of(system, system.perfect(), temperature_K=temperature_K, n=N_FRAMES, seed=seed)


def repaired_frames(system: System, scene: Scene, seed: int) -> list[Atoms]:
    """With dynamics of the crystal of the event, and images on its way."""
    t = system.temperature_K
    frames = frames_of(system, system.perfect(), temperature_K=0.8 * t, n=8, seed=seed)
    frames += frames_of(system, scene.crystal, temperature_K=t, n=8, seed=seed + 100)
    return frames + images_of(system, scene, seed)


def naive(system: System, seed: int, temperature_K: float) -> Callable[[Scene], AuditedModel]:
    """A Bayesian force field trained on the perfect crystal."""

    def make(scene: Scene) -> AuditedModel:
        name = f"naive {system.name} {temperature_K:g} {seed}"
        return PotentialModel(
            stored(name, lambda: force_field(system, naive_frames(system, seed, temperature_K)), load_force_field)
        )

    return make


def repaired(system: System, seed: int, what: str) -> Callable[[Scene], AuditedModel]:
    """A Bayesian force field that has also seen frames of the event."""

    def make(scene: Scene) -> AuditedModel:
        name = f"repaired {system.name} {what} {seed}"
        return PotentialModel(
            stored(name, lambda: force_field(system, repaired_frames(system, scene, seed)), load_force_field)
        )

    return make


def networks(system: System, seed: int, *, repaired: bool) -> Callable[[Scene], AuditedModel]:
    """A committee of two small SO3krates networks on the frames of a naive or of a repaired Bayesian force field."""

    def make(scene: Scene) -> AuditedModel:
        def train() -> Committee:
            frames = (
                repaired_frames(system, scene, seed) if repaired else naive_frames(system, seed, system.temperature_K)
            )
            return Committee(system.species, settings=replace(NETWORKS, seed=seed)).fit(frames)

        kind = "repaired" if repaired else "naive"
        return PotentialModel(stored(f"networks {kind} {system.name} {seed}", train, load_networks))

    return make


def images_of(system: System, scene: Scene, seed: int) -> list[Atoms]:
    """Labelled images on the way of the event on the truth, each displaced at random by 0.05 A a coordinate."""
    potential = system.potential()
    calculator = ReferenceCalculator(potential, labels=False)
    start = start_state(scene.crystal, scene.motion, scene.sites, calculator)
    end = end_state(start, scene.motion, scene.sites, calculator)
    images = interpolated(start.bare(), end.bare(), 5)
    if not end.held:
        images = list(find_band(images, calculator).images)
    rng = np.random.default_rng(seed + 7)
    frames = []
    for image in images[1:] * 2:
        frame = image.copy()
        frame.positions += 0.05 * rng.normal(size=(len(frame), 3))
        frames.append(potential.label(frame, keys=KEYS))
    potential.close()
    return frames


def other(system: System) -> Callable[[Scene], AuditedModel]:
    """Another classical potential."""
    return lambda scene: EngineModel(system.potential())


class Bump(Calculator):
    """A potential with a Gaussian hill or well for one atom at a place.

    Parameters
    ----------
    calculator : Calculator
    scene : Scene
    part : float
        Of the straight way of the event's first atom, where the bump is.
    height_eV : float
        Negative for a well.
    width_A : float
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(
        self, calculator: Calculator, scene: Scene, *, part: float, height_eV: float, width_A: float = 0.5
    ) -> None:
        super().__init__()
        self._calculator, self._height, self._width = calculator, height_eV, width_A
        self._atom = scene.motion.atoms[0]
        start = scene.crystal.positions[self._atom]
        way = find_mic(scene.sites.positions[scene.motion.to_sites[0]] - start, scene.sites.cell, scene.sites.pbc)[0]
        self._place = start + part * way

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        bare = self.atoms.copy()
        bare.set_constraint()
        bare.calc = self._calculator
        energy, forces = bare.get_potential_energy(), bare.get_forces().copy()
        way = find_mic(bare.positions[self._atom] - self._place, bare.cell, bare.pbc)[0]
        bump = self._height * np.exp(-0.5 * way @ way / self._width**2)
        forces[self._atom] += bump * way / self._width**2
        self.results = {"energy": energy + bump, "free_energy": energy + bump, "forces": forces}


class BumpModel(EngineModel):
    """A classical potential with a hill or a well."""

    def __init__(self, engine: Reference, scene: Scene, *, part: float, height_eV: float) -> None:
        super().__init__(engine)
        self._bump = Bump(ReferenceCalculator(engine, labels=False), scene, part=part, height_eV=height_eV)

    def calculator(self) -> Calculator:
        """With the bump."""
        return self._bump

    def predict(self, atoms: Atoms) -> Prediction:
        """With the bump."""
        frame = atoms.copy()
        frame.calc = self._bump
        return Prediction(energy=float(frame.get_potential_energy()), forces=frame.get_forces())


def hill(system: System) -> Callable[[Scene], AuditedModel]:
    """The truth with a hill of 1.5 eV half the way of the event: the event is removed from the model by construction."""
    return lambda scene: BumpModel(system.potential(), scene, part=0.5, height_eV=1.5)


def well(system: System, depth_eV: float) -> Callable[[Scene], AuditedModel]:
    """The truth with a well where the event ends: the model has a state there that the truth does not have."""
    return lambda scene: BumpModel(system.potential(), scene, part=1.0, height_eV=-depth_eV)
