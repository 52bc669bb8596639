"""Averages, response functions, structure and diffusion against closed forms and direct sums."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from trepid.analysis.averages import Average, average
from trepid.analysis.diffusion import A2_PER_PS, Tracks, mean_squared_displacement
from trepid.analysis.run import AnalysisSettings, analyse_trajectory
from trepid.analysis.structure import PairCounter, first_shell
from trepid.analysis.thermodynamics import Trace, expansion, read_trace, thermodynamics
from trepid.data.frames import write_frames
from trepid.dynamics.record import CELL_COLUMNS, TRACE_COLUMNS, TraceRow
from trepid.errors import ConfigError, DataError

TEMPERATURE_K = 400.0


# ---------------------------------------------------------------------- averages


def test_the_bar_of_independent_values_is_that_of_their_mean() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 4000)
    found = average(values)
    assert found.value == values.mean()
    assert found.error == pytest.approx(2.0 / math.sqrt(4000), rel=0.2)
    assert found.converged
    assert str(Average(10.87427, 0.00053, True)) == "10.87427 ± 0.00053"


def test_a_correlated_series_has_the_wider_bar() -> None:
    rng, memory = np.random.default_rng(1), 0.9
    x, values = 0.0, []
    for noise in rng.normal(size=20_000):
        x = memory * x + noise
        values.append(x)
    expected = np.std(values) * math.sqrt((1 + memory) / (1 - memory) / len(values))
    assert average(values).error == pytest.approx(expected, rel=0.3)


def test_constants_and_short_series() -> None:
    assert average([3.7] * 50) == Average(pytest.approx(3.7), 0.0, True)
    assert math.isnan(average([1.0, 2.0]).error)
    with pytest.raises(DataError, match="needs finite values"):
        average([1.0, math.nan])


# ---------------------------------------------------------------------- response functions


def made_trace(n: int = 6000, *, bulk_modulus_GPa: float = 50.0, alpha: float = 6e-5, held: bool = False) -> Trace:
    """Gaussian volumes and enthalpies with the covariances that a bulk modulus and an expansion ask for."""
    rng, volume, heat = np.random.default_rng(3), 1000.0, units.kB * TEMPERATURE_K
    variance = heat * volume / (bulk_modulus_GPa * units.GPa)
    covariance = alpha * heat * TEMPERATURE_K * volume
    capacity = 200 * heat**2
    v, h = rng.multivariate_normal([0, 0], [[variance, covariance], [covariance, capacity]], n).T
    volumes = np.full(n, volume) if held else volume + v
    columns = {name: np.zeros(n) for name in TRACE_COLUMNS}
    columns |= {
        "step": np.arange(n, dtype=np.float64),
        "time_fs": 10.0 * np.arange(n),
        "target_temperature_K": np.full(n, TEMPERATURE_K),
        "temperature_K": TEMPERATURE_K + rng.normal(0, 20, n),
        "total_energy_eV": h - 300.0,
        "volume_A3": volumes,
        **dict.fromkeys(CELL_COLUMNS[:3], volumes ** (1 / 3)),
        **dict.fromkeys(CELL_COLUMNS[3:], np.full(n, 90.0)),
    }
    return Trace(columns)


def test_fluctuations_give_back_modulus_expansion_and_heat_capacity() -> None:
    found = thermodynamics(made_trace())
    assert found.n_rows == 4800
    assert found.start_ps == pytest.approx(12.0, abs=0.02)
    for figure, expected in (
        (found.bulk_modulus_GPa, 50.0),
        (found.volume_expansion_per_K, 6e-5),
        (found.heat_capacity_kB, 200.0),
        (found.temperature_K, TEMPERATURE_K),
        (found.volume_A3, 1000.0),
    ):
        assert figure is not None
        assert abs(figure.value - expected) < 4 * figure.error
        assert figure.error < 0.15 * expected
    assert found.cell["alpha_deg"] == Average(90.0, 0.0, True)


def test_a_run_in_which_the_volume_wanders_does_not_know_its_fluctuations() -> None:
    """Modulus and expansion are lower or upper limits together, as the volume itself is."""
    assert all(
        figure is not None and figure.converged
        for figure in (
            thermodynamics(made_trace()).bulk_modulus_GPa,
            thermodynamics(made_trace()).volume_expansion_per_K,
        )
    )
    trace = made_trace(400)
    for seed in range(5):
        walk = np.cumsum(np.random.default_rng(seed).normal(size=400))
        found = thermodynamics(Trace({**trace.columns, "volume_A3": 1000 + walk}))
        assert not found.volume_A3.converged
        assert found.bulk_modulus_GPa is not None
        assert found.volume_expansion_per_K is not None
        assert not found.bulk_modulus_GPa.converged
        assert not found.volume_expansion_per_K.converged
        assert "± at least " in str(found.bulk_modulus_GPa)


def test_a_held_cell_has_a_heat_capacity_and_no_modulus() -> None:
    found = thermodynamics(made_trace(held=True))
    assert not found.cell_changes
    assert found.bulk_modulus_GPa is found.volume_expansion_per_K is None
    assert abs(found.heat_capacity_kB.value - 200) < 4 * found.heat_capacity_kB.error


def test_a_ramp_and_an_empty_rest_are_refused() -> None:
    trace = made_trace(100)
    ramp = Trace({**trace.columns, "target_temperature_K": np.linspace(300, 600, 100)})
    with pytest.raises(DataError, match="averages are for one temperature"):
        thermodynamics(ramp)
    with pytest.raises(DataError, match="nothing is left after 5 ps"):
        thermodynamics(trace, equilibrate_ps=5.0)


def test_expansion_between_runs_is_that_of_their_volumes_per_atom() -> None:
    cold, hot = made_trace(), made_trace()
    larger = {"volume_A3": 8 * 1.006 * hot["volume_A3"], "target_temperature_K": np.full(len(hot), 500.0)}
    runs = [thermodynamics(Trace({**hot.columns, **larger})), thermodynamics(cold)]
    found = expansion(runs, n_atoms=[512, 64])
    assert found is not None
    assert found.temperatures_K == (400.0, 500.0)
    assert found.linear_per_K[0].value == pytest.approx(math.log(1.006) / 300, rel=1e-6)
    assert 0 < found.linear_per_K[0].error < 0.1 * found.linear_per_K[0].value
    assert expansion([runs[0]]) is None
    assert expansion([runs[0], runs[0]]) is None


def test_a_trace_comes_back_and_an_older_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    row = TraceRow(*(k if field.type == "int" else k + 0.5 for k, field in enumerate(fields(TraceRow))))
    path.write_text(",".join(TRACE_COLUMNS) + "\n" + row.to_csv())
    assert read_trace(path)["volume_A3"] == pytest.approx([TRACE_COLUMNS.index("volume_A3") + 0.5])
    path.write_text("step,time_fs\n")
    with pytest.raises(DataError, match=r"column stage is missing"):
        read_trace(path)
    path.write_text(",".join(TRACE_COLUMNS[:9]) + "\n")
    with pytest.raises(DataError, match="pressure_GPa is missing; it was written before traces had the cell"):
        read_trace(path)


# ---------------------------------------------------------------------- structure


def test_an_ideal_gas_has_no_structure() -> None:
    rng, cell = np.random.default_rng(0), np.diag([9.0, 10.0, 11.0])
    counter = PairCounter(["Ar"] * 30 + ["Ne"] * 20, cutoff_A=7.0, bin_A=0.5)
    for _ in range(300):
        counter.add(rng.uniform(size=(50, 3)) @ cell, cell)
    for rdf in counter.result():
        same = rdf.pair[0] == rdf.pair[1]
        n = {"Ar": 30, "Ne": 20}[rdf.pair[1]]
        expected = 1 - 1 / n if same else 1.0  # an atom is no neighbour of itself
        inside = rdf.r_A < 4.4  # beyond half of the cell the images of an atom count too
        errors = np.maximum(rdf.g_error, 1e-3)[inside]
        assert np.all(np.abs(rdf.g[inside] - expected) < 5 * errors + 0.02)


def test_a_crystal_has_its_shells() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    rng, counter = np.random.default_rng(0), PairCounter(["Cu"] * 32, cutoff_A=5.0)
    for _ in range(40):
        counter.add(atoms.positions + rng.normal(0, 0.05, (32, 3)), atoms.cell.array)
    (rdf,) = counter.result()
    assert rdf.first_peak_A == pytest.approx(3.6 / math.sqrt(2), abs=0.06)
    assert rdf.first_minimum_A is not None
    assert 2.7 < rdf.first_minimum_A < 3.5
    assert rdf.coordination is not None
    assert rdf.coordination.value == pytest.approx(12.0)
    volume = np.sum(4 * np.pi * rdf.r_A**2 * rdf.g * 0.05 * (rdf.r_A < rdf.first_minimum_A)) * 32 / atoms.cell.volume
    assert volume == pytest.approx(12.0, rel=0.02)


def test_no_shell_where_there_is_none() -> None:
    r = np.arange(0.025, 4, 0.05)
    assert first_shell(r, np.zeros(len(r))) == (None, None)
    assert first_shell(r, np.where(r > 2, 2.0, 0.0))[1] is None
    with pytest.raises(ConfigError, match="ten bins or more"):
        PairCounter(["Cu"], cutoff_A=1.0, bin_A=0.5)


# ---------------------------------------------------------------------- diffusion


@settings(max_examples=20)
@given(n=st.integers(4, 40), n_atoms=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_displacements_by_fourier_transform_are_the_direct_sum(n: int, n_atoms: int, seed: int) -> None:
    x = np.cumsum(np.random.default_rng(seed).normal(size=(n, n_atoms, 3)), axis=0) + 100.0
    direct = [np.mean(np.sum((x[lag:] - x[: n - lag]) ** 2, axis=2)) for lag in range(n)]
    np.testing.assert_allclose(mean_squared_displacement(x), direct, rtol=1e-9, atol=1e-8)


def walk(n: int, step_A: float) -> tuple[np.ndarray, np.ndarray]:
    """Heavy atoms at rest and random walkers, wrapped, in a cell that breathes and drifts."""
    rng = np.random.default_rng(2)
    cells = np.eye(3) * (10 * (1 + 0.02 * np.sin(np.arange(n) / 3)))[:, None, None]
    fractions = np.zeros((n, 40, 3)) + rng.uniform(size=(40, 3))
    fractions[:, :20] += np.cumsum(rng.normal(0, step_A / 10, (n, 20, 3)), axis=0)
    drift = 0.01 * np.arange(n)[:, None, None]
    return ((fractions + drift) % 1.0) @ cells, cells


def test_a_random_walk_gives_its_coefficient_whatever_cell_and_drift_do() -> None:
    n, step = 1200, 0.1
    positions, cells = walk(n, step)
    tracks = Tracks(["H"] * 20 + ["U"] * 20)
    for start in range(0, n, 100):  # in pieces, as a file is read
        part = slice(start, start + 100)
        tracks.add(positions[part], cells[part], 50.0 * np.arange(n)[part])
    light, heavy = tracks.result()
    assert (light.species, heavy.species) == ("H", "U")
    expected = 3 * step**2 / 0.05 / 6 * A2_PER_PS
    assert light.coefficient_cm2_per_s is not None
    assert heavy.coefficient_cm2_per_s is not None
    assert abs(light.coefficient_cm2_per_s.value - expected) < 4 * light.coefficient_cm2_per_s.error
    assert light.coefficient_cm2_per_s.error < 0.25 * expected
    assert light.diffuses
    assert heavy.coefficient_cm2_per_s.value < 1e-3 * expected
    assert light.msd_A2[1] == pytest.approx(3 * step**2, rel=0.05)


def test_unequal_times_are_refused_but_for_the_last() -> None:
    positions, cells = walk(100, 0.1)
    times = 50.0 * np.arange(100)
    tracks = Tracks(["H"] * 20 + ["U"] * 20)
    tracks.add(positions, cells, np.append(times[:-1], times[-2] + 7))
    assert len(tracks.result()) == 2
    uneven = Tracks(["H"] * 20 + ["U"] * 20)
    uneven.add(positions, cells, times**1.1)
    with pytest.raises(DataError, match="displacements need equal times"):
        uneven.result()


# ---------------------------------------------------------------------- a trajectory


def frames(n: int = 40) -> list[Atoms]:
    crystal, rng = bulk("CuI", "zincblende", a=6.1, cubic=True), np.random.default_rng(0)
    made = []
    for k in range(n):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * (1 + 0.01 * rng.normal()), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, (8, 3))
        atoms.info["time_fs"] = 20.0 * k
        made.append(atoms)
    return made


def test_a_file_and_frames_in_memory_give_the_same(tmp_path: Path) -> None:
    write_frames(tmp_path / "t.extxyz", frames())
    found = [analyse_trajectory(source) for source in (frames(), tmp_path / "t.extxyz")]
    assert found[0].formula == found[1].formula == "CuI"
    for a, b in zip(found[0].cell.values(), found[1].cell.values(), strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-6)
    lengths = [atoms.cell.lengths()[0] for atoms in frames()]
    assert found[0].cell["a_A"].value == pytest.approx(np.mean(lengths))
    assert [rdf.pair for rdf in found[0].rdfs] == [("Cu", "Cu"), ("Cu", "I"), ("I", "I")]
    assert found[0].trace is found[0].thermodynamics is None
    mass = frames(1)[0].get_masses().sum()
    density = np.mean([mass * units._amu * 1e3 / (atoms.cell.volume * 1e-24) for atoms in frames()])
    assert found[0].cell["density_g_per_cm3"].value == pytest.approx(density, rel=1e-9)


def test_the_beginning_is_left_out() -> None:
    found = analyse_trajectory(frames(), settings=AnalysisSettings(equilibrate_ps=0.4))
    assert (found.n_frames, found.start_ps, found.end_ps) == (20, pytest.approx(0.4), pytest.approx(0.78))
    with pytest.raises(DataError, match="no frame is left after 9 ps"):
        analyse_trajectory(frames(), settings=AnalysisSettings(equilibrate_ps=9.0))
    with pytest.raises(ConfigError, match="0 ps or more"):
        AnalysisSettings(equilibrate_ps=-1.0)
