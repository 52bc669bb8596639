from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ase.build import bulk

from trepid.config import Campaign, LearningSettings, campaign_schema, load_campaign
from trepid.errors import ConfigError

MINIMAL = """\
structure: {file: cu.extxyz, supercell: [2, 2, 2]}
reference: {engine: tblite, method: GFN1-xTB}
dynamics:
  stages:
    - {temperature_K: 300, duration_ps: 10}
    - {temperature_K: [300, 600], duration_ps: 1e-1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bulk("Cu", cubic=True).write(tmp_path / "cu.extxyz")
    return tmp_path


def load(folder: Path, text: str) -> Campaign:
    (folder / "campaign.yaml").write_text(text)
    return load_campaign(folder / "campaign.yaml")


def error(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder / "campaign.yaml"))
    return message.removeprefix(str(folder / "campaign.yaml"))


def test_minimal_file_gets_defaults_and_absolute_paths(folder: Path) -> None:
    campaign = load(folder, MINIMAL)
    assert campaign.structure.file == folder / "cu.extxyz"
    assert campaign.output.directory == folder / "run"
    assert campaign.learning.threshold_noise == 8.0
    assert campaign.learning.threshold_eV_per_A is None
    assert campaign.dynamics.stages[1].temperature_K == (300.0, 600.0)
    assert campaign.dynamics.stages[1].duration_ps == 0.1
    assert campaign.reference.arguments() == {
        "method": "GFN1-xTB",
        "accuracy": 1.0,
        "electronic_temperature_K": 300.0,
        "max_iterations": 250,
        "timeout_s": None,
    }


def test_written_settings_load_again_to_the_same(folder: Path) -> None:
    campaign = load(folder, MINIMAL + "learning: {threshold_eV_per_A: 0.2, max_labels: 40}\nseed: 5\n")
    again = load(folder, campaign.to_yaml())
    assert again == campaign


def test_a_written_null_that_is_not_the_default_is_read_back_as_null(folder: Path) -> None:
    campaign = load(folder, MINIMAL + "potential: {n_channels: null}\n")
    assert campaign.potential.n_channels is None
    assert load(folder, campaign.to_yaml()) == campaign
    assert load(folder, MINIMAL).potential.n_channels == 0


def test_a_bare_path_is_a_structure(folder: Path) -> None:
    campaign = load(folder, MINIMAL.replace("{file: cu.extxyz, supercell: [2, 2, 2]}", "cu.extxyz"))
    assert campaign.structure.supercell == (1, 1, 1)


def test_supercell_may_be_a_matrix(folder: Path) -> None:
    campaign = load(folder, MINIMAL.replace("[2, 2, 2]", "[[1, 1, 0], [-1, 1, 0], [0, 0, 1]]"))
    assert campaign.structure.supercell == ((1, 1, 0), (-1, 1, 0), (0, 0, 1))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("method", "metod", [": reference.metod: unknown key; did you mean 'method'?"]),
        ("supercell", "supercel", [": structure.supercel: unknown key; did you mean 'supercell'?"]),
        ("duration_ps: 10", "duration: 10, duration_ps: 1", ["dynamics.stages[0].duration: unknown", "'duration_ps'"]),
        (
            "engine: tblite",
            "engine: vasp",
            [
                "reference.engine: 'vasp': give tblite, gpaw, ase, lammps, sevennet or chgnet",
                "`engine: ase` with `calculator: vasp`",
            ],
        ),
        ("engine: tblite, ", "", ["reference.engine: this key is missing"]),
        ("engine: tblite, method: GFN1-xTB", "engine: ase", ["reference.calculator: this key is missing"]),
        ("GFN1-xTB", "GFN1", ["reference.method: 'GFN1'", "did you mean 'GFN1-xTB'?"]),
        ("temperature_K: 300", "temperature_K: -300", ["dynamics.stages[0].temperature_K: -300", "above 0 K"]),
        ("temperature_K: 300", "temperature_K: warm", ["temperature_K: 'warm'", "above 0 K"]),
        ("temperature_K: 300", "temperature_K: .nan", ["temperature_K: nan", "above 0 K"]),
        ("temperature_K: 300", "temperature_K: .inf", ["temperature_K: inf"]),
        ("[300, 600]", "[300, 600, 900]", ["[300, 600, 900]", "[from, to]"]),
        ("[300, 600]", "[300, 0]", ["stages[1].temperature_K: [300, 0]: 0 K"]),
        ("duration_ps: 10", "duration_ps: 10 ps", ["stages[0].duration_ps: '10 ps'", "number", "Length of the stage"]),
        ("duration_ps: 10", "duration_ps: 0", ["stages[0].duration_ps: 0: should be greater than 0"]),
        ("duration_ps: 10", "duration_ps: 1e-5", ["shorter than one step of 1 fs"]),
        ("duration_ps: 10", "duration_ps: true", ["stages[0].duration_ps: True", "truth value"]),
        ("cu.extxyz", "ag.extxyz", ["structure.file: 'ag.extxyz': there is no such file", "relative to the campaign"]),
        ("[2, 2, 2]", "[2, 2, 0]", ["structure.supercell: [2, 2, 0]", "whole numbers of 1 or more"]),
        ("[2, 2, 2]", "[2, 2]", ["structure.supercell: [2, 2]"]),
        ("[2, 2, 2]", "[[1, 0, 0], [0, 1, 0], [1, 1, 0]]", ["determinant"]),
        (
            "dynamics:",
            "Dynamics:",
            ["2 problems: (1) Dynamics: unknown key; did you mean 'dynamics'? (2) dynamics: this"],
        ),
    ],
)
def test_bad_value_in_one_line(folder: Path, old: str, new: str, expected: list[str]) -> None:
    assert old in MINIMAL
    message = error(folder, MINIMAL.replace(old, new, 1))
    for part in expected:
        assert part in message


def test_up_to_five_problems_are_told(folder: Path) -> None:
    extra = "learning: {check_every: 0, initial_frames: 0, initial_displacement_A: 0, retries: -1, max_rewinds: 0, max_labels: 0}"
    message = error(folder, f"{MINIMAL}{extra}\n")
    for key in ("check_every: 0", "initial_frames: 0", "initial_displacement_A: 0", "retries: -1"):
        assert f"learning.{key}: should be greater" in message
    assert "6 problems: (1) " in message
    assert message.endswith("(and 1 more)")
    # A list of one wrong entry is not too short as well.
    wrong = "structure: cu.extxyz\ndynamics: {stages: [{temperature_K: 300, duration_ps: -1}]}\n"
    assert "problems" not in error(folder, wrong)


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        ("dynamics:\n  timestep_fs: 1\n   stages: []\n", 3, "it is indented further than the key above it"),
        ("dynamics:\n  stages:\n  - {temperature_K: 300}\n - {temperature_K: 300}\n", 4, "begins in another column"),
        ("dynamics:\n\ttimestep_fs: 1\n", 2, "there is a tab; indent with spaces"),
        ("dynamics: {timestep_fs: 1\nseed: 0\n", 2, "a bracket, opened in line 1, is not closed"),
        ("structure:POSCAR\nseed: 0\n", 2, "that key has no space after its colon"),
    ],
)
def test_what_is_no_yaml_is_told_in_plain_words(folder: Path, text: str, line: int, advice: str) -> None:
    message = error(folder, text)
    assert f", line {line}: not valid YAML: " in message
    assert f"({text.splitlines()[line - 1].strip()!r}): " in message
    assert advice in message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("learning: {treshold_noise: 3}", [": learning.treshold_noise: unknown key; did you mean 'threshold_noise'?"]),
        ("learning: {threshold_noise: 3, threshold_eV_per_A: 1}", [": learning: ", "both given; keep one"]),
        ("learning: {check_every: 0}", ["learning.check_every: 0: should be greater than or equal to 1"]),
        ("learning: {on_failure: skp}", ["learning.on_failure: 'skp'", "did you mean 'skip'?"]),
        ("learning: {max_labels: 3}", ["max_labels 3 does not cover initial_frames 4"]),
        ("learning: {optimize_at: [8, 6]}", ["learning.optimize_at: [8, 6]: give rising numbers"]),
        ("potential: {triplet_cutoff_A: 7}", ["triplet_cutoff_A 7 is above pair_cutoff_A 6"]),
        ("potential: 7", ["potential: 7: should be a mapping"]),
        ("output: {checkpoint_every: 1.5}", ["output.checkpoint_every: 1.5: should be a whole number"]),
        ("output: {directory: cu.extxyz}", ["output.directory", "is a file"]),
        ("mode: rounds", ["dynamics: belongs to mode on-the-fly, and the mode of this file is rounds"]),
        ("walkers: {}", ["walkers: belongs to mode rounds, and the mode of this file is on-the-fly"]),
        ("mode: round", ["mode: 'round'", "did you mean 'rounds'?"]),
        ("mode: otf", ["mode: 'otf': should be 'on-the-fly'"]),
        ("seed: -1", ["seed: -1: should be greater than or equal to 0"]),
        ("seed: yes", ["seed: True: a truth value"]),
        ("seed: 1\nseed: 2", [", line 8: not valid YAML: the key 'seed' is given twice"]),
        ("zzz: 1", ["zzz: unknown key; known keys: structure, mode"]),
        ("a: [", [", line 8: not valid YAML"]),
        ("dynamics: {thermostat: nose}", ["given twice"]),
    ],
)
def test_bad_addition_in_one_line(folder: Path, extra: str, expected: list[str]) -> None:
    message = error(folder, MINIMAL + extra + "\n")
    for part in expected:
        assert part in message


def test_missing_empty_and_foreign_files(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such campaign file"):
        load_campaign(folder / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_campaign(folder)
    assert "is empty; a campaign is a YAML mapping" in error(folder, "")
    assert "is no campaign; a campaign is a YAML mapping with the keys structure" in error(folder, "- 1\n")
    assert error(folder, "- 1\n").endswith("'trepid init' writes one")
    (folder / "campaign.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="text file"):
        load_campaign(folder / "campaign.yaml")


def test_temperature_ramps_meet_their_ends(folder: Path) -> None:
    dynamics = load(folder, MINIMAL).dynamics
    assert dynamics.stage_steps == (10000, 100)
    assert dynamics.n_steps == 10100
    assert [dynamics.stage_at(step) for step in (0, 9999, 10000, 10099, 10100)] == [0, 0, 1, 1, 1]
    assert [dynamics.temperature_at(step) for step in (0, 9999, 10000, 10050, 10100)] == [300, 300, 300, 450, 600]


def test_threshold_is_absolute_or_relative_to_the_typical_error() -> None:
    assert LearningSettings.model_validate({"threshold_eV_per_A": 0.3}).threshold(0.02, 1.0) == 0.3
    assert LearningSettings.model_validate({"threshold_noise": 5}).threshold(0.02, 1.0) == pytest.approx(0.1)


def test_schema_describes_every_key() -> None:
    schema = campaign_schema()
    json.dumps(schema)
    classes = [schema, *schema["$defs"].values()]
    for section in classes:
        assert section["additionalProperties"] is False
        for name, key in section["properties"].items():
            assert "description" in key or "$ref" in key or name == "engine", f"{section['title']}.{name}"


def test_campaign_is_frozen(folder: Path) -> None:
    campaign = load(folder, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        campaign.seed = 2  # type: ignore[misc]


def test_yaml_of_a_campaign_has_plain_types_only(folder: Path) -> None:
    campaign = load(folder, MINIMAL.replace("engine: tblite, method: GFN1-xTB", "engine: gpaw, kpts: [2, 2, 1]"))
    data = yaml.safe_load(campaign.to_yaml())
    assert data["reference"] == {
        "engine": "gpaw",
        "mode_cutoff_eV": 340.0,
        "xc": "PBE",
        "kpts": [2, 2, 1],
        "stress": True,
    }
