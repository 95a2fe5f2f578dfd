"""Synthesised sounds in the files of NAS-Bench-360's FSD50K task: chunks of one second, tables, label map, noise.

A clip is one or two events out of 16 kinds (tones, sweeps, modulated and filtered noise, struck bodies), each at a
pitch, speed, loudness and time of its own, over some hiss. As in FSD50K a clip carries the labels of its events as a
whole, and those of the families they belong to, so a chunk of it may hold less than its labels say. A kind may sound in
any band, so that no band tells it. Of the 200 names that the label map has, 19 are used; the others are `unused_…`.
"""
# Shape suffixes: T = samples at SAMPLING_HZ.

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Generator = np.random.Generator

SAMPLING_HZ: Final = 22_050
NUM_LABELS: Final = 200
SPLIT_SIZES: Final = {"tr": 640, "val": 180, "eval": 180}
"""Clips of each table."""
NUM_NOISES: Final = 12

_SECONDS = (0.4, 1.6)
_TAU = 2 * np.pi
_FOLDERS = {"tr": "dev_chunks", "val": "dev_chunks", "eval": "eval_chunks"}


def write_sample(root: Path, seed: int) -> None:
    """Write `audio/chunks/{tr,val,eval}.csv` and `lbl_map.json`, the wave files and `audio/noise_22050/*.wav`."""
    rng = np.random.default_rng([seed, 0xF5D])
    audio = root / "audio"
    (audio / "chunks").mkdir(parents=True)
    (audio / "noise_22050").mkdir()
    first_id = 1000
    for table, size in SPLIT_SIZES.items():
        rows = [row for i in range(size) for row in _write_clip(rng, audio, _FOLDERS[table], first_id + i)]
        _write_table(audio / "chunks" / f"{table}.csv", rows)
        first_id += size
    names = [*LABELS, *(f"unused_{i:03d}" for i in range(len(LABELS), NUM_LABELS))]
    label_map = {name: index for index, name in enumerate(names)}
    (audio / "chunks" / "lbl_map.json").write_text(json.dumps(label_map), encoding="utf-8")
    for index in range(NUM_NOISES):
        _write_wave(audio / "noise_22050" / f"noise-{index:04d}.wav", _noise(rng))


def _write_clip(rng: Generator, audio: Path, folder: str, clip_id: int) -> list[tuple[str, str, str]]:
    """One clip cut into chunks of a second, half a second apart: (file, labels, id) of each."""
    kinds = rng.choice(list(EVENTS), size=int(rng.choice([1, 2], p=[0.65, 0.35])), replace=False).tolist()
    labels = ",".join(dict.fromkeys(name for kind in kinds for name in (kind, EVENTS[kind][0])))
    sound_T = _clip(rng, kinds)
    hop = SAMPLING_HZ // 2
    starts = range(0, len(sound_T), hop) if len(sound_T) >= SAMPLING_HZ else [0]
    (audio / folder).mkdir(exist_ok=True)
    rows: list[tuple[str, str, str]] = []
    for number, start in enumerate(starts):
        name = f"{clip_id}_{number:04d}.wav"
        _write_wave(audio / folder / name, np.resize(sound_T[start : start + SAMPLING_HZ], SAMPLING_HZ))
        rows.append((f"data/{folder}/{name}", labels, str(clip_id)))
    return rows


def _write_table(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("files", "labels", "ext"))
        writer.writerows(rows)


def _write_wave(path: Path, sound_T: Array) -> None:
    samples = np.round(np.clip(sound_T, -1.0, 1.0) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_HZ)
        file.writeframes(samples.tobytes())


def _clip(rng: Generator, kinds: Sequence[str]) -> Array:
    """The events of a clip at random times and loudness, over hiss, (T,) within ±1."""
    length = int(rng.uniform(*_SECONDS) * SAMPLING_HZ)
    sound_T = np.zeros(length)
    for kind in kinds:
        size = min(length, int(rng.uniform(0.6, 1.2) * SAMPLING_HZ))
        event_T = EVENTS[kind][1](rng, np.arange(size) / SAMPLING_HZ)
        event_T = event_T / max(float(np.abs(event_T).max()), 1e-9) * _faded(size)
        start = int(rng.integers(0, length - size + 1))
        sound_T[start : start + size] += 10 ** (rng.uniform(-8, 0) / 20) * event_T
    hiss_T = rng.normal(0.0, 10 ** (rng.uniform(-65, -45) / 20), length)
    sound_T = sound_T / max(1.0, float(np.abs(sound_T).max())) * rng.uniform(0.3, 0.95)
    return sound_T + hiss_T


