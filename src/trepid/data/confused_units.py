"""Factors by which labels are wrong when units are confused: the label is the right value times the factor."""

from __future__ import annotations

HARTREE = 27.211386
"""eV."""
RYDBERG = HARTREE / 2
BOHR = 0.52917721
"""A."""
KCAL_PER_MOL = 1 / 23.060548
"""eV."""
KJ_PER_MOL = 1 / 96.485332

ENERGY_FACTORS = {
    "Hartree instead of eV": 1 / HARTREE,
    "Rydberg instead of eV": 1 / RYDBERG,
    "kcal/mol instead of eV": 1 / KCAL_PER_MOL,
    "kJ/mol instead of eV": 1 / KJ_PER_MOL,
}
FORCE_FACTORS = {
    "Hartree per Bohr instead of eV/A": BOHR / HARTREE,
    "Rydberg per Bohr instead of eV/A": BOHR / RYDBERG,
    "eV per Bohr instead of eV/A": BOHR,
}
UNITS = ENERGY_FACTORS | FORCE_FACTORS
"""Of forces, whose energies may be in another unit as well."""
STRESS_FACTORS = {
    "GPa instead of eV/A^3": 160.21766,
    "kbar instead of eV/A^3": 1602.1766,
    "MPa instead of eV/A^3": 160217.66,
    "bar instead of eV/A^3": 1602176.6,
    "Hartree per cubic Bohr instead of eV/A^3": BOHR**3 / HARTREE,
    "Rydberg per cubic Bohr instead of eV/A^3": BOHR**3 / RYDBERG,
}
