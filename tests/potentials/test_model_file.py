"""The model file: a loaded model equals the saved one to the last bit, and other files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from model_files import read_model, write_model, write_without_sum
from potential_systems import labelled, molecule, triclinic
from trepid.errors import DataError, ModelFileError
from trepid.potentials import load_potential
from trepid.potentials.bayesian import BayesianForceField
from trepid.potentials.bayesian.container import FORMAT, METADATA
from trepid.potentials.bayesian.model_file import pack_symmetric, unpack_symmetric


def train() -> BayesianForceField:
    model = BayesianForceField(
        ["Cu", "I"],
        pair_cutoff=4.6,
        triplet_cutoff=3.9,
        n_pair=6,
        n_radial=4,
        l_max=2,
        large_force=float("inf"),
        seed=7,
        n_threads=1,
    )
    return model.fit([labelled(triclinic(seed=1), 1), labelled(molecule(seed=2), 2)])


@pytest.fixture(scope="module")
def model() -> BayesianForceField:
    return train()


@pytest.fixture(scope="module")
def path(model: BayesianForceField, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "cui.trepid"
    model.save(file)
    return file


def assert_same_predictions(a: BayesianForceField, b: BayesianForceField) -> None:
    for atoms in (triclinic(seed=50), molecule(seed=51)):
        for level in ("exact", "live"):
            p, q = a.predict(atoms, uncertainty=level), b.predict(atoms, uncertainty=level)
            for name in type(p).__dataclass_fields__:
                np.testing.assert_array_equal(getattr(p, name), getattr(q, name), err_msg=f"{level} {name}")


def test_everything_comes_back_bit_for_bit(model: BayesianForceField, path: Path) -> None:
    loaded = BayesianForceField.load(path, n_threads=1)
    assert loaded.settings_summary() == model.settings_summary()
    assert loaded.hyperparameters == model.hyperparameters
    assert loaded.log_evidence == model.log_evidence
    np.testing.assert_array_equal(loaded.posterior.mean, model.posterior.mean)
    for kind, s in model.statistics.kinds.items():
        other = loaded.statistics.kinds[kind]
        np.testing.assert_array_equal(other.gram, s.gram)
        np.testing.assert_array_equal(other.projection, s.projection)
        assert (other.squared, other.count, other.log_multiplier) == (s.squared, s.count, s.log_multiplier)
    assert loaded.templates == model.templates
    assert_same_predictions(loaded, model)


def test_a_second_generation_is_the_same_file(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.trepid"
    BayesianForceField.load(path).save(copy)
    assert read_model(copy)[1] == read_model(path)[1]
    ours, theirs = read_model(path)[0], read_model(copy)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)


def test_training_continues_after_loading(path: Path) -> None:
    """As if there had been no file: with the next frames, hyperparameters included."""
    new = [labelled(triclinic(seed=52, n=4), 52)]
    straight, resumed = train(), BayesianForceField.load(path, n_threads=1)
    for each in (straight, resumed):
        each.update(new)
    assert_same_predictions(resumed, straight)
    for each in (straight, resumed):
        each.optimize(max_iterations=3)
    assert resumed.hyperparameters == straight.hyperparameters
    assert_same_predictions(resumed, straight)


def test_any_reader_of_model_files(model: BayesianForceField, path: Path) -> None:
    potential = load_potential(path)
    assert isinstance(potential, BayesianForceField)
    assert potential.n_frames == 2
    assert potential.noise == model.noise


def test_samples_after_loading(model: BayesianForceField, path: Path) -> None:
    atoms = triclinic(seed=53)
    drawn = [each.sample(1, seed=3)[0].predict(atoms).energy for each in (model, BayesianForceField.load(path))]
    assert drawn[0] == drawn[1]


def test_molecular_dynamics_needs_no_posterior(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading and evaluating a large model must not need a factorisation."""
    loaded = BayesianForceField.load(path)
    monkeypatch.setattr("trepid.potentials.bayesian.force_field.Posterior", None)
    assert loaded.predict(triclinic(), uncertainty="live").forces_uncertainty is not None
    atoms = triclinic()
    atoms.calc = loaded.calculator()
    assert np.isfinite(atoms.get_forces()).all()


@settings(max_examples=20)
@given(n=st.integers(1, 12), seed=st.integers(0, 100))
def test_packing_symmetric_matrices(n: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, n))
    x += x.T
    packed = pack_symmetric(x)
    assert packed.shape == (n * (n + 1) // 2,)
    np.testing.assert_array_equal(unpack_symmetric(packed, n), x)


# What is not a model file


def refused(path: Path) -> str:
    """The message with which a file is refused."""
    with pytest.raises(ModelFileError) as caught:
        BayesianForceField.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9999))
