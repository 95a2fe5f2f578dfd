"""Simulated forearm sEMG of hand gestures, in the files of NAS-Bench-360's NinaPro DB5.

A gesture is a mix of muscle synergies (d'Avella et al. 2003); a muscle recruits its motor units in order of
size and drives them faster as it contracts (Fuglevand et al. 1993); each discharge is a potential shaped like
a Gaussian's derivative (Lo Conte et al. 1994), seen by two bracelets of eight electrodes turned against each
other by half a step, as in NinaPro DB5 (Pizzolato et al. 2017). People differ in gain, anatomy and where the
bracelets sit; repetitions in force and timing. The class shows in the pattern of power over electrodes, while
the mean is zero, so that a linear model of the raw signal finds next to nothing.
"""
# Shape suffixes: B = windows, G = gestures, M = muscles, U = motor units of a muscle, E = electrodes,
# W = waveforms, P = people, T = time steps at _SIMULATION_HZ, S = time steps at SAMPLING_HZ.

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SPLIT_SIZES: Final = {"train": 612, "val": 198, "test": 198}
"""Whole multiples of the 18 gestures: every class is equally frequent."""
NUM_GESTURES: Final = 18
"""17 movements and rest (class 0)."""
NUM_ELECTRODES: Final = 16
NUM_STEPS: Final = 52
SAMPLING_HZ: Final = 200

_SIMULATION_HZ = 1000
_PAD = 30  # simulated before and after the window, so that filters have settled
_MUSCLES, _UNITS, _SYNERGIES, _SUBJECTS = 10, 16, 6, 10
_CHUNK = 100  # windows simulated at once, to bound memory


def write_sample(root: Path, seed: int) -> None:
    """Write `ninaPro/{ninapro,label}_{train,val,test}.npy` under `root`: (n, 52, 16) float32, (n,) int8."""
    rng = np.random.default_rng([seed, 0x454D47])
    gesture_GM = _gestures(rng)
    gain_PWME = _subjects(rng)
    folder = root / "ninaPro"
    folder.mkdir(parents=True)
    for split, size in SPLIT_SIZES.items():
        label_B = rng.permutation(np.arange(size) % NUM_GESTURES)
        windows = [
            _record(rng, gesture_GM[part], gain_PWME)
            for part in np.split(label_B, range(_CHUNK, size, _CHUNK))
        ]
        np.save(folder / f"ninapro_{split}.npy", np.concatenate(windows).astype(np.float32))
        np.save(folder / f"label_{split}.npy", label_B.astype(np.int8))


def _gestures(rng: np.random.Generator) -> Array:
    """Activation of each muscle in each gesture, (G, M) in [0, 1]; gesture 0 is rest."""
    centre = rng.permutation(_SYNERGIES)[:, None] * _MUSCLES / _SYNERGIES
    distance = np.abs(np.arange(_MUSCLES) - centre)
    near = np.minimum(distance, _MUSCLES - distance)
    synergy = np.exp(-((near / 1.1) ** 2)) + 0.15 * rng.random((_SYNERGIES, _MUSCLES))
    pairs = [(a, b) for a in range(_SYNERGIES) for b in range(_SYNERGIES) if a != b]
    chosen = rng.permutation(len(pairs))[: NUM_GESTURES - 1]
    gesture_GM = np.full((NUM_GESTURES, _MUSCLES), 0.01)
    for row, (strong, weak) in enumerate((pairs[i] for i in chosen), start=1):
        mixed = synergy[strong] + 0.5 * synergy[weak]
        gesture_GM[row] = 0.75 * mixed / mixed.max()
    return gesture_GM


def _subjects(rng: np.random.Generator) -> Array:
    """How strongly each electrode sees each muscle's two waveforms, per subject: (P, W, M, E)."""
    ring = np.arange(8) * 2 * np.pi / 8
    electrode_E = np.concatenate([ring, ring + np.pi / 8])
    muscle_M = np.arange(_MUSCLES) * 2 * np.pi / _MUSCLES
    gains = []
    for _ in range(_SUBJECTS):
        turned = electrode_E + np.repeat(rng.normal(0, 0.12, 2), 8)
        anatomy = muscle_M + rng.normal(0, 0.06, _MUSCLES)
        apart_ME = np.angle(np.exp(1j * (anatomy[:, None] - turned)))
        depth_M1 = rng.uniform(0.35, 0.6, (_MUSCLES, 1))
        # A muscle belly lies more under one bracelet than under the other, and tissue blurs it.
        along_ME = np.repeat(rng.uniform(0.5, 1.0, (_MUSCLES, 2)), 8, axis=1)
        pickup_ME = along_ME * np.exp(-((apart_ME / depth_M1) ** 2) / 2)
        pickup_ME *= np.exp(rng.normal(0, 0.15, NUM_ELECTRODES))
        phase_ME = rng.uniform(0, np.pi / 2, (_MUSCLES, NUM_ELECTRODES))
        gains.append(np.stack([pickup_ME * np.cos(phase_ME), pickup_ME * np.sin(phase_ME)]))
    return np.stack(gains)


