"""Verdicts against known truths: audits of event classes whose barrier in the reference is found by its own band.

Every case has a truth (a classical potential), a model, and an event; the audit gets at most eight labels of the truth. The known
verdict is that of `trepid.audit.judge` on the truth itself: the model's ends relaxed by it until they are at rest, and a band of
five images between them, or, where the end is held, everything else relaxed by it.

Groups: settings were chosen on the cases of `choose`, figures are quoted for those of `quote`, which have other materials, lattice
constants and stiffnesses.

    python benchmarks/audits.py run choose          # goes on where it was
    python benchmarks/audits.py run quote
    python benchmarks/audits.py run overlooked
    python benchmarks/audits.py table
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from _common import HERE, RESULTS, Report  # first: it sets one thread, before BLAS is loaded

# isort: split

from _ground_truth import append_result
from _toy import toy_commands, toy_crystal
from _truths import LoadedPotential
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from trepid.audit import (
    Answer,
    AuditedModel,
    AuditSettings,
    Criteria,
    EngineModel,
    Estimate,
    EventClassAudit,
    Motion,
    PotentialModel,
    SeenClass,
    State,
    Verdict,
    Wanted,
    audit_class,
    judge,
    judge_probe,
)
from trepid.audit.band import BandSettings, find_band, interpolated
from trepid.audit.model import EngineCalculator
from trepid.audit.states import Relaxation, end_state, settle, start_state
from trepid.data.frames import LabelKeys, labels_of
from trepid.events.paths import neighbouring_sites
from trepid.events.sites import Sites
from trepid.potentials.base import Prediction
from trepid.potentials.bayesian import BayesianForceField
from trepid.reference import Reference

RUNS = HERE.parent / "runs" / "audits"
ROWS = RESULTS / "audits_rows.json"
KEYS = LabelKeys()
HORIZON_NS = 10.0
N_FRAMES = 15
EXACT = Relaxation(0.005, 1500)
FINE = BandSettings(n_images=5, fmax_eV_per_A=0.02, max_steps=1000)


@dataclass(frozen=True)
class System:
    """A truth with its crystal.

    Attributes
    ----------
    name : str
    commands : tuple of str
    species : tuple of str
    structure : str
        fcc, diamond, or zincblende of the toy.
    lattice_A : float
        Of the truth at 0 K, or of the toy.
    temperature_K : float
    cutoffs_A : (float, float)
        Of Bayesian force fields trained on it.
    """

    name: str
    commands: tuple[str, ...]
    species: tuple[str, ...]
    structure: str
    lattice_A: float
    temperature_K: float
    cutoffs_A: tuple[float, float] = (6.0, 5.0)

    def potential(self) -> LoadedPotential:
        """The truth, loaded."""
        return LoadedPotential(self.name, self.commands, {s: k for k, s in enumerate(self.species, 1)})

    def perfect(self) -> Atoms:
        """Its perfect crystal of 2 x 2 x 2 cubic cells."""
        if self.structure == "zincblende":
            return toy_crystal(2, lattice_A=self.lattice_A)
        return bulk(self.species[0], self.structure, a=self.lattice_A, cubic=True).repeat((2, 2, 2))


def toy(lattice_A: float = 6.5, silver: float = 1.0, iodine: float = 1.0) -> System:
    """The AgI-like toy, with factors on the repulsions of Ag-I and I-I."""
    commands = toy_commands(RUNS / "tables", silver, iodine_stiffness=iodine)
    name = f"toy {lattice_A:g} {silver:g} {iodine:g}"
    return System(name, tuple(commands), ("Ag", "I"), "zincblende", lattice_A, 500.0, (8.0, 5.5))


def eam(element: str, file: str, temperature_K: float, *, truth: bool = True) -> System:
    """A metal; a model needs no lattice constant of its own."""
    style = "eam/alloy" if file.endswith("alloy") else "eam/fs" if file.endswith("fs") else "eam"
    pair = f"pair_coeff * * {file}" + ("" if style == "eam" else f" {element}")
    system = System(file, (f"pair_style {style}", pair), (element,), "fcc", 0.0, temperature_K)
    return _relaxed(system) if truth else system


def diamond(element: str, file: str, temperature_K: float, *, truth: bool = True) -> System:
    """A semiconductor."""
    style = "sw" if file.endswith("sw") else "tersoff" if file.endswith("tersoff") else "snap"
    files = f"{file}.snapcoeff {file}.snapparam" if style == "snap" else file
    commands = (f"pair_style {style}", f"pair_coeff * * {files} {element}")
    system = System(f"{file} {element}", commands, (element,), "diamond", 0.0, temperature_K, (5.5, 4.5))
    return _relaxed(system) if truth else system


@cache
def _relaxed(system: System) -> System:
    """With the lattice constant of the truth at rest."""
    start = {"Si": 5.43, "Ge": 5.66, "Cu": 3.61, "Ni": 3.52, "Al": 4.05, "Ag": 4.09, "Au": 4.08, "Pd": 3.89, "Pt": 3.92}
    lattice = np.linspace(0.96, 1.04, 33) * start[system.species[0]]
    potential = system.potential()
    energies = []
    for a in lattice:
        atoms = replace(system, lattice_A=a).perfect()
        energies.append(potential.label(atoms, keys=KEYS).info[KEYS.energy])
    potential.close()
    k = int(np.clip(np.argmin(energies), 1, len(lattice) - 2))
    c = np.polyfit(lattice[k - 1 : k + 2], energies[k - 1 : k + 2], 2)
    return replace(system, lattice_A=float(-c[1] / (2 * c[0])))


@dataclass(frozen=True, eq=False)
class Scene:
    """A crystal with its sites and an event in it."""

    crystal: Atoms
    sites: Sites
    motion: Motion
    ways: int


def vacancy_hop(system: System, species: str | None = None) -> Scene:
    """A neighbour of the same species goes into a vacancy."""
    crystal = system.perfect()
    chosen = species or system.species[0]
    first = next(k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen)
    distances = crystal.get_distances(first, range(len(crystal)), mic=True)
    same = [k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen and k != first]
    mover = min(same, key=lambda k: (round(distances[k], 4), k))
    ways = sum(abs(distances[k] - distances[mover]) < 0.1 for k in same)
    hole = crystal.positions[first].copy()
    del crystal[first]
    mover -= mover > first
    sites = Sites.of(crystal, empty=[hole])
    n = len(crystal)
    return Scene(crystal, sites, Motion(np.arange(n), (mover,), (n,)), ways)


def frenkel(system: System, kind: str | None = None, species: str | None = None, reach: float = 1.0) -> Scene:
    """An atom goes to an empty site beside it."""
    crystal = system.perfect()
    sites = Sites.of(crystal)
    chosen = species or system.species[0]
    atom = next(k for k, s in enumerate(crystal.get_chemical_symbols()) if s == chosen)
    around = neighbouring_sites(sites, atom, within_A=4.5)
    target = next(k for k in around if k >= sites.n_atoms and (kind is None or sites.kinds[k] == kind))
    n_equal = sum(
        sites.kinds[k] == sites.kinds[target] and abs(sites.distance(atom, k) - sites.distance(atom, target)) < 0.1
        for k in around
    )
    n_atoms = crystal.get_chemical_symbols().count(chosen)
    motion = Motion(np.arange(len(crystal)), (atom,), (target,), reach)
    return Scene(crystal, sites, motion, n_equal * n_atoms)


# ---------------------------------------------------------------------- models


def frames_of(
    system: System, crystal: Atoms, *, temperature_K: float, n: int, seed: int, every: int = 40
) -> list[Atoms]:
    """Labelled frames of Langevin dynamics on the truth, 2 fs a step (4 fs for the toy), after 200 steps."""
    potential = system.potential()
    atoms = crystal.copy()
    atoms.calc = EngineCalculator(potential)
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


def stored(name: str, make: Callable[[], BayesianForceField]) -> BayesianForceField:
    """A trained model, kept on disk."""
    path = RUNS / "models" / f"{name.replace(' ', '_')}.trepid"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make().save(path)
    return BayesianForceField.load(path, n_threads=1)


def naive(system: System, seed: int, temperature_K: float) -> Callable[[Scene], AuditedModel]:
    """A Bayesian force field trained on the perfect crystal."""

    def make(scene: Scene) -> AuditedModel:
        def train() -> BayesianForceField:
            return force_field(
                system, frames_of(system, system.perfect(), temperature_K=temperature_K, n=N_FRAMES, seed=seed)
            )

        return PotentialModel(stored(f"naive {system.name} {temperature_K:g} {seed}", train))

    return make


def repaired(system: System, seed: int, what: str) -> Callable[[Scene], AuditedModel]:
    """A Bayesian force field that has also seen frames of the event: dynamics of its crystal, and images on its way."""

    def make(scene: Scene) -> AuditedModel:
        def train() -> BayesianForceField:
            t = system.temperature_K
            frames = frames_of(system, system.perfect(), temperature_K=0.8 * t, n=8, seed=seed)
            frames += frames_of(system, scene.crystal, temperature_K=t, n=8, seed=seed + 100)
            frames += images_of(system, scene, seed)
            return force_field(system, frames)

        return PotentialModel(stored(f"repaired {system.name} {what} {seed}", train))

    return make


def images_of(system: System, scene: Scene, seed: int) -> list[Atoms]:
    """Labelled images on the way of the event on the truth, each displaced at random by 0.05 A a coordinate."""
    potential = system.potential()
    calculator = EngineCalculator(potential)
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


# ---------------------------------------------------------------------- cases


@dataclass(frozen=True, eq=False)
class Case:
    """One audit."""

    name: str
    system: System
    scene: Callable[[], Scene]
    model: Callable[[Scene], AuditedModel]
    probe: bool = False


def choose() -> Iterator[Case]:
    """Cases on which settings are chosen."""
    agi = toy()
    for what, scene in (("vacancy", lambda: vacancy_hop(agi)), ("frenkel", lambda: frenkel(agi, "empty 4Ag6I"))):
        yield Case(f"toy {what}, right", agi, scene, other(agi))
        yield Case(f"toy {what}, iodine 1.3", agi, scene, other(toy(iodine=1.3)))
        yield Case(f"toy {what}, silver 0.8", agi, scene, other(toy(silver=0.8)))
        yield Case(f"toy {what}, naive", agi, scene, naive(agi, 1, 400.0))
        yield Case(f"toy {what}, repaired", agi, scene, repaired(agi, 1, what))
    copper = eam("Cu", "Cu_u3.eam", 900.0)
    yield Case("Cu vacancy, right", copper, lambda: vacancy_hop(copper), other(copper))
    yield Case(
        "Cu vacancy, smf7", copper, lambda: vacancy_hop(copper), other(eam("Cu", "Cu_smf7.eam", 900.0, truth=False))
    )
    yield Case("Cu vacancy, naive", copper, lambda: vacancy_hop(copper), naive(copper, 1, 900.0))
    yield Case("Cu vacancy, repaired", copper, lambda: vacancy_hop(copper), repaired(copper, 1, "vacancy"))
    silicon = diamond("Si", "Si.tersoff", 1000.0)
    yield Case(
        "Si vacancy, Tersoff by SW",
        silicon,
        lambda: vacancy_hop(silicon),
        other(diamond("Si", "Si.sw", 1000.0, truth=False)),
    )
    yield Case("Si vacancy, repaired", silicon, lambda: vacancy_hop(silicon), repaired(silicon, 1, "vacancy"))
    yield Case("Si frenkel, SW", silicon, lambda: frenkel(silicon), other(diamond("Si", "Si.sw", 1000.0, truth=False)))


METALS = (
    ("Ni", "Ni_u3.eam", ("Ni_smf7.eam",), 1200.0),
    ("Al", "Al_jnp.eam", ("Al_mm.eam.fs", "AlCu.eam.alloy", "Al_zhou.eam.alloy"), 600.0),
    ("Cu", "Cu_smf7.eam", ("Cu_u6.eam", "AlCu.eam.alloy", "Cu_mishin1.eam.alloy", "Cu_zhou.eam.alloy"), 900.0),
    ("Ag", "Ag_u3.eam", (), 900.0),
    ("Pd", "Pd_u3.eam", (), 1200.0),
    ("Au", "Au_u3.eam", (), 900.0),
    ("Pt", "Pt_u3.eam", (), 1200.0),
)
"""Element, truth, wrong models, and temperature (K)."""


def quote() -> Iterator[Case]:
    """Cases that figures are quoted for: classical models first, which are cheap, then Bayesian force fields."""
    for element, file, wrongs, temperature in METALS:
        metal = eam(element, file, temperature)
        scene = lambda metal=metal: vacancy_hop(metal)  # noqa: E731
        yield Case(f"{element} vacancy, right", metal, scene, other(metal))
        for wrong in wrongs:
            yield Case(
                f"{element} vacancy, {wrong}", metal, scene, other(eam(element, wrong, temperature, truth=False))
            )
    for lattice, silver, iodine in ((6.4, 1.0, 1.0), (6.6, 1.0, 1.0), (6.5, 1.1, 1.0), (6.5, 1.0, 1.3)):
        agi = toy(lattice, silver, iodine)
        for what, scene in (
            ("vacancy", lambda agi=agi: vacancy_hop(agi)),
            ("frenkel", lambda agi=agi: frenkel(agi, "empty 4Ag6I")),
        ):
            yield Case(f"{agi.name} {what}, right", agi, scene, other(agi))
            for factor in (0.6, 1.9):
                wrong = toy(lattice, silver, round(factor * iodine, 3))
                yield Case(f"{agi.name} {what}, iodine x {factor}", agi, scene, other(wrong))
    for element, file, wrong in (
        ("Si", "Si.sw", "Si.tersoff"),
        ("Ge", "Ge.tersoff", "Ge_Zuo_JPCA2020"),
        ("Si", "Si_Zuo_JPCA2020", "Si.sw"),
    ):
        crystal = diamond(element, file, 1000.0)
        for what, scene in (
            ("vacancy", lambda crystal=crystal: vacancy_hop(crystal)),
            ("frenkel", lambda crystal=crystal: frenkel(crystal)),
        ):
            yield Case(f"{file} {what}, right", crystal, scene, other(crystal))
            yield Case(f"{file} {what}, {wrong}", crystal, scene, other(diamond(element, wrong, 1000.0, truth=False)))
    for element, file, _, temperature in METALS:
        metal = eam(element, file, temperature)
        scene = lambda metal=metal: vacancy_hop(metal)  # noqa: E731
        for seed in (2, 3):
            yield Case(f"{element} vacancy, repaired {seed}", metal, scene, repaired(metal, seed, "vacancy"))
            yield Case(f"{element} vacancy, naive {seed}", metal, scene, naive(metal, seed, temperature))
    for lattice, silver, iodine in ((6.4, 1.0, 1.0), (6.5, 1.0, 1.3)):
        agi = toy(lattice, silver, iodine)
        scene = lambda agi=agi: frenkel(agi, "empty 4Ag6I")  # noqa: E731
        yield Case(f"{agi.name} frenkel, naive", agi, scene, naive(agi, 2, 400.0))
        yield Case(f"{agi.name} frenkel, repaired", agi, scene, repaired(agi, 2, "frenkel"))


class Hill(Calculator):
    """A potential with a hill for one atom half the way of an event: a model from which the event is removed by construction.

    Parameters
    ----------
    calculator : Calculator
    scene : Scene
    height_eV, width_A : float
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, calculator: Calculator, scene: Scene, height_eV: float = 1.5, width_A: float = 0.5) -> None:
        super().__init__()
        self._calculator, self._height, self._width = calculator, height_eV, width_A
        self._atom = scene.motion.atoms[0]
        start = scene.crystal.positions[self._atom]
        way = find_mic(scene.sites.positions[scene.motion.to_sites[0]] - start, scene.sites.cell, scene.sites.pbc)[0]
        self._place = start + 0.5 * way

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        bare = self.atoms.copy()
        bare.set_constraint()
        bare.calc = self._calculator
        energy, forces = bare.get_potential_energy(), bare.get_forces().copy()
        way = find_mic(bare.positions[self._atom] - self._place, bare.cell, bare.pbc)[0]
        hill = self._height * np.exp(-0.5 * way @ way / self._width**2)
        forces[self._atom] += hill * way / self._width**2
        self.results = {"energy": energy + hill, "free_energy": energy + hill, "forces": forces}


