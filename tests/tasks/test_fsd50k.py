from __future__ import annotations

import csv
import filecmp
import json
import math
import shutil
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pare_tune.errors import DataError
from pare_tune.tasks.fsd50k import NUM_FRAMES, NUM_MELS, item, log_mel, read
from pare_tune.tasks.samples.sounds import NUM_LABELS, SAMPLING_HZ, write_sample

TABLES = {"train": "tr.csv", "val": "val.csv", "test": "eval.csv"}
NAMES = [f"sound_{i}" for i in range(NUM_LABELS)]


def write_wave(
    path: Path, samples: npt.NDArray[np.int16], rate: int = SAMPLING_HZ, channels: int = 1
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(hz: float, seconds: float = 1.0) -> npt.NDArray[np.int16]:
    t = np.arange(int(seconds * SAMPLING_HZ)) / SAMPLING_HZ
    return (8000 * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def write_table(audio: Path, split: str, clips: dict[str, tuple[str, int]]) -> None:
    with (audio / "chunks" / TABLES[split]).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["files", "labels", "ext"])
        for clip, (labels, chunks) in clips.items():
            for index in range(chunks):
                rows.writerow([f"data/{split}/{clip}_{index:04d}.wav", labels, clip])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fsd50k")
    audio = root / "audio"
    (audio / "chunks").mkdir(parents=True)
    (audio / "chunks" / "lbl_map.json").write_text(json.dumps({name: i for i, name in enumerate(NAMES)}))
    for number, split in enumerate(TABLES):
        clips = {f"{number}{i}": (f"sound_{i},sound_{i + 7}", i + 1) for i in range(3)}
        write_table(audio, split, clips)
        for clip, (_, chunks) in clips.items():
            for index in range(chunks):
                write_wave(
                    audio / split / f"{clip}_{index:04d}.wav", tone(300.0 * (index + 1), 0.6 + 0.2 * index)
                )
    write_wave(audio / "noise_22050" / "hum.wav", tone(50.0, 2.5))
    return root


@pytest.fixture
def release(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "release"))


def everything(root: Path) -> None:
    for records in read(root, 0).values():
        for _ in records:
            pass


def test_a_training_record_is_a_clip_and_an_evaluation_record_a_chunk(pristine: Path) -> None:
    splits = {split: list(records) for split, records in read(pristine, 0).items()}
    assert [len(r["chunks"]) for r in splits["train"]] == [1, 2, 3]
    assert [len(r["noise"]) for r in splits["train"]] == [2, 2, 2]
    assert [int(r["clip"]) for r in splits["val"]] == [0, 1, 1, 2, 2, 2]
    assert all(len(r["chunks"]) == 1 and len(r["noise"]) == 0 for r in splits["val"] + splits["test"])
    for record in splits["train"]:
        assert record["chunks"].dtype == np.uint8
        assert record["chunks"].shape[1:] == (NUM_MELS, NUM_FRAMES)
        assert np.flatnonzero(record["y"]).tolist() == [int(record["clip"]), int(record["clip"]) + 7]


def test_items_have_the_benchmarks_shape_and_evaluation_repeats(pristine: Path) -> None:
    record = list(read(pristine, 0)["train"])[2]
    plain, again = item(record, None, None), item(record, None, None)
    assert plain["x"].shape == (1, NUM_MELS, NUM_FRAMES + 1)
    assert plain["x"].dtype == plain["y"].dtype == np.float32
    np.testing.assert_array_equal(plain["x"], again["x"])
    assert not plain["x"][..., -1].any(), "the padded frame"
    drawn = [item(record, None, np.random.default_rng(i))["x"] for i in range(6)]
    assert len({x.tobytes() for x in drawn}) == 6, "training draws chunks, masks and noise anew"


