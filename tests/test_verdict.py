"""The verdict judges by the rms force, says what limits the model, and stands at the end of every command that has a model."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import write

from trepid.choices import Speed
from trepid.cli.main import run
from trepid.config.learning import LARGEST_SHARE, LearningSettings
from trepid.data import Labels, attach_labels, read_frames
from trepid.errors import ExitCode
from trepid.evaluation import compare, evaluate, summarise
from trepid.potentials.base import SizeSearch
from trepid.potentials.bayesian import BayesianForceField
from trepid.report.costs import cost_rows
from trepid.report.html import render
from trepid.runs.first_look import Matter, crystal_findings
from trepid.runs.label_files import LabelStore
from trepid.runs.ledger_events import Doubt, FirstLook, Label
from trepid.runs.reading import read_run
from trepid.verdict import (
    FAIR,
    GOOD,
    Asked,
    Basis,
    Grade,
    Verdict,
    verdict_of_fit,
    verdict_of_run,
    verdict_of_test,
)


def verdict(error: float, *, misfit: float | None = None, **change: object) -> Verdict:
    return replace(Verdict(Basis.LEFT_OUT, 20, error, 1.0, misfit), **change)


@pytest.mark.parametrize(
    ("share", "grade"),
    [(0.01, Grade.GOOD), (GOOD, Grade.GOOD), (0.06, Grade.FAIR), (FAIR, Grade.FAIR), (0.09, Grade.POOR)],
)
def test_the_grade_is_the_error_over_the_rms_force(share: float, grade: Grade) -> None:
    assert verdict(share).grade is grade
    assert verdict(500 * share, forces=500.0).grade is grade
    assert verdict(share).text().startswith(grade.value.capitalize())


def test_few_frames_and_no_labels_are_not_judged() -> None:
    assert verdict(0.01, n_frames=3).grade is Grade.UNKNOWN
    assert "No judgement from 3 frames, 4 are needed" in verdict(0.01, n_frames=3).text()
    assert verdict(math.nan).grade is Grade.UNKNOWN
    assert verdict(0.0, forces=0.0).grade is Grade.UNKNOWN


def test_what_limits_a_model_is_said_with_the_remedy() -> None:
    form = verdict(0.1, misfit=0.09).text()
    assert "Most of it, 90.0 meV/A (squares add up), is misfit" in form
    assert "'trepid fit TRAIN --speed balanced -o better.trepid' (--speed accurate looks further)" in form
    few = verdict(0.1, misfit=0.09, searchable=False).text()
    assert "from 6 frames on 'trepid fit TRAIN --speed balanced -o better.trepid' looks for a larger basis" in few
    assert (
        "trepid fit run/labels/label-????.extxyz"
        in verdict(0.1, misfit=0.09, labels="run/labels/label-????.extxyz").text()
    )
    data = verdict(0.1, misfit=0.02).text()
    assert "Most of it is lack of data; the misfit of the functional form is 20.0 meV/A" in data
    assert "more labels where the model is used" in data


def test_a_search_of_sizes_is_not_advised_after_itself() -> None:
    for speed in (Speed.BALANCED, Speed.ACCURATE):
        search = SizeSearch(speed, beyond_ceiling=False)
        form = verdict(0.1, misfit=0.09, search=search).text()
        assert "--speed" not in form
        assert "no larger basis helps on these labels; look at the labels and the reference" in form
        assert "--speed" not in verdict(0.1, misfit=0.02, search=search).text()
        assert "--speed" not in verdict(0.03, misfit=0.029, search=search).text()
    # What the ceiling kept out may still help; beyond the highest ceiling there is none.
    balanced, accurate = (SizeSearch(speed, beyond_ceiling=True) for speed in (Speed.BALANCED, Speed.ACCURATE))
    assert "--speed accurate" in verdict(0.1, misfit=0.09, search=balanced).text()
    most = verdict(0.1, misfit=0.09, search=accurate).text()
    assert "no larger basis within the time per MD step of --speed accurate helps" in most
    assert "trepid fit" not in most


def test_the_guard_is_advised_as_a_whole_command(capsys: pytest.CaptureFixture[str]) -> None:
    for found in (verdict(0.03), verdict(0.1, usual=0.01)):
        command = re.search(r"\(trepid (md [^:]*): it warns where the model is uncertain", found.text())
        assert command is not None
        # The model is missing, not an option or its value.
        assert run(command[1].split()) == ExitCode.INPUT
        assert "model file MODEL does not exist" in capsys.readouterr().err


def test_intervals_and_doubted_labels_are_judged_too() -> None:
    text = verdict(0.03, coverage_95=0.62, scale=2.9, believed=("a (forces)", "b (energy)")).text()
    assert "Error bars too narrow: 62 % of the force components are inside their 95 % interval; about 2.9 times" in text
    assert (
        "2 doubted labels were computed again, came out the same and were believed: look at a (forces) and b (energy);"
        in text
    )
    assert "Error bars fit: 93 % of the force components" in verdict(0.03, coverage_95=0.93).text()
    assert "believed" not in verdict(0.03).text()


def test_a_misfit_that_grows_does_not_raise_the_threshold_beyond_a_share_of_the_forces() -> None:
    settings = LearningSettings()
    thresholds = [settings.threshold(misfit, 1.2) for misfit in (0.005, 0.01, 0.02, 0.04, 0.4)]
    assert thresholds[0] == pytest.approx(8 * 0.005)
    assert thresholds[-1] == thresholds[-2] == pytest.approx(LARGEST_SHARE * 1.2)
    assert LearningSettings(threshold_eV_per_A=0.3).threshold(0.04, 1.2) == 0.3  # asked for


@pytest.fixture(scope="module")
def silicon(data_dir: Path) -> tuple[BayesianForceField, list]:
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    field = BayesianForceField(["Si"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=10, n_radial=4, l_max=2, n_threads=1)
    return field.fit(frames[0:12:2]), [*frames[0:12:2], *frames[1:12:2]]


def test_a_fit_is_judged_by_its_left_out_frames(silicon: tuple[BayesianForceField, list]) -> None:
    field, frames = silicon
    found = verdict_of_fit(field)
    labels = np.concatenate([frame.arrays["REF_forces"] for frame in frames[:6]])
    assert found.forces == pytest.approx(np.sqrt(np.mean(labels**2)))
    assert found.n_frames == 6
    # What it promises is what it does on frames of the same kind.
    tested = summarise(compare(field, frames[6:]))
    assert 1 / 3 < found.error / tested.forces_rmse < 3
    assert verdict_of_test(tested, field).grade is found.grade


def argon(rng: np.random.Generator, *, displacement: float, approach: float = 0.0) -> Atoms:
    """Labelled frame of a Lennard-Jones crystal; `approach`: share of the way of the second atom onto the first."""
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    atoms.positions += rng.normal(scale=displacement, size=atoms.positions.shape)
    atoms.positions[1] -= approach * atoms.get_distance(0, 1, mic=True, vector=True)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=10.0)
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    return atoms


def test_one_frame_of_colliding_atoms_is_named_and_does_not_raise_thresholds() -> None:
    rng = np.random.default_rng(5)
    crystal = [argon(rng, displacement=0.12) for _ in range(12)]
    calm, disturbed = (
        BayesianForceField(
            ["Ar"], pair_cutoff=6.0, triplet_cutoff=4.5, n_pair=12, n_radial=4, l_max=1, n_threads=1
        ).fit(frames)
        for frames in (crystal, [*crystal, argon(rng, displacement=0.12, approach=0.35)])
    )
    assert not verdict_of_fit(calm).few_dominate
    found = verdict_of_fit(disturbed)
    assert found.few_dominate
    assert "A few forces make most of it: without the largest errors" in found.text()
    assert "look at the frames with the largest forces" in found.text()
    assert "misfit" not in found.text()
    assert calm.left_out_forces is not None
    assert disturbed.left_out_forces is not None
    assert disturbed.left_out_forces.rms > 10 * calm.left_out_forces.rms
    assert disturbed.typical_force_error < 10 * calm.typical_force_error  # the plain root mean square: 600 times


def test_a_model_of_the_wrong_form_is_poor_and_called_misfit(tmp_path: Path) -> None:
    """Long-ranged forces on a model with a short cutoff."""
    rng = np.random.default_rng(5)
    frames = [argon(rng, displacement=0.12) for _ in range(6)]
    # The cutoff leaves the nearest neighbours out.
    field = BayesianForceField(["Ar"], pair_cutoff=3.2, triplet_cutoff=3.0, n_pair=6, n_radial=4, l_max=0, n_threads=1)
    found = verdict_of_fit(field.fit(frames))
    assert found.grade is Grade.POOR
    assert found.misfit_limits
    assert "--speed balanced" in found.text()


CAMPAIGN = """\
structure: copper.extxyz
reference: {engine: ase, calculator: emt}
potential: {pair_cutoff_A: 5.0, triplet_cutoff_A: 4.0, n_pair: 8, n_radial: 4, l_max: 2}
dynamics:
  timestep_fs: 2.0
  stages: [{temperature_K: 600, duration_ps: 0.1}]
