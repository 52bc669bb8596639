"""Option types that several verbs share, so that a name has one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file (.trepid).", show_default=False)]
RunDirectory = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run directory of 'trepid learn' or 'trepid screen'.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout; messages go to stderr.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run what the model file names: a worker script, an interpreter, a foundation model. 'trepid check' shows them.",
    ),
]
Ood = Annotated[
    Path | None,
    typer.Option(
        "--ood", metavar="FILE", help="Second test set (out of distribution), reported on its own.", show_default=False
    ),
]
Figures = Annotated[
    bool,
    typer.Option("--figures", help="Write every figure also as PNG and PDF, and its numbers as CSV, into a folder."),
]
Interval = Annotated[
    float | None,
    typer.Option(
        "--interval",
        metavar="FS",
        help="Time between two frames, fs, where the file does not tell it.",
        show_default=False,
    ),
]
DumpSpecies = Annotated[
    list[str] | None,
    typer.Option(
        "--species",
        metavar="EL",
        help="Element of type 1, then of type 2, ... of a LAMMPS dump without elements: --species Cu --species I.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number.")]
EnergyKey = Annotated[str, typer.Option("--energy-key", help="Name of the energy label in the frames (eV).")]
ForcesKey = Annotated[str, typer.Option("--forces-key", help="Name of the force labels (eV/A).")]
StressKey = Annotated[str, typer.Option("--stress-key", help="Name of the stress label (eV/A^3).")]
VirialKey = Annotated[
    str | None,
    typer.Option(
        "--virial-key",
        help="Name of a virial (eV) in place of a stress: minus volume times stress.",
        show_default=False,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the data when there is anything to warn of.")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Leave the checks of 'trepid check' out.")]
ENERGY_KEY = "REF_energy"
FORCES_KEY = "REF_forces"
STRESS_KEY = "REF_stress"
