"""Lifetimes of the modes of a crystal from its molecular dynamics, with the bars of time and of the model.

Velocities are projected on the modes at the wave vectors of the supercell as the trajectory is read; each mode's spectrum is
fitted by that of a damped oscillator (`oscillator`). Modes that symmetry makes equal are fitted together, and so are all runs
of one model.

Two bars: statistical, of the likelihood, widened where runs or blocks scatter more than it says; and of the model, the scatter of
the trajectories of other, equally plausible models beyond their own statistical bars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trepid.anharmonicity.blocking import block_error
from trepid.arrays import FloatArray
from trepid.errors import ConfigError
from trepid.phonons.mode_reader import LEAST_RUNS, LifetimeSettings, ModeReader, ModeRun, Source
from trepid.phonons.oscillator import Kind, LineFit, Periodogram, TooShortError, fit_line, gamma_of_each
from trepid.phonons.projection import ModeGroup
from trepid.phonons.sites import Lattice
from trepid.phonons.spectra import VibrationalSpectrum
from trepid.quantities import Z_95

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

SCATTER = 0.01
"""Probability of the scatter of runs below which the statistical bar is widened."""


@dataclass(frozen=True, eq=False)
class ModeLifetime:
    """One group of modes.

    Attributes
    ----------
    group : ModeGroup
    fit : LineFit
    lifetime_ps : float
        1 / gamma.
    low_ps, high_ps : float
        95 % interval, both bars together.
    log_error : float
        Statistical standard deviation of the logarithm of the lifetime.
    log_model_error : float or None
        Of the model; None where there are no trajectories of other models.
    frequency_THz : float
    frequency_error_THz : float
        Statistical, one standard deviation.
    frequency_model_error_THz : float or None
    temperature_K : float
        Of the mode: its mean squared velocity over k.
    scatter_p : float or None
        Probability of the scatter of the runs, if the bar of the likelihood is right.
    sigma_a, sigma_a_error : float or None
        Anharmonic part of the force on the mode; None without forces.
    """

    group: ModeGroup
    fit: LineFit
    lifetime_ps: float
    low_ps: float
    high_ps: float
    log_error: float
    log_model_error: float | None
    frequency_THz: float
    frequency_error_THz: float
    frequency_model_error_THz: float | None
    temperature_K: float
    scatter_p: float | None
    sigma_a: float | None
    sigma_a_error: float | None


@dataclass(frozen=True, eq=False)
class LifetimeAnalysis:
    """Everything of a set of trajectories.

    Attributes
    ----------
    crystal : Atoms
        The supercell.
    modes : tuple of ModeLifetime
        Empty without force constants.
    spectrum : VibrationalSpectrum
    n_runs, n_members : int
        Trajectories of the model, and of other models.
    duration_ps : float
        Of all trajectories of the model that was used.
    interval_fs : float
    kind : Kind
        What the velocities are.
    remarks : tuple of str
    """

    crystal: Atoms
    modes: tuple[ModeLifetime, ...]
    spectrum: VibrationalSpectrum
    n_runs: int
    n_members: int
    duration_ps: float
    interval_fs: float
    kind: Kind
    remarks: tuple[str, ...]


def analyse_lifetimes(
    runs: Sequence[Source],
    crystal: Atoms,
    *,
    phonon: Callable[[Lattice], Phonopy] | None = None,
    members: Sequence[Source] = (),
    settings: LifetimeSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> LifetimeAnalysis:
    """Spectra and lifetimes.

    Parameters
    ----------
    runs : sequence of trajectories
        Of one model at one temperature and volume, with different seeds; without a thermostat, or with a weak one.
    crystal : Atoms
        Relaxed: a cell that the trajectories repeat; that of the force constants.
    phonon : callable, optional
        Gets the lattice of the first trajectory and returns phonopy's object with force constants. None: no modes.
    members : sequence of trajectories
        One of each of other, equally plausible models, for the bar of the model.
    settings : LifetimeSettings, optional
    progress : callable, optional
        Gets one line now and then.

    Raises
    ------
    DataError
        A trajectory cannot be read; its cell is no supercell of the crystal, or changes; frames are too far apart for the highest
        frequency, or not evenly spaced; too few frames, or too short for all modes (those that are too soft alone are left out,
        and said).
    ConfigError
        A setting is out of range, or one member only.
    """
    settings = settings or LifetimeSettings()
    if not runs:
        raise ConfigError("no trajectory was given")
    if len(members) == 1:
        raise ConfigError("a bar of the model needs trajectories of two other models or more, not 1")
    reader = ModeReader(crystal, phonon, settings, progress or _silent)
    read = [reader.read(run, settings.n_blocks(len(runs))) for run in runs]
    n_frames = sum(one.n_frames for one in read)
    spectrum = reader.spectrum()
    others = [reader.read(member, 1, spectrum=False) for member in members]
    assert reader.lattice is not None
    modes: list[ModeLifetime] = []
    too_soft: list[TooShortError] = []
    if reader.projection is not None:
        for k, group in enumerate(reader.projection.groups):
            try:
                modes.append(_mode(reader, group, k, read, others))
            except TooShortError as error:
                too_soft.append(error)
    if too_soft and not modes:
        raise too_soft[-1]  # of the highest frequency: what is needed at least
    remarks = [*_remarks(modes, read), *reader.remarks]
    if too_soft:
        n_groups = len(modes) + len(too_soft)
        remarks.insert(0, f"left out as too soft: {len(too_soft)} of {n_groups} modes; {too_soft[0]}")
    return LifetimeAnalysis(
        crystal=reader.lattice.supercell,
        modes=tuple(modes),
        spectrum=spectrum,
        n_runs=len(runs),
        n_members=len(members),
        duration_ps=n_frames * reader.interval / 1000.0,
        interval_fs=reader.interval,
        kind=reader.kind,
        remarks=tuple(remarks),
    )


# ---------------------------------------------------------------------- one mode


def _periodograms_of(reader: ModeReader, group: ModeGroup, k: int, runs: Sequence[ModeRun]) -> list[Periodogram]:
    return [
        Periodogram(block[k], n, reader.interval, group.count, reader.kind)
        for run in runs
        for block, n in zip(run.periodograms, run.lengths, strict=True)
    ]


def _mode(
    reader: ModeReader, group: ModeGroup, k: int, runs: Sequence[ModeRun], others: Sequence[ModeRun]
) -> ModeLifetime:
    from ase.units import _amu, _k
    from scipy.stats import chi2, t

    found = _periodograms_of(reader, group, k, runs)
    guess = 2 * np.pi * max(abs(group.frequency_THz), 0.05) / 1000.0
    fit = fit_line(found, guess)
    log_error, scatter_p = fit.log_gamma_error, None
    if len(found) >= LEAST_RUNS:
        values, errors = gamma_of_each(found, fit)
        square = float(np.sum(((values - np.average(values, weights=errors**-2)) / errors) ** 2))
        scatter_p = float(chi2.sf(square, len(found) - 1))
        if scatter_p < SCATTER:
            log_error *= math.sqrt(square / (len(found) - 1))
    model_error = frequency_model = None
    half = Z_95 * log_error
    if others:
        fits = [fit_line(_periodograms_of(reader, group, k, [other]), fit.omega0) for other in others]
        model_error = _beyond(np.array([math.log(f.gamma) for f in fits]), np.array([f.log_gamma_error for f in fits]))
        frequency_model = (
            _beyond(np.array([f.omega0 for f in fits]), np.array([f.omega0_error for f in fits])) / (2 * np.pi) * 1000
        )
        half = math.hypot(half, float(t.ppf(0.975, len(fits) - 1)) * model_error)
    lifetime = 1.0 / fit.gamma / 1000.0
    sums = np.concatenate([run.force_sums for run in runs]) if all(run.force_sums.size for run in runs) else None
    sigma, sigma_error = (None, None) if sums is None else _sigma_a(sums[:, k])
    return ModeLifetime(
        group=group,
        fit=fit,
        lifetime_ps=lifetime,
        low_ps=lifetime * math.exp(-half),
        high_ps=lifetime * math.exp(half),
        log_error=log_error,
        log_model_error=model_error,
        frequency_THz=fit.omega0 / (2 * np.pi) * 1000.0,
        frequency_error_THz=fit.omega0_error / (2 * np.pi) * 1000.0,
        frequency_model_error_THz=frequency_model,
        temperature_K=fit.power * 1e10 * _amu / _k,
        scatter_p=scatter_p,
        sigma_a=sigma,
        sigma_a_error=sigma_error,
    )


def _beyond(values: FloatArray, errors: FloatArray) -> float:
    """Standard deviation of values beyond the mean square of their own errors; 0 where these explain it."""
    return float(np.sqrt(max(float(np.var(values, ddof=1)) - float(np.mean(errors**2)), 0.0)))


def _sigma_a(sums: FloatArray) -> tuple[float, float]:
    mean = sums.mean(axis=0)
    error = block_error(sums, lambda m: float(np.sqrt(m[0] / m[1]))) if len(sums) > 1 else None
    return float(np.sqrt(mean[0] / mean[1])), math.nan if error is None else error.error


def _remarks(modes: Sequence[ModeLifetime], runs: Sequence[ModeRun]) -> list[str]:
    lines = []
    broad = [mode for mode in modes if mode.fit.broad]
    if broad:
        lines.append(
            f"{len(broad)} of {len(modes)} lifetimes are shorter than a third of the time between frames, such as that of "
            f"{broad[0].group.name}: no phonons, or frames too far apart"
        )
    unresolved = [mode for mode in modes if not (mode.fit.resolved or mode.fit.broad)]
    if unresolved:
        longest = max(mode.low_ps for mode in unresolved)  # these lifetimes are lower limits
        lines.append(
            f"{len(unresolved)} of {len(modes)} lifetimes are longer than a third of the blocks: too short for these widths. "
            f"They need blocks of at least {10 * longest:.0f} ps"
        )
    not_lines = [mode for mode in modes if not mode.fit.is_line]
    if not_lines:
        names = ", ".join(mode.group.name for mode in not_lines[:3])
        lines.append(
            f"{len(not_lines)} of {len(modes)} spectra are not that of one damped oscillator, such as {names}: their lifetime is a "
            "width only"
        )
    scattered = [mode for mode in modes if mode.scatter_p is not None and mode.scatter_p < SCATTER]
    if scattered:
        lines.append(f"{len(scattered)} bars are widened: the runs or blocks scatter more than one spectrum would")
    return lines


def _silent(line: str) -> None:
    return None
