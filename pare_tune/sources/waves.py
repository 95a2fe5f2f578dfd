"""Source `waves`: waveforms labelled by the formula that made them, a 1D source that needs no data.

Pretraining on formulas instead of collected data: Kataoka et al., "Pre-training without Natural Images"
(arXiv:2101.08515), there with fractals.
"""
# Shapes: m = waves of one class, L = points a wave. A generator maps (m, t, rng) to (m, L); t (L,) is the
# time in windows, from 0 to 1, and frequencies are in cycles a window.

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.store import Record
from pare_tune.sources.base import Source, SourceData, SourceKind, SourceRequest
from pare_tune.sources.stored import num_tokens, open_stored

Array = npt.NDArray[Any]
Generator = Callable[[int, Array, np.random.Generator], Array]

MIN_LENGTH: Final = 16
"""Shorter windows hold no two cycles of anything."""

POINTS_PER_TOKEN: Final = 8
"""The source's waves are this many times as long as the token window: L = 8 N."""

NUM_WAVES: Final = 6000
"""Waves in the source's prepared store: 250 a class, 24 MB at 128 tokens."""

_TAU: Final = 2 * np.pi
_CHUNK: Final = 4_000_000
"""Points made at once, so that memory stays near 200 MB whatever the number of waves."""


def make_waves(
    n: int, length: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], tuple[str, ...]]:
    """Random waves of every class, with white noise on top, each scaled to mean 0 and standard deviation 1.

    The noise's standard deviation is 1 % to 30 % of the wave's, drawn log-uniformly.

    Returns:
        (n, length) waves and (n,) classes in random order, class counts differing by at most one, and the
        names of the classes.

    Raises:
        ValueError: `length` is below `MIN_LENGTH`.
    """
    if length < MIN_LENGTH:
        raise ValueError(f"waves need at least {MIN_LENGTH} points, got {length}")
    rng = np.random.default_rng([seed, n, length])
    y = rng.permutation(np.arange(n) % len(GENERATORS)).astype(np.int64)
    x = np.empty((n, length), dtype=np.float32)
    t = np.arange(length) / length
    for label, generate in enumerate(GENERATORS.values()):
        rows = np.flatnonzero(y == label)
        for part in np.array_split(rows, max(1, -(-len(rows) * length // _CHUNK))):
            if len(part):
                x[part] = _standardised(_with_noise(_standardised(generate(len(part), t, rng)), rng))
    return x, y, tuple(GENERATORS)


# Deterministic shapes ---------------------------------------------------------------------------------------


def _sine(m: int, t: Array, rng: np.random.Generator) -> Array:
    x: Array = np.sin(_phase(m, t, rng))
    return x


def _harmonics(m: int, t: Array, rng: np.random.Generator) -> Array:
    """A tone with overtones 2 to 5 of random strength and phase."""
    phase = _phase(m, t, rng, highest=len(t) / 32)
    x = np.sin(phase)
    for k in range(2, 6):
        x += rng.uniform(0, 1.2, (m, 1)) * np.sin(k * phase + rng.uniform(0, _TAU, (m, 1)))
    return x


def _beats(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Two tones of nearly one frequency."""
    f = _frequency(m, t, rng, lowest=4.0)
    apart = f * rng.uniform(1.08, 1.4, (m, 1))
    start = rng.uniform(0, _TAU, (2, m, 1))
    strength = rng.uniform(0.6, 1, (m, 1))
    x: Array = np.sin(_TAU * f * t + start[0]) + strength * np.sin(_TAU * apart * t + start[1])
    return x


def _linear_chirp(m: int, t: Array, rng: np.random.Generator) -> Array:
    low, high = _rising_pair(m, t, rng)
    phase = _TAU * (low * t + (high - low) / 2 * t**2)
    return _maybe_reversed(np.sin(phase + rng.uniform(0, _TAU, (m, 1))), rng)


def _exponential_chirp(m: int, t: Array, rng: np.random.Generator) -> Array:
    low, high = _rising_pair(m, t, rng)
    rate = np.log(high / low)
    phase = _TAU * low * np.expm1(rate * t) / rate
    return _maybe_reversed(np.sin(phase + rng.uniform(0, _TAU, (m, 1))), rng)


def _amplitude_modulated(m: int, t: Array, rng: np.random.Generator) -> Array:
    carrier = _phase(m, t, rng, lowest=10.0)
    slow = np.sin(_TAU * rng.uniform(1, 4, (m, 1)) * t + rng.uniform(0, _TAU, (m, 1)))
    return (1 + rng.uniform(0.5, 1, (m, 1)) * slow) * np.sin(carrier)


def _frequency_modulated(m: int, t: Array, rng: np.random.Generator) -> Array:
    f = _frequency(m, t, rng, lowest=8.0)
    slow = rng.uniform(1, 4, (m, 1))
    index = rng.uniform(0.3, 0.8, (m, 1)) * f / slow
    start = rng.uniform(0, _TAU, (2, m, 1))
    x: Array = np.sin(_TAU * f * t + start[0] + index * np.sin(_TAU * slow * t + start[1]))
    return x


def _square(m: int, t: Array, rng: np.random.Generator) -> Array:
    return np.where(_cycle(m, t, rng) < rng.uniform(0.15, 0.85, (m, 1)), 1.0, -1.0)


def _sawtooth(m: int, t: Array, rng: np.random.Generator) -> Array:
    return rng.choice([-1.0, 1.0], (m, 1)) * _cycle(m, t, rng)


def _triangle(m: int, t: Array, rng: np.random.Generator) -> Array:
    cycle, peak = _cycle(m, t, rng), rng.uniform(0.3, 0.7, (m, 1))
    return np.where(cycle < peak, cycle / peak, (1 - cycle) / (1 - peak))


def _damped(m: int, t: Array, rng: np.random.Generator) -> Array:
    """A ringing that starts anew once to four times a window."""
    every = 1 / rng.uniform(1, 4, (m, 1))
    since = (t + rng.uniform(0, 1, (m, 1)) * every) % every
    f = _frequency(m, t, rng, lowest=8.0)
    return np.exp(-since / (every * rng.uniform(0.08, 0.35, (m, 1)))) * np.sin(_TAU * f * since)


def _pulse_train(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Bell-shaped pulses at a fixed distance."""
    cycle = _cycle(m, t, rng)
    width = rng.uniform(0.03, 0.12, (m, 1))
    return rng.choice([-1.0, 1.0], (m, 1)) * np.exp(-(((cycle - 0.5) / width) ** 2))


def _ecg(m: int, t: Array, rng: np.random.Generator) -> Array:
    """P, Q, R, S and T waves as bells on the cycle of a beat (as McSharry et al., 2003), and a drift."""
    highest = min(10.0, len(t) / 16)
    cycle = _cycle(m, t, rng, lowest=2.0, highest=highest, wobble=0.15)
    centres = np.array([0.22, 0.36, 0.40, 0.44, 0.65])
    widths = np.array([0.035, 0.014, 0.016, 0.014, 0.06])
    heights = np.array([0.15, -0.15, 1.0, -0.25, 0.3])
    x = rng.uniform(0, 0.15, (m, 1)) * np.sin(_TAU * rng.uniform(0.3, 1.5, (m, 1)) * t)
    for centre, width, height in zip(centres, widths, heights, strict=True):
        bell = np.exp(-(((cycle - centre) / (width * rng.uniform(0.8, 1.5, (m, 1)))) ** 2))
        x = x + height * rng.uniform(0.5, 1.5, (m, 1)) * bell
    return x


# Noises and random processes --------------------------------------------------------------------------------


def _white_noise(m: int, t: Array, rng: np.random.Generator) -> Array:
    return rng.standard_normal((m, len(t)))


def _pink_noise(m: int, t: Array, rng: np.random.Generator) -> Array:
    return _power_law(m, t, rng, rng.uniform(-1.3, -0.7, (m, 1)))


def _blue_noise(m: int, t: Array, rng: np.random.Generator) -> Array:
    return _power_law(m, t, rng, rng.uniform(0.8, 2.0, (m, 1)))


def _random_walk(m: int, t: Array, rng: np.random.Generator) -> Array:
    return np.cumsum(rng.standard_normal((m, len(t))), axis=1)


def _mean_reverting(m: int, t: Array, rng: np.random.Generator) -> Array:
    """AR(1), the Ornstein-Uhlenbeck process at whole steps; remembers 4 to L/8 points."""
    memory = np.exp(rng.uniform(np.log(3), np.log(len(t) / 8 + 2), m))
    return _autoregression(rng.standard_normal((m, len(t))), np.exp(-1 / memory), np.zeros(m))


def _resonant_noise(m: int, t: Array, rng: np.random.Generator) -> Array:
    """AR(2) with complex poles: noise that rings."""
    radius = rng.uniform(0.9, 0.99, m)
    angle = _TAU * _frequency(m, t, rng, lowest=4.0)[:, 0] / len(t)
    noise = rng.standard_normal((m, len(t)))
    return _autoregression(noise, 2 * radius * np.cos(angle), -(radius**2))


def _shot_noise(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Pulses at random times, each falling exponentially."""
    rate = rng.uniform(6, 25, (m, 1)) / len(t)
    hits = (rng.random((m, len(t))) < rate) * rng.exponential(1, (m, len(t)))
    # A window without a single pulse would be flat.
    hits[np.arange(m), rng.integers(0, len(t) // 2, m)] += 1
    decay = np.exp(-1 / (rng.uniform(0.005, 0.04, m) * len(t) + 0.5))
    return _autoregression(hits, decay, np.zeros(m))


def _steps(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Constant levels, changing at random times."""
    changes = rng.random((m, len(t))) < rng.uniform(3, 15, (m, 1)) / len(t)
    changes[np.arange(m), rng.integers(1, len(t), m)] = True
    piece = np.cumsum(changes, axis=1, dtype=np.int64)
    levels = rng.standard_normal((m, int(piece.max()) + 1))
    return np.take_along_axis(levels, piece, axis=1)


def _bursts(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Noise that comes and goes, as muscles' activity does."""
    envelope = np.full((m, len(t)), 0.03)
    for _ in range(3):
        centre, width = rng.uniform(0.05, 0.95, (m, 1)), rng.uniform(0.02, 0.1, (m, 1))
        envelope += rng.uniform(0.3, 1, (m, 1)) * np.exp(-(((t - centre) / width) ** 4))
    return envelope * rng.standard_normal((m, len(t)))


# Non-linear dynamics ----------------------------------------------------------------------------------------


def _logistic_map(m: int, t: Array, rng: np.random.Generator) -> Array:
    """x ← r x (1 - x) in its chaotic range."""
    rate, x = rng.uniform(3.6, 4.0, m), rng.uniform(0.1, 0.9, m)
    out = np.empty((len(t), m))
    for i in range(len(t)):
        out[i] = x = rate * x * (1 - x)
    return out.T


def _relaxation(m: int, t: Array, rng: np.random.Generator) -> Array:
    """Van der Pol's oscillator, slow and then sudden: x'' = μ (1 - x²) x' - x, on its limit cycle."""
    stiffness = rng.uniform(2, 6, m)
    # The period is about (3 - 2 ln 2) μ + 2π/μ^(1/3) for these μ; 2 to L/16 of them fill the window.
    period = 1.614 * stiffness + 7.0 / np.cbrt(stiffness)
    cycles = _frequency(m, t, rng, highest=max(3.0, len(t) / 16))[:, 0]
    substeps = 8 * int(np.ceil((period * cycles).max() / len(t) / 0.2))
    step = period * cycles / len(t) / substeps
    x, v = rng.uniform(-2, 2, m), rng.uniform(-1, 1, m)
    out = np.empty((len(t), m))
    for i in range(-(len(t) // 2), len(t)):  # the first half window is the way to the limit cycle
        for _ in range(substeps):
            # Where it damps, damping is taken at the end of the step, so that the stiff phases stay stable.
            gain = step * stiffness * (1 - x**2)
            v = (v - step * x + np.maximum(gain, 0) * v) / (1 - np.minimum(gain, 0))
            x = x + step * v
        if i >= 0:
            out[i] = x
    return out.T


GENERATORS: Final[dict[str, Generator]] = {
    "sine": _sine,
    "harmonics": _harmonics,
    "beats": _beats,
    "linear chirp": _linear_chirp,
    "exponential chirp": _exponential_chirp,
    "amplitude modulated": _amplitude_modulated,
    "frequency modulated": _frequency_modulated,
    "square": _square,
    "sawtooth": _sawtooth,
    "triangle": _triangle,
    "damped oscillation": _damped,
    "pulse train": _pulse_train,
    "heart beat": _ecg,
    "white noise": _white_noise,
    "pink noise": _pink_noise,
    "blue noise": _blue_noise,
    "random walk": _random_walk,
    "mean reverting": _mean_reverting,
    "resonant noise": _resonant_noise,
    "shot noise": _shot_noise,
    "steps": _steps,
    "bursts": _bursts,
    "logistic map": _logistic_map,
    "relaxation oscillator": _relaxation,
}


# Shared parts -----------------------------------------------------------------------------------------------


def _frequency(
    m: int, t: Array, rng: np.random.Generator, *, lowest: float = 2.0, highest: float | None = None
) -> Array:
    """(m, 1) cycles a window, log-uniform from `lowest` to `highest` (L/8 unless given), never above L/4."""
    top = min(len(t) / 4, max(len(t) / 8 if highest is None else highest, lowest * 1.5))
    return np.exp(rng.uniform(np.log(min(lowest, top / 1.5)), np.log(top), (m, 1)))


def _rising_pair(m: int, t: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    low = _frequency(m, t, rng, lowest=1.0, highest=len(t) / 32)
    return low, np.minimum(low * rng.uniform(3, 8, (m, 1)), len(t) / 4)


def _phase(
    m: int, t: Array, rng: np.random.Generator, *, lowest: float = 2.0, highest: float | None = None
) -> Array:
    frequency = _frequency(m, t, rng, lowest=lowest, highest=highest)
    return _TAU * frequency * t + rng.uniform(0, _TAU, (m, 1))


def _cycle(
    m: int,
    t: Array,
    rng: np.random.Generator,
    *,
    lowest: float = 2.0,
    highest: float | None = None,
    wobble: float = 0.0,
) -> Array:
    """(m, L) place within the current cycle, 0 to 1; `wobble` makes cycles differ in length."""
    phase = _phase(m, t, rng, lowest=lowest, highest=highest or len(t) / 16) / _TAU
    slow = np.sin(_TAU * rng.uniform(0.5, 2, (m, 1)) * t + rng.uniform(0, _TAU, (m, 1)))
    return (phase + wobble * slow) % 1.0


def _power_law(m: int, t: Array, rng: np.random.Generator, slope: Array) -> Array:
    """Noise whose power goes with frequency to the power of `slope`."""
    spectrum = np.fft.rfft(rng.standard_normal((m, len(t))), axis=1)
    frequency = np.arange(spectrum.shape[1], dtype=float)
    frequency[0] = 1.0
    return np.fft.irfft(spectrum * frequency ** (slope / 2), n=len(t), axis=1)


def _autoregression(noise: Array, first: Array, second: Array) -> Array:
    """x_i = first·x_(i-1) + second·x_(i-2) + noise_i, for noise (m, L) and coefficients (m,)."""
    columns = np.ascontiguousarray(noise.T)
    before, last = np.zeros(len(noise)), np.zeros(len(noise))
    for row in columns:
        row += first * last + second * before
        before, last = last, row
    return columns.T


def _maybe_reversed(x: Array, rng: np.random.Generator) -> Array:
    turned = rng.random(len(x)) < 0.5
    x[turned] = x[turned, ::-1]
    return x


def _with_noise(x: Array, rng: np.random.Generator) -> Array:
    amount = np.exp(rng.uniform(np.log(0.01), np.log(0.3), (len(x), 1)))
    return x + amount * rng.standard_normal(x.shape)


def _standardised(x: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    scaled: Array = centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-8)
    return scaled


def _open_waves(request: SourceRequest) -> SourceData:
    length = num_tokens(request) * POINTS_PER_TOKEN

    def records() -> Iterator[Record]:
        waves, labels, _ = make_waves(NUM_WAVES, max(length, MIN_LENGTH), request.seed)
        for x, y in zip(waves[:, :length], labels, strict=True):
            yield {"x": x, "y": y}

    return open_stored(
        WAVES,
        request,
        records,
        class_names=tuple(GENERATORS),
        provenance=f"waveforms computed from {len(GENERATORS)} formulas",
        length=length,
        seed=request.seed,
    )


WAVES = Source(
    name="waves",
    title="formula-driven waveforms, labelled by formula",
    kind=SourceKind.WAVES,
    classes=len(GENERATORS),
    embedded=True,
    open=_open_waves,
)
