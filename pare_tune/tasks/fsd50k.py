"""FSD50K: which of 200 kinds of sound a clip of Freesound holds, from one second of it at a time (NAS-Bench-360)."""
# Shape suffixes: B = chunks, T = samples, M = mel bands, F = frames, L = labels.

from __future__ import annotations

import csv
import json
import struct
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pare_tune.data.store import Record
from pare_tune.errors import DataError
from pare_tune.tasks.base import (
    Canvas,
    Modality,
    MultiLabel,
    PaperSettings,
    Split,
    Task,
    release_at,
    require_files,
)
from pare_tune.tasks.metrics import CLIP_MAP_ERROR
from pare_tune.tasks.samples.sounds import NUM_LABELS, SAMPLING_HZ, write_sample

if TYPE_CHECKING:
    from torch import Tensor

HOMEPAGE: Final = "https://github.com/rtu715/NAS-Bench-360"

NUM_MELS: Final = 96
NUM_FRAMES: Final = 101
"""Frames of a chunk of one second; the model gets one more, of the mean level."""

_PCM = (SAMPLING_HZ, 1, 16)  # Hz, channels, bits
_FFT, _WINDOW, _HOP = 1920, 661, 220  # samples: 30 ms windows every 10 ms
_QUIETEST = 1e-10
_RANGE_DB = 80.0
_STEP_DB = _RANGE_DB / 255
_UNIT_DB = 20.0

NOISES_PER_CLIP: Final = 2
_NOISE_CHUNKS_PER_FILE = 8
_AT_ONCE = 64  # chunks transformed together: 50 MB of spectra

_AUGMENTED, _MOST_MASKS, _WIDEST_BAND, _LONGEST_GAP = 0.5, 2, 0.15, 0.2
_NOISY, _LOUDEST_NOISE = 0.75, 0.5

Array = npt.NDArray[Any]
Levels = npt.NDArray[np.uint8]
"""Mel spectrogram of a chunk in steps of 80/255 dB: 255 is its loudest point, 0 is 80 dB below that or less."""

_TABLES: dict[Split, str] = {"train": "tr.csv", "val": "val.csv", "test": "eval.csv"}
_COLUMNS: Final = ("files", "labels", "ext")


@dataclass(slots=True)
class _Clip:
    labels: str
    chunks: list[str] = field(default_factory=list)
    """Wave files, relative to the folder of the release. (Text: 800,000 paths would be 400 MB.)"""


def read(root: Path, seed: int) -> Mapping[Split, Iterator[Record]]:
    """The release's own splits. A training record is a clip with all its chunks, an evaluation record one chunk.

    Fields: chunks (n, 96, 101) and noise (m, 96, 101), both `Levels`; y (200,) uint8 in {0, 1}; clip () int64, the
    clip's place in its split. A level is at most 0.16 dB off, where steady noise varies by several dB from frame to
    frame, and takes a quarter of a float32: the training split is 6 GB. Each training clip comes with two random
    seconds of the release's noise files, drawn with `seed`, where there are any; validation clips have none.

    (When the final model is trained on both, each chunk of a validation clip counts as a clip.)

    Args:
        root: the folder that holds `audio`.

    Raises:
        DataError: a table, the label map or a chunk is missing or not as the release documents it; a clip has unknown
            or contradictory labels, or is in two splits.
    """
    with release_at(HOMEPAGE):
        folder = root / "audio"
        if not (folder / "chunks").is_dir():
            raise DataError(
                f"no folder {folder / 'chunks'}; it holds tr.csv, val.csv, eval.csv and lbl_map.json"
            )
        index_of = _label_map(folder / "chunks" / "lbl_map.json")
        clips = {split: _clips(folder, name, index_of) for split, name in _TABLES.items()}
        _require_disjoint(clips)
        noise = _noise(folder / "noise_22050")
    return {
        "train": _training_records(
            folder, clips["train"], index_of, noise, np.random.default_rng([seed, 0x501])
        ),
        "val": _evaluation_records(folder, clips["val"], index_of),
        "test": _evaluation_records(folder, clips["test"], index_of),
    }


