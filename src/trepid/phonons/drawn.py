"""A property with the values that equally plausible force fields give it: its bar is their spread.

Vocabulary
----------
value   of the model itself: the posterior mean, the mean of a committee
draw    the same property, computed from beginning to end with one posterior draw or one member
bar     half width of an interval: Student's t with n - 1 degrees of freedom times the standard deviation of n draws, so that
        five members announce a wider interval than fifty draws with the same spread
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trepid.arrays import FloatArray
from trepid.errors import ConfigError

LEVEL = 0.95
"""Probability that an interval is to hold the truth."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """An array and its draws.

    Attributes
    ----------
    value : array
        Of the model.
    draws : (n_draws, ...) array or None
        None: the model has no bar. nan where a draw has no value.
    """

    value: FloatArray
    draws: FloatArray | None = None

    @classmethod
    def of(cls, value: FloatArray | float, draws: Sequence[FloatArray | float]) -> Drawn:
        """Of the values of the draws; none of them: no bar."""
        if len(draws) == 1:
            raise ConfigError("a bar needs two draws or more, not 1")
        return cls(np.asarray(value, dtype=np.float64), np.array(draws, dtype=np.float64) if len(draws) else None)

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return 0 if self.draws is None else len(self.draws)

    @property
    def std(self) -> FloatArray | None:
        """Standard deviation of the draws (ddof=1), of the shape of the value; nan where fewer than two have a value."""
        if self.draws is None:
            return None
        present = np.isfinite(self.draws)
        n = present.sum(axis=0)
        filled = np.where(present, self.draws, 0.0)
        mean = filled.sum(axis=0) / np.maximum(n, 1)
        square = np.where(present, (filled - mean) ** 2, 0.0).sum(axis=0)
        return np.where(n > 1, np.sqrt(square / np.maximum(n - 1, 1)), np.nan)

    def bar(self, level: float = LEVEL) -> FloatArray | None:
        """Half width of the interval of this level; None without draws."""
        from scipy.stats import t

        std = self.std
        return None if std is None else np.asarray(t.ppf(0.5 + 0.5 * level, self.n_draws - 1) * std)

    def at(self, index: int | slice) -> Drawn:
        """Some of its elements, along the first axis."""
        return Drawn(np.asarray(self.value[index]), None if self.draws is None else self.draws[:, index])

    def times(self, factor: float) -> Drawn:
        """In another unit."""
        return Drawn(self.value * factor, None if self.draws is None else self.draws * factor)
