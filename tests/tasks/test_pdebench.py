"""PDEBench's two layouts on small files, and what holds of every task that is cut from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pare_tune.data.store import Store, write_store
from pare_tune.errors import DataError
from pare_tune.tasks import TASKS, Modality, Task, get_task
from pare_tune.tasks.base import Dense
from pare_tune.tasks.metrics import NRMSE
from pare_tune.tasks.pdebench import HOMEPAGE, ArrayFile, Channel, Frame, GroupFile
from pare_tune.tasks.pdebench_task import pdebench_task
from pare_tune.tasks.pdes import ACTIVATOR, INHIBITOR
from pare_tune.tasks.solvers.compressible_1d import FIELDS

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


@dataclass(frozen=True)
class Release:
    """A file in the layout of PDEBench's: noise in every field."""

    fields: Mapping[str, tuple[int, ...]]
    """Shapes of one sample; `data` is that of a group."""
    end_time: float | None
    count: int = 30
    compression: str | None = None

    @property
    def grouped(self) -> bool:
        return "data" in self.fields

    def write(self, path: Path) -> None:
        rng = np.random.default_rng(0)
        with h5py.File(path, "w") as file:
            self._write_groups(file, rng) if self.grouped else self._write_arrays(file, rng)

    def _write_arrays(self, file: h5py.File, rng: np.random.Generator) -> None:
        for name, shape in self.fields.items():
            file[name] = rng.normal(size=(self.count, *shape)).astype(np.float32)
        *_, (frames, *axes) = self.fields.values()  # the last field has times if any has
        for letter, length in zip("xy", axes, strict=False):
            file[f"{letter}-coordinate"] = np.linspace(0, 1, length, dtype=np.float32)
        if self.end_time is not None:  # one time more than frames
            file["t-coordinate"] = np.arange(frames + 1, dtype=np.float32) * self.end_time / (frames - 1)

    def _write_groups(self, file: h5py.File, rng: np.random.Generator) -> None:
        assert self.end_time is not None
        frames, *axes, _ = self.fields["data"]
        for i in reversed(range(self.count)):
            data = rng.standard_normal(self.fields["data"], dtype=np.float32)
            file.create_dataset(f"{i:04}/data", data=data, compression=self.compression)
            for letter, length in zip("xy", axes, strict=False):
                file[f"{i:04}/grid/{letter}"] = np.linspace(0, 1, length, dtype=np.float32)
            file[f"{i:04}/grid/t"] = np.linspace(0, self.end_time, frames, dtype=np.float32)


LAYOUTS = {
    SERIES.file: Release(dict.fromkeys(("density", "Vx"), (FRAMES, POINTS)), end_time=1.0, count=COUNT),
    MAPS.file: Release({"nu": (8, 12), "tensor": (1, 8, 12)}, end_time=None),
    GROUPS.file: Release({"data": (FRAMES, POINTS, POINTS, 2)}, end_time=500.0),
}
"""Each at twice the resolution that is asked for."""
RELEASES = {
    "advection": Release({"tensor": (3, 1024)}, end_time=2.0),
    "pde-burgers": Release({"tensor": (3, 1024)}, end_time=2.0),
    "pde-reaction-diffusion": Release({"tensor": (3, 1024)}, end_time=1.0),
    "pde-diffusion-sorption": Release({"data": (3, 1024, 1)}, end_time=500.0, compression="lzf"),
    "pde-navier-stokes-1d": Release(dict.fromkeys(FIELDS, (3, 1024)), end_time=1.0),
    "pde-darcy": Release({"nu": (128, 128), "tensor": (1, 128, 128)}, end_time=None),
    "pde-shallow-water": Release({"data": (3, 128, 128, 1)}, end_time=1.0),
    "pde-reaction-diffusion-2d": Release({"data": (3, 128, 128, 2)}, end_time=5.0),
}
"""Of each task, at the resolution of PDEBench's own file."""

