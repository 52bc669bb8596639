"""A synthetic run directory as written by `trepid learn`; errors are drawn from the predicted uncertainty."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress

from trepid.runs.reading import RunRecord


@dataclass(frozen=True)
class Written:
    """A run, and the page of its report."""

    record: RunRecord
    page: Path


TRACE_HEADER = (
    "step,time_fs,stage,target_temperature_K,temperature_K,potential_energy_eV,total_energy_eV,"
    "forces_uncertainty_max_eV_per_A,n_labels"
)

SETTINGS = """\
structure:
  file: cui.extxyz
reference:
  engine: tblite
  method: GFN1-xTB
dynamics:
  stages:
  - temperature_K: 300.0
    duration_ps: 12.0
  - temperature_K: [300.0, 600.0]
    duration_ps: 12.0
"""


def write_synthetic_run(
    directory: Path, *, n_initial: int = 3, n_calls: int = 24, n_failures: int = 2, seed: int = 0, checks: int = 1200
) -> Path:
    """Write a run of CuI, 64 atoms, 300 K then a ramp to 600 K, 24 ps; returns the directory."""
    rng = np.random.default_rng(seed)
    labels = directory / "labels"
    labels.mkdir(parents=True)
    crystal = bulk("CuI", "zincblende", a=6.19, cubic=True).repeat(2)
    duration_ps = 24.0
    calls_ps = np.sort(
        np.where(rng.random(n_calls) < 0.6, rng.exponential(1.2, n_calls), 12 + rng.exponential(2.0, n_calls))
    )
    calls_ps = np.clip(calls_ps, 0.02, duration_ps - 0.1)
    events: list[dict[str, Any]] = [
        {
            "event": "start",
            "n_atoms": 64,
            "formula": "Cu32I32",
            "structure_sha256": "0",
            "reference": {"engine": "tblite", "method": "GFN1-xTB"},
        }
    ]
    for k in range(n_initial + n_calls):
        time_ps = 0.0 if k < n_initial else float(calls_ps[k - n_initial])
        known = k >= n_initial
        frame = labelled_frame(crystal, k + 1, time_ps, rng, known=known, noise=0.012 + 0.05 / (k + 1))
        write(labels / f"label-{k + 1:04d}.extxyz", frame, format="extxyz")
        request = {"event": "request", "label": k + 1, "step": int(time_ps * 1000), "reason": frame.info["reason"]}
        if known:
            request |= {"forces_uncertainty": 0.2, "threshold": 0.16 - 0.002 * k}
        events.append(request)
        if known and k < n_initial + n_failures:
            events.append(
                {
                    "event": "failure",
                    "label": k + 1,
                    "attempt": 1,
                    "reason": "not_converged",
                    "message": "SCF did not converge in 250 cycles",
                }
            )
        events.append(
            {"event": "label", "label": k + 1, "file": f"labels/label-{k + 1:04d}.extxyz", "seconds": 2.9, "attempt": 1}
        )
        events.append(_train_event(k, rng))
    events.append({"event": "stop", "reason": "finished", "step": 24000, "n_labels": n_initial + n_calls})
    with (directory / "ledger.jsonl").open("w", encoding="utf-8") as stream:
        for seq, event in enumerate(events):
            stream.write(json.dumps({"seq": seq, "time": "2026-01-01T00:00:00+00:00", **event}) + "\n")
    _write_trace(directory / "trace.csv", calls_ps, n_initial, duration_ps, checks, rng)
    (directory / "versions.json").write_text(json.dumps({"trepid": "0.1.0", "python": "3.11", "tblite": "0.4.0"}))
    (directory / "campaign.yaml").write_text(SETTINGS)
    return directory


def labelled_frame(
    crystal: Atoms, index: int, time_ps: float, rng: np.random.Generator, *, known: bool, noise: float
) -> Atoms:
    """A rattled crystal with made-up labels and, where `known`, a prediction of that uncertainty."""
    frame = crystal.copy()
    n = len(frame)
    frame.positions += rng.normal(0.0, 0.08, (n, 3))
    forces = rng.normal(0.0, 0.45, (n, 3))
    energy = -3.2 * n + float(rng.normal(0.0, 0.6))
    frame.arrays["REF_forces"] = forces
    frame.info |= {
        "REF_energy": energy,
        "label_index": index,
        "step": int(time_ps * 1000),
        "time_fs": time_ps * 1000,
        "stage": int(time_ps > 12),
        "target_temperature_K": 300.0,
        "reason": "uncertainty" if known else "initial",
    }
    if known:
        heavy = np.where(frame.numbers == 29, 1.6, 0.8)[:, None]
        stds = heavy * noise * rng.lognormal(0.0, 0.7, (n, 1)) * np.ones((1, 3))
        frame.arrays["forces_uncertainty"] = stds
        frame.arrays["predicted_forces"] = forces + rng.normal(0.0, 1.0, (n, 3)) * np.hypot(stds, 0.008)
        frame.info |= {
            "predicted_energy": energy + float(rng.normal(0.0, 0.12)),
            "energy_uncertainty": 0.1,
            "noise_energy": 0.004,
            "noise_forces": 0.008,
        }
    stress = rng.normal(0.0, 0.004, 6)
    frame.info["REF_stress"] = voigt_6_to_full_3x3_stress(stress)
    if known:
        frame.info["predicted_stress"] = stress + rng.normal(0.0, 2e-4, 6)
        frame.info |= {"stress_uncertainty": np.full(6, 2e-4), "noise_stress": 1e-4}
    frame.calc = SinglePointCalculator(frame)
    return frame


def _train_event(k: int, rng: np.random.Generator) -> dict[str, Any]:
    settled = 1.0 + 2.0 * np.exp(-k / 4) * rng.random()
    return {
        "event": "train",
        "n_labels": k + 1,
        "optimized": k % 4 == 0,
        "noise_energy": 0.004 * settled,
        "noise_forces": 0.008 * settled,
        "noise_stress": 1e-4,
        "log_evidence": 1000.0 * k,
        "seconds": 0.4,
        "hyperparameters": {"amplitude_pair": 2.0 / settled, "amplitude_triplet": 0.3 * settled, "length_radial": 0.9},
    }


def _write_trace(
    path: Path, calls_ps: np.ndarray, n_initial: int, duration_ps: float, checks: int, rng: np.random.Generator
) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(TRACE_HEADER.split(","))
        for time in np.linspace(0.0, duration_ps, checks):
            target = 300.0 if time <= 12 else 300.0 + 25.0 * (time - 12)
            since = time - max([0.0, *calls_ps[calls_ps <= time]])
            temperature = target * (1 + rng.normal(0, 0.07))
            potential = -204.8 + 64 * 1.5 * 8.617e-5 * target + rng.normal(0, 0.3)
            uncertainty = (0.06 + 0.02 * since) * rng.lognormal(0, 0.2)
            n_labels = n_initial + int((calls_ps <= time).sum())
            writer.writerow(
                [
                    int(time * 1000),
                    time * 1000,
                    int(time > 12),
                    target,
                    temperature,
                    potential,
                    potential + 2.5,
                    uncertainty,
                    n_labels,
                ]
            )