def _faded(size: int) -> Array:
    """5 ms up and down, so that an event begins and ends without a click."""
    ramp = int(0.005 * SAMPLING_HZ)
    edge_T: Array = np.minimum(np.arange(size), np.arange(size)[::-1]) / ramp
    return np.minimum(edge_T, 1.0)


# Kinds of events: t (T,) seconds from the event's start → (T,) of any loudness -------------------------------------


def _hz(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _phase(frequency_T: Array) -> Array:
    return _TAU * np.cumsum(frequency_T) / SAMPLING_HZ


def _harmonic(phase_T: Array, strengths: Sequence[float]) -> Array:
    whole_T: Array = np.sum([a * np.sin(k * phase_T) for k, a in enumerate(strengths, start=1)], axis=0)
    return whole_T


def _band_noise(rng: Generator, size: int, low: float, high: float) -> Array:
    """White noise between two frequencies."""
    spectrum = np.fft.rfft(rng.normal(size=size))
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_HZ)
    return np.fft.irfft(spectrum * ((frequency >= low) & (frequency <= high)), n=size)


def _pulses(rng: Generator, t: Array, rate: float, jitter: float) -> list[int]:
    """Places of pulses that come `rate` times a second, more or less."""
    gaps = (1 + jitter * rng.normal(size=int(len(t) / SAMPLING_HZ * rate) + 4)).clip(0.2) / rate
    places = (np.cumsum(gaps) - gaps[0] * rng.uniform(0.5, 1.0)) * SAMPLING_HZ
    return [int(p) for p in places if 0 <= p < len(t)]


def _repeated(t: Array, places: Sequence[int], one: Callable[[], Array]) -> Array:
    sound_T = np.zeros_like(t)
    for place in places:
        part = one()[: len(t) - place]
        sound_T[place : place + len(part)] += part
    return sound_T


def _steady_tone(rng: Generator, t: Array) -> Array:
    return np.sin(_TAU * _hz(rng, 300, 4000) * t)


def _organ(rng: Generator, t: Array) -> Array:
    return _harmonic(_TAU * _hz(rng, 150, 1200) * t, [1, 0.7, 0.5, 0.4, 0.3][: rng.integers(3, 6)])


def _vibrato(rng: Generator, t: Array) -> Array:
    base, rate = _hz(rng, 400, 2500), rng.uniform(4.5, 8)
    return np.sin(_phase(base * (1 + 0.06 * np.sin(_TAU * (rate * t + rng.random())))))


def _tremolo(rng: Generator, t: Array) -> Array:
    depth = 0.5 + 0.5 * np.sin(_TAU * (rng.uniform(5, 12) * t + rng.random()))
    return depth * np.sin(_TAU * _hz(rng, 300, 4000) * t)


def _rising_chirp(rng: Generator, t: Array) -> Array:
    low = _hz(rng, 250, 1500)
    return np.sin(_phase(low * _hz(rng, 2, 5) ** (t / t[-1])))


def _falling_chirp(rng: Generator, t: Array) -> Array:
    high = _hz(rng, 1500, 8000)
    return np.sin(_phase(high * _hz(rng, 2, 5) ** (-t / t[-1])))


def _siren(rng: Generator, t: Array) -> Array:
    sweep = 2 * np.abs((rng.uniform(1.5, 3.5) * t + rng.random()) % 1 - 0.5)
    return _harmonic(_phase(_hz(rng, 500, 1200) * (1 + 0.9 * sweep)), [1, 0.5, 0.25])


def _two_tone_alarm(rng: Generator, t: Array) -> Array:
    high = (rng.uniform(3, 7) * t + rng.random()) % 1 < 0.5
    return _harmonic(_phase(_hz(rng, 600, 1800) * np.where(high, 1.33, 1.0)), [1, 0, 0.3])


def _bird_call(rng: Generator, t: Array) -> Array:
    """Short upward sweeps, one after the other."""
    low, span = _hz(rng, 1000, 4500), rng.uniform(1.3, 1.9)
    u = np.arange(int(rng.uniform(0.04, 0.08) * SAMPLING_HZ))
    one = np.sin(_phase(low * span ** (u / len(u)))) * np.hanning(len(u))
    return _repeated(t, _pulses(rng, t, rng.uniform(6, 11), 0.1), lambda: one)