class HillModel(EngineModel):
    """A classical potential with a hill."""

    def __init__(self, engine: Reference, scene: Scene) -> None:
        super().__init__(engine)
        self._hill = Hill(EngineCalculator(engine), scene)

    def calculator(self) -> Calculator:
        """With the hill."""
        return self._hill

    def predict(self, atoms: Atoms) -> Prediction:
        """With the hill."""
        frame = atoms.copy()
        frame.calc = self._hill
        return Prediction(energy=float(frame.get_potential_energy()), forces=frame.get_forces())


def overlooked() -> Iterator[Case]:
    """Models from which an event of the truth is removed: probes."""
    for element, file, _, temperature in METALS:
        metal = eam(element, file, temperature)
        yield Case(
            f"{element} vacancy, hill",
            metal,
            lambda metal=metal: vacancy_hop(metal),
            lambda scene, metal=metal: HillModel(metal.potential(), scene),
            probe=True,
        )
    for lattice in (6.4, 6.5, 6.6):
        agi = toy(lattice)
        yield Case(
            f"{agi.name} vacancy, hill",
            agi,
            lambda agi=agi: vacancy_hop(agi),
            lambda scene, agi=agi: HillModel(agi.potential(), scene),
            probe=True,
        )


# ---------------------------------------------------------------------- truth and audit


