"""The page of a conductivity: every size, the draws and the remarks are on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from trepid.report.conductivity import render_conductivity
from trepid.transport.conductivity import ConductivityResult, SizeResult, facts, size_result
from trepid.transport.flux_runs import Flux
from trepid.transport.green_kubo import Estimate, ornstein_uhlenbeck
from trepid.transport.settings import ConductivitySettings

SETTINGS = ConductivitySettings(temperature_K=300.0, repeats=((2, 2, 2), (2, 2, 3)), run_ps=30.0, n_runs=4, n_draws=3)


def synthetic(repeat: tuple[int, int, int], seed: int) -> SizeResult:
    """Fluxes of a correlation time of 0.5 ps whose conductivity is 7 W/(m K)."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True).repeat(repeat)
    # kappa = 1602.18 / (V kB T^2) A^2 tau
    amplitude = np.sqrt(7.0 * atoms.get_volume() * 8.617333e-5 * 300.0**2 / 1602.176634 / 0.5)
    runs = []
    for _ in range(4):
        series = ornstein_uhlenbeck(0.5, n_series=3, n_samples=3000, interval_ps=0.01, rng=rng)
        runs.append(Flux(amplitude * series.T, np.zeros((3000, 3, 0)), 300.0, 0.0, 0.3))
    return size_result(runs, atoms, repeat, 0.01)


@pytest.fixture(scope="module")
def result() -> ConductivityResult:
    return ConductivityResult(
        name="si.trepid",
        formula="Si8",
        settings=SETTINGS,
        sizes=(synthetic((2, 2, 2), 1), synthetic((2, 2, 3), 2)),
        draws=(Estimate(6.0, 0.5, 11), Estimate(8.0, 0.6, 11), Estimate(7.5, 0.5, 11)),
        model_error=0.9,
        forces_error_eV_per_A=0.02,
        remarks=("runs of 30 ps are short", "forces <of this model>"),
        directory=Path("k"),
    )


def test_the_conductivity_of_known_fluxes_is_found(result: ConductivityResult) -> None:
    """Prefactor, volume and temperature included."""
    for size in result.sizes:
        low, high = size.kappa.interval(0.999)
        assert low < 7.0 < high
        assert size.kappa.error < 2.0
        assert size.integral.converged
    assert np.mean([c.value for c in result.sizes[-1].components]) == pytest.approx(result.kappa.value, rel=1e-9)


def test_the_total_bar_is_wider_than_the_statistical_one(result: ConductivityResult) -> None:
    assert result.total.error == pytest.approx(np.hypot(result.kappa.error, 0.9))
    assert facts(result)["total_95"][1] > facts(result)["statistical_95"][1]


def test_what_errors_of_the_model_do_is_the_draws_over_the_model(result: ConductivityResult) -> None:
    effect = result.effect_of_error
    assert effect is not None
    values = np.array([6.0, 8.0, 7.5])
    assert effect[0] == pytest.approx(np.prod(values) ** (1 / 3) / result.kappa.value)
    scatter = np.log(values).std(ddof=1) / np.sqrt(3)
    half = 4.302653 * np.hypot(scatter, result.kappa.error / result.kappa.value)  # Student's t, two degrees of freedom
    assert np.log([effect[2] / effect[0], effect[0] / effect[1]]) == pytest.approx(half)
    assert facts(result)["draws_over_model"] == list(effect)
    assert replace(result, draws=()).effect_of_error is None
    assert replace(result, draws=(Estimate(-1.0, 2.0, 11), Estimate(1.0, 2.0, 11))).effect_of_error is None


def test_all_is_on_the_page(result: ConductivityResult) -> None:
    page = render_conductivity(result)
    for text in ("2x2x2", "2x2x3", "64", "96", "draw 3", "7.5 ± 0.5", "Runs of 30 ps are short", "Size of the cell"):
        assert text in page
    assert "Forces &lt;of this model&gt;" in page
    for size in result.sizes:
        assert f"{size.kappa.value:.3g} ± {size.kappa.error:.2g}" in page
    assert page.count("<svg") == 2
    assert "src=" not in page
    assert render_conductivity(result).split("Written")[0] == page.split("Written")[0]
