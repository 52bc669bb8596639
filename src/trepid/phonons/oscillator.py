"""The spectrum of a damped oscillator, fitted to a periodogram: frequency, width, their errors, and whether it is one.

Vocabulary
----------
C(t)          velocity autocorrelation of the coordinate of a mode; of a damped oscillator dv = -omega0^2 x dt - gamma v dt + noise:
              A exp(-gamma t / 2) (cos Omega t - gamma / (2 Omega) sin Omega t), Omega^2 = omega0^2 - gamma^2 / 4
S(omega)      its spectrum 2 A gamma omega^2 / ((omega^2 - omega0^2)^2 + gamma^2 omega^2): close to the peak of a narrow line a
              Lorentzian of full width gamma at half maximum
lifetime      tau = 1 / gamma: of the energy, and of the occupation of a phonon
periodogram   |FFT|^2 / N of a series of N values: at each frequency exponentially distributed about its mean
Whittle       likelihood of a periodogram. With the mean that a series of this length has (the FFT of C(k) (1 - k/N), leakage and
              aliasing included) instead of S there is no bias of short series: A. M. Sykulski et al., Biometrika 106, 251 (2019)

Times are in fs and angular frequencies in 1/fs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from trepid.arrays import FloatArray
from trepid.errors import DataError

ComplexArray = NDArray[np.complex128]

WINDOW = 8.0
"""The line is fitted within this many widths of its centre."""
LEAST_BINS = 24
"""Frequencies in the window, where there are so many."""
FEWEST_BINS = 12
"""Frequencies around the guess without which there is nothing to fit."""
NARROWEST = 0.1
"""A width times the length of the longest series below which the spectrum does not change: no smaller one is given."""
BROADEST = math.pi
"""A width times the time between frames above which the spectrum is flat: no larger one is given."""
MOST_STEPS = 200
NOT_A_LINE = 0.01
"""Probability of the test below which a spectrum is not that of one damped oscillator."""
VAGUE = 10.0
"""Standard deviation of the logarithms of the parameters before the spectrum is seen, and of a width of which it says nothing."""
_TINY = 1e-12


class TooShortError(DataError):
    """A series has too few frequencies around a line."""


class Kind(str, Enum):
    """What a series of velocities is."""

    INSTANT = "velocities"
    """Velocities at the frames."""
    DIFFERENCE = "differences of positions"
    """(x_k+1 - x_k) / dt: velocities averaged between two frames."""


@dataclass(frozen=True, eq=False)
class Periodogram:
    """Mean of several periodograms of one length.

    Attributes
    ----------
    values : (n_frequencies,) array
        At omega_j = 2 pi j / (N dt), j = 1 to (N - 1) // 2; in the unit of the squared velocity.
    n_frames : int
        N.
    interval_fs : float
        dt.
    count : float
        Number of independent exponential variables that each value is the mean of.
    kind : Kind
    """

    values: FloatArray
    n_frames: int
    interval_fs: float
    count: float
    kind: Kind

    @property
    def omega(self) -> FloatArray:
        """Angular frequencies, 1/fs."""
        return np.asarray(2 * np.pi * np.arange(1, len(self.values) + 1) / self.duration_fs, dtype=np.float64)

    @property
    def duration_fs(self) -> float:
        """N dt."""
        return self.n_frames * self.interval_fs


def merged(periodograms: Sequence[Periodogram]) -> list[Periodogram]:
    """Those of one length as their mean: it has all that their likelihood needs."""
    by_length: dict[int, list[Periodogram]] = {}
    for one in periodograms:
        by_length.setdefault(one.n_frames, []).append(one)
    return [
        replace(
            same[0],
            values=np.average([one.values for one in same], axis=0, weights=[one.count for one in same]),
            count=sum(one.count for one in same),
        )
        for same in by_length.values()
    ]


@dataclass(frozen=True)
class LineFit:
    """A damped oscillator.

    Attributes
    ----------
    power : float
        A, the mean squared velocity.
    omega0, gamma : float
        1/fs.
    log_gamma_error, omega0_error : float
        One standard deviation; of the logarithm of gamma, and 1/fs.
    background : float
        Constant added to the spectrum, in parts of its peak; 0 where the line alone does.
    p_value : float
        Probability of deviations at least as large if it is a damped oscillator.
    resolved : bool
        Whether the series are longer than three lifetimes, and the frames closer in time than one.
    broad : bool
        Whether gamma is the largest that such frames show: the lifetime is at most 1/gamma, if it is a line at all.
    n_bins : int
        Frequencies in the window.
    """

    power: float
    omega0: float
    gamma: float
    log_gamma_error: float
    omega0_error: float
    background: float
    p_value: float
    resolved: bool
    broad: bool
    n_bins: int

    @property
    def is_line(self) -> bool:
        """Whether the test finds nothing against one damped oscillator."""
        return self.p_value >= NOT_A_LINE


def expected_periodogram(
    omega: FloatArray, omega0: float, gamma: float, *, n_frames: int, interval_fs: float, kind: Kind
) -> FloatArray:
    """Mean periodogram of a damped oscillator of unit power, (n,), for a series of this length.

    C is a sum of two terms a z^k. The sum over k of (1 - k/N) w^k from 0 to N - 1, with w = z exp(-i omega dt), is
    1 / (1 - w) - w (1 - w^N) / (N (1 - w)^2).
    """
    root = np.sqrt(complex(gamma**2 / 4 - omega0**2))
    if abs(root) < 1e-9 * max(omega0, gamma):
        root += 1e-6 * max(omega0, gamma)  # critical damping: the limit of two equal roots
    total = np.zeros(len(omega))
    phase, last = np.exp(-1j * omega * interval_fs), np.exp(-1j * omega * (n_frames * interval_fs))
    for rate, other in ((-gamma / 2 + root, -gamma / 2 - root), (-gamma / 2 - root, -gamma / 2 + root)):
        z = np.exp(rate * interval_fs)
        amplitude, at_zero = rate / (rate - other), rate / (rate - other)
        if kind is Kind.DIFFERENCE:
            at_zero = amplitude * 2 * (z - 1) / (rate * interval_fs) ** 2
            amplitude = amplitude * (z + 1 / z - 2) / (rate * interval_fs) ** 2
        # C(-k) = C(k): 2 Re of the sum over k >= 0, less the value at 0; both terms together are real at every k.
        z_last = np.exp(rate * (n_frames * interval_fs))
        for w, w_last in ((z * phase, z_last * last), (z * phase.conj(), z_last * last.conj())):
            total += (amplitude * (_one_sided(w, w_last, n_frames) - 1.0)).real
        total += at_zero.real
    return np.maximum(total, _TINY)


def _one_sided(w: ComplexArray, w_last: ComplexArray, n: int) -> ComplexArray:
    """The sum above; w_last is w^n, which costs more as a power."""
    inverse = 1.0 / (1.0 - w)
    return np.asarray(inverse * (1.0 - w * (1.0 - w_last) * inverse / n))


def fit_line(periodograms: Sequence[Periodogram], guess_omega: float) -> LineFit:
    """Damped oscillator nearest to a frequency, by maximum likelihood over all periodograms together.

    Parameters
    ----------
    periodograms : sequence of Periodogram
        Of independent pieces; of any length.
    guess_omega : float
        Where the line is expected, 1/fs: the highest peak between 0.4 and 1.6 times this.

    Raises
    ------
    TooShortError
        The series are too short to have a spectrum there.
    """
    periodograms = merged(periodograms)
    power, omega0, gamma = _start(periodograms, guess_omega)
    theta = np.log([power, omega0, gamma])
    narrowest = math.log(NARROWEST / max(one.duration_fs for one in periodograms))
    broadest = math.log(BROADEST / max(one.interval_fs for one in periodograms))
    for _ in range(4):
        windows = [_window(one, math.exp(theta[1]), math.exp(theta[2])) for one in periodograms]
        best, before = _best(periodograms, windows, theta, broadest), theta
        theta = best
        theta[2] = max(theta[2], narrowest)
        if abs(theta[2] - before[2]) < 0.1 and abs(theta[1] - before[1]) < 1e-3:
            break
    background = -np.inf
    p_value = _test(periodograms, windows, theta, background)
    if p_value < NOT_A_LINE:
        start = np.append(theta, theta[0] + np.log(2.0) - theta[2] + np.log(0.02))
        longer = _maximise(periodograms, windows, start, broadest)
        longer[2] = max(longer[2], narrowest)
        better = _test(periodograms, windows, longer[:3], longer[3])
        if better > p_value:
            theta, background, p_value = longer[:3], longer[3], better
    log_gamma_error, log_omega_error = _errors(periodograms, windows, theta, background)
    power, omega0, gamma = np.exp(theta)
    broad = bool(theta[2] > broadest - 1e-3)
    return LineFit(
        power=float(power),
        omega0=float(omega0),
        gamma=float(gamma),
        log_gamma_error=log_gamma_error,
        omega0_error=float(log_omega_error * omega0),
        background=float(np.exp(background) * gamma / (2 * power)) if np.isfinite(background) else 0.0,
        p_value=float(p_value),
        resolved=bool(not broad and gamma * max(one.duration_fs for one in periodograms) > 3.0),
        broad=broad,
        n_bins=int(sum(w.stop - w.start for w in windows)),
    )


def gamma_of_each(periodograms: Sequence[Periodogram], fit: LineFit) -> tuple[FloatArray, FloatArray]:
    """log(gamma) and its error for every periodogram alone, one step of the likelihood away from the common fit."""
    theta = np.log([fit.power, fit.omega0, fit.gamma])
    background = math.log(fit.background * 2 * fit.power / fit.gamma) if fit.background > 0 else -np.inf
    values, errors = [], []
    for one in periodograms:
        window = _window(one, fit.omega0, fit.gamma)
        gradient, fisher, _ = _derivatives([one], [window], _joined(theta, background))
        covariance = _covariance(fisher)
        values.append(theta[2] + float((covariance @ gradient)[2]))
        errors.append(float(np.sqrt(covariance[2, 2])))
    return np.array(values), np.array(errors)


# ---------------------------------------------------------------------- where to begin


def _start(periodograms: Sequence[Periodogram], guess: float) -> tuple[float, float, float]:
    """Power, centre and width of the highest peak near the guess."""
    longest = max(periodograms, key=lambda one: one.n_frames)
    near = np.flatnonzero((longest.omega > 0.4 * guess) & (longest.omega < 1.6 * guess))
    if near.size < FEWEST_BINS:
        raise TooShortError(
            f"trajectories, or blocks of them, of {longest.duration_fs / 1000:.3g} ps are too short for a line at "
            f"{guess / (2 * np.pi) * 1000:.3g} THz: {FEWEST_BINS / (1.2 * guess / (2 * np.pi)) / 1000:.2g} ps or more are needed; "
            "give longer ones, or fewer --blocks"
        )
    values = longest.values[near]
    power = float(2 * longest.values.sum() / longest.n_frames)
    best, found = -np.inf, (power, guess, 0.1 * guess)
    for width in (3, 9, 27):
        if width > len(values) // 2:
            break
        smooth = np.convolve(values, np.ones(width) / width, mode="same")
        peak = int(np.argmax(smooth))
        # A peak wider than the smoothing keeps its height.
        if smooth[peak] > 0.6 * best:
            best = float(smooth[peak])
            found = (power, float(longest.omega[near[peak]]), 2 * power * longest.interval_fs**-1 / best)
    resolution = 2 * np.pi / longest.duration_fs
    return found[0], found[1], float(np.clip(found[2], resolution, guess))


def _window(one: Periodogram, omega0: float, gamma: float) -> slice:
    """Frequencies of a periodogram that are used."""
    step = 2 * np.pi / one.duration_fs
    reach = max(WINDOW * gamma, 0.5 * LEAST_BINS * step)
    low = max(int(np.floor((omega0 - reach) / step)) - 1, 0)
    high = min(int(np.ceil((omega0 + reach) / step)), len(one.values))
    return slice(min(low, max(len(one.values) - LEAST_BINS, 0)), high)


# ---------------------------------------------------------------------- likelihood


def _joined(theta: FloatArray, background: float) -> FloatArray:
    return np.append(theta, background) if np.isfinite(background) else theta


def _line(one: Periodogram, window: slice, theta: FloatArray) -> FloatArray:
    """Expected periodogram of the oscillator in the window for (log A, log omega0, log gamma[, log background])."""
    power, omega0, gamma = np.exp(np.clip(theta[:3], -60, 60))
    expected = expected_periodogram(
        one.omega[window], omega0, gamma, n_frames=one.n_frames, interval_fs=one.interval_fs, kind=one.kind
    )
    return np.asarray(power * expected)


def _background(one: Periodogram, theta: FloatArray) -> float:
    return math.exp(min(theta[3], 60.0)) / one.interval_fs if len(theta) > 3 else 0.0


def _spectrum(one: Periodogram, window: slice, theta: FloatArray) -> FloatArray:
    """The line on its background."""
    return _line(one, window, theta) + _background(one, theta)


def _minus_log_likelihood(periodograms: Sequence[Periodogram], windows: Sequence[slice], theta: FloatArray) -> float:
    total = 0.0
    for one, window in zip(periodograms, windows, strict=True):
        mean = _spectrum(one, window, theta)
        total += one.count * float(np.sum(np.log(mean) + one.values[window] / mean))
    return total


def _derivatives(
    periodograms: Sequence[Periodogram], windows: Sequence[slice], theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradient of the log likelihood, Fisher information, and the sum of squared contributions to the gradient."""
    n = len(theta)
    gradient, fisher, meat = np.zeros(n), np.zeros((n, n)), np.zeros((n, n))
    for one, window in zip(periodograms, windows, strict=True):
        line, background = _line(one, window, theta), _background(one, theta)
        mean = line + background
        slopes = np.empty((n, len(mean)))
        slopes[0], slopes[3:] = line / mean, background / mean
        for k, step in ((1, 1e-5), (2, 1e-4)):
            shift = step * np.eye(n)[k]
            slopes[k] = (_line(one, window, theta + shift) - _line(one, window, theta - shift)) / (2 * step * mean)
        excess = one.count * (one.values[window] / mean - 1.0)
        gradient += slopes @ excess
        fisher += one.count * slopes @ slopes.T
        meat += (slopes * excess**2) @ slopes.T
    return gradient, fisher, meat