def _wind(rng: Generator, t: Array) -> Array:
    """Noise in one band whose loudness drifts."""
    low = _hz(rng, 150, 3000)
    gust = np.interp(t, np.linspace(0, t[-1], 5), rng.uniform(0.2, 1.0, 5))
    return gust * _band_noise(rng, len(t), low, low * 2.5)


def _surf(rng: Generator, t: Array) -> Array:
    """Noise of all frequencies that swells and breaks."""
    swell: Array = np.sin(np.pi * ((t / t[-1]) ** rng.uniform(0.6, 1.6)))
    low = _hz(rng, 100, 2000)
    return swell**2 * _band_noise(rng, len(t), low, 5 * low)


def _rain(rng: Generator, t: Array) -> Array:
    pitch = _hz(rng, 800, 7000)

    def drop() -> Array:
        u = np.arange(int(0.006 * SAMPLING_HZ)) / SAMPLING_HZ
        return rng.exponential() * np.exp(-u / 0.0012) * np.sin(_TAU * pitch * rng.uniform(0.7, 1.4) * u)

    return _repeated(t, _pulses(rng, t, rng.uniform(60, 140), 0.8), drop)


def _helicopter(rng: Generator, t: Array) -> Array:
    low = _hz(rng, 100, 2500)
    beat = np.maximum(0.0, np.sin(_TAU * (rng.uniform(9, 16) * t + rng.random()))) ** 3
    return beat * _band_noise(rng, len(t), low, 3 * low)


def _knock(rng: Generator, t: Array) -> Array:
    u = np.arange(int(0.09 * SAMPLING_HZ)) / SAMPLING_HZ
    tone = _hz(rng, 150, 2500)
    one = np.exp(-u / 0.015) * (np.sin(_TAU * tone * u) + 0.5 * np.sin(_TAU * 2.76 * tone * u))
    return _repeated(t, _pulses(rng, t, rng.uniform(3, 6), 0.1), lambda: one)


def _bell(rng: Generator, t: Array) -> Array:
    """Partials that are no multiples of each other, the high ones dying first."""
    base = _hz(rng, 400, 1400)
    ratios, decay = (1.0, 2.0, 2.74, 3.76, 5.4), rng.uniform(0.2, 0.5)
    return np.asarray(
        sum(np.exp(-t * r / decay / 1.5) * np.sin(_TAU * base * r * t) / r**0.5 for r in ratios)
    )


def _snare(rng: Generator, t: Array) -> Array:
    """Bursts of noise in one band."""
    u = np.arange(int(0.16 * SAMPLING_HZ)) / SAMPLING_HZ
    low = _hz(rng, 200, 3000)
    one = np.exp(-u / 0.05) * _band_noise(rng, len(u), low, 3 * low)
    return _repeated(t, _pulses(rng, t, rng.uniform(2, 5), 0.05), lambda: one)


EVENTS: Final[dict[str, tuple[str, Callable[[Generator, Array], Array]]]] = {
    "rising_chirp": ("sweep", _rising_chirp),
    "falling_chirp": ("sweep", _falling_chirp),
    "siren": ("sweep", _siren),
    "bird_call": ("sweep", _bird_call),
    "vibrato": ("sweep", _vibrato),
    "tremolo": ("pulse_train", _tremolo),
    "two_tone_alarm": ("pulse_train", _two_tone_alarm),
    "helicopter": ("pulse_train", _helicopter),
    "knock": ("pulse_train", _knock),
    "rain": ("pulse_train", _rain),
    "snare": ("pulse_train", _snare),
    "steady_tone": ("sustained", _steady_tone),
    "organ": ("sustained", _organ),
    "wind": ("sustained", _wind),
    "surf": ("sustained", _surf),
    "bell": ("sustained", _bell),
}
"""Name → family, which is a label too, and how it sounds."""

LABELS: Final = tuple(dict.fromkeys([*EVENTS, *(family for family, _ in EVENTS.values())]))


def _noise(rng: Generator) -> Array:
    """Two to four seconds of background without any of the events: hum, murmur, or noise of one colour."""
    size = int(rng.uniform(2, 4) * SAMPLING_HZ)
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_HZ)
    slope = rng.uniform(0.0, 1.0)
    spectrum = np.fft.rfft(rng.normal(size=size)) / np.maximum(frequency, 20.0) ** slope
    sound_T = np.fft.irfft(spectrum, n=size)
    sound_T /= np.abs(sound_T).max()
    hum_T = _harmonic(_TAU * rng.uniform(45, 65) * np.arange(size) / SAMPLING_HZ, [1, 0.5, 0.4])
    return 0.5 * (sound_T + rng.uniform(0, 0.3) * hum_T) / 1.6