def _record(rng: np.random.Generator, gesture_BM: Array, gain_PWME: Array) -> Array:
    """Windows (B, S, E) of the given muscle activations, each by a random subject."""
    from scipy.signal import resample_poly

    size = len(gesture_BM)
    num_T = NUM_STEPS * _SIMULATION_HZ // SAMPLING_HZ + 2 * _PAD
    force_BMT = _effort(rng, gesture_BM, num_T)
    train_BWMT = _discharges(rng, force_BMT)
    emg_BWMT = np.stack([_convolved(train_BWMT[:, i], shape) for i, shape in enumerate(_waveforms())], axis=1)
    subject_B = rng.integers(0, _SUBJECTS, size)
    emg_BET = np.einsum("bwmt,bwme->bet", emg_BWMT, gain_PWME[subject_B], optimize=True)
    emg_BET += rng.normal(0, 0.06, emg_BET.shape)
    sampled_BES = resample_poly(emg_BET[..., _PAD:-_PAD], SAMPLING_HZ, _SIMULATION_HZ, axis=-1)
    return np.ascontiguousarray(sampled_BES.transpose(0, 2, 1))


def _effort(rng: np.random.Generator, gesture_BM: Array, num_T: int) -> Array:
    """Drive of each muscle over time, (B, M, T) in [0, 1]: onset, hold with drift, repetition's strength."""
    size = len(gesture_BM)
    t_T = np.arange(num_T) / _SIMULATION_HZ
    onset_B1 = rng.uniform(-0.6, 0.12, (size, 1))
    rise_B1 = rng.uniform(0.02, 0.06, (size, 1))
    envelope_BT = 1 / (1 + np.exp(-(t_T - onset_B1) / rise_B1))
    tremor_BT = 1 + 0.15 * np.sin(2 * np.pi * (rng.uniform(1, 8, (size, 1)) * t_T + rng.random((size, 1))))
    strength_B1 = np.exp(rng.normal(0, 0.2, (size, 1)))
    spread_BM = np.exp(rng.normal(0, 0.15, gesture_BM.shape))
    drive_BMT = (gesture_BM * spread_BM)[..., None] * (strength_B1 * envelope_BT * tremor_BT)[:, None]
    return np.clip(drive_BMT, 0.0, 1.0)


def _discharges(rng: np.random.Generator, force_BMT: Array) -> Array:
    """Spike trains summed over motor units by waveform, (B, W, M, T), weighted by the units' sizes."""
    # Small units come first; large ones are recruited late and weigh more (size principle).
    threshold_U = 0.6 * np.geomspace(0.02, 1.0, _UNITS)
    size_U = np.geomspace(0.25, 1.5, _UNITS)
    trains = np.zeros((len(force_BMT), 2, *force_BMT.shape[1:]))
    for unit in range(_UNITS):
        above_BMT = force_BMT - threshold_U[unit]
        rate_BMT = np.where(above_BMT > 0, 8.0 + 40.0 * above_BMT, 0.0)
        spikes_BMT = rng.random(force_BMT.shape, dtype=np.float32) < rate_BMT / _SIMULATION_HZ
        trains[:, unit % 2] += size_U[unit] * spikes_BMT
    return trains


def _waveforms() -> tuple[Array, Array]:
    """First and second derivative of a Gaussian of 2.5 ms: the potentials' shapes, without mean, peak 1."""
    u = np.arange(-15, 16) / (0.0025 * _SIMULATION_HZ)
    first = -u * np.exp(-(u**2) / 2)
    second = (u**2 - 1) * np.exp(-(u**2) / 2)
    second -= second.mean()
    return first / np.abs(first).max(), second / np.abs(second).max()


def _convolved(train_BMT: Array, shape: Array) -> Array:
    spectrum = np.fft.rfft(train_BMT, n=train_BMT.shape[-1] + len(shape) - 1)
    full = np.fft.irfft(spectrum * np.fft.rfft(shape, n=train_BMT.shape[-1] + len(shape) - 1))
    start = len(shape) // 2
    return np.asarray(full[..., start : start + train_BMT.shape[-1]])
