from __future__ import annotations

import dataclasses
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from trepid.errors import ConfigError
from trepid.export.check import force_error, probe_frames
from trepid.export.uf3 import LINE, UF3Potential, file_cutoff, lammps_input, lammps_zbl, resample, write_uf3
from trepid.export.uf3_forces import evaluate
from trepid.export.uf3_format import UF3Export
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.potentials.bayesian.spline_potential import SplinePotential, make_tables
from trepid.potentials.bayesian.zbl import zbl_derivative, zbl_range

LAMMPS_LINE = 1023
"""Characters of a line that LAMMPS reads."""


@pytest.fixture(scope="module")
def exported(cuprous_iodide: BayesianForceField) -> UF3Potential:
    return resample(cuprous_iodide.mean, knots=3)


def offsets(potential: UF3Potential, atoms: Atoms) -> float:
    return sum(potential.offsets[potential.species.index(symbol)] for symbol in atoms.get_chemical_symbols())


def random_potential(species: list[str], seed: int, **sizes: float) -> SplinePotential:
    """A potential that no data have smoothed."""
    basis = Basis.create(species, pair_cutoff=5.0, triplet_cutoff=4.0, **sizes)  # type: ignore[arg-type]
    coefficients = np.random.default_rng(seed).normal(scale=0.05, size=basis.layout.size)
    return SplinePotential(basis, make_tables(basis, coefficients, reference_energies=np.zeros(len(species))))


@pytest.mark.parametrize("symbols", ["CuCu", "CuI", "ICu", "II"])
def test_a_dimer_has_the_energy_and_force_of_the_model(
    cuprous_iodide: BayesianForceField, exported: UF3Potential, symbols: str
) -> None:
    contact = cuprous_iodide.basis.plausible_contact(*Atoms(symbols).get_chemical_symbols())
    for r in np.linspace(contact, 5.6, 60):
        dimer = Atoms(symbols, positions=[[0, 0, 0], [0, 0, r]])
        energy, forces = evaluate(exported, dimer)
        truth = cuprous_iodide.predict(dimer, uncertainty="none")
        # At contact the repulsion sets in, whose third derivative jumps there.
        assert energy + offsets(exported, dimer) == pytest.approx(truth.energy, abs=5e-4 if r < 1.1 * contact else 1e-5)
        assert forces == pytest.approx(truth.forces, abs=2e-2 if r < 1.1 * contact else 5e-4)


@pytest.mark.parametrize("symbols", ["CuCu", "CuI", "II"])
def test_the_core_is_that_of_the_model_at_every_distance(
    cuprous_iodide: BayesianForceField, exported: UF3Potential, symbols: str
) -> None:
    for r in (0.05, 0.2, 0.6, 1.0, 1.3, 1.6, 1.9):
        dimer = Atoms(symbols, positions=[[0, 0, 0], [0, 0, r]])
        energy, forces = evaluate(exported, dimer)
        truth = cuprous_iodide.predict(dimer, uncertainty="none")
        assert energy + offsets(exported, dimer) == pytest.approx(truth.energy, abs=0.05, rel=1e-3)
        assert forces[1, 2] == pytest.approx(truth.forces[1, 2], abs=1.0, rel=1e-2)


