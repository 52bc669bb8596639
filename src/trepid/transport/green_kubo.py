"""Thermal conductivity from heat fluxes: running integral with an automatic cut-off, and cepstral analysis.

    kappa = V / (kB T^2) int_0^inf <j(0) j(t)> dt,   j = J / V

Vocabulary
----------
series      the heat flux of one run along one direction; all series of an estimate have the same length and expected integral
integral    of the autocorrelation of a series, as a function of its upper limit
cut-off     the upper limit at which the integral is read; what follows is noise that grows as the square root of the limit
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import units
from scipy import signal, special, stats

from trepid.arrays import FloatArray
from trepid.errors import DataError

TO_W_PER_M_K = 1e22 * units._e
"""eV / (A ps K) in W / (m K)."""
LEAST_SERIES = 4
"""Fewer series give no error bar worth the name."""
LEAST_SAMPLES = 32
_LARGEST_EXPONENT = 300.0
LONGEST_LAG = 0.5
"""Share of a run up to which the autocorrelation is used."""
GRID = math.sqrt(2.0)
"""Ratio of successive trial cut-offs."""
SIGNIFICANT = 1.5
"""An increment of the integral below this many of its errors is noise; chosen, as the next three, on Ornstein-Uhlenbeck series."""
IN_A_ROW = 2
"""So many successive increments must be noise: one alone may be where an oscillation crosses zero."""
PLATEAU = 4.0
"""The cut-off over the time at which the first of them begins."""
AVERAGED = 0.2
"""The integral is averaged over this share of the cut-off on both sides, which takes out what oscillates: optical phonons."""
RUN_OVER_CUTOFF = 3.0
"""A run should be this many times as long as its cut-off."""
BAND = 5.0
"""The cepstral analysis uses frequencies up to this over the cut-off."""
RESOLUTION = 8.0
"""Frequencies per cepstral coefficient that the analysis needs at least."""


@dataclass(frozen=True)
class Estimate:
    """An integral with its statistical error.

    Attributes
    ----------
    value : float
    error : float
        One standard deviation.
    dof : float
        Degrees of freedom of the error; infinite where it is exact.
    """

    value: float
    error: float
    dof: float = math.inf

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval that holds the truth with this probability, from Student's t.

        Its noise is proportional to the integral itself, so that the interval is one of the logarithm; around a value that is not
        positive it is symmetric.
        """
        quantile = float(stats.t.ppf(0.5 * (1 + level), self.dof))
        if self.value <= 0:
            return self.value - quantile * self.error, self.value + quantile * self.error
        factor = math.exp(min(quantile * self.error / self.value, _LARGEST_EXPONENT))
        return self.value / factor, self.value * factor

    def scaled(self, factor: float) -> Estimate:
        """In another unit."""
        return Estimate(self.value * factor, self.error * factor, self.dof)


@dataclass(frozen=True)
class RunningIntegral:
    """Integral of the autocorrelation, over its upper limit.

    Attributes
    ----------
    times : (n,) array
        Upper limits, ps.
    mean, error : (n,) arrays
        Mean over the series, and its standard error from the scatter of the series.
    cutoff : int
        Index of the cut-off.
    estimate : Estimate
        The integral there.
    converged : bool
        False where the integral still rises at the longest limit, or the run is shorter than `RUN_OVER_CUTOFF` cut-offs: the
        estimate is then a lower bound.
    """

    times: FloatArray
    mean: FloatArray
    error: FloatArray
    cutoff: int
    estimate: Estimate
    converged: bool

    @property
    def cutoff_ps(self) -> float:
        """Cut-off, ps."""
        return float(self.times[self.cutoff])


@dataclass(frozen=True)
class Cepstral:
    """Estimate from the cepstrum of the power spectrum.

    Attributes
    ----------
    estimate : Estimate
    n_coefficients : int
        Cepstral coefficients that the Akaike criterion keeps.
    band_THz : float
        Frequencies up to this were used.
    valid : bool
        The spectrum is resolved (`RESOLUTION`), and half of the band gives the same within two standard errors.
    """

    estimate: Estimate
    n_coefficients: int
    band_THz: float
    valid: bool


