"""Training in generations: a model, a longer run on it in LAMMPS, its most uncertain frames labelled, the next model.

Generation 0 is an on-the-fly campaign (`campaign.yaml`). Every later one runs small sheets in LAMMPS with live
uncertainty, some flat, some under pressure in the plane, some with an overlap, hotter from one generation to the next.
Of the frames in which an atom is untrusted a batch is selected, labelled and trained on. It ends when the share of untrusted
atoms is small at the highest temperatures, or the labels are used up. Everything is kept on disk: the same command
resumes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from ase import Atoms
from lmp import read_dump, run_lammps, write_data
from numpy.typing import NDArray
from sheet import Cells, sheet, sheet_with_overlap

from trepid.campaign.learn import learn
from trepid.config import load_campaign
from trepid.data import read_frames, write_frames
from trepid.data.atomic import write_text_atomic
from trepid.evaluation import evaluate
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.reference import LabelError, Reference, make_reference

FloatArray = NDArray[np.float64]
logger = logging.getLogger(__name__)

THRESHOLD_EV_PER_A = 0.1
"""An atom whose live force uncertainty is above this is untrusted; in generation 0 the same threshold requests labels."""
LABEL_BUDGET = 120
"""Labels of all generations together; those of the test set come on top."""
LABELS_PER_GENERATION = 16
CONTROLS_PER_GENERATION = 4
"""Frames labelled on top of them without regard to their uncertainty: the control for the errors."""
CONVERGED_SHARE = 0.002
"""Training ends when no run of a generation has a larger share of untrusted atoms."""
TIMESTEP_PS = 0.003
DUMP_EVERY = 50
SAMPLE_EVERY = 1000
"""Steps between frames that may become controls or test frames."""
HALT_EV_PER_A = 1.0
"""A run of a small sheet ends above this uncertainty: its later frames are not used."""
NARROWEST_A = 13.0
"""A run ends when an edge of its cell in the plane gets shorter: labels are computed at the Gamma point only."""
MAX_FORCE_EV_PER_A = 12.0
"""A label with a larger force is far from any state of the sheet; it is kept on disk and not trained on."""
ATOMS_PER_FRAME = 6
"""The most uncertain atoms represent a frame in the selection of the batch."""


class Start(str, Enum):
    """What a run starts from and how its cell behaves."""

    SHEET = "sheet"
    """A flat sheet, no tension in the plane."""
    SQUEEZED = "squeezed"
    """A flat sheet whose length shrinks by a third during the run: it buckles, folds and densifies."""
    OVERLAP = "overlap"
    """A sheet and a half, no tension in the plane."""


@dataclass(frozen=True)
class Walker:
    """One run of a small sheet: its start, size, temperatures (K) at the beginning and at the end, and length (ps)."""

    start: Start
    cells: Cells
    temperatures_K: tuple[float, float]
    duration_ps: float = 60.0

    @property
    def name(self) -> str:
        """Name of its folder."""
        low, high = self.temperatures_K
        return f"{self.start.value}-{4 * self.cells.x * self.cells.y}-{low:.0f}-{high:.0f}K"

    def atoms(self) -> Atoms:
        """The structure it starts from."""
        return sheet_with_overlap(self.cells) if self.start is Start.OVERLAP else sheet(self.cells)


def walkers(generation: int) -> tuple[Walker, ...]:
    """Runs of a generation: 200 K hotter with each, up to 1200 K."""
    high = min(200.0 + 200.0 * generation, 1200.0)
    return (
        Walker(Start.SHEET, Cells(5, 3), (high / 2, high)),
        Walker(Start.SHEET, Cells(4, 3), (high, high)),
        Walker(Start.SQUEEZED, Cells(5, 2), (high / 2, high)),
        Walker(Start.SQUEEZED, Cells(5, 2), (high, high)),
        Walker(Start.OVERLAP, Cells(4, 2), (high / 2, high)),
    )


@dataclass(frozen=True)
class WalkerRecord:
    """Figures of a run: its name, time simulated, share of untrusted atoms over all dumped frames."""

    name: str
    simulated_ps: float
    untrusted_share: float
    largest_uncertainty_eV_per_A: float


@dataclass(frozen=True)
class Errors:
    """Errors of a model on frames it was not trained on; coverage is that of the 95 % interval, noise included."""

    n_frames: int
    forces_rmse_eV_per_A: float
    forces_rms_eV_per_A: float
    energy_rmse_eV_per_atom: float | None
    coverage_95: float | None
    spearman: float | None

    @classmethod
    def of(cls, model: BayesianForceField, frames: Sequence[Atoms]) -> Errors | None:
        """Errors of a model on labelled frames, None without any."""
        if not frames:
            return None
        e = evaluate(model, frames)
        return cls(
            n_frames=e.n_frames,
            forces_rmse_eV_per_A=e.forces_rmse,
            forces_rms_eV_per_A=e.forces_rms,
            energy_rmse_eV_per_atom=e.energy_rmse_per_atom,
            coverage_95=e.forces_coverage_95,
            spearman=e.forces_uncertainty_spearman,
        )


@dataclass(frozen=True)
class GenerationRecord:
    """A generation in figures; errors are those of the model before training on the labels."""

    generation: int
    walkers: tuple[WalkerRecord, ...]
    n_chosen: int
    n_labels: int
    chosen: Errors | None
    control: Errors | None
    noise_forces_eV_per_A: float


def train(campaign_file: Path, run: Path) -> Path:
    """Run all generations, or resume; returns the path of the final model."""
    folder = run / "training"
    campaign = load_campaign(campaign_file)
    result = learn(campaign)
    logger.info("generation 0: %s", result.summary())
    model_file = result.model_file
    frames = read_frames_in(campaign.output.directory / "labels")
    reference = make_reference("tblite", **campaign.reference.arguments())
    history: list[GenerationRecord] = []
    generation = 0
    while True:
        generation += 1
        work = folder / f"generation-{generation}"
        left = LABEL_BUDGET - CONTROLS_PER_GENERATION - len(frames)
        record, new = _generation(work, generation, model_file, reference, n_labels=min(left, LABELS_PER_GENERATION))
        model_file = work / "model.trepid"
        history.append(record)
        frames += new
        write_text_atomic(folder / "history.json", json.dumps([asdict(r) for r in history], indent=1) + "\n")
        worst = max(w.untrusted_share for w in record.walkers)
        logger.info("generation %d: %d labels, worst untrusted share %.4f", generation, len(frames), worst)
        hottest = walkers(generation) == walkers(generation + 1)
        if (hottest and worst <= CONVERGED_SHARE) or len(frames) + CONTROLS_PER_GENERATION >= LABEL_BUDGET:
            break
    final = folder / "model.trepid"
    BayesianForceField.load(model_file).save(final)
    write_frames(folder / "labels.extxyz", frames)
    return final


def read_frames_in(labels: Path) -> list[Atoms]:
    """Labelled frames of a folder, in the order of their names."""
    return [read_frames(path)[0] for path in sorted(labels.glob("label-*.extxyz"))]


def _generation(
    work: Path, generation: int, model_file: Path, reference: Reference, *, n_labels: int
) -> tuple[GenerationRecord, list[Atoms]]:
    """Explore, select, label, train; each step only where its result is not on disk yet."""
    done = work / "generation.json"
    if done.exists():
        stored = json.loads(done.read_text())
        stored["walkers"] = tuple(WalkerRecord(**w) for w in stored["walkers"])
        for kind in ("chosen", "control"):
            stored[kind] = Errors(**stored[kind]) if stored[kind] else None
        frames = read_frames_in(work / "labels") + read_frames_in(work / "control-labels")
        return GenerationRecord(**stored), _learnable(frames)
    work.mkdir(parents=True, exist_ok=True)
    model = BayesianForceField.load(model_file)
    runs = [explore(work / w.name, w, model_file, seed=100 * generation + k) for k, w in enumerate(walkers(generation))]
    chosen = _kept(work / "chosen.extxyz", lambda: choose(model, [a for r in runs for a in r.untrusted], n_labels))
    n_control = max(0, min(CONTROLS_PER_GENERATION, n_labels + CONTROLS_PER_GENERATION - len(chosen)))
    rng = np.random.default_rng(generation)
    everywhere = [atoms for r in runs for atoms in r.sampled]
    picks = rng.choice(len(everywhere), size=min(n_control, len(everywhere)), replace=False)
    control = _kept(work / "control.extxyz", lambda: [everywhere[k] for k in picks])
    new = _learnable(label_all(chosen, work / "labels", reference))
    new_control = _learnable(label_all(control, work / "control-labels", reference))
    before = Errors.of(model, new), Errors.of(model, new_control)
    model.update(new + new_control).optimize()
    model.save(work / "model.trepid")
    record = GenerationRecord(
        generation=generation,
        walkers=tuple(r.record for r in runs),
        n_chosen=len(chosen),
        n_labels=len(new) + len(new_control),
        chosen=before[0],
        control=before[1],
        noise_forces_eV_per_A=model.noise.forces,
    )
    write_text_atomic(done, json.dumps(asdict(record), indent=1) + "\n")
    return record, new + new_control


def _kept(path: Path, make: Callable[[], list[Atoms]]) -> list[Atoms]:
    """Frames of a file that is made once; no file for no frames."""
    if not path.exists():
        frames = make()
        if frames:
            write_frames(path, frames)
    return read_frames(path, require=()) if path.exists() else []


def _learnable(frames: Sequence[Atoms]) -> list[Atoms]:
    return [a for a in frames if np.linalg.norm(a.arrays["REF_forces"], axis=1).max() <= MAX_FORCE_EV_PER_A]


# ---- exploring


@dataclass(frozen=True)
class Explored:
    """The result of a run: its record, the frames with an untrusted atom, and frames at even distances in time."""

    record: WalkerRecord
    untrusted: list[Atoms]
    sampled: list[Atoms]


def explore(folder: Path, walker: Walker, model_file: Path, *, seed: int, sample_every: int = SAMPLE_EVERY) -> Explored:
    """Run a walker in LAMMPS, unless it has been run, and select from the frames it dumped."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    if not done.exists():
        write_data(folder / "start.data", walker.atoms())
        run_lammps(folder, _walk_script(walker, model_file.resolve(), seed), name="walk")
        write_text_atomic(done, "")
    n_untrusted, n_looked, largest, last_step = 0, 0, 0.0, 0
    untrusted, sampled = [], []
    for frame in read_dump(folder / "walk.dump"):
        uncertainty = frame.columns["f_u"]
        largest, last_step = max(largest, float(uncertainty.max())), frame.step
        n_untrusted += int((uncertainty > THRESHOLD_EV_PER_A).sum())
        n_looked += len(uncertainty)
        atoms = Atoms(f"Sn{len(uncertainty)}", frame.positions() - frame.origin, cell=frame.lengths)
        atoms.pbc = [True, True, False]
        atoms.info.update(walker=f"{folder.parent.name}/{walker.name}", step=frame.step)
        if uncertainty.max() > THRESHOLD_EV_PER_A:
            untrusted.append(atoms)
        if frame.step and frame.step % sample_every == 0:
            sampled.append(atoms)
    record = WalkerRecord(walker.name, last_step * TIMESTEP_PS, n_untrusted / n_looked, largest)
    return Explored(record, untrusted, sampled)