@pytest.mark.parametrize("symbols", ["CuCuI", "CuII", "ICuCu", "ICuI", "III"])
def test_a_trimer_has_the_forces_of_the_model(
    cuprous_iodide: BayesianForceField, exported: UF3Potential, symbols: str
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        radii, angle = rng.uniform(2.4, 4.4, 2), rng.uniform(0.9, np.pi)
        positions = np.array([[0, 0, 0], [radii[0], 0, 0], [radii[1] * np.cos(angle), radii[1] * np.sin(angle), 0]])
        trimer = Atoms(symbols, positions=positions)
        energy, forces = evaluate(exported, trimer)
        truth = cuprous_iodide.predict(trimer, uncertainty="none")
        assert forces == pytest.approx(truth.forces, abs=3e-3)
        assert energy + offsets(exported, trimer) == pytest.approx(truth.energy, abs=1e-3)


def test_a_straight_trimer_has_the_forces_of_the_model(
    cuprous_iodide: BayesianForceField, exported: UF3Potential
) -> None:
    trimer = Atoms("ICuI", positions=[[0, 0, 0], [2.6, 0, 0], [5.2, 0, 0]])
    _, forces = evaluate(exported, trimer)
    assert forces == pytest.approx(cuprous_iodide.predict(trimer, uncertainty="none").forces, abs=3e-3)


def test_forces_are_the_slope_of_the_energy(cuprous_iodide: BayesianForceField, exported: UF3Potential) -> None:
    atoms = cuprous_iodide.templates[0].copy()
    atoms.rattle(0.1, seed=1)
    _, forces = evaluate(exported, atoms)
    step = 1e-4
    for atom, axis in ((0, 0), (17, 1), (40, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(evaluate(exported, moved)[0])
        assert forces[atom, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=1e-5)


def test_the_error_falls_with_the_knots(cuprous_iodide: BayesianForceField) -> None:
    frames = probe_frames(cuprous_iodide, n=4)
    errors = [
        force_error(UF3Export(resample(cuprous_iodide.mean, knots=n)), cuprous_iodide.mean, frames) for n in (2, 3, 5)
    ]
    assert errors[0].rmse > 2 * errors[1].rmse > 2 * errors[2].rmse
    assert errors[2].mae <= errors[2].rmse <= errors[2].largest
    assert errors[2].rmse < 1e-3 * errors[2].forces_rms


def test_a_rough_potential_of_three_species() -> None:
    potential = random_potential(["C", "Si", "Ge"], seed=0, n_radial=6, n_pair=12, l_max=4)
    exported = resample(potential, knots=5)
    assert len(exported.pairs) == len(exported.foldings) == 6
    assert len(exported.triplets) == 18
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms(rng.choice(["C", "Si", "Ge"], 27), positions=2.4 * grid + rng.normal(scale=0.1, size=(27, 3)))
    error = force_error(UF3Export(exported), potential, [atoms])
    assert error.rmse < 2e-3 * error.forces_rms


def test_probes_keep_plausible_distances_and_are_reproducible(cuprous_iodide: BayesianForceField) -> None:
    frames = probe_frames(cuprous_iodide, n=3, seed=5)
    again = probe_frames(cuprous_iodide, n=3, seed=5)
    contact = min(
        cuprous_iodide.basis.plausible_contact(a, b)
        for a, b in combinations_with_replacement(cuprous_iodide.species, 2)
    )
    for atoms, same in zip(frames, again, strict=True):
        assert (atoms.positions == same.positions).all()
        distances = atoms.get_all_distances(mic=True)
        assert distances[~np.eye(len(atoms), dtype=bool)].min() >= contact


def test_the_repulsion_of_lammps_ends_smoothly() -> None:
    r = np.linspace(0.5, 2.5, 4001)
    energy, slope = lammps_zbl(r, 29, 53, inner=1.0, outer=2.0)
    assert slope[1:-1] == pytest.approx((energy[2:] - energy[:-2]) / (r[2] - r[0]), rel=1e-4, abs=1e-4)
    before = lammps_zbl(np.array([2.0 - 1e-4]), 29, 53, inner=1.0, outer=2.0)
    assert before[0][0] == pytest.approx(0, abs=1e-9)
    assert before[1][0] == pytest.approx(0, abs=1e-5)
    assert (energy[r >= 2.0] == 0).all()


def test_both_repulsions_have_the_same_core() -> None:
    inner, outer = zbl_range("Cu", "I")
    r = np.linspace(0.1, inner, 50)
    assert lammps_zbl(r, 29, 53, inner=inner, outer=outer)[1] == pytest.approx(zbl_derivative(r, 29, 53), rel=1e-12)


def test_splines_end_as_the_file_format_requires(exported: UF3Potential) -> None:
    for splines in (exported.pairs, exported.foldings):
        for coefficients in splines.values():
            assert (coefficients[-3:] == 0).all()
            assert coefficients.any()
    for (_, a, b), coefficients in exported.triplets.items():
        assert (coefficients[:3] == 0).all()
        assert (coefficients[:, :3] == 0).all()
        assert (coefficients[-3:] == 0).all()
        assert (coefficients[:, -3:] == 0).all()
        if a == b:
            assert (coefficients == coefficients.swapaxes(0, 1)).all()
    for grid in (exported.pair, exported.folded):
        assert grid.start <= 0  # below its first knot LAMMPS reads beyond its arrays
    assert exported.side.start == 0
    assert exported.side.end >= 2 * file_cutoff(exported.leg)
    assert exported.side.n >= exported.leg.n  # LAMMPS writes beyond its arrays otherwise


def test_the_file_holds_the_potential(exported: UF3Potential, tmp_path: Path) -> None:
    path = tmp_path / "cui.uf3"
    write_uf3(path, exported, comment="a test")
    text = path.read_text()
    assert max(len(line) for line in text.splitlines()) <= LINE < LAMMPS_LINE
    names = exported.species
    found = 0
    for block in text.split("#\n")[:-1]:
        head, kind, sizes, *rows = block.splitlines()
        assert head.startswith("#UF3 POT UNITS: metal")
        assert "a test" in head
        order, *elements, leading, trailing, spacing = kind.split()
        assert (leading, trailing, spacing) == ("0", "3", "uk")
        numbers = [np.array(row.split(), dtype=float) for row in rows]
        if order == "2B":
            grid, splines = (
                (exported.pair, exported.pairs)
                if elements[0].endswith("_pair")
                else (exported.folded, exported.foldings)
            )
            a, b = (names.index(element.removesuffix("_pair")) for element in elements)
            cutoff, n_knots = sizes.split()
            assert float(cutoff) == file_cutoff(grid) < grid.end
            assert int(n_knots) == len(numbers[0])
            assert (numbers[0] == grid.knots).all()
            assert int(numbers[1][0]) == grid.size
            assert (numbers[2] == splines[a, b]).all()
        else:
            centre, a, b = (names.index(element) for element in elements)
            across, second, first, *n_knots = sizes.split()
            assert 2 * float(first) == 2 * float(second) == float(across)
            assert [int(n) for n in n_knots] == [len(row) for row in numbers[:3]]
            for row, grid in zip(numbers, (exported.side, exported.leg, exported.leg), strict=False):
                assert (row == grid.knots).all()
            shape = tuple(int(n) for n in numbers[3])
            assert (np.array(numbers[4:]).reshape(shape) == exported.triplets[centre, a, b]).all()
        found += 1
    assert found == 3 + 3 + 6


def test_the_commands_name_every_species(exported: UF3Potential) -> None:
    lines = lammps_input(exported, "cui.uf3", notes=["hello"]).splitlines()
    assert lines[0] == "# hello"
    assert "pair_coeff * * uf3 1 cui.uf3 Cu I" in lines
    assert "pair_coeff * * uf3 2 cui.uf3 Cu_pair I_pair" in lines
    assert [line for line in lines if " zbl " in line][1:] == [
        "pair_coeff 1 1 zbl 29 29",
        "pair_coeff 1 2 zbl 29 53",
        "pair_coeff 2 2 zbl 53 53",
    ]


@pytest.mark.parametrize("knots", [1, 11])
def test_knots_out_of_range(knots: int) -> None:
    with pytest.raises(ConfigError, match=f"knots is {knots}"):
        resample(random_potential(["Si"], seed=0), knots=knots)


def test_a_line_too_long_for_lammps_is_an_error(exported: UF3Potential, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1020: use fewer knots"):
        resample(random_potential(["Si"], seed=0, n_radial=16), knots=10)
    long = {key: np.full(200, 0.123456) for key in exported.pairs}
    with pytest.raises(ConfigError, match="1020: use fewer knots"):
        write_uf3(tmp_path / "cui.uf3", dataclasses.replace(exported, pairs=long))
    assert list(tmp_path.iterdir()) == []


def test_a_comment_is_one_line(exported: UF3Potential, tmp_path: Path) -> None:
    for comment in ("two\nlines", "x" * 1000):
        with pytest.raises(ConfigError, match="one line"):
            write_uf3(tmp_path / "cui.uf3", dataclasses.replace(exported, triplets={}), comment=comment)
