from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import find_peaks

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks.ecg import CLASSES, ECG, EVALUATION_STRIDE, FILE, TRAIN_STRIDES, WINDOW
from pare_tune.tasks.samples.heart import RECORDINGS, SAMPLING_HZ, write_sample

LENGTH = 2100


def write(root: Path, data: Any, label: Any) -> None:
    (root / FILE).write_bytes(pickle.dumps({"data": data, "label": label}, protocol=2))


def recordings(count: int, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    data = np.empty(count, dtype=object)
    for i in range(count):
        data[i] = rng.integers(-2000, 2000, length).astype(np.int16)
    return data, np.array([CLASSES[i % 4] for i in range(count)], dtype=object)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write(tmp_path, *recordings(40))
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 0)
    return root


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in ECG.read(root, seed).items()}


def origin(root: Path, stride_of: dict[str, int]) -> dict[bytes, tuple[int, str]]:
    """Every window that a stride allows → (recording, label), standardised independently of the loader."""
    content = pickle.loads((root / FILE).read_bytes())
    windows = {}
    for index, (signal, label) in enumerate(zip(content["data"], content["label"], strict=True)):
        wide = signal.astype(np.float64)
        standard = ((wide - wide.mean()) / wide.std(ddof=0)).astype(np.float16)
        for start in range(0, len(signal) - WINDOW + 1, stride_of[label]):
            windows[standard[start : start + WINDOW].tobytes()] = (index, label)
    return windows


def test_windows_are_cut_after_the_split_so_that_no_recording_is_in_two(release: Path) -> None:
    evaluation = dict.fromkeys(CLASSES, EVALUATION_STRIDE)
    owners: dict[str, set[int]] = {}
    for split, records in read(release).items():
        known = origin(release, dict(TRAIN_STRIDES) if split == "train" else evaluation)
        found = [known[r["x"].tobytes()] for r in records]
        assert [CLASSES[int(r["y"])] for r in records] == [label for _, label in found]
        owners[split] = {index for index, _ in found}
        # Every window of every recording of the split is there, the one that ends at its last sample included.
        assert len(records) == sum(index in owners[split] for index, _ in known.values())
    assert not owners["train"] & owners["val"]
    assert not owners["train"] & owners["test"]
    assert not owners["val"] & owners["test"]
    assert set.union(*owners.values()) == set(range(40))


def test_training_oversamples_rare_classes_and_evaluation_does_not(release: Path) -> None:
    splits = read(release)
    per_recording = {label: len(range(0, LENGTH - WINDOW + 1, TRAIN_STRIDES[label])) for label in CLASSES}
    assert Counter(CLASSES[int(r["y"])] for r in splits["train"]) == {
        k: 5 * n for k, n in per_recording.items()
    }
    assert per_recording == {"N": 3, "A": 14, "O": 5, "~": 45}
    for split in ("val", "test"):
        recordings_of = {
            label: n // 3 for label, n in Counter(CLASSES[int(r["y"])] for r in splits[split]).items()
        }
        assert set(recordings_of.values()) <= {2, 3}
        assert sum(recordings_of.values()) == 10


def test_a_large_release_is_split_80_10_10(tmp_path: Path) -> None:
    write(tmp_path, *recordings(1000, WINDOW))
    sizes = {split: len(records) for split, records in read(tmp_path).items()}
    assert sizes == {"train": 800, "val": 100, "test": 100}


def test_the_split_is_fixed_by_the_seed(release: Path) -> None:
    first, again, other = ([r["x"].tobytes() for r in read(release, seed)["test"]] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "val.arrow", ECG.read(release, 0)["val"])
    store = Store(release / "val.arrow")
    assert store[0]["x"].shape == ECG.input_shape
    assert store.column("x").dtype == np.float16


def test_lists_and_bytes_labels_of_older_pickles_are_read(tmp_path: Path) -> None:
    data, label = recordings(40)
    write(tmp_path, list(data), [str(v).encode() for v in label])
    assert len(read(tmp_path)["train"]) > 0


def nan(data: np.ndarray, label: np.ndarray) -> None:
    data[7] = np.where(np.arange(LENGTH) == 5, np.nan, 1.0 * data[7])


