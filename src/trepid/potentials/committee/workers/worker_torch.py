"""What all torch backends share: graphs, energies and their derivatives, the training loop, weights files.

A backend supplies an `Architecture`: a module and the energies of its atoms as a function of the bond vectors. Everything
else is the same for all. With v_e the vector of edge e from atom i to atom j and g_e = dE/dv_e, the force on atom i is the sum
of g over edges that leave it less the sum over edges that reach it, and the strain derivative is sum_e v_e g_e.

Energies are `shift[species] + scale * network`: shifts per species by least squares over the training labels, the scale the
root mean square force. Shifts stay outside the network and in float64, because total energies of thousands of eV have no room
for meV in float32.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import complete_cell
from numpy.typing import NDArray
from worker_server import Evaluation, TrainRequest

FloatArray = NDArray[np.float64]
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
MAX_GRADIENT_NORM = 10.0
FINAL_RATE = 0.01
"""Learning rate at the end over that at the start."""
LOG_LINES = 20


@dataclass(frozen=True)
class Graph:
    """One or several frames as tensors.

    Attributes
    ----------
    species : (n_atoms,) int64 tensor
        Index into the model's species.
    edges : (2, n_edges) int64 tensor
        Centre and neighbour of every bond within the cutoff.
    vectors : (n_edges, 3) tensor
        From centre to neighbour, A.
    frame : (n_atoms,) int64 tensor
        Frame of every atom.
    n_frames : int
    """

    species: torch.Tensor
    edges: torch.Tensor
    vectors: torch.Tensor
    frame: torch.Tensor
    n_frames: int


@dataclass(frozen=True)
class Scale:
    """What the data say about scales.

    Attributes
    ----------
    energy : float
        Root mean square force component, eV/A, taken as the energy scale in eV.
    neighbours : float
        Mean number of neighbours within the cutoff.
    """

    energy: float
    neighbours: float


class Architecture(ABC):
    """A network of one package."""

    @abstractmethod
    def build(self, settings: dict[str, Any], numbers: Sequence[int], scale: Scale) -> torch.nn.Module:
        """New module for these elements with random weights (torch is seeded)."""

    @abstractmethod
    def foundation(self, path: str, numbers: Sequence[int]) -> tuple[torch.nn.Module, float]:
        """Module of a foundation model's file without its energy shifts, and its cutoff, A."""

    @abstractmethod
    def atom_energies(self, module: torch.nn.Module, graph: Graph, numbers: Sequence[int]) -> torch.Tensor:
        """Energies of the atoms (n_atoms,) before scale and shift."""


# ---- graphs


@dataclass
class Frame:
    """A frame with its bonds, in numpy; labels where it has them."""

    species: NDArray[np.int64]
    edges: NDArray[np.int64]
    vectors: FloatArray
    volume: float
    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None


def make_frame(atoms: Atoms, numbers: Sequence[int], cutoff: float) -> Frame:
    """Bonds of a frame.

    Raises
    ------
    ValueError
        An unknown element, or something is not finite.
    """
    index = {z: k for k, z in enumerate(numbers)}
    try:
        species = np.array([index[int(z)] for z in atoms.numbers], dtype=np.int64)
    except KeyError as error:
        raise ValueError(f"atomic number {error} is not described by this model") from error
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell[:]).all()):
        raise ValueError("positions and cell must be finite numbers")
    cell = np.ascontiguousarray(complete_cell(atoms.cell[:]), dtype=np.float64)
    pairs, shifts = neighbours(np.ascontiguousarray(atoms.positions, dtype=np.float64), cell, atoms.pbc, cutoff)
    vectors = atoms.positions[pairs[1]] - atoms.positions[pairs[0]] + shifts @ cell
    volume = abs(float(np.linalg.det(atoms.cell[:]))) if atoms.cell.rank == 3 else 0.0
    frame = Frame(species, pairs, vectors, volume)
    if "REF_energy" in atoms.info:
        frame.energy = float(atoms.info["REF_energy"])
    if "REF_forces" in atoms.arrays:
        frame.forces = np.asarray(atoms.arrays["REF_forces"], dtype=np.float64)
    if "REF_stress" in atoms.info and volume:
        frame.stress = np.asarray(atoms.info["REF_stress"], dtype=np.float64)
    return frame


def neighbours(
    positions: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.int64], FloatArray]:
    """Pairs (2, n_edges) and cell shifts (n_edges, 3) within the cutoff; vesin where it is installed, else ASE."""
    try:
        from vesin import NeighborList
    except ImportError:
        from ase.neighborlist import primitive_neighbor_list

        i, j, shifts = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
    else:
        search = NeighborList(cutoff=cutoff, full_list=True)
        i, j, shifts = search.compute(positions, cell, pbc, quantities="ijS")
    return np.array([i, j], dtype=np.int64), np.asarray(shifts, dtype=np.float64)