Sample = Mapping[str, np.ndarray]
Part = Callable[[Sample, int], np.ndarray]
FRAMES_OF: Mapping[str, tuple[Part, Part]] = {
    **dict.fromkeys(
        ("advection", "pde-burgers", "pde-reaction-diffusion"),
        (lambda s, step: s["tensor"][:1, ::step], lambda s, step: s["tensor"][-1, ::step]),
    ),
    "pde-darcy": (lambda s, n: s["nu"][None, ::n, ::n], lambda s, n: s["tensor"][0, ::n, ::n]),
    "pde-diffusion-sorption": (lambda s, _: s["data"][0].T, lambda s, _: s["data"][-1, :, 0]),
    "pde-shallow-water": (lambda s, _: s["data"][0].transpose(2, 0, 1), lambda s, _: s["data"][-1, :, :, 0]),
    "pde-reaction-diffusion-2d": (
        lambda s, _: s["data"][:1, :, :, ACTIVATOR],
        lambda s, _: s["data"][-1, :, :, INHIBITOR],
    ),
}
"""x and y of a sample, every n-th point. (Those of Navier-Stokes are normalised: test_pde_navier_stokes_1d.py.)"""
STEPS = {"advection": 4, "pde-darcy": 2}
"""From one point of the release that is given to the model to the next; 1 elsewhere."""

Source = ArrayFile | GroupFile | Task
AS_IN_FILE: list[Source] = [SERIES, MAPS, GROUPS, *(TASKS[name] for name in FRAMES_OF)]
"""Whose records hold the values of the file."""
SOURCES: list[Source] = [SERIES, MAPS, GROUPS, *(TASKS[name] for name in RELEASES)]


def file_of(source: Source) -> str:
    return source.files[0] if isinstance(source, Task) else source.file


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file, for reading only."""
    folder = tmp_path_factory.mktemp("releases")
    for file, release in [*LAYOUTS.items(), *((file_of(TASKS[n]), r) for n, r in RELEASES.items())]:
        release.write(folder / file)
    return folder


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each task makes of itself, small, in a folder of its name."""
    folder = tmp_path_factory.mktemp("solved")
    for name in RELEASES:
        make(name, folder / name, 0)
    return folder


def make(name: str, folder: Path, seed: int) -> None:
    task_make = TASKS[name].make
    assert task_make is not None
    task_make(folder, seed, samples=40, points=32)


@pytest.fixture
def root(releases: Path, tmp_path: Path) -> Path:
    """The files of the layouts, for changing."""
    for file in LAYOUTS:
        shutil.copy(releases / file, tmp_path)
    return tmp_path