def prefactor(volume_A3: float, temperature_K: float) -> float:
    """Factor that turns the integral of <J J>, (eV A / ps)^2 ps, into W / (m K)."""
    return TO_W_PER_M_K / (volume_A3 * units.kB * temperature_K**2)


def autocorrelation(series: FloatArray, n_lags: int) -> FloatArray:
    """Autocorrelations (n_series, n_lags) of series (n_series, n_samples), of all pairs of samples at a lag; no mean is removed."""
    n = series.shape[1]
    size = 2 ** math.ceil(math.log2(n + n_lags))
    power = np.abs(np.fft.rfft(series, size, axis=1)) ** 2
    found: FloatArray = np.fft.irfft(power, size, axis=1)[:, :n_lags] / (n - np.arange(n_lags))
    return found


def running_integral(series: FloatArray, interval_ps: float) -> RunningIntegral:
    """Integrate autocorrelations, and choose where to stop.

    The cut-off is 4 t for the shortest t at which a plateau begins: the mean of K over (2 t, 4 t) is that over (t, 2 t) within
    `SIGNIFICANT` times the error of their difference, there and for the next t (`IN_A_ROW`, `GRID`). The error of the
    integral of a Gaussian process is 2 K sqrt(t / T), T the length of all series together (Jones and Mandadapu, J. Chem. Phys.
    136, 154102 (2012)); at the cut-off the larger one of this and the scatter of the series counts.

    Parameters
    ----------
    series : (n_series, n_samples) array
    interval_ps : float
        Time between two samples.

    Raises
    ------
    DataError
        Fewer series or samples than an estimate needs, or values that are not finite.
    """
    _require(series)
    n_series, n = series.shape
    integrals = _integrals(series, interval_ps)
    mean = integrals.mean(axis=0)
    error = integrals.std(axis=0, ddof=1) / math.sqrt(n_series)
    cutoff, found = _cutoff(mean, n_series * n)
    at_cutoff = integral_at(series, interval_ps, cutoff, integrals=integrals)
    converged = found and n >= RUN_OVER_CUTOFF * cutoff
    times = np.arange(len(mean), dtype=np.float64) * interval_ps
    return RunningIntegral(times, mean, error, cutoff, at_cutoff, converged)


def integral_at(
    series: FloatArray, interval_ps: float, cutoff: int, *, integrals: FloatArray | None = None
) -> Estimate:
    """The integral at a given cut-off, an index; `integrals` of the series where they are known."""
    known = _integrals(series, interval_ps) if integrals is None else integrals
    first, last = round((1 - AVERAGED) * cutoff), round((1 + AVERAGED) * cutoff)
    of_series = known[:, first : last + 1].mean(axis=1)
    n_series = len(series)
    value, scatter = float(of_series.mean()), float(of_series.std(ddof=1)) / math.sqrt(n_series)
    return Estimate(value, max(scatter, 2 * abs(value) * math.sqrt(cutoff / series.size)), n_series - 1)


def _integrals(series: FloatArray, interval_ps: float) -> FloatArray:
    """Integrals of the autocorrelation of every series, over their upper limit."""
    c = autocorrelation(series, int(LONGEST_LAG * series.shape[1]))
    found: FloatArray = np.zeros_like(c)
    np.cumsum(0.5 * (c[:, 1:] + c[:, :-1]), axis=1, out=found[:, 1:])
    return found * interval_ps


def _cutoff(mean: FloatArray, n_total: int) -> tuple[int, bool]:
    """Index of the cut-off, and whether what follows it is noise; see `running_integral`."""
    t, quiet, longest = 2.0, 0, round((len(mean) - 1) / (1 + AVERAGED))
    while (k := round(t)) * 4 < len(mean):
        increment = float(mean[2 * k : 4 * k].mean() - mean[k : 2 * k].mean())
        noise = 2 * abs(float(mean[2 * k : 4 * k].mean())) * math.sqrt(1.5 * k / n_total)
        quiet = quiet + 1 if abs(increment) <= SIGNIFICANT * noise else 0
        if quiet == IN_A_ROW:
            return min(round(PLATEAU * t / GRID ** (IN_A_ROW - 1)), longest), True
        t *= GRID
    return longest, False


