"""The exported TorchScript file, loaded by metatomic's own ASE calculator."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from command_line import Trepid
from trepid.potentials.bayesian import BayesianForceField

torch = pytest.importorskip("torch")
metatomic_torch = pytest.importorskip("metatomic.torch")
metatomic_ase = pytest.importorskip("metatomic_ase")

UNCERTAINTY, SUPPORT = "trepid::forces_uncertainty", "trepid::support_distance"


@pytest.fixture(scope="module")
def exported(small_cui_model: BayesianForceField, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trepid.export import export_format

    path = tmp_path_factory.mktemp("metatomic") / "cui.pt"
    export_format("metatomic").convert(small_cui_model.mean).write(path, comment="CuI")
    return path


def test_the_file_gives_what_the_model_gives(
    exported: Path, small_cui_model: BayesianForceField, cui_hops: list[Atoms]
) -> None:
    output = metatomic_torch.ModelOutput
    calculator = metatomic_ase.MetatomicCalculator(
        exported,
        check_consistency=True,
        additional_outputs={UNCERTAINTY: output(unit="eV/A", sample_kind="atom"), SUPPORT: output(sample_kind="atom")},
    )
    for frame in cui_hops[:2]:
        atoms = frame.copy()
        atoms.calc = calculator
        expected = small_cui_model.predict(atoms, uncertainty="live")
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-10)
        np.testing.assert_allclose(atoms.get_stress(), expected.stress, atol=1e-12)
        extra = {name: block.block().values.numpy()[..., 0] for name, block in calculator.additional_outputs.items()}
        np.testing.assert_allclose(extra[UNCERTAINTY], expected.forces_uncertainty, rtol=5e-3)
        np.testing.assert_allclose(extra[SUPPORT], expected.support_distance, rtol=1e-9)


def test_energies_of_chosen_atoms(exported: Path, small_cui_model: BayesianForceField, cui_hops: list[Atoms]) -> None:
    from metatensor.torch import Labels
    from metatomic.torch import ModelOutput, load_atomistic_model, systems_to_torch
    from vesin.metatomic import compute_requested_neighbors

    model = load_atomistic_model(str(exported))
    systems = systems_to_torch([cui_hops[0]], dtype=torch.float64)
    compute_requested_neighbors(systems, "angstrom", model)
    chosen = Labels(["system", "atom"], torch.tensor([[0, 3], [0, 11]]))
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="atom")}
    options = metatomic_torch.ModelEvaluationOptions(length_unit="angstrom", outputs=outputs, selected_atoms=chosen)
    found = model(systems, options, check_consistency=True)["energy"].block().values[:, 0]
    expected = small_cui_model.mean.evaluate(cui_hops[0]).atom_energies
    np.testing.assert_allclose(found.detach().numpy(), expected[[3, 11]], atol=1e-10)
    wrong = metatomic_torch.ModelEvaluationOptions(
        length_unit="angstrom", outputs={SUPPORT: ModelOutput(sample_kind="atom")}, selected_atoms=chosen
    )
    with pytest.raises(Exception, match="need whole structures"):
        model(systems, wrong, check_consistency=False)


def test_export_from_the_command_line(trepid: Trepid, small_cui_model: BayesianForceField, tmp_path: Path) -> None:
    small_cui_model.save(tmp_path / "m.trepid")
    done = trepid("export", tmp_path / "m.trepid", "--format", "metatomic", "-o", tmp_path / "m.pt", "--json")
    assert done.code == 0
    figures = json.loads(done.out)
    assert figures["forces_max"] < 1e-9
    assert figures["input"] is None
    assert UNCERTAINTY in done.err
    assert not (tmp_path / "m.pt.in").exists()


def test_without_metatomic_the_message_says_what_to_install(
    trepid: Trepid, small_cui_model: BayesianForceField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_cui_model.save(tmp_path / "m.trepid")
    monkeypatch.delitem(sys.modules, "trepid.torch.metatomic", raising=False)
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    done = trepid("export", tmp_path / "m.trepid", "--format", "metatomic", "-o", tmp_path / "m.pt")
    assert done.code == 2
    assert "pip install 'trepid[torch]'" in done.err
    assert not (tmp_path / "m.pt").exists()
