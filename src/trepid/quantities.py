"""Quantities as text: one unit and one number of digits for each, so that a small number is never shown as zero."""

from __future__ import annotations

import math

Z_95 = 1.96
"""Half width of the 95 % interval of a normal distribution, in standard deviations."""


def force(value: float) -> str:
    """A force or its uncertainty, given in eV/A: three digits in meV/A below 1 eV/A, in eV/A above."""
    return _scaled(value, "eV/A")


def energy(value: float) -> str:
    """An energy, given in eV: three digits in meV below 1 eV, in eV above."""
    return _scaled(value, "eV")


def with_bar(value: float, bar: float | None, *, decimals: int | None = None) -> str:
    """A figure and its bar with equally many decimals, "0.308 ± 0.037"; the figure alone where there is no bar.

    Parameters
    ----------
    value : float
    bar : float or None
        Not finite or not positive: none.
    decimals : int, optional
        Default: two digits of the bar, and without one four digits of the value.
    """
    known = bar is not None and math.isfinite(bar) and bar > 0
    if bar is None or not known:
        return f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"
    if decimals is None:
        decimals = max(0, 1 - math.floor(math.log10(bar)))
        if decimals > 6:
            return f"{value:.4g}"
    return f"{value:.{decimals}f} ± {bar:.{decimals}f}"


def share(value: float) -> str:
    """A fraction as a percentage with two digits."""
    return f"{_digits(100 * value, 2)} %"


def duration(seconds: float) -> str:
    """A time in the unit that suits it: 0.35 s, 42 s, 3 min, 2.5 h, 4 days."""
    if not math.isfinite(seconds):
        return "an unknown time"
    for unit, length in (("days", 172800.0), ("h", 7200.0), ("min", 100.0)):
        if seconds >= length:
            per = {"days": 86400.0, "h": 3600.0, "min": 60.0}[unit]
            return f"{_digits(seconds / per, 2)} {unit}"
    return f"{_digits(seconds, 2)} s"


def _scaled(value: float, unit: str) -> str:
    return f"{_digits(1000 * value, 3)} m{unit}" if abs(value) < 1.0 else f"{_digits(value, 3)} {unit}"


def _digits(value: float, n: int) -> str:
    """At least `n` significant digits; whole numbers keep all of theirs, and tiny ones have an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-4:
        return f"{value:.{n - 1}e}"
    return f"{value:.{max(0, n - 1 - math.floor(math.log10(abs(value))))}f}"
