"""What each engine refuses, what it says of itself, and how its failures are told apart."""

from __future__ import annotations

import configparser
import inspect
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from trepid.config import REFERENCE_SETTINGS, engine_of
from trepid.data import LabelKeys, labels_of, read_frames
from trepid.errors import ConfigError
from trepid.reference import (
    ENGINES,
    ASECalculatorReference,
    FailureReason,
    LabelError,
    TBLiteReference,
    make_reference,
)
from trepid.reference.calculator import claim_file, claim_folder


def test_tblite_gives_the_labels_of_the_shared_data(data_dir: Path) -> None:
    (atoms,) = read_frames(data_dir / "aggase2_gfn1_16.extxyz", index=0)
    known, found = labels_of(atoms), labels_of(TBLiteReference().label(atoms))
    assert found.energy == pytest.approx(known.energy, abs=1e-5)
    np.testing.assert_allclose(found.forces, known.forces, atol=1e-5)
    np.testing.assert_allclose(found.stress, known.stress, atol=1e-7)


def test_a_label_does_not_depend_on_those_before(data_dir: Path) -> None:
    first, second = read_frames(data_dir / "aggase2_gfn1_16.extxyz", index=":2")
    reference = TBLiteReference()
    before = labels_of(reference.label(second))
    reference.label(first)
    after, fresh = labels_of(reference.label(second)), labels_of(TBLiteReference().label(second))
    for other in (after, fresh):
        assert other.energy == before.energy
        np.testing.assert_array_equal(other.forces, before.forces)
        np.testing.assert_array_equal(other.stress, before.stress)


def test_labels_are_of_the_frame_with_its_constraints_and_keys(copper: Atoms) -> None:
    copper.set_constraint(FixAtoms(range(8)))
    copper.info["step"] = 5
    keys = LabelKeys("E", "F", "S")
    labelled = make_reference("ase", calculator="emt").label(copper, keys=keys)
    assert set(labelled.info) == {"step", "E", "S"}
    assert (labelled.arrays["F"] != 0.0).any(axis=1).all()
    assert len(copper.constraints) == 1
    assert set(copper.info) == {"step"}


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (
            bulk("CuI", "zincblende", a=6.19),
            r"CuI has 2 atoms; .*needs 16 or more: use a supercell, such as \[\[-2, 2, 2\], \[-2, -2, 2\], \[2, -2, 2\]\]",
        ),
        (bulk("Cu", cubic=True), r"Cu4 has 4 atoms; .*such as \[2, 2, 2\]"),
        (Atoms("Sn2", cell=[4, 4, 20], pbc=(True, True, False)), r"has 2 atoms; .*such as \[6, 6, 1\]"),
        (bulk("MgO", "rocksalt", a=4.21, cubic=True), r"Mg4O4 has 8 atoms; .*such as \[2, 2, 2\]"),
        (Atoms("U"), "U is not parametrised; GFN1-xTB knows H to Rn"),
        (Atoms("H", pbc=True), "periodic along cell vector a, but that vector is zero"),
        (Atoms(), "the structure has no atoms"),
        (Atoms("H", positions=[[0, 0, np.nan]]), "not finite"),
    ],
)
def test_systems_that_tblite_cannot_label(atoms: Atoms, message: str) -> None:
    for attempt in (TBLiteReference().check, TBLiteReference().label):
        with pytest.raises(ConfigError, match=message):
            attempt(atoms)


def test_the_supercell_that_is_proposed_is_enough() -> None:
    for atoms in (bulk("CuI", "zincblende", a=6.19) * (2, 2, 2), bulk("Cu", cubic=True) * (2, 2, 2), molecule("H2O")):
        TBLiteReference().check(atoms)


def test_tblite_that_does_not_converge(cui: Atoms) -> None:
    with pytest.raises(LabelError, match="tblite: not converged: SCF not converged in 2 cycles") as caught:
        TBLiteReference(max_iterations=2).label(cui)
    assert caught.value.reason is FailureReason.NOT_CONVERGED


