"""The public interface of the force field: fit, update, predict, sample, and the errors it raises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms

from potential_systems import labelled, molecule, random_potential, shared, small_basis, triclinic, zincblende
from trepid.data import LabelKeys, Labels, attach_labels, labels_of
from trepid.errors import ConfigError, DataError
from trepid.potentials.base import Noise, Potential, Prediction, Uncertainty
from trepid.potentials.bayesian import BayesianForceField, Hyperparameters
from trepid.potentials.bayesian.posterior import Posterior
from trepid.potentials.bayesian.statistics import LabelKind, SufficientStatistics


def tiny(**changes: object) -> BayesianForceField:
    """Two species, some 150 coefficients."""
    arguments = {"pair_cutoff": 4.6, "triplet_cutoff": 3.9, "n_pair": 6, "n_radial": 4, "l_max": 1, "n_threads": 1}
    return BayesianForceField(["Cu", "I"], **(arguments | changes))


def frames(n: int = 4) -> list[Atoms]:
    return [labelled(triclinic(seed=s), s) if s % 2 else labelled(molecule(seed=s), s) for s in range(n)]


@pytest.fixture(scope="module")
def trained() -> BayesianForceField:
    return tiny().fit(frames())


def all_rows(model: BayesianForceField, atoms: Atoms) -> np.ndarray:
    rows = model.features.frame_rows(atoms)
    parts = [rows.energy, *(part for _, part in model.features.force_rows(atoms))]
    return np.concatenate(parts if rows.stress is None else [*parts, rows.stress])


def flat(prediction: Prediction, *, uncertainty: bool = False) -> np.ndarray:
    suffix = "_uncertainty" if uncertainty else ""
    values = [getattr(prediction, kind + suffix) for kind in ("energy", "forces", "stress")]
    return np.concatenate([np.ravel(v) for v in values if v is not None])


# Prediction


@pytest.mark.parametrize("structure", [triclinic, molecule])
def test_prediction_is_the_posterior_of_the_rows(trained: BayesianForceField, structure: Callable[..., Atoms]) -> None:
    atoms = structure(seed=30)
    rows = all_rows(trained, atoms)
    rest = trained.features.residual(atoms, labels_of(labelled(atoms)), trained.reference_energies)
    labels = labels_of(labelled(atoms))
    parts = [(getattr(labels, kind), getattr(rest, kind)) for kind in ("energy", "forces", "stress")]
    fixed = np.concatenate([np.ravel(label) - np.ravel(left) for label, left in parts if label is not None])
    prediction = trained.predict(atoms)
    expected = fixed + rows @ trained.posterior.mean
    np.testing.assert_allclose(flat(prediction), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    kinds = [
        kind for kind, (label, _) in zip(KINDS, parts, strict=True) for _ in range(np.size(label)) if label is not None
    ]
    scale = np.array([trained.error_bars[kind].scale for kind in kinds])
    std = scale * trained.posterior.standard_deviation(rows)
    forces = np.array([kind is LabelKind.FORCES for kind in kinds])
    std[forces] = np.sqrt(shared(std[forces] ** 2, atoms, reach=trained.basis.triplet_cutoff))
    np.testing.assert_allclose(flat(prediction, uncertainty=True), std, rtol=1e-9)
    assert (prediction.stress is None) == (prediction.stress_uncertainty is None) == (structure is molecule)


KINDS = (LabelKind.ENERGY, LabelKind.FORCES, LabelKind.STRESS)


def test_levels_of_uncertainty(trained: BayesianForceField) -> None:
    atoms = triclinic(seed=31)
    exact, live, none = (trained.predict(atoms, uncertainty=level) for level in ("exact", Uncertainty.LIVE, "none"))
    for other in (live, none):
        np.testing.assert_array_equal(flat(other), flat(exact))
        assert other.energy_uncertainty is None
        assert other.stress_uncertainty is None
    assert none.forces_uncertainty is None
    assert live.forces_uncertainty is not None
    assert exact.forces_uncertainty is not None
    # Another way to the same figure: 16 directions scatter by 10 % around it.
    np.testing.assert_allclose(live.atom_uncertainty, exact.atom_uncertainty, rtol=0.3)
    assert not np.allclose(live.atom_uncertainty, exact.atom_uncertainty, rtol=1e-6)
    assert (
        exact.frame_uncertainty
        == exact.atom_uncertainty.max()
        == np.linalg.norm(exact.forces_uncertainty, axis=1).max()
    )
    with pytest.raises(ValueError, match="without uncertainty"):
        none.frame_uncertainty  # noqa: B018
    with pytest.raises(ValueError, match="'some' is not a valid Uncertainty"):
        trained.predict(atoms, uncertainty="some")


def test_prediction_leaves_its_input_alone(trained: BayesianForceField) -> None:
    atoms = labelled(triclinic(seed=32))
    atoms.positions += 20
    before = atoms.copy()
    trained.predict(atoms)
    assert atoms == before
    assert atoms.calc is None
    assert atoms.info.keys() == before.info.keys()


def test_a_perfect_crystal_has_no_forces(small_cui_model: BayesianForceField) -> None:
    atoms = zincblende(a=6.19, cubic=True).repeat(2)
    prediction = small_cui_model.predict(atoms)
    np.testing.assert_allclose(prediction.forces, 0, atol=1e-10)
    assert prediction.stress is not None
    # Cubic symmetry.
    np.testing.assert_allclose(prediction.stress[:3], prediction.stress[0], atol=1e-12)
    np.testing.assert_allclose(prediction.stress[3:], 0, atol=1e-12)
    # What symmetry forbids is known for certain. The square root makes 1e-7 of a rounding of 1e-14.
    np.testing.assert_allclose(prediction.forces_uncertainty, 0, atol=1e-6)
    assert prediction.energy_uncertainty is not None
    assert prediction.energy_uncertainty > 1e-4


# Learning


def test_training_reproduces_labels_it_can_represent(silicon_frames: list[Atoms]) -> None:
    """Stillinger-Weber is a sum of pairs and triplets."""
    model = BayesianForceField(["Si"], pair_cutoff=4.5, triplet_cutoff=4.5, n_threads=1).fit(silicon_frames[:6])
    errors = [model.predict(a).forces - a.arrays["REF_forces"] for a in silicon_frames[6:10]]
    assert np.abs(errors).mean() < 5e-3
    assert model.noise.forces < 0.01
    assert model.noise.forces <= 1.01 * model.hyperparameters.noise.forces


def test_updates_one_by_one_equal_one_fit(trained: BayesianForceField) -> None:
    one = tiny(hyperparameters=trained.hyperparameters)
    one.reference_energies = trained.reference_energies
    one.statistics.n_frames = 0
    for k, frame in enumerate(frames()):
        if k == 0:  # reference energies are those of the first frames a model sees
            one.features.add(
                one.statistics,
                frame,
                keys=one.keys,
                reference_energies=trained.reference_energies,
                noise=one.noise,
            )
        else:
            one.update([frame])
    assert one.n_frames == trained.n_frames == 4
    for kind, s in trained.statistics.kinds.items():
        other = one.statistics.kinds[kind]
        np.testing.assert_allclose(other.gram, s.gram, rtol=0, atol=1e-12 * np.abs(s.gram).max())
        np.testing.assert_allclose(other.projection, s.projection, rtol=0, atol=1e-12 * np.abs(s.projection).max())
        assert (other.count, other.squared) == (s.count, pytest.approx(s.squared))
    atoms = triclinic(seed=33)
    one.update([])
    np.testing.assert_allclose(flat(one.predict(atoms)), flat(trained.predict(atoms)), rtol=1e-6, atol=1e-8)
    assert one.log_evidence == pytest.approx(trained.log_evidence, rel=1e-9)


def test_an_update_keeps_hyperparameters_and_optimize_improves_them() -> None:
    model = tiny().update(frames())
    assert model.hyperparameters == Hyperparameters()
    before = model.log_evidence
    model.optimize()
    assert model.log_evidence > before
    assert model.hyperparameters != Hyperparameters()
    assert model.log_evidence == Posterior(model.basis, model.hyperparameters, model.statistics).log_evidence


def test_fit_replaces_earlier_training(trained: BayesianForceField) -> None:
    again = tiny().fit([labelled(zincblende(a=5.0, rattle=0.1)), *frames(1)])
    again.hyperparameters = Hyperparameters()
    again.fit(frames())
    atoms = triclinic(seed=34)
    np.testing.assert_array_equal(flat(again.predict(atoms)), flat(trained.predict(atoms)))
    np.testing.assert_array_equal(
        flat(again.predict(atoms), uncertainty=True), flat(trained.predict(atoms), uncertainty=True)
    )
    np.testing.assert_array_equal(
        again.predict(atoms, uncertainty="live").forces_uncertainty,
        trained.predict(atoms, uncertainty="live").forces_uncertainty,
    )


def test_new_data_lower_the_uncertainty_where_they_are() -> None:
    model = tiny(hyperparameters=Hyperparameters(noise=Noise(energy=0.01, forces=0.01, stress=0.001))).update(frames())
    new = triclinic(seed=35)
    truth = random_potential(small_basis(2)).evaluate(new)
    new = attach_labels(new, Labels(truth.energy, truth.forces, truth.stress))
    before = model.predict(new)
    after = model.update([new]).predict(new)
    assert after.energy_uncertainty < before.energy_uncertainty
    assert (after.forces_uncertainty < before.forces_uncertainty).all()
    assert (
        np.abs(after.forces - new.arrays["REF_forces"]).mean() < np.abs(before.forces - new.arrays["REF_forces"]).mean()
    )


def test_reference_energies_are_the_least_squares_of_the_energies() -> None:
    atoms = [labelled(molecule(seed=s, n=4 + s), s) for s in range(3)]
    for frame in atoms:
        frame.info["REF_energy"] = -3.0 * np.sum(frame.numbers == 29) + 2.0 * np.sum(frame.numbers == 53)
    np.testing.assert_allclose(tiny().fit(atoms).reference_energies, [-3.0, 2.0], atol=1e-10)


def test_the_noise_of_large_forces_is_a_setting() -> None:
    model = tiny(large_force=2.5).fit(frames(2))
    assert model.noise.large_force == 2.5
    plain = tiny(large_force=float("inf")).fit(frames(2))
    assert plain.noise.large_force == np.inf
    assert (
        np.diagonal(plain.statistics.kinds["forces"].gram) >= np.diagonal(model.statistics.kinds["forces"].gram)
    ).all()
    assert plain.statistics.kinds["forces"].log_multiplier == 0


def test_one_composition_leaves_the_minimum_norm() -> None:
    atoms = labelled(zincblende(a=5.0, rattle=0.1))
    atoms.info["REF_energy"] = -8.0
    np.testing.assert_allclose(tiny().fit([atoms]).reference_energies, [-4.0, -4.0])


def test_forces_alone_are_enough() -> None:
    atoms = labelled(molecule(seed=36))
    del atoms.info["REF_energy"]
    model = tiny().fit([atoms])
    assert (model.reference_energies == 0).all()
    assert set(model.statistics.kinds) == {"forces"}


def test_other_label_keys() -> None:
    keys = LabelKeys(energy="dft_energy", forces="dft_forces", stress="dft_stress")
    renamed = [a.copy() for a in frames(2)]
    for atoms in renamed:
        atoms.arrays["dft_forces"] = atoms.arrays.pop("REF_forces")
        atoms.info |= {f"dft_{k.removeprefix('REF_')}": atoms.info.pop(k) for k in list(atoms.info) if "REF_" in k}
    atoms = triclinic(seed=37)
    np.testing.assert_array_equal(
        flat(tiny(keys=keys).fit(renamed).predict(atoms)), flat(tiny().fit(frames(2)).predict(atoms))
    )


def test_atoms_without_neighbours_can_be_learned() -> None:
    """Energies of isolated atoms fix the offsets."""
    atoms = Atoms("Cu")
    atoms.info["REF_energy"] = -3.5
    model = tiny().fit([atoms])
    prediction = model.predict(Atoms("Cu"))
    assert prediction.energy == pytest.approx(-3.5, abs=1e-3)
    assert (prediction.forces_uncertainty == 0).all()


# Samples


def test_samples_spread_as_the_posterior(trained: BayesianForceField) -> None:
    atoms = triclinic(seed=38)
    exact = trained.predict(atoms)
    n = 2000
    drawn = np.array([flat(p.predict(atoms)) for p in trained.sample(n, seed=1)])
    mean, std = flat(exact), flat(exact, uncertainty=True)
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * std / np.sqrt(n)).all()
    forces = slice(1, 1 + 3 * len(atoms))  # of the draws, without the share of the neighbours
    spread = drawn.std(axis=0)
    spread[forces] = np.sqrt(shared(spread[forces] ** 2, atoms, reach=trained.basis.triplet_cutoff))
    np.testing.assert_allclose(spread, std, rtol=5 / np.sqrt(2 * n))


def test_samples_are_force_fields_of_their_own(trained: BayesianForceField) -> None:
    atoms = triclinic(seed=39)
    one, other = trained.sample(2, seed=5)
    again = trained.sample(2, seed=5)[0]
    assert one.predict(atoms).energy == again.predict(atoms).energy != other.predict(atoms).energy
    atoms.calc = one.calculator()
    assert atoms.get_potential_energy() == pytest.approx(one.predict(atoms).energy, rel=1e-12)
    with pytest.raises(ConfigError, match="no exact uncertainty"):
        one.predict(atoms, uncertainty="exact")


# Refusals


def spoiled(**changes: object) -> Atoms:
    atoms = labelled(triclinic(seed=40), 40)
    for key, value in changes.items():
        if key == "symbol":
            atoms.symbols[0] = str(value)
        elif key == "unlabelled":
            atoms = triclinic(seed=40)
        elif key == "force":
            atoms.arrays["REF_forces"][1, 2] = value
        elif key == "position":
            atoms.positions[0, 0] = value
        else:
            atoms.info[key] = value
    return atoms


BAD = {
    "unknown element": (spoiled(symbol="Ag"), "element Ag is unknown to this model, which describes Cu, I"),
    "no label": (spoiled(unlabelled=True), "no label: none of REF_energy, REF_forces, REF_stress"),
    "NaN force": (spoiled(force=np.nan), "REF_forces of atom 1 .* component z, is nan"),
    "infinite energy": (spoiled(REF_energy=np.inf), "REF_energy is inf"),
    "NaN stress": (spoiled(REF_stress=np.full(6, np.nan)), "REF_stress"),
    "NaN position": (spoiled(position=np.nan), "position of atom 0"),
    "no atoms": (Atoms(), "no label|no atoms"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("verb", ["fit", "update"])
def test_a_bad_frame_is_named_and_changes_nothing(verb: str, bad: str) -> None:
    atoms, message = BAD[bad]
    model = tiny().fit(frames(2))
    probe = triclinic(seed=41)
    before, statistics = model.predict(probe), model.statistics
    grams = {kind: s.gram.copy() for kind, s in statistics.kinds.items()}
    references = model.reference_energies.copy()
    with pytest.raises(DataError, match=message) as caught:
        getattr(model, verb)([*frames(1), atoms])
    assert "frame 1 (counted from 0)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert model.n_frames == 2
    np.testing.assert_array_equal(model.reference_energies, references)
    for kind, gram in grams.items():
        np.testing.assert_array_equal(model.statistics.kinds[kind].gram, gram)
    np.testing.assert_array_equal(flat(model.predict(probe)), flat(before))
    model.update(frames(1))
    assert model.n_frames == 3


@pytest.mark.parametrize("level", list(Uncertainty))
def test_an_unknown_element_is_refused_by_predictions(trained: BayesianForceField, level: Uncertainty) -> None:
    atoms = Atoms("CuAg", [[0, 0, 0], [0, 0, 2.5]])
    with pytest.raises(DataError, match="element Ag is unknown to this model, which describes Cu, I"):
        trained.predict(atoms, uncertainty=level)
    atoms.calc = trained.calculator(uncertainty=level)
    with pytest.raises(DataError, match="element Ag"):
        atoms.get_forces()


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.predict(triclinic()),
        lambda m: m.calculator(),
        lambda m: m.sample(1, 0),
        lambda m: m.optimize(),
        lambda m: m.log_evidence,
        lambda m: m.save("never-written.trepid"),
        lambda m: m.update([]),
    ],
)
def test_use_of_an_untrained_model_is_refused(use: Callable[[BayesianForceField], object]) -> None:
    with pytest.raises(DataError, match="has not been trained"):
        use(tiny())


def test_fit_needs_a_frame() -> None:
    with pytest.raises(DataError, match="at least one labelled frame"):
        tiny().fit([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"live_rank": 8}, "live_rank is 8; it must be a multiple of 16, or 0"),
        ({"live_rank": -16}, "live_rank is -16"),
        ({"large_force": 0.0}, r"noise\.large_force must be a positive number, not 0\.0"),
        ({"pair_cutoff": 0.0}, "pair_cutoff is 0.0 A"),
    ],
)
def test_settings_out_of_range(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)


def test_a_model_without_live_directions() -> None:
    model = tiny(live_rank=0).fit(frames(2))
    assert model.mean.tables.rank == 0
    assert model.predict(triclinic()).forces_uncertainty is not None
    with pytest.raises(ConfigError, match="no live directions"):
        model.predict(triclinic(), uncertainty="live")


def test_summary_holds_settings_and_sizes(trained: BayesianForceField) -> None:
    summary = trained.settings_summary()
    assert summary["species"] == ["Cu", "I"]
    assert summary["n_frames"] == 4
    assert summary["n_coefficients"] == trained.basis.layout.size
    assert Noise(**summary["hyperparameters"]["noise"]) == trained.hyperparameters.noise
    assert isinstance(trained, Potential)


def test_the_size_of_the_statistics_does_not_grow_with_the_frames(trained: BayesianForceField) -> None:
    def kept(statistics: SufficientStatistics) -> int:
        return sum(s.gram.nbytes + s.projection.nbytes for s in statistics.kinds.values())

    model = tiny().update(frames())
    before = kept(model.statistics)
    model.update(frames(12))
    assert kept(model.statistics) == before
    assert model.n_frames == 16
    assert len(model.templates) <= 4
