"""The training loop that all torch backends share: Adam, a cosine schedule, a running average of the weights."""

from __future__ import annotations

import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray
from worker_foundation import check_sum
from worker_server import TrainRequest, serve
from worker_torch import (
    Architecture,
    Batch,
    FloatArray,
    Frame,
    Scale,
    TorchModel,
    assembled,
    collate,
    load_model,
    make_frame,
    restore,
    save,
)
from worker_weights import trust_in

MAX_GRADIENT_NORM = 10.0
FINAL_RATE = 0.01
"""Learning rate at the end over that at the start."""
SECOND_MOMENT = 0.99
"""Memory of Adam's squared gradients. They fall by orders of magnitude in a training of a few thousand steps; a longer memory
(or AMSGrad, which keeps the maximum) keeps the steps small for too long."""
LOG_LINES = 20


def train(architecture: Architecture, request: TrainRequest) -> dict[str, Any]:
    """Train on the frames of a request and write the weights.

    Raises
    ------
    ValueError
        A frame lacks energy or forces, or the loss is not finite.
    """
    s = request.settings
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(request.seed)
    numbers = [int(atomic_numbers[symbol]) for symbol in s["species"]]
    module, saved, frames, validation = _start(architecture, request, numbers)
    fine_tune = request.initial is not None or saved["foundation"] is not None
    epochs = int(s["fine_tune_epochs"] if fine_tune else s["max_epochs"])
    rate = float(s["fine_tune_learning_rate"] if fine_tune else s["learning_rate"])
    loop = _Loop(assembled(architecture, module, saved), s, strong_force=request.strong_force_eV_per_A)
    best = loop.run(frames, validation, epochs=epochs, rate=rate, rng=np.random.default_rng(request.seed))
    save(request.output, saved, best.weights)
    compiled_now = loop.network.is_compiled
    return {"epochs": best.epochs, "best_epoch": best.epoch, "loss": best.loss, "compiled": compiled_now}