def text(data: np.ndarray, label: np.ndarray) -> None:
    data[7] = np.array(["a"] * LENGTH)


def matrix(data: np.ndarray, label: np.ndarray) -> None:
    data[7] = np.zeros((2, LENGTH))


def short(data: np.ndarray, label: np.ndarray) -> None:
    data[7] = data[7][:999]


def constant(data: np.ndarray, label: np.ndarray) -> None:
    data[7] = np.full(LENGTH, 3)


def unknown(data: np.ndarray, label: np.ndarray) -> None:
    label[7] = "X"


def single(data: np.ndarray, label: np.ndarray) -> None:
    label[:] = "N"
    label[0] = "A"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan, r"recording 7 must be finite, found nan at index \[5\]"),
        (text, r"recording 7 must be int or uint or float, found <U1"),
        (matrix, r"recording 7 must have shape \(any,\), found \(2, 2100\)"),
        (short, r"recording 7 must have at least 1000 samples, found 999"),
        (constant, r"recording 7 is constant \(3\)"),
        (unknown, r"label 7 must be one of N, A, O, ~, found 'X'"),
        (single, r"40 recordings cannot be split by class"),
    ],
)
def test_a_bad_recording_is_named_with_what_was_expected(
    tmp_path: Path, damage: Callable[[np.ndarray, np.ndarray], None], message: str
) -> None:
    data, label = recordings(40)
    damage(data, label)
    write(tmp_path, data, label)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)
    assert ECG.homepage in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1, 2]), r"must hold a dict with keys data and label, found list"),
        (pickle.dumps({"data": [], "labels": []}), r"found keys \['data', 'labels'\]"),
        (pickle.dumps({"data": "abc", "label": []}), r"data must be an array or a list, found str"),
        (pickle.dumps({"data": [np.zeros(3)], "label": []}), r"holds 1 recordings and 0 labels"),
        (pickle.dumps({"data": [np.arange(2000)] * 9, "label": ["N"] * 9})[:-50], r"not a (whole )?pickle"),
    ],
)
def test_another_pickle_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"challenge2017\.pkl.*{ECG.homepage}"):
        read(tmp_path)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    write(tmp_path, Attack(), ["N"])
    with pytest.raises(UnsafePickle):
        read(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_sample_holds_the_challenges_classes_at_its_rate_and_length(sample: Path) -> None:
    content = pickle.loads((sample / FILE).read_bytes())
    assert Counter(content["label"].tolist()) == RECORDINGS
    seconds = np.array([len(signal) for signal in content["data"]]) / SAMPLING_HZ
    assert seconds.min() >= 9.0
    assert seconds.max() <= 61.0
    assert len(set(seconds)) > 50
    splits = read(sample)
    assert 400 <= len(splits["train"]) <= 1000
    for split in ("val", "test"):
        assert len(splits[split]) >= 100
        assert {int(r["y"]) for r in splits[split]} == {0, 1, 2, 3}


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", 0)
    write_sample(tmp_path / "other", 1)
    assert (tmp_path / "again" / FILE).read_bytes() == (sample / FILE).read_bytes()
    assert (tmp_path / "other" / FILE).read_bytes() != (sample / FILE).read_bytes()


def beat_irregularity(signal: np.ndarray) -> float:
    """Spread of the beats' lengths over their mean; beats are the steepest places."""
    steep = np.convolve(np.abs(np.diff(signal.astype(float))), np.ones(15) / 15, mode="same")
    peaks, _ = find_peaks(steep, height=0.45 * np.quantile(steep, 0.995), distance=SAMPLING_HZ // 4)
    lengths = np.diff(peaks)
    return float(lengths.std() / lengths.mean())


def test_fibrillation_beats_irregularly_and_normal_rhythm_does_not(sample: Path) -> None:
    content = pickle.loads((sample / FILE).read_bytes())
    spread = {
        label: [
            beat_irregularity(s) for s, c in zip(content["data"], content["label"], strict=True) if c == label
        ]
        for label in ("N", "A")
    }
    assert np.median(spread["N"]) < 0.06
    assert np.median(spread["A"]) > 0.15
