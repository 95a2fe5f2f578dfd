from __future__ import annotations

import csv
import json
import math
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks import fsd50k
from pare_tune.tasks.base import MultiLabel
from pare_tune.tasks.fsd50k import FSD50K, NOISES_PER_CLIP, NUM_FRAMES, NUM_MELS, log_mel
from pare_tune.tasks.samples import sounds
from pare_tune.tasks.samples.sounds import EVENTS, LABELS, SAMPLING_HZ, write_sample

CLIPS = {"tr.csv": {"11": 3, "9": 1, "10": 2}, "val.csv": {"21": 2, "22": 1}, "eval.csv": {"31": 4}}
"""Table → clip → chunks."""
LABELS_OF = {
    "11": "name_7,name_3",
    "9": "name_0",
    "10": "name_3",
    "21": "name_199",
    "22": "name_1",
    "31": "name_7",
}


def write_wave(
    path: Path, samples: np.ndarray, rate: int = SAMPLING_HZ, channels: int = 1, width: int = 2
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(clip: str, chunk: int) -> np.ndarray:
    """A chunk of its own for every clip and number."""
    hz = 200 + 37 * int(clip) + 500 * chunk
    return 9000 * np.sin(2 * np.pi * hz * np.arange(SAMPLING_HZ) / SAMPLING_HZ)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of the documented layout, as small as can be: rows in no order, ids that sort as text."""
    audio = tmp_path / "audio"
    for table, clips in CLIPS.items():
        rows = []
        for clip, count in clips.items():
            for chunk in range(count):
                name = f"some_chunks/{clip}_{chunk:04d}.wav"
                write_wave(audio / name, tone(clip, chunk))
                rows.append((f"data/{name}", LABELS_OF[clip], clip))
        write_table(audio / "chunks" / table, rows[::-1])
    (audio / "chunks" / "lbl_map.json").write_text(json.dumps({f"name_{i}": i for i in range(200)}))
    return tmp_path


def write_table(path: Path, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("files", "labels", "ext"), *rows])


def add_noise(root: Path, count: int, seconds: float = 3.0) -> None:
    for i in range(count):
        noise = np.random.default_rng(i).normal(0, 3000, int(seconds * SAMPLING_HZ))
        write_wave(root / "audio" / "noise_22050" / f"noise-{i}.wav", noise)


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in FSD50K.read(root, seed).items()}


def loudest_hz(levels: np.ndarray) -> float:
    """Centre of the loudest mel band of (M, F)."""
    top = 2595 * math.log10(1 + SAMPLING_HZ / 2 / 700)
    band = int(levels.astype(float).mean(axis=1).argmax())
    return 700 * (10 ** (top * (band + 1) / (NUM_MELS + 1) / 2595) - 1)


# The transform -----------------------------------------------------------------------------------------------------


def reflected(wave_T: list[float], index: int) -> float:
    last = len(wave_T) - 1
    while not 0 <= index <= last:
        index = -index if index < 0 else 2 * last - index
    return wave_T[index]


def log_mel_by_hand(wave_T: list[float]) -> np.ndarray:
    """The definition, frame by frame, frequency by frequency, band by band."""
    n_fft, window, hop = 1920, int(0.03 * 22050), int(0.01 * 22050)
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)]
    offset = (n_fft - window) // 2
    steps = np.arange(window) + offset
    top = 2595 * math.log10(1 + 11025 / 700)
    edges = [700 * (10 ** (top * i / 97 / 2595) - 1) for i in range(98)]
    columns = []
    for frame in range(1 + len(wave_T) // hop):
        start = frame * hop - n_fft // 2 + offset
        seen = np.array([hann[n] * reflected(wave_T, start + n) for n in range(window)])
        power = []
        for k in range(n_fft // 2 + 1):
            angle = 2 * math.pi * k * steps / n_fft
            power.append(float(seen @ np.cos(angle)) ** 2 + float(seen @ np.sin(angle)) ** 2)
        bands = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k in range(int(low / 11025 * 960), min(960, int(high / 11025 * 960) + 1) + 1):
                hz = 11025 * k / 960
                total += power[k] * max(0.0, min((hz - low) / (centre - low), (high - hz) / (high - centre)))
            bands.append(10 * math.log10(max(total, 1e-10)))
        columns.append(bands)
    level = np.array(columns).T
    return np.maximum(level, level.max() - 80)


def test_log_mel_equals_the_loops() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1100)
    wave_T = 0.3 * np.sin(0.2 * steps + 1e-4 * steps**2) + 1e-3 * rng.normal(size=1100)
    found = log_mel(torch.from_numpy(wave_T.astype(np.float32))[None])[0].numpy()
    assert found.shape == (96, 6)
    np.testing.assert_allclose(found, log_mel_by_hand(wave_T.astype(np.float32).tolist()), atol=2e-3)


def test_every_wave_has_a_floor_of_its_own_and_silence_is_one_level() -> None:
    waves = torch.stack(
        [
            torch.sin(torch.arange(22050) * 0.3),
            1e-3 * torch.sin(torch.arange(22050) * 0.3),
            torch.zeros(22050),
        ]
    )
    loud, quiet, silent = log_mel(waves)
    assert float(loud.max() - loud.min()) == pytest.approx(80, abs=1e-3)
    assert float(quiet.max()) == pytest.approx(float(loud.max()) - 60, abs=1e-2)
    assert float(silent.max()) == float(silent.min()) == pytest.approx(-100, abs=1e-3)


def test_levels_lose_at_most_a_sixth_of_a_decibel(release: Path) -> None:
    rng = np.random.default_rng(0)
    samples = (6000 * rng.normal(size=SAMPLING_HZ) * np.linspace(0, 1, SAMPLING_HZ) ** 3).astype(np.int16)
    write_wave(release / "audio/some_chunks/9_0000.wav", samples)
    exact = log_mel(torch.from_numpy(samples.astype(np.float32) / 32768)[None])[0].numpy()
    record = next(r for r in read(release)["train"] if r["y"][0])
    x = FSD50K.item(record, None, None)["x"][0, :, :NUM_FRAMES]
    assert np.abs(20 * x - (exact - exact.mean())).max() < 1 / 6
    assert exact.max() - exact.min() > 60


# Records and items -------------------------------------------------------------------------------------------------


def test_a_training_record_is_a_clip_and_an_evaluation_record_is_a_chunk(release: Path) -> None:
    splits = read(release)
    assert [(len(r["chunks"]), int(r["clip"])) for r in splits["train"]] == [(2, 0), (3, 1), (1, 2)]  # by id
    assert [(len(r["chunks"]), int(r["clip"])) for r in splits["val"]] == [(1, 0), (1, 0), (1, 1)]
    assert [int(r["clip"]) for r in splits["test"]] == [0, 0, 0, 0]
    assert [np.flatnonzero(r["y"]).tolist() for r in splits["train"]] == [[3], [3, 7], [0]]
    assert [np.flatnonzero(r["y"]).tolist() for r in splits["val"]] == [[199], [199], [1]]
    for clip, records in (
        ("11", [splits["train"][1]["chunks"][i] for i in range(3)]),
        ("31", [r["chunks"][0] for r in splits["test"]]),
    ):
        for chunk, levels in enumerate(records):
            assert levels.shape == (NUM_MELS, NUM_FRAMES)
            assert levels.max() == 255
            assert loudest_hz(levels) == pytest.approx(200 + 37 * int(clip) + 500 * chunk, rel=0.04)


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    add_noise(release, 1)
    for split, records in FSD50K.read(release, 0).items():
        write_store(release / f"{split}.arrow", records, ragged=FSD50K.ragged)
        store = Store(release / f"{split}.arrow")
        for rng in (
            None,
            np.random.default_rng(0),
        ):  # validation is trained on when the final model takes both
            item = FSD50K.item(store[0], None, rng)
            assert item["x"].shape == FSD50K.input_shape
            assert item["x"].dtype == item["y"].dtype == np.float32
            assert item["y"].shape == (200,)
            assert item["clip"].dtype == np.int64
    assert store[0]["chunks"].dtype == np.uint8
    assert FSD50K.output == MultiLabel(200)


def test_a_short_chunk_is_repeated_until_it_fills_a_second(release: Path) -> None:
    short = np.random.default_rng(0).normal(0, 3000, 5000)
    write_wave(release / "audio/some_chunks/22_0000.wav", short)
    found = read(release)["val"][2]["chunks"]
    write_wave(release / "audio/some_chunks/22_0000.wav", np.resize(short, SAMPLING_HZ))
    np.testing.assert_array_equal(found, read(release)["val"][2]["chunks"])


def test_evaluation_items_are_plain_and_training_items_are_drawn_anew(release: Path) -> None:
    add_noise(release, 2)
    record = read(release)["train"][1]
    plain = [FSD50K.item(record, None, None)["x"] for _ in range(2)]
    np.testing.assert_array_equal(*plain)
    assert plain[0][..., :-1].mean() == pytest.approx(0, abs=1e-6)
    assert not plain[0][..., -1].any()
    drawn = [FSD50K.item(record, None, np.random.default_rng(seed))["x"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_training_draws_any_chunk_and_masks_bands_and_gaps_of_half_of_them() -> None:
    rng = np.random.default_rng(0)
    chunks = rng.integers(60, 256, (3, NUM_MELS, NUM_FRAMES), dtype=np.uint8)
    plain = [(c - c.mean()) * (80 / 255 / 20) for c in chunks.astype(np.float64)]
    none = np.empty((0, NUM_MELS, NUM_FRAMES), np.uint8)
    record = {"chunks": chunks, "noise": none, "y": np.zeros(200, np.uint8), "clip": np.int64(0)}
    drawn, num_rows, num_columns = [], [], []
    for seed in range(400):
        x = FSD50K.item(record, None, np.random.default_rng(seed))["x"][0, :, :NUM_FRAMES]
        changes = [np.abs(x - c) > 1e-4 for c in plain]
        drawn.append(int(np.argmin([c.mean() for c in changes])))
        lowest = np.abs(x - plain[drawn[-1]].min()) < 1e-4
        rows, columns = lowest.all(axis=1), lowest.all(axis=0)
        assert not (changes[drawn[-1]] & ~rows[:, None] & ~columns).any()
        num_rows.append(rows.sum())
        num_columns.append(columns.sum())
    assert np.bincount(drawn).min() > 100
    masked = np.maximum(num_rows, num_columns) > 0
    assert masked.mean() == pytest.approx(0.5, abs=0.08)
    assert 14 < max(num_rows) <= 2 * int(0.15 * NUM_MELS)
    assert 20 < max(num_columns) <= 2 * int(0.2 * NUM_FRAMES)


def test_noise_takes_up_to_half_of_three_quarters_of_the_training_items(release: Path) -> None:
    record = read(release)["train"][2]
    assert record["noise"].shape == (0, NUM_MELS, NUM_FRAMES)
    silence = np.full((2, NUM_MELS, NUM_FRAMES), 255, np.uint8)  # level everywhere: it only weakens the chunk
    shares = []
    for seed in range(400):
        clean, mixed = (
            FSD50K.item({**record, "noise": noise}, None, np.random.default_rng(seed))["x"].ravel()
            for noise in (record["noise"], silence)
        )
        shares.append(1 - float(mixed @ clean / (clean @ clean)))
        np.testing.assert_allclose(mixed, (1 - shares[-1]) * clean, atol=1e-4)
    found = np.array(shares)[np.array(shares) > 1e-6]
    assert len(found) / len(shares) == pytest.approx(0.75, abs=0.07)
    assert 0.48 < found.max() <= 0.5
    assert found.mean() == pytest.approx(0.25, abs=0.02)


def test_noise_comes_from_seconds_of_the_noise_files(release: Path) -> None:
    write_wave(release / "audio/noise_22050/hum.wav", np.tile(tone("0", 4), 3))
    (record,) = [r for r in read(release)["train"] if r["clip"] == 2]
    assert record["noise"].shape == (NOISES_PER_CLIP, NUM_MELS, NUM_FRAMES)
    assert [loudest_hz(n) for n in record["noise"]] == pytest.approx([2200, 2200], rel=0.03)
    clean, noise = (
        (c - c.mean()).ravel() for c in (record["chunks"][0].astype(float), record["noise"][0].astype(float))
    )
    found = []
    for seed in range(60):
        x = FSD50K.item(record, None, np.random.default_rng(seed))["x"][0, :, :NUM_FRAMES].ravel()
        shares, *_ = np.linalg.lstsq(np.stack([clean, noise], axis=1) * (80 / 255 / 20), x)
        if np.abs(x - np.stack([clean, noise], axis=1) @ shares * (80 / 255 / 20)).max() < 1e-4:
            found.append(shares)  # nothing is masked
    assert len(found) > 5
    np.testing.assert_allclose(np.sum(found, axis=1), 1.0, atol=1e-4)
    assert max(share for _, share in found) > 0.1


def test_noise_of_evaluation_records_is_none_and_of_training_records_is_fixed_by_the_seed(
    release: Path,
) -> None:
    add_noise(release, 4)
    first, again, other = (read(release, seed) for seed in (0, 0, 1))
    for split in ("val", "test"):
        assert all(len(r["noise"]) == 0 for r in first[split])
    pairs = [[r["noise"].tobytes() for r in splits["train"]] for splits in (first, again, other)]
    assert pairs[0] == pairs[1] != pairs[2]
    assert len(set(pairs[0])) == 3


# What is wrong with a release --------------------------------------------------------------------------------------


def table(name: str, change: Callable[[list[list[str]]], list[list[str]]]) -> Callable[[Path], None]:
    def act(audio: Path) -> None:
        path = audio / "chunks" / name
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(change(rows))

    return act


def label_map(text: str) -> Callable[[Path], None]:
    return lambda audio: (audio / "chunks" / "lbl_map.json").write_text(text) and None


def cell(row: int, column: int, value: str) -> Callable[[list[list[str]]], list[list[str]]]:
    def change(rows: list[list[str]]) -> list[list[str]]:
        rows[row][column] = value
        return rows

    return change


def chunk(act: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(audio: Path) -> None:
        act(audio / "some_chunks" / "21_0001.wav")

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: (a / "chunks/val.csv").unlink(), r"cannot read .*val\.csv: No such file"),
        (lambda a: (a / "chunks/lbl_map.json").unlink(), r"cannot read .*lbl_map\.json: No such file"),
        (label_map("{"), r"lbl_map\.json is not a JSON file"),
        (label_map("[1, 2]"), r"must give 200 names the numbers 0 to 199"),
        (label_map(json.dumps({f"name_{i}": i for i in range(199)})), r"must give 200 names"),
        (label_map(json.dumps({f"name_{i}": min(i, 198) for i in range(200)})), r"must give 200 names"),
        (table("val.csv", lambda rows: rows[:1]), r"val\.csv names no chunk"),
        (
            table("val.csv", cell(0, 2, "clip")),
            r"must have the columns files, labels, ext, found files, labels, clip",
        ),
        (
            table("val.csv", cell(1, 1, "name_1,frog")),
            r"val\.csv, line 2: label 'frog' is not in lbl_map\.json",
        ),
        (table("val.csv", cell(1, 1, "")), r"val\.csv, line 2: files, labels and ext must all be given"),
        (
            table("val.csv", cell(3, 1, "name_5")),
            r"line 4: clip 21 has the labels 'name_5' here and 'name_199' before",
        ),
        (table("val.csv", cell(1, 0, "some_chunks/22_0000.wav")), r"line 2: files must be of the form data/"),
        (table("val.csv", cell(1, 0, "data/../../22_0000.wav")), r"line 2: files must be of the form data/"),
        (table("val.csv", lambda rows: [*rows, ["data/x"]]), r"val\.csv, line 5: files, labels and ext must"),
        (
            table("val.csv", cell(1, 2, "11")),
            r"clip 11 is in tr\.csv and in val\.csv; a clip belongs to one split",
        ),
        (table("eval.csv", cell(1, 2, "22")), r"clip 22 is in val\.csv and in eval\.csv"),
        (
            lambda a: (a / "chunks/val.csv").write_bytes(b"files,labels,ext\n\xff\xfe,a,b\n"),
            r"val\.csv is not a CSV file",
        ),
        (chunk(Path.unlink), r"21_0001\.wav is missing"),
        (chunk(lambda p: p.write_bytes(b"no wave")), r"21_0001\.wav is not a PCM wave file"),
        (
            chunk(lambda p: p.write_bytes(p.read_bytes()[:-10])),
            r"is cut short: 22050 samples announced, 22045 found",
        ),
        (chunk(lambda p: write_wave(p, np.zeros(0))), r"is cut short: 0 samples announced"),
        (
            chunk(lambda p: write_wave(p, np.zeros(9), rate=44100)),
            r"22050 Hz, 1 channel, 16 bits, found 44100 Hz, 1, 16",
        ),
        (chunk(lambda p: write_wave(p, np.zeros(8), channels=2)), r"found 22050 Hz, 2, 16"),
        (chunk(lambda p: write_wave(p, np.zeros(8), width=4)), r"found 22050 Hz, 1, 32"),
        (chunk(lambda p: write_wave(p, np.zeros(22051))), r"at most 22050 samples, one second, found 22051"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(release / "audio")
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert FSD50K.homepage in str(caught.value)


def test_a_float_wave_is_refused(release: Path) -> None:
    path = release / "audio/some_chunks/21_0001.wav"
    data = bytearray(path.read_bytes())
    data[20] = 3  # the format code of floating-point samples
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"21_0001\.wav is not a PCM wave file \(unknown format: 3\)"):
        read(release)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*audio/chunks; it holds tr\.csv"):
        read(tmp_path)


# The sample --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with fewer clips."""
    root = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sounds, "SPLIT_SIZES", {"tr": 150, "val": 20, "eval": 20})
        write_sample(root, 0)
    return root


