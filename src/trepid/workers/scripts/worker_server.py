"""The loop of a worker: one request, one response, until standard input closes.

Verbs
-----
hello      -> backend, version of the package
train      train, validation (extxyz text, labels REF_energy, REF_forces, REF_stress), settings,
           strong_force_eV_per_A, seed, initial (weights file of an earlier training or null), output (path) -> report; writes
           the weights to `output`
load       member, path -> ok
evaluate   members, stress (bool); arrays numbers, positions, cell, pbc -> arrays energy (m,), forces (m, n, 3) and, where the
           model has them, stress (m, 6) and atom_energies (m, n)

A response with "error" gives the reason in one line; the traceback goes to standard error, which is a log file.
"""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from ase import Atoms
from ase.io import read
from worker_channel import Arrays, ChannelError, FloatArray, receive, send


@dataclass(frozen=True)
class Evaluation:
    """Energy (eV), forces (n, 3) (eV/A), stress (6,) (eV/A^3, Voigt, tension positive), energies of the atoms (n,)."""

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    atom_energies: FloatArray | None = None


@dataclass(frozen=True)
class TrainRequest:
    """The input of a training.

    Attributes
    ----------
    train, validation : list of Atoms
        Labels under REF_energy, REF_forces, REF_stress. `validation` may be empty.
    settings : dict
        The backend's settings.
    strong_force_eV_per_A : float
        Labels of stronger forces are to weigh less (`worker_weights.trust_in`), eV/A; 0: all weigh the same.
    seed : int
    initial : Path or None
        Weights to start from.
    output : Path
        Where the weights go.
    """

    train: list[Atoms]
    validation: list[Atoms]
    settings: dict[str, Any]
    strong_force_eV_per_A: float
    seed: int
    initial: Path | None
    output: Path


class Model(Protocol):
    """A trained model."""

    def evaluate(self, atoms: Atoms, *, stress: bool) -> Evaluation:
        """Energy and forces of one frame; the stress where it is requested and the frame has a volume."""


def serve(
    backend: str,
    version: str,
    train: Callable[[TrainRequest], dict[str, Any]],
    load: Callable[[Path], Model],
) -> None:
    """Serve requests until standard input closes.

    Parameters
    ----------
    backend, version : str
        Response to "hello".
    train : callable
        Writes a weights file and returns a report of plain types.
    load : callable
        Reads a weights file.
    """
    models: dict[int, Model] = {}
    serve_requests(lambda header, arrays: _answer(header, arrays, backend, version, train, load, models))


def serve_requests(answer: Callable[[dict[str, Any], Arrays], tuple[dict[str, Any], Arrays]]) -> None:
    """Answer requests until standard input closes, with "error" for those that raise one.

    Parameters
    ----------
    answer : callable
        Header and arrays of a request -> those of the response.
    """
    requests, answers = _take_channel()
    while True:
        header, arrays = requests.get()
        try:
            told, out = answer(header, arrays)
        except Exception as error:
            traceback.print_exc()
            message = " ".join(f"{type(error).__name__}: {error}".split())
            told, out = {"error": message[:400]}, {}
        send(answers, told, out)


def frame_of(arrays: Arrays) -> Atoms:
    """The frame of a request."""
    return Atoms(arrays["numbers"], arrays["positions"], cell=arrays["cell"], pbc=arrays["pbc"])


def _answer(
    header: dict[str, Any],
    arrays: Arrays,
    backend: str,
    version: str,
    train: Callable[[TrainRequest], dict[str, Any]],
    load: Callable[[Path], Model],
    models: dict[int, Model],
) -> tuple[dict[str, Any], Arrays]:
    verb = header["verb"]
    if verb == "hello":
        return {"backend": backend, "version": version}, {}
    if verb == "train":
        initial = header["initial"]
        request = TrainRequest(
            train=_frames(header["train"]),
            validation=_frames(header["validation"]),
            settings=header["settings"],
            strong_force_eV_per_A=float(header["strong_force_eV_per_A"]),
            seed=int(header["seed"]),
            initial=None if initial is None else Path(initial),
            output=Path(header["output"]),
        )
        return {"report": train(request)}, {}
    if verb == "load":
        models[int(header["member"])] = load(Path(header["path"]))
        return {"ok": True}, {}
    if verb == "evaluate":
        atoms = frame_of(arrays)
        results = [models[int(k)].evaluate(atoms, stress=bool(header["stress"])) for k in header["members"]]
        out: Arrays = {
            "energy": np.array([r.energy for r in results], dtype=np.float64),
            "forces": np.array([r.forces for r in results], dtype=np.float64),
        }
        if all(r.stress is not None for r in results):
            out["stress"] = np.array([r.stress for r in results], dtype=np.float64)
        if all(r.atom_energies is not None for r in results):
            out["atom_energies"] = np.array([r.atom_energies for r in results], dtype=np.float64)
        return {"ok": True}, out
    raise ValueError(f"unknown verb {verb!r}")


def _frames(text: str) -> list[Atoms]:
    if not text:
        return []
    frames = read(io.StringIO(text), format="extxyz", index=":")
    assert isinstance(frames, list)
    return frames


def _take_channel() -> tuple[queue.Queue[tuple[dict[str, Any], Arrays]], IO[bytes]]:
    """Requests and the stream for responses; whatever is printed from now on goes to standard error.

    Requests are read in a thread: when standard input closes, because trepid ended or was killed, the worker ends at once,
    in the middle of a training too.
    """
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    requests: queue.Queue[tuple[dict[str, Any], Arrays]] = queue.Queue()

    def read_requests() -> None:
        while True:
            try:
                requests.put(receive(incoming))
            except ChannelError as error:
                print(f"worker ends: {error}", file=sys.stderr, flush=True)  # noqa: T201 (the log)
                os._exit(0)

    threading.Thread(target=read_requests, daemon=True).start()
    return requests, outgoing
