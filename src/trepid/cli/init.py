"""`trepid init`: write a campaign file in which every setting is explained."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.choices import NARROW_A
from trepid.cli.output import free_path, say
from trepid.errors import ConfigError
from trepid.quantities import duration

if TYPE_CHECKING:
    from ase import Atoms
    from pydantic import BaseModel

    from trepid.data.supercells import Supercell

LINE = 110
"""Width of the comments."""
SHORTEST_PS = 0.1
"""Shorter stages and trajectories hold no uncertainty checks to speak of."""


class Mode(str, Enum):
    """Mode of a campaign."""

    ON_THE_FLY = "on-the-fly"
    ROUNDS = "rounds"


class Example(str, Enum):
    """Systems that come with the command."""

    CUI = "cui"
    STANENE = "stanene"
    SILICON = "silicon"


def command(
    structure: Annotated[
        Path | None, typer.Argument(metavar="[STRUCTURE]", help="Crystal in any format ASE reads.", show_default=False)
    ] = None,
    example: Annotated[Example | None, typer.Option(help="Write an example and its structure instead.")] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="on-the-fly: one trajectory, labels one by one; rounds: many trajectories, labels in batches."
        ),
    ] = Mode.ON_THE_FLY,
    slab: Annotated[
        bool,
        typer.Option(
            "--slab",
            help="Of a slab, sheet or molecule with vacuum in a periodic file: write NAME_slab.extxyz, not periodic along the "
            "vacuum, and start from it.",
        ),
    ] = False,
    supercell: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="A B C", help="Repetitions of the structure, in place of those suggested.", show_default=False
        ),
    ] = None,
    max_labels: Annotated[
        int | None,
        typer.Option(
            "--max-labels",
            metavar="N",
            min=1,
            help="Largest number of labels, the initial frames among them. No limit if absent.",
            show_default=False,
        ),
    ] = None,
    duration_ps: Annotated[
        float | None,
        typer.Option(
            "--duration",
            metavar="PS",
            help="Length of every stage, or in rounds of every trajectory, ps.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Campaign file to write.")] = Path("campaign.yaml"),
) -> None:
    """Write a campaign file in which every setting is explained, for your own crystal or for an example.

    An existing file is never overwritten. The suggested supercell keeps the symmetry of the crystal, with even repetitions where
    the size allows it; smaller and larger ones are listed with the expected cost of a label.
    """
    from ase.io import write

    from trepid.config import load_campaign
    from trepid.data.atomic import write_text_atomic
    from trepid.data.frames import read_structure
    from trepid.data.geometry import require_start
    from trepid.data.supercells import (
        periodicity,
        repeated_supercell,
        slab_name,
        structure_warnings,
        suggested_supercells,
        without_vacuum_periodicity,
    )

    if slab and structure is None:
        raise ConfigError("--slab is for a structure file of yours; the examples need none")
    if (structure is None) == (example is None):
        raise ConfigError("give one of the two: a structure file of yours, or --example cui, stanene or silicon")
    if supercell is not None and structure is None:
        raise ConfigError("--supercell is for a structure file of yours; the examples have theirs")
    if duration_ps is not None and not SHORTEST_PS <= duration_ps < math.inf:
        raise ConfigError(f"--duration {duration_ps:g}: give {SHORTEST_PS:g} ps or more")
    atoms = None if structure is None else read_structure(structure)
    free_path(output, inputs=[] if structure is None else [structure])
    cells: list[Supercell] = []
    if example is not None:
        structure_file = output.parent / f"{example.value}.extxyz"
        free_path(structure_file)
        atoms, values = _example(example)
        write(structure_file, atoms, format="extxyz")
        say(f"wrote {structure_file}")
    else:
        assert structure is not None
        assert atoms is not None
        structure_file = structure
        require_start(atoms)
        if slab:
            atoms = without_vacuum_periodicity(atoms)
            structure_file = free_path(output.parent / slab_name(structure), inputs=[structure])
            write(structure_file, atoms, format="extxyz")
            say(f"wrote {structure_file}, {periodicity(atoms)}")
        for warning in structure_warnings(atoms, structure):
            say(f"warning: {warning}")
        cells = suggested_supercells(atoms) if supercell is None else [repeated_supercell(atoms, supercell)]
        values = {"structure": {"supercell": cells[0].setting}, "dynamics": {"stages": _STAGES}}
    values["structure"]["file"] = _relative(structure_file, output.parent)
    if mode is Mode.ROUNDS:
        values = _for_rounds(values)
    values = _within_budget(values, mode, max_labels=max_labels, duration_ps=duration_ps)
    write_text_atomic(output, annotated_campaign(values, mode=mode))
    campaign = load_campaign(output)
    if cells:
        assert atoms is not None
        say_cells(cells, campaign.reference.engine, periodic=bool(atoms.pbc.any()))
    say(f"wrote {output}; edit it, then: trepid check {output} && trepid learn {output}")


_STAGES: list[dict[str, Any]] = [
    {"temperature_K": 300, "duration_ps": 5.0},
    {"temperature_K": [300, 600], "duration_ps": 5.0},
]


def _for_rounds(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same system learned in rounds, with trajectories at the temperatures of the stages of an example."""
    dynamics = dict(values["dynamics"])
    ends: list[float] = []
    for stage in dynamics.pop("stages"):
        given = stage["temperature_K"]
        ends += given if isinstance(given, list) else [given]
    walkers = {**dynamics, "temperatures_K": sorted({float(end) for end in ends})}
    kept = {name: section for name, section in values.items() if name != "dynamics"}
    return {**kept, "walkers": walkers}


