"""What can be chosen in the campaign file about acquisition: one enum per axis, each choice with its meaning.

The campaign file offers these choices and quotes their meanings. What each one computes is registered beside its mathematics:
`MEASURES` in `uncertainty`, `VIABILITIES` in `viability`, `BATCHES` and `CONTROLS` in `batch`.
"""

from __future__ import annotations

from enum import Enum


class Choice(str, Enum):
    """A choice with its meaning; as text it is its value."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Choice:
        """Make the choice of this name."""
        choice = str.__new__(cls, value)
        choice._value_ = value
        choice.meaning = meaning
        return choice

    def __str__(self) -> str:
        return str(self.value)


def explained(choices: type[Choice]) -> str:
    """All choices with their meanings, for a description."""
    return " | ".join(f"{choice}: {choice.meaning}" for choice in choices)


class Strategy(Choice):
    """How the frames of a round are chosen."""

    UNCERTAINTY = "uncertainty", "by P_U and P_E"
    RANDOM = "random", "candidates at random, as a control"
    HOT = "hot", "evenly spaced frames of the hottest trajectories, without uncertainty"


class UncertaintyMeasure(Choice):
    """Which number stands for the uncertainty of a frame."""

    FORCE_MAX = "force_max", "largest force uncertainty of its atoms"
    """eV/A: one atom in a place not seen before. Does not dilute with size."""
    FORCE_MEAN = "force_mean", "mean force uncertainty of its atoms"
    """eV/A: a frame that is unusual as a whole (hot, compressed)."""
    ENERGY = "energy", "uncertainty of its energy"
    """eV. Weak where the model learns from forces; errors of different atoms cancel in it."""
    SIGMA_A = "sigma_a", "spread of its sigma^A"
    """Standard deviation over members of sigma^A of the frame, dimensionless: uncertainty of the anharmonicity."""


class Viability(Choice):
    """How P_E is computed."""

    HORIZON = "horizon", "small for events whose local energy cost makes them improbable within horizon_ns"
    GAUSSIAN = "gaussian", "the published factor on the total energy"
    NONE = "none", "1 for every frame"


class BatchRule(Choice):
    """How the frames of a batch are chosen among the candidates of sufficient P."""

    GREEDY = "greedy", "the set of frames of largest information gain"
    BERNOULLI = "bernoulli", "each candidate with its probability P, as published"
