"""The page, the table and the JSON of lifetimes, for `trepid lifetimes`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trepid.data.atomic import write_text_atomic
from trepid.data.formula import formula_of
from trepid.quantities import Z_95
from trepid.report.json_text import json_text
from trepid.report.page import Headline, Section, Table, draw, now, render_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trepid.phonons.lifetimes import LifetimeAnalysis, ModeLifetime

PAGE, JSON, MODES, SPECTRUM = "lifetimes.html", "lifetimes.json", "lifetimes.csv", "vdos.csv"
"""Files in the output directory."""
_HEAD = (
    "q",
    "branches",
    "harmonic_THz",
    "frequency_THz",
    "frequency_error_THz",
    "lifetime_ps",
    "low_ps",
    "high_ps",
    "width_THz",
    "p_one_line",
    "resolved",
    "broad",
    "sigma_a",
    "sigma_a_error",
    "temperature_K",
)


def write_lifetimes(result: LifetimeAnalysis, directory: Path, *, names: Sequence[str], model: str) -> list[Path]:
    """Write lifetimes.json, the tables and the page into an existing directory, each atomically; returns their names."""
    write_text_atomic(directory / JSON, json_text(facts(result, names=names, model=model)))
    write_text_atomic(directory / MODES, _csv([_HEAD, *(_row(mode) for mode in result.modes)]))
    found = result.spectrum
    species = [name for name in found.density if name != "total"]
    rows: list[tuple[object, ...]] = [("frequency_THz", "total", "total_error", *species)]
    for k, frequency in enumerate(found.frequencies_THz):
        values = (found.density["total"][k], found.density_error[k], *(found.density[name][k] for name in species))
        rows.append((f"{frequency:.6g}", *(f"{value:.6g}" for value in values)))
    write_text_atomic(directory / SPECTRUM, _csv(rows))
    write_text_atomic(directory / PAGE, render_lifetimes(result, names=names, model=model))
    return [directory / name for name in (JSON, MODES, SPECTRUM, PAGE)]


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _row(mode: ModeLifetime) -> tuple[object, ...]:
    return (
        " ".join(f"{x:.6g}" for x in mode.group.q),
        "+".join(str(b + 1) for b in mode.group.branches),
        f"{mode.group.frequency_THz:.6g}",
        f"{mode.frequency_THz:.6g}",
        f"{mode.frequency_error_THz:.3g}",
        f"{mode.lifetime_ps:.6g}",
        f"{mode.low_ps:.6g}",
        f"{mode.high_ps:.6g}",
        f"{width_THz(mode):.4g}",
        f"{mode.fit.p_value:.3g}",
        int(mode.fit.resolved),
        int(mode.fit.broad),
        "" if mode.sigma_a is None else f"{mode.sigma_a:.5g}",
        "" if mode.sigma_a_error is None else f"{mode.sigma_a_error:.3g}",
        f"{mode.temperature_K:.5g}",
    )


def width_THz(mode: ModeLifetime) -> float:
    """Full width at half maximum, THz (not angular)."""
    return 1.0 / (2 * 3.141592653589793 * mode.lifetime_ps)


def facts(result: LifetimeAnalysis, *, names: Sequence[str], model: str) -> dict[str, Any]:
    """Everything as plain types."""
    found = result.spectrum
    return {
        "kind": "lifetimes",
        "trajectories": list(names),
        "force_constants": model,
        "crystal": formula_of(result.crystal),
        "n_atoms": len(result.crystal),
        "n_runs": result.n_runs,
        "n_members": result.n_members,
        "duration_ps": result.duration_ps,
        "interval_fs": result.interval_fs,
        "velocities": result.kind.value,
        "temperature_K": found.temperature_K,
        "level": 0.95,
        "modes": [_mode_facts(mode) for mode in result.modes],
        "vdos": {
            "frequencies_THz": found.frequencies_THz.tolist(),
            "density": {name: values.tolist() for name, values in found.density.items()},
            "error": found.density_error.tolist(),
            "n_pieces": found.n_pieces,
        },
        "vacf": {
            "times_fs": found.times_fs.tolist(),
            "value": found.autocorrelation.tolist(),
            "error": found.autocorrelation_error.tolist(),
        },
        "remarks": list(result.remarks),
    }


def _mode_facts(mode: ModeLifetime) -> dict[str, Any]:
    return {
        "q": list(mode.group.q),
        "branches": list(mode.group.branches),
        "harmonic_THz": mode.group.frequency_THz,
        "frequency_THz": mode.frequency_THz,
        "frequency_error_THz": mode.frequency_error_THz,
        "frequency_model_error_THz": mode.frequency_model_error_THz,
        "lifetime_ps": mode.lifetime_ps,
        "low_ps": mode.low_ps,
        "high_ps": mode.high_ps,
        "log_error": mode.log_error,
        "log_model_error": mode.log_model_error,
        "p_one_line": mode.fit.p_value,
        "is_line": mode.fit.is_line,
        "resolved": mode.fit.resolved,
        "broad": mode.fit.broad,
        "scatter_p": mode.scatter_p,
        "temperature_K": mode.temperature_K,
        "sigma_a": mode.sigma_a,
        "sigma_a_error": mode.sigma_a_error,
    }


def interval(mode: ModeLifetime) -> str:
    """Lifetime with its interval."""
    text = f"{mode.lifetime_ps:.3g} ({mode.low_ps:.3g} to {mode.high_ps:.3g})"
    if mode.fit.broad:
        return f"below {mode.lifetime_ps:.3g}"
    return text if mode.fit.resolved else f"above {mode.low_ps:.3g}"


def rows(result: LifetimeAnalysis) -> list[tuple[str, str]]:
    """The result in a few lines."""
    lines = [
        (
            "trajectories",
            f"{result.n_runs}, {result.duration_ps:.6g} ps, {len(result.crystal)} atoms, {result.kind.value}",
        ),
        ("temperature", f"{result.spectrum.temperature_K:.1f} K"),
    ]
    if not result.modes:
        return [*lines, ("modes", "none: give force constants with --phonopy, or a --model")]
    n_lines = sum(mode.fit.is_line for mode in result.modes)
    lines.append(("modes", f"{len(result.modes)} groups, {n_lines} of them one damped oscillator"))
    lines += [
        (f"  q {mode.group.name}", f"{mode.frequency_THz:.3f} THz, lifetime {interval(mode)} ps")
        for mode in result.modes[:12]
    ]
    if len(result.modes) > 12:
        lines.append(("  ...", f"{len(result.modes) - 12} more in {MODES}"))
    return lines


def render_lifetimes(result: LifetimeAnalysis, *, names: Sequence[str], model: str) -> str:
    """The page as text: one self-contained file."""
    plots, sections = "trepid.report.lifetime_plots", []
    bars = "statistical and model" if result.n_members else "statistical"
    if result.modes:
        head = ("q", "branches", "harmonic, THz", "frequency, THz", "lifetime, ps", "one line?", "σA", "T, K")
        table = Table(
            head,
            tuple(
                (
                    ", ".join(f"{x:.3g}" for x in mode.group.q),
                    "+".join(str(b + 1) for b in mode.group.branches),
                    f"{mode.group.frequency_THz:.3f}",
                    f"{mode.frequency_THz:.3f} ± {Z_95 * mode.frequency_error_THz:.2g}",
                    interval(mode),
                    "yes" if mode.fit.is_line else "no",
                    "" if mode.sigma_a is None else f"{mode.sigma_a:.3f}",
                    f"{mode.temperature_K:.0f}",
                )
                for mode in result.modes
            ),
        )
        sections.append(
            Section(
                "Lifetimes",
                f"1/γ of a damped oscillator fitted to the spectrum of each mode; 95 % intervals, {bars}. Branches count from 1. "
                f"“One line”: a test of the whole spectrum around the peak, at 1 %. Force constants: {model}.",
                draw(
                    ("lifetimes", plots, lambda m: m.lifetimes_picture(result), "Lifetimes by frequency."),
                    (
                        "shifts",
                        plots,
                        lambda m: m.shift_picture(result),
                        "Shifts of the frequencies against the harmonic ones.",
                    ),
                ),
                wide=True,
                table=table,
            )
        )
    sections.append(
        Section(
            "Density of states and autocorrelation of velocities",
            f"From {result.spectrum.n_pieces} pieces of the trajectories; shaded: 95 % interval of their scatter.",
            draw(
                (
                    "spectrum",
                    plots,
                    lambda m: m.spectrum_picture(result),
                    "Vibrational density of states, and autocorrelation.",
                )
            ),
            wide=True,
        )
    )
    known = [mode for mode in result.modes if mode.fit.resolved]
    headlines = [
        Headline(f"{result.spectrum.temperature_K:.0f}", "K", "temperature"),
        Headline(f"{result.duration_ps:.5g}", "ps", f"in {result.n_runs} trajectories"),
    ]
    if known:
        shortest, longest = min(m.lifetime_ps for m in known), max(m.lifetime_ps for m in known)
        headlines.append(Headline(f"{shortest:.2g} – {longest:.2g}", "ps", "lifetimes"))
        headlines.append(
            Headline(f"{sum(m.fit.is_line for m in result.modes)} / {len(result.modes)}", "", "spectra of one line")
        )
    crystal = result.crystal
    return render_page(
        title=f"Lifetimes in {formula_of(crystal, reduced=True)}",
        subtitle=f"{formula_of(crystal)}, {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}",
        headlines=headlines,
        sections=sections,
        sentences=result.remarks,
        grade="fair" if result.remarks else "",
        footer=f"trepid lifetimes, {now()}",
    )