def test_the_sample_has_the_releases_layout(small_sample: Path) -> None:
    audio = small_sample / "audio"
    names = json.loads((audio / "chunks/lbl_map.json").read_text())
    assert sorted(names.values()) == list(range(200))
    assert len(LABELS) == 19
    splits = read(small_sample)
    assert len(splits["train"]) == 150
    assert {int(r["clip"]) for r in splits["val"]} == set(range(20))
    used = np.array([r["y"] for r in splits["train"]]).sum(axis=0)
    assert (used[: len(LABELS)] > 0).all()
    assert not used[len(LABELS) :].any()
    assert all(len(r["noise"]) == NOISES_PER_CLIP for r in splits["train"])
    assert {1, 3, 4} <= {len(r["chunks"]) for r in splits["train"]}
    for path in list(audio.rglob("*_chunks/*.wav"))[:20]:
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLING_HZ, 1, 2)
            assert file.getnframes() == SAMPLING_HZ


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "SPLIT_SIZES", {"tr": 12, "val": 4, "eval": 4})
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        write_sample(tmp_path / name, seed)
    files = {
        name: {
            p.relative_to(tmp_path / name): p.read_bytes()
            for p in (tmp_path / name).rglob("*")
            if p.is_file()
        }
        for name in ("first", "again", "other")
    }
    assert len(files["first"]) > 40
    assert files["first"] == files["again"]
    assert files["first"] != files["other"]


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_every_kind_sounds_however_short(kind: str) -> None:
    for seed in range(20):
        t = np.arange(int(0.4 * SAMPLING_HZ)) / SAMPLING_HZ
        sound = EVENTS[kind][1](np.random.default_rng(seed), t)
        assert sound.shape == t.shape
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() > 1e-3


