"""Simulated single-lead ECG of the PhysioNet 2017 classes, in the pickle that NAS-Bench-360 made of it.

The dynamical model of McSharry et al. 2003 (ECGSYN, https://doi.org/10.1109/TBME.2003.808805) in its phase
form: the heart's phase θ runs once around a circle a beat, and each of the waves P, Q, R, S, T pushes the
voltage as θ passes it. The push a of the paper is given as the height h = a·b² that it makes, so that a wave
stays as high when the rate changes. Rhythm is a series of beats (length, shape), disease changes rhythm or
shape, and noise is added as the hand-held recorder of the challenge picks it up (Clifford et al. 2017,
https://doi.org/10.22489/CinC.2017.065-469).
"""
# Shape suffixes: T = time steps at SAMPLING_HZ, W = the five waves, B = beats.

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SAMPLING_HZ: Final = 300
RECORDINGS: Final = {"N": 44, "A": 20, "O": 36, "~": 8}
"""How many of each class: normal, atrial fibrillation, other rhythm, too noisy to say."""
SECONDS: Final = (9.05, 11.0)
"""The challenge's recordings last 9 to 61 s; short ones keep the sample small."""

_COUNTS_PER_MILLIVOLT = 1000
_SETTLE_S = 2.0  # simulated before the recording starts, so that the voltage has settled
_MARGIN_S = 2.5  # and after it ends: more than the longest beat


@dataclass(frozen=True, slots=True)
class _Beat:
    """One R peak: how long until the next one, and where on the circle, how high and how wide its waves are."""

    seconds: float
    angle: Array
    height: Array
    width: Array


@dataclass(frozen=True, slots=True)
class _Person:
    """What a recording has of its own: mean beat length, waves as seen by this lead, breathing."""

    seconds: float
    angle: Array
    height: Array
    width: Array
    breath_hz: float
    variability: float

    def beat(self, seconds: float) -> _Beat:
        return _Beat(seconds, self.angle, self.height, self.width)


_Rhythm = Callable[[np.random.Generator, _Person, float], list[_Beat]]
_P, _Q, _R, _S, _T = range(5)


def write_sample(root: Path, seed: int) -> None:
    """Write `root/challenge2017.pkl`: {"data": object array of int16 arrays, "label": array of N A O ~}."""
    rng = np.random.default_rng([seed, 0x454347])
    labels = rng.permutation([label for label, count in RECORDINGS.items() for _ in range(count)])
    signals = np.empty(len(labels), dtype=object)
    for index, label in enumerate(labels):
        signals[index] = np.round(_recording(rng, str(label)) * _COUNTS_PER_MILLIVOLT).astype(np.int16)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "challenge2017.pkl").open("wb") as file:
        pickle.dump({"data": signals, "label": labels}, file, protocol=4)


def _recording(rng: np.random.Generator, label: str) -> Array:
    """One recording of class `label`, (T,) in millivolts."""
    seconds = rng.uniform(*SECONDS)
    # Under heavy noise any rhythm may hide.
    rhythm = label if label != "~" else str(rng.choice(["N", "A", "O"]))
    person = _person(rng)
    if rhythm == "A":
        person = replace(person, seconds=rng.uniform(0.5, 0.9), height=_without_p(person.height))
        beats = _fibrillation(rng, person, seconds + _SETTLE_S)
    elif rhythm == "O":
        person, make = _OTHER[rng.integers(len(_OTHER))](rng, person)
        beats = make(rng, person, seconds + _SETTLE_S)
    else:
        beats = _sinus(rng, person, seconds + _SETTLE_S)
    clean_T = _voltage(beats)[int(_SETTLE_S * SAMPLING_HZ) :][: int(seconds * SAMPLING_HZ)]
    clean_T = clean_T / np.quantile(np.abs(clean_T), 0.998)
    if rhythm == "A":
        clean_T = clean_T + _fibrillatory_waves(rng, len(clean_T))
    hands = -1.0 if rng.random() < 0.25 else 1.0  # some people swap them, which turns the lead over
    noise = _heavy_noise if label == "~" else _everyday_noise
    return _recorder(hands * rng.uniform(0.5, 1.5) * clean_T + noise(rng, len(clean_T)))


def _person(rng: np.random.Generator) -> _Person:
    """The published angles and widths, common heights, each person a little different."""
    angle_W = np.array([-1 / 3, -1 / 12, 0.0, 1 / 12, 1 / 2]) * np.pi
    angle_W = angle_W + rng.normal(0, [0.12, 0.01, 0.0, 0.01, 0.12])
    height_W = np.array([0.15, -0.1, 1.0, -0.2, 0.3]) * np.exp(rng.normal(0, [0.25, 0.5, 0.1, 0.6, 0.35]))
    width_W = np.array([0.25, 0.1, 0.1, 0.1, 0.4]) * np.exp(rng.normal(0, 0.1, 5))
    return _Person(
        rng.uniform(0.65, 1.05), angle_W, height_W, width_W, rng.uniform(0.18, 0.35), rng.uniform(0.01, 0.05)
    )