def collate(frames: Sequence[Frame], device: str, dtype: torch.dtype) -> Graph:
    """Several frames as one graph without bonds between them."""
    sizes = [len(f.species) for f in frames]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    edges = np.concatenate([f.edges + start for f, start in zip(frames, starts, strict=True)], axis=1)
    return Graph(
        species=torch.from_numpy(np.concatenate([f.species for f in frames])).to(device),
        edges=torch.from_numpy(edges).to(device),
        vectors=torch.from_numpy(np.concatenate([f.vectors for f in frames])).to(device, dtype),
        frame=torch.from_numpy(np.repeat(np.arange(len(frames)), sizes)).to(device),
        n_frames=len(frames),
    )


def derivatives(
    architecture: Architecture, module: torch.nn.Module, graph: Graph, numbers: Sequence[int], *, training: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Energies of the atoms (n,), forces (n, 3) and the derivative by each edge vector (n_edges, 3), before the scale."""
    vectors = graph.vectors.detach().requires_grad_(True)
    moved = Graph(graph.species, graph.edges, vectors, graph.frame, graph.n_frames)
    energies = architecture.atom_energies(module, moved, numbers)
    (slopes,) = torch.autograd.grad([energies.sum()], [vectors], create_graph=training)
    forces = torch.zeros((len(graph.species), 3), dtype=slopes.dtype, device=slopes.device)
    forces = forces.index_add(0, graph.edges[0], slopes).index_add(0, graph.edges[1], -slopes)
    return energies, forces, slopes


def strain_derivatives(graph: Graph, slopes: torch.Tensor) -> torch.Tensor:
    """dE/dstrain of every frame, (n_frames, 6), Voigt."""
    products = torch.stack(
        [(graph.vectors[:, a] * slopes[:, b] + graph.vectors[:, b] * slopes[:, a]) / 2 for a, b in _VOIGT], dim=1
    )
    total = torch.zeros((graph.n_frames, 6), dtype=slopes.dtype, device=slopes.device)
    return total.index_add(0, graph.frame[graph.edges[0]], products)


# ---- a trained model


class TorchModel:
    """A module with its scale and shifts; evaluates one frame."""

    def __init__(
        self,
        architecture: Architecture,
        module: torch.nn.Module,
        *,
        numbers: Sequence[int],
        cutoff: float,
        scale: float,
        shifts: FloatArray,
        device: str,
    ) -> None:
        self.architecture, self.module, self.numbers = architecture, module.eval(), tuple(numbers)
        self.cutoff, self.scale, self.shifts, self.device = cutoff, scale, shifts, device
        for parameter in module.parameters():
            parameter.requires_grad_(False)

    def evaluate(self, atoms: Atoms, *, stress: bool) -> Evaluation:
        """Energy, forces and, for a frame with a volume, stress."""
        frame = make_frame(atoms, self.numbers, self.cutoff)
        energies = self.shifts[frame.species]
        if frame.edges.shape[1] == 0:
            no_bonds = np.zeros(6) if stress and frame.volume else None
            return Evaluation(float(energies.sum()), np.zeros((len(atoms), 3)), no_bonds, energies)
        graph = collate([frame], self.device, torch.float32)
        network, forces, slopes = derivatives(self.architecture, self.module, graph, self.numbers, training=False)
        energies = energies + self.scale * network.detach().cpu().double().numpy()
        strain = None
        if stress and frame.volume:
            strain = self.scale * strain_derivatives(graph, slopes).cpu().double().numpy()[0] / frame.volume
        return Evaluation(float(energies.sum()), self.scale * forces.cpu().double().numpy(), strain, energies)


def load_model(architecture: Architecture, path: Path) -> TorchModel:
    """Read a weights file."""
    module, saved = _restore(architecture, path)
    return TorchModel(
        architecture,
        module.to(saved["device"]),
        numbers=saved["numbers"],
        cutoff=saved["cutoff"],
        scale=saved["scale"],
        shifts=np.array(saved["shifts"]),
        device=saved["device"],
    )


def _restore(architecture: Architecture, path: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    content = torch.load(path, weights_only=True)
    saved: dict[str, Any] = json.loads(content["header"])
    if saved["foundation"] is None:
        scale = Scale(saved["scale"], saved["neighbours"])
        module = architecture.build(saved["settings"], saved["numbers"], scale)
    else:
        if _check_sum(saved["foundation"]) != saved["foundation_sha256"]:
            raise ValueError(f"foundation model {saved['foundation']} is not the file that this member started from")
        module, _ = architecture.foundation(saved["foundation"], saved["numbers"])
    module.load_state_dict(content["weights"])
    return module, saved


def _save(path: Path, saved: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    cpu = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    torch.save({"header": json.dumps(saved), "weights": cpu}, path)


def _check_sum(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# ---- training


def train(architecture: Architecture, request: TrainRequest) -> dict[str, Any]:
    """Train on the frames of a request and write the weights.

    Raises
    ------
    ValueError
        A frame lacks energy or forces, or the loss is not finite.
    """
    s = request.settings
    torch.set_num_threads(max(1, torch.get_num_threads()))
    torch.manual_seed(request.seed)
    numbers = [int(atomic_numbers[symbol]) for symbol in s["species"]]
    module, saved, frames, validation = _start(architecture, request, numbers)
    fine_tune = request.initial is not None or saved["foundation"] is not None
    epochs = int(s["fine_tune_epochs"] if fine_tune else s["max_epochs"])
    rate = float(s["fine_tune_learning_rate"] if fine_tune else s["learning_rate"])
    loop = _Loop(architecture, module, saved, s, numbers)
    best = loop.run(frames, validation, epochs=epochs, rate=rate, rng=np.random.default_rng(request.seed))
    _save(request.output, saved, best.weights)
    return {"epochs": best.epochs, "best_epoch": best.epoch, "loss": best.loss}


def _start(
    architecture: Architecture, request: TrainRequest, numbers: list[int]
) -> tuple[torch.nn.Module, dict[str, Any], list[Frame], list[Frame]]:
    """Module, header of its file and frames; the module new, from a foundation model, or from earlier weights."""
    s = request.settings
    if request.initial is not None:
        module, saved = _restore(architecture, request.initial)
        saved = {**saved, "settings": s}
        cutoff = saved["cutoff"]
        frames = [make_frame(a, numbers, cutoff) for a in request.train]
        return module, saved, frames, [make_frame(a, numbers, cutoff) for a in request.validation]
    foundation, cutoff, known = s.get("foundation_model"), float(s["r_max_A"]), None
    if foundation is not None:
        foundation = str(Path(foundation).resolve())
        known, cutoff = architecture.foundation(foundation, numbers)
    frames = [make_frame(a, numbers, cutoff) for a in request.train]
    forces = np.concatenate([f.forces.ravel() for f in frames if f.forces is not None] or [np.ones(1)])
    n_atoms = sum(len(f.species) for f in frames)
    scale = Scale(
        energy=max(float(np.sqrt((forces**2).mean())), 1e-3) if known is None else 1.0,
        neighbours=max(sum(f.edges.shape[1] for f in frames) / n_atoms, 1.0),
    )
    module = architecture.build(s, numbers, scale) if known is None else known
    saved = {
        "numbers": numbers,
        "settings": s,
        "cutoff": cutoff,
        "scale": scale.energy,
        "neighbours": scale.neighbours,
        "device": s["device"],
        "foundation": foundation,
        "foundation_sha256": None if foundation is None else _check_sum(foundation),
        "shifts": _shifts(architecture, module, frames, numbers, s["device"], foundation is not None).tolist(),
    }
    return module, saved, frames, [make_frame(a, numbers, cutoff) for a in request.validation]


def _shifts(
    architecture: Architecture,
    module: torch.nn.Module,
    frames: list[Frame],
    numbers: list[int],
    device: str,
    subtract: bool,
) -> FloatArray:
    """Energy per atom of each species by least squares of minimum norm, eV; of what the network leaves, if `subtract`."""
    rows, values = [], []
    for frame in frames:
        if frame.energy is None:
            continue
        energy = frame.energy
        if subtract and frame.edges.shape[1]:
            graph = collate([frame], device, torch.float32)
            with torch.no_grad():
                energy -= float(architecture.atom_energies(module.to(device), graph, numbers).double().sum())
        rows.append(np.bincount(frame.species, minlength=len(numbers)))
        values.append(energy)
    if not rows:
        return np.zeros(len(numbers))
    return np.asarray(np.linalg.lstsq(np.array(rows, dtype=np.float64), np.array(values), rcond=None)[0])


@dataclass
class _Best:
    """The weights that are kept."""

    loss: float
    epoch: int
    epochs: int
    weights: dict[str, torch.Tensor]


class _Loop:
    """Adam with a cosine schedule, a running average of the weights, and the validation loss as the judge."""

    def __init__(
        self,
        architecture: Architecture,
        module: torch.nn.Module,
        saved: dict[str, Any],
        settings: dict[str, Any],
        numbers: list[int],
    ) -> None:
        self.architecture, self.numbers, self.settings = architecture, numbers, settings
        self.device = settings["device"]
        self.module = module.to(self.device)
        self.scale = float(saved["scale"])
        self.shifts = np.array(saved["shifts"])
        self.weights = [float(settings[f"{kind}_weight"]) for kind in ("energy", "forces", "stress")]

    def run(
        self, frames: list[Frame], validation: list[Frame], *, epochs: int, rate: float, rng: np.random.Generator
    ) -> _Best:
        """Train; gives the averaged weights of the best validation loss, or the last ones without validation frames."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=rate, amsgrad=True)
        batch_size = int(self.settings["batch_size"])
        n_batches = math.ceil(len(frames) / batch_size)
        average = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        best = _Best(math.inf, 0, 0, average)
        # The weights that training starts from are a candidate: fine-tuning never ends worse than it began.
        if validation:
            best = _Best(self._mean_loss(validation, batch_size), 0, 0, {k: v.clone() for k, v in average.items()})
        step, start = 0, time.perf_counter()
        for epoch in range(1, epochs + 1):
            self.module.train()
            order = rng.permutation(len(frames))
            total = 0.0
            for k in range(n_batches):
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step, epochs * n_batches)
                batch = [frames[i] for i in order[k * batch_size : (k + 1) * batch_size]]
                loss = self._loss(batch, training=True)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
                optimizer.step()
                step += 1
                total += float(loss.detach()) * len(batch)
                self._follow(average, min(float(self.settings["ema_decay"]), (1 + step) / (10 + step)))
            if not math.isfinite(total):
                raise ValueError(f"the training loss is {total} in epoch {epoch}: take a smaller learning_rate")
            loss_now = total / len(frames)
            if validation:
                current = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
                self.module.load_state_dict(average)
                loss_now = self._mean_loss(validation, batch_size)
                self.module.load_state_dict(current)
            if not validation or loss_now < best.loss:
                best = _Best(loss_now, epoch, epoch, {k: v.clone() for k, v in average.items()})
            best.epochs = epoch
            if epoch % max(1, epochs // LOG_LINES) == 0:
                seconds = time.perf_counter() - start
                line = f"epoch {epoch}: training {total / len(frames):.4g}, kept {best.loss:.4g}, {seconds:.0f} s"
                print(line, file=sys.stderr, flush=True)  # noqa: T201 (the log)
            if validation and epoch - best.epoch >= int(self.settings["patience"]):
                break
        return best

    def _follow(self, average: dict[str, torch.Tensor], decay: float) -> None:
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)

    def _mean_loss(self, frames: list[Frame], batch_size: int) -> float:
        self.module.eval()
        total = 0.0
        for k in range(0, len(frames), batch_size):
            batch = frames[k : k + batch_size]
            total += float(self._loss(batch, training=False)) * len(batch)
        return total / len(frames)

    def _loss(self, frames: list[Frame], *, training: bool) -> torch.Tensor:
        """Weighted mean squares over the squared energy scale; see `NetworkSettings` for the weights."""
        graph = collate(frames, self.device, torch.float32)
        energies, forces, slopes = derivatives(self.architecture, self.module, graph, self.numbers, training=training)
        sizes = np.array([len(f.species) for f in frames])
        loss = torch.zeros((), device=self.device)
        energy_weight, forces_weight, stress_weight = self.weights
        # Before the scale: labels are divided by it.
        if energy_weight:
            total = torch.zeros(len(frames), dtype=energies.dtype, device=self.device).index_add(0, graph.frame, energies)
            has = np.array([f.energy is not None for f in frames])
            label = np.array([(0.0 if f.energy is None else f.energy) - self.shifts[f.species].sum() for f in frames])
            error = (total - self._tensor(label / self.scale)) * self._tensor(has / np.sqrt(sizes))
            loss = loss + energy_weight * (error**2).sum() / max(int(has.sum()), 1)
        if forces_weight:
            label = np.concatenate([np.zeros((len(f.species), 3)) if f.forces is None else f.forces for f in frames])
            mask = np.repeat([f.forces is not None for f in frames], sizes)
            error = (forces - self._tensor(label / self.scale)) * self._tensor(mask)[:, None]
            loss = loss + forces_weight * (error**2).sum() / max(3 * int(mask.sum()), 1)
        if stress_weight:
            factor = np.array([0.0 if f.stress is None else f.volume for f in frames])
            label = np.array([np.zeros(6) if f.stress is None else f.stress for f in frames]) * factor[:, None]
            strain = strain_derivatives(graph, slopes) * self._tensor(factor > 0)[:, None]
            error = (strain - self._tensor(label / self.scale)) * self._tensor(1 / np.sqrt(sizes))[:, None]
            loss = loss + stress_weight * (error**2).sum() / max(6 * int((factor > 0).sum()), 1)
        return loss

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def _schedule(step: int, n_steps: int) -> float:
    """Factor of the learning rate: a short rise, then half a cosine down to `FINAL_RATE`."""
    rise = max(1, min(20, n_steps // 20))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, n_steps - rise)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))
