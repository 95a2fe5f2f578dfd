from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.errors import DataError
from pare_tune.tasks.pdebench import HOMEPAGE, ArrayFile, Channel, Frame, GroupFile

COUNT, FRAMES, POINTS = 150, 4, 12

SERIES = ArrayFile(
    file="series.hdf5",
    inputs=(Frame("density", 0), Frame("Vx", 0)),
    targets=(Frame("density", -1), Frame("Vx", 2)),
    points=(6,),
    end_time=1.0,
)
MAPS = ArrayFile(
    file="maps.hdf5",
    inputs=(Frame("nu", None),),
    targets=(Frame("tensor", 0),),
    points=(4, 6),
    coordinates=("x-coordinate", "y-coordinate"),
    end_time=None,
)
GROUPS = GroupFile(
    file="groups.h5",
    inputs=(Channel(0, time=0),),
    targets=(Channel(1, time=-1), Channel(0, time=2)),
    channels=2,
    points=(6, 6),
    end_time=500.0,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every file in PDEBench's layouts, at twice the resolution that is asked for."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / SERIES.file, "w") as file:
        for name in ("density", "Vx"):
            file[name] = rng.normal(size=(COUNT, FRAMES, POINTS)).astype(np.float32)
        file["x-coordinate"] = np.linspace(0, 1, POINTS)
        file["t-coordinate"] = np.linspace(0, 4 / 3, FRAMES + 1)
    with h5py.File(tmp_path / MAPS.file, "w") as file:
        file["nu"] = rng.normal(size=(30, 8, 12)).astype(np.float32)
        file["tensor"] = rng.normal(size=(30, 1, 8, 12)).astype(np.float32)
        file["x-coordinate"], file["y-coordinate"] = np.linspace(0, 1, 8), np.linspace(0, 1, 12)
    with h5py.File(tmp_path / GROUPS.file, "w") as file:
        for i in reversed(range(30)):
            file[f"{i:04}/data"] = rng.normal(size=(FRAMES, POINTS, POINTS, 2)).astype(np.float32)
            for axis in "xy":
                file[f"{i:04}/grid/{axis}"] = np.linspace(0, 1, POINTS)
            file[f"{i:04}/grid/t"] = np.linspace(0, 500, FRAMES)
    return tmp_path


def read(layout: ArrayFile | GroupFile, root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in layout.read(root, seed).items()}


def test_fields_are_stacked_and_subsampled_at_their_own_times(root: Path) -> None:
    with h5py.File(root / SERIES.file) as file:
        density, velocity = file["density"][:, :, ::2], file["Vx"][:, :, ::2]
    for i, record in enumerate(read(SERIES, root)["test"]):
        np.testing.assert_array_equal(record["x"], [density[i, 0], velocity[i, 0]])
        np.testing.assert_array_equal(record["y"], [density[i, -1], velocity[i, 2]])
        assert record["x"].dtype == record["y"].dtype == np.float32


def test_a_single_target_has_no_axis_of_its_own_and_arrays_may_lack_time(root: Path) -> None:
    with h5py.File(root / MAPS.file) as file:
        nu, tensor = file["nu"][:, ::2, ::2], file["tensor"][:, 0, ::2, ::2]
    for i, record in enumerate(read(MAPS, root)["test"]):
        np.testing.assert_array_equal(record["x"], nu[i][None])
        np.testing.assert_array_equal(record["y"], tensor[i])


def test_channels_are_read_from_the_group_of_their_sample(root: Path) -> None:
    records = read(GROUPS, root)["test"]
    with h5py.File(root / GROUPS.file) as file:
        for name, record in zip(("0027", "0028", "0029"), records, strict=True):
            data = file[name]["data"][:, ::2, ::2]
            np.testing.assert_array_equal(record["x"], data[0, ..., 0][None])
            np.testing.assert_array_equal(record["y"], [data[-1, ..., 1], data[2, ..., 0]])


@pytest.mark.parametrize("layout", [SERIES, MAPS, GROUPS])
def test_every_sample_is_in_one_split_and_only_validation_depends_on_the_seed(
    layout: ArrayFile | GroupFile, root: Path
) -> None:
    count = COUNT if layout is SERIES else 30
    splits, again, other = read(layout, root), read(layout, root), read(layout, root, seed=1)
    sizes = {split: len(records) for split, records in splits.items()}
    num_test = count // 10
    assert sizes == {
        "train": count - num_test - (count - num_test) // 10,
        "val": (count - num_test) // 10,
        "test": num_test,
    }
    keys = {
        split: [r["x"].tobytes() + r["y"].tobytes() for r in records] for split, records in splits.items()
    }
    assert len({key for found in keys.values() for key in found}) == count
    for split, found in keys.items():
        assert found == [r["x"].tobytes() + r["y"].tobytes() for r in again[split]]
        same = found == [r["x"].tobytes() + r["y"].tobytes() for r in other[split]]
        assert same == (split == "test")


def test_records_come_in_the_order_of_the_file(root: Path) -> None:
    with h5py.File(root / SERIES.file) as file:
        row = {values[::2].tobytes(): i for i, values in enumerate(file["density"][:, 0])}
    for records in read(SERIES, root).values():
        rows = [row[r["x"][0].tobytes()] for r in records]
        assert rows == sorted(rows)


def test_records_are_read_when_they_are_asked_for(root: Path) -> None:
    with h5py.File(root / SERIES.file, "a") as file:
        file["Vx"][COUNT - 1] = np.nan
    records = SERIES.read(root, 0)["train"]
    next(records)
    with pytest.raises(DataError, match=f"Vx sample {COUNT - 1}, (first frame|frame 2) must be finite"):
        list(records)


@pytest.mark.parametrize("points", [3, 6, 12, 24])
def test_a_file_of_any_divisor_or_multiple_of_the_points_is_read(tmp_path: Path, points: int) -> None:
    layout = ArrayFile(
        file="a.hdf5", inputs=(Frame("u", 0),), targets=(Frame("u", -1),), points=(12,), end_time=1.0
    )
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["u"] = np.random.default_rng(0).normal(size=(20, 2, points))
        file["x-coordinate"], file["t-coordinate"] = np.arange(points) / points, np.array([0.0, 1.0])
    assert {r["x"].shape for records in read(layout, tmp_path).values() for r in records} == {
        (1, min(points, 12))
    }


Damage = Callable[[h5py.File], None]


def swap(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def act(file: h5py.File) -> None:
        value = change(file[name][:])
        del file[name]
        file[name] = value

    return act


def remove(*names: str) -> Damage:
    def act(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return act


def spoil(name: str, index: tuple[int, ...]) -> Damage:
    def act(file: h5py.File) -> None:
        file[name][index] = np.inf

    return act


def both(first: Damage, second: Damage) -> Damage:
    def act(file: h5py.File) -> None:
        first(file)
        second(file)

    return act


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        (SERIES, remove("Vx"), "must hold a data set 'Vx', found density, t-coordinate, x-coordinate"),
        (SERIES, remove("x-coordinate"), "must hold a data set 'x-coordinate'"),
        (
            SERIES,
            swap("Vx", lambda a: a[:-1]),
            r"Vx must have shape \(150, any, 12\), found \(149, 4, 12\)",
        ),
        (SERIES, swap("density", lambda a: a[0, 0]), r"density must have shape \(any, any, any\)"),
        (SERIES, swap("density", lambda a: a.astype("S4")), "density must be float"),
        (SERIES, swap("Vx", lambda a: a[:, :2]), "Vx must have a frame 2, found 2 frames"),
        (SERIES, swap("t-coordinate", lambda a: a + 0.5), "must span t = 0 to 1, found 0.5 to 1.5"),
        (SERIES, swap("t-coordinate", lambda a: a[:2]), "found 2 entries for 4 frames"),
        (SERIES, spoil("density", (3, 0, 2)), r"density sample 3, first frame must be finite, found inf"),
        (
            SERIES,
            both(*(swap(n, lambda a: a[..., :10]) for n in ("density", "Vx"))),
            r"x-coordinate must have shape \(10,\), found \(12,\)",
        ),
        (MAPS, remove("nu"), "must hold a data set 'nu'"),
        (MAPS, swap("tensor", lambda a: a[:, 0]), r"tensor must have shape \(30, any, 8, 12\), found"),
        (MAPS, swap("y-coordinate", lambda a: a[:5]), r"y-coordinate must have shape \(12,\), found \(5,\)"),
        (MAPS, spoil("nu", (29, 0, 0)), r"nu sample 29 must be finite"),
        (GROUPS, remove("0000/data"), "0000 must hold a data set 'data', found grid"),
        (GROUPS, remove("0029/data"), "0029 must hold a data set 'data', found grid"),
        (GROUPS, remove("0000/grid"), "must hold a group 'grid' with 'x' in it"),
        (GROUPS, remove("0000/grid/y"), "must hold a data set 'y'"),
        (
            GROUPS,
            swap("0000/data", lambda a: a[..., :1]),
            r"0000/data must have shape \(any, any, any, 2\), found \(4, 12, 12, 1\)",
        ),
        (
            GROUPS,
            swap("0005/data", lambda a: a[:, :6]),
            r"0005/data must have shape \(4, 12, 12, 2\), found \(4, 6, 12, 2\)",
        ),
        (GROUPS, swap("0007/data", lambda a: a.astype(int)), "0007/data must be float, found int64"),
        (GROUPS, swap("0000/data", lambda a: a[:2]), "0000/data must have a frame 2, found 2 frames"),
        (GROUPS, swap("0000/grid/t", lambda a: a / 5), "must span t = 0 to 500, found 0 to 100"),
        (GROUPS, spoil("0028/data", (2, 4, 4, 0)), "0028/data, frame 2 must be finite"),
        (GROUPS, remove(*(f"{i:04}" for i in range(11))), "at least 20 samples to be split, found 19"),
        (GROUPS, remove(*(f"{i:04}" for i in range(30))), "at least 20 samples to be split, found 0"),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    root: Path, layout: ArrayFile | GroupFile, damage: Damage, message: str
) -> None:
    with h5py.File(root / layout.file, "a") as file:
        damage(file)
    with pytest.raises(DataError, match=message) as caught:
        read(layout, root)
    assert str(root / layout.file) in str(caught.value)
    assert HOMEPAGE in str(caught.value)


def test_a_data_set_where_a_group_belongs_is_named(root: Path) -> None:
    with h5py.File(root / GROUPS.file, "a") as file:
        file["0000-notes"] = np.zeros(3)
    with pytest.raises(DataError, match="must hold a group '0000-notes' with 'data' in it"):
        read(GROUPS, root)


@pytest.mark.parametrize("layout", [SERIES, GROUPS])
def test_another_resolution_is_refused(tmp_path: Path, layout: ArrayFile | GroupFile) -> None:
    with h5py.File(tmp_path / layout.file, "w") as file:
        if isinstance(layout, ArrayFile):
            file["density"] = file["Vx"] = np.zeros((20, 4, 9))
            file["x-coordinate"], file["t-coordinate"] = np.zeros(9), np.linspace(0, 1, 4)
        for i in range(20):
            if isinstance(layout, GroupFile):
                file[f"{i:04}/data"] = np.zeros((4, 12, 9, 2))
                file[f"{i:04}/grid/x"], file[f"{i:04}/grid/y"] = np.zeros(12), np.zeros(9)
                file[f"{i:04}/grid/t"] = np.linspace(0, 500, 4)
    with pytest.raises(DataError, match="a divisor or a multiple of 6 grid points, found 9"):
        read(layout, tmp_path)


@pytest.mark.parametrize("layout", [SERIES, MAPS, GROUPS])
@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_file_that_is_cut_short_is_named(root: Path, layout: ArrayFile | GroupFile, keep: float) -> None:
    path = root / layout.file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match="is not a whole HDF5 file.*get it again"):
        read(layout, root)


@pytest.mark.parametrize("layout", [SERIES, GROUPS])
def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path, layout: ArrayFile | GroupFile) -> None:
    with pytest.raises(DataError, match=rf"no file .*{layout.file}.*{HOMEPAGE}"):
        read(layout, tmp_path)