def item(record: Record, _canvas: Canvas, rng: np.random.Generator | None) -> dict[str, Array]:
    """One chunk: a random one, augmented, in training; the first at evaluation.

    A chunk is a second, 101 frames, so the benchmark's padding and cropping to 101 frames have nothing to do. Its
    augmentation is masking, p = 0.5, and noise, p = 0.75: (1 − a)·x + a·noise of the log-mel, a up to 0.5.

    Returns:
        x (1, 96, 102) float32: mel bands × frames in units of 20 dB, mean 0, and a last frame of 0.
        y (200,) float32 in {0, 1}; clip () int64, by which `clip_map_error` puts the chunks of a clip together.
    """
    chunks, noise = record["chunks"], record["noise"]
    x_MF = _normalised(chunks[0 if rng is None else rng.integers(len(chunks))])
    if rng is not None:
        x_MF = _masked(x_MF, rng)
        if len(noise) and rng.random() < _NOISY:
            share = rng.uniform(0.0, _LOUDEST_NOISE)
            noise_MF = _masked(_normalised(noise[rng.integers(len(noise))]), rng)
            x_MF = (1 - share) * x_MF + share * noise_MF
    x = np.zeros((1, NUM_MELS, NUM_FRAMES + 1), np.float32)
    x[0, :, :NUM_FRAMES] = x_MF
    return {"x": x, "y": record["y"].astype(np.float32), "clip": record["clip"]}


