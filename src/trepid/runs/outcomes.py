"""Properties that finished runs hold, each with its interval: what `trepid compare` puts side by side.

Vocabulary
----------
outcome    a campaign, the output folder of `trepid anharmonicity`, `events`, `phonons`, `lifetimes` or `conductivity`, or a
           folder with several of these in it
property   one number with a 95 % interval; properties of two outcomes are the same where kind, name and temperature are
ratio      a property that is positive by nature (rate, lifetime, conductivity): compared by its logarithm
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from trepid.data.json_file import read_json_object
from trepid.errors import DataError
from trepid.quantities import Z_95
from trepid.runs.properties import pooled_rates
from trepid.runs.reading import read_run

SAME_TEMPERATURE = 0.08
"""Temperatures of trajectories within this part of each other are one: those of constant energy are never exact."""


ZERO_THz = 0.02
"""Slower modes at the points of a path are translations, and not compared."""


class Kind(str, Enum):
    """What can be compared, in the order of the page."""

    SIGMA_A = "sigma^A"
    RATE = "event rates"
    FREQUENCY = "frequencies"
    LIFETIME = "lifetimes"
    THERMAL = "thermal properties"
    KAPPA = "conductivity"


RATIOS = (Kind.RATE, Kind.LIFETIME, Kind.KAPPA)


@dataclass(frozen=True)
class Property:
    """One number.

    Attributes
    ----------
    kind : Kind
    name : str
        Which one of its kind: a class of events, a mode.
    unit : str
    temperature_K : float or None
        None where it has none, or the file does not tell it.
    value : float
    low, high : float or None
        95 % interval; None where there is none.
    """

    kind: Kind
    name: str
    unit: str
    temperature_K: float | None
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What one path holds.

    Attributes
    ----------
    name : str
        The path.
    files : tuple of str
        That were read.
    properties : tuple of Property
    bands : tuple of (segments, n_q, n_branches) lists or None
        Frequencies along the path of phonons.json, THz, with its distances.
    """

    name: str
    files: tuple[str, ...]
    properties: tuple[Property, ...]
    bands: Bands | None = None


@dataclass(frozen=True)
class Bands:
    """Bands for a picture: per segment distances, frequencies and bars (None without), and the names of the ends."""

    ends: tuple[tuple[str, str], ...]
    distances: tuple[list[float], ...]
    frequencies: tuple[list[list[float]], ...]
    bars: tuple[list[list[float]] | None, ...]


@dataclass(frozen=True)
class Compared:
    """One property in all outcomes.

    Attributes
    ----------
    kind, name, unit, temperature_K
        As in `Property`.
    found : tuple of Property or None
        Per outcome; None where it is missing.
    """

    kind: Kind
    name: str
    unit: str
    temperature_K: float | None
    found: tuple[Property | None, ...]

    @property
    def change(self) -> float | None:
        """Last over first where the kind is a ratio, last less first otherwise; None where one of the two is missing."""
        first, last = self.found[0], self.found[-1]
        if first is None or last is None:
            return None
        if self.kind not in RATIOS:
            return last.value - first.value
        return last.value / first.value if first.value > 0 else None

    @property
    def differs(self) -> bool | None:
        """Whether the change is beyond both intervals, added in squares; None where that cannot be said."""
        first, last = self.found[0], self.found[-1]
        if first is None or last is None:
            return None
        widths = [_half_width(one, self.kind in RATIOS, towards=other) for one, other in ((first, last), (last, first))]
        if any(width is None for width in widths):
            return None
        if self.kind in RATIOS:
            if first.value <= 0 or last.value <= 0:
                # A rate of zero: whether its upper end reaches the other interval.
                return bool(max(first.low or 0.0, last.low or 0.0) > min(first.high or 0.0, last.high or 0.0))
            distance = abs(math.log(last.value / first.value))
        else:
            distance = abs(last.value - first.value)
        return bool(distance > math.hypot(*(width or 0.0 for width in widths)))


def _half_width(one: Property, ratio: bool, *, towards: Property) -> float | None:
    """Width of an interval on the side of the other value."""
    if one.low is None or one.high is None:
        return None
    if not ratio:
        return one.high - one.value if towards.value > one.value else one.value - one.low
    if one.value <= 0:
        return 0.0
    end = one.high if towards.value > one.value else one.low
    return abs(math.log(end / one.value)) if end > 0 else math.inf


# ---------------------------------------------------------------------- reading


