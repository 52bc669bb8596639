"""Phonons and lifetimes of vibrations with the error bars of the model."""

from __future__ import annotations

from trepid.phonons.analysis import PhononAnalysis, PhononSettings, analyse_phonons
from trepid.phonons.drawn import Drawn
from trepid.phonons.effective import EffectivePhonons, effective_phonons
from trepid.phonons.relaxation import relaxed
from trepid.phonons.volume import QuasiHarmonic, quasi_harmonic

__all__ = [
    "Drawn",
    "EffectivePhonons",
    "PhononAnalysis",
    "PhononSettings",
    "QuasiHarmonic",
    "analyse_phonons",
    "effective_phonons",
    "quasi_harmonic",
    "relaxed",
]