def _walk_script(walker: Walker, model_file: Path, seed: int) -> str:
    low, high = walker.temperatures_K
    if walker.start is Start.SQUEEZED:
        ensemble = f"fix md all nvt temp {low} {high} 0.2\nfix squeeze all deform 10 x scale 0.67 remap x"
    else:
        ensemble = f"fix md all npt temp {low} {high} 0.2 x 0 0 2.0 y 0 0 2.0 couple xy"
    return f"""\
units metal
atom_style atomic
boundary p p p
read_data start.data
pair_style trepid
pair_coeff * * "{model_file}" Sn
neighbor 1.5 bin
timestep {TIMESTEP_PS}
velocity all create {2 * low} {seed} dist gaussian
{ensemble}
fix still all momentum 100 linear 1 1 1
fix u all pair 10 trepid uncertainty 1
compute worst all reduce max f_u
variable worst equal c_worst
variable width equal (lx<ly)*lx+(lx>=ly)*ly
fix lost all halt 10 v_worst > {HALT_EV_PER_A} error continue message no
fix narrow all halt 100 v_width < {NARROWEST_A} error continue message no
dump frames all custom {DUMP_EVERY} walk.dump id x y z f_u
thermo 500
thermo_style custom step temp pe pxx pyy lx ly lz c_worst
run {round(walker.duration_ps / TIMESTEP_PS)}
"""