def read_outcome(path: str | Path) -> Outcome:
    """All properties that a path holds.

    Raises
    ------
    DataError
        Nothing to compare is there, or a file is damaged.
    """
    folder = Path(path)
    if folder.is_file():
        raise DataError(f"{folder}: a file; give the folder that it is in: a run, or the output of a verb")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such directory; give a run, or the output folder of a verb")
    properties: list[Property] = []
    files: list[str] = []
    bands: Bands | None = None
    for place in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        if (place / "ledger.jsonl").is_file() and (place / "campaign.yaml").is_file():
            properties += _of_campaign(place)
            files.append(str(place / "ledger.jsonl"))
        for name, reader in _READERS.items():
            if (place / name).is_file():
                content = read_json_object(place / name)
                try:
                    properties += reader(content)
                    if name == "phonons.json" and bands is None:
                        bands = _bands(content)
                except (KeyError, TypeError, ValueError, IndexError) as error:
                    raise DataError(
                        f"{place / name}: not as trepid writes it ({type(error).__name__}: {error})"
                    ) from error
                files.append(str(place / name))
    if not files:
        raise DataError(
            f"{folder}: nothing to compare in it or in its folders: no campaign, and none of {', '.join(_READERS)}"
        )
    return Outcome(str(path), tuple(files), tuple(properties), bands)


def compare(outcomes: Sequence[Outcome]) -> list[Compared]:
    """Properties side by side, by kind, temperature and name.

    Raises
    ------
    DataError
        Fewer than two outcomes.
    """
    if len(outcomes) < 2:
        raise DataError(f"{len(outcomes)} runs: give two or more to compare")
    settled = _one_temperature([list(outcome.properties) for outcome in outcomes])
    tables = [{(p.kind, p.name, p.temperature_K): p for p in properties} for properties in settled]
    order = list(Kind)
    keys = sorted(
        {key for table in tables for key in table},
        key=lambda key: (order.index(key[0]), -1.0 if key[2] is None else key[2], key[1]),
    )
    rows = []
    for key in keys:
        found = tuple(table.get(key) for table in tables)
        unit = next(one.unit for one in found if one is not None)
        rows.append(Compared(key[0], key[1], unit, key[2], found))
    return rows


def missing(outcomes: Sequence[Outcome], rows: Sequence[Compared]) -> list[str]:
    """What some of the outcomes hold and others do not, one line each."""
    lines = []
    for k, outcome in enumerate(outcomes):
        for kind in Kind:
            of_kind = [row for row in rows if row.kind is kind]
            absent = [row for row in of_kind if row.found[k] is None]
            if of_kind and len(absent) == len(of_kind):
                lines.append(f"{outcome.name} holds no {kind.value}")
            elif absent:
                lines.append(
                    f"{outcome.name} lacks {len(absent)} of {len(of_kind)} {kind.value}, such as {absent[0].name}"
                )
    nowhere = [kind.value for kind in Kind if not any(row.kind is kind for row in rows)]
    if nowhere:
        lines.append(f"in none of them: {', '.join(nowhere)}")
    return lines


def _one_temperature(tables: list[list[Property]]) -> list[list[Property]]:
    """The same properties with temperatures that are nearly one made equal."""
    known = sorted({p.temperature_K for table in tables for p in table if p.temperature_K is not None})
    groups: list[list[float]] = []
    for temperature in known:
        if groups and temperature <= groups[-1][0] * (1 + SAME_TEMPERATURE) + 1e-9:
            groups[-1].append(temperature)
        else:
            groups.append([temperature])
    names = {t: float(round(sum(group) / len(group), 1)) for group in groups for t in group}
    return [
        [p if p.temperature_K is None else replace(p, temperature_K=names[p.temperature_K]) for p in table]
        for table in tables
    ]


def _of_campaign(path: Path) -> list[Property]:
    record = read_run(path)
    found: list[Property] = []
    measured = [each for each in record.rounds if each.sigma_a]
    if measured:
        for one in measured[-1].sigma_a:
            half = None if one.error is None else Z_95 * math.hypot(one.error, one.model_error or 0.0)
            found.append(_around(Kind.SIGMA_A, "all atoms", "", one.temperature_K, one.value, half))
    walked = [each for each in record.rounds if each.walks]
    if walked:
        for (name, temperature), rate in pooled_rates(walked[-1:], record.selections).items():
            used = rate.used
            found.append(
                Property(
                    Kind.RATE,
                    name,
                    "per 100 ps",
                    temperature,
                    100 * used.rate_per_ps,
                    100 * used.low_per_ps,
                    100 * used.high_per_ps,
                )
            )
    return found


def _around(kind: Kind, name: str, unit: str, temperature: float | None, value: float, half: float | None) -> Property:
    return Property(
        kind,
        name,
        unit,
        temperature,
        value,
        None if half is None else value - half,
        None if half is None else value + half,
    )


