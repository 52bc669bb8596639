"""Forces, energies and times as text: never zero for what is not, never an exponent for what is usual."""

from __future__ import annotations

import pytest

from trepid.quantities import duration, energy, force, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 meV/A"),
        (0.0000123, "0.0123 meV/A"),
        (0.0004, "0.400 meV/A"),
        (0.0213, "21.3 meV/A"),
        (0.4567, "457 meV/A"),
        (1.0, "1.00 eV/A"),
        (123.4, "123 eV/A"),
        (1e-9, "1.00e-06 meV/A"),
        (-0.002, "-2.00 meV/A"),
        (float("nan"), "nan eV/A"),
    ],
)
def test_forces(value: float, text: str) -> None:
    assert force(value) == text


def test_energies_and_shares() -> None:
    assert energy(0.0021) == "2.10 meV"
    assert energy(3.21) == "3.21 eV"
    assert share(0.0812) == "8.1 %"
    assert share(0.5) == "50 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.35, "0.35 s"), (9.0, "9.0 s"), (42.0, "42 s"), (180.0, "3.0 min"), (9000.0, "2.5 h"), (345600.0, "4.0 days")],
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text