def cepstral(series: FloatArray, interval_ps: float, *, cutoff_ps: float) -> Cepstral:
    """Estimate the integral as half of the power spectrum at zero frequency, from the cepstrum.

    The logarithm of the spectrum is smooth and has Gaussian noise of known variance, so that few cepstral coefficients describe
    it. Source: Ercole, Marcolongo, Baroni, Sci. Rep. 7, 15835 (2017); several series: Bertossa et al., Phys. Rev. Lett. 122,
    255901 (2019). Its validity: many oscillations of the slowest feature in a run, and a spectrum that is smooth there; in
    crystals with long-lived phonons it needs longer runs than the integral.

    Parameters
    ----------
    series, interval_ps
        As for `running_integral`.
    cutoff_ps : float
        Cut-off of the running integral; it sets the band.
    """
    _require(series)
    n_series, n = series.shape
    # Half of the periodogram; the mean over the series has a chi-squared distribution with 2 n_series degrees of freedom.
    spectrum = (np.abs(np.fft.rfft(series, axis=1)) ** 2).mean(axis=0) * (0.5 * interval_ps / n)
    nyquist = 0.5 / interval_ps
    band = min(BAND / cutoff_ps, nyquist)
    whole, n_coefficients = _from_cepstrum(spectrum, n_series, round(band / nyquist * (n // 2)))
    half, _ = _from_cepstrum(spectrum, n_series, round(0.5 * band / nyquist * (n // 2)))
    resolved = band / nyquist * (n // 2) >= RESOLUTION * n_coefficients
    agrees = abs(whole.value - half.value) <= 2 * math.hypot(whole.error, half.error)
    return Cepstral(whole, n_coefficients, band, resolved and agrees)


def _from_cepstrum(spectrum: FloatArray, n_series: int, n_band: int) -> tuple[Estimate, int]:
    """Spectrum at zero frequency from its first n_band + 1 frequencies, and the number of coefficients."""
    logarithm = np.log(spectrum[: max(n_band, 8) + 1])
    logarithm[0] = logarithm[1]  # real, with half of the degrees of freedom
    size = 2 * (len(logarithm) - 1)
    coefficients = np.fft.irfft(logarithm, size)[: size // 2]
    variance = float(special.polygamma(1, n_series))
    left_out = np.append(np.cumsum(coefficients[:0:-1] ** 2)[::-1], 0.0)
    kept = 1 + int(np.argmin(size / variance * left_out + 2 * np.arange(1, size // 2 + 1)))
    bias = float(special.psi(n_series)) - math.log(n_series)
    value = math.exp(coefficients[0] + 2 * coefficients[1:kept].sum() - bias)
    return Estimate(value, value * math.sqrt(variance * (4 * kept - 2) / size)), kept


def ornstein_uhlenbeck(
    tau_ps: float, *, n_series: int, n_samples: int, interval_ps: float, rng: np.random.Generator
) -> FloatArray:
    """Series (n_series, n_samples) of variance 1 with the autocorrelation exp(-t / tau): the integral is tau, exactly known.

    Sampled at an interval, the trapezoidal integral is (interval / 2) coth(interval / (2 tau)).
    """
    decay = math.exp(-interval_ps / tau_ps)
    noise = rng.normal(size=(n_series, n_samples)) * math.sqrt(1 - decay**2)
    noise[:, 0] /= math.sqrt(1 - decay**2)
    found: FloatArray = signal.lfilter([1.0], [1.0, -decay], noise, axis=1)
    return found


def _require(series: FloatArray) -> None:
    if series.ndim != 2 or series.shape[0] < LEAST_SERIES or series.shape[1] < LEAST_SAMPLES:
        raise DataError(
            f"an estimate needs {LEAST_SERIES} series of {LEAST_SAMPLES} samples or more, not an array of shape {series.shape}"
        )
    if not np.isfinite(series).all():
        raise DataError("a heat flux is not finite")