@dataclass(frozen=True)
class Known:
    """What the truth says: verdict, barrier, and whether the end exists."""

    verdict: Verdict
    barrier: float | None
    end: State


class Labels:
    """Labels of the truth, counted."""

    def __init__(self, reference: Reference) -> None:
        self.reference, self.n = reference, 0

    def __call__(self, wanted: Sequence[Wanted]) -> list[Answer]:
        """One after the other."""
        answers = []
        for want in wanted:
            self.n += 1
            answers.append(
                Answer(self.n, labels_of(self.reference.label(want.atoms, keys=KEYS), KEYS, where="a label"))
            )
        return answers


def known(case: Case, scene: Scene, audit: EventClassAudit, criteria: Criteria) -> Known:
    """The verdict on the truth itself, from the ends of the model relaxed by it and a band between them."""
    assert audit.band is not None
    assert audit.model_barrier is not None
    potential = case.system.potential()
    calculator = EngineCalculator(potential)
    motion, sites = scene.motion, scene.sites
    held = audit.end is State.HELD
    start = settle(audit.band.images[0], calculator, sites, motion.before, motion.atoms, relaxation=EXACT)
    end = settle(
        audit.band.images[-1],
        calculator,
        sites,
        motion.after,
        motion.atoms,
        held=motion.atoms if held else (),
        relaxation=EXACT,
    )
    if not end.stays:
        found = Known(Verdict.HALLUCINATED, None, State.ABSENT)
        if case.probe:
            found = Known(Verdict.IMPOSSIBLE, None, State.ABSENT)
    else:
        band = find_band(interpolated(start.bare(), end.bare(), FINE.n_images), calculator, FINE)
        state = State.HELD if held else State.EXISTS
        if not held and band.back < 0.002:
            state = State.ABSENT
        function = judge_probe if case.probe else judge
        verdict = function(audit.model_barrier, Estimate(band.barrier), criteria, end=state).verdict
        found = Known(verdict, band.barrier, state)
    potential.close()
    return found