learning: {initial_frames: 4, threshold_eV_per_A: 0.02, max_labels: 7}
output: {directory: run}
"""


def verdict_in(shown: str) -> str:
    """The sentences at the end of what a command printed, a line each there, in one line."""
    lines = shown.splitlines()
    first = max(k for k, line in enumerate(lines) if re.match(_FIRST_WORDS, line))
    assert lines[-1].startswith("Next: ")
    return " ".join(lines[first:])


_FIRST_WORDS = r"(Good|Fair|Poor|No judgement)\b|\d+ of \d+ frames are training frames"


def test_learn_status_and_report_end_with_the_same_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "copper.extxyz", bulk("Cu", cubic=True).repeat(2))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    assert run(["learn", "campaign.yaml"]) == 0
    captured = capsys.readouterr()
    last = verdict_in(captured.out)
    record = read_run("run")
    folder = str(tmp_path / "run")
    assert last.replace(folder, "run") == verdict_of_run(record).text()
    assert last.split(":")[0] in ("Good", "Fair", "Poor")
    assert "(every training frame left out in turn)" in last
    assert "frames that it asked for, before training on them" in last
    assert run(["status", "run"]) == 0
    assert verdict_in(capsys.readouterr().out) == last.replace(folder, "run")
    assert run(["status", "run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["verdict"]
    assert facts["grade"] == last.split(":")[0].lower()
    page = re.sub('<span class="whole">|</span>', "", html.unescape(render(record)))
    verdict = verdict_of_run(record)
    for sentence in (*verdict.findings(), verdict.advice()):
        assert sentence.replace("eV/A", "eV/Å").replace(" +- ", " ± ") in page
    # Every label was announced before it was computed: without an estimate first, with one afterwards.
    told = captured.err.splitlines()
    assert "labelling frame 1 of 4, 32 atoms, no label timed yet" in told
    assert any(line.startswith("labelling frame 2 of 4, 32 atoms, about ") for line in told)
    assert any(line.startswith("labelling frame 5, 32 atoms, about ") for line in told)
    assert told.index("labelling frame 1 of 4, 32 atoms, no label timed yet") < next(
        k for k, line in enumerate(told) if line.startswith("label 1:")
    )
    assert "0.000 eV/A" not in captured.err
    # A label that was doubted and believed is counted.
    confirmed = [replace(record.labels[0], confirmed=Doubt.FORCES), *record.labels[1:]]
    doubted = verdict_of_run(replace(record, labels=tuple(confirmed))).text()
    assert "1 doubted label was computed again" in doubted
    assert "look at run/labels/label-0001.extxyz (forces);" in doubted


def test_fit_and_evaluate_end_with_a_verdict(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    write(tmp_path / "train.extxyz", frames[::2][:5])
    write(tmp_path / "test.extxyz", frames[1::2][:5])
    model = str(tmp_path / "si.trepid")
    sizes = ["--pair-cutoff", "5", "--triplet-cutoff", "4", "--n-pair", "8", "--n-radial", "4", "--l-max", "2"]
    assert run(["fit", str(tmp_path / "train.extxyz"), "-o", model, *sizes]) == 0
    last = verdict_in(capsys.readouterr().out)
    assert last.split(":")[0] in ("Good", "Fair", "Poor")
    assert "every training frame left out in turn" in last
    write(tmp_path / "six.extxyz", frames[::2][:6])
    searched = ["fit", str(tmp_path / "six.extxyz"), "-o", str(tmp_path / "searched.trepid"), "--speed", "balanced"]
    assert run([*searched, *sizes[:8], "--channels", "0"]) == 0
    told = capsys.readouterr()
    assert "degree 2 -> 6" in told.out or "degree 4 -> 6" in told.out
    assert "--speed balanced" not in told.out
    # The figures of the steps are told once, in the table.
    assert "meV/A" in told.out
    assert re.search(r"^  degree \d -> 6: (accepted|refused)$", told.err, re.MULTILINE)
    # The model file remembers the search until other labels come; the same fit from its settings file gives the same model.
    found = BayesianForceField.load(tmp_path / "searched.trepid")
    assert found.size_search is not None
    assert found.size_search.speed is Speed.BALANCED
    assert verdict_of_test(evaluate(found, frames[1::2][:5]), found).search == found.size_search
    settings = str(tmp_path / "searched.trepid.settings.yaml")
    assert run(["fit", "--settings", settings, "-o", str(tmp_path / "again.trepid")]) == 0
    assert (tmp_path / "again.trepid").read_bytes() == (tmp_path / "searched.trepid").read_bytes()
    assert found.update(frames[1:2]).size_search is None
    capsys.readouterr()
    assert run(["evaluate", model, str(tmp_path / "test.extxyz")]) == 0
    last = verdict_in(capsys.readouterr().out)
    assert "on the test frames" in last
    assert run(["evaluate", model, str(tmp_path / "test.extxyz"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verdict"]["error_share"] == pytest.approx(facts["forces_rmse"] / facts["forces_rms"])


# ---- frames of the training set


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """A folder with a model, its five training frames, and six that are new."""
    folder = tmp_path_factory.mktemp("fitted")
    frames = read_frames(data_dir / "si_sw_64.extxyz")
    write(folder / "train.extxyz", frames[::2][:5])
    write(folder / "new.extxyz", frames[1::2][:6])
    write(folder / "both.extxyz", [*frames[::2][:3], *frames[1::2][:5]])
    sizes = ["--pair-cutoff", "5", "--triplet-cutoff", "4", "--n-pair", "8", "--n-radial", "4", "--l-max", "2"]
    assert run(["fit", str(folder / "train.extxyz"), "-o", str(folder / "si.trepid"), *sizes]) == 0
    return folder


def test_training_frames_are_named_and_not_graded(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(fitted / "si.trepid")
    assert run(["evaluate", model, str(fitted / "train.extxyz")]) == 0
    last = verdict_in(capsys.readouterr().out)
    assert last.startswith("No judgement: all 5 frames are training frames: this is no test.")
    assert "misfit" not in last
    assert "Next: give frames that the model was not trained on" in last
    assert run(["evaluate", model, str(fitted / "train.extxyz"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verdict"]["training_frames"] == [0, 1, 2, 3, 4]
    assert facts["verdict"]["grade"] == "no judgement"
    assert facts["n_frames"] == 5  # the figures are those of all frames, as before


def test_of_a_mixed_file_the_new_frames_are_graded(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(fitted / "si.trepid")
    assert run(["evaluate", model, str(fitted / "both.extxyz"), "--ood", str(fitted / "train.extxyz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("3 of 8 frames are training frames and no test; the other 5 are judged here. ")
        for line in lines
    )
    assert "ood: No judgement: all 5 frames are training frames" in lines[-1]
    assert run(["evaluate", model, str(fitted / "both.extxyz"), "--json"]) == 0
    mixed = json.loads(capsys.readouterr().out)
    assert mixed["verdict"]["training_frames"] == [0, 1, 2]
    assert (mixed["n_frames"], mixed["verdict"]["n_frames"]) == (8, 5)
    field, new = BayesianForceField.load(model), read_frames(fitted / "both.extxyz")[3:]
    assert mixed["verdict"]["error_eV_per_A"] == pytest.approx(summarise(compare(field, new)).forces_rmse)
    assert run(["evaluate", model, str(fitted / "new.extxyz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["training_frames"] == []


@pytest.mark.parametrize(("error", "told"), [(0.02, "as large as"), (0.03, "as large as"), (0.3, "larger than")])
def test_the_misfit_of_other_frames_is_no_part_of_an_error(error: float, told: str) -> None:
    text = verdict(error, misfit=0.03, basis=Basis.TEST).text()
    assert "Most of it, " not in text
    assert f"{told} the misfit of the functional form on the training frames, 30.0 meV/A" in text


# ---- terms, ends and counts that stand in several places


def test_one_end_has_one_wording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "copper.extxyz", bulk("Cu", a=3.59, cubic=True).repeat(2))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.replace("0.02, max_labels: 7", "0.001, max_labels: 5"))
    monkeypatch.chdir(tmp_path)
    told = "stopped: the labelling budget is used up; with a larger max_labels 'trepid learn' goes on"
    assert run(["learn", "campaign.yaml"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{told} (a frame asked for label 6: ")
    # A sentence a line; the advice names the files of this run.
    advice = next(line for line in shown.splitlines() if line.startswith("Next: "))
    assert not any(word in advice for word in ("MODEL", "STRUCTURE", "CAMPAIGN"))
    if "trepid md" in advice:
        command = f"trepid md {tmp_path / 'run' / 'model.trepid'} {tmp_path / 'copper.extxyz'} --repeat"
        assert command in advice
        repeats = tuple(int(n) for n in re.findall(r"--repeat (\d+) (\d+) (\d+)", advice)[0])
        potential = BayesianForceField.load("run/model.trepid")
        assert potential.reach is not None
        assert min(repeats) * 7.18 >= 2 * potential.reach
    for command in (["status", "run"], ["plan", "campaign.yaml"]):
        assert run(command) == 0
        assert told in capsys.readouterr().out
    record = read_run("run")
    assert told in html.unescape(render(record))
    # A label that was computed a second time is one label.
    last = next(entry for entry in record.entries if isinstance(entry.event, Label))
    again = replace(last, event=replace(last.event, attempt=2))
    twice = replace(record, entries=(*record.entries[:-1], again, record.entries[-1]))
    assert cost_rows(record)[0][1] == "5 labels"
    assert cost_rows(twice)[0][1] == "5 labels, 1 of them computed again to check"


def test_the_terms_of_the_output_are_in_the_glossary() -> None:
    text = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    for term in ("left out in turn", "misfit", "stratum", "running factor", "typical force error"):
        assert term in rows


# ---- what a campaign found


LOOK = FirstLook(4, 21.7, 0.4, 0.694, 0.02, -2.3, 6, 189, 4, 4)


def test_a_crystal_that_is_not_at_rest_is_told_before_a_larger_basis() -> None:
    found = tuple(crystal_findings(LOOK, "tblite"))
    text = verdict(0.1, misfit=0.09, crystal=found, n_first=4).text()
    assert "The crystal as given, by the first model (of 4 labels): pressure" in text
    for part in (
        "pressure 21.7 +- 0.4 GPa: with tblite the lattice constant is larger than the given one",
        "forces at rest up to 694 meV/A",
        "6 of 189 modes",
    ):
        assert part in text
    advice = text.split("Next: ")[1]
    assert advice.startswith(
        "first the crystal: check the settings of the reference (k points, method, size of the supercell)"
    )
    assert "'trepid relax CAMPAIGN', then structure.file: relax/relaxed.extxyz and another output.directory" in advice
    assert "pressure_GPa: 0" in advice
    assert advice.index("pressure_GPa: 0") < advice.index("a larger basis")
    good = verdict(0.01, crystal=found, n_first=4)
    assert good.grade is Grade.GOOD  # the grade is that of the model
    assert "If it is meant as it is: use it (trepid md" in good.text()
    assert "first the crystal" not in verdict(0.01).text()
    assert len(good.as_dict()["crystal"]) == 3


def test_imaginary_modes_alone_ask_for_another_reference_and_a_spent_budget_for_labels() -> None:
    modes = tuple(finding for finding in crystal_findings(LOOK, "tblite") if finding.matter is Matter.MODES)
    advice = verdict(0.03, crystal=modes, n_first=4).advice()
    assert advice.startswith("first the reference, unless such modes are meant")
    assert "trepid relax" not in advice  # it keeps the symmetry that the modes break
    ended = verdict(0.03, simulated_ps=0.09, planned_ps=2.0).advice()
    assert ended.startswith("raise learning.max_labels and run 'trepid learn' again")
    assert "raise learning.max_labels" not in verdict(0.03).advice()


def test_the_pressure_of_a_crystal_is_told_as_a_change_of_its_lattice_constant() -> None:
    (pressure,) = (finding for finding in crystal_findings(LOOK, "tblite") if finding.matter is Matter.PRESSURE)
    assert "larger than the given one, by some 4.3 to 21 % ('trepid relax' tells)" in pressure.short
    assert "too narrow for a reference with one k point" in pressure.text
    wide = crystal_findings(LOOK, "tblite", width_A=10.9)
    assert not any("methods without k points" in finding.text or "too narrow" in finding.text for finding in wide)


def test_the_first_look_is_kept_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "copper.extxyz", bulk("Cu", a=3.45, cubic=True).repeat(2))  # EMT has 3.59 A
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    assert run(["learn", "campaign.yaml"]) == 0
    captured = capsys.readouterr()
    assert "with ase the lattice constant is larger than the given one" in verdict_in(captured.out)
    assert "The run keeps yours; to change it start from a structure relaxed with this reference" in captured.err
    record = read_run("run")
    assert record.first_look is not None
    pressure = record.first_look.pressure_GPa
    assert pressure > 10
    assert len(record.events(FirstLook)) == 1
    assert run(["status", "run"]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"crystal as given +pressure {pressure:.1f} \+- ", out)
    assert run(["status", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_look"]["pressure_GPa"] == pressure
    box = render(record).split('aria-label="Verdict"')[1].split("</div>")[0]
    assert f'pressure <span class="whole">{pressure:.1f} ± ' in box
    assert "first the crystal" in box
    # A run of an earlier version does not have the entry.
    old = replace(record, entries=tuple(entry for entry in record.entries if not isinstance(entry.event, FirstLook)))
    assert "first the crystal" not in verdict_of_run(old).text()
    assert "first the crystal" not in render(old)


def test_a_run_that_lets_the_cell_go_is_told_of_no_pressure_but_a_hopeless_one() -> None:
    (free,) = crystal_findings(replace(LOOK, pressure_GPa=5.0, largest_force=0.0, n_imaginary=0), "x", free_cell=True)
    assert free.mended
    assert "The stages with a pressure let it go" in free.text
    (far,) = crystal_findings(replace(LOOK, largest_force=0.0, n_imaginary=0), "x", free_cell=True)
    assert not far.mended


def test_the_labels_that_make_most_of_the_error_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "copper.extxyz", bulk("Cu", a=3.59, cubic=True).repeat(2))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    assert run(["learn", "campaign.yaml"]) == 0
    # A second frame with colliding atoms, and the model trained on it.
    store = LabelStore(Path("run/labels"))
    second = store.read(2)
    atoms = second.atoms.copy()
    atoms.positions[1] -= 0.35 * atoms.get_distance(0, 1, mic=True, vector=True)
    atoms.calc = EMT()
    labels = Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
    atoms.calc = None
    store.write(replace(second, atoms=attach_labels(atoms, labels)))
    frames = [label.atoms for label in store.read_all()]
    field = BayesianForceField(["Cu"], pair_cutoff=5.0, triplet_cutoff=4.0, n_pair=8, n_radial=4, l_max=2, n_threads=1)
    field.fit(frames).save("run/model.trepid")

    record, squares = read_run("run"), field.left_out_squares(frames)
    found = verdict_of_run(record)
    assert np.sqrt(sum(squares) / sum(3 * len(frame) for frame in frames)) == pytest.approx(found.error)
    assert np.argmax(squares) == 1
    assert field.left_out_squares(frames[::-1]) is None  # another order
    assert field.left_out_squares(frames[1:]) is None
    kinds = [record.kind_of(label) for label in record.labels]
    assert kinds[0] == kinds[2] == "initial, displaced"
    strain = re.fullmatch(r"initial, strained by up to ([\d.]+) %", kinds[1])
    cells = [record.labels[k].atoms.cell.array for k in (0, 1)]
    assert float(strain[1]) == pytest.approx(100 * np.abs(np.linalg.solve(*cells) - np.eye(3)).max(), rel=0.02)
    assert kinds[4].startswith("asked for at 0.")
    assert found.few_dominate
    assert f"those of label 2 ({kinds[1]}): without the largest errors" in found.text()
    assert "until then: look at run/labels/label-0002.extxyz: are these arrangements" in found.text()


def test_frames_asked_for_that_are_much_worse_are_told_with_the_grade() -> None:
    good = verdict(0.047, asked=Asked(0.19, 1.0, 5))
    assert good.grade is Grade.GOOD
    assert "; but 19 % on frames that it asked for, before training on them." in good.findings()[0]
    assert "but" not in verdict(0.047, asked=Asked(0.06, 1.0, 5)).findings()[0]
    assert "but" not in verdict(0.01, asked=Asked(0.04, 1.0, 5)).findings()[0]  # worse, and still good