def test_a_file_cut_off_anywhere(path: Path, tmp_path: Path, share: float) -> None:
    whole = path.read_bytes()
    file = tmp_path / "cut.trepid"
    file.write_bytes(whole[: int(share * len(whole))])
    assert "it is cut off" in refused(file)


@pytest.mark.parametrize("content", [b"", b"trepid", b"\x00" * 1000, b"{}", b"x" * 5000, bytes(range(256)) * 40])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "garbage.trepid"
    file.write_bytes(content)
    assert "is not a model file of trepid" in refused(file)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "missing.trepid")
    assert "is a folder, not a file" in refused(tmp_path)
    assert "its model is" not in refused(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.trepid").write_bytes(b"")
    assert refused(tmp_path).endswith(f"; its model is {tmp_path / 'run' / 'model.trepid'}")
    assert refused(tmp_path / "run").endswith(f"; its model is {tmp_path / 'run' / 'model.trepid'}")


def rewritten(path: Path, out: Path, *, header: dict[str, object] | None = None, **settings_: object) -> Path:
    """The model file with other entries in its header or settings."""
    tensors, settings = read_model(path)
    return write_without_sum(out, tensors, settings | settings_, **(header or {}))


def test_the_rewriting_used_here_is_faithful(path: Path, tmp_path: Path) -> None:
    assert BayesianForceField.load(rewritten(path, tmp_path / "same.trepid")).n_frames == 2


def test_another_version_and_another_format(path: Path, tmp_path: Path) -> None:
    newer = rewritten(path, tmp_path / "newer.trepid", header={"version": 99})
    assert "has model file version 99; this trepid reads versions 1 to 4" in refused(newer)
    foreign = rewritten(path, tmp_path / "foreign.trepid", header={"format": "weights"})
    assert "is not a model file of trepid" in refused(foreign)
    bare = tmp_path / "bare.trepid"
    save_file({"x": np.zeros(3)}, bare)
    assert "is not a model file of trepid" in refused(bare)


@pytest.mark.parametrize(
    "settings_",
    [
        {"n_radial": 5},
        {"n_pair": 7},
        {"l_max": 3},
        {"species": ["Cu"]},
        {"species": ["Cu", "Nn"]},
        {"live_rank": 32},
        {"live_rank": 7},
        {"pair_cutoff_A": -1.0},
        {"pair_cutoff_A": "long"},
        {"hyperparameters": {}},
        {"hyperparameters": {"noise": {"energy": 1.0, "forces": -1.0, "stress": 1.0}}},
        {"statistics": {"charges": {}}},
        {"statistics": []},
        {"hyperparameters": 3},
        {"label_keys": {"dipole": "x"}},
    ],
)
def test_settings_that_do_not_fit_the_arrays(path: Path, tmp_path: Path, settings_: dict[str, object]) -> None:
    assert ": damaged: " in refused(rewritten(path, tmp_path / "odd.trepid", **settings_))


@pytest.mark.parametrize(
    "name",
    [
        "table.pair",
        "table.triplet_live",
        "reference_energies",
        "statistics.forces.gram",
        "support.whitening",
        "support.statistics.products",
    ],
)
def test_arrays_that_are_missing_or_of_another_size(path: Path, tmp_path: Path, name: str) -> None:
    tensors, settings = read_model(path)
    for label, changed in (
        ("without", {k: v for k, v in tensors.items() if k != name}),
        ("short", tensors | {name: np.ascontiguousarray(tensors[name].ravel()[:-1])}),
    ):
        file = tmp_path / f"{label}.trepid"
        write_model(file, changed, settings)
        assert ": damaged: " in refused(file), label


@pytest.mark.parametrize("header", ["{half", "[1]", '{"format": "' + FORMAT + '", "version": 1}'])
def test_unreadable_headers(path: Path, tmp_path: Path, header: str) -> None:
    file = tmp_path / "header.trepid"
    save_file(read_model(path)[0], file, metadata={METADATA: header})
    assert ": damaged: its settings cannot be read" in refused(file)


def test_saving_replaces_in_one_step(
    model: BayesianForceField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure while writing leaves the old file whole and nothing beside it."""
    file = tmp_path / "model.trepid"
    model.save(file)
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DataError, match="cannot write .* disk full"):
        model.save(file)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_readable_container(path: Path) -> None:
    """Any reader of safetensors finds the tables."""
    tensors = load_file(path)
    assert tensors["table.pair"].shape == (2, 2, 9)
    assert tensors["table.triplet_live"].dtype == np.float32
    assert isinstance(Atoms(tensors["template.0.numbers"]), Atoms)
