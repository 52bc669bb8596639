"""Lifetimes of oscillators whose damping is known, mode projections against the crystal's own modes, wrong trajectories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from langevin_crystal import damped_frames, damped_series
from springs import BondSprings
from trepid.anharmonicity import HarmonicReference, harmonic_reference, to_phonopy, write_phonopy
from trepid.data.frames import write_frames
from trepid.data.trajectory import open_trajectory
from trepid.errors import ConfigError, DataError
from trepid.phonons.lifetimes import analyse_lifetimes
from trepid.phonons.mode_reader import LifetimeSettings
from trepid.phonons.oscillator import Kind, Periodogram, expected_periodogram, fit_line
from trepid.phonons.projection import project
from trepid.phonons.sites import lattice_of
from trepid.runs.outcomes import read_outcome

A_CUI = 6.19
GAMMA = 1 / 1500.0
"""1/fs: a lifetime of 1.5 ps."""


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    return bulk("CuI", "zincblende", a=A_CUI, cubic=True)


@pytest.fixture(scope="module")
def harmonic(crystal: Atoms) -> HarmonicReference:
    """Eight atoms: the wave vectors Gamma and X."""
    springs = BondSprings(crystal, cutoff=A_CUI * np.sqrt(3) / 4 + 0.3)
    return harmonic_reference(crystal, (1, 1, 1), springs)


@pytest.fixture(scope="module")
def frames(harmonic: HarmonicReference) -> list[Atoms]:
    return damped_frames(harmonic, temperature_K=300.0, gamma=GAMMA, interval_fs=40.0, n=3000, seed=0)


def periodogram(series: np.ndarray, interval: float, kind: Kind) -> Periodogram:
    n = len(series)
    return Periodogram(np.abs(np.fft.fft(series))[1 : (n - 1) // 2 + 1] ** 2 / n, n, interval, 1.0, kind)


# ---------------------------------------------------------------- one oscillator


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("gamma", [0.001, 0.02, 0.2])
def test_the_expected_periodogram_is_that_of_the_autocorrelation(kind: Kind, gamma: float) -> None:
    n, dt, omega0 = 64, 7.0, 0.05
    k = np.arange(n)
    root = np.sqrt(complex(omega0**2 - gamma**2 / 4))

    def velocity(t):
        return (np.exp(-gamma * t / 2) * (np.cos(root * t) - gamma / (2 * root) * np.sin(root * t))).real

    def position(t):
        return (np.exp(-gamma * t / 2) * (np.cos(root * t) + gamma / (2 * root) * np.sin(root * t))).real / omega0**2

    correlation = velocity(k * dt)
    if kind is Kind.DIFFERENCE:
        correlation = (2 * position(k * dt) - position(np.abs(k - 1) * dt) - position((k + 1) * dt)) / dt**2
    omega = 2 * np.pi * np.arange(1, 32) / (n * dt)
    phase = np.cos(np.outer(omega, k[1:] * dt))
    expected = correlation[0] + 2 * phase @ (correlation[1:] * (1 - k[1:] / n))
    found = expected_periodogram(omega, omega0, gamma, n_frames=n, interval_fs=dt, kind=kind)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_a_known_damping_is_given_back_within_its_bar() -> None:
    rng, held, lines = np.random.default_rng(5), [], []
    for k in range(12):
        kind, gamma = (Kind.INSTANT, Kind.DIFFERENCE)[k % 2], 10 ** rng.uniform(-3.3, -2.3)
        series = damped_series(0.03, gamma, 20.0, 2001, rng)
        values = series[:2000, 1] if kind is Kind.INSTANT else np.diff(series[:, 0]) / 20.0
        found = fit_line([periodogram(values, 20.0, kind)], 0.033)
        held.append(abs(np.log(found.gamma / gamma)) < 1.96 * found.log_gamma_error)
        lines.append(found.is_line)
        assert found.resolved
        assert abs(found.omega0 - 0.03) < 4 * found.omega0_error
    assert sum(held) >= 10
    assert sum(lines) >= 11


def test_two_lines_are_not_taken_for_one() -> None:
    rng = np.random.default_rng(1)
    series = sum(damped_series(w, 0.0004, 20.0, 4000, rng)[:, 1] for w in (0.03, 0.033))
    assert not fit_line([periodogram(series, 20.0, Kind.INSTANT)], 0.03).is_line


def test_a_line_narrower_than_the_series_resolves_is_said() -> None:
    rng = np.random.default_rng(2)
    series = damped_series(0.03, 1e-6, 20.0, 1000, rng)[:, 1]
    found = fit_line([periodogram(series, 20.0, Kind.INSTANT)], 0.03)
    assert not found.resolved
    # A width that the series cannot tell from none is no figure.
    assert 1 / found.gamma <= 10.001 * 20.0 * 1000
    assert found.log_gamma_error > 0.2
    with pytest.raises(DataError, match="too short for a line at"):
        fit_line([periodogram(series[:40], 20.0, Kind.INSTANT)], 0.03)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("seed", range(6))
def test_a_flat_spectrum_has_no_lifetime(kind: Kind, seed: int) -> None:
    """Velocities of a melt, or frames too far apart: each is independent of the one before."""
    values = np.random.default_rng(seed).exponential(size=299)
    found = fit_line([Periodogram(values, n_frames=600, interval_fs=20.0, count=8, kind=kind)], 0.01)
    assert found.broad == (found.gamma * 20.0 == pytest.approx(np.pi))
    assert not (found.resolved and found.broad)
    assert found.broad or not found.is_line or found.log_gamma_error > 0.1
    assert 0.001 < found.log_gamma_error < 20


# ---------------------------------------------------------------- modes of a crystal


def test_the_projection_is_complete_and_diagonal(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]
) -> None:
    with open_trajectory(frames[:20], velocities=True) as opened:
        lattice = lattice_of(opened, crystal)
    projection = project(to_phonopy(harmonic), lattice)
    assert len(projection.omega) == sum(len(g.columns) for g in projection.groups)
    # 24 modes of 8 atoms less 3 translations; q and -q of X are one.
    assert sum(group.count for group in projection.groups) == 21
    found = np.sort(np.concatenate([np.full(len(g.columns), g.frequency_THz) for g in projection.groups]))
    np.testing.assert_allclose(found, np.sort(harmonic.frequencies_THz), atol=1e-3)
    u = np.array([frame.positions - harmonic.supercell.positions for frame in frames[:5]])
    q = projection.of_vectors(u)
    np.testing.assert_allclose(
        np.sum(np.abs(q) ** 2, axis=1), np.sum(u**2 * crystal.get_masses()[:, None], axis=(1, 2)), rtol=1e-8
    )
    from ase.units import fs

    forces = projection.of_vectors(harmonic.forces_at(u), weight=-1)
    np.testing.assert_allclose(forces, -q * (projection.omega / fs) ** 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", [False, True])
def test_a_harmonic_crystal_with_friction_has_that_lifetime(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms], positions: bool
) -> None:
    moved = [frame.copy() for frame in frames]
    for k, frame in enumerate(moved):
        frame.positions += 0.001 * k  # a drift, and atoms that leave the cell
        frame.wrap()
    found = analyse_lifetimes(
        [moved],
        crystal,
        phonon=lambda lattice: to_phonopy(harmonic),
        settings=LifetimeSettings(positions=positions, blocks=1),
    )
    tau = 1 / GAMMA / 1000
    assert found.kind is (Kind.DIFFERENCE if positions else Kind.INSTANT)
    assert len(found.modes) == 5
    assert sum(mode.low_ps <= tau <= mode.high_ps for mode in found.modes) >= 4
    for mode in found.modes:
        assert abs(mode.frequency_THz - mode.group.frequency_THz) < 4 * mode.frequency_error_THz
        assert mode.temperature_K == pytest.approx(300, rel=0.2)
    assert found.spectrum.temperature_K == pytest.approx(300 * 21 / 24, rel=0.1)
    assert np.trapezoid(found.spectrum.density["total"], found.spectrum.frequencies_THz) == pytest.approx(3)
    assert found.spectrum.autocorrelation[0] == pytest.approx(1)


def test_the_spread_of_other_models_beyond_their_own_bars_is_the_bar_of_the_model(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]
) -> None:
    def members(factors):
        return [
            damped_frames(harmonic, temperature_K=300, gamma=GAMMA * f, interval_fs=40.0, n=1500, seed=20 + k)
            for k, f in enumerate(factors)
        ]

    def model_errors(factors):
        found = analyse_lifetimes(
            [frames],
            crystal,
            phonon=lambda lattice: to_phonopy(harmonic),
            members=members(factors),
            settings=LifetimeSettings(qpoints=((0.0, 0.0, 0.0),)),
        )
        assert found.n_members == len(factors)
        return [mode.log_model_error for mode in found.modes]

    spread = (0.4, 1.0, 2.5)
    assert np.mean(model_errors(spread)) == pytest.approx(np.std(np.log(spread), ddof=1), rel=0.35)
    assert np.mean(model_errors((1.0, 1.0, 1.0))) < 0.3


@pytest.mark.parametrize("moved_by", [(0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.02, -0.01, 0.5)])
def test_another_image_of_the_sites_is_no_other_order(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms], moved_by: tuple[float, float, float]
) -> None:
    """The crystal moved by a lattice vector, by one of the supercell, or almost between two sites; every atom in its own image."""

    def analyse(second: list[Atoms]):
        return analyse_lifetimes([frames[:1000], second], crystal, phonon=lambda lattice: to_phonopy(harmonic))

    moved = [frame.copy() for frame in frames[1000:2000]]
    images = np.random.default_rng(0).integers(-1, 2, (len(crystal), 3))
    for frame in moved:
        frame.positions += (np.array(moved_by) + images) @ frame.cell.array
    found, expected = analyse(moved), analyse(frames[1000:2000])
    assert [mode.lifetime_ps for mode in found.modes] == pytest.approx([mode.lifetime_ps for mode in expected.modes])
    assert len(found.modes) == 5


def test_atoms_in_another_order_in_the_second_trajectory_are_refused(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]
) -> None:
    copper = np.flatnonzero(crystal.symbols == "Cu")
    order = np.arange(len(crystal))
    order[copper] = np.roll(copper, 1)
    with pytest.raises(DataError, match="another order"):
        analyse_lifetimes(
            [frames[:400], [frame[order] for frame in frames[400:800]]],
            crystal,
            phonon=lambda lattice: to_phonopy(harmonic),
        )


# ---------------------------------------------------------------- wrong trajectories


def test_wrong_trajectories_are_refused(crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]) -> None:
    def analyse(trajectory, **settings):
        return analyse_lifetimes(
            [trajectory], crystal, phonon=lambda lattice: to_phonopy(harmonic), settings=LifetimeSettings(**settings)
        )

    with pytest.raises(DataError, match="write a frame every"):
        analyse(frames[::4])
    with pytest.raises(DataError, match="not evenly spaced"):
        analyse([*frames[:100], *frames[101:200]])
    with pytest.raises(DataError, match="64 or more"):
        analyse(frames[:40])
    swollen = frames[70].copy()
    swollen.set_cell(1.01 * swollen.cell.array, scale_atoms=True)
    with pytest.raises(DataError, match="a barostat moves it"):
        analyse([*frames[:70], swollen, *frames[71:200]])
    with pytest.raises(DataError, match="no multiple"):
        analyse_lifetimes([frames], bulk("CuI", "zincblende", a=5.0, cubic=True))
    with pytest.raises(ConfigError, match="not commensurate"):
        analyse(frames[:500], qpoints=((0.3, 0.0, 0.0),))
    with pytest.raises(ConfigError, match="two other models"):
        analyse_lifetimes([frames], crystal, members=[frames])
    with pytest.raises(DataError, match="shorter than one piece"):
        analyse(frames[:100], resolution_THz=0.01)


def test_modes_that_are_too_soft_for_the_length_are_left_out_and_named(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]
) -> None:
    def analyse(n: int, blocks: int = 1):
        settings = LifetimeSettings(blocks=blocks, resolution_THz=1.0)
        return analyse_lifetimes([frames[:n]], crystal, phonon=lambda lattice: to_phonopy(harmonic), settings=settings)

    found = analyse(90)
    softest = 12 / 1.2 / 3.6  # twelve frequencies between 0.4 and 1.6 times its own, in 3.6 ps
    expected = {f for f in np.round(harmonic.frequencies_THz, 1) if f > softest}
    assert {round(mode.group.frequency_THz, 1) for mode in found.modes} == expected
    assert len(found.modes) == 4
    assert found.remarks[0].startswith("left out as too soft: 1 of 5 modes; trajectories")
    with pytest.raises(DataError, match="too short for a line"):
        analyse(64, blocks=2)


def test_atoms_that_left_their_sites_are_named(
    crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms]
) -> None:
    hopped = [frame.copy() for frame in frames[:600]]
    for frame in hopped[400:]:
        frame.positions[2] += [0.5 * A_CUI, 0, 0]
    found = analyse_lifetimes([hopped], crystal, settings=LifetimeSettings(resolution_THz=1.0))
    assert any(
        "200 of 599 frames have atoms that left" in remark or "200 of 600 frames" in remark for remark in found.remarks
    )
    assert not found.modes


# ---------------------------------------------------------------- files


def test_velocities_and_times_of_files_are_those_of_the_frames(frames: list[Atoms], tmp_path: Path) -> None:
    from ase.units import fs

    few = frames[:70]
    write_frames(tmp_path / "a.extxyz", few)
    with open(tmp_path / "b.lammpstrj", "w") as file:
        for k, frame in enumerate(few):
            header = "ITEM: UNITS\nmetal\n" if k == 0 else ""
            # LAMMPS writes the time before the step.
            file.write(f"{header}ITEM: TIME\n{k * 0.04}\nITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n8\n")
            file.write(
                "ITEM: BOX BOUNDS pp pp pp\n" + 3 * f"0 {A_CUI}\n" + "ITEM: ATOMS id element xu yu zu vx vy vz\n"
            )
            v = frame.get_velocities() * fs * 1000
            for i in range(8):
                row = [*frame.positions[i], *v[i]]
                file.write(f"{i + 1} {frame.symbols[i]} " + " ".join(f"{x:.12g}" for x in row) + "\n")
    for name in ("a.extxyz", "b.lammpstrj"):
        with open_trajectory(tmp_path / name, velocities=True) as opened:
            chunk = next(opened.chunks())
        np.testing.assert_allclose(chunk.velocities, [f.get_velocities() * fs for f in few], atol=1e-10)
        np.testing.assert_allclose(chunk.times_fs, 40.0 * np.arange(70))


def test_the_verb_writes_page_tables_and_json(
    trepid, crystal: Atoms, harmonic: HarmonicReference, frames: list[Atoms], tmp_path: Path
) -> None:
    few = [frame.copy() for frame in frames[:600]]
    for frame in few:
        frame.arrays["forces"] = 1.2 * harmonic.forces(frame)
    write_frames(tmp_path / "md.extxyz", few)
    write_frames(tmp_path / "crystal.extxyz", [crystal])
    write_phonopy(harmonic, tmp_path / "phonopy_params.yaml")
    out = tmp_path / "out"
    outcome = trepid(
        "lifetimes",
        tmp_path / "md.extxyz",
        "--phonopy",
        tmp_path / "phonopy_params.yaml",
        "--blocks",
        1,
        "-o",
        out,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    modes = outcome.json["modes"]
    assert len(modes) == 5
    # F = 1.2 F2: sigma^A = 0.2 / 1.2 for every mode.
    assert all(mode["sigma_a"] == pytest.approx(0.2 / 1.2, rel=1e-3) for mode in modes)
    assert json.loads((out / "lifetimes.json").read_text())["kind"] == "lifetimes"
    assert len(read_outcome(out).properties) == 10  # a frequency and a lifetime per mode
    page = (out / "lifetimes.html").read_text()
    assert "Lifetimes in CuI" in page
    assert page.count("<svg") == 3
    assert "#01020" not in page
    assert len((out / "lifetimes.csv").read_text().splitlines()) == 6
    assert (
        "exists"
        in trepid("lifetimes", tmp_path / "md.extxyz", "--structure", tmp_path / "crystal.extxyz", "-o", out).error
    )
    assert "one of them" in trepid("lifetimes", tmp_path / "md.extxyz").error
    wrong = trepid("lifetimes", tmp_path / "md.extxyz", "--structure", tmp_path / "crystal.extxyz", "--q", "1,2")
    assert "three numbers" in wrong.error
