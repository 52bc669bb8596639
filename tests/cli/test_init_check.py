from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.io import read, write

from trepid.cli.init import annotated_campaign
from trepid.config import Campaign, LearningSettings, campaign_schema, load_campaign
from trepid.data import read_structure
from trepid.data.formula import formula_of


@pytest.mark.parametrize(("example", "n_atoms"), [("cui", 64), ("stanene", 32), ("silicon", 64)])
def test_examples_are_ready_to_run(trepid, tmp_path: Path, monkeypatch, example: str, n_atoms: int) -> None:
    monkeypatch.chdir(tmp_path)
    assert trepid("init", "--example", example).code == 0
    outcome = trepid("check", "campaign.yaml", "--json")
    assert outcome.code == 0
    assert outcome.json["ok"] is True
    assert f"{n_atoms} atoms" in outcome.json["facts"]["structure"]
    assert outcome.json["facts"]["dynamics"].endswith(" fs, langevin, in ASE")


def test_every_setting_is_written_with_its_description(tmp_path: Path) -> None:
    write(tmp_path / "si.cif", bulk("Si"))
    text = annotated_campaign(
        {"structure": {"file": "si.cif"}, "dynamics": {"stages": [{"temperature_K": 300, "duration_ps": 1}]}}
    )
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    campaign = load_campaign(path)
    plain = tmp_path / "plain.yaml"
    plain.write_text("structure: si.cif\ndynamics:\n  stages: [{temperature_K: 300, duration_ps: 1}]\n")
    assert campaign == load_campaign(plain)
    words = " ".join(text.replace("#", " ").split())
    for name in ("learning", "dynamics", "output", "potential"):
        for key, field in Campaign.model_fields[name].annotation.model_fields.items():
            assert f"  {key}:" in text or f"  # {key}:" in text
            assert " ".join(field.description.split()) in words


def test_what_init_refuses_names_what_it_accepts(trepid, tmp_path: Path, monkeypatch) -> None:
    """It has no --force, which would replace a campaign that was edited; a file that is not there comes first."""
    monkeypatch.chdir(tmp_path)
    write("si.cif", bulk("Si"))
    assert trepid("init", "si.cif").code == 0
    assert trepid("init", "si.cif").error.endswith("campaign.yaml exists; give another name")
    assert "cannot read nothere.cif" in trepid("init", "nothere.cif").error
    assert "to start from a crystal without labels: trepid init" in trepid("fit", "si.cif", "-o", "si.trepid").error


def test_a_structure_of_the_user(trepid, tmp_path: Path) -> None:
    write(tmp_path / "POSCAR", bulk("GaAs", "zincblende", a=5.65, cubic=True), format="vasp")
    campaign = tmp_path / "gaas.yaml"
    assert trepid("init", tmp_path / "POSCAR", "-o", campaign).code == 0
    settings = load_campaign(campaign)
    assert settings.structure.file == (tmp_path / "POSCAR").resolve()
    assert settings.structure.supercell == (2, 2, 2)
    assert "file: POSCAR" in campaign.read_text()