def audited(case: Case, settings: AuditSettings) -> dict[str, Any]:
    """One case: the audit and what is known."""
    began = time.process_time()
    scene = case.scene()
    criteria = Criteria(case.system.temperature_K, HORIZON_NS, ways=scene.ways)
    model = case.model(scene)
    trained = time.process_time()
    potential = case.system.potential()
    labels = Labels(potential)
    audit = audit_class(
        SeenClass(case.name, scene.motion, n_seen=0 if case.probe else 1),
        model,
        labels,
        crystal=scene.crystal,
        sites=scene.sites,
        criteria=criteria,
        settings=settings,
        tell=lambda line: print("  ", line, flush=True),
    )
    seconds = time.process_time() - trained
    record: dict[str, Any] = {
        "name": case.name,
        "verdict": str(audit.verdict),
        "reason": audit.judgement.reason,
        "labels": labels.n,
        "model_barrier": audit.model_barrier,
        "model_bar": audit.model_bar,
        "reference_barrier": None if audit.reference_barrier is None else audit.reference_barrier.value,
        "reference_std": None if audit.reference_barrier is None else audit.reference_barrier.std,
        "end": str(audit.end),
        "tolerance": criteria.tolerance,
        "budget": criteria.budget,
        "cpu_s": seconds,
        "training_s": trained - began,
    }
    if audit.band is not None and audit.model_barrier is not None and audit.points:
        truth = known(case, scene, audit, criteria)
        record |= {"known": str(truth.verdict), "known_barrier": truth.barrier, "known_end": str(truth.end)}
    else:
        record |= {"known": None, "known_barrier": None, "known_end": None}
    potential.close()
    return record


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {"choose": choose, "quote": quote, "overlooked": overlooked}