@pytest.mark.parametrize("compressed", ["array", "group"])
def test_damage_within_the_data_is_named(tmp_path: Path, compressed: str) -> None:
    # Damaged chunks of a compressed data set are met only as they are read.
    values = np.random.default_rng(0).integers(0, 3, (20, 2, 64)).astype(np.float32)
    path = tmp_path / "damaged.h5"
    layout: ArrayFile | GroupFile
    with h5py.File(path, "w") as file:
        if compressed == "array":
            layout = ArrayFile(
                file=path.name, inputs=(Frame("u", 0),), targets=(Frame("u", 1),), points=(64,), end_time=None
            )
            data = file.create_dataset("u", data=values, chunks=(20, 2, 64), compression="gzip")
            file["x-coordinate"] = np.zeros(64, np.float32)
        else:
            layout = GroupFile(
                file=path.name,
                inputs=(Channel(0, time=0),),
                targets=(Channel(0, time=1),),
                channels=1,
                points=(64,),
                end_time=1.0,
            )
            for i, sample in enumerate(values):
                data = file.create_dataset(f"{i:04}/data", data=sample[..., None], compression="gzip")
                file[f"{i:04}/grid/x"] = np.zeros(64, np.float32)
                file[f"{i:04}/grid/t"] = np.array([0.0, 1.0])
        chunk = data.id.get_chunk_info(0)
    with path.open("r+b") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)
    with pytest.raises(DataError, match="cannot be read .*get it again"):
        read(layout, tmp_path)