def _without_p(height_W: Array) -> Array:
    height_W = height_W.copy()
    height_W[_P] = 0.0
    return height_W


def _sinus(rng: np.random.Generator, person: _Person, seconds: float) -> list[_Beat]:
    """Beats paced by the sinus node: breathing and slow waves of blood pressure modulate their length."""
    beats: list[_Beat] = []
    now, breath, mayer = 0.0, rng.random(), rng.random()
    while now < seconds + _MARGIN_S:
        swing = np.sin(2 * np.pi * (person.breath_hz * now + breath)) + 0.7 * np.sin(
            2 * np.pi * (0.1 * now + mayer)
        )
        length = person.seconds * (1 + person.variability * swing + rng.normal(0, 0.008))
        beats.append(person.beat(length))
        now += length
    return beats


def _fibrillation(rng: np.random.Generator, person: _Person, seconds: float) -> list[_Beat]:
    """Beats whose lengths are independent: the AV node passes chaotic atrial activity."""
    beats: list[_Beat] = []
    spread = rng.uniform(0.16, 0.28)
    while sum(beat.seconds for beat in beats) < seconds + _MARGIN_S:
        beats.append(person.beat(max(0.33, person.seconds * rng.gamma(1 / spread**2) * spread**2)))
    return beats


def _with_ectopics(early: tuple[float, float], ventricular: bool) -> _Rhythm:
    """Sinus rhythm with premature beats; ventricular ones are wide, without P, and a pause follows."""

    def rhythm(rng: np.random.Generator, person: _Person, seconds: float) -> list[_Beat]:
        beats = _sinus(rng, person, seconds * 1.2)  # early beats shorten the series
        every = int(rng.integers(2, 6))
        for i in range(int(rng.integers(1, every + 1)), len(beats) - 1, every):
            share = rng.uniform(*early)
            before, after = beats[i - 1], beats[i]
            beats[i - 1] = replace(before, seconds=before.seconds * share)
            if ventricular:
                beats[i] = _ventricular(replace(after, seconds=after.seconds * (2.0 - share)))
            else:
                height_W = after.height.copy()
                height_W[_P] *= -0.6  # the impulse starts elsewhere in the atria
                beats[i] = replace(after, height=height_W, seconds=after.seconds * 1.1)
        return beats

    return rhythm


def _ventricular(beat: _Beat) -> _Beat:
    height_W = beat.height * np.array([0.0, 0.2, 1.4, 2.5, -1.3])
    width_W = beat.width * np.array([1.0, 2.5, 2.6, 2.6, 1.2])
    return replace(beat, height=height_W, width=width_W, angle=beat.angle * [1, 2, 1, 3, 1.1])


def _blocked(rng: np.random.Generator, person: _Person, seconds: float) -> list[_Beat]:
    """Second-degree AV block (Wenckebach): PR grows beat by beat until a P wave is not conducted."""
    beats = _sinus(rng, person, seconds)
    cycle = int(rng.integers(3, 6))
    for i, beat in enumerate(beats):
        step = i % cycle
        angle_W, height_W = beat.angle.copy(), beat.height.copy()
        angle_W[_P] -= 0.25 * step
        if step == cycle - 1:
            height_W[_Q:] = 0.0
        beats[i] = replace(beat, angle=angle_W, height=height_W)
    return beats


_Other = Callable[[np.random.Generator, _Person], tuple[_Person, _Rhythm]]


def _bundle_branch_block(rng: np.random.Generator, person: _Person) -> tuple[_Person, _Rhythm]:
    """One ventricle is reached late: a wide QRS with a deep, late S and the T wave against it."""
    height_W = person.height * np.array([1.0, 0.3, 0.9, rng.uniform(1.5, 2.5), -1.2])
    width_W = person.width * np.array([1.0, 1.5, 1.8, 2.2, 1.0])
    angle_W = person.angle * [1, 1.5, 1, 2.8, 1]
    return replace(person, height=height_W, width=width_W, angle=angle_W), _sinus


def _with_rhythm(rhythm: _Rhythm) -> _Other:
    return lambda _rng, person: (person, rhythm)


def _at_rate(low_s: float, high_s: float) -> _Other:
    """Sinus rhythm with beats of another length."""
    return lambda rng, person: (replace(person, seconds=rng.uniform(low_s, high_s)), _sinus)


_OTHER: tuple[_Other, ...] = (
    _with_rhythm(_with_ectopics((0.5, 0.7), ventricular=True)),
    _with_rhythm(_with_ectopics((0.55, 0.75), ventricular=False)),
    _with_rhythm(_blocked),
    _bundle_branch_block,
    _at_rate(0.40, 0.50),  # tachycardia
    _at_rate(1.25, 1.60),  # bradycardia
)