def read(source: Source, root: Path, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    return {split: [dict(r) for r in records] for split, records in source.read(root, seed).items()}


def sizes(splits: Mapping[str, list[dict[str, Any]]]) -> dict[str, int]:
    return {split: len(records) for split, records in splits.items()}


def samples(path: Path) -> list[Sample]:
    """The fields of every sample of a file, in its order."""
    with h5py.File(path) as file:
        if "x-coordinate" not in file:
            return [{"data": file[name]["data"][:]} for name in sorted(file)]
        arrays = {name: file[name][:] for name in file if not name.endswith("-coordinate")}
        return [dict(zip(arrays, values, strict=True)) for values in zip(*arrays.values(), strict=True)]


def test_every_task_of_pdebench_is_held_to_what_follows() -> None:
    assert [name for name, task in TASKS.items() if task.homepage == HOMEPAGE] == list(RELEASES)


def test_fields_are_stacked_and_subsampled_at_their_own_times(root: Path) -> None:
    with h5py.File(root / SERIES.file) as file:
        density, velocity = file["density"][:, :, ::2], file["Vx"][:, :, ::2]
    for i, record in enumerate(read(SERIES, root)["test"]):
        np.testing.assert_array_equal(record["x"], [density[i, 0], velocity[i, 0]])
        np.testing.assert_array_equal(record["y"], [density[i, -1], velocity[i, 2]])
        assert record["x"].dtype == record["y"].dtype == np.float32


def test_a_file_is_found_where_pdebenchs_own_download_lays_it(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder = data / "1D" / "Advection" / "Train"
    folder.mkdir(parents=True)
    shutil.copy(root / SERIES.file, folder)
    here, below = (SERIES.read(place, 0)["test"] for place in (root, data))
    for one, other in zip(here, below, strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])
    shutil.copy(root / SERIES.file, folder.parent)
    with pytest.raises(DataError, match=r"holds 2 files series\.hdf5: .*; give the folder of one"):
        SERIES.read(data, 0)


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


@pytest.mark.parametrize("made", ["release", "solved"])
@pytest.mark.parametrize("name", FRAMES_OF)
def test_the_first_frame_goes_in_and_the_last_comes_out_of_every_sample_once(
    name: str, made: str, releases: Path, solved: Path
) -> None:
    task, (x_of, y_of) = TASKS[name], FRAMES_OF[name]
    folder, step = (releases, STEPS.get(name, 1)) if made == "release" else (solved / name, 1)
    expected = samples(folder / file_of(task))
    row = {np.ascontiguousarray(x_of(sample, step)).tobytes(): i for i, sample in enumerate(expected)}
    splits = read(task, folder)
    rows = {split: [row[r["x"].tobytes()] for r in records] for split, records in splits.items()}
    every, num_test = list(range(len(expected))), len(expected) // 10
    assert rows["test"] == (every[-num_test:] if RELEASES[name].grouped else every[:num_test])
    assert sorted(i for found in rows.values() for i in found) == every
    for split, records in splits.items():
        for record, i in zip(records, rows[split], strict=True):
            np.testing.assert_array_equal(record["x"], x_of(expected[i], step))
            np.testing.assert_array_equal(record["y"], y_of(expected[i], step))
            assert record["x"].dtype == record["y"].dtype == np.float32


def test_a_task_is_what_its_layout_and_its_own_words_say() -> None:
    own = {
        "name": "pde-darcy",
        "title": "coefficient → pressure",
        "loss": "mse",
        "make": TASKS["pde-darcy"].make,
        "release_size": {"samples": 30},
        "read": SERIES.read,
        "output": Dense((7,)),
        "scale_target": "pointwise",
        "embedded": {"train.epochs": 3},
    }
    task = pdebench_task(MAPS, **own)  # type: ignore[arg-type]
    assert {name: getattr(task, name) for name in own} == own
    assert task.paper == TASKS["pde-darcy"].paper  # by its name
    assert (task.input_shape, task.files) == ((1, 4, 6), (MAPS.file,))
    assert (task.embedded_provenance, task.homepage) == ("solved", HOMEPAGE)


@pytest.mark.parametrize("name", RELEASES)
def test_records_fit_the_store_and_the_task(name: str, releases: Path, tmp_path: Path) -> None:
    task = get_task(name)
    assert task.name == name
    assert task.metric is NRMSE
    assert task.modality is (Modality.DENSE_1D if len(task.input_shape) == 2 else Modality.DENSE_2D)
    assert sizes(read(task, releases)) == {"train": 25, "val": 2, "test": 3}
    write_store(tmp_path / "train.arrow", task.read(releases, 0)["train"])
    item = task.item(Store(tmp_path / "train.arrow")[0], None, None)
    assert item["x"].shape == task.input_shape
    assert task.output == Dense(item["y"].shape)
    assert item["x"].dtype == item["y"].dtype == np.float32


@pytest.mark.parametrize("name", RELEASES)
def test_the_solved_file_is_read_at_its_own_resolution(name: str, solved: Path) -> None:
    task = TASKS[name]
    assert isinstance(task.output, Dense)
    splits = read(task, solved / name)
    assert sizes(splits) == {"train": 33, "val": 3, "test": 4}
    channels, *axes = task.input_shape
    for record in (r for records in splits.values() for r in records):
        assert record["x"].shape == (channels, *(32 for _ in axes))
        assert record["y"].shape == tuple(
            n * 32 // points for n, points in zip(task.output.shape, axes, strict=True)
        )


@pytest.mark.parametrize("name", RELEASES)
def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(
    name: str, solved: Path, tmp_path: Path
) -> None:
    make(name, tmp_path / "again", 0)
    make(name, tmp_path / "other", 1)
    (file,) = TASKS[name].files
    assert (tmp_path / "again" / file).read_bytes() == (solved / name / file).read_bytes()
    assert (tmp_path / "other" / file).read_bytes() != (solved / name / file).read_bytes()


@pytest.mark.parametrize("source", AS_IN_FILE, ids=file_of)
def test_every_sample_is_in_one_split_and_only_validation_depends_on_the_seed(
    source: Source, releases: Path
) -> None:
    count = COUNT if source is SERIES else 30
    splits, again, other = read(source, releases), read(source, releases), read(source, releases, seed=1)
    num_test = count // 10
    assert sizes(splits) == {
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


@pytest.mark.parametrize(
    ("name", "where", "index"),
    [
        ("advection", "tensor", (3, 1)),
        ("pde-burgers", "tensor", (3, 1)),
        ("pde-reaction-diffusion", "tensor", (3, 1)),
        ("pde-diffusion-sorption", "0003/data", (1,)),
        ("pde-navier-stokes-1d", "pressure", (3, 1)),
        ("pde-shallow-water", "0003/data", (1,)),
        ("pde-reaction-diffusion-2d", "0003/data", (1,)),
        ("pde-reaction-diffusion-2d", "0003/data", (0, 5, 7, INHIBITOR)),
        ("pde-reaction-diffusion-2d", "0003/data", (2, 5, 7, ACTIVATOR)),
    ],
)
def test_fields_that_no_one_reads_may_hold_anything(
    releases: Path, tmp_path: Path, name: str, where: str, index: tuple[int, ...]
) -> None:
    with h5py.File(shutil.copy(releases / file_of(TASKS[name]), tmp_path), "a") as file:
        spoil(where, index)(file)
    assert sizes(read(TASKS[name], tmp_path)) == {"train": 25, "val": 2, "test": 3}


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


def spoil(name: str, index: tuple[int, ...], value: float = np.nan) -> Damage:
    def act(file: h5py.File) -> None:
        file[name][index] = value

    return act


def each(*damages: Damage) -> Damage:
    def act(file: h5py.File) -> None:
        for damage in damages:
            damage(file)

    return act


def damage_of_any_task() -> Iterator[tuple[Source, Damage, str]]:
    for name, release in RELEASES.items():
        task, first = TASKS[name], "0000/data" if release.grouped else next(iter(release.fields))
        missing = "0000 must hold a data set 'data', found grid"
        fewer = remove(*(f"{i:04}" for i in range(15, release.count)))
        times = "0000/grid/t"
        if not release.grouped:
            missing = f"{task.files[0]} must hold a data set '{first}', found .*x-coordinate"
            fewer = each(*(swap(field, lambda a: a[:15]) for field in release.fields))
            times = "t-coordinate"
        yield task, remove(first), missing
        yield task, swap(first, lambda a: a.astype(int)), f"{first} must be float, found int64"
        yield task, fewer, "at least 20 samples to be split, found 15"
        if release.end_time is not None:
            spans = f"must span t = 0 to {release.end_time:g}, found 0 to {2 * release.end_time:g}"
            yield task, swap(times, lambda a: 2 * a), spans


DAMAGE_OF_A_TASK = [
    ("advection", remove("t-coordinate"), "must hold a data set 't-coordinate', found tensor, x-coordinate"),
    (
        "advection",
        swap("tensor", lambda a: a[:, 0]),
        r"tensor must have shape \(any, any, any\), found \(30, 1024\)",
    ),
    (
        "advection",
        swap("tensor", lambda a: a[:, :, :1000]),
        r"x-coordinate must have shape \(1000,\), found \(1024,\)",
    ),
    (
        "advection",
        each(swap("tensor", lambda a: a[:, :, :1000]), swap("x-coordinate", lambda a: a[:1000])),
        "a multiple of 256 grid points, found 1000",
    ),
    ("advection", swap("tensor", lambda a: a[:, :2]), "found 4 entries for 2 frames"),
    (
        "advection",
        spoil("tensor", (1, 0, 8)),
        r"tensor sample 1, first frame must be finite, found nan at index \[2\]",
    ),
    ("advection", spoil("tensor", (29, 2, 4)), "tensor sample 29, last frame must be finite"),
    (
        "pde-navier-stokes-1d",
        swap("pressure", lambda a: a[:-1]),
        r"pressure must have shape \(30, any, 1024\), found \(29, 3, 1024\)",
    ),
    ("pde-darcy", remove("tensor"), f"{file_of(TASKS['pde-darcy'])} must hold a data set 'tensor'"),
    ("pde-shallow-water", remove("0000/grid"), "must hold a group 'grid'"),
    ("pde-shallow-water", remove("0017/data"), "0017 must hold a data set 'data'"),
    (
        "pde-shallow-water",
        swap("0000/data", lambda a: np.repeat(a, 2, axis=3)),
        r"0000/data must have shape \(any, any, any, 1\), found \(3, 128, 128, 2\)",
    ),
    (
        "pde-shallow-water",
        swap("0009/data", lambda a: a[:, :64]),
        r"0009/data must have shape \(3, 128, 128, 1\), found \(3, 64, 128, 1\)",
    ),
    (
        "pde-shallow-water",
        swap("0000/grid/x", lambda a: a[:100]),
        r"grid/x must have shape \(128,\), found \(100,\)",
    ),
    (
        "pde-shallow-water",
        spoil("0003/data", (0, 5, 7, 0)),
        r"0003/data, first frame must be finite, found nan at index \[5, 7\]",
    ),
    ("pde-shallow-water", spoil("0029/data", (2, 0, 0, 0)), "0029/data, last frame must be finite"),
    (
        "pde-reaction-diffusion-2d",
        swap("0000/data", lambda a: a[..., :1]),
        r"0000/data must have shape \(any, any, any, 2\), found \(3, 128, 128, 1\)",
    ),
    (
        "pde-reaction-diffusion-2d",
        swap("0009/data", lambda a: a[:2]),
        r"0009/data must have shape \(3, 128, 128, 2\), found \(2, 128, 128, 2\)",
    ),
    (
        "pde-reaction-diffusion-2d",
        swap("0000/grid/y", lambda a: a[:100]),
        r"grid/y must have shape \(128,\), found \(100,\)",
    ),
    (
        "pde-reaction-diffusion-2d",
        spoil("0003/data", (0, 5, 7, ACTIVATOR)),
        r"0003/data, first frame must be finite, found nan at index \[5, 7\]",
    ),
    (
        "pde-reaction-diffusion-2d",
        spoil("0003/data", (2, 0, 0, INHIBITOR)),
        "0003/data, last frame must be finite",
    ),
]


@pytest.mark.parametrize(
    ("source", "damage", "message"),
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
        (
            SERIES,
            spoil("density", (3, 0, 2), np.inf),
            r"density sample 3, first frame must be finite, found inf",
        ),
        (
            SERIES,
            each(*(swap(n, lambda a: a[..., :10]) for n in ("density", "Vx"))),
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
        *damage_of_any_task(),
        *((TASKS[name], damage, message) for name, damage, message in DAMAGE_OF_A_TASK),
    ],
)
def test_a_bad_release_is_named_with_what_was_expected(
    releases: Path, tmp_path: Path, source: Source, damage: Damage, message: str
) -> None:
    path = Path(shutil.copy(releases / file_of(source), tmp_path))
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(DataError, match=message) as caught:
        read(source, tmp_path)
    assert str(path) in str(caught.value)
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


@pytest.mark.parametrize("source", SOURCES, ids=file_of)
@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_file_that_is_cut_short_is_named(
    releases: Path, tmp_path: Path, source: Source, keep: float
) -> None:
    whole = (releases / file_of(source)).read_bytes()
    cut = whole[: int(keep * len(whole)) if isinstance(keep, float) else keep]
    (tmp_path / file_of(source)).write_bytes(cut)
    with pytest.raises(DataError, match=rf"{file_of(source)} is not a whole HDF5 file.*get it again"):
        read(source, tmp_path)


@pytest.mark.parametrize("source", SOURCES, ids=file_of)
def test_a_missing_file_is_named_with_where_to_find_it(tmp_path: Path, source: Source) -> None:
    with pytest.raises(DataError, match=rf"no file .*{file_of(source)}.*{HOMEPAGE}"):
        read(source, tmp_path)


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
