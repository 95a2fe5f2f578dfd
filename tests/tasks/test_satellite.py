from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError, UnsafePickle
from pare_tune.tasks import satellite
from pare_tune.tasks.base import Point
from pare_tune.tasks.samples.seasons import (
    COVERS,
    NUM_CLASSES,
    NUM_DATES,
    SPLIT_SIZES,
    TEST_FILE,
    TRAIN_FILE,
    write_sample,
)
from pare_tune.tasks.satellite import SATELLITE

TRAIN, TEST = 50, 12


def write(path: Path, content: Any) -> None:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def content_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = np.load(path, allow_pickle=True)[()]
    return found


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A release of the documented layout, as small as can be; every series starts with a number of its own."""
    rng = np.random.default_rng(0)
    for name, size in ((TRAIN_FILE, TRAIN), (TEST_FILE, TEST)):
        data = rng.normal(40.0, 5.0, (size, NUM_DATES))
        data[:, 0] = np.arange(size)
        write(tmp_path / name, {"data": data, "label": rng.integers(1, 25, size)})
    return tmp_path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 0)
    return root


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in SATELLITE.read(root, seed).items()}


def test_val_is_a_fixed_part_of_the_training_file_and_test_is_the_other_file(release: Path) -> None:
    splits = read(release)
    assert {split: len(records) for split, records in splits.items()} == {
        "train": 40,
        "val": 10,
        "test": TEST,
    }
    held = content_of(release / TRAIN_FILE)
    # Standardising moves and scales all values alike, so series are told apart by their order within a split.
    known = {row.argsort()[1:].tobytes(): index for index, row in enumerate(held["data"])}
    rows = {s: [known[r["x"][0].argsort()[1:].tobytes()] for r in splits[s]] for s in ("train", "val")}
    assert sorted(rows["train"] + rows["val"]) == list(range(TRAIN))
    for split in ("train", "val"):
        assert [int(r["y"]) + 1 for r in splits[split]] == held["label"][rows[split]].tolist()
    expected = held["data"][rows["train"]]
    for split, data in (("train", expected), ("test", content_of(release / TEST_FILE)["data"])):
        np.testing.assert_allclose(
            np.stack([r["x"][0] for r in splits[split]]),
            (data - expected.mean()) / expected.std(),
            rtol=1e-5,
            atol=1e-6,
        )


def test_the_cut_is_fixed_by_the_seed(release: Path) -> None:
    first, again, other = ([int(r["y"]) for r in read(release, seed)["val"]] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_large_release_gives_a_ninth_to_validation(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(satellite, "_SMALL", TRAIN)
    assert {split: len(records) for split, records in read(release).items()} == {
        "train": 44,
        "val": 6,
        "test": TEST,
    }


def test_statistics_do_not_depend_on_how_many_rows_are_read_at_once(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.stack([r["x"] for r in read(release)["train"]])
    monkeypatch.setattr(satellite, "_READ_AT_ONCE", 7)
    np.testing.assert_allclose(np.stack([r["x"] for r in read(release)["train"]]), whole, rtol=1e-6)
    assert abs(whole.mean()) < 1e-6
    assert whole.std() == pytest.approx(1.0, abs=1e-6)


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", SATELLITE.read(release, 0)["train"])
    record = Store(release / "train.arrow")[0]
    assert record["x"].shape == SATELLITE.input_shape
    assert record["x"].dtype == np.float32
    assert record["y"].dtype == np.int64
    assert SATELLITE.output == Point(24)


def change(key: str, act: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = content_of(path)
        write(path, {**content, key: act(content[key])})

    return damage


def put(index: tuple[int, ...], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def act(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float64)
        array[index] = value
        return array

    return act


@pytest.mark.parametrize("name", [TRAIN_FILE, TEST_FILE])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), r"cannot read .*No such file"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), r"not a whole pickle"),
        (lambda p: np.save(p, np.zeros((3, 46))), r"the saved dict must be object, found float64"),
        (lambda p: write(p, [1, 2]), r"the saved dict must have shape \(\), found \(2,\)"),
        (lambda p: write(p, {"data": 1}), r"a dict with keys data and label, found keys \['data'\]"),
        (lambda p: write(p, {"data": [1], "label": [2]}), r"data must be an array, found list"),
        (change("data", lambda a: a[:, :45]), r"data must have shape \(any, 46\), found \(\d+, 45\)"),
        (change("data", lambda a: a.astype("U8")), r"data must be int or uint or float, found <U8"),
        (change("data", put((3, 7), np.nan)), r"data must be finite, found nan at index \[3, 7\]"),
        (change("label", lambda a: a[1:]), r"label must have shape \(\d+,\), found \(\d+,\)"),
        (change("label", put((4,), 0)), r"label must lie in \[1, 24\], found 0\.0 at index \[4\]"),
        (change("label", put((4,), 25)), r"label must lie in \[1, 24\], found 25\.0 at index \[4\]"),
        (change("label", put((4,), 2.5)), r"label must be whole numbers, found 2\.5"),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected(
    release: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    damage(release / name)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert str(release / name) in str(caught.value)
    assert SATELLITE.homepage in str(caught.value)


def test_too_few_series_or_constant_ones_are_refused(release: Path) -> None:
    change("data", lambda a: np.full_like(a, 3.0))(release / TRAIN_FILE)
    with pytest.raises(DataError, match=r"data are constant \(3\)"):
        read(release)
    write(release / TRAIN_FILE, {"data": np.zeros((2, 46)), "label": np.array([1, 2])})
    with pytest.raises(DataError, match="at least 3 series to be split, found 2"):
        read(release)


def test_an_empty_test_file_is_refused(release: Path) -> None:
    write(release / TEST_FILE, {"data": np.zeros((0, 46)), "label": np.zeros(0, np.int64)})
    with pytest.raises(DataError, match="the split is empty"):
        write_store(release / "test.arrow", SATELLITE.read(release, 0)["test"])


def test_a_pickle_that_runs_code_is_refused(release: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(release / "ran"),)

    write(release / TRAIN_FILE, {"data": Attack(), "label": np.zeros(3)})
    with pytest.raises(UnsafePickle):
        read(release)
    assert not (release / "ran").exists()


def test_the_sample_has_the_releases_layout_and_balanced_classes(sample: Path) -> None:
    for name, size in SPLIT_SIZES.items():
        content = content_of(sample / name)
        assert (content["data"].dtype, content["data"].shape) == (np.float64, (size, NUM_DATES))
        assert content["label"].dtype == np.int64
        counts = np.bincount(content["label"], minlength=NUM_CLASSES + 1)
        assert counts[0] == 0
        assert counts[1:].min() == counts[1:].max() == size // NUM_CLASSES
    splits = read(sample)
    assert {int(r["y"]) for r in splits["val"]} == set(range(NUM_CLASSES))


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", 0)
    write_sample(tmp_path / "other", 1)
    for name in SPLIT_SIZES:
        assert (tmp_path / "again" / name).read_bytes() == (sample / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (sample / name).read_bytes()


def test_land_covers_show_in_the_level_and_the_swing_of_the_year(sample: Path) -> None:
    content = content_of(sample / TRAIN_FILE)
    quantiles = np.quantile(content["data"], [0.3, 0.5, 0.7, 0.85, 0.95], axis=1).T
    half = len(quantiles) // 2
    y, y_val = content["label"][:half], content["label"][half:]
    means = np.stack([quantiles[:half][y == k].mean(axis=0) for k in range(1, NUM_CLASSES + 1)])
    found = ((quantiles[half:, None] - means) ** 2).sum(axis=-1).argmin(axis=1) + 1
    assert (found == y_val).mean() > 5 / NUM_CLASSES
    water, conifers = ([c.name for c in COVERS].index(name) + 1 for name in ("water", "conifers"))
    level = np.median(content["data"], axis=1)
    assert level[content["label"] == water].max() < level[content["label"] == conifers].min()
