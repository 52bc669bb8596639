"""Coulomb energy of Gaussian charges: against Madelung constants, sums in real space and finite differences; in fits and files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfc
from vesin import NeighborList

from model_files import read_model
from trepid.choices import ChargeChoice, Speed
from trepid.data import LabelKeys, Labels, attach_labels
from trepid.errors import ConfigError, DataError, ModelFileError, NumericsError
from trepid.export import export_format
from trepid.potentials.base import FloatArray
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.charge_choice import charges_of, parsed_charges
from trepid.potentials.bayesian.container import WITH_CHARGES
from trepid.potentials.bayesian.ewald import coulomb_sum
from trepid.potentials.bayesian.live import live_directions, shared_environment_rows
from trepid.potentials.bayesian.posterior import Posterior, with_hyperparameters
from trepid.potentials.bayesian.size_search import choose_sizes
from trepid.potentials.bayesian.sizes import GivenSizes
from trepid.potentials.bayesian.spline_potential import make_tables
from trepid.potentials.bayesian.zbl import COULOMB

SMALL: dict[str, Any] = {
    "n_channels": 0,
    "pair_cutoff": 5.5,
    "triplet_cutoff": 4.5,
    "n_pair": 14,
    "n_radial": 6,
    "l_max": 3,
    "n_threads": 1,
}
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def charges_in(atoms: Atoms, of: dict[str, float]) -> FloatArray:
    return np.array([of[symbol] for symbol in atoms.symbols])


def point_charges(atoms: Atoms, charges: FloatArray, *, width: float) -> float:
    """Energy of point charges, eV: Gaussian ones, and what they lack, summed in real space."""
    g = 1 / (2 * width)
    i, j, r = NeighborList(cutoff=6.5 / g, full_list=True).compute(
        atoms.positions, atoms.cell[:], atoms.pbc, quantities="ijd"
    )
    near = 0.5 * COULOMB * float(np.sum(charges[i] * charges[j] * erfc(g * r) / r))
    return near + coulomb_sum(atoms, charges, width=width).energy


@pytest.mark.parametrize(
    ("atoms", "nearest", "constant"),
    [
        (bulk("NaCl", "rocksalt", a=5.64), 5.64 / 2, 1.747564594633182),
        (bulk("CsCl", "cesiumchloride", a=4.12), 4.12 * np.sqrt(3) / 2, 1.762674773070988),
        (bulk("ZnS", "zincblende", a=5.41), 5.41 * np.sqrt(3) / 4, 1.638055053388789),
    ],
)
@pytest.mark.parametrize("width", [0.6, 1.0])
def test_madelung_constants(atoms: Atoms, nearest: float, constant: float, width: float) -> None:
    energy = point_charges(atoms, np.array([1.0, -1.0]), width=width)
    assert -energy * nearest / COULOMB == pytest.approx(constant, rel=1e-11)


def deformed(seed: int, n: int = 6) -> tuple[Atoms, FloatArray]:
    """Random atoms in a general cell, of which every periodic image is 0.8 A away or more; not neutral."""
    rng = np.random.default_rng(seed)
    cell = 6.0 * (np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3)))
    grid = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])
    sites = grid[rng.permutation(len(grid))[:n]] + rng.uniform(-0.1, 0.1, (n, 3))
    return Atoms(f"H{n}", scaled_positions=sites, cell=cell, pbc=True), rng.normal(size=n)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_split_does_not_matter_for_point_charges_also_of_a_charged_cell(seed: int) -> None:
    atoms, charges = deformed(seed)
    assert abs(charges.sum()) > 1e-6
    energies = [point_charges(atoms, charges, width=width) for width in (0.5, 0.8)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-9, abs=1e-9)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_forces_and_strain_are_derivatives(seed: int) -> None:
    atoms, charges = deformed(seed)
    result, h = coulomb_sum(atoms, charges, width=0.7), 1e-4
    assert result.atom_energies.sum() == pytest.approx(result.energy, rel=1e-12)
    assert np.abs(result.forces.sum(axis=0)).max() < 1e-10
    for i, c in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, c] += sign * h
            energies.append(coulomb_sum(moved, charges, width=0.7).energy)
        assert result.forces[i, c] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), rel=1e-6, abs=1e-6)
    for slope, (a, b) in zip(result.strain, VOIGT, strict=True):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
            energies.append(coulomb_sum(strained, charges, width=0.7).energy)
        assert slope == pytest.approx((energies[0] - energies[1]) / (2 * h), rel=1e-6, abs=1e-6)


def test_it_is_extensive_and_does_not_change_under_rotations_translations_and_another_cell_of_the_lattice() -> None:
    atoms, charges = deformed(3)
    charges -= charges.mean()
    whole = coulomb_sum(atoms, charges, width=0.8)
    twice = coulomb_sum(atoms.repeat((2, 1, 1)), np.tile(charges, 2), width=0.8)
    assert twice.energy == pytest.approx(2 * whole.energy, rel=1e-11)
    assert twice.forces == pytest.approx(np.tile(whole.forces, (2, 1)), abs=1e-9)
    turned = atoms.copy()
    turned.positions += [0.3, -5.0, 9.0]
    turned.set_cell(turned.cell[:] @ np.eye(3))
    turned.set_cell([turned.cell[0], turned.cell[1] + turned.cell[0], turned.cell[2]])
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    assert coulomb_sum(turned, charges, width=0.8).energy == pytest.approx(whole.energy, rel=1e-11)


def test_chunks_of_atoms_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, charges = deformed(5)
    whole = coulomb_sum(atoms, charges, width=0.8)
    monkeypatch.setattr("trepid.potentials.bayesian.ewald.CHUNK", 1)
    parts = coulomb_sum(atoms, charges, width=0.8)
    assert parts.forces == pytest.approx(whole.forces, abs=1e-11)
    assert parts.energy == pytest.approx(whole.energy, rel=1e-12)


@pytest.mark.parametrize("pbc", [(True, True, False), False])
def test_slabs_and_molecules_without_vacuum_are_refused(charged: BayesianForceField, pbc: object) -> None:
    atoms, charges = deformed(1)
    atoms.pbc = pbc
    with pytest.raises(DataError, match="periodic in all three directions"):
        coulomb_sum(atoms, charges, width=1.0)
    crystal = bulk("CuI", "zincblende", a=6.1)
    crystal.pbc = pbc
    with pytest.raises(DataError, match="vacuum and pbc T T T"):
        charged.predict(crystal)


# ---- in a fit


@pytest.fixture(scope="module")
def charged(cui_crystal: list[Atoms]) -> BayesianForceField:
    """Two species with charges, trained on eight frames. Do not change it."""
    return BayesianForceField(["Cu", "I"], charges={"Cu": 1, "I": -1}, **SMALL).fit(cui_crystal[:8])


def relabelled(frames: list[Atoms], model: BayesianForceField, *, product: float) -> list[Atoms]:
    """Frames with labels of the short-range part of a model and of charges, and a little noise."""
    coefficients = model.posterior.mean.copy()
    if model.basis.charges is not None:
        coefficients[-1] = product
    tables = make_tables(model.basis, coefficients, reference_energies=model.reference_energies)
    truth, rng, out = type(model.mean)(model.basis, tables, n_threads=1), np.random.default_rng(0), []
    for atoms in frames:
        p = truth.evaluate(atoms)
        bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        noisy = p.forces + rng.normal(scale=2e-3, size=p.forces.shape)
        out.append(attach_labels(bare, Labels(p.energy, noisy, p.stress)))
    return out


def test_a_fit_finds_the_charges_of_the_truth(charged: BayesianForceField, cui_crystal: list[Atoms]) -> None:
    frames = relabelled(cui_crystal[:12], charged, product=0.36)
    model = BayesianForceField(["Cu", "I"], charges={"Cu": 1, "I": -1}, **SMALL).fit(frames)
    electrostatics = model.electrostatics
    assert electrostatics is not None
    assert electrostatics.charges["Cu"] == pytest.approx(0.6, rel=0.02)
    assert electrostatics.charges["I"] == -electrostatics.charges["Cu"]
    assert electrostatics.ewald_parameter == pytest.approx(3 / 5.5)


def test_auto_keeps_charges_of_an_ionic_truth_and_refuses_them_elsewhere(
    charged: BayesianForceField, small_cui_model: BayesianForceField, cui_crystal: list[Atoms]
) -> None:
    given = GivenSizes(5.5, 4.5, 14, 6, 3, 0, offered_charges={"Cu": 1.0, "I": -1.0})
    frames = cui_crystal[:12]
    for model, product, kept in ((charged, 0.36, {"Cu": 1.0, "I": -1.0}), (small_cui_model, 0.0, None)):
        choice = choose_sizes(
            relabelled(frames, model, product=product),
            ["Cu", "I"],
            given=given,
            speed=Speed.FAST,
            keys=LabelKeys(),
        )
        assert choice.sizes.charges == kept
        assert [step.change for step in choice.steps] == ["start", "charges Cu +1, I -1"]
        assert choice.steps[1].accepted == (kept is not None)
        assert choice.steps[1].cost > choice.steps[0].cost


def test_statistics_add_up(charged: BayesianForceField, cui_crystal: list[Atoms]) -> None:
    features, energies, noise = charged.features, charged.reference_energies, charged.hyperparameters.noise
    parts = [
        features.statistics(cui_crystal[:8], own, keys=LabelKeys(), reference_energies=energies, noise=noise)
        for own in (range(3), range(3, 8))
    ]
    parts[0].merge(parts[1])
    both = Posterior(charged.basis, charged.hyperparameters, parts[0])
    whole = Posterior(charged.basis, charged.hyperparameters, charged.statistics)
    assert both.log_evidence == pytest.approx(whole.log_evidence, rel=1e-8)
    assert both.mean[-1] == pytest.approx(whole.mean[-1], rel=1e-6)


def test_the_uncertainty_counts_the_charges_and_their_correlation_with_pairs(
    charged: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    rows = np.concatenate([rows for _, rows in charged.features.force_rows(cui_hops[0])])
    column = rows[:, -1].copy()
    q = charges_in(cui_hops[0], {"Cu": 1.0, "I": -1.0})
    assert column == pytest.approx(coulomb_sum(cui_hops[0], q, width=5.5 / 6).forces.ravel())
    posterior = charged.posterior
    unit = np.zeros((1, rows.shape[1]))
    unit[0, -1] = 1.0
    alone = float(posterior.standard_deviation(unit)[0])
    assert 0 < alone < charged.hyperparameters.coulomb_amplitude
    rest = rows.copy()
    rest[:, -1] = 0
    cross = np.array([posterior.covariance(np.stack([row, unit[0]]))[0, 1] for row in rest[:30]])
    exact, apart = (posterior.standard_deviation(each[:30]) for each in (rows, rest))
    expected = apart**2 + 2 * column[:30] * cross + (column[:30] * alone) ** 2
    assert exact**2 == pytest.approx(expected, rel=1e-6)
    assert np.abs(2 * column[:30] * cross / expected).max() > 1e-3


def test_live_directions_hold_the_charges_and_still_carry_the_whole_variance(
    charged: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    rows = shared_environment_rows(charged.basis, charged.templates, seed=charged.seed)
    directions = live_directions(charged.posterior, rows, 16)
    assert (directions[-1] == 0).all()
    assert np.abs(directions[:-1]).max() > 0
    ratios = []
    for atoms in cui_hops[:3]:
        live = charged.predict(atoms, uncertainty="live").atom_uncertainty
        ratios.append(live / charged.predict(atoms, uncertainty="exact").atom_uncertainty)
    assert 0.8 < np.median(np.concatenate(ratios)) < 1.25


def test_slope_of_the_evidence(charged: BayesianForceField) -> None:
    names, h = ["coulomb_amplitude"], 1e-2
    for value in (0.05, 0.6):
        here = with_hyperparameters(charged.hyperparameters, names, np.array([value]))
        slope = Posterior(charged.basis, here, charged.statistics).log_evidence_gradient()["coulomb_amplitude"]
        both = [
            Posterior(
                charged.basis,
                with_hyperparameters(here, names, np.array([value * np.exp(sign * h)])),
                charged.statistics,
            ).log_evidence
            for sign in (1, -1)
        ]
        # The evidence itself is rounded to 1e-8 of its size.
        assert slope == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-2, abs=1e-2)


def test_energy_forces_and_stress_of_the_model_are_consistent(
    charged: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    atoms, h = cui_hops[1], 1e-4
    p = charged.predict(atoms, uncertainty="none")
    assert p.atom_energies is not None
    assert p.atom_energies.sum() == pytest.approx(p.energy, rel=1e-12)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[5] += [sign * h, 0, 0]
        energies.append(charged.predict(moved, uncertainty="none").energy)
    assert p.forces[5, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), rel=1e-5, abs=1e-6)
    without = charged.features.frame_rows(atoms).energy @ charged.posterior.mean
    prior = charged.features.residual(atoms, Labels(p.energy, None, None), charged.reference_energies)
    assert prior.energy == pytest.approx(float(without[0]), rel=1e-9)


def test_samples_differ_in_their_charges(charged: BayesianForceField) -> None:
    products = [float(draw.tables.charge_product[0]) for draw in charged.sample(3, seed=0)]
    assert len(set(products)) == 3


def test_charges_without_a_square_root_are_an_error(charged: BayesianForceField) -> None:
    coefficients = charged.posterior.mean.copy()
    coefficients[-1] = -0.1
    tables = make_tables(charged.basis, coefficients, reference_energies=charged.reference_energies)
    with pytest.raises(NumericsError, match="without charges"):
        _ = type(charged.mean)(charged.basis, tables, n_threads=1).electrostatics


def test_a_truth_that_asks_for_a_negative_square_gets_no_charges(
    charged: BayesianForceField, cui_crystal: list[Atoms]
) -> None:
    frames = relabelled(cui_crystal[:8], charged, product=-0.1)
    model = BayesianForceField(["Cu", "I"], charges={"Cu": 1, "I": -1}, **SMALL)
    model.update(frames)
    assert model.electrostatics is not None
    assert set(model.electrostatics.charges.values()) == {0.0}
    # The rest is the maximum for that value: the mean of the same fit without the term, for the same prior.
    without = BayesianForceField(["Cu", "I"], **SMALL)
    without.update(frames)
    mean, expected = model.posterior.mean, without.posterior.mean
    rows = np.concatenate([rows for _, rows in model.features.force_rows(frames[0])])
    assert rows[:, :-1] @ mean[:-1] == pytest.approx(rows[:, :-1] @ expected, abs=1e-6)


# ---- in files


def test_the_model_file_keeps_the_charges_and_older_programs_refuse_it(
    charged: BayesianForceField, small_cui_model: BayesianForceField, tmp_path: Path, cui_hops: list[Atoms]
) -> None:
    charged.save(tmp_path / "a.trepid")
    loaded = BayesianForceField.load(tmp_path / "a.trepid", n_threads=1)
    assert loaded.basis == charged.basis
    assert loaded.electrostatics == charged.electrostatics
    for level in ("exact", "live"):
        a, b = (model.predict(cui_hops[0], uncertainty=level) for model in (charged, loaded))
        assert np.array_equal(a.forces, b.forces)
        assert a.forces_uncertainty == pytest.approx(b.forces_uncertainty, rel=1e-9)
    assert f'"version": {WITH_CHARGES}' in (tmp_path / "a.trepid").read_bytes()[:100_000].decode("latin1").replace(
        "\\", ""
    )
    small_cui_model.save(tmp_path / "b.trepid")
    assert BayesianForceField.load(tmp_path / "b.trepid").electrostatics is None
    assert not any("charge" in name for name in read_model(tmp_path / "b.trepid")[0])
    later = (tmp_path / "a.trepid").read_bytes().replace(b'version\\": 4}', b'version\\": 5}')
    (tmp_path / "later.trepid").write_bytes(later)
    with pytest.raises(ModelFileError, match="version 5"):
        BayesianForceField.load(tmp_path / "later.trepid")


def test_pickles(charged: BayesianForceField, cui_hops: list[Atoms]) -> None:
    mean = pickle.loads(pickle.dumps(charged.mean))
    assert np.array_equal(mean.evaluate(cui_hops[0]).forces, charged.mean.evaluate(cui_hops[0]).forces)


def test_an_update_changes_the_charges(charged: BayesianForceField, tmp_path: Path, cui_crystal: list[Atoms]) -> None:
    charged.save(tmp_path / "a.trepid")
    model = BayesianForceField.load(tmp_path / "a.trepid", n_threads=1)
    before = model.electrostatics
    model.update(cui_crystal[8:12])
    assert model.electrostatics != before


def test_uf3_has_no_room_for_charges(charged: BayesianForceField) -> None:
    with pytest.raises(ConfigError, match="charges"):
        export_format("uf3").convert(charged.mean)


# ---- settings


def test_text_of_charges() -> None:
    assert parsed_charges("auto") is ChargeChoice.AUTO
    assert parsed_charges(" off") is ChargeChoice.OFF
    assert parsed_charges("Cu=1, I=-1") == {"Cu": 1.0, "I": -1.0}
    for wrong in ("on", "Cu", "Cu=x", "=1", "Cu=1,Cu=2", ""):
        with pytest.raises(ConfigError, match="formal charges such as Cu=1,I=-1"):
            parsed_charges(wrong)


@pytest.mark.parametrize(
    ("charges", "message"),
    [
        ({"Cu": 1}, "no charge for I"),
        ({"Cu": 1, "I": -1, "Br": -1}, "Br is not among the species"),
        ({"Cu": 1, "I": 1}, "both signs"),
        ({"Cu": 0, "I": 0}, "both signs"),
        ({"Cu": float("nan"), "I": -1}, "at most 10 e"),
    ],
)
def test_wrong_charges_are_named(charges: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BayesianForceField(["Cu", "I"], charges=charges)


def test_formal_charges_follow_from_the_formula() -> None:
    crystal = bulk("CaF2", "fluorite", a=5.46).repeat(2)
    vacancy = crystal.copy()
    del vacancy[0]
    frames = [crystal, crystal, vacancy]
    assert charges_of(ChargeChoice.AUTO, frames, ("F", "Ca")).formal == {"F": -1.0, "Ca": 2.0}
    assert charges_of(ChargeChoice.OFF, frames, ("F", "Ca")).formal is None
    assert charges_of({"F": -1, "Ca": 2}, frames, ("F", "Ca")).formal == {"F": -1, "Ca": 2}
    assert "one species" in charges_of(ChargeChoice.AUTO, [bulk("Cu")], ("Cu",)).reason
    assert "Ag=1,Ga=3,Se=-2" in charges_of(ChargeChoice.AUTO, frames, ("Se", "Ag", "Ga")).reason
    crystal.pbc = False
    assert "periodic" in charges_of(ChargeChoice.AUTO, [crystal], ("F", "Ca")).reason