def _start(
    architecture: Architecture, request: TrainRequest, numbers: list[int]
) -> tuple[torch.nn.Module, dict[str, Any], list[Frame], list[Frame]]:
    """Module, header of its file and frames; the module new, from a foundation model, or from earlier weights."""
    s = request.settings
    if request.initial is not None:
        module, saved = restore(architecture, request.initial)
        saved = {**saved, "settings": s}
        cutoff = saved["cutoff"]
        frames = [make_frame(a, numbers, cutoff) for a in request.train]
        return module, saved, frames, [make_frame(a, numbers, cutoff) for a in request.validation]
    foundation, cutoff, given = s.get("foundation_model"), float(s["r_max_A"]), None
    if foundation is not None:
        foundation = str(Path(foundation).resolve())
        given, cutoff = architecture.foundation(foundation, numbers)
    frames = [make_frame(a, numbers, cutoff) for a in request.train]
    forces = np.concatenate([f.forces.ravel() for f in frames if f.forces is not None] or [np.ones(1)])
    n_atoms = sum(len(f.species) for f in frames)
    scale = Scale(
        energy=max(float(np.sqrt((forces**2).mean())), 1e-3) if given is None else 1.0,
        neighbours=2.0 ** round(math.log2(max(sum(f.edges.shape[1] for f in frames) / n_atoms, 1.0))),
    )
    module = architecture.build(s, numbers, scale) if given is None else given
    saved = {
        "numbers": numbers,
        "settings": s,
        "cutoff": cutoff,
        "scale": scale.energy,
        "neighbours": scale.neighbours,
        "foundation": foundation,
        "foundation_sha256": None if foundation is None else check_sum(foundation),
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
            graph = collate([frame], device)
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
    """Adam with a cosine schedule, a running average of the weights, and the validation loss as criterion.

    `strong_force`, eV/A: `TrainRequest.strong_force_eV_per_A`.
    """

    def __init__(self, model: TorchModel, settings: dict[str, Any], *, strong_force: float) -> None:
        self.model, self.network, self.settings = model, model.network, settings
        self.strong_force = strong_force
        self.energy_weight, self.forces_weight, self.stress_weight = (
            float(settings[f"{kind}_weight"]) for kind in ("energy", "forces", "stress")
        )

    def run(
        self, frames: list[Frame], validation: list[Frame], *, epochs: int, rate: float, rng: np.random.Generator
    ) -> _Best:
        """Train; gives the averaged weights of the best validation loss, or the last ones without validation frames."""
        module = self.network.module
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=rate, betas=(0.9, SECOND_MOMENT))
        batch_size = int(self.settings["batch_size"])
        n_batches = math.ceil(len(frames) / batch_size)
        average = {k: v.detach().clone() for k, v in module.state_dict().items()}
        # The weights that training starts from are a candidate: fine-tuning does not end with a larger loss.
        start_loss = self._validation_loss(validation) if validation else math.inf
        best = _Best(start_loss, 0, 0, {k: v.clone() for k, v in average.items()})
        step, start = 0, time.perf_counter()
        for epoch in range(1, epochs + 1):
            order = rng.permutation(len(frames))
            total = 0.0
            for k in range(n_batches):
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step, epochs * n_batches)
                chosen = [frames[i] for i in order[k * batch_size : (k + 1) * batch_size]]
                loss, slopes = self.network.loss(self._batch(chosen, batch_size))
                for parameter, slope in zip(trained, slopes, strict=True):
                    parameter.grad = slope
                torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
                optimizer.step()
                step += 1
                total += float(loss) * len(chosen)
                self._follow(average, min(float(self.settings["ema_decay"]), (1 + step) / (10 + step)))
            training_loss = total / len(frames)
            if not math.isfinite(total):
                raise ValueError(f"the training loss is {total} in epoch {epoch}: take a smaller learning_rate")
            if validation:
                current = {k: v.detach().clone() for k, v in module.state_dict().items()}
                module.load_state_dict(average)
                criterion = self._validation_loss(validation)
                module.load_state_dict(current)
            else:
                criterion = training_loss
            if not validation or criterion < best.loss:
                best = _Best(criterion, epoch, epoch, {k: v.clone() for k, v in average.items()})
            best.epochs = epoch
            if epoch % max(1, epochs // LOG_LINES) == 0:
                seconds = time.perf_counter() - start
                line = f"epoch {epoch}: training {training_loss:.4g}, criterion {criterion:.4g}, {seconds:.0f} s"
                print(line, file=sys.stderr, flush=True)  # noqa: T201 (the log)
            if validation and epoch - best.epoch >= int(self.settings["patience"]):
                break
        return best

    def _follow(self, average: dict[str, torch.Tensor], decay: float) -> None:
        for name, value in self.network.module.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)

    def _validation_loss(self, frames: list[Frame]) -> float:
        """The training loss over frames, from the evaluating function."""
        total = 0.0
        for f in frames:
            p = self.model.evaluate_frame(f, stress=True)
            n = len(f.species)
            of_frame, of_atoms = self._trust(f)
            if f.energy is not None:
                total += self.energy_weight * (of_frame * (p.energy - f.energy)) ** 2 / n
            if f.forces is not None:
                total += self.forces_weight * float(((of_atoms[:, None] * (p.forces - f.forces)) ** 2).mean())
            if f.stress is not None and p.stress is not None:
                errors = of_frame * (p.stress - f.stress) * f.volume
                total += self.stress_weight * float((errors**2).mean()) / n
        return total / len(frames) / self.model.scale**2

    def _trust(self, frame: Frame) -> tuple[float, FloatArray]:
        """Factors of the energy and stress of a frame, and of the forces on its atoms (n_atoms,), 0 for unknown ones."""
        if frame.forces is None:
            return 1.0, np.zeros(len(frame.species))
        factors = trust_in(frame.forces, self.strong_force)
        return float(factors.min(initial=1.0)), factors

    def _batch(self, frames: list[Frame], batch_size: int) -> Batch:
        """Frames with labels; frames are padded to the batch size with empty ones, so that sizes of labels are fixed."""
        graph = collate(frames, self.model.device)
        scale, shifts, n = self.model.scale, self.model.shifts, len(frames)
        sizes = np.array([len(f.species) for f in frames])
        energy, strain = np.zeros(batch_size), np.zeros((batch_size, 6))
        has_energy, has_stress = np.zeros(batch_size), np.zeros(batch_size)
        trust = [self._trust(f) for f in frames]
        for k, (f, (of_frame, _)) in enumerate(zip(frames, trust, strict=True)):
            if f.energy is not None:
                energy[k], has_energy[k] = (f.energy - shifts[f.species].sum()) / scale, of_frame
            if f.stress is not None:
                strain[k], has_stress[k] = f.stress * f.volume / scale, of_frame
        has_forces = np.concatenate([of_atoms for _, of_atoms in trust])
        forces = [np.zeros((len(f.species), 3)) if f.forces is None else f.forces / scale for f in frames]
        root_size = np.ones(batch_size)
        root_size[:n] = np.sqrt(sizes)

        def factor(has: FloatArray, weight: float, components: int) -> FloatArray:
            return np.asarray(has * math.sqrt(weight / max(components * int(np.count_nonzero(has)), 1)))

        with_stress = self.stress_weight > 0
        tensor = self._tensor
        return Batch(
            species=graph.species,
            edges=graph.edges,
            vectors=graph.vectors,
            frame=torch.from_numpy(np.repeat(np.arange(n), sizes)).to(self.model.device),
            energy=tensor(energy),
            energy_factor=tensor(factor(has_energy, self.energy_weight, 1) / root_size),
            forces=tensor(np.concatenate(forces)),
            forces_factor=tensor(factor(has_forces, self.forces_weight, 3)),
            strain=tensor(strain) if with_stress else None,
            strain_factor=tensor(factor(has_stress, self.stress_weight, 6) / root_size) if with_stress else None,
        )

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.model.device)


def _schedule(step: int, n_steps: int) -> float:
    """Factor of the learning rate: a short rise, then half a cosine down to `FINAL_RATE`."""
    rise = max(1, min(20, n_steps // 20))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, n_steps - rise)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def serve_architecture(backend: str, architecture: Architecture) -> None:
    """Serve requests for networks of one architecture until standard input closes: all that a worker script does."""
    logging.getLogger().setLevel(logging.WARNING)
    serve(
        backend,
        architecture.name.rsplit(maxsplit=1)[1],
        lambda request: train(architecture, request),
        lambda path: load_model(architecture, path),
    )