def test_tblite_that_crashes(cui: Atoms) -> None:
    cui.positions[1] = cui.positions[0]
    with pytest.raises(LabelError, match=r"tblite: failed: .*interatomic distances") as caught:
        TBLiteReference().label(cui)
    assert caught.value.reason is FailureReason.CRASHED


def test_tblite_is_silent(cui: Atoms, capfd: pytest.CaptureFixture[str]) -> None:
    TBLiteReference().label(cui)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        ("scf_error", FailureReason.NOT_CONVERGED, "not converged: cycle 100"),
        ("said", FailureReason.NOT_CONVERGED, "not converged: Fatal: the SCF did not converge after 3 cycles"),
        ("quietly_unconverged", FailureReason.NOT_CONVERGED, "as the engine reports"),
        ("error", FailureReason.CRASHED, "failed: cannot open the basis set file"),
        ("no_stress_code", FailureReason.CRASHED, "stress with hybrids; .*`stress: false` does without"),
        ("no_forces", FailureReason.NO_FORCES, "ended without forces"),
        ("no_energy", FailureReason.NO_FORCES, "ended without energy"),
        ("one_atom_short", FailureReason.NO_FORCES, r"forces have shape \(7, 3\), expected \(8, 3\)"),
        ("nan_force", FailureReason.NOT_FINITE, r"the force on atom 2 \(counted from 0\) is \[.*nan"),
        ("inf_energy", FailureReason.NOT_FINITE, "energy is inf"),
        ("nan_stress", FailureReason.NOT_FINITE, "the stress is"),
    ],
)
def test_failures_have_their_reason(
    misbehaving: str, copper: Atoms, how: str, reason: FailureReason, message: str
) -> None:
    reference = make_reference("ase", calculator=f"{misbehaving}:Misbehaving", parameters={"how": how})
    with pytest.raises(LabelError, match=message) as caught:
        reference.label(copper)
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.reason, str(copied)) == (reason, str(caught.value))


def test_stress_that_is_missing_is_not_a_failure(misbehaving: str, copper: Atoms) -> None:
    reference = make_reference("ase", calculator=f"{misbehaving}:Misbehaving", parameters={"how": "no_stress"})
    assert labels_of(reference.label(copper)).kinds == ("energy", "forces")


def test_stress_is_not_computed_when_switched_off(copper: Atoms) -> None:
    reference = make_reference("ase", calculator="emt", stress=False)
    assert labels_of(reference.label(copper)).kinds == ("energy", "forces")


