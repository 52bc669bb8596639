"""What all torch backends share: graphs, energies and their derivatives, the training loop, weights files.

A backend supplies an `Architecture`: a module and the energies of its atoms as a function of the bond vectors. Everything
else is the same for all. With v_e the vector of edge e from atom i to atom j and g_e = dE/dv_e, the force on atom i is the sum
of g over edges that leave it less the sum over edges that reach it, and the strain derivative is sum_e v_e g_e.

Energies are `shift[species] + scale * network`: shifts per species by least squares over the training labels, the scale the
root mean square force. Shifts stay outside the network and in float64, because total energies of thousands of eV leave no digits
for meV in float32.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from worker_channel import FloatArray
from worker_compile import compiled
from worker_foundation import foundation_of
from worker_server import Evaluation

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_NOT_FORM = (
    "max_epochs", "fine_tune_epochs", "learning_rate", "fine_tune_learning_rate", "patience", "batch_size", "ema_decay",
    "energy_weight", "forces_weight", "stress_weight", "strong_force", "foundation_model", "device", "python", "compile",
    "species",
)  # fmt: skip
"""Settings on which the compiled functions do not depend."""


@dataclass(frozen=True)
class Graph:
    """One frame, or several without bonds between them, as tensors.

    Attributes
    ----------
    species : (n_atoms,) int64 tensor
        Index into the model's species.
    edges : (2, n_edges) int64 tensor
        Centre and neighbour of every bond within the cutoff.
    vectors : (n_edges, 3) tensor
        From centre to neighbour, A.
    """

    species: torch.Tensor
    edges: torch.Tensor
    vectors: torch.Tensor


@dataclass(frozen=True)
class Scale:
    """Scales of the data.

    Attributes
    ----------
    energy : float
        Root mean square force component, eV/A, taken as the energy scale in eV.
    neighbours : float
        Mean number of neighbours within the cutoff, rounded to a power of two: a norm only, and one compiled library then
        serves all members.
    """

    energy: float
    neighbours: float


Call = Callable[[dict[str, Any]], Any]
"""A module applied to its dictionary of inputs."""


class Architecture(ABC):
    """A network of one package."""

    name: str
    """With the package's version."""

    @abstractmethod
    def build(self, settings: dict[str, Any], numbers: Sequence[int], scale: Scale) -> torch.nn.Module:
        """New module for these elements with random weights (torch is seeded)."""

    @abstractmethod
    def foundation(self, path: str, numbers: Sequence[int]) -> tuple[torch.nn.Module, float]:
        """Module of a foundation model's file without its energy shifts, and its cutoff, A."""

    @abstractmethod
    def atom_energies(self, call: Call, graph: Graph, numbers: Sequence[int]) -> torch.Tensor:
        """Energies of the atoms (n_atoms,) before scale and shift; `call` is the module or a stand-in."""


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


def collate(frames: Sequence[Frame], device: str) -> Graph:
    """Several frames as one graph without bonds between them."""
    starts = np.cumsum([0, *(len(f.species) for f in frames[:-1])])
    edges = np.concatenate([f.edges + start for f, start in zip(frames, starts, strict=True)], axis=1)
    return Graph(
        species=torch.from_numpy(np.concatenate([f.species for f in frames])).to(device),
        edges=torch.from_numpy(edges).to(device),
        vectors=torch.from_numpy(np.concatenate([f.vectors for f in frames])).to(device, torch.float32),
    )


def vector_inputs(graph: Graph) -> dict[str, torch.Tensor]:
    """Inputs for models that compute bond vectors from positions and shifts: all atoms at the origin, the shifts the vectors.

    The names are those of mace, which so3krates-torch shares. All frames of a graph are one; energies of atoms are the same.
    """
    n, like = graph.species.shape[0], graph.vectors
    nodes = torch.zeros((n,), dtype=torch.int64, device=like.device)
    return {
        "positions": torch.zeros((n, 3), dtype=like.dtype, device=like.device),
        "shifts": like,
        "unit_shifts": torch.zeros_like(like),
        "edge_index": graph.edges,
        "cell": torch.eye(3, dtype=like.dtype, device=like.device),
        "batch": nodes,
        "ptr": torch.zeros((2,), dtype=torch.int64, device=like.device),
        "head": torch.zeros((1,), dtype=torch.int64, device=like.device),
    }


def one_hot(index: torch.Tensor, n: int, dtype: torch.dtype) -> torch.Tensor:
    """(n_atoms, n) from indices (n_atoms,)."""
    return torch.eye(n, dtype=dtype, device=index.device)[index]


# ---- energies and derivatives