def run(group: str, only: str | None, *, again: bool) -> None:
    settings = AuditSettings(frames_per_class=0)
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else []
    done = {row["name"] for row in rows if row["group"] == group}
    for case in GROUPS[group]():
        if (only is not None and not any(part in case.name for part in only.split("|"))) or (
            case.name in done and not again
        ):
            continue
        print(case.name, flush=True)
        try:
            record = audited(case, settings)
        except Exception:  # one case that fails must not end the others
            traceback.print_exc()
            record = {"name": case.name, "verdict": "error", "known": None, "reason": traceback.format_exc(limit=1)}
        record["group"] = group
        append_result(ROWS, record)
        print(
            f"   -> {record['verdict']}, known {record['known']}: {record.get('reference_barrier')} known "
            f"{record.get('known_barrier')}, {record.get('labels')} labels, {record.get('cpu_s', 0):.0f} s",
            flush=True,
        )


def table() -> None:
    """Precision and recall, and every case."""
    report = Report("audits")
    rows = json.loads(ROWS.read_text())
    latest = {(row["group"], row["name"]): row for row in rows}
    for group in GROUPS:
        mine = [row for (g, _), row in latest.items() if g == group and row["known"] is not None]
        if not mine:
            continue
        report.table(
            f"{group}: {len(mine)} audits", [_figures(mine, str(v)) for v in Verdict if _figures(mine, str(v))]
        )
        report.table(f"{group}: all", [_summary(mine)])
        report.table(
            f"{group}: cases",
            [
                {
                    k: row.get(k)
                    for k in (
                        "name",
                        "known",
                        "verdict",
                        "known_barrier",
                        "reference_barrier",
                        "model_barrier",
                        "labels",
                        "cpu_s",
                    )
                }
                for row in mine
            ],
        )
    report.write()