def _best(
    periodograms: Sequence[Periodogram], windows: Sequence[slice], theta: FloatArray, broadest: float
) -> FloatArray:
    """The likeliest of a few starts."""
    starts = [theta + np.array([0.0, 0.0, math.log(factor)]) for factor in (1.0, 0.2, 4.0)]
    found = [_maximise(periodograms, windows, start, broadest) for start in starts]
    return min(found, key=lambda point: _minus_log_likelihood(periodograms, windows, point))


def _maximise(
    periodograms: Sequence[Periodogram], windows: Sequence[slice], start: FloatArray, broadest: float
) -> FloatArray:
    """Fisher scoring with a damping that grows where a step does not help; log gamma stays below `broadest`."""
    theta = start.copy()
    theta[2] = min(theta[2], broadest)
    value = _minus_log_likelihood(periodograms, windows, theta)
    damping = 1e-3
    for _ in range(MOST_STEPS):
        gradient, fisher, _meat = _derivatives(periodograms, windows, theta)
        step = np.linalg.solve(fisher + damping * np.diag(np.diag(fisher) + _TINY), gradient)
        step *= min(1.0, 1.0 / max(float(np.abs(step).max()), _TINY))
        point = theta + step
        point[2] = min(point[2], broadest)
        there = _minus_log_likelihood(periodograms, windows, point)
        if there < value:
            gained, value, theta = value - there, there, point
            damping = max(damping / 5, 1e-9)
            if gained < 1e-7 * max(abs(value), 1.0) and float(np.abs(step).max()) < 1e-5:
                break
        else:
            damping *= 10
            if damping > 1e8:
                break
    return theta


