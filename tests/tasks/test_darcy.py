from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pare_tune.errors import DataError
from pare_tune.tasks import darcy
from pare_tune.tasks.darcy import DARCY
from pare_tune.tasks.samples.darcy_flow import write_piececonst

COUNT, TEST_COUNT = 30, 4
TRAIN, TEST = "piececonst_r421_N1024_smooth1.mat", "piececonst_r421_N1024_smooth2.mat"

Fields = dict[str, np.ndarray]


def fields(count: int, points: int, seed: int) -> Fields:
    rng = np.random.default_rng(seed)
    return {
        "coeff": rng.choice([3.0, 12.0], (count, points, points)),
        "sol": rng.random((count, points, points)).astype(np.float32),
    }


def write_mat73(path: Path, arrays: Fields) -> None:
    """As MATLAB 7.3 does: HDF5 after 512 bytes of its own, axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in arrays.items():
            file[name] = value.T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(512))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The release's names and fields on 22 points."""
    savemat(tmp_path / TRAIN, fields(COUNT, 22, 0))
    savemat(tmp_path / TEST, fields(TEST_COUNT, 22, 1))
    return tmp_path


def read(root: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in DARCY.read(root, 0).items()}


def targets(records: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([r["y"] for r in records])


def test_the_last_tenth_of_the_first_file_is_val_and_the_second_is_test(small: Path) -> None:
    splits, sol = read(small), fields(COUNT, 22, 0)["sol"]
    np.testing.assert_array_equal(targets(splits["train"]), sol[:27])
    np.testing.assert_array_equal(targets(splits["val"]), sol[27:])
    np.testing.assert_array_equal(targets(splits["test"]), fields(TEST_COUNT, 22, 1)["sol"])


def test_no_more_than_the_benchmarks_samples_are_read(tmp_path: Path) -> None:
    savemat(tmp_path / TRAIN, fields(1024, 3, 0))
    savemat(tmp_path / TEST, fields(1024, 3, 1))
    splits, sol = read(tmp_path), fields(1024, 3, 0)["sol"]
    np.testing.assert_array_equal(targets(splits["train"]), sol[:900])
    np.testing.assert_array_equal(targets(splits["val"]), sol[900:1000])
    np.testing.assert_array_equal(targets(splits["test"]), fields(1024, 3, 1)["sol"][:100])


def test_coefficients_are_normalised_point_by_point_with_train_alone(small: Path) -> None:
    splits, raw = read(small), fields(COUNT, 22, 0)["coeff"]
    mean, spread = raw[:27].mean(axis=0), raw[:27].std(axis=0, ddof=1)
    for split, part in (("train", raw[:27]), ("val", raw[27:]), ("test", fields(TEST_COUNT, 22, 1)["coeff"])):
        expected = (part - mean) / (spread + 1e-5)
        np.testing.assert_allclose([r["coeff"] for r in splits[split]], expected, atol=1e-5)


def test_a_version_7_3_file_is_read_as_a_version_5_file(small: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_mat73(tmp_path / "other" / TRAIN, fields(COUNT, 22, 0))
    write_mat73(tmp_path / "other" / TEST, fields(TEST_COUNT, 22, 1))
    ours, theirs = read(small), read(tmp_path / "other")
    for split, records in ours.items():
        for mine, other in zip(records, theirs[split], strict=True):
            np.testing.assert_array_equal(mine["coeff"], other["coeff"])
            np.testing.assert_array_equal(mine["y"], other["y"])


@pytest.mark.parametrize("write", [savemat, write_mat73])
def test_421_points_become_85_and_other_grids_stay(
    tmp_path: Path, write: Callable[[Path, Fields], None]
) -> None:
    whole = fields(20, 421, 0)
    write(tmp_path / TRAIN, whole)
    write(tmp_path / TEST, fields(2, 421, 1))
    coeff, sol = darcy._load(tmp_path / TRAIN, 1000)
    np.testing.assert_array_equal(sol, whole["sol"][:, ::5, ::5])
    np.testing.assert_array_equal(coeff, whole["coeff"][:, ::5, ::5])
    assert sol.shape == (20, 85, 85)
    assert coeff.dtype == sol.dtype == np.float32
    write(tmp_path / TRAIN, fields(20, 61, 0))
    assert darcy._load(tmp_path / TRAIN, 5)[0].shape == (5, 61, 61)


def test_an_item_has_the_coefficient_and_both_positions(small: Path) -> None:
    record = read(small)["val"][0]
    item = DARCY.item(record, None, None)
    assert item["x"].shape == (3, 22, 22)
    assert item["x"].dtype == item["y"].dtype == np.float32
    np.testing.assert_array_equal(item["x"][0], record["coeff"])
    np.testing.assert_allclose(item["x"][1, 5], np.linspace(0, 1, 22), atol=1e-7)
    np.testing.assert_allclose(item["x"][2, :, 5], np.linspace(0, 1, 22), atol=1e-7)
    np.testing.assert_array_equal(item["y"], record["y"])


def test_a_canvas_takes_every_nth_point_and_both_edges(small: Path) -> None:
    record = read(small)["val"][0]
    item = DARCY.item(record, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(item["y"], record["y"][::3, ::3])
    np.testing.assert_array_equal(item["x"][0], record["coeff"][::3, ::3])
    assert item["x"][1, 0, [0, -1]].tolist() == [0.0, 1.0]
    with pytest.raises(DataError, match=r"reach both edges of 22 points in equal steps: 22; got 16"):
        DARCY.item(record, 16, None)


def test_the_sample_is_read_by_its_own_names(tmp_path: Path) -> None:
    write_piececonst(tmp_path, 0, train=40, test=3, points=22)
    splits = read(tmp_path)
    assert {split: len(records) for split, records in splits.items()} == {"train": 36, "val": 4, "test": 3}
    assert not np.stack([r["y"] for r in splits["train"]])[:, [0, -1]].any()
    # The pressure builds up where little flows.
    means = [(r["y"].mean(), r["coeff"].mean()) for r in splits["train"]]
    assert np.corrcoef(means, rowvar=False)[0, 1] < -0.8


@pytest.mark.parametrize("write", [savemat, write_mat73])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sol": None}, r"must hold a (field|data set) 'sol', found coeff"),
        (
            {"coeff": np.zeros((30, 22, 21))},
            r"coeff must be samples on a square grid, found shape \(30, 22, 21\)",
        ),
        ({"coeff": np.zeros((30, 22))}, r"coeff must have shape \(any, any, any\), found \(30, 22\)"),
        (
            {"sol": np.zeros((29, 22, 22))},
            r"sol must have the shape of coeff, \(30, 22, 22\), found \(29, 22, 22\)",
        ),
        ({"coeff": np.zeros((30, 22, 22), complex)}, r"coeff must be"),
        ({"sol": np.full((30, 22, 22), np.nan)}, r"sol must be finite, found nan at index \[0, 0, 0\]"),
        ({k: np.ones((19, 22, 22)) for k in ("coeff", "sol")}, r"must hold at least 20 samples, found 19"),
        (
            {k: np.ones((30, 8, 8)) for k in ("coeff", "sol")},
            r"must lie on the grid of .*\(8, 8\)\, found \(22, 22\)",
        ),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    small: Path, write: Callable[[Path, Fields], None], change: dict[str, Any], message: str
) -> None:
    changed = {k: v for k, v in {**fields(COUNT, 22, 0), **change}.items() if v is not None}
    write(small / TRAIN, changed)
    with pytest.raises(DataError, match=message) as caught:
        read(small)
    assert "smooth" in str(caught.value)
    assert DARCY.homepage in str(caught.value)


@pytest.mark.parametrize("write", [savemat, write_mat73])
@pytest.mark.parametrize("keep", [0, 60, 600, 30_000])
def test_a_file_that_is_cut_short_is_named(
    small: Path, write: Callable[[Path, Fields], None], keep: int
) -> None:
    write(small / TRAIN, fields(COUNT, 22, 0))
    path = small / TRAIN
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{TRAIN} is not a whole (MATLAB 5|HDF5) file .*get it again"):
        read(small)


def test_a_missing_file_is_named_with_where_to_find_it(small: Path) -> None:
    (small / TEST).unlink()
    with pytest.raises(DataError, match=rf"no file .*{TEST}.*found none.*{DARCY.homepage}"):
        read(small)
    for size in (11, 22):
        savemat(small / f"piececonst_r{size}_N9_smooth2.mat", fields(9, size, 1))
    with pytest.raises(DataError, match=r"one is read, found piececonst_r11_.*, piececonst_r22_"):
        read(small)
