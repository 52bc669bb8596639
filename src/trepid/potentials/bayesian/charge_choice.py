"""Formal charges of a Coulomb energy: read from text, or found from the composition of the training frames.

Two species have one ratio of charges that makes their formula neutral, whatever the bonding: -n_b / n_a. The fit finds the factor,
and whether there are charges at all (`sizes`): for a metal or a covalent crystal it gains nothing. Of three species or more the
composition leaves the ratios open; formal oxidation states fix them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from ase import Atoms

from trepid.choices import PAIR_CUTOFF_A, ChargeChoice
from trepid.errors import ConfigError
from trepid.potentials.bayesian.terms.charges import Charges


@dataclass(frozen=True)
class FormalCharges:
    """Charges to try, or why there are none.

    Attributes
    ----------
    formal : dict of str to float or None
        By element, e.
    reason : str
        Why there are none; may be empty.
    """

    formal: dict[str, float] | None
    reason: str = ""


def parsed_charges(text: str) -> ChargeChoice | dict[str, float]:
    """Read off, auto, or formal charges as Cu=1,I=-1.

    Raises
    ------
    ConfigError
        The text is none of them.
    """
    word = text.strip()
    if word in {choice.value for choice in ChargeChoice}:
        return ChargeChoice(word)
    found: dict[str, float] = {}
    for part in word.split(","):
        symbol, _, value = (piece.strip() for piece in part.partition("="))
        try:
            charge = float(value)
        except ValueError:
            charge = None
        if not symbol or charge is None or symbol in found:
            known = " or ".join(choice.value for choice in ChargeChoice)
            raise ConfigError(f"charges: {text!r} is neither {known} nor formal charges such as Cu=1,I=-1")
        found[symbol] = charge
    return found


def charges_of(
    choice: ChargeChoice | Mapping[str, float], frames: Sequence[Atoms], species: Sequence[str]
) -> FormalCharges:
    """The formal charges that a choice stands for.

    Raises
    ------
    ConfigError
        As `Charges.of`, of given ones.
    """
    if isinstance(choice, Mapping):
        given = dict(choice)
        Charges.of(given, species, pair_cutoff=PAIR_CUTOFF_A)  # checks them
        return FormalCharges(given)
    if choice is ChargeChoice.OFF:
        return FormalCharges(None)
    if len(species) != 2:
        few = "one species has none" if len(species) < 2 else "give formal ones, such as Ag=1,Ga=3,Se=-2"
        return FormalCharges(None, f"charges of {len(species)} species do not follow from the composition: {few}")
    if not all(atoms.pbc.all() and atoms.cell.rank == 3 for atoms in frames):
        return FormalCharges(None, "no charges: they need frames that are periodic in all three directions")
    a, b = species
    formulas = Counter((atoms.symbols.count(a), atoms.symbols.count(b)) for atoms in frames)
    both = {counts: n for counts, n in formulas.items() if all(counts)}
    if not both:
        return FormalCharges(None, f"no charges: no frame holds both {a} and {b}")
    # A frame with a vacancy or an interstitial is rarer than the crystal, and of the frames equally common the largest counts.
    n_a, n_b = max(both, key=lambda counts: (both[counts], sum(counts)))
    common = gcd(n_a, n_b)
    sign = 1 if _is_positive(a, b) else -1
    return FormalCharges({a: float(sign * n_b // common), b: float(-sign * n_a // common)})


def _is_positive(a: str, b: str) -> bool:
    """Whether a is the positive one of two elements: the one farther to the left, or farther down, in the periodic table.

    Only the product of the charges enters the model; the sign is for the reader.
    """
    return _electronegative_order(a) < _electronegative_order(b)


def _electronegative_order(symbol: str) -> tuple[int, int]:
    from ase.data import atomic_numbers

    closed = (2, 10, 18, 36, 54, 86, 118)
    z = atomic_numbers[symbol]
    period = next(k for k, last in enumerate(closed) if z <= last)
    return z - closed[period], -period
