from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator

from trepid.acquisition.conformal import Basis
from trepid.data.frames import LabelKeys, Labels
from trepid.errors import DataError
from trepid.evaluation import Comparison, collect, compare, corrected, evaluate, interval_factors, summarise
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty


class Scripted(Potential):
    """Says the label plus a known error, with a known standard deviation."""

    species = ("Cu", "I")
    n_frames = 1
    noise = Noise(energy=0.0, forces=0.03, stress=0.0)

    def __init__(self, errors: Sequence[np.ndarray], stds: Sequence[np.ndarray], *, energy_error: float = 0.0) -> None:
        self.errors, self.stds, self.energy_error = list(errors), list(stds), energy_error
        self.asked: list[Uncertainty] = []

    def predict(self, atoms: Atoms, *, uncertainty: Uncertainty | str = Uncertainty.EXACT) -> Prediction:
        self.asked.append(Uncertainty(uncertainty))
        k = atoms.info["k"]
        return Prediction(
            energy=atoms.info.get("REF_energy", 0.0) + self.energy_error * len(atoms),
            forces=atoms.arrays["REF_forces"] + self.errors[k],
            stress=atoms.info["REF_stress"] + 0.002 if "REF_stress" in atoms.info else None,
            forces_uncertainty=None if uncertainty == Uncertainty.NONE else self.stds[k],
        )

    def fit(self, frames: Sequence[Atoms]) -> Potential:
        raise NotImplementedError

    def update(self, frames: Sequence[Atoms]) -> Potential:
        raise NotImplementedError

    def calculator(self, *, uncertainty: Uncertainty | str = Uncertainty.LIVE) -> Calculator:
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        raise NotImplementedError