def test_the_spectrogram_is_that_of_a_plain_transform() -> None:
    rng = np.random.default_rng(0)
    wave_T = (rng.standard_normal(3000) * 0.1).astype(np.float32)
    found_MF = log_mel(torch.from_numpy(wave_T)[None])[0].numpy()
    fft, window, hop = 1920, 661, 220
    padded = np.pad(wave_T.astype(np.float64), fft // 2, mode="reflect")
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    whole = np.zeros(fft)
    whole[(fft - window) // 2 : (fft - window) // 2 + window] = shape
    edges_mel = np.linspace(0.0, 2595 * math.log10(1 + SAMPLING_HZ / 2 / 700), NUM_MELS + 2)
    edges = [700 * (10 ** (m / 2595) - 1) for m in edges_mel]
    hz = np.arange(fft // 2 + 1) * SAMPLING_HZ / fft
    expected = np.zeros((NUM_MELS, 1 + 3000 // hop))
    for frame in range(expected.shape[1]):
        power = np.abs(np.fft.rfft(padded[frame * hop : frame * hop + fft] * whole)) ** 2
        for band in range(NUM_MELS):
            low, peak, high = edges[band : band + 3]
            rising, falling = (hz - low) / (peak - low), (high - hz) / (high - peak)
            expected[band, frame] = (np.minimum(rising, falling).clip(0) * power).sum()
    expected = 10 * np.log10(np.maximum(expected, 1e-10))
    expected = np.maximum(expected, expected.max() - 80)
    np.testing.assert_allclose(found_MF, expected, atol=0.05)


def test_a_tone_lies_in_its_band(pristine: Path) -> None:
    x = item(next(iter(read(pristine, 0)["val"])), None, None)["x"][0, :, 50]
    mel = 2595 * math.log10(1 + 300 / 700)
    top = 2595 * math.log10(1 + SAMPLING_HZ / 2 / 700)
    assert abs(int(x.argmax()) - mel / top * (NUM_MELS + 1)) < 2


def test_splits_share_no_clip(release: Path) -> None:
    write_table(release / "audio", "val", {"00": ("sound_0", 1)})
    shutil.copytree(release / "audio" / "train", release / "audio" / "val", dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"clip 00 is in tr\.csv and in val\.csv"):
        everything(release)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda a: shutil.rmtree(a / "chunks"), "no folder"),
        (lambda a: (a / "chunks" / "tr.csv").unlink(), r"tr\.csv"),
        (lambda a: (a / "chunks" / "lbl_map.json").write_text("{"), "not a JSON"),
        (lambda a: (a / "chunks" / "lbl_map.json").write_text('{"a": 0}'), "200 names"),
        (lambda a: (a / "chunks" / "val.csv").write_text("x,y\n1,2\n"), "columns"),
        (lambda a: (a / "chunks" / "val.csv").write_text("files,labels,ext\n"), "at least one"),
        (lambda a: write_table(a, "val", {"10": ("nothing", 1)}), "'nothing' is not in lbl_map"),
        (lambda a: (a / "val" / "10_0000.wav").unlink(), r"no file .*10_0000\.wav"),
        (lambda a: (a / "val" / "10_0000.wav").write_bytes(b"RIFF"), "PCM wave"),
        (lambda a: write_wave(a / "val" / "10_0000.wav", tone(300), rate=44100), "22050 Hz"),
        (lambda a: write_wave(a / "val" / "10_0000.wav", tone(300), channels=2), "1 channel"),
        (lambda a: write_wave(a / "val" / "10_0000.wav", tone(300, 2.0)), "one second"),
        (lambda a: write_wave(a / "val" / "10_0000.wav", tone(300, 0.0)), "cut short"),
        (
            lambda a: (a / "val" / "10_0000.wav").write_bytes((a / "val" / "10_0000.wav").read_bytes()[:-999]),
            "cut short",
        ),
        (
            lambda a: (a / "chunks" / "val.csv").write_text("files,labels,ext\ndata/../../x.wav,sound_1,9\n"),
            "data/FOLDER/CHUNK",
        ),
    ],
)  # fmt: skip
def test_a_wrong_release_is_one_message(break_it, message: str, release: Path) -> None:
    break_it(release / "audio")
    with pytest.raises(DataError, match=message):
        everything(release)


def test_the_sample_is_the_same_twice_and_read_whole(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_sample(tmp_path / name, 0)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    same, different, broken = filecmp.cmpfiles(
        tmp_path / "a", tmp_path / "b", [str(f) for f in files], shallow=False
    )
    assert len(same) == len(files) > 100
    assert not different
    assert not broken
    labels = sum(record["y"].astype(int) for record in read(tmp_path / "a", 0)["val"])
    assert (labels > 0).sum() >= 15, "a score needs labels that occur"
