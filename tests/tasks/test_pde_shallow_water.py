from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense
from pare_tune.tasks.pde_shallow_water import PDE_SHALLOW_WATER as TASK
from pare_tune.tasks.solvers.shallow_water import FILE, write_solutions

COUNT, FRAMES, POINTS = 20, 3, 128


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("solved")
    write_solutions(root, 0, samples=40, points=16)
    return root


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout at its own 128×128."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / FILE, "w") as file:
        for index in range(COUNT):
            group = file.create_group(f"{index:04d}")
            group["data"] = rng.uniform(1, 2, (FRAMES, POINTS, POINTS, 1)).astype(np.float32)
            for axis in "xy":
                group[f"grid/{axis}"] = np.linspace(-2.5, 2.5, POINTS, dtype=np.float32)
            group["grid/t"] = np.linspace(0, 1, FRAMES, dtype=np.float32)
    return tmp_path


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in TASK.read(root, seed).items()}


def test_the_registry_knows_it() -> None:
    assert get_task("pde-shallow-water") is TASK


def test_the_first_height_goes_in_and_the_last_comes_out_of_disjoint_splits(release: Path) -> None:
    with h5py.File(release / FILE) as file:
        data = {name: file[name]["data"][:] for name in file}
    name_of = {frames[0].tobytes(): name for name, frames in data.items()}
    splits = read(release)
    names = {split: [name_of[r["x"].tobytes()] for r in records] for split, records in splits.items()}
    assert names["test"] == ["0018", "0019"]  # the last tenth of the groups
    assert len(names["val"]) == 1
    assert sorted(names["train"] + names["val"]) == sorted(data)[:18]
    for split, records in splits.items():
        for record, name in zip(records, names[split], strict=True):
            np.testing.assert_array_equal(record["x"], data[name][0].transpose(2, 0, 1))
            np.testing.assert_array_equal(record["y"], data[name][-1, ..., 0])


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", TASK.read(release, 0)["train"])
    item = TASK.item(Store(release / "train.arrow")[0], None, None)
    assert item["x"].shape == TASK.input_shape
    assert TASK.output == Dense(item["y"].shape)
    assert item["x"].dtype == item["y"].dtype == np.float32


def test_the_solved_file_is_read_at_its_own_resolution_and_no_input_twice(solved: Path) -> None:
    splits = read(solved)
    assert {split: len(records) for split, records in splits.items()} == {"train": 33, "val": 3, "test": 4}
    inputs = [r["x"] for records in splits.values() for r in records]
    assert {x.shape for x in inputs} == {(1, 16, 16)}
    assert len({x.tobytes() for x in inputs}) == 40


def test_the_radius_can_be_learned_from_the_solved_file(solved: Path) -> None:
    """The mean wave is a poor answer, the wave of the nearest volume a good one."""
    splits = read(solved)
    train_x, train_y, val_x, val_y = (
        np.stack([r[key] for r in splits[split]]) for split in ("train", "val") for key in ("x", "y")
    )
    nearest = np.abs(val_x.sum((1, 2, 3))[:, None] - train_x.sum((1, 2, 3))).argmin(axis=1)

    def score(prediction: np.ndarray) -> float:
        return TASK.metric.score(torch.from_numpy(prediction), {"y": torch.from_numpy(val_y)})

    assert score(train_y[nearest]) < 0.3 * score(np.broadcast_to(train_y.mean(0), val_y.shape).copy())


def change(name: str, act: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        value = act(file[name][:])
        del file[name]
        file[name] = value

    return damage


def remove(*names: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return damage


def spoil(name: str, index: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file[name][index] = np.nan

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("0000/data"), r"0000 must hold a data set 'data', found grid"),
        (remove("0000/grid"), r"must hold a group 'grid'"),
        (remove("0017/data"), r"0017 must hold a data set 'data'"),
        (remove(*(f"{i:04d}" for i in range(1, COUNT))), r"at least 20 samples to be split, found 1"),
        (
            change("0000/data", lambda a: np.repeat(a, 2, axis=3)),
            r"0000/data must have shape \(any, any, any, 1\), found \(3, 128, 128, 2\)",
        ),
        (change("0000/data", lambda a: a.astype(int)), r"0000/data must be float, found int64"),
        (
            change("0009/data", lambda a: a[:, :64]),
            r"0009/data must have shape \(3, 128, 128, 1\), found \(3, 64, 128, 1\)",
        ),
        (change("0000/grid/x", lambda a: a[:100]), r"grid/x must have shape \(128,\), found \(100,\)"),
        (change("0000/grid/t", lambda a: a / 2), r"must span t = 0 to 1, found 0 to 0.5"),
        (
            spoil("0003/data", (0, 5, 7, 0)),
            r"0003/data, first frame must be finite, found nan at index \[5, 7\]",
        ),
        (spoil("0019/data", (2, 0, 0, 0)), r"0019/data, last frame must be finite"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    release: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(release / FILE, "a") as file:
        damage(file)
    with pytest.raises(DataError, match=message) as caught:
        read(release)
    assert str(release / FILE) in str(caught.value)
    assert TASK.homepage in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 500_000])
def test_a_file_that_is_cut_short_is_named(release: Path, keep: int) -> None:
    path = release / FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{FILE} is not a whole HDF5 file.*get it again"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{TASK.homepage}"):
        read(tmp_path)