def log_mel(waves_BT: Tensor) -> Tensor:
    """Mel spectrograms of waves (B, T) float32 at 22,050 Hz, in dB: (B, 96, 1 + T // 220) float32.

    Power of Hann windows of 30 ms every 10 ms, centred, reflected at the ends (torchaudio's MelSpectrogram); 96
    triangles on the HTK scale from 0 to half the sampling rate, not normalised; 10·log10 of at least 1e-10, and no less
    than 80 dB below the loudest point of the same wave (librosa's power_to_db).
    """
    import torch

    spectrum_BKF = torch.stft(
        waves_BT,
        n_fft=_FFT,
        hop_length=_HOP,
        win_length=_WINDOW,
        window=torch.hann_window(_WINDOW),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power_BKF = spectrum_BKF.real.square() + spectrum_BKF.imag.square()
    mel_BMF = torch.matmul(_mel_filters(), power_BKF)
    level_BMF = 10.0 * mel_BMF.clamp_min(_QUIETEST).log10()
    loudest_B11 = level_BMF.amax(dim=(1, 2), keepdim=True)
    return torch.maximum(level_BMF, loudest_B11 - _RANGE_DB)


@cache
def _mel_filters() -> Tensor:
    """(M, K) float32, K frequencies of the transform."""
    import torch
    from transformers.audio_utils import mel_filter_bank

    filters_KM = mel_filter_bank(
        num_frequency_bins=_FFT // 2 + 1,
        num_mel_filters=NUM_MELS,
        min_frequency=0.0,
        max_frequency=SAMPLING_HZ / 2,
        sampling_rate=SAMPLING_HZ,
        norm=None,
        mel_scale="htk",
    )
    return torch.from_numpy(np.ascontiguousarray(filters_KM.T)).float()


def _levels(waves_BT: npt.NDArray[np.int16]) -> Levels:
    """Chunks (B, T) of PCM → (B, M, F)."""
    import torch

    level_BMF = log_mel(torch.from_numpy(waves_BT.astype(np.float32) / 32768))
    below_BMF = level_BMF.amax(dim=(1, 2), keepdim=True) - level_BMF
    return (255 - (below_BMF / _STEP_DB).round()).to(torch.uint8).numpy()


def _normalised(levels_MF: Levels) -> Array:
    """Mel spectrogram with mean 0, (M, F) float32, in units of 20 dB.

    The benchmark feeds plain decibels; ten times as large as the pixels that a pretrained patch embedding expects, they
    would drown its bias, and with it the level, in the norm that follows.
    """
    x_MF = levels_MF.astype(np.float32)
    x_MF -= x_MF.mean()
    return np.multiply(x_MF, _STEP_DB / _UNIT_DB, dtype=np.float32)


def _masked(x_MF: Array, rng: np.random.Generator) -> Array:
    """SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779): bands and gaps at the lowest level."""
    if rng.random() >= _AUGMENTED:
        return x_MF
    x_MF = x_MF.copy()
    lowest = x_MF.min()
    for _ in range(rng.integers(1, _MOST_MASKS + 1)):
        x_MF[_span(NUM_MELS, _WIDEST_BAND, rng)] = lowest
        x_MF[:, _span(NUM_FRAMES, _LONGEST_GAP, rng)] = lowest
    return x_MF


def _span(size: int, most: float, rng: np.random.Generator) -> slice:
    width = int(rng.uniform(0.0, most) * size)
    start = int(rng.uniform(0.0, size - width))
    return slice(start, start + width)


def _label_map(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a JSON file ({error}); get it again") from error
    if not isinstance(content, dict) or sorted(map(str, content.values())) != sorted(
        map(str, range(NUM_LABELS))
    ):
        raise DataError(f"{path} must give {NUM_LABELS} names the numbers 0 to {NUM_LABELS - 1}, one each")
    return {name: int(index) for name, index in content.items()}


def _clips(folder: Path, table: str, index_of: Mapping[str, int]) -> dict[str, _Clip]:
    """Clips of one table by their id, sorted by it, each with its chunks sorted by name."""
    path = folder / "chunks" / table
    clips: dict[str, _Clip] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{path} must have the columns {', '.join(_COLUMNS)}, found {', '.join(rows.fieldnames or ())}"
                )
            for number, row in enumerate(rows, start=2):
                where = f"{path}, line {number}"
                if not all(row[column] for column in _COLUMNS):
                    raise DataError(f"{where}: files, labels and ext must all be given")
                clip = clips.setdefault(row["ext"], _Clip(row["labels"]))
                _require_labels(row, clip, index_of, where)
                clip.chunks.append(_chunk_name(row["files"], where))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file ({error}); get it again") from error
    if not clips:
        raise DataError(f"{path} names no chunk; every split needs at least one")
    require_files((folder / name for clip in clips.values() for name in clip.chunks), "get the release again")
    for clip in clips.values():
        clip.chunks.sort()
    return {name: clips[name] for name in sorted(clips)}


def _require_labels(row: Mapping[str, str], clip: _Clip, index_of: Mapping[str, int], where: str) -> None:
    if row["labels"] != clip.labels:
        raise DataError(
            f"{where}: clip {row['ext']} has the labels {row['labels']!r} here and {clip.labels!r} before"
        )
    for name in clip.labels.split(","):
        if name not in index_of:
            raise DataError(f"{where}: label {name!r} is not in lbl_map.json")


def _chunk_name(written: str, where: str) -> str:
    """The tables were written where the folder now called `audio` was called `data`."""
    parts = PurePosixPath(written).parts
    if len(parts) < 2 or parts[0] != "data" or ".." in parts:
        raise DataError(f"{where}: files must be of the form data/FOLDER/CHUNK.wav, found {written!r}")
    return "/".join(parts[1:])


def _require_disjoint(clips: Mapping[Split, Mapping[str, _Clip]]) -> None:
    for first, second in combinations(clips, 2):
        if both := clips[first].keys() & clips[second].keys():
            raise DataError(
                f"clip {min(both)} is in {_TABLES[first]} and in {_TABLES[second]}; a clip belongs to one split"
            )


def _training_records(
    folder: Path,
    clips: Mapping[str, _Clip],
    index_of: Mapping[str, int],
    noise: Levels,
    rng: np.random.Generator,
) -> Iterator[Record]:
    for number, clip in enumerate(clips.values()):
        picked = rng.integers(len(noise), size=NOISES_PER_CLIP) if len(noise) else np.empty(0, np.int64)
        yield {
            "chunks": _chunks(folder, clip.chunks),
            "noise": noise[picked],
            "y": _target(clip, index_of),
            "clip": np.asarray(number, np.int64),
        }


def _evaluation_records(
    folder: Path, clips: Mapping[str, _Clip], index_of: Mapping[str, int]
) -> Iterator[Record]:
    none = np.empty((0, NUM_MELS, NUM_FRAMES), np.uint8)
    for number, clip in enumerate(clips.values()):
        y, clip_id = _target(clip, index_of), np.asarray(number, np.int64)
        for levels in _chunks(folder, clip.chunks):
            yield {"chunks": levels[None], "noise": none, "y": y, "clip": clip_id}


def _target(clip: _Clip, index_of: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    y = np.zeros(NUM_LABELS, np.uint8)
    y[[index_of[name] for name in clip.labels.split(",")]] = 1
    return y


def _chunks(folder: Path, names: Sequence[str]) -> Levels:
    with release_at(HOMEPAGE):
        waves = np.stack([_second(_read_wave(folder / name), folder / name) for name in names])
    return np.concatenate([_levels(waves[i : i + _AT_ONCE]) for i in range(0, len(waves), _AT_ONCE)])


def _second(samples: npt.NDArray[np.int16], path: Path) -> npt.NDArray[np.int16]:
    """Shorter chunks are repeated until they fill a second, as the release's own chunks were."""
    if len(samples) > SAMPLING_HZ:
        raise DataError(f"{path} must have at most {SAMPLING_HZ} samples, one second, found {len(samples)}")
    return np.resize(samples, SAMPLING_HZ)


def _noise(folder: Path) -> Levels:
    """Seconds cut from the noise files, evenly spread over each, (n, M, F); none where there is no such folder."""
    chunks: list[Levels] = [np.empty((0, NUM_MELS, NUM_FRAMES), np.uint8)]
    for path in sorted(folder.glob("*.wav")):
        samples = _read_wave(path)
        last = max(0, len(samples) - SAMPLING_HZ)
        starts = np.unique(
            np.linspace(0, last, min(_NOISE_CHUNKS_PER_FILE, 1 + last // SAMPLING_HZ)).astype(int)
        )
        chunks.append(
            _levels(np.stack([np.resize(samples[at : at + SAMPLING_HZ], SAMPLING_HZ) for at in starts]))
        )
    return np.concatenate(chunks)


def _read_wave(path: Path) -> npt.NDArray[np.int16]:
    try:
        with wave.open(str(path), "rb") as file:
            layout = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
            size = file.getnframes()
            # What is announced may be any number, and would be allocated.
            data = file.readframes(min(size, path.stat().st_size)) if layout == _PCM else b""
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, MemoryError, RuntimeError, ValueError, struct.error, wave.Error) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a PCM wave file ({reason}); get it again") from error
    if layout != _PCM:
        raise DataError(
            f"{path} must be {SAMPLING_HZ} Hz, 1 channel, 16 bits, found {layout[0]} Hz, {layout[1]}, {layout[2]}"
        )
    if size == 0 or len(data) != 2 * size:
        raise DataError(
            f"{path} is cut short: {size} samples announced, {len(data) // 2} found; get it again"
        )
    return np.frombuffer(data, "<i2").astype(np.int16)


FSD50K = Task(
    name="fsd50k",
    title="log-mel spectrogram of one second of sound → 200 kinds of sound, any number at once",
    modality=Modality.GRID_2D,
    input_shape=(1, NUM_MELS, NUM_FRAMES + 1),
    output=MultiLabel(NUM_LABELS),
    loss="bce_with_logits",
    loss_options={"pos_weight": 10.0},
    metric=CLIP_MAP_ERROR,
    paper=PaperSettings.of("fsd50k"),
    embedded_provenance="sample",
    homepage=HOMEPAGE,
    # The tables stand for the wave files they name: looking at 800,000 of these takes longer than a trial's start may.
    files=("audio/chunks",),
    read=read,
    make=write_sample,
    item=item,
    ragged=frozenset({"chunks", "noise"}),
)
