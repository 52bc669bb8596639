from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from trepid.dynamics.guard import TrustGuard
from trepid.errors import ConfigError, UntrustedError

WHERE = {"step": 1200, "time_fs": 2400.0, "temperature_K": 300.0, "target_temperature_K": 300.0}


def cui() -> Atoms:
    return bulk("CuI", "zincblende", a=6.19, cubic=True)


def uncertainty(**atoms: float) -> np.ndarray:
    std = np.full((8, 3), 0.01)
    for name, value in atoms.items():
        std[int(name[1:])] = [value, 0, 0]
    return std


def test_below_the_threshold_nothing_happens(tmp_path: Path) -> None:
    guard = TrustGuard(0.2, frame_file=tmp_path / "untrusted.extxyz")
    report = guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a3=0.2))
    assert report.trusted
    assert (report.atom, report.forces_uncertainty, report.message) == (3, 0.2, "")
    assert not (tmp_path / "untrusted.extxyz").exists()
    assert (guard.n_checks, guard.n_untrusted, guard.largest) == (1, 0, 0.2)


def test_warning_names_the_atom_and_the_species_and_keeps_the_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = TrustGuard(0.2, frame_file=tmp_path / "untrusted.extxyz")
    std = uncertainty(a2=0.61, a3=0.3, a4=0.4)
    with caplog.at_level(logging.WARNING):
        report = guard.check(cui(), **WHERE, forces_uncertainty=std)
        guard.check(cui(), **WHERE, forces_uncertainty=std)  # the same excursion: no second warning, no second frame
    assert not report.trusted
    assert len(caplog.messages) == 1
    assert (
        "step 1200 (2.400 ps): Cu atom 2 has a force uncertainty of 610 meV/A, above the threshold of 200 meV/A"
        in caplog.messages[0]
    )
    assert "2 Cu, 1 I of 8 atoms above it" in caplog.messages[0]
    frames = read(tmp_path / "untrusted.extxyz", ":")
    assert len(frames) == 1
    assert frames[0].info["step"] == 1200
    assert np.allclose(frames[0].arrays["forces_uncertainty"], std)
    assert guard.n_untrusted == 2


def test_the_warning_counts_atoms_outside_the_support_and_nothing_else_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    far = np.array([0.2, 1.4, 3.0, 0.9, 0.1, 0.1, 0.1, 0.1])
    guard = TrustGuard(0.2)
    with caplog.at_level(logging.WARNING):
        assert guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a2=0.1), support_distance=far).trusted
        assert not caplog.messages
        guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a2=0.61), support_distance=far)
    assert caplog.messages[0].endswith("; 2 of 8 atoms outside the training data (support distance above 1)")


def test_every_excursion_is_kept_once(tmp_path: Path) -> None:
    guard = TrustGuard(0.2, frame_file=tmp_path / "untrusted.extxyz")
    for value in (0.3, 0.4, 0.1, 0.5):
        guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a0=value))
    assert len(read(tmp_path / "untrusted.extxyz", ":")) == 2


def test_stop_raises_and_keeps_the_frame(tmp_path: Path) -> None:
    guard = TrustGuard(0.2, action="stop", frame_file=tmp_path / "untrusted.extxyz")
    with pytest.raises(UntrustedError, match=r"Cu atom 0 .*stopped; frame in .*untrusted.extxyz"):
        guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a0=0.21))
    assert len(read(tmp_path / "untrusted.extxyz", ":")) == 1


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_an_unstable_simulation_is_stopped_whatever_the_action(action: str) -> None:
    guard = TrustGuard(0.2, action=action)
    hot = {**WHERE, "temperature_K": 15001.0}
    with pytest.raises(UntrustedError, match=r"1\.5e\+04 K is over 50 times"):
        guard.check(cui(), **hot, forces_uncertainty=uncertainty())
    with pytest.raises(UntrustedError, match="over 50 times"):
        guard.check(cui(), **{**WHERE, "temperature_K": float("nan")}, forces_uncertainty=uncertainty())
    atoms = cui()
    atoms.positions[1] = np.nan
    with pytest.raises(UntrustedError, match="positions are not finite"):
        guard.check(atoms, **WHERE, forces_uncertainty=uncertainty())
    with pytest.raises(UntrustedError, match="uncertainty is not finite"):
        guard.check(cui(), **WHERE, forces_uncertainty=uncertainty(a0=np.nan))
    guard.check(cui(), **{**WHERE, "temperature_K": 14999.0}, forces_uncertainty=uncertainty())


def test_uncertainty_is_read_from_the_calculator() -> None:
    atoms = cui()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    guard = TrustGuard(0.2)
    with pytest.raises(ConfigError, match="gives no forces_uncertainty"):
        guard.check(atoms, **WHERE)
    atoms.calc.results["forces_uncertainty"] = uncertainty(a7=0.15)
    assert guard.check(atoms, **WHERE).atom == 7


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_threshold_must_be_positive(threshold: float) -> None:
    with pytest.raises(ConfigError, match="positive force uncertainty in eV/A"):
        TrustGuard(threshold)