def _voltage(beats: list[_Beat]) -> Array:
    """Integrate dz/dt = −ω Σ (h/b²) Δθ exp(−Δθ²/2b²) − z along the beats' phase, (T,) in units of h."""
    from scipy.signal import lfilter

    edges = np.cumsum([0.0, *(beat.seconds for beat in beats)])
    t_T = np.arange(int(edges[-2] * SAMPLING_HZ)) / SAMPLING_HZ
    last_T = np.searchsorted(edges, t_T, side="right") - 1
    seconds_T = np.diff(edges)[last_T]
    # From one R to the next, θ grows by 2π: the first half belongs to the last beat, the second to the next.
    turn_T = (t_T - edges[last_T]) / seconds_T
    next_T = turn_T >= 0.5
    beat_T, phase_T = last_T + next_T, 2 * np.pi * (turn_T - next_T)
    angle_BW, height_BW, width_BW = (
        np.stack([getattr(beat, name) for beat in beats]) for name in ("angle", "height", "width")
    )
    # A short beat shortens its waves less than its pauses, so they fill more of the circle (as in ECGSYN).
    wider_T1 = np.sqrt(1.0 / seconds_T)[:, None]
    apart_TW = phase_T[:, None] - angle_BW[beat_T] * np.sqrt(wider_T1)
    variance_TW = (width_BW[beat_T] * wider_T1) ** 2
    slope_TW = height_BW[beat_T] / variance_TW * apart_TW * np.exp(-(apart_TW**2) / (2 * variance_TW))
    push_T = -slope_TW.sum(axis=1) * 2 * np.pi / seconds_T
    # Exact for a push that is constant over a step, so stable at any sampling rate.
    decay = np.exp(-1 / SAMPLING_HZ)
    return np.asarray(lfilter([1 - decay], [1, -decay], push_T))


def _fibrillatory_waves(rng: np.random.Generator, num_T: int) -> Array:
    """The atria's own 4 to 9 Hz, drifting in rate and height, with one harmonic (Stridh and Sörnmo 2001)."""
    t_T = np.arange(num_T) / SAMPLING_HZ
    drift_T = 0.4 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.3) * t_T + rng.random()))
    phase_T = 2 * np.pi * np.cumsum(rng.uniform(4.5, 8.5) + drift_T) / SAMPLING_HZ
    height_T = 1 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * t_T + rng.random()))
    return rng.uniform(0.03, 0.1) * height_T * (np.sin(phase_T) + 0.4 * np.sin(2 * phase_T + 0.6))


def _everyday_noise(rng: np.random.Generator, num_T: int) -> Array:
    """Breathing, muscle, mains, in millivolts; a third of the recordings holds a short burst of movement."""
    t_T = np.arange(num_T) / SAMPLING_HZ
    noise_T = rng.uniform(0.02, 0.15) * np.sin(2 * np.pi * (rng.uniform(0.15, 0.4) * t_T + rng.random()))
    noise_T = noise_T + rng.uniform(0.005, 0.05) * rng.normal(size=num_T)
    noise_T += rng.uniform(0, 0.03) * np.sin(2 * np.pi * (60 * t_T + rng.random()))
    if rng.random() < 1 / 3:
        start, length = rng.integers(0, num_T), rng.uniform(0.5, 2.0)
        during_T = np.exp(-(((t_T - start / SAMPLING_HZ) / length) ** 2))
        noise_T += 0.15 * during_T * _coloured(rng, num_T, 1.0, 12.0)
    return np.asarray(noise_T)


def _heavy_noise(rng: np.random.Generator, num_T: int) -> Array:
    """Motion that buries the beats: wandering baseline, lost contact, muscle, all the time."""
    from scipy.signal import lfilter

    noise_T = _everyday_noise(rng, num_T) + rng.uniform(0.5, 1.2) * _coloured(rng, num_T, 1.0, 12.0)
    noise_T += rng.uniform(0.3, 1.0) * _coloured(rng, num_T, 5.0, 40.0)
    jumps_T = rng.normal(0, 1.5, num_T) * (rng.random(num_T) < 0.7 / SAMPLING_HZ)
    noise_T += lfilter([1.0], [1.0, -np.exp(-1 / (0.5 * SAMPLING_HZ))], jumps_T)  # electrodes settle in 0.5 s
    return noise_T


def _coloured(rng: np.random.Generator, num_T: int, low_hz: float, high_hz: float) -> Array:
    """Noise of unit power between two frequencies."""
    from scipy.signal import butter, sosfiltfilt

    band = butter(2, (low_hz, high_hz), "bandpass", fs=SAMPLING_HZ, output="sos")
    noise_T = sosfiltfilt(band, rng.normal(size=num_T))
    return np.asarray(noise_T / noise_T.std())


def _recorder(voltage_T: Array) -> Array:
    """The hand-held recorder passes 0.5 to 40 Hz and clips at ±5 mV."""
    from scipy.signal import butter, sosfiltfilt

    band = butter(2, (0.5, 40.0), "bandpass", fs=SAMPLING_HZ, output="sos")
    return np.asarray(np.clip(sosfiltfilt(band, voltage_T), -5.0, 5.0))
