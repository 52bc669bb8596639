"""The section on hyperparameters: how they settled, and what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trepid.report.page import Section, Table, draw

if TYPE_CHECKING:
    from trepid.runs.ledger_events import Train
    from trepid.runs.reading import RunRecord

_MEANING = {
    "residual noise energy": (
        "eV/√atom",
        "what labels scatter around the model: their noise, and misfit of the form",
    ),
    "residual noise forces": ("eV/Å", "the same of a force component"),
    "residual noise stress": ("eV/Å³", "the same of a stress component"),
    "weighting noise energy": ("eV/√atom", "noise with which energy labels are weighted"),
    "weighting noise forces": (
        "eV/Å",
        "noise with which force labels are weighted, per component: all of the misfit is in it",
    ),
    "weighting noise stress": ("eV/Å³", "noise with which stress labels are weighted, per component"),
    "weighting noise large force": ("eV/Å", "from this force on the noise grows with the force"),
    "pair amplitude": ("eV", "prior standard deviation of a pair energy"),
    "pair length": ("Å", "distance over which a pair energy may change"),
    "triplet amplitude": ("eV", "prior standard deviation of a triplet energy"),
    "triplet length": ("Å", "distance over which a triplet energy may change"),
    "angular length": ("rad", "angle over which a triplet energy may change"),
    "offset amplitude": ("eV", "prior standard deviation of the energy of an atom by species"),
    "quadruplet amplitude": ("eV/Å", "prior rms force of the quadruplets"),
    "quadruplet angular length": ("rad", "angle over which a quadruplet energy may change"),
    "coulomb amplitude": ("", "prior standard deviation of products of charges over those of formal charges"),
}


def hyperparameter_sections(record: RunRecord) -> list[Section]:
    """The figure of their changes and the table of their last values; nothing where none changed."""
    pictures = draw(
        (
            "hyperparameters",
            "trepid.report.run_plots",
            lambda plots: plots.hyperparameters(record),
            "Relative to the last value. They change when the evidence is maximised again.",
        )
    )
    if not pictures:
        return []
    text = (
        "Noises and prior of the model, from maximising the evidence of the labels. Residual noise is the part of an error bar "
        "that all labels share; weighting noise says how much a label counts in the fit. They need no action; a noise that "
        "grows with the labels is misfit, which a larger basis reduces."
    )
    return [Section("Hyperparameters", text, pictures, table=hyperparameter_table(record.trainings))]


def hyperparameter_table(trainings: tuple[Train, ...]) -> Table:
    """First and last values, with units and meanings; terms that the model does not have are left out."""
    first, last = numbers_of_training(trainings[0]), numbers_of_training(trainings[-1])
    rows = []
    absent = _of_absent_terms(last)
    for name, value in last.items():
        if name in absent:
            continue
        unit, meaning = _MEANING.get(name, ("", ""))
        rows.append((name, f"{first[name]:.3g}" if name in first else "", f"{value:.3g}", unit, meaning))
    return Table(("hyperparameter", "first", "last", "unit", "meaning"), tuple(rows))


def _of_absent_terms(values: Mapping[str, float]) -> set[str]:
    """Hyperparameters of terms that the model does not have: every search leaves these where they start."""
    from trepid.potentials.bayesian.terms import Hyperparameters

    start = Hyperparameters()
    optional = {
        "quadruplet amplitude": start.quadruplet_amplitude,
        "quadruplet angular length": start.quadruplet_angular_length,
        "coulomb amplitude": start.coulomb_amplitude,
    }
    return {name for name, value in optional.items() if values.get(name) == value}


def numbers_of_training(training: Train) -> dict[str, float]:
    """Noises and hyperparameters of a training by their names in words."""
    noises = {"energy": training.noise_energy, "forces": training.noise_forces, "stress": training.noise_stress}
    values = {"residual noise": noises, **training.hyperparameters}
    if "noise" in values:
        values["weighting noise"] = values.pop("noise")
    return {name.replace("_", " "): value for name, value in _flatten(values).items()}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested mapping under names joined by blanks; items of lists are numbered from 1."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{name} "))
        elif isinstance(value, (list, tuple)):
            flat.update(_flatten({str(k): item for k, item in enumerate(value, 1)}, f"{prefix}{name} "))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = float(value)
    return flat
