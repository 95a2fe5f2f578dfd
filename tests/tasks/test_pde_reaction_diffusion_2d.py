from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks import get_task
from pare_tune.tasks.base import Dense
from pare_tune.tasks.pde_reaction_diffusion_2d import ACTIVATOR, INHIBITOR
from pare_tune.tasks.pde_reaction_diffusion_2d import PDE_REACTION_DIFFUSION_2D as TASK
from pare_tune.tasks.solvers.reaction_diffusion_2d import FILE, write_solutions

COUNT, FRAMES, POINTS = 20, 3, 128


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("solved")
    write_solutions(root, 0, samples=40, points=32)
    return root


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """PDEBench's layout at its own 128×128."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / FILE, "w") as file:
        for index in range(COUNT):
            group = file.create_group(f"{index:04d}")
            group["data"] = rng.standard_normal((FRAMES, POINTS, POINTS, 2), dtype=np.float32)
            for axis in "xy":
                group[f"grid/{axis}"] = np.linspace(-1, 1, POINTS, dtype=np.float32)
            group["grid/t"] = np.linspace(0, 5, FRAMES, dtype=np.float32)
    return tmp_path


def read(root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in TASK.read(root, seed).items()}


def test_the_registry_knows_it() -> None:
    assert get_task("pde-reaction-diffusion-2d") is TASK


def test_the_first_activator_goes_in_and_the_last_inhibitor_comes_out_of_disjoint_splits(
    release: Path,
) -> None:
    with h5py.File(release / FILE) as file:
        data = {name: file[name]["data"][:] for name in file}
    name_of = {frames[0, ..., ACTIVATOR].tobytes(): name for name, frames in data.items()}
    splits = read(release)
    names = {split: [name_of[r["x"][0].tobytes()] for r in records] for split, records in splits.items()}
    assert names["test"] == ["0018", "0019"]  # the last tenth of the groups
    assert len(names["val"]) == 1
    assert sorted(names["train"] + names["val"]) == sorted(data)[:18]
    for split, records in splits.items():
        for record, name in zip(records, names[split], strict=True):
            np.testing.assert_array_equal(record["y"], data[name][-1, ..., INHIBITOR])


def test_records_fit_the_store_and_the_task(release: Path) -> None:
    write_store(release / "train.arrow", TASK.read(release, 0)["train"])
    item = TASK.item(Store(release / "train.arrow")[0], None, None)
    assert item["x"].shape == TASK.input_shape
    assert TASK.output == Dense(item["y"].shape)
    assert item["x"].dtype == item["y"].dtype == np.float32


def test_the_inhibitor_follows_the_blurred_activator_in_the_solved_file(solved: Path) -> None:
    """What there is to learn, found without learning: nRMSE of no answer is 1."""
    splits = read(solved)
    x, y = (np.stack([r[key] for r in splits["train"]]) for key in ("x", "y"))
    assert x.shape == (33, 1, 32, 32)
    assert y.shape == (33, 32, 32)
    blurred = np.stack([gaussian_filter(frame[0], 1.0, mode="reflect") for frame in x])
    gain = (blurred * y).sum() / (blurred**2).sum()
    score = TASK.metric.score(torch.from_numpy(gain * blurred), {"y": torch.from_numpy(y)})
    assert 0.6 < score < 0.8  # the rest is the inhibitor's own noise at t = 0


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


def spoil(index: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file["0003/data"][index] = np.nan

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("0000/data"), r"0000 must hold a data set 'data', found grid"),
        (remove(*(f"{i:04d}" for i in range(1, COUNT))), r"at least 20 samples to be split, found 1"),
        (
            change("0000/data", lambda a: a[..., :1]),
            r"0000/data must have shape \(any, any, any, 2\), found \(3, 128, 128, 1\)",
        ),
        (change("0000/data", lambda a: a.astype(int)), r"0000/data must be float, found int64"),
        (
            change("0009/data", lambda a: a[:2]),
            r"0009/data must have shape \(3, 128, 128, 2\), found \(2, 128, 128, 2\)",
        ),
        (change("0000/grid/y", lambda a: a[:100]), r"grid/y must have shape \(128,\), found \(100,\)"),
        (change("0000/grid/t", lambda a: a / 5), r"must span t = 0 to 5, found 0 to 1"),
        (spoil((0, 5, 7, ACTIVATOR)), r"0003/data, first frame must be finite, found nan at index \[5, 7\]"),
        (spoil((2, 0, 0, INHIBITOR)), r"0003/data, last frame must be finite"),
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


def test_fields_that_no_one_reads_may_hold_anything(release: Path) -> None:
    with h5py.File(release / FILE, "a") as file:
        spoil((0, 5, 7, INHIBITOR))(file)
        spoil((1, 5, 7, ACTIVATOR))(file)
    assert len(read(release)["train"]) == 17


@pytest.mark.parametrize("keep", [0, 100, 500_000])
def test_a_file_that_is_cut_short_is_named(release: Path, keep: int) -> None:
    path = release / FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{FILE} is not a whole HDF5 file.*get it again"):
        read(release)


def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no file .*{FILE}.*{TASK.homepage}"):
        read(tmp_path)