def test_rising_and_falling_chirps_are_told_apart_by_where_the_loudest_band_moves(small_sample: Path) -> None:
    slopes: dict[str, list[float]] = {"rising_chirp": [], "falling_chirp": []}
    for record in read(small_sample)["train"]:
        names = {LABELS[i] for i in np.flatnonzero(record["y"])} & EVENTS.keys()
        for kind in slopes:
            if names == {kind}:
                levels = record["chunks"][0].astype(float)
                loud = levels.max(axis=0) > 220
                band = levels.argmax(axis=0)[loud]
                slopes[kind].append(float(np.median(np.diff(band))) + float(np.diff(band).clip(-2, 2).mean()))
    assert min(map(len, slopes.values())) >= 3
    assert np.mean(np.array(slopes["rising_chirp"]) > 0) > 0.8
    assert np.mean(np.array(slopes["falling_chirp"]) < 0) > 0.8


def test_the_test_split_is_not_touched_by_the_search(release: Path) -> None:
    for path in (release / "audio/some_chunks").glob("31_*.wav"):
        path.write_bytes(b"damaged")
    splits = FSD50K.read(release, 0)
    assert len(list(splits["train"])) == 3
    with pytest.raises(DataError, match="31_0000"):
        list(splits["test"])
    assert fsd50k.FSD50K.paper.score == 0.55