class Network:
    """A module as functions of its weights and a graph, compiled where `key` is given and it is possible.

    Parameters
    ----------
    architecture : Architecture
    module : Module
    numbers : sequence of int
        Atomic numbers of the species.
    key : dict or None
        Everything that the module's form depends on; None: never compile.
    """

    def __init__(
        self, architecture: Architecture, module: torch.nn.Module, numbers: Sequence[int], key: dict[str, Any] | None
    ) -> None:
        self.architecture, self.module, self.numbers = architecture, module, tuple(numbers)
        self.key = (
            None if key is None else {**key, "name": architecture.name, "numbers": list(numbers), "code": self._code()}
        )
        self.tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self.trained = [name for name, p in module.named_parameters() if p.requires_grad]
        self._compiled: dict[str, Callable[..., Any] | None] = {}

    def _code(self) -> str:
        """Check sum of the code that is compiled."""
        parts = (Network, strain_products, vector_inputs, one_hot, type(self.architecture))
        return hashlib.sha256("".join(inspect.getsource(part) for part in parts).encode()).hexdigest()

    @property
    def is_compiled(self) -> bool:
        """Whether something of it runs compiled."""
        return any(self._compiled.values())

    def weights(self) -> list[torch.Tensor]:
        """The present weights and constants, in the order in which the functions take them."""
        return [t.detach() for t in self.tensors.values()]

    def derivatives(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Energies of the atoms (n,), forces (n, 3) and dE by every edge vector (n_edges, 3), before the scale."""
        arguments = [*self.weights(), graph.species, graph.edges, graph.vectors]
        sizes: list[dict[int, str] | None] = [{0: "atoms"}, {1: "edges"}, {0: "edges"}]
        return tuple(self._run("evaluate", self._derivatives, arguments, sizes))

    def loss(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Loss of a batch and its slopes by the trained weights."""
        fields = [t for t in batch.tensors() if t is not None]
        sizes: list[dict[int, str] | None] = [{0: "atoms"}, {1: "edges"}, {0: "edges"}, {0: "atoms"}, None, None]
        sizes += [{0: "atoms"}, {0: "atoms"}] + [None, None] * (batch.strain is not None)
        kind = f"train {batch.energy.shape[0]} {batch.strain is not None}"
        loss, *slopes = self._run(kind, self._loss, [*self.weights(), *fields], sizes)
        return loss, slopes

    def _run(
        self,
        kind: str,
        function: Callable[..., Any],
        arguments: list[torch.Tensor],
        sizes: list[dict[int, str] | None],
    ) -> Any:
        n_atoms, n_edges = (arguments[len(self.tensors) + k].shape[k] for k in (0, 1))
        # A library is not made for sizes below 2.
        if self.key is not None and n_atoms > 1 and n_edges > 1:
            if kind not in self._compiled:
                fixed: list[dict[int, str] | None] = [None] * len(self.tensors)
                key = {**self.key, "kind": kind, "trained": self.trained}
                self._compiled[kind] = compiled(key, function, arguments, [*fixed, *sizes])
            library = self._compiled.get(kind)
            if library is not None:
                return library(*arguments)
        return function(*arguments)

    def _split(self, arguments: Sequence[torch.Tensor]) -> tuple[dict[str, torch.Tensor], Sequence[torch.Tensor]]:
        n = len(self.tensors)
        return dict(zip(self.tensors, arguments[:n], strict=True)), arguments[n:]

    def _energies(
        self, weights: dict[str, torch.Tensor], graph: Graph, *, training: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        energies = self.architecture.atom_energies(
            lambda data: torch.func.functional_call(self.module, weights, (data,)), graph, self.numbers
        ).to(graph.vectors.dtype)
        (slopes,) = torch.autograd.grad([energies.sum()], [graph.vectors], create_graph=training)
        forces = torch.zeros((graph.species.shape[0], 3), dtype=slopes.dtype, device=slopes.device)
        forces = forces.index_add(0, graph.edges[0], slopes).index_add(0, graph.edges[1], -slopes)
        return energies, forces, slopes

    def _derivatives(self, *arguments: torch.Tensor) -> list[torch.Tensor]:
        weights, (species, edges, vectors) = self._split(arguments)
        graph = Graph(species, edges, vectors.detach().requires_grad_(True))
        energies, forces, slopes = self._energies(weights, graph, training=False)
        return [energies.detach(), forces, slopes]

    def _loss(self, *arguments: torch.Tensor) -> list[torch.Tensor]:
        weights, fields = self._split(arguments)
        weights = {k: w.detach().requires_grad_(True) if k in self.trained else w for k, w in weights.items()}
        batch = Batch(*fields)
        graph = Graph(batch.species, batch.edges, batch.vectors.detach().requires_grad_(True))
        energies, forces, slopes = self._energies(weights, graph, training=True)
        total = torch.zeros_like(batch.energy).index_add(0, batch.frame, energies)
        loss = (((total - batch.energy) * batch.energy_factor) ** 2).sum()
        loss = loss + (((forces - batch.forces) * batch.forces_factor[:, None]) ** 2).sum()
        if batch.strain is not None and batch.strain_factor is not None:
            products = strain_products(graph.vectors, slopes)
            strain = torch.zeros_like(batch.strain).index_add(0, batch.frame[batch.edges[0]], products)
            loss = loss + (((strain - batch.strain) * batch.strain_factor[:, None]) ** 2).sum()
        trained = [weights[name] for name in self.trained]
        slopes_of = torch.autograd.grad([loss], trained, allow_unused=True)
        return [
            loss.detach(),
            *(torch.zeros_like(w) if g is None else g for w, g in zip(trained, slopes_of, strict=True)),
        ]


def strain_products(vectors: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """Share of every edge in dE/dstrain, (n_edges, 6), Voigt; symmetric part."""
    return torch.stack([(vectors[:, a] * slopes[:, b] + vectors[:, b] * slopes[:, a]) / 2 for a, b in _VOIGT], dim=1)


@dataclass(frozen=True)
class Batch:
    """Frames and labels of one training step; labels over the energy scale, factors contain weights and 0 where no label is.

    Attributes
    ----------
    species, edges, vectors
        As in `Graph`.
    frame : (n_atoms,) int64 tensor
        Frame of every atom.
    energy, energy_factor : (batch_size,) tensors
    forces : (n_atoms, 3) tensor
    forces_factor : (n_atoms,) tensor
    strain : (batch_size, 6) tensor or None
        Stress times volume.
    strain_factor : (batch_size,) tensor or None
    """

    species: torch.Tensor
    edges: torch.Tensor
    vectors: torch.Tensor
    frame: torch.Tensor
    energy: torch.Tensor
    energy_factor: torch.Tensor
    forces: torch.Tensor
    forces_factor: torch.Tensor
    strain: torch.Tensor | None = None
    strain_factor: torch.Tensor | None = None

    def tensors(self) -> list[torch.Tensor | None]:
        """All fields in their order."""
        return [getattr(self, name) for name in self.__dataclass_fields__]


# ---- a trained model


class TorchModel:
    """A network with its scale and shifts; evaluates one frame."""

    def __init__(self, network: Network, *, cutoff: float, scale: float, shifts: FloatArray, device: str) -> None:
        self.network, self.numbers = network, network.numbers
        self.cutoff, self.scale, self.shifts, self.device = cutoff, scale, shifts, device
        network.module.eval()

    def evaluate(self, atoms: Atoms, *, stress: bool) -> Evaluation:
        """Energy, forces and, for a frame with a volume, stress."""
        return self.evaluate_frame(make_frame(atoms, self.numbers, self.cutoff), stress=stress)

    def evaluate_frame(self, frame: Frame, *, stress: bool) -> Evaluation:
        """The same of a frame with its bonds."""
        shifts = self.shifts[frame.species]
        if frame.edges.shape[1] == 0:
            no_bonds = np.zeros(6) if stress and frame.volume else None
            return Evaluation(float(shifts.sum()), np.zeros((len(shifts), 3)), no_bonds, shifts)
        network, forces, slopes = (_numpy(t) for t in self.network.derivatives(collate([frame], self.device)))
        energies = shifts + self.scale * network
        strain = None
        if stress and frame.volume:
            tensor = frame.vectors.T @ slopes
            strain = self.scale * np.array([(tensor[a, b] + tensor[b, a]) / 2 for a, b in _VOIGT]) / frame.volume
        return Evaluation(float(energies.sum()), self.scale * forces, strain, energies)


def _numpy(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def load_model(architecture: Architecture, path: Path) -> TorchModel:
    """Read a weights file."""
    module, saved = restore(architecture, path)
    return assembled(architecture, module, saved)


def assembled(architecture: Architecture, module: torch.nn.Module, saved: dict[str, Any]) -> TorchModel:
    """A module with the header of its file."""
    device = saved["settings"]["device"]
    network = Network(architecture, module.to(device), saved["numbers"], _key(saved))
    return TorchModel(
        network, cutoff=saved["cutoff"], scale=saved["scale"], shifts=np.array(saved["shifts"]), device=device
    )


def _key(saved: dict[str, Any]) -> dict[str, Any] | None:
    """What the form of the network depends on; None where it is not to be compiled."""
    settings = saved["settings"]
    if not settings["compile"] or settings["device"] != "cpu":
        return None
    form = {name: value for name, value in settings.items() if name not in _NOT_FORM}
    return {**form, "neighbours": saved["neighbours"], "foundation_sha256": saved["foundation_sha256"]}


def restore(architecture: Architecture, path: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Module and header of a weights file."""
    torch.set_default_dtype(torch.float32)
    content = torch.load(path, weights_only=True)
    saved: dict[str, Any] = json.loads(content["header"])
    foundation = foundation_of(saved)
    if foundation is None:
        scale = Scale(saved["scale"], saved["neighbours"])
        module = architecture.build(saved["settings"], saved["numbers"], scale)
    else:
        module, _ = architecture.foundation(foundation, saved["numbers"])
    module.load_state_dict(content["weights"])
    return module, saved


def save(path: Path, saved: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Write a weights file."""
    cpu = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    torch.save({"header": json.dumps(saved), "weights": cpu}, path)
