"""What the benchmarks share: options, data, timing, tables and result files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# One thread, so that figures are comparable; BLAS reads this when it is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import ase
import numpy as np
from ase import Atoms
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import trepid
from trepid import _native
from trepid.data import read_frames

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
MAX_FORCE = 4.0
"""eV/A: crystal frames with a larger force on an atom are left out, as they are not thermal."""


def parse(description: str) -> argparse.Namespace:
    """Command line of a benchmark."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=HERE.parent / "tests" / "data_files", help="folder of the labelled frames"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class CuI:
    """The frames of cui_gfn1_64.extxyz by kind."""

    crystal: list[Atoms]
    hops: list[Atoms]

    @classmethod
    def read(cls, folder: Path) -> CuI:
        """Undisturbed frames whose largest force is below MAX_FORCE, and frames with one displaced Cu."""
        frames = read_frames(folder / "cui_gfn1_64.extxyz")
        hops = [a for a in frames if a.info.get("displaced_cu", 0)]
        largest = [np.linalg.norm(a.arrays["REF_forces"], axis=1).max() for a in frames]
        calm = [a for a, f in zip(frames, largest, strict=True) if f < MAX_FORCE]
        return cls([a for a in calm if not a.info.get("displaced_cu", 0)], hops)


def measure(
    functions: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, at_least: int = 3
) -> dict[str, float]:
    """Best time of each function in seconds; they alternate, so that a busy machine slows all of them equally."""
    best = dict.fromkeys(functions, np.inf)
    for function in functions.values():
        function()
    start, rounds = time.perf_counter(), 0
    while rounds < at_least or time.perf_counter() - start < seconds * len(functions):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - began)
        rounds += 1
    return {name: float(value) for name, value in best.items()}


def once(function: Callable[[], object]) -> float:
    """Time of one call in seconds, for what is too slow to repeat."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass
class Report:
    """Tables of one benchmark: printed as they come, written together."""

    name: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print rows of equal keys as one table, and keep them."""
        self.tables[title] = [dict(row) for row in rows]
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for column, value in rows[0].items():
            words = isinstance(value, str)
            table.add_column(Text(column), justify="left" if words else "right", no_wrap=words)
        for row in rows:
            table.add_row(*(Text(_format(value)) for value in row.values()))
        # As wide as it takes: a truncated figure is worse than a wrapped line.
        Console(width=max(130, Console().width)).print(table)

    def write(self) -> None:
        """Write results/NAME.json."""
        RESULTS.mkdir(exist_ok=True)
        machine = {
            "processor": processor(),
            "instruction_set": _native.instruction_set(),
            "trepid": trepid.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "ase": ase.__version__,
        }
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps({"machine": machine, "tables": self.tables}, indent=1) + "\n")
        print(f"written to {path}")


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
