from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks.base import Point
from pare_tune.tasks.ninapro import NINAPRO
from pare_tune.tasks.samples.emg import NUM_GESTURES, SPLIT_SIZES, write_sample

SIZES = {"train": 6, "val": 4, "test": 5}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 0)
    return root


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of the documented layout, as small as can be."""
    rng = np.random.default_rng(0)
    (tmp_path / "ninaPro").mkdir()
    for split, size in SIZES.items():
        np.save(tmp_path / f"ninaPro/ninapro_{split}.npy", rng.normal(size=(size, 52, 16)))
        np.save(tmp_path / f"ninaPro/label_{split}.npy", rng.integers(0, 18, size).astype(np.float64))
    return tmp_path


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in NINAPRO.read(root, 0).items()}


def load(root: Path, kind: str, split: str) -> np.ndarray:
    return np.load(root / f"ninaPro/{kind}_{split}.npy")


def test_the_release_is_read_split_by_split_with_electrodes_as_rows(release: Path) -> None:
    splits = read(release)
    assert {split: len(records) for split, records in splits.items()} == SIZES
    for split, records in splits.items():
        x = np.stack([r["x"] for r in records])
        assert x.dtype == np.float32
        np.testing.assert_allclose(x[:, 0], load(release, "ninapro", split).transpose(0, 2, 1), rtol=1e-6)
        np.testing.assert_array_equal([r["y"] for r in records], load(release, "label", split))


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    path = release / "train.arrow"
    write_store(path, NINAPRO.read(release, 0)["train"])
    record = Store(path)[0]
    assert record["x"].shape == NINAPRO.input_shape
    assert record["y"].dtype == np.int64
    assert NINAPRO.output == Point(18)


def test_the_folder_may_be_spelled_as_the_benchmarks_scripts_do(release: Path) -> None:
    (release / "ninaPro").rename(release / "ninapro")
    assert len(read(release)["train"]) == SIZES["train"]


def replace(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / f"{kind}_val.npy"
        np.save(path, change(np.load(path)))

    return act


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[(1,) * array.ndim] = value
        return array

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "ninapro_val.npy").unlink(), r"ninapro_val\.npy.*No such file"),
        (lambda f: (f / "label_val.npy").write_bytes(b"no"), r"label_val\.npy is not a \.npy array"),
        (
            lambda f: (f / "ninapro_val.npy").write_bytes((f / "ninapro_val.npy").read_bytes()[:-9]),
            r"ninapro_val\.npy is cut short",
        ),
        (replace("ninapro", lambda a: a[:, :, :8]), r"shape \(any, 52, 16\), found \(4, 52, 8\)"),
        (replace("ninapro", lambda a: a.astype("U3")), r"must be int or uint or float, found <U3"),
        (replace("ninapro", put(np.nan)), r"must be finite, found nan at index \[1, 1, 1\]"),
        (replace("label", lambda a: a[:3]), r"labels must have shape \(4,\), found \(3,\)"),
        (replace("label", put(18)), r"must lie in \[0, 17\], found 18"),
        (replace("label", put(-1)), r"must lie in \[0, 17\], found -1"),
        (replace("label", put(np.nan)), r"labels must .* found nan"),
        (replace("label", put(2.5)), r"labels must be whole numbers, found 2\.5"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(release / "ninaPro")
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert NINAPRO.homepage in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*ninaPro.*ninapro_train\.npy"):
        read(tmp_path)


def test_the_sample_has_the_releases_layout_and_balanced_classes(sample: Path) -> None:
    splits = read(sample)
    assert {split: len(records) for split, records in splits.items()} == SPLIT_SIZES
    for records in splits.values():
        counts = np.bincount([r["y"] for r in records], minlength=NUM_GESTURES)
        assert counts.min() == counts.max()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", 0)
    write_sample(tmp_path / "other", 1)
    names = sorted(p.relative_to(sample) for p in sample.rglob("*.npy"))
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (sample / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (sample / name).read_bytes()


def nearest_mean_accuracy(train: np.ndarray, y: np.ndarray, val: np.ndarray, y_val: np.ndarray) -> float:
    mean = np.stack([train[y == k].mean(axis=0) for k in range(NUM_GESTURES)])
    distance = ((val[:, None] - mean) ** 2).sum(axis=-1)
    return float((distance.argmin(axis=1) == y_val).mean())


def test_gestures_show_in_the_power_of_electrodes_and_not_in_the_raw_signal(sample: Path) -> None:
    y, y_val = load(sample, "label", "train"), load(sample, "label", "val")
    raw = [load(sample, "ninapro", split).reshape(len(t), -1) for split, t in (("train", y), ("val", y_val))]
    power = [np.log(0.05 + load(sample, "ninapro", split).std(axis=1)) for split in ("train", "val")]
    assert nearest_mean_accuracy(power[0], y, power[1], y_val) > 0.7
    assert nearest_mean_accuracy(raw[0], y, raw[1], y_val) < 0.3
