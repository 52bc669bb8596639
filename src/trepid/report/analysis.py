"""The page, the tables and the JSON of `trepid analyse`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trepid.analysis.averages import Average
from trepid.analysis.trust import BARS
from trepid.data.atomic import write_text_atomic
from trepid.report.page import FIGURES, Headline, Section, Table, draw, draw_series, figure_files, now, render_page

if TYPE_CHECKING:
    from trepid.analysis.eos import EquationOfState
    from trepid.analysis.run import TrajectoryAnalysis
    from trepid.analysis.thermodynamics import Expansion, Thermodynamics
    from trepid.events.analysis import EventAnalysis

PAGE, FACTS, RDF, MSD, CELL = "analysis.html", "analysis.json", "rdf.csv", "msd.csv", "cell.csv"
"""Files in the output directory."""
_PLOTS = "trepid.report.analysis_plots"
_CELL_ROWS = (
    ("a_A", "a (Å)"),
    ("b_A", "b (Å)"),
    ("c_A", "c (Å)"),
    ("alpha_deg", "α (°)"),
    ("beta_deg", "β (°)"),
    ("gamma_deg", "γ (°)"),
    ("volume_A3", "volume (Å³)"),
    ("density_g_per_cm3", "density (g/cm³)"),
)


@dataclass(frozen=True, eq=False)
class Analysed:
    """Everything on the page.

    Attributes
    ----------
    runs : sequence of TrajectoryAnalysis
        One or more.
    expansion : Expansion or None
        Between runs at constant pressure and several temperatures.
    events : EventAnalysis or None
        Of the first trajectory.
    equation_of_state : EquationOfState or None
    """

    runs: Sequence[TrajectoryAnalysis]
    expansion: Expansion | None = None
    events: EventAnalysis | None = None
    equation_of_state: EquationOfState | None = None


def write_analysis(analysed: Analysed, directory: Path, *, figures: bool = False) -> list[Path]:
    """Write the page, JSON and tables into an existing directory, each atomically; returns their names.

    `figures` writes every figure also as PNG and PDF, with its numbers as CSV, into a folder of the directory.
    """
    with figure_files(directory / FIGURES if figures else None):
        page = render_analysis(analysed)
    written = {
        RDF: _text(_rdf_rows(analysed)),
        MSD: _text(_msd_rows(analysed)),
        CELL: _text(_cell_rows(analysed)),
        FACTS: json.dumps(_finite(facts(analysed)), indent=2, ensure_ascii=False) + "\n",
        PAGE: page,
    }
    for name, text in written.items():
        write_text_atomic(directory / name, text)
    return [directory / name for name in written]


def facts(analysed: Analysed) -> dict[str, Any]:
    """The figures as plain types, for JSON; curves are in the tables."""
    from trepid.report.events import facts as facts_of_events

    events = analysed.events
    return {
        "runs": [_facts_of_run(run) for run in analysed.runs],
        "expansion": None if analysed.expansion is None else analysed.expansion.as_dict(),
        "equation_of_state": None if analysed.equation_of_state is None else analysed.equation_of_state.as_dict(),
        "events": None if events is None else facts_of_events(events),
    }


def _facts_of_run(run: TrajectoryAnalysis) -> dict[str, Any]:
    return {
        "trajectory": run.name,
        "formula": run.formula,
        "n_atoms": run.n_atoms,
        "n_frames": run.n_frames,
        "start_ps": run.start_ps,
        "end_ps": run.end_ps,
        "cell": {name: figure.as_dict() for name, figure in run.cell.items()},
        "repeat": list(run.repeat),
        "cell_given": None
        if run.cell_given is None
        else {name: figure.as_dict() for name, figure in run.cell_given.items()},
        "trust": None if run.trust is None else run.trust.as_dict(),
        "thermodynamics": None if run.thermodynamics is None else run.thermodynamics.as_dict(),
        "rdf": [
            {
                "pair": list(rdf.pair),
                "first_peak_A": rdf.first_peak_A,
                "first_minimum_A": rdf.first_minimum_A,
                "coordination": None if rdf.coordination is None else rdf.coordination.as_dict(),
            }
            for rdf in run.rdfs
        ],
        "diffusion": [
            {
                "species": one.species,
                "n_atoms": one.n_atoms,
                "coefficient_cm2_per_s": None
                if one.coefficient_cm2_per_s is None
                else one.coefficient_cm2_per_s.as_dict(),
                "fit_ps": one.fit_ps,
                "diffuses": one.diffuses,
            }
            for one in run.diffusion
        ],
        "remarks": list(run.remarks),
    }


# ---------------------------------------------------------------------- page


def render_analysis(analysed: Analysed) -> str:
    """HTML of the page as text."""
    first = analysed.runs[0]
    sections: list[Section] = []
    for number, run in enumerate(analysed.runs, 1):
        sections += _run_sections(run, number, of=len(analysed.runs))
    sections += _expansion(analysed.expansion) + _equation_of_state(analysed.equation_of_state)
    if analysed.events is not None:
        from trepid.report.events import event_sections

        sections += event_sections(analysed.events)
    remarks = [(remark,) for run in analysed.runs for remark in run.remarks]
    if remarks:
        sections.append(Section("Remarks", "", (), table=Table(("",), tuple(remarks))))
    names = ", ".join(_short(run) for run in analysed.runs)
    return render_page(
        title=f"{first.formula}: trajectory"
        if len(analysed.runs) == 1
        else f"{first.formula}: {len(analysed.runs)} runs",
        subtitle=f"{names} · {first.n_atoms} atoms",
        headlines=_headlines(first),
        sections=sections,
        footer=f"Written {now()}. Bars are one standard deviation, from the slow end of the spectrum. At least: the run is short.",
    )


def _short(run: TrajectoryAnalysis) -> str:
    """A name that tells runs apart: the run directory, or the file."""
    path = Path(run.name)
    return path.parent.name if path.name.startswith("trajectory.") and path.parent.name else path.name


def _headlines(run: TrajectoryAnalysis) -> list[Headline]:
    strip = [Headline(f"{run.end_ps - run.start_ps:.4g}", "ps", f"in {run.n_frames} frames")]
    found = run.thermodynamics
    if found is not None:
        strip.append(Headline(f"{found.temperature_K.value:.0f}", "K", f"target {found.target_temperature_K:g} K"))
        if math.isfinite(found.pressure_GPa.value):
            strip.append(Headline(_value(found.pressure_GPa), "GPa", _bar_of("", found.pressure_GPa)))
    strip.append(Headline(_value(run.cell["a_A"]), "Å", _bar_of("a", run.cell["a_A"])))
    fast = [one for one in run.diffusion if one.diffuses and one.coefficient_cm2_per_s is not None]
    for one in fast[:1]:
        assert one.coefficient_cm2_per_s is not None
        strip.append(Headline(f"{one.coefficient_cm2_per_s.value:.2g}", "cm²/s", f"diffusion of {one.species}"))
    return strip


def _value(figure: Average) -> str:
    return str(figure).split(" ")[0]


def _bar_of(name: str, figure: Average) -> str:
    """Name and bar of a figure, for the line below it; the name alone where there is no bar."""
    bar = str(figure).partition(" ± ")[2]
    return f"{name} ± {bar}".strip() if bar else name


def _run_sections(run: TrajectoryAnalysis, number: int, *, of: int) -> list[Section]:
    suffix = "" if of == 1 else f" · {_short(run)}"
    tag = "" if of == 1 else f"-{number}"
    return [
        _states(run, suffix, tag),
        _structure(run, suffix, tag),
        *_diffusion(run, suffix, tag),
    ]


def _states(run: TrajectoryAnalysis, suffix: str, tag: str) -> Section:
    found = run.thermodynamics
    rows = [(name, *_cells(run.cell[key])) for key, name in _CELL_ROWS]
    given = run.cell_given
    if given is not None:
        rows += [(f"{key[0]} of the given cell (Å)", *_cells(figure)) for key, figure in given.items()]
    text = (
        f"Averages {_part(run)}; what came before is left out. Bars are {BARS}."
        f"{'' if run.trust is None else ' ' + run.trust.warning}"
    )
    if found is not None:
        rows = [*_thermodynamic_rows(found), *rows]
        if found.cell_changes:
            text += " Bulk modulus, expansion and heat capacity: from the fluctuations of volume and enthalpy (classical nuclei)."
    pictures = draw_series(
        (f"cell{tag}", _PLOTS, lambda plots, width: plots.cell(run, width=width), "Cell over time; dashed: mean."),
        (
            f"temperature-pressure{tag}",
            _PLOTS,
            lambda plots, width: plots.temperature_and_pressure(run, width=width),
            "Temperature and pressure at every check; dashed: mean. The pressure has its kinetic part.",
        ),
    )
    head = ("", "mean", "bar", "")
    return Section(f"Cell, temperature and pressure{suffix}", text, pictures, wide=True, table=Table(head, tuple(rows)))


def _part(run: TrajectoryAnalysis) -> str:
    """What the averages of cell, temperature and pressure are over."""
    found = run.thermodynamics
    if found is None:
        return f"over {run.n_frames} frames from {run.start_ps:.4g} to {run.end_ps:.4g} ps"
    return f"over {found.n_rows} rows of trace.csv from {found.start_ps:.4g} to {found.end_ps:.4g} ps"


def _thermodynamic_rows(found: Thermodynamics) -> list[tuple[str, str, str, str]]:
    wanted: list[tuple[str, Average | None, float]] = [
        ("temperature (K)", found.temperature_K, 1.0),
        ("pressure (GPa)", found.pressure_GPa, 1.0),
        ("bulk modulus (GPa)", found.bulk_modulus_GPa, 1.0),
        ("volume expansion (10⁻⁶/K)", found.volume_expansion_per_K, 1e6),
        ("heat capacity of all atoms of the cell (k_B)", found.heat_capacity_kB, 1.0),
    ]
    rows = []
    for name, figure, factor in wanted:
        if figure is not None and math.isfinite(figure.value):
            rows.append((name, *_cells(Average(factor * figure.value, factor * figure.error, figure.converged))))
    return rows


def _cells(figure: Average) -> tuple[str, str, str]:
    if not figure.error > 0:
        return f"{figure.value:.6g}", "", "constant" if figure.error == 0 else "too few frames for a bar"
    value, _, error = str(figure).partition(" ± ")
    return value, error, "" if figure.converged else "the run is short for its correlation time"


def _structure(run: TrajectoryAnalysis, suffix: str, tag: str) -> Section:
    rows = []
    for rdf in run.rdfs:
        around = rdf.coordination
        rows.append(
            (
                "–".join(rdf.pair),
                "" if rdf.first_peak_A is None else f"{rdf.first_peak_A:.3f}",
                "" if rdf.first_minimum_A is None else f"{rdf.first_minimum_A:.3f}",
                "" if around is None else str(around),
            )
        )
    pictures = draw(
        (
            f"rdf{tag}",
            _PLOTS,
            lambda plots: plots.radial_distribution(run.rdfs),
            "Partial radial distribution functions; shaded: one standard deviation.",
        )
    )
    text = "Coordination: atoms of the second species around one of the first, within the first minimum."
    table = Table(("pair", "first peak (Å)", "first minimum (Å)", "coordination"), tuple(rows)) if rows else None
    return Section(f"Structure{suffix}", text, pictures, table=table)


def _diffusion(run: TrajectoryAnalysis, suffix: str, tag: str) -> list[Section]:
    if not run.diffusion:
        return []
    rows = []
    for one in run.diffusion:
        found = one.coefficient_cm2_per_s
        if found is None or one.fit_ps is None:
            rows.append((one.species, str(one.n_atoms), "too few frames", ""))
            continue
        text = f"{found.value:.2e} ± {found.error:.1e}"
        told = text if one.diffuses else f"{text}: not above 0"
        rows.append((one.species, str(one.n_atoms), told, f"{one.fit_ps[0]:.3g} to {one.fit_ps[1]:.3g}"))
    pictures = draw(
        (
            f"msd{tag}",
            _PLOTS,
            lambda plots: plots.mean_squared_displacement(run.diffusion),
            "Mean squared displacement over all starts, without the drift of the whole; shaded: one standard deviation.",
        )
    )
    text = (
        "The coefficient is a sixth of the slope between the lags of the fit, with a bar from eight blocks of time. An atom that "
        "only vibrates has a plateau and no slope; rare hops are counted by trepid events."
    )
    head = ("species", "atoms", "diffusion coefficient (cm²/s)", "lags of the fit (ps)")
    return [Section(f"Diffusion{suffix}", text, pictures, table=Table(head, tuple(rows)))]


def _expansion(found: Expansion | None) -> list[Section]:
    if found is None:
        return []
    pairs = zip(found.temperatures_K, found.temperatures_K[1:], found.linear_per_K, strict=False)
    rows = [
        (f"{cold:g} to {hot:g}", *_cells(Average(1e6 * figure.value, 1e6 * figure.error, figure.converged)))
        for cold, hot, figure in pairs
    ]
    text = "Linear coefficient, a third of the change of ln(volume per atom) over that of the temperature."
    return [Section("Thermal expansion", text, (), table=Table(("K", "10⁻⁶/K", "bar", ""), tuple(rows)))]


def _equation_of_state(found: EquationOfState | None) -> list[Section]:
    if found is None:
        return []
    rows = (
        ("volume (Å³)", *_cells(found.volume_A3)),
        ("factor on the lattice vectors", *_cells(found.lattice_factor)),
        ("bulk modulus (GPa)", *_cells(found.bulk_modulus_GPa)),
        ("its derivative by the pressure", *_cells(found.bulk_modulus_derivative)),
    )
    pictures = draw(
        (
            "eos",
            _PLOTS,
            lambda plots: plots.equation_of_state(found),
            "Energy of the crystal over its volume; dashed: minimum.",
        )
    )
    text = "Birch-Murnaghan at 0 K, without zero-point motion; bars are the uncertainty of the model."
    return [Section("Equation of state", text, pictures, table=Table(("", "value", "bar", ""), rows))]


# ---------------------------------------------------------------------- tables


def _rdf_rows(analysed: Analysed) -> Iterable[Sequence[str]]:
    yield ("run", "pair", "r_A", "g", "g_error")
    for run in analysed.runs:
        for rdf in run.rdfs:
            for r, g, error in zip(rdf.r_A, rdf.g, rdf.g_error, strict=True):
                yield (_short(run), "-".join(rdf.pair), f"{r:.6g}", f"{g:.8g}", _number(error))


def _msd_rows(analysed: Analysed) -> Iterable[Sequence[str]]:
    yield ("run", "species", "lag_ps", "msd_A2", "msd_error_A2")
    for run in analysed.runs:
        for one in run.diffusion:
            for lag, msd, error in zip(one.lag_ps, one.msd_A2, one.msd_error_A2, strict=True):
                yield (_short(run), one.species, f"{lag:.8g}", f"{msd:.8g}", _number(error))


def _cell_rows(analysed: Analysed) -> Iterable[Sequence[str]]:
    yield ("run", "time_ps", "a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg", "volume_A3")
    for run in analysed.runs:
        for time, cell, volume in zip(run.times_ps, run.cells, run.volumes_A3, strict=True):
            yield (_short(run), f"{time:.8g}", *(f"{value:.8g}" for value in cell), f"{volume:.8g}")


def _number(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _text(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
