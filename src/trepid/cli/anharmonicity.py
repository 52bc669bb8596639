"""`trepid anharmonicity`: sigma^A and phonons of a crystal with a model or a reference, with error bars."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trepid.cli import options
from trepid.cli.labels import LabelFiles
from trepid.cli.output import emit_json, emit_table, free_path, say
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from trepid.anharmonicity import Anharmonicity, HarmonicReference
    from trepid.runs.crystal_at_rest import CrystalAtRest

CAMPAIGN_SUFFIXES = (".yaml", ".yml")
DEFAULT_SAMPLES = 20
PHONONS, RESULT, SERIES, ATOMS, PICTURE, LABELS = (
    "phonopy_params.yaml",
    "anharmonicity.json",
    "sigma_a.csv",
    "sigma_a_atoms.csv",
    "sigma_a.png",
    "labels.extxyz",
)
"""Files in the output directory."""


class ImaginaryModes(str, Enum):
    """Choices of `trepid.anharmonicity.Imaginary`; repeated here, so that `--help` needs no import."""

    ERROR = "error"
    MIRROR = "mirror"
    SKIP = "skip"


_TREATED = {
    ImaginaryModes.MIRROR: "draws frames as if these modes were real",
    ImaginaryModes.SKIP: "leaves these modes out of the frames",
}
"""What is done to imaginary modes of harmonic frames."""


def command(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model file, or a campaign file (.yaml) for its reference. Not needed with --phonopy and --labels.",
            show_default=False,
        ),
    ] = None,
    structure: Annotated[
        Path | None,
        typer.Option(
            help="Crystal relaxed on MODEL, such as relaxed.extxyz of 'trepid phonons --relax', in any format ASE reads; default: "
            "that of the campaign file."
        ),
    ] = None,
    supercell: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            help="Repetitions of the crystal, as in the trajectory. Default: those of the campaign file, else 1 1 1 "
            "(--structure is the supercell).",
            show_default=False,
        ),
    ] = None,
    phonopy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Force constants from phonopy's files, not from MODEL.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-T", help="Temperature of the harmonic frames, K.", show_default=False),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help=f"Number of harmonic frames; {DEFAULT_SAMPLES} if absent.", show_default=False)
    ] = None,
    quantum: Annotated[bool, typer.Option("--quantum", help="Quantum amplitudes, with zero-point motion.")] = False,
    imaginary: Annotated[
        ImaginaryModes, typer.Option(help="Imaginary modes: stop with an error, take the absolute value, or leave out.")
    ] = ImaginaryModes.ERROR,
    trajectory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Frames of molecular dynamics, instead of harmonic frames.")
    ] = None,
    index: Annotated[str, typer.Option(help="Frames of the trajectory, as a Python slice: 100::10.")] = ":",
    labels: Annotated[
        bool, typer.Option("--labels", help="Use the labels of the trajectory, not forces of MODEL.")
    ] = False,
    forces_key: options.ForcesKey = options.FORCES_KEY,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EL", help="Species that define the drift, such as a heavy sublattice.", show_default=False
        ),
    ] = None,
    posterior: Annotated[
        int,
        typer.Option(
            metavar="N", help="Posterior samples of a Bayesian model for the error bar of the model; 0: none."
        ),
    ] = 16,
    displacement: Annotated[float, typer.Option(help="Finite displacement, A.")] = 0.01,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Output directory.")] = Path(
        "anharmonicity"
    ),
    seed: options.Seed = 0,
    force: options.Force = False,
    trust: options.Trust = False,
    figures: options.Figures = False,
    json: options.Json = False,
) -> None:
    """Measure sigma^A: rms of the anharmonic part of the forces over rms of the forces, 0 to about 1.

    Frames are drawn from the harmonic crystal at --temperature, or taken from --trajectory. Forces come from MODEL (or the
    reference of a campaign file), or with --labels from the trajectory; they must not include the random and friction
    forces of a thermostat. With a Bayesian model or a committee the error bar of the model is given as well.

    Into DIR: phonopy_params.yaml (phonopy's own file), anharmonicity.json, sigma_a.csv (one row per frame), sigma_a_atoms.csv,
    sigma_a.png, labels.extxyz where a reference has labelled harmonic frames, and with --figures the folder figures.

    JSON keys: sigma_a, sigma_a_error, sigma_a_model_error, per_species, n_frames, frequency_min_THz, n_imaginary,
    residual_force_eV_per_A and others.
    """
    if trajectory is None and temperature is None:
        raise ConfigError("give --temperature for harmonic frames, or --trajectory")
    if trajectory is not None and (samples is not None or quantum):
        raise ConfigError(f"{'--quantum' if quantum else '--samples'} is for harmonic frames; leave --trajectory out")
    if labels and trajectory is None:
        raise ConfigError("--labels is for the frames of a --trajectory")
    if source is None and not (labels and phonopy is not None):
        raise ConfigError("give MODEL, or both --phonopy and a --trajectory with --labels, which need none")
    if phonopy is None and structure is None and (source is None or source.suffix not in CAMPAIGN_SUFFIXES):
        raise ConfigError("give the relaxed crystal with --structure, or force constants with --phonopy")
    if posterior == 1 or posterior < 0:
        raise ConfigError(f"--posterior {posterior}: give 2 draws or more, or 0 for none")
    inputs = [path for path in (source, structure, phonopy, trajectory) if path is not None]
    for name in (PHONONS, RESULT, SERIES, ATOMS, PICTURE, LABELS):
        if (output / name).exists():
            free_path(output / name, force=force, inputs=inputs)

    import numpy as np

    from trepid.anharmonicity import harmonic_sample, measure_anharmonicity, write_phonopy
    from trepid.anharmonicity.ensemble import ensemble_of, ensemble_sigma_a
    from trepid.anharmonicity.order import in_order
    from trepid.data.atomic import write_text_atomic
    from trepid.data.formula import formula_of
    from trepid.reference.base import Reference
    from trepid.report.anharmonicity import write_figures, write_png
    from trepid.report.json_text import json_text
    from trepid.report.page import FIGURES
    from trepid.runs.crystal_at_rest import crystal_at_rest

    forces_from, campaign = _open(source, trust=trust)
    try:
        harmonic = _harmonic(forces_from, campaign, structure, supercell, phonopy, displacement)
        if follow:
            harmonic = harmonic.following(*follow)
        at_rest = crystal_at_rest(forces_from, harmonic.supercell)
        for warning in _warnings(
            at_rest, harmonic, imaginary, sampled=trajectory is None, source=source, structure=structure
        ):
            say(f"warning: {warning}")
        times: np.ndarray | None = None
        if trajectory is None:
            assert temperature is not None
            n = DEFAULT_SAMPLES if samples is None else samples
            frames = harmonic_sample(harmonic, temperature, n, seed, quantum=quantum, imaginary=imaginary.value)
        else:
            frames, times = _trajectory(trajectory, index, forces_key if labels else None)
            harmonic = harmonic.in_order_of(frames[0], where=f"{trajectory}: the first frame")
            ordered = in_order(harmonic, frames, where=f"{trajectory}: frame {{}}")
            frames = ordered.frames
            for remark in ordered.remarks():
                say(f"warning: {trajectory}: {remark}")
        output.mkdir(parents=True, exist_ok=True)
        if labels:
            forces = np.array([frame.arrays[forces_key] for frame in frames])
        else:
            if isinstance(forces_from, Reference):
                frames = _labelled(forces_from, frames, output / LABELS if trajectory is None else None)
                forces = np.array([frame.arrays[options.FORCES_KEY] for frame in frames])
            else:
                forces = _predicted(forces_from, frames)
        u = np.array([harmonic.displacements(f, check_order=False, where=f"frame {k}") for k, f in enumerate(frames)])
        # Labels may be of another potential than the force constants: their forces at rest are not known.
        result = measure_anharmonicity(
            forces,
            harmonic.forces_at(u) if labels else harmonic.expansion_at(u),
            harmonic.supercell.get_chemical_symbols(),
            times_ps=times,
            correlated=trajectory is not None,
        )
        ensemble = [] if labels or isinstance(forces_from, Reference) else ensemble_of(forces_from, posterior, seed)
        draws: np.ndarray | None = None
        if ensemble:
            with _counter("sigma^A of the ensemble", len(ensemble)) as tick:
                draws = ensemble_sigma_a(
                    ensemble,
                    harmonic,
                    frames,
                    own_harmonic=phonopy is None,
                    displacement_A=displacement,
                    after_each=tick,
                )
    finally:
        if isinstance(forces_from, Reference):
            forces_from.close()

    if phonopy is None:
        write_phonopy(harmonic, output / PHONONS)
    _write_tables(result, output)
    write_png(result, output / PICTURE, title=formula_of(harmonic.supercell, reduced=True))
    if figures:
        write_figures(result, output / FIGURES)
    facts = {
        **_facts(result, harmonic, draws, output),
        "temperature_K": temperature,
        "at_rest": None if at_rest is None else at_rest.as_dict(),
    }
    write_text_atomic(output / RESULT, json_text(facts))
    if json:
        emit_json(facts)
    else:
        emit_table(_rows(result, harmonic, draws, output, labels=labels))


def _open(source: Path | None, *, trust: bool) -> tuple[Any, Any]:
    """The model, or the reference and its campaign file."""
    if source is None:
        return None, None
    if source.suffix in CAMPAIGN_SUFFIXES:
        from trepid.campaign.context import reference_of
        from trepid.config import load_campaign

        campaign = load_campaign(source)
        return reference_of(campaign), campaign
    from trepid.potentials import load_potential

    return load_potential(source, trust=trust), None


def _harmonic(
    forces_from: Any,
    campaign: Any,
    structure: Path | None,
    supercell: tuple[int, int, int] | None,
    phonopy: Path | None,
    displacement_A: float,
) -> HarmonicReference:
    """Force constants from phonopy's files, or from finite displacements."""
    from trepid.anharmonicity import harmonic_reference, read_phonopy
    from trepid.anharmonicity.finite_displacements import build_supercell
    from trepid.data.formula import formula_of
    from trepid.data.frames import read_structure

    crystal: Atoms | None = None
    cells: Any = supercell
    if structure is not None:
        crystal = read_structure(structure)
    elif campaign is not None:
        crystal = read_structure(campaign.structure.file)
        cells = supercell or campaign.structure.supercell
    if phonopy is not None:
        harmonic = read_phonopy(phonopy)
        if crystal is None:
            return harmonic
        if cells is None:
            cells = (1, 1, 1)
        return harmonic.in_order_of(build_supercell(crystal, cells)[0], where="the supercell of --structure")
    assert crystal is not None
    say(f"phonons of {formula_of(crystal, reduced=True)} by finite displacements of {displacement_A:g} A")
    return harmonic_reference(crystal, cells or (1, 1, 1), forces_from, displacement_A=displacement_A)


def _warnings(
    at_rest: CrystalAtRest | None,
    harmonic: HarmonicReference,
    imaginary: ImaginaryModes,
    *,
    sampled: bool,
    source: Path | None,
    structure: Path | None,
) -> list[str]:
    """What makes sigma^A of this crystal doubtful, before it is computed."""
    crystal = "STRUCTURE" if structure is None else str(structure)
    found = [] if at_rest is None else at_rest.warnings("force constants and sigma^A", crystal, model=str(source))
    n = harmonic.modes.n_imaginary
    if n and not (sampled and imaginary is ImaginaryModes.ERROR):
        treated = f"; --imaginary {imaginary.value} {_TREATED[imaginary]}" if sampled else ""
        found.append(
            f"{n} of {len(harmonic.frequencies_THz)} modes are imaginary: this crystal is no minimum of the energy, and sigma^A "
            f"compares the forces with those of a crystal that does not exist. The number means nothing by itself{treated}"
        )
    return found


def _trajectory(path: Path, index: str, forces_key: str | None) -> tuple[list[Atoms], np.ndarray | None]:
    """Frames and their times in ps, if every frame has one."""
    import numpy as np

    from trepid.data.frames import read_frames
    from trepid.data.labels import LabelKeys

    if forces_key is None:
        frames = read_frames(path, require=(), index=index)
    else:
        labels = LabelFiles(LabelKeys(forces=forces_key), check=False)
        frames = labels.read(path, index=index)
        labels.tell()
    sizes = {len(frame) for frame in frames}
    if len(sizes) > 1:
        raise DataError(f"{path}: frames of {min(sizes)} to {max(sizes)} atoms; sigma^A is of one supercell")
    if all("time_fs" in frame.info for frame in frames):
        return frames, np.array([float(frame.info["time_fs"]) for frame in frames]) / 1000.0
    return frames, None


def _labelled(reference: Any, frames: list[Atoms], path: Path | None) -> list[Atoms]:
    """Frames labelled by a reference; each is written to a file at once, since labels may cost hours."""
    from trepid.data.frames import write_frames

    labelled: list[Atoms] = []
    with _counter("labels", len(frames)) as tick:
        for frame in frames:
            labelled.append(reference.label(frame))
            if path is not None:
                write_frames(path, labelled[-1], append=len(labelled) > 1)
            tick()
    return labelled


def _predicted(potential: Any, frames: list[Atoms]) -> np.ndarray:
    from trepid.anharmonicity.ensemble import forces_of_frames

    with _counter("forces", len(frames)) as tick:
        return forces_of_frames(potential, frames, after_each=tick)


@contextmanager
def _counter(title: str, n: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr if that is a terminal; yields the function to call after each of n items."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=n)
        yield lambda: progress.advance(task)


def _write_tables(result: Anharmonicity, directory: Path) -> None:
    """sigma_a.csv and sigma_a_atoms.csv; sigma^A has no unit."""
    from trepid.data.atomic import write_text_atomic

    species = list(result.per_frame_species)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    time = [] if result.times_ps is None else ["time_ps"]
    rows.writerow(["frame", *time, "sigma_a", *(f"sigma_a_{name}" for name in species)])
    for k in range(result.n_frames):
        at = [] if result.times_ps is None else [f"{result.times_ps[k]:.8g}"]
        values = (result.per_frame[k], *(result.per_frame_species[name][k] for name in species))
        rows.writerow([k, *at, *(f"{value:.6g}" for value in values)])
    write_text_atomic(directory / SERIES, text.getvalue())
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["atom", "species", "sigma_a"])
    rows.writerows((k, s, f"{v:.6g}") for k, (s, v) in enumerate(zip(result.symbols, result.per_atom, strict=True)))
    write_text_atomic(directory / ATOMS, text.getvalue())


def _facts(
    result: Anharmonicity, harmonic: HarmonicReference, draws: np.ndarray | None, directory: Path
) -> dict[str, Any]:
    """All results by name."""
    return {
        "sigma_a": result.sigma_a,
        "sigma_a_error": result.error.error,
        "sigma_a_error_converged": result.error.converged,
        "sigma_a_model_error": None if draws is None else float(draws.std(ddof=1)),
        "sigma_a_draws": None if draws is None else draws.tolist(),
        "per_species": {
            name: {"sigma_a": value, "sigma_a_error": result.per_species_error[name].error}
            for name, value in result.per_species.items()
        },
        "n_frames": result.n_frames,
        "n_atoms": len(result.symbols),
        "frequency_min_THz": float(harmonic.frequencies_THz.min()),
        "frequency_max_THz": float(harmonic.frequencies_THz.max()),
        "n_imaginary": harmonic.modes.n_imaginary,
        "residual_force_eV_per_A": harmonic.residual_force_eV_per_A,
        "acoustic_sum_eV_per_A2": harmonic.acoustic_sum_eV_per_A2,
        "directory": str(directory),
    }


def _rows(
    result: Anharmonicity, harmonic: HarmonicReference, draws: np.ndarray | None, directory: Path, *, labels: bool
) -> list[tuple[str, str]]:
    """The table on stdout."""
    bound = "" if result.error.converged else " at least (too few independent frames)"
    rows = [("sigma^A", f"{result.sigma_a:.4f} +- {result.error.error:.4f}{bound}, of {result.n_frames} frames")]
    if draws is not None:
        rows.append(
            (
                "  of the model",
                f"+- {draws.std(ddof=1):.4f}, over {len(draws)} samples or members (mean {draws.mean():.4f})",
            )
        )
    rows += [
        (f"  {name}", f"{value:.4f} +- {result.per_species_error[name].error:.4f}")
        for name, value in result.per_species.items()
    ]
    frequency = harmonic.frequencies_THz
    rows.append(("phonons", f"{frequency.min():.3f} to {frequency.max():.3f} THz at the wave vectors of the supercell"))
    if harmonic.modes.n_imaginary:
        rows.append(
            (
                "imaginary modes",
                f"{harmonic.modes.n_imaginary}: no minimum of the energy; sigma^A means nothing by itself",
            )
        )
    if harmonic.residual_force_eV_per_A is not None:
        taken = "" if labels else ", the largest on an atom at rest; taken off the forces"
        rows.append(("residual force", f"{harmonic.residual_force_eV_per_A:.2g} eV/A{taken}"))
    rows.append(("files", str(directory)))
    return rows