# ---- choosing and labelling


def choose(model: BayesianForceField, candidates: Sequence[Atoms], n: int, *, most: int = 150) -> list[Atoms]:
    """Select frames by greedy information gain over their most uncertain atoms.

    Candidates from one walk are near-copies; the covariance is conditioned on each selected one, which
    lowers the gain of the frames similar to it.

    Parameters
    ----------
    model : BayesianForceField
    candidates : sequence of Atoms
    n : int
        Frames to choose at most.
    most : int
        Candidates to consider; a longer list is thinned out evenly.
    """
    if not candidates or n < 1:
        return []
    kept = [candidates[k] for k in np.unique(np.linspace(0, len(candidates) - 1, most).astype(int))]
    rows = []
    for atoms in kept:
        uncertainty = model.predict(atoms, uncertainty="live").atom_uncertainty
        rows.append(model.features.force_rows_of(atoms, np.argsort(uncertainty)[-ATOMS_PER_FRAME:]))
    size = 3 * ATOMS_PER_FRAME
    covariance = model.posterior.covariance(np.concatenate(rows))
    noise = model.noise.forces**2
    chosen: list[Atoms] = []
    remaining = list(range(len(kept)))
    while remaining and len(chosen) < n:
        blocks = [covariance[size * k : size * (k + 1), size * k : size * (k + 1)] for k in remaining]
        gains = [float(np.linalg.slogdet(np.eye(size) + block / noise)[1]) for block in blocks]
        best = remaining.pop(int(np.argmax(gains)))
        own = slice(size * best, size * (best + 1))
        solved = np.linalg.solve(covariance[own, own] + noise * np.eye(size), covariance[own])
        covariance = covariance - covariance[:, own] @ solved
        atoms = kept[best].copy()
        atoms.info["information_gain_nats"] = max(gains)
        chosen.append(atoms)
    return chosen


def label_all(frames: Sequence[Atoms], folder: Path, reference: Reference) -> list[Atoms]:
    """Label frames, each once and for all: a file per label, a note where the reference failed."""
    folder.mkdir(parents=True, exist_ok=True)
    labelled = []
    for k, atoms in enumerate(frames, start=1):
        path, failed = folder / f"label-{k:04d}.extxyz", folder / f"failed-{k:04d}.txt"
        if failed.exists():
            continue
        if not path.exists():
            try:
                write_frames(path, reference.label(atoms))
            except LabelError as error:
                logger.warning("label %s failed: %s", path, error)
                write_text_atomic(failed, f"{error.reason.value}: {error}\n")
                continue
        labelled += read_frames(path)
    return labelled