def _figures(rows: Sequence[dict[str, Any]], verdict: str) -> dict[str, Any]:
    said = [row for row in rows if row["verdict"] == verdict]
    true = [row for row in rows if row["known"] == verdict]
    both = [row for row in said if row["known"] == verdict]
    decided = [row for row in true if row["verdict"] != "undecided"]
    if not said and not true:
        return {}
    return {
        "verdict": verdict,
        "known": len(true),
        "said": len(said),
        "right": len(both),
        "precision": len(both) / len(said) if said else None,
        "recall": len(both) / len(true) if true else None,
        "recall of decided": len(both) / len(decided) if decided else None,
    }


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    swapped = [r for r in rows if {r["verdict"], r["known"]} == {"genuine", "hallucinated"}]
    barriers = [r for r in rows if r["known_barrier"] is not None and r["reference_barrier"] is not None]
    errors = np.array([r["reference_barrier"] - r["known_barrier"] for r in barriers])
    bars = np.array([1.96 * r["reference_std"] for r in barriers])
    fixed = [r for r in rows if "repaired" in r["name"] and r["known_barrier"] is not None]
    own = np.array([r["model_barrier"] - r["known_barrier"] for r in fixed])
    own_bars = np.array([1.96 * (r["model_bar"] or 0.0) for r in fixed])
    return {
        "audits": len(rows),
        "undecided": sum(r["verdict"] == "undecided" for r in rows) / len(rows),
        "genuine/hallucinated swapped": len(swapped),
        "labels, most": max(r["labels"] for r in rows),
        "labels, mean": float(np.mean([r["labels"] for r in rows])),
        "barrier estimated, rms error eV": float(np.sqrt(np.mean(errors**2))) if len(errors) else None,
        "its 95 % bar covers": float(np.mean(np.abs(errors) <= bars + 0.005)) if len(errors) else None,
        "repaired: within 0.05 eV": float(np.mean(np.abs(own) <= 0.05)) if len(own) else None,
        "repaired: announced bar covers": float(np.mean(np.abs(own) <= own_bars + 0.005)) if len(own) else None,
        "cpu s, mean": float(np.mean([r["cpu_s"] for r in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("run", "table"))
    parser.add_argument("group", nargs="?", choices=tuple(GROUPS))
    parser.add_argument("--only", help="cases whose name contains this, or one of several with | between them")
    parser.add_argument("--again", action="store_true", help="also cases that are done")
    options = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    if options.part == "table":
        table()
    elif options.group is None:
        parser.error(f"run needs a group: {', '.join(GROUPS)}")
    else:
        run(options.group, options.only, again=options.again)


if __name__ == "__main__":
    main()