def _within_budget(
    values: Mapping[str, Any], mode: Mode, *, max_labels: int | None, duration_ps: float | None
) -> dict[str, Any]:
    """The same campaign with at most so many labels, and with stages or trajectories of this length.

    Settings that have to fit follow: the initial frames, and in rounds the equilibration and the time between two checks.
    """
    from trepid.config import DisplacedStart, LearningSettings, WalkerSettings

    found = {name: dict(section) for name, section in values.items()}
    if mode is Mode.ON_THE_FLY:
        if max_labels is not None:
            initial = min(max_labels, LearningSettings.model_fields["initial_frames"].default)
            found["learning"] = {"max_labels": max_labels, "initial_frames": initial}
        if duration_ps is not None:
            stages = found["dynamics"]["stages"]
            found["dynamics"]["stages"] = [{**stage, "duration_ps": duration_ps} for stage in stages]
        return found
    if max_labels is not None:
        found["rounds"] = {"max_labels": max_labels}
        found["start"] = {"n": min(max_labels, DisplacedStart.model_fields["n"].default)}
    if duration_ps is not None:
        usual = {name: field.default for name, field in WalkerSettings.model_fields.items()}
        walkers = found["walkers"]
        n_steps = round(1000 * duration_ps / walkers.get("timestep_fs", usual["timestep_fs"]))
        walkers["duration_ps"] = duration_ps
        walkers["equilibrate_ps"] = min(usual["equilibrate_ps"], round(duration_ps / 4, 4))
        walkers["check_every"] = max(1, min(usual["check_every"], n_steps // 10))
    return found


def _example(name: Example) -> tuple[Atoms, dict[str, Any]]:
    """Structure, at the lattice constant of GFN1-xTB, and settings that differ from the defaults."""
    from ase import Atoms
    from ase.build import bulk

    stages: list[dict[str, Any]]
    if name is Example.CUI:
        stages = [{"temperature_K": 300, "duration_ps": 10.0}, {"temperature_K": 600, "duration_ps": 10.0}]
        values: dict[str, Any] = {
            "structure": {"supercell": [2, 2, 2]},
            "dynamics": {"timestep_fs": 2.0, "stages": stages},
        }
        return bulk("CuI", "zincblende", a=6.19, cubic=True), values
    if name is Example.STANENE:
        stages = [{"temperature_K": 200, "duration_ps": 5.0}, {"temperature_K": [200, 400], "duration_ps": 5.0}]
        a, buckling, vacuum = 4.65, 0.84, 16.0
        sheet = Atoms(
            "Sn2",
            cell=[[a, 0, 0], [-0.5 * a, 0.75**0.5 * a, 0], [0, 0, vacuum]],
            scaled_positions=[
                [1 / 3, 2 / 3, 0.5 - 0.5 * buckling / vacuum],
                [2 / 3, 1 / 3, 0.5 + 0.5 * buckling / vacuum],
            ],
            pbc=(True, True, False),
        )
        values = {
            "structure": {"supercell": [4, 4, 1]},
            "potential": {"pair_cutoff_A": 7.2, "triplet_cutoff_A": 5.0},
            "dynamics": {"timestep_fs": 2.0, "stages": stages},
        }
        return sheet, values
    values = {"structure": {"supercell": [2, 2, 2]}, "dynamics": {"stages": _STAGES}}
    return bulk("Si", "diamond", a=5.62, cubic=True), values


def say_cells(cells: Sequence[Supercell], reference: str, *, periodic: bool) -> None:
    """Say which supercell of a structure was chosen, what a label of it costs, and what the others would be."""
    from trepid.reference.tblite import expected_seconds

    best, *others = cells
    say(
        f"supercell {best.setting}: {best}{_width(best)}; a label with {reference} takes very roughly "
        f"{duration(expected_seconds(best.n_atoms))} on one core, several times as long for a metal"
        + _remark(best, reference, periodic=periodic)
    )
    for cell in others:
        cost = duration(expected_seconds(cell.n_atoms))
        size = "smaller" if cell.n_atoms < best.n_atoms else "larger"
        say(f"  {size}: {cell.setting}: {cell}{_width(cell)}; {cost}{_remark(cell, reference, periodic=periodic)}")


def _remark(cell: Supercell, reference: str, *, periodic: bool) -> str:
    """What speaks against a supercell with this reference; may be empty."""
    from trepid.reference.tblite import FEWEST_ATOMS

    if reference != "tblite":
        return ""
    if periodic and cell.n_atoms < FEWEST_ATOMS:
        return f"; too small for tblite, which needs {FEWEST_ATOMS} atoms"
    if cell.width_A < NARROW_A:
        return (
            f"; narrower than {NARROW_A:g} A: tblite has one k point, and with it another crystal may be stable in such a cell; "
            "'trepid learn' says so after its first labels"
        )
    return ""


def _width(cell: Supercell) -> str:
    return f", {cell.width_A:.1f} A wide" if math.isfinite(cell.width_A) else ""


def annotated_campaign(values: Mapping[str, Any], *, mode: Mode = Mode.ON_THE_FLY) -> str:
    """Write a campaign file as text: every section and key with its description, defaults where `values` says nothing.

    The text is made from the settings classes, so the two always agree. Keys without a default are commented out.

    Parameters
    ----------
    values : mapping of section to mapping of key to value
        What differs from the defaults.
    mode : Mode
    """
    from trepid.config import DEFAULT_THRESHOLD_NOISE, MODES, DisplacedStart, PotentialSettings, TBLiteSettings

    if mode is Mode.ON_THE_FLY:
        # Of the two thresholds only one may be given: the one in place by default is written out.
        values = {**values, "learning": {"threshold_noise": DEFAULT_THRESHOLD_NOISE, **values.get("learning", {})}}
    else:
        values = {"mode": mode.value, **values}
    usual = {"reference": TBLiteSettings, "potential": PotentialSettings, "start": DisplacedStart}
    lines = [
        "# A learning campaign: `trepid learn` runs and resumes it.",
        "# Paths are relative to this file.",
    ]
    for name, field in MODES[mode.value].model_fields.items():
        lines.append("")
        lines += _comment(field.description or "")
        settings = _settings_class(usual.get(name, field.annotation))
        if settings is not None:
            lines.append(f"{name}:")
            lines += _section(settings, values.get(name, {}))
        else:
            lines.append(f"{name}: {_yaml(values.get(name, field.get_default(call_default_factory=True)))}")
        if name == "reference":
            lines += _other_references()
        if mode is Mode.ROUNDS and name in _OTHER_KINDS:
            lines += _OTHER_KINDS[name].splitlines()
    return "\n".join(lines) + "\n"


def _other_references() -> list[str]:
    """Comment lines with the engines besides the default."""
    from trepid.config import REFERENCE_SETTINGS

    lines: list[str] = []
    for settings in REFERENCE_SETTINGS:
        if settings.example is not None:
            title, text = settings.example
            lines += [f"# {title}", *(f"#   {line}" for line in text.splitlines())]
    return lines


_OTHER_KINDS = {
    "potential": """\
# A committee of neural networks instead (`trepid doctor` says which backends are usable):
#   kind: committee
#   backend: nequip
#   members: 4
#   settings: {r_max_A: 5.0, max_epochs: 200}""",
    "start": """\
# Harmonic sampling instead, by phonopy, or frames of your own:
#   {kind: harmonic, n: 10, temperature_K: 300}
#   {kind: frames, file: snapshots.extxyz}""",
}


def _section(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in ("engine", "kind")):
        key = field.alias or name
        lines += _comment(field.description or "", indent="  ")
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        value = values.get(key, default)
        lines.append(f"  # {key}:" if value is None else f"  {key}: {_yaml(value)}")
    return lines


def _settings_class(annotation: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, LINE - len(indent))]


def _yaml(value: Any) -> str:
    import yaml

    if isinstance(value, Enum):
        value = value.value
    plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    return (
        yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False)
        .removesuffix("\n")
        .removesuffix("\n...")
    )


def _relative(path: Path, folder: Path) -> str:
    """Path as seen from `folder`, where it lies below it; else absolute."""
    resolved, base = path.resolve(), folder.resolve()
    return str(resolved.relative_to(base)) if resolved.is_relative_to(base) else str(resolved)