def test_a_slab_in_a_periodic_file_is_started_from_without_its_vacuum(trepid, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    slab = fcc111("Al", (2, 2, 4), vacuum=8.0)
    slab.pbc = True
    write("POSCAR", slab, format="vasp")
    outcome = trepid("init", "POSCAR")
    command = re.search(r"'trepid (.*?)' writes POSCAR_slab.extxyz", outcome.err)
    assert command is not None
    outcome = trepid(*command[1].split())  # as it stands, beside the campaign.yaml that there is now
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.err
    assert read_structure("POSCAR_slab.extxyz").pbc.tolist() == [True, True, False]
    assert load_campaign("POSCAR_slab.yaml").structure.file == tmp_path / "POSCAR_slab.extxyz"
    assert "exists" in trepid("init", "POSCAR", "--slab", "-o", "again.yaml").error
    write("si.cif", bulk("Si"))
    assert "vacuum is wider than 6 A; leave --slab out" in trepid("init", "si.cif", "--slab", "-o", "x.yaml").error


@pytest.mark.parametrize(("n", "ps"), [(1, 0.1), (5, 0.5), (12, 1.0), (40, 20.0)])
@pytest.mark.parametrize("mode", ["on-the-fly", "rounds"])
def test_a_budget_is_written_with_the_settings_that_follow_from_it(
    trepid, tmp_path: Path, mode: str, n: int, ps: float
) -> None:
    write(tmp_path / "POSCAR", bulk("MgO", "rocksalt", a=4.21, cubic=True), format="vasp")
    file = tmp_path / "small.yaml"
    budget = ("--mode", mode, "--max-labels", n, "--duration", ps)
    assert trepid("init", tmp_path / "POSCAR", "-o", file, *budget).code == 0
    campaign = load_campaign(file)
    if isinstance(campaign, Campaign):
        assert campaign.learning.max_labels == n
        assert campaign.learning == LearningSettings(max_labels=n, initial_frames=min(4, n))
        assert [stage.duration_ps for stage in campaign.dynamics.stages] == [ps, ps]
    else:
        assert campaign.rounds.max_labels == n
        assert campaign.start.n == min(6, n)
        assert campaign.walkers.duration_ps == ps
        assert campaign.walkers.equilibrate_ps == min(1.0, ps / 4)
    assert trepid("check", file).code == 0
    error = trepid("init", tmp_path / "POSCAR", "-o", tmp_path / "none.yaml", "--duration", 0.01).error
    assert "--duration 0.01: give 0.1 ps or more" in error
    assert not (tmp_path / "none.yaml").exists()


def test_the_width_of_the_supercell_is_told_and_that_it_is_narrow(trepid, tmp_path: Path) -> None:
    write(tmp_path / "POSCAR", bulk("MgO", "rocksalt", a=4.21, cubic=True), format="vasp")
    told = trepid("init", tmp_path / "POSCAR", "-o", tmp_path / "two.yaml").err
    assert "64 atoms, 8.4 A wide" in told
    assert "narrower than 10 A" in told
    assert "8.4 A wide (narrow for tblite" in trepid("check", tmp_path / "two.yaml").out
    told = trepid("init", tmp_path / "POSCAR", "-o", tmp_path / "three.yaml", "--supercell", 3, 3, 3).err
    assert "216 atoms, 12.6 A wide" in told
    assert "narrow" not in told
    assert load_campaign(tmp_path / "three.yaml").structure.supercell == (3, 3, 3)
    checked = trepid("check", tmp_path / "three.yaml").out
    assert "12.6 A wide" in checked
    assert "narrow" not in checked
    write(tmp_path / "sheet.extxyz", fcc111("Al", (2, 2, 4), vacuum=8.0))
    error = trepid("init", tmp_path / "sheet.extxyz", "-o", tmp_path / "x.yaml", "--supercell", 2, 2, 2).error
    assert "nothing repeats along c" in error


def test_how_often_the_uncertainty_is_computed_is_that_of_the_campaign(trepid, campaign: Path) -> None:
    assert "force uncertainty every 10 MD steps (exact)" in trepid("check", campaign).out
    campaign.write_text(campaign.read_text().replace("learning:", "learning:\n  check_every: 1\n  uncertainty: live"))
    told = trepid("check", campaign).out
    assert "force uncertainty at every MD step (live)" in told
    assert "labels: 6 at most, 2 of them before any MD" in told
    rounds = "mode: rounds\nstructure: copper.extxyz\nreference: {engine: ase, calculator: emt}\nwalkers: {check_every: 30}\n"
    campaign.write_text(rounds)
    assert "force uncertainty every 30 MD steps (exact)" in trepid("check", campaign).out
    committee = "potential: {kind: committee, backend: bayesian}\n"
    campaign.write_text(rounds + committee)
    assert "every 30 MD steps, from the spread of all 4 members" in trepid("check", campaign).out


def test_a_time_step_in_ps_is_asked_about(trepid, campaign: Path) -> None:
    assert "is it in ps" not in trepid("check", campaign).err
    campaign.write_text(campaign.read_text().replace("timestep_fs: 2.0", "timestep_fs: 0.002"))
    outcome = trepid("check", campaign)
    assert outcome.code == 0
    assert "dynamics.timestep_fs: 0.002 fs; is it in ps: 2 fs would be usual?" in outcome.err
    assert "is it in ps" in trepid("learn", campaign, "--dry-run").err
    assert trepid("check", campaign, "--strict").code == 1
    rounds = "mode: rounds\nstructure: copper.extxyz\nreference: {engine: ase, calculator: emt}\n"
    campaign.write_text(rounds + "walkers: {timestep_fs: 0.01, duration_ps: 2}\n")
    assert "walkers.timestep_fs: 0.01 fs; is it in ps: 10 fs" in trepid("check", campaign).err


def test_a_temperature_in_degrees_is_asked_about(trepid, campaign: Path) -> None:
    assert "is it in K" not in trepid("check", campaign).err
    settings = yaml.safe_load(campaign.read_text())
    settings["dynamics"]["stages"] = [{"temperature_K": [300, 27], "duration_ps": 1}]
    campaign.write_text(yaml.safe_dump(settings))
    outcome = trepid("check", campaign)
    assert outcome.code == 0
    assert "dynamics.stages[0].temperature_K: 27 K; is it in K (27 C is 300 K)?" in outcome.err
    rounds = "mode: rounds\nstructure: copper.extxyz\nreference: {engine: ase, calculator: emt}\n"
    campaign.write_text(rounds + "walkers: {temperatures_K: [20, 300]}\n")
    assert "walkers.temperatures_K: 20 K; is it in K (20 C is 293 K)?" in trepid("check", campaign).err


def test_a_long_time_step_and_a_pressure_in_bar_are_asked_about(trepid, campaign: Path) -> None:
    settings = yaml.safe_load(campaign.read_text())
    stage = {"temperature_K": 300, "duration_ps": 5000, "pressure_GPa": 1000.0}
    settings["dynamics"] |= {"timestep_fs": 20.0, "stages": [stage], "thermostat": "nose-hoover"}
    campaign.write_text(yaml.safe_dump(settings))
    told = trepid("check", campaign).err
    assert "dynamics.timestep_fs: 20 fs is long for the vibrations of Cu" in told
    assert "dynamics.stages[0].pressure_GPa: 1000 GPa; is it in GPa (1 bar is 0.0001 GPa)?" in told
    assert "dynamics.stages[0].duration_ps: 5000 ps, 250000 steps; is it in ps?" in told
    settings["dynamics"] |= {"timestep_fs": 8.0, "stages": [{**stage, "pressure_GPa": 1.0, "duration_ps": 50}]}
    campaign.write_text(yaml.safe_dump(settings))
    told = trepid("check", campaign).err
    assert "is long" not in told
    assert "1 bar" not in told
    assert "steps; is it" not in told


def test_a_structure_in_bohr_is_asked_about(trepid, campaign: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(campaign.read_text())
    file = campaign.parent / "bohr.extxyz"
    write(file, bulk("Cu", a=3.6 / units.Bohr, cubic=True).repeat(2))
    settings["structure"] = {"file": str(file)}
    campaign.write_text(yaml.safe_dump(settings))
    assert "are the lengths of the file in A, not in Bohr (0.529 A)?" in trepid("check", campaign).err
    assert "not in Bohr" in trepid("init", file, "-o", tmp_path / "new.yaml").err


def test_a_poscar_without_elements_is_told_what_to_add(trepid, tmp_path: Path) -> None:
    cell = "1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7 0\n"
    (tmp_path / "POSCAR").write_text(f"a cell\n{cell}1 1\nDirect\n0 0 0\n0.25 0.25 0.25\n")
    error = trepid("init", tmp_path / "POSCAR", "-o", tmp_path / "x.yaml").error
    assert "POSCAR has no line of element symbols above the counts '1 1' (line 6); add one, such as 'Si O'" in error
    (tmp_path / "POSCAR").write_text(f"a cell\n{cell}Si C\n1 1\nDirect\n0 0 0\n0.25 0.25 0.25\n")
    assert trepid("init", tmp_path / "POSCAR", "-o", tmp_path / "x.yaml").code == 0


def test_a_molecule_is_not_periodic_and_never_too_small(trepid, tmp_path: Path) -> None:
    write(tmp_path / "water.xyz", molecule("H2O"))
    told = trepid("init", tmp_path / "water.xyz", "-o", tmp_path / "water.yaml").err
    assert "3 atoms" in told
    assert "too small" not in told
    outcome = trepid("check", tmp_path / "water.yaml")
    assert outcome.code == 0
    assert "3 atoms, not periodic" in outcome.out
    boxed = molecule("H2O", vacuum=4.0, pbc=True)  # the reference refuses it, and `init` says so before
    write(tmp_path / "boxed.xyz", boxed)
    told = trepid("init", tmp_path / "boxed.xyz", "-o", tmp_path / "boxed.yaml").err
    assert "too small for tblite, which needs 16 atoms" in told


@pytest.mark.parametrize(
    ("option", "value", "what"), [("--duration", "1ps", "number"), ("--steps", "1.5k", "whole number")]
)
def test_a_value_with_a_unit_is_told_in_plain_words(trepid, tmp_path: Path, option: str, value: str, what: str) -> None:
    error = trepid("md", "m.trepid", "POSCAR", "--temperature", 300, option, value).error
    assert f"Invalid value for '{option}': give a {what} without a unit (--help names the unit), not '{value}'" in error


@pytest.mark.parametrize(
    ("symbols", "formula"), [("TiO3Sr", "SrTiO3"), ("ClNa", "NaCl"), ("Cs2Pb2I6", "CsPbI3"), ("As2Ga2", "GaAs")]
)
def test_formulas_begin_with_the_metals(symbols: str, formula: str) -> None:
    assert formula_of(Atoms(symbols), reduced=True) == formula


def test_a_structure_in_the_place_of_something_else_is_told_from_it(trepid, tmp_path: Path) -> None:
    write(tmp_path / "si.cif", bulk("Si"))
    outcome = trepid("check", tmp_path / "si.cif")
    assert outcome.code == 1
    assert f"'trepid init {tmp_path / 'si.cif'}' writes a campaign" in " ".join(outcome.err.split())
    assert "is no campaign; a campaign is a YAML mapping" in trepid("learn", tmp_path / "si.cif").error
    (tmp_path / "junk.cif").write_text("hello")
    error = trepid("init", tmp_path / "junk.cif").error
    assert "see whether it is complete" in error
    assert "train.extxyz" not in error


def test_init_never_overwrites(trepid, tmp_path: Path) -> None:
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text("mine")
    assert "exists" in trepid("init", "--example", "cui", "-o", campaign).error
    assert campaign.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [campaign]
    (tmp_path / "cui.extxyz").write_text("mine too")
    assert "cui.extxyz exists" in trepid("init", "--example", "cui", "-o", tmp_path / "other.yaml").error
    assert not (tmp_path / "other.yaml").exists()


def test_init_needs_one_of_the_two(trepid, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "one of the two" in trepid("init").error
    assert "one of the two" in trepid("init", "POSCAR", "--example", "cui").error
    assert "POSCAR" in trepid("init", "POSCAR").error
    assert list(tmp_path.iterdir()) == []


def test_check_frames(trepid, copper: Path, tmp_path: Path) -> None:
    good = trepid("check", copper / "train.extxyz")
    assert good.code == 0
    assert "frames: 6" in good.out
    frames = read(copper / "train.extxyz", ":")
    frames[3].positions[1] = frames[3].positions[0] + [0.3, 0.0, 0.0]
    write(tmp_path / "bad.extxyz", frames)
    doubtful = trepid("check", tmp_path / "bad.extxyz", "--json")
    assert doubtful.code == 0
    assert "frame 3: atoms 0 (Cu) and 1 (Cu) are 0.300 A apart" in doubtful.json["warnings"][0]
    for k in (1, 4):
        del frames[k].arrays["REF_forces"]
    write(tmp_path / "bad.extxyz", frames)
    bad = trepid("check", tmp_path / "bad.extxyz", "--json")
    assert bad.code == 1
    assert bad.json["ok"] is False
    assert [problem[:18] for problem in bad.json["problems"]] == ["frame 1: no forces", "frame 4: no forces"]


def test_check_model(trepid, copper: Path) -> None:
    outcome = trepid("check", copper / "cu.trepid", "--json")
    assert outcome.json["facts"]["species"] == "Cu"
    assert outcome.json["facts"]["trained on"] == "6 frames"


def test_check_a_missing_file(trepid, tmp_path: Path) -> None:
    assert "nowhere.yaml" in trepid("check", tmp_path / "nowhere.yaml").error


def test_an_unknown_key_is_an_error_with_a_hint(trepid, campaign: Path) -> None:
    campaign.write_text(campaign.read_text().replace("max_labels", "max_label"))
    for verb in ("check", "learn"):
        error = trepid(verb, campaign).error
        assert "learning.max_label" in error
        assert "max_labels" in error
    assert not (campaign.parent / "run").exists()


def test_a_label_is_timed_when_asked_and_the_cost_told(trepid, campaign: Path, copper: Path) -> None:
    plain = trepid("check", campaign, "--json").json["facts"]
    assert "time of a label" not in plain
    outcome = trepid("check", campaign, "--time-label", "--json")
    assert outcome.code == 0, outcome
    facts = outcome.json["facts"]
    assert facts["time of a label"].endswith(" (32 atoms, measured)")
    assert "labels to the end" in facts
    assert "labels alone, without molecular dynamics and training" in facts["time"]
    assert facts["time of the molecular dynamics"].startswith("about ")
    assert not (campaign.parent / "run").exists()
    assert "--time-label is for a campaign" in trepid("check", copper / "cu.trepid", "--time-label").error


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("rounds: {test_frames: 2}", "rounds.test_frames: 2: should be the path of a file"),
        ("rounds: {max_rounds: 1.5}", "rounds.max_rounds: 1.5: should be a whole number"),
        ("walkers: {temperatures_K: []}", "walkers.temperatures_K: []: should have 1 or more entries"),
        ("reference: {engine: tbltie}", "did you mean 'tblite'?"),
        ("walkers: {temperatures_K: 300}", "walkers.temperatures_K: 300: should be a list"),
        ("walkers: {timestep_fs: fast}", "walkers.timestep_fs: 'fast': should be a number"),
        ("acquisition: {kind: 3}", "acquisition.kind: 3: should be 'uncertainty', 'random' or 'hot'"),
    ],
)
def test_messages_about_types_name_no_python(trepid, tmp_path: Path, section: str, message: str) -> None:
    write(tmp_path / "cu.extxyz", bulk("Cu", cubic=True))
    (tmp_path / "campaign.yaml").write_text(f"mode: rounds\nstructure: cu.extxyz\n{section}\n")
    error = trepid("check", tmp_path / "campaign.yaml").error
    assert message in error
    for word in ("pathlib", "class", "tuple", "Input", "string", "NoneType"):
        assert word not in error


def test_sizes_of_the_members_of_a_committee_are_checked_before_any_label(trepid, tmp_path: Path) -> None:
    write(tmp_path / "cu.extxyz", bulk("Cu", cubic=True).repeat(2))
    (tmp_path / "campaign.yaml").write_text(
        "mode: rounds\nstructure: cu.extxyz\nreference: {engine: ase, calculator: emt}\n"
        "potential: {kind: committee, backend: bayesian, settings: {n_radial: 2}}\n"
    )
    outcome = trepid("check", tmp_path / "campaign.yaml")
    assert outcome.code == 1
    assert "n_radial is 2; it must lie between" in outcome.err
    outcome = trepid("learn", tmp_path / "campaign.yaml")
    assert outcome.code == 2
    assert "n_radial is 2; it must lie between" in outcome.err
    assert not list(tmp_path.glob("run/labels/*"))


def test_a_negative_temperature(trepid, campaign: Path) -> None:
    campaign.write_text(campaign.read_text().replace("temperature_K: 300", "temperature_K: -300"))
    assert "-300" in trepid("learn", campaign).error
    assert not (campaign.parent / "run").exists()


def test_a_cell_too_small_for_the_reference(trepid, campaign: Path) -> None:
    write(campaign.parent / "cui.extxyz", bulk("CuI", "zincblende", a=6.19))
    text = campaign.read_text().replace("copper.extxyz", "cui.extxyz").replace("[2, 2, 2]", "[1, 1, 1]")
    campaign.write_text(text.replace("engine: ase\n  calculator: emt", "engine: tblite"))
    error = trepid("learn", campaign).error
    assert "2 atoms" in error
    assert "16 or more" in error
    assert not (campaign.parent / "run").exists()
    checked = trepid("check", campaign)
    assert checked.code == 1
    assert "16 or more" in checked.err


def test_schema(trepid) -> None:
    outcome = trepid("schema")
    assert json.loads(outcome.out) == json.loads(json.dumps(campaign_schema()))


def test_doctor_lists_usable_parts(trepid) -> None:
    outcome = trepid("doctor", "--json")
    parts = {part["name"]: part for part in outcome.json["parts"]}
    assert parts["native core"]["usable"]
    assert parts["tblite"]["usable"]
    assert outcome.code == 0
    for part in parts.values():
        assert bool(part["remedy"]) is not part["usable"]
    assert int(outcome.json["machine"]["cores"]) >= 1


def test_doctor_fails_where_a_needed_part_is_missing(trepid, monkeypatch) -> None:
    from dataclasses import replace

    from trepid.reference import ENGINES

    def missing() -> str:
        raise ModuleNotFoundError("No module named 'tblite'\nand more")

    tblite = ENGINES["tblite"]
    assert tblite.availability is not None
    broken = replace(tblite, availability=replace(tblite.availability, probe=missing))
    monkeypatch.setattr("trepid.reference.ENGINES", {**ENGINES, "tblite": broken})
    outcome = trepid("doctor")
    assert outcome.code == 1
    assert "No module named 'tblite'" in outcome.out
    assert "pip install tblite" in outcome.out