def _errors(
    periodograms: Sequence[Periodogram], windows: Sequence[slice], theta: FloatArray, background: float
) -> tuple[float, float]:
    """Errors of log gamma and log omega0: the larger of the likelihood's own, and of the one from the scatter of the bins."""
    _, fisher, meat = _derivatives(periodograms, windows, _joined(theta, background))
    inverse = _covariance(fisher)
    variances = np.maximum(np.diag(inverse), np.diag(inverse @ meat @ inverse))
    return float(np.sqrt(variances[2])), float(np.sqrt(variances[1]))


def _covariance(fisher: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(fisher + np.eye(len(fisher)) / VAGUE**2), dtype=np.float64)


def _test(periodograms: Sequence[Periodogram], windows: Sequence[slice], theta: FloatArray, background: float) -> float:
    """Chi-squared test of the ratio of periodogram and fit in groups of neighbouring frequencies.

    The sum of a group is gamma distributed; its probability gives a normal deviate.
    """
    from scipy.stats import chi2, gamma, norm

    point, square, groups = _joined(theta, background), 0.0, 0
    for one, window in zip(periodograms, windows, strict=True):
        ratio = one.values[window] / _spectrum(one, window, point)
        n_groups = int(np.clip(len(ratio) * one.count / 10, 4, 16)) if len(ratio) >= 8 else 1
        for part in np.array_split(ratio, n_groups):
            shape = one.count * len(part)
            total = one.count * float(part.sum())
            # From the nearer tail, so that neither probability is rounded to 1.
            deviate = (
                norm.isf(max(gamma.sf(total, shape), 1e-300))
                if total > shape
                else norm.ppf(max(gamma.cdf(total, shape), 1e-300))
            )
            square += float(deviate) ** 2
            groups += 1
    return float(chi2.sf(square, max(groups - len(point), 1)))