def test_the_energy_is_the_one_of_the_forces(copper: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    calculate = EMT.calculate

    def smeared(self: EMT, *args: object, **kwargs: object) -> None:
        calculate(self, *args, **kwargs)
        self.results["energy"] = self.results["free_energy"] + 0.3

    plain = labels_of(make_reference("ase", calculator="emt").label(copper))
    monkeypatch.setattr(EMT, "calculate", smeared)
    assert labels_of(make_reference("ase", calculator="emt").label(copper)).energy == plain.energy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "tblit"}, "known are tblite, gpaw, ase, lammps, sevennet, chgnet; did you mean tblite"),
        ({"engine": "vasp"}, "engine ase, calculator NAME"),
        ({"engine": "tblite", "acuracy": 1.0}, "no parameter 'acuracy'; .*did you mean accuracy"),
        ({"engine": "tblite", "accuracy": -1.0}, "accuracy is -1.0; a positive number"),
        ({"engine": "tblite", "accuracy": True}, "accuracy is True"),
        ({"engine": "tblite", "electronic_temperature_K": float("nan")}, "electronic_temperature_K is nan"),
        ({"engine": "tblite", "max_iterations": 0}, "max_iterations is 0"),
        ({"engine": "tblite", "method": "gfn1-xtb"}, "did you mean GFN1-xTB"),
        ({"engine": "tblite", "method": "PBE"}, "method is 'PBE'; known are GFN1-xTB"),
        ({"engine": "tblite", "timeout_s": 0.0}, "timeout_s is 0.0"),
        ({"engine": "ase"}, "ase needs the parameter 'calculator'"),
        ({"engine": "ase", "calculator": ""}, "calculator is ''"),
        ({"engine": "ase", "calculator": "emtt"}, "no calculator 'emtt'; did you mean emt"),
        ({"engine": "ase", "calculator": "emt", "parameters": [1]}, r"parameters is \[1\]; a mapping"),
        ({"engine": "ase", "calculator": "lj", "parameters": {"sigm": 1}}, "no parameter 'sigm'; .*did you mean sigma"),
        ({"engine": "ase", "calculator": "no_such_module:X"}, "cannot import no_such_module"),
        ({"engine": "ase", "calculator": "ase.calculators.emt:EMTT"}, "did you mean ase.calculators.emt:EMT"),
        ({"engine": "ase", "calculator": ":EMT"}, "is not the name of a module"),
        ({"engine": "ase", "calculator": "misbehaving:NotACalculator"}, "is not an ASE calculator"),
        ({"engine": "ase", "calculator": "misbehaving:Forgetful"}, r"computes no forces \(it has: energy\)"),
        (
            {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "parameters": {"atoms": 3}},
            "cannot be set up|no parameter",
        ),
        (
            {"engine": "ase", "calculator": "eam", "parameters": {"potential": "none.alloy"}},
            "cannot be set up with these",
        ),
    ],
)
def test_settings_that_are_wrong(misbehaving: str, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_reference(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("calculator", "lines"),
    [
        ("aims", r"\[aims\]; command = .*aims.x; default_species_directory = "),
        ("espresso", r"\[espresso\]; command = .*pw.x; pseudo_dir = "),
    ],
)
def test_a_code_without_configuration_is_told_the_lines(monkeypatch, calculator: str, lines: str) -> None:
    monkeypatch.setattr("ase.config.cfg.parser", configparser.ConfigParser())
    with pytest.raises(ConfigError, match=rf"config\.ini, a line each: {lines}"):
        make_reference("ase", calculator=calculator)


@pytest.mark.skipif(find_spec("gpaw") is not None, reason="GPAW is installed")
def test_missing_gpaw_is_an_error_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'trepid\[gpaw\]'.*siteconfig\.py.*GPAW_CONFIG"):
        make_reference("gpaw")


@pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is an optional extra")
class TestGPAW:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"mode_cutoff_eV": 0.0}, "mode_cutoff_eV is 0.0"),
            ({"kpts": [2, 2]}, r"kpts is \[2, 2\]; three whole numbers"),
            ({"kpts": [2, 2, 0]}, "three whole numbers"),
            ({"xc": ""}, "the name of a functional"),
            ({"parameters": {"mode": "fd"}}, "'mode' in parameters; set it as mode_cutoff_eV"),
            ({"parameters": {"txt": "-"}}, "'txt' in parameters; set it as directory"),
            ({"parameters": {"occupation": {}}}, "cannot be set up with these parameters: .*'occupation'"),
        ],
    )
    def test_settings_that_are_wrong(self, settings: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            make_reference("gpaw", **settings)

    def test_a_molecule_needs_a_box(self) -> None:
        with pytest.raises(ConfigError, match="put a molecule into a box"):
            make_reference("gpaw").label(molecule("H2"))

    def test_no_convergence_and_the_log(self, tmp_path: Path) -> None:
        atoms = bulk("Si")
        atoms.rattle(0.1, seed=0)
        reference = make_reference("gpaw", directory=tmp_path / "logs", mode_cutoff_eV=150.0, parameters={"maxiter": 2})
        for n in (1, 2):
            with pytest.raises(LabelError, match=rf"gpaw: not converged.*gpaw-000{n}\.txt") as caught:
                reference.label(atoms)
            assert caught.value.reason is FailureReason.NOT_CONVERGED
            assert "PBE" in (tmp_path / "logs" / f"gpaw-000{n}.txt").read_text()

    def test_without_stress(self) -> None:
        silicon = bulk("Si")
        silicon.rattle(0.02, seed=0)
        settings = {"mode_cutoff_eV": 150.0, "kpts": [1, 1, 1]}
        labelled = make_reference("gpaw", stress=False, **settings).label(silicon)
        assert "REF_forces" in labelled.arrays
        assert "REF_stress" not in labelled.info

    def test_k_points_by_density(self) -> None:
        described = make_reference("gpaw", kpts={"density": 2.0, "gamma": True}).describe()
        assert described["kpts"] == '{"density": 2.0, "gamma": true}'


def test_what_goes_to_the_ledger() -> None:
    described = TBLiteReference(accuracy=0.1).describe()
    assert described["engine"] == "tblite"
    assert described["method"] == "GFN1-xTB"
    assert described["accuracy"] == 0.1
    described = ASECalculatorReference("lj", {"sigma": 3.4}).describe()
    assert described["calculator"] == "lj"
    assert described["parameters.sigma"] == 3.4
    assert str(described["version"]).startswith("ase 3.")


def test_every_label_of_a_file_based_engine_has_a_folder_of_its_own(tmp_path: Path, copper: Atoms) -> None:
    reference = make_reference("ase", calculator="loading:Logging", directory=tmp_path / "engine")
    reference.label(copper)
    reference.label(copper)
    reference.close()
    assert sorted(entry.name for entry in (tmp_path / "engine").iterdir()) == ["label-0001", "label-0002"]


def test_an_engine_without_files_leaves_no_empty_folders(tmp_path: Path, copper: Atoms) -> None:
    reference = make_reference("ase", calculator="emt", directory=tmp_path / "engine")
    reference.label(copper)
    assert list((tmp_path / "engine").iterdir()) == []
    reference.close()
    assert not (tmp_path / "engine").exists()
    make_reference("tblite", directory=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("claim", [claim_folder, claim_file])
def test_labels_side_by_side_never_share_a_place(tmp_path: Path, claim: Callable[[Path, str], Path]) -> None:
    n_workers, n_labels = 4, 25
    together = threading.Barrier(n_workers)

    def worker(_: int) -> list[Path]:
        together.wait()
        return [claim(tmp_path / "engine", "label-{:04d}") for _ in range(n_labels)]

    with ThreadPoolExecutor(n_workers) as threads:
        places = [place for claimed in threads.map(worker, range(n_workers)) for place in claimed]
    assert sorted(places) == sorted((tmp_path / "engine").iterdir())
    assert len(set(places)) == n_workers * n_labels
    assert (tmp_path / "engine" / f"label-{n_workers * n_labels:04d}").exists()


def test_a_directory_that_cannot_be_made(tmp_path: Path, copper: Atoms) -> None:
    (tmp_path / "file").write_text("")
    reference = make_reference("ase", calculator="emt", directory=tmp_path / "file" / "engine")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        reference.label(copper)


def test_every_engine_has_settings_and_arguments_that_fit() -> None:
    """One declaration per engine: the campaign file, the class and the examples of `trepid init` agree."""
    assert [engine_of(settings) for settings in REFERENCE_SETTINGS] == list(ENGINES)
    for settings in REFERENCE_SETTINGS:
        accepted = set(inspect.signature(ENGINES[engine_of(settings)].reference).parameters)
        assert set(settings.model_fields) - {"engine", "timeout_s"} == accepted - {"directory"}
        if settings.example is not None:
            values = yaml.safe_load(settings.example[1])
            assert values["engine"] == engine_of(settings)
            settings.model_validate(values)


@pytest.mark.skipif(find_spec("gpaw") is None, reason="gpaw is not installed")
def test_the_example_for_gpaw_is_accepted() -> None:
    settings = next(settings for settings in REFERENCE_SETTINGS if engine_of(settings) == "gpaw")
    assert settings.example is not None
    values = settings.model_validate(yaml.safe_load(settings.example[1]))
    make_reference("gpaw", **values.arguments()).check(bulk("Cu", cubic=True))


def test_what_a_session_prints_of_a_reference() -> None:
    told = repr(make_reference("ase", calculator="lj", parameters={"sigma": 3.4}, timeout_s=5.0))
    assert told.startswith("IsolatedReference(calculator=lj, version=ase ")
    assert told.endswith("parameters.sigma=3.4, timeout_s=5.0)")
    long = repr(make_reference("ase", calculator="lj", parameters={"sigma": 3.4, "epsilon": float("1" * 300)}))
    assert len(long) < 200
    assert "\n" not in long