def _of_anharmonicity(content: dict[str, Any]) -> list[Property]:
    temperature = content.get("temperature_K")
    model = content["sigma_a_model_error"] or 0.0
    rows = [("all atoms", content["sigma_a"], content["sigma_a_error"], model)]
    rows += [(name, one["sigma_a"], one["sigma_a_error"], 0.0) for name, one in content["per_species"].items()]
    return [
        _around(Kind.SIGMA_A, name, "", temperature, value, None if error is None else Z_95 * math.hypot(error, more))
        for name, value, error, more in rows
    ]


def _of_events(content: dict[str, Any]) -> list[Property]:
    found = [
        Property(
            Kind.RATE,
            one["class"],
            "per 100 ps",
            None,
            100 * one["rate_per_ps"],
            100 * one["low_per_ps"],
            100 * one["high_per_ps"],
        )
        for one in content["classes"]
    ]
    if content["sigma_a"] is not None:
        found.append(Property(Kind.SIGMA_A, "all atoms", "", None, content["sigma_a"]["value"]))
    return found


def _of_phonons(content: dict[str, Any]) -> list[Property]:
    def bar(one: dict[str, Any], k: int | None = None) -> float | None:
        width = one["bar"] if one["bar"] is None or k is None else one["bar"][k]
        return None if width is None else float(width)

    found = [
        _around(Kind.FREQUENCY, name, "THz", None, content[key]["value"], bar(content[key]))
        for name, key in (("highest", "highest_THz"), ("lowest", "lowest_THz"))
        if abs(content[key]["value"]) >= ZERO_THz
    ]
    for segment in content["bands"]["segments"]:
        frequencies = segment["frequencies_THz"]
        for place, k in ((segment["from"], 0), (segment["to"], -1)):
            for branch, value in enumerate(frequencies["value"][k], 1):
                if abs(value) < ZERO_THz:
                    continue
                width = None if frequencies["bar"] is None else frequencies["bar"][k][branch - 1]
                found.append(_around(Kind.FREQUENCY, f"{place}, branch {branch}", "THz", None, value, width))
    thermal = content["thermal"]
    temperatures = thermal["temperatures_K"]
    k = min(range(len(temperatures)), key=lambda i: abs(temperatures[i] - 300.0))
    for name, key, unit in (
        ("free energy", "free_energy_kJ_per_mol", "kJ/mol"),
        ("heat capacity", "heat_capacity_J_per_K_mol", "J/K/mol"),
    ):
        one = thermal[key]
        found.append(_around(Kind.THERMAL, name, unit, temperatures[k], one["value"][k], bar(one, k)))
    volume = content.get("quasi_harmonic")
    if volume is not None:
        temperatures = volume["temperatures_K"]
        k = min(range(len(temperatures)), key=lambda i: abs(temperatures[i] - 300.0))
        for name, key, unit, factor in (
            ("expansion", "expansion_per_K", "1e-6/K", 1e6),
            ("Grueneisen parameter", "gruneisen", "", 1.0),
        ):
            one, width = volume[key], bar(volume[key], k)
            value = factor * one["value"][k]
            found.append(
                _around(Kind.THERMAL, name, unit, temperatures[k], value, None if width is None else factor * width)
            )
    return list({(p.kind, p.name): p for p in found}.values())


def _of_lifetimes(content: dict[str, Any]) -> list[Property]:
    temperature, found = content["temperature_K"], []
    for mode in content["modes"]:
        name = f"q ({', '.join(f'{x:.3g}' for x in mode['q'])}) {'+'.join(str(b + 1) for b in mode['branches'])}"
        found.append(
            Property(Kind.LIFETIME, name, "ps", temperature, mode["lifetime_ps"], mode["low_ps"], mode["high_ps"])
        )
        half = Z_95 * math.hypot(mode["frequency_error_THz"], mode["frequency_model_error_THz"] or 0.0)
        found.append(_around(Kind.FREQUENCY, name, "THz", temperature, mode["frequency_THz"], half))
    return found


def _of_conductivity(content: dict[str, Any]) -> list[Property]:
    low, high = content["total_95"]
    return [
        Property(
            Kind.KAPPA,
            "kappa",
            "W/m/K",
            content["temperature_K"],
            content["kappa_W_per_m_K"],
            low,
            high,
        )
    ]


def _bands(content: dict[str, Any]) -> Bands:
    segments = content["bands"]["segments"]
    return Bands(
        tuple((one["from"], one["to"]) for one in segments),
        tuple(one["distances_per_A"] for one in segments),
        tuple(one["frequencies_THz"]["value"] for one in segments),
        tuple(one["frequencies_THz"]["bar"] for one in segments),
    )


_READERS: dict[str, Callable[[dict[str, Any]], list[Property]]] = {
    "anharmonicity.json": _of_anharmonicity,
    "events.json": _of_events,
    "phonons.json": _of_phonons,
    "lifetimes.json": _of_lifetimes,
    "conductivity.json": _of_conductivity,
}
