"""A screening: many materials, one campaign in rounds each, under one budget of labels and hours."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trepid.config.base import Count, Natural, Number, OneOf, Positive, Settings, SettingsFile, is_missing, resolve
from trepid.config.loading import load_settings
from trepid.config.output import RoundsOutputSettings
from trepid.config.potential import PotentialSettings, RoundsPotentialSettings
from trepid.config.reference import ReferenceSettings, TBLiteSettings
from trepid.config.rounds import (
    AcquisitionSettings,
    DisplacedStart,
    ExecutionSettings,
    HarmonicStart,
    PropertyStop,
    RoundAudit,
    RoundSettings,
    StartSettings,
    WalkerSettings,
)
from trepid.config.structure import StructureSettings

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")


class Prototype(str, Enum):
    """Structure types that a formula and lattice constants complete (`trepid.screening.prototypes`)."""

    ROCKSALT = "rocksalt"
    ZINCBLENDE = "zincblende"
    WURTZITE = "wurtzite"
    CESIUM_CHLORIDE = "cesium-chloride"
    FLUORITE = "fluorite"
    ANTIFLUORITE = "antifluorite"
    DIAMOND = "diamond"
    FCC = "fcc"
    BCC = "bcc"
    CHALCOPYRITE = "chalcopyrite"
    PEROVSKITE = "perovskite"
    HALF_HEUSLER = "half-heusler"
    CADMIUM_IODIDE = "cadmium-iodide"
    MOLYBDENITE = "molybdenite"
    RUTILE = "rutile"
    CUPRITE = "cuprite"
    LITHARGE = "litharge"
    MATLOCKITE = "matlockite"
    COPPER_NITRIDE = "copper-nitride"
    BORON_NITRIDE = "boron-nitride"

    def __str__(self) -> str:
        return str(self.value)


class MaterialSettings(Settings):
    """A crystal of the list: a structure file, or a formula with prototype and lattice constants."""

    name: str = Field(description="Name of the material and of its folder; letters, digits, '.', '_', '+', '-'.")
    file: Path | None = Field(
        default=None, description="Structure in any format ASE reads; path relative to this file. Or prototype."
    )
    formula: str | None = Field(
        default=None,
        description="Elements in the order of the prototype's formula, such as SrTiO3; the name without what follows "
        "an underscore if absent.",
    )
    prototype: Annotated[Prototype, OneOf(Prototype)] | None = Field(default=None, description="Structure type.")
    a: Positive | None = Field(default=None, description="Lattice constant of the conventional cell, A.")
    c: Positive | None = Field(default=None, description="The same along c, for tetragonal and hexagonal types, A.")
    x: Annotated[float, Number] | None = Field(
        default=None, description="Free coordinate of the type, as a fraction of the cell (x, u or z)."
    )
    z: Annotated[float, Number] | None = Field(default=None, description="Second free coordinate.")
    source: str | None = Field(default=None, description="Where the numbers come from.")
    supercell: tuple[int, int, int] | tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]] | None = (
        Field(default=None, description="Of the primitive cell (of the file); chosen by the section cell if absent.")
    )

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("give letters, digits, '.', '_', '+' and '-', a letter or digit first: it names a folder")
        return value

    @field_validator("file")
    @classmethod
    def _resolve(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        path = resolve(value, info)
        if is_missing(path, info):
            raise ValueError(f"there is no such file ({path}); give the path of a structure, relative to this file")
        return path

    @field_validator("supercell", mode="before")
    @classmethod
    def _supercell(cls, value: Any) -> Any:
        return value if value is None else StructureSettings._repetitions_or_matrix(value)

    @model_validator(mode="after")
    def _one_origin(self) -> MaterialSettings:
        if (self.file is None) == (self.prototype is None):
            raise ValueError(f"{self.name}: give one of the two: file, or prototype with lattice constants")
        if self.prototype is not None and self.a is None:
            raise ValueError(f"{self.name}: prototype {self.prototype} needs the lattice constant a")
        for name, value in (("x", self.x), ("z", self.z)):
            if value is not None and abs(value) > 1:
                raise ValueError(f"{self.name}: {name} {value:g} is no fraction of the cell; give -1 to 1")
        return self

    @property
    def elements(self) -> str:
        """Formula of the prototype."""
        return self.formula or self.name.split("_")[0]


class CellSettings(Settings):
    """Supercells: among those that keep the symmetry of the crystal, the smallest that is wide enough, else the widest."""

    least_atoms: Count = Field(default=16, description="Smallest number of atoms; tblite needs 16.")
    most_atoms: Count = Field(default=64, description="Largest number of atoms.")
    least_width_A: Positive = Field(
        default=8.0, description="Wanted distance between an atom and its periodic image, A."
    )

    @model_validator(mode="after")
    def _a_range(self) -> CellSettings:
        if self.least_atoms > self.most_atoms:
            raise ValueError(f"least_atoms {self.least_atoms} is above most_atoms {self.most_atoms}; lower it")
        return self


class RelaxSettings(Settings):
    """Relaxation on the reference, within the space group of the crystal."""

    cell: bool = Field(default=True, description="Relax the cell too; needs a reference with stress.")
    max_force_eV_per_A: Positive = Field(default=0.01, description="Converged when forces are below this, eV/A.")
    max_steps: Count = Field(default=60, description="Maximum number of evaluations; more is a failure.")


class BudgetSettings(Settings):
    """What the whole screening may cost, and how it is shared."""

    max_labels: Count | None = Field(
        default=None,
        description="Maximum number of reference computations of all materials, those of relaxations included. No limit if "
        "absent.",
    )
    max_hours: Positive | None = Field(
        default=None, description="Maximum wall time of all starts together, h; no turn begins after it."
    )
    materials_per_turn: Count = Field(
        default=8,
        description="Materials that get one more round at the same time; then risks are compared again. More than workers.",
    )
    longest_walk: Count = Field(
        default=8,
        description="Factor by which the walks of later rounds may be longer than walkers.duration_ps, where sigma^A has too few "
        "frames; 1: never longer.",
    )
    share: Literal["risk", "equal", "random"] = Field(
        default="risk",
        description="Who gets the next rounds once every material had its first: risk: where the most risk goes for its cost | "
        "equal: the fewest labels first | random: drawn at random. Equal and random are controls.",
    )


class ScreeningSettings(SettingsFile):
    """All settings of `trepid screen`."""

    materials: tuple[MaterialSettings, ...] = Field(min_length=1, description="The crystals.")
    sources: dict[str, str] = Field(
        default_factory=dict, description="Full references of the sources of the materials."
    )
    reference: ReferenceSettings = Field(
        default_factory=TBLiteSettings, description="Reference method of all materials, as in a campaign."
    )
    cell: CellSettings = Field(default_factory=CellSettings, description="Size of the supercells.")
    relax: RelaxSettings | None = Field(
        default_factory=RelaxSettings, description="Relaxation on the reference; null: structures as they are."
    )
    potential: RoundsPotentialSettings = Field(
        default_factory=PotentialSettings, description="The model of every material, as in a campaign."
    )
    start: StartSettings = Field(
        default_factory=lambda: HarmonicStart(kind="harmonic"),
        description="Initial frames, as in a campaign in rounds.",
    )
    walkers: WalkerSettings = Field(default_factory=WalkerSettings, description="As in a campaign in rounds.")
    acquisition: AcquisitionSettings = Field(
        default_factory=AcquisitionSettings, description="As in a campaign in rounds."
    )
    rounds: RoundSettings = Field(
        default_factory=lambda: RoundSettings(stop=PropertyStop(), audit=RoundAudit()),
        description="As in a campaign in rounds, for every material: max_rounds and max_labels are its own limits; stop says when "
        "it is known.",
    )
    budget: BudgetSettings = Field(default_factory=BudgetSettings, description="Of the whole screening.")
    execution: ExecutionSettings = Field(
        default_factory=ExecutionSettings, description="Where materials are computed, one per worker."
    )
    output: RoundsOutputSettings = Field(
        default_factory=lambda: RoundsOutputSettings.model_validate({}), description="Where the screening is kept."
    )
    seed: Natural = Field(default=0, description="Seed of every random number.")

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """Write out default kinds, and the output section, whose folder is relative to the file."""
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        if filled.get("output") is None:
            filled["output"] = {}
        for section, kind in (("potential", "bayesian"), ("start", "harmonic")):
            if isinstance(filled.get(section), dict) and "kind" not in filled[section]:
                filled[section] = {"kind": kind, **filled[section]}
        if isinstance(filled.get("rounds"), dict):
            filled["rounds"] = {"stop": True, "audit": True, **filled["rounds"]}
        return filled

    @field_validator("materials")
    @classmethod
    def _names_are_unique(cls, value: tuple[MaterialSettings, ...]) -> tuple[MaterialSettings, ...]:
        seen: set[str] = set()
        for material in value:
            folder = material.name.lower()
            if folder in seen:
                raise ValueError(f"{material.name} stands twice; rename one (upper and lower case count as the same)")
            seen.add(folder)
        return value

    @model_validator(mode="after")
    def _parts_go_together(self) -> ScreeningSettings:
        if self.rounds.stop is None or self.rounds.audit is None:
            raise ValueError("rounds.stop and rounds.audit say when a material is known; give both, or leave them out")
        for material in self.materials if self.sources else ():
            if material.source is not None and material.source not in self.sources:
                known = ", ".join(self.sources)
                raise ValueError(f"{material.name}: source {material.source} is not in sources ({known})")
        if not isinstance(self.start, HarmonicStart | DisplacedStart):
            raise ValueError("start.kind frames belongs to one material; give harmonic or displaced")
        if isinstance(self.start, HarmonicStart) and self.start.force_constants is not None:
            raise ValueError("start.force_constants belongs to one material; leave it out")
        return self


def load_screening(path: str | Path, *, require_files: bool = True) -> ScreeningSettings:
    """Read the file of a screening; `require_files` says whether the structures that it names must exist.

    Raises
    ------
    ConfigError
        As `load_campaign`: one line with file, key, value and what would be right.
    """
    return load_settings(
        path, ScreeningSettings, what="screening", origin="examples/screening has one", require_files=require_files
    )


def screening_schema() -> dict[str, Any]:
    """JSON schema of the file of a screening."""
    return ScreeningSettings.model_json_schema()
