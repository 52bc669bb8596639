"""The page of a thermal conductivity, for `trepid conductivity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trepid.data.atomic import write_text_atomic
from trepid.report.page import Headline, Section, Table, draw, now, render_page
from trepid.transport.settings import text_of

if TYPE_CHECKING:
    from trepid.transport.conductivity import ConductivityResult, SizeResult

PAGE = "conductivity.html"
_PLOTS = "trepid.report.conductivity_plots"


def write_page(result: ConductivityResult, path: Path) -> None:
    """Write the page, atomically."""
    write_text_atomic(path, render_conductivity(result))


def render_conductivity(result: ConductivityResult) -> str:
    """HTML of the page as text."""
    s, last = result.settings, result.sizes[-1]
    return render_page(
        title=f"Thermal conductivity of {result.formula}",
        subtitle=f"{result.name} · {last.n_atoms} atoms · {s.n_runs} runs of {s.run_ps:g} ps · {last.temperature_K:.0f} K",
        headlines=_headlines(result),
        sections=[_integral(last), *_sizes(result), *_draws(result), _remarks(result)],
        settings="\n".join(f"{name}: {value}" for name, value in vars(s).items()),
        footer=f"Written {now()}. W/(m K) throughout; intervals hold the truth with 95 % probability if the runs are long enough.",
    )


def _headlines(result: ConductivityResult) -> list[Headline]:
    low, high = result.total.interval()
    strip = [
        Headline(f"{result.kappa.value:.3g}", "W/(m K)", f"{low:.3g} to {high:.3g} with 95 %"),
        Headline(f"± {result.kappa.error:.2g}", "", "statistical error, one standard deviation"),
    ]
    if result.model_error is not None:
        strip.append(Headline(f"± {result.model_error:.2g}", "", f"error of the model, from {len(result.draws)} draws"))
    last = result.sizes[-1]
    strip.append(
        Headline(
            f"{last.integral.cutoff_ps:.3g}",
            "ps",
            "cut-off of the integral" if last.integral.converged else "cut-off; runs too short",
        )
    )
    return strip


def _integral(size: SizeResult) -> Section:
    pictures = draw(
        (
            "integral",
            _PLOTS,
            lambda plots: plots.integral(size),
            "Integral of the autocorrelation of the heat flux over its upper limit, with its error; the line is the cut-off.",
        )
    )
    rows = [
        (axis, f"{c.value:.3g} ± {c.error:.2g}", "{:.3g} to {:.3g}".format(*c.interval()))
        for axis, c in zip(("xx", "yy", "zz"), size.components, strict=True)
    ]
    rows.append(
        ("mean", f"{size.kappa.value:.3g} ± {size.kappa.error:.2g}", "{:.3g} to {:.3g}".format(*size.kappa.interval()))
    )
    second = size.cepstral
    rows.append(
        (
            f"cepstral analysis, {second.n_coefficients} coefficients below {second.band_THz:.2g} THz"
            + ("" if second.valid else " (not valid here)"),
            f"{second.estimate.value:.3g} ± {second.estimate.error:.2g}",
            "{:.3g} to {:.3g}".format(*second.estimate.interval()),
        )
    )
    text = (
        "The heat flux is exact for the many-body potential (centroid virial). The integral is read where a plateau begins and "
        "averaged around there; its noise grows as the square root of the limit. Cepstral analysis is a second estimate: it needs "
        "a spectrum that is smooth at low frequency, which long-lived phonons make sharp, and its bar is then too narrow."
    )
    return Section("Integral", text, pictures, wide=True, table=Table(("", "W/(m K)", "95 %"), tuple(rows)))


def _sizes(result: ConductivityResult) -> list[Section]:
    if len(result.sizes) < 2:
        return []
    pictures = draw(
        ("sizes", _PLOTS, lambda plots: plots.sizes(result), "Conductivity over the number of atoms, 95 % intervals.")
    )
    rows = tuple(
        (
            text_of(size.repeat),
            str(size.n_atoms),
            f"{size.kappa.value:.3g} ± {size.kappa.error:.2g}",
            f"{size.integral.cutoff_ps:.3g}",
            "yes" if size.integral.converged else "no",
        )
        for size in result.sizes
    )
    head = ("cell", "atoms", "W/(m K)", "cut-off, ps", "runs long enough")
    text = "A small cell lacks the long waves: where sizes differ beyond their bars, a larger one is needed."
    return [Section("Size of the cell", text, pictures, table=Table(head, rows))]


def _draws(result: ConductivityResult) -> list[Section]:
    if not result.draws:
        return []
    rows = [("the model", f"{result.kappa.value:.3g} ± {result.kappa.error:.2g}")]
    rows += [(f"draw {k}", f"{draw.value:.3g} ± {draw.error:.2g}") for k, draw in enumerate(result.draws, 1)]
    text = (
        "Force fields that are as plausible as the model, each with runs of its own. Their spread beyond the statistical errors is "
        "the error bar of the model; zero means that the statistical errors hide it."
    )
    return [Section("Error of the model", text, (), table=Table(("", "W/(m K)"), tuple(rows)))]


def _remarks(result: ConductivityResult) -> Section:
    rows = tuple((remark[:1].upper() + remark[1:],) for remark in result.remarks)
    return Section("Remarks", "" if rows else "None.", (), table=Table(("",), rows) if rows else None)
