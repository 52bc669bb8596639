"""Compiled functions of a network, made once per architecture and kept on disk.

Small networks spend most of their time between kernels. A function of (weights, graph) is traced with its derivatives, exported
with free numbers of atoms and bonds, and compiled ahead of time to machine code (torch's AOTInductor): about ten times faster
than the network as its package runs it. As the weights are arguments, one library serves all members and all rounds. It is kept
under $XDG_CACHE_HOME/trepid/compiled (default ~/.cache) by a hash of everything that it depends on; of several processes that
need it, one compiles and the others wait. The result agrees with the uncompiled function to the accuracy of float32.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

Function = Callable[..., Any]
_TRACE_SIZES = {"atoms": 331, "edges": 1033}


def compiled(
    key: dict[str, Any],
    function: Function,
    example: Sequence[torch.Tensor],
    dynamic: Sequence[dict[int, str] | None],
) -> Function | None:
    """The function, compiled; None where it cannot be compiled here (no C++ compiler, or torch fails: see the log).

    Parameters
    ----------
    key : dict
        Everything that the function depends on besides its arguments, in plain types.
    function : callable
        Of tensors, giving a list of tensors; may differentiate inside.
    example : sequence of tensors
        Arguments of the types and fixed sizes that it will be called with.
    dynamic : sequence
        Per argument: its free sizes ("atoms", "edges") by axis, or None. Libraries take sizes of at least 2.
    """
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        _log("no C++ compiler found: the network runs uncompiled")
        return None
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trepid" / "compiled"
    whole = {
        **key,
        "torch": torch.__version__,
        "processor": [platform.machine(), torch.backends.cpu.get_cpu_capability()],
        "threads": torch.get_num_threads(),
    }
    name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]
    library = folder / f"{name}.pt2"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{name}.lock"):
            if library.exists():
                try:
                    return _load(library)
                except RuntimeError:
                    _log(f"{library} is damaged and made anew")
            _compile(function, example, dynamic, library)
            return _load(library)
    except Exception:
        traceback.print_exc()
        _log("the network could not be compiled and runs uncompiled")
        return None


def _compile(
    function: Function, example: Sequence[torch.Tensor], dynamic: Sequence[dict[int, str] | None], library: Path
) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    start = time.perf_counter()
    example = [_resized(tensor, axes) for tensor, axes in zip(example, dynamic, strict=True)]
    names = sorted({name for axes in dynamic if axes for name in axes.values()})
    sizes = {name: torch.export.Dim(name, min=2, max=2**31) for name in names}
    shapes = tuple(None if axes is None else {axis: sizes[name] for axis, name in axes.items()} for axes in dynamic)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=library.parent, prefix="making-") as folder:
        warnings.simplefilter("ignore")
        # Torch names its intermediate files by their content: in a common folder, processes that compile the same code would
        # write into one another's files.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        temporary = Path(folder) / library.name
        traced = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
        exported = torch.export.export(traced, tuple(example), dynamic_shapes=shapes, strict=False)
        torch._inductor.aoti_compile_and_package(exported, package_path=str(temporary))
        _load(temporary)
        os.replace(temporary, library)
    _log(f"compiled in {time.perf_counter() - start:.0f} s: {library}")


def _load(library: Path) -> Function:
    loaded: Function = torch._inductor.aoti_load_package(str(library))
    return loaded


def _resized(tensor: torch.Tensor, axes: dict[int, str] | None) -> torch.Tensor:
    """A stand-in whose free sizes are like no fixed one: the tracer takes equal sizes for the same. Integers are indices: 0."""
    if axes is None:
        return tensor
    shape = [_TRACE_SIZES[axes[k]] if k in axes else n for k, n in enumerate(tensor.shape)]
    if not tensor.is_floating_point():
        return torch.zeros(shape, dtype=tensor.dtype)
    return torch.linspace(0.5, 2.5, math.prod(shape), dtype=tensor.dtype).reshape(shape)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 (the log)