def frame(k: int, n: int, rng: np.random.Generator, **info: object) -> Atoms:
    atoms = Atoms("CuI" * (n // 2), positions=rng.uniform(0, 9, (n, 3)), cell=[9, 9, 9], pbc=True)
    atoms.arrays["REF_forces"] = rng.normal(size=(n, 3))
    atoms.info |= {"k": k, **info}
    return atoms


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_figures_of_known_errors(rng: np.random.Generator) -> None:
    frames = [frame(0, 2, rng, REF_energy=-3.0), frame(1, 4, rng, REF_energy=-7.0)]
    errors = [np.full((2, 3), 0.1), np.full((4, 3), -0.2)]
    stds = [np.full((2, 3), 0.04), np.full((4, 3), 0.08)]
    figures = evaluate(Scripted(errors, stds, energy_error=0.005), frames)
    assert (figures.n_frames, figures.n_atoms) == (2, 6)
    assert figures.forces_mae == pytest.approx((2 * 0.1 + 4 * 0.2) / 6)
    assert figures.forces_rmse == pytest.approx(np.sqrt((2 * 0.01 + 4 * 0.04) / 6))
    labels = np.concatenate([f.arrays["REF_forces"] for f in frames])
    assert figures.forces_rms == pytest.approx(np.sqrt(np.mean(labels**2)))
    assert figures.energy_rmse_per_atom == pytest.approx(0.005)
    assert figures.energy_mae_per_atom == pytest.approx(0.005)
    assert figures.stress_rmse is None


def test_rank_correlation_is_over_atoms_of_all_frames(rng: np.random.Generator) -> None:
    sizes = np.array([0.1, 0.4, 0.2, 0.3])[:, None] * np.ones((1, 3))
    frames = [frame(0, 2, rng), frame(1, 2, rng)]
    figures = evaluate(Scripted([sizes[:2], sizes[2:]], [0.01 * sizes[:2], 0.01 * sizes[2:]]), frames)
    assert figures.forces_uncertainty_spearman == pytest.approx(1.0)
    figures = evaluate(Scripted([sizes[:2], sizes[2:]], [1 / sizes[:2], 1 / sizes[2:]]), frames)
    assert figures.forces_uncertainty_spearman == pytest.approx(-1.0)


def test_intervals_hold_model_and_noise_together(rng: np.random.Generator) -> None:
    # Model 0.04 and noise 0.03 make 0.05: an error of 0.097 lies inside 1.96 x 0.05, one of 0.099 outside; the model
    # alone would have announced 0.078.
    inside = evaluate(Scripted([np.full((2, 3), 0.097)], [np.full((2, 3), 0.04)]), [frame(0, 2, rng)])
    outside = evaluate(Scripted([np.full((2, 3), 0.099)], [np.full((2, 3), 0.04)]), [frame(0, 2, rng)])
    assert inside.forces_coverage_95 == 1.0
    assert outside.forces_coverage_95 == 0.0
    assert outside.forces_calibration_scale == pytest.approx(0.099 / 0.05)


def test_intervals_of_energies_and_stresses_hold_noise_that_grows_with_frame_and_force() -> None:
    # Energy of four atoms: 0.02 x sqrt(4) x sqrt(1 + 2^2 / 1^2) = 0.0894 and a model std of 0.05 make 0.1025 eV; stress:
    # 0.002 x sqrt(5) = 0.00447 and 0.003 make 0.00539 eV/A^3, times 1.96: 0.2008 eV and 0.01056 eV/A^3.
    atoms = Atoms("Cu2I2", positions=np.eye(4, 3), cell=[9, 9, 9], pbc=True)
    forces = np.zeros((4, 3))
    forces[1, 2] = 2.0
    noise = Noise(0.02, 0.01, 0.002, large_force=1.0)
    assert noise.of_stress(forces) == pytest.approx(0.002 * np.sqrt(5))

    def covered(energy_error: float, stress_error: float) -> tuple[float | None, float | None]:
        prediction = Prediction(
            energy_error, forces, np.full(6, stress_error), 0.05, np.full((4, 3), 0.01), np.full(6, 0.003)
        )
        label = Labels(0.0, forces, np.zeros(6))
        figures = summarise(collect([atoms], [label], [prediction], [noise]))
        return figures.energy_coverage_95, figures.stress_coverage_95

    assert covered(0.200, 0.0105) == (1.0, 1.0)
    assert covered(0.202, 0.0107) == (0.0, 0.0)


def test_share_of_atoms_outside_the_support(rng: np.random.Generator) -> None:
    frames = [frame(k, n, rng) for k, n in enumerate((2, 4))]
    labels = [Labels(None, a.arrays["REF_forces"], None) for a in frames]
    far = [np.array([0.5, 1.5]), np.array([1.0, np.inf, 0.0, 0.2])]
    said = [Prediction(0.0, np.zeros((len(a), 3)), support_distance=d) for a, d in zip(frames, far, strict=True)]
    comparison = collect(frames, labels, said, [None, None])
    assert summarise(comparison).outside_support == pytest.approx(2 / 6)
    assert summarise(comparison.of_frames([1])).outside_support == pytest.approx(1 / 4)
    # One potential that does not know leaves it open.
    silent = [said[0], Prediction(0.0, np.zeros((4, 3)))]
    assert summarise(collect(frames, labels, silent, [None, None])).outside_support is None


def test_labels_of_the_same_kind_correct_the_interval(rng: np.random.Generator) -> None:
    # Bars of 0.05 eV/A, errors of Cu three times as large: the announced interval holds erf(1.96 / 3 / sqrt 2) = 49 %.
    frames = [frame(k, 64, rng) for k in range(12)]
    scale = np.where(np.array(frames[0].get_chemical_symbols()) == "Cu", 0.15, 0.05)[:, None]
    errors = [scale * rng.normal(size=(64, 3)) for _ in frames]
    comparison = compare(Scripted(errors, [np.full((64, 3), 0.04)] * 12), frames)
    given, rest = comparison.of_frames([0, 1]), comparison.of_frames(range(2, 12))
    assert summarise(rest) == evaluate(Scripted(errors, [np.full((64, 3), 0.04)] * 12), frames[2:])
    found = corrected(rest, interval_factors(given))
    # 3 % more from two frames, since frames differ.
    assert found.factors["Cu"].value == pytest.approx(1.03 * 3.0, rel=0.2)
    assert found.factors["I"].value == pytest.approx(1.03 * 1.0, rel=0.2)
    assert found.factors["Cu"].n_frames == 2
    assert summarise(rest).forces_coverage_95 < 0.75
    assert found.coverage_95 == pytest.approx(0.95, abs=0.025)
    assert found.half_width_announced == pytest.approx(1.96 * 0.05, rel=1e-3)
    mean_factor = np.mean([factor.value for factor in found.factors.values()])
    assert found.half_width == pytest.approx(1.96 * 0.05 * mean_factor, rel=1e-3)
    assert corrected(rest, interval_factors(comparison.of_frames([0]))).half_width == found.half_width_announced
    assert {factor.basis for factor in interval_factors(given, ["Ag"]).values()} == {Basis.ALL}
    with pytest.raises(DataError, match="no interval factor of Cu"):
        corrected(rest, interval_factors(given, ["I"]))
    with pytest.raises(DataError, match="error bar"):
        interval_factors(Comparison(**{**vars(given), "forces_noise": None}))


def test_calibrated_predictions_are_found_calibrated(rng: np.random.Generator) -> None:
    frames = [frame(k, 64, rng) for k in range(40)]
    stds = [rng.lognormal(-3, 0.8, (64, 1)) * np.ones((1, 3)) for _ in frames]
    errors = [rng.normal(size=(64, 3)) * np.hypot(std, 0.03) for std in stds]
    figures = evaluate(Scripted(errors, stds), frames)
    assert figures.forces_coverage_95 == pytest.approx(0.95, abs=0.01)
    assert figures.forces_coverage_68 == pytest.approx(0.68, abs=0.02)
    assert figures.forces_uncertainty_spearman is not None
    assert figures.forces_uncertainty_spearman > 0.5


def test_what_is_not_defined_is_none(rng: np.random.Generator) -> None:
    potential = Scripted([np.zeros((2, 3))], [np.full((2, 3), 0.1)])
    figures = evaluate(potential, [frame(0, 2, rng)], uncertainty="none")
    assert potential.asked == [Uncertainty.NONE]
    for name, value in figures.as_dict().items():
        missing = name.startswith(("energy", "stress", "forces_coverage", "forces_cal", "forces_unc", "outside"))
        assert (value is None) is missing, name


def test_a_model_without_any_uncertainty_is_not_judged_by_intervals(rng: np.random.Generator) -> None:
    potential = Scripted([np.full((2, 3), 0.1)], [np.zeros((2, 3))])
    potential.noise = Noise(0.0, 0.0, 0.0)
    figures = evaluate(potential, [frame(0, 2, rng)])
    assert figures.forces_coverage_95 is None
    assert figures.forces_uncertainty_spearman is None


def test_labels_of_some_frames_only(rng: np.random.Generator) -> None:
    frames = [frame(0, 2, rng, REF_energy=-3.0, REF_stress=np.zeros(6)), frame(1, 2, rng)]
    comparison = compare(Scripted([np.zeros((2, 3))] * 2, [np.ones((2, 3))] * 2, energy_error=0.01), frames)
    assert np.isnan(comparison.energies).tolist() == [False, True]
    assert comparison.atoms_per_frame.tolist() == [2, 2]
    figures = summarise(comparison)
    assert figures.energy_rmse_per_atom == pytest.approx(0.01)
    assert figures.stress_rmse == pytest.approx(0.002)


def test_other_label_keys(rng: np.random.Generator) -> None:
    atoms = frame(0, 2, rng)
    atoms.arrays["dft_forces"] = atoms.arrays["REF_forces"] + 0.5
    figures = evaluate(Scripted([np.zeros((2, 3))], [np.ones((2, 3))]), [atoms], keys=LabelKeys(forces="dft_forces"))
    assert figures.forces_mae == pytest.approx(0.5)


def test_no_frames_and_no_forces_are_errors(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="no frame"):
        evaluate(Scripted([], []), [])
    bare = frame(0, 2, rng)
    good = frame(1, 2, rng)
    del bare.arrays["REF_forces"]
    with pytest.raises(DataError, match="frame 0"):
        evaluate(Scripted([np.zeros((2, 3))] * 2, [np.ones((2, 3))] * 2), [bare, good])
